//! The caching media proxy: an address becomes a session, a session has a URL that a player reads ranges from, and what
//! was read once is served from the disk.
//!
//! Owns: sessions and their life, the joining of source plugins, detectors, upstream connections and the disk cache,
//! the handlers of `/api/v1/sessions` and `/stream`, statistics and events.
//! Leaves to others: what to fetch next (`core/cache`), files (`io/store`), connections (`io/fetch`), plugins (behind
//! the port), who may call (`node`).
//!
//! Invariants: a byte reaches a client only from a granule or the arrived part of a span that was accepted for the one
//! pinned version; no lock of the standard library is held over an await; every task is owned by the object or session that needs it and ends
//! with it.
//!
//! ```text
//! POST /sessions ─► Session ─open─► source plugin ─► Plan ─► Upstream ─probe─► Live (core/cache + io/store)
//!                                                                               ▲ │
//!                              detectors ──need ranges / name what to warm──────┘ │
//! GET /stream/{id} ─► range decision ─► Body ◄── mapped bytes, as far as arrived ─┘
//! ```

mod body;
pub mod bus;
mod detect;
mod events;
mod fault;
mod film;
mod hold;
mod keep;
mod key;
mod live;
mod local;
mod media;
mod media_type;
mod meter;
mod open;
mod origins;
mod persist;
mod presentation;
mod progress;
mod pull;
pub mod routes;
mod session;
mod span;
mod stats;
mod titles;
mod upstream;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plugin::{Header, Plugins};
use store::{ObjectId, Records, Store};
use tokio::sync::Mutex as AsyncMutex;

pub use fault::Fault;
pub use keep::{Bounds, Standing as Disk};
pub use session::{Session, SessionId, State};

pub use bus::Bus;
pub use progress::Fragments;
pub use stats::{Rates, rates, rates_of};

use keep::Keeper;
use live::Live;
use origins::Origins;

/// Sessions at once; one more is refused.
pub const MAX_SESSIONS: usize = 4096;

/// How long a reader waits for what does not come, before its response ends short.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For someone to supply credentials.
    pub credentials: Duration,
    /// For an upstream that fails to come back.
    pub outage: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { credentials: Duration::from_secs(120), outage: Duration::from_secs(60) }
    }
}

/// How the proxy behaves. Every field has a default.
#[derive(Clone, Debug)]
pub struct Config {
    /// Connections to one origin, and for one object, at most. How many of them are used is learned. Default: 8.
    pub max_spans: usize,
    /// Bytes that one request asks for, at most. Default: 16 MiB.
    pub span_max: u64,
    /// How far to fetch ahead of a reader, at most, in bytes. Default: 256 MiB.
    pub read_ahead_bytes: u64,
    /// The same in time of the media, once its rate is known. The smaller of the two counts. Default: 2 minutes.
    pub read_ahead: Duration,
    /// Whether the rest of a file is fetched too while somebody plays it. Default: no.
    pub fill: bool,
    /// Bytes per second from all upstreams together. Default: no limit.
    pub bandwidth: Option<u64>,
    /// Bytes per second for each session that does not say otherwise. Default: no limit.
    pub session_bandwidth: Option<u64>,
    /// How much of the disk the cache may take. Default: all but 1 GiB.
    pub bounds: Bounds,
    /// How long a session lives that nobody uses. Default: 6 hours.
    pub session_idle: Duration,
    /// How long a session lives at all. Default: 24 hours.
    pub session_lifetime: Duration,
    /// Events that are kept for a slow listener of a session. Default: 256.
    pub events: usize,
    /// How long readers wait. Default: 2 minutes for credentials, 1 minute for an upstream that fails.
    pub patience: Patience,
    /// What links begin with, when it is not what the client called us: `https://media.example`.
    pub public_url: Option<String>,
    /// `http` or `https`, for links that repeat what the client called us.
    pub scheme: &'static str,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_spans: 8,
            span_max: 16 << 20,
            read_ahead_bytes: 256 << 20,
            read_ahead: Duration::from_secs(120),
            fill: false,
            bandwidth: None,
            session_bandwidth: None,
            bounds: Bounds { quota: None, keep_free: 1 << 30 },
            session_idle: Duration::from_secs(6 * 3600),
            session_lifetime: Duration::from_secs(24 * 3600),
            events: 256,
            patience: Patience::default(),
            public_url: None,
            scheme: "http",
        }
    }
}

/// All sessions and the objects that they read.
pub struct Proxy {
    config: Config,
    plugins: Arc<dyn Plugins>,
    client: fetch::Client,
    store: Arc<Store>,
    keeper: Arc<Keeper>,
    origins: Arc<Origins>,
    records: Records,
    sessions: Mutex<HashMap<SessionId, Arc<Session>>>,
    /// One place per object that some session has open: whoever comes first opens it, the others wait for that.
    objects: Mutex<HashMap<ObjectId, Weak<Place>>>,
    sweeper: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

/// Where sessions of one object meet.
#[derive(Default)]
pub(crate) struct Place {
    pub live: AsyncMutex<Option<Arc<Live>>>,
}

/// Why a session could not be made; no upstream was asked yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{0:?} is not an address: it needs a scheme, as in https://example.org/film.mp4")]
    NotAnAddress(String),
    #[error("no plugin reads addresses of the scheme {scheme:?}; there are plugins for: {}", known.join(", "))]
    UnknownScheme { scheme: String, known: Vec<String> },
    #[error("the header field {name:?} {why}")]
    BadHeader { name: String, why: &'static str },
    #[error("file_key is {0} bytes long; it must have 1 to 1024")]
    FileKey(usize),
    #[error("title is {0} bytes long; it must have 1 to 1024")]
    Title(usize),
    #[error("the address is {0} bytes long, more than 16384")]
    TooLong(usize),
    #[error("there are {MAX_SESSIONS} sessions already; delete some of them")]
    TooMany,
}

/// What a session is made from.
#[derive(Clone, Debug, Default)]
pub struct NewSession {
    /// The address to play.
    pub url: String,
    /// Header fields for the upstream.
    pub headers: Vec<Header>,
    /// The caller's stable name for the bytes.
    pub file_key: Option<String>,
    /// Which title of a disc image or an archive to play; the main one if nobody says.
    pub title: Option<String>,
    /// Where playing will start, in milliseconds: what is needed there is fetched at once.
    pub start_ms: Option<u64>,
    /// Whether all of the file is fetched, though nobody reads it.
    pub fill: bool,
    /// Where its events go; one of its own if none is given.
    pub bus: Option<Bus>,
}

impl Proxy {
    /// Takes up the sessions of the last run; each is opened again when it is first used.
    pub fn start(
        config: Config,
        plugins: Arc<dyn Plugins>,
        client: fetch::Client,
        store: Arc<Store>,
        records: Records,
    ) -> Arc<Proxy> {
        let keeper = Keeper::new(store.clone(), config.bounds);
        tokio::spawn(Keeper::keep_within(Arc::downgrade(&keeper)));
        let proxy = Arc::new(Proxy {
            origins: Origins::new(config.max_spans, config.bandwidth),
            keeper,
            config,
            plugins,
            client,
            store,
            records,
            sessions: Mutex::default(),
            objects: Mutex::default(),
            sweeper: Mutex::default(),
        });
        for session in persist::load(&proxy.records, &proxy.config, now_ms()) {
            proxy.sessions().insert(session.id(), Arc::new(session));
        }
        let sweeper = tokio::spawn(sweep(Arc::downgrade(&proxy)));
        *proxy.sweeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(sweeper);
        proxy
    }

    /// Makes a session and begins to open it. Returns before the upstream was asked anything.
    pub async fn create(self: &Arc<Self>, new: NewSession) -> Result<Arc<Session>, Refusal> {
        let scheme = key::scheme(&new.url)?;
        if self.plugins.sources(&scheme).is_empty() {
            return Err(Refusal::UnknownScheme { scheme, known: self.plugins.schemes() });
        }
        key::check_headers(&new.headers)?;
        key::check_file_key(new.file_key.as_deref())?;
        key::check_title(new.title.as_deref())?;
        if self.sessions().len() >= MAX_SESSIONS {
            return Err(Refusal::TooMany);
        }
        let session = Arc::new(Session::new(new, now_ms(), &self.config));
        persist::save_or_warn(self, &session).await;
        self.sessions().insert(session.id(), session.clone());
        metrics::counter!("mediahost_sessions_total").increment(1);
        self.begin(&session);
        Ok(session)
    }

    /// Where a player finds a session, below what links begin with.
    pub fn playback_path(&self, session: &Session) -> String {
        session.view("").playback_url
    }

    /// The session of this id; one of an earlier run begins to open.
    pub fn session(self: &Arc<Self>, id: SessionId) -> Option<Arc<Session>> {
        let session = self.sessions().get(&id).cloned()?;
        session.touch(now_ms());
        session.let_go_of_the_dead();
        self.begin(&session);
        Some(session)
    }

    /// The path that links begin with: empty unless we are reached below one.
    pub(crate) fn path_of_links(&self) -> String {
        let public = self.config.public_url.as_deref().and_then(|public| url::Url::parse(public).ok());
        public.map(|public| public.path().trim_end_matches('/').to_owned()).unwrap_or_default()
    }

    /// All sessions, the newest first.
    pub fn list(&self) -> Vec<Arc<Session>> {
        let mut sessions: Vec<_> = self.sessions().values().cloned().collect();
        sessions.sort_by_key(|session| std::cmp::Reverse(session.created_ms()));
        sessions
    }

    /// Ends a session. What it fetched stays in the cache.
    pub async fn close(&self, id: SessionId) -> bool {
        let Some(session) = self.sessions().remove(&id) else { return false };
        // Durable before they are let go of, so that whoever opens an object next finds all of it.
        for live in session.close() {
            live.flush().await;
        }
        persist::forget(self, id).await;
        true
    }

    /// Gives a session new credentials or a new address for the same bytes, and opens or goes on.
    pub async fn renew(
        self: &Arc<Self>,
        session: &Arc<Session>,
        url: Option<String>,
        headers: Option<Vec<Header>>,
    ) -> Result<(), Refusal> {
        if let Some(url) = &url {
            let scheme = key::scheme(url)?;
            if self.plugins.sources(&scheme).is_empty() {
                return Err(Refusal::UnknownScheme { scheme, known: self.plugins.schemes() });
            }
        }
        key::check_headers(headers.as_deref().unwrap_or_default())?;
        session.renew(url, headers);
        persist::save_or_warn(self, session).await;
        self.begin(session);
        Ok(())
    }

    /// Changes how much of the disk the cache may take.
    pub fn set_bounds(&self, bounds: Bounds) {
        self.keeper.set_bounds(bounds);
    }

    /// Changes what all upstreams together may send, in bytes per second.
    pub fn set_bandwidth(&self, bytes_per_second: Option<u64>) {
        self.origins.set_bandwidth(bytes_per_second);
    }

    /// How it stands with the disk.
    pub fn disk(&self) -> Disk {
        self.keeper.standing()
    }

    /// Writes what is not yet durable and ends everything.
    pub async fn shutdown(&self) {
        if let Some(sweeper) = self.sweeper.lock().unwrap_or_else(PoisonError::into_inner).take() {
            sweeper.abort();
        }
        let places: Vec<_> = self.objects().drain().filter_map(|(_, place)| place.upgrade()).collect();
        let sessions: Vec<_> = self.sessions().drain().map(|(_, session)| session).collect();
        // Whoever still reads is told that it is over.
        sessions.iter().for_each(|session| drop(session.end()));
        for place in places {
            if let Some(live) = place.live.lock().await.take() {
                live.flush().await;
            }
        }
    }

    fn begin(self: &Arc<Self>, session: &Arc<Session>) {
        let (proxy, opened) = (self.clone(), session.clone());
        session.begin(|number| tokio::spawn(open::open(proxy, opened, number)));
    }

    /// The place of an object, made when nobody has it open.
    pub(crate) fn place(&self, id: ObjectId) -> Arc<Place> {
        let mut objects = self.objects();
        if let Some(place) = objects.get(&id).and_then(Weak::upgrade) {
            return place;
        }
        objects.retain(|_, place| place.strong_count() > 0);
        // A response may still read what no session has open; it must not be opened a second time beside it.
        let place = Arc::new(Place { live: AsyncMutex::new(self.keeper.open_now(id)) });
        objects.insert(id, Arc::downgrade(&place));
        place
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn objects(&self) -> MutexGuard<'_, HashMap<ObjectId, Weak<Place>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often sessions are looked at for their age, and their numbers for the metrics.
const SWEEP: Duration = Duration::from_secs(15);

async fn sweep(proxy: Weak<Proxy>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(proxy) = proxy.upgrade() else { return };
        let now = now_ms();
        let over: Vec<_> = proxy.list().into_iter().filter(|session| session.is_over(now)).collect();
        for presentation in proxy.list().iter().filter_map(|session| session.presentation()) {
            presentation.close_unused();
        }
        for session in over {
            tracing::info!(session = ?session.id(), "a session has expired");
            proxy.close(session.id()).await;
        }
        metrics::gauge!("mediahost_sessions").set(proxy.sessions().len() as f64);
    }
}

/// Wall clock, milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}
