//! Accepts connections within bounds, speaks HTTP on them, and lets them end well.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Request, Response};
use futures_util::TryStreamExt;
use hyper::body::{Body as _, Incoming};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt;

use crate::answer::{Answer, Underway};
use crate::door::{Door, Seat};
use crate::sendfile::Stream;
use crate::sent::Sent;
use crate::tls::handshake;
use crate::wire::{Kind, Wire};
use crate::{Listener, Locate};

/// How long to wait when the system has no more sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often an HTTP/2 client that is silent is asked whether it is there, and how long it has to answer.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long an ended connection is kept for a peer that does not confirm the rest of what was sent from files.
const LINGER: Duration = Duration::from_secs(30);
/// How long an ended connection is kept for a peer that has not closed its side, and how many such there are at once.
const FAREWELL: Duration = Duration::from_secs(1);
const MAX_FAREWELLS: usize = 64;
/// How long a connection has its place for sure. Its first request is in the system's hands then, if it comes from a client
/// that only waited to be accepted.
const PATIENCE: Duration = Duration::from_millis(50);
/// Bytes of all header fields of an HTTP/2 request; HTTP/1.1 has hyper's own bounds (100 fields, about 400 KiB).
const MAX_HEADERS: u32 = 64 * 1024;

/// Bounds on what strangers can hold. Every field has a default.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once. For a further one, the one that has waited longest for a request is closed; when an answer is
    /// under way on each, it waits, and those behind it do in the system's backlog. Default: 1024.
    pub max_connections: usize,
    /// Of these, connections from one address, or one /64 of IPv6; the loopback has no such bound. A further one takes the
    /// place of one of the same address that waits for a request, or is closed. Default: none, which stands for half of
    /// `max_connections`.
    pub max_connections_per_address: Option<usize>,
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
            max_connections_per_address: None,
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
    let closing = CancellationToken::new();
    // A task of its own, wherever this future runs: a connection then begins on the thread that has accepted it.
    let accepting = AbortOnDropHandle::new(tokio::spawn(accept(listener, router, limits, closing.clone())));
    let mut accepting = pin!(accepting);
    tokio::select! {
        () = shutdown => closing.cancel(),
        ended = accepting.as_mut() => return report(ended),
    }
    report(accepting.await);
}

async fn accept(listener: Listener, router: Router, limits: Limits, closing: CancellationToken) {
    let draining = CancellationToken::new();
    let of_one = limits.max_connections_per_address.unwrap_or(limits.max_connections.div_ceil(2));
    let door = Door::new(limits.max_connections, of_one);
    let farewells = Arc::new(Semaphore::new(MAX_FAREWELLS));
    let mut at_door = None;
    let mut connections = JoinSet::new();
    let mut closed = pin!(closing.cancelled());
    loop {
        tokio::select! {
            biased;
            () = &mut closed => break,
            Some(ended) = connections.join_next() => report(ended),
            entered = enter(&listener, &door, &mut at_door) => match entered {
                Ok((stream, peer, seat)) => {
                    let files = listener.files_for(&stream, peer);
                    let acceptor = listener.tls.as_ref().map(|tls| tls.acceptor());
                    let connection = Connection {
                        peer,
                        router: router.clone(),
                        limits: limits.clone(),
                        draining: draining.clone(),
                        since: Instant::now(),
                        seat,
                        sent: Arc::default(),
                        farewells: farewells.clone(),
                    };
                    connections.spawn(connection.run(stream, acceptor, files));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(at_door);
    drop(listener);
    draining.cancel();
    drain(connections, limits.drain_timeout).await;
}

/// Accepts a connection and waits for its place. Dropped before that, it leaves who is at the door there.
async fn enter(
    listener: &Listener,
    door: &Arc<Door>,
    at_door: &mut Option<(TcpStream, SocketAddr)>,
) -> io::Result<(TcpStream, SocketAddr, Seat)> {
    loop {
        let peer = match at_door {
            Some((_, peer)) => *peer,
            None => at_door.insert(listener.socket.accept().await?).1,
        };
        let seat = door.place(peer.ip()).await;
        match (at_door.take(), seat) {
            (Some((stream, peer)), Some(seat)) => return Ok((stream, peer, seat)),
            _ => {
                tracing::debug!(%peer, "this address has all the connections that it may have");
                metrics::counter!("http_connections_closed_total", "reason" => "address").increment(1);
            }
        }
    }
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
        tracing::error!(%error, "serving ended with a fault of ours");
    }
}

/// One accepted connection.
struct Connection {
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    draining: CancellationToken,
    /// When it got its place.
    since: Instant,
    seat: Seat,
    sent: Arc<Sent>,
    farewells: Arc<Semaphore>,
}

impl Connection {
    async fn run(self, stream: TcpStream, tls: Option<TlsAcceptor>, files: Option<Locate>) {
        // Answers are written in large pieces; Nagle's algorithm could only delay their ends.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was refused");
        }
        match tls {
            None => self.speak(Kind::Plain(Stream::new(stream, files, self.sent.clone()))).await,
            Some(acceptor) => {
                if let Some(kind) = self.encrypt(acceptor, stream).await {
                    self.speak(kind).await;
                }
            }
        }
        let Connection { seat, sent, farewells, .. } = self;
        if !sent.is_settled() {
            seat.occupant().stay();
            sent.settle(LINGER).await;
        }
        // Nobody else has to wait for this.
        drop(seat);
        if let Ok(_one) = farewells.try_acquire() {
            sent.part(FAREWELL).await;
        }
    }

    /// None when nothing is to be spoken.
    async fn encrypt(&self, acceptor: TlsAcceptor, stream: TcpStream) -> Option<Kind> {
        let handshake = timeout(self.limits.handshake_timeout, handshake(acceptor, stream));
        let result = tokio::select! {
            result = handshake => result,
            () = self.is_wanted() => {
                // In a handshake there is nothing to lose.
                self.makes_room();
                return None;
            }
        };
        match result {
            Ok(Ok(stream)) => return stream.map(Kind::Encrypted),
            Ok(Err(error)) => tracing::debug!(peer = %self.peer, %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(peer = %self.peer, "a TLS handshake took too long"),
        }
        None
    }

    /// Speaks HTTP to the end of the connection.
    async fn speak(&self, kind: Kind) {
        let asked = Arc::new(AtomicBool::new(false));
        let service = hyper::service::service_fn(|request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            self.answer(request)
        });
        let builder = self.builder();
        let wire = TokioIo::new(Wire::new(kind, self.seat.occupant().clone()));
        let mut connection = pin!(builder.serve_connection_with_upgrades(wire, service));
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
                () = self.is_wanted() => {
                    if !self.seat.occupant().gives_up() {
                        continue;
                    }
                    self.makes_room();
                    connection.as_mut().graceful_shutdown();
                    // Enough for a word of farewell; nothing else is left to say.
                    poll_once(connection.as_mut()).await;
                    return;
                }
            };
            if let Err(error) = ended {
                tracing::debug!(peer = %self.peer, error, "a connection ended early");
            }
            return;
        }
    }

    /// Resolves when the place is wanted, but not before its time. What was not awaited to the end was not taken notice of.
    async fn is_wanted(&self) {
        sleep_until(self.since + PATIENCE).await;
        self.seat.is_wanted().await;
    }

    fn makes_room(&self) {
        tracing::debug!(peer = %self.peer, "a connection without a request made room for another");
        metrics::counter!("http_connections_closed_total", "reason" => "room").increment(1);
    }

    fn answer(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Answer>, Infallible>> + Send + 'static {
        let underway = Underway::begin(self.seat.occupant(), &self.sent);
        let limit = self.limits.body_idle_timeout;
        let mut request = request.map(|body| impatient(body, limit));
        request.extensions_mut().insert(ConnectInfo(self.peer));
        request.extensions_mut().insert(Draining(self.draining.clone()));
        let router = self.router.clone();
        async move {
            // The connection ends before this would.
            let Some(underway) = underway else { return std::future::pending().await };
            let response = router.oneshot(request).await?;
            Ok(response.map(|body| Answer::new(body, underway)))
        }
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

/// Polls something once, whatever becomes of it.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) {
    let once = |cx: &mut Context<'_>| {
        drop(future.as_mut().poll(cx));
        Poll::Ready(())
    };
    std::future::poll_fn(once).await;
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
