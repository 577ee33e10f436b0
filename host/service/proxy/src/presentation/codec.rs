//! FFmpeg's names for codecs as manifests write them (RFC 6381, RFC 8216 §4.3.4.2).

/// The kind of stream and FFmpeg's name, by the beginning of the entry.
const NAMES: &[(&str, &str, &str)] = &[
    ("avc1", "video", "h264"),
    ("avc3", "video", "h264"),
    ("hvc1", "video", "hevc"),
    ("hev1", "video", "hevc"),
    ("dvh1", "video", "hevc"),
    ("dvhe", "video", "hevc"),
    ("vvc1", "video", "vvc"),
    ("vvi1", "video", "vvc"),
    ("av01", "video", "av1"),
    ("vp08", "video", "vp8"),
    ("vp8", "video", "vp8"),
    ("vp09", "video", "vp9"),
    ("vp9", "video", "vp9"),
    ("mp4v.20", "video", "mpeg4"),
    ("mp4a.6b", "audio", "mp3"),
    ("mp4a.69", "audio", "mp3"),
    ("mp4a.a5", "audio", "ac3"),
    ("mp4a.a6", "audio", "eac3"),
    ("mp4a", "audio", "aac"),
    ("ac-3", "audio", "ac3"),
    ("ec-3", "audio", "eac3"),
    ("ac-4", "audio", "ac4"),
    ("opus", "audio", "opus"),
    ("flac", "audio", "flac"),
    ("alac", "audio", "alac"),
    ("vorbis", "audio", "vorbis"),
    ("dtsc", "audio", "dts"),
    ("dtse", "audio", "dts"),
    ("dtsx", "audio", "dts"),
    ("stpp", "subtitle", "ttml"),
    ("wvtt", "subtitle", "webvtt"),
];

/// The streams of a `CODECS` attribute, as kind and FFmpeg's name; what nobody knows is left out.
pub fn streams(codecs: &str) -> Vec<(&'static str, &'static str)> {
    let known = |entry: &str| {
        let entry = entry.trim().to_ascii_lowercase();
        NAMES.iter().find(|(begins, ..)| entry.starts_with(begins)).map(|(_, kind, name)| (*kind, *name))
    };
    codecs.split(',').filter_map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_in_a_variant() {
        assert_eq!(streams("avc1.64001f, mp4a.40.2"), [("video", "h264"), ("audio", "aac")]);
        assert_eq!(streams("hvc1.2.4.L153.b0,ec-3"), [("video", "hevc"), ("audio", "eac3")]);
        assert_eq!(streams("fLaC,Opus,mp4a.6B,what"), [("audio", "flac"), ("audio", "opus"), ("audio", "mp3")]);
        assert!(streams("").is_empty());
    }
}
