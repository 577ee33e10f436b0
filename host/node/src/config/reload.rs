//! What a change of the configuration means for a host that is running: all of it can be applied, or none of it is.

use thiserror::Error;

use super::keys::{KEYS, Reload};
use super::raw::Raw;
use super::resolve::value_of;

/// A key that cannot change while the host runs.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{key} cannot change while the host runs, because {why}; restart to apply it")]
pub struct Refused {
    pub key: &'static str,
    pub why: &'static str,
}

/// The keys whose value differs, all of which may change; or the first that may not.
pub fn changes(old: &Raw, new: &Raw) -> Result<Vec<&'static str>, Refused> {
    let value = |raw, name| value_of(raw, name).map(|given| given.value);
    let mut changed = Vec::new();
    for key in KEYS.iter().filter(|key| value(old, key.name) != value(new, key.name)) {
        match key.reload {
            Reload::Live => changed.push(key.name),
            Reload::Fixed(why) => return Err(Refused { key: key.name, why }),
        }
    }
    Ok(changed)
}
