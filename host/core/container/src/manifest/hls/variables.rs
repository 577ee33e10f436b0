//! The variables of a playlist (RFC 8216bis §4.3 and §4.4.2.3).
//!
//! Owns: reading `EXT-X-DEFINE` and putting values where `{$name}` stands.
//!
//! Invariant: a value is put in once and not searched again, so that variables cannot grow out of each other.

use std::borrow::Cow;

use url::Url;

use super::attributes::{Attribute, get};
use crate::manifest::{Error, MAX_URI_BYTES, Variables};

/// Variables of one playlist, at most.
const MAX_VARIABLES: usize = 1024;

/// Bytes of all values with their variables, at most: a short name may stand for a long value, many times.
const MAX_SUBSTITUTED_BYTES: usize = 32 << 20;

/// What is defined so far.
pub(super) struct Defined<'a> {
    base: &'a Url,
    imports: &'a Variables,
    values: Variables,
    /// Whether there was any definition: a playlist without one is older than variables, and `{$` means nothing in it.
    is_used: bool,
    /// Bytes of values with variables up to now.
    substituted: usize,
}

impl<'a> Defined<'a> {
    pub(super) fn new(base: &'a Url, imports: &'a Variables) -> Self {
        Defined { base, imports, values: Variables::new(), is_used: false, substituted: 0 }
    }

    /// Reads a definition. For one that a player could not make, since it does not have the query that the host has, it
    /// gives the attributes that say the same without a query.
    pub(super) fn define(&mut self, attributes: &[Attribute<'_>], line: usize) -> Result<Option<String>, Error> {
        self.is_used = true;
        let missing = |name: &str, why| Error::Variable { line, name: super::address::beginning(name), why };
        let (name, value, written) = if let Some(name) = get(attributes, "NAME") {
            let value = get(attributes, "VALUE").ok_or_else(|| missing(name, "has no value"))?;
            (name, self.substitute(value, line)?.into_owned(), None)
        } else if let Some(name) = get(attributes, "IMPORT") {
            let value = self.imports.get(name).ok_or_else(|| missing(name, "no master playlist defines"))?;
            (name, value.clone(), None)
        } else if let Some(name) = get(attributes, "QUERYPARAM") {
            let value = self.base.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
            let value = value.ok_or_else(|| missing(name, "is not in the query of the playlist's address"))?;
            if value.contains(['"', '\r', '\n']) {
                return Err(missing(name, "has a value that cannot stand in quotes"));
            }
            let written = format!("NAME=\"{name}\",VALUE=\"{value}\"");
            (name, value, Some(written))
        } else {
            return Err(Error::Damaged { line, what: "EXT-X-DEFINE defines nothing".to_owned() });
        };
        if self.values.len() == MAX_VARIABLES {
            return Err(Error::Limit { line, what: "a variable", most: MAX_VARIABLES });
        }
        if value.len() > MAX_URI_BYTES {
            return Err(Error::Limit { line, what: "bytes of one variable", most: MAX_URI_BYTES });
        }
        self.values.insert(name.to_owned(), value);
        Ok(written)
    }

    /// The text with values in place of names.
    pub(super) fn substitute<'t>(&mut self, text: &'t str, line: usize) -> Result<Cow<'t, str>, Error> {
        if !self.is_used || !text.contains("{$") {
            return Ok(Cow::Borrowed(text));
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("{$") {
            out.push_str(&rest[..start]);
            let reference = &rest[start + 2..];
            let length = reference.bytes().take_while(|byte| is_of_a_name(*byte)).count();
            if length == 0 || !reference[length..].starts_with('}') {
                out.push_str("{$");
                rest = reference;
                continue;
            }
            let name = &reference[..length];
            let value = self.values.get(name).ok_or_else(|| Error::Variable {
                line,
                name: super::address::beginning(name),
                why: "is not defined before it",
            })?;
            out.push_str(value);
            if out.len() > MAX_URI_BYTES {
                return Err(Error::Limit { line, what: "bytes of one value with its variables", most: MAX_URI_BYTES });
            }
            rest = &reference[length + 1..];
        }
        out.push_str(rest);
        self.substituted += out.len();
        if self.substituted > MAX_SUBSTITUTED_BYTES {
            let what = "bytes of values with their variables";
            return Err(Error::Limit { line, what, most: MAX_SUBSTITUTED_BYTES });
        }
        Ok(Cow::Owned(out))
    }

    /// All of them.
    pub(super) fn finish(self) -> Variables {
        self.values
    }
}

fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}
