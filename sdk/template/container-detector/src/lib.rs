//! Recognises Sun audio files (`.au`). Put your own format in its place.
//!
//! The file begins with six numbers, big-endian: the magic `.snd`, where the sound begins, how long it is, its encoding,
//! samples per second, channels.

use mediahost_plugin_sdk::detect::{Detector, Layout, Stop, Subject, Track};

struct Sun;

impl Detector for Sun {
    /// A read of bytes that the host has not fetched yet ends the call through `?`; the host fetches them and calls again.
    fn detect(subject: &Subject) -> Result<Option<Layout>, Stop> {
        if *subject.read(0, 4)? != *b".snd" {
            return Ok(None);
        }
        let head = subject.exact(0, 24)?;
        let number =
            |i: usize| u32::from_be_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
        let (start, length, sample_rate, channels) = (number(4), number(8), number(16), number(20));
        let (codec, sample_bytes) = match number(12) {
            1 => ("pcm_mulaw", 1),
            3 => ("pcm_s16be", 2),
            encoding => {
                return Err(Stop::damaged(format!(
                    "{encoding} is not an encoding of sound"
                )));
            }
        };
        let mut track = Track::new(1, "audio", codec);
        track.sample_rate = Some(sample_rate);
        track.channels = Some(channels);
        track.default = true;
        let mut layout = Layout::new("au").media_type("audio/basic");
        let bytes_per_second = u64::from(sample_rate) * u64::from(channels) * sample_bytes;
        layout.duration_ms = (u64::from(length) * 1000).checked_div(bytes_per_second);
        layout.bit_rate = Some(bytes_per_second * 8);
        layout.tracks.push(track);
        layout.need_first(0, u64::from(start.max(24)), "header");
        Ok(Some(layout))
    }
}

mediahost_plugin_sdk::container_detector!(Sun, "plugin.json");

#[cfg(test)]
mod tests {
    use mediahost_plugin_sdk::detect::{
        Answer, ByteRange, DetectOptions, File, Needs, Window, answer,
    };

    use super::*;

    /// One second of silence: 8000 samples of one byte.
    fn file() -> Vec<u8> {
        let mut bytes = b".snd".to_vec();
        bytes.extend(
            [24u32, 8000, 1, 8000, 1]
                .iter()
                .flat_map(|number| number.to_be_bytes()),
        );
        bytes.resize(24 + 8000, 0xff);
        bytes
    }

    fn look(bytes: &[u8], size: u64) -> Answer {
        let window = Window {
            file: 0,
            offset: 0,
            bytes: bytes.to_vec(),
        };
        let options = DetectOptions {
            start_ms: None,
            extra: Vec::new(),
        };
        answer::<Sun>(vec![File::of_size(Some(size))], vec![window], options).unwrap()
    }

    #[test]
    fn says_what_is_in_the_file() {
        let Answer::Found(layout) = look(&file(), 8024) else {
            panic!("not found")
        };
        assert_eq!(
            (layout.format.as_str(), layout.duration_ms),
            ("au", Some(1000))
        );
        assert_eq!(layout.tracks[0].codec, "pcm_mulaw");
    }

    #[test]
    fn leaves_other_files_to_others() {
        assert!(matches!(look(b"RIFF....WAVE", 12), Answer::Unknown));
    }

    #[test]
    fn asks_for_what_it_has_not_seen() {
        let Answer::Need(Needs { ranges, .. }) = look(&file()[..10], 8024) else {
            panic!("enough")
        };
        assert!(matches!(
            ranges[..],
            [ByteRange {
                file: 0,
                offset: 10,
                ..
            }]
        ));
    }
}
