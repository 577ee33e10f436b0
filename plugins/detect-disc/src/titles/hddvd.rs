//! HD DVD.
//!
//! Owns: which streams belong together, by their names: `FEATURE_1.EVO`, `FEATURE_2.EVO`.
//! Leaves to others: the playlists of such discs, which are programs.

use super::rules::{Facts, main_title, weight};
use super::scrambling::has_scrambled_packs;
use super::{Draft, Found, Walk, encrypted};
use crate::tree::{File, Tree};
use mediahost_plugin_sdk::detect::{Stop, Subject};
use std::collections::BTreeMap;

/// The titles of an HD DVD; none if it is not one.
pub fn find(subject: &Subject, tree: &Tree) -> Result<Option<Found>, Stop> {
    let mut groups: BTreeMap<String, Vec<(u64, &File)>> = BTreeMap::new();
    for file in &tree.files {
        let lower = file.path.to_ascii_lowercase();
        let Some((folder, name)) = lower.rsplit_once('/') else { continue };
        if folder.rsplit('/').next() != Some("hvdvd_ts") {
            continue;
        }
        let Some(stem) = name.strip_suffix(".evo") else { continue };
        let numbered = stem.rsplit_once('_').and_then(|(group, number)| Some((group, number.parse().ok()?)));
        let (group, number) = numbered.unwrap_or((stem, 0));
        groups.entry(group.to_string()).or_default().push((number, file));
    }
    if groups.is_empty() {
        return Ok(None);
    }
    if tree.files.iter().any(|file| file.path.to_ascii_lowercase().starts_with("aacs/")) {
        return Err(encrypted("AACS"));
    }
    let mut walk = Walk::new(subject);
    let mut found = Found { format: "hddvd", ..Found::default() };
    for (_, mut files) in groups {
        files.sort_by_key(|(number, file)| (*number, &file.path));
        let Some(extents) = walk.join(files.iter().map(|(_, file)| (*file, 0, file.size()))) else { continue };
        // The first part's name tells how names are written on this disc.
        let id = files[0].1.name().to_string();
        found.titles.push(Draft { id, media_type: Some("video/mpeg"), extents, ..Draft::default() });
    }
    let facts = |draft: &Draft| Facts { size: draft.size(), duration_ms: weight(draft), ..Facts::default() };
    found.main = main_title(&found.titles.iter().map(facts).collect::<Vec<_>>());
    if let Some(main) = found.main
        && has_scrambled_packs(subject, &found.titles[main])?
    {
        return Err(encrypted("AACS"));
    }
    Ok(Some(found))
}
