//! DASH manifests (ISO/IEC 23009-1).
//!
//! Owns: what becomes of each address, so that all that a player resolves leads through the host.
//! Leaves to others: segments and their times, which the player works out.
//!
//! Every `BaseURL` of the whole manifest becomes a link; if there is none, one is put in. An address further down that
//! stays below its base stays as it is written, since it then leads through that link: templates keep their `$…$`, and
//! alternative bases stay alternatives. One that does not stay below (absolute, `/…`, `../…`) becomes a link itself;
//! where it depends on a base of which there are several, the first one counts. Of a template, the part up to the last
//! `/` before its first `$` becomes a link, and the rest stays.
//!
//! `Location`, `PatchLocation`, steering, `UTCTiming` over HTTP and `xlink:href` are always linked. The clock is, too,
//! because it may be relative or reachable for the host alone, and [`Role::Clock`] leaves its link to the host.

mod facts;
mod read;
#[cfg(test)]
pub(in crate::manifest) mod tests;

use quick_xml::escape::escape;
use url::Url;

pub use self::facts::{Facts, Representation};
use self::read::{Document, Site, What};
use super::address::{self, beginning};
use super::splice::{self, Splice};
use super::{Error, Facts as AnyFacts, Links, MAX_URI_BYTES, Reference, Rewritten, Role};

/// White space that is repeated after a `BaseURL` that is put in, at most, bytes.
const MAX_INDENT: usize = 64;

pub(super) fn rewrite(text: &str, base: &Url, links: &mut dyn Links) -> Result<Rewritten, Error> {
    let document = read::read(text)?;
    let mut out = Splice::new(text);
    let mut writer = Writer { document: &document, base, links, last_base: None };
    for site in &document.sites {
        let written = writer.write(site)?.map(|written| match site.what {
            What::NoRootBase => {
                let indent = indent(text, site.range.start);
                format!("<{0}BaseURL>{1}</{0}BaseURL>{indent}", document.prefix, escape(&written))
            }
            _ => escape(&written).into_owned(),
        });
        if let Some(written) = written {
            out.replace(site.range.clone(), &written, site.line)?;
        }
    }
    let (text, links) = out.finish();
    Ok(Rewritten { text, facts: AnyFacts::Dash(document.facts), links })
}

/// The white space before a position.
fn indent(text: &str, at: usize) -> &str {
    let before = &text[..at];
    let space = &before[before.trim_ascii_end().len()..];
    if space.len() > MAX_INDENT { "" } else { space }
}

/// What a template has in place of a representation's identifier.
const ID: &str = "$RepresentationID$";

/// Says what is to stand at each site.
struct Writer<'a> {
    document: &'a Document,
    /// The address of the manifest.
    base: &'a Url,
    links: &'a mut dyn Links,
    /// The level that an address was last relative to, and its base.
    last_base: Option<(usize, Option<Url>)>,
}

impl Writer<'_> {
    /// What is to stand there, before it is escaped; none if it stays.
    fn write(&mut self, site: &Site) -> Result<Option<String>, Error> {
        let text = site.value.as_str();
        match site.what {
            What::NoRootBase => {
                let (directory, _) = address::split(self.base);
                splice::prefix(self.links, &directory, site.line).map(Some)
            }
            What::RootBase => match address::resolve(Some(self.base), text, site.line)? {
                Some(url) => self.split_link(&url, site.line).map(Some),
                None => Ok(None),
            },
            What::Base if text.is_empty() || address::stays_below(text) => Ok(None),
            What::Base => {
                let parent = self.document.levels.get(site.level).and_then(|level| level.parent);
                match self.resolve(text, parent, site.line)? {
                    Some(url) => self.split_link(&url, site.line).map(Some),
                    None => Ok(None),
                }
            }
            What::Piece(..) if text.is_empty() || address::stays_below(text) => Ok(None),
            What::Piece(role, bytes) => match self.resolve(text, Some(site.level), site.line)? {
                Some(url) => self.link(Reference { url, role, bytes, line: site.line }).map(Some),
                None => Ok(None),
            },
            What::Template(role) => self.template(site, role),
            What::OfManifest(_) if text.is_empty() => Ok(None),
            What::OfManifest(role) => match address::resolve(Some(self.base), text, site.line)? {
                Some(url) => self.link(Reference { url, role, bytes: None, line: site.line }).map(Some),
                None => Ok(None),
            },
            What::Remote => match self.resolve(text, Some(site.level), site.line)? {
                Some(url) => self.link(Reference { url, role: Role::Remote, bytes: None, line: site.line }).map(Some),
                None => Ok(None),
            },
            What::Clocks => self.clocks(site).map(Some),
        }
    }

    fn link(&mut self, reference: Reference) -> Result<String, Error> {
        splice::link(self.links, &reference)
    }

    /// A link to an address that other addresses may be relative to.
    fn split_link(&mut self, url: &Url, line: usize) -> Result<String, Error> {
        let (directory, rest) = address::split(url);
        Ok(splice::prefix(self.links, &directory, line)? + &rest)
    }

    /// Each address of a list, and whatever stands between them.
    fn clocks(&mut self, site: &Site) -> Result<String, Error> {
        let mut out = String::new();
        for piece in site.value.split_inclusive(char::is_whitespace) {
            let text = piece.trim_end();
            let url = if text.is_empty() { None } else { address::resolve(Some(self.base), text, site.line)? };
            match url {
                Some(url) => {
                    let reference = Reference { url, role: Role::Clock, bytes: None, line: site.line };
                    out.push_str(&self.link(reference)?);
                }
                None => out.push_str(text),
            }
            out.push_str(&piece[text.len()..]);
        }
        Ok(out)
    }

    /// A template that does not stay below its base.
    fn template(&mut self, site: &Site, role: Role) -> Result<Option<String>, Error> {
        let text = site.value.as_str();
        let Some(first) = text.find('$') else {
            if text.is_empty() || address::stays_below(text) {
                return Ok(None);
            }
            let url = self.resolve(text, Some(site.level), site.line)?;
            let reference = url.map(|url| Reference { url, role, bytes: None, line: site.line });
            return reference.map(|reference| self.link(reference)).transpose();
        };
        let refuse = |why| Err(Error::Template { line: site.line, template: beginning(text), why });
        if text.len() > MAX_URI_BYTES {
            return Err(Error::Limit { line: site.line, what: "bytes of one address", most: MAX_URI_BYTES });
        }
        if address::scheme(text).is_some_and(|scheme| !address::is_http(scheme)) {
            return Ok(None);
        }
        let leads_elsewhere = self.document.has_id_of_elsewhere && text.starts_with(ID);
        if leads_elsewhere || self.document.has_id_that_climbs && text.contains(ID) {
            return refuse("it has the identifier of a representation that leads out of any directory");
        }
        if address::stays_below(text) {
            return Ok(None);
        }
        let path = &text[..address::path_length(text).min(first)];
        let cut = path.rfind('/').map_or(0, |at| at + 1);
        let (head, rest) = text.split_at(cut);
        if head.ends_with("//") && (head == "//" || address::scheme(head).is_some_and(|s| head.len() == s.len() + 3)) {
            return refuse("its host is part of what varies");
        }
        if cut == 0 && address::scheme(rest).is_some() {
            return refuse("its directory is part of what varies");
        }
        if rest.contains('\\') || rest.bytes().any(|byte| byte.is_ascii_control()) || !address::never_climbs(rest) {
            return refuse("it leads out of its directory after what varies");
        }
        let (directory, lead) = if head.is_empty() {
            // A query alone keeps the last name of the base, and a fragment alone keeps its query, too.
            let base = self.base_of(Some(site.level))?.map(|base| address::split(&base));
            let lead = base.as_ref().map_or("", |(_, rest)| match rest.as_str() {
                kept if text.starts_with('#') => kept,
                kept if text.starts_with('?') => &kept[..address::path_length(kept)],
                _ => "",
            });
            let lead = lead.to_owned();
            (base.map(|(directory, _)| directory), lead)
        } else {
            (self.resolve(head, Some(site.level), site.line)?, String::new())
        };
        let Some(directory) = directory else { return Ok(None) };
        let (directory, _) = address::split(&directory);
        // A dollar of ours must not begin an identifier.
        let link = (splice::prefix(self.links, &directory, site.line)? + &lead).replace('$', "$$");
        Ok(Some(link + rest))
    }

    /// Resolves an address that stands in a level.
    fn resolve(&mut self, text: &str, level: Option<usize>, line: usize) -> Result<Option<Url>, Error> {
        // Most need no base.
        if address::scheme(text).is_some_and(|scheme| text[scheme.len()..].starts_with("://")) {
            return address::resolve(Some(self.base), text, line);
        }
        let base = self.base_of(level)?;
        address::resolve(base.as_ref(), text, line)
    }

    /// What addresses in a level are relative to: the first `BaseURL` of it and of each one around it. None where one
    /// of those has a scheme that is not ours.
    fn base_of(&mut self, level: Option<usize>) -> Result<Option<Url>, Error> {
        if let Some((last, base)) = &self.last_base
            && Some(*last) == level
        {
            return Ok(base.clone());
        }
        let mut chain = Vec::new();
        let mut at = level;
        while let Some(level) = at.and_then(|at| self.document.levels.get(at)) {
            chain.extend(level.base.as_ref());
            at = level.parent;
        }
        let mut base = Some(self.base.clone());
        for (text, line) in chain.into_iter().rev() {
            base = address::resolve(base.as_ref(), text, *line)?;
        }
        if let Some(level) = level {
            self.last_base = Some((level, base.clone()));
        }
        Ok(base)
    }
}
