//! What machines ask: is it alive, may it be sent work, how is it doing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use web::extract::{Request, State};
use web::http::{StatusCode, header};
use web::middleware::{self, Next};
use web::response::{IntoResponse, Response};
use web::routing::get;
use web::{Problem, Router};

use super::{Doors, access};

type Shared = State<Arc<Doors>>;

/// The text format of Prometheus.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Routes at the root.
pub fn open(doors: &Arc<Doors>) -> Router<Arc<Doors>> {
    let metrics = get(metrics).layer(middleware::from_fn_with_state(doors.clone(), unless_open));
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).route("/metrics", metrics)
}

/// Whether the process answers at all.
#[utoipa::path(get, path = "/healthz", tag = "health", security(()), responses((status = 200, description = "Alive")))]
async fn healthz() -> &'static str {
    "alive\n"
}

/// Whether the host takes work.
#[utoipa::path(get, path = "/readyz", tag = "health", security(()), responses(
    (status = 200, description = "Takes work"), (status = 503, description = "Is shutting down"),
))]
async fn readyz(State(doors): Shared) -> (StatusCode, &'static str) {
    if doors.ready.load(Ordering::Acquire) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
    }
}

/// Measurements in the text format of Prometheus. Without a token only where the host listens on loopback alone.
#[utoipa::path(get, path = "/metrics", tag = "health", responses(
    (status = 200, content_type = "text/plain", body = String), (status = 401, body = Problem),
))]
async fn metrics(State(doors): Shared) -> Response {
    ([(header::CONTENT_TYPE, METRICS_TYPE), (header::CACHE_CONTROL, "no-store")], doors.metrics.render())
        .into_response()
}

async fn unless_open(State(doors): Shared, request: Request, next: Next) -> Response {
    if doors.open_metrics { next.run(request).await } else { access::require(State(doors), request, next).await }
}
