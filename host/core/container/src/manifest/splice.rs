//! A copy of a text in which some ranges are replaced, and what may stand there.
//!
//! Owns: the bounds on how many and how much, and what a link may consist of.
//!
//! Invariant: what is not replaced is copied byte for byte.

use std::ops::Range;

use url::Url;

use super::{Error, Links, MAX_LINK_BYTES, MAX_OUTPUT_BYTES, MAX_REFERENCES, Reference};

/// The copy; ranges come in the order of the text.
pub(super) struct Splice<'a> {
    text: &'a str,
    copied: usize,
    out: String,
    replaced: usize,
}

impl<'a> Splice<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Splice { text, copied: 0, out: String::with_capacity(text.len()), replaced: 0 }
    }

    /// Writes `with` where `range` was.
    pub(super) fn replace(&mut self, range: Range<usize>, with: &str, line: usize) -> Result<(), Error> {
        if self.replaced == MAX_REFERENCES {
            return Err(Error::Limit { line, what: "an address", most: MAX_REFERENCES });
        }
        // A range that does not come after the one before it would be a mistake of ours: then nothing is replaced.
        let Some(before) = self.text.get(self.copied..range.start) else { return Ok(()) };
        if self.out.len() + before.len() + with.len() > MAX_OUTPUT_BYTES {
            return Err(Error::Limit { line, what: "bytes with all links", most: MAX_OUTPUT_BYTES });
        }
        self.out.push_str(before);
        self.out.push_str(with);
        self.copied = range.end;
        self.replaced += 1;
        Ok(())
    }

    /// The whole, and how many ranges were replaced.
    pub(super) fn finish(mut self) -> (String, usize) {
        self.out.push_str(self.text.get(self.copied..).unwrap_or_default());
        (self.out, self.replaced)
    }
}

/// The link to an address, if it is one that may stand in a manifest.
pub(super) fn link(links: &mut dyn Links, reference: &Reference) -> Result<String, Error> {
    let line = reference.line;
    let link = links.link(reference).map_err(|why| Error::Link { line, why })?;
    fit(link, line)
}

/// The link to a directory.
pub(super) fn prefix(links: &mut dyn Links, directory: &Url, line: usize) -> Result<String, Error> {
    let link = fit(links.prefix(directory).map_err(|why| Error::Link { line, why })?, line)?;
    if !link.ends_with('/') || link.contains(['?', '#']) {
        return Err(Error::Link { line, why: format!("{link:?} is no prefix: it has a query or does not end in `/`") });
    }
    Ok(link)
}

/// Whether nothing in a link could end a quoted string, a line or an attribute, or begin a variable of HLS.
fn fit(link: String, line: usize) -> Result<String, Error> {
    let is_rooted = ["/", "http://", "https://"].iter().any(|start| link.starts_with(start));
    let is_plain = link.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte));
    if link.len() > MAX_LINK_BYTES || !is_rooted || !is_plain {
        return Err(Error::Link {
            line,
            why: format!("{:?} cannot stand in a manifest", super::address::beginning(&link)),
        });
    }
    Ok(link)
}
