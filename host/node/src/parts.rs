//! The one place where parts are made and joined, for a host that listens and for an engine within another program.
//!
//! Owns: why a part cannot be made.
//! Leaves to others: what is joined to what end ([`crate::host`], [`crate::engine`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::access::TokenError;
use crate::{data, embedded};

/// How often the plugins folder is looked at. With the 200 ms that a file must rest, a new plugin serves within a
/// second.
const PLUGINS_POLL: Duration = Duration::from_millis(200);
/// Bytes of one session's record: its address and the header fields it is fetched with.
const MAX_SESSION_BYTES: u64 = 1024 * 1024;

/// Why a host does not start. Each says what the operator can do.
#[derive(Debug, Error)]
pub enum Error {
    #[error(transparent)]
    Data(#[from] data::Error),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("{0}")]
    Listen(#[from] web::Error),
    #[error("net.ca_file {} cannot be read: {source}", path.display())]
    CaFile { path: PathBuf, source: std::io::Error },
    #[error("the client for upstream servers cannot be made: {0}")]
    Client(#[from] fetch::Error),
    #[error("{what} cannot be opened: {source}; mend {} or name another folder", path.display())]
    Store { what: &'static str, path: PathBuf, source: store::Error },
    #[error("the plugins cannot be started: {0}")]
    Plugins(#[from] wasm::Error),
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// The plugins that the binary carries, and those in a folder. `data_dir` takes what they keep and what they were compiled to.
pub async fn plugins(plugins_dir: &Path, data_dir: &Path, client: &fetch::Client) -> Result<Arc<wasm::Host>, Error> {
    let bundled = embedded::PLUGINS.iter().map(|(id, bytes)| wasm::Bundled { id, bytes });
    let kept = open("the plugins' store", &data_dir.join("kv"), store::Kv::open)?;
    let services = wasm::Services { fetcher: Arc::new(fetch::PluginFetcher::new(client.clone())), kv: Arc::new(kept) };
    let config = wasm::Config {
        plugins_dir: plugins_dir.to_owned(),
        cache_dir: data_dir.join("compiled"),
        bundled: bundled.collect(),
        poll: PLUGINS_POLL,
    };
    if let Err(error) = std::fs::create_dir_all(plugins_dir) {
        let folder = plugins_dir.display();
        tracing::warn!(%folder, %error, "the plugins folder cannot be made; only the bundled plugins serve");
    }
    Ok(wasm::Host::start(config, services).await?)
}

/// The cache in a folder.
pub fn cache(folder: &Path) -> Result<Arc<store::Store>, Error> {
    let store = open("the cache", folder, |path| match store::Store::open(path) {
        // What cannot be kept is played all the same.
        Err(error) if error.is_read_only() => {
            tracing::warn!(%error, "nothing can be written to the cache: films are played from memory, and nothing is kept");
            Ok(store::Store::nowhere(path))
        }
        opened => opened,
    });
    Ok(Arc::new(store?))
}

/// The records of sessions in a folder.
pub fn sessions(folder: &Path) -> Result<store::Records, Error> {
    let bounds = store::Bounds { max_bytes: MAX_SESSION_BYTES, max_count: proxy::MAX_SESSIONS as u64 };
    open("the list of sessions", folder, |path| store::Records::open(path, bounds))
}

fn open<T>(what: &'static str, path: &Path, open: impl Fn(&Path) -> Result<T, store::Error>) -> Result<T, Error> {
    open(path).map_err(|source| Error::Store { what, path: path.to_owned(), source })
}
