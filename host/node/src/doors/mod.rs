//! The doors of the host: every route that no service owns, and who may pass.
//!
//! Owns: sign-in, the check of tokens and cookies, the page, health, metrics, plugins, reload, the OpenAPI document.
//! Leaves to others: sessions and streams (`service/proxy`), `Host`, `Origin` and CORS (`io/web`).
//!
//! Invariant: a route under `/api/v1` is behind [`access::require`] unless it is the OpenAPI document. Routes of the
//! services are put there by [`router`], so that none of them can forget.

mod access;
mod health;
mod openapi;
mod page;
mod plugins;
mod settings;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use web::{Router, middleware};

use crate::access::Access;
use crate::metrics::Metrics;
use crate::reload::Reloader;

pub use openapi::document;

/// What the routes of this module share.
pub struct Doors {
    pub access: Access,
    pub plugins: Arc<wasm::Host>,
    pub reloader: Reloader,
    pub metrics: Metrics,
    /// Whether anyone may read the metrics; otherwise the token is needed.
    pub open_metrics: bool,
    /// What links begin with: scheme, host and port, without a slash at the end.
    pub origin: String,
    /// False while shutting down.
    pub ready: AtomicBool,
}

impl Doors {
    /// A link that signs one browser in.
    pub fn link(&self) -> Result<String, getrandom::Error> {
        let code = self.access.make_link(std::time::Instant::now())?;
        Ok(format!("{}/sign-in?code={code}", self.origin))
    }

    /// Whether browsers reach this host over HTTPS.
    fn is_secure(&self) -> bool {
        self.origin.starts_with("https:")
    }
}

/// All routes: ours, `api` under `/api/v1` and behind the token, `stream` at the root and open.
pub fn router(doors: &Arc<Doors>, api: Router, stream: Router) -> Router {
    let guarded = Router::new().merge(access::api()).merge(plugins::api()).merge(settings::api());
    let guarded = guarded.with_state(doors.clone()).merge(api);
    let guarded = guarded.layer(middleware::from_fn_with_state(doors.clone(), access::require));
    let open = Router::new().merge(access::open()).merge(health::open(doors)).with_state(doors.clone());
    Router::new().nest("/api/v1", guarded).merge(open).merge(openapi::open()).merge(page::open()).merge(stream)
}
