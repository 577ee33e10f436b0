//! The host, put together: configuration in, a running [`Host`] out. The binary `mediahost` is this crate's
//! [`cli::main`]; a program that wants to play media by itself makes an [`Engine`], which needs no configuration, no port
//! and no runtime of its own.
//!
//! Owns: configuration, access, the data folder, the doors that no service owns, the log, signals, the command line.
//! Leaves to others: everything that the host does for its users (`host/service`), and how (`host/io`, `host/core`).
//!
//! Invariant: parts are made in [`parts`] and nowhere else; no other crate knows this one.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use mediahost::{Host, Settings, config::Inputs};
//! let settings = Settings::load(Inputs::of_this_process(None))?;
//! let host = Host::start(settings).await?;
//! println!("{}", host.sign_in_link()?);
//! host.run_until(async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await;
//! # Ok(()) }
//! ```

pub mod access;
pub mod cli;
pub mod config;
pub mod data;
mod doors;
mod embedded;
pub mod engine;
pub mod host;
pub mod logging;
mod metrics;
pub mod parts;
mod reload;

pub use doors::document as openapi;
pub use engine::Engine;
pub use host::{Host, Settings};
