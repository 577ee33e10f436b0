//! Objects as a whole: what is left of them after crashes, damage, removal and a full disk.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cache::granule::checksum;
use cache::{Granule, Meta};

use crate::{Error, ObjectFile, ObjectId, Store};

mod crash;
mod evict;
mod settle;
mod windows;

const GRANULE: u32 = 16;
const TOTAL: u64 = 5 * 16 + 7;

fn id() -> ObjectId {
    ObjectId::from_key("film")
}

fn meta(total: u64, granule_size: u32) -> Meta {
    Meta { granule_size, name: Some("film.mkv".into()), ..Meta::new("film", total, 1000) }
}

fn data() -> Vec<u8> {
    (0..TOTAL).map(|byte| (byte * 7 + 1) as u8).collect()
}

/// Writes a granule and returns its checksum.
fn fill(file: &ObjectFile, index: u64, data: &[u8]) -> Granule {
    let range = file.geometry().range_of(index);
    let bytes = &data[range.start as usize..range.end as usize];
    file.write_at(range.start, bytes).unwrap();
    Granule { index, length: bytes.len() as u32, crc: checksum(0, bytes) }
}

/// An object with all granules but the third.
fn make(root: &Path) {
    let store = Store::open(root).unwrap();
    let file = store.create(&id(), meta(TOTAL, GRANULE)).unwrap();
    for batch in [&[0, 1][..], &[5, 3], &[4]] {
        let granules: Vec<Granule> = batch.iter().map(|index| fill(&file, *index, &data())).collect();
        file.commit(&granules).unwrap();
    }
    file.update_meta(|meta| meta.accessed_ms = 2000).unwrap();
    file.close().unwrap();
}

fn folder(root: &Path) -> PathBuf {
    let name = id().to_string();
    root.join(&name[..2]).join(name)
}

fn indexes(granules: &[Granule]) -> Vec<u64> {
    granules.iter().map(|granule| granule.index).collect()
}

/// Runs of granules, of which there is often only one.
fn runs<const N: usize>(runs: [(u64, u64); N]) -> [Range<u64>; N] {
    runs.map(|(start, end)| start..end)
}

#[test]
fn what_was_committed_is_there_again() {
    let root = tempfile::tempdir().unwrap();
    make(root.path());
    let store = Store::open(root.path()).unwrap();
    let stored = store.load(&id()).unwrap().unwrap();
    assert_eq!(indexes(&stored.granules), [0, 1, 3, 4, 5]);
    assert!(stored.granules.iter().all(|granule| stored.file.verify(granule)));
    assert_eq!((stored.meta.accessed_ms, stored.meta.generation, stored.meta.total), (2000, 1, TOTAL));
    assert_eq!(stored.file.granule(2), None);
    assert_eq!(&stored.file.bytes(48..TOTAL).unwrap()[..], &data()[48..]);
    let mut buffer = [0; 7];
    stored.file.read_at(80, &mut buffer).unwrap();
    assert_eq!(buffer, data()[80..]);
    assert!(store.load(&ObjectId::from_key("other")).unwrap().is_none());
    let again = store.load(&id()).unwrap().unwrap();
    assert!(Arc::ptr_eq(&stored.file, &again.file));

    stored.file.forget(1).unwrap();
    drop((stored, again));
    assert_eq!(indexes(&store.load(&id()).unwrap().unwrap().granules), [0, 3, 4, 5]);
}

#[test]
fn no_damage_makes_wrong_bytes_look_right() {
    let root = tempfile::tempdir().unwrap();
    make(root.path());
    let names = ["meta", "data.1", "map.1"];
    let good = names.map(|name| fs::read(folder(root.path()).join(name)).unwrap());
    let restore = || {
        // New files rather than shortened ones: some file systems write the latter out at once.
        let _ = fs::remove_dir_all(folder(root.path()));
        fs::create_dir_all(folder(root.path())).unwrap();
        names.iter().zip(&good).for_each(|(name, bytes)| fs::write(folder(root.path()).join(name), bytes).unwrap());
    };
    let survivors = |what: &str| {
        let store = Store::open(root.path()).unwrap();
        let Some(stored) = store.load(&id()).unwrap() else { return 0 };
        let sound = stored.granules.iter().filter(|granule| stored.file.verify(granule));
        for granule in sound.clone() {
            let range = stored.file.geometry().range_of(granule.index);
            let expected = &data()[range.start as usize..range.end as usize];
            assert_eq!(stored.file.bytes(range).unwrap(), expected, "{what}");
        }
        let count = sound.count();
        // Appending waits for the disk, so that only some of the damaged objects are used on.
        if what.ends_with('0') {
            let granule = fill(&stored.file, 2, &data());
            stored.file.commit(&[granule]).unwrap();
            drop(stored);
            assert!(store.load(&id()).unwrap().unwrap().granules.contains(&granule), "{what}: not usable afterwards");
        }
        count
    };
    restore();
    assert_eq!(survivors("nothing"), 5);
    for (name, bytes) in names.iter().zip(&good) {
        for at in 0..bytes.len() {
            restore();
            fs::remove_file(folder(root.path()).join(name)).unwrap();
            fs::write(folder(root.path()).join(name), &bytes[..at]).unwrap();
            survivors(&format!("{name} cut at {at}"));

            restore();
            let mut changed = bytes.clone();
            changed[at] ^= 0x41;
            fs::remove_file(folder(root.path()).join(name)).unwrap();
            fs::write(folder(root.path()).join(name), changed).unwrap();
            let left = survivors(&format!("{name} changed at {at}"));
            assert!(*name != "data.1" || left >= 4, "one byte spoils one granule, {left} are left");
        }
    }
    for missing in names {
        restore();
        fs::remove_file(folder(root.path()).join(missing)).unwrap();
        assert_eq!(survivors(missing), 0);
    }
}

#[test]
fn a_hole_where_data_should_be_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    make(root.path());
    // The journal reached the medium and the data did not: right length, zeros.
    fs::write(folder(root.path()).join("data.1"), vec![0; TOTAL as usize]).unwrap();
    let stored = Store::open(root.path()).unwrap().load(&id()).unwrap().unwrap();
    assert_eq!(stored.granules.len(), 5);
    assert!(!stored.granules.iter().any(|granule| stored.file.verify(granule)));
}

#[test]
fn a_file_whose_length_was_lost_is_as_long_as_it_should_be() {
    let root = tempfile::tempdir().unwrap();
    make(root.path());
    let path = folder(root.path()).join("data.1");
    fs::write(&path, &data()[..40]).unwrap();
    let stored = Store::open(root.path()).unwrap().load(&id()).unwrap().unwrap();
    assert_eq!(indexes(&stored.granules), [0, 1]);
    assert_eq!(fs::metadata(&path).unwrap().len(), TOTAL);
    // Touched through the mapping, which ends the process where there is no file.
    let bytes = stored.file.bytes(0..TOTAL).unwrap();
    assert_eq!((&bytes[..40], &bytes[40..]), (&data()[..40], &[0; TOTAL as usize - 40][..]));
}

#[test]
fn a_folder_has_one_owner() {
    let root = tempfile::tempdir().unwrap();
    let first = Store::open(root.path()).unwrap();
    let error = Store::open(root.path()).err().unwrap();
    assert!(matches!(&error, Error::Locked { root: named } if named == root.path()));
    assert!(error.to_string().contains(root.path().to_str().unwrap()) && error.to_string().contains("another process"));
    drop(first);
    Store::open(root.path()).unwrap();
}

#[test]
fn a_mapping_outlives_the_object() {
    let root = tempfile::tempdir().unwrap();
    make(root.path());
    let store = Store::open(root.path()).unwrap();
    let file = store.load(&id()).unwrap().unwrap().file;
    let bytes = file.bytes(0..32).unwrap();
    store.remove(&id()).unwrap();
    assert!(store.load(&id()).unwrap().is_none());
    assert!(!folder(root.path()).exists());
    let late = fill(&file, 2, &data());
    file.commit(&[late]).unwrap();
    file.update_meta(|meta| meta.accessed_ms = 9).unwrap();
    file.close().unwrap();
    assert!(!folder(root.path()).exists());
    drop(file);
    assert_eq!(bytes, data()[..32]);
    store.remove(&id()).unwrap();
    assert!(
        fs::read_dir(root.path()).unwrap().all(|entry| !entry
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("trash"))
    );
}

#[test]
fn a_new_generation_takes_the_place_of_the_old() {
    let root = tempfile::tempdir().unwrap();
    make(root.path());
    let store = Store::open(root.path()).unwrap();
    let old = store.load(&id()).unwrap().unwrap().file;
    let bytes = old.bytes(0..16).unwrap();
    let new = store.create(&id(), meta(1000, 64)).unwrap();
    assert_eq!((old.generation(), new.generation()), (1, 2));
    let granule = fill(&old, 2, &data());
    old.commit(&[granule]).unwrap();
    old.update_meta(|meta| meta.accessed_ms = 77).unwrap();
    assert_eq!(bytes, data()[..16]);
    let mut names: Vec<String> = fs::read_dir(folder(root.path()))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["data.2", "map.2", "meta"]);
    drop((old, new));
    let stored = store.load(&id()).unwrap().unwrap();
    assert_eq!((stored.meta.total, stored.meta.accessed_ms, stored.granules.len()), (1000, 1000, 0));
}

#[test]
fn what_a_crash_left_is_swept_up() {
    let root = tempfile::tempdir().unwrap();
    make(root.path());
    let litter = ["data.2", "map.2", "meta.tmp", "map.1.tmp"].map(|name| folder(root.path()).join(name));
    litter.iter().for_each(|path| fs::write(path, b"half").unwrap());
    fs::create_dir_all(root.path().join("trash-x/y")).unwrap();
    fs::create_dir_all(root.path().join("00/00000000000000000000000000000000")).unwrap();
    fs::write(root.path().join("aa"), b"not a folder").unwrap();
    let store = Store::open(root.path()).unwrap();
    assert!(litter.iter().all(|path| !path.exists()));
    assert!(!root.path().join("trash-x").exists());
    let listed = store.list().unwrap();
    assert_eq!(listed.iter().map(|object| object.id).collect::<Vec<_>>(), [id()]);
    assert!(listed[0].bytes > 0 && !listed[0].in_use);
    assert_eq!(store.usage().unwrap(), listed[0].bytes);
    assert!(store.free().unwrap() > 0);
}

#[test]
fn holes_take_no_space() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let file = store.create(&id(), Meta::new("film", 10 << 30, 0)).unwrap();
    file.write_at(5 << 30, &[1; 4096]).unwrap();
    assert!(store.usage().unwrap() < 1 << 20);
    assert_eq!(file.bytes(5 << 30..(5 << 30) + 2).unwrap()[..], [1, 1]);
    assert!(store.list().unwrap()[0].in_use);
}

#[test]
fn nothing_outside_of_the_object_is_touched() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let file = store.create(&id(), meta(TOTAL, GRANULE)).unwrap();
    for (offset, length) in [(TOTAL, 1), (TOTAL - 1, 2), (u64::MAX, 1)] {
        assert!(matches!(file.write_at(offset, &vec![0; length]), Err(Error::OutOfBounds { .. })));
        assert!(matches!(file.read_at(offset, &mut vec![0; length]), Err(Error::OutOfBounds { .. })));
        let range = offset..offset.saturating_add(length as u64);
        assert!(range.is_empty() || file.bytes(range.clone()).is_err());
        assert!(range.is_empty() || !file.is_resident(range.clone()));
        assert!(range.is_empty() || file.populate(range).is_err());
    }
    file.commit(&[Granule { index: 99, length: GRANULE, crc: 0 }, Granule { index: 0, length: 3, crc: 0 }]).unwrap();
    assert!(file.granules().is_empty());
    assert!(!file.verify(&Granule { index: 99, length: GRANULE, crc: 0 }));
}

#[test]
fn an_empty_object_is_an_object() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let file = store.create(&id(), Meta::new("film", 0, 0)).unwrap();
    assert!(file.bytes(0..0).unwrap().is_empty() && file.is_resident(0..0));
    file.populate(0..0).unwrap();
    file.write_at(0, &[]).unwrap();
    drop(file);
    assert_eq!(store.load(&id()).unwrap().unwrap().meta.total, 0);
}

#[test]
fn what_was_populated_is_resident() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let total = 8 << 20;
    let file = store.create(&id(), Meta::new("film", total, 0)).unwrap();
    file.write_at(0, &vec![7; total as usize]).unwrap();
    for range in [0..total, 5..6, 4095..4097, total - 1..total] {
        file.populate(range.clone()).unwrap();
        // Windows does not tell.
        assert_eq!(file.is_resident(range.clone()), cfg!(unix), "{range:?}");
    }
}

#[test]
fn a_long_journal_starts_anew() {
    let root = tempfile::tempdir().unwrap();
    let total = 2000;
    let store = Store::open(root.path()).unwrap();
    let file = store.create(&id(), meta(total, 1)).unwrap();
    file.write_at(0, &[1; 2000]).unwrap();
    let granule = |index| Granule { index, length: 1, crc: checksum(0, &[1]) };
    let most: Vec<Granule> = (0..total - 1).map(granule).collect();
    for _ in 0..20 {
        file.commit(&most).unwrap();
    }
    let length = fs::metadata(folder(root.path()).join("map.1")).unwrap().len();
    assert!(length < 500_000, "{length}");
    file.forget(0).unwrap();
    file.commit(&[granule(total - 1)]).unwrap();
    drop(file);
    let granules = store.load(&id()).unwrap().unwrap().granules;
    assert_eq!(indexes(&granules), (1..total).collect::<Vec<_>>());
}

/// A full disk, as far as an ordinary user can have one: files may not grow beyond a kilobyte or two. The limit is set
/// by a shell that then becomes this very test.
#[cfg(unix)]
#[test]
fn a_full_disk_loses_nothing() {
    use crate::{Bounds, Records};

    const INSIDE: &str = "STORE_TEST_FULL_DISK";
    let Some(root) = std::env::var_os(INSIDE) else {
        let root = tempfile::tempdir().unwrap();
        // Through pipes: the limit holds for a log file that the output may be going to as well.
        let output = std::process::Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 2; exec \"$0\" --exact tests::a_full_disk_loses_nothing --nocapture"])
            .arg(std::env::current_exe().unwrap())
            .env(INSIDE, root.path())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
        return;
    };
    let root = PathBuf::from(root);
    let store = Store::open(&root.join("cache")).unwrap();
    let file = store.create(&id(), meta(500, 1)).unwrap();
    file.write_at(0, &[1; 500]).unwrap();
    let granule = |index| Granule { index, length: 1, crc: checksum(0, &[1]) };
    let batch = |number: u64| (number * 10..number * 10 + 10).map(granule).collect::<Vec<_>>();
    let committed = (0..50).take_while(|number| file.commit(&batch(*number)).is_ok()).count() as u64;
    assert!((1..50).contains(&committed), "{committed}");
    assert!(file.commit(&batch(committed)).unwrap_err().is_full());
    file.commit(&[]).unwrap();
    let kept = file.granules();
    assert!(store.create(&id(), meta(1 << 20, 64)).err().unwrap().is_full());
    file.update_meta(|meta| meta.accessed_ms = 5).unwrap();
    drop(file);
    let stored = store.load(&id()).unwrap().unwrap();
    assert_eq!(stored.granules, kept);
    assert_eq!((stored.granules.len() as u64, stored.meta.accessed_ms), (committed * 10, 5));
    assert!(stored.granules.iter().all(|granule| stored.file.verify(granule)));

    let records = Records::open(&root.join("records"), Bounds { max_bytes: 1 << 20, max_count: 9 }).unwrap();
    records.put("x", b"old").unwrap();
    assert!(records.put("x", &[0; 9000]).unwrap_err().is_full());
    assert_eq!(records.get("x").unwrap().unwrap(), b"old");
    assert_eq!(records.list().unwrap(), ["x"]);
}
