//! How many requests may run at once.
//!
//! Owns: the number, its growth while it is used and helps, its fall when requests fail, and the memory of where it failed.
//! Leaves to others: who gets a place, and the pause that an origin asks for.
//!
//! Invariant: the number lies between 1 and its maximum, rises by one at a time, and comes to a level that failed only
//! after a long time without failures.

use std::time::{Duration, Instant};

use super::{Limits, MAX_IN_FLIGHT, RequestId};

/// A number of requests is judged by its throughput after it was used for at least this long.
const MEASURE: Duration = Duration::from_millis(250);
/// How long a number that brought no more than the one before is not tried again. A trial costs nobody anything.
const FULL_LINE: Duration = Duration::from_secs(10);
/// The pauses between trials grow up to this.
const MAX_PATIENCE: Duration = Duration::from_secs(960);
/// On a full line too there are two, since the last one is kept for somebody who waits.
const WORTH_HAVING: u32 = 2;

#[derive(Debug)]
pub(super) struct Window {
    max: u32,
    cooldown: Duration,
    probe_after: Duration,
    size: u32,
    /// Requests that succeeded while the window was used, since the last judgement.
    credit: u32,
    reduced_at: Option<Instant>,
    /// Requests before this one began under a larger window and say nothing of the present one.
    epoch: u64,
    /// How many of them were let in, as far as it is known.
    borne: u32,
    /// Where requests failed.
    refused: Option<Fence>,
    /// Where one more request brought nothing more.
    full: Option<Fence>,
    meter: Meter,
    /// What one request less brought, until the present number is judged.
    before: Option<Measured>,
}

/// How a request failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed {
    /// The most requests that ran at once while it did.
    pub(super) peak: u32,
    /// Whether it had brought something; if not, it was perhaps not let in.
    pub(super) answered: bool,
}

/// A number of requests that is not tried again for a while. After that the fence is open until so many really run: then
/// it falls, or is raised again.
#[derive(Debug)]
struct Fence {
    level: u32,
    since: Instant,
    patience: Duration,
    /// Whether any answer has come since.
    answered: bool,
}

impl Window {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            max: limits.connections_max,
            cooldown: limits.cooldown,
            probe_after: limits.probe_after,
            size: limits.connections_start,
            credit: 0,
            reduced_at: None,
            epoch: 0,
            borne: 0,
            refused: None,
            full: None,
            meter: Meter::default(),
            before: None,
        }
    }

    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// Time went by up to `now`, in which so many requests ran.
    pub(super) fn pass(&mut self, now: Instant, in_flight: u32) {
        self.meter.pass(now, in_flight, self.is_use(in_flight));
    }

    pub(super) fn received(&mut self, bytes: u64) {
        self.meter.received(bytes);
    }

    /// A first byte came.
    pub(super) fn answered(&mut self) {
        if let Some(fence) = &mut self.refused {
            fence.answered = true;
        }
    }

    /// A request succeeded; at most `peak` ran at once meanwhile.
    pub(super) fn done(&mut self, now: Instant, id: RequestId, peak: u32) {
        if id.0 < self.epoch || !self.is_use(peak) {
            return;
        }
        self.credit = self.credit.saturating_add(1);
        if self.credit >= self.size && self.meter.time >= MEASURE {
            self.credit = 0;
            let measured = self.meter.take();
            self.judge(now, measured);
        }
    }

    /// A request failed, and others ran with it or the origin said that it is busy. The next request will have the
    /// number `next`.
    pub(super) fn failed(&mut self, now: Instant, id: RequestId, failed: Failed, next: u64) {
        if failed.peak < 2 {
            self.failed_alone();
        }
        let cools = self.reduced_at.is_some_and(|at| now.saturating_duration_since(at) < self.cooldown);
        match (id.0 < self.epoch, cools) {
            (true, true) if !failed.answered => self.failed_with_others(),
            (false, false) => self.reduce(now, failed.peak, next),
            _ => {}
        }
    }

    /// Half, or less than what failed if that is fewer still.
    fn reduce(&mut self, now: Instant, peak: u32, next: u64) {
        let borne = if peak < 2 { self.max } else { peak - 1 };
        self.size = (self.size / 2).min(borne).max(1);
        self.borne = borne;
        self.reduced_at = Some(now);
        self.epoch = next;
        self.credit = 0;
        self.meter.take();
        self.before = None;
        if peak >= 2 {
            self.refused = Some(Fence::raise(self.refused.take(), now, peak, self.probe_after));
        }
    }

    /// One more of those that ran when the window was reduced was not let in, so that one less was borne. If none was,
    /// then it was not their number that was at fault.
    fn failed_with_others(&mut self) {
        self.borne = self.borne.saturating_sub(1);
        if self.borne == 0 {
            self.refused = None;
        } else if let Some(fence) = &mut self.refused {
            fence.level = fence.level.min(self.borne + 1);
            self.size = self.size.min(self.borne);
        }
    }

    /// A request failed although no other ran. If nothing has come since several failed, then it was not their number
    /// that was at fault.
    pub(super) fn failed_alone(&mut self) {
        self.refused.take_if(|fence| !fence.answered);
    }

    /// After a window's worth of successes: one more, one less, or as it is.
    fn judge(&mut self, now: Instant, measured: Measured) {
        let before = self.before.take();
        if self.size > WORTH_HAVING && before.is_some_and(|before| measured.gained_nothing_over(&before)) {
            self.full = Some(Fence::raise(self.full.take(), now, self.size, FULL_LINE));
            self.size -= 1;
            return;
        }
        let bears = |fence: &mut Fence| measured.load > f64::from(fence.level) - 0.5;
        self.refused.take_if(bears);
        self.full.take_if(bears);
        let next = self.size + 1;
        let open = !self.refused.iter().chain(&self.full).any(|fence| fence.stands_before(next, now));
        if next <= self.max && open {
            self.size = next;
            self.before = Some(measured);
        }
    }

    /// Whether so many requests fill the window but for the place that is kept.
    fn is_use(&self, in_flight: u32) -> bool {
        in_flight > 0 && in_flight + 1 >= self.size
    }

    pub(super) fn check(&self, limits: &Limits) -> Result<(), String> {
        if self.size < 1 || self.size > limits.connections_max {
            return Err(format!("{} requests are allowed at once", self.size));
        }
        let absurd = |fence: &&Fence| !(2..=MAX_IN_FLIGHT).contains(&fence.level);
        match self.refused.iter().chain(&self.full).find(absurd) {
            Some(fence) => Err(format!("{fence:?} cannot be")),
            None => Ok(()),
        }
    }
}

impl Fence {
    /// At this level, or at the lower one where it stood. One that was tried again in vain stands for twice as long.
    fn raise(before: Option<Fence>, now: Instant, level: u32, patience: Duration) -> Fence {
        let again = before.filter(|fence| fence.level <= level);
        let longer = again.as_ref().map_or(Duration::ZERO, |fence| fence.patience.saturating_mul(2).min(MAX_PATIENCE));
        let level = again.map_or(level, |fence| fence.level);
        Fence { level, since: now, patience: patience.max(longer), answered: false }
    }

    fn stands_before(&self, size: u32, now: Instant) -> bool {
        self.level <= size && now.saturating_duration_since(self.since) < self.patience
    }
}

/// Counts what comes while the window is used.
#[derive(Debug, Default)]
struct Meter {
    at: Option<Instant>,
    used: bool,
    time: Duration,
    bytes: u64,
    /// Requests times seconds.
    load: f64,
}

/// What a number of requests brought.
#[derive(Clone, Copy, Debug)]
struct Measured {
    /// Bytes per second, of all together.
    rate: f64,
    /// Requests that ran at once, on average.
    load: f64,
}

impl Meter {
    fn pass(&mut self, now: Instant, in_flight: u32, used: bool) {
        let time = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        // Several things are reported at one moment; the bytes among them came in the time before.
        if !time.is_zero() {
            self.used = used;
        }
        if used {
            self.time = self.time.saturating_add(time);
            self.load += f64::from(in_flight) * time.as_secs_f64();
        }
        self.at = Some(now);
    }

    fn received(&mut self, bytes: u64) {
        if self.used {
            self.bytes = self.bytes.saturating_add(bytes);
        }
    }

    fn take(&mut self) -> Measured {
        let seconds = self.time.as_secs_f64().max(f64::EPSILON);
        let measured = Measured { rate: self.bytes as f64 / seconds, load: self.load / seconds };
        *self = Self { at: self.at, ..Self::default() };
        measured
    }
}

impl Measured {
    /// Whether more requests ran and brought less than a quarter of the bytes that they should have brought. If no more
    /// ran than before, then nothing is known.
    fn gained_nothing_over(&self, before: &Measured) -> bool {
        let share = self.load / before.load.max(f64::EPSILON) - 1.0;
        self.load >= before.load + 0.5 && self.rate < before.rate * (1.0 + share / 4.0)
    }
}
