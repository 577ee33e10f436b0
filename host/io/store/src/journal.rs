//! The journal of one generation on disk: appending, and starting anew from a snapshot when it has grown long or when
//! nobody knows what is in the file.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cache::journal::{self, Record};
use cache::{Geometry, Granule};

use crate::disk::{Disk, DiskFile};
use crate::{Error, atomic, failed};

/// A journal shorter than this is not worth a snapshot, bytes. Tests have small disks and want to see some.
const COMPACT_FROM: u64 = if cfg!(test) { 1 << 11 } else { 1 << 20 };
/// How many times longer than its snapshot a journal may become.
const COMPACT_FACTOR: u64 = 3;
/// The longest journal that is read, bytes. A longer one is read up to here and goes on from there.
const MAX_BYTES: u64 = 1 << 30;

/// What is durable of a generation, by index.
pub(crate) type Granules = BTreeMap<u64, Granule>;

pub(crate) struct Journal {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    name: String,
    generation: u64,
    geometry: Geometry,
    /// The file, as long as it holds the first `length` bytes and nothing else, now and after a crash. `None` if that is
    /// not known: after a restart what is read may never have reached the medium, and after a sync that failed nobody
    /// can tell. The way out is another file.
    file: Option<Arc<dyn DiskFile>>,
    length: u64,
    /// When to try a snapshot next, by length.
    compact_at: u64,
}

/// What the file of a generation's journal is called.
pub(crate) fn name(generation: u64) -> String {
    format!("map.{generation}")
}

/// What may be believed of the journal in a folder; nothing if there is none.
pub(crate) fn read(disk: &dyn Disk, folder: &Path, generation: u64, geometry: Geometry) -> Result<Granules, Error> {
    let bytes = atomic::read(disk, &folder.join(name(generation)), MAX_BYTES)?.unwrap_or_default();
    let replayed = journal::replay(generation, geometry, &bytes);
    Ok(replayed.granules.into_iter().map(|granule| (granule.index, granule)).collect())
}

/// What the journal in a folder takes on the disk, bytes; nothing if there is none.
pub(crate) fn allocated(disk: &dyn Disk, folder: &Path, generation: u64) -> Result<u64, Error> {
    let path = folder.join(name(generation));
    match disk.size(&path) {
        Ok(size) => Ok(size.allocated),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(failed("look at", &path)(error)),
    }
}

impl Journal {
    /// Makes an empty journal in the place of whatever has its name.
    pub(crate) fn create(
        disk: Arc<dyn Disk>,
        folder: &Path,
        generation: u64,
        geometry: Geometry,
    ) -> Result<Self, Error> {
        let file = atomic::replace(&*disk, folder, &name(generation), &[])?;
        Ok(Self { file: Some(file), ..Self::open(disk, folder, generation, geometry) })
    }

    /// The journal of an earlier run. The first record that is added to it begins a new file.
    pub(crate) fn open(disk: Arc<dyn Disk>, folder: &Path, generation: u64, geometry: Geometry) -> Self {
        let (folder, name) = (folder.to_owned(), name(generation));
        Self { disk, folder, name, generation, geometry, file: None, length: 0, compact_at: COMPACT_FROM }
    }

    /// Makes sure that what is in the file besides the records that count cannot come back after a crash. `granules` is
    /// what is durable.
    pub(crate) fn repair(&mut self, granules: &Granules) -> Result<(), Error> {
        self.sound(granules).map(drop)
    }

    /// Appends records and waits until they are on the medium. `granules` is what is durable without them. On an error
    /// none of them counts: if they were taken after all, the next call says otherwise before it says anything else.
    pub(crate) fn append(&mut self, records: &[Record], granules: &Granules) -> Result<(), Error> {
        let bytes: Vec<u8> = records.iter().flat_map(|record| journal::encode(self.generation, record)).collect();
        let file = self.sound(granules)?;
        if let Err(error) = file.write_at(self.length, &bytes) {
            // Records that did reach the file must not come back behind later ones.
            if file.set_len(self.length).and_then(|()| file.sync()).is_err() {
                self.distrust();
            }
            return Err(failed("append to", &self.path())(error));
        }
        if let Err(error) = file.sync() {
            self.distrust();
            return Err(failed("append to", &self.path())(error));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Begins a new file with the next record, whatever is in this one.
    pub(crate) fn distrust(&mut self) {
        self.file = None;
    }

    /// Starts anew with what is there, if the journal has become much longer than that. If it cannot, the next try comes
    /// when the journal is twice as long.
    pub(crate) fn compact_if_long(&mut self, granules: &Granules) {
        let snapshot_length = self.geometry.count() / 8 + 4 * granules.len() as u64;
        if self.length < self.compact_at || self.length < COMPACT_FACTOR * snapshot_length {
            return;
        }
        if let Err(error) = self.renew(self.geometry, granules) {
            self.compact_at = self.length.saturating_mul(2);
            tracing::warn!(%error, "the journal of a cached object stays long");
        }
    }

    /// Starts anew with these granules, which may be those of another cut of the object. On an error the cut is the old
    /// one.
    pub(crate) fn renew(&mut self, geometry: Geometry, granules: &Granules) -> Result<Arc<dyn DiskFile>, Error> {
        let kept: Vec<Granule> = granules.values().copied().collect();
        let snapshot = journal::encode_snapshot(self.generation, geometry, &kept);
        if cfg!(windows) {
            // Not everywhere there does an open file lose its name. If this fails, the next record begins a new file.
            self.distrust();
        }
        match atomic::replace(&*self.disk, &self.folder, &self.name, &snapshot) {
            Ok(file) => {
                (self.file, self.length) = (Some(Arc::clone(&file)), snapshot.len() as u64);
                (self.geometry, self.compact_at) = (geometry, COMPACT_FROM);
                Ok(file)
            }
            Err(failure) => {
                if failure.is_after() {
                    self.distrust();
                }
                Err(failure.into())
            }
        }
    }

    /// Goes on with another cut of the object than the one that was last written.
    pub(crate) fn recut(&mut self, geometry: Geometry) {
        self.geometry = geometry;
    }

    fn sound(&mut self, granules: &Granules) -> Result<Arc<dyn DiskFile>, Error> {
        match &self.file {
            Some(file) => Ok(Arc::clone(file)),
            None => self.renew(self.geometry, granules),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }
}
