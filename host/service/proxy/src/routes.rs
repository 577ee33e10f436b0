//! The doors of the proxy: the table of its routes, and what `/api/v1/sessions…` takes and answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use plugin::Header;
use serde::{Deserialize, Serialize};
use web::extract::State;
use web::http::{HeaderMap, StatusCode, Uri, header};
use web::response::{IntoResponse, Response};
use web::routing::{get, post, put};
use web::utoipa::{self, ToSchema};
use web::{Draining, Json, Path, Problem, Router, sse};

use crate::session::{TitleView, View};
use crate::stats::{Column, Picture, Position, Stats};
use crate::{NewSession, Proxy, Refusal, Session, SessionId, bus, events, media, presentation, stats};

/// The routes below `/api/v1`.
pub fn api(proxy: Arc<Proxy>) -> Router {
    Router::new()
        .route("/sessions", post(create).get(list))
        .route("/sessions/{id}", get(show).delete(close))
        .route("/sessions/{id}/auth", put(renew))
        .route("/sessions/{id}/stats", get(numbers))
        .route("/sessions/{id}/events", get(happenings))
        .route("/sessions/{id}/segments", get(segments))
        .with_state(proxy)
}

/// The media itself. The id is the key: who knows it may read.
pub fn stream_routes(proxy: Arc<Proxy>) -> Router {
    Router::new()
        .route("/stream/{id}", get(media::serve))
        .route("/stream/{id}/{name}", get(media::serve_named))
        .route("/stream/{id}/{link}/", get(presentation::serve::directory))
        .route("/stream/{id}/{link}/{*rest}", get(presentation::serve::linked))
        .with_state(proxy)
}

/// The description of [`api`] and [`stream_routes`].
#[derive(utoipa::OpenApi)]
#[openapi(
    paths(create, list, show, close, renew, numbers, happenings, segments, media::serve),
    components(schemas(
        CreateSession,
        RenewSession,
        View,
        TitleView,
        Sessions,
        Stats,
        stats::Upstream,
        Picture,
        Column,
        Position,
        bus::Phase,
        bus::MediaInfo,
        Segments,
        SegmentView
    ))
)]
pub struct OpenApi;

/// What a session is made from.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSession {
    /// The address to play.
    #[schema(example = "https://example.org/film.mp4")]
    url: String,
    /// Header fields for the upstream.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Your own stable name for these bytes: sessions with the same name share what is cached.
    #[serde(default)]
    file_key: Option<String>,
    /// Which title of a disc image or an archive to play, by its id, or `whole` for the file as it is. Without it, the
    /// main title.
    #[serde(default)]
    title: Option<String>,
    /// Where playing will start, in milliseconds, so that what is needed there is fetched at once.
    #[serde(default)]
    start_ms: Option<u64>,
    /// Whether all of the file is fetched, though nobody reads it.
    #[serde(default)]
    fill: bool,
}

/// New credentials. What is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewSession {
    /// A new address of the same bytes.
    #[serde(default)]
    url: Option<String>,
    /// Header fields in place of those before.
    #[serde(default)]
    headers: Option<BTreeMap<String, String>>,
}

/// All sessions, the newest first.
#[derive(Serialize, ToSchema)]
pub struct Sessions {
    sessions: Vec<View>,
}

/// Makes a session. Answers before the upstream is asked: what it says shows in the session and its events.
#[utoipa::path(post, path = "/api/v1/sessions", tag = "sessions", request_body = CreateSession,
    responses((status = 201, body = View), (status = 400, description = "The request cannot be understood", body = Problem)))]
async fn create(
    State(proxy): State<Arc<Proxy>>,
    base: Base,
    Json(wanted): Json<CreateSession>,
) -> Result<Response, Problem> {
    let base = base.of(&proxy);
    let new = NewSession {
        url: wanted.url.trim().to_owned(),
        headers: fields(wanted.headers),
        file_key: wanted.file_key,
        title: wanted.title,
        start_ms: wanted.start_ms,
        fill: wanted.fill,
        bus: None,
    };
    let session = proxy.create(new).await?;
    let location = format!("/api/v1/sessions/{}", session.id());
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], web::response::Json(session.view(&base))).into_response())
}

/// All sessions, the newest first.
#[utoipa::path(get, path = "/api/v1/sessions", tag = "sessions", responses((status = 200, body = Sessions)))]
async fn list(State(proxy): State<Arc<Proxy>>, base: Base) -> impl IntoResponse {
    let base = base.of(&proxy);
    let sessions = proxy.list().iter().map(|session| session.view(&base)).collect();
    web::response::Json(Sessions { sessions })
}

/// One session.
#[utoipa::path(get, path = "/api/v1/sessions/{id}", tag = "sessions", params(("id" = String, Path)),
    responses((status = 200, body = View), (status = 404, body = Problem)))]
async fn show(
    State(proxy): State<Arc<Proxy>>,
    base: Base,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let base = base.of(&proxy);
    Ok(web::response::Json(find(&proxy, &id)?.view(&base)))
}

/// Ends a session. What it fetched stays in the cache.
#[utoipa::path(delete, path = "/api/v1/sessions/{id}", tag = "sessions", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
async fn close(State(proxy): State<Arc<Proxy>>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let known = id.parse().map_err(|()| unknown())?;
    if proxy.close(known).await { Ok(StatusCode::NO_CONTENT) } else { Err(unknown()) }
}

/// Gives a session new credentials or a new address of the same bytes. Readers that wait go on.
#[utoipa::path(put, path = "/api/v1/sessions/{id}/auth", tag = "sessions", params(("id" = String, Path)),
    request_body = RenewSession, responses((status = 200, body = View), (status = 404, body = Problem)))]
async fn renew(
    State(proxy): State<Arc<Proxy>>,
    base: Base,
    Path(id): Path<String>,
    Json(wanted): Json<RenewSession>,
) -> Result<impl IntoResponse, Problem> {
    let base = base.of(&proxy);
    let session = find(&proxy, &id)?;
    proxy.renew(&session, wanted.url, wanted.headers.map(fields)).await?;
    Ok(web::response::Json(session.view(&base)))
}

/// Numbers and a picture of one session.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/stats", tag = "sessions", params(("id" = String, Path)),
    responses((status = 200, body = Stats), (status = 404, body = Problem)))]
async fn numbers(State(proxy): State<Arc<Proxy>>, Path(id): Path<String>) -> Result<impl IntoResponse, Problem> {
    Ok(web::response::Json(stats::of(&*find(&proxy, &id)?, proxy.disk())))
}

/// What happens to a session, as server-sent events: `ready`, `stats`, `auth-required`, `failed`, `closed`; `phase`,
/// `progress`, `media-info`, `mismatch`, `segments` and `slow` about its file; `missed` tells a slow listener how many it
/// lost. The first events tell how things stand.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/events", tag = "sessions", params(("id" = String, Path)),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 404, body = Problem)))]
async fn happenings(
    State(proxy): State<Arc<Proxy>>,
    base: Base,
    Path(id): Path<String>,
    draining: Draining,
) -> Result<Response, Problem> {
    let session = find(&proxy, &id)?;
    Ok(sse::response(events::of(session, proxy.clone(), base.of(&proxy)), draining))
}

/// The segments of a fragmented MP4 file.
#[derive(Serialize, ToSchema)]
pub struct Segments {
    /// Whether these are all.
    complete: bool,
    /// Where the first bytes lie that a player needs before any segment.
    init: Option<(u64, u64)>,
    segments: Vec<SegmentView>,
}

/// One of them.
#[derive(Serialize, ToSchema)]
pub struct SegmentView {
    offset: u64,
    length: u64,
    start_ms: u64,
    duration_ms: u64,
    /// Whether a player can start here.
    is_sync: bool,
}

/// The segments of a fragmented MP4 file, as far as they are known from the bytes that are here. None of another file.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/segments", tag = "sessions", params(("id" = String, Path)),
    responses((status = 200, body = Segments), (status = 404, body = Problem)))]
async fn segments(State(proxy): State<Arc<Proxy>>, Path(id): Path<String>) -> Result<impl IntoResponse, Problem> {
    let found = find(&proxy, &id)?.fragments();
    let segments = found.as_ref().map(|found| {
        let ms = |ticks| found.timescale.map_or(0, |scale| scale.millis(ticks));
        let view = |segment: &container::fragments::Segment| SegmentView {
            offset: segment.bytes.start,
            length: segment.bytes.end - segment.bytes.start,
            start_ms: ms(segment.start_ticks),
            duration_ms: ms(segment.end_ticks()) - ms(segment.start_ticks),
            is_sync: segment.is_sync,
        };
        found.segments.iter().map(view).collect()
    });
    Ok(web::response::Json(Segments {
        complete: found.as_ref().is_some_and(|found| found.complete),
        init: found.as_ref().and_then(|found| found.init.as_ref()).map(|init| (init.start, init.end)),
        segments: segments.unwrap_or_default(),
    }))
}

fn fields(headers: BTreeMap<String, String>) -> Vec<Header> {
    headers.into_iter().map(|(name, value)| Header { name, value }).collect()
}

/// The session of an id as it stands in a path.
pub fn find(proxy: &Arc<Proxy>, id: &str) -> Result<Arc<Session>, Problem> {
    let id: SessionId = id.parse().map_err(|()| unknown())?;
    proxy.session(id).ok_or_else(unknown)
}

/// What the client called us, for links that work from where it is.
pub struct Base(Option<String>);

impl<S: Send + Sync> web::extract::FromRequestParts<S> for Base {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut web::http::request::Parts, _: &S) -> Result<Base, Self::Rejection> {
        Ok(Base::from_request(&parts.headers, &parts.uri))
    }
}

impl Base {
    /// What a request calls us.
    pub fn from_request(headers: &HeaderMap, uri: &Uri) -> Base {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
        Base(host.or_else(|| uri.authority().map(ToString::to_string)))
    }

    /// What links begin with: the address that was configured, or what the client called us.
    pub fn of(self, proxy: &Proxy) -> String {
        match (&proxy.config.public_url, self.0) {
            (Some(public), _) => public.trim_end_matches('/').to_owned(),
            (None, Some(host)) => format!("{}://{host}", proxy.config.scheme),
            (None, None) => String::new(),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let (status, code) = match &refusal {
            Refusal::NotAnAddress(_) => (StatusCode::BAD_REQUEST, "bad-address"),
            Refusal::UnknownScheme { .. } => (StatusCode::BAD_REQUEST, "unknown-scheme"),
            Refusal::BadHeader { .. } => (StatusCode::BAD_REQUEST, "bad-header"),
            Refusal::TooLong(_) => (StatusCode::BAD_REQUEST, "address-too-long"),
            Refusal::FileKey(_) => (StatusCode::BAD_REQUEST, "bad-file-key"),
            Refusal::Title(_) => (StatusCode::BAD_REQUEST, "bad-title"),
            Refusal::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too-many-sessions"),
        };
        Problem::new(status, code, refusal.to_string())
    }
}

fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "session-unknown", "There is no session of this id; it may have expired.")
}
