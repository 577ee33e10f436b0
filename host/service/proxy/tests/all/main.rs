//! The proxy over a real store and real connections, with an origin and a source of our own on loopback.
//!
//! What needs real components, nginx or players is in the end-to-end suite; here each behaviour of an origin is a row
//! or a few lines.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod credentials;
mod hostile;
mod keeping;
mod mirrors;
mod origin;
mod outages;
mod presentations;
mod progressive;
mod raw;
mod reading;
mod restart;
mod site;
mod titles;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mediahost_proxy as proxy;
use plugin::detect::{Answer, ContainerDetector, IndexRange, Layout, Look};
use plugin::source::{MediaSource, Open, Opened, Origin, Plan, RawPlan, RefreshReason, Segment};
use plugin::{BoxFuture, BoxStream, Error, Failure, Plugins, code};
use proxy::{Config, NewSession, Patience, Proxy, Session, State};
use store::{Bounds, Records, Store};
use web::Router;
use web::body::Body;
use web::http::{Request, StatusCode};

const DEADLINE: Duration = Duration::from_secs(30);

/// Bytes that are different everywhere.
fn media(length: usize) -> Vec<u8> {
    (0..length as u64).flat_map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32).to_le_bytes()).take(length).collect()
}

/// Plans of one open segment: what `source-http` does, without the sandbox.
struct Plain;

/// The same with a key in each plan that is about to expire, and another one in each renewed plan.
struct Expiring;

impl Expiring {
    fn plan(uri: &str, key: &str, lives_ms: u64) -> BoxFuture<'static, Result<Opened, Failure>> {
        let headers = vec![plugin::Header { name: "authorization".into(), value: key.into() }];
        let url = uri.replacen("expiring:", "", 1);
        let origin = Origin::Http { urls: vec![url], headers, offset: 0 };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
        let segments = vec![Segment { origin, length: None }];
        let raw = RawPlan { segments, expires_at_ms: Some(now + lives_ms), ..RawPlan::default() };
        Box::pin(async move { Ok(Opened::Plan(Plan::check(raw).unwrap())) })
    }
}

impl MediaSource for Expiring {
    fn id(&self) -> &str {
        "expiring"
    }

    fn root(&self, _: &str) -> Option<String> {
        None
    }

    fn open(&self, request: Open) -> BoxFuture<'static, Result<Opened, Failure>> {
        Expiring::plan(&request.uri, "old", 10_000)
    }

    fn refresh(&self, open: Open, _: Vec<u8>, reason: RefreshReason) -> BoxFuture<'static, Result<Opened, Failure>> {
        assert_eq!(reason.code, "expires", "the link was renewed before it was refused");
        Expiring::plan(&open.uri, "new", 3_600_000)
    }

    fn read(&self, _: Vec<u8>, _: u32, _: u64, _: u64) -> BoxStream<'static, Result<bytes::Bytes, Failure>> {
        Box::pin(futures_util::stream::empty())
    }
}

impl MediaSource for Plain {
    fn id(&self) -> &str {
        "plain"
    }

    fn root(&self, _: &str) -> Option<String> {
        None
    }

    fn open(&self, request: Open) -> BoxFuture<'static, Result<Opened, Failure>> {
        let origin = Origin::Http { urls: vec![request.uri], headers: request.headers, offset: 0 };
        let raw = RawPlan { segments: vec![Segment { origin, length: None }], ..RawPlan::default() };
        Box::pin(async move { Ok(Opened::Plan(Plan::check(raw).unwrap())) })
    }

    fn refresh(&self, _: Open, _: Vec<u8>, _: RefreshReason) -> BoxFuture<'static, Result<Opened, Failure>> {
        let error = Error::new(code::AUTH_REQUIRED, "this source cannot renew the link");
        Box::pin(async move { Err(Failure::Answer { plugin: "plain".into(), error }) })
    }

    fn read(&self, _: Vec<u8>, _: u32, _: u64, _: u64) -> BoxStream<'static, Result<bytes::Bytes, Failure>> {
        Box::pin(futures_util::stream::empty())
    }
}

/// Plans whose one segment has several addresses, given as `mirrors:one|two`.
struct Mirrors;

impl MediaSource for Mirrors {
    fn id(&self) -> &str {
        "mirrors"
    }

    fn root(&self, _: &str) -> Option<String> {
        None
    }

    fn open(&self, request: Open) -> BoxFuture<'static, Result<Opened, Failure>> {
        let urls = request.uri.replacen("mirrors:", "", 1).split('|').map(str::to_owned).collect();
        let origin = Origin::Http { urls, headers: request.headers, offset: 0 };
        let raw = RawPlan { segments: vec![Segment { origin, length: None }], ..RawPlan::default() };
        Box::pin(async move { Ok(Opened::Plan(Plan::check(raw).unwrap())) })
    }

    fn refresh(&self, open: Open, _: Vec<u8>, _: RefreshReason) -> BoxFuture<'static, Result<Opened, Failure>> {
        self.open(open)
    }

    fn read(&self, _: Vec<u8>, _: u32, _: u64, _: u64) -> BoxStream<'static, Result<bytes::Bytes, Failure>> {
        Box::pin(futures_util::stream::empty())
    }
}

/// Computes its bytes, and counts how many it was made to compute.
#[derive(Default)]
struct Computing {
    panics: bool,
    computed: Arc<std::sync::atomic::AtomicU64>,
}

const COMPUTED: u64 = 9_000_001;

impl MediaSource for Computing {
    fn id(&self) -> &str {
        "computing"
    }

    fn root(&self, _: &str) -> Option<String> {
        None
    }

    fn open(&self, _: Open) -> BoxFuture<'static, Result<Opened, Failure>> {
        let segments = vec![Segment { origin: Origin::Computed, length: Some(COMPUTED) }];
        let raw = RawPlan { segments, ..RawPlan::default() };
        Box::pin(async move { Ok(Opened::Plan(Plan::check(raw).unwrap())) })
    }

    fn refresh(&self, open: Open, _: Vec<u8>, _: RefreshReason) -> BoxFuture<'static, Result<Opened, Failure>> {
        self.open(open)
    }

    /// Pieces come at once, several in a row; the end of the stream takes a moment, as that of a plugin does.
    fn read(&self, _: Vec<u8>, _: u32, offset: u64, length: u64) -> BoxStream<'static, Result<bytes::Bytes, Failure>> {
        assert!(!self.panics, "as told");
        self.computed.fetch_add(length, std::sync::atomic::Ordering::Relaxed);
        let starts = (offset..offset + length).step_by(50_000);
        let pieces = starts.map(move |at| Ok((at..(at + 50_000).min(offset + length)).map(|i| i as u8).collect()));
        let end = futures_util::stream::once(tokio::time::sleep(Duration::from_millis(2)));
        let end = futures_util::StreamExt::filter_map(end, |()| async { None });
        Box::pin(futures_util::StreamExt::chain(futures_util::stream::iter(pieces), end))
    }
}

/// Knows everything as the container `test` whose index is the last 1000 bytes.
struct Tail;

impl ContainerDetector for Tail {
    fn id(&self) -> &str {
        "tail"
    }

    fn detect(&self, look: Look) -> BoxFuture<'static, Result<Answer, Failure>> {
        // Of what has no length nobody knows where the end is.
        let size = look.files[0].size.unwrap_or(0);
        let first = vec![IndexRange { offset: size.saturating_sub(1000), length: 1000, what: "index".into() }];
        let layout = Layout { format: "test".into(), duration_ms: Some(8000), first, ..Layout::default() };
        Box::pin(async move { Ok(Answer::Found(Box::new(layout))) })
    }
}

#[derive(Default)]
struct Fixed {
    computed: Arc<std::sync::atomic::AtomicU64>,
    renewals: Arc<std::sync::atomic::AtomicU64>,
}

impl Plugins for Fixed {
    fn sources(&self, scheme: &str) -> Vec<Arc<dyn MediaSource>> {
        match scheme {
            "http" => vec![Arc::new(Plain)],
            "expiring" => vec![Arc::new(Expiring)],
            "disk" => vec![Arc::new(progressive::OnDisk)],
            "made" => vec![Arc::new(presentations::Maker(self.renewals.clone()))],
            "mirrors" => vec![Arc::new(Mirrors)],
            "computing" => vec![Arc::new(Computing { panics: false, computed: self.computed.clone() })],
            "panicking" => vec![Arc::new(Computing { panics: true, computed: self.computed.clone() })],
            _ => Vec::new(),
        }
    }

    fn detectors(&self, head: &[u8], _: Option<&str>) -> Vec<Arc<dyn ContainerDetector>> {
        match head {
            _ if head.starts_with(titles::MAGIC) => vec![Arc::new(titles::Image)],
            _ if head.starts_with(titles::LIE) => vec![Arc::new(titles::Liar)],
            _ if head.starts_with(b"fLaC") => vec![Arc::new(progressive::Named("flac", "audio/flac"))],
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => {
                vec![Arc::new(progressive::Named("mov,mp4,m4a,3gp,3g2,mj2", "video/mp4"))]
            }
            _ => vec![Arc::new(Tail)],
        }
    }

    fn schemes(&self) -> Vec<String> {
        vec!["http".into()]
    }
}

/// A proxy over a folder, and its routes.
struct Engine {
    proxy: Arc<Proxy>,
    /// Bytes that the source `computing` was asked for.
    computed: Arc<std::sync::atomic::AtomicU64>,
    /// How often the source `made` was asked for a new manifest.
    renewals: Arc<std::sync::atomic::AtomicU64>,
    routes: Router,
    cache: std::path::PathBuf,
}

impl Engine {
    fn start(dir: &Path) -> Engine {
        // Somebody who waits for what will not come waits long enough to see that.
        let patience = Patience { credentials: Duration::from_secs(2), outage: Duration::from_millis(200) };
        Engine::with(dir, Config { patience, ..Config::default() }, Arc::new(store::RealDisk))
    }

    /// One whose readers wait as long as they do everywhere.
    fn patient(dir: &Path) -> Engine {
        Engine::with(dir, Config::default(), Arc::new(store::RealDisk))
    }

    fn with(dir: &Path, config: Config, disk: Arc<dyn store::Disk>) -> Engine {
        Engine::over(dir, config, Store::open_on(&dir.join("cache"), disk).unwrap())
    }

    /// One that reaches these private addresses beside those that a user names.
    fn reaching(dir: &Path, private: &[&str]) -> Engine {
        Engine::made(dir, Config::default(), Store::open(&dir.join("cache")).unwrap(), private)
    }

    fn over(dir: &Path, config: Config, store: Store) -> Engine {
        // A plan of several addresses names hosts that the user did not.
        Engine::made(dir, config, store, &["127.0.0.0/8"])
    }

    fn made(dir: &Path, config: Config, store: Store, private: &[&str]) -> Engine {
        let store = Arc::new(store);
        let records = Records::open(&dir.join("sessions"), Bounds { max_bytes: 1 << 20, max_count: 10_000 }).unwrap();
        let allow_private = private.iter().map(|block| block.parse().unwrap()).collect();
        let client = fetch::Client::new(fetch::Config { allow_private, ..fetch::Config::default() }).unwrap();
        let plugins = Fixed::default();
        let (computed, renewals) = (plugins.computed.clone(), plugins.renewals.clone());
        let proxy = Proxy::start(config, Arc::new(plugins), client, store, records);
        let routes = Router::new()
            .nest("/api/v1", proxy::routes::api(proxy.clone()))
            .merge(proxy::routes::stream_routes(proxy.clone()));
        Engine { proxy, computed, renewals, routes, cache: dir.join("cache") }
    }

    async fn session(&self, url: &str) -> Arc<Session> {
        let new = NewSession { url: url.into(), headers: Vec::new(), file_key: None, ..NewSession::default() };
        self.proxy.create(new).await.unwrap()
    }

    /// A session that is ready.
    async fn ready(&self, url: &str) -> Arc<Session> {
        let session = self.session(url).await;
        until(&session, State::Ready).await;
        session
    }

    /// One request, and its whole answer; the error is what ended the body short, after what came.
    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answered {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = tower::ServiceExt::oneshot(self.routes.clone(), request).await.unwrap();
        let (parts, body) = response.into_parts();
        let mut stream = body.into_data_stream();
        let (mut bytes, mut short) = (Vec::new(), false);
        while let Some(piece) = futures_util::StreamExt::next(&mut stream).await {
            match piece {
                Ok(piece) => bytes.extend_from_slice(&piece),
                Err(_) => short = true,
            }
        }
        Answered { status: parts.status, headers: parts.headers, bytes, short }
    }

    async fn range(&self, session: &Session, range: &str) -> Answered {
        self.ask("GET", &format!("/stream/{}", session.id()), &[("range", range)], "").await
    }

    async fn stats(&self, session: &Session) -> serde_json::Value {
        self.ask("GET", &format!("/api/v1/sessions/{}/stats", session.id()), &[], "").await.json()
    }

    /// Bytes that the data files in the cache really take.
    fn disk(&self) -> u64 {
        blocks(&self.cache, &|name| name.starts_with("data."))
    }

    /// Bytes that the cache really takes.
    fn everything(&self) -> u64 {
        blocks(&self.cache, &|_| true)
    }

    async fn whole(&self, session: &Session) -> Answered {
        self.ask("GET", &format!("/stream/{}", session.id()), &[], "").await
    }
}

/// Bytes that files below a folder take, of those whose names count.
fn blocks(folder: &Path, counts: &dyn Fn(&str) -> bool) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => blocks(&entry.path(), counts),
        Ok(found) if counts(&entry.file_name().to_string_lossy()) => found.blocks() * 512,
        _ => 0,
    };
    entries.map(size).sum()
}

struct Answered {
    status: StatusCode,
    headers: web::http::HeaderMap,
    bytes: Vec<u8>,
    short: bool,
}

impl Answered {
    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.bytes).unwrap()
    }
}

async fn until(session: &Session, state: State) {
    when(|| session.state() == state, || format!("{state:?}: {:?} {:?}", session.state(), session.error())).await;
}

/// Waits until something is so, but not for ever.
async fn when(so: impl Fn() -> bool, what: impl Fn() -> String) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < DEADLINE, "waiting for {}", what());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The same for something that has to be asked for.
async fn when_async(so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !so().await {
        assert!(begun.elapsed() < DEADLINE, "it did not happen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
