//! EBML: an id, a length, content (RFC 8794). Ids keep their length marker.

use mediahost_plugin_sdk::detect::bytes::Cursor;

/// Bytes of the longest element header.
pub const MAX_HEAD: u64 = 12;

/// The header of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub id: u32,
    /// Bytes of the header itself.
    pub head: u64,
    /// Bytes of the content; none while it is being written (§6.2).
    pub content: Option<u64>,
}

impl Header {
    /// None when the bytes cannot be a header.
    pub fn parse(bytes: &[u8]) -> Option<Header> {
        let mut cursor = Cursor::new(bytes);
        let id_length = cursor.rest().first()?.leading_zeros() as usize + 1;
        if id_length > 4 {
            return None;
        }
        let id = cursor.be(id_length)? as u32;
        let length = cursor.rest().first()?.leading_zeros() as usize + 1;
        if length > 8 {
            return None;
        }
        let ones = (1u64 << (7 * length)) - 1;
        let content = cursor.be(length)? & ones;
        let content = (content != ones).then_some(content);
        Some(Header { id, head: cursor.at() as u64, content })
    }
}

/// The elements within an element; they end where they stop making sense. A last one may be cut short.
pub fn children(content: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = content;
    std::iter::from_fn(move || {
        let header = Header::parse(rest)?;
        let body = &rest[header.head as usize..];
        let length = header.content.unwrap_or(u64::MAX).min(body.len() as u64) as usize;
        rest = &body[length..];
        Some((header.id, &body[..length]))
    })
}

/// The content of the first child of this id.
pub fn child(content: &[u8], id: u32) -> Option<&[u8]> {
    children(content).find(|(found, _)| *found == id).map(|(_, content)| content)
}

/// An unsigned integer (§7.2).
pub fn uint(content: &[u8]) -> Option<u64> {
    (content.len() <= 8).then(|| Cursor::new(content).be(content.len())).flatten()
}

/// A floating-point number (§7.3).
pub fn float(content: &[u8]) -> Option<f64> {
    match content.len() {
        0 => Some(0.0),
        4 => Some(f32::from_be_bytes(content.try_into().ok()?).into()),
        8 => Some(f64::from_be_bytes(content.try_into().ok()?)),
        _ => None,
    }
}

/// A text, which ends at the first zero byte (§7.4, §7.5). An empty one is none.
pub fn text(content: &[u8]) -> Option<&str> {
    std::str::from_utf8(content.split(|byte| *byte == 0).next()?).ok().filter(|text| !text.is_empty())
}

/// The unsigned integer of a child.
pub fn uint_of(content: &[u8], id: u32) -> Option<u64> {
    child(content, id).and_then(uint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        for (bytes, expected) in [
            (&[0x1A, 0x45, 0xDF, 0xA3, 0x9F][..], Some((0x1A45_DFA3, 5, Some(31)))),
            (&[0xEC, 0x40, 0x02], Some((0xEC, 3, Some(2)))),
            (&[0x18, 0x53, 0x80, 0x67, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], Some((0x1853_8067, 12, None))),
            (&[0xEC, 0xFF], Some((0xEC, 2, None))),
            (&[0x08, 0x53, 0x80, 0x67, 0x80], None),
            (&[0xEC, 0x00, 0, 0, 0, 0, 0, 0, 0, 0], None),
            (&[0xEC, 0x40], None),
            (&[], None),
        ] {
            let found = Header::parse(bytes).map(|header| (header.id, header.head, header.content));
            assert_eq!(found, expected, "{bytes:x?}");
        }
    }

    #[test]
    fn values() {
        assert_eq!((uint(&[]), uint(&[1, 2]), uint(&[0; 9])), (Some(0), Some(258), None));
        assert_eq!((float(&[0x40, 0x49, 0, 0]), float(&[1])), (Some(3.140625), None));
        assert_eq!((text(b"eng\0x"), text(b""), text(&[0xFF])), (Some("eng"), None, None));
        let cut: Vec<_> = children(&[0xEC, 0x81, 7, 0xEC, 0x85, 1]).collect();
        assert_eq!(cut, [(0xEC, &[7][..]), (0xEC, &[1][..])]);
    }
}
