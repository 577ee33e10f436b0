//! Boxes: a length, four letters, content (ISO/IEC 14496-12 §4.2), and the numbers in them.
//!
//! Owns: headers of 32 and of 64 bits, the walk over the boxes within a box, reading big-endian numbers.
//! Leaves to others: what a box means, boxes that are not in memory.
//!
//! Invariant: each step of a walk goes at least the length of a header forward, and a failure knows its byte in the
//! file.

use super::{Error, Name};

/// Bytes of the longest header that matters; the extended type of a `uuid` box counts as content.
pub(super) const MAX_HEADER: u64 = 16;
/// Bytes of the shortest header, and of the shortest box.
const MIN_HEADER: usize = 8;

/// The header of a box (§4.2.2).
///
/// ```text
///  size (32) | type (32) | largesize (64), where size is 1
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Name,
    /// Bytes of the header itself.
    pub(super) head: u64,
    /// Header and content; none reaches to the end of the file.
    pub(super) length: Option<u64>,
}

impl Header {
    /// The header at the front of `bytes`, which stand at byte `at` of the file; none while there are too few.
    pub(super) fn parse(bytes: &[u8], at: u64) -> Result<Option<Header>, Error> {
        let mut numbers = Numbers { at, kind: Name(*b"    "), rest: bytes };
        if bytes.len() < MIN_HEADER {
            return Ok(None);
        }
        let short = numbers.u32()?;
        let kind = Name(numbers.array()?);
        let (head, length) = match short {
            0 => (8, None),
            1 if numbers.rest.len() < MIN_HEADER => return Ok(None),
            1 => (16, Some(numbers.u64()?)),
            _ => (8, Some(u64::from(short))),
        };
        if length.is_some_and(|length| length < head) {
            return Err(Error::Damaged { at, kind, what: "it is shorter than its own header" });
        }
        Ok(Some(Header { kind, head, length }))
    }
}

/// A box that is in memory as a whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole<'a> {
    /// Where its header stands in the file.
    pub(super) at: u64,
    pub(super) kind: Name,
    content_at: u64,
    content: &'a [u8],
}

impl<'a> Whole<'a> {
    /// The box at the front of `bytes`, which stand at byte `at` of the file. Without a length it is all of them.
    pub(super) fn parse(bytes: &'a [u8], at: u64) -> Result<Option<Whole<'a>>, Error> {
        let Some(header) = Header::parse(bytes, at)? else { return Ok(None) };
        let beyond = Error::Damaged { at, kind: header.kind, what: "it is longer than what it lies in" };
        let Ok(length) = usize::try_from(header.length.unwrap_or(bytes.len() as u64)) else { return Err(beyond) };
        let Some(content) = bytes.get(header.head as usize..length) else { return Err(beyond) };
        Ok(Some(Whole { at, kind: header.kind, content_at: at.saturating_add(header.head), content }))
    }

    /// Its end in the file.
    fn end(&self) -> u64 {
        self.content_at.saturating_add(self.content.len() as u64)
    }

    /// The boxes within it. Fewer bytes than a header at the end are no box: QuickTime closes lists with four zeros.
    pub(super) fn children(&self) -> impl Iterator<Item = Result<Whole<'a>, Error>> + use<'a> {
        let (mut at, mut rest) = (self.content_at, self.content);
        std::iter::from_fn(move || {
            let found = Whole::parse(rest, at).transpose()?;
            match &found {
                Ok(child) => {
                    rest = rest.get((child.end() - at) as usize..).unwrap_or_default();
                    at = child.end();
                }
                Err(_) => rest = &[],
            }
            Some(found)
        })
    }

    /// The boxes of one kind within it.
    pub(super) fn all(&self, kind: &'static [u8; 4]) -> impl Iterator<Item = Result<Whole<'a>, Error>> + use<'a> {
        self.children().filter(move |child| child.as_ref().is_ok_and(|child| child.kind.0 == *kind) || child.is_err())
    }

    /// The first box of one kind within it.
    pub(super) fn child(&self, kind: &'static [u8; 4]) -> Result<Option<Whole<'a>>, Error> {
        self.all(kind).next().transpose()
    }

    /// The first box of one kind within it, which has to be there.
    pub(super) fn need(&self, kind: &'static [u8; 4], what: &'static str) -> Result<Whole<'a>, Error> {
        self.child(kind)?.ok_or_else(|| self.damaged(what))
    }

    /// Version, flags and the numbers behind them of a full box (§4.2.2).
    pub(super) fn full(&self) -> Result<(u8, u32, Numbers<'a>), Error> {
        let mut numbers = Numbers { at: self.at, kind: self.kind, rest: self.content };
        let word = numbers.u32()?;
        Ok(((word >> 24) as u8, word & 0x00FF_FFFF, numbers))
    }

    /// What is wrong with it.
    pub(super) fn damaged(&self, what: &'static str) -> Error {
        Error::Damaged { at: self.at, kind: self.kind, what }
    }
}

/// Reads the numbers of one box from front to back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers<'a> {
    at: u64,
    kind: Name,
    rest: &'a [u8],
}

impl<'a> Numbers<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(Error::Damaged { at: self.at, kind: self.kind, what: "it ends within its fields" });
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_be_bytes)
    }

    /// A number of 64 bits where the box's version says so, else of 32.
    pub(super) fn wide(&mut self, is_wide: bool) -> Result<u64, Error> {
        if is_wide { self.u64() } else { self.u32().map(u64::from) }
    }

    /// A number of 32 bits, where the box has it.
    pub(super) fn u32_if(&mut self, is_there: bool) -> Result<Option<u32>, Error> {
        if is_there { self.u32().map(Some) } else { Ok(None) }
    }
}
