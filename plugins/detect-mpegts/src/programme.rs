//! The programme tables: which streams belong together and what they are (ISO/IEC 13818-1 §2.4.4).

use std::collections::BTreeMap;

use mediahost_plugin_sdk::detect::Track;
use mediahost_plugin_sdk::detect::bytes::Cursor;

use crate::packets::Packet;
use crate::stream::{Survey, UNNAMED};

/// Programmes of one stream, at most.
const MAX_PROGRAMMES: usize = 64;
/// Streams of one programme, at most.
const MAX_STREAMS: usize = 64;
/// Bytes of a section (§2.4.4): header and checksum at least, and no more than a table may have.
const SECTION: std::ops::RangeInclusive<usize> = 12..=1024;

/// A programme.
#[derive(Debug, Default)]
pub struct Programme {
    table_pid: u16,
    /// Whether its table was seen.
    pub is_told: bool,
    pub clock_pid: u16,
    /// Registered by Blu-ray discs, which give some stream types a meaning of their own.
    blu_ray: bool,
    pub streams: Vec<Stream>,
}

/// An elementary stream as the table has it.
#[derive(Debug, Default)]
pub struct Stream {
    pub pid: u16,
    pub kind: &'static str,
    pub codec: &'static str,
    language: Option<String>,
}

impl Programme {
    /// Its streams in the contract's words, with what their first headers say.
    pub fn tracks(&self, survey: &Survey) -> Vec<Track> {
        let describe = |stream: &Stream| {
            let mut track = Track::new(stream.pid.into(), stream.kind, stream.codec);
            track.language.clone_from(&stream.language);
            survey.describe(&mut track);
            track
        };
        self.streams.iter().map(describe).collect()
    }
}

/// Collects the tables from packets. None when there is no association table.
pub fn find<'a>(packets: impl Iterator<Item = Packet<'a>>) -> Option<Vec<Programme>> {
    let mut sections: BTreeMap<u16, Section> = BTreeMap::from([(0, Section::default())]);
    let mut programmes: Option<Vec<Programme>> = None;
    for packet in packets {
        let pid = packet.pid();
        let Some(section) = sections.get_mut(&pid) else { continue };
        let Some(body) = section.push(packet) else { continue };
        if pid == 0 && programmes.is_none() {
            let found = association(&body);
            sections.extend(found.iter().map(|programme| (programme.table_pid, Section::default())));
            programmes = Some(found).filter(|found| !found.is_empty());
        } else if let Some(programmes) = &mut programmes {
            let told = programmes.iter_mut().filter(|programme| programme.table_pid == pid && !programme.is_told);
            told.for_each(|programme| read_map(&body, programme));
        }
        if programmes.as_ref().is_some_and(|programmes| programmes.iter().all(|programme| programme.is_told)) {
            break;
        }
    }
    programmes
}

/// A section that may span packets.
#[derive(Default)]
struct Section {
    bytes: Vec<u8>,
    counter: u8,
}

impl Section {
    /// Adds a packet; returns the table without its checksum when it is complete and right.
    fn push(&mut self, packet: Packet) -> Option<Vec<u8>> {
        let payload = packet.payload();
        if packet.is_opaque() || payload.is_empty() {
            return None;
        }
        if packet.starts_unit() {
            let pointer = usize::from(payload[0]);
            self.bytes = payload.get(1 + pointer..)?.to_vec();
        } else if self.bytes.is_empty() || packet.counter() != (self.counter + 1) & 15 {
            self.bytes.clear();
            return None;
        } else {
            self.bytes.extend_from_slice(payload);
        }
        self.counter = packet.counter();
        self.complete()
    }

    fn complete(&mut self) -> Option<Vec<u8>> {
        let header = self.bytes.get(..3)?;
        let length = 3 + (usize::from(header[1] & 15) << 8 | usize::from(header[2]));
        if !SECTION.contains(&length) {
            self.bytes.clear();
            return None;
        }
        let section = self.bytes.get(..length)?;
        let good = checksum(section) == 0 && section[5] & 1 == 1;
        let body = good.then(|| section[..length - 4].to_vec());
        self.bytes.clear();
        body
    }
}

/// CRC-32/MPEG-2; over a section with its checksum it is 0.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| crc << 1 ^ if crc >> 31 == 1 { 0x04C1_1DB7 } else { 0 })
    })
}

/// The association table (§2.4.4.3): programme numbers and where their maps are; number 0 is the network.
fn association(body: &[u8]) -> Vec<Programme> {
    if body[0] != 0 {
        return Vec::new();
    }
    let entries = body[8..].chunks_exact(4).filter(|entry| entry[..2] != [0, 0]);
    entries
        .take(MAX_PROGRAMMES)
        .map(|entry| Programme { table_pid: u16::from_be_bytes([entry[2] & 0x1F, entry[3]]), ..Programme::default() })
        .collect()
}

/// The map of one programme (§2.4.4.8).
fn read_map(body: &[u8], programme: &mut Programme) {
    if body[0] != 2 {
        return;
    }
    let mut cursor = Cursor::new(&body[8..]);
    let (Some(clock), Some(length)) = (cursor.be16(), cursor.be16()) else { return };
    let Some(descriptors) = cursor.take(length as usize & 0xFFF) else { return };
    programme.is_told = true;
    programme.clock_pid = clock as u16 & 0x1FFF;
    programme.blu_ray = registration(descriptors) == Some(b"HDMV");
    while programme.streams.len() < MAX_STREAMS {
        let (Some(kind), Some(pid), Some(length)) = (cursor.u8(), cursor.be16(), cursor.be16()) else { break };
        let Some(descriptors) = cursor.take(length as usize & 0xFFF) else { break };
        let (kind, codec) = name(kind, descriptors, programme.blu_ray);
        let language = language(descriptors);
        programme.streams.push(Stream { pid: pid as u16 & 0x1FFF, kind, codec, language });
    }
}

/// Tags and contents of descriptors (§2.6).
fn list(mut descriptors: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (tag, length) = (*descriptors.first()?, usize::from(*descriptors.get(1)?));
        let content = descriptors.get(2..2 + length)?;
        descriptors = &descriptors[2 + length..];
        Some((tag, content))
    })
}

fn registration(descriptors: &[u8]) -> Option<&[u8; 4]> {
    list(descriptors).find(|(tag, _)| *tag == 0x05).and_then(|(_, content)| content.first_chunk())
}

/// ISO 639 language, DVB subtitling, teletext: each begins with the letters.
fn language(descriptors: &[u8]) -> Option<String> {
    let (_, content) = list(descriptors).find(|(tag, _)| matches!(tag, 0x0A | 0x59 | 0x56))?;
    let letters = std::str::from_utf8(content.get(..3)?).ok()?.to_ascii_lowercase();
    (letters.bytes().all(|letter| letter.is_ascii_lowercase()) && letters != "und").then_some(letters)
}

/// Kind and FFmpeg's name of a stream type (§2.4.4.9 table 2-34, ETSI EN 300 468, the Blu-ray disc format).
fn name(stream_type: u8, descriptors: &[u8], blu_ray: bool) -> (&'static str, &'static str) {
    match (stream_type, blu_ray) {
        (0x01, _) => ("video", "mpeg1video"),
        (0x02, _) => ("video", "mpeg2video"),
        (0x03 | 0x04, _) => ("audio", "mp2"),
        (0x0F, _) => ("audio", "aac"),
        (0x11, _) => ("audio", "aac_latm"),
        (0x10, _) => ("video", "mpeg4"),
        (0x15, _) => ("data", "timed_id3"),
        (0x1B | 0x20, _) => ("video", "h264"),
        (0x21, _) => ("video", "jpeg2000"),
        (0x24, _) => ("video", "hevc"),
        (0x33, _) => ("video", "vvc"),
        (0x42, _) => ("video", "cavs"),
        (0xD1, _) => ("video", "dirac"),
        (0xEA, _) => ("video", "vc1"),
        (0x80, true) => ("audio", "pcm_bluray"),
        (0x81, _) => ("audio", "ac3"),
        (0x83, true) => ("audio", "truehd"),
        (0x84 | 0xA1, true) | (0x87, _) => ("audio", "eac3"),
        (0x82 | 0x85 | 0xA2, true) | (0x8A, false) => ("audio", "dts"),
        (0x86, true) => ("audio", "dts"),
        (0x86, false) => ("data", "scte_35"),
        (0x90, true) => ("subtitle", "hdmv_pgs_subtitle"),
        (0x91, true) => ("data", "hdmv_igs"),
        (0x92, true) => ("subtitle", "hdmv_text_subtitle"),
        _ => private(descriptors),
    }
}

/// Private streams say by descriptors what they are.
fn private(descriptors: &[u8]) -> (&'static str, &'static str) {
    match registration(descriptors) {
        Some(b"AC-3") => return ("audio", "ac3"),
        Some(b"EAC3") => return ("audio", "eac3"),
        Some(b"DTS1" | b"DTS2" | b"DTS3") => return ("audio", "dts"),
        Some(b"Opus") => return ("audio", "opus"),
        Some(b"BSSD") => return ("audio", "s302m"),
        Some(b"AV01") => return ("video", "av1"),
        Some(b"HEVC") => return ("video", "hevc"),
        Some(b"VC-1") => return ("video", "vc1"),
        Some(b"drac") => return ("video", "dirac"),
        Some(b"KLVA") => return ("data", "klv"),
        Some(b"ID3 ") => return ("data", "timed_id3"),
        _ => {}
    }
    let by_tag = |(tag, _): (u8, &[u8])| match tag {
        0x6A => Some(("audio", "ac3")),
        0x7A => Some(("audio", "eac3")),
        0x7B => Some(("audio", "dts")),
        0x7C => Some(("audio", "aac")),
        0x59 => Some(("subtitle", "dvb_subtitle")),
        0x56 => Some(("subtitle", "dvb_teletext")),
        _ => None,
    };
    list(descriptors).find_map(by_tag).unwrap_or(("data", UNNAMED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_table_and_itself_is_zero() {
        let mut table = b"\x00\xB0\x0D\x00\x01\xC1\x00\x00\x00\x01\xF0\x00".to_vec();
        let sum = checksum(&table);
        assert_eq!(sum, 0x2AB1_04B2);
        table.extend(sum.to_be_bytes());
        assert_eq!(checksum(&table), 0);
    }

    #[test]
    fn stream_types() {
        for (kind, descriptors, blu_ray, expected) in [
            (0x1B, &b""[..], false, "h264"),
            (0x06, b"\x05\x04Opus", false, "opus"),
            (0x06, b"\x0A\x04deu\0\x6A\x01\0", false, "ac3"),
            (0x86, b"", false, "scte_35"),
            (0x86, b"", true, "dts"),
            (0x90, b"", true, "hdmv_pgs_subtitle"),
            (0x06, b"\x59\xFF", false, "bin_data"),
        ] {
            assert_eq!(name(kind, descriptors, blu_ray).1, expected, "{kind:x}");
        }
        assert_eq!(language(b"\x05\x00\x0A\x04deu\0").as_deref(), Some("deu"));
        assert_eq!((language(b"\x0A\x04und\0"), language(b"\x0A\x02de")), (None, None));
    }
}
