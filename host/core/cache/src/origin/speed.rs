//! How fast one connection is, and how much one request should ask for because of it.
//!
//! Owns: the smoothed time to first byte and rate, and the recommended length.
//! Leaves to others: how many connections there are, and what a request asks for in the end.
//!
//! Invariant: the length lies within its bounds, grows only when a request is completed, and then at most to the double.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// The transfer takes so many times as long as the answer takes to begin.
const LATENCIES: u32 = 10;
/// The transfer takes at least this long even if answers begin at once: requests cost the origin something too.
const TRANSFER_MIN: Duration = Duration::from_secs(1);
/// The transfer takes at most about this long, so that a plan that changes does not wait for it.
const TRANSFER_MAX: Duration = Duration::from_secs(4);
/// A long transfer is measured so often.
const SAMPLE_TIME: Duration = Duration::from_millis(500);
/// What is shorter and brought less says nothing: it may have come in one piece.
const SAMPLE_BYTES: u64 = 64 << 10;
/// A shorter time says more about buffers than about the line.
const SAMPLE_TIME_MIN: Duration = Duration::from_millis(1);
/// The weight of what was known against one new measurement.
const MEMORY: u32 = 3;

/// A part of one transfer that is being measured.
#[derive(Debug)]
pub(super) struct Sample {
    since: Instant,
    bytes: u64,
}

impl Sample {
    pub(super) fn from(now: Instant) -> Self {
        Self { since: now, bytes: 0 }
    }

    /// Bytes came; what was measured, if that was long enough.
    pub(super) fn add(&mut self, now: Instant, bytes: u64) -> Option<(u64, Duration)> {
        self.bytes = self.bytes.saturating_add(bytes);
        let time = now.saturating_duration_since(self.since);
        if time < SAMPLE_TIME {
            return None;
        }
        let whole = std::mem::replace(self, Self::from(now));
        Some((whole.bytes, time))
    }

    /// What was measured until the transfer ended, if that says something.
    pub(super) fn rest(&self, now: Instant) -> Option<(u64, Duration)> {
        let time = now.saturating_duration_since(self.since);
        (self.bytes >= SAMPLE_BYTES && !time.is_zero()).then(|| (self.bytes, time.max(SAMPLE_TIME_MIN)))
    }
}

#[derive(Debug)]
pub(super) struct Speed {
    bounds: RangeInclusive<u64>,
    span: u64,
    latency: Option<Duration>,
    rate: Option<u64>,
}

impl Speed {
    pub(super) fn new(bounds: RangeInclusive<u64>) -> Self {
        Self { span: *bounds.start(), bounds, latency: None, rate: None }
    }

    pub(super) fn span(&self) -> u64 {
        self.span
    }

    pub(super) fn latency(&self) -> Option<Duration> {
        self.latency
    }

    pub(super) fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// A first byte came this long after its request began.
    pub(super) fn answered(&mut self, after: Duration) {
        let smooth =
            |known: Duration| (known / (MEMORY + 1)).saturating_mul(MEMORY).saturating_add(after / (MEMORY + 1));
        self.latency = Some(self.latency.map_or(after, smooth));
        self.span = self.span.min(self.target());
    }

    /// A connection brought so many bytes in this time.
    pub(super) fn measured(&mut self, bytes: u64, time: Duration) {
        let rate = narrow(u128::from(bytes) * 1_000_000_000 / time.as_nanos().max(1));
        let (memory, rate_wide) = (u128::from(MEMORY), u128::from(rate));
        let smooth = |known: u64| narrow((u128::from(known) * memory + rate_wide) / (memory + 1));
        self.rate = Some(self.rate.map_or(rate, smooth));
        self.span = self.span.min(self.target());
    }

    /// A request brought all that it asked for.
    pub(super) fn completed(&mut self) {
        self.span = self.target().min(self.span.saturating_mul(2));
    }

    /// The length that fits what is known.
    fn target(&self) -> u64 {
        let time = self.latency.unwrap_or_default().saturating_mul(LATENCIES).clamp(TRANSFER_MIN, TRANSFER_MAX);
        let bytes = u128::from(self.rate.unwrap_or(0)) * time.as_nanos() / 1_000_000_000;
        narrow(bytes).clamp(*self.bounds.start(), *self.bounds.end())
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match self.bounds.contains(&self.span) && self.span <= self.target() {
            true => Ok(()),
            false => Err(format!("{} bytes are recommended, {} would fit", self.span, self.target())),
        }
    }
}

fn narrow(wide: u128) -> u64 {
    u64::try_from(wide).unwrap_or(u64::MAX)
}
