//! What of a disc is played: its titles, and which of them is the film.
//!
//! Owns: the order in which kinds of discs are tried, what all kinds share: extents that end where the image ends,
//! bounds, the ranges a player of the main title needs first.
//! Leaves to others: where files lie ([`crate::tree`]), how each kind of disc is read (the modules below), the streams.
//!
//! Invariant: a title has at least one byte in the image and at most [`MAX_EXTENTS`] extents; at most one is main.

pub mod bluray;
pub mod budget;
pub mod clpi;
pub mod data;
pub mod dvd;
pub mod hddvd;
pub mod ifo;
pub mod mpls;
pub mod rules;
pub mod scrambling;

use crate::tree::{self, File, Tree};
use mediahost_plugin_sdk::detect::opening::{TAIL_BYTES, listless_bytes};
use mediahost_plugin_sdk::detect::{Extent, ExtentOrigin, Layout, Stop, Subject, Title, Track};

/// Titles of one disc, at most; the longest are kept.
pub const MAX_TITLES: usize = 512;
/// Extents of one title, at most, as the contract has it; a title with more is left out.
pub const MAX_EXTENTS: usize = 65_536;
/// Extents of all titles together, at most: what an answer may weigh.
pub const MAX_ALL_EXTENTS: usize = 262_144;
/// Extents of files that are walked over to find those of titles, at most: a bound on time.
pub const MAX_STEPS: u64 = 16 << 20;
/// Extents of titles that are held until it is known which titles are kept, at most: a bound on memory.
pub const MAX_HELD_EXTENTS: usize = 1 << 20;

/// A title, before it is known whether it is kept.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// Stable within the image.
    pub id: String,
    /// For people.
    pub name: Option<String>,
    /// What the stream is.
    pub media_type: Option<&'static str>,
    /// As the disc states it.
    pub duration_ms: Option<u64>,
    /// Neighbours that are adjacent are one; see [`Walk`].
    pub extents: Vec<tree::Extent>,
}

impl Draft {
    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.extents.iter().fold(0, |sum, extent| sum.saturating_add(extent.length))
    }

    /// Where a part of it lies in the image.
    pub fn ranges(&self, offset: u64, length: u64) -> Vec<(u64, u64)> {
        File { path: String::new(), extents: self.extents.clone() }.ranges(offset, length)
    }
}

/// What a kind of disc says.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The layout's format.
    pub format: &'static str,
    /// In the order in which people should see them.
    pub titles: Vec<Draft>,
    /// Which of them is played unasked.
    pub main: Option<usize>,
    /// The streams of that one.
    pub tracks: Vec<Track>,
}

/// What is on a volume. A disc that has nothing to play gives a layout without titles, in the file system's name.
pub fn layout(subject: &Subject, tree: &Tree) -> Result<Layout, Stop> {
    for find in [bluray::find, hddvd::find, dvd::find, data::find] {
        if let Some(found) = find(subject, tree)?.filter(|found| !found.titles.is_empty()) {
            return Ok(found.layout(tree));
        }
    }
    Ok(Layout::new(tree.file_system).media_type(IMAGE))
}

/// What servers call images, whichever file system is in them.
const IMAGE: &str = "application/x-iso9660-image";

/// The disc cannot be played without keys, which this host neither has nor wants.
pub fn encrypted(how: &str) -> Stop {
    Stop::encrypted(format!("the disc is encrypted ({how}); only discs without encryption can be played"))
}

impl Found {
    fn layout(mut self, tree: &Tree) -> Layout {
        let mut layout = Layout::new(self.format).media_type(IMAGE);
        let keep = self.kept();
        if let Some(main) = self.main.and_then(|main| self.titles.get_mut(main)) {
            layout.duration_ms = main.duration_ms;
            layout.tracks = self.tracks;
            layout.estimate_bit_rate(Some(main.size()));
            let head = listless_bytes(Some(main.size()), main.duration_ms);
            let tail = main.size().saturating_sub(TAIL_BYTES).max(head);
            for (offset, length) in main.ranges(0, head) {
                layout.need_first(offset, length, "head");
            }
            for (offset, length) in main.ranges(tail, TAIL_BYTES) {
                layout.need_first(offset, length, "tail");
            }
            if main.name.is_none() && !tree.label.is_empty() {
                main.name = Some(tree.label.clone());
            }
        }
        let main = self.main;
        let kept = self.titles.into_iter().enumerate().filter(|(index, _)| keep[*index]);
        layout.titles = kept.map(|(index, draft)| title(draft, main == Some(index))).collect();
        layout
    }

    /// Which titles stay within the bounds: the main one first, then the longest.
    fn kept(&self) -> Vec<bool> {
        let mut order: Vec<usize> = (0..self.titles.len()).collect();
        let key = |index: &usize| (self.main != Some(*index), std::cmp::Reverse(rules::weight(&self.titles[*index])));
        order.sort_by_cached_key(key);
        let (mut keep, mut left) = (vec![false; self.titles.len()], MAX_ALL_EXTENTS);
        for index in order.into_iter().take(MAX_TITLES) {
            let extents = self.titles[index].extents.len();
            if extents <= left {
                (keep[index], left) = (true, left - extents);
            }
        }
        keep
    }
}

fn title(draft: Draft, main: bool) -> Title {
    let extent = |extent: tree::Extent| Extent {
        origin: extent.offset.map_or(ExtentOrigin::Zeros, |offset| ExtentOrigin::File((0, offset))),
        length: extent.length,
    };
    Title {
        name: draft.name,
        media_type: draft.media_type.map(Into::into),
        duration_ms: draft.duration_ms,
        main,
        ..Title::new(draft.id, draft.extents.into_iter().map(extent).collect())
    }
}

/// Gathers the extents of titles, within the bounds on their number and on time.
pub struct Walk {
    /// Where the image ends.
    end: u64,
    steps: u64,
    held: usize,
}

impl Walk {
    /// For the titles of one image.
    pub fn new(subject: &Subject) -> Walk {
        Walk { end: subject.size().unwrap_or(u64::MAX), steps: 0, held: 0 }
    }

    /// The parts of files, one after the other, as far as they are in the image; none if there are too many or nothing
    /// is left. A part is a file, where it begins and how long it is.
    pub fn join<'a>(&mut self, parts: impl IntoIterator<Item = (&'a File, u64, u64)>) -> Option<Vec<tree::Extent>> {
        let mut joined: Vec<tree::Extent> = Vec::new();
        for (file, offset, length) in parts {
            self.spend(1 + file.extents.len() as u64)?;
            for extent in file.part(offset, length) {
                push(&mut joined, self.cut(extent));
            }
            if joined.len() > MAX_EXTENTS.min(MAX_HELD_EXTENTS - self.held) {
                return None;
            }
        }
        self.held += joined.len();
        joined.iter().any(|extent| extent.offset.is_some()).then_some(joined)
    }

    /// Counts work; none when it is too much in all.
    pub fn spend(&mut self, steps: u64) -> Option<()> {
        self.steps = self.steps.saturating_add(steps);
        (self.steps <= MAX_STEPS).then_some(())
    }

    /// What of an extent is in the image.
    fn cut(&self, extent: tree::Extent) -> tree::Extent {
        let room = extent.offset.map_or(u64::MAX, |offset| self.end.saturating_sub(offset));
        tree::Extent { length: extent.length.min(room), ..extent }
    }
}

fn push(joined: &mut Vec<tree::Extent>, extent: tree::Extent) {
    if extent.length == 0 {
        return;
    }
    if let Some(last) = joined.last_mut() {
        let adjacent = match (last.offset, extent.offset) {
            (Some(before), Some(offset)) => before.checked_add(last.length) == Some(offset),
            (before, offset) => before.is_none() && offset.is_none(),
        };
        if let Some(length) = last.length.checked_add(extent.length).filter(|_| adjacent) {
            last.length = length;
            return;
        }
    }
    joined.push(extent);
}
