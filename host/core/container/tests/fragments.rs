//! Films with fragments that ffmpeg wrote, and what ffprobe says of their packets.
//!
//! Why not smaller: boxes by hand (`src/fragments/tests.rs`) have only what their author thinks of. The films lie in
//! `fixtures/`, whose README says how they were made.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use mediahost_container::fragments::{Index, Limits, Media, Verdict};

/// Feeds a film in reads of what is wanted. Media is never among it.
fn read(file: &[u8], length: Option<u64>) -> Index {
    let mut index = Index::new(Limits::default(), length);
    let mut bytes = 0;
    while let Some(wants) = index.wants().filter(|wants| wants.start < file.len() as u64) {
        let end = file.len().min(wants.end as usize);
        bytes += end - wants.start as usize;
        index.handle(wants.start, &file[wants.start as usize..end]).unwrap();
    }
    index.ended(file.len() as u64).unwrap();
    assert!(index.complete() && index.torn().is_none());
    assert_eq!((index.verdict(), index.known_to()), (Some(Verdict::Fragmented), file.len() as u64));
    let media: u64 = index.segments().iter().map(|segment| segment.bytes.end - segment.bytes.start).sum();
    assert!(bytes as u64 <= file.len() as u64 - media / 4, "{bytes} of {} bytes were read", file.len());
    index
}

/// What is expected of a segment: its first and last box by where they begin, start and duration.
type Row = (u64, u64, u64, u64);

/// `rows` name the bytes of each segment, its start, and its duration; `packets`, positions and times of the packets in
/// which ffprobe sees a key frame of the reference track, the first of each segment.
fn check(file: &[u8], timescale: u32, rows: &[Row], packets: &[(u64, u64)]) -> Index {
    let index = read(file, Some(file.len() as u64));
    assert_eq!(index.timescale().unwrap().get(), timescale);
    let told: Vec<Row> = index
        .segments()
        .iter()
        .map(|segment| (segment.bytes.start, segment.bytes.end, segment.start_ticks, segment.duration_ticks))
        .collect();
    assert_eq!(told, rows);
    assert!(index.segments().iter().all(|segment| segment.is_sync));
    assert_eq!(packets.len(), rows.len());
    for ((offset, time), segment) in packets.iter().zip(index.segments()) {
        assert_eq!(index.at_byte(*offset), Some(segment), "the packet at byte {offset}");
        assert_eq!(index.at_time(*time), Some(segment), "the packet at {time}");
    }
    assert_eq!(read(file, None).segments(), index.segments(), "a file of unknown length");
    // What a player gets first is the movie box, up to its end.
    let init = index.init().unwrap();
    assert_eq!(&file[4..8], b"ftyp");
    let moov = file.windows(4).position(|window| window == b"moov").unwrap() - 4;
    let length = u32::from_be_bytes(file[moov..moov + 4].try_into().unwrap());
    assert_eq!(init, 0..moov as u64 + u64::from(length));
    index
}

/// One fragment for each key frame, sound and pictures in one `moof`; no edit list, so that the first picture is two
/// frames of 1024 ticks late.
#[test]
fn key_frames() {
    let index = check(
        include_bytes!("fixtures/keyframe.mp4"),
        10_240,
        &[(1215, 4321, 2048, 10_240), (4321, 7317, 12_288, 10_240), (7317, 10_642, 22_528, 10_240)],
        &[(1547, 2048), (4621, 12_288), (7657, 22_528)],
    );
    let tracks: Vec<_> = index.tracks().iter().map(|track| (track.media, track.timescale.get())).collect();
    assert_eq!(tracks, [(Media::Video, 10_240), (Media::Audio, 8000)]);
}

/// The same with an edit list, which takes those two frames back.
#[test]
fn edit_list() {
    check(
        include_bytes!("fixtures/delay.mp4"),
        10_240,
        &[(1295, 4385, 0, 10_240), (4385, 7397, 10_240, 10_240), (7397, 10_738, 20_480, 10_240)],
        &[(1611, 0), (4701, 10_240), (7753, 20_480)],
    );
}

/// An index of each track before each fragment; that of the pictures tells. ffmpeg leaves the two frames out of it, by
/// which ffprobe finds the key frames at 2048, 12 288 and 22 528.
#[test]
fn an_index_before_each_fragment() {
    check(
        include_bytes!("fixtures/dash.mp4"),
        10_240,
        &[(1319, 4425, 0, 10_240), (4529, 7525, 10_240, 10_240), (7629, 10_954, 20_480, 10_240)],
        &[(1651, 2048), (4829, 12_288), (7969, 22_528)],
    );
}

/// One index of all.
#[test]
fn one_index() {
    let file = include_bytes!("fixtures/global.mp4");
    check(
        file,
        10_240,
        &[(816, 1634, 0, 10_240), (1634, 2471, 10_240, 10_240), (2471, 3287, 20_480, 10_240)],
        &[(1008, 2048), (1826, 12_288), (2663, 22_528)],
    );
    let mut index = Index::new(Limits::default(), Some(file.len() as u64));
    index.handle(0, &file[..816]).unwrap();
    assert_eq!(index.segments().len(), 3, "all is known from the head");
}

/// A `moof` for each track.
#[test]
fn a_fragment_for_each_track() {
    check(
        include_bytes!("fixtures/separate.mp4"),
        10_240,
        &[(1223, 4377, 2048, 10_240), (4377, 7421, 12_288, 10_240), (7421, 10_794, 22_528, 10_240)],
        &[(1423, 2048), (4577, 12_288), (7621, 22_528)],
    );
}

/// The samples up to the second key frame stand in the movie box.
#[test]
fn samples_in_the_movie_box() {
    check(
        include_bytes!("fixtures/samples.mp4"),
        10_240,
        &[(920, 1554, 2048, 10_240), (1554, 2399, 12_288, 10_240), (2399, 3223, 22_528, 10_240)],
        &[(928, 2048), (1754, 12_288), (2599, 22_528)],
    );
}

/// A fragment for each frame: each segment has ten.
#[test]
fn a_fragment_for_each_frame() {
    check(
        include_bytes!("fixtures/frames.mp4"),
        10_240,
        &[(736, 2486, 2048, 10_240), (2486, 4255, 12_288, 10_240), (4255, 6003, 22_528, 10_240)],
        &[(852, 2048), (2602, 12_288), (4371, 22_528)],
    );
}

/// Sound alone: each packet is a key frame, so each fragment of a second is a segment. The last packet is cut
/// short: with the 1024 ticks before the first sound it makes three seconds.
#[test]
fn sound() {
    check(
        include_bytes!("fixtures/audio.mp4"),
        8000,
        &[(692, 2980, 0, 8192), (2980, 5171, 8192, 8192), (5171, 7412, 16_384, 8192), (7412, 7780, 24_576, 448)],
        &[(832, 0), (3120, 8192), (5311, 16_384), (7520, 24_576)],
    );
}

/// Whatever byte a download breaks off at, what is whole before it is known, and nothing else.
#[test]
fn cut_anywhere() {
    let films: [&[u8]; 8] = [
        include_bytes!("fixtures/keyframe.mp4"),
        include_bytes!("fixtures/delay.mp4"),
        include_bytes!("fixtures/dash.mp4"),
        include_bytes!("fixtures/global.mp4"),
        include_bytes!("fixtures/separate.mp4"),
        include_bytes!("fixtures/samples.mp4"),
        include_bytes!("fixtures/frames.mp4"),
        include_bytes!("fixtures/audio.mp4"),
    ];
    for film in films {
        let whole = read(film, None);
        let start = whole.init().unwrap().end as usize;
        for end in (start..film.len()).step_by(7) {
            let mut index = Index::new(Limits::default(), Some(end as u64));
            index.handle(0, &film[..end]).unwrap();
            while let Some(wants) = index.wants() {
                index.handle(wants.start, &film[wants.start as usize..wants.end as usize]).unwrap();
            }
            assert!(index.complete(), "cut to {end}");
            // The last segment may have lost fragments; the others are what they were.
            let Some((last, before)) = index.segments().split_last() else { continue };
            assert_eq!(before, &whole.segments()[..before.len()], "cut to {end}");
            let known = &whole.segments()[before.len()];
            assert_eq!((last.bytes.start, last.start_ticks), (known.bytes.start, known.start_ticks), "cut to {end}");
            assert!(last.bytes.end <= known.bytes.end && last.bytes.end <= end as u64, "cut to {end}");
            // Between two fragments, nothing tells that one is missing.
            let is_told = last.bytes.end == end as u64 || index.torn().is_some_and(|torn| torn >= last.bytes.end);
            assert!(last == known || is_told, "cut to {end}");
        }
    }
}
