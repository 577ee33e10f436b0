//! What people and programs are told about a session.

use std::sync::Arc;

use plugin::detect::Track;
use serde::Serialize;

use super::{Session, State, Titles};
use crate::bus::{MediaInfo, Phase};
use crate::fault::Fault;
use crate::film::Title;
use crate::key;

/// What people are told about a session.
#[derive(Clone, Debug, Serialize, web::utoipa::ToSchema)]
#[schema(as = Session)]
pub struct View {
    /// 128 random bits in hexadecimal.
    pub session_id: String,
    /// Give it to a player.
    pub playback_url: String,
    pub state: State,
    /// A file name for people.
    pub name: Option<String>,
    /// The address, without credentials and query.
    pub url: String,
    /// FFmpeg's name for the container, once recognised.
    pub container: Option<String>,
    pub media_type: Option<String>,
    #[schema(value_type = Vec<Object>)]
    pub tracks: Vec<Track>,
    pub duration_ms: Option<u64>,
    /// Bits per second of the whole.
    pub bit_rate: Option<u64>,
    /// Whether it is live; none while nobody knows, and for what is one file.
    pub live: Option<bool>,
    /// How far the file has come, whoever reads it.
    pub phase: Phase,
    /// What kind of media it is; set once for each version of the file.
    pub media_info: Option<MediaInfo>,
    /// Length in bytes of what is served.
    pub length: Option<u64>,
    /// What kind of disc image or archive it is served from: `bluray`, `dvdvideo`, `zip`, …
    pub image: Option<String>,
    /// The title that is served, by its id.
    pub title: Option<String>,
    /// What else is in the image or archive; empty for a file that is played as it is.
    pub titles: Vec<TitleView>,
    /// Milliseconds since 1970, like all times here.
    pub created_at: u64,
    /// When what a player needs first was there.
    pub ready_at: Option<u64>,
    pub expires_at: u64,
    /// What is being waited for while opening.
    pub waiting_for: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub error: Option<Fault>,
}

/// Something playable within an image or an archive.
#[derive(Clone, Debug, Serialize, web::utoipa::ToSchema)]
pub struct TitleView {
    /// Stable within the file.
    pub id: String,
    /// A name for people.
    pub name: Option<String>,
    pub media_type: Option<String>,
    pub duration_ms: Option<u64>,
    /// Length in bytes.
    pub length: u64,
    /// Whether it is what to play when nobody chose.
    pub main: bool,
    /// Give it to a player.
    pub playback_url: String,
}

fn listed(titles: &Titles, stream: &str) -> Vec<TitleView> {
    let view = |(index, title): (usize, &Arc<Title>)| TitleView {
        id: title.id.clone(),
        name: title.name.clone(),
        media_type: title.media_type.clone(),
        duration_ms: title.duration_ms,
        length: title.mapping.total(),
        main: titles.main == Some(index),
        playback_url: format!("{stream}/{}?title={}", encoded(&file_name(title)), encoded(&title.id)),
    };
    titles.list.iter().enumerate().map(view).collect()
}

impl Session {
    pub(crate) fn view(&self, base: &str) -> View {
        let inner = self.inner();
        let stream = format!("{base}/stream/{}", self.id);
        let name = inner.chosen().map(|title| file_name(title)).or_else(|| inner.name.clone());
        let name = match inner.presentation() {
            Some(presentation) => Some(presentation.file_name(name.as_deref())),
            None => name,
        };
        let file = name.map(|name| format!("/{}", encoded(&name))).unwrap_or_default();
        View {
            session_id: self.id.to_string(),
            playback_url: format!("{stream}{file}"),
            state: inner.state,
            name: inner.name.clone(),
            url: key::shown(&inner.url),
            container: inner.facts.container.clone(),
            media_type: inner.facts.media_type.clone(),
            tracks: inner.facts.tracks.clone(),
            duration_ms: inner.facts.duration_ms,
            bit_rate: inner.facts.bit_rate,
            live: inner.is_live,
            phase: self.phase(),
            media_info: inner.info.clone(),
            length: inner.length(),
            image: inner.titles().map(|titles| titles.image.clone()),
            title: inner.chosen().map(|title| title.id.clone()),
            titles: inner.titles().map(|titles| listed(titles, &stream)).unwrap_or_default(),
            created_at: self.created_ms,
            ready_at: inner.ready_ms,
            expires_at: self.expires_ms,
            waiting_for: inner.waiting_for.clone(),
            error: inner.error.clone(),
        }
    }
}

/// The last part of a title's name, for the end of an address: players go by extensions.
fn file_name(title: &Title) -> String {
    let name = title.name.as_deref().unwrap_or(&title.id);
    let name = name.rsplit(['/', '\\']).next().filter(|name| !name.is_empty()).unwrap_or("title");
    let extension = match title.media_type.as_deref() {
        _ if name.rsplit_once('.').is_some_and(|(_, extension)| (2..=5).contains(&extension.len())) => "",
        Some("video/mp2t") => ".m2ts",
        Some("video/mpeg") => ".mpg",
        _ => "",
    };
    format!("{name}{extension}")
}

/// A file name as one segment of a path (RFC 3986 §3.3).
fn encoded(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
