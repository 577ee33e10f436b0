//! The doors of the proxy: `/api/v1/sessions…` and `/stream/{id}[/name]`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cache::range::{
    Decision, Method, Multipart, Representation, Request as Conditions, content_range, decide, unsatisfied_range,
};
use futures_util::{Stream, stream};
use plugin::Header;
use plugin::detect::IndexRange;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use web::body::Body;
use web::extract::{Request, State};
use web::http::header::{self, HeaderMap, HeaderValue};
use web::http::{Method as HttpMethod, StatusCode};
use web::response::{IntoResponse, Response};
use web::routing::{get, post, put};
use web::utoipa::{self, ToSchema};
use web::{Draining, Json, Path, Problem, Router, sse};

use crate::session::View;
use crate::{Fault, NewSession, Proxy, Refusal, Session, SessionId, body};

/// Columns of the picture of a file.
const BUCKETS: usize = 512;
/// How often statistics go out to listeners.
const STATS_EVERY: Duration = Duration::from_secs(1);

/// The routes below `/api/v1`.
pub fn api(proxy: Arc<Proxy>) -> Router {
    Router::new()
        .route("/sessions", post(create).get(list))
        .route("/sessions/{id}", get(show).delete(close))
        .route("/sessions/{id}/auth", put(renew))
        .route("/sessions/{id}/stats", get(stats))
        .route("/sessions/{id}/events", get(events))
        .with_state(proxy)
}

/// The media itself. The id is the key: who knows it may read.
pub fn stream_routes(proxy: Arc<Proxy>) -> Router {
    Router::new().route("/stream/{id}", get(serve)).route("/stream/{id}/{name}", get(serve_named)).with_state(proxy)
}

/// The description of [`api`] and [`stream_routes`].
#[derive(utoipa::OpenApi)]
#[openapi(
    paths(create, list, show, close, renew, stats, events, serve),
    components(schemas(CreateSession, RenewSession, View, Sessions, Stats, Picture, Column, Position))
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

/// Numbers of one session, now.
#[derive(Serialize, ToSchema)]
pub struct Stats {
    state: crate::State,
    /// What is being waited for while opening.
    waiting_for: Option<String>,
    /// Bits per second from the upstream.
    download_bps: u64,
    /// Bits per second to clients.
    serve_bps: u64,
    /// Bytes ready beyond the position of the reader that is farthest along.
    buffered_bytes_ahead: u64,
    /// Connections to the upstream that bring bytes.
    active_workers: usize,
    /// Share of the served bytes that had been fetched before, 0 to 1.
    cache_hit_rate: f64,
    length: Option<u64>,
    /// Bytes of the file that are in the cache.
    cached_bytes: u64,
    /// Bytes from the upstream since the file was opened.
    upstream_bytes: u64,
    /// Bytes to clients since the session began.
    served_bytes: u64,
    /// Whether all of the file is in the cache.
    complete: bool,
    picture: Picture,
}

/// The file from its first byte to its last, in columns of equal width.
#[derive(Serialize, ToSchema)]
pub struct Picture {
    buckets: Vec<Column>,
    /// What a player needs first.
    #[schema(value_type = Vec<Object>)]
    first: Vec<IndexRange>,
    readers: Vec<Position>,
}

/// One column.
#[derive(Serialize, ToSchema)]
pub struct Column {
    /// How much of it is cached, 0 to 1.
    present: f32,
    /// Whether some of it is being fetched.
    in_flight: bool,
}

/// Where a response reads.
#[derive(Serialize, ToSchema)]
pub struct Position {
    position: u64,
    end: u64,
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
    let new =
        NewSession { url: wanted.url.trim().to_owned(), headers: fields(wanted.headers), file_key: wanted.file_key };
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
    let session = find(&proxy, &id)?;
    proxy.close(session.id()).await;
    Ok(StatusCode::NO_CONTENT)
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
async fn stats(State(proxy): State<Arc<Proxy>>, Path(id): Path<String>) -> Result<impl IntoResponse, Problem> {
    Ok(web::response::Json(statistics(&*find(&proxy, &id)?, BUCKETS)))
}

/// What happens to a session, as server-sent events: `ready`, `stats`, `auth-required`, `failed`, `closed`. The first
/// event tells how things stand.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/events", tag = "sessions", params(("id" = String, Path)),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 404, body = Problem)))]
async fn events(
    State(proxy): State<Arc<Proxy>>,
    base: Base,
    Path(id): Path<String>,
    draining: Draining,
) -> Result<Response, Problem> {
    let session = find(&proxy, &id)?;
    Ok(sse::response(happenings(session, base.of(&proxy)), draining))
}

fn happenings(session: Arc<Session>, base: String) -> impl Stream<Item = sse::Message> + Send + 'static {
    struct Listening {
        session: Arc<Session>,
        base: String,
        events: broadcast::Receiver<crate::session::Event>,
        stats: tokio::time::Interval,
        begun: bool,
        over: bool,
    }
    let events = session.events();
    let mut stats = tokio::time::interval(STATS_EVERY);
    stats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let state = Listening { session, base, events, stats, begun: false, over: false };
    let message = |event, data| Some(sse::Message { event, data, id: None });
    stream::unfold(state, move |mut state| async move {
        if state.over {
            return None;
        }
        let now = match state.session.state() {
            crate::State::Opening => None,
            crate::State::Ready => Some("ready"),
            crate::State::AuthRequired => Some("auth-required"),
            crate::State::Failed => Some("failed"),
            crate::State::Closed => Some("closed"),
        };
        let name = if !std::mem::replace(&mut state.begun, true) && now.is_some() {
            now
        } else {
            tokio::select! {
                event = state.events.recv() => match event {
                    Ok(event) => Some(event.name),
                    // What was missed is told by how things stand.
                    Err(broadcast::error::RecvError::Lagged(_)) => now,
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                _ = state.stats.tick() => None,
            }
        };
        state.over = name == Some("closed");
        let event = match name {
            Some(name) => message(name, json(&state.session.view(&state.base))),
            None => message("stats", json(&statistics(&state.session, BUCKETS))),
        };
        event.map(|event| (event, state))
    })
}

fn json(value: &impl Serialize) -> serde_json::Value {
    // Numbers, texts and lists of them: cannot fail.
    serde_json::to_value(value).unwrap_or_default()
}

fn statistics(session: &Session, buckets: usize) -> Stats {
    let live = session.live();
    let numbers = live.as_ref().map(|live| live.numbers());
    let positions = session.positions();
    let farthest = positions.iter().map(|range| range.start).max();
    let (serve_bps, served_bytes) = session.served_now(Instant::now());
    let hits = session.hits.load(Ordering::Relaxed);
    let picture = live.as_ref().map(|live| live.picture(buckets)).unwrap_or_default();
    Stats {
        state: session.state(),
        waiting_for: session.waiting_for(),
        download_bps: numbers.as_ref().map_or(0, |numbers| numbers.download_bps),
        serve_bps,
        buffered_bytes_ahead: live.as_ref().zip(farthest).map_or(0, |(live, at)| live.ahead(at)),
        active_workers: numbers.as_ref().map_or(0, |numbers| numbers.active_workers),
        cache_hit_rate: if served_bytes == 0 { 0.0 } else { hits as f64 / served_bytes as f64 },
        length: live.as_ref().map(|live| live.total()),
        cached_bytes: numbers.as_ref().map_or(0, |numbers| numbers.present_bytes),
        upstream_bytes: numbers.as_ref().map_or(0, |numbers| numbers.upstream_bytes),
        served_bytes,
        complete: numbers.as_ref().is_some_and(|numbers| numbers.complete),
        picture: Picture {
            buckets: picture
                .into_iter()
                .map(|bucket| Column { present: bucket.present, in_flight: bucket.in_flight })
                .collect(),
            first: session.facts().first,
            readers: positions.into_iter().map(|range| Position { position: range.start, end: range.end }).collect(),
        },
    }
}

/// The media. Ranges, conditions and HEAD as RFC 9110 says; a name at the end of the path is for players that go by
/// extensions.
#[utoipa::path(get, path = "/stream/{id}", tag = "media", params(("id" = String, Path)),
    responses((status = 200, description = "Everything"), (status = 206, description = "The range that was asked for"),
        (status = 304), (status = 404, body = Problem), (status = 412), (status = 416), (status = 502, body = Problem)))]
async fn serve(State(proxy): State<Arc<Proxy>>, Path(id): Path<String>, request: Request) -> Response {
    media(proxy, &id, request).await
}

async fn serve_named(
    State(proxy): State<Arc<Proxy>>,
    Path((id, _name)): Path<(String, String)>,
    request: Request,
) -> Response {
    media(proxy, &id, request).await
}

async fn media(proxy: Arc<Proxy>, id: &str, request: Request) -> Response {
    let session = match find(&proxy, id) {
        Ok(session) => session,
        Err(problem) => return problem.into_response(),
    };
    let live = match session.opened().await {
        Ok(live) => live,
        Err(fault) => return problem(fault).into_response(),
    };
    let meta = live.file().meta();
    let media_type = content_type(&session, &meta);
    let representation = Representation {
        length: Some(live.total()),
        etag: Some(live.etag()),
        last_modified: meta.validators.last_modified.as_deref(),
        date: meta.validators.date.as_deref(),
    };
    let decision = decision(request.method(), request.headers(), &representation);
    let total = live.total();
    let mut headers = HeaderMap::new();
    let mut set = |name: header::HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(header::ETAG, live.etag());
    set(header::ACCEPT_RANGES, "bytes");
    // A player may keep it, and has to ask whether it is still so.
    set(header::CACHE_CONTROL, "private, no-cache");
    if let Some(date) = &meta.validators.last_modified {
        set(header::LAST_MODIFIED, date);
    }
    let (status, parts, closing, length, kind) = match decision {
        Decision::NotModified => (StatusCode::NOT_MODIFIED, Vec::new(), Vec::new(), None, None),
        Decision::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, Vec::new(), Vec::new(), Some(0), None),
        Decision::Unsatisfiable => {
            set(header::CONTENT_RANGE, &unsatisfied_range(total));
            (StatusCode::RANGE_NOT_SATISFIABLE, Vec::new(), Vec::new(), Some(0), None)
        }
        Decision::Whole => (StatusCode::OK, vec![(Vec::new(), 0..total)], Vec::new(), Some(total), Some(media_type)),
        Decision::Part(range) => {
            set(header::CONTENT_RANGE, &content_range(&range, total));
            let length = range.end - range.start;
            (StatusCode::PARTIAL_CONTENT, vec![(Vec::new(), range)], Vec::new(), Some(length), Some(media_type))
        }
        Decision::Parts(ranges) => {
            let multipart = Multipart::new(ranges, total, Some(&media_type), &boundary());
            let parts = multipart.parts().map(|(before, range)| (before.to_vec(), range)).collect();
            let closing = multipart.closing().to_vec();
            (
                StatusCode::PARTIAL_CONTENT,
                parts,
                closing,
                Some(multipart.content_length()),
                Some(multipart.content_type()),
            )
        }
    };
    if let Some(kind) = kind {
        set(header::CONTENT_TYPE, &kind);
    }
    if let Some(length) = length {
        set(header::CONTENT_LENGTH, &length.to_string());
    }
    let empty = parts.iter().all(|(before, range)| before.is_empty() && range.is_empty());
    let body = if empty || request.method() == HttpMethod::HEAD {
        Body::empty()
    } else {
        Body::from_stream(body::stream(session, live, parts, closing))
    };
    (status, headers, body).into_response()
}

fn decision(method: &HttpMethod, headers: &HeaderMap, representation: &Representation) -> Decision {
    let lines = |name: header::HeaderName| -> Vec<&str> {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
    };
    let one = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let (range, if_match, if_none_match) =
        (lines(header::RANGE), lines(header::IF_MATCH), lines(header::IF_NONE_MATCH));
    let conditions = Conditions {
        method: if method == HttpMethod::HEAD { Method::Head } else { Method::Get },
        range: &range,
        if_range: one(header::IF_RANGE),
        if_match: &if_match,
        if_none_match: &if_none_match,
        if_modified_since: one(header::IF_MODIFIED_SINCE),
        if_unmodified_since: one(header::IF_UNMODIFIED_SINCE),
    };
    decide(&conditions, representation)
}

/// What was recognised, else what the upstream says, unless that is the word for "no idea".
fn content_type(session: &Session, meta: &cache::Meta) -> String {
    let vague = |kind: &str| matches!(kind, "application/octet-stream" | "binary/octet-stream" | "text/plain" | "");
    let facts = session.facts();
    let recognised = facts.container.is_some().then_some(facts.media_type).flatten();
    let said = meta.content_type.clone().filter(|kind| !vague(kind.split(';').next().unwrap_or_default().trim()));
    let named = || session.name().as_deref().and_then(by_extension).map(str::to_owned);
    recognised.or(said).or_else(named).unwrap_or_else(|| "application/octet-stream".into())
}

/// For players that are served before the container was recognised.
fn by_extension(name: &str) -> Option<&'static str> {
    let extension = name.rsplit_once('.')?.1.to_ascii_lowercase();
    Some(match extension.as_str() {
        "mp4" | "m4v" => "video/mp4",
        "m4a" => "audio/mp4",
        "mov" => "video/quicktime",
        "webm" => "video/webm",
        "mkv" => "video/x-matroska",
        "ts" | "m2ts" | "mts" => "video/mp2t",
        "mp3" => "audio/mpeg",
        "flac" => "audio/flac",
        "aac" => "audio/aac",
        "ogg" | "oga" | "opus" => "audio/ogg",
        "ogv" => "video/ogg",
        "wav" => "audio/wav",
        _ => return None,
    })
}

fn boundary() -> String {
    let mut bytes = [0; 16];
    // A boundary that is not random could at worst occur in the data; the parts say their length anyway.
    let _ = getrandom::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fields(headers: BTreeMap<String, String>) -> Vec<Header> {
    headers.into_iter().map(|(name, value)| Header { name, value }).collect()
}

fn find(proxy: &Arc<Proxy>, id: &str) -> Result<Arc<Session>, Problem> {
    let unknown = || {
        Problem::new(StatusCode::NOT_FOUND, "session-unknown", "There is no session of this id; it may have expired.")
    };
    let id: SessionId = id.parse().map_err(|()| unknown())?;
    proxy.session(id).ok_or_else(unknown)
}

/// What the client called us, for links that work from where it is.
struct Base(Option<String>);

impl<S: Send + Sync> web::extract::FromRequestParts<S> for Base {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut web::http::request::Parts, _: &S) -> Result<Base, Self::Rejection> {
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
        Ok(Base(host.or_else(|| parts.uri.authority().map(ToString::to_string))))
    }
}

impl Base {
    fn of(self, proxy: &Proxy) -> String {
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
            Refusal::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too-many-sessions"),
            Refusal::Disk(_) => (StatusCode::INSUFFICIENT_STORAGE, "disk"),
        };
        Problem::new(status, code, refusal.to_string())
    }
}

/// What a player is told when there is nothing to play.
fn problem(fault: Fault) -> Problem {
    let status = StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut problem = Problem::new(status, fault.code, fault.message);
    if let Some(plugin) = fault.plugin {
        problem = problem.with("plugin", plugin);
    }
    if let Some(retry_after_ms) = fault.retry_after_ms {
        problem = problem.with("retry_after_ms", retry_after_ms);
    }
    problem
}
