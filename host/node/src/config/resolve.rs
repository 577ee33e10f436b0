//! From what was written to what the program uses. Everything that can be checked without a socket or a disk is
//! checked here, once.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value;
use url::Url;

use super::keys;
use super::raw::{Given, Origin, Raw};
use super::{ENV_PREFIX, Error};

/// The configuration as the program uses it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where everything that must last is kept.
    pub data_dir: PathBuf,
    /// Where plugins are dropped.
    pub plugins_dir: PathBuf,
    pub server: Server,
    /// Both files, or neither.
    pub tls: Option<Tls>,
    pub net: Net,
    /// Where fetched bytes are kept.
    pub cache_dir: PathBuf,
    pub cache: Cache,
    pub proxy: Proxy,
    pub log: Log,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    pub listen: SocketAddr,
    /// Without a path, a query or a trailing slash.
    pub public_url: Option<Url>,
    /// Lower case, without ports; `*.example.org` stands for all below, `*` for all.
    pub hosts: Vec<String>,
    /// Each as a browser writes it: scheme, host, and port if it is not the scheme's own.
    pub cors_origins: Vec<String>,
    pub max_connections: usize,
}

/// `[tls]`
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// `[net]`
#[derive(Clone, Debug, PartialEq)]
pub struct Net {
    pub allow_private: Vec<fetch::Cidr>,
    pub ca_file: Option<PathBuf>,
    pub connect_timeout: Duration,
    pub read_timeout: Duration,
}

/// `[cache]`, but for its folder
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Bytes.
    pub quota: Option<u64>,
    /// Bytes.
    pub keep_free: u64,
}

/// `[proxy]`
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    pub max_connections_per_origin: usize,
    pub read_ahead: Duration,
    pub read_ahead_bytes: u64,
    pub fill: bool,
    /// Bytes per second.
    pub bandwidth: Option<u64>,
    /// Bytes per second.
    pub session_bandwidth: Option<u64>,
    pub session_idle: Duration,
    /// Events that are kept for a slow listener of a session.
    pub events: usize,
    pub session_lifetime: Duration,
}

/// Whether a word is one of the levels of the log.
fn is_level(word: &str) -> bool {
    ["off", "error", "warn", "info", "debug", "trace"].contains(&word.to_ascii_lowercase().as_str())
}

/// `[log]`
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// Directives that [`tracing_subscriber::EnvFilter`] reads.
    pub level: String,
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Gives every key its value and checks what they mean together.
pub fn resolve(raw: &Raw, env: &[(String, String)]) -> Result<Config, Error> {
    let values = Values { raw };
    let data_dir = match values.path("data_dir") {
        Some(path) => path,
        None => platform_data_dir(env).ok_or(Error::NoDataDir)?,
    };
    let tls = tls(&values)?;
    let log = Log {
        level: values.checked("log.level", |level| {
            let filter = tracing_subscriber::EnvFilter::builder().parse(level);
            filter.map_err(|error| format!("is not a level or a list of directives: {error}"))?;
            // A lone word that is no level would name a part of the program that does not exist, and silence all others.
            let word = level
                .split(',')
                .map(str::trim)
                .find(|directive| !directive.contains(['=', '[']) && !is_level(directive));
            match word {
                Some(word) => Err(format!("has {word:?}, which is not off, error, warn, info, debug or trace")),
                None => Ok(level.to_owned()),
            }
        })?,
        format: if values.text("log.format") == "json" { LogFormat::Json } else { LogFormat::Text },
    };
    Ok(Config {
        plugins_dir: values.path("plugins_dir").unwrap_or_else(|| data_dir.join("plugins")),
        cache_dir: values.path("cache.dir").unwrap_or_else(|| data_dir.join("cache")),
        server: server(&values, tls.is_some())?,
        net: Net {
            allow_private: values.each("net.allow_private", block)?,
            ca_file: values.path("net.ca_file"),
            connect_timeout: Duration::from_millis(values.number("net.connect_timeout_ms")),
            read_timeout: Duration::from_millis(values.number("net.read_timeout_ms")),
        },
        cache: Cache {
            quota: Some(values.number("cache.quota_bytes")).filter(|bytes| *bytes > 0),
            keep_free: values.number("cache.keep_free_bytes"),
        },
        proxy: Proxy {
            max_connections_per_origin: values.number("proxy.max_connections_per_origin") as usize,
            read_ahead: Duration::from_secs(values.number("proxy.read_ahead_s")),
            read_ahead_bytes: values.number("proxy.read_ahead_bytes"),
            fill: values.flag("proxy.fill"),
            bandwidth: bandwidth(values.number("proxy.bandwidth_bps")),
            session_bandwidth: bandwidth(values.number("proxy.session_bandwidth_bps")),
            session_idle: Duration::from_secs(values.number("proxy.session_idle_s")),
            events: values.number("proxy.events") as usize,
            session_lifetime: Duration::from_secs(values.number("proxy.session_lifetime_s")),
        },
        data_dir,
        tls,
        log,
    })
}

/// Bytes per second of a number of bits, of which 0 means no limit.
fn bandwidth(bits: u64) -> Option<u64> {
    Some(bits).filter(|bits| *bits > 0).map(|bits| (bits / 8).max(1))
}

fn server(values: &Values<'_>, has_tls: bool) -> Result<Server, Error> {
    let listen: SocketAddr = values.checked("server.listen", |text| {
        let why = |_| format!("is {text:?} and must be an address and a port, such as 127.0.0.1:7979 or [::1]:7979");
        text.replace("localhost:", "127.0.0.1:").parse().map_err(why)
    })?;
    if !listen.ip().is_loopback() && !has_tls && !values.flag("server.allow_insecure") {
        return Err(values.wrong(
            "server.listen",
            format!(
                "is {listen}, which others can reach without encryption: set tls.cert and tls.key, or \
                 server.allow_insecure = true if something else protects the way"
            ),
        ));
    }
    let public_url = match values.text("server.public_url") {
        "" => None,
        _ => Some(values.checked("server.public_url", public_url)?),
    };
    Ok(Server {
        listen,
        public_url,
        hosts: values.each("server.hosts", host_name)?,
        cors_origins: values.each("server.cors_origins", origin)?,
        max_connections: values.number("server.max_connections") as usize,
    })
}

fn tls(values: &Values<'_>) -> Result<Option<Tls>, Error> {
    match (values.path("tls.cert"), values.path("tls.key")) {
        (Some(cert), Some(key)) => Ok(Some(Tls { cert, key })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(values.wrong("tls.cert", "needs tls.key beside it".to_owned())),
        (None, Some(_)) => Err(values.wrong("tls.key", "needs tls.cert beside it".to_owned())),
    }
}

/// An `http` or `https` URL that is nothing but an origin.
fn public_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is {text:?}, which is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(format!("is {text:?} and must begin with http:// or https://"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err(format!("is {text:?} and must be scheme, host and port alone"));
    }
    Ok(url)
}

/// An origin as browsers write it (RFC 6454 §6.2). Applications that embed a browser have schemes of their own.
fn origin(text: &str) -> Result<String, String> {
    if text == "*" {
        return Err("must name each origin: * would let any page use the API".to_owned());
    }
    match text.split_once("://") {
        Some((scheme, host)) if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") => {
            let good = !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '@', '*', '?', '#']);
            let why = || format!("has {text:?}, which is not an origin such as https://player.example");
            good.then(|| text.to_ascii_lowercase()).ok_or_else(why)
        }
        _ => public_url(text).map(|url| url.origin().ascii_serialization()),
    }
}

/// A name, `*.name` for all below it, or `*` for all.
fn host_name(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    if let Some(domain) = text.strip_prefix("*.") {
        return host_name(domain).map(|domain| format!("*.{domain}"));
    }
    match url::Host::parse(text) {
        Ok(host) => Ok(host.to_string().to_ascii_lowercase()),
        Err(_) => Err(format!("has {text:?}, which is not a host name or address (without a port)")),
    }
}

fn block(text: &str) -> Result<fetch::Cidr, String> {
    text.parse().map_err(|error: fetch::CidrError| format!("has an entry that cannot be used: {error}"))
}

/// The platform's folder for data, with `mediahost` in it.
fn platform_data_dir(env: &[(String, String)]) -> Option<PathBuf> {
    let absolute = |name: &str| {
        let value = env.iter().find(|(key, _)| key == name).map(|(_, value)| PathBuf::from(value))?;
        // A relative $XDG_DATA_HOME is to be ignored (XDG Base Directory Specification, "Environment variables").
        value.is_absolute().then_some(value)
    };
    let base = if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        absolute("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
    };
    base.map(|base| base.join("mediahost"))
}

/// Reads keys, with their defaults. The types were checked when the values were read.
struct Values<'a> {
    raw: &'a Raw,
}

impl Values<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        value_of(self.raw, name).map(|given| given.value)
    }

    fn text(&self, name: &str) -> &str {
        match self.raw.values.get(name) {
            Some(Given { value: Value::String(text), .. }) => text,
            _ => keys::find(name).map_or("", |key| key.default.trim_matches('"')),
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.text(name)).filter(|text| !text.is_empty()).map(|text| Path::new(text).to_owned())
    }

    fn flag(&self, name: &str) -> bool {
        self.value(name).and_then(|value| value.as_bool()).unwrap_or_default()
    }

    fn number(&self, name: &str) -> u64 {
        let number = self.value(name).and_then(|value| value.as_integer());
        u64::try_from(number.expect("the table gives every number a default")).expect("the table's bounds are positive")
    }

    fn checked<T>(&self, name: &'static str, check: impl Fn(&str) -> Result<T, String>) -> Result<T, Error> {
        check(self.text(name)).map_err(|why| self.wrong(name, why))
    }

    fn each<T>(&self, name: &'static str, check: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Error> {
        let items = self.value(name).and_then(|value| value.as_array().cloned()).unwrap_or_default();
        let check = |item: &Value| check(item.as_str().unwrap_or_default());
        items.iter().map(check).collect::<Result<_, _>>().map_err(|why| self.wrong(name, why))
    }

    fn wrong(&self, key: &'static str, why: String) -> Error {
        Error::Value {
            key,
            origin: self.raw.values.get(key).map_or(Origin::Default, |given| given.origin.clone()),
            why,
        }
    }
}

/// What is written for a key, or else its default; nothing if it has none.
pub fn value_of(raw: &Raw, name: &str) -> Option<Given> {
    if let Some(given) = raw.values.get(name) {
        return Some(given.clone());
    }
    let default = keys::find(name)?.default;
    let table: toml::Table = format!("value = {default}").parse().ok()?;
    table.get("value").map(|value| Given { value: value.clone(), origin: Origin::Default })
}

/// The environment variable of a key.
pub fn variable(name: &str) -> String {
    format!("{ENV_PREFIX}{}", name.replace('.', "__").to_ascii_uppercase())
}
