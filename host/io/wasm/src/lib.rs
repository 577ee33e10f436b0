//! Runs plugins: the adapter between the port (`core/plugin`) and WebAssembly components, and the only crate that names
//! wasmtime.
//!
//! Owns: the engine, compiled artifacts, the plugins folder, generations and their replacement, the limits of a call,
//! what a guest may import.
//! Leaves to others: what plans and layouts are used for, HTTP (a `Fetcher` is handed in), durable values (a `KeyValue`
//! is handed in).
//!
//! Invariants: a call runs from its first to its last instruction on one generation; an instance serves one call and is
//! dropped with its store; nothing a guest does ends anything but its own call; a generation that cannot be built
//! leaves the one before it serving.
//!
//! ```text
//! folder ──settle──► inspect ──► grants ──► artifact ──► pre-link ──► generation ──publish──► slot ◄──lease── call
//! ```

#[allow(
    unsafe_code,
    dead_code,
    unused_variables,
    clippy::all,
    reason = "generated; the parts not called are those of imports"
)]
mod bindings;

mod artifact;
mod call;
mod capability;
mod convert;
mod detector;
mod engine;
mod folder;
mod generation;
mod host;
mod inspect;
mod slot;
mod source;

pub use generation::Services;
pub use host::{Config, Host};
pub use inspect::{Inspection, inspect};
pub use slot::{Bundled, Event, Origin, State, Status};

/// Why the platform, or one plugin, could not be made ready.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The file is not a component that can be a plugin here. Trying again does not help.
    #[error("{0}")]
    NotAPlugin(String),
    /// The manifest is missing or says something that does not hold.
    #[error(transparent)]
    Manifest(#[from] plugin::manifest::ManifestError),
    /// The operator's file beside the plugin cannot be read.
    #[error("{file}: {why}")]
    Sidecar { file: String, why: String },
    /// Another file already provides this id.
    #[error("{file} has the id {id:?}, which {other} has already; remove one of them")]
    Twice { file: String, id: String, other: String },
    /// The component could not be compiled or linked.
    #[error("{0}")]
    Link(String),
    /// There is no plugin of this id.
    #[error("there is no plugin {0:?}")]
    Unknown(String),
    /// The plugin cannot be removed: it is part of the program.
    #[error("plugin {0:?} is part of the program and cannot be removed; it can be disabled")]
    Bundled(String),
    /// The file system refused.
    #[error("{what} {path}: {why}")]
    Disk { what: &'static str, path: String, why: String },
    /// The engine could not be made.
    #[error("the WebAssembly engine cannot start: {0}")]
    Engine(String),
}

impl Error {
    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Error::NotAPlugin(_) => "not-a-plugin",
            Error::Manifest(_) => "bad-manifest",
            Error::Sidecar { .. } => "bad-sidecar",
            Error::Twice { .. } => "plugin-twice",
            Error::Link(_) => "cannot-link",
            Error::Unknown(_) => "no-such-plugin",
            Error::Bundled(_) => "plugin-bundled",
            Error::Disk { .. } => "disk",
            Error::Engine(_) => "engine",
        }
    }

    fn disk(what: &'static str, path: &std::path::Path, why: std::io::Error) -> Self {
        Error::Disk { what, path: path.display().to_string(), why: why.to_string() }
    }
}
