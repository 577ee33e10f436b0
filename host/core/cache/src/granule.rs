//! Granules: the unit of presence and of checksums.
//!
//! Owns: how an object of a known length is cut, and the checksum of each piece while its bytes stream by.
//! Leaves to others: where the bytes are kept and which of them are wanted.
//!
//! Invariant: all granules of an object have the same length, except the last one, which may be shorter.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Granule of objects below [`LARGE`], bytes.
pub const SMALL_GRANULE: u32 = 64 * 1024;
/// Granule of objects from [`LARGE`] on, bytes.
pub const LARGE_GRANULE: u32 = 256 * 1024;
/// Where objects begin to be cut coarsely, bytes.
pub const LARGE: u64 = 1 << 30;
/// The largest object that is kept: 16 TiB, whose presence map is 8 MiB. Most file systems end there as well.
pub const MAX_TOTAL: u64 = 1 << 44;

/// One complete piece of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Granule {
    /// Which piece, counted from the head of the object.
    pub index: u64,
    /// Its length in bytes; only the last of an object may be shorter than the rest.
    pub length: u32,
    /// CRC32C of its bytes.
    pub crc: u32,
}

/// How an object is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    total: u64,
    granule: u32,
}

impl Geometry {
    /// The usual cut for an object of `total` bytes. What lies beyond [`MAX_TOTAL`] does not exist for the cache; callers
    /// refuse such objects first (see [`crate::upstream::accept`]).
    pub fn of(total: u64) -> Self {
        Self { total: total.min(MAX_TOTAL), granule: if total < LARGE { SMALL_GRANULE } else { LARGE_GRANULE } }
    }

    /// A cut that was written down earlier; `None` if it could not have been ours.
    pub fn with_granule(total: u64, granule: u32) -> Option<Self> {
        let known = granule.is_power_of_two() && (1..=LARGE_GRANULE).contains(&granule);
        let bounded = total.div_ceil(u64::from(granule).max(1)) <= MAX_TOTAL / u64::from(LARGE_GRANULE);
        (known && bounded).then_some(Self { total, granule })
    }

    /// Length of the object in bytes.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Length of all granules but the last, bytes.
    pub fn granule(&self) -> u32 {
        self.granule
    }

    /// How many granules there are.
    pub fn count(&self) -> u64 {
        self.total.div_ceil(u64::from(self.granule))
    }

    /// The granule that holds a byte.
    pub fn index_at(&self, offset: u64) -> u64 {
        offset / u64::from(self.granule)
    }

    /// The bytes of a granule; empty beyond the end.
    pub fn range_of(&self, index: u64) -> Range<u64> {
        let start = index.saturating_mul(u64::from(self.granule)).min(self.total);
        start..start.saturating_add(u64::from(self.granule)).min(self.total)
    }

    /// The length of a granule; 0 beyond the end.
    pub fn length_of(&self, index: u64) -> u32 {
        let range = self.range_of(index);
        (range.end - range.start) as u32
    }

    /// The nearest border at or before an offset.
    pub fn floor(&self, offset: u64) -> u64 {
        offset - offset % u64::from(self.granule)
    }

    /// The nearest border at or after an offset; the end of the object is a border.
    pub fn ceil(&self, offset: u64) -> u64 {
        offset.div_ceil(u64::from(self.granule)).saturating_mul(u64::from(self.granule)).min(self.total)
    }

    /// Whether this could be a granule of the object: it lies inside and has the one length it can have.
    pub fn admits(&self, granule: &Granule) -> bool {
        granule.length > 0 && self.length_of(granule.index) == granule.length
    }
}

/// Bytes came in another order than the hasher was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("bytes at {got} where {expected} was next")]
pub struct OutOfOrder {
    /// Where the next bytes had to begin.
    pub expected: u64,
    /// Where they began.
    pub got: u64,
}

/// The checksum of bytes that are read piece by piece: `sum` is that of the pieces before, 0 at the beginning.
pub fn checksum(sum: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(sum, bytes)
}

/// Sums up the bytes of one span as they arrive.
#[derive(Clone, Debug)]
pub struct Hasher {
    geometry: Geometry,
    position: u64,
    /// The sum of the granule so far; `None` in a granule whose beginning was not seen.
    crc: Option<u32>,
}

impl Hasher {
    /// For a span that begins at `start`. If that is inside a granule, this granule is never yielded.
    pub fn new(geometry: Geometry, start: u64) -> Self {
        let aligned = start == geometry.floor(start);
        Self { geometry, position: start, crc: aligned.then_some(0) }
    }

    /// Where the next bytes have to begin.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Takes the next bytes and returns the granules that they complete. Bytes beyond the end of the object are ignored.
    /// On an error nothing was taken.
    pub fn push(&mut self, offset: u64, bytes: &[u8]) -> Result<Vec<Granule>, OutOfOrder> {
        if offset != self.position {
            return Err(OutOfOrder { expected: self.position, got: offset });
        }
        let mut complete = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() && self.position < self.geometry.total() {
            let index = self.geometry.index_at(self.position);
            let range = self.geometry.range_of(index);
            let take = usize::try_from(range.end - self.position).unwrap_or(usize::MAX).min(rest.len());
            let (head, tail) = rest.split_at(take);
            self.crc = self.crc.map(|crc| checksum(crc, head));
            self.position += take as u64;
            rest = tail;
            if self.position == range.end {
                let length = self.geometry.length_of(index);
                complete.extend(self.crc.map(|crc| Granule { index, length, crc }));
                self.crc = Some(0);
            }
        }
        Ok(complete)
    }

    /// The last granule of an object whose length was provisional and which ends where this stands; none if it ends at a
    /// border, or in a granule whose beginning was not seen.
    pub fn settle(&self) -> Option<Granule> {
        let (index, start) = (self.geometry.index_at(self.position), self.geometry.floor(self.position));
        let length = u32::try_from(self.position - start).ok().filter(|length| *length > 0)?;
        self.crc.map(|crc| Granule { index, length, crc })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cuts_by_length() {
        assert_eq!(Geometry::of(LARGE - 1).granule(), SMALL_GRANULE);
        assert_eq!(Geometry::of(LARGE).granule(), LARGE_GRANULE);
        assert_eq!(Geometry::of(0).count(), 0);
        assert_eq!(Geometry::of(1).count(), 1);
        assert_eq!(Geometry::of(u64::MAX).count(), MAX_TOTAL / u64::from(LARGE_GRANULE));
        let geometry = Geometry::of(65_536 * 2 + 5);
        assert_eq!(geometry.range_of(2), 131_072..131_077);
        assert_eq!(geometry.length_of(3), 0);
        assert_eq!(geometry.length_of(u64::MAX), 0);
        assert_eq!(geometry.ceil(131_073), 131_077);
        assert!(Geometry::with_granule(u64::MAX, 1).is_none());
        assert!(Geometry::with_granule(10, 0).is_none());
    }

    #[test]
    fn a_gap_is_refused_and_changes_nothing() {
        let mut hasher = Hasher::new(Geometry::of(100), 0);
        hasher.push(0, b"abc").unwrap();
        assert_eq!(hasher.push(4, b"d"), Err(OutOfOrder { expected: 3, got: 4 }));
        assert_eq!(hasher.position(), 3);
    }

    proptest! {
        #[test]
        fn yields_what_a_whole_sum_yields(
            total in 0usize..600, power in 0u32..8, start in 0usize..600, cuts in prop::collection::vec(1usize..90, 0..40),
        ) {
            let geometry = Geometry::with_granule(total as u64, 1 << power).unwrap();
            let data: Vec<u8> = (0..total).map(|i| (i * 31 % 251) as u8).collect();
            let start = start.min(total);
            let mut hasher = Hasher::new(geometry, start as u64);
            let (mut at, mut got) = (start, Vec::new());
            for cut in cuts.into_iter().chain([total]) {
                let end = (at + cut).min(total);
                got.extend(hasher.push(at as u64, &data[at..end]).unwrap());
                at = end;
            }
            let expected: Vec<Granule> = (geometry.ceil(start as u64).div_ceil(1 << power)..geometry.count())
                .filter(|index| geometry.range_of(*index).start >= start as u64)
                .map(|index| {
                    let range = geometry.range_of(index);
                    let bytes = &data[range.start as usize..range.end as usize];
                    Granule { index, length: bytes.len() as u32, crc: crc32c::crc32c(bytes) }
                })
                .collect();
            prop_assert_eq!(got, expected);
        }
    }
}
