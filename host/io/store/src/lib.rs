//! Keeps bytes in files: cached objects, small records, and the values of plugins.
//!
//! Owns: the folder of the cache and its lock, the order of writes that survives a crash, the holes where bytes were given
//! back, the mapping that bodies are served from, and atomic replacement of small files.
//! Leaves to others: what is worth keeping (`core/cache`), and threads: everything here blocks on the disk.
//!
//! Invariant: a granule is journalled only after its bytes have reached the medium, so what [`Store::load`] returns was
//! there; whether the medium kept it is what [`ObjectFile::verify`] says. Bytes are given back only after the journal has
//! ceased to name them. No file is ever shortened while it is mapped.
//!
//! This is the only crate that maps files.

mod atomic;
mod disk;
mod id;
mod journal;
mod kv;
mod mapping;
mod object;
mod records;
mod root;
mod system;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use disk::{Disk, DiskFile, RealDisk, Size};
pub use id::ObjectId;
pub use kv::Kv;
pub use mapping::locate;
pub use object::ObjectFile;
pub use records::{Bounds, Records};
pub use root::{Contents, Listed, Store, Stored};

/// What can go wrong here.
#[derive(Debug, Error)]
pub enum Error {
    /// Another process, or another part of this one, has the folder.
    #[error("the folder {} is in use by another process", root.display())]
    Locked {
        /// The folder.
        root: PathBuf,
    },
    /// No space, no quota, or a file as large as files may be. Nothing that was there is lost.
    #[error("there is no space left for {}", path.display())]
    Full {
        /// What was being written.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Bytes outside of the object.
    #[error("bytes {offset}+{length} lie outside of an object of {total} bytes")]
    OutOfBounds {
        /// Where they begin.
        offset: u64,
        /// How many.
        length: u64,
        /// Length of the object.
        total: u64,
    },
    /// The medium failed to take earlier bytes of this object; nothing of it can be promised to last any more.
    #[error("{} could not be written out earlier and is not trusted to last", path.display())]
    Untrusted {
        /// The data file.
        path: PathBuf,
    },
    /// The length of the object is known already, and it is another one.
    #[error("the object has {total} bytes, which cannot change any more")]
    Settled {
        /// Its length.
        total: u64,
    },
    /// The record of an object cannot be written.
    #[error("the object's record is not good: {0}")]
    Meta(#[from] cache::meta::Error),
    /// Not a name for a record: 1 to 128 letters, digits, `-`, `_` or `.`, and no dot first.
    #[error("{name:?} is not a name for a record")]
    Name {
        /// The name.
        name: String,
    },
    /// A bound of a folder of records.
    #[error("{what} would be more than the {limit} that are allowed")]
    TooMany {
        /// What there is too much of, with its number.
        what: String,
        /// The bound.
        limit: u64,
    },
}

impl Error {
    /// Whether space is what is missing, so that removing something could help.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    /// Whether nothing may be written there at all: the file system is mounted for reading only, or is not ours to
    /// write to. Removing something does not help.
    pub fn is_read_only(&self) -> bool {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), ReadOnlyFilesystem | PermissionDenied))
    }
}

/// Turns what the operating system said into an [`Error`] that says where.
fn failed<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Error::Full { path: path.to_owned() }
        }
        _ => Error::Io { doing, path: path.to_owned(), source },
    }
}

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
