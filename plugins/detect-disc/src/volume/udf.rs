//! UDF (ECMA-167, OSTA UDF 1.02 to 2.60).
//!
//! Owns: the file set, folders and their entries.
//! Leaves to others: descriptor sequences ([`sequence`]), partitions ([`partition`]), file entries ([`entry`]), access
//! rights, times, streams of attributes.
//!
//! Invariant: all entries of a level are asked for at once, then all folders of it. Hidden files count: players go by
//! paths. A folder that is damaged in one copy of the metadata is read from the other.

mod entry;
mod partition;
mod sequence;
mod tag;

use mediahost_plugin_sdk::detect::Stop;

use super::image::Image;
use super::walk::{MAX_DEPTH, Runs, Walk, folder_length};
use crate::tree::{File, Tree};
use entry::{Entry, Kind};
use partition::{Partitions, Side, bytes_of};
use sequence::Address;
use tag::{identifier, text, u16_at, u32_at};

/// Bytes of a block, the usual first. Hard disks have 512 or 4096, magneto-optical ones 1024 as well.
pub const BLOCK_SIZES: [u64; 4] = [2048, 512, 4096, 1024];

const FILE_SET: u16 = 256;
const FILE_IDENTIFIER: u16 = 257;
/// Bytes of a file identifier without what is of variable length.
const IDENTIFIER: usize = 38;
/// Bytes of a whole one, at most: a block.
const MAX_IDENTIFIER: usize = 4096;
/// Damaged file identifiers that are gone over, at most.
const MAX_REPAIRS: u32 = 4096;
/// What a file identifier says of its file: it was deleted, or it is the folder above.
const IS_DELETED: u8 = 0x04;
const IS_PARENT: u8 = 0x08;

/// Reads the files of the volume.
pub fn read(image: &mut Image) -> Result<Tree, Stop> {
    let sequence = sequence::find(image)?;
    let partitions = Partitions::open(image, &sequence)?;
    let mut volume = Volume { image, partitions, walk: Walk::new(), repairs: MAX_REPAIRS };
    volume.image.is_short = false;
    volume.walk(sequence.file_set)?;
    let (files, is_cut) = (volume.walk.files, volume.image.is_short);
    Ok(Tree { label: sequence.label, file_system: "udf", files, is_cut })
}

struct Volume<'i, 'a> {
    image: &'i mut Image<'a>,
    partitions: Partitions,
    walk: Walk,
    /// Damaged file identifiers that may still be gone over.
    repairs: u32,
}

/// A path and where its entry is.
type Named = (String, Address);

/// A folder of the level that is looked at.
struct Folder {
    path: String,
    address: Address,
    entry: Entry,
    names: Names,
}

/// What is in a folder.
#[derive(Default)]
struct Names {
    names: Vec<(String, Address)>,
    /// Whether there was nothing else between the names.
    is_intact: bool,
}

impl Volume<'_, '_> {
    fn walk(&mut self, file_set: Address) -> Result<(), Stop> {
        let root = |bytes: &[u8], _: u64, _: u16| {
            (identifier(bytes)? == FILE_SET).then(|| Address::parse(bytes, 404)).flatten()
        };
        let found = entry::blocks(self.image, &self.partitions, &[file_set], root)?;
        let Some(root) = found.into_iter().next().flatten() else {
            return Err(unreadable("file set descriptor", file_set));
        };
        let mut level: Vec<Named> = vec![(String::new(), root)];
        for depth in 0..=MAX_DEPTH {
            let wanted: Vec<Address> = level.iter().map(|(_, address)| *address).collect();
            let entries = entry::read_all(self.image, &self.partitions, &wanted)?;
            let is_folder = |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| entry.kind == Kind::Folder);
            if depth == 0 && !entries.iter().any(is_folder) {
                return Err(unreadable("root directory", root));
            }
            level = self.level(level, entries)?;
            if level.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Adds the files of a level and returns what is in its folders.
    fn level(&mut self, level: Vec<Named>, entries: Vec<Option<Entry>>) -> Result<Vec<Named>, Stop> {
        let (mut folders, mut paths, mut files) = (Vec::new(), Vec::new(), Vec::new());
        for ((path, address), entry) in level.into_iter().zip(entries) {
            let Some(entry) = entry else { continue };
            if entry.kind == Kind::File {
                paths.push(path);
                files.push(Some(entry));
            } else if entry.kind == Kind::Folder && self.walk.enter(entry.offset, entry.size) {
                folders.push(Folder { path, address, entry, names: Names::default() });
            }
        }
        let runs = entry::gather(self.image, &self.partitions, Side::Main, &files)?;
        for (path, runs) in paths.into_iter().zip(runs) {
            if let Some(runs) = runs {
                self.walk.add(path, runs);
            }
        }
        self.list(&mut folders, Side::Main)?;
        self.list(&mut folders, Side::Mirror)?;
        let mut next = Vec::new();
        for Folder { path: folder, names: Names { names, .. }, .. } in folders {
            for (name, address) in names {
                next.extend(self.walk.path(&folder, &name).map(|path| (path, address)));
            }
        }
        Ok(next)
    }

    /// Reads the names in folders that were not read yet, or were damaged on the other side of a metadata partition.
    fn list(&mut self, folders: &mut [Folder], side: Side) -> Result<(), Stop> {
        let is_due = |folder: &Folder| {
            !folder.names.is_intact && (side == Side::Main || self.partitions.has_mirror(folder.address.reference))
        };
        let entries: Vec<Option<Entry>> =
            folders.iter().map(|folder| is_due(folder).then(|| folder.entry.clone())).collect();
        let file = |runs: Option<Runs>| Some(File { path: String::new(), extents: runs?.extents });
        let runs = entry::gather(self.image, &self.partitions, side, &entries)?;
        let files: Vec<Option<File>> = runs.into_iter().map(file).collect();
        let pairs = || folders.iter().zip(&files).filter_map(|(folder, file)| Some((folder, file.as_ref()?)));
        let ranges = pairs().flat_map(|(folder, file)| file.ranges(0, folder_length(folder.entry.size)));
        self.image.need(&ranges.collect::<Vec<_>>())?;
        for (folder, file) in folders.iter_mut().zip(files) {
            let Some(file) = file else { continue };
            let length = folder_length(folder.entry.size);
            let names = names(&bytes_of(self.image, &file, length), &mut self.repairs);
            if names.is_intact || names.names.len() > folder.names.names.len() {
                folder.names = names;
            }
        }
        Ok(())
    }
}

/// The file identifiers of a folder (4/14.4). Where there is none it goes on at the next one, `repairs` times at most.
fn names(bytes: &[u8], repairs: &mut u32) -> Names {
    let mut found = Names { names: Vec::new(), is_intact: true };
    let mut rest = bytes;
    while rest.len() >= IDENTIFIER {
        if u16_at(rest, 0) != Some(FILE_IDENTIFIER) {
            found.is_intact = false;
            rest = rest.get(4..).unwrap_or_default();
            continue;
        }
        let Some(bytes) = identifier_length(rest).and_then(|length| rest.get(..length)) else {
            found.is_intact = false;
            rest = &rest[4..];
            continue;
        };
        if identifier(bytes) != Some(FILE_IDENTIFIER) {
            found.is_intact = false;
            let Some(left) = repairs.checked_sub(1) else { break };
            *repairs = left;
            rest = &rest[4..];
            continue;
        }
        found.names.extend(named(bytes));
        rest = &rest[bytes.len()..];
    }
    found
}

/// Bytes of a file identifier with its padding. `None` for one that is longer than any may be.
fn identifier_length(bytes: &[u8]) -> Option<usize> {
    let length = IDENTIFIER + usize::from(*bytes.get(19)?) + usize::from(u16_at(bytes, 36)?);
    (length <= MAX_IDENTIFIER).then(|| length.next_multiple_of(4))
}

/// The name in a file identifier, and where the entry of its file is. `None` when it names nothing to look at.
fn named(bytes: &[u8]) -> Option<(String, Address)> {
    let is_gone = bytes.get(18)? & (IS_DELETED | IS_PARENT) != 0 || u32_at(bytes, 20)? == 0;
    let start = IDENTIFIER + usize::from(u16_at(bytes, 36)?);
    let name = text(bytes.get(start..)?.get(..usize::from(bytes[19]))?)?;
    (!is_gone).then_some((name, Address::parse(bytes, 24)?))
}

fn unreadable(what: &str, at: Address) -> Stop {
    Stop::damaged(format!("UDF: there is no {what} at block {} of partition {}", at.block, at.reference))
}
