//! The client against scripted servers on loopback.

mod plugin;
mod server;

use std::time::Duration;

use ::plugin::Header;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use url::Url;

use crate::{Client, Config, Error, Get, Origin, Range, Response};
use server::{Answer, Server, certificate, go, ok};

/// Patience of a client in tests of impatience.
const SHORT: Duration = Duration::from_millis(300);

fn client(change: impl FnOnce(&mut Config)) -> Client {
    let mut config = Config::default();
    change(&mut config);
    Client::new(config).unwrap()
}

/// May reach loopback addresses.
fn local() -> Client {
    client(allow_local)
}

fn allow_local(config: &mut Config) {
    config.allow_private = vec!["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()];
}

fn header(name: &str, value: &str) -> Header {
    Header { name: name.into(), value: value.into() }
}

fn named(url: Url) -> Get {
    Get { named: Origin::of(&url), ..Get::new(url) }
}

async fn text(response: Result<Response, Error>) -> Result<String, Error> {
    let mut response = response?;
    let mut all = Vec::new();
    while let Some(bytes) = response.chunk().await? {
        all.extend_from_slice(&bytes);
    }
    Ok(String::from_utf8(all).unwrap())
}

fn code(result: Result<String, Error>) -> String {
    match result {
        Ok(body) => format!("ok {body}"),
        Err(error) => error.code().to_owned(),
    }
}

#[tokio::test]
async fn sends_what_was_asked_and_nothing_of_its_own_twice() {
    let server = Server::start(|_| ok("body")).await;
    let get = Get {
        headers: vec![
            header("X-Mine", "1"),
            header("User-Agent", "player"),
            header("Host", "elsewhere"),
            header("range", "bytes=7-"),
            header("Accept-Encoding", "gzip"),
            header("Connection", "close"),
            header("Content-Length", "5"),
        ],
        range: Some(Range::Bounded(10..20)),
        if_range: Some("\"tag\"".into()),
        ..named(server.url("/f?q=1"))
    };
    assert_eq!(text(local().get(get).await).await.unwrap(), "body");
    let mut lines: Vec<String> = server.request("/f?q=1").lines().skip(1).map(str::to_owned).collect();
    lines.retain(|line| !line.is_empty());
    lines.sort();
    let host = format!("host: {}", server.address);
    let expected = [
        "accept-encoding: identity",
        "accept: */*",
        &host,
        "if-range: \"tag\"",
        "range: bytes=10-19",
        "user-agent: player",
        "x-mine: 1",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn asks_for_ranges_and_on_conditions() {
    let server = Server::start(|_| ok("")).await;
    let check = async |path: &str, change: fn(&mut Get), line: &str, present: bool| {
        let mut get = named(server.url(path));
        change(&mut get);
        local().get(get).await.unwrap();
        let request = server.request(path);
        assert_eq!(request.contains(line), present, "{line:?} in {request}");
    };
    check("/1", |get| get.range = Some(Range::From(5)), "range: bytes=5-\r\n", true).await;
    check("/2", |get| get.range = Some(Range::Bounded(0..1)), "range: bytes=0-0\r\n", true).await;
    check("/3", |get| get.if_range = Some("\"a\"".into()), "if-range", false).await;
    check("/4", |get| get.if_none_match = Some("\"a\"".into()), "if-none-match: \"a\"", true).await;
    check("/5", |get| get.if_modified_since = Some("x".into()), "if-modified-since: x", true).await;
    check("/6", |_| {}, "mediahost/", true).await;
    let empty = Get { range: Some(Range::Bounded(5..5)), ..named(server.url("/7")) };
    assert_eq!(local().get(empty).await.unwrap_err(), Error::EmptyRange);
    let bad = Get { headers: vec![header("a b", "c")], ..named(server.url("/7")) };
    assert_eq!(local().get(bad).await.unwrap_err().code(), "bad-header");
}

#[tokio::test]
async fn error_statuses_are_answers() {
    let server = Server::start(|path| {
        Answer::Close(format!("HTTP/1.1 {} X\r\nContent-Length: 0\r\nETag: \"e\"\r\n\r\n", &path[1..]))
    })
    .await;
    for status in [204, 300, 304, 404, 416, 503] {
        let answer = local().get(named(server.url(&format!("/{status}")))).await.unwrap();
        assert_eq!((answer.status, answer.header("etag")), (status, Some("\"e\"")));
    }
    // A redirect to nowhere is an answer too.
    assert_eq!(local().get(named(server.url("/302"))).await.unwrap().status, 302);
}

#[tokio::test]
async fn credentials_stay_with_their_origin() {
    let other = Server::start(|_| ok("there")).await;
    let target = other.url("/there").to_string();
    let server = Server::start(move |path| match path {
        "/first" => go(302, "/second"),
        _ => go(307, &target),
    })
    .await;
    let headers =
        vec![header("Authorization", "a"), header("Cookie", "b"), header("X-Plex-Token", "c"), header("X", "d")];
    let get = Get { headers, range: Some(Range::From(3)), ..named(server.url("/first")) };
    let answer = local().get(get).await.unwrap();
    assert_eq!((answer.status, answer.redirected, &answer.url), (200, true, &other.url("/there")));
    let same = server.request("/second");
    assert!(same.contains("authorization: a") && same.contains("cookie: b") && same.contains("token: c"), "{same}");
    let far = other.request("/there");
    assert!(!far.contains("authorization") && !far.contains("cookie") && !far.contains("token"), "{far}");
    assert!(far.contains("\r\nx: d") && far.contains("range: bytes=3-"), "{far}");
}

#[tokio::test]
async fn redirects_end() {
    let server = Server::start(|path| match path {
        "/circle" => go(302, "/circle2"),
        "/circle2" => go(302, "/circle"),
        "/file" => go(302, "file:///etc/passwd"),
        path => go(302, &format!("{path}x")),
    })
    .await;
    let check = async |path: &str, expected: &str| {
        assert_eq!(code(text(local().get(named(server.url(path))).await).await), expected, "{path}");
    };
    check("/circle", "redirect-loop").await;
    check("/long", "too-many-redirects").await;
    check("/file", "bad-redirect").await;
    assert_eq!(server.requests.lock().unwrap().iter().filter(|request| request.contains("/longx")).count(), 10);
}

#[tokio::test]
async fn private_addresses_are_for_who_named_them() {
    let inner = Server::start(|_| ok("secret")).await;
    let target = inner.url("/").to_string();
    let by_name = format!("http://localhost:{}/", inner.address.port());
    let (literal, name) = (target.clone(), by_name.clone());
    let server = Server::start(move |path| match path {
        "/literal" => go(302, &literal),
        "/name" => go(302, &name),
        _ => ok("mine"),
    })
    .await;
    let strict = client(|_| {});
    let check = async |client: &Client, get: Get, expected: &str| {
        let shown = get.url.to_string();
        assert_eq!(code(text(client.get(get).await).await), expected, "{shown}");
    };
    check(&strict, named(server.url("/")), "ok mine").await;
    check(&strict, Get::new(server.url("/")), "private-address").await;
    check(&strict, named(server.url("/literal")), "private-address").await;
    check(&strict, named(server.url("/name")), "private-address").await;
    check(&local(), named(server.url("/literal")), "ok secret").await;
    check(&local(), named(server.url("/name")), "ok secret").await;
    // A connection that is idle for the one who named it is not there for others.
    let keeps = Server::start(|_| Answer::Keep("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".into())).await;
    let url: Url = format!("http://localhost:{}/", keeps.address.port()).parse().unwrap();
    check(&strict, named(url.clone()), "ok hi").await;
    check(&strict, Get::new(url), "private-address").await;
    for literal in ["http://0x7f.1/", "http://2130706433/", "http://[::1]/", "http://[::ffff:10.0.0.1]/", "http://0/"] {
        check(&strict, Get::new(literal.parse().unwrap()), "private-address").await;
    }
    let other = Get { named: Origin::of(&server.url("/")), ..Get::new(inner.url("/")) };
    check(&strict, other, "private-address").await;
    assert_eq!(inner.requests.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn silence_ends() {
    let server = Server::start(|path| match path {
        "/head" => Answer::Hold(String::new()),
        _ => Answer::Hold("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".into()),
    })
    .await;
    let impatient = client(|config| {
        config.connect_timeout = SHORT;
        config.read_timeout = SHORT;
    });
    let host = server.address.to_string();
    let idle = Error::IdleTimeout { host, after: SHORT };
    assert_eq!(impatient.get(named(server.url("/head"))).await.unwrap_err(), idle);
    let mut answer = impatient.get(named(server.url("/body"))).await.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "abc");
    assert_eq!(answer.chunk().await.unwrap_err(), idle);
    assert!(idle.retryable());
}

#[tokio::test]
async fn broken_answers_are_told_apart() {
    let many = (0..90).map(|i| format!("X-{i}: {}\r\n", "v".repeat(1000))).collect::<String>();
    let server = Server::start(move |path| {
        Answer::Close(match path {
            "/nothing" => String::new(),
            "/short" => "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".into(),
            "/chunk" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc".into(),
            "/chunks" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".into(),
            "/close" => "HTTP/1.1 200 OK\r\n\r\nabc".into(),
            "/big" => format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 3\r\n\r\nabc"),
            "/ssh" => "SSH-2.0-OpenSSH_9.6\r\n\r\n".into(),
            _ => "HTTP/1.1 200 OK\r\nContent-Length: what\r\n\r\n".into(),
        })
    })
    .await;
    let check = async |path: &str, expected: &str| {
        assert_eq!(code(text(local().get(named(server.url(path))).await).await), expected, "{path}");
    };
    check("/nothing", "connection-reset").await;
    check("/short", "ended-early").await;
    check("/chunk", "ended-early").await;
    check("/chunks", "ok abc").await;
    check("/close", "ok abc").await;
    check("/big", "ok abc").await;
    check("/ssh", "not-http").await;
    check("/length", "not-http").await;
}

#[tokio::test]
async fn what_cannot_be_reached_says_why() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    // No label of a name is longer than 63 bytes, so this one fails without asking anybody.
    let no_name = format!("http://{}.invalid/", "x".repeat(64));
    let check = async |url: &str, expected: &str| {
        assert_eq!(code(text(local().get(Get::new(url.parse().unwrap())).await).await), expected, "{url}");
    };
    check(&format!("http://{address}/?key=secret"), "connection-refused").await;
    check(&no_name, "dns-failed").await;
    check("ftp://example.org/", "bad-address").await;
    check(&format!("http://{address}/{}", "x".repeat(20_000)), "bad-address").await;
    let error = local().get(Get::new(format!("http://{address}/?key=secret").parse().unwrap())).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{address} refused the connection; nothing is listening there"));
}

#[tokio::test]
async fn speaks_tls_with_whom_it_trusts() {
    let (pem, acceptor) = certificate(&["localhost"]);
    let plain = Server::start(|_| ok("plain")).await;
    let down = plain.url("/").to_string();
    let server = Server::start_with(Some(acceptor), move |path| match path {
        "/down" => go(302, &down),
        _ => ok("safe"),
    })
    .await;
    let trusting = client(|config| {
        allow_local(config);
        config.extra_roots = vec![pem];
    });
    let port = server.address.port();
    let check = async |client: &Client, url: String, expected: &str| {
        assert_eq!(code(text(client.get(Get::new(url.parse().unwrap())).await).await), expected, "{url}");
    };
    check(&trusting, format!("https://localhost:{port}/"), "ok safe").await;
    check(&trusting, format!("https://localhost:{port}/down"), "bad-redirect").await;
    // The certificate is for the name, not for the address.
    check(&trusting, format!("https://127.0.0.1:{port}/"), "tls-failed").await;
    check(&local(), format!("https://localhost:{port}/"), "tls-failed").await;
    let greeter = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port_of_greeter = greeter.local_addr().unwrap().port();
    let greeting = tokio::spawn(async move {
        let (mut stream, _) = greeter.accept().await.unwrap();
        stream.write_all(b"220 mail.example ready\r\n").await.unwrap();
        stream
    });
    check(&trusting, format!("https://127.0.0.1:{port_of_greeter}/"), "tls-failed").await;
    greeting.await.unwrap();
    let error = local().get(Get::new(format!("https://localhost:{port}/").parse().unwrap())).await.unwrap_err();
    assert!(error.to_string().contains("whom this machine trusts") && !error.retryable(), "{error}");
}

#[test]
fn roots_that_are_none_are_refused() {
    for pem in [&b""[..], b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let config = Config { extra_roots: vec![pem.to_vec()], ..Config::default() };
        assert_eq!(Client::new(config).err().map(|error| error.code()), Some("fetch-setup"));
    }
}
