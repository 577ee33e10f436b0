//! FLAC (RFC 9639): metadata blocks, then frames, each of which tells its number.

use mediahost_plugin_sdk::detect::bytes::{be_at, find};
use mediahost_plugin_sdk::detect::codec::flac_info;
use mediahost_plugin_sdk::detect::seek::Reach;
use mediahost_plugin_sdk::detect::{Layout, MAX_SEEK, READ_AHEAD, SeekPoint, Stop, Subject, Track, thin_out};

use crate::{PROBES, millis, search};

/// Frames that a player reads before it plays: only so many in a row tell it that they are no accident. Bytes of one where
/// that is not told, and what is named of them at least and at most.
const OPENING_FRAMES: u64 = 16;
const FRAME_BYTES: u64 = 10_000;
const OPENING_BYTES: std::ops::RangeInclusive<u64> = 32 << 10..=512 << 10;
/// The tail, by which a player that seeks without a table learns how long the file plays.
const TAIL_BYTES: u64 = 16 << 10;
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
    let (mut rate, mut block, mut frame) = (0, 0, 0);
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
                let content = subject.read(at + 4, length.min(34))?;
                let Some(info) = flac_info(&content) else { break };
                block = be_at(&content, 2, 2).unwrap_or(0);
                frame = be_at(&content, 7, 3).unwrap_or(0);
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
    let opening = OPENING_FRAMES * if frame > 0 { frame } else { FRAME_BYTES };
    let opening = opening.clamp(*OPENING_BYTES.start(), *OPENING_BYTES.end());
    layout.need_first(end, opening.min(subject.size().map_or(opening, |size| size.saturating_sub(end))), "frames");
    name_start(subject, &mut layout, at, block, rate)?;
    Ok(Some(layout))
}

/// Finds where playing will start, between points of the table if there is one, by the numbers of frames.
fn name_start(subject: &Subject, layout: &mut Layout, first: u64, block: u64, rate: u32) -> Result<(), Stop> {
    let Some(mut search) = search(subject, layout, first, None) else { return Ok(()) };
    if let Some(size) = subject.size() {
        let tail = size.saturating_sub(TAIL_BYTES).max(first.min(size));
        layout.need_first(tail, size - tail, "tail");
    }
    search.learn(&layout.seek);
    search.narrow(subject, &PROBES, &Reach::SOUND, |at, bytes| {
        let place = |(from, sample)| SeekPoint { time_ms: time_ms(sample, rate), offset: at + from as u64 };
        frames(bytes, block).map(place).collect()
    })?;
    search.name(layout, &Reach::SOUND);
    Ok(())
}

/// Where frames begin, and the numbers of their first samples.
fn frames(bytes: &[u8], block: u64) -> impl Iterator<Item = (usize, u64)> {
    let mut from = 0;
    let starts = std::iter::from_fn(move || {
        let at = find(bytes, &[0xFF], from)?;
        from = at + 1;
        Some(at)
    });
    starts.filter_map(move |at| Some((at, first_sample(&bytes[at..], block)?)))
}

/// The number of the first sample of the frame that begins here, if its header is right (§9.1).
fn first_sample(bytes: &[u8], block: u64) -> Option<u64> {
    let head = bytes.get(..5)?;
    // What is reserved or forbidden: a block size, a rate, channels, a sample size, a last bit.
    let is_wrong =
        head[2] >> 4 == 0 || head[2] & 15 == 15 || head[3] >> 4 > 10 || head[3] & 0x0E == 6 || head[3] & 1 == 1;
    if head[0] != 0xFF || head[1] & 0xFE != 0xF8 || is_wrong {
        return None;
    }
    let (number, length) = coded_number(&bytes[4..])?;
    let more = match head[2] >> 4 {
        6 => 1,
        7 => 2,
        _ => 0,
    } + match head[2] & 15 {
        12 => 1,
        13 | 14 => 2,
        _ => 0,
    };
    // Over the whole header its checksum is 0.
    let is_right = checksum(bytes.get(..4 + length + more + 1)?) == 0;
    let counts_samples = head[1] & 1 == 1;
    is_right.then_some(if counts_samples { Some(number) } else { number.checked_mul(block) })?
}

/// A number in one to seven bytes, written as in UTF-8, and how many those are (§9.1.5).
fn coded_number(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = match first.leading_ones() as usize {
        0 => return Some((first.into(), 1)),
        length @ 2..=7 => length,
        _ => return None,
    };
    let mut number = u64::from(first) & (0x7F >> length);
    for byte in bytes.get(1..length)? {
        if byte >> 6 != 2 {
            return None;
        }
        number = number << 6 | u64::from(byte & 0x3F);
    }
    Some((number, length))
}

/// CRC-8 with the polynomial x⁸ + x² + x + 1 (§9.1.8).
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc, byte| (0..8).fold(crc ^ byte, |crc, _| crc << 1 ^ if crc >> 7 == 1 { 0x07 } else { 0 }))
}

fn time_ms(sample: u64, rate: u32) -> u64 {
    let ms = (u128::from(sample) * 1000).checked_div(u128::from(rate)).unwrap_or(0);
    u64::try_from(ms).unwrap_or(u64::MAX)
}

/// Points of 18 bytes: sample, offset from the first frame, samples (§8.5.1).
fn points(table: &[u8], first_frame: u64, rate: u32) -> Vec<SeekPoint> {
    let mut points = Vec::new();
    for row in table.chunks_exact(18) {
        let (Some(sample), Some(offset)) = (be_at(row, 0, 8), be_at(row, 8, 8)) else { break };
        if sample == PLACEHOLDER || rate == 0 {
            continue;
        }
        let place = |offset| SeekPoint { time_ms: time_ms(sample, rate), offset };
        points.extend(first_frame.checked_add(offset).filter(|offset| *offset < u64::MAX).map(place));
    }
    points.sort_by_key(|point| (point.time_ms, point.offset));
    points.dedup_by_key(|point| point.time_ms);
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_frames() {
        // Frame 300 of blocks of 4096 samples, 44.1 kHz, two channels, 16 bits.
        let mut head = vec![0xFF, 0xF8, 0xC9, 0x18, 0xC4, 0xAC];
        head.push(checksum(&head));
        assert_eq!(first_sample(&head, 4096), Some(300 * 4096));
        let bytes = [&[0xFF, 0xFF][..], &head, &[0xFF]].concat();
        assert_eq!(frames(&bytes, 1).collect::<Vec<_>>(), [(2, 300)]);
        for (at, value) in [(1, 0xFA), (2, 0x09), (3, 0xB8), (4, 0xC5), (5, 0x2C), (6, 0)] {
            let mut broken = head.clone();
            broken[at] = value;
            assert_eq!(first_sample(&broken, 4096), None, "byte {at}");
        }
        assert_eq!((first_sample(&head[..6], 4096), first_sample(&[], 1)), (None, None));
        for (bytes, expected) in [
            (&[0x7F][..], Some((127, 1))),
            (&[0xFE, 0xBF, 0xBF, 0xBF, 0xBF, 0xBF, 0xBF], Some(((1 << 36) - 1, 7))),
            (&[0xFF; 8], None),
            (&[0x80], None),
            (&[0xC4], None),
        ] {
            assert_eq!(coded_number(bytes), expected, "{bytes:x?}");
        }
    }

    #[test]
    fn seek_points() {
        let row = |sample: u64, offset: u64| [&sample.to_be_bytes()[..], &offset.to_be_bytes(), &[0, 1]].concat();
        // One point lies beyond the end of all files.
        let table = [row(0, 0), row(44_100, 5000), row(66_150, u64::MAX), row(PLACEHOLDER, 0), vec![1; 7]].concat();
        let found: Vec<_> = points(&table, 100, 44_100).iter().map(|point| (point.time_ms, point.offset)).collect();
        assert_eq!(found, [(0, 100), (1000, 5100)]);
        assert!(points(&table, 100, 0).is_empty());
    }
}
