//! Fragments and their indexes (ISO/IEC 14496-12 §8.8, §8.16.3).

use mediahost_plugin_sdk::detect::SeekPoint;
use mediahost_plugin_sdk::detect::bytes::be_at;

use crate::boxes::{Header, child, children, full};
use crate::movie::{Movie, PICTURES_AHEAD, Trak, millis};

/// Samples of sound that a player reads of a fragment before it plays: a third of a second of most codecs.
const SOUNDS_AHEAD: u64 = 16;

/// A segment index (§8.16.3).
pub struct SegmentIndex {
    pub track: u32,
    pub duration_ms: u64,
    pub points: Vec<SeekPoint>,
}

/// Reads the content of a `sidx`; `anchor` is the first byte behind the box.
pub fn segment_index(content: &[u8], anchor: u64) -> Option<SegmentIndex> {
    let (version, _, mut cursor) = full(content)?;
    let width = if version == 0 { 4 } else { 8 };
    let track = cursor.be32()?;
    let timescale = cursor.be(4)?;
    let mut time = cursor.be(width)?;
    let mut offset = anchor.checked_add(cursor.be(width)?)?;
    cursor.skip(2)?;
    let begin = time;
    let mut points = Vec::new();
    for _ in 0..cursor.be16()? {
        let (Some(size), Some(duration), Some(_)) = (cursor.be(4), cursor.be(4), cursor.be(4)) else { break };
        points.push(SeekPoint { time_ms: millis(time, timescale)?, offset });
        // The highest bit tells a further index from media; either is a place to read on from.
        offset = offset.checked_add(size & 0x7FFF_FFFF)?;
        time = time.saturating_add(duration);
    }
    Some(SegmentIndex { track, duration_ms: millis(time - begin, timescale)?, points })
}

/// The length of the `mfra` box from the 16 bytes of `mfro` at the end of the file (§8.8.11).
pub fn mfra_length(tail: &[u8]) -> Option<u64> {
    let is_mfro = be_at(tail, 0, 4)? == 16 && tail.get(4..8)? == b"mfro";
    be_at(tail, 12, 4).filter(|length| is_mfro && *length >= 24)
}

/// What the random access tables say (§8.8.10).
#[derive(Default)]
pub struct RandomAccess {
    pub points: Vec<SeekPoint>,
    /// The fragment with the latest offset.
    pub last_fragment: Option<u64>,
}

pub fn random_access(mfra: &[u8], movie: &Movie) -> RandomAccess {
    let mut found = RandomAccess::default();
    let leading = movie.leading().map(|track| track.id);
    for (_, tfra) in children(mfra).filter(|(kind, _)| kind == b"tfra").take(movie.tracks.len()) {
        let Some((track, rows)) = table(tfra) else { continue };
        found.last_fragment = found.last_fragment.max(rows.iter().map(|(_, offset)| *offset).max());
        let Some(track) = movie.tracks.iter().find(|known| known.id == track) else { continue };
        if Some(track.id) == leading {
            let point =
                |(time, offset): (u64, u64)| Some(SeekPoint { time_ms: millis(time, track.timescale)?, offset });
            found.points = rows.into_iter().filter_map(point).collect();
        }
    }
    found
}

/// Track and (time, offset) of the rows of one `tfra`.
fn table(tfra: &[u8]) -> Option<(u64, Vec<(u64, u64)>)> {
    let (version, _, mut cursor) = full(tfra)?;
    let track = cursor.be(4)?;
    let widths = cursor.be32()?;
    let numbers: usize = [widths >> 4 & 3, widths >> 2 & 3, widths & 3].iter().map(|width| *width as usize + 1).sum();
    let width = if version == 1 { 8 } else { 4 };
    let mut rows = Vec::new();
    for _ in 0..cursor.be32()? {
        let (Some(time), Some(offset), Some(())) = (cursor.be(width), cursor.be(width), cursor.skip(numbers)) else {
            break;
        };
        rows.push((time, offset));
    }
    Some((track, rows))
}

/// What the last fragment tells of the whole.
pub struct End {
    pub duration_ms: Option<u64>,
    pub frame_rate: Option<f64>,
}

/// Reads the content of a `moof`: when its last sample ends.
pub fn end(moof: &[u8], movie: &Movie) -> End {
    let mut end = End { duration_ms: None, frame_rate: None };
    for (_, traf) in children(moof).filter(|(kind, _)| kind == b"traf").take(movie.tracks.len()) {
        let Some((track, run)) = track_fragment(traf, movie) else { continue };
        end.duration_ms = end.duration_ms.max(millis(run.start.saturating_add(run.ticks), track.timescale));
        let is_leading = movie.leading().is_some_and(|leading| leading.id == track.id);
        if is_leading && run.ticks > 0 && run.samples > 0 {
            end.frame_rate = Some(run.samples as f64 * track.timescale as f64 / run.ticks as f64);
        }
    }
    end.duration_ms = end.duration_ms.filter(|ms| *ms > 0);
    end
}

/// The content of the last movie fragment box that is whole within these bytes.
pub fn last_fragment(tail: &[u8]) -> Option<&[u8]> {
    tail.windows(4).enumerate().rev().filter(|(_, kind)| *kind == b"moof").find_map(|(at, _)| {
        let start = at.checked_sub(4)?;
        let header = Header::parse(&tail[start..])?;
        let end = start.checked_add(usize::try_from(header.length?).ok()?)?;
        // What is in the media may look like a box; the box within comes first (§8.8.4).
        let content = tail.get(start + header.head as usize..end)?;
        children(content).next().filter(|(kind, _)| kind == b"mfhd").map(|_| content)
    })
}

/// Where the bytes begin and end that a player reads of a fragment before it shows its first picture; of the content of
/// a `moof` that begins at an offset.
pub fn opening(moof: &[u8], offset: u64, movie: &Movie) -> Vec<(u64, u64)> {
    let (mut spans, mut follow) = (Vec::new(), offset);
    for (_, traf) in children(moof).filter(|(kind, _)| kind == b"traf").take(movie.tracks.len()) {
        let Some((track, header)) = track_header(traf, movie) else { continue };
        // §8.8.7.1: media of the first track count from the box, of others from where those of the one before end.
        let base = header.base.unwrap_or(if header.counts_from_box { offset } else { follow });
        let mut left = if track.is_video() { PICTURES_AHEAD + 1 } else { SOUNDS_AHEAD };
        let mut at = base;
        for (_, trun) in children(traf).filter(|(kind, _)| kind == b"trun") {
            let Some(run) = Samples::parse(trun) else { break };
            let start = run.offset.map_or(at, |offset| base.saturating_add_signed(offset));
            let taken = run.bytes(left, header.size);
            if left > 0 && taken > 0 && track.is_media() {
                spans.push((start, start.saturating_add(taken)));
            }
            left = left.saturating_sub(run.count);
            at = start.saturating_add(run.bytes(u64::MAX, header.size));
        }
        follow = at;
    }
    spans
}

struct Run {
    start: u64,
    samples: u64,
    ticks: u64,
}

fn track_fragment<'a, 'b>(traf: &[u8], movie: &'b Movie<'a>) -> Option<(&'b Trak<'a>, Run)> {
    let (track, header) = track_header(traf, movie)?;
    let (version, _, mut cursor) = full(child(traf, b"tfdt")?)?;
    let mut run = Run { start: cursor.be(if version == 1 { 8 } else { 4 })?, samples: 0, ticks: 0 };
    for (_, trun) in children(traf).filter(|(kind, _)| kind == b"trun") {
        let samples = Samples::parse(trun)?;
        run.samples = run.samples.saturating_add(samples.count);
        run.ticks = run.ticks.saturating_add(samples.sum(samples.duration_at, u64::MAX, header.duration));
    }
    Some((track, run))
}

/// Defaults for the samples of a track in a fragment.
struct TrackHeader {
    /// From where the offsets of runs count, if that is told.
    base: Option<u64>,
    counts_from_box: bool,
    duration: u64,
    size: u64,
}

/// The track of a `traf` and what its `tfhd` says (§8.8.7).
fn track_header<'a, 'b>(traf: &[u8], movie: &'b Movie<'a>) -> Option<(&'b Trak<'a>, TrackHeader)> {
    let (_, flags, mut cursor) = full(child(traf, b"tfhd")?)?;
    let id = cursor.be(4)?;
    let track = movie.tracks.iter().find(|track| track.id == id)?;
    let base = if flags & 1 != 0 { Some(cursor.be(8)?) } else { None };
    cursor.skip(if flags & 2 != 0 { 4 } else { 0 })?;
    let duration = if flags & 8 != 0 { cursor.be(4)? } else { track.default_duration };
    let size = if flags & 0x10 != 0 { cursor.be(4)? } else { track.default_size };
    Some((track, TrackHeader { base, counts_from_box: flags & 0x2_0000 != 0, duration, size }))
}

/// The samples of one `trun` (§8.8.8).
struct Samples<'a> {
    count: u64,
    /// Where they begin, from the base of the track.
    offset: Option<i64>,
    rows: &'a [u8],
    width: usize,
    /// Where duration and size stand in a row.
    duration_at: Option<usize>,
    size_at: Option<usize>,
}

impl Samples<'_> {
    fn parse(trun: &[u8]) -> Option<Samples<'_>> {
        let (_, flags, mut cursor) = full(trun)?;
        let count = cursor.be(4)?;
        let offset = if flags & 1 != 0 { Some(i64::from(cursor.be32()? as i32)) } else { None };
        cursor.skip(if flags & 4 != 0 { 4 } else { 0 })?;
        let has_duration = flags & 0x100 != 0;
        Some(Samples {
            count,
            offset,
            rows: cursor.rest(),
            width: (flags >> 8 & 15).count_ones() as usize * 4,
            duration_at: has_duration.then_some(0),
            size_at: (flags & 0x200 != 0).then_some(if has_duration { 4 } else { 0 }),
        })
    }

    /// Bytes of the first samples, at most so many.
    fn bytes(&self, most: u64, default: u64) -> u64 {
        self.sum(self.size_at, most, default)
    }

    /// What stands there in the rows of the first samples in all, or the default for each of them.
    fn sum(&self, at: Option<usize>, most: u64, default: u64) -> u64 {
        let count = self.count.min(most);
        let Some(at) = at else { return count.saturating_mul(default) };
        let rows = self.rows.chunks_exact(self.width).take(usize::try_from(count).unwrap_or(usize::MAX));
        rows.fold(0u64, |sum, row| sum.saturating_add(be_at(row, at, 4).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        [&(content.len() as u32 + 8).to_be_bytes()[..], kind, content].concat()
    }

    fn numbers(numbers: &[u32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    /// A track of a movie: its number, what handles it, and what `trex` says of the bytes of a sample.
    fn track(id: u32, handler: &[u8; 4], size: u32) -> (Vec<u8>, Vec<u8>) {
        let tkhd = boxed(b"tkhd", &[numbers(&[0, 0, 0, id]), vec![0; 68]].concat());
        let mdhd = boxed(b"mdhd", &numbers(&[0, 0, 0, 1000, 0, 0]));
        let hdlr = boxed(b"hdlr", &[&[0; 8][..], handler, &[0; 12]].concat());
        let trex = boxed(b"trex", &numbers(&[0, id, 1, 40, size, 0]));
        (boxed(b"trak", &[tkhd, boxed(b"mdia", &[mdhd, hdlr].concat())].concat()), trex)
    }

    fn traf(tfhd: &[u32], truns: &[&[u32]]) -> Vec<u8> {
        let truns: Vec<u8> = truns.iter().flat_map(|trun| boxed(b"trun", &numbers(trun))).collect();
        boxed(b"traf", &[boxed(b"tfhd", &numbers(tfhd)), truns].concat())
    }

    #[test]
    fn what_a_fragment_begins_with() {
        let (picture, picture_defaults) = track(1, b"vide", 0);
        let (sound, sound_defaults) = track(2, b"soun", 10);
        let mvex = boxed(b"mvex", &[picture_defaults, sound_defaults].concat());
        let moov = [picture, sound, mvex].concat();
        let movie = Movie::parse(&moov);
        assert_eq!(movie.tracks.len(), 2);
        // Twelve pictures of 100 bytes in two runs with sizes, then thirty frames of sound of the default size.
        let sizes = |count: u32, offset: u32| [&[0x201, count, offset][..], &vec![100; count as usize]].concat();
        let pictures = |flags| traf(&[flags, 1], &[&sizes(5, 500), &sizes(7, 1_000)]);
        let told = traf(&[0x2_0000, 2], &[&[1, 30, 1_700]]);
        let follows = traf(&[0, 2], &[&[0, 30]]);
        let elsewhere = traf(&[1, 2, 0, 9_000], &[&[1, 30, 5]]);
        for (second, expected) in [(told, 8_700), (follows, 8_700), (elsewhere, 9_005)] {
            let moof = [boxed(b"mfhd", &[0; 8]), pictures(0x2_0000), second].concat();
            let spans = opening(&moof, 7_000, &movie);
            assert_eq!(spans, [(7_500, 8_000), (8_000, 8_400), (expected, expected + 160)]);
        }
        assert!(opening(&traf(&[0, 7], &[&[0, 30]]), 0, &movie).is_empty());
    }

    #[test]
    fn the_last_fragment_of_a_tail() {
        let fragment = |number| boxed(b"moof", &boxed(b"mfhd", &[0, 0, 0, 0, 0, 0, 0, number]));
        let (moof, last) = (fragment(1), fragment(2));
        let false_one = boxed(b"moof", b"media that look like a box");
        let cut = &moof[..20];
        let tail = [&b"media"[..], &moof, b"media", &last, b"media", &false_one, cut].concat();
        assert_eq!(last_fragment(&tail), Some(&last[8..]));
        assert_eq!((last_fragment(cut), last_fragment(b"moof"), last_fragment(b"")), (None, None, None));
    }
}
