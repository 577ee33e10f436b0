//! What happens to a session, as a stream of named events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use serde::Serialize;
use serde_json::{Value, json};
use web::sse::Message;

use crate::bus::{Event, Subscription, Told};
use crate::{Proxy, Session, State, progress, stats};

/// How often statistics go out to listeners.
const STATS_EVERY: Duration = Duration::from_secs(1);

/// Begins with how things stand, ends with `closed`. `base` is what links begin with.
pub fn of(session: Arc<Session>, proxy: Arc<Proxy>, base: String) -> impl Stream<Item = Message> + Send + 'static {
    let mut stats = tokio::time::interval(STATS_EVERY);
    stats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let listening = session.bus().subscribe();
    let mut state = Listening { session, proxy, base, listening, stats, due: VecDeque::new(), over: false };
    state.how_things_stand();
    stream::unfold(state, |mut state| async move { Some((state.next().await?, state)) })
}

struct Listening {
    session: Arc<Session>,
    proxy: Arc<Proxy>,
    base: String,
    listening: Subscription,
    stats: tokio::time::Interval,
    /// What is told next, before anything that happens.
    due: VecDeque<Message>,
    over: bool,
}

impl Listening {
    fn how_things_stand(&mut self) {
        let now = match self.session.state() {
            State::Opening => None,
            State::Ready => Some("ready"),
            State::AuthRequired => Some("auth-required"),
            State::Failed => Some("failed"),
            State::Closed => Some("closed"),
        };
        self.over = now == Some("closed");
        let state = now.map(|name| message(name, json(&self.session.view(&self.base))));
        let phase = message("phase", json!({ "phase": self.session.phase() }));
        let info = self.session.media_info().map(|info| message("media-info", json(&info)));
        let film = self.session.film_now();
        let here = film.map(|film| Event::Progress(progress::of(&film, progress::present_bytes(&film))));
        let segments = self.session.fragments();
        let segments = segments.map(|all| Event::Segments { known: all.segments.len(), complete: all.complete });
        let told = here.into_iter().chain(segments).map(|event| message(event.name(), self.data(&event)));
        let told: Vec<Message> = told.collect();
        self.due.extend(state.into_iter().chain([phase]).chain(info).chain(told));
    }

    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.due.pop_front() {
                return Some(message);
            }
            if self.over {
                return None;
            }
            tokio::select! {
                told = self.listening.next() => match told? {
                    // A bus may be shared by several sessions.
                    Told::Happened(happening) if happening.session != self.session.id() => {}
                    Told::Happened(happening) => {
                        self.over = happening.event == Event::Closed;
                        return Some(message(happening.event.name(), self.data(&happening.event)));
                    }
                    // What was missed is told by how things stand.
                    Told::Missed(events) => {
                        self.due.push_back(message("missed", json!({ "events": events })));
                        self.how_things_stand();
                    }
                },
                _ = self.stats.tick() => {
                    return Some(message("stats", json(&stats::of(&self.session, self.proxy.disk()))));
                }
            }
        }
    }

    fn data(&self, event: &Event) -> Value {
        match event {
            Event::Ready | Event::AuthRequired(_) | Event::Failed(_) | Event::Closed => {
                json(&self.session.view(&self.base))
            }
            Event::Phase(phase) => json!({ "phase": phase }),
            Event::Progress(progress) => {
                let ready: Vec<_> = progress.ready.iter().map(|range| (range.start, range.end)).collect();
                json!({ "present_bytes": progress.present_bytes, "length": progress.length, "ready": ready })
            }
            Event::MediaInfo(info) => json(info),
            Event::Mismatch { declared, sniffed } => json!({ "declared": declared, "sniffed": sniffed }),
            Event::Segments { known, complete } => json!({ "known": known, "complete": complete }),
            Event::Slow { waited_ms, position } => json!({ "waited_ms": waited_ms, "position": position }),
        }
    }
}

fn message(event: &'static str, data: Value) -> Message {
    Message { event, data, id: None }
}

fn json(value: &impl Serialize) -> Value {
    // Numbers, texts and lists of them: cannot fail.
    serde_json::to_value(value).unwrap_or_default()
}
