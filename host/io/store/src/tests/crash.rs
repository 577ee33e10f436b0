//! The proof of the order of writes: random histories on a disk that loses power at each single operation.
//!
//! After every crash the store is opened again and everything in it is compared with the truth:
//! - opening succeeds, and every granule that the journal names has the true bytes of the version that the record
//!   names; the checksum is there for media that lie, and never has anything to find on one that does not;
//! - what was committed, and neither evicted nor forgotten nor replaced since, is there;
//! - what was evicted or forgotten is not;
//! - the record is the last one, or one whose writing had begun.
//!
//! Then the history goes on, and so do the crashes. One departure is allowed: on a disk so full that the journal cannot
//! grow, an eviction gives the space back first, and a crash in that moment leaves granules that are named and gone.

mod model;
mod world;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::sim::{self, Plan, Random};
use world::{Seen, Step, What, World};

const SECTOR: u64 = sim::SECTOR as u64;
/// Steps of a random history.
const STEPS: u64 = 24;
/// How often the power goes again after it went for the first time, usually.
const AGAIN: u64 = 2;

/// Numbers up to an ordinary one, or as many times more as `PROPTEST_CASES` says; never fewer.
fn numbers(ordinary: u64) -> Range<u64> {
    const USUAL_CASES: u64 = 256;
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse::<u64>().ok()).unwrap_or(USUAL_CASES);
    0..(ordinary * cases / USUAL_CASES).max(ordinary)
}

/// What is done, one after the other.
struct History {
    /// The number of a random one; a name for those that are not.
    name: String,
    steps: Vec<Step>,
}

impl History {
    fn random(number: u64) -> Self {
        let mut random = Random::new(number);
        let steps = (0..STEPS).map(|_| Step::random(&mut random)).collect();
        Self { name: number.to_string(), steps }
    }

    fn of(name: &str, steps: impl IntoIterator<Item = What>) -> Self {
        let steps = steps.into_iter().map(|what| Step { at: 0, what }).collect();
        Self { name: name.to_owned(), steps }
    }

    /// How many operations it has if nothing else goes wrong.
    fn operations(&self, plan: Plan) -> u64 {
        let count = || {
            let mut world = World::new(plan)?;
            self.go(&mut world, 0)?;
            Ok::<_, String>(world.disk.operations())
        };
        count().unwrap_or_else(|error| panic!("history {}, {plan:?}: {error}", self.name))
    }

    /// Goes on until it ends or the power goes, and returns the next step.
    fn go(&self, world: &mut World, from: usize) -> Result<usize, String> {
        for (at, step) in self.steps.iter().enumerate().skip(from) {
            world.step(step).map_err(|error| format!("{at} {step:?}: {error}"))?;
            if world.disk.is_off() {
                return Ok(at + 1);
            }
        }
        Ok(self.steps.len())
    }

    /// Opens what a crash left, goes on from there, and crashes again.
    fn go_on(&self, crashed: &World, from: usize, mut seed: u64, plan: Plan, again: u64) -> Result<Seen, String> {
        let (mut world, mut step) = (crashed.reborn(seed, Plan { crash_at: None, ..plan })?, from);
        for _ in 0..again {
            let mut random = Random::new(seed);
            seed = random.next();
            let crash_at = Some(random.below(60));
            // The power may go while the store is being opened.
            world = world.reborn(seed, Plan { crash_at, ..plan })?;
            step = self.go(&mut world, step)?;
            world = world.reborn(random.next(), Plan { crash_at: None, ..plan })?;
        }
        Ok(world.seen)
    }

    /// The history with one plan, and what is found with several seeds after its crash.
    fn check(&self, plan: Plan, seeds: Range<u64>, again: u64, sum: &mut Seen) {
        let later = Plan { fail_at: None, read_only_from: None, ..plan };
        let mut seed = 0;
        let attempt = || {
            let mut world = World::new(plan)?;
            let step = self.go(&mut world, 0)?;
            for number in seeds {
                // Four in a row are four tastes of what to lose.
                seed = Random::new(plan.crash_at.unwrap_or(0)).next() / 4 * 4 + number;
                add(sum, self.go_on(&world, step, seed, later, again)?);
            }
            Ok::<_, String>(())
        };
        let place = match catch_unwind(AssertUnwindSafe(attempt)) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => "a panic".to_owned(),
        };
        let steps: Vec<String> =
            self.steps.iter().enumerate().map(|(at, step)| format!("{at} {}: {:?}", step.at, step.what)).collect();
        panic!("history {}, {plan:?}, crash {seed}: {place}\n{}", self.name, steps.join("\n"));
    }
}

fn add(sum: &mut Seen, seen: Seen) {
    sum.granules += seen.granules;
    sum.found += seen.found;
    sum.absent += seen.absent;
    sum.settled += seen.settled;
    sum.half_evicted += seen.half_evicted;
    sum.doubtful += seen.doubtful;
    sum.compacted += seen.compacted;
    sum.errors += seen.errors;
}

/// Histories that make sure of what is rare in random ones.
fn chosen() -> Vec<History> {
    use What::{Close, Commit, Create, Evict, Forget, Restart, Settle, Update, Write};
    let all = (0, u64::MAX);
    let write = || Write { run: all, partly: false, again: false };
    let commit = |start, count| Commit { run: (start, count) };
    let evict = |start, count| Evict { runs: vec![(start, count)] };
    let create = |open_ended, shape| Create { open_ended, shape };
    vec![
        History::of(
            "refused and given back",
            [create(false, 1), write(), commit(0, 1), commit(1, 2), evict(1, 2), commit(3, 1), evict(0, 2)],
        ),
        History::of(
            "forgotten and given back",
            [create(false, 1), write(), commit(0, 3), Forget { index: 1 }, write(), evict(1, 1), commit(3, 1), Update],
        ),
        History::of(
            "a long journal",
            [
                create(false, 0),
                write(),
                commit(0, 25),
                commit(0, 25),
                commit(0, 20),
                commit(5, 3),
                evict(2, 9),
                commit(30, 5),
            ],
        ),
        History::of(
            "a long journal of an object without an end",
            [
                create(true, 0),
                write(),
                Commit { run: all },
                Commit { run: all },
                Settle,
                write(),
                Commit { run: all },
                evict(7, 5),
            ],
        ),
        History::of(
            "one after the other",
            [
                create(false, 1),
                write(),
                commit(0, 2),
                create(false, 2),
                write(),
                commit(1, 1),
                create(true, 3),
                write(),
                commit(0, 3),
                Settle,
            ],
        ),
        // The journal ends with its sector, and what is evicted first is less than a sector.
        History::of(
            "full to the last sector",
            [create(false, 0), write(), commit(0, 16), evict(3, 1), evict(8, 16), commit(0, 1), evict(0, 2)],
        ),
        History::of(
            "closed and opened",
            [
                create(false, 3),
                write(),
                commit(0, 4),
                Close { in_peace: true },
                evict(1, 2),
                write(),
                Restart,
                commit(0, 9),
                write(),
                commit(0, 9),
            ],
        ),
    ]
}

#[test]
fn nothing_is_lost_and_nothing_is_wrong_whenever_the_power_goes() {
    let mut seen = Seen::default();
    for history in numbers(8).map(History::random).chain(chosen()) {
        for at in 0..=history.operations(Plan::default()) {
            history.check(Plan { crash_at: Some(at), ..Plan::default() }, 0..4, AGAIN, &mut seen);
        }
    }
    let counts = [seen.granules, seen.found, seen.absent, seen.settled, seen.half_evicted, seen.compacted];
    assert!(counts.iter().all(|count| *count > 0), "{seen:?}");
    assert_eq!(seen.doubtful, 0);
}

#[test]
fn an_operation_that_fails_makes_no_promise_a_lie() {
    let mut seen = Seen::default();
    for history in numbers(7).map(History::random) {
        for at in 0..history.operations(Plan::default()) {
            let random = Random::new(at).next();
            let plan = Plan { fail_at: Some(at), no_holes: random.is_multiple_of(8), ..Plan::default() };
            history.check(plan, 0..2, AGAIN, &mut seen);
            history.check(Plan { crash_at: Some(at + 1 + random % 40), ..plan }, 0..2, AGAIN, &mut seen);
        }
    }
    assert!(seen.errors > 0 && seen.granules > 0 && seen.doubtful == 0, "{seen:?}");
}

#[test]
fn a_failure_and_then_a_crash_at_any_time_make_no_promise_a_lie() {
    let mut seen = Seen::default();
    for history in chosen() {
        let end = history.operations(Plan::default());
        for fail_at in 0..end {
            let plan = Plan { fail_at: Some(fail_at), ..Plan::default() };
            for crash_at in fail_at + 1..=end {
                // One taste each, which is another one for the next.
                let first = fail_at + crash_at;
                let seeds = first..first + numbers(1).end;
                history.check(Plan { crash_at: Some(crash_at), ..plan }, seeds, 0, &mut seen);
            }
        }
    }
    assert!(seen.errors > 0 && seen.granules > 0 && seen.doubtful == 0, "{seen:?}");
}

#[test]
fn a_disk_that_fills_up_loses_nothing() {
    let mut seen = Seen::default();
    for (number, history) in numbers(20).map(|number| (number, History::random(number))) {
        for room in [2, 8, 14, 20, 30] {
            let random = Random::new(number << 8 | room).next();
            let plan = Plan { capacity: Some(room * SECTOR + random % SECTOR), ..Plan::default() };
            let end = history.operations(plan);
            for at in [random % end, random / 7 % end, random / 49 % end, end] {
                history.check(Plan { crash_at: Some(at), ..plan }, 0..4, AGAIN, &mut seen);
            }
        }
    }
    for history in chosen() {
        for room in 4..16 {
            let plan = Plan { capacity: Some(room * SECTOR), ..Plan::default() };
            for at in (0..=history.operations(plan)).rev().step_by(3) {
                history.check(Plan { crash_at: Some(at), ..plan }, at..at + numbers(1).end, 0, &mut seen);
            }
        }
    }
    assert!(seen.errors > 0 && seen.granules > 0 && seen.doubtful > 0, "{seen:?}");
}

#[test]
fn a_disk_that_becomes_read_only_loses_nothing() {
    let mut seen = Seen::default();
    for history in numbers(12).map(History::random) {
        let end = history.operations(Plan::default());
        for at in (0..end).step_by(3) {
            history.check(Plan { read_only_from: Some(at), ..Plan::default() }, 0..2, AGAIN, &mut seen);
        }
    }
    assert!(seen.errors > 0 && seen.granules > 0 && seen.doubtful == 0, "{seen:?}");
}
