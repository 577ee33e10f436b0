//! When an answer is late, and how often a second request may be sent because of it.
//!
//! Owns: the last times to first byte, and the budget.
//! Leaves to others: whether anybody waits, and where the second request goes.
//!
//! Invariant: over any history, second requests are at most their share of all requests and [`BURST`].

use std::collections::VecDeque;
use std::time::Duration;

/// Second requests that are allowed before their share has been earned.
pub const BURST: u32 = 2;
/// Times that are remembered.
const SAMPLES: usize = 64;
/// Times without which nothing is said.
const SAMPLES_MIN: usize = 8;
/// The budget is counted in millionths of a request, so that it is exact.
const WHOLE: u64 = 1_000_000;

#[derive(Debug)]
pub(super) struct Hedge {
    floor: Duration,
    /// What one request earns.
    share: u64,
    budget: u64,
    samples: VecDeque<Duration>,
}

impl Hedge {
    pub(super) fn new(share: f64, floor: Duration) -> Self {
        // What is not a number becomes 0.
        let share = (share.clamp(0.0, 1.0) * WHOLE as f64) as u64;
        Self { floor, share, budget: u64::from(BURST) * WHOLE, samples: VecDeque::with_capacity(SAMPLES) }
    }

    pub(super) fn begun(&mut self) {
        self.budget = (self.budget + self.share).min(u64::from(BURST) * WHOLE);
    }

    /// A first byte came this long after its request began.
    pub(super) fn answered(&mut self, after: Duration) {
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(after);
    }

    /// A request was stopped after so long without a first byte. If it was late already, that is remembered as its time:
    /// otherwise the slow answers, which are the ones that a second request overtakes, would be missing from the samples,
    /// and more and more answers would seem late.
    pub(super) fn unanswered(&mut self, after: Duration) {
        if self.after().is_some_and(|late| after >= late) {
            self.answered(after);
        }
    }

    pub(super) fn after(&self) -> Option<Duration> {
        if self.samples.len() < SAMPLES_MIN {
            return None;
        }
        let mut sorted: Vec<Duration> = self.samples.iter().copied().collect();
        sorted.sort_unstable();
        let rank = (sorted.len() * 97).div_ceil(100);
        sorted.get(rank - 1).map(|late| (*late).max(self.floor))
    }

    pub(super) fn take(&mut self) -> bool {
        let left = self.budget.checked_sub(WHOLE);
        self.budget = left.unwrap_or(self.budget);
        left.is_some()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match self.samples.len() <= SAMPLES && self.budget <= u64::from(BURST) * WHOLE {
            true => Ok(()),
            false => Err("more samples or more budget than there may be".to_owned()),
        }
    }
}
