//! What people get wrong while the host runs, and what it answers.
//!
//! The answers are made in four crates and worded for one reader; the table is where they can be read side by side.

use std::net::TcpListener;

use mediahost_e2e::{Host, Nginx, media};
use serde_json::{Value, json};

/// What the API says to an address: at once as a problem, or later in the session.
fn refusal(host: &Host, url: &str) -> Value {
    let answer = host.api("POST", "/sessions").json(&json!({ "url": url })).send();
    if answer.status == 201 {
        let session = host.verdict(answer.json()["session_id"].as_str().unwrap());
        assert_ne!(session["state"], "ready", "{url}: {session}");
        return session["error"].clone();
    }
    problem(answer, &[400, 422])
}

/// A problem of RFC 9457 with one of these statuses.
fn problem(answer: mediahost_e2e::http::Response, statuses: &[u16]) -> Value {
    let (status, head) = (answer.status, format!("{answer:?}"));
    assert!(statuses.contains(&status), "expected {statuses:?}: {head}: {}", answer.text());
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("application/problem+json")), "{head}");
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{problem}");
    for field in ["code", "title", "detail"] {
        assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "no {field} in {problem}");
    }
    problem
}

#[test]
fn addresses() {
    let origin = Nginx::serve(media::folder());
    let host = Host::start();
    let closed = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let check = |url: &str, words: &[&str]| {
        let error = refusal(&host, url);
        let text = error.to_string().to_lowercase();
        assert!(error["code"].as_str().is_some_and(|code| !code.is_empty()), "{url}: no code in {error}");
        assert!(words.iter().any(|word| text.contains(word)), "{url}: {error}, expected one of {words:?}");
    };
    check("", &["address", "url"]);
    check("a film about boats", &["address", "url"]);
    check("http://", &["address", "url", "host"]);
    check("toaster:bread", &["toaster"]);
    check(&format!("http://{closed}/film.mp4"), &["refused"]);
    check(&origin.url("none.mp4"), &["404", "not-found"]);
    check(&origin.url("gone/film.mp4"), &["410", "gone"]);
    check(&origin.url("broken/film.mp4"), &["503", "unavailable", "failing"]);
    check(&origin.url("private/film.mp4"), &["auth-required"]);
    check(&origin.url("empty.mp4"), &["empty", "no bytes"]);
    check(&origin.url("page.html"), &["html"]);
    check(&origin.url("page.mp4"), &["html"]);

    // The stream of a session that failed says the same, with a status a player understands.
    let id = host.open(&origin.url("none.mp4"));
    host.verdict(&id);
    assert_eq!(host.stream(&id).send().status, 404);

    // None of this hurt.
    let (id, _) = host.ready(&origin.url("song.mp3"));
    assert!(host.whole(&id) == media::bytes("song.mp3"));
}

#[test]
fn sessions_that_do_not_exist() {
    let host = Host::start();
    for id in ["00000000000000000000000000000000", "short", "%2e%2e%2fadmin.token", "x".repeat(5000).as_str()] {
        problem(host.api("GET", &format!("/sessions/{id}")).send(), &[404, 414]);
        problem(host.api("DELETE", &format!("/sessions/{id}")).send(), &[404, 414]);
        let status = host.stream(id).send().status;
        assert!(matches!(status, 404 | 414), "{id}: {status}");
    }
}

#[test]
fn requests() {
    let host = Host::start();
    let post = |body: &Value| host.api("POST", "/sessions").json(body).send();
    problem(post(&json!({})), &[400, 422]);
    problem(post(&json!({"url": 7})), &[400, 422]);
    problem(post(&json!({"url": "http://127.0.0.1/a", "hedaers": {}})), &[400, 422]);
    problem(post(&json!("http://127.0.0.1/a")), &[400, 422]);
    problem(post(&json!({"url": format!("http://127.0.0.1/{}", "a".repeat(1 << 20))})), &[400, 413, 422]);
    problem(post(&json!({"url": "http://127.0.0.1/a", "headers": {"bad name": "x"}})), &[400, 422]);
    problem(host.api("GET", "/nowhere").send(), &[404]);
    problem(host.api("PATCH", "/sessions").send(), &[405]);
    problem(host.api("GET", "/plugins/nobody").send(), &[404]);
    problem(host.api("DELETE", "/plugins/source-http").send(), &[409]);
    assert_eq!(host.request("GET", "/healthz").send().status, 200);
}
