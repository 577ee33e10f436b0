//! The journal that says which granules survive a crash.
//!
//! Owns: the bytes of a record and of a snapshot, and what may be believed of a journal that was cut or damaged.
//! Leaves to others: writing them in an order that the medium keeps (`io/store`).
//!
//! Invariant: what replays was written. A record counts only if it and everything before it is intact.
//!
//! A journal is at most one snapshot, at its beginning, and then records of 32 bytes, all little-endian:
//!
//! ```text
//!  0        4                12               20       24       28       32
//!  | type   | generation     | granule index  | length | CRC of | CRC of |
//!  | u32    | u64            | u64            | u32    | bytes  | record |
//! ```
//!
//! A record of type 2 is about `length` granules from the index on; 0 there means one.
//!
//! A snapshot is a record of type 3 whose index is the number of granules of the object and whose length and CRC are
//! those of the body behind it: one bit per granule (lowest bit first), then the CRC of each granule that is there.

use std::collections::BTreeMap;

use crate::granule::{Geometry, Granule};

/// Length of a record in bytes.
pub const RECORD: usize = 32;

const PRESENT: u32 = 1;
const EVICTED: u32 = 2;
const SNAPSHOT: u32 = 3;
const CLOSED: u32 = 4;

/// One line of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// The granule is on the medium.
    Present(Granule),
    /// Granules that follow each other are not there any more.
    Evicted {
        /// The first one.
        index: u64,
        /// How many, at least one.
        count: u32,
    },
    /// A body of `length` bytes follows.
    Snapshot {
        /// How many granules the object has.
        count: u64,
        /// Length of the body in bytes.
        length: u32,
        /// CRC32C of the body.
        crc: u32,
    },
    /// The object was closed in peace.
    Closed,
}

/// The bytes of a record.
pub fn encode(generation: u64, record: &Record) -> [u8; RECORD] {
    let (kind, index, length, crc) = match *record {
        Record::Present(granule) => (PRESENT, granule.index, granule.length, granule.crc),
        Record::Evicted { index, count } => (EVICTED, index, count, 0),
        Record::Snapshot { count, length, crc } => (SNAPSHOT, count, length, crc),
        Record::Closed => (CLOSED, 0, 0, 0),
    };
    let mut bytes = [0; RECORD];
    bytes[0..4].copy_from_slice(&kind.to_le_bytes());
    bytes[4..12].copy_from_slice(&generation.to_le_bytes());
    bytes[12..20].copy_from_slice(&index.to_le_bytes());
    bytes[20..24].copy_from_slice(&length.to_le_bytes());
    bytes[24..28].copy_from_slice(&crc.to_le_bytes());
    let own = crc32c::crc32c(&bytes[..28]);
    bytes[28..].copy_from_slice(&own.to_le_bytes());
    bytes
}

/// The record in these bytes and the generation it belongs to; `None` if it is not intact.
pub fn decode(bytes: &[u8; RECORD]) -> Option<(u64, Record)> {
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    if crc32c::crc32c(&bytes[..28]) != word(28) {
        return None;
    }
    let (index, length, crc) = (long(12), word(20), word(24));
    let record = match word(0) {
        PRESENT => Record::Present(Granule { index, length, crc }),
        EVICTED => Record::Evicted { index, count: length.max(1) },
        SNAPSHOT => Record::Snapshot { count: index, length, crc },
        CLOSED => Record::Closed,
        _ => return None,
    };
    Some((long(4), record))
}

/// What may be believed of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// The granules that are there, by index.
    pub granules: Vec<Granule>,
    /// How many bytes from the beginning are intact. The rest is to be cut off before anything is appended.
    pub valid_length: u64,
    /// Whether the last record says that the object was closed in peace.
    pub closed: bool,
}

/// Reads a journal of this generation until the first thing that is not intact or does not fit the object.
pub fn replay(generation: u64, geometry: Geometry, bytes: &[u8]) -> Replayed {
    let (mut granules, mut rest) = match decode_snapshot(generation, geometry, bytes) {
        Some((granules, length)) => (granules, &bytes[length..]),
        None => (BTreeMap::new(), bytes),
    };
    let mut closed = false;
    while let Some((head, tail)) = rest.split_first_chunk::<RECORD>() {
        match decode(head) {
            Some((of, Record::Present(granule))) if of == generation && geometry.admits(&granule) => {
                granules.insert(granule.index, granule);
                closed = false;
            }
            Some((of, Record::Evicted { index, count })) if of == generation => {
                remove(&mut granules, index, count);
                closed = false;
            }
            Some((of, Record::Closed)) if of == generation => closed = true,
            _ => break,
        }
        rest = tail;
    }
    let valid_length = (bytes.len() - rest.len()) as u64;
    Replayed { granules: granules.into_values().collect(), valid_length, closed }
}

/// Costs what is there, not what a record that somebody made up says is gone.
fn remove(granules: &mut BTreeMap<u64, Granule>, index: u64, count: u32) {
    let end = index.saturating_add(u64::from(count));
    let gone: Vec<u64> = granules.range(index..end).map(|(index, _)| *index).collect();
    for index in gone {
        granules.remove(&index);
    }
}

/// A journal that holds these granules and nothing else. Those that do not fit the object are left out.
pub fn encode_snapshot(generation: u64, geometry: Geometry, granules: &[Granule]) -> Vec<u8> {
    let unique: BTreeMap<u64, u32> = granules
        .iter()
        .filter(|granule| geometry.admits(granule))
        .map(|granule| (granule.index, granule.crc))
        .collect();
    let mut body = vec![0u8; bits_length(geometry)];
    for index in unique.keys() {
        // `admits` keeps the index below the count, which is bounded so that it fits any usize.
        body[(index / 8) as usize] |= 1 << (index % 8);
    }
    body.extend(unique.values().flat_map(|crc| crc.to_le_bytes()));
    let head = Record::Snapshot { count: geometry.count(), length: body.len() as u32, crc: crc32c::crc32c(&body) };
    let mut bytes = encode(generation, &head).to_vec();
    bytes.append(&mut body);
    bytes
}

/// The snapshot at the beginning of a journal and its length, if there is one and it is intact.
fn decode_snapshot(generation: u64, geometry: Geometry, bytes: &[u8]) -> Option<(BTreeMap<u64, Granule>, usize)> {
    let (of, Record::Snapshot { count, length, crc }) = decode(bytes.first_chunk()?)? else { return None };
    let end = RECORD + length as usize;
    let body = bytes.get(RECORD..end)?;
    if of != generation || count != geometry.count() || crc32c::crc32c(body) != crc {
        return None;
    }
    let (bits, sums) = body.split_at_checked(bits_length(geometry))?;
    let (sums, odd) = sums.as_chunks::<4>();
    let mut sums = sums.iter();
    let mut granules = BTreeMap::new();
    for index in (0..count).filter(|index| bits[(index / 8) as usize] >> (index % 8) & 1 == 1) {
        let crc = u32::from_le_bytes(*sums.next()?);
        granules.insert(index, Granule { index, length: geometry.length_of(index), crc });
    }
    (odd.is_empty() && sums.next().is_none()).then_some((granules, end))
}

fn bits_length(geometry: Geometry) -> usize {
    geometry.count().div_ceil(8) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const GENERATION: u64 = 3;

    fn geometry() -> Geometry {
        Geometry::with_granule(16 * 40 - 5, 16).unwrap()
    }

    /// Records as the store would write them, and all granules that they ever named.
    fn journal(snapshot: bool, steps: &[(bool, u64, u32)]) -> (Vec<u8>, BTreeSet<(u64, u32)>) {
        let mut ever = BTreeSet::new();
        let half = if snapshot { steps.len() / 2 } else { 0 };
        let granule = |&(_, index, crc): &(bool, u64, u32)| Granule { index, length: geometry().length_of(index), crc };
        let first: Vec<Granule> = steps[..half].iter().map(granule).collect();
        ever.extend(first.iter().map(|granule| (granule.index, granule.crc)));
        let mut bytes = if snapshot { encode_snapshot(GENERATION, geometry(), &first) } else { Vec::new() };
        for step in &steps[half..] {
            let gone = || Record::Evicted { index: step.1, count: run(step) };
            let record = if step.0 { Record::Present(granule(step)) } else { gone() };
            ever.extend(step.0.then_some((step.1, step.2)));
            bytes.extend(encode(GENERATION, &record));
        }
        (bytes, ever)
    }

    /// How many granules a step evicts.
    fn run(step: &(bool, u64, u32)) -> u32 {
        1 + step.2 % 5
    }

    fn replayed(bytes: &[u8]) -> Vec<(u64, u32)> {
        replay(GENERATION, geometry(), bytes).granules.iter().map(|granule| (granule.index, granule.crc)).collect()
    }

    fn steps() -> impl Strategy<Value = Vec<(bool, u64, u32)>> {
        prop::collection::vec((prop::bool::weighted(0.8), 0u64..40, any::<u32>()), 0..30)
    }

    proptest! {
        #[test]
        fn replays_what_was_written(snapshot: bool, steps in steps()) {
            let (bytes, _) = journal(snapshot, &steps);
            let half = if snapshot { steps.len() / 2 } else { 0 };
            let mut model = BTreeMap::new();
            for (at, step) in steps.iter().enumerate() {
                if step.0 || at < half {
                    model.insert(step.1, step.2);
                } else {
                    model.retain(|index, _| !(step.1..step.1 + u64::from(run(step))).contains(index));
                }
            }
            prop_assert_eq!(replayed(&bytes), model.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(replay(GENERATION, geometry(), &bytes).valid_length, bytes.len() as u64);
            prop_assert_eq!(replayed(&[&bytes[..], &[0; 40]].concat()), replayed(&bytes));
        }

        #[test]
        fn a_cut_or_a_flip_invents_nothing(
            snapshot: bool, steps in steps(), cut in any::<prop::sample::Index>(), mask in 1u8..,
        ) {
            let (bytes, ever) = journal(snapshot, &steps);
            prop_assume!(!bytes.is_empty());
            let at = cut.index(bytes.len());
            let mut flipped = bytes.clone();
            flipped[at] ^= mask;
            for damaged in [&bytes[..at], &flipped] {
                let replayed = replay(GENERATION, geometry(), damaged);
                prop_assert!(replayed.valid_length <= at as u64);
                prop_assert!(replayed.granules.iter().all(|g| ever.contains(&(g.index, g.crc))));
            }
        }

        #[test]
        fn reads_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(replay(GENERATION, geometry(), &bytes).valid_length <= bytes.len() as u64);
        }
    }

    #[test]
    fn a_record_of_another_generation_or_shape_ends_the_journal() {
        let good = encode(GENERATION, &Record::Present(Granule { index: 1, length: 16, crc: 9 }));
        let bad = [
            encode(GENERATION + 1, &Record::Present(Granule { index: 2, length: 16, crc: 9 })),
            encode(GENERATION, &Record::Present(Granule { index: 2, length: 15, crc: 9 })),
            encode(GENERATION, &Record::Present(Granule { index: 40, length: 16, crc: 9 })),
            encode(GENERATION, &Record::Snapshot { count: 40, length: 0, crc: 0 }),
            [0; RECORD],
        ];
        for record in bad {
            let bytes = [good, record, good].concat();
            let replayed = replay(GENERATION, geometry(), &bytes);
            assert_eq!((replayed.granules.len(), replayed.valid_length), (1, RECORD as u64), "{record:?}");
        }
    }

    #[test]
    fn evicts_runs_and_what_was_written_before_there_were_runs() {
        let present = |index| encode(GENERATION, &Record::Present(Granule { index, length: 16, crc: index as u32 }));
        let mut bytes: Vec<u8> = (0..8).flat_map(present).collect();
        bytes.extend(encode(GENERATION, &Record::Evicted { index: 0, count: 0 }));
        bytes.extend(encode(GENERATION, &Record::Evicted { index: 2, count: 3 }));
        bytes.extend(encode(GENERATION, &Record::Evicted { index: 7, count: u32::MAX }));
        bytes.extend(encode(GENERATION, &Record::Evicted { index: u64::MAX, count: 2 }));
        assert_eq!(replayed(&bytes), [(1, 1), (5, 5), (6, 6)]);
        assert_eq!(replay(GENERATION, geometry(), &bytes).valid_length, bytes.len() as u64);
    }

    #[test]
    fn knows_a_peaceful_end() {
        let closed = encode(GENERATION, &Record::Closed);
        let more = encode(GENERATION, &Record::Present(Granule { index: 1, length: 16, crc: 9 }));
        assert!(replay(GENERATION, geometry(), &closed).closed);
        assert!(!replay(GENERATION, geometry(), &[closed, more].concat()).closed);
    }
}
