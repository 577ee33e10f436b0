//! Read-only mappings of files, from which bodies are served without a copy, and the list of all that live.
//!
//! Owns: which windows of which files are mapped, how much of the address space they take together ([`Windows`]), and the
//! way back from a piece of memory to its file ([`locate`]).
//! Leaves to others: what is served where nothing can be mapped ([`crate::ObjectFile`] reads it).
//!
//! The rules that make it safe (a touched page beyond the end of the file, or a write into a hole on a full disk, ends
//! the process with SIGBUS): the file is as long as the mapping and is never shortened while a window of it lives; nobody
//! writes through a mapping; bytes that are not on the medium yet are written with `pwrite` and read by no one.
//!
//! A file is mapped in windows, one after the other as they are wanted. Where there are addresses for all, one window is
//! the whole file; where they are scarce, windows are small and those that nobody reads from make room for others. A window
//! in use stays where it is, so that what was handed out never changes under its reader.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use cache::granule::MAX_TOTAL;
use memmap2::{Mmap, MmapOptions};

use crate::system;

/// Whether addresses are few: 2 to 4 GiB on 32 bits. Phones have 64 bits and give a process far fewer, some of them
/// hardly more than its memory.
const SCARCE: bool = cfg!(any(
    target_pointer_width = "32",
    target_os = "android",
    target_os = "ios",
    target_os = "tvos",
    target_os = "visionos",
    target_os = "watchos"
));
/// Bytes of one window, from a multiple of that on. Otherwise any object is one.
const WINDOW: u64 = if SCARCE { 64 << 20 } else { MAX_TOTAL };
/// Bytes that may be mapped at once: eight windows on 32 bits, which leaves the larger part of the addresses to the rest of
/// the process, and 32 on phones. Otherwise all that processes can address; the system has its own bound.
const MAPPED: u64 = match (SCARCE, cfg!(target_pointer_width = "32")) {
    (true, true) => 512 << 20,
    (true, false) => 2 << 30,
    (false, _) => 1 << 47,
};

/// The windows of this process.
pub(crate) static WINDOWS: Windows = Windows::new(WINDOW, MAPPED);

/// The windows that live, by the address of their first byte: those that are kept, and those that are still being sent
/// from.
static LIVE: RwLock<BTreeMap<usize, Live>> = RwLock::new(BTreeMap::new());

struct Live {
    length: usize,
    file: Arc<File>,
    /// Where the window begins in the file.
    offset: u64,
}

/// The file that these bytes are mapped from, and the offset of the first of them in it; `None` unless they lie in one
/// mapping of this crate. Whoever sends them can have the kernel take them from the file (sendfile) and never touch
/// them. The file that is returned stays open as long as it is kept.
///
/// Costs a shared lock and a search among a handful of mappings. The answer cannot be out of date: who has the slice
/// keeps the mapping alive.
pub fn locate(bytes: &[u8]) -> Option<(Arc<File>, u64)> {
    // An empty slice at the end of one mapping may have the address of the next.
    let (start, length) = (bytes.as_ptr().addr(), bytes.len());
    if length == 0 {
        return None;
    }
    let all = LIVE.read().unwrap_or_else(PoisonError::into_inner);
    let (base, live) = all.range(..=start).next_back()?;
    let within = start - base;
    (within.checked_add(length)? <= live.length).then(|| (Arc::clone(&live.file), live.offset + within as u64))
}

/// Whether a window of this file lives, through whichever handle it was mapped. `true` where that cannot be told.
pub(crate) fn is_mapped(file: &File) -> bool {
    let Ok(wanted) = system::identity(file) else { return true };
    let all = LIVE.read().unwrap_or_else(PoisonError::into_inner);
    all.values().any(|live| system::identity(&live.file).map_or(true, |found| found == wanted))
}

/// A file that is mapped as it is wanted. Slices keep their windows alive and outlive this.
pub(crate) struct Mapping {
    file: Arc<File>,
    length: u64,
    windows: &'static Windows,
    /// Among those of `windows`.
    id: u64,
    /// The file cannot be mapped at all.
    refused: AtomicBool,
}

impl Mapping {
    /// For the first `length` bytes, which must exist. Maps nothing yet.
    pub(crate) fn new(file: &Arc<File>, length: u64, windows: &'static Windows) -> Self {
        Self { file: Arc::clone(file), length, windows, id: windows.next_id(), refused: AtomicBool::new(false) }
    }

    /// The bytes at the beginning of a range, without a copy, as many as lie in one window. `None` if they cannot be
    /// mapped, or not now. The range must lie inside and not be empty.
    pub(crate) fn slice(&self, range: Range<u64>) -> Option<Bytes> {
        let (index, part) = self.parts(range).next()?;
        Some(Bytes::from_owner(Held(self.window(index)?)).slice(part))
    }

    /// Whether reading what [`Mapping::slice`] returns of this range, piece by piece, would not wait for the disk; true of
    /// what it does not return. The range must lie inside.
    pub(crate) fn is_resident(&self, range: Range<u64>) -> bool {
        self.parts(range)
            .all(|(index, part)| self.window(index).is_none_or(|window| system::is_resident(&window.map, part)))
    }

    /// Brings a range in and waits for it; `false` if that is not possible here or the disk failed. The range must lie
    /// inside.
    pub(crate) fn populate(&self, range: Range<u64>) -> bool {
        self.parts(range)
            .all(|(index, part)| self.window(index).is_some_and(|window| system::populate(&window.map, part)))
    }

    /// A range as parts of windows.
    fn parts(&self, range: Range<u64>) -> impl Iterator<Item = (u64, Range<usize>)> {
        let size = self.windows.size;
        (range.start / size..range.end.div_ceil(size)).map(move |index| {
            let start = index * size;
            // A window fits into memory, so that places in it do.
            let place = |at: u64| (at.clamp(start, start + size) - start) as usize;
            (index, place(range.start)..place(range.end))
        })
    }

    fn window(&self, index: u64) -> Option<Arc<Listed>> {
        if self.refused.load(Ordering::Relaxed) {
            return None;
        }
        let start = index * self.windows.size;
        let length = self.length.saturating_sub(start).min(self.windows.size);
        let window = self.windows.get((self.id, index), length, |room| Listed::new(&self.file, start, length, room));
        match window {
            Ok(window) => window,
            Err(error) => {
                if !self.refused.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "a file cannot be mapped; it is read instead");
                }
                None
            }
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // Unmapping a large window takes a while, and is not done under the lock.
        drop(self.windows.forget(self.id));
    }
}

/// The bounds of what is mapped, and the windows that are kept for the next reader.
pub(crate) struct Windows {
    /// Bytes of a window.
    size: u64,
    /// Bytes that are mapped at most, those included that are only being sent from.
    most: u64,
    /// Bytes that are mapped. Grows under the lock of `kept` alone.
    mapped: AtomicU64,
    last_id: AtomicU64,
    /// Locked before [`LIVE`].
    kept: Mutex<Kept>,
}

/// By mapping and place.
type Key = (u64, u64);

struct Kept {
    windows: BTreeMap<Key, Window>,
    /// Counts uses.
    now: u64,
}

struct Window {
    listed: Arc<Listed>,
    used: u64,
}

impl Windows {
    /// Windows of so many bytes, a multiple of the size of a page that fits into memory; all together at most so many
    /// bytes.
    pub(crate) const fn new(size: u64, most: u64) -> Self {
        let kept = Mutex::new(Kept { windows: BTreeMap::new(), now: 0 });
        Self { size, most, mapped: AtomicU64::new(0), last_id: AtomicU64::new(0), kept }
    }

    fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed)
    }

    /// A window, mapped now or earlier; `None` if there is no room for it: all others are in use. On an error there will
    /// never be any.
    fn get(
        &'static self,
        key: Key,
        length: u64,
        map: impl Fn(Room) -> io::Result<Listed>,
    ) -> io::Result<Option<Arc<Listed>>> {
        let mut kept = self.kept();
        kept.now += 1;
        let used = kept.now;
        if let Some(window) = kept.windows.get_mut(&key) {
            window.used = used;
            return Ok(Some(Arc::clone(&window.listed)));
        }
        loop {
            match self.reserve(length).map(&map) {
                Some(Ok(listed)) => {
                    let listed = Arc::new(listed);
                    kept.windows.insert(key, Window { listed: Arc::clone(&listed), used });
                    return Ok(Some(listed));
                }
                Some(Err(error)) if error.kind() != io::ErrorKind::OutOfMemory => return Err(error),
                // No room by our bound, or the system has not as many addresses in one piece.
                _ if kept.drop_idle() => {}
                _ => {
                    tracing::debug!("no window is free; bytes are read into memory");
                    return Ok(None);
                }
            }
        }
    }

    /// Room for a window, with the lock held.
    fn reserve(&'static self, length: u64) -> Option<Room> {
        let fits = self.mapped.load(Ordering::Relaxed).checked_add(length)? <= self.most;
        fits.then(|| {
            self.mapped.fetch_add(length, Ordering::Relaxed);
            Room { windows: self, length }
        })
    }

    /// Takes out what is kept for a mapping.
    fn forget(&self, id: u64) -> Vec<(Key, Window)> {
        self.kept().windows.extract_if((id, 0)..=(id, u64::MAX), |_, _| true).collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Unmaps the window that was used least recently of those that nobody has a slice of; false if there is none. Nobody
    /// else can come to have one meanwhile: they come from here, and the lock is held.
    fn drop_idle(&mut self) -> bool {
        let idle = self.windows.iter().filter(|(_, window)| Arc::strong_count(&window.listed) == 1);
        let Some((&key, _)) = idle.min_by_key(|(_, window)| window.used) else { return false };
        self.windows.remove(&key).is_some()
    }
}

/// A part of what may be mapped; given back when dropped.
struct Room {
    windows: &'static Windows,
    length: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.windows.mapped.fetch_sub(self.length, Ordering::Relaxed);
    }
}

/// A window that is mapped. Gone with the last of who keeps it and its slices.
struct Listed {
    map: Mmap,
    /// After the addresses, so that there are never more than counted.
    _room: Room,
}

impl Listed {
    #[allow(unsafe_code, reason = "the one place where a file is mapped")]
    fn new(file: &Arc<File>, offset: u64, length: u64, room: Room) -> io::Result<Self> {
        // A window fits into memory.
        let mut options = MmapOptions::new();
        options.offset(offset).len(length as usize);
        // SAFETY: the file is in a folder that this process has locked, reaches to the end of the window, and is not
        // shortened by us while a slice lives (`is_mapped`). Bytes change under the mapping only where no reader was let
        // to.
        let map = unsafe { options.map(&**file)? };
        let live = Live { length: map.len(), file: Arc::clone(file), offset };
        LIVE.write().unwrap_or_else(PoisonError::into_inner).insert(map.as_ptr().addr(), live);
        Ok(Self { map, _room: room })
    }
}

impl Drop for Listed {
    /// Before the addresses are given back, which happens after this and lets another window have them.
    fn drop(&mut self) {
        LIVE.write().unwrap_or_else(PoisonError::into_inner).remove(&self.map.as_ptr().addr());
    }
}

/// What a slice keeps.
struct Held(Arc<Listed>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0.map
    }
}

#[cfg(test)]
mod tests;
