use std::io::Write;

use super::*;

/// Small, and a multiple of every system's page.
const SMALL: u64 = 64 << 10;

fn file(bytes: &[u8]) -> Arc<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Arc::new(file)
}

fn content(length: u64) -> Vec<u8> {
    (0..length).map(|at| (at * 7 / 5 + at / 1000) as u8).collect()
}

/// Bounds of a test of its own.
fn windows(size: u64, most: u64) -> &'static Windows {
    Box::leak(Box::new(Windows::new(size, most)))
}

fn mapped(windows: &Windows) -> u64 {
    windows.mapped.load(Ordering::Relaxed)
}

/// Whether the file and the offset that `locate` names hold just these bytes.
fn is_found(bytes: &[u8], of: &Arc<File>) -> bool {
    let Some((file, offset)) = locate(bytes) else { return false };
    let mut there = vec![0; bytes.len()];
    system::read_at(&file, offset, &mut there).unwrap();
    Arc::ptr_eq(&file, of) && there == bytes
}

#[test]
fn slices_are_found_and_other_memory_is_not() {
    let page = 4096;
    let content = content(3 * page);
    let files = [file(&content), file(&content[1..])];
    // Without gaps between them where the kernel places them so, which it usually does.
    let maps: Vec<(Mapping, u64, &Arc<File>)> = (0..8)
        .map(|number| {
            let (of, length) = (&files[number as usize % 2], page * (1 + number % 3) - number);
            (Mapping::new(of, length, &WINDOWS), length, of)
        })
        .collect();
    for (map, length, of) in &maps {
        for range in [0..*length, 0..1, length - 1..*length, 5..length - 5] {
            let slice = map.slice(range.clone()).unwrap();
            assert_eq!(slice.len() as u64, range.end - range.start);
            assert!(is_found(&slice, of), "{range:?}");
            assert!(is_found(&slice.slice(slice.len() / 2..), of), "{range:?}");
        }
        let whole = map.slice(0..*length).unwrap();
        assert!(locate(&whole[whole.len()..]).is_none() && locate(&whole[..0]).is_none());
        assert!(locate(&Vec::from(&whole[..])).is_none());
    }
    assert!(locate(b"a literal").is_none());
    assert!(locate(&[]).is_none());
}

#[test]
fn a_window_is_listed_until_its_last_slice_is_dropped() {
    let of = file(&[9; 100]);
    let map = Mapping::new(&of, 100, &WINDOWS);
    assert!(!is_mapped(&of), "nothing is mapped before it is wanted");
    let (slice, other) = (map.slice(10..20).unwrap(), map.slice(50..60).unwrap().slice(3..4));
    drop(map);
    assert!(is_found(&slice, &of) && is_mapped(&of.try_clone().unwrap()));
    drop(slice);
    let (kept, offset) = locate(&other).unwrap();
    assert_eq!(offset, 53);
    drop(other);
    assert!(!is_mapped(&of));
    let mut there = [0];
    system::read_at(&kept, offset, &mut there).unwrap();
    assert_eq!(there, [9]);
}

#[test]
fn nothing_is_mistaken_while_others_come_and_go() {
    std::thread::scope(|scope| {
        for number in 0..4u8 {
            scope.spawn(move || {
                let of = file(&[number; 9000]);
                for _ in 0..500 {
                    let slice = Mapping::new(&of, 9000, &WINDOWS).slice(100..9000).unwrap();
                    assert!(is_found(&slice, &of));
                }
                assert!(!is_mapped(&of));
            });
        }
    });
}

#[test]
fn a_range_over_borders_comes_in_pieces() {
    let length = 5 * SMALL + 777;
    let (content, bounds) = (content(length), windows(SMALL, 2 * SMALL));
    let of = file(&content);
    let map = Mapping::new(&of, length, bounds);
    let ends =
        [0, 1, SMALL - 1, SMALL, SMALL + 1, 2 * SMALL, 3 * SMALL + 5, 5 * SMALL - 1, 5 * SMALL, length - 1, length];
    for start in ends {
        for end in ends.into_iter().filter(|end| *end > start) {
            let (mut at, mut pieces) = (start, 0);
            while at < end {
                let piece = map.slice(at..end).unwrap();
                let border = (at / SMALL + 1) * SMALL;
                assert_eq!(piece.len() as u64, end.min(border) - at, "{at}..{end}");
                assert_eq!(piece, content[at as usize..][..piece.len()], "{at}..{end}");
                assert!(is_found(&piece, &of));
                assert_eq!(locate(&piece).unwrap().1, at);
                assert!(mapped(bounds) <= 2 * SMALL);
                at += piece.len() as u64;
                pieces += 1;
            }
            assert_eq!(pieces, (end.div_ceil(SMALL)) - start / SMALL);
            // Whatever this system can, neither asks beyond the end.
            map.populate(start..end);
            map.is_resident(start..end);
        }
    }
    drop(map);
    assert_eq!(mapped(bounds), 0);
    assert!(!is_mapped(&of));
}

#[test]
fn a_window_in_use_stays_and_the_one_unused_longest_goes() {
    let content = content(8 * SMALL);
    let (of, bounds) = (file(&content), windows(SMALL, 3 * SMALL));
    let map = Mapping::new(&of, 8 * SMALL, bounds);
    let window = |index: u64| map.slice(index * SMALL..(index + 1) * SMALL);
    let kept = || bounds.kept().windows.keys().map(|(_, index)| *index).collect::<Vec<_>>();

    let held = [window(0).unwrap(), window(1).unwrap(), window(2).unwrap()];
    assert!(window(3).is_none(), "all three are in use");
    assert!(map.slice(10..20).is_some(), "which is no reason to refuse what is mapped");
    for (index, bytes) in held.iter().enumerate() {
        assert_eq!(bytes, &content[index * SMALL as usize..][..SMALL as usize]);
    }
    let [first, second, third] = held;
    let part = second.slice(5..9);
    drop((second, third));
    // The second is in use by a part of it, and the third is what can go.
    assert!(window(3).is_some());
    assert_eq!((kept(), mapped(bounds)), (vec![0, 1, 3], 3 * SMALL));
    assert_eq!(part, content[SMALL as usize + 5..][..4]);
    drop((first, part));

    // From the least recently used: 1, 3, 0.
    (window(3), window(0)).0.unwrap();
    assert!(window(4).is_some());
    assert_eq!(kept(), [0, 3, 4]);
    assert!(window(5).is_some());
    assert_eq!(kept(), [0, 4, 5]);

    // A slice outlives its mapping, and counts until it is dropped.
    let last = window(5).unwrap();
    drop(map);
    assert_eq!((kept().len(), mapped(bounds)), (0, SMALL));
    let other = Mapping::new(&of, 8 * SMALL, bounds);
    let more = [other.slice(0..1).unwrap(), other.slice(SMALL..SMALL + 1).unwrap()];
    assert!(other.slice(2 * SMALL..2 * SMALL + 1).is_none());
    assert_eq!(last, content[5 * SMALL as usize..][..SMALL as usize]);
    drop(last);
    assert!(other.slice(2 * SMALL..2 * SMALL + 1).is_some());
    drop((other, more));
    assert_eq!(mapped(bounds), 0);
}

#[test]
fn files_share_the_bound() {
    let bounds = windows(SMALL, 2 * SMALL);
    let files: Vec<_> = (0..5u8).map(|number| file(&[number; SMALL as usize])).collect();
    let maps: Vec<_> = files.iter().map(|of| Mapping::new(of, SMALL, bounds)).collect();
    for _ in 0..3 {
        for (number, map) in maps.iter().enumerate() {
            assert!(map.slice(0..SMALL).unwrap().iter().all(|byte| usize::from(*byte) == number));
            assert_eq!(mapped(bounds), (2 * SMALL).min(mapped(bounds)));
        }
    }
    assert_eq!(files.iter().filter(|of| is_mapped(of)).count(), 2);
}

#[test]
fn a_file_of_50_gib_fits_into_a_quarter_of_one() {
    let (size, most, length) = (64 << 20, 256 << 20, (50u64 << 30) + 4321);
    let of = Arc::new(tempfile::tempfile().unwrap());
    system::set_len(&of, length).unwrap();
    let borders: Vec<u64> = (1..=length / size).map(|index| index * size).collect();
    let mark = |border: u64| (border / size % 255 + 1) as u8;
    for border in &borders {
        system::write_at(&of, border - 1, &[mark(*border); 2]).unwrap();
    }
    let bounds = windows(size, most);
    let map = Mapping::new(&of, length, bounds);
    let held = map.slice(borders[0] - 1..borders[0] + 1).unwrap();
    // To the end, and back.
    for border in borders.iter().chain(borders.iter().rev()) {
        let (before, after) = (map.slice(border - 1..border + 1).unwrap(), map.slice(*border..border + 1).unwrap());
        assert_eq!((&before[..], &after[..]), (&[mark(*border)][..], &[mark(*border)][..]), "{border}");
        assert_eq!(locate(&after).unwrap().1, *border);
        assert!(mapped(bounds) <= most);
    }
    assert_eq!(map.slice(length - 1..length).unwrap()[..], [0]);
    assert_eq!(held[..], [mark(borders[0])]);
    drop((map, held));
    assert_eq!(mapped(bounds), 0);
}

#[test]
fn readers_of_many_places_at_once_see_what_is_there() {
    let length = 9 * SMALL + 5;
    let (content, bounds) = (content(length), windows(SMALL, 3 * SMALL));
    let of = file(&content);
    let map = Mapping::new(&of, length, bounds);
    std::thread::scope(|scope| {
        for reader in 0..6u64 {
            let (map, content) = (&map, &content);
            scope.spawn(move || {
                let mut seed = reader + 1;
                for _ in 0..2000 {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let start = (seed >> 20) % (length - 1);
                    // Refused while the others hold all windows, which is for the caller to bear.
                    let Some(piece) = map.slice(start..length.min(start + 3000)) else { continue };
                    assert_eq!(piece, content[start as usize..][..piece.len()]);
                    assert!(mapped(map.windows) <= 3 * SMALL);
                }
            });
        }
    });
    drop(map);
    assert_eq!(mapped(bounds), 0);
}

#[test]
fn what_cannot_be_mapped_is_refused_once_and_for_all() {
    // A handle that cannot be read from cannot be mapped.
    let folder = tempfile::tempdir().unwrap();
    let of = Arc::new(File::create(folder.path().join("only-written")).unwrap());
    of.set_len(100).unwrap();
    let bounds = windows(SMALL, SMALL);
    let map = Mapping::new(&of, 100, bounds);
    assert!(map.slice(0..10).is_none() && map.slice(0..10).is_none());
    assert!(map.refused.load(Ordering::Relaxed) && map.is_resident(0..10) && !map.populate(0..10));
    assert_eq!(mapped(bounds), 0);
}
