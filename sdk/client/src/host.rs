//! A host: where it is, who we are to it, and the requests to its API.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Problem};
use crate::info::Info;
use crate::session::Session;

/// From the beginning of a connection to its end.
const CONNECT: Duration = Duration::from_secs(10);
/// A connection on which nothing comes for so long is taken for dead. A host that waits for its upstream is silent too, but
/// gives up earlier; and asking again costs nothing.
const SILENCE: Duration = Duration::from_secs(90);
/// The longest JSON answer that is read: a host lists up to 262 144 segments, each in at most about a hundred bytes.
const MOST_ANSWER_BYTES: usize = 32 << 20;
/// The longest file that may hold an address or a token.
const MOST_FILE_BYTES: u64 = 4096;

/// A host and the right to use it. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Host {
    base: Url,
    token: Arc<str>,
    client: Client,
}

impl fmt::Debug for Host {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl Host {
    /// The host at an address like `http://127.0.0.1:7979`, which may end in a path if the host is behind a proxy. Nothing
    /// is connected yet.
    pub fn new(address: &str, token: &str) -> Result<Host, Error> {
        Host::with_client(address, token, client()?)
    }

    /// The host whose data folder this is: its address lies in `listen`, its token in `admin.token`. `listen` is there while
    /// the host runs. For a host with TLS, and for one on another machine, use [`Host::new`].
    pub fn of_folder(data: &Path) -> Result<Host, Error> {
        Host::new(&address_file(&data.join("listen"))?, &read_token(&data.join("admin.token"))?)
    }

    /// The same as [`Host::new`] with an HTTP client of your own. It should not follow redirects, decompress, or limit the
    /// time of a whole answer.
    pub fn with_client(address: &str, token: &str, client: Client) -> Result<Host, Error> {
        let wrong = |why: &str| Error::Address { given: address.to_owned(), why: why.to_owned() };
        let mut base = Url::parse(address.trim()).map_err(|error| wrong(&error.to_string()))?;
        match base.scheme() {
            "http" => {}
            "https" if cfg!(feature = "tls") => {}
            "https" => return Err(wrong("https needs this program to be built with the feature `tls`")),
            _ => return Err(wrong("its scheme is neither http nor https")),
        }
        if !base.username().is_empty() || base.password().is_some() || base.query().is_some() {
            return Err(wrong("it has a user name or a query; the token is given apart"));
        }
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        let token = token.trim();
        if HeaderValue::from_str(token).is_err() {
            return Err(wrong("the token that goes with it has characters that no token has"));
        }
        Ok(Host { base, token: token.into(), client })
    }

    /// The host's address.
    pub fn address(&self) -> &str {
        self.base.as_str()
    }

    /// Makes a session. The host answers before it asks the upstream: see [`Session::ready`].
    pub async fn open(&self, what: impl Into<Open>) -> Result<Session, Error> {
        let info: Info = self.call(Method::POST, "sessions", "", Some(&what.into())).await?;
        Session::new(self.clone(), info.session_id)
    }

    /// A session that was made before, here or elsewhere. Nothing is asked yet.
    pub fn session(&self, id: &str) -> Result<Session, Error> {
        Session::new(self.clone(), id.to_owned())
    }

    /// A request to the API and its answer. `shown` stands for `path` where people read it, unless it is empty.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        shown: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, Error> {
        let what = self.what(&method, &format!("api/v1/{}", if shown.is_empty() { path } else { shown }));
        let mut request = self.api(method, path, &what)?;
        if let Some(body) = body {
            let json = serde_json::to_vec(body).map_err(|error| wrong(&what, error))?;
            request = request.header("content-type", "application/json").body(json);
        }
        let response = self.send(request, &what).await?;
        let json = body_of(response, &what).await?;
        // An empty answer stands for `null`, so that `()` can be had of it.
        serde_json::from_slice(if json.is_empty() { b"null" } else { &json }).map_err(|error| wrong(&what, error))
    }

    /// A request to the API, with the token.
    pub(crate) fn api(&self, method: Method, path: &str, what: &str) -> Result<RequestBuilder, Error> {
        let url = self.url(&format!("api/v1/{path}"))?;
        let mut bearer =
            HeaderValue::from_str(&format!("Bearer {}", self.token)).map_err(|error| wrong(what, error))?;
        bearer.set_sensitive(true);
        Ok(self.client.request(method, url).header(AUTHORIZATION, bearer))
    }

    /// A request without it: who knows a session's id may read.
    pub(crate) fn plain(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// The answer to a request, if it is one of success.
    pub(crate) async fn send(&self, request: RequestBuilder, what: &str) -> Result<Response, Error> {
        let response = request.send().await.map_err(|error| unreachable(what, error))?;
        if response.status().is_success() { Ok(response) } else { Err(refused(response, what).await) }
    }

    /// An address on this host.
    pub(crate) fn url(&self, path: &str) -> Result<Url, Error> {
        let wrong = |error: &dyn fmt::Display| Error::Address { given: path.to_owned(), why: error.to_string() };
        self.base.join(path).map_err(|error| wrong(&error))
    }

    /// A request as people read it.
    pub(crate) fn what(&self, method: &Method, path: &str) -> String {
        format!("{method} {}{path}", self.base)
    }
}

/// What to play.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Open {
    url: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_ms: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    fill: bool,
}

impl Open {
    /// An address that one of the host's plugins understands.
    pub fn new(url: impl Into<String>) -> Open {
        Open { url: url.into(), ..Open::default() }
    }

    /// A header field for the upstream: `Cookie`, `Referer`, `Authorization`, …
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Open {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Your own stable name for these bytes: sessions with the same name share what is cached, whatever their addresses.
    pub fn file_key(mut self, key: impl Into<String>) -> Open {
        self.file_key = Some(key.into());
        self
    }

    /// The title of a disc image or an archive, by its id; `whole` for the file as it is.
    pub fn title(mut self, id: impl Into<String>) -> Open {
        self.title = Some(id.into());
        self
    }

    /// Where playing will start, in milliseconds, so that what is needed there is fetched at once.
    pub fn start_ms(mut self, start_ms: u64) -> Open {
        self.start_ms = Some(start_ms);
        self
    }

    /// Whether all of the file is fetched, though nobody reads it; [`crate::Event::Phase`] tells when that is done.
    pub fn fill(mut self, fill: bool) -> Open {
        self.fill = fill;
        self
    }
}

impl From<&str> for Open {
    fn from(url: &str) -> Open {
        Open::new(url)
    }
}

impl From<String> for Open {
    fn from(url: String) -> Open {
        Open::new(url)
    }
}

/// The folder in which a host of this user keeps its data unless it is told otherwise; none where the system names no such
/// place.
pub fn data_folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        absolute("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
    };
    base.map(|base| base.join("mediahost"))
}

/// A token from a file of its own, such as a host's `admin.token`.
pub fn read_token(path: &Path) -> Result<String, Error> {
    let token = read_short(path)?;
    if token.is_empty() {
        return Err(Error::File { path: path.to_owned(), source: io::Error::other("there is no token in it") });
    }
    Ok(token)
}

/// The address from a host's `listen`, as one that can be connected to.
fn address_file(path: &Path) -> Result<String, Error> {
    let text = read_short(path)?;
    let bare = text.trim_start_matches("http://").trim_end_matches('/');
    let address: SocketAddr = bare.parse().map_err(|_| {
        let why = format!("{text:?} is not where a host listens");
        Error::File { path: path.to_owned(), source: io::Error::other(why) }
    })?;
    let ip = match address.ip() {
        // It listens on every address, and this is one of them.
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Ok(format!("http://{}", SocketAddr::new(ip, address.port())))
}

fn read_short(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(MOST_FILE_BYTES).read_to_string(&mut text));
    read.map_err(|source| Error::File { path: path.to_owned(), source })?;
    Ok(text.trim().to_owned())
}

fn client() -> Result<Client, Error> {
    // A proxy of the environment is for the world outside, and redirects are none of a host's answers.
    let builder = Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .user_agent(concat!("mediahost-client/", env!("CARGO_PKG_VERSION")));
    #[cfg(feature = "tls")]
    let builder = builder.tls_backend_preconfigured(tls()?);
    builder.build().map_err(|error| Error::Start(told(error)))
}

/// The system's certificates, without a provider for the whole process, which is the application's to choose.
#[cfg(feature = "tls")]
fn tls() -> Result<rustls::ClientConfig, Error> {
    use rustls_platform_verifier::BuilderVerifierExt;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_platform_verifier());
    Ok(config.map_err(|error| Error::Start(error.to_string()))?.with_no_client_auth())
}

/// The error that an answer is.
pub(crate) async fn refused(response: Response, what: &str) -> Error {
    let (status, asked) = (response.status(), retry_after(response.headers()));
    // What cannot be read says nothing, and the status is known.
    let body = body_of(response, what).await.unwrap_or_default();
    Error::Refused { what: what.to_owned(), problem: Problem::read(status.as_u16(), asked, &body) }
}

/// `Retry-After` in seconds (RFC 9110 §10.2.3). The other form, a date, would need a clock that agrees with the host's, and
/// hosts do not use it.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

async fn body_of(mut response: Response, what: &str) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(what, error))? {
        if body.len() + chunk.len() > MOST_ANSWER_BYTES {
            return Err(wrong(what, format!("the answer is longer than {MOST_ANSWER_BYTES} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

pub(crate) fn unreachable(what: &str, error: reqwest::Error) -> Error {
    Error::Unreachable { what: what.to_owned(), why: told(error) }
}

pub(crate) fn wrong(what: &str, why: impl fmt::Display) -> Error {
    Error::Protocol { what: what.to_owned(), why: why.to_string() }
}

/// An error with its causes, which is where the reason stands, and without the address, which may be a key.
fn told(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Whether an answer to `DELETE` means that there is nothing left.
pub(crate) fn is_gone(problem: &Problem) -> bool {
    problem.status == StatusCode::NOT_FOUND.as_u16()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_is_a_host() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let error = Host::of_folder(folder.path()).unwrap_err();
        assert!(error.to_string().contains("listen"), "{error}");
        file("admin.token", "abc\n");
        for (listen, address) in [
            ("127.0.0.1:7979\n", "http://127.0.0.1:7979/"),
            ("0.0.0.0:80", "http://127.0.0.1/"),
            ("[::]:1", "http://[::1]:1/"),
        ] {
            file("listen", listen);
            let host = Host::of_folder(folder.path()).unwrap();
            assert_eq!((host.address(), &*host.token), (address, "abc"));
            assert!(!format!("{host:?}").contains("abc"));
        }
        file("listen", "somewhere");
        assert!(Host::of_folder(folder.path()).unwrap_err().to_string().contains("somewhere"));
        file("listen", "127.0.0.1:7979");
        file("admin.token", " ");
        assert!(Host::of_folder(folder.path()).unwrap_err().to_string().contains("admin.token"));
    }

    #[test]
    fn an_address_is_checked() {
        for wrong in ["", "127.0.0.1:7979", "ftp://a", "http://ann:secret@a/", "http://a/?token=1"] {
            let error = Host::new(wrong, "t").unwrap_err();
            assert!(matches!(error, Error::Address { .. }), "{wrong}: {error}");
        }
        assert!(matches!(Host::new("http://a", "a\nb"), Err(Error::Address { .. })));
        assert_eq!(Host::new("http://a:1/under", "t").unwrap().address(), "http://a:1/under/");
        assert_eq!(Host::new("https://a", "t").is_ok(), cfg!(feature = "tls"));
    }
}
