//! A file comes through unchanged, once, and plays.
//!
//! Only the whole program shows that each byte leaves the origin once: fetching, keeping, warming up and serving are
//! different crates, and each of them alone could ask again.

use std::time::Duration;

use mediahost_e2e::relay::Line;
use mediahost_e2e::{Host, Nginx, Random, Relay, media, rounds, until, within};

/// What the origin may send beyond the file: a look at the head before the plan is known, and what was on its way when a
/// request was given up.
const SLACK_BYTES: u64 = 256 << 10;
/// What a second session may cost: asking whether the file is still the same.
const VALIDATION_BYTES: u64 = 64 << 10;
/// The longest of the random ranges.
const LONGEST: u64 = 2 << 20;
/// From the last byte that a client got to the line in nginx's log.
const LOGGED: Duration = Duration::from_secs(5);

/// What a session should say about a file.
struct Expected {
    container: &'static [&'static str],
    tracks: usize,
    duration_ms: u64,
    /// Containers without an exact duration are off by up to this.
    give_or_take_ms: u64,
}

fn check(host: &Host, origin: &Nginx, relay: &Relay, name: &str, expected: &Expected) {
    let file = media::bytes(name);
    let size = file.len() as u64;
    let (id, session) = host.ready(&relay.url(name));

    let container = session["container"].as_str().unwrap_or_default();
    assert!(
        expected.container.iter().any(|known| container.split(',').any(|word| word == *known)),
        "{name}: the container is {container:?}: {session}"
    );
    assert_eq!(session["tracks"].as_array().map(Vec::len), Some(expected.tracks), "{name}: {session}");
    assert_eq!(session["length"], size, "{name}: {session}");
    assert!(session["ready_at"].is_number() || session["ready_at"].is_string(), "{name}: {session}");
    let duration = session["duration_ms"].as_u64().unwrap_or_else(|| panic!("{name} has no duration: {session}"));
    assert!(duration.abs_diff(expected.duration_ms) <= expected.give_or_take_ms, "{name}: {duration} ms: {session}");

    let mut random = Random::new();
    for _ in 0..rounds(12) {
        let range = random.range(size, LONGEST);
        let bytes = host.part(&id, &range);
        assert!(bytes == file[range.start as usize..range.end as usize], "{name}: other bytes in {range:?}");
    }
    assert!(host.whole(&id) == file, "{name}: the whole is not the file");

    within(LOGGED, || (origin.body_bytes(name) >= size).then_some(()));
    let sent = origin.body_bytes(name);
    assert!(
        (size..=size + SLACK_BYTES).contains(&sent),
        "{name}: the origin sent {sent} bytes for {size}: {:#?}",
        origin.served()
    );

    let (again, _) = host.ready(&relay.url(name));
    assert_ne!(again, id);
    assert!(host.whole(&again) == file, "{name}: the second session is not the file");
    assert_eq!(
        media::probe(&host.stream_url(&again)),
        media::local_probe(name),
        "{name}: a player sees something else"
    );
    let more = origin.body_bytes(name) - sent;
    assert!(more <= VALIDATION_BYTES, "{name}: a second viewing cost {more} bytes: {:#?}", origin.served());
}

fn stage() -> (Host, Nginx, Relay) {
    let origin = Nginx::serve(media::folder());
    let relay = Relay::start(origin.address(), Line::of(200, Duration::from_millis(40)));
    (Host::start(), origin, relay)
}

#[test]
fn films() {
    let (host, origin, relay) = stage();
    let expected = |container, duration_ms| Expected { container, tracks: 2, duration_ms, give_or_take_ms: 150 };
    check(&host, &origin, &relay, "film.mp4", &expected(&["mp4", "mov"], 60_000));
    check(&host, &origin, &relay, "film-fast.mp4", &expected(&["mp4", "mov"], 60_000));
    check(&host, &origin, &relay, "film.mkv", &expected(&["matroska"], 60_000));
    check(&host, &origin, &relay, "film.ts", &expected(&["mpegts"], 30_000));
}

#[test]
fn songs() {
    let (host, origin, relay) = stage();
    let expected = |container, duration_ms| Expected { container, tracks: 1, duration_ms, give_or_take_ms: 150 };
    check(&host, &origin, &relay, "song.flac", &expected(&["flac"], 40_000));
    check(&host, &origin, &relay, "song.mp3", &expected(&["mp3"], 15_000));
    check(&host, &origin, &relay, "song.ogg", &expected(&["ogg"], 15_000));
    check(&host, &origin, &relay, "song.wav", &expected(&["wav"], 5_000));
}

/// Two readers of one film, and a third who seeks, share what is fetched.
#[test]
fn viewers_share_one_download() {
    let (host, origin, relay) = stage();
    let film = media::bytes("film.mkv");
    let size = film.len() as u64;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let (id, _) = host.ready(&relay.url("film.mkv"));
                assert!(host.whole(&id) == film);
            });
        }
        scope.spawn(|| {
            let (id, _) = host.ready(&relay.url("film.mkv"));
            let mut random = Random::new();
            for _ in 0..rounds(8) {
                let range = random.range(size, LONGEST);
                assert!(host.part(&id, &range) == film[range.start as usize..range.end as usize], "{range:?}");
            }
        });
    });
    within(LOGGED, || (origin.body_bytes("film.mkv") >= size).then_some(()));
    let sent = origin.body_bytes("film.mkv");
    assert!((size..=size + SLACK_BYTES).contains(&sent), "{sent} bytes for {size}: {:#?}", origin.served());
}

/// What a player needs first is there when the session says so, although the `moov` lies at the end of a slow line.
#[test]
fn ready_means_that_a_player_can_begin() {
    let origin = Nginx::serve(media::folder());
    let relay = Relay::start(origin.address(), Line::of(10, Duration::from_millis(100)));
    let host = Host::start();
    let film = media::bytes("film.mp4");
    let (id, _) = host.ready(&relay.url("film.mp4"));
    let tail = film.windows(4).rposition(|window| window == b"moov").unwrap() - 4;
    let begin = std::time::Instant::now();
    let head = host.part(&id, &(0..4096));
    let index = host.part(&id, &(tail as u64..film.len() as u64));
    let took = begin.elapsed();
    assert!(head == film[..4096] && index == film[tail..]);
    assert!(took < Duration::from_millis(100), "{took:?}, which is a round trip to the origin");
    let down = relay.count().down;
    assert!(down < film.len() as u64 / 2, "the whole film was fetched to be ready: {down}");
}

/// A server without ranges still gives a film, from the front.
#[test]
fn an_origin_without_ranges() {
    let (host, _origin, relay) = stage();
    let song = media::bytes("song.flac");
    let (id, _) = host.ready(&relay.url("plain/song.flac"));
    assert!(host.whole(&id) == song);
    let (id, _) = host.ready(&relay.url("plain/song.flac"));
    assert!(host.part(&id, &(1000..5000)) == song[1000..5000]);
}

#[test]
fn a_redirect_is_followed() {
    let (host, _origin, relay) = stage();
    let (id, _) = host.ready(&relay.url("moved/song.mp3"));
    assert!(host.whole(&id) == media::bytes("song.mp3"));
}

/// The stream behaves as a file server should, whoever asks.
#[test]
fn the_stream_speaks_http() {
    let (host, origin, _relay) = stage();
    let song = media::bytes("song.mp3");
    let size = song.len();
    let (id, _) = host.ready(&origin.url("song.mp3"));
    let ask = |method: &str, tail: &str, headers: &[(&str, &str)]| {
        let request = host.request(method, &format!("/stream/{id}{tail}"));
        headers.iter().fold(request, |request, (name, value)| request.header(name, value)).send()
    };

    let head = ask("HEAD", "", &[]);
    assert_eq!((head.status, head.header("content-length")), (200, Some(size.to_string().as_str())), "{head:?}");
    assert_eq!(head.header("accept-ranges"), Some("bytes"), "{head:?}");
    let etag = head.header("etag").unwrap_or_else(|| panic!("no validator: {head:?}")).to_owned();

    let named = ask("GET", "/song.mp3", &[]);
    assert!(named.status == 200 && named.bytes() == song, "a name after the id changes nothing");

    let suffix = ask("GET", "", &[("Range", "bytes=-100")]);
    assert_eq!(suffix.status, 206);
    assert_eq!(suffix.header("content-range"), Some(format!("bytes {}-{}/{size}", size - 100, size - 1).as_str()));
    assert!(suffix.bytes() == song[size - 100..]);

    let open = ask("GET", "", &[("Range", "bytes=1000-")]);
    assert!(open.status == 206 && open.bytes() == song[1000..]);

    let same = ask("GET", "", &[("Range", "bytes=0-9"), ("If-Range", &etag)]);
    assert!(same.status == 206 && same.bytes() == song[..10]);
    let other = ask("GET", "", &[("Range", "bytes=0-9"), ("If-Range", "\"another\"")]);
    assert!(other.status == 200 && other.bytes() == song, "another version is sent whole");
    assert_eq!(ask("GET", "", &[("If-None-Match", &etag)]).status, 304);

    let beyond = ask("GET", "", &[("Range", &format!("bytes={size}-"))]);
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.header("content-range"), Some(format!("bytes */{size}").as_str()));
    let nonsense = ask("GET", "", &[("Range", "pages=1-2")]);
    assert_eq!(nonsense.status, 200, "RFC 9110 §14.2: a range in an unknown unit is ignored");
}

#[test]
fn a_deleted_session_is_gone_and_what_it_fetched_stays() {
    let (host, origin, _relay) = stage();
    let (id, _) = host.ready(&origin.url("song.ogg"));
    assert!(host.whole(&id) == media::bytes("song.ogg"));
    let status = host.api("DELETE", &format!("/sessions/{id}")).send().status;
    assert!(matches!(status, 200 | 204), "{status}");
    assert_eq!(host.stream(&id).send().status, 404);
    assert_eq!(host.api("GET", &format!("/sessions/{id}")).send().status, 404);
    until("the log", LOGGED, || (origin.body_bytes("song.ogg") > 0).then_some(()));
    let before = origin.body_bytes("song.ogg");
    let (id, _) = host.ready(&origin.url("song.ogg"));
    assert!(host.whole(&id) == media::bytes("song.ogg"));
    assert!(origin.body_bytes("song.ogg") - before <= VALIDATION_BYTES);
}

/// Statistics and events of a session that a page can show.
#[test]
fn a_session_tells_how_it_is_doing() {
    use std::io::{BufRead, BufReader};
    let (host, origin, _relay) = stage();
    let (id, _) = host.ready(&origin.url("song.flac"));
    assert!(host.whole(&id) == media::bytes("song.flac"));
    let stats = host.api("GET", &format!("/sessions/{id}/stats")).send().expect(200);
    for field in ["download_bps", "serve_bps", "buffered_bytes_ahead", "active_workers", "cache_hit_rate"] {
        assert!(stats[field].is_number(), "no {field} in {stats}");
    }
    let events = host.api("GET", &format!("/sessions/{id}/events")).send();
    assert_eq!(events.status, 200, "{events:?}");
    assert!(events.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")), "{events:?}");
    let named = BufReader::new(events).lines().map(Result::unwrap).find(|line| line.starts_with("event:"));
    assert!(
        matches!(named.as_deref(), Some("event: ready" | "event: stats" | "event:ready" | "event:stats")),
        "{named:?}"
    );
}
