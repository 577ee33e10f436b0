//! When two media types mean the same.

/// Names that mean the same as the first one of their row, without `x-`.
const SAME: &[&[&str]] = &[
    &["audio/mpeg", "audio/mp3", "audio/mpeg3", "audio/mpg"],
    &["audio/aac", "audio/aacp", "audio/adts", "audio/vnd.dlna.adts", "audio/hx-aac-adts"],
    &["audio/mp4", "audio/m4a", "video/mp4", "application/mp4", "video/m4v", "video/quicktime", "video/iso.segment"],
    &["audio/ogg", "video/ogg", "application/ogg", "audio/opus", "audio/vorbis"],
    &["audio/wav", "audio/wave", "audio/vnd.wave", "audio/pn-wav"],
    &["audio/flac", "application/flac"],
    &["video/matroska", "audio/matroska", "video/webm", "audio/webm"],
    &["video/mp2t", "video/mpegts", "video/vnd.dlna.mpeg-tts"],
    &["video/mpeg", "video/mp2p", "video/mpeg-system"],
    &["video/msvideo", "video/avi", "video/vnd.avi"],
    &["application/zip", "application/zip-compressed"],
];

/// Words for "no idea".
const VAGUE: &[&str] = &[
    "",
    "application/octet-stream",
    "binary/octet-stream",
    "application/binary",
    "text/plain",
    "application/force-download",
];

/// Whether a media type says nothing.
pub fn is_vague(media_type: &str) -> bool {
    VAGUE.contains(&essence(media_type).as_str())
}

/// Whether what is declared is another kind of media than what was recognised.
pub fn differ(declared: &str, sniffed: &str) -> bool {
    !is_vague(declared) && family(&essence(declared)) != family(&essence(sniffed))
}

fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().replace("/x-", "/")
}

fn family(essence: &str) -> &str {
    SAME.iter().find(|row| row.contains(&essence)).map_or(essence, |row| row[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_differ_and_spellings_do_not() {
        for (declared, sniffed, expected) in [
            ("audio/mpeg", "audio/mpeg", false),
            ("audio/mp3; charset=x", "audio/mpeg", false),
            ("audio/x-flac", "audio/flac", false),
            ("video/mp4", "audio/mp4", false),
            ("application/octet-stream", "audio/flac", false),
            ("binary/octet-stream", "audio/flac", false),
            ("audio/mpeg", "audio/flac", true),
            ("video/mp4", "video/x-matroska", true),
            ("text/html", "audio/mpeg", true),
        ] {
            assert_eq!(differ(declared, sniffed), expected, "{declared} {sniffed}");
        }
    }
}
