//! Credentials that run out while a film plays.

use proxy::State;

use crate::origin::{Behaviour, Origin};
use crate::{Engine, media, proxy, until, when};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_credentials_open_what_was_refused() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), media(500_000));
    let behaviour = Behaviour { bytes: bytes.clone().into(), token: Some("good".into()), ..Behaviour::default() };
    let origin = Origin::with(behaviour).await;
    let engine = Engine::patient(dir.path());
    let session = engine.session(&origin.url).await;
    until(&session, State::AuthRequired).await;
    let path = format!("/api/v1/sessions/{}/auth", session.id());
    let json = [("content-type", "application/json")];
    let answer = engine.ask("PUT", &path, &json, r#"{"headers": {"Authorization": "good"}}"#).await;
    assert_eq!(answer.status, 200);
    until(&session, State::Ready).await;
    assert!(engine.whole(&session).await.bytes == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_waits_for_new_credentials_and_goes_on() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), media(20_000_000));
    let origin = Origin::of(bytes.clone()).await;
    let engine = Engine::patient(dir.path());
    let session = engine.ready(&origin.url).await;
    origin.change(|behaviour| behaviour.token = Some("good".into()));
    let renew = async {
        until(&session, State::AuthRequired).await;
        let path = format!("/api/v1/sessions/{}/auth", session.id());
        let json = [("content-type", "application/json")];
        engine.ask("PUT", &path, &json, r#"{"headers": {"Authorization": "good"}}"#).await
    };
    let (whole, renewed) = tokio::join!(engine.whole(&session), renew);
    assert_eq!(renewed.status, 200);
    assert!(!whole.short && whole.bytes == bytes);
    until(&session, State::Ready).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_expires_while_several_spans_run_waits_too() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), media(60_000_000));
    let origin = Origin::of(bytes.clone()).await;
    let engine = Engine::patient(dir.path());
    let session = engine.ready(&origin.url).await;
    let readers = (0..4).map(|i| {
        let (engine, session, bytes) = (&engine, &session, &bytes);
        async move {
            let from = i * 15_000_000;
            let answer = engine.range(session, &format!("bytes={from}-{}", from + 14_999_999)).await;
            assert!(!answer.short && answer.bytes == bytes[from..from + 15_000_000], "from {from}");
        }
    });
    let expire = async {
        when(|| origin.sent() >= 8_000_000, || "the first bytes".into()).await;
        origin.change(|behaviour| behaviour.token = Some("good".into()));
        until(&session, State::AuthRequired).await;
        let path = format!("/api/v1/sessions/{}/auth", session.id());
        let json = [("content-type", "application/json")];
        engine.ask("PUT", &path, &json, r#"{"headers": {"Authorization": "good"}}"#).await
    };
    let (_, renewed) = tokio::join!(futures_util::future::join_all(readers), expire);
    assert_eq!(renewed.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_is_renewed_before_it_expires() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), media(20_000_000));
    let origin = Origin::of(bytes.clone()).await;
    let engine = Engine::patient(dir.path());
    let session = engine.session(&format!("expiring:{}", origin.url)).await;
    // The first request came with the old key; from now on only the new one will do, and a refusal fails the test.
    when(|| origin.requests() > 0, || format!("the first request: {:?}", session.error())).await;
    origin.change(|behaviour| behaviour.token = Some("new".into()));
    until(&session, State::Ready).await;
    assert!(engine.whole(&session).await.bytes == bytes);
}
