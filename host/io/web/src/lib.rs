//! The HTTP door: listens, speaks HTTP/1.1 and HTTP/2 with or without TLS, and guards what it lets in.
//!
//! Owns: sockets and their limits, TLS, draining at shutdown, problem details, the checks of `Host` and `Origin`, CORS,
//! security headers, request metrics.
//! Leaves to others: routes and what they answer (each service has its own), who may do what, tokens and cookies.
//!
//! Invariant: a connection holds a permit from accept to end and is ended when [`serve`] returns; a request whose `Host`
//! is not ours reaches no handler.
//!
//! Services name the web through this crate alone: the router, extractors and responses are re-exported here, and
//! [`Json`], [`Path`] and [`Query`] are ours because they refuse bad input with a [`Problem`].

mod answer;
mod door;
mod error;
pub mod guard;
mod input;
mod listener;
pub mod observe;
pub mod problem;
mod seats;
mod sendfile;
mod sent;
mod serve;
pub mod sse;
mod tls;
mod wire;

use axum::extract::DefaultBodyLimit;

pub use axum::{Extension, Router, body, extract, http, middleware, response, routing};
pub use error::Error;
pub use guard::{Guard, Policy};
pub use input::{Json, Path, Query};
pub use listener::Listener;
pub use problem::Problem;
pub use sendfile::Locate;
pub use serve::{Draining, Limits, serve};
pub use tls::{TlsFiles, TlsReloader};
pub use utoipa;

/// Bytes of a request's body, unless a route sets another `extract::DefaultBodyLimit`.
pub const MAX_BODY: usize = 1024 * 1024;

/// Puts around all routes what holds for each of them: problems for unknown routes and methods, the limit on bodies,
/// the guard, and the record of requests. Call it last, with every route merged; state is given already.
pub fn app(routes: Router, guard: Guard) -> Router {
    problem::fallbacks(routes)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(guard, guard::check))
        .layer(middleware::from_fn(observe::record))
}

#[cfg(test)]
mod tests;
