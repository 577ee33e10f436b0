//! The name of an object's folder.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// 128 bits of the hash of a stable key. Who knows the folder does not know the address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId([u8; 16]);

impl ObjectId {
    /// The id of whatever the caller calls `key`.
    pub fn from_key(key: &str) -> Self {
        let hash = Sha256::digest(key.as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        Self(id)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text was not 32 small hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the id of an object")]
pub struct NotAnId;

impl FromStr for ObjectId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(NotAnId),
        };
        let digits: &[u8; 32] = text.as_bytes().try_into().map_err(|_| NotAnId)?;
        let mut id = [0; 16];
        for (byte, pair) in id.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let id = ObjectId::from_key("abc");
        assert_eq!(id.to_string(), "ba7816bf8f01cfea414140de5dae2223");
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "BA7816bf8f01cfea414140de5dae2223", "ba7816bf8f01cfea414140de5dae222", "é"] {
            assert_eq!(text.parse::<ObjectId>(), Err(NotAnId), "{text}");
        }
    }
}
