//! Headers of RAR 5.
//!
//! ```text
//! checksum u32 | length | kind | flags | with 1: length of extra | with 2: length of data | … of the kind … | extra
//! file: flags | size | attributes | with 2: time u32 | with 4: checksum u32 | compression | system
//!       | name length | name
//! ```
//! Where no width is given a number has 7 bits in each byte, the lowest first, and the highest bit tells that more
//! follow.

use mediahost_plugin_sdk::detect::Stop;
use mediahost_plugin_sdk::detect::bytes::{Cursor, le_at};

use super::{About, Found, Header, MAX_HEADER, Part, What, method};
use crate::crc::crc32;
use crate::member::Hindrance;
use crate::walk::Walk;

pub const SIGNATURE: &[u8] = b"Rar!\x1A\x07\x01\0";

/// Checksum and the longest length.
const BASE: u64 = 7;

const ARCHIVE: u64 = 1;
const FILE: u64 = 2;
const ENCRYPTION: u64 = 4;
const END: u64 = 5;

const HAS_EXTRA: u64 = 0x01;
const HAS_DATA: u64 = 0x02;
const FROM_PREVIOUS: u64 = 0x08;
const INTO_NEXT: u64 = 0x10;
const ARCHIVE_IN_SET: u64 = 0x01;
const ARCHIVE_NUMBER: u64 = 0x02;
const FILE_FOLDER: u64 = 0x01;
const FILE_TIME: u64 = 0x02;
const FILE_CHECKSUM: u64 = 0x04;
const FILE_SIZE_UNKNOWN: u64 = 0x08;
const END_MORE: u64 = 0x01;
const EXTRA_ENCRYPTION: u64 = 1;
const EXTRA_LINK: u64 = 5;

/// The header at an offset.
pub fn header(walk: &mut Walk, at: u64, skipped: u64) -> Result<Found, Stop> {
    let Some(base) = walk.see(at, BASE, skipped)? else { return Ok(Found::TooFar) };
    if base.is_empty() {
        return Ok(Found::Nothing);
    }
    let mut cursor = Cursor::new(&base);
    let length = cursor.skip(4).and_then(|()| variable(&mut cursor)).filter(|length| (1..=MAX_HEADER).contains(length));
    let Some(length) = length.map(|length| length + cursor.at() as u64) else { return Ok(Found::Damaged) };
    let Some(bytes) = walk.see(at, length, skipped)? else { return Ok(Found::TooFar) };
    let whole = Some(bytes).filter(|bytes| bytes.len() as u64 == length);
    Ok(whole.and_then(|bytes| parse(&bytes)).map_or(Found::Damaged, Found::Header))
}

fn variable(cursor: &mut Cursor) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = cursor.u8()?;
        let bits = u64::from(byte & 0x7F);
        if bits << shift >> shift != bits {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn parse(bytes: &[u8]) -> Option<Header> {
    if le_at(bytes, 0, 4)? != u64::from(crc32(bytes.get(4..)?)) {
        return None;
    }
    let mut fields = Cursor::new(bytes.get(4..)?);
    variable(&mut fields)?;
    let (kind, flags) = (variable(&mut fields)?, variable(&mut fields)?);
    let extra = if flags & HAS_EXTRA != 0 { variable(&mut fields)? } else { 0 };
    let data = if flags & HAS_DATA != 0 { variable(&mut fields)? } else { 0 };
    let rest = fields.rest();
    let own = rest.len().checked_sub(usize::try_from(extra).ok()?)?;
    let (mut own, extra) = (Cursor::new(&rest[..own]), &rest[own..]);
    let what = match kind {
        ARCHIVE => What::Archive(archive(&mut own)?),
        FILE => What::File(file(&mut own, extra, flags)?),
        ENCRYPTION => What::Locked,
        END => What::End(variable(&mut own)? & END_MORE != 0),
        _ => What::Other,
    };
    Some(Header { what, length: bytes.len() as u64, data })
}

fn archive(fields: &mut Cursor) -> Option<About> {
    let flags = variable(fields)?;
    let number = if flags & ARCHIVE_NUMBER != 0 { variable(fields)? } else { 0 };
    Some(About { in_set: flags & ARCHIVE_IN_SET != 0, number: Some(number), first: None })
}

fn file(fields: &mut Cursor, extra: &[u8], header_flags: u64) -> Option<Part> {
    let (flags, size, _attributes) = (variable(fields)?, variable(fields)?, variable(fields)?);
    for optional in [FILE_TIME, FILE_CHECKSUM] {
        if flags & optional != 0 {
            fields.skip(4)?;
        }
    }
    let (compression, _system, name_length) = (variable(fields)?, variable(fields)?, variable(fields)?);
    let name = fields.take(usize::try_from(name_length).ok()?)?;
    let (is_encrypted, is_link) = (has_record(extra, EXTRA_ENCRYPTION)?, has_record(extra, EXTRA_LINK)?);
    Some(Part {
        path: String::from_utf8_lossy(name).into_owned(),
        size: (flags & FILE_SIZE_UNKNOWN == 0).then_some(size),
        from_previous: header_flags & FROM_PREVIOUS != 0,
        into_next: header_flags & INTO_NEXT != 0,
        bodiless: flags & FILE_FOLDER != 0 || is_link,
        hindrance: if is_encrypted { Some(Hindrance::Encrypted) } else { method(compression >> 7 & 7) },
        offset: 0,
        length: 0,
    })
}

/// Records of the extra area: length, kind, content.
fn has_record(extra: &[u8], kind: u64) -> Option<bool> {
    let mut records = Cursor::new(extra);
    while !records.rest().is_empty() {
        let length = variable(&mut records)?;
        let record = records.take(usize::try_from(length).ok()?)?;
        if variable(&mut Cursor::new(record))? == kind {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (bytes, expected) in [
            (&[0x7F][..], Some(0x7F)),
            (&[0x80, 0x01], Some(0x80)),
            (&[0x80, 0x80, 0x00], Some(0)),
            (&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], Some(u64::MAX)),
            (&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02], None),
            (&[0x80; 20], None),
            (&[0x80], None),
            (&[], None),
        ] {
            assert_eq!(variable(&mut Cursor::new(bytes)), expected, "{bytes:?}");
        }
    }
}
