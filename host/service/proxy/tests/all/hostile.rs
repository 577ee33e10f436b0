//! Origins that lie, break off, refuse and change, and the one promise to the client: it gets the bytes exactly, or a
//! clean failure. Never wrong bytes, never a wait without end.
//!
//! A row is a behaviour and what is expected of us. What every row is held to, whatever it expects:
//!
//! - a body is exactly what was asked for of one version of the file, or it ends with an error and what came before that
//!   is the beginning of it;
//! - any other answer is an error status with a code;
//! - no `HEAD` is ever sent, everything is asked for uncompressed, and a bad origin is not flooded with requests.
//!
//! What nobody can promise is a row too: see [`Expect::Mixed`].

mod film;
mod framing;
mod judge;
mod ranges;
mod scenes;
mod stage;
mod statuses;
mod versions;

use std::collections::HashMap;
use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::raw::{Ask, RawOrigin, Script, Seen};
use film::Film;
use stage::Stage;

/// How long one row may take; nearly all take less than a second, and a few as long as the retries of a reader.
const DEADLINE: Duration = Duration::from_secs(60);
/// Rows of a test that run at the same time.
const AT_ONCE: usize = 24;
/// How long an origin may be silent, unless a row says otherwise.
const SILENCE: Duration = Duration::from_secs(10);
/// How long after the proxy is dropped its connections may be there.
const PARTING: Duration = Duration::from_secs(5);
/// Requests to a bad origin within one row, at most.
const FLOOD: usize = 150;

/// What is expected of us.
enum Expect {
    /// Everything plays, and every byte is right.
    Plays,
    /// The session fails with one of these codes, and nothing that is asked of it is answered in full.
    Fails(&'static [&'static str]),
    /// Whether the session fails with one of these codes or not, the whole never comes.
    Breaks(&'static [&'static str]),
    /// It plays or it fails with one of these codes: the origin contradicts itself, and whoever finds a way around it may go it.
    PlaysOr(&'static [&'static str]),
    /// The origin is bad from its first turn to its second. Whoever reads meanwhile gets exact bytes or a clean failure,
    /// whoever reads afterwards gets everything.
    Recovers,
    /// From its first turn on the origin has another version. No answer holds bytes of both; in the end all is new.
    Changes,
    /// The same without anything by which we could notice. It is not promised that the versions are not mixed, only that
    /// each byte is the one that one of them has in this place, and that what was read once stays as it is.
    Mixed,
    /// The origin is never of one opinion for long. Whatever plays is of one version; a session that fails has one of
    /// these codes.
    Clean(&'static [&'static str]),
}

/// One behaviour, and what is expected.
struct Row {
    name: &'static str,
    film: Film,
    /// The version after this one.
    other: Film,
    expect: Expect,
    silence: Duration,
    /// Bytes that the origin may be made to send, as a multiple of the film.
    most: Option<f64>,
    check: Option<Check>,
    script: Box<dyn FnMut(&Ask) -> Script + Send>,
}

/// Looks at what the origin was asked.
type Check = fn(&[Seen]) -> Result<(), String>;

fn row(
    name: &'static str,
    film: Film,
    expect: Expect,
    mut script: impl FnMut(&Ask, &Film) -> Script + Send + 'static,
) -> Row {
    let (own, other) = (film.clone(), film.other());
    let script = Box::new(move |ask: &Ask| script(ask, &own));
    Row { name, film, other, expect, silence: SILENCE, most: None, check: None, script }
}

impl Row {
    fn other(self, other: Film) -> Row {
        Row { other, ..self }
    }

    fn silence_ms(self, ms: u64) -> Row {
        Row { silence: Duration::from_millis(ms), ..self }
    }

    fn most(self, times: f64) -> Row {
        Row { most: Some(times), ..self }
    }

    fn check(self, check: Check) -> Row {
        Row { check: Some(check), ..self }
    }
}

/// Anything that is run together with the rows.
struct Case {
    name: &'static str,
    run: Pin<Box<dyn Future<Output = Result<(), String>> + Send>>,
}

impl Case {
    fn new(name: &'static str, run: impl Future<Output = Result<(), String>> + Send + 'static) -> Case {
        Case { name, run: Box::pin(run) }
    }
}

impl From<Row> for Case {
    fn from(row: Row) -> Case {
        Case::new(row.name, play(row))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_ranges() {
    run(ranges::rows().into_iter().map(Case::from).collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_framing() {
    run(framing::rows().into_iter().map(Case::from).collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_versions() {
    run(versions::rows().into_iter().map(Case::from).collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_statuses() {
    run(statuses::rows().into_iter().map(Case::from).collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_scenes() {
    run(scenes::cases()).await;
}

/// Runs everything, several rows at once, to the end, and names all that failed.
async fn run(cases: Vec<Case>) {
    let count = cases.len();
    let (mut running, mut names, mut failed) = (JoinSet::new(), HashMap::new(), Vec::new());
    let turns = std::sync::Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    for case in cases {
        assert!(names.values().all(|name| *name != case.name), "two rows are called {:?}", case.name);
        let turns = turns.clone();
        let run = async move {
            let _turn = turns.acquire_owned().await;
            case.run.await
        };
        names.insert(running.spawn(run).id(), case.name);
    }
    let all = async {
        while let Some(ended) = running.join_next_with_id().await {
            let (id, result) = match ended {
                Ok(ended) => ended,
                Err(error) => (error.id(), Err(format!("it panicked: {error}"))),
            };
            let name = names.remove(&id).unwrap_or_default();
            failed.extend(result.err().map(|why| format!("{name}: {why}")));
        }
    };
    // A row has its own deadline. It misses that when its thread stands still.
    let longest = (DEADLINE + PARTING) * count.div_ceil(AT_ONCE) as u32;
    let late = tokio::time::timeout(longest, all).await.is_err();
    failed.extend(names.values().filter(|_| late).map(|name| format!("{name}: it stands still")));
    failed.sort();
    assert!(failed.is_empty(), "{} of {count} rows failed:\n\n{}\n", failed.len(), failed.join("\n\n"));
}

/// Plays one row to its end.
async fn play(row: Row) -> Result<(), String> {
    let origin = RawOrigin::start(row.script);
    let stage = Stage::new(row.film, row.other, row.silence, &[]).await;
    let begun = Instant::now();
    let played = tokio::time::timeout(DEADLINE, stage.play(&origin, &row.expect)).await;
    let played = played.unwrap_or_else(|_| Err(format!("still not over after {} s", DEADLINE.as_secs())));
    let (seen, length) = (origin.seen(), stage.film.bytes.len());
    let played = played.map_err(|why| format!("{why}\n    {}", stage.sessions()));
    drop(stage);
    let left = if played.is_ok() { left_alone(&origin).await } else { Ok(()) };
    played
        .and(left)
        .and_then(|()| if origin.panicked() { Err("its script has panicked".into()) } else { Ok(()) })
        .and_then(|()| manners(&seen))
        .and_then(|()| row.check.map_or(Ok(()), |check| check(&seen)))
        .and_then(|()| frugal(origin.sent(), seen.len(), row.most, length))
        .map_err(|why| format!("{why}\n{}", described(&seen, begun)))
}

/// What no origin, however bad, may be sent.
fn manners(seen: &[Seen]) -> Result<(), String> {
    if let Some(bad) = seen.iter().find(|seen| seen.ask.method != "GET") {
        return Err(format!("it was asked with another method than GET: {bad}"));
    }
    let plain = |ask: &Ask| ask.all("accept-encoding") == ["identity"] && ask.all("range").len() <= 1;
    if let Some(bad) = seen.iter().find(|seen| !plain(&seen.ask)) {
        return Err(format!("it was not asked for one range, uncompressed: {bad}"));
    }
    if seen.len() > FLOOD { Err(format!("it was asked {} times", seen.len())) } else { Ok(()) }
}

fn frugal(sent: u64, requests: usize, most: Option<f64>, length: usize) -> Result<(), String> {
    // Heads are no bytes of the film; none of those that are counted here has as many as this.
    let sent = sent.saturating_sub(requests as u64 * 512);
    match most.map(|times| times * length as f64).filter(|most| sent as f64 > *most) {
        Some(most) => Err(format!("it sent {sent} bytes, more than {most}, for a film of {length}")),
        None => Ok(()),
    }
}

/// Nothing goes on once everybody has let go.
async fn left_alone(origin: &RawOrigin) -> Result<(), String> {
    let begun = Instant::now();
    while origin.open() > 0 {
        if begun.elapsed() > PARTING {
            return Err(format!("{} connections are open though nobody wants anything any more", origin.open()));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// The end of the record, for whoever has to find out what went wrong.
fn described(seen: &[Seen], begun: Instant) -> String {
    let last = seen.iter().skip(seen.len().saturating_sub(12));
    let lines = last.map(|seen| {
        let at = seen.at.saturating_duration_since(begun).as_millis();
        format!("    {at:>6} ms {seen}\n")
    });
    lines.collect()
}
