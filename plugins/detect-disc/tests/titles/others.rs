//! HD DVDs, discs of files, and discs of nothing.

use crate::disc::{Disc, extents, ids};
use crate::write::packs;

#[test]
fn parts_of_an_hd_dvd_belong_together() {
    let mut disc = Disc::default();
    for (name, count) in [("FEATURE_2", 9), ("FEATURE_10", 3), ("FEATURE_1", 8), ("LOGO", 10)] {
        disc.put(&format!("HVDVD_TS/{name}.EVO"), packs(count));
    }
    disc.claim("HVDVD_TS/HV001I01.VTI", 9000);
    let layout = disc.layout();
    assert_eq!((layout.format.as_str(), ids(&layout).as_str()), ("hddvd", "*FEATURE_1.EVO LOGO.EVO"));
    let at = |name: &str| disc.tree.find(&format!("HVDVD_TS/{name}.EVO")).unwrap().extents[0].offset.unwrap();
    assert_eq!(extents(&layout, "FEATURE_1.EVO"), [(at("FEATURE_1"), 8 * 2048), (at("FEATURE_2"), 12 * 2048)]);
    disc.pieces.iter_mut().for_each(|piece| piece.1[20] |= 0x10);
    assert!(disc.refusal().contains("(AACS)"));
    disc.pieces.clear();
    assert_eq!(disc.layout().titles.len(), 2);
    disc.claim("AACS/VTKF.AACS", 10);
    assert!(disc.refusal().contains("(AACS)"));
}

#[test]
fn files_with_the_names_of_media_are_titles() {
    let mut disc = Disc::default();
    let film = disc.claim("films/A.MKV", 5 << 20);
    disc.claim("films/a.srt", 100);
    disc.claim("b.mp4", 3 << 20);
    disc.claim("MPEGAV/AVSEQ01.DAT", 70);
    disc.claim("setup/data.dat", 1 << 30);
    disc.claim("empty.mp3", 0);
    let layout = disc.layout();
    assert_eq!((layout.format.as_str(), ids(&layout).as_str()), ("udf", "*films/A.MKV b.mp4 MPEGAV/AVSEQ01.DAT"));
    let said: Vec<_> = layout.titles.iter().map(|title| (title.name.as_deref(), title.media_type.as_deref())).collect();
    assert_eq!(said[0], (Some("A.MKV"), Some("video/x-matroska")));
    assert_eq!(said[2].1, Some("video/mpeg"));
    assert_eq!(extents(&layout, "films/A.MKV"), [(film, 5 << 20)]);
    assert_eq!(layout.first.iter().map(|range| range.offset - film).collect::<Vec<_>>(), [0, (5 << 20) - (256 << 10)]);
}

#[test]
fn holes_of_files_are_zeros() {
    let mut disc = Disc::default();
    let at = disc.claim("other", 1 << 20);
    disc.add("a.ts", &[(Some(at), 2048), (None, 4096), (None, 2048), (Some(at + 2048), 5)]);
    disc.add("b.ts", &[(None, 1 << 20)]);
    let layout = disc.layout();
    assert_eq!(
        (ids(&layout).as_str(), extents(&layout, "a.ts")),
        ("*a.ts", vec![(at, 2048), (u64::MAX, 6144), (at + 2048, 5)])
    );
}

#[test]
fn nothing_to_play() {
    let mut disc = Disc::default();
    disc.claim("setup.exe", 1 << 20);
    let layout = disc.layout();
    assert_eq!((layout.format.as_str(), layout.titles.len(), layout.duration_ms), ("udf", 0, None));
}

#[test]
fn an_empty_folder_of_one_kind_leaves_room_for_another() {
    let mut disc = Disc::default();
    disc.claim("BDMV/STREAM/readme.txt", 10);
    disc.put("VIDEO_TS/VTS_01_1.VOB", packs(3));
    assert_eq!((disc.layout().format.as_str(), ids(&disc.layout()).as_str()), ("dvdvideo", "*VTS_01"));
}
