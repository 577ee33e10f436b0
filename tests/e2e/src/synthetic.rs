//! A file of any size that lies nowhere: each byte follows from its offset.

use std::io::{self, Read};
use std::ops::Range;

use crate::server::{Answer, Server};

/// Serves a file of so many bytes, with ranges and a validator, at any path.
pub fn serve(size: u64) -> Server {
    Server::start(move |asked| {
        let range = asked.range(size);
        let status = if range.is_some() { 206 } else { 200 };
        let range = range.unwrap_or(0..size);
        let mut headers = vec![
            ("Content-Type".to_owned(), "application/octet-stream".to_owned()),
            ("Accept-Ranges".to_owned(), "bytes".to_owned()),
            ("ETag".to_owned(), format!("\"{size}\"")),
        ];
        if status == 206 {
            headers.push(("Content-Range".to_owned(), format!("bytes {}-{}/{size}", range.start, range.end - 1)));
        }
        Answer { status, headers, length: range.end - range.start, body: Box::new(Bytes(range)) }
    })
}

/// The bytes of a range, as a stream.
pub struct Bytes(pub Range<u64>);

impl Read for Bytes {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.0.end - self.0.start).unwrap_or(usize::MAX);
        let count = left.min(into.len());
        fill(self.0.start, &mut into[..count]);
        self.0.start += count as u64;
        Ok(count)
    }
}

/// Writes the bytes of the file that begin at an offset.
pub fn fill(offset: u64, into: &mut [u8]) {
    let skip = (offset % 8) as usize;
    let (first, rest) = into.split_at_mut(into.len().min((8 - skip) % 8));
    let word = word(offset / 8);
    first.copy_from_slice(&word[skip..][..first.len()]);
    let start = offset.div_ceil(8);
    for (index, chunk) in (start..).zip(rest.chunks_mut(8)) {
        chunk.copy_from_slice(&self::word(index)[..chunk.len()]);
    }
}

/// Where bytes that are said to begin at an offset differ from the file, if they do.
pub fn difference(offset: u64, bytes: &[u8]) -> Option<u64> {
    let mut own = vec![0; bytes.len()];
    fill(offset, &mut own);
    if own == bytes {
        return None;
    }
    own.iter().zip(bytes).position(|(own, other)| own != other).map(|at| offset + at as u64)
}

/// Eight bytes of the file (SplitMix64): no two places look alike.
fn word(index: u64) -> [u8; 8] {
    let mut z = index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::{difference, fill};

    #[test]
    fn a_part_is_a_part_of_the_whole() {
        let mut whole = [0; 100];
        fill(0, &mut whole);
        for start in 0..40 {
            for length in [0, 1, 3, 7, 8, 9, 20, 60] {
                let mut part = vec![0; length];
                fill(start as u64, &mut part);
                assert_eq!(part, whole[start..start + length], "{length} from {start}");
                assert_eq!(difference(start as u64, &part), None);
            }
        }
        whole[42] ^= 1;
        assert_eq!(difference(0, &whole), Some(42));
    }
}
