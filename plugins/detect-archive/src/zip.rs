//! ZIP (PKWARE's APPNOTE), read from its end.
//!
//! Owns: the end record and its 64-bit kin, the central directory, where the data of a member begins.
//! Leaves to others: archives that are split into `.z01` and so on, unpacking.
//!
//! Invariant: sizes are believed from the central directory alone, so that data descriptors do not matter; a local
//! header only tells how long it is.

use std::borrow::Cow;

use mediahost_plugin_sdk::detect::bytes::{Cursor, le_at};
use mediahost_plugin_sdk::detect::{Extent, ExtentOrigin, Layout, Stop, Subject};

use crate::MAX_MEMBERS;
use crate::crc::crc32;
use crate::media::media_type;
use crate::member::{Hindrance, Member, choose, lay_out};

/// How an archive begins: with a member, without any, as the only volume of a set.
pub const SIGNATURES: [&[u8]; 3] = [b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"];

const LOCAL: &[u8] = b"PK\x03\x04";
const ENTRY: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
/// What encrypted directories begin with.
const DECRYPTION: &[u8] = b"PK\x06\x08";

const LOCAL_BYTES: u64 = 30;
const ENTRY_BYTES: usize = 46;
const END_BYTES: usize = 22;
const END_64_BYTES: u64 = 56;
/// With what later versions say about an encrypted directory.
const END_64_LONG_BYTES: u64 = 84;
const LOCATOR_64_BYTES: u64 = 20;
/// What is read of the end: the longest comment, its record, and most directories with it.
const TAIL_BYTES: u64 = 128 * 1024;
/// Of longer directories the rest is not read.
const MAX_DIRECTORY: u64 = 16 << 20;

const FLAG_ENCRYPTED: u64 = 1;
const FLAG_UTF8: u64 = 1 << 11;
const FLAG_MASKED: u64 = 1 << 13;
/// The system that a member comes from; then the upper half of its attributes is its mode, and a link has its target
/// as data.
const UNIX: u64 = 3;
const MODE_KIND: u64 = 0xF000;
const MODE_LINK: u64 = 0xA000;
const EXTRA_64: u64 = 0x0001;
const EXTRA_UNICODE_PATH: u64 = 0x7075;

/// What there is to play; `certain` when the file begins as an archive does.
pub fn detect(subject: &Subject, certain: bool) -> Result<Option<Layout>, Stop> {
    let Some(size) = subject.size() else {
        let nobody_knows = "a ZIP archive is read from its end, and where this one ends is not known";
        return if certain { Err(Stop::unsupported(nobody_knows)) } else { Ok(None) };
    };
    let Some(end) = End::find(subject, size)? else {
        return if certain { Err(Stop::damaged("the archive has no central directory at its end")) } else { Ok(None) };
    };
    if end.disk != 0 {
        return Err(Stop::unsupported(format!("this is the last of {} volumes of a split ZIP archive", end.disk + 1)));
    }
    let directory = Directory::open(subject, &end)?;
    let (members, whole) = directory.members()?;
    let mut chosen = choose(members, whole)?;
    directory.resolve(subject, &mut chosen)?;
    Ok(Some(lay_out("zip", "application/zip", chosen)))
}

fn locked() -> Stop {
    Stop::encrypted("the archive is encrypted, even the names in it")
}

/// What the end of an archive says.
struct End {
    /// Where the directory ends, at the latest.
    at: u64,
    /// The number of this volume.
    disk: u64,
    entries: u64,
    length: u64,
    /// As the archive counts, which may be from behind a program in front of it.
    offset: u64,
}

impl End {
    fn find(subject: &Subject, size: u64) -> Result<Option<End>, Stop> {
        let tail_at = size.saturating_sub(TAIL_BYTES);
        subject.want(&[(tail_at, TAIL_BYTES)])?;
        let tail = subject.read(tail_at, TAIL_BYTES)?;
        let Some(at) = last_end(&tail) else { return Ok(None) };
        let mut fields = Cursor::new(&tail[at + END.len()..]);
        let mut field = |length| fields.le(length).unwrap_or(0);
        let (disk, _, _) = (field(2), field(2), field(2));
        let (entries, length, offset) = (field(2), field(4), field(4));
        let end = End { at: tail_at + at as u64, disk, entries, length, offset };
        match at.checked_sub(LOCATOR_64_BYTES as usize).map(|at| &tail[at..]) {
            Some(locator) if locator.starts_with(LOCATOR_64) => end.widen(subject, locator).map(Some),
            _ => Ok(Some(end)),
        }
    }

    /// The same in 64 bits. The locator counts as the archive does: behind a program, the record is looked for where it
    /// usually is, right before the locator.
    fn widen(self, subject: &Subject, locator: &[u8]) -> Result<End, Stop> {
        let named = le_at(locator, 8, 8).unwrap_or(0);
        let usual = self.at.checked_sub(LOCATOR_64_BYTES + END_64_BYTES);
        let places = [Some(named), usual].into_iter().flatten();
        subject.want(&places.clone().map(|at| (at, END_64_LONG_BYTES)).collect::<Vec<_>>())?;
        for at in places {
            let record = subject.read(at, END_64_LONG_BYTES)?;
            if !record.starts_with(END_64) || (record.len() as u64) < END_64_BYTES {
                continue;
            }
            let field = |offset, length| le_at(&record, offset, length).unwrap_or(0);
            // The length does not count itself and the signature; the algorithm is named at 74.
            if field(4, 8) >= END_64_LONG_BYTES - 12 && field(74, 2) != 0 {
                return Err(locked());
            }
            let (disk, entries) = (field(16, 4), field(32, 8));
            return Ok(End { at, disk, entries, length: field(40, 8), offset: field(48, 8) });
        }
        Err(Stop::damaged("the 64-bit end record of the archive is not where it should be"))
    }
}

/// Where the last end record begins: one whose comment reaches exactly to the end, else one with something behind it.
fn last_end(tail: &[u8]) -> Option<usize> {
    let last = tail.len().checked_sub(END_BYTES)?;
    let ends = || (0..=last).rev().filter(|at| tail[*at..].starts_with(END));
    let stop = |at: usize| le_at(tail, at + 20, 2).map(|comment| at + END_BYTES + comment as usize);
    let exact = ends().find(|at| stop(*at) == Some(tail.len()));
    exact.or_else(|| ends().find(|at| stop(*at).is_some_and(|stop| stop < tail.len())))
}

/// The central directory.
struct Directory<'a> {
    bytes: Cow<'a, [u8]>,
    /// Where it begins.
    at: u64,
    /// What the archive's offsets count from.
    base: u64,
    entries: u64,
    /// Whether all of it was read.
    whole: bool,
}

impl<'a> Directory<'a> {
    fn open(subject: &'a Subject, end: &End) -> Result<Directory<'a>, Stop> {
        let lost = || Stop::damaged("the central directory of the archive is not where it should be");
        // It ends at the end record unless there is a signature in between; then its offset tells.
        let by_length = end.at.checked_sub(end.length);
        let by_offset = Some(end.offset).filter(|at| *at <= end.at && end.length <= end.at - at);
        let mut places: Vec<u64> = by_length.into_iter().chain(by_offset).collect();
        places.dedup();
        let empty = Directory { bytes: Cow::Borrowed(&[]), at: end.at, base: 0, entries: 0, whole: true };
        if end.entries == 0 || end.length == 0 {
            return if end.entries == 0 { Ok(empty) } else { Err(lost()) };
        }
        subject.want(&places.iter().map(|at| (*at, ENTRY.len() as u64)).collect::<Vec<_>>())?;
        for at in places {
            let start = subject.read(at, ENTRY.len() as u64)?;
            if *start == *DECRYPTION {
                return Err(locked());
            }
            let Some(base) = at.checked_sub(end.offset).filter(|_| *start == *ENTRY) else { continue };
            let length = end.length.min(MAX_DIRECTORY);
            subject.want(&[(at, length)])?;
            let bytes = subject.read(at, length)?;
            return Ok(Directory { bytes, at, base, entries: end.entries, whole: length == end.length });
        }
        Err(lost())
    }

    /// The members that are played, each with one extent that begins at its local header; and whether these are all.
    fn members(&self) -> Result<(Vec<Member>, bool), Stop> {
        let (mut members, mut at) = (Vec::new(), 0);
        let most = self.entries.min(MAX_MEMBERS as u64);
        for number in 0..most {
            let rest = self.bytes.get(at..).unwrap_or_default();
            let Some(entry) = Entry::parse(rest) else {
                if self.whole {
                    return Err(Stop::damaged(format!("entry {number} of the central directory is damaged")));
                }
                return Ok((members, false));
            };
            at += entry.length;
            if entry.flags & FLAG_MASKED != 0 {
                return Err(locked());
            }
            let path = entry.path();
            if media_type(&path).is_none() || entry.is_link {
                continue;
            }
            let Some(place) = entry.place() else {
                return Err(Stop::damaged(format!("entry {number} of the central directory lacks its 64-bit sizes")));
            };
            let hindrance = entry.hindrance();
            if hindrance.is_none() && place.packed != place.size {
                return Err(Stop::damaged(format!("entry {number} of the central directory has two lengths")));
            }
            // What lies in the directory or behind it is nowhere.
            let header = self.base.checked_add(place.offset);
            let inside = |header: &u64| {
                header
                    .checked_add(LOCAL_BYTES)
                    .and_then(|at| at.checked_add(place.packed))
                    .is_some_and(|end| end <= self.at)
            };
            let Some(header) = header.filter(inside) else {
                return Err(Stop::damaged(format!(
                    "entry {number} of the central directory points beyond the archive"
                )));
            };
            let extents = vec![Extent::of_file(0, header, place.size)];
            members.push(Member { path, size: place.size, extents, hindrance });
        }
        Ok((members, most == self.entries))
    }

    /// Moves the extents from the local headers to the data behind them.
    fn resolve(&self, subject: &Subject, members: &mut [Member]) -> Result<(), Stop> {
        let headers: Vec<u64> = members.iter().filter_map(|member| file_offset(member.extents.first()?)).collect();
        subject.want(&headers.iter().map(|at| (*at, LOCAL_BYTES)).collect::<Vec<_>>())?;
        for (member, at) in members.iter_mut().zip(headers) {
            let header = subject.read(at, LOCAL_BYTES)?;
            let lengths = le_at(&header, 26, 2).zip(le_at(&header, 28, 2)).filter(|_| header.starts_with(LOCAL));
            let data = lengths.map(|(name, extra)| at + LOCAL_BYTES + name + extra);
            let Some(data) = data.filter(|data| data.checked_add(member.size).is_some_and(|end| end <= self.at)) else {
                return Err(Stop::damaged(format!("there is no member of the archive at offset {at}")));
            };
            member.extents = vec![Extent::of_file(0, data, member.size)];
        }
        Ok(())
    }
}

fn file_offset(extent: &Extent) -> Option<u64> {
    match extent.origin {
        ExtentOrigin::File((_, offset)) => Some(offset),
        ExtentOrigin::Zeros => None,
    }
}

/// An entry of the central directory.
struct Entry<'a> {
    flags: u64,
    method: u64,
    packed: u64,
    size: u64,
    offset: u64,
    name: &'a [u8],
    extra: &'a [u8],
    is_link: bool,
    /// Of the whole entry.
    length: usize,
}

/// Sizes and offset of a member, widened.
struct Place {
    packed: u64,
    size: u64,
    offset: u64,
}

impl<'a> Entry<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Entry<'a>> {
        if !bytes.starts_with(ENTRY) {
            return None;
        }
        let field = |offset, length| le_at(bytes, offset, length);
        let (name, extra, comment) = (field(28, 2)? as usize, field(30, 2)? as usize, field(32, 2)? as usize);
        let mut rest = Cursor::new(bytes.get(ENTRY_BYTES..)?);
        Some(Entry {
            flags: field(8, 2)?,
            method: field(10, 2)?,
            packed: field(20, 4)?,
            size: field(24, 4)?,
            offset: field(42, 4)?,
            name: rest.take(name)?,
            extra: rest.take(extra)?,
            is_link: field(5, 1)? == UNIX && field(40, 2)? & MODE_KIND == MODE_LINK,
            length: {
                rest.skip(comment)?;
                ENTRY_BYTES + rest.at()
            },
        })
    }

    fn extra(&self, id: u64) -> Option<&'a [u8]> {
        let mut fields = Cursor::new(self.extra);
        loop {
            let (found, length) = (fields.le(2)?, fields.le(2)? as usize);
            let content = fields.take(length)?;
            if found == id {
                return Some(content);
            }
        }
    }

    /// The 64-bit field has only what did not fit, in this order.
    fn place(&self) -> Option<Place> {
        let mut wide = Cursor::new(self.extra(EXTRA_64).unwrap_or_default());
        let mut widen = |value: u64| if value == 0xFFFF_FFFF { wide.le(8) } else { Some(value) };
        let (size, packed, offset) = (widen(self.size)?, widen(self.packed)?, widen(self.offset)?);
        Some(Place { packed, size, offset })
    }

    fn hindrance(&self) -> Option<Hindrance> {
        let method = match self.method {
            _ if self.flags & FLAG_ENCRYPTED != 0 => return Some(Hindrance::Encrypted),
            // AES, as WinZip does it; the real method is elsewhere.
            99 => return Some(Hindrance::Encrypted),
            0 => return None,
            1 => "Shrink",
            2..=5 => "Reduce",
            6 => "Implode",
            8 => "Deflate",
            9 => "Deflate64",
            12 => "BZip2",
            14 => "LZMA",
            93 => "Zstandard",
            95 => "XZ",
            98 => "PPMd",
            other => return Some(Hindrance::Compressed(format!("method {other}"))),
        };
        Some(Hindrance::Compressed(method.into()))
    }

    /// The name in Unicode: from the field for that, as UTF-8, else in the letters of the first PCs (APPNOTE, D).
    fn path(&self) -> String {
        // Version 1, the checksum of the name that it belongs to, the name.
        if let Some([1, sum @ ..]) = self.extra(EXTRA_UNICODE_PATH)
            && le_at(sum, 0, 4) == Some(u64::from(crc32(self.name)))
            && let Ok(name) = std::str::from_utf8(&sum[4..])
        {
            return name.to_string();
        }
        match std::str::from_utf8(self.name) {
            Ok(name) => name.to_string(),
            Err(_) if self.flags & FLAG_UTF8 != 0 => String::from_utf8_lossy(self.name).into_owned(),
            Err(_) => self.name.iter().map(|byte| code_page_437(*byte)).collect(),
        }
    }
}

fn code_page_437(byte: u8) -> char {
    const UPPER: &str = concat!(
        "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐",
        "└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{A0}",
    );
    match byte.checked_sub(128) {
        Some(at) => UPPER.chars().nth(usize::from(at)).unwrap_or(char::REPLACEMENT_CHARACTER),
        None => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_letters_of_the_first_pcs() {
        let found: String = [b'a', 0x80, 0x81, 0xE1, 0xFE, 0xFF].map(code_page_437).iter().collect();
        assert_eq!(found, "aÇüß■\u{A0}");
    }

    #[test]
    fn the_last_end_record() {
        let end = |comment: &[u8]| [END, &[0; 16], &(comment.len() as u16).to_le_bytes(), comment].concat();
        for (tail, expected) in [
            (end(b""), Some(0)),
            ([&b"xx"[..], &end(b"a comment")].concat(), Some(2)),
            // One in the comment of the other.
            (end(&[&b"PK\x05\x06"[..], &[0; 30]].concat()), Some(0)),
            ([end(b""), vec![0; 100]].concat(), Some(0)),
            (b"PK\x05\x06".to_vec(), None),
            (vec![], None),
        ] {
            assert_eq!(last_end(&tail), expected, "{tail:?}");
        }
    }
}
