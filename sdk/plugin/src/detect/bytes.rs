//! Reading numbers out of bytes and bits that somebody else wrote: what is not there is `None`.

/// A place in a run of bytes.
#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0 }
    }

    /// How far it has come, in bytes.
    pub fn at(&self) -> usize {
        self.at
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.rest().get(..length)?;
        self.at += length;
        Some(taken)
    }

    /// Goes over `length` bytes.
    pub fn skip(&mut self, length: usize) -> Option<()> {
        self.take(length).map(|_| ())
    }

    /// The next `length` bytes, at most 8, as a big-endian number.
    pub fn be(&mut self, length: usize) -> Option<u64> {
        Some(self.take(length)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    /// The next `length` bytes, at most 8, as a little-endian number.
    pub fn le(&mut self, length: usize) -> Option<u64> {
        Some(self.take(length)?.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    pub fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    pub fn be16(&mut self) -> Option<u32> {
        self.be(2).map(|value| value as u32)
    }

    pub fn be32(&mut self) -> Option<u32> {
        self.be(4).map(|value| value as u32)
    }

    /// Four bytes, as formats use them for names.
    pub fn tag(&mut self) -> Option<[u8; 4]> {
        self.take(4)?.try_into().ok()
    }
}

/// The big-endian number of `length` bytes, at most 8, at an offset.
pub fn be_at(bytes: &[u8], offset: usize, length: usize) -> Option<u64> {
    Cursor::new(bytes.get(offset..)?).be(length)
}

/// The little-endian number of `length` bytes, at most 8, at an offset.
pub fn le_at(bytes: &[u8], offset: usize, length: usize) -> Option<u64> {
    Cursor::new(bytes.get(offset..)?).le(length)
}

/// A place in a run of bits, the highest bit of each byte first.
#[derive(Clone, Copy)]
pub struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub fn new(bytes: &'a [u8]) -> Bits<'a> {
        Bits { bytes, at: 0 }
    }

    /// The next `count` bits, at most 32.
    pub fn get(&mut self, count: u32) -> Option<u32> {
        let mut value = 0u64;
        for _ in 0..count {
            let byte = *self.bytes.get(self.at / 8)?;
            value = value << 1 | u64::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value as u32)
    }

    pub fn flag(&mut self) -> Option<bool> {
        self.get(1).map(|bit| bit == 1)
    }

    pub fn skip(&mut self, count: u32) -> Option<()> {
        self.at = self.at.checked_add(count as usize)?;
        (self.at <= self.bytes.len() * 8).then_some(())
    }

    /// An unsigned Exp-Golomb number (ISO/IEC 14496-10 §9.1).
    pub fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1u32 << zeros) - 1 + self.get(zeros)?)
    }

    /// A signed Exp-Golomb number (ISO/IEC 14496-10 §9.1.1).
    pub fn se(&mut self) -> Option<i32> {
        let code = i64::from(self.ue()?);
        Some(if code & 1 == 1 { (code + 1) / 2 } else { -(code / 2) } as i32)
    }
}

/// Where `needle` stands in `haystack` from `from` on.
pub fn find(haystack: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let first = *needle.first()?;
    let mut at = from;
    loop {
        at += haystack.get(at..)?.iter().position(|byte| *byte == first)?;
        if haystack[at..].starts_with(needle) {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let mut cursor = Cursor::new(&[1, 2, 3, 4, 5, 6]);
        assert_eq!(
            (cursor.be16(), cursor.le(2), cursor.be32(), cursor.u8()),
            (Some(0x102), Some(0x403), None, Some(5))
        );
        assert_eq!((be_at(&[1, 2], 1, 1), be_at(&[1, 2], 3, 1), le_at(&[1, 2], 0, 2)), (Some(2), None, Some(0x201)));
    }

    #[test]
    fn exponential_golomb() {
        // 1 | 010 | 011 | 00100 | 00110 and a rest that is too short.
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0011, 0b0000_0000]);
        assert_eq!(
            (bits.ue(), bits.se(), bits.se(), bits.ue(), bits.se()),
            (Some(0), Some(1), Some(-1), Some(3), Some(3))
        );
        assert_eq!(bits.ue(), None);
        assert_eq!(Bits::new(&[0; 9]).ue(), None);
    }

    #[test]
    fn finding() {
        for (needle, from, expected) in [("ab", 0, Some(2)), ("ab", 3, Some(4)), ("ab", 9, None), ("", 0, None)] {
            assert_eq!(find(b"aaabab", needle.as_bytes(), from), expected, "{needle} from {from}");
        }
    }
}
