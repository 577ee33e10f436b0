//! TAR.

use mediahost_plugin_sdk::detect::testing::Sparse;

use crate::host::{Folder, noise};
use crate::write::{pax, tar_header, tar_member, tar_seal};

fn end() -> Vec<u8> {
    vec![0; 1024]
}

#[test]
fn members_of_all_kinds() {
    let (film, song) = (noise(1, 200_001), noise(2, 512));
    let long = format!("{}/film.mkv", "folder/".repeat(30));
    let mut old = tar_member("old.mkv", &song, 0);
    old[257..265].fill(0);
    tar_seal(&mut old);
    let mut deep = tar_member("deep.mkv", &song, b'0');
    deep[345..351].copy_from_slice(b"up/and");
    tar_seal(&mut deep);
    let mut gnu = tar_member("gnu.mkv", &song, b'0');
    gnu[257..265].copy_from_slice(b"ustar  \0");
    gnu[345..356].copy_from_slice(b"12345670123");
    tar_seal(&mut gnu);
    let archive = [
        tar_member("pax_global_header", &pax("comment", "x"), b'g'),
        tar_header("folder/", 0, b'5'),
        tar_member("notes.txt", b"notes", b'0'),
        tar_member("x", &[pax("path", "π/film.mkv"), pax("size", "200001"), pax("mtime", "1.5")].concat(), b'x'),
        // The size in the header is another one.
        [tar_header("film.mkv", 0, b'0'), film.clone(), vec![0; 191]].concat(),
        tar_member("././@LongLink", format!("{long}\0").as_bytes(), b'L'),
        tar_member("folder/folder/cut off", &song, b'0'),
        tar_header("link.mkv", 4096, b'2'),
        tar_header("hard.mkv", 4096, b'1'),
        deep,
        gnu,
        old,
        end(),
    ]
    .concat();
    let clean = long.replace("//", "/");
    let expected = [
        ("π/film.mkv", film),
        (clean.as_str(), song.clone()),
        ("up/and/deep.mkv", song.clone()),
        ("gnu.mkv", song.clone()),
        ("old.mkv", song),
    ];
    let folder = Folder::default().with("a", archive);
    assert!(folder.expect("a", "tar", "π/film.mkv", &expected).rounds <= 1);
}

#[test]
fn archives_of_the_first_kind_are_known_by_their_ending() {
    let mut member = tar_member("film.mp4", b"1234", b'0');
    member[257..265].fill(0);
    tar_seal(&mut member);
    let folder = Folder::default().with("a.tar", member.clone()).with("a", member);
    folder.expect("a.tar", "tar", "film.mp4", &[("film.mp4", b"1234".to_vec())]);
    assert!(folder.look("a", false).unwrap().layout.is_none());
}

#[test]
fn long_members_cost_a_hop_each() {
    const LENGTH: u64 = 9 << 30;
    let step = 512 + LENGTH;
    let sparse = |count: u64| {
        let header = |i| (i * step, tar_header(&format!("{i}.mkv"), LENGTH, b'0'));
        Sparse { size: count * step + 1024, pieces: (0..count).map(header).collect() }
    };
    for (count, expected) in [(3, 3), (25, 25), (100, 29)] {
        let folder = Folder::default().with("a.tar", sparse(count));
        let seen = folder.seen("a.tar");
        let titles = seen.layout.unwrap().titles;
        assert_eq!(titles.len(), expected);
        assert!(titles.iter().all(|title| title.extents[0].length == LENGTH));
        assert!(folder.look("a.tar", true).unwrap().layout.is_some_and(|layout| layout.titles.len() == expected));
    }
}

/// Ten thousand small ones in front of the film.
#[test]
fn small_members_are_read_many_at_once() {
    let mut archive: Vec<u8> = (0..10_000).flat_map(|i| tar_member(&format!("{i}.txt"), b"text", b'0')).collect();
    let film = noise(1, 1000);
    archive.extend([tar_member("film.mkv", &film, b'0'), end()].concat());
    let seen = Folder::default().with("a.tar", archive).expect("a.tar", "tar", "film.mkv", &[("film.mkv", film)]);
    assert!(seen.rounds < 14, "{}", seen.rounds);
    let pictures: Vec<u8> = (0..100).flat_map(|i| tar_member(&format!("{i}.jpg"), &[1; 700_000], b'0')).collect();
    let failure = Folder::default().with("a.tar", pictures).failure("a.tar");
    assert_eq!(failure, "unsupported: there is nothing to play among those members that could be looked at");
}

#[test]
fn what_cannot_be_played_is_said() {
    let sparse = |records: Vec<u8>| [tar_member("x", &records, b'x'), tar_member("f.mkv", b"12", b'0'), end()].concat();
    let mut holes = tar_header("film.mkv", 4, b'S');
    holes[482] = 1;
    tar_seal(&mut holes);
    let (mut more, last) = (vec![0; 512], vec![0; 512]);
    more[504] = 1;
    let holes = [holes, more, last, vec![1; 512], tar_member("notes.txt", b"1", b'0'), end()].concat();
    for archive in [
        sparse([pax("GNU.sparse.major", "1"), pax("GNU.sparse.name", "film.mkv")].concat()),
        sparse([pax("GNU.sparse.size", "12"), pax("GNU.sparse.name", "film.mkv")].concat()),
        holes,
    ] {
        let failure = Folder::default().with("a.tar", archive).failure("a.tar");
        assert_eq!(failure, "unsupported: film.mkv is stored without its holes (sparse)");
    }
}

#[test]
fn damage_is_said() {
    let good = [tar_member("film.mkv", &[1; 600], b'0'), tar_member("b.mkv", b"12", b'0'), end()].concat();
    let failure = |archive: Vec<u8>| Folder::default().with("a.tar", archive).failure("a.tar");
    for at in [0, 130, 512 + 1024, 512 + 1024 + 150] {
        let mut archive = good.clone();
        archive[at] ^= 1;
        assert!(failure(archive).starts_with("damaged: the header at offset "), "{at}");
    }
    assert_eq!(failure(good[..1000].to_vec()), "damaged: the archive ends within its member at offset 512");
    let records = [tar_member("x", b"12 path=oops", b'x'), good.clone()].concat();
    assert_eq!(failure(records), "damaged: the records at offset 512 of the archive are damaged");
    let endless = [tar_header("x", 1 << 40, b'x'), good.clone()].concat();
    assert!(failure(endless).starts_with("damaged"));
    // Without the blocks at the end it is good all the same.
    let folder = Folder::default().with("a.tar", good[..good.len() - 1024].to_vec());
    assert_eq!(folder.layout("a.tar").titles.len(), 2);
}
