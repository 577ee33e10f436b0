//! Boxes: a length, four letters, content (ISO/IEC 14496-12 §4.2).

use mediahost_plugin_sdk::detect::bytes::Cursor;

/// Bytes of the longest header that matters.
pub const MAX_HEAD: u64 = 16;

/// The header of a box.
pub struct Header {
    pub kind: [u8; 4],
    /// Bytes of the header itself; the extended type of a `uuid` box counts as content.
    pub head: u64,
    /// Header and content; none reaches to the end of the file.
    pub length: Option<u64>,
}

impl Header {
    /// None when the bytes cannot be a header.
    pub fn parse(bytes: &[u8]) -> Option<Header> {
        let mut cursor = Cursor::new(bytes);
        let short = cursor.be(4)?;
        let kind = cursor.tag()?;
        let (head, length) = match short {
            0 => (8, None),
            1 => (16, Some(cursor.be(8)?)),
            _ => (8, Some(short)),
        };
        (length.is_none_or(|length| length >= head) && plausible(&kind)).then_some(Header { kind, head, length })
    }
}

/// Letters, digits, blanks and what QuickTime uses; anything else means that a hop went astray.
fn plausible(kind: &[u8; 4]) -> bool {
    kind.iter().all(|byte| matches!(byte, b' '..=b'~' | 0xA9 | 0)) && kind[0] != 0
}

/// The boxes within a box, content only; it ends where they stop making sense.
pub fn children(content: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = content;
    std::iter::from_fn(move || {
        let header = Header::parse(rest)?;
        let length = header.length.unwrap_or(rest.len() as u64).min(rest.len() as u64) as usize;
        let content = rest.get(header.head as usize..length)?;
        rest = &rest[length..];
        Some((header.kind, content))
    })
}

/// The content of the first child of this kind.
pub fn child<'a>(content: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    children(content).find(|(found, _)| found == kind).map(|(_, content)| content)
}

/// Version, flags and the rest of a full box (§4.2.2).
pub fn full(content: &[u8]) -> Option<(u8, u32, Cursor<'_>)> {
    let mut cursor = Cursor::new(content);
    let version = cursor.u8()?;
    let flags = cursor.be(3)? as u32;
    Some((version, flags, cursor))
}
