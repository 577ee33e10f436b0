//! A plugin is replaced while it is being called: no call fails, and each runs on one generation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{Platform, changed, first_party};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_notices() {
    let wasm = first_party("source-http");
    let platform = Arc::new(Platform::with(&[("source-http.wasm", wasm.clone())], Vec::new()).await);
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (platform, stop, calls) = (platform.clone(), stop.clone(), calls.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    platform.open("http://example.org/film.mp4").await.unwrap();
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 0..5u8 {
        let before = platform.host.status("source-http").unwrap().generation;
        platform.put("source-http.wasm", &changed(&wasm, round));
        platform.until("source-http", |status| status.generation > before).await;
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(calls.load(Ordering::Relaxed) > 100);
}
