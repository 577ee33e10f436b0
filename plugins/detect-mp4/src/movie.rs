//! The movie box: how long the film is and which tracks it has (ISO/IEC 14496-12 §8.2 to §8.6).

use mediahost_plugin_sdk::detect::bytes::Cursor;
use mediahost_plugin_sdk::detect::{SeekPoint, Track};

use crate::boxes::{child, children, full};
use crate::sample_entry::SampleEntry;
use crate::sample_table::SampleTable;

/// Tracks of one film, at most.
const MAX_TRACKS: usize = 256;
/// Edits of one track that are looked at, at most.
const MAX_EDITS: u32 = 64;
/// Pictures behind the wanted one that a player decodes before it shows that: one for each of its threads.
pub const PICTURES_AHEAD: u64 = 8;
/// Frames of sound in front of a time that a decoder needs to be right at it.
const SOUNDS_IN_FRONT: u64 = 1;
/// Sound behind the wanted time that it reads by then.
pub const SOUND_AHEAD_MS: u64 = 300;

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
    /// What is added to media time to have the time of the presentation.
    shift: i64,
    /// Defaults for fragments: the duration of a sample, and its bytes.
    pub default_duration: u64,
    pub default_size: u64,
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
        let mut tracks: Vec<Trak> = traks.filter_map(|(_, trak)| Trak::parse(trak, timescale)).collect();
        for trex in extends.into_iter().flat_map(children).filter(|(kind, _)| kind == b"trex").take(MAX_TRACKS) {
            let Some((_, _, mut cursor)) = full(trex.1) else { continue };
            let (Some(id), Some(_), Some(duration)) = (cursor.be(4), cursor.be(4), cursor.be(4)) else { continue };
            let size = cursor.be(4).unwrap_or(0);
            for track in tracks.iter_mut().filter(|track| track.id == id) {
                (track.default_duration, track.default_size) = (duration, size);
            }
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

    /// Where the bytes begin and end that a player reads to show what is at a time: those since the last key frame, and
    /// the sound since then, since it is read together with them.
    pub fn opening(&self, time_ms: u64) -> Vec<(u64, u64)> {
        let Some(leading) = self.leading() else { return Vec::new() };
        let Some((key, decoded)) = leading.table.start_before(leading.media_time(time_ms)) else { return Vec::new() };
        let from_ms = leading.shown_ms(decoded).unwrap_or(0).min(time_ms);
        let others = self.tracks.iter().filter(|track| track.is_media() && track.id != leading.id);
        let others = others.filter_map(|track| {
            let (first, _) = track.table.start_before(track.media_time(from_ms))?;
            let first = match (time_ms, track.is_video()) {
                // A film is read from what is in front of its first edit on.
                (0, _) => 0,
                (_, true) => first,
                (_, false) => first.saturating_sub(SOUNDS_IN_FRONT),
            };
            track.table.span(first, track.last_read(time_ms))
        });
        leading.table.span(key, leading.last_read(time_ms)).into_iter().chain(others).collect()
    }
}

impl<'a> Trak<'a> {
    fn parse(trak: &'a [u8], movie_timescale: u64) -> Option<Trak<'a>> {
        let (enabled, id, picture) = header(child(trak, b"tkhd")?)?;
        let mdia = child(trak, b"mdia")?;
        let mdhd = child(mdia, b"mdhd")?;
        let (timescale, duration) = times(mdhd)?;
        let handler = Cursor::new(child(mdia, b"hdlr")?.get(8..)?).tag()?;
        let stbl = child(mdia, b"minf").and_then(|minf| child(minf, b"stbl")).unwrap_or_default();
        let entry = child(stbl, b"stsd").and_then(|stsd| SampleEntry::parse(stsd, &handler));
        let edits = child(trak, b"edts").and_then(|edts| child(edts, b"elst"));
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
            shift: edits.and_then(|elst| edit_shift(elst, timescale, movie_timescale)).unwrap_or(0),
            default_duration: 0,
            default_size: 0,
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

    pub fn is_video(&self) -> bool {
        self.kind() == "video"
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
            .filter_map(|(time, offset)| Some(SeekPoint { time_ms: self.shown_ms(time)?, offset }))
            .collect();
        points.sort_by_key(|point| (point.time_ms, point.offset));
        points.dedup_by_key(|point| point.time_ms);
        points
    }

    /// When media time is shown.
    fn shown_ms(&self, time: u64) -> Option<u64> {
        millis(time.saturating_add_signed(self.shift), self.timescale)
    }

    /// The media time that is shown then.
    fn media_time(&self, ms: u64) -> u64 {
        // All of this millisecond.
        let end = u128::from(ms.saturating_add(1)) * u128::from(self.timescale);
        let ticks = u64::try_from(end.div_ceil(1000).saturating_sub(1)).unwrap_or(u64::MAX);
        ticks.saturating_add_signed(self.shift.saturating_neg())
    }

    /// The last sample that a player reads before it shows what is at a time.
    fn last_read(&self, time_ms: u64) -> u64 {
        match self.kind() {
            "video" => self.table.sample_at(self.media_time(time_ms)).saturating_add(PICTURES_AHEAD),
            _ => self.table.sample_at(self.media_time(time_ms.saturating_add(SOUND_AHEAD_MS))),
        }
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

/// What the edits up to the first that is not empty add to media time: empty ones delay the track (§8.6.6).
fn edit_shift(content: &[u8], timescale: u64, movie_timescale: u64) -> Option<i64> {
    let (version, _, mut cursor) = full(content)?;
    let width = if version == 1 { 8 } else { 4 };
    let mut delay = 0u64;
    for _ in 0..cursor.be32()?.min(MAX_EDITS) {
        let duration = cursor.be(width)?;
        let time = cursor.be(width)?;
        cursor.skip(4)?;
        let empty = if version == 1 { u64::MAX } else { u64::from(u32::MAX) };
        if time != empty {
            let delay = u128::from(delay) * u128::from(timescale) / u128::from(movie_timescale.max(1));
            return i64::try_from(delay).ok()?.checked_sub(i64::try_from(time).ok()?);
        }
        delay = delay.saturating_add(duration);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_shift_time() {
        let list = |edits: &[(u32, u32)]| {
            let rows = edits
                .iter()
                .flat_map(|(duration, time)| [duration.to_be_bytes(), time.to_be_bytes(), [0, 1, 0, 0]].concat());
            [0, edits.len() as u32].into_iter().flat_map(u32::to_be_bytes).chain(rows).collect::<Vec<u8>>()
        };
        for (edits, expected) in [
            (&[(300_000, 1_024)][..], Some(-1_024)),
            (&[(43, u32::MAX), (300_000, 0)], Some(516)),
            (&[(43, u32::MAX), (57, u32::MAX), (300_000, 200)], Some(1_000)),
            (&[(43, u32::MAX)], None),
            (&[], None),
        ] {
            assert_eq!(edit_shift(&list(edits), 12_000, 1_000), expected, "{edits:?}");
        }
        assert_eq!(edit_shift(&[0; 9], 12_000, 1_000), None);
    }
}
