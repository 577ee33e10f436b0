//! Anchors and volume descriptor sequences (ECMA-167 part 3).
//!
//! Owns: finding an anchor, the choice between the main sequence and its reserve, which of several descriptors counts,
//! the length of a block.
//! Leaves to others: what partition maps mean ([`super::partition`]).
//!
//! Invariant: what is found in the usual places costs no round of its own.

use std::collections::BTreeMap;

use mediahost_plugin_sdk::detect::Stop;

use super::BLOCK_SIZES;
use super::tag::{field, identifier, location, u16_at, u32_at};
use crate::volume::image::{Image, ceil_to};
use crate::volume::{ANCHOR, TAIL_BYTES};

const ANCHOR_DESCRIPTOR: u16 = 2;
const PARTITION: u16 = 5;
const LOGICAL_VOLUME: u16 = 6;
const TERMINATOR: u16 = 8;

/// Blocks of a sequence that are looked at, at most; usual are 16.
const MAX_SEQUENCE: u64 = 128;
/// Partition maps, at most. Films need two, and a volume that may be written a third.
const MAX_MAPS: usize = 8;

/// A block of a partition, which goes by its place among the partition maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub reference: u16,
    pub block: u32,
}

impl Address {
    /// Block and reference as allocation descriptors have them.
    pub fn parse(bytes: &[u8], offset: usize) -> Option<Address> {
        Some(Address { block: u32_at(bytes, offset)?, reference: u16_at(bytes, offset.checked_add(4)?)? })
    }
}

/// What a volume descriptor sequence tells.
pub struct Sequence {
    pub label: String,
    /// Bytes of a block.
    pub block: u64,
    pub file_set: Address,
    /// The partition maps as they are recorded, of the length that their second byte tells.
    pub maps: Vec<Vec<u8>>,
    /// The first block of each partition, by its number.
    pub partitions: BTreeMap<u16, u32>,
}

/// A first block and a length in bytes.
type Place = (u32, u32);

/// Finds the first sequence that can be used.
pub fn find(image: &mut Image) -> Result<Sequence, Stop> {
    if let Some(sequence) = find_with(image, BLOCK_SIZES[0])?.0 {
        return Ok(sequence);
    }
    // Other lengths of a block, and anchors away from the end.
    let elsewhere: Vec<(u64, u64)> =
        BLOCK_SIZES.iter().flat_map(|block| anchor_offsets(image, *block).map(|at| (at, *block))).collect();
    image.load(&elsewhere)?;
    let mut anchors = Vec::new();
    for block in BLOCK_SIZES {
        match find_with(image, block)? {
            (Some(sequence), _) => return Ok(sequence),
            (None, found) => anchors.extend(found.into_iter().map(|(start, _)| u64::from(start) * block)),
        }
    }
    Err(Stop::damaged(match &anchors[..] {
        [] => format!("UDF: there is no anchor at block {ANCHOR} or at the end of the image"),
        _ => format!("UDF: no volume descriptor sequence can be read, neither at offset {anchors:?}"),
    }))
}

/// Tries the anchors of one length of a block; also tells where they point to.
fn find_with(image: &mut Image, block: u64) -> Result<(Option<Sequence>, Vec<Place>), Stop> {
    let mut places = Vec::new();
    let offsets: Vec<u64> = anchor_offsets(image, block).collect();
    for place in offsets.iter().filter_map(|offset| anchor(image, *offset, block)).flatten() {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let range = |place: &Place| (u64::from(place.0) * block, u64::from(place.1).min(MAX_SEQUENCE * block));
    // The reserve is not asked for before it is needed: it may be at the other end of the disc.
    for place in &places {
        let (offset, length) = range(place);
        image.load(&[(offset, length)])?;
        if let Some(sequence) = Sequence::parse(image, offset, length, block) {
            return Ok((Some(sequence), places));
        }
    }
    Ok((None, places))
}

/// Where anchors may be: at block 256, in the last blocks, and 256 before the last.
fn anchor_offsets(image: &Image, block: u64) -> impl Iterator<Item = u64> + use<> {
    let size = image.size().unwrap_or(0);
    let (tail, end) = (ceil_to(size.saturating_sub(TAIL_BYTES), block), size - size % block);
    let at_end = (0..end.saturating_sub(tail) / block).map(move |back| end - (back + 1) * block);
    let before = end.checked_sub((ANCHOR + 1) * block);
    [ANCHOR * block].into_iter().chain(at_end).chain(before)
}

/// Where an anchor says that the main sequence and its reserve are (3/10.2). It knows its own block, which tells how
/// long a block is.
fn anchor(image: &Image, offset: u64, block: u64) -> Option<[Place; 2]> {
    let bytes = image.bytes(offset, block)?;
    let is_here = location(&bytes).map(u64::from) == Some(offset / block);
    if identifier(&bytes) != Some(ANCHOR_DESCRIPTOR) || !is_here {
        return None;
    }
    let place = |at: usize| Some((u32_at(&bytes, at + 4)?, u32_at(&bytes, at)?));
    Some([place(16)?, place(24)?])
}

impl Sequence {
    /// Reads a sequence (3/8.4.2). Of equal descriptors the one with the highest number counts.
    fn parse(image: &Image, offset: u64, length: u64, block: u64) -> Option<Sequence> {
        let mut volume: Option<(u32, Sequence)> = None;
        let mut partitions: BTreeMap<u16, (u32, u32)> = BTreeMap::new();
        for number in 0..length / block {
            // A descriptor that is damaged may be repeated by a later one.
            let Some(bytes) = image.bytes(offset + number * block, block) else { continue };
            let order = u32_at(&bytes, 16)?;
            match identifier(&bytes) {
                Some(TERMINATOR) => break,
                Some(PARTITION) => {
                    let (number, start) = (u16_at(&bytes, 22)?, u32_at(&bytes, 188)?);
                    let known = partitions.entry(number).or_insert((order, start));
                    *known = (*known).max((order, start));
                }
                Some(LOGICAL_VOLUME) if volume.as_ref().is_none_or(|(known, _)| *known <= order) => {
                    volume = Sequence::volume(&bytes, block).map(|sequence| (order, sequence)).or(volume);
                }
                _ => {}
            }
        }
        let (_, mut sequence) = volume?;
        sequence.partitions = partitions.into_iter().map(|(number, (_, start))| (number, start)).collect();
        (!sequence.partitions.is_empty()).then_some(sequence)
    }

    /// A logical volume descriptor (3/10.6; OSTA UDF §2.2.4).
    fn volume(bytes: &[u8], block: u64) -> Option<Sequence> {
        if u32_at(bytes, 212).map(u64::from) != Some(block) {
            return None;
        }
        let (mut maps, mut rest) = (Vec::new(), bytes.get(440..)?);
        for _ in 0..(u32_at(bytes, 268)? as usize).min(MAX_MAPS) {
            let length = usize::from(*rest.get(1)?);
            maps.push(rest.get(..length)?.to_vec());
            rest = &rest[length..];
        }
        Some(Sequence {
            label: field(bytes.get(84..212)?).unwrap_or_default(),
            block,
            file_set: Address::parse(bytes, 252)?,
            maps,
            partitions: BTreeMap::new(),
        })
    }
}
