//! What a redirect does to a request: pure, one step at a time.

use plugin::Header;
use reqwest::Method;
use reqwest::header::{self, HeaderMap, HeaderName};
use url::Url;

use crate::error::Error;
use crate::origin::{Origin, host_of};

/// Parts of a field's name that tell of a credential, beside the fields that the standards name.
const CREDENTIAL_WORDS: [&str; 5] = ["auth", "cookie", "token", "secret", "api-key"];

/// The way that a request has come.
pub struct Trail {
    most: u8,
    seen: Vec<Url>,
}

impl Trail {
    /// A way that begins at `url` and has at most `most` redirects.
    pub fn new(url: Url, most: u8) -> Trail {
        Trail { most, seen: vec![url] }
    }

    /// Where the request is now.
    pub fn here(&self) -> &Url {
        self.seen.last().expect("a trail has its beginning")
    }

    /// Whether it has been redirected.
    pub fn redirected(&self) -> bool {
        self.seen.len() > 1
    }

    /// Goes where `location` points. `headers` lose what belongs to the origin that is left.
    pub fn follow(&mut self, location: &[u8], headers: &mut HeaderMap) -> Result<(), Error> {
        let from = self.here();
        let host = host_of(from);
        let refused = |reason| Error::BadRedirect { host: host.clone(), reason };
        if self.seen.len() > usize::from(self.most) {
            return Err(Error::TooManyRedirects { host, most: self.most });
        }
        let next = target(from, location).ok_or_else(|| refused("it is not a URL"))?;
        match (from.scheme(), next.scheme()) {
            (_, "https") | ("http", "http") => {}
            ("https", "http") => {
                return Err(refused("it leads from https to http, which anyone on the way could read"));
            }
            _ => return Err(refused("it is neither http nor https")),
        }
        if leaves(from, &next) {
            strip(headers);
        }
        if self.seen.contains(&next) {
            return Err(Error::RedirectLoop { host });
        }
        self.seen.push(next);
        Ok(())
    }
}

/// The target of a redirect (RFC 9110 §10.2.2). Some servers send raw UTF-8, which the URL parser encodes.
fn target(from: &Url, location: &[u8]) -> Option<Url> {
    let location = std::str::from_utf8(location).ok().filter(|text| text.len() <= crate::client::MAX_URL)?;
    let mut next = from.join(location).ok()?;
    next.set_fragment(None);
    next.has_host().then_some(next)
}

/// Whether a redirect from one URL to the other leaves the origin, so that credentials stay behind.
pub fn leaves(from: &Url, to: &Url) -> bool {
    Origin::of(from) != Origin::of(to)
}

/// Fields without those that a stranger must not learn, for who goes straight to where a redirect led before.
pub fn without_credentials(headers: &[Header]) -> Vec<Header> {
    headers.iter().filter(|header| !is_credential(&header.name.to_ascii_lowercase())).cloned().collect()
}

/// The fields of RFC 9110 §15.4 and those whose name speaks of a credential. The name is in lower case.
fn is_credential(name: &str) -> bool {
    CREDENTIAL_WORDS.iter().any(|word| name.contains(word))
}

/// Removes what a stranger must not learn.
fn strip(headers: &mut HeaderMap) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| is_credential(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Whether a status asks to go elsewhere.
pub fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// The method to go on with, and whether the body goes along (RFC 9110 §15.4.2–§15.4.9).
pub fn method_after(status: u16, method: &Method) -> (Method, bool) {
    match status {
        303 if *method != Method::HEAD => (Method::GET, false),
        301 | 302 if *method == Method::POST => (Method::GET, false),
        _ => (method.clone(), true),
    }
}

/// Removes the fields that describe a body that is not sent.
pub fn without_body(headers: &mut HeaderMap) {
    for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE, header::CONTENT_LOCATION] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goes from `from` to `location`, and says where that is and which of the fields are left.
    fn check(from: &str, location: &str, expected: &str) {
        let mut headers = HeaderMap::new();
        for name in ["authorization", "cookie", "x-emby-token", "x-api-key", "referer"] {
            headers.insert(name, "v".parse().unwrap());
        }
        let mut trail = Trail::new(Url::parse(from).unwrap(), 2);
        let got = match trail.follow(location.as_bytes(), &mut headers) {
            Ok(()) => format!("{} with {}", trail.here(), headers.len()),
            Err(error) => error.code().to_owned(),
        };
        assert_eq!(got, expected, "{from} {location}");
    }

    #[test]
    fn follows_within_the_rules() {
        check("http://a/b/c?d#e", "f", "http://a/b/f with 5");
        check("http://a/b/c", "/f?g#h", "http://a/f?g with 5");
        check("http://a:80/b", "http://a/c", "http://a/c with 5");
        check("http://a/b", "http://a:81/c", "http://a:81/c with 1");
        check("http://a/b", "https://a/c", "https://a/c with 1");
        check("http://a/b", "//b/c", "http://b/c with 1");
        check("https://a/b", "https://b/c", "https://b/c with 1");
        check("https://a/b", "http://a/c", "bad-redirect");
        check("http://a/b", "file:///etc/passwd", "bad-redirect");
        check("http://a/b", "ftp://a/c", "bad-redirect");
        check("http://a/b", "data:text/plain,x", "bad-redirect");
        check("http://a/b", "http://", "bad-redirect");
        check("http://a/b", "http://a/b#x", "redirect-loop");
        check("http://a/b", "http://a/ü", "http://a/%C3%BC with 5");
        check("http://a/b", &"x".repeat(crate::client::MAX_URL + 1), "bad-redirect");
    }

    #[test]
    fn gives_up_in_circles_and_on_long_ways() {
        let mut trail = Trail::new(Url::parse("http://a/1").unwrap(), 2);
        let mut headers = HeaderMap::new();
        trail.follow(b"2", &mut headers).unwrap();
        assert_eq!(trail.follow(b"1", &mut headers), Err(Error::RedirectLoop { host: "a".into() }));
        trail.follow(b"3", &mut headers).unwrap();
        assert_eq!(trail.follow(b"4", &mut headers), Err(Error::TooManyRedirects { host: "a".into(), most: 2 }));
    }

    #[test]
    fn keeps_or_changes_the_method() {
        let check = |status, method: Method, expected: (Method, bool)| {
            assert_eq!(method_after(status, &method), expected, "{status} {method}");
        };
        check(301, Method::POST, (Method::GET, false));
        check(302, Method::POST, (Method::GET, false));
        check(302, Method::PUT, (Method::PUT, true));
        check(303, Method::PUT, (Method::GET, false));
        check(303, Method::HEAD, (Method::HEAD, true));
        check(307, Method::POST, (Method::POST, true));
        check(308, Method::POST, (Method::POST, true));
    }
}
