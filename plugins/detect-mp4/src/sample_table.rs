//! Sample tables: from sync samples to times and bytes (ISO/IEC 14496-12 §8.6, §8.7).
//!
//! The tables are read where they stand, by cursors that only go forward, so that the cost grows with the bytes of the
//! tables and never with the numbers that somebody wrote into them.

use mediahost_plugin_sdk::detect::bytes::be_at;

use crate::boxes::child;

/// The tables of one track.
pub struct SampleTable<'a> {
    /// Decoding durations: (samples, ticks).
    stts: &'a [u8],
    /// Composition offsets: (samples, ticks).
    ctts: &'a [u8],
    /// Numbers of sync samples; none means that each sample is one.
    stss: Option<&'a [u8]>,
    /// (First chunk, samples per chunk, description).
    stsc: &'a [u8],
    sizes: Sizes<'a>,
    /// Offsets of chunks, and the bytes of one.
    chunks: (&'a [u8], usize),
}

#[derive(Clone, Copy)]
enum Sizes<'a> {
    Fixed { size: u64, count: u64 },
    Each(&'a [u8]),
}

impl<'a> SampleTable<'a> {
    pub fn parse(stbl: &'a [u8]) -> SampleTable<'a> {
        let table = |kind, width| child(stbl, kind).and_then(|content| rows(content, 4, width));
        let sizes = child(stbl, b"stsz").and_then(|stsz| {
            let (size, count) = (be_at(stsz, 4, 4)?, be_at(stsz, 8, 4)?);
            Some(if size > 0 { Sizes::Fixed { size, count } } else { Sizes::Each(rows(stsz, 8, 4)?) })
        });
        SampleTable {
            stts: table(b"stts", 8).unwrap_or_default(),
            ctts: table(b"ctts", 8).unwrap_or_default(),
            stss: table(b"stss", 4),
            stsc: table(b"stsc", 12).unwrap_or_default(),
            sizes: sizes.unwrap_or(Sizes::Each(&[])),
            chunks: match (table(b"co64", 8), table(b"stco", 4)) {
                (Some(wide), _) => (wide, 8),
                (None, narrow) => (narrow.unwrap_or_default(), 4),
            },
        }
    }

    /// Samples and the ticks they last.
    pub fn totals(&self) -> (u64, u64) {
        self.stts.chunks_exact(8).fold((0u64, 0u64), |(samples, ticks), row| {
            let (count, delta) = pair(row);
            (samples.saturating_add(count), ticks.saturating_add(count * delta))
        })
    }

    /// Bytes of all samples, when that is told.
    pub fn bytes(&self) -> Option<u64> {
        match self.sizes {
            Sizes::Fixed { size, count } => size.checked_mul(count),
            Sizes::Each([]) => None,
            Sizes::Each(table) => Some(table.chunks_exact(4).map(|row| be_at(row, 0, 4).unwrap_or(0)).sum()),
        }
    }

    /// The last sample whose decoding begins at a time or before it; the last of all where the time is beyond the end.
    pub fn sample_at(&self, time: u64) -> u64 {
        let (mut sample, mut start) = (0u64, 0u64);
        for row in self.stts.chunks_exact(8) {
            let (count, delta) = pair(row);
            let end = start.saturating_add(count * delta);
            if time < end {
                return sample + (time - start) / delta.max(1);
            }
            (sample, start) = (sample.saturating_add(count), end);
        }
        sample.saturating_sub(1)
    }

    /// The last sample from which a decoder can start that is shown at a time or before it, and when its decoding begins;
    /// the first such sample where all are later.
    pub fn start_before(&self, time: u64) -> Option<(u64, u64)> {
        let Some(stss) = self.stss else {
            let sample = self.sample_at(time);
            return Some((sample, Clock::new(self.stts).time(sample)?));
        };
        let (mut clock, mut shift) = (Clock::new(self.stts), Clock::new(self.ctts));
        let (mut found, mut next) = (None, 0);
        for row in stss.chunks_exact(4) {
            let Some(sample) = be_at(row, 0, 4)?.checked_sub(1).filter(|sample| *sample >= next) else { break };
            next = sample + 1;
            let Some(decoded) = clock.time(sample) else { break };
            if found.is_some() && decoded.saturating_add_signed(shift.value(sample)) > time {
                break;
            }
            found = Some((sample, decoded));
        }
        found
    }

    /// Where the bytes of samples begin and end, as far as there are so many.
    pub fn span(&self, first: u64, last: u64) -> Option<(u64, u64)> {
        let mut places = Places::new(self);
        let start = places.offset(first)?;
        let end = start.checked_add(self.size(first)?)?;
        let last = last.min(self.count().checked_sub(1)?);
        let reached = (last > first).then(|| places.offset(last)?.checked_add(self.size(last)?)).flatten();
        Some((start, reached.unwrap_or(end).max(end)))
    }

    fn count(&self) -> u64 {
        match self.sizes {
            Sizes::Fixed { count, .. } => count,
            Sizes::Each(table) => (table.len() / 4) as u64,
        }
    }

    fn size(&self, sample: u64) -> Option<u64> {
        match self.sizes {
            Sizes::Fixed { size, count } => (sample < count).then_some(size),
            Sizes::Each(table) => be_at(table, usize::try_from(sample).ok()?.checked_mul(4)?, 4),
        }
    }

    /// Times and offsets from which a decoder can start: the sync samples, or about one in `pace` ticks where each
    /// sample is one. At most `most`, evenly spread; they end where the tables stop making sense.
    pub fn starts(&self, most: usize, pace: u64) -> Vec<(u64, u64)> {
        match self.stss {
            Some(stss) => {
                let step = (stss.len() / 4).div_ceil(most).max(1);
                let numbers = stss.chunks_exact(4).step_by(step).map(|row| be_at(row, 0, 4).unwrap_or(0));
                self.place(numbers.map_while(|number| number.checked_sub(1)))
            }
            None => {
                let (samples, ticks) = self.totals();
                let paced = u128::from(samples) * u128::from(pace) / u128::from(ticks.max(1));
                let step = paced.max(u128::from(samples) / most.max(1) as u128 + 1);
                self.place((0..samples).step_by(usize::try_from(step).unwrap_or(usize::MAX)))
            }
        }
    }

    fn place(&self, samples: impl Iterator<Item = u64>) -> Vec<(u64, u64)> {
        let (mut clock, mut shift, mut places) = (Clock::new(self.stts), Clock::new(self.ctts), Places::new(self));
        let (mut starts, mut next) = (Vec::new(), 0);
        for sample in samples {
            if sample < next {
                break;
            }
            next = sample + 1;
            let (Some(time), Some(offset)) = (clock.time(sample), places.offset(sample)) else { break };
            starts.push((time.saturating_add_signed(shift.value(sample)), offset));
        }
        starts
    }

    fn chunk(&self, index: u64) -> Option<u64> {
        be_at(self.chunks.0, usize::try_from(index).ok()?.checked_mul(self.chunks.1)?, self.chunks.1)
    }

    fn chunk_count(&self) -> u64 {
        (self.chunks.0.len() / self.chunks.1) as u64
    }
}

/// The rows of a table whose count stands at `at`; no more than are there.
fn rows(content: &[u8], at: usize, width: usize) -> Option<&[u8]> {
    let count = be_at(content, at, 4)? as usize;
    let rows = content.get(at + 4..)?;
    Some(&rows[..count.min(rows.len() / width) * width])
}

fn pair(row: &[u8]) -> (u64, u64) {
    (be_at(row, 0, 4).unwrap_or(0), be_at(row, 4, 4).unwrap_or(0))
}

/// A table of runs, followed forward.
struct Clock<'a> {
    rows: &'a [u8],
    /// First sample of the current run and its time.
    sample: u64,
    time: u64,
}

impl<'a> Clock<'a> {
    fn new(rows: &'a [u8]) -> Clock<'a> {
        Clock { rows, sample: 0, time: 0 }
    }

    /// Goes to the run of a sample and returns its value.
    fn run(&mut self, sample: u64) -> Option<u64> {
        loop {
            let (count, value) = pair(self.rows.get(..8)?);
            if sample < self.sample.saturating_add(count) {
                return Some(value);
            }
            self.sample = self.sample.saturating_add(count);
            self.time = self.time.saturating_add(count * value);
            self.rows = &self.rows[8..];
        }
    }

    /// The sum of the values of all samples before this one.
    fn time(&mut self, sample: u64) -> Option<u64> {
        let delta = self.run(sample)?;
        (sample - self.sample).checked_mul(delta).map(|past| self.time.saturating_add(past))
    }

    /// The value of a sample as a signed number; 0 where the table does not reach.
    fn value(&mut self, sample: u64) -> i64 {
        self.run(sample).map_or(0, |value| i64::from(value as u32 as i32))
    }
}

/// Chunks and the samples in them, followed forward.
struct Places<'a, 'b> {
    table: &'b SampleTable<'a>,
    rows: &'a [u8],
    /// The current chunk and the number of its first sample, both from 0.
    chunk: u64,
    first: u64,
    /// Samples of this chunk that were gone over, and their bytes.
    within: (u64, u64),
}

impl<'a, 'b> Places<'a, 'b> {
    fn new(table: &'b SampleTable<'a>) -> Places<'a, 'b> {
        Places { table, rows: table.stsc, chunk: 0, first: 0, within: (0, 0) }
    }

    /// Samples per chunk now, and the first chunk for which that changes.
    fn run(&self) -> Option<(u64, u64)> {
        let (_, per_chunk) = pair(self.rows.get(..12)?);
        let next = self.rows.get(12..24).and_then(|row| pair(row).0.checked_sub(1));
        let end = next.unwrap_or(u64::MAX).min(self.table.chunk_count());
        (end > self.chunk).then_some((per_chunk, end))
    }

    fn advance(&mut self, chunks: u64, per_chunk: u64, end: u64) {
        self.first = self.first.saturating_add(chunks.saturating_mul(per_chunk));
        self.chunk += chunks;
        self.within = (0, 0);
        if self.chunk == end {
            self.rows = &self.rows[12..];
        }
    }

    /// Where a sample begins.
    fn offset(&mut self, sample: u64) -> Option<u64> {
        loop {
            let (per_chunk, end) = self.run()?;
            if sample < self.first.saturating_add(per_chunk) {
                break;
            }
            let chunks = (sample - self.first).checked_div(per_chunk).unwrap_or(u64::MAX).min(end - self.chunk);
            self.advance(chunks, per_chunk, end);
        }
        let index = sample - self.first;
        let (gone, bytes) = self.within;
        let more = match self.table.sizes {
            Sizes::Fixed { size, .. } => (index - gone).checked_mul(size)?,
            Sizes::Each(table) => {
                let from = usize::try_from(self.first + gone).ok()?.checked_mul(4)?;
                let to = usize::try_from(sample).ok()?.checked_mul(4)?;
                table.get(from..to)?.chunks_exact(4).map(|row| be_at(row, 0, 4).unwrap_or(0)).sum()
            }
        };
        self.within = (index, bytes.saturating_add(more));
        self.table.chunk(self.chunk)?.checked_add(self.within.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(kind: &[u8; 4], numbers: &[u32]) -> Vec<u8> {
        let mut bytes = ((8 + numbers.len() * 4) as u32).to_be_bytes().to_vec();
        bytes.extend(kind);
        bytes.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
        bytes
    }

    fn table(boxes: &[(&[u8; 4], &[u32])]) -> Vec<u8> {
        boxes.iter().flat_map(|(kind, numbers)| boxed(kind, numbers)).collect()
    }

    /// Six samples of 10, 20 … 60 bytes in chunks of two, two, one and one.
    const SIZES: (&[u8; 4], &[u32]) = (b"stsz", &[0, 0, 6, 10, 20, 30, 40, 50, 60]);
    const CHUNKS: (&[u8; 4], &[u32]) = (b"stsc", &[0, 2, 1, 2, 1, 3, 1, 1]);
    const OFFSETS: (&[u8; 4], &[u32]) = (b"stco", &[0, 4, 1000, 2000, 3000, 4000]);
    const TIMES: (&[u8; 4], &[u32]) = (b"stts", &[0, 2, 3, 100, 3, 10]);

    #[test]
    fn sync_samples_are_placed_within_their_chunks() {
        let stbl = table(&[SIZES, CHUNKS, OFFSETS, TIMES, (b"stss", &[0, 4, 1, 2, 4, 6])]);
        let starts = SampleTable::parse(&stbl).starts(9, 200);
        assert_eq!(starts, [(0, 1000), (100, 1010), (300, 2030), (320, 4000)]);
        assert_eq!(SampleTable::parse(&stbl).starts(2, 200), [(0, 1000), (300, 2030)]);
        assert_eq!((SampleTable::parse(&stbl).totals(), SampleTable::parse(&stbl).bytes()), ((6, 330), Some(210)));
    }

    #[test]
    fn composition_offsets_are_signed() {
        let ctts: (&[u8; 4], &[u32]) = (b"ctts", &[0, 2, 1, 7, 5, 5u32.wrapping_neg()]);
        let stbl = table(&[SIZES, CHUNKS, OFFSETS, TIMES, ctts, (b"stss", &[0, 2, 1, 4])]);
        assert_eq!(SampleTable::parse(&stbl).starts(9, 200), [(7, 1000), (295, 2030)]);
    }

    #[test]
    fn without_sync_samples_each_is_a_place() {
        let stbl = table(&[SIZES, CHUNKS, OFFSETS, TIMES]);
        let every = [(0, 1000), (100, 1010), (200, 2000), (300, 2030), (310, 3000), (320, 4000)];
        assert_eq!(SampleTable::parse(&stbl).starts(9, 0), every);
        assert_eq!(SampleTable::parse(&stbl).starts(9, 110), [every[0], every[2], every[4]]);
        assert_eq!(SampleTable::parse(&stbl).starts(2, 0), [every[0], every[4]]);
    }

    #[test]
    fn samples_at_times() {
        let stbl = table(&[SIZES, CHUNKS, OFFSETS, TIMES, (b"stss", &[0, 2, 1, 4])]);
        let table_of_all = table(&[SIZES, CHUNKS, OFFSETS, TIMES]);
        let (keys, all) = (SampleTable::parse(&stbl), SampleTable::parse(&table_of_all));
        for (time, sample, key) in [(0, 0, (0, 0)), (199, 1, (0, 0)), (300, 3, (3, 300)), (9_999, 5, (3, 300))] {
            assert_eq!((keys.sample_at(time), keys.start_before(time)), (sample, Some(key)), "{time}");
            assert_eq!(all.start_before(time).map(|(sample, _)| sample), Some(sample), "{time}");
        }
        let spans = [(0, 0), (1, 2), (0, 99), (5, 2), (6, 6)].map(|(first, last)| keys.span(first, last));
        let expected = [Some((1000, 1010)), Some((1010, 2030)), Some((1000, 4060)), Some((4000, 4060)), None];
        assert_eq!(spans, expected);
        let late: (&[u8; 4], &[u32]) = (b"ctts", &[0, 1, 6, 50]);
        let stbl = table(&[SIZES, CHUNKS, OFFSETS, TIMES, late, (b"stss", &[0, 2, 1, 4])]);
        let shown = SampleTable::parse(&stbl);
        assert_eq!([0, 349, 350].map(|time| shown.start_before(time)), [Some((0, 0)), Some((0, 0)), Some((3, 300))]);
    }

    #[test]
    fn tables_that_lie_end_early() {
        for (what, boxes, expected) in [
            ("no chunks", vec![SIZES, TIMES, (b"stss", &[0, 1, 1])], 0),
            ("stss goes back", vec![SIZES, CHUNKS, OFFSETS, TIMES, (b"stss", &[0, 3, 2, 2, 3])], 1),
            ("chunks go back", vec![SIZES, (b"stsc", &[0, 2, 1, 1, 1, 1, 9, 1]), OFFSETS, TIMES], 0),
            ("empty chunks", vec![SIZES, (b"stsc", &[0, 1, 1, 0, 1]), OFFSETS, TIMES, (b"stss", &[0, 1, 1])], 0),
            (
                "huge numbers",
                vec![
                    (b"stsz", &[0, 7, u32::MAX]),
                    (b"stsc", &[0, 1, 1, u32::MAX, 1]),
                    OFFSETS,
                    (b"stts", &[0, 1, u32::MAX, u32::MAX]),
                    (b"stss", &[0, 2, 1, u32::MAX]),
                ],
                2,
            ),
        ] {
            assert_eq!(SampleTable::parse(&table(&boxes)).starts(100, 1).len(), expected, "{what}");
        }
    }
}
