//! Percent-encoding (RFC 3986 §2.1) and base64 (RFC 4648).

/// Encodes what a path or a query cannot hold. Escapes that are there stay; a `%` that begins none is encoded.
/// `also` are delimiters of the component that stay as they are.
pub fn encode(text: &str, also: &[u8]) -> String {
    let bytes = text.as_bytes();
    let mut encoded = String::with_capacity(text.len());
    for (i, &byte) in bytes.iter().enumerate() {
        let kept = match byte {
            b'%' => escaped(bytes, i).is_some(),
            // §3.3, pchar
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
            | b':' | b'@' => true,
            _ => byte.is_ascii_alphanumeric() || also.contains(&byte),
        };
        if kept {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Undoes escapes. Bytes that are not UTF-8 become U+FFFD.
pub fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while let Some(&byte) = bytes.get(i) {
        let escape = if byte == b'%' { escaped(bytes, i) } else { None };
        decoded.push(escape.unwrap_or(byte));
        i += if escape.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The same in a query, where `+` stands for a space.
pub fn decode_query(text: &str) -> String {
    decode(&text.replace('+', " "))
}

/// The byte that the escape at `i` stands for.
fn escaped(bytes: &[u8], i: usize) -> Option<u8> {
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    Some((digit(i + 1)? * 16 + digit(i + 2)?) as u8)
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// §4, with padding.
pub fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().enumerate().fold(0u32, |bits, (i, byte)| bits | u32::from(*byte) << (16 - 8 * i));
        for i in 0..4 {
            let sextet = (bits >> (18 - 6 * i)) & 63;
            text.push(if i <= chunk.len() { char::from(ALPHABET[sextet as usize]) } else { '=' });
        }
    }
    text
}

/// §4, padding optional. None when there is a character of another alphabet.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0u32, 0);
    for character in text.trim_end_matches('=').bytes() {
        let sextet = ALPHABET.iter().position(|known| *known == character)?;
        bits = (bits << 6 | sextet as u32) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_there_and_back() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("ü:ÿ", "w7w6w78=")]
        {
            assert_eq!(to_base64(bytes.as_bytes()), text);
            assert_eq!(from_base64(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(from_base64("Zm9v-"), None);
    }

    #[test]
    fn escapes() {
        assert_eq!(decode("a%20b%2Bc%zz%4"), "a b+c%zz%4");
        assert_eq!(decode("%ff"), "\u{fffd}");
        assert_eq!(decode_query("a+b%2Bc"), "a b+c");
        assert_eq!(decode("é%"), "é%");
    }
}
