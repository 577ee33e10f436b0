//! Server-sent events (WHATWG HTML §9.2): named events with JSON, kept alive, ended when the server drains.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use serde_json::Value;

use crate::Draining;

/// How often a quiet stream says that it is alive. Below the idle timeout of common proxies, which is 60 s.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One event: its name, its data, and its number where a client may resume.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The field `event`; without line breaks.
    pub event: &'static str,
    /// The field `data`.
    pub data: Value,
    /// The field `id`.
    pub id: Option<u64>,
}

/// Answers with a stream of events that ends with `messages`, with the client, or when the server drains.
pub fn response<S>(messages: S, draining: Draining) -> Response
where
    S: Stream<Item = Message> + Send + 'static,
{
    let events = messages.take_until(draining.begins()).map(|message| Ok::<_, Infallible>(event(message)));
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

fn event(message: Message) -> Event {
    // JSON text has no raw line breaks, so it is one `data` line.
    let event = Event::default().event(message.event).data(message.data.to_string());
    match message.id {
        Some(id) => event.id(id.to_string()),
        None => event,
    }
}
