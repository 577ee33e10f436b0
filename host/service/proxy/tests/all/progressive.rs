//! How far a file has come, and what is told about it.

use proxy::bus::{Event, Happening, Phase, Subscription, Told};
use proxy::{Bus, NewSession, Session, State};

use super::*;
use crate::origin::{Behaviour, Origin};

/// Knows FLAC and MP4 by their first bytes.
pub struct Named(pub &'static str, pub &'static str);

impl ContainerDetector for Named {
    fn id(&self) -> &str {
        "named"
    }

    fn detect(&self, _: Look) -> BoxFuture<'static, Result<Answer, Failure>> {
        let track = plugin::detect::Track { kind: "audio".into(), codec: "some".into(), ..Default::default() };
        let layout =
            Layout { format: self.0.into(), media_type: Some(self.1.into()), tracks: vec![track], ..Layout::default() };
        Box::pin(async move { Ok(Answer::Found(Box::new(layout))) })
    }
}

/// The next event that a test is about.
async fn next<T>(listening: &mut Subscription, wanted: impl Fn(&Event) -> Option<T>) -> T {
    let look = async {
        loop {
            match listening.next().await {
                Some(Told::Happened(Happening { event, .. })) => {
                    if let Some(found) = wanted(&event) {
                        return found;
                    }
                }
                Some(Told::Missed(_)) => {}
                None => panic!("nobody tells any more"),
            }
        }
    };
    tokio::time::timeout(DEADLINE, look).await.expect("it is told in time")
}

async fn filled(engine: &Engine, url: &str, bus: &Bus) -> Arc<Session> {
    let new = NewSession { url: url.into(), fill: true, bus: Some(bus.clone()), ..NewSession::default() };
    engine.proxy.create(new).await.unwrap()
}

fn flac(length: usize) -> Vec<u8> {
    [b"fLaC", &media(length)[4..]].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_comes_whole_though_nobody_reads_it() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), flac(6_000_000));
    let behaviour = Behaviour { bytes: bytes.clone().into(), media_type: Some("audio/mpeg"), ..Behaviour::default() };
    let origin = Origin::with(behaviour).await;
    let engine = Engine::start(dir.path());
    let bus = Bus::new(256);
    let mut listening = bus.subscribe();
    let session = filled(&engine, &origin.url, &bus).await;
    assert_eq!(session.phase(), Phase::Init);
    let mut seen = Vec::new();
    // The phase and the kind of media are found out by different people, in either order.
    let is_over = |seen: &[Event]| {
        let kinds = seen.iter().filter(|event| matches!(event, Event::Mismatch { .. }));
        seen.contains(&Event::Phase(Phase::Complete)) && kinds.count() > 0
    };
    while !is_over(&seen) {
        match tokio::time::timeout(DEADLINE, listening.next()).await {
            Ok(Some(Told::Happened(happening))) => {
                assert_eq!(happening.session, session.id());
                seen.push(happening.event);
            }
            other => panic!("{other:?} after {seen:?}"),
        }
    }
    assert_eq!(session.phase(), Phase::Complete);
    let infos: Vec<_> = seen.iter().filter(|event| matches!(event, Event::MediaInfo(_))).collect();
    let Some(Event::MediaInfo(info)) = infos.first() else { panic!("{seen:?}") };
    assert_eq!((info.container.as_deref(), info.media_type.as_deref()), (Some("flac"), Some("audio/flac")));
    assert!(infos.len() == 1 && info.sniffed && info.codecs == ["some"], "the bytes win, once: {infos:?}");
    let mismatch = Event::Mismatch { declared: "audio/mpeg".into(), sniffed: "audio/flac".into() };
    assert!(seen.contains(&mismatch), "{seen:?}");
    let here = seen.iter().filter_map(|event| match event {
        Event::Progress(progress) => Some(progress.clone()),
        _ => None,
    });
    let here: Vec<_> = here.collect();
    assert!(here.windows(2).all(|pair| pair[0].present_bytes <= pair[1].present_bytes), "{here:?}");
    assert!(engine.whole(&session).await.bytes == bytes);
    assert_eq!(origin.sent(), bytes.len() as u64, "each byte once");

    // It is here: whoever opens it again waits for nothing.
    let again = filled(&engine, &origin.url, &bus).await;
    until(&again, State::Ready).await;
    assert_eq!(again.phase(), Phase::Complete);
    let view = engine.ask("GET", &format!("/api/v1/sessions/{}", again.id()), &[], "").await.json();
    assert_eq!((&view["phase"], &view["media_info"]["container"]), (&"complete".into(), &"flac".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_listens_too_slowly_is_told_how_much_was_missed() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::of(flac(300_000)).await;
    let engine = Engine::start(dir.path());
    let bus = Bus::new(2);
    let mut slow = bus.subscribe();
    let sessions = [filled(&engine, &origin.url, &bus).await, filled(&engine, &origin.url, &bus).await];
    for session in &sessions {
        when(|| session.phase() == Phase::Complete, || "all of it".into()).await;
        until(session, State::Ready).await;
    }
    assert!(matches!(slow.next().await, Some(Told::Missed(missed)) if missed > 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_waits_is_told_of() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), flac(20_000_000));
    let origin = Origin::of(bytes.clone()).await;
    let engine = Engine::patient(dir.path());
    let session = engine.ready(&origin.url).await;
    let mut listening = session.bus().subscribe();
    origin.change(|behaviour| behaviour.silent = 1000);
    let reading = engine.range(&session, "bytes=15000000-15000999");
    let told = next(&mut listening, |event| match event {
        Event::Slow { waited_ms, position } => Some((*waited_ms, *position)),
        _ => None,
    });
    tokio::select! {
        (waited_ms, position) = told => assert!(waited_ms >= 2000 && position == 15_000_000, "{waited_ms} {position}"),
        _ = reading => panic!("nothing was sent"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_before_anything_came_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let behaviour = Behaviour {
        bytes: flac(5_000_000).into(),
        break_after: Some(100),
        etag: Some("\"a\"".into()),
        ..Behaviour::default()
    };
    let origin = Origin::with(behaviour).await;
    let engine = Engine::start(dir.path());
    let session = engine.session(&origin.url).await;
    when(|| origin.requests() > 0, || "a request".into()).await;
    origin.change(|behaviour| behaviour.fail = Some((400, 1000)));
    until(&session, State::Failed).await;
    assert_ne!(session.phase(), Phase::Complete);
    when(|| engine.disk() == 0, || format!("{} bytes are left", engine.disk())).await;
    assert!(objects(&engine.cache).is_empty(), "{:?}", objects(&engine.cache));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_before_a_failure_stays() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::of(flac(20_000_000)).await;
    let engine = Engine::start(dir.path());
    let session = engine.ready(&origin.url).await;
    let bus = session.bus().clone();
    let mut listening = bus.subscribe();
    origin.change(|behaviour| behaviour.fail = Some((404, 1000)));
    let other = filled(&engine, &origin.url, &bus).await;
    let failed = next(&mut listening, |event| match event {
        Event::Failed(fault) => Some(fault.clone()),
        _ => None,
    });
    assert_eq!(failed.await.code, "not-found");
    assert_ne!(other.phase(), Phase::Complete);
    assert!(!objects(&engine.cache).is_empty());
}

/// Folders of objects in the cache.
fn objects(cache: &Path) -> Vec<std::path::PathBuf> {
    let folders = |path: &Path| -> Vec<_> {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    };
    let holds_files = |path: &Path| {
        std::fs::read_dir(path).is_ok_and(|mut entries| entries.any(|e| e.is_ok_and(|e| e.path().is_file())))
    };
    let mut found = Vec::new();
    let mut left = folders(cache);
    while let Some(path) = left.pop() {
        if holds_files(&path) {
            found.push(path);
        } else {
            left.extend(folders(&path));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_segments_of_a_fragmented_file_are_found_as_it_arrives() {
    let dir = tempfile::tempdir().unwrap();
    let film = include_bytes!("../../../../core/container/tests/fixtures/frames.mp4").to_vec();
    let origin = Origin::of(film.clone()).await;
    let engine = Engine::start(dir.path());
    let bus = Bus::new(256);
    let mut listening = bus.subscribe();
    let session = filled(&engine, &origin.url, &bus).await;
    next(&mut listening, |event| matches!(event, Event::Segments { complete: true, .. }).then_some(())).await;
    let found = session.fragments().unwrap();
    assert!(found.complete && found.segments.len() > 1 && found.init.is_some(), "{found:?}");
    let told = engine.ask("GET", &format!("/api/v1/sessions/{}/segments", session.id()), &[], "").await.json();
    let segments = told["segments"].as_array().unwrap();
    assert_eq!(segments.len(), found.segments.len());
    // Each begins with a box of its own where the list says so.
    for segment in segments {
        let at = segment["offset"].as_u64().unwrap() as usize;
        assert!([b"moof", b"styp"].contains(&film[at + 4..at + 8].try_into().unwrap()), "{segment}");
    }
    let other = Origin::of(flac(100_000)).await;
    assert!(engine.ready(&other.url).await.fragments().is_none());
}

/// Files of this machine, by `disk:<folder>|<name>`.
pub struct OnDisk;

impl MediaSource for OnDisk {
    fn id(&self) -> &str {
        "on-disk"
    }

    fn root(&self, name: &str) -> Option<String> {
        Some(name.to_owned())
    }

    fn open(&self, request: Open) -> BoxFuture<'static, Result<Opened, Failure>> {
        let (root, path) = request.uri.strip_prefix("disk:").unwrap().split_once('|').unwrap();
        let origin = plugin::source::Origin::File { root: root.into(), path: path.into(), offset: 0 };
        let raw = RawPlan { segments: vec![Segment { origin, length: None }], ..RawPlan::default() };
        Box::pin(async move { Ok(Opened::Plan(Plan::check(raw).unwrap())) })
    }

    fn refresh(&self, open: Open, _: Vec<u8>, _: RefreshReason) -> BoxFuture<'static, Result<Opened, Failure>> {
        self.open(open)
    }

    fn read(&self, _: Vec<u8>, _: u32, _: u64, _: u64) -> BoxStream<'static, Result<bytes::Bytes, Failure>> {
        Box::pin(futures_util::stream::empty())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_this_machine_is_complete_at_once_and_not_copied() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), flac(3_000_000));
    let folder = dir.path().join("films");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("song.flac"), &bytes).unwrap();
    let engine = Engine::start(dir.path());
    let url = format!("disk:{}|song.flac", folder.display());
    let session = engine.ready(&url).await;
    assert_eq!(session.phase(), Phase::Complete);
    assert_eq!(session.media_info().unwrap().container.as_deref(), Some("flac"));
    assert!(engine.whole(&session).await.bytes == bytes);
    let part = engine.range(&session, "bytes=2900000-").await;
    assert!(part.bytes == bytes[2_900_000..]);
    assert_eq!(engine.disk(), 0, "nothing of it is kept a second time");
    let tag = part.headers["etag"].clone();

    // Another file in its place is another version, for this session and for new ones.
    let other = flac(2_000_001);
    std::fs::write(folder.join("song.flac"), &other).unwrap();
    let again = engine.ready(&url).await;
    let whole = engine.whole(&again).await;
    assert!(whole.bytes == other && whole.headers["etag"] != tag);
    let old = engine.whole(&session).await;
    assert!(old.short || old.bytes == other, "never a mixture of both");
    when_async(async || engine.whole(&session).await.bytes == other).await;
    let missing = engine.session(&format!("disk:{}|none", folder.display())).await;
    until(&missing, State::Failed).await;
    assert_eq!(missing.error().unwrap().code, "not-found");
}
