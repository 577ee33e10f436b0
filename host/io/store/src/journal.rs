//! The journal of one generation on disk: appending, and starting anew from a snapshot when it has grown long.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cache::journal::{self, Record};
use cache::{Geometry, Granule};

use crate::{Error, atomic, failed};

/// A journal shorter than this is not worth a snapshot, bytes.
const COMPACT_FROM: u64 = 1 << 20;
/// How many times longer than its snapshot a journal may become.
const COMPACT_FACTOR: u64 = 3;
/// The longest journal that is read, bytes. A longer one is read up to here and goes on from there.
const MAX_BYTES: u64 = 1 << 30;

pub(crate) struct Journal {
    folder: PathBuf,
    name: String,
    generation: u64,
    geometry: Geometry,
    file: File,
    length: u64,
    /// When to try a snapshot next, by length.
    compact_at: u64,
}

/// What the file of a generation's journal is called.
pub(crate) fn name(generation: u64) -> String {
    format!("map.{generation}")
}

impl Journal {
    /// Makes an empty journal in the place of whatever has its name.
    pub(crate) fn create(folder: &Path, generation: u64, geometry: Geometry) -> Result<Self, Error> {
        let file = atomic::replace(folder, &name(generation), &[])?;
        Ok(Self::new(folder, generation, geometry, file, 0))
    }

    /// Opens a journal, cuts off what cannot be believed, and returns the granules that it names.
    pub(crate) fn open(
        folder: &Path,
        generation: u64,
        geometry: Geometry,
    ) -> Result<(Self, BTreeMap<u64, Granule>), Error> {
        let path = folder.join(name(generation));
        let Some(bytes) = atomic::read(&path, MAX_BYTES)? else {
            return Ok((Self::create(folder, generation, geometry)?, BTreeMap::new()));
        };
        let replayed = journal::replay(generation, geometry, &bytes);
        let file = atomic::private().open(&path).map_err(failed("open", &path))?;
        file.set_len(replayed.valid_length).map_err(failed("shorten", &path))?;
        let granules = replayed.granules.into_iter().map(|granule| (granule.index, granule)).collect();
        Ok((Self::new(folder, generation, geometry, file, replayed.valid_length), granules))
    }

    fn new(folder: &Path, generation: u64, geometry: Geometry, file: File, length: u64) -> Self {
        let (folder, name) = (folder.to_owned(), name(generation));
        Self { folder, name, generation, geometry, file, length, compact_at: COMPACT_FROM }
    }

    /// Appends records and waits until they are on the medium. On an error none of them counts.
    pub(crate) fn append(&mut self, records: impl IntoIterator<Item = Record>) -> Result<(), Error> {
        let bytes: Vec<u8> = records.into_iter().flat_map(|record| journal::encode(self.generation, &record)).collect();
        let path = self.folder.join(&self.name);
        let written = self.file.write_all_at(&bytes, self.length).and_then(|()| self.file.sync_data());
        written.map_err(|error| {
            // Records that did reach the file must not come back behind later ones.
            let _ = self.file.set_len(self.length);
            failed("append to", &path)(error)
        })?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Starts anew with what is there, if the journal has become much longer than that. If it cannot, nothing changes
    /// and the next try comes when the journal is twice as long.
    pub(crate) fn compact_if_long(&mut self, granules: &BTreeMap<u64, Granule>) {
        let snapshot_length = self.geometry.count() / 8 + 4 * granules.len() as u64;
        if self.length < self.compact_at || self.length < COMPACT_FACTOR * snapshot_length {
            return;
        }
        let kept: Vec<Granule> = granules.values().copied().collect();
        let snapshot = journal::encode_snapshot(self.generation, self.geometry, &kept);
        match atomic::replace(&self.folder, &self.name, &[&snapshot]) {
            Ok(file) => {
                (self.file, self.length, self.compact_at) = (file, snapshot.len() as u64, COMPACT_FROM);
            }
            Err(error) => {
                self.compact_at = self.length.saturating_mul(2);
                tracing::warn!(%error, "the journal of a cached object stays long");
                self.reopen();
            }
        }
    }

    /// After a replacement that may have happened or not: goes on with the file that has the name now.
    fn reopen(&mut self) {
        let path = self.folder.join(&self.name);
        if let (Ok(file), Ok(found)) = (atomic::private().open(&path), fs::metadata(&path)) {
            (self.file, self.length) = (file, found.len());
        }
    }
}
