//! Segmented manifests, HLS (RFC 8216 and its second edition) and DASH (ISO/IEC 23009-1): the addresses in one, and the
//! same text with links of the host in their place.
//!
//! Owns: telling a manifest, finding and resolving its addresses, writing links where they stood, and what the host has
//! to know of it: live or not, for how long it stays as it is, durations, variants.
//! Leaves to others: what a link looks like and where it leads ([`Links`]), fetching, caching, encrypted media, which
//! passes through as it is: addresses of licences are not touched.
//!
//! Invariant: what is not an address stays byte for byte, and every address that a [`Reference`] carries is absolute,
//! `http` or `https`, and without a fragment. Any other scheme (`data:`, `skd:`, `urn:`) is left alone.
//!
//! HLS spells out each address, so each becomes a link. DASH has templates, whose addresses only the player can tell.
//! There the *prefix* of an address up to a directory becomes a link, and what follows stays as it is; the host
//! resolves what a player then asks for with [`below`].

mod address;
pub mod dash;
pub mod hls;
mod splice;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use thiserror::Error;
use url::Url;

pub use address::below;

/// Bytes of a manifest, at most; what the contract with plugins says, too.
pub const MAX_BYTES: usize = 4 << 20;
/// Bytes of a rewritten manifest, at most: links are longer than what they stand for.
pub const MAX_OUTPUT_BYTES: usize = 32 << 20;
/// Addresses in one manifest, at most: six days of segments of two seconds.
pub const MAX_REFERENCES: usize = 1 << 18;
/// Bytes of one address, at most, before and after it is resolved; servers take less.
pub const MAX_URI_BYTES: usize = 8 << 10;
/// Bytes of one link, at most.
pub const MAX_LINK_BYTES: usize = 32 << 10;
/// Variants and renditions, or representations, at most.
pub const MAX_TRACKS: usize = 4096;

/// Which language a manifest is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An HLS playlist, master (multivariant) or media.
    Hls,
    /// A DASH media presentation description.
    Dash,
}

impl Kind {
    /// The kind of this name in the contract with plugins.
    pub fn named(name: &str) -> Option<Kind> {
        match name {
            "hls" => Some(Kind::Hls),
            "dash" => Some(Kind::Dash),
            _ => None,
        }
    }

    /// The media type to serve it with.
    pub fn media_type(self) -> &'static str {
        match self {
            Kind::Hls => "application/vnd.apple.mpegurl",
            Kind::Dash => "application/dash+xml",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Hls => "an HLS playlist",
            Kind::Dash => "a DASH manifest",
        })
    }
}

/// What kind of manifest begins with these bytes. A few hundred are enough, unless a comment as long comes first.
///
/// A playlist may still turn out to be a bare list of addresses, which [`rewrite`] then says. UTF-16 is not recognised:
/// RFC 8216 §4.1 wants UTF-8, and nobody writes DASH in it.
pub fn sniff(head: &[u8]) -> Option<Kind> {
    let mut rest = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    if let Some(after) = rest.strip_prefix(b"#EXTM3U") {
        return after.first().is_none_or(u8::is_ascii_whitespace).then_some(Kind::Hls);
    }
    loop {
        let end: &[u8] = match rest {
            [b'<', b'?', ..] => b"?>",
            [b'<', b'!', b'-', b'-', ..] => b"-->",
            _ => break,
        };
        let at = rest.windows(end.len()).position(|window| window == end)?;
        rest = rest[at + end.len()..].trim_ascii_start();
    }
    let name = rest.strip_prefix(b"<")?;
    let length = name.iter().position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/'))?;
    let name = &name[..length];
    (name == b"MPD" || name.ends_with(b":MPD")).then_some(Kind::Dash)
}

/// The text of a manifest as it came: not too long, and UTF-8.
pub fn text(bytes: &[u8]) -> Result<&str, Error> {
    if bytes.len() > MAX_BYTES {
        return Err(Error::TooLong(bytes.len()));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(Error::Encoding { at: 0, what: "it is UTF-16" });
    }
    std::str::from_utf8(bytes).map_err(|error| Error::Encoding { at: error.valid_up_to(), what: "it is not UTF-8" })
}

/// What an address leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A manifest of the same kind, to be rewritten in its turn: a variant, a rendition, where DASH has moved to.
    Playlist,
    /// A piece of media, or the one file that all pieces are ranges of.
    Segment,
    /// A part of a segment (low-latency HLS); it may not exist yet, and the answer then waits.
    Part,
    /// What comes before the first segment: a `moov`, an `EXT-X-MAP`.
    Init,
    /// An index of segments (`sidx`).
    Index,
    /// A key for `AES-128` or `SAMPLE-AES` that the player is given in the clear. Not for the disk.
    Key,
    /// Data for the application (`EXT-X-SESSION-DATA`).
    Data,
    /// A list of interstitials in JSON, whose own addresses are not rewritten (`X-ASSET-LIST`).
    AssetList,
    /// A steering manifest in JSON. It names hosts by which a player replaces parts of links, which cannot work with
    /// ours; answered with 404, it leaves the player with what the manifest itself prefers.
    Steering,
    /// A patch of a DASH manifest, whose own addresses are not rewritten. Answered with 404, it makes the player ask
    /// for the whole manifest.
    Patch,
    /// An element of a DASH manifest that stands elsewhere (`xlink:href`), whose own addresses are not rewritten.
    Remote,
    /// The clock of a live presentation (`UTCTiming` over HTTP): it may be relative or reachable for the host alone, so
    /// it is linked. Never to be cached; the link may as well be the address itself, or lead to the host's clock.
    Clock,
}

/// Which bytes of an address are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ByteRange {
    /// The first byte.
    pub start: u64,
    /// How many; none where the manifest leaves the end open.
    pub length: Option<u64>,
}

/// An address that is to become a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Absolute, `http` or `https`, without a fragment.
    pub url: Url,
    /// What it leads to.
    pub role: Role,
    /// The range that the player will ask for, where the manifest says it. It stays in the manifest, so a link leads to
    /// the whole.
    pub bytes: Option<ByteRange>,
    /// The line that it stands in, from 1.
    pub line: usize,
}

/// Makes links. The same address gets the same link each time: players compare the links of renditions, and count byte
/// ranges on from one line to the next where the links are equal.
///
/// A link is an absolute address, or a path from the root (`/…`), of printable ASCII without quotes and brackets. A
/// path does where players resolve it against where they got the manifest; below a `BaseURL` of another scheme they
/// cannot. A refusal ends the rewriting with [`Error::Link`]; to refuse one address alone, link to something that
/// answers so.
pub trait Links {
    /// The link to an address.
    fn link(&mut self, reference: &Reference) -> Result<String, String>;

    /// A link that ends in `/`, under which a player's path and query mean what they mean under `directory`, which ends
    /// in `/` and has no query.
    fn prefix(&mut self, directory: &Url) -> Result<String, String>;
}

/// The variables of an HLS playlist by name (`EXT-X-DEFINE`).
pub type Variables = BTreeMap<String, String>;

/// A rewritten manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewritten {
    /// What players are given.
    pub text: String,
    /// What the host has to know.
    pub facts: Facts,
    /// How many addresses were replaced.
    pub links: usize,
}

/// What a manifest says of its presentation.
#[derive(Clone, Debug, PartialEq)]
pub enum Facts {
    /// Of a playlist with variants.
    Master(hls::Master),
    /// Of a playlist with segments.
    Media(hls::Media),
    /// Of a DASH manifest.
    Dash(dash::Facts),
}

/// For how long a manifest stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It says of itself that it does not change.
    Fixed,
    /// It may be handed out for this long after it was fetched; zero: only to those who asked before it came.
    For(Duration),
}

impl Facts {
    /// For how long the manifest may be handed out again.
    pub fn freshness(&self) -> Freshness {
        match self {
            Facts::Master(_) => Freshness::Fixed,
            Facts::Media(media) => media.freshness(),
            Facts::Dash(dash) => dash.freshness(),
        }
    }

    /// Whether the presentation still grows; unknown for a master playlist.
    pub fn is_live(&self) -> Option<bool> {
        match self {
            Facts::Master(_) => None,
            Facts::Media(media) => Some(media.is_live()),
            Facts::Dash(dash) => Some(dash.is_dynamic),
        }
    }

    /// How long the presentation is; of a live playlist, what it lists at the moment.
    pub fn duration(&self) -> Option<Duration> {
        match self {
            Facts::Master(_) => None,
            Facts::Media(media) => Some(media.duration),
            Facts::Dash(dash) => dash.duration,
        }
    }
}

/// Why a manifest was not rewritten. But for [`Error::Link`] and [`Error::Base`], which are the caller's, it is for
/// what the upstream sent, and trying again helps only if that changes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// It is longer than [`MAX_BYTES`].
    #[error("the manifest is {0} bytes long, more than {MAX_BYTES}")]
    TooLong(usize),
    /// It is not UTF-8.
    #[error("the manifest cannot be read from byte {at}: {what}")]
    Encoding {
        /// The byte, from 0.
        at: usize,
        /// What it is instead.
        what: &'static str,
    },
    /// It is something else.
    #[error("this is not {kind}: {why}")]
    NotOne {
        /// What it was taken for.
        kind: Kind,
        /// What is missing.
        why: &'static str,
    },
    /// It breaks the grammar where it matters.
    #[error("line {line} of the manifest is damaged: {what}")]
    Damaged {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// It has a document type or an entity of its own, which are refused for what they can do.
    #[error("line {line} of the manifest has {what}, which is refused")]
    Forbidden {
        /// The line, from 1.
        line: usize,
        /// Which of them.
        what: &'static str,
    },
    /// An address that is none.
    #[error("the address {uri:?} in line {line} of the manifest cannot be resolved: {why}")]
    Address {
        /// The line, from 1.
        line: usize,
        /// The beginning of the address.
        uri: String,
        /// What is wrong.
        why: String,
    },
    /// A variable that nobody defined (RFC 8216bis §4.3).
    #[error("line {line} of the manifest names the variable {name:?}, which {why}")]
    Variable {
        /// The line, from 1.
        line: usize,
        /// The variable's name.
        name: String,
        /// What is missing.
        why: &'static str,
    },
    /// A template whose directory the player alone can tell.
    #[error("the template {template:?} in line {line} of the manifest cannot be linked: {why}")]
    Template {
        /// The line, from 1.
        line: usize,
        /// The beginning of the template.
        template: String,
        /// What is in the way.
        why: &'static str,
    },
    /// Too much of something.
    #[error("line {line} of the manifest is one too many: {what}, at most {most}")]
    Limit {
        /// The line, from 1.
        line: usize,
        /// Of what.
        what: &'static str,
        /// The bound.
        most: usize,
    },
    /// The address that the manifest came from is not `http` or `https`.
    #[error("addresses relative to {0:?} cannot be resolved")]
    Base(String),
    /// There was no link for an address, or none that can stand in a manifest.
    #[error("no link for line {line} of the manifest: {why}")]
    Link {
        /// The line, from 1.
        line: usize,
        /// What [`Links`] said, or what is wrong with its link.
        why: String,
    },
}

/// Replaces every address of a manifest that came from `base`, the last one after redirects, by a link.
///
/// `imports` are the variables of the master playlist that led to this one ([`hls::Master::variables`]); empty for a
/// master playlist, for one that was opened by itself, and for DASH.
pub fn rewrite(
    kind: Kind,
    text: &str,
    base: &Url,
    imports: &Variables,
    links: &mut dyn Links,
) -> Result<Rewritten, Error> {
    if text.len() > MAX_BYTES {
        return Err(Error::TooLong(text.len()));
    }
    if !address::is_http(base.scheme()) || base.as_str().len() > MAX_URI_BYTES {
        return Err(Error::Base(address::beginning(base.as_str())));
    }
    match kind {
        Kind::Hls => hls::rewrite(text, base, imports, links),
        Kind::Dash => dash::rewrite(text, base, links),
    }
}

/// Seconds as manifests write them: `9`, `9.009`.
fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() && fraction.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let nanos = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    Some(Duration::new(whole, nanos.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'))))
}
