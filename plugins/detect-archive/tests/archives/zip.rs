//! ZIP.

use mediahost_plugin_sdk::detect::testing::Sparse;

use crate::host::{Folder, noise};
use crate::write::{Zipped, crc32, zip, zip_end};

fn film() -> Vec<u8> {
    noise(1, 300_000)
}

fn sample() -> Vec<u8> {
    noise(2, 400_000)
}

fn members() -> Vec<Zipped> {
    vec![
        Zipped::new("notes.txt", b"notes"),
        Zipped::new("Film/film.mkv", &film()),
        Zipped::new("Film/Sample/s.mkv", &sample()),
        Zipped { method: 8, ..Zipped::new("extra.mp4", &noise(3, 500_000)) },
        Zipped::new("empty.mkv", b""),
    ]
}

fn expect(archive: Vec<u8>) -> crate::host::Seen {
    let expected = [("Film/film.mkv", film()), ("Film/Sample/s.mkv", sample())];
    Folder::default().with("a.zip", archive).expect("a.zip", "zip", "Film/film.mkv", &expected)
}

#[test]
fn stored_members_are_titles() {
    let seen = expect(zip(&members(), b"", 0, b""));
    assert_eq!(seen.rounds, 2);
    let layout = seen.layout.unwrap();
    let title = &layout.titles[0];
    assert_eq!(layout.media_type.as_deref(), Some("application/zip"));
    assert_eq!((title.name.as_deref(), title.media_type.as_deref()), (Some("film.mkv"), Some("video/x-matroska")));
}

#[test]
fn comments_programs_in_front_and_what_comes_behind() {
    expect(zip(&members(), b"", 0, &[b'c'; 65_535]));
    // Offsets that count from the beginning of the archive, and from that of the file.
    let program = [b"MZ".to_vec(), noise(4, 70_000)].concat();
    for counted in [program.len() as u64, 0, 30_000] {
        expect(zip(&members(), &program, counted, b"a comment"));
        let wide: Vec<Zipped> = members().into_iter().map(|member| Zipped { wide: true, ..member }).collect();
        expect(zip(&wide, &program, counted, b"PK\x05\x06"));
    }
    expect([zip(&members(), b"", 0, b""), vec![0; 1000]].concat());
}

#[test]
fn data_descriptors_do_not_matter() {
    expect(zip(&members().into_iter().map(|member| Zipped { flags: 8, ..member }).collect::<Vec<_>>(), b"", 0, b""));
}

/// Between the directory and the end there is a signature, so that the length does not lead to the beginning.
#[test]
fn a_signature_behind_the_directory() {
    let archive = zip(&members(), b"", 0, b"");
    let end = archive.len() - 22;
    expect([&archive[..end], b"PK\x05\x05\x04\0abcd", &archive[end..]].concat());
}

#[test]
fn more_than_four_gibibytes_cost_the_same() {
    const LENGTH: u64 = 6_000_000_000;
    let first = Zipped { wide: true, ..Zipped::new("one.mkv", b"") };
    let second = Zipped { wide: true, ..Zipped::new("two.mkv", b"") };
    let (head, next) = (first.local(), second.local());
    let data = head.len() as u64;
    let second_at = data + LENGTH;
    let directory_at = second_at + next.len() as u64 + LENGTH + 1;
    let mut tail = [first.entry(0, LENGTH), second.entry(second_at, LENGTH + 1)].concat();
    tail.extend(zip_end(2, tail.len() as u64, directory_at, true, b""));
    let begin = noise(9, 1000);
    let second_data = second_at + next.len() as u64;
    let size = directory_at + tail.len() as u64;
    let pieces = vec![(0, head), (second_at, next), (second_data, begin.clone()), (directory_at, tail)];
    let folder = Folder::default().with("a.zip", Sparse { size, pieces });
    let seen = folder.seen("a.zip");
    assert!(seen.rounds <= 2 && seen.bytes < 1 << 20, "{} rounds, {} bytes", seen.rounds, seen.bytes);
    let layout = seen.layout.unwrap();
    let extents: Vec<u64> = layout.titles.iter().map(|title| title.extents[0].length).collect();
    assert_eq!((extents, layout.titles[1].main), (vec![LENGTH, LENGTH + 1], true));
    let source = folder.get("a.zip").unwrap();
    let mediahost_plugin_sdk::detect::ExtentOrigin::File((0, at)) = layout.titles[1].extents[0].origin else {
        panic!("{:?}", layout.titles[1])
    };
    assert_eq!(source.read(at, 1000), begin);
}

#[test]
fn names_that_are_not_utf8() {
    let real = "фильм.mkv";
    let name = b"_____.mkv".to_vec();
    let mut field = vec![0x75, 0x70, (5 + real.len()) as u8, 0, 1];
    field.extend(crc32(&name).to_le_bytes());
    field.extend(real.bytes());
    let members = [
        Zipped { name, extra: field.clone(), ..Zipped::new("", b"1234") },
        // The field belongs to another name.
        Zipped { extra: field, ..Zipped::new("other.mkv", b"123") },
        Zipped { name: b"\x81ber.mkv".to_vec(), ..Zipped::new("", b"12") },
        Zipped::new("../..//\\über.mkv", b"1"),
    ];
    let folder = Folder::default().with("a.zip", zip(&members, b"", 0, b""));
    let ids: Vec<String> = folder.layout("a.zip").titles.into_iter().map(|title| title.id).collect();
    assert_eq!(ids, [real, "other.mkv", "über.mkv", "über.mkv (2)"]);
}

#[test]
fn what_cannot_be_played_is_said() {
    let failure = |member: Zipped| {
        let members = [Zipped::new("readme.txt", b"text"), member];
        Folder::default().with("a.zip", zip(&members, b"", 0, b"")).failure("a.zip")
    };
    let film = Zipped::new("d/film.mkv", b"12345");
    let compressed = "unsupported: d/film.mkv is compressed";
    for (method, expected) in [(8, "(Deflate)"), (93, "(Zstandard)"), (77, "(method 77)")] {
        let expected = format!("{compressed} {expected}: only stored members can be played");
        assert_eq!(failure(Zipped { method, ..film.clone() }), expected);
    }
    let encrypted = "encrypted: d/film.mkv is encrypted and cannot be played";
    assert_eq!(failure(Zipped { flags: 1, ..film.clone() }), encrypted);
    assert_eq!(failure(Zipped { method: 99, ..film.clone() }), encrypted);
    assert_eq!(failure(Zipped { flags: 1 << 13, ..film }), "encrypted: the archive is encrypted, even the names in it");
}

/// What PKZIP writes when it encrypts the directory: a longer record at the end, which names the algorithm.
#[test]
fn encrypted_directories_are_said() {
    let wide: Vec<Zipped> = members().into_iter().map(|member| Zipped { wide: true, ..member }).collect();
    let mut archive = zip(&wide, b"", 0, b"");
    let record = archive.len() - 22 - 20 - 56;
    archive[record + 4] = 72;
    let mut more = vec![0; 28];
    more[18..20].copy_from_slice(&[0x10, 0x66]);
    archive.splice(record + 56..record + 56, more);
    let failure = Folder::default().with("a.zip", archive).failure("a.zip");
    assert_eq!(failure, "encrypted: the archive is encrypted, even the names in it");
}

#[test]
fn archives_without_anything_to_play() {
    let others = vec![Zipped::new("a.txt", b"1"), Zipped { method: 8, ..Zipped::new("b.xml", b"2") }];
    let link = Zipped { link: true, ..Zipped::new("link.mkv", b"../film.mkv") };
    for members in [vec![], others, vec![link]] {
        let folder = Folder::default().with("a.zip", zip(&members, b"", 0, b""));
        assert!(folder.layout("a.zip").titles.is_empty());
    }
}

#[test]
fn damage_is_said() {
    let good = zip(&members(), b"", 0, b"");
    let find = |needle: &[u8]| good.windows(4).position(|window| window == needle).unwrap();
    let broken = |at: usize, byte: u8| {
        let mut archive = good.clone();
        archive[at] = byte;
        Folder::default().with("a.zip", archive).failure("a.zip")
    };
    // The second entry is the film's: it begins behind "notes.txt" and the comment.
    let entry = find(b"PK\x01\x02") + 46 + 9 + 3;
    let local = good.windows(4).enumerate().filter(|(_, window)| window == b"PK\x03\x04").nth(1).unwrap().0;
    for (at, byte, expected) in [
        (find(b"PK\x05\x06"), 0, "damaged: the archive has no central directory"),
        (find(b"PK\x01\x02"), 0, "damaged: the central directory of the archive is not where"),
        (entry, 0, "damaged: entry 1 of the central directory is damaged"),
        (entry + 20, 77, "damaged: entry 1 of the central directory has two lengths"),
        (entry + 45, 77, "damaged: entry 1 of the central directory points beyond"),
        (local, 0, "damaged: there is no member"),
        (good.len() - 18, 1, "unsupported: this is the last of 2 volumes"),
    ] {
        let failure = broken(at, byte);
        assert!(failure.starts_with(expected), "{at}: {failure}");
    }
    let cut = good[..good.len() - 100].to_vec();
    assert!(Folder::default().with("a.zip", cut).failure("a.zip").starts_with("damaged"));
}

#[test]
fn what_is_no_archive() {
    for bytes in [&b""[..], b"MZ", b"PK", &[0; 5000], b"<html>"] {
        for name in ["a.zip", "a.tar", "a.rar", "a.mkv"] {
            let folder = Folder::default().with(name, bytes.to_vec());
            assert!(folder.look(name, false).unwrap().layout.is_none(), "{name}: {bytes:?}");
            assert!(folder.look(name, true).unwrap().layout.is_none(), "{name}: {bytes:?}");
        }
    }
    let endless = Folder::default().with("a", zip(&members(), b"", 0, b""));
    assert!(matches!(endless.look("a", true), Err(crate::host::Fault::Said(error)) if error.code == "unsupported"));
}
