//! The assembled host on loopback: who gets in, what the doors answer, what a reload does, and that it ends well.
//!
//! A smaller test would not do: the order of guard, access and routes exists only once everything is joined.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use mediahost::Settings;
use mediahost::config::Inputs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long anything here may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// A running host and its folder, both gone when dropped.
struct Host {
    folder: PathBuf,
    address: std::net::SocketAddr,
    link: String,
    token: String,
    end: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
}

impl Host {
    async fn start(name: &str, config: &str) -> Host {
        let folder = std::env::temp_dir().join(format!("mediahost-engine-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("mediahost.toml"), format!("{config}\n")).unwrap();
        let engine = mediahost::Host::start(settings(&folder)).await.unwrap();
        let (end, ended) = oneshot::channel::<()>();
        let (address, link) = (engine.address(), engine.sign_in_link().unwrap());
        let token = std::fs::read_to_string(folder.join("data/admin.token")).unwrap().trim().to_owned();
        let running = tokio::spawn(engine.run_until(async { ended.await.unwrap_or_default() }));
        Host { folder, address, link, token, end: Some(end), running: Some(running) }
    }

    /// The whole answer to a request: head and body.
    async fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> String {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        if !fields.iter().any(|(name, _)| *name == "Host") {
            request += &format!("Host: {}\r\n", self.address);
        }
        for (name, value) in fields {
            request += &format!("{name}: {value}\r\n");
        }
        request += &format!("\r\n{body}");
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        tokio::time::timeout(DEADLINE, exchange).await.expect("an answer in time").expect("an answer")
    }

    async fn check(&self, method: &str, path: &str, fields: &[(&str, &str)], status: u16, part: &str) -> String {
        let answer = self.ask(method, path, fields, "").await;
        let good = answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(part);
        assert!(good, "{method} {path} {fields:?}: expected {status} and {part:?}, found\n{answer}");
        answer
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    async fn end(&mut self) {
        self.end.take().unwrap().send(()).unwrap();
        tokio::time::timeout(DEADLINE, self.running.take().unwrap()).await.expect("an end in time").unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn settings(folder: &Path) -> Settings {
    let inputs = Inputs {
        file: Some("mediahost.toml".into()),
        folder: folder.to_owned(),
        env: vec![],
        flags: vec![("--listen", "server.listen", "127.0.0.1:0".into()), ("--data-dir", "data_dir", "data".into())],
    };
    Settings::load(inputs).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_behind_the_token_and_the_rest_is_open() {
    let mut host = Host::start("access", "").await;
    let bearer = host.bearer();
    let token = ("Authorization", bearer.as_str());
    for (method, path) in [
        ("GET", "/api/v1/plugins"),
        ("GET", "/api/v1/plugins/source-http"),
        ("GET", "/api/v1/plugins/events"),
        ("POST", "/api/v1/plugins"),
        ("POST", "/api/v1/plugins/source-http/disable"),
        ("GET", "/api/v1/sessions"),
        ("POST", "/api/v1/sessions"),
        ("POST", "/api/v1/config/reload"),
        ("POST", "/api/v1/auth/link"),
    ] {
        let answer = host.check(method, path, &[], 401, "\"code\":\"sign-in-required\"").await;
        assert!(answer.to_ascii_lowercase().contains("www-authenticate: bearer"), "{answer}");
        host.check(method, path, &[("Authorization", "Bearer wrong")], 401, "sign-in-required").await;
    }
    host.check("GET", "/api/v1/plugins", &[token], 200, "\"id\":\"source-http\"").await;
    host.check("GET", "/api/v1/plugins/nothing", &[token], 404, "no-such-plugin").await;
    host.check("POST", "/api/v1/auth/link", &[token], 200, "/sign-in?code=").await;
    host.check("GET", "/api/v1/openapi.json", &[], 200, "\"/api/v1/plugins\"").await;
    host.check("GET", "/healthz", &[], 200, "alive").await;
    host.check("GET", "/readyz", &[], 200, "ready").await;
    host.check("GET", "/metrics", &[], 200, "http_requests_total").await;
    host.check("GET", "/", &[], 200, "<html").await;
    host.check("GET", "/docs", &[], 200, "<html").await;
    host.check("GET", "/assets/nothing.js", &[], 404, "route-unknown").await;
    host.check("GET", "/nothing", &[], 404, "application/problem+json").await;
    host.check("GET", "/healthz", &[("Host", "evil.example")], 421, "host-unknown").await;
    let page = host.check("GET", "/assets/app.css", &[], 200, "text/css").await;
    let tag = page.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    host.check("GET", "/assets/app.css", &[("If-None-Match", tag)], 304, "").await;
    host.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_becomes_a_cookie_once() {
    let mut host = Host::start("link", "").await;
    let path = host.link.split_once(&host.address.to_string()).unwrap().1.to_owned();
    host.check("HEAD", &path, &[], 204, "").await;
    let answer = host.check("GET", &path, &[], 303, "location: /\r\n").await;
    let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = ("Cookie", cookie.split(';').next().unwrap());
    host.check("GET", "/api/v1/plugins", &[cookie], 200, "source-http").await;
    host.check("GET", &path, &[], 403, "mediahost link").await;
    host.check("GET", &path, &[cookie], 303, "location: /").await;
    let own = format!("http://{}", host.address);
    host.check("POST", "/api/v1/auth/link", &[cookie], 403, "origin-missing").await;
    host.check("POST", "/api/v1/auth/link", &[cookie, ("Origin", "http://127.0.0.1:1")], 403, "origin-refused").await;
    host.check("POST", "/api/v1/auth/link", &[cookie, ("Origin", &own)], 200, "sign-in").await;
    host.check("POST", "/api/v1/auth/link", &[cookie, ("Sec-Fetch-Site", "same-origin")], 200, "sign-in").await;
    host.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_applies_all_or_nothing() {
    let mut host = Host::start("reload", "log.level = 'info'").await;
    let bearer = host.bearer();
    let token = ("Authorization", bearer.as_str());
    let write = |text: &str| std::fs::write(host.folder.join("mediahost.toml"), text).unwrap();
    let path = "/api/v1/config/reload";
    host.check("POST", path, &[token], 200, "{\"changed\":[]}").await;
    write("server.hosts = ['media.example']");
    host.check("POST", path, &[token], 200, "{\"changed\":[\"server.hosts\"]}").await;
    host.check("GET", "/healthz", &[("Host", "media.example")], 200, "alive").await;
    write("server.max_connections = 9");
    host.check("POST", path, &[token], 409, "\"key\":\"server.max_connections\"").await;
    host.check("GET", "/healthz", &[("Host", "media.example")], 200, "alive").await;
    write("server.hots = []");
    host.check("POST", path, &[token], 422, "did you mean server.hosts?").await;
    host.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_holds_its_folder_and_its_port_and_gives_both_back() {
    let mut host = Host::start("hold", "").await;
    let listen = host.folder.join("data/listen");
    assert_eq!(std::fs::read_to_string(&listen).unwrap().trim(), host.address.to_string());
    let held = mediahost::Host::start(settings(&host.folder)).await.err().unwrap().to_string();
    assert!(held.contains("another mediahost is running"), "{held}");
    let mut taken = settings(&host.folder);
    taken.config.server.listen = host.address;
    taken.config.data_dir = host.folder.join("other");
    let taken = mediahost::Host::start(taken).await.err().unwrap().to_string();
    assert!(taken.contains("is taken by another program"), "{taken}");
    let bearer = host.bearer();
    host.check("POST", "/api/v1/plugins", &[("Authorization", &bearer)], 422, "not-a-plugin").await;
    host.end().await;
    assert!(!listen.exists());
    assert!(TcpStream::connect(host.address).await.is_err());
    let token = host.token.clone();
    let again = mediahost::Host::start(settings(&host.folder)).await.unwrap();
    assert_eq!(std::fs::read_to_string(host.folder.join("data/admin.token")).unwrap().trim(), token);
    drop(again);
}
