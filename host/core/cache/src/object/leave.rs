//! What may leave the cache while the object is open.
//!
//! Owns: leases on what is being handed to clients, and granules that were taken out and whose room is not given back yet.
//!
//! Invariants: a granule leaves only if no lease covers it, no span in flight covers it and no reader stands near it; a
//! granule that leaves is not fetched again before its room was given back, or the new bytes would go with the old ones.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Object;
use crate::runs::{common, united, without};

/// Bytes behind a reader that stay: players step back a little.
const BEHIND: u64 = 4 << 20;

/// A lease; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(u64);

/// What there is, as a policy of eviction wants to know it: runs of granule indices, sorted and disjoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Granules that are there.
    pub present: Vec<Range<u64>>,
    /// Of these, those that nobody was ever handed.
    pub unread: Vec<Range<u64>>,
    /// Granules that must not go now.
    pub held: Vec<Range<u64>>,
}

#[derive(Default)]
pub(super) struct Leaving {
    leases: BTreeMap<LeaseId, Range<u64>>,
    next: u64,
    /// Taken out, by their first granule; runs do not overlap.
    gone: BTreeMap<u64, u64>,
}

impl Leaving {
    pub(super) fn has(&self, index: u64) -> bool {
        self.gone.range(..=index).next_back().is_some_and(|(_, end)| index < *end)
    }

    /// The first granule after `index` that is leaving.
    pub(super) fn next(&self, index: u64) -> Option<u64> {
        self.gone.range(index + 1..).next().map(|(start, _)| *start)
    }

    pub(super) fn gone(&mut self, runs: &[Range<u64>]) {
        for run in runs {
            if self.gone.get(&run.start) == Some(&run.end) {
                self.gone.remove(&run.start);
            }
        }
    }
}

impl Object {
    /// Keeps the granules of a range from leaving until [`Object::release`], and notes that somebody was handed them.
    /// Answers nothing if not all of the range is readable: it may have left meanwhile.
    pub fn hold(&mut self, range: Range<u64>) -> Option<LeaseId> {
        if range.is_empty() || self.readable(range.start) < range.end {
            return None;
        }
        let granules = self.granules_of(&range);
        for index in granules.clone().filter(|index| self.geometry.range_of(*index).end <= range.end) {
            self.handed.set(index, true);
        }
        let id = LeaseId(self.leaving.next);
        self.leaving.next += 1;
        self.leaving.leases.insert(id, granules);
        Some(id)
    }

    /// Ends a lease.
    pub fn release(&mut self, lease: LeaseId) {
        self.leaving.leases.remove(&lease);
    }

    /// Granules of an earlier run that nobody was handed then.
    pub fn mark_unread(&mut self, granules: impl IntoIterator<Item = Range<u64>>) {
        let count = self.geometry.count();
        for run in granules {
            (run.start..run.end.min(count)).for_each(|index| self.handed.set(index, false));
        }
    }

    /// What is there and what of it may go.
    pub fn standing(&self) -> Standing {
        let present = self.present.runs();
        let handed = self.handed.runs();
        Standing { unread: without(&present, &handed), held: self.held(), present }
    }

    /// Takes granules out: they are not readable any more, and are not fetched before [`super::Input::Evicted`] says that their
    /// room was given back. Answers which of them that are; what must not go stays.
    pub fn evict(&mut self, granules: &[Range<u64>]) -> Vec<Range<u64>> {
        let held = self.held();
        let wanted = united(granules.iter().cloned());
        let taken: Vec<Range<u64>> = without(&common(&wanted, &self.present.runs()), &held);
        for run in &taken {
            run.clone().for_each(|index| self.lose(index));
            self.leaving.gone.insert(run.start, run.end);
        }
        if !taken.is_empty() {
            // Who fills what does not fit would fetch for ever what others take out.
            (self.given.fill, self.limits.fill, self.filled) = (false, false, false);
        }
        // Whoever takes out what was warmed does not want it back at once.
        let (geometry, touched) =
            (self.geometry, common(&united(self.warm.iter().map(|range| self.granules_of(range))), &taken));
        self.warm.retain(|range| {
            let bytes = |run: &Range<u64>| geometry.range_of(run.start).start..geometry.range_of(run.end - 1).end;
            !touched.iter().map(bytes).any(|run| run.start < range.end && range.start < run.end)
        });
        taken
    }

    /// What leases, spans and readers keep.
    fn held(&self) -> Vec<Range<u64>> {
        let total = self.geometry.total();
        let leases = self.leaving.leases.values().cloned();
        let spans = self.spans.values().map(|span| self.granules_of(&span.range));
        let readers = self.readers.values().filter(|reader| reader.is_reading()).map(|reader| {
            let wanted = reader.wanted(total, &self.limits);
            self.granules_of(&(wanted.start.saturating_sub(BEHIND)..wanted.end))
        });
        // What is warm already may be protected by whoever chooses; here it is like the rest.
        let cold = self.warm.iter().filter(|range| !self.is_present((*range).clone()));
        let warm = cold.map(|range| self.granules_of(range));
        united(leases.chain(spans).chain(readers).chain(warm))
    }

    fn granules_of(&self, range: &Range<u64>) -> Range<u64> {
        let end = range.end.min(self.geometry.total());
        if range.start >= end { 0..0 } else { self.geometry.index_at(range.start)..self.geometry.index_at(end - 1) + 1 }
    }
}
