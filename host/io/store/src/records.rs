//! A folder of small files with names, each replaced as a whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::disk::{Disk, RealDisk};
use crate::object::lock;
use crate::{Error, atomic, failed};

/// Longest name of a record, bytes.
const MAX_NAME: usize = 128;

/// How much a folder of records may hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Longest record in bytes.
    pub max_bytes: u64,
    /// Most records.
    pub max_count: u64,
}

/// The folder. Only its owner can read it; a record survives a crash as it was before a change or after it.
pub struct Records {
    folder: PathBuf,
    bounds: Bounds,
    /// One change at a time, so that the bounds hold and two writers do not share an unfinished file.
    changing: Mutex<()>,
}

impl Records {
    /// Opens a folder, which is made if it is not there, and removes what a crash left unfinished.
    pub fn open(folder: &Path, bounds: Bounds) -> Result<Self, Error> {
        RealDisk.make_folder(folder).map_err(failed("make the folder", folder))?;
        let records = Self { folder: folder.to_owned(), bounds, changing: Mutex::new(()) };
        for name in records.names()?.iter().filter(|name| name.ends_with(atomic::UNFINISHED)) {
            let path = folder.join(name);
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        Ok(records)
    }

    /// The bytes of a record; `None` if there is none.
    pub fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let limit = self.bounds.max_bytes;
        let bytes = atomic::read(&RealDisk, &self.path(name)?, limit.saturating_add(1))?;
        match bytes.as_ref().map(|bytes| bytes.len() as u64) {
            Some(length) if length > limit => {
                Err(Error::TooMany { what: format!("{length} bytes or more in the record {name}"), limit })
            }
            _ => Ok(bytes),
        }
    }

    /// Makes or replaces a record.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.path(name)?;
        let (length, limit) = (bytes.len() as u64, self.bounds.max_bytes);
        if length > limit {
            return Err(Error::TooMany { what: format!("{length} bytes in the record {name}"), limit });
        }
        let _changing = lock(&self.changing);
        let (count, limit) = (self.list()?.len() as u64 + 1, self.bounds.max_count);
        if count > limit && !path.exists() {
            return Err(Error::TooMany { what: format!("{count} records"), limit });
        }
        atomic::replace(&RealDisk, &self.folder, name, bytes)?;
        Ok(())
    }

    /// Removes a record and says whether there was one.
    pub fn delete(&self, name: &str) -> Result<bool, Error> {
        let path = self.path(name)?;
        let _changing = lock(&self.changing);
        match fs::remove_file(&path) {
            Ok(()) => atomic::sync_folder(&RealDisk, &self.folder).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed("remove", &path)(error)),
        }
    }

    /// The names of all records, sorted.
    pub fn list(&self) -> Result<Vec<String>, Error> {
        let mut names = self.names()?;
        names.retain(|name| is_name(name));
        names.sort_unstable();
        Ok(names)
    }

    /// Moves a record out of the way without losing it, because it cannot be read.
    pub(crate) fn set_aside(&self, name: &str) -> Result<(), Error> {
        let path = self.path(name)?;
        let _changing = lock(&self.changing);
        fs::rename(&path, self.folder.join(format!(".{name}.damaged"))).map_err(failed("set aside", &path))
    }

    fn path(&self, name: &str) -> Result<PathBuf, Error> {
        if is_name(name) { Ok(self.folder.join(name)) } else { Err(Error::Name { name: name.to_owned() }) }
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        let names = || fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.file_name().into_string())).collect();
        let names: Result<Vec<_>, io::Error> = names();
        Ok(names.map_err(failed("list", &self.folder))?.into_iter().filter_map(Result::ok).collect())
    }
}

/// Letters, digits, `-`, `_` and `.`, no dot first, and not what an unfinished file is called.
fn is_name(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    plain && (1..=MAX_NAME).contains(&name.len()) && !name.starts_with('.') && !name.ends_with(atomic::UNFINISHED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &Path) -> Records {
        Records::open(folder, Bounds { max_bytes: 10, max_count: 2 }).unwrap()
    }

    #[test]
    fn keeps_what_it_is_given() {
        let folder = tempfile::tempdir().unwrap();
        let records = open(&folder.path().join("a/b"));
        assert_eq!(records.get("x").unwrap(), None);
        records.put("x", b"one").unwrap();
        records.put("x", b"two").unwrap();
        records.put("a.b-c_d", b"").unwrap();
        let records = open(&folder.path().join("a/b"));
        assert_eq!(records.list().unwrap(), ["a.b-c_d", "x"]);
        assert_eq!(records.get("x").unwrap().unwrap(), b"two");
        assert_eq!((records.delete("x").unwrap(), records.delete("x").unwrap()), (true, false));
        assert_eq!(records.list().unwrap(), ["a.b-c_d"]);
    }

    #[test]
    fn refuses_names_that_are_paths_and_more_than_its_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let records = open(folder.path());
        for name in ["", ".", "..", "../x", "a/b", ".x", "x.tmp", "a b", "é", &"x".repeat(129)] {
            assert!(matches!(records.put(name, b""), Err(Error::Name { .. })), "{name:?}");
            assert!(matches!(records.get(name), Err(Error::Name { .. })), "{name:?}");
        }
        assert!(matches!(records.put("a", &[0; 11]), Err(Error::TooMany { limit: 10, .. })));
        records.put("a", &[0; 10]).unwrap();
        records.put("b", b"").unwrap();
        assert!(matches!(records.put("c", b""), Err(Error::TooMany { limit: 2, .. })));
        records.put("b", b"again").unwrap();
        fs::write(folder.path().join("a"), [0; 11]).unwrap();
        assert!(matches!(records.get("a"), Err(Error::TooMany { .. })));
    }

    #[test]
    fn is_the_owners_alone_and_sweeps_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        let records = open(&path);
        records.put("x", b"secret").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&path), mode(&path.join("x"))), (0o700, 0o600));
        }
        fs::write(path.join("y.tmp"), b"half").unwrap();
        assert_eq!(open(&path).list().unwrap(), ["x"]);
        assert!(!path.join("y.tmp").exists());
    }
}
