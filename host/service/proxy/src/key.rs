//! Names for bytes: what an address is worth keeping under, and what may be in one.

use plugin::Header;
use store::ObjectId;
use url::Url;

use crate::Refusal;

/// Bytes of an address, at most.
const MAX_ADDRESS: usize = 16 * 1024;
/// Header fields of a session, at most.
const MAX_HEADERS: usize = 64;

/// The scheme of an address, in lower case.
pub fn scheme(address: &str) -> Result<String, Refusal> {
    if address.len() > MAX_ADDRESS {
        return Err(Refusal::TooLong(address.len()));
    }
    let not = || Refusal::NotAnAddress(shortened(address));
    let (scheme, rest) = address.split_once(':').ok_or_else(not)?;
    let good = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        && !rest.is_empty()
        && !address.chars().any(char::is_control);
    // `localhost:8080/film.mp4` has the shape of an address and is not one.
    let port = rest.split('/').next().is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    if good && !(port && (scheme.contains('.') || scheme == "localhost")) {
        Ok(scheme.to_ascii_lowercase())
    } else {
        Err(not())
    }
}

fn shortened(address: &str) -> String {
    let mut text: String = address.chars().take(80).collect();
    if text.len() < address.len() {
        text.push('…');
    }
    text
}

/// Header fields that a client may have sent upstream.
pub fn check_headers(headers: &[Header]) -> Result<(), Refusal> {
    let bad = |name: &str, why| Err(Refusal::BadHeader { name: shortened(name), why });
    if headers.len() > MAX_HEADERS {
        return bad(&headers[MAX_HEADERS].name, "is one more than the 64 that are taken");
    }
    for header in headers {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if header.name.is_empty() || !header.name.bytes().all(token) {
            return bad(&header.name, "has a name that is not a token (RFC 9110 §5.1)");
        }
        if header.value.len() > MAX_ADDRESS || header.value.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f) {
            return bad(&header.name, "has a value with control characters, or too long a one");
        }
    }
    Ok(())
}

/// A caller's own name for the bytes. An empty one would be the same for every film.
pub fn check_file_key(file_key: Option<&str>) -> Result<(), Refusal> {
    match file_key.map(str::len) {
        None | Some(1..=1024) => Ok(()),
        Some(length) => Err(Refusal::FileKey(length)),
    }
}

/// A title's id.
pub fn check_title(title: Option<&str>) -> Result<(), Refusal> {
    match title.map(str::len) {
        None | Some(1..=1024) => Ok(()),
        Some(length) => Err(Refusal::Title(length)),
    }
}

/// The address of a file beside another one; none where addresses are no paths.
pub fn beside(address: &str, name: &str) -> Option<String> {
    let mut url = Url::parse(address).ok()?;
    let plain = !name.is_empty() && !matches!(name, "." | "..") && !name.contains(['/', '\\']);
    if !plain || url.path().ends_with('/') {
        return None;
    }
    url.path_segments_mut().ok()?.pop().push(name);
    Some(url.into())
}

/// The object that bytes are kept in. `file_key` is what the client calls them, `planned` what the plugin calls them.
pub fn object(
    scope: &str,
    plugin: &str,
    address: &str,
    planned: Option<&str>,
    file_key: Option<&str>,
) -> (ObjectId, String) {
    let key = match (file_key, planned) {
        (Some(own), _) => format!("{scope} file-key {own}"),
        (None, Some(planned)) => format!("{scope} {plugin} {planned}"),
        (None, None) => format!("{scope} {plugin} {}", without_credentials(address)),
    };
    (ObjectId::from_key(&key), key)
}

/// An address without user name, password and fragment, for people and as a key.
pub fn without_credentials(address: &str) -> String {
    let Ok(mut url) = Url::parse(address) else { return address.to_owned() };
    if url.cannot_be_a_base() {
        return address.to_owned();
    }
    // Fails only for addresses that cannot have them.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    url.into()
}

/// An address as it may be shown: without credentials, and without a query, which may hold signatures.
pub fn shown(address: &str) -> String {
    let address = without_credentials(address);
    match address.split_once('?') {
        Some((path, _)) => format!("{path}?…"),
        None => address,
    }
}

/// The origin that an address names: its own, or that of an HTTP address behind another scheme
/// (`podcast:https://example.org/feed.xml`).
pub fn named(address: &str) -> Option<fetch::Origin> {
    let origin = |text: &str| Url::parse(text).ok().as_ref().and_then(fetch::Origin::of);
    origin(address).or_else(|| origin(address.split_once(':')?.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_scheme() {
        for (address, expected) in [
            ("https://h/f", Some("https")),
            ("HTTP://h/f", Some("http")),
            ("podcast:https://h/f", Some("podcast")),
            ("file", None),
            ("example.org/film.mp4", None),
            ("localhost:8080/film.mp4", None),
            ("example.org:80/f", None),
            ("://x", None),
            ("http:", None),
            ("1http://x", None),
            ("http://x/\n", None),
            ("", None),
        ] {
            assert_eq!(scheme(address).ok().as_deref(), expected, "{address:?}");
        }
    }

    #[test]
    fn headers_cannot_smuggle() {
        let check =
            |name: &str, value: &str| check_headers(&[Header { name: name.into(), value: value.into() }]).is_ok();
        assert!(check("Authorization", "Bearer x") && check("x-a_b", ""));
        assert!(!check("", "x") && !check("a b", "x") && !check("a", "x\r\nHost: y") && !check("a:", "x"));
    }

    #[test]
    fn what_is_shown_has_no_secrets() {
        assert_eq!(shown("https://user:pw@h/f.mp4?sig=1#t"), "https://h/f.mp4?…");
        assert_eq!(shown("podcast:x"), "podcast:x");
    }

    #[test]
    fn keys_are_scoped() {
        let id = |scope, key| object(scope, "source-http", "http://h/f", None, key).0;
        assert_ne!(id("a", Some("k")), id("b", Some("k")));
        assert_ne!(id("a", Some("k")), id("a", None));
        assert_eq!(object("a", "p", "http://u:p@h/f#x", None, None).0, object("a", "p", "http://h/f", None, None).0);
    }
}
