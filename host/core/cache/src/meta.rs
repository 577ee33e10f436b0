//! The small record that says what an object is.
//!
//! Owns: its fields, the bound of those that are lists, and its bytes: one line of JSON, then one line with the CRC32C of
//! the first.
//! Leaves to others: replacing it atomically.
//!
//! Invariant: what decodes was encoded by us in full; a torn or edited record is an error, never half a record.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::granule::Geometry;

/// Version of the folder's format. Another version is not read.
pub const FORMAT: u32 = 1;
/// Largest record that is read, bytes. The layout of a disc with all its extents is the only large part.
pub const MAX_BYTES: usize = 32 << 20;

/// What tells two versions of an object apart (RFC 9110 §8.8).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    /// The entity-tag as it was sent, weak or strong.
    pub etag: Option<String>,
    /// `Last-Modified` as it was sent.
    pub last_modified: Option<String>,
    /// `Date` of the answer that carried them: it makes a `Last-Modified` strong (§8.8.2.2).
    pub date: Option<String>,
}

/// What an object is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// [`FORMAT`] of whoever wrote it.
    pub format: u32,
    /// The caller's stable name for the object; not a signed address.
    pub key: String,
    /// Which version of the object the files belong to.
    pub generation: u64,
    /// Length in bytes; an upper bound as long as the object is `open_ended`.
    pub total: u64,
    /// Whether the length is not known yet. Such an object ends with the process that writes it.
    #[serde(default)]
    pub open_ended: bool,
    /// What the upstream said of this version.
    pub validators: Validators,
    /// Media type.
    pub content_type: Option<String>,
    /// A file name for people.
    pub name: Option<String>,
    /// How the object is cut, bytes.
    pub granule_size: u32,
    /// What is known of the container; opaque here.
    pub layout: Option<serde_json::Value>,
    /// Granules that were fetched ahead and that nobody has read yet, as half-open runs of indexes; see [`runs`].
    #[serde(default)]
    pub unread: Vec<(u64, u64)>,
    /// Granules that are the last to go, as half-open runs of indexes; see [`runs`].
    #[serde(default)]
    pub protected: Vec<(u64, u64)>,
    /// Wall clock of the first byte, milliseconds since 1970.
    pub created_ms: u64,
    /// Wall clock of the last use, milliseconds since 1970.
    pub accessed_ms: u64,
}

/// Why bytes are not a meta record.
#[derive(Debug, Error)]
pub enum Error {
    /// Longer than [`MAX_BYTES`].
    #[error("the record has {0} bytes, more than a record may have")]
    TooLong(usize),
    /// Cut short, or its checksum does not fit.
    #[error("the record is torn or was changed")]
    Torn,
    /// The checksum fits and the fields do not.
    #[error("the record cannot be read: {0}")]
    Fields(#[from] serde_json::Error),
    /// Written by another version of the program.
    #[error("the record has format {0}, this program reads {FORMAT}")]
    Format(u32),
    /// The granule size or the total is not one that this program makes.
    #[error("the record describes an object of {total} bytes in granules of {granule_size}")]
    Shape {
        /// Its total.
        total: u64,
        /// Its granule size.
        granule_size: u32,
    },
}

impl Meta {
    /// A record of the first generation, without anything that is not known yet.
    pub fn new(key: impl Into<String>, total: u64, now_ms: u64) -> Self {
        Self {
            format: FORMAT,
            key: key.into(),
            generation: 0,
            total,
            open_ended: false,
            validators: Validators::default(),
            content_type: None,
            name: None,
            granule_size: Geometry::of(total).granule(),
            layout: None,
            unread: Vec::new(),
            protected: Vec::new(),
            created_ms: now_ms,
            accessed_ms: now_ms,
        }
    }

    /// How the object is cut.
    pub fn geometry(&self) -> Result<Geometry, Error> {
        Geometry::with_granule(self.total, self.granule_size)
            .ok_or(Error::Shape { total: self.total, granule_size: self.granule_size })
    }

    /// Brings the lists of runs into order and within [`runs::MAX`]. What is unread and does not fit counts as read; what
    /// is protected and does not fit is protected together with what lies between.
    pub fn bound_runs(&mut self) {
        self.unread = runs::longest(self.unread.drain(..));
        self.protected = runs::covering(self.protected.drain(..));
    }

    /// The bytes of the record.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = serde_json::to_vec(self)?;
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(format!("\n{crc:08x}\n").as_bytes());
        if bytes.len() > MAX_BYTES { Err(Error::TooLong(bytes.len())) } else { Ok(bytes) }
    }

    /// The record in these bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_BYTES {
            return Err(Error::TooLong(bytes.len()));
        }
        let body = checked_body(bytes).ok_or(Error::Torn)?;
        let mut meta: Self = serde_json::from_slice(body)?;
        meta.bound_runs();
        if meta.format != FORMAT {
            return Err(Error::Format(meta.format));
        }
        meta.geometry()?;
        Ok(meta)
    }
}

/// The first line, if the second is its checksum and nothing follows.
fn checked_body(bytes: &[u8]) -> Option<&[u8]> {
    const TRAILER: usize = "\n00000000\n".len();
    let (body, trailer) = bytes.split_at_checked(bytes.len().checked_sub(TRAILER)?)?;
    (trailer == format!("\n{:08x}\n", crc32c::crc32c(body)).as_bytes()).then_some(body)
}

/// Sets of granules as half-open runs of indexes, in order and with gaps between them.
pub mod runs {
    /// Most runs of one list in a record.
    pub const MAX: usize = 256;

    /// These runs in order; those that touch or overlap become one, and empty ones are left out.
    pub fn merged(runs: impl IntoIterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
        let mut sorted: Vec<(u64, u64)> = runs.into_iter().filter(|(start, end)| start < end).collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(sorted.len());
        for (start, end) in sorted {
            match merged.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        merged
    }

    /// At most [`MAX`] runs that name nothing which these do not: the longest ones.
    pub fn longest(runs: impl IntoIterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
        let mut merged = merged(runs);
        if merged.len() > MAX {
            merged.sort_unstable_by_key(|&(start, end)| (std::cmp::Reverse(end - start), start));
            merged.truncate(MAX);
            merged.sort_unstable();
        }
        merged
    }

    /// At most [`MAX`] runs that name all which these do: the shortest gaps are filled.
    pub fn covering(runs: impl IntoIterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
        let merged = merged(runs);
        if merged.len() <= MAX {
            return merged;
        }
        // The gap before each run but the first, and where that run begins.
        let mut gaps: Vec<(u64, u64)> = merged.windows(2).map(|pair| (pair[1].0 - pair[0].1, pair[0].1)).collect();
        gaps.sort_unstable();
        gaps.truncate(merged.len() - MAX);
        let filled = gaps.into_iter().map(|(length, start)| (start, start + length));
        self::merged(merged.iter().copied().chain(filled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Meta {
        let mut meta = Meta::new("https://films.example/a b", 5 << 30, 1_700_000_000_123);
        meta.generation = 7;
        meta.validators.etag = Some("\"e\"".into());
        meta.layout = Some(serde_json::json!({"tracks": [1, 2]}));
        meta.unread = vec![(3, 9), (11, 12)];
        meta.protected = vec![(0, 2)];
        meta
    }

    #[test]
    fn survives_the_round_trip() {
        let meta = sample();
        assert_eq!(Meta::decode(&meta.encode().unwrap()).unwrap(), meta);
    }

    #[test]
    fn no_cut_and_no_changed_byte_is_read() {
        let bytes = sample().encode().unwrap();
        for length in 0..bytes.len() {
            assert!(Meta::decode(&bytes[..length]).is_err(), "cut at {length}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x20;
            assert!(Meta::decode(&changed).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn refuses_other_formats_and_shapes() {
        let other = Meta { format: 2, ..sample() };
        assert!(matches!(Meta::decode(&other.encode().unwrap()), Err(Error::Format(2))));
        let odd = Meta { granule_size: 3, ..sample() };
        assert!(matches!(Meta::decode(&odd.encode().unwrap()), Err(Error::Shape { .. })));
    }

    #[test]
    fn reads_records_of_before_there_were_runs() {
        let mut fields = serde_json::to_value(sample()).unwrap();
        for name in ["open_ended", "unread", "protected"] {
            fields.as_object_mut().unwrap().remove(name).unwrap();
        }
        let body = fields.to_string();
        let meta = Meta::decode(format!("{body}\n{:08x}\n", crc32c::crc32c(body.as_bytes())).as_bytes()).unwrap();
        assert_eq!(meta, Meta { unread: Vec::new(), protected: Vec::new(), ..sample() });
    }

    #[test]
    fn lists_without_end_are_cut_when_they_are_read() {
        let many: Vec<(u64, u64)> = (0..1000).map(|at| (at * 10, at * 10 + 1)).collect();
        let meta = Meta { unread: many.clone(), protected: many, ..sample() };
        let meta = Meta::decode(&meta.encode().unwrap()).unwrap();
        assert_eq!((meta.unread.len(), meta.protected.len()), (runs::MAX, runs::MAX));
        assert_eq!((meta.protected[0].0, meta.protected[runs::MAX - 1].1), (0, 9991));
    }

    fn names(runs: &[(u64, u64)], index: u64) -> bool {
        runs.iter().any(|&(start, end)| (start..end).contains(&index))
    }

    proptest! {
        #[test]
        fn runs_stay_within_their_bound(given in prop::collection::vec((0u64..4000, 0u64..4), 0..900)) {
            let given: Vec<(u64, u64)> = given.into_iter().map(|(start, length)| (start, start + length)).collect();
            let [merged, longest, covering] =
                [runs::merged(given.clone()), runs::longest(given.clone()), runs::covering(given.clone())];
            for list in [&merged, &longest, &covering] {
                prop_assert!(list.iter().all(|(start, end)| start < end));
                prop_assert!(list.windows(2).all(|pair| pair[0].1 < pair[1].0));
            }
            prop_assert!(longest.len() == merged.len().min(runs::MAX) && covering.len() == longest.len());
            prop_assert!(longest.iter().all(|run| merged.contains(run)));
            for index in 0..4004 {
                prop_assert_eq!(names(&merged, index), names(&given, index));
                prop_assert!(names(&covering, index) || !names(&merged, index));
            }
        }
    }
}
