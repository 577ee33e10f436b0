//! What a few bytes of an elementary stream say: rates, channels, picture sizes.
//!
//! Containers repeat these facts or leave them out; detectors of several containers share the reading of them.

use super::bytes::{Bits, be_at};

/// Sampling frequencies of ISO/IEC 14496-3 table 1.18.
const AAC_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// Channels of a channel configuration of ISO/IEC 14496-3 table 1.19; 0 where the stream itself tells.
fn aac_channels(configuration: u32) -> u32 {
    match configuration {
        1..=6 => configuration,
        7 | 12 | 14 => 8,
        11 => 7,
        13 => 24,
        _ => 0,
    }
}

/// A rate and a number of channels; 0 means unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    pub sample_rate: u32,
    pub channels: u32,
}

/// An AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1). With spectral band replication that is signalled outright the
/// rate is the one that is heard.
pub fn aac_config(bytes: &[u8]) -> Option<Sound> {
    let mut bits = Bits::new(bytes);
    let object = |bits: &mut Bits| match bits.get(5)? {
        31 => bits.get(6).map(|more| 32 + more),
        object => Some(object),
    };
    let rate = |bits: &mut Bits| match bits.get(4)? {
        15 => bits.get(24),
        index => AAC_RATES.get(index as usize).copied(),
    };
    let kind = object(&mut bits)?;
    let mut sample_rate = rate(&mut bits)?;
    let mut channels = aac_channels(bits.get(4)?);
    if kind == 5 || kind == 29 {
        sample_rate = rate(&mut bits)?;
        if kind == 29 && channels == 1 {
            channels = 2;
        }
    }
    Some(Sound { sample_rate, channels })
}

/// The header of an ADTS frame (ISO/IEC 13818-7 §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adts {
    pub sound: Sound,
    /// The whole frame, header included, in bytes.
    pub length: usize,
    /// Samples per channel.
    pub samples: u32,
}

pub fn adts(bytes: &[u8]) -> Option<Adts> {
    let b = bytes.get(..7)?;
    if b[0] != 0xFF || b[1] & 0xF6 != 0xF0 {
        return None;
    }
    let sample_rate = *AAC_RATES.get(usize::from(b[2] >> 2 & 15))?;
    let channels = aac_channels(u32::from((b[2] & 1) << 2 | b[3] >> 6));
    let length = usize::from(b[3] & 3) << 11 | usize::from(b[4]) << 3 | usize::from(b[5] >> 5);
    let samples = 1024 * (u32::from(b[6] & 3) + 1);
    (length > 7).then_some(Adts { sound: Sound { sample_rate, channels }, length, samples })
}

/// The header of an MPEG audio frame (ISO/IEC 11172-3 §2.4.1.3, 13818-3 §2.4.1.3; 2.5 is the usual extension).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MpegAudio {
    /// 1, 2 or 3.
    pub layer: u8,
    /// MPEG-1, not 2 or 2.5.
    pub first_version: bool,
    pub sound: Sound,
    /// Bits per second.
    pub bit_rate: u32,
    /// The whole frame, header included, in bytes.
    pub length: usize,
    /// Samples per channel.
    pub samples: u32,
}

impl MpegAudio {
    /// FFmpeg's name.
    pub fn codec(&self) -> &'static str {
        ["mp1", "mp2", "mp3"][usize::from(self.layer) - 1]
    }
}

/// Kilobits per second by table and index 1 to 14: MPEG-1 layers I, II and III, MPEG-2 layer I, layers II and III.
const MPEG_KILOBITS: [[u16; 14]; 5] = [
    [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];

pub fn mpeg_audio(bytes: &[u8]) -> Option<MpegAudio> {
    let b = bytes.get(..4)?;
    if b[0] != 0xFF || b[1] & 0xE0 != 0xE0 {
        return None;
    }
    // 0 is 2.5, 1 is reserved, 2 is MPEG-2, 3 is MPEG-1.
    let version = b[1] >> 3 & 3;
    let layer = 4 - (b[1] >> 1 & 3);
    let (rate_index, bits_index, padding) = (b[2] >> 2 & 3, usize::from(b[2] >> 4), u32::from(b[2] >> 1 & 1));
    if version == 1 || layer == 4 || rate_index == 3 || bits_index == 0 || bits_index == 15 {
        return None;
    }
    let first_version = version == 3;
    let sample_rate = [44_100, 48_000, 32_000][usize::from(rate_index)] >> [2, 0, 1, 0][usize::from(version)];
    let table = match (first_version, layer) {
        (true, layer) => usize::from(layer) - 1,
        (false, 1) => 3,
        (false, _) => 4,
    };
    let bit_rate = u32::from(MPEG_KILOBITS[table][bits_index - 1]) * 1000;
    let samples = match (layer, first_version) {
        (1, _) => 384,
        (3, false) => 576,
        _ => 1152,
    };
    let length = match layer {
        1 => (12 * bit_rate / sample_rate + padding) * 4,
        _ => samples / 8 * bit_rate / sample_rate + padding,
    } as usize;
    let channels = if b[3] >> 6 == 3 { 1 } else { 2 };
    Some(MpegAudio { layer, first_version, sound: Sound { sample_rate, channels }, bit_rate, length, samples })
}

/// Channels of an AC-3 audio coding mode, the low-frequency channel added (ETSI TS 102 366 §4.4.2.3).
pub fn ac3_channels(mode: u32, low_frequency: bool) -> u32 {
    [2, 1, 2, 3, 3, 4, 4, 5][mode as usize & 7] + u32::from(low_frequency)
}

/// A synchronisation frame of AC-3 or E-AC-3 (ETSI TS 102 366 §4.3, §E.1.2).
pub fn ac3(bytes: &[u8]) -> Option<Sound> {
    if bytes.get(..2)? != [0x0B, 0x77] {
        return None;
    }
    let enhanced = bytes.get(5)? >> 3 > 10;
    let mut bits = Bits::new(bytes.get(if enhanced { 4 } else { 6 }..)?);
    let code = usize::from(bytes[4] >> 6);
    if enhanced {
        let half = bits.get(4)? & 3;
        let sample_rate = [48_000, 44_100, 32_000, [24_000, 22_050, 16_000, 0][half as usize]][code];
        let mode = bits.get(3)?;
        return Some(Sound { sample_rate, channels: ac3_channels(mode, bits.flag()?) });
    }
    let mode = bits.get(3)?;
    if mode & 1 == 1 && mode != 1 {
        bits.skip(2)?;
    }
    if mode & 4 != 0 {
        bits.skip(2)?;
    }
    if mode == 2 {
        bits.skip(2)?;
    }
    Some(Sound { sample_rate: [48_000, 44_100, 32_000, 0][code], channels: ac3_channels(mode, bits.flag()?) })
}

/// A FLAC STREAMINFO block (RFC 9639 §8.2) without its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlacInfo {
    pub sound: Sound,
    /// Samples per channel; 0 means unknown.
    pub samples: u64,
}

pub fn flac_info(bytes: &[u8]) -> Option<FlacInfo> {
    let packed = be_at(bytes, 10, 8)?;
    let sample_rate = (packed >> 44) as u32;
    let channels = (packed >> 41 & 7) as u32 + 1;
    (sample_rate > 0).then_some(FlacInfo { sound: Sound { sample_rate, channels }, samples: packed & 0xF_FFFF_FFFF })
}

/// Width, height and, when the stream says so, pictures per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Picture {
    pub width: u32,
    pub height: u32,
    pub frame_rate: Option<f64>,
}

/// An MPEG-1 or MPEG-2 video sequence header (ISO/IEC 13818-2 §6.2.2.1) without its start code.
pub fn mpeg_video(bytes: &[u8]) -> Option<Picture> {
    let b = bytes.get(..4)?;
    let width = u32::from(b[0]) << 4 | u32::from(b[1] >> 4);
    let height = u32::from(b[1] & 15) << 8 | u32::from(b[2]);
    let rates = [24_000.0 / 1001.0, 24.0, 25.0, 30_000.0 / 1001.0, 30.0, 50.0, 60_000.0 / 1001.0, 60.0];
    let frame_rate = rates.get(usize::from(b[3] & 15).wrapping_sub(1)).copied();
    (width > 0 && height > 0).then_some(Picture { width, height, frame_rate })
}

/// An AVC sequence parameter set (ISO/IEC 14496-10 §7.3.2.1.1) behind its one-byte NAL header.
pub fn avc_sps(escaped: &[u8]) -> Option<Picture> {
    let bytes = unescape(escaped);
    let profile = *bytes.first()?;
    let mut bits = Bits::new(bytes.get(3..)?);
    bits.ue()?;
    let mut chroma = 1;
    if [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135].contains(&profile) {
        chroma = bits.ue()?;
        if chroma == 3 {
            bits.skip(1)?;
        }
        bits.ue()?;
        bits.ue()?;
        bits.skip(1)?;
        if bits.flag()? {
            for list in 0..if chroma == 3 { 12 } else { 8 } {
                if bits.flag()? {
                    skip_scaling_list(&mut bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.ue()?;
    match bits.ue()? {
        0 => drop(bits.ue()?),
        1 => {
            bits.skip(1)?;
            bits.se()?;
            bits.se()?;
            for _ in 0..bits.ue()?.min(255) {
                bits.se()?;
            }
        }
        _ => {}
    }
    bits.ue()?;
    bits.skip(1)?;
    let (columns, rows) = (bits.ue()?.checked_add(1)?, bits.ue()?.checked_add(1)?);
    let frames_only = bits.flag()?;
    if !frames_only {
        bits.skip(1)?;
    }
    bits.skip(1)?;
    let fields = if frames_only { 1 } else { 2 };
    let (mut width, mut height) = (columns.checked_mul(16)?, rows.checked_mul(16 * fields)?);
    if bits.flag()? {
        let (unit_x, unit_y) = (if matches!(chroma, 1 | 2) { 2 } else { 1 }, if chroma == 1 { 2 } else { 1 });
        let sides = bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_x)?;
        let ends = bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_y * fields)?;
        (width, height) = (width.checked_sub(sides)?, height.checked_sub(ends)?);
    }
    (width > 0 && height > 0).then_some(Picture { width, height, frame_rate: None })
}

fn skip_scaling_list(bits: &mut Bits, size: u32) -> Option<()> {
    let (mut last, mut next) = (8i32, 8i32);
    for _ in 0..size {
        if next != 0 {
            next = (last.wrapping_add(bits.se()?)) & 255;
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

/// An HEVC sequence parameter set (ISO/IEC 23008-2 §7.3.2.2) behind its two-byte NAL header.
pub fn hevc_sps(escaped: &[u8]) -> Option<Picture> {
    let bytes = unescape(escaped);
    let mut bits = Bits::new(&bytes);
    bits.skip(4)?;
    let layers = bits.get(3)?;
    bits.skip(1 + 88 + 8)?;
    let present: Vec<(bool, bool)> = (0..layers).map(|_| Some((bits.flag()?, bits.flag()?))).collect::<Option<_>>()?;
    if layers > 0 {
        bits.skip(2 * (8 - layers))?;
    }
    for (profile, level) in present {
        bits.skip(if profile { 88 } else { 0 } + if level { 8 } else { 0 })?;
    }
    bits.ue()?;
    let chroma = bits.ue()?;
    if chroma == 3 {
        bits.skip(1)?;
    }
    let (mut width, mut height) = (bits.ue()?, bits.ue()?);
    if bits.flag()? {
        let (unit_x, unit_y) = (if matches!(chroma, 1 | 2) { 2 } else { 1 }, if chroma == 1 { 2 } else { 1 });
        width = width.checked_sub(bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_x)?)?;
        height = height.checked_sub(bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_y)?)?;
    }
    (width > 0 && height > 0).then_some(Picture { width, height, frame_rate: None })
}

/// Parameter sets are short; what is longer is not one.
const MAX_PARAMETER_SET: usize = 1024;

/// Takes out the emulation prevention bytes (ISO/IEC 14496-10 §7.4.1).
fn unescape(escaped: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &byte in escaped.iter().take(MAX_PARAMETER_SET) {
        if byte != 3 || !bytes.ends_with(&[0, 0]) {
            bytes.push(byte);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(sample_rate: u32, channels: u32) -> Sound {
        Sound { sample_rate, channels }
    }

    #[test]
    fn audio_headers() {
        assert_eq!(aac_config(&[0x12, 0x10]), Some(sound(44_100, 2)));
        assert_eq!(aac_config(&[0x11, 0xB0]), Some(sound(48_000, 6)));
        // HE-AAC: 22 050 Hz core, heard at 44 100.
        assert_eq!(aac_config(&[0x2B, 0x92, 0x08, 0x00]), Some(sound(44_100, 2)));
        assert_eq!(aac_config(&[0x17]), None);
        let frame = adts(&[0xFF, 0xF1, 0x50, 0x80, 0x2E, 0x7F, 0xFC]).unwrap();
        assert_eq!((frame.sound, frame.length, frame.samples), (sound(44_100, 2), 371, 1024));
        assert_eq!(adts(&[0xFF, 0xFB, 0x90, 0x64, 0, 0, 0]), None);
        let frame = mpeg_audio(&[0xFF, 0xFB, 0x90, 0x64]).unwrap();
        assert_eq!((frame.codec(), frame.sound, frame.bit_rate), ("mp3", sound(44_100, 2), 128_000));
        assert_eq!((frame.length, frame.samples), (417, 1152));
        let frame = mpeg_audio(&[0xFF, 0xF3, 0x40, 0xC4]).unwrap();
        assert_eq!((frame.sound, frame.bit_rate, frame.length, frame.samples), (sound(22_050, 1), 32_000, 104, 576));
        for bad in [[0xFF, 0xFB, 0xF0, 0], [0xFF, 0xFB, 0x9C, 0], [0xFF, 0xF9, 0x90, 0], [0xFF, 0xEB, 0x90, 0]] {
            assert_eq!(mpeg_audio(&bad), None, "{bad:x?}");
        }
        assert_eq!(ac3(&[0x0B, 0x77, 0, 0, 0x14, 0x40, 0xE1, 0]), Some(sound(48_000, 6)));
    }

    #[test]
    fn picture_sizes() {
        let size = |picture: Option<Picture>| picture.map(|picture| (picture.width, picture.height));
        let high_1080p =
            [0x64, 0, 0x28, 0xAC, 0xD9, 0x40, 0x78, 0x02, 0x27, 0xE5, 0x84, 0, 0, 3, 0, 4, 0, 0, 3, 0, 0xF0];
        assert_eq!(size(avc_sps(&high_1080p)), Some((1920, 1080)));
        assert_eq!(avc_sps(&high_1080p[..6]), None);
        let film = mpeg_video(&[0x2D, 0x02, 0x40, 0x33]).unwrap();
        assert_eq!((film.width, film.height, film.frame_rate), (720, 576, Some(25.0)));
    }
}
