//! One reader of an object: where it is, and how far ahead it is worth fetching.

use std::collections::VecDeque;
use std::ops::Range;

use super::Limits;

/// How many closed readers are remembered, so that the next request of the same player goes on with their window.
const MAX_TRAILS: usize = 8;

pub(super) struct Reader {
    range: Range<u64>,
    pub(super) position: u64,
    /// How many bytes ahead of the position may be fetched.
    window: u64,
    /// Bytes read in sequence, those of the readers before it included.
    run: u64,
    /// Bytes read in sequence since the window was doubled.
    since_growth: u64,
    /// When something was last fetched for it, in order of fetches; the one that waited longest comes first.
    pub(super) served: u64,
}

impl Reader {
    pub(super) fn new(range: Range<u64>, limits: &Limits) -> Self {
        let position = range.start;
        Self { range, position, window: limits.ahead_min, run: 0, since_growth: 0, served: 0 }
    }

    /// Takes note that everything before `position` was read. A step back or a leap is a new beginning.
    pub(super) fn advance(&mut self, position: u64, limits: &Limits) {
        let step = position.checked_sub(self.position).filter(|step| *step <= self.window);
        self.position = position;
        let Some(step) = step else {
            (self.window, self.run, self.since_growth) = (limits.ahead_min, 0, 0);
            return;
        };
        self.run = self.run.saturating_add(step);
        self.since_growth += step;
        if self.since_growth >= self.window {
            self.window = self.window.saturating_mul(2).min(limits.ahead_max);
            self.since_growth = 0;
        }
    }

    /// Takes note that there is less room ahead than there was.
    pub(super) fn narrow(&mut self, limits: &Limits) {
        self.window = self.window.clamp(limits.ahead_min, limits.ahead_max);
    }

    /// Takes note that the object ends earlier than was thought.
    pub(super) fn shorten(&mut self, total: u64) {
        self.range.end = self.range.end.min(total);
        self.range.start = self.range.start.min(self.range.end);
        self.position = self.position.min(total);
    }

    /// Whether it still wants bytes.
    pub(super) fn is_reading(&self) -> bool {
        self.position < self.range.end
    }

    /// What is fetched for it: from its position to the end of its window.
    pub(super) fn wanted(&self, total: u64, limits: &Limits) -> Range<u64> {
        let end = self.position.saturating_add(self.window).min(self.limit(total, limits));
        self.position.min(end)..end
    }

    /// Where its window ends at the latest. A reader of a bounded range gets as much behind the range as it has read in
    /// sequence, and nothing before that is more than the read of an index.
    pub(super) fn limit(&self, total: u64, limits: &Limits) -> u64 {
        let beyond = if self.run < limits.short { 0 } else { self.run.min(self.window) };
        self.range.end.saturating_add(beyond).min(total)
    }

    /// How long a span for it may be: a quarter of the window, so that several can run side by side.
    pub(super) fn span(&self, limits: &Limits) -> u64 {
        (self.window / 4).clamp(limits.span_min, limits.span_max)
    }

    #[cfg(test)]
    pub(super) fn window(&self) -> u64 {
        self.window
    }
}

/// Where readers stopped. Players ask for one range after the other; to them it is one reading.
#[derive(Default)]
pub(super) struct Trails(VecDeque<Trail>);

struct Trail {
    position: u64,
    window: u64,
    run: u64,
}

impl Trails {
    /// Remembers a reader that is gone.
    pub(super) fn leave(&mut self, reader: &Reader) {
        if reader.run == 0 {
            return;
        }
        if self.0.len() == MAX_TRAILS {
            self.0.pop_front();
        }
        self.0.push_back(Trail { position: reader.position, window: reader.window, run: reader.run });
    }

    /// Lets a new reader go on where another one stopped, if it begins there or a little beside.
    pub(super) fn follow(&mut self, reader: &mut Reader, limits: &Limits) {
        let near = |trail: &Trail| trail.position.abs_diff(reader.position) <= limits.span_min;
        let Some(trail) = self.0.iter().rposition(near).and_then(|at| self.0.remove(at)) else { return };
        (reader.window, reader.run) = (trail.window.clamp(limits.ahead_min, limits.ahead_max), trail.run);
    }
}
