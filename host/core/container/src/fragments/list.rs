//! The finished segments.
//!
//! Owns: their order, their number, finding one.
//!
//! A time that goes back comes from recordings that were put one behind the other: each segment then stands as much
//! later as makes the first one behind the seam begin where the last one before it ended. A single wrong time shifts no
//! more than itself: the shift ends as soon as a segment says by itself that it is at the end of the list or later.
//!
//! Invariant: segments do not overlap and stand in the order of their bytes; no start is before the one before it.

use super::{Error, Name, Segment};

/// The finished segments.
#[derive(Clone, Debug)]
pub(super) struct List {
    segments: Vec<Segment>,
    /// How many were handed out as new.
    told: usize,
    most: usize,
    /// What the file says of the start of the last segment, and how much later it stands in the list.
    last: u64,
    shift: u64,
}

impl List {
    pub(super) fn new(most: usize) -> List {
        List { segments: Vec::new(), told: 0, most, last: 0, shift: 0 }
    }

    /// Adds a segment with the start that the file says, of which the box `kind` at byte `at` tells.
    pub(super) fn push(&mut self, mut segment: Segment, at: u64, kind: Name) -> Result<(), Error> {
        if self.segments.last().is_some_and(|last| segment.bytes.start < last.bytes.end) {
            return Err(Error::Damaged { at, kind, what: "its segments overlap or stand out of order" });
        }
        if self.segments.len() >= self.most {
            return Err(Error::Limit { at, kind, what: "segments", most: self.most });
        }
        self.shift = self.shift(segment.start_ticks);
        self.last = segment.start_ticks;
        segment.start_ticks = segment.start_ticks.saturating_add(self.shift);
        self.segments.push(segment);
        Ok(())
    }

    /// How much later a segment stands that begins then, by what the file says.
    fn shift(&self, start: u64) -> u64 {
        let Some(last) = self.segments.last() else { return 0 };
        if start < self.last || start == self.last && last.duration_ticks > 0 {
            last.end_ticks().saturating_sub(start)
        } else if start >= last.end_ticks() {
            0
        } else {
            self.shift
        }
    }

    /// The segment as it would stand in the list.
    pub(super) fn placed(&self, segment: Segment) -> Segment {
        let start_ticks = segment.start_ticks.saturating_add(self.shift(segment.start_ticks));
        Segment { start_ticks, ..segment }
    }

    /// When the last segment ends, by what the file says.
    pub(super) fn next_ticks(&self) -> u64 {
        self.end_ticks().saturating_sub(self.shift)
    }

    pub(super) fn all(&self) -> &[Segment] {
        &self.segments
    }

    /// When the last segment ends.
    fn end_ticks(&self) -> u64 {
        self.segments.last().map_or(0, Segment::end_ticks)
    }

    /// What was added since the last call.
    pub(super) fn take_new(&mut self) -> &[Segment] {
        let told = std::mem::replace(&mut self.told, self.segments.len());
        self.segments.get(told..).unwrap_or_default()
    }

    /// Takes out what lies behind the end of the file; where the first of it begins.
    pub(super) fn cut(&mut self, length: u64) -> Option<u64> {
        let whole = self.segments.partition_point(|segment| segment.bytes.end <= length);
        let torn = self.segments.get(whole).map(|segment| segment.bytes.start);
        self.segments.truncate(whole);
        self.told = self.told.min(whole);
        torn
    }

    pub(super) fn at_time(&self, ticks: u64) -> Option<&Segment> {
        if ticks >= self.end_ticks() {
            return None;
        }
        let after = self.segments.partition_point(|segment| segment.start_ticks <= ticks);
        self.segments.get(after.saturating_sub(1))
    }

    pub(super) fn at_byte(&self, offset: u64) -> Option<&Segment> {
        let found = self.segments.partition_point(|segment| segment.bytes.end <= offset);
        self.segments.get(found).filter(|segment| segment.bytes.start <= offset)
    }
}
