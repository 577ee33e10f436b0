//! A site with several files, which notes what it was asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use web::body::Body;
use web::extract::{Request, State};
use web::http::StatusCode;
use web::response::{IntoResponse, Response};
use web::{Guard, Policy, Router};

#[derive(Default)]
pub struct Shared {
    /// By path, without the slash; with a query for what depends on it.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The query that is wanted for everything; other ones are refused with 403.
    pub token: Option<String>,
    /// Paths that want none.
    pub open: Vec<String>,
    /// Paths that are refused with 403.
    pub forbidden: Vec<String>,
    /// Paths whose bytes are packed, which is sent with them.
    pub packed: Vec<String>,
    /// `Authorization` that is wanted.
    pub authorization: Option<String>,
    /// Paths with their queries, in order.
    pub asked: Vec<String>,
    /// `Authorization` of each of them.
    pub credentials: Vec<Option<String>>,
}

pub struct Site {
    shared: Arc<Mutex<Shared>>,
    pub url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Site {
    pub async fn of<const N: usize>(files: [(&str, &[u8]); N]) -> Site {
        let files = files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect();
        let shared = Arc::new(Mutex::new(Shared { files, ..Shared::default() }));
        let listener = web::Listener::bind("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        let bound = listener.address();
        let policy = Policy { bound, public_url: None, hosts: Vec::new(), cors_origins: Vec::new() };
        let routes = Router::new().route("/{*path}", web::routing::any(answer)).with_state(shared.clone());
        let app = web::app(routes, Guard::new(policy).unwrap());
        let task = tokio::spawn(web::serve(listener, app, web::Limits::default(), std::future::pending()));
        Site { shared, url: format!("http://{bound}"), task }
    }

    pub fn change<T>(&self, change: impl FnOnce(&mut Shared) -> T) -> T {
        change(&mut self.shared.lock().unwrap())
    }

    /// How often a path was asked for, whatever its query.
    pub fn count(&self, path: &str) -> usize {
        let same = |asked: &&String| asked.split('?').next() == Some(path);
        self.change(|shared| shared.asked.iter().filter(same).count())
    }
}

async fn answer(State(shared): State<Arc<Mutex<Shared>>>, request: Request) -> Response {
    let mut shared = shared.lock().unwrap();
    let path = request.uri().path()[1..].to_owned();
    let query = request.uri().query().map(str::to_owned);
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    shared.asked.push(request.uri().path_and_query().unwrap().as_str()[1..].to_owned());
    shared.credentials.push(header("authorization"));
    if shared.token.is_some() && shared.token != query && !shared.open.contains(&path) {
        return StatusCode::FORBIDDEN.into_response();
    }
    if shared.forbidden.contains(&path) {
        return StatusCode::FORBIDDEN.into_response();
    }
    if shared.authorization.is_some() && shared.authorization != header("authorization") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let full = query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
    let found = shared.files.get(&full).or_else(|| shared.files.get(&path));
    let Some(bytes) = found else { return StatusCode::NOT_FOUND.into_response() };
    let total = bytes.len();
    let etag = format!("\"{:x}\"", bytes.iter().fold(7_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte)));
    if header("if-none-match").is_some_and(|tag| tag == etag) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    let range = header("range").and_then(|range| {
        let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
        let from: usize = from.parse().ok()?;
        Some(from..to.parse::<usize>().map_or(total, |to| (to + 1).min(total)))
    });
    let kind = match path.rsplit('.').next() {
        Some("m3u8") => "application/vnd.apple.mpegurl",
        Some("mpd") => "application/dash+xml",
        _ => "video/mp2t",
    };
    let mut response = Response::builder().header("etag", etag).header("content-type", kind);
    if shared.packed.contains(&path) {
        response = response.header("content-encoding", "gzip");
    }
    match range {
        Some(range) if range.start < total => {
            let value = format!("bytes {}-{}/{total}", range.start, range.end - 1);
            let response = response.status(206).header("content-range", value);
            response.body(Body::from(bytes[range].to_vec())).unwrap()
        }
        _ => response.body(Body::from(bytes.clone())).unwrap(),
    }
}
