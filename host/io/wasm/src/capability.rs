//! What a guest finds when it imports `mediahost:host`: one implementation per interface, each looking only at what was
//! granted to the generation that is being called.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plugin::{code, host::KeyValue};
use wasmtime::component::{Accessor, HasSelf};

use crate::bindings::media_source::mediahost::host::{
    clock, config, fetch, fetch_types, kv, log, secrets,
    types::{self, Error},
};
use crate::bindings::media_source_sync::mediahost::host::fetch_sync;
use crate::call::CallState;
use crate::convert;

/// Messages of one call, at most.
const MAX_MESSAGES: u32 = 64;
/// Bytes of one message, at most.
const MAX_MESSAGE: usize = 4096;
/// Fields of one message, at most.
const MAX_FIELDS: usize = 16;

type Result<T> = std::result::Result<T, Error>;

impl types::Host for CallState {}
impl fetch_types::Host for CallState {}

impl log::Host for CallState {
    fn write(&mut self, level: log::Level, message: String, fields: Vec<(String, String)>) {
        self.logged += 1;
        if self.logged > MAX_MESSAGES {
            metrics::counter!("mediahost_plugin_log_dropped_total", "plugin" => self.generation.manifest.id.clone())
                .increment(1);
            return;
        }
        let message = cut(&message);
        let fields: Vec<String> = fields.iter().take(MAX_FIELDS).map(|(k, v)| format!("{k}={}", cut(v))).collect();
        let (plugin, generation) = (self.generation.manifest.id.as_str(), self.generation.number);
        let fields = fields.join(" ");
        match level {
            log::Level::Trace => tracing::trace!(plugin, generation, fields, "{message}"),
            log::Level::Debug => tracing::debug!(plugin, generation, fields, "{message}"),
            log::Level::Info => tracing::info!(plugin, generation, fields, "{message}"),
            log::Level::Warn => tracing::warn!(plugin, generation, fields, "{message}"),
            log::Level::Error => tracing::error!(plugin, generation, fields, "{message}"),
        }
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_MESSAGE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

impl config::Host for CallState {
    fn get(&mut self, key: String) -> Option<String> {
        self.generation.config.get(&key).map(|value| match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    }

    fn all(&mut self) -> String {
        serde_json::Value::Object(self.generation.config.clone()).to_string()
    }
}

impl secrets::Host for CallState {
    fn get(&mut self, name: String) -> Result<Option<String>> {
        if !self.generation.grants.secrets {
            return Err(refused("secrets"));
        }
        Ok(self.generation.secrets.get(&name).cloned())
    }
}

impl clock::Host for CallState {
    fn now(&mut self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
    }
}

impl kv::Host for CallState {
    async fn get(&mut self, key: String) -> Result<Option<Vec<u8>>> {
        self.keep(move |kv, plugin, _| kv.get(plugin, &key)).await
    }

    async fn set(&mut self, key: String, value: Vec<u8>) -> Result<()> {
        self.keep(move |kv, plugin, quota| kv.set(plugin, &key, &value, quota)).await
    }

    async fn delete(&mut self, key: String) -> Result<()> {
        self.keep(move |kv, plugin, _| kv.delete(plugin, &key)).await
    }

    async fn keys(&mut self, prefix: String) -> Result<Vec<String>> {
        self.keep(move |kv, plugin, _| kv.keys(plugin, &prefix)).await
    }
}

impl CallState {
    /// Uses the key-value store where blocking on the disk is allowed.
    async fn keep<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&dyn KeyValue, &str, u64) -> std::result::Result<T, plugin::Error> + Send + 'static,
    ) -> Result<T> {
        if !self.generation.grants.kv {
            return Err(refused("kv"));
        }
        let generation = self.generation.clone();
        tokio::task::spawn_blocking(move || {
            work(&*generation.services.kv, &generation.manifest.id, generation.limits.kv_bytes)
        })
        .await
        .unwrap_or_else(|_| Err(plugin::Error::new(code::INTERNAL, "the key-value store failed")))
        .map_err(convert::error_to_guest)
    }

    /// Counts a request against the call's limit and says how it is to be sent.
    fn admit(
        &mut self,
        request: fetch_types::Request,
    ) -> Result<impl Future<Output = Result<fetch_types::Response>> + use<>> {
        let Some(rules) = self.generation.grants.fetch.clone() else { return Err(refused("fetch")) };
        let limits = &self.generation.limits;
        if self.fetches >= limits.fetches {
            let message = format!("this call has made its {} requests", limits.fetches);
            return Err(convert::error_to_guest(plugin::Error::new(code::QUOTA, message)));
        }
        self.fetches += 1;
        let request = convert::request(request, limits.fetch_bytes, limits.wall_ms);
        let sent = self.generation.services.fetcher.send(request, rules);
        Ok(async move { sent.await.map(convert::response).map_err(convert::error_to_guest) })
    }
}

impl fetch::Host for CallState {}

impl fetch::HostWithStore<CallState> for HasSelf<CallState> {
    async fn send(
        accessor: &Accessor<CallState, Self>,
        request: fetch_types::Request,
    ) -> Result<fetch_types::Response> {
        let sent = accessor.with(|mut store| store.get().admit(request))?;
        sent.await
    }
}

impl fetch_sync::Host for CallState {
    async fn send(&mut self, request: fetch_types::Request) -> Result<fetch_types::Response> {
        self.admit(request)?.await
    }
}

fn refused(interface: &str) -> Error {
    let message = format!(
        "{interface} was not granted to this plugin; its manifest asks for it in \"wants\" and the operator grants it"
    );
    convert::error_to_guest(plugin::Error::new(code::REFUSED, message))
}
