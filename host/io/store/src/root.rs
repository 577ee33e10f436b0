//! The folder of the cache.
//!
//! ```text
//! LOCK                                  whoever holds it owns the folder
//! <aa>/<object-id>/meta                 what the object is, and which generation counts
//! <aa>/<object-id>/data.<generation>    its bytes, sparse, as long as the object from the beginning
//! <aa>/<object-id>/map.<generation>     which of them are there
//! trash-…                               on its way out
//! ```

use std::collections::HashMap;
use std::fs::{self, DirEntry, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use cache::{Granule, Meta};

use crate::object::{META, data_name, lock};
use crate::{Error, ObjectFile, ObjectId, atomic, failed, journal};

const LOCK: &str = "LOCK";
const TRASH: &str = "trash-";
/// `st_blocks` counts these, whatever the file system's blocks are.
const BLOCK: u64 = 512;

/// A cache folder that this process owns.
pub struct Store {
    root: PathBuf,
    /// Held until this is dropped.
    _lock: File,
    /// Objects that somebody has open. Locked before anything of an [`ObjectFile`].
    live: Mutex<HashMap<ObjectId, Weak<ObjectFile>>>,
    removed: AtomicU64,
}

/// An object that was kept.
pub struct Stored {
    /// What it is.
    pub meta: Meta,
    /// What of it is there; to be verified at the first read after a restart.
    pub granules: Vec<Granule>,
    /// Its bytes.
    pub file: Arc<ObjectFile>,
}

/// An object in a listing.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its id.
    pub id: ObjectId,
    /// What it is.
    pub meta: Meta,
    /// What it takes on the disk, in bytes; holes take nothing.
    pub bytes: u64,
    /// Whether somebody has it open.
    pub in_use: bool,
}

impl Store {
    /// Takes a folder and sweeps out what a crash left unfinished. The folder is made if it is not there.
    pub fn open(root: &Path) -> Result<Self, Error> {
        atomic::make_folder(root)?;
        let path = root.join(LOCK);
        let file = atomic::private().create(true).truncate(false).open(&path).map_err(failed("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Locked { root: root.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error)),
        }
        let store =
            Self { root: root.to_owned(), _lock: file, live: Mutex::new(HashMap::new()), removed: AtomicU64::new(0) };
        store.sweep()?;
        Ok(store)
    }

    /// An object that was kept; `None` if there is none, or if what is left of it cannot be used. An object that is open
    /// already is the same [`ObjectFile`].
    pub fn load(&self, id: &ObjectId) -> Result<Option<Stored>, Error> {
        let mut live = lock(&self.live);
        let file = match live.get(id).and_then(Weak::upgrade) {
            Some(file) => file,
            None => {
                let folder = self.folder(id);
                let Some(meta) = read_meta(&folder)? else { return Ok(None) };
                let Some(file) = ObjectFile::open(&folder, meta)? else { return Ok(None) };
                self.remember(&mut live, *id, file)
            }
        };
        Ok(Some(Stored { meta: file.meta(), granules: file.granules(), file }))
    }

    /// Makes a new generation of an object; which one is decided here. What was kept of an older one is removed, and its
    /// bytes stay readable for those who have it open. After a crash either the old one is there or the new one.
    pub fn create(&self, id: &ObjectId, mut meta: Meta) -> Result<Arc<ObjectFile>, Error> {
        let mut live = lock(&self.live);
        let folder = self.make_folder(id)?;
        meta.generation = self.last_generation(&folder)?.map_or(1, |last| last.saturating_add(1));
        let generation = meta.generation;
        let make = || ObjectFile::create(&folder, meta);
        let file = match live.get(id).and_then(Weak::upgrade) {
            Some(old) => old.supersede(make)?,
            None => make()?,
        };
        sweep_object(&folder, generation);
        Ok(self.remember(&mut live, *id, file))
    }

    /// Removes an object. Those who have it open can go on reading what is there.
    pub fn remove(&self, id: &ObjectId) -> Result<(), Error> {
        let mut live = lock(&self.live);
        let number = self.removed.fetch_add(1, Ordering::Relaxed);
        let (folder, trash) = (self.folder(id), self.root.join(format!("{TRASH}{id}-{number}")));
        let rename = || match fs::rename(&folder, &trash) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed("remove", &folder)(error)),
        };
        let found = match live.get(id).and_then(Weak::upgrade) {
            Some(file) => file.supersede(rename)?,
            None => rename()?,
        };
        live.remove(id);
        drop(live);
        if found { fs::remove_dir_all(&trash).map_err(failed("remove", &trash)) } else { Ok(()) }
    }

    /// All objects, in no order. What cannot be read is left out.
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        let live = lock(&self.live);
        let listed = |id: ObjectId| {
            let folder = self.folder(&id);
            let meta = read_meta(&folder).ok()??;
            let in_use = live.get(&id).is_some_and(|file| file.strong_count() > 0);
            Some(Listed { id, meta, bytes: bytes_in(&folder), in_use })
        };
        Ok(self.ids()?.into_iter().filter_map(listed).collect())
    }

    /// What all objects together take on the disk, in bytes.
    pub fn usage(&self) -> Result<u64, Error> {
        Ok(self.ids()?.iter().map(|id| bytes_in(&self.folder(id))).sum())
    }

    /// What the file system still has for us, in bytes.
    pub fn free(&self) -> Result<u64, Error> {
        let space = rustix::fs::statvfs(&self.root).map_err(|error| failed("look at", &self.root)(error.into()))?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn folder(&self, id: &ObjectId) -> PathBuf {
        let name = id.to_string();
        self.root.join(&name[..2]).join(name)
    }

    /// The folder of an object, there to stay.
    fn make_folder(&self, id: &ObjectId) -> Result<PathBuf, Error> {
        let folder = self.folder(id);
        if !folder.exists() {
            atomic::make_folder(&folder)?;
            folder.parent().map_or(Ok(()), atomic::sync_folder)?;
            atomic::sync_folder(&self.root)?;
        }
        Ok(folder)
    }

    /// Keeps track of an open object, and forgets those that nobody has open any more.
    fn remember(
        &self,
        live: &mut HashMap<ObjectId, Weak<ObjectFile>>,
        id: ObjectId,
        file: ObjectFile,
    ) -> Arc<ObjectFile> {
        let file = Arc::new(file);
        live.retain(|_, file| file.strong_count() > 0);
        live.insert(id, Arc::downgrade(&file));
        file
    }

    /// The highest generation that left a trace in a folder, so that a new one never meets files of another.
    fn last_generation(&self, folder: &Path) -> Result<Option<u64>, Error> {
        let named = read_meta(folder)?.map(|meta| meta.generation);
        let found = entries(folder)?.into_iter().filter_map(|entry| generation_of(&entry));
        Ok(found.chain(named).max())
    }

    fn ids(&self) -> Result<Vec<ObjectId>, Error> {
        let mut ids = Vec::new();
        for shelf in entries(&self.root)?.iter().filter(|entry| entry.file_name().len() == 2) {
            let names = entries(&shelf.path())?;
            ids.extend(names.iter().filter_map(|entry| entry.file_name().to_str()?.parse::<ObjectId>().ok()));
        }
        Ok(ids)
    }

    /// Removes what nobody will ever find: trash, objects without a record, files of other generations.
    fn sweep(&self) -> Result<(), Error> {
        for entry in entries(&self.root)? {
            if entry.file_name().to_string_lossy().starts_with(TRASH) {
                discard(&entry.path());
            }
        }
        for id in self.ids()? {
            let folder = self.folder(&id);
            match read_meta(&folder)? {
                Some(meta) => sweep_object(&folder, meta.generation),
                None => discard(&folder),
            }
        }
        Ok(())
    }
}

/// The record in a folder; `None` if there is none or it is not intact, which an operator should know of.
fn read_meta(folder: &Path) -> Result<Option<Meta>, Error> {
    let limit = cache::meta::MAX_BYTES as u64 + 1;
    let Some(bytes) = atomic::read(&folder.join(META), limit)? else { return Ok(None) };
    match Meta::decode(&bytes) {
        Ok(meta) => Ok(Some(meta)),
        Err(error) => {
            tracing::warn!(%error, folder = %folder.display(), "a cached object cannot be used");
            Ok(None)
        }
    }
}

/// Removes the files of all generations but one, and what was left unfinished.
fn sweep_object(folder: &Path, generation: u64) {
    for entry in entries(folder).unwrap_or_default() {
        let unfinished = entry.file_name().to_string_lossy().ends_with(atomic::UNFINISHED);
        let other = generation_of(&entry).is_some_and(|of| of != generation);
        if unfinished || other {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Which generation a data file or a journal belongs to.
fn generation_of(entry: &DirEntry) -> Option<u64> {
    let name = entry.file_name();
    let (_, number) = name.to_str()?.split_once('.')?;
    let generation = number.parse().ok()?;
    let ours = [data_name(generation), journal::name(generation)];
    ours.iter().any(|own| name.to_str() == Some(own)).then_some(generation)
}

/// Removes a folder of ours; what cannot be removed now is tried again at the next start.
fn discard(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder) {
        tracing::warn!(%error, folder = %folder.display(), "a folder in the cache cannot be removed");
    }
}

/// What is in a folder; nothing if it is not there.
fn entries(folder: &Path) -> Result<Vec<DirEntry>, Error> {
    match fs::read_dir(folder) {
        Ok(found) => found.collect::<Result<_, _>>().map_err(failed("list", folder)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(failed("list", folder)(error)),
    }
}

fn bytes_in(folder: &Path) -> u64 {
    let found = entries(folder).unwrap_or_default();
    found.iter().filter_map(|entry| entry.metadata().ok()).map(|found| found.blocks() * BLOCK).sum()
}
