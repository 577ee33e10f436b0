//! What the warm-up brings is what a player needs to begin, in each container in each of its awkward variants.
//!
//! A detector names the bytes, the proxy fetches them, ffmpeg is the player. Whether the names are the right ones shows only
//! when the origin is gone at the moment of `ready` and ffmpeg nevertheless gets its first frame, from files that people's
//! tools wrote.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use mediahost_e2e::relay::Line;
use mediahost_e2e::server::{Answer, Asked};
use mediahost_e2e::{Home, Host, Nginx, Relay, Server, Tap, media, variants, within};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Cases at the same time: each waits for its line most of the time.
const AT_ONCE: usize = 4;
/// Ends an ffmpeg that waits for bytes that were not warmed: the host waits longer for its origin.
const DEADLINE: Duration = Duration::from_secs(20);
/// Frames of sound that are decoded.
const SOUNDS: &str = "5";
/// A file of which more than this part was fetched shows nothing about the choice of its bytes.
const MOST: (u64, u64) = (9, 10);
/// Frames at the place to start from lie at most so far from it, in seconds: where there is no index, ffmpeg may begin with
/// the next key frame.
const NEAR_S: f64 = 5.0;
/// From a key frame to the time of [`a_frame_between_key_frames_is_there_with_ready`].
const BETWEEN_MS: u32 = 1_700;
/// What a player reads first at a place, of pictures and of sound.
const PICTURE_BYTES: u64 = 64 << 10;
const SOUND_BYTES: u64 = 16 << 10;
/// The line to the origin.
const MBIT_PER_S: u64 = 200;
const ROUND_TRIP: Duration = Duration::from_millis(20);

/// What shows that the place to start from was warmed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Middle {
    /// ffmpeg gets a frame of it.
    Frame,
    /// The bytes of it are there. ffmpeg itself reads everything up to it: it does not look for the place of a time in such
    /// a file.
    Bytes,
    /// Nobody can know where it is.
    Nowhere,
}

/// A file and what it holds.
struct Case {
    file: PathBuf,
    /// The film itself, where the file is an image.
    film: PathBuf,
    seconds: u32,
    middle: Middle,
    /// What ffmpeg has to be told, so that it seeks as other players do.
    options: &'static [&'static str],
}

fn case(file: PathBuf, seconds: u32) -> Case {
    Case { film: file.clone(), file, seconds, middle: Middle::Frame, options: &[] }
}

/// Every file.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut some = |middle, options, names: &[&str]| {
        for name in names {
            cases.push(Case { middle, options, ..case(variants::path(name), variants::SECONDS) });
        }
    };
    let with_index = [
        "tail.mp4",
        "head.mp4",
        "tail.mov",
        "sidx.mp4",
        "co64.mp4",
        "free.mp4",
        "apart.mp4",
        "tail.mkv",
        "front.mkv",
        "merged.mkv",
        "attached.mkv",
        "tail.webm",
        "idx1.avi",
        "opendml.avi",
        "keyframes.flv",
        "song.wav",
        "song.m4a",
    ];
    some(Middle::Frame, &[], &with_index);
    // Two places of known time are enough for it to find the one between.
    some(Middle::Frame, &[], &["long.ts", "long.m2ts"]);
    // Without this it reads all frames up to the place, since only so it knows the sample.
    some(Middle::Frame, &["-usetoc", "1"], &["song.mp3"]);
    // It halves the file again and again, or reads all of it up to the place.
    let without = [
        "none.mkv",
        "merged-none.mkv",
        "none.webm",
        "told.flv",
        "untold.flv",
        "long.mpg",
        "song.ogg",
        "song.opus",
        "long.ogv",
        "song.flac",
        "cover.flac",
        "song.aac",
        "cover.mp3",
        "junk.mp3",
    ];
    some(Middle::Bytes, &[], &without);
    // Else it looks at each fragment of the whole film before it begins.
    some(Middle::Bytes, &["-fflags", "+ignidx"], &["mfra.mp4"]);
    some(Middle::Nowhere, &["-fflags", "+ignidx"], &["bare.mp4"]);
    for name in ["heavy.mp4", "heavy.mkv", "heavy.flv"] {
        cases.push(Case { middle: Middle::Nowhere, ..case(variants::path(name), variants::HEAVY_SECONDS) });
    }
    // Films of usual rates, of which a second is many bytes.
    for (name, seconds, middle) in [
        ("film.mp4", 60, Middle::Frame),
        ("film-fast.mp4", 60, Middle::Frame),
        ("film.mkv", 60, Middle::Frame),
        ("film.ts", 30, Middle::Bytes),
        ("film.avi", 20, Middle::Frame),
        ("film.flv", 20, Middle::Bytes),
        ("film.mpg", 20, Middle::Bytes),
    ] {
        cases.push(Case { middle, ..case(media::path(name), seconds) });
    }
    let disc = |name: &str, film: PathBuf, seconds| Case { film, ..case(media::folder().join(name), seconds) };
    cases.push(Case { middle: Middle::Bytes, ..disc("dvd.iso", media::path("dvd-film.vob"), 20) });
    cases.push(Case { film: variants::path("long.m2ts"), ..case(variants::path("bluray.iso"), variants::SECONDS) });
    cases
}

/// What is owed: files of which more is needed than is named, and what is missing. Each is a case again without its line here.
type Owed = &'static [(&'static str, &'static str)];

const OWED_FROM_THE_START: Owed = &[];
const OWED_IN_THE_MIDDLE: Owed = &[(
    "attached.mkv",
    "ffmpeg may read on through what is not warmed between the attachments and the place, if that fits its socket's window",
)];
const OWED_BETWEEN_KEY_FRAMES: Owed = &[(
    "attached.mkv",
    "ffmpeg may read on through what is not warmed between the attachments and the place, if that fits its socket's window",
)];

#[test]
fn a_first_frame_is_there_with_ready() {
    judge(cases(), OWED_FROM_THE_START, |stage, case| stage.check(case, None));
}

/// At a key frame, which is where an edit list of some milliseconds makes a difference.
#[test]
fn a_frame_in_the_middle_is_there_with_ready() {
    let cases = cases().into_iter().filter(|case| case.middle != Middle::Nowhere).collect();
    judge(cases, OWED_IN_THE_MIDDLE, |stage, case| stage.check(case, Some(case.seconds / 2 * 1000)));
}

/// Behind a key frame, so that all pictures since then are needed.
#[test]
fn a_frame_between_key_frames_is_there_with_ready() {
    let cases = cases().into_iter().filter(|case| case.middle != Middle::Nowhere).collect();
    judge(cases, OWED_BETWEEN_KEY_FRAMES, |stage, case| stage.check(case, Some(case.seconds / 2 * 1000 + BETWEEN_MS)));
}

/// What is left of a file whose end is missing plays as far as it does without the host, and never hangs.
#[test]
fn a_file_that_was_cut_plays_as_far_as_it_goes() {
    let cut = [
        "tail.mp4",
        "head.mp4",
        "sidx.mp4",
        "mfra.mp4",
        "co64.mp4",
        "tail.mkv",
        "front.mkv",
        "none.mkv",
        "merged.mkv",
        "tail.webm",
        "long.ts",
        "long.m2ts",
        "long.mpg",
        "idx1.avi",
        "opendml.avi",
        "keyframes.flv",
        "untold.flv",
        "song.ogg",
        "song.opus",
        "long.ogv",
        "song.flac",
        "cover.flac",
        "song.mp3",
        "cover.mp3",
        "song.aac",
        "song.wav",
        "song.m4a",
    ];
    let film = |path: &str| {
        let (part, name) = path.split_once('/').unwrap();
        let mut film = fs::read(variants::path(name)).unwrap();
        let kept: usize = part.parse().unwrap();
        film.truncate(if kept <= 100 { film.len() * kept / 100 } else { kept });
        film
    };
    let origin = Server::start(move |asked| {
        answer(asked, film(asked.target.trim_start_matches('/')), "application/octet-stream")
    });
    let folder = TempDir::new().unwrap();
    // Per cent, or bytes.
    let paths = cut.iter().flat_map(|name| ["60", "2500", "70001"].map(|part| format!("{part}/{name}")));
    compare(paths.collect(), |host, path| {
        let local = folder.path().join(path.replace('/', "-"));
        fs::write(&local, film(path)).unwrap();
        let direct = packets(&local.display().to_string());
        let id = host.open(&origin.url(path));
        let session = host.verdict(&id);
        // What ffmpeg cannot play either may be refused.
        if direct.is_empty() && session["state"] == "failed" {
            return Ok(());
        }
        let played = packets(session["playback_url"].as_str().unwrap());
        (session["state"] == "ready" && played == direct)
            .then_some(())
            .ok_or_else(|| format!("{played:?} and not {direct:?}: {session}"))
    });
}

/// Bytes tell what a file is, whatever its name and its server say.
#[test]
fn a_file_under_a_false_name_is_what_it_is() {
    let names = [
        ("head.mp4", "film.mkv", "video/x-matroska", "mov,mp4,m4a,3gp,3g2,mj2"),
        ("tail.mp4", "film.rar", "application/vnd.rar", "mov,mp4,m4a,3gp,3g2,mj2"),
        ("tail.mkv", "film.mp4", "video/mp4", "matroska,webm"),
        ("none.webm", "film.avi", "video/x-msvideo", "matroska,webm"),
        ("long.ts", "film.iso", "application/x-iso9660-image", "mpegts"),
        ("long.m2ts", "film.ts", "text/plain", "mpegts"),
        ("long.mpg", "film.ts", "video/mp2t", "mpeg"),
        // Refused for the type alone: `core/cache` believes a server that calls bytes a document.
        // ("idx1.avi", "film", "text/html", "avi"),
        // ("song.ogg", "page.html", "text/html", "ogg"),
        ("idx1.avi", "film", "image/jpeg", "avi"),
        ("keyframes.flv", "film.zip", "application/zip", "flv"),
        ("song.ogg", "page.html", "text/plain", "ogg"),
        ("song.flac", "song.mp3", "audio/mpeg", "flac"),
        ("song.mp3", "song.flac", "audio/flac", "mp3"),
        ("song.aac", "song.wav", "audio/wav", "aac"),
        ("song.wav", "song.tar", "application/x-tar", "wav"),
        ("song.m4a", "song.ogg", "application/ogg", "mov,mp4,m4a,3gp,3g2,mj2"),
    ];
    let origin = Server::start(move |asked| {
        let name = asked.target.trim_start_matches('/').split('/').next().unwrap();
        let (_, _, media_type, _) = names.iter().find(|(true_name, ..)| *true_name == name).unwrap();
        answer(asked, fs::read(variants::path(name)).unwrap(), media_type)
    });
    compare(names.to_vec(), |host, (name, false_name, _, container)| {
        let (_, session) = host.ready(&origin.url(&format!("{name}/{false_name}")));
        if session["container"] != *container {
            return Err(format!("it is {container}: {session}"));
        }
        let played = packets(session["playback_url"].as_str().unwrap());
        let expected = packets(&variants::path(name).display().to_string());
        (played == expected).then_some(()).ok_or_else(|| format!("{played:?} and not {expected:?}: {session}"))
    });
}

fn answer(asked: &Asked, film: Vec<u8>, media_type: &str) -> Answer {
    let size = film.len() as u64;
    let Some(range) = asked.range(size) else {
        if asked.header("range").is_some() {
            let mut beyond = Answer::of(416, media_type, "");
            beyond.headers.push(("Content-Range".into(), format!("bytes */{size}")));
            return beyond;
        }
        let mut whole = Answer::of(200, media_type, film);
        whole.headers.push(("Accept-Ranges".into(), "bytes".into()));
        return whole;
    };
    let mut part = Answer::of(206, media_type, &film[range.start as usize..range.end as usize]);
    part.headers.push(("Content-Range".into(), format!("bytes {}-{}/{size}", range.start, range.end - 1)));
    part
}

/// A checksum of all packets that ffmpeg finds; empty if it finds none.
fn packets(input: &str) -> String {
    run("ffmpeg", &["-nostdin", "-v", "quiet", "-i", input, "-map", "0", "-c", "copy", "-f", "md5", "-"]).0
}

fn compare<T: std::fmt::Debug + Sync>(cases: Vec<T>, check: impl Fn(&Host, &T) -> Result<(), String> + Sync) {
    let host = Host::start();
    report(&cases, |case| format!("{case:?}"), |case| check(&host, case));
}

/// All cases that are not owed.
fn judge(cases: Vec<Case>, owed: Owed, check: impl Fn(&Stage, &Case) -> Result<(), String> + Sync) {
    let is_owed = |case: &Case| owed.iter().any(|(name, _)| case.file.ends_with(name));
    let cases: Vec<_> = cases.into_iter().filter(|case| !is_owed(case)).collect();
    let stage = Stage::new();
    report(&cases, |case| case.file.display().to_string(), |case| check(&stage, case));
}

/// A few at a time; those that fail are told together.
fn report<T: Sync>(cases: &[T], name: impl Fn(&T) -> String, check: impl Fn(&T) -> Result<(), String> + Sync) {
    let next = Mutex::new(cases.iter());
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let take = || next.lock().unwrap().next();
                while let Some(case) = take() {
                    if let Err(why) = check(case) {
                        failed.lock().unwrap().push((case, why));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let told: String = failed.iter().map(|(case, why)| format!("{}: {why}\n", name(case))).collect();
    assert!(failed.is_empty(), "{} of {}:\n{told}", failed.len(), cases.len());
}

struct Stage {
    host: Host,
    variants: Nginx,
    media: Nginx,
}

impl Stage {
    fn new() -> Stage {
        Stage {
            host: Home::new().start(),
            variants: Nginx::serve(variants::folder()),
            media: Nginx::serve(media::folder()),
        }
    }

    /// Opens a file behind a line that ends with `ready`, and has ffmpeg play from what is there.
    fn check(&self, case: &Case, start_ms: Option<u32>) -> Result<(), String> {
        let origin = if case.file.starts_with(variants::folder()) { &self.variants } else { &self.media };
        // A line of its own, so that it can end, and so that nothing is known of the file.
        let relay = Relay::start(origin.address(), Line::of(MBIT_PER_S, ROUND_TRIP));
        let name = case.file.file_name().unwrap().to_string_lossy();
        let wish = match start_ms {
            Some(start_ms) => json!({ "url": relay.url(&name), "start_ms": start_ms }),
            None => json!({ "url": relay.url(&name) }),
        };
        let made = self.host.api("POST", "/sessions").json(&wish).send().expect(201);
        let id = made["session_id"].as_str().unwrap();
        let session = self.host.verdict(id);
        relay.set(Line { reset_after: Some(0), ..Line::default() });
        relay.cut();
        let down = relay.count().down;
        if session["state"] != "ready" {
            return Err(format!("{session}"));
        }
        let facts = Facts::of(&case.film);
        facts.compare(&session, case.seconds)?;
        let size = session["length"].as_u64().unwrap();
        if down * MOST.1 > size * MOST.0 {
            return Err(format!("{down} of {size} bytes were fetched to be ready"));
        }
        if let (Some(start_ms), Middle::Bytes) = (start_ms, case.middle) {
            return self.check_bytes(case, &facts, id, start_ms);
        }

        let tap = Tap::start(self.host.address());
        let playback = session["playback_url"].as_str().unwrap();
        let path = playback.split_once("/stream/").map(|(_, path)| format!("stream/{path}")).unwrap();
        let expected = frame(&case.film.display().to_string(), facts.is_film, case.options, start_ms);
        let found = frame(&tap.url(&path), facts.is_film, case.options, start_ms);
        if found == expected {
            return facts.is_near(&found, start_ms);
        }
        let asked = tap.deliveries();
        let asked: Vec<_> = asked.iter().map(|one| format!("{} got {:?}", one.asked, one.range)).collect();
        Err(format!("of {size} bytes {down} came. ffmpeg said {found:?} instead of {expected:?}; it asked {asked:#?}"))
    }

    /// Whether the key frame in front of a time is there.
    fn check_bytes(&self, case: &Case, facts: &Facts, id: &str, start_ms: u32) -> Result<(), String> {
        let place = key_frame(&case.film, facts.is_film, start_ms);
        let film = fs::read(&case.film).unwrap();
        let length = if facts.is_film { PICTURE_BYTES } else { SOUND_BYTES };
        let range = place..(place + length).min(film.len() as u64);
        let answer = self.host.stream(id).range(&range).try_send().and_then(|answer| answer.try_bytes());
        match answer {
            Ok(bytes) if bytes == film[range.start as usize..range.end as usize] => Ok(()),
            Ok(_) => Err(format!("other bytes in {range:?}")),
            Err(error) => Err(format!("the bytes {range:?} of the picture at {start_ms} ms are not there: {error}")),
        }
    }
}

/// What ffprobe says of a file.
struct Facts {
    container: String,
    tracks: Vec<(String, String)>,
    duration_s: Option<f64>,
    start_s: f64,
    is_film: bool,
}

impl Facts {
    fn of(file: &Path) -> Facts {
        let entries =
            "format=format_name,duration,start_time:stream=codec_type,codec_name:stream_disposition=attached_pic";
        let file = file.display().to_string();
        let (told, _) = run("ffprobe", &["-v", "error", "-of", "json", "-show_entries", entries, &file]);
        let told: Value = serde_json::from_str(&told).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let number = |name: &str| told["format"][name].as_str().and_then(|number| number.parse::<f64>().ok());
        // Covers, attachments and the data of menus are no tracks: nothing of them is played.
        let is_played = |stream: &&Value| {
            stream["disposition"]["attached_pic"] != 1
                && !matches!(stream["codec_type"].as_str(), Some("attachment" | "data"))
        };
        let streams = told["streams"].as_array().unwrap().iter().filter(is_played);
        let tracks: Vec<_> = streams.map(|stream| (text(&stream["codec_type"]), text(&stream["codec_name"]))).collect();
        Facts {
            container: text(&told["format"]["format_name"]),
            is_film: tracks.iter().any(|(kind, _)| kind == "video"),
            tracks,
            duration_s: number("duration"),
            start_s: number("start_time").unwrap_or(0.0),
        }
    }

    fn compare(&self, session: &Value, seconds: u32) -> Result<(), String> {
        if session["container"] != json!(self.container) {
            return Err(format!("the container is {} and not {}", session["container"], self.container));
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let tracks = session["tracks"].as_array().cloned().unwrap_or_default();
        let tracks: Vec<_> = tracks.iter().map(|track| (text(&track["kind"]), text(&track["codec"]))).collect();
        if tracks != self.tracks {
            return Err(format!("the tracks are {tracks:?} and not {:?}", self.tracks));
        }
        // Where ffprobe takes the first bytes for the rest, the truth will do, too.
        let told = session["duration_ms"].as_f64().map(|ms| ms / 1000.0);
        let expected = [self.duration_s, Some(f64::from(seconds))];
        let is_right = |told: f64| expected.iter().flatten().any(|right| (told - right).abs() <= right / 100.0);
        told.is_some_and(is_right)
            .then_some(())
            .ok_or_else(|| format!("the duration is {told:?} s and not {expected:?}"))
    }

    /// Whether the first frame that ffmpeg wrote is of about this time.
    fn is_near(&self, (frames, _): &(String, String), start_ms: Option<u32>) -> Result<(), String> {
        let base = frames.lines().find_map(|line| line.strip_prefix("#tb 0: "));
        let base = base
            .and_then(|base| base.split_once('/'))
            .map(|(over, under)| over.trim().parse::<f64>().unwrap() / under.trim().parse::<f64>().unwrap());
        let time = frames.lines().find(|line| !line.starts_with('#')).and_then(|line| line.split(',').nth(2));
        let (Some(base), Some(time)) = (base, time.and_then(|time| time.trim().parse::<f64>().ok())) else {
            return Err(format!("no frame in {frames:?}"));
        };
        let (found, wanted) = (time * base, f64::from(start_ms.unwrap_or(0)) / 1000.0 + self.start_s);
        ((found - wanted).abs() <= NEAR_S).then_some(()).ok_or_else(|| format!("a frame of {found} s and not {wanted}"))
    }
}

/// The first picture of a film, or the first frames of a sound, at a time: their times and checksums, and what ffmpeg said
/// besides.
fn frame(input: &str, is_film: bool, options: &[&str], start_ms: Option<u32>) -> (String, String) {
    let mut arguments = vec!["-nostdin", "-v", "error", "-copyts"];
    let start = start_ms.map(seconds).unwrap_or_default();
    if start_ms.is_some() {
        arguments.extend(["-ss", &start]);
    }
    arguments.extend(options);
    arguments.extend(["-i", input]);
    arguments.extend(if is_film {
        ["-map", "0:V:0", "-frames:v", "1"]
    } else {
        ["-map", "0:a:0", "-frames:a", SOUNDS]
    });
    arguments.extend(["-f", "framecrc", "-"]);
    run("ffmpeg", &arguments)
}

/// Where the picture begins with which playing from a time begins.
fn key_frame(film: &Path, is_film: bool, start_ms: u32) -> u64 {
    let interval = format!("{}%+#1", seconds(start_ms));
    let film = film.display().to_string();
    let arguments =
        ["-v", "error", "-select_streams", if is_film { "V:0" } else { "a:0" }, "-read_intervals", &interval];
    let shown = ["-show_entries", "packet=pos", "-of", "csv=p=0", &film];
    let (found, _) = run("ffprobe", &[&arguments[..], &shown].concat());
    let found = found.lines().next().and_then(|line| line.trim_end_matches(',').parse().ok());
    found.unwrap_or_else(|| panic!("{film} has nothing at {start_ms} ms"))
}

fn seconds(ms: u32) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// What a tool printed, and what it complained about, without addresses of memory.
fn run(program: &str, arguments: &[&str]) -> (String, String) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}; `make tools` installs it"));
    // What it prints fits into the pipes.
    let ended = within(DEADLINE, || child.try_wait().unwrap()).is_some();
    if !ended {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let mut said: Vec<_> = said.lines().map(|line| line.split_once("] ").map_or(line, |(_, said)| said)).collect();
    if !ended {
        said.push("and waited for more");
    }
    (String::from_utf8_lossy(&output.stdout).into_owned(), said.join("\n"))
}
