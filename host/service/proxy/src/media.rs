//! `/stream/{id}[/name]`: the media, with ranges and conditions as RFC 9110 has them.

use std::sync::Arc;

use cache::range::{
    Decision, Method, Multipart, Representation, Request as Conditions, content_range, decide, unsatisfied_range,
};
use web::body::Body;
use web::extract::{Request, State};
use web::http::header::{self, HeaderMap, HeaderValue};
use web::http::{Method as HttpMethod, StatusCode};
use web::response::{IntoResponse, Response};
use web::utoipa;
use web::{Path, Problem};

use crate::film::Film;
use crate::media_type::is_vague;
use crate::routes::find;
use crate::session::Served;
use crate::{Fault, Proxy, Session, body, presentation};

/// The media. Ranges, conditions and HEAD as RFC 9110 says; a name at the end of the path is for players that go by
/// extensions.
#[utoipa::path(get, path = "/stream/{id}", tag = "media", 
    params(("id" = String, Path), ("title" = Option<String>, Query, description = "A title of the session by its id")),
    responses((status = 200, description = "Everything"), (status = 206, description = "The range that was asked for"),
        (status = 304), (status = 404, body = Problem), (status = 412), (status = 416), (status = 502, body = Problem)))]
pub async fn serve(State(proxy): State<Arc<Proxy>>, Path(id): Path<String>, request: Request) -> Response {
    media(proxy, &id, request).await
}

/// The same under a name.
pub async fn serve_named(
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
    let title = wanted_title(request.uri().query());
    match session.served(title.as_deref()).await {
        Ok(Served::Film(film)) => {
            let media_type = content_type(&session, &film, &film.root().hold().meta());
            answer(session, &film, &media_type, request.method(), request.headers())
        }
        Ok(Served::Presentation(presentation)) => {
            presentation::serve::root(&proxy, session, &presentation, request).await
        }
        Err(fault) => problem(fault).into_response(),
    }
}

/// The answer to a request for bytes of a film.
pub fn answer(
    session: Arc<Session>,
    film: &Film,
    media_type: &str,
    method: &HttpMethod,
    asked: &HeaderMap,
) -> Response {
    let meta = film.root().hold().meta();
    // A title may be made of several files, each with a date of its own.
    let last_modified = meta.validators.last_modified.as_deref().filter(|_| film.about().is_none());
    let representation = Representation {
        length: film.length(),
        etag: Some(film.etag()),
        last_modified,
        date: meta.validators.date.as_deref(),
    };
    let decision = decision(method, asked, &representation);
    // Of what has no length yet everything is served as it comes; ranges have to wait until it is known.
    let (total, length_known) = (film.total(), film.length().is_some());
    let mut headers = HeaderMap::new();
    let mut set = |name: header::HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(header::ETAG, film.etag());
    if length_known {
        set(header::ACCEPT_RANGES, "bytes");
    }
    // A player may keep it, and has to ask whether it is still so.
    set(header::CACHE_CONTROL, "private, no-cache");
    if let Some(date) = last_modified {
        set(header::LAST_MODIFIED, date);
    }
    let (status, parts, closing, length, kind) = match decision {
        Decision::NotModified => (StatusCode::NOT_MODIFIED, Vec::new(), Vec::new(), None, None),
        Decision::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, Vec::new(), Vec::new(), Some(0), None),
        Decision::Unsatisfiable => {
            set(header::CONTENT_RANGE, &unsatisfied_range(total));
            (StatusCode::RANGE_NOT_SATISFIABLE, Vec::new(), Vec::new(), Some(0), None)
        }
        Decision::Whole => {
            let length = length_known.then_some(total);
            (StatusCode::OK, vec![(Vec::new(), 0..total)], Vec::new(), length, Some(media_type.to_owned()))
        }
        Decision::Part(range) => {
            set(header::CONTENT_RANGE, &content_range(&range, total));
            let length = range.end - range.start;
            let parts = vec![(Vec::new(), range)];
            (StatusCode::PARTIAL_CONTENT, parts, Vec::new(), Some(length), Some(media_type.to_owned()))
        }
        Decision::Parts(ranges) => {
            let multipart = Multipart::new(ranges, total, Some(media_type), &boundary());
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
    let body = if empty || method == HttpMethod::HEAD {
        Body::empty()
    } else {
        match body::stream(session, film, parts, closing) {
            Ok(stream) => Body::from_stream(stream),
            Err(fault) => return problem(fault).into_response(),
        }
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

/// The title that is asked for by `?title=`, if it is not the one that the session stands for.
fn wanted_title(query: Option<&str>) -> Option<String> {
    let pairs = url::form_urlencoded::parse(query?.as_bytes());
    pairs.into_iter().find(|(name, _)| name == "title").map(|(_, value)| value.into_owned())
}

/// The type of a piece of a presentation: what its server says, unless that is the word for "no idea", else what its name
/// tells.
pub fn piece_type(meta: &cache::Meta, name: &str) -> String {
    let said = meta.content_type.clone().filter(|kind| !is_vague(kind));
    said.unwrap_or_else(|| by_extension(name).unwrap_or(OCTETS).to_owned())
}

/// What was recognised, else what the upstream says, unless that is the word for "no idea".
fn content_type(session: &Session, film: &Film, meta: &cache::Meta) -> String {
    if let Some(title) = film.about()
        && session.title().as_ref() != Some(&title.id)
    {
        let named = title.name.as_deref().or(Some(&title.id)).and_then(by_extension).map(str::to_owned);
        return title.media_type.clone().or(named).unwrap_or_else(|| OCTETS.into());
    }
    // The facts of a session are those of its title, which the whole file is not.
    let is_other = film.about().is_none() && session.title().is_some();
    let facts = session.facts();
    let recognised = (facts.container.is_some() && !is_other).then_some(facts.media_type).flatten();
    let said = meta.content_type.clone().filter(|kind| !is_vague(kind));
    let named = || session.name().as_deref().and_then(by_extension).map(str::to_owned);
    recognised.or(said).or_else(named).unwrap_or_else(|| OCTETS.into())
}

/// The word for "no idea".
const OCTETS: &str = "application/octet-stream";

/// For players that are served before the container was recognised.
fn by_extension(name: &str) -> Option<&'static str> {
    let extension = name.rsplit_once('.')?.1.to_ascii_lowercase();
    Some(match extension.as_str() {
        "mp4" | "m4v" => "video/mp4",
        "m4s" | "cmfv" => "video/mp4",
        "m4a" | "cmfa" => "audio/mp4",
        "vtt" => "text/vtt",
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
        "vob" | "evo" | "mpg" | "mpeg" => "video/mpeg",
        "avi" => "video/x-msvideo",
        "flv" => "video/x-flv",
        _ => return None,
    })
}

fn boundary() -> String {
    let mut bytes = [0; 16];
    // A boundary that is not random could at worst occur in the data; the parts say their length anyway.
    let _ = getrandom::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a player is told when there is nothing to play.
pub fn problem(fault: Fault) -> Problem {
    let status = StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut problem = Problem::new(status, fault.code, fault.message);
    if let Some(plugin) = fault.plugin {
        problem = problem.with("plugin", plugin.into_string());
    }
    if let Some(retry_after_ms) = fault.retry_after_ms {
        problem = problem.with("retry_after_ms", retry_after_ms);
    }
    problem
}
