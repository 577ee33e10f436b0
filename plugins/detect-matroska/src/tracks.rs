//! Tracks and FFmpeg's names for their codecs (RFC 9559 §5.1.4, the Matroska codec registry).

use mediahost_plugin_sdk::detect::Track;
use mediahost_plugin_sdk::detect::bytes::le_at;

use crate::ebml::{child, children, float, text, uint_of};

/// Tracks of one file, at most.
const MAX_TRACKS: usize = 256;

/// Reads the content of a Tracks element.
pub fn read(tracks: &[u8]) -> Vec<Track> {
    let entries = children(tracks).filter(|(id, _)| *id == 0xAE);
    entries.take(MAX_TRACKS).filter_map(|(_, entry)| read_entry(entry)).collect()
}

fn read_entry(entry: &[u8]) -> Option<Track> {
    let kind = match uint_of(entry, 0x83)? {
        1 => "video",
        2 => "audio",
        17 => "subtitle",
        _ => "data",
    };
    let id = child(entry, 0x86).and_then(text)?;
    let private = child(entry, 0x63A2).unwrap_or_default();
    let audio = child(entry, 0xE1);
    let depth = audio.and_then(|audio| uint_of(audio, 0x6264)).unwrap_or(16);
    let mut track = Track::new(uint_of(entry, 0xD7)?, kind, &codec(id, private, depth));
    let word = |id| child(entry, id).and_then(text);
    // English is what an absent language means (§5.1.4.1.19).
    track.language = word(0x22B59D).or(word(0x22B59C)).or(Some("eng")).filter(|tag| *tag != "und").map(str::to_string);
    track.title = word(0x536E).map(str::to_string);
    track.default = uint_of(entry, 0x88).unwrap_or(1) == 1;
    match kind {
        "video" => describe_video(&mut track, entry),
        "audio" => describe_audio(&mut track, audio.unwrap_or_default()),
        _ => {}
    }
    Some(track)
}

fn describe_video(track: &mut Track, entry: &[u8]) {
    let video = child(entry, 0xE0).unwrap_or_default();
    let pixels = |id| uint_of(video, id).and_then(|pixels| u32::try_from(pixels).ok()).unwrap_or(0);
    track.picture(pixels(0xB0), pixels(0xBA));
    if let Some(nanoseconds) = uint_of(entry, 0x23E383) {
        track.pictures_per_second(1e9 / nanoseconds as f64);
    }
}

fn describe_audio(track: &mut Track, audio: &[u8]) {
    let rate = |id| child(audio, id).and_then(float).filter(|rate| (1.0..1e7).contains(rate));
    // The defaults of §5.1.4.1.29.
    let heard = rate(0x78B5).or(rate(0xB5)).unwrap_or(8000.0);
    let heard = if track.codec == "opus" { 48_000.0 } else { heard };
    track.sound(heard.round() as u32, uint_of(audio, 0x9F).unwrap_or(1).min(255) as u32);
}

/// Codec ids and FFmpeg's names; a `*` at the end stands for anything. What is not here goes by its own id.
const CODECS: &[(&str, &str)] = &[
    ("V_MPEG4/ISO/AVC", "h264"),
    ("V_MPEGH/ISO/HEVC", "hevc"),
    ("V_MPEGI/ISO/VVC", "vvc"),
    ("V_AV1", "av1"),
    ("V_VP8", "vp8"),
    ("V_VP9", "vp9"),
    ("V_MPEG1", "mpeg1video"),
    ("V_MPEG2", "mpeg2video"),
    ("V_MPEG4/ISO/*", "mpeg4"),
    ("V_MPEG4/MS/V3", "msmpeg4v3"),
    ("V_THEORA", "theora"),
    ("V_PRORES", "prores"),
    ("V_FFV1", "ffv1"),
    ("V_MJPEG", "mjpeg"),
    ("V_DIRAC", "dirac"),
    ("V_SNOW", "snow"),
    ("V_UNCOMPRESSED", "rawvideo"),
    ("V_REAL/RV10", "rv10"),
    ("V_REAL/RV20", "rv20"),
    ("V_REAL/RV30", "rv30"),
    ("V_REAL/RV40", "rv40"),
    ("A_AAC*", "aac"),
    ("A_AC3*", "ac3"),
    ("A_EAC3*", "eac3"),
    ("A_AC4", "ac4"),
    ("A_DTS*", "dts"),
    ("A_TRUEHD", "truehd"),
    ("A_MLP", "mlp"),
    ("A_FLAC", "flac"),
    ("A_OPUS*", "opus"),
    ("A_VORBIS", "vorbis"),
    ("A_MPEG/L1", "mp1"),
    ("A_MPEG/L2", "mp2"),
    ("A_MPEG/L3", "mp3"),
    ("A_ALAC", "alac"),
    ("A_WAVPACK4", "wavpack"),
    ("A_TTA1", "tta"),
    ("A_REAL/COOK", "cook"),
    ("S_TEXT/UTF8", "subrip"),
    ("S_TEXT/ASCII", "subrip"),
    ("S_TEXT/ASS", "ass"),
    ("S_TEXT/SSA", "ass"),
    ("S_ASS", "ass"),
    ("S_SSA", "ass"),
    ("S_TEXT/WEBVTT", "webvtt"),
    ("D_WEBVTT*", "webvtt"),
    ("S_VOBSUB*", "dvd_subtitle"),
    ("S_HDMV/PGS", "hdmv_pgs_subtitle"),
    ("S_HDMV/TEXTST", "hdmv_text_subtitle"),
    ("S_DVBSUB", "dvb_subtitle"),
    ("S_ARIBSUB", "arib_caption"),
];

/// Four-letter codes of video that came from AVI, and FFmpeg's names.
const FOURCCS: &[(&[u8; 4], &str)] = &[
    (b"XVID", "mpeg4"),
    (b"DIVX", "mpeg4"),
    (b"DX50", "mpeg4"),
    (b"FMP4", "mpeg4"),
    (b"MP4V", "mpeg4"),
    (b"DIV3", "msmpeg4v3"),
    (b"MP43", "msmpeg4v3"),
    (b"MP42", "msmpeg4v2"),
    (b"H264", "h264"),
    (b"AVC1", "h264"),
    (b"X264", "h264"),
    (b"HEVC", "hevc"),
    (b"WVC1", "vc1"),
    (b"WMV3", "wmv3"),
    (b"WMV2", "wmv2"),
    (b"WMV1", "wmv1"),
    (b"MJPG", "mjpeg"),
    (b"FFV1", "ffv1"),
    (b"HFYU", "huffyuv"),
];

/// WAVE format tags and FFmpeg's names.
const WAVE_TAGS: &[(u64, &str)] = &[
    (0x02, "adpcm_ms"),
    (0x06, "pcm_alaw"),
    (0x07, "pcm_mulaw"),
    (0x50, "mp2"),
    (0x55, "mp3"),
    (0xFF, "aac"),
    (0x160, "wmav1"),
    (0x161, "wmav2"),
    (0x162, "wmapro"),
    (0x2000, "ac3"),
    (0x2001, "dts"),
];

fn codec(id: &str, private: &[u8], depth: u64) -> String {
    let known = CODECS.iter().find(|(pattern, _)| match pattern.strip_suffix('*') {
        Some(start) => id.starts_with(start),
        None => id == *pattern,
    });
    if let Some((_, name)) = known {
        return (*name).into();
    }
    let foreign = match id {
        "V_MS/VFW/FOURCC" => fourcc(private),
        "A_MS/ACM" => wave_tag(private),
        "A_PCM/INT/LIT" if depth == 8 => Some("pcm_u8".into()),
        "A_PCM/INT/LIT" => Some(format!("pcm_s{depth}le")),
        "A_PCM/INT/BIG" => Some(format!("pcm_s{depth}be")),
        "A_PCM/FLOAT/IEEE" => Some(format!("pcm_f{depth}le")),
        _ => None,
    };
    foreign.unwrap_or_else(|| id.to_string())
}

/// The compression of a BITMAPINFOHEADER.
fn fourcc(private: &[u8]) -> Option<String> {
    let tag: [u8; 4] = private.get(16..20)?.try_into().ok()?;
    let upper = tag.map(|letter| letter.to_ascii_uppercase());
    let known = FOURCCS.iter().find(|(code, _)| **code == upper).map(|(_, name)| (*name).to_string());
    known.or_else(|| Some(String::from_utf8_lossy(&tag).into_owned()))
}

/// The format tag of a WAVEFORMATEX.
fn wave_tag(private: &[u8]) -> Option<String> {
    let tag = le_at(private, 0, 2)?;
    if tag == 1 {
        return Some(match le_at(private, 14, 2)? {
            8 => "pcm_u8".into(),
            depth => format!("pcm_s{depth}le"),
        });
    }
    WAVE_TAGS.iter().find(|(known, _)| *known == tag).map(|(_, name)| (*name).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codec_names() {
        let mut bitmap = [0; 40];
        bitmap[16..20].copy_from_slice(b"xvid");
        let wave = [1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 24, 0];
        for (id, private, depth, expected) in [
            ("V_MPEG4/ISO/AVC", &[][..], 16, "h264"),
            ("V_MPEG4/ISO/ASP", &[], 16, "mpeg4"),
            ("V_MS/VFW/FOURCC", &bitmap, 16, "mpeg4"),
            ("V_MS/VFW/FOURCC", &[], 16, "V_MS/VFW/FOURCC"),
            ("A_MS/ACM", &wave, 16, "pcm_s24le"),
            ("A_AAC/MPEG4/LC", &[], 16, "aac"),
            ("A_PCM/INT/LIT", &[], 8, "pcm_u8"),
            ("A_PCM/FLOAT/IEEE", &[], 32, "pcm_f32le"),
            ("S_SSA", &[], 16, "ass"),
            ("X_STRANGE", &[], 16, "X_STRANGE"),
        ] {
            assert_eq!(codec(id, private, depth), expected, "{id}");
        }
    }
}
