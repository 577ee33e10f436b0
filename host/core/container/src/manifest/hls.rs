//! HLS playlists (RFC 8216, draft-pantos-hls-rfc8216bis).
//!
//! Owns: which tags hold addresses and what those lead to.
//! Leaves to others: whether a playlist makes sense as a presentation; players judge that.
//!
//! `EXT-X-BYTERANGE` and its like stay, since the player asks for ranges itself. An address of a licence, that is of a
//! key in a `KEYFORMAT` other than `identity`, is no link; a relative one is made absolute, so that it goes on leading
//! where it led. The one tag that changes beside its addresses is `EXT-X-DEFINE` with `QUERYPARAM`, which becomes a
//! definition by value: a link does not have the query of the address that it stands for.

mod attributes;
mod facts;
#[cfg(test)]
mod tests;
mod variables;

use std::ops::Range;

use url::Url;

use self::attributes::{Attribute, get};
use self::facts::Gather;
pub use self::facts::{Master, Media, PlaylistType, Rendition, Variant};
use self::variables::Defined;
use super::address;
use super::splice::{self, Splice};
use super::{ByteRange, Error, Kind, Links, Reference, Rewritten, Role, Variables};

/// Tags with addresses in attributes. The role of a preload hint depends on its type.
const TAGS: &[(&str, &[(&str, Role)])] = &[
    ("#EXT-X-KEY", &[("URI", Role::Key)]),
    ("#EXT-X-SESSION-KEY", &[("URI", Role::Key)]),
    ("#EXT-X-MAP", &[("URI", Role::Init)]),
    ("#EXT-X-MEDIA", &[("URI", Role::Playlist)]),
    ("#EXT-X-I-FRAME-STREAM-INF", &[("URI", Role::Playlist)]),
    // Thumbnails, as several packagers write them; the same shape as key frames.
    ("#EXT-X-IMAGE-STREAM-INF", &[("URI", Role::Playlist)]),
    ("#EXT-X-PART", &[("URI", Role::Part)]),
    ("#EXT-X-PRELOAD-HINT", &[("URI", Role::Part)]),
    ("#EXT-X-RENDITION-REPORT", &[("URI", Role::Playlist)]),
    ("#EXT-X-SESSION-DATA", &[("URI", Role::Data)]),
    ("#EXT-X-DATERANGE", &[("X-ASSET-URI", Role::Playlist), ("X-ASSET-LIST", Role::AssetList)]),
    ("#EXT-X-CONTENT-STEERING", &[("SERVER-URI", Role::Steering)]),
];

/// Tags without addresses that are read for their attributes.
const READ: &[&str] = &["#EXT-X-STREAM-INF", "#EXT-X-PART-INF", "#EXT-X-SERVER-CONTROL", "#EXT-X-SKIP"];

/// A tag of which all that follows the colon is the address of a segment to come.
const PREFETCH: &str = "#EXT-X-PREFETCH";

/// The address to fetch when a player asks for the link of a playlist with `query`: the delivery directives in it
/// (`_HLS_msn`, `_HLS_part`, `_HLS_skip`, …; RFC 8216bis §6.2.5) go to the upstream, in the order of their names.
pub fn directed(playlist: &Url, query: &str) -> Url {
    let is_directive = |pair: &str| {
        pair.strip_prefix("_HLS_").is_some_and(|rest| {
            rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=-._~%".contains(&byte)) && rest.contains('=')
        })
    };
    let mut asked: Vec<&str> = query.split('&').filter(|pair| is_directive(pair)).collect();
    let mut url = playlist.clone();
    if asked.is_empty() {
        return url;
    }
    asked.sort_unstable();
    asked.dedup_by_key(|pair| pair.split('=').next());
    let own = playlist.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !is_directive(pair));
    url.set_query(Some(&own.chain(asked).collect::<Vec<_>>().join("&")));
    url
}

pub(super) fn rewrite(text: &str, base: &Url, imports: &Variables, links: &mut dyn Links) -> Result<Rewritten, Error> {
    let mut playlist = Playlist {
        base,
        links,
        out: Splice::new(text),
        facts: Gather::default(),
        defined: Defined::new(base, imports),
        range: None,
        last_segment: None,
        last_part: None,
    };
    let mut is_begun = false;
    let mut start = 0;
    let mut line = 0;
    for whole in text.split_inclusive('\n') {
        line += 1;
        let unmarked = if line == 1 { whole.trim_start_matches('\u{feff}') } else { whole };
        let content = unmarked.trim_ascii();
        let at = start + (whole.len() - unmarked.trim_ascii_start().len());
        start += whole.len();
        if !is_begun && !content.is_empty() {
            if content.split_ascii_whitespace().next() != Some("#EXTM3U") {
                return Err(Error::NotOne { kind: Kind::Hls, why: "it does not begin with #EXTM3U" });
            }
            is_begun = true;
        } else if content.starts_with("#EXT") {
            playlist.tag(content, at, line)?;
        } else if !content.is_empty() && !content.starts_with('#') {
            playlist.address(content, at, line)?;
        }
    }
    if !is_begun {
        return Err(Error::NotOne { kind: Kind::Hls, why: "it is empty" });
    }
    let facts = playlist.facts.finish(playlist.defined.finish(), line)?;
    let (text, links) = playlist.out.finish();
    Ok(Rewritten { text, facts, links })
}

/// A playlist that is being read.
struct Playlist<'a> {
    base: &'a Url,
    links: &'a mut dyn Links,
    out: Splice<'a>,
    facts: Gather,
    defined: Defined<'a>,
    /// The range of the next segment.
    range: Option<(u64, Option<u64>)>,
    /// The address of the last segment that was a range, and where that ended.
    last_segment: Option<(Url, u64)>,
    /// The same for parts.
    last_part: Option<(Url, u64)>,
}

impl Playlist<'_> {
    /// Reads the tag that stands at `at`.
    fn tag(&mut self, content: &str, at: usize, line: usize) -> Result<(), Error> {
        let (name, value) = content.split_once(':').unwrap_or((content, ""));
        let value_at = at + content.len() - value.len();
        let addresses = TAGS.iter().find(|(tag, _)| *tag == name).map(|(_, addresses)| *addresses);
        if name == "#EXT-X-DEFINE" {
            let attributes = attributes::read(value, line)?;
            if let Some(written) = self.defined.define(&attributes, line)? {
                self.out.replace(value_at..value_at + value.len(), &written, line)?;
            }
            return Ok(());
        }
        if name == PREFETCH {
            let value_at = value_at + value.len() - value.trim_ascii_start().len();
            self.write(
                &Written { text: value.trim_ascii(), at: value_at, needs_quotes: false, line },
                Role::Segment,
                None,
            )?;
            return Ok(());
        }
        if name == "#EXT-X-BYTERANGE" {
            self.range = attributes::range(value);
            return Ok(());
        }
        if addresses.is_none() && !READ.contains(&name) {
            return self.facts.tag(name, value.trim_ascii(), &[], None, line);
        }
        let attributes = attributes::read(value, line)?;
        let mut first = None;
        for attribute in &attributes {
            let role = addresses.into_iter().flatten().find(|(holder, _)| *holder == attribute.name);
            if let Some((_, role)) = role {
                let url = self.attribute(name, &attributes, attribute, *role, value_at, line)?;
                first = first.or(url);
            }
        }
        self.facts.tag(name, value, &attributes, first.as_ref(), line)
    }

    /// Replaces the address in an attribute.
    fn attribute(
        &mut self,
        tag: &str,
        all: &[Attribute<'_>],
        attribute: &Attribute<'_>,
        role: Role,
        list_at: usize,
        line: usize,
    ) -> Result<Option<Url>, Error> {
        let at = list_at + attribute.at.start;
        if role == Role::Key && get(all, "KEYFORMAT").is_some_and(|format| format != "identity") {
            self.make_absolute(attribute.value, at, line)?;
            return Ok(None);
        }
        let role = match (tag, get(all, "TYPE")) {
            ("#EXT-X-PRELOAD-HINT", Some("MAP")) => Role::Init,
            _ => role,
        };
        let range = get(all, "BYTERANGE").and_then(attributes::range);
        let range = match tag {
            // RFC 8216 §4.3.2.5: without a start, from the start.
            "#EXT-X-MAP" => range.map(|(length, start)| Asked::Whole(length, start.or(Some(0)))),
            "#EXT-X-PART" => range.map(|(length, start)| Asked::AfterPart(length, start)),
            "#EXT-X-PRELOAD-HINT" => hinted(all).map(Asked::Open),
            _ => None,
        };
        if attribute.value.is_empty() {
            return Ok(None);
        }
        self.write(&Written { text: attribute.value, at, needs_quotes: !attribute.is_quoted, line }, role, range)
    }

    /// Reads the line of an address that stands at `at`.
    fn address(&mut self, content: &str, at: usize, line: usize) -> Result<(), Error> {
        let is_variant = self.facts.is_variant_next();
        let role = if is_variant { Role::Playlist } else { Role::Segment };
        let range = self.range.take().filter(|_| !is_variant);
        let range = range.map(|(length, start)| Asked::AfterSegment(length, start));
        let url = self.write(&Written { text: content, at, needs_quotes: false, line }, role, range)?;
        self.facts.address(url.as_ref(), line)
    }

    /// Writes the link to an address in its place; none if it is not ours to link.
    fn write(&mut self, written: &Written<'_>, role: Role, range: Option<Asked>) -> Result<Option<Url>, Error> {
        let line = written.line;
        let Some((url, place)) = self.resolve(written.text, written.at, line)? else { return Ok(None) };
        let bytes = range.and_then(|range| self.bytes(range, &url));
        let reference = Reference { url, role, bytes, line };
        let mut link = splice::link(self.links, &reference)?;
        if written.needs_quotes {
            link = format!("\"{link}\"");
        }
        self.out.replace(place, &link, line)?;
        Ok(Some(reference.url))
    }

    /// Keeps a relative address leading where it led.
    fn make_absolute(&mut self, text: &str, at: usize, line: usize) -> Result<(), Error> {
        if let Some((url, place)) = self.resolve(text, at, line)?
            && address::scheme(text).is_none()
        {
            self.out.replace(place, url.as_str(), line)?;
        }
        Ok(())
    }

    fn resolve(&mut self, text: &str, at: usize, line: usize) -> Result<Option<(Url, Range<usize>)>, Error> {
        // Data may be long, and is nothing to look into.
        if address::scheme(text).is_some_and(|scheme| !address::is_http(scheme)) {
            return Ok(None);
        }
        let plain = self.defined.substitute(text, line)?;
        Ok(address::resolve(Some(self.base), &plain, line)?.map(|url| (url, at..at + text.len())))
    }

    fn bytes(&mut self, range: Asked, url: &Url) -> Option<ByteRange> {
        let (length, start, last) = match range {
            Asked::Open(range) => return Some(range),
            Asked::Whole(length, start) => return attributes::continued((length, start), None),
            Asked::AfterSegment(length, start) => (length, start, &mut self.last_segment),
            Asked::AfterPart(length, start) => (length, start, &mut self.last_part),
        };
        let previous_end = last.take().filter(|(previous, _)| previous == url).map(|(_, end)| end);
        let bytes = attributes::continued((length, start), previous_end)?;
        *last = Some((url.clone(), bytes.start + length));
        Some(bytes)
    }
}

/// An address as it is written.
struct Written<'a> {
    text: &'a str,
    /// Where it stands.
    at: usize,
    /// Whether it is an attribute without its quotes (RFC 8216 §4.3.2.4 wants them): a link may have a comma.
    needs_quotes: bool,
    line: usize,
}

/// A range as a tag asks for it: how long, and where it begins.
enum Asked {
    /// By itself.
    Whole(u64, Option<u64>),
    /// After the segment before it, if it does not say.
    AfterSegment(u64, Option<u64>),
    /// After the part before it, if it does not say.
    AfterPart(u64, Option<u64>),
    /// With an end that need not be known.
    Open(ByteRange),
}

/// The range of a preload hint, which may lack its end.
fn hinted(attributes: &[Attribute<'_>]) -> Option<ByteRange> {
    let number = |name| get(attributes, name).map(str::parse::<u64>);
    let (start, length) = (number("BYTERANGE-START"), number("BYTERANGE-LENGTH"));
    if start.is_none() && length.is_none() {
        return None;
    }
    Some(ByteRange { start: start.unwrap_or(Ok(0)).ok()?, length: length.transpose().ok()? })
}
