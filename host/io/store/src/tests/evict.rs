//! Giving space back, on a real file system.

use std::fs;
use std::io;
use std::ops::Range;

use super::{GRANULE, TOTAL, data, fill, folder, id, indexes, make, meta, runs};
use crate::{Error, Store};

const LARGE: u32 = 64 * 1024;
const LARGE_TOTAL: u64 = 9 * 64 * 1024 + 5000;

/// Bytes of a larger object, none of them zero.
fn large() -> Vec<u8> {
    (0..LARGE_TOTAL).map(|at| (at % 251 + 1) as u8).collect()
}

fn range(start: u64, end: u64) -> Range<u64> {
    start * u64::from(LARGE)..(end * u64::from(LARGE)).min(LARGE_TOTAL)
}

#[test]
fn what_is_evicted_takes_no_space_and_does_not_come_back() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let file = store.create(&id(), meta(LARGE_TOTAL, LARGE)).unwrap();
    let granules: Vec<_> = (0..10).map(|index| fill(&file, index, &large())).collect();
    file.commit(&granules).unwrap();
    let mapped = file.bytes(0..LARGE_TOTAL).unwrap();
    let (length, before) = (fs::metadata(folder(root.path()).join("data.1")).unwrap().len(), file.allocated().unwrap());
    assert!(before >= LARGE_TOTAL);

    let some = runs([(7, 30), (2, 4), (3, 5), (6, 6), (40, 50)]);
    let given_back = u64::from(LARGE) * 5 + 5000;
    assert_eq!(file.evict(&some).unwrap(), given_back);
    // The last block goes as well: 5000 bytes were two blocks.
    assert!(file.allocated().unwrap() <= before - 5 * u64::from(LARGE) - 8192);
    assert_eq!(fs::metadata(folder(root.path()).join("data.1")).unwrap().len(), length);
    assert!(mapped[range(2, 5).start as usize..range(2, 5).end as usize].iter().all(|byte| *byte == 0));
    for index in [0, 1, 5, 6] {
        let kept = range(index, index + 1);
        assert_eq!(mapped[kept.start as usize..kept.end as usize], large()[kept.start as usize..kept.end as usize]);
    }
    assert_eq!(indexes(&file.granules()), [0, 1, 5, 6]);
    assert_eq!(store.contents(&id()).unwrap().unwrap().present, [0..2, 5..7]);
    assert_eq!(file.evict(&[]).unwrap() + file.evict(&runs([(10, 20)])).unwrap(), 0);

    let again = fill(&file, 3, &large());
    file.commit(&[again]).unwrap();
    drop((file, mapped));
    let stored = store.load(&id()).unwrap().unwrap();
    assert_eq!(indexes(&stored.granules), [0, 1, 3, 5, 6]);
    assert!(stored.granules.iter().all(|granule| stored.file.verify(granule)));
}

#[test]
fn an_object_that_nobody_has_open_is_looked_into_and_evicted_from() {
    let root = tempfile::tempdir().unwrap();
    make(root.path());
    let store = Store::open(root.path()).unwrap();
    let contents = store.contents(&id()).unwrap().unwrap();
    assert_eq!((contents.present, contents.meta.accessed_ms), (vec![0..2, 3..6], 2000));
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let blocks = |name| fs::metadata(folder(root.path()).join(name)).unwrap().blocks() * 512;
        assert_eq!(contents.allocated, blocks("data.1") + blocks("map.1"));
    }
    assert!(contents.allocated > 0);

    assert_eq!(store.evict(&id(), &runs([(1, 4)])).unwrap(), 3 * u64::from(GRANULE));
    assert_eq!(store.contents(&id()).unwrap().unwrap().present, [0..1, 4..6]);
    let stored = store.load(&id()).unwrap().unwrap();
    assert_eq!(indexes(&stored.granules), [0, 4, 5]);
    assert!(stored.granules.iter().all(|granule| stored.file.verify(granule)));
    // From now on it is up to whoever has it open.
    assert_eq!(store.evict(&id(), &runs([(0, 6)])).unwrap(), 0);
    assert_eq!(stored.file.evict(&runs([(0, 1)])).unwrap(), u64::from(GRANULE));
    assert_eq!(store.contents(&id()).unwrap().unwrap().present, runs([(4, 6)]));

    let other = crate::ObjectId::from_key("other");
    assert!(store.contents(&other).unwrap().is_none());
    assert_eq!(store.evict(&other, &runs([(0, 6)])).unwrap(), 0);
    drop(stored);
    fs::remove_file(folder(root.path()).join("data.1")).unwrap();
    assert!(store.contents(&id()).unwrap().is_none());
    assert_eq!(store.evict(&id(), &runs([(0, 6)])).unwrap(), 0);
}

#[test]
fn what_is_still_being_sent_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    make(root.path());
    let store = Store::open(root.path()).unwrap();
    let slice = store.load(&id()).unwrap().unwrap().file.bytes(0..32).unwrap();
    assert_eq!(store.evict(&id(), &runs([(0, 1)])).unwrap(), 0);
    assert_eq!(slice, data()[..32]);
    assert_eq!(store.contents(&id()).unwrap().unwrap().present, runs([(0, 2), (3, 6)]));
    drop(slice);
    assert_eq!(store.evict(&id(), &runs([(0, 1)])).unwrap(), u64::from(GRANULE));
}

#[test]
fn what_was_removed_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    make(root.path());
    let store = Store::open(root.path()).unwrap();
    let file = store.load(&id()).unwrap().unwrap().file;
    let bytes = file.bytes(0..TOTAL).unwrap();
    store.remove(&id()).unwrap();
    assert_eq!(file.evict(&runs([(0, 6)])).unwrap(), 0);
    assert_eq!(bytes[..32], data()[..32]);
}

#[test]
fn a_journal_of_evictions_stays_short() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let file = store.create(&id(), meta(64, 1)).unwrap();
    let granule = fill(&file, 5, &[9; 64]);
    for _ in 0..200 {
        file.commit(&[granule]).unwrap();
        assert_eq!(file.evict(&runs([(5, 6)])).unwrap(), 1);
        let granule = fill(&file, 5, &[9; 64]);
        file.commit(&[granule]).unwrap();
        file.forget(5).unwrap();
    }
    let length = fs::metadata(folder(root.path()).join("map.1")).unwrap().len();
    assert!(length < 4096, "{length}");
}

#[test]
fn says_when_nothing_may_be_written() {
    let error = |kind: io::ErrorKind| Error::Io { doing: "write", path: "x".into(), source: kind.into() };
    #[cfg(unix)]
    {
        let said: Vec<bool> = [libc::EROFS, libc::EACCES, libc::EPERM, libc::EIO, libc::ENOSPC]
            .map(|code| crate::failed("write", "x".as_ref())(io::Error::from_raw_os_error(code)).is_read_only())
            .to_vec();
        assert_eq!(said, [true, true, true, false, false]);
    }
    assert!(!error(io::ErrorKind::NotFound).is_read_only());

    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    store.probe().unwrap();
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    fs::create_dir(root.path().join("probe.tmp")).unwrap();
    assert!(!store.probe().unwrap_err().is_read_only());
}
