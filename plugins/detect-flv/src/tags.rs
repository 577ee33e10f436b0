//! Tags: their headers, and what the first ones say of sound and pictures (Adobe FLV 10.1, annex E, and the enhancement
//! by four-letter codes).

use mediahost_plugin_sdk::detect::Track;
use mediahost_plugin_sdk::detect::bytes::{Bits, Cursor, be_at};
use mediahost_plugin_sdk::detect::codec::{
    Picture, Sound, aac_config, ac3, avc_config, flac_info, hevc_config, mpeg_audio,
};

/// Bytes of a tag's header.
pub const TAG: u64 = 11;
/// Bytes behind a tag that repeat its length.
pub const BACK: u64 = 4;

/// The type of tags of sound.
pub const AUDIO: u8 = 8;
/// The type of tags of pictures.
pub const VIDEO: u8 = 9;
/// The type of tags of metadata.
pub const SCRIPT: u8 = 18;

/// The header of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    pub kind: u8,
    pub is_encrypted: bool,
    /// Bytes of its content.
    pub length: u64,
    pub time_ms: u64,
}

impl Tag {
    /// None when the bytes cannot be the header of a tag.
    pub fn parse(bytes: &[u8]) -> Option<Tag> {
        let b = bytes.get(..TAG as usize)?;
        let kind = b[0] & 0x1F;
        if b[0] & 0xC0 != 0 || ![AUDIO, VIDEO, SCRIPT].contains(&kind) || b[8..11] != [0, 0, 0] {
            return None;
        }
        let length = be_at(b, 1, 3)?;
        // The high byte stands last.
        let time_ms = u64::from(b[7]) << 24 | be_at(b, 4, 3)?;
        Some(Tag { kind, is_encrypted: b[0] & 0x20 != 0, length, time_ms })
    }

    /// The tag at a place, if its length is repeated behind it.
    fn confirmed(bytes: &[u8], at: usize) -> Option<Tag> {
        let tag = Tag::parse(&bytes[at..]).filter(|tag| tag.length > 0 && tag.kind != SCRIPT)?;
        let end = at.checked_add((TAG + tag.length) as usize)?;
        (be_at(bytes, end, BACK as usize)? == TAG + tag.length).then_some(tag)
    }
}

/// The first tag that begins within these bytes and ends within them.
pub fn first_tag(bytes: &[u8]) -> Option<(usize, Tag)> {
    (0..bytes.len()).find_map(|at| Some((at, Tag::confirmed(bytes, at)?)))
}

/// The last one.
pub fn last_tag(bytes: &[u8]) -> Option<(usize, Tag)> {
    (0..bytes.len()).rev().find_map(|at| Some((at, Tag::confirmed(bytes, at)?)))
}

/// What a tag says of its stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stream {
    /// FFmpeg's name, or the container's number or code.
    pub codec: String,
    pub picture: Option<Picture>,
    pub sound: Option<Sound>,
    /// Whether a later tag may say more.
    pub is_partial: bool,
}

impl Stream {
    /// Reads the beginning of a tag's content.
    pub fn read(tag: &Tag, body: &[u8]) -> Option<Stream> {
        match tag.kind {
            _ if tag.is_encrypted => None,
            VIDEO => picture(body),
            AUDIO => sound(body),
            _ => None,
        }
    }

    /// Adds what was read to a track.
    pub fn describe(&self, track: &mut Track) {
        if let Some(picture) = self.picture {
            track.picture(picture.width, picture.height);
            track.pictures_per_second(picture.frame_rate.unwrap_or(0.0));
        }
        if let Some(sound) = self.sound {
            track.sound(sound.sample_rate, sound.channels);
        }
    }
}

/// FFmpeg's names for the numbers of video codecs.
pub fn video_codec(number: u8) -> String {
    match number {
        2 => "flv1".into(),
        3 => "flashsv".into(),
        4 => "vp6f".into(),
        5 => "vp6a".into(),
        6 => "flashsv2".into(),
        7 => "h264".into(),
        // Not of the standard, and usual in China.
        8 => "h263".into(),
        9 => "mpeg4".into(),
        12 => "hevc".into(),
        13 => "av1".into(),
        other => other.to_string(),
    }
}

/// FFmpeg's names for the numbers of audio codecs; samples have 8 or 16 bits.
pub fn audio_codec(number: u8, is_wide: bool) -> String {
    match (number, is_wide) {
        (0, false) | (3, false) => "pcm_u8".into(),
        (0 | 3, true) => "pcm_s16le".into(),
        (1, _) => "adpcm_swf".into(),
        (2 | 14, _) => "mp3".into(),
        (4..=6, _) => "nellymoser".into(),
        (7, _) => "pcm_alaw".into(),
        (8, _) => "pcm_mulaw".into(),
        (10, _) => "aac".into(),
        (11, _) => "speex".into(),
        (13, _) => "opus".into(),
        (other, _) => other.to_string(),
    }
}

/// FFmpeg's names for the codes of enhanced FLV.
pub fn fourcc(code: [u8; 4]) -> String {
    match &code {
        b"avc1" => "h264".into(),
        b"hvc1" | b"hev1" => "hevc".into(),
        b"vvc1" => "vvc".into(),
        b"av01" => "av1".into(),
        b"vp08" => "vp8".into(),
        b"vp09" => "vp9".into(),
        b"mp4a" => "aac".into(),
        b"Opus" => "opus".into(),
        b".mp3" => "mp3".into(),
        b"fLaC" => "flac".into(),
        b"ac-3" => "ac3".into(),
        b"ec-3" => "eac3".into(),
        other => other.iter().map(|byte| if byte.is_ascii_graphic() { *byte as char } else { '?' }).collect(),
    }
}

fn picture(body: &[u8]) -> Option<Stream> {
    let first = *body.first()?;
    if first & 0x80 != 0 {
        return enhanced(first & 15, &body[1..], VIDEO);
    }
    // A command to the player.
    if first >> 4 == 5 {
        return None;
    }
    let codec = video_codec(first & 15);
    let (picture, has_config) = match first & 15 {
        2 => (sorenson(&body[1..]), false),
        3 | 6 => (screen(&body[1..]), false),
        7 => (body.get(5..).filter(|_| body[1] == 0).and_then(avc_config), true),
        12 => (body.get(5..).filter(|_| body[1] == 0).and_then(hevc_config), true),
        _ => (None, false),
    };
    Some(Stream { codec, picture, sound: None, is_partial: has_config && picture.is_none() })
}

fn sound(body: &[u8]) -> Option<Stream> {
    let first = *body.first()?;
    let number = first >> 4;
    if number == 9 {
        return enhanced(first & 15, &body[1..], AUDIO);
    }
    let told = Sound {
        sample_rate: [5_512, 11_025, 22_050, 44_100][usize::from(first >> 2 & 3)],
        channels: u32::from(first & 1) + 1,
    };
    let mono = |sample_rate| Sound { sample_rate, channels: 1 };
    let found = match number {
        2 | 14 => mpeg_audio(&body[1..]).map(|frame| frame.sound),
        4 => Some(mono(16_000)),
        5 => Some(mono(8_000)),
        7 | 8 => Some(Sound { sample_rate: 8_000, ..told }),
        10 => body.get(2..).filter(|_| body[1] == 0).and_then(aac_config),
        11 => Some(mono(16_000)),
        _ => None,
    };
    // The bits of the tag mean nothing for AAC.
    let sound = found.or((number != 10).then_some(told));
    let codec = audio_codec(number, first & 2 != 0);
    Some(Stream { codec, picture: None, sound, is_partial: number == 10 && found.is_none() })
}

/// What follows the first byte of an enhanced tag: a four-letter code, and the configuration in the first tag.
fn enhanced(packet: u8, rest: &[u8], kind: u8) -> Option<Stream> {
    let mut cursor = Cursor::new(rest);
    let mut packet = packet;
    // Several tracks in one tag; the first one counts.
    let is_multitrack = packet == if kind == VIDEO { 6 } else { 5 };
    if is_multitrack {
        packet = cursor.u8()? & 15;
    }
    let code = cursor.tag()?;
    if is_multitrack {
        // The number of the track, and a length where more follow.
        cursor.skip(1)?;
        cursor.skip(if rest[0] >> 4 == 0 { 0 } else { 3 })?;
    }
    let codec = fourcc(code);
    let config = cursor.rest();
    let is_config = packet == 0;
    let picture = match &code {
        b"avc1" if is_config => avc_config(config),
        b"hvc1" | b"hev1" if is_config => hevc_config(config),
        _ => None,
    };
    let sound = match &code {
        b"mp4a" if is_config => aac_config(config),
        // An identification header without its name, or with it.
        b"Opus" if is_config => config
            .get(if config.starts_with(b"OpusHead") { 9 } else { 1 })
            .map(|channels| Sound { sample_rate: 48_000, channels: (*channels).into() }),
        b"fLaC" if is_config => {
            config.get(if config.starts_with(b"fLaC") { 8 } else { 4 }..).and_then(flac_info).map(|info| info.sound)
        }
        b".mp3" if packet == 1 => mpeg_audio(config).map(|frame| frame.sound),
        b"ac-3" | b"ec-3" if packet == 1 => ac3(config),
        _ => None,
    };
    let may_tell =
        matches!(&code, b"avc1" | b"hvc1" | b"hev1" | b"mp4a" | b"Opus" | b"fLaC" | b".mp3" | b"ac-3" | b"ec-3");
    let is_partial = may_tell && picture.is_none() && sound.is_none();
    Some(Stream { codec, picture, sound, is_partial })
}

/// The header of a picture of Sorenson's H.263 (Adobe FLV 10.1 §E.4.3.2).
fn sorenson(bytes: &[u8]) -> Option<Picture> {
    let mut bits = Bits::new(bytes);
    if bits.get(17)? != 1 {
        return None;
    }
    bits.skip(5 + 8)?;
    let (width, height) = match bits.get(3)? {
        0 => (bits.get(8)?, bits.get(8)?),
        1 => (bits.get(16)?, bits.get(16)?),
        size => *[(352, 288), (176, 144), (128, 96), (320, 240), (160, 120)].get(size as usize - 2)?,
    };
    Some(Picture { width, height, frame_rate: None })
}

/// The header of a picture of a screen recording (§E.4.3.3).
fn screen(bytes: &[u8]) -> Option<Picture> {
    let size = |at| be_at(bytes, at, 2).map(|word| word as u32 & 0xFFF);
    Some(Picture { width: size(0)?, height: size(2)?, frame_rate: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(kind: u8, body: &[u8]) -> Option<Stream> {
        Stream::read(&Tag { kind, is_encrypted: false, length: 99, time_ms: 0 }, body)
    }

    #[test]
    fn headers_of_tags() {
        let bytes = [9, 0, 1, 2, 3, 4, 5, 1, 0, 0, 0];
        let expected = Tag { kind: VIDEO, is_encrypted: false, length: 258, time_ms: 0x0103_0405 };
        assert_eq!(Tag::parse(&bytes), Some(expected));
        for (at, value) in [(0, 7), (0, 0x49), (10, 1)] {
            let mut broken = bytes;
            broken[at] = value;
            assert_eq!(Tag::parse(&broken), None, "byte {at}");
        }
        assert!(Tag::parse(&[0x28, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]).unwrap().is_encrypted);
    }

    #[test]
    fn tags_are_found_from_anywhere() {
        let tag = |time: u8| [8, 0, 0, 1, 0, 0, time, 0, 0, 0, 0, 0xAF, 0, 0, 0, 12];
        let bytes = [&[8, 9, 0, 0][..], &tag(3), &tag(5), &tag(7)[..13]].concat();
        let [first, last] = [first_tag(&bytes), last_tag(&bytes)].map(|found| found.map(|(at, tag)| (at, tag.time_ms)));
        assert_eq!((first, last), (Some((4, 3)), Some((20, 5))));
        assert_eq!((first_tag(&bytes[..12]), last_tag(&[])), (None, None));
    }

    #[test]
    fn first_tags() {
        let size = |stream: &Stream| stream.picture.map(|picture| (picture.width, picture.height));
        // 17 bits of start code, version, number, then a size of two bytes each.
        let old = stream(VIDEO, &[0x22, 0, 0, 0x80, 0, 0x80, 0x50, 0, 0x2D, 0]).unwrap();
        assert_eq!((old.codec.as_str(), size(&old)), ("flv1", Some((160, 90))));
        let avc = stream(VIDEO, &[0x27, 1, 0, 0, 0, 1, 2, 3]).unwrap();
        assert_eq!((avc.codec.as_str(), avc.is_partial), ("h264", true));
        assert_eq!(stream(VIDEO, &[0x57, 0]), None);
        let aac = stream(AUDIO, &[0xAF, 0, 0x12, 0x10]).unwrap();
        assert_eq!((aac.codec.as_str(), aac.sound), ("aac", Some(Sound { sample_rate: 44_100, channels: 2 })));
        assert_eq!(stream(AUDIO, &[0x5E]).unwrap().sound, Some(Sound { sample_rate: 8_000, channels: 1 }));
        assert_eq!(stream(AUDIO, &[]), None);
    }

    #[test]
    fn enhanced_tags() {
        for (kind, body, codec, is_partial) in [
            (VIDEO, &b"\x90av01\x81\0\0\0"[..], "av1", false),
            (VIDEO, b"\x91hvc1\0\0\0", "hevc", true),
            (VIDEO, b"\x96\x00hvc1\x00", "hevc", true),
            (VIDEO, b"\x90vp09", "vp9", false),
            (AUDIO, b"\x90Opus\x01\x02", "opus", false),
            (AUDIO, b"\x90OpusOpusHead\x01\x02", "opus", false),
            (AUDIO, b"\x90mp4a\x12\x10", "aac", false),
            (AUDIO, b"\x91ac-3\x0B\x77\0\0\x14\x40\xE1\0", "ac3", false),
            (AUDIO, b"\x90x\x01yz", "x?yz", false),
        ] {
            let found = stream(kind, body).unwrap();
            assert_eq!((found.codec.as_str(), found.is_partial), (codec, is_partial), "{body:x?}");
        }
        assert_eq!(stream(VIDEO, b"\x90hv"), None);
    }
}
