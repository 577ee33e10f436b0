//! Files that are replaced as a whole or not at all.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::{Error, failed};

/// What a file is called until it is complete. Such files are removed when their folder is opened.
pub(crate) const UNFINISHED: &str = ".tmp";

/// Why a file was not replaced, and what that leaves behind.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The old file has the name, now and after a crash.
    Before(Error),
    /// The new file has the name. Which one has it after a crash, nobody knows.
    After(Error),
}

impl Failure {
    /// Whether it is open what a crash leaves.
    pub(crate) fn is_after(&self) -> bool {
        matches!(self, Self::After(_))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Before(error) | Failure::After(error) => error,
        }
    }
}

/// Puts bytes in the place of the file `name` in `folder`: after a crash either the old bytes are there or the new ones.
/// Returns the open file.
pub(crate) fn replace(disk: &dyn Disk, folder: &Path, name: &str, bytes: &[u8]) -> Result<Arc<dyn DiskFile>, Failure> {
    let unfinished = folder.join(format!("{name}{UNFINISHED}"));
    let write = || {
        let file = disk.create(&unfinished)?;
        file.write_at(0, bytes)?;
        file.sync()?;
        disk.rename(&unfinished, &folder.join(name))?;
        Ok(file)
    };
    let file = write().map_err(|error| {
        // Whatever is left is in nobody's way; the folder is swept when it is opened.
        let _ = disk.remove_file(&unfinished);
        Failure::Before(failed("write", &unfinished)(error))
    })?;
    sync_folder(disk, folder).map_err(Failure::After)?;
    Ok(file)
}

/// Makes names that were added to or removed from a folder last.
pub(crate) fn sync_folder(disk: &dyn Disk, folder: &Path) -> Result<(), Error> {
    disk.sync_folder(folder).map_err(failed("write out the folder", folder))
}

/// The bytes of a file of at most `limit` bytes; `None` if there is none, and of a larger one as if it were cut there.
pub(crate) fn read(disk: &dyn Disk, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    match disk.read(path, limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}
