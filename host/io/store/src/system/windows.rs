//! Windows.
//!
//! Whom a file belongs to and who may read it is inherited from the folder, and a user's data folder is the user's alone:
//! nothing is set here. Holes need NTFS or ReFS; elsewhere a file is as large as it is long.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::fs::FileExt;
use std::os::windows::io::AsRawHandle;
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Foundation::{
    ERROR_INVALID_FUNCTION, ERROR_NOT_SUPPORTED, ERROR_USER_MAPPED_FILE, HANDLE, WIN32_ERROR,
};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, FILE_STANDARD_INFO, FileStandardInfo, GetDiskFreeSpaceExW, GetFileInformationByHandle,
    GetFileInformationByHandleEx,
};
use windows_sys::Win32::System::IO::DeviceIoControl;
use windows_sys::Win32::System::Ioctl::{FILE_ZERO_DATA_INFORMATION, FSCTL_SET_SPARSE, FSCTL_SET_ZERO_DATA};

/// What the system says where a file system has no holes, or makes none while the file is mapped.
const NO_HOLES: [WIN32_ERROR; 3] = [ERROR_INVALID_FUNCTION, ERROR_NOT_SUPPORTED, ERROR_USER_MAPPED_FILE];

/// Folders inherit who may look into them.
pub(crate) fn private_folder(_: &mut DirBuilder) {}

/// Files inherit who may read them.
pub(crate) fn private_file(_: &mut OpenOptions) {}

/// Takes the lock of a file.
pub(crate) fn try_lock(file: &File) -> Result<(), TryLockError> {
    file.try_lock()
}

/// Writes all bytes.
pub(crate) fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.seek_write(&bytes[done..], offset + done as u64)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => done += count,
        }
    }
    Ok(())
}

/// Fills the buffer.
pub(crate) fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match file.seek_read(&mut buffer[done..], offset + done as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => done += count,
        }
    }
    Ok(())
}

/// What an open file takes on the disk, bytes.
#[allow(unsafe_code, reason = "the standard library does not tell what a file takes")]
pub(crate) fn allocated(file: &File, _: &Metadata) -> io::Result<u64> {
    let mut found = FILE_STANDARD_INFO::default();
    let size = size_of::<FILE_STANDARD_INFO>() as u32;
    // SAFETY: the handle is open as long as the reference; `found` is what this class is written to, of that size.
    let done = unsafe { GetFileInformationByHandleEx(handle(file), FileStandardInfo, (&raw mut found).cast(), size) };
    checked(done).map(|()| u64::try_from(found.AllocationSize).unwrap_or(0))
}

/// What a file takes on the disk that need not be open, bytes. A folder takes nothing that counts.
pub(crate) fn allocated_at(path: &Path, found: &Metadata) -> io::Result<u64> {
    if found.is_file() { allocated(&File::open(path)?, found) } else { Ok(0) }
}

/// What two handles of one file have in common, and two files have not.
#[allow(unsafe_code, reason = "the standard library does not tell files apart")]
pub(crate) fn identity(file: &File) -> io::Result<(u64, u64)> {
    let mut found = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: the handle is open as long as the reference, and `found` is what the call writes to.
    checked(unsafe { GetFileInformationByHandle(handle(file), &raw mut found) })?;
    let index = u64::from(found.nFileIndexHigh) << 32 | u64::from(found.nFileIndexLow);
    Ok((u64::from(found.dwVolumeSerialNumber), index))
}

/// What there is still room for, bytes.
#[allow(unsafe_code, reason = "the standard library does not tell how full a disk is")]
pub(crate) fn free(folder: &Path) -> io::Result<u64> {
    let name: Vec<u16> = folder.as_os_str().encode_wide().chain([0]).collect();
    let mut free = 0;
    // SAFETY: the name ends with a zero and lives until after the call; the other two results are not asked for.
    let done = unsafe { GetDiskFreeSpaceExW(name.as_ptr(), &raw mut free, ptr::null_mut(), ptr::null_mut()) };
    checked(done).map(|()| free)
}

/// NTFS and ReFS journal names by themselves, in order, and a folder cannot be asked to be written out.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    folder.metadata().map(|_| ())
}

/// Moves the end. What is added is a hole where there are any: without the mark a file takes all of its length.
pub(crate) fn set_len(file: &File, length: u64) -> io::Result<()> {
    if let Err(error) = control::<()>(file, FSCTL_SET_SPARSE, None) {
        tracing::debug!(%error, "a file has no holes");
    }
    file.set_len(length)
}

/// Makes a hole. Neither does the length change, nor does the range have to end before it.
pub(crate) fn punch(file: &File, range: Range<u64>) -> io::Result<()> {
    let place = |at: u64| i64::try_from(at).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let hole = FILE_ZERO_DATA_INFORMATION { FileOffset: place(range.start)?, BeyondFinalZero: place(range.end)? };
    control(file, FSCTL_SET_ZERO_DATA, Some(&hole)).map_err(|error| match error.raw_os_error() {
        Some(code) if NO_HOLES.iter().any(|no| *no as i32 == code) => io::ErrorKind::Unsupported.into(),
        _ => error,
    })
}

/// The system knows which pages this process has touched lately and not which are in memory, so that nobody may rely on
/// any of them.
pub(crate) fn is_resident(_: &[u8], range: Range<usize>) -> bool {
    range.is_empty()
}

/// There is advice to bring pages in, and no way to wait for it.
pub(crate) fn populate(_: &[u8], _: Range<usize>) -> bool {
    false
}

/// Tells a file system to do something with a file.
#[allow(unsafe_code, reason = "the standard library has no such requests")]
fn control<T>(file: &File, request: u32, input: Option<&T>) -> io::Result<()> {
    let (input, length) = input.map_or((ptr::null(), 0), |input| (ptr::from_ref(input).cast(), size_of::<T>() as u32));
    let mut returned = 0;
    // SAFETY: the handle is open as long as the reference and was not opened for overlapped operations; the input is as
    // long as its type, which is the one of the request, and no output is asked for.
    checked(unsafe {
        DeviceIoControl(handle(file), request, input, length, ptr::null_mut(), 0, &raw mut returned, ptr::null_mut())
    })
}

fn handle(file: &File) -> HANDLE {
    file.as_raw_handle()
}

/// What a call answered.
fn checked(done: i32) -> io::Result<()> {
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
