//! Plugins are replaced while films play.
//!
//! Only the whole program shows that nobody notices: the watcher, the compiler, the pool and the sessions that hold a
//! plugin between two calls have to agree.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use mediahost_e2e::relay::Line;
use mediahost_e2e::{Host, Nginx, Relay, media, until, wasm};

/// What runs beside a test ends with it, also when the test fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn nobody_notices_that_plugins_are_replaced() {
    let origin = Nginx::serve(media::folder());
    let relay = Relay::start(origin.address(), Line::of(40, Duration::from_millis(20)));
    let host = Host::start();
    let film = media::bytes("film.mkv");
    let fast = media::bytes("film-fast.mp4");
    let (done, reads, opens) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));

    thread::scope(|scope| {
        let _ending = Ending(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let (id, _) = host.ready(&relay.url("film.mkv"));
                assert!(host.whole(&id) == film, "the film changed under its reader");
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // Another address each time, so that source and detector are called anew.
                let turn = opens.load(Ordering::Relaxed);
                let (id, session) = host.ready(&origin.url(&format!("film-fast.mp4?turn={turn}")));
                assert!(session["container"].as_str().is_some_and(|name| name.contains("mp4")), "{session}");
                assert!(host.part(&id, &(70_000..90_000)) == fast[70_000..90_000]);
                opens.fetch_add(1, Ordering::Relaxed);
            }
        });

        for round in 1..=2 {
            for id in ["source-http", "detect-mp4"] {
                let before = host.generation(id);
                let component = wasm::another_build(&wasm::plugin(id), &format!("round {round}"));
                match round {
                    1 => wasm::install(&host.home().plugins(), id, &component),
                    _ => wasm::copy_slowly(&host.home().plugins(), id, &component),
                }
                host.wait_for_plugin(id, "has a new generation", |plugin| {
                    plugin["generation"].as_u64().is_some_and(|now| now > before) && plugin["state"] == "serving"
                });
                let so_far = opens.load(Ordering::Relaxed);
                until("a session by the new generation", Duration::from_secs(20), || {
                    (opens.load(Ordering::Relaxed) > so_far + 1).then_some(())
                });
            }
        }
        until("a film read to its end", Duration::from_secs(30), || (reads.load(Ordering::Relaxed) > 0).then_some(()));
    });
}

#[test]
fn a_broken_file_is_refused_and_the_old_one_serves() {
    let origin = Nginx::serve(media::folder());
    let host = Host::start();
    let id = "source-http";
    let bundled = wasm::plugin(id);
    let opens = |turn: &str| {
        let (session, _) = host.ready(&origin.url(&format!("song.mp3?turn={turn}")));
        assert!(host.whole(&session) == media::bytes("song.mp3"), "{turn}");
    };
    opens("before");
    let before = host.generation(id);

    let mut damaged = wasm::another_build(&bundled, "damaged");
    damaged.truncate(bundled.len() / 2);
    for (what, bytes) in [("garbage", b"this is no component".to_vec()), ("half", damaged), ("empty", vec![])] {
        let old = host.plugin(id).map(|plugin| plugin["error"].clone());
        wasm::install(&host.home().plugins(), id, &bytes);
        let plugin = host.wait_for_plugin(id, &format!("refuses {what}"), |plugin| {
            plugin["error"].is_string() && Some(&plugin["error"]) != old.as_ref()
        });
        assert_eq!(plugin["generation"], before, "{what}: {plugin}");
        assert_eq!(plugin["state"], "serving", "{what}: {plugin}");
        opens(what);
    }

    wasm::install(&host.home().plugins(), id, &wasm::another_build(&bundled, "good again"));
    let plugin = host.wait_for_plugin(id, "takes a good file again", |plugin| plugin["error"].is_null());
    assert!(plugin["generation"].as_u64() > Some(before), "{plugin}");
    opens("good again");

    std::fs::remove_file(host.home().plugins().join(format!("{id}.wasm"))).unwrap();
    host.wait_for_plugin(id, "is the bundled one again", |plugin| plugin["origin"] == "bundled");
    opens("bundled");
}
