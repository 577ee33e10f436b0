//! More connections than there are places for.
//!
//! The limits on time are those of the defaults, half a minute and more, so what happens within [`SOON`] is not their doing.

use axum::extract::State;
use hyper::client::conn::http2;
use tokio::net::TcpSocket;
use tokio::sync::watch;

use super::*;
use crate::door::Door;
use crate::sendfile::Stream;
use crate::wire::{Kind, Wire};

/// Much less than any limit on time.
const SOON: Duration = Duration::from_secs(8);
/// Long enough for what should not happen to happen.
const WHILE: Duration = Duration::from_millis(150);

fn places(count: usize) -> Limits {
    Limits { max_connections: count, ..Limits::default() }
}

/// Answers that are under way until the test says otherwise.
fn films() -> (Router, watch::Sender<bool>) {
    let (go_on, goes_on) = watch::channel(false);
    let film = async |State(goes_on): State<watch::Receiver<bool>>| {
        let rest = futures_util::stream::once(async move {
            goes_on.clone().wait_for(|on| *on).await.ok();
            Ok::<_, std::io::Error>(Bytes::from_static(b"last"))
        });
        Body::from_stream(futures_util::stream::iter([Ok(Bytes::from_static(b"first"))]).chain(rest))
    };
    let large = get(|| async { Bytes::from_static(&LARGE) });
    (Router::new().route("/film", get(film)).route("/large", large).with_state(goes_on).merge(small()), go_on)
}

/// More than the system takes for a client that reads nothing.
static LARGE: [u8; 12 << 20] = [7; 12 << 20];

async fn begin_film(server: &Server) -> TcpStream {
    let mut stream = server.connect().await;
    stream.write_all(format!("GET /film HTTP/1.1\r\nHost: {}\r\n\r\n", server.address).as_bytes()).await.unwrap();
    read_to(&mut stream, b"first").await;
    stream
}

async fn read_to(stream: &mut (impl AsyncRead + Unpin), mark: &[u8]) -> Vec<u8> {
    let mut seen = Vec::new();
    while !seen.windows(mark.len()).any(|window| window == mark) {
        seen.push(timeout(DEADLINE, stream.read_u8()).await.unwrap().unwrap());
    }
    seen
}

async fn is_served_soon(server: &Server) {
    let answer = timeout(SOON, server.ask("GET /hello", "")).await.expect("others should make room");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

async fn ends_soon(mut stream: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut rest = Vec::new();
    timeout(SOON, stream.read_to_end(&mut rest)).await.expect("this one should have made room").ok();
    rest
}

#[tokio::test]
async fn who_says_nothing_makes_room() {
    let server = Server::start(small(), places(12), None).await;
    let beginnings =
        ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /hello HTTP/1.1\r\n", "GET /hello HTTP/1.1\r\nHost: a"];
    let mut silent = Vec::new();
    for beginning in beginnings.iter().cycle().take(40) {
        let mut stream = server.connect().await;
        stream.write_all(beginning.as_bytes()).await.unwrap();
        silent.push(stream);
    }
    for _ in 0..20 {
        is_served_soon(&server).await;
    }
    // Twelve have places, in the order in which they came, and each of the twenty needed one of them at most.
    let youngest = silent.pop().unwrap();
    for stream in silent.drain(..20) {
        ends_soon(stream).await;
    }
    let mut byte = [0];
    assert!(timeout(WHILE, youngest.peek(&mut byte)).await.is_err(), "the last one that came is still there");
}

#[tokio::test]
async fn who_has_its_answer_makes_room() {
    let server = Server::start(small(), places(2), None).await;
    let mut idle = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        for _ in 0..2 {
            let request = format!("GET /hello HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
            stream.write_all(request.as_bytes()).await.unwrap();
            read_to(&mut stream, b"hello").await;
        }
        idle.push(stream);
    }
    is_served_soon(&server).await;
    assert_eq!(ends_soon(idle.remove(0)).await, b"", "the one that waited longer");
}

#[tokio::test]
async fn answers_under_way_survive_a_crowd() {
    let (routes, go_on) = films();
    let server = Server::start(routes, places(6), None).await;
    let mut watching = Vec::new();
    for _ in 0..4 {
        watching.push(begin_film(&server).await);
    }
    let mut silent = Vec::new();
    for _ in 0..30 {
        silent.push(server.connect().await);
        if silent.len() % 3 == 0 {
            is_served_soon(&server).await;
        }
    }
    go_on.send(true).unwrap();
    for mut stream in watching {
        let rest = read_to(&mut stream, b"\r\n0\r\n\r\n").await;
        assert!(String::from_utf8(rest).unwrap().contains("last"));
    }
}

#[tokio::test]
async fn where_all_have_answers_under_way_others_wait() {
    let (routes, go_on) = films();
    let server = Server::start(routes, places(2), None).await;
    let mut watching = [begin_film(&server).await, begin_film(&server).await];
    let waiting = server.ask("GET /hello", "");
    tokio::pin!(waiting);
    assert!(timeout(WHILE, waiting.as_mut()).await.is_err());
    go_on.send(true).unwrap();
    for stream in &mut watching {
        read_to(stream, b"\r\n0\r\n\r\n").await;
    }
    // Both stay open after their answers, and one makes room.
    assert!(timeout(SOON, waiting).await.unwrap().contains("hello"));
}

#[tokio::test]
async fn a_handshake_that_does_not_come_makes_room() {
    let certificate = certificate("crowd");
    let server = Server::start(small(), places(3), Some(&certificate.files)).await;
    let mut silent = Vec::new();
    for beginning in [&b""[..], b"\x16\x03\x01", b"\x16", b"", b""] {
        let mut stream = server.connect().await;
        stream.write_all(beginning).await.unwrap();
        silent.push(stream);
    }
    let name = ServerName::try_from("localhost").unwrap();
    let connect = async { connector(&certificate.roots, &[]).connect(name, server.connect().await).await };
    let mut stream = timeout(SOON, connect).await.expect("others should make room").unwrap();
    stream.write_all(b"GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(String::from_utf8(ends_soon(stream).await).unwrap().ends_with("hello"));
    ends_soon(silent.remove(0)).await;
}

/// Their handshakes end about when they are asked to leave: no question may be lost, or the door stays shut.
#[tokio::test]
async fn who_is_asked_at_the_end_of_its_handshake_makes_room() {
    let certificate = certificate("handshakes");
    let server = Server::start(small(), places(4), Some(&certificate.files)).await;
    let connector = connector(&certificate.roots, &[]);
    let connect = async |number: u64| {
        let tcp = server.connect().await;
        tokio::time::sleep(Duration::from_millis(number % 10 * 8)).await;
        let name = ServerName::try_from("localhost").unwrap();
        connector.connect(name, tcp).await
    };
    let all = futures_util::future::join_all((0..60).map(connect));
    timeout(SOON, all).await.expect("each makes room for the next");
}

/// hyper has handed all of the answer to TLS, and TLS holds back what the socket did not take.
#[tokio::test]
async fn what_tls_holds_back_is_under_way() {
    let certificate = certificate("slow-reader");
    let (routes, _go_on) = films();
    let server = Server::start(routes, places(1), Some(&certificate.files)).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    let tcp = socket.connect(server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = connector(&certificate.roots, &[]).connect(name.clone(), tcp).await.unwrap();
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    read_to(&mut stream, b"\r\n\r\n").await;
    let other = async {
        let mut stream = connector(&certificate.roots, &[]).connect(name, server.connect().await).await.unwrap();
        stream.write_all(b"GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
        read_all(&mut stream).await
    };
    tokio::pin!(other);
    assert!(timeout(WHILE, other.as_mut()).await.is_err());
    let mut received = vec![0; LARGE.len()];
    let all = async {
        let (read, answer) = tokio::join!(stream.read_exact(&mut received), other);
        read.unwrap();
        answer
    };
    assert!(timeout(DEADLINE, all).await.unwrap().ends_with("hello"));
    assert!(received == LARGE);
}

/// So are the last bytes of an answer in general, when their piece is no more.
#[tokio::test]
async fn what_is_written_and_not_flushed_is_under_way() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (tcp, address) = listener.accept().await.unwrap();
    let door = Door::new(1, 1);
    let seat = door.place(address.ip()).await.unwrap();
    let kind = Kind::Plain(Stream::new(tcp, None, Arc::default()));
    let mut wire = Wire::new(kind, seat.occupant().clone());
    assert!(seat.occupant().begin());
    wire.write_all(b"the end").await.unwrap();
    seat.occupant().end();
    assert!(timeout(WHILE, door.place(address.ip())).await.is_err());
    assert!(timeout(WHILE, seat.is_wanted()).await.is_err());
    wire.flush().await.unwrap();
    assert!(timeout(WHILE, door.place(address.ip())).await.is_err());
    timeout(SOON, seat.is_wanted()).await.unwrap();
    assert!(seat.occupant().gives_up() && !seat.occupant().begin());
    drop((seat, peer));
    assert!(timeout(SOON, door.place(address.ip())).await.unwrap().is_some());
}

/// hyper takes a whole body at once and sends it as the windows of HTTP/2 allow, so its end is not the answer's end.
#[tokio::test]
async fn a_stream_that_waits_for_its_window_is_under_way() {
    let (routes, _go_on) = films();
    let server = Server::start(routes, places(1), None).await;
    let stream = server.connect().await;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let mut connection = tokio::spawn(connection);
    let request = || Request::get("http://localhost/large").body(Body::empty()).unwrap();
    let answer = sender.send_request(request()).await.unwrap();
    let other = server.ask("GET /hello", "");
    tokio::pin!(other);
    assert!(timeout(WHILE, other.as_mut()).await.is_err() && !connection.is_finished());
    let body = axum::body::to_bytes(Body::new(answer.into_body()), LARGE.len()).await.unwrap();
    assert!(body == LARGE[..]);
    assert!(timeout(SOON, other).await.expect("now it makes room").contains("hello"));
    // It was told so, and not cut off.
    timeout(SOON, &mut connection).await.unwrap().unwrap().unwrap();
    assert!(sender.send_request(request()).await.is_err());
}

/// They push each other out only after they had the time for a request.
#[tokio::test]
async fn a_crowd_that_asks_gets_its_answers_in_turn() {
    let server = Server::start(small(), places(3), None).await;
    let all = futures_util::future::join_all((0..200).map(|_| server.ask("GET /hello", "")));
    for answer in timeout(DEADLINE, all).await.unwrap() {
        assert!(answer.ends_with("hello"), "{answer}");
    }
}

/// Events and pieces may end after their connection: handles of it then do nothing to those that come after it.
#[tokio::test]
async fn places_come_back_however_a_connection_ends() {
    let (routes, _go_on) = films();
    let server = Server::start(routes, places(2), None).await;
    for _ in 0..10 {
        let watching = [begin_film(&server).await, begin_film(&server).await];
        drop(watching);
        is_served_soon(&server).await;
        let stream = server.connect().await;
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::get("http://localhost/film").body(Body::empty()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        connection.abort();
        drop(answer);
    }
    is_served_soon(&server).await;
}
