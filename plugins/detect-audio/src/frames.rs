//! Sound without a container: frames of MPEG audio or of AAC, one after the other.
//!
//! MPEG audio may tell its length in its first frame (Xing, Info, VBRI). Otherwise the frames of the head are taken for
//! the rest.

use mediahost_plugin_sdk::detect::bytes::{be_at, find};
use mediahost_plugin_sdk::detect::codec::{Adts, MpegAudio, adts, mpeg_audio};
use mediahost_plugin_sdk::detect::seek::Reach;
use mediahost_plugin_sdk::detect::{Layout, READ_AHEAD, SeekPoint, Stop, Subject, Track};

use crate::{millis, name_tail, search};

/// Frames in a row that must fit where the file begins with one, and where it begins with something else.
const FRAMES_AT_START: usize = 2;
const FRAMES_IN_MIDDLE: usize = 4;
/// What is named where frames of one length are, so that the place at a time can be told.
const EVEN: Reach = Reach { least: READ_AHEAD, ..Reach::SOUND };
/// Where frames vary in length, the place may be off by such a part of all bytes.
const SLACK: u64 = 128;
/// A table in the first frame counts in such parts of all bytes.
const TABLE_SLACK: u64 = 256;
/// Frames behind a table that a player reads before it plays.
const OPENING_BYTES: u64 = 32 << 10;
/// How far the first frame is looked for.
const MAX_JUNK: usize = 16 << 10;

pub fn read(subject: &Subject, start: u64) -> Result<Option<Layout>, Stop> {
    let head = subject.read(start, READ_AHEAD)?;
    let ends = (head.len() as u64) < READ_AHEAD;
    if let Some(run) = Run::of(&head, 0, ends, FRAMES_AT_START, adts_frame) {
        return Ok(adts(&head).map(|first| read_adts(subject, start, first, &run)));
    }
    // Whether frames in the middle belong to sound is less sure: something must have promised it.
    let promised = start > 0 || subject.media_type() == Some("audio/mpeg") || named_so(subject);
    let last = if promised { MAX_JUNK.min(head.len()) } else { 0 };
    for at in std::iter::once(0).chain(candidates(&head, last)) {
        let frames = if at == 0 { FRAMES_AT_START } else { FRAMES_IN_MIDDLE };
        if let Some(run) = Run::of(&head, at, ends, frames, mpeg_frame)
            && let Some(first) = mpeg_audio(&head[at..])
        {
            return Ok(Some(read_mpeg(subject, start + at as u64, &head[at..], first, &run)));
        }
    }
    Ok(None)
}

fn named_so(subject: &Subject) -> bool {
    let name = subject.name().unwrap_or_default().to_ascii_lowercase();
    [".mp3", ".mp2", ".mpga"].iter().any(|end| name.ends_with(end))
}

fn candidates(head: &[u8], last: usize) -> impl Iterator<Item = usize> {
    let mut from = 1;
    std::iter::from_fn(move || {
        let at = find(head.get(..last)?, &[0xFF], from)?;
        from = at + 1;
        Some(at)
    })
}

/// A frame's length and bits per second times its samples; two of one run have the same key.
struct Frame {
    length: usize,
    samples: u32,
    key: (u32, u8, bool),
}

fn mpeg_frame(bytes: &[u8]) -> Option<Frame> {
    let MpegAudio { length, samples, sound, layer, first_version, .. } = mpeg_audio(bytes)?;
    Some(Frame { length, samples, key: (sound.sample_rate, layer, first_version) })
}

fn adts_frame(bytes: &[u8]) -> Option<Frame> {
    let Adts { length, samples, sound } = adts(bytes)?;
    Some(Frame { length, samples, key: (sound.sample_rate, 0, false) })
}

/// Frames that follow each other.
struct Run {
    bytes: u64,
    samples: u64,
}

impl Run {
    /// All frames from `at` on, when at least `least` fit, or fewer that end with the file.
    fn of(head: &[u8], at: usize, ends: bool, least: usize, read: fn(&[u8]) -> Option<Frame>) -> Option<Run> {
        let (mut run, mut key, mut count, mut next) = (Run { bytes: 0, samples: 0 }, None, 0, at);
        while let Some(frame) = head.get(next..).and_then(read).filter(|frame| frame.length > 0) {
            if *key.get_or_insert(frame.key) != frame.key {
                break;
            }
            (run.bytes, run.samples) = (run.bytes + frame.length as u64, run.samples + u64::from(frame.samples));
            (count, next) = (count + 1, next + frame.length);
        }
        let to_the_end = ends && next == head.len() && count > 0 && at == 0;
        (count >= least || to_the_end).then_some(run)
    }

    /// The duration of more bytes of the same kind.
    fn duration_ms(&self, bytes: u64, rate: u32) -> Option<u64> {
        let samples = u128::from(bytes) * u128::from(self.samples) / u128::from(self.bytes.max(1));
        millis(u64::try_from(samples).ok()?, rate)
    }
}

fn read_adts(subject: &Subject, start: u64, first: Adts, run: &Run) -> Layout {
    let mut layout = Layout::new("aac").media_type("audio/aac");
    let mut track = Track::new(0, "audio", "aac");
    track.sound(first.sound.sample_rate, first.sound.channels);
    let bytes = subject.size().map(|size| size.saturating_sub(start));
    layout.duration_ms = bytes.and_then(|bytes| run.duration_ms(bytes, first.sound.sample_rate));
    layout.tracks.push(track);
    layout.need_first(start, run.bytes.min(bytes.unwrap_or(run.bytes)), "frames");
    name_tail(subject, start + run.bytes, &mut layout);
    if let Some(search) = search(subject, &layout, start, None) {
        search.name(&mut layout, &Reach { slack: bytes.unwrap_or(0) / SLACK, ..EVEN });
    }
    layout
}

fn read_mpeg(subject: &Subject, start: u64, head: &[u8], first: MpegAudio, run: &Run) -> Layout {
    let mut layout = Layout::new("mp3").media_type("audio/mpeg");
    let mut track = Track::new(0, "audio", first.codec());
    track.sound(first.sound.sample_rate, first.sound.channels);
    let rate = first.sound.sample_rate;
    let bytes = subject.size().map(|size| size.saturating_sub(start));
    let index = Index::read(head, first);
    let told = index.as_ref().and_then(|index| index.frames).map(|frames| u64::from(frames) * u64::from(first.samples));
    layout.duration_ms = told.and_then(|samples| millis(samples, rate)).or_else(|| run.duration_ms(bytes?, rate));
    let (length, what) = match &index {
        Some(index) => ((first.length as u64).saturating_add(OPENING_BYTES), index.what),
        None => (run.bytes, "frames"),
    };
    match (&index, layout.duration_ms, bytes) {
        (Some(index), Some(ms), Some(bytes)) => layout.seek = index.points(start, ms, bytes, first),
        (None, ..) => track.bit_rate = Some(first.bit_rate.into()),
        _ => {}
    }
    layout.tracks.push(track);
    layout.need_first(start, length.min(bytes.unwrap_or(length)), what);
    name_tail(subject, start + length, &mut layout);
    name_start(subject, &mut layout, start, index.as_ref());
    layout
}

/// Names where playing will start: frames of one bit rate need no table.
fn name_start(subject: &Subject, layout: &mut Layout, start: u64, index: Option<&Index>) {
    let told = index.and_then(|index| index.bytes);
    let end = told.map(|bytes| start.saturating_add(bytes));
    let Some(mut search) = search(subject, layout, start, end) else { return };
    let bytes = told.or(subject.size()).unwrap_or(0);
    let slack = match index {
        None => 0,
        Some(index) if index.what == "info" => 0,
        Some(_) if !search.learn(&layout.seek) => bytes / SLACK,
        Some(index) if index.places.is_empty() => 0,
        Some(_) => bytes / TABLE_SLACK,
    };
    search.name(layout, &Reach { slack, ..EVEN });
}

/// What an encoder wrote into the first frame in place of sound.
struct Index {
    what: &'static str,
    frames: Option<u32>,
    bytes: Option<u64>,
    /// A hundred places, each in 256ths of the bytes.
    places: Vec<u8>,
    /// Or the bytes of runs of so many frames.
    runs: Vec<u64>,
    frames_per_run: u64,
}

impl Index {
    fn read(head: &[u8], first: MpegAudio) -> Option<Index> {
        let mono = first.sound.channels == 1;
        let side = match (first.first_version, mono) {
            (true, false) => 32,
            (true, true) | (false, false) => 17,
            (false, true) => 9,
        };
        let frame = head.get(..first.length)?;
        let at = 4 + side;
        match frame.get(at..at + 4)? {
            b"Xing" => Index::read_xing(frame.get(at + 4..)?, "xing"),
            b"Info" => Index::read_xing(frame.get(at + 4..)?, "info"),
            _ if frame.get(36..40)? == b"VBRI" => Some(Index::read_vbri(&frame[36..])),
            _ => None,
        }
    }

    fn read_vbri(fields: &[u8]) -> Index {
        let number = |at, length| be_at(fields, at, length);
        let (runs, scale) = (number(18, 2).unwrap_or(0) as usize, number(20, 2).unwrap_or(0));
        // An entry has one to four bytes.
        let entry = number(22, 2).filter(|bytes| (1..=4).contains(bytes)).unwrap_or(4) as usize;
        let table = fields.get(26..).unwrap_or_default().chunks_exact(entry).take(runs);
        Index {
            what: "vbri",
            frames: number(14, 4).map(|frames| frames as u32),
            bytes: number(10, 4),
            places: Vec::new(),
            runs: table.filter_map(|bytes| Some(be_at(bytes, 0, entry)? * scale)).collect(),
            frames_per_run: number(24, 2).unwrap_or(0),
        }
    }

    fn read_xing(fields: &[u8], what: &'static str) -> Option<Index> {
        let flags = be_at(fields, 0, 4)?;
        let mut at = 4;
        let mut field = |flag: u64, length: usize| {
            let from = at;
            at += if flags & flag != 0 { length } else { 0 };
            (flags & flag != 0).then(|| fields.get(from..from + length)).flatten()
        };
        let number = |bytes: Option<&[u8]>| bytes.and_then(|bytes| be_at(bytes, 0, 4));
        let frames = number(field(1, 4)).map(|frames| frames as u32).filter(|frames| *frames > 0);
        let bytes = number(field(2, 4)).filter(|bytes| *bytes > 0);
        let places = field(4, 100).unwrap_or_default().to_vec();
        Some(Index { what, frames, bytes, places, runs: Vec::new(), frames_per_run: 0 })
    }

    fn points(&self, start: u64, duration_ms: u64, in_file: u64, first: MpegAudio) -> Vec<SeekPoint> {
        if !self.runs.is_empty() {
            return self.points_of_runs(start, in_file, first);
        }
        let bytes = self.bytes.unwrap_or(in_file).min(in_file);
        let point = |(index, place): (usize, &u8)| SeekPoint {
            time_ms: (u128::from(duration_ms) * index as u128 / 100) as u64,
            offset: start + (u128::from(bytes) * u128::from(*place) / 256) as u64,
        };
        let mut points: Vec<SeekPoint> = self.places.iter().enumerate().map(point).collect();
        if points.windows(2).any(|pair| pair[0].offset > pair[1].offset) {
            return Vec::new();
        }
        points.dedup_by_key(|point| point.time_ms);
        points
    }

    /// Where runs of frames begin, as far as the file reaches.
    fn points_of_runs(&self, start: u64, in_file: u64, first: MpegAudio) -> Vec<SeekPoint> {
        let samples = self.frames_per_run * u64::from(first.samples);
        let Some(last) = millis(samples * self.runs.len() as u64, first.sound.sample_rate) else { return Vec::new() };
        let mut past = 0;
        let point = |(index, bytes): (usize, &u64)| {
            let offset = start + past;
            past += bytes;
            SeekPoint { time_ms: last * index as u64 / self.runs.len() as u64, offset }
        };
        let mut points: Vec<SeekPoint> = self.runs.iter().enumerate().map(point).collect();
        points.retain(|point| point.offset < start.saturating_add(in_file));
        points.dedup_by_key(|point| point.time_ms);
        points
    }
}
