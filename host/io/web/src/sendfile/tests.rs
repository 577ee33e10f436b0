//! The stream by itself and behind the whole server, over real sockets.
//!
//! The memory and the file that stands for it differ in the highest bit of each byte, so that what arrives tells which way
//! it came, and the other bits tell whether it is the right byte.

#![cfg(target_os = "linux")]

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::Request;
use axum::routing::get;
use futures_util::stream;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::{Guard, Limits, Listener, Policy, Router, app, serve};

/// How long anything may take that should happen at once.
const DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of the memory, and of the file.
const SIZE: usize = 4 << 20;
/// The bit by which the file differs.
const FILE: u8 = 0x80;

fn byte_at(place: usize) -> u8 {
    ((place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57) as u8
}

/// Small numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % end
    }
}

/// Memory and a file that stands for it.
#[derive(Clone)]
pub(crate) struct Film {
    memory: &'static [u8],
    file: Arc<File>,
    /// Pieces that somebody has and did not drop.
    alive: Arc<AtomicUsize>,
}

/// A piece of the memory that is counted.
struct Counted {
    bytes: &'static [u8],
    alive: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Film {
    pub(crate) fn new() -> Film {
        Film::in_file(File::options().read(true), SIZE)
    }

    /// In a file of another length, opened in another way.
    fn in_file(options: &std::fs::OpenOptions, length: usize) -> Film {
        let path = std::env::temp_dir().join(format!("mediahost-web-{}-{length}-film", std::process::id()));
        static MAKING: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let making = MAKING.lock().unwrap();
        let content: Vec<u8> = (0..length).map(|place| byte_at(place) | FILE).collect();
        File::create(&path).unwrap().write_all(&content).unwrap();
        let file = Arc::new(options.open(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        drop(making);
        let memory = Vec::leak((0..SIZE).map(byte_at).collect());
        Film { memory, file, alive: Arc::default() }
    }

    pub(crate) fn locate(&self) -> Locate {
        let (start, file) = (self.memory.as_ptr().addr(), self.file.clone());
        Arc::new(move |bytes| {
            let offset = bytes.as_ptr().addr().checked_sub(start)?;
            (offset + bytes.len() <= SIZE).then(|| (file.clone(), offset as u64))
        })
    }

    fn piece(&self, start: usize, end: usize) -> Bytes {
        self.alive.fetch_add(1, Ordering::SeqCst);
        Bytes::from_owner(Counted { bytes: &self.memory[start..end], alive: self.alive.clone() })
    }

    /// A body in pieces of a size.
    fn body(&self, start: usize, end: usize, size: usize) -> Body {
        let film = self.clone();
        Body::from_stream(stream::unfold(start, move |at| {
            let film = film.clone();
            async move {
                let until = end.min(at + size);
                (at < end).then(|| (Ok::<_, io::Error>(film.piece(at, until)), until))
            }
        }))
    }

    /// `/film/<start>-<end>-<size of pieces>` with a length, `/chunked/…` without.
    pub(crate) fn routes(&self) -> Router {
        let numbers = |path: &str| -> [usize; 3] {
            path.split('-').map(|part| part.parse().unwrap()).collect::<Vec<_>>().try_into().unwrap()
        };
        let (with, without) = (self.clone(), self.clone());
        let film = async move |Path(path): Path<String>| {
            let [start, end, size] = numbers(&path);
            ([("content-length", (end - start).to_string())], with.body(start, end, size))
        };
        let chunked = async move |Path(path): Path<String>| {
            let [start, end, size] = numbers(&path);
            without.body(start, end, size)
        };
        Router::new().route("/film/{range}", get(film)).route("/chunked/{range}", get(chunked))
    }

    async fn alive_becomes(&self, count: usize) {
        let wait = async {
            while self.alive.load(Ordering::SeqCst) != count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = timeout(DEADLINE, wait).await;
        assert!(waited.is_ok(), "{} pieces are alive, not {count}", self.alive.load(Ordering::SeqCst));
    }
}

/// Checks the bytes from a place on, and counts those that came from the file.
#[track_caller]
fn check(start: usize, received: &[u8]) -> usize {
    let wrong = received.iter().enumerate().find(|(i, byte)| **byte & !FILE != byte_at(start + i));
    assert_eq!(wrong, None, "of {} bytes from {start} on", received.len());
    received.iter().filter(|byte| **byte & FILE != 0).count()
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) async fn start(film: &Film, listen: impl FnOnce(Listener) -> Listener, limits: Limits) -> Server {
    let listener = listen(Listener::bind("127.0.0.1:0".parse().unwrap(), None).await.unwrap());
    let address = listener.address();
    let guard = Guard::new(Policy { bound: address, public_url: None, hosts: vec![], cors_origins: vec![] }).unwrap();
    let task = tokio::spawn(serve(listener, app(film.routes(), guard), limits, std::future::pending()));
    Server { address, task }
}

async fn start_with_files(film: &Film) -> Server {
    start(film, |listener| listener.with_files_for_everyone(film.locate()), Limits::default()).await
}

/// A client that reads in small steps from a small buffer, if it is told to.
pub(crate) struct Client {
    stream: TcpStream,
    rest: Vec<u8>,
    step: usize,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr, buffer: Option<u32>, step: usize) -> Client {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(buffer) = buffer {
            socket.set_recv_buffer_size(buffer).unwrap();
        }
        Client { stream: socket.connect(address).await.unwrap(), rest: Vec::new(), step }
    }

    pub(crate) async fn ask(&mut self, target: &str) {
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await.unwrap();
    }

    async fn read_more(&mut self) {
        let length = self.rest.len();
        self.rest.resize(length + self.step, 0);
        let count = timeout(DEADLINE, self.stream.read(&mut self.rest[length..])).await.expect("bytes should come");
        self.rest.truncate(length + count.unwrap());
        assert!(self.rest.len() > length, "the connection ended after {length} bytes of what is awaited");
    }

    async fn read_until(&mut self, mark: &[u8]) -> Vec<u8> {
        loop {
            if let Some(place) = self.rest.windows(mark.len()).position(|window| window == mark) {
                let after = self.rest.split_off(place + mark.len());
                return std::mem::replace(&mut self.rest, after);
            }
            self.read_more().await;
        }
    }

    pub(crate) async fn head(&mut self) -> String {
        String::from_utf8(self.read_until(b"\r\n\r\n").await).unwrap()
    }

    pub(crate) async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.rest.len() < count {
            self.read_more().await;
        }
        let after = self.rest.split_off(count);
        std::mem::replace(&mut self.rest, after)
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut whole = Vec::new();
        loop {
            let line = String::from_utf8(self.read_until(b"\r\n").await).unwrap();
            let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
            whole.extend(self.exactly(size).await);
            assert_eq!(self.exactly(2).await, b"\r\n");
            if size == 0 {
                return whole;
            }
        }
    }

    /// Reads one answer with a length; how many of its bytes came from the file.
    pub(crate) async fn answer(&mut self, start: usize, end: usize) -> usize {
        let head = self.head().await;
        assert!(head.contains(&format!("content-length: {}\r\n", end - start)), "{head}");
        check(start, &self.exactly(end - start).await)
    }
}

#[tokio::test]
async fn bodies_of_all_sizes_arrive_as_they_are() {
    let film = Film::new();
    let server = start_with_files(&film).await;
    let mut client = Client::connect(server.address, None, 64 << 10).await;
    for size in [1, 4095, WORTHWHILE - 1, WORTHWHILE, WORTHWHILE + 1, 100_003, 1 << 20, (3 << 20) + 17] {
        for start in [0, 1, 4096, 70_001] {
            for piece in [1 << 20, 65_536, 40_000, WORTHWHILE - 1] {
                client.ask(&format!("/film/{start}-{}-{piece}", start + size)).await;
                let from_file = client.answer(start, start + size).await;
                let expected = piece.min(size) >= WORTHWHILE;
                assert_eq!(from_file > 0, expected, "{size} bytes from {start} in pieces of {piece}");
                if expected && piece == 1 << 20 {
                    // What is left of a piece after a partial write may be too short; no more than that is copied.
                    assert!(from_file + size.div_ceil(piece) * WORTHWHILE > size, "{from_file} of {size}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_body_without_a_length_arrives_as_it_is() {
    let film = Film::new();
    let server = start_with_files(&film).await;
    let mut client = Client::connect(server.address, Some(16 << 10), 5000).await;
    for (start, end, piece) in [(3, 2_000_000, 300_000), (0, 100, 100), (9, 1_000_000, 1 << 20)] {
        client.ask(&format!("/chunked/{start}-{end}-{piece}")).await;
        assert!(client.head().await.contains("transfer-encoding: chunked"));
        let body = client.chunks().await;
        assert_eq!(body.len(), end - start);
        assert_eq!(check(start, &body) > 0, end - start >= WORTHWHILE);
    }
}

#[tokio::test]
async fn slow_readers_get_every_byte_once() {
    let film = Film::new();
    let server = start_with_files(&film).await;
    for (buffer, step) in [(4 << 10, 1000), (64 << 10, 3001), (16 << 10, 100_000)] {
        let mut client = Client::connect(server.address, Some(buffer), step).await;
        client.ask("/film/5-1500005-262144").await;
        assert!(client.answer(5, 1_500_005).await > 1_000_000, "nearly all comes from the file");
    }
    film.alive_becomes(0).await;
}

#[tokio::test]
async fn requests_in_advance_are_answered_in_turn() {
    let film = Film::new();
    let server = start_with_files(&film).await;
    let mut client = Client::connect(server.address, Some(32 << 10), 20_000).await;
    let ranges = [(0, 500_000), (10, 11), (100_000, 1_200_000), (7, 50), (1, 300_000)];
    for (start, end) in ranges {
        client.ask(&format!("/film/{start}-{end}-131072")).await;
    }
    for (start, end) in ranges {
        let from_file = client.answer(start, end).await;
        assert_eq!(from_file > 0, end - start > 100, "{start} to {end}");
    }
}

#[tokio::test]
async fn who_hangs_up_is_forgotten() {
    let film = Film::new();
    let server = start_with_files(&film).await;
    for bytes in [0, 1, 100_000, 1_000_000] {
        let mut client = Client::connect(server.address, Some(16 << 10), 10_000).await;
        client.ask(&format!("/film/0-{SIZE}-1048576")).await;
        client.head().await;
        check(0, &client.exactly(bytes).await);
    }
    film.alive_becomes(0).await;
    let mut client = Client::connect(server.address, None, 100_000).await;
    client.ask("/film/0-1000000-1048576").await;
    client.answer(0, 1_000_000).await;
}

#[tokio::test]
async fn what_cannot_be_sent_from_its_file_is_written() {
    // Not readable, so that sendfile fails; shorter than the memory, so that it ends too early, at once or midway.
    let unreadable = Film::in_file(File::options().write(true), SIZE + 1);
    let empty = Film::in_file(File::options().read(true), 0);
    let short = Film::in_file(File::options().read(true), 1_000_000);
    for (film, most) in [(unreadable, 0), (empty, 0), (short, 1_000_000)] {
        let (asked, locate) = (Arc::new(AtomicUsize::new(0)), film.locate());
        let counting: Locate = Arc::new({
            let asked = asked.clone();
            move |bytes| {
                asked.fetch_add(1, Ordering::SeqCst);
                locate(bytes)
            }
        });
        let server = start(&film, |listener| listener.with_files_for_everyone(counting), Limits::default()).await;
        let mut client = Client::connect(server.address, Some(64 << 10), 50_000).await;
        for _ in 0..2 {
            client.ask("/film/0-2000000-1048576").await;
            let from_file = client.answer(0, 2_000_000).await;
            assert!(from_file <= most, "{from_file}");
        }
        let tried = asked.load(Ordering::SeqCst);
        assert!(tried == 1 || most > 0, "it is tried once on a connection, not {tried} times");
        client.ask("/film/0-200000-1048576").await;
        client.answer(0, 200_000).await;
        assert_eq!(asked.load(Ordering::SeqCst), tried);
        film.alive_becomes(0).await;
    }
}

#[tokio::test]
async fn who_is_on_this_machine_gets_a_copy() {
    let film = Film::new();
    let remote = start(&film, |listener| listener.with_files(film.locate()), Limits::default()).await;
    let nobody = start(&film, |listener| listener, Limits::default()).await;
    let elsewhere = Arc::new(|_: &[u8]| None);
    let nowhere = start(&film, |listener| listener.with_files_for_everyone(elsewhere), Limits::default()).await;
    for server in [remote, nobody, nowhere] {
        let mut client = Client::connect(server.address, None, 100_000).await;
        client.ask("/film/0-2000000-1048576").await;
        assert_eq!(client.answer(0, 2_000_000).await, 0);
    }
}

#[tokio::test]
async fn large_frames_of_http_2_come_from_the_file() {
    let film = Film::new();
    let server = start_with_files(&film).await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .max_frame_size(1 << 20)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(2 << 20)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request =
        |range: &str| Request::get(format!("http://localhost/film/{range}-300000")).body(Body::empty()).unwrap();
    let answers = [("7-2000007", 7, 2_000_000), ("0-3000000", 0, 3_000_000)].map(|(range, start, length)| {
        let answer = sender.send_request(request(range));
        async move {
            let body = axum::body::to_bytes(Body::new(answer.await.unwrap().into_body()), length).await.unwrap();
            assert_eq!(body.len(), length);
            assert!(check(start, &body) > 0);
        }
    });
    timeout(DEADLINE, futures_util::future::join_all(answers)).await.unwrap();
    drop(sender);
    connection.await.unwrap().unwrap();
    film.alive_becomes(0).await;
}

/// A stream, and a peer that reads when it is told to.
async fn pair(files: Option<Locate>, buffer: u32) -> (Stream, Arc<Sent>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(buffer).unwrap();
    let peer = socket.connect(listener.local_addr().unwrap()).await.unwrap();
    let (tcp, _) = listener.accept().await.unwrap();
    let sent = Arc::new(Sent::default());
    (Stream::new(tcp, files, sent.clone()), sent, peer)
}

/// Slices of all kinds, as no caller of ours would mix them: in the file and not, empty, too short, and more of them than
/// are looked at.
#[tokio::test]
async fn whatever_slices_are_given_go_out_in_order() {
    let film = Film::new();
    for seed in 0..12 {
        let mut random = Random(seed);
        let (mut stream, _, mut peer) = pair(Some(film.locate()), 8 << 10).await;
        let slices: Vec<(usize, usize, bool)> = (0..1 + random.below(90))
            .map(|_| {
                let length = [0, 1, 100, 20_000, WORTHWHILE, 150_000][random.below(6)];
                let start = random.below(SIZE - length);
                (start, start + length, random.below(2) == 0)
            })
            .collect();
        // What is not the film's is a copy of it, which lies elsewhere.
        let copies: Vec<Vec<u8>> = slices.iter().map(|&(start, end, _)| film.memory[start..end].to_vec()).collect();
        let whole: Vec<usize> = slices.iter().flat_map(|&(start, end, _)| start..end).collect();
        let length = whole.len();
        let step = 1 + random.below(60_000);
        let reading = tokio::spawn(async move {
            let (mut received, mut buffer) = (Vec::new(), vec![0; step]);
            while received.len() < length {
                let count = timeout(DEADLINE, peer.read(&mut buffer)).await.unwrap().unwrap();
                assert!(count > 0, "{} of {length}", received.len());
                received.extend_from_slice(&buffer[..count]);
            }
            received
        });
        let mut done = 0;
        while done < length {
            let mut skip = done;
            let left: Vec<IoSlice<'_>> = slices
                .iter()
                .zip(&copies)
                .filter_map(|(&(start, end, of_film), copy)| {
                    let skipped = skip.min(end - start);
                    skip -= skipped;
                    let slice = if of_film { &film.memory[start..end] } else { copy };
                    (skip == 0).then(|| IoSlice::new(&slice[skipped..]))
                })
                .collect();
            let write = std::future::poll_fn(|cx| Pin::new(&mut stream).poll_write_vectored(cx, &left));
            let count = timeout(DEADLINE, write).await.unwrap().unwrap();
            assert!(count > 0, "seed {seed}");
            done += count;
        }
        let received = reading.await.unwrap();
        let wrong = received.iter().zip(&whole).position(|(byte, place)| byte & !FILE != byte_at(*place));
        assert_eq!(wrong, None, "seed {seed}");
    }
}

/// Writes pieces of the film, as hyper would, until the socket takes no more; how many bytes it took.
async fn fill(film: &Film, stream: &mut Stream, sent: &Sent) -> usize {
    const PIECE: usize = 64 << 10;
    let mut total = 0;
    for start in (0..SIZE).step_by(PIECE) {
        let mut piece = film.piece(start, start + PIECE);
        let began = sent.begin(PIECE).unwrap();
        while !piece.is_empty() {
            let write = std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, &piece));
            match timeout(Duration::from_millis(100), write).await {
                Ok(count) => {
                    let count = count.unwrap();
                    total += count;
                    hyper::body::Buf::advance(&mut piece, count);
                }
                Err(_) => {
                    sent.end(began, piece);
                    return total;
                }
            }
        }
        sent.end(began, piece);
    }
    panic!("the socket should not take all of it");
}

#[tokio::test]
async fn pieces_are_kept_until_the_peer_has_confirmed_them() {
    let film = Film::new();
    let (mut stream, sent, mut peer) = pair(Some(film.locate()), 8 << 10).await;
    let total = fill(&film, &mut stream, &sent).await;
    let kept = film.alive.load(Ordering::SeqCst);
    assert!(kept > 0, "the peer has read nothing");
    sent.let_go(stream.tcp());
    assert!(film.alive.load(Ordering::SeqCst) > 0, "and can have confirmed only what its buffer holds");

    let mut received = vec![0; total];
    timeout(DEADLINE, peer.read_exact(&mut received)).await.unwrap().unwrap();
    assert!(check(0, &received) > total / 2);
    let wait = async {
        while film.alive.load(Ordering::SeqCst) > 0 {
            sent.let_go(stream.tcp());
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, wait).await.expect("all of it is confirmed");
}

#[tokio::test]
async fn a_connection_that_ends_waits_for_the_peer() {
    let film = Film::new();
    let (mut stream, sent, mut peer) = pair(Some(film.locate()), 8 << 10).await;
    let total = fill(&film, &mut stream, &sent).await;
    drop(stream);
    assert!(!sent.is_settled() && film.alive.load(Ordering::SeqCst) > 0);
    let settling = tokio::spawn({
        let sent = sent.clone();
        async move { sent.settle(DEADLINE).await }
    });
    let mut received = Vec::new();
    timeout(DEADLINE, peer.read_to_end(&mut received)).await.unwrap().unwrap();
    assert_eq!(received.len(), total);
    check(0, &received);
    timeout(DEADLINE, settling).await.unwrap().unwrap();
    assert_eq!((film.alive.load(Ordering::SeqCst), sent.is_settled()), (0, true));
}

#[tokio::test]
async fn a_peer_that_does_not_confirm_is_cut_off() {
    let film = Film::new();
    for waits in [true, false] {
        let (mut stream, sent, mut peer) = pair(Some(film.locate()), 8 << 10).await;
        let total = fill(&film, &mut stream, &sent).await;
        drop(stream);
        if waits {
            timeout(DEADLINE, sent.settle(Duration::from_millis(50))).await.unwrap();
        }
        drop(sent);
        assert_eq!(film.alive.load(Ordering::SeqCst), 0);
        // What the peer had confirmed it may have; the rest was thrown away before the pieces were let go of.
        let mut received = Vec::new();
        let end = timeout(DEADLINE, peer.read_to_end(&mut received)).await.unwrap();
        assert!(end.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset));
        assert!(received.len() < total, "{} of {total}", received.len());
        check(0, &received);
    }
}

#[tokio::test]
async fn a_peer_that_is_gone_is_not_waited_for() {
    let film = Film::new();
    let (mut stream, sent, peer) = pair(Some(film.locate()), 8 << 10).await;
    fill(&film, &mut stream, &sent).await;
    // With bytes unread, closing resets.
    drop(peer);
    drop(stream);
    timeout(DEADLINE, sent.settle(DEADLINE * 10)).await.expect("there is nobody to wait for");
    assert_eq!(film.alive.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn copies_are_not_kept() {
    let film = Film::new();
    let (mut stream, sent, _peer) = pair(None, 8 << 10).await;
    fill(&film, &mut stream, &sent).await;
    assert_eq!(film.alive.load(Ordering::SeqCst), 0);
}

/// For hyper the answer is over, and the peer has most of it still to come. The connection makes room, and only when
/// the peer has it all.
#[tokio::test]
async fn an_answer_that_is_not_confirmed_is_under_way() {
    let film = Film::new();
    let limits = Limits { max_connections: 1, ..Limits::default() };
    let server = start(&film, |listener| listener.with_files_for_everyone(film.locate()), limits).await;
    let mut slow = Client::connect(server.address, Some(8 << 10), 4000).await;
    slow.ask("/film/0-400000-100000").await;
    slow.head().await;
    let mut other = Client::connect(server.address, None, 4000).await;
    other.ask("/film/0-100-100").await;
    assert!(timeout(Duration::from_millis(300), other.head()).await.is_err());
    assert!(film.alive.load(Ordering::SeqCst) > 0);
    check(0, &slow.exactly(400_000).await);
    timeout(Duration::from_secs(8), other.head()).await.expect("the first has nothing under way any more");
    film.alive_becomes(0).await;
    assert_eq!(slow.stream.read(&mut [0]).await.unwrap(), 0, "it ends well");
}

#[tokio::test]
async fn who_waits_for_a_confirmation_holds_nobody_up() {
    let film = Film::new();
    let limits = Limits { max_connections: 2, ..Limits::default() };
    let server = start(&film, |listener| listener.with_files_for_everyone(film.locate()), limits).await;
    let mut slow = Client::connect(server.address, Some(8 << 10), 4000).await;
    slow.ask("/film/0-400000-100000").await;
    slow.head().await;
    // The slow one is asked first, and cannot; then each of these makes room for the next.
    let mut others = Vec::new();
    for _ in 0..4 {
        let mut other = Client::connect(server.address, None, 4000).await;
        other.ask("/film/0-100-100").await;
        timeout(Duration::from_secs(8), other.answer(0, 100)).await.expect("there is room");
        others.push(other);
    }
    check(0, &slow.exactly(400_000).await);
}

#[tokio::test]
async fn where_too_much_is_kept_more_is_copied() {
    let film = Film::new();
    let (mut stream, sent, mut peer) = pair(Some(film.locate()), 64 << 10).await;
    let mut send = async |start: usize| {
        stream.write_all(&film.memory[start..start + WORTHWHILE]).await.unwrap();
        let mut received = vec![0; WORTHWHILE];
        timeout(DEADLINE, peer.read_exact(&mut received)).await.unwrap().unwrap();
        check(start, &received)
    };
    let began = sent.begin(WORTHWHILE).unwrap();
    assert!(send(0).await > 0);
    while sent.has_room() {
        sent.end(began, film.piece(0, WORTHWHILE));
        assert!(film.alive.load(Ordering::SeqCst) < 10_000, "there is a bound");
    }
    assert_eq!(send(WORTHWHILE).await, 0);
    sent.let_go(stream.tcp());
    assert_eq!(film.alive.load(Ordering::SeqCst), 0);
    assert!(sent.has_room());
}
