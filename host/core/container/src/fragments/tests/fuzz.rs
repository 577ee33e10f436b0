//! Any pieces in any order, and any bytes at all.

use proptest::prelude::*;

use super::*;

/// Reads of one film, at most: each takes a byte or hops over one.
const MAX_READS: usize = 200_000;

/// Films of every kind that there is.
fn films() -> Vec<Vec<u8>> {
    let one = fragment(0, true).len();
    let leaf = |time| sidx(1, SCALE, time, 0, &[media(one, 400), media(one, 400)]);
    let pair = |time| [fragment(time, true), fragment(time + 400, false)].concat();
    let size = leaf(0).len() + 2 * one;
    let root = sidx(1, SCALE, 0, 0, &[index(size, 800), index(size, 800)]);
    let edited = Trak { edits: vec![(5, -1), (0, 40)], samples: vec![(3, 40)], offset: Some(80), ..video(1, SCALE) };
    let run = full(b"trun", 1, 0xF05, &[2, 0, 0, 10, 99, 0, 30, 20, 99, NON_SYNC, u32::MAX]);
    let rows = moof(&[make(b"traf", [full(b"tfhd", 0, 0x2A, &[1, 1, 20, 0]), run].concat()), traf(2, 7, 3, true)]);
    vec![
        [init(), pair(0), make(b"free", []), pair(800), pair(1600)].concat(),
        [init(), styp(), pair(0), make(b"emsg", [1; 9]), styp(), pair(800), endless(b"mdat", &[0; 20])].concat(),
        [init(), root, leaf(0), pair(0), leaf(800), pair(800), pair(1600)].concat(),
        [ftyp(), moov(&[edited, audio(2, 8000)], 40, 0), mdat(30), rows, large(b"mdat", &[3; 30]), pair(9)].concat(),
        [ftyp(), mdat(50), classic(&[video(1, SCALE)])].concat(),
    ]
}

/// All that an index says.
fn says(index: &Index) -> impl PartialEq + std::fmt::Debug + use<> {
    let rest = (index.torn(), index.known_to(), index.complete(), index.open(), index.clone().take_new().to_vec());
    (index.verdict(), index.init(), index.tracks().to_vec(), index.segments().to_vec(), rest)
}

/// Offers the pieces, and after them what is still wanted, in reads of `step` bytes.
fn offer(file: &[u8], length: Option<u64>, pieces: &[Range<usize>], step: usize) -> (Index, Result<(), Error>) {
    let limits = Limits { segments: 40, moov_bytes: 4000, moof_bytes: 1000, sidx_bytes: 500 };
    let mut index = Index::new(limits, length);
    let mut told = Ok(());
    for piece in pieces {
        told = told.and(index.handle(piece.start as u64, &file[piece.clone()]));
        index.holds();
    }
    for _ in 0..MAX_READS {
        let Some(wants) = index.wants().filter(|wants| wants.start < file.len() as u64) else { break };
        let end = file.len().min(wants.start as usize + step);
        told = told.and(index.handle(wants.start, &file[wants.start as usize..end]));
        index.holds();
    }
    assert!(index.wants().is_none_or(|wants| wants.start >= file.len() as u64), "it is never done");
    if length.is_none() {
        told = told.and(index.ended(file.len() as u64));
        index.holds();
        // A box that reaches to the end may be wanted now.
        while let Some(wants) = index.wants() {
            told = told.and(index.handle(wants.start, &file[wants.start as usize..wants.end as usize]));
        }
    }
    (index, told)
}

/// Pieces that cover a film of this length, in some order.
fn pieces(cuts: &[prop::sample::Index], order: &[usize], length: usize) -> Vec<Range<usize>> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(length + 1)).chain([0, length]).collect();
    ends.sort_unstable();
    let mut pieces: Vec<_> = ends.windows(2).map(|pair| pair[0]..pair[1]).collect();
    for (at, other) in order.iter().enumerate() {
        let count = pieces.len();
        pieces.swap(at % count, other % count);
    }
    pieces
}

/// However the bytes come, the index is the same.
fn same(file: &[u8], cuts: &[prop::sample::Index], order: &[usize], step: usize) {
    for length in [Some(file.len() as u64), None] {
        let (index, told) = offer(file, length, &[], MAX_READS);
        let (other, other_told) = offer(file, length, &pieces(cuts, order, file.len()), step);
        assert_eq!((says(&index), &told), (says(&other), &other_told), "with the length {length:?}");
    }
}

/// Bytes of which many are small, as in boxes.
fn noise() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0), Just(1), any::<u8>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn pieces_do_not_matter(
        film in 0..5usize,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        order in prop::collection::vec(0..20usize, 0..20),
        step in 1..50usize,
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut file = films().swap_remove(film);
        file.truncate(cut.map_or(file.len(), |cut| cut.index(file.len() + 1)));
        let (early, early_told) = offer(&file, Some(file.len() as u64), &[], step);
        let (late, late_told) = offer(&file, None, &[], step);
        prop_assert_eq!((says(&early), early_told), (says(&late), late_told), "the length may come late");
        same(&file, &cuts, &order, step);
    }

    #[test]
    fn damage_ends_in_order(
        film in 0..5usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        small in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        order in prop::collection::vec(0..20usize, 0..5),
        step in 1..50usize,
    ) {
        let mut file = films().swap_remove(film);
        let length = file.len();
        for (at, byte) in changes {
            file[at.index(length)] = if small { byte % 4 } else { byte };
        }
        same(&file, &cuts, &order, step);
    }

    #[test]
    fn boxes_of_noise_end_in_order(
        boxes in prop::collection::vec((0..9usize, prop::collection::vec(noise(), 0..80)), 0..12),
        step in 1..50usize,
    ) {
        const KINDS: [&[u8; 4]; 9] =
            [b"moof", b"sidx", b"mdat", b"styp", b"free", b"moov", b"traf", b"emsg", b"mfra"];
        let boxes = boxes.into_iter().flat_map(|(kind, content)| make(KINDS[kind], content));
        same(&init().into_iter().chain(boxes).collect::<Vec<u8>>(), &[], &[], step);
    }
}
