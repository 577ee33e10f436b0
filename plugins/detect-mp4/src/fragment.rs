//! Fragments and their indexes (ISO/IEC 14496-12 §8.8, §8.16.3).

use mediahost_plugin_sdk::detect::SeekPoint;
use mediahost_plugin_sdk::detect::bytes::be_at;

use crate::boxes::{child, children, full};
use crate::movie::{Movie, Trak, millis};

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

struct Run {
    start: u64,
    samples: u64,
    ticks: u64,
}

fn track_fragment<'a, 'b>(traf: &[u8], movie: &'b Movie<'a>) -> Option<(&'b Trak<'a>, Run)> {
    let (_, flags, mut cursor) = full(child(traf, b"tfhd")?)?;
    let id = cursor.be(4)?;
    let track = movie.tracks.iter().find(|track| track.id == id)?;
    cursor.skip(if flags & 1 != 0 { 8 } else { 0 } + if flags & 2 != 0 { 4 } else { 0 })?;
    let default = if flags & 8 != 0 { cursor.be(4)? } else { track.default_duration };
    let (version, _, mut cursor) = full(child(traf, b"tfdt")?)?;
    let mut run = Run { start: cursor.be(if version == 1 { 8 } else { 4 })?, samples: 0, ticks: 0 };
    for (_, trun) in children(traf).filter(|(kind, _)| kind == b"trun") {
        let (samples, ticks) = durations(trun, default)?;
        run.samples = run.samples.saturating_add(samples);
        run.ticks = run.ticks.saturating_add(ticks);
    }
    Some((track, run))
}

/// Samples and ticks of one `trun` (§8.8.8).
fn durations(trun: &[u8], default: u64) -> Option<(u64, u64)> {
    let (_, flags, mut cursor) = full(trun)?;
    let count = cursor.be(4)?;
    cursor.skip(if flags & 1 != 0 { 4 } else { 0 } + if flags & 4 != 0 { 4 } else { 0 })?;
    if flags & 0x100 == 0 {
        return Some((count, count * default));
    }
    let width = (flags >> 8 & 15).count_ones() as usize * 4;
    let mut ticks = 0u64;
    for row in cursor.rest().chunks_exact(width).take(count as usize) {
        ticks = ticks.saturating_add(be_at(row, 0, 4)?);
    }
    Some((count, ticks))
}
