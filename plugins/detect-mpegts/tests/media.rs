//! Real files, made by ffmpeg and judged by ffprobe.

use detect_mpegts::MpegTs;
use mediahost_plugin_sdk::detect::Layout;
use mediahost_plugin_sdk::detect::testing::{
    Media, Sparse, agree, agree_on_starts, check_layout, hostile, look, packets, probe,
};

const PICTURE: &str = "-f lavfi -i testsrc2=s=160x90:r=25:d=4";
const SOUND: &str = "-f lavfi -i sine=r=48000:d=4";
const H264: &str = "-c:v libx264 -preset ultrafast -g 25";

fn check(media: &Media, name: &str, arguments: &str) -> (Layout, Vec<u8>) {
    let path = media.make(name, arguments);
    let bytes = std::fs::read(&path).unwrap();
    let seen = look::<MpegTs>(&bytes).unwrap();
    let layout = seen.layout.unwrap();
    check_layout(&layout, bytes.len() as u64);
    agree(&layout, &probe(&path), 150);
    assert!(seen.rounds <= 3, "{name}: {} rounds", seen.rounds);
    let ends: Vec<u64> = layout.first.iter().map(|range| range.offset + range.length).collect();
    assert_eq!((layout.first[0].offset, ends.last()), (0, Some(&(bytes.len() as u64))), "{name}");
    (layout, bytes)
}

#[test]
fn broadcasts() {
    let media = Media::new("ts-codecs");
    for (name, streams) in [
        ("h264.ts", format!("{PICTURE} {SOUND} {H264} -c:a aac -metadata:s:a:0 language=deu -shortest")),
        ("mpeg2.ts", format!("{PICTURE} {SOUND} -c:v mpeg2video -c:a mp2 -shortest")),
        (
            "hevc.ts",
            format!(
                "{PICTURE} {SOUND} -c:v libx265 -preset ultrafast -x265-params log-level=error -c:a ac3 -ac 6 -shortest"
            ),
        ),
        ("eac3.ts", format!("{PICTURE} {SOUND} {H264} -c:a eac3 -ac 2 -shortest")),
        ("mp3.ts", format!("{PICTURE} {SOUND} {H264} -c:a libmp3lame -shortest")),
        ("sound.ts", format!("{SOUND} -c:a aac -ac 2")),
        ("two.ts", format!("{PICTURE} {SOUND} {SOUND} {H264} -c:a aac -map 0:v -map 1:a -map 2:a -t 4")),
    ] {
        let (layout, _) = check(&media, name, &streams);
        assert!(layout.seek.is_empty() && layout.format == "mpegts");
    }
    let (layout, _) =
        check(&media, "h264.ts", &format!("{PICTURE} {SOUND} {H264} -c:a aac -metadata:s:a:0 language=deu"));
    assert_eq!(layout.tracks[1].language.as_deref(), Some("deu"));
}

#[test]
fn blu_ray_packets() {
    let media = Media::new("ts-m2ts");
    let film = format!("{PICTURE} {SOUND} {H264} -c:a ac3 -shortest");
    check(&media, "film.m2ts", &format!("{film} -mpegts_m2ts_mode 1"));
}

/// AAC is none of the sounds of a disc, so that the tables call it private data.
#[test]
fn sound_that_no_table_names() {
    let media = Media::new("ts-unnamed");
    for (name, sound) in [("aac.m2ts", "-c:a aac"), ("surround.m2ts", "-c:a aac -ac 6")] {
        let (layout, _) =
            check(&media, name, &format!("{PICTURE} {SOUND} {H264} {sound} -shortest -mpegts_m2ts_mode 1"));
        let track = layout.track_of("audio").unwrap();
        assert_eq!((track.codec.as_str(), track.sample_rate), ("aac", Some(48_000)), "{name}");
    }
}

/// A recording begins and ends anywhere; error correction makes packets of 204 bytes.
#[test]
fn other_grids() {
    let media = Media::new("ts-grids");
    let (plain, bytes) = check(&media, "film.ts", &format!("{PICTURE} {SOUND} {H264} -c:a aac -shortest"));
    let padded: Vec<u8> = bytes.chunks(188).flat_map(|packet| [packet, &[0xAB; 16]].concat()).collect();
    for (what, bytes) in
        [("partial packet", bytes[100..].to_vec()), ("204", padded), ("cut", bytes[..bytes.len() - 77].to_vec())]
    {
        let layout = look::<MpegTs>(&bytes).unwrap().layout.unwrap_or_else(|| panic!("{what}"));
        assert_eq!(layout.tracks.len(), plain.tracks.len(), "{what}");
        let difference = layout.duration_ms.unwrap().abs_diff(plain.duration_ms.unwrap());
        assert!(difference < 150, "{what}: {difference} ms");
    }
}

/// Ten gigabytes between head and tail cost nothing, and time stamps may overflow on the way.
#[test]
fn long_films_cost_three_rounds() {
    let media = Media::new("ts-long");
    let film = format!("{PICTURE} {SOUND} {H264} -c:a aac -shortest");
    let head = std::fs::read(media.make("head.ts", &format!("{film} -output_ts_offset 95440"))).unwrap();
    let tail = std::fs::read(media.make("tail.ts", &format!("{film} -output_ts_offset 100"))).unwrap();
    let gap = 188 * 53_191_489;
    let size = gap + tail.len() as u64;
    let file = Sparse { size, pieces: vec![(0, head), (gap, tail)] };
    let seen = look::<MpegTs>(&file).unwrap();
    assert!(seen.rounds <= 3 && seen.bytes <= 3 << 20, "{} rounds, {} bytes", seen.rounds, seen.bytes);
    // 2^33 ticks are 95 443.7 s.
    let expected = 95_443_718 - 95_440_000 + 100_000 + 4_000;
    let found = seen.layout.unwrap().duration_ms.unwrap();
    assert!(found.abs_diff(expected) < 150, "{found} ms, expected {expected}");
}

/// Five seconds and a little more are named of the head, as players look at them, and little of the tail.
#[test]
fn the_head_depends_on_the_rate() {
    let media = Media::new("ts-head");
    for (name, picture, expected) in [
        ("low.ts", "-f lavfi -i testsrc2=s=160x90:r=25:d=40", 512 << 10..=512 << 10),
        ("high.ts", "-f lavfi -i testsrc2=s=320x180:r=25:d=12 -vf noise=alls=40:allf=t -qp 38", 1 << 20..=5 << 20),
    ] {
        let path = media.make(name, &format!("{picture} {H264}"));
        let bytes = std::fs::read(&path).unwrap();
        let layout = look::<MpegTs>(&bytes).unwrap().layout.unwrap();
        let (head, tail) = (&layout.first[0], &layout.first[1]);
        let five_seconds = packets(&path, "v:0").iter().find(|(ms, _)| *ms >= 5_000).unwrap().1;
        assert!(expected.contains(&head.length) && head.length >= five_seconds, "{name}: {head:?}, {five_seconds}");
        assert_eq!((tail.length, tail.offset + tail.length), (256 << 10, bytes.len() as u64), "{name}");
    }
}

/// The first half of the time takes few of the bytes, and time stamps overflow in the second.
#[test]
fn the_start_position_is_named() {
    let media = Media::new("ts-start");
    let film = |noise: u32, offset: u32, flags: &str| {
        format!(
            "-f lavfi -i testsrc2=s=320x240:r=25:d=60 -f lavfi -i sine=r=48000:d=60 -vf noise=alls={noise}:allf=t \
             -c:v libx264 -preset ultrafast -g 50 -c:a aac -output_ts_offset {offset} {flags}"
        )
    };
    for (name, flags) in [("film.ts", ""), ("film.m2ts", "-mpegts_m2ts_mode 1")] {
        let quiet = std::fs::read(media.make(name, &film(0, 95_360, flags))).unwrap();
        let loud = std::fs::read(media.make(name, &film(20, 95_420, flags))).unwrap();
        assert!(quiet.len() * 4 < loud.len() && loud.len() > 10 << 20, "{}, {}", quiet.len(), loud.len());
        let path = media.write(&format!("whole-{name}"), &[quiet, loud].concat());
        let (shown, named) = agree_on_starts::<MpegTs>(&path, "v:0", 120_000, 6);
        assert!(shown <= 6 * (64 << 10) && named <= 4 << 20, "{name}: {shown} shown, {named} named");
    }
}

#[test]
fn what_is_not_a_transport_stream() {
    let mut almost = vec![0x47; 188 * 20];
    almost[188 * 3] = 0;
    for bytes in [&b""[..], b"G", b"GIF89a", &[0x47; 70_000], &almost, &[0; 5000]] {
        assert!(look::<MpegTs>(bytes).unwrap().layout.is_none());
    }
}

#[test]
fn broken_copies() {
    let media = Media::new("ts-broken");
    for (name, flags) in [("film.ts", ""), ("film.m2ts", "-mpegts_m2ts_mode 1")] {
        let film = format!("-f lavfi -i testsrc2=s=64x36:r=10:d=2 {SOUND} {H264} -c:a ac3 -t 2 {flags}");
        hostile::<MpegTs>(&std::fs::read(media.make(name, &film)).unwrap());
    }
}
