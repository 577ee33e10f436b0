//! Which streams there are, their time stamps, and the first headers of what they carry.

use mediahost_plugin_sdk::detect::Track;
use mediahost_plugin_sdk::detect::bytes::{Cursor, find};
use mediahost_plugin_sdk::detect::codec::{
    MPEG_SEQUENCE, Picture, Sound, ac3, adts, avc_sps, dts, hevc_sps, is_eac3, mpeg_audio, mpeg_video, mpeg_video_codec,
};

use mediahost_plugin_sdk::detect::stamp::{earlier, later};

use crate::packs::{Packet, Unit, units};

/// Streams that are told apart, at most.
const MAX_STREAMS: usize = 64;
/// Bytes of a stream that are kept while its headers are looked for.
const MAX_KEPT: usize = 8192;
/// New bytes that are worth another look: packets of a few bytes each must not cost one each.
const MIN_NEW: usize = 512;
/// What may look like a parameter set of H.264 and be none, as slices of MPEG-2 do: after so many no more are tried.
const MAX_TRIES: u32 = 1024;
/// The stream that shares its packets among streams of its own.
const PRIVATE_1: u8 = 0xBD;
/// Bytes in front of the sound in a packet of a DVD: the number, how many frames begin, where the first one does.
const SOUND_HEADER: usize = 4;

/// What a run of packs tells.
#[derive(Default)]
pub struct Survey {
    /// In the order in which they appear.
    streams: Vec<Seen>,
    /// What a map says of streams, by their numbers.
    map: Vec<Mapped>,
    /// The packs' first and last clock.
    pub first_clock: Option<u64>,
    pub last_clock: Option<u64>,
    is_first_version: bool,
}

/// What the map says of a stream.
struct Mapped {
    id: u8,
    kind: &'static str,
    codec: &'static str,
    language: Option<String>,
}

/// One stream.
#[derive(Default)]
struct Seen {
    /// The start code's last byte behind a 1, or the number within private stream 1: as FFmpeg has it.
    id: u16,
    kind: &'static str,
    /// Empty while it is not known.
    codec: &'static str,
    language: Option<String>,
    /// The lowest and the highest time stamp.
    first_90k: Option<u64>,
    last_90k: Option<u64>,
    /// The last bytes, while headers are looked for.
    kept: Vec<u8>,
    /// How many of them were not looked at yet.
    unseen: usize,
    tries: u32,
    picture: Option<Picture>,
    sound: Option<Sound>,
    /// How long a unit lasts, where its headers tell.
    frame_90k: u64,
}

impl Survey {
    /// Reads the packs within bytes.
    pub fn of(bytes: &[u8]) -> Survey {
        let mut survey = Survey::default();
        for unit in units(bytes) {
            match unit {
                Unit::Pack(pack) => {
                    survey.first_clock = survey.first_clock.or(Some(pack.clock_90k));
                    survey.last_clock = Some(pack.clock_90k);
                    survey.is_first_version = pack.is_first_version;
                }
                Unit::Map(body) => survey.read_map(body),
                Unit::Packet(packet) => survey.push(packet),
            }
        }
        let fallback = if survey.is_first_version { "mpeg1video" } else { "mpeg2video" };
        for seen in &mut survey.streams {
            seen.look(true);
            if seen.codec.is_empty() {
                seen.codec = if seen.kind == "video" { fallback } else { "mp2" };
            }
        }
        survey
    }

    /// The lowest time stamp of sound and pictures.
    pub fn first_90k(&self) -> Option<u64> {
        self.media().filter_map(|seen| seen.first_90k).reduce(earlier)
    }

    /// The highest one.
    pub fn last_90k(&self) -> Option<u64> {
        self.media().filter_map(|seen| seen.last_90k).reduce(later)
    }

    /// How long a picture lasts, or a frame of sound where there are none, as far as headers tell.
    pub fn frame_90k(&self) -> u64 {
        let of = |kind| self.media().filter(move |seen| seen.kind == kind).map(|seen| seen.frame_90k).max();
        of("video").or(of("audio")).unwrap_or(0)
    }

    fn media(&self) -> impl Iterator<Item = &Seen> {
        self.streams.iter().filter(|seen| matches!(seen.kind, "video" | "audio"))
    }

    /// The streams in the contract's words.
    pub fn tracks(&self) -> Vec<Track> {
        let describe = |seen: &Seen| {
            let mut track = Track::new(seen.id.into(), seen.kind, seen.codec);
            track.language.clone_from(&seen.language);
            if let Some(picture) = seen.picture {
                track.picture(picture.width, picture.height);
                track.pictures_per_second(picture.frame_rate.unwrap_or(0.0));
            }
            if let Some(sound) = seen.sound {
                track.sound(sound.sample_rate, sound.channels);
            }
            track
        };
        self.streams.iter().map(describe).collect()
    }

    /// The map of ISO/IEC 13818-1 §2.5.4; the first one counts.
    fn read_map(&mut self, body: &[u8]) {
        if !self.map.is_empty() {
            return;
        }
        let mut cursor = Cursor::new(body);
        let read = |cursor: &mut Cursor| {
            let kind = cursor.u8()?;
            let id = cursor.u8()?;
            let length = cursor.be16()? as usize;
            Some((kind, id, language(cursor.take(length)?)))
        };
        let entries = (|| {
            cursor.skip(2)?;
            let described = cursor.be16()? as usize;
            cursor.skip(described)?;
            let length = cursor.be16()? as usize;
            cursor.take(length)
        })();
        let mut cursor = Cursor::new(entries.unwrap_or_default());
        while let Some((stream_type, id, language)) = read(&mut cursor).filter(|_| self.map.len() < MAX_STREAMS) {
            if let Some((kind, codec)) = mapped_codec(stream_type) {
                self.map.push(Mapped { id, kind, codec, language });
            }
        }
    }

    fn push(&mut self, packet: Packet) {
        let Some((id, kind, codec, payload)) = self.classify(&packet) else { return };
        let known = self.streams.iter().position(|seen| seen.id == id);
        let Some(index) = known.or_else(|| (self.streams.len() < MAX_STREAMS).then_some(self.streams.len())) else {
            return;
        };
        if known.is_none() {
            let mapped = self.map.iter().find(|mapped| u16::from(mapped.id) | 0x100 == id);
            let language = mapped.and_then(|mapped| mapped.language.clone());
            self.streams.push(Seen { id, kind, codec, language, ..Seen::default() });
        }
        self.streams[index].push(packet.time_90k, payload);
    }

    /// The number, kind and codec of the stream that a packet belongs to, and what it carries of it.
    fn classify<'a>(&self, packet: &Packet<'a>) -> Option<(u16, &'static str, &'static str, &'a [u8])> {
        let id = u16::from(packet.id) | 0x100;
        let payload = packet.payload;
        if let Some(mapped) = self.map.iter().find(|mapped| mapped.id == packet.id && mapped.id != PRIVATE_1) {
            return Some((id, mapped.kind, mapped.codec, payload));
        }
        match packet.id {
            0xC0..=0xDF => Some((id, "audio", "", payload)),
            0xE0..=0xEF => Some((id, "video", "", payload)),
            0xFD => Some((id, "video", "vc1", payload)),
            PRIVATE_1 if payload.starts_with(&[0x0B, 0x77]) => Some((id, "audio", "ac3", payload)),
            PRIVATE_1 => {
                let within = *payload.first()?;
                let (kind, codec) = match within {
                    0x20..=0x3F => ("subtitle", "dvd_subtitle"),
                    0x80..=0x87 | 0xC0..=0xCF => ("audio", "ac3"),
                    0x88..=0x8F | 0x98..=0x9F => ("audio", "dts"),
                    0xA0..=0xAF => ("audio", "pcm_dvd"),
                    0xB0..=0xBF => ("audio", "truehd"),
                    _ => return None,
                };
                let header = if kind == "audio" { SOUND_HEADER } else { 1 };
                Some((within.into(), kind, codec, payload.get(header..)?))
            }
            _ => None,
        }
    }
}

/// What a stream type of the map means: those of ISO/IEC 13818-1 §2.4.4.9 and the usual private ones, among them those
/// of surveillance cameras (GB/T 28181).
fn mapped_codec(stream_type: u8) -> Option<(&'static str, &'static str)> {
    Some(match stream_type {
        0x01 | 0x02 => ("video", ""),
        0x03 | 0x04 => ("audio", ""),
        0x0F => ("audio", "aac"),
        0x10 => ("video", "mpeg4"),
        0x11 => ("audio", "aac_latm"),
        0x1B => ("video", "h264"),
        0x24 => ("video", "hevc"),
        0x33 => ("video", "vvc"),
        0x42 => ("video", "cavs"),
        0x81 => ("audio", "ac3"),
        0x87 => ("audio", "eac3"),
        0x90 => ("audio", "pcm_alaw"),
        0x91 => ("audio", "pcm_mulaw"),
        0xEA => ("video", "vc1"),
        _ => return None,
    })
}

/// The language of a language descriptor (ISO/IEC 13818-1 §2.6.18) among others.
fn language(descriptors: &[u8]) -> Option<String> {
    let mut cursor = Cursor::new(descriptors);
    while let (Some(tag), Some(length)) = (cursor.u8(), cursor.u8()) {
        let content = cursor.take(length.into())?;
        if let (0x0A, Some(letters)) = (tag, content.get(..3)) {
            return std::str::from_utf8(letters).ok().filter(|letters| *letters != "und").map(str::to_string);
        }
    }
    None
}

impl Seen {
    fn push(&mut self, time: Option<u64>, payload: &[u8]) {
        if let Some(time) = time {
            self.first_90k = Some(self.first_90k.map_or(time, |first| earlier(first, time)));
            self.last_90k = Some(self.last_90k.map_or(time, |last| later(last, time)));
        }
        if self.has_headers() {
            return;
        }
        self.kept.extend_from_slice(payload);
        self.unseen += payload.len();
        // The header of this one stands at the start of each packet.
        let has_own_header = self.codec == "pcm_dvd";
        if self.unseen < MIN_NEW && !has_own_header {
            return;
        }
        self.look(false);
        self.unseen = 0;
        if self.has_headers() {
            self.kept = Vec::new();
        } else {
            self.kept.drain(..self.kept.len().saturating_sub(MAX_KEPT));
        }
        if has_own_header {
            self.kept.clear();
        }
    }

    fn has_headers(&self) -> bool {
        match self.codec {
            "" => false,
            "h264" | "hevc" | "mpeg1video" | "mpeg2video" => self.picture.is_some(),
            "aac" | "mp1" | "mp2" | "mp3" | "ac3" | "eac3" | "dts" | "pcm_dvd" => self.sound.is_some(),
            _ => true,
        }
    }

    /// Looks for headers in what was kept; `at_end` when nothing will follow.
    fn look(&mut self, at_end: bool) {
        if self.has_headers() {
            return;
        }
        let kept = std::mem::take(&mut self.kept);
        match self.codec {
            "" if self.kind == "video" => self.look_for_picture(&kept, at_end),
            "" => self.look_for_frames(&kept, at_end),
            "h264" => self.picture = parameter_set(&kept, |nal| nal & 31 == 7, 1, avc_sps),
            "hevc" => self.picture = parameter_set(&kept, |nal| nal >> 1 & 63 == 33, 2, hevc_sps),
            "aac" => self.look_for_frames(&kept, at_end),
            "ac3" | "eac3" => {
                let frame = find(&kept, &[0x0B, 0x77], 0).map(|at| &kept[at..]).unwrap_or_default();
                if let Some(sound) = ac3(frame).filter(|sound| sound.sample_rate > 0) {
                    self.codec = if is_eac3(frame) { "eac3" } else { "ac3" };
                    self.hear(sound, 1536);
                }
            }
            "dts" => {
                let frame = find(&kept, &[0x7F, 0xFE, 0x80, 0x01], 0).map(|at| &kept[at..]).unwrap_or_default();
                if let Some(sound) = dts(frame) {
                    self.hear(sound, 512);
                }
            }
            "pcm_dvd" => {
                if let Some(format) = kept.get(1) {
                    let sample_rate = [48_000, 96_000, 44_100, 32_000][usize::from(format >> 4 & 3)];
                    self.sound = Some(Sound { sample_rate, channels: u32::from(format & 7) + 1 });
                }
            }
            _ => {}
        }
        if let Some(rate) = self.picture.and_then(|picture| picture.frame_rate) {
            self.frame_90k = (90_000.0 / rate) as u64;
        }
        self.kept = kept;
    }

    fn hear(&mut self, sound: Sound, samples: u32) {
        self.sound = Some(sound);
        self.frame_90k = u64::from(samples) * 90_000 / u64::from(sound.sample_rate.max(1));
    }

    /// The first start code that only one codec has tells which it is.
    fn look_for_picture(&mut self, kept: &[u8], at_end: bool) {
        let mut from = 0;
        while let Some(at) = find(kept, &[0, 0, 1], from) {
            from = at + 3;
            let Some(body) = kept.get(from + 1..) else { return };
            match kept[from] {
                0xB3 if at_end || body.len() >= MPEG_SEQUENCE => {
                    self.picture = mpeg_video(body);
                    if self.picture.is_some() {
                        self.codec = mpeg_video_codec(body);
                        return;
                    }
                }
                0xB3 => return,
                0x27 | 0x47 | 0x67 if self.tries < MAX_TRIES => {
                    self.tries += 1;
                    self.picture = avc_sps(body);
                    if self.picture.is_some() {
                        self.codec = "h264";
                        return;
                    }
                }
                // The NAL header of HEVC has two bytes.
                0x40 | 0x42 if body.first() == Some(&1) => {
                    self.codec = "hevc";
                    self.picture = parameter_set(kept, |nal| nal >> 1 & 63 == 33, 2, hevc_sps);
                    return;
                }
                0xB0 => {
                    self.codec = "mpeg4";
                    return;
                }
                _ => {}
            }
        }
    }

    /// Two frames of sound in a row, or one at the very start when there is no more.
    fn look_for_frames(&mut self, kept: &[u8], at_end: bool) {
        for at in 0..kept.len() {
            if kept[at] != 0xFF {
                continue;
            }
            let Some((codec, sound, samples, length)) = frame(&kept[at..]) else { continue };
            let follows = match kept.get(at + length..).filter(|rest| rest.len() >= 7) {
                Some(next) => frame(next).is_some_and(|next| (next.0, next.1) == (codec, sound)),
                None => at_end && at == 0,
            };
            if follows && (self.codec.is_empty() || self.codec == codec) {
                self.codec = codec;
                self.hear(sound, samples);
                return;
            }
        }
    }
}

/// A frame of MPEG audio or AAC: codec, sound, samples, bytes.
fn frame(bytes: &[u8]) -> Option<(&'static str, Sound, u32, usize)> {
    if let Some(frame) = mpeg_audio(bytes) {
        return Some((frame.codec(), frame.sound, frame.samples, frame.length));
    }
    adts(bytes).map(|frame| ("aac", frame.sound, frame.samples, frame.length))
}

/// The first header behind a start code whose next byte is the right one.
fn parameter_set(
    bytes: &[u8],
    is_it: impl Fn(u8) -> bool,
    skip: usize,
    read: impl Fn(&[u8]) -> Option<Picture>,
) -> Option<Picture> {
    let mut from = 0;
    while let Some(at) = find(bytes, &[0, 0, 1], from) {
        from = at + 3;
        if bytes.get(from).is_some_and(|code| is_it(*code)) {
            return read(bytes.get(from + skip..)?);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps() {
        let descriptor = [0x0A, 4, b'd', b'e', b'u', 0];
        let mut body = vec![0xE0, 0xFF, 0, 0, 0, 14, 0x1B, 0xE0, 0, 0, 0x90, 0xC0, 0, 6];
        body.extend(descriptor);
        let mut survey = Survey::default();
        survey.read_map(&body);
        let found: Vec<_> = survey.map.iter().map(|m| (m.id, m.codec, m.language.as_deref())).collect();
        assert_eq!(found, [(0xE0, "h264", None), (0xC0, "pcm_alaw", Some("deu"))]);
        let mut survey = Survey::default();
        survey.read_map(&body[..16]);
        assert!(survey.map.is_empty());
    }

    #[test]
    fn private_streams() {
        let survey = Survey::default();
        let classify = |payload: &'static [u8]| {
            let found = survey.classify(&Packet { id: PRIVATE_1, time_90k: None, payload });
            found.map(|(id, _, codec, rest)| (id, codec, rest.len()))
        };
        for (payload, expected) in [
            (&[0x80, 1, 0, 1, 0x0B, 0x77][..], Some((0x80, "ac3", 2))),
            (&[0x0B, 0x77, 0, 0], Some((0x1BD, "ac3", 4))),
            (&[0x8A, 1, 0, 1, 7], Some((0x8A, "dts", 1))),
            (&[0xA0, 1, 0, 1, 7], Some((0xA0, "pcm_dvd", 1))),
            (&[0x21, 7], Some((0x21, "dvd_subtitle", 1))),
            (&[0x80, 1], None),
            (&[0x10, 1], None),
            (&[], None),
        ] {
            assert_eq!(classify(payload), expected, "{payload:x?}");
        }
    }
}
