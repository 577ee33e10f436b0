//! Sample entries: which codec a track has (ISO/IEC 14496-12 §8.5.2, 14496-14, 14496-15, QuickTime File Format).

use mediahost_plugin_sdk::detect::bytes::{Bits, Cursor, be_at};
use mediahost_plugin_sdk::detect::codec::{Sound, aac_config, ac3_channels, flac_info};

use crate::boxes::{Header, child};

/// What the first sample entry of a track says.
pub struct SampleEntry {
    /// FFmpeg's name, or the container's own tag.
    pub codec: String,
    pub picture: (u32, u32),
    pub sound: Sound,
    pub bit_rate: Option<u64>,
}

/// Tags of sample entries and FFmpeg's names for them. What is not here goes by its own tag.
const CODECS: &[(&[u8; 4], &str)] = &[
    (b"avc1", "h264"),
    (b"avc2", "h264"),
    (b"avc3", "h264"),
    (b"avc4", "h264"),
    (b"dva1", "h264"),
    (b"dvav", "h264"),
    (b"hvc1", "hevc"),
    (b"hev1", "hevc"),
    (b"dvh1", "hevc"),
    (b"dvhe", "hevc"),
    (b"vvc1", "vvc"),
    (b"vvi1", "vvc"),
    (b"av01", "av1"),
    (b"dav1", "av1"),
    (b"vp08", "vp8"),
    (b"vp09", "vp9"),
    (b"mp4v", "mpeg4"),
    (b"s263", "h263"),
    (b"h263", "h263"),
    (b"jpeg", "mjpeg"),
    (b"mjpa", "mjpeg"),
    (b"mjpb", "mjpegb"),
    (b"png ", "png"),
    (b"apcn", "prores"),
    (b"apch", "prores"),
    (b"apcs", "prores"),
    (b"apco", "prores"),
    (b"ap4h", "prores"),
    (b"ap4x", "prores"),
    (b"AVdn", "dnxhd"),
    (b"AVdh", "dnxhd"),
    (b"vc-1", "vc1"),
    (b"FFV1", "ffv1"),
    (b"SVQ3", "svq3"),
    (b"SVQ1", "svq1"),
    (b"cvid", "cinepak"),
    (b"rle ", "qtrle"),
    (b"dvc ", "dvvideo"),
    (b"dvcp", "dvvideo"),
    (b"dvhp", "dvvideo"),
    (b"mp4a", "aac"),
    (b".mp3", "mp3"),
    (b"ac-3", "ac3"),
    (b"ec-3", "eac3"),
    (b"ac-4", "ac4"),
    (b"dtsc", "dts"),
    (b"dtsh", "dts"),
    (b"dtsl", "dts"),
    (b"dtse", "dts"),
    (b"mlpa", "truehd"),
    (b"Opus", "opus"),
    (b"fLaC", "flac"),
    (b"alac", "alac"),
    (b"samr", "amr_nb"),
    (b"sawb", "amr_wb"),
    (b"mha1", "mpegh_3d_audio"),
    (b"mhm1", "mpegh_3d_audio"),
    (b"ulaw", "pcm_mulaw"),
    (b"alaw", "pcm_alaw"),
    (b"sowt", "pcm_s16le"),
    (b"twos", "pcm_s16be"),
    (b"in24", "pcm_s24be"),
    (b"in32", "pcm_s32be"),
    (b"fl32", "pcm_f32be"),
    (b"fl64", "pcm_f64be"),
    (b"tx3g", "mov_text"),
    (b"text", "mov_text"),
    (b"wvtt", "webvtt"),
    (b"stpp", "ttml"),
    (b"c608", "eia_608"),
    (b"mp4s", "dvd_subtitle"),
];

impl SampleEntry {
    /// Reads the first entry of a sample description box.
    pub fn parse(stsd: &[u8], handler: &[u8; 4]) -> Option<SampleEntry> {
        let bytes = stsd.get(8..)?;
        let header = Header::parse(bytes)?;
        let length = header.length.unwrap_or(bytes.len() as u64).min(bytes.len() as u64) as usize;
        // Six reserved bytes and the data reference stand before what the kinds have of their own.
        let body = bytes.get(header.head as usize + 8..length)?;
        match handler {
            b"vide" | b"auxv" | b"pict" => Some(video(header.kind, body)),
            b"soun" => Some(audio(header.kind, body)),
            _ => Some(SampleEntry::of(header.kind, body)),
        }
    }

    fn of(kind: [u8; 4], boxes: &[u8]) -> SampleEntry {
        SampleEntry {
            codec: codec_of(&original(kind, boxes)),
            picture: (0, 0),
            sound: Sound { sample_rate: 0, channels: 0 },
            bit_rate: None,
        }
    }

    /// What an elementary stream descriptor adds.
    fn apply(&mut self, esds: &[u8]) {
        let Some(stream) = Descriptor::parse(esds) else { return };
        if let Some(codec) = stream.codec() {
            self.codec = codec.into();
        }
        self.bit_rate = (stream.bit_rate > 0).then_some(stream.bit_rate);
        if self.codec == "mp3" {
            // The entry's count is a template of 2, whatever the stream holds.
            self.sound.channels = 0;
        }
        if let ("aac", Some(sound)) = (self.codec.as_str(), stream.config.and_then(aac_config)) {
            self.sound.sample_rate = sound.sample_rate;
            if sound.channels > 0 {
                self.sound.channels = sound.channels;
            }
        }
    }
}

/// The tag before encryption (§8.12).
fn original(kind: [u8; 4], boxes: &[u8]) -> [u8; 4] {
    if !matches!(&kind, b"encv" | b"enca" | b"enct" | b"encs" | b"drms" | b"drmi" | b"p608") {
        return kind;
    }
    let frma = child(boxes, b"sinf").and_then(|sinf| child(sinf, b"frma"));
    frma.and_then(|frma| Cursor::new(frma).tag()).unwrap_or(kind)
}

fn codec_of(kind: &[u8; 4]) -> String {
    match CODECS.iter().find(|(tag, _)| *tag == kind) {
        Some((_, name)) => (*name).into(),
        None => String::from_utf8_lossy(kind).trim_end_matches([' ', '\0']).to_string(),
    }
}

fn video(kind: [u8; 4], body: &[u8]) -> SampleEntry {
    let boxes = body.get(70..).unwrap_or_default();
    let mut entry = SampleEntry::of(kind, boxes);
    let size = |at| be_at(body, at, 2).unwrap_or(0) as u32;
    entry.picture = (size(16), size(18));
    if let Some(esds) = child(boxes, b"esds") {
        entry.apply(esds);
    }
    if let Some(btrt) = child(boxes, b"btrt") {
        entry.bit_rate = be_at(btrt, 8, 4).filter(|rate| *rate > 0);
    }
    entry
}

fn audio(kind: [u8; 4], body: &[u8]) -> SampleEntry {
    let number = |at, length| be_at(body, at, length).unwrap_or(0) as u32;
    // QuickTime's versions 1 and 2 put more before the boxes.
    let version = number(0, 2);
    let boxes = body.get(20 + [0, 16, 36].get(version as usize).copied().unwrap_or(0)..).unwrap_or_default();
    let mut entry = SampleEntry::of(kind, boxes);
    entry.sound = Sound { sample_rate: number(16, 2), channels: number(8, 2) };
    if version == 2 {
        let rate = f64::from_bits(be_at(body, 24, 8).unwrap_or(0));
        entry.sound = Sound { sample_rate: rate as u32, channels: number(32, 4) };
    }
    let wave = child(boxes, b"wave").unwrap_or_default();
    if let Some(esds) = child(boxes, b"esds").or_else(|| child(wave, b"esds")) {
        entry.apply(esds);
    }
    match &original(kind, boxes) {
        b"lpcm" => entry.codec = linear(number(36, 4), number(40, 4)),
        b"sowt" | b"twos" if number(10, 2) == 8 => entry.codec = "pcm_s8".into(),
        _ => {}
    }
    if let Some(sound) = specific(boxes) {
        entry.sound = sound;
    }
    entry
}

/// Uncompressed sound of QuickTime's version 2: bits per sample and flags (1 float, 2 big-endian, 4 signed).
fn linear(bits: u32, flags: u32) -> String {
    let sign = if flags & 1 != 0 {
        "f"
    } else if flags & 4 != 0 {
        "s"
    } else {
        "u"
    };
    let order = if bits <= 8 {
        ""
    } else if flags & 2 != 0 {
        "be"
    } else {
        "le"
    };
    format!("pcm_{sign}{bits}{order}")
}

/// What the boxes of particular codecs say of rate and channels; they know better than the entry.
fn specific(boxes: &[u8]) -> Option<Sound> {
    if let Some(dops) = child(boxes, b"dOps") {
        // Opus is always decoded at 48 kHz (RFC 7845 §5.1).
        return Some(Sound { sample_rate: 48_000, channels: be_at(dops, 1, 1)? as u32 });
    }
    if let Some(dfla) = child(boxes, b"dfLa") {
        return Some(flac_info(dfla.get(8..)?)?.sound);
    }
    if let Some(alac) = child(boxes, b"alac") {
        return Some(Sound { sample_rate: be_at(alac, 24, 4)? as u32, channels: be_at(alac, 13, 1)? as u32 });
    }
    // ETSI TS 102 366 §F.4, §F.6: between the rate and the coding mode stand fields that do not matter here.
    let (bytes, between) = match (child(boxes, b"dac3"), child(boxes, b"dec3")) {
        (Some(dac3), _) => (dac3, 8),
        (None, Some(dec3)) => (dec3.get(2..)?, 10),
        _ => return None,
    };
    let mut bits = Bits::new(bytes);
    let rate = [48_000, 44_100, 32_000, 0][bits.get(2)? as usize];
    bits.skip(between)?;
    let mode = bits.get(3)?;
    Some(Sound { sample_rate: rate, channels: ac3_channels(mode, bits.flag()?) }).filter(|sound| sound.sample_rate > 0)
}

/// An elementary stream descriptor (ISO/IEC 14496-1 §7.2.6.5).
struct Descriptor<'a> {
    object_type: u8,
    bit_rate: u64,
    config: Option<&'a [u8]>,
}

impl<'a> Descriptor<'a> {
    fn parse(esds: &'a [u8]) -> Option<Descriptor<'a>> {
        let mut stream = Cursor::new(descriptor(&mut Cursor::new(esds.get(4..)?), 3)?);
        stream.skip(2)?;
        let flags = stream.u8()?;
        if flags & 0x80 != 0 {
            stream.skip(2)?;
        }
        if flags & 0x40 != 0 {
            let length = stream.u8()?;
            stream.skip(length.into())?;
        }
        if flags & 0x20 != 0 {
            stream.skip(2)?;
        }
        let mut decoder = Cursor::new(descriptor(&mut stream, 4)?);
        let object_type = decoder.u8()?;
        decoder.skip(8)?;
        let bit_rate = decoder.be(4)?;
        Some(Descriptor { object_type, bit_rate, config: descriptor(&mut decoder, 5) })
    }

    /// Object type indications of ISO/IEC 14496-1 table 5 and of the registration authority.
    fn codec(&self) -> Option<&'static str> {
        Some(match self.object_type {
            0x20 => "mpeg4",
            0x21 => "h264",
            0x23 => "hevc",
            0x40 | 0x66..=0x68 => "aac",
            0x60..=0x65 => "mpeg2video",
            0x69 | 0x6B => "mp3",
            0x6A => "mpeg1video",
            0x6C => "mjpeg",
            0x6D => "png",
            0xA5 => "ac3",
            0xA6 => "eac3",
            0xA9 => "dts",
            0xAD => "opus",
            0xDD => "vorbis",
            0xE0 => "dvd_subtitle",
            _ => return None,
        })
    }
}

/// The content of the next descriptor, which has this tag; its length takes up to four bytes of seven bits.
fn descriptor<'a>(cursor: &mut Cursor<'a>, tag: u8) -> Option<&'a [u8]> {
    if cursor.u8()? != tag {
        return None;
    }
    let mut length = 0;
    for _ in 0..4 {
        let byte = cursor.u8()?;
        length = length << 7 | usize::from(byte & 127);
        if byte & 128 == 0 {
            break;
        }
    }
    let length = length.min(cursor.rest().len());
    cursor.take(length)
}
