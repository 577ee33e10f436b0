//! Reading many small files in one round.
//!
//! Owns: asking for all of them at once, in few ranges, and never for more than a look can afford.
//! Leaves to others: what is in the files.

use crate::tree::File;
use mediahost_plugin_sdk::detect::{Stop, Subject};

/// Bytes of structure that titles may cost in one look; the volume and the samples need the rest of the host's limit.
pub const MAX_BYTES: u64 = 24 << 20;
/// Two ranges that are no further apart are one: the files of a folder usually lie one behind the other.
pub const MAX_GAP: u64 = 8 << 10;

/// What may still be read.
pub struct Budget {
    left: u64,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { left: MAX_BYTES }
    }
}

impl Budget {
    /// The first `most` bytes of each file. A file that is not there or that cannot be afforded reads as empty.
    pub fn read(&mut self, subject: &Subject, files: &[Option<&File>], most: u64) -> Result<Vec<Vec<u8>>, Stop> {
        let mut lengths = Vec::with_capacity(files.len());
        let mut ranges = Vec::new();
        for file in files {
            let length = file.map_or(0, |file| file.size().min(most));
            let cost = file.map_or(0, |file| length.saturating_add(MAX_GAP * file.ranges(0, length).len() as u64));
            let length = if cost <= self.left { length } else { 0 };
            self.left -= if length > 0 { cost } else { 0 };
            ranges.extend(file.iter().flat_map(|file| file.ranges(0, length)));
            lengths.push(length);
        }
        subject.want(&merged(ranges))?;
        let read = |(file, length): (&Option<&File>, u64)| match file {
            Some(file) if length > 0 => file.read(subject, 0, length),
            _ => Ok(Vec::new()),
        };
        files.iter().zip(lengths).map(read).collect()
    }
}

/// The same bytes, and those of small gaps, in fewer ranges.
pub fn merged(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (offset, length) in ranges {
        let end = offset.saturating_add(length);
        match merged.last_mut() {
            Some((start, before)) if offset <= start.saturating_add(*before).saturating_add(MAX_GAP) => {
                *before = (*before).max(end - *start);
            }
            _ => merged.push((offset, end - offset)),
        }
    }
    merged
}
