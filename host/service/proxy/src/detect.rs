//! Asks the detectors what a file contains, and fetches what they name.
//!
//! Owns: the rounds with one detector, their bounds, which detector is asked next, and which of their errors count.
//! Leaves to others: what becomes of a layout ([`crate::titles`]), opening files beside the one in question ([`Beside`]).

use std::sync::Arc;

use bytes::Bytes;
use plugin::detect::{
    Answer, ContainerDetector, File, HEAD_BYTES, Layout, Look, MAX_ROUNDS, MAX_SIBLINGS, MAX_WINDOW_BYTES, Needed,
    Window,
};
use plugin::{Failure, Plugins, code};

use crate::fault::Fault;
use crate::film::Film;
use crate::live::Live;

/// Ranges of one round, at most.
const MAX_RANGES: usize = 4096;
/// What comes in order is waited for if it is at most so far away, bytes.
const SOON: u64 = 4 << 20;

/// What a detector found, and the files beside the one in question that it asked for.
pub struct Found {
    pub layout: Layout,
    pub siblings: Vec<Sibling>,
}

/// A file beside another one.
pub struct Sibling {
    pub name: String,
    /// None if there is no such file.
    pub file: Option<Arc<Live>>,
}

/// Opens files beside the one in question.
pub trait Beside: Sync {
    /// The files of these names, in their order.
    fn open(&self, names: Vec<String>) -> impl Future<Output = Result<Vec<Sibling>, Fault>> + Send;
}

/// Where nothing is beside anything: within an image.
pub struct Alone;

impl Beside for Alone {
    async fn open(&self, names: Vec<String>) -> Result<Vec<Sibling>, Fault> {
        Ok(names.into_iter().map(|name| Sibling { name, file: None }).collect())
    }
}

/// Detectors that may know what begins so.
pub struct Candidates {
    head: Bytes,
    detectors: Vec<Arc<dyn ContainerDetector>>,
}

impl Candidates {
    /// Reads the beginning and looks who may know it.
    pub async fn of(plugins: &dyn Plugins, film: &Film, name: Option<&str>) -> Result<Candidates, Fault> {
        let head = film.read(0..HEAD_BYTES.min(film.total())).await?;
        Ok(Candidates { detectors: plugins.detectors(&head, name), head })
    }

    /// Whether what is served may be a part of it, and not the whole.
    pub fn may_hold_titles(&self) -> bool {
        self.detectors.iter().any(|detector| detector.finds_titles())
    }
}

/// What the detectors say, or none when none of them knows it. A detector that breaks a rule is passed over: a film
/// plays without anybody knowing what it is. One that knows that it cannot be played is believed.
pub async fn detect(
    candidates: Candidates,
    film: &Film,
    beside: &impl Beside,
    name: Option<&str>,
    media_type: Option<&str>,
    start_ms: Option<u64>,
) -> Result<Option<Found>, Fault> {
    let Candidates { head, detectors } = candidates;
    let file = File { name: name.map(str::to_owned), media_type: media_type.map(str::to_owned), size: film.length() };
    for detector in detectors {
        let first = Window { file: 0, offset: 0, bytes: head.clone() };
        let look = Look { files: vec![file.clone()], windows: vec![first], start_ms };
        match ask(&*detector, film, beside, look).await {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {}
            Err(Trouble::Upstream(fault)) => return Err(fault),
            Err(Trouble::Detector(why)) => {
                tracing::warn!(detector = detector.id(), %why, "a detector could not say what this is");
            }
        }
    }
    Ok(None)
}

/// Whether an object that no detector knows is a page: error pages and sign-in pages come with any status and any media
/// type.
pub async fn document(film: &Film) -> Result<Option<&'static str>, Fault> {
    let head = film.read(0..512.min(film.total())).await?;
    let text =
        String::from_utf8_lossy(&head).trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']).to_ascii_lowercase();
    let begins = |words: &[&str]| words.iter().any(|word| text.starts_with(word));
    Ok(begins(&["<!doctype html", "<html", "<head", "<body"]).then_some("an HTML page"))
}

enum Trouble {
    Upstream(Fault),
    Detector(String),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        match &failure {
            Failure::Answer { error, .. } if matches!(error.code.as_str(), code::ENCRYPTED | code::UNSUPPORTED) => {
                Trouble::Upstream(failure.into())
            }
            _ => Trouble::Detector(failure.to_string()),
        }
    }
}

/// Rounds with one detector: what it needs is fetched all at once, then it is asked again.
async fn ask(
    detector: &dyn ContainerDetector,
    film: &Film,
    beside: &impl Beside,
    mut look: Look,
) -> Result<Option<Found>, Trouble> {
    let mut found: Vec<Sibling> = Vec::new();
    for _ in 0..MAX_ROUNDS {
        let (needed, siblings) = match detector.detect(look.clone()).await? {
            Answer::Unknown => return Ok(None),
            Answer::Found(layout) => return Ok(Some(Found { layout: *layout, siblings: found })),
            Answer::Need { ranges, siblings } => (ranges, siblings),
        };
        if found.len() + siblings.len() > MAX_SIBLINGS {
            return Err(Trouble::Detector(format!("it wanted to see more than {MAX_SIBLINGS} files")));
        }
        let asks_for_files = !siblings.is_empty();
        for sibling in beside.open(siblings).await.map_err(Trouble::Upstream)? {
            // What has no length does not count as a volume: nobody knows where the next one begins.
            let size = sibling.file.as_ref().and_then(|file| file.length());
            look.files.push(File { name: Some(sibling.name.clone()), media_type: None, size });
            found.push(sibling);
        }
        let file = |number: u32| match number {
            0 => Some(film.clone()),
            _ => found.get(number as usize - 1)?.file.clone().map(Film::whole),
        };
        check(&look, &needed, asks_for_files, |number| file(number).map_or(0, |film| film.total()))?;
        let windows = needed.iter().map(|needed| window(file(needed.file), needed));
        let windows = futures_util::future::try_join_all(windows).await.map_err(Trouble::Upstream)?;
        look.windows.extend(windows);
    }
    Err(Trouble::Detector(format!("it still wanted more after {MAX_ROUNDS} rounds")))
}

/// Whether the bounds hold, and each round brings something new.
fn check(look: &Look, needed: &[Needed], asks_for_files: bool, total: impl Fn(u32) -> u64) -> Result<(), Trouble> {
    let have: u64 = look.windows.iter().map(|window| window.bytes.len() as u64).sum();
    let clamp = |range: &Needed| range.length.min(total(range.file).saturating_sub(range.offset));
    let more = needed.iter().map(clamp).fold(0, u64::saturating_add);
    if have.saturating_add(more) > MAX_WINDOW_BYTES || needed.len() > MAX_RANGES {
        return Err(Trouble::Detector(format!("it wanted to see more than {MAX_WINDOW_BYTES} bytes")));
    }
    let covered = |range: &Needed| {
        look.windows.iter().any(|window| {
            let end = window.offset + window.bytes.len() as u64;
            window.file == range.file && window.offset <= range.offset && range.offset + clamp(range) <= end
        })
    };
    if !asks_for_files && needed.iter().all(|range| range.offset < total(range.file) && covered(range)) {
        return Err(Trouble::Detector("it asks for what it was shown already".into()));
    }
    Ok(())
}

async fn window(film: Option<Film>, needed: &Needed) -> Result<Window, Fault> {
    let nothing = Window { file: needed.file, offset: needed.offset, bytes: Bytes::new() };
    let Some(film) = film else { return Ok(nothing) };
    let start = needed.offset.min(film.total());
    let end = needed.offset.saturating_add(needed.length).min(film.total());
    // What comes in order, and is far away, is there when the film is half over.
    let is_late = film.length().is_none() && end > film.root().readable(0).0.saturating_add(SOON);
    if start >= end || is_late {
        return Ok(nothing);
    }
    Ok(Window { bytes: film.read(start..end).await?, ..nothing })
}
