//! The folder of the cache.
//!
//! ```text
//! LOCK                                  whoever holds it owns the folder
//! <aa>/<object-id>/meta                 what the object is, and which generation counts
//! <aa>/<object-id>/data.<generation>    its bytes, sparse, as long as the object from the beginning
//! <aa>/<object-id>/map.<generation>     which of them are there
//! trash-…                               on its way out
//! ```

use std::any::Any;
use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use cache::meta::runs;
use cache::{Granule, Meta};

use crate::atomic::Failure;
use crate::disk::{Disk, NoDisk, RealDisk};
use crate::mapping::{WINDOWS, Windows};
use crate::object::{META, data_name, keep_within, lock};
use crate::{Error, ObjectFile, ObjectId, atomic, failed, journal};

const LOCK: &str = "LOCK";
const TRASH: &str = "trash-";
/// What [`Store::probe`] makes.
const PROBE: &str = "probe.tmp";

/// A cache folder that this process owns.
pub struct Store {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    /// How its objects are mapped.
    windows: &'static Windows,
    /// Held until this is dropped.
    _lock: Box<dyn Any + Send + Sync>,
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

/// An object in a listing. One that is open-ended and not in use is of no use to anybody any more.
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

/// What an object holds, told without opening it.
#[derive(Clone, Debug)]
pub struct Contents {
    /// What it is.
    pub meta: Meta,
    /// Runs of granules that are there, by index, in order and with gaps between them.
    pub present: Vec<Range<u64>>,
    /// What its data and its journal take on the disk, bytes.
    pub allocated: u64,
}

impl Store {
    /// Takes a folder and sweeps out what a crash left unfinished. The folder is made if it is not there.
    pub fn open(root: &Path) -> Result<Self, Error> {
        Self::open_on(root, Arc::new(RealDisk))
    }

    /// A cache that has nothing and keeps nothing, for a folder that nobody may write to.
    pub fn nowhere(root: &Path) -> Self {
        let (live, removed) = (Mutex::new(HashMap::new()), AtomicU64::new(0));
        Self { disk: Arc::new(NoDisk), root: root.to_owned(), windows: &WINDOWS, _lock: Box::new(()), live, removed }
    }

    /// Takes a folder on some other file system than that of the operating system.
    pub fn open_on(root: &Path, disk: Arc<dyn Disk>) -> Result<Self, Error> {
        Self::open_within(root, disk, &WINDOWS)
    }

    /// Takes a folder, and maps what is in it within these bounds.
    pub(crate) fn open_within(root: &Path, disk: Arc<dyn Disk>, windows: &'static Windows) -> Result<Self, Error> {
        make_root(&*disk, root)?;
        let path = root.join(LOCK);
        let lock = match disk.lock(&path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(Error::Locked { root: root.to_owned() });
            }
            Err(error) => return Err(failed("lock", &path)(error)),
        };
        let (live, removed) = (Mutex::new(HashMap::new()), AtomicU64::new(0));
        let store = Self { disk, root: root.to_owned(), windows, _lock: lock, live, removed };
        store.sweep()?;
        Ok(store)
    }

    /// An object that was kept; `None` if there is none, or if what is left of it cannot be used: an object that is still
    /// open-ended is only there for as long as somebody has it open. An object that is open already is the same
    /// [`ObjectFile`].
    pub fn load(&self, id: &ObjectId) -> Result<Option<Stored>, Error> {
        let mut live = lock(&self.live);
        let file = match live.get(id).and_then(Weak::upgrade) {
            Some(file) => file,
            None => {
                let folder = self.folder(id);
                let Some(meta) = self.usable(&folder)? else { return Ok(None) };
                let Some(file) = ObjectFile::open(Arc::clone(&self.disk), &folder, meta)? else { return Ok(None) };
                self.remember(&mut live, *id, file)
            }
        };
        Ok(Some(Stored { meta: file.meta(), granules: file.granules(), file }))
    }

    /// Makes a new generation of an object; which one is decided here. What was kept of an older one is removed, and its
    /// bytes stay readable for those who have it open. After a crash either the old one is there or the new one; nothing
    /// is, if the new one is open-ended and was not settled. On an error the old one counts here, and either of them
    /// after a crash.
    pub fn create(&self, id: &ObjectId, mut meta: Meta) -> Result<Arc<ObjectFile>, Error> {
        let mut live = lock(&self.live);
        let folder = self.make_folder(id)?;
        meta.generation = self.last_generation(&folder)?.map_or(1, |last| last.saturating_add(1));
        meta.bound_runs();
        let generation = meta.generation;
        let make = || ObjectFile::create(Arc::clone(&self.disk), &folder, meta);
        let file = match live.get(id).and_then(Weak::upgrade) {
            Some(old) => old.supersede(make)?,
            None => make()?,
        };
        self.sweep_object(&folder, generation);
        Ok(self.remember(&mut live, *id, file))
    }

    /// Removes an object. Those who have it open can go on reading what is there. A crash soon afterwards may bring it
    /// back.
    pub fn remove(&self, id: &ObjectId) -> Result<(), Error> {
        let mut live = lock(&self.live);
        let number = self.removed.fetch_add(1, Ordering::Relaxed);
        let (folder, trash) = (self.folder(id), self.root.join(format!("{TRASH}{id}-{number}")));
        let rename = || match self.disk.rename(&folder, &trash) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            // Windows moves no folder while a file in it is open. Without its record nobody finds the object, and the rest
            // goes when the folder is swept.
            Err(error) if cfg!(windows) && is_in_use(&error) => {
                self.disk
                    .remove_file(&folder.join(META))
                    .map_err(failed("remove", &folder))
                    .map_err(Failure::Before)?;
                Ok(false)
            }
            Err(error) => Err(Failure::Before(failed("remove", &folder)(error))),
        };
        let found = match live.get(id).and_then(Weak::upgrade) {
            Some(file) => file.supersede(rename)?,
            None => rename()?,
        };
        live.remove(id);
        drop(live);
        match found.then(|| self.disk.remove_folder(&trash)) {
            // Of a file that is being read Windows keeps the name.
            Some(Err(error)) if cfg!(windows) && is_in_use(&error) => Ok(()),
            Some(removed) => removed.map_err(failed("remove", &trash)),
            None => Ok(()),
        }
    }

    /// What an object holds, for whoever decides what has to go; `None` where [`Store::load`] would answer the same. Of
    /// an object that is open, what is durable. Granules are told as the journal names them, unverified.
    pub fn contents(&self, id: &ObjectId) -> Result<Option<Contents>, Error> {
        let live = lock(&self.live);
        if let Some(file) = live.get(id).and_then(Weak::upgrade) {
            drop(live);
            let present = in_runs(file.granules().iter().map(|granule| granule.index));
            return Ok(Some(Contents { meta: file.meta(), present, allocated: file.allocated()? }));
        }
        let folder = self.folder(id);
        let Some(meta) = self.usable(&folder)? else { return Ok(None) };
        let path = folder.join(data_name(meta.generation));
        let data = match self.disk.size(&path) {
            Ok(size) => size,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("look at", &path)(error)),
        };
        let geometry = meta.geometry()?;
        let mut granules = journal::read(&*self.disk, &folder, meta.generation, geometry)?;
        keep_within(&mut granules, geometry, data.length);
        let journal = journal::allocated(&*self.disk, &folder, meta.generation)?;
        let allocated = data.allocated.saturating_add(journal);
        Ok(Some(Contents { meta, present: in_runs(granules.into_keys()), allocated }))
    }

    /// Gives the space of granules of an object back that nobody has open, as [`ObjectFile::evict`] does. 0, and nothing
    /// is done, if there is no such object, if somebody has it open (then it is up to whoever that is), or if bytes of it
    /// are still being sent.
    pub fn evict(&self, id: &ObjectId, granules: &[Range<u64>]) -> Result<u64, Error> {
        // Held to the end, so that nobody opens it meanwhile.
        let live = lock(&self.live);
        let folder = self.folder(id);
        if live.get(id).is_some_and(|file| file.strong_count() > 0) {
            return Ok(0);
        }
        let Some(meta) = self.usable(&folder)? else { return Ok(0) };
        match ObjectFile::open(Arc::clone(&self.disk), &folder, meta)? {
            Some(file) if !file.is_mapped() => file.evict(granules),
            _ => Ok(0),
        }
    }

    /// All objects, in no order. What cannot be read is left out.
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        let live = lock(&self.live);
        let listed = |id: ObjectId| {
            let folder = self.folder(&id);
            let meta = self.read_meta(&folder).ok()??;
            let in_use = live.get(&id).is_some_and(|file| file.strong_count() > 0);
            Some(Listed { id, meta, bytes: self.bytes_in(&folder), in_use })
        };
        Ok(self.ids()?.into_iter().filter_map(listed).collect())
    }

    /// What all objects together take on the disk, in bytes.
    pub fn usage(&self) -> Result<u64, Error> {
        Ok(self.ids()?.iter().map(|id| self.bytes_in(&self.folder(id))).sum())
    }

    /// What the file system still has for us, in bytes.
    pub fn free(&self) -> Result<u64, Error> {
        self.disk.free(&self.root).map_err(failed("look at", &self.root))
    }

    /// Whether a file can be made and written here now. The error says why not: see [`Error::is_full`] and
    /// [`Error::is_read_only`].
    pub fn probe(&self) -> Result<(), Error> {
        let path = self.root.join(PROBE);
        let written = self.disk.create(&path).and_then(|file| file.write_at(0, &[0]));
        let removed = self.disk.remove_file(&path);
        written.and(removed).map_err(failed("write", &path))
    }

    fn folder(&self, id: &ObjectId) -> PathBuf {
        let name = id.to_string();
        self.root.join(&name[..2]).join(name)
    }

    /// The folder of an object, there to stay. Its names are written out even if it is there already: whoever made it may
    /// not have come that far.
    fn make_folder(&self, id: &ObjectId) -> Result<PathBuf, Error> {
        let folder = self.folder(id);
        self.disk.make_folder(&folder).map_err(failed("make the folder", &folder))?;
        folder.parent().map_or(Ok(()), |shelf| atomic::sync_folder(&*self.disk, shelf))?;
        atomic::sync_folder(&*self.disk, &self.root)?;
        Ok(folder)
    }

    /// Keeps track of an open object, and forgets those that nobody has open any more.
    fn remember(
        &self,
        live: &mut HashMap<ObjectId, Weak<ObjectFile>>,
        id: ObjectId,
        file: ObjectFile,
    ) -> Arc<ObjectFile> {
        let file = Arc::new(file.within(self.windows));
        live.retain(|_, file| file.strong_count() > 0);
        live.insert(id, Arc::downgrade(&file));
        file
    }

    /// The highest generation that left a trace in a folder, so that a new one never meets files of another.
    fn last_generation(&self, folder: &Path) -> Result<Option<u64>, Error> {
        let named = self.read_meta(folder)?.map(|meta| meta.generation);
        let found = self.names(folder)?.into_iter().filter_map(|name| generation_of(&name));
        Ok(found.chain(named).max())
    }

    fn ids(&self) -> Result<Vec<ObjectId>, Error> {
        let mut ids = Vec::new();
        for shelf in self.names(&self.root)?.iter().filter(|name| name.len() == 2) {
            ids.extend(self.names(&self.root.join(shelf))?.iter().filter_map(|name| name.parse::<ObjectId>().ok()));
        }
        Ok(ids)
    }

    /// Removes what nobody will ever find: trash, objects without a record or without an end, files of other generations.
    fn sweep(&self) -> Result<(), Error> {
        let _ = self.disk.remove_file(&self.root.join(PROBE));
        for name in self.names(&self.root)?.iter().filter(|name| name.starts_with(TRASH)) {
            self.discard(&self.root.join(name));
        }
        for id in self.ids()? {
            let folder = self.folder(&id);
            match self.read_meta(&folder) {
                Ok(Some(meta)) if !meta.open_ended => self.sweep_object(&folder, meta.generation),
                Ok(_) => self.discard(&folder),
                // One bad place on the disk is no reason to do without the rest.
                Err(error) => tracing::warn!(%error, "the record of a cached object cannot be read"),
            }
        }
        Ok(())
    }

    /// Removes the files of all generations but one, and what was left unfinished.
    fn sweep_object(&self, folder: &Path, generation: u64) {
        for name in self.names(folder).unwrap_or_default() {
            if name.ends_with(atomic::UNFINISHED) || generation_of(&name).is_some_and(|of| of != generation) {
                let _ = self.disk.remove_file(&folder.join(name));
            }
        }
    }

    /// Removes a folder of ours; what cannot be removed now is tried again at the next start.
    fn discard(&self, folder: &Path) {
        if let Err(error) = self.disk.remove_folder(folder) {
            tracing::warn!(%error, folder = %folder.display(), "a folder in the cache cannot be removed");
        }
    }

    /// The record of an object that somebody may open.
    fn usable(&self, folder: &Path) -> Result<Option<Meta>, Error> {
        Ok(self.read_meta(folder)?.filter(|meta| !meta.open_ended))
    }

    /// The record in a folder; `None` if there is none or it is not intact, which an operator should know of.
    fn read_meta(&self, folder: &Path) -> Result<Option<Meta>, Error> {
        let limit = cache::meta::MAX_BYTES as u64 + 1;
        let Some(bytes) = atomic::read(&*self.disk, &folder.join(META), limit)? else { return Ok(None) };
        match Meta::decode(&bytes) {
            Ok(meta) => Ok(Some(meta)),
            Err(error) => {
                tracing::warn!(%error, folder = %folder.display(), "a cached object cannot be used");
                Ok(None)
            }
        }
    }

    /// What is in a folder; nothing if it is not there. Names that are not text are not ours.
    fn names(&self, folder: &Path) -> Result<Vec<String>, Error> {
        match self.disk.list(folder) {
            Ok(names) => Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect()),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(Vec::new())
            }
            Err(error) => Err(failed("list", folder)(error)),
        }
    }

    fn bytes_in(&self, folder: &Path) -> u64 {
        let names = self.names(folder).unwrap_or_default();
        names.iter().filter_map(|name| self.disk.size(&folder.join(name)).ok()).map(|size| size.allocated).sum()
    }
}

/// Makes a folder that is not there, with those above it, there to stay: what is promised to last would go with it.
fn make_root(disk: &dyn Disk, root: &Path) -> Result<(), Error> {
    let is_missing = |folder: &&Path| {
        !folder.as_os_str().is_empty() && disk.list(folder).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let missing: Vec<&Path> = root.ancestors().take_while(is_missing).collect();
    disk.make_folder(root).map_err(failed("make the folder", root))?;
    for above in missing.iter().filter_map(|folder| folder.parent()) {
        // A path without a folder begins where the process is.
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        atomic::sync_folder(disk, above)?;
    }
    Ok(())
}

/// What Windows says of a folder with files in it that somebody has open.
fn is_in_use(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::DirectoryNotEmpty)
}

/// Which generation a data file or a journal belongs to.
fn generation_of(name: &str) -> Option<u64> {
    let (_, number) = name.split_once('.')?;
    let generation = number.parse().ok()?;
    [data_name(generation), journal::name(generation)].iter().any(|own| own == name).then_some(generation)
}

/// Indexes as runs.
fn in_runs(indexes: impl IntoIterator<Item = u64>) -> Vec<Range<u64>> {
    let single = |index: u64| (index, index.saturating_add(1));
    runs::merged(indexes.into_iter().map(single)).into_iter().map(|(start, end)| start..end).collect()
}
