//! Origins that refuse, fail, send elsewhere, and answer with something else than the file (RFC 9110 §15).

use std::time::Duration;

use super::film::{Answer, Film, honest, meanwhile, part, whole};
use super::{Expect, Row, row};
use crate::raw::{Ask, Script, Seen};

const PAGE: &str = "<!DOCTYPE html><html><body><form action=/login>Who are you?</form></body></html>";
const JSON: &str = r#"{"error": "no such thing", "status": 200}"#;

pub fn rows() -> Vec<Row> {
    let mut rows = documents();
    rows.extend(refusals());
    rows.extend(refusals_in_the_middle());
    rows.extend(patience());
    rows.extend(no_film());
    rows.extend(redirects());
    rows
}

/// A short answer.
fn says(status: &'static str, kind: &'static str, body: &'static str) -> impl FnMut(&Ask, &Film) -> Script {
    move |_, _| Answer::new(status, body).set("Content-Type", kind).script()
}

fn only(status: &'static str) -> impl FnMut(&Ask, &Film) -> Script {
    says(status, "text/plain", "no")
}

fn documents() -> Vec<Row> {
    let (short, not_media) = (Film::short, || Expect::Fails(&["not-media"]));
    vec![
        row("200 and an error in JSON", short(), not_media(), says("200 OK", "application/json", JSON)),
        row("200 and a problem in JSON", short(), not_media(), {
            says("200 OK", "Application/Problem+JSON; charset=utf-8", JSON)
        }),
        row("200 and a sign-in page", short(), not_media(), says("200 OK", "text/html; charset=utf-8", PAGE)),
        row("200 and a page in XHTML", short(), not_media(), says("200 OK", "application/xhtml+xml", PAGE)),
        row("206 and a sign-in page", short(), not_media(), |_, _| {
            let label = format!("bytes 0-{}/{}", PAGE.len() - 1, PAGE.len());
            let page = Answer::new("206 Partial Content", PAGE).set("Content-Type", "text/html");
            page.set("Content-Range", label).script()
        }),
        row("200 and a page under the name of media", short(), not_media(), says("200 OK", "video/mp4", PAGE)),
        row("200 and a page under no name", short(), not_media(), |_, _| Answer::new("200 OK", PAGE).script()),
        row("a page in the middle", Film::long(), Expect::Recovers, meanwhile(says("200 OK", "text/html", PAGE))),
        row("JSON in the middle", Film::long(), Expect::Recovers, meanwhile(says("200 OK", "application/json", JSON))),
        row("a page under the name of media in the middle", Film::long(), Expect::Recovers, {
            meanwhile(says("200 OK", "video/mp4", PAGE))
        }),
        row("a page under the name of a part in the middle", Film::long(), Expect::Recovers, {
            meanwhile(|ask, film| {
                // Right in everything but its type.
                honest(ask, film).set("Content-Type", "text/html").script()
            })
        }),
    ]
}

fn refusals() -> Vec<Row> {
    let short = Film::short;
    let auth = || Expect::Fails(&["auth-required"]);
    let status = || Expect::Fails(&["upstream-status"]);
    vec![
        row("401 always", short(), auth(), |_, _| {
            Answer::new("401 Unauthorized", "no").set("WWW-Authenticate", "Basic realm=\"x\"").script()
        })
        .check(few),
        row("403 always", short(), auth(), only("403 Forbidden")).check(few),
        row("404 always", short(), Expect::Fails(&["not-found"]), only("404 Not Found")).check(few),
        row("404 and a page", short(), Expect::Fails(&["not-found"]), says("404 Not Found", "text/html", PAGE)),
        row("410 always", short(), Expect::Fails(&["gone"]), only("410 Gone")).check(few),
        row("500 always", short(), Expect::Fails(&["unavailable"]), only("500 Internal Server Error")).check(few),
        row("503 always", short(), Expect::Fails(&["unavailable"]), only("503 Service Unavailable")).check(few),
        row("402", short(), status(), only("402 Payment Required")).check(few),
        row("405", short(), status(), only("405 Method Not Allowed")).check(few),
        row("407", short(), status(), only("407 Proxy Authentication Required")).check(few),
        row("451", short(), status(), only("451 Unavailable For Legal Reasons")).check(few),
        row("501 always", short(), status(), only("501 Not Implemented")).check(few),
        row("505", short(), status(), only("505 HTTP Version Not Supported")).check(few),
        row("999", short(), Expect::Fails(&["upstream-status", "not-http"]), only("999 Request Denied")).check(few),
        row("a body that never ends with its 404", short(), Expect::Fails(&["not-found"]), |_, _| {
            let head = Answer::new("404 Not Found", "").without("content-length").head();
            Script::new().send(head).repeat(vec![b'x'; 1 << 16], Duration::from_millis(1))
        }),
    ]
}

/// Asking again gives the same, so it is not asked often.
fn few(seen: &[Seen]) -> Result<(), String> {
    // Two sessions, each with three forms of the first request, and a few attempts.
    if seen.len() <= 18 { Ok(()) } else { Err(format!("it was asked {} times", seen.len())) }
}

fn refusals_in_the_middle() -> Vec<Row> {
    let (long, recovers) = (Film::long, || Expect::Recovers);
    let meanwhile_only = |status| meanwhile(only(status));
    vec![
        row("401 in the middle", long(), recovers(), meanwhile_only("401 Unauthorized")),
        row("403 in the middle", long(), recovers(), meanwhile_only("403 Forbidden")),
        row("404 in the middle", long(), recovers(), meanwhile_only("404 Not Found")),
        row("410 in the middle", long(), recovers(), meanwhile_only("410 Gone")),
        row("400 in the middle", long(), recovers(), meanwhile_only("400 Bad Request")),
        row("500 in the middle", long(), recovers(), meanwhile_only("500 Internal Server Error")),
        row(
            "204 in the middle",
            long(),
            recovers(),
            meanwhile(|_, _| Answer::new("204 No Content", "").without("content-length").script()),
        ),
        row(
            "304 in the middle",
            long(),
            recovers(),
            meanwhile(|_, _| Answer::new("304 Not Modified", "").without("content-length").script()),
        ),
        row("nothing under 200 in the middle", long(), recovers(), meanwhile(says("200 OK", "video/x-test", ""))),
        row(
            "a loop of redirects in the middle",
            long(),
            recovers(),
            meanwhile(|ask, _| Answer::new("302 Found", "").set("Location", ask.target.clone()).script()),
        ),
    ]
}

fn patience() -> Vec<Row> {
    let (short, long, plays) = (Film::short, Film::long, || Expect::Plays);
    let busy = |after: &'static str| move || Answer::new("429 Too Many Requests", "").set("Retry-After", after);
    let one_second = busy("1");
    let (past, garbage, hours) = (busy("Mon, 01 Jan 2024 00:00:00 GMT"), busy("soon"), busy("36000"));
    vec![
        row("429 and a second of patience", short(), plays(), move |ask, film| match ask.number {
            1 => one_second().script(),
            _ => honest(ask, film).script(),
        })
        .most(1.2)
        .check(|seen| {
            let waited = seen[1].at - seen[0].at;
            if waited >= Duration::from_millis(990) { Ok(()) } else { Err(format!("it came back after {waited:?}")) }
        }),
        row("429 and a date that has passed", short(), plays(), move |ask, film| match ask.number {
            1 => past().set("Date", "Mon, 01 Jan 2024 00:00:01 GMT").script(),
            _ => honest(ask, film).script(),
        }),
        row("429 and garbage for patience", short(), plays(), move |ask, film| match ask.number {
            1 => garbage().script(),
            _ => honest(ask, film).script(),
        }),
        // Ten hours are not waited for. It is said at once, so that people know.
        row("429 and ten hours of patience", short(), Expect::Fails(&["throttled"]), move |_, _| hours().script()),
        row("429 in the middle", long(), plays(), move |ask, film| match ask.since {
            1 if ask.turn == 1 => Answer::new("429 Too Many Requests", "").set("Retry-After", "1").script(),
            _ => honest(ask, film).script(),
        }),
        row("503 twice", short(), plays(), |ask, film| match ask.number {
            1 | 2 => Answer::new("503 Service Unavailable", "").script(),
            _ => honest(ask, film).script(),
        })
        .most(1.2),
        row("503 twice in the middle", long(), plays(), |ask, film| match ask.since {
            1 | 2 if ask.turn == 1 => Answer::new("503 Service Unavailable", PAGE).script(),
            _ => honest(ask, film).script(),
        })
        .most(1.2),
        row("408, 425, 502 and 504 in the middle", long(), plays(), |ask, film| match (ask.turn, ask.since) {
            (1, 1) => Answer::new("408 Request Timeout", "").script().close(),
            (1, 2) => Answer::new("425 Too Early", "").script(),
            (1, 3) => Answer::new("502 Bad Gateway", PAGE).set("Content-Type", "text/html").script(),
            (1, 4) => Answer::new("504 Gateway Timeout", "").script(),
            _ => honest(ask, film).script(),
        }),
    ]
}

/// Answers that are none.
fn no_film() -> Vec<Row> {
    let (short, status) = (Film::short, || Expect::Fails(&["upstream-status"]));
    let bare =
        |status: &'static str| move |_: &Ask, _: &Film| Answer::new(status, "").without("content-length").script();
    vec![
        row("204", short(), status(), bare("204 No Content")),
        row("304 that nobody asked for", short(), status(), bare("304 Not Modified")),
        row("203, a copy", short(), Expect::PlaysOr(&["upstream-status"]), |_, film| {
            whole(film).status("203 Non-Authoritative Information").script()
        }),
        row("300 without a choice", short(), status(), only("300 Multiple Choices")),
        row("302 without a place", short(), status(), only("302 Found")),
        row("416 without a length", short(), Expect::Fails(&["upstream-wrong", "upstream-status"]), {
            only("416 Range Not Satisfiable")
        })
        .check(few),
    ]
}

fn moved(to: impl Into<String>) -> Script {
    Answer::new("302 Found", "elsewhere").set("Location", to).script()
}

/// Each visit gives a new target, which is good for two answers.
fn expiring(refusal: fn() -> Answer) -> impl FnMut(&Ask, &Film) -> Script {
    let mut used = Vec::new();
    move |ask, film| {
        let key: Option<usize> = ask.target.strip_prefix("/signed?key=").and_then(|key| key.parse().ok());
        let Some(key) = key else {
            used.push(0);
            return moved(format!("/signed?key={}", used.len() - 1));
        };
        used[key] += 1;
        if used[key] <= 2 { honest(ask, film).script() } else { refusal().script() }
    }
}

fn redirects() -> Vec<Row> {
    let (short, long, plays) = (Film::short, Film::long, || Expect::Plays);
    let bad = || Expect::Fails(&["bad-redirect"]);
    vec![
        row("one redirect after the other", short(), plays(), |ask, film| match ask.target.as_str() {
            "/film.bin" => moved("/a/b?c=d#e"),
            "/a/b?c=d" => moved("../f"),
            "/f" => Answer::new("301 Moved Permanently", "").set("Location", "./g").script(),
            "/g" => Answer::new("303 See Other", "").set("Location", "?h").script(),
            "/g?h" => Answer::new("307 Temporary Redirect", "").set("Location", "/i").script(),
            "/i" => Answer::new("308 Permanent Redirect", "").set("Location", "/j").script(),
            _ => honest(ask, film).script(),
        })
        .most(1.2),
        row("targets that expire", long(), plays(), {
            expiring(|| Answer::new("403 Forbidden", "this link has expired"))
        })
        .most(1.2),
        row("targets that expire into pages", long(), plays(), {
            expiring(|| Answer::new("200 OK", PAGE).set("Content-Type", "text/html"))
        })
        .most(1.2),
        row("a new target every time", long(), plays(), |ask, film| match ask.target.as_str() {
            "/film.bin" => moved(format!("/{}", ask.number)),
            _ => honest(ask, film).script(),
        })
        .most(1.2),
        row("to itself", short(), Expect::Fails(&["redirect-loop"]), |ask, _| moved(ask.target.clone())).check(few),
        row("in a circle", short(), Expect::Fails(&["redirect-loop"]), |ask, _| match ask.target.as_str() {
            "/film.bin" => moved("/a"),
            "/a" => moved("/b"),
            _ => moved("/film.bin"),
        }),
        row("ever further", short(), Expect::Fails(&["too-many-redirects"]), |ask, _| {
            moved(format!("/{}", ask.number))
        }),
        row("to a file", short(), bad(), |_, _| moved("file:///etc/passwd")).check(few),
        row("to another protocol", short(), bad(), |_, _| moved("ftp://example.org/film.bin")).check(few),
        row("to nowhere", short(), bad(), |_, _| moved("http://")).check(few),
        row("to a private address", short(), Expect::Fails(&["private-address"]), {
            |_, _| moved("http://169.254.169.254/latest/meta-data/")
        })
        .check(few),
        row("to a private address in other words", short(), Expect::Fails(&["private-address"]), {
            |_, _| moved("http://0x7f.1/film.bin")
        })
        .check(few),
        row("to a place that is gone", short(), Expect::Fails(&["not-found"]), |ask, _| match ask.target.as_str() {
            "/film.bin" => moved("/gone"),
            _ => Answer::new("404 Not Found", "").script(),
        }),
        row("redirects with a film for a body", short(), plays(), |ask, film| match ask.target.as_str() {
            "/film.bin" => whole(&film.other()).status("302 Found").set("Location", "/there").script(),
            _ => part(film, ask.range().unwrap_or(0..u64::MAX)).script(),
        }),
    ]
}
