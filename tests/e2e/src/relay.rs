//! A line between a client and an origin, as slow and as bad as the test wants it.
//!
//! Owns: delay per direction, a rate shared by all connections of one direction, cutting connections, counting.
//! Leaves to others: what the bytes mean.
//!
//! Two threads per direction of a connection: one takes bytes and notes when they are due, the other hands them on when
//! they are. Between them stands a queue of [`IN_FLIGHT`] pieces, which is the line's own buffer.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Bytes taken at once; small, so that a slow line is slow evenly.
const PIECE_BYTES: usize = 16 << 10;
/// Pieces on the line in one direction of one connection.
const IN_FLIGHT: usize = 64;

/// How a line behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Line {
    /// From the client to the origin.
    pub delay_up: Duration,
    /// From the origin to the client.
    pub delay_down: Duration,
    /// Bytes per second from the origin, all connections together; nothing means as fast as it goes.
    pub rate: Option<u64>,
    /// Each connection is reset after so many bytes from the origin.
    pub reset_after: Option<u64>,
}

impl Line {
    /// A line of so many megabits per second with this round trip.
    pub fn of(mbit_per_s: u64, round_trip: Duration) -> Line {
        let half = round_trip / 2;
        Line { delay_up: half, delay_down: half, rate: Some(mbit_per_s * 1_000_000 / 8), reset_after: None }
    }
}

/// What went over a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Connections that were accepted.
    pub connections: u64,
    /// Bytes handed to the origin.
    pub up: u64,
    /// Bytes handed to the client.
    pub down: u64,
}

/// A running relay. Its connections end when it is dropped.
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    to: SocketAddr,
    line: Mutex<Line>,
    bucket: Mutex<Instant>,
    connections: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
    stopping: AtomicBool,
    open: Mutex<Vec<Weak<(TcpStream, TcpStream)>>>,
}

impl Relay {
    /// A line to this origin, with a port of its own on the loopback.
    pub fn start(to: SocketAddr, line: Line) -> Relay {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the system gives a port on the loopback");
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            to,
            line: Mutex::new(line),
            bucket: Mutex::new(Instant::now()),
            connections: AtomicU64::new(0),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let accepting = thread::spawn({
            let shared = shared.clone();
            move || accept(&listener, &shared)
        });
        Relay { address, shared, accepting: Some(accepting) }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of a path through this line.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{}", self.address, path.trim_start_matches('/'))
    }

    /// Changes the line, for running connections too.
    pub fn set(&self, line: Line) {
        *self.shared.line.lock().unwrap() = line;
    }

    /// What went over it so far.
    pub fn count(&self) -> Count {
        let get = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Count { connections: get(&self.shared.connections), up: get(&self.shared.up), down: get(&self.shared.down) }
    }

    /// Ends all connections of this moment; new ones are accepted.
    pub fn cut(&self) {
        for pair in self.shared.open.lock().unwrap().drain(..).filter_map(|pair| pair.upgrade()) {
            close(&pair);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
        self.cut();
    }
}

fn close(pair: &(TcpStream, TcpStream)) {
    // It may be closed already, which is as good.
    drop(pair.0.shutdown(Shutdown::Both));
    drop(pair.1.shutdown(Shutdown::Both));
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.stopping.load(Ordering::Relaxed) {
            return;
        }
        let Ok(client) = client else { continue };
        shared.connections.fetch_add(1, Ordering::Relaxed);
        // A failing origin is a closed connection for the client, and no end of the relay.
        drop(join(client, shared));
    }
}

fn join(client: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    let origin = TcpStream::connect(shared.to)?;
    client.set_nodelay(true)?;
    origin.set_nodelay(true)?;
    let pair = Arc::new((client, origin));
    {
        let mut open = shared.open.lock().unwrap();
        open.retain(|pair| pair.strong_count() > 0);
        open.push(Arc::downgrade(&pair));
    }
    for way in [Way::Up, Way::Down] {
        let (send, receive) = sync_channel(IN_FLIGHT);
        let (from, to) = match way {
            Way::Up => (pair.0.try_clone()?, pair.1.try_clone()?),
            Way::Down => (pair.1.try_clone()?, pair.0.try_clone()?),
        };
        let (taking, giving) = (shared.clone(), shared.clone());
        let held = pair.clone();
        thread::spawn(move || take(from, &send, way, &taking));
        thread::spawn(move || {
            if give(to, &receive, way, &giving).is_err() {
                close(&held);
            }
        });
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

type Piece = (Instant, Vec<u8>);

fn take(mut from: TcpStream, send: &SyncSender<Piece>, way: Way, shared: &Shared) {
    let mut buffer = vec![0; PIECE_BYTES];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let line = *shared.line.lock().unwrap();
        let delay = if way == Way::Up { line.delay_up } else { line.delay_down };
        if send.send((Instant::now() + delay, buffer[..count].to_vec())).is_err() {
            return;
        }
    }
}

fn give(mut to: TcpStream, receive: &Receiver<Piece>, way: Way, shared: &Shared) -> io::Result<()> {
    let counter = if way == Way::Up { &shared.up } else { &shared.down };
    let mut given = 0;
    while let Ok((due, mut piece)) = receive.recv() {
        let line = *shared.line.lock().unwrap();
        sleep_until(due);
        if way == Way::Down {
            if let Some(rate) = line.rate {
                sleep_until(reserve(shared, rate, piece.len()));
            }
            if let Some(most) = line.reset_after {
                piece.truncate(usize::try_from(most.saturating_sub(given)).unwrap_or(usize::MAX));
            }
        }
        // Counted first: who has a byte in hand finds it in the count.
        given += piece.len() as u64;
        counter.fetch_add(piece.len() as u64, Ordering::Relaxed);
        to.write_all(&piece)?;
        if way == Way::Down && line.reset_after.is_some_and(|most| given >= most) {
            return Err(io::Error::other("the line was told to break here"));
        }
    }
    // The end of one direction is passed on; the other may go on.
    to.shutdown(Shutdown::Write)
}

/// Takes the line for as long as these bytes occupy it, and says until when.
fn reserve(shared: &Shared, rate: u64, bytes: usize) -> Instant {
    let mut free_at = shared.bucket.lock().unwrap();
    let start = (*free_at).max(Instant::now());
    *free_at = start + Duration::from_secs_f64(bytes as f64 / rate as f64);
    *free_at
}

#[allow(clippy::disallowed_methods, reason = "the delay is what is simulated, and nothing is synchronised by it")]
fn sleep_until(due: Instant) {
    thread::sleep(due.saturating_duration_since(Instant::now()));
}
