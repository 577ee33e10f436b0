//! The parts of which the end-to-end tests are made: films, an origin, a line to it, the host as a process, a client.
//!
//! Owns: starting each part, waiting until it is ready, ending it when it is dropped.
//! Leaves to others: what is promised (`tests/all`, one scenario per file).
//!
//! Invariant: nothing outlives the test that started it, every wait has a deadline, every port is chosen by the system,
//! and nothing is reached outside this machine and the networks that it makes for itself.
#![allow(clippy::unwrap_used, reason = "a part of a test that fails fails the test")]

pub mod away;
pub mod host;
pub mod http;
pub mod images;
pub mod manifests;
pub mod media;
pub mod nginx;
mod process;
mod random;
pub mod relay;
pub mod server;
pub mod songs;
pub mod synthetic;
pub mod tap;
pub mod variants;
mod wait;
pub mod wasm;

pub use away::Away;
pub use host::{Home, Host};
pub use nginx::Nginx;
pub use process::{Memory, allocated};
pub use random::{Random, rounds};
pub use relay::Relay;
pub use server::Server;
pub use tap::Tap;
pub use wait::{until, within};

use std::path::PathBuf;

/// The root of the repository.
pub fn root() -> PathBuf {
    std::path::absolute(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).unwrap().canonicalize().unwrap()
}
