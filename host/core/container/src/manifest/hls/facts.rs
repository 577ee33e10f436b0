//! What a playlist says of its presentation.
//!
//! Owns: the facts and how they are gathered tag by tag. Facts are for the host; a tag that they cannot be read from
//! is passed over, since players are no stricter.

use std::time::Duration;

use url::Url;

use super::attributes::{Attribute, get};
use crate::manifest::{Error, Facts, Freshness, Kind, MAX_TRACKS, Variables, seconds};

/// What a master (multivariant) playlist says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Master {
    /// In the order of the playlist.
    pub variants: Vec<Variant>,
    /// In the order of the playlist.
    pub renditions: Vec<Rendition>,
    /// What its media playlists may import.
    pub variables: Variables,
}

/// One variant (`EXT-X-STREAM-INF`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variant {
    /// The address of its media playlist; none if it is not ours to fetch.
    pub url: Option<Url>,
    /// Peak bits per second.
    pub bandwidth: Option<u64>,
    /// Average bits per second.
    pub average_bandwidth: Option<u64>,
    /// Width and height in pixels.
    pub resolution: Option<(u32, u32)>,
    /// As written: names of RFC 6381 with commas.
    pub codecs: Option<String>,
    /// The group of its audio renditions.
    pub audio: Option<String>,
    /// The group of its subtitles.
    pub subtitles: Option<String>,
}

/// One rendition (`EXT-X-MEDIA`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendition {
    /// `AUDIO`, `VIDEO`, `SUBTITLES` or `CLOSED-CAPTIONS`.
    pub kind: String,
    /// The group that variants name.
    pub group: String,
    /// A name for people.
    pub name: String,
    /// A language tag of RFC 5646.
    pub language: Option<String>,
    /// Whether it is the one to begin with.
    pub is_default: bool,
    /// The address of its media playlist; none if it is part of the variants, or not ours to fetch.
    pub url: Option<Url>,
}

/// What a media playlist says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Media {
    /// No segment is longer, rounded to seconds.
    pub target_duration: Duration,
    /// No part is longer (low-latency HLS).
    pub part_target: Option<Duration>,
    /// The sum of all segments listed.
    pub duration: Duration,
    /// How long each segment is that is listed, in order.
    pub durations: Vec<Duration>,
    /// How many more a delta update leaves out (`EXT-X-SKIP`); the sum of durations lacks them.
    pub skipped_segments: u64,
    /// The number of the first segment.
    pub media_sequence: u64,
    /// Whether segments are only ever added, or not even that.
    pub playlist_type: Option<PlaylistType>,
    /// Whether no segment will be added (`EXT-X-ENDLIST`).
    pub is_ended: bool,
    /// Whether it lists key frames alone.
    pub is_i_frames_only: bool,
    /// Whether an answer may be asked to wait for a segment that does not exist yet; see [`super::directed`].
    pub can_block_reload: bool,
    /// The variables of this playlist.
    pub variables: Variables,
}

/// How a media playlist may change (`EXT-X-PLAYLIST-TYPE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaylistType {
    /// Segments are only added.
    Event,
    /// Nothing changes.
    Vod,
}

impl Media {
    /// Whether it will change.
    pub fn is_live(&self) -> bool {
        !self.is_ended && self.playlist_type != Some(PlaylistType::Vod)
    }

    /// Half the target duration while it is live: a client may ask again after that (RFC 8216 §6.3.4), and has to be
    /// able to find something new. With parts, half the duration of a part.
    pub fn freshness(&self) -> Freshness {
        if !self.is_live() {
            return Freshness::Fixed;
        }
        let target = self.part_target.map_or(self.target_duration, |part| part.min(self.target_duration));
        Freshness::For(target / 2)
    }
}

/// Tags that only a master playlist has.
const OF_A_MASTER: &[&str] = &[
    "#EXT-X-MEDIA",
    "#EXT-X-STREAM-INF",
    "#EXT-X-I-FRAME-STREAM-INF",
    "#EXT-X-IMAGE-STREAM-INF",
    "#EXT-X-SESSION-DATA",
    "#EXT-X-SESSION-KEY",
    "#EXT-X-CONTENT-STEERING",
];

/// Gathers facts.
#[derive(Default)]
pub(super) struct Gather {
    master: Master,
    media: Media,
    is_master: bool,
    has_target: bool,
    extinf: Option<Duration>,
    stream_inf: Option<Variant>,
}

impl Gather {
    /// Takes a tag; `url` is the first address in it.
    pub(super) fn tag(
        &mut self,
        name: &str,
        value: &str,
        attributes: &[Attribute<'_>],
        url: Option<&Url>,
        line: usize,
    ) -> Result<(), Error> {
        if OF_A_MASTER.contains(&name) {
            self.is_master = true;
        }
        match name {
            "#EXT-X-STREAM-INF" => self.stream_inf = Some(variant(attributes)),
            "#EXT-X-MEDIA" => self.rendition(rendition(attributes, url), line)?,
            "#EXTINF" => {
                let duration = value.split(',').next().and_then(|number| seconds(number.trim()));
                self.extinf = Some(duration.unwrap_or_default());
            }
            "#EXT-X-TARGETDURATION" => {
                self.media.target_duration = seconds(value).ok_or_else(|| Error::Damaged {
                    line,
                    what: "EXT-X-TARGETDURATION is not a number of seconds".to_owned(),
                })?;
                self.has_target = true;
            }
            "#EXT-X-PART-INF" => self.media.part_target = get(attributes, "PART-TARGET").and_then(seconds),
            "#EXT-X-SERVER-CONTROL" => {
                self.media.can_block_reload = get(attributes, "CAN-BLOCK-RELOAD") == Some("YES");
            }
            "#EXT-X-SKIP" => {
                let skipped = get(attributes, "SKIPPED-SEGMENTS").and_then(|number| number.parse().ok());
                self.media.skipped_segments = skipped.unwrap_or_default();
            }
            "#EXT-X-MEDIA-SEQUENCE" => self.media.media_sequence = value.parse().unwrap_or_default(),
            "#EXT-X-ENDLIST" => self.media.is_ended = true,
            "#EXT-X-I-FRAMES-ONLY" => self.media.is_i_frames_only = true,
            "#EXT-X-PLAYLIST-TYPE" => {
                self.media.playlist_type = match value {
                    "EVENT" => Some(PlaylistType::Event),
                    "VOD" => Some(PlaylistType::Vod),
                    _ => None,
                };
            }
            _ => {}
        }
        Ok(())
    }

    fn rendition(&mut self, rendition: Rendition, line: usize) -> Result<(), Error> {
        if self.master.renditions.len() == MAX_TRACKS {
            return Err(Error::Limit { line, what: "a rendition", most: MAX_TRACKS });
        }
        self.master.renditions.push(rendition);
        Ok(())
    }

    /// Whether the next line of an address is that of a variant.
    pub(super) fn is_variant_next(&self) -> bool {
        self.stream_inf.is_some()
    }

    /// Takes the line of an address.
    pub(super) fn address(&mut self, url: Option<&Url>, line: usize) -> Result<(), Error> {
        if let Some(variant) = self.stream_inf.take() {
            if self.master.variants.len() == MAX_TRACKS {
                return Err(Error::Limit { line, what: "a variant", most: MAX_TRACKS });
            }
            self.master.variants.push(Variant { url: url.cloned(), ..variant });
        } else {
            let duration = self.extinf.take().unwrap_or_default();
            self.media.durations.push(duration);
            self.media.duration = self.media.duration.saturating_add(duration);
        }
        Ok(())
    }

    /// What it came to.
    pub(super) fn finish(mut self, variables: Variables, last_line: usize) -> Result<Facts, Error> {
        if self.is_master {
            if self.has_target {
                // RFC 8216 §4.1: clients must not take it for either.
                let what = "it has tags of a master playlist and of a media playlist".to_owned();
                return Err(Error::Damaged { line: last_line, what });
            }
            self.master.variables = variables;
            return Ok(Facts::Master(self.master));
        }
        if !self.has_target {
            let why = "it has neither EXT-X-STREAM-INF nor EXT-X-TARGETDURATION, as a bare list of addresses has not";
            return Err(Error::NotOne { kind: Kind::Hls, why });
        }
        self.media.variables = variables;
        Ok(Facts::Media(self.media))
    }
}

fn variant(attributes: &[Attribute<'_>]) -> Variant {
    let text = |name| get(attributes, name).map(str::to_owned);
    let number = |name| get(attributes, name).and_then(|value| value.parse().ok());
    Variant {
        url: None,
        bandwidth: number("BANDWIDTH"),
        average_bandwidth: number("AVERAGE-BANDWIDTH"),
        resolution: get(attributes, "RESOLUTION").and_then(|size| {
            let (width, height) = size.split_once('x')?;
            Some((width.parse().ok()?, height.parse().ok()?))
        }),
        codecs: text("CODECS"),
        audio: text("AUDIO"),
        subtitles: text("SUBTITLES"),
    }
}

fn rendition(attributes: &[Attribute<'_>], url: Option<&Url>) -> Rendition {
    let text = |name| get(attributes, name).unwrap_or_default().to_owned();
    Rendition {
        kind: text("TYPE"),
        group: text("GROUP-ID"),
        name: text("NAME"),
        language: get(attributes, "LANGUAGE").map(str::to_owned),
        is_default: get(attributes, "DEFAULT") == Some("YES"),
        url: url.cloned(),
    }
}
