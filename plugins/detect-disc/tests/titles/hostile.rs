//! Discs that somebody broke: any answer will do, within the rules.

use crate::disc::{Disc, check};
use crate::write::{self, TitleSet, cell, manager, packs, part, playlist};
use mediahost_plugin_sdk::detect::testing::{Fault, mutated};

/// Broken copies of each disc.
const SEEDS: u64 = 1500;

fn survives(disc: &Disc, what: &str) {
    let outcome = std::panic::catch_unwind(|| match disc.look() {
        Ok(seen) => check(&seen.layout.unwrap(), disc.image().size),
        Err(Fault::Said(error)) => assert_eq!(error.code, "encrypted", "{error:?}"),
        Err(Fault::Broke(rule)) => panic!("{rule}"),
    });
    assert!(outcome.is_ok(), "{what}");
}

/// Breaks the small files of a disc, which are those with structure, and the places of the others.
fn hostile(good: &Disc) {
    survives(good, "the good one");
    for seed in 0..SEEDS {
        let mut disc = good.clone();
        for (index, piece) in disc.pieces.iter_mut().enumerate().filter(|(_, piece)| piece.1.len() <= 16_384) {
            piece.1 = mutated(&piece.1, seed * 31 + index as u64);
        }
        if seed % 3 == 0 {
            disc.cut(seed * 7919 % disc.at);
        }
        if seed % 5 == 0 {
            let index = seed as usize % disc.tree.files.len();
            for extent in &mut disc.tree.files[index].extents {
                extent.offset = [None, Some(u64::MAX - 10), Some(seed * 1000)][seed as usize % 3];
                extent.length = [extent.length, u64::MAX, 1][seed as usize / 3 % 3];
            }
        }
        survives(&disc, &format!("seed {seed}"));
    }
}

#[test]
fn blu_ray() {
    let mut disc = Disc::default();
    let points: Vec<(u32, u32)> = (0..100).map(|s| (s * 45_000, s * 32)).collect();
    let mut film = playlist(&[part("00001", 10, 300), part("00002", 3, 50), part("00001", 0, 3)]);
    film.items[1].angles = vec!["00002", "00001"];
    disc.put("BDMV/PLAYLIST/00001.mpls", film.bytes());
    disc.put("BDMV/PLAYLIST/00002.mpls", playlist(&[part("00002", 1, 90)]).bytes());
    disc.put("BDMV/BACKUP/PLAYLIST/00001.mpls", film.bytes());
    for (name, clocks) in [("00001", &[0, 900][..]), ("00002", &[0])] {
        disc.put(&format!("BDMV/CLIPINF/{name}.clpi"), write::clip(3200, clocks, &points));
        disc.put(&format!("BDMV/STREAM/{name}.m2ts"), write::stream(100));
    }
    hostile(&disc);
}

#[test]
fn dvd() {
    let mut disc = Disc::default();
    let cells = vec![cell(0, 9, 60), cell(10, 19, 60), cell(40, 59, 9)];
    let angles = cells.iter().zip([0x54, 0xD4, 0]).map(|(cell, category)| write::Cell { category, ..*cell }).collect();
    let addresses = vec![((0, 0), 0, 4), ((0, 0), 6, 9)];
    let set = TitleSet { chains: vec![cells, angles], titles: vec![vec![1, 1, 2], vec![2]], addresses };
    disc.put("VIDEO_TS/VIDEO_TS.IFO", manager(&[(1, 1), (1, 2)]));
    disc.put("VIDEO_TS/VTS_01_0.IFO", set.bytes());
    disc.put("VIDEO_TS/VTS_01_1.VOB", packs(30));
    disc.put("VIDEO_TS/VTS_01_2.VOB", packs(30));
    disc.put("VIDEO_TS/VTS_01_0.BUP", set.bytes());
    hostile(&disc);
}

#[test]
fn files() {
    let mut disc = Disc::default();
    disc.put("HVDVD_TS/A_1.EVO", packs(3));
    disc.put("HVDVD_TS/A_99999999999999999999.EVO", packs(3));
    disc.put("b.mkv", vec![0; 5000]);
    hostile(&disc);
}

/// Chains that all have the same cells, titles that all have the same chains: small tables that stand for very much.
#[test]
fn chains_that_multiply() {
    let mut disc = Disc::default();
    let chain = vec![cell(0, 9, 60); 255];
    let set = TitleSet { chains: vec![chain; 99], titles: vec![(1..=99).collect(); 99], ..TitleSet::default() };
    for number in 1..=20 {
        disc.put(&format!("VIDEO_TS/VTS_{number:02}_0.IFO"), set.bytes());
        disc.put(&format!("VIDEO_TS/VTS_{number:02}_1.VOB"), packs(20));
    }
    survives(&disc, "a DVD");
}

/// Long playlists of a clip in many pieces.
#[test]
fn playlists_that_multiply() {
    let mut disc = Disc::default();
    let items = vec![part("00001", 0, 300); 999];
    for number in 0..300 {
        disc.put(&format!("BDMV/PLAYLIST/{number:05}.mpls"), playlist(&items).bytes());
    }
    let at = disc.claim("other", 1 << 30);
    let pieces: Vec<_> = (0..50_000).map(|n| (Some(at + n * 4096), 2048)).collect();
    disc.add("BDMV/STREAM/00001.m2ts", &pieces);
    survives(&disc, "a Blu-ray disc");
}
