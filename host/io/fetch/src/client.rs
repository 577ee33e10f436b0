//! The client: one GET at a time, with redirects followed by hand so that each hop is checked.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plugin::Header;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, redirect::Policy};
use url::{Host, Url};

use crate::error::Error;
use crate::origin::{Origin, host_of};
use crate::redirect::Trail;
use crate::resolve::{Reach, Resolver};
use crate::{Cidr, tls};

/// Bytes of a URL, at most. Longer ones are refused, also as the target of a redirect.
pub(crate) const MAX_URL: usize = 16 * 1024;

/// Fields that the client writes itself; what a caller gives for them is dropped.
const OWN_FIELDS: [HeaderName; 16] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    header::EXPECT,
    header::ACCEPT_ENCODING,
    header::RANGE,
    header::IF_RANGE,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
];

/// How a client behaves. Every field has a default.
#[derive(Clone, Debug)]
pub struct Config {
    /// Private addresses that everyone may reach. Default: none.
    pub allow_private: Vec<Cidr>,
    /// How long name resolution, connecting and the TLS handshake may take together. Default: 10 s.
    pub connect_timeout: Duration,
    /// How long a server may be silent: before the head of its answer, and between two pieces of the body.
    /// Default: 30 s.
    pub read_timeout: Duration,
    /// Sent unless a request has its own. Default: `mediahost/<version>`.
    pub user_agent: String,
    /// Redirects to follow for one request. Default: 10.
    pub max_redirects: u8,
    /// Idle connections to keep for each host. Default: 16.
    pub max_idle_per_host: usize,
    /// Certificates (PEM, each entry one or more) to trust beside those of the platform. Default: none.
    pub extra_roots: Vec<Vec<u8>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            allow_private: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            user_agent: concat!("mediahost/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_redirects: 10,
            max_idle_per_host: 16,
            extra_roots: Vec::new(),
        }
    }
}

/// Bytes of a resource to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Range {
    /// From the start up to, not including, the end. An empty range is refused.
    Bounded(std::ops::Range<u64>),
    /// From here on.
    From(u64),
}

/// What to get.
#[derive(Clone, Debug)]
pub struct Get {
    /// An absolute `http` or `https` URL. Credentials in it are sent as `Authorization: Basic`.
    pub url: Url,
    /// Fields to send. Those that the client or the fields below own are dropped.
    pub headers: Vec<Header>,
    /// RFC 9110 §14.2.
    pub range: Option<Range>,
    /// RFC 9110 §13.1.5: a strong entity tag or a date; without `range` it is not sent.
    pub if_range: Option<String>,
    /// RFC 9110 §13.1.2.
    pub if_none_match: Option<String>,
    /// RFC 9110 §13.1.3.
    pub if_modified_since: Option<String>,
    /// The origin that the user named himself, and which may therefore be a private address.
    pub named: Option<Origin>,
}

impl Get {
    /// Asks for all of `url`, unconditionally and from public addresses alone.
    pub fn new(url: Url) -> Get {
        Get {
            url,
            headers: Vec::new(),
            range: None,
            if_range: None,
            if_none_match: None,
            if_modified_since: None,
            named: None,
        }
    }
}

/// Sends requests. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    /// Connects to public addresses and to those of `allow_private`.
    public: reqwest::Client,
    /// Connects anywhere. Apart from `public` also in its idle connections, so that one that was allowed for a named
    /// origin is never used for anyone else.
    open: reqwest::Client,
}

/// The head of an answer, and its body to come.
pub struct Response {
    /// The status; an error status is an answer like any other.
    pub status: u16,
    /// The URL that answered.
    pub url: Url,
    /// Whether it is another than was asked for.
    pub redirected: bool,
    /// The header fields.
    pub headers: HeaderMap,
    inner: reqwest::Response,
    idle: Duration,
}

impl Client {
    /// Fails when a certificate to trust cannot be read.
    pub fn new(config: Config) -> Result<Client, Error> {
        let tls = tls::client(&config.extra_roots)?;
        let public = build(&config, tls.clone(), public_reach(&config))?;
        let open = build(&config, tls, Reach::Open)?;
        Ok(Client { shared: Arc::new(Shared { config, public, open }) })
    }

    /// Asks, and waits for the head of the answer. Redirects are followed; each of them must lead to an address that
    /// may be reached and not from `https` to `http`, and credentials stay with the origin that they were meant for.
    pub async fn get(&self, get: Get) -> Result<Response, Error> {
        let mut headers = fields(&get.headers)?;
        conditions(&get, &mut headers)?;
        let mut trail = Trail::new(get.url, self.shared.config.max_redirects);
        loop {
            let url = trail.here().clone();
            let open = get.named.as_ref().is_some_and(|named| named.covers(&url));
            let inner = self.exchange(Method::GET, &url, &headers, None, open).await?;
            match redirect_of(&inner) {
                Some(location) => trail.follow(&location, &mut headers)?,
                None => {
                    return Ok(Response {
                        status: inner.status().as_u16(),
                        url,
                        redirected: trail.redirected(),
                        headers: inner.headers().clone(),
                        inner,
                        idle: self.shared.config.read_timeout,
                    });
                }
            }
        }
    }

    /// One request and the head of its answer, whatever that is.
    pub(crate) async fn exchange(
        &self,
        method: Method,
        url: &Url,
        headers: &HeaderMap,
        body: Option<Bytes>,
        open: bool,
    ) -> Result<reqwest::Response, Error> {
        let config = &self.shared.config;
        check_url(url)?;
        if !open {
            check_literal(url, &public_reach(config))?;
        }
        let client = if open { &self.shared.open } else { &self.shared.public };
        let mut request = client.request(method, url.clone()).headers(headers.clone());
        if let Some(body) = body {
            request = request.body(body);
        }
        let limit = config.connect_timeout + config.read_timeout;
        match tokio::time::timeout(limit, request.send()).await {
            Ok(sent) => sent.map_err(|error| Error::of(&error, url, config.connect_timeout)),
            Err(_) => Err(Error::IdleTimeout { host: host_of(url), after: config.read_timeout }),
        }
    }
}

fn public_reach(config: &Config) -> Reach {
    Reach::Public { allow_private: config.allow_private.clone() }
}

/// No proxy of the environment is used: it would connect where we may not, and hide the address that is connected to.
fn build(config: &Config, tls: rustls::ClientConfig, reach: Reach) -> Result<reqwest::Client, Error> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .redirect(Policy::none())
        .referer(false)
        .no_proxy()
        .dns_resolver(Arc::new(Resolver { reach }))
        .connect_timeout(config.connect_timeout)
        .pool_max_idle_per_host(config.max_idle_per_host)
        .user_agent(&config.user_agent)
        .tcp_nodelay(true)
        .build()
        .map_err(|error| Error::Setup { reason: error.to_string() })
}

pub(crate) fn check_url(url: &Url) -> Result<(), Error> {
    let reason = match url.scheme() {
        "http" | "https" if url.as_str().len() <= MAX_URL => return Ok(()),
        "http" | "https" => "it is too long",
        _ => "it is neither http nor https",
    };
    Err(Error::BadUrl { reason })
}

/// An address that stands in the URL itself is not resolved, so it is checked here.
fn check_literal(url: &Url, reach: &Reach) -> Result<(), Error> {
    let address = match url.host() {
        Some(Host::Ipv4(address)) => address.into(),
        Some(Host::Ipv6(address)) => address.into(),
        Some(Host::Domain(_)) => return Ok(()),
        None => return Err(Error::BadUrl { reason: "it names no host" }),
    };
    if reach.permits(address) { Ok(()) } else { Err(Error::Private { host: host_of(url), address }) }
}

/// The target of a redirect, if the answer is one.
pub(crate) fn redirect_of(response: &reqwest::Response) -> Option<Vec<u8>> {
    let location = response.headers().get(header::LOCATION).filter(|location| !location.is_empty())?;
    crate::redirect::is_redirect(response.status().as_u16()).then(|| location.as_bytes().to_vec())
}

/// A caller's fields without those that are ours.
pub(crate) fn fields(given: &[Header]) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::with_capacity(given.len() + 4);
    for Header { name, value } in given {
        let bad = || Error::BadHeader { name: name.clone() };
        let field = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| bad())?;
        if !OWN_FIELDS.contains(&field) {
            headers.append(field, value);
        }
    }
    // Offsets count bytes of the resource as it is, not of a compressed form.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(headers)
}

/// Range and conditions.
fn conditions(get: &Get, headers: &mut HeaderMap) -> Result<(), Error> {
    let range = match &get.range {
        None => None,
        Some(Range::Bounded(range)) if range.is_empty() => return Err(Error::EmptyRange),
        Some(Range::Bounded(range)) => Some(format!("bytes={}-{}", range.start, range.end - 1)),
        Some(Range::From(start)) => Some(format!("bytes={start}-")),
    };
    let if_range = get.if_range.clone().filter(|_| range.is_some());
    let fields = [
        (header::RANGE, range),
        (header::IF_RANGE, if_range),
        (header::IF_NONE_MATCH, get.if_none_match.clone()),
        (header::IF_MODIFIED_SINCE, get.if_modified_since.clone()),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            let value = HeaderValue::try_from(value).map_err(|_| Error::BadHeader { name: name.to_string() })?;
            headers.insert(name, value);
        }
    }
    Ok(())
}

impl Response {
    /// The first value of a header field, when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The next bytes of the body, as they come; none at its end. Fails when the server is silent for
    /// [`Config::read_timeout`] or ends before the length that it announced; what came before is good.
    ///
    /// May be dropped and called again: no bytes are lost.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        match tokio::time::timeout(self.idle, self.inner.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| Error::of(&error, &self.url, self.idle)),
            Err(_) => Err(Error::IdleTimeout { host: host_of(&self.url), after: self.idle }),
        }
    }
}

impl std::fmt::Debug for Response {
    /// Leaves out addresses and fields, which may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Response({} from {})", self.status, host_of(&self.url))
    }
}
