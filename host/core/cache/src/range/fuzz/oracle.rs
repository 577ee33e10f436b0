//! The answer to a request a second time: slow, obvious, and written from the clauses, not from the first implementation.
//!
//! Owns: what may be answered. Numbers stay digit strings until they are known to be below the length.
//! Leaves to others: inventing requests, and the bytes of a body.
//!
//! Where a field is malformed and no clause says how to read it, both readings are allowed, but no more than these.

use super::date::{self, Date};
use crate::range::{Decision, Method, Representation, Request};

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    Yes,
    No,
    /// Nobody can say.
    Open,
}

impl Truth {
    fn of(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }

    fn readings(self) -> &'static [bool] {
        match self {
            Self::Yes => &[true],
            Self::No => &[false],
            Self::Open => &[true, false],
        }
    }
}

/// Every answer that is right; one, unless a condition is malformed.
pub fn allowed(request: &Request, representation: &Representation) -> Vec<Decision> {
    let mut answers = Vec::new();
    for &expected in is_as_expected(request, representation).readings() {
        for &changed in is_changed(request, representation).readings() {
            for &same in is_same(request.if_range, representation).readings() {
                let answer = answer(request, representation.length, expected, changed, same);
                if !answers.contains(&answer) {
                    answers.push(answer);
                }
            }
        }
    }
    answers
}

/// §13.2.2 once the conditions are known.
fn answer(request: &Request, length: Option<u64>, expected: bool, changed: bool, same: bool) -> Decision {
    let reads = request.method == Method::Get || request.method == Method::Head;
    if !expected || (!changed && !reads) {
        return Decision::PreconditionFailed;
    }
    if !changed {
        return Decision::NotModified;
    }
    match (request.method, request.range, same, length) {
        (Method::Get, [line], true, Some(length)) => ranges(line, length),
        _ => Decision::Whole,
    }
}

/// Steps 1 and 2: `If-Match`, or without one `If-Unmodified-Since` if there is a date to compare with.
fn is_as_expected(request: &Request, representation: &Representation) -> Truth {
    if !request.if_match.is_empty() {
        return is_listed(request.if_match, representation.etag, true);
    }
    match (read(representation.last_modified), read(request.if_unmodified_since)) {
        (Date::At(modified), Date::At(since)) => Truth::of(modified <= since),
        (Date::None, _) | (_, Date::None) => Truth::Yes,
        _ => Truth::Open,
    }
}

/// Steps 3 and 4: `If-None-Match`, or without one `If-Modified-Since`, which is for GET and HEAD.
fn is_changed(request: &Request, representation: &Representation) -> Truth {
    if !request.if_none_match.is_empty() {
        return match is_listed(request.if_none_match, representation.etag, false) {
            Truth::Yes => Truth::No,
            Truth::No => Truth::Yes,
            Truth::Open => Truth::Open,
        };
    }
    if request.method == Method::Other {
        return Truth::Yes;
    }
    match (read(representation.last_modified), read(request.if_modified_since)) {
        (Date::At(modified), Date::At(since)) => Truth::of(modified > since),
        (Date::None, _) | (_, Date::None) => Truth::Yes,
        _ => Truth::Open,
    }
}

/// `If-Range`: a strong entity-tag, or the date of a representation whose date is strong. What is neither fails.
fn is_same(if_range: Option<&str>, representation: &Representation) -> Truth {
    let Some(value) = if_range else { return Truth::Yes };
    let value = value.trim_matches([' ', '\t']);
    if value.starts_with('"') || value.starts_with("W/") {
        let strong = |text: &str| tag(text).filter(|(weak, _)| !weak).map(|(_, opaque)| opaque.to_owned());
        return Truth::of(strong(value).is_some() && strong(value) == representation.etag.and_then(strong));
    }
    match (date::read(value), read(representation.last_modified), read(representation.date)) {
        (Date::None, _, _) | (_, Date::None, _) | (_, _, Date::None) => Truth::No,
        (Date::At(value), Date::At(modified), _) if value != modified => Truth::No,
        (_, Date::At(modified), Date::At(stated)) if stated <= modified => Truth::No,
        (Date::At(_), Date::At(_), Date::At(_)) => Truth::Yes,
        _ => Truth::Open,
    }
}

fn read(field: Option<&str>) -> Date {
    field.map_or(Date::None, date::read)
}

/// Whether a list of entity-tags names the representation. Several lines are one list (§5.3).
fn is_listed(lines: &[&str], own: Option<&str>, strong: bool) -> Truth {
    let list = lines.join(", ");
    if list.trim_matches([' ', '\t']) == "*" {
        return Truth::Yes;
    }
    let Some(tags) = tags(&list) else {
        // Whatever is made of it, it cannot name what does not occur in it.
        let occurs = own.is_some_and(|own| list.contains(own.strip_prefix("W/").unwrap_or(own)));
        return if occurs || list.contains('*') { Truth::Open } else { Truth::No };
    };
    let own = own.and_then(tag);
    Truth::of(own.is_some_and(|(own_weak, own)| {
        tags.iter().any(|(weak, opaque)| opaque == own && !(strong && (*weak || own_weak)))
    }))
}

/// All members of a list of entity-tags, if it is one.
fn tags(list: &str) -> Option<Vec<(bool, String)>> {
    let mut members = vec![String::new()];
    let mut quoted = false;
    for letter in list.chars() {
        quoted ^= letter == '"';
        match letter {
            ',' if !quoted => members.push(String::new()),
            letter => members.last_mut()?.push(letter),
        }
    }
    let members = members.iter().map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty());
    members.map(|member| tag(member).map(|(weak, opaque)| (weak, opaque.to_owned()))).collect()
}

/// An entity-tag (§8.8.3): whether it is weak, and what stands in its quotes.
fn tag(text: &str) -> Option<(bool, &str)> {
    let (weak, quoted) = match text.strip_prefix("W/") {
        Some(quoted) => (true, quoted),
        None => (false, text),
    };
    let opaque = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let plain = opaque.chars().all(|letter| matches!(letter, '!' | '#'..='~' | '\u{80}'..));
    plain.then_some((weak, opaque))
}

/// One member of a set, in digits.
enum Member {
    Closed(String, String),
    From(String),
    Suffix(String),
}

/// First and last byte, both included.
type Bytes = (u128, u128);

/// What the one `Range` line asks for of `length` bytes.
fn ranges(line: &str, length: u64) -> Decision {
    let line = line.trim_matches([' ', '\t']);
    let unit: String = line.chars().take("bytes=".len()).collect();
    if !unit.eq_ignore_ascii_case("bytes=") {
        return Decision::Whole;
    }
    let members = line[unit.len()..].split(',').map(|member| member.trim_matches([' ', '\t']));
    let members: Option<Vec<Member>> = members.filter(|member| !member.is_empty()).map(member).collect();
    let Some(members) = members.filter(|members| !members.is_empty() && length > 0) else { return Decision::Whole };

    let picked: Vec<Bytes> = members.iter().filter_map(|member| bytes(member, length)).collect();
    if picked.is_empty() {
        return Decision::Unsatisfiable;
    }
    if is_abuse(&picked, length) {
        return Decision::Whole;
    }
    let mut parts: Vec<_> = coalesced(&picked).iter().map(|(first, last)| *first as u64..*last as u64 + 1).collect();
    if parts.len() == 1 { Decision::Part(parts.remove(0)) } else { Decision::Parts(parts) }
}

/// Digits, a hyphen, digits; one side may be missing, and the last may not be below the first.
fn member(text: &str) -> Option<Member> {
    let letters: Vec<char> = text.chars().collect();
    let hyphen = letters.iter().position(|letter| *letter == '-')?;
    let (first, last): (String, String) = (letters[..hyphen].iter().collect(), letters[hyphen + 1..].iter().collect());
    if !first.chars().chain(last.chars()).all(|letter| "0123456789".contains(letter)) {
        return None;
    }
    match (first.is_empty(), last.is_empty()) {
        (true, true) => None,
        (true, false) => Some(Member::Suffix(last)),
        (false, true) => Some(Member::From(first)),
        (false, false) if is_less(&last, &first) => None,
        (false, false) => Some(Member::Closed(first, last)),
    }
}

/// Compares numerals of any length by writing them equally long.
fn is_less(a: &str, b: &str) -> bool {
    let width = a.len().max(b.len());
    format!("{a:0>width$}") < format!("{b:0>width$}")
}

/// The number, unless it is as large as the limit or larger.
fn below(digits: &str, limit: u64) -> Option<u128> {
    is_less(digits, &limit.to_string()).then(|| digits.parse().expect("a numeral below 2^64"))
}

/// Which bytes a member selects, if any.
fn bytes(member: &Member, length: u64) -> Option<Bytes> {
    let end = u128::from(length) - 1;
    match member {
        Member::Closed(first, last) => Some((below(first, length)?, below(last, length).unwrap_or(end))),
        Member::From(first) => Some((below(first, length)?, end)),
        Member::Suffix(count) => match below(count, length) {
            Some(0) => None,
            Some(count) => Some((end + 1 - count, end)),
            None => Some((0, end)),
        },
    }
}

/// More than sixteen, more than two that overlap with another one, or more bytes than there are.
fn is_abuse(picked: &[Bytes], length: u64) -> bool {
    let shares = |at: usize| {
        let others = picked.iter().enumerate().filter(|(other, _)| *other != at);
        others.into_iter().any(|(_, other)| other.0.max(picked[at].0) <= other.1.min(picked[at].1))
    };
    picked.len() > 16
        || (0..picked.len()).filter(|at| shares(*at)).count() > 2
        || picked.iter().map(|(first, last)| last - first + 1).sum::<u128>() > u128::from(length)
}

/// Members that overlap or touch become one, at the place of the first of them. Each begins with a label of its own, and
/// neighbours take the smaller one of their labels until nothing changes.
///
/// Gaps below the length of a part's head may be closed too (§15.3.7.2), but the vectors ask for `0-9,,20-29` in two parts.
fn coalesced(picked: &[Bytes]) -> Vec<Bytes> {
    let mut labels: Vec<usize> = (0..picked.len()).collect();
    let meets = |a: Bytes, b: Bytes| a.0 <= b.1 + 1 && b.0 <= a.1 + 1;
    loop {
        let before = labels.clone();
        for a in 0..picked.len() {
            for b in 0..picked.len() {
                if meets(picked[a], picked[b]) {
                    labels[a] = labels[a].min(labels[b]);
                }
            }
        }
        if labels == before {
            break;
        }
    }
    let group = |label: usize| {
        let mine = || picked.iter().zip(&labels).filter(|(_, of)| **of == label).map(|(bytes, _)| *bytes);
        Some((mine().map(|bytes| bytes.0).min()?, mine().map(|bytes| bytes.1).max()?))
    };
    (0..picked.len()).filter_map(group).collect()
}
