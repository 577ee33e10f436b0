//! The parts of the harness against each other, without the host: a test that fails because of its own relay or origin
//! would accuse the wrong one.

use std::io::Read;
use std::time::{Duration, Instant};

use mediahost_e2e::http::Request;
use mediahost_e2e::relay::Line;
use mediahost_e2e::{Nginx, Random, Relay, media, until, wasm};

#[test]
fn nginx_serves_ranges_and_counts_bytes() {
    let origin = Nginx::serve(media::folder());
    let film = media::bytes("film.mp4");
    let size = film.len() as u64;
    let mut random = Random::new();
    let mut asked = 0;
    for _ in 0..10 {
        let range = random.range(size, 1 << 20);
        let answer = Request::get(&origin.url("film.mp4")).range(&range).send();
        assert_eq!(answer.status, 206);
        assert_eq!(answer.header("content-range").unwrap(), format!("bytes {}-{}/{size}", range.start, range.end - 1));
        assert!(answer.bytes() == film[range.start as usize..range.end as usize], "{range:?}");
        asked += range.end - range.start;
    }
    // The log is written after the last byte has gone.
    until("nginx's log", Duration::from_secs(5), || (origin.body_bytes("film.mp4") == asked).then_some(()));
    assert_eq!(origin.served().len(), 10);
}

#[test]
fn nginx_has_places_that_refuse() {
    let origin = Nginx::serve(media::folder());
    let status = |path: &str| Request::get(&origin.url(path)).send().status;
    assert_eq!(status("none.mp4"), 404);
    assert_eq!(status("gone/film.mp4"), 410);
    assert_eq!(status("broken/film.mp4"), 503);
    assert_eq!(status("moved/film.mp4"), 302);
    assert_eq!(status("private/song.mp3"), 401);
    let credentials = "Basic YW5uOnNlY3JldA==";
    let answer = Request::get(&origin.url("private/song.mp3")).header("Authorization", credentials).send();
    assert!(answer.status == 200 && answer.bytes() == media::bytes("song.mp3"));
    let answer = Request::get(&origin.url("plain/song.mp3")).range(&(5..10)).send();
    assert_eq!(answer.status, 200, "a place without ranges answers with everything");
}

#[test]
fn a_relay_delays_limits_and_counts() {
    let origin = Nginx::serve(media::folder());
    let relay = Relay::start(origin.address(), Line::of(40, Duration::from_millis(100)));
    let song = media::bytes("song.wav");
    let begin = Instant::now();
    let mut answer = Request::get(&relay.url("song.wav")).send();
    answer.read_exact(&mut [0]).unwrap();
    let first = begin.elapsed();
    let rest = answer.bytes();
    let all = begin.elapsed();
    assert!(rest == song[1..]);
    assert!(first >= Duration::from_millis(100), "{first:?}");
    let fair = Duration::from_secs_f64(song.len() as f64 / 5e6);
    assert!(all >= fair && all < fair * 3 + Duration::from_secs(1), "{all:?} for what should take {fair:?}");
    let count = relay.count();
    assert_eq!(count.connections, 1);
    assert!(count.down >= song.len() as u64 && count.down < song.len() as u64 + 1000, "{count:?}");
}

#[test]
fn a_relay_breaks_where_it_was_told() {
    let origin = Nginx::serve(media::folder());
    let line = Line { reset_after: Some(100_000), ..Line::default() };
    let relay = Relay::start(origin.address(), line);
    let mut answer = Request::get(&relay.url("song.wav")).send();
    let mut bytes = Vec::new();
    assert!(answer.read_to_end(&mut bytes).is_err());
    assert!(bytes.len() < 100_000 && media::bytes("song.wav").starts_with(&bytes));
    assert_eq!(relay.count().down, 100_000);

    relay.set(Line::default());
    assert!(Request::get(&relay.url("song.wav")).send().bytes() == media::bytes("song.wav"));
}

#[test]
fn a_relay_cuts_what_runs() {
    let origin = Nginx::serve(media::folder());
    let relay = Relay::start(origin.address(), Line::of(8, Duration::ZERO));
    let mut answer = Request::get(&relay.url("film.mp4")).send();
    answer.read_exact(&mut [0; 1000]).unwrap();
    relay.cut();
    assert!(answer.read_to_end(&mut Vec::new()).is_err());
}

#[test]
fn the_films_are_what_the_table_says() {
    let before = |name: &str, first: &[u8], second: &[u8]| {
        let bytes = media::bytes(name);
        let find = |wanted: &[u8]| bytes.windows(wanted.len()).position(|window| window == wanted);
        find(first) < find(second)
    };
    assert!(before("film.mp4", b"mdat", b"moov"));
    assert!(before("film-fast.mp4", b"moov", b"mdat"));
    let film = media::bytes("film.mkv");
    let cues = film.windows(4).rposition(|window| window == [0x1C, 0x53, 0xBB, 0x6B]).unwrap();
    assert!(cues > film.len() / 10 * 9, "Cues at {cues} of {}", film.len());
    let size = media::bytes("film.mp4").len();
    assert!((15_000_000..40_000_000).contains(&size), "{size}");
    assert_eq!(media::bytes("film.ts")[188], 0x47);
    let probe = media::local_probe("film.mp4");
    assert!(probe.streams.contains("1920") && probe.streams.contains("aac"), "{}", probe.streams);
    assert!(probe.frames.lines().filter(|line| line.starts_with("0,")).count() == 1440);
}

#[test]
fn another_build_is_the_same_component_with_another_hash() {
    // The eight bytes that every component begins with are one by themselves.
    let component = b"\0asm\x0d\0\x01\0";
    let other = wasm::another_build(component, &"x".repeat(200));
    assert_eq!(&other[..8], component);
    assert_eq!(&other[8..11], [0, 0xCE, 0x01]);
    assert_eq!(other.len(), 8 + 3 + 206);
}
