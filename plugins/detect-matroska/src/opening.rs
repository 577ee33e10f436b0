//! The first cluster: where the first picture ends.

use crate::CLUSTER;
use crate::ebml::Header;

/// Blocks of other tracks in front of the first picture that are gone over, at most.
const MAX_BLOCKS: usize = 256;

/// How far the first block of a track reaches from the beginning of the cluster that these bytes begin with. None when it
/// does not begin within them.
pub fn block_end(bytes: &[u8], track: u64) -> Option<u64> {
    let cluster = Header::parse(bytes).filter(|header| header.id == CLUSTER)?;
    let mut at = cluster.head;
    for _ in 0..MAX_BLOCKS {
        let rest = bytes.get(usize::try_from(at).ok()?..)?;
        let header = Header::parse(rest)?;
        let end = at.checked_add(header.head)?.checked_add(header.content?)?;
        let content = rest.get(header.head as usize..)?;
        let block = match header.id {
            0xA3 => Some(content),
            // A group begins with its block (RFC 9559 §5.1.3.5).
            0xA0 => {
                Header::parse(content).filter(|block| block.id == 0xA1).and_then(|b| content.get(b.head as usize..))
            }
            _ => None,
        };
        if block.is_some_and(|block| number(block) == Some(track)) {
            return Some(end);
        }
        at = end;
    }
    None
}

/// The track of a block: a number of variable length, without its marker (RFC 9559 §10.1).
fn number(block: &[u8]) -> Option<u64> {
    let length = block.first()?.leading_zeros() as usize + 1;
    let bytes = block.get(..length).filter(|_| length <= 8)?;
    let value = bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    Some(value & !(1 << (7 * length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_block_of_a_track() {
        let block =
            |track: u8, length: usize| [&[0xA3, 0x80 | length as u8, 0x80 | track][..], &vec![0; length - 1]].concat();
        let group = [&[0xA0, 0x8A, 0xA1, 0x88, 0x40, 0x03][..], &[0; 6]].concat();
        let long = [0xA3, 0x10, 0x0F, 0x42, 0x40, 0x84, 0, 0];
        let cluster =
            |blocks: &[&[u8]]| [&[0x1F, 0x43, 0xB6, 0x75, 0xFF, 0xE7, 0x81, 0][..], &blocks.concat()].concat();
        let bytes = cluster(&[&block(1, 9), &block(2, 20), &group, &long]);
        for (track, expected) in
            [(1, Some(8 + 11)), (2, Some(19 + 22)), (3, Some(41 + 12)), (4, Some(53 + 5 + 1_000_000))]
        {
            assert_eq!(block_end(&bytes, track), expected, "track {track}");
        }
        assert_eq!((block_end(&bytes, 5), block_end(&bytes[4..], 1), block_end(&[], 1)), (None, None, None));
        assert_eq!(block_end(&[0x1F, 0x43, 0xB6, 0x75, 0xFF, 0xA3, 0x81, 0], 1), None);
    }
}
