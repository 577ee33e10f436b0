//! One read-only mapping of one file, from which bodies are served without a copy.
//!
//! The rules that make it safe (a touched page beyond the end of the file, or a write into a hole on a full disk, ends
//! the process with SIGBUS): the file is as long as the mapping and is never shortened while the mapping lives; nobody
//! writes through the mapping; bytes that are not on the medium yet are written with `pwrite` and read by no one.

use std::fs::File;
use std::io;
use std::ops::Range;

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};

/// How many pages are asked about at once.
const PAGES_AT_ONCE: usize = 512;

/// The mapping. Slices of it keep it alive.
pub(crate) struct Mapping(Bytes);

impl Mapping {
    /// Maps the first `length` bytes, which must exist.
    #[allow(unsafe_code, reason = "the one place where a file is mapped")]
    pub(crate) fn new(file: &File, length: usize) -> io::Result<Self> {
        // SAFETY: the file is in a folder that this process has locked, is `length` bytes long, and is not shortened by
        // us while an `ObjectFile` or a slice lives. Bytes change under the mapping only where no reader was let to.
        let mapping: Mmap = unsafe { MmapOptions::new().len(length).map(file)? };
        Ok(Self(Bytes::from_owner(mapping)))
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
