//! What to fetch next, and how badly it is wanted.
//!
//! The order: readers that wait, then what an index warm-up named, then read-ahead by its deadline in time of the media,
//! then the rest of the file, if it is to be filled.

use std::ops::Range;
use std::time::Duration;

use super::{Object, Reader, ReaderId};

/// Bytes per second that are assumed of media whose rate is not known: 16 Mbit/s.
const ASSUMED_RATE: u64 = 2_000_000;

/// How badly something is wanted. What is smaller is more urgent, also between objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// A reader waits for it.
    Waiting,
    /// A player will need it before it begins.
    Warm,
    /// A reader will come to it after so long, if it plays on.
    Ahead(Duration),
    /// Nobody needs it soon.
    Fill,
}

/// What would be fetched next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Which bytes.
    pub range: Range<u64>,
    /// How badly.
    pub urgency: Urgency,
    /// For whom.
    pub(super) reader: Option<ReaderId>,
}

impl Object {
    /// What the next [`super::Output::Fetch`] will name if nothing else happens before; none if nothing is wanted, or if
    /// there are as many spans as there may be.
    pub fn wish(&self) -> Option<Wish> {
        let free = self.limits.max_spans.saturating_sub(self.spans.len());
        if free == 0 {
            return None;
        }
        let waiting = self.for_waiting();
        if waiting.is_some() || (free == 1 && self.limits.max_spans > 1) {
            return waiting;
        }
        self.for_warmth().or_else(|| self.for_later()).or_else(|| self.for_the_rest())
    }

    /// For the reader that waits and was served least recently.
    fn for_waiting(&self) -> Option<Wish> {
        let waits = |reader: &Reader| {
            let gap = self.gap_of(reader)?;
            (gap.start <= reader.position).then_some((reader.served, gap))
        };
        let waiting = self.readers.iter().filter_map(|(id, reader)| Some((waits(reader)?, *id)));
        let ((_, range), id) = waiting.min_by_key(|((served, _), id)| (*served, *id))?;
        Some(Wish { range, urgency: Urgency::Waiting, reader: Some(id) })
    }

    /// For the oldest warm range that lacks something.
    fn for_warmth(&self) -> Option<Wish> {
        let range = self.warm.iter().find_map(|range| self.gap(range, self.limits.span_max))?;
        Some(Wish { range, urgency: Urgency::Warm, reader: None })
    }

    /// For the reader that has the least ahead. A span is only begun when it fits into the window as a whole, so that a
    /// window that moves on by a frame does not cause a request of a frame.
    fn for_later(&self) -> Option<Wish> {
        let total = self.geometry.total();
        let lacks = |reader: &Reader| {
            let gap = self.gap_of(reader)?;
            let fits = gap.end <= self.geometry.ceil(reader.wanted(total, &self.limits).end);
            fits.then_some((gap.start.saturating_sub(reader.position), gap))
        };
        let lacking = self.readers.iter().filter_map(|(id, reader)| Some((lacks(reader)?, *id)));
        let ((ahead, range), id) = lacking.min_by_key(|((ahead, _), id)| (*ahead, *id))?;
        let millis = u128::from(ahead) * 1000 / u128::from(self.rate.unwrap_or(ASSUMED_RATE).max(1));
        let deadline = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
        Some(Wish { range, urgency: Urgency::Ahead(deadline), reader: Some(id) })
    }

    fn for_the_rest(&self) -> Option<Wish> {
        let range =
            self.wants_the_rest().then(|| self.gap(&(0..self.geometry.total()), self.limits.span_max)).flatten()?;
        Some(Wish { range, urgency: Urgency::Fill, reader: None })
    }

    /// Whether what nobody reads is fetched as well.
    pub(super) fn wants_the_rest(&self) -> bool {
        self.filled || (self.limits.fill && !self.readers.is_empty())
    }

    /// What to fetch next for a reader, be it inside of its window or not.
    fn gap_of(&self, reader: &Reader) -> Option<Range<u64>> {
        let reach = reader.position..reader.limit(self.geometry.total(), &self.limits);
        if reader.is_reading() { self.gap(&reach, reader.span(&self.limits)) } else { None }
    }

    /// The first whole granules of a range that are neither present nor on their way, at most `longest` bytes; nothing
    /// if they failed or are just being evicted. It does not leap over what failed: an upstream in trouble is not asked
    /// for the rest as well.
    fn gap(&self, range: &Range<u64>, longest: u64) -> Option<Range<u64>> {
        let mut at = self.present.run_end(range.start);
        // Each turn passes a span, of which there are few.
        while let Some(span) = self.span_at(at) {
            at = self.present.run_end(span.range.end);
        }
        let start = self.geometry.floor(at);
        if at >= range.end || self.failed(start).is_some() || self.leaving.has(self.geometry.index_at(start)) {
            return None;
        }
        let next_span = self.spans.range(start..).next().map(|(start, _)| *start);
        let next_failure = self.failures.iter().map(|failure| failure.range.start).filter(|at| *at > start).min();
        let next_leaving = self.leaving.next(self.geometry.index_at(start));
        let next_leaving = next_leaving.map(|index| self.geometry.range_of(index).start);
        let borders = [next_span, next_failure, next_leaving].into_iter().flatten().chain([
            self.present.next_present(start),
            self.geometry.ceil(range.end),
            start.saturating_add(self.geometry.floor(longest)),
        ]);
        Some(start..borders.fold(self.geometry.total(), u64::min))
    }

    pub(super) fn serve(&mut self, id: ReaderId) {
        if let Some(reader) = self.readers.get_mut(&id) {
            // The span that is about to begin has this number; 0 means never.
            reader.served = self.next_span + 1;
        }
    }
}
