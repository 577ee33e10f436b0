mod build;
mod fuzz;

use build::*;

use super::boxes::Header;
use super::*;

const SCALE: u32 = 1000;

/// `ftyp` and a `moov` with one track of pictures, whose samples last 40 ticks.
fn init() -> Vec<u8> {
    [ftyp(), moov(&[video(1, SCALE)], 40, NON_SYNC)].concat()
}

/// A fragment of ten samples.
fn fragment(time: u32, is_sync: bool) -> Vec<u8> {
    [moof(&[traf(1, time, 10, is_sync)]), mdat(100)].concat()
}

/// Gives an index what it wants of a file, and no byte more.
fn feed(index: &mut Index, file: &[u8]) -> Result<(), Error> {
    while let Some(wants) = index.wants() {
        let end = (file.len() as u64).min(wants.end);
        if wants.start >= end {
            break;
        }
        index.handle(wants.start, &file[wants.start as usize..end as usize])?;
    }
    Ok(())
}

fn read(file: &[u8]) -> Index {
    let mut index = Index::new(Limits::default(), Some(file.len() as u64));
    feed(&mut index, file).unwrap();
    assert!(index.wants().is_none());
    index
}

fn fails(file: &[u8]) -> Error {
    let mut index = Index::new(Limits::default(), Some(file.len() as u64));
    let error = feed(&mut index, file).unwrap_err();
    assert_eq!(index.handle(0, file), Err(error.clone()), "it stays");
    assert!(index.wants().is_none() && !index.complete());
    error
}

/// Segments in a line each: the boxes of its bytes, then start + duration, then `*` for a sync sample.
fn told(index: &Index, file: &[u8]) -> Vec<String> {
    index.segments().iter().map(|segment| line(segment, file)).collect()
}

fn line(segment: &Segment, file: &[u8]) -> String {
    let mut rest = &file[segment.bytes.start as usize..segment.bytes.end as usize];
    let mut boxes = Vec::new();
    while !rest.is_empty() {
        let header = Header::parse(rest, 0).unwrap().unwrap();
        boxes.push(header.kind.to_string());
        rest = &rest[header.length.map_or(rest.len(), |length| length as usize)..];
    }
    let sync = if segment.is_sync { " *" } else { "" };
    format!("{} {}+{}{sync}", boxes.join(" "), segment.start_ticks, segment.duration_ticks)
}

/// A whole file ends up as these segments, all of it known.
fn check(parts: &[Vec<u8>], expected: &[&str]) -> Index {
    let file = parts.concat();
    let index = read(&file);
    assert_eq!(told(&index, &file), expected);
    assert!(index.complete());
    assert_eq!((index.verdict(), index.known_to()), (Some(Verdict::Fragmented), file.len() as u64));
    // The same file, whose length is told in the end.
    let mut growing = Index::new(Limits::default(), None);
    feed(&mut growing, &file).unwrap();
    assert!(!growing.complete());
    growing.ended(file.len() as u64).unwrap();
    feed(&mut growing, &file).unwrap();
    assert!(growing.complete());
    assert_eq!((growing.segments(), growing.torn()), (index.segments(), index.torn()));
    index
}

#[test]
fn a_fragment_with_a_sync_sample_begins_a_segment() {
    let index = check(
        &[init(), fragment(0, true), fragment(400, false), fragment(800, true), fragment(1200, true)],
        &["moof mdat moof mdat 0+800 *", "moof mdat 800+400 *", "moof mdat 1200+400 *"],
    );
    assert_eq!(index.init(), Some(0..init().len() as u64));
    assert_eq!(index.timescale().unwrap().get(), SCALE);
    assert_eq!(index.torn(), None);
}

#[test]
fn a_styp_begins_a_segment_where_there_are_some() {
    let chunks = |time| [styp(), fragment(time, true), fragment(time + 400, true)].concat();
    check(
        &[init(), chunks(0), chunks(800)],
        &["styp moof mdat moof mdat 0+800 *", "styp moof mdat moof mdat 800+800 *"],
    );
    // One that turns up later does not make the others count for less.
    check(
        &[init(), fragment(0, true), fragment(400, true), styp(), fragment(800, false)],
        &["moof mdat 0+400 *", "moof mdat 400+400 *", "styp moof mdat 800+400"],
    );
}

#[test]
fn what_stands_before_a_fragment_belongs_to_it() {
    let (emsg, prft) = (make(b"emsg", [0; 20]), full(b"prft", 0, 0, &[1, 0, 0, 0]));
    let free = || make(b"free", [0; 9]);
    check(
        &[init(), free(), emsg.clone(), fragment(0, true), free(), prft, emsg, free(), fragment(400, true), free()],
        &["emsg moof mdat 0+400 *", "prft emsg free moof mdat 400+400 *"],
    );
    // What lies within a segment lies within its bytes, too.
    check(
        &[init(), fragment(0, true), free(), fragment(400, false), make(b"mfra", [0; 8])],
        &["moof mdat free moof mdat 0+800 *"],
    );
}

#[test]
fn the_first_track_of_pictures_tells_the_time() {
    let text = Trak { handler: b"text", ..video(7, 10) };
    let tracks = [text, audio(1, 8000), video(2, SCALE), video(3, 9)];
    let both = |time, is_sync| moof(&[traf(1, time * 8, 3, true), traf(2, time, 10, is_sync)]);
    let index = check(
        &[ftyp(), moov(&tracks, 40, 0), both(0, true), mdat(8), both(400, false), mdat(8), both(800, true), mdat(8)],
        &["moof mdat moof mdat 0+800 *", "moof mdat 800+400 *"],
    );
    assert_eq!(index.reference().unwrap().id, 2);
    let tracks: Vec<_> = index.tracks().iter().map(|track| (track.id, track.media, track.timescale.get())).collect();
    assert_eq!(tracks[..3], [(7, Media::Other, 10), (1, Media::Audio, 8000), (2, Media::Video, SCALE)]);
    let index = read(&[ftyp(), moov(&[Trak { handler: b"text", ..video(7, 10) }, audio(1, 8000)], 1, 0)].concat());
    assert_eq!(index.reference().unwrap().media, Media::Audio);
    assert!(index.complete() && index.segments().is_empty());
}

#[test]
fn fragments_of_one_track_each_go_together() {
    let tracks = || [ftyp(), moov(&[video(1, SCALE), audio(2, 8000)], 40, 0)].concat();
    let sound = |time: u32| [moof(&[traf(2, time, 10, true)]), mdat(8)].concat();
    check(
        &[tracks(), fragment(0, true), sound(0), fragment(400, true), sound(9)],
        &["moof mdat moof mdat 0+400 *", "moof mdat moof mdat 400+400 *"],
    );
    // Sound at the front waits for the pictures.
    check(&[tracks(), sound(0), fragment(80, true)], &["moof mdat moof mdat 80+400 *"]);
    // A segment with nothing of the reference track stands where the one before it ended.
    check(
        &[tracks(), styp(), fragment(0, true), styp(), sound(9)],
        &["styp moof mdat 0+400 *", "styp moof mdat 400+0"],
    );
}

/// One fragment of these boxes behind its `tfhd`.
fn one(tfhd: Vec<u8>, rest: &[Vec<u8>]) -> Vec<Vec<u8>> {
    vec![init(), moof(&[make(b"traf", [tfhd, rest.concat()].concat())]), mdat(8)]
}

#[test]
fn defaults_give_way_to_what_is_nearer() {
    let tfdt = || full(b"tfdt", 1, 0, &[0, 100]);
    let plain = || full(b"tfhd", 0, 0, &[1]);
    // From `trex`: 40 ticks, no sync sample.
    check(&one(plain(), &[tfdt(), full(b"trun", 0, 0, &[3])]), &["moof mdat 100+120"]);
    // From `tfhd`, with all that can stand before it.
    let tfhd = full(b"tfhd", 0, 0x3B, &[1, 0, 0, 1, 25, 999, 0x0200_0000]);
    check(&one(tfhd, &[tfdt(), full(b"trun", 0, 0, &[3])]), &["moof mdat 100+75 *"]);
    // From the samples: duration, size, flags, offset. Two runs; the earliest picture is not the first.
    let runs = [
        full(b"trun", 1, 0xF01, &[2, 0, 10, 99, 0x0200_0000, 30, 20, 99, NON_SYNC, 0]),
        full(b"trun", 1, 0x800, &[1, (-50i32).cast_unsigned()]),
    ];
    check(&one(plain(), &[&[tfdt()], &runs[..]].concat()), &["moof mdat 80+70 *"]);
    // The flags of the first sample.
    let run = full(b"trun", 0, 0x305, &[2, 0, 0x0200_0000, 7, 1, 8, 1]);
    check(&one(plain(), &[tfdt(), run]), &["moof mdat 100+15 *"]);
    // A run of nothing, and an interval of nothing.
    check(&one(full(b"tfhd", 0, 0x01_0008, &[1, 500]), &[tfdt(), full(b"trun", 0, 0, &[0])]), &["moof mdat 100+500"]);
    check(&one(plain(), &[tfdt()]), &["moof mdat 100+0"]);
}

#[test]
fn without_a_decode_time_it_goes_on() {
    let later = || moof(&[make(b"traf", [full(b"tfhd", 0, 0, &[1]), full(b"trun", 0, 0x4, &[5, 0])].concat())]);
    check(
        &[init(), fragment(1000, true), later(), mdat(8), later(), mdat(8)],
        &["moof mdat 1000+400 *", "moof mdat 1400+200 *", "moof mdat 1600+200 *"],
    );
}

#[test]
fn edit_lists_move_the_time() {
    let edited = |edits: &[(u32, i32)]| {
        let track = Trak { edits: edits.to_vec(), ..video(1, 10_000) };
        let file = [ftyp(), moov(&[track], 40, 0), fragment(0, true), fragment(400, true)].concat();
        let index = read(&file);
        index.segments().iter().map(|segment| (segment.start_ticks, segment.duration_ticks)).collect::<Vec<_>>()
    };
    assert_eq!(edited(&[(0, 0)]), [(0, 400), (400, 400)]);
    // What is cut off at the front is not played.
    assert_eq!(edited(&[(0, 80)]), [(0, 320), (320, 400)]);
    assert_eq!(edited(&[(0, 500)]), [(0, 0), (0, 300)]);
    // Empty edits count in the timescale of the movie, 1000.
    assert_eq!(edited(&[(50, -1), (7, 100)]), [(400, 400), (800, 400)]);
    assert_eq!(edited(&[(50, -1)]), [(0, 400), (400, 400)]);
}

#[test]
fn samples_of_the_movie_box_are_the_first_segment() {
    let track = Trak { samples: vec![(2, 40), (3, 50)], ..video(1, SCALE) };
    let later = moof(&[make(b"traf", [full(b"tfhd", 0, 0, &[1]), full(b"trun", 0, 0x4, &[5, 0])].concat())]);
    let head = [ftyp(), moov(&[track], 40, 0)].concat();
    check(&[head.clone(), mdat(9), later, mdat(8)], &["mdat 0+230 *", "moof mdat 230+200 *"]);
    let index = read(&[head.clone(), mdat(9)[..12].to_vec()].concat());
    assert_eq!((index.segments().len(), index.torn()), (0, Some(head.len() as u64)));
    let track = Trak { samples: vec![(4, 50)], offset: Some(80), edits: vec![(0, 60)], ..video(1, SCALE) };
    check(&[ftyp(), moov(&[track], 40, 0), mdat(9)], &["mdat 20+200 *"]);
}

#[test]
fn an_index_tells_all_at_once() {
    let refs = [media(300, 500), media(200, 250), Ref { access: None, ..media(100, 50) }];
    let sidx = sidx(1, 500, 50, 20, &refs);
    let head = [init(), sidx].concat();
    let file = [&head[..], &[0xEE; 620]].concat();
    let mut index = Index::new(Limits::default(), Some(file.len() as u64));
    index.handle(0, &head).unwrap();
    assert!(index.complete());
    let at = head.len() as u64 + 20;
    let expected = |from: u64, bytes: u64, start_ticks, duration_ticks, is_sync| Segment {
        bytes: at + from..at + from + bytes,
        start_ticks,
        duration_ticks,
        is_sync,
    };
    let segments =
        [expected(0, 300, 100, 1000, true), expected(300, 200, 1100, 500, true), expected(500, 100, 1600, 100, false)];
    assert_eq!(index.segments(), segments);
    assert_eq!(index.take_new(), segments);
    assert_eq!(index.take_new(), []);
    // A length that comes later takes out what is not there.
    let mut index = Index::new(Limits::default(), None);
    index.handle(0, &head).unwrap();
    assert_eq!((index.segments(), index.known_to()), (&segments[..], at + 600));
    index.ended(at + 550).unwrap();
    assert_eq!((index.segments(), index.torn(), index.complete()), (&segments[..2], Some(at + 500), true));
    let mut index = Index::new(Limits::default(), Some(at + 550));
    index.handle(0, &head).unwrap();
    assert_eq!((index.segments(), index.torn(), index.complete()), (&segments[..2], Some(at + 500), true));
}

#[test]
fn access_points_that_are_sync_samples() {
    for (access, expected) in [(None, false), (Some(0), true), (Some(1), true), (Some(2), true), (Some(3), false)] {
        let index = read(&[init(), sidx(1, SCALE, 0, 0, &[Ref { access, ..media(8, 1) }]), mdat(0)].concat());
        assert_eq!(index.segments()[0].is_sync, expected, "{access:?}");
    }
}

#[test]
fn indexes_of_indexes() {
    let pair = |time| [fragment(time, true), fragment(time + 400, true)].concat();
    let one = fragment(0, true).len();
    let leaf = |time, first_offset| sidx(1, SCALE, time, first_offset, &[media(one, 400), media(one, 400)]);
    let size = leaf(0, 0).len();
    let expected = ["moof mdat 0+400 *", "moof mdat 400+400 *", "moof mdat 800+400 *", "moof mdat 1200+400 *"];
    // Each before its own media.
    let root = sidx(1, SCALE, 0, 0, &[index(size + 2 * one, 800), index(size + 2 * one, 800)]);
    check(&[init(), root, leaf(0, 0), pair(0), leaf(800, 0), pair(800)], &expected);
    // All at the head.
    let root = sidx(1, SCALE, 0, 0, &[index(size, 800), index(size, 800)]);
    check(&[init(), root, leaf(0, size), leaf(800, 2 * one), pair(0), pair(800)], &expected);
    // One that leads to the next.
    let first = sidx(1, SCALE, 0, 0, &[media(one, 400), media(one, 400), index(size + 2 * one, 800)]);
    check(&[init(), first, pair(0), leaf(800, 0), pair(800)], &expected);
    // Behind what is covered, the file is read as any other.
    let mut more = vec![init(), leaf(0, 0), pair(0), leaf(800, 0), pair(800), fragment(1600, true)];
    check(&more, &[&expected[..], &["moof mdat 1600+400 *"]].concat());
    // Those of other tracks do not count.
    more[1] = sidx(2, SCALE, 0, 0, &[media(1, 1)]);
    more[3] = sidx(9, 0, 0, 0, &[]);
    let hopped = ["sidx moof mdat 0+400 *", "moof mdat 400+400 *", "sidx moof mdat 800+400 *", "moof mdat 1200+400 *"];
    check(&more, &[&hopped[..], &["moof mdat 1600+400 *"]].concat());
}

#[test]
fn indexes_that_lead_nowhere() {
    let at = init().len() as u64;
    let says = |parts: &[Vec<u8>], expected: &str| {
        let text = fails(&[&[init()], parts, &[mdat(5000)]].concat().concat()).to_string();
        assert!(text.contains(expected), "{text}");
    };
    says(&[sidx(1, 0, 0, 0, &[])], &format!("`sidx` at byte {at} is damaged: its timescale is zero"));
    says(&[sidx(1, 1, 0, 0, &[index(8, 1)])], "`mdat` at byte");
    let mut short = sidx(1, 1, 0, 0, &[media(8, 1)]);
    short[31] = 2;
    says(&[short], "it ends within its fields");
    let mut wide = full(b"sidx", 1, 0, &[1, 1, 0, 0, u32::MAX, u32::MAX, 0]);
    says(&[wide.clone()], "its offsets are beyond 64 bits");
    wide = full(b"sidx", 1, 0, &[1, 1, u32::MAX, u32::MAX, 0, 0, 1, 8, 9, 0]);
    says(&[wide], "its times are beyond 64 bits");
    // Two references to one index: its media would be there twice.
    let leaf = sidx(1, SCALE, 0, 100, &[media(8, 1)]);
    let root = sidx(1, SCALE, 0, 0, &[index(leaf.len(), 1), index(leaf.len(), 1)]);
    let again = sidx(1, SCALE, 0, 100 - leaf.len(), &[media(8, 1)]);
    says(&[root, leaf, again], "its segments overlap or stand out of order");
    let down: Vec<_> = (0..5).map(|_| sidx(1, SCALE, 0, 0, &[index(100, 1)])).collect();
    says(&down, "segment indexes within each other, at most 4");
    // References of no bytes are no loop.
    let none = sidx(1, SCALE, 0, 0, &[index(0, 1); 100]);
    check(&[init(), none, fragment(0, true)], &["moof mdat 0+400 *"]);
    // What was known before stays known, and how far.
    let file = [init(), sidx(1, SCALE, 0, 0, &[media(108, 1), index(8, 1), media(9, 9)]), mdat(100), mdat(99)].concat();
    let mut broken = Index::new(Limits::default(), None);
    feed(&mut broken, &file).unwrap_err();
    assert_eq!((broken.segments().len(), broken.known_to()), (1, broken.segments()[0].bytes.end));
    // An index that is cut off.
    let cut = [init(), sidx(1, SCALE, 0, 0, &[index(100, 1)])].concat();
    let index = read(&cut);
    assert_eq!((index.torn(), index.complete()), (Some(at), true));
}

#[test]
fn verdicts() {
    let is = |file: &[u8], expected| assert_eq!(read(file).verdict(), Some(expected), "{file:?}");
    is(&init(), Verdict::Fragmented);
    is(&[ftyp(), mdat(99), classic(&[video(1, 9)])].concat(), Verdict::Classic);
    is(&[ftyp(), classic(&[video(1, 9)]), mdat(99)].concat(), Verdict::Classic);
    is(&[make(b"ftyp", b"heic\0\0\0\0"), make(b"meta", [0; 9]), mdat(9)].concat(), Verdict::Classic);
    is(&[styp(), fragment(0, true)].concat(), Verdict::MediaOnly);
    is(&[styp(), sidx(1, 1, 0, 0, &[media(9, 9)]), fragment(0, true)].concat(), Verdict::MediaOnly);
    for other in [&b""[..], b"\0\0\0\x10fty", b"RIFF\x10\0\0\0WAVEfmt ", b"\0\0\0\x03hello", &[0; 4000]] {
        is(other, Verdict::NotIso);
    }
    let index = Index::new(Limits::default(), None);
    assert_eq!((index.verdict(), index.wants()), (None, Some(0..16)));
}

#[test]
fn sizes_of_every_kind() {
    let moov = moov(&[video(1, SCALE)], 40, 0);
    let moof = moof(&[traf(1, 0, 10, true)]);
    check(
        &[ftyp(), large(b"moov", &moov[8..]), large(b"moof", &moof[8..]), large(b"mdat", &[0; 30]), moof.clone()]
            .into_iter()
            .chain([endless(b"mdat", &[0; 30])])
            .collect::<Vec<_>>(),
        &["moof mdat 0+400 *", "moof mdat 400+400 *"],
    );
    check(&[ftyp(), endless(b"moov", &moov[8..])], &[]);
    // Four gigabytes of media are hopped over.
    let head = [ftyp(), moov, moof.clone(), vec![0, 0, 0, 1], b"mdat".to_vec(), (5u64 << 32).to_be_bytes().to_vec()];
    let mut index = Index::new(Limits::default(), None);
    index.handle(0, &head.concat()).unwrap();
    let next = head.concat().len() as u64 - 16 + (5 << 32);
    assert_eq!(index.wants(), Some(next..next + 16));
    index.handle(next, &moof).unwrap();
    assert_eq!(index.known_to(), (head.concat().len() - 16 - moof.len()) as u64);
    assert_eq!(index.open().unwrap().bytes.end, next);
}

#[test]
fn a_torn_tail_is_in_no_segment() {
    let whole = [init(), fragment(0, true), fragment(400, true)].concat();
    let last = [make(b"prft", [0; 20]), fragment(800, false)].concat();
    let file = [&whole[..], &last].concat();
    let free = [&whole[..], &make(b"free", [0; 40])[..20]].concat();
    for (end, start, length) in (whole.len() + 1..file.len()).map(|end| (end, whole.len(), 2)) {
        let index = read(&file[..end]);
        assert_eq!((index.segments().len(), index.torn()), (length, Some(start as u64)), "cut to {end}");
        assert_eq!(index.segments()[1].bytes.end, whole.len() as u64);
        let mut growing = Index::new(Limits::default(), None);
        feed(&mut growing, &file[..end]).unwrap();
        growing.ended(end as u64).unwrap();
        assert_eq!((growing.segments(), growing.torn()), (index.segments(), index.torn()), "cut to {end}");
        assert!(growing.complete() && index.complete());
    }
    let index = read(&free);
    assert_eq!((index.segments().len(), index.torn()), (2, Some(whole.len() as u64)));
    // Before the movie box is whole, nothing is known of it.
    let head = init();
    for end in 1..head.len() {
        let mut index = Index::new(Limits::default(), Some(end as u64));
        let told = feed(&mut index, &head[..end]);
        match end {
            ..8 => assert_eq!(index.verdict(), Some(Verdict::NotIso)),
            16 => assert_eq!(index.verdict(), Some(Verdict::Classic), "a whole `ftyp`"),
            _ => assert!(told.unwrap_err().to_string().contains("without a movie box"), "cut to {end}"),
        }
    }
}

#[test]
fn a_growing_file_tells_its_news() {
    let mut index = Index::new(Limits::default(), None);
    let mut file = init();
    let mut news = Vec::new();
    for fragments in 0..6 {
        file.extend(fragment(fragments * 400, fragments % 2 == 0));
        feed(&mut index, &file).unwrap();
        news.push(index.take_new().len());
        let known = index.segments().last().map_or(init().len() as u64, |segment| segment.bytes.end);
        assert_eq!(index.known_to(), known);
        assert_eq!(index.wants(), Some(file.len() as u64..file.len() as u64 + 16));
    }
    assert_eq!(news, [0, 0, 0, 1, 0, 1]);
    assert_eq!(line(&index.open().unwrap(), &file), "moof mdat 1600+400 *");
    index.ended(file.len() as u64).unwrap();
    assert_eq!(index.take_new().len(), 1);
    assert_eq!((index.open(), index.complete(), index.known_to()), (None, true, file.len() as u64));
    assert_eq!(index.ended(3), Ok(()), "a length is told once");
    assert_eq!(index.segments().len(), 3);
    // With a `styp`, a segment is finished as soon as the next one is announced.
    let mut index = Index::new(Limits::default(), None);
    index.handle(0, &[init(), styp(), fragment(0, true), styp()].concat()).unwrap();
    assert_eq!(index.take_new().len(), 1);
}

#[test]
fn recordings_one_behind_the_other() {
    let second = [init(), fragment(0, true), fragment(400, true)].concat();
    check(
        &[init(), fragment(8000, true), second.clone(), second, fragment(300, true), fragment(11_000, true)],
        &[
            "moof mdat 8000+400 *",
            "moof mdat 8400+400 *",
            "moof mdat 8800+400 *",
            "moof mdat 9200+400 *",
            "moof mdat 9600+400 *",
            "moof mdat 10000+400 *",
            "moof mdat 11000+400 *",
        ],
    );
    // A single wrong time.
    check(
        &[init(), fragment(800, true), fragment(3, true), fragment(1600, true)],
        &["moof mdat 800+400 *", "moof mdat 1200+400 *", "moof mdat 1600+400 *"],
    );
    // The last one is open: it stands where it will be.
    let file = [init(), fragment(800, true), fragment(800, true), fragment(1200, true), make(b"free", [])].concat();
    let mut index = Index::new(Limits::default(), None);
    feed(&mut index, &file).unwrap();
    assert_eq!(line(&index.open().unwrap(), &file), "moof mdat 1200+400 *");
}

#[test]
fn segments_are_found() {
    let index =
        read(&[init(), make(b"free", [0; 4]), fragment(80, true), fragment(480, true), fragment(1000, true)].concat());
    let [first, second, third] = index.segments() else { panic!("{index:?}") };
    for (ticks, expected) in [
        (0, Some(first)),
        (80, Some(first)),
        (479, Some(first)),
        (480, Some(second)),
        (999, Some(second)),
        (1000, Some(third)),
        (1399, Some(third)),
        (1400, None),
        (u64::MAX, None),
    ] {
        assert_eq!(index.at_time(ticks), expected, "{ticks}");
    }
    let head = init().len() as u64;
    for (offset, expected) in [
        (0, None),
        (head + 11, None),
        (first.bytes.start, Some(first)),
        (first.bytes.end - 1, Some(first)),
        (first.bytes.end, Some(second)),
        (third.bytes.end - 1, Some(third)),
        (third.bytes.end, None),
    ] {
        assert_eq!(index.at_byte(offset), expected, "{offset}");
    }
    assert_eq!(Index::new(Limits::default(), Some(9)).at_time(0), None);
}

#[test]
fn timescales() {
    let scale = read(&[ftyp(), moov(&[video(1, 90_000)], 40, 0)].concat()).timescale().unwrap();
    assert_eq!((scale.millis(90_001), scale.ticks(1001)), (1000, 90_090));
    assert_eq!((scale.ticks(u64::MAX), scale.millis(u64::MAX)), (u64::MAX, u64::MAX / 90));
}

#[test]
fn damage_names_its_byte() {
    let says = |parts: &[Vec<u8>], expected: &str| {
        let text = fails(&parts.concat()).to_string();
        assert!(text.starts_with(expected), "{text}");
    };
    let at = init().len();
    let [moov_at, mdat_at] = [ftyp().len(), at + moof(&[traf(1, 0, 10, true)]).len()];
    says(
        &[init(), fragment(0, true), vec![0xFF; 40]],
        &format!(r"the box `\xff\xff\xff\xff` at byte {}", mdat_at + 108),
    );
    says(&[init(), b"\0\0\0\x07free".to_vec()], &format!("the box `free` at byte {at} is damaged: it is shorter"));
    says(&[init(), large(b"free", &[])[..12].to_vec(), vec![0; 9]], &format!("the box `free` at byte {at} is damaged"));
    says(&[ftyp(), moov(&[], 40, 0)], &format!("the box `moov` at byte {moov_at} is damaged: it has no track"));
    says(&[ftyp(), moov(&[video(1, 0)], 40, 0)], "the box `mdhd` at byte ");
    says(&[init(), moof(&[make(b"traf", [])])], &format!("the box `traf` at byte {} is damaged: it has no", at + 24));
    let traf = make(b"traf", [full(b"tfhd", 0, 0, &[1]), full(b"trun", 0, 0x100, &[u32::MAX, 1])].concat());
    says(&[init(), moof(&[traf])], &format!("the box `trun` at byte {} is damaged: it ends", at + 24 + 8 + 16));
    let late = [full(b"tfhd", 0, 0, &[1]), full(b"tfdt", 1, 0, &[u32::MAX; 2]), full(b"trun", 0, 0, &[1])].concat();
    says(&[init(), moof(&[make(b"traf", late)])], &format!("the box `trun` at byte {} is damaged: its times", at + 68));
    let mut long = moof(&[build::traf(1, 0, 1, true)]);
    long[27] += 1;
    says(&[init(), long], &format!("the box `traf` at byte {} is damaged: it is longer than what", at + 24));
    says(
        &[ftyp(), [&[0, 0, 0, 1], &b"free"[..], &[0xFF; 8]].concat()],
        "the box `free` at byte 16 is damaged: it ends beyond",
    );
    says(&[ftyp(), mdat(10)[..12].to_vec()], "the box `mdat` at byte 16 is damaged: the file ends before it does");
}

#[test]
fn bounds() {
    let limits = Limits { segments: 2, moov_bytes: init().len() as u64, moof_bytes: 200, sidx_bytes: 60 };
    let says = |limits: Limits, parts: &[Vec<u8>], kept: usize, expected: &str| {
        for length in [None, Some(parts.concat().len() as u64)] {
            let mut index = Index::new(limits, length);
            let told = feed(&mut index, &parts.concat()).and_then(|()| index.ended(parts.concat().len() as u64));
            let text = told.unwrap_err().to_string();
            assert!(text.contains(expected), "{text}");
            assert_eq!(index.segments().len(), kept, "what is known stays");
        }
    };
    let four = [init(), fragment(0, true), fragment(1, true), fragment(2, true), fragment(3, true)];
    says(limits, &four, 2, "one too many: segments, at most 2");
    says(limits, &[init(), sidx(1, 1, 0, 0, &[media(8, 1); 3]), mdat(50)], 0, "is 68 bytes long, more than 60");
    says(Limits { sidx_bytes: 99, ..limits }, &[init(), sidx(1, 1, 0, 0, &[media(8, 1); 3]), mdat(50)], 2, "at most 2");
    says(limits, &[init(), fragment(0, true), make(b"moof", [0; 200])], 0, "is 208 bytes long, more than 200");
    says(limits, &[ftyp(), make(b"moov", [0; 999])], 0, "`moov` at byte 16 is 1007 bytes long");
    let free = vec![make(b"free", []); MAX_IDLE_BOXES + 1];
    says(limits, &[&[init()][..], &free].concat(), 0, "one too many: boxes without a fragment, at most 1024");
    check(&[&[init()][..], &free[..1000], &[fragment(0, true)], &free[..1000]].concat(), &["moof mdat 0+400 *"]);
    let none = sidx(1, 1, 0, 0, &[]);
    says(limits, &[&[init()][..], &vec![none; MAX_IDLE_BOXES + 1]].concat(), 0, "boxes without a fragment");
    let tracks: Vec<Trak> = (0..257).map(|id| video(id, 1)).collect();
    says(Limits::default(), &[ftyp(), moov(&tracks, 1, 0)], 0, "one too many: tracks, at most 256");
}
