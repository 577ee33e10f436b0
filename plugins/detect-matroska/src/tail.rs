//! A segment entered in the middle: Cues that nothing points to, clusters, the last time that was written.

use mediahost_plugin_sdk::detect::bytes::find;

use crate::ebml::{Header, children, uint, uint_of};
use crate::{CLUSTER, CUES};

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
        if let Some(time) = end_of_cluster(&content[..length]) {
            latest = latest.max(Some(time));
            // A cluster of unknown length holds the next ones as far as this reading goes.
            from = if header.content.is_some() { at + header.head as usize + length } else { from };
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
        let first = children(&bytes[at + header.head as usize..]).find(|(id, _)| *id != 0xBF);
        let ticks = first.filter(|(id, body)| *id == 0xE7 && !body.is_empty()).and_then(|(_, body)| uint(body));
        found.extend(ticks.map(|ticks| (at, ticks)));
    }
    found
}

/// The latest timestamp of a cluster (RFC 9559 §5.1.3, §10.1); none when this is no cluster.
fn end_of_cluster(content: &[u8]) -> Option<u64> {
    let mut base = None;
    let mut latest = 0;
    for (id, body) in children(content) {
        match (id, base) {
            (0xE7, None) => base = uint(body),
            (0xA3, Some(_)) => latest = latest.max(relative(body)),
            (0xA0, Some(_)) => {
                let block = children(body).find(|(id, _)| *id == 0xA1).map_or(0, |(_, block)| relative(block));
                latest = latest.max(block.saturating_add(uint_of(body, 0x9B).unwrap_or(0)));
            }
            (CLUSTER, _) => break,
            // A checksum, a position, a previous size, a void.
            (0xBF | 0xA7 | 0xAB | 0xEC, _) => {}
            (_, None) => return None,
            _ => {}
        }
    }
    base.map(|base| base.saturating_add(latest))
}

/// The timestamp of a block relative to its cluster; a negative one does not matter here.
fn relative(block: &[u8]) -> u64 {
    let number = block.first().map_or(1, |byte| byte.leading_zeros() as usize + 1);
    let time = block.get(number..number + 2).map_or(0, |bytes| i16::from_be_bytes([bytes[0], bytes[1]]));
    time.max(0) as u64
}
