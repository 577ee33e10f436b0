//! The example player decodes songs while they are still arriving, seeks, and hears what FFmpeg hears.
//!
//! What the client library promises to decoders shows only with real decoders: they look at the end of a file first, leap
//! within it, and take a wrong byte for another sound.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use mediahost_e2e::relay::Line;
use mediahost_e2e::songs::{self, Decoded};
use mediahost_e2e::{Host, Nginx, Relay};
use serde_json::Value;

/// So long takes each file over its line, in seconds: many times as long as the first look at its head and its end.
const LINE_S: u64 = 8;
const ROUND_TRIP: Duration = Duration::from_millis(20);
/// What the host takes of any file before it knows what to do with it. Of a shorter one nothing is left to arrive.
const FIRST_LOOK_BYTES: u64 = 256 << 10;
/// What was on its way to one place when the player left for another, and is asked for again.
const GIVEN_UP_BYTES: u64 = 256 << 10;
/// Lossy decoders agree on levels to within this.
const LEVEL_DB: f64 = 0.2;
/// FNV-1a, 64 bits.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// A file and what should be heard of it.
struct Song {
    name: &'static str,
    codec: &'static str,
    container: &'static str,
    /// What the two decoders may disagree on at the beginning and the end, in samples per channel: the delay of the encoder
    /// that one of them takes away.
    delay: u64,
    /// What they may disagree on where a seek leads to.
    seek: u64,
    /// Whether every sample is the same.
    lossless: bool,
    /// Places of the file that are looked at before the first sample.
    looks: u64,
}

/// A frame of AAC. An encoder begins with one of silence and fills up the last one. In MP4 an edit list says so, which FFmpeg
/// follows and Symphonia does not read; in ADTS nobody says so, and both play it.
const AAC_FRAME: u64 = 1024;
const EDITED: u64 = 2 * AAC_FRAME;
/// What a decoder of MP3 and its encoder add (528 + 1 and 576): LAME's tag says so, and both take it away.
const MP3_FRAME: u64 = 1152;
/// What an encoder of Opus adds (312 samples) at 48 kHz. The first packet says so.
const OPUS_DELAY: u64 = 312;

const fn song(name: &'static str, codec: &'static str, container: &'static str, delay: u64, seek: u64) -> Song {
    Song { name, codec, container, delay, seek, lossless: false, looks: 2 }
}

const SONGS: &[Song] = &[
    song("song.mp3", "mp3", "mp3", 0, MP3_FRAME),
    // Nothing in ADTS says how long it is, so Symphonia takes samples of it.
    Song { looks: 5, ..song("song.aac", "aac", "aac", 0, AAC_FRAME) },
    Song { lossless: true, ..song("song.flac", "flac", "flac", 0, 0) },
    song("song.ogg", "vorbis", "ogg", 0, 0),
    song("song.opus", "opus", "ogg", 0, OPUS_DELAY),
    song("voice.opus", "opus", "ogg", 0, OPUS_DELAY),
    Song { lossless: true, ..song("song.wav", "pcm_s16le", "wave", 0, 0) },
    song("song.m4a", "aac", "isomp4", EDITED, AAC_FRAME),
    song("song-fragmented.mp4", "aac", "isomp4", EDITED, AAC_FRAME),
];

#[test]
fn hears_what_ffmpeg_hears() {
    let origin = Nginx::serve(songs::folder());
    let host = Host::start();
    // Each over a line of its own, all at once: the lines are what takes the time.
    std::thread::scope(|scope| {
        for song in SONGS {
            let (host, origin) = (&host, &origin);
            scope.spawn(move || check(host, origin, song));
        }
    });
}

fn check(host: &Host, origin: &Nginx, song: &Song) {
    let name = song.name;
    let length = songs::length(name);
    let relay = Relay::start(origin.address(), Line { rate: Some(length / LINE_S), ..Line::of(1, ROUND_TRIP) });
    let middle = f64::from(songs::SECONDS / 2);
    let late = f64::from(songs::SECONDS * 9 / 10);
    let heard = play(host, &[middle, late], &relay.url(name));
    let ffmpeg = songs::decoded(name);

    assert_eq!(heard["codec"], song.codec, "{name}: {heard}");
    assert_eq!(heard["container"], song.container, "{name}: {heard}");
    assert_eq!(heard["sample_rate"], ffmpeg.rate, "{name}: {heard}");
    assert_eq!(heard["channels"], ffmpeg.channels, "{name}: {heard}");

    // While the file was arriving.
    let arrived = heard["at_first_sample"]["bytes"].as_u64().unwrap_or_else(|| panic!("{name}: {heard}"));
    assert!(
        length < FIRST_LOOK_BYTES || (1..length).contains(&arrived),
        "{name}: the first of {length} bytes' samples came after {arrived}: {heard}"
    );
    assert_eq!(heard["length"], length, "{name}: {heard}");
    let came = relay.count().down;
    let most = length + song.looks * GIVEN_UP_BYTES;
    assert!(came <= most, "{name}: {came} bytes came for {length}: {heard}");

    // All of it, and from the places that were leapt to.
    let segments = heard["segments"].as_array().unwrap_or_else(|| panic!("{name}: {heard}"));
    assert_eq!(segments.len(), 3, "{name}: {heard}");
    for (segment, from_s) in segments.iter().zip([0.0, middle, late]) {
        let tolerance = if from_s > 0.0 { song.delay + song.seek } else { song.delay };
        compare(song, segment, &ffmpeg, from_s, tolerance);
    }
}

fn compare(song: &Song, segment: &Value, ffmpeg: &Decoded, from_s: f64, tolerance: u64) {
    let told = format!("{} from {from_s} s: {segment}", song.name);
    let skipped = (from_s * f64::from(ffmpeg.rate)) as usize;
    let expected = &ffmpeg.samples[skipped * ffmpeg.channels..];
    let frames = (expected.len() / ffmpeg.channels) as u64;
    let heard = segment["samples"].as_u64().unwrap_or_else(|| panic!("{told}"));
    assert!(heard.abs_diff(frames) <= tolerance, "{told}: FFmpeg decodes {frames} samples of {}", ffmpeg.frames());
    let duration = heard as f64 / f64::from(ffmpeg.rate);
    assert!((segment["duration_s"].as_f64().unwrap() - duration).abs() < 1e-6, "{told}");
    assert_eq!(segment["damaged"], 0, "{told}");
    // The song grows louder from second to second, so that another place has another level.
    let squares: f64 = expected.iter().map(|&sample| (f64::from(sample) / 32768.0).powi(2)).sum();
    let rms_db = 10.0 * (squares / expected.len() as f64).log10();
    assert!((segment["rms_db"].as_f64().unwrap() - rms_db).abs() <= LEVEL_DB, "{told}: FFmpeg's is {rms_db:.2} dB");
    if song.lossless {
        let bytes = expected.iter().flat_map(|sample| sample.to_le_bytes());
        let checksum = bytes.fold(FNV_BASIS, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(FNV_PRIME));
        assert_eq!(segment["checksum"], format!("{checksum:016x}"), "{told}");
    }
}

#[test]
fn says_what_is_wrong() {
    let origin = Nginx::serve(songs::folder());
    let host = Host::start();
    let (status, _, told) = run(&host, &[&origin.url("no-such-song.mp3")]);
    assert!(status == Some(1) && told.contains("not-found"), "{status:?}: {told}");
    let (status, _, told) = run(&host, &["gopher://example.org/song.mp3"]);
    assert!(status == Some(1) && told.contains("unknown-scheme"), "{status:?}: {told}");
    let (status, _, told) = run(&host, &["--seek", "soon", "x"]);
    assert!(status == Some(2) && told.contains("usage"), "{status:?}: {told}");
    // For people, without --json.
    let (status, heard, told) = run(&host, &[&origin.url("song.flac")]);
    assert!(status == Some(0) && heard.contains("flac in flac, 44100 Hz, 2 channels"), "{status:?}: {heard}{told}");
}

/// What the player says in JSON.
fn play(host: &Host, seeks: &[f64], url: &str) -> Value {
    let seeks: Vec<String> = seeks.iter().flat_map(|at| ["--seek".into(), at.to_string()]).collect();
    let mut arguments: Vec<&str> = seeks.iter().map(String::as_str).collect();
    arguments.extend(["--json", url]);
    let (status, heard, told) = run(host, &arguments);
    assert_eq!(status, Some(0), "{url}: {told}");
    serde_json::from_str(&heard).unwrap_or_else(|error| panic!("{url}: {error}: {heard}"))
}

/// How it ended, what it printed, and what it complained about.
fn run(host: &Host, arguments: &[&str]) -> (Option<i32>, String, String) {
    let program = program();
    let output = Command::new(&program)
        .args(["--host", &format!("http://{}", host.address()), "--token-file"])
        .arg(host.home().data().join("admin.token"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; `make programs` builds it", program.display()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn program() -> PathBuf {
    let program = Path::new(&mediahost_e2e::root()).join("target/examples/release/play-audio");
    assert!(program.exists(), "{} is not there; `make programs` builds it", program.display());
    program
}
