//! TAR: the first Unix one, ustar, PAX (POSIX.1-2001) and GNU's.
//!
//! Owns: headers and the records that go before them.
//! Leaves to others: sparse members, which are refused; archives that are compressed as a whole.
//!
//! Invariant: one header tells where the next is; a checksum that is wrong ends the look.

use mediahost_plugin_sdk::detect::bytes::Cursor;
use mediahost_plugin_sdk::detect::{Extent, Layout, Stop, Subject};

use crate::member::{Hindrance, Member, choose, lay_out};
use crate::walk::Walk;
use crate::{MAX_MEMBERS, ROUNDS};

/// Everything comes in blocks of this length.
pub const BLOCK: u64 = 512;
/// Bytes of names and records in front of a header, at most.
const MAX_RECORDS: u64 = 1 << 20;
/// Blocks that list the holes of one sparse member, at most.
const MAX_SPARSE_BLOCKS: u32 = 65_536;

/// Whether a header says that it is one.
pub fn has_magic(block: &[u8]) -> bool {
    block.get(257..262) == Some(b"ustar")
}

/// Whether a header of any age has the right checksum.
pub fn is_header(block: &[u8]) -> bool {
    Header::parse(block).is_some()
}

/// What there is to play.
pub fn detect(subject: &Subject) -> Result<Layout, Stop> {
    let mut reader = Reader { walk: Walk::new(subject, 0, ROUNDS), members: Vec::new(), next: Records::default() };
    let whole = reader.read()?;
    let chosen = choose(reader.members, whole)?;
    Ok(lay_out("tar", "application/x-tar", chosen))
}

struct Header {
    name: Vec<u8>,
    size: u64,
    kind: u8,
    /// GNU's list of holes goes on in another block.
    more_holes: bool,
}

impl Header {
    fn parse(block: &[u8]) -> Option<Header> {
        let block: &[u8; BLOCK as usize] = block.try_into().ok()?;
        if !sums(block).contains(&number(&block[148..156])?) {
            return None;
        }
        let mut name = until_nul(&block[..100]).to_vec();
        // GNU's magic ends otherwise, and has times where POSIX has the folder.
        let folder = until_nul(&block[345..500]);
        if &block[257..263] == b"ustar\0" && !folder.is_empty() {
            name = [folder, b"/", &name].concat();
        }
        let kind = block[156];
        Some(Header { name, size: number(&block[124..136])?, kind, more_holes: kind == b'S' && block[482] != 0 })
    }
}

/// Some old programs summed signed bytes.
fn sums(block: &[u8; BLOCK as usize]) -> [u64; 2] {
    let bytes = || block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
    let signed: i64 = bytes().map(|byte| i64::from(byte as i8)).sum();
    [bytes().map(u64::from).sum(), signed as u64]
}

/// Octal digits between spaces and zeros, or with the highest bit set a number in all bytes.
fn number(field: &[u8]) -> Option<u64> {
    match field.split_first()? {
        (0x80, rest) => rest.iter().try_fold(0u64, |sum, byte| sum.checked_mul(256)?.checked_add(u64::from(*byte))),
        (0x81.., _) => None,
        _ => {
            let digits = until_nul(field).trim_ascii();
            digits.iter().try_fold(0u64, |sum, digit| match digit {
                b'0'..=b'7' => sum.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
                _ => None,
            })
        }
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// What was said in front of a header and counts more than it.
#[derive(Default)]
struct Records {
    path: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
    /// There were records of PAX.
    pax: bool,
}

impl Records {
    /// Records of PAX: `LENGTH KEY=VALUE\n`, the length in decimal digits and of the whole record.
    fn read(&mut self, records: &[u8]) -> Option<()> {
        let mut rest = Cursor::new(records);
        self.pax = true;
        while rest.rest().first().is_some_and(|byte| *byte != 0) {
            let start = rest.rest();
            let digits = start.iter().position(|byte| *byte == b' ')?;
            let length: usize = std::str::from_utf8(&start[..digits]).ok()?.parse().ok()?;
            let record = rest.take(length)?.strip_suffix(b"\n")?.get(digits + 1..)?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" if !self.sparse => self.path = Some(value.to_vec()),
                b"size" => self.size = Some(std::str::from_utf8(value).ok()?.parse().ok()?),
                b"GNU.sparse.name" => (self.path, self.sparse) = (Some(value.to_vec()), true),
                _ => self.sparse |= key.starts_with(b"GNU.sparse."),
            }
        }
        Some(())
    }
}

struct Reader<'a> {
    walk: Walk<'a>,
    members: Vec<Member>,
    next: Records,
}

impl Reader<'_> {
    /// Goes from header to header; tells whether it came to the end.
    fn read(&mut self) -> Result<bool, Stop> {
        let (mut at, mut skipped) = (0, 0);
        for _ in 0..MAX_MEMBERS {
            let Some(block) = self.walk.see(at, BLOCK, skipped)? else { return Ok(false) };
            if block.iter().all(|byte| *byte == 0) {
                return Ok(true);
            }
            let Some(header) = Header::parse(&block) else {
                return Err(Stop::damaged(format!("the header at offset {at} of the archive is damaged")));
            };
            let Some(next) = self.take(at, header)? else { return Ok(false) };
            (at, skipped) = (next, next - at);
        }
        Ok(false)
    }

    /// Takes what a header says, and tells where the next one is, or `None` when that cannot be found out any more.
    fn take(&mut self, at: u64, header: Header) -> Result<Option<u64>, Stop> {
        let Some(data) = self.behind_holes(at, &header)? else { return Ok(None) };
        if matches!(header.kind, b'x' | b'X' | b'L') {
            return self.take_records(data, &header);
        }
        let said = match header.kind {
            b'g' | b'K' => Records::default(),
            _ => std::mem::take(&mut self.next),
        };
        let stored = match header.kind {
            // Links and devices, folders: what they say of a length is not about bytes here.
            b'2'..=b'6' => 0,
            b'1' if !said.pax => 0,
            _ => said.size.unwrap_or(header.size),
        };
        let next = self.next_header(data, stored)?;
        if matches!(header.kind, b'0' | b'7' | 0 | b'S') && stored > 0 {
            let path = said.path.unwrap_or(header.name);
            let hindrance = (said.sparse || header.kind == b'S').then_some(Hindrance::Sparse);
            let path = String::from_utf8_lossy(&path).into_owned();
            let extents = vec![Extent::of_file(0, data, stored)];
            self.members.push(Member { path, size: stored, extents, hindrance });
        }
        Ok(Some(next))
    }

    fn take_records(&mut self, data: u64, header: &Header) -> Result<Option<u64>, Stop> {
        let damaged = || Stop::damaged(format!("the records at offset {data} of the archive are damaged"));
        if header.size > MAX_RECORDS {
            return Err(damaged());
        }
        let next = self.next_header(data, header.size)?;
        let Some(records) = self.walk.see(data, header.size, 0)? else { return Ok(None) };
        match header.kind {
            b'L' => self.next.path = Some(until_nul(&records).to_vec()),
            _ => self.next.read(&records).ok_or_else(damaged)?,
        }
        Ok(Some(next))
    }

    fn next_header(&self, data: u64, length: u64) -> Result<u64, Stop> {
        let end = data.checked_add(length).filter(|end| self.walk.size().is_none_or(|size| *end <= size));
        end.and_then(|end| end.checked_next_multiple_of(BLOCK))
            .ok_or_else(|| Stop::damaged(format!("the archive ends within its member at offset {data}")))
    }

    /// Where the data begins: GNU lists holes in further blocks.
    fn behind_holes(&mut self, at: u64, header: &Header) -> Result<Option<u64>, Stop> {
        let (mut data, mut more) = (at.saturating_add(BLOCK), header.more_holes);
        for _ in 0..MAX_SPARSE_BLOCKS {
            if !more {
                return Ok(Some(data));
            }
            let Some(block) = self.walk.see(data, BLOCK, 0)? else { return Ok(None) };
            more = block.get(504).is_some_and(|byte| *byte != 0);
            data = data.saturating_add(BLOCK);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (field, expected) in [
            (&b"00000001750\0"[..], Some(1000)),
            (b"  1750 \0", Some(1000)),
            (b"\0\0\0\0", Some(0)),
            (b"777777777777", Some((1 << 36) - 1)),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", Some(1 << 33)),
            (b"\x80\x01\0\0\0\0\0\0\0\0\0\0", None),
            (b"\xFF\xFF\xFF\xFF", None),
            (b"12a", None),
            (b"", None),
        ] {
            assert_eq!(number(field), expected, "{field:?}");
        }
    }

    #[test]
    fn records_of_pax() {
        let read = |text: &str| {
            let mut records = Records::default();
            records.read(text.as_bytes()).map(|()| (records.path, records.size, records.sparse))
        };
        let path = |path: &str| Some(path.as_bytes().to_vec());
        assert_eq!(read("13 path=a=\nb\n19 size=8589934592\n\0\0"), Some((path("a=\nb"), Some(1 << 33), false)));
        assert_eq!(read("22 GNU.sparse.major=1\n21 GNU.sparse.name=f\n10 path=g\n"), Some((path("f"), None, true)));
        for damaged in ["x", "9 a=b\n", "3 =", "99999999999999999999 a=b\n", "11 size=-1\n", "0 a=b\n", "5 a=b\n"] {
            assert_eq!(read(damaged), None, "{damaged}");
        }
    }
}
