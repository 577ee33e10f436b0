//! Where the bytes of an open object are: in its file, and in memory what the disk did not take.
//!
//! Owns: the choice between the two for every piece that comes, and what lies in memory.
//! Leaves to others: what is readable (`core/cache/object`), the crash-safe order of writes (`io/store`), and how much room
//! there is ([`Keeper`]).
//!
//! Invariants: a byte that lies in memory is read from there, whatever the file says; a granule of which any byte lies in
//! memory is never made durable. So a disk that is full, or that breaks, costs the cache and not the film.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache::granule::Hasher;
use cache::{Geometry, Granule, Meta};
use store::ObjectFile;

use crate::fault::Fault;
use crate::keep::{Keeper, Reservation};
use crate::local::LocalFile;

/// Bytes of one object that may lie in memory.
pub const MEMORY: u64 = 48 << 20;
/// How far ahead of a reader is fetched while bytes go to memory.
pub const MEMORY_AHEAD: u64 = 8 << 20;
/// How long a disk that refused bytes is not tried again.
const DISK_REST: Duration = Duration::from_secs(5);

/// The bytes of one generation of one object.
pub struct Hold {
    /// None when not even the files could be made, and for a file that is not ours.
    file: Option<Arc<ObjectFile>>,
    /// A file of this machine that is served as it is.
    local: Option<LocalFile>,
    /// Of an object without a file.
    only: Mutex<Only>,
    memory: Mutex<Memory>,
    keeper: Arc<Keeper>,
}

struct Only {
    meta: Meta,
    geometry: Geometry,
}

#[derive(Default)]
struct Memory {
    /// By where they begin. They do not overlap.
    pieces: BTreeMap<u64, Bytes>,
    bytes: u64,
    /// The disk refused, and is left alone until then.
    disk_rests_until: Option<Instant>,
}

/// What a piece completed when it was written.
pub struct Written {
    pub hasher: Hasher,
    pub granules: Vec<Granule>,
    /// Of these, those whose bytes are all in the file.
    pub on_disk: Vec<Granule>,
}

impl Hold {
    pub fn new(file: Arc<ObjectFile>, keeper: Arc<Keeper>) -> Hold {
        let only = Only { meta: file.meta(), geometry: file.geometry() };
        Hold { file: Some(file), local: None, only: Mutex::new(only), memory: Mutex::default(), keeper }
    }

    /// An object for which the disk has no room at all.
    pub fn in_memory(meta: Meta, geometry: Geometry, keeper: Arc<Keeper>) -> Hold {
        let only = Mutex::new(Only { meta, geometry });
        Hold { file: None, local: None, only, memory: Mutex::default(), keeper }
    }

    /// A file of this machine: all of it is here.
    pub fn local(local: LocalFile, meta: Meta, geometry: Geometry, keeper: Arc<Keeper>) -> Hold {
        let only = Mutex::new(Only { meta, geometry });
        Hold { file: None, local: Some(local), only, memory: Mutex::default(), keeper }
    }

    /// The file of this machine that it is.
    pub fn local_file(&self) -> Option<&LocalFile> {
        self.local.as_ref()
    }

    pub fn file(&self) -> Option<&Arc<ObjectFile>> {
        self.file.as_ref()
    }

    pub fn keeper(&self) -> &Arc<Keeper> {
        &self.keeper
    }

    pub fn geometry(&self) -> Geometry {
        match &self.file {
            Some(file) => file.geometry(),
            None => self.only().geometry,
        }
    }

    pub fn meta(&self) -> Meta {
        match &self.file {
            Some(file) => file.meta(),
            None => self.only().meta.clone(),
        }
    }

    /// Changes the record. Waits for the disk. When that does not take it, the old one counts after a restart.
    pub fn update_meta(&self, change: impl FnOnce(&mut Meta)) -> Result<(), store::Error> {
        match &self.file {
            Some(file) => file.update_meta(change),
            None => {
                change(&mut self.only().meta);
                Ok(())
            }
        }
    }

    /// The length that was provisional is known. Waits for the disk.
    pub fn settle(&self, total: u64) -> Result<(), Fault> {
        if let Some(file) = &self.file {
            return Ok(file.settle(total)?);
        }
        let mut only = self.only();
        only.geometry = Geometry::with_granule(total, only.geometry.granule())
            .ok_or_else(|| Fault::new(plugin::code::TOO_LARGE, "the file is larger than anything that is kept"))?;
        (only.meta.total, only.meta.open_ended) = (total, false);
        Ok(())
    }

    /// Writes pieces one after the other: to the file, or, when it does not take them, to memory. Waits for the disk.
    /// Without a reservation the file is not even tried.
    pub fn write(
        &self,
        at: u64,
        pieces: &[Bytes],
        mut hasher: Hasher,
        room: Option<&Reservation>,
    ) -> Result<Written, Fault> {
        let (mut at, mut granules) = (at, Vec::new());
        for piece in pieces {
            if !self.to_disk(at, piece, room) {
                self.to_memory(at, piece)?;
            }
            let done = hasher.push(at, piece).map_err(|error| Fault::new(plugin::code::INTERNAL, error.to_string()))?;
            granules.extend(done);
            at += piece.len() as u64;
        }
        let on_disk = self.on_disk(&granules);
        Ok(Written { hasher, granules, on_disk })
    }

    /// Of these granules, those whose bytes are all in the file.
    pub fn on_disk(&self, granules: &[Granule]) -> Vec<Granule> {
        if self.file.is_none() {
            return Vec::new();
        }
        let (geometry, memory) = (self.geometry(), self.memory());
        let whole = |granule: &&Granule| {
            let range = geometry.range_of(granule.index);
            memory.pieces.is_empty() || memory.touching(&range).next().is_none()
        };
        granules.iter().filter(whole).copied().collect()
    }

    fn to_disk(&self, at: u64, piece: &Bytes, room: Option<&Reservation>) -> bool {
        let (Some(file), Some(room)) = (&self.file, room) else { return false };
        let now = Instant::now();
        if self.memory().disk_rests_until.is_some_and(|until| now < until) {
            return false;
        }
        match file.write_at(at, piece) {
            Ok(()) => {
                let mut memory = self.memory();
                memory.disk_rests_until = None;
                if !memory.pieces.is_empty() {
                    self.keeper.forget_memory(memory.cut(at..at + piece.len() as u64));
                }
                drop(memory);
                room.wrote(at, piece.len() as u64);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the disk takes no more of a file; it is played from memory");
                metrics::counter!("mediahost_cache_refused_total").increment(1);
                self.memory().disk_rests_until = now.checked_add(DISK_REST);
                self.keeper.look_again();
                false
            }
        }
    }

    fn to_memory(&self, at: u64, piece: &Bytes) -> Result<(), Fault> {
        let length = piece.len() as u64;
        let mut memory = self.memory();
        let cut = memory.cut(at..at + length);
        self.keeper.forget_memory(cut);
        if memory.bytes + length > MEMORY || !self.keeper.take_memory(length) {
            return Err(Fault::new("disk", "the disk is full, and more is being read than fits into memory"));
        }
        memory.pieces.insert(at, piece.clone());
        memory.bytes += length;
        Ok(())
    }

    /// Bytes that lie in memory.
    pub fn in_memory_bytes(&self) -> u64 {
        self.memory().bytes
    }

    /// Granules of which something lies in memory, as runs.
    pub fn granules_in_memory(&self) -> Vec<Range<u64>> {
        let geometry = self.geometry();
        let mut runs: Vec<Range<u64>> = Vec::new();
        for (start, piece) in &self.memory().pieces {
            let run = geometry.index_at(*start)..geometry.index_at(start + piece.len() as u64 - 1) + 1;
            match runs.last_mut() {
                Some(last) if run.start <= last.end => last.end = last.end.max(run.end),
                _ => runs.push(run),
            }
        }
        runs
    }

    /// Lets go of granules. Nobody reads or writes them meanwhile. Waits for the disk.
    pub fn evict(&self, granules: &[Range<u64>]) {
        let geometry = self.geometry();
        let bytes = |run: &Range<u64>| geometry.range_of(run.start).start..geometry.range_of(run.end - 1).end;
        let mut in_memory = 0;
        {
            let mut memory = self.memory();
            for run in granules.iter().filter(|run| !run.is_empty()) {
                in_memory += memory.cut(bytes(run));
            }
        }
        self.keeper.forget_memory(in_memory);
        let Some(file) = &self.file else { return };
        match file.evict(granules) {
            // What was in memory gave nothing back to the disk.
            Ok(freed) => self.keeper.gave_back(freed.saturating_sub(in_memory)),
            // They are not served any more in any case; after a restart some of them may be there again, intact.
            Err(error) => tracing::warn!(%error, "the room of evicted parts could not be given back"),
        }
    }

    /// The bytes at the beginning of a range without a copy, as many as lie in one place. All of the range has to be
    /// readable.
    pub fn bytes(&self, range: Range<u64>) -> Result<Bytes, Fault> {
        if let Some(local) = &self.local {
            return local.read(range);
        }
        let until = {
            let memory = self.memory();
            match memory.at(range.start) {
                Found::Piece(piece) => {
                    let length = piece.len().min(usize::try_from(range.end - range.start).unwrap_or(usize::MAX));
                    return Ok(piece.slice(..length));
                }
                Found::DiskUntil(until) => until.min(range.end),
            }
        };
        let file = self.file.as_ref().ok_or_else(|| Fault::new(plugin::code::INTERNAL, "bytes without a place"))?;
        Ok(file.bytes(range.start..until)?)
    }

    /// Whether touching a range would not wait for the disk.
    pub fn is_resident(&self, range: Range<u64>) -> bool {
        self.file.as_ref().is_none_or(|file| file.is_resident(range))
    }

    /// Brings a range into memory and waits for it.
    pub fn populate(&self, range: Range<u64>) -> Result<(), store::Error> {
        self.file.as_ref().map_or(Ok(()), |file| file.populate(range))
    }

    fn only(&self) -> MutexGuard<'_, Only> {
        self.only.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.keeper.forget_memory(self.memory().bytes);
    }
}

enum Found {
    Piece(Bytes),
    /// It is in the file, as is what follows up to here.
    DiskUntil(u64),
}

impl Memory {
    fn at(&self, offset: u64) -> Found {
        if let Some((start, piece)) = self.pieces.range(..=offset).next_back()
            && offset < start + piece.len() as u64
        {
            return Found::Piece(piece.slice((offset - start) as usize..));
        }
        Found::DiskUntil(self.pieces.range(offset..).next().map_or(u64::MAX, |(start, _)| *start))
    }

    /// Pieces that reach into a range.
    fn touching(&self, range: &Range<u64>) -> impl Iterator<Item = (u64, &Bytes)> {
        let before = self.pieces.range(..range.start).next_back();
        let reaches = before.filter(|(start, piece)| *start + piece.len() as u64 > range.start);
        reaches.into_iter().chain(self.pieces.range(range.clone())).map(|(start, piece)| (*start, piece))
    }

    /// Takes a range out; how many bytes that were.
    fn cut(&mut self, range: Range<u64>) -> u64 {
        let touching: Vec<u64> = self.touching(&range).map(|(start, _)| start).collect();
        let mut cut = 0;
        for start in touching {
            let Some(piece) = self.pieces.remove(&start) else { continue };
            let end = start + piece.len() as u64;
            cut += end.min(range.end) - start.max(range.start);
            if start < range.start {
                self.pieces.insert(start, piece.slice(..(range.start - start) as usize));
            }
            if range.end < end {
                self.pieces.insert(range.end, piece.slice((range.end - start) as usize..));
            }
        }
        self.bytes -= cut;
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_cut_where_it_is_told() {
        let mut memory = Memory::default();
        memory.pieces.insert(10, Bytes::from_static(b"0123456789"));
        memory.pieces.insert(20, Bytes::from_static(b"abc"));
        memory.bytes = 13;
        assert_eq!(memory.cut(12..21), 9);
        assert_eq!(memory.bytes, 4);
        let left: Vec<_> = memory.pieces.iter().map(|(at, piece)| (*at, piece.as_ref())).collect();
        assert_eq!(left, [(10, b"01".as_ref()), (21, b"bc".as_ref())]);
        assert_eq!(memory.cut(0..100), 4);
        assert_eq!((memory.bytes, memory.pieces.len()), (0, 0));
    }

    #[test]
    fn a_place_is_in_memory_or_in_the_file_up_to_the_next_piece() {
        let mut memory = Memory::default();
        memory.pieces.insert(10, Bytes::from_static(b"0123"));
        assert!(matches!(memory.at(9), Found::DiskUntil(10)));
        assert!(matches!(memory.at(12), Found::Piece(piece) if piece.as_ref() == b"23"));
        assert!(matches!(memory.at(14), Found::DiskUntil(u64::MAX)));
        assert_eq!(memory.touching(&(13..20)).count(), 1);
        assert_eq!(memory.touching(&(14..20)).count(), 0);
        assert_eq!(memory.touching(&(0..10)).count(), 0);
    }
}
