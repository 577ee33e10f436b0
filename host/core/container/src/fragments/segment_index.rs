//! Segment indexes: `sidx` boxes that refer to media or to each other (ISO/IEC 14496-12 §8.16.3).
//!
//! Owns: reading one, and the walk through a tree of them in the order of the file.
//! Leaves to others: getting their bytes.
//!
//! Invariant: the walk holds at most [`MAX_SIDX_DEPTH`] indexes and reads at most [`MAX_SIDX_BOXES`].

use std::num::NonZeroU32;
use std::ops::Range;

use super::boxes::{Numbers, Whole};
use super::{Error, MAX_SIDX_BOXES, MAX_SIDX_DEPTH, Segment, Timescale};

/// Bytes of one reference.
const REFERENCE: usize = 12;

/// A tree of indexes on the way through it.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    /// From the root to where the walk is.
    levels: Vec<Level>,
    boxes: usize,
    /// The end of all that was referred to so far.
    end: u64,
    timescale: Timescale,
}

/// The references of one index that the walk has not come to.
#[derive(Clone, Debug)]
struct Level {
    /// Where the next reference leads, and when that is, in the index' own timescale.
    offset: u64,
    time: u64,
    timescale: Timescale,
    rest: Vec<[u8; REFERENCE]>,
    next: usize,
}

/// What the walk came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Segment(Segment),
    /// An index that has to be read with [`Tree::enter`], at this byte.
    Index(u64),
    /// The end of the tree; the file goes on at this byte.
    End(u64),
}

/// The track that an index is of, `reference_ID`.
pub(super) fn track(sidx: &Whole) -> Result<u32, Error> {
    sidx.full()?.2.u32()
}

impl Tree {
    /// A tree without its root, whose segments are to be in this timescale.
    pub(super) fn new(timescale: Timescale) -> Tree {
        Tree { levels: Vec::new(), boxes: 0, end: 0, timescale }
    }

    /// Reads the next index, the root first.
    ///
    /// ```text
    ///  version, flags | reference_ID (32) | timescale (32) | earliest_presentation_time, first_offset (32 or 64 each)
    ///  reserved (16) | reference_count (16) | references (96 each)
    /// ```
    pub(super) fn enter(&mut self, sidx: &Whole, bytes: &Range<u64>) -> Result<(), Error> {
        let limit = |what, most| Error::Limit { at: sidx.at, kind: sidx.kind, what, most };
        if self.levels.len() == MAX_SIDX_DEPTH {
            return Err(limit("segment indexes within each other", MAX_SIDX_DEPTH));
        }
        if self.boxes == MAX_SIDX_BOXES {
            return Err(limit("segment indexes that refer to each other", MAX_SIDX_BOXES));
        }
        self.boxes += 1;
        let (version, _, mut numbers) = sidx.full()?;
        numbers.take(4)?;
        let timescale = NonZeroU32::new(numbers.u32()?).ok_or_else(|| sidx.damaged("its timescale is zero"))?;
        let time = numbers.wide(version != 0)?;
        let first_offset = numbers.wide(version != 0)?;
        let offset =
            bytes.end.checked_add(first_offset).ok_or_else(|| sidx.damaged("its offsets are beyond 64 bits"))?;
        let rest = references(&mut numbers)?;
        self.end = self.end.max(bytes.end);
        self.levels.push(Level { offset, time, timescale: Timescale(timescale), rest, next: 0 });
        Ok(())
    }

    /// Whether there is nothing more to come to.
    pub(super) fn is_at_end(&self) -> bool {
        self.levels.is_empty()
    }

    /// Takes the next step; `damaged` makes an error of what is wrong.
    pub(super) fn step(&mut self, damaged: impl Fn(&'static str) -> Error) -> Result<Found, Error> {
        while let Some(level) = self.levels.last_mut() {
            let Some(reference) = level.rest.get(level.next) else {
                self.levels.pop();
                continue;
            };
            level.next += 1;
            let word = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| reference[at + byte]));
            let (size, duration, access) = (word(0) & 0x7FFF_FFFF, word(4), word(8));
            let is_index = word(0) >> 31 == 1;
            let bytes = level.offset
                ..level.offset.checked_add(size.into()).ok_or_else(|| damaged("its offsets are beyond 64 bits"))?;
            let time = level.time
                ..level.time.checked_add(duration.into()).ok_or_else(|| damaged("its times are beyond 64 bits"))?;
            (level.offset, level.time) = (bytes.end, time.end);
            // Nothing lies there, be it media or an index; its time passes all the same.
            if size == 0 {
                continue;
            }
            self.end = self.end.max(bytes.end);
            if is_index {
                return Ok(Found::Index(bytes.start));
            }
            let ticks = |time| level.timescale.convert(time, self.timescale);
            let start = ticks(time.start);
            return Ok(Found::Segment(Segment {
                bytes,
                start_ticks: start,
                duration_ticks: ticks(time.end).saturating_sub(start),
                is_sync: starts_at_sync(access),
            }));
        }
        Ok(Found::End(self.end))
    }
}

fn references(numbers: &mut Numbers) -> Result<Vec<[u8; REFERENCE]>, Error> {
    numbers.take(2)?;
    let count = usize::from(numbers.u16()?);
    let rows = numbers.take(count * REFERENCE)?.chunks_exact(REFERENCE);
    Ok(rows.filter_map(|row| row.try_into().ok()).collect())
}

/// `starts_with_SAP` with a `SAP_type` of 1 or 2, which are sync samples (§8.16.3.3, Annex I), or of 0, which leaves it
/// open. Type 3 is an open group of pictures: a place to start at, and no sync sample.
fn starts_at_sync(access: u32) -> bool {
    access >> 31 == 1 && access >> 28 & 7 <= 2
}
