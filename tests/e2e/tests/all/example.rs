//! The example plugin does what its README says.
//!
//! Its own tests run against a scripted host; whoever copies it wants to know that a real one loads it.

use std::fs;

use mediahost_e2e::{Home, Nginx, media, wasm};
use tempfile::TempDir;

#[test]
fn a_podcast() {
    let site = TempDir::new().unwrap();
    for name in ["song.mp3", "song.ogg"] {
        fs::copy(media::path(name), site.path().join(name)).unwrap();
    }
    let origin = Nginx::serve(site.path());
    let item = |title: &str, name: &str, kind: &str| {
        let url = origin.url(name);
        format!(
            "<item><title>{title}</title><guid>{name}</guid><enclosure url='{url}' type='{kind}' length='1'/></item>"
        )
    };
    let items = [item("Harbour", "song.mp3", "audio/mpeg"), item("Lighthouse", "song.ogg", "audio/ogg")].concat();
    let feed = format!("<?xml version='1.0'?><rss version='2.0'><channel><title>Sea</title>{items}</channel></rss>");
    fs::write(site.path().join("feed.xml"), feed).unwrap();

    let home = Home::new().config("[net]\nallow_private = [\"127.0.0.0/8\"]\n");
    let host = home.plugin("source-podcast", &wasm::example("source-podcast")).start();
    let feed = origin.url("feed.xml");
    for (choice, name) in [("", "song.mp3"), ("#2", "song.ogg"), ("#lighthouse", "song.ogg")] {
        let (id, session) = host.ready(&format!("podcast:{feed}{choice}"));
        assert!(host.whole(&id) == media::bytes(name), "{choice:?}: {session}");
    }
    let error = host.failed(&format!("podcast:{feed}#9"));
    assert!(error.to_string().contains("source-podcast"), "{error}");
}
