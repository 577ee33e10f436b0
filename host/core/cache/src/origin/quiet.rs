//! Until when an origin that refused a request for being busy is left alone.
//!
//! Owns: the moment, and the growth of the pause while refusals follow each other.
//! Leaves to others: how many requests go out afterwards.
//!
//! Invariant: one burst of refusals counts once, however many requests were out; the moment never becomes an earlier one.

use std::time::{Duration, Instant};

use super::RequestId;

/// The longest that an origin is left alone for one refusal, whatever it asked for (RFC 9110 §10.2.3).
pub const MAX_QUIET: Duration = Duration::from_secs(300);
/// The shortest: for the first refusal that names no time, and for those that name less.
const SHORTEST: Duration = Duration::from_millis(500);
/// Where the pauses for refusals that name no time stop growing.
const LONGEST_GUESS: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Quiet {
    until: Option<Instant>,
    /// Refusals without an answer between them.
    refusals: u32,
    /// Requests before this one were out when the last refusal that counted came.
    epoch: u64,
}

impl Quiet {
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// The first request that can tell whether the origin is still busy, while that is not known.
    pub(super) fn trial(&self) -> Option<RequestId> {
        (self.refusals > 0).then_some(RequestId(self.epoch))
    }

    /// A request was refused; the next one will have the number `next`.
    pub(super) fn refused(&mut self, now: Instant, id: RequestId, retry_after: Option<Duration>, next: u64) {
        let counts = id.0 >= self.epoch;
        if counts {
            self.refusals = self.refusals.saturating_add(1);
            self.epoch = next;
        }
        let pause = match retry_after {
            Some(asked) => asked.clamp(SHORTEST, MAX_QUIET),
            None if counts => guess(self.refusals),
            None => return,
        };
        self.until = self.until.max(now.checked_add(pause));
    }

    /// A request was answered as it should be.
    pub(super) fn answered(&mut self, id: RequestId) {
        if id.0 >= self.epoch {
            self.refusals = 0;
        }
    }
}

fn guess(refusals: u32) -> Duration {
    let doublings = refusals.saturating_sub(1).min(16);
    SHORTEST.saturating_mul(1 << doublings).min(LONGEST_GUESS)
}
