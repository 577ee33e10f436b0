//! Origins whose file changes, and origins that only look as if it did (RFC 9110 §8.8, §13.1.5).
//!
//! What can be noticed: another strong entity tag, another length, and, where the tags say nothing, another date or
//! another weak tag. What cannot: other bytes under the same of all of these, or under none of them.

use super::film::{Film, careless, honest, part, whole};
use super::{Expect, Row, row};
use crate::raw::{Ask, Script};

const CHANGED: &[&str] = &["upstream-changed"];

pub fn rows() -> Vec<Row> {
    let mut rows = changes();
    rows.extend(changes_that_nobody_sees());
    rows.extend(edges());
    rows.extend(no_opinion());
    rows
}

/// One version up to the first turn, another one from then on.
fn changing(
    answer: fn(&Ask, &Film) -> super::film::Answer,
    other: impl Fn(&Film) -> Film,
) -> impl FnMut(&Ask, &Film) -> Script {
    move |ask, film| match ask.turn {
        0 => answer(ask, film).script(),
        _ => answer(ask, &other(film)).script(),
    }
}

fn changes() -> Vec<Row> {
    let (long, changes) = (Film::long, || Expect::Changes);
    let longer = move || Film { bytes: [&long().other().bytes[..], b"and more"].concat().into(), ..long().other() };
    let shorter = move || {
        let other = long().other();
        Film { bytes: other.bytes.slice(..other.bytes.len() - 200_000), ..other }
    };
    vec![
        row("another version, conditions honoured", long(), changes(), changing(honest, Film::other)),
        row("another version, conditions ignored", long(), changes(), changing(careless, Film::other)),
        row("another version, by its tag alone", long().modified(None), changes(), changing(careless, Film::other)),
        row("another version, by its date alone", long().etag(None), changes(), changing(careless, Film::other)),
        row("another version, conditions on dates honoured", long().etag(None), changes(), {
            changing(honest, Film::other)
        }),
        row("another version, by a weak tag alone", long().bare().etag(Some("W/\"1\"")), changes(), {
            changing(careless, |film| film.other().etag(Some("W/\"2\"")))
        }),
        row("another version, with ranges ignored from then on", long(), changes(), |ask, film| match ask.turn {
            0 => honest(ask, film).script(),
            _ => whole(&film.other()).script(),
        }),
        row("a longer version without validators", long().bare(), changes(), {
            changing(careless, move |_| longer().bare())
        })
        .other(longer().bare()),
        row("a shorter version without validators", long().bare(), changes(), {
            changing(careless, move |_| shorter().bare())
        })
        .other(shorter().bare()),
        row("a longer version under the same tag", long(), changes(), {
            changing(careless, move |film| longer().etag(film.etag).modified(film.modified))
        })
        .other(longer()),
        row("a longer version, with ranges ignored from then on", long(), changes(), move |ask, film| match ask.turn {
            0 => honest(ask, film).script(),
            _ => whole(&longer()).script(),
        })
        .other(longer()),
    ]
}

/// The versions may be mixed: nothing tells them apart.
fn changes_that_nobody_sees() -> Vec<Row> {
    let (long, mixed) = (Film::long, || Expect::Mixed);
    vec![
        row("another version, as long, without validators", long().bare(), mixed(), changing(careless, Film::other)),
        row("another version under the same tag", long(), mixed(), {
            changing(careless, |film| film.other().etag(film.etag).modified(film.modified))
        }),
        row("another version of the same date", long().etag(None), mixed(), {
            changing(careless, |film| film.other().modified(film.modified))
        }),
    ]
}

/// The same bytes with other validators from one request to the next.
fn flipping(
    answer: fn(&Ask, &Film) -> super::film::Answer,
    flip: impl Fn(Film) -> Film,
) -> impl FnMut(&Ask, &Film) -> Script {
    move |ask, film| match ask.number % 2 {
        0 => answer(ask, &flip(film.clone())).script(),
        _ => answer(ask, film).script(),
    }
}

/// Several servers under one name, which tell of the same bytes in different ways.
fn edges() -> Vec<Row> {
    let (long, plays) = (Film::long, || Expect::Plays);
    vec![
        row("a tag for each edge", long().modified(None), plays(), {
            flipping(careless, |film| film.etag(Some("\"edge-2\"")))
        })
        .most(1.5),
        row("a tag for each edge, and one date", long(), plays(), {
            flipping(careless, |film| film.etag(Some("\"edge-2\"")))
        })
        .most(1.5),
        row("a tag for each edge, conditions honoured", Film::short(), plays(), {
            flipping(honest, |film| film.etag(Some("\"edge-2\"")))
        }),
        row("a tag for each of three edges", long(), plays(), |ask, film| {
            let tags = ["\"edge-1\"", "\"edge-2\"", "\"edge-3\""];
            careless(ask, &film.clone().etag(Some(tags[ask.number % 3]))).script()
        })
        .most(2.0),
        row("one weak tag", long().etag(Some("W/\"1\"")), plays(), |ask, film| honest(ask, film).script()).most(1.2),
        row("a weak tag for each edge", long().etag(Some("W/\"1\"")), plays(), {
            flipping(careless, |film| film.etag(Some("W/\"2\"")))
        }),
        row("a strong tag that is weak at times", long(), plays(), {
            flipping(careless, |film| film.etag(Some("W/\"v1\"")))
        }),
        row("a tag that is missing at times", long(), plays(), flipping(honest, |film| film.etag(None))),
        row("a tag without quotes", long().etag(Some("v1")), plays(), |ask, film| honest(ask, film).script()),
        row("an empty tag", long().etag(Some("")), plays(), |ask, film| honest(ask, film).script()),
        row("a date for each edge under one tag", long(), plays(), {
            flipping(careless, |film| film.modified(Some("Sun, 31 Dec 2023 23:59:59 GMT")))
        })
        .most(1.2),
        row("a date in another spelling", long().etag(None), plays(), {
            flipping(careless, |film| film.modified(Some("Monday, 01-Jan-24 00:00:00 GMT")))
        })
        .most(1.2),
        row("no validators", long().bare(), plays(), |ask, film| honest(ask, film).script()).most(1.2),
    ]
}

/// The origin never stays with one version.
fn no_opinion() -> Vec<Row> {
    let (long, clean) = (Film::long, || Expect::Clean(CHANGED));
    vec![
        row("two versions in turn", long(), clean(), flipping(careless, |film| film.other())),
        row("two versions in turn, conditions honoured", long(), clean(), flipping(honest, |film| film.other())),
        row("two versions in turn, by their dates", long().etag(None), clean(), {
            flipping(careless, |film| film.other())
        }),
        row("two versions in turn, by their weak tags", long().bare().etag(Some("W/\"1\"")), clean(), {
            flipping(careless, |film| film.other().etag(Some("W/\"2\"")))
        }),
        row("a date for each edge and no tags", long().etag(None), clean(), {
            flipping(careless, |film| film.modified(Some("Sun, 31 Dec 2023 23:59:59 GMT")))
        }),
        row("two versions without validators and two lengths in turn", long().bare(), clean(), |ask, film| {
            match (ask.number % 2, ask.range()) {
                (0, Some(range)) => {
                    let other = film.other();
                    let bytes = [&other.bytes[..], b"x"].concat().into();
                    part(&Film { bytes, ..other }, range).script()
                }
                _ => careless(ask, film).script(),
            }
        })
        .other({
            let other = long().bare().other();
            Film { bytes: [&other.bytes[..], b"x"].concat().into(), ..other }
        }),
    ]
}
