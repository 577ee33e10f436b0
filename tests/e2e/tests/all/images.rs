//! Films within disc images and archives, films in containers of all ages, and films that begin in the middle.
//!
//! Where a film lies is told by a plugin, what is read is mapped by the proxy, what is fetched lies in a file that nobody
//! plays: only together, and with images that people's tools made, do they show that the film in it plays.

use std::time::Duration;

use mediahost_e2e::http::Request;
use mediahost_e2e::relay::Line;
use mediahost_e2e::{Host, Nginx, Random, Relay, media, rounds, until};
use serde_json::{Value, json};

/// The longest of the random ranges.
const LONGEST: u64 = 2 << 20;
/// What is read near the end of a title.
const END_BYTES: u64 = 200_000;
/// What a player reads first at the time to start from.
const START_BYTES: u64 = 64 << 10;
/// What the origin may send beyond the files: their headers, and what was on its way when a request was given up.
const SLACK_BYTES: u64 = 256 << 10;
/// What a second session may cost: asking whether the file is still the same.
const VALIDATION_BYTES: u64 = 64 << 10;
/// From the last byte that a client got to the line in nginx's log.
const LOGGED: Duration = Duration::from_secs(5);

fn stage() -> (Host, Nginx, Relay) {
    let origin = Nginx::serve(media::folder());
    let relay = Relay::start(origin.address(), Line::of(200, Duration::from_millis(40)));
    (Host::start(), origin, relay)
}

/// Opens with more than an address, which is expected to work.
fn open(host: &Host, wish: &Value) -> (String, Value) {
    let made = host.api("POST", "/sessions").json(wish).send().expect(201);
    let id = made["session_id"].as_str().unwrap_or_else(|| panic!("no session_id in {made}")).to_owned();
    let session = host.verdict(&id);
    assert_eq!(session["state"], "ready", "{wish}: {session}");
    (id, session)
}

/// What a session says about itself is true, and what it serves are these bytes, in ranges and as a whole.
fn assert_serves(host: &Host, id: &str, session: &Value, film: &[u8]) {
    let size = film.len() as u64;
    assert_eq!(session["length"], size, "{session}");
    let end = size - END_BYTES;
    assert!(host.part(id, &(end..size)) == film[end as usize..], "other bytes at the end: {session}");
    let mut random = Random::new();
    for _ in 0..rounds(8) {
        let range = random.range(size, LONGEST);
        let bytes = host.part(id, &range);
        assert!(bytes == film[range.start as usize..range.end as usize], "other bytes in {range:?}: {session}");
    }
    assert!(host.whole(id) == film, "the whole is not the film: {session}");
}

fn assert_lasts(session: &Value, expected_ms: u64) {
    let ms = session["duration_ms"].as_u64().unwrap_or_else(|| panic!("no duration: {session}"));
    assert!(ms.abs_diff(expected_ms) <= expected_ms / 100, "{ms} ms instead of {expected_ms}: {session}");
}

fn codecs(session: &Value) -> Vec<(String, String)> {
    let tracks = session["tracks"].as_array().unwrap_or_else(|| panic!("no tracks: {session}"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    tracks.iter().map(|track| (text(&track["kind"]), text(&track["codec"]))).collect()
}

fn assert_codecs(session: &Value, expected: &[(&str, &str)]) {
    let found = codecs(session);
    let found: Vec<_> = found.iter().map(|(kind, codec)| (kind.as_str(), codec.as_str())).collect();
    assert_eq!(found, expected, "{session}");
}

fn ids(session: &Value) -> Vec<&str> {
    let titles = session["titles"].as_array().unwrap_or_else(|| panic!("no titles: {session}"));
    titles.iter().map(|title| title["id"].as_str().unwrap_or_default()).collect()
}

/// The bytes of a title of a session, by the address that the session gives for it.
fn title_bytes(session: &Value, id: &str) -> Vec<u8> {
    let titles = session["titles"].as_array().unwrap_or_else(|| panic!("no titles: {session}"));
    let title = titles.iter().find(|title| title["id"] == id).unwrap_or_else(|| panic!("no title {id}: {session}"));
    let answer = Request::get(title["playback_url"].as_str().unwrap_or_default()).send();
    assert_eq!(answer.status, 200, "{title}: {answer:?}");
    let bytes = answer.bytes();
    assert_eq!(title["length"], bytes.len() as u64, "{title}");
    bytes
}

#[test]
fn a_dvd_serves_its_film_without_the_menu() {
    let (host, origin, relay) = stage();
    let film = media::bytes("dvd-film.vob");
    let (id, session) = host.ready(&relay.url("dvd.iso"));
    assert_eq!((&session["image"], &session["container"]), (&json!("dvdvideo"), &json!("mpeg")), "{session}");
    assert_lasts(&session, 20_000);
    assert_codecs(&session, &[("video", "mpeg2video"), ("audio", "ac3")]);
    assert_eq!(session["title"], "VTS_01-1", "{session}");
    assert_eq!(ids(&session), ["VTS_01-1", "VTS_02-1"], "{session}");
    assert_serves(&host, &id, &session, &film);
    assert_eq!(media::probe(&host.stream_url(&id)), media::local_probe("dvd-film.vob"));

    assert!(title_bytes(&session, "VTS_02-1") == media::bytes("dvd-extra.vob"), "the extra is another");
    let image = media::bytes("dvd.iso");
    let whole = host.request("GET", &format!("/stream/{id}?title=whole")).send().bytes();
    assert!(whole == image, "the image itself is another");
    until("nginx's log", LOGGED, || (origin.body_bytes("dvd.iso") > film.len() as u64).then_some(()));
    let sent = origin.body_bytes("dvd.iso");
    assert!(sent <= image.len() as u64, "{sent} bytes for {}: {:#?}", image.len(), origin.served());

    let (again, known) = host.ready(&relay.url("dvd.iso"));
    for fact in ["image", "title", "container", "duration_ms", "tracks", "length"] {
        assert_eq!(known[fact], session[fact], "{fact} is another the second time");
    }
    assert!(host.whole(&again) == film, "the second session is another");
    let more = origin.body_bytes("dvd.iso") - sent;
    assert!(more <= VALIDATION_BYTES, "a second viewing cost {more} bytes: {:#?}", origin.served());
}

#[test]
fn a_title_of_a_dvd_can_be_chosen() {
    let (host, _origin, relay) = stage();
    let url = relay.url("dvd.iso");
    let (id, session) = open(&host, &json!({ "url": url, "title": "VTS_02-1" }));
    assert_eq!(session["title"], "VTS_02-1", "{session}");
    assert_lasts(&session, 4_000);
    assert_serves(&host, &id, &session, &media::bytes("dvd-extra.vob"));

    let (id, session) = open(&host, &json!({ "url": url, "title": "whole" }));
    assert_eq!((&session["image"], &session["titles"]), (&Value::Null, &json!([])), "{session}");
    assert_serves(&host, &id, &session, &media::bytes("dvd.iso"));

    let made = host.api("POST", "/sessions").json(&json!({ "url": url, "title": "VTS_03-1" })).send().expect(201);
    let refused = host.verdict(made["session_id"].as_str().unwrap());
    assert_eq!((&refused["state"], &refused["error"]["code"]), (&json!("failed"), &json!("no-such-title")));
}

#[test]
fn a_disc_of_files_serves_the_film_among_them() {
    let (host, origin, relay) = stage();
    let film = media::bytes("film.mp4");
    let (id, session) = host.ready(&relay.url("data.iso"));
    assert_eq!(session["image"], "udf", "{session}");
    assert_eq!(ids(&session), ["films/film.mp4"], "{session}");
    assert_serves(&host, &id, &session, &film);
    until("nginx's log", LOGGED, || (origin.body_bytes("data.iso") >= film.len() as u64).then_some(()));
    let sent = origin.body_bytes("data.iso");
    let size = media::bytes("data.iso").len() as u64;
    assert!(sent <= size, "{sent} bytes for {size}: {:#?}", origin.served());

    let (_, plain) = host.ready(&relay.url("film.mp4"));
    for fact in ["container", "duration_ms", "tracks"] {
        assert_eq!(session[fact], plain[fact], "{fact} is not as of the file itself");
    }
}

#[test]
fn a_stored_film_in_an_archive_plays() {
    let (host, _origin, relay) = stage();
    let check = |archive: &str, image: &str, title: &str, container: &str, film: &str| {
        let (id, session) = host.ready(&relay.url(archive));
        assert_eq!((&session["image"], &session["title"]), (&json!(image), &json!(title)), "{session}");
        assert_eq!(ids(&session), [title], "{session}");
        let words = session["container"].as_str().unwrap_or_default();
        assert!(words.split(',').any(|word| word == container), "{session}");
        assert_lasts(&session, 60_000);
        assert_serves(&host, &id, &session, &media::bytes(film));
    };
    check("stored.zip", "zip", "box/film.mkv", "matroska", "film.mkv");
    check("film.tar", "tar", "box/film.mkv", "matroska", "film.mkv");
    // A title within a title: the disc's name, then the film's on the disc.
    check("disc.zip", "zip/udf", "data.iso/films/film.mp4", "mp4", "film.mp4");
}

/// The volumes lie beside each other at the origin, and only the first was asked for.
#[test]
fn a_stored_film_in_a_set_of_volumes_plays() {
    let (host, origin, relay) = stage();
    let film = media::bytes("film.mpg");
    let (id, session) = host.ready(&relay.url("set.part1.rar"));
    assert_eq!((&session["image"], &session["title"]), (&json!("rar"), &json!("film.mpg")), "{session}");
    assert_eq!(session["container"], "mpeg", "{session}");
    assert_lasts(&session, 20_000);
    assert_serves(&host, &id, &session, &film);
    until("nginx's log", LOGGED, || (origin.body_bytes("set.part") >= film.len() as u64).then_some(()));
    let sent = origin.body_bytes("set.part");
    assert!(sent <= film.len() as u64 + SLACK_BYTES, "{sent} bytes for {}: {:#?}", film.len(), origin.served());

    let error = host.failed(&relay.url("set.part2.rar"));
    assert_eq!(error["code"], "unsupported", "{error}");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("set.part1.rar")), "{error}");
}

#[test]
fn what_cannot_be_played_is_refused_with_the_reason() {
    let (host, _origin, relay) = stage();
    let error = host.failed(&relay.url("deflated.zip"));
    assert_eq!(error["code"], "unsupported", "{error}");
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains("song.wav") && message.to_lowercase().contains("deflate"), "{error}");

    let error = host.failed(&relay.url("aacs.iso"));
    assert_eq!(error["code"], "encrypted", "{error}");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("AACS")), "{error}");
}

#[test]
fn films_in_older_containers_play() {
    let (host, _origin, relay) = stage();
    let check = |name: &str, container: &str, tracks: &[(&str, &str)]| {
        let (id, session) = host.ready(&relay.url(name));
        assert_eq!((&session["container"], &session["image"]), (&json!(container), &Value::Null), "{session}");
        assert_eq!(session["titles"], json!([]), "{session}");
        assert_lasts(&session, 20_000);
        assert_codecs(&session, tracks);
        assert_serves(&host, &id, &session, &media::bytes(name));
        assert_eq!(
            media::probe(&host.stream_url(&id)),
            media::local_probe(name),
            "{name}: a player sees something else"
        );
    };
    check("film.avi", "avi", &[("video", "mpeg4"), ("audio", "mp3")]);
    check("film.flv", "flv", &[("video", "h264"), ("audio", "aac")]);
    check("film.mpg", "mpeg", &[("video", "mpeg2video"), ("audio", "mp2")]);
}

/// After `ready` the line breaks for good; what a player reads at the time to start from is there nevertheless.
#[test]
fn a_film_that_begins_in_the_middle_is_ready_there() {
    let origin = Nginx::serve(media::folder());
    let host = Host::start();
    for (name, played) in
        [("film.mkv", "film.mkv"), ("film.mp4", "film.mp4"), ("data.iso", "film.mp4"), ("film.tar", "film.mkv")]
    {
        let relay = Relay::start(origin.address(), Line::of(20, Duration::from_millis(100)));
        let film = media::bytes(played);
        let size = film.len() as u64;
        let start = media::position(played, 30);
        assert!((size / 4..size / 4 * 3).contains(&start), "{name}: {start} of {size} is not the middle");
        let (id, session) = open(&host, &json!({ "url": relay.url(name), "start_ms": 30_000 }));
        let dead = Line { reset_after: Some(0), ..Line::default() };
        relay.set(dead);
        relay.cut();

        let down = relay.count().down;
        let range = start..start + START_BYTES;
        let bytes = host.part(&id, &range);
        assert!(bytes == film[range.start as usize..range.end as usize], "other bytes in {range:?}: {session}");
        assert!(down < size / 2, "the whole film was fetched to be ready: {down}");
    }
}
