//! Partitions: from a block of one to bytes of the image (ECMA-167 3/10.7; OSTA UDF §2.2.8 to §2.2.13).
//!
//! Owns: partition maps, the metadata file and its mirror, sparing tables, virtual allocation tables.
//! Leaves to others: what is in the blocks.
//!
//! Invariant: a partition is named by its place among the maps, not by its number.

use std::collections::BTreeMap;

use mediahost_plugin_sdk::detect::Stop;

use super::entry::{self, Entry, Kind};
use super::sequence::{Address, Sequence};
use super::tag::{identifier, u16_at, u32_at};
use crate::tree::File;
use crate::volume::image::Image;
use crate::volume::walk::Runs;

/// How much of the metadata partition is fetched at once: of most discs all of it.
const MAX_PREFETCH: u64 = 4 << 20;
/// What is fetched around the file set of a volume without metadata partition; folders are near it.
const PREFETCH: u64 = 512 * 1024;
/// Runs of a metadata file, at most.
const MAX_METADATA_RUNS: usize = 4096;
/// Sparing tables, and bytes of one, at most.
const MAX_SPARING_TABLES: usize = 4;
const MAX_SPARING_BYTES: u64 = 256 * 1024;
/// Original locations from here on are not blocks: the spare is free or unusable.
const SPARE_UNUSED: u32 = 0xFFFF_FFF0;
/// Bytes of a virtual allocation table, at most.
const MAX_VIRTUAL_BYTES: u64 = 1 << 20;
/// Blocks of one run of a virtual partition, at most; there should be one.
const MAX_VIRTUAL_RUN: usize = 64;
/// Blocks at the end of the image in which the entry of the virtual allocation table is looked for.
const MAX_VIRTUAL_BLOCKS: u64 = 32;

/// What a partition map says.
enum Map {
    /// Blocks from here on, but those that were moved: packets by the partition's block that they begin with, and the
    /// block of the image that they are in.
    Physical { number: u16, start: u32, packet: u32, moved: BTreeMap<u32, u32> },
    /// Blocks of a file, and of its copy when that is somewhere else.
    Metadata { main: Stretch, mirror: Option<Stretch> },
    /// Blocks of another partition, by number.
    Virtual { under: u16, table: Vec<u32> },
    /// Of no kind that is known.
    Unknown,
}

/// The bytes of a metadata partition.
struct Stretch {
    file: File,
    /// Where each run ends, in bytes of the file.
    ends: Vec<u64>,
}

/// The side of a metadata partition that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Main,
    Mirror,
}

/// All partitions of a volume.
pub struct Partitions {
    /// Bytes of a block.
    pub block: u64,
    maps: Vec<Map>,
}

/// A metadata partition as its map records it.
struct Metadata {
    place: usize,
    number: u16,
    main: u32,
    mirror: u32,
}

impl Partitions {
    /// Reads the maps, and what they need: sparing tables, the metadata file, the virtual allocation table.
    pub fn open(image: &mut Image, sequence: &Sequence) -> Result<Partitions, Stop> {
        let mut partitions = Partitions { block: sequence.block, maps: Vec::new() };
        let (mut metadata, mut virtuals) = (Vec::new(), Vec::new());
        for (place, bytes) in sequence.maps.iter().enumerate() {
            let type2 = bytes.get(5..28).filter(|_| bytes[0] == 2 && bytes.len() >= 64).unwrap_or_default();
            let number = u16_at(bytes, if type2.is_empty() { 4 } else { 38 }).unwrap_or(u16::MAX);
            let start = sequence.partitions.get(&number).copied();
            let mut map = Map::Unknown;
            if type2.starts_with(b"*UDF Metadata Partition") {
                let (main, mirror) = (u32_at(bytes, 40), u32_at(bytes, 44));
                metadata.extend(main.zip(mirror).map(|(main, mirror)| Metadata { place, number, main, mirror }));
            } else if type2.starts_with(b"*UDF Virtual Partition") {
                virtuals.push((place, number));
            } else if let Some(start) = start {
                let is_sparable = type2.starts_with(b"*UDF Sparable Partition");
                let (packet, moved) =
                    if is_sparable { sparing_table(image, bytes, sequence.block)? } else { (1, BTreeMap::new()) };
                if is_sparable || bytes.first() == Some(&1) {
                    map = Map::Physical { number, start, packet, moved };
                }
            }
            partitions.maps.push(map);
        }
        for map in metadata {
            partitions.open_metadata(image, map)?;
        }
        for (place, number) in virtuals {
            partitions.open_virtual(image, place, number)?;
        }
        partitions.prefetch(image, sequence.file_set)?;
        Ok(partitions)
    }

    /// Whether there are two places for what is in a partition.
    pub fn has_mirror(&self, reference: u16) -> bool {
        matches!(self.maps.get(usize::from(reference)), Some(Map::Metadata { mirror: Some(_), .. }))
    }

    /// Adds the runs of `length` bytes from a block on. `None` when the partition does not have them.
    pub fn place(&self, side: Side, at: Address, length: u64, runs: &mut Runs) -> Option<()> {
        let block = u64::from(at.block);
        match self.maps.get(usize::from(at.reference))? {
            Map::Unknown => None,
            Map::Physical { start, packet, moved, .. } => {
                let start = u64::from(*start);
                let end = block.checked_add(length.div_ceil(self.block))?;
                let (mut from, mut left) = (block, length);
                let packet = u64::from(*packet);
                // A packet that begins before the run may reach into it.
                let first = u32::try_from(block - block % packet).ok()?;
                for (original, spare) in moved.range(first..).take_while(|(original, _)| u64::from(**original) < end) {
                    let original = u64::from(*original);
                    let before = left.min(original.saturating_sub(from).checked_mul(self.block)?);
                    runs.push(Some(start.checked_add(from)?.checked_mul(self.block)?), before)?;
                    (from, left) = (from.max(original), left - before);
                    let skip = from - original;
                    let within = left.min(packet.saturating_sub(skip).checked_mul(self.block)?);
                    runs.push(Some(u64::from(*spare).checked_add(skip)?.checked_mul(self.block)?), within)?;
                    (from, left) = (from.checked_add(within.div_ceil(self.block))?, left - within);
                }
                runs.push(Some(start.checked_add(from)?.checked_mul(self.block)?), left)
            }
            Map::Metadata { main, mirror } => {
                let stretch = if side == Side::Main { main } else { mirror.as_ref()? };
                stretch.place(block.checked_mul(self.block)?, length, runs)
            }
            Map::Virtual { under, table } => {
                let blocks = usize::try_from(length.div_ceil(self.block)).ok().filter(|n| *n <= MAX_VIRTUAL_RUN)?;
                let first = usize::try_from(at.block).ok()?;
                let mut left = length;
                for block in table.get(first..first.checked_add(blocks)?)? {
                    let length = left.min(self.block);
                    self.place(side, Address { reference: *under, block: *block }, length, runs)?;
                    left -= length;
                }
                Some(())
            }
        }
    }

    /// The offset of one block, if it was recorded.
    pub fn offset(&self, side: Side, at: Address) -> Option<u64> {
        let mut runs = Runs::new(2);
        self.place(side, at, self.block, &mut runs)?;
        match runs.extents[..] {
            [extent] => extent.offset,
            _ => None,
        }
    }

    /// The place of the partition that another one lies in.
    fn physical(&self, number: u16) -> Option<u16> {
        let is_it = |map: &Map| matches!(map, Map::Physical { number: known, .. } if *known == number);
        self.maps.iter().position(is_it).and_then(|place| u16::try_from(place).ok())
    }

    /// Finds the metadata file and its mirror (OSTA UDF §2.2.13). One of them is enough.
    fn open_metadata(&mut self, image: &mut Image, map: Metadata) -> Result<(), Stop> {
        let Metadata { place, number, main, mirror } = map;
        let Some(reference) = self.physical(number) else { return Ok(()) };
        let wanted = [main, mirror].map(|block| Address { reference, block });
        let entries = entry::read_all(image, self, &wanted)?;
        let mut files = entry::gather(image, self, Side::Main, &entries)?.into_iter().map(|runs| {
            let runs = runs.filter(|runs| !runs.extents.is_empty() && runs.extents.len() <= MAX_METADATA_RUNS)?;
            Some(Stretch::new(runs))
        });
        let (main_file, mirror_file) = (files.next().flatten(), files.next().flatten());
        let (main, mirror) = match (main_file, mirror_file) {
            (Some(main), mirror) => {
                let is_copy = |mirror: &Stretch| mirror.file.extents != main.file.extents;
                let mirror = mirror.filter(is_copy);
                (main, mirror)
            }
            (None, Some(mirror)) => (mirror, None),
            (None, None) => {
                let message = format!("UDF: neither the metadata file at block {main} nor its mirror at {mirror}");
                return Err(Stop::damaged(format!("{message} of partition {number} can be read")));
            }
        };
        self.maps[place] = Map::Metadata { main, mirror };
        Ok(())
    }

    /// Finds the virtual allocation table of a disc that was written in sessions: its entry is in the last block that
    /// was recorded (OSTA UDF §2.2.10).
    fn open_virtual(&mut self, image: &mut Image, place: usize, number: u16) -> Result<(), Stop> {
        let (Some(reference), Some(size)) = (self.physical(number), image.size()) else { return Ok(()) };
        let blocks = size / self.block;
        image.load(&[(blocks.saturating_sub(MAX_VIRTUAL_BLOCKS) * self.block, MAX_VIRTUAL_BLOCKS * self.block)])?;
        let entries = (1..=MAX_VIRTUAL_BLOCKS).filter_map(|back| {
            let offset = blocks.checked_sub(back)? * self.block;
            Entry::parse(&image.bytes(offset, self.block)?, offset, reference).filter(|entry| entry.is_virtual_table())
        });
        let Some(entry) = entries.into_iter().next() else {
            return Err(Stop::damaged(format!("UDF: there is no virtual allocation table up to block {blocks}")));
        };
        let runs = entry::gather(image, self, Side::Main, &[Some(entry.clone())])?.pop().flatten();
        let bytes = read_runs(image, runs, MAX_VIRTUAL_BYTES)?;
        let table = match (&entry.kind, u16_at(&bytes, 0)) {
            // Since UDF 2.00 a header tells its own length; before, an identifier stood behind the table.
            (Kind::VirtualTable, Some(header)) => bytes.get(usize::from(header)..).unwrap_or_default(),
            _ => &bytes[..bytes.len().saturating_sub(36)],
        };
        let table = table.chunks_exact(4).filter_map(|block| u32_at(block, 0)).collect();
        self.maps[place] = Map::Virtual { under: reference, table };
        Ok(())
    }

    /// Fetches the places where folders are likely to be, in one round.
    fn prefetch(&self, image: &mut Image, file_set: Address) -> Result<(), Stop> {
        let ranges: Vec<(u64, u64)> = match self.maps.get(usize::from(file_set.reference)) {
            Some(Map::Metadata { main, .. }) => main.file.ranges(0, MAX_PREFETCH),
            _ => self.offset(Side::Main, file_set).map(|offset| (offset, PREFETCH)).into_iter().collect(),
        };
        image.load(&ranges)
    }
}

impl Stretch {
    fn new(runs: Runs) -> Stretch {
        let ends = runs.extents.iter().scan(0, |end: &mut u64, extent| {
            *end = end.saturating_add(extent.length);
            Some(*end)
        });
        Stretch { ends: ends.collect(), file: File { path: String::new(), extents: runs.extents } }
    }

    /// Adds the runs of `length` bytes from an offset on. `None` when it ends before.
    fn place(&self, offset: u64, length: u64, runs: &mut Runs) -> Option<()> {
        let (mut at, mut left) = (offset, length);
        let first = self.ends.partition_point(|end| *end <= offset);
        for (extent, end) in self.file.extents.iter().zip(&self.ends).skip(first) {
            if left == 0 {
                break;
            }
            let skip = at.checked_sub(end.checked_sub(extent.length)?)?;
            let taken = left.min(extent.length - skip);
            runs.push(extent.offset.map(|offset| offset.saturating_add(skip)), taken)?;
            (at, left) = (at.checked_add(taken)?, left - taken);
        }
        (left == 0).then_some(())
    }
}

/// Loads up to `most` bytes of a file. What is not there reads as zeros.
fn read_runs(image: &mut Image, runs: Option<Runs>, most: u64) -> Result<Vec<u8>, Stop> {
    let file = File { path: String::new(), extents: runs.map(|runs| runs.extents).unwrap_or_default() };
    image.need(&file.ranges(0, most))?;
    Ok(bytes_of(image, &file, most))
}

/// Up to `most` bytes of a file as far as they were loaded; the others are zeros.
pub fn bytes_of(image: &Image, file: &File, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for extent in file.part(0, most) {
        match extent.offset {
            Some(offset) => bytes.extend_from_slice(&image.bytes_or_zeros(offset, extent.length)),
            None => bytes.resize(bytes.len() + extent.length as usize, 0),
        }
    }
    bytes
}

/// The packets that were moved, from the newest sparing table that can be read (OSTA UDF §2.2.9, §2.2.12), behind the
/// blocks of a packet.
fn sparing_table(image: &mut Image, map: &[u8], block: u64) -> Result<(u32, BTreeMap<u32, u32>), Stop> {
    let packet = u16_at(map, 40).map_or(1, u32::from).max(1);
    let count = map.get(42).map_or(0, |count| usize::from(*count)).min(MAX_SPARING_TABLES);
    let length = u32_at(map, 44).map_or(0, u64::from).min(MAX_SPARING_BYTES);
    let ranges: Vec<(u64, u64)> =
        (0..count).filter_map(|number| Some((u64::from(u32_at(map, 48 + 4 * number)?) * block, length))).collect();
    image.load(&ranges)?;
    let mut newest: Option<(u32, BTreeMap<u32, u32>)> = None;
    for (offset, length) in ranges {
        let Some(table) = image.bytes(offset, length).and_then(|bytes| spares(&bytes)) else { continue };
        if newest.as_ref().is_none_or(|(number, _)| *number < table.0) {
            newest = Some(table);
        }
    }
    Ok((packet, newest.map(|(_, moved)| moved).unwrap_or_default()))
}

/// The number of a sparing table and what it says.
fn spares(bytes: &[u8]) -> Option<(u32, BTreeMap<u32, u32>)> {
    if identifier(bytes) != Some(0) || !bytes.get(17..40)?.starts_with(b"*UDF Sparing Table") {
        return None;
    }
    let entries = bytes.get(56..)?.chunks_exact(8).take(usize::from(u16_at(bytes, 48)?));
    let spares = entries.filter_map(|entry| Some((u32_at(entry, 0)?, u32_at(entry, 4)?)));
    Some((u32_at(bytes, 52)?, spares.filter(|(original, _)| *original < SPARE_UNUSED).collect()))
}
