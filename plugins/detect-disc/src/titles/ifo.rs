//! The tables of DVD-Video (`VIDEO_TS.IFO`, `VTS_nn_0.IFO`).
//!
//! Owns: titles, program chains, cells, what streams a title set has.
//! Leaves to others: the files that hold them and the bytes of cells ([`super::dvd`]).
//!
//! Invariant: chains and cells are read where they stand, when they are asked for: tables that overlap cost nothing.
//!
//! ```text
//! VIDEO_TS.IFO: "DVDVIDEO-VMG" … 196: sector of the titles
//! titles:       u16 count | u16 | u32 last byte | (u8 | u8 angles | u16 chapters | u16 | u8 set | u8 title | u32)…
//! VTS_nn_0.IFO: "DVDVIDEO-VTS" … 200: sector of the chapters | 204: of the chains | 224: of the addresses
//!               | 512: picture | 514: sounds | 596: subtitles
//! chapters:     u16 count | u16 | u32 last byte | u32 offset… each: (u16 chain | u16 program)…
//! chains:       u16 count | u16 | u32 last byte | (u8 entry | u8 | u16 | u32 offset)…
//! addresses:    u16 count | u16 | u32 last byte | (u16 VOB | u8 cell | u8 | u32 first | u32 last)…
//! ```

use mediahost_plugin_sdk::detect::Track;
use mediahost_plugin_sdk::detect::bytes::be_at;
use std::collections::BTreeMap;

/// What tables and cells are counted in.
pub const SECTOR: u64 = 2048;
/// Titles of a title set or of a disc, at most; the format allows 99.
pub const MAX_TITLES: usize = 99;
/// Chapters of a title, at most.
pub const MAX_CHAPTERS: usize = 999;
/// Program chains that one title goes through, at most.
pub const MAX_CHAINS: usize = 99;
const MAX_SOUNDS: usize = 8;
const MAX_SUBTITLES: usize = 32;

/// A title as the disc's menu knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which title set.
    pub set: u8,
    /// Which title of the set, counted from 1.
    pub title: u8,
}

/// The titles of a disc in their order; none if these are not its tables.
pub fn titles(manager: &[u8]) -> Option<Vec<Entry>> {
    if !manager.starts_with(b"DVDVIDEO-VMG") {
        return None;
    }
    let table = table(manager, 196)?;
    let count = be_at(table, 0, 2)? as usize;
    let entries = table.get(8..)?.chunks_exact(12).take(count.min(MAX_TITLES));
    let entries: Vec<Entry> = entries.map(|entry| Entry { set: entry[6], title: entry[7] }).collect();
    (!entries.is_empty()).then_some(entries)
}

/// The bytes from a table on whose sector stands at an offset.
fn table(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let sector = be_at(bytes, at, 4).filter(|sector| *sector > 0)?;
    bytes.get(usize::try_from(sector * SECTOR).ok()?..)
}

/// A title of a title set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title {
    /// Counted from 1.
    pub number: usize,
    /// Program chains in the order of playing, counted from 1.
    pub chains: Vec<usize>,
    /// How many chapters it has.
    pub chapters: usize,
}

/// A part of a program chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The first sector of the title set's VOBs.
    pub first: u32,
    /// The last one.
    pub last: u32,
    /// Its place among the angles of a scene, counted from 0; none where there is one view only.
    pub angle: Option<usize>,
    /// Its sectors are mixed with those of other angles.
    pub is_interleaved: bool,
    /// Which VOB, and which cell of it: its name in the table of addresses.
    pub name: (u16, u8),
    /// How long it plays.
    pub duration_ms: u64,
}

/// The pieces of cells by the cells' names.
pub type Pieces = BTreeMap<(u16, u8), Vec<(u32, u32)>>;

/// A title set.
#[derive(Clone, Copy)]
pub struct TitleSet<'a> {
    bytes: &'a [u8],
    chains: &'a [u8],
}

impl<'a> TitleSet<'a> {
    /// None if these are not its tables.
    pub fn parse(bytes: &'a [u8]) -> Option<TitleSet<'a>> {
        if !bytes.starts_with(b"DVDVIDEO-VTS") {
            return None;
        }
        let set = TitleSet { bytes, chains: table(bytes, 204)? };
        set.titles().iter().flat_map(|title| &title.chains).any(|chain| set.chain(*chain).is_some()).then_some(set)
    }

    /// Its titles.
    pub fn titles(&self) -> Vec<Title> {
        let titles = self.titles_by_chapters().unwrap_or_default();
        if titles.is_empty() { self.titles_by_chains().unwrap_or_default() } else { titles }
    }

    fn titles_by_chapters(&self) -> Option<Vec<Title>> {
        let table = table(self.bytes, 200)?;
        let count = (be_at(table, 0, 2)? as usize).min(MAX_TITLES);
        let end = (be_at(table, 4, 4)? as usize).saturating_add(1).min(table.len());
        let mut titles = Vec::new();
        for index in 0..count {
            let start = be_at(table, 8 + 4 * index, 4)? as usize;
            let next = be_at(table, 12 + 4 * index, 4).filter(|_| index + 1 < count).map_or(end, |next| next as usize);
            let parts = table.get(start..next.min(end)).unwrap_or_default();
            let mut title = Title { number: index + 1, chains: Vec::new(), chapters: 0 };
            for part in parts.chunks_exact(4).take(MAX_CHAPTERS) {
                let chain = usize::from(part[0]) << 8 | usize::from(part[1]);
                if !title.chains.contains(&chain) && title.chains.len() < MAX_CHAINS {
                    title.chains.push(chain);
                }
                title.chapters += 1;
            }
            if title.chapters > 0 {
                titles.push(title);
            }
        }
        Some(titles)
    }

    /// Without a table of chapters: the chains with which titles begin.
    fn titles_by_chains(&self) -> Option<Vec<Title>> {
        let count = be_at(self.chains, 0, 2)? as usize;
        let entries = self.chains.get(8..)?.chunks_exact(8).take(count).enumerate();
        let begins = entries.filter(|(_, entry)| entry[0] & 0x80 != 0).take(MAX_TITLES);
        let title = |(index, entry): (usize, &[u8])| {
            let number = usize::from(entry[0] & 0x7F);
            Title { number, chains: vec![index + 1], chapters: 0 }
        };
        Some(begins.map(title).collect())
    }

    /// A program chain, counted from 1.
    pub fn chain(&self, number: usize) -> Option<Chain<'a>> {
        let index = number.checked_sub(1).filter(|index| Some(*index as u64) < be_at(self.chains, 0, 2))?;
        let offset = be_at(self.chains, 8 + 8 * index + 4, 4)? as usize;
        let bytes = self.chains.get(offset..)?;
        let chain = Chain { bytes };
        (!chain.cells().is_empty()).then_some(chain)
    }

    /// Where the pieces of cells are, first and last sectors: a cell that is interleaved with others has many.
    pub fn pieces(&self) -> Pieces {
        let Some(table) = table(self.bytes, 224) else { return Pieces::new() };
        let end = be_at(table, 4, 4).map_or(0, |last| (last as usize).saturating_add(1)).min(table.len());
        let mut pieces = Pieces::new();
        for entry in table.get(8..end).unwrap_or_default().chunks_exact(12) {
            let sector = |at: usize| be_at(entry, at, 4).unwrap_or_default() as u32;
            let name = (u16::from(entry[0]) << 8 | u16::from(entry[1]), entry[2]);
            pieces.entry(name).or_default().push((sector(4), sector(8)));
        }
        pieces
    }

    /// The streams of a chain, in FFmpeg's words and with its identifiers.
    pub fn tracks(&self, chain: Option<Chain>) -> Vec<Track> {
        let mut tracks = vec![self.picture()];
        tracks.extend(self.sounds(chain));
        tracks.extend(self.subtitles(chain));
        tracks
    }

    fn picture(&self) -> Track {
        let attributes = be_at(self.bytes, 512, 2).unwrap_or_default();
        let codec = if attributes >> 14 == 0 { "mpeg1video" } else { "mpeg2video" };
        let is_pal = attributes >> 12 & 3 == 1;
        let (full, half) = if is_pal { (576, 288) } else { (480, 240) };
        let (width, height) = [(720, full), (704, full), (352, full), (352, half)][(attributes >> 2 & 3) as usize];
        let mut track = Track::new(0x1E0, "video", codec);
        track.picture(width, height);
        track.pictures_per_second(if is_pal { 25.0 } else { 30_000.0 / 1001.0 });
        track.default = true;
        track
    }

    fn sounds(&self, chain: Option<Chain>) -> Vec<Track> {
        let count = be_at(self.bytes, 514, 2).unwrap_or_default() as usize;
        let attributes = self.bytes.get(516..).unwrap_or_default().chunks_exact(8).take(count.min(MAX_SOUNDS));
        let control = |index: usize| chain.and_then(|chain| be_at(chain.bytes, 12 + 2 * index, 2)).unwrap_or_default();
        let says = (0..MAX_SOUNDS).any(|index| control(index) & 0x8000 != 0);
        let mut tracks = Vec::new();
        for (index, attributes) in attributes.enumerate().filter(|(index, _)| !says || control(*index) & 0x8000 != 0) {
            let stream = if says { control(index) >> 8 & 7 } else { index as u64 };
            let (base, codec) = match attributes[0] >> 5 {
                0 => (0x80, "ac3"),
                2 | 3 => (0x1C0, "mp2"),
                4 => (0xA0, "pcm_dvd"),
                6 => (0x88, "dts"),
                _ => continue,
            };
            let mut track = Track::new(base + stream, "audio", codec);
            let rate = if attributes[1] >> 4 & 3 == 1 { 96_000 } else { 48_000 };
            track.sound(rate, u32::from(attributes[1] & 7) + 1);
            track.language = language(&attributes[2..4]);
            track.default = tracks.is_empty();
            tracks.push(track);
        }
        tracks
    }

    fn subtitles(&self, chain: Option<Chain>) -> Vec<Track> {
        let count = be_at(self.bytes, 596, 2).unwrap_or_default() as usize;
        let attributes = self.bytes.get(598..).unwrap_or_default().chunks_exact(6).take(count.min(MAX_SUBTITLES));
        let control = |index: usize| chain.and_then(|chain| be_at(chain.bytes, 28 + 4 * index, 4)).unwrap_or_default();
        let says = (0..MAX_SUBTITLES).any(|index| control(index) >> 31 != 0);
        let is_wide = be_at(self.bytes, 512, 1).unwrap_or_default() >> 2 & 3 == 3;
        let mut tracks: Vec<Track> = Vec::new();
        for (index, attributes) in attributes.enumerate().filter(|(index, _)| !says || control(*index) >> 31 != 0) {
            let stream = match (says, is_wide) {
                (true, true) => control(index) >> 16 & 31,
                (true, false) => control(index) >> 24 & 31,
                (false, _) => index as u64,
            };
            let mut track = Track::new(0x20 + stream, "subtitle", "dvd_subtitle");
            track.language = language(&attributes[2..4]);
            if tracks.iter().all(|known| known.id != track.id) {
                tracks.push(track);
            }
        }
        tracks
    }
}

/// Two letters of ISO 639-1.
fn language(letters: &[u8]) -> Option<String> {
    let are_letters = letters.iter().all(u8::is_ascii_alphabetic);
    are_letters.then(|| String::from_utf8_lossy(letters).to_ascii_lowercase())
}

/// A program chain: cells in the order of playing.
#[derive(Clone, Copy)]
pub struct Chain<'a> {
    bytes: &'a [u8],
}

impl Chain<'_> {
    /// As it is stated, or the sum of its cells.
    pub fn duration_ms(&self) -> u64 {
        let stated = self.bytes.get(4..8).and_then(time_ms).filter(|ms| *ms > 0);
        stated.unwrap_or_else(|| {
            let cells = self.cells();
            cells.iter().filter(|cell| cell.angle.unwrap_or(0) == 0).map(|cell| cell.duration_ms).sum()
        })
    }

    /// Its cells.
    pub fn cells(&self) -> Vec<Cell> {
        let part =
            |at: usize| be_at(self.bytes, at, 2).filter(|at| *at > 0).and_then(|at| self.bytes.get(at as usize..));
        let count = be_at(self.bytes, 3, 1).unwrap_or_default() as usize;
        let playback = part(232).unwrap_or_default().chunks_exact(24).take(count);
        let mut names = part(234).unwrap_or_default().chunks_exact(4);
        let (mut cells, mut angle) = (Vec::new(), 0);
        for entry in playback {
            let name = names.next().map_or((0, 0), |name| (u16::from(name[0]) << 8 | u16::from(name[1]), name[3]));
            let (mode, is_angle) = (entry[0] >> 6, entry[0] >> 4 & 3 == 1);
            angle = if is_angle && mode > 1 { angle + 1 } else { 0 };
            let sector = |at: usize| be_at(entry, at, 4).unwrap_or_default() as u32;
            cells.push(Cell {
                first: sector(8),
                last: sector(20),
                angle: is_angle.then_some(angle),
                is_interleaved: entry[0] & 4 != 0,
                name,
                duration_ms: time_ms(&entry[4..8]).unwrap_or_default(),
            });
        }
        cells
    }
}

/// Hours, minutes, seconds and pictures, each in two decimal digits; the rate stands with the pictures.
fn time_ms(time: &[u8]) -> Option<u64> {
    let two = |byte: u8| (byte >> 4 <= 9 && byte & 15 <= 9).then(|| u64::from(byte >> 4) * 10 + u64::from(byte & 15));
    let (hours, minutes, seconds) = (two(time[0])?, two(time[1])?, two(time[2])?);
    let pictures = two(time[3] & 0x3F)?;
    let fraction = if time[3] >> 6 == 1 { pictures * 1000 / 25 } else { pictures * 1001 / 30 };
    Some(((hours * 60 + minutes) * 60 + seconds) * 1000 + fraction)
}
