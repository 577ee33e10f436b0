//! Disc images: what is on them, and what of it is played.
//!
//! Owns: the order of questions: which file system, which kind of disc, which titles.
//! Leaves to others: file systems ([`volume`]), kinds of discs ([`titles`]), fetching (the host), the bytes of films.

pub mod titles;
pub mod tree;
pub mod volume;

use mediahost_plugin_sdk::container_detector;
use mediahost_plugin_sdk::detect::{Detector, Layout, Stop, Subject};

/// The detector.
pub struct Disc;

container_detector!(Disc, "plugin.json");

impl Detector for Disc {
    fn detect(subject: &Subject) -> Result<Option<Layout>, Stop> {
        let Some(tree) = volume::read(subject)? else { return Ok(None) };
        titles::layout(subject, &tree).map(Some)
    }
}
