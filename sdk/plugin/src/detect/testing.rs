//! Runs a detector natively, just as the host would, and compares what it says with FFmpeg.
//!
//! Owns: the host's side of the asking, broken copies of good files, media made by ffmpeg, ffprobe's opinion.
//! Leaves to others: which media to make and what to expect of them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::{Answer, DetectOptions, Detector, Error, File, Layout, MAX_FIRST, MAX_SEEK, Needs, Track, Window, answer};

/// Bytes of the first window.
pub const HEAD_BYTES: u64 = 64 * 1024;
/// How often a detector may ask.
pub const MAX_ROUNDS: u32 = 32;
/// Bytes that a detector may see in all.
pub const MAX_WINDOW_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes that a detector looks at.
pub trait Source {
    fn size(&self) -> u64;
    /// The bytes from `offset` on, fewer where they end.
    fn read(&self, offset: u64, length: u64) -> Vec<u8>;
}

impl Source for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, offset: u64, length: u64) -> Vec<u8> {
        let start = offset.min(self.size()) as usize;
        let end = offset.saturating_add(length).min(self.size()) as usize;
        self[start..end].to_vec()
    }
}

impl Source for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, offset: u64, length: u64) -> Vec<u8> {
        Source::read(self.as_slice(), offset, length)
    }
}

impl Source for std::fs::File {
    fn size(&self) -> u64 {
        self.metadata().expect("the file can be asked for its length").len()
    }

    fn read(&self, offset: u64, length: u64) -> Vec<u8> {
        let (mut file, mut bytes) = (self, Vec::new());
        file.seek(SeekFrom::Start(offset)).expect("the file can be sought");
        file.take(length).read_to_end(&mut bytes).expect("the file can be read");
        bytes
    }
}

/// A long file of which only a few pieces are anything but zeros.
pub struct Sparse {
    pub size: u64,
    pub pieces: Vec<(u64, Vec<u8>)>,
}

impl Source for Sparse {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, length: u64) -> Vec<u8> {
        let end = offset.saturating_add(length).min(self.size);
        let mut bytes = vec![0; end.saturating_sub(offset) as usize];
        for (at, piece) in &self.pieces {
            let (from, to) = (offset.max(*at), end.min(at + piece.len() as u64));
            if from < to {
                bytes[(from - offset) as usize..(to - offset) as usize]
                    .copy_from_slice(&piece[(from - at) as usize..(to - at) as usize]);
            }
        }
        bytes
    }
}

/// How the host looks at a file.
#[derive(Clone, Debug, Default)]
pub struct Look {
    pub name: Option<String>,
    pub start_ms: Option<u64>,
    /// The host does not know how long the file is.
    pub endless: bool,
}

/// What became of a look.
#[derive(Debug)]
pub struct Seen {
    /// None when the format is not the detector's.
    pub layout: Option<Layout>,
    /// How often it asked for more.
    pub rounds: u32,
    /// Bytes that were shown, the head included.
    pub bytes: u64,
}

/// Why there is no layout.
#[derive(Debug)]
pub enum Fault {
    /// The detector said so.
    Said(Error),
    /// It broke a rule of the host.
    Broke(String),
}

/// Looks at a whole file in the usual way.
pub fn look<D: Detector>(source: &(impl Source + ?Sized)) -> Result<Seen, Fault> {
    look_as::<D>(source, &Look::default())
}

/// Looks at a file as the host does: the head, then what is asked for, within the host's limits.
pub fn look_as<D: Detector>(source: &(impl Source + ?Sized), how: &Look) -> Result<Seen, Fault> {
    let size = source.size();
    let known = (!how.endless).then_some(size);
    let mut windows = vec![Window { file: 0, offset: 0, bytes: source.read(0, HEAD_BYTES) }];
    let mut bytes = windows[0].bytes.len() as u64;
    for rounds in 0..=MAX_ROUNDS {
        let files = vec![File { name: how.name.clone(), media_type: None, size: known }];
        let options = DetectOptions { start_ms: how.start_ms, extra: Vec::new() };
        let needs = match answer::<D>(files, windows.clone(), options).map_err(Fault::Said)? {
            Answer::Found(layout) => return Ok(Seen { layout: Some(layout), rounds, bytes }),
            Answer::Unknown => return Ok(Seen { layout: None, rounds, bytes }),
            Answer::Need(needs) => needs,
        };
        check_needs(&needs, known).map_err(Fault::Broke)?;
        bytes += needs.ranges.iter().map(|range| range.length.min(size.saturating_sub(range.offset))).sum::<u64>();
        if bytes > MAX_WINDOW_BYTES {
            return Err(Fault::Broke(format!("it asked for {bytes} bytes in all")));
        }
        for range in needs.ranges {
            let bytes = source.read(range.offset, range.length);
            windows.push(Window { file: 0, offset: range.offset, bytes });
        }
    }
    Err(Fault::Broke(format!("it asked more than {MAX_ROUNDS} times")))
}

fn check_needs(needs: &Needs, size: Option<u64>) -> Result<(), String> {
    if needs.ranges.is_empty() {
        return Err(format!("it asked for nothing that this host has: {needs:?}"));
    }
    match needs.ranges.iter().find(|range| range.length == 0 || size.is_some_and(|size| range.offset >= size)) {
        Some(range) => Err(format!("it asked for {range:?} of {size:?}")),
        None => Ok(()),
    }
}

/// What every layout keeps to, whatever the file.
pub fn check_layout(layout: &Layout, size: u64) {
    assert!(layout.first.len() <= MAX_FIRST && layout.seek.len() <= MAX_SEEK, "too long");
    for range in &layout.first {
        let inside = range.length > 0 && range.offset.checked_add(range.length).is_some_and(|end| end <= size);
        assert!(inside, "{range:?} is not within {size} bytes");
    }
    for pair in layout.seek.windows(2) {
        assert!(pair[0].time_ms < pair[1].time_ms, "seek points out of order: {pair:?}");
    }
    assert!(layout.seek.iter().all(|point| point.offset < size), "a seek point is beyond {size}");
    for track in &layout.tracks {
        assert!(["video", "audio", "subtitle", "data", "attachment"].contains(&track.kind.as_str()), "{}", track.kind);
        assert!(track.frame_rate.is_none_or(|rate| rate.is_finite() && rate > 0.0), "{:?}", track.frame_rate);
    }
}

/// Broken copies of a good file, one for each seed.
const MUTATIONS: u64 = 2_000;
/// Every truncation up to here, and a few hundred beyond.
const EVERY_TRUNCATION: usize = 2_048;

/// Where playing of broken copies starts.
const START_MS: u64 = 1_000;

/// Shows the detector broken copies of a good file: it may say anything, but keeps to the rules.
pub fn hostile<D: Detector>(good: &[u8]) {
    let step = (good.len().saturating_sub(EVERY_TRUNCATION) / 300).max(1);
    let lengths = (0..good.len().min(EVERY_TRUNCATION)).chain((EVERY_TRUNCATION..good.len()).step_by(step));
    for length in lengths {
        survives::<D>(&good[..length], &format!("cut to {length} bytes"), START_MS);
    }
    for seed in 0..MUTATIONS {
        survives::<D>(&mutated(good, seed), &format!("mutated with seed {seed}"), START_MS);
    }
    let longest = Sparse { size: u64::MAX, pieces: vec![(0, good.to_vec())] };
    match look::<D>(&longest) {
        Ok(seen) => seen.layout.iter().for_each(|layout| check_layout(layout, u64::MAX)),
        Err(Fault::Said(_)) => {}
        Err(Fault::Broke(rule)) => panic!("in a file of {} bytes {rule}", u64::MAX),
    }
}

fn survives<D: Detector>(bytes: &[u8], what: &str, start_ms: u64) {
    let how = Look { start_ms: Some(start_ms), endless: bytes.len().is_multiple_of(3), ..Look::default() };
    // Where the end is not known, a layout may believe what the file says of it.
    let size = if how.endless { u64::MAX } else { bytes.len() as u64 };
    let outcome = catch_unwind(AssertUnwindSafe(|| match look_as::<D>(bytes, &how) {
        Ok(seen) => seen.layout.iter().for_each(|layout| check_layout(layout, size)),
        Err(Fault::Said(error)) => assert!(error.code == "damaged" && !error.message.is_empty(), "{error:?}"),
        Err(Fault::Broke(rule)) => panic!("{rule}"),
    }));
    if let Err(panic) = outcome {
        eprintln!("{what}, {} bytes:", bytes.len());
        resume_unwind(panic);
    }
}

/// The same seed always breaks a file in the same way. Heads are broken more often: that is where structure is.
pub fn mutated(good: &[u8], seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below.max(1)
    };
    let mut bytes = good.to_vec();
    for _ in 0..=random(8) {
        let reach = if random(3) == 0 { bytes.len() } else { bytes.len().min(4096) };
        let at = random(reach);
        let Some(byte) = bytes.get_mut(at) else { continue };
        match random(6) {
            0 => *byte ^= 1 << random(8),
            1 => *byte = random(256) as u8,
            2 => bytes[at..].iter_mut().take(4).for_each(|byte| *byte = 0xFF),
            3 => bytes[at..].iter_mut().take(4).for_each(|byte| *byte = 0),
            4 => drop(bytes.drain(at..(at + 1 + random(16)).min(reach))),
            _ => bytes.insert(at, random(256) as u8),
        }
    }
    bytes
}

/// A folder of media for one test, removed with the value.
pub struct Media {
    folder: PathBuf,
}

impl Media {
    /// A fresh folder; `name` tells tests of one process apart.
    pub fn new(name: &str) -> Media {
        let folder = std::env::temp_dir().join(format!("mediahost-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
        Media { folder }
    }

    /// Runs `ffmpeg … file` with the words of `arguments`; the file is `name` in the folder.
    pub fn make(&self, name: &str, arguments: &str) -> PathBuf {
        let path = self.folder.join(name);
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y", "-threads", "1"]);
        command.args(arguments.split_whitespace()).arg(&path).current_dir(&self.folder);
        let output = needed(&mut command);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        path
    }

    /// Writes a file as it is, such as subtitles for `make` to read by its name.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, bytes).expect("the temporary folder can be written");
        path
    }
}

impl Drop for Media {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn needed(command: &mut Command) -> Output {
    match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => panic!("ffmpeg is needed: run `make tools`"),
        Err(error) => panic!("{command:?}: {error}"),
    }
}

/// What ffprobe says of a file: its words for the format and for each stream, by their keys.
#[derive(Debug, Default)]
pub struct Probe {
    pub format: BTreeMap<String, String>,
    pub streams: Vec<BTreeMap<String, String>>,
}

/// Asks ffprobe.
pub fn probe(path: &Path) -> Probe {
    let mut command = Command::new("ffprobe");
    command.args(["-loglevel", "error", "-show_format", "-show_streams", "-of", "default"]).arg(path);
    let output = needed(&mut command);
    let mut probe = Probe::default();
    let mut section = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        match line {
            "[/STREAM]" => probe.streams.push(std::mem::take(&mut section)),
            "[/FORMAT]" => probe.format = std::mem::take(&mut section),
            line => {
                if let Some((key, value)) = line.split_once('=') {
                    section.insert(key.to_string(), value.to_string());
                }
            }
        }
    }
    probe
}

/// Where ffprobe finds the key frames of the first video: milliseconds and offsets, in the order of the file.
pub fn key_frames(path: &Path) -> Vec<(u64, u64)> {
    let mut command = Command::new("ffprobe");
    command.args(["-loglevel", "error", "-select_streams", "v:0", "-show_packets"]);
    command.args(["-show_entries", "packet=pts_time,pos,flags", "-of", "csv=p=0"]).arg(path);
    let output = needed(&mut command);
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let key_frame = |line: &str| {
        let mut words = line.split(',');
        let (time, offset, flags) = (words.next()?, words.next()?, words.next()?);
        let ms = (time.parse::<f64>().ok()?.max(0.0) * 1000.0).round() as u64;
        Some((ms, offset.parse().ok()?)).filter(|_| flags.starts_with('K'))
    };
    lines.lines().filter_map(key_frame).collect()
}

/// Where ffprobe finds packets of a stream (`v:0`, `a:0`): milliseconds from the beginning and offsets, in the order of
/// the file.
pub fn packets(path: &Path, stream: &str) -> Vec<(u64, u64)> {
    let mut command = Command::new("ffprobe");
    command.args(["-loglevel", "error", "-select_streams", stream, "-show_packets"]);
    command.args(["-show_entries", "packet=pts_time,pos", "-of", "csv=p=0"]).arg(path);
    let output = needed(&mut command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let packet = |line: &str| {
        let mut words = line.split(',');
        Some((words.next()?.parse::<f64>().ok()?, words.next()?.parse::<u64>().ok()?))
    };
    let packets: Vec<(f64, u64)> = text.lines().filter_map(packet).collect();
    let first = packets.iter().map(|(seconds, _)| *seconds).fold(f64::MAX, f64::min);
    packets.into_iter().map(|(seconds, offset)| (((seconds - first) * 1000.0).round() as u64, offset)).collect()
}

/// Broken copies of a long file in which a place is looked for.
const BROKEN_STARTS: u64 = 40;
/// How far what is named may be from the time to start from.
const START_TOLERANCE_MS: u64 = 1_000;

/// Asserts that a detector names where playing starts, early, in the middle, late and beyond the end, and besides a tail
/// nothing else changes by it: what is named holds a packet of about that time. Broken copies are looked at, too. Returns the bytes that were shown and named at
/// most.
pub fn agree_on_starts<D: Detector>(path: &Path, stream: &str, duration_ms: u64, rounds: u32) -> (u64, u64) {
    let bytes = std::fs::read(path).expect("the file is there");
    let packets = packets(path, stream);
    let plain = look::<D>(&bytes).expect("the file is good");
    let others = plain.layout.expect("the format is known").first;
    let (mut shown, mut named) = (0, 0);
    for start_ms in [0, 1_500, duration_ms / 9, duration_ms / 2, duration_ms * 6 / 7, duration_ms - 200, u64::MAX] {
        let how = Look { start_ms: Some(start_ms), ..Look::default() };
        let seen = look_as::<D>(&bytes, &how).expect("the file is good");
        let layout = seen.layout.expect("the format is known");
        check_layout(&layout, bytes.len() as u64);
        let what = format!("{} at {start_ms} ms", path.display());
        let (starts, rest): (Vec<_>, Vec<_>) = layout.first.into_iter().partition(|range| range.what == "start");
        let [start] = starts.as_slice() else { panic!("{what}: {} starts are named", starts.len()) };
        let same = |a: &super::IndexRange, b: &super::IndexRange| (a.offset, a.length) == (b.offset, b.length);
        let is_new = |range: &&super::IndexRange| !others.iter().any(|other| same(range, other));
        assert!(others.iter().all(|other| rest.iter().any(|range| same(range, other))), "{what}: {rest:?}");
        assert!(rest.iter().filter(is_new).all(|range| range.what == "tail"), "{what}: {rest:?}");
        assert!(seen.rounds <= plain.rounds + rounds, "{what}: {} rounds, {} without", seen.rounds, plain.rounds);
        let expected = start_ms.min(duration_ms);
        let range = start.offset..start.offset + start.length;
        let holds = |(ms, at): &(u64, u64)| ms.abs_diff(expected) <= START_TOLERANCE_MS && range.contains(at);
        let near = packets.iter().min_by_key(|(ms, _)| ms.abs_diff(expected));
        assert!(packets.iter().any(holds), "{what}: {range:?} is named, {near:?} is wanted, of {}", bytes.len());
        shown = shown.max(seen.bytes - plain.bytes);
        named = named.max(start.length);
    }
    for seed in 0..BROKEN_STARTS {
        survives::<D>(&mutated(&bytes, seed), &format!("mutated with seed {seed}"), duration_ms / 2);
    }
    (shown, named)
}

/// Asserts that a layout says what ffprobe says: format, tracks, and the duration within `tolerance_ms`.
pub fn agree(layout: &Layout, probe: &Probe, tolerance_ms: u64) {
    assert_eq!(Some(&layout.format), probe.format.get("format_name"), "format");
    let seconds = |text: Option<&String>| text.and_then(|text| text.parse::<f64>().ok());
    let expected = seconds(probe.format.get("duration")).map(|s| (s * 1000.0).round() as u64);
    if let Some(expected) = expected {
        let found = layout.duration_ms.unwrap_or_else(|| panic!("no duration, ffprobe says {expected} ms"));
        assert!(found.abs_diff(expected) <= tolerance_ms, "{found} ms, ffprobe says {expected} ms");
    }
    assert_eq!(layout.tracks.len(), probe.streams.len(), "tracks: {:?}", layout.tracks);
    for (track, stream) in layout.tracks.iter().zip(&probe.streams) {
        agree_on_track(track, stream);
    }
}

fn agree_on_track(track: &Track, stream: &BTreeMap<String, String>) {
    let word =
        |key: &str| stream.get(key).filter(|word| !["unknown", "und", "N/A", "0", "0/0"].contains(&word.as_str()));
    let same = |what: &str, found: Option<String>, expected: Option<&String>| {
        if let (Some(found), Some(expected)) = (&found, expected) {
            assert_eq!(found, expected, "{what} of track {}", track.id);
        } else {
            assert!(found.is_none() && expected.is_none(), "{what} of track {}: {found:?}, {expected:?}", track.id);
        }
    };
    same("kind", Some(track.kind.clone()), word("codec_type"));
    same("codec", Some(track.codec.clone()), word("codec_name"));
    if track.kind == "video" {
        same("width", text(track.width), word("width"));
        same("height", text(track.height), word("height"));
    }
    same("rate", text(track.sample_rate), word("sample_rate"));
    same("channels", text(track.channels), word("channels"));
    same("language", track.language.clone(), word("TAG:language"));
    if let (Some(found), Some(expected)) = (track.frame_rate, word("avg_frame_rate").filter(|_| track.kind == "video"))
    {
        let (over, under) = expected.split_once('/').expect("ffprobe writes rates as fractions");
        let expected = over.parse::<f64>().unwrap_or(0.0) / under.parse::<f64>().unwrap_or(1.0);
        assert!((found - expected).abs() < 0.02 * expected, "{found} pictures per second, ffprobe says {expected}");
    }
}

fn text(value: Option<impl Debug>) -> Option<String> {
    value.map(|value| format!("{value:?}"))
}
