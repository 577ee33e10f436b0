//! An origin that behaves as it is told and counts what it sends.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use web::body::Body;
use web::extract::{Request, State};
use web::http::StatusCode;
use web::response::{IntoResponse, Response};
use web::{Guard, Policy, Router};

/// How an origin behaves. The default is good.
#[derive(Clone, Default)]
pub struct Behaviour {
    pub bytes: Arc<Vec<u8>>,
    pub etag: Option<String>,
    pub no_ranges: bool,
    /// `Content-Length` is left out.
    pub no_length: bool,
    pub media_type: Option<&'static str>,
    /// `Authorization` that is wanted.
    pub token: Option<String>,
    /// Every answer breaks off after so many bytes.
    pub break_after: Option<usize>,
    /// This status instead of the bytes, so many times.
    pub fail: Option<(u16, u32)>,
    /// More answers at once than the first number get the second as their status.
    pub most_at_once: Option<(usize, u16)>,
    /// So many requests get no answer at all, not even a refusal.
    pub silent: u32,
    /// Each answer takes so long at least.
    pub takes: Option<std::time::Duration>,
    /// Other files, by their paths. When there are some, everything else but the film is absent.
    pub beside: Vec<(String, Arc<Vec<u8>>)>,
    /// Redirect `/…` to here.
    pub redirect: Option<String>,
}

#[derive(Default)]
struct Shared {
    behaviour: Behaviour,
    /// Ranges that were sent.
    sent: Vec<Range<u64>>,
    requests: usize,
    /// Answers under way.
    under_way: Arc<()>,
}

pub struct Origin {
    shared: Arc<Mutex<Shared>>,
    pub url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    pub async fn of(bytes: Vec<u8>) -> Origin {
        Origin::with(Behaviour { bytes: Arc::new(bytes), etag: Some("\"v1\"".into()), ..Behaviour::default() }).await
    }

    pub async fn with(behaviour: Behaviour) -> Origin {
        let shared = Arc::new(Mutex::new(Shared { behaviour, ..Shared::default() }));
        let listener = web::Listener::bind("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        let bound = listener.address();
        let policy = Policy { bound, public_url: None, hosts: Vec::new(), cors_origins: Vec::new() };
        let routes = Router::new().route("/{*path}", web::routing::any(answer)).with_state(shared.clone());
        let app = web::app(routes, Guard::new(policy).unwrap());
        let task = tokio::spawn(web::serve(listener, app, web::Limits::default(), std::future::pending()));
        Origin { shared, url: format!("http://{bound}/film.bin"), task }
    }

    pub fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.lock().unwrap().behaviour);
    }

    pub fn requests(&self) -> usize {
        self.shared.lock().unwrap().requests
    }

    /// What was sent so far, in order.
    pub fn ranges(&self) -> Vec<Range<u64>> {
        self.shared.lock().unwrap().sent.clone()
    }

    /// Bytes sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.lock().unwrap().sent.iter().map(|range| range.end - range.start).sum()
    }
}

async fn answer(State(shared): State<Arc<Mutex<Shared>>>, request: Request) -> Response {
    let is_silent = {
        let silent = &mut shared.lock().unwrap().behaviour.silent;
        let is_silent = *silent > 0;
        *silent = silent.saturating_sub(1);
        is_silent
    };
    if is_silent {
        return std::future::pending().await;
    }
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut shared = shared.lock().unwrap();
    shared.requests += 1;
    let mut behaviour = shared.behaviour.clone();
    if !behaviour.beside.is_empty() && request.uri().path() != "/film.bin" {
        let Some((_, bytes)) = behaviour.beside.iter().find(|(path, _)| path == request.uri().path()) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        behaviour.bytes = bytes.clone();
    }
    if let Some((status, left @ 1..)) = &mut shared.behaviour.fail {
        *left -= 1;
        return StatusCode::from_u16(*status).unwrap().into_response();
    }
    if let Some(target) = behaviour.redirect.filter(|target| !target.ends_with(request.uri().path())) {
        return (StatusCode::FOUND, [("location", target)]).into_response();
    }
    let under_way = shared.under_way.clone();
    if let Some((most, status)) = behaviour.most_at_once
        && Arc::strong_count(&under_way) > most + 1
    {
        return StatusCode::from_u16(status).unwrap().into_response();
    }
    if behaviour.token.is_some() && header("authorization") != behaviour.token {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if header("if-none-match").is_some_and(|tag| Some(tag) == behaviour.etag) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    let total = behaviour.bytes.len() as u64;
    let same = header("if-range").is_none_or(|tag| Some(tag) == behaviour.etag);
    let asked = header("range").filter(|_| same && !behaviour.no_ranges).and_then(|range| {
        let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
        let from: u64 = from.parse().ok()?;
        Some(from..to.parse::<u64>().map_or(total, |to| (to + 1).min(total)))
    });
    let mut response = Response::builder().header("content-type", behaviour.media_type.unwrap_or("video/x-test"));
    if let Some(etag) = &behaviour.etag {
        response = response.header("etag", etag);
    }
    let range = match asked {
        Some(range) if range.start >= total => {
            let response = response.status(416).header("content-range", format!("bytes */{total}"));
            return response.body(Body::empty()).unwrap();
        }
        Some(range) => {
            let value = format!("bytes {}-{}/{total}", range.start, range.end - 1);
            response = response.status(206).header("content-range", value);
            range
        }
        None => 0..total,
    };
    let body = &behaviour.bytes[range.start as usize..range.end as usize];
    if !behaviour.no_length {
        response = response.header("content-length", body.len());
    }
    let cut = behaviour.break_after.map_or(body.len(), |most| most.min(body.len()));
    shared.sent.push(range.start..range.start + cut as u64);
    let mut pieces: Vec<Result<Vec<u8>, std::io::Error>> =
        body[..cut].chunks(32 << 10).map(|piece| Ok(piece.to_vec())).collect();
    if cut < body.len() {
        pieces.push(Err(std::io::ErrorKind::ConnectionReset.into()));
    }
    // The error waits a little, as it would on a real line: at once, it would overtake the bytes before it.
    let stream = futures_util::stream::iter(pieces);
    let stream = futures_util::StreamExt::then(stream, |piece| async {
        if piece.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        piece
    });
    let end = futures_util::stream::once(async move {
        tokio::time::sleep(behaviour.takes.unwrap_or_default()).await;
        drop(under_way);
        Ok(Vec::new())
    });
    let stream = futures_util::StreamExt::chain(stream, end);
    response.body(Body::from_stream(stream)).unwrap()
}
