//! Real files, made by ffmpeg and judged by ffprobe.

use detect_matroska::Matroska;
use mediahost_plugin_sdk::detect::Layout;
use mediahost_plugin_sdk::detect::testing::{
    Look, Media, Sparse, agree, agree_on_starts, check_layout, hostile, look, look_as, mutated, packets, probe,
};

const PICTURE: &str = "-f lavfi -i testsrc2=s=160x90:r=25:d=4";
const SOUND: &str = "-f lavfi -i sine=r=44100:d=4";
const H264: &str = "-c:v libx264 -preset ultrafast -g 25";
const CUES: [u8; 4] = [0x1C, 0x53, 0xBB, 0x6B];
const CLUSTER: [u8; 4] = [0x1F, 0x43, 0xB6, 0x75];

/// Makes a file, looks at it, and compares with ffprobe; the ranges and seek points are what they are said to be.
fn check(media: &Media, name: &str, arguments: &str, media_type: &str, points: usize) -> (Layout, Vec<u8>) {
    let path = media.make(name, arguments);
    let bytes = std::fs::read(&path).unwrap();
    let seen = look::<Matroska>(&bytes).unwrap();
    let layout = seen.layout.unwrap();
    check_layout(&layout, bytes.len() as u64);
    agree(&layout, &probe(&path), 60);
    assert!(seen.rounds <= 2, "{name}: {} rounds", seen.rounds);
    assert_eq!(layout.media_type.as_deref(), Some(media_type), "{name}");
    assert_eq!(layout.seek.len(), points, "{name}: {:?}", layout.seek);
    for point in &layout.seek {
        assert!(bytes[point.offset as usize..].starts_with(&CLUSTER), "{name}: {point:?}");
    }
    let head = &layout.first[0];
    assert_eq!((head.offset, head.what.as_str()), (0, "head"));
    assert!(bytes[head.length as usize..].starts_with(&CLUSTER), "{name}: {head:?}");
    (layout, bytes)
}

fn cues_of<'a>(layout: &Layout, bytes: &'a [u8]) -> &'a [u8] {
    let cues = layout.first.iter().find(|range| range.what == "cues").expect("cues are named");
    &bytes[cues.offset as usize..(cues.offset + cues.length) as usize]
}

#[test]
fn films_with_cues() {
    let media = Media::new("mkv-cues");
    let film =
        format!("{PICTURE} {SOUND} {H264} -c:a aac -metadata:s:a:0 language=deu -metadata:s:a:0 title=Ton -shortest");
    let (layout, bytes) = check(&media, "tail.mkv", &film, "video/x-matroska", 4);
    assert!(cues_of(&layout, &bytes).starts_with(&CUES));
    assert_eq!(layout.seek.iter().map(|point| point.time_ms / 1000).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!((layout.tracks[1].language.as_deref(), layout.tracks[1].title.as_deref()), (Some("deu"), Some("Ton")));
    let reserved = format!("{PICTURE} {H264} -reserve_index_space 4096");
    let (layout, bytes) = check(&media, "head.mkv", &reserved, "video/x-matroska", 4);
    assert!(cues_of(&layout, &bytes).starts_with(&CUES));
    let webm = format!("{PICTURE} {SOUND} -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 25 -c:a libopus -shortest");
    check(&media, "film.webm", &format!("{webm} -f webm"), "video/webm", 4);
    let vorbis = format!("{PICTURE} {SOUND} -c:v libvpx -deadline realtime -g 25 -c:a libvorbis -shortest");
    check(&media, "old.webm", &vorbis, "video/webm", 4);
}

#[test]
fn other_codecs() {
    let media = Media::new("mkv-codecs");
    for (name, codec) in [
        ("flac.mka", "-c:a flac"),
        ("pcm.mka", "-c:a pcm_s24le"),
        ("mp3.mka", "-c:a libmp3lame"),
        ("ac3.mka", "-c:a ac3 -ac 6"),
        ("eac3.mka", "-c:a eac3 -ac 6"),
        ("opus.mka", "-c:a libopus"),
        ("aac.mka", "-c:a aac -ac 6"),
    ] {
        let path = media.make(name, &format!("{SOUND} {codec}"));
        let layout = look::<Matroska>(&std::fs::read(&path).unwrap()).unwrap().layout.unwrap();
        agree(&layout, &probe(&path), 60);
        assert_eq!(layout.media_type.as_deref(), Some("audio/x-matroska"), "{name}");
    }
    media.write("words.srt", b"1\n00:00:00,500 --> 00:00:02,000\nwords\n");
    for (name, codec) in [("srt.mkv", "srt"), ("ass.mkv", "ass"), ("vtt.mkv", "webvtt")] {
        let film = format!("{PICTURE} -i words.srt {H264} -c:s {codec} -metadata:s:s:0 language=fra");
        check(&media, name, &film, "video/x-matroska", 4);
    }
}

/// Players read attachments in front of the clusters as they come, whether they need them or not; what is free they skip.
#[test]
fn attachments_in_front_are_named() {
    let media = Media::new("mkv-fonts");
    media.write("words.srt", b"1\n00:00:00,500 --> 00:00:02,000\nwords\n");
    media.write("font.ttf", &vec![7; 300_000]);
    for codec in ["ass", "srt"] {
        let font = "-attach font.ttf -metadata:s:t mimetype=application/x-truetype-font";
        let film = format!("{PICTURE} -i words.srt {H264} -c:s {codec} {font}");
        let bytes = std::fs::read(media.make("film.mkv", &film)).unwrap();
        let layout = look::<Matroska>(&bytes).unwrap().layout.unwrap();
        let head = &layout.first[0];
        assert!(head.offset == 0 && head.length > 300_000, "{codec}: {:?}", layout.first);
        assert_eq!(layout.tracks.len(), 2);
        let reserved = format!("{PICTURE} {H264} -reserve_index_space 300000");
        let bytes = std::fs::read(media.make("free.mkv", &reserved)).unwrap();
        let layout = look::<Matroska>(&bytes).unwrap().layout.unwrap();
        let named: u64 = layout.first.iter().map(|range| range.length).sum();
        assert!(named < bytes.len() as u64 - 200_000, "{:?} of {}", layout.first, bytes.len());
    }
}

/// The first picture is named to its end, however long it is, and some behind it.
#[test]
fn the_first_pictures_are_named() {
    let media = Media::new("mkv-opening");
    let film = "-f lavfi -i testsrc2=s=1280x720:r=25:d=12 -vf noise=alls=90:all_seed=7:enable=lt(t\\,0.1) \
                -c:v libx264 -preset ultrafast -qp 5 -g 300";
    let path = media.make("film.mkv", film);
    let bytes = std::fs::read(&path).unwrap();
    let layout = look::<Matroska>(&bytes).unwrap().layout.unwrap();
    let opening = layout.first.iter().find(|range| range.what == "media").unwrap();
    let frames = packets(&path, "v:0");
    assert!(frames[1].1 > 500_000, "{frames:?}");
    assert_eq!(opening.offset, layout.first[0].length);
    assert!(opening.offset + opening.length >= frames[8].1, "{opening:?} and {:?}", &frames[..9]);
    let named: u64 = layout.first.iter().map(|range| range.length).sum();
    assert!(named < bytes.len() as u64 / 2, "{named} of {}", bytes.len());
}

/// Unknown lengths, no SeekHead, no Cues, no duration: what a broadcaster that was cut off leaves behind.
#[test]
fn films_that_were_never_finished() {
    let media = Media::new("mkv-live");
    let film = format!("{PICTURE} {SOUND} {H264} -c:a aac -shortest -live 1");
    let (layout, _) = check(&media, "live.mkv", &film, "video/x-matroska", 0);
    let found = layout.duration_ms.unwrap();
    assert!(found.abs_diff(4_000) < 100, "{found} ms");
    assert!(layout.first.iter().any(|range| range.what == "tail"));
}

/// Cues are found at the tail although the SeekHead is gone.
#[test]
fn cues_that_nothing_points_to() {
    let media = Media::new("mkv-lost");
    let mut bytes = std::fs::read(media.make("film.mkv", &format!("{PICTURE} {H264}"))).unwrap();
    let at = bytes.windows(4).position(|window| window == [0x11, 0x4D, 0x9B, 0x74]).unwrap();
    // The id becomes one that nobody knows.
    bytes[at..at + 4].copy_from_slice(&[0x11, 0x4D, 0x9B, 0x75]);
    let layout = look::<Matroska>(&bytes).unwrap().layout.unwrap();
    assert!(cues_of(&layout, &bytes).starts_with(&CUES));
    assert_eq!(layout.seek.len(), 4);
}

/// With 6 GB of clusters in front of the Cues the cost stays the same.
#[test]
fn long_films_cost_one_round() {
    let media = Media::new("mkv-long");
    let bytes = std::fs::read(media.make("film.mkv", &format!("{PICTURE} {H264}"))).unwrap();
    let layout = look::<Matroska>(&bytes).unwrap().layout.unwrap();
    let cues = layout.first.iter().find(|range| range.what == "cues").unwrap();
    let (head, tail) = bytes.split_at(cues.offset as usize);
    const MORE: u64 = 6_000_000_000;
    let mut head = head[..layout.first[0].length as usize + 64].to_vec();
    let segment = head.windows(4).position(|window| window == [0x18, 0x53, 0x80, 0x67]).unwrap();
    let data = segment as u64 + 12;
    head[segment + 4..segment + 12].copy_from_slice(&((1 << 56) | (bytes.len() as u64 - data + MORE)).to_be_bytes());
    // The SeekHead's entry for the Cues: SeekID 1C53BB6B, then SeekPosition of four or eight bytes.
    let entry = head.windows(4).position(|window| window == CUES).unwrap() + 4;
    let mut moved = vec![0x53, 0xAC, 0x88];
    moved.extend((cues.offset - data + MORE).to_be_bytes());
    let old = 3 + usize::from(head[entry + 2] & 15);
    head.splice(entry..entry + old, moved);
    // Room for the longer number is taken from the Seek, the SeekHead and the Void behind it.
    let grown = (11 - old) as u8;
    let seek = head[..entry].windows(2).rposition(|window| window == [0x4D, 0xBB]).unwrap();
    head[seek + 2] += grown;
    let seek_head = head.windows(4).position(|window| window == [0x11, 0x4D, 0x9B, 0x74]).unwrap();
    head[seek_head + 4] += grown;
    let void = head[entry..].iter().position(|byte| *byte == 0xEC).unwrap() + entry;
    match head[void + 1] {
        0x01 => head[void + 8] -= grown,
        _ => head[void + 1] -= grown,
    }
    let body = if head[void + 1] == 0x01 { void + 9 } else { void + 2 };
    head.drain(body..body + usize::from(grown));
    let file = Sparse { size: bytes.len() as u64 + MORE, pieces: vec![(0, head), (cues.offset + MORE, tail.to_vec())] };
    let seen = look::<Matroska>(&file).unwrap();
    let long = seen.layout.unwrap();
    assert!(seen.rounds <= 1 && seen.bytes < 1 << 20, "{} rounds, {} bytes", seen.rounds, seen.bytes);
    assert_eq!(long.seek.len(), 4);
    assert!(long.first.iter().any(|range| range.what == "cues" && range.offset == cues.offset + MORE));
}

#[test]
fn the_start_position_is_named() {
    let media = Media::new("mkv-start");
    let bytes = std::fs::read(media.make("film.mkv", &format!("{PICTURE} {H264}"))).unwrap();
    let how = Look { start_ms: Some(3_200), ..Look::default() };
    let layout = look_as::<Matroska>(&bytes, &how).unwrap().layout.unwrap();
    let start = layout.first.iter().find(|range| range.what == "start").unwrap();
    assert_eq!(start.offset, layout.seek_before(3_200).unwrap().offset);
}

/// Without Cues, and with the first half of the time in few of the bytes.
#[test]
fn the_start_position_is_found_by_clusters() {
    let media = Media::new("mkv-clusters");
    let film = "-f lavfi -i testsrc2=s=320x240:r=25:d=120 -f lavfi -i sine=r=48000:d=120 \
                -vf noise=alls=20:allf=t:enable=gt(t\\,60) -c:v libx264 -preset ultrafast -c:a aac -shortest";
    for (name, flags) in [("short.mkv", "-g 25 -live 1"), ("long.mkv", "-g 125 -live 1")] {
        let path = media.make(name, &format!("{film} {flags}"));
        let (shown, named) = agree_on_starts::<Matroska>(&path, "v:0", 120_000, 6);
        assert!(shown <= 4 << 20 && named <= 4 << 20, "{name}: {shown} shown, {named} named");
    }
    let sound = "-f lavfi -i sine=r=48000:d=1200 -c:a libopus -b:a 64k -live 1";
    agree_on_starts::<Matroska>(&media.make("sound.mka", sound), "a:0", 1_200_000, 6);
}

#[test]
fn what_is_not_matroska() {
    let other = b"\x1A\x45\xDF\xA3\x86\x42\x82\x83xyz\x18\x53\x80\x67\x80";
    for bytes in [&b""[..], b"\x1A\x45", b"RIFF\x10\0\0\0WAVEfmt ", other, &[0; 5000]] {
        assert!(look::<Matroska>(bytes).unwrap().layout.is_none(), "{bytes:?}");
    }
}

#[test]
fn broken_copies() {
    let media = Media::new("mkv-broken");
    for (name, flags) in [("film.mkv", ""), ("head.mkv", "-reserve_index_space 2048"), ("live.mkv", "-live 1")] {
        let film = format!("-f lavfi -i testsrc2=s=64x36:r=10:d=2 {SOUND} {H264} -c:a aac -t 2 {flags}");
        let bytes = std::fs::read(media.make(name, &film)).unwrap();
        hostile::<Matroska>(&bytes);
        assert_eq!(mutated(&bytes, 7), mutated(&bytes, 7));
    }
}
