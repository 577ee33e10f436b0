//! Playlists of Blu-ray discs (`BDMV/PLAYLIST/*.mpls`).
//!
//! Owns: which parts of which clips are played in which order, chapters, the streams of a playlist.
//! Leaves to others: where in a clip a time is ([`super::clpi`]), which playlist is the film ([`super::rules`]).
//!
//! ```text
//! "MPLS" version | u32 playlist | u32 marks | …
//! playlist: u32 length | u16 | u16 items | u16 sub-paths | items
//! item:     u16 length | clip (5) "M2TS" | u16 flags | u8 STC | u32 in | u32 out | UO mask (8) | u8 | u8 | u16
//!           | angles, if the flags say so | stream table
//! marks:    u32 length | u16 count | (u8 | u8 type | u16 item | u32 time | u16 PID | u32 duration)…
//! ```

use mediahost_plugin_sdk::detect::Track;
use mediahost_plugin_sdk::detect::bytes::{Cursor, be_at};
use std::fmt;

/// Items of one playlist, at most; the format allows 999.
pub const MAX_ITEMS: usize = 999;
/// Angles of one item, at most; the format allows 9.
pub const MAX_ANGLES: usize = 9;
/// Streams of one playlist, at most.
pub const MAX_STREAMS: usize = 128;
/// Ticks of the clock in a millisecond.
pub const TICKS_PER_MS: u64 = 45;
/// An item is at least as long: name, format, flags, STC, times.
const MIN_ITEM: usize = 20;
/// Where an item's angles, or its stream table, begin behind its length.
const ITEM_HEAD: usize = 32;
const MARK_BYTES: usize = 14;
/// A mark that begins a chapter.
const ENTRY_MARK: u8 = 1;

/// Five digits: the name of a clip, and of its files. If there are letters, they are small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Clip(pub [u8; 5]);

impl fmt::Display for Clip {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        to.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// A playlist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Playlist {
    /// In the order of playing.
    pub items: Vec<Item>,
    /// Marks that begin chapters.
    pub chapters: usize,
    /// The streams of the longest item.
    pub streams: Vec<Stream>,
}

/// A part of a clip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Which clip.
    pub clip: Clip,
    /// Which of the clip's clocks the times are of.
    pub stc: u8,
    /// When it begins, in ticks of 45 kHz.
    pub start: u32,
    /// When it ends.
    pub end: u32,
    /// Further views of the same scene: their clips and clocks.
    pub angles: Vec<(Clip, u8)>,
}

impl Item {
    /// How long it plays, in ticks.
    pub fn ticks(&self) -> u64 {
        u64::from(self.end.saturating_sub(self.start))
    }

    /// The clip and the clock of an angle, counted from 0; the first where there is none.
    pub fn angle(&self, angle: usize) -> (Clip, u8) {
        angle.checked_sub(1).and_then(|further| self.angles.get(further)).copied().unwrap_or((self.clip, self.stc))
    }
}

/// An elementary stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its packets' identifier.
    pub pid: u16,
    /// The coding type: the stream type of program maps.
    pub coding: u8,
    /// Picture size or channels.
    pub format: u8,
    /// Pictures or samples per second, coded.
    pub rate: u8,
    /// Three letters.
    pub language: Option<String>,
}

impl Playlist {
    /// Reads a playlist; none if it is not one or if it ends early.
    pub fn parse(bytes: &[u8]) -> Option<Playlist> {
        if !matches!(bytes.get(..8)?, b"MPLS0100" | b"MPLS0200" | b"MPLS0300") {
            return None;
        }
        let mut list = Cursor::new(bytes.get(be_at(bytes, 8, 4)? as usize..)?);
        list.skip(6)?;
        let count = (list.be16()? as usize).min(MAX_ITEMS);
        list.skip(2)?;
        let mut playlist = Playlist::default();
        let mut longest = None;
        for _ in 0..count {
            let length = list.be16()? as usize;
            let bytes = list.take(length)?;
            let (item, table) = item(bytes)?;
            if longest.is_none_or(|(ticks, _)| item.ticks() > ticks) {
                longest = Some((item.ticks(), bytes.get(table..).unwrap_or_default()));
            }
            playlist.items.push(item);
        }
        playlist.streams = longest.map(|(_, table)| streams(table)).unwrap_or_default();
        playlist.chapters = chapters(bytes).unwrap_or_default();
        (!playlist.items.is_empty()).then_some(playlist)
    }

    /// How long it plays, in milliseconds.
    pub fn duration_ms(&self) -> u64 {
        self.items.iter().map(Item::ticks).sum::<u64>() / TICKS_PER_MS
    }

    /// How many angles there are.
    pub fn angles(&self) -> usize {
        1 + self.items.iter().map(|item| item.angles.len()).max().unwrap_or_default()
    }
}

fn clip(name: &[u8]) -> Option<Clip> {
    Some(Clip(name.to_ascii_lowercase().try_into().ok()?))
}

/// An item and where its stream table begins.
fn item(bytes: &[u8]) -> Option<(Item, usize)> {
    if bytes.len() < MIN_ITEM {
        return None;
    }
    let mut cursor = Cursor::new(bytes);
    let first = clip(cursor.take(5)?)?;
    cursor.skip(4)?;
    let flags = cursor.be16()?;
    let stc = cursor.u8()?;
    let (start, end) = (cursor.be32()?, cursor.be32()?);
    let mut item = Item { clip: first, stc, start, end, angles: Vec::new() };
    let mut table = ITEM_HEAD;
    if flags & 0x10 != 0 {
        let count = usize::from(bytes.get(ITEM_HEAD).copied().unwrap_or(1)).max(1);
        let angles = bytes.get(ITEM_HEAD + 2..).unwrap_or_default().chunks_exact(10);
        let angles = angles.take(count.min(MAX_ANGLES) - 1);
        item.angles = angles.filter_map(|angle| Some((clip(&angle[..5])?, angle[9]))).collect();
        table += 2 + 10 * (count - 1);
    }
    Some((item, table))
}

/// The stream table: what a player may choose from. What cannot be read ends it.
fn streams(table: &[u8]) -> Vec<Stream> {
    let mut streams = Vec::new();
    let mut cursor = Cursor::new(table);
    let Some(()) = cursor.skip(4) else { return streams };
    let Some(counts) = cursor.take(12) else { return streams };
    // Pictures, sound, subtitles; menus, second pictures and sound follow and are not for those who only watch.
    let count = counts[..3].iter().map(|count| usize::from(*count)).sum::<usize>();
    for _ in 0..count.min(MAX_STREAMS) {
        let Some(stream) = stream(&mut cursor) else { break };
        streams.push(stream);
    }
    streams
}

fn stream(cursor: &mut Cursor) -> Option<Stream> {
    let length = usize::from(cursor.u8()?);
    let entry = cursor.take(length)?;
    let pid_at = match entry.first()? {
        1 => 1,
        2 | 4 => 3,
        3 => 2,
        _ => return None,
    };
    let pid = be_at(entry, pid_at, 2)? as u16;
    let length = usize::from(cursor.u8()?);
    let attributes = cursor.take(length)?;
    let coding = *attributes.first()?;
    let (details, language_at) = match coding {
        0x90 | 0x91 => (0, 1),
        0x92 => (0, 2),
        _ => (attributes.get(1).copied().unwrap_or_default(), 2),
    };
    let language = attributes.get(language_at..language_at + 3).filter(|_| !is_video(coding));
    let language = language.filter(|letters| letters.iter().all(u8::is_ascii_alphabetic));
    let language = language.map(|letters| String::from_utf8_lossy(letters).to_ascii_lowercase());
    Some(Stream { pid, coding, format: details >> 4, rate: details & 15, language })
}

fn is_video(coding: u8) -> bool {
    matches!(coding, 0x01 | 0x02 | 0x1B | 0x20 | 0x24 | 0xEA)
}

fn chapters(bytes: &[u8]) -> Option<usize> {
    let mut marks = Cursor::new(bytes.get(be_at(bytes, 12, 4)? as usize..)?);
    marks.skip(4)?;
    let count = marks.be16()? as usize;
    let marks = marks.rest().chunks_exact(MARK_BYTES).take(count);
    Some(marks.filter(|mark| mark[1] == ENTRY_MARK).count())
}

impl Stream {
    /// Whether it is sound.
    pub fn is_sound(&self) -> bool {
        matches!(self.coding, 0x03 | 0x04 | 0x80..=0x86 | 0xA1 | 0xA2)
    }

    /// Whether it is a picture of 1080 lines or more.
    pub fn is_full_picture(&self) -> bool {
        is_video(self.coding) && matches!(self.format, 4 | 6 | 8)
    }

    /// In FFmpeg's words; none for what no player shows.
    pub fn track(&self) -> Option<Track> {
        let (kind, codec) = match self.coding {
            0x01 => ("video", "mpeg1video"),
            0x02 => ("video", "mpeg2video"),
            0x1B => ("video", "h264"),
            0x24 => ("video", "hevc"),
            0xEA => ("video", "vc1"),
            0x03 | 0x04 => ("audio", "mp2"),
            0x80 => ("audio", "pcm_bluray"),
            0x81 => ("audio", "ac3"),
            0x82 | 0x85 | 0x86 | 0xA2 => ("audio", "dts"),
            0x83 => ("audio", "truehd"),
            0x84 | 0xA1 => ("audio", "eac3"),
            0x90 => ("subtitle", "hdmv_pgs_subtitle"),
            0x92 => ("subtitle", "hdmv_text_subtitle"),
            _ => return None,
        };
        let mut track = Track::new(u64::from(self.pid), kind, codec);
        track.language = self.language.clone();
        match kind {
            "video" => self.describe_picture(&mut track),
            "audio" => self.describe_sound(&mut track),
            _ => {}
        }
        Some(track)
    }

    fn describe_picture(&self, track: &mut Track) {
        let (width, height) = match self.format {
            1 | 3 => (720, 480),
            2 | 7 => (720, 576),
            5 => (1280, 720),
            4 | 6 => (1920, 1080),
            8 => (3840, 2160),
            _ => (0, 0),
        };
        track.picture(width, height);
        track.pictures_per_second(match self.rate {
            1 => 24_000.0 / 1001.0,
            2 => 24.0,
            3 => 25.0,
            4 => 30_000.0 / 1001.0,
            6 => 50.0,
            7 => 60_000.0 / 1001.0,
            _ => 0.0,
        });
    }

    /// Several channels may be any number of them: the table does not say.
    fn describe_sound(&self, track: &mut Track) {
        let channels = match self.format {
            1 => 1,
            3 => 2,
            _ => 0,
        };
        let rate = match self.rate {
            1 => 48_000,
            4 | 14 => 96_000,
            5 | 12 => 192_000,
            _ => 0,
        };
        track.sound(rate, channels);
    }
}
