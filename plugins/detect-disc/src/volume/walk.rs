//! A walk through the folders of a volume, level by level.
//!
//! Owns: what the walk found, its bounds, how names become paths.
//! Leaves to others: how a file system records folders and files.

use std::collections::HashSet;

use crate::tree::{Extent, File};

/// Folders within folders, at most.
pub const MAX_DEPTH: usize = 16;
/// Entries of all folders, at most.
const MAX_ENTRIES: usize = 65_536;
/// Bytes of all paths, at most.
const MAX_PATHS: usize = 16 << 20;
/// Runs of all files, at most. A film that is interleaved with another has some ten thousand.
const MAX_EXTENTS: usize = 1 << 19;
/// Runs that are put together for the files of one level, before neighbours are merged.
pub const MAX_RUNS: usize = 1 << 20;
/// Bytes of one folder's list of entries, and of all of them.
const MAX_FOLDER: u64 = 4 << 20;
const MAX_FOLDERS: u64 = 24 << 20;
/// Bytes of a path; UDF itself allows 1023.
const MAX_PATH: usize = 1024;

/// What was found, and how much more may be.
pub struct Walk {
    pub files: Vec<File>,
    entries: usize,
    paths: usize,
    extents: usize,
    listed: u64,
    /// Where the folders are that were entered.
    entered: HashSet<u64>,
}

impl Walk {
    pub fn new() -> Walk {
        let (files, entered) = (Vec::new(), HashSet::new());
        Walk { files, entries: 0, paths: 0, extents: 0, listed: 0, entered }
    }

    /// The path of an entry of a folder. `None` for a name that cannot be one, and when there are too many.
    pub fn path(&mut self, folder: &str, name: &str) -> Option<String> {
        self.entries += 1;
        let path = join(folder, name).filter(|_| self.entries <= MAX_ENTRIES)?;
        self.paths += path.len();
        (self.paths <= MAX_PATHS).then_some(path)
    }

    /// Enters the folder at an offset; false when that was done before, so that circles end. Its list is as long.
    pub fn enter(&mut self, offset: u64, length: u64) -> bool {
        let length = length.min(MAX_FOLDER);
        if self.listed + length > MAX_FOLDERS || !self.entered.insert(offset) {
            return false;
        }
        self.listed += length;
        true
    }

    /// How many more runs there may be.
    pub fn room(&self) -> usize {
        MAX_EXTENTS - self.extents
    }

    /// Adds a file, if there is room for its runs.
    pub fn add(&mut self, path: String, runs: Runs) {
        if runs.extents.len() <= self.room() {
            self.extents += runs.extents.len();
            self.files.push(File { path, extents: runs.extents });
        }
    }
}

/// How much of a folder's list is read.
pub fn folder_length(length: u64) -> u64 {
    length.min(MAX_FOLDER)
}

fn join(folder: &str, name: &str) -> Option<String> {
    if name.is_empty() || name == "." || name == ".." || folder.len() + 1 + name.len() > MAX_PATH {
        return None;
    }
    let name = name.replace(['/', '\0'], "_");
    Some(if folder.is_empty() { name } else { format!("{folder}/{name}") })
}

/// The runs of a file as they are found.
#[derive(Clone, Debug)]
pub struct Runs {
    pub extents: Vec<Extent>,
    /// How many more may be added.
    pub room: usize,
}

impl Runs {
    /// No runs yet, and room for so many.
    pub fn new(room: usize) -> Runs {
        Runs { extents: Vec::new(), room }
    }

    /// Adds a run; `None` when there are too many. A neighbour of the last one becomes a part of it.
    pub fn push(&mut self, offset: Option<u64>, length: u64) -> Option<()> {
        if length == 0 {
            return Some(());
        }
        offset.unwrap_or(0).checked_add(length)?;
        self.room = self.room.checked_sub(1)?;
        if let Some(last) = self.extents.last_mut() {
            let adjacent = match (last.offset, offset) {
                (Some(before), Some(offset)) => before.checked_add(last.length) == Some(offset),
                (None, None) => true,
                _ => false,
            };
            if let Some(length) = last.length.checked_add(length).filter(|_| adjacent) {
                last.length = length;
                return Some(());
            }
        }
        self.extents.push(Extent { offset, length });
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_run() {
        let mut runs = Runs::new(6);
        for (offset, length) in [(Some(10), 5), (Some(15), 5), (Some(30), 0), (None, 3), (None, 4), (Some(20), 1)] {
            runs.push(offset, length).unwrap();
        }
        let found: Vec<_> = runs.extents.iter().map(|extent| (extent.offset, extent.length)).collect();
        assert_eq!(found, [(Some(10), 10), (None, 7), (Some(20), 1)]);
        assert!(runs.push(Some(u64::MAX), 1).is_none());
        assert!(runs.push(Some(50), 1).is_some() && runs.push(Some(60), 1).is_none());
    }

    #[test]
    fn names_become_paths() {
        for (folder, name, expected) in [
            ("", "A", Some("A")),
            ("A", "B", Some("A/B")),
            ("A", "B/C\0", Some("A/B_C_")),
            ("A", "..", None),
            ("A", "", None),
            ("A", &"x".repeat(MAX_PATH), None),
        ] {
            assert_eq!(join(folder, name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn circles_end() {
        let mut walk = Walk::new();
        assert!(walk.enter(5, 10) && walk.enter(6, 10) && !walk.enter(5, 10));
        assert!((0..MAX_FOLDERS / MAX_FOLDER).filter(|n| walk.enter(100 + n, u64::MAX)).count() < 6);
    }
}
