//! The proof of the order of writes: random histories on a disk that loses power at each single operation.
//!
//! After every crash the store is opened again and everything in it is compared with the truth:
//! - opening succeeds, and every granule that the journal names has the true bytes of the version that the record names;
//!   the checksum is there for media that lie, and never has anything to find on one that does not;
//! - what was committed, and neither evicted nor forgotten nor replaced since, is there;
//! - what was evicted or forgotten is not;
//! - the record is the last one, or one whose writing had begun.
//!
//! Then the history goes on, and so do the crashes. One departure is allowed: on a disk so full that the journal cannot
//! grow, an eviction gives the space back first, and a crash in that moment leaves granules that are named and gone.

mod model;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::sim::{Plan, Random};
use world::{Seen, World};

/// Steps of a history.
const STEPS: u64 = 24;
/// How often the power goes in one history.
const CRASHES: u64 = 3;

/// How many histories there are, for a number of ordinary ones: as many times more as `PROPTEST_CASES` says.
fn histories(ordinary: u64) -> std::ops::Range<u64> {
    const USUAL_CASES: u64 = 256;
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(USUAL_CASES);
    0..(ordinary * cases / USUAL_CASES).max(1)
}

/// The seed of one step.
fn seed_of(history: u64, step: u64) -> u64 {
    Random::new(history << 20 | step).next()
}

/// Goes through a history until it ends or the power goes, and returns the next step.
fn go(world: &mut World, history: u64, from: u64) -> Result<u64, String> {
    for step in from..STEPS {
        world.step(seed_of(history, step)).map_err(|error| format!("step {step}: {error}"))?;
        if world.disk.is_off() {
            return Ok(step + 1);
        }
    }
    Ok(STEPS)
}

/// Opens what a crash left, goes on from there, and crashes again.
fn go_on(crashed: &World, history: u64, from: u64, mut seed: u64, plan: Plan) -> Result<Seen, String> {
    let (mut world, mut step) = (crashed.reborn(seed, Plan { crash_at: None, ..plan })?, from);
    for _ in 1..CRASHES {
        let mut random = Random::new(seed);
        seed = random.next();
        let crash_at = Some(random.below(60));
        // The power may go while the store is being opened.
        world = world.reborn(seed, Plan { crash_at, ..plan })?;
        step = go(&mut world, history, step)?;
        world = world.reborn(random.next(), Plan { crash_at: None, ..plan })?;
    }
    Ok(world.seen)
}

/// One history with one plan, and what is found with several seeds after its crash.
fn check(history: u64, plan: Plan, seeds: u64, sum: &mut Seen) {
    let later = Plan { fail_at: None, read_only_from: None, ..plan };
    let mut seed = None;
    let mut attempt = || {
        let mut world = World::new(plan)?;
        let step = go(&mut world, history, 0)?;
        for number in 0..seeds {
            // Four in a row are four tastes of what to lose.
            let number = Random::new(history ^ plan.crash_at.unwrap_or(0) << 32).next() / 4 * 4 + number;
            seed = Some(number);
            add(sum, go_on(&world, history, step, number, later)?);
        }
        Ok::<_, String>(())
    };
    match catch_unwind(AssertUnwindSafe(&mut attempt)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => panic!("history {history}, {plan:?}, crash {seed:?}: {error}"),
        Err(panic) => {
            eprintln!("history {history}, {plan:?}, crash {seed:?}:");
            std::panic::resume_unwind(panic);
        }
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

/// How many operations a history has if nothing goes wrong.
fn operations(history: u64, plan: Plan) -> u64 {
    let count = || {
        let mut world = World::new(plan)?;
        go(&mut world, history, 0)?;
        Ok::<_, String>(world.disk.operations())
    };
    count().unwrap_or_else(|error| panic!("history {history}, {plan:?}: {error}"))
}

#[test]
fn nothing_is_lost_and_nothing_is_wrong_whenever_the_power_goes() {
    let mut seen = Seen::default();
    for history in histories(12) {
        for at in 0..=operations(history, Plan::default()) {
            check(history, Plan { crash_at: Some(at), ..Plan::default() }, 4, &mut seen);
        }
    }
    let counts = [seen.granules, seen.found, seen.absent, seen.settled, seen.half_evicted, seen.compacted];
    assert!(counts.iter().all(|count| *count > 0), "{seen:?}");
    assert_eq!(seen.doubtful, 0);
}

#[test]
fn an_operation_that_fails_makes_no_promise_a_lie() {
    let mut seen = Seen::default();
    for history in histories(12) {
        for at in 0..operations(history, Plan::default()) {
            let random = Random::new(history ^ at << 32).next();
            let plan = Plan { fail_at: Some(at), no_holes: random.is_multiple_of(8), ..Plan::default() };
            check(history, plan, 2, &mut seen);
            check(history, Plan { crash_at: Some(at + 1 + random % 40), ..plan }, 2, &mut seen);
        }
    }
    assert!(seen.errors > 0 && seen.granules > 0 && seen.doubtful == 0, "{seen:?}");
}

#[test]
fn a_disk_that_fills_up_loses_nothing() {
    let mut seen = Seen::default();
    for history in histories(30) {
        for room in [2, 8, 14, 20, 30] {
            let random = Random::new(history << 8 | room).next();
            let plan = Plan { capacity: Some(room * 512 + random % 512), ..Plan::default() };
            let end = operations(history, plan);
            for at in [random % end, random / 7 % end, random / 49 % end, end] {
                check(history, Plan { crash_at: Some(at), ..plan }, 4, &mut seen);
            }
        }
    }
    assert!(seen.errors > 0 && seen.granules > 0 && seen.doubtful > 0, "{seen:?}");
}

#[test]
fn a_disk_that_becomes_read_only_loses_nothing() {
    let mut seen = Seen::default();
    for history in histories(12) {
        let end = operations(history, Plan::default());
        for at in (0..end).step_by(3) {
            check(history, Plan { read_only_from: Some(at), ..Plan::default() }, 2, &mut seen);
        }
    }
    assert!(seen.errors > 0 && seen.granules > 0 && seen.doubtful == 0, "{seen:?}");
}
