//! The server as a whole, on loopback ports that the system chose.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use axum::routing::{get, post};
use futures_util::StreamExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{self, RootCertStore, pki_types::ServerName};

use crate::*;

mod crowd;

/// How long anything may take that should happen at once.
const DEADLINE: Duration = Duration::from_secs(20);

struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(routes: Router, limits: Limits, tls: Option<&TlsFiles>) -> Server {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), tls).await.unwrap();
        Server::start_on(listener, routes, limits)
    }

    fn start_on(listener: Listener, routes: Router, limits: Limits) -> Server {
        let address = listener.address();
        let guard = Guard::new(Policy {
            bound: address,
            public_url: None,
            hosts: vec![],
            cors_origins: vec!["https://player.example.org".into()],
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(serve(listener, app(routes, guard.unwrap()), limits, async {
            stopped.await.ok();
        }));
        Server { address, stop: Some(stop), task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends the text with `Host` and `Connection: close` added to it, and reads all of the answer.
    async fn ask(&self, request: &str, body: &str) -> String {
        let mut stream = self.connect().await;
        let (line, rest) = request.split_once('\n').unwrap_or((request, ""));
        let mut head = format!("{line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        rest.lines().for_each(|field| head.push_str(&format!("{field}\r\n")));
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.unwrap();
        read_all(&mut stream).await
    }
}

async fn read_all<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut answer = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("the connection should end").ok();
    String::from_utf8(answer).unwrap()
}

fn small() -> Router {
    #[derive(serde::Deserialize)]
    struct Input {
        count: u32,
    }
    Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route("/count/{n}", get(|Path(n): Path<u32>| async move { n.to_string() }))
        .route("/double", post(|Json(input): Json<Input>| async move { Json(input.count * 2) }))
        .route("/query", get(|Query(input): Query<Input>| async move { input.count.to_string() }))
        .route("/stream/{id}", get(|| async { "media" }))
}

#[tokio::test]
async fn wrong_requests_get_problems() {
    let server = Server::start(small(), Limits::default(), None).await;
    let check = async |request: &str, body: &str, status: u16, words: &[&str]| {
        let answer = server.ask(request, body).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        if status >= 400 {
            assert!(answer.contains("content-type: application/problem+json\r\n"), "{request}: {answer}");
        }
        for word in words {
            assert!(answer.contains(word), "{request}: {word} in {answer}");
        }
    };
    const JSON: &str = "\nContent-Type: application/json";
    let double = format!("POST /double{JSON}");
    check("GET /hello", "", 200, &["hello", "x-content-type-options: nosniff", "content-security-policy: default-src"])
        .await;
    check("GET /nothing", "", 404, &[r#""code":"route-unknown""#, "/nothing", "frame-ancestors 'none'"]).await;
    check("DELETE /hello", "", 405, &["method-not-allowed", "allow: GET"]).await;
    check(&double, r#"{"count": 4}"#, 200, &["\r\n\r\n8"]).await;
    check(&double, r#"{"count": "x"}"#, 400, &["body-invalid", "count", "column"]).await;
    check(&double, r#"{"count": "#, 400, &["body-not-json", "line 1"]).await;
    check("POST /double", r#"{"count": 4}"#, 415, &["body-not-json", "Content-Type"]).await;
    check(&double, &"x".repeat(MAX_BODY + 1), 413, &["body-too-large"]).await;
    check("GET /count/x", "", 400, &["path-invalid"]).await;
    check("GET /query?count=x", "", 400, &["query-invalid"]).await;
    check("GET /query", "", 400, &["query-invalid", "count"]).await;
}

#[tokio::test]
async fn pages_of_configured_origins_may_read() {
    let server = Server::start(small(), Limits::default(), None).await;
    let origin = "Origin: https://player.example.org";
    let answer = server.ask(&format!("GET /stream/1\n{origin}"), "").await;
    for line in [
        "access-control-allow-origin: https://player.example.org",
        "access-control-expose-headers: Content-Range, Content-Length, Accept-Ranges, ETag",
        "vary: Origin",
    ] {
        assert!(answer.contains(line), "{line} in {answer}");
    }
    assert!(!answer.contains("cross-origin-resource-policy"), "{answer}");
    let answer = server.ask(&format!("OPTIONS /double\n{origin}\nAccess-Control-Request-Method: POST"), "").await;
    assert!(answer.starts_with("HTTP/1.1 204 ") && answer.contains("access-control-allow-headers: auth"), "{answer}");
    let answer = server.ask("GET /hello\nOrigin: https://evil.example", "").await;
    assert!(
        !answer.contains("access-control") && answer.contains("cross-origin-resource-policy: same-origin"),
        "{answer}"
    );
    let answer = server.ask("POST /double\nOrigin: https://evil.example", "").await;
    assert!(answer.contains("origin-refused") && answer.contains("server.cors_origins"), "{answer}");
    let mut stream = server.connect().await;
    stream.write_all(b"GET /hello HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").await.unwrap();
    let answer = read_all(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 421 ") && answer.contains("evil.example") && answer.contains("server.hosts"));
}

/// A download whose pieces the test sends one by one.
fn download() -> (Router, mpsc::Sender<Bytes>) {
    let (pieces, received) = mpsc::channel::<Bytes>(1);
    let received = Arc::new(tokio::sync::Mutex::new(Some(received)));
    let handler = move || {
        let received = received.clone();
        async move {
            let received = received.lock().await.take().unwrap();
            let pieces = futures_util::stream::unfold(received, |mut received| async {
                Some((Ok::<_, std::io::Error>(received.recv().await?), received))
            });
            Body::from_stream(pieces)
        }
    };
    (Router::new().route("/download", get(handler)), pieces)
}

async fn begin_download(server: &Server, pieces: &mpsc::Sender<Bytes>) -> TcpStream {
    let mut stream = server.connect().await;
    let request = format!("GET /download HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    stream.write_all(request.as_bytes()).await.unwrap();
    pieces.send(Bytes::from_static(b"first")).await.unwrap();
    let mut seen = Vec::new();
    while !seen.windows(5).any(|window| window == b"first") {
        let byte = timeout(DEADLINE, stream.read_u8()).await.unwrap().unwrap();
        seen.push(byte);
    }
    stream
}

#[tokio::test]
async fn a_running_download_ends_before_the_server_does() {
    let (routes, pieces) = download();
    let mut server = Server::start(routes, Limits::default(), None).await;
    let mut stream = begin_download(&server, &pieces).await;
    let mut idle = server.connect().await;
    server.stop.take().unwrap().send(()).unwrap();
    assert_eq!(read_all(&mut idle).await, "", "a connection without a request ends at once");
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody is let in any more");
    assert!(!server.task.is_finished());
    pieces.send(Bytes::from_static(b"last")).await.unwrap();
    drop(pieces);
    let rest = read_all(&mut stream).await;
    assert!(rest.contains("last") && rest.ends_with("0\r\n\r\n"), "{rest:?}");
    timeout(DEADLINE, &mut server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_download_without_end_is_dropped_at_the_deadline() {
    let (routes, pieces) = download();
    let limits = Limits { drain_timeout: Duration::from_millis(50), ..Limits::default() };
    let mut server = Server::start(routes, limits, None).await;
    let mut stream = begin_download(&server, &pieces).await;
    server.stop.take().unwrap().send(()).unwrap();
    timeout(DEADLINE, &mut server.task).await.unwrap().unwrap();
    assert!(!read_all(&mut stream).await.ends_with("0\r\n\r\n"));
    assert!(pieces.is_closed());
}

#[tokio::test]
async fn events_end_with_the_server() {
    let events = |draining: Draining| async {
        let message = sse::Message { event: "ready", data: serde_json::json!({"n": 1}), id: Some(7) };
        sse::response(futures_util::stream::iter([message]).chain(futures_util::stream::pending()), draining)
    };
    let mut server = Server::start(Router::new().route("/events", get(events)), Limits::default(), None).await;
    let mut stream = server.connect().await;
    let request = format!("GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"id: 7\n\n") {
        seen.push(timeout(DEADLINE, stream.read_u8()).await.unwrap().unwrap());
    }
    let seen = String::from_utf8(seen).unwrap();
    assert!(seen.contains("text/event-stream") && seen.contains("event: ready\ndata: {\"n\":1}\n"), "{seen}");
    server.stop.take().unwrap().send(()).unwrap();
    read_all(&mut stream).await;
    timeout(DEADLINE, &mut server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn slow_clients_are_dropped() {
    let limits = Limits { header_read_timeout: Duration::from_millis(60), ..Limits::default() };
    let server = Server::start(small(), limits, None).await;
    for beginning in ["", "P", "PRI * HTTP/2.0\r\n", "GET /hello HTTP/1.1\r\n", "GET /hello HTTP/1.1\r\nHost: a"] {
        let mut stream = server.connect().await;
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let answer = read_all(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{beginning:?}: {answer}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let limits = Limits { body_idle_timeout: Duration::from_millis(60), ..Limits::default() };
    let server = Server::start(small(), limits, None).await;
    let mut stream = server.connect().await;
    let head = format!("POST /double HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n", server.address);
    stream.write_all(format!("{head}Content-Length: 12\r\n\r\n{{").as_bytes()).await.unwrap();
    let answer = read_all(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("body-unreadable"), "{answer}");
}

struct Certificate {
    files: TlsFiles,
    roots: RootCertStore,
    folder: PathBuf,
}

impl Drop for Certificate {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

fn certificate(name: &str) -> Certificate {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = std::env::temp_dir().join(format!("mediahost-web-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let files = TlsFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    Certificate { files, roots, folder }
}

fn connector(roots: &RootCertStore, protocols: &[&str]) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn speaks_http_1_and_2_over_tls() {
    let certificate = certificate("both");
    let server = Server::start(small(), Limits::default(), Some(&certificate.files)).await;
    let encrypt = async |protocols: &[&str]| {
        let name = ServerName::try_from("localhost").unwrap();
        connector(&certificate.roots, protocols).connect(name, server.connect().await).await.unwrap()
    };
    let mut stream = encrypt(&[]).await;
    stream.write_all(b"GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(read_all(&mut stream).await.ends_with("hello"));

    let stream = encrypt(&["h2", "http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("https://localhost/hello").body(Body::empty()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, axum::http::Version::HTTP_2));
    assert_eq!(axum::body::to_bytes(Body::new(answer.into_body()), 100).await.unwrap(), "hello");
    let request = Request::get("https://evil.example/hello").body(Body::empty()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), StatusCode::MISDIRECTED_REQUEST);
    drop(sender);
    connection.await.unwrap().unwrap();

    let answer = server.ask("GET /hello", "").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("https-needed"), "{answer}");
}

#[tokio::test]
async fn certificates_are_read_again() {
    let (first, second) = (certificate("first"), certificate("second"));
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Some(&first.files)).await.unwrap();
    let reloader = listener.tls_reloader().unwrap();
    let server = Server::start_on(listener, small(), Limits::default());
    let connect = async |certificate: &Certificate| {
        let name = ServerName::try_from("localhost").unwrap();
        connector(&certificate.roots, &[]).connect(name, server.connect().await).await
    };
    let replace = |cert: &PathBuf, key: &PathBuf| {
        std::fs::copy(cert, &first.files.cert).unwrap();
        std::fs::copy(key, &first.files.key).unwrap();
    };
    let mut early = connect(&first).await.unwrap();

    replace(&second.files.cert, &second.files.key);
    assert!(connect(&first).await.is_ok(), "nobody has asked for it");
    reloader.reload().unwrap();
    assert!(connect(&second).await.is_ok() && connect(&first).await.is_err());

    let third = certificate("third");
    std::fs::copy(&third.files.cert, &first.files.cert).unwrap();
    assert!(reloader.clone().reload().unwrap_err().to_string().contains("do not work together"));
    std::fs::write(&first.files.cert, "nonsense").unwrap();
    assert!(reloader.reload().unwrap_err().to_string().contains("no certificate in PEM form"));
    std::fs::remove_file(&first.files.key).unwrap();
    reloader.reload().unwrap_err();
    assert!(connect(&second).await.is_ok(), "what cannot be used replaces nothing");
    replace(&third.files.cert, &third.files.key);
    reloader.reload().unwrap();
    assert!(connect(&third).await.is_ok());

    early.write_all(b"GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(read_all(&mut early).await.ends_with("hello"), "connections go on with the certificate that they have");
}

#[tokio::test]
async fn without_tls_there_is_nothing_to_read_again() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    assert!(listener.tls_reloader().is_none());
}

#[tokio::test]
async fn a_handshake_has_its_time() {
    let certificate = certificate("slow");
    let limits = Limits { handshake_timeout: Duration::from_millis(60), ..Limits::default() };
    let server = Server::start(small(), limits, Some(&certificate.files)).await;
    for beginning in [&b""[..], b"\x16\x03\x01"] {
        let mut stream = server.connect().await;
        stream.write_all(beginning).await.unwrap();
        assert_eq!(read_all(&mut stream).await, "");
    }
}

#[tokio::test]
async fn what_cannot_be_bound_says_why() {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let check = async |address: SocketAddr, tls: Option<TlsFiles>, words: &str| {
        let refused = Listener::bind(address, tls.as_ref()).await.err().unwrap().to_string();
        assert!(refused.contains(words), "{words} in {refused}");
    };
    let first = Listener::bind(any, None).await.unwrap();
    assert_eq!(first.scheme(), "http");
    check(first.address(), None, "taken by another program").await;
    check("192.0.2.1:0".parse().unwrap(), None, "no address 192.0.2.1").await;
    let (one, other) = (certificate("one"), certificate("other"));
    let files = |cert: &PathBuf, key: &PathBuf| Some(TlsFiles { cert: cert.clone(), key: key.clone() });
    let missing = one.folder.join("missing.pem");
    check(any, files(&missing, &one.files.key), "missing.pem").await;
    check(any, files(&one.files.key, &one.files.key), "no certificate in PEM form").await;
    check(any, files(&one.files.cert, &one.files.cert), "no private key in PEM form").await;
    check(any, files(&one.files.cert, &other.files.key), "do not work together").await;
}
