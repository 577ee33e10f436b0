//! What players read of a stream before they show its first picture, where no index tells.
//!
//! FFmpeg and what is built on it look at a stream until they know all its tracks and how often pictures come, and where
//! a container lists no tracks, at so many seconds of it whatever they find.
//!
//! Owns: how much that is, by the stream's own rate, within bounds.
//! Leaves to others: what is known of the stream (the plugins), where playing starts ([`super::seek`]).
//!
//! Invariant: what is named lies within the bounds below, whatever a file says of its length and duration.

use super::Layout;

/// What is read of the tail of a stream whose time stamps tell how long it plays.
pub const TAIL_BYTES: u64 = 256 << 10;
/// Pictures after which the first one is shown, where the container tells how often they come, and where it does not.
pub const TOLD_PICTURES: u64 = 10;
pub const UNTOLD_PICTURES: u64 = 50;
/// Time that is looked at where the container lists no tracks: five seconds, and the rate is not the same everywhere.
const LISTLESS_MS: u64 = 5_500;
/// Bytes that are looked at there, at least and at most, and where the rate is not known.
const LISTLESS_BYTES: std::ops::RangeInclusive<u64> = 512 << 10..=5 << 20;
const UNKNOWN_BYTES: u64 = 1 << 20;
/// Bytes of the pictures behind the first one, at least and at most.
const PICTURE_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=4 << 20;
/// Pictures per second, where that is not told.
const FRAME_RATE: f64 = 24.0;
/// Bytes from a key frame on, where no other is known behind it, and at most.
const LAST_BYTES: u64 = 1 << 20;
const MAX_BYTES: u64 = 4 << 20;
/// Of the bytes from a key frame to the next such a part is more in its beginning than in the same time elsewhere, since
/// the key frame itself is long.
const KEY_FRAME_PART: u64 = 4;

/// What is read of the head of a stream that lists no tracks, such as those of MPEG; of its length and duration.
pub fn listless_bytes(size: Option<u64>, duration_ms: Option<u64>) -> u64 {
    let bytes = bytes_in(size, duration_ms, LISTLESS_MS).unwrap_or(UNKNOWN_BYTES);
    bytes.clamp(*LISTLESS_BYTES.start(), *LISTLESS_BYTES.end()).min(size.unwrap_or(u64::MAX))
}

/// What so many pictures and the sound beside them take, by the rate of the whole; where no pictures are, so much time of
/// sound.
pub fn pictures_bytes(layout: &Layout, size: Option<u64>, pictures: u64) -> u64 {
    let rate = layout.track_of("video").and_then(|track| track.frame_rate).filter(|rate| *rate >= 1.0);
    let ms = pictures as f64 * 1000.0 / rate.unwrap_or(FRAME_RATE);
    let bytes = bytes_in(size, layout.duration_ms, ms as u64).unwrap_or(UNKNOWN_BYTES);
    bytes.clamp(*PICTURE_BYTES.start(), *PICTURE_BYTES.end())
}

/// Where the bytes begin that show what is at a time, and how many there are, where the key frames are known: from the
/// last one on to the wanted picture and some more.
pub fn from_key_frame(layout: &Layout, size: Option<u64>, time_ms: u64) -> Option<(u64, u64)> {
    let index = layout.seek.partition_point(|point| point.time_ms <= time_ms).checked_sub(1)?;
    let point = layout.seek[index];
    let bytes = match layout.seek.get(index + 1).filter(|next| next.offset > point.offset) {
        Some(next) => {
            let (all, span_ms) = (next.offset - point.offset, next.time_ms - point.time_ms);
            let past = u128::from(all) * u128::from(time_ms - point.time_ms) / u128::from(span_ms.max(1));
            let past = u64::try_from(past).unwrap_or(all).saturating_add(all / KEY_FRAME_PART).min(all);
            past.saturating_add(pictures_bytes(layout, size, TOLD_PICTURES))
        }
        None => LAST_BYTES,
    };
    let left = size.unwrap_or(u64::MAX).saturating_sub(point.offset);
    Some((point.offset, bytes.min(MAX_BYTES).min(left)))
}

/// Bytes of so much time by the rate of the whole.
fn bytes_in(size: Option<u64>, duration_ms: Option<u64>, ms: u64) -> Option<u64> {
    let bytes = (u128::from(size?) * u128::from(ms)).checked_div(u128::from(duration_ms?))?;
    Some(u64::try_from(bytes).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::{SeekPoint, Track};
    use super::*;

    #[test]
    fn from_key_frames() {
        let mut layout = Layout::new("x");
        layout.duration_ms = Some(60_000);
        let place = |(time_ms, offset)| SeekPoint { time_ms, offset };
        layout.seek = [(1_000, 5_000), (11_000, 405_000), (21_000, 9_005_000), (22_000, 9_000_000)].map(place).to_vec();
        // Ten pictures are 25 000 bytes, and less than 64 KiB is not worth a thought.
        let size = Some(3_600_000 * 4);
        let more = pictures_bytes(&layout, size, TOLD_PICTURES);
        for (time_ms, expected) in [
            (0, None),
            (1_000, Some((5_000, 100_000 + more))),
            (6_000, Some((5_000, 300_000 + more))),
            (10_999, Some((5_000, 400_000 + more))),
            (11_000, Some((405_000, 2_150_000 + more))),
            (20_000, Some((405_000, 4 << 20))),
            (21_000, Some((9_005_000, 1 << 20))),
            (99_000, Some((9_000_000, 1 << 20))),
        ] {
            assert_eq!(from_key_frame(&layout, size, time_ms), expected, "{time_ms}");
        }
        assert_eq!(from_key_frame(&layout, Some(9_000_700), 99_000), Some((9_000_000, 700)));
        assert_eq!(from_key_frame(&layout, Some(7), 99_000), Some((9_000_000, 0)));
    }

    #[test]
    fn streams_without_lists() {
        for (size, duration_ms, expected) in [
            (Some(30_000_000), Some(60_000), 2_750_000),
            (Some(30_000_000), Some(600_000), 512 << 10),
            (Some(30_000_000), Some(6_000), 5 << 20),
            (Some(30_000_000), None, 1 << 20),
            (Some(30_000_000), Some(0), 1 << 20),
            (Some(1_000), Some(60_000), 1_000),
            (None, Some(60_000), 1 << 20),
            (Some(u64::MAX), Some(1), 5 << 20),
        ] {
            assert_eq!(listless_bytes(size, duration_ms), expected, "{size:?} in {duration_ms:?} ms");
        }
    }

    #[test]
    fn pictures() {
        let mut layout = Layout::new("x");
        layout.duration_ms = Some(60_000);
        assert_eq!(pictures_bytes(&layout, Some(60_000_000), 24), 1_000_000);
        let mut track = Track::new(0, "video", "h264");
        track.frame_rate = Some(48.0);
        layout.tracks.push(track);
        assert_eq!(pictures_bytes(&layout, Some(60_000_000), 24), 500_000);
        for rate in [0.001, f64::NAN] {
            layout.tracks[0].frame_rate = Some(rate);
            assert_eq!(pictures_bytes(&layout, Some(60_000_000), 24), 1_000_000, "{rate}");
        }
        assert_eq!(pictures_bytes(&layout, Some(600), 24), 64 << 10);
        assert_eq!(pictures_bytes(&layout, Some(u64::MAX), 24), 4 << 20);
        assert_eq!(pictures_bytes(&layout, None, 24), 1 << 20);
    }
}
