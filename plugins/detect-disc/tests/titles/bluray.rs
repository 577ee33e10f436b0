//! Blu-ray discs.

use crate::disc::{Disc, extents, ids};
use crate::write::{self, AC3, DTS_HD, H264, Item, PGS, Playlist, UNIT, part, playlist};
use detect_disc::titles::clpi::{ClipInfo, Point};
use detect_disc::titles::{clpi, mpls};

const U: u64 = UNIT as u64;

fn disc(playlists: &[(&str, Playlist)], clips: &[(&str, usize)]) -> Disc {
    let mut disc = Disc::default();
    for (name, playlist) in playlists {
        disc.put(&format!("BDMV/PLAYLIST/{name}.mpls"), playlist.bytes());
    }
    for (name, units) in clips {
        disc.put(&format!("BDMV/STREAM/{name}.m2ts"), write::stream(*units));
    }
    disc
}

fn place(disc: &Disc, path: &str) -> u64 {
    disc.tree.find(path).unwrap().extents[0].offset.unwrap()
}

#[test]
fn playlists_are_read() {
    let mut whole = playlist(&[part("00001", 10, 70), part("00002", 0, 100)]);
    whole.items[1].angles = vec!["00003", "00004"];
    whole.chapters = 5;
    whole.streams = vec![H264, AC3, DTS_HD, PGS];
    let read = mpls::Playlist::parse(&whole.bytes()).unwrap();
    assert_eq!((read.items.len(), read.chapters, read.duration_ms(), read.angles()), (2, 5, 160_000, 3));
    assert_eq!((read.items[1].angle(2).0.0, read.items[1].angle(9).0.0), (*b"00004", *b"00002"));
    let tracks: Vec<_> = read.streams.iter().filter_map(|stream| stream.track()).collect();
    let said = |track: &mediahost_plugin_sdk::detect::Track| {
        let (id, codec, language) = (track.id, &track.codec, track.language.as_deref().unwrap_or("-"));
        format!("{id:x} {codec} {language} {:?} {:?} {:?}", track.height, track.sample_rate, track.channels)
    };
    assert_eq!(
        tracks.iter().map(said).collect::<Vec<_>>(),
        [
            "1011 h264 - Some(1080) None None",
            "1100 ac3 eng None Some(48000) None",
            "1101 dts deu None Some(48000) Some(2)",
            "1200 hdmv_pgs_subtitle fra None None None",
        ]
    );
    for version in [b"0100", b"0300", b"0400"] {
        let mut bytes = whole.bytes();
        bytes[4..8].copy_from_slice(version);
        assert_eq!(mpls::Playlist::parse(&bytes).is_some(), version != b"0400");
    }
    let bytes = whole.bytes();
    assert!((0..bytes.len()).all(|length| mpls::Playlist::parse(&bytes[..length]) != Some(read.clone())));
}

#[test]
fn entry_points_are_read_and_parts_trimmed() {
    let second = |s: u32| s * 45_000;
    // A point per second, 1000 packets each, over several coarse entries.
    let points: Vec<(u32, u32)> = (0..200).map(|s| (second(600 + s), 3 + 1000 * s)).collect();
    let info = ClipInfo::parse(&write::clip(200_000, &[0], &points)).unwrap();
    let rounded = |(time, packet): &(u32, u32)| Point { time: u64::from(time & !0xFF), packet: u64::from(*packet) };
    assert_eq!(info.points, points.iter().map(rounded).collect::<Vec<_>>());
    let size = 200_000 * clpi::PACKET;
    let unit = |packet: u64| packet * 192 / U * U;
    for (start, end, expected) in [
        (second(600), second(800), (0, size)),
        (0, u32::MAX, (0, size)),
        (second(610), second(700), (unit(10_003), unit(101_003))),
        (second(610) + 44_000, second(700) - 1000, (unit(10_003), unit(100_003))),
        (second(610) - 1000, second(700), (unit(9003), unit(101_003))),
        (second(900), second(950), (unit(199_003), size)),
        (second(0), second(1), (0, U)),
    ] {
        assert_eq!(info.bytes(0, start, end, size), expected, "{start} to {end}");
    }
    // The clip is shorter than its description.
    assert_eq!(info.bytes(0, second(700), second(800), 1000), (0, 1000));
    // Two clocks: the same times twice.
    let twice: Vec<(u32, u32)> = (0..20).map(|s| (second(s % 10), 32 * s)).collect();
    let info = ClipInfo::parse(&write::clip(640, &[0, 320], &twice)).unwrap();
    assert_eq!(info.bytes(0, second(3), second(5), 20 * U), (3 * U, 6 * U));
    assert_eq!(info.bytes(1, second(3), second(5), 20 * U), (13 * U, 16 * U));
    assert_eq!(info.bytes(0, second(3), second(50), 20 * U), (3 * U, 10 * U));
    assert_eq!(info.bytes(1, 0, second(50), 20 * U), (10 * U, 20 * U));
    // Without entry points everything is played.
    let info = ClipInfo::parse(&write::clip(640, &[0], &[])).unwrap();
    assert_eq!(info.bytes(0, second(3), second(5), 20 * U), (0, 20 * U));
    assert_eq!(ClipInfo::parse(b"HDMV0200"), Some(ClipInfo::default()));
}

#[test]
fn a_film_of_one_clip() {
    let mut film = playlist(&[part("00001", 0, 3600)]);
    film.streams.push(PGS);
    let disc = disc(&[("00800", film), ("00001", playlist(&[part("00002", 0, 60)]))], &[("00001", 512), ("00002", 2)]);
    let layout = disc.layout();
    assert_eq!((layout.format.as_str(), ids(&layout).as_str()), ("bluray", "00001.mpls *00800.mpls"));
    let at = place(&disc, "BDMV/STREAM/00001.m2ts");
    assert_eq!(extents(&layout, "00800.mpls"), [(at, 512 * U)]);
    assert_eq!((layout.duration_ms, layout.titles[1].duration_ms), (Some(3_600_000), Some(3_600_000)));
    assert_eq!(layout.titles[1].name.as_deref(), Some("LABEL"));
    assert_eq!(layout.titles[1].media_type.as_deref(), Some("video/mp2t"));
    assert_eq!(layout.bit_rate, Some(512 * U * 8 / 3600));
    assert_eq!(
        layout.tracks.iter().map(|track| track.codec.as_str()).collect::<Vec<_>>(),
        ["h264", "ac3", "hdmv_pgs_subtitle"]
    );
    let first: Vec<_> = layout.first.iter().map(|range| (range.offset, range.length, range.what.as_str())).collect();
    assert_eq!(first, [(at, 512 << 10, "head"), (at + 512 * U - (256 << 10), 256 << 10, "tail")]);
}

#[test]
fn a_film_of_many_clips_is_one_stream() {
    let items: Vec<Item> = ["00003", "00001", "00002"].map(|clip| part(clip, 0, 1000)).to_vec();
    let disc = disc(&[("00800", playlist(&items))], &[("00001", 3), ("00002", 4), ("00003", 5), ("00004", 100)]);
    let at = |clip: &str| place(&disc, &format!("BDMV/STREAM/{clip}.m2ts"));
    let layout = disc.layout();
    // The first and the second clip are neighbours on the disc, and so in the film.
    assert_eq!(extents(&layout, "00800.mpls"), [(at("00003"), 5 * U), (at("00001"), 7 * U)]);
    assert_eq!(layout.duration_ms, Some(3_000_000));
}

#[test]
fn the_main_playlist() {
    let one = |clip, s| playlist(&[part(clip, 0, s)]);
    let repeated = playlist(&vec![part("00002", 0, 600); 30]);
    let twice = playlist(&[part("00001", 0, 3000), part("00001", 0, 3000)]);
    let chapters = |chapters| Playlist { chapters, ..one("00001", 5000) };
    let sounds = Playlist { streams: vec![H264, AC3, DTS_HD], ..playlist(&[part("00002", 0, 5000)]) };
    let clips = [("00001", 8), ("00002", 400)];
    for (name, playlists, expected) in [
        ("a larger clip", vec![("00001", one("00002", 600)), ("00002", one("00001", 5000))], "00001.mpls *00002.mpls"),
        ("repeats", vec![("00001", repeated), ("00002", one("00001", 5000))], "00001.mpls *00002.mpls"),
        ("twice", vec![("00001", twice), ("00002", one("00001", 5000))], "*00001.mpls 00002.mpls"),
        ("missing", vec![("00001", one("00009", 9000)), ("00002", one("00001", 5000))], "*00002.mpls"),
        (
            "partly missing",
            vec![("00001", playlist(&[part("00002", 0, 9000), part("00009", 0, 9)])), ("00002", one("00001", 5000))],
            "00001.mpls *00002.mpls",
        ),
        (
            "duplicates",
            vec![("00001", chapters(1)), ("00002", chapters(1)), ("00003", one("00002", 60))],
            "*00001.mpls 00002.mpls 00003.mpls",
        ),
        ("ties by sound", vec![("00001", one("00001", 5000)), ("00002", sounds)], "00001.mpls *00002.mpls"),
        ("short ones", vec![("00001", one("00002", 119)), ("00002", one("00001", 121))], "00001.mpls *00002.mpls"),
    ] {
        assert_eq!(ids(&disc(&playlists, &clips).layout()), expected, "{name}");
    }
}

#[test]
fn parts_of_a_clip() {
    let points: Vec<(u32, u32)> = (0..100).map(|s| (s * 45_000, s * 32)).collect();
    let mut film = playlist(&[part("00001", 10, 20), part("00001", 20, 30), part("00001", 50, 60)]);
    film.items[1].is_seamless = true;
    let mut disc = disc(&[("00001", film)], &[("00001", 100)]);
    disc.put("BDMV/CLIPINF/00001.clpi", write::clip(3200, &[0], &points));
    let at = place(&disc, "BDMV/STREAM/00001.m2ts");
    // Nothing of the second part is played twice.
    assert_eq!(extents(&disc.layout(), "00001.mpls"), [(at + 10 * U, 21 * U), (at + 50 * U, 11 * U)]);
    disc.spoil("BDMV/CLIPINF/00001.clpi");
    assert_eq!(extents(&disc.layout(), "00001.mpls"), [(at, 100 * U); 2]);
    disc.put("BDMV/BACKUP/CLIPINF/00001.clpi", write::clip(3200, &[0], &points));
    assert_eq!(extents(&disc.layout(), "00001.mpls")[0], (at + 10 * U, 21 * U));
}

#[test]
fn angles_are_titles_and_the_first_is_the_film() {
    let mut film = playlist(&[part("00001", 0, 300), part("00002", 0, 300)]);
    film.items[1].angles = vec!["00003"];
    let disc = disc(&[("00001", film)], &[("00001", 1), ("00002", 2), ("00003", 3)]);
    let layout = disc.layout();
    assert_eq!(ids(&layout), "*00001.mpls 00001.mpls#2");
    let at = |clip: &str| place(&disc, &format!("BDMV/STREAM/{clip}.m2ts"));
    // A clip of one unit fills three sectors.
    assert_eq!(extents(&layout, "00001.mpls"), [(at("00001"), 3 * U)]);
    assert_eq!(extents(&layout, "00001.mpls#2"), [(at("00001"), U), (at("00003"), 3 * U)]);
}

#[test]
fn copies_of_playlists() {
    let film = playlist(&[part("00001", 0, 300)]);
    let mut whole = disc(&[("00001", film.clone()), ("00002", film.clone())], &[("00001", 1)]);
    whole.spoil("BDMV/PLAYLIST/00001.mpls");
    assert_eq!(ids(&whole.layout()), "*00002.mpls");
    whole.put("BDMV/BACKUP/PLAYLIST/00001.mpls", film.bytes());
    assert_eq!(ids(&whole.layout()), "*00001.mpls 00002.mpls");
    whole.remove("BDMV/PLAYLIST/00001.mpls");
    assert_eq!(ids(&whole.layout()), "*00001.mpls 00002.mpls");
    // Not a single playlist: the streams.
    let mut lost = disc(&[("00001", film)], &[("00001", 1), ("00002", 3)]);
    lost.spoil("BDMV/PLAYLIST/00001.mpls");
    assert_eq!(ids(&lost.layout()), "00001.m2ts *00002.m2ts");
}

#[test]
fn folders_of_camcorders_and_of_copies() {
    let film = playlist(&[part("00001", 0, 300)]);
    // Names are short on camcorders, and where a file system of the first level has cut them.
    for (root, stream) in [("PRIVATE/AVCHD/bdmv", "MTS"), ("copies/of/BDMV", "M2T")] {
        let mut disc = Disc::default();
        disc.put(&format!("{root}/playlist/00000.MPL"), film.bytes());
        disc.put(&format!("{root}/stream/00001.{stream}"), write::stream(1));
        assert_eq!(ids(&disc.layout()), "*00000.MPL");
    }
}

#[test]
fn encrypted_discs_are_refused() {
    let whole = disc(&[("00001", playlist(&[part("00001", 0, 300)]))], &[("00001", 40)]);
    let mut keys = whole.clone();
    keys.put("AACS/Unit_Key_RO.inf", vec![0; 100]);
    assert!(keys.refusal().starts_with("encrypted: the disc is encrypted (AACS)"), "{}", keys.refusal());
    let at = place(&whole, "BDMV/STREAM/00001.m2ts");
    let mut bits = whole.clone();
    let stream = bits.pieces.iter_mut().find(|piece| piece.0 == at).unwrap();
    stream.1.chunks_mut(UNIT).for_each(|unit| unit[0] |= 0xC0);
    assert!(bits.refusal().contains("(AACS)"));
    bits.spoil("BDMV/PLAYLIST/00001.mpls");
    assert!(bits.refusal().contains("(AACS)"));
    // Noise that is no transport stream says nothing.
    let mut noise = whole;
    noise.pieces.iter_mut().find(|piece| piece.0 == at).unwrap().1.fill(0xC0);
    assert_eq!(ids(&noise.layout()), "*00001.mpls");
}

#[test]
fn images_that_end_too_early_play_what_is_there() {
    let film = playlist(&[part("00001", 0, 3000), part("00002", 0, 3000)]);
    let whole = disc(
        &[("00001", playlist(&[part("00003", 0, 200)])), ("00800", film)],
        &[("00001", 10), ("00002", 20), ("00003", 5)],
    );
    let at = |clip: &str| place(&whole, &format!("BDMV/STREAM/{clip}.m2ts"));
    let cut_at = |end: u64| {
        let mut cut = whole.clone();
        cut.cut(end);
        cut.layout()
    };
    let layout = cut_at(at("00002") + 1000);
    assert_eq!(ids(&layout), "*00800.mpls");
    assert_eq!(extents(&layout, "00800.mpls"), [(at("00001"), 10 * U + 1000)]);
    assert_eq!(ids(&cut_at(at("00001") + 1)), "*00800.mpls");
    // Playlists that lead nowhere, and then no stream at all.
    let layout = cut_at(at("00001"));
    assert_eq!((layout.format.as_str(), layout.titles.len()), ("udf", 0));
}

#[test]
fn decoys_by_the_thousand_stay_within_the_bounds() {
    let mut disc = Disc::default();
    for number in 0..1500 {
        let s = 3000 + number;
        disc.put(&format!("BDMV/PLAYLIST/{number:05}.mpls"), playlist(&vec![part("00001", 0, s); 3]).bytes());
    }
    disc.put("BDMV/PLAYLIST/09999.mpls", playlist(&[part("00002", 0, 1000)]).bytes());
    disc.put("BDMV/STREAM/00001.m2ts", write::stream(4));
    disc.put("BDMV/STREAM/00002.m2ts", write::stream(4));
    let layout = disc.layout();
    assert_eq!(
        (layout.titles.len(), layout.titles.iter().find(|title| title.main).unwrap().id.as_str()),
        (512, "09999.mpls")
    );
}

#[test]
fn streams_in_many_pieces() {
    let mut pieces = disc(&[("00001", playlist(&[part("00001", 0, 300)]))], &[]);
    let at = pieces.claim("BDMV/STREAM/00009.m2ts", 200_000 * 2048);
    let every_second: Vec<_> = (0..65_536).map(|n| (Some(at + n * 4096), 2048)).collect();
    pieces.add("BDMV/STREAM/00001.m2ts", &every_second);
    assert_eq!(extents(&pieces.layout(), "00001.mpls").len(), 65_536);
    pieces.remove("BDMV/STREAM/00001.m2ts");
    let one_more: Vec<_> = (0..65_537).map(|n| (Some(at + n * 2049), 2048)).collect();
    pieces.add("BDMV/STREAM/00001.m2ts", &one_more);
    // The playlist cannot be served, the stream beside it can.
    assert_eq!(ids(&pieces.layout()), "*00009.m2ts");
}
