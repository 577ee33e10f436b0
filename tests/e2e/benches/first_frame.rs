//! From the press of a button to the first frame, through the host and without it.
//!
//! Stands for: a viewer far from the origin (10 Mbit/s, 100 ms there and back) who starts a film that nobody has played, from
//! the start or from the middle. ffmpeg is the player: it is given an address, decodes one picture (or one frame of sound) and
//! ends; the time is that of its whole life, its start included.
//!
//! Three ways to the same file, one after the other in each round, each over a line of its own, so that nothing is known of the
//! file and no connection is open:
//!
//! - *directly*: ffmpeg asks the origin.
//! - *at once*: `POST /sessions`, and ffmpeg asks the host without waiting for anything.
//! - *when ready*: the same, but ffmpeg begins when the session says that it is ready.
//!
//! The line delays bytes and not the opening of a connection, which spares every new connection a round trip: that is to the
//! advantage of who opens more of them, which is ffmpeg when it leaps and the host when it warms up. What went over the line is
//! told, too: connections, and KiB from the origin up to the frame.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for people at a terminal")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mediahost_e2e::relay::{Count, Line};
use mediahost_e2e::{Host, Nginx, Relay, media, variants};
use serde_json::json;

const MBIT_PER_S: u64 = 10;
const ROUND_TRIP: Duration = Duration::from_millis(100);
/// Rounds of each file: odd, so that one is in the middle.
const ROUNDS: usize = 3;
/// A player that has no frame by now never will.
const DEADLINE: Duration = Duration::from_secs(60);

/// A name for people, the file, the second in its middle.
type File = (&'static str, PathBuf, u32);

fn files() -> Vec<File> {
    let long = |title, name: &str| (title, variants::path(name), variants::SECONDS / 2);
    vec![
        ("MP4, moov at the end", media::path("film.mp4"), 30),
        ("MP4, moov in front", media::path("film-fast.mp4"), 30),
        ("MP4, fragments with sidx", variants::path("sidx.mp4"), variants::SECONDS / 2),
        ("Matroska, Cues at the end", media::path("film.mkv"), 30),
        long("Matroska, no Cues", "none.mkv"),
        ("MPEG-TS", media::path("film.ts"), 15),
        ("MPEG-PS", media::path("film.mpg"), 10),
        ("AVI", media::path("film.avi"), 10),
        long("FLV, key frames told", "keyframes.flv"),
        ("FLV", media::path("film.flv"), 10),
        long("Ogg, Theora", "long.ogv"),
        long("FLAC", "song.flac"),
        long("MP3", "song.mp3"),
        long("WAV", "song.wav"),
        long("M4A", "song.m4a"),
    ]
}

fn main() {
    let host = Host::start();
    let origins = [media::folder(), variants::folder()].map(|folder| (folder, Nginx::serve(folder)));
    let only = std::env::args().nth(1).filter(|word| !word.starts_with('-'));
    for in_the_middle in [false, true] {
        let place = if in_the_middle { "in the middle" } else { "from the start" };
        println!(
            "{:<28}{:>9}{:>9}{:>7}{:>9}{:>7}   {:<28}",
            format!("first frame {place}"),
            "direct",
            "at once",
            "ratio",
            "ready",
            "ratio",
            "connections/KiB of the three"
        );
        for (title, file, middle) in files() {
            if only.as_ref().is_none_or(|only| file.ends_with(only)) {
                let origin = origins.iter().find(|(folder, _)| file.starts_with(folder)).map(|(_, origin)| origin);
                row(&host, origin.unwrap(), title, &file, in_the_middle.then_some(middle));
            }
        }
        println!();
    }
    println!(
        "  Medians of {ROUNDS} rounds in ms, the ratios those of runs next to each other. {MBIT_PER_S} Mbit/s, {ROUND_TRIP:?} there
  and back, a new line for each run; ffmpeg decodes one frame with its own settings. The host begins with POST /sessions, with
  start_ms in the middle."
    );
}

/// One run.
#[derive(Clone, Copy)]
struct Run {
    ms: f64,
    line: Count,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Directly,
    AtOnce,
    WhenReady,
}

fn row(host: &Host, origin: &Nginx, title: &str, file: &Path, start_s: Option<u32>) {
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let is_sound = ["ogg", "flac", "mp3", "aac", "wav", "m4a"].iter().any(|end| name.ends_with(&format!(".{end}")));
    let run = |way| {
        let relay = Relay::start(origin.address(), Line::of(MBIT_PER_S, ROUND_TRIP));
        let begin = Instant::now();
        let url = match way {
            Way::Directly => relay.url(&name),
            _ => open(host, &relay.url(&name), start_s, way == Way::WhenReady),
        };
        play(&url, is_sound, start_s);
        Run { ms: begin.elapsed().as_secs_f64() * 1e3, line: relay.count() }
    };
    let rounds: Vec<[Run; 3]> = (0..ROUNDS).map(|_| [Way::Directly, Way::AtOnce, Way::WhenReady].map(run)).collect();
    let middle = |value: &dyn Fn(&[Run; 3]) -> f64| median(rounds.iter().map(value).collect());
    let [direct, at_once, ready] = [0, 1, 2].map(|way| middle(&|round| round[way].ms));
    let [once_ratio, ready_ratio] = [1, 2].map(|way| middle(&|round| round[way].ms / round[0].ms));
    let line = [0, 1, 2].map(|way| {
        let connections = middle(&|round| round[way].line.connections as f64);
        let kib = middle(&|round| (round[way].line.down >> 10) as f64);
        format!("{connections:.0}/{kib:.0}")
    });
    println!(
        "  {title:<26}{direct:>9.0}{at_once:>9.0}{once_ratio:>7.2}{ready:>9.0}{ready_ratio:>7.2}   {:<28}",
        line.join("  ")
    );
}

/// Makes a session and gives back what a player is given.
fn open(host: &Host, url: &str, start_s: Option<u32>, waits: bool) -> String {
    let wish = match start_s {
        Some(second) => json!({ "url": url, "start_ms": second * 1000 }),
        None => json!({ "url": url }),
    };
    let session = host.api("POST", "/sessions").json(&wish).send().expect(201);
    if waits {
        let id = session["session_id"].as_str().unwrap();
        let session = host.verdict(id);
        assert_eq!(session["state"], "ready", "{session}");
    }
    session["playback_url"].as_str().unwrap().to_owned()
}

fn play(url: &str, is_sound: bool, start_s: Option<u32>) {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error"]);
    if let Some(second) = start_s {
        command.args(["-ss", &second.to_string()]);
    }
    command.args(["-i", url]);
    command.args(if is_sound { ["-map", "0:a:0", "-frames:a", "1"] } else { ["-map", "0:V:0", "-frames:v", "1"] });
    let mut child = command.args(["-f", "null", "-"]).stdin(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.as_mut().unwrap_or_else(|error| panic!("ffmpeg: {error}; `make tools` installs it"));
    let ended = mediahost_e2e::within(DEADLINE, || child.try_wait().unwrap());
    if ended.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(ended.is_some_and(|status| status.success()), "ffmpeg has no frame of {url}: {ended:?}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
