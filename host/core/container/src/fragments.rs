//! The segments of a fragmented MP4 file (ISO/IEC 14496-12), found while its bytes arrive.
//!
//! Owns: telling a fragmented film from others, its first bytes (`ftyp` and `moov`), where its segments lie and when
//! they are, which bytes have to be read to know more.
//! Leaves to others: getting bytes, samples, codecs, the tables of classic films (`plugins/detect-mp4`).
//!
//! Invariant: what is known depends on the file alone, and not on the pieces in which its bytes came; it is in the
//! order of the file, and each step costs time and memory within the bounds below. Media is never asked for.
//!
//! The law of it: feed [`Index::handle`] what you have, and what [`Index::wants`] asks for where you have it not. Bytes
//! that are not wanted yet are not kept, so offer them again when they are.
//!
//! ```text
//!  ftyp moov | sidx | styp prft emsg moof mdat moof mdat | styp moof mdat | … mfra
//!  ^ the init segment ^ a segment                          ^ the next
//! ```
//!
//! Two things tell of segments. An index, `sidx` (§8.16.3), tells of many at once, through further indexes if it refers
//! to such; it is believed as it is, since to check it means to visit every fragment, which it is there to save. Only
//! one of the reference track counts, and a segment is then what it refers to, without the index itself. Where there is
//! none, and behind what it covers, the file is read from `moof` to `moof` (§8.8.4). A segment is then one or more
//! fragments, from a `styp` to the next where the file has them before its first fragment, else from sync sample to
//! sync sample. The tables at the tail (`mfra`, §8.8.9) are not used: they name places to start at and no durations.
//!
//! Time is presentation time: after composition offsets and after the edit list, cut off at zero. It is counted in the
//! timescale of the *reference track*: the first with pictures, else the first with sound, else the first. The times of
//! a `sidx` are taken to be such times, converted where its timescale is another; ffmpeg leaves the first composition
//! offset out of them.

mod boxes;
mod fragment;
mod grouping;
mod index;
mod list;
mod movie;
mod segment_index;
#[cfg(test)]
mod tests;

use std::fmt;
use std::num::NonZeroU32;
use std::ops::Range;

use thiserror::Error;

pub use index::Index;

/// Segments of one file, at most: six days of two seconds each, in 10 MiB.
pub const MAX_SEGMENTS: usize = 1 << 18;
/// Bytes of a movie box, at most. That of a fragmented film is a few kilobytes; this is for classic films, whose
/// movie box has to be read to tell them.
pub const MAX_MOOV_BYTES: u64 = 64 << 20;
/// Bytes of a movie fragment box, at most: one has 16 bytes for each sample.
pub const MAX_MOOF_BYTES: u64 = 16 << 20;
/// Bytes of a segment index, at most: 65 535 references of 12 bytes fit.
pub const MAX_SIDX_BYTES: u64 = 1 << 20;
/// Segment indexes within each other, at most; writers use two levels.
pub const MAX_SIDX_DEPTH: usize = 4;
/// Segment indexes in one tree, at most: each costs a read.
pub const MAX_SIDX_BOXES: usize = 1024;
/// Tracks of one film, at most.
pub const MAX_TRACKS: usize = 256;
/// Boxes without a fragment or an index between them, at most: each costs a read.
pub const MAX_IDLE_BOXES: usize = 1024;

/// Bounds of one index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Segments, at most.
    pub segments: usize,
    /// Bytes of the movie box (`moov`), at most.
    pub moov_bytes: u64,
    /// Bytes of a movie fragment box (`moof`), at most.
    pub moof_bytes: u64,
    /// Bytes of a segment index (`sidx`), at most.
    pub sidx_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            segments: MAX_SEGMENTS,
            moov_bytes: MAX_MOOV_BYTES,
            moof_bytes: MAX_MOOF_BYTES,
            sidx_bytes: MAX_SIDX_BYTES,
        }
    }
}

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// A film with fragments: its movie box has an `mvex` (§8.8.1). There may be no fragment in it yet.
    Fragmented,
    /// An ISO file without fragments: a classic film, or no film at all, such as a HEIF picture.
    Classic,
    /// Fragments without a movie box, which a player gets beside an init segment. They cannot be timed without it.
    MediaOnly,
    /// Something else.
    NotIso,
}

/// What a track holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Media {
    /// Pictures (`vide`).
    Video,
    /// Sound (`soun`).
    Audio,
    /// Words, data, and what is not known.
    Other,
}

/// A track of the film.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Track {
    /// Its number in the file, `track_ID` (§8.3.2).
    pub id: u32,
    /// What it holds, by its handler (§8.4.3).
    pub media: Media,
    /// Its clock, from `mdhd` (§8.4.2).
    pub timescale: Timescale,
}

/// Ticks in a second; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timescale(NonZeroU32);

impl Timescale {
    /// Ticks in a second.
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// A number of ticks in milliseconds, rounded down; the largest number if it does not fit.
    pub fn millis(self, ticks: u64) -> u64 {
        scale(ticks, 1000, self.get())
    }

    /// A number of milliseconds in ticks, rounded down; the largest number if it does not fit.
    pub fn ticks(self, millis: u64) -> u64 {
        scale(millis, self.get(), 1000)
    }

    /// Ticks of this timescale in those of another, rounded down.
    fn convert(self, ticks: u64, to: Timescale) -> u64 {
        if self == to { ticks } else { scale(ticks, to.get(), self.get()) }
    }
}

fn scale(number: u64, by: u32, to: u32) -> u64 {
    u64::try_from(u128::from(number) * u128::from(by) / u128::from(to)).unwrap_or(u64::MAX)
}

/// A segment: fragments that are fetched and played as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it lies in the file.
    pub bytes: Range<u64>,
    /// Its earliest presentation time in ticks of [`Index::timescale`].
    pub start_ticks: u64,
    /// How long the reference track is in it, in the same ticks; 0 if it has nothing of that track.
    pub duration_ticks: u64,
    /// Whether a player can start here: the first sample of the reference track is a sync sample.
    pub is_sync: bool,
}

impl Segment {
    /// When it ends, in ticks of [`Index::timescale`].
    pub fn end_ticks(&self) -> u64 {
        self.start_ticks.saturating_add(self.duration_ticks)
    }
}

/// The four letters of a box; others are shown escaped.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name(pub [u8; 4]);

impl Name {
    /// Letters, digits, blanks and what QuickTime uses; anything else means that a hop went astray.
    fn is_plausible(self) -> bool {
        self.0.iter().all(|byte| matches!(byte, b' '..=b'~' | 0xA9))
    }

    /// What a file of this family can begin with.
    fn is_beginning(kind: &[u8]) -> bool {
        #[rustfmt::skip]
        const BEGINNINGS: [&[u8; 4]; 18] = [
            b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"sidx", b"ssix", b"emsg", b"prft",
            b"free", b"skip", b"wide", b"pnot", b"pdin", b"uuid", b"meta", b"udta", b"mfra",
        ];
        BEGINNINGS.iter().any(|known| *known == kind)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// Why an index came to its end before the file did. It is for what the file is, and trying again does not help; what
/// was known stays known.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// It breaks the grammar where it matters.
    #[error("the box `{kind}` at byte {at} is damaged: {what}")]
    Damaged {
        /// Where the box begins.
        at: u64,
        /// Its letters.
        kind: Name,
        /// What is wrong.
        what: &'static str,
    },
    /// A box that has to be read as a whole is too long for it.
    #[error("the box `{kind}` at byte {at} is {bytes} bytes long, more than {most}")]
    TooLong {
        /// Where the box begins.
        at: u64,
        /// Its letters.
        kind: Name,
        /// How long it is.
        bytes: u64,
        /// The bound.
        most: u64,
    },
    /// Too much of something.
    #[error("the box `{kind}` at byte {at} is one too many: {what}, at most {most}")]
    Limit {
        /// Where the box begins.
        at: u64,
        /// Its letters.
        kind: Name,
        /// Of what.
        what: &'static str,
        /// The bound.
        most: usize,
    },
}
