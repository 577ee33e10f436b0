//! The fetcher of plugins: grants, limits, redirects.

use ::plugin::grant::FetchRules;
use ::plugin::host::{Fetcher, Request, Response};

use super::server::{Answer, Server, go, ok};
use super::{client, header};
use crate::PluginFetcher;

fn request(method: &str, url: impl ToString) -> Request {
    Request {
        method: method.into(),
        url: url.to_string(),
        headers: vec![],
        body: None,
        max_bytes: 1000,
        timeout_ms: 10_000,
        max_redirects: 5,
    }
}

fn rules(hosts: &[&str], methods: &[&str], private: bool) -> FetchRules {
    let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    FetchRules { hosts: own(hosts), methods: own(methods), private }
}

async fn send(request: Request, rules: FetchRules) -> Result<Response, ::plugin::Error> {
    PluginFetcher::new(client(|_| {})).send(request, rules).await
}

fn shown(answer: Result<Response, ::plugin::Error>) -> String {
    match answer {
        Ok(answer) => format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)),
        Err(error) => error.code,
    }
}

#[tokio::test]
async fn keeps_to_the_grant_at_each_hop() {
    let server = Server::start(|path| match path {
        "/name" => go(302, "http://localhost:1/"),
        "/inner" => go(302, "/"),
        _ => ok("page"),
    })
    .await;
    let check = async |method: &str, path: &str, rules: FetchRules, expected: &str| {
        assert_eq!(shown(send(request(method, server.url(path)), rules).await), expected, "{method} {path}");
    };
    check("GET", "/", rules(&["127.0.0.1"], &[], true), "200 page").await;
    check("GET", "/", rules(&["*"], &[], true), "200 page").await;
    check("GET", "/", rules(&["example.org"], &[], true), "refused").await;
    check("GET", "/", rules(&[], &[], true), "refused").await;
    check("GET", "/", rules(&["*"], &[], false), "refused").await;
    check("POST", "/", rules(&["*"], &[], true), "refused").await;
    check("POST", "/", rules(&["*"], &["POST"], true), "200 page").await;
    check("CONNECT", "/", rules(&["*"], &["CONNECT"], true), "refused").await;
    check("GE T", "/", rules(&["*"], &[], true), "bad-address").await;
    check("GET", "/inner", rules(&["127.0.0.1"], &[], true), "200 page").await;
    check("GET", "/name", rules(&["127.0.0.1"], &[], true), "refused").await;
    let file = send(request("GET", "file://host/etc/passwd"), rules(&["*"], &[], true)).await;
    assert_eq!(shown(file), "bad-address");
    let nothing = send(request("GET", "no url"), rules(&["*"], &[], true)).await;
    assert_eq!(shown(nothing), "bad-address");
}

#[tokio::test]
async fn limits_hold() {
    let server = Server::start(|path| match path {
        "/silent" => Answer::Hold(String::new()),
        "/drip" => Answer::Hold("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".into()),
        "/endless" => Answer::Hold(format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(5000))),
        path => ok(&"x".repeat(path[1..].parse().unwrap())),
    })
    .await;
    let check = async |path: &str, expected: &str| {
        let mut request = request("GET", server.url(path));
        request.timeout_ms = if path.starts_with("/1") || path == "/endless" { 10_000 } else { 80 };
        let got = send(request, rules(&["*"], &[], true)).await;
        assert_eq!(got.map_or_else(|error| error.code, |answer| answer.body.len().to_string()), expected, "{path}");
    };
    check("/1000", "1000").await;
    check("/1001", "too-large").await;
    check("/endless", "too-large").await;
    check("/silent", "timeout").await;
    check("/drip", "timeout").await;
}

#[tokio::test]
async fn redirects_follow_the_method() {
    let server = Server::start(|path| match path {
        "/302" => go(302, "/get"),
        "/307" => go(307, "/post"),
        "/circle" => go(302, "/circle"),
        _ => ok("end"),
    })
    .await;
    let post = async |path: &str, max_redirects: u8| {
        let mut request = request("POST", server.url(path));
        request.body = Some(b"form".to_vec());
        request.headers = vec![header("Content-Type", "text/x"), header("Host", "evil"), header("X", "y")];
        request.max_redirects = max_redirects;
        send(request, rules(&["*"], &["GET", "POST"], true)).await
    };
    assert_eq!(shown(post("/302", 5).await), "200 end");
    let got = server.request("/get");
    assert!(
        got.starts_with("get ") && !got.contains("text/x") && !got.contains("form") && !got.contains("evil"),
        "{got}"
    );
    let answer = post("/307", 5).await.unwrap();
    assert_eq!((answer.status, answer.url), (200, server.url("/post").to_string()));
    let got = server.request("/post");
    assert!(got.starts_with("post ") && got.contains("text/x") && got.ends_with("form"), "{got}");
    assert_eq!(shown(post("/302", 0).await), "302 ");
    assert_eq!(shown(post("/circle", 5).await), "unavailable");
}

#[tokio::test]
async fn repeated_fields_stand_several_times() {
    let server = Server::start(|_| {
        Answer::Close("HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n".into())
    })
    .await;
    let answer = send(request("GET", server.url("/")), rules(&["*"], &[], true)).await.unwrap();
    let cookies: Vec<_> = answer.headers.iter().filter(|field| field.name == "set-cookie").collect();
    assert_eq!(cookies.iter().map(|field| field.value.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}
