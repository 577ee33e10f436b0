//! Linux, Android and what Apple makes.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// `st_blocks` counts these, whatever the file system's blocks are, bytes.
const BLOCK: u64 = 512;
/// How many pages are asked about at once.
const PAGES_AT_ONCE: usize = 512;

/// For a folder that only its owner can look into.
pub(crate) fn private_folder(builder: &mut DirBuilder) {
    builder.mode(0o700);
}

/// For a file that only its owner can read.
pub(crate) fn private_file(options: &mut OpenOptions) {
    options.mode(0o600);
}

/// Takes the lock of a file.
#[cfg(not(target_os = "android"))]
pub(crate) fn try_lock(file: &File) -> Result<(), TryLockError> {
    file.try_lock()
}

/// The standard library knows no locks here, and the system does.
#[cfg(target_os = "android")]
pub(crate) fn try_lock(file: &File) -> Result<(), TryLockError> {
    rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
        rustix::io::Errno::WOULDBLOCK => TryLockError::WouldBlock,
        error => TryLockError::Error(error.into()),
    })
}

/// Writes all bytes.
pub(crate) fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(bytes, offset)
}

/// Fills the buffer.
pub(crate) fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    file.read_exact_at(buffer, offset)
}

/// What an open file takes on the disk, bytes.
pub(crate) fn allocated(_: &File, found: &Metadata) -> io::Result<u64> {
    Ok(found.blocks().saturating_mul(BLOCK))
}

/// What a file takes on the disk that need not be open, bytes.
pub(crate) fn allocated_at(_: &Path, found: &Metadata) -> io::Result<u64> {
    Ok(found.blocks().saturating_mul(BLOCK))
}

/// What two handles of one file have in common, and two files have not.
pub(crate) fn identity(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|found| (found.dev(), found.ino()))
}

/// What there is still room for, bytes.
pub(crate) fn free(folder: &Path) -> io::Result<u64> {
    let space = rustix::fs::statvfs(folder)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// Makes the names in a folder last.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Moves the end. What is added is a hole.
pub(crate) fn set_len(file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)
}

/// Makes a hole.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn punch(file: &File, range: Range<u64>) -> io::Result<()> {
    use rustix::fs::FallocateFlags;
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(file, flags, range.start, range.end.saturating_sub(range.start))?)
}

/// Other systems have other ways, which nobody has asked for yet.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn punch(_: &File, _: Range<u64>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether reading this part of a mapping, which begins at a page, would not wait for the disk. The range must lie inside.
#[allow(unsafe_code, reason = "the residency of pages is asked by address")]
pub(crate) fn is_resident(mapped: &[u8], range: Range<usize>) -> bool {
    let page = rustix::param::page_size();
    let (start, end) = (range.start - range.start % page, range.end.min(mapped.len()));
    let mut resident = [0u8; PAGES_AT_ONCE];
    (start..end).step_by(page * PAGES_AT_ONCE).all(|at| {
        let length = (end - at).min(page * PAGES_AT_ONCE);
        // SAFETY: `at` is the start of a page inside the mapping and the array has a byte for each page of `length`.
        let result =
            unsafe { libc::mincore(mapped.as_ptr().add(at).cast_mut().cast(), length, resident.as_mut_ptr().cast()) };
        result == 0 && resident[..length.div_ceil(page)].iter().all(|state| state & 1 == 1)
    })
}

/// Asks the kernel to bring a part of a mapping in, which begins at a page, and waits for it; `false` if this kernel
/// cannot or the disk failed. The range must lie inside.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code, reason = "advice is given by address")]
pub(crate) fn populate(mapped: &[u8], range: Range<usize>) -> bool {
    let start = range.start - range.start % rustix::param::page_size();
    let length = range.end.min(mapped.len()).saturating_sub(start);
    let advice = rustix::mm::Advice::LinuxPopulateRead;
    // SAFETY: whole pages inside the mapping; this advice only reads.
    unsafe { rustix::mm::madvise(mapped.as_ptr().add(start).cast_mut().cast(), length, advice).is_ok() }
}

/// Other systems have no such advice.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn populate(_: &[u8], _: Range<usize>) -> bool {
    false
}
