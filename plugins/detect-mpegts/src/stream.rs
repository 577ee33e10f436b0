//! Packetised elementary streams: their time stamps and the first headers of what they carry (ISO/IEC 13818-1 §2.4.3.6).

use std::collections::BTreeMap;

use mediahost_plugin_sdk::detect::Track;
use mediahost_plugin_sdk::detect::bytes::find;
use mediahost_plugin_sdk::detect::codec::{
    Picture, Sound, ac3, adts, avc_sps, hevc_sps, is_eac3, mpeg_audio, mpeg_video,
};
use mediahost_plugin_sdk::detect::stamp::{self, earlier, later};

use crate::packets::Packet;
use crate::programme::Programme;

/// The codec of a stream that the tables do not name.
pub const UNNAMED: &str = "bin_data";
/// Bytes of a stream's first unit that are looked at for headers.
const MAX_UNIT: usize = 4096;
/// Units of one stream that are looked at before its headers are given up.
const MAX_UNITS: u32 = 8;

/// What a run of packets tells.
#[derive(Default)]
pub struct Survey {
    streams: BTreeMap<u16, Seen>,
    /// The programme clock's first and last value.
    pub first_clock: Option<u64>,
    pub last_clock: Option<u64>,
}

/// One stream.
#[derive(Default)]
struct Seen {
    kind: &'static str,
    codec: &'static str,
    /// Whether its time stamps count for the whole.
    is_main: bool,
    /// The lowest and the highest time stamp.
    first_90k: Option<u64>,
    last_90k: Option<u64>,
    /// The start of the current unit, as far as headers are looked for.
    unit: Vec<u8>,
    units: u32,
    is_within: bool,
    picture: Option<Picture>,
    sound: Option<Sound>,
    /// How long a unit lasts, where its headers tell.
    frame_90k: u64,
}

impl Survey {
    pub fn of<'a>(packets: impl Iterator<Item = Packet<'a>>, programmes: &[Programme]) -> Survey {
        let mut survey = Survey::default();
        // Each programme has a clock of its own, so that only one can tell how long it plays.
        let is_media = |programme: &&Programme| programme.streams.iter().any(|stream| is_media(stream.kind));
        let main = programmes.iter().find(is_media).map(|programme| programme.clock_pid);
        for programme in programmes {
            let is_main = main == Some(programme.clock_pid);
            for stream in &programme.streams {
                let seen = Seen { kind: stream.kind, codec: stream.codec, is_main, ..Seen::default() };
                survey.streams.insert(stream.pid, seen);
            }
        }
        for packet in packets {
            if let Some(clock) = packet.clock_90k().filter(|_| Some(packet.pid()) == main) {
                survey.first_clock = survey.first_clock.or(Some(clock));
                survey.last_clock = Some(clock);
            }
            if let Some(seen) = survey.streams.get_mut(&packet.pid()).filter(|_| !packet.is_opaque()) {
                seen.push(packet);
            }
        }
        survey.streams.values_mut().for_each(Seen::look);
        survey
    }

    /// Whether nothing more is expected of the head: sizes, rates and a time stamp of each stream that plays, and what a
    /// stream is that the tables do not name.
    pub fn is_complete(&self, programmes: &[Programme]) -> bool {
        programmes.iter().flat_map(|programme| &programme.streams).all(|stream| {
            let seen = &self.streams[&stream.pid];
            match seen.kind {
                _ if is_media(seen.kind) => seen.first_90k.is_some() && seen.has_headers(),
                _ => seen.codec != UNNAMED || seen.units > 0,
            }
        })
    }

    /// The lowest time stamp of sound and pictures.
    pub fn first_90k(&self) -> Option<u64> {
        self.media().filter_map(|seen| seen.first_90k).reduce(earlier)
    }

    /// The highest one.
    pub fn last_90k(&self) -> Option<u64> {
        self.media().filter_map(|seen| seen.last_90k).reduce(later)
    }

    /// How long the last unit lasts, as far as headers tell.
    pub fn frame_90k(&self) -> u64 {
        let last = self.last_90k();
        self.media().filter(|seen| seen.last_90k == last).map(|seen| seen.frame_90k).max().unwrap_or(0)
    }

    fn media(&self) -> impl Iterator<Item = &Seen> {
        self.streams.values().filter(|seen| seen.is_main && is_media(seen.kind))
    }

    /// Adds what the stream's headers say to its track.
    pub fn describe(&self, track: &mut Track) {
        let Some(seen) = u16::try_from(track.id).ok().and_then(|pid| self.streams.get(&pid)) else { return };
        (track.kind, track.codec) = (seen.kind.into(), seen.codec.into());
        if let Some(picture) = seen.picture {
            track.picture(picture.width, picture.height);
            track.pictures_per_second(picture.frame_rate.unwrap_or(0.0));
        }
        if let Some(sound) = seen.sound {
            track.sound(sound.sample_rate, sound.channels);
        }
    }
}

impl Seen {
    fn push(&mut self, packet: Packet) {
        let payload = packet.payload();
        if !packet.starts_unit() {
            if self.is_within && self.unit.len() < MAX_UNIT {
                self.unit.extend_from_slice(payload);
            }
            return;
        }
        self.look();
        self.is_within = false;
        let Some((time, body)) = unit(payload) else { return };
        if let Some(time) = time {
            self.first_90k = Some(self.first_90k.map_or(time, |first| earlier(first, time)));
            self.last_90k = Some(self.last_90k.map_or(time, |last| later(last, time)));
        }
        if self.units < MAX_UNITS && !self.has_headers() {
            (self.units, self.is_within) = (self.units + 1, true);
            self.unit.extend_from_slice(body);
        }
    }

    fn has_headers(&self) -> bool {
        match self.codec {
            "h264" | "hevc" | "mpeg1video" | "mpeg2video" => self.picture.is_some(),
            "aac" | "mp1" | "mp2" | "mp3" | "ac3" | "eac3" | UNNAMED => self.sound.is_some(),
            _ => true,
        }
    }

    /// Looks for headers in the unit that was collected.
    fn look(&mut self) {
        let unit = std::mem::take(&mut self.unit);
        if let Some(codec) = sound_of(&unit).filter(|_| self.codec == UNNAMED) {
            (self.kind, self.codec) = ("audio", codec);
        }
        match self.codec {
            "h264" => self.picture = self.picture.or_else(|| parameter_set(&unit, |nal| nal & 31 == 7, 1, avc_sps)),
            "hevc" => {
                self.picture = self.picture.or_else(|| parameter_set(&unit, |nal| nal >> 1 & 63 == 33, 2, hevc_sps))
            }
            "mpeg1video" | "mpeg2video" => {
                self.picture = self.picture.or_else(|| parameter_set(&unit, |code| code == 0xB3, 1, mpeg_video));
            }
            "aac" => self.hear(adts(&unit).map(|frame| (frame.sound, frame.samples))),
            "ac3" | "eac3" => self.hear(ac3(&unit).map(|sound| (sound, 1536))),
            "mp1" | "mp2" | "mp3" => {
                let frame = mpeg_audio(&unit);
                self.codec = frame.map_or(self.codec, |frame| frame.codec());
                self.hear(frame.map(|frame| (frame.sound, frame.samples)));
            }
            _ => {}
        }
        if let Some(rate) = self.picture.and_then(|picture| picture.frame_rate) {
            self.frame_90k = (90_000.0 / rate) as u64;
        }
    }

    fn hear(&mut self, frame: Option<(Sound, u32)>) {
        if let Some((sound, samples)) = frame.filter(|(sound, _)| sound.sample_rate > 0) {
            self.sound = Some(sound);
            self.frame_90k = u64::from(samples) * 90_000 / u64::from(sound.sample_rate);
        }
    }
}

/// Sound that begins a unit of a stream that the tables do not name, as in packets of Blu-ray discs that hold what those
/// do not know: a frame of AAC with another behind it or nothing, or one of AC-3.
fn sound_of(unit: &[u8]) -> Option<&'static str> {
    if let Some(frame) = adts(unit) {
        let rest = unit.get(frame.length..)?;
        return (rest.is_empty() || adts(rest).is_some_and(|next| next.sound == frame.sound)).then_some("aac");
    }
    ac3(unit).filter(|sound| sound.sample_rate > 0).map(|_| if is_eac3(unit) { "eac3" } else { "ac3" })
}

fn is_media(kind: &str) -> bool {
    matches!(kind, "video" | "audio")
}

/// The first header behind a start code whose next byte is the right one.
fn parameter_set(
    unit: &[u8],
    is_it: impl Fn(u8) -> bool,
    skip: usize,
    read: impl Fn(&[u8]) -> Option<Picture>,
) -> Option<Picture> {
    let mut from = 0;
    while let Some(at) = find(unit, &[0, 0, 1], from) {
        from = at + 3;
        if unit.get(from).is_some_and(|code| is_it(*code)) {
            return read(unit.get(from + skip..)?);
        }
    }
    None
}

/// The presentation time stamp and the content of a packet of an elementary stream.
fn unit(payload: &[u8]) -> Option<(Option<u64>, &[u8])> {
    if payload.get(..3)? != [0, 0, 1] || payload.get(6)? >> 6 != 2 {
        return None;
    }
    let body = payload.get(9 + usize::from(*payload.get(8)?)..)?;
    let time = payload.get(9..14).filter(|_| payload[7] & 0x80 != 0).and_then(|b| b.try_into().ok()).map(stamp::read);
    Some((time, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_that_no_table_names() {
        // Eleven bytes of AAC at 48 kHz, two channels; AC-3 at 48 kHz.
        let frame = [0xFF, 0xF1, 0x4C, 0x80, 0x01, 0x7F, 0xFC, 1, 2, 3, 4];
        let two = [frame, frame].concat();
        for (unit, expected) in [
            (&frame[..], Some("aac")),
            (&two, Some("aac")),
            (&two[..18], Some("aac")),
            (&two[..17], None),
            (&two[..10], None),
            (b"\x0B\x77\0\0\x14\x40\xE1\0", Some("ac3")),
            (b"\x0B\x77", None),
            (b"anything", None),
            (b"", None),
        ] {
            assert_eq!(sound_of(unit), expected, "{unit:x?}");
        }
    }

    #[test]
    fn time_stamps_are_spread_over_five_bytes() {
        let packet = [0, 0, 1, 0xE0, 0, 0, 0x80, 0x80, 5, 0x21, 0x00, 0x07, 0xD8, 0x61, 0xAA];
        assert_eq!(unit(&packet), Some((Some(126_000), &[0xAA][..])));
        assert_eq!(unit(&packet[..8]), None);
        assert_eq!(unit(&[0, 0, 1, 0xBE, 0, 0, 0xFF, 0, 0]), None);
    }
}
