//! The plugins of the host: see, add, switch and remove them.

use std::sync::Arc;

use futures_util::{Stream, StreamExt as _, stream};
use serde::Serialize;
use serde_json::json;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use utoipa::ToSchema;
use wasm::Status;
use web::body::Bytes;
use web::extract::{DefaultBodyLimit, State};
use web::http::{StatusCode, header};
use web::response::{IntoResponse, Response};
use web::routing::{get, post};
use web::{Draining, Json, Path, Problem, Router, sse};

use super::Doors;

type Shared = State<Arc<Doors>>;

/// Bytes of an uploaded component, at most.
const MAX_UPLOAD: usize = 64 * 1024 * 1024;

/// Routes under `/api/v1`.
pub fn api() -> Router<Arc<Doors>> {
    Router::new()
        .route("/plugins", get(list).post(upload).layer(DefaultBodyLimit::max(MAX_UPLOAD)))
        .route("/plugins/events", get(events))
        .route("/plugins/{id}", get(one).delete(remove))
        .route("/plugins/{id}/enable", post(enable))
        .route("/plugins/{id}/disable", post(disable))
        .route("/plugins/{id}/reload", post(reload))
}

/// A plugin, as [`Status`] is written. `io/wasm` does not know the document's library, so the schema stands here; a
/// test holds the two together.
#[derive(ToSchema)]
#[schema(as = Plugin)]
#[allow(dead_code, reason = "a schema for the document; values are of the type it describes")]
pub struct PluginSchema {
    id: String,
    version: Option<String>,
    /// `media-source` or `container-detector`.
    kind: Option<String>,
    /// Rises with each replacement.
    generation: u64,
    /// Of the component's file.
    sha256: Option<String>,
    /// `serving`, `disabled`, `failed` or `waiting` (uploaded, and to be enabled).
    state: String,
    /// `bundled` or `folder`.
    origin: String,
    /// One sentence by its author.
    summary: String,
    /// Of the addresses that a source reads.
    schemes: Vec<String>,
    /// Higher goes first.
    priority: i32,
    /// Interfaces granted: `fetch`, `kv`, `secrets`, `files`.
    grants: Vec<String>,
    /// An uploaded version that waits to be enabled.
    waiting: Option<String>,
    /// What is wrong with the plugin, or with the file that was meant to replace it.
    error: Option<String>,
}

/// All plugins.
#[derive(Serialize, ToSchema)]
pub struct Plugins {
    /// Sorted by id.
    #[schema(value_type = Vec<PluginSchema>)]
    plugins: Vec<Status>,
}

/// List the plugins, serving or not.
#[utoipa::path(get, path = "/api/v1/plugins", tag = "plugins", responses((status = 200, body = Plugins)))]
async fn list(State(doors): Shared) -> Json<Plugins> {
    Json(Plugins { plugins: doors.plugins.list() })
}

/// Look at one plugin.
#[utoipa::path(get, path = "/api/v1/plugins/{id}", tag = "plugins", params(("id" = String, Path)), responses(
    (status = 200, body = PluginSchema), (status = 404, body = Problem),
))]
async fn one(State(doors): Shared, Path(id): Path<String>) -> Result<Json<Status>, Problem> {
    doors.plugins.status(&id).map(Json).ok_or_else(|| problem(&wasm::Error::Unknown(id)))
}

/// Upload a component. It waits until it is enabled, since nobody has looked at what it asks for yet.
#[utoipa::path(post, path = "/api/v1/plugins", tag = "plugins",
    request_body(content_type = "application/wasm", content = Vec<u8>), responses(
    (status = 201, body = PluginSchema), (status = 413, body = Problem), (status = 422, body = Problem),
))]
async fn upload(
    State(doors): Shared,
    body: Result<Bytes, web::extract::rejection::BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let detail = format!("A component may have at most {MAX_UPLOAD} bytes.");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
        }
        status => Problem::new(status, "body-unreadable", "The body could not be read to its end."),
    })?;
    let status = doors.plugins.install(&body).await.map_err(|error| problem(&error))?;
    let location = format!("/api/v1/plugins/{}", status.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(status)).into_response())
}

/// Remove a plugin's file. What it replaced, if that came with the host, serves again.
#[utoipa::path(delete, path = "/api/v1/plugins/{id}", tag = "plugins", params(("id" = String, Path)), responses(
    (status = 200, description = "Removed; the plugin that came with the host serves again", body = PluginSchema),
    (status = 204, description = "Removed"),
    (status = 404, body = Problem), (status = 409, description = "It came with the host", body = Problem),
))]
async fn remove(State(doors): Shared, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(match doors.plugins.remove(&id).await.map_err(|error| problem(&error))? {
        Some(status) => Json(status).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

/// Let a plugin serve.
#[utoipa::path(post, path = "/api/v1/plugins/{id}/enable", tag = "plugins", params(("id" = String, Path)), responses(
    (status = 200, body = PluginSchema), (status = 404, body = Problem),
))]
async fn enable(State(doors): Shared, Path(id): Path<String>) -> Result<Json<Status>, Problem> {
    doors.plugins.set_enabled(&id, true).await.map(Json).map_err(|error| problem(&error))
}

/// Let a plugin serve no further calls. Calls that run are finished.
#[utoipa::path(post, path = "/api/v1/plugins/{id}/disable", tag = "plugins", params(("id" = String, Path)), responses(
    (status = 200, body = PluginSchema), (status = 404, body = Problem),
))]
async fn disable(State(doors): Shared, Path(id): Path<String>) -> Result<Json<Status>, Problem> {
    doors.plugins.set_enabled(&id, false).await.map(Json).map_err(|error| problem(&error))
}

/// Read a plugin's files again.
#[utoipa::path(post, path = "/api/v1/plugins/{id}/reload", tag = "plugins", params(("id" = String, Path)), responses(
    (status = 200, body = PluginSchema), (status = 404, body = Problem),
))]
async fn reload(State(doors): Shared, Path(id): Path<String>) -> Result<Json<Status>, Problem> {
    doors.plugins.status(&id).ok_or_else(|| problem(&wasm::Error::Unknown(id.clone())))?;
    doors.plugins.reload(&id).await.map(Json).map_err(|error| problem(&error))
}

/// Follow the plugins: `plugin` with one plugin, first for each that is there and then for each that changes, and
/// `removed` with `{id}`.
#[utoipa::path(get, path = "/api/v1/plugins/events", tag = "plugins", responses(
    (status = 200, content_type = "text/event-stream", body = String),
))]
async fn events(State(doors): Shared, draining: Draining) -> Response {
    let receiver = doors.plugins.events();
    let now = stream::iter(doors.plugins.list()).map(|status| changed(&status));
    sse::response(now.chain(following(doors, receiver)), draining)
}

/// Changes as they come. A client that fell behind is shown everything again.
fn following(doors: Arc<Doors>, receiver: Receiver<wasm::Event>) -> impl Stream<Item = sse::Message> + Send {
    let batches = stream::unfold((doors, receiver), async |(doors, mut receiver)| {
        let batch = match receiver.recv().await {
            Ok(wasm::Event::Changed(status)) => vec![changed(&status)],
            Ok(wasm::Event::Removed { id }) => {
                vec![sse::Message { event: "removed", data: json!({"id": id}), id: None }]
            }
            Err(RecvError::Lagged(_)) => doors.plugins.list().iter().map(changed).collect(),
            Err(RecvError::Closed) => return None,
        };
        Some((stream::iter(batch), (doors, receiver)))
    });
    batches.flatten()
}

fn changed(status: &Status) -> sse::Message {
    sse::Message { event: "plugin", data: serde_json::to_value(status).unwrap_or_default(), id: None }
}

/// What the administrator is told. Only he passes these doors, so that paths of this machine may be named.
fn problem(error: &wasm::Error) -> Problem {
    use wasm::Error as E;
    let status = match error {
        E::Unknown(_) => StatusCode::NOT_FOUND,
        E::Bundled(_) | E::Twice { .. } => StatusCode::CONFLICT,
        E::NotAPlugin(_) | E::Manifest(_) | E::Link(_) | E::Sidecar { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        E::Disk { .. } => StatusCode::INSUFFICIENT_STORAGE,
        E::Engine(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    if status.is_server_error() {
        tracing::error!(%error, "the plugins cannot be changed");
    }
    let sentence = error.to_string();
    let mut letters = sentence.chars();
    let capital = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    Problem::new(status, error.code(), format!("{capital}{}.", letters.as_str().trim_end_matches('.')))
}
