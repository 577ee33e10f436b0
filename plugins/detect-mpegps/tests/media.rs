//! Real files, made by ffmpeg and judged by ffprobe.

use detect_mpegps::MpegPs;
use mediahost_plugin_sdk::detect::Layout;
use mediahost_plugin_sdk::detect::testing::{Look, Media, Sparse, agree, check_layout, hostile, look, look_as, probe};

const PICTURE: &str = "-f lavfi -i testsrc2=s=352x288:r=25:d=4";
const SOUND: &str = "-f lavfi -i sine=r=48000:d=4";
const PACK: [u8; 4] = [0, 0, 1, 0xBA];

fn check(media: &Media, name: &str, arguments: &str) -> (Layout, Vec<u8>) {
    let path = media.make(name, arguments);
    let bytes = std::fs::read(&path).unwrap();
    let seen = look::<MpegPs>(&bytes).unwrap();
    let layout = seen.layout.unwrap_or_else(|| panic!("{name} is not recognised"));
    check_layout(&layout, bytes.len() as u64);
    let mut probe = probe(&path);
    // Navigation is nothing that plays.
    probe.streams.retain(|stream| stream["codec_name"] != "dvd_nav_packet");
    agree(&layout, &probe, 40);
    for (track, stream) in layout.tracks.iter().zip(&probe.streams) {
        assert_eq!(format!("0x{:x}", track.id), stream["id"], "{name}");
        let plays = ["video", "audio"].contains(&track.kind.as_str());
        let told = track.width.is_some() || track.sample_rate.is_some();
        assert!(!plays || told, "{name}: {track:?}");
    }
    assert!(seen.rounds <= 2, "{name}: {} rounds", seen.rounds);
    let ends: Vec<u64> = layout.first.iter().map(|range| range.offset + range.length).collect();
    assert_eq!((layout.first[0].offset, ends.last()), (0, Some(&(bytes.len() as u64))), "{name}");
    (layout, bytes)
}

#[test]
fn recordings() {
    let media = Media::new("ps-codecs");
    for (name, streams) in [
        ("mpeg1.mpg", format!("{PICTURE} {SOUND} -c:v mpeg1video -c:a mp2 -shortest -f mpeg")),
        ("mpeg2.mpg", format!("{PICTURE} {SOUND} -c:v mpeg2video -c:a mp2 -shortest -f vob")),
        ("ac3.vob", format!("{PICTURE} {SOUND} -c:v mpeg2video -c:a ac3 -ac 6 -shortest -f vob")),
        ("dvd.vob", format!("{PICTURE} {SOUND} -c:v mpeg2video -b:v 2M -c:a ac3 -ac 2 -shortest -f dvd")),
        ("mp3.mpg", format!("{PICTURE} {SOUND} -c:v mpeg2video -c:a libmp3lame -shortest -f vob")),
        ("dts.vob", format!("{PICTURE} {SOUND} -c:v mpeg2video -c:a dca -strict -2 -ac 6 -shortest -f vob")),
        ("lpcm.vob", format!("{PICTURE} {SOUND} -c:v mpeg2video -c:a pcm_dvd -ac 2 -shortest -f vob")),
        ("h264.mpg", format!("{PICTURE} {SOUND} -c:v libx264 -preset ultrafast -c:a mp2 -shortest -f vob")),
        ("svcd.mpg", format!("{PICTURE} {SOUND} -c:v mpeg2video -b:v 1M -c:a mp2 -ar 44100 -shortest -f svcd")),
        ("vcd.mpg", format!("{PICTURE} {SOUND} -c:v mpeg1video -b:v 1M -c:a mp2 -ar 44100 -shortest -f vcd")),
        ("sound.mpg", format!("{SOUND} -c:a mp2 -f vob")),
        ("silent.mpg", format!("{PICTURE} -c:v mpeg2video -f vob")),
        (
            "two.vob",
            format!("{PICTURE} {SOUND} {SOUND} -c:v mpeg2video -c:a:0 ac3 -c:a:1 mp2 -map 0 -map 1 -map 2 -t 4 -f vob"),
        ),
    ] {
        let (layout, _) = check(&media, name, &streams);
        assert!(layout.seek.is_empty() && layout.format == "mpeg", "{name}");
        if name != "h264.mpg" && name != "sound.mpg" {
            assert_eq!(layout.track_of("video").unwrap().frame_rate, Some(25.0), "{name}");
        }
        let (found, expected) = (layout.duration_ms.unwrap(), 4_000);
        assert!(found.abs_diff(expected) <= 100, "{name}: {found} ms");
        assert!(layout.bit_rate.is_some());
    }
}

#[test]
fn subtitles_of_discs() {
    let media = Media::new("ps-subtitles");
    media.write("words.srt", b"1\n00:00:00,500 --> 00:00:02,000\nwords\n");
    // Subtitles of pictures are made from a file that has them: here by hand, behind the first pack.
    let (plain, bytes) = check(&media, "film.vob", &format!("{PICTURE} {SOUND} -c:v mpeg2video -c:a ac3 -t 4 -f dvd"));
    let second = bytes[4..].windows(4).position(|window| window == PACK).unwrap() + 4;
    let words = [&[0, 0, 1, 0xBD, 0, 10, 0x80, 0, 0, 0x21][..], &[0, 6, 0, 4, 1, 2]].concat();
    let mut with = bytes.clone();
    with.splice(second..second, words);
    let layout = look::<MpegPs>(&with).unwrap().layout.unwrap();
    let track = layout.track_of("subtitle").unwrap();
    assert_eq!((track.id, track.codec.as_str()), (0x21, "dvd_subtitle"));
    assert_eq!(layout.tracks.len(), plain.tracks.len() + 1);
}

/// A map that names streams, as surveillance cameras write it.
#[test]
fn streams_that_a_map_names() {
    let media = Media::new("ps-map");
    let arguments = format!("{PICTURE} {SOUND} -c:v libx264 -preset ultrafast -c:a mp2 -shortest -f vob");
    let (plain, bytes) = check(&media, "film.mpg", &arguments);
    let map = [
        &[0, 0, 1, 0xBC, 0, 22, 0xE1, 0xFF, 0, 0, 0, 12, 0x1B, 0xE0, 0, 0][..],
        &[0x90, 0xC0, 0, 4, 0, 2, 0, 0, 9, 9, 9, 9],
    ]
    .concat();
    let mut with = bytes.clone();
    with.splice(14..14, map);
    let layout = look::<MpegPs>(&with).unwrap().layout.unwrap();
    let codecs: Vec<&str> = layout.tracks.iter().map(|track| track.codec.as_str()).collect();
    assert_eq!(codecs, ["h264", "pcm_alaw"]);
    assert_eq!(layout.track_of("video").unwrap().width, plain.track_of("video").unwrap().width);
}

/// Recordings begin and end anywhere; discs of films are images of sectors.
#[test]
fn junk_at_the_head_and_cut_tails() {
    let media = Media::new("ps-junk");
    let arguments = format!("{PICTURE} {SOUND} -c:v mpeg2video -c:a mp2 -shortest -f vob");
    let (plain, bytes) = check(&media, "film.vob", &arguments);
    let junk: Vec<u8> = (0..4096u32).map(|at| (at * 7 % 251) as u8).collect();
    let sectors: Vec<u8> = bytes.chunks(2048).flat_map(|pack| [&[0xAA; 24][..], pack, &[0x55; 280]].concat()).collect();
    let image = [&b"RIFF\xFF\xFF\xFF\x0FCDXAfmt "[..], &[0; 28], &sectors].concat();
    let mut almost = vec![0; 2000];
    almost.extend(PACK);
    for (what, bytes) in [
        ("4 KiB of junk", [&junk[..], &bytes].concat()),
        ("junk that looks like a pack", [&almost[..], &[0xFF; 500], &bytes].concat()),
        ("some of a pack", bytes[1000..].to_vec()),
        ("cut", bytes[..bytes.len() - 777].to_vec()),
        ("image", image),
    ] {
        let layout = look::<MpegPs>(&bytes).unwrap().layout.unwrap_or_else(|| panic!("{what}"));
        check_layout(&layout, bytes.len() as u64);
        assert_eq!(layout.tracks.len(), plain.tracks.len(), "{what}");
        assert_eq!(layout.track_of("video").unwrap().codec, "mpeg2video", "{what}");
        let found = layout.duration_ms.unwrap();
        assert!(found.abs_diff(4_000) < 200, "{what}: {found} ms");
    }
    let far = [&[7; 4200][..], &bytes].concat();
    assert!(look::<MpegPs>(&far).unwrap().layout.is_none());
    let tiny = look::<MpegPs>(&bytes[..2048]).unwrap().layout.unwrap();
    assert_eq!((tiny.tracks[0].width, tiny.first.len()), (Some(352), 1));
}

/// Five seconds and a little more are named of the head, as players look at them, and little of the tail.
#[test]
fn the_head_depends_on_the_rate() {
    let media = Media::new("ps-head");
    for (name, size, rate, expected) in
        [("low.vob", "96x64", "300k", 512 << 10..=512 << 10), ("high.vob", "352x288", "4M", 2 << 20..=3 << 20)]
    {
        let film = format!("-f lavfi -i testsrc2=s={size}:r=25:d=14 -vf noise=alls=40:allf=t -c:v mpeg2video -f vob");
        let bytes =
            std::fs::read(media.make(name, &format!("{film} -b:v {rate} -maxrate {rate} -bufsize 1M"))).unwrap();
        let layout = look::<MpegPs>(&bytes).unwrap().layout.unwrap();
        let (head, tail) = (&layout.first[0], &layout.first[1]);
        let size = bytes.len() as u64;
        assert!(expected.contains(&head.length) && head.length >= size * 5 / 14, "{name}: {head:?} of {size}");
        let expected = (size - head.length).min(256 << 10);
        assert_eq!((tail.length, tail.offset + tail.length), (expected, size), "{name}");
    }
}

/// Gigabytes between head and tail cost nothing, and time stamps may overflow on the way.
#[test]
fn long_films() {
    let media = Media::new("ps-long");
    let film = format!("{PICTURE} {SOUND} -c:v mpeg2video -c:a mp2 -shortest -f vob");
    let head = std::fs::read(media.make("head.vob", &format!("{film} -output_ts_offset 95440"))).unwrap();
    let tail = std::fs::read(media.make("tail.vob", &format!("{film} -output_ts_offset 3600"))).unwrap();
    let gap = 4_000_000_000;
    let size = gap + tail.len() as u64;
    let seen = look::<MpegPs>(&Sparse { size, pieces: vec![(0, head.clone()), (gap, tail.clone())] }).unwrap();
    assert!(seen.rounds <= 2 && seen.bytes <= 3 << 20, "{} rounds, {} bytes", seen.rounds, seen.bytes);
    // 2^33 ticks are 95 443.7 s.
    let expected = 95_443_718 - 95_440_000 + 3_600_000 + 4_000;
    let found = seen.layout.unwrap().duration_ms.unwrap();
    assert!(found.abs_diff(expected) < 200, "{found} ms, expected {expected}");
    // Time that goes backwards was set anew and measures nothing.
    let first = std::fs::read(media.make("first.vob", &format!("{film} -output_ts_offset 7200"))).unwrap();
    let seen = look::<MpegPs>(&Sparse { size, pieces: vec![(0, first), (gap, tail)] }).unwrap();
    assert_eq!(seen.layout.unwrap().duration_ms, None);
}

/// The first half of the time takes few of the bytes: the start is found all the same.
#[test]
fn the_start_position_is_named() {
    let media = Media::new("ps-start");
    let film = |quality: u32, offset: u32| {
        format!(
            "-f lavfi -i testsrc2=s=240x180:r=25:d=30 -vf noise=alls=40:allf=t -c:v mpeg2video -q:v {quality} -g 12 \
             -f vob -muxrate 10000000 -output_ts_offset {offset}"
        )
    };
    let slow = std::fs::read(media.make("slow.vob", &film(31, 1))).unwrap();
    let fast = std::fs::read(media.make("fast.vob", &film(4, 31))).unwrap();
    let whole = [&slow[..], &fast].concat();
    assert!(slow.len() * 4 < fast.len() && fast.len() > 10 << 20, "{}, {}", slow.len(), fast.len());
    for start_ms in [0, 5_000, 20_000, 35_000, 45_000, 59_000, 1_000_000] {
        let how = Look { start_ms: Some(start_ms), ..Look::default() };
        let seen = look_as::<MpegPs>(&whole, &how).unwrap();
        let layout = seen.layout.unwrap();
        check_layout(&layout, whole.len() as u64);
        assert!(seen.rounds <= 8, "{} rounds", seen.rounds);
        let start = layout.first.iter().find(|range| range.what == "start").unwrap();
        let at = match start_ms.min(59_900) as usize {
            ms @ ..30_000 => slow.len() * ms / 30_000,
            ms => slow.len() + fast.len() * (ms - 30_000) / 30_000,
        };
        let named = start.offset..start.offset + start.length;
        assert!(named.contains(&(at as u64)), "{start_ms} ms is at {at}, named was {start:?} of {}", whole.len());
    }
}

#[test]
fn what_is_not_a_program_stream() {
    let alone = [&PACK[..], &[0; 3000]].concat();
    for bytes in [&b""[..], b"\0\0\x01", &PACK, &alone, &[0; 5000], b"RIFF\0\0\0\0CDXA", &[0, 0, 1, 0xB3, 7, 7, 7, 7]] {
        assert!(look::<MpegPs>(bytes).unwrap().layout.is_none(), "{:x?}", &bytes[..bytes.len().min(20)]);
    }
}

#[test]
fn broken_copies() {
    let media = Media::new("ps-broken");
    for (name, flags) in [
        ("film.vob", "-c:v mpeg2video -c:a ac3 -f vob"),
        ("film.mpg", "-c:v mpeg1video -c:a mp2 -f mpeg"),
        ("h264.mpg", "-c:v libx264 -preset ultrafast -c:a dca -strict -2 -f vob"),
    ] {
        let film = format!("-f lavfi -i testsrc2=s=64x48:r=25:d=2 {SOUND} -t 2 {flags}");
        hostile::<MpegPs>(&std::fs::read(media.make(name, &film)).unwrap());
    }
}
