//! Archives whose members are stored as they are: ZIP, RAR (4 and 5) with its volume sets, TAR.
//!
//! Owns: finding the members and where their bytes are, also over several files; which of them is what to play; saying
//! why a film in an archive cannot be played.
//! Leaves to others: fetching (the host), unpacking and decrypting (nobody), what the members themselves contain.
//!
//! Invariant: the bytes of members are not read, and a title's extents give exactly the bytes of its member.

mod crc;
mod media;
mod member;
mod rar;
mod tar;
mod walk;
mod zip;

use mediahost_plugin_sdk::container_detector;
use mediahost_plugin_sdk::detect::{Detector, Layout, Stop, Subject};

/// Members that are looked at, at most.
const MAX_MEMBERS: usize = 65_536;
/// Rounds that walking from header to header may cost: the host allows 32, and some go for the rest.
const ROUNDS: u32 = 28;

/// The detector.
pub struct Archive;

container_detector!(Archive, "plugin.json");

impl Detector for Archive {
    fn detect(subject: &Subject) -> Result<Option<Layout>, Stop> {
        let head = subject.read(0, tar::BLOCK)?;
        if let Some(version) = rar::Version::of(&head) {
            return rar::detect(subject, version).map(Some);
        }
        if zip::SIGNATURES.iter().any(|signature| head.starts_with(signature)) {
            return zip::detect(subject, true);
        }
        let named = |ending: &str| subject.name().is_some_and(|name| name.to_ascii_lowercase().ends_with(ending));
        if tar::has_magic(&head) || (named(".tar") && tar::is_header(&head)) {
            return tar::detect(subject).map(Some);
        }
        // What unpacks itself has a program in front.
        if named(".zip") { zip::detect(subject, false) } else { Ok(None) }
    }
}
