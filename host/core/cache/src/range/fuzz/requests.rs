//! Invents requests: most of them sound, many of them nearly so, some of them anything.
//!
//! Owns: the distribution. Leaves to others: what the right answer is.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::date;
use crate::granule::MAX_TOTAL;
use crate::range::{Method, Representation, Request};

/// A request and what it is about, with their texts.
#[derive(Clone, Debug)]
pub struct Case {
    pub method: Method,
    pub range: Vec<String>,
    pub if_range: Option<String>,
    pub if_match: Vec<String>,
    pub if_none_match: Vec<String>,
    pub if_modified_since: Option<String>,
    pub if_unmodified_since: Option<String>,
    pub length: Option<u64>,
    pub etag: Option<String>,
    pub last_modified: Option<String>,
    pub date: Option<String>,
}

impl Case {
    pub fn with<R>(&self, run: impl FnOnce(&Request, &Representation) -> R) -> R {
        let (range, if_match, if_none_match) =
            (borrowed(&self.range), borrowed(&self.if_match), borrowed(&self.if_none_match));
        let request = Request {
            method: self.method,
            range: &range,
            if_range: self.if_range.as_deref(),
            if_match: &if_match,
            if_none_match: &if_none_match,
            if_modified_since: self.if_modified_since.as_deref(),
            if_unmodified_since: self.if_unmodified_since.as_deref(),
        };
        let representation = Representation {
            length: self.length,
            etag: self.etag.as_deref(),
            last_modified: self.last_modified.as_deref(),
            date: self.date.as_deref(),
        };
        run(&request, &representation)
    }
}

fn borrowed(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).collect()
}

/// A request with conditions and a set that fits the length. All its dates are near to each other.
pub fn case() -> BoxedStrategy<Case> {
    let method = prop_oneof![9 => Just(Method::Get), 1 => Just(Method::Head), 1 => Just(Method::Other)];
    let lines = prop_oneof![9 => vec(field(), 1), 1 => vec(field(), 0..3)];
    // A Monday, a Wednesday, whose name begins as a weak entity-tag does, and any day.
    let base = prop_oneof![1 => Just(1_704_067_200i64), 1 => Just(1_704_240_000), 1 => 0i64..4_000_000_000];
    let about = (length(), prop::bool::weighted(0.05), base, maybe(own_tag()), maybe(stamp()), maybe(stamp()));
    let guard = prop_oneof![tag().prop_map(Guard::Tag), stamp().prop_map(Guard::Stamp)];
    let conditions = (prop::option::weighted(0.4, guard), tag_lines(), tag_lines(), rarely(stamp()), rarely(stamp()));
    (method, lines, conditions, about)
        .prop_map(|(method, lines, conditions, (length, unknown, base, etag, last_modified, date))| {
            let (guard, if_match, if_none_match, if_modified_since, if_unmodified_since) = conditions;
            let written = |stamp: Option<Stamp>| stamp.map(|stamp| stamp.write(base));
            Case {
                method,
                range: lines.iter().map(|line| line.write(length)).collect(),
                if_range: guard.map(|guard| match guard {
                    Guard::Tag(tag) => tag,
                    Guard::Stamp(stamp) => stamp.write(base),
                }),
                if_match,
                if_none_match,
                if_modified_since: written(if_modified_since),
                if_unmodified_since: written(if_unmodified_since),
                length: (!unknown).then_some(length),
                etag,
                last_modified: written(last_modified),
                date: written(date),
            }
        })
        .boxed()
}

/// What `If-Range` names.
#[derive(Clone, Debug)]
enum Guard {
    Tag(String),
    Stamp(Stamp),
}

/// A request whose every text is anything, be it of all letters or of those that mean something.
pub fn anything() -> BoxedStrategy<Case> {
    let one = || prop::option::of(any_text());
    let many = || vec(any_text(), 0..3);
    let method = select(vec![Method::Get, Method::Head, Method::Other]);
    let request = (method, many(), one(), many(), many(), one(), one());
    (request, prop::option::of(length()), one(), one(), one())
        .prop_map(|(request, length, etag, last_modified, date)| {
            let (method, range, if_range, if_match, if_none_match, if_modified_since, if_unmodified_since) = request;
            Case {
                method,
                range,
                if_range,
                if_match,
                if_none_match,
                if_modified_since,
                if_unmodified_since,
                length,
                etag,
                last_modified,
                date,
            }
        })
        .boxed()
}

/// Any text, or one of the few letters of which fields consist.
pub fn any_text() -> BoxedStrategy<String> {
    prop_oneof![
        any::<String>(),
        "bytes=[0-9, \\t-]{0,24}",
        "[Bbytes=0-9, \\t*-]{0,24}",
        "[eW/\", *]{0,12}",
        "(Mon|Wed|Wednesday)[, ]{1,2}[0-9]{1,2}[ -](Jan|Feb)[ -][0-9]{2,4} [0-9]{2}:[0-9]{2}:[0-9]{2}( GMT| [0-9]{4})?",
        vec(any::<u8>(), 0..24).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    ]
    .boxed()
}

/// Lengths at which something ends.
pub fn length() -> BoxedStrategy<u64> {
    prop_oneof![
        1 => Just(0),
        1 => Just(1),
        4 => Just(1000),
        4 => 2u64..5000,
        2 => MAX_TOTAL - 1..=MAX_TOTAL + 1,
        2 => u64::MAX - 1..=u64::MAX,
        1 => any::<u64>(),
    ]
    .boxed()
}

/// A line that still lacks the length to which it refers.
#[derive(Clone, Debug)]
pub struct Line {
    pieces: Vec<Piece>,
    mutations: Vec<Mutation>,
}

impl Line {
    pub fn write(&self, length: u64) -> String {
        let text: String = self.pieces.iter().map(|piece| piece.write(length)).collect();
        mutated(text, &self.mutations)
    }
}

#[derive(Clone, Debug)]
enum Piece {
    Text(&'static str),
    /// Digits that do not refer to the length.
    Digits(String),
    /// A number that is this much less than the length.
    BeforeEnd(i64),
    /// A number below the length.
    Within(Index),
    /// Zeros in front of a number.
    Zeros(usize),
    /// A first, a hyphen and a last byte, both somewhere within.
    Pair(Index, Index),
    /// Members that share no byte, and what is written between them. Each place comes with a number that says when the
    /// member that begins there is written.
    Apart {
        places: Vec<(Index, u8)>,
        layout: Layout,
        separator: &'static str,
    },
}

/// How members that share no byte lie among some places.
#[derive(Clone, Copy, Debug)]
enum Layout {
    /// From a place to the next one, then nothing to the next.
    Gaps,
    /// From each place to the next one, with one in four left out.
    Tiles,
    /// Everything but the bytes at the places.
    AllBut,
}

impl Piece {
    fn write(&self, length: u64) -> String {
        let within = |at: &Index| ((u128::from(length.max(1)) * at.index(1 << 20) as u128) >> 20) as u64;
        match self {
            Self::Text(text) => (*text).to_owned(),
            Self::Digits(digits) => digits.clone(),
            Self::BeforeEnd(less) => (i128::from(length) - i128::from(*less)).max(0).to_string(),
            Self::Within(at) => within(at).to_string(),
            Self::Zeros(count) => "0".repeat(*count),
            Self::Pair(a, b) => format!("{}-{}", within(a).min(within(b)), within(a).max(within(b))),
            Self::Apart { places, layout, separator } => {
                let mut places: Vec<(u64, u8)> = places.iter().map(|(at, turn)| (within(at), *turn)).collect();
                places.sort_unstable();
                places.dedup_by_key(|place| place.0);
                let mut members = layout.members(&places, length);
                members.sort_by_key(|(_, turn)| *turn);
                members.into_iter().map(|(member, _)| member).collect::<Vec<_>>().join(separator)
            }
        }
    }
}

impl Layout {
    fn members(self, places: &[(u64, u8)], length: u64) -> Vec<(String, u8)> {
        let between = |pair: &[(u64, u8)]| (format!("{}-{}", pair[0].0, pair[1].0 - 1), pair[0].1);
        match self {
            Self::Gaps => places.chunks_exact(2).map(between).collect(),
            Self::Tiles => places.windows(2).filter(|pair| pair[0].1 % 4 > 0).map(between).collect(),
            Self::AllBut => {
                let starts = [(0, 0)].into_iter().chain(places.iter().map(|(at, turn)| (at + 1, *turn)));
                let ends = places.iter().map(|(at, _)| *at).chain([length]);
                let members = starts.zip(ends).filter(|((start, _), end)| start < end);
                members.map(|((start, turn), end)| (format!("{start}-{}", end - 1), turn)).collect()
            }
        }
    }
}

/// A `Range` line.
pub fn field() -> BoxedStrategy<Line> {
    let unit = prop_oneof![
        40 => Just("bytes"),
        2 => select(vec!["BYTES", "Bytes", "bYtEs"]),
        1 => select(vec!["byte", "items", "none", "bytes ", "", "b\u{ff}tes", "bytesbytes"]),
    ];
    let equals =
        prop_oneof![40 => Just("="), 2 => select(vec!["= ", "=\t"]), 1 => select(vec!["", " =", "==", ":", " "])];
    (space(), unit, equals, set(), space(), mutations())
        .prop_map(|(before, unit, equals, set, after, mutations)| {
            let head = [before, unit, equals].map(Piece::Text);
            let pieces = head.into_iter().chain(set).chain([Piece::Text(after)]).collect();
            Line { pieces, mutations }
        })
        .boxed()
}

fn space() -> BoxedStrategy<&'static str> {
    prop_oneof![9 => Just(""), 1 => select(vec![" ", "\t", "  \t "])].boxed()
}

/// Members with what may stand between them: a few of any kind, or many that do not get in each other's way.
fn set() -> BoxedStrategy<Vec<Piece>> {
    let layout = select(vec![Layout::Gaps, Layout::Tiles, Layout::AllBut]);
    let places = prop_oneof![1 => vec(any::<(Index, u8)>(), 2..8), 1 => vec(any::<(Index, u8)>(), 2..38)];
    let apart = (places, layout, separator())
        .prop_map(|(places, layout, separator)| vec![Piece::Apart { places, layout, separator }]);
    let few = prop_oneof![4 => vec((separator(), member()), 1), 3 => vec((separator(), member()), 0..4)];
    let many = vec((separator(), member()), 0..22);
    let beyond = vec((separator(), beyond()), 1..4);
    prop_oneof![
        6 => few.prop_map(joined),
        1 => many.prop_map(joined),
        1 => beyond.prop_map(joined),
        4 => apart.clone(),
        1 => (apart, separator(), member()).prop_map(|(apart, separator, member)| {
            apart.into_iter().chain([Piece::Text(separator)]).chain(member).collect()
        }),
    ]
    .boxed()
}

fn joined(members: Vec<(&'static str, Vec<Piece>)>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (separator, member) in members {
        let separator = if pieces.is_empty() { "" } else { separator };
        pieces.push(Piece::Text(separator));
        pieces.extend(member);
    }
    pieces
}

fn separator() -> BoxedStrategy<&'static str> {
    let sound = select(vec![", ", " ,", ",,", "\t,\t", ", ,", " , , "]);
    // Spaces to many, but not to this grammar.
    let odd = select(vec![",\u{a0}", "\r\n,", ",\u{b}", "\u{3000},"]);
    prop_oneof![40 => Just(","), 9 => sound, 1 => odd].boxed()
}

fn member() -> BoxedStrategy<Vec<Piece>> {
    let hyphen = || Piece::Text("-");
    let junk = vec!["", "-", "--9", "9-0", "a-b", "0-0x9", "+0-9", "0-9;q=1", "0 - 9", "0-9-", "*", "\u{663}-"];
    prop_oneof![
        4 => any::<(Index, Index)>().prop_map(|(a, b)| vec![Piece::Pair(a, b)]),
        3 => (numeral(), numeral()).prop_map(move |(a, b)| a.into_iter().chain([hyphen()]).chain(b).collect::<Vec<_>>()),
        3 => numeral().prop_map(move |first| first.into_iter().chain([hyphen()]).collect::<Vec<_>>()),
        3 => numeral().prop_map(move |count| [hyphen()].into_iter().chain(count).collect::<Vec<_>>()),
        1 => select(junk).prop_map(|text| vec![Piece::Text(text)]),
    ]
    .boxed()
}

/// Members that select nothing.
fn beyond() -> BoxedStrategy<Vec<Piece>> {
    let past = (-3i64..=0).prop_map(|less| vec![Piece::BeforeEnd(less), Piece::Text("-")]);
    let huge = huge().prop_map(|digits| vec![Piece::Digits("1".to_owned() + &digits), Piece::Text("-")]);
    prop_oneof![past, huge, Just(vec![Piece::Text("-0")]), Just(vec![Piece::Text("-000")])].boxed()
}

/// Digits: small ones, those around the length and around what fits 64 bits, and longer ones than anything.
fn numeral() -> BoxedStrategy<Vec<Piece>> {
    let small = (0u64..40).prop_map(|number| Piece::Digits(number.to_string()));
    let fitting = (0u128..5).prop_map(|step| Piece::Digits((u128::from(u64::MAX) - 2 + step).to_string()));
    let number = prop_oneof![
        5 => small,
        4 => (-2i64..=2).prop_map(Piece::BeforeEnd),
        4 => any::<Index>().prop_map(Piece::Within),
        1 => fitting,
        1 => huge().prop_map(Piece::Digits),
    ];
    let zeros = prop_oneof![9 => Just(0usize), 1 => 1usize..50];
    (zeros, number).prop_map(|(zeros, number)| vec![Piece::Zeros(zeros), number]).boxed()
}

fn huge() -> BoxedStrategy<String> {
    vec(select("09900123456789".chars().collect::<Vec<_>>()), 19..60).prop_map(String::from_iter).boxed()
}

/// What happens to a text on its way.
#[derive(Clone, Debug)]
enum Mutation {
    Insert(Index, char),
    Remove(Index),
    Double(Index),
}

fn mutations() -> BoxedStrategy<Vec<Mutation>> {
    let letters = " \t,-=09+;x*/\"W\u{a0}\u{e9}\u{663}\u{2013}\r\n\0".chars().collect::<Vec<_>>();
    let one = prop_oneof![
        (any::<Index>(), select(letters)).prop_map(|(at, letter)| Mutation::Insert(at, letter)),
        any::<Index>().prop_map(Mutation::Remove),
        any::<Index>().prop_map(Mutation::Double),
    ];
    prop_oneof![9 => Just(Vec::new()), 1 => vec(one, 1..3)].boxed()
}

fn mutated(text: String, mutations: &[Mutation]) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    for mutation in mutations {
        match mutation {
            Mutation::Insert(at, letter) => letters.insert(at.index(letters.len() + 1), *letter),
            Mutation::Remove(at) if !letters.is_empty() => drop(letters.remove(at.index(letters.len()))),
            Mutation::Double(at) if !letters.is_empty() => {
                let at = at.index(letters.len());
                letters.insert(at, letters[at]);
            }
            _ => {}
        }
    }
    letters.into_iter().collect()
}

/// An entity-tag as an origin may have sent it.
fn own_tag() -> BoxedStrategy<String> {
    let sound = select(vec!["\"e\"", "\"e\"", "W/\"e\"", "\"a,b\"", "\"\"", "\"\u{e9}\"", "\"W/\"", "\"*\""]);
    prop_oneof![9 => sound, 1 => select(vec!["e", "\"e", "w/\"e\"", "", "*"])].prop_map(str::to_owned).boxed()
}

fn tag() -> BoxedStrategy<String> {
    let written = prop_oneof![9 => own_tag(), 1 => select(vec!["\"x\"", "\"E\"", "*"]).prop_map(str::to_owned)];
    (space(), written, space(), mutations())
        .prop_map(|(before, tag, after, mutations)| mutated(format!("{before}{tag}{after}"), &mutations))
        .boxed()
}

/// Lines of tags; mostly none.
fn tag_lines() -> BoxedStrategy<Vec<String>> {
    let list = vec(tag(), 0..4).prop_map(|tags| tags.join(","));
    prop_oneof![9 => Just(Vec::new()), 1 => vec(tag(), 1), 1 => vec(list, 0..3)].boxed()
}

/// A date that still lacks the instant to which it refers.
#[derive(Clone, Debug)]
struct Stamp {
    /// Seconds after it.
    step: i64,
    form: usize,
    mutations: Vec<Mutation>,
}

impl Stamp {
    fn write(&self, base: i64) -> String {
        mutated(date::FORMS[self.form](base + self.step), &self.mutations)
    }
}

fn stamp() -> BoxedStrategy<Stamp> {
    let step = prop_oneof![6 => -1i64..=1, 1 => select(vec![-86_400, 86_400]), 1 => -1_000_000_000i64..1_000_000_000];
    let form = prop_oneof![4 => Just(0), 1 => 0..date::FORMS.len()];
    (step, form, mutations()).prop_map(|(step, form, mutations)| Stamp { step, form, mutations }).boxed()
}

fn maybe<T: std::fmt::Debug>(of: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    prop::option::weighted(0.8, of)
}

fn rarely<T: std::fmt::Debug>(of: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    prop::option::weighted(0.15, of)
}
