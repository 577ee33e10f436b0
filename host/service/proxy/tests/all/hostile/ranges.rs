//! Origins that ignore, refuse and mislabel ranges (RFC 9110 §14 and §15.3.7).

use std::time::Duration;

use super::film::{Answer, Film, honest, later, meanwhile, part, parts, whole};
use super::{Expect, Row, row};
use crate::raw::{Ask, Script};

/// What a mislabelled part is.
const WRONG: &[&str] = &["upstream-wrong"];

pub fn rows() -> Vec<Row> {
    let mut rows = ignored();
    rows.extend(refused());
    rows.extend(mislabelled());
    rows.extend(mislabelled_later());
    rows.extend(lengths());
    rows
}

/// Refuses or answers, by what is asked for.
fn unless(refuses: fn(&Ask) -> bool, status: &'static str) -> impl FnMut(&Ask, &Film) -> Script {
    move |ask, film| match refuses(ask) {
        true => Answer::new(status, "no").set("Content-Type", "text/plain").script(),
        false => honest(ask, film).script(),
    }
}

fn ranged(ask: &Ask) -> bool {
    ask.range().is_some()
}

fn ignored() -> Vec<Row> {
    let short = Film::short;
    vec![
        row("hangs on HEAD", short(), Expect::Plays, |ask, film| match ask.method.as_str() {
            "GET" => honest(ask, film).script(),
            _ => Script::new().hang(),
        })
        .most(1.2),
        row("no ranges", short(), Expect::Plays, |_, film| whole(film).script()),
        row("no ranges, no length, in chunks", short(), Expect::Plays, |_, film| whole(film).chunked("0\r\n\r\n")),
        row("no ranges, no length, ends with its connection", short(), Expect::Plays, |_, film| {
            whole(film).without("content-length").set("Connection", "close").script().close()
        }),
        row("no ranges, and says so", short(), Expect::Plays, |_, film| {
            whole(film).set("Accept-Ranges", "none").script()
        }),
        row("no range the first time", Film::long(), Expect::Plays, |ask, film| match ask.number {
            1 => whole(film).script(),
            _ => honest(ask, film).script(),
        }),
        row("no range every third time", Film::long(), Expect::Plays, |ask, film| match ask.number % 3 {
            0 => whole(film).script(),
            _ => honest(ask, film).script(),
        }),
        row("hangs without a range", short(), Expect::Plays, |ask, film| match ranged(ask) {
            true => honest(ask, film).script(),
            false => Script::new().hang(),
        }),
        row("slow where a range has no end", Film::long(), Expect::Plays, |ask, film| match ask.is_bounded() {
            true => honest(ask, film).script(),
            false => honest(ask, film).paced(1000, Duration::from_millis(50)),
        }),
        // RFC 9110 §15.3.7: a part may be less than what was asked for.
        row("gives less than was asked for", Film::of(400_000), Expect::Plays, |ask, film| {
            match ask.range().filter(|range| range.start < film.len()) {
                Some(range) => part(film, range.start..range.end.min(range.start + 50_000)).script(),
                None => honest(ask, film).script(),
            }
        })
        .most(1.2),
    ]
}

fn refused() -> Vec<Row> {
    let short = Film::short;
    vec![
        row("400 to a range with an end", short(), Expect::Plays, unless(Ask::is_bounded, "400 Bad Request")),
        row("416 to a range with an end", short(), Expect::Plays, unless(Ask::is_bounded, "416 Range Not Satisfiable")),
        row("501 to a range with an end", short(), Expect::Plays, unless(Ask::is_bounded, "501 Not Implemented")),
        row("416 to a range with an end, with the length", short(), Expect::Plays, |ask, film| {
            match ask.is_bounded() {
                true => part(film, film.len()..u64::MAX).script(),
                false => honest(ask, film).script(),
            }
        }),
        row("400 to any range", short(), Expect::Plays, unless(ranged, "400 Bad Request")),
        row("403 to any range", short(), Expect::Plays, unless(ranged, "403 Forbidden")),
        row("416 to any range", short(), Expect::Plays, unless(ranged, "416 Range Not Satisfiable")),
        row("501 to any range", short(), Expect::Plays, unless(ranged, "501 Not Implemented")),
        row(
            "400 to any range, and a part to none",
            short(),
            Expect::PlaysOr(&["upstream-wrong", "upstream-status"]),
            |ask, film| match ranged(ask) {
                true => Answer::new("400 Bad Request", "").script(),
                false => part(film, 0..film.len()).script(),
            },
        ),
        row(
            "416 in the middle",
            Film::long(),
            Expect::Recovers,
            meanwhile(|_, film| part(film, film.len()..u64::MAX).script()),
        ),
        row(
            "416 in the middle, with another length",
            Film::long(),
            Expect::Recovers,
            meanwhile(|_, film| part(film, film.len()..u64::MAX).set("Content-Range", "bytes */1000").script()),
        ),
    ]
}

/// A way to name a part.
fn named(name: impl Fn(u64, u64, u64) -> String) -> impl FnMut(&Ask, &Film) -> Script {
    let name = std::sync::Arc::new(name);
    move |ask, film| {
        let (name, total) = (name.clone(), film.len());
        parts(move |answer, range| answer.set("Content-Range", name(range.start, range.end - 1, total)))(ask, film)
    }
}

/// Another part than was asked for, with a label that is right.
fn shifted(by: i64) -> impl FnMut(&Ask, &Film) -> Script {
    move |ask, film| match ask.range() {
        Some(range) => {
            let start = range.start.saturating_add_signed(by);
            part(film, start..range.end.max(start + 1)).script()
        }
        None => honest(ask, film).script(),
    }
}

/// Parts are mislabelled from the first one on; the whole is honest.
fn mislabelled() -> Vec<Row> {
    let (short, either) = (Film::short, || Expect::PlaysOr(WRONG));
    let bare = |answer: Answer, _| answer.without("content-range");
    vec![
        row("a part without a label", short(), either(), parts(bare)),
        row("a part that begins later", short(), either(), named(|a, b, t| format!("bytes {}-{b}/{t}", a + 1))),
        row("a part that ends later", short(), either(), named(|a, b, t| format!("bytes {a}-{}/{t}", b + 1))),
        row("a part that ends before it begins", short(), either(), named(|a, b, t| format!("bytes {b}-{a}/{t}"))),
        row("a part that ends behind the end", short(), either(), named(|a, b, _| format!("bytes {a}-{b}/{b}"))),
        row("parts of an unknown length", short(), Expect::PlaysOr(&["length-unknown"]), {
            named(|a, b, _| format!("bytes {a}-{b}/*"))
        }),
        row("garbage for a label", short(), either(), named(|_, _, _| "bananas".into())),
        row("a label without a unit", short(), either(), named(|a, b, t| format!("{a}-{b}/{t}"))),
        row("a label in another unit", short(), either(), named(|a, b, t| format!("items {a}-{b}/{t}"))),
        row("a label with an equals sign", short(), either(), named(|a, b, t| format!("bytes={a}-{b}/{t}"))),
        row("a label with spaces inside", short(), either(), named(|a, b, t| format!("bytes {a} - {b} / {t}"))),
        row("a label with a negative number", short(), either(), named(|a, b, t| format!("bytes -{a}-{b}/{t}"))),
        row(
            "a label of huge numbers",
            short(),
            either(),
            named(|a, _, _| format!("bytes {a}-{0}{0}/{0}{0}", u64::MAX)),
        ),
        row("a label of the largest numbers", short(), Expect::PlaysOr(&["upstream-wrong", "too-large"]), {
            named(|a, b, _| format!("bytes {a}-{b}/{}", u64::MAX))
        }),
        row("a label in odd spelling", short(), Expect::Plays, |ask, film| {
            let answer = honest(ask, film);
            let label = answer.fields.iter().find(|(name, _)| name == "Content-Range").map(|(_, value)| value.clone());
            match label {
                Some(label) => answer
                    .without("content-range")
                    .add("cOnTeNt-rAnGe", format!("  ByTeS   {} \t", label.trim_start_matches("bytes ")))
                    .script(),
                None => answer.script(),
            }
        })
        .most(1.2),
        row("two labels", short(), either(), |ask, film| {
            let answer = honest(ask, film);
            match answer.part.clone() {
                Some(range) => answer.add("Content-Range", format!("bytes {}-9/10", range.start)).script(),
                None => answer.script(),
            }
        }),
        // The file has fewer bytes than it is said to have: nobody may be told that the answer was complete.
        row(
            "a length that is too large",
            short(),
            Expect::Clean(&["upstream-wrong", "ended-early", "upstream-changed"]),
            named(|a, b, t| format!("bytes {a}-{b}/{}", t + 1000)),
        )
        .other(Film::of(short().bytes.len() + 1000)),
        row("two lengths in turn", short(), Expect::Clean(&["upstream-changed", "upstream-wrong"]), |ask, film| {
            let answer = honest(ask, film);
            match answer.part.clone().filter(|_| ask.number % 2 == 0) {
                Some(range) => {
                    let label = format!("bytes {}-{}/{}", range.start, range.end - 1, film.len() + 1);
                    answer.set("Content-Range", label).script()
                }
                None => answer.script(),
            }
        })
        .other(Film::of(short().bytes.len() + 1)),
        row("a part under the name of the whole", short(), either(), parts(|answer, _| answer.status("200 OK"))),
        row("a later part, labelled as what it is", short(), either(), shifted(7)),
        row("the whole to every range, labelled as what it is", short(), either(), |_, film| {
            part(film, 0..film.len()).script()
        }),
        row("several parts to a single range", short(), either(), |ask, film| {
            let answer = honest(ask, film);
            if answer.part.is_none() {
                return answer.script();
            }
            let label = answer.fields.iter().find(|(name, _)| name == "Content-Range").map(|(_, value)| value.clone());
            let mut body = format!("--b\r\nContent-Range: {}\r\n\r\n", label.unwrap_or_default()).into_bytes();
            body.extend_from_slice(&answer.body);
            body.extend_from_slice(b"\r\n--b--\r\n");
            let kind = "multipart/byteranges; boundary=b";
            answer.without("content-range").body(body).set("Content-Type", kind).script()
        }),
    ]
}

/// Parts are mislabelled for a while, in the middle of a film.
fn mislabelled_later() -> Vec<Row> {
    let long = Film::long;
    let label = |answer: Answer, label: String| answer.set("Content-Range", label);
    let total = long().len();
    vec![
        row("parts of an unknown length in the middle", long(), Expect::Plays, {
            later(move |answer, range| label(answer, format!("bytes {}-{}/*", range.start, range.end - 1)))
        })
        .most(1.2),
        row("a part that begins elsewhere in the middle", long(), Expect::Recovers, {
            later(move |answer, range| label(answer, format!("bytes {}-{}/{total}", range.start + 7, range.end - 1)))
        }),
        row("a later part in the middle, labelled as what it is", long(), Expect::Recovers, meanwhile(shifted(7))),
        row("an earlier part in the middle, labelled as what it is", long(), Expect::Recovers, meanwhile(shifted(-7))),
        row("the beginning instead of the middle", long(), Expect::Recovers, {
            meanwhile(|_, film| part(film, 0..65_536).script())
        }),
        row("an unlabelled part in the middle", long(), Expect::Recovers, {
            later(|answer, _| answer.without("content-range"))
        }),
        row("garbage for a label in the middle", long(), Expect::Recovers, {
            later(move |answer, _| label(answer, "bytes garbage".into()))
        }),
        row("another length in the middle", long(), Expect::Recovers, {
            later(move |answer, range| label(answer, format!("bytes {}-{}/{}", range.start, range.end - 1, total + 5)))
        }),
        row("a part under the name of the whole in the middle", long(), Expect::Recovers, {
            later(|answer, _| answer.without("content-range").status("200 OK"))
        }),
        row("several parts in the middle", long(), Expect::Recovers, {
            later(|answer, _| answer.set("Content-Type", "multipart/byteranges; boundary=b"))
        }),
    ]
}

/// `Content-Length` and `Content-Range` do not say the same.
fn lengths() -> Vec<Row> {
    let (short, either) = (Film::short, || Expect::PlaysOr(WRONG));
    vec![
        row("a part shorter than its label", short(), either(), {
            parts(|answer, _| {
                let half = answer.body.slice(..answer.body.len() / 2);
                answer.body(half)
            })
        }),
        row("a part longer than its label", short(), either(), {
            parts(|answer, _| {
                let more = [&answer.body[..], b"more"].concat();
                answer.body(more)
            })
        }),
        row("a part without bytes", short(), either(), parts(|answer, _| answer.body(""))),
        row("a part without bytes, in chunks", short(), Expect::PlaysOr(&["ended-early"]), |ask, film| {
            let answer = honest(ask, film);
            match answer.part {
                Some(_) => answer.body("").chunked("0\r\n\r\n"),
                None => answer.script(),
            }
        }),
        row("a part that goes on behind its label", short(), Expect::Plays, |ask, film| {
            let answer = honest(ask, film);
            match answer.part {
                Some(_) => {
                    let more = [&answer.body[..], &[b'x'; 5000]].concat();
                    answer.body(more).without("content-length").set("Connection", "close").script().close()
                }
                None => answer.script(),
            }
        }),
    ]
}
