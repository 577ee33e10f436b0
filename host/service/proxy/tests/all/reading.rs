//! What a player gets, and what the origin is asked for.

use proxy::State;

use crate::origin::{Behaviour, Origin};
use crate::{COMPUTED, Engine, media, proxy, until};

const LENGTH: usize = 3_000_001;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_comes_once_and_then_from_the_disk() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), media(LENGTH));
    let origin = Origin::of(bytes.clone()).await;
    let engine = Engine::start(dir.path());
    let session = engine.ready(&origin.url).await;
    assert_eq!((session.facts().container.as_deref(), session.facts().duration_ms), (Some("test"), Some(8000)));

    for (range, expected) in
        [("bytes=0-0", 0..1), ("bytes=-10", LENGTH - 10..LENGTH), ("bytes=1500000-1600000", 1_500_000..1_600_001)]
    {
        let answer = engine.range(&session, range).await;
        assert_eq!((answer.status.as_u16(), &answer.bytes[..]), (206, &bytes[expected]), "{range}");
    }
    let whole = engine.whole(&session).await;
    assert_eq!((whole.status.as_u16(), whole.short, whole.bytes == bytes), (200, false, true));
    assert_eq!(whole.headers["content-length"], LENGTH.to_string());
    assert_eq!(origin.sent(), LENGTH as u64, "each byte once: {:?}", origin.ranges());

    // Another session of the same address: one question, whether it is still the same, and no bytes.
    let requests = origin.requests();
    let again = engine.ready(&origin.url).await;
    assert!(engine.whole(&again).await.bytes == bytes);
    assert_eq!((origin.requests(), origin.sent()), (requests + 1, LENGTH as u64));
    let stats = engine.ask("GET", &format!("/api/v1/sessions/{}/stats", again.id()), &[], "").await.json();
    assert_eq!((&stats["cache_hit_rate"], &stats["complete"]), (&1.0.into(), &true.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_share_what_is_fetched() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), media(LENGTH));
    let origin = Origin::of(bytes.clone()).await;
    let engine = Engine::start(dir.path());
    let session = engine.session(&origin.url).await;
    let reads = (0..16).map(|i| {
        let (engine, session, bytes) = (&engine, &session, &bytes);
        async move {
            let from = i * 150_000;
            let answer = engine.range(session, &format!("bytes={from}-")).await;
            assert!(answer.bytes == bytes[from..], "from {from}");
        }
    });
    futures_util::future::join_all(reads).await;
    assert_eq!(origin.sent(), LENGTH as u64, "each byte once: {:?}", origin.ranges());
}

/// A behaviour, the state it leads to, and the code of the error.
async fn check(name: &str, behaviour: Behaviour, state: State, code: Option<&str>) {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), behaviour.bytes.clone());
    let origin = Origin::with(behaviour).await;
    let engine = Engine::start(dir.path());
    let session = engine.session(&origin.url).await;
    until(&session, state).await;
    assert_eq!(session.error().map(|fault| fault.code).as_deref(), code, "{name}: {:?}", session.error());
    let answer = engine.whole(&session).await;
    match code {
        None => {
            assert!(!answer.short && answer.bytes == *bytes, "{name}: {} of {} bytes", answer.bytes.len(), bytes.len())
        }
        Some(code) => assert_eq!((answer.json()["code"].as_str(), answer.status.as_u16() >= 400), (Some(code), true)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn origins_good_and_bad() {
    let good = || Behaviour { bytes: media(700_000).into(), etag: Some("\"v\"".into()), ..Behaviour::default() };
    check("good", good(), State::Ready, None).await;
    check("no entity tag", Behaviour { etag: None, ..good() }, State::Ready, None).await;
    check("weak entity tag", Behaviour { etag: Some("W/\"weak\"".into()), ..good() }, State::Ready, None).await;
    check("no ranges", Behaviour { no_ranges: true, ..good() }, State::Ready, None).await;
    check("one byte", Behaviour { bytes: vec![7].into(), ..good() }, State::Ready, None).await;
    check("breaks off", Behaviour { break_after: Some(100_000), ..good() }, State::Ready, None).await;
    check("503 twice", Behaviour { fail: Some((503, 2)), ..good() }, State::Ready, None).await;
    check("redirects", Behaviour { redirect: Some("/elsewhere".into()), ..good() }, State::Ready, None).await;
    check("404", Behaviour { fail: Some((404, u32::MAX)), ..good() }, State::Failed, Some("not-found")).await;
    check("418", Behaviour { fail: Some((418, u32::MAX)), ..good() }, State::Failed, Some("upstream-status")).await;
    check("html", Behaviour { media_type: Some("text/html"), ..good() }, State::Failed, Some("not-media")).await;
    check("401", Behaviour { token: Some("t".into()), ..good() }, State::AuthRequired, Some("auth-required")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_file_is_named_and_served_as_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::of(Vec::new()).await;
    let engine = Engine::start(dir.path());
    let session = engine.session(&origin.url).await;
    until(&session, State::Failed).await;
    assert_eq!(session.error().unwrap().code, "empty-file");
    let answer = engine.range(&session, "bytes=0-9").await;
    assert_eq!((answer.status.as_u16(), &answer.headers["content-length"]), (200, &"0".parse().unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_versions_are_never_spliced() {
    let (dir, old) = (tempfile::tempdir().unwrap(), media(20_000_000));
    let origin = Origin::of(old.clone()).await;
    let engine = Engine::start(dir.path());
    let session = engine.ready(&origin.url).await;
    let new: Vec<u8> = old.iter().map(|byte| !byte).collect();
    origin.change(|behaviour| {
        behaviour.bytes = new.clone().into();
        behaviour.etag = Some("\"v2\"".into());
    });
    let cut = engine.whole(&session).await;
    assert!(cut.short && cut.bytes == old[..cut.bytes.len()], "ends short, all of the old version");
    let whole = engine.whole(&session).await;
    assert!(!whole.short && whole.bytes == new, "the next request gets the new version, whole");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_and_head() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), media(10_000));
    let origin = Origin::of(bytes.clone()).await;
    let engine = Engine::start(dir.path());
    let session = engine.ready(&origin.url).await;
    let path = format!("/stream/{}/film.bin", session.id());
    let head = engine.ask("HEAD", &path, &[("range", "bytes=0-9")], "").await;
    assert_eq!((head.status.as_u16(), head.bytes.len()), (200, 0));
    assert_eq!(
        (&head.headers["content-length"], &head.headers["accept-ranges"]),
        (&"10000".parse().unwrap(), &"bytes".parse().unwrap())
    );
    let etag = head.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(engine.ask("GET", &path, &[("if-none-match", &etag)], "").await.status, 304);
    assert_eq!(engine.ask("GET", &path, &[("if-match", "\"other\"")], "").await.status, 412);
    let beyond = engine.ask("GET", &path, &[("range", "bytes=10000-")], "").await;
    assert_eq!((beyond.status.as_u16(), beyond.headers["content-range"].to_str().unwrap()), (416, "bytes */10000"));
    let parts = engine.ask("GET", &path, &[("range", "bytes=0-9,100-109")], "").await;
    assert!(parts.headers["content-type"].to_str().unwrap().starts_with("multipart/byteranges; boundary="));
    assert_eq!(parts.headers["content-length"].to_str().unwrap(), parts.bytes.len().to_string());
    assert_eq!(engine.ask("GET", "/stream/00000000000000000000000000000000", &[], "").await.status, 404);
    assert_eq!(engine.ask("GET", "/stream/nonsense", &[], "").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(dir.path());
    for (body, status, words) in [
        (r#"{"url": "film.mp4"}"#, 400, "needs a scheme"),
        (r#"{"url": "gopher://x/"}"#, 400, "there are plugins for: http"),
        (r#"{"url": ""}"#, 400, "needs a scheme"),
        (r#"{}"#, 400, "url"),
        (r#"{"url": "http://h/", "heders": {}}"#, 400, "heders"),
        (r#"{"url": "http://h/", "headers": {"a b": "c"}}"#, 400, "token"),
        ("nonsense", 400, "not JSON"),
    ] {
        let answer = engine.ask("POST", "/api/v1/sessions", &[("content-type", "application/json")], body).await;
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(answer.status.as_u16() == status && detail.contains(words), "{body}: {} {detail}", answer.status);
    }
    let nobody = engine.ask("GET", "/api/v1/sessions/0/stats", &[], "").await;
    assert_eq!((nobody.status.as_u16(), nobody.json()["code"].as_str()), (404, Some("session-unknown")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_connection_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(dir.path());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/film.mp4", listener.local_addr().unwrap());
    drop(listener);
    let session = engine.session(&url).await;
    until(&session, State::Failed).await;
    assert_eq!(session.error().unwrap().code, "connection-refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_session_notices_that_the_file_is_another_one() {
    let (dir, old) = (tempfile::tempdir().unwrap(), media(5_000_000));
    let origin = Origin::of(old.clone()).await;
    let engine = Engine::start(dir.path());
    let first = engine.ready(&origin.url).await;
    let new: Vec<u8> = old.iter().map(|byte| !byte).collect();
    origin.change(|behaviour| {
        behaviour.bytes = new.clone().into();
        behaviour.etag = Some("\"v2\"".into());
    });
    let second = engine.ready(&origin.url).await;
    assert!(engine.whole(&second).await.bytes == new);
    let after = engine.whole(&first).await;
    assert!(!after.short && after.bytes == new, "the first session has let go of the old version too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_reader_too_many_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::of(media(5_000_000)).await;
    let engine = Engine::start(dir.path());
    let session = engine.ready(&origin.url).await;
    let path = format!("/stream/{}", session.id());
    let mut held = Vec::new();
    let refused = loop {
        let request = web::http::Request::get(&path).body(web::body::Body::empty()).unwrap();
        let answer = tower::ServiceExt::oneshot(engine.routes.clone(), request).await.unwrap();
        match answer.status().as_u16() {
            200 => held.push(answer),
            status => break status,
        }
        assert!(held.len() < 10_000);
    };
    assert_eq!(refused, 503);
    held.pop();
    assert_eq!(engine.range(&session, "bytes=0-9").await.status, 206);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_session_ends_its_readers() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::of(media(30_000_000)).await;
    let engine = Engine::start(dir.path());
    let session = engine.ready(&origin.url).await;
    let path = format!("/stream/{}", session.id());
    let request = web::http::Request::get(&path).body(web::body::Body::empty()).unwrap();
    let answer = tower::ServiceExt::oneshot(engine.routes.clone(), request).await.unwrap();
    let mut body = answer.into_body().into_data_stream();
    assert!(futures_util::StreamExt::next(&mut body).await.unwrap().is_ok());
    let deleted = engine.ask("DELETE", &format!("/api/v1/sessions/{}", session.id()), &[], "").await;
    assert_eq!(deleted.status, 204);
    let rest: Vec<_> = futures_util::StreamExt::collect(body).await;
    assert!(rest.last().unwrap().is_err(), "it ends short");
    assert_eq!(engine.ask("GET", &path, &[], "").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn computed_bytes_are_computed_once() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(dir.path());
    let session = engine.ready("computing:anything").await;
    let whole = engine.whole(&session).await;
    assert!(!whole.short && whole.bytes.len() as u64 == COMPUTED);
    assert!(whole.bytes.iter().zip(0u64..).all(|(byte, i)| *byte == i as u8));
    assert_eq!(engine.computed.load(std::sync::atomic::Ordering::Relaxed), COMPUTED, "each byte once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_a_span_keeps_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(dir.path());
    let session = engine.session("panicking:anything").await;
    until(&session, State::Failed).await;
    assert_eq!(session.error().unwrap().code, "internal");
}
