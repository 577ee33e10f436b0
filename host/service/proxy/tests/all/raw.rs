//! An origin that speaks HTTP/1.1 by hand, so that it can lie about every byte.
//!
//! Owns: its connections, the reading of request heads, doing what a script says, and the record of what it was asked
//! and of how much it sent.
//! Leaves to others: what to answer.
//!
//! Invariant: nothing of it outlives its owner, and what it keeps has a bound.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Bytes of a request head, at most; a longer one ends its connection.
const MAX_HEAD: usize = 64 << 10;
/// Connections at once; one more is closed as soon as it is accepted.
const MAX_CONNECTIONS: usize = 256;
/// Requests that are answered and recorded; one more ends its connection.
const MAX_REQUESTS: usize = 4096;
/// Bytes of the system's buffer for sending. Small, so that hardly more counts as sent than has arrived, and a reset takes
/// little with it.
const SEND_BUFFER: u32 = 16 << 10;
/// What has been written gets this long to arrive before a reset, which would take with it what is still on its way.
const SETTLE: Duration = Duration::from_millis(20);

/// A request, and how things stood when it came.
#[derive(Clone, Debug)]
pub struct Ask {
    /// From 1 on, over all connections.
    pub number: usize,
    /// The connection that it came on, from 1 on.
    pub peer: usize,
    /// Connections that are open, this one included.
    pub open: usize,
    /// Answers that are under way, this one included.
    pub busy: usize,
    /// How often the origin was told to turn.
    pub turn: usize,
    /// Requests since the last turn, this one included.
    pub since: usize,
    pub method: String,
    /// Path and query.
    pub target: String,
    fields: Vec<(String, String)>,
}

impl Ask {
    fn parse(head: &[u8]) -> Option<Ask> {
        let text = String::from_utf8_lossy(head);
        let mut lines = text.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let field = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        let fields = lines.filter_map(field).collect();
        Some(Ask { number: 0, peer: 0, open: 0, busy: 0, turn: 0, since: 0, method, target, fields })
    }

    /// The value of a field, by its name in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The range that was asked for, with `u64::MAX` as the end of an open one.
    pub fn range(&self) -> Option<Range<u64>> {
        let (from, to) = self.field("range")?.strip_prefix("bytes=")?.split_once('-')?;
        let end = if to.is_empty() { u64::MAX } else { to.parse::<u64>().ok()? + 1 };
        Some(from.parse().ok()?..end)
    }

    /// Whether a range with both ends was asked for.
    pub fn is_bounded(&self) -> bool {
        self.range().is_some_and(|range| range.end != u64::MAX)
    }
}

/// What an origin does about one request. At its end the next request is read from the same connection.
#[derive(Clone, Debug, Default)]
pub struct Script(Vec<Act>);

#[derive(Clone, Debug)]
enum Act {
    Send(Bytes),
    Drip { bytes: Bytes, at_once: usize, every: Duration },
    Repeat { bytes: Bytes, every: Duration },
    Pause(Duration),
    Hang,
    Close,
    Reset,
}

impl Script {
    pub fn new() -> Script {
        Script::default()
    }

    pub fn send(self, bytes: impl Into<Bytes>) -> Script {
        self.and(Act::Send(bytes.into()))
    }

    /// Sends a few bytes, pauses, sends a few more.
    pub fn drip(self, bytes: impl Into<Bytes>, at_once: usize, every: Duration) -> Script {
        self.and(Act::Drip { bytes: bytes.into(), at_once, every })
    }

    /// Sends the same again and again, until the client has enough of it.
    pub fn repeat(self, bytes: impl Into<Bytes>, every: Duration) -> Script {
        self.and(Act::Repeat { bytes: bytes.into(), every })
    }

    pub fn pause(self, time: Duration) -> Script {
        self.and(Act::Pause(time))
    }

    /// Says nothing more, until the client leaves.
    pub fn hang(self) -> Script {
        self.and(Act::Hang)
    }

    /// Ends the connection in an orderly way.
    pub fn close(self) -> Script {
        self.and(Act::Close)
    }

    /// Breaks the connection, after what was sent has had time to arrive.
    pub fn reset(self) -> Script {
        self.and(Act::Reset)
    }

    pub fn then(mut self, other: Script) -> Script {
        self.0.extend(other.0);
        self
    }

    fn and(mut self, act: Act) -> Script {
        self.0.push(act);
        self
    }
}

/// A request, and what became of it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub ask: Ask,
    pub at: Instant,
    /// The first line that was sent.
    pub answer: String,
    /// Bytes that were handed to the system, heads included.
    pub sent: u64,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Ask { number, peer, turn, method, target, .. } = &self.ask;
        let range = self.ask.field("range").unwrap_or("everything");
        let (answer, sent) = (&self.answer, self.sent);
        write!(f, "#{number} on {peer} in turn {turn}: {method} {target} {range}: {answer:?}, {sent} bytes")
    }
}

type Scripted = dyn FnMut(&Ask) -> Script + Send;

struct Shared {
    script: Mutex<Box<Scripted>>,
    seen: Mutex<Vec<Seen>>,
    /// Turns so far, and the requests before the last of them.
    turns: Mutex<(usize, usize)>,
    peers: AtomicUsize,
    open: AtomicUsize,
    busy: AtomicUsize,
}

/// An origin on a port that the system has chosen.
pub struct RawOrigin {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: Option<JoinHandle<()>>,
}

impl Drop for RawOrigin {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
        }
    }
}

impl RawOrigin {
    /// An origin that asks `script` about each request.
    pub fn start(script: impl FnMut(&Ask) -> Script + Send + 'static) -> RawOrigin {
        let listener = listen(([127, 0, 0, 1], 0).into());
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Mutex::new(Box::new(script)),
            seen: Mutex::default(),
            turns: Mutex::default(),
            peers: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
        });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        RawOrigin { shared, address, accepting: Some(accepting) }
    }

    pub fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    /// Tells the script that from now on things are different.
    pub fn turn(&self) {
        let requests = locked(&self.shared.seen).len();
        let mut turns = locked(&self.shared.turns);
        *turns = (turns.0 + 1, requests);
    }

    /// Breaks off everything and listens no more: a connection is refused from then on.
    pub async fn leave(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            // Once it is awaited its sockets are closed.
            let _ = accepting.await;
        }
    }

    /// Listens again where it was.
    pub fn come_back(&mut self) {
        self.accepting = Some(tokio::spawn(accept(listen(self.address), self.shared.clone())));
    }

    /// All requests so far, in the order in which they came.
    pub fn seen(&self) -> Vec<Seen> {
        locked(&self.shared.seen).clone()
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Whether the script has failed, so that what it stands for was not tried.
    pub fn panicked(&self) -> bool {
        self.shared.script.is_poisoned()
    }

    /// Bytes handed to the system so far, heads included.
    pub fn sent(&self) -> u64 {
        locked(&self.shared.seen).iter().map(|seen| seen.sent).sum()
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    // Connections inherit it.
    socket.set_send_buffer_size(SEND_BUFFER).unwrap();
    socket.bind(address).unwrap();
    socket.listen(MAX_CONNECTIONS as u32).unwrap()
}

/// The connections are dropped, and thereby closed, together with this.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                if connections.len() < MAX_CONNECTIONS {
                    connections.spawn(converse(stream, shared.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse(mut stream: TcpStream, shared: Arc<Shared>) {
    // Pieces are sent as they are scripted.
    let _ = stream.set_nodelay(true);
    let peer = shared.peers.fetch_add(1, Ordering::Relaxed) + 1;
    let _open = Counted::new(&shared.open);
    let mut unread = VecDeque::new();
    while let Some(head) = read_head(&mut stream, &mut unread).await {
        let busy = Counted::new(&shared.busy);
        let Some((index, script)) = shared.answer(&head, peer) else { return };
        for act in script.0 {
            match act.perform(&mut stream, &shared, index).await {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            }
        }
        drop(busy);
    }
}

/// The next head, up to its empty line; none when the client has left or talks too much.
async fn read_head(stream: &mut TcpStream, unread: &mut VecDeque<u8>) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    loop {
        while let Some(byte) = unread.pop_front() {
            head.push(byte);
            if head.ends_with(b"\r\n\r\n") {
                return Some(head);
            }
        }
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece).await.ok().filter(|length| *length > 0)?;
        if head.len() + length > MAX_HEAD {
            return None;
        }
        unread.extend(&piece[..length]);
    }
}

impl Shared {
    /// Records a request and asks the script about it. The answer is the request's place in the record.
    fn answer(&self, head: &[u8], peer: usize) -> Option<(usize, Script)> {
        let mut ask = Ask::parse(head)?;
        let mut seen = locked(&self.seen);
        let index = seen.len();
        if index >= MAX_REQUESTS {
            return None;
        }
        let (turn, before) = *locked(&self.turns);
        (ask.number, ask.peer, ask.turn, ask.since) = (index + 1, peer, turn, index + 1 - before);
        (ask.open, ask.busy) = (self.open.load(Ordering::Relaxed), self.busy.load(Ordering::Relaxed));
        seen.push(Seen { ask: ask.clone(), at: Instant::now(), answer: String::new(), sent: 0 });
        drop(seen);
        let script = (locked(&self.script))(&ask);
        Some((index, script))
    }

    fn sent(&self, index: usize, bytes: &[u8]) {
        let mut seen = locked(&self.seen);
        let seen = &mut seen[index];
        seen.sent += bytes.len() as u64;
        if seen.answer.is_empty() {
            let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
            seen.answer = String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
        }
    }
}

impl Act {
    /// Whether the connection goes on after it.
    async fn perform(self, stream: &mut TcpStream, shared: &Shared, index: usize) -> std::io::Result<bool> {
        match self {
            Act::Send(bytes) => write(stream, shared, index, &bytes).await?,
            Act::Drip { bytes, at_once, every } => {
                for piece in bytes.chunks(at_once) {
                    write(stream, shared, index, piece).await?;
                    tokio::time::sleep(every).await;
                }
            }
            // Ends with an error as soon as nobody reads it any more.
            Act::Repeat { bytes, every } => loop {
                write(stream, shared, index, &bytes).await?;
                tokio::time::sleep(every).await;
            },
            Act::Pause(time) => tokio::time::sleep(time).await,
            Act::Hang => {
                let mut ignored = [0; 1024];
                while stream.read(&mut ignored).await? > 0 {}
                return Ok(false);
            }
            Act::Close => {
                let _ = stream.shutdown().await;
                return Ok(false);
            }
            Act::Reset => {
                tokio::time::sleep(SETTLE).await;
                stream.set_zero_linger()?;
                return Ok(false);
            }
        }
        Ok(true)
    }
}

async fn write(stream: &mut TcpStream, shared: &Shared, index: usize, bytes: &[u8]) -> std::io::Result<()> {
    let mut left = bytes;
    while !left.is_empty() {
        let length = stream.write(left).await?;
        if length == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        shared.sent(index, &left[..length]);
        left = &left[length..];
    }
    Ok(())
}

/// Counts for as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

impl Counted<'_> {
    fn new(counter: &AtomicUsize) -> Counted<'_> {
        counter.fetch_add(1, Ordering::Relaxed);
        Counted(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A script that panics is told by [`RawOrigin::panicked`]; nothing else in here does.
fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
