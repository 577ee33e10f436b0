//! The configuration: read raw from file, environment and flags, then resolved into what the program uses.
//!
//! Owns: the names of all keys, their defaults and units ([`keys`]), the order in which the layers win ([`raw`]), the
//! checks ([`resolve`]), what may change while the host runs ([`reload`]), and how it all is printed ([`print`]).
//! Leaves to others: what the values do.
//!
//! Invariant: a [`Config`] that exists has passed every check that needs no socket and no disk; a key that is not in
//! [`keys::KEYS`] is refused, wherever it was written.

pub mod keys;
pub mod print;
pub mod raw;
pub mod reload;
pub mod resolve;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use thiserror::Error;

pub use raw::{Inputs, Origin, Raw};
pub use resolve::Config;

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "mediahost.toml";
/// What environment variables of this program begin with; `__` stands for the dot in a key.
pub const ENV_PREFIX: &str = "MEDIAHOST_";

/// Why a configuration is refused. Each is the operator's to mend, and trying again without a change does not help.
#[derive(Debug, Error)]
pub enum Error {
    #[error("the configuration file {} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the configuration file {} is not valid TOML: {why}", path.display())]
    Syntax { path: PathBuf, why: String },
    #[error("there is no key {key} ({origin}){}", .nearest.as_ref().map(|near| format!("; did you mean {near}?")).unwrap_or_default())]
    Unknown { key: String, origin: Origin, nearest: Option<String> },
    #[error("{key} ({origin}) {why}")]
    Value { key: &'static str, origin: Origin, why: String },
    #[error("there is no home folder to keep data in: set data_dir, or HOME")]
    NoDataDir,
}

/// Reads all layers and resolves them.
pub fn load(inputs: &Inputs) -> Result<(Config, Raw), Error> {
    let raw = raw::read(inputs)?;
    let config = resolve::resolve(&raw, &inputs.env)?;
    Ok((config, raw))
}
