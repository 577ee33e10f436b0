//! Blu-ray discs, and camcorders' AVCHD, which is the same with shorter names.
//!
//! Owns: where on a disc playlists, clips and copies of both are, titles from playlists.
//! Leaves to others: the files' formats ([`super::mpls`], [`super::clpi`]), the choice of the film ([`super::rules`]).
//!
//! Invariant: nothing is said of a disc whose streams are encrypted, except that they are.

use super::budget::Budget;
use super::clpi::ClipInfo;
use super::mpls::{Clip, Playlist};
use super::rules::{Facts, main_title};
use super::scrambling::{MAX_SAMPLES, has_copy_bits};
use super::{Draft, Found, Walk, encrypted};
use crate::tree::{File, Tree};
use mediahost_plugin_sdk::detect::{Stop, Subject};
use std::collections::{BTreeMap, BTreeSet};

/// Playlists that are read, at most; discs that hide the film among decoys have a thousand.
pub const MAX_PLAYLISTS: usize = 2048;
/// Files that are longer are not read to their end: 999 items with their streams are shorter, and so are the pictures
/// of 12 hours, one in each half second.
pub const MAX_FILE_BYTES: u64 = 1 << 20;
/// Clips whose descriptions are read, at most.
pub const MAX_CLIPS: usize = 2048;

/// What an item costs, compared with an extent.
const ITEM_STEPS: u64 = 8;

const MEDIA_TYPE: &str = "video/mp2t";

type Files<'a> = BTreeMap<String, &'a File>;
type Clips = BTreeMap<Clip, ClipInfo>;

/// The folders that matter, each file by its name in small letters and without extension.
struct Disc<'a> {
    playlists: Files<'a>,
    playlist_copies: Files<'a>,
    clips: Files<'a>,
    clip_copies: Files<'a>,
    /// With their lengths, which files of many extents take long to tell.
    streams: BTreeMap<Clip, (&'a File, u64)>,
    has_keys: bool,
}

/// The titles of a Blu-ray disc; none if it is not one.
pub fn find(subject: &Subject, tree: &Tree) -> Result<Option<Found>, Stop> {
    let Some(disc) = Disc::open(tree) else { return Ok(None) };
    if disc.has_keys {
        return Err(encrypted("AACS"));
    }
    let mut budget = Budget::default();
    let playlists = disc.read_playlists(subject, &mut budget)?;
    let clips = disc.read_clips(subject, &mut budget, &playlists)?;
    let mut walk = Walk::new(subject);
    let mut found = Found { format: "bluray", ..Found::default() };
    let mut facts = Vec::new();
    let mut seen = BTreeSet::new();
    for (id, playlist) in &playlists {
        let sequence: Vec<_> = playlist.items.iter().map(|item| (item.clip, item.start, item.end)).collect();
        let is_duplicate = !seen.insert(sequence);
        for angle in 0..playlist.angles() {
            let Some(draft) = disc.title(&mut walk, &clips, (id, playlist), angle) else { continue };
            // The film is what one sees without choosing an angle.
            let of_first = || Facts { size: draft.size(), is_duplicate, ..disc.facts(playlist) };
            facts.push(if angle == 0 { of_first() } else { Facts::default() });
            found.titles.push(draft);
        }
    }
    if found.titles.is_empty() {
        return disc.find_streams(subject, found);
    }
    found.main = main_title(&facts);
    let id = found.main.map(|main| found.titles[main].id.clone());
    if let Some((_, playlist)) = playlists.iter().find(|(name, _)| Some(name) == id.as_ref()) {
        let parts = disc.parts(&clips, playlist, 0);
        if has_copy_bits(subject, &samples(&parts))? {
            return Err(encrypted("AACS"));
        }
        found.tracks = playlist.streams.iter().filter_map(|stream| stream.track()).collect();
        choose_defaults(&mut found.tracks);
    }
    Ok(Some(found))
}

/// The first picture and the first sound are what a player starts with.
fn choose_defaults(tracks: &mut [mediahost_plugin_sdk::detect::Track]) {
    for kind in ["video", "audio"] {
        if let Some(track) = tracks.iter_mut().find(|track| track.kind == kind) {
            track.default = true;
        }
    }
}

/// Places all over a title, counted in the bytes of its clips.
fn samples<'a>(parts: &[(&'a File, u64, u64)]) -> Vec<(&'a File, u64)> {
    let total: u64 = parts.iter().fold(0, |sum, part| sum.saturating_add(part.2));
    let place = |sample: u64| {
        let mut at = (u128::from(total) * u128::from(sample) / u128::from(MAX_SAMPLES)) as u64;
        for (file, offset, length) in parts {
            if at < *length {
                return Some((*file, offset + at));
            }
            at -= length;
        }
        None
    };
    (0..MAX_SAMPLES).filter_map(place).collect()
}

impl<'a> Disc<'a> {
    fn open(tree: &'a Tree) -> Option<Disc<'a>> {
        let folders = tree.files.iter().filter_map(|file| file.path.rsplit_once('/')).map(|(folder, _)| folder);
        let root = |folder: &str| {
            let lower = folder.to_ascii_lowercase();
            let root = lower.strip_suffix("bdmv/playlist").or(lower.strip_suffix("bdmv/stream"))?;
            (root.is_empty() || root.ends_with('/')).then(|| root.to_string())
        };
        let root = folders.filter_map(root).min_by_key(String::len)?;
        let mut disc = Disc {
            playlists: Files::new(),
            playlist_copies: Files::new(),
            clips: Files::new(),
            clip_copies: Files::new(),
            streams: BTreeMap::new(),
            has_keys: false,
        };
        for file in &tree.files {
            let path = file.path.to_ascii_lowercase();
            let Some(path) = path.strip_prefix(&root) else { continue };
            disc.has_keys |= path.starts_with("aacs/");
            let Some((folder, name)) = path.rsplit_once('/') else { continue };
            let Some((stem, extension)) = name.rsplit_once('.') else { continue };
            let files = match (folder, extension) {
                ("bdmv/playlist", "mpls" | "mpl") => &mut disc.playlists,
                ("bdmv/backup/playlist", "mpls" | "mpl") => &mut disc.playlist_copies,
                ("bdmv/clipinf", "clpi" | "cpi" | "clp") => &mut disc.clips,
                ("bdmv/backup/clipinf", "clpi" | "cpi" | "clp") => &mut disc.clip_copies,
                ("bdmv/stream", "m2ts" | "mts" | "m2t") => {
                    let Ok(stem) = stem.as_bytes().try_into() else { continue };
                    disc.streams.entry(Clip(stem)).or_insert_with(|| (file, file.size()));
                    continue;
                }
                _ => continue,
            };
            files.entry(stem.to_string()).or_insert(file);
        }
        Some(disc)
    }

    /// All playlists in the order of their numbers; a damaged one in its copy.
    fn read_playlists(&self, subject: &Subject, budget: &mut Budget) -> Result<Vec<(String, Playlist)>, Stop> {
        let names: BTreeSet<&String> = self.playlists.keys().chain(self.playlist_copies.keys()).collect();
        let names: Vec<&String> = names.into_iter().take(MAX_PLAYLISTS).collect();
        let folders = [&self.playlists, &self.playlist_copies];
        let parsed = read_twice(subject, budget, folders, &names, Playlist::parse)?;
        let name = |stem: &String| {
            let file = self.playlists.get(stem).or(self.playlist_copies.get(stem));
            file.map_or_else(|| stem.clone(), |file| file.name().to_string())
        };
        let read = names.iter().zip(parsed);
        Ok(read.filter_map(|(stem, playlist)| Some((name(stem), playlist?))).collect())
    }

    /// Descriptions of the clips that playlists name.
    fn read_clips(
        &self,
        subject: &Subject,
        budget: &mut Budget,
        playlists: &[(String, Playlist)],
    ) -> Result<Clips, Stop> {
        let items = playlists.iter().flat_map(|(_, playlist)| &playlist.items);
        let clips = items.flat_map(|item| (0..=item.angles.len()).map(|angle| item.angle(angle).0));
        let clips: BTreeSet<Clip> = clips.filter(|clip| self.streams.contains_key(clip)).collect();
        let clips: Vec<Clip> = clips.into_iter().take(MAX_CLIPS).collect();
        let stems: Vec<String> = clips.iter().map(Clip::to_string).collect();
        let stems: Vec<&String> = stems.iter().collect();
        let folders = [&self.clips, &self.clip_copies];
        let parsed = read_twice(subject, budget, folders, &stems, ClipInfo::parse)?;
        Ok(clips.into_iter().zip(parsed).filter_map(|(clip, info)| Some((clip, info?))).collect())
    }

    /// What is played of which streams. Where one part ends in the middle of a group of pictures that the next one
    /// begins with, the group is played once.
    fn parts(&self, clips: &Clips, playlist: &Playlist, angle: usize) -> Vec<(&'a File, u64, u64)> {
        let mut parts = Vec::new();
        let mut before: Option<((Clip, u8, u32), u64)> = None;
        for item in &playlist.items {
            let (clip, clock) = item.angle(angle);
            let Some((file, size)) = self.streams.get(&clip).copied() else { continue };
            let info = clips.get(&clip);
            let (start, end) = info.map_or((0, size), |info| info.bytes(clock, item.start, item.end, size));
            let goes_on = before.filter(|(reached, _)| *reached == (clip, clock, item.start));
            let start = goes_on.map_or(start, |(_, at)| at);
            if start < end {
                parts.push((file, start, end - start));
            }
            before = Some(((clip, clock, item.end), end.max(start)));
        }
        parts
    }

    fn title(&self, walk: &mut Walk, clips: &Clips, (id, playlist): (&str, &Playlist), angle: usize) -> Option<Draft> {
        walk.spend(playlist.items.len() as u64 * ITEM_STEPS)?;
        let extents = walk.join(self.parts(clips, playlist, angle))?;
        Some(Draft {
            id: if angle == 0 { id.to_string() } else { format!("{id}#{}", angle + 1) },
            name: (angle > 0).then(|| format!("{id}, angle {}", angle + 1)),
            media_type: Some(MEDIA_TYPE),
            duration_ms: Some(playlist.duration_ms()),
            extents,
        })
    }

    fn facts(&self, playlist: &Playlist) -> Facts {
        let mut repeats = BTreeMap::new();
        for item in &playlist.items {
            *repeats.entry((item.clip, item.start, item.end)).or_insert(0usize) += 1;
        }
        Facts {
            duration_ms: playlist.duration_ms(),
            is_incomplete: playlist.items.iter().any(|item| !self.streams.contains_key(&item.clip)),
            repeats: repeats.values().copied().max().unwrap_or_default(),
            chapters: playlist.chapters,
            sounds: playlist.streams.iter().filter(|stream| stream.is_sound()).count(),
            is_full_picture: playlist.streams.iter().any(|stream| stream.is_full_picture()),
            ..Facts::default()
        }
    }

    /// No playlist can be read: each stream is a title, the largest is the film.
    fn find_streams(&self, subject: &Subject, mut found: Found) -> Result<Option<Found>, Stop> {
        let mut walk = Walk::new(subject);
        for (file, size) in self.streams.values() {
            let Some(extents) = walk.join([(*file, 0, *size)]) else { continue };
            let id = file.name().to_string();
            found.titles.push(Draft { id, media_type: Some(MEDIA_TYPE), extents, ..Draft::default() });
        }
        let sizes = found.titles.iter().map(Draft::size);
        found.main =
            sizes.enumerate().max_by_key(|(index, size)| (*size, std::cmp::Reverse(*index))).map(|(main, _)| main);
        let name = found.main.map(|main| found.titles[main].id.clone());
        let main = self.streams.values().filter(|(file, _)| Some(file.name()) == name.as_deref());
        let parts: Vec<_> = main.map(|(file, size)| (*file, 0, *size)).collect();
        if has_copy_bits(subject, &samples(&parts))? {
            return Err(encrypted("AACS"));
        }
        Ok(Some(found))
    }
}

/// Reads files by their names, and the copies of those that are not what they should be.
fn read_twice<T>(
    subject: &Subject,
    budget: &mut Budget,
    [folder, copies]: [&Files; 2],
    names: &[&String],
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Result<Vec<Option<T>>, Stop> {
    let files: Vec<Option<&File>> = names.iter().map(|name| folder.get(*name).copied()).collect();
    let read = budget.read(subject, &files, MAX_FILE_BYTES)?;
    let mut parsed: Vec<Option<T>> = read.iter().map(|bytes| parse(bytes)).collect();
    let damaged = names.iter().zip(&parsed).map(|(name, parsed)| (copies.get(*name).copied(), parsed.is_none()));
    let damaged: Vec<Option<&File>> = damaged.map(|(copy, is_damaged)| copy.filter(|_| is_damaged)).collect();
    for (parsed, bytes) in parsed.iter_mut().zip(budget.read(subject, &damaged, MAX_FILE_BYTES)?) {
        *parsed = parsed.take().or_else(|| parse(&bytes));
    }
    Ok(parsed)
}
