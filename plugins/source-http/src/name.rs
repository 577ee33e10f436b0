//! A file name for people, and the media type where the server would not tell.

use crate::address::Address;
use crate::encoding::{decode, decode_query};

/// The longest file name, in bytes: what common file systems take.
const MAX_BYTES: usize = 255;

/// Query parameters by which a link has its server answer with a `Content-Disposition`: S3, Google, Aliyun; Azure.
const DISPOSITIONS: &[&str] = &["response-content-disposition", "rscd"];
/// The same with a bare name: many drives; Qiniu.
const NAMES: &[&str] = &["filename", "attname"];
/// Query parameters by which a link has its server answer with a `Content-Type`.
const TYPES: &[&str] = &["response-content-type", "rsct"];

/// Servers that call everything `application/octet-stream` or `text/plain`.
const USELESS: &[&str] = &["githubusercontent.com", "baidupcs.com", "pcs.baidu.com"];

const MEDIA_TYPES: &[(&str, &str)] = &[
    ("aac", "audio/aac"),
    ("avi", "video/x-msvideo"),
    ("flac", "audio/flac"),
    ("flv", "video/x-flv"),
    ("m2ts", "video/mp2t"),
    ("m4a", "audio/mp4"),
    ("m4v", "video/mp4"),
    ("mkv", "video/x-matroska"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("ogg", "audio/ogg"),
    ("opus", "audio/ogg"),
    ("ts", "video/mp2t"),
    ("wav", "audio/wav"),
    ("webm", "video/webm"),
];

/// The name that the link asks its server to use, else the last part of the path.
pub fn of(address: &Address) -> Option<String> {
    let asked = parameter(address, DISPOSITIONS).and_then(|value| of_disposition(&value));
    let asked = asked.or_else(|| parameter(address, NAMES));
    asked.and_then(|name| tidy(&name)).or_else(|| tidy(&decode(address.path.rsplit('/').next()?)))
}

/// What the link asks its server to say, or what the extension says where the server says nothing of use.
pub fn media_type(address: &Address, name: Option<&str>) -> Option<String> {
    if let Some(asked) = parameter(address, TYPES) {
        return asked.contains('/').then_some(asked);
    }
    let below =
        |domain: &str| address.host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if !USELESS.iter().any(|domain| below(domain)) {
        return None;
    }
    let extension = name?.rsplit_once('.')?.1.to_ascii_lowercase();
    let known = MEDIA_TYPES.iter().find(|(known, _)| *known == extension);
    known.map(|(_, media_type)| (*media_type).to_owned())
}

fn parameter(address: &Address, names: &[&str]) -> Option<String> {
    let pairs = address.query.as_deref()?.split('&').filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(name, _)| names.iter().any(|known| name.eq_ignore_ascii_case(known)));
    values.next().map(|(_, value)| decode_query(value)).filter(|value| !value.is_empty())
}

/// RFC 6266 §4.3: `filename*` goes before `filename`.
fn of_disposition(value: &str) -> Option<String> {
    let field = |wanted: &str| {
        parameters(value).into_iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
    };
    let extended = field("filename*").and_then(|value| {
        // RFC 8187 §3.2.1: charset'language'value
        let mut parts = value.splitn(3, '\'');
        let charset = parts.next()?;
        let _language = parts.next()?;
        charset.eq_ignore_ascii_case("utf-8").then_some(decode(parts.next()?))
    });
    extended.or_else(|| field("filename").map(|name| decode(&name)))
}

/// The parameters of a header field, quotes taken off (RFC 9110 §5.6.6). A semicolon in quotes separates nothing.
fn parameters(value: &str) -> Vec<(String, String)> {
    let (mut found, mut piece, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
    for c in value.chars().chain([';']) {
        match c {
            _ if escaped => {
                escaped = false;
                piece.push(c);
            }
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ';' if !quoted => {
                if let Some((name, value)) = std::mem::take(&mut piece).split_once('=') {
                    found.push((name.trim().to_owned(), value.trim().to_owned()));
                }
            }
            _ => piece.push(c),
        }
    }
    found
}

/// A name that is safe to show and to save under: no folders, no control characters, not too long.
fn tidy(name: &str) -> Option<String> {
    let name = name.rsplit(['/', '\\']).next()?;
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    let name = name.trim();
    let cut = (0..=name.len().min(MAX_BYTES)).rev().find(|at| name.is_char_boundary(*at))?;
    let name = &name[..cut];
    (!name.is_empty() && name != "." && name != "..").then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, name: Option<&str>, expected_type: Option<&str>) {
        let address = Address::parse(uri).unwrap();
        let found = of(&address);
        assert_eq!(found.as_deref(), name, "{uri}");
        assert_eq!(media_type(&address, found.as_deref()).as_deref(), expected_type, "{uri}");
    }

    #[test]
    fn names_and_types() {
        check("http://h/", None, None);
        check("http://h/folder/", None, None);
        check("http://h/a/film.mkv", Some("film.mkv"), None);
        check("http://h/a/%E7%94%B5%20%E5%BD%B1.mkv?x=1", Some("电 影.mkv"), None);
        check("http://h/a%2Fb%2f..%2fetc", Some("etc"), None);
        check("http://h/%00%0a", None, None);
        check("http://h/a%2F..", None, None);
        check(&format!("http://h/{}", "é".repeat(200)), Some(&"é".repeat(127)), None);
        check("http://h/x?filename=film%20one.mkv", Some("film one.mkv"), None);
        check("http://h/x?FileName=film+one.mkv", Some("film one.mkv"), None);
        check("http://h/x?attname=film.mkv", Some("film.mkv"), None);
        check("http://h/x.bin?filename=", Some("x.bin"), None);
        check(
            "http://h/x?response-content-disposition=attachment%3B%20filename%3D%22a%3Bb.mkv%22",
            Some("a;b.mkv"),
            None,
        );
        check("http://h/x?response-content-disposition=attachment;filename=a.mkv", Some("a.mkv"), None);
        check(
            "http://h/x?response-content-disposition=attachment%3B+filename%3D%22%3F.mkv%22%3B+filename*%3DUTF-8%27%27%25E7%2594%25B5.mkv",
            Some("电.mkv"),
            None,
        );
        check("http://h/x.mkv?response-content-disposition=inline", Some("x.mkv"), None);
        check("http://h/x?rscd=file%3B%20filename%3Da.mp4&rsct=video%2Fmp4", Some("a.mp4"), Some("video/mp4"));
        check("http://h/x?response-content-type=nonsense", Some("x"), None);
        check("https://raw.githubusercontent.com/o/r/main/a.MKV", Some("a.MKV"), Some("video/x-matroska"));
        check("https://raw.githubusercontent.com/o/r/main/a.xyz", Some("a.xyz"), None);
        check("https://notgithubusercontent.com/a.mkv", Some("a.mkv"), None);
    }
}
