//! ISO 9660 and Joliet (ECMA-119).
//!
//! Owns: volume descriptors, directory records, files of several extents, interleaved files, names.
//! Leaves to others: path tables, Rock Ridge, boot records.
//!
//! Invariant: all folders of a level are asked for at once.

use mediahost_plugin_sdk::detect::Stop;
use mediahost_plugin_sdk::detect::bytes::le_at;

use super::image::Image;
use super::walk::{MAX_DEPTH, Runs, Walk, folder_length};
use crate::tree::Tree;

/// A sector in bytes: volume descriptors take one, and directory records do not cross from one to the next.
const SECTOR: u64 = 2048;
/// The sector of the first volume descriptor.
const DESCRIPTORS: u64 = 16;
/// Volume descriptors, at most.
const MAX_DESCRIPTORS: u64 = 48;
/// Units of interleaved files, at most: a film in pieces of one block is not worth the list.
const MAX_UNITS: usize = 65_536;

/// Bytes of a directory record without its name.
const RECORD: usize = 33;
const IS_FOLDER: u8 = 0x02;
const IS_ASSOCIATED: u8 = 0x04;
const HAS_MORE: u8 = 0x80;

/// Reads the names of Joliet or, where there are none that can be used, those of ISO 9660.
pub fn read(image: &mut Image) -> Result<Tree, Stop> {
    let volumes = volumes(image);
    let mut failed = Stop::damaged("ISO 9660: there is no volume descriptor from sector 16 on");
    for volume in volumes {
        match volume.walk(image) {
            Err(stop @ Stop::Failed(_)) => failed = stop,
            done => return done,
        }
    }
    Err(failed)
}

/// One of the trees of the image.
struct Volume {
    label: String,
    /// Names are in UCS-2.
    is_joliet: bool,
    /// Bytes of a logical block.
    block: u64,
    root: Record,
}

/// What a directory record tells.
struct Record {
    name: Vec<u8>,
    flags: u8,
    /// Bytes of the extent without its extended attributes.
    length: u64,
    /// Blocks: where it begins, how many its extended attributes take, of each unit and of the gap behind it.
    start: u64,
    attributes: u64,
    unit: u64,
    gap: u64,
}

/// The volumes of the image, Joliet first (§8.4, §8.5).
fn volumes(image: &Image) -> Vec<Volume> {
    let mut volumes: Vec<Volume> = Vec::new();
    for sector in DESCRIPTORS..DESCRIPTORS + MAX_DESCRIPTORS {
        let Some(bytes) = image.bytes(sector * SECTOR, SECTOR).filter(|bytes| bytes[1..6] == *b"CD001") else { break };
        let is_joliet = bytes[0] == 2 && [*b"%/@", *b"%/C", *b"%/E"].iter().any(|escape| bytes[88..91] == *escape);
        match bytes[0] {
            255 => break,
            1 => volumes.extend(Volume::parse(&bytes, false)),
            2 if is_joliet => volumes.extend(Volume::parse(&bytes, true)),
            _ => {}
        }
    }
    volumes.sort_by_key(|volume| !volume.is_joliet);
    volumes
}

impl Volume {
    fn parse(bytes: &[u8], is_joliet: bool) -> Option<Volume> {
        let block = le_at(bytes, 128, 2).filter(|block| [512, 1024, 2048].contains(block)).unwrap_or(SECTOR);
        let label = bytes.get(40..72)?;
        let label = if is_joliet { ucs2(label) } else { String::from_utf8_lossy(label).into_owned() };
        let label = label.trim_end_matches([' ', '\0']).to_string();
        Some(Volume { label, is_joliet, block, root: Record::parse(bytes.get(156..190)?)? })
    }

    fn walk(&self, image: &mut Image) -> Result<Tree, Stop> {
        let mut walk = Walk::new();
        image.is_short = false;
        let place = |record: &Record| ((record.start + record.attributes) * self.block, folder_length(record.length));
        let mut level = vec![(String::new(), place(&self.root))];
        for _ in 0..=MAX_DEPTH {
            level.retain(|(_, (offset, length))| walk.enter(*offset, *length));
            if level.is_empty() {
                break;
            }
            image.need(&level.iter().map(|(_, range)| *range).collect::<Vec<_>>())?;
            let mut next = Vec::new();
            for (folder, (offset, length)) in &level {
                let Some(records) = records(image, *offset, *length) else {
                    if folder.is_empty() {
                        return Err(Stop::damaged(format!("ISO 9660: there is no root directory at offset {offset}")));
                    }
                    continue;
                };
                for (path, record) in self.list(&mut walk, folder, records) {
                    next.push((path, place(&record)));
                }
            }
            level = next;
        }
        Ok(Tree { label: self.label.clone(), file_system: "iso9660", files: walk.files, is_cut: image.is_short })
    }

    /// Adds the files of a folder and returns the folders in it.
    fn list(&self, walk: &mut Walk, folder: &str, records: Vec<Record>) -> Vec<(String, Record)> {
        let mut folders = Vec::new();
        let mut records = records.into_iter().filter(|record| record.flags & IS_ASSOCIATED == 0).peekable();
        while let Some(record) = records.next() {
            let path = self.name(&record.name).and_then(|name| walk.path(folder, &name));
            if record.flags & IS_FOLDER != 0 {
                folders.extend(path.map(|path| (path, record)));
                continue;
            }
            // A long file has several records, one after the other (§9.1.6).
            let (mut runs, mut more) = (Runs::new(MAX_UNITS.min(walk.room())), record.flags & HAS_MORE != 0);
            let mut is_whole = record.runs(self.block, &mut runs);
            while let Some(part) = records.next_if(|part| more && part.name == record.name) {
                more = part.flags & HAS_MORE != 0;
                is_whole = is_whole.and_then(|()| part.runs(self.block, &mut runs));
            }
            if let (Some(path), Some(())) = (path, is_whole) {
                walk.add(path, runs);
            }
        }
        folders
    }

    /// A name without its version. `None` for a folder itself and the one above it.
    fn name(&self, name: &[u8]) -> Option<String> {
        if matches!(name, [0] | [1]) {
            return None;
        }
        let name = if self.is_joliet { ucs2(name) } else { String::from_utf8_lossy(name).into_owned() };
        let name = match name.rsplit_once(';') {
            Some((name, version)) if version.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => &name,
        };
        let name = if self.is_joliet { name } else { name.strip_suffix('.').unwrap_or(name) };
        Some(name.to_string())
    }
}

/// The records of a folder, without those of itself and of the folder above (§6.8). `None` if it cannot be one.
fn records(image: &Image, offset: u64, length: u64) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    let sectors = length.div_ceil(SECTOR);
    for sector in 0..sectors {
        let start = offset.checked_add(sector * SECTOR)?;
        let length = SECTOR.min(length - sector * SECTOR);
        // Where the image is damaged or cut, the rest of the folder may still be there.
        let Some(bytes) = image.bytes(start, length) else { continue };
        let mut rest = &bytes[..];
        while let Some(record) = Record::parse(rest) {
            rest = &rest[usize::from(rest[0])..];
            records.push(record);
        }
    }
    let is_own = records.first().is_some_and(|record| record.name == [0]);
    records.retain(|record| !matches!(record.name[..], [0] | [1]));
    (is_own || !records.is_empty()).then_some(records)
}

impl Record {
    /// A directory record (§9.1), of numbers in both byte orders the first. `None` where the sector has no more.
    fn parse(bytes: &[u8]) -> Option<Record> {
        let bytes = bytes.get(..usize::from(*bytes.first()?))?;
        let name_length = usize::from(*bytes.get(RECORD - 1)?);
        Some(Record {
            name: bytes.get(RECORD..RECORD + name_length)?.to_vec(),
            flags: bytes[25],
            length: le_at(bytes, 10, 4)?,
            start: le_at(bytes, 2, 4)?,
            attributes: u64::from(bytes[1]),
            unit: u64::from(bytes[26]),
            gap: u64::from(bytes[27]),
        })
    }

    /// Adds where its bytes are. `None` when they are in too many places.
    fn runs(&self, block: u64, runs: &mut Runs) -> Option<()> {
        if self.unit == 0 || self.gap == 0 {
            return runs.push(Some((self.start + self.attributes) * block), self.length);
        }
        // Extended attributes fill the first unit of an interleaved file (§6.4.3).
        let (unit, step) = (self.unit * block, (self.unit + self.gap) * block);
        let first = self.start * block + if self.attributes > 0 { step } else { 0 };
        let units = self.length.div_ceil(unit);
        if units > runs.room as u64 {
            return None;
        }
        (0..units).try_for_each(|number| runs.push(Some(first + number * step), unit.min(self.length - number * unit)))
    }
}

/// Text of two bytes per letter.
fn ucs2(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    char::decode_utf16(units).map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(start: u32, length: u32, attributes: u8, flags: u8, interleave: [u8; 2]) -> Vec<u8> {
        let mut bytes = vec![40, attributes];
        bytes.extend(start.to_le_bytes().into_iter().chain(start.to_be_bytes()));
        bytes.extend(length.to_le_bytes().into_iter().chain(length.to_be_bytes()));
        bytes.extend([0; 7].into_iter().chain([flags]).chain(interleave).chain([0; 4]).chain([3]).chain(*b"A;1"));
        bytes.resize(40, 0);
        bytes
    }

    #[test]
    fn where_bytes_are() {
        for (attributes, interleave, length, expected) in [
            (0, [0, 0], 5000, vec![(10, 5000)]),
            (3, [0, 0], 5000, vec![(13, 5000)]),
            (0, [2, 3], 5000, vec![(10, 4096), (15, 904)]),
            (1, [1, 1], 5000, vec![(12, 2048), (14, 2048), (16, 904)]),
            (0, [1, 0], 5000, vec![(10, 5000)]),
            (0, [1, 1], 0, vec![]),
        ] {
            let record = Record::parse(&record(10, length, attributes, 0, interleave)).unwrap();
            let mut runs = Runs::new(MAX_UNITS);
            record.runs(2048, &mut runs).unwrap();
            let found: Vec<_> = runs.extents.iter().map(|run| (run.offset.unwrap() / 2048, run.length)).collect();
            assert_eq!(found, expected, "{attributes} {interleave:?}");
        }
        let endless = Record::parse(&record(10, u32::MAX, 0, 0, [1, 1])).unwrap();
        assert!(endless.runs(2048, &mut Runs::new(MAX_UNITS)).is_none());
    }

    #[test]
    fn records_that_are_too_short() {
        let good = record(10, 20, 0, 0, [0, 0]);
        assert!(Record::parse(&good).is_some());
        for (at, value) in [(0, 0), (0, 30), (0, 200), (32, 9)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(Record::parse(&bad).is_none(), "byte {at} is {value}");
        }
    }
}
