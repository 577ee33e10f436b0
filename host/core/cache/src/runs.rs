//! Sets of numbers as runs: of granules, mostly.
//!
//! Owns: union, intersection and difference of such sets.
//!
//! Invariant: what these functions give is sorted, and no two runs of it touch; what they take, except [`united`], has to
//! be so too.

use std::ops::Range;

/// Sorted, disjoint, none empty.
pub(crate) type Runs = Vec<Range<u64>>;

/// All that is in any of the ranges, whatever their order.
pub(crate) fn united(ranges: impl IntoIterator<Item = Range<u64>>) -> Runs {
    let mut ranges: Runs = ranges.into_iter().filter(|range| !range.is_empty()).collect();
    ranges.sort_unstable_by_key(|range| range.start);
    let mut runs = Runs::with_capacity(ranges.len());
    for range in ranges {
        match runs.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => runs.push(range),
        }
    }
    runs
}

/// What of `runs` is in `mask`, and what is not. Walks along both once.
pub(crate) fn split(runs: &[Range<u64>], mask: &[Range<u64>]) -> (Runs, Runs) {
    let (mut inside, mut outside) = (Runs::new(), Runs::new());
    let mut mask = mask.iter().peekable();
    for run in runs {
        let mut at = run.start;
        while at < run.end {
            while mask.next_if(|next| next.end <= at).is_some() {}
            let (start, end) = mask.peek().map_or((run.end, run.end), |next| (next.start, next.end));
            if at < start {
                outside.push(at..start.min(run.end));
                at = start;
            } else {
                inside.push(at..end.min(run.end));
                at = end;
            }
        }
    }
    (inside, outside)
}

/// What of `runs` is not in `mask`.
pub(crate) fn without(runs: &[Range<u64>], mask: &[Range<u64>]) -> Runs {
    split(runs, mask).1
}

/// What of `runs` is in `mask`.
pub(crate) fn common(runs: &[Range<u64>], mask: &[Range<u64>]) -> Runs {
    split(runs, mask).0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn numbers(runs: &[Range<u64>]) -> BTreeSet<u64> {
        runs.iter().cloned().flatten().collect()
    }

    proptest! {
        #[test]
        fn they_are_sets(
            one in prop::collection::vec((0u64..60, 0u64..12).prop_map(|(start, length)| start..start + length), 0..12),
            other in prop::collection::vec((0u64..60, 0u64..12).prop_map(|(start, length)| start..start + length), 0..12),
        ) {
            let (a, b) = (united(one.clone()), united(other));
            prop_assert_eq!(numbers(&a), numbers(&one));
            prop_assert!(a.windows(2).all(|two| two[0].end < two[1].start) && a.iter().all(|run| !run.is_empty()));
            prop_assert_eq!(numbers(&common(&a, &b)), &numbers(&a) & &numbers(&b));
            prop_assert_eq!(numbers(&without(&a, &b)), &numbers(&a) - &numbers(&b));
        }
    }
}
