//! Media sources: an address in, a plan of where its bytes are out.

use bytes::Bytes;
use thiserror::Error;

use crate::{BoxFuture, BoxStream, Extra, Failure, Header};

/// Segments of one plan, at most.
pub const MAX_SEGMENTS: usize = 65_536;
/// Parents of one plan, at most.
pub const MAX_PARENTS: usize = 256;
/// Mirrors of one segment, at most.
pub const MAX_URLS: usize = 16;
/// Bytes of an inline segment, at most.
pub const MAX_INLINE: usize = 64 * 1024;
/// Bytes of a plan's opaque state, at most.
pub const MAX_STATE: usize = 64 * 1024;
/// Bytes of a manifest's text, at most.
pub const MAX_MANIFEST_TEXT: usize = 4 * 1024 * 1024;
/// Bytes that one call to `read` may ask for.
pub const MAX_COMPUTED_SPAN: u64 = 16 * 1024 * 1024;
/// Bytes of an address, a header field or a name, at most.
pub const MAX_TEXT: usize = 16 * 1024;

/// The port of `mediahost:media-source`.
pub trait MediaSource: Send + Sync {
    /// The plugin's id.
    fn id(&self) -> &str;

    /// The folder that the operator granted to this plugin under a name, for `file` segments.
    fn root(&self, name: &str) -> Option<String>;

    /// Finds out where the bytes of an address are.
    fn open(&self, request: Open) -> BoxFuture<'static, Result<Opened, Failure>>;

    /// Renews what `open` gave.
    fn refresh(
        &self,
        request: Open,
        state: Vec<u8>,
        reason: RefreshReason,
    ) -> BoxFuture<'static, Result<Opened, Failure>>;

    /// Bytes of a `computed` segment. The stream gives exactly `length` bytes or ends with an error; what came before
    /// the error is good.
    fn read(
        &self,
        state: Vec<u8>,
        segment: u32,
        offset: u64,
        length: u64,
    ) -> BoxStream<'static, Result<Bytes, Failure>>;
}

/// An address to open.
#[derive(Clone, Debug)]
pub struct Open {
    /// The address as the user gave it.
    pub uri: String,
    /// Header fields that the user wants sent.
    pub headers: Vec<Header>,
    /// `play` or `check`.
    pub purpose: &'static str,
}

/// Why a plan is to be renewed.
#[derive(Clone, Debug)]
pub struct RefreshReason {
    /// `expires`, `denied`, `gone`, `changed` or `credentials`.
    pub code: &'static str,
    /// The status that the upstream gave.
    pub status: Option<u16>,
    /// The segment it was about.
    pub segment: Option<u32>,
}

/// What an address turned out to be.
#[derive(Clone, Debug)]
pub enum Opened {
    /// One run of bytes.
    Plan(Plan),
    /// A manifest of many.
    Manifest(SegmentedManifest),
}

/// What tells one version of the bytes from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// RFC 9110 §8.8.3, quotes and `W/` included.
    pub etag: Option<String>,
    /// RFC 9110 §8.8.2, an HTTP-date.
    pub last_modified: Option<String>,
    /// Algorithm and lower-case hexadecimal value.
    pub digests: Vec<(String, String)>,
}

/// Where the bytes of a segment come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An HTTP server: mirrors, header fields, offset within the resource.
    Http { urls: Vec<String>, headers: Vec<Header>, offset: u64 },
    /// A file below a granted root.
    File { root: String, path: String, offset: u64 },
    /// Another address of the plan's parents.
    Parent { index: u32, offset: u64 },
    /// All zero.
    Zeros,
    /// The plan itself.
    Inline(Bytes),
    /// The plugin's `read`.
    Computed,
}

/// A run of bytes of the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where they come from.
    pub origin: Origin,
    /// How many; the last one may leave it open.
    pub length: Option<u64>,
}

/// What a plugin says a plan is, before the contract is checked.
#[derive(Clone, Default)]
pub struct RawPlan {
    pub segments: Vec<Segment>,
    pub parents: Vec<String>,
    pub key: Option<String>,
    pub name: Option<String>,
    pub media_type: Option<String>,
    pub validators: Validators,
    pub expires_at_ms: Option<u64>,
    pub state: Vec<u8>,
    pub extra: Extra,
}

/// A plan that keeps to the contract: at least one segment, no more than the bounds of this module, lengths that are
/// not zero and add up below 2^63, and none left open but the last.
#[derive(Clone)]
pub struct Plan {
    raw: RawPlan,
    /// Where each segment begins.
    starts: Vec<u64>,
}

impl std::fmt::Debug for Plan {
    /// Leaves out the state and the addresses, which may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plan({} segments, length {:?})", self.raw.segments.len(), self.length())
    }
}

/// How a plan breaks the contract. Segments are counted from 0.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    #[error("the plan has no segments")]
    Empty,
    #[error("the plan has {found} {what}, more than {most}")]
    TooMany { what: &'static str, found: usize, most: usize },
    #[error("segment {segment} has no length, and only the last one may leave it open")]
    OpenInside { segment: usize },
    #[error("segment {segment} is {kind} and must have a length")]
    LengthMissing { segment: usize, kind: &'static str },
    #[error("segment {segment} has length 0")]
    Zero { segment: usize },
    #[error("the lengths up to segment {segment} add up to 2^63 or more")]
    Overflow { segment: usize },
    #[error("segment {segment} holds {found} bytes inline and says it has {said}")]
    InlineLength { segment: usize, found: usize, said: u64 },
    #[error("segment {segment} names parent {index} of {count}")]
    NoParent { segment: usize, index: u32, count: usize },
    #[error("segment {segment} names no address")]
    NoUrl { segment: usize },
    #[error("segment {segment} has an address that is not http or https")]
    NotHttp { segment: usize },
    #[error("segment {segment} has an origin of kind {kind:?}, which this host does not know")]
    UnknownOrigin { segment: usize, kind: String },
    #[error("{what} is {found} bytes long, more than {most}")]
    TooLong { what: &'static str, found: usize, most: usize },
}

impl Plan {
    /// Checks a plan against the contract (`mediahost:media-source/types`, record `plan`).
    pub fn check(raw: RawPlan) -> Result<Plan, PlanError> {
        at_most("segments", raw.segments.len(), MAX_SEGMENTS)?;
        at_most("parents", raw.parents.len(), MAX_PARENTS)?;
        short("the state", raw.state.len(), MAX_STATE)?;
        short("the key", raw.key.as_ref().map_or(0, String::len), MAX_TEXT)?;
        short("the name", raw.name.as_ref().map_or(0, String::len), MAX_TEXT)?;
        short("the media type", raw.media_type.as_ref().map_or(0, String::len), MAX_TEXT)?;
        for parent in &raw.parents {
            short("a parent's address", parent.len(), MAX_TEXT)?;
        }
        let last = raw.segments.len().checked_sub(1).ok_or(PlanError::Empty)?;
        let mut starts = Vec::with_capacity(raw.segments.len());
        let mut end = 0u64;
        for (i, segment) in raw.segments.iter().enumerate() {
            starts.push(end);
            check_origin(i, segment, raw.parents.len())?;
            match segment.length {
                Some(0) => return Err(PlanError::Zero { segment: i }),
                Some(length) => {
                    end = end
                        .checked_add(length)
                        .filter(|end| *end < 1 << 63)
                        .ok_or(PlanError::Overflow { segment: i })?;
                }
                None if i != last => return Err(PlanError::OpenInside { segment: i }),
                None => match segment.origin {
                    Origin::Http { .. } | Origin::File { .. } | Origin::Parent { .. } => {}
                    Origin::Zeros => return Err(PlanError::LengthMissing { segment: i, kind: "zeros" }),
                    Origin::Inline(_) => return Err(PlanError::LengthMissing { segment: i, kind: "inline" }),
                    Origin::Computed => return Err(PlanError::LengthMissing { segment: i, kind: "computed" }),
                },
            }
        }
        Ok(Plan { raw, starts })
    }

    /// The segments, in order.
    pub fn segments(&self) -> &[Segment] {
        &self.raw.segments
    }

    /// Where segment `i` begins within the whole.
    pub fn start(&self, i: usize) -> u64 {
        self.starts[i]
    }

    /// The length of the whole, unless the last segment leaves it open.
    pub fn length(&self) -> Option<u64> {
        let last = self.raw.segments.len() - 1;
        self.raw.segments[last].length.map(|length| self.starts[last] + length)
    }

    /// The segment that holds the byte at `offset`, if the plan reaches that far. An open last segment reaches to the
    /// end of the world.
    pub fn at(&self, offset: u64) -> Option<usize> {
        let i = self.starts.partition_point(|start| *start <= offset) - 1;
        match self.raw.segments[i].length {
            Some(length) if offset - self.starts[i] >= length => None,
            _ => Some(i),
        }
    }

    /// Everything beside the segments.
    pub fn about(&self) -> &RawPlan {
        &self.raw
    }
}

fn check_origin(i: usize, segment: &Segment, parents: usize) -> Result<(), PlanError> {
    match &segment.origin {
        Origin::Http { urls, headers, .. } => {
            at_most("mirrors in a segment", urls.len(), MAX_URLS)?;
            at_most("header fields in a segment", headers.len(), 64)?;
            if urls.is_empty() {
                return Err(PlanError::NoUrl { segment: i });
            }
            for url in urls {
                short("an address", url.len(), MAX_TEXT)?;
                let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
                if !matches!(scheme.as_deref(), Some("http" | "https")) {
                    return Err(PlanError::NotHttp { segment: i });
                }
            }
            for header in headers {
                short("a header field", header.name.len() + header.value.len(), MAX_TEXT)?;
            }
        }
        Origin::File { path, root, .. } => short("a file's path", path.len() + root.len(), MAX_TEXT)?,
        Origin::Parent { index, .. } => {
            if *index as usize >= parents {
                return Err(PlanError::NoParent { segment: i, index: *index, count: parents });
            }
        }
        Origin::Inline(bytes) => {
            short("an inline segment", bytes.len(), MAX_INLINE)?;
            let said = segment.length.unwrap_or(0);
            if said != bytes.len() as u64 {
                return Err(PlanError::InlineLength { segment: i, found: bytes.len(), said });
            }
        }
        Origin::Zeros | Origin::Computed => {}
    }
    Ok(())
}

fn at_most(what: &'static str, found: usize, most: usize) -> Result<(), PlanError> {
    if found > most { Err(PlanError::TooMany { what, found, most }) } else { Ok(()) }
}

fn short(what: &'static str, found: usize, most: usize) -> Result<(), PlanError> {
    if found > most { Err(PlanError::TooLong { what, found, most }) } else { Ok(()) }
}

/// A manifest of segments: HLS or DASH.
#[derive(Clone)]
pub struct SegmentedManifest {
    /// `hls` or `dash`.
    pub kind: String,
    /// The manifest.
    pub text: String,
    /// What relative addresses are relative to.
    pub base_url: String,
    /// Header fields for each request.
    pub headers: Vec<Header>,
    /// A file name for people.
    pub name: Option<String>,
    /// When the addresses stop working.
    pub expires_at_ms: Option<u64>,
    /// Opaque.
    pub state: Vec<u8>,
}

impl std::fmt::Debug for SegmentedManifest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SegmentedManifest({}, {} bytes)", self.kind, self.text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(length: Option<u64>) -> Segment {
        Segment { origin: Origin::Http { urls: vec!["http://h/f".into()], headers: vec![], offset: 0 }, length }
    }

    fn check(segments: Vec<Segment>, expected: Result<Option<u64>, PlanError>) {
        let raw = RawPlan { segments, ..RawPlan::default() };
        assert_eq!(Plan::check(raw).map(|plan| plan.length()), expected);
    }

    #[test]
    fn keeps_to_the_contract_or_says_which_segment_does_not() {
        check(vec![], Err(PlanError::Empty));
        check(vec![http(None)], Ok(None));
        check(vec![http(Some(3)), http(Some(4))], Ok(Some(7)));
        check(vec![http(Some(3)), http(None)], Ok(None));
        check(vec![http(None), http(Some(3))], Err(PlanError::OpenInside { segment: 0 }));
        check(vec![http(Some(3)), http(Some(0))], Err(PlanError::Zero { segment: 1 }));
        check(vec![http(Some(1 << 62)), http(Some(1 << 62))], Err(PlanError::Overflow { segment: 1 }));
        check(vec![http(Some(u64::MAX))], Err(PlanError::Overflow { segment: 0 }));
        check(
            vec![Segment { origin: Origin::Zeros, length: None }],
            Err(PlanError::LengthMissing { segment: 0, kind: "zeros" }),
        );
        check(
            vec![Segment { origin: Origin::Inline(Bytes::from_static(b"abc")), length: Some(4) }],
            Err(PlanError::InlineLength { segment: 0, found: 3, said: 4 }),
        );
        check(
            vec![Segment { origin: Origin::Parent { index: 0, offset: 0 }, length: None }],
            Err(PlanError::NoParent { segment: 0, index: 0, count: 0 }),
        );
        let bad = Origin::Http { urls: vec!["file:///etc/passwd".into()], headers: vec![], offset: 0 };
        check(vec![Segment { origin: bad, length: None }], Err(PlanError::NotHttp { segment: 0 }));
        let none = Origin::Http { urls: vec![], headers: vec![], offset: 0 };
        check(vec![Segment { origin: none, length: None }], Err(PlanError::NoUrl { segment: 0 }));
    }

    #[test]
    fn finds_the_segment_of_a_byte() {
        let plan = Plan::check(RawPlan { segments: vec![http(Some(3)), http(Some(4))], ..RawPlan::default() }).unwrap();
        let found: Vec<_> = [0, 2, 3, 6, 7].map(|offset| plan.at(offset)).into();
        assert_eq!(found, [Some(0), Some(0), Some(1), Some(1), None]);
        let open = Plan::check(RawPlan { segments: vec![http(None)], ..RawPlan::default() }).unwrap();
        assert_eq!(open.at(1 << 40), Some(0));
    }
}
