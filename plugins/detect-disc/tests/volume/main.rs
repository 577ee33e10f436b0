//! File systems of discs, read as the host would have them read.
//!
//! Owns: what is expected of [`detect_disc::volume`].
//! Leaves to others: titles.

#[path = "../support/udf.rs"]
mod builder;
mod iso9660;
mod udf;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use detect_disc::tree::{Extent, File, Tree};
use detect_disc::volume;
use mediahost_plugin_sdk::detect::testing::{Fault, Look, Source, look_as};
use mediahost_plugin_sdk::detect::{Detector, ExtentOrigin, Layout, Stop, Subject, Title};

/// Shows the tree of a volume as a layout with a title for each file.
struct Volume;

impl Detector for Volume {
    fn detect(subject: &Subject) -> Result<Option<Layout>, Stop> {
        let Some(tree) = volume::read(subject)? else { return Ok(None) };
        let extent = |extent: &Extent| mediahost_plugin_sdk::detect::Extent {
            origin: extent.offset.map_or(ExtentOrigin::Zeros, |offset| ExtentOrigin::File((0, offset))),
            length: extent.length,
        };
        let title = |file: &File| Title {
            id: file.path.clone(),
            name: None,
            media_type: None,
            duration_ms: None,
            main: false,
            extents: file.extents.iter().map(extent).collect(),
            extra: Vec::new(),
        };
        let mut layout = Layout::new(tree.file_system);
        layout.media_type = Some(tree.label.clone());
        layout.duration_ms = tree.is_cut.then_some(0);
        layout.titles = tree.files.iter().map(title).collect();
        Ok(Some(layout))
    }
}

/// A tree, how often it asked, and the bytes that it was shown.
struct Seen {
    tree: Tree,
    rounds: u32,
    bytes: u64,
}

/// Reads a volume as the host does. `None` when there is none.
fn try_read(source: &(impl Source + ?Sized), how: &Look) -> Result<Option<Seen>, Fault> {
    let seen = look_as::<Volume>(source, how)?;
    let Some(layout) = seen.layout else { return Ok(None) };
    let extent = |extent: mediahost_plugin_sdk::detect::Extent| Extent {
        offset: match extent.origin {
            ExtentOrigin::File((_, offset)) => Some(offset),
            ExtentOrigin::Zeros => None,
        },
        length: extent.length,
    };
    let file = |title: Title| File { path: title.id, extents: title.extents.into_iter().map(extent).collect() };
    let tree = Tree {
        label: layout.media_type.unwrap_or_default(),
        file_system: if layout.format == "udf" { "udf" } else { "iso9660" },
        files: layout.titles.into_iter().map(file).collect(),
        is_cut: layout.duration_ms.is_some(),
    };
    Ok(Some(Seen { tree, rounds: seen.rounds, bytes: seen.bytes }))
}

fn read(source: &(impl Source + ?Sized)) -> Seen {
    try_read(source, &Look::default()).expect("the volume can be read").expect("there is a volume")
}

/// What is wrong with an image.
fn fault(source: &(impl Source + ?Sized)) -> String {
    match try_read(source, &Look::default()) {
        Err(Fault::Said(error)) if error.code == "damaged" => error.message,
        Err(fault) => panic!("{fault:?}"),
        Ok(seen) => panic!("{:?}", seen.map(|seen| seen.tree)),
    }
}

/// The bytes of a file by its extents.
fn content(source: &(impl Source + ?Sized), file: &File) -> Vec<u8> {
    let mut bytes = Vec::new();
    for extent in &file.extents {
        match extent.offset {
            Some(offset) => bytes.extend(source.read(offset, extent.length)),
            None => bytes.resize(bytes.len() + extent.length as usize, 0),
        }
    }
    bytes
}

/// Asserts that a volume has these files and no others, whatever their order.
fn check(source: &(impl Source + ?Sized), tree: &Tree, expected: &[(&str, Vec<u8>)]) {
    let mut found: Vec<&str> = tree.files.iter().map(|file| file.path.as_str()).collect();
    let mut paths: Vec<&str> = expected.iter().map(|(path, _)| *path).collect();
    found.sort_unstable();
    paths.sort_unstable();
    assert_eq!(found, paths);
    for (path, bytes) in expected {
        let file = tree.find(path).expect("the paths are the same");
        assert_eq!(file.size(), bytes.len() as u64, "{path}");
        assert!(content(source, file) == *bytes, "the content of {path} differs: {:?}", file.extents);
    }
}

/// Bytes that are different everywhere.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    (0..length).map(|_| random.below(256) as u8).collect()
}

/// Numbers that are the same for the same seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below.max(1)
    }
}

/// Reads broken copies of a good image: what is said of them does not matter as long as the rules of the host are kept.
/// `repair` makes the checksums right again, so that what is behind them is reached.
fn broken_copies(good: &[u8], mutations: u64, repair: impl Fn(&mut [u8])) {
    let blocks: Vec<usize> = (0..good.len() / 512).filter(|n| good[n * 512..][..512] != [0; 512]).collect();
    for seed in 0..mutations {
        let mut random = Random::new(seed);
        let mut bytes = good.to_vec();
        for _ in 0..=random.below(4) {
            let block = &mut bytes[blocks[random.below(blocks.len())] * 512..][..512];
            // Structures are at the beginning of blocks.
            let reach = if random.below(3) == 0 { 512 } else { 256 };
            let at = random.below(reach);
            match random.below(6) {
                0 => block[at] ^= 1 << random.below(8),
                1 => block[at] = random.below(256) as u8,
                2 => block[at..].iter_mut().take(4).for_each(|byte| *byte = 0xFF),
                3 => block[at..].iter_mut().take(4).for_each(|byte| *byte = 0),
                4 => block[at..].iter_mut().take(8).for_each(|byte| *byte = random.below(256) as u8),
                _ => block[at] = random.below(4) as u8,
            }
            repair(block);
        }
        if random.below(4) == 0 {
            bytes.truncate(random.below(good.len()));
        }
        survives(&bytes, &format!("mutated with seed {seed}"));
    }
    for length in (0..good.len()).step_by(good.len() / 300) {
        survives(&good[..length], &format!("cut to {length} bytes"));
    }
}

fn survives(bytes: &[u8], what: &str) {
    let how = Look { endless: bytes.len().is_multiple_of(3), ..Look::default() };
    let outcome = catch_unwind(AssertUnwindSafe(|| match try_read(bytes, &how) {
        Ok(None) => {}
        Ok(Some(seen)) => seen.tree.files.iter().for_each(|file| drop(file.ranges(0, u64::MAX))),
        Err(Fault::Said(error)) => assert!(error.code == "damaged" && !error.message.is_empty(), "{error:?}"),
        Err(Fault::Broke(rule)) => panic!("{rule}"),
    }));
    if let Err(panic) = outcome {
        eprintln!("{what}:");
        resume_unwind(panic);
    }
}

#[test]
fn what_is_no_disc() {
    for bytes in [vec![], vec![0; 10], vec![0; 100_000], noise(1, 400_000)] {
        assert!(try_read(&bytes, &Look::default()).unwrap().is_none());
    }
}
