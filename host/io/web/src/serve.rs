//! Accepts connections within bounds, speaks HTTP on them, and lets them end well.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::Request;
use axum::http::request::Parts;
use futures_util::TryStreamExt;
use hyper::body::{Body as _, Incoming};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::Listener;

/// How long to wait when the system has no more sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often an HTTP/2 client that is silent is asked whether it is there, and how long it has to answer.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// Bytes of all header fields of an HTTP/2 request; HTTP/1.1 has hyper's own bounds (100 fields, about 400 KiB).
const MAX_HEADERS: u32 = 64 * 1024;

/// Bounds on what strangers can hold. Every field has a default.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once; further ones wait in the system's backlog. Default: 1024.
    pub max_connections: usize,
    /// How long a client may take for the head of a request, and how long an HTTP/1.1 connection may be idle.
    /// Default: 30 s.
    pub header_read_timeout: Duration,
    /// How long a client may be silent within the body of a request. Default: 30 s.
    pub body_idle_timeout: Duration,
    /// How long a TLS handshake may take. Default: 10 s.
    pub handshake_timeout: Duration,
    /// How long answers that are under way may go on after shutdown began. Default: 10 s.
    pub drain_timeout: Duration,
    /// Requests at once on one HTTP/2 connection. Default: 128.
    pub max_streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            header_read_timeout: Duration::from_secs(30),
            body_idle_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
            max_streams: 128,
        }
    }
}

/// Says when the server begins to drain. A handler takes it as an argument; an answer without an end of its own, such as
/// a stream of events, ends with it.
#[derive(Clone, Debug, Default)]
pub struct Draining(CancellationToken);

impl Draining {
    /// Resolves when the server begins to drain.
    pub fn begins(self) -> impl Future<Output = ()> + Send + 'static {
        self.0.cancelled_owned()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Draining {
    type Rejection = Infallible;

    /// Outside of [`serve`] nothing ever drains.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Draining>().cloned().unwrap_or_default())
    }
}

/// Serves until `shutdown` resolves, then stops accepting, lets running answers finish for `drain_timeout`, and drops the
/// rest. Dropping the future drops everything at once.
///
/// Handlers find the peer as `ConnectInfo<SocketAddr>` and the end as [`Draining`].
pub async fn serve(listener: Listener, router: Router, limits: Limits, shutdown: impl Future<Output = ()>) {
    let draining = CancellationToken::new();
    let permits = Arc::new(Semaphore::new(limits.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => report(ended),
            (permit, accepted) = accept(&listener, &permits) => match accepted {
                Ok((stream, peer)) => {
                    let connection = Connection {
                        peer,
                        router: router.clone(),
                        limits: limits.clone(),
                        draining: draining.clone(),
                        _permit: permit,
                    };
                    connections.spawn(connection.run(stream, listener.tls.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    draining.cancel();
    drain(connections, limits.drain_timeout).await;
}

/// Takes a permit first, so that what is too much waits in the backlog and not with us.
async fn accept(
    listener: &Listener,
    permits: &Arc<Semaphore>,
) -> (OwnedSemaphorePermit, io::Result<(TcpStream, SocketAddr)>) {
    let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
    (permit, listener.socket.accept().await)
}

async fn drain(mut connections: JoinSet<()>, limit: Duration) {
    let all = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    if timeout(limit, all).await.is_err() {
        tracing::info!(connections = connections.len(), "dropped the connections that did not end in time");
        connections.shutdown().await;
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection ended with a fault of ours");
    }
}

/// One accepted connection.
struct Connection {
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    draining: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        // Answers are written in large pieces; Nagle's algorithm could only delay their ends.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was refused");
        }
        let Some(acceptor) = tls else { return self.speak(stream).await };
        match timeout(self.limits.handshake_timeout, handshake(acceptor, stream)).await {
            Ok(Ok(Some(stream))) => self.speak(*stream).await,
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::debug!(peer = %self.peer, %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(peer = %self.peer, "a TLS handshake took too long"),
        }
    }

    /// Speaks HTTP to the end of the connection.
    async fn speak<I: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: I) {
        let asked = Arc::new(AtomicBool::new(false));
        let service = hyper::service::service_fn(|request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            self.answer(request)
        });
        let builder = self.builder();
        let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let mut silent = pin!(sleep(self.limits.header_read_timeout));
        let mut waiting = true;
        let mut draining = false;
        loop {
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = self.draining.cancelled(), if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                    continue;
                }
                // hyper's own timeout begins when it knows the version; this one covers a client that says nothing.
                () = silent.as_mut(), if waiting => {
                    waiting = false;
                    if asked.load(Ordering::Relaxed) { continue } else { return }
                }
            };
            if let Err(error) = ended {
                tracing::debug!(peer = %self.peer, error, "a connection ended early");
            }
            return;
        }
    }

    fn answer(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<axum::response::Response, Infallible>> + Send + 'static {
        let limit = self.limits.body_idle_timeout;
        let mut request = request.map(|body| impatient(body, limit));
        request.extensions_mut().insert(ConnectInfo(self.peer));
        request.extensions_mut().insert(Draining(self.draining.clone()));
        self.router.clone().oneshot(request)
    }

    fn builder(&self) -> auto::Builder<Streams> {
        let mut builder = auto::Builder::new(Streams::default());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(self.limits.header_read_timeout);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_INTERVAL)
            .max_concurrent_streams(self.limits.max_streams)
            .max_header_list_size(MAX_HEADERS);
        builder
    }
}

/// A body that fails when the client is silent for too long.
fn impatient(body: Incoming, limit: Duration) -> Body {
    if body.is_end_stream() {
        return Body::empty();
    }
    let pieces = futures_util::stream::try_unfold(Body::new(body).into_data_stream(), move |mut pieces| async move {
        match timeout(limit, pieces.try_next()).await {
            Ok(piece) => Ok(piece.map_err(io::Error::other)?.map(|piece| (piece, pieces))),
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
        }
    });
    Body::from_stream(pieces)
}

/// The tasks of one HTTP/2 connection, one for each of its streams. They end with the connection.
#[derive(Clone, Default)]
struct Streams(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(ended) = tasks.try_join_next() {
            report(ended);
        }
        tasks.spawn(stream);
    }
}

type Encrypted = tokio_rustls::server::TlsStream<TcpStream>;

/// The first byte of a TLS record that begins a handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 0x16;

/// The encrypted stream; none for a client that spoke plain HTTP and was told so.
async fn handshake(acceptor: TlsAcceptor, mut stream: TcpStream) -> io::Result<Option<Box<Encrypted>>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
        turn_away(&mut stream).await?;
        return Ok(None);
    }
    Ok(Some(Box::new(acceptor.accept(stream).await?)))
}

/// Tells a client that speaks plain HTTP to use HTTPS.
async fn turn_away(stream: &mut TcpStream) -> io::Result<()> {
    const BODY: &str = r#"{"status":400,"code":"https-needed","title":"Bad Request","detail":"This port speaks HTTPS. Use an address that begins with https://."}"#;
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{BODY}",
        crate::problem::MEDIA_TYPE,
        BODY.len(),
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing with bytes unread would reset the connection, and the client might never see the answer.
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
