//! Manifests: what a player finds behind the links in one, and what it costs.

use proxy::{NewSession, Session, State};

use super::*;
use crate::site::Site;

const MASTER: &[u8] = b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=800000,RESOLUTION=640x360,CODECS=\"avc1.4d401f,mp4a.40.2\"\n\
low/index.m3u8?v=1\n#EXT-X-STREAM-INF:BANDWIDTH=2000000,RESOLUTION=1280x720,CODECS=\"avc1.4d401f,mp4a.40.2\"\nhigh/index.m3u8\n";

fn media_playlist(segments: &[&str], ended: bool) -> Vec<u8> {
    let list: String = segments.iter().map(|name| format!("#EXTINF:4.0,\n{name}\n")).collect();
    let end = if ended { "#EXT-X-ENDLIST\n" } else { "" };
    format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:7\n{list}{end}").into_bytes()
}

/// The lines of a playlist that are links.
fn links(playlist: &Answered) -> Vec<String> {
    assert_eq!(playlist.status, 200, "{}", String::from_utf8_lossy(&playlist.bytes));
    let text = String::from_utf8(playlist.bytes.clone()).unwrap();
    text.lines().filter(|line| line.starts_with('/')).map(str::to_owned).collect()
}

async fn segments_of(engine: &Engine, path: &str) -> Vec<String> {
    links(&engine.ask("GET", path, &[], "").await)
}

fn path_of(session: &Session) -> String {
    format!("/stream/{}", session.id())
}

async fn view(engine: &Engine, session: &Session) -> serde_json::Value {
    engine.ask("GET", &format!("/api/v1/sessions/{}", session.id()), &[], "").await.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_segment_goes_through_the_cache_once() {
    let dir = tempfile::tempdir().unwrap();
    let pieces: Vec<Vec<u8>> = (1..=4).map(|n| media(50_000 * n)).collect();
    let site = Site::of([
        ("film.m3u8", MASTER),
        ("low/index.m3u8", &media_playlist(&["a.ts?sig=1", "b.ts?sig=2", "../c.ts", "d.ts"], true)),
        ("low/a.ts", &pieces[0]),
        ("low/b.ts", &pieces[1]),
        ("c.ts", &pieces[2]),
        ("low/d.ts", &pieces[3]),
    ])
    .await;
    let engine = Engine::start(dir.path());
    let session = engine.ready(&format!("{}/film.m3u8", site.url)).await;
    let told = view(&engine, &session).await;
    assert_eq!(
        (&told["container"], &told["duration_ms"], &told["live"]),
        (&"hls".into(), &16_000.into(), &false.into())
    );
    assert_eq!((told["tracks"][1]["height"].as_u64(), told["bit_rate"].as_u64()), (Some(720), Some(2_000_000)));
    assert!(told["playback_url"].as_str().unwrap().ends_with(".m3u8"), "{told}");

    let master = engine.ask("GET", &path_of(&session), &[], "").await;
    assert_eq!(master.headers["content-type"], "application/vnd.apple.mpegurl");
    assert!(!String::from_utf8_lossy(&master.bytes).contains("v=1"), "tokens are not told to players");
    let variants = links(&master);
    assert!(variants[0].ends_with("/index.m3u8"), "{variants:?}");
    let media = segments_of(&engine, &variants[0]).await;
    assert_eq!(media.len(), 4);
    // Several players at once, and one that comes back.
    for _ in 0..2 {
        let all = media.iter().chain(&media).map(|link| engine.ask("GET", link, &[], ""));
        let all = futures_util::future::join_all(all).await;
        for (answered, expected) in all.iter().zip(pieces.iter().chain(&pieces)) {
            assert!(answered.status == 200 && answered.bytes == *expected);
        }
    }
    let part = engine.ask("GET", &media[2], &[("range", "bytes=1000-1999")], "").await;
    assert_eq!((part.status, &part.bytes[..]), (StatusCode::PARTIAL_CONTENT, &pieces[2][1000..2000]));
    for name in ["low/a.ts", "low/b.ts", "c.ts", "low/d.ts", "film.m3u8", "low/index.m3u8"] {
        assert_eq!(site.count(name), 1, "{name} {:?}", site.change(|site| site.asked.clone()));
    }
    let asked = site.change(|site| site.asked.clone());
    for kept in ["low/index.m3u8?v=1", "low/a.ts?sig=1", "low/b.ts?sig=2"] {
        assert!(asked.iter().any(|asked| asked == kept), "{asked:?}");
    }
    let stats = engine.stats(&session).await;
    assert_eq!(stats["upstream_bytes"].as_u64(), Some(500_000), "{stats}");

    // Another session finds the segments in the cache, and does not even ask whether they are still so.
    let other = engine.ready(&format!("{}/film.m3u8", site.url)).await;
    let variants = segments_of(&engine, &path_of(&other)).await;
    let again = segments_of(&engine, &variants[0]).await;
    assert_ne!(again[3], media[3], "a link is the session's own");
    assert!(engine.ask("GET", &again[0], &[], "").await.bytes == pieces[0]);
    assert!(engine.ask("GET", &format!("{}{}", path_of(&other), &media[0][39..]), &[], "").await.status == 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_outlive_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let piece = media(300_000);
    let list = media_playlist(&["a.ts", "b.ts"], true);
    let site = Site::of([("index.m3u8", &list), ("a.ts", &piece), ("b.ts", &piece)]).await;
    let engine = Engine::start(dir.path());
    let session = engine.ready(&format!("{}/index.m3u8", site.url)).await;
    let list = segments_of(&engine, &path_of(&session)).await;
    assert!(engine.ask("GET", &list[0], &[], "").await.bytes == piece);
    engine.proxy.shutdown().await;
    drop((engine, session));
    let asked = site.count("a.ts");

    let engine = restart::reopened(dir.path()).await;
    assert!(engine.ask("GET", &list[0], &[], "").await.bytes == piece);
    assert_eq!(site.count("a.ts"), asked + 1, "it is on the disk, and asked whether it is still so");
    assert!(engine.ask("GET", &list[1], &[], "").await.bytes == piece);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_playlist_is_asked_for_again_and_its_window_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let piece = media(50_000);
    let window = |from: usize| -> Vec<u8> {
        let names: Vec<String> = (from..from + 3).map(|n| format!("{n}.ts")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        String::from_utf8(media_playlist(&names, false)).unwrap().replace("DURATION:4", "DURATION:0").into_bytes()
    };
    let site = Site::of([("live.m3u8", &window(0)), ("0.ts", &piece), ("1.ts", &piece), ("2.ts", &piece)]).await;
    let engine = Engine::start(dir.path());
    let session = engine.ready(&format!("{}/live.m3u8", site.url)).await;
    let told = view(&engine, &session).await;
    assert_eq!((&told["live"], &told["duration_ms"]), (&true.into(), &serde_json::Value::Null));
    let before = segments_of(&engine, &path_of(&session)).await;
    // The same name comes to stand for another piece: rings of segments do that.
    let other = media(60_000);
    site.change(|site| {
        site.files.insert("live.m3u8".into(), window(1));
        site.files.insert("1.ts".into(), other.clone());
        site.files.remove("0.ts");
    });
    let after = segments_of(&engine, &path_of(&session)).await;
    assert_eq!(before[1..], after[..2], "the same address has the same link");
    let answered = engine.ask("GET", &after[0], &[], "").await;
    assert!(answered.bytes == other, "{}", answered.status);
    // What the upstream has no more is told as it tells it.
    assert_eq!(engine.ask("GET", &after[2], &[], "").await.status, 404);
    assert_eq!(session.state(), State::Ready);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_of_one_file_and_keys() {
    let dir = tempfile::tempdir().unwrap();
    let film = media(900_000);
    let list = b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-KEY:METHOD=AES-128,URI=\"key\"\n#EXT-X-MAP:URI=\"film.mp4\",BYTERANGE=\"1000@0\"\n\
#EXTINF:4,\n#EXT-X-BYTERANGE:300000@1000\nfilm.mp4\n#EXTINF:4,\n#EXT-X-BYTERANGE:300000\nfilm.mp4\n#EXT-X-ENDLIST\n";
    let site = Site::of([("list", list), ("film.mp4", &film), ("key", b"0123456789abcdef")]).await;
    let engine = Engine::start(dir.path());
    // Its name does not tell that it is a manifest.
    let session = engine.ready(&format!("{}/list", site.url)).await;
    let playlist = engine.ask("GET", &path_of(&session), &[], "").await;
    let text = String::from_utf8(playlist.bytes.clone()).unwrap();
    let key = text.split("METHOD=AES-128,URI=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let answered = engine.ask("GET", &key, &[], "").await;
    assert_eq!(
        (&answered.bytes[..], &answered.headers["cache-control"]),
        (&b"0123456789abcdef"[..], &"no-store".parse().unwrap())
    );
    let segments = links(&playlist);
    assert_eq!(segments[0], segments[1], "ranges of the same address");
    for range in [0..1000, 1000..301_000, 301_000..601_000] {
        let asked = format!("bytes={}-{}", range.start, range.end - 1);
        let answered = engine.ask("GET", &segments[0], &[("range", &asked)], "").await;
        assert!(answered.status == 206 && answered.bytes == film[range.clone()], "{range:?}");
    }
    let sent: u64 = engine.stats(&session).await["upstream_bytes"].as_u64().unwrap();
    assert!(sent <= 900_000, "each byte once at most: {sent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn templates_of_dash_lead_through_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let piece = media(200_000);
    let manifest = br#"<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT8S">
<Period><AdaptationSet mimeType="video/mp4"><Representation id="v" bandwidth="900000" width="640" height="360" codecs="avc1.4d401f">
<SegmentTemplate media="v/$Number$.m4s?k=1" initialization="v/init.mp4" duration="4" startNumber="1"/></Representation></AdaptationSet></Period></MPD>"#;
    let (first, init) = ("in/v/1.m4s", "in/v/init.mp4");
    let site = Site::of([("in/film.mpd", &manifest[..]), (first, &piece), (init, &piece[..900]), ("x", b"no")]).await;
    let engine = Engine::start(dir.path());
    let session = engine.ready(&format!("{}/in/film.mpd", site.url)).await;
    let told = view(&engine, &session).await;
    assert_eq!((&told["container"], &told["duration_ms"]), (&"dash".into(), &8000.into()));
    assert_eq!((&told["tracks"][0]["codec"], &told["bit_rate"]), (&"h264".into(), &900_000.into()));
    let answered = engine.ask("GET", &path_of(&session), &[], "").await;
    let text = String::from_utf8(answered.bytes).unwrap();
    let base = text.split("<BaseURL>").nth(1).unwrap().split('<').next().unwrap();
    let base = base.strip_prefix("http://localhost").expect("players of DASH are given addresses").to_owned();
    assert!(engine.ask("GET", &format!("{base}v/1.m4s?k=1"), &[], "").await.bytes == piece);
    assert!(engine.ask("GET", &format!("{base}v/init.mp4"), &[], "").await.bytes == piece[..900]);
    assert!(site.change(|site| site.asked.contains(&"in/v/1.m4s?k=1".to_owned())));
    for outside in ["../x", "%2e%2e/x", "..%2fx", "//elsewhere/x", "http://elsewhere/x"] {
        let answered = engine.ask("GET", &format!("{base}{outside}"), &[], "").await;
        assert!(answered.status == 404, "{outside}: {}", answered.status);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_expire_are_replaced_by_those_of_a_new_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let piece = media(300_000);
    let names = ["a", "b", "c", "d", "e", "f"];
    let list = |token: &str| {
        let names: Vec<String> = names.iter().map(|name| format!("{name}.ts?{token}")).collect();
        media_playlist(&names.iter().map(String::as_str).collect::<Vec<_>>(), true)
    };
    let master = |token: &str| {
        let variant = |rate| format!("#EXT-X-STREAM-INF:BANDWIDTH={rate}\nlist.m3u8?{token}\n");
        format!("#EXTM3U\n{}{}", variant(1), variant(2)).into_bytes()
    };
    let site = Site::of([("film.m3u8", &master("t=1")), ("list.m3u8", &list("t=1"))]).await;
    site.change(|site| {
        site.open = vec!["film.m3u8".into()];
        site.token = Some("t=1".into());
        for name in names {
            site.files.insert(format!("{name}.ts"), piece.clone());
        }
    });
    let engine = Engine::start(dir.path());
    let session = engine.ready(&format!("{}/film.m3u8", site.url)).await;
    let variants = segments_of(&engine, &path_of(&session)).await;
    let old = segments_of(&engine, &variants[0]).await;
    assert!(engine.ask("GET", &old[0], &[], "").await.bytes == piece);
    when(|| site.count("c.ts") == 1, || "what is fetched ahead".into()).await;
    // From now on only new links are good; the manifest's own address needs none.
    site.change(|site| {
        site.files.insert("film.m3u8".into(), master("t=2"));
        site.files.insert("list.m3u8".into(), list("t=2"));
        site.token = Some("t=2".into());
        site.asked.clear();
    });
    for link in &old[4..] {
        assert!(engine.ask("GET", link, &[], "").await.bytes == piece, "{:?}", session.error());
    }
    assert_eq!(session.state(), State::Ready);
    let asked = site.change(|site| site.asked.clone());
    assert!(asked.contains(&"e.ts?t=1".to_owned()) && asked.contains(&"e.ts?t=2".to_owned()), "{asked:?}");
    assert!(!asked.contains(&"f.ts?t=1".to_owned()), "the others profit: {asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn players_wait_for_new_credentials_and_strangers_do_not_learn_them() {
    let dir = tempfile::tempdir().unwrap();
    let piece = media(300_000);
    let elsewhere = Site::of([("far.ts", &piece)]).await;
    let far = format!("{}/far.ts", elsewhere.url);
    let list = media_playlist(&["a.ts", "b.ts", "c.ts", "d.ts", "e.ts", &far], true);
    let site = Site::of([("list.m3u8", &list), ("a.ts", &piece), ("e.ts", &piece)]).await;
    let engine = Engine::patient(dir.path());
    let authorization = plugin::Header { name: "authorization".into(), value: "old".into() };
    let url = format!("{}/list.m3u8", site.url);
    let new = NewSession { url, headers: vec![authorization], ..NewSession::default() };
    let session = engine.proxy.create(new).await.unwrap();
    until(&session, State::Ready).await;
    let links = segments_of(&engine, &path_of(&session)).await;
    site.change(|site| site.authorization = Some("new".into()));
    let renew = async {
        until(&session, State::AuthRequired).await;
        let path = format!("/api/v1/sessions/{}/auth", session.id());
        let json = [("content-type", "application/json")];
        engine.ask("PUT", &path, &json, r#"{"headers": {"Authorization": "new"}}"#).await
    };
    let (answered, renewed) = tokio::join!(engine.ask("GET", &links[4], &[], ""), renew);
    assert_eq!(renewed.status, 200);
    assert!(answered.status == 200 && answered.bytes == piece, "{}", answered.status);
    until(&session, State::Ready).await;
    assert!(engine.ask("GET", &links[5], &[], "").await.bytes == piece);
    let learned = elsewhere.change(|site| site.credentials.clone());
    assert!(!learned.is_empty() && learned.iter().all(Option::is_none), "{learned:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_address_in_a_manifest_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let piece = media(300_000);
    let inside = Site::of([("secret.ts", &piece), ("list.m3u8", &media_playlist(&["secret.ts"], true))]).await;
    let list = media_playlist(&[&format!("{}/secret.ts", inside.url), "own.ts"], true);
    let master = format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{}/list.m3u8\n", inside.url);
    let site = Site::of([("list.m3u8", &list), ("own.ts", &piece), ("film.m3u8", master.as_bytes())]).await;
    // The user named this site, and may therefore reach it; the other one only the manifest names.
    let engine = Engine::reaching(dir.path(), &[]);
    for name in ["list.m3u8", "film.m3u8"] {
        let session = engine.session(&format!("{}/{name}", site.url)).await;
        until(&session, State::Failed).await;
        assert_eq!(session.error().unwrap().code, "private-address", "{name}");
    }
    // Nor later, when it comes to stand there.
    site.change(|site| site.files.insert("list.m3u8".into(), media_playlist(&["own.ts"], true)));
    let session = engine.ready(&format!("{}/list.m3u8", site.url)).await;
    let session_links = segments_of(&engine, &path_of(&session)).await;
    assert!(engine.ask("GET", &session_links[0], &[], "").await.bytes == piece);
    assert!(inside.change(|site| site.asked.is_empty()), "nothing was sent there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_differ_in_their_queries_are_different_ones() {
    let dir = tempfile::tempdir().unwrap();
    let list = media_playlist(&["seg.ts?n=0", "seg.ts?n=1", "seg.ts?n=2"], true);
    let site = Site::of([("list.m3u8", &list)]).await;
    let pieces: Vec<Vec<u8>> = (0..3).map(|n| media(20_000 + n)).collect();
    site.change(|site| {
        for (n, piece) in pieces.iter().enumerate() {
            site.files.insert(format!("seg.ts?n={n}"), piece.clone());
        }
    });
    let engine = Engine::start(dir.path());
    let session = engine.ready(&format!("{}/list.m3u8", site.url)).await;
    let links = segments_of(&engine, &path_of(&session)).await;
    for (link, piece) in links.iter().zip(&pieces) {
        assert!(engine.ask("GET", link, &[], "").await.bytes == *piece);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finished_presentation_that_was_made_anew_is_noticed() {
    let (dir, old, new) = (tempfile::tempdir().unwrap(), media(200_000), media(210_000));
    let site = Site::of([("list.m3u8", &media_playlist(&["a.ts"], true)), ("a.ts", &old)]).await;
    let engine = Engine::start(dir.path());
    for piece in [&old, &new] {
        site.change(|site| site.files.insert("a.ts".into(), piece.to_vec()));
        let session = engine.ready(&format!("{}/list.m3u8", site.url)).await;
        let links = segments_of(&engine, &path_of(&session)).await;
        assert!(engine.ask("GET", &links[0], &[], "").await.bytes == *piece);
        assert!(engine.proxy.close(session.id()).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_piece_that_cannot_be_had_stops_nobody_else() {
    let (dir, piece) = (tempfile::tempdir().unwrap(), media(50_000));
    let list = media_playlist(&["gone.ts", "a.ts", "forbidden.ts", "b.ts"], true);
    let site = Site::of([("list.m3u8", &list), ("a.ts", &piece), ("b.ts", &piece)]).await;
    site.change(|site| site.forbidden = vec!["forbidden.ts".into()]);
    let engine = Engine::start(dir.path());
    let session = engine.ready(&format!("{}/list.m3u8", site.url)).await;
    let links = segments_of(&engine, &path_of(&session)).await;
    assert_eq!(engine.ask("GET", &links[0], &[], "").await.status, 404);
    assert!(engine.ask("GET", &links[1], &[], "").await.bytes == piece);
    // Some servers refuse so what is not there. Others work, so nobody is asked for credentials.
    assert_eq!(engine.ask("GET", &links[2], &[], "").await.status, 502);
    assert_eq!(session.state(), State::Ready);
    assert!(engine.ask("GET", &links[3], &[], "").await.bytes == piece);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packed_manifest_is_unpacked() {
    let (dir, piece) = (tempfile::tempdir().unwrap(), media(50_000));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &media_playlist(&["a.ts"], true)).unwrap();
    let site = Site::of([("list.m3u8", &packed.finish().unwrap()), ("a.ts", &piece)]).await;
    site.change(|site| site.packed = vec!["list.m3u8".into()]);
    let engine = Engine::start(dir.path());
    let session = engine.ready(&format!("{}/list.m3u8", site.url)).await;
    let links = segments_of(&engine, &path_of(&session)).await;
    assert!(engine.ask("GET", &links[0], &[], "").await.bytes == piece);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_find_the_same_manifest_at_once_all_play_it() {
    let (dir, piece) = (tempfile::tempdir().unwrap(), media(50_000));
    // Its name does not tell what it is, so each of them looks into the file.
    let site = Site::of([("list", &media_playlist(&["a.ts"], true)), ("a.ts", &piece)]).await;
    let engine = Engine::start(dir.path());
    let url = format!("{}/list", site.url);
    let sessions = futures_util::future::join_all((0..8).map(|_| engine.ready(&url))).await;
    for session in &sessions {
        let links = segments_of(&engine, &path_of(session)).await;
        assert!(engine.ask("GET", &links[0], &[], "").await.bytes == piece);
    }
}

/// Knows `made:` as a manifest of its own, with links that work until the site wants others.
pub struct Maker(pub Arc<std::sync::atomic::AtomicU64>);

impl Maker {
    fn manifest(uri: &str, token: u64) -> BoxFuture<'static, Result<Opened, Failure>> {
        let base_url = uri.replacen("made:", "", 1);
        let names: Vec<String> = ["a", "b", "c", "d", "e"].iter().map(|name| format!("{name}.ts?t={token}")).collect();
        let text = media_playlist(&names.iter().map(String::as_str).collect::<Vec<_>>(), true);
        let manifest = plugin::source::SegmentedManifest {
            kind: "hls".into(),
            text: String::from_utf8(text).unwrap(),
            base_url,
            headers: Vec::new(),
            name: Some("made".into()),
            expires_at_ms: None,
            state: token.to_le_bytes().into(),
        };
        Box::pin(async move { Ok(Opened::Manifest(manifest)) })
    }
}

impl MediaSource for Maker {
    fn id(&self) -> &str {
        "maker"
    }

    fn root(&self, _: &str) -> Option<String> {
        None
    }

    fn open(&self, request: Open) -> BoxFuture<'static, Result<Opened, Failure>> {
        Maker::manifest(&request.uri, 1)
    }

    fn refresh(&self, request: Open, state: Vec<u8>, _: RefreshReason) -> BoxFuture<'static, Result<Opened, Failure>> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Maker::manifest(&request.uri, u64::from_le_bytes(state.try_into().unwrap()) + 1)
    }

    fn read(&self, _: Vec<u8>, _: u32, _: u64, _: u64) -> BoxStream<'static, Result<bytes::Bytes, Failure>> {
        Box::pin(futures_util::stream::empty())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_of_a_plugin_is_renewed_by_it() {
    let (dir, piece) = (tempfile::tempdir().unwrap(), media(50_000));
    let site = Site::of([]).await;
    site.change(|site| {
        site.token = Some("t=1".into());
        for name in ["a", "b", "c", "d", "e"] {
            site.files.insert(format!("{name}.ts"), piece.clone());
        }
    });
    let engine = Engine::start(dir.path());
    let session = engine.ready(&format!("made:{}/", site.url)).await;
    assert!(view(&engine, &session).await["playback_url"].as_str().unwrap().ends_with("/made.m3u8"));
    let links = segments_of(&engine, &path_of(&session)).await;
    assert!(engine.ask("GET", &links[0], &[], "").await.bytes == piece);
    for token in 2..4 {
        site.change(|site| site.token = Some(format!("t={token}")));
        // One after the other, as the links of a long film die while it plays.
        let link = &links[token + 1];
        when_async(async || engine.ask("GET", link, &[], "").await.bytes == piece).await;
        assert_eq!(session.state(), State::Ready);
    }
    assert_eq!(engine.renewals.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_manifest_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::of([
        ("bare.m3u8", b"#EXTM3U\nsong.mp3\n"),
        ("both.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-STREAM-INF:BANDWIDTH=1\nx\n"),
        ("entity.mpd", b"<!DOCTYPE MPD [<!ENTITY a 'b'>]><MPD>&a;</MPD>"),
    ])
    .await;
    let engine = Engine::start(dir.path());
    for (name, expected) in [("bare.m3u8", "bare list"), ("both.m3u8", "master playlist")] {
        let session = engine.session(&format!("{}/{name}", site.url)).await;
        until(&session, State::Failed).await;
        let error = session.error().unwrap();
        assert!(error.code == "bad-manifest" && error.message.contains(expected), "{error:?}");
        assert_eq!(engine.whole(&session).await.status, 502);
    }
    // What only looks like one is a file.
    let film = media(100_000);
    site.change(|site| site.files.insert("film.m3u8".into(), film.clone()));
    let session = engine.ready(&format!("{}/film.m3u8", site.url)).await;
    assert!(engine.whole(&session).await.bytes == film);
    let new =
        NewSession { url: format!("{}/bare.m3u8", site.url), title: Some("whole".into()), ..NewSession::default() };
    let session = engine.proxy.create(new).await.unwrap();
    until(&session, State::Ready).await;
    assert!(engine.whole(&session).await.bytes == b"#EXTM3U\nsong.mp3\n", "the file as it is");
}
