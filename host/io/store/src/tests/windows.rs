//! Objects that are larger than what may be mapped of them.

use std::ops::Range;
use std::sync::Arc;

use super::{fill, id, indexes, meta, runs};
use crate::disk::RealDisk;
use crate::mapping::Windows;
use crate::{Error, ObjectFile, Store, locate};

const GRANULE: u32 = 64 << 10;
/// A window of two granules, so that what is read lies over many of them.
const WINDOW: u64 = 2 * GRANULE as u64;
const TOTAL: u64 = 9 * GRANULE as u64 + 5000;

fn bytes() -> Vec<u8> {
    (0..TOTAL).map(|at| (at % 251 + 1) as u8).collect()
}

fn part(range: Range<u64>) -> Vec<u8> {
    bytes()[range.start as usize..range.end as usize].to_vec()
}

/// A whole object of which so many windows may be mapped.
fn object(root: &std::path::Path, count: u64) -> (Store, Arc<ObjectFile>) {
    let windows = Box::leak(Box::new(Windows::new(WINDOW, count * WINDOW)));
    let store = Store::open_within(root, Arc::new(RealDisk), windows).unwrap();
    let file = store.create(&id(), meta(TOTAL, GRANULE)).unwrap();
    let granules: Vec<_> = (0..10).map(|index| fill(&file, index, &bytes())).collect();
    file.commit(&granules).unwrap();
    (store, file)
}

#[test]
fn a_read_is_split_where_a_window_ends() {
    let root = tempfile::tempdir().unwrap();
    let (_store, file) = object(root.path(), 2);
    let range = WINDOW - 7..3 * WINDOW + 7;
    let (mut at, mut lengths) = (range.start, Vec::new());
    while at < range.end {
        let piece = file.bytes(at..range.end).unwrap();
        let here = at..at + piece.len() as u64;
        assert_eq!(piece, part(here.clone()));
        assert_eq!(locate(&piece).unwrap().1, at);
        file.populate(here.clone()).unwrap();
        lengths.push(piece.len() as u64);
        at = here.end;
    }
    assert_eq!(lengths, [7, WINDOW, WINDOW, 7]);
    file.populate(0..TOTAL).unwrap();
    assert!(!file.is_resident(0..TOTAL + 1));
    assert!(matches!(file.bytes(0..TOTAL + 1), Err(Error::OutOfBounds { .. })));
    assert_eq!((file.bytes(TOTAL..TOTAL).unwrap().len(), file.bytes(TOTAL - 3..TOTAL).unwrap().len()), (0, 3));
}

#[test]
fn what_finds_no_window_is_read() {
    let root = tempfile::tempdir().unwrap();
    let (store, file) = object(root.path(), 2);
    let held = [file.bytes(0..WINDOW).unwrap(), file.bytes(WINDOW..2 * WINDOW).unwrap()];
    let read = file.bytes(2 * WINDOW + 5..TOTAL).unwrap();
    assert_eq!((locate(&read).is_none(), &read[..]), (true, &part(2 * WINDOW + 5..TOTAL)[..]));
    assert!(file.is_resident(2 * WINDOW + 5..TOTAL), "it lies in memory");
    file.populate(2 * WINDOW + 5..TOTAL).unwrap();

    // What is held is the file, evicted or not, and outlives the object.
    let granule = |index: u64| index * u64::from(GRANULE)..(index + 1) * u64::from(GRANULE);
    assert_eq!(file.evict(&runs([(1, 2), (5, 6)])).unwrap(), 2 * u64::from(GRANULE));
    assert!(held[0][granule(1).start as usize..].iter().all(|byte| *byte == 0));
    assert_eq!(held[0][..GRANULE as usize], part(granule(0)));
    assert_eq!(read[..100], part(2 * WINDOW + 5..2 * WINDOW + 105));
    drop(file);
    assert_eq!(store.evict(&id(), &runs([(2, 3)])).unwrap(), 0, "it is still being sent");
    assert_eq!(held[1], part(WINDOW..2 * WINDOW));
    drop(held);
    assert_eq!(store.evict(&id(), &runs([(2, 3)])).unwrap(), u64::from(GRANULE));
    assert_eq!(indexes(&store.load(&id()).unwrap().unwrap().granules), [0, 3, 4, 6, 7, 8, 9]);
}

#[test]
fn no_more_is_read_into_memory_at_once_than_a_mebibyte() {
    let root = tempfile::tempdir().unwrap();
    let windows = Box::leak(Box::new(Windows::new(WINDOW, 0)));
    let store = Store::open_within(root.path(), Arc::new(RealDisk), windows).unwrap();
    // More than 32 bits can count.
    let total = (5 << 30) + 3;
    let file = store.create(&id(), meta(total, 256 << 10)).unwrap();
    file.write_at(total - 3, b"end").unwrap();
    assert_eq!(file.bytes(0..total).unwrap().len(), 1 << 20);
    assert_eq!(file.bytes(total - 3..total).unwrap(), "end");
    assert!(matches!(file.bytes(total..total + 1), Err(Error::OutOfBounds { .. })));
}
