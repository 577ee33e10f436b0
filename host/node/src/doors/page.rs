//! The page and its files, from within the binary.

use std::collections::HashMap;
use std::sync::LazyLock;

use sha2::{Digest, Sha256};
use web::http::{HeaderMap, StatusCode, header};
use web::response::{IntoResponse, Response};
use web::routing::get;
use web::{Path, Problem, Router};

use crate::embedded;

/// Entity tags of the files (RFC 9110 §8.8.3), by name.
static TAGS: LazyLock<HashMap<&str, String>> = LazyLock::new(|| {
    let tag = |bytes: &[u8]| format!("\"{:x}\"", u64::from_be_bytes(first_eight(&Sha256::digest(bytes))));
    embedded::ASSETS.iter().map(|(name, bytes)| (*name, tag(bytes))).collect()
});

fn first_eight(digest: &[u8]) -> [u8; 8] {
    std::array::from_fn(|i| digest[i])
}

/// Routes at the root.
pub fn open() -> Router {
    Router::new()
        .route("/", get(async |headers: HeaderMap| file("index.html", &headers)))
        .route("/docs", get(async |headers: HeaderMap| file("docs.html", &headers)))
        .route("/favicon.ico", get(async |headers: HeaderMap| file("icon.svg", &headers)))
        .route("/assets/{name}", get(async |Path(name): Path<String>, headers: HeaderMap| file(&name, &headers)))
}

/// A file. Browsers ask each time whether theirs is still good, so that a new version of the host shows at once.
fn file(name: &str, headers: &HeaderMap) -> Response {
    let Some((bytes, tag)) = embedded::find(embedded::ASSETS, name).zip(TAGS.get(name)) else {
        let detail = format!("There is no file {name:?} here.");
        return Problem::new(StatusCode::NOT_FOUND, "route-unknown", detail).into_response();
    };
    let caching = [(header::ETAG, tag.as_str()), (header::CACHE_CONTROL, "no-cache")];
    let known = headers.get(header::IF_NONE_MATCH).and_then(|field| field.to_str().ok());
    if known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(header::CONTENT_TYPE, media_type(name))], bytes).into_response()
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json" | "webmanifest") => "application/json",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}
