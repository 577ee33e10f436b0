//! A record of each request: a log line for us and metrics for the operator, neither with an id in it.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

/// Counts requests by method, route and status class, and measures the time to the head of the answer:
/// `http_requests_total`, `http_request_seconds`.
///
/// The route is the pattern (`/stream/{id}`), never the path, so that the number of series is bounded.
pub async fn record(request: Request, next: Next) -> Response {
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or("other".to_owned(), |path| path.as_str().to_owned());
    let began = Instant::now();
    let response = next.run(request).await;
    let took = began.elapsed();
    let status = response.status().as_u16();
    tracing::debug!(method, route, status, took_us = took.as_micros() as u64, "answered a request");
    metrics::counter!("http_requests_total", "method" => method, "route" => route.clone(), "status" => status.to_string())
        .increment(1);
    metrics::histogram!("http_request_seconds", "method" => method, "route" => route).record(took.as_secs_f64());
    response
}

/// A method as a label: one of a fixed set, since a client may invent methods.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
