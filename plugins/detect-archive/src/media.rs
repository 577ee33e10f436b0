//! What a member is, by the ending of its name.

/// Endings of what is played, and their media types.
const TYPES: &[(&str, &str)] = &[
    ("3g2", "video/3gpp2"),
    ("3gp", "video/3gpp"),
    ("aac", "audio/aac"),
    ("ac3", "audio/ac3"),
    ("aif", "audio/aiff"),
    ("aiff", "audio/aiff"),
    ("amr", "audio/amr"),
    ("ape", "audio/x-ape"),
    ("asf", "video/x-ms-asf"),
    ("au", "audio/basic"),
    ("avi", "video/x-msvideo"),
    ("caf", "audio/x-caf"),
    ("dff", "audio/x-dff"),
    ("divx", "video/x-msvideo"),
    ("dsf", "audio/x-dsf"),
    ("dts", "audio/vnd.dts"),
    ("eac3", "audio/eac3"),
    ("evo", "video/mpeg"),
    ("f4v", "video/mp4"),
    ("flac", "audio/flac"),
    ("flv", "video/x-flv"),
    ("iso", "application/x-iso9660-image"),
    ("m2t", "video/mp2t"),
    ("m2ts", "video/mp2t"),
    ("m2v", "video/mpeg"),
    ("m4a", "audio/mp4"),
    ("m4b", "audio/mp4"),
    ("m4v", "video/mp4"),
    ("mk3d", "video/x-matroska"),
    ("mka", "audio/x-matroska"),
    ("mkv", "video/x-matroska"),
    ("mov", "video/quicktime"),
    ("mp2", "audio/mpeg"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("mpc", "audio/x-musepack"),
    ("mpe", "video/mpeg"),
    ("mpeg", "video/mpeg"),
    ("mpg", "video/mpeg"),
    ("mts", "video/mp2t"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("ogm", "video/ogg"),
    ("ogv", "video/ogg"),
    ("opus", "audio/ogg"),
    ("qt", "video/quicktime"),
    ("rm", "application/vnd.rn-realmedia"),
    ("rmvb", "application/vnd.rn-realmedia-vbr"),
    ("tp", "video/mp2t"),
    ("ts", "video/mp2t"),
    ("tta", "audio/x-tta"),
    ("vob", "video/mpeg"),
    ("w64", "audio/x-w64"),
    ("wav", "audio/wav"),
    ("webm", "video/webm"),
    ("weba", "audio/webm"),
    ("wma", "audio/x-ms-wma"),
    ("wmv", "video/x-ms-wmv"),
    ("wv", "audio/x-wavpack"),
];

/// The media type of what is played; `None` for everything else. Macs put a `._film.mkv` of icons beside each
/// `film.mkv`.
pub fn media_type(path: &str) -> Option<&'static str> {
    let name = path.rsplit(['/', '\\']).next().filter(|name| !name.starts_with("._"))?;
    let ending = name.rsplit_once('.')?.1;
    TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(ending)).map(|(_, media_type)| *media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_the_ending() {
        for (path, expected) in [
            ("a/Film.MKV", Some("video/x-matroska")),
            ("c:\\x\\disc.iso", Some("application/x-iso9660-image")),
            ("mkv", None),
            ("film.mkv/", None),
            ("film.mkv/notes", None),
            ("__MACOSX/._film.mkv", None),
            ("film.srt", None),
            ("", None),
        ] {
            assert_eq!(media_type(path), expected, "{path}");
        }
    }
}
