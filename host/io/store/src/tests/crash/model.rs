//! What may be found of an object: the truth that the store is compared with.
//!
//! A change is noted as possible before it is asked for, and as certain when it was promised. What lies between the two
//! may be found either way.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use cache::Granule;
use cache::granule::checksum;

use crate::sim::Random;

/// Whether the length of a version is fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// No, and after a crash nothing is found of it.
    No,
    /// Settling was tried.
    Perhaps,
    Yes,
}

/// One generation of an object.
#[derive(Clone)]
pub(super) struct Version {
    /// All of it. No byte is zero, so that a hole is never right.
    pub(super) truth: Arc<[u8]>,
    pub(super) granule: u32,
    pub(super) ended: Ended,
    /// Granules that have to be there.
    pub(super) sure: BTreeSet<u64>,
    /// Granules that may be there.
    pub(super) maybe: BTreeSet<u64>,
    /// Granules that may be named without being there: they were evicted while the disk was full.
    pub(super) doubtful: BTreeSet<u64>,
    /// Times of the last use that may be read.
    pub(super) accessed: BTreeSet<u64>,
    /// It was removed, and a crash may bring back some of it.
    pub(super) is_removed: bool,
}

/// What may be found under one id.
#[derive(Clone, Default)]
pub(super) struct Object {
    /// By the name that their records carry.
    pub(super) versions: BTreeMap<String, Version>,
    /// Whether nothing may be found.
    pub(super) may_be_absent: bool,
}

impl Version {
    pub(super) fn new(granule: u32, total: u64, ended: Ended, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let words = (0..total.div_ceil(8)).map(|_| (random.next() | 0x0101_0101_0101_0101).to_le_bytes());
        let mut truth = words.collect::<Vec<_>>().concat();
        truth.truncate(total as usize);
        Self {
            truth: truth.into(),
            granule,
            ended,
            sure: BTreeSet::new(),
            maybe: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            accessed: [0].into(),
            is_removed: false,
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.truth.len() as u64
    }

    /// How many granules can be complete now: the last one, if it is short, only when the length is known.
    pub(super) fn complete(&self) -> u64 {
        let granule = u64::from(self.granule);
        if self.ended == Ended::Yes { self.total().div_ceil(granule) } else { self.total() / granule }
    }

    /// A run of granules that can be complete.
    pub(super) fn run(&self, (start, count): (u64, u64)) -> Range<u64> {
        let complete = self.complete();
        let start = start % complete.max(1);
        start..start.saturating_add(count).min(complete)
    }

    pub(super) fn range(&self, index: u64) -> Range<u64> {
        let granule = u64::from(self.granule);
        (index * granule).min(self.total())..((index + 1) * granule).min(self.total())
    }

    pub(super) fn bytes(&self, index: u64) -> &[u8] {
        let range = self.range(index);
        &self.truth[range.start as usize..range.end as usize]
    }

    pub(super) fn granule(&self, index: u64) -> Granule {
        let bytes = self.bytes(index);
        Granule { index, length: bytes.len() as u32, crc: checksum(0, bytes) }
    }

    /// These granules are being added or taken away.
    pub(super) fn begin(&mut self, indexes: impl IntoIterator<Item = u64>) {
        for index in indexes {
            self.sure.remove(&index);
            self.maybe.insert(index);
        }
    }

    /// These granules are there to stay.
    pub(super) fn added(&mut self, indexes: &[u64]) {
        for index in indexes {
            self.maybe.remove(index);
            self.doubtful.remove(index);
            self.sure.insert(*index);
        }
    }

    /// These granules are gone for good.
    pub(super) fn gone(&mut self, indexes: impl IntoIterator<Item = u64>) {
        for index in indexes {
            self.sure.remove(&index);
            self.maybe.remove(&index);
        }
    }

    /// Compares what the journal names with what it may name.
    pub(super) fn check(&self, named: &BTreeSet<u64>) -> Result<(), String> {
        let known =
            |index: &&u64| self.sure.contains(index) || self.maybe.contains(index) || self.doubtful.contains(index);
        if let Some(index) = named.iter().find(|index| !known(index)) {
            return Err(format!("granule {index} came from nowhere"));
        }
        let certain = self.ended == Ended::Yes && !self.is_removed;
        match self.sure.iter().find(|index| !named.contains(index)) {
            Some(index) if certain => Err(format!("granule {index} is lost")),
            _ => Ok(()),
        }
    }
}

impl Object {
    /// Whether it is all right to find nothing.
    pub(super) fn allows_nothing(&self) -> bool {
        let uncertain = |version: &Version| version.ended != Ended::Yes || version.is_removed;
        self.may_be_absent || self.versions.values().any(uncertain)
    }

    /// One version is the only one from now on.
    pub(super) fn only(&mut self, name: &str) {
        self.versions.retain(|other, _| other == name);
        self.may_be_absent = false;
    }
}
