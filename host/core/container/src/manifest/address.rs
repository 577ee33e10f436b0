//! Addresses: relative ones resolved, and an absolute one split into a directory and the rest (RFC 3986 §5).
//!
//! Owns: which addresses are ours to link, and which stay within the directory that they are relative to.
//!
//! Invariant: what [`below`] hands back lies in the directory that it was given.

use url::Url;

use super::{Error, MAX_URI_BYTES};

/// How much of an address an error shows, bytes.
const SHOWN_BYTES: usize = 120;

/// Whether a scheme is one that the host fetches.
pub(super) fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

/// The scheme that an address begins with.
pub(super) fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_scheme.then_some(scheme)
}

/// Resolves an address; none if it is not ours to link.
///
/// Without a base, which happens below an address of another scheme, only an absolute address can be ours.
pub(super) fn resolve(base: Option<&Url>, text: &str, line: usize) -> Result<Option<Url>, Error> {
    if scheme(text).is_some_and(|scheme| !is_http(scheme)) {
        return Ok(None);
    }
    if text.len() > MAX_URI_BYTES {
        return Err(Error::Limit { line, what: "bytes of one address", most: MAX_URI_BYTES });
    }
    let joined = match base {
        Some(base) => base.join(text),
        None if scheme(text).is_none() => return Ok(None),
        None => Url::parse(text),
    };
    let mut url = joined.map_err(|why| Error::Address { line, uri: beginning(text), why: why.to_string() })?;
    url.set_fragment(None);
    if url.as_str().len() > MAX_URI_BYTES {
        return Err(Error::Limit { line, what: "bytes of one address", most: MAX_URI_BYTES });
    }
    Ok(Some(url))
}

/// Splits an address into its directory and what follows, so that the two written one after the other are the address.
pub(super) fn split(url: &Url) -> (Url, String) {
    let mut directory = url.clone();
    directory.set_query(None);
    directory.set_fragment(None);
    let last = directory.path().rfind('/').map_or(0, |at| at + 1);
    let path = directory.path()[..last].to_owned();
    let mut rest = url.path()[last..].to_owned();
    directory.set_path(&path);
    if let Some(query) = url.query() {
        rest.push('?');
        rest.push_str(query);
    }
    (directory, rest)
}

/// Whether a relative address stays within the directory that it is relative to, whichever that is, so that it means
/// the same under a link to that directory.
pub(super) fn stays_below(text: &str) -> bool {
    let Some(first) = text.bytes().next() else { return false };
    // What browsers read as something else: a backslash as a slash, and control characters as nothing.
    !b"/?#".contains(&first)
        && scheme(text).is_none()
        && !text.bytes().any(|byte| byte == b'\\' || byte.is_ascii_control())
        && never_climbs(text)
}

/// Whether no `..` in the path leads above where it begins.
pub(super) fn never_climbs(text: &str) -> bool {
    let mut depth = 0_usize;
    let path = &text[..path_length(text)];
    path.split('/').all(|segment| {
        match segment.to_ascii_lowercase().replace("%2e", ".").as_str() {
            "." => {}
            ".." if depth == 0 => return false,
            ".." => depth -= 1,
            _ => depth += 1,
        }
        true
    })
}

/// Where the path of an address ends: before its query or fragment.
pub(super) fn path_length(text: &str) -> usize {
    text.find(['?', '#']).unwrap_or(text.len())
}

/// What a player means that asks for `rest`, a path with its query exactly as it was sent, under the link that stands
/// for `directory` ([`super::Links::prefix`]). None if that would not lie in the directory.
pub fn below(directory: &Url, rest: &str) -> Option<Url> {
    if rest.len() > MAX_URI_BYTES || !is_http(directory.scheme()) || !directory.path().ends_with('/') {
        return None;
    }
    // `./` keeps a rest such as `//elsewhere/` or `http://elsewhere/` from being anything but a path.
    let mut url = directory.join(&format!("./{rest}")).ok()?;
    url.set_fragment(None);
    let lies_below = url.origin() == directory.origin()
        && url.username() == directory.username()
        && url.password() == directory.password()
        && url.path().starts_with(directory.path());
    lies_below.then_some(url)
}

/// As much of an address as an error shows.
pub(super) fn beginning(text: &str) -> String {
    if text.len() <= SHOWN_BYTES {
        return text.to_owned();
    }
    let mut end = SHOWN_BYTES;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}
