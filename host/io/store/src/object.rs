//! The files of one generation of one object.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use cache::granule::checksum;
use cache::journal::Record;
use cache::{Geometry, Granule, Meta};

use crate::journal::Journal;
use crate::mapping::Mapping;
use crate::{Error, atomic, failed};

/// How much is read at once where bytes are only looked at.
const SCRATCH: usize = 64 * 1024;

/// What the record of an object is called.
pub(crate) const META: &str = "meta";

/// What the data file of a generation is called.
pub(crate) fn data_name(generation: u64) -> String {
    format!("data.{generation}")
}

/// One generation of one object. It stays usable after the object was removed or replaced: the bytes live as long as
/// this, or a slice of its mapping, does. All methods block on the disk.
pub struct ObjectFile {
    folder: PathBuf,
    path: PathBuf,
    geometry: Geometry,
    generation: u64,
    data: File,
    mapping: OnceLock<Mapping>,
    /// What is durable. Locked after `written`, and only for a moment.
    durable: RwLock<BTreeMap<u64, Granule>>,
    /// Locked after `meta`.
    written: Mutex<Written>,
    meta: Mutex<Named>,
}

struct Written {
    journal: Journal,
    /// A sync of the data failed. The kernel reports that once and then forgets, so nothing can be promised any more.
    untrusted: bool,
    /// The folder belongs to another generation now, or is gone.
    retired: bool,
}

struct Named {
    meta: Meta,
    retired: bool,
}

impl ObjectFile {
    /// Makes the files of a new generation. Nobody finds them before the record names them.
    pub(crate) fn create(folder: &Path, meta: Meta) -> Result<Self, Error> {
        let (geometry, generation) = (meta.geometry()?, meta.generation);
        let path = folder.join(data_name(generation));
        let data = atomic::private().create(true).truncate(true).open(&path).map_err(failed("make", &path))?;
        data.set_len(geometry.total()).map_err(failed("size", &path))?;
        let journal = Journal::create(folder, generation, geometry)?;
        atomic::replace(folder, META, &[&meta.encode()?])?;
        Ok(Self::new(folder, path, meta, geometry, data, journal, BTreeMap::new()))
    }

    /// Opens the files that the record names; `None` if the data is not there.
    pub(crate) fn open(folder: &Path, meta: Meta) -> Result<Option<Self>, Error> {
        let (geometry, generation) = (meta.geometry()?, meta.generation);
        let path = folder.join(data_name(generation));
        let data = match atomic::private().open(&path) {
            Ok(data) => data,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", &path)(error)),
        };
        let (journal, mut granules) = Journal::open(folder, generation, geometry)?;
        let length = data.metadata().map_err(failed("look at", &path))?.len();
        if length != geometry.total() {
            // The size was set once and never changed; whoever changed it did not write the journal.
            granules.retain(|index, _| geometry.range_of(*index).end <= length);
            data.set_len(geometry.total()).map_err(failed("size", &path))?;
        }
        Ok(Some(Self::new(folder, path, meta, geometry, data, journal, granules)))
    }

    fn new(
        folder: &Path,
        path: PathBuf,
        meta: Meta,
        geometry: Geometry,
        data: File,
        journal: Journal,
        granules: BTreeMap<u64, Granule>,
    ) -> Self {
        Self {
            folder: folder.to_owned(),
            path,
            geometry,
            generation: meta.generation,
            data,
            mapping: OnceLock::new(),
            durable: RwLock::new(granules),
            written: Mutex::new(Written { journal, untrusted: false, retired: false }),
            meta: Mutex::new(Named { meta, retired: false }),
        }
    }

    /// How the object is cut.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Which version of the object this is.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The record as it was last written.
    pub fn meta(&self) -> Meta {
        lock(&self.meta).meta.clone()
    }

    /// All granules that will be there after a crash.
    pub fn granules(&self) -> Vec<Granule> {
        self.durable.read().unwrap_or_else(PoisonError::into_inner).values().copied().collect()
    }

    /// A granule that will be there after a crash.
    pub fn granule(&self, index: u64) -> Option<Granule> {
        self.durable.read().unwrap_or_else(PoisonError::into_inner).get(&index).copied()
    }

    /// Writes bytes. They can be read at once, and last when [`ObjectFile::commit`] has returned. On an error some of
    /// them may have been written.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.inside(offset, bytes.len() as u64)?;
        self.data.write_all_at(bytes, offset).map_err(failed("write", &self.path))
    }

    /// Fills a buffer. Bytes that were never written are zeros.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.inside(offset, buffer.len() as u64)?;
        self.data.read_exact_at(buffer, offset).map_err(failed("read", &self.path))
    }

    /// A range as a slice of the one mapping. Touching it may wait for the disk; see [`ObjectFile::is_resident`]. Only
    /// bytes that are readable as the cache's machine says may be asked for: others would change under the reader.
    pub fn bytes(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let range = self.placed(range)?;
        if range.is_empty() { Ok(Bytes::new()) } else { Ok(self.mapping()?.slice(range)) }
    }

    /// Whether touching a range would not wait for the disk. `false` for a range outside of the object.
    pub fn is_resident(&self, range: Range<u64>) -> bool {
        match (self.placed(range), self.mapping()) {
            (Ok(range), _) if range.is_empty() => true,
            (Ok(range), Ok(mapping)) => mapping.is_resident(range),
            _ => false,
        }
    }

    /// Brings a range into memory and waits for it.
    pub fn populate(&self, range: Range<u64>) -> Result<(), Error> {
        let placed = self.placed(range.clone())?;
        if placed.is_empty() || self.mapping()?.populate(placed) {
            return Ok(());
        }
        self.each_piece(range, |_| ())
    }

    /// Whether the bytes of a granule are those that its checksum was made of. A read that fails is a `false`, too: such
    /// a granule is as good as absent.
    pub fn verify(&self, granule: &Granule) -> bool {
        if !self.geometry.admits(granule) {
            return false;
        }
        let mut sum = 0;
        let read = self.each_piece(self.geometry.range_of(granule.index), |piece| sum = checksum(sum, piece));
        read.is_ok() && sum == granule.crc
    }

    /// Makes granules last: waits until their bytes are on the medium, then until the journal says so. Their bytes must
    /// have been written. Granules that do not fit the object are ignored. On an error none of them is durable.
    pub fn commit(&self, granules: &[Granule]) -> Result<(), Error> {
        let fitting = || granules.iter().filter(|granule| self.geometry.admits(granule));
        let mut written = lock(&self.written);
        if written.untrusted {
            return Err(Error::Untrusted { path: self.path.clone() });
        }
        if written.retired || fitting().next().is_none() {
            return Ok(());
        }
        self.data.sync_data().map_err(|error| {
            written.untrusted = true;
            failed("write out", &self.path)(error)
        })?;
        written.journal.append(fitting().copied().map(Record::Present))?;
        let mut durable = self.durable.write().unwrap_or_else(PoisonError::into_inner);
        durable.extend(fitting().map(|granule| (granule.index, *granule)));
        drop(durable);
        let durable = self.durable.read().unwrap_or_else(PoisonError::into_inner);
        written.journal.compact_if_long(&durable);
        Ok(())
    }

    /// Takes a granule out of the journal, since its bytes are not what they were.
    pub fn forget(&self, granule: u64) -> Result<(), Error> {
        let mut written = lock(&self.written);
        let known = self.durable.write().unwrap_or_else(PoisonError::into_inner).remove(&granule).is_some();
        if written.retired || !known {
            return Ok(());
        }
        written.journal.append([Record::Evicted { index: granule }])
    }

    /// Changes the record and replaces it on disk. What the files depend on (key, generation, length, granule) stays as
    /// it is. On an error the old record counts.
    pub fn update_meta(&self, change: impl FnOnce(&mut Meta)) -> Result<(), Error> {
        let mut named = lock(&self.meta);
        let old = &named.meta;
        let mut new = old.clone();
        change(&mut new);
        (new.format, new.generation, new.total) = (old.format, old.generation, old.total);
        (new.granule_size, new.key) = (old.granule_size, old.key.clone());
        if !named.retired && new != named.meta {
            atomic::replace(&self.folder, META, &[&new.encode()?])?;
        }
        named.meta = new;
        Ok(())
    }

    /// Says in the journal that everything ended in peace. More may follow.
    pub fn close(&self) -> Result<(), Error> {
        let mut written = lock(&self.written);
        if written.retired { Ok(()) } else { written.journal.append([Record::Closed]) }
    }

    /// Does what takes the folder away from this generation. If that succeeds, no name in it is touched from here any
    /// more.
    pub(crate) fn supersede<T>(&self, act: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let (mut named, mut written) = (lock(&self.meta), lock(&self.written));
        let result = act()?;
        (named.retired, written.retired) = (true, true);
        Ok(result)
    }

    fn mapping(&self) -> Result<&Mapping, Error> {
        if let Some(mapping) = self.mapping.get() {
            return Ok(mapping);
        }
        let length = self.placed(0..self.geometry.total())?.end;
        let mapping = Mapping::new(&self.data, length).map_err(failed("map", &self.path))?;
        // Of two that came at once, one mapping is kept and the other one is unmapped here.
        Ok(self.mapping.get_or_init(|| mapping))
    }

    /// Reads a range piece by piece.
    fn each_piece(&self, range: Range<u64>, mut see: impl FnMut(&[u8])) -> Result<(), Error> {
        let mut scratch = vec![0; SCRATCH];
        let mut at = range.start;
        while at < range.end {
            let length = (range.end - at).min(SCRATCH as u64) as usize;
            self.read_at(at, &mut scratch[..length])?;
            see(&scratch[..length]);
            at += length as u64;
        }
        Ok(())
    }

    fn inside(&self, offset: u64, length: u64) -> Result<(), Error> {
        let total = self.geometry.total();
        match offset.checked_add(length) {
            Some(end) if end <= total => Ok(()),
            _ => Err(Error::OutOfBounds { offset, length, total }),
        }
    }

    /// A range as places in memory.
    fn placed(&self, range: Range<u64>) -> Result<Range<usize>, Error> {
        let (offset, length) = (range.start, range.end.saturating_sub(range.start));
        self.inside(offset, length)?;
        let place = |at: u64| usize::try_from(at).ok();
        let total = self.geometry.total();
        place(offset).zip(place(offset + length)).map(|(start, end)| start..end).ok_or(Error::OutOfBounds {
            offset,
            length,
            total,
        })
    }
}

/// A panic while a lock is held leaves nothing half done here: the files are changed in single steps.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
