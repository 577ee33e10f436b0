//! `kill -9` in the middle of a download.
//!
//! Only a real process can be killed: what the journal promises has to be true of the files, not of the program's memory.

use std::io::Read;
use std::time::Duration;

use mediahost_e2e::relay::Line;
use mediahost_e2e::{Home, Nginx, Random, Relay, media, rounds, within};

/// Bytes that were served and may be fetched once more: those whose line in the journal was not written yet.
const NOT_YET_DURABLE: u64 = 6 << 20;
/// Heads of answers, a look at the file, and a request that was given up.
const SLACK_BYTES: u64 = 512 << 10;

#[test]
fn what_was_served_is_not_fetched_again_and_nothing_wrong_is_served() {
    let origin = Nginx::serve(media::folder());
    let film = media::bytes("film.mkv");
    let size = film.len() as u64;
    let mut random = Random::new();
    for _ in 0..rounds(2).min(20) {
        let relay = Relay::start(origin.address(), Line::of(40, Duration::from_millis(20)));
        let host = Home::new().start();
        let (id, _) = host.ready(&relay.url("film.mkv"));
        let delivered = (10 << 20) + random.below(6 << 20);
        let mut reader = host.stream(&id).send();
        let mut bytes = vec![0; delivered as usize];
        reader.read_exact(&mut bytes).unwrap();
        assert!(bytes == film[..delivered as usize]);

        let home = host.kill();
        drop(reader);
        relay.cut();
        let before = quiet(&relay);

        let host = home.start();
        assert_eq!(host.session(&id)["session_id"], id.as_str(), "the session is gone");
        let range = random.range(delivered - NOT_YET_DURABLE, 1 << 20);
        assert!(host.part(&id, &range) == film[range.start as usize..range.end as usize], "{range:?}");
        assert!(host.whole(&id) == film, "the film is another one after the crash");
        let fetched = relay.count().down - before;
        let most = size - delivered + NOT_YET_DURABLE + SLACK_BYTES;
        assert!(fetched <= most, "{fetched} bytes were fetched after {delivered} of {size} had been served");

        // A second crash with nothing running changes nothing.
        let host = host.kill().start();
        let before = relay.count().down;
        assert!(host.whole(&id) == film);
        let fetched = relay.count().down - before;
        assert!(fetched <= NOT_YET_DURABLE + SLACK_BYTES, "{fetched} bytes were fetched once more");
    }
}

/// A plain end loses nothing at all.
#[test]
fn sigterm_ends_with_success_and_keeps_everything() {
    let origin = Nginx::serve(media::folder());
    let host = Home::new().start();
    let (id, _) = host.ready(&origin.url("song.flac"));
    assert!(host.whole(&id) == media::bytes("song.flac"));
    let (home, status) = host.stop();
    assert!(status.success(), "{status}");
    within(Duration::from_secs(5), || (origin.body_bytes("song.flac") >= 4_000_000).then_some(()));
    let before = origin.body_bytes("song.flac");
    let host = home.start();
    assert!(host.whole(&id) == media::bytes("song.flac"));
    assert!(origin.body_bytes("song.flac") - before <= 64 << 10, "{:#?}", origin.served());
}

/// What the relay counts once the bytes that were on the line have gone.
fn quiet(relay: &Relay) -> u64 {
    let mut last = None;
    let counted = within(Duration::from_secs(5), || {
        let now = relay.count().down;
        let still = last == Some(now);
        last = Some(now);
        still.then_some(now)
    });
    counted.unwrap_or_else(|| relay.count().down)
}
