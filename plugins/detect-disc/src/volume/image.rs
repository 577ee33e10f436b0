//! The image as far as it was loaded, and how much more may be.
//!
//! Owns: asking for many ranges in as few rounds as can be, merging those that are near, the share of the host's limits
//! that a file system may use.
//! Leaves to others: what the bytes mean.
//!
//! Invariant: every look loads the same ranges in the same order, so the same ones are refused: what was loaded in one
//! look is there in the next.

use std::borrow::Cow;
use std::collections::BTreeMap;

use mediahost_plugin_sdk::detect::{READ_AHEAD, Stop, Subject};

/// Batches that are asked for; each costs a round. The host allows 32, and titles want to be read after this.
const MAX_BATCHES: u32 = 20;
/// Bytes that are asked for in all. The host allows 64 MiB.
const MAX_BYTES: u64 = 32 << 20;
/// Ranges of one batch; what is beyond them is a batch of its own.
const MAX_RANGES: usize = 2048;
/// Ranges of all batches: each one is looked for among the windows that the host shows.
const MAX_ALL_RANGES: usize = 8192;
/// Where there would be more ranges than this, wider gaps are fetched with them.
const MANY_RANGES: usize = 256;
/// A gap that costs less than another range, and the widest where there are many.
const GAP: u64 = 8 * 1024;
const MAX_GAP: u64 = 64 * 1024;
/// With so few ranges there is room to read ahead of each.
const MAX_AHEAD_RANGES: usize = 32;

/// A disc image.
pub struct Image<'a> {
    subject: &'a Subject,
    /// What was loaded, by offset; pieces do not overlap.
    pieces: BTreeMap<u64, Cow<'a, [u8]>>,
    batches: u32,
    bytes: u64,
    /// Whether something that has to be there lies beyond the end.
    pub is_short: bool,
}

impl<'a> Image<'a> {
    /// An image of which nothing was loaded.
    pub fn new(subject: &'a Subject) -> Image<'a> {
        Image { subject, pieces: BTreeMap::new(), batches: 0, bytes: 0, is_short: false }
    }

    /// How long it is, if that is known.
    pub fn size(&self) -> Option<u64> {
        self.subject.size()
    }

    /// Loads ranges that may help, in one round. What lies beyond the end, or is more than a file system may use,
    /// is left out.
    pub fn load(&mut self, ranges: &[(u64, u64)]) -> Result<(), Stop> {
        self.load_some(ranges, false)
    }

    /// The same for ranges that have to be there, with what lies behind them where they are few.
    pub fn need(&mut self, ranges: &[(u64, u64)]) -> Result<(), Stop> {
        let end = self.size().unwrap_or(u64::MAX);
        self.is_short |= ranges.iter().any(|(offset, length)| offset.saturating_add(*length) > end);
        self.load_some(ranges, true)
    }

    /// Bytes that were loaded; `None` if one of them was not.
    pub fn bytes(&self, offset: u64, length: u64) -> Option<Cow<'_, [u8]>> {
        let end = offset.checked_add(length)?;
        let (start, first) = self.pieces.range(..=offset).next_back()?;
        let skip = usize::try_from(offset - start).ok()?;
        if let Some(whole) = usize::try_from(length).ok().and_then(|length| first.get(skip..)?.get(..length)) {
            return Some(Cow::Borrowed(whole));
        }
        let (mut bytes, mut at) = (Vec::new(), offset);
        for (start, piece) in self.pieces.range(*start..end) {
            let rest = piece.get(usize::try_from(at.checked_sub(*start)?).ok()?..)?;
            let taken = usize::try_from(end - at).map_or(rest.len(), |left| left.min(rest.len()));
            bytes.extend_from_slice(&rest[..taken]);
            at += taken as u64;
        }
        (at == end).then_some(Cow::Owned(bytes))
    }

    /// The same; what was not loaded is zeros.
    pub fn bytes_or_zeros(&self, offset: u64, length: u64) -> Cow<'_, [u8]> {
        if let Some(bytes) = self.bytes(offset, length) {
            return bytes;
        }
        let end = offset.saturating_add(length);
        let mut bytes = vec![0; (end - offset) as usize];
        let before = self.pieces.range(..=offset).next_back().map_or(offset, |(start, _)| *start);
        for (start, piece) in self.pieces.range(before..end) {
            let (from, to) = (offset.max(*start), end.min(start + piece.len() as u64));
            if from < to {
                let piece = &piece[(from - start) as usize..(to - start) as usize];
                bytes[(from - offset) as usize..(to - offset) as usize].copy_from_slice(piece);
            }
        }
        Cow::Owned(bytes)
    }

    fn load_some(&mut self, ranges: &[(u64, u64)], ahead: bool) -> Result<(), Stop> {
        let mut missing: Vec<(u64, u64)> = ranges
            .iter()
            .map(|&(offset, length)| (offset, self.clip(offset.saturating_add(length))))
            .filter(|&(offset, end)| offset < end && !self.gaps(offset, end).is_empty())
            .collect();
        missing.sort_unstable();
        let mut gap = GAP;
        merge(&mut missing, gap);
        while missing.len() > MANY_RANGES && gap < MAX_GAP {
            gap *= 2;
            merge(&mut missing, gap);
        }
        if ahead && missing.len() <= MAX_AHEAD_RANGES {
            for (offset, end) in &mut missing {
                *end = self.clip(offset.saturating_add(READ_AHEAD)).max(*end);
            }
            merge(&mut missing, GAP);
        }
        let mut gaps: Vec<(u64, u64)> = missing.iter().flat_map(|&(offset, end)| self.gaps(offset, end)).collect();
        gaps.truncate(MAX_ALL_RANGES.saturating_sub(self.pieces.len()));
        for batch in gaps.chunks(MAX_RANGES) {
            if self.batches == MAX_BATCHES {
                break;
            }
            self.batches += 1;
            self.take(batch)?;
        }
        Ok(())
    }

    /// Takes the ranges that there is room for.
    fn take(&mut self, gaps: &[(u64, u64)]) -> Result<(), Stop> {
        let mut wanted = Vec::new();
        for &(offset, end) in gaps {
            let length = (end - offset).min(MAX_BYTES - self.bytes);
            if length > 0 {
                self.bytes += length;
                wanted.push((offset, length));
            }
        }
        self.subject.want(&wanted)?;
        for (offset, length) in wanted {
            let piece = self.subject.read(offset, length)?;
            if !piece.is_empty() {
                self.pieces.insert(offset, piece);
            }
        }
        Ok(())
    }

    fn clip(&self, end: u64) -> u64 {
        self.size().map_or(end, |size| end.min(size))
    }

    /// What of `offset..end` was not loaded.
    fn gaps(&self, offset: u64, end: u64) -> Vec<(u64, u64)> {
        let (mut gaps, mut at) = (Vec::new(), offset);
        let before = self.pieces.range(..=offset).next_back().map_or(offset, |(start, _)| *start);
        for (start, piece) in self.pieces.range(before..end) {
            if *start > at {
                gaps.push((at, *start));
            }
            at = at.max(start + piece.len() as u64);
        }
        if at < end {
            gaps.push((at, end));
        }
        gaps
    }
}

/// Merges sorted ranges of start and end that are no further apart than `gap`.
fn merge(ranges: &mut Vec<(u64, u64)>, gap: u64) {
    ranges.dedup_by(|next, range| {
        let near = next.0 <= range.1.saturating_add(gap);
        if near {
            range.1 = range.1.max(next.1);
        }
        near
    });
}

/// The next multiple of `step`.
pub fn ceil_to(offset: u64, step: u64) -> u64 {
    offset.div_ceil(step).saturating_mul(step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mediahost_plugin_sdk::detect::{DetectOptions, File, Window};

    fn subject(size: u64, windows: &[(u64, u64)]) -> Subject {
        let window = |&(offset, length): &(u64, u64)| {
            let bytes = (offset..offset + length).map(|at| at as u8).collect();
            Window { file: 0, offset, bytes }
        };
        let windows = windows.iter().map(window).collect();
        Subject::new(vec![File::of_size(Some(size))], windows, DetectOptions { start_ms: None, extra: Vec::new() })
    }

    fn needs(result: Result<(), Stop>) -> Vec<(u64, u64)> {
        match result {
            Err(Stop::Need(needs)) => needs.ranges.iter().map(|range| (range.offset, range.length)).collect(),
            other => panic!("nothing was asked for: {other:?}"),
        }
    }

    #[test]
    fn near_ranges_are_one_and_the_end_cuts() {
        let subject = subject(1 << 20, &[]);
        let mut image = Image::new(&subject);
        let ranges = [(1 << 19, 10), (0, 100), (4096, 100), ((1 << 20) - 5, 100), (1 << 21, 5)];
        assert_eq!(needs(image.load(&ranges)), [(0, 4196), (1 << 19, 10), ((1 << 20) - 5, 5)]);
        assert_eq!(needs(Image::new(&subject).need(&[(10, 1)])), [(10, READ_AHEAD)]);
    }

    #[test]
    fn bytes_span_pieces_and_are_whole() {
        let subject = subject(100_000, &[(0, 100_000)]);
        let mut image = Image::new(&subject);
        image.load(&[(100, 50)]).unwrap();
        image.load(&[(150, 50), (90_000, 10)]).unwrap();
        assert_eq!(image.bytes(140, 20).unwrap()[..], (140..160).collect::<Vec<u8>>());
        for (offset, length) in [(99, 2), (190, 11), (89_999, 2), (90_005, 6), (u64::MAX, 2)] {
            assert!(image.bytes(offset, length).is_none(), "{offset}+{length}");
        }
        assert_eq!(image.bytes_or_zeros(98, 4)[..], [0, 0, 100, 101]);
        assert_eq!(image.bytes_or_zeros(198, 4)[..], [198, 199, 0, 0]);
        image.load(&[(0, 1000)]).unwrap();
        assert_eq!(image.bytes(0, 1000).unwrap().len(), 1000);
        assert_eq!(image.batches, 3);
    }

    #[test]
    fn there_is_an_end_to_loading() {
        let windows: Vec<(u64, u64)> = (0..=u64::from(MAX_BATCHES)).map(|n| (n * 100_000, 10)).collect();
        let few = subject(1 << 40, &windows);
        let mut image = Image::new(&few);
        windows.iter().for_each(|range| image.load(&[*range]).unwrap());
        assert_eq!((image.bytes(100_000, 10).is_some(), image.bytes(2_000_000, 10).is_some()), (true, false));
        let long = subject(1 << 40, &[]);
        assert_eq!(needs(Image::new(&long).load(&[(0, 1 << 39)])), [(0, MAX_BYTES)]);
        let many: Vec<(u64, u64)> = (0..10_000).map(|n| (n * 20_000, 2)).collect();
        assert!(needs(Image::new(&long).load(&many)).len() <= MAX_RANGES);
    }
}
