//! What the origins have, and how an honest one gives it: RFC 9110 §13 and §14, from which each row departs in one way.

use std::ops::Range;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;

use crate::media;
use crate::raw::{Ask, Script};

/// Bytes of the longest film, which has a middle that no opening asks for.
const LONG: usize = 3_000_001;
/// Bytes of a film that a few requests bring.
const SHORT: usize = 700_001;

/// How the two versions begin.
pub static MAGICS: [[u8; 12]; 2] =
    [[0, 0, 0, 0, 0, 0, 0, 0, 0xB9, 0x79, 0x37, 0x9E], [!0, !0, !0, !0, !0, !0, !0, !0, !0xB9, !0x79, !0x37, !0x9E]];

static BYTES: LazyLock<Bytes> = LazyLock::new(|| media(LONG).into());
/// Another version: no byte is what it was.
static OTHER: LazyLock<Bytes> = LazyLock::new(|| BYTES.iter().map(|byte| !byte).collect());

/// One version of a file.
#[derive(Clone, Debug)]
pub struct Film {
    pub bytes: Bytes,
    pub etag: Option<&'static str>,
    pub modified: Option<&'static str>,
}

impl Film {
    pub fn of(length: usize) -> Film {
        Film { bytes: BYTES.slice(..length), etag: Some("\"v1\""), modified: Some("Mon, 01 Jan 2024 00:00:00 GMT") }
    }

    pub fn short() -> Film {
        Film::of(SHORT)
    }

    pub fn long() -> Film {
        Film::of(LONG)
    }

    pub fn etag(self, etag: Option<&'static str>) -> Film {
        Film { etag, ..self }
    }

    pub fn modified(self, modified: Option<&'static str>) -> Film {
        Film { modified, ..self }
    }

    /// Without anything that tells versions apart.
    pub fn bare(self) -> Film {
        self.etag(None).modified(None)
    }

    /// The version that comes after this one: as long, and with validators of the same kinds.
    pub fn other(&self) -> Film {
        Film {
            bytes: OTHER.slice(..self.bytes.len()),
            etag: self.etag.map(|_| "\"v2\""),
            modified: self.modified.map(|_| "Tue, 02 Jan 2024 00:00:00 GMT"),
        }
    }

    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// One answer, to be bent.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status line without the version.
    pub status: String,
    pub fields: Vec<(String, String)>,
    pub body: Bytes,
    /// What a part is a part of: its range.
    pub part: Option<Range<u64>>,
}

impl Answer {
    pub fn new(status: &str, body: impl Into<Bytes>) -> Answer {
        let body = body.into();
        let fields = vec![("Content-Length".into(), body.len().to_string())];
        Answer { status: status.into(), fields, body, part: None }
    }

    /// Replaces a field, or adds it.
    pub fn set(self, name: &str, value: impl Into<String>) -> Answer {
        self.without(name).add(name, value)
    }

    pub fn add(mut self, name: &str, value: impl Into<String>) -> Answer {
        self.fields.push((name.into(), value.into()));
        self
    }

    pub fn without(mut self, name: &str) -> Answer {
        self.fields.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    pub fn status(self, status: &str) -> Answer {
        Answer { status: status.into(), ..self }
    }

    /// Other bytes and their length.
    pub fn body(self, body: impl Into<Bytes>) -> Answer {
        let body = body.into();
        Answer { body: body.clone(), ..self.set("Content-Length", body.len().to_string()) }
    }

    pub fn head(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {}\r\n", self.status);
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    pub fn script(&self) -> Script {
        Script::new().send(self.head()).send(self.body.clone())
    }

    /// The head, and the beginning of the body that it promises.
    pub fn cut(&self, length: usize) -> Script {
        Script::new().send(self.head()).send(self.body.slice(..length.min(self.body.len())))
    }

    /// The body in pieces, with pauses between them.
    pub fn paced(&self, piece: usize, every: Duration) -> Script {
        Script::new().send(self.head()).drip(self.body.clone(), piece, every)
    }

    /// As RFC 9112 §7.1 has it, with `last` as the end.
    pub fn chunked(self, last: &str) -> Script {
        let answer = self.without("content-length").set("Transfer-Encoding", "chunked");
        let mut script = Script::new().send(answer.head());
        for piece in answer.body.chunks(50_000) {
            script = script.send(format!("{:x}\r\n", piece.len())).send(answer.body.slice_ref(piece)).send("\r\n");
        }
        script.send(last.to_owned())
    }
}

/// What an honest origin answers.
pub fn honest(ask: &Ask, film: &Film) -> Answer {
    let known = |name, tag: Option<&str>| tag.is_some() && ask.field(name) == tag;
    let unmodified = film.etag.is_none() && known("if-modified-since", film.modified);
    if known("if-none-match", film.etag) || unmodified {
        return described(Answer::new("304 Not Modified", "").without("content-length"), film);
    }
    // A weak tag is no proof that a part fits (§13.1.5).
    let strong = film.etag.filter(|tag| tag.starts_with('"'));
    match ask.range().filter(|_| ask.field("if-range").is_none() || known("if-range", strong)) {
        Some(range) => part(film, range),
        None => whole(film),
    }
}

/// The same without a look at conditions.
pub fn careless(ask: &Ask, film: &Film) -> Answer {
    match ask.range() {
        Some(range) => part(film, range),
        None => whole(film),
    }
}

pub fn whole(film: &Film) -> Answer {
    described(Answer::new("200 OK", film.bytes.clone()), film)
}

pub fn part(film: &Film, range: Range<u64>) -> Answer {
    let total = film.len();
    if range.start >= total {
        return Answer::new("416 Range Not Satisfiable", "").set("Content-Range", format!("bytes */{total}"));
    }
    let range = range.start..range.end.min(total);
    let body = film.bytes.slice(range.start as usize..range.end as usize);
    let field = format!("bytes {}-{}/{total}", range.start, range.end - 1);
    let answer = Answer::new("206 Partial Content", body).set("Content-Range", field);
    Answer { part: Some(range), ..described(answer, film) }
}

fn described(mut answer: Answer, film: &Film) -> Answer {
    if let Some(etag) = film.etag {
        answer = answer.set("ETag", etag);
    }
    if let Some(modified) = film.modified {
        answer = answer.set("Last-Modified", modified);
    }
    answer.set("Date", "Wed, 03 Jan 2024 00:00:00 GMT").set("Content-Type", "video/x-test")
}

/// An origin that is honest but for its parts.
pub fn parts(bend: impl Fn(Answer, Range<u64>) -> Answer) -> impl FnMut(&Ask, &Film) -> Script {
    move |ask, film| {
        let answer = honest(ask, film);
        match answer.part.clone() {
            Some(range) => bend(answer, range).script(),
            None => answer.script(),
        }
    }
}

/// An origin that is honest but for its parts, once it has turned; and again after it has turned once more.
pub fn later(bend: impl Fn(Answer, Range<u64>) -> Answer) -> impl FnMut(&Ask, &Film) -> Script {
    let mut bent = parts(bend);
    move |ask, film| if ask.turn == 1 { bent(ask, film) } else { honest(ask, film).script() }
}

/// An origin that is honest but for what it says once it has turned; and again after it has turned once more.
pub fn meanwhile(mut other: impl FnMut(&Ask, &Film) -> Script) -> impl FnMut(&Ask, &Film) -> Script {
    move |ask, film| if ask.turn == 1 { other(ask, film) } else { honest(ask, film).script() }
}
