//! What an answer to a player is worth: all of what it asked for, a clean failure, or a broken promise.

use std::ops::Range;

use bytes::Bytes;
use web::http::{HeaderMap, StatusCode};

/// What a player gets.
pub struct Got {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
    /// An error ended the body.
    pub short: bool,
}

/// What an answer is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All that was asked for, of the version with this number.
    Exact(usize),
    /// The beginning of it, and then an error.
    Short(u64),
    /// An error status with this code.
    Refused(String),
}

/// Judges an answer to a request for `asked`, or for everything; the error is a broken promise.
pub fn judge(answer: &Got, asked: Option<Range<u64>>, versions: &[&Bytes]) -> Result<Verdict, String> {
    let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
    let length = answer.bytes.len() as u64;
    let (start, total) = match answer.status.as_u16() {
        200 => (0, None),
        206 => {
            let (range, total) = header("content-range").and_then(content_range).ok_or("206 without a range")?;
            let wanted = asked.clone().ok_or("206 to a request for everything")?;
            if range.start != wanted.start || range.end > wanted.end {
                return Err(format!("{wanted:?} was asked for, and {range:?} came"));
            }
            (range.start, total)
        }
        400..=599 => return refused(answer),
        status => return Err(format!("a player can do nothing with status {status}")),
    };
    // An answer that says how long it is has to be as long, or to end with an error.
    let stated = header("content-length").map(|value| value.parse::<u64>().unwrap_or(u64::MAX));
    if stated.is_some_and(|stated| length > stated || !answer.short && length < stated) {
        return Err(format!("{length} bytes came where {stated:?} were promised, and no error"));
    }
    let part = |version: &Bytes| {
        let end = if answer.status == 206 { asked.as_ref().map_or(u64::MAX, |asked| asked.end) } else { u64::MAX };
        let end = end.min(version.len() as u64);
        version.slice(start.min(end) as usize..end as usize)
    };
    let fits = |version: &Bytes| total.is_none_or(|total| total == version.len() as u64);
    let begins = |version: &Bytes| part(version).starts_with(&answer.bytes);
    if answer.short {
        let right = length == 0 || versions.iter().any(|version| begins(version));
        return if right { Ok(Verdict::Short(length)) } else { Err(wrong(answer, start, versions)) };
    }
    let found = versions.iter().position(|version| fits(version) && part(version) == answer.bytes);
    found.map(Verdict::Exact).ok_or_else(|| wrong(answer, start, versions))
}

fn refused(answer: &Got) -> Result<Verdict, String> {
    if answer.short {
        return Err("an error that ends short".into());
    }
    if answer.status == 416 {
        return Ok(Verdict::Refused("416".into()));
    }
    let body: Option<serde_json::Value> = serde_json::from_slice(&answer.bytes).ok();
    let code = body.as_ref().and_then(|body| body["code"].as_str());
    code.map(|code| Verdict::Refused(code.to_owned())).ok_or_else(|| format!("status {} without a code", answer.status))
}

fn content_range(value: &str) -> Option<(Range<u64>, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?..last.parse::<u64>().ok()? + 1, total.parse().ok()))
}

fn wrong(answer: &Got, start: u64, versions: &[&Bytes]) -> String {
    let good = |version: &&Bytes| {
        let version = version.slice(version.len().min(start as usize)..);
        version.iter().zip(&answer.bytes).take_while(|(one, other)| one == other).count()
    };
    let (length, status, short) = (answer.bytes.len(), answer.status, answer.short);
    let good: Vec<usize> = versions.iter().map(good).collect();
    format!(
        "WRONG BYTES: {status} with {length} bytes from {start} on (short: {short}), right in each version: {good:?}"
    )
}

/// The judge sees what it is there to see.
#[test]
fn hostile_judge() {
    let film = super::film::Film::of(1000);
    let (versions, half) = ([&film.bytes, &film.other().bytes], 500);
    let check = |status: u16, fields: &[(&str, &str)], body: &[u8], short: bool, asked: Option<Range<u64>>| {
        let field = |(name, value): &(&str, &str)| (name.parse().unwrap(), value.parse().unwrap());
        let headers = fields.iter().map(field).collect();
        let answer = Got { status: status.try_into().unwrap(), headers, bytes: body.to_vec(), short };
        judge(&answer, asked, &versions).ok()
    };
    let (old, new) = (&versions[0][..], &versions[1][..]);
    let length = [("content-length", "1000")];
    assert_eq!(check(200, &length, old, false, None), Some(Verdict::Exact(0)));
    assert_eq!(check(200, &[], new, false, Some(5..9)), Some(Verdict::Exact(1)), "a range may be ignored");
    assert_eq!(check(200, &length, &new[..half], true, None), Some(Verdict::Short(500)));
    assert_eq!(check(200, &length, &old[..half], false, None), None, "short and silent about it");
    assert_eq!(check(200, &[], &old[..half], false, None), None, "the same without a length");
    assert_eq!(check(200, &[("content-length", "500")], &old[..half], false, None), None, "half for the whole");
    assert_eq!(check(200, &[], &[&old[..half], &new[half..]].concat(), false, None), None, "two versions");
    assert_eq!(check(200, &length, &[&old[..10], &new[10..half]].concat(), true, None), None, "two versions, short");
    assert_eq!(check(200, &length, &[old, b"x"].concat(), false, None), None, "more than everything");
    let part = |label| [("content-range", label), ("content-length", "4")];
    assert_eq!(check(206, &part("bytes 5-8/1000"), &old[5..9], false, Some(5..9)), Some(Verdict::Exact(0)));
    assert_eq!(check(206, &part("bytes 5-8/1000"), &old[6..10], false, Some(5..9)), None, "other bytes");
    assert_eq!(check(206, &part("bytes 6-9/1000"), &old[6..10], false, Some(5..9)), None, "another range");
    assert_eq!(check(206, &part("bytes 5-8/1001"), &old[5..9], false, Some(5..9)), None, "another length");
    assert_eq!(check(206, &part("bytes 5-8/1000"), &old[5..9], false, None), None, "a part for everything");
    assert_eq!(check(502, &[], br#"{"code": "x"}"#, false, None), Some(Verdict::Refused("x".into())));
    assert_eq!(check(502, &[], b"oh no", false, None), None, "no code");
    assert_eq!(check(302, &[], b"", false, None), None, "not for a player");
}
