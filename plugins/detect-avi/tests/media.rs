//! Real files, made by ffmpeg and judged by ffprobe.

use detect_avi::Avi;
use mediahost_plugin_sdk::detect::Layout;
use mediahost_plugin_sdk::detect::testing::{
    Look, Media, Sparse, agree, check_layout, hostile, key_frames, look, look_as, probe,
};

const PICTURE: &str = "-f lavfi -i testsrc2=s=160x90:r=25:d=4";
const SOUND: &str = "-f lavfi -i sine=r=44100:d=4";
const MPEG4: &str = "-c:v mpeg4 -g 25";

fn check(media: &Media, name: &str, arguments: &str) -> (Layout, Vec<u8>) {
    let path = media.make(name, arguments);
    let bytes = std::fs::read(&path).unwrap();
    let seen = look::<Avi>(&bytes).unwrap();
    let layout = seen.layout.unwrap_or_else(|| panic!("{name} is not recognised"));
    check_layout(&layout, bytes.len() as u64);
    agree(&layout, &probe(&path), 40);
    assert!(seen.rounds <= 3, "{name}: {} rounds", seen.rounds);
    (layout, bytes)
}

fn named<'a>(layout: &Layout, bytes: &'a [u8], what: &str) -> &'a [u8] {
    let range = layout.first.iter().find(|range| range.what == what).unwrap_or_else(|| panic!("{what} is not named"));
    &bytes[range.offset as usize..(range.offset + range.length) as usize]
}

fn position(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|window| window == what).unwrap()
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn offsets(layout: &Layout) -> Vec<u64> {
    layout.seek.iter().map(|point| point.offset).collect()
}

#[test]
fn films() {
    let media = Media::new("avi-codecs");
    for (name, streams) in [
        ("xvid.avi", format!("{PICTURE} {SOUND} {MPEG4} -vtag XVID -c:a libmp3lame -shortest")),
        ("h264.avi", format!("{PICTURE} {SOUND} -c:v libx264 -preset ultrafast -g 25 -bf 0 -c:a ac3 -shortest")),
        ("mjpeg.avi", format!("{PICTURE} {SOUND} -c:v mjpeg -q:v 5 -c:a pcm_s16le -ac 2 -shortest")),
        ("raw.avi", format!("{PICTURE} {SOUND} -c:v rawvideo -pix_fmt bgr24 -c:a pcm_u8 -shortest")),
        ("yuv.avi", format!("{PICTURE} -c:v rawvideo -pix_fmt yuv420p")),
        ("ms.avi", format!("{PICTURE} {SOUND} -c:v msmpeg4 -g 25 -c:a adpcm_ms -shortest")),
        ("wmv.avi", format!("{PICTURE} {SOUND} -c:v wmv2 -g 25 -c:a wmav2 -shortest")),
        ("ffv1.avi", format!("{PICTURE} {SOUND} -c:v ffv1 -g 25 -c:a mp2 -shortest")),
        ("huff.avi", format!("{PICTURE} {SOUND} -c:v huffyuv -c:a pcm_s24le -shortest")),
        ("aac.avi", format!("{PICTURE} {SOUND} {MPEG4} -c:a aac -shortest")),
        ("two.avi", format!("{PICTURE} {SOUND} {SOUND} {MPEG4} -c:a mp2 -map 0 -map 1 -map 2 -t 4")),
        ("sound.avi", format!("{SOUND} -c:a libmp3lame")),
    ] {
        let (layout, bytes) = check(&media, name, &streams);
        assert_eq!((layout.format.as_str(), layout.media_type.as_deref()), ("avi", Some("video/x-msvideo")));
        assert_eq!((layout.first[0].offset, layout.first[0].what.as_str()), (0, "head"), "{name}");
        assert_eq!(&bytes[layout.first[0].length as usize - 4..][..4], b"movi", "{name}");
        let idx1 = named(&layout, &bytes, "idx1");
        assert!(idx1.starts_with(b"idx1") && idx1.len() % 16 == 8, "{name}");
        assert!(!layout.seek.is_empty() && layout.duration_ms.unwrap().abs_diff(4_000) < 100, "{name}: {layout:?}");
    }
    let titled = format!("{PICTURE} {SOUND} {MPEG4} -c:a mp2 -metadata:s:a:0 title=Ton -shortest");
    let (layout, _) = check(&media, "title.avi", &titled);
    assert_eq!(layout.tracks[1].title.as_deref(), Some("Ton"));
}

/// Key frames are where ffprobe finds them.
#[test]
fn key_frames_of_idx1() {
    let media = Media::new("avi-keys");
    for (name, streams) in [
        ("mpeg4.avi", format!("{PICTURE} {SOUND} -c:v mpeg4 -g 20 -c:a libmp3lame -shortest")),
        ("rate.avi", "-f lavfi -i testsrc2=s=160x90:r=30000/1001:d=4 -c:v mpeg4 -g 13".to_string()),
        ("mjpeg.avi", format!("{PICTURE} {SOUND} -c:v mjpeg -c:a pcm_s16le -shortest")),
    ] {
        let (layout, bytes) = check(&media, name, &streams);
        let packets = key_frames(&media.make(name, &streams));
        let times: Vec<u64> = packets.iter().map(|(ms, _)| *ms).collect();
        assert!(packets.len() >= 4, "{name}: {packets:?}");
        // ffprobe has the content, behind eight bytes of header.
        assert_eq!(offsets(&layout), packets.iter().map(|(_, offset)| *offset - 8).collect::<Vec<_>>(), "{name}");
        for (point, ms) in layout.seek.iter().zip(times) {
            assert!(point.time_ms.abs_diff(ms) <= 1, "{name}: {point:?}, ffprobe says {ms}");
            assert_eq!(&bytes[point.offset as usize..][..2], b"00");
        }
    }
}

/// Offsets may count from the start of the file, or from somewhere else.
#[test]
fn other_bases_of_idx1() {
    let media = Media::new("avi-bases");
    let (plain, bytes) = check(&media, "film.avi", &format!("{PICTURE} {SOUND} {MPEG4} -c:a mp2 -shortest"));
    let movi = position(&bytes, b"movi") as u32;
    let at = bytes.len() - named(&plain, &bytes, "idx1").len() + 8;
    for shift in [movi, 1_000] {
        let mut moved = bytes.clone();
        for entry in moved[at..].chunks_exact_mut(16) {
            let offset = u32::from_le_bytes(entry[8..12].try_into().unwrap());
            put(entry, 8, offset + shift);
        }
        let layout = look::<Avi>(&moved).unwrap().layout.unwrap();
        assert_eq!(offsets(&layout), offsets(&plain), "{shift}");
    }
}

#[test]
fn files_without_an_index() {
    let media = Media::new("avi-bare");
    let (plain, bytes) = check(&media, "film.avi", &format!("{PICTURE} {SOUND} {MPEG4} -c:a mp2 -shortest"));
    let idx1 = named(&plain, &bytes, "idx1").len();
    let movi = position(&bytes, b"movi");
    let mut unfinished = bytes[..bytes.len() - idx1].to_vec();
    put(&mut unfinished, movi - 4, 0);
    put(&mut unfinished, 4, 0);
    for (what, bytes) in [
        ("no index", bytes[..bytes.len() - idx1].to_vec()),
        ("cut", bytes[..bytes.len() / 2].to_vec()),
        ("unfinished", unfinished),
        ("half an index", bytes[..bytes.len() - idx1 / 2].to_vec()),
        ("only the header", bytes[..movi + 4].to_vec()),
    ] {
        let how = Look { start_ms: Some(2_000), ..Look::default() };
        let layout = look_as::<Avi>(&bytes, &how).unwrap().layout.unwrap_or_else(|| panic!("{what}"));
        check_layout(&layout, bytes.len() as u64);
        assert_eq!(layout.tracks.len(), 2, "{what}");
        assert_eq!(layout.duration_ms, plain.duration_ms, "{what}");
        let has_index = what == "half an index";
        assert_eq!(layout.first.iter().any(|range| range.what == "idx1"), has_index, "{what}");
        assert_eq!(layout.seek.is_empty(), !has_index, "{what}");
        assert_eq!(layout.first.iter().any(|range| range.what == "start"), what != "only the header", "{what}");
    }
    // The length of the list is wrong, as beyond 4 GiB: the index is at the tail all the same.
    let mut wrong = bytes.clone();
    put(&mut wrong, movi - 4, 5_000);
    let layout = look::<Avi>(&wrong).unwrap().layout.unwrap();
    assert_eq!(offsets(&layout), offsets(&plain));
    // Written to a pipe: nothing was filled in afterwards.
    let path = media.make("pipe.avi", &format!("{PICTURE} {SOUND} {MPEG4} -c:a mp2 -shortest -seekable 0 -f avi"));
    let bytes = std::fs::read(&path).unwrap();
    let layout = look::<Avi>(&bytes).unwrap().layout.unwrap();
    check_layout(&layout, bytes.len() as u64);
    assert_eq!(layout.tracks.len(), 2);
}

/// The chunks of the first list of media, their headers included.
fn chunks_of(bytes: &[u8]) -> Vec<&[u8]> {
    let movi = position(bytes, b"movi");
    let length = u32::from_le_bytes(bytes[movi - 4..movi].try_into().unwrap()) as usize;
    let mut chunks: Vec<&[u8]> = Vec::new();
    let mut rest = &bytes[movi + 4..movi + length];
    while rest.len() >= 8 {
        let length = 8 + u32::from_le_bytes(rest[4..8].try_into().unwrap()).next_multiple_of(2) as usize;
        chunks.push(&rest[..length]);
        rest = &rest[length..];
    }
    chunks
}

/// The same chunks, split over two RIFF chunks with indexes of OpenDML.
fn opendml(bytes: &[u8]) -> Vec<u8> {
    let chunks = chunks_of(bytes);
    let idx1 = &bytes[position(bytes, b"idx1") + 8..];
    let keys: Vec<bool> = idx1.chunks_exact(16).map(|entry| entry[4] & 0x10 != 0).collect();
    let chunk = |id: &[u8], body: &[u8]| [id, &(body.len() as u32).to_le_bytes(), body].concat();
    let list = |id: &[u8], kind: &[u8], body: &[u8]| chunk(id, &[kind, body].concat());
    let half = chunks.len() / 2;
    // The header with room for an index of two entries in the first stream.
    let strl = position(bytes, b"strl") - 8;
    let strl_length = u32::from_le_bytes(bytes[strl + 4..strl + 8].try_into().unwrap()) as usize;
    let strl_content = &bytes[strl + 12..strl + 8 + strl_length];
    // What ffmpeg reserved is left out.
    let junk = strl_content.windows(4).position(|window| window == b"JUNK" || window == b"indx").unwrap();
    let stream = &strl_content[..junk];
    let avih = &bytes[24..24 + 64];
    let header = |spans: &[(u64, u32, u32)]| {
        let mut indx = vec![4, 0, 0, 0, spans.len() as u8, 0, 0, 0];
        indx.extend(b"00dc");
        indx.extend([0; 12]);
        for (offset, length, units) in spans {
            indx.extend(offset.to_le_bytes());
            indx.extend(length.to_le_bytes());
            indx.extend(units.to_le_bytes());
        }
        let stream = [stream, &chunk(b"indx", &indx)].concat();
        list(b"LIST", b"hdrl", &[avih, &list(b"LIST", b"strl", &stream)].concat())
    };
    let head_length = 12 + header(&[(0, 0, 0), (0, 0, 0)]).len();
    let mut spans = Vec::new();
    let mut at = head_length;
    let mut bodies = Vec::new();
    for (part, keys) in [(&chunks[..half], &keys[..half]), (&chunks[half..], &keys[half..])] {
        let start = at + 12 + if bodies.is_empty() { 0 } else { 12 };
        let mut index = vec![2, 0, 0, 1];
        index.extend((part.len() as u32).to_le_bytes());
        index.extend(b"00dc");
        index.extend((start as u64).to_le_bytes());
        index.extend([0; 4]);
        let mut offset = 0;
        for (chunk, key) in part.iter().zip(keys) {
            let length = u32::from_le_bytes(chunk[4..8].try_into().unwrap());
            index.extend((offset + 8u32).to_le_bytes());
            index.extend((length | if *key { 0 } else { 1 << 31 }).to_le_bytes());
            offset += chunk.len() as u32;
        }
        let index = chunk(b"ix00", &index);
        spans.push((start as u64 + u64::from(offset), index.len() as u32, part.len() as u32));
        let movi = list(b"LIST", b"movi", &[part.concat(), index].concat());
        let body = if bodies.is_empty() { movi } else { list(b"RIFF", b"AVIX", &movi) };
        at += body.len();
        bodies.push(body);
    }
    let first = [&header(&spans)[..], &bodies[0]].concat();
    [list(b"RIFF", b"AVI ", &first), bodies[1].clone()].concat()
}

#[test]
fn indexes_of_opendml() {
    let media = Media::new("avi-opendml");
    let (plain, bytes) = check(&media, "film.avi", &format!("{PICTURE} {MPEG4}"));
    let path = media.write("opendml.avi", &opendml(&bytes));
    let bytes = std::fs::read(&path).unwrap();
    let layout = look::<Avi>(&bytes).unwrap().layout.unwrap();
    check_layout(&layout, bytes.len() as u64);
    agree(&layout, &probe(&path), 40);
    let packets = key_frames(&path);
    assert_eq!(offsets(&layout), packets.iter().map(|(_, offset)| *offset - 8).collect::<Vec<_>>());
    assert_eq!(layout.seek.len(), plain.seek.len());
    let indexes: Vec<_> = layout.first.iter().filter(|range| range.what == "indx").collect();
    assert_eq!(indexes.len(), 2);
    for range in indexes {
        assert!(bytes[range.offset as usize..].starts_with(b"ix00"), "{range:?}");
    }
}

/// With gigabytes of media in front of the index the cost stays the same.
#[test]
fn long_films_cost_two_rounds() {
    let media = Media::new("avi-long");
    let (plain, bytes) = check(&media, "film.avi", &format!("{PICTURE} {SOUND} {MPEG4} -c:a mp2 -shortest"));
    let at = bytes.len() - named(&plain, &bytes, "idx1").len();
    let movi = position(&bytes, b"movi");
    let mut head = bytes[..at.min(60_000)].to_vec();
    let more = 3_500_000_000u32;
    let length = u32::from_le_bytes(head[movi - 4..movi].try_into().unwrap());
    put(&mut head, movi - 4, length + more);
    let pieces = vec![(0, head), (at as u64 + u64::from(more), bytes[at..].to_vec())];
    let file = Sparse { size: bytes.len() as u64 + u64::from(more), pieces };
    let seen = look::<Avi>(&file).unwrap();
    assert!(seen.rounds <= 2 && seen.bytes < 1 << 20, "{} rounds, {} bytes", seen.rounds, seen.bytes);
    assert_eq!(offsets(&seen.layout.unwrap()), offsets(&plain));
}

#[test]
fn the_start_position_is_named() {
    let media = Media::new("avi-start");
    let (_, bytes) = check(&media, "film.avi", &format!("{PICTURE} {SOUND} {MPEG4} -c:a mp2 -shortest"));
    let how = Look { start_ms: Some(3_200), ..Look::default() };
    let layout = look_as::<Avi>(&bytes, &how).unwrap().layout.unwrap();
    let start = layout.first.iter().find(|range| range.what == "start").unwrap();
    assert_eq!(start.offset, layout.seek_before(3_200).unwrap().offset);
    assert!(layout.seek_before(3_200).unwrap().time_ms == 3_000);
}

/// All pictures, then all sound: a player starts at two places.
#[test]
fn the_start_of_sound_that_is_elsewhere_is_named() {
    let media = Media::new("avi-apart");
    let film = format!(
        "-f lavfi -i testsrc2=s=640x360:r=25:d=4 {SOUND} -c:v rawvideo -pix_fmt yuv420p -c:a pcm_s16le -shortest"
    );
    let (_, bytes) = check(&media, "film.avi", &film);
    let mut chunks = chunks_of(&bytes);
    chunks.sort_by_key(|chunk| chunk[1]);
    let (movi, mut at) = (position(&bytes, b"movi"), 4u32);
    let mut idx1 = Vec::new();
    for chunk in &chunks {
        idx1.extend([&chunk[..4], &0x10u32.to_le_bytes(), &at.to_le_bytes(), &chunk[4..8]].concat());
        at += chunk.len() as u32;
    }
    let index = [&b"idx1"[..], &(idx1.len() as u32).to_le_bytes(), &idx1].concat();
    let apart = [&bytes[..movi + 4], &chunks.concat(), &index].concat();
    let how = Look { start_ms: Some(2_500), ..Look::default() };
    let layout = look_as::<Avi>(&apart, &how).unwrap().layout.unwrap();
    check_layout(&layout, apart.len() as u64);
    let starts: Vec<u64> =
        layout.first.iter().filter(|range| range.what == "start").map(|range| range.offset).collect();
    assert_eq!((starts.len(), starts[0]), (2, layout.seek_before(2_500).unwrap().offset));
    let sound = &apart[starts[1] as usize..];
    assert!(sound.starts_with(b"01wb"));
    // Two bytes for each sample of 44 100 per second.
    let first =
        apart.len() - index.len() - chunks.iter().filter(|chunk| chunk[1] == b'1').map(|c| c.len()).sum::<usize>();
    let before = (starts[1] as usize - first) as f64 / 88_200.0;
    assert!((2.3..2.6).contains(&before), "{before} s");
}

#[test]
fn what_is_not_avi() {
    for bytes in [&b""[..], b"RIFF", b"RIFF\x10\0\0\0WAVEfmt ", b"FORM\0\0\0\0AVI ", &[0; 5000]] {
        assert!(look::<Avi>(bytes).unwrap().layout.is_none(), "{bytes:?}");
    }
}

#[test]
fn broken_copies() {
    let media = Media::new("avi-broken");
    let film = format!("-f lavfi -i testsrc2=s=64x36:r=10:d=2 {SOUND} -c:v mpeg4 -g 5 -c:a mp2 -t 2");
    let bytes = std::fs::read(media.make("film.avi", &film)).unwrap();
    hostile::<Avi>(&bytes);
    let silent = std::fs::read(media.make("silent.avi", "-f lavfi -i testsrc2=s=64x36:r=10:d=2 -c:v mpeg4")).unwrap();
    hostile::<Avi>(&opendml(&silent));
}
