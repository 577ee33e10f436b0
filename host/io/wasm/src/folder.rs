//! What lies in the plugins folder, and which of it has come to rest.
//!
//! The folder is looked at, not listened to: a look costs a directory listing, works on every file system (network
//! shares and container mounts drop events), and finds what an event would have lost.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How long a file must stay as it is before it is read: a copy in progress changes more often.
pub const SETTLE: Duration = Duration::from_millis(200);
/// Files that are looked at; more are an accident.
const MAX_FILES: usize = 1024;

/// Enough of a file's metadata to notice a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Print {
    length: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    inode: u64,
}

impl Print {
    fn of(metadata: &Metadata) -> Print {
        Print {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(metadata),
        }
    }
}

/// The files of one name: `<name>.wasm`, `<name>.toml`, `<name>.disabled`, `<name>.wasm.waiting`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    pub component: Option<Print>,
    pub sidecar: Option<Print>,
    pub disabled: bool,
    pub waiting: Option<Print>,
}

/// Lists the folder. A folder that is not there is empty.
pub fn list(dir: &Path) -> std::io::Result<BTreeMap<String, Files>> {
    let mut found: BTreeMap<String, Files> = BTreeMap::new();
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries.flatten().take(MAX_FILES) {
        let Ok(metadata) = fs::metadata(entry.path()) else { continue };
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.') && metadata.is_file()) else { continue };
        let print = Print::of(&metadata);
        if let Some(name) = name.strip_suffix(".wasm.waiting") {
            found.entry(name.to_owned()).or_default().waiting = Some(print);
        } else if let Some(name) = name.strip_suffix(".wasm") {
            found.entry(name.to_owned()).or_default().component = Some(print);
        } else if let Some(name) = name.strip_suffix(".toml") {
            found.entry(name.to_owned()).or_default().sidecar = Some(print);
        } else if let Some(name) = name.strip_suffix(".disabled") {
            found.entry(name.to_owned()).or_default().disabled = true;
        }
    }
    Ok(found)
}

pub fn component(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.wasm"))
}

pub fn sidecar(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.toml"))
}

pub fn disabled(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.disabled"))
}

pub fn waiting(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.wasm.waiting"))
}

/// Decides which names have changed since they were last dealt with and have been quiet since.
#[derive(Default)]
pub struct Settling {
    names: BTreeMap<String, Seen>,
}

struct Seen {
    files: Files,
    since: Instant,
    dealt_with: Option<Files>,
}

impl Settling {
    /// Takes a listing; gives the names to deal with now. With `at_once` nothing waits for quiet.
    pub fn look(&mut self, now: Instant, listing: &BTreeMap<String, Files>, at_once: bool) -> Vec<String> {
        for (name, seen) in &mut self.names {
            if !listing.contains_key(name) && seen.files != Files::default() {
                (seen.files, seen.since) = (Files::default(), now);
            }
        }
        for (name, files) in listing {
            let seen = self.names.entry(name.clone()).or_insert_with(|| Seen {
                files: files.clone(),
                since: now,
                dealt_with: None,
            });
            if seen.files != *files {
                (seen.files, seen.since) = (files.clone(), now);
            }
        }
        let mut ready = Vec::new();
        for (name, seen) in &mut self.names {
            let quiet = at_once || now.duration_since(seen.since) >= SETTLE;
            if quiet && seen.dealt_with.as_ref() != Some(&seen.files) {
                seen.dealt_with = Some(seen.files.clone());
                ready.push(name.clone());
            }
        }
        self.names.retain(|_, seen| seen.files != Files::default() || seen.dealt_with != Some(Files::default()));
        ready
    }

    /// Deals with a name again at the next look, whether it changed or not.
    pub fn again(&mut self, name: &str) {
        if let Some(seen) = self.names.get_mut(name) {
            seen.dealt_with = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(length: u64) -> Files {
        let component = Print {
            length,
            modified: None,
            #[cfg(unix)]
            inode: 1,
        };
        Files { component: Some(component), ..Files::default() }
    }

    /// Milliseconds, what lies there (name and length), what is expected to be dealt with.
    type Step<'a> = (u64, &'a [(&'a str, u64)], &'a [&'a str]);

    fn check(steps: &[Step]) {
        let (start, mut settling) = (Instant::now(), Settling::default());
        for (ms, there, expected) in steps {
            let listing = there.iter().map(|(name, length)| ((*name).to_owned(), files(*length))).collect();
            let ready = settling.look(start + Duration::from_millis(*ms), &listing, false);
            assert_eq!(ready, *expected, "at {ms} ms");
        }
    }

    #[test]
    fn a_file_is_read_when_it_has_been_quiet() {
        check(&[(0, &[("a", 1)], &[]), (100, &[("a", 2)], &[]), (250, &[("a", 2)], &[]), (300, &[("a", 2)], &["a"])]);
    }

    #[test]
    fn a_file_is_dealt_with_once_per_change() {
        check(&[
            (0, &[("a", 1)], &[]),
            (200, &[("a", 1)], &["a"]),
            (400, &[("a", 1)], &[]),
            (500, &[("a", 2)], &[]),
            (700, &[("a", 2)], &["a"]),
        ]);
    }

    #[test]
    fn a_removal_is_a_change_that_settles_too() {
        check(&[
            (0, &[("a", 1)], &[]),
            (200, &[("a", 1)], &["a"]),
            (300, &[], &[]),
            (350, &[("a", 1)], &[]),
            (550, &[("a", 1)], &[]),
            (600, &[], &[]),
            (800, &[], &["a"]),
            (900, &[], &[]),
        ]);
    }

    #[test]
    fn a_file_that_comes_and_goes_before_it_was_read_is_nothing() {
        check(&[(0, &[("a", 1)], &[]), (50, &[], &[]), (250, &[], &["a"]), (260, &[], &[])]);
    }
}
