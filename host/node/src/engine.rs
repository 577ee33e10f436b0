//! The engine within another program: sessions, statistics and bytes, without configuration files, tokens or a page.
//!
//! Owns: a runtime of its own, plain types that cross a foreign-function bridge, the callback for credentials.
//! Leaves to others: what a session is and does (`service/proxy`), making the parts ([`crate::parts`]).
//!
//! Invariant: no function here needs a runtime of the caller, and none of the asynchronous ones blocks; they may be awaited
//! on any executor.
//!
//! ```no_run
//! use mediahost::engine::{Engine, EngineConfig, Error};
//! # async fn example() -> Result<(), Error> {
//! let engine = Engine::init(EngineConfig::new("/var/cache/player"))?;
//! let film = engine.create_session("https://example.org/film.mp4", Default::default(), None).await?;
//! engine.ready(&film.session_id).await?;
//! println!("play {}", film.playback_url.unwrap_or_default());
//! engine.dispose();
//! # Ok(()) }
//! ```

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use plugin::Header;
pub use proxy::Bus;
pub use proxy::bus::{Event, Happening, Subscription, Told};
use proxy::{NewSession, Proxy, Session, SessionId};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::parts;

/// Threads of the engine's own runtime.
const THREADS: usize = 2;
/// How often statistics are told.
const STATS_EVERY: Duration = Duration::from_secs(1);
/// Events that are kept for whoever listens slowly, unless the program has a bus of its own.
const EVENTS: usize = 1024;
/// Questions for credentials of one session in a row, at most: who has no better answer is not asked for ever.
const MAX_QUESTIONS: u32 = 5;
/// How long writing what is not yet durable may take at the end.
const FLUSH: Duration = Duration::from_secs(10);
/// How long answers to players may go on after the end began.
const DRAIN: Duration = Duration::from_secs(2);
/// What a reader asks for in one go, bytes; it stops when it is dropped or leaps.
const READ_ON: u64 = 1 << 40;
/// A leap of a reader that is read through instead, bytes.
const READ_THROUGH: u64 = 256 << 10;

/// How an engine behaves.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Bytes that one request asks for, at most: 256 KiB to 16 MiB. Default: 2 MiB.
    pub chunk_size: u64,
    /// Requests to one server at once, at most: 1 to 64. How many it bears is learned. Default: 8.
    pub max_concurrency: u32,
    /// Where everything is kept; one engine has it at a time.
    pub cache_dir: PathBuf,
    /// Bytes that may be kept; none for all but 1 GiB of the disk. Default: none.
    pub quota_bytes: Option<u64>,
    /// Whether players reach sessions over HTTP, at a port of this machine that the system chooses. Default: yes.
    pub http: bool,
    /// Private addresses that redirects and manifests may lead to, as `192.168.1.0/24`. Default: none.
    pub allow_private: Vec<String>,
    /// Where plugins are dropped. Default: `plugins` in `cache_dir`.
    pub plugins_dir: Option<PathBuf>,
    /// Where the events of all sessions go: a bus of the program's own, with the bound that it likes. Default: one that
    /// keeps 1024 events; see [`Engine::events`].
    pub bus: Option<Bus>,
}

impl EngineConfig {
    /// The defaults, with this folder.
    pub fn new(cache_dir: impl Into<PathBuf>) -> EngineConfig {
        EngineConfig {
            chunk_size: 2 << 20,
            max_concurrency: 8,
            cache_dir: cache_dir.into(),
            quota_bytes: None,
            http: true,
            allow_private: Vec::new(),
            plugins_dir: None,
            bus: None,
        }
    }
}

/// Why the engine does not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field of the configuration.
    #[error("{field} {why}")]
    Config { field: &'static str, why: String },
    /// A part could not be made.
    #[error(transparent)]
    Start(#[from] parts::Error),
    /// The system gave no threads.
    #[error("the engine's runtime cannot be made: {0}")]
    Runtime(io::Error),
    /// The session cannot be made.
    #[error("{0}")]
    Refused(String),
    /// There is no such session.
    #[error("there is no session {0:?}; it may have been closed")]
    UnknownSession(String),
    /// What is wrong with a session; `code` is stable, `message` is for people.
    #[error("{message} ({code})")]
    Session { code: String, message: String },
    /// The engine was disposed of.
    #[error("the engine was disposed of")]
    Disposed,
}

impl From<proxy::Fault> for Error {
    fn from(fault: proxy::Fault) -> Error {
        Error::Session { code: fault.code, message: fault.message }
    }
}

/// A session that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    pub session_id: String,
    /// Give it to a player; none in an engine without HTTP.
    pub playback_url: Option<String>,
}

/// How things stand with a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// `opening`, `ready`, `auth-required`, `failed` or `closed`.
    pub state: String,
    /// `init`, `downloading` or `complete`.
    pub phase: String,
    /// FFmpeg's name for the container, once recognised.
    pub container: Option<String>,
    pub media_type: Option<String>,
    pub duration_ms: Option<u64>,
    /// Bytes of what is served, once known.
    pub length: Option<u64>,
    /// A stable word for what is wrong.
    pub error_code: Option<String>,
    /// The same in a sentence.
    pub error_message: Option<String>,
}

/// How bytes flow, of one session or of all together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProxyStats {
    /// Bits per second from upstreams.
    pub download_bps: u64,
    /// Bits per second to players.
    pub serve_bps: u64,
    /// Bytes ready beyond where is read.
    pub buffered_bytes_ahead: u64,
    /// Connections that bring bytes.
    pub active_workers: u32,
    /// Share of the served bytes that had been fetched before, 0 to 1.
    pub cache_hit_rate: f64,
}

/// What the upstream of a session refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthRequest {
    pub session_id: String,
    /// The address, without credentials and query.
    pub url: String,
    pub message: String,
}

/// New credentials. What is none stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// A new address of the same bytes.
    pub url: Option<String>,
    /// Header fields in place of those before.
    pub headers: Option<HashMap<String, String>>,
}

type OnAuthRequired = dyn Fn(AuthRequest) -> Option<Credentials> + Send + Sync;

/// A running engine. Ends when it is dropped; [`Engine::dispose`] waits for that.
pub struct Engine {
    runtime: Option<Runtime>,
    parts: Arc<Parts>,
}

struct Parts {
    handle: Handle,
    proxy: Arc<Proxy>,
    plugins: Arc<wasm::Host>,
    bus: Bus,
    /// What links begin with.
    base: Option<String>,
    on_auth_required: Mutex<Option<Arc<OnAuthRequired>>>,
    /// How often each session was asked about since it was ready; [`MAX_QUESTIONS`] where there is no answer.
    questions: watch::Sender<HashMap<SessionId, u32>>,
    /// Becomes true at the end.
    end: watch::Sender<bool>,
    server: Mutex<Option<JoinHandle<()>>>,
}

impl Engine {
    /// Starts an engine. Compiles the plugins the first time, which takes a few seconds; blocks meanwhile.
    pub fn init(config: EngineConfig) -> Result<Engine, Error> {
        let checked = Checked::of(&config)?;
        // Of its own, so that it may be called from within another runtime.
        let make = std::thread::spawn(move || {
            let mut builder = Builder::new_multi_thread();
            let runtime = builder.worker_threads(THREADS).thread_name("mediahost").enable_all().build();
            let runtime = runtime.map_err(Error::Runtime)?;
            let parts = runtime.block_on(start(config, checked, runtime.handle().clone()))?;
            Ok::<_, Error>((runtime, parts))
        });
        let (runtime, parts) = make.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let parts = Arc::new(parts);
        parts.handle.spawn(ask_for_credentials(Arc::downgrade(&parts), parts.bus.subscribe()));
        Ok(Engine { runtime: Some(runtime), parts })
    }

    /// Makes a session of an address and begins to open it. What its upstream says shows in [`Engine::status`]. Sessions with
    /// the same `file_key` share what is kept.
    pub async fn create_session(
        &self,
        url: &str,
        headers: HashMap<String, String>,
        file_key: Option<&str>,
    ) -> Result<SessionInfo, Error> {
        let new = NewSession {
            url: url.to_owned(),
            headers: fields(headers),
            file_key: file_key.map(str::to_owned),
            bus: Some(self.parts.bus.clone()),
            ..NewSession::default()
        };
        let parts = self.parts.clone();
        let session = self.run(async move { parts.proxy.create(new).await }).await?;
        let session = session.map_err(|refusal| Error::Refused(refusal.to_string()))?;
        let path = self.parts.proxy.playback_path(&session);
        let playback_url = self.parts.base.as_ref().map(|base| format!("{base}{path}"));
        Ok(SessionInfo { session_id: session.id().to_string(), playback_url })
    }

    /// How things stand with a session.
    pub fn status(&self, session_id: &str) -> Result<SessionStatus, Error> {
        let session = self.parts.session(session_id)?;
        let (facts, error) = (session.facts(), session.error());
        Ok(SessionStatus {
            state: word(&session.state()),
            phase: word(&session.phase()),
            container: facts.container,
            media_type: facts.media_type,
            duration_ms: facts.duration_ms,
            length: session.length(),
            error_code: error.as_ref().map(|fault| fault.code.clone()),
            error_message: error.map(|fault| fault.message),
        })
    }

    /// Waits until what a player needs first is there, or tells why it does not come. While somebody is being asked for
    /// credentials ([`Engine::on_auth_required`]), it waits for the answer.
    pub async fn ready(&self, session_id: &str) -> Result<(), Error> {
        let session = self.parts.session(session_id)?;
        let parts = self.parts.clone();
        self.run(async move {
            let mut questions = parts.questions.subscribe();
            loop {
                match session.ready().await {
                    Err(fault) if fault.code == plugin::code::AUTH_REQUIRED && parts.may_be_answered(session.id()) => {
                        tokio::select! {
                            () = session.answered() => {}
                            _ = questions.changed() => {}
                        }
                    }
                    other => return Ok(other?),
                }
            }
        })
        .await?
    }

    /// What happens to the sessions, from now on. Who is slower than the bus allows is told how many events were missed.
    pub fn events(&self) -> Subscription {
        self.parts.bus.subscribe()
    }

    /// Ends a session. What it fetched stays in the cache.
    pub async fn close_session(&self, session_id: &str) -> Result<(), Error> {
        let id = self.parts.session(session_id)?.id();
        let parts = self.parts.clone();
        self.run(async move { parts.proxy.close(id).await }).await.map(drop)
    }

    /// Gives a session new credentials or a new address of the same bytes. Readers that wait go on.
    pub async fn update_session_auth(&self, session_id: &str, credentials: Credentials) -> Result<(), Error> {
        let session = self.parts.session(session_id)?;
        let parts = self.parts.clone();
        self.run(async move { parts.renew(&session, credentials).await }).await?
    }

    /// Has somebody asked for credentials whenever an upstream wants others. The function may take its time: it is called on a
    /// thread of its own, and players wait meanwhile. Without an answer they wait for
    /// [`Engine::update_session_auth`].
    pub fn on_auth_required(&self, ask: impl Fn(AuthRequest) -> Option<Credentials> + Send + Sync + 'static) {
        *lock(&self.parts.on_auth_required) = Some(Arc::new(ask));
    }

    /// Statistics of a session, or of all together, once a second, until the session or the engine ends.
    pub fn watch_stats(&self, session_id: Option<&str>) -> Result<StatsStream, Error> {
        let session = session_id.map(|id| self.parts.session(id)).transpose()?;
        let (sender, receiver) = watch::channel(ProxyStats::default());
        let (proxy, mut end) = (self.parts.proxy.clone(), self.parts.end.subscribe());
        let session = session.map(|session| session.id());
        self.parts.handle.spawn(async move {
            let mut tick = tokio::time::interval(STATS_EVERY);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = tick.tick() => {}
                    _ = end.changed() => return,
                    () = sender.closed() => return,
                }
                let mut counted = proxy.list();
                counted.retain(|one| session.is_none_or(|id| one.id() == id));
                if session.is_some() && counted.is_empty() {
                    return;
                }
                // Who has not taken the last ones gets the newest.
                sender.send_replace(stats(proxy::rates_of(&counted)));
            }
        });
        let newest = async |mut receiver: watch::Receiver<ProxyStats>| {
            receiver.changed().await.ok()?;
            let now = *receiver.borrow_and_update();
            Some((now, receiver))
        };
        Ok(StatsStream(Box::pin(futures_util::stream::unfold(receiver, newest))))
    }

    /// Reads what a session serves, without HTTP. For a thread that may block: a decoder's.
    pub fn open(&self, session_id: &str) -> Result<Reader, Error> {
        let session = self.parts.session(session_id)?;
        let (end, parts) = (self.parts.end.subscribe(), Arc::downgrade(&self.parts));
        let handle = self.parts.handle.clone();
        Ok(Reader { handle, parts, end, session, etag: None, position: 0, under_way: None })
    }

    /// Where players reach sessions; none without HTTP.
    pub fn base_url(&self) -> Option<&str> {
        self.parts.base.as_deref()
    }

    /// Ends all sessions, writes what is not yet durable, and gives the folder back. Blocks meanwhile.
    pub fn dispose(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        let parts = self.parts.clone();
        parts.end.send_replace(true);
        // On a thread of its own: whoever drops an engine may be within another runtime.
        let ending = std::thread::spawn(move || {
            runtime.block_on(async {
                let server = lock(&parts.server).take();
                if let Some(server) = server {
                    let _ = tokio::time::timeout(DRAIN * 2, server).await;
                }
                if tokio::time::timeout(FLUSH, parts.proxy.shutdown()).await.is_err() {
                    tracing::warn!("the cache could not be written out in time; some of it will be fetched again");
                }
            });
            parts.plugins.shutdown();
            runtime.shutdown_timeout(DRAIN);
        });
        if ending.join().is_err() {
            tracing::error!("the engine ended in a fault of ours");
        }
    }

    /// Runs on the engine's own runtime what may be awaited on any.
    async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, Error> {
        self.parts.handle.spawn(work).await.map_err(|_| Error::Disposed)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
    }
}

/// What of a configuration had to be checked.
struct Checked {
    allow_private: Vec<fetch::Cidr>,
}

impl Checked {
    fn of(config: &EngineConfig) -> Result<Checked, Error> {
        let within = |field, value: u64, range: std::ops::RangeInclusive<u64>| match range.contains(&value) {
            true => Ok(()),
            false => {
                let why = format!("is {value}, and has to be {} to {}", range.start(), range.end());
                Err(Error::Config { field, why })
            }
        };
        within("chunk_size", config.chunk_size, 256 << 10..=16 << 20)?;
        within("max_concurrency", config.max_concurrency.into(), 1..=64)?;
        let block = |text: &String| {
            text.parse()
                .map_err(|error| Error::Config { field: "allow_private", why: format!("cannot be read: {error}") })
        };
        Ok(Checked { allow_private: config.allow_private.iter().map(block).collect::<Result<_, _>>()? })
    }
}

async fn start(config: EngineConfig, checked: Checked, handle: Handle) -> Result<Parts, Error> {
    let client = fetch::Config { allow_private: checked.allow_private, ..fetch::Config::default() };
    let client = fetch::Client::new(client).map_err(parts::Error::Client)?;
    let folder = &config.cache_dir;
    // Taken first: it is what keeps a second engine out.
    let store = parts::cache(&folder.join("objects"))?;
    let plugins_dir = config.plugins_dir.unwrap_or_else(|| folder.join("plugins"));
    let plugins = parts::plugins(&plugins_dir, folder, &client).await?;
    let sessions = parts::sessions(&folder.join("sessions"))?;
    // Sessions are the program's, and it does not know those of its last run.
    for name in sessions.list().unwrap_or_default() {
        let _ = sessions.delete(&name);
    }
    let wanted = proxy::Config {
        max_spans: config.max_concurrency as usize,
        span_max: config.chunk_size,
        bounds: proxy::Bounds { quota: config.quota_bytes, ..proxy::Config::default().bounds },
        ..proxy::Config::default()
    };
    let proxy = Proxy::start(wanted, plugins.clone(), client, store, sessions);
    let (end, bus) = (watch::Sender::new(false), config.bus.unwrap_or_else(|| Bus::new(EVENTS)));
    let (base, server) = match config.http {
        true => {
            let (base, server) = listen(&proxy, &end).await?;
            (Some(base), Some(server))
        }
        false => (None, None),
    };
    Ok(Parts {
        handle,
        proxy,
        plugins,
        bus,
        base,
        on_auth_required: Mutex::default(),
        questions: watch::Sender::default(),
        end,
        server: Mutex::new(server),
    })
}

/// Serves the streams of sessions to this machine, and nothing else.
async fn listen(proxy: &Arc<Proxy>, end: &watch::Sender<bool>) -> Result<(String, JoinHandle<()>), Error> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = web::Listener::bind(any, None).await.map_err(parts::Error::Listen)?;
    let listener = listener.with_files(Arc::new(store::locate));
    let bound = listener.address();
    let policy = web::Policy { bound, public_url: None, hosts: Vec::new(), cors_origins: Vec::new() };
    let guard = web::Guard::new(policy).map_err(parts::Error::Listen)?;
    let app = web::app(proxy::routes::stream_routes(proxy.clone()), guard);
    let limits = web::Limits { drain_timeout: DRAIN, ..web::Limits::default() };
    let mut ended = end.subscribe();
    let ending = async move {
        let _ = ended.wait_for(|over| *over).await;
    };
    Ok((format!("http://{bound}"), tokio::spawn(web::serve(listener, app, limits, ending))))
}

impl Parts {
    fn session(&self, id: &str) -> Result<Arc<Session>, Error> {
        let unknown = || Error::UnknownSession(id.chars().take(80).collect());
        let known: SessionId = id.parse().map_err(|()| unknown())?;
        // A session that is not open yet begins to open, for which it takes the runtime.
        let _here = self.handle.enter();
        self.proxy.session(known).ok_or_else(unknown)
    }

    async fn renew(&self, session: &Arc<Session>, credentials: Credentials) -> Result<(), Error> {
        let Credentials { url, headers } = credentials;
        let renewed = self.proxy.renew(session, url, headers.map(fields)).await;
        renewed.map_err(|refusal| Error::Refused(refusal.to_string()))
    }
}

/// Asks the program whenever a session needs credentials. Questions about several sessions are asked at the same time.
async fn ask_for_credentials(parts: Weak<Parts>, mut listening: Subscription) {
    loop {
        let told = listening.next().await;
        let Some(parts) = parts.upgrade() else { return };
        match told {
            Some(Told::Happened(Happening { session, event: Event::AuthRequired(_) })) => parts.ask(session),
            Some(Told::Happened(Happening { session, event: Event::Ready | Event::Closed })) => {
                parts.questions.send_if_modified(|questions| questions.remove(&session).is_some());
            }
            Some(Told::Happened(_)) => {}
            // One of those that were missed may have been a question.
            Some(Told::Missed(_)) => parts.proxy.list().iter().for_each(|session| parts.ask(session.id())),
            None => return,
        }
    }
}

impl Parts {
    /// Whether somebody is being asked about a session, or will be.
    fn may_be_answered(&self, id: SessionId) -> bool {
        let asked = self.questions.borrow().get(&id).copied().unwrap_or(0);
        asked < MAX_QUESTIONS && lock(&self.on_auth_required).is_some()
    }

    /// Asks about a session that needs credentials, and gives it those that are the answer.
    fn ask(self: &Arc<Self>, id: SessionId) {
        let Some(ask) = lock(&self.on_auth_required).clone() else { return };
        let Some(session) = self.proxy.session(id) else { return };
        let (proxy::State::AuthRequired, Some(fault)) = (session.state(), session.error()) else { return };
        if !self.may_be_answered(id) {
            return;
        }
        self.questions.send_modify(|questions| *questions.entry(id).or_default() += 1);
        let request = AuthRequest { session_id: id.to_string(), url: session.shown_url(), message: fault.message };
        let parts = self.clone();
        self.handle.spawn(async move {
            // A panic in the caller's function is the caller's; the engine goes on without an answer.
            let answer = tokio::task::spawn_blocking(move || ask(request)).await.ok().flatten();
            let given = match answer {
                Some(credentials) => parts.renew(&session, credentials).await.map_err(|error| error.to_string()),
                None => Err("nobody had any".to_owned()),
            };
            if let Err(why) = given {
                tracing::info!(session = ?id, why, "there are no new credentials");
                parts.questions.send_modify(|questions| {
                    questions.insert(id, MAX_QUESTIONS);
                });
            }
        });
    }
}

/// Statistics as they come.
pub struct StatsStream(Pin<Box<dyn Stream<Item = ProxyStats> + Send>>);

impl StatsStream {
    /// The newest ones, within a second; none when the session or the engine has ended.
    pub async fn next(&mut self) -> Option<ProxyStats> {
        self.0.next().await
    }

    /// The same for a thread that may block. Not within an asynchronous function.
    pub fn next_blocking(&mut self) -> Option<ProxyStats> {
        wait(self.0.next())
    }
}

impl Stream for StatsStream {
    type Item = ProxyStats;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<ProxyStats>> {
        self.0.poll_next_unpin(context)
    }
}

/// Waits for one of the engine's futures on this thread, for programs without an executor. Not within an asynchronous function.
pub fn wait<T>(work: impl Future<Output = T>) -> T {
    struct Here(Thread);
    impl Wake for Here {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Here(std::thread::current())));
    let mut work = pin!(work);
    loop {
        match work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Reads what a session serves. Each call blocks until there is something, so it is not for an asynchronous function. It ends
/// with an error when the engine does, and when the file is another one than the one that was begun with. The engine's folder
/// is free when its readers are dropped.
pub struct Reader {
    handle: Handle,
    parts: Weak<Parts>,
    end: watch::Receiver<bool>,
    session: Arc<Session>,
    /// Of the version that is read.
    etag: Option<String>,
    position: u64,
    under_way: Option<UnderWay>,
}

/// A request that goes on as long as reading does.
struct UnderWay {
    bytes: Pin<Box<dyn Stream<Item = Result<Bytes, proxy::Fault>> + Send>>,
    /// What has come and was not taken yet.
    left: Bytes,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl Reader {
    /// Length in bytes, once it is known.
    pub fn length(&self) -> Option<u64> {
        self.session.length()
    }

    /// Ends a request. Others may begin something in its place, for which it takes the runtime.
    fn let_go(&mut self) {
        let _here = self.handle.enter();
        self.under_way = None;
    }

    /// What has come next; empty at the end.
    fn fill(&mut self) -> Result<&mut UnderWay, Error> {
        let (handle, mut end) = (self.handle.clone(), self.end.clone());
        if *end.borrow() {
            return Err(Error::Disposed);
        }
        if self.under_way.is_none() {
            // One whose file was changed begins to open again.
            self.parts.upgrade().ok_or(Error::Disposed)?.session(&self.session.id().to_string())?;
            let range = self.position..self.position.saturating_add(READ_ON);
            let (etag, bytes) = handle.block_on(or_end(&mut end, self.session.read(range)))??;
            if self.etag.get_or_insert_with(|| etag.clone()) != &etag {
                let message = "the file is another one now than the one that was begun with".to_owned();
                return Err(Error::Session { code: "upstream-changed".to_owned(), message });
            }
            self.under_way = Some(UnderWay { bytes: Box::pin(bytes), left: Bytes::new() });
        }
        while let Some(under_way) = self.under_way.as_mut().filter(|under_way| under_way.left.is_empty()) {
            match handle.block_on(or_end(&mut end, under_way.bytes.next())) {
                Ok(Some(Ok(bytes))) => under_way.left = bytes,
                Ok(None) => break,
                Ok(Some(Err(fault))) => {
                    self.let_go();
                    return Err(fault.into());
                }
                Err(over) => {
                    self.let_go();
                    return Err(over);
                }
            }
        }
        self.under_way.as_mut().ok_or(Error::Disposed)
    }
}

/// Waits for something, but not beyond the engine's end.
async fn or_end<T>(end: &mut watch::Receiver<bool>, work: impl Future<Output = T>) -> Result<T, Error> {
    tokio::select! {
        biased;
        _ = end.wait_for(|over| *over) => Err(Error::Disposed),
        done = work => Ok(done),
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let under_way = self.fill().map_err(io::Error::other)?;
        let count = under_way.left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&under_way.left.split_to(count));
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let unknown = || io::Error::new(io::ErrorKind::Unsupported, "the length of what is read is not known yet");
        let (base, by) = match to {
            SeekFrom::Start(position) => (position, 0),
            SeekFrom::Current(by) => (self.position, by),
            SeekFrom::End(by) => (self.length().ok_or_else(unknown)?, by),
        };
        let before = || io::Error::new(io::ErrorKind::InvalidInput, "a seek to before the first byte");
        let position = base.checked_add_signed(by).ok_or_else(before)?;
        // What lies a little ahead comes anyway.
        while self.position < position && position - self.position <= READ_THROUGH {
            let Some(under_way) = self.under_way.as_mut().filter(|under_way| !under_way.left.is_empty()) else { break };
            let count = under_way.left.len().min((position - self.position) as usize);
            drop(under_way.left.split_to(count));
            self.position += count as u64;
        }
        if self.position != position {
            self.let_go();
            self.position = position;
        }
        Ok(position)
    }
}

fn stats(rates: proxy::Rates) -> ProxyStats {
    ProxyStats {
        download_bps: rates.download_bps,
        serve_bps: rates.serve_bps,
        buffered_bytes_ahead: rates.buffered_bytes_ahead,
        active_workers: u32::try_from(rates.active_workers).unwrap_or(u32::MAX),
        cache_hit_rate: rates.cache_hit_rate(),
    }
}

fn fields(headers: HashMap<String, String>) -> Vec<Header> {
    headers.into_iter().map(|(name, value)| Header { name, value }).collect()
}

/// A word as JSON has it.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
