#![allow(clippy::single_range_in_vec_init, reason = "a list with one run is what is meant")]

use super::*;
use proptest::prelude::*;

use std::collections::BTreeSet;

const MIB: u64 = 1 << 20;

/// A film of a hundred granules of 1 MiB, of which all is there: index at both ends, the rest played.
fn film(id: &'static str, accessed_ms: u64) -> Candidate<&'static str> {
    Candidate {
        id,
        accessed_ms,
        granule: MIB as u32,
        present: vec![0..100],
        unread: vec![],
        index: vec![0..1, 99..100],
        held: vec![],
        in_use: false,
        pinned: false,
    }
}

/// What goes, as a line: `old 1-4,9 | new 1-2 whole`, with the last granule of a run included.
fn show(victims: &[Victim<&str>]) -> String {
    let run = |run: &Range<u64>| match run.end - run.start {
        1 => run.start.to_string(),
        _ => format!("{}-{}", run.start, run.end - 1),
    };
    let line = |victim: &Victim<&str>| {
        let runs: Vec<String> = victim.granules.iter().map(run).collect();
        format!("{} {}{}", victim.id, runs.join(","), if victim.whole { " whole" } else { "" })
    };
    victims.iter().map(line).collect::<Vec<_>>().join(" | ")
}

fn check(films: &[Candidate<&'static str>], cases: &[(u64, &str)]) {
    for (need, expected) in cases {
        assert_eq!(show(&choose(films, need * MIB)), *expected, "for {need} MiB");
    }
}

#[test]
fn the_film_of_last_year_goes_before_the_film_of_yesterday() {
    check(
        &[film("yesterday", 2), film("last year", 1)],
        &[
            (0, ""),
            (1, "last year 1"),
            (98, "last year 1-98"),
            (99, "last year 1-98 | yesterday 1"),
            (196, "last year 1-98 | yesterday 1-98"),
            (197, "last year 0-98 | yesterday 1-98"),
            (198, "last year 0-99 whole | yesterday 1-98"),
            (200, "last year 0-99 whole | yesterday 0-99 whole"),
            (1_000_000, "last year 0-99 whole | yesterday 0-99 whole"),
        ],
    );
}

#[test]
fn what_nobody_came_for_goes_before_what_was_watched_long_ago() {
    let given_up = Candidate { unread: vec![30..99], present: vec![0..99], ..film("given up after a third", 9) };
    check(
        &[film("liked", 1), given_up],
        &[
            (1, "given up after a third 98"),
            (69, "given up after a third 30-98"),
            (70, "given up after a third 30-98 | liked 1"),
        ],
    );
}

#[test]
fn a_seek_leaves_behind_what_goes_next() {
    // Played 1 to 9, skipped to 60, where the player is now; 10 to 29 were fetched for nothing.
    let watching = Candidate {
        present: vec![0..30, 60..80, 99..100],
        unread: vec![10..30, 65..80],
        held: vec![56..80],
        in_use: true,
        ..film("watching", 9)
    };
    let tried = Candidate { present: vec![0..20], unread: vec![5..20], ..film("tried", 3) };
    check(
        &[watching, tried, film("old", 1)],
        &[
            (15, "tried 5-19"),
            (16, "tried 5-19 | watching 29"),
            (35, "tried 5-19 | watching 10-29"),
            (36, "tried 5-19 | watching 10-29 | old 1"),
            (137, "tried 1-19 | watching 10-29 | old 1-98"),
            (138, "tried 1-19 | watching 1,10-29 | old 1-98"),
            (146, "tried 1-19 | watching 1-29 | old 1-98"),
            (147, "tried 1-19 | watching 1-29 | old 0-98"),
            (148, "tried 1-19 | watching 1-29 | old 0-99 whole"),
            (149, "tried 0-19 whole | watching 1-29 | old 0-99 whole"),
            (500, "tried 0-19 whole | watching 1-29 | old 0-99 whole"),
        ],
    );
}

#[test]
fn a_film_larger_than_the_cache_is_forgotten_behind_the_viewer() {
    let watching = Candidate { in_use: true, held: vec![50..80], present: vec![0..80], ..film("watching", 9) };
    let shelf = Candidate { present: vec![0..1, 99..100], ..film("only its index is left", 1) };
    check(
        &[watching, shelf],
        &[
            (20, "watching 1-20"),
            (49, "watching 1-49"),
            (50, "watching 1-49 | only its index is left 0"),
            (51, "watching 1-49 | only its index is left 0,99 whole"),
            (52, "watching 1-49 | only its index is left 0,99 whole"),
        ],
    );
}

#[test]
fn what_is_pinned_or_leased_stays() {
    let downloaded = Candidate { pinned: true, ..film("for the flight", 1) };
    let checked = Candidate { held: vec![40..42], ..film("being verified", 2) };
    check(&[downloaded, checked], &[(1000, "being verified 0-39,42-99")]);
}

#[test]
fn an_object_of_large_granules_gives_more_than_is_asked_for_by_less_than_one() {
    let cases = [(1, 1), (MIB, 1), (MIB + 1, 2), (2 * MIB, 2), (2 * MIB + 1, 3)];
    for (need, expected) in cases {
        assert_eq!(count(&choose(&[film("film", 1)], need)[0].granules), expected, "for {need} bytes");
    }
    let empty = Candidate { granule: 0, ..film("nothing to gain", 1) };
    assert_eq!(show(&choose(&[empty], 1)), "");
}

#[test]
fn the_largest_objects_cost_no_more_than_small_ones() {
    let all = 0..u64::MAX;
    let endless = Candidate { present: vec![all.clone()], index: vec![], ..film("endless", 1) };
    assert_eq!(show(&choose(std::slice::from_ref(&endless), u64::MAX)), format!("endless 0-{}", u64::MAX / MIB));
    let indexed = Candidate { unread: vec![1 << 60..u64::MAX], index: vec![all], ..endless };
    assert_eq!(show(&choose(&[indexed], MIB)), "endless 0");
}

#[test]
fn an_object_full_of_holes_is_walked_once() {
    const RUNS: u64 = 200_000;
    let every = |first: u64, length: u64| (0..RUNS).map(|at| at * 10 + first..at * 10 + first + length).collect();
    // Of each ten granules: 0 index, 1 and 2 played, 3 held, 4 and 5 unread, the rest absent.
    let torn =
        Candidate { present: every(0, 6), index: every(0, 1), held: every(3, 1), unread: every(4, 2), ..film("", 1) };
    let victims = choose(&[torn], 3 * RUNS * MIB);
    assert_eq!(count(&victims[0].granules), 3 * RUNS);
    assert_eq!(victims[0].granules[..3], [1..3, 4..6, 11..13]);
    assert_eq!(victims[0].granules.last(), Some(&(RUNS * 10 - 6..RUNS * 10 - 4)));
}

/// Indices of granules and lengths of runs that meet, touch and overlap often.
fn ranges() -> impl Strategy<Value = Vec<Range<u64>>> {
    prop::collection::vec((0u64..40, 0u64..12).prop_map(|(start, length)| start..start + length), 0..5)
}

fn candidates() -> impl Strategy<Value = Vec<Candidate<usize>>> {
    let sets = (ranges(), ranges(), ranges(), ranges());
    let one = (0u64..4, prop::sample::select(vec![0u32, 1, 3, 64]), sets, any::<bool>(), prop::bool::weighted(0.1));
    prop::collection::vec(one, 0..6).prop_map(|all| {
        let each = all.into_iter().enumerate();
        each.map(|(id, (accessed_ms, granule, (present, unread, index, held), in_use, pinned))| Candidate {
            id,
            accessed_ms,
            granule,
            present,
            unread,
            index,
            held,
            in_use,
            pinned,
        })
        .collect()
    })
}

/// One granule by itself: what sorts it among the others, then whose and which it is.
type Single = (u8, u64, usize, i64, u64);

/// Every granule that may go, in the order in which they go, one by one.
fn one_by_one(candidates: &[Candidate<usize>]) -> Vec<Single> {
    let within = |ranges: &[Range<u64>], granule: u64| ranges.iter().any(|range| range.contains(&granule));
    let mut all = BTreeSet::new();
    for from in candidates.iter().filter(|from| !from.pinned && from.granule > 0) {
        for granule in (0..64).filter(|granule| within(&from.present, *granule) && !within(&from.held, *granule)) {
            let (class, place) = match (within(&from.index, granule), within(&from.unread, granule), from.in_use) {
                (true, _, true) => continue,
                (true, _, false) => (5, granule as i64),
                (false, true, false) => (1, -(granule as i64)),
                (false, true, true) => (2, -(granule as i64)),
                (false, false, false) => (3, granule as i64),
                (false, false, true) => (4, granule as i64),
            };
            all.insert((class, from.accessed_ms, from.id, place, granule));
        }
    }
    all.into_iter().collect()
}

fn granules_of(ranges: &[Range<u64>]) -> BTreeSet<u64> {
    ranges.iter().cloned().flatten().collect()
}

fn chosen(victims: &[Victim<usize>]) -> BTreeSet<(usize, u64)> {
    victims.iter().flat_map(|victim| granules_of(&victim.granules).into_iter().map(|at| (victim.id, at))).collect()
}

fn bytes(candidates: &[Candidate<usize>], chosen: &BTreeSet<(usize, u64)>) -> u64 {
    chosen.iter().map(|(id, _)| u64::from(candidates[*id].granule)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 8, ..ProptestConfig::default() })]

    #[test]
    fn takes_what_counting_one_by_one_takes(candidates in candidates(), need in 0u64..4000) {
        let victims = choose(&candidates, need);
        let (mut expected, mut freed, mut order) = (BTreeSet::new(), 0, Vec::new());
        for (_, _, id, _, granule) in one_by_one(&candidates) {
            if freed >= need {
                break;
            }
            freed += u64::from(candidates[id].granule);
            expected.insert((id, granule));
            if !order.contains(&id) {
                order.push(id);
            }
        }
        prop_assert_eq!(chosen(&victims), expected);
        prop_assert_eq!(victims.iter().map(|victim| victim.id).collect::<Vec<_>>(), order);
    }

    #[test]
    fn takes_enough_and_not_a_granule_too_many(candidates in candidates(), need in 0u64..4000) {
        let victims = choose(&candidates, need);
        let freed = bytes(&candidates, &chosen(&victims));
        let all = bytes(&candidates, &chosen(&choose(&candidates, u64::MAX)));
        prop_assert!(freed >= need.min(all), "{freed} of {need}, and {all} may go");
        let largest = victims.iter().map(|victim| u64::from(candidates[victim.id].granule)).max().unwrap_or(0);
        prop_assert!(freed == 0 || freed < need + largest, "{freed} for {need}");
    }

    #[test]
    fn spares_what_must_stay(candidates in candidates(), need in 0u64..4000) {
        for victim in choose(&candidates, need) {
            let from = &candidates[victim.id];
            let gone = granules_of(&victim.granules);
            prop_assert!(!from.pinned);
            prop_assert!(gone.is_disjoint(&granules_of(&from.held)));
            prop_assert!(gone.is_subset(&granules_of(&from.present)));
            prop_assert!(!from.in_use || gone.is_disjoint(&granules_of(&from.index)));
            prop_assert_eq!(victim.whole, !from.in_use && gone == granules_of(&from.present));
        }
    }

    #[test]
    fn answers_in_runs(candidates in candidates(), need in 0u64..4000) {
        let victims = choose(&candidates, need);
        for victim in &victims {
            prop_assert!(!victim.granules.is_empty());
            prop_assert!(victim.granules.iter().all(|run| !run.is_empty()));
            prop_assert!(victim.granules.windows(2).all(|pair| pair[0].end < pair[1].start), "{victim:?}");
        }
        let ids: BTreeSet<usize> = victims.iter().map(|victim| victim.id).collect();
        prop_assert_eq!(ids.len(), victims.len(), "each object once");
        let answered: usize = victims.iter().map(|victim| victim.granules.len()).sum();
        let asked = candidates.iter().flat_map(|from| [&from.present, &from.unread, &from.index, &from.held]);
        prop_assert!(answered <= asked.map(Vec::len).sum(), "no longer than the question");
    }

    #[test]
    fn the_order_of_the_candidates_does_not_matter(
        candidates in candidates().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())), need in 0u64..4000,
    ) {
        let (sorted, shuffled) = candidates;
        prop_assert_eq!(choose(&sorted, need), choose(&shuffled, need));
    }

    #[test]
    fn who_needs_more_takes_the_same_and_more(candidates in candidates(), need in 0u64..2000, more in 0u64..2000) {
        let (little, much) = (chosen(&choose(&candidates, need)), chosen(&choose(&candidates, need + more)));
        prop_assert!(little.is_subset(&much));
    }

    #[test]
    fn survives_any_ranges(
        sets in prop::array::uniform4(prop::collection::vec(any::<(u64, u64)>().prop_map(|(a, b)| a..b), 0..6)),
        granule: u32, need: u64, in_use: bool,
    ) {
        let [present, unread, index, held] = sets;
        let one = Candidate { id: 0, accessed_ms: 0, granule, present, unread, index, held, in_use, pinned: false };
        for run in choose(std::slice::from_ref(&one), need).iter().flat_map(|victim| &victim.granules) {
            // Runs do not hold anything if neither their borders do nor a border of what is held lies within them.
            let held = one.held.iter().filter(|held| !held.is_empty());
            prop_assert!(held.clone().all(|held| held.end <= run.start || run.end <= held.start), "{run:?}");
            prop_assert!(one.present.iter().any(|present| present.contains(&run.start)));
            prop_assert!(one.present.iter().any(|present| present.contains(&(run.end - 1))));
        }
    }
}
