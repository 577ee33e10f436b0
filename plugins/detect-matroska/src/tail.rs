//! A segment entered in the middle: Cues that nothing points to, clusters, the last time that was written.

use mediahost_plugin_sdk::detect::bytes::find;

use crate::ebml::{Header, children, uint, uint_of};
use crate::{CLUSTER, CUES};

/// Elements in front of a cluster's timestamp that are gone over, at most: a checksum, a position, a previous size. What
/// looks like a cluster costs no more, however much there is of it.
const MAX_LEADING: usize = 8;

/// Where Cues begin in these bytes.
pub fn find_cues(tail: &[u8]) -> Option<usize> {
    let id = CUES.to_be_bytes();
    let mut from = 0;
    while let Some(at) = find(tail, &id, from) {
        from = at + id.len();
        let Some(header) = Header::parse(&tail[at..]) else { continue };
        let content = &tail[at + header.head as usize..];
        let fits = header.content.is_some_and(|length| length <= content.len() as u64);
        // A CuePoint, or a checksum in front of it.
        if fits && matches!(content.first(), Some(0xBB | 0xBF)) {
            return Some(at);
        }
    }
    None
}

/// The latest timestamp of a block in these bytes, in ticks of the segment.
pub fn last_timestamp(tail: &[u8]) -> Option<u64> {
    let id = CLUSTER.to_be_bytes();
    let (mut latest, mut from) = (None, 0);
    while let Some(at) = find(tail, &id, from) {
        from = at + id.len();
        let Some(header) = Header::parse(&tail[at..]) else { continue };
        let content = &tail[at + header.head as usize..];
        let length = header.content.unwrap_or(u64::MAX).min(content.len() as u64) as usize;
        if let Some((time, read)) = end_of_cluster(&content[..length]) {
            latest = latest.max(Some(time));
            // A cluster of unknown length ends where the next one begins.
            from = at + header.head as usize + if header.content.is_some() { length } else { read };
        }
    }
    latest
}

/// Where clusters begin in these bytes, and their timestamps, in ticks of the segment.
pub fn clusters(bytes: &[u8]) -> Vec<(usize, u64)> {
    let id = CLUSTER.to_be_bytes();
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some(at) = find(bytes, &id, from) {
        from = at + id.len();
        let Some(header) = Header::parse(&bytes[at..]) else { continue };
        // The timestamp comes first, or behind a checksum (RFC 9559 §5.1.3.1).
        let first = children(&bytes[at + header.head as usize..]).take(MAX_LEADING).find(|(id, _)| *id != 0xBF);
        let ticks = first.filter(|(id, body)| *id == 0xE7 && !body.is_empty()).and_then(|(_, body)| uint(body));
        found.extend(ticks.map(|ticks| (at, ticks)));
    }
    found
}

/// The latest timestamp of a cluster (RFC 9559 §5.1.3, §10.1), and how many bytes were read to know it; none when this is
/// no cluster.
fn end_of_cluster(content: &[u8]) -> Option<(u64, usize)> {
    let (mut base, mut latest, mut read) = (None, 0, 0);
    for (index, (id, body)) in children(content).enumerate() {
        match (id, base) {
            (0xE7, None) => base = uint(body),
            (0xA3, Some(_)) => latest = latest.max(relative(body)),
            (0xA0, Some(_)) => {
                let block = children(body).find(|(id, _)| *id == 0xA1).map_or(0, |(_, block)| relative(block));
                latest = latest.max(block.saturating_add(uint_of(body, 0x9B).unwrap_or(0)));
            }
            (CLUSTER, _) => break,
            (0xBF | 0xA7 | 0xAB | 0xEC, None) if index >= MAX_LEADING => return None,
            // A checksum, a position, a previous size, a void.
            (0xBF | 0xA7 | 0xAB | 0xEC, _) => {}
            (_, None) => return None,
            _ => {}
        }
        // Bodies are parts of the content, one behind the other.
        read = body.as_ptr() as usize + body.len() - content.as_ptr() as usize;
    }
    base.map(|base| (base.saturating_add(latest), read))
}

/// The timestamp of a block relative to its cluster; a negative one does not matter here.
fn relative(block: &[u8]) -> u64 {
    let number = block.first().map_or(1, |byte| byte.leading_zeros() as usize + 1);
    let time = block.get(number..number + 2).map_or(0, |bytes| i16::from_be_bytes([bytes[0], bytes[1]]));
    time.max(0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cluster of unknown length with these elements.
    fn open(elements: &[&[u8]]) -> Vec<u8> {
        [&[0x1F, 0x43, 0xB6, 0x75, 0xFF][..], &elements.concat()].concat()
    }

    #[test]
    fn clusters_of_unknown_length_end_with_the_next() {
        let block = |time: u8| [0xA3, 0x84, 0x81, 0, time, 0];
        let first = open(&[&[0xE7, 0x81, 100], &block(1), &block(7)]);
        let second = open(&[&[0xBF, 0x84, 0, 0, 0, 0], &[0xE7, 0x81, 200], &block(3)]);
        let bytes = [&b"junk"[..], &first, &second].concat();
        assert_eq!((last_timestamp(&bytes), last_timestamp(&bytes[..4 + first.len()])), (Some(203), Some(107)));
        assert_eq!(clusters(&bytes), [(4, 100), (4 + first.len(), 200)]);
    }

    /// Each cluster is within an element of the one before it, so that who reads each to its end reads all of it again
    /// and again.
    #[test]
    fn clusters_within_clusters_are_read_once() {
        for (element, expected) in [
            (&[0xA3, 0x88, 0x1F, 0x43, 0xB6, 0x75, 0xFF, 0xE7, 0x81, 0x09][..], Some(9)),
            (&[0xEC, 0x85, 0x1F, 0x43, 0xB6, 0x75, 0xFF], None),
            (&[0xBF, 0x85, 0x1F, 0x43, 0xB6, 0x75, 0xFF], None),
        ] {
            let bytes = element.repeat((1 << 20) / element.len());
            assert_eq!((last_timestamp(&bytes), find_cues(&bytes)), (expected, None), "{element:x?}");
            assert_eq!(clusters(&bytes).is_empty(), expected.is_none(), "{element:x?}");
        }
    }
}
