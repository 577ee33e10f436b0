//! One read-only mapping of one file, from which bodies are served without a copy, and the list of all that live.
//!
//! The rules that make it safe (a touched page beyond the end of the file, or a write into a hole on a full disk, ends
//! the process with SIGBUS): the file is as long as the mapping and is never shortened while the mapping lives; nobody
//! writes through the mapping; bytes that are not on the medium yet are written with `pwrite` and read by no one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};

/// How many pages are asked about at once.
const PAGES_AT_ONCE: usize = 512;

/// The mappings that live, by the address of their first byte. There is at most one for each object that is open, and
/// one for each that is closed and still being sent.
static LIVE: RwLock<BTreeMap<usize, Live>> = RwLock::new(BTreeMap::new());

struct Live {
    length: usize,
    file: Arc<File>,
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
    let offset = start - base;
    (offset.checked_add(length)? <= live.length).then(|| (Arc::clone(&live.file), offset as u64))
}

/// Whether a mapping of this file lives, through whichever handle it was made. `true` where that cannot be told.
pub(crate) fn is_mapped(file: &File) -> bool {
    let identity = |file: &File| file.metadata().map(|found| (found.dev(), found.ino()));
    let Ok(wanted) = identity(file) else { return true };
    let all = LIVE.read().unwrap_or_else(PoisonError::into_inner);
    all.values().any(|live| identity(&live.file).map_or(true, |found| found == wanted))
}

/// What the last slice drops.
struct Listed(Mmap);

impl Listed {
    fn new(map: Mmap, file: &Arc<File>) -> Self {
        let live = Live { length: map.len(), file: Arc::clone(file) };
        LIVE.write().unwrap_or_else(PoisonError::into_inner).insert(map.as_ptr().addr(), live);
        Self(map)
    }
}

impl AsRef<[u8]> for Listed {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Listed {
    /// Before the addresses are given back, which happens after this and lets another mapping have them.
    fn drop(&mut self) {
        LIVE.write().unwrap_or_else(PoisonError::into_inner).remove(&self.0.as_ptr().addr());
    }
}

/// The mapping. Slices of it keep it alive.
pub(crate) struct Mapping(Bytes);

impl Mapping {
    /// Maps the first `length` bytes, which must exist.
    #[allow(unsafe_code, reason = "the one place where a file is mapped")]
    pub(crate) fn new(file: &Arc<File>, length: usize) -> io::Result<Self> {
        // SAFETY: the file is in a folder that this process has locked, is `length` bytes long, and is not shortened by
        // us while a slice lives (`is_mapped`). Bytes change under the mapping only where no reader was let to.
        let map: Mmap = unsafe { MmapOptions::new().len(length).map(&**file)? };
        Ok(Self(Bytes::from_owner(Listed::new(map, file))))
    }

    /// A part of it, without a copy. The range must lie inside.
    pub(crate) fn slice(&self, range: Range<usize>) -> Bytes {
        self.0.slice(range)
    }

    /// Whether reading this range would not wait for the disk. The range must lie inside.
    #[allow(unsafe_code, reason = "the residency of pages is asked by address")]
    pub(crate) fn is_resident(&self, range: Range<usize>) -> bool {
        let (start, end) = self.pages(range);
        let page = rustix::param::page_size();
        let mut resident = [0u8; PAGES_AT_ONCE];
        (start..end).step_by(page * PAGES_AT_ONCE).all(|at| {
            let length = (end - at).min(page * PAGES_AT_ONCE);
            // SAFETY: `at` is the start of a page inside the mapping and the array has a byte for each page of `length`.
            let result = unsafe {
                libc::mincore(self.0.as_ptr().add(at).cast_mut().cast(), length, resident.as_mut_ptr().cast())
            };
            result == 0 && resident[..length.div_ceil(page)].iter().all(|state| state & 1 == 1)
        })
    }

    /// Asks the kernel to bring a range in and waits for it; `false` if this kernel cannot or the disk failed.
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code, reason = "advice is given by address")]
    pub(crate) fn populate(&self, range: Range<usize>) -> bool {
        let (start, end) = self.pages(range);
        let advice = rustix::mm::Advice::LinuxPopulateRead;
        // SAFETY: whole pages inside the mapping; this advice only reads.
        unsafe { rustix::mm::madvise(self.0.as_ptr().add(start).cast_mut().cast(), end - start, advice).is_ok() }
    }

    /// Other systems have no such advice.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn populate(&self, _: Range<usize>) -> bool {
        false
    }

    /// The range widened to the start of its first page; a mapping begins at a page.
    fn pages(&self, range: Range<usize>) -> (usize, usize) {
        (range.start - range.start % rustix::param::page_size(), range.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    fn file(bytes: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Arc::new(file)
    }

    /// Whether the file and the offset that `locate` names hold just these bytes.
    fn is_found(bytes: &[u8], of: &Arc<File>) -> bool {
        let Some((file, offset)) = locate(bytes) else { return false };
        let mut there = vec![0; bytes.len()];
        file.read_exact_at(&mut there, offset).unwrap();
        Arc::ptr_eq(&file, of) && there == bytes
    }

    #[test]
    fn slices_are_found_and_other_memory_is_not() {
        let page = rustix::param::page_size();
        let content: Vec<u8> = (0..3 * page).map(|at| (at * 7 / 5) as u8).collect();
        let files = [file(&content), file(&content[1..])];
        // Without gaps between them where the kernel places them so, which it usually does.
        let maps: Vec<(Mapping, &Arc<File>)> = (0..8)
            .map(|number| {
                let of = &files[number % 2];
                (Mapping::new(of, page * (1 + number % 3) - number).unwrap(), of)
            })
            .collect();
        for (map, of) in &maps {
            let length = map.0.len();
            for range in [0..length, 0..1, length - 1..length, 5..length - 5] {
                let slice = map.slice(range.clone());
                assert!(is_found(&slice, of), "{range:?}");
                assert!(is_found(&slice.slice(slice.len() / 2..), of), "{range:?}");
            }
            let whole = map.slice(0..length);
            assert!(locate(&whole[length..]).is_none() && locate(&whole[..0]).is_none());
            assert!(locate(&Vec::from(&whole[..])).is_none());
        }
        assert!(locate(b"a literal").is_none());
        assert!(locate(&[]).is_none());
    }

    #[test]
    fn a_mapping_is_listed_until_its_last_slice_is_dropped() {
        let of = file(&[9; 100]);
        let map = Mapping::new(&of, 100).unwrap();
        let base = map.0.as_ptr().addr();
        let (slice, other) = (map.slice(10..20), map.slice(50..60).slice(3..4));
        let listed = || LIVE.read().unwrap().get(&base).is_some_and(|live| Arc::ptr_eq(&live.file, &of));
        drop(map);
        assert!(is_found(&slice, &of) && is_mapped(&of.try_clone().unwrap()));
        drop(slice);
        let (kept, offset) = locate(&other).unwrap();
        assert_eq!(offset, 53);
        drop(other);
        assert!(!listed() && !is_mapped(&of));
        let mut there = [0];
        kept.read_exact_at(&mut there, offset).unwrap();
        assert_eq!(there, [9]);
    }

    #[test]
    fn nothing_is_mistaken_while_others_come_and_go() {
        std::thread::scope(|scope| {
            for number in 0..4u8 {
                scope.spawn(move || {
                    let of = file(&[number; 9000]);
                    for _ in 0..500 {
                        let slice = Mapping::new(&of, 9000).unwrap().slice(100..9000);
                        assert!(is_found(&slice, &of));
                    }
                    assert!(!is_mapped(&of));
                });
            }
        });
    }
}
