//! What a few bytes of an elementary stream say: rates, channels, picture sizes.
//!
//! Containers repeat these facts or leave them out; detectors of several containers share the reading of them.

use super::bytes::{Bits, Cursor, be_at, find, le_at};

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

/// Whether a synchronisation frame is E-AC-3 (ETSI TS 102 366 §E.2.3.1.6).
pub fn is_eac3(bytes: &[u8]) -> bool {
    bytes.get(5).is_some_and(|byte| byte >> 3 > 10)
}

/// The core frame of DTS (ETSI TS 102 114 §5.3), big-endian and in words of 16 bits.
pub fn dts(bytes: &[u8]) -> Option<Sound> {
    if bytes.get(..4)? != [0x7F, 0xFE, 0x80, 0x01] {
        return None;
    }
    let mut bits = Bits::new(&bytes[4..]);
    bits.skip(1 + 5 + 1 + 7 + 14)?;
    let (arrangement, rate) = (bits.get(6)? as usize, bits.get(4)? as usize);
    bits.skip(5 + 10)?;
    let low_frequency = matches!(bits.get(2)?, 1 | 2);
    let rates = [0, 8_000, 16_000, 32_000, 0, 0, 11_025, 22_050, 44_100, 0, 0, 12_000, 24_000, 48_000, 0, 0];
    let channels = *[1, 2, 2, 2, 2, 3, 3, 4, 4, 5, 6, 6, 6, 7, 8, 8].get(arrangement)?;
    (rates[rate] > 0).then_some(Sound { sample_rate: rates[rate], channels: channels + u32::from(low_frequency) })
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

/// An MPEG-1 or MPEG-2 video sequence header (ISO/IEC 13818-2 §6.2.2.1) without its start code, with the extension
/// behind it if that is there.
pub fn mpeg_video(bytes: &[u8]) -> Option<Picture> {
    let b = bytes.get(..4)?;
    let mut width = u32::from(b[0]) << 4 | u32::from(b[1] >> 4);
    let mut height = u32::from(b[1] & 15) << 8 | u32::from(b[2]);
    let rates = [24_000.0 / 1001.0, 24.0, 25.0, 30_000.0 / 1001.0, 30.0, 50.0, 60_000.0 / 1001.0, 60.0];
    let mut frame_rate = rates.get(usize::from(b[3] & 15).wrapping_sub(1)).copied();
    if let Some(more) = mpeg_video_extension(bytes) {
        width |= more.width << 12;
        height |= more.height << 12;
        frame_rate = frame_rate.map(|rate| rate * more.times);
    }
    (width > 0 && height > 0).then_some(Picture { width, height, frame_rate })
}

/// FFmpeg's name for the codec of a sequence header: only MPEG-2 has an extension behind it.
pub fn mpeg_video_codec(bytes: &[u8]) -> &'static str {
    if mpeg_video_extension(bytes).is_some() { "mpeg2video" } else { "mpeg1video" }
}

/// What a sequence extension adds: two high bits of the sizes, a factor of the rate.
struct SequenceExtension {
    width: u32,
    height: u32,
    times: f64,
}

/// Bytes of the longest sequence header, with both matrices, behind its start code.
const SEQUENCE_HEADER: usize = 8 + 64 + 64;
/// Bytes from a sequence header on, its start code left out, that hold its extension as well.
pub const MPEG_SEQUENCE: usize = SEQUENCE_HEADER + 10;

/// The sequence extension (§6.2.2.3) behind a sequence header.
fn mpeg_video_extension(bytes: &[u8]) -> Option<SequenceExtension> {
    let bytes = &bytes[..bytes.len().min(MPEG_SEQUENCE)];
    let at = find(bytes, &[0, 0, 1], 8)?;
    let mut bits = Bits::new(bytes.get(at + 3..)?);
    if bits.get(8)? != 0xB5 || bits.get(4)? != 1 {
        return None;
    }
    bits.skip(8 + 1 + 2)?;
    let (width, height) = (bits.get(2)?, bits.get(2)?);
    bits.skip(12 + 1 + 8 + 1)?;
    let (over, under) = (bits.get(2)? + 1, bits.get(5)? + 1);
    Some(SequenceExtension { width, height, times: f64::from(over) / f64::from(under) })
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
    let frame_rate = avc_frame_rate(&mut bits);
    (width > 0 && height > 0).then_some(Picture { width, height, frame_rate })
}

/// Pictures per second of the usability information (ISO/IEC 14496-10 §E.1.1), where it has them.
fn avc_frame_rate(bits: &mut Bits) -> Option<f64> {
    if !bits.flag()? {
        return None;
    }
    if bits.flag()? && bits.get(8)? == 255 {
        bits.skip(32)?;
    }
    if bits.flag()? {
        bits.skip(1)?;
    }
    if bits.flag()? {
        bits.skip(4)?;
        if bits.flag()? {
            bits.skip(24)?;
        }
    }
    if bits.flag()? {
        bits.ue()?;
        bits.ue()?;
    }
    if !bits.flag()? {
        return None;
    }
    let (units, scale) = (bits.get(32)?, bits.get(32)?);
    // Ticks count fields.
    (units > 0 && scale > 0).then(|| f64::from(scale) / f64::from(units) / 2.0)
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

/// The picture of an AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3.1).
pub fn avc_config(bytes: &[u8]) -> Option<Picture> {
    let mut cursor = Cursor::new(bytes);
    cursor.skip(5)?;
    if cursor.u8()? & 31 == 0 {
        return None;
    }
    let length = cursor.be16()? as usize;
    avc_sps(cursor.take(length)?.get(1..)?)
}

/// The picture of an HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 §8.3.3.1).
pub fn hevc_config(bytes: &[u8]) -> Option<Picture> {
    let mut cursor = Cursor::new(bytes);
    cursor.skip(22)?;
    for _ in 0..cursor.u8()? {
        let kind = cursor.u8()? & 63;
        for _ in 0..cursor.be16()? {
            let length = cursor.be16()? as usize;
            let unit = cursor.take(length)?;
            if kind == 33 {
                return hevc_sps(unit.get(2..)?);
            }
        }
    }
    None
}

/// Parameter sets are short; what is longer is not one.
const MAX_PARAMETER_SET: usize = 1024;

/// Takes out the emulation prevention bytes (ISO/IEC 14496-10 §7.4.1).
fn unescape(escaped: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut zeros = 0;
    for &byte in escaped.iter().take(MAX_PARAMETER_SET) {
        if byte == 3 && zeros >= 2 {
            // What follows is as it is, even another 3.
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        bytes.push(byte);
    }
    bytes
}

/// Four-letter codes of RIFF video, in capitals, and FFmpeg's names.
const FOURCCS: &[(&[u8; 4], &str)] = &[
    (b"H264", "h264"),
    (b"AVC1", "h264"),
    (b"X264", "h264"),
    (b"DAVC", "h264"),
    (b"VSSH", "h264"),
    (b"HEVC", "hevc"),
    (b"H265", "hevc"),
    (b"HVC1", "hevc"),
    (b"AV01", "av1"),
    (b"VP80", "vp8"),
    (b"VP90", "vp9"),
    (b"VP60", "vp6"),
    (b"VP61", "vp6"),
    (b"VP62", "vp6"),
    (b"VP6F", "vp6f"),
    (b"FMP4", "mpeg4"),
    (b"DIVX", "mpeg4"),
    (b"DX50", "mpeg4"),
    (b"XVID", "mpeg4"),
    (b"XVIX", "mpeg4"),
    (b"MP4S", "mpeg4"),
    (b"MP4V", "mpeg4"),
    (b"M4S2", "mpeg4"),
    (b"3IV2", "mpeg4"),
    (b"RMP4", "mpeg4"),
    (b"DIV3", "msmpeg4v3"),
    (b"DIV4", "msmpeg4v3"),
    (b"DIV5", "msmpeg4v3"),
    (b"DIV6", "msmpeg4v3"),
    (b"MP43", "msmpeg4v3"),
    (b"MPG3", "msmpeg4v3"),
    (b"AP41", "msmpeg4v3"),
    (b"COL1", "msmpeg4v3"),
    (b"MP42", "msmpeg4v2"),
    (b"DIV2", "msmpeg4v2"),
    (b"MPG4", "msmpeg4v1"),
    (b"MP41", "msmpeg4v1"),
    (b"WMV1", "wmv1"),
    (b"WMV2", "wmv2"),
    (b"WMV3", "wmv3"),
    (b"WVC1", "vc1"),
    (b"WMVA", "vc1"),
    (b"H263", "h263"),
    (b"U263", "h263"),
    (b"FLV1", "flv1"),
    (b"S263", "flv1"),
    (b"MPG1", "mpeg1video"),
    (b"PIM1", "mpeg1video"),
    (b"MPG2", "mpeg2video"),
    (b"MPEG", "mpeg2video"),
    (b"DVR ", "mpeg2video"),
    (b"HDV2", "mpeg2video"),
    (b"MJPG", "mjpeg"),
    (b"AVRN", "mjpeg"),
    (b"DMB1", "mjpeg"),
    (b"LJPG", "ljpeg"),
    (b"DVSD", "dvvideo"),
    (b"DV25", "dvvideo"),
    (b"DV50", "dvvideo"),
    (b"DVHD", "dvvideo"),
    (b"CDVC", "dvvideo"),
    (b"FFV1", "ffv1"),
    (b"HFYU", "huffyuv"),
    (b"FFVH", "ffvhuff"),
    (b"LAGS", "lagarith"),
    (b"ULRG", "utvideo"),
    (b"ULRA", "utvideo"),
    (b"ULY0", "utvideo"),
    (b"ULY2", "utvideo"),
    (b"MSVC", "msvideo1"),
    (b"CRAM", "msvideo1"),
    (b"MRLE", "msrle"),
    (b"CVID", "cinepak"),
    (b"IV31", "indeo3"),
    (b"IV32", "indeo3"),
    (b"IV41", "indeo4"),
    (b"IV50", "indeo5"),
    (b"TSCC", "tscc"),
    (b"THEO", "theora"),
    (b"SNOW", "snow"),
    (b"DRAC", "dirac"),
    (b"PNG1", "png"),
    (b"MPNG", "png"),
    (b"MJ2C", "jpeg2000"),
    (b"DXSB", "xsub"),
    (b"I420", "rawvideo"),
    (b"IYUV", "rawvideo"),
    (b"YV12", "rawvideo"),
    (b"YUY2", "rawvideo"),
    (b"UYVY", "rawvideo"),
    (b"Y800", "rawvideo"),
    (b"\0\0\0\0", "rawvideo"),
    (b"\x01\0\0\0", "msrle"),
    (b"\x02\0\0\0", "msrle"),
    (b"\x03\0\0\0", "rawvideo"),
];

/// FFmpeg's name for the compression of a BITMAPINFOHEADER, or the code itself.
pub fn fourcc_codec(code: [u8; 4]) -> String {
    let upper = code.map(|letter| letter.to_ascii_uppercase());
    let known = FOURCCS.iter().find(|(known, _)| **known == upper).map(|(_, name)| (*name).to_string());
    known.unwrap_or_else(|| code.iter().map(|byte| if byte.is_ascii_graphic() { *byte as char } else { '?' }).collect())
}

/// WAVE format tags and FFmpeg's names.
const WAVE_TAGS: &[(u64, &str)] = &[
    (0x02, "adpcm_ms"),
    (0x06, "pcm_alaw"),
    (0x07, "pcm_mulaw"),
    (0x0A, "wmavoice"),
    (0x11, "adpcm_ima_wav"),
    (0x22, "truespeech"),
    (0x31, "gsm_ms"),
    (0x45, "adpcm_g726"),
    (0x50, "mp2"),
    (0x55, "mp3"),
    (0x61, "adpcm_ima_dk4"),
    (0xFF, "aac"),
    (0x160, "wmav1"),
    (0x161, "wmav2"),
    (0x162, "wmapro"),
    (0x163, "wmalossless"),
    (0x270, "atrac3"),
    (0x401, "imc"),
    (0x566F, "vorbis"),
    (0x674F, "vorbis"),
    (0x6750, "vorbis"),
    (0x6751, "vorbis"),
    (0x676F, "vorbis"),
    (0x704F, "opus"),
    (0x1600, "aac"),
    (0x1610, "aac"),
    (0x2000, "ac3"),
    (0x2001, "dts"),
    (0xA106, "aac"),
    (0xF1AC, "flac"),
];

/// What a WAVEFORMATEX says: FFmpeg's name for the codec, or the tag in hexadecimal, and the sound.
pub fn wave_format(bytes: &[u8]) -> Option<(String, Sound)> {
    let number = |offset, length| le_at(bytes, offset, length);
    let sound = Sound { channels: number(2, 2)? as u32, sample_rate: number(4, 4)? as u32 };
    let depth = number(14, 2).unwrap_or(8);
    let tag = match number(0, 2)? {
        // The extensible kind has the tag in the first bytes of its GUID.
        0xFFFE => number(24, 2)?,
        tag => tag,
    };
    let known = WAVE_TAGS.iter().find(|(known, _)| *known == tag).map(|(_, name)| (*name).to_string());
    let codec = match (tag, depth) {
        (1, 8) => "pcm_u8".into(),
        (1, depth) => format!("pcm_s{depth}le"),
        (3, depth) => format!("pcm_f{depth}le"),
        _ => known.unwrap_or_else(|| format!("0x{tag:04x}")),
    };
    Some((codec, sound))
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
        let frame = [0x0B, 0x77, 0, 0, 0x14, 0x40, 0xE1, 0];
        assert_eq!((ac3(&frame), is_eac3(&frame)), (Some(sound(48_000, 6)), false));
        assert!(is_eac3(&[0x0B, 0x77, 0, 0, 0x3F, 0x86]));
        // 48 kHz, three channels in front, two behind, one of low frequencies.
        let core = [0x7F, 0xFE, 0x80, 0x01, 0xFC, 0x3C, 0x3F, 0xF2, 0x76, 0xE0, 0x02, 0x00];
        assert_eq!(dts(&core), Some(sound(48_000, 6)));
        assert_eq!((dts(&core[..8]), dts(&[0; 12])), (None, None));
    }

    #[test]
    fn picture_sizes() {
        let size = |picture: Option<Picture>| picture.map(|picture| (picture.width, picture.height));
        let high_1080p =
            [0x64, 0, 0x28, 0xAC, 0xD9, 0x40, 0x78, 0x02, 0x27, 0xE5, 0x84, 0, 0, 3, 0, 4, 0, 0, 3, 0, 0xF0];
        assert_eq!(size(avc_sps(&high_1080p)), Some((1920, 1080)));
        assert_eq!(avc_sps(&high_1080p[..6]), None);
        // 25 pictures per second, where a 3 that belongs there follows an escaping one.
        let baseline =
            [0x42, 0xC0, 0x0D, 0xDA, 5, 0x82, 0x5B, 1, 0x10, 0, 0, 3, 0, 0x10, 0, 0, 3, 3, 0x20, 0xF1, 0x42, 0xAA];
        let expected = Picture { width: 352, height: 288, frame_rate: Some(25.0) };
        assert_eq!(avc_sps(&baseline), Some(expected));
        let film = mpeg_video(&[0x2D, 0x02, 0x40, 0x33]).unwrap();
        assert_eq!((film.width, film.height, film.frame_rate), (720, 576, Some(25.0)));
        let first = [0x2D, 0x02, 0x40, 0x33, 0, 0, 0, 0];
        assert_eq!(mpeg_video_codec(&first), "mpeg1video");
        // The extension: one high bit of the height, the rate doubled.
        let second = [&first[..], &[0, 0, 1, 0xB5, 0x14, 0x80, 0x20, 0x01, 0x00, 0x20]].concat();
        let film = mpeg_video(&second).unwrap();
        assert_eq!((film.width, film.height, film.frame_rate), (720, 4096 + 576, Some(50.0)));
        assert_eq!(mpeg_video_codec(&second), "mpeg2video");
        let config = [&[1, 0x64, 0, 0x28, 0xFF, 0xE1, 0, 22, 0x67][..], &high_1080p].concat();
        assert_eq!(size(avc_config(&config)), Some((1920, 1080)));
        assert_eq!((avc_config(&config[..12]), hevc_config(&config)), (None, None));
    }

    #[test]
    fn names_of_riff() {
        for (code, name) in [(b"xvid", "mpeg4"), (b"H264", "h264"), (b"\0\0\0\0", "rawvideo"), (b"a\xFFb ", "a?b?")] {
            assert_eq!(fourcc_codec(*code), name);
        }
        let wave = [1, 0, 2, 0, 0x44, 0xAC, 0, 0, 0, 0, 0, 0, 4, 0, 24, 0];
        assert_eq!(wave_format(&wave), Some(("pcm_s24le".into(), sound(44_100, 2))));
        assert_eq!(wave_format(&[&[0x34, 0x12][..], &wave[2..]].concat()).unwrap().0, "0x1234");
        assert_eq!(wave_format(&wave[..6]), None);
    }
}
