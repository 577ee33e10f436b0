//! Headers of RAR 1.5 to 4.
//!
//! ```text
//! checksum u16 | kind u8 | flags u16 | length u16 | … of the kind …
//! file: packed u32 | size u32 | system u8 | checksum u32 | time u32 | version u8 | method u8 | name length u16
//!       | attributes u32 | with LARGE: packed u32, size u32, the upper halves | name | …
//! ```

use mediahost_plugin_sdk::detect::Stop;
use mediahost_plugin_sdk::detect::bytes::{Cursor, le_at};

use super::{About, Found, Header, Part, What, method};
use crate::crc::crc32;
use crate::member::Hindrance;
use crate::walk::Walk;

pub const SIGNATURE: &[u8] = b"Rar!\x1A\x07\0";

/// The fields that all headers have.
const BASE: u64 = 7;

const ARCHIVE: u8 = 0x73;
const FILE: u8 = 0x74;
const OLD_COMMENT: u8 = 0x75;
const OLD_AUTHOR: u8 = 0x76;
const OLD_SERVICE: u8 = 0x77;
const OLD_RECOVERY: u8 = 0x78;
const OLD_SIGNATURE: u8 = 0x79;
const SERVICE: u8 = 0x7A;
const END: u8 = 0x7B;

const HAS_DATA: u64 = 0x8000;
const ARCHIVE_IN_SET: u64 = 0x0001;
const ARCHIVE_COMMENT: u64 = 0x0002;
const ARCHIVE_COUNTED_NAMES: u64 = 0x0010;
const ARCHIVE_LOCKED: u64 = 0x0080;
const ARCHIVE_FIRST: u64 = 0x0100;
const FILE_FROM_PREVIOUS: u64 = 0x0001;
const FILE_INTO_NEXT: u64 = 0x0002;
const FILE_ENCRYPTED: u64 = 0x0004;
const FILE_COMMENT: u64 = 0x0008;
const FILE_FOLDER: u64 = 0x00E0;
const FILE_LARGE: u64 = 0x0100;
const FILE_UNICODE: u64 = 0x0200;
const END_MORE: u64 = 0x0001;

/// The system that a member comes from; then the attributes are its mode, and a link has its target as data.
const UNIX: u8 = 3;
const MODE_KIND: u64 = 0xF000;
const MODE_LINK: u64 = 0xA000;

/// The header at an offset.
pub fn header(walk: &mut Walk, at: u64, skipped: u64) -> Result<Found, Stop> {
    let Some(base) = walk.see(at, BASE, skipped)? else { return Ok(Found::TooFar) };
    if base.is_empty() {
        return Ok(Found::Nothing);
    }
    let Some(length) = le_at(&base, 5, 2).filter(|length| *length >= BASE) else { return Ok(Found::Damaged) };
    let Some(bytes) = walk.see(at, length, skipped)? else { return Ok(Found::TooFar) };
    let parsed = Some(bytes).filter(|bytes| bytes.len() as u64 == length).and_then(|bytes| parse(&bytes));
    Ok(parsed.map_or(Found::Damaged, Found::Header))
}

fn parse(bytes: &[u8]) -> Option<Header> {
    let (kind, flags) = (bytes[2], le_at(bytes, 3, 2)?);
    // The checksum does not cover the comments that RAR 2 put into headers, and that of its signatures is not right.
    let checked = match kind {
        ARCHIVE => flags & ARCHIVE_COMMENT == 0,
        FILE => flags & FILE_COMMENT == 0,
        OLD_COMMENT | OLD_RECOVERY | SERVICE | END => true,
        OLD_AUTHOR | OLD_SERVICE | OLD_SIGNATURE => false,
        _ => return None,
    };
    if checked && le_at(bytes, 0, 2)? != u64::from(crc32(&bytes[2..]) & 0xFFFF) {
        return None;
    }
    let mut data = if flags & HAS_DATA != 0 { le_at(bytes, 7, 4)? } else { 0 };
    let what = match kind {
        ARCHIVE if flags & ARCHIVE_LOCKED != 0 => What::Locked,
        ARCHIVE => What::Archive(About {
            in_set: flags & ARCHIVE_IN_SET != 0,
            number: None,
            first: match flags & (ARCHIVE_FIRST | ARCHIVE_COUNTED_NAMES) {
                0 => None,
                said => Some(said & ARCHIVE_FIRST != 0),
            },
        }),
        FILE | SERVICE => {
            let high = if flags & FILE_LARGE != 0 { le_at(bytes, 32, 4)? } else { 0 };
            data = le_at(bytes, 7, 4)? | high << 32;
            if kind == FILE { What::File(file(bytes, flags)?) } else { What::Other }
        }
        END => What::End(flags & END_MORE != 0),
        _ => What::Other,
    };
    Some(Header { what, length: bytes.len() as u64, data })
}

fn file(bytes: &[u8], flags: u64) -> Option<Part> {
    let low = le_at(bytes, 11, 4)?;
    let (system, name_length, attributes) = (*bytes.get(15)?, le_at(bytes, 26, 2)?, le_at(bytes, 28, 4)?);
    let mut rest = Cursor::new(bytes.get(32..)?);
    let size = match flags & FILE_LARGE {
        0 => Some(low).filter(|size| *size != 0xFFFF_FFFF),
        _ => {
            rest.skip(4)?;
            Some(low | rest.le(4)? << 32).filter(|size| *size != u64::MAX)
        }
    };
    let name = rest.take(name_length as usize)?;
    let method = method(u64::from(bytes[25]).saturating_sub(0x30));
    let is_link = system == UNIX && attributes & MODE_KIND == MODE_LINK;
    Some(Part {
        path: if flags & FILE_UNICODE != 0 { unicode(name) } else { String::from_utf8_lossy(name).into_owned() },
        size,
        from_previous: flags & FILE_FROM_PREVIOUS != 0,
        into_next: flags & FILE_INTO_NEXT != 0,
        bodiless: flags & FILE_FOLDER == FILE_FOLDER || is_link,
        hindrance: if flags & FILE_ENCRYPTED != 0 { Some(Hindrance::Encrypted) } else { method },
        offset: 0,
        length: 0,
    })
}

/// A name in Unicode: UTF-8, or behind a zero what is to be changed of the name before it.
fn unicode(name: &[u8]) -> String {
    let Some(zero) = name.iter().position(|byte| *byte == 0) else { return String::from_utf8_lossy(name).into_owned() };
    let (plain, changes) = (&name[..zero], &name[zero + 1..]);
    String::from_utf16_lossy(&changed(plain, changes))
}

/// Two bits for each step tell how many bytes a letter takes, or that a run of letters is as it was.
fn changed(plain: &[u8], changes: &[u8]) -> Vec<u16> {
    let mut letters: Vec<u16> = Vec::new();
    let mut changes = Cursor::new(changes);
    let high = u16::from(changes.u8().unwrap_or(0)) << 8;
    let (mut steps, mut left) = (0u8, 0);
    loop {
        if left == 0 {
            let Some(next) = changes.u8() else { return letters };
            (steps, left) = (next, 4);
        }
        let step = steps >> 6;
        (steps, left) = (steps << 2, left - 1);
        let Some(first) = changes.u8() else { return letters };
        let wide = u16::from(first);
        match step {
            0 => letters.push(wide),
            1 => letters.push(wide | high),
            2 => letters.push(wide | u16::from(changes.u8().unwrap_or(0)) << 8),
            _ => {
                let shift = if first & 0x80 != 0 { changes.u8() } else { None };
                let run = plain.iter().skip(letters.len()).take(usize::from(first & 0x7F) + 2);
                let letter = |byte: &u8| match shift {
                    Some(shift) => u16::from(byte.wrapping_add(shift)) | high,
                    None => u16::from(*byte),
                };
                let run: Vec<u16> = run.map(letter).collect();
                letters.extend(run);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_unicode() {
        for (name, expected) in [
            (&b"film.mkv"[..], "film.mkv"),
            ("\u{444}.mkv".as_bytes(), "\u{444}.mkv"),
            // One letter of the Cyrillic page, a run of four as it was.
            (b"_.mkv\0\x04\x70\x44\x02", "\u{444}.mkv"),
            // A letter of two bytes, one as it is, a run that is shifted into the page.
            (b"__ab\0\x04\x8C\x2D\x4EX\x80\x01", "\u{4E2D}X\u{462}\u{463}"),
            (b"abc\0", ""),
            (b"abc\0\x04\xFF\xFF", "abc"),
        ] {
            assert_eq!(unicode(name), expected, "{name:?}");
        }
    }
}
