//! Origins that break off, stall, and do not keep to the framing of messages (RFC 9112).

use std::time::Duration;

use super::film::{Answer, Film, honest, meanwhile, part, parts, whole};
use super::{Expect, Row, row};
use crate::raw::{Ask, Script};

const GARBAGE: &[&str] = &["not-http"];
/// What comes of an end that is not one: which of them depends on who notices first.
const BROKEN: &[&str] = &["not-http", "ended-early", "connection-reset", "upstream-wrong"];

pub fn rows() -> Vec<Row> {
    let mut rows = broken_off();
    rows.extend(kept_open());
    rows.extend(slow());
    rows.extend(before_the_answer());
    rows.extend(heads());
    rows.extend(no_heads());
    rows.extend(bodies());
    rows.extend(encodings());
    rows
}

/// Every answer is broken after so many bytes of its body.
fn reset_at(at: usize) -> impl FnMut(&Ask, &Film) -> Script {
    move |ask, film| match honest(ask, film) {
        answer if answer.body.len() > at => answer.cut(at).reset(),
        answer => answer.script(),
    }
}

fn broken_off() -> Vec<Row> {
    let short = Film::short;
    vec![
        row("resets at byte 3", Film::of(24), Expect::Plays, reset_at(3)),
        row("resets at byte 50 000", Film::of(400_000), Expect::Plays, reset_at(50_000)).most(1.2),
        row("resets at byte 65 536", short(), Expect::Plays, reset_at(65_536)).most(1.2),
        row("resets at byte 131 071", short(), Expect::Plays, reset_at(131_071)).most(1.2),
        row("resets at byte 262 143", Film::long(), Expect::Plays, reset_at(262_143)).most(1.2),
        row("resets at byte 1 of the first answers", short(), Expect::Plays, |ask, film| match ask.number {
            1..=3 => honest(ask, film).cut(1).reset(),
            _ => honest(ask, film).script(),
        })
        .most(1.2),
        row("half of every body, then the end", short(), Expect::Plays, |ask, film| {
            let answer = honest(ask, film);
            match answer.body.len() {
                0..=20_000 => answer.script(),
                length => answer.cut(length / 2).close(),
            }
        })
        .most(1.2),
        row("half of the whole twice, and no ranges", short(), Expect::Plays, |ask, film| match ask.number {
            1 | 2 => whole(film).cut(film.bytes.len() / 2).close(),
            _ => whole(film).script(),
        }),
        row("half of the whole always, and no ranges", short(), Expect::Breaks(&["ended-early"]), |_, film| {
            whole(film).cut(film.bytes.len() / 2).close()
        }),
        row("resets before the head, twice", short(), Expect::Plays, |ask, film| match ask.number {
            1 | 2 => Script::new().reset(),
            _ => honest(ask, film).script(),
        }),
        row("resets before the head, twice in the middle", Film::long(), Expect::Plays, |ask, film| match ask.since {
            1 | 2 if ask.turn == 1 => Script::new().reset(),
            _ => honest(ask, film).script(),
        })
        .most(1.2),
        row("resets before the head, always", short(), Expect::Fails(&["connection-reset"]), |_, _| {
            Script::new().reset()
        }),
        row("resets before the head for a while", Film::long(), Expect::Recovers, {
            meanwhile(|_, _| Script::new().reset())
        }),
        row("resets within the head", short(), Expect::Fails(&["connection-reset", "ended-early"]), |ask, film| {
            let head = honest(ask, film).head();
            Script::new().send(head[..head.len() / 2].to_vec()).reset()
        }),
        row("ends within the head, in the middle", Film::long(), Expect::Recovers, {
            meanwhile(|ask, film| {
                let head = honest(ask, film).head();
                Script::new().send(head[..head.len() / 2].to_vec()).close()
            })
        }),
        row("closes without a word", short(), Expect::Fails(&["connection-reset", "ended-early"]), |_, _| {
            Script::new().close()
        }),
    ]
}

fn surprise() -> Answer {
    Answer::new("200 OK", "<html>surprise</html>").set("Content-Type", "text/html")
}

fn kept_open() -> Vec<Row> {
    let short = Film::short;
    vec![
        row("closes after each answer without saying so", short(), Expect::Plays, |ask, film| {
            honest(ask, film).script().close()
        })
        .most(1.2),
        row("closes after each answer and says so", short(), Expect::Plays, |ask, film| {
            honest(ask, film).set("Connection", "close").script().close()
        })
        .most(1.2),
        row("resets after each answer", short(), Expect::Plays, |ask, film| honest(ask, film).script().reset())
            .most(1.2),
        row("HTTP/1.0", short(), Expect::Plays, |ask, film| {
            let answer = honest(ask, film);
            let head = String::from_utf8(answer.head()).unwrap().replacen("HTTP/1.1", "HTTP/1.0", 1);
            Script::new().send(head).send(answer.body).close()
        })
        .most(1.2),
        row("one answer at a time, 429 to the second", Film::long(), Expect::Plays, |ask, film| match ask.busy {
            1 => honest(ask, film).paced(65_536, Duration::from_millis(2)),
            _ => Answer::new("429 Too Many Requests", "").script(),
        }),
        row("one connection at a time, 429 to the second", Film::long(), Expect::Plays, |ask, film| match ask.open {
            1 => honest(ask, film).paced(65_536, Duration::from_millis(2)),
            _ => Answer::new("429 Too Many Requests", "").script().close(),
        }),
        row("one connection at a time, resets the second", Film::long(), Expect::Plays, |ask, film| match ask.open {
            1 => honest(ask, film).paced(65_536, Duration::from_millis(2)),
            _ => Script::new().reset(),
        }),
        // What is left over may be there just when the connection is used again, and is then taken for the answer.
        row("more bytes than it said", Film::long(), Expect::Recovers, {
            meanwhile(|ask, film| honest(ask, film).script().send("and this is more than was announced"))
        }),
        row("a second answer behind each", Film::long(), Expect::Recovers, {
            meanwhile(|ask, film| honest(ask, film).script().then(surprise().script()))
        }),
        row("a second answer behind each, a little later", Film::long(), Expect::Recovers, {
            meanwhile(|ask, film| honest(ask, film).script().pause(Duration::from_millis(20)).then(surprise().script()))
        }),
        row("another part behind each, a little later", Film::long(), Expect::Recovers, {
            meanwhile(|ask, film| {
                let other = part(&film.other(), 7..1000);
                honest(ask, film).script().pause(Duration::from_millis(20)).then(other.script())
            })
        }),
    ]
}

fn slow() -> Vec<Row> {
    let (short, every) = (Film::short, Duration::from_millis);
    vec![
        row("drips the first 100 bytes", short(), Expect::Plays, move |ask, film| {
            let answer = honest(ask, film);
            let first = answer.body.len().min(100);
            let (slow, fast) = (answer.body.slice(..first), answer.body.slice(first..));
            Script::new().send(answer.head()).drip(slow, 1, every(5)).send(fast)
        })
        .most(1.2),
        row("drips its heads", Film::of(200_000), Expect::Plays, move |ask, film| {
            let answer = honest(ask, film);
            Script::new().drip(answer.head(), 1, every(10)).send(answer.body)
        }),
        row("drips a head that never ends", short(), Expect::Fails(&["idle-timeout"]), move |ask, film| {
            let head = honest(ask, film).head();
            Script::new().send(head[..head.len() - 2].to_vec()).send("X: ").repeat("x", every(10))
        })
        .silence_ms(500),
        row("never answers", short(), Expect::Fails(&["idle-timeout"]), |_, _| Script::new().hang()).silence_ms(500),
        row("falls silent in the middle of a head", short(), Expect::Fails(&["idle-timeout"]), |ask, film| {
            let head = honest(ask, film).head();
            Script::new().send(head[..head.len() / 2].to_vec()).hang()
        })
        .silence_ms(500),
        row("falls silent in the middle of every body", Film::of(300_000), Expect::Plays, |ask, film| {
            match honest(ask, film) {
                answer if answer.body.len() > 100_000 => answer.cut(100_000).hang(),
                answer => answer.script(),
            }
        })
        .silence_ms(1500)
        .most(1.2),
        row("falls silent twice in the middle", Film::long(), Expect::Plays, |ask, film| match ask.since {
            1 | 2 if ask.turn == 1 => Script::new().hang(),
            _ => honest(ask, film).script(),
        })
        .silence_ms(1500),
    ]
}

/// Interim answers (RFC 9110 §15.2).
fn before_the_answer() -> Vec<Row> {
    let short = Film::short;
    vec![
        row("100 first", short(), Expect::Plays, |ask, film| {
            Script::new().send("HTTP/1.1 100 Continue\r\n\r\n").then(honest(ask, film).script())
        })
        .most(1.2),
        row("103 first", short(), Expect::Plays, |ask, film| {
            let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nContent-Range: bytes 7-8/9\r\n\r\n";
            Script::new().send(hints).pause(Duration::from_millis(5)).then(honest(ask, film).script())
        })
        .most(1.2),
        row("102 five hundred times first", short(), Expect::PlaysOr(GARBAGE), |ask, film| {
            Script::new().send("HTTP/1.1 102 Processing\r\n\r\n".repeat(500)).then(honest(ask, film).script())
        }),
        row("103 for ever", short(), Expect::Fails(&["idle-timeout", "not-http"]), |_, _| {
            Script::new().repeat("HTTP/1.1 103 Early Hints\r\n\r\n", Duration::from_millis(10))
        })
        .silence_ms(500),
        row("101 that nobody asked for", short(), Expect::Fails(&["not-http", "upstream-status"]), |_, _| {
            Script::new().send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nbytes")
        }),
    ]
}

/// An honest answer whose head is spelt in another way.
fn spelt(spell: impl Fn(String) -> Vec<u8>) -> impl FnMut(&Ask, &Film) -> Script {
    move |ask, film| {
        let answer = honest(ask, film);
        let head = String::from_utf8(answer.head()).unwrap();
        Script::new().send(spell(head)).send(answer.body)
    }
}

/// An honest answer with another line in its head.
fn with_line(line: impl Into<Vec<u8>>) -> impl FnMut(&Ask, &Film) -> Script {
    let line = line.into();
    spelt(move |head| [&head.as_bytes()[..head.len() - 2], &line[..], b"\r\n\r\n"].concat())
}

fn heads() -> Vec<Row> {
    let (short, either) = (Film::short, || Expect::PlaysOr(GARBAGE));
    let lines = |count: usize| {
        let lines: Vec<String> = (0..count).map(|i| format!("X-{i}: {i}")).collect();
        lines.join("\r\n")
    };
    vec![
        row("a line of 64 KiB", short(), Expect::Plays, with_line(format!("X-Long: {}", "x".repeat(64 << 10)))),
        row("ninety fields", short(), Expect::Plays, with_line(lines(90))),
        row("three thousand fields", short(), either(), with_line(lines(3000))),
        row("fields without end", short(), Expect::Fails(&["not-http"]), |_, _| {
            let line = format!("X-Long: {}\r\n", "x".repeat(16 << 10));
            Script::new().send("HTTP/1.1 200 OK\r\n").repeat(line, Duration::from_millis(1))
        }),
        // RFC 9110 §5.5: obs-text is opaque data.
        row("a value that is not ASCII", short(), Expect::Plays, with_line(b"X-Name: f\xFClm \xFF\x80".to_vec())),
        row(
            "an entity tag that is not ASCII",
            short().etag(None),
            Expect::Plays,
            with_line(b"ETag: \"\xFC\"".to_vec()),
        ),
        row("a name that is not text", short(), Expect::Plays, {
            with_line(b"Content-Disposition: attachment; filename=\"\xFF\xFE../../etc/passwd\"".to_vec())
        }),
        row("NUL in a value", short(), either(), with_line(b"X-Nul: a\0b".to_vec())),
        row("a bare CR in a value", short(), either(), with_line(b"X-Cr: a\rb".to_vec())),
        row("a space in a field name", short(), either(), with_line("Bad Name: x")),
        row("a space before the colon", short(), either(), with_line("X-Space : x")),
        row("a line without a colon", short(), either(), with_line("nonsense")),
        row("a field without a name", short(), either(), with_line(": x")),
        row("a folded line", short(), either(), with_line("X-Folded: a\r\n b")),
        row("bare LF", short(), either(), spelt(|head| head.replace("\r\n", "\n").into_bytes())),
        row("an empty line first", short(), either(), spelt(|head| format!("\r\n{head}").into_bytes())),
        row("no reason phrase", short(), Expect::Plays, spelt(|head| head.replacen(" Partial Content", "", 1).into())),
        row(
            "another version of HTTP",
            short(),
            either(),
            spelt(|head| head.replacen("HTTP/1.1", "HTTP/7.3", 1).into()),
        ),
        row(
            "two lengths that agree",
            short(),
            either(),
            parts(|answer, _| {
                let length = answer.body.len().to_string();
                answer.add("Content-Length", length)
            }),
        ),
        row("two lengths that do not agree", short(), either(), parts(|answer, _| answer.add("Content-Length", "5"))),
        row(
            "a length with a sign",
            short(),
            either(),
            parts(|answer, _| {
                let length = format!("+{}", answer.body.len());
                answer.set("Content-Length", length)
            }),
        ),
        row("a length below nothing", short(), either(), parts(|answer, _| answer.set("Content-Length", "-5"))),
        row("a length beyond all bounds", short(), Expect::PlaysOr(&["not-http", "upstream-wrong"]), {
            parts(|answer, _| answer.set("Content-Length", "99999999999999999999999"))
        }),
        row("the largest length", short(), Expect::Fails(&["too-large", "not-http"]), |_, film| {
            whole(film).set("Content-Length", (u64::MAX - 2).to_string()).script().hang()
        }),
    ]
}

fn no_heads() -> Vec<Row> {
    let (short, fails) = (Film::short, || Expect::Fails(GARBAGE));
    let says = |what: &'static [u8]| move |_: &Ask, _: &Film| Script::new().send(what).close();
    vec![
        row("HTTP/0.9", short(), fails(), |_, film| Script::new().send(film.bytes.clone()).close()),
        row("an SSH server", short(), fails(), says(b"SSH-2.0-OpenSSH_9.6\r\n")),
        row("a TLS server", short(), fails(), says(b"\x15\x03\x01\x00\x02\x02\x46")),
        row("a status that is no number", short(), fails(), says(b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n")),
        row("a status of four digits", short(), fails(), says(b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n")),
        row("garbage in the middle", Film::long(), Expect::Recovers, meanwhile(says(b"\x00\x01\x02 garbage\r\n\r\n"))),
    ]
}

/// A part in chunks, spelt by hand.
fn in_chunks(spell: impl Fn(&[u8]) -> Vec<u8>) -> impl FnMut(&Ask, &Film) -> Script {
    move |ask, film| {
        let answer = honest(ask, film);
        if answer.part.is_none() {
            return answer.script();
        }
        let head = answer.clone().without("content-length").set("Transfer-Encoding", "chunked").head();
        Script::new().send(head).send(spell(&answer.body))
    }
}

fn chunk(body: &[u8], extension: &str) -> Vec<u8> {
    [format!("{:X}{extension}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat()
}

fn bodies() -> Vec<Row> {
    let short = Film::short;
    vec![
        row(
            "parts in chunks",
            short(),
            Expect::Plays,
            in_chunks(|body| [&chunk(body, ""), &b"0\r\n\r\n"[..]].concat()),
        ),
        row("chunks with extensions and trailers", short(), Expect::Plays, {
            in_chunks(|body| {
                [&chunk(body, ";a=b;c=\"d\""), &b"0;e\r\nX-Sum: 1\r\nContent-Range: x\r\n\r\n"[..]].concat()
            })
        }),
        row("chunks of one byte", Film::of(5000), Expect::Plays, {
            in_chunks(|body| {
                let chunks: Vec<u8> = body.chunks(1).flat_map(|byte| chunk(byte, "")).collect();
                [&chunks[..], b"0\r\n\r\n"].concat()
            })
        }),
        row("data behind the last chunk", short(), Expect::PlaysOr(GARBAGE), {
            in_chunks(|body| [&chunk(body, ""), &b"0\r\n\r\nand more"[..]].concat())
        }),
        row("a chunk of a size that is no number", short(), Expect::PlaysOr(BROKEN), {
            in_chunks(|body| [b"zz\r\n", body, b"\r\n0\r\n\r\n"].concat())
        }),
        row("a chunk of a size beyond all bounds", short(), Expect::PlaysOr(BROKEN), {
            in_chunks(|body| [b"FFFFFFFFFFFFFFFFFF\r\n", body, b"\r\n0\r\n\r\n"].concat())
        }),
        row("a chunk of a negative size", short(), Expect::PlaysOr(BROKEN), {
            in_chunks(|body| [b"-5\r\n", body, b"\r\n0\r\n\r\n"].concat())
        }),
        row("a chunk longer than its size", short(), Expect::PlaysOr(BROKEN), {
            in_chunks(|body| [b"10\r\n", body, b"\r\n0\r\n\r\n"].concat())
        }),
        row("chunks that end without the last", short(), Expect::Plays, |ask, film| {
            let answer = honest(ask, film);
            match answer.part {
                Some(_) => answer.chunked("").close(),
                None => answer.script(),
            }
        }),
        // Without a length and a range nobody but the last chunk says that this is the end.
        row("the whole in chunks that end without the last", short(), Expect::Breaks(BROKEN), |_, film| {
            let most = film.bytes.slice(..film.bytes.len() / 2);
            whole(film).body(most).chunked("").close()
        }),
        row("a length and chunks", short(), Expect::PlaysOr(&["not-http", "upstream-wrong"]), |ask, film| {
            let answer = honest(ask, film);
            match answer.part {
                Some(_) => {
                    let head = answer.clone().set("Transfer-Encoding", "chunked").head();
                    Script::new().send(head).send(chunk(&answer.body, "")).send("0\r\n\r\n")
                }
                None => answer.script(),
            }
        }),
        row("206 and the connection as the end", short(), Expect::Plays, |ask, film| {
            honest(ask, film).without("content-length").set("Connection", "close").script().close()
        })
        .most(1.2),
    ]
}

/// Bytes in another form than was asked for; the form is a mask, which shows wherever it is not taken off.
fn masked(answer: Answer) -> Answer {
    let body: Vec<u8> = answer.body.iter().map(|byte| byte ^ 0x55).collect();
    answer.body(body)
}

fn zipped() -> bytes::Bytes {
    [b"\x1F\x8B\x08", &Film::short().bytes[3..]].concat().into()
}

fn encodings() -> Vec<Row> {
    let (short, wrong) = (Film::short, || Expect::Fails(&["upstream-wrong"]));
    let coded = |coding: &'static str| {
        move |ask: &Ask, film: &Film| masked(honest(ask, film)).add("Content-Encoding", coding).script()
    };
    vec![
        row("gzip, and says so", short(), wrong(), coded("gzip")),
        row("br, in capitals", short(), wrong(), coded("BR")),
        row("two codings in one field", short(), wrong(), coded("identity, gzip")),
        row("two codings in two fields", short(), wrong(), |ask, film| {
            masked(honest(ask, film)).add("Content-Encoding", "identity").add("Content-Encoding", "gzip").script()
        }),
        row("gzip in the middle", Film::long(), Expect::Recovers, {
            meanwhile(|ask, film| masked(honest(ask, film)).add("Content-Encoding", "gzip").script())
        }),
        row("identity, and says so", short(), Expect::Plays, |ask, film| {
            honest(ask, film).add("Content-Encoding", "identity").script()
        }),
        row("a coding without a name", short(), Expect::Plays, |ask, film| {
            honest(ask, film).add("Content-Encoding", "").script()
        }),
        // A file that is stored compressed and served as it is: these are its bytes, and nobody can tell.
        row("gzip, and does not say so", Film { bytes: zipped(), ..short() }, Expect::Plays, |ask, film| {
            honest(ask, film).script()
        }),
        row("a transfer coding that nobody asked for", short(), Expect::Fails(&["upstream-wrong", "not-http"]), {
            |ask, film| {
                let answer = masked(honest(ask, film)).without("content-length");
                let answer = answer.set("Transfer-Encoding", "gzip, chunked");
                Script::new().send(answer.head()).send(chunk(&answer.body, "")).send("0\r\n\r\n")
            }
        }),
        row(
            "a transfer coding up to the end of the connection",
            short(),
            Expect::Fails(&["upstream-wrong", "not-http"]),
            |ask, film| {
                masked(honest(ask, film)).without("content-length").set("Transfer-Encoding", "gzip").script().close()
            },
        ),
        // It is refused: nobody wants an error page kept as a film, and who has a film can say so.
        row("media under the name of a page", short(), Expect::Fails(&["not-media"]), |ask, film| {
            honest(ask, film).set("Content-Type", "text/html; charset=utf-8").script()
        }),
        row("media under the name of text", short(), Expect::Plays, |ask, film| {
            honest(ask, film).set("Content-Type", "text/plain").script()
        }),
        row("media under no name", short(), Expect::Plays, |ask, film| {
            honest(ask, film).without("content-type").script()
        }),
        row("media under a name that is none", short(), Expect::Plays, |ask, film| {
            honest(ask, film).set("Content-Type", ";;=/\"").script()
        }),
    ]
}
