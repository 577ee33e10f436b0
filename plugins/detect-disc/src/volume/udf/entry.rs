//! File entries and their allocation descriptors (ECMA-167 4/14.5, 4/14.9, 4/14.14, 4/14.17).
//!
//! Owns: where the bytes of a file are, however it is recorded.
//! Leaves to others: partitions, names, folders.
//!
//! Invariant: entries and continuations of many files are asked for together.

use std::borrow::Cow;

use mediahost_plugin_sdk::detect::Stop;
use mediahost_plugin_sdk::detect::bytes::le_at;

use super::partition::{Partitions, Side};
use super::sequence::Address;
use super::tag::{identifier, u16_at, u32_at};
use crate::volume::image::Image;
use crate::volume::walk::{MAX_RUNS, Runs};

const CONTINUATION: u16 = 258;
/// Bytes of a continuation in front of its descriptors.
const CONTINUATION_HEAD: u64 = 24;
const FILE_ENTRY: u16 = 261;
const EXTENDED_FILE_ENTRY: u16 = 266;

/// Blocks that continue the list of one file, at most, and those of all files of a level.
const MAX_CONTINUATIONS: u32 = 1024;
const MAX_ALL_CONTINUATIONS: usize = 65_536;
/// The lower bits of the length of an extent; the others tell whether it was recorded.
const LENGTH_BITS: u32 = 0x3FFF_FFFF;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Folder,
    File,
    /// A virtual allocation table with a header.
    VirtualTable,
    /// Nothing that a walk looks at: streams of attributes, links, the files of the file system itself.
    Other,
}

/// Bytes of the image: offset and length.
type Place = (u64, u64);

/// A file entry.
#[derive(Clone, Debug)]
pub struct Entry {
    pub kind: Kind,
    /// Where it is in the image, in bytes; no two entries are in the same place.
    pub offset: u64,
    /// Bytes of the file.
    pub size: u64,
    file_type: u8,
    /// How wide allocation descriptors are: 0 short, 1 long, 2 extended; 3 means that the file itself is there.
    width: u16,
    /// Where the allocation descriptors are.
    list: Place,
    /// The partition of the entry, which short descriptors mean.
    reference: u16,
}

impl Entry {
    /// A file entry or an extended one in a block of a partition.
    pub fn parse(bytes: &[u8], offset: u64, reference: u16) -> Option<Entry> {
        let (lengths, head) = match identifier(bytes)? {
            FILE_ENTRY => (168, 176),
            EXTENDED_FILE_ENTRY => (208, 216),
            _ => return None,
        };
        let file_type = *bytes.get(27)?;
        let kind = match file_type {
            4 => Kind::Folder,
            // 249 is a file that has to be read in time: films of Blu-ray discs are.
            0 | 5 | 249 => Kind::File,
            248 => Kind::VirtualTable,
            _ => Kind::Other,
        };
        let start = usize::try_from(u32_at(bytes, lengths)?).ok()?.checked_add(head)?;
        let end = usize::try_from(u32_at(bytes, lengths + 4)?).ok()?.checked_add(start)?;
        Some(Entry {
            kind,
            offset,
            size: le_at(bytes, 56, 8)?,
            file_type,
            width: u16_at(bytes, 34)? & 7,
            list: (offset.checked_add(start as u64)?, end.min(bytes.len()).checked_sub(start)? as u64),
            reference,
        })
    }

    /// Whether it may be a virtual allocation table: before UDF 2.00 those were files without a type.
    pub fn is_virtual_table(&self) -> bool {
        matches!(self.file_type, 0 | 248)
    }
}

/// Reads the blocks at these addresses as file entries. The mirror is asked where the main side is damaged.
pub fn read_all(image: &mut Image, partitions: &Partitions, wanted: &[Address]) -> Result<Vec<Option<Entry>>, Stop> {
    blocks(image, partitions, wanted, Entry::parse)
}

/// Reads the blocks at these addresses; `parse` is given bytes, offset and partition.
pub fn blocks<T>(
    image: &mut Image,
    partitions: &Partitions,
    wanted: &[Address],
    parse: impl Fn(&[u8], u64, u16) -> Option<T>,
) -> Result<Vec<Option<T>>, Stop> {
    let mut found: Vec<Option<T>> = wanted.iter().map(|_| None).collect();
    for side in [Side::Main, Side::Mirror] {
        let missing: Vec<(usize, u64)> = (0..wanted.len())
            .filter(|at| found[*at].is_none())
            .filter(|at| side == Side::Main || partitions.has_mirror(wanted[*at].reference))
            .filter_map(|at| Some((at, partitions.offset(side, wanted[at])?)))
            .collect();
        image.need(&missing.iter().map(|(_, offset)| (*offset, partitions.block)).collect::<Vec<_>>())?;
        for (at, offset) in missing {
            let bytes = image.bytes(offset, partitions.block);
            found[at] = bytes.and_then(|bytes| parse(&bytes, offset, wanted[at].reference));
        }
    }
    Ok(found)
}

/// Where the bytes of each entry are. `None` where the list cannot be followed to its end.
pub fn gather(
    image: &mut Image,
    partitions: &Partitions,
    side: Side,
    entries: &[Option<Entry>],
) -> Result<Vec<Option<Runs>>, Stop> {
    let mut room = MAX_RUNS;
    let mut lists: Vec<Option<List>> = Vec::new();
    for entry in entries {
        let list = entry.as_ref().map(|entry| List { left: entry.size, runs: Runs::new(0), next: None });
        let place = entry.as_ref().map(|entry| entry.list);
        lists.push(List::grown(list, entry, place, (image, partitions, side), &mut room));
    }
    let mut followed = 0;
    for _ in 0..MAX_CONTINUATIONS {
        let open: Vec<(usize, Address)> =
            lists.iter().enumerate().filter_map(|(at, list)| Some((at, list.as_ref()?.next?))).collect();
        followed += open.len();
        if open.is_empty() || followed > MAX_ALL_CONTINUATIONS {
            break;
        }
        let wanted: Vec<Address> = open.iter().map(|(_, address)| *address).collect();
        let more = blocks(image, partitions, &wanted, continuation)?;
        for ((at, _), place) in open.into_iter().zip(more) {
            lists[at] = List::grown(lists[at].take(), &entries[at], place, (image, partitions, side), &mut room);
        }
    }
    Ok(lists.into_iter().map(|list| list.filter(|list| list.next.is_none()).map(|list| list.runs)).collect())
}

/// The descriptors in a block that continues a list (4/14.5).
fn continuation(bytes: &[u8], offset: u64, _: u16) -> Option<Place> {
    let length = u64::from(u32_at(bytes, 20)?).min((bytes.len() as u64).checked_sub(CONTINUATION_HEAD)?);
    (identifier(bytes)? == CONTINUATION).then_some((offset.checked_add(CONTINUATION_HEAD)?, length))
}

/// A list of allocation descriptors that is being followed.
struct List {
    /// Bytes of the file that were not found yet.
    left: u64,
    runs: Runs,
    /// The block that the list goes on in.
    next: Option<Address>,
}

impl List {
    /// The list with the descriptors of one more block. `None` when one of them leads nowhere, or there is no room.
    fn grown(
        list: Option<List>,
        entry: &Option<Entry>,
        place: Option<Place>,
        (image, partitions, side): (&Image, &Partitions, Side),
        room: &mut usize,
    ) -> Option<List> {
        let (mut list, (offset, length)) = (list?, place?);
        let bytes = if length > 0 { image.bytes(offset, length)? } else { Cow::Borrowed(&[][..]) };
        (list.next, list.runs.room) = (None, *room);
        let taken = list.take(entry.as_ref()?, &bytes, partitions, side);
        *room = list.runs.room;
        taken.map(|()| list)
    }

    /// Takes the descriptors of a block. `None` when one of them leads nowhere.
    fn take(&mut self, entry: &Entry, list: &[u8], partitions: &Partitions, side: Side) -> Option<()> {
        let (step, at_block) = match entry.width {
            0 => (8, 4),
            1 => (16, 4),
            2 => (20, 12),
            _ => {
                let length = self.left.min(list.len() as u64);
                return self.runs.push(Some(entry.list.0), length);
            }
        };
        for descriptor in list.chunks_exact(step) {
            let word = u32_at(descriptor, 0)?;
            let block = u32_at(descriptor, at_block)?;
            let reference = if entry.width == 0 { entry.reference } else { u16_at(descriptor, at_block + 4)? };
            let at = Address { reference, block };
            let length = u64::from(word & LENGTH_BITS);
            let taken = length.min(self.left);
            match word >> 30 {
                _ if length == 0 => break,
                3 => {
                    self.next = Some(at).filter(|_| self.left > 0);
                    break;
                }
                0 => partitions.place(side, at, taken, &mut self.runs)?,
                _ => self.runs.push(None, taken)?,
            }
            self.left -= taken;
        }
        Some(())
    }
}
