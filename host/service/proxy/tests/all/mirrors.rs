//! Several addresses of the same bytes, several names of the same version, and origins that do not say how long they are.

use super::*;
use crate::origin::{Behaviour, Origin};

fn both(first: &Origin, second: &Origin) -> String {
    format!("mirrors:{}|{}", first.url, second.url)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_takes_over_from_an_address_that_is_down() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(dir.path());
    let bytes = media(6_000_000);
    let (first, second) = (Origin::of(bytes.clone()).await, Origin::of(bytes.clone()).await);
    first.change(|behaviour| behaviour.fail = Some((404, u32::MAX)));
    second.change(|behaviour| behaviour.etag = Some("\"other\"".into()));
    let session = engine.ready(&both(&first, &second)).await;
    assert!(engine.whole(&session).await.bytes == bytes);
    assert_eq!(first.sent(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_compared_before_it_goes_on_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(dir.path());
    let bytes = media(40_000_000);
    let (first, second) = (Origin::of(bytes.clone()).await, Origin::of(bytes.clone()).await);
    second.change(|behaviour| behaviour.etag = Some("\"other\"".into()));
    let session = engine.ready(&both(&first, &second)).await;
    assert!(engine.range(&session, "bytes=0-999999").await.bytes == bytes[..1_000_000]);
    first.change(|behaviour| behaviour.fail = Some((500, u32::MAX)));
    assert!(engine.whole(&session).await.bytes == bytes);
    assert!(second.sent() > 20_000_000, "{}", second.sent());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_with_other_bytes_is_never_used() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(dir.path());
    let bytes = media(30_000_000);
    let other: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
    let (first, second) = (Origin::of(bytes.clone()).await, Origin::of(other).await);
    let session = engine.ready(&both(&first, &second)).await;
    assert!(engine.range(&session, "bytes=0-999999").await.bytes == bytes[..1_000_000]);
    first.change(|behaviour| behaviour.fail = Some((500, u32::MAX)));
    let answered = engine.range(&session, "bytes=20000000-29999999").await;
    assert!(answered.short, "{} bytes", answered.bytes.len());
    let got = answered.bytes.len();
    assert!(answered.bytes[..] == bytes[20_000_000..20_000_000 + got]);
}

#[tokio::test(flavor = "multi_thread")]
async fn edges_that_name_the_same_bytes_by_other_tags_are_one_version() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(dir.path());
    let bytes = media(30_000_000);
    let origin = Origin::of(bytes.clone()).await;
    let session = engine.ready(&origin.url).await;
    assert!(engine.range(&session, "bytes=0-999999").await.bytes == bytes[..1_000_000]);
    origin.change(|behaviour| behaviour.etag = Some("\"edge-2\"".into()));
    let whole = engine.whole(&session).await;
    assert!(whole.bytes == bytes, "{} bytes, {:?}", whole.bytes.len(), session.error());
    let requests = origin.requests();
    assert!(requests < 60, "{requests}");
    assert!(engine.whole(&session).await.bytes == bytes);
    assert_eq!(origin.requests(), requests, "it is one version, and all of it is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tag_and_other_bytes_are_another_version() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(dir.path());
    let bytes = media(30_000_000);
    let origin = Origin::of(bytes.clone()).await;
    let session = engine.ready(&origin.url).await;
    assert!(engine.range(&session, "bytes=0-999999").await.bytes == bytes[..1_000_000]);
    let other: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
    let new = other.clone();
    origin.change(|behaviour| {
        behaviour.etag = Some("\"v2\"".into());
        behaviour.bytes = Arc::new(new);
    });
    let whole = engine.whole(&session).await;
    assert!(whole.short && bytes.starts_with(&whole.bytes), "two versions, or none");
    assert!(engine.whole(&session).await.bytes == other);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_length_plays_as_it_comes_and_has_ranges_when_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(dir.path());
    for length in [5_000_001, 65_536 * 4, 10] {
        let bytes: Vec<u8> = media(length).iter().map(|byte| byte ^ length as u8).collect();
        let origin = Origin::with(Behaviour {
            bytes: Arc::new(bytes.clone()),
            no_ranges: true,
            no_length: true,
            ..Behaviour::default()
        })
        .await;
        let session = engine.session(&origin.url).await;
        let whole = engine.whole(&session).await;
        assert!(whole.bytes == bytes && !whole.short, "{} of {length}", whole.bytes.len());
        until(&session, State::Ready).await;
        when(
            || engine.proxy.session(session.id()).is_some_and(|session| session.length().is_some()),
            || "a length".into(),
        )
        .await;
        let last = engine.range(&session, "bytes=-7").await;
        assert_eq!((last.status, &last.bytes[..]), (StatusCode::PARTIAL_CONTENT, &bytes[length - 7..]));
        let requests = origin.requests();
        assert!(engine.whole(&session).await.bytes == bytes);
        assert_eq!(origin.requests(), requests, "it is all there");
        engine.proxy.close(session.id()).await;
    }
}
