//! What is kept, what goes, and what happens when the disk takes nothing.

use std::any::Any;
use std::ffi::OsString;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use proxy::Bounds;
use store::{Disk, DiskFile, RealDisk, Size};

use super::*;
use crate::origin::Origin;

const MIB: u64 = 1 << 20;

fn bounded(quota: u64) -> Config {
    Config { bounds: Bounds { quota: Some(quota), keep_free: 0 }, ..Config::default() }
}

/// What the files of the cache take.
fn taken(engine: &Engine) -> u64 {
    engine.disk()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_film_goes_when_there_is_no_room_for_another() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::with(dir.path(), bounded(9 * MIB), Arc::new(RealDisk));
    let mut films = Vec::new();
    for number in 0..4 {
        let bytes: Vec<u8> = media(3 * MIB as usize).iter().map(|byte| byte ^ number).collect();
        let origin = Origin::of(bytes.clone()).await;
        let session = engine.ready(&origin.url).await;
        assert!(engine.whole(&session).await.bytes == bytes, "film {number}");
        engine.proxy.close(session.id()).await;
        films.push((origin, bytes));
    }
    assert!(taken(&engine) <= 9 * MIB + MIB / 2, "{}", taken(&engine));
    // The last one is still there, the first one is fetched again.
    for (number, (origin, bytes)) in films.iter().enumerate().rev() {
        let before = origin.sent();
        let session = engine.ready(&origin.url).await;
        assert!(engine.whole(&session).await.bytes == *bytes);
        let fetched = origin.sent() - before;
        match number {
            3 => assert!(fetched < MIB, "film 3 was fetched again: {fetched}"),
            0 => assert!(fetched > 2 * MIB, "film 0 was still there: {fetched}"),
            _ => {}
        }
        engine.proxy.close(session.id()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_larger_than_the_quota_plays_and_what_was_played_goes() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { read_ahead_bytes: 4 * MIB, ..bounded(24 * MIB) };
    let engine = Engine::with(dir.path(), config, Arc::new(RealDisk));
    let bytes = media(64 * MIB as usize);
    let origin = Origin::of(bytes.clone()).await;
    let session = engine.ready(&origin.url).await;
    assert!(engine.whole(&session).await.bytes == bytes);
    assert!(taken(&engine) <= 25 * MIB, "{} {:?}", taken(&engine), engine.proxy.disk());
    assert_eq!(engine.stats(&session).await["memory_bytes"], 0, "there was always something to evict");
    // Again, with parts of it there and others not, from several places at once.
    let ranges = [(0, 3 * MIB), (40 * MIB, 46 * MIB), (61 * MIB, 64 * MIB), (20 * MIB, 21 * MIB)];
    let read = async |(from, to): (u64, u64)| {
        let answered = engine.range(&session, &format!("bytes={from}-{}", to - 1)).await;
        assert!(answered.bytes == bytes[from as usize..to as usize], "{from}");
    };
    let reads = ranges.map(read);
    futures_util::future::join_all(reads).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lowered_quota_takes_effect_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::with(dir.path(), bounded(64 * MIB), Arc::new(RealDisk));
    let origin = Origin::of(media(12 * MIB as usize)).await;
    let session = engine.ready(&origin.url).await;
    engine.whole(&session).await;
    engine.proxy.close(session.id()).await;
    assert!(taken(&engine) >= 12 * MIB);
    engine.proxy.set_bounds(Bounds { quota: Some(4 * MIB), keep_free: 0 });
    when(|| taken(&engine) <= 4 * MIB, || format!("eviction: {} are taken", taken(&engine))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_files_stay_within_the_quota_too() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::with(dir.path(), bounded(MIB), Arc::new(RealDisk));
    let mut bytes = media(3000);
    let origin = Origin::of(bytes.clone()).await;
    for number in 0..150u8 {
        bytes[0] = number;
        origin.change(|behaviour| behaviour.bytes = Arc::new(bytes.clone()));
        let session = engine.ready(&origin.url.replace("film", &format!("film-{number}"))).await;
        assert!(engine.whole(&session).await.bytes == bytes);
        engine.proxy.close(session.id()).await;
    }
    // Each of them takes a block, and its record and journal take two more.
    let really = |used: u64| used <= MIB + MIB / 8;
    when(|| really(engine.everything()), || format!("{} bytes in the folder", engine.everything())).await;
    assert!(engine.everything() > MIB / 4, "some of them are still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_nobody_may_write_to_costs_the_cache_and_not_the_film() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::over(dir.path(), Config::default(), Store::nowhere(&dir.path().join("cache")));
    let bytes = media(5 * MIB as usize);
    let origin = Origin::of(bytes.clone()).await;
    let session = engine.ready(&origin.url).await;
    assert!(engine.whole(&session).await.bytes == bytes);
    assert!(!dir.path().join("cache").exists());
}

/// The real disk, that can be full or broken.
#[derive(Default)]
struct Moody {
    /// Bytes that are still taken.
    left: AtomicU64,
    read_only: AtomicBool,
}

struct MoodyFile(Arc<dyn DiskFile>, Arc<Moody>);

/// One disk and its mood.
struct MoodyDisk(Arc<Moody>);

impl Moody {
    fn writes(&self, bytes: u64) -> io::Result<()> {
        if self.read_only.load(Relaxed) {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let spent = self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(bytes));
        spent.map(drop).map_err(|_| io::ErrorKind::StorageFull.into())
    }
}

impl Disk for MoodyDisk {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        self.0.writes(0)?;
        RealDisk.make_folder(folder)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        RealDisk.list(folder)
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        RealDisk.sync_folder(folder)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        RealDisk.lock(path)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.0.writes(0)?;
        Ok(Arc::new(MoodyFile(RealDisk.create(path)?, self.0.clone())))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(MoodyFile(RealDisk.open(path)?, self.0.clone())))
    }
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        RealDisk.read(path, limit)
    }
    fn size(&self, path: &Path) -> io::Result<Size> {
        RealDisk.size(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.writes(0)?;
        RealDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.writes(0)?;
        RealDisk.remove_file(path)
    }
    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        self.0.writes(0)?;
        RealDisk.remove_folder(folder)
    }
    fn free(&self, folder: &Path) -> io::Result<u64> {
        RealDisk.free(folder)
    }
}

impl DiskFile for MoodyFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.1.writes(bytes.len() as u64)?;
        self.0.write_at(offset, bytes)
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buffer)
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.1.writes(0)?;
        self.0.set_len(length)
    }
    fn size(&self) -> io::Result<Size> {
        self.0.size()
    }
    fn sync(&self) -> io::Result<()> {
        self.1.writes(0)?;
        self.0.sync()
    }
    fn punch(&self, range: std::ops::Range<u64>) -> io::Result<()> {
        self.1.writes(0)?;
        self.0.punch(range)
    }
    fn mappable(&self) -> Option<&Arc<std::fs::File>> {
        self.0.mappable()
    }
}

fn moody(left: u64) -> (Arc<Moody>, Arc<dyn Disk>) {
    let mood = Arc::new(Moody { left: AtomicU64::new(left), read_only: AtomicBool::new(false) });
    (mood.clone(), Arc::new(MoodyDisk(mood)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_goes_on_when_the_disk_is_full_and_is_kept_again_when_it_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (mood, disk) = moody(5 * MIB + 12_345);
    let engine = Engine::with(dir.path(), Config::default(), disk);
    let bytes = media(80 * MIB as usize);
    let origin = Origin::of(bytes.clone()).await;
    let session = engine.ready(&origin.url).await;
    let whole = engine.whole(&session).await;
    assert!(whole.bytes == bytes && !whole.short, "{} of {}", whole.bytes.len(), bytes.len());
    assert_eq!(session.state(), State::Ready);
    let stats = engine.stats(&session).await;
    let memory = stats["memory_bytes"].as_u64().unwrap();
    assert!(memory > 0 && memory <= 48 * MIB, "{stats}");
    // Back to places that are on the disk, in memory, and gone.
    for from in [0, 4 * MIB, 6 * MIB, 40 * MIB, 79 * MIB] {
        let answered = engine.range(&session, &format!("bytes={from}-{}", from + MIB - 1)).await;
        assert!(answered.bytes == bytes[from as usize..(from + MIB) as usize], "{from}");
    }
    mood.left.store(1 << 40, Relaxed);
    // The disk is looked at again after a while.
    let kept = taken(&engine);
    assert!(kept <= 6 * MIB, "{kept}");
    when_async(async || engine.whole(&session).await.bytes == bytes && taken(&engine) > kept + 10 * MIB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_plays_though_nothing_can_be_written_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (mood, disk) = moody(1 << 40);
    let engine = Engine::with(dir.path(), Config::default(), disk);
    mood.read_only.store(true, Relaxed);
    let bytes = media(70 * MIB as usize);
    let origin = Origin::of(bytes.clone()).await;
    let session = engine.ready(&origin.url).await;
    for _ in 0..2 {
        let whole = engine.whole(&session).await;
        assert!(whole.bytes == bytes && !whole.short, "{} of {}", whole.bytes.len(), bytes.len());
    }
    assert_eq!(session.state(), State::Ready);
    assert_eq!(taken(&engine), 0);
}
