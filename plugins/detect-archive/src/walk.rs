//! Going from header to header through a file, where each tells only how far it is to the next.
//!
//! Owns: how far ahead is read, and when there are no rounds left to go on.
//! Leaves to others: what the headers say.
//!
//! Invariant: a walk asks at most as often as it may. It counts what it would have to ask for, not what it is shown, so
//! that it comes to the same end in every round.

use std::borrow::Cow;

use mediahost_plugin_sdk::detect::{READ_AHEAD, Stop, Subject};

/// Members up to here are read together with their headers when they come one after the other.
const SMALL: u64 = 1 << 20;
/// What is read of each sibling: a header or two.
const SIBLING_AHEAD: u64 = 8 * 1024;

/// A way through one file.
pub struct Walk<'a> {
    subject: &'a Subject,
    file: u32,
    /// What was asked for last.
    window: (u64, u64),
    hops: u32,
    most: u32,
}

impl<'a> Walk<'a> {
    /// Through the file itself, of which the host shows the head unasked, or through a sibling, with so many questions
    /// at most.
    pub fn new(subject: &'a Subject, file: u32, most: u32) -> Walk<'a> {
        let head = if file == 0 { READ_AHEAD } else { 0 };
        Walk { subject, file, window: (0, head), hops: 0, most }
    }

    /// How often it had to ask.
    pub fn hops(&self) -> u32 {
        self.hops
    }

    /// Where the file ends, if that is known.
    pub fn size(&self) -> Option<u64> {
        self.subject.file_size(self.file)
    }

    /// Bytes from `offset` on, fewer only where the file ends; `None` when there are no rounds left. `skipped` is how
    /// far it was from the last header: among small members it pays to read further ahead.
    pub fn see(&mut self, offset: u64, length: u64, skipped: u64) -> Result<Option<Cow<'a, [u8]>>, Stop> {
        let end = offset.saturating_add(length);
        if offset < self.window.0 || end > self.window.1 {
            if self.hops >= self.most {
                return Ok(None);
            }
            self.hops += 1;
            let ahead = match (self.file, skipped) {
                (1.., _) => SIBLING_AHEAD,
                (0, 1..=SMALL) => SMALL,
                (0, _) => READ_AHEAD,
            };
            self.window = (offset, offset.saturating_add(length.max(ahead)));
        }
        self.subject.want_in(self.file, &[(offset, self.window.1 - offset)])?;
        self.subject.read_in(self.file, offset, length).map(Some)
    }
}
