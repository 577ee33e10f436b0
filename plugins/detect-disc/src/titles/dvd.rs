//! DVD-Video.
//!
//! Owns: which files belong to a title set, titles from cells, what is played when the tables are lost.
//! Leaves to others: the tables' format ([`super::ifo`]), the choice of the film ([`super::rules`]).
//!
//! Invariant: cells are counted from the first byte of `VTS_nn_1.VOB`, over all VOBs of the set.

use super::budget::Budget;
use super::ifo::{self, Cell, Chain, Entry, Pieces, SECTOR, TitleSet};
use super::rules::{Facts, main_title, weight};
use super::scrambling::has_scrambled_packs;
use super::{Draft, Found, Walk, encrypted};
use crate::tree::{File, Tree};
use mediahost_plugin_sdk::detect::{Stop, Subject};
use std::collections::BTreeMap;

/// Title sets of a disc, at most, as the format has it.
pub const MAX_SETS: u8 = 99;
/// Tables that are longer are not read to their end.
pub const MAX_IFO_BYTES: u64 = 2 << 20;
/// Cells of all titles together, at most: a bound on time.
pub const MAX_CELLS: usize = 65_536;
/// Angles of a title, at most, as the format has it.
pub const MAX_ANGLES: usize = 9;

const MEDIA_TYPE: &str = "video/mpeg";

/// The files of a title set.
struct Set<'a> {
    number: u8,
    /// All its VOBs but the menu's, as one file.
    stream: File,
    tables: [Option<&'a File>; 2],
}

/// The titles of a DVD-Video disc; none if it is not one.
pub fn find(subject: &Subject, tree: &Tree) -> Result<Option<Found>, Stop> {
    let Some((manager, sets)) = open(tree) else { return Ok(None) };
    let mut tables: Vec<[Option<&File>; 2]> = vec![manager];
    tables.extend(sets.iter().map(|set| set.tables));
    let is_table = |index: usize, bytes: &[u8]| match index {
        0 => ifo::titles(bytes).is_some(),
        _ => TitleSet::parse(bytes).is_some(),
    };
    let tables = read(subject, &tables, is_table)?;
    let entries = ifo::titles(&tables[0]);
    let mut disc = Titles { walk: Walk::new(subject), cells: 0, is_cut: tree.is_cut, titles: Vec::new() };
    let parsed: Vec<Option<TitleSet>> = tables[1..].iter().map(|bytes| TitleSet::parse(bytes)).collect();
    for (set, tables) in sets.iter().zip(&parsed) {
        let known = disc.titles.len();
        if let Some(tables) = tables {
            disc.add_titles(set, tables, entries.as_deref());
        }
        if disc.titles.len() == known {
            disc.add_whole(set);
        }
    }
    disc.found(subject)
}

/// The manager's tables and the title sets that have something to play.
fn open(tree: &Tree) -> Option<([Option<&File>; 2], Vec<Set<'_>>)> {
    let is_video = |name: &str| name == "video_ts.ifo" || (name.starts_with("vts_") && name.ends_with(".vob"));
    let first = tree.files.iter().find(|file| is_video(&file.name().to_ascii_lowercase()))?;
    let folder = first.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let is_here =
        |file: &&File| file.path.rsplit_once('/').map_or("", |(folder, _)| folder).eq_ignore_ascii_case(folder);
    let files: BTreeMap<String, &File> =
        tree.files.iter().filter(is_here).map(|file| (file.name().to_ascii_lowercase(), file)).collect();
    let tables = |stem: &str| ["ifo", "bup"].map(|extension| files.get(&format!("{stem}.{extension}")).copied());
    let set = |number: u8| {
        // What follows a part that is missing would stand at the wrong sectors.
        let vobs = (1..=9).map_while(|part| files.get(&format!("vts_{number:02}_{part}.vob")));
        let extents: Vec<_> = vobs.flat_map(|file| file.extents.iter().copied()).collect();
        let stream = File { path: format!("VTS_{number:02}"), extents };
        (stream.size() > 0).then(|| Set { number, stream, tables: tables(&format!("vts_{number:02}_0")) })
    };
    Some((tables("video_ts"), (1..=MAX_SETS).filter_map(set).collect()))
}

/// Reads tables, and the backups of those that are not what they should be.
fn read(
    subject: &Subject,
    files: &[[Option<&File>; 2]],
    is_good: impl Fn(usize, &[u8]) -> bool,
) -> Result<Vec<Vec<u8>>, Stop> {
    let mut budget = Budget::default();
    let first: Vec<Option<&File>> = files.iter().map(|pair| pair[0]).collect();
    let mut tables = budget.read(subject, &first, MAX_IFO_BYTES)?;
    let bad: Vec<bool> = tables.iter().enumerate().map(|(index, bytes)| !is_good(index, bytes)).collect();
    let backups: Vec<Option<&File>> = files.iter().zip(&bad).map(|(pair, bad)| pair[1].filter(|_| *bad)).collect();
    for ((table, backup), bad) in tables.iter_mut().zip(budget.read(subject, &backups, MAX_IFO_BYTES)?).zip(bad) {
        if bad {
            *table = backup;
        }
    }
    Ok(tables)
}

/// A title, what the rules look at, and whose streams it has.
struct Candidate<'a> {
    draft: Draft,
    facts: Facts,
    streams: Option<(&'a TitleSet<'a>, Option<Chain<'a>>)>,
}

struct Titles<'a> {
    walk: Walk,
    cells: usize,
    is_cut: bool,
    titles: Vec<Candidate<'a>>,
}

impl<'a> Titles<'a> {
    fn add_titles(&mut self, set: &Set, tables: &'a TitleSet<'a>, entries: Option<&[Entry]>) {
        let pieces = tables.pieces();
        for title in tables.titles() {
            let chains: Vec<_> = title.chains.iter().filter_map(|chain| tables.chain(*chain)).collect();
            let cells: Vec<Cell> = chains.iter().flat_map(|chain| chain.cells()).collect();
            let angles = 1 + cells.iter().filter_map(|cell| cell.angle).max().unwrap_or_default();
            let tracks = tables.tracks(chains.first().copied());
            let sounds = tracks.iter().filter(|track| track.kind == "audio").count();
            let entry = entries.map(|entries| {
                let is_it = |entry: &Entry| entry.set == set.number && usize::from(entry.title) == title.number;
                entries.iter().position(is_it)
            });
            for angle in 0..angles.min(MAX_ANGLES) {
                self.cells = self.cells.saturating_add(cells.len());
                if self.cells > MAX_CELLS {
                    return;
                }
                let Some(sectors) = sectors(&mut self.walk, &pieces, &cells, angle) else { return };
                let parts = sectors.iter().map(|(first, last)| {
                    let length = (u64::from(*last) + 1).saturating_sub(u64::from(*first)) * SECTOR;
                    (&set.stream, u64::from(*first) * SECTOR, length)
                });
                let Some(extents) = self.walk.join(parts) else { continue };
                let id = format!("VTS_{:02}-{}", set.number, title.number);
                let name = entry.flatten().map(|entry| format!("Title {}", entry + 1));
                let draft = Draft {
                    id: if angle == 0 { id.clone() } else { format!("{id}#{}", angle + 1) },
                    name: if angle == 0 { name } else { Some(format!("{}, angle {}", name.unwrap_or(id), angle + 1)) },
                    media_type: Some(MEDIA_TYPE),
                    duration_ms: Some(chains.iter().map(|chain| chain.duration_ms()).sum()),
                    extents,
                };
                let claimed = sectors.iter().map(|(first, last)| (u64::from(*last) + 1 - u64::from(*first)) * SECTOR);
                let mut facts = Facts {
                    size: draft.size(),
                    duration_ms: weight(&draft),
                    // A film that lost its last file is still the film; a decoy leads nowhere for the most part.
                    is_incomplete: !self.is_cut && draft.size() < claimed.sum::<u64>() / 2,
                    is_hidden: entry == Some(None),
                    repeats: repeats(&cells),
                    chapters: title.chapters,
                    sounds,
                    ..Facts::default()
                };
                if angle > 0 {
                    // The film is what one sees without choosing an angle.
                    facts.size = 0;
                }
                self.titles.push(Candidate { draft, facts, streams: Some((tables, chains.first().copied())) });
            }
        }
    }

    /// Without tables: everything of the title set.
    fn add_whole(&mut self, set: &Set) {
        let Some(extents) = self.walk.join([(&set.stream, 0, set.stream.size())]) else { return };
        let id = set.stream.path.clone();
        let draft = Draft { id, media_type: Some(MEDIA_TYPE), extents, ..Draft::default() };
        let facts = Facts { size: draft.size(), duration_ms: weight(&draft), ..Facts::default() };
        self.titles.push(Candidate { draft, facts, streams: None });
    }

    fn found(self, subject: &Subject) -> Result<Option<Found>, Stop> {
        let facts: Vec<Facts> = self.titles.iter().map(|title| title.facts.clone()).collect();
        let main = main_title(&facts);
        let mut found = Found { format: "dvdvideo", main, ..Found::default() };
        if let Some(main) = main.map(|main| &self.titles[main]) {
            if has_scrambled_packs(subject, &main.draft)? {
                return Err(encrypted("CSS"));
            }
            found.tracks = main.streams.map(|(tables, chain)| tables.tracks(chain)).unwrap_or_default();
        }
        found.titles = self.titles.into_iter().map(|title| title.draft).collect();
        Ok(Some(found))
    }
}

/// First and last sectors of what one sees of the cells from one angle. Scenes with fewer angles are seen from their
/// first.
fn sectors(walk: &mut Walk, pieces: &Pieces, cells: &[Cell], angle: usize) -> Option<Vec<(u32, u32)>> {
    let mut sectors = Vec::new();
    let mut at = 0;
    while at < cells.len() {
        let further = cells[at + 1..].iter().take_while(|cell| cell.angle.is_some_and(|angle| angle > 0)).count();
        let scene = if cells[at].angle.is_some() { 1 + further } else { 1 };
        let cell = cells[at..at + scene].iter().find(|cell| cell.angle == Some(angle)).unwrap_or(&cells[at]);
        let all = pieces.get(&cell.name).filter(|_| cell.is_interleaved).map_or(&[][..], Vec::as_slice);
        walk.spend(all.len() as u64)?;
        let before = sectors.len();
        sectors.extend(all.iter().filter(|(first, last)| cell.first <= *first && *last <= cell.last));
        if sectors.len() == before {
            sectors.push((cell.first, cell.last));
        }
        at += scene;
    }
    sectors.retain(|(first, last)| first <= last);
    Some(sectors)
}

/// How often the cell that is played most is played.
fn repeats(cells: &[Cell]) -> usize {
    let mut counts = BTreeMap::new();
    for cell in cells {
        *counts.entry((cell.first, cell.last)).or_insert(0usize) += 1;
    }
    counts.values().copied().max().unwrap_or_default()
}
