//! A small HTTP/1.1 server that answers as the test says: the origin of a file that lies nowhere, the place of a page.
//!
//! Owns: connections (a thread each, kept alive), reading a request, writing an answer, counting bytes of bodies.
//! Leaves to others: what is answered.

use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};

/// Header lines of a request, at most.
const MAX_LINES: usize = 200;
/// Bytes of the body of a request, at most.
const MAX_BODY: u64 = 1 << 20;
/// Bytes written at once.
const PIECE_BYTES: usize = 256 << 10;

/// A request.
pub struct Asked {
    /// `GET`, `HEAD` …
    pub method: String,
    /// The path with its query.
    pub target: String,
    /// The body.
    pub body: Vec<u8>,
    headers: Vec<(String, String)>,
}

impl Asked {
    /// A header field by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The one range that is asked for of so many bytes, cut to them (RFC 9110 §14.1.2, without suffixes).
    pub fn range(&self, total: u64) -> Option<Range<u64>> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        let first = first.parse().ok()?;
        let end = if last.is_empty() { total } else { last.parse::<u64>().ok()?.saturating_add(1).min(total) };
        (first < end).then_some(first..end)
    }
}

/// What is answered.
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header fields beside the length.
    pub headers: Vec<(String, String)>,
    /// Bytes of the body.
    pub length: u64,
    /// The body.
    pub body: Box<dyn Read>,
}

impl Answer {
    /// An answer that lies in memory.
    pub fn of(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        let body = body.into();
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        Answer { status, headers, length: body.len() as u64, body: Box::new(Cursor::new(body)) }
    }
}

/// A running server. Its connections end when it is dropped.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    handler: Box<dyn Fn(&Asked) -> Answer + Send + Sync>,
    sent: AtomicU64,
    stopping: AtomicBool,
    open: Mutex<Vec<Weak<TcpStream>>>,
}

impl Server {
    /// A server with a port of its own on the loopback.
    pub fn start(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the system gives a port on the loopback");
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            sent: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let accepting = thread::spawn({
            let shared = shared.clone();
            move || accept(&listener, &shared)
        });
        Server { address, shared, accepting: Some(accepting) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{}", self.address, path.trim_start_matches('/'))
    }

    /// Bytes of bodies that it handed to the system.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
        for line in self.shared.open.lock().unwrap().iter().filter_map(Weak::upgrade) {
            drop(line.shutdown(Shutdown::Both));
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for line in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(line) = line.map(Arc::new) else { continue };
        {
            let mut open = shared.open.lock().unwrap();
            open.retain(|line| line.strong_count() > 0);
            open.push(Arc::downgrade(&line));
        }
        let shared = shared.clone();
        // A client that hangs up is no fault of anyone.
        thread::spawn(move || drop(talk(&line, &shared)));
    }
}

fn talk(mut line: &TcpStream, shared: &Shared) -> io::Result<()> {
    line.set_nodelay(true)?;
    let mut from = BufReader::new(line);
    let mut piece = vec![0; PIECE_BYTES];
    while let Some(asked) = read_request(&mut from)? {
        let mut answer = (shared.handler)(&asked);
        let mut head = format!("HTTP/1.1 {} -\r\nContent-Length: {}\r\n", answer.status, answer.length);
        for (name, value) in &answer.headers {
            head += &format!("{name}: {value}\r\n");
        }
        line.write_all((head + "\r\n").as_bytes())?;
        let mut left = if asked.method == "HEAD" { 0 } else { answer.length };
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
            let count = answer.body.read(&mut piece[..most])?;
            if count == 0 {
                return Err(io::Error::other("the body is shorter than its length"));
            }
            line.write_all(&piece[..count])?;
            shared.sent.fetch_add(count as u64, Ordering::Relaxed);
            left -= count as u64;
        }
    }
    Ok(())
}

/// The next request of a connection, or nothing at its end.
fn read_request(from: &mut impl BufRead) -> io::Result<Option<Asked>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => break,
            line if lines.len() < MAX_LINES => lines.push(line.to_owned()),
            _ => return Err(io::Error::other("the request's head has no end")),
        }
    }
    let mut words = lines.first().map(String::as_str).unwrap_or_default().split(' ');
    let [method, target] = [words.next(), words.next()].map(|word| word.unwrap_or_default().to_owned());
    let fields = lines.iter().skip(1).filter_map(|line| line.split_once(':'));
    let headers = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    let mut asked = Asked { method, target, headers, body: Vec::new() };
    let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    if length > MAX_BODY {
        return Err(io::Error::other("the request's body is too long"));
    }
    from.take(length).read_to_end(&mut asked.body)?;
    Ok(Some(asked))
}
