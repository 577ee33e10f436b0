//! The header list: streams, their formats, and the indexes of OpenDML in it.

use mediahost_plugin_sdk::detect::Track;
use mediahost_plugin_sdk::detect::bytes::{Cursor, le_at};
use mediahost_plugin_sdk::detect::codec::{fourcc_codec, wave_format};

use crate::index::{Index, Span};

/// Streams of one file, at most: their numbers have two digits.
const MAX_STREAMS: usize = 100;

/// The chunks within a list; they end where they stop making sense. A last one may be cut short.
pub fn chunks(content: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut cursor = Cursor::new(content);
    std::iter::from_fn(move || {
        let id = cursor.tag()?;
        let length = cursor.le(4)? as usize;
        let body = cursor.take(length.min(cursor.rest().len()))?;
        // Chunks begin at even places.
        cursor.skip((length & 1).min(cursor.rest().len()))?;
        Some((id, body))
    })
}

/// What the header list says.
#[derive(Debug, Default)]
pub struct Header {
    micros_per_frame: u64,
    /// Of the first RIFF chunk; of the whole file where OpenDML says so.
    frames: u64,
    /// In the order of their numbers.
    pub streams: Vec<Stream>,
}

/// A stream.
#[derive(Debug, Default)]
pub struct Stream {
    /// `vids`, `auds`, …
    kind: [u8; 4],
    /// Units per second are `rate / scale`.
    scale: u64,
    rate: u64,
    start: u64,
    length: u64,
    /// Bytes of a unit; 0 where each chunk is one.
    pub sample_size: u64,
    format: Vec<u8>,
    name: Option<String>,
    /// The chunk `indx`, if it makes sense.
    pub index: Option<Index>,
}

impl Header {
    /// Reads the content of the list `hdrl`.
    pub fn read(list: &[u8]) -> Header {
        let mut header = Header::default();
        for (id, body) in chunks(list) {
            match (&id, body.get(..4)) {
                (b"avih", _) => {
                    header.micros_per_frame = le_at(body, 0, 4).unwrap_or(0);
                    header.frames = le_at(body, 16, 4).unwrap_or(0);
                }
                (b"LIST", Some(b"strl")) if header.streams.len() < MAX_STREAMS => {
                    header.streams.push(Stream::read(&body[4..]));
                }
                (b"LIST", Some(b"odml")) => {
                    let all = chunks(&body[4..]).find(|(id, _)| id == b"dmlh").and_then(|(_, body)| le_at(body, 0, 4));
                    header.frames = header.frames.max(all.unwrap_or(0));
                }
                _ => {}
            }
        }
        header
    }

    /// The stream that a player seeks by: the first of pictures, else the first of sound.
    pub fn leading(&self) -> Option<usize> {
        let first = |kind| self.streams.iter().position(|stream| stream.kind() == kind);
        first("video").or_else(|| first("audio"))
    }

    /// The first stream of sound.
    pub fn sound(&self) -> Option<usize> {
        self.streams.iter().position(|stream| stream.kind() == "audio")
    }

    /// The longest of what the streams say, else what the main header says.
    pub fn duration_ms(&self) -> Option<u64> {
        let media = self.streams.iter().filter(|stream| ["video", "audio"].contains(&stream.kind()));
        let of = |stream: &Stream| {
            let is_picture = stream.kind() == "video";
            // Without OpenDML the main header's number is often wrong, and the stream's own is not.
            let from_main = is_picture && (stream.length == 0 || stream.index.is_some());
            stream.ms(if from_main { stream.length.max(self.frames) } else { stream.length })
        };
        let longest = media.filter_map(of).max().filter(|ms| *ms > 0);
        longest.or_else(|| Some(self.frames * self.micros_per_frame / 1000).filter(|ms| *ms > 0))
    }

    /// The streams in the contract's words.
    pub fn tracks(&self) -> Vec<Track> {
        self.streams.iter().enumerate().map(|(number, stream)| stream.track(number as u64)).collect()
    }
}

impl Stream {
    fn read(list: &[u8]) -> Stream {
        let mut stream = Stream::default();
        for (id, body) in chunks(list) {
            let number = |offset| le_at(body, offset, 4).unwrap_or(0);
            match &id {
                b"strh" => {
                    stream.kind = body.get(..4).and_then(|kind| kind.try_into().ok()).unwrap_or_default();
                    (stream.scale, stream.rate) = (number(20), number(24));
                    (stream.start, stream.length) = (number(28), number(32));
                    stream.sample_size = number(44);
                }
                b"strf" => stream.format = body[..body.len().min(MAX_FORMAT)].to_vec(),
                b"strn" => {
                    let name = String::from_utf8_lossy(body.split(|byte| *byte == 0).next().unwrap_or_default());
                    stream.name =
                        Some(name.trim().chars().take(MAX_NAME).collect()).filter(|name: &String| !name.is_empty());
                }
                b"indx" => stream.index = Index::read(body),
                _ => {}
            }
        }
        stream
    }

    fn kind(&self) -> &'static str {
        match &self.kind {
            b"vids" | b"iavs" => "video",
            b"auds" => "audio",
            b"txts" => "subtitle",
            _ => "data",
        }
    }

    /// Whether each of its chunks is a picture.
    pub fn is_picture(&self) -> bool {
        self.kind() == "video"
    }

    /// Milliseconds of that many units.
    pub fn ms(&self, units: u64) -> Option<u64> {
        if self.scale == 0 || self.rate == 0 {
            return None;
        }
        u64::try_from(u128::from(units) * u128::from(self.scale) * 1000 / u128::from(self.rate)).ok()
    }

    /// The time of a unit.
    pub fn time_ms(&self, unit: u64) -> Option<u64> {
        self.ms(self.start.saturating_add(unit))
    }

    /// Chunks that the stream's own index, in the header, points to.
    pub fn spans(&self) -> &[Span] {
        match &self.index {
            Some(Index::Spans(spans)) => spans,
            _ => &[],
        }
    }

    fn track(&self, number: u64) -> Track {
        let mut track = Track::new(number, self.kind(), &String::from_utf8_lossy(&self.kind));
        track.title.clone_from(&self.name);
        match self.kind() {
            "video" => self.describe_picture(&mut track),
            "audio" => {
                if let Some((codec, sound)) = wave_format(&self.format) {
                    track.codec = codec;
                    track.sound(sound.sample_rate, sound.channels);
                    track.bit_rate = le_at(&self.format, 8, 4).filter(|bytes| *bytes > 0).map(|bytes| bytes * 8);
                }
            }
            "subtitle" => track.codec = "text".into(),
            _ => {}
        }
        track
    }

    /// A BITMAPINFOHEADER; the height of pictures that begin at the top is negative.
    fn describe_picture(&self, track: &mut Track) {
        if &self.kind == b"iavs" {
            track.codec = "dvvideo".into();
        } else {
            let number = |offset| le_at(&self.format, offset, 4).unwrap_or(0) as u32;
            track.picture(number(4), (number(8) as i32).unsigned_abs());
            if let Some(code) = self.format.get(16..20).and_then(|code| code.try_into().ok()) {
                track.codec = fourcc_codec(code);
            }
            if track.codec == "xsub" {
                track.kind = "subtitle".into();
            }
        }
        if self.scale > 0 {
            track.pictures_per_second(self.rate as f64 / self.scale as f64);
        }
    }
}

/// Bytes of a format that are kept: none of what is read lies behind.
const MAX_FORMAT: usize = 64;
/// Letters of a stream's name that are kept.
const MAX_NAME: usize = 256;
