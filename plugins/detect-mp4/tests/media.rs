//! Real files, made by ffmpeg and judged by ffprobe.

use detect_mp4::Mp4;
use mediahost_plugin_sdk::detect::testing::{
    Look, Media, Sparse, agree, check_layout, hostile, key_frames, look, look_as, packets, probe,
};
use mediahost_plugin_sdk::detect::{Layout, Stop};

const PICTURE: &str = "-f lavfi -i testsrc2=s=160x90:r=25:d=4";
const SOUND: &str = "-f lavfi -i sine=r=44100:d=4";
const H264: &str = "-c:v libx264 -preset ultrafast -g 25";

/// The bytes of the named index ranges.
fn ranges<'a>(layout: &Layout, bytes: &'a [u8], what: &str) -> Vec<&'a [u8]> {
    let named = layout.first.iter().filter(|range| range.what == what);
    named.map(|range| &bytes[range.offset as usize..(range.offset + range.length) as usize]).collect()
}

/// Makes a file, looks at it, and compares with ffprobe. `expected` names media type, the ranges with their boxes, and
/// how many seek points there are.
fn check(media: &Media, name: &str, arguments: &str, expected: (&str, &[&str], usize)) -> Layout {
    let path = media.make(name, arguments);
    let bytes = std::fs::read(&path).unwrap();
    let seen = look::<Mp4>(&bytes).unwrap();
    let layout = seen.layout.unwrap();
    check_layout(&layout, bytes.len() as u64);
    agree(&layout, &probe(&path), 60);
    assert!(seen.rounds <= 3, "{name}: {} rounds", seen.rounds);
    assert_eq!(layout.media_type.as_deref(), Some(expected.0), "{name}");
    for what in expected.1 {
        let found = ranges(&layout, &bytes, what);
        assert!(!found.is_empty(), "{name}: no {what} in {:?}", layout.first);
        for range in found {
            assert_eq!(&range[4..8], what.as_bytes(), "{name}");
            assert_eq!(u32::from_be_bytes(range[..4].try_into().unwrap()) as usize, range.len(), "{name}: {what}");
        }
    }
    assert_eq!(layout.seek.len(), expected.2, "{name}: {:?}", layout.seek);
    layout
}

#[test]
fn whole_films() {
    let media = Media::new("mp4-whole");
    let film = format!("{PICTURE} {SOUND} {H264} -c:a aac -metadata:s:a:0 language=deu -shortest");
    let tail = check(&media, "tail.mp4", &film, ("video/mp4", &["ftyp", "moov"], 4));
    assert_eq!(tail.tracks[1].language.as_deref(), Some("deu"));
    let head = check(&media, "head.mp4", &format!("{film} -movflags faststart"), ("video/mp4", &["ftyp", "moov"], 4));
    assert!(head.first[1].offset < tail.first[1].offset);
    let times: Vec<u64> = head.seek.iter().map(|point| point.time_ms).collect();
    assert_eq!(times, [0, 1000, 2000, 3000]);
    check(&media, "b-frames.mp4", &format!("{PICTURE} -c:v libx264 -g 25 -bf 3"), ("video/mp4", &["moov"], 4));
    check(&media, "film.mov", &film, ("video/quicktime", &["ftyp", "moov"], 4));
    check(&media, "mpeg4.mp4", &format!("{PICTURE} -c:v mpeg4 -g 50"), ("video/mp4", &["moov"], 2));
}

/// Seek points are the key frames, byte for byte, in every kind of table.
#[test]
fn seek_points_are_key_frames() {
    let media = Media::new("mp4-keys");
    for (name, codec) in [
        ("plain.mp4", format!("{PICTURE} {SOUND} {H264} -c:a aac -shortest")),
        ("b-frames.mov", format!("{PICTURE} {SOUND} -c:v libx264 -g 17 -bf 3 -c:a aac -shortest -movflags faststart")),
        ("no-edits.mp4", format!("{PICTURE} -c:v libx264 -g 10 -use_editlist 0")),
        ("intra.mov", format!("{PICTURE} {SOUND} -c:v mjpeg -c:a pcm_s16le -shortest")),
    ] {
        let path = media.make(name, &codec);
        let layout = look::<Mp4>(&std::fs::read(&path).unwrap()).unwrap().layout.unwrap();
        let expected = key_frames(&path);
        let intra = expected.len() == 100;
        assert!(layout.seek.len() == expected.len() || intra && layout.seek.len() == 4, "{name}: {:?}", layout.seek);
        for point in &layout.seek {
            let same = expected.iter().find(|(_, offset)| *offset == point.offset);
            let (ms, _) = same.unwrap_or_else(|| panic!("{name}: {point:?} is none of {expected:?}"));
            assert!(point.time_ms.abs_diff(*ms) <= 1, "{name}: {point:?} is at {ms} ms");
        }
    }
}

#[test]
fn other_codecs() {
    let media = Media::new("mp4-codecs");
    for (name, codec) in [
        ("hevc.mp4", "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=25"),
        ("vp9.mp4", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 25"),
    ] {
        check(&media, name, &format!("{PICTURE} {codec}"), ("video/mp4", &["moov"], 4));
    }
    for (name, codec) in [
        ("aac.m4a", "-c:a aac"),
        ("alac.m4a", "-c:a alac"),
        ("mono.m4a", "-c:a aac -ac 1 -ar 22050"),
        ("surround.m4a", "-c:a aac -ac 6"),
        ("ac3.mp4", "-c:a ac3 -ac 6"),
        ("eac3.mp4", "-c:a eac3 -ac 6"),
        ("opus.mp4", "-c:a libopus -ar 48000"),
        ("flac.mp4", "-c:a flac -strict -2"),
    ] {
        let path = media.make(name, &format!("{SOUND} {codec}"));
        let layout = look::<Mp4>(&std::fs::read(&path).unwrap()).unwrap().layout.unwrap();
        agree(&layout, &probe(&path), 60);
        assert_eq!(layout.media_type.as_deref(), Some("audio/mp4"), "{name}");
        assert!(layout.seek.len() > 1, "{name}: {:?}", layout.seek);
    }
    let bytes = std::fs::read(media.make("mp3.mp4", &format!("{SOUND} -c:a libmp3lame"))).unwrap();
    let track = look::<Mp4>(&bytes).unwrap().layout.unwrap().tracks.remove(0);
    assert_eq!((track.codec.as_str(), track.sample_rate, track.channels), ("mp3", Some(44_100), None));
    media.write("words.srt", b"1\n00:00:00,500 --> 00:00:02,000\nwords\n");
    let words = format!("{PICTURE} -i words.srt {H264} -c:s mov_text -metadata:s:s:0 language=fra");
    let layout = check(&media, "words.mp4", &words, ("video/mp4", &["moov"], 4));
    assert_eq!((layout.tracks[1].kind.as_str(), layout.tracks[1].codec.as_str()), ("subtitle", "mov_text"));
}

#[test]
fn fragmented_films() {
    let media = Media::new("mp4-fragments");
    let film = format!("{PICTURE} {SOUND} {H264} -c:a aac -shortest -movflags frag_keyframe+empty_moov");
    let by_tail = check(&media, "mfra.mp4", &film, ("video/mp4", &["moov", "mfra"], 4));
    let bytes = std::fs::read(media.make("mfra.mp4", &film)).unwrap();
    for point in &by_tail.seek {
        assert_eq!(&bytes[point.offset as usize + 4..][..4], b"moof", "{point:?}");
    }
    let indexed = format!("{PICTURE} {H264} -movflags frag_keyframe+empty_moov+dash+global_sidx");
    let by_head = check(&media, "sidx.mp4", &indexed, ("video/mp4", &["moov", "sidx"], 4));
    let bytes = std::fs::read(media.make("sidx.mp4", &indexed)).unwrap();
    for point in &by_head.seek {
        assert_eq!(&bytes[point.offset as usize + 4..][..4], b"moof", "{point:?}");
    }
}

#[test]
fn the_start_position_is_named() {
    let media = Media::new("mp4-start");
    let film = format!("{PICTURE} {SOUND} -c:v libx264 -g 25 -b:v 8M -c:a aac -shortest -movflags faststart");
    let bytes = std::fs::read(media.make("film.mp4", &film)).unwrap();
    let how = Look { start_ms: Some(3_200), ..Look::default() };
    let layout = look_as::<Mp4>(&bytes, &how).unwrap().layout.unwrap();
    let start = layout.first.iter().find(|range| range.what == "start").unwrap();
    let key_frame = layout.seek_before(3_200).unwrap();
    assert_eq!(key_frame.time_ms, 3_000);
    assert!(start.offset <= key_frame.offset && key_frame.offset < start.offset + start.length);
}

/// What is named by `what`, from where it begins to where it ends.
fn spans(layout: &Layout, what: &str) -> Vec<(u64, u64)> {
    let named = layout.first.iter().filter(|range| range.what == what);
    named.map(|range| (range.offset, range.offset + range.length)).collect()
}

fn at(bytes: &[u8], start_ms: u64) -> Layout {
    let layout = look_as::<Mp4>(bytes, &Look { start_ms: Some(start_ms), ..Look::default() }).unwrap().layout.unwrap();
    check_layout(&layout, bytes.len() as u64);
    layout
}

/// From the key frame, and the sound of its time, to some pictures behind the wanted one, however long they are.
#[test]
fn pictures_are_named_to_their_end() {
    let media = Media::new("mp4-exact");
    let film = format!("{PICTURE},noise=alls=80:all_seed=7,scale=960:540 {SOUND} -c:v libx264 -preset ultrafast");
    let path = media.make("film.mp4", &format!("{film} -g 50 -c:a aac -shortest -movflags faststart"));
    let bytes = std::fs::read(&path).unwrap();
    let (pictures, sounds) = (packets(&path, "v:0"), packets(&path, "a:0"));
    assert!(pictures[1].1 - pictures[0].1 > 50_000, "{pictures:?}");
    let layout = at(&bytes, 3_000);
    for (what, key, wanted) in [("media", 0, 0), ("start", 50, 75)] {
        let [(start, end)] = spans(&layout, what)[..] else { panic!("{what}: {:?}", layout.first) };
        let sound = sounds.iter().rfind(|(ms, _)| *ms <= pictures[key].0).unwrap().1;
        assert!(
            start <= pictures[key].1.min(sound) && start + 20_000 > pictures[key].1,
            "{what}: {start} {sound} {}",
            pictures[key].1
        );
        let behind = pictures[wanted + 8].1..pictures[wanted + 11].1;
        assert!(behind.contains(&end), "{what}: to {end} and not {behind:?}");
    }
    assert_eq!(spans(&layout, "media"), spans(&look::<Mp4>(&bytes).unwrap().layout.unwrap(), "media"));
}

/// Tracks one behind the other are named one by one.
#[test]
fn sound_that_lies_elsewhere_is_named_apart() {
    let media = Media::new("mp4-apart");
    let film = format!("{PICTURE} {SOUND} -c:v libx264 -g 25 -b:v 2M -c:a aac -shortest -max_interleave_delta 0");
    let path = media.make(
        "film.mp4",
        &format!("{film} -movflags frag_keyframe+empty_moov+default_base_moof -frag_duration 4000000"),
    );
    let layout = look::<Mp4>(&std::fs::read(&path).unwrap()).unwrap().layout.unwrap();
    let named = spans(&layout, "media");
    let is_named = |at: u64| named.iter().any(|(start, end)| (*start..*end).contains(&at));
    for stream in ["v:0", "a:0"] {
        assert!(is_named(packets(&path, stream)[0].1), "{stream}: {named:?}");
    }
}

/// Empty edits delay the pictures, so that another key frame is the last one before the time.
#[test]
fn a_delay_by_edits_counts() {
    let media = Media::new("mp4-delay");
    let late = "-f lavfi -itsoffset 0.1 -i testsrc2=s=160x90:r=25:d=4";
    let path =
        media.make("film.mp4", &format!("{SOUND} {late} -map 1:v -map 0:a -fps_mode passthrough {H264} -c:a aac"));
    let bytes = std::fs::read(&path).unwrap();
    let keys = key_frames(&path);
    assert!(keys[2].0 > 2_050, "{keys:?}");
    assert_eq!(look::<Mp4>(&bytes).unwrap().layout.unwrap().seek[2].time_ms, keys[2].0);
    for (start_ms, key) in [(2_000, 1), (2_200, 2)] {
        let (start, _) = spans(&at(&bytes, start_ms), "start")[0];
        assert!(start <= keys[key].1 && start > keys[key - 1].1, "{start_ms} ms: {start} of {keys:?}");
    }
}

/// The sound of a fragment's first picture may be at the end of the fragment before; that is named whole if it is short.
#[test]
fn the_fragment_before_is_named_too() {
    let media = Media::new("mp4-before");
    let sidx = "-movflags frag_keyframe+empty_moov+default_base_moof+global_sidx";
    for (name, codec) in [("short.mp4", H264), ("long.mp4", "-c:v libx264 -preset ultrafast -qp 0 -g 25")] {
        let noise = format!("{PICTURE},noise=alls=90:allf=t:all_seed=7,scale=480:270");
        let bytes =
            std::fs::read(media.make(name, &format!("{noise} {SOUND} {codec} -c:a aac -shortest {sidx}"))).unwrap();
        let layout = at(&bytes, 2_500);
        let key = layout.seek_before(2_500).unwrap().offset;
        let before = layout.seek_before(1_500).unwrap().offset;
        let named = spans(&layout, "start");
        let holds = |from: u64, to: u64| named.iter().any(|(start, end)| *start <= from && to <= *end);
        assert!(
            holds(before, before + 4_096) && holds(key - 4_096, key + 4_096),
            "{name}: {before} {key} in {named:?}"
        );
        let is_long = key - before > 1 << 20;
        assert_eq!((is_long, named.len()), (name == "long.mp4", if is_long { 2 } else { 1 }), "{name}: {named:?}");
    }
}

#[test]
fn fragments_without_an_index_end_with_one_that_tells_the_time() {
    let media = Media::new("mp4-bare");
    let bare = "-movflags frag_keyframe+empty_moov+default_base_moof+skip_trailer";
    for (name, picture) in [
        ("short.mp4", PICTURE.to_string()),
        // Its last fragment is longer than the first look.
        ("long.mp4", format!("{PICTURE},noise=alls=60:allf=t:all_seed=7,scale=480:270")),
    ] {
        check(
            &media,
            name,
            &format!("{picture} {SOUND} {H264} -c:a aac -shortest {bare}"),
            ("video/mp4", &["moov"], 0),
        );
    }
}

/// The media of a film of 6 GB is hopped over, whatever the sizes are written in.
#[test]
fn long_films_cost_three_rounds() {
    let media = Media::new("mp4-long");
    let bytes = std::fs::read(media.make("film.mp4", &format!("{PICTURE} {H264}"))).unwrap();
    let moov = look::<Mp4>(&bytes).unwrap().layout.unwrap().first[1].clone();
    let moov = bytes[moov.offset as usize..].to_vec();
    const MDAT: u64 = 6_000_000_000;
    let mut head = bytes[..32].to_vec();
    head.extend([0, 0, 0, 1]);
    head.extend(b"mdat");
    head.extend(MDAT.to_be_bytes());
    let file = Sparse { size: 32 + MDAT + moov.len() as u64, pieces: vec![(0, head), (32 + MDAT, moov)] };
    let seen = look::<Mp4>(&file).unwrap();
    let layout = seen.layout.unwrap();
    assert_eq!((layout.first[1].offset, layout.first[1].what.as_str()), (32 + MDAT, "moov"));
    assert!(seen.rounds <= 2 && seen.bytes < 1 << 20, "{} rounds, {} bytes", seen.rounds, seen.bytes);
    assert_eq!(layout.duration_ms, Some(4_000));
}

#[test]
fn what_is_not_a_film() {
    for bytes in [&b""[..], b"\0\0\0", b"RIFF\x10\0\0\0WAVEfmt ", b"\0\0\0\x18ftypheic\0\0\0\0heicmif1", &[0; 5000]] {
        assert!(look::<Mp4>(bytes).unwrap().layout.is_none(), "{bytes:?}");
    }
}

#[test]
fn a_film_without_its_movie_box_is_damaged() {
    let media = Media::new("mp4-cut");
    let bytes = std::fs::read(media.make("film.mp4", &format!("{PICTURE} {H264}"))).unwrap();
    let fault = look::<Mp4>(&bytes[..bytes.len() / 2]).unwrap_err();
    assert!(format!("{fault:?}").contains("there is no moov box"), "{fault:?}");
    assert!(matches!(Stop::damaged("x"), Stop::Failed(error) if error.code == "damaged"));
}

#[test]
fn broken_copies() {
    let media = Media::new("mp4-broken");
    for (name, flags) in [
        ("tail.mp4", "faststart"),
        ("mfra.mp4", "frag_keyframe+empty_moov"),
        ("sidx.mp4", "dash+global_sidx"),
        ("bare.mp4", "frag_keyframe+empty_moov+skip_trailer"),
    ] {
        let film = format!("-f lavfi -i testsrc2=s=64x36:r=10:d=2 {SOUND} {H264} -c:a aac -t 2 -movflags {flags}");
        hostile::<Mp4>(&std::fs::read(media.make(name, &film)).unwrap());
    }
}
