//! Small values for plugins: one record per plugin, written as a whole at each change.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Mutex;

use cache::granule::checksum;
use plugin::host::KeyValue;
use plugin::{Error as Refusal, code};

use crate::object::lock;
use crate::{Bounds, Error, Records};

/// Longest key, bytes.
pub const MAX_KEY: usize = 256;
/// Longest value, bytes.
pub const MAX_VALUE: usize = 64 * 1024;
/// What one plugin may keep at most, whatever it was granted; bytes of its record.
const MAX_RECORD: u64 = 64 << 20;
/// Plugins that may keep something.
const MAX_PLUGINS: u64 = 1024;

type Values = BTreeMap<String, Vec<u8>>;

/// The values of all plugins, read once and kept in memory.
pub struct Kv {
    records: Records,
    /// Held while a record is written, which makes changes of different plugins wait for each other. They are rare.
    plugins: Mutex<HashMap<String, Values>>,
}

impl Kv {
    /// Opens the folder with the values, which is made if it is not there.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let bounds = Bounds { max_bytes: MAX_RECORD, max_count: MAX_PLUGINS };
        Ok(Self { records: Records::open(folder, bounds)?, plugins: Mutex::new(HashMap::new()) })
    }

    /// Does something with the values of a plugin. A plugin that keeps nothing is not remembered.
    fn with<T>(&self, plugin: &str, act: impl FnOnce(&mut Values) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let mut plugins = lock(&self.plugins);
        let mut values = match plugins.remove(plugin) {
            Some(values) => values,
            None => self.read(plugin)?,
        };
        let result = act(&mut values);
        if !values.is_empty() {
            plugins.insert(plugin.to_owned(), values);
        }
        result
    }

    /// Writes changed values, then makes them those that count.
    fn change(&self, plugin: &str, values: &mut Values, changed: Values) -> Result<(), Refusal> {
        let written = match changed.is_empty() {
            true => self.records.delete(plugin).map(drop),
            false => self.records.put(plugin, &encode(&changed)),
        };
        written.map_err(|error| refusal(plugin, &error))?;
        *values = changed;
        Ok(())
    }

    fn read(&self, plugin: &str) -> Result<Values, Refusal> {
        let record = self.records.get(plugin).map_err(|error| refusal(plugin, &error))?;
        let Some(bytes) = record else { return Ok(Values::new()) };
        if let Some(values) = decode(&bytes) {
            return Ok(values);
        }
        tracing::warn!(plugin, "the values that the plugin kept are damaged and were set aside");
        self.records.set_aside(plugin).map_err(|error| refusal(plugin, &error))?;
        Ok(Values::new())
    }
}

impl KeyValue for Kv {
    fn get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, Refusal> {
        self.with(plugin, |values| Ok(values.get(key).cloned()))
    }

    fn set(&self, plugin: &str, key: &str, value: &[u8], quota: u64) -> Result<(), Refusal> {
        if key.len() > MAX_KEY {
            return Err(Refusal::new(code::TOO_LARGE, format!("a key has at most {MAX_KEY} bytes")));
        }
        if value.len() > MAX_VALUE {
            return Err(Refusal::new(code::TOO_LARGE, format!("a value has at most {MAX_VALUE} bytes")));
        }
        self.with(plugin, |values| {
            let mut changed = values.clone();
            changed.insert(key.to_owned(), value.to_owned());
            if size(&changed) > quota {
                return Err(Refusal::new(code::QUOTA, format!("keys and values would pass {quota} bytes")));
            }
            if changed == *values { Ok(()) } else { self.change(plugin, values, changed) }
        })
    }

    fn delete(&self, plugin: &str, key: &str) -> Result<(), Refusal> {
        self.with(plugin, |values| {
            let mut changed = values.clone();
            if changed.remove(key).is_none() { Ok(()) } else { self.change(plugin, values, changed) }
        })
    }

    fn keys(&self, plugin: &str, prefix: &str) -> Result<Vec<String>, Refusal> {
        let begin = |key: &&String| key.starts_with(prefix);
        self.with(plugin, |values| Ok(values.keys().filter(begin).cloned().collect()))
    }
}

/// What counts against the quota.
fn size(values: &Values) -> u64 {
    values.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
}

/// A guest may know that it failed; where our files are is for the log.
fn refusal(plugin: &str, error: &Error) -> Refusal {
    tracing::warn!(plugin, %error, "a plugin's values cannot be kept");
    match error {
        Error::Full { .. } | Error::TooMany { .. } => Refusal::new(code::QUOTA, "there is no room for the value"),
        Error::Name { .. } => Refusal::new(code::REFUSED, "there is no such plugin"),
        _ => Refusal::new(code::INTERNAL, "the value cannot be kept or read"),
    }
}

/// For each pair the length of the key, the key, the length of the value, the value (lengths as little-endian u32), then
/// the CRC32C of all that.
fn encode(values: &Values) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in values {
        for part in [key.as_bytes(), value.as_slice()] {
            bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
            bytes.extend_from_slice(part);
        }
    }
    let sum = checksum(0, &bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Values> {
    let (mut rest, sum) = bytes.split_last_chunk::<4>()?;
    if checksum(0, rest) != u32::from_le_bytes(*sum) {
        return None;
    }
    let mut values = Values::new();
    while !rest.is_empty() {
        let (key, value);
        (key, rest) = take_part(rest)?;
        (value, rest) = take_part(rest)?;
        values.insert(String::from_utf8(key.to_owned()).ok()?, value.to_owned());
    }
    Some(values)
}

fn take_part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_values_apart_and_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let kv = Kv::open(folder.path()).unwrap();
        kv.set("one", "token/a", b"1", 100).unwrap();
        kv.set("one", "token/b", &[0, 255], 100).unwrap();
        kv.set("one", "", b"", 100).unwrap();
        kv.set("two", "token/a", b"2", 100).unwrap();
        kv.delete("two", "nothing").unwrap();
        for kv in [kv, Kv::open(folder.path()).unwrap()] {
            assert_eq!(kv.get("one", "token/b").unwrap(), Some(vec![0, 255]));
            assert_eq!(kv.get("two", "token/a").unwrap(), Some(b"2".to_vec()));
            assert_eq!(kv.get("three", "token/a").unwrap(), None);
            assert_eq!(kv.keys("one", "token/").unwrap(), ["token/a", "token/b"]);
            assert_eq!(kv.keys("one", "").unwrap().len(), 3);
        }
        let kv = Kv::open(folder.path()).unwrap();
        kv.delete("two", "token/a").unwrap();
        assert!(!folder.path().join("two").exists());
    }

    #[test]
    fn refuses_what_is_too_large_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let kv = Kv::open(folder.path()).unwrap();
        let refused = |result: Result<(), Refusal>| result.unwrap_err().code;
        assert_eq!(refused(kv.set("p", &"k".repeat(257), b"", u64::MAX)), code::TOO_LARGE);
        assert_eq!(refused(kv.set("p", "k", &[0; MAX_VALUE + 1], u64::MAX)), code::TOO_LARGE);
        kv.set("p", &"k".repeat(256), &[0; MAX_VALUE], u64::MAX).unwrap();
        kv.set("q", "ab", b"cd", 4).unwrap();
        assert_eq!(refused(kv.set("q", "ab", b"cde", 4)), code::QUOTA);
        assert_eq!(refused(kv.set("q", "x", b"", 4)), code::QUOTA);
        kv.set("q", "ab", b"xy", 4).unwrap();
        assert_eq!(kv.get("q", "ab").unwrap(), Some(b"xy".to_vec()));
        assert_eq!(refused(kv.set("../q", "k", b"", 4)), code::REFUSED);
    }

    #[test]
    fn a_damaged_record_is_set_aside_and_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        Kv::open(folder.path()).unwrap().set("p", "key", b"value", 100).unwrap();
        let good = std::fs::read(folder.path().join("p")).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(folder.path().join("p"), &bad).unwrap();
            let kv = Kv::open(folder.path()).unwrap();
            assert_eq!(kv.get("p", "key").unwrap(), None, "changed at {at}");
            assert_eq!(std::fs::read(folder.path().join(".p.damaged")).unwrap(), bad);
        }
    }
}
