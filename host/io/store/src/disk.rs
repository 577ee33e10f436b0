//! What the files of objects need of a file system, and the real one.
//!
//! Owns: the seam. Everything that an object does to the disk goes through [`Disk`] and [`DiskFile`], so that a test can
//! put a disk in its place that loses power between any two operations.
//! Leaves to others: the order of the operations, and mapping, which only a real file knows ([`DiskFile::mappable`]).
//!
//! Invariant: what an operation did is certain to outlast a crash only after the sync that belongs to it: of the file for
//! its bytes, its length and its holes, of the folder for names in it.

use std::any::Any;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::system;

/// How large a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Where it ends, bytes.
    pub length: u64,
    /// What it takes on the disk, bytes; holes take nothing.
    pub allocated: u64,
}

/// A file system. Errors are those of the operating system; [`io::ErrorKind`] tells those apart that matter here.
pub trait Disk: Send + Sync {
    /// Makes a folder and those above it, for the owner alone. What is there already stays as it is.
    fn make_folder(&self, folder: &Path) -> io::Result<()>;

    /// The names in a folder, in no order. `NotFound` or `NotADirectory` if it is not one.
    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>>;

    /// Makes the names last that were added to, changed in or removed from a folder.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Takes a lock that no other process has, until what is returned is dropped. The file is made if it is not there.
    /// `WouldBlock` if somebody has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>>;

    /// Makes an empty file in the place of whatever file has its name, for the owner alone.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing. `NotFound` if there is none.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// The bytes of a file, at most `limit` of them. `NotFound` if there is none.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;

    /// How large a file is that need not be open.
    fn size(&self, path: &Path) -> io::Result<Size>;

    /// Gives a file or a folder another name, in one step. A file that has it already is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the name of a file. Whoever has it open keeps it.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder with all that is in it.
    fn remove_folder(&self, folder: &Path) -> io::Result<()>;

    /// What there is still room for, bytes.
    fn free(&self, folder: &Path) -> io::Result<u64>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Writes all bytes. On an error some of them may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Fills the buffer. `UnexpectedEof` beyond the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Moves the end. What is added is a hole.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// How large it is.
    fn size(&self) -> io::Result<Size>;

    /// Waits until bytes, holes and length are on the medium. After an error nobody knows what is, and asking again does
    /// not help: the system forgets what it could not write.
    fn sync(&self) -> io::Result<()>;

    /// Gives the space of a range back and leaves zeros there. The length stays, and the range may go beyond it.
    /// `Unsupported` where files have no holes; nothing has changed then.
    fn punch(&self, range: Range<u64>) -> io::Result<()>;

    /// The file as the operating system knows it, if it can be mapped.
    fn mappable(&self) -> Option<&Arc<File>> {
        None
    }
}

/// A file system with nothing in it that takes nothing.
pub(crate) struct NoDisk;

impl Disk for NoDisk {
    fn make_folder(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<OsString>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn create(&self, _: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn open(&self, _: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn read(&self, _: &Path, _: u64) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn size(&self, _: &Path) -> io::Result<Size> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn remove_file(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn remove_folder(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn free(&self, _: &Path) -> io::Result<u64> {
        Ok(0)
    }
}

/// The file system of the operating system.
pub struct RealDisk;

impl Disk for RealDisk {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        system::private_folder(&mut builder);
        builder.recursive(true).create(folder)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        system::sync_folder(folder)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let file = private().create(true).truncate(false).open(path)?;
        match system::try_lock(&file) {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(Arc::new(private().create(true).truncate(true).open(path)?))))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(Arc::new(private().open(path)?))))
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn size(&self, path: &Path) -> io::Result<Size> {
        let found = fs::metadata(path)?;
        Ok(Size { length: found.len(), allocated: system::allocated_at(path, &found)? })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        fs::remove_dir_all(folder)
    }

    fn free(&self, folder: &Path) -> io::Result<u64> {
        system::free(folder)
    }
}

struct RealFile(Arc<File>);

impl DiskFile for RealFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        system::write_at(&self.0, offset, bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        system::read_at(&self.0, offset, buffer)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        system::set_len(&self.0, length)
    }

    fn size(&self) -> io::Result<Size> {
        let found = self.0.metadata()?;
        Ok(Size { length: found.len(), allocated: system::allocated(&self.0, &found)? })
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        system::punch(&self.0, range)
    }

    fn mappable(&self) -> Option<&Arc<File>> {
        Some(&self.0)
    }
}

/// Options for a file that only its owner can read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    system::private_file(&mut options);
    options
}
