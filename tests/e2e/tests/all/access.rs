//! Who gets in.
//!
//! The guard is one crate and the routes are in others; only the assembled program shows that no route was forgotten.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use mediahost_e2e::http::Request;
use mediahost_e2e::{Home, Host, Nginx, media, wasm};
use serde_json::json;

#[test]
fn without_the_token_nobody_gets_in() {
    let host = Host::start();
    let origin = Nginx::serve(media::folder());
    let (id, _) = host.ready(&origin.url("song.mp3"));
    for (method, path) in [
        ("GET", "/sessions".to_owned()),
        ("POST", "/sessions".to_owned()),
        ("GET", format!("/sessions/{id}")),
        ("DELETE", format!("/sessions/{id}")),
        ("PUT", format!("/sessions/{id}/auth")),
        ("GET", format!("/sessions/{id}/stats")),
        ("GET", format!("/sessions/{id}/events")),
        ("GET", "/plugins".to_owned()),
        ("POST", "/plugins".to_owned()),
        ("GET", "/plugins/events".to_owned()),
        ("DELETE", "/plugins/source-http".to_owned()),
        ("POST", "/plugins/source-http/disable".to_owned()),
        ("POST", "/config/reload".to_owned()),
    ] {
        let request = || host.request(method, &format!("/api/v1{path}"));
        assert_eq!(request().send().status, 401, "{method} {path}");
        let wrong = request().header("Authorization", "Bearer 00000000000000000000000000000000").send();
        assert_eq!(wrong.status, 401, "{method} {path} with a wrong token");
    }
    let refused = host.request("GET", "/api/v1/sessions").send();
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    assert!(refused.header("www-authenticate").is_some_and(|how| how.starts_with("Bearer")), "{refused:?}");
    assert!(host.whole(&id) == media::bytes("song.mp3"), "a stream's id is its key");
    assert_eq!(host.request("GET", "/api/v1/openapi.json").send().status, 200);
    assert_eq!(host.generation("source-http"), host.generation("source-http"));
}

#[test]
fn the_token_is_the_owners_alone() {
    let host = Host::start();
    let mode = std::fs::metadata(host.home().data().join("admin.token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    assert!(host.token().len() >= 32, "a token of {} characters", host.token().len());
    assert!(!host.log().contains(host.token()) && !host.printed().contains(host.token()), "the token was printed");
}

#[test]
fn a_page_from_elsewhere_is_refused() {
    let host = Host::start();
    let ask = |name: &str, value: &str| host.api("GET", "/plugins").header(name, value).send().status;
    for name in ["evil.example", "evil.example:80", "127.0.0.1.evil.example"] {
        let status = ask("Host", name);
        assert!(matches!(status, 403 | 421), "Host: {name} gave {status}");
    }
    for origin in ["http://evil.example", "null", "https://127.0.0.1.evil.example"] {
        let status = host.api("POST", "/sessions").header("Origin", origin).json(&json!({"url": "x"})).send().status;
        assert_eq!(status, 403, "Origin: {origin}");
    }
    assert_eq!(ask("Host", &host.address().to_string()), 200);
    assert_eq!(ask("Host", &format!("localhost:{}", host.address().port())), 200);
}

#[test]
fn the_printed_link_lets_one_browser_in_once() {
    let host = Host::start();
    let link = link_in(&host.printed());
    let answer = Request::get(&link).send();
    assert_eq!(answer.status, 303, "{answer:?}");
    let set = answer.header("set-cookie").unwrap_or_else(|| panic!("no cookie: {answer:?}")).to_owned();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict"), "{set}");
    let cookie = set.split(';').next().unwrap();

    let with_cookie = host.request("GET", "/api/v1/plugins").header("Cookie", cookie).send();
    assert_eq!(with_cookie.status, 200);
    let page = host.request("GET", "/").header("Cookie", cookie).send();
    assert_eq!(page.status, 200);
    assert!(page.header("content-security-policy").is_some_and(|policy| policy.contains("default-src")), "{page:?}");

    let again = Request::get(&link).send();
    assert!(again.status >= 400 && again.header("set-cookie").is_none(), "the link worked twice: {again:?}");

    let made = host.api("POST", "/auth/link").send().expect(200);
    assert_eq!(Request::get(made["url"].as_str().unwrap()).send().status, 303, "another link works: {made}");
}

/// What the operator named may lie on this machine. What a plugin or a redirect names may not, unless he said so.
#[test]
fn nobody_else_leads_the_host_to_this_machine() {
    let origin = Nginx::serve(media::folder());
    let probe = format!("guest-fetch-probe:{}", origin.url("page.html"));
    let home = || Home::new().plugin("guest-fetch-probe", &wasm::guest("guest-fetch-probe"));

    let host = home().start();
    let (id, _) = host.ready(&probe);
    let shown = host.whole(&id);
    assert!(shown != media::bytes("page.html"), "a plugin read a page of this machine");
    assert_eq!(String::from_utf8_lossy(&shown), "refused");
    let error = host.failed(&origin.url("away/film.mp4"));
    assert!(error.to_string().contains("127.0.0.2"), "{error}");
    assert!(!origin.served().iter().any(|served| served.target == "/page.html"));

    let host = home().config("[net]\nallow_private = [\"127.0.0.0/8\"]\n").start();
    let (id, _) = host.ready(&probe);
    assert!(host.whole(&id) == media::bytes("page.html"));
}

/// The first address in a text, with the numbers that it is reached by.
fn link_in(text: &str) -> String {
    let start = text.find("http://").unwrap_or_else(|| panic!("no link in {text:?}"));
    let link = text[start..].split_whitespace().next().unwrap().trim_end_matches(['"', '.', ',']);
    let authority = link["http://".len()..].split('/').next().unwrap();
    assert!(authority.parse::<SocketAddr>().is_ok(), "{link}");
    link.to_owned()
}
