//! Reads a manifest's XML: where its addresses stand, and its facts.
//!
//! Owns: which elements and attributes hold addresses, and what is refused in the XML.
//! Leaves to others: what becomes of the addresses (`dash`).
//!
//! Only elements in the namespace of the root count. What stands in a `ContentProtection` or an `Event` belongs to
//! others, whatever it is called.

use std::ops::Range;
use std::time::Duration;

use quick_xml::NsReader;
use quick_xml::escape::{resolve_xml_entity, unescape};
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};

use super::facts::{self, Facts, Representation};
use crate::manifest::{ByteRange, Error, Kind, MAX_REFERENCES, MAX_TRACKS, MAX_URI_BYTES, Role, address};

/// Elements within elements, at most; a manifest has six or seven.
const MAX_DEPTH: usize = 64;

/// Attributes of one element, at most; each is compared with those before it.
const MAX_ATTRIBUTES: usize = 256;

const XLINK: Namespace<'static> = Namespace("http://www.w3.org/1999/xlink");

/// What stands at a place that is to be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A `BaseURL`.
    Base,
    /// A `BaseURL` of the whole manifest.
    RootBase,
    /// Where one of those belongs if there is none.
    NoRootBase,
    /// An address that is relative to the base.
    Piece(Role, Option<ByteRange>),
    /// A template that is relative to the base.
    Template(Role),
    /// An address that is relative to the manifest, and is always linked.
    OfManifest(Role),
    /// An element that stands elsewhere.
    Remote,
    /// A list of addresses.
    Clocks,
}

/// A place that is to be rewritten.
pub(super) struct Site {
    pub(super) what: What,
    /// Where it stands in the text.
    pub(super) range: Range<usize>,
    /// What stands there, without escapes and surrounding white space.
    pub(super) value: String,
    /// The innermost of [`Document::levels`] around it.
    pub(super) level: usize,
    pub(super) line: usize,
}

/// An element that may have a `BaseURL`: the first one, and the element around it.
pub(super) struct Level {
    pub(super) parent: Option<usize>,
    pub(super) base: Option<(String, usize)>,
}

/// What was read.
pub(super) struct Document {
    pub(super) sites: Vec<Site>,
    pub(super) levels: Vec<Level>,
    pub(super) facts: Facts,
    /// The prefix of the root's name with its colon, or nothing.
    pub(super) prefix: String,
    /// Whether the identifier of some representation is not a relative address: a template must not begin with it.
    pub(super) has_id_of_elsewhere: bool,
    /// Whether the identifier of some representation leads upwards: no template may have it.
    pub(super) has_id_that_climbs: bool,
}

pub(super) fn read(text: &str) -> Result<Document, Error> {
    let unmarked = text.trim_start_matches('\u{feff}');
    let mut reader = NsReader::from_str(unmarked);
    let mut state = State::new(text, text.len() - unmarked.len());
    loop {
        let before = position(reader.buffer_position());
        let (namespace, event) = match reader.read_resolved_event() {
            Ok(read) => read,
            Err(why) => {
                let at = position(reader.error_position());
                return Err(state.damaged(at, format!("it is not XML: {why}")));
            }
        };
        let namespace = match namespace {
            ResolveResult::Bound(Namespace(name)) => Some(name.to_owned()),
            ResolveResult::Unbound => Some(String::new()),
            ResolveResult::Unknown(_) => None,
        };
        match event {
            Event::Start(start) => {
                let after = position(reader.buffer_position());
                state.start(&reader, namespace, &start, before)?;
                state.begin_text(after);
            }
            Event::Empty(start) => {
                state.start(&reader, namespace, &start, before)?;
                state.end(None)?;
            }
            Event::End(_) => state.end(Some(before))?,
            Event::Text(text) => state.characters(&text, before)?,
            Event::CData(data) => state.characters(&data, before)?,
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().ok().flatten();
                match (character, resolve_xml_entity(&reference)) {
                    (Some(character), _) => state.characters(character.encode_utf8(&mut [0; 4]), before)?,
                    (None, Some(text)) => state.characters(text, before)?,
                    (None, None) => return Err(state.forbidden(before, "an entity of its own")),
                }
            }
            Event::DocType(_) => return Err(state.forbidden(before, "a document type")),
            Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
            Event::Eof => break,
        }
    }
    state.finish()
}

/// A position that the reader gives, within a text that is in memory.
fn position(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// Elements that mean something here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tag {
    Mpd,
    Period,
    AdaptationSet,
    Representation,
    ProgramInformation,
    /// An element whose text is an address.
    Text(What),
    /// Anything else of DASH.
    Other,
    /// What belongs to others.
    Foreign,
}

impl Tag {
    fn of(name: &str, parent: Option<Tag>) -> Tag {
        match (name, parent) {
            ("MPD", None) => Tag::Mpd,
            ("Period", _) => Tag::Period,
            ("AdaptationSet" | "EmptyAdaptationSet", _) => Tag::AdaptationSet,
            ("Representation", _) => Tag::Representation,
            ("ProgramInformation", _) => Tag::ProgramInformation,
            ("BaseURL", Some(Tag::Mpd)) => Tag::Text(What::RootBase),
            ("BaseURL", Some(Tag::Period | Tag::AdaptationSet | Tag::Representation)) => Tag::Text(What::Base),
            ("Location", Some(Tag::Mpd)) => Tag::Text(What::OfManifest(Role::Playlist)),
            ("PatchLocation", Some(Tag::Mpd)) => Tag::Text(What::OfManifest(Role::Patch)),
            ("ContentSteering", _) => Tag::Text(What::OfManifest(Role::Steering)),
            ("ContentProtection" | "Event", _) => Tag::Foreign,
            _ => Tag::Other,
        }
    }
}

/// An element that is open.
struct Open {
    tag: Tag,
    level: usize,
}

/// The text of an element that is an address.
struct Text {
    what: What,
    start: usize,
    value: String,
}

struct State<'a> {
    text: &'a str,
    /// Bytes of a mark before what the reader reads.
    shift: usize,
    namespace: Option<String>,
    open: Vec<Open>,
    is_done: bool,
    in_text: Option<Text>,
    has_root_base: bool,
    insert_at: Option<usize>,
    /// What the adaptation set says for its representations.
    set: Representation,
    periods_sum: Option<Duration>,
    document: Document,
    /// Where lines were counted up to, and how many there were.
    counted: (usize, usize),
}

impl<'a> State<'a> {
    fn new(text: &'a str, shift: usize) -> Self {
        State {
            text,
            shift,
            namespace: None,
            open: Vec::new(),
            is_done: false,
            in_text: None,
            has_root_base: false,
            insert_at: None,
            set: Representation::default(),
            periods_sum: Some(Duration::ZERO),
            document: Document {
                sites: Vec::new(),
                levels: Vec::new(),
                facts: Facts::default(),
                prefix: String::new(),
                has_id_of_elsewhere: false,
                has_id_that_climbs: false,
            },
            counted: (0, 1),
        }
    }

    /// The line of a position in the text.
    fn line(&mut self, at: usize) -> usize {
        let (from, line) = if at < self.counted.0 { (0, 1) } else { self.counted };
        let bytes = self.text.as_bytes().get(from..at).unwrap_or_default();
        self.counted = (at, line + bytes.iter().filter(|byte| **byte == b'\n').count());
        self.counted.1
    }

    fn damaged(&mut self, at: usize, what: String) -> Error {
        Error::Damaged { line: self.line(at + self.shift), what }
    }

    fn forbidden(&mut self, at: usize, what: &'static str) -> Error {
        Error::Forbidden { line: self.line(at + self.shift), what }
    }

    /// Takes the start of an element; `at` is where its tag begins.
    fn start(
        &mut self,
        reader: &NsReader<&[u8]>,
        namespace: Option<String>,
        start: &BytesStart<'_>,
        at: usize,
    ) -> Result<(), Error> {
        if self.in_text.is_some() {
            return Err(self.damaged(at, "there is an element within an address".to_owned()));
        }
        if self.open.len() == MAX_DEPTH {
            return Err(Error::Limit {
                line: self.line(at + self.shift),
                what: "an element within elements",
                most: MAX_DEPTH,
            });
        }
        let name = start.local_name();
        let name = name.as_ref();
        let Some(parent) = self.open.last() else {
            return self.root(reader, namespace, start, at);
        };
        let (parent, level) = (parent.tag, parent.level);
        let is_ours = parent != Tag::Foreign && namespace.is_some() && namespace == self.namespace;
        let tag = if is_ours { Tag::of(name, Some(parent)) } else { Tag::Foreign };
        if parent == Tag::Mpd && tag != Tag::ProgramInformation && self.insert_at.is_none() {
            self.insert_at = Some(at + self.shift);
        }
        let inner = match tag {
            Tag::Period | Tag::AdaptationSet | Tag::Representation => {
                self.document.levels.push(Level { parent: Some(level), base: None });
                self.document.levels.len() - 1
            }
            _ => level,
        };
        self.open.push(Open { tag, level: inner });
        if tag != Tag::Foreign {
            self.attributes(reader, name, tag, start, level, at)?;
        }
        Ok(())
    }

    fn root(
        &mut self,
        reader: &NsReader<&[u8]>,
        namespace: Option<String>,
        start: &BytesStart<'_>,
        at: usize,
    ) -> Result<(), Error> {
        if self.is_done {
            return Err(self.damaged(at, "there is something after its end".to_owned()));
        }
        let name = start.local_name();
        let tag = Tag::of(name.as_ref(), None);
        if tag != Tag::Mpd {
            return Err(Error::NotOne { kind: Kind::Dash, why: "its root is not MPD" });
        }
        if namespace.is_none() {
            return Err(self.damaged(at, "the prefix of MPD is not declared".to_owned()));
        }
        self.namespace = namespace;
        let full = start.name();
        self.document.prefix = full.0.strip_suffix(name.as_ref()).unwrap_or_default().to_owned();
        self.document.levels.push(Level { parent: None, base: None });
        self.open.push(Open { tag, level: 0 });
        self.attributes(reader, "MPD", tag, start, 0, at)
    }

    /// Reads the attributes of an element that stands within `level`.
    fn attributes(
        &mut self,
        reader: &NsReader<&[u8]>,
        name: &str,
        tag: Tag,
        start: &BytesStart<'_>,
        level: usize,
        at: usize,
    ) -> Result<(), Error> {
        let mut read = Vec::new();
        for (count, attribute) in start.attributes().enumerate() {
            if count == MAX_ATTRIBUTES {
                let line = self.line(at + self.shift);
                return Err(Error::Limit { line, what: "an attribute", most: MAX_ATTRIBUTES });
            }
            let attribute = attribute.map_err(|why| self.damaged(at, format!("an attribute is not XML: {why}")))?;
            let Ok(value) = unescape(&attribute.value) else {
                return Err(self.forbidden(at, "an entity of its own"));
            };
            let (namespace, local) = reader.resolver().resolve_attribute(attribute.key);
            let holder = match namespace {
                ResolveResult::Bound(namespace) if namespace == XLINK => Holder::XLink,
                ResolveResult::Unbound => Holder::Plain,
                _ => continue,
            };
            let Some(range) = within(self.text, &attribute.value) else { continue };
            let local = local.as_ref().to_owned();
            read.push(Read { holder, name: local, value: value.trim_matches(is_space).to_owned(), range });
        }
        let get = |name: &str| {
            read.iter().find(|read| read.holder == Holder::Plain && read.name == name).map(|read| read.value.as_str())
        };
        self.fact(tag, &get, at)?;
        let is_http_clock = name == "UTCTiming"
            && get("schemeIdUri").is_some_and(|scheme| scheme.starts_with("urn:mpeg:dash:utc:http-"));
        for attribute in &read {
            let what = match (name, attribute.holder, attribute.name.as_str()) {
                (_, Holder::XLink, "href") => What::Remote,
                (_, Holder::XLink, _) => continue,
                ("SegmentTemplate", _, "media") => What::Template(Role::Segment),
                ("SegmentTemplate", _, "initialization" | "bitstreamSwitching") => What::Template(Role::Init),
                ("SegmentTemplate", _, "index") => What::Template(Role::Index),
                ("SegmentURL", _, "media") => What::Piece(Role::Segment, get("mediaRange").and_then(facts::range)),
                ("SegmentURL", _, "index") => What::Piece(Role::Index, get("indexRange").and_then(facts::range)),
                ("Initialization" | "BitstreamSwitching", _, "sourceURL") => {
                    What::Piece(Role::Init, get("range").and_then(facts::range))
                }
                ("RepresentationIndex", _, "sourceURL") => {
                    What::Piece(Role::Index, get("range").and_then(facts::range))
                }
                ("InitializationSet", _, "initialization") => What::Piece(Role::Init, None),
                ("UTCTiming", _, "value") if is_http_clock => What::Clocks,
                _ => continue,
            };
            if what == What::Remote {
                self.document.facts.is_partial |= matches!(tag, Tag::Period | Tag::AdaptationSet);
            }
            self.site(what, attribute.range.clone(), attribute.value.clone(), level)?;
        }
        Ok(())
    }

    fn site(&mut self, what: What, range: Range<usize>, value: String, level: usize) -> Result<(), Error> {
        let line = self.line(range.start);
        if self.document.sites.len() == MAX_REFERENCES {
            return Err(Error::Limit { line, what: "an address", most: MAX_REFERENCES });
        }
        self.document.sites.push(Site { what, range, value, level, line });
        Ok(())
    }

    /// Gathers what an element says of the presentation.
    fn fact<'v>(&mut self, tag: Tag, get: &dyn Fn(&str) -> Option<&'v str>, at: usize) -> Result<(), Error> {
        let facts = &mut self.document.facts;
        match tag {
            Tag::Mpd => {
                let duration = |name| get(name).and_then(facts::duration);
                facts.is_dynamic = get("type") == Some("dynamic");
                facts.duration = duration("mediaPresentationDuration");
                facts.minimum_update_period = duration("minimumUpdatePeriod");
                facts.max_segment_duration = duration("maxSegmentDuration");
                facts.time_shift_buffer_depth = duration("timeShiftBufferDepth");
            }
            Tag::Period => {
                let own = get("duration").and_then(facts::duration);
                self.periods_sum = self.periods_sum.zip(own).and_then(|(sum, own)| sum.checked_add(own));
                facts.periods += 1;
            }
            Tag::AdaptationSet => {
                self.set = told(get, &Representation::default());
            }
            Tag::Representation => {
                let line = self.line(at + self.shift);
                let facts = &mut self.document.facts;
                if facts.representations.len() == MAX_TRACKS {
                    return Err(Error::Limit { line, what: "a representation", most: MAX_TRACKS });
                }
                let mut representation = told(get, &self.set);
                representation.period = facts.periods.saturating_sub(1);
                let id = representation.id.as_str();
                let (is_elsewhere, climbs) = (!id.is_empty() && !address::stays_below(id), !address::never_climbs(id));
                facts.representations.push(representation);
                self.document.has_id_of_elsewhere |= is_elsewhere;
                self.document.has_id_that_climbs |= climbs;
            }
            _ => {}
        }
        Ok(())
    }

    /// After the start of an element: whether its text is an address.
    fn begin_text(&mut self, after: usize) {
        if let Some(Open { tag: Tag::Text(what), .. }) = self.open.last() {
            self.in_text = Some(Text { what: *what, start: after + self.shift, value: String::new() });
        }
    }

    fn characters(&mut self, characters: &str, at: usize) -> Result<(), Error> {
        if self.open.is_empty() && !characters.chars().all(is_space) {
            return Err(match self.is_done {
                true => self.damaged(at, "there is something after its end".to_owned()),
                false => Error::NotOne { kind: Kind::Dash, why: "it is not XML" },
            });
        }
        let Some(text) = &mut self.in_text else { return Ok(()) };
        text.value.push_str(characters);
        if text.value.len() > MAX_URI_BYTES {
            let line = self.line(at + self.shift);
            return Err(Error::Limit { line, what: "bytes of one address", most: MAX_URI_BYTES });
        }
        Ok(())
    }

    /// Takes the end of an element; `at` is where its end tag begins, if it has one.
    fn end(&mut self, at: Option<usize>) -> Result<(), Error> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        self.is_done |= self.open.is_empty();
        if open.tag == Tag::Mpd && self.insert_at.is_none() {
            self.insert_at = at.map(|at| at + self.shift);
        }
        let (Some(text), Some(end)) = (self.in_text.take(), at) else { return Ok(()) };
        let end = end + self.shift;
        let Some(raw) = self.text.get(text.start..end) else { return Ok(()) };
        // White space around an address stays, unless there is a comment or a CDATA section in it.
        let (lead, length) = match raw.contains('<') {
            true => (0, raw.len()),
            false => (raw.len() - raw.trim_start_matches(is_space).len(), raw.trim_matches(is_space).len()),
        };
        let range = text.start + lead..text.start + lead + length;
        let value = text.value.trim_matches(is_space).to_owned();
        if matches!(text.what, What::Base | What::RootBase) {
            self.has_root_base |= text.what == What::RootBase;
            let line = self.line(range.start);
            if let Some(level) = self.document.levels.get_mut(open.level) {
                level.base.get_or_insert((value.clone(), line));
            }
        }
        self.site(text.what, range, value, open.level)
    }

    fn finish(mut self) -> Result<Document, Error> {
        if !self.open.is_empty() {
            let end = self.text.len();
            return Err(Error::Damaged { line: self.line(end), what: "it ends before its root does".to_owned() });
        }
        if !self.is_done {
            return Err(Error::NotOne { kind: Kind::Dash, why: "it has no root" });
        }
        if self.document.facts.duration.is_none() && self.document.facts.periods > 0 {
            self.document.facts.duration = self.periods_sum;
        }
        if let (false, Some(at)) = (self.has_root_base, self.insert_at) {
            self.site(What::NoRootBase, at..at, String::new(), 0)?;
            // It was not known to be missing when its place came by.
            self.document.sites.sort_by_key(|site| site.range.start);
        }
        Ok(self.document)
    }
}

/// What an attribute belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    Plain,
    XLink,
}

/// An attribute that was read.
struct Read {
    holder: Holder,
    name: String,
    value: String,
    /// Where its value stands in the text, as it is written.
    range: Range<usize>,
}

/// What an element says of representations; what it does not say is as in `set`.
fn told<'v>(get: &dyn Fn(&str) -> Option<&'v str>, set: &Representation) -> Representation {
    let text = |name, inherited: &Option<String>| get(name).map(str::to_owned).or_else(|| inherited.clone());
    let number = |name| get(name).and_then(|value| value.parse().ok());
    Representation {
        id: get("id").unwrap_or_default().to_owned(),
        period: 0,
        bandwidth: get("bandwidth").and_then(|value| value.parse().ok()),
        width: number("width").or(set.width),
        height: number("height").or(set.height),
        codecs: text("codecs", &set.codecs),
        mime: text("mimeType", &set.mime),
        language: text("lang", &set.language),
    }
}

/// Where a piece of a text stands in it, if it is one.
fn within(text: &str, piece: &str) -> Option<Range<usize>> {
    let start = piece.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let range = start..start.checked_add(piece.len())?;
    (text.get(range.clone()) == Some(piece)).then_some(range)
}

/// The white space of XML.
fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}
