//! The client against a small server that breaks, changes and refuses as it is told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Cursor, Read, Seek, SeekFrom, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::{Error, Event, MOST_BUFFERED_BYTES, Open, Patience, Phase, Reading, State, blocking};

/// Tries follow each other at once, and few of them.
const QUICK: Patience = Patience {
    tries: 4,
    first: Duration::from_millis(1),
    most: Duration::from_millis(2),
    most_asked: Duration::from_secs(1),
};
const READ_THROUGH: u64 = 1000;

fn quick() -> Reading {
    Reading { patience: QUICK, read_through_bytes: READ_THROUGH, ..Reading::default() }
}

/// Bytes that say where they are.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| ((at / 251) ^ at) as u8).collect()
}

// --- the server

#[derive(Clone, Debug, Default)]
struct Request {
    /// How many came before it.
    number: usize,
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Request {
    fn from(&self) -> u64 {
        let range = self.headers.get("range").map_or("bytes=0-", String::as_str);
        range.trim_start_matches("bytes=").split('-').next().unwrap().parse().unwrap()
    }
}

struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Without a length.
    chunked: bool,
    /// The connection ends after so many bytes of the body.
    cut: Option<usize>,
    /// The connection ends without an answer.
    is_silent: bool,
}

impl Reply {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status, headers: Vec::new(), body: body.into(), chunked: false, cut: None, is_silent: false }
    }

    fn with(mut self, name: &'static str, value: impl ToString) -> Reply {
        self.headers.push((name, value.to_string()));
        self
    }

    fn cut(mut self, after: usize) -> Reply {
        self.cut = Some(after);
        self
    }

    fn silent() -> Reply {
        Reply { is_silent: true, ..Reply::new(0, "") }
    }

    /// What a mediahost answers that has the whole file.
    fn file(file: &[u8], etag: &str, request: &Request) -> Reply {
        let (from, length) = (request.from(), file.len() as u64);
        if request.headers.get("if-range").is_some_and(|known| known != etag) {
            return Reply::new(200, file).with("ETag", etag);
        }
        if from >= length {
            return Reply::new(416, "").with("ETag", etag).with("Content-Range", format!("bytes */{length}"));
        }
        let range = format!("bytes {from}-{}/{length}", length - 1);
        Reply::new(206, &file[from as usize..]).with("ETag", etag).with("Content-Range", range)
    }

    /// What it answers before it knows the length.
    fn coming(file: &[u8], etag: &str) -> Reply {
        Reply { chunked: true, ..Reply::new(200, file).with("ETag", etag) }
    }

    /// Events of a session, by their names and states.
    fn events(events: &[(&str, Value)]) -> Reply {
        let text: String = events.iter().map(|(name, data)| format!("event: {name}\ndata: {data}\n\n")).collect();
        Reply { chunked: true, ..Reply::new(200, text) }
    }

    fn send(self, mut to: &TcpStream) -> std::io::Result<()> {
        if self.is_silent {
            return Ok(());
        }
        let mut head = format!("HTTP/1.1 {} Told\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &match self.chunked {
            true => "Transfer-Encoding: chunked\r\n\r\n".into(),
            false => format!("Content-Length: {}\r\n\r\n", self.body.len()),
        };
        to.write_all(head.as_bytes())?;
        let sent = &self.body[..self.cut.unwrap_or(usize::MAX).min(self.body.len())];
        if !self.chunked {
            return to.write_all(sent);
        }
        for piece in sent.chunks(700) {
            write!(to, "{:x}\r\n", piece.len())?;
            to.write_all(piece)?;
            to.write_all(b"\r\n")?;
        }
        if self.cut.is_none() { to.write_all(b"0\r\n\r\n") } else { Ok(()) }
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, stopping) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let handler: Arc<Handler> = Arc::new(handler);
        let (seen, stop) = (requests.clone(), stopping.clone());
        let thread = thread::spawn(move || {
            for connection in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (handler, seen) = (handler.clone(), seen.clone());
                // A client that went away is no failure of the server.
                thread::spawn(move || drop(serve(connection.unwrap(), &*handler, &seen)));
            }
        });
        Server { address, requests, stopping, thread: Some(thread) }
    }

    /// One that serves a file as a mediahost does.
    fn of(file: Vec<u8>) -> Server {
        Server::start(move |request| Reply::file(&file, "\"a\"", request))
    }

    fn host(&self) -> blocking::Host {
        blocking::Host::new(&format!("http://{}", self.address), "t0ken").unwrap()
    }

    fn session(&self) -> blocking::Session {
        self.host().session("0123456789abcdef").unwrap()
    }

    fn stream(&self) -> blocking::Stream {
        self.session().read(quick()).unwrap()
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Where the requests for bytes began.
    fn starts(&self) -> Vec<u64> {
        self.requests().iter().map(Request::from).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn serve(connection: TcpStream, handler: &Handler, seen: &Mutex<Vec<Request>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(&connection);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let mut request = Request {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        ..Request::default()
    };
    loop {
        line.clear();
        lines.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        request.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = request.headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    lines.read_exact(&mut body)?;
    request.body = String::from_utf8(body).unwrap();
    {
        let mut seen = seen.lock().unwrap();
        request.number = seen.len();
        seen.push(request.clone());
    }
    handler(&request).send(&connection)?;
    connection.shutdown(Shutdown::Write)
}

fn error(result: std::io::Result<impl std::fmt::Debug>) -> std::io::Error {
    let error = result.unwrap_err();
    assert!(Error::of(&error).is_some(), "{error:?}");
    error
}

// --- reading

#[test]
fn reads_everything_with_one_request() {
    let file = bytes(300_000);
    let server = Server::of(file.clone());
    let mut stream = server.stream();
    assert_eq!((stream.byte_len(), stream.is_seekable(), stream.position()), (Some(300_000), true, 0));
    let mut read = Vec::new();
    stream.read_to_end(&mut read).unwrap();
    assert!(read == file);
    assert_eq!(stream.read(&mut [0; 9]).unwrap(), 0);
    assert_eq!(server.starts(), [0]);
}

#[test]
fn seeks_from_each_origin() {
    let file = bytes(100_000);
    let server = Server::of(file.clone());
    let mut stream = server.stream();
    let mut three = [0; 3];
    for (to, at) in [
        (SeekFrom::Start(70_000), 70_000),
        (SeekFrom::Current(-40_003), 30_000),
        (SeekFrom::End(-10), 99_990),
        (SeekFrom::Start(0), 0),
    ] {
        assert_eq!(stream.seek(to).unwrap(), at);
        stream.read_exact(&mut three).unwrap();
        assert_eq!(three, file[at as usize..][..3]);
    }
    // A look at the length and back costs nothing.
    let requests = stream.requests();
    stream.seek(SeekFrom::End(0)).unwrap();
    stream.seek(SeekFrom::Start(3)).unwrap();
    stream.read_exact(&mut three).unwrap();
    assert_eq!((three.as_slice(), stream.requests()), (&file[3..6], requests));
}

#[test]
fn a_short_way_forward_is_read_through() {
    let file = bytes(4_000_000);
    let server = Server::of(file.clone());
    let mut stream = server.stream();
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    for _ in 0..2000 {
        let at = stream.seek(SeekFrom::Current(READ_THROUGH as i64 - 1)).unwrap();
        stream.read_exact(&mut byte).unwrap();
        assert_eq!(byte[0], file[at as usize]);
    }
    assert_eq!(stream.requests(), 1);
    stream.seek(SeekFrom::Start(3_999_999)).unwrap();
    stream.read_exact(&mut byte).unwrap();
    assert_eq!((byte[0], stream.requests()), (file[3_999_999], 2));
}

#[test]
fn behind_the_end_there_is_nothing() {
    let server = Server::of(bytes(1000));
    let mut stream = server.stream();
    assert_eq!(stream.seek(SeekFrom::End(500)).unwrap(), 1500);
    assert_eq!(stream.read(&mut [0; 9]).unwrap(), 0);
    assert_eq!(stream.seek(SeekFrom::Start(u64::MAX)).unwrap(), u64::MAX);
    assert_eq!(stream.read(&mut [0; 9]).unwrap(), 0);
    for bad in [SeekFrom::Current(1), SeekFrom::End(-1001)] {
        let error = error(stream.seek(bad));
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
        assert_eq!(stream.position(), u64::MAX);
    }
    // A stream may begin there.
    for offset in [1000, 9000] {
        let mut stream = server.session().read(Reading { offset, ..quick() }).unwrap();
        assert_eq!(stream.read(&mut [0; 9]).unwrap(), 0);
        assert_eq!(stream.byte_len(), Some(1000));
        stream.seek(SeekFrom::Start(999)).unwrap();
        assert_eq!(stream.read(&mut [0; 9]).unwrap(), 1);
    }
}

#[test]
fn an_empty_file_and_an_empty_buffer() {
    let mut stream = Server::of(Vec::new()).stream();
    assert_eq!((stream.byte_len(), stream.read(&mut [0; 9]).unwrap()), (Some(0), 0));
    assert_eq!(stream.seek(SeekFrom::End(0)).unwrap(), 0);
    let server = Server::of(bytes(10));
    let mut stream = server.stream();
    stream.seek(SeekFrom::Start(5)).unwrap();
    assert_eq!(stream.read(&mut []).unwrap(), 0);
    assert_eq!((stream.position(), server.starts().len()), (5, 1));
}

// --- breaks

#[test]
fn goes_on_where_it_broke() {
    let file = bytes(100_000);
    let kept = file.clone();
    let server = Server::start(move |request| {
        let reply = Reply::file(&kept, "\"a\"", request);
        if request.number < 5 { reply.cut(9_000) } else { reply }
    });
    let mut read = Vec::new();
    server.stream().read_to_end(&mut read).unwrap();
    assert!(read == file);
    assert_eq!(server.starts(), [0, 9_000, 18_000, 27_000, 36_000, 45_000]);
    let known: Vec<_> = server.requests().iter().map(|request| request.headers.get("if-range").cloned()).collect();
    assert_eq!(known[0], None);
    assert!(known[1..].iter().all(|etag| etag.as_deref() == Some("\"a\"")), "{known:?}");
}

#[test]
fn gives_up_after_so_many_tries_without_a_byte() {
    let file = bytes(1000);
    let server = Server::start(move |request| {
        Reply::file(&file, "\"a\"", request).cut(if request.number == 0 { 10 } else { 0 })
    });
    let mut stream = server.stream();
    stream.read_exact(&mut [0; 10]).unwrap();
    let error = error(stream.read(&mut [0; 10]));
    let Some(Error::GaveUp { at: 10, tries: 4, .. }) = Error::of(&error) else { panic!("{error:?}") };
    assert_eq!(server.starts().len(), 4, "{error}");
    assert!(!error.to_string().contains("89abcdef"), "the key of the stream is in {error}");
    // It may be tried again.
    assert!(stream.read(&mut [0; 10]).is_err());
    assert_eq!(server.starts().len(), 8);
}

#[test]
fn nobody_there_is_said() {
    let server = Server::of(Vec::new());
    let address = format!("http://{}", server.address);
    drop(server);
    let session = blocking::Host::new(&address, "t").unwrap().session("abc").unwrap();
    let error = session.read(quick()).unwrap_err();
    assert!(matches!(error, Error::GaveUp { at: 0, tries: 4, .. }), "{error:?}");
    let error = session.info().unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }) && error.to_string().contains(&address), "{error}");
}

#[test]
fn another_version_is_never_spliced() {
    for (etag, length) in [("\"b\"", 1000), ("\"a\"", 900)] {
        let (old, new) = (bytes(1000), vec![7; length]);
        let server = Server::start(move |request| match request.number {
            0 => Reply::file(&old, "\"a\"", request).cut(500),
            _ => Reply::file(&new, etag, request),
        });
        let mut stream = server.stream();
        let mut read = Vec::new();
        let error = error(stream.read_to_end(&mut read));
        assert!(matches!(Error::of(&error), Some(Error::Changed { at: 500, .. })), "{error}");
        assert!(read == bytes(1000)[..500]);
        // It stays so, and another stream reads what is there now.
        assert!(stream.read(&mut [0; 10]).is_err());
        assert_eq!(server.stream().read(&mut [0; 1]).unwrap(), 1);
    }
}

#[test]
fn without_a_validator_a_break_is_the_end_of_it() {
    let file = bytes(1000);
    let server = Server::start(move |request| {
        let mut reply = Reply::file(&file, "\"a\"", request).cut(500);
        reply.headers.retain(|(name, _)| *name != "ETag");
        reply
    });
    let mut read = Vec::new();
    let error = error(server.stream().read_to_end(&mut read));
    assert!(matches!(Error::of(&error), Some(Error::Protocol { .. })) && read.len() == 500, "{error}");
}

#[test]
fn patience_is_asked_for_and_given() {
    let file = bytes(1000);
    let server = Server::start(move |request| match request.number {
        0 => Reply::new(503, "").with("Retry-After", 0),
        1 => Reply::new(503, r#"{"code": "throttled", "detail": "slowly", "retry_after_ms": 5}"#),
        2 => Reply::new(504, ""),
        _ => Reply::file(&file, "\"a\"", request),
    });
    let mut read = Vec::new();
    server.stream().read_to_end(&mut read).unwrap();
    assert_eq!((read.len(), server.starts().len()), (1000, 4));

    // More than anybody waits.
    let server = Server::start(|_| Reply::new(503, "").with("Retry-After", 3600));
    let error = server.session().read(quick()).unwrap_err();
    assert!(matches!(error, Error::GaveUp { tries: 1, .. }) && error.to_string().contains("3600"), "{error}");
}

#[test]
fn a_refusal_is_final_and_has_a_code() {
    for (status, code) in [(404, "session-unknown"), (502, "auth-required"), (500, "disk")] {
        let server = Server::start(move |_| Reply::new(status, json!({"code": code, "detail": "no"}).to_string()));
        let error = server.session().read(quick()).unwrap_err();
        assert_eq!((error.code(), server.starts().len()), (Some(code), 1), "{error}");
    }
    // A gateway's own page has none, and may pass.
    let server = Server::start(|_| Reply::new(502, "<html>"));
    assert!(matches!(server.session().read(quick()).unwrap_err(), Error::GaveUp { .. }));
}

// --- without a length

#[test]
fn a_file_without_a_length_is_read_to_its_end() {
    let file = bytes(50_000);
    let kept = file.clone();
    let server = Server::start(move |request| {
        let reply = Reply::coming(&kept, "\"a\"");
        if request.number == 0 { reply.cut(20_000) } else { reply }
    });
    let mut stream = server.stream();
    assert_eq!((stream.byte_len(), stream.is_seekable()), (None, false));
    let mut read = vec![0; 30_000];
    stream.read_exact(&mut read).unwrap();
    let error = error(stream.seek(SeekFrom::End(-1)));
    assert!(matches!(Error::of(&error), Some(Error::LengthUnknown)), "{error}");
    assert_eq!(stream.position(), 30_000);
    stream.read_to_end(&mut read).unwrap();
    assert!(read == file);
    assert_eq!(stream.byte_len(), Some(50_000));
    assert_eq!(stream.seek(SeekFrom::End(-1)).unwrap(), 49_999);
    assert_eq!(stream.read(&mut [0; 9]).unwrap(), 1);
    // And forward over any distance, and back.
    for at in [100, 40_000, 7] {
        stream.seek(SeekFrom::Start(at)).unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        assert_eq!(byte[0], file[at as usize]);
    }
}

#[test]
fn a_length_that_becomes_known_is_asked_for() {
    let file = bytes(50_000);
    let server = Server::start(move |request| match request.number {
        0 => Reply::coming(&file, "\"a\""),
        _ => Reply::file(&file, "\"a\"", request),
    });
    let mut stream = server.stream();
    assert_eq!(stream.byte_len(), None);
    assert_eq!(stream.seek(SeekFrom::End(-3)).unwrap(), 49_997);
    assert_eq!(stream.byte_len(), Some(50_000));
    let mut read = Vec::new();
    stream.read_to_end(&mut read).unwrap();
    assert_eq!(read, bytes(50_000)[49_997..]);
}

/// A reader that is at byte 10 of a file whose length nobody knows, over a connection that stays whole; what is asked
/// after that is answered in another way.
fn unknown_length(later: impl Fn(&Request, &[u8]) -> Reply + Send + Sync + 'static) -> (Server, blocking::Stream) {
    let server = Server::start(move |request| match request.number {
        0 => Reply::coming(&bytes(50_000), "\"a\""),
        _ => later(request, &bytes(50_000)),
    });
    let mut stream = server.stream();
    stream.read_exact(&mut [0; 10]).unwrap();
    (server, stream)
}

#[test]
fn a_look_for_the_end_is_tried_again() {
    let (server, mut stream) = unknown_length(|request, file| match request.number {
        // No answer at all, patience, and half of an answer.
        1 => Reply::silent(),
        2 => Reply::new(503, "").with("Retry-After", 0),
        3 => Reply::new(504, "gone").cut(2),
        _ => Reply::file(file, "\"a\"", request),
    });
    assert_eq!(stream.seek(SeekFrom::End(-3)).unwrap(), 49_997);
    assert_eq!(server.starts(), [0; 5]);
    let mut read = Vec::new();
    stream.read_to_end(&mut read).unwrap();
    assert_eq!(read, bytes(50_000)[49_997..]);
}

#[test]
fn a_look_for_the_end_is_given_up_and_reading_goes_on() {
    let (server, mut stream) = unknown_length(|_, _| Reply::silent());
    let broken = error(stream.seek(SeekFrom::End(0)));
    let Some(Error::GaveUp { at: 0, tries: 4, .. }) = Error::of(&broken) else { panic!("{broken:?}") };
    assert_eq!((server.starts().len(), stream.position()), (5, 10));
    // Over the first connection, which did not break.
    let mut read = Vec::new();
    stream.read_to_end(&mut read).unwrap();
    assert!(read == bytes(50_000)[10..]);
    assert_eq!(server.starts().len(), 5);

    // What will not pass is not tried again.
    let (server, mut stream) = unknown_length(|_, _| Reply::new(404, r#"{"code": "session-unknown"}"#));
    let refused = error(stream.seek(SeekFrom::End(0)));
    assert_eq!(Error::of(&refused).and_then(Error::code), Some("session-unknown"));
    assert_eq!(server.starts().len(), 2);
    let (_server, mut stream) = unknown_length(|request, file| Reply::file(file, "\"b\"", request));
    let changed = error(stream.seek(SeekFrom::End(0)));
    assert!(matches!(Error::of(&changed), Some(Error::Changed { .. })), "{changed}");
}

// --- how much waits

#[test]
fn what_is_not_read_is_not_sent() {
    const ENDLESS: u64 = 1 << 30;
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let (counted, (done, is_done)) = (sent.clone(), mpsc::sync_channel(1));
    thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        assert!(connection.read(&mut [0; 4096]).unwrap() > 0);
        let head = format!("HTTP/1.1 200 Told\r\nETag: \"a\"\r\nContent-Length: {ENDLESS}\r\n\r\n");
        connection.write_all(head.as_bytes()).unwrap();
        while connection.write_all(&[0; 16 << 10]).is_ok() {
            counted.fetch_add(16 << 10, Ordering::Relaxed);
        }
        done.send(()).unwrap();
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let host = crate::Host::new(&format!("http://{address}"), "t").unwrap();
        let mut stream = host.session("abc").unwrap().stream().await.unwrap();
        let mut some = vec![0; 100_000];
        for _ in 0..200 {
            stream.read_exact(&mut some).await.unwrap();
            assert!(stream.buffered_bytes() <= MOST_BUFFERED_BYTES, "{}", stream.buffered_bytes());
        }
    });
    drop(runtime);
    is_done.recv_timeout(Duration::from_secs(20)).unwrap();
    // What was read, what may wait, and what the system's buffers took.
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent < 20_000_000 + MOST_BUFFERED_BYTES as u64 + (64 << 20), "{sent}");
}

// --- against a plain vector

struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }
}

/// Any reader and seeker; what they answer to the same steps has to be the same.
fn compare(seed: u64, mut stream: impl Read + Seek, file: &[u8]) {
    let mut chance = Chance(seed);
    let mut plain = Cursor::new(file);
    let length = file.len() as i64;
    for step in 0..60 {
        let told = format!("CLIENT_SEED={seed}, step {step}");
        if chance.below(2) == 0 {
            let by = chance.below(length as u64 + 200) as i64;
            let to = match chance.below(5) {
                0 => SeekFrom::Start(by as u64),
                1 => SeekFrom::Current(by - length / 2),
                2 => SeekFrom::Current(by % 1500),
                3 => SeekFrom::Current(-(by % 300)),
                _ => SeekFrom::End(100 - by),
            };
            match (Seek::seek(&mut plain, to), stream.seek(to)) {
                (Ok(wanted), Ok(found)) => assert_eq!(wanted, found, "{told}: {to:?}"),
                (Err(_), Err(_)) => {}
                (wanted, found) => panic!("{told}: {to:?}: {wanted:?} {found:?}"),
            }
        } else {
            let mut wanted = vec![0; chance.below(4000) as usize];
            let mut found = wanted.clone();
            let count = Read::read(&mut plain, &mut wanted).unwrap();
            // A short read is none of an error; the end is.
            let mut filled = 0;
            while filled < count {
                match stream.read(&mut found[filled..count]).unwrap_or_else(|error| panic!("{told}: {error}")) {
                    0 => panic!("{told}: {filled} of {count} bytes and then the end"),
                    more => filled += more,
                }
            }
            assert!(wanted == found, "{told}: other bytes");
            assert_eq!(plain.position(), stream.stream_position().unwrap(), "{told}");
        }
    }
}

#[test]
fn reads_as_a_plain_vector_does_whatever_breaks() {
    let given = std::env::var("CLIENT_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let first = given.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 1);
    for seed in first..first + if given.is_some() { 1 } else { 40 } {
        let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let file = bytes(chance.below(60_000) as usize + 1);
        let (kept, chance) = (file.clone(), Mutex::new(chance));
        let behaviour = move |request: &Request| {
            let mut chance = chance.lock().unwrap();
            let mut reply = Reply::file(&kept, "\"a\"", request);
            match chance.below(8) {
                // Fails without a byte, but never so often in a row that it is given up.
                0 if request.number.is_multiple_of(3) => return Reply::new(503, ""),
                1 | 2 => reply.cut = Some(chance.below(9_000) as usize + 1),
                // Fewer bytes than were asked for, which is allowed.
                3 if reply.status == 206 => {
                    let (from, length) = (request.from(), kept.len() as u64);
                    let count = chance.below(length - from) + 1;
                    reply.body.truncate(count as usize);
                    reply.headers.retain(|(name, _)| *name != "Content-Range");
                    reply = reply.with("Content-Range", format!("bytes {from}-{}/{length}", from + count - 1));
                }
                4 => reply = Reply::coming(&kept, "\"a\""),
                5 => reply = Reply::new(200, kept.clone()).with("ETag", "\"a\""),
                _ => {}
            }
            reply
        };
        let server = Server::start(behaviour);
        let mut stream =
            server.session().read(Reading { patience: Patience { tries: 20, ..QUICK }, ..quick() }).unwrap();
        if stream.byte_len().is_none() {
            while stream.seek(SeekFrom::End(0)).is_err() {}
            stream.seek(SeekFrom::Start(0)).unwrap();
        }
        compare(seed, stream, &file);
    }
}

// --- the asynchronous side

#[tokio::test]
async fn an_asynchronous_reader_may_be_interrupted() {
    let file = bytes(200_000);
    let server = Server::of(file.clone());
    let host = crate::Host::new(&format!("http://{}", server.address), "t").unwrap();
    let mut stream = host.session("abc").unwrap().read(quick()).await.unwrap();
    let mut ten = [0; 10];
    for at in [140_000_u64, 10, 90_000] {
        stream.seek(SeekFrom::Start(at)).await.unwrap();
        // Dropped before it has an answer, as a timeout does.
        let read = stream.read(&mut ten);
        drop(tokio::time::timeout(Duration::ZERO, read).await);
        stream.seek(SeekFrom::Start(at + 50_000)).await.unwrap();
        stream.read_exact(&mut ten).await.unwrap();
        assert_eq!(ten, file[at as usize + 50_000..][..10]);
    }
    assert_eq!(stream.seek(SeekFrom::End(-5)).await.unwrap(), 199_995);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, file[199_995..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocking_stream_on_a_runtime_that_is_there() {
    let server = Server::of(bytes(5000));
    let host = crate::Host::new(&format!("http://{}", server.address), "t").unwrap();
    let stream = host.session("abc").unwrap().stream().await.unwrap();
    let mut stream = blocking::Stream::on(tokio::runtime::Handle::current(), stream);
    let read = tokio::task::spawn_blocking(move || {
        let mut read = Vec::new();
        stream.read_to_end(&mut read).map(|_| read)
    });
    assert!(read.await.unwrap().unwrap() == bytes(5000));
    // Where it should not be, it blocks, and does not panic.
    let mut read = Vec::new();
    server.stream().read_to_end(&mut read).unwrap();
    assert_eq!(read.len(), 5000);
}

#[test]
fn a_stream_can_be_a_decoders_source() {
    fn source<T: Read + Seek + Send + Sync + 'static>() {}
    source::<blocking::Stream>();
    fn task<T: Send + 'static>() {}
    task::<crate::Stream>();
}

// --- sessions

fn view(state: &str) -> Value {
    json!({"session_id": "0123456789abcdef", "state": state, "playback_url": "http://x/stream/0123456789abcdef",
        "url": "http://x", "tracks": [], "container": "flac", "duration_ms": 40_000,
        "live": null, "phase": "downloading",
        "media_info": {"container": "flac", "media_type": "audio/flac", "codecs": ["flac"], "sniffed": true},
        "error": if state == "failed" || state == "auth-required" { json!({"code": "not-found", "message": "no such file"}) } else { Value::Null }})
}

#[test]
fn a_session_is_made_renewed_and_closed() {
    let server = Server::start(|request| match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/api/v1/sessions") => Reply::new(201, view("opening").to_string()),
        ("GET", "/api/v1/sessions/0123456789abcdef/stats") => Reply::new(200, r#"{"cached_bytes": 7}"#),
        ("DELETE", _) => Reply::new(if request.number < 5 { 204 } else { 404 }, ""),
        _ => Reply::new(200, view("ready").to_string()),
    });
    let what = Open::new("http://x/song").header("Referer", "http://y").file_key("mine").start_ms(5);
    let what = what.title("00800").fill(true);
    let session = server.host().open(what).unwrap();
    assert_eq!(session.id(), "0123456789abcdef");
    assert!(!format!("{session:?}").contains("89abcdef"));
    assert_eq!(session.stats().unwrap().cached_bytes, 7);
    let info = session.info().unwrap();
    assert_eq!((info.state, info.container.as_deref(), info.duration_ms), (State::Ready, Some("flac"), Some(40_000)));
    assert_eq!((info.phase, info.media_info.unwrap().codecs), (Phase::Downloading, vec!["flac".to_owned()]));
    session.update_auth(Some("http://z"), None).unwrap();
    session.close().unwrap();
    session.close().unwrap();
    let requests = server.requests();
    assert!(requests.iter().all(|request| request.headers["authorization"] == "Bearer t0ken"));
    let sent: Value = serde_json::from_str(&requests[0].body).unwrap();
    let expected = json!({"url": "http://x/song", "headers": {"Referer": "http://y"}, "file_key": "mine",
        "title": "00800", "start_ms": 5, "fill": true});
    assert_eq!(sent, expected);
    assert_eq!(
        (requests[3].method.as_str(), requests[3].path.as_str()),
        ("PUT", "/api/v1/sessions/0123456789abcdef/auth")
    );
    assert_eq!(requests[3].body, r#"{"url":"http://z"}"#);
}

#[test]
fn what_is_not_asked_for_is_not_sent() {
    // A host of before would refuse a field that it does not know.
    let server = Server::start(|_| Reply::new(201, view("opening").to_string()));
    server.host().open(Open::new("http://x").fill(false)).unwrap();
    assert_eq!(server.requests()[0].body, r#"{"url":"http://x"}"#);
}

/// How a host lists segments that are two seconds long.
fn segments(count: u64) -> String {
    let segment = |number: u64| {
        json!({"offset": 1000 + number * 5000, "length": 5000, "start_ms": number * 2000, "duration_ms": 2000,
            "is_sync": number.is_multiple_of(2)})
    };
    let all: Vec<Value> = (0..count).map(segment).collect();
    json!({"complete": true, "init": [0, 1000], "segments": all}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_listed() {
    let server = Server::start(|request| match request.number {
        0 => Reply::new(200, r#"{"complete": false, "init": null, "segments": []}"#),
        1 => Reply::new(200, segments(2)),
        // As many as a host keeps.
        _ => Reply::new(200, segments(1 << 18)),
    });
    let session = server.session();
    let none = session.segments().unwrap();
    assert_eq!((none.complete, none.init, none.segments.len()), (false, None, 0));
    let session = crate::Host::new(&format!("http://{}", server.address), "t").unwrap().session("abc").unwrap();
    let some = session.segments().await.unwrap();
    assert_eq!((some.complete, some.init, some.segments.len()), (true, Some(0..1000), 2));
    let last = &some.segments[1];
    assert_eq!((last.offset, last.length, last.start_ms, last.duration_ms), (6000, 5000, 2000, 2000));
    assert!(some.segments[0].is_sync && !last.is_sync);
    assert_eq!(session.segments().await.unwrap().segments.len(), 1 << 18);
    let paths: Vec<_> = server.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths[..2], ["/api/v1/sessions/0123456789abcdef/segments", "/api/v1/sessions/abc/segments"]);
}

#[test]
fn a_wrong_token_is_said() {
    let server =
        Server::start(|_| Reply::new(401, r#"{"status": 401, "code": "unauthorized", "detail": "No token."}"#));
    let error = server.host().open("http://x").unwrap_err();
    assert_eq!(error.code(), Some("unauthorized"));
    let told = error.to_string();
    assert!(told.contains("admin.token") && !told.contains("t0ken"), "{told}");
    for id in ["", "../x", "a b"] {
        assert!(server.host().session(id).is_err(), "{id:?}");
    }
}

#[test]
fn waits_for_a_verdict_over_breaks() {
    let server = Server::start(|request| match request.number {
        0 => Reply::events(&[("stats", json!({"state": "opening"}))]),
        1 => Reply::events(&[("stats", json!({"state": "opening"})), ("phase", json!(1))]).cut(30),
        2 => Reply::new(503, ""),
        _ => Reply::events(&[("phase", json!({"phase": "warm"})), ("ready", view("ready"))]),
    });
    assert_eq!(server.session().ready().unwrap().state, State::Ready);
    assert_eq!(server.requests().len(), 4);
    let mut events = server.session().events().unwrap();
    assert!(matches!(events.next(), Some(Ok(Event::Phase(Phase::Unknown)))));
    assert!(matches!(events.next(), Some(Ok(Event::Ready(info))) if info.duration_ms == Some(40_000)));
    assert!(events.next().is_none());
}

/// How things stand, and then so many numbers.
fn living(seconds: usize) -> Reply {
    let mut events = vec![("phase", json!({"phase": "downloading"}))];
    events.extend((0..seconds).map(|_| ("stats", json!({"state": "opening"}))));
    Reply::events(&events)
}

async fn ready(server: &Server) -> Result<crate::Info, Error> {
    crate::Host::new(&format!("http://{}", server.address), "t")
        .unwrap()
        .session("abc")
        .unwrap()
        .ready_with(QUICK)
        .await
}

#[tokio::test]
async fn a_wait_goes_on_as_long_as_connections_live() {
    let last = 5 * QUICK.tries as usize;
    // Every other try brings more than how things stand.
    let server = Server::start(move |request| match request.number {
        number if number == last => Reply::events(&[("ready", view("ready"))]),
        number if number.is_multiple_of(2) => living(2),
        _ => Reply::new(503, ""),
    });
    assert_eq!(ready(&server).await.unwrap().state, State::Ready);
    assert_eq!(server.requests().len(), last + 1);
}

#[tokio::test]
async fn connections_that_break_after_their_beginning_are_given_up() {
    let server = Server::start(|request| match request.number % 2 {
        0 => living(1),
        _ => Reply::events(&[("new", json!(1)), ("newer", json!(2))]),
    });
    let error = ready(&server).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
    assert_eq!(server.requests().len(), QUICK.tries as usize);
    // And where the host asks for more patience than there is.
    let server = Server::start(|_| Reply::new(503, "").with("Retry-After", 3600));
    assert!(matches!(ready(&server).await, Err(Error::Refused { .. })));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_verdict_that_cannot_be_read_ends_the_wait() {
    for name in ["ready", "failed", "auth-required", "closed"] {
        let server = Server::start(move |_| Reply::events(&[(name, json!([1])), ("stats", json!({}))]));
        let error = ready(&server).await.unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }) && error.to_string().contains(name), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
    // Nobody waits for another one.
    let server = Server::start(|_| Reply::events(&[("slow", json!([1])), ("ready", view("ready"))]));
    assert_eq!(ready(&server).await.unwrap().state, State::Ready);
}

#[test]
fn a_verdict_may_be_a_failure() {
    for (name, code) in [("failed", Some("not-found")), ("auth-required", Some("not-found")), ("closed", None)] {
        let server = Server::start(move |_| Reply::events(&[(name, view(name))]));
        let error = server.session().ready().unwrap_err();
        let as_told = match name {
            "failed" => matches!(error, Error::Failed { .. }),
            "auth-required" => matches!(error, Error::AuthRequired { .. }),
            _ => matches!(error, Error::Closed { .. }),
        };
        assert!(as_told && error.code() == code, "{error:?}");
    }
}

#[test]
fn what_is_no_mediahost_is_said() {
    let server = Server::start(|_| Reply::new(200, "<html>"));
    let error = server.host().open("http://x").unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }) && error.to_string().contains("is this a mediahost"), "{error}");
}
