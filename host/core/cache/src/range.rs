//! Conditional requests and byte ranges: what to answer to a request for a representation (RFC 9110 §13, §14).
//!
//! Owns: the grammar of `Range`, the order in which preconditions count (§13.2.2), which ranges are merged or ignored,
//! and the exact bytes between the parts of a `multipart/byteranges` body.
//! Leaves to others: header fields that do not depend on the range, and moving bytes.
//!
//! Invariant: every range of a decision is non-empty and lies inside the representation.

use std::ops::Range;

use crate::date;

/// Most ranges of one request that are served (§17.15). More are answered with the whole.
pub const MAX_RANGES: usize = 16;
/// Most ranges of one request that may overlap with another one (§14.2). More are answered with the whole.
pub const MAX_OVERLAPPING: usize = 2;

/// What is being asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Representation<'a> {
    /// Length in bytes; without it no range can be served.
    pub length: Option<u64>,
    /// The entity-tag that is sent with it, quotes included.
    pub etag: Option<&'a str>,
    /// The `Last-Modified` that is sent with it.
    pub last_modified: Option<&'a str>,
    /// The origin's `Date` when it stated `last_modified`: without it, or if it is not later, the date is a weak
    /// validator and cannot make `If-Range` true (§8.8.2.2).
    pub date: Option<&'a str>,
}

/// The methods that matter here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// The only one for which ranges are defined.
    #[default]
    Get,
    /// As GET, without ranges.
    Head,
    /// Anything else.
    Other,
}

/// The fields of a request that decide.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// Its method.
    pub method: Method,
    /// All `Range` field lines.
    pub range: &'a [&'a str],
    /// `If-Range`.
    pub if_range: Option<&'a str>,
    /// All `If-Match` field lines.
    pub if_match: &'a [&'a str],
    /// All `If-None-Match` field lines.
    pub if_none_match: &'a [&'a str],
    /// `If-Modified-Since`.
    pub if_modified_since: Option<&'a str>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<&'a str>,
}

/// What to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
    /// 416 with [`unsatisfied_range`].
    Unsatisfiable,
    /// 200 with everything.
    Whole,
    /// 206 with one `Content-Range`.
    Part(Range<u64>),
    /// 206 as [`Multipart`], in this order; at least two.
    Parts(Vec<Range<u64>>),
}

/// Decides in the order of §13.2.2: preconditions first, then `Range`, which counts only under a true `If-Range`.
pub fn decide(request: &Request, representation: &Representation) -> Decision {
    if let Some(decision) = precondition(request, representation) {
        return decision;
    }
    let Some(length) = representation.length else { return Decision::Whole };
    let [range] = request.range else { return Decision::Whole };
    let applies = request.if_range.is_none_or(|validator| same_version(validator, representation));
    if request.method != Method::Get || !applies {
        return Decision::Whole;
    }
    select(range, length)
}

/// Steps 1 to 4 of §13.2.2; `None` if the request goes on.
fn precondition(request: &Request, representation: &Representation) -> Option<Decision> {
    let modified = representation.last_modified.and_then(date::parse);
    let later_than = |since: Option<&str>| Some(modified? > date::parse(since?)?);

    let failed = if request.if_match.is_empty() {
        later_than(request.if_unmodified_since).unwrap_or(false)
    } else {
        !names(request.if_match, representation, strong_match)
    };
    if failed {
        return Some(Decision::PreconditionFailed);
    }
    let reads = request.method != Method::Other;
    let unchanged = if request.if_none_match.is_empty() {
        reads && later_than(request.if_modified_since).is_some_and(|later| !later)
    } else {
        names(request.if_none_match, representation, weak_match)
    };
    unchanged.then_some(if reads { Decision::NotModified } else { Decision::PreconditionFailed })
}

/// Whether a list of entity-tags, or `*`, names the representation.
fn names(lines: &[&str], representation: &Representation, same: fn(&str, &str) -> bool) -> bool {
    let any = lines.len() == 1 && lines[0].trim_matches(OWS) == "*";
    any || representation.etag.is_some_and(|own| lines.iter().any(|line| tags(line).any(|tag| same(tag, own))))
}

/// The well-formed entity-tags of a list, up to the first thing that is none. A tag may contain commas.
fn tags(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let opaque = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?;
        let length = rest.len() - opaque.len() + opaque.find('"')? + 1;
        let (tag, after) = rest.split_at(length);
        rest = after;
        Some(tag)
    })
}

/// §8.8.3.2: both strong and equal.
fn strong_match(a: &str, b: &str) -> bool {
    a == b && is_strong(a)
}

/// §8.8.3.2: equal but for weakness.
fn weak_match(a: &str, b: &str) -> bool {
    a.strip_prefix("W/").unwrap_or(a) == b.strip_prefix("W/").unwrap_or(b)
}

/// Whether this is an entity-tag, and a strong one.
pub fn is_strong(tag: &str) -> bool {
    tag.len() >= 2 && tag.starts_with('"') && tag[1..].find('"') == Some(tag.len() - 2)
}

/// Whether an `If-Range` is true (§13.1.5).
fn same_version(validator: &str, representation: &Representation) -> bool {
    let validator = validator.trim_matches(OWS);
    if validator.starts_with(['"', 'W']) && !validator.starts_with("Wed") {
        return representation.etag.is_some_and(|own| strong_match(validator, own));
    }
    let modified = representation.last_modified.and_then(date::parse);
    let stated = representation.date.and_then(date::parse);
    let strong = modified.zip(stated).is_some_and(|(modified, stated)| stated > modified);
    strong && date::parse(validator) == modified
}

/// What a `Range` selects from `length` bytes.
fn select(field: &str, length: u64) -> Decision {
    let Some(set) = range_set(field) else { return Decision::Whole };
    let mut ranges = Vec::new();
    let mut specs = 0u32;
    for spec in set.split(',').map(|spec| spec.trim_matches(OWS)).filter(|spec| !spec.is_empty()) {
        let Some(range) = resolve(spec, length) else { return Decision::Whole };
        specs += 1;
        ranges.extend(range.into_iter().filter(|range| !range.is_empty()));
        if ranges.len() > MAX_RANGES {
            return Decision::Whole;
        }
    }
    // No specs: not a set. No bytes: no Content-Range can say which of them are sent.
    if specs == 0 || length == 0 || is_abuse(&ranges, length) {
        return Decision::Whole;
    }
    let mut ranges = merge(ranges);
    match ranges.len() {
        0 => Decision::Unsatisfiable,
        1 => Decision::Part(ranges.remove(0)),
        _ => Decision::Parts(ranges),
    }
}

const OWS: [char; 2] = [' ', '\t'];

/// The set behind `bytes=`; other units are not ours (§14.2).
fn range_set(field: &str) -> Option<&str> {
    let (unit, set) = field.trim_matches(OWS).split_once('=')?;
    unit.eq_ignore_ascii_case("bytes").then_some(set)
}

/// One range-spec (§14.1.1, §14.1.2): outer `None` if it is invalid, inner `None` if it selects nothing.
fn resolve(spec: &str, length: u64) -> Option<Option<Range<u64>>> {
    let (first, last) = spec.split_once('-')?;
    if first.is_empty() {
        let suffix = saturating(last)?;
        return Some((suffix > 0).then(|| length.saturating_sub(suffix)..length));
    }
    let start = saturating(first)?;
    let end = match last {
        "" => length,
        last if is_before(last, first) => return None,
        last => saturating(last)?.saturating_add(1).min(length),
    };
    Some((start < length).then_some(start..end))
}

/// A numeral of any length; what does not fit is as large as can be.
fn saturating(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Whether a numeral is smaller than another, however long they are.
fn is_before(a: &str, b: &str) -> bool {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    (a.len(), a) < (b.len(), b)
}

/// Sets that cost us more than the whole would (§14.2, §17.15).
fn is_abuse(ranges: &[Range<u64>], length: u64) -> bool {
    let overlaps = |a: &Range<u64>, b: &Range<u64>| a.start < b.end && b.start < a.end;
    let overlapping =
        (0..ranges.len()).filter(|&i| (0..ranges.len()).any(|j| i != j && overlaps(&ranges[i], &ranges[j]))).count();
    let total: u128 = ranges.iter().map(|range| u128::from(range.end - range.start)).sum();
    overlapping > MAX_OVERLAPPING || total > u128::from(length)
}

/// Joins ranges that overlap or touch; the joined one stands where the first of them stood.
fn merge(ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for mut range in ranges {
        let mut place = merged.len();
        // Each turn removes a range, so this ends.
        while let Some(at) = merged.iter().position(|other| other.start <= range.end && range.start <= other.end) {
            let other = merged.remove(at);
            range = other.start.min(range.start)..other.end.max(range.end);
            place = place.min(at);
        }
        merged.insert(place.min(merged.len()), range);
    }
    merged
}

/// The value of `Content-Range` for a part. The part must not be empty.
pub fn content_range(part: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", part.start, part.end.saturating_sub(1))
}

/// The value of `Content-Range` of a 416.
pub fn unsatisfied_range(length: u64) -> String {
    format!("bytes */{length}")
}

/// The bytes around the parts of a `multipart/byteranges` body, known before the first one is sent (§14.6).
#[derive(Clone, Debug)]
pub struct Multipart {
    boundary: String,
    parts: Vec<(Vec<u8>, Range<u64>)>,
    closing: Vec<u8>,
}

impl Multipart {
    /// For parts of a representation of `length` bytes. `boundary` is the caller's: 1 to 70 letters and digits that do
    /// not occur in the data, which a random one does not. A media type that could break the header is left out.
    ///
    /// # Panics
    /// If the boundary is not such a word.
    pub fn new(parts: Vec<Range<u64>>, length: u64, content_type: Option<&str>, boundary: &str) -> Self {
        let word = (1..=70).contains(&boundary.len()) && boundary.bytes().all(|byte| byte.is_ascii_alphanumeric());
        assert!(word, "a boundary is 1 to 70 letters and digits");
        let content_type = content_type.filter(|value| !value.chars().any(char::is_control));
        let media = content_type.map(|value| format!("Content-Type: {value}\r\n")).unwrap_or_default();
        let head = |part: &Range<u64>| {
            format!("\r\n--{boundary}\r\n{media}Content-Range: {}\r\n\r\n", content_range(part, length)).into_bytes()
        };
        Self {
            parts: parts.into_iter().map(|part| (head(&part), part)).collect(),
            closing: format!("\r\n--{boundary}--\r\n").into_bytes(),
            boundary: boundary.to_owned(),
        }
    }

    /// The media type of the whole body.
    pub fn content_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    /// The exact length of the whole body in bytes, or the largest number if it does not fit: no object that is kept is
    /// that long.
    pub fn content_length(&self) -> u64 {
        let parts = self.parts.iter().map(|(head, part)| (part.end - part.start).saturating_add(head.len() as u64));
        parts.fold(self.closing.len() as u64, u64::saturating_add)
    }

    /// Each part in order: the bytes that come before it, and which bytes it is.
    pub fn parts(&self) -> impl Iterator<Item = (&[u8], Range<u64>)> {
        self.parts.iter().map(|(head, part)| (head.as_slice(), part.clone()))
    }

    /// The bytes after the last part.
    pub fn closing(&self) -> &[u8] {
        &self.closing
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
