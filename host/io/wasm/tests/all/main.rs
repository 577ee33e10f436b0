//! The platform against real components: guests that misbehave (`tests/guests`), and files that come, change and go.
//!
//! The components are built by `make guests plugins` into `target/guests` and `target/plugins`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod detectors;
mod folder;
mod guests;
mod swap;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mediahost_wasm::{Bundled, Config, Host, Services};
use plugin::grant::FetchRules;
use plugin::host::{Fetcher, KeyValue, Request, Response};
use plugin::source::{MediaSource, Open, Opened};
use plugin::{BoxFuture, Error, Plugins};

const DEADLINE: Duration = Duration::from_secs(60);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

/// A guest's component.
fn guest(id: &str) -> Vec<u8> {
    read(&format!("target/guests/{id}.wasm"))
}

/// A first-party plugin's component.
fn first_party(id: &str) -> Vec<u8> {
    read(&format!("target/plugins/{id}.wasm"))
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}; run `make plugins guests`"))
}

/// The same component with another hash: a custom section more at its end.
fn changed(wasm: &[u8], mark: u8) -> Vec<u8> {
    let mut wasm = wasm.to_vec();
    wasm.extend_from_slice(&[0, 3, 1, b'm', mark]);
    wasm
}

/// A host over a folder of its own.
struct Platform {
    host: Arc<Host>,
    plugins: PathBuf,
    _dir: tempfile::TempDir,
}

impl Platform {
    async fn with(files: &[(&str, Vec<u8>)], bundled: Vec<Bundled>) -> Platform {
        let dir = tempfile::tempdir().unwrap();
        let plugins = dir.path().join("plugins");
        std::fs::create_dir(&plugins).unwrap();
        for (name, bytes) in files {
            std::fs::write(plugins.join(name), bytes).unwrap();
        }
        let config = Config {
            plugins_dir: plugins.clone(),
            cache_dir: dir.path().join("compiled"),
            bundled,
            poll: Duration::from_millis(20),
        };
        let services = Services { fetcher: Arc::new(Never), kv: Arc::new(Shelf::default()) };
        let host = Host::start(config, services).await.unwrap();
        Platform { host, plugins, _dir: dir }
    }

    async fn of_guest(id: &str) -> Platform {
        Platform::with(&[(&format!("{id}.wasm"), guest(id))], Vec::new()).await
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.plugins.join(name), bytes).unwrap();
    }

    fn source(&self, scheme: &str) -> Arc<dyn MediaSource> {
        let sources = self.host.sources(scheme);
        sources.into_iter().next().unwrap_or_else(|| panic!("no source for {scheme}: {:#?}", self.host.list()))
    }

    async fn open(&self, uri: &str) -> Result<Opened, plugin::Failure> {
        let scheme = uri.split(':').next().unwrap();
        self.source(scheme).open(Open { uri: uri.into(), headers: Vec::new(), purpose: "check" }).await
    }

    /// Waits until the listing of a plugin satisfies `good`.
    async fn until(&self, id: &str, good: impl Fn(&mediahost_wasm::Status) -> bool) -> mediahost_wasm::Status {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.host.status(id).filter(|status| good(status)) {
                return status;
            }
            assert!(begun.elapsed() < DEADLINE, "{id} did not come to it: {:#?}", self.host.status(id));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// An upstream that never answers.
struct Never;

impl Fetcher for Never {
    fn send(&self, request: Request, rules: FetchRules) -> BoxFuture<'static, Result<Response, Error>> {
        Box::pin(async move {
            if request.url.contains("answers") && rules.allows_host("answers.example") {
                return Ok(Response { status: 200, url: request.url, headers: Vec::new(), body: b"hello".to_vec() });
            }
            std::future::pending().await
        })
    }
}

/// A key-value store in memory.
#[derive(Default)]
struct Shelf(Mutex<BTreeMap<String, Vec<u8>>>);

impl KeyValue for Shelf {
    fn get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.lock().unwrap().get(&format!("{plugin}/{key}")).cloned())
    }

    fn set(&self, plugin: &str, key: &str, value: &[u8], _quota: u64) -> Result<(), Error> {
        self.0.lock().unwrap().insert(format!("{plugin}/{key}"), value.to_vec());
        Ok(())
    }

    fn delete(&self, plugin: &str, key: &str) -> Result<(), Error> {
        self.0.lock().unwrap().remove(&format!("{plugin}/{key}"));
        Ok(())
    }

    fn keys(&self, _plugin: &str, _prefix: &str) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }
}
