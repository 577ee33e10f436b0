//! A disk in memory that loses power, fails, fills up and can be made read-only, all by a plan and a seed.
//!
//! Owns: what the system shows now, what the medium keeps, and what lies between the two.
//!
//! What a crash leaves is what a file system may leave:
//! - of bytes, each sector of 512 as it was at some time since the last sync of the file; the length likewise. So writes
//!   are lost, kept, torn and reordered, and a hole may be there or not.
//! - of names, each creation, removal and renaming since the last sync of its folder, or none of it.
//!
//! A sync of a file that fails leaves such a mixture, and what is missing from it is forgotten: it can still be read,
//! and no later sync writes it. A sync of a folder that fails can be repeated, since file systems keep names in a journal.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::path::{Component, Path};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::disk::{Disk, DiskFile, Size};
use crate::object::lock;

/// What is written as a whole or not at all.
pub(crate) const SECTOR: usize = 512;
const ROOT: usize = 0;

/// What goes wrong, by the number of the operation that it happens to. Reading is not counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plan {
    /// The power goes before this one.
    pub(crate) crash_at: Option<u64>,
    /// This one fails: of a write some bytes were taken.
    pub(crate) fail_at: Option<u64>,
    /// This one and all later ones are refused.
    pub(crate) read_only_from: Option<u64>,
    /// Bytes that there is room for.
    pub(crate) capacity: Option<u64>,
    /// Files have no holes.
    pub(crate) no_holes: bool,
}

/// Numbers that look random (splitmix64).
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub(crate) struct SimDisk(Arc<Mutex<State>>);

struct State {
    plan: Plan,
    /// How many operations there were.
    done: u64,
    is_off: bool,
    /// How often there was no room.
    refused: u64,
    locked: Arc<AtomicBool>,
    nodes: Vec<Node>,
    /// Names that no sync has written out, oldest first.
    changes: Vec<Change>,
    random: Random,
}

/// Names that change together: folder, name, and what it means from then on.
type Change = Vec<(usize, String, Option<usize>)>;

#[derive(Clone)]
enum Node {
    Folder { now: BTreeMap<String, usize>, kept: BTreeMap<String, usize> },
    File(Bytes),
}

/// The bytes of a file.
#[derive(Clone, Default)]
struct Bytes {
    now: Image,
    kept: Image,
    /// What the file was after each change since the last sync; the last one is `now`.
    unsynced: Vec<Image>,
    /// Sectors that the medium did not take and that no sync writes any more.
    forgotten: BTreeSet<usize>,
    open: usize,
}

#[derive(Clone, Default, PartialEq, Eq)]
struct Image {
    bytes: Vec<u8>,
    /// For each sector, whether it takes space.
    taken: Vec<bool>,
}

/// What a crash prefers to keep.
#[derive(Clone, Copy)]
enum Taste {
    Nothing,
    Everything,
    Anything,
    /// Nearly all sectors of a file from one time.
    OneTime,
}

impl Taste {
    fn of(seed: u64) -> Self {
        [Self::Nothing, Self::Everything, Self::Anything, Self::OneTime][(seed % 4) as usize]
    }
}

impl Image {
    fn sector(&self, number: usize) -> Option<(&[u8], bool)> {
        let taken = *self.taken.get(number)?;
        Some((&self.bytes[number * SECTOR..self.bytes.len().min((number + 1) * SECTOR)], taken))
    }

    fn set_len(&mut self, length: usize) {
        self.bytes.resize(length, 0);
        self.taken.resize(length.div_ceil(SECTOR), false);
    }

    /// Puts bytes there and says which sectors that changed.
    fn write(&mut self, offset: usize, bytes: &[u8]) -> Range<usize> {
        let end = offset + bytes.len();
        if end > self.bytes.len() {
            self.set_len(end);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        let sectors = offset / SECTOR..end.div_ceil(SECTOR);
        self.taken[sectors.clone()].fill(true);
        sectors
    }

    fn punch(&mut self, range: Range<usize>) -> Range<usize> {
        let end = range.end.min(self.bytes.len());
        let start = range.start.min(end);
        self.bytes[start..end].fill(0);
        // The last sector goes as a whole if the hole reaches beyond the end.
        let last = if range.end > self.bytes.len() { end.div_ceil(SECTOR) } else { end / SECTOR };
        let first = start.div_ceil(SECTOR).min(last);
        self.taken[first..last].fill(false);
        start / SECTOR..end.div_ceil(SECTOR)
    }

    fn allocated(&self) -> u64 {
        self.taken.iter().filter(|taken| **taken).count() as u64 * SECTOR as u64
    }
}

impl Bytes {
    fn change(&mut self, sectors: Range<usize>) {
        self.forgotten.retain(|sector| !sectors.contains(sector));
        self.unsynced.push(self.now.clone());
    }

    fn sync(&mut self) {
        let mut image = self.now.clone();
        self.keep_forgotten(&mut image);
        self.kept = image;
        self.unsynced.clear();
    }

    fn fail_to_sync(&mut self, random: &mut Random) {
        self.kept = self.left(Taste::Anything, random);
        self.unsynced.clear();
        let sectors = self.now.taken.len().max(self.kept.taken.len());
        self.forgotten = (0..sectors).filter(|sector| self.now.sector(*sector) != self.kept.sector(*sector)).collect();
    }

    /// What a crash leaves.
    fn left(&self, taste: Taste, random: &mut Random) -> Image {
        let times = self.unsynced.len() as u64 + 1;
        let favourite = random.below(times);
        let mut pick = || {
            let time = match taste {
                Taste::Nothing => 0,
                Taste::Everything => times - 1,
                Taste::OneTime if random.below(8) > 0 => favourite,
                Taste::Anything | Taste::OneTime => random.below(times),
            };
            time.checked_sub(1).map_or(&self.kept, |time| &self.unsynced[time as usize])
        };
        let mut image = pick().clone();
        for sector in 0..image.taken.len() {
            copy_sector(&mut image, pick(), sector);
        }
        self.keep_forgotten(&mut image);
        image
    }

    fn keep_forgotten(&self, image: &mut Image) {
        for sector in self.forgotten.range(..image.taken.len()) {
            copy_sector(image, &self.kept, *sector);
        }
    }
}

/// What lies beyond the end of the other image is a hole.
fn copy_sector(to: &mut Image, from: &Image, sector: usize) {
    let (bytes, taken) = from.sector(sector).unwrap_or_default();
    let place = sector * SECTOR..to.bytes.len().min((sector + 1) * SECTOR);
    let place = &mut to.bytes[place];
    let length = place.len().min(bytes.len());
    place[..length].copy_from_slice(&bytes[..length]);
    place[length..].fill(0);
    to.taken[sector] = taken;
}

impl SimDisk {
    pub(crate) fn new(plan: Plan) -> Self {
        Self::of(vec![Node::Folder { now: BTreeMap::new(), kept: BTreeMap::new() }], plan, 0)
    }

    fn of(nodes: Vec<Node>, plan: Plan, seed: u64) -> Self {
        let (locked, random) = (Arc::default(), Random::new(seed));
        let (done, is_off, refused, changes) = (0, false, 0, Vec::new());
        Self(Arc::new(Mutex::new(State { plan, done, is_off, refused, locked, nodes, changes, random })))
    }

    /// How many operations there were.
    pub(crate) fn operations(&self) -> u64 {
        lock(&self.0).done
    }

    /// Whether the power is gone.
    pub(crate) fn is_off(&self) -> bool {
        lock(&self.0).is_off
    }

    /// How often there was no room.
    pub(crate) fn refused(&self) -> u64 {
        lock(&self.0).refused
    }

    /// Takes the power away, if it is still there, and gives it back: the disk that a new process finds. The old one is
    /// of no use any more. One crash can be looked at with several seeds.
    pub(crate) fn reboot(&self, seed: u64, plan: Plan) -> SimDisk {
        let mut state = lock(&self.0);
        state.is_off = true;
        let (taste, mut random) = (Taste::of(seed), Random::new(seed));
        let mut nodes = state.nodes.clone();
        for change in &state.changes {
            let kept = match taste {
                Taste::Nothing => false,
                Taste::Everything => true,
                Taste::Anything | Taste::OneTime => random.below(2) == 0,
            };
            if kept {
                keep_names(&mut nodes, change);
            }
        }
        for node in &mut nodes {
            match node {
                Node::Folder { now, kept } => now.clone_from(kept),
                Node::File(bytes) => {
                    let left = bytes.left(taste, &mut random);
                    *bytes = Bytes { now: left.clone(), kept: left, ..Bytes::default() };
                }
            }
        }
        Self::of(nodes, plan, random.next())
    }

    fn act<T>(&self, act: impl FnOnce(&mut State, bool) -> io::Result<T>) -> io::Result<T> {
        let mut state = lock(&self.0);
        let fails = state.step()?;
        act(&mut state, fails)
    }

    fn look<T>(&self, look: impl FnOnce(&State) -> io::Result<T>) -> io::Result<T> {
        let state = lock(&self.0);
        if state.is_off { Err(failure()) } else { look(&state) }
    }

    fn handle(&self, state: &mut State, node: usize) -> Arc<dyn DiskFile> {
        state.file(node).open += 1;
        Arc::new(SimFile { disk: self.clone(), node })
    }
}

impl State {
    /// Counts an operation and says whether it fails.
    fn step(&mut self) -> io::Result<bool> {
        if self.is_off || self.plan.crash_at == Some(self.done) {
            self.is_off = true;
            return Err(failure());
        }
        let number = self.done;
        self.done += 1;
        if self.plan.read_only_from.is_some_and(|from| number >= from) {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(self.plan.fail_at == Some(number))
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        path.components().try_fold(ROOT, |at, part| match (part, &self.nodes[at]) {
            (Component::Normal(name), Node::Folder { now, .. }) => {
                now.get(text(name.as_ref())?).copied().ok_or(io::ErrorKind::NotFound.into())
            }
            (Component::Normal(_), Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            _ => Ok(at),
        })
    }

    /// The folder of a path and the name in it.
    fn place(&self, path: &Path) -> io::Result<(usize, String)> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Ok((self.find(folder)?, text(name.as_ref())?.to_owned()))
    }

    fn find_file(&self, path: &Path) -> io::Result<usize> {
        let node = self.find(path)?;
        match self.nodes[node] {
            Node::File(_) => Ok(node),
            Node::Folder { .. } => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn file(&mut self, node: usize) -> &mut Bytes {
        match &mut self.nodes[node] {
            Node::File(bytes) => bytes,
            Node::Folder { .. } => unreachable!("handles are of files"),
        }
    }

    fn bytes(&self, node: usize) -> &Bytes {
        match &self.nodes[node] {
            Node::File(bytes) => bytes,
            Node::Folder { .. } => unreachable!("handles are of files"),
        }
    }

    fn folder(&mut self, node: usize) -> io::Result<&mut BTreeMap<String, usize>> {
        match &mut self.nodes[node] {
            Node::Folder { now, .. } => Ok(now),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn change(&mut self, change: Change) -> io::Result<()> {
        for (folder, name, node) in &change {
            match node {
                Some(node) => self.folder(*folder)?.insert(name.clone(), *node),
                None => self.folder(*folder)?.remove(name),
            };
        }
        self.changes.push(change);
        Ok(())
    }

    fn sync_names(&mut self, folder: usize) {
        // What is written out takes along what it was built on.
        let mut keys: BTreeSet<(usize, String)> = BTreeSet::new();
        let mut written = vec![false; self.changes.len()];
        for (at, change) in self.changes.iter().enumerate().rev() {
            let key = |(folder, name, _): &(usize, String, Option<usize>)| (*folder, name.clone());
            written[at] = change.iter().any(|edit| edit.0 == folder || keys.contains(&key(edit)));
            if written[at] {
                keys.extend(change.iter().map(key));
            }
        }
        let mut at = written.into_iter();
        let (written, left) = std::mem::take(&mut self.changes).into_iter().partition(|_| at.next() == Some(true));
        self.changes = left;
        let written: Vec<Change> = written;
        written.iter().for_each(|change| keep_names(&mut self.nodes, change));
    }

    /// How many more bytes there is room for.
    fn room(&self) -> u64 {
        let Some(capacity) = self.plan.capacity else { return u64::MAX };
        let named: BTreeSet<usize> = self.nodes.iter().flat_map(names_in).collect();
        let taken = |(node, what): (usize, &Node)| match what {
            Node::File(bytes) if bytes.open > 0 || named.contains(&node) => bytes.now.allocated(),
            _ => 0,
        };
        capacity.saturating_sub(self.nodes.iter().enumerate().map(taken).sum())
    }

    /// Writes as much as there is room for.
    fn write(&mut self, node: usize, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let mut room = self.room();
        let (file, mut end) = (self.file(node), offset);
        while end < offset + bytes.len() {
            if !file.now.taken.get(end / SECTOR).copied().unwrap_or(false) {
                if room < SECTOR as u64 {
                    break;
                }
                room -= SECTOR as u64;
            }
            end = ((end / SECTOR + 1) * SECTOR).min(offset + bytes.len());
        }
        if end > offset {
            let sectors = file.now.write(offset, &bytes[..end - offset]);
            file.change(sectors);
        }
        if end < offset + bytes.len() {
            self.refused += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

fn names_in(node: &Node) -> Vec<usize> {
    match node {
        Node::Folder { now, .. } => now.values().copied().collect(),
        Node::File(_) => Vec::new(),
    }
}

fn keep_names(nodes: &mut [Node], change: &Change) {
    for (folder, name, node) in change {
        if let Node::Folder { kept, .. } = &mut nodes[*folder] {
            match node {
                Some(node) => kept.insert(name.clone(), *node),
                None => kept.remove(name),
            };
        }
    }
}

fn text(name: &Path) -> io::Result<&str> {
    name.to_str().ok_or(io::ErrorKind::InvalidInput.into())
}

/// What the system says when the medium fails, and when there is none.
fn failure() -> io::Error {
    io::Error::other("the medium failed")
}

/// Gives the lock back.
struct Unlock(Arc<AtomicBool>);

impl Drop for Unlock {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Disk for SimDisk {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let mut above: Vec<&Path> = folder.ancestors().collect();
        above.reverse();
        for path in above {
            if self.look(|state| state.find(path)).is_ok() {
                continue;
            }
            self.act(|state, fails| {
                let (folder, name) = state.place(path)?;
                if fails {
                    return Err(failure());
                }
                state.nodes.push(Node::Folder { now: BTreeMap::new(), kept: BTreeMap::new() });
                state.change(vec![(folder, name, Some(state.nodes.len() - 1))])
            })?;
        }
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        self.look(|state| match &state.nodes[state.find(folder)?] {
            Node::Folder { now, .. } => Ok(now.keys().map(OsString::from).collect()),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        })
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.act(|state, fails| {
            let folder = state.find(folder)?;
            if fails {
                return Err(failure());
            }
            state.sync_names(folder);
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        if self.look(|state| state.find_file(path)).is_err() {
            self.create(path)?;
        }
        let locked = Arc::clone(&lock(&self.0).locked);
        if locked.swap(true, Ordering::SeqCst) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Unlock(locked)))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.act(|state, fails| {
            let (folder, name) = state.place(path)?;
            if fails {
                return Err(failure());
            }
            if let Ok(node) = state.find_file(path) {
                let file = state.file(node);
                let sectors = 0..file.now.taken.len();
                file.now.set_len(0);
                file.change(sectors);
                return Ok(self.handle(state, node));
            }
            state.nodes.push(Node::File(Bytes::default()));
            let node = state.nodes.len() - 1;
            state.change(vec![(folder, name, Some(node))])?;
            Ok(self.handle(state, node))
        })
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let node = self.look(|state| state.find_file(path))?;
        Ok(self.handle(&mut lock(&self.0), node))
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        self.look(|state| {
            let bytes = &state.bytes(state.find_file(path)?).now.bytes;
            Ok(bytes[..bytes.len().min(usize::try_from(limit).unwrap_or(usize::MAX))].to_vec())
        })
    }

    fn size(&self, path: &Path) -> io::Result<Size> {
        self.look(|state| Ok(size(state.bytes(state.find_file(path)?))))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.act(|state, fails| {
            let (node, (folder, name)) = (state.find(from)?, state.place(from)?);
            let (to_folder, to_name) = state.place(to)?;
            if fails {
                return Err(failure());
            }
            state.change(vec![(folder, name, None), (to_folder, to_name, Some(node))])
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.look(|state| state.find_file(path))?;
        self.act(|state, fails| {
            let (folder, name) = state.place(path)?;
            if fails { Err(failure()) } else { state.change(vec![(folder, name, None)]) }
        })
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        for name in self.list(folder)? {
            let path = folder.join(name);
            match self.remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::IsADirectory => self.remove_folder(&path)?,
                removed => removed?,
            }
        }
        self.act(|state, fails| {
            let (above, name) = state.place(folder)?;
            if fails { Err(failure()) } else { state.change(vec![(above, name, None)]) }
        })
    }

    fn free(&self, _: &Path) -> io::Result<u64> {
        self.look(|state| Ok(state.room()))
    }
}

struct SimFile {
    disk: SimDisk,
    node: usize,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        lock(&self.disk.0).file(self.node).open -= 1;
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.disk.act(|state, fails| {
            let length = if fails { state.random.below(bytes.len() as u64) as usize } else { bytes.len() };
            state.write(self.node, offset as usize, &bytes[..length])?;
            if fails { Err(failure()) } else { Ok(()) }
        })
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.disk.look(|state| {
            let bytes = &state.bytes(self.node).now.bytes;
            let there = bytes.get(offset as usize..offset as usize + buffer.len());
            buffer.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk.act(|state, fails| {
            if fails {
                return Err(failure());
            }
            let file = state.file(self.node);
            let old = file.now.bytes.len();
            file.now.set_len(length as usize);
            // Also the sector that is cut, or that is longer now.
            let sectors = old.min(length as usize) / SECTOR..old.max(length as usize).div_ceil(SECTOR);
            file.change(sectors);
            Ok(())
        })
    }

    fn size(&self) -> io::Result<Size> {
        self.disk.look(|state| Ok(size(state.bytes(self.node))))
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.act(|state, fails| {
            let mut random = state.random.clone();
            let file = state.file(self.node);
            if fails {
                file.fail_to_sync(&mut random);
                state.random = random;
                return Err(failure());
            }
            file.sync();
            Ok(())
        })
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        self.disk.act(|state, fails| {
            if state.plan.no_holes {
                return Err(io::ErrorKind::Unsupported.into());
            }
            if fails {
                return Err(failure());
            }
            let file = state.file(self.node);
            let sectors = file.now.punch(range.start as usize..range.end as usize);
            file.change(sectors);
            Ok(())
        })
    }
}

fn size(bytes: &Bytes) -> Size {
    Size { length: bytes.now.bytes.len() as u64, allocated: bytes.now.allocated() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> SimDisk {
        SimDisk::new(Plan::default())
    }

    fn path(name: &str) -> std::path::PathBuf {
        Path::new("/").join(name)
    }

    /// What is found in a file after crashes with many seeds.
    fn found(disk: &SimDisk, name: &str) -> BTreeSet<Option<Vec<u8>>> {
        (0..200).map(|seed| disk.reboot(seed, Plan::default()).read(&path(name), u64::MAX).ok()).collect()
    }

    #[test]
    fn keeps_what_was_synced_and_only_that_for_certain() {
        let disk = disk();
        let file = disk.create(&path("x")).unwrap();
        file.write_at(0, b"old").unwrap();
        file.sync().unwrap();
        assert_eq!(found(&disk, "x"), [None, Some(b"old".to_vec())].into());
        let disk = disk.reboot(1, Plan::default());
        disk.sync_folder(&path("")).unwrap();
        let file = disk.open(&path("x")).unwrap();
        file.write_at(0, b"new").unwrap();
        assert_eq!(disk.read(&path("x"), 2).unwrap(), b"ne");
        assert_eq!(found(&disk, "x"), [Some(b"old".to_vec()), Some(b"new".to_vec())].into());
        assert!(file.sync().is_err() && disk.is_off());
    }

    #[test]
    fn tears_and_reorders_writes_at_sectors() {
        let disk = disk();
        let file = disk.create(&path("x")).unwrap();
        file.set_len(2 * SECTOR as u64).unwrap();
        file.sync().unwrap();
        disk.sync_folder(&path("")).unwrap();
        file.write_at(500, &[1; 24]).unwrap();
        file.write_at(1000, &[2; 24]).unwrap();
        let ends: BTreeSet<(u8, u8, u8)> =
            found(&disk, "x").into_iter().flatten().map(|bytes| (bytes[511], bytes[512], bytes[1023])).collect();
        let expected = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 1, 2), (1, 1, 2)];
        assert_eq!(ends, expected.into());
    }

    #[test]
    fn forgets_what_it_failed_to_write() {
        let disk = SimDisk::new(Plan { fail_at: Some(2), ..Plan::default() });
        let file = disk.create(&path("x")).unwrap();
        file.write_at(0, &[1; 4 * SECTOR]).unwrap();
        assert!(file.sync().is_err());
        file.write_at(0, &[2; SECTOR]).unwrap();
        file.sync().unwrap();
        disk.sync_folder(&path("")).unwrap();
        assert_eq!(disk.read(&path("x"), u64::MAX).unwrap()[SECTOR..], [1; 3 * SECTOR]);
        let found = found(&disk, "x");
        assert_eq!(found.len(), 1);
        let bytes = found.into_iter().flatten().next().unwrap();
        assert_eq!(bytes[..SECTOR], [2; SECTOR]);
        assert!(bytes[SECTOR..].contains(&0));
    }

    #[test]
    fn fills_up_and_gives_back() {
        let disk = SimDisk::new(Plan { capacity: Some(4 * SECTOR as u64), ..Plan::default() });
        let file = disk.create(&path("x")).unwrap();
        let full = file.write_at(0, &[1; 5 * SECTOR]).unwrap_err();
        assert_eq!((full.kind(), disk.refused(), disk.free(&path("")).unwrap()), (io::ErrorKind::StorageFull, 1, 0));
        file.write_at(100, &[2; 600]).unwrap();
        file.punch(SECTOR as u64 - 1..3 * SECTOR as u64).unwrap();
        assert_eq!(file.size().unwrap(), Size { length: 4 * SECTOR as u64, allocated: 2 * SECTOR as u64 });
        file.punch(3 * SECTOR as u64..9 * SECTOR as u64).unwrap();
        assert_eq!((file.size().unwrap().allocated, disk.free(&path("")).unwrap()), (512, 3 * 512));
        disk.remove_file(&path("x")).unwrap();
        assert_eq!(disk.free(&path("")).unwrap(), 3 * 512);
        drop(file);
        assert_eq!(disk.free(&path("")).unwrap(), 4 * 512);
    }

    #[test]
    fn a_renamed_folder_is_in_one_place() {
        let disk = disk();
        disk.make_folder(&path("a/b")).unwrap();
        disk.create(&path("a/b/x")).unwrap();
        ["", "a", "a/b"].iter().for_each(|folder| disk.sync_folder(&path(folder)).unwrap());
        disk.rename(&path("a/b"), &path("c")).unwrap();
        disk.make_folder(&path("a/b")).unwrap();
        for seed in 0..100 {
            let disk = disk.reboot(seed, Plan::default());
            let (old, new) = (disk.size(&path("a/b/x")), disk.size(&path("c/x")));
            assert!(old.is_err() || new.is_err());
            disk.remove_folder(&path("a")).unwrap();
            assert!(disk.list(&path("a")).is_err());
        }
    }
}
