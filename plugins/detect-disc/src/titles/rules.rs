//! Which title is the film.
//!
//! Owns: the rules, which are those of the players people have: decoys are left out, then the longest wins.
//! Leaves to others: what is known of a title.
//!
//! Invariant: a title without bytes is never chosen. A rule that would leave nothing is not applied.

use super::Draft;
use std::cmp::Reverse;

/// A title that is shorter is not the film, if any is longer.
pub const SHORT_MS: u64 = 120_000;
/// Among titles that are longer, chapters and the size of the picture count for more than minutes.
pub const LONG_MS: u64 = 30 * 60_000;
/// A part of a film is heard or seen at most so often in it.
pub const MAX_REPEATS: usize = 2;
/// A long title with so many chapters makes those with fewer than [`NO_CHAPTERS`] suspicious.
const MANY_CHAPTERS: usize = 7;
const NO_CHAPTERS: usize = 2;
/// Bytes of a millisecond of a title of which nobody says how long it is: 6 Mbit/s.
const BYTES_PER_MS: u64 = 750;

/// What the rules look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Bytes in the image.
    pub size: u64,
    /// As stated, or guessed from the size.
    pub duration_ms: u64,
    /// Parts of it are not on the disc.
    pub is_incomplete: bool,
    /// A menu of the disc does not lead to it, as far as is known.
    pub is_hidden: bool,
    /// How often the part that is repeated most is in it.
    pub repeats: usize,
    /// An earlier title has the same parts in the same order.
    pub is_duplicate: bool,
    /// Chapters, or marks that begin them.
    pub chapters: usize,
    /// Streams of sound.
    pub sounds: usize,
    /// Whether the picture is as large as the kind of disc allows for films.
    pub is_full_picture: bool,
}

/// Which of the titles, which are in the order of their numbers, is played when nobody chose.
pub fn main_title(titles: &[Facts]) -> Option<usize> {
    let mut left: Vec<usize> = (0..titles.len()).filter(|index| titles[*index].size > 0).collect();
    let mut narrow = |is_good: &dyn Fn(&Facts) -> bool| {
        if left.iter().any(|index| is_good(&titles[*index])) {
            left.retain(|index| is_good(&titles[*index]));
        }
        left.clone()
    };
    narrow(&|title| !title.is_incomplete);
    narrow(&|title| title.repeats <= MAX_REPEATS);
    narrow(&|title| !title.is_hidden);
    narrow(&|title| title.duration_ms >= SHORT_MS);
    let left = narrow(&|title| !title.is_duplicate);
    let left = among_long(titles, left, |title| title.chapters >= MANY_CHAPTERS, |title| title.chapters < NO_CHAPTERS);
    let left = among_long(titles, left, |title| title.is_full_picture, |title| !title.is_full_picture);
    left.into_iter().max_by_key(|index| {
        let title = &titles[*index];
        (title.duration_ms, title.chapters, title.sounds, Reverse(*index))
    })
}

/// When one of the long titles is better, those that are worse go.
fn among_long(
    titles: &[Facts],
    mut left: Vec<usize>,
    is_better: impl Fn(&Facts) -> bool,
    is_worse: impl Fn(&Facts) -> bool,
) -> Vec<usize> {
    let is_long = |index: &usize| titles[*index].duration_ms > LONG_MS;
    if left.iter().any(|index| is_long(index) && is_better(&titles[*index])) {
        left.retain(|index| !is_long(index) || !is_worse(&titles[*index]));
    }
    left
}

/// How long a title is for those who compare, in milliseconds; a guess where the disc does not say.
pub fn weight(draft: &Draft) -> u64 {
    draft.duration_ms.unwrap_or_else(|| draft.size() / BYTES_PER_MS)
}
