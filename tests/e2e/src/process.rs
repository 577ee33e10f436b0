//! What another process and a folder take up, as the system counts it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of a process in memory (`proc_pid_status(5)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// `RssAnon`: heap and stacks, which nothing but the process itself can give back.
    pub anonymous: u64,
    /// `RssFile`: mapped files, which are the system's page cache and go when others need the room.
    pub files: u64,
    /// `VmHWM`: the most of both together so far.
    pub peak: u64,
}

impl Memory {
    /// What a running process takes now.
    pub fn of(pid: u32) -> Memory {
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            kib.unwrap_or_else(|| panic!("no {name} in {path}")) << 10
        };
        Memory { anonymous: bytes("RssAnon"), files: bytes("RssFile"), peak: bytes("VmHWM") }
    }
}

/// Bytes of the medium that the files below a folder occupy; the holes of a sparse file occupy none.
pub fn allocated(folder: &Path) -> u64 {
    /// `stat(2)` counts blocks of this size, whatever the file system's own is.
    const BLOCK_BYTES: u64 = 512;
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let of = |path: &Path| match fs::symlink_metadata(path) {
        Ok(entry) if entry.is_dir() => allocated(path),
        Ok(entry) => entry.blocks() * BLOCK_BYTES,
        // Removed or renamed meanwhile.
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(|entry| of(&entry.path())).sum()
}
