//! Real files, made by ffmpeg and judged by ffprobe.

use detect_audio::Audio;
use mediahost_plugin_sdk::detect::Layout;
use mediahost_plugin_sdk::detect::codec::mpeg_audio;
use mediahost_plugin_sdk::detect::testing::{
    Look, Media, Sparse, agree, agree_on_starts, check_layout, hostile, look, look_as, packets, probe,
};

const SOUND: &str = "-f lavfi -i sine=r=44100:d=8";
/// Something that a variable bit rate varies with.
const NOISE: &str = "-f lavfi -i aevalsrc=random(0)*sin(t):s=44100:d=20";

/// Makes a file, looks at it, and compares with ffprobe.
fn check(media: &Media, name: &str, arguments: &str, tolerance_ms: u64, first: &[&str]) -> (Layout, Vec<u8>) {
    let path = media.make(name, arguments);
    let bytes = std::fs::read(&path).unwrap();
    let seen = look::<Audio>(&bytes).unwrap();
    let layout = seen.layout.unwrap_or_else(|| panic!("{name} is unknown"));
    check_layout(&layout, bytes.len() as u64);
    agree(&layout, &probe(&path), tolerance_ms);
    assert!(seen.rounds <= 2, "{name}: {} rounds", seen.rounds);
    let named: Vec<&str> = layout.first.iter().map(|range| range.what.as_str()).collect();
    assert_eq!(named, first, "{name}");
    (layout, bytes)
}

#[test]
fn mp3() {
    let media = Media::new("audio-mp3");
    let xing = ["id3v2", "xing", "tail"];
    let (layout, bytes) = check(&media, "vbr.mp3", &format!("{NOISE} -c:a libmp3lame -q:a 4"), 40, &xing);
    assert!(bytes[layout.first[1].offset as usize..].windows(4).take(60).any(|window| window == b"Xing"));
    assert!(layout.seek.len() >= 99, "{} points", layout.seek.len());
    check(&media, "cbr.mp3", &format!("{SOUND} -c:a libmp3lame -b:a 128k -ac 2"), 40, &["id3v2", "info", "tail"]);
    let bare = format!("{SOUND} -c:a libmp3lame -b:a 64k -write_xing 0 -id3v2_version 0");
    let (layout, _) = check(&media, "bare.mp3", &bare, 60, &["frames"]);
    assert_eq!(layout.tracks[0].bit_rate, Some(64_000));
    let half = format!("{SOUND} -ar 22050 -c:a libmp3lame -b:a 32k");
    // All of it is named with the first frames.
    check(&media, "mpeg2.mp3", &half, 60, &["id3v2", "info"]);
    check(&media, "layer2.mp2", &format!("{SOUND} -c:a mp2 -b:a 128k -f mp2"), 60, &["frames", "tail"]);
}

#[test]
fn other_containers() {
    let media = Media::new("audio-others");
    check(&media, "plain.flac", &format!("{SOUND} -c:a flac"), 10, &["metadata", "frames"]);
    check(&media, "frames.aac", &format!("{SOUND} -c:a aac -b:a 96k -ac 2"), 1_000, &["frames", "tail"]);
    for (name, codec) in [
        ("vorbis.ogg", "-c:a libvorbis"),
        ("surround.ogg", "-c:a libvorbis -ac 6"),
        ("opus.opus", "-c:a libopus"),
        ("flac.oga", "-c:a flac"),
        ("speex.spx", "-ar 16000 -c:a libspeex"),
    ] {
        let (layout, bytes) = check(&media, name, &format!("{SOUND} {codec}"), 40, &["headers", "tail"]);
        assert!(bytes[layout.first[0].length as usize..].starts_with(b"OggS"), "{name}");
        assert_eq!(layout.media_type.as_deref(), Some("audio/ogg"));
    }
    let film = "-f lavfi -i testsrc2=s=160x96:r=25:d=4 -c:v libtheora";
    let (layout, _) = check(&media, "film.ogv", film, 60, &["headers", "tail"]);
    assert_eq!(layout.media_type.as_deref(), Some("video/ogg"));
    for (name, codec) in [
        ("plain.wav", "-c:a pcm_s16le"),
        ("deep.wav", "-c:a pcm_s24le -ac 6"),
        ("float.wav", "-c:a pcm_f32le"),
        ("bytes.wav", "-c:a pcm_u8"),
        ("law.wav", "-c:a pcm_mulaw"),
        ("large.wav", "-c:a pcm_s16le -rf64 always"),
        ("plain.aiff", "-c:a pcm_s16be"),
        ("deep.aiff", "-c:a pcm_s24be"),
    ] {
        check(&media, name, &format!("{SOUND} {codec}"), 10, &["header"]);
    }
}

/// A cover of megabytes is hopped over.
#[test]
fn long_tags_cost_one_round() {
    let media = Media::new("audio-tags");
    let bare = format!("{SOUND} -c:a libmp3lame -b:a 128k -id3v2_version 0");
    for (name, arguments) in [("a.mp3", bare), ("a.flac", format!("{SOUND} -c:a flac"))] {
        let sound = std::fs::read(media.make(name, &arguments)).unwrap();
        let plain = look::<Audio>(&sound).unwrap().layout.unwrap();
        // 5 000 000 in four times seven bits.
        let tag = 5_000_000u32;
        let digits = [21, 14, 7, 0].map(|shift| (tag >> shift & 127) as u8);
        let start = u64::from(tag) + 10;
        let file = Sparse {
            size: start + sound.len() as u64,
            pieces: vec![(0, [&b"ID3\x04\0\0"[..], &digits].concat()), (start, sound)],
        };
        let seen = look::<Audio>(&file).unwrap();
        let layout = seen.layout.unwrap();
        assert!(seen.rounds <= 1 && seen.bytes <= 128 << 10, "{name}: {} rounds, {} bytes", seen.rounds, seen.bytes);
        assert_eq!((layout.duration_ms, layout.first[0].length), (plain.duration_ms, start), "{name}");
    }
}

/// ffmpeg writes no seek table, so one is put in.
#[test]
fn a_seek_table_of_flac() {
    let media = Media::new("audio-table");
    let mut bytes = std::fs::read(media.make("plain.flac", &format!("{SOUND} -c:a flac"))).unwrap();
    let mut table = vec![3, 0, 0, 36];
    for (sample, offset) in [(0u64, 0u64), (88_200, 4_000)] {
        table.extend(sample.to_be_bytes());
        table.extend(offset.to_be_bytes());
        table.extend([0x10, 0]);
    }
    bytes.splice(42..42, table);
    let layout = look::<Audio>(&bytes).unwrap().layout.unwrap();
    let frames = layout.first[0].length;
    let points: Vec<_> = layout.seek.iter().map(|point| (point.time_ms, point.offset)).collect();
    assert_eq!(points, [(0, frames), (2_000, frames + 4_000)]);
    assert_eq!(bytes[frames as usize], 0xFF);
}

/// Five minutes, loud and quiet in turns.
#[test]
fn the_start_position_is_named() {
    const SECONDS: u64 = 300;
    let media = Media::new("audio-start");
    let sound = "-f lavfi -i aevalsrc=random(0)*(0.1+0.4*lt(mod(t\\,70)\\,35)):s=22050:d=300";
    for (name, codec, rounds, most) in [
        ("vbr.mp3", "-c:a libmp3lame -q:a 5", 0, 256 << 10),
        ("cbr.mp3", "-c:a libmp3lame -b:a 64k", 0, 64 << 10),
        ("bare.mp3", "-c:a libmp3lame -b:a 64k -write_xing 0 -id3v2_version 0", 0, 64 << 10),
        ("plain.flac", "-c:a flac", 6, 512 << 10),
        ("frames.aac", "-c:a aac -b:a 64k", 0, 256 << 10),
        ("vorbis.ogg", "-c:a libvorbis -q:a 3", 6, 128 << 10),
        ("opus.opus", "-c:a libopus -b:a 48k", 6, 128 << 10),
        ("flac.oga", "-c:a flac", 6, 512 << 10),
        ("plain.wav", "-c:a pcm_s16le -ac 2", 0, 256 << 10),
        ("large.wav", "-c:a pcm_s24le -rf64 always", 0, 256 << 10),
        ("plain.aiff", "-c:a pcm_s16be", 0, 256 << 10),
        ("law.wav", "-c:a pcm_mulaw", 0, 64 << 10),
    ] {
        let path = media.make(name, &format!("{sound} {codec}"));
        let (shown, named) = agree_on_starts::<Audio>(&path, "a:0", SECONDS * 1000, rounds);
        assert!(shown <= u64::from(rounds) * (64 << 10) && named <= most, "{name}: {shown} shown, {named} named");
    }
    let film = "-f lavfi -i testsrc2=s=320x180:r=25:d=60 -c:v libtheora -q:v 7";
    agree_on_starts::<Audio>(&media.make("film.ogv", film), "v:0", 60_000, 6);
}

/// What a player reads before it plays is named: of samples so many that it knows what they are, of frames some, and for
/// a place in FLAC the tail.
#[test]
fn the_first_sound_is_named() {
    let media = Media::new("audio-opening");
    let sound = "-f lavfi -i aevalsrc=random(0)*0.4:s=44100:d=30";
    for (name, codec, most) in [
        ("plain.wav", "-c:a pcm_s16le", 256 << 10),
        ("plain.aiff", "-c:a pcm_s16be", 256 << 10),
        ("plain.flac", "-c:a flac", 256 << 10),
        ("vbr.mp3", "-c:a libmp3lame -q:a 4", 48 << 10),
    ] {
        let path = media.make(name, &format!("{sound} {codec}"));
        let bytes = std::fs::read(&path).unwrap();
        let layout = look::<Audio>(&bytes).unwrap().layout.unwrap();
        let head: u64 = layout.first.iter().filter(|range| range.what != "tail").map(|range| range.length).sum();
        let frames = packets(&path, "a:0");
        let wanted = frames[if name == "plain.flac" { 15 } else { 5 }].1;
        assert!(head > wanted && head <= most, "{name}: {head} named, up to {wanted} is wanted");
        let is_raw = name == "plain.wav" || name == "plain.aiff";
        assert!(!is_raw || head > 128 << 10, "{name}: {head}");
        let how = Look { start_ms: Some(20_000), ..Look::default() };
        let layout = look_as::<Audio>(&bytes, &how).unwrap().layout.unwrap();
        let size = bytes.len() as u64;
        let has_tail = layout.first.iter().any(|range| range.what == "tail" && range.offset + range.length == size);
        assert_eq!(has_tail, !is_raw, "{name}: {:?}", layout.first);
    }
}

/// Between two points of a table nothing else is looked for; no encoder at hand writes VBRI, so one is put in.
#[test]
fn tables_tell_the_start() {
    let media = Media::new("audio-start-table");
    let bare = format!("{NOISE} -c:a libmp3lame -q:a 4 -write_xing 0 -id3v2_version 0");
    let mut bytes = std::fs::read(media.make("bare.mp3", &bare)).unwrap();
    let mut lengths = Vec::new();
    let mut at = 0;
    while let Some(frame) = mpeg_audio(&bytes[at..]).filter(|frame| at + frame.length <= bytes.len()) {
        lengths.push(frame.length as u64);
        at += frame.length;
    }
    // A frame of 128 kbit/s in place of sound, runs of ten frames.
    let mut first = vec![0; 417];
    first[..4].copy_from_slice(&[0xFF, 0xFB, 0x90, 0xC0]);
    let runs: Vec<u64> = lengths.chunks(10).map(|run| run.iter().sum()).collect();
    let mut table = [&b"VBRI\0\x01\0\0\0\0"[..], &(at as u32 + 417).to_be_bytes()].concat();
    table.extend((lengths.len() as u32).to_be_bytes());
    table.extend([(runs.len() as u16).to_be_bytes(), [0, 1], [0, 2], [0, 10]].concat());
    table.extend(runs.iter().flat_map(|run| (*run as u16).to_be_bytes()));
    first[36..36 + table.len()].copy_from_slice(&table);
    bytes.splice(..0, first);
    let path = media.write("vbri.mp3", &bytes);
    let layout = look::<Audio>(&bytes).unwrap().layout.unwrap();
    assert_eq!((layout.seek.len(), layout.first[0].what.as_str()), (runs.len(), "vbri"));
    agree_on_starts::<Audio>(&path, "a:0", layout.duration_ms.unwrap(), 0);
}

#[test]
fn what_is_not_sound() {
    let noise: Vec<u8> = (0..70_000u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for bytes in [&b""[..], b"ID3", b"\xFF\xFB", b"RIFF\0\0\0\0AVI LIST", b"\xFF\xD8\xFF\xE0", &noise, &[0xFF; 5000]] {
        assert!(look::<Audio>(bytes).unwrap().layout.is_none());
    }
}

#[test]
fn broken_copies() {
    let media = Media::new("audio-broken");
    let short = "-f lavfi -i sine=r=22050:d=1";
    for (name, codec) in [
        ("a.mp3", "-c:a libmp3lame"),
        ("a.flac", "-c:a flac"),
        ("a.aac", "-c:a aac"),
        ("a.ogg", "-c:a libvorbis"),
        ("a.opus", "-c:a libopus"),
        ("a.wav", "-c:a pcm_s16le -rf64 always"),
        ("a.aiff", "-c:a pcm_s16be"),
    ] {
        hostile::<Audio>(&std::fs::read(media.make(name, &format!("{short} {codec}"))).unwrap());
    }
}
