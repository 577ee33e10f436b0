//! Real files, made by ffmpeg and judged by ffprobe.

use detect_flv::Flv;
use mediahost_plugin_sdk::detect::Layout;
use mediahost_plugin_sdk::detect::testing::{
    Look, Media, Sparse, agree, check_layout, hostile, key_frames, look, look_as, packets, probe,
};

const PICTURE: &str = "-f lavfi -i testsrc2=s=160x90:r=25:d=4";
const SOUND: &str = "-f lavfi -i sine=r=44100:d=4";
const H264: &str = "-c:v libx264 -preset ultrafast -g 25 -bf 0";

fn check(media: &Media, name: &str, arguments: &str) -> (Layout, Vec<u8>) {
    let path = media.make(name, arguments);
    let bytes = std::fs::read(&path).unwrap();
    let seen = look::<Flv>(&bytes).unwrap();
    let layout = seen.layout.unwrap_or_else(|| panic!("{name} is not recognised"));
    check_layout(&layout, bytes.len() as u64);
    agree(&layout, &probe(&path), 40);
    assert!(seen.rounds <= 2, "{name}: {} rounds", seen.rounds);
    assert_eq!((layout.first[0].offset, layout.first[0].what.as_str()), (0, "head"), "{name}");
    (layout, bytes)
}

/// A tag with what stands behind it.
fn tag(kind: u8, time_ms: u32, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    let time = time_ms.to_be_bytes();
    let head = [kind, length[1], length[2], length[3], time[1], time[2], time[3], time[0], 0, 0, 0];
    [&head[..], body, &(11 + body.len() as u32).to_be_bytes()].concat()
}

/// The tags of a file: where they begin and how long they are with what stands behind.
fn tags(bytes: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, mut found) = (13, Vec::new());
    while at + 11 <= bytes.len() {
        let length = 15 + u32::from_be_bytes([0, bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
        found.push((at, length));
        at += length;
    }
    found
}

#[test]
fn films() {
    let media = Media::new("flv-codecs");
    for (name, streams) in [
        ("h264.flv", format!("{PICTURE} {SOUND} {H264} -c:a aac -shortest")),
        ("flv1.flv", format!("{PICTURE} {SOUND} -c:v flv -g 25 -c:a libmp3lame -shortest")),
        ("screen.flv", format!("{PICTURE} {SOUND} -c:v flashsv -c:a pcm_s16le -ac 2 -shortest")),
        ("adpcm.flv", format!("{PICTURE} {SOUND} -c:v flv -c:a adpcm_swf -shortest")),
        ("speech.flv", format!("{PICTURE} {SOUND} -c:v flv -c:a nellymoser -ac 1 -shortest")),
        ("sound.flv", format!("{SOUND} -c:a aac -ac 2")),
        ("silent.flv", format!("{PICTURE} {H264}")),
        ("bare.flv", format!("{PICTURE} {SOUND} {H264} -c:a aac -shortest -flvflags no_metadata")),
        ("unsized.flv", format!("{PICTURE} {SOUND} {H264} -c:a aac -shortest -flvflags no_duration_filesize")),
    ] {
        let (layout, _) = check(&media, name, &streams);
        assert!(layout.seek.is_empty() && layout.media_type.as_deref() == Some("video/x-flv"), "{name}");
        let found = layout.duration_ms.unwrap();
        assert!(found.abs_diff(4_000) <= 100, "{name}: {found} ms");
        let has_tail = layout.first.iter().any(|range| range.what == "tail");
        assert_eq!(has_tail, ["bare.flv", "unsized.flv"].contains(&name), "{name}");
        if name != "sound.flv" && name != "bare.flv" {
            assert_eq!(layout.track_of("video").unwrap().frame_rate, Some(25.0), "{name}");
        }
    }
}

#[test]
fn key_frames_of_the_metadata() {
    let media = Media::new("flv-keys");
    let film = format!("{PICTURE} {SOUND} {H264} -c:a aac -shortest -flvflags add_keyframe_index");
    let (layout, bytes) = check(&media, "film.flv", &film);
    let packets = key_frames(&media.make("film.flv", &film));
    let found: Vec<(u64, u64)> = layout.seek.iter().map(|point| (point.time_ms, point.offset)).collect();
    // ffmpeg writes the times before it moves everything to where the sound begins.
    let is_named = |(ms, at): &(u64, u64)| found.iter().any(|(time, offset)| offset == at && time.abs_diff(*ms) < 50);
    assert!(packets.len() == 4 && packets.iter().all(is_named), "{found:?}, {packets:?}");
    for point in &layout.seek {
        assert_eq!(bytes[point.offset as usize], 9, "{point:?}");
    }
    let how = Look { start_ms: Some(3_200), ..Look::default() };
    let layout = look_as::<Flv>(&bytes, &how).unwrap().layout.unwrap();
    let start = layout.first.iter().find(|range| range.what == "start").unwrap();
    assert_eq!((start.offset, layout.seek_before(3_200).unwrap().time_ms), (packets[3].1, 3_000));
}

#[test]
fn files_that_were_cut() {
    let media = Media::new("flv-cut");
    let film = format!("{PICTURE} {SOUND} {H264} -c:a aac -shortest -flvflags no_duration_filesize");
    let (plain, bytes) = check(&media, "film.flv", &film);
    for cut in [1, 4, 7, 100] {
        let layout = look::<Flv>(&bytes[..bytes.len() - cut]).unwrap().layout.unwrap();
        let found = layout.duration_ms.unwrap();
        assert!(found.abs_diff(plain.duration_ms.unwrap()) < 120, "cut by {cut}: {found} ms");
    }
    let tiny = look::<Flv>(&bytes[..13]).unwrap().layout.unwrap();
    assert_eq!((tiny.tracks.len(), tiny.first[0].length, tiny.duration_ms), (0, 13, None));
    // Recordings of what was running already begin late.
    let mut late = bytes[..13].to_vec();
    for (at, length) in tags(&bytes) {
        let time = u32::from_be_bytes([0, bytes[at + 4], bytes[at + 5], bytes[at + 6]]);
        late.extend(tag(bytes[at], time + 100_000_000, &bytes[at + 11..at + length - 4]));
    }
    let layout = look::<Flv>(&late).unwrap().layout.unwrap();
    assert_eq!(layout.duration_ms, plain.duration_ms);
}

#[test]
fn enhanced_files() {
    let header = b"FLV\x01\x05\0\0\0\x09\0\0\0\0";
    let film = |video: &[u8], audio: &[u8]| {
        let mut bytes = [&header[..], &tag(9, 0, video), &tag(8, 0, audio)].concat();
        for time in 1..=50 {
            bytes.extend(tag(9, time * 40, &[&[0xA1][..], &video[1..5], &[0; 30]].concat()));
        }
        bytes
    };
    for (video, audio, codecs) in [
        (&b"\x90av01\x81\x04\x0C\0"[..], &b"\x90Opus\x01\x02"[..], ["av1", "opus"]),
        (b"\x90hvc1\x01", b"\xAF\0\x12\x10", ["hevc", "aac"]),
    ] {
        let bytes = film(video, audio);
        let layout = look::<Flv>(&bytes).unwrap().layout.unwrap();
        check_layout(&layout, bytes.len() as u64);
        let found: Vec<&str> = layout.tracks.iter().map(|track| track.codec.as_str()).collect();
        assert_eq!((found, layout.duration_ms), (codecs.to_vec(), Some(2_000)));
        assert_eq!(layout.tracks[1].channels, Some(2));
    }
}

/// A real configuration of HEVC, taken from an MP4, gives the size.
#[test]
fn the_size_of_enhanced_hevc() {
    let media = Media::new("flv-hevc");
    let film = "-f lavfi -i testsrc2=s=320x180:r=25:d=1 -c:v libx265 -preset ultrafast -x265-params log-level=error";
    let mp4 = std::fs::read(media.make("film.mp4", film)).unwrap();
    let at = mp4.windows(4).position(|window| window == b"hvcC").unwrap();
    let length = u32::from_be_bytes(mp4[at - 4..at].try_into().unwrap()) as usize;
    let config = [b"\x90hvc1", &mp4[at + 4..at - 4 + length]].concat();
    let bytes = [&b"FLV\x01\x01\0\0\0\x09\0\0\0\0"[..], &tag(9, 0, &config)].concat();
    let layout = look::<Flv>(&bytes).unwrap().layout.unwrap();
    assert_eq!((layout.tracks[0].width, layout.tracks[0].height), (Some(320), Some(180)));
}

/// Players look at many pictures before they know how often these come, and the first may be long.
#[test]
fn the_first_pictures_are_named() {
    let media = Media::new("flv-opening");
    let noise = "-f lavfi -i testsrc2=s=320x180:r=25:d=12,noise=alls=60:allf=t:all_seed=7";
    let path = media.make("film.flv", &format!("{noise} {SOUND} {H264} -c:a aac"));
    let bytes = std::fs::read(&path).unwrap();
    let layout = look::<Flv>(&bytes).unwrap().layout.unwrap();
    let named = layout.first[0].length;
    let frames = packets(&path, "v:0");
    let [least, most] = [42, 80].map(|frame: usize| frames[frame].1);
    assert!(least > 500_000 && (least..most).contains(&named), "{named} named, not {least}..{most}");

    // A picture of 900 KB, then small ones.
    let picture = |time, length| tag(9, time, &[&[0x27, 1, 0, 0, 0][..], &vec![7; length]].concat());
    let mut bytes = [&b"FLV\x01\x01\0\0\0\x09\0\0\0\0"[..], &tag(9, 0, b"\x17\0\0\0\0"), &picture(0, 900_000)].concat();
    (1..3_000).for_each(|number| bytes.extend(picture(number * 40, 500)));
    let layout = look::<Flv>(&bytes).unwrap().layout.unwrap();
    let named = layout.first[0].length;
    assert!((901_000..1_200_000).contains(&named), "{named} of {}", bytes.len());
}

/// Without key frames in the metadata some seconds in front are named.
#[test]
fn a_key_frame_in_front_is_named() {
    let media = Media::new("flv-lead");
    let film = "-f lavfi -i testsrc2=s=640x360:r=25:d=40 -c:v libx264 -preset ultrafast -bf 0 -g 60 -qp 20";
    let path = media.make("film.flv", film);
    let bytes = std::fs::read(&path).unwrap();
    for start_ms in [2_300, 11_900, 20_000, 33_500] {
        let key = key_frames(&path).into_iter().rfind(|(ms, _)| *ms <= start_ms).unwrap().1;
        let how = Look { start_ms: Some(start_ms), ..Look::default() };
        let layout = look_as::<Flv>(&bytes, &how).unwrap().layout.unwrap();
        check_layout(&layout, bytes.len() as u64);
        let start = layout.first.iter().find(|range| range.what == "start").unwrap();
        let named = start.offset..start.offset + start.length;
        assert!(named.contains(&key) && start.length < bytes.len() as u64 / 2, "{start_ms} ms: {key}, {start:?}");
    }
}

/// Gigabytes of tags in between cost nothing; the time to start from is found by looking.
#[test]
fn long_films() {
    let header = b"FLV\x01\x01\0\0\0\x09\0\0\0\0";
    let config = tag(9, 0, b"\x17\0\0\0\0");
    let frame = |time: u32| tag(9, time, &[&[0x27, 1, 0, 0, 0][..], &[7; 2_000]].concat());
    // An hour at a low rate, then an hour at ten times that.
    let mut bytes = [&header[..], &config].concat();
    for second in 0..7_200u32 {
        for _ in 0..if second < 3_600 { 1 } else { 10 } {
            bytes.extend(frame(second * 1_000));
        }
    }
    for (start_ms, at) in [(1_800_000, bytes.len() / 22), (5_400_000, bytes.len() * 12 / 22)] {
        let how = Look { start_ms: Some(start_ms), ..Look::default() };
        let seen = look_as::<Flv>(&bytes, &how).unwrap();
        assert!(seen.rounds <= 10 && seen.bytes <= 4 << 20, "{} rounds, {} bytes", seen.rounds, seen.bytes);
        let layout = seen.layout.unwrap();
        assert_eq!(layout.duration_ms, Some(7_199_000));
        let start = layout.first.iter().find(|range| range.what == "start").unwrap();
        let named = start.offset..start.offset + start.length;
        assert!(named.contains(&(at as u64)), "{start_ms} ms is at {at}, named was {start:?}");
    }
    let tail = [frame(1), frame(9_000_000)].concat();
    let gap = 5_000_000_000;
    let file = Sparse { size: gap + tail.len() as u64, pieces: vec![(0, bytes[..200_000].to_vec()), (gap, tail)] };
    let seen = look::<Flv>(&file).unwrap();
    assert!(seen.rounds <= 5 && seen.bytes < 3 << 20, "{} rounds, {} bytes", seen.rounds, seen.bytes);
    assert_eq!(seen.layout.unwrap().duration_ms, Some(9_000_000));
}

#[test]
fn what_is_not_flv() {
    for bytes in [&b""[..], b"FLV\x01", b"FLV\x02\x05\0\0\0\x09\0\0\0\0", b"FLV\x01\x05\0\0\0\x03\0\0\0\0", &[0; 5000]]
    {
        assert!(look::<Flv>(bytes).unwrap().layout.is_none(), "{bytes:?}");
    }
}

#[test]
fn broken_copies() {
    let media = Media::new("flv-broken");
    for (name, flags) in
        [("film.flv", "add_keyframe_index"), ("bare.flv", "no_metadata"), ("unsized.flv", "no_duration_filesize")]
    {
        let film = format!("-f lavfi -i testsrc2=s=64x36:r=10:d=2 {SOUND} {H264} -c:a aac -t 2 -flvflags {flags}");
        hostile::<Flv>(&std::fs::read(media.make(name, &film)).unwrap());
    }
}
