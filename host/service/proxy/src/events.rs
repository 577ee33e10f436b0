//! What happens to a session, as a stream of named events.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use serde::Serialize;
use tokio::sync::broadcast;
use web::sse::Message;

use crate::{Proxy, Session, State, stats};

/// How often statistics go out to listeners.
const STATS_EVERY: Duration = Duration::from_secs(1);

/// Begins with how things stand, ends with `closed`. `base` is what links begin with.
pub fn of(session: Arc<Session>, proxy: Arc<Proxy>, base: String) -> impl Stream<Item = Message> + Send + 'static {
    struct Listening {
        session: Arc<Session>,
        proxy: Arc<Proxy>,
        base: String,
        events: broadcast::Receiver<crate::session::Event>,
        stats: tokio::time::Interval,
        begun: bool,
        over: bool,
    }
    let events = session.events();
    let mut stats = tokio::time::interval(STATS_EVERY);
    stats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let state = Listening { session, proxy, base, events, stats, begun: false, over: false };
    let message = |event, data| Some(Message { event, data, id: None });
    stream::unfold(state, move |mut state| async move {
        if state.over {
            return None;
        }
        let now = match state.session.state() {
            State::Opening => None,
            State::Ready => Some("ready"),
            State::AuthRequired => Some("auth-required"),
            State::Failed => Some("failed"),
            State::Closed => Some("closed"),
        };
        let name = if !std::mem::replace(&mut state.begun, true) && now.is_some() {
            now
        } else {
            tokio::select! {
                event = state.events.recv() => match event {
                    Ok(event) => Some(event.name),
                    // What was missed is told by how things stand.
                    Err(broadcast::error::RecvError::Lagged(_)) => now,
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                _ = state.stats.tick() => None,
            }
        };
        state.over = name == Some("closed");
        let event = match name {
            Some(name) => message(name, json(&state.session.view(&state.base))),
            None => message("stats", json(&stats::of(&state.session, state.proxy.disk()))),
        };
        event.map(|event| (event, state))
    })
}

fn json(value: &impl Serialize) -> serde_json::Value {
    // Numbers, texts and lists of them: cannot fail.
    serde_json::to_value(value).unwrap_or_default()
}
