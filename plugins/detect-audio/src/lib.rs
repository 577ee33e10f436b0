//! Sound files: MP3 and its elder layers, FLAC, AAC in ADTS frames, Ogg, WAV with its large kin, AIFF.
//!
//! Owns: telling them apart by their bytes, behind ID3v2 tags too; rates, channels, durations; seek tables where the
//! file carries one; where it is at the time to start from.
//! Leaves to others: fetching (the host), tags and cover pictures, decoding.
//!
//! Invariant: a long tag or picture is hopped over, never read; a file costs at most four rounds, and those of a search
//! where playing will start.

mod flac;
mod frames;
mod iff;
mod ogg;

use mediahost_plugin_sdk::container_detector;
use mediahost_plugin_sdk::detect::bytes::be_at;
use mediahost_plugin_sdk::detect::seek::{Probes, Search};
use mediahost_plugin_sdk::detect::{Detector, Layout, READ_AHEAD, SeekPoint, Stop, Subject};

/// ID3v2 tags in a row that are hopped over.
const MAX_TAGS: usize = 4;
/// Tags at the end (ID3v1, APE, Lyrics3) are within these bytes.
const TAIL_BYTES: u64 = 128 << 10;

/// How the time to start from is looked for where frames or pages tell theirs.
const PROBES: Probes = Probes { bytes: READ_AHEAD, most_bytes: READ_AHEAD };

/// The detector.
pub struct Audio;

container_detector!(Audio, "plugin.json");

impl Detector for Audio {
    fn detect(subject: &Subject) -> Result<Option<Layout>, Stop> {
        let start = skip_tags(subject)?;
        let head = subject.read(start, 12)?.into_owned();
        let found = match (head.get(..4).unwrap_or_default(), head.get(8..12).unwrap_or_default()) {
            (b"fLaC", _) => flac::read(subject, start)?,
            (b"OggS", _) => ogg::read(subject, start)?,
            (b"RIFF" | b"RF64" | b"BW64", b"WAVE") => iff::read_wave(subject, start)?,
            (b"FORM", b"AIFF" | b"AIFC") => iff::read_aiff(subject, start)?,
            _ => frames::read(subject, start)?,
        };
        Ok(found.map(|mut layout| {
            if start > 0 {
                layout.need_first(0, start, "id3v2");
                layout.first.rotate_right(1);
            }
            layout.estimate_bit_rate(subject.size());
            if let [track] = layout.tracks.as_mut_slice() {
                track.default = true;
            }
            layout
        }))
    }
}

/// Where the sound begins: behind ID3v2 tags, of which there may be several.
fn skip_tags(subject: &Subject) -> Result<u64, Stop> {
    let mut at = 0;
    for _ in 0..MAX_TAGS {
        let head = subject.read(at, 10)?;
        let Some(length) = id3v2_length(&head).filter(|length| subject.size().is_none_or(|size| at + length < size))
        else {
            break;
        };
        at += length;
    }
    Ok(at)
}

/// The whole tag: the header, what it announces in four times seven bits, a footer if there is one.
fn id3v2_length(head: &[u8]) -> Option<u64> {
    if head.get(..3)? != b"ID3" {
        return None;
    }
    let digits = be_at(head, 6, 4)?;
    if digits & 0x8080_8080 != 0 {
        return None;
    }
    let length = (0..4).fold(0, |sum, index| sum | (digits >> (8 * index) & 127) << (7 * index));
    Some(length + if head[5] & 0x10 != 0 { 20 } else { 10 })
}

/// How many milliseconds a number of samples last.
fn millis(samples: u64, rate: u32) -> Option<u64> {
    let ms = (u128::from(samples) * 1000).checked_div(u128::from(rate))?;
    u64::try_from(ms).ok().filter(|ms| *ms > 0)
}

/// Names the tail, where tags are that a player reads before it starts.
fn name_tail(subject: &Subject, from: u64, layout: &mut Layout) {
    if let Some(size) = subject.size() {
        let start = size.saturating_sub(TAIL_BYTES).max(from);
        layout.need_first(start, size.saturating_sub(start), "tail");
    }
}

/// The time to start from within sound that begins at an offset and ends at another, or with the file. None when there
/// is no such time, or nobody knows how long the sound or the file is.
fn search(subject: &Subject, layout: &Layout, first: u64, end: Option<u64>) -> Option<Search> {
    let (start_ms, duration_ms, size) = (subject.start_ms()?, layout.duration_ms?, subject.size()?);
    let told = end.unwrap_or(size).checked_sub(first).filter(|told| *told > 0)?;
    // A file that is cut short ends before the sound does.
    let there = told.min(size.checked_sub(first)?);
    let time_ms = u64::try_from(u128::from(duration_ms) * u128::from(there) / u128::from(told)).ok()?;
    let end = SeekPoint { time_ms, offset: first + there };
    Search::new(start_ms, SeekPoint { time_ms: 0, offset: first }, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_lengths() {
        for (head, expected) in [
            (b"ID3\x04\0\0\0\0\x02\x01", Some(267)),
            (b"ID3\x04\0\x10\0\0\0\0", Some(20)),
            (b"ID3\x04\0\0\0\0\x80\0", None),
            (b"ID4\x04\0\0\0\0\0\0", None),
        ] {
            assert_eq!(id3v2_length(head), expected, "{head:x?}");
        }
        assert_eq!(id3v2_length(b"ID3"), None);
    }
}
