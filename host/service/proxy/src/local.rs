//! A file of this machine, served as it is: nothing of it is fetched, copied or kept.
//!
//! Owns: reading it, and noticing that it was changed.
//! Leaves to others: which files a plugin may name (the port), what is served of one ([`crate::hold`]).
//!
//! It is read and not mapped: it belongs to somebody else, and a mapped file that is shortened ends the process that reads
//! it.

use std::fs::{File, Metadata};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::fault::{CHANGED, Fault};

/// Bytes that are read at once, at most.
const PIECE: u64 = 1 << 20;

/// An open file, or the part of one from some byte on.
pub struct LocalFile {
    path: PathBuf,
    file: Mutex<File>,
    offset: u64,
    version: Version,
    total: u64,
}

/// What tells one version of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub bytes: u64,
    pub modified_ms: u64,
}

impl Version {
    fn of(metadata: &Metadata) -> Version {
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH).duration_since(UNIX_EPOCH);
        let modified_ms = modified.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        Version { bytes: metadata.len(), modified_ms }
    }
}

impl LocalFile {
    /// The bytes of a file from `offset` on; all of them unless the plan says how many. Waits for the disk.
    pub fn open(path: PathBuf, offset: u64, length: Option<u64>) -> Result<LocalFile, Fault> {
        // Looked at first: opening a pipe would wait for somebody who writes.
        let is_file = std::fs::metadata(&path).map_err(|error| unreadable(&path, &error))?.is_file();
        if !is_file {
            return Err(Fault::new("file-unreadable", format!("{} is not a file", shown(&path))));
        }
        let file = File::open(&path).map_err(|error| unreadable(&path, &error))?;
        let metadata = file.metadata().map_err(|error| unreadable(&path, &error))?;
        let version = Version::of(&metadata);
        let left = version.bytes.saturating_sub(offset);
        let total = length.unwrap_or(left);
        if total > left {
            let message = format!("{} has {left} bytes from byte {offset} on, and {total} were named", shown(&path));
            return Err(Fault::new("plugin-fault", message));
        }
        Ok(LocalFile { path, file: Mutex::new(file), offset, version, total })
    }

    /// Length in bytes of what is served.
    pub fn total(&self) -> u64 {
        self.total
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether it is this part of this file.
    pub fn is_part(&self, path: &Path, offset: u64, length: Option<u64>) -> bool {
        let total = length.unwrap_or(self.version.bytes.saturating_sub(offset));
        (self.path.as_path(), self.offset, self.total) == (path, offset, total)
    }

    /// Whether the path still leads to what was opened. Waits for the disk.
    pub fn is_current(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|metadata| Version::of(&metadata) == self.version)
    }

    /// The bytes at the beginning of a range. Waits for the disk.
    pub fn read(&self, range: Range<u64>) -> Result<Bytes, Fault> {
        let mut bytes = vec![0; (range.end - range.start).min(PIECE) as usize];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let read = file.seek(SeekFrom::Start(self.offset + range.start)).and_then(|_| file.read_exact(&mut bytes));
        let now = file.metadata();
        drop(file);
        // Asked after reading, so that what was read is of the version that is told.
        if now.is_ok_and(|metadata| Version::of(&metadata) != self.version) {
            return Err(Fault::new(CHANGED, format!("{} was changed while it was read", shown(&self.path))));
        }
        read.map_err(|error| unreadable(&self.path, &error))?;
        Ok(bytes.into())
    }
}

/// The name without the folders, which are nobody's business.
fn shown(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn unreadable(path: &Path, error: &std::io::Error) -> Fault {
    let code = match error.kind() {
        std::io::ErrorKind::NotFound => plugin::code::NOT_FOUND,
        _ => "file-unreadable",
    };
    Fault::new(code, format!("the file {} cannot be read: {error}", shown(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_file_is_read_and_a_change_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, b"0123456789").unwrap();
        let file = LocalFile::open(path.clone(), 2, Some(5)).unwrap();
        assert_eq!((file.total(), file.read(1..4).unwrap()), (5, Bytes::from_static(b"345")));
        assert!(file.is_current());
        std::fs::write(&path, b"0123").unwrap();
        assert!(!file.is_current() && file.read(0..2).unwrap_err().is_change());
        assert_eq!(LocalFile::open(path.clone(), 2, Some(5)).err().unwrap().code, "plugin-fault");
        assert_eq!(LocalFile::open(dir.path().join("b"), 0, None).err().unwrap().code, "not-found");
        assert_eq!(LocalFile::open(dir.path().into(), 0, None).err().unwrap().code, "file-unreadable");
    }
}
