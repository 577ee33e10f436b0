//! The movie box: how long the film is and which tracks it has (ISO/IEC 14496-12 §8.2 to §8.6).

use mediahost_plugin_sdk::detect::bytes::Cursor;
use mediahost_plugin_sdk::detect::{SeekPoint, Track};

use crate::boxes::{child, children, full};
use crate::sample_entry::SampleEntry;
use crate::sample_table::SampleTable;

/// Tracks of one film, at most.
const MAX_TRACKS: usize = 256;

/// A film.
pub struct Movie<'a> {
    timescale: u64,
    /// In units of the timescale; 0 when it is not told.
    duration: u64,
    pub fragmented: bool,
    pub tracks: Vec<Trak<'a>>,
}

/// A track of it.
pub struct Trak<'a> {
    pub id: u64,
    enabled: bool,
    handler: [u8; 4],
    pub timescale: u64,
    duration: u64,
    language: Option<String>,
    picture: (u32, u32),
    entry: Option<SampleEntry>,
    table: SampleTable<'a>,
    /// Media time at which the presentation begins.
    edit_start: u64,
    /// Defaults for fragments: the duration of a sample.
    pub default_duration: u64,
}

impl<'a> Movie<'a> {
    /// Reads the content of a movie box; what makes no sense is left out.
    pub fn parse(moov: &'a [u8]) -> Movie<'a> {
        let (timescale, duration) = child(moov, b"mvhd").and_then(times).unwrap_or((0, 0));
        let extends = child(moov, b"mvex");
        let fragment_duration = extends.and_then(|mvex| child(mvex, b"mehd")).and_then(|mehd| {
            let (version, _, mut cursor) = full(mehd)?;
            cursor.be(if version == 1 { 8 } else { 4 })
        });
        let traks = children(moov).filter(|(kind, _)| kind == b"trak").take(MAX_TRACKS);
        let mut tracks: Vec<Trak> = traks.filter_map(|(_, trak)| Trak::parse(trak)).collect();
        for trex in extends.into_iter().flat_map(children).filter(|(kind, _)| kind == b"trex").take(MAX_TRACKS) {
            let Some((_, _, mut cursor)) = full(trex.1) else { continue };
            let (Some(id), Some(_), Some(default)) = (cursor.be(4), cursor.be(4), cursor.be(4)) else { continue };
            tracks.iter_mut().filter(|track| track.id == id).for_each(|track| track.default_duration = default);
        }
        let duration = fragment_duration.unwrap_or(duration);
        Movie { timescale, duration, fragmented: extends.is_some(), tracks }
    }

    pub fn duration_ms(&self) -> Option<u64> {
        let whole = millis(self.duration, self.timescale);
        let longest = || self.tracks.iter().filter_map(|track| millis(track.duration, track.timescale)).max();
        whole.filter(|ms| *ms > 0).or_else(longest).filter(|ms| *ms > 0)
    }

    /// The track by which a player seeks: the first video that is no cover, else the first sound.
    pub fn leading(&self) -> Option<&Trak<'a>> {
        let kind = |wanted| move |track: &&Trak| track.kind() == wanted;
        self.tracks.iter().find(kind("video")).or_else(|| self.tracks.iter().find(kind("audio")))
    }
}

impl<'a> Trak<'a> {
    fn parse(trak: &'a [u8]) -> Option<Trak<'a>> {
        let (enabled, id, picture) = header(child(trak, b"tkhd")?)?;
        let mdia = child(trak, b"mdia")?;
        let mdhd = child(mdia, b"mdhd")?;
        let (timescale, duration) = times(mdhd)?;
        let handler = Cursor::new(child(mdia, b"hdlr")?.get(8..)?).tag()?;
        let stbl = child(mdia, b"minf").and_then(|minf| child(minf, b"stbl")).unwrap_or_default();
        let entry = child(stbl, b"stsd").and_then(|stsd| SampleEntry::parse(stsd, &handler));
        Some(Trak {
            id,
            enabled,
            handler,
            timescale,
            duration,
            language: language(mdia, mdhd),
            picture,
            entry,
            table: SampleTable::parse(stbl),
            edit_start: child(trak, b"edts").and_then(|edts| child(edts, b"elst")).and_then(edit_start).unwrap_or(0),
            default_duration: 0,
        })
    }

    fn kind(&self) -> &'static str {
        match &self.handler {
            b"vide" | b"auxv" | b"pict" => "video",
            b"soun" => "audio",
            b"sbtl" | b"subt" | b"subp" | b"text" | b"clcp" => "subtitle",
            _ => "data",
        }
    }

    pub fn is_media(&self) -> bool {
        matches!(self.kind(), "video" | "audio")
    }

    /// The track in the contract's words.
    pub fn describe(&self, movie: &Movie) -> Track {
        let codec = self.entry.as_ref().map_or("unknown", |entry| &entry.codec);
        let mut track = Track::new(self.id, self.kind(), codec);
        track.language.clone_from(&self.language);
        track.default = self.enabled;
        if let Some(entry) = &self.entry {
            track.sound(entry.sound.sample_rate, entry.sound.channels);
            track.picture(entry.picture.0, entry.picture.1);
            track.bit_rate = entry.bit_rate;
        }
        if track.kind == "video" && track.width.is_none() {
            track.picture(self.picture.0, self.picture.1);
        }
        let (samples, ticks) = self.table.totals();
        if track.kind == "video" && self.timescale > 0 {
            let fixed = Some((1, self.default_duration)).filter(|_| movie.fragmented);
            let (samples, ticks) = if samples > 0 { (samples, ticks) } else { fixed.unwrap_or((0, 0)) };
            if samples > 0 && ticks > 0 {
                track.pictures_per_second(samples as f64 * self.timescale as f64 / ticks as f64);
            }
        }
        if let (Some(bytes), Some(ms @ 1..)) = (self.table.bytes(), millis(self.duration, self.timescale)) {
            track.bit_rate = u64::try_from(u128::from(bytes) * 8000 / u128::from(ms)).ok().filter(|rate| *rate > 0);
        }
        track
    }

    /// Where a player can start in this track, at most `most` places, in order of time.
    pub fn points(&self, most: usize) -> Vec<SeekPoint> {
        let mut points: Vec<SeekPoint> = self
            .table
            .starts(most, self.timescale)
            .into_iter()
            .filter_map(|(time, offset)| {
                Some(SeekPoint { time_ms: millis(time.saturating_sub(self.edit_start), self.timescale)?, offset })
            })
            .collect();
        points.sort_by_key(|point| (point.time_ms, point.offset));
        points.dedup_by_key(|point| point.time_ms);
        points
    }
}

/// A number of ticks in milliseconds.
pub fn millis(ticks: u64, timescale: u64) -> Option<u64> {
    if timescale == 0 {
        return None;
    }
    u64::try_from(u128::from(ticks) * 1000 / u128::from(timescale)).ok()
}

/// Timescale and duration of `mvhd` (§8.2.2) and `mdhd` (§8.4.2); all ones means unknown.
fn times(content: &[u8]) -> Option<(u64, u64)> {
    let (version, _, mut cursor) = full(content)?;
    let width = if version == 1 { 8 } else { 4 };
    cursor.skip(2 * width)?;
    let timescale = cursor.be(4)?;
    let duration = cursor.be(width)?;
    let unknown = if version == 1 { u64::MAX } else { u64::from(u32::MAX) };
    Some((timescale, if duration == unknown { 0 } else { duration }))
}

/// Whether it is enabled, its number and its picture size from `tkhd` (§8.3.2).
fn header(content: &[u8]) -> Option<(bool, u64, (u32, u32))> {
    let (version, flags, mut cursor) = full(content)?;
    let width = if version == 1 { 8 } else { 4 };
    cursor.skip(2 * width)?;
    let id = cursor.be(4)?;
    cursor.skip(4 + width + 8 + 8 + 36)?;
    Some((flags & 1 == 1, id, (cursor.be32()? >> 16, cursor.be32()? >> 16)))
}

/// The extended language tag (§8.4.6) or three packed letters of ISO 639-2 (§8.4.2). `und` is none.
fn language(mdia: &[u8], mdhd: &[u8]) -> Option<String> {
    let extended = child(mdia, b"elng").and_then(|elng| {
        let tag = elng.get(4..)?.split(|byte| *byte == 0).next()?;
        std::str::from_utf8(tag).ok().map(str::to_string)
    });
    let packed = || {
        let at = if mdhd.first() == Some(&1) { 32 } else { 20 };
        let code = Cursor::new(mdhd.get(at..)?).be16()?;
        let letters = [code >> 10 & 31, code >> 5 & 31, code & 31].map(|letter| (letter as u8 + 0x60) as char);
        letters.iter().all(char::is_ascii_lowercase).then(|| letters.iter().collect())
    };
    extended.filter(|tag| !tag.is_empty()).or_else(packed).filter(|tag| tag != "und")
}

/// Media time of the first edit that is not empty (§8.6.6).
fn edit_start(content: &[u8]) -> Option<u64> {
    const MAX_EDITS: u32 = 64;
    let (version, _, mut cursor) = full(content)?;
    let width = if version == 1 { 8 } else { 4 };
    for _ in 0..cursor.be32()?.min(MAX_EDITS) {
        cursor.skip(width)?;
        let time = cursor.be(width)?;
        cursor.skip(4)?;
        let empty = if version == 1 { u64::MAX } else { u64::from(u32::MAX) };
        if time != empty {
            return Some(time);
        }
    }
    None
}
