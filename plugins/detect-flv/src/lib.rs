//! FLV, its enhanced kind included.
//!
//! Owns: the metadata, what the first tags say of tracks, the duration of files without metadata, key frames, where it
//! is at the time to start from.
//! Leaves to others: fetching (the host), media, encryption, cue points.
//!
//! Invariant: besides a longer `onMetaData` at most the first and the last mebibyte are read, and a few times a mebibyte
//! at most where playing will start.

mod amf;
mod tags;

use amf::{Object, Value};
use mediahost_plugin_sdk::container_detector;
use mediahost_plugin_sdk::detect::bytes::be_at;
use mediahost_plugin_sdk::detect::opening::{TOLD_PICTURES, UNTOLD_PICTURES, from_key_frame, pictures_bytes};
use mediahost_plugin_sdk::detect::seek::{Probes, Reach, Search};
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
/// How the time to start from is looked for: pictures are long, and only where tags begin they tell their time.
const PROBES: Probes = Probes { bytes: 256 << 10, most_bytes: 1 << 20 };
/// What is named behind the configurations, at most.
const MAX_OPENING: u64 = 4 << 20;

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
        if let Some((offset, length)) = head.long_script {
            let size = subject.size().unwrap_or(u64::MAX);
            layout.need_first(offset, length.min(size.saturating_sub(offset)), "onMetaData");
        }
        let told = head.metadata.number("duration").map(|seconds| (seconds * 1000.0).round() as u64);
        layout.duration_ms = told.filter(|ms| *ms > 0);
        if layout.duration_ms.is_none() {
            read_tail(subject, &mut layout, &head)?;
        }
        name_opening(subject, &mut layout, &head);
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
    /// Where the first tag of pictures behind that ends, if it begins in what is at hand; else the same.
    picture_end: u64,
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
        head.find_picture(subject)?;
        Ok(head)
    }

    /// Goes over the tags that are at hand anyway to the first of pictures.
    fn find_picture(&mut self, subject: &Subject) -> Result<(), Stop> {
        let mut at = self.end;
        self.picture_end = at;
        while at.saturating_add(TAG) <= READ_AHEAD {
            let Some(tag) = Tag::parse(&subject.read(at, TAG)?) else { break };
            at += TAG + tag.length + BACK;
            if tag.kind == VIDEO {
                self.picture_end = at;
                break;
            }
        }
        Ok(())
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
        if let Some((_, tag)) = last_tag(&bytes) {
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

/// What a player reads before it shows the first picture: the head tells no list of tracks and often not how many pictures
/// a second has, so that it looks at many of them.
fn name_opening(subject: &Subject, layout: &mut Layout, head: &Head) {
    let size = subject.size().unwrap_or(u64::MAX);
    let many = pictures_bytes(layout, subject.size(), UNTOLD_PICTURES);
    let few = pictures_bytes(layout, subject.size(), TOLD_PICTURES);
    // The first picture may be as long as a second of others.
    let end = head.end.saturating_add(many).max(head.picture_end.saturating_add(few));
    let end = end.min(head.end.saturating_add(MAX_OPENING)).min(size);
    layout.need_first(0, end, "head");
    layout.first.rotate_right(1);
}

/// Where playing will start: at a key frame, or where tags of about that time are found; between places of known time
/// the rate is taken to be constant.
fn name_start(subject: &Subject, layout: &mut Layout, head: &Head) -> Result<(), Stop> {
    let Some(start_ms) = subject.start_ms() else { return Ok(()) };
    if let Some((offset, length)) = from_key_frame(layout, subject.size(), start_ms) {
        layout.need_first(offset, length, "start");
        return Ok(());
    }
    let (Some(size), Some((first_ms, first_at)), Some(duration_ms)) = (subject.size(), head.first, layout.duration_ms)
    else {
        return Ok(());
    };
    let (first, end) = (SeekPoint { time_ms: 0, offset: first_at }, SeekPoint { time_ms: duration_ms, offset: size });
    let Some(mut search) = Search::new(start_ms, first, end) else { return Ok(()) };
    let reach = Reach::of(layout);
    search.narrow(subject, &PROBES, &reach, |at, bytes| {
        let place = |at: usize, tag: Tag, from: u64| {
            Some(SeekPoint { time_ms: tag.time_ms.checked_sub(first_ms)?, offset: from + at as u64 })
        };
        let found = first_tag(bytes).and_then(|(from, tag)| place(from, tag, at));
        let last = last_tag(bytes).and_then(|(from, tag)| place(from, tag, at));
        found.into_iter().chain(last).collect()
    })?;
    search.name(layout, &reach);
    Ok(())
}
