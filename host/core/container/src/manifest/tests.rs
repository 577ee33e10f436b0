use super::*;
use proptest::prelude::*;

mod fuzz;

/// Links that say what they are for, and can be resolved again.
#[derive(Default)]
pub(super) struct Plain {
    pub(super) seen: Vec<Reference>,
    pub(super) directories: Vec<Url>,
    /// Nothing, or where the host is.
    pub(super) root: &'static str,
}

/// `http://h/a?b` as one part of a path.
fn packed(url: &str) -> String {
    url.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("_{byte:02x}") })
        .collect()
}

fn unpacked(packed: &str) -> Option<Url> {
    let mut bytes = Vec::new();
    let mut rest = packed.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'_' => {
                u8::from_str_radix(&format!("{}{}", char::from(rest.next()?), char::from(rest.next()?)), 16).ok()?
            }
            _ => byte,
        });
    }
    Url::parse(std::str::from_utf8(&bytes).ok()?).ok()
}

impl Links for Plain {
    fn link(&mut self, reference: &Reference) -> Result<String, String> {
        self.seen.push(reference.clone());
        Ok(format!("{}/l/{}", self.root, packed(reference.url.as_str())))
    }

    fn prefix(&mut self, directory: &Url) -> Result<String, String> {
        assert!(directory.path().ends_with('/') && directory.query().is_none(), "{directory}");
        self.directories.push(directory.clone());
        Ok(format!("{}/d/{}/", self.root, packed(directory.as_str())))
    }
}

/// What a request of a player for a link stands for.
pub(super) fn lead(asked: &Url) -> Option<Url> {
    let path = asked.path();
    if let Some(one) = path.strip_prefix("/l/") {
        return unpacked(one);
    }
    let (directory, rest) = path.strip_prefix("/d/")?.split_once('/')?;
    let query = asked.query().map(|query| format!("?{query}")).unwrap_or_default();
    below(&unpacked(directory)?, &format!("{rest}{query}"))
}

pub(super) fn url(text: &str) -> Url {
    Url::parse(text).expect(text)
}

#[test]
fn what_kind() {
    let cases: &[(&[u8], Option<Kind>)] = &[
        (b"#EXTM3U\n", Some(Kind::Hls)),
        (b"#EXTM3U", Some(Kind::Hls)),
        (b"\xef\xbb\xbf\r\n #EXTM3U\r\n", Some(Kind::Hls)),
        (b"#EXTM3U x=\"y\"\n", Some(Kind::Hls)),
        (b"#EXTM3", None),
        (b"#EXTM3U8\n", None),
        (b"#EXTINF:1,\na.ts", None),
        (b"<MPD>", Some(Kind::Dash)),
        (b"<MPD/>", Some(Kind::Dash)),
        (b"\xef\xbb\xbf<?xml version=\"1.0\"?>\n<!-- > --><?x y?>\n<MPD xmlns=\"a\">", Some(Kind::Dash)),
        (b"<mpd:MPD xmlns:mpd='x'>", Some(Kind::Dash)),
        (b"<MPDX>", None),
        (b"<MPD", None),
        (b"<!-- ", None),
        (b"<!DOCTYPE MPD><MPD>", None),
        (b"<html>", None),
        (b"\xff\xfe#\0E\0X\0T\0", None),
        (b"<\0M\0P\0D\0>\0", None),
        (b"", None),
        (b"\x47\x40\x00", None),
    ];
    for (head, kind) in cases {
        assert_eq!(sniff(head), *kind, "{:?}", String::from_utf8_lossy(head));
    }
}

#[test]
fn bytes_become_text() {
    assert_eq!(text("\u{feff}ü".as_bytes()), Ok("\u{feff}ü"));
    assert_eq!(text(b"ab\xff"), Err(Error::Encoding { at: 2, what: "it is not UTF-8" }));
    assert_eq!(text(b"\xff\xfea\0"), Err(Error::Encoding { at: 0, what: "it is UTF-16" }));
    assert_eq!(text(&vec![b' '; MAX_BYTES + 1]), Err(Error::TooLong(MAX_BYTES + 1)));
}

#[test]
fn the_base_has_to_be_fetched_by_http() {
    for base in ["file:///a/b.m3u8", "data:,x", "mailto:a@b"] {
        let found = rewrite(Kind::Hls, "#EXTM3U", &url(base), &Variables::new(), &mut Plain::default());
        assert_eq!(found, Err(Error::Base(base.to_owned())));
    }
}

#[test]
fn seconds_of_manifests() {
    let cases = [
        ("9", Some(Duration::from_secs(9))),
        ("9.009", Some(Duration::from_millis(9009))),
        (".5", Some(Duration::from_millis(500))),
        ("5.", Some(Duration::from_secs(5))),
        ("0.1234567891", Some(Duration::from_nanos(123_456_789))),
        ("", None),
        (".", None),
        ("-1", None),
        ("1e3", None),
        ("inf", None),
        ("18446744073709551615", Some(Duration::from_secs(u64::MAX))),
        ("18446744073709551616", None),
    ];
    for (text, expected) in cases {
        assert_eq!(seconds(text), expected, "{text}");
    }
}

#[test]
fn below_a_directory() {
    let cases = [
        ("http://h/a/", "b.ts?c=d", Some("http://h/a/b.ts?c=d")),
        ("http://h/a/", "b%2Fc%20d.ts", Some("http://h/a/b%2Fc%20d.ts")),
        ("http://h/a/", "", Some("http://h/a/")),
        ("http://h/a/", "?x", Some("http://h/a/?x")),
        ("http://h/a/", "b/../c", Some("http://h/a/c")),
        ("http://h/a/", "/c", Some("http://h/a//c")),
        ("http://h/a/", "//elsewhere/c", Some("http://h/a///elsewhere/c")),
        ("http://h/a/", "http://elsewhere/c", Some("http://h/a/http://elsewhere/c")),
        ("https://u:p@[::1]:8443/a/", "b?c=../..", Some("https://u:p@[::1]:8443/a/b?c=../..")),
        ("http://h/a/", "../c", None),
        ("http://h/a/", "%2e%2E/c", None),
        ("http://h/a/", "b/.%2e/../c", None),
        ("http://h/a/", "..\\c", None),
        ("http://h/a/", ".\t./c", None),
        ("http://h/a", "c", None),
        ("file:///a/", "c", None),
    ];
    for (directory, rest, expected) in cases {
        assert_eq!(below(&url(directory), rest), expected.map(url), "{directory} {rest}");
    }
}

#[test]
fn an_address_is_its_directory_and_the_rest() {
    let cases = [
        ("http://h", "http://h/", ""),
        ("http://h/a/b.mp4?c=/d", "http://h/a/", "b.mp4?c=/d"),
        ("http://u@[::1]:81/a%2Fb/c%20d;e?", "http://u@[::1]:81/a%2Fb/", "c%20d;e?"),
        ("http://h/a//?x", "http://h/a//", "?x"),
    ];
    for (whole, directory, rest) in cases {
        assert_eq!(address::split(&url(whole)), (url(directory), rest.to_owned()), "{whole}");
        assert_eq!(below(&url(directory), rest), Some(url(whole)), "{whole}");
    }
}

#[test]
fn what_stays_below() {
    for text in ["a", "a/b", "./a", "a/../b", "a//../b", "a?../..", "$x$/../b", ".", "ä b", "a#b", "a/b:c"] {
        assert!(address::stays_below(text), "{text}");
    }
    for text in
        ["", "/a", "//h", "?a", "#a", "..", "../a", "a/../../b", "%2e%2e/a", "a/.%2E/..", "http:a", "a\\b", "a\nb"]
    {
        assert!(!address::stays_below(text), "{text}");
    }
}

/// Links that are whatever a test wants.
struct Bad(&'static str);

impl Links for Bad {
    fn link(&mut self, _: &Reference) -> Result<String, String> {
        if self.0.is_empty() { Err("no".to_owned()) } else { Ok(self.0.to_owned()) }
    }

    fn prefix(&mut self, _: &Url) -> Result<String, String> {
        self.link(&Reference { url: url("http://h/"), role: Role::Data, bytes: None, line: 1 })
    }
}

#[test]
fn links_that_would_break_a_manifest_are_refused() {
    let hls = "#EXTM3U\n#EXT-X-TARGETDURATION:1\na.ts";
    let dash = "<MPD><Period/></MPD>";
    let base = url("http://h/");
    for bad in ["", "a", "#a", "/a b", "/a\"", "/a\nb", "/a<", "/{$a}", "/ä", "ftp://h/"] {
        for (kind, text) in [(Kind::Hls, hls), (Kind::Dash, dash)] {
            let found = rewrite(kind, text, &base, &Variables::new(), &mut Bad(bad));
            assert!(matches!(found, Err(Error::Link { .. })), "{bad:?} {found:?}");
        }
    }
    for bad in ["/a", "/a/?b/", "/a#/"] {
        let found = rewrite(Kind::Dash, dash, &base, &Variables::new(), &mut Bad(bad));
        assert!(matches!(found, Err(Error::Link { line: 1, .. })), "{bad:?} {found:?}");
    }
}

#[test]
fn too_long_a_text_is_not_read() {
    let long = " ".repeat(MAX_BYTES + 1);
    for kind in [Kind::Hls, Kind::Dash] {
        let found = rewrite(kind, &long, &url("http://h/"), &Variables::new(), &mut Plain::default());
        assert_eq!(found, Err(Error::TooLong(MAX_BYTES + 1)));
    }
}
