//! Decides whether an upstream's answer may enter the cache, before any byte of it is written.
//!
//! Owns: the check of status and header fields against what was asked and what is already known of the object
//! (RFC 9110 §14.4, §15.3.7; RFC 9111 §3.4), and what each refusal means for whoever asked.
//! Leaves to others: sending, waiting, renewing, and comparing bytes when only an entity-tag differs.
//!
//! Invariant: what is accepted names bytes of the pinned version that start where they were asked for, unless it says
//! that the range was ignored.

use std::ops::Range;
use std::time::Duration;

use thiserror::Error;

use crate::date;
use crate::granule::MAX_TOTAL;
use crate::meta::Validators;
use crate::range::is_strong;

/// The longest that an upstream may make us wait; a longer wish is cut to this.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Status and fields of an answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head<'a> {
    /// Status code.
    pub status: u16,
    /// `Content-Range`.
    pub content_range: Option<&'a str>,
    /// `Content-Length` in bytes.
    pub content_length: Option<u64>,
    /// `Content-Encoding`.
    pub content_encoding: Option<&'a str>,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// `ETag`.
    pub etag: Option<&'a str>,
    /// `Last-Modified`.
    pub last_modified: Option<&'a str>,
    /// `Date`.
    pub date: Option<&'a str>,
    /// `Retry-After`.
    pub retry_after: Option<&'a str>,
}

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The bytes; an end of `u64::MAX` means that the range was sent without an end, `None` that none was sent.
    pub range: Option<Range<u64>>,
    /// Whether a page or a JSON document would be the wrong thing.
    pub expect_media: bool,
}

/// What is already known of the object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pinned {
    /// Its length in bytes.
    pub total: Option<u64>,
    /// Its entity-tag. A weak one is not compared.
    pub etag: Option<String>,
    /// Its `Last-Modified`, compared when entity-tags cannot be.
    pub last_modified: Option<String>,
    /// Further entity-tags that were seen on the same bytes, as the edges of some origins give them; at most
    /// [`MAX_ALIASES`].
    pub aliases: Vec<String>,
}

/// Entity-tags that one version of an object may have besides the first.
pub const MAX_ALIASES: usize = 8;

/// An answer whose body may be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Where in the object the body begins.
    pub start: u64,
    /// Where in the object the body ends (exclusive), if that is known. Never more than was asked for, unless the range
    /// was ignored. Nothing behind it is to be read: the body of an accepted 416 is not the object.
    pub end: Option<u64>,
    /// Length of the object, if it is known.
    pub total: Option<u64>,
    /// A range was asked for and the whole is coming.
    pub ignored_range: bool,
    /// What the answer says of the version.
    pub validators: Validators,
    /// Media type as it was sent.
    pub media_type: Option<String>,
}

/// What to do about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ask again after a while.
    Retry,
    /// Renew the address or the credentials, then ask again.
    Auth,
    /// The object is another one now: start a new generation.
    Changed,
    /// Asking again gives the same.
    Fatal,
}

/// Why an answer may not enter the cache.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Rejection {
    /// 401 or 403.
    #[error("the server wants other credentials (status {status})")]
    Unauthorized {
        /// Which of the two.
        status: u16,
    },
    /// 404.
    #[error("the server knows nothing under this address (status 404)")]
    NotFound,
    /// 410.
    #[error("the object was removed from the server (status 410)")]
    Gone,
    /// 408, 425, 429.
    #[error("the server asks for patience (status {status})")]
    Throttled {
        /// Which of them.
        status: u16,
        /// How long, if it says so.
        retry_after: Option<Duration>,
    },
    /// 500, 502, 503, 504.
    #[error("the server is failing (status {status})")]
    ServerError {
        /// Which of them.
        status: u16,
        /// When it expects to be well again, if it says so.
        retry_after: Option<Duration>,
    },
    /// Any other status that is not the object.
    #[error("the server answered with status {status}, which is not the object")]
    Status {
        /// The status.
        status: u16,
    },
    /// 416 although the range lies inside the object as far as we know it.
    #[error("the server says that the range lies outside of the object")]
    Unsatisfiable {
        /// The length it stated.
        total: Option<u64>,
    },
    /// A page or a JSON document where media was expected: an error or a sign-in with a friendly status.
    #[error("the server sent {media_type} instead of media")]
    NotMedia {
        /// What it sent.
        media_type: String,
        /// Whether the same address has given media before, so that renewing it makes sense.
        known: bool,
    },
    /// The bytes are compressed although they were asked for as they are.
    #[error("the server sent the bytes in the encoding {encoding}, although it was asked not to")]
    Encoded {
        /// The encoding.
        encoding: String,
    },
    /// Several parts to a request for one.
    #[error("the server answered a single range with several parts")]
    Multipart,
    /// 206 without a `Content-Range` that can be read.
    #[error("the server sent a part without saying which (Content-Range {value:?})")]
    NoContentRange {
        /// What it sent.
        value: Option<String>,
    },
    /// 206 that begins elsewhere.
    #[error("the server sent bytes from {got} on where {asked} was asked for")]
    WrongStart {
        /// Where it had to begin.
        asked: u64,
        /// Where it begins.
        got: u64,
    },
    /// 206 that ends behind what was asked for, or behind the object.
    #[error("the server sent bytes up to {got} where {limit} is the limit")]
    WrongEnd {
        /// The exclusive end it may have.
        limit: u64,
        /// The exclusive end it has.
        got: u64,
    },
    /// `Content-Length` and `Content-Range` contradict each other.
    #[error("the server states {stated} bytes for a part of {part}")]
    WrongLength {
        /// What `Content-Length` says.
        stated: u64,
        /// What `Content-Range` says.
        part: u64,
    },
    /// 206 that does not say how long the object is, and nobody else did.
    #[error("the server does not say how long the object is")]
    UnknownTotal,
    /// The object is larger than anything that is kept.
    #[error("the object has {total} bytes, more than can be kept")]
    TooLarge {
        /// Its length.
        total: u64,
    },
    /// The length is another one.
    #[error("the object had {pinned} bytes and has {got} now")]
    TotalChanged {
        /// What it was.
        pinned: u64,
        /// What it is.
        got: u64,
    },
    /// The entity-tag is another one. With an equal length this may be another edge of the same origin: compare bytes.
    #[error("the object's entity-tag was {pinned} and is {got} now")]
    EtagChanged {
        /// What it was.
        pinned: String,
        /// What it is.
        got: String,
    },
    /// The date of the last change is another one, and no entity-tag says more.
    #[error("the object was changed {pinned} and {got} again")]
    DateChanged {
        /// What it was.
        pinned: String,
        /// What it is.
        got: String,
    },
}

impl Rejection {
    /// What to do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Throttled { .. } | Self::ServerError { .. } => Kind::Retry,
            Self::Unauthorized { .. } | Self::NotMedia { known: true, .. } => Kind::Auth,
            Self::TotalChanged { .. } | Self::EtagChanged { .. } | Self::DateChanged { .. } => Kind::Changed,
            _ => Kind::Fatal,
        }
    }

    /// How long the upstream asks us to wait, at most [`MAX_RETRY_AFTER`].
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after, .. } | Self::ServerError { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether a renewed address could help: true of [`Kind::Auth`], and of what signed links say once they expired.
    pub fn may_refresh(&self) -> bool {
        matches!(self, Self::Unauthorized { .. } | Self::NotMedia { .. } | Self::NotFound | Self::Gone)
    }
}

/// Checks an answer against the question and against what is known.
pub fn accept(head: &Head, asked: &Asked, pinned: Option<&Pinned>) -> Result<Accepted, Rejection> {
    let accepted = match head.status {
        200 => whole(head, asked, pinned)?,
        206 => part(head, asked, pinned)?,
        416 => nothing(head, pinned)?,
        status => return Err(refusal(status, head)),
    };
    if let Some(total) = accepted.total.filter(|total| *total > MAX_TOTAL) {
        return Err(Rejection::TooLarge { total });
    }
    Ok(accepted)
}

fn refusal(status: u16, head: &Head) -> Rejection {
    match status {
        401 | 403 => Rejection::Unauthorized { status },
        404 => Rejection::NotFound,
        410 => Rejection::Gone,
        408 | 425 | 429 => Rejection::Throttled { status, retry_after: retry_after(head) },
        500 | 502 | 503 | 504 => Rejection::ServerError { status, retry_after: retry_after(head) },
        _ => Rejection::Status { status },
    }
}

/// 200: the whole object, whatever was asked for.
fn whole(head: &Head, asked: &Asked, pinned: Option<&Pinned>) -> Result<Accepted, Rejection> {
    check_body(head, asked, pinned)?;
    check_version(head, head.content_length, pinned)?;
    let total = head.content_length.or_else(|| pinned.and_then(|pinned| pinned.total));
    Ok(Accepted { start: 0, end: total, total, ignored_range: asked.range.is_some(), ..described(head) })
}

/// 206: one part, which has to be the one that was asked for or the beginning of it.
fn part(head: &Head, asked: &Asked, pinned: Option<&Pinned>) -> Result<Accepted, Rejection> {
    check_body(head, asked, pinned)?;
    if media_type(head).is_some_and(|media| media == "multipart/byteranges") {
        return Err(Rejection::Multipart);
    }
    let stated = head.content_range.and_then(content_range);
    let Some((range, total)) = stated else {
        return Err(Rejection::NoContentRange { value: head.content_range.map(str::to_owned) });
    };
    check_version(head, total, pinned)?;
    let total = total.or_else(|| pinned.and_then(|pinned| pinned.total)).ok_or(Rejection::UnknownTotal)?;
    let wanted = asked.range.clone().unwrap_or(0..u64::MAX);
    if range.start != wanted.start {
        return Err(Rejection::WrongStart { asked: wanted.start, got: range.start });
    }
    let limit = wanted.end.min(total);
    if range.end > limit {
        return Err(Rejection::WrongEnd { limit, got: range.end });
    }
    let length = range.end - range.start;
    if let Some(stated) = head.content_length.filter(|stated| *stated != length) {
        return Err(Rejection::WrongLength { stated, part: length });
    }
    Ok(Accepted { start: range.start, end: Some(range.end), total: Some(total), ..described(head) })
}

/// 416: the way in which an empty object says that it is empty. Anything else is a contradiction.
fn nothing(head: &Head, pinned: Option<&Pinned>) -> Result<Accepted, Rejection> {
    let total = head.content_range.and_then(|value| strip_unit(value)?.strip_prefix("*/")).and_then(number);
    let known = pinned.and_then(|pinned| pinned.total);
    match (known, total) {
        (Some(pinned), Some(got)) if pinned != got => Err(Rejection::TotalChanged { pinned, got }),
        (_, Some(0)) => Ok(Accepted { end: Some(0), total: Some(0), media_type: None, ..described(head) }),
        _ => Err(Rejection::Unsatisfiable { total }),
    }
}

/// Whether the body could be the object at all.
fn check_body(head: &Head, asked: &Asked, pinned: Option<&Pinned>) -> Result<(), Rejection> {
    let encoding = head.content_encoding.map(str::trim).filter(|value| !value.is_empty());
    if let Some(encoding) = encoding.filter(|value| !value.eq_ignore_ascii_case("identity")) {
        return Err(Rejection::Encoded { encoding: encoding.to_owned() });
    }
    match media_type(head).filter(|media| asked.expect_media && is_document(media)) {
        Some(media_type) => Err(Rejection::NotMedia { media_type, known: pinned.is_some() }),
        None => Ok(()),
    }
}

/// Whether the answer is of the version that is pinned. Equal entity-tags count when both are strong; different ones always
/// tell that it may be another version. The date counts when there are no tags to say anything (§8.8.2.2, §14.4).
fn check_version(head: &Head, total: Option<u64>, pinned: Option<&Pinned>) -> Result<(), Rejection> {
    let Some(pinned) = pinned else { return Ok(()) };
    if let Some((pinned, got)) = pinned.total.zip(total).filter(|(pinned, got)| pinned != got) {
        return Err(Rejection::TotalChanged { pinned, got });
    }
    if let Some((known, got)) =
        pinned.etag.as_deref().zip(head.etag).filter(|(known, got)| is_tag(known) && is_tag(got))
    {
        let same = |tag: &str| opaque(tag) == opaque(got);
        if !same(known) && !pinned.aliases.iter().any(|alias| same(alias)) {
            return Err(Rejection::EtagChanged { pinned: known.to_owned(), got: got.to_owned() });
        }
        if is_strong(known) && is_strong(got) {
            return Ok(());
        }
    }
    let dates = pinned.last_modified.as_deref().zip(head.last_modified);
    match dates.filter(|(known, got)| date::parse(known) != date::parse(got)) {
        Some((known, got)) => Err(Rejection::DateChanged { pinned: known.to_owned(), got: got.to_owned() }),
        None => Ok(()),
    }
}

/// What an entity-tag says, weak or strong (§8.8.3.2).
fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// Whether this is an entity-tag at all.
fn is_tag(tag: &str) -> bool {
    is_strong(opaque(tag))
}

/// What the fields say, for a body that is still to be placed.
fn described(head: &Head) -> Accepted {
    let owned = |value: Option<&str>| value.map(str::to_owned);
    Accepted {
        start: 0,
        end: None,
        total: None,
        ignored_range: false,
        validators: Validators {
            etag: owned(head.etag),
            last_modified: owned(head.last_modified),
            date: owned(head.date),
        },
        media_type: owned(head.content_type),
    }
}

/// The media type without parameters, in lower case.
fn media_type(head: &Head) -> Option<String> {
    Some(head.content_type?.split(';').next()?.trim().to_ascii_lowercase())
}

/// Types that error pages and sign-in pages have, and films do not.
fn is_document(media: &str) -> bool {
    let json = media == "application/json" || media == "text/json" || media.ends_with("+json");
    json || media == "text/html" || media == "application/xhtml+xml"
}

/// `bytes F-L/T` or `bytes F-L/*`, as an exclusive range and the total.
fn content_range(value: &str) -> Option<(Range<u64>, Option<u64>)> {
    let (range, total) = strip_unit(value)?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, end) = (number(first)?, number(last)?.checked_add(1)?);
    let total = match total {
        "*" => None,
        total => Some(number(total)?),
    };
    (first < end && total.is_none_or(|total| end <= total)).then_some((first..end, total))
}

fn strip_unit(value: &str) -> Option<&str> {
    let (unit, rest) = value.trim().split_once(' ')?;
    unit.eq_ignore_ascii_case("bytes").then(|| rest.trim_start())
}

fn number(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// §10.2.3: seconds, or a date, which is measured against the server's own clock.
fn retry_after(head: &Head) -> Option<Duration> {
    let value = head.retry_after?.trim();
    let seconds = match number(value) {
        Some(seconds) => seconds,
        None => u64::try_from(date::parse(value)?.checked_sub(date::parse(head.date?)?)?).unwrap_or(0),
    };
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests;
