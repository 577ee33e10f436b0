//! Which granules are there, as one bit each.

use std::ops::Range;

use bitvec::vec::BitVec;

use crate::granule::Geometry;

/// The map. Offsets are bytes of the object; all granule arithmetic is done here.
pub(super) struct Presence {
    geometry: Geometry,
    bits: BitVec,
    bytes: u64,
}

impl Presence {
    pub(super) fn new(geometry: Geometry) -> Self {
        // The count is bounded by MAX_TOTAL and fits any usize.
        Self { geometry, bits: BitVec::repeat(false, geometry.count() as usize), bytes: 0 }
    }

    /// How many bytes are there.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a granule is there.
    pub(super) fn has(&self, index: u64) -> bool {
        self.bits.get(index as usize).is_some_and(|bit| *bit)
    }

    /// Marks a granule; one beyond the end is ignored.
    pub(super) fn set(&mut self, index: u64, present: bool) {
        if index >= self.geometry.count() || self.has(index) == present {
            return;
        }
        self.bits.set(index as usize, present);
        let length = u64::from(self.geometry.length_of(index));
        self.bytes = if present { self.bytes + length } else { self.bytes - length };
    }

    /// Where the run of present bytes that covers `offset` ends; `offset` itself if it is not there.
    pub(super) fn run_end(&self, offset: u64) -> u64 {
        match self.tail(offset) {
            Some((first, bits)) if bits[0] => self.offset_of(first, bits.first_zero()),
            _ => offset,
        }
    }

    /// The first present byte at or after `offset`; the total if there is none.
    pub(super) fn next_present(&self, offset: u64) -> u64 {
        match self.tail(offset) {
            Some((_, bits)) if bits[0] => offset,
            Some((first, bits)) => self.offset_of(first, bits.first_one()),
            None => self.geometry.total(),
        }
    }

    /// How many bytes of a range are there.
    pub(super) fn bytes_in(&self, range: Range<u64>) -> u64 {
        let range = range.start..range.end.min(self.geometry.total());
        if range.is_empty() {
            return 0;
        }
        let (first, last) = (self.geometry.index_at(range.start), self.geometry.index_at(range.end - 1));
        let overlap = |index: u64| {
            let granule = self.geometry.range_of(index);
            let length = granule.end.min(range.end).saturating_sub(granule.start.max(range.start));
            if self.has(index) { length } else { 0 }
        };
        if last - first < 2 {
            return (first..=last).map(overlap).sum();
        }
        let between = self.bits[first as usize + 1..last as usize].count_ones() as u64;
        overlap(first) + between * u64::from(self.geometry.granule()) + overlap(last)
    }

    /// Runs of granules that are there.
    pub(super) fn runs(&self) -> Vec<Range<u64>> {
        let (mut runs, mut at) = (Vec::new(), 0);
        while let Some(start) = self.bits[at..].first_one().map(|steps| at + steps) {
            let end = self.bits[start..].first_zero().map_or(self.bits.len(), |steps| start + steps);
            runs.push(start as u64..end as u64);
            at = end;
        }
        runs
    }

    /// The same granules of a shorter object. Its last one has to be set anew if it was longer before.
    pub(super) fn shorten(&mut self, geometry: Geometry) {
        let count = geometry.count();
        if count > 0 && self.geometry.length_of(count - 1) != geometry.length_of(count - 1) {
            self.set(count - 1, false);
        }
        self.bits.truncate(count as usize);
        self.geometry = geometry;
        self.bytes =
            self.runs().iter().map(|run| geometry.range_of(run.end - 1).end - geometry.range_of(run.start).start).sum();
    }

    /// The granule of `offset` and the bits from there on, which are not empty.
    fn tail(&self, offset: u64) -> Option<(u64, &bitvec::slice::BitSlice)> {
        if offset >= self.geometry.total() {
            return None;
        }
        let first = self.geometry.index_at(offset);
        Some((first, &self.bits[first as usize..]))
    }

    fn offset_of(&self, first: u64, found: Option<usize>) -> u64 {
        found.map_or(self.geometry.total(), |steps| self.geometry.range_of(first + steps as u64).start)
    }

    #[cfg(test)]
    pub(super) fn count_bytes(&self) -> u64 {
        self.bits.iter_ones().map(|index| u64::from(self.geometry.length_of(index as u64))).sum()
    }
}
