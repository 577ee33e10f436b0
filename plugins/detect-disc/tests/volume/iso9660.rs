//! Images by genisoimage and xorriso, and what of ISO 9660 they would take long to make.

use std::path::{Path, PathBuf};
use std::process::Command;

use mediahost_plugin_sdk::detect::testing::{Media, Sparse};

use crate::{broken_copies, check, content, fault, noise, read};

/// Files that are made into images.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("FILM/STREAM/00001.MTS", noise(1, 70_001)),
        ("FILM/STREAM/00002.MTS", noise(2, 2048)),
        ("FILM/INDEX.BDM", noise(3, 300)),
        ("EMPTY.TXT", Vec::new()),
        ("A/B/C/D/E/DEEP.TXT", noise(4, 1)),
    ]
}

/// Writes files into a folder and runs a program that makes an image of it.
fn make(media: &Media, files: &[(&str, Vec<u8>)], program: &str, arguments: &str) -> PathBuf {
    let image = media.write("disc.iso", b"");
    let folder = image.with_file_name("disc");
    let _ = std::fs::remove_dir_all(&folder);
    for (path, bytes) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    std::fs::remove_file(&image).unwrap();
    run(program, arguments, &image, &folder);
    image
}

fn run(program: &str, arguments: &str, image: &Path, folder: &Path) {
    let mut command = Command::new(program);
    command.args(arguments.split_whitespace()).arg("-o").arg(image).arg(folder);
    match command.output() {
        Ok(output) => assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => panic!("{program} is needed, run `make tools`: {error}"),
    }
}

#[test]
fn what_the_tools_make() {
    let media = Media::new("disc-tools");
    let mut unicode = files();
    unicode.push(("Zoë/a long name, 日本.txt", noise(5, 5000)));
    for (program, arguments, names, file_system) in [
        ("genisoimage", "-quiet -V FILM -iso-level 1", files(), "iso9660"),
        ("genisoimage", "-quiet -V FILM -input-charset utf-8 -J -joliet-long", unicode.clone(), "iso9660"),
        ("genisoimage", "-quiet -V FILM -input-charset utf-8 -udf", unicode.clone(), "udf"),
        ("genisoimage", "-quiet -V FILM -input-charset utf-8 -J -R -udf", unicode.clone(), "udf"),
        ("xorriso", "-as mkisofs -quiet -V FILM -iso-level 3 -input-charset utf-8 -J", unicode.clone(), "iso9660"),
        ("xorriso", "-as mkisofs -quiet -V FILM -iso-level 2", files(), "iso9660"),
    ] {
        let what = format!("{program} {arguments}");
        let bytes = std::fs::read(make(&media, &names, program, arguments)).unwrap();
        let seen = read(&bytes);
        assert_eq!((seen.tree.file_system, seen.tree.label.as_str()), (file_system, "FILM"), "{what}");
        assert!(!seen.tree.is_cut, "{what}");
        check(&bytes, &seen.tree, &names);
        assert!(seen.rounds <= 8, "{what}: {} rounds", seen.rounds);
    }
}

#[test]
fn bridges_with_an_unusable_side() {
    let media = Media::new("disc-bridge");
    let good = std::fs::read(make(&media, &files(), "genisoimage", "-quiet -V FILM -udf")).unwrap();
    let bytes = |ranges: &[(usize, usize)]| {
        let mut bytes = good.clone();
        ranges.iter().for_each(|(offset, length)| bytes[*offset..][..*length].fill(0));
        bytes
    };
    // Behind the last file there is nothing but padding and an anchor.
    let anchors = [(256 * 2048, 2048), (good.len() - 65_536, 65_536)];
    let without_udf = bytes(&anchors);
    let seen = read(&without_udf);
    assert_eq!(seen.tree.file_system, "iso9660");
    check(&without_udf, &seen.tree, &files());
    let root = u32::from_le_bytes(good[16 * 2048 + 158..][..4].try_into().unwrap()) as usize;
    let without_iso = bytes(&[(root * 2048, 2048)]);
    assert_eq!(read(&without_iso).tree.file_system, "udf");
    let message = fault(&bytes(&[anchors[0], anchors[1], (root * 2048, 2048)]));
    assert!(message.starts_with("UDF") && message.contains("anchor"), "{message}");
}

/// A directory record.
fn record(name: &[u8], flags: u8, start: u32, length: u32) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend(start.to_le_bytes().into_iter().chain(start.to_be_bytes()));
    bytes.extend(length.to_le_bytes().into_iter().chain(length.to_be_bytes()));
    bytes.extend([0; 7].into_iter().chain([flags, 0, 0, 1, 0, 0, 1, name.len() as u8]));
    bytes.extend_from_slice(name);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes[0] = bytes.len() as u8;
    bytes
}

/// A disc of this root directory.
fn disc(size: u64, records: &[Vec<u8>]) -> Sparse {
    const ROOT: u32 = 20;
    let records = [&[record(&[0], 2, ROOT, 2048), record(&[1], 2, ROOT, 2048)], records].concat();
    let mut primary = vec![0; 2048];
    primary[..7].copy_from_slice(b"\x01CD001\x01");
    primary[40..72].copy_from_slice(b"FILM                            ");
    primary[128..130].copy_from_slice(&2048u16.to_le_bytes());
    primary[156..190].copy_from_slice(&records[0]);
    let mut end = vec![0; 2048];
    end[..7].copy_from_slice(b"\xFFCD001\x01");
    let pieces = vec![(16 * 2048, primary), (17 * 2048, end), (u64::from(ROOT) * 2048, records.concat())];
    Sparse { size, pieces }
}

/// Level 3 in full: a film of 9 GB in three pieces that are not in a row.
#[test]
fn files_of_several_extents() {
    const PIECE: u32 = 4_294_965_248;
    let blocks = PIECE / 2048;
    let records = [
        record(b"FILM.MTS;1", 0x80, 1000 + blocks, PIECE),
        record(b"FILM.MTS;1", 0x80, 1000, PIECE),
        record(b"FILM.MTS;1", 0, 1000 + 2 * blocks, 777),
        // Another one right behind it, and one whose end is missing.
        record(b"FILM.MTS;2", 0, 30, 10),
        record(b"LAST.;1", 0x80, 40, 4096),
    ];
    let source = disc(20_000_000_000, &records);
    let seen = read(&source);
    let files: Vec<_> = seen
        .tree
        .files
        .iter()
        .map(|file| {
            let extents = file.extents.iter().map(|extent| (extent.offset.unwrap() / 2048, extent.length));
            (file.path.as_str(), extents.collect::<Vec<_>>())
        })
        .collect();
    let first = u64::from(blocks);
    assert_eq!(
        files,
        [
            ("FILM.MTS", vec![(1000 + first, u64::from(PIECE)), (1000, u64::from(PIECE)), (1000 + 2 * first, 777)]),
            ("FILM.MTS", vec![(30, 10)]),
            ("LAST", vec![(40, 4096)]),
        ]
    );
    assert!(!seen.tree.is_cut && seen.rounds <= 1, "{} rounds", seen.rounds);
    let cut = disc(6_000_000_000, &records);
    assert!(read(&cut).tree.is_cut);
}

#[test]
fn folders_that_are_not_there() {
    let records = [record(b"GONE", 2, 5_000_000, 2048), record(b"SELF", 2, 20, 2048), record(b"A.TXT;1", 0, 30, 100)];
    let source = disc(1_000_000, &records);
    let seen = read(&source);
    check(&source, &seen.tree, &[("A.TXT", vec![0; 100])]);
    assert!(seen.tree.is_cut);
    assert_eq!(content(&source, &seen.tree.files[0]).len(), 100);
    let mut empty = disc(1_000_000, &records);
    empty.pieces.pop();
    assert!(fault(&empty).contains("no root directory at offset 40960"));
    empty.pieces.remove(0);
    assert!(crate::try_read(&empty, &Default::default()).unwrap().is_none());
}

#[test]
fn broken_images() {
    let media = Media::new("disc-broken");
    for arguments in ["-quiet -J", "-quiet -udf"] {
        let good = std::fs::read(make(&media, &files(), "genisoimage", arguments)).unwrap();
        broken_copies(&good, 600, |_| {});
    }
}
