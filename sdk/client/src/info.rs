//! What a host says of a session. Fields that this version does not know are kept in `rest`.

use std::ops::Range;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// How far a session has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum State {
    /// The source or the upstream is being asked, or the container looked at.
    Opening,
    /// What a player needs first is there.
    Ready,
    /// New credentials or a new link are needed.
    AuthRequired,
    /// It cannot be played.
    Failed,
    /// It was ended.
    Closed,
    /// A word that this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

/// How far a file has come into the host's cache, whoever reads it. Only an eviction leads back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Phase {
    /// Nobody knows yet what is there.
    Init,
    /// Some of it is missing.
    Downloading,
    /// All of it is here.
    Complete,
    /// A word that this version does not know, or a host that says none.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A session, as `GET /sessions/{id}` shows it. What is not known (yet) is none.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Info {
    /// Who knows it may read the stream.
    pub session_id: String,
    /// For players that take an address.
    pub playback_url: String,
    /// How far it has come.
    pub state: State,
    /// A file name for people.
    pub name: Option<String>,
    /// The address, without credentials and query.
    pub url: String,
    /// FFmpeg's name for the container.
    pub container: Option<String>,
    /// The media type of what is served.
    pub media_type: Option<String>,
    /// The streams within.
    #[serde(deserialize_with = "or_default")]
    pub tracks: Vec<Track>,
    /// Milliseconds.
    pub duration_ms: Option<u64>,
    /// Bits per second of the whole.
    pub bit_rate: Option<u64>,
    /// Whether it is live; none while nobody knows, and for what is one file.
    pub live: Option<bool>,
    /// How far the file has come.
    pub phase: Phase,
    /// What kind of media it is.
    pub media_info: Option<MediaInfo>,
    /// Bytes.
    pub length: Option<u64>,
    /// What kind of disc image or archive it is served from.
    pub image: Option<String>,
    /// The title that is served, by its id.
    pub title: Option<String>,
    /// What else is in the image or archive.
    #[serde(deserialize_with = "or_default")]
    pub titles: Vec<Title>,
    /// When what a player needs first was there: milliseconds since 1970, like all times here.
    pub ready_at: Option<u64>,
    /// When the session ends by itself.
    pub expires_at: Option<u64>,
    /// What is being waited for.
    pub waiting_for: Option<String>,
    /// Why it cannot be played, or not now.
    pub error: Option<Failure>,
    /// What else the host says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What kind of media a file is; set once for each version of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct MediaInfo {
    /// FFmpeg's name for the container; none if nobody recognised it.
    pub container: Option<String>,
    /// The media type; what was recognised wins over what the upstream says.
    pub media_type: Option<String>,
    /// FFmpeg's names for the codecs of the tracks, in their order.
    #[serde(deserialize_with = "or_default")]
    pub codecs: Vec<String>,
    /// Whether bytes were looked at; otherwise it is the upstream's word alone.
    pub sniffed: bool,
}

/// A stream within the container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Track {
    /// The container's number.
    pub id: u64,
    /// `video`, `audio`, `subtitle`, `data` or `attachment`.
    pub kind: String,
    /// FFmpeg's name.
    pub codec: String,
    /// BCP 47 or ISO 639, as the container has it.
    pub language: Option<String>,
    /// A name for people.
    pub title: Option<String>,
    /// Pixels.
    pub width: Option<u32>,
    /// Pixels.
    pub height: Option<u32>,
    /// Pictures per second.
    pub frame_rate: Option<f64>,
    /// Samples per second and channel.
    pub sample_rate: Option<u32>,
    /// How many.
    pub channels: Option<u32>,
    /// Bits per second.
    pub bit_rate: Option<u64>,
    /// Whether a player should choose it unasked.
    pub default: bool,
    /// What else the host says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Something playable within a disc image or an archive.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Title {
    /// Stable within the file; see [`crate::Reading::title`].
    pub id: String,
    /// A name for people.
    pub name: Option<String>,
    /// Its media type.
    pub media_type: Option<String>,
    /// Milliseconds.
    pub duration_ms: Option<u64>,
    /// Bytes.
    pub length: u64,
    /// Whether it is what to play when nobody chose.
    pub main: bool,
    /// For players that take an address.
    pub playback_url: String,
}

/// The segments of a fragmented MP4 file, as far as they are known from the bytes that the host has; none of another
/// file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Segments {
    /// Whether these are all.
    pub complete: bool,
    /// Where the bytes lie that a player needs before any segment.
    #[serde(deserialize_with = "range")]
    pub init: Option<Range<u64>>,
    /// In the order in which they lie in the file.
    pub segments: Vec<Segment>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Segment {
    /// Of its first byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// When it begins, in milliseconds from the beginning.
    pub start_ms: u64,
    /// Milliseconds.
    pub duration_ms: u64,
    /// Whether a player can start here.
    pub is_sync: bool,
}

/// Why a session does not deliver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Failure {
    /// A stable word.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// The plugin that it is about.
    pub plugin: Option<String>,
    /// How long to wait before trying again, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

/// Numbers of a session, now.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Stats {
    /// How far it has come.
    pub state: State,
    /// What is being waited for.
    pub waiting_for: Option<String>,
    /// Bits per second from the upstream.
    pub download_bps: u64,
    /// Bits per second to clients.
    pub serve_bps: u64,
    /// Bytes ready beyond the position of the reader that is farthest along.
    pub buffered_bytes_ahead: u64,
    /// Connections to the upstream that bring bytes.
    pub active_workers: u64,
    /// Share of the served bytes that had been fetched before, 0 to 1.
    pub cache_hit_rate: f64,
    /// Bytes.
    pub length: Option<u64>,
    /// Bytes of the file that are in the cache.
    pub cached_bytes: u64,
    /// Bytes from the upstream since the file was opened.
    pub upstream_bytes: u64,
    /// Bytes to clients since the session began.
    pub served_bytes: u64,
    /// Whether all of the file is in the cache.
    pub complete: bool,
    /// Bytes that are played from memory because the disk does not take them.
    pub memory_bytes: u64,
    /// Where the bytes come from.
    pub upstream: Option<Upstream>,
    /// The disk, as all sessions share it.
    pub disk: Option<Disk>,
    /// What else the host says; `picture` shows the file in columns.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// An origin, as all sessions see it together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Upstream {
    /// Scheme, host and port.
    pub origin: String,
    /// Requests that run.
    pub in_flight: u32,
    /// Requests at once that it bears, as far as was learned.
    pub window: u32,
    /// Requests that were made a second time because the first one was late.
    pub hedges: u64,
    /// How much longer it asked to be left alone, in milliseconds.
    pub quiet_ms: Option<u64>,
}

/// What the host's cache takes and may take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Disk {
    /// Bytes.
    pub used_bytes: u64,
    /// Bytes; none when only the disk is the limit.
    pub quota_bytes: Option<u64>,
    /// Bytes.
    pub free_bytes: Option<u64>,
    /// Bytes that stay free for others.
    pub keep_free_bytes: u64,
}

/// `null` is as good as nothing.
fn or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// `[start, end]` or `null`.
fn range<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Range<u64>>, D::Error> {
    Option::deserialize(from)?.map(in_order).transpose()
}

/// A list of `[start, end]`.
pub(crate) fn ranges<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Range<u64>>, D::Error> {
    Vec::deserialize(from)?.into_iter().map(in_order).collect()
}

/// Whoever has a range counts its bytes, which one that runs backwards does not have.
fn in_order<E: serde::de::Error>((start, end): (u64, u64)) -> Result<Range<u64>, E> {
    if start <= end { Ok(start..end) } else { Err(E::custom(format!("a range from {start} to {end}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_kept_and_what_is_missing_is_none() {
        let info: Info = serde_json::from_str(
            r#"{"session_id": "ab", "state": "sleeping", "tracks": null, "phase": "warm", "mood": "good",
                "error": {"code": "gone", "message": "it is gone", "colour": 1}}"#,
        )
        .unwrap();
        assert_eq!((info.state, info.tracks.len(), info.length), (State::Unknown, 0, None));
        assert_eq!((info.phase, info.live, info.media_info), (Phase::Unknown, None, None));
        assert_eq!(info.rest["mood"], "good");
        assert_eq!(info.error.unwrap().to_string(), "it is gone (gone)");
        let stats: Stats = serde_json::from_str(r#"{"state": "auth-required", "cache_hit_rate": 1}"#).unwrap();
        assert_eq!((stats.state, stats.cache_hit_rate), (State::AuthRequired, 1.0));
    }

    #[test]
    fn a_view_tells_phase_and_media() {
        let info: Info = serde_json::from_str(
            r#"{"phase": "downloading", "live": false, "media_info":
                {"container": "mov", "media_type": null, "codecs": ["h264", "aac"], "sniffed": true}}"#,
        )
        .unwrap();
        assert_eq!((info.phase, info.live), (Phase::Downloading, Some(false)));
        let codecs = vec!["h264".into(), "aac".into()];
        let expected = MediaInfo { container: Some("mov".into()), media_type: None, codecs, sniffed: true };
        assert_eq!(info.media_info, Some(expected));
        assert!(info.rest.is_empty(), "{:?}", info.rest);
        // Of an earlier host, and of one that knows nothing yet.
        let info: Info = serde_json::from_str(r#"{"live": null, "media_info": null}"#).unwrap();
        assert_eq!(info, Info::default());
    }

    #[test]
    fn segments_have_a_beginning_before_their_end() {
        let read = |init: &str| serde_json::from_str::<Segments>(&format!(r#"{{"complete": true, "init": {init}}}"#));
        assert_eq!(read("[0, 9]").unwrap().init, Some(0..9));
        assert_eq!(read("null").unwrap(), Segments { complete: true, ..Segments::default() });
        assert!(read("[9, 0]").is_err() && read("[9]").is_err());
    }
}
