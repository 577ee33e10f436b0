//! Upstreams that go and come back, bear little, or change behind everybody's back; and the bandwidths that one may have.

use store::RealDisk;

use super::*;
use crate::origin::{Behaviour, Origin};

/// Longer than one part is tried for by itself.
const OUTAGE: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_outlasts_an_outage() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), media(12_000_000));
    let origin = Origin::of(bytes.clone()).await;
    let engine = Engine::patient(dir.path());
    let session = engine.ready(&origin.url).await;
    origin.change(|behaviour| behaviour.fail = Some((502, u32::MAX)));
    let back = async {
        tokio::time::sleep(OUTAGE).await;
        let stats = engine.stats(&session).await;
        assert!(stats["waiting_for"].as_str().is_some_and(|why| why.contains("502")), "{}", stats["waiting_for"]);
        origin.change(|behaviour| behaviour.fail = None);
    };
    let (answered, ()) = tokio::join!(engine.whole(&session), back);
    assert!(!answered.short && answered.bytes == bytes, "{} bytes came", answered.bytes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_stays_away_ends_the_answer() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), media(12_000_000));
    let origin = Origin::of(bytes.clone()).await;
    let patience = proxy::Patience { outage: Duration::from_millis(500), ..proxy::Patience::default() };
    let engine = Engine::with(dir.path(), Config { patience, ..Config::default() }, Arc::new(RealDisk));
    let session = engine.ready(&origin.url).await;
    origin.change(|behaviour| behaviour.fail = Some((502, u32::MAX)));
    let answered = engine.whole(&session).await;
    assert!(answered.short && bytes.starts_with(&answered.bytes));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_come_is_asked_for_a_second_time() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), media(40_000_000));
    let origin = Origin::of(bytes.clone()).await;
    let engine = Engine::patient(dir.path());
    let session = engine.ready(&origin.url).await;
    let read = async |at: usize| {
        let range = at * 1_500_000..at * 1_500_000 + 10_000;
        let answered = engine.range(&session, &format!("bytes={}-{}", range.start, range.end - 1)).await;
        assert!(answered.bytes == bytes[range], "at {at}");
    };
    // Only who knows what is usual knows what is late.
    for at in 1..20 {
        read(at).await;
    }
    let hedges = async || engine.stats(&session).await["upstream"]["hedges"].as_u64().unwrap();
    let before = hedges().await;
    origin.change(|behaviour| behaviour.silent = 1);
    // Much less than it takes to give a silent connection up.
    tokio::time::timeout(Duration::from_secs(20), read(23)).await.expect("the second request is answered");
    assert!(hedges().await > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_a_second_connection_is_not_one_of_the_credentials() {
    for status in [403, 429, 503] {
        let (dir, bytes) = (tempfile::tempdir().unwrap(), media(6_000_000));
        let behaviour = Behaviour {
            bytes: Arc::new(bytes.clone()),
            etag: Some("\"v1\"".into()),
            most_at_once: Some((1, status)),
            takes: Some(Duration::from_millis(30)),
            ..Behaviour::default()
        };
        let origin = Origin::with(behaviour).await;
        let engine = Engine::start(dir.path());
        let session = engine.session(&origin.url).await;
        let ranges = ["bytes=0-1999999", "bytes=2000000-3999999", "bytes=4000000-5999999"];
        let reads = ranges.map(|range| engine.range(&session, range));
        let parts: Vec<u8> =
            futures_util::future::join_all(reads).await.into_iter().flat_map(|answered| answered.bytes).collect();
        assert!(parts == bytes, "{status}: {:?} {:?}", session.state(), session.error());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_begun_after_an_unnoticed_change_has_one_version() {
    let (dir, old) = (tempfile::tempdir().unwrap(), media(6_000_000));
    let new: Vec<u8> = old.iter().map(|byte| byte ^ 0x55).collect();
    // Neither tag nor date, and the length stays the same.
    let origin = Origin::with(Behaviour { bytes: Arc::new(old.clone()), ..Behaviour::default() }).await;
    let engine = Engine::start(dir.path());
    let first = engine.ready(&origin.url).await;
    assert!(engine.range(&first, "bytes=0-999999").await.bytes == old[..1_000_000]);
    origin.change(|behaviour| behaviour.bytes = Arc::new(new.clone()));
    let second = engine.ready(&origin.url).await;
    assert!(engine.whole(&second).await.bytes == new);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_more_than_the_bandwidths_allow() {
    const RATE: u64 = 2_000_000;
    let (dir, bytes) = (tempfile::tempdir().unwrap(), media(5_000_000));
    let limits: [fn(&mut Config); 2] =
        [|config| config.bandwidth = Some(RATE), |config| config.session_bandwidth = Some(RATE)];
    for (number, limit) in limits.into_iter().enumerate() {
        let origin = Origin::of(bytes.clone()).await;
        let mut config = Config::default();
        limit(&mut config);
        let engine = Engine::with(&dir.path().join(number.to_string()), config, Arc::new(RealDisk));
        let begun = Instant::now();
        let session = engine.ready(&origin.url).await;
        assert!(engine.whole(&session).await.bytes == bytes);
        // A second's worth may come at once.
        let least = Duration::from_secs_f64((bytes.len() as f64 - RATE as f64) / RATE as f64);
        assert!(begun.elapsed() >= least, "limit {number}: {:?} for what takes {least:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_waits_for_the_first_credentials() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), media(300_000));
    let behaviour = Behaviour {
        bytes: Arc::new(bytes.clone()),
        etag: Some("\"v1\"".into()),
        token: Some("Bearer good".into()),
        ..Behaviour::default()
    };
    let origin = Origin::with(behaviour).await;
    let engine = Engine::patient(dir.path());
    let session = engine.session(&origin.url).await;
    let rescue = async {
        until(&session, State::AuthRequired).await;
        let path = format!("/api/v1/sessions/{}/auth", session.id());
        let body = r#"{"headers": {"authorization": "Bearer good"}}"#;
        let renewed = engine.ask("PUT", &path, &[("content-type", "application/json")], body).await;
        assert_eq!(renewed.status, StatusCode::OK);
    };
    let (answered, ()) = tokio::join!(engine.whole(&session), rescue);
    assert!(answered.bytes == bytes, "{}", answered.status);
}
