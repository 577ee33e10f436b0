//! Guests that misbehave lose their own call and nothing else.
//!
//! `io/wasm` tests its limits one by one. Here the question is what a person sees: the session's error names the plugin
//! and the reason, and a film that another plugin serves goes on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use mediahost_e2e::relay::Line;
use mediahost_e2e::{Home, Host, Nginx, Relay, media, until, wasm};

/// From a broken read to the error in the session.
const NOTICED: Duration = Duration::from_secs(10);

/// What a guest's session comes to.
enum End {
    /// It fails, in opening or in reading, with these words beside the guest's id.
    Fails(&'static str),
    /// It is served, with these bytes.
    Gives(&'static [u8]),
    /// It is served although the guest failed, and the log names the guest.
    GoesOn,
}
use End::{Fails, Gives, GoesOn};

/// Every guest there is; `{origin}` stands for nginx, `{silent}` for a server that never answers.
const CASES: &[(&str, &str, End)] = &[
    ("guest-loop", "guest-loop:x", Fails("CPU")),
    ("guest-memory", "guest-memory:x", Fails("memory")),
    ("guest-trap", "guest-trap:x", Fails("fault")),
    ("guest-big-answer", "guest-big-answer:x", Fails("beyond the limit")),
    ("guest-slow", "guest-slow:{silent}", Fails("did not answer")),
    ("guest-plan-garbage", "guest-plan-garbage:empty", Fails("breaks the contract")),
    ("guest-plan-garbage", "guest-plan-garbage:open-inside", Fails("breaks the contract")),
    ("guest-plan-garbage", "guest-plan-garbage:overflow", Fails("breaks the contract")),
    ("guest-plan-garbage", "guest-plan-garbage:not-http", Fails("breaks the contract")),
    ("guest-plan-past-end", "guest-plan-past-end:{origin}", Fails("")),
    ("guest-wrong-length", "guest-wrong-length:short", Fails("")),
    ("guest-wrong-length", "guest-wrong-length:long", Fails("")),
    ("guest-detect-loop", "{origin}?name=a.loopy", GoesOn),
    ("guest-detect-need-forever", "{origin}?name=a.needy", GoesOn),
    ("guest-log-flood", "guest-log-flood:x", Gives(b"dry again")),
    ("guest-kv-probe", "guest-kv-probe:get/nothing", Gives(b"none")),
    ("guest-fetch-probe", "guest-fetch-probe:{page}", Gives(b"")),
    ("guest-computed", "guest-computed:1000", Gives(b"")),
    ("guest-sync", "guest-sync:1000", Gives(b"")),
    ("guest-sync", "guest-sync:stuck", Fails("gave 0")),
];

#[test]
fn each_guest_has_a_case() {
    let mut tested: Vec<&str> = CASES.iter().map(|(id, ..)| *id).collect();
    tested.sort_unstable();
    tested.dedup();
    assert_eq!(tested, wasm::guests());
}

#[test]
fn a_guest_that_misbehaves_fails_alone() {
    let origin = Nginx::serve(media::folder());
    let relay = Relay::start(origin.address(), Line::of(30, Duration::from_millis(20)));
    // Accepts connections, since the system does that by itself, and never answers.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let files = tempfile::TempDir::new().unwrap();
    for name in ["a.loopy", "a.needy"] {
        std::fs::write(files.path().join(name), noise()).unwrap();
    }
    let odd = Nginx::serve(files.path());

    let home = Home::new().config("[net]\nallow_private = [\"127.0.0.0/8\"]\n");
    let home = wasm::guests().iter().fold(home, |home, id| home.plugin(id, &wasm::guest(id)));
    let mut host = home.start();
    let film = media::bytes("film.mkv");
    let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let turn = reads.load(Ordering::Relaxed);
                let (id, _) = host.ready(&relay.url(&format!("film.mkv?turn={turn}")));
                assert!(host.whole(&id) == film, "the film suffered from a guest");
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
        let cases = thread::Builder::new().spawn_scoped(scope, || {
            for (id, address, end) in CASES {
                let url = match address.strip_prefix("{origin}?name=") {
                    Some(name) => odd.url(name),
                    None => address
                        .replace("{origin}", &origin.url("song.mp3"))
                        .replace("{page}", &origin.url("page.html"))
                        .replace("{silent}", &format!("http://{}/", silent.local_addr().unwrap())),
                };
                check(&host, id, &url, end);
            }
        });
        let outcome = cases.unwrap().join();
        until("a film read beside the guests", Duration::from_secs(30), || {
            (outcome.is_err() || reads.load(Ordering::Relaxed) > 0).then_some(())
        });
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
    host.assert_alive();
}

/// A file that no other detector knows, so that those which go by its name are asked.
fn noise() -> Vec<u8> {
    (0..200_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 | 0x80).collect()
}

fn check(host: &Host, guest: &str, url: &str, end: &End) {
    let id = host.open(url);
    let session = host.verdict(&id);
    match end {
        Fails(words) => {
            if session["state"] == "ready" {
                let broken = host.stream(&id).try_send().and_then(|answer| {
                    if answer.status >= 500 { Err(std::io::Error::other("refused")) } else { answer.try_bytes() }
                });
                assert!(broken.is_err(), "{url}: {} bytes came, as if nothing were wrong", broken.unwrap().len());
            }
            let error = until(&format!("an error in the session of {url}"), NOTICED, || {
                Some(host.session(&id)["error"].clone()).filter(|error| !error.is_null())
            });
            let text = error.to_string();
            assert!(text.contains(guest) && text.contains(words), "{url}: the error is {text}, expected {words:?}");
        }
        Gives(bytes) => {
            assert_eq!(session["state"], "ready", "{url}: {session}");
            let found = host.whole(&id);
            match guest {
                "guest-computed" | "guest-sync" => {
                    assert!(found.iter().zip(0u64..).all(|(byte, i)| u64::from(*byte) == (i * 31 + 7) % 251), "{url}");
                    assert_eq!(found.len(), 1000);
                }
                "guest-fetch-probe" => assert_eq!(found, media::bytes("page.html")),
                _ => assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(bytes), "{url}"),
            }
        }
        GoesOn => {
            assert_eq!(session["state"], "ready", "{url}: {session}");
            assert!(host.whole(&id) == noise(), "{url}");
            assert!(host.log().contains(guest), "{url}: the log does not name {guest}");
        }
    }
}
