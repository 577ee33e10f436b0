//! The host, put together: configuration in, a running [`Engine`] out. The binary `mediahost` is this crate's
//! [`cli::main`]; a program that wants the host within itself starts an [`Engine`].
//!
//! Owns: configuration, access, the data folder, the doors that no service owns, the log, signals, the command line.
//! Leaves to others: everything that the host does for its users (`host/service`), and how (`host/io`, `host/core`).
//!
//! Invariant: parts are joined in [`engine`] and nowhere else; no other crate knows this one.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use mediahost::{Engine, Settings, config::Inputs};
//! let settings = Settings::load(Inputs::of_this_process(None))?;
//! let engine = Engine::start(settings).await?;
//! println!("{}", engine.sign_in_link()?);
//! engine.run_until(async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await;
//! # Ok(()) }
//! ```

pub mod access;
pub mod cli;
pub mod config;
pub mod data;
mod doors;
mod embedded;
pub mod engine;
pub mod logging;
mod metrics;
mod reload;

pub use doors::document as openapi;
pub use engine::{Engine, Settings};
