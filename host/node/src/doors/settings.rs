//! Reading the configuration again.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use web::extract::State;
use web::http::StatusCode;
use web::routing::post;
use web::{Json, Problem, Router};

use super::Doors;
use crate::reload::Error;

type Shared = State<Arc<Doors>>;

/// Routes under `/api/v1`.
pub fn api() -> Router<Arc<Doors>> {
    Router::new().route("/config/reload", post(reload))
}

/// What a reload did.
#[derive(Serialize, ToSchema)]
pub struct Reloaded {
    /// The keys whose new value is in force now.
    changed: Vec<&'static str>,
}

/// Read the configuration again. If one key is refused it is named, and nothing changes.
#[utoipa::path(post, path = "/api/v1/config/reload", tag = "config", responses(
    (status = 200, body = Reloaded),
    (status = 409, description = "A key cannot change while the host runs", body = Problem),
    (status = 422, description = "The configuration is not valid", body = Problem),
))]
async fn reload(State(doors): Shared) -> Result<Json<Reloaded>, Problem> {
    match tokio::task::spawn_blocking(move || doors.reloader.reload()).await {
        Ok(Ok(changed)) => Ok(Json(Reloaded { changed })),
        Ok(Err(error)) => Err(problem(&error)),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

fn problem(error: &Error) -> Problem {
    let (status, code) = match error {
        Error::Fixed(_) => (StatusCode::CONFLICT, "config-fixed"),
        Error::Invalid(_) | Error::Web(_) => (StatusCode::UNPROCESSABLE_ENTITY, "config-invalid"),
    };
    let problem = Problem::new(status, code, format!("Nothing was changed: {error}"));
    match error.key() {
        Some(key) => problem.with("key", key),
        None => problem,
    }
}
