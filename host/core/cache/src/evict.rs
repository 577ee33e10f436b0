//! Decides which granules go when room is needed.
//!
//! Owns: the order in which granules are given up, and how many of them.
//! Leaves to others: how much room is needed, what is known of each object, and removing what was chosen. Something may
//! have come to be held by then, so whoever removes looks again, and asks again if it got less than it needs.
//!
//! Invariants: nothing goes that is pinned or held, and no index of an object in use; a granule goes only after everything
//! that comes before it in the order.
//!
//! The order, and why:
//!
//! 1. What was fetched ahead for objects that are closed. It was a guess, and nobody came for it.
//! 2. What was fetched ahead for open objects and is not held, as after a seek. Also a guess, but its viewer is still here.
//!    Whoever fetches ahead holds what it still hopes for, or it fetches in a circle.
//! 3. What was played of closed objects. Somebody wanted it once, and most films are watched once.
//! 4. What was played of open objects, away from every cursor: a step back must stay cheap longer than an old film. It goes
//!    before the indexes, because they are few bytes: giving up the quick start of all films would spare it for minutes.
//! 5. Indexes of closed objects. With its index a film starts after one round trip, without it after several.
//!
//! Recency does not count between classes: a guess of this morning goes before what was played a year ago. Otherwise one
//! evening of guesses, which nobody bounds by what is watched, would empty the cache of what was.
//!
//! Within a class the object that was used least recently gives all it has before the next one loses anything: one film
//! that is fetched again is better than ten with holes, and an object without granules can be removed. Within an object,
//! what was played goes from its beginning and what was fetched ahead from its end, so that what remains lies around the
//! place where somebody stopped.
//!
//! The price: of a closed film the index stays until nothing else may go. Who wants fewer such remnants removes objects by
//! their number; this module knows bytes only, and takes no granule for tidiness.

use std::ops::Range;

use crate::runs::{Runs, split, united};

/// What somebody knows of one object when room is needed. Ranges are granule indices, half open, sorted, disjoint. (Any
/// others are read as the sets that they are.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate<Id> {
    /// Which object; every candidate is another one.
    pub id: Id,
    /// Wall clock of the last use, milliseconds since 1970.
    pub accessed_ms: u64,
    /// Length of a granule in bytes. The last one of an object counts as if it were as long as the others. Where this is 0
    /// there is nothing to gain and nothing goes.
    pub granule: u32,
    /// Granules that are there.
    pub present: Vec<Range<u64>>,
    /// Of these, what was fetched ahead and never handed to anybody.
    pub unread: Vec<Range<u64>>,
    /// Where the container's index and its head lie: kept longest, be they read or not.
    pub index: Vec<Range<u64>>,
    /// Leased, in a span in flight, or around a cursor: must not go.
    pub held: Vec<Range<u64>>,
    /// Somebody has it open.
    pub in_use: bool,
    /// Nothing of it may go.
    pub pinned: bool,
}

/// What of one object goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Victim<Id> {
    /// Which object.
    pub id: Id,
    /// Granule indices: half open, sorted, neither overlapping nor touching; at least one granule.
    pub granules: Vec<Range<u64>>,
    /// Everything that is present goes, and nobody has it open: the object can be removed.
    pub whole: bool,
}

/// Chooses granules of at least `need` bytes and of less than one granule more; all that may go, if that is not enough.
///
/// An object appears once, at the place of the first granule that it gives. Of two objects that were used at the same time
/// the one with the smaller id comes first.
///
/// Takes O(r log r) for r ranges in all candidates together, however many granules they span: one object may have 67
/// million. The answer has at most r ranges.
pub fn choose<Id: Clone + Ord>(candidates: &[Candidate<Id>], need: u64) -> Vec<Victim<Id>> {
    let mut lots: Vec<Lot> = candidates.iter().enumerate().flat_map(|(owner, from)| lots_of(owner, from)).collect();
    lots.sort_by_key(|lot| (lot.class, candidates[lot.owner].accessed_ms, &candidates[lot.owner].id));

    let mut given: Vec<Runs> = vec![Runs::new(); candidates.len()];
    let mut order = Vec::new();
    let mut missing = need;
    for lot in lots {
        let owner = lot.owner;
        let granule = u64::from(candidates[owner].granule);
        let share = lot.first(missing.div_ceil(granule));
        if share.is_empty() {
            continue;
        }
        missing = missing.saturating_sub(count(&share).saturating_mul(granule));
        if given[owner].is_empty() {
            order.push(owner);
        }
        given[owner].extend(share);
    }
    let victim = |owner: usize| {
        let (from, granules) = (&candidates[owner], united(given[owner].iter().cloned()));
        Victim {
            id: from.id.clone(),
            whole: !from.in_use && granules == united(from.present.iter().cloned()),
            granules,
        }
    };
    order.into_iter().map(victim).collect()
}

/// In the order in which they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    UnreadOfClosed,
    UnreadOfOpen,
    PlayedOfClosed,
    PlayedOfOpen,
    IndexOfClosed,
}

/// What one object has in one class.
struct Lot {
    class: Class,
    /// The place of the object among the candidates.
    owner: usize,
    runs: Runs,
}

fn lots_of<Id>(owner: usize, from: &Candidate<Id>) -> Vec<Lot> {
    if from.pinned || from.granule == 0 {
        return Vec::new();
    }
    let (_, free) = split(&united(from.present.iter().cloned()), &united(from.held.iter().cloned()));
    let (index, body) = split(&free, &united(from.index.iter().cloned()));
    let (unread, played) = split(&body, &united(from.unread.iter().cloned()));
    let lot = |class, runs| Lot { class, owner, runs };
    match from.in_use {
        true => vec![lot(Class::UnreadOfOpen, unread), lot(Class::PlayedOfOpen, played)],
        false => vec![
            lot(Class::UnreadOfClosed, unread),
            lot(Class::PlayedOfClosed, played),
            lot(Class::IndexOfClosed, index),
        ],
    }
}

impl Lot {
    /// The granules that go first, at most `most` of them.
    fn first(self, mut most: u64) -> Vec<Range<u64>> {
        let from_end = matches!(self.class, Class::UnreadOfClosed | Class::UnreadOfOpen);
        let mut runs = self.runs;
        if from_end {
            runs.reverse();
        }
        for run in &mut runs {
            let length = most.min(run.end - run.start);
            most -= length;
            *run = if from_end { run.end - length..run.end } else { run.start..run.start + length };
        }
        runs.retain(|run| !run.is_empty());
        runs
    }
}

fn count(runs: &[Range<u64>]) -> u64 {
    runs.iter().map(|run| run.end - run.start).sum()
}

#[cfg(test)]
mod tests;
