//! Asks the detectors what an object contains, and fetches what they name.

use std::sync::Arc;

use plugin::detect::{
    Answer, ContainerDetector, File, HEAD_BYTES, Layout, Look, MAX_ROUNDS, MAX_WINDOW_BYTES, Needed, Window,
};
use plugin::{Failure, Plugins};

use crate::body::read;
use crate::fault::Fault;
use crate::live::Live;

/// What comes in order is waited for if it is at most so far away, bytes.
const SOON: u64 = 4 << 20;

/// The layout of an object, or none when no detector knows it. A detector that breaks a rule is passed over: a film
/// plays without anybody knowing what it is.
pub async fn detect(
    plugins: &dyn Plugins,
    live: &Arc<Live>,
    name: Option<&str>,
    media_type: Option<&str>,
) -> Result<Option<Layout>, Fault> {
    let head = read(live, 0..HEAD_BYTES.min(live.total())).await?;
    let file = File { name: name.map(str::to_owned), media_type: media_type.map(str::to_owned), size: live.length() };
    for detector in plugins.detectors(&head, name) {
        let first = Window { file: 0, offset: 0, bytes: head.clone() };
        match ask(&*detector, live, file.clone(), first).await {
            Ok(Some(layout)) => return Ok(Some(layout)),
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
pub async fn document(live: &Arc<Live>) -> Result<Option<&'static str>, Fault> {
    let head = read(live, 0..512.min(live.total())).await?;
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
        Trouble::Detector(failure.to_string())
    }
}

/// Rounds with one detector: what it needs is fetched all at once, then it is asked again.
async fn ask(
    detector: &dyn ContainerDetector,
    live: &Arc<Live>,
    file: File,
    first: Window,
) -> Result<Option<Layout>, Trouble> {
    let mut look = Look { files: vec![file], windows: vec![first], start_ms: None };
    for _ in 0..MAX_ROUNDS {
        let needed = match detector.detect(look.clone()).await? {
            Answer::Unknown => return Ok(None),
            Answer::Found(layout) => return Ok(Some(*layout)),
            Answer::Need { ranges, siblings } => {
                // Siblings are offered as files that do not exist.
                look.files
                    .extend(siblings.into_iter().take(256).map(|name| File { name: Some(name), ..File::default() }));
                ranges
            }
        };
        check(&look, &needed, live.total())?;
        let windows = needed.iter().map(|needed| window(live, needed));
        let windows = futures_util::future::try_join_all(windows).await.map_err(Trouble::Upstream)?;
        look.windows.extend(windows);
    }
    Err(Trouble::Detector(format!("it still wanted more after {MAX_ROUNDS} rounds")))
}

/// Whether the bounds hold, and each round brings something new.
fn check(look: &Look, needed: &[Needed], total: u64) -> Result<(), Trouble> {
    let have: u64 = look.windows.iter().map(|window| window.bytes.len() as u64).sum();
    let clamp = |range: &Needed| range.length.min(total.saturating_sub(range.offset));
    let more = needed.iter().map(clamp).fold(0, u64::saturating_add);
    if have.saturating_add(more) > MAX_WINDOW_BYTES || needed.len() > 4096 {
        return Err(Trouble::Detector(format!("it wanted to see more than {MAX_WINDOW_BYTES} bytes")));
    }
    let covered = |range: &Needed| {
        look.windows.iter().any(|window| {
            let end = window.offset + window.bytes.len() as u64;
            window.file == range.file && window.offset <= range.offset && range.offset + clamp(range) <= end
        })
    };
    if needed.iter().all(|range| range.offset < total && covered(range)) && look.files.len() < 2 {
        return Err(Trouble::Detector("it asks for what it was shown already".into()));
    }
    Ok(())
}

async fn window(live: &Arc<Live>, needed: &Needed) -> Result<Window, Fault> {
    let start = needed.offset.min(live.total());
    let mut end = needed.offset.saturating_add(needed.length).min(live.total());
    if live.is_open_ended() && end > live.readable(0).0.saturating_add(SOON) {
        // It comes in order, and when it is there the film is half over.
        end = start;
    }
    let bytes = if needed.file == 0 && start < end { read(live, start..end).await? } else { bytes::Bytes::new() };
    Ok(Window { file: needed.file, offset: needed.offset, bytes })
}
