//! Images and archives: what is served is made of pieces of a file and of those beside it.

use plugin::detect::{Extent, ExtentOrigin, Needed, Title};

use super::*;
use crate::origin::{Behaviour, Origin};

/// What an image begins with; then it says how many files it has, and where the titles of its own are.
pub const MAGIC: &[u8] = b"IMAGE";

/// Knows images: of one file, or of two, where the second is `film.002`.
pub struct Image;

impl ContainerDetector for Image {
    fn id(&self) -> &str {
        "image"
    }

    fn finds_titles(&self) -> bool {
        true
    }

    fn detect(&self, look: Look) -> BoxFuture<'static, Result<Answer, Failure>> {
        let refusal = plugin::Error::new(code::ENCRYPTED, "this image is encrypted");
        let is_encrypted = look.windows.first().is_some_and(|head| head.bytes.get(MAGIC.len()) == Some(&b'5'));
        Box::pin(async move {
            match is_encrypted {
                true => Err(Failure::Answer { plugin: "image".into(), error: refusal }),
                false => Ok(look_at(&look)),
            }
        })
    }
}

fn look_at(look: &Look) -> Answer {
    let window = |file| look.windows.iter().find(move |window| window.file == file);
    let Some(head) = window(0) else { return Answer::Unknown };
    let (kind, from) = (head.bytes[MAGIC.len()], |file, offset| ExtentOrigin::File { file, offset });
    let extent = |origin, length| Extent { origin, length };
    let title = |id: &str, main, extents| Title {
        id: id.into(),
        name: Some(format!("{id}.bin")),
        media_type: Some("video/x-inner".into()),
        duration_ms: Some(4000),
        main,
        extents,
    };
    let layout = |titles| Layout { format: "image".into(), titles, ..Layout::default() };
    Answer::Found(Box::new(match kind {
        b'1' => layout(vec![
            title("small", false, vec![extent(from(0, 100), 50_000)]),
            title(
                "film",
                true,
                vec![
                    extent(from(0, 700_000), 200_000),
                    extent(ExtentOrigin::Zeros, 70_001),
                    extent(from(0, 400_000), 100_000),
                ],
            ),
        ]),
        b'2' if look.files.len() < 2 => {
            return Answer::Need { ranges: Vec::new(), siblings: vec!["film.002".into(), "film.003".into()] };
        }
        b'2' if window(1).is_none() => {
            return Answer::Need { ranges: vec![Needed { file: 1, offset: 3, length: 5 }], siblings: Vec::new() };
        }
        b'2' => {
            let size = look.files[1].size.unwrap_or(0);
            assert_eq!((look.files.len(), look.files[2].size), (3, None), "there is no third volume");
            layout(vec![title("film", true, vec![extent(from(0, 1000), 299_000), extent(from(1, 10), size - 10)])])
        }
        // In it is another image.
        b'3' => layout(vec![title("inner", true, vec![extent(from(0, 64), 1_000_000)])]),
        b'4' => layout(vec![title("broken", true, vec![extent(from(7, 0), 10)])]),
        _ => return Answer::Unknown,
    }))
}

fn image(kind: u8, length: usize) -> Vec<u8> {
    let mut bytes = media(length);
    bytes[..5].copy_from_slice(MAGIC);
    bytes[5] = kind;
    bytes
}

fn film_of(bytes: &[u8]) -> Vec<u8> {
    [&bytes[700_000..900_000], &[0; 70_001], &bytes[400_000..500_000]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_title_is_served_and_others_are_listed() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), image(b'1', 6_000_000));
    let origin = Origin::of(bytes.clone()).await;
    let engine = Engine::start(dir.path());
    // Asked before anything is known, it waits for what is in the image.
    let session = engine.session(&origin.url).await;
    let film = film_of(&bytes);
    let whole = engine.whole(&session).await;
    assert!(whole.bytes == film, "{} {}", whole.status, whole.bytes.len());
    until(&session, State::Ready).await;
    for range in [0..10u64, 199_990..200_010, 269_990..270_050, 0..370_001, 370_000..370_001] {
        let answered = engine.range(&session, &format!("bytes={}-{}", range.start, range.end - 1)).await;
        assert_eq!(answered.headers["content-range"], format!("bytes {}-{}/370001", range.start, range.end - 1));
        assert!(answered.bytes == film[range.start as usize..range.end as usize], "{range:?}");
    }
    let parts = engine.range(&session, "bytes=199995-200004,370000-").await;
    assert_eq!(parts.bytes.len().to_string(), parts.headers["content-length"].to_str().unwrap());

    let path = format!("/api/v1/sessions/{}", session.id());
    let view = engine.ask("GET", &path, &[], "").await.json();
    assert_eq!((&view["image"], &view["title"], &view["length"]), (&"image".into(), &"film".into(), &370_001.into()));
    assert_eq!((&view["container"], &view["duration_ms"]), (&"test".into(), &4000.into()));
    assert!(view["playback_url"].as_str().unwrap().ends_with("/film.bin"), "{view}");
    let small = &view["titles"][0];
    assert_eq!((&small["id"], &small["length"], &small["main"]), (&"small".into(), &50_000.into(), &false.into()));
    let small = small["playback_url"].as_str().unwrap().split_once("localhost").unwrap().1;
    assert!(engine.ask("GET", small, &[], "").await.bytes == bytes[100..50_100]);
    let stream = format!("/stream/{}", session.id());
    let whole = engine.ask("GET", &format!("{stream}?title=whole"), &[], "").await;
    assert!(whole.bytes == bytes);
    assert_eq!(whole.headers["content-type"], "video/x-test", "the type of the file, not of its main title");
    let tags: Vec<_> = [whole, engine.ask("GET", small, &[], "").await, engine.whole(&session).await]
        .map(|answered| answered.headers["etag"].clone())
        .into();
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2], "{tags:?}");
    let unknown = engine.ask("GET", &format!("{stream}?title=other"), &[], "").await;
    assert_eq!((unknown.status, &unknown.json()["code"]), (StatusCode::NOT_FOUND, &"no-such-title".into()));
    assert_eq!(origin.sent(), bytes.len() as u64, "titles share what was fetched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_title_can_be_chosen() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), image(b'1', 1_000_000));
    let origin = Origin::of(bytes.clone()).await;
    let engine = Engine::start(dir.path());
    let make = async |title: &str| {
        let new = NewSession { url: origin.url.clone(), title: Some(title.into()), ..NewSession::default() };
        engine.proxy.create(new).await.unwrap()
    };
    let (small, whole, other) = (make("small").await, make("whole").await, make("other").await);
    assert!(engine.whole(&small).await.bytes == bytes[100..50_100]);
    assert!(engine.whole(&whole).await.bytes == bytes);
    until(&other, State::Failed).await;
    assert_eq!(other.error().unwrap().code, "no-such-title");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_title_may_reach_into_a_file_beside_and_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (image(b'2', 300_000), media(500_000));
    let film = [&one[1000..], &two[10..]].concat();
    let origin = Origin::of(one).await;
    origin.change(|behaviour| behaviour.beside = vec![("/film.002".into(), Arc::new(two.clone()))]);
    let engine = Engine::start(dir.path());
    let session = engine.ready(&origin.url).await;
    assert!(engine.range(&session, "bytes=298990-299009").await.bytes == film[298_990..299_010]);
    assert!(engine.whole(&session).await.bytes == film);
    let id = session.id();
    engine.proxy.shutdown().await;
    drop((engine, session));

    let sent = origin.sent();
    let engine = restart::reopened(dir.path()).await;
    let session = engine.proxy.session(id).expect("the session is still known");
    until(&session, State::Ready).await;
    assert_eq!(session.title().as_deref(), Some("film"));
    assert!(engine.whole(&session).await.bytes == film);
    assert!(origin.sent() - sent < 100_000, "{} more bytes", origin.sent() - sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_in_an_image_is_one_mapping() {
    let dir = tempfile::tempdir().unwrap();
    let (inner, mut bytes) = (image(b'1', 1_000_000), image(b'3', 1_200_000));
    bytes[64..1_000_064].copy_from_slice(&inner);
    let origin = Origin::of(bytes).await;
    let engine = Engine::start(dir.path());
    let session = engine.ready(&origin.url).await;
    assert!(engine.whole(&session).await.bytes == film_of(&inner));
    let view = engine.ask("GET", &format!("/api/v1/sessions/{}", session.id()), &[], "").await.json();
    let ids: Vec<_> = view["titles"].as_array().unwrap().iter().map(|title| title["id"].clone()).collect();
    assert_eq!((ids, &view["title"]), (vec!["inner/small".into(), "inner/film".into()], &"inner/film".into()));
    assert_eq!(view["image"], "image/image");
    let new = NewSession { url: origin.url.clone(), title: Some("inner/small".into()), ..NewSession::default() };
    let small = engine.proxy.create(new).await.unwrap();
    assert!(engine.whole(&small).await.bytes == inner[100..50_100]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_image_plays_what_is_there_and_a_wrong_answer_breaks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // The second extent of the film's file lies beyond the end.
    let whole = image(b'1', 1_000_000);
    let cut = Origin::of(whole[..800_000].to_vec()).await;
    let engine = Engine::start(dir.path());
    let session = engine.ready(&cut.url).await;
    assert!(engine.whole(&session).await.bytes == whole[700_000..800_000]);
    let bytes = image(b'4', 100_000);
    let wrong = Origin::with(Behaviour { bytes: Arc::new(bytes.clone()), ..Behaviour::default() }).await;
    let session = engine.ready(&wrong.url).await;
    assert!(engine.whole(&session).await.bytes == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_encrypted_is_refused_and_still_there_as_it_is() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), image(b'5', 100_000));
    let origin = Origin::of(bytes.clone()).await;
    let engine = Engine::start(dir.path());
    let session = engine.session(&origin.url).await;
    until(&session, State::Failed).await;
    assert_eq!(session.error().unwrap().code, "encrypted");
    assert_eq!(engine.whole(&session).await.status, StatusCode::NOT_IMPLEMENTED);
    let new = NewSession { url: origin.url.clone(), title: Some("whole".into()), ..NewSession::default() };
    let whole = engine.proxy.create(new).await.unwrap();
    until(&whole, State::Ready).await;
    assert!(engine.whole(&whole).await.bytes == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_beside_that_was_replaced_is_looked_at_again() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two, other) = (image(b'2', 300_000), media(500_000), media(410_000));
    let origin = Origin::with(Behaviour { bytes: Arc::new(one.clone()), ..Behaviour::default() }).await;
    origin.change(|behaviour| behaviour.beside = vec![("/film.002".into(), Arc::new(two.clone()))]);
    let engine = Engine::start(dir.path());
    let session = engine.ready(&origin.url).await;
    assert!(engine.whole(&session).await.bytes == [&one[1000..], &two[10..]].concat());
    engine.proxy.close(session.id()).await;
    origin.change(|behaviour| behaviour.beside[0].1 = Arc::new(other.clone()));
    let session = engine.ready(&origin.url).await;
    assert!(engine.whole(&session).await.bytes == [&one[1000..], &other[10..]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn new_credentials_are_for_the_files_beside_too() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (image(b'2', 300_000), media(9_000_000));
    let film = [&one[1000..], &two[10..]].concat();
    let origin = Origin::of(one).await;
    origin.change(|behaviour| behaviour.beside = vec![("/film.002".into(), Arc::new(two.clone()))]);
    let engine = Engine::patient(dir.path());
    let session = engine.ready(&format!("{}?token=old", origin.url)).await;
    origin.change(|behaviour| behaviour.token = Some("Bearer good".into()));
    let rescue = async {
        until(&session, State::AuthRequired).await;
        let path = format!("/api/v1/sessions/{}/auth", session.id());
        let body = format!(r#"{{"url": "{}?token=new", "headers": {{"authorization": "Bearer good"}}}}"#, origin.url);
        let renewed = engine.ask("PUT", &path, &[("content-type", "application/json")], &body).await;
        assert_eq!(renewed.status, StatusCode::OK);
    };
    let (answered, ()) = tokio::join!(engine.whole(&session), rescue);
    assert!(!answered.short && answered.bytes == film, "{} bytes came", answered.bytes.len());
    until(&session, State::Ready).await;
    assert!(engine.whole(&session).await.bytes == film);
}

/// What the films begin with that [`Liar`] knows.
pub const LIE: &[u8] = b"LIES";

/// Knows everything wrong: in the way that the byte after its magic says.
pub struct Liar;

impl ContainerDetector for Liar {
    fn id(&self) -> &str {
        "liar"
    }

    fn finds_titles(&self) -> bool {
        true
    }

    fn detect(&self, look: Look) -> BoxFuture<'static, Result<Answer, Failure>> {
        let size = look.files[0].size.unwrap_or(0);
        let first = |offset, length| plugin::detect::IndexRange { offset, length, what: "lie".into() };
        let layout = |layout: Layout| Ok(Answer::Found(Box::new(layout)));
        let need = |offset, length| {
            Ok(Answer::Need { ranges: vec![Needed { file: 0, offset, length }], siblings: Vec::new() })
        };
        let extent = |offset, length| Extent { origin: ExtentOrigin::File { file: 0, offset }, length };
        let title = |extents| Title {
            id: "lie".into(),
            name: None,
            media_type: None,
            duration_ms: Some(u64::MAX),
            main: true,
            extents,
        };
        let answer = match look.windows[0].bytes[LIE.len()] {
            // Bytes that are not there.
            b'0' => need(size, 100),
            b'1' => need(u64::MAX - 5, 100),
            b'2' => need(0, u64::MAX),
            // The same again and again.
            b'3' => need(0, 10),
            b'4' => need(look.windows.len() as u64, 1),
            // Files that do not exist.
            b'5' => Ok(Answer::Need { ranges: vec![Needed { file: 9, offset: 0, length: 1 }], siblings: Vec::new() }),
            b'6' => {
                Ok(Answer::Need { ranges: Vec::new(), siblings: vec!["../up".into(), String::new(), "a/b".into()] })
            }
            b'7' => Ok(Answer::Need { ranges: Vec::new(), siblings: Vec::new() }),
            // Facts that cannot be.
            b'8' => layout(Layout {
                format: "lie".into(),
                duration_ms: Some(u64::MAX),
                bit_rate: Some(u64::MAX),
                first: vec![first(u64::MAX, u64::MAX), first(size + 1, 5), first(0, 0), first(5, u64::MAX)],
                ..Layout::default()
            }),
            b'9' => {
                layout(Layout { format: "lie".into(), titles: vec![title(vec![extent(size, 1)])], ..Layout::default() })
            }
            b'a' => layout(Layout { format: "lie".into(), titles: vec![title(Vec::new())], ..Layout::default() }),
            b'b' => {
                let extents = vec![extent(0, u64::MAX), extent(u64::MAX, u64::MAX)];
                layout(Layout { format: "lie".into(), titles: vec![title(extents)], ..Layout::default() })
            }
            b'c' => {
                Err(Failure::Fault { plugin: "liar".into(), generation: 1, fault: plugin::Fault::Trap("a lie".into()) })
            }
            _ => Ok(Answer::Unknown),
        };
        Box::pin(async move { answer })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_answer_never_breaks_plain_playback() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(dir.path());
    for kind in b"0123456789abc" {
        let film = [LIE, &[*kind], &media(400_000)].concat();
        let origin = Origin::of(film.clone()).await;
        let session = engine.ready(&origin.url).await;
        let whole = engine.whole(&session).await;
        assert!(whole.bytes == film, "kind {}: {} {}", char::from(*kind), whole.status, whole.bytes.len());
        let part = engine.range(&session, "bytes=399000-").await;
        assert!(part.bytes == film[399_000..], "kind {}", char::from(*kind));
        // And once more, from what was remembered of it.
        let again = engine.ready(&origin.url).await;
        assert!(engine.whole(&again).await.bytes == film, "kind {}, again", char::from(*kind));
    }
}
