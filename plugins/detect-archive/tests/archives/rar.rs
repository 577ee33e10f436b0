//! RAR, of one file and of many.

use mediahost_plugin_sdk::detect::testing::Sparse;

use crate::host::{Folder, noise};
use crate::write::{Packed, block4, header5, rar};

fn film() -> Vec<u8> {
    noise(1, 250_000)
}

fn members() -> Vec<Packed> {
    vec![
        Packed::new("notes.nfo", b"notes"),
        Packed { folder: true, ..Packed::new("Film", b"") },
        Packed::new("Film/film.mkv", &film()),
        Packed { method: 3, ..Packed::new("other.mkv", &noise(2, 1000)) },
        Packed::new("Sample/s.avi", &noise(3, 40_000)),
        Packed { encrypted: true, ..Packed::new("secret.mp4", &noise(4, 96)) },
        Packed::new("last.mp3", &noise(5, 70_000)),
    ]
}

fn expected() -> Vec<(&'static str, Vec<u8>)> {
    vec![("Film/film.mkv", film()), ("Sample/s.avi", noise(3, 40_000)), ("last.mp3", noise(5, 70_000))]
}

/// The volumes under names of `film.part01.rar` or `film.rar`, `film.r00` and so on.
fn named(volumes: Vec<Vec<u8>>, counted: bool) -> Vec<(String, Vec<u8>)> {
    let name = |number: usize| match (counted, number) {
        (true, number) => format!("film.part{:02}.rar", number + 1),
        (false, 0) => "film.rar".into(),
        (false, number) => format!("film.{}{:02}", char::from(b'r' + ((number - 1) / 100) as u8), (number - 1) % 100),
    };
    volumes.into_iter().enumerate().map(|(number, bytes)| (name(number), bytes)).collect()
}

#[test]
fn stored_members_are_titles() {
    for version in [4, 5] {
        let archive = rar(version, &members(), usize::MAX).remove(0);
        let seen = Folder::default().with("a.rar", archive).expect("a.rar", "rar", "Film/film.mkv", &expected());
        assert_eq!(seen.asked, ["a.rar"]);
        assert_eq!(seen.layout.unwrap().media_type.as_deref(), Some("application/vnd.rar"));
    }
}

#[test]
fn sets_of_volumes() {
    for version in [4, 5] {
        for counted in [true, false] {
            for room in [3_000, 20_000, 90_000, 250_005, 361_101 - 1] {
                let volumes = named(rar(version, &members(), room), counted);
                let seen = Folder::of(&volumes).expect(&volumes[0].0, "rar", "Film/film.mkv", &expected());
                let (asked, there) = (seen.asked.len(), volumes.len());
                assert!(asked <= 2 * there + 2, "{asked} files were asked for, {there} are there");
                assert!(seen.rounds <= 16, "version {version}, {there} volumes: {} rounds", seen.rounds);
            }
        }
    }
}

/// Twelve episodes in 120 volumes: each goes on where the one before ends.
#[test]
fn episodes_over_many_volumes() {
    let names: Vec<String> = (1..=12).map(|number| format!("S01E{number:02}.mkv")).collect();
    let episodes: Vec<Packed> =
        names.iter().zip(1..).map(|(name, seed)| Packed::new(name, &noise(seed, 10_000 - seed as usize))).collect();
    let expected: Vec<(&str, Vec<u8>)> =
        episodes.iter().map(|episode| (episode.name.as_str(), episode.bytes.clone())).collect();
    for version in [4, 5] {
        let volumes = named(rar(version, &episodes, 1_000), false);
        let seen = Folder::of(&volumes).expect("film.rar", "rar", "S01E01.mkv", &expected);
        assert!(seen.rounds <= 14, "{} rounds", seen.rounds);
    }
}

/// One film in 200 volumes: the number of them follows from the lengths, so that one round finds them.
#[test]
fn many_volumes_cost_few_rounds() {
    let film = noise(7, 400_000);
    for version in [4, 5] {
        let volumes = named(rar(version, &[Packed::new("film.mkv", &film)], 2_000), false);
        assert_eq!(volumes.len(), 200);
        let folder = Folder::of(&volumes);
        let seen = folder.expect("film.rar", "rar", "film.mkv", &[("film.mkv", film.clone())]);
        assert_eq!((seen.rounds, seen.asked.len()), (2, 200));
        assert_eq!(seen.layout.unwrap().titles[0].extents.len(), 200);
    }
    let volumes = named(rar(5, &[Packed::new("film.mkv", &film)], 1_000), true);
    let failure = Folder::of(&volumes).failure("film.part01.rar");
    assert_eq!(failure, "unsupported: film.mkv is spread over too many volumes");
}

#[test]
fn later_volumes_name_the_first() {
    for version in [4, 5] {
        for (counted, third, first) in [(true, "film.part03.rar", "film.part01.rar"), (false, "film.r01", "film.rar")] {
            let folder = Folder::of(&named(rar(version, &members(), 90_000), counted));
            let expected = format!("unsupported: this is volume 3 of a set: open the first, {first}");
            assert_eq!(folder.failure(third), expected);
        }
        // Nothing goes on from the volume before: the film ends with it.
        let two = [Packed::new("a.mkv", &[1; 500]), Packed::new("b.mkv", &[2; 500])];
        let folder = Folder::of(&named(rar(version, &two, 500), true));
        assert!(folder.failure("film.part02.rar").ends_with("open the first, film.part01.rar"));
    }
}

#[test]
fn lost_volumes_are_named() {
    for version in [4, 5] {
        let mut volumes = named(rar(version, &members(), 90_000), true);
        volumes.remove(1);
        let failure = Folder::of(&volumes).failure("film.part01.rar");
        assert_eq!(failure, "unsupported: Film/film.mkv goes on in film.part02.rar, which is not there");
        // Without the last volume the film is whole and a song is not.
        let mut volumes = named(rar(version, &members(), 90_000), true);
        volumes.pop();
        Folder::of(&volumes).expect("film.part01.rar", "rar", "Film/film.mkv", &expected()[..2]);
        // Another set's volume in its place.
        let mut volumes = named(rar(version, &members(), 90_000), true);
        volumes.swap(1, 2);
        let (first, third) = (volumes[1].0.clone(), volumes[2].0.clone());
        (volumes[1].0, volumes[2].0) = (third, first);
        volumes[1].1 = rar(version, &[Packed::new("x.mkv", b"1")], 100).remove(0);
        assert!(Folder::of(&volumes).failure("film.part01.rar").starts_with("damaged: film.part0"));
        volumes[1].1 = b"<html>not found</html>".to_vec();
        let failure = Folder::of(&volumes).failure("film.part01.rar");
        assert!(failure.ends_with(".rar is not a volume of this set"), "{failure}");
    }
    let volume = rar(5, &members(), 90_000).remove(0);
    let failure = Folder::default().with("movie", volume).failure("movie");
    assert_eq!(failure, "unsupported: Film/film.mkv goes on in another volume, which is not there");
}

/// Of what lies behind the last volume nothing is read.
#[test]
fn strangers_behind_the_set_do_not_matter() {
    for version in [4, 5] {
        let members = [Packed::new("a.mkv", &noise(1, 10_000)), Packed::new("b.mkv", &noise(2, 200))];
        let mut volumes = named(rar(version, &members, 3_000), true);
        volumes.push((format!("film.part{:02}.rar", volumes.len() + 1), b"<html>".to_vec()));
        let expected = [("a.mkv", noise(1, 10_000)), ("b.mkv", noise(2, 200))];
        Folder::of(&volumes).expect("film.part01.rar", "rar", "a.mkv", &expected);
    }
}

#[test]
fn what_cannot_be_played_is_said() {
    for version in [4, 5] {
        let failure = |member: Packed| {
            Folder::default().with("a.rar", rar(version, &[member], usize::MAX).remove(0)).failure("a.rar")
        };
        let film = Packed::new("d/film.mkv", b"12345");
        assert_eq!(
            failure(Packed { method: 5, ..film.clone() }),
            "unsupported: d/film.mkv is compressed (RAR, best): only stored members can be played"
        );
        assert_eq!(
            failure(Packed { encrypted: true, ..film }),
            "encrypted: d/film.mkv is encrypted and cannot be played"
        );
    }
    let locked = [
        [&b"Rar!\x1A\x07\0"[..], &block4(0x73, 0x80, &[0; 6]), &noise(1, 64)].concat(),
        [&b"Rar!\x1A\x07\x01\0"[..], &header5(&[4, 0, 0, 0, 15], &[7; 16]), &noise(1, 64)].concat(),
    ];
    for archive in locked {
        let failure = Folder::default().with("a.rar", archive).failure("a.rar");
        assert_eq!(failure, "encrypted: the archive is encrypted, even the names in it");
    }
}

#[test]
fn damage_is_said() {
    for (version, about) in [(4, 7), (5, 8)] {
        let good = rar(version, &[Packed::new("film.mkv", &[1; 600])], usize::MAX).remove(0);
        let failure = |archive: Vec<u8>| Folder::default().with("a.rar", archive).failure("a.rar");
        let data = good.windows(600).position(|window| window == [1; 600]).unwrap();
        for at in (about..data).chain(data + 600..good.len() - 2) {
            let mut archive = good.clone();
            archive[at] ^= 1;
            let failure = failure(archive);
            assert!(failure.starts_with("damaged: the header at offset "), "{version}, {at}: {failure}");
        }
        let cut = failure(good[..good.len() - 100].to_vec());
        assert!(cut.starts_with("damaged: a.rar ends before the data of its header at offset "), "{cut}");
    }
}

/// Recovery records, comments and an archive that ends without a word.
#[test]
fn other_headers_are_passed_over() {
    let film = Packed::new("film.mkv", b"12345");
    let four = rar(4, std::slice::from_ref(&film), usize::MAX).remove(0);
    let service = [block4(0x7A, 0x8000, &[[3, 0, 0, 0].as_slice(), &[0; 30]].concat()), b"abc".to_vec()].concat();
    let old = [block4(0x78, 0x8000, &[2, 0, 0, 0]), b"ab".to_vec()].concat();
    let five = rar(5, &[film], usize::MAX).remove(0);
    let comment = [header5(&[3, 2, 3, 0, 3, 0, 0, 0, 3], b"CMT"), b"abc".to_vec()].concat();
    let later = header5(&[99, 4], b"from the future");
    for archive in [
        [&four[..20], &service, &old, &four[20..]].concat(),
        four[..four.len() - 7].to_vec(),
        [&five[..16], &comment, &later, &five[16..]].concat(),
    ] {
        let folder = Folder::default().with("a.rar", archive);
        folder.expect("a.rar", "rar", "film.mkv", &[("film.mkv", b"12345".to_vec())]);
    }
}

#[test]
fn more_than_four_gibibytes() {
    const LENGTH: u64 = 5 << 30;
    let mut fields = (LENGTH as u32).to_le_bytes().repeat(2);
    fields.extend([3, 0, 0, 0, 0, 0, 0, 0, 0, 29, 0x30, 8, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
    fields.extend(b"film.mkv");
    let four = [b"Rar!\x1A\x07\0".to_vec(), block4(0x73, 0, &[0; 6]), block4(0x74, 0x8100, &fields)].concat();
    let file = header5(&[2, 2, LENGTH, 0, LENGTH, 0, 0, 1, 8], b"film.mkv");
    let five = [b"Rar!\x1A\x07\x01\0".to_vec(), header5(&[1, 0, 0], &[]), file].concat();
    for (head, end) in [(four, block4(0x7B, 0x4000, &[])), (five, header5(&[5, 0, 0], &[]))] {
        let data = head.len() as u64;
        let size = data + LENGTH + end.len() as u64;
        let folder = Folder::default().with("a.rar", Sparse { size, pieces: vec![(0, head), (data + LENGTH, end)] });
        let seen = folder.seen("a.rar");
        let titles = seen.layout.unwrap().titles;
        assert_eq!((seen.rounds, titles.len(), titles[0].extents[0].length), (1, 1, LENGTH));
    }
}
