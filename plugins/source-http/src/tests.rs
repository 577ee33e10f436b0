//! Whole calls: what `open` and `refresh` answer.

use mediahost_plugin_sdk::testing::run;
use mediahost_plugin_sdk::{Opened, Origin};

use super::*;

/// 2026-05-01 12:00:00 UTC
const AT: u64 = 1_777_636_800_000;

fn open(request: Open, now_ms: u64) -> Result<Plan, Error> {
    match run(Http::open(&Host::scripted().at(now_ms), request))? {
        Opened::Plan(plan) => Ok(plan),
        Opened::Manifest(_) => panic!("not a manifest"),
    }
}

#[test]
fn one_open_segment_with_the_users_header_fields() {
    let request = Open::new("HTTPS://user:pass@NAS.local:5001/films/a%20b.mkv?id=1&expires=1777636800#t=3")
        .with_header("Cookie", "a=b");
    let plan = open(request, AT - 1).unwrap();
    let expected = Plan::http("https://nas.local:5001/films/a%20b.mkv?id=1&expires=1777636800")
        .with_header("Cookie", "a=b")
        .with_header("Authorization", "Basic dXNlcjpwYXNz")
        .with_key("https://nas.local:5001/films/a%20b.mkv?id=1&expires=1777636800")
        .with_name("a b.mkv")
        .with_expiry_ms(AT);
    assert_eq!(plan, expected);
    assert!(matches!(&plan.segments[..], [segment] if segment.length.is_none()));
}

#[test]
fn credentials_are_nowhere_but_in_authorization() {
    let plan = open(Open::new("http://mona:lisa@h/f?api_key=lisa"), 0).unwrap();
    assert_eq!(plan.key.as_deref(), Some("http://h/f"));
    let Origin::Http(http) = &plan.segments[0].origin else { panic!("not http") };
    assert_eq!(http.urls, ["http://h/f?api_key=lisa"]);
    assert!(http.headers.iter().all(|header| header.is("authorization")));
}

#[test]
fn a_link_that_looks_expired_is_tried_all_the_same() {
    let plan = open(Open::new("http://h/f?expires=1777636800"), AT).unwrap();
    assert_eq!(plan.expires_at_ms, None);
}

#[test]
fn bad_requests_are_answered_with_a_code() {
    for (request, code) in [
        (Open::new("http://"), "bad-address"),
        (Open::new("nonsense"), "bad-address"),
        (Open::new("http://h/f").with_header("Range", "bytes=0-"), "refused"),
        (Open::new("http://h/f").with_header("X", "a\r\nHost: evil"), "refused"),
    ] {
        assert_eq!(open(request, 0).unwrap_err().code, code);
    }
}

#[test]
fn refresh_knows_when_only_the_user_can_help() {
    let signed = "http://h/f?X-Amz-Signature=ab&X-Amz-Date=20260501T110000Z&X-Amz-Expires=3600";
    for (uri, now_ms, reason, expected) in [
        (signed, AT - 1, RefreshReason::new("expires"), Ok(())),
        (signed, AT, RefreshReason::new("expires"), Err("on 2026-05-01 12:00:00 UTC")),
        (signed, AT, RefreshReason::new("denied").with_status(403), Err("on 2026-05-01 12:00:00 UTC")),
        (signed, AT - 1, RefreshReason::new("denied").with_status(403), Err("status 403")),
        ("http://h/f", AT, RefreshReason::new("denied").with_status(401), Err("user name and a password")),
        ("http://h/f", AT, RefreshReason::new("denied"), Err("refused the link:")),
        ("http://h/f", AT, RefreshReason::new("changed"), Ok(())),
        ("http://h/f", AT, RefreshReason::new("gone").with_status(404), Ok(())),
        ("http://h/f", AT, RefreshReason::new("credentials"), Ok(())),
    ] {
        let case = format!("{uri} {reason:?}");
        let found = run(Http::refresh(&Host::scripted().at(now_ms), Open::new(uri), Vec::new(), reason));
        match (found, expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(part)) if error.code == "auth-required" && error.message.contains(part) => {}
            (found, _) => panic!("{case}: {found:?}"),
        }
    }
}
