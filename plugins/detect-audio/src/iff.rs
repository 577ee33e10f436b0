//! WAV, RF64, BW64 and AIFF: chunks of a name, a length and content (EBU Tech 3285 and 3306, ITU-R BS.2088).

use std::borrow::Cow;

use mediahost_plugin_sdk::detect::bytes::{be_at, le_at};
use mediahost_plugin_sdk::detect::seek::Reach;
use mediahost_plugin_sdk::detect::{Layout, READ_AHEAD, Stop, Subject, Track};

use crate::{millis, search};

/// Chunks that are looked at, at most.
const MAX_CHUNKS: usize = 128;
/// Hops over long chunks that each cost a round.
const MAX_HOPS: u32 = 8;
/// What is read of a chunk that describes.
const MAX_CONTENT: u64 = 64;
/// In place of a length: it stands in `ds64`, or the writer never came back to fill it in.
const UNKNOWN: u64 = 0xFFFF_FFFF;
/// What is named at the time to start from. The place is exact, since so many bytes are so many samples; two seconds of
/// many channels are megabytes.
const START: Reach = Reach { lead_ms: 0, slack: 0, least: READ_AHEAD, most: 4 << 20 };

/// Samples that a player reads before it plays: it looks whether they are something else, such as DTS.
const OPENING_BYTES: u64 = 136 << 10;

struct Chunk<'a> {
    name: [u8; 4],
    offset: u64,
    length: u64,
    content: Cow<'a, [u8]>,
}

/// Shows the chunks to `visit` until it has seen enough.
fn walk<'a>(
    subject: &'a Subject,
    start: u64,
    number: fn(&[u8], usize, usize) -> Option<u64>,
    mut visit: impl FnMut(Chunk<'a>) -> bool,
) -> Result<(), Stop> {
    let (mut at, mut hops, mut shown) = (start + 12, 0, start + READ_AHEAD);
    for _ in 0..MAX_CHUNKS {
        if at.saturating_add(8 + MAX_CONTENT) > shown {
            (hops, shown) = (hops + 1, at.saturating_add(READ_AHEAD));
        }
        let head = subject.read(at, 8)?;
        let (Some(name), Some(length)) = (head.first_chunk(), number(&head, 4, 4).filter(|_| hops <= MAX_HOPS)) else {
            break;
        };
        let offset = at + 8;
        let content = subject.read(offset, length.min(MAX_CONTENT))?;
        if visit(Chunk { name: *name, offset, length, content }) {
            break;
        }
        at = offset + length + length % 2;
    }
    Ok(())
}

/// RIFF, RF64 or BW64 with WAVE in it.
pub fn read_wave(subject: &Subject, start: u64) -> Result<Option<Layout>, Stop> {
    let (mut format, mut data, mut long_data) = (None, None, None);
    walk(subject, start, le_at, |chunk| {
        match &chunk.name {
            b"ds64" => long_data = le_at(&chunk.content, 8, 8),
            b"fmt " => format = WaveFormat::read(&chunk.content),
            b"data" => data = Some((chunk.offset, chunk.length)),
            _ => {}
        }
        data.is_some()
    })?;
    let Some(format) = format else {
        return Err(Stop::damaged("there is no fmt chunk in front of the data".to_string()));
    };
    let mut layout = Layout::new("wav").media_type("audio/wav");
    let mut track = Track::new(0, "audio", &format.codec());
    track.sound(format.rate, format.channels);
    track.bit_rate = Some(format.bytes_per_second * 8).filter(|rate| *rate > 0);
    layout.tracks.push(track);
    if let Some((offset, length)) = data {
        let rest = subject.size().map(|size| size.saturating_sub(offset));
        let told = Some(if length == UNKNOWN { long_data.unwrap_or(0) } else { length }).filter(|told| *told > 0);
        // A file that is cut short holds less than it says, one that was never finished says nothing.
        let bytes = told.map(|told| told.min(rest.unwrap_or(told))).or(rest);
        layout.duration_ms = bytes.and_then(|bytes| format.duration_ms(bytes));
        let opening = OPENING_BYTES.min(bytes.unwrap_or(u64::MAX)).min(rest.unwrap_or(u64::MAX));
        layout.need_first(start, (offset - start).saturating_add(opening), "header");
        name_start(subject, &mut layout, offset, bytes);
    }
    Ok(Some(layout))
}

struct WaveFormat {
    tag: u64,
    channels: u32,
    rate: u32,
    bytes_per_second: u64,
    block: u64,
    bits: u64,
}

impl WaveFormat {
    fn read(content: &[u8]) -> Option<WaveFormat> {
        let number = |at, length| le_at(content, at, length);
        let tag = match number(0, 2)? {
            // Extensible: the tag is the head of the sub-format.
            0xFFFE => number(24, 2)?,
            tag => tag,
        };
        Some(WaveFormat {
            tag,
            channels: number(2, 2)? as u32,
            rate: number(4, 4)? as u32,
            bytes_per_second: number(8, 4)?,
            block: number(12, 2)?,
            bits: number(14, 2).unwrap_or(0),
        })
    }

    fn duration_ms(&self, bytes: u64) -> Option<u64> {
        if matches!(self.tag, 1 | 3) && self.block > 0 {
            return millis(bytes / self.block, self.rate);
        }
        (bytes.saturating_mul(1000)).checked_div(self.bytes_per_second).filter(|ms| *ms > 0)
    }

    fn codec(&self) -> String {
        match (self.tag, self.bits) {
            (1, 0..=8) => "pcm_u8".into(),
            (1, bits) => format!("pcm_s{}le", bits.div_ceil(8) * 8),
            (3, bits) => format!("pcm_f{bits}le"),
            (2, _) => "adpcm_ms".into(),
            (6, _) => "pcm_alaw".into(),
            (7, _) => "pcm_mulaw".into(),
            (0x11, _) => "adpcm_ima_wav".into(),
            (0x50, _) => "mp2".into(),
            (0x55, _) => "mp3".into(),
            (0xFF | 0x1610, _) => "aac".into(),
            (0x2000, _) => "ac3".into(),
            (0x2001, _) => "dts".into(),
            (tag, _) => format!("wav_{tag:#06x}"),
        }
    }
}

/// AIFF or AIFC.
pub fn read_aiff(subject: &Subject, start: u64) -> Result<Option<Layout>, Stop> {
    let (mut common, mut sound) = (None, None);
    walk(subject, start, be_at, |chunk| {
        match &chunk.name {
            b"COMM" => common = Some(chunk.content),
            b"SSND" => sound = Some((chunk.offset, chunk.length)),
            _ => {}
        }
        common.is_some() && sound.is_some()
    })?;
    let fields = common.as_deref().unwrap_or_default();
    let described = describe_common(fields);
    let Some((track, duration_ms)) = described else {
        return Err(Stop::damaged("there is no COMM chunk".to_string()));
    };
    let mut layout = Layout::new("aiff").media_type("audio/aiff");
    layout.duration_ms = duration_ms;
    layout.tracks.push(track);
    let opening = |(offset, length): (u64, u64)| offset.saturating_add(length.min(8 + OPENING_BYTES));
    let end = sound.map_or(start + 12, opening).min(subject.size().unwrap_or(u64::MAX));
    layout.need_first(start, end - start, "header");
    if let Some((offset, length)) = sound {
        name_start(subject, &mut layout, offset + 8, length.checked_sub(8));
    }
    Ok(Some(layout))
}

/// Names where playing will start in so many bytes of samples.
fn name_start(subject: &Subject, layout: &mut Layout, offset: u64, bytes: Option<u64>) {
    let end = bytes.and_then(|bytes| offset.checked_add(bytes));
    if let Some(search) = search(subject, layout, offset, end) {
        search.name(layout, &START);
    }
}

fn describe_common(fields: &[u8]) -> Option<(Track, Option<u64>)> {
    let (channels, frames, bits) = (be_at(fields, 0, 2)?, be_at(fields, 2, 4)?, be_at(fields, 6, 2)?);
    let rate = extended(fields.get(8..18)?)?;
    let codec = match fields.get(18..22) {
        Some(b"sowt") => format!("pcm_s{bits}le"),
        Some(b"fl32" | b"FL32") => "pcm_f32be".into(),
        Some(b"fl64" | b"FL64") => "pcm_f64be".into(),
        Some(b"ulaw" | b"ULAW") => "pcm_mulaw".into(),
        Some(b"alaw" | b"ALAW") => "pcm_alaw".into(),
        _ if bits <= 8 => "pcm_s8".into(),
        _ => format!("pcm_s{}be", bits.div_ceil(8) * 8),
    };
    let mut track = Track::new(0, "audio", &codec);
    track.sound(rate, channels as u32);
    Some((track, millis(frames, rate)))
}

/// A number of 80 bits as sample rates use it: sign, 15 bits of exponent, 64 bits of mantissa.
fn extended(bytes: &[u8]) -> Option<u32> {
    let (exponent, mantissa) = (be_at(bytes, 0, 2)?, be_at(bytes, 2, 8)?);
    let shift = 16_383u64.checked_add(63)?.checked_sub(exponent)?;
    u32::try_from(mantissa.checked_shr(u32::try_from(shift).ok()?)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_80_bits() {
        assert_eq!(extended(&[0x40, 0x0E, 0xAC, 0x44, 0, 0, 0, 0, 0, 0]), Some(44_100));
        assert_eq!(extended(&[0x40, 0x0F, 0xBB, 0x80, 0, 0, 0, 0, 0, 0]), Some(96_000));
        assert_eq!((extended(&[0xFF; 10]), extended(&[0; 10]), extended(&[0; 3])), (None, None, None));
    }
}
