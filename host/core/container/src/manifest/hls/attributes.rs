//! The attribute list of a tag (RFC 8216 §4.2): `NAME=value,NAME="value"`.
//!
//! Owns: where each value stands, so that it can be replaced.

use std::ops::Range;

use crate::manifest::{ByteRange, Error};

/// Attributes of one tag, at most.
const MAX_ATTRIBUTES: usize = 256;

/// One attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attribute<'a> {
    pub(super) name: &'a str,
    /// The value without its quotes.
    pub(super) value: &'a str,
    /// Where the value stands in the list, without its quotes.
    pub(super) at: Range<usize>,
    /// Whether it has quotes.
    pub(super) is_quoted: bool,
}

/// All attributes of a list. What is not one is passed over; only a quote that does not end is an error, since then
/// nobody can tell what is an attribute.
pub(super) fn read(list: &str, line: usize) -> Result<Vec<Attribute<'_>>, Error> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < list.len() {
        let Some(equals) = list[at..].find(['=', ',']).map(|offset| at + offset) else { break };
        if list.as_bytes()[equals] == b',' {
            at = equals + 1;
            continue;
        }
        let start = list.len() - list[equals + 1..].trim_ascii_start().len();
        let (value, end) = match list[start..].strip_prefix('"') {
            Some(quoted) => {
                let length = quoted.find('"').ok_or_else(|| Error::Damaged {
                    line,
                    what: format!("the value of {:?} has no closing quote", list[at..equals].trim()),
                })?;
                (start + 1..start + 1 + length, start + length + 2)
            }
            None => {
                let end = list[start..].find(',').map_or(list.len(), |length| start + length);
                (start..start + list[start..end].trim_ascii_end().len(), end)
            }
        };
        if found.len() == MAX_ATTRIBUTES {
            return Err(Error::Limit { line, what: "an attribute", most: MAX_ATTRIBUTES });
        }
        found.push(Attribute {
            name: list[at..equals].trim(),
            value: &list[value.clone()],
            at: value,
            is_quoted: list.as_bytes().get(start) == Some(&b'"'),
        });
        at = list[end..].find(',').map_or(list.len(), |comma| end + comma + 1);
    }
    Ok(found)
}

/// The value of the first attribute of this name.
pub(super) fn get<'a>(attributes: &[Attribute<'a>], name: &str) -> Option<&'a str> {
    attributes.iter().find(|attribute| attribute.name == name).map(|attribute| attribute.value)
}

/// A number of bytes and where they begin: `n[@o]`.
pub(super) fn range(text: &str) -> Option<(u64, Option<u64>)> {
    match text.trim().split_once('@') {
        Some((length, start)) => Some((length.parse().ok()?, Some(start.parse().ok()?))),
        None => Some((text.trim().parse().ok()?, None)),
    }
}

/// The range that a piece has whose text names its length, and whose start may be where the piece before it ended
/// (RFC 8216 §4.3.2.2). None if it does not say, or nothing came before it.
pub(super) fn continued(length_and_start: (u64, Option<u64>), previous_end: Option<u64>) -> Option<ByteRange> {
    let (length, start) = length_and_start;
    let start = start.or(previous_end)?;
    start.checked_add(length)?;
    Some(ByteRange { start, length: Some(length) })
}
