//! What every UDF structure begins with, and the text in them (ECMA-167 3/7.2, 1/7.2; OSTA UDF §2.1).
//!
//! Owns: identifiers, checksums, text of one and two bytes per letter.
//! Leaves to others: what the structures say.

use mediahost_plugin_sdk::detect::bytes::le_at;

/// Bytes of a tag.
pub const LENGTH: usize = 16;

/// The identifier of a descriptor whose checksums are right. The checksum of the content counts as far as it is there.
pub fn identifier(bytes: &[u8]) -> Option<u16> {
    let tag = bytes.get(..LENGTH)?;
    let sum = tag.iter().enumerate().filter(|(at, _)| *at != 4).fold(0u8, |sum, (_, byte)| sum.wrapping_add(*byte));
    let length = usize::from(u16::from_le_bytes([tag[10], tag[11]]));
    let is_intact = bytes.get(LENGTH..LENGTH + length).is_none_or(|content| Some(crc(content)) == u16_at(tag, 8));
    (sum == tag[4] && is_intact).then(|| u16::from_le_bytes([tag[0], tag[1]]))
}

/// The block that a descriptor says it is in.
pub fn location(bytes: &[u8]) -> Option<u32> {
    u32_at(bytes, 12)
}

pub fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    le_at(bytes, offset, 2).map(|value| value as u16)
}

pub fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    le_at(bytes, offset, 4).map(|value| value as u32)
}

/// Text that says with its first byte how wide its letters are.
pub fn text(bytes: &[u8]) -> Option<String> {
    let (width, letters) = bytes.split_first()?;
    match width {
        8 => Some(letters.iter().map(|byte| char::from(*byte)).collect()),
        16 => {
            let units = letters.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            Some(char::decode_utf16(units).map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
        }
        _ => None,
    }
}

/// Text in a field of fixed length, whose last byte tells how much of it is used.
pub fn field(bytes: &[u8]) -> Option<String> {
    let (used, field) = bytes.split_last()?;
    text(field.get(..usize::from(*used))?)
}

/// CRC of CCITT, polynomial 0x1021, beginning with 0.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| crc << 8 ^ CRC[usize::from((crc >> 8) as u8 ^ byte)])
}

const CRC: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = ((byte as u16) << 8, 0);
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums() {
        // The example of ECMA-167 1/C.1.
        assert_eq!(crc(&[0x70, 0x6A, 0x77]), 0x3299);
        let mut bytes = vec![5, 1, 2, 0, 0, 0, 0, 0, 0x99, 0x32, 3, 0, 9, 0, 0, 0, 0x70, 0x6A, 0x77];
        bytes[4] = bytes[..16].iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
        assert_eq!((identifier(&bytes), location(&bytes)), (Some(261), Some(9)));
        assert_eq!(identifier(&bytes[..18]), Some(261));
        bytes[18] += 1;
        assert_eq!(identifier(&bytes), None);
        assert_eq!(identifier(&[5, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn texts() {
        assert_eq!(text(b"\x08caf\xE9").as_deref(), Some("café"));
        assert_eq!(text(b"\x10\x65\xE5\x67\x2C").as_deref(), Some("日本"));
        assert_eq!((text(b"\xFEx"), text(b"")), (None, None));
        assert_eq!(field(b"\x08abc\0\0\0\x04").as_deref(), Some("abc"));
        assert_eq!((field(b"\x08abc\x09"), field(b"\0\0\0\0")), (None, None));
    }
}
