//! A hundred viewers scrub through one film.
//!
//! Cursors, spans in flight, cancels and the answers to the viewers live in different crates; that they share every byte
//! and mix none up shows when many want different things at once.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::thread;
use std::time::Duration;

use mediahost_e2e::relay::Line;
use mediahost_e2e::{Host, Nginx, Random, Relay, rounds, synthetic, until};

const FILM_BYTES: u64 = 96 << 20;
const VIEWERS: usize = 100;
/// Requests of one viewer.
const LEAPS: u32 = 20;
/// The same in long runs.
const MOST_LEAPS: u32 = 200;
/// Reads are between this and [`LONGEST`], as many short ones as long ones.
const SHORTEST: u64 = 1 << 10;
const LONGEST: u64 = 2 << 20;
/// What may come once more or for nothing: heads of answers, and what was on the line when a viewer leapt away and a
/// request was given up.
const WASTE_BYTES: u64 = FILM_BYTES / 20;
/// From the last answer to the end of what was fetched.
const QUIET: Duration = Duration::from_secs(30);

/// One request of a viewer, who hangs up after the range if it asks for everything from there on.
struct Leap {
    range: Range<u64>,
    open_ended: bool,
}

#[test]
fn a_hundred_cursors_in_one_film() {
    let folder = tempfile::TempDir::with_prefix("e2e-cursors-").unwrap();
    let mut film = File::create(folder.path().join("film.bin")).unwrap();
    io::copy(&mut synthetic::Bytes(0..FILM_BYTES), &mut film).unwrap();
    let origin = Nginx::serve(folder.path());
    let relay = Relay::start(origin.address(), Line::of(600, Duration::from_millis(40)));
    let host = Host::start();
    let (id, _) = host.ready(&relay.url("film.bin"));

    let mut random = Random::new();
    let viewers: Vec<Vec<Leap>> =
        (0..VIEWERS).map(|_| (0..rounds(LEAPS).min(MOST_LEAPS)).map(|_| leap(&mut random)).collect()).collect();
    thread::scope(|scope| {
        for leaps in &viewers {
            scope.spawn(|| leaps.iter().for_each(|leap| watch(&host, &id, leap)));
        }
    });

    until("the end of all fetching", QUIET, || {
        let stats = host.api("GET", &format!("/sessions/{id}/stats")).send().expect(200);
        (stats["active_workers"] == 0).then_some(())
    });
    let down = relay.count().down;
    assert!(down <= FILM_BYTES + WASTE_BYTES, "{down} bytes for {FILM_BYTES}");
}

fn leap(random: &mut Random) -> Leap {
    let scale = SHORTEST << random.below(1 + u64::from((LONGEST / SHORTEST).ilog2()));
    let length = (scale + random.below(scale)).min(LONGEST);
    let start = random.below(FILM_BYTES - length);
    Leap { range: start..start + length, open_ended: random.below(4) == 0 }
}

fn watch(host: &Host, id: &str, leap: &Leap) {
    let Leap { range, open_ended } = leap;
    let request = host.stream(id);
    let mut answer = match open_ended {
        true => request.header("Range", &format!("bytes={}-", range.start)).send(),
        false => request.range(range).send(),
    };
    assert_eq!(answer.status, 206, "{range:?}: {answer:?}");
    let mut bytes = vec![0; (range.end - range.start) as usize];
    answer.read_exact(&mut bytes).unwrap_or_else(|error| panic!("{range:?}: {error}"));
    assert_eq!(synthetic::difference(range.start, &bytes), None, "another byte in {range:?}");
}
