//! What players are answered who follow a manifest: `/stream/{id}` is the manifest, `/stream/{id}/{link}/…` all else.
//!
//! Owns: which link is answered how, waiting for new credentials.
//! Leaves to others: manifests ([`super::playlist`]), pieces ([`super::piece`]), the answer to a range
//! ([`crate::media`]).

use std::sync::Arc;

use cache::upstream::Asked;
use container::manifest::{Facts, Kind, Role, below};
use futures_util::stream;
use url::Url;
use web::Problem;
use web::body::Body;
use web::extract::{Request, State};
use web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use web::http::{Method, StatusCode};
use web::response::{IntoResponse, Response};

use super::Presentation;
use super::playlist::Playlist;
use super::seal::Target;
use crate::fault::Fault;
use crate::film::Film;
use crate::media::{answer, piece_type, problem};
use crate::routes::{Base, find};
use crate::session::Served;
use crate::upstream::check;
use crate::{Proxy, Session, now_ms};

/// Bytes of what is handed on without being kept, at most.
const MAX_PASSED: u64 = 64 << 20;

/// The manifest that the session was made for.
pub async fn root(
    proxy: &Arc<Proxy>,
    session: Arc<Session>,
    presentation: &Arc<Presentation>,
    request: Request,
) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let mut turns = Turns::of(presentation);
    let found = loop {
        let found = presentation.root(proxy, query).await;
        if turns.is_over(&session, presentation, None, &found).await {
            break found;
        }
    };
    manifest(proxy, &session, presentation, found, &request)
}

/// What a link of a manifest leads to; the name at its end is for players alone, unless the link is one of a directory.
pub async fn linked(State(proxy): State<Arc<Proxy>>, request: Request) -> Response {
    follow(&proxy, request).await.unwrap_or_else(|problem| problem.into_response())
}

/// A link of a directory and nothing below it.
pub async fn directory(state: State<Arc<Proxy>>, request: Request) -> Response {
    linked(state, request).await
}

async fn follow(proxy: &Arc<Proxy>, request: Request) -> Result<Response, Problem> {
    let unknown = || {
        let detail = "This link is none of the session's; ask for its playback_url again.";
        Problem::new(StatusCode::NOT_FOUND, "link-unknown", detail)
    };
    // As it was sent: what stands below a directory may be encoded in ways that matter to its server.
    let mut parts = request.uri().path().trim_start_matches('/').splitn(4, '/').skip(1);
    let (id, link) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let rest = parts.next().unwrap_or_default();
    let session = find(proxy, id)?;
    let served = session.served(None).await.map_err(problem)?;
    let Served::Presentation(presentation) = served else { return Err(unknown()) };
    let query = request.uri().query();
    let (role, url) = match presentation.opened(link).ok_or_else(unknown)? {
        Target::Address { role, url } => (role, url),
        Target::Below(directory) => {
            let rest = query.map_or_else(|| rest.to_owned(), |query| format!("{rest}?{query}"));
            (Role::Segment, below(&directory, &rest).ok_or_else(unknown)?)
        }
    };
    session.touch(now_ms());
    match role {
        Role::Playlist => {
            let mut turns = Turns::of(&presentation);
            let found = loop {
                let found = presentation.playlist(proxy, &url, query.unwrap_or_default()).await;
                if turns.is_over(&session, &presentation, Some(&url), &found).await {
                    break found;
                }
            };
            Ok(manifest(proxy, &session, &presentation, found, &request))
        }
        Role::Segment | Role::Init | Role::Index => piece(proxy, session, presentation, &url, request).await,
        Role::Part | Role::Key | Role::Data | Role::AssetList | Role::Remote | Role::Clock => {
            pass(proxy, session, &presentation, &url, request).await
        }
        // See `Role`: players then go on with what the manifest itself says.
        Role::Steering | Role::Patch => {
            let detail = "Steering and patches of manifests are not served: what they name is not a link of ours.";
            Err(Problem::new(StatusCode::NOT_FOUND, "not-served", detail))
        }
    }
}

fn manifest(
    proxy: &Proxy,
    session: &Session,
    presentation: &Presentation,
    found: Result<Arc<Playlist>, Fault>,
    request: &Request,
) -> Response {
    let playlist = match found {
        Ok(playlist) => playlist,
        Err(fault) => return problem(fault).into_response(),
    };
    let text = match playlist.kind {
        Kind::Hls => playlist.body.clone(),
        Kind::Dash => {
            let base = Base::from_request(request.headers(), request.uri()).of(proxy);
            presentation.with_addresses(&playlist.body, &format!("{base}/stream/{}", session.id()))
        }
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(playlist.kind.media_type()));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if let Facts::Media(_) | Facts::Dash(_) = playlist.facts {
        session.set_live_stream(playlist.facts.is_live());
    }
    let body = if request.method() == Method::HEAD { Body::empty() } else { Body::from(text) };
    (StatusCode::OK, headers, body).into_response()
}

async fn piece(
    proxy: &Arc<Proxy>,
    session: Arc<Session>,
    presentation: Arc<Presentation>,
    url: &Url,
    request: Request,
) -> Result<Response, Problem> {
    let mut turns = Turns::of(&presentation);
    let opened = loop {
        let opened = presentation.open_piece(proxy, &session, url).await;
        if turns.is_over(&session, &presentation, Some(url), &opened).await {
            break opened;
        }
    };
    let live = opened.map_err(problem)?;
    let media_type = piece_type(&live.hold().meta(), url.path());
    let at = first_byte(request.headers());
    presentation.look_ahead(proxy, &session, url, at);
    Ok(answer(session, &Film::whole(live), &media_type, request.method(), request.headers()))
}

/// Hands on what is small, secret or not there yet, and keeps nothing of it.
async fn pass(
    proxy: &Proxy,
    session: Arc<Session>,
    presentation: &Presentation,
    url: &Url,
    request: Request,
) -> Result<Response, Problem> {
    let range = one_range(request.headers());
    let mut turns = Turns::of(presentation);
    let response = loop {
        let response = ask(proxy, presentation, url, range.clone()).await;
        if turns.is_over(&session, presentation, Some(url), &response).await {
            break response.map_err(problem)?;
        }
    };
    metrics::counter!("mediahost_upstream_requests_total").increment(1);
    let mut headers = HeaderMap::new();
    for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_RANGE, header::CONTENT_ENCODING] {
        copy(&response, &name, &mut headers);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let body = match request.method() == Method::HEAD {
        true => Body::empty(),
        false => Body::from_stream(stream::try_unfold((response, session, MAX_PASSED), async |state| {
            let (mut response, session, left) = state;
            let Some(piece) = response.chunk().await? else { return Ok(None) };
            let left = left.checked_sub(piece.len() as u64).ok_or_else(|| {
                Fault::new(
                    plugin::code::TOO_LARGE,
                    format!("this part of a manifest is longer than {MAX_PASSED} bytes"),
                )
            })?;
            session.count_served(piece.len() as u64);
            metrics::counter!("mediahost_upstream_bytes_total").increment(piece.len() as u64);
            metrics::counter!("mediahost_served_bytes_total").increment(piece.len() as u64);
            Ok::<_, Fault>(Some((piece, (response, session, left))))
        })),
    };
    Ok((status, headers, body).into_response())
}

async fn ask(
    proxy: &Proxy,
    presentation: &Presentation,
    url: &Url,
    range: Option<fetch::Range>,
) -> Result<fetch::Response, Fault> {
    let (now, access) = (presentation.current(url), presentation.access());
    let headers = access.headers_for(&now);
    let get = fetch::Get { headers, range, named: access.named, ..fetch::Get::new(now) };
    let response = proxy.client.get(get).await?;
    if response.status != 206 {
        check(&response, &Asked { range: None, expect_media: false }, None)?;
    }
    Ok(response)
}

/// Attempts at something that may take new credentials.
struct Turns {
    /// The root that this attempt is made with.
    epoch: u64,
    left: u32,
}

/// Attempts at one request, at most.
const TURNS: u32 = 3;

impl Turns {
    fn of(presentation: &Presentation) -> Turns {
        Turns { epoch: presentation.epoch(), left: TURNS }
    }

    /// Whether this answer is the one. If new credentials may help, people are asked for them, and it is not when they have
    /// come.
    async fn is_over<T>(
        &mut self,
        session: &Session,
        presentation: &Presentation,
        url: Option<&Url>,
        answer: &Result<T, Fault>,
    ) -> bool {
        let Some(fault) = answer.as_ref().err().filter(|fault| fault.wants_auth()) else { return true };
        self.left -= 1;
        if self.left == 0 {
            return true;
        }
        let now = presentation.epoch();
        if std::mem::replace(&mut self.epoch, now) != now {
            // It was refused with credentials that have been replaced meanwhile.
            return false;
        }
        if !presentation.is_refused(url, fault) {
            return true;
        }
        session.wants_credentials(fault);
        let has_come = session.credentials().await.is_ok();
        self.epoch = presentation.epoch();
        !has_come
    }
}

fn copy(from: &fetch::Response, name: &HeaderName, to: &mut HeaderMap) {
    if let Some(value) = from.headers.get(name) {
        to.insert(name, value.clone());
    }
}

/// Where a request begins to read.
fn first_byte(headers: &HeaderMap) -> u64 {
    match one_range(headers) {
        Some(fetch::Range::Bounded(range)) => range.start,
        Some(fetch::Range::From(start)) => start,
        None => 0,
    }
}

/// The range of a request for one range that has a beginning (RFC 9110 §14.1.2).
fn one_range(headers: &HeaderMap) -> Option<fetch::Range> {
    let text = headers.get(header::RANGE)?.to_str().ok()?;
    let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
    let start: u64 = first.trim().parse().ok()?;
    match last.trim() {
        "" => Some(fetch::Range::From(start)),
        last => {
            let end = last.parse::<u64>().ok()?.checked_add(1)?;
            (start < end).then_some(fetch::Range::Bounded(start..end))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_handed_on() {
        for (text, expected) in [
            ("bytes=0-", Some(fetch::Range::From(0))),
            ("bytes=5-9", Some(fetch::Range::Bounded(5..10))),
            ("bytes=9-5", None),
            ("bytes=-5", None),
            ("bytes=0-1,3-4", None),
            ("bytes=0-18446744073709551615", None),
            ("lines=0-1", None),
        ] {
            let headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static(text))]);
            assert_eq!(one_range(&headers), expected, "{text}");
        }
    }
}
