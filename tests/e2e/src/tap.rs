//! Stands between a player and the host: hears what is asked for and counts what is handed over.
//!
//! Owns: which bytes of a stream left the host, by offset, in the order of the requests.
//! Leaves to others: what the bytes are, and how fast the line is (`relay.rs`).
//!
//! Each request reaches the host on a connection of its own, so that an answer ends where its connection does. What the
//! host had handed to the system when the player hung up counts as delivered, since it had left the host.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::wait::until;

/// Bytes of the head of a request or an answer, at most.
const MAX_HEAD: u64 = 64 << 10;
/// Bytes handed on at once.
const PIECE_BYTES: usize = 64 << 10;
/// What a host can have sent that had not been read when the player hung up: more than the system's buffers hold.
const MAX_ON_THE_LINE: u64 = 16 << 20;
/// From the end of a player to the end of its last answer.
const HANG_UP: Duration = Duration::from_secs(30);

/// An answer as the player was given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The request's method and its `Range`, or `-`.
    pub asked: String,
    /// The status of the answer.
    pub status: u16,
    /// The bytes of the object that left the host; none where the answer is not one part of it.
    pub range: Range<u64>,
}

/// A running tap. It takes no new connections once it is dropped; those that run end with their player.
pub struct Tap {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    to: SocketAddr,
    deliveries: Mutex<Vec<Delivery>>,
    running: AtomicUsize,
    stopping: AtomicBool,
}

impl Tap {
    /// A tap on the way to a host, with a port of its own on the loopback.
    pub fn start(to: SocketAddr) -> Tap {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the system gives a port on the loopback");
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            to,
            deliveries: Mutex::default(),
            running: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        });
        let accepting = thread::spawn({
            let shared = shared.clone();
            move || accept(&listener, &shared)
        });
        Tap { address, shared, accepting: Some(accepting) }
    }

    /// The address of a path, heard by this tap.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{}", self.address, path.trim_start_matches('/'))
    }

    /// What was answered, once every player has hung up.
    pub fn deliveries(&self) -> Vec<Delivery> {
        until("the end of the players' connections", HANG_UP, || {
            (self.shared.running.load(Ordering::SeqCst) == 0).then_some(())
        });
        self.shared.deliveries.lock().unwrap().clone()
    }
}

/// How many bytes lie in at least one of the ranges.
pub fn distinct(ranges: impl IntoIterator<Item = Range<u64>>) -> u64 {
    let mut ranges: Vec<_> = ranges.into_iter().collect();
    ranges.sort_by_key(|range| range.start);
    let (mut bytes, mut end) = (0, 0);
    for range in ranges {
        bytes += range.end.saturating_sub(end.max(range.start));
        end = end.max(range.end);
    }
    bytes
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for player in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(player) = player else { continue };
        shared.running.fetch_add(1, Ordering::SeqCst);
        let shared = shared.clone();
        thread::spawn(move || {
            // A player that hangs up before it has asked is no fault of anyone.
            drop(serve(&player, &shared));
            drop(player.shutdown(Shutdown::Both));
            shared.running.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

fn serve(mut player: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut asking = BufReader::new(player.try_clone()?);
    let request = read_head(&mut asking)?;
    let mut host = TcpStream::connect(shared.to)?;
    host.write_all(once(&request).as_bytes())?;
    // Who hangs up while the host has nothing to send is heard here.
    let (mut rest, to_host) = (asking, host.try_clone()?);
    thread::spawn(move || {
        drop(io::copy(&mut rest, &mut io::sink()));
        drop(to_host.shutdown(Shutdown::Write));
    });
    let mut answering = BufReader::new(&host);
    let answer = read_head(&mut answering)?;
    player.write_all(answer.as_bytes())?;
    let index = shared.begin(&request, &answer);
    let mut buffer = vec![0; PIECE_BYTES];
    // Bytes that are still taken from the host: without end, until the player has hung up.
    let mut most = u64::MAX;
    while let Ok(count @ 1..) = answering.read(&mut buffer) {
        if let Some(index) = index {
            shared.count(index, count as u64);
        }
        if most < u64::MAX {
            most = most.saturating_sub(count as u64);
        } else if player.write_all(&buffer[..count]).is_err() {
            most = MAX_ON_THE_LINE;
            host.shutdown(Shutdown::Write)?;
        }
        if most == 0 {
            break;
        }
    }
    host.shutdown(Shutdown::Both)
}

impl Shared {
    /// Files an answer. Its number is for counting its body, if that is a part of the object.
    fn begin(&self, request: &str, answer: &str) -> Option<usize> {
        let method = request.split(' ').next().unwrap_or_default();
        let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        let start = if status == 200 { Some(0) } else { field(answer, "content-range").and_then(first_byte) };
        let asked = format!("{method} {}", field(request, "range").unwrap_or("-"));
        let mut deliveries = self.deliveries.lock().unwrap();
        deliveries.push(Delivery { asked, status, range: start.unwrap_or(0)..start.unwrap_or(0) });
        start.map(|_| deliveries.len() - 1)
    }

    fn count(&self, index: usize, bytes: u64) {
        self.deliveries.lock().unwrap()[index].range.end += bytes;
    }
}

/// The lines of a head with the empty one after them.
fn read_head(from: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    let mut from = from.take(MAX_HEAD);
    while from.read_line(&mut head)? > 0 {
        if head.ends_with("\r\n\r\n") {
            return Ok(head);
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// The same request, and no other after it on this connection.
fn once(request: &str) -> String {
    let lines = request.trim_end().split("\r\n");
    let kept = lines.filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    kept.map(|line| format!("{line}\r\n")).collect::<String>() + "Connection: close\r\n\r\n"
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
    fields
        .map(|(key, value)| (key, value.trim()))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// The first byte of a `Content-Range` (RFC 9110 §14.4).
fn first_byte(content_range: &str) -> Option<u64> {
    content_range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Request;
    use crate::synthetic;

    const SIZE: u64 = 1 << 40;

    #[test]
    fn a_tap_counts_what_left_the_host() {
        let host = synthetic::serve(SIZE);
        let tap = Tap::start(host.address());
        assert_eq!(tap.deliveries(), []);

        let answer = Request::get(&tap.url("film")).range(&(1000..5000)).send();
        assert_eq!(answer.header("content-range"), Some(format!("bytes 1000-4999/{SIZE}").as_str()), "{answer:?}");
        assert_eq!(synthetic::difference(1000, &answer.bytes()), None);
        let bounded = Delivery { asked: "GET bytes=1000-4999".into(), status: 206, range: 1000..5000 };
        assert_eq!(tap.deliveries(), [bounded]);

        // Given up in the middle: what was on the line counts too, and the host is not kept at it.
        let mut answer = Request::get(&tap.url("film")).send();
        answer.read_exact(&mut [0; 100_000]).unwrap();
        drop(answer);
        let given_up = &tap.deliveries()[1];
        assert_eq!((given_up.asked.as_str(), given_up.status, given_up.range.start), ("GET -", 200, 0));
        assert!((100_000..=host.sent() - 4000).contains(&given_up.range.end), "{given_up:?} of {}", host.sent());
    }

    #[test]
    fn bytes_are_counted_once() {
        let check = |ranges: &[Range<u64>], bytes| assert_eq!(distinct(ranges.iter().cloned()), bytes, "{ranges:?}");
        check(&[], 0);
        check(&[5..5, 9..9], 0);
        check(&[0..10, 10..20], 20);
        check(&[30..40, 0..10], 20);
        check(&[0..10, 5..15, 0..10], 15);
        check(&[0..100, 10..20, 90..110], 110);
    }

    #[test]
    fn a_tap_asks_once_on_a_connection() {
        let asked = "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nRange: bytes=0-\r\n\r\n";
        let once = once(asked);
        assert_eq!(once, "GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=0-\r\nConnection: close\r\n\r\n");
        assert_eq!(field(&once, "range"), Some("bytes=0-"));
    }
}
