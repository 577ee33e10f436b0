//! Signing in, and the check that everything under `/api/v1` passes.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::extract::{Request, State};
use web::http::{HeaderMap, Method, StatusCode, header};
use web::middleware::Next;
use web::response::{Html, IntoResponse, Response};
use web::routing::{get, post};
use web::{Json, Problem, Query, Router};

use super::Doors;
use crate::access::LINK_LIFETIME;

type Shared = State<Arc<Doors>>;

/// Routes under `/api/v1`.
pub fn api() -> Router<Arc<Doors>> {
    Router::new().route("/auth/link", post(make_link))
}

/// Routes at the root.
pub fn open() -> Router<Arc<Doors>> {
    Router::new().route("/sign-in", get(sign_in))
}

/// Lets through who shows the token or a cookie.
pub async fn require(State(doors): Shared, request: Request, next: Next) -> Response {
    match judge(&doors, request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            let unauthorized = problem.status == StatusCode::UNAUTHORIZED;
            let mut response = problem.into_response();
            if unauthorized {
                let challenge = header::HeaderValue::from_static("Bearer realm=\"mediahost\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            response
        }
    }
}

/// A wrong token is refused even when a good cookie is beside it: whoever sends one wants to know.
fn judge(doors: &Doors, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(field) = headers.get(header::AUTHORIZATION) {
        return match field.to_str().is_ok_and(|field| doors.access.bearer(field)) {
            true => Ok(()),
            false => Err(unauthorized("This is not the admin token. It lies in `admin.token` in the data folder.")),
        };
    }
    let mut cookies = headers.get_all(header::COOKIE).iter().filter_map(|field| field.to_str().ok());
    if !cookies.any(|field| doors.access.cookie(field, unix_now())) {
        return Err(unauthorized(
            "Sign in with the link that the host printed or that `mediahost link` gives, or send the admin token as \
             `Authorization: Bearer`.",
        ));
    }
    match method.is_safe() || from_our_page(headers) {
        true => Ok(()),
        false => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "origin-missing",
            "A change under a cookie must say in `Origin` which page it comes from. Programs use the token.",
        )),
    }
}

/// Whether a request that a cookie lets in comes from a page that may use the API: `io/web` has refused each `Origin`
/// that may not, so it only has to be there.
fn from_our_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin")
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "sign-in-required", detail)
}

/// The wall clock, which cookies are measured by because they outlive the process.
fn unix_now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A link that signs a browser in.
#[derive(Serialize, ToSchema)]
pub struct Link {
    /// Works once.
    #[schema(example = "http://127.0.0.1:7979/sign-in?code=…")]
    url: String,
    /// Seconds until it stops working.
    expires_in_s: u64,
}

/// Make another one-time link.
#[utoipa::path(post, path = "/api/v1/auth/link", tag = "access", responses((status = 200, body = Link)))]
async fn make_link(State(doors): Shared) -> Result<Json<Link>, Problem> {
    let url = doors.link().map_err(|error| {
        tracing::error!(%error, "the system gives no random numbers, so nobody can be let in");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "No link could be made.")
    })?;
    Ok(Json(Link { url, expires_in_s: LINK_LIFETIME.as_secs() }))
}

#[derive(Deserialize)]
struct Code {
    #[serde(default)]
    code: String,
}

/// Exchanges a code for a cookie and goes to the page. `HEAD`, which link checkers send, uses nothing up.
async fn sign_in(State(doors): Shared, method: Method, headers: HeaderMap, Query(code): Query<Code>) -> Response {
    let home = [(header::LOCATION, "/"), (header::CACHE_CONTROL, "no-store")];
    if method == Method::HEAD {
        return (StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, "no-store")]).into_response();
    }
    if doors.access.use_link(Instant::now(), &code.code) {
        let cookie = doors.access.set_cookie(unix_now(), doors.is_secure());
        return (StatusCode::SEE_OTHER, home, [(header::SET_COOKIE, cookie)]).into_response();
    }
    // The same link again, in a browser that it has let in already.
    if judge(&doors, &Method::GET, &headers).is_ok() {
        return (StatusCode::SEE_OTHER, home).into_response();
    }
    (StatusCode::FORBIDDEN, [(header::CACHE_CONTROL, "no-store")], Html(USED_UP)).into_response()
}

/// What a person sees whose link does not work.
const USED_UP: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>mediahost</title>\
<link rel=stylesheet href=/assets/app.css><main><h1>This link does not work any more</h1>\
<p>A link signs in one browser, once, within ten minutes. Run <code>mediahost link</code> on the machine of the host \
to get another.</main></html>\n";
