//! Chromium: a page from elsewhere opens a film through the API, reads ranges of it, and plays it.
//!
//! Only a browser enforces what the host allows to pages of other origins, and only it seeks as a browser does. The page
//! does everything itself and reports to the server that it came from.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use mediahost_e2e::media;
use mediahost_e2e::server::{Answer, Server};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Running, Stage};

/// From one report of the page to the next.
const PAGE: Duration = Duration::from_secs(120);
/// Reports that a page may be ahead of the test.
const MAX_REPORTS: usize = 64;

#[test]
fn chromium_plays_an_mp4_in_a_page_from_elsewhere() {
    let (page, reports) = serve_page();
    let stage = Stage::with("film.mp4", &format!("[server]\ncors_origins = [\"http://{}\"]\n", page.address()));
    let browser = Browser::open(&page.url(&format!(
        "page#{}",
        json!({
            "api": format!("http://{}/api/v1", stage.host.address()),
            "token": stage.host.token(),
            "film": stage.relay.url("film.mp4"),
            "tap": stage.tap.url(""),
            "stranger": format!("http://localhost:{}/stranger", page.address().port()),
        })
    )));
    let mut report = Value::Null;
    while report["done"].is_null() {
        let text = reports
            .recv_timeout(PAGE)
            .unwrap_or_else(|_| panic!("the page is silent after {report}: {}", browser.log()));
        report = serde_json::from_str(&text).unwrap();
        assert!(report["error"].is_null(), "{report}");
    }
    drop(browser);

    let (film, done) = (media::bytes("film.mp4"), &report["done"]);
    assert_eq!(done["stranger"], "refused", "a page that nobody allowed: {done}");
    assert_eq!(done["range"], json!([206, format!("bytes 100-199/{}", film.len()), "bytes", "100", true]), "{done}");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(done["bytes"], hex(&film[100..200]), "{done}");
    assert_eq!(done["suffix"], hex(&film[film.len() - 16..]), "{done}");
    assert_eq!((&done["width"], &done["duration"]), (&json!(1920), &json!(60)), "{done}");
    assert!(done["frames"].as_u64() > Some(48), "{done}");
    assert_eq!(done["painted"], true, "a frame that a page may read: {done}");
    stage.bill().check();
}

/// The page, and what it reports.
fn serve_page() -> (Server, Receiver<String>) {
    let (send, reports) = sync_channel(MAX_REPORTS);
    let server = Server::start(move |asked| match asked.target.as_str() {
        "/page" => Answer::of(200, "text/html", include_str!("browser/page.html")),
        "/stranger" => Answer::of(200, "text/html", include_str!("browser/stranger.html")),
        "/report" => {
            // Nobody listens any more when the test has failed.
            drop(send.send(String::from_utf8_lossy(&asked.body).into_owned()));
            Answer::of(204, "text/plain", "")
        }
        _ => Answer::of(404, "text/plain", ""),
    });
    (server, reports)
}

/// A running Chromium without a screen, with a profile of its own.
struct Browser {
    _process: Running,
    profile: TempDir,
}

impl Browser {
    fn open(url: &str) -> Browser {
        let profile = TempDir::with_prefix("e2e-chromium-").unwrap();
        let log = File::create(profile.path().join("log")).unwrap();
        let mut command = Command::new("chromium");
        command
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--no-first-run", "--mute-audio", "--autoplay-policy=no-user-gesture-required"])
            // Whatever else it would like to ask, it stays on this machine.
            .args(["--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(url)
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        Browser { _process: Running::start(command), profile }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.profile.path().join("log")).unwrap_or_default()
    }
}
