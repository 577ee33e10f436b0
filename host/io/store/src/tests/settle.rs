//! Objects whose length is learned while they are written, on a real file system.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use cache::Meta;

use super::{GRANULE, TOTAL, data, fill, folder, id, indexes, make, meta, runs};
use crate::{Error, ObjectFile, Store, locate};

const PROVISIONAL: u64 = 1 << 20;

fn open_ended(store: &Store) -> Arc<ObjectFile> {
    store.create(&id(), Meta { open_ended: true, ..meta(PROVISIONAL, GRANULE) }).unwrap()
}

fn data_length(root: &Path, generation: u64) -> u64 {
    fs::metadata(folder(root).join(format!("data.{generation}"))).unwrap().len()
}

#[test]
fn an_open_ended_object_ends_with_those_who_have_it_open() {
    let root = tempfile::tempdir().unwrap();
    make(root.path());
    let store = Store::open(root.path()).unwrap();
    let file = open_ended(&store);
    let granule = fill(&file, 0, &data());
    file.commit(&[granule]).unwrap();
    let again = store.load(&id()).unwrap().unwrap();
    assert!(Arc::ptr_eq(&file, &again.file) && again.meta.open_ended);
    assert_eq!(store.contents(&id()).unwrap().unwrap().present, runs([(0, 1)]));
    file.update_meta(|meta| meta.open_ended = false).unwrap();
    assert!(file.meta().open_ended, "only settling may say so");
    drop((file, again));
    assert!(store.load(&id()).unwrap().is_none() && store.contents(&id()).unwrap().is_none());
    assert_eq!(store.evict(&id(), &runs([(0, 1)])).unwrap(), 0);
    assert_eq!(store.list().unwrap().len(), 1);
    drop(store);
    assert!(Store::open(root.path()).unwrap().list().unwrap().is_empty());
    assert!(!folder(root.path()).exists());
}

#[test]
fn a_settled_object_is_like_any_other() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let file = open_ended(&store);
    let granules: Vec<_> = (0..5).map(|index| fill(&file, index, &data())).collect();
    file.commit(&granules).unwrap();
    // What arrived of the last granule, which is not one yet.
    file.write_at(80, &data()[80..]).unwrap();
    let mapped = file.bytes(0..TOTAL).unwrap();
    assert!(matches!(file.settle(PROVISIONAL + 1), Err(Error::OutOfBounds { .. })));
    file.settle(TOTAL).unwrap();
    file.settle(TOTAL).unwrap();
    assert!(matches!(file.settle(TOTAL - 1), Err(Error::Settled { total: TOTAL })));
    assert_eq!((file.geometry().total(), file.geometry().granule(), file.geometry().count()), (TOTAL, GRANULE, 6));
    assert_eq!((file.meta().total, file.meta().open_ended), (TOTAL, false));
    assert_eq!(data_length(root.path(), 1), PROVISIONAL);
    assert!(matches!(file.bytes(0..TOTAL + 1), Err(Error::OutOfBounds { .. })));
    let last = fill(&file, 5, &data());
    file.commit(&[last]).unwrap();
    assert_eq!(mapped, data());
    let slice = file.bytes(16..32).unwrap();
    drop((file, mapped));

    let stored = store.load(&id()).unwrap().unwrap();
    assert_eq!(indexes(&stored.granules), [0, 1, 2, 3, 4, 5]);
    assert!(stored.granules.iter().all(|granule| stored.file.verify(granule)));
    assert_eq!(data_length(root.path(), 1), PROVISIONAL, "somebody has the first mapping");
    assert_eq!((locate(&slice).unwrap().1, &slice[..]), (16, &data()[16..32]));
    drop((stored, slice, store));
    let store = Store::open(root.path()).unwrap();
    let stored = store.load(&id()).unwrap().unwrap();
    assert_eq!((data_length(root.path(), 1), stored.granules.len()), (TOTAL, 6));
    assert!(stored.granules.iter().all(|granule| stored.file.verify(granule)));
}

#[test]
fn granules_beyond_the_end_do_not_outlive_settling() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let file = open_ended(&store);
    let granules: Vec<_> = (0..5).map(|index| fill(&file, index, &data())).collect();
    file.commit(&granules).unwrap();
    file.settle(2 * u64::from(GRANULE) + 3).unwrap();
    assert_eq!(indexes(&file.granules()), [0, 1]);
    drop(file);
    assert_eq!(indexes(&store.load(&id()).unwrap().unwrap().granules), [0, 1]);
    let nothing = open_ended(&store);
    nothing.settle(0).unwrap();
    drop(nothing);
    assert_eq!(store.load(&id()).unwrap().unwrap().meta.total, 0);
}

#[test]
fn one_that_was_removed_settles_without_a_trace() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let file = open_ended(&store);
    store.remove(&id()).unwrap();
    file.settle(TOTAL).unwrap();
    assert_eq!(file.geometry().total(), TOTAL);
    assert!(!folder(root.path()).exists());
}
