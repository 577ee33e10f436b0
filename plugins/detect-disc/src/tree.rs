//! The files of a volume, whatever the file system.
//!
//! Owns: paths, and where the bytes of a file lie in the image.
//! Leaves to others: reading the file system ([`crate::volume`]), what the files mean ([`crate::titles`]).

use mediahost_plugin_sdk::detect::{Stop, Subject};

/// A run of bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins in the image, in bytes; none where nothing was recorded, which reads as zeros.
    pub offset: Option<u64>,
    /// How long it is, in bytes; at least 1.
    pub length: u64,
}

/// A file of the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Names as they are recorded, with `/` between them and none in front: `BDMV/STREAM/00001.m2ts`.
    pub path: String,
    /// Its bytes, one run after the other. Neighbours that are adjacent in the image are one run.
    pub extents: Vec<Extent>,
}

/// All files of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// The volume's name, empty if it has none.
    pub label: String,
    /// FFmpeg has no word for it: `iso9660` or `udf`.
    pub file_system: &'static str,
    /// In the order of the walk, folders left out.
    pub files: Vec<File>,
    /// Whether the image ends before bytes that files of it claim.
    pub is_cut: bool,
}

impl Tree {
    /// A file by its path; case does not matter, as the players of discs have it.
    pub fn find(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path.eq_ignore_ascii_case(path))
    }

    /// The files right in a folder; case does not matter.
    pub fn folder<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |file| {
            file.path.rsplit_once('/').is_some_and(|(before, _)| before.eq_ignore_ascii_case(folder))
        })
    }
}

impl File {
    /// Its name without folders.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// How long it is, in bytes.
    pub fn size(&self) -> u64 {
        self.extents.iter().fold(0, |sum, extent| sum.saturating_add(extent.length))
    }

    /// The runs of a part of it. What lies beyond its end is left out.
    pub fn part(&self, offset: u64, length: u64) -> Vec<Extent> {
        let end = offset.saturating_add(length);
        let mut at = 0u64;
        let mut part = Vec::new();
        for extent in &self.extents {
            let (start, stop) = (at.max(offset), at.saturating_add(extent.length).min(end));
            if start < stop {
                let place = extent.offset.map(|place| place.saturating_add(start - at));
                part.push(Extent { offset: place, length: stop - start });
            }
            at = at.saturating_add(extent.length);
        }
        part
    }

    /// Where a part of it lies in the image, for [`Subject::want`].
    pub fn ranges(&self, offset: u64, length: u64) -> Vec<(u64, u64)> {
        self.part(offset, length).iter().filter_map(|extent| Some((extent.offset?, extent.length))).collect()
    }

    /// A part of it; shorter where the file or the image ends.
    pub fn read(&self, subject: &Subject, offset: u64, length: u64) -> Result<Vec<u8>, Stop> {
        subject.want(&self.ranges(offset, length))?;
        let mut bytes = Vec::new();
        for extent in self.part(offset, length) {
            let Some(place) = extent.offset else {
                bytes.resize(bytes.len() + extent.length as usize, 0);
                continue;
            };
            let piece = subject.read(place, extent.length)?;
            bytes.extend_from_slice(&piece);
            if (piece.len() as u64) < extent.length {
                break;
            }
        }
        Ok(bytes)
    }
}
