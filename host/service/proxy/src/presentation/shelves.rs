//! Things of an address that are fetched once for all who ask at the same time, and of which the ones used last are kept.
//!
//! Owns: which of them leaves when there are too many.
//! Leaves to others: how they are fetched, and for how long they are good.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex as AsyncMutex;
use url::Url;

use crate::fault::Fault;

/// A place per address.
pub struct Shelves<T> {
    most: usize,
    most_bytes: usize,
    /// What is in use, and stays.
    busy: fn(&T) -> bool,
    kept: Mutex<Kept<T>>,
}

struct Kept<T> {
    by_address: HashMap<Url, Entry<T>>,
    /// Rises with each use.
    uses: u64,
}

struct Entry<T> {
    shelf: Arc<Shelf<T>>,
    used: u64,
    used_at: Instant,
    bytes: usize,
}

/// A place. Whoever holds the lock fetches what stands there, and the others wait.
pub type Shelf<T> = AsyncMutex<Slot<T>>;

/// What stands in a place.
pub struct Slot<T> {
    pub value: Option<T>,
    /// Why it could not be fetched the last time, and when that was.
    failed: Option<(Instant, u64, Fault)>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Slot { value: None, failed: None }
    }
}

impl<T> Slot<T> {
    /// Why it could not be fetched, if that was found out after this moment: all who waited meanwhile get the same answer,
    /// unless it is the answer to older credentials than theirs.
    pub fn failed_since(&self, asked: Instant, epoch: u64) -> Option<Fault> {
        let (at, of, fault) = self.failed.as_ref()?;
        (*at >= asked && *of >= epoch).then(|| fault.clone())
    }

    pub fn fail(&mut self, fault: &Fault, epoch: u64) {
        self.failed = Some((Instant::now(), epoch, fault.clone()));
    }
}

impl<T: Clone> Shelves<T> {
    /// At most so many things, and so many bytes of them.
    pub fn new(most: usize, most_bytes: usize, busy: fn(&T) -> bool) -> Shelves<T> {
        Shelves { most, most_bytes, busy, kept: Mutex::new(Kept { by_address: HashMap::new(), uses: 0 }) }
    }

    /// The place of an address, now the one used last.
    pub fn shelf(&self, address: &Url) -> Arc<Shelf<T>> {
        let mut kept = self.kept();
        kept.uses += 1;
        let used = kept.uses;
        let used_at = Instant::now();
        let new = || Entry { shelf: Arc::default(), used, used_at, bytes: 0 };
        let entry = kept.by_address.entry(address.clone()).or_insert_with(new);
        (entry.used, entry.used_at) = (used, used_at);
        let shelf = entry.shelf.clone();
        self.keep_within(&mut kept);
        shelf
    }

    /// Notes how much memory something takes.
    pub fn weigh(&self, shelf: &Arc<Shelf<T>>, bytes: usize) {
        let mut kept = self.kept();
        if let Some(entry) = kept.by_address.values_mut().find(|entry| Arc::ptr_eq(&entry.shelf, shelf)) {
            entry.bytes = bytes;
        }
        self.keep_within(&mut kept);
    }

    /// What is there right now, the ones used last first.
    pub fn here(&self) -> Vec<T> {
        let kept = self.kept();
        let mut entries: Vec<_> = kept.by_address.values().collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.used));
        entries.iter().filter_map(|entry| entry.shelf.try_lock().ok()?.value.clone()).collect()
    }

    /// What stands in the place of an address, if anything does.
    pub fn peek(&self, address: &Url) -> Option<T> {
        self.kept().by_address.get(address)?.shelf.try_lock().ok()?.value.clone()
    }

    /// All addresses.
    pub fn addresses(&self) -> Vec<Url> {
        self.kept().by_address.keys().cloned().collect()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.kept().by_address.clear();
    }

    /// Forgets what was not asked for within this time.
    pub fn forget_unused(&self, within: Duration) {
        self.kept().by_address.retain(|_, entry| entry.used_at.elapsed() < within || self.is_busy(entry));
    }

    fn keep_within(&self, kept: &mut Kept<T>) {
        while kept.by_address.len() > 1 {
            let bytes: usize = kept.by_address.values().map(|entry| entry.bytes).sum();
            if kept.by_address.len() <= self.most && bytes <= self.most_bytes {
                return;
            }
            let idle = kept.by_address.iter().filter(|(_, entry)| !self.is_busy(entry));
            let oldest = idle.min_by_key(|(_, entry)| entry.used);
            let Some(address) = oldest.map(|(address, _)| address.clone()) else { return };
            kept.by_address.remove(&address);
        }
    }

    /// Something that is just being fetched is in use, too.
    fn is_busy(&self, entry: &Entry<T>) -> bool {
        entry.shelf.try_lock().map_or(true, |slot| slot.value.as_ref().is_some_and(self.busy))
    }

    fn kept(&self) -> MutexGuard<'_, Kept<T>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
