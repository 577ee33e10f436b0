//! Container detectors: bytes in, a layout out.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{BoxFuture, Failure};

/// How often one detector may ask for more.
pub const MAX_ROUNDS: u32 = 32;
/// Bytes that one detector may see in all.
pub const MAX_WINDOW_BYTES: u64 = 64 * 1024 * 1024;
/// Index ranges of one layout, at most.
pub const MAX_FIRST: usize = 256;
/// Seek points of one layout, at most.
pub const MAX_SEEK: usize = 65_536;
/// Extents of one title, at most.
pub const MAX_EXTENTS: usize = 65_536;
/// Files beside the one in question that a detector may ask for.
pub const MAX_SIBLINGS: usize = 256;
/// Bytes from the head of a file that a detector's first call sees.
pub const HEAD_BYTES: u64 = 64 * 1024;

/// The port of `mediahost:container-detector`.
pub trait ContainerDetector: Send + Sync {
    /// The plugin's id.
    fn id(&self) -> &str;

    /// Whether its layouts may have titles: what is served is then a part of the file, so that readers wait for its answer.
    fn finds_titles(&self) -> bool {
        false
    }

    /// Looks at what was fetched so far.
    fn detect(&self, look: Look) -> BoxFuture<'static, Result<Answer, Failure>>;
}

/// What a detector is shown.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// The file in question, then the siblings that were asked for.
    pub files: Vec<File>,
    /// Everything fetched so far.
    pub windows: Vec<Window>,
    /// Where the player will start.
    pub start_ms: Option<u64>,
}

/// A file that is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// Its name without folders.
    pub name: Option<String>,
    /// What its source says it is.
    pub media_type: Option<String>,
    /// Its length in bytes.
    pub size: Option<u64>,
}

/// Bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Which file.
    pub file: u32,
    /// Where the bytes begin.
    pub offset: u64,
    /// The bytes.
    pub bytes: Bytes,
}

/// A range that a detector wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needed {
    /// Which file.
    pub file: u32,
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// What a detector says.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It must see more.
    Need { ranges: Vec<Needed>, siblings: Vec<String> },
    /// Not a format of this detector.
    Unknown,
    /// It is this.
    Found(Box<Layout>),
}

/// A stream within the whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// The container's number.
    pub id: u64,
    /// `video`, `audio`, `subtitle`, `data` or `attachment`.
    pub kind: String,
    /// FFmpeg's name.
    pub codec: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Pictures per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_rate: Option<f64>,
    /// Samples per second and channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<u32>,
    /// Bits per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bit_rate: Option<u64>,
    /// Whether a player should choose it unasked.
    pub default: bool,
}

/// A range that a player needs before it can start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexRange {
    pub offset: u64,
    pub length: u64,
    /// The container's word for it.
    pub what: String,
}

/// At this time, read from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeekPoint {
    pub time_ms: u64,
    pub offset: u64,
}

/// Where the bytes of an extent are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExtentOrigin {
    File { file: u32, offset: u64 },
    Zeros,
}

/// A run of bytes of a title.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    pub origin: ExtentOrigin,
    pub length: u64,
}

/// Something playable within an image or an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Title {
    pub id: String,
    pub name: Option<String>,
    pub media_type: Option<String>,
    pub duration_ms: Option<u64>,
    pub main: bool,
    pub extents: Vec<Extent>,
}

/// What a file contains.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// FFmpeg's name for the container.
    pub format: String,
    pub media_type: Option<String>,
    pub duration_ms: Option<u64>,
    pub bit_rate: Option<u64>,
    pub tracks: Vec<Track>,
    pub first: Vec<IndexRange>,
    pub seek: Vec<SeekPoint>,
    pub titles: Vec<Title>,
}
