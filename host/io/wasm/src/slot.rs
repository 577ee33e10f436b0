//! The place of one plugin: which generation serves, and what people are told about it.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use plugin::{Failure, Kind};
use serde::Serialize;

use crate::generation::{Current, Generation};

/// A plugin that is part of the program.
pub struct Bundled {
    pub id: &'static str,
    pub bytes: &'static [u8],
}

/// Where the file of the serving generation came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Part of the program.
    Bundled,
    /// A file in the plugins folder.
    Folder,
}

/// Whether a plugin serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Serving,
    /// The operator switched it off.
    Disabled,
    /// No generation of it could be built.
    Failed,
    /// It was uploaded and waits to be enabled.
    Waiting,
}

/// What people are told about a plugin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Rises with each replacement.
    pub generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    pub state: State,
    pub origin: Origin,
    pub summary: String,
    pub schemes: Vec<String>,
    pub priority: i32,
    /// Interfaces granted: `fetch`, `kv`, `secrets`, `files`.
    pub grants: Vec<&'static str>,
    /// An uploaded version that waits to be enabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// What is wrong: with the plugin, or with the file that was meant to replace it.
    pub error: Option<String>,
}

/// What changed.
#[derive(Clone, Debug)]
pub enum Event {
    Changed(Status),
    Removed { id: String },
}

/// The place of one plugin.
pub struct Slot {
    pub id: String,
    current: Current,
    about: Mutex<About>,
}

struct About {
    origin: Origin,
    disabled: bool,
    waiting: Option<String>,
    error: Option<String>,
    /// The last generation's number, also when none serves.
    number: u64,
}

impl Slot {
    pub fn new(id: &str, origin: Origin) -> Slot {
        let about = About { origin, disabled: false, waiting: None, error: None, number: 0 };
        Slot { id: id.to_owned(), current: Current::default(), about: Mutex::new(about) }
    }

    /// The generation that serves right now; holding it keeps it alive while it is replaced.
    pub fn lease(&self) -> Result<Arc<Generation>, Failure> {
        self.current.get().ok_or_else(|| self.gone("it is switched off, removed or failed to load"))
    }

    pub fn current(&self) -> Option<Arc<Generation>> {
        self.current.get()
    }

    pub fn gone(&self, reason: &str) -> Failure {
        Failure::Gone { plugin: self.id.clone(), reason: reason.to_owned() }
    }

    /// The number that the next generation will have.
    pub fn next_number(&self) -> u64 {
        self.about().number + 1
    }

    /// New calls go to this generation from now on; running ones finish on the one they hold.
    pub fn publish(&self, generation: Arc<Generation>, origin: Origin) {
        let mut about = self.about();
        about.number = generation.number;
        about.origin = origin;
        about.disabled = false;
        about.error = None;
        drop(self.current.set(Some(generation)));
    }

    /// Nothing serves from now on.
    pub fn clear(&self, disabled: bool) {
        self.about().disabled = disabled;
        drop(self.current.set(None));
    }

    /// Remembers what is wrong. What serves goes on serving.
    pub fn complain(&self, error: Option<String>) {
        self.about().error = error;
    }

    pub fn wait(&self, version: Option<String>) {
        self.about().waiting = version;
    }

    pub fn status(&self) -> Status {
        let current = self.current.get();
        let about = self.about();
        let manifest = current.as_ref().map(|generation| &generation.manifest);
        let state = match (&current, about.disabled, &about.waiting, &about.error) {
            (Some(_), ..) => State::Serving,
            (None, true, ..) => State::Disabled,
            (None, false, Some(_), None) => State::Waiting,
            (None, false, ..) => State::Failed,
        };
        Status {
            id: self.id.clone(),
            version: manifest.map(|manifest| manifest.version.clone()),
            kind: manifest.map(|manifest| manifest.kind),
            generation: about.number,
            sha256: current.as_ref().map(|generation| generation.sha256.clone()),
            state,
            origin: about.origin,
            summary: manifest.map(|manifest| manifest.summary.clone()).unwrap_or_default(),
            schemes: manifest.map(|manifest| manifest.schemes.clone()).unwrap_or_default(),
            priority: manifest.map_or(0, |manifest| manifest.priority),
            grants: current.as_ref().map_or_else(Vec::new, |generation| granted(generation)),
            waiting: about.waiting.clone(),
            error: about.error.clone(),
        }
    }

    /// Runs a call and counts how it went and how long it took.
    pub async fn counted<T>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let begun = Instant::now();
        let result = call.await;
        let code = result.as_ref().err().map_or("ok", |failure| match failure {
            Failure::Answer { .. } => "answer",
            Failure::Fault { .. } => "fault",
            Failure::Gone { .. } => "gone",
        });
        let labels = [("plugin", self.id.clone()), ("method", method.to_owned()), ("result", code.to_owned())];
        metrics::counter!("mediahost_plugin_calls_total", &labels).increment(1);
        metrics::histogram!("mediahost_plugin_call_seconds", &labels[..2]).record(begun.elapsed().as_secs_f64());
        if let Err(failure @ Failure::Fault { .. }) = &result {
            tracing::warn!(method, %failure, "a plugin lost its instance");
        }
        result
    }

    /// Short and synchronous; a holder cannot panic, so the lock cannot be poisoned in a way that matters.
    fn about(&self) -> std::sync::MutexGuard<'_, About> {
        self.about.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn granted(generation: &Generation) -> Vec<&'static str> {
    let grants = &generation.grants;
    let all = [
        ("fetch", grants.fetch.is_some()),
        ("kv", grants.kv),
        ("secrets", grants.secrets),
        ("files", !grants.roots.is_empty()),
    ];
    all.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
}
