//! What outlives the process.

use proxy::State;

use crate::origin::Origin;
use crate::{DEADLINE, Engine, media, proxy, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_and_bytes_are_there_again() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), media(2_000_000));
    let origin = Origin::of(bytes.clone()).await;
    let engine = Engine::start(dir.path());
    let session = engine.ready(&origin.url).await;
    assert!(engine.range(&session, "bytes=0-1499999").await.bytes == bytes[..1_500_000]);
    let id = session.id();
    // What is on its way when the process ends is lost; here nothing is.
    let stats = format!("/api/v1/sessions/{id}/stats");
    let begun = std::time::Instant::now();
    while engine.ask("GET", &stats, &[], "").await.json()["active_workers"] != 0 {
        assert!(begun.elapsed() < DEADLINE);
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    engine.proxy.shutdown().await;
    drop((engine, session));

    let sent = origin.sent();
    let engine = reopened(dir.path()).await;
    let session = engine.proxy.session(id).expect("the session is still known");
    until(&session, State::Ready).await;
    assert_eq!(session.facts().container.as_deref(), Some("test"));
    assert!(engine.whole(&session).await.bytes == bytes);
    assert_eq!(origin.sent(), 2_000_000, "only what was missing was fetched; before the restart it was {sent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cached_plays_without_the_upstream() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), media(400_000));
    let origin = Origin::of(bytes.clone()).await;
    let engine = Engine::start(dir.path());
    let session = engine.ready(&origin.url).await;
    assert!(engine.whole(&session).await.bytes == bytes);
    let (id, url) = (session.id(), origin.url.clone());
    engine.proxy.shutdown().await;
    drop((engine, session, origin));

    let engine = reopened(dir.path()).await;
    let session = engine.proxy.session(id).unwrap();
    until(&session, State::Ready).await;
    assert!(engine.whole(&session).await.bytes == bytes);
    assert!(engine.whole(&*engine.ready(&url).await).await.bytes == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_byte_that_rotted_on_the_disk_is_fetched_again() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), media(400_000));
    let origin = Origin::of(bytes.clone()).await;
    let engine = Engine::start(dir.path());
    let session = engine.ready(&origin.url).await;
    assert!(engine.whole(&session).await.bytes == bytes);
    engine.proxy.shutdown().await;
    drop((engine, session));

    let data = find(&dir.path().join("cache"), "data.");
    let mut rotten = std::fs::read(&data).unwrap();
    rotten[200_000] ^= 1;
    std::fs::write(&data, &rotten).unwrap();
    let sent = origin.sent();
    let engine = reopened(dir.path()).await;
    let session = engine.ready(&origin.url).await;
    let reads = futures_util::future::join_all((0..12).map(|_| engine.whole(&session))).await;
    assert!(reads.iter().all(|read| !read.short && read.bytes == bytes));
    assert_eq!(origin.sent() - sent, 64 << 10, "one granule, once");
}

/// Opens the folder as soon as the last owner has let go of it.
pub async fn reopened(dir: &std::path::Path) -> Engine {
    let begun = std::time::Instant::now();
    loop {
        match store::Store::open(&dir.join("cache")) {
            Ok(store) => {
                drop(store);
                return Engine::start(dir);
            }
            Err(error) => assert!(begun.elapsed() < DEADLINE, "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

fn find(dir: &std::path::Path, prefix: &str) -> std::path::PathBuf {
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().unwrap().to_string_lossy().starts_with(prefix) {
                return path;
            }
        }
    }
    panic!("no {prefix} below {}", dir.display());
}
