//! The files of one generation of one object.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use cache::granule::checksum;
use cache::journal::Record;
use cache::meta::runs;
use cache::{Geometry, Granule, Meta};

use crate::atomic::Failure;
use crate::disk::{Disk, DiskFile};
use crate::journal::{self, Granules, Journal};
use crate::mapping::{self, Mapping, WINDOWS, Windows};
use crate::{Error, atomic, failed};

/// How much is read at once where bytes are only looked at.
const SCRATCH: usize = 64 * 1024;

/// How much is read into memory at once where it cannot be mapped, bytes.
const READ_AT_ONCE: u64 = 1 << 20;

/// What the record of an object is called.
pub(crate) const META: &str = "meta";

/// What the data file of a generation is called.
pub(crate) fn data_name(generation: u64) -> String {
    format!("data.{generation}")
}

/// One generation of one object. It stays usable after the object was removed or replaced: the bytes live as long as
/// this, or a slice of its mapping, does. All methods block on the disk.
pub struct ObjectFile {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    path: PathBuf,
    generation: u64,
    data: Arc<dyn DiskFile>,
    /// `None` if it is no file of the operating system.
    mapping: Option<Mapping>,
    /// Changes once at most, when an open-ended object is settled. Locked last, and only for a moment.
    geometry: RwLock<Geometry>,
    /// What is durable. Locked after `written`, which whoever changes it holds.
    durable: RwLock<Granules>,
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
    /// The record that is found after a crash may be one of another generation, whose making failed half-way.
    unsure: bool,
}

impl ObjectFile {
    /// Makes the files of a new generation. Nobody finds them before the record names them.
    pub(crate) fn create(disk: Arc<dyn Disk>, folder: &Path, meta: Meta) -> Result<Self, Failure> {
        let (record, geometry) = (meta.encode().map_err(before)?, meta.geometry().map_err(before)?);
        let path = folder.join(data_name(meta.generation));
        let data = disk.create(&path).map_err(failed("make", &path)).map_err(Failure::Before)?;
        data.set_len(geometry.total()).map_err(failed("size", &path)).map_err(Failure::Before)?;
        let journal = Journal::create(Arc::clone(&disk), folder, meta.generation, geometry).map_err(Failure::Before)?;
        atomic::replace(&*disk, folder, META, &record)?;
        Ok(Self::new(disk, folder, meta, geometry, data, journal, Granules::new()))
    }

    /// Opens the files that the record names; `None` if the data is not there.
    pub(crate) fn open(disk: Arc<dyn Disk>, folder: &Path, meta: Meta) -> Result<Option<Self>, Error> {
        let (geometry, generation) = (meta.geometry()?, meta.generation);
        let path = folder.join(data_name(generation));
        let data = match disk.open(&path) {
            Ok(data) => data,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", &path)(error)),
        };
        let mut granules = journal::read(&*disk, folder, generation, geometry)?;
        let journal = Journal::open(Arc::clone(&disk), folder, generation, geometry);
        let length = data.size().map_err(failed("look at", &path))?.length;
        keep_within(&mut granules, geometry, length);
        // What was settled is longer than it says. It stays so as long as somebody sends what an earlier one has mapped.
        if length < geometry.total() || length > geometry.total() && !is_mapped(&*data) {
            data.set_len(geometry.total()).map_err(failed("size", &path))?;
        }
        Ok(Some(Self::new(disk, folder, meta, geometry, data, journal, granules)))
    }

    fn new(
        disk: Arc<dyn Disk>,
        folder: &Path,
        meta: Meta,
        geometry: Geometry,
        data: Arc<dyn DiskFile>,
        journal: Journal,
        granules: Granules,
    ) -> Self {
        let mapping = data.mappable().map(|file| Mapping::new(file, geometry.total(), &WINDOWS));
        Self {
            disk,
            folder: folder.to_owned(),
            path: folder.join(data_name(meta.generation)),
            generation: meta.generation,
            data,
            mapping,
            geometry: RwLock::new(geometry),
            durable: RwLock::new(granules),
            written: Mutex::new(Written { journal, untrusted: false, retired: false }),
            meta: Mutex::new(Named { meta, retired: false, unsure: false }),
        }
    }

    /// The same, mapped within other bounds. Before anybody has a slice of it.
    pub(crate) fn within(mut self, windows: &'static Windows) -> Self {
        self.mapping = self.data.mappable().map(|file| Mapping::new(file, self.geometry().total(), windows));
        self
    }

    /// How the object is cut. Another one is answered after [`ObjectFile::settle`].
    pub fn geometry(&self) -> Geometry {
        *self.geometry.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which version of the object this is.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The record as it was last written.
    pub fn meta(&self) -> Meta {
        lock(&self.meta).meta.clone()
    }

    /// All granules that will be there after a crash, provided that the object is not open-ended.
    pub fn granules(&self) -> Vec<Granule> {
        self.durable().values().copied().collect()
    }

    /// A granule that will be there after a crash, provided that the object is not open-ended.
    pub fn granule(&self, index: u64) -> Option<Granule> {
        self.durable().get(&index).copied()
    }

    /// What the data and the journal take on the disk, bytes. Holes take nothing.
    pub fn allocated(&self) -> Result<u64, Error> {
        let data = self.data.size().map_err(failed("look at", &self.path))?.allocated;
        Ok(data.saturating_add(journal::allocated(&*self.disk, &self.folder, self.generation)?))
    }

    /// Writes bytes. They can be read at once, and last when [`ObjectFile::commit`] has returned. On an error some of
    /// them may have been written.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.inside(offset, bytes.len() as u64)?;
        self.data.write_at(offset, bytes).map_err(failed("write", &self.path))
    }

    /// Fills a buffer. Bytes that were never written are zeros.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.inside(offset, buffer.len() as u64)?;
        self.data.read_at(offset, buffer).map_err(failed("read", &self.path))
    }

    /// The bytes at the beginning of a range, as many as lie in one place: a slice of a mapping of the file, which is that
    /// of the whole range but for systems where addresses are scarce. Touching it may wait for the disk; see
    /// [`ObjectFile::is_resident`]. Only bytes that are readable as the cache's machine says may be asked for: others would
    /// change under the reader. What cannot be mapped is read into memory, here and now, and not more than 1 MiB of it.
    pub fn bytes(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let range = self.placed(range)?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        if let Some(bytes) = self.mapping.as_ref().and_then(|mapping| mapping.slice(range.clone())) {
            return Ok(bytes);
        }
        let length = (range.end - range.start).min(READ_AT_ONCE);
        let mut bytes = vec![0; length as usize];
        self.read_at(range.start, &mut bytes)?;
        Ok(bytes.into())
    }

    /// Whether touching what [`ObjectFile::bytes`] returned would not wait for the disk. `false` for a range outside of
    /// the object, and where the system does not tell.
    pub fn is_resident(&self, range: Range<u64>) -> bool {
        let Ok(range) = self.placed(range) else { return false };
        range.is_empty() || self.mapping.as_ref().is_none_or(|mapping| mapping.is_resident(range))
    }

    /// Brings a range into memory and waits for it.
    pub fn populate(&self, range: Range<u64>) -> Result<(), Error> {
        let range = self.placed(range)?;
        if range.is_empty() || self.mapping.as_ref().is_some_and(|mapping| mapping.populate(range.clone())) {
            return Ok(());
        }
        self.each_piece(range, |_| ())
    }

    /// Whether the bytes of a granule are those that its checksum was made of. A read that fails is a `false`, too: such
    /// a granule is as good as absent.
    pub fn verify(&self, granule: &Granule) -> bool {
        let geometry = self.geometry();
        if !geometry.admits(granule) {
            return false;
        }
        let mut sum = 0;
        let read = self.each_piece(geometry.range_of(granule.index), |piece| sum = checksum(sum, piece));
        read.is_ok() && sum == granule.crc
    }

    /// Makes granules last: waits until their bytes are on the medium, then until the journal says so. Their bytes must
    /// have been written. Granules that do not fit the object are ignored. On an error none of them is durable.
    pub fn commit(&self, granules: &[Granule]) -> Result<(), Error> {
        self.name_again()?;
        let mut written = lock(&self.written);
        let geometry = self.geometry();
        let fitting: Vec<Granule> = granules.iter().copied().filter(|granule| geometry.admits(granule)).collect();
        if written.untrusted {
            return Err(Error::Untrusted { path: self.path.clone() });
        }
        if written.retired || fitting.is_empty() {
            return Ok(());
        }
        self.data.sync().map_err(|error| {
            written.untrusted = true;
            failed("write out", &self.path)(error)
        })?;
        let records: Vec<Record> = fitting.iter().copied().map(Record::Present).collect();
        written.journal.append(&records, &self.durable())?;
        self.durable_mut().extend(fitting.iter().map(|granule| (granule.index, *granule)));
        written.journal.compact_if_long(&self.durable());
        Ok(())
    }

    /// Takes a granule out of the journal, since its bytes are not what they were.
    pub fn forget(&self, granule: u64) -> Result<(), Error> {
        let mut written = lock(&self.written);
        let known = self.durable_mut().remove(&granule).is_some();
        if written.retired || !known {
            return Ok(());
        }
        let forgotten = written.journal.append(&[Record::Evicted { index: granule, count: 1 }], &self.durable());
        match &forgotten {
            Ok(()) => written.journal.compact_if_long(&self.durable()),
            Err(_) => written.journal.distrust(),
        }
        forgotten
    }

    /// Gives the space of granules back, which are runs of indexes; what lies outside of the object is ignored. Returns
    /// how many bytes that are: whole granules, each counted once, whether it was there or not. 0 of a generation that
    /// was removed or replaced, where nothing is done. The caller promises that nobody reads or writes these granules
    /// meanwhile: they become zeros, in slices of the mapping as well.
    ///
    /// First the journal says, for good, that they are gone; then they are. If it cannot say so, all of them stay, though
    /// a crash may take them; after a later error they are gone and some of their space is not given back. Where the
    /// file system knows no holes they are gone all the same, their bytes stay on the disk until they are written again
    /// or the object is removed, and the answer is 0. On a disk so full that the journal cannot grow the space is given
    /// back first: a crash right then leaves granules whose checksums do not fit.
    pub fn evict(&self, granules: &[Range<u64>]) -> Result<u64, Error> {
        let mut written = lock(&self.written);
        let geometry = self.geometry();
        let runs = runs::merged(granules.iter().map(|run| (run.start, run.end.min(geometry.count()))));
        if written.retired || runs.is_empty() {
            return Ok(0);
        }
        let gone = self.take_durable(&runs);
        let records = evicted(&gone);
        let recorded = written.record_evicted(&records, &self.durable());
        match recorded {
            Ok(()) => {
                let freed = self.punch(geometry, &runs);
                written.journal.compact_if_long(&self.durable());
                freed
            }
            Err(error) if error.is_full() => {
                let freed = self.punch(geometry, &runs);
                let recorded = written.record_evicted(&records, &self.durable());
                if let Err(error) = recorded {
                    tracing::warn!(%error, path = %self.path.display(), "the journal still names granules that are gone");
                    written.journal.distrust();
                }
                freed
            }
            Err(error) => {
                self.durable_mut().extend(gone.into_iter().map(|granule| (granule.index, granule)));
                Err(error)
            }
        }
    }

    /// Fixes the length of an object that was made open-ended: `total` bytes, at most those that it was made for, in
    /// granules of the same size. From then on the object outlasts a crash like any other. The file keeps its length for
    /// now, since it may be mapped. Granules that lie beyond the end are dropped, and a last one that is shorter now has
    /// to be committed after this.
    ///
    /// On an error the object is as open-ended as before. If it was settled already, the same length is no error.
    pub fn settle(&self, total: u64) -> Result<(), Error> {
        let mut named = lock(&self.meta);
        if !named.meta.open_ended {
            let same = named.meta.total == total;
            return if same { Ok(()) } else { Err(Error::Settled { total: named.meta.total }) };
        }
        if total > named.meta.total {
            return Err(Error::OutOfBounds { offset: 0, length: total, total: named.meta.total });
        }
        let meta = Meta { total, open_ended: false, ..named.meta.clone() };
        let geometry = meta.geometry()?;
        let mut written = lock(&self.written);
        let mut fitting = self.durable().clone();
        fitting.retain(|_, granule| geometry.admits(granule));
        if !written.retired {
            self.write_settled(&mut written.journal, &meta, geometry, &fitting)?;
        }
        named.meta = meta;
        *self.durable_mut() = fitting;
        *self.geometry.write().unwrap_or_else(PoisonError::into_inner) = geometry;
        Ok(())
    }

    /// The journal before the record: until the record says that the object is settled, nobody believes either of them
    /// after a crash. What the journal names has been on the medium since it was committed.
    fn write_settled(
        &self,
        journal: &mut Journal,
        meta: &Meta,
        geometry: Geometry,
        granules: &Granules,
    ) -> Result<(), Error> {
        let record = meta.encode()?;
        journal.renew(geometry, granules)?;
        if let Err(failure) = atomic::replace(&*self.disk, &self.folder, META, &record) {
            journal.recut(self.geometry());
            return Err(failure.into());
        }
        Ok(())
    }

    /// Changes the record and replaces it on disk. What the files depend on (key, generation, length, granule) stays as
    /// it is, and lists of runs are kept within their bound. On an error the old record counts here, and either of them
    /// after a crash.
    pub fn update_meta(&self, change: impl FnOnce(&mut Meta)) -> Result<(), Error> {
        let mut named = lock(&self.meta);
        let old = &named.meta;
        let mut new = old.clone();
        change(&mut new);
        new.bound_runs();
        (new.format, new.generation, new.total) = (old.format, old.generation, old.total);
        (new.granule_size, new.open_ended, new.key) = (old.granule_size, old.open_ended, old.key.clone());
        if !named.retired && (named.unsure || new != named.meta) {
            atomic::replace(&*self.disk, &self.folder, META, &new.encode()?)?;
        }
        (named.meta, named.unsure) = (new, false);
        Ok(())
    }

    /// Says in the journal that everything ended in peace. More may follow.
    pub fn close(&self) -> Result<(), Error> {
        let mut written = lock(&self.written);
        if written.retired { Ok(()) } else { written.journal.append(&[Record::Closed], &self.durable()) }
    }

    /// Whether slices of a mapping of the data live, which may be one of an earlier opening.
    pub(crate) fn is_mapped(&self) -> bool {
        is_mapped(&*self.data)
    }

    /// Does what takes the folder away from this generation. If that succeeds, no name in it is touched from here any
    /// more. If it fails and nobody knows how far it came, this generation takes the folder back.
    pub(crate) fn supersede<T>(&self, act: impl FnOnce() -> Result<T, Failure>) -> Result<T, Error> {
        let (mut named, mut written) = (lock(&self.meta), lock(&self.written));
        match act() {
            Ok(result) => {
                (named.retired, written.retired) = (true, true);
                Ok(result)
            }
            Err(failure) => {
                named.unsure |= failure.is_after();
                Err(failure.into())
            }
        }
    }

    /// Writes the record again if another generation may have the name: what is promised from here on would be lost with
    /// it.
    fn name_again(&self) -> Result<(), Error> {
        let mut named = lock(&self.meta);
        if named.unsure && !named.retired {
            atomic::replace(&*self.disk, &self.folder, META, &named.meta.encode()?)?;
            named.unsure = false;
        }
        Ok(())
    }

    /// Removes runs of granules from what is durable and returns those that were.
    fn take_durable(&self, runs: &[(u64, u64)]) -> Vec<Granule> {
        let mut durable = self.durable_mut();
        let gone: Vec<Granule> =
            runs.iter().flat_map(|&(start, end)| durable.range(start..end).map(|(_, granule)| *granule)).collect();
        for granule in &gone {
            durable.remove(&granule.index);
        }
        gone
    }

    /// Makes holes of runs of granules and returns how many bytes these are.
    fn punch(&self, geometry: Geometry, runs: &[(u64, u64)]) -> Result<u64, Error> {
        let granule = u64::from(geometry.granule());
        let mut bytes = 0;
        for &(start, end) in runs {
            // To the end of the last granule even if the object ends before: the rest of a block goes only as a whole.
            match self.data.punch(start * granule..end * granule) {
                Ok(()) => bytes += geometry.range_of(end - 1).end - geometry.range_of(start).start,
                Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(0),
                Err(error) => return Err(failed("make holes in", &self.path)(error)),
            }
        }
        Ok(bytes)
    }

    fn durable(&self) -> RwLockReadGuard<'_, Granules> {
        self.durable.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn durable_mut(&self) -> RwLockWriteGuard<'_, Granules> {
        self.durable.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a range piece by piece.
    fn each_piece(&self, range: Range<u64>, mut see: impl FnMut(&[u8])) -> Result<(), Error> {
        let mut scratch = vec![0; range.end.saturating_sub(range.start).min(SCRATCH as u64) as usize];
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
        let total = self.geometry().total();
        match offset.checked_add(length) {
            Some(end) if end <= total => Ok(()),
            _ => Err(Error::OutOfBounds { offset, length, total }),
        }
    }

    /// A range that lies in the object, and is empty where it ends before it begins.
    fn placed(&self, range: Range<u64>) -> Result<Range<u64>, Error> {
        let range = range.start..range.end.max(range.start);
        self.inside(range.start, range.end - range.start)?;
        Ok(range)
    }
}

impl Written {
    /// Says in the journal that granules are gone; nothing of them can come back after a crash. That holds for granules
    /// as well that were refused earlier and never counted.
    fn record_evicted(&mut self, records: &[Record], left: &Granules) -> Result<(), Error> {
        self.journal.repair(left)?;
        if records.is_empty() { Ok(()) } else { self.journal.append(records, left) }
    }
}

/// Drops granules that lie beyond the end of the data: its length was set once, and whoever cut it did not write the
/// journal.
pub(crate) fn keep_within(granules: &mut Granules, geometry: Geometry, length: u64) {
    if length < geometry.total() {
        granules.retain(|index, _| geometry.range_of(*index).end <= length);
    }
}

fn is_mapped(data: &dyn DiskFile) -> bool {
    data.mappable().is_some_and(|file| mapping::is_mapped(file))
}

/// One record for each run of granules, which are in order.
fn evicted(granules: &[Granule]) -> Vec<Record> {
    granules
        .chunk_by(|one, next| one.index + 1 == next.index)
        // A count of granules fits: there are at most 2^26 of one object.
        .map(|run| Record::Evicted { index: run[0].index, count: run.len() as u32 })
        .collect()
}

fn before(error: cache::meta::Error) -> Failure {
    Failure::Before(error.into())
}

/// A panic while a lock is held leaves nothing half done here: the files are changed in single steps.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
