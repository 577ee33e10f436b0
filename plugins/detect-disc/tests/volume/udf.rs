//! UDF images of our own making: authoring tools that are at hand make only the simplest.

use mediahost_plugin_sdk::detect::testing::Look;

use crate::builder::{Maps, PARTITION, Run, Udf, Width};
use crate::{broken_copies, check, fault, noise, read, try_read};

/// Some files of every kind, and what is in them.
fn fill(udf: &mut Udf) -> Vec<(&'static str, Vec<u8>)> {
    let block = udf.block;
    let mut files = Vec::new();
    for (seed, path, length) in [
        (1, "BDMV/index.bdmv", 300),
        (2, "BDMV/PLAYLIST/00800.mpls", block),
        (3, "BDMV/STREAM/00001.m2ts", 5 * block + 7),
        (4, "Zoë/日本.txt", 1),
        (5, "empty", 0),
    ] {
        let bytes = noise(seed, length);
        udf.add(path, &bytes);
        files.push((path, bytes));
    }
    let within = noise(6, 100);
    udf.add_within("within", &within);
    files.push(("within", within));
    // Parts out of order, with holes between them.
    let (one, two) = (udf.put(&noise(7, 2 * block)), udf.put(&noise(8, block + 9)));
    let hole = Run { block: None, length: 3 * block as u64 };
    let runs = [Run { length: block as u64, ..two }, hole, one, hole, two];
    let tail = udf.content(&runs);
    udf.file("BDMV/holes.bin", &runs);
    files.push(("BDMV/holes.bin", tail));
    for number in 0..70 {
        // Names that make the folder longer than a block.
        let name = format!("many/{number:02}-{}", "x".repeat(60)).leak();
        udf.add(name, &[number]);
        files.push((name, vec![number]));
    }
    files
}

const METADATA: Maps = Maps::Metadata { runs: 4 };

#[test]
fn every_kind_of_partition_and_descriptor() {
    let plain = Udf::default;
    for (what, mut udf) in [
        ("plain", plain()),
        ("short descriptors", Udf { width: Width::Short, is_extended: false, ..plain() }),
        ("extended descriptors", Udf { width: Width::Extended, ..plain() }),
        ("folders in their entries", Udf { folders_within: true, ..plain() }),
        ("lists over many blocks", Udf { most_descriptors: 2, ..plain() }),
        ("short lists over many blocks", Udf { most_descriptors: 2, width: Width::Short, ..plain() }),
        ("metadata in one run", Udf { maps: Maps::Metadata { runs: 1 }, ..plain() }),
        ("metadata in some runs", Udf { maps: METADATA, ..plain() }),
        ("metadata in many runs", Udf { maps: Maps::Metadata { runs: 40 }, folders_within: true, ..plain() }),
        ("metadata and lists over many blocks", Udf { maps: METADATA, most_descriptors: 2, ..plain() }),
        ("old entries in metadata", Udf { maps: METADATA, is_extended: false, ..plain() }),
        ("moved packets", Udf { maps: Maps::Sparable { moved: vec![2, 3, 5, 8] }, ..plain() }),
        ("virtual blocks", Udf { maps: Maps::Virtual, ..plain() }),
        ("blocks of 512", Udf { block: 512, ..plain() }),
        ("blocks of 4096", Udf { block: 4096, ..plain() }),
        ("blocks of 512 with metadata", Udf { block: 512, maps: METADATA, most_descriptors: 3, ..plain() }),
        ("blocks of 4096 with metadata", Udf { block: 4096, maps: METADATA, ..plain() }),
    ] {
        let files = fill(&mut udf);
        let image = udf.build();
        let seen = read(&image.sparse);
        assert_eq!((seen.tree.file_system, seen.tree.label.as_str(), seen.tree.is_cut), ("udf", "FILM", false));
        check(&image.sparse, &seen.tree, &files);
        assert!(seen.rounds <= 8, "{what}: {} rounds", seen.rounds);
        let endless = try_read(&image.sparse, &Look { endless: true, ..Look::default() });
        if udf.maps != Maps::Virtual {
            assert_eq!(endless.unwrap().unwrap().tree, seen.tree, "{what}");
        }
    }
}

/// Two films in turns, and a third file of both: 6000 extents, lists of 50 blocks.
#[test]
fn interleaved_films() {
    for maps in [METADATA, Maps::Plain] {
        let mut udf = Udf { maps, ..Udf::default() };
        let mut runs: Vec<Run> = Vec::new();
        for _ in 0..6000 {
            runs.push(udf.put_zeros(6144));
        }
        let every = |skip: usize| -> Vec<Run> { runs.iter().skip(skip).step_by(2).copied().collect() };
        udf.file("BDMV/STREAM/00001.m2ts", &every(0));
        udf.file("BDMV/STREAM/00002.m2ts", &every(1));
        udf.file("BDMV/STREAM/SSIF/00001.ssif", &runs);
        // All in turns again, so that nothing can be merged.
        let back: Vec<Run> = runs.iter().rev().copied().collect();
        udf.file("back", &back);
        let image = udf.build();
        let seen = read(&image.sparse);
        let place = |run: &Run| Some(u64::from(PARTITION + run.block.unwrap()) * 2048);
        for (path, expected) in
            [("BDMV/STREAM/00001.m2ts", every(0)), ("BDMV/STREAM/00002.m2ts", every(1)), ("back", back)]
        {
            let file = seen.tree.find(path).unwrap();
            let found: Vec<_> = file.extents.iter().map(|extent| (extent.offset, extent.length)).collect();
            assert_eq!(found, expected.iter().map(|run| (place(run), run.length)).collect::<Vec<_>>(), "{path}");
        }
        let both = &seen.tree.find("BDMV/STREAM/SSIF/00001.ssif").unwrap().extents;
        assert_eq!((both.len(), both[0].length), (1, 6000 * 6144));
        assert!(seen.rounds <= 10 && seen.bytes < 8 << 20, "{} rounds, {} bytes", seen.rounds, seen.bytes);
    }
}

/// A disc of 100 GB costs no more than a short one.
#[test]
fn long_films() {
    let mut udf = Udf { maps: METADATA, ..Udf::default() };
    let film = udf.put_zeros(90_000_000_000);
    udf.skip(1000);
    let extra = udf.put_zeros(5_000_000_001);
    udf.file("BDMV/STREAM/00001.m2ts", &[film]);
    udf.file("BDMV/STREAM/00002.m2ts", &[extra]);
    let image = udf.build();
    let seen = read(&image.sparse);
    let lengths: Vec<_> = seen.tree.files.iter().map(|file| (file.size(), file.extents.len())).collect();
    assert_eq!(lengths, [(90_000_000_000, 1), (5_000_000_001, 1)]);
    assert!(seen.rounds <= 4 && seen.bytes < 1 << 20, "{} rounds, {} bytes", seen.rounds, seen.bytes);
}

#[test]
fn damaged_metadata_is_read_from_its_mirror() {
    let mut udf = Udf { maps: METADATA, most_descriptors: 3, ..Udf::default() };
    let files = fill(&mut udf);
    let image = udf.build();
    let good = image.bytes();
    let (main, mirror) = image.metadata.unwrap();
    let smash = |offsets: &[u64]| {
        let mut bytes = good.clone();
        offsets.iter().for_each(|offset| bytes[*offset as usize..][..2048].fill(0x5A));
        bytes
    };
    for offset in image.blocks.iter().chain(&image.mirror_blocks).chain([&main, &mirror]) {
        let bytes = smash(&[*offset]);
        let seen = read(&bytes);
        check(&bytes, &seen.tree, &files);
        assert!(seen.rounds <= 12, "{} rounds", seen.rounds);
    }
    let all = smash(&image.blocks);
    check(&all, &read(&all).tree, &files);
    let message = fault(&smash(&[main, mirror]));
    assert!(message.contains("metadata file at block") && message.contains("mirror"), "{message}");
    let root = fault(&smash(&[image.entries[""], image.mirrored[""]]));
    assert!(root.contains("root directory"), "{root}");
    // A folder that is lost on both sides takes its files with it, and no others.
    let lost = smash(&[image.entries["BDMV/STREAM"], image.mirrored["BDMV/STREAM"]]);
    let left: Vec<_> = files.iter().filter(|(path, _)| !path.starts_with("BDMV/STREAM")).cloned().collect();
    check(&lost, &read(&lost).tree, &left);
}

#[test]
fn sequences_and_anchors() {
    let mut udf = Udf::default();
    let files = fill(&mut udf);
    let image = udf.build();
    let end = image.sparse.size / 2048;
    let [main, reserve] = image.sequences;
    let anchors = [256, end - 1, end - 257].map(|at| (at * 2048, 2048));
    let smash = |ranges: &[(u64, u64)]| {
        let mut bytes = image.bytes();
        ranges.iter().for_each(|(offset, length)| bytes[*offset as usize..][..*length as usize].fill(0));
        bytes
    };
    for (what, ranges) in [
        ("main sequence", vec![main]),
        ("reserve", vec![reserve]),
        ("first anchor", vec![anchors[0]]),
        ("first and last anchor", vec![anchors[0], anchors[1]]),
        ("first and inner anchor and main sequence", vec![anchors[0], anchors[2], main]),
        // The newest partition descriptor of the main sequence: the older one is wrong.
        ("terminator", vec![(main.0 + 5 * 2048, 2048)]),
        ("logical volume", vec![(main.0 + 3 * 2048, 2048)]),
    ] {
        let bytes = smash(&ranges);
        let seen = read(&bytes);
        check(&bytes, &seen.tree, &files);
        assert!(seen.rounds <= 8, "{what}: {} rounds", seen.rounds);
    }
    let message = fault(&smash(&[main, reserve]));
    assert!(message.contains("sequence") && message.contains(&main.0.to_string()), "{message}");
    let message = fault(&smash(&anchors));
    assert!(message.contains("no anchor"), "{message}");
}

#[test]
fn names_that_do_not_count_and_circles() {
    let mut udf = Udf { maps: METADATA, ..Udf::default() };
    let bytes = noise(1, 5000);
    for path in ["seen", "hidden", "deleted", "A/B/inner"] {
        udf.add(path, &bytes);
    }
    udf.flag("hidden", 1);
    udf.flag("deleted", 4);
    udf.link("A/B/again", "A");
    udf.link("A/root", "");
    udf.link("A/other", "seen");
    let image = udf.build();
    let expected = ["seen", "hidden", "A/B/inner", "A/other"].map(|path| (path, bytes.clone()));
    check(&image.sparse, &read(&image.sparse).tree, &expected);
}

#[test]
fn bounds() {
    let mut many = Udf::default();
    many.add("file", b"bytes");
    let mut deep = many.clone();
    (0..70_000).for_each(|number| many.link(&format!("{number}"), "file"));
    let seen = read(&many.build().sparse);
    assert!((60_000..=65_536).contains(&seen.tree.files.len()), "{} files", seen.tree.files.len());
    let mut path = String::new();
    for depth in 0..40 {
        path.push_str("folder/");
        // No two levels are near each other.
        deep.skip(1000);
        deep.add(&format!("{path}{depth}"), b"bytes");
    }
    let seen = read(&deep.build().sparse);
    assert_eq!(seen.tree.files.len(), 16);
}

/// Where nothing is near anything else, a walk costs rounds: it ends before the host loses patience.
#[test]
fn scattered_folders() {
    let mut udf = Udf { spread: 200, ..Udf::default() };
    let mut path = String::new();
    for depth in 0..16 {
        udf.add(&format!("{path}{depth}"), b"bytes");
        path.push_str("folder/");
    }
    let seen = read(&udf.build().sparse);
    assert!(seen.rounds <= 22 && seen.tree.files.len() >= 7, "{} files", seen.tree.files.len());
    let mut udf = Udf { spread: 200, ..Udf::default() };
    (0..3000).for_each(|number| udf.add(&format!("{number}"), b"bytes"));
    let seen = read(&udf.build().sparse);
    assert!(seen.rounds <= 6 && seen.tree.files.len() == 3000, "{} files", seen.tree.files.len());
}

#[test]
fn images_that_are_cut_short() {
    let mut udf = Udf { width: Width::Short, ..Udf::default() };
    let first = udf.put(&noise(1, 100_000));
    udf.file("first", &[first]);
    let image = udf.build();
    let good = image.bytes();
    // The folders are behind the file: an image without them has nothing.
    let message = fault(&good[..image.blocks[0] as usize]);
    assert!(message.contains("file set"), "{message}");
    let whole = &good[..good.len() - 299 * 2048];
    assert!(!read(whole).tree.is_cut);
    let mut udf = Udf { maps: METADATA, ..Udf::default() };
    let (before, film) = (udf.put(&noise(2, 10_000)), udf.put_zeros(0));
    udf.file("before", &[before]);
    udf.file("film", &[film, Run { block: Some(1_000_000), length: 5_000_000_000 }]);
    let seen = read(&udf.build().sparse);
    assert!(seen.tree.is_cut);
    assert_eq!(seen.tree.find("film").unwrap().size(), 5_000_000_000);
}

#[test]
fn broken_images() {
    for (block, maps) in [
        (512, METADATA),
        (2048, METADATA),
        (512, Maps::Plain),
        (512, Maps::Sparable { moved: vec![2, 3] }),
        (2048, Maps::Virtual),
    ] {
        let mut udf = Udf { block, maps, most_descriptors: 3, ..Udf::default() };
        fill(&mut udf);
        let good = udf.build().bytes();
        broken_copies(&good, 600, repair);
    }
}

/// Makes the checksums of a tag right, so that what it stands in front of is believed.
fn repair(block: &mut [u8]) {
    let length = usize::from(u16::from_le_bytes([block[10], block[11]]));
    if let Some(content) = block.get(16..16 + length) {
        let crc = content.iter().fold(0u16, |crc, byte| {
            (0..8).fold(
                crc ^ u16::from(*byte) << 8,
                |crc, _| {
                    if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
                },
            )
        });
        block[8..10].copy_from_slice(&crc.to_le_bytes());
    }
    block[4] = 0;
    block[4] = block[..16].iter().fold(0, |sum, byte| sum.wrapping_add(*byte));
}
