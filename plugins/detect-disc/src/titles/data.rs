//! Discs that hold files as any folder does.
//!
//! Owns: which files are media, by their names.
//! Leaves to others: what is in them.

use super::{Draft, Found, Walk};
use crate::tree::Tree;
use mediahost_plugin_sdk::detect::{Stop, Subject};
use std::cmp::Reverse;

/// Extensions and what they stand for.
const MEDIA: [(&str, &str); 33] = [
    ("3gp", "video/3gpp"),
    ("aac", "audio/aac"),
    ("ac3", "audio/ac3"),
    ("aif", "audio/aiff"),
    ("aiff", "audio/aiff"),
    ("ape", "audio/x-ape"),
    ("asf", "video/x-ms-asf"),
    ("avi", "video/x-msvideo"),
    ("dat", "video/mpeg"),
    ("dts", "audio/vnd.dts"),
    ("evo", "video/mpeg"),
    ("flac", "audio/flac"),
    ("flv", "video/x-flv"),
    ("m2ts", "video/mp2t"),
    ("m4a", "audio/mp4"),
    ("m4v", "video/mp4"),
    ("mka", "audio/x-matroska"),
    ("mkv", "video/x-matroska"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("mpeg", "video/mpeg"),
    ("mpg", "video/mpeg"),
    ("mts", "video/mp2t"),
    ("ogg", "audio/ogg"),
    ("opus", "audio/ogg"),
    ("rmvb", "application/vnd.rn-realmedia-vbr"),
    ("ts", "video/mp2t"),
    ("vob", "video/mpeg"),
    ("wav", "audio/wav"),
    ("webm", "video/webm"),
    ("wma", "audio/x-ms-wma"),
    ("wmv", "video/x-ms-wmv"),
];
/// On a Video CD films have this folder; elsewhere a `.dat` is anything.
const VIDEO_CD_FOLDER: &str = "mpegav";

/// A title for each file with a medium's extension, the largest being the main one; none if there is none.
pub fn find(subject: &Subject, tree: &Tree) -> Result<Option<Found>, Stop> {
    let mut walk = Walk::new(subject);
    let mut found = Found { format: tree.file_system, ..Found::default() };
    for file in &tree.files {
        let Some(media_type) = media_type(&file.path) else { continue };
        let Some(extents) = walk.join([(file, 0, file.size())]) else { continue };
        found.titles.push(Draft {
            id: file.path.clone(),
            name: Some(file.name().to_string()),
            media_type: Some(media_type),
            duration_ms: None,
            extents,
        });
    }
    let sizes = found.titles.iter().map(Draft::size).enumerate();
    found.main = sizes.max_by_key(|(index, size)| (*size, Reverse(*index))).map(|(main, _)| main);
    Ok(Some(found).filter(|found| !found.titles.is_empty()))
}

/// What a file is by its name; none if it is no medium.
pub fn media_type(path: &str) -> Option<&'static str> {
    let lower = path.to_ascii_lowercase();
    let (folder, name) = lower.rsplit_once('/').unwrap_or(("", &lower));
    let (_, extension) = name.rsplit_once('.')?;
    if extension == "dat" && folder.rsplit('/').next() != Some(VIDEO_CD_FOLDER) {
        return None;
    }
    MEDIA.iter().find(|(known, _)| *known == extension).map(|(_, media_type)| *media_type)
}
