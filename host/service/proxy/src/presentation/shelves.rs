//! Things of an address that are fetched once for all who ask at the same time, and of which the ones used last are kept.
//!
//! Owns: which of them leaves when there are too many.
//! Leaves to others: how they are fetched, and for how long they are good.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Mutex as AsyncMutex;
use url::Url;

/// A place per address.
pub struct Shelves<T> {
    most: usize,
    most_bytes: usize,
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
    bytes: usize,
}

/// What stands in a place. Whoever holds the lock fetches it, and the others wait.
pub type Shelf<T> = AsyncMutex<Option<T>>;

impl<T: Clone> Shelves<T> {
    /// At most so many things, and so many bytes of them.
    pub fn new(most: usize, most_bytes: usize) -> Shelves<T> {
        Shelves { most, most_bytes, kept: Mutex::new(Kept { by_address: HashMap::new(), uses: 0 }) }
    }

    /// The place of an address, now the one used last.
    pub fn shelf(&self, address: &Url) -> Arc<Shelf<T>> {
        let mut kept = self.kept();
        kept.uses += 1;
        let used = kept.uses;
        let new = || Entry { shelf: Arc::default(), used, bytes: 0 };
        let entry = kept.by_address.entry(address.clone()).or_insert_with(new);
        entry.used = used;
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
        entries.iter().filter_map(|entry| entry.shelf.try_lock().ok()?.clone()).collect()
    }

    /// What stands in the place of an address, if anything does.
    pub fn peek(&self, address: &Url) -> Option<T> {
        self.kept().by_address.get(address)?.shelf.try_lock().ok()?.clone()
    }

    /// All addresses.
    pub fn addresses(&self) -> Vec<Url> {
        self.kept().by_address.keys().cloned().collect()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.kept().by_address.clear();
    }

    fn keep_within(&self, kept: &mut Kept<T>) {
        while kept.by_address.len() > 1 {
            let bytes: usize = kept.by_address.values().map(|entry| entry.bytes).sum();
            if kept.by_address.len() <= self.most && bytes <= self.most_bytes {
                return;
            }
            let oldest = kept.by_address.iter().min_by_key(|(_, entry)| entry.used);
            let Some(address) = oldest.map(|(address, _)| address.clone()) else { return };
            kept.by_address.remove(&address);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept<T>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
