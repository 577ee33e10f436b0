//! Members of any archive, and the titles they become.
//!
//! Owns: which members are played and which of them first, the ids and names they go by, the words for what cannot be
//! played.
//! Leaves to others: the formats of archives.
//!
//! Invariant: ids are unique within a layout and the same in every look; at most one title is the main one.

use std::collections::BTreeSet;

use mediahost_plugin_sdk::detect::{Extent, Layout, Stop, Title};

use crate::media::media_type;

/// Titles of one layout, at most.
pub const MAX_TITLES: usize = 512;
/// Bytes of an id or a name, at most.
pub const MAX_NAME: usize = 1024;
/// Of which these are kept for telling equal ids apart.
const SUFFIX_ROOM: usize = 16;

/// Something in an archive.
#[derive(Clone, Debug)]
pub struct Member {
    /// As the archive has it.
    pub path: String,
    /// How long it is once it is out.
    pub size: u64,
    /// Where its bytes are.
    pub extents: Vec<Extent>,
    /// Why it cannot be played, if it cannot.
    pub hindrance: Option<Hindrance>,
}

/// Why a member cannot be played.
#[derive(Clone, Debug)]
pub enum Hindrance {
    /// It is compressed, by this method.
    Compressed(String),
    /// It is encrypted.
    Encrypted,
    /// It is stored without its holes.
    Sparse,
    /// It goes on in a volume of this name, which is not there.
    Continues(String),
    /// It goes on in volumes that were not looked at.
    Unseen,
}

impl Member {
    fn is_sample(&self) -> bool {
        self.path.to_ascii_lowercase().contains("sample")
    }

    /// Films before samples, then by length; the one that comes first among equals.
    fn rank(&self) -> (bool, u64) {
        (!self.is_sample(), self.size)
    }

    fn refusal(&self) -> Option<Stop> {
        let name = display(&self.path);
        Some(match self.hindrance.as_ref()? {
            Hindrance::Compressed(method) => {
                Stop::unsupported(format!("{name} is compressed ({method}): only stored members can be played"))
            }
            Hindrance::Encrypted => Stop::encrypted(format!("{name} is encrypted and cannot be played")),
            Hindrance::Sparse => Stop::unsupported(format!("{name} is stored without its holes (sparse)")),
            Hindrance::Continues(volume) => {
                Stop::unsupported(format!("{name} goes on in {volume}, which is not there"))
            }
            Hindrance::Unseen => Stop::unsupported(format!("{name} is spread over too many volumes")),
        })
    }
}

/// The members that become titles. Not one, although there is something to play: says why. `whole` tells whether all
/// members of the archive are there.
pub fn choose(members: Vec<Member>, whole: bool) -> Result<Vec<Member>, Stop> {
    let media = members.into_iter().filter(|member| member.size > 0 && media_type(&member.path).is_some());
    let (mut playable, refused): (Vec<Member>, Vec<Member>) = media.partition(|member| member.hindrance.is_none());
    let first = main(&playable).map(|at| playable[at].rank());
    // A sample that happens to be complete is not what somebody wants who has lost a volume of the film.
    let lost = |member: &&Member| matches!(member.hindrance, Some(Hindrance::Continues(_) | Hindrance::Unseen));
    let worst = match first {
        Some(first) => refused.iter().filter(lost).filter(|member| member.rank() > first).max_by_key(|m| m.rank()),
        None => refused.iter().max_by_key(|member| member.rank()),
    };
    if let Some(refusal) = worst.and_then(Member::refusal) {
        return Err(refusal);
    }
    if playable.is_empty() && !whole {
        return Err(Stop::unsupported("there is nothing to play among those members that could be looked at"));
    }
    if let Some(at) = main(&playable).filter(|at| *at >= MAX_TITLES) {
        playable.swap(at, MAX_TITLES - 1);
    }
    playable.truncate(MAX_TITLES);
    Ok(playable)
}

/// The layout with these members as titles.
pub fn lay_out(format: &str, media_type_of_archive: &str, members: Vec<Member>) -> Layout {
    let main = main(&members);
    let mut layout = Layout::new(format).media_type(media_type_of_archive);
    let mut ids = BTreeSet::new();
    for (at, member) in members.into_iter().enumerate() {
        let path = display(&member.path);
        let mut title = Title::new(unique(&path, &mut ids), member.extents);
        title.name = Some(path.rsplit('/').next().unwrap_or(&path).to_string());
        title.media_type = media_type(&member.path).map(str::to_string);
        title.main = main == Some(at);
        layout.titles.push(title);
    }
    layout
}

fn main(members: &[Member]) -> Option<usize> {
    (0..members.len()).rev().max_by_key(|at| members[*at].rank())
}

/// A path for people: folders by `/`, none that lead out of the archive, nothing that cannot be printed.
fn display(path: &str) -> String {
    let path: String = path.chars().map(|c| if c == '\\' { '/' } else { c }).collect();
    let parts: Vec<&str> = path.split('/').filter(|part| !["", ".", ".."].contains(part)).collect();
    let clean: String = parts.join("/").chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect();
    // The end of a path says more than its beginning.
    let mut from = clean.len().saturating_sub(MAX_NAME - SUFFIX_ROOM);
    while !clean.is_char_boundary(from) {
        from += 1;
    }
    clean[from..].to_string()
}

/// The id itself, or the first of `id (2)`, `id (3)`, … that is free.
fn unique(id: &str, taken: &mut BTreeSet<String>) -> String {
    let mut candidate = id.to_string();
    for number in 2.. {
        if taken.insert(candidate.clone()) {
            break;
        }
        candidate = format!("{id} ({number})");
    }
    candidate
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(path: &str, size: u64, hindrance: Option<Hindrance>) -> Member {
        Member { path: path.into(), size, extents: vec![Extent::of_file(0, 0, size)], hindrance }
    }

    fn titles(members: &[(&str, u64)]) -> Vec<(String, bool)> {
        let members = members.iter().map(|(path, size)| member(path, *size, None)).collect();
        let layout = lay_out("zip", "application/zip", choose(members, true).unwrap());
        layout.titles.into_iter().map(|title| (title.id, title.main)).collect()
    }

    fn refusal(members: Vec<Member>) -> String {
        match choose(members, true) {
            Err(Stop::Failed(error)) => format!("{}: {}", error.code, error.message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_largest_that_is_no_sample_is_the_main_one() {
        for (members, main) in [
            (&[("a.mkv", 1), ("b.mkv", 3), ("c.mkv", 2)][..], Some("b.mkv")),
            (&[("a.mkv", 1), ("Sample/b.mkv", 3)], Some("a.mkv")),
            (&[("a-SAMPLE.mkv", 1), ("Sample/b.mkv", 3)], Some("Sample/b.mkv")),
            (&[("a.mkv", 2), ("b.mkv", 2)], Some("a.mkv")),
            (&[("a.txt", 2), ("empty.mkv", 0)], None),
        ] {
            let titles = titles(members);
            let found: Vec<&str> = titles.iter().filter(|(_, main)| *main).map(|(id, _)| id.as_str()).collect();
            assert_eq!(found, Vec::from_iter(main), "{members:?}");
        }
    }

    #[test]
    fn ids_are_unique_whatever_the_paths() {
        let paths = ["a/x.mkv", "../a/x.mkv", "/a\\x.mkv", "a/x.mkv (2)/../x.mkv", "a/\u{7}x.mkv", "./a/./x.mkv"];
        let ids: Vec<String> = titles(&paths.map(|path| (path, 1))).into_iter().map(|(id, _)| id).collect();
        let expected = ["a/x.mkv", "a/x.mkv (2)", "a/x.mkv (3)", "a/x.mkv (2)/x.mkv", "a/\u{FFFD}x.mkv", "a/x.mkv (4)"];
        assert_eq!(ids, expected);
        let long = format!("{}film.mkv", "ö".repeat(4000));
        let ids = titles(&[(&long, 1), (&long, 2)]);
        assert!(ids.iter().all(|(id, _)| id.len() <= MAX_NAME && id.contains("film.mkv")) && ids[0].0 != ids[1].0);
    }

    #[test]
    fn too_many_titles_keep_the_main_one() {
        let paths: Vec<String> = (0..2000).map(|i| format!("{i}.mp3")).collect();
        let members: Vec<(&str, u64)> =
            paths.iter().enumerate().map(|(i, path)| (path.as_str(), i as u64 + 1)).collect();
        let titles = titles(&members);
        assert_eq!(titles.len(), MAX_TITLES);
        assert_eq!(titles.iter().find(|(_, main)| *main).map(|(id, _)| id.as_str()), Some("1999.mp3"));
    }

    #[test]
    fn what_cannot_be_played_is_named() {
        let deflate = || Some(Hindrance::Compressed("Deflate".into()));
        assert_eq!(
            refusal(vec![member("a.mkv", 1, Some(Hindrance::Encrypted)), member("d/film.mkv", 2, deflate())]),
            "unsupported: d/film.mkv is compressed (Deflate): only stored members can be played"
        );
        assert_eq!(
            refusal(vec![member("a.mkv", 3, Some(Hindrance::Encrypted)), member("b.mkv", 2, deflate())]),
            "encrypted: a.mkv is encrypted and cannot be played"
        );
        let lost = Some(Hindrance::Continues("x.part3.rar".into()));
        assert_eq!(
            refusal(vec![member("sample.mkv", 1, None), member("film.mkv", 9, lost)]),
            "unsupported: film.mkv goes on in x.part3.rar, which is not there"
        );
        assert_eq!(choose(vec![member("a.mkv", 1, None), member("b.mkv", 9, deflate())], true).unwrap().len(), 1);
        assert!(choose(vec![member("a.txt", 9, deflate())], true).unwrap().is_empty());
        assert!(choose(vec![], false).is_err());
    }
}
