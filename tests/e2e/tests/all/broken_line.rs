//! The line to the origin breaks, and the film does not.
//!
//! Retries, ranges of what is missing and a client that waits are in three crates; only together do they hide a bad line.

use std::time::Duration;

use mediahost_e2e::relay::Line;
use mediahost_e2e::{Host, Nginx, Relay, media};

#[test]
fn connections_that_are_reset_again_and_again() {
    let origin = Nginx::serve(media::folder());
    let line = Line { reset_after: Some(1_500_000), ..Line::of(200, Duration::from_millis(10)) };
    let relay = Relay::start(origin.address(), line);
    let host = Host::start();
    let (id, _) = host.ready(&relay.url("song.flac"));
    assert!(host.whole(&id) == media::bytes("song.flac"));
    assert!(relay.count().connections >= 3, "{:?}", relay.count());
    let (size, down) = (media::bytes("song.flac").len() as u64, relay.count().down);
    assert!(down < size + size / 4, "{down} bytes for {size}: what had arrived was fetched again");
}
