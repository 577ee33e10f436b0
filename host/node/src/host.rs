//! The host: a resolved configuration becomes a program that listens, with its doors, its access and its page.
//!
//! Owns: the order in which a host starts and ends.
//! Leaves to others: making the parts ([`crate::parts`]), a program that wants them without a host ([`crate::engine`]).

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use web::Router;

use crate::access::{Access, Token};
use crate::config::{self, Config, Inputs, Raw};
use crate::doors::{self, Doors};
use crate::parts::{self, Error};
use crate::reload::{self, Reloader};
use crate::{data, logging, metrics};

/// How long answers may go on after the end began.
const DRAIN: Duration = Duration::from_secs(10);
/// How long writing what is not yet durable may take at the end.
const FLUSH: Duration = Duration::from_secs(10);

/// What a host is started with.
#[derive(Clone)]
pub struct Settings {
    /// The configuration in force.
    pub config: Config,
    /// What was written, which a reload compares with.
    pub raw: Raw,
    /// Where a reload reads again.
    pub inputs: Inputs,
    /// The log whose level a reload changes, if this process has one of ours.
    pub log: Option<logging::Handle>,
}

impl Settings {
    /// Reads the configuration.
    pub fn load(inputs: Inputs) -> Result<Settings, config::Error> {
        let (config, raw) = config::load(&inputs)?;
        Ok(Settings { config, raw, inputs, log: None })
    }
}

/// A host that listens and does not answer yet; [`Host::run_until`] makes it answer.
pub struct Host {
    doors: Arc<Doors>,
    proxy: Arc<proxy::Proxy>,
    listener: web::Listener,
    router: Router,
    limits: web::Limits,
    /// Given back last, when nothing writes to the folder any more.
    data: data::Held,
}

impl Host {
    /// Takes hold of the data folder and the port, and starts all parts.
    pub async fn start(settings: Settings) -> Result<Host, Error> {
        let config = &settings.config;
        let metrics = metrics::start();
        let data = data::Held::take(&config.data_dir)?;
        let listener = listen(config).await?;
        let access = Access::new(Token::load_or_make(&data::token_file(&config.data_dir))?);
        let client = fetch::Client::new(client_config(config)?)?;
        let plugins = parts::plugins(&config.plugins_dir, &config.data_dir, &client).await?;
        let store = parts::cache(&config.cache_dir)?;
        let sessions = parts::sessions(&config.data_dir.join("sessions"))?;
        let wanted = proxy_config(config, &listener);
        let proxy = proxy::Proxy::start(wanted, plugins.clone(), client, store, sessions);
        let guard = web::Guard::new(reload::policy(config, listener.address()))?;
        let Settings { raw, inputs, log, .. } = settings.clone();
        let doors = Arc::new(Doors {
            access,
            plugins,
            reloader: Reloader::new(
                (inputs, raw),
                reload::Parts {
                    log,
                    guard: guard.clone(),
                    bound: listener.address(),
                    tls: listener.tls_reloader(),
                    proxy: proxy.clone(),
                },
            ),
            metrics,
            open_metrics: listener.address().ip().is_loopback() && config.server.public_url.is_none(),
            origin: origin(config, &listener),
            ready: AtomicBool::new(true),
        });
        let api = proxy::routes::api(proxy.clone());
        let router = doors::router(&doors, api, proxy::routes::stream_routes(proxy.clone()));
        let limits = web::Limits {
            max_connections: config.server.max_connections,
            drain_timeout: DRAIN,
            ..web::Limits::default()
        };
        data.write_listen(listener.address())?;
        tracing::info!(address = %listener.address(), data_dir = %config.data_dir.display(), "the host has started");
        Ok(Host { doors, proxy, listener, router: web::app(router, guard), limits, data })
    }

    /// The address that is listened on, with the port that the system chose.
    pub fn address(&self) -> std::net::SocketAddr {
        self.listener.address()
    }

    /// What links to this host begin with.
    pub fn origin(&self) -> &str {
        &self.doors.origin
    }

    /// A link that signs one browser in, once, within ten minutes.
    pub fn sign_in_link(&self) -> Result<String, getrandom::Error> {
        self.doors.link()
    }

    /// Reads the configuration again whenever it is asked to, also while the host runs.
    pub fn reloads(&self) -> Reloads {
        Reloads(self.doors.clone())
    }

    /// Answers until `shutdown` resolves; then refuses new work, lets running answers end for a bounded time, and
    /// writes what is not yet durable. Dropping the future ends everything at once.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) {
        let doors = self.doors.clone();
        let ending = async move {
            shutdown.await;
            tracing::info!("the host is shutting down");
            doors.ready.store(false, Ordering::Release);
        };
        let mut serving = pin!(web::serve(self.listener, self.router, self.limits, ending));
        let mut upkeep = tokio::time::interval(metrics::UPKEEP);
        loop {
            tokio::select! {
                () = &mut serving => break,
                _ = upkeep.tick() => self.doors.metrics.upkeep(),
            }
        }
        if tokio::time::timeout(FLUSH, self.proxy.shutdown()).await.is_err() {
            tracing::warn!("the cache could not be written out in time; some of it will be fetched again");
        }
        self.doors.plugins.shutdown();
        drop(self.data);
        tracing::info!("the host has ended");
    }
}

/// Asks a running host to read its configuration again.
#[derive(Clone)]
pub struct Reloads(Arc<Doors>);

impl Reloads {
    /// Applies what may change, or nothing. Gives the keys that changed. Reads a file, so it blocks.
    pub fn reload(&self) -> Result<Vec<&'static str>, crate::reload::Error> {
        self.0.reloader.reload()
    }
}

async fn listen(config: &Config) -> Result<web::Listener, web::Error> {
    let tls = config.tls.as_ref().map(|tls| web::TlsFiles { cert: tls.cert.clone(), key: tls.key.clone() });
    let listener = web::Listener::bind(config.server.listen, tls.as_ref()).await?;
    // Cached bytes are slices of mapped files; a socket can be given them from the file itself.
    Ok(listener.with_files(Arc::new(store::locate)))
}

/// What links begin with. A host that listens on every address is best reached from its own machine.
fn origin(config: &Config, listener: &web::Listener) -> String {
    match &config.server.public_url {
        Some(url) => url.origin().ascii_serialization(),
        None => format!("{}://{}", listener.scheme(), data::reachable(listener.address())),
    }
}

fn client_config(config: &Config) -> Result<fetch::Config, Error> {
    let read = |path: &PathBuf| std::fs::read(path).map_err(|source| Error::CaFile { path: path.clone(), source });
    Ok(fetch::Config {
        allow_private: config.net.allow_private.clone(),
        connect_timeout: config.net.connect_timeout,
        read_timeout: config.net.read_timeout,
        extra_roots: config.net.ca_file.as_ref().map(read).transpose()?.into_iter().collect(),
        ..fetch::Config::default()
    })
}

fn proxy_config(config: &Config, listener: &web::Listener) -> proxy::Config {
    proxy::Config {
        max_spans: config.proxy.max_connections_per_origin,
        read_ahead_bytes: config.proxy.read_ahead_bytes,
        read_ahead: config.proxy.read_ahead,
        fill: config.proxy.fill,
        bandwidth: config.proxy.bandwidth,
        session_bandwidth: config.proxy.session_bandwidth,
        bounds: proxy::Bounds { quota: config.cache.quota, keep_free: config.cache.keep_free },
        session_idle: config.proxy.session_idle,
        events: config.proxy.events,
        session_lifetime: config.proxy.session_lifetime,
        public_url: config.server.public_url.as_ref().map(|url| url.origin().ascii_serialization()),
        scheme: listener.scheme(),
        ..proxy::Config::default()
    }
}
