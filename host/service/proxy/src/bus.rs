//! What happens, as events: a bus with a bound, and subscribers who are told how many they missed.
//!
//! Owns: the events, their names, the bound.
//! Leaves to others: when something happens ([`crate::session`], [`crate::progress`]), the form on the wire
//! ([`crate::events`]).
//!
//! Invariant: whoever tells never waits for whoever listens. Who is slower than the bound allows loses the oldest events,
//! and is told how many before the next one.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use tokio::sync::broadcast;

use crate::SessionId;
use crate::fault::Fault;

/// Events that a bus keeps for its slowest subscriber, at most.
pub const MAX_BOUND: usize = 1 << 16;

/// Takes events from sessions and hands them to all who listen. Clones are the same bus; several sessions may share one.
#[derive(Clone, Debug)]
pub struct Bus {
    bound: usize,
    /// Made for the first who listens: it takes memory for as many events as it may keep.
    sender: Arc<OnceLock<broadcast::Sender<Happening>>>,
}

/// What happened to which session.
#[derive(Clone, Debug, PartialEq)]
pub struct Happening {
    pub session: SessionId,
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// What a player needs first is there.
    Ready,
    /// New credentials are needed.
    AuthRequired(Fault),
    /// It cannot go on.
    Failed(Fault),
    /// It was ended.
    Closed,
    /// How far the file has come.
    Phase(Phase),
    /// Bytes have come or gone.
    Progress(Progress),
    /// What kind of media it is; once for each version of the file.
    MediaInfo(MediaInfo),
    /// The upstream calls it something else than what it is.
    Mismatch { declared: String, sniffed: String },
    /// Further segments of a fragmented MP4 file are known: this many in all.
    Segments { known: usize, complete: bool },
    /// A reader has waited for this long, and nothing has come.
    Slow { waited_ms: u64, position: u64 },
}

impl Event {
    /// Its name in the stream of events.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Ready => "ready",
            Event::AuthRequired(_) => "auth-required",
            Event::Failed(_) => "failed",
            Event::Closed => "closed",
            Event::Phase(_) => "phase",
            Event::Progress(_) => "progress",
            Event::MediaInfo(_) => "media-info",
            Event::Mismatch { .. } => "mismatch",
            Event::Segments { .. } => "segments",
            Event::Slow { .. } => "slow",
        }
    }
}

/// How far a file has come, whoever reads it. Only an eviction leads back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, web::utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Phase {
    /// Nobody knows yet what is there.
    #[default]
    Init,
    /// Some of it is missing.
    Downloading,
    /// All of it is here.
    Complete,
}

impl Phase {
    pub(crate) fn of(number: u8) -> Phase {
        match number {
            1 => Phase::Downloading,
            2 => Phase::Complete,
            _ => Phase::Init,
        }
    }
}

/// What of a file is here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    pub present_bytes: u64,
    /// Length in bytes, once it is known.
    pub length: Option<u64>,
    /// Ranges of it that can be read without waiting, in order; at most the first [`MAX_READY`].
    pub ready: Vec<Range<u64>>,
}

/// Ranges that one event tells, at most.
pub const MAX_READY: usize = 256;

/// What kind of media a file is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, web::utoipa::ToSchema)]
pub struct MediaInfo {
    /// FFmpeg's name for the container; none if nobody recognised it.
    pub container: Option<String>,
    /// The media type; what was recognised wins over what the upstream says.
    pub media_type: Option<String>,
    /// FFmpeg's names for the codecs of the tracks, in their order.
    pub codecs: Vec<String>,
    /// Whether bytes were looked at; otherwise it is the upstream's word alone.
    pub sniffed: bool,
}

/// What a subscriber is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    Happened(Happening),
    /// So many events were lost, because this subscriber was slower than the bound allows.
    Missed(u64),
}

/// Somebody who listens, from the moment on at which the subscription was made.
pub struct Subscription(broadcast::Receiver<Happening>);

impl Bus {
    /// A bus that keeps this many events for whoever is slow: at least one, at most [`MAX_BOUND`].
    pub fn new(bound: usize) -> Bus {
        Bus { bound: bound.clamp(1, MAX_BOUND), sender: Arc::default() }
    }

    pub fn subscribe(&self) -> Subscription {
        Subscription(self.sender.get_or_init(|| broadcast::channel(self.bound).0).subscribe())
    }

    /// Whether anybody listens.
    pub fn is_heard(&self) -> bool {
        self.sender.get().is_some_and(|sender| sender.receiver_count() > 0)
    }

    pub(crate) fn tell(&self, session: SessionId, event: Event) {
        if let Some(sender) = self.sender.get() {
            // Nobody listening is fine.
            let _ = sender.send(Happening { session, event });
        }
    }
}

impl Subscription {
    /// The next event, or how many were missed before it; none when no session and nobody else has the bus any more.
    pub async fn next(&mut self) -> Option<Told> {
        match self.0.recv().await {
            Ok(happening) => Some(Told::Happened(happening)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Told::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presentation::seal::new_secret;

    fn id() -> SessionId {
        let secret = new_secret();
        let text: String = secret[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn the_slow_are_told_how_much_they_missed() {
        let (bus, id) = (Bus::new(4), id());
        let (mut slow, mut quick) = (bus.subscribe(), bus.subscribe());
        for known in 0..10 {
            bus.tell(id, Event::Segments { known, complete: false });
            assert!(matches!(quick.next().await, Some(Told::Happened(_))));
        }
        assert_eq!(slow.next().await, Some(Told::Missed(6)));
        for expected in 6..10 {
            let event = Event::Segments { known: expected, complete: false };
            assert_eq!(slow.next().await, Some(Told::Happened(Happening { session: id, event })));
        }
        drop(bus);
        assert_eq!(slow.next().await, None);
    }

    #[test]
    fn a_bound_is_brought_within_reason() {
        let (small, large) = (Bus::new(0), Bus::new(usize::MAX));
        assert!(!small.is_heard() && !large.is_heard());
    }
}
