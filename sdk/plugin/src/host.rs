//! What a plugin may ask of the host that runs it.
//!
//! In a component each method calls the interface of the same name in `wit/host`. Natively a [`Script`] answers.
//! A capability that was not granted answers with the error code `refused`; it never traps.

#[cfg(target_arch = "wasm32")]
use crate::bindings::media_source::mediahost::host as imports;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::{Script, State};
use crate::{Error, Level, Request, Response};

/// The host.
#[cfg_attr(not(target_arch = "wasm32"), derive(Default))]
pub struct Host {
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) state: std::cell::RefCell<State>,
    #[cfg(target_arch = "wasm32")]
    _private: (),
}

#[cfg(not(target_arch = "wasm32"))]
impl Host {
    /// A host that answers as the test says, and refuses what the test says nothing about.
    pub fn scripted() -> Script {
        Script::default()
    }

    /// Writes a message for the operator, with values beside it.
    pub fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        self.state.borrow_mut().log(level, message, fields);
    }

    /// The value of a setting: a text as it is, anything else as JSON. None when it is not set and has no default.
    pub fn config(&self, key: &str) -> Option<String> {
        self.state.borrow().config.get(key).cloned()
    }

    /// A credential that the operator entrusted to this plugin.
    pub fn secret(&self, name: &str) -> Result<Option<String>, Error> {
        Ok(self.state.borrow().secrets.get(name).cloned())
    }

    /// The value that was kept under a key.
    pub fn kv_get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.state.borrow().kv.get(key).cloned())
    }

    /// Keeps a value, at most 64 KiB, under a key of at most 256 bytes. It is on the disk when this returns.
    pub fn kv_set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.state.borrow_mut().kv.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// Forgets a value. Forgetting what is not there succeeds.
    pub fn kv_delete(&self, key: &str) -> Result<(), Error> {
        self.state.borrow_mut().kv.remove(key);
        Ok(())
    }

    /// All keys that begin with `prefix`, sorted.
    pub fn kv_keys(&self, prefix: &str) -> Result<Vec<String>, Error> {
        Ok(self.state.borrow().kv.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
    }

    /// Milliseconds since 1970. Ask here and not elsewhere, so that a recorded call can be replayed.
    pub fn now_ms(&self) -> u64 {
        self.state.borrow().now_ms
    }

    /// Sends a request and waits for its answer. A status of 400 and above is an answer, not an error: see
    /// [`Response::success`]. For pages, manifests and APIs; media goes into a plan.
    pub async fn fetch(&self, request: Request) -> Result<Response, Error> {
        self.state.borrow_mut().fetch(request)
    }
}

#[cfg(target_arch = "wasm32")]
impl Host {
    pub(crate) fn imported() -> Self {
        Self { _private: () }
    }

    pub fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        let fields: Vec<_> = fields.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        imports::log::write(level, message, &fields);
    }

    pub fn config(&self, key: &str) -> Option<String> {
        imports::config::get(key)
    }

    pub fn secret(&self, name: &str) -> Result<Option<String>, Error> {
        imports::secrets::get(name)
    }

    pub fn kv_get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        imports::kv::get(key)
    }

    pub fn kv_set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        imports::kv::set(key, value)
    }

    pub fn kv_delete(&self, key: &str) -> Result<(), Error> {
        imports::kv::delete(key)
    }

    pub fn kv_keys(&self, prefix: &str) -> Result<Vec<String>, Error> {
        imports::kv::keys(prefix)
    }

    pub fn now_ms(&self) -> u64 {
        imports::clock::now()
    }

    pub async fn fetch(&self, request: Request) -> Result<Response, Error> {
        imports::fetch::send(request).await
    }
}

impl Host {
    /// Writes a message of level `info`.
    pub fn info(&self, message: &str) {
        self.log(Level::Info, message, &[]);
    }

    /// Writes a message of level `warn`.
    pub fn warn(&self, message: &str) {
        self.log(Level::Warn, message, &[]);
    }
}
