//! FLAC (RFC 9639): metadata blocks, then frames.

use mediahost_plugin_sdk::detect::bytes::be_at;
use mediahost_plugin_sdk::detect::codec::flac_info;
use mediahost_plugin_sdk::detect::{Layout, MAX_SEEK, READ_AHEAD, SeekPoint, Stop, Subject, Track, thin_out};

use crate::millis;

/// Metadata blocks that are looked at, at most.
const MAX_BLOCKS: usize = 128;
/// Hops over long blocks that each cost a round.
const MAX_HOPS: u32 = 8;
/// A seek table is read up to here: about 58 000 points.
const MAX_TABLE: u64 = 1 << 20;
const STREAMINFO: u8 = 0;
const SEEKTABLE: u8 = 3;
/// What stands for a point that was never filled in (§8.5.1).
const PLACEHOLDER: u64 = u64::MAX;

pub fn read(subject: &Subject, start: u64) -> Result<Option<Layout>, Stop> {
    let mut layout = Layout::new("flac").media_type("audio/flac");
    let mut table = None;
    let mut rate = 0;
    let (mut at, mut hops, mut shown) = (start + 4, 0, start + READ_AHEAD);
    for _ in 0..MAX_BLOCKS {
        if at + 4 > shown {
            (hops, shown) = (hops + 1, at + READ_AHEAD);
        }
        let head = subject.read(at, 4)?;
        let Some(word) = be_at(&head, 0, 4).filter(|_| hops <= MAX_HOPS) else { break };
        let (last, kind, length) = (word >> 31 == 1, (word >> 24) as u8 & 127, word & 0xFF_FFFF);
        match kind {
            STREAMINFO if layout.tracks.is_empty() => {
                let Some(info) = flac_info(&subject.read(at + 4, length.min(34))?) else { break };
                let mut track = Track::new(0, "audio", "flac");
                track.sound(info.sound.sample_rate, info.sound.channels);
                layout.tracks.push(track);
                rate = info.sound.sample_rate;
                layout.duration_ms = millis(info.samples, rate);
            }
            SEEKTABLE => table = Some((at + 4, length.min(MAX_TABLE))),
            _ => {}
        }
        at += 4 + length;
        if last {
            break;
        }
    }
    if layout.tracks.is_empty() {
        return Err(Stop::damaged(format!("there is no STREAMINFO at offset {}", start + 4)));
    }
    if let Some((offset, length)) = table {
        layout.seek = points(&subject.read(offset, length)?, at, rate);
        layout.seek.retain(|point| subject.size().is_none_or(|size| point.offset < size));
        thin_out(&mut layout.seek, MAX_SEEK);
    }
    let end = at.min(subject.size().unwrap_or(at));
    layout.need_first(start, end.saturating_sub(start), "metadata");
    Ok(Some(layout))
}

/// Points of 18 bytes: sample, offset from the first frame, samples (§8.5.1).
fn points(table: &[u8], first_frame: u64, rate: u32) -> Vec<SeekPoint> {
    let mut points = Vec::new();
    for row in table.chunks_exact(18) {
        let (Some(sample), Some(offset)) = (be_at(row, 0, 8), be_at(row, 8, 8)) else { break };
        if sample == PLACEHOLDER || rate == 0 {
            continue;
        }
        points.push(SeekPoint {
            time_ms: (u128::from(sample) * 1000 / u128::from(rate)).min(u128::from(u64::MAX)) as u64,
            offset: first_frame.saturating_add(offset),
        });
    }
    points.sort_by_key(|point| (point.time_ms, point.offset));
    points.dedup_by_key(|point| point.time_ms);
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seek_points() {
        let row = |sample: u64, offset: u64| [&sample.to_be_bytes()[..], &offset.to_be_bytes(), &[0, 1]].concat();
        let table = [row(0, 0), row(44_100, 5000), row(PLACEHOLDER, 0), vec![1; 7]].concat();
        let found: Vec<_> = points(&table, 100, 44_100).iter().map(|point| (point.time_ms, point.offset)).collect();
        assert_eq!(found, [(0, 100), (1000, 5100)]);
        assert!(points(&table, 100, 0).is_empty());
    }
}
