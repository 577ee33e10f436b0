//! AVI, and its extension by OpenDML for files beyond a gigabyte.
//!
//! Owns: finding the header, the media and the index, by hopping; what they say; where key frames are.
//! Leaves to others: fetching (the host), the media, DV's sound within its pictures.
//!
//! Invariant: media are not read, except for the first chunk, which tells from where `idx1` counts, and for the last
//! mebibyte of a file whose lists do not lead to an index.

mod header;
mod index;

use header::Header;
use index::{Entry, Index, Span, old_entries};
use mediahost_plugin_sdk::container_detector;
use mediahost_plugin_sdk::detect::bytes::{find, le_at};
use mediahost_plugin_sdk::detect::{Detector, Layout, MAX_SEEK, READ_AHEAD, SeekPoint, Stop, Subject, thin_out};

/// Chunks outside lists that are looked at, at most.
const MAX_CHUNKS: usize = 256;
/// Hops that each cost a round.
const MAX_HOPS: u32 = 8;
/// A longer header list is cut.
const MAX_HEADER: u64 = 4 << 20;
/// Longer indexes are named and not read: a million chunks fit.
const MAX_INDEX: u64 = 16 << 20;
/// What is asked for where `idx1` is expected: often all of it.
const INDEX_GUESS: u64 = 256 << 10;
/// Where `idx1` is looked for when the lists do not lead to it.
const TAIL_BYTES: u64 = 1 << 20;
/// Indexes of OpenDML that are named, at most.
const MAX_NAMED: usize = 128;
/// What is named at the position where the player will start.
const START_BYTES: u64 = 1 << 20;
/// A file that has no index is entered this far in front of where the position is expected.
const START_LEAD: u64 = 512 << 10;

/// The detector.
pub struct Avi;

container_detector!(Avi, "plugin.json");

impl Detector for Avi {
    fn detect(subject: &Subject) -> Result<Option<Layout>, Stop> {
        let head = subject.read(0, 12)?;
        let is_avi = matches!(head.get(8..12), Some(b"AVI " | b"AVI\x19"));
        if !head.starts_with(b"RIFF") || !is_avi {
            return Ok(None);
        }
        let file = Avis::walk(subject)?;
        let mut layout = Layout::new("avi").media_type("video/x-msvideo");
        layout.tracks = file.header.tracks();
        layout.duration_ms = file.header.duration_ms();
        layout.need_first(0, file.head_end.min(subject.size().unwrap_or(u64::MAX)), "head");
        let entries = file.read_index(&mut layout)?;
        file.point(&mut layout, &entries);
        file.name_start(&mut layout, &entries);
        thin_out(&mut layout.seek, MAX_SEEK);
        layout.estimate_bit_rate(subject.size());
        Ok(Some(layout))
    }
}

/// A file, as far as its lists are known.
struct Avis<'a> {
    subject: &'a Subject,
    header: Header,
    /// Up to the first chunk of media.
    head_end: u64,
    /// The first list `movi`: the offset of that word, and where the list ends.
    movi: Option<(u64, u64)>,
    /// The chunk `idx1`: the offset of its content, and its length.
    idx1: Option<(u64, u64)>,
}

impl<'a> Avis<'a> {
    /// Hops from chunk to chunk until the index is there.
    fn walk(subject: &'a Subject) -> Result<Avis<'a>, Stop> {
        let mut file = Avis { subject, header: Header::default(), head_end: 12, movi: None, idx1: None };
        let (mut at, mut hops, mut shown) = (12, 0, READ_AHEAD);
        for _ in 0..MAX_CHUNKS {
            if at + 12 > shown {
                (hops, shown) = (hops + 1, at.saturating_add(READ_AHEAD));
            }
            let known = subject.size().unwrap_or(u64::MAX);
            if hops > MAX_HOPS || at >= known {
                break;
            }
            let bytes = subject.read(at, 12)?;
            let (Some(id), Some(length)) = (bytes.get(..4), le_at(&bytes, 4, 4)) else { break };
            let end = at + 8 + length;
            match (id, bytes.get(8..12)) {
                (b"LIST", Some(b"hdrl")) => {
                    let list = subject.read(at + 12, length.saturating_sub(4).min(MAX_HEADER))?;
                    file.header = Header::read(&list);
                }
                (b"LIST", Some(b"movi")) if file.movi.is_none() => {
                    file.movi = Some((at + 8, end));
                    // While it is being written the list has no length.
                    if length <= 4 || end >= known {
                        break;
                    }
                    file.ask_for_index(end)?;
                }
                (b"idx1", _) => {
                    file.idx1 = Some((at + 8, length.min(known.saturating_sub(at + 8))));
                    break;
                }
                // Further RIFF chunks have no `idx1`; OpenDML's indexes lead to them.
                (b"RIFF", _) => break,
                (id, _) if !id.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') => break,
                _ => {}
            }
            at = end + (length & 1);
            if file.movi.is_none() {
                file.head_end = at;
            }
        }
        if file.header.streams.is_empty() {
            return Err(Stop::damaged(format!("no stream is described up to offset {}", file.head_end)));
        }
        if let Some((movi, _)) = file.movi {
            file.head_end = movi + 4;
        }
        file.search_tail()?;
        Ok(file)
    }

    /// Asks for what will be read of indexes in one round.
    fn ask_for_index(&self, idx1_at: u64) -> Result<(), Stop> {
        let mut ranges: Vec<(u64, u64)> = self.readable_spans().map(|span| (span.offset, span.length)).collect();
        if ranges.is_empty() {
            ranges.push((idx1_at, INDEX_GUESS));
        }
        self.subject.want(&ranges)
    }

    /// Indexes that lie within the file, of the leading stream; no more than may be read.
    fn readable_spans(&self) -> impl Iterator<Item = Span> + '_ {
        let leading = self.header.leading().and_then(|number| self.header.streams.get(number));
        let mut rest = MAX_INDEX;
        leading.map(|stream| stream.spans()).unwrap_or_default().iter().copied().take_while(move |span| {
            let fits = span.length <= rest && self.is_within(span.offset, span.length);
            rest = rest.saturating_sub(span.length);
            fits
        })
    }

    fn is_within(&self, offset: u64, length: u64) -> bool {
        offset.checked_add(length).is_some_and(|end| end <= self.subject.size().unwrap_or(u64::MAX))
    }

    /// The length of `movi` has 32 bits and may be wrong: then the index is behind it all the same.
    fn search_tail(&mut self) -> Result<(), Stop> {
        let (None, Some((movi, end)), Some(size)) = (self.idx1, self.movi, self.subject.size()) else { return Ok(()) };
        // A file that was cut has no index, and OpenDML's are better.
        if end >= size || self.header.streams.iter().any(|stream| stream.index.is_some()) {
            return Ok(());
        }
        let start = size.saturating_sub(TAIL_BYTES).max(movi);
        self.subject.want(&[(start, TAIL_BYTES)])?;
        let tail = self.subject.read(start, TAIL_BYTES)?;
        let mut from = 0;
        while let Some(at) = find(&tail, b"idx1", from) {
            from = at + 4;
            let content = start + at as u64 + 8;
            let length =
                le_at(&tail, from, 4).filter(|length| *length >= 16 && *length <= size.saturating_sub(content));
            let names_a_stream = tail.get(at + 8..).is_some_and(|id| index::stream_number(id).is_some());
            if let Some(length) = length.filter(|_| names_a_stream) {
                self.idx1 = Some((content, length));
                break;
            }
        }
        Ok(())
    }

    /// Names the indexes and reads what they say of the leading stream, and `idx1` of the sound as well. Offsets count
    /// from the start of the file.
    fn read_index(&self, layout: &mut Layout) -> Result<Vec<Entry>, Stop> {
        let Some(leading) = self.header.leading() else { return Ok(Vec::new()) };
        let spans = self.header.streams.iter().flat_map(|stream| stream.spans());
        let inside: Vec<Span> = spans.filter(|span| self.is_within(span.offset, span.length)).copied().collect();
        for span in inside.iter().take(MAX_NAMED) {
            layout.need_first(span.offset, span.length, "indx");
        }
        if let Some(Index::Entries(entries)) = &self.header.streams[leading].index {
            return Ok(entries.iter().map(|entry| Entry { stream: leading, ..*entry }).collect());
        }
        let mut entries = Vec::new();
        let ranges: Vec<(u64, u64)> = self.readable_spans().map(|span| (span.offset, span.length)).collect();
        self.subject.want(&ranges)?;
        for span in self.readable_spans() {
            let bytes = self.subject.read(span.offset, span.length)?;
            match bytes.get(8..).and_then(Index::read) {
                Some(Index::Entries(more)) => {
                    entries.extend(more.iter().map(|entry| Entry { stream: leading, ..*entry }));
                }
                // Later times would be wrong.
                _ => break,
            }
        }
        if !entries.is_empty() {
            return Ok(entries);
        }
        let Some((offset, length)) = self.idx1.filter(|(_, length)| *length > 0) else { return Ok(Vec::new()) };
        layout.need_first(offset - 8, length + 8, "idx1");
        if length > MAX_INDEX {
            return Ok(Vec::new());
        }
        let idx1 = self.subject.read(offset, length)?;
        let base = self.base(&idx1)?;
        let wanted = [Some(leading), self.header.sound()];
        let absolute = |entry: Entry| Entry { offset: entry.offset.saturating_add_signed(base), ..entry };
        Ok(old_entries(&idx1).filter(|entry| wanted.contains(&Some(entry.stream))).map(absolute).collect())
    }

    /// What must be added to the offsets of `idx1`: they count from the word `movi`, or from the start of the file, or,
    /// from some writers, from something else, and then the first entry is the first chunk.
    fn base(&self, idx1: &[u8]) -> Result<i64, Stop> {
        let (Some((movi, _)), Some(first)) = (self.movi, old_entries(idx1).next()) else { return Ok(0) };
        let at = idx1.chunks_exact(16).find(|entry| index::stream_number(entry).is_some());
        let name = at.map(|entry| &entry[..4]).unwrap_or_default();
        let near = self.subject.read(movi, READ_AHEAD)?;
        let stands_at = |offset: u64| {
            let within = offset.checked_sub(movi).and_then(|at| usize::try_from(at).ok());
            within.is_some_and(|at| near.get(at..at.saturating_add(4)) == Some(name))
        };
        if stands_at(movi + first.offset) {
            return Ok(movi as i64);
        }
        if stands_at(first.offset) {
            return Ok(0);
        }
        match find(&near, name, 4) {
            Some(at) => Ok((movi + at as u64) as i64 - first.offset as i64),
            None if first.offset >= movi => Ok(0),
            None => Ok(movi as i64),
        }
    }

    /// The key frames of the leading stream; how long it plays, when the header does not say.
    fn point(&self, layout: &mut Layout, entries: &[Entry]) {
        let Some(leading) = self.header.leading() else { return };
        let stream = &self.header.streams[leading];
        let size = self.subject.size().unwrap_or(u64::MAX);
        let mut units = 0;
        for entry in entries.iter().filter(|entry| entry.stream == leading) {
            if let Some(time_ms) = stream.time_ms(units).filter(|_| entry.is_key && entry.offset < size) {
                layout.seek.push(SeekPoint { time_ms, offset: entry.offset });
            }
            units += self.units_of(entry);
        }
        layout.duration_ms = layout.duration_ms.or_else(|| stream.ms(units).filter(|ms| *ms > 0));
        layout.seek.sort_by_key(|point| (point.time_ms, point.offset));
        layout.seek.dedup_by_key(|point| point.time_ms);
    }

    /// How many units of its stream a chunk holds.
    fn units_of(&self, entry: &Entry) -> u64 {
        let stream = &self.header.streams[entry.stream];
        match stream.sample_size {
            size @ 1.. if !stream.is_picture() => entry.size / size,
            _ => 1,
        }
    }

    /// Where playing will start: at a key frame, and at the sound of that time if that is elsewhere; without an index
    /// where a constant rate would put it.
    fn name_start(&self, layout: &mut Layout, entries: &[Entry]) {
        let Some(start_ms) = self.subject.start_ms() else { return };
        let size = self.subject.size().unwrap_or(u64::MAX);
        if let Some(point) = layout.seek_before(start_ms).copied() {
            layout.need_first(point.offset, START_BYTES.min(size - point.offset), "start");
            let sound = self.sound_at(entries, point.time_ms).filter(|offset| *offset < size);
            if let Some(offset) = sound.filter(|offset| offset.abs_diff(point.offset) > START_BYTES / 2) {
                layout.need_first(offset, START_BYTES.min(size - offset), "start");
            }
            return;
        }
        let (Some((movi, end)), Some(duration_ms @ 1..)) = (self.movi, layout.duration_ms) else { return };
        let end = if end <= movi + 4 { size } else { end.min(size) };
        let Some(length @ 1..) = end.checked_sub(movi + 4).filter(|_| end < u64::MAX) else { return };
        let past = u128::from(length) * u128::from(start_ms.min(duration_ms)) / u128::from(duration_ms);
        let offset = (movi + u64::try_from(past).unwrap_or(length)).saturating_sub(START_LEAD).max(movi);
        layout.need_first(offset, START_BYTES.min(size.saturating_sub(offset)), "start");
    }

    /// The chunk of sound that plays at a time.
    fn sound_at(&self, entries: &[Entry], time_ms: u64) -> Option<u64> {
        let number = self.header.sound().filter(|number| Some(*number) != self.header.leading())?;
        let stream = &self.header.streams[number];
        let (mut units, mut found) = (0, None);
        for entry in entries.iter().filter(|entry| entry.stream == number) {
            if stream.time_ms(units)? > time_ms {
                break;
            }
            found = Some(entry.offset);
            units += self.units_of(entry);
        }
        found
    }
}
