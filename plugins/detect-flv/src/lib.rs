//! FLV, its enhanced kind included.
//!
//! Owns: the metadata, what the first tags say of tracks, the duration of files without metadata, key frames, where it
//! is at the time to start from.
//! Leaves to others: fetching (the host), media, encryption, cue points.
//!
//! Invariant: besides a longer `onMetaData` at most the first and the last mebibyte are read, and a few times 256 KiB
//! where playing will start.

mod amf;
mod tags;

use amf::{Object, Value};
use mediahost_plugin_sdk::container_detector;
use mediahost_plugin_sdk::detect::bytes::be_at;
use mediahost_plugin_sdk::detect::{Detector, Layout, MAX_SEEK, READ_AHEAD, SeekPoint, Stop, Subject, Track, thin_out};
use tags::{AUDIO, BACK, SCRIPT, Stream, TAG, Tag, VIDEO, audio_codec, first_tag, fourcc, last_tag, video_codec};

/// Bytes of the header that are there in any case, and a header that is believed.
const HEADER: u64 = 9;
const MAX_HEADER: u64 = 4096;
/// A longer `onMetaData` is named and not read: the key frames of a week fit.
const MAX_SCRIPT: u64 = 4 << 20;
/// Where streams are looked for behind the metadata, and what is usually enough.
const HEAD_BYTES: u64 = 1 << 20;
const HEAD_STEP: u64 = 256 << 10;
/// Tags that are looked at there, at most.
const MAX_TAGS: usize = 8192;
/// Bytes of a tag that are looked at: configurations are short.
const MAX_CONFIG: u64 = 4096;
/// Where the last tag is looked for: the second time for one with a long picture.
const TAILS: [u64; 2] = [64 << 10, 1 << 20];
/// Where the time to start from is looked for, at most, and what is seen of each of these places.
const MAX_PROBES: u32 = 6;
const PROBE_BYTES: u64 = 256 << 10;
/// A place this close in front of the time to start from is good.
const NEAR_MS: u64 = 1_000;
/// What is named there: without key frames it begins in front, since players look for one.
const START_BYTES: u64 = 1 << 20;
const START_LEAD: u64 = 256 << 10;

/// The detector.
pub struct Flv;

container_detector!(Flv, "plugin.json");

impl Detector for Flv {
    fn detect(subject: &Subject) -> Result<Option<Layout>, Stop> {
        let header = subject.read(0, HEADER)?;
        let data = be_at(&header, 5, 4).filter(|data| (HEADER..=MAX_HEADER).contains(data));
        let Some(data) = data.filter(|_| header.starts_with(b"FLV\x01")) else { return Ok(None) };
        let head = Head::read(subject, data + BACK, header[4])?;
        let mut layout = Layout::new("flv").media_type("video/x-flv");
        layout.tracks = head.tracks();
        layout.need_first(0, head.end.min(subject.size().unwrap_or(u64::MAX)), "head");
        if let Some((offset, length)) = head.long_script {
            let size = subject.size().unwrap_or(u64::MAX);
            layout.need_first(offset, length.min(size.saturating_sub(offset)), "onMetaData");
        }
        let told = head.metadata.number("duration").map(|seconds| (seconds * 1000.0).round() as u64);
        layout.duration_ms = told.filter(|ms| *ms > 0);
        if layout.duration_ms.is_none() {
            read_tail(subject, &mut layout, &head)?;
        }
        point(subject, &mut layout, &head.metadata);
        name_start(subject, &mut layout, &head)?;
        layout.estimate_bit_rate(subject.size());
        Ok(Some(layout))
    }
}

/// What the first tags tell.
#[derive(Default)]
struct Head {
    metadata: Object,
    /// The first `onMetaData` that is too long to be read: offset and length.
    long_script: Option<(u64, u64)>,
    /// Types of tags and what the first of them say, in the order in which they appear.
    streams: Vec<(u8, Stream)>,
    /// The time of the first tag of sound or pictures, and where it begins.
    first: Option<(u64, u64)>,
    /// How far a player reads until it knows its streams.
    end: u64,
}

impl Head {
    /// Reads tags until each stream that the header promises has told of itself.
    fn read(subject: &Subject, start: u64, flags: u8) -> Result<Head, Stop> {
        let mut head = Head { end: start, ..Head::default() };
        let (mut at, mut limit) = (start, start + HEAD_BYTES);
        for _ in 0..MAX_TAGS {
            if at >= limit || head.is_complete(flags) {
                break;
            }
            let look = TAG + MAX_CONFIG;
            if at + look > READ_AHEAD {
                let step = if at + look <= HEAD_STEP { HEAD_STEP } else { HEAD_BYTES };
                let stop = (at + look).next_multiple_of(step);
                subject.want(&[(at, stop - at)])?;
            }
            let Some(tag) = Tag::parse(&subject.read(at, TAG)?) else { break };
            let next = at + TAG + tag.length + BACK;
            if tag.kind == SCRIPT {
                head.read_script(subject, at, &tag)?;
                limit = limit.max(next + HEAD_BYTES).min(start + MAX_SCRIPT + 2 * HEAD_BYTES);
            } else {
                head.first = head.first.or(Some((tag.time_ms, at)));
                let body = subject.read(at + TAG, tag.length.min(MAX_CONFIG))?;
                head.learn(tag.kind, Stream::read(&tag, &body));
            }
            at = next;
            head.end = at;
        }
        Ok(head)
    }

    fn read_script(&mut self, subject: &Subject, at: u64, tag: &Tag) -> Result<(), Stop> {
        if tag.length > MAX_SCRIPT {
            self.long_script = self.long_script.or(Some((at, TAG + tag.length)));
            return Ok(());
        }
        let body = subject.read(at + TAG, tag.length)?;
        if let Some(metadata) = amf::metadata(&body).filter(|_| self.metadata == Object::default()) {
            self.metadata = metadata;
        }
        Ok(())
    }

    fn learn(&mut self, kind: u8, stream: Option<Stream>) {
        let Some(stream) = stream else { return };
        match self.streams.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, known)) if known.is_partial && !stream.is_partial => *known = stream,
            Some(_) => {}
            None => self.streams.push((kind, stream)),
        }
    }

    fn is_complete(&self, flags: u8) -> bool {
        let promised = [(VIDEO, flags & 1 != 0), (AUDIO, flags & 4 != 0)];
        let is_told = |kind| self.streams.iter().any(|(known, stream)| *known == kind && !stream.is_partial);
        !self.streams.is_empty() && promised.iter().all(|(kind, promised)| !promised || is_told(*kind))
    }

    /// The streams in the contract's words; their numbers are the types of their tags.
    fn tracks(&self) -> Vec<Track> {
        let mut streams = self.streams.clone();
        for kind in [VIDEO, AUDIO] {
            if let Some(codec) = self.codec_of(kind).filter(|_| !streams.iter().any(|(known, _)| *known == kind)) {
                streams.push((kind, Stream { codec, ..Stream::default() }));
            }
        }
        let describe = |(kind, stream): &(u8, Stream)| {
            let name = if *kind == VIDEO { "video" } else { "audio" };
            let mut track = Track::new((*kind).into(), name, &stream.codec);
            let number = |name| self.metadata.number(name).unwrap_or(0.0);
            if *kind == VIDEO {
                track.picture(number("width") as u32, number("height") as u32);
                stream.describe(&mut track);
                track.pictures_per_second(number("framerate"));
            } else {
                let channels = match self.metadata.get("stereo") {
                    Some(Value::Bool(stereo)) => u32::from(*stereo) + 1,
                    _ => 0,
                };
                track.sound(number("audiosamplerate") as u32, channels);
                stream.describe(&mut track);
            }
            let rate = number(if *kind == VIDEO { "videodatarate" } else { "audiodatarate" });
            track.bit_rate = Some((rate * 1000.0) as u64).filter(|rate| *rate > 0);
            track
        };
        streams.iter().map(describe).collect()
    }

    /// What the metadata say of a stream that no tag was seen of.
    fn codec_of(&self, kind: u8) -> Option<String> {
        match self.metadata.get(if kind == VIDEO { "videocodecid" } else { "audiocodecid" })? {
            Value::Number(number) if (0.0..16.0).contains(number) && kind == VIDEO => Some(video_codec(*number as u8)),
            Value::Number(number) if (0.0..16.0).contains(number) => Some(audio_codec(*number as u8, true)),
            // Enhanced FLV has the four letters as a number.
            Value::Number(number) if *number <= f64::from(u32::MAX) && *number >= 16.0 => {
                Some(fourcc((*number as u32).to_be_bytes()))
            }
            Value::Text(text) => text.as_bytes().try_into().ok().map(fourcc),
            _ => None,
        }
    }
}

/// The last tag tells how long it plays.
fn read_tail(subject: &Subject, layout: &mut Layout, head: &Head) -> Result<(), Stop> {
    let (Some(size), Some((first_ms, first_at))) = (subject.size(), head.first) else { return Ok(()) };
    for length in TAILS {
        let start = size.saturating_sub(length).max(first_at);
        subject.want(&[(start, length)])?;
        let bytes = subject.read(start, length)?;
        if let Some(tag) = last_tag(&bytes) {
            layout.need_first(start, size - start, "tail");
            layout.duration_ms = tag.time_ms.checked_sub(first_ms).filter(|ms| *ms > 0);
            break;
        }
    }
    Ok(())
}

/// The key frames of the metadata.
fn point(subject: &Subject, layout: &mut Layout, metadata: &Object) {
    let Some(Value::Object(frames)) = metadata.get("keyframes") else { return };
    let size = subject.size().unwrap_or(u64::MAX);
    let pairs = frames.numbers("times").iter().zip(frames.numbers("filepositions"));
    let is_good = |seconds: f64, offset: f64| seconds >= 0.0 && offset >= HEADER as f64 && offset < size as f64;
    let points = pairs.filter(|(seconds, offset)| is_good(**seconds, **offset));
    let points = points
        .map(|(seconds, offset)| SeekPoint { time_ms: (seconds * 1000.0).round() as u64, offset: *offset as u64 });
    layout.seek = points.filter(|point| point.offset < size).collect();
    layout.seek.sort_by_key(|point| (point.time_ms, point.offset));
    layout.seek.dedup_by_key(|point| point.time_ms);
    thin_out(&mut layout.seek, MAX_SEEK);
}

/// Where playing will start: at a key frame, or where tags of about that time are found; between places of known time
/// the rate is taken to be constant.
fn name_start(subject: &Subject, layout: &mut Layout, head: &Head) -> Result<(), Stop> {
    let Some(start_ms) = subject.start_ms() else { return Ok(()) };
    if let Some(point) = layout.seek_before(start_ms).copied() {
        let size = subject.size().unwrap_or(u64::MAX);
        layout.need_first(point.offset, START_BYTES.min(size - point.offset), "start");
        return Ok(());
    }
    let (Some(size), Some((first_ms, first_at)), Some(duration_ms)) = (subject.size(), head.first, layout.duration_ms)
    else {
        return Ok(());
    };
    let start_ms = start_ms.min(duration_ms);
    let (mut low, mut high) = ((first_at.min(size), 0), (size, duration_ms));
    let is_found = |low: (u64, u64), high: (u64, u64)| high.0 - low.0 <= START_BYTES || start_ms - low.1 <= NEAR_MS;
    for probe in 0..MAX_PROBES {
        if is_found(low, high) {
            break;
        }
        // Where the rate changes, halving keeps this from creeping up on the place from one side.
        let at = if probe % 2 == 0 { between(low, high, start_ms) } else { low.0.midpoint(high.0) };
        if at <= low.0 || at >= high.0 {
            break;
        }
        let bytes = subject.read(at, PROBE_BYTES)?;
        match first_tag(&bytes).map(|(_, tag)| tag.time_ms.saturating_sub(first_ms)) {
            Some(ms) if ms < low.1 || ms > high.1 => break,
            Some(ms) if ms <= start_ms => low = (at, ms),
            Some(ms) => high = (at, ms),
            None => break,
        }
    }
    let near = if is_found(low, high) { low.0 } else { between(low, high, start_ms) };
    let offset = near.saturating_sub(START_LEAD).max(first_at.min(size));
    layout.need_first(offset, START_BYTES.min(size - offset), "start");
    Ok(())
}

/// The offset at a time between two places.
fn between(low: (u64, u64), high: (u64, u64), ms: u64) -> u64 {
    let (bytes, span) = (high.0.saturating_sub(low.0), high.1.saturating_sub(low.1).max(1));
    let past = u128::from(bytes) * u128::from(ms.saturating_sub(low.1)) / u128::from(span);
    low.0.saturating_add(u64::try_from(past).unwrap_or(bytes).min(bytes.saturating_sub(1)))
}
