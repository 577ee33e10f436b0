//! Files that are replaced as a whole or not at all, and folders that only their owner can read.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::{Error, failed};

/// What a file is called until it is complete. Such files are removed when their folder is opened.
pub(crate) const UNFINISHED: &str = ".tmp";

/// Makes a folder and those above it, for the owner alone.
pub(crate) fn make_folder(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make the folder", path))
}

/// Options for a file that only its owner can read.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// Puts `parts`, one after the other, in the place of the file `name` in `folder`: after a crash either the old bytes
/// are there or the new ones. Returns the open file.
pub(crate) fn replace(folder: &Path, name: &str, parts: &[&[u8]]) -> Result<File, Error> {
    let unfinished = folder.join(format!("{name}{UNFINISHED}"));
    let write = || {
        let mut file = private().create(true).truncate(true).open(&unfinished)?;
        parts.iter().try_for_each(|part| file.write_all(part))?;
        file.sync_all()?;
        fs::rename(&unfinished, folder.join(name))?;
        Ok(file)
    };
    let file = write().map_err(|error| {
        // Whatever is left is in nobody's way; the folder is swept when it is opened.
        let _ = fs::remove_file(&unfinished);
        failed("write", &unfinished)(error)
    })?;
    sync_folder(folder)?;
    Ok(file)
}

/// Makes names that were added to or removed from a folder last.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("write out the folder", folder))
}

/// The bytes of a file of at most `limit` bytes; `None` if there is none, and of a larger one as if it were cut there.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(failed("read", path))?;
    Ok(Some(bytes))
}
