//! DVD-Video.

use crate::disc::{Disc, extents, ids};
use crate::write::{self, Cell, TitleSet, cell, manager, packs};
use detect_disc::titles::ifo;
use detect_disc::titles::scrambling::is_scrambled;

const SECTOR: u64 = 2048;

/// A disc of one title set with two VOBs of 40 packs that are not neighbours.
fn disc(set: &TitleSet) -> Disc {
    let mut disc = Disc::default();
    disc.put("VIDEO_TS/VIDEO_TS.IFO", manager(&(1..=set.titles.len()).map(|n| (1, n as u8)).collect::<Vec<_>>()));
    disc.put("VIDEO_TS/VTS_01_0.IFO", set.bytes());
    disc.put("VIDEO_TS/VTS_01_0.VOB", packs(4));
    disc.put("VIDEO_TS/VTS_01_1.VOB", packs(40));
    disc.put("VIDEO_TS/VTS_01_0.BUP", set.bytes());
    disc.put("VIDEO_TS/VTS_01_2.VOB", packs(40));
    disc
}

fn place(disc: &Disc, path: &str) -> u64 {
    disc.tree.find(path).unwrap().extents[0].offset.unwrap()
}

fn film() -> TitleSet {
    let cells = vec![cell(30, 49, 600), cell(0, 9, 300), cell(10, 19, 300)];
    TitleSet {
        chains: vec![cells, vec![cell(70, 79, 100)]],
        titles: vec![vec![1, 1, 1], vec![2]],
        ..TitleSet::default()
    }
}

#[test]
fn tables_are_read() {
    let bytes = film().bytes();
    let set = ifo::TitleSet::parse(&bytes).unwrap();
    let titles = set.titles();
    assert_eq!(titles.iter().map(|title| (title.number, title.chapters)).collect::<Vec<_>>(), [(1, 3), (2, 1)]);
    let chain = set.chain(1).unwrap();
    assert_eq!(chain.duration_ms(), 1_200_000);
    let cells: Vec<_> = chain.cells().iter().map(|cell| (cell.first, cell.last, cell.duration_ms)).collect();
    assert_eq!(cells, [(30, 49, 600_000), (0, 9, 300_000), (10, 19, 300_000)]);
    assert!(set.chain(0).is_none() && set.chain(3).is_none());
    let said: Vec<_> = set
        .tracks(Some(chain))
        .iter()
        .map(|track| {
            let language = track.language.as_deref().unwrap_or("-");
            format!("{:x} {} {language} {:?} {:?}", track.id, track.codec, track.height, track.channels)
        })
        .collect();
    assert_eq!(
        said,
        [
            "1e0 mpeg2video - Some(576) None",
            "80 ac3 en None Some(6)",
            "89 dts de None Some(2)",
            "21 dvd_subtitle fr None None"
        ]
    );
    let entries = ifo::titles(&manager(&[(2, 1), (1, 7)])).unwrap();
    assert_eq!(entries, [ifo::Entry { set: 2, title: 1 }, ifo::Entry { set: 1, title: 7 }]);
    for length in 0..bytes.len().min(4096) {
        assert!(ifo::TitleSet::parse(&bytes[..length]).is_none());
    }
}

#[test]
fn a_film_over_two_files() {
    let disc = disc(&film());
    let layout = disc.layout();
    assert_eq!((layout.format.as_str(), ids(&layout).as_str()), ("dvdvideo", "*VTS_01-1 VTS_01-2"));
    let (one, two) = (place(&disc, "VIDEO_TS/VTS_01_1.VOB"), place(&disc, "VIDEO_TS/VTS_01_2.VOB"));
    assert_eq!(
        extents(&layout, "VTS_01-1"),
        [(one + 30 * SECTOR, 10 * SECTOR), (two, 10 * SECTOR), (one, 20 * SECTOR)]
    );
    assert_eq!(extents(&layout, "VTS_01-2"), [(two + 30 * SECTOR, 10 * SECTOR)]);
    assert_eq!((layout.duration_ms, layout.titles[1].duration_ms), (Some(1_200_000), Some(100_000)));
    assert_eq!(layout.titles[1].name.as_deref(), Some("Title 2"));
    assert_eq!(layout.titles[0].media_type.as_deref(), Some("video/mpeg"));
    assert_eq!(layout.tracks.len(), 4);
    assert_eq!((layout.first[0].offset, layout.first[0].length), (one + 30 * SECTOR, 10 * SECTOR));
}

#[test]
fn the_main_title() {
    let chain = |cells: &[(u32, u32, u32)]| cells.iter().map(|(first, last, s)| cell(*first, *last, *s)).collect();
    let set = |chains: Vec<Vec<Cell>>| {
        let titles = (1..=chains.len() as u16).map(|chain| vec![chain]).collect();
        TitleSet { chains, titles, ..TitleSet::default() }
    };
    for (name, chains, expected) in [
        ("larger", vec![chain(&[(0, 70, 300)]), chain(&[(0, 9, 3000)])], "VTS_01-1 *VTS_01-2"),
        ("a loop", vec![chain(&[(0, 9, 3000); 3]), chain(&[(0, 9, 4000)])], "VTS_01-1 *VTS_01-2"),
        ("outside", vec![chain(&[(0, 199, 9000)]), chain(&[(0, 9, 3000)])], "VTS_01-1 *VTS_01-2"),
        ("lost its end", vec![chain(&[(0, 40, 9000), (41, 99, 9000)]), chain(&[(0, 9, 3000)])], "*VTS_01-1 VTS_01-2"),
        ("nowhere", vec![chain(&[(100, 199, 9000)]), chain(&[(0, 9, 3000)])], "*VTS_01-2"),
        ("backwards", vec![chain(&[(9, 0, 9000)]), chain(&[(0, 9, 3000)])], "*VTS_01-2"),
    ] {
        assert_eq!(ids(&disc(&set(chains)).layout()), expected, "{name}");
    }
    // The disc's own tables do not know the longest.
    let mut hidden = disc(&set(vec![chain(&[(0, 70, 6000)]), chain(&[(0, 9, 3000)])]));
    hidden.remove("VIDEO_TS/VIDEO_TS.IFO");
    assert_eq!(ids(&hidden.layout()), "*VTS_01-1 VTS_01-2");
    hidden.put("VIDEO_TS/VIDEO_TS.IFO", manager(&[(1, 2)]));
    assert_eq!(ids(&hidden.layout()), "VTS_01-1 *VTS_01-2");
}

#[test]
fn titles_of_several_chains() {
    let chains = vec![vec![cell(0, 9, 100)], vec![cell(20, 29, 100)], vec![cell(10, 19, 100)]];
    let disc = disc(&TitleSet { chains, titles: vec![vec![1, 1, 3, 2, 2]], ..TitleSet::default() });
    let layout = disc.layout();
    assert_eq!(extents(&layout, "VTS_01-1"), [(place(&disc, "VIDEO_TS/VTS_01_1.VOB"), 30 * SECTOR)]);
    assert_eq!(layout.duration_ms, Some(300_000));
}

#[test]
fn angles_are_titles_and_the_first_is_the_film() {
    // Two angles, their pieces in turns: sectors 10–13 and 18–21, 14–17 and 22–25.
    let angle = |first, last, category, number| Cell { category, name: (1, number), ..cell(first, last, 60) };
    let cells = vec![cell(0, 9, 60), angle(10, 21, 0x54, 2), angle(14, 25, 0xD4, 3), cell(26, 29, 60)];
    let addresses = vec![((1, 2), 10, 13), ((1, 3), 14, 17), ((1, 2), 18, 21), ((1, 3), 22, 25), ((2, 2), 10, 12)];
    let mut set = TitleSet { chains: vec![cells], titles: vec![vec![1]], addresses };
    let whole = disc(&set);
    let at = place(&whole, "VIDEO_TS/VTS_01_1.VOB");
    let layout = whole.layout();
    assert_eq!((ids(&layout).as_str(), layout.duration_ms), ("*VTS_01-1 VTS_01-1#2", Some(180_000)));
    let sectors = |first: u64, last: u64| (at + first * SECTOR, (last + 1 - first) * SECTOR);
    assert_eq!(extents(&layout, "VTS_01-1"), [sectors(0, 13), sectors(18, 21), sectors(26, 29)]);
    assert_eq!(extents(&layout, "VTS_01-1#2"), [sectors(0, 9), sectors(14, 17), sectors(22, 29)]);
    // Without addresses the mixture is all there is.
    set.addresses.clear();
    assert_eq!(extents(&disc(&set).layout(), "VTS_01-1"), [sectors(0, 21), sectors(26, 29)]);
}

#[test]
fn backups_and_discs_without_tables() {
    let mut disc = disc(&film());
    let whole = disc.layout();
    disc.spoil("VIDEO_TS/VTS_01_0.IFO");
    assert_eq!(format!("{whole:?}"), format!("{:?}", disc.layout()));
    disc.remove("VIDEO_TS/VTS_01_0.BUP");
    disc.put("VIDEO_TS/VTS_02_1.VOB", packs(81));
    let layout = disc.layout();
    assert_eq!((ids(&layout).as_str(), layout.duration_ms), ("VTS_01 *VTS_02", None));
    let (one, two) = (place(&disc, "VIDEO_TS/VTS_01_1.VOB"), place(&disc, "VIDEO_TS/VTS_01_2.VOB"));
    assert_eq!(extents(&layout, "VTS_01"), [(one, 40 * SECTOR), (two, 40 * SECTOR)]);
    // What is behind a part that is missing cannot be joined.
    disc.put("VIDEO_TS/VTS_02_3.VOB", packs(9));
    assert_eq!(extents(&disc.layout(), "VTS_02"), [(place(&disc, "VIDEO_TS/VTS_02_1.VOB"), 81 * SECTOR)]);
}

#[test]
fn encrypted_discs_are_refused() {
    let mut disc = disc(&film());
    let two = place(&disc, "VIDEO_TS/VTS_01_2.VOB");
    let vob = disc.pieces.iter_mut().find(|piece| piece.0 == two).unwrap();
    vob.1[5 * 2048 + 20] |= 0x10;
    assert!(disc.refusal().starts_with("encrypted: the disc is encrypted (CSS)"), "{}", disc.refusal());
    let mut pack = packs(1);
    for (at, value, expected) in
        [(20, 0x81, false), (20, 0xB1, true), (17, 0xBD, true), (17, 0xBE, false), (0, 1, false)]
    {
        pack[at] = value;
        assert_eq!(is_scrambled(&pack), expected, "{value:x} at {at}");
    }
    assert!(!is_scrambled(&pack[..20]));
}

#[test]
fn images_that_end_too_early_play_what_is_there() {
    let whole = disc(&film());
    let (one, two) = (place(&whole, "VIDEO_TS/VTS_01_1.VOB"), place(&whole, "VIDEO_TS/VTS_01_2.VOB"));
    let cut_at = |end: u64| {
        let mut cut = whole.clone();
        cut.cut(end);
        cut.layout()
    };
    let layout = cut_at(two + 100);
    assert_eq!(ids(&layout), "*VTS_01-1");
    assert_eq!(extents(&layout, "VTS_01-1"), [(one + 30 * SECTOR, 10 * SECTOR), (two, 100), (one, 20 * SECTOR)]);
    assert_eq!(extents(&cut_at(one + 5 * SECTOR), "VTS_01-1"), [(one, 5 * SECTOR)]);
    // The menu is all there is.
    assert_eq!(ids(&cut_at(one)), "*VIDEO_TS/VTS_01_0.VOB");
}

#[test]
fn many_title_sets() {
    let mut disc = Disc::default();
    let set = film().bytes();
    for number in 1..=99 {
        disc.put(&format!("VIDEO_TS/VTS_{number:02}_0.IFO"), set.clone());
        disc.put(&format!("VIDEO_TS/VTS_{number:02}_1.VOB"), packs(80));
    }
    let layout = disc.layout();
    assert_eq!((layout.titles.len(), layout.titles[0].main), (198, true));
}

#[test]
fn a_chain_without_a_time_of_its_own() {
    let mut bytes = write::TitleSet { chains: vec![vec![cell(0, 1, 61)]], titles: vec![vec![1]], ..film() }.bytes();
    let at = 4096 + 16 + 4;
    assert_eq!(bytes[at..at + 4], [0, 1, 1, 0x40]);
    let duration = |bytes: &[u8]| ifo::TitleSet::parse(bytes).unwrap().chain(1).unwrap().duration_ms();
    for (time, expected) in [
        ([1, 2, 3, 0x40], 3_723_000),
        ([1, 2, 3, 0x64], 3_723_960),
        ([1, 2, 3, 0xD5], 3_723_500),
        ([0, 0, 0, 0], 61_000),
        ([0xA0, 0, 0, 0x40], 61_000),
    ] {
        bytes[at..at + 4].copy_from_slice(&time);
        assert_eq!(duration(&bytes), expected, "{time:x?}");
    }
}
