//! The end-to-end tests: the real program, an origin that is not ours, and the loopback between them.
//!
//! One file per scenario; its head says why a smaller test would not do.
#![allow(clippy::unwrap_used, reason = "tests")]

mod access;
mod bad_input;
mod bad_start;
mod broken_line;
mod crash;
mod credentials;
mod cursors;
mod embedded;
mod example;
mod guests;
mod harness;
mod images;
mod manifests;
mod memory;
mod new_plugin;
mod play_audio;
mod players;
mod plays;
mod swap;
mod warmup;
