//! Checks of who asks from where: `Host` against DNS rebinding, `Origin` against forged requests, CORS for other pages,
//! and the header fields that keep a browser strict.
//!
//! What it does not do: tokens and cookies. It only refuses what a browser was tricked into sending; a program that is
//! no browser can send any `Host` and `Origin` it likes and must have a token anyway.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::{Error, Problem};

/// Methods that a page of a configured origin may use.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
/// Fields that a page of a configured origin may send.
const FIELDS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, range, if-range, if-match, if-none-match, last-event-id");
/// Fields of an answer that such a page may read: what a player needs for ranges.
const EXPOSED: HeaderValue = HeaderValue::from_static("Content-Range, Content-Length, Accept-Ranges, ETag");
/// How long a browser may remember the answer to a preflight, in seconds.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("600");

/// Who may ask, as the operator configured it.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The address that is bound.
    pub bound: SocketAddr,
    /// `public_url`: where people reach this host, when that is not the bound address.
    pub public_url: Option<String>,
    /// `server.hosts`: further host names to answer to, without ports; `*.example.org` stands for all below, `*` for
    /// all, which gives up the protection against DNS rebinding.
    pub hosts: Vec<String>,
    /// `server.cors_origins`: pages of other origins (`https://player.example.org`) that may use the API and the media.
    pub cors_origins: Vec<String>,
}

/// A policy in force. Clones share it, so that it can be replaced while the server runs.
#[derive(Clone)]
pub struct Guard {
    rules: Arc<RwLock<Arc<Rules>>>,
}

impl Guard {
    /// Fails when `public_url`, a host or an origin is not written as one.
    pub fn new(policy: Policy) -> Result<Guard, Error> {
        Ok(Guard { rules: Arc::new(RwLock::new(Arc::new(Rules::new(policy)?))) })
    }

    /// Puts another policy in force for all requests from now on. On failure the old one stays.
    pub fn replace(&self, policy: Policy) -> Result<(), Error> {
        let rules = Arc::new(Rules::new(policy)?);
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        Ok(())
    }

    fn rules(&self) -> Arc<Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The middleware; [`crate::app`] puts it around all routes.
pub async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let rules = guard.rules();
    let verdict = rules.judge(request.method(), request.uri(), request.headers());
    let media = is_media(request.uri().path());
    let (mut response, origin) = match verdict {
        Verdict::Refuse(problem) => (problem.into_response(), None),
        Verdict::Preflight { origin, private_network } => (preflight(private_network), Some(origin)),
        Verdict::Pass { origin } => (next.run(request).await, origin),
    };
    rules.mark(response.headers_mut(), origin, media);
    response
}

/// Whether a path leads to media, whose addresses are unguessable or signed and meant to be put into a player's page.
fn is_media(path: &str) -> bool {
    path.starts_with("/stream/") || path.starts_with("/live/")
}

fn preflight(private_network: bool) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, FIELDS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
    if private_network {
        let name = HeaderName::from_static("access-control-allow-private-network");
        headers.insert(name, HeaderValue::from_static("true"));
    }
    response
}

/// What to do with a request.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// Not for us, or not from whom it may come.
    Refuse(Problem),
    /// A browser asks whether a page of this configured origin may ask.
    Preflight { origin: HeaderValue, private_network: bool },
    /// Let it in; `origin` is there when it comes from a page of a configured origin.
    Pass { origin: Option<HeaderValue> },
}

/// A policy, resolved.
struct Rules {
    bound: IpAddr,
    /// Scheme, host and, where it is not the scheme's own, port.
    public: Option<PublicUrl>,
    hosts: Vec<HostRule>,
    /// In the form in which browsers write them.
    cors: Vec<String>,
    csp: HeaderValue,
}

struct PublicUrl {
    host: String,
    origin: String,
}

enum HostRule {
    Any,
    Exactly(String),
    /// With the dot in front.
    Below(String),
}

impl Rules {
    fn new(policy: Policy) -> Result<Rules, Error> {
        let public = policy.public_url.as_deref().map(public_url).transpose()?;
        let hosts = policy.hosts.iter().map(|host| host_rule(host)).collect::<Result<_, _>>()?;
        let cors = policy.cors_origins.iter().map(|origin| cors_origin(origin)).collect::<Result<_, _>>()?;
        let csp = content_security_policy(public.as_ref().map(|public| public.origin.as_str()));
        Ok(Rules { bound: policy.bound.ip(), public, hosts, cors, csp })
    }

    fn judge(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Verdict {
        let Some(authority) = authority(uri, headers) else {
            let detail = "The request names no host, or not one that can be read.";
            return Verdict::Refuse(Problem::new(StatusCode::BAD_REQUEST, "host-missing", detail));
        };
        if !self.answers_to(authority.host()) {
            let detail = format!(
                "This server does not go by the name {}. If it should, add the name to server.hosts.",
                authority.host()
            );
            return Verdict::Refuse(Problem::new(StatusCode::MISDIRECTED_REQUEST, "host-unknown", detail));
        }
        let Some(origin) = headers.get(header::ORIGIN) else { return Verdict::Pass { origin: None } };
        let text = origin.to_str().unwrap_or("null").to_ascii_lowercase();
        if self.is_own(&text, &authority) {
            return Verdict::Pass { origin: None };
        }
        let preflight = method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let known = self.cors.contains(&text);
        match (known, preflight) {
            (true, true) => Verdict::Preflight {
                origin: origin.clone(),
                private_network: headers.contains_key("access-control-request-private-network"),
            },
            (true, false) => Verdict::Pass { origin: Some(origin.clone()) },
            (false, false) if is_harmless(method, headers) => Verdict::Pass { origin: None },
            (false, _) => Verdict::Refuse(Problem::new(
                StatusCode::FORBIDDEN,
                "origin-refused",
                format!("Pages of {text} may not use this server. If they should, add it to server.cors_origins."),
            )),
        }
    }

    /// Whether a host, without port, is one of ours. An address cannot be rebound to another; where every address of
    /// this machine is bound, every literal address is taken for one of them.
    fn answers_to(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            let (address, bound) = (address.to_canonical(), self.bound.to_canonical());
            if address.is_loopback() || address == bound || bound.is_unspecified() {
                return true;
            }
        }
        host == "localhost"
            || host.ends_with(".localhost")
            || self.public.as_ref().is_some_and(|public| public.host == host)
            || self.hosts.iter().any(|rule| match rule {
                HostRule::Any => true,
                HostRule::Exactly(name) => *name == host,
                HostRule::Below(domain) => host.len() > domain.len() && host.ends_with(domain),
            })
    }

    /// Whether an origin is this server itself, as the browser sees it.
    fn is_own(&self, origin: &str, authority: &Authority) -> bool {
        let seen = |scheme: &str| origin_of(scheme, authority.as_str()).is_some_and(|seen| seen == origin);
        seen("http") || seen("https") || self.public.as_ref().is_some_and(|public| public.origin == origin)
    }

    /// Puts what every answer carries onto it. A handler that set a field of its own keeps it.
    fn mark(&self, headers: &mut HeaderMap, origin: Option<HeaderValue>, media: bool) {
        let mut default = |name: HeaderName, value: HeaderValue| {
            headers.entry(name).or_insert(value);
        };
        default(header::CONTENT_SECURITY_POLICY, self.csp.clone());
        default(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        default(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        default(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        default(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
        if !media {
            default(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
        }
        if !self.cors.is_empty() {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(origin) = origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

/// The host that a request is for. The target of the request wins over the field `Host` (RFC 9112 §3.2.2); in HTTP/2 it
/// is `:authority`. Two fields `Host` are none.
fn authority(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    if let Some(authority) = uri.authority() {
        return Some(authority.clone());
    }
    let mut fields = headers.get_all(header::HOST).iter();
    let host = fields.next()?;
    if fields.next().is_some() {
        return None;
    }
    let authority: Authority = host.to_str().ok()?.parse().ok()?;
    (!authority.as_str().contains('@') && !authority.host().is_empty()).then_some(authority)
}

/// Whether a request of a foreign page does no harm: it changes nothing, carries no cookie and opens no channel. The page
/// cannot read the answer.
fn is_harmless(method: &Method, headers: &HeaderMap) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
        && !headers.contains_key(header::COOKIE)
        && !headers.contains_key(header::UPGRADE)
}

/// One embedded page with scripts, styles and media from here and nothing inline. Media may also come from `public_url`,
/// since the links that are handed out begin with it.
fn content_security_policy(public: Option<&str>) -> HeaderValue {
    let public = public.map(|origin| format!(" {origin}")).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; \
         media-src 'self'{public}; connect-src 'self'{public}; manifest-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("an origin that was parsed is visible ASCII")
}

fn public_url(url: &str) -> Result<PublicUrl, Error> {
    let bad = || Error::Policy { value: url.to_owned(), expected: "a URL such as https://media.example.org" };
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let (scheme, authority) = uri.scheme_str().zip(uri.authority()).ok_or_else(bad)?;
    let origin = origin_of(scheme, authority.as_str()).ok_or_else(bad)?;
    Ok(PublicUrl { host: authority.host().trim_end_matches('.').to_ascii_lowercase(), origin })
}

fn host_rule(host: &str) -> Result<HostRule, Error> {
    let rule = host.to_ascii_lowercase();
    let (wild, name) = match rule.strip_prefix("*.") {
        Some(domain) => (true, domain),
        None => (false, rule.as_str()),
    };
    if rule == "*" {
        return Ok(HostRule::Any);
    }
    let bare: Option<Authority> = name.parse().ok();
    if bare.is_none_or(|bare| bare.host() != name) || name.contains('*') {
        let expected = "a host name without scheme and port, `*.example.org`, or `*`";
        return Err(Error::Policy { value: host.to_owned(), expected });
    }
    Ok(if wild {
        HostRule::Below(format!(".{name}"))
    } else {
        HostRule::Exactly(name.trim_end_matches('.').to_owned())
    })
}

/// Schemes beside HTTP are those of applications that embed a browser.
fn cors_origin(origin: &str) -> Result<String, Error> {
    let expected = "an origin such as https://player.example.org, without a path";
    let bad = || Error::Policy { value: origin.to_owned(), expected };
    let (scheme, rest) = origin.split_once("://").ok_or_else(bad)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '@', '*', '?', '#']) {
        return Err(bad());
    }
    origin_of(scheme, rest).ok_or_else(bad)
}

/// An origin as browsers write it: lower case, without the scheme's own port.
fn origin_of(scheme: &str, authority: &str) -> Option<String> {
    let scheme = scheme.to_ascii_lowercase();
    let authority: Authority = authority.parse().ok()?;
    let host = authority.host().to_ascii_lowercase();
    // What is written into a policy for browsers must not end its clause.
    if !host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c)) {
        return None;
    }
    let own = match scheme.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    Some(match authority.port_u16() {
        Some(port) if Some(port) != own => format!("{scheme}://{host}:{port}"),
        _ => format!("{scheme}://{host}"),
    })
}

#[cfg(test)]
mod tests;
