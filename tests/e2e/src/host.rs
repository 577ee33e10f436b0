//! The host as an operator runs it: a process with a data folder, a plugins folder and one port.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Request, Response};
use crate::wait::{until, within};
use crate::wasm;

/// From the start of the process to the first good answer: all first-party plugins may have to be compiled.
const START: Duration = Duration::from_secs(60);
/// From `SIGTERM` to the end of the process.
const STOP: Duration = Duration::from_secs(20);
/// From the creation of a session to a verdict.
const OPEN: Duration = Duration::from_secs(30);
/// From a change in the plugins folder to what it causes.
const SWAP: Duration = Duration::from_secs(20);

/// The program under test, which lies beside the tests' own folder.
pub fn program() -> PathBuf {
    if let Some(given) = std::env::var_os("MEDIAHOST_BIN") {
        return given.into();
    }
    let tests = std::env::current_exe().expect("a test knows its own path");
    let beside = tests.ancestors().nth(2).expect("tests lie in <profile>/deps").join("mediahost");
    if beside.exists() { beside } else { crate::root().join("target/release/mediahost") }
}

/// The program with nothing of the caller's environment that could configure it, in an empty folder of its own.
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new(program());
    command.current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MEDIAHOST_") {
            command.env_remove(name);
        }
    }
    for name in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
        command.env(name, folder);
    }
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command
}

/// Runs the program to its end; for calls that are expected to end. One that does not is killed.
pub fn run(folder: &Path, arguments: &[&str]) -> Output {
    let child = command(folder).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{}: {error}; `make build` builds it", program().display()));
    let [out, err] =
        [read_all(child.stdout.take().expect("piped above")), read_all(child.stderr.take().expect("piped above"))];
    let status = within(START, || child.try_wait().unwrap());
    if status.is_none() {
        drop(child.kill());
    }
    let ended = child.wait().unwrap();
    let [stdout, stderr] = [out, err].map(|thread| thread.join().expect("reading does not panic"));
    assert!(status.is_some(), "mediahost {arguments:?} did not end: {}", String::from_utf8_lossy(&stderr));
    Output { status: ended, stdout, stderr }
}

fn read_all(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(from.read_to_end(&mut bytes));
        bytes
    })
}

/// Folders of a host, which outlive its process.
pub struct Home {
    folder: TempDir,
    config: String,
    listen: IpAddr,
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// Empty folders and no configuration.
    pub fn new() -> Home {
        let home = Home {
            folder: TempDir::with_prefix("e2e-host-").unwrap(),
            config: String::new(),
            listen: Ipv4Addr::LOCALHOST.into(),
        };
        fs::create_dir(home.plugins()).unwrap();
        home
    }

    /// The same with a configuration file.
    pub fn config(mut self, text: &str) -> Home {
        self.config = text.into();
        self
    }

    /// The same at another address of this machine.
    pub fn listen(mut self, address: IpAddr) -> Home {
        self.listen = address;
        self
    }

    /// The same with a component in the plugins folder.
    pub fn plugin(self, id: &str, component: &[u8]) -> Home {
        wasm::install(&self.plugins(), id, component);
        self
    }

    /// The folder around the others; the process starts in it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `--data-dir`.
    pub fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// `--plugins-dir`.
    pub fn plugins(&self) -> PathBuf {
        self.folder().join("plugins")
    }

    /// The arguments of `serve` for these folders and any port.
    pub fn arguments(&self) -> Vec<String> {
        let [data, plugins] = [self.data(), self.plugins()].map(|path| path.display().to_string());
        let listen = SocketAddr::new(self.listen, 0).to_string();
        ["serve", "--listen", &listen, "--data-dir", &data, "--plugins-dir", &plugins].map(String::from).to_vec()
    }

    /// Starts the host and waits until it serves.
    pub fn start(self) -> Host {
        // The old address would be taken for the new one.
        drop(fs::remove_file(self.data().join("listen")));
        if !self.config.is_empty() {
            fs::write(self.folder().join("mediahost.toml"), &self.config).unwrap();
        }
        let mut process = command(self.folder())
            .args(self.arguments())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; `make build` builds it", program().display()));
        let log = Log::default();
        let out = Log::default();
        let readers = vec![
            log.follow(process.stderr.take().expect("piped above")),
            out.follow(process.stdout.take().expect("piped above")),
        ];
        let mut host = Host {
            process,
            home: Some(self),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            token: String::new(),
            log,
            out,
            readers,
        };
        host.wait();
        host
    }
}

/// Lines of a process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn follow(&self, from: impl Read + Send + 'static) -> thread::JoinHandle<()> {
        let log = self.0.clone();
        thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                let mut log = log.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        })
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

/// A running host. It ends when this is dropped, and shows its log if the test failed.
pub struct Host {
    process: Child,
    home: Option<Home>,
    address: SocketAddr,
    token: String,
    log: Log,
    out: Log,
    readers: Vec<thread::JoinHandle<()>>,
}

impl Host {
    /// A host with the bundled plugins and nothing else.
    pub fn start() -> Host {
        Home::new().start()
    }

    fn wait(&mut self) {
        let listen = self.home().data().join("listen");
        let ready = within(START, || {
            if let Some(status) = self.process.try_wait().unwrap() {
                return Some(Err(status));
            }
            let text = fs::read_to_string(&listen).ok()?;
            let address = text.trim().trim_start_matches("http://").trim_end_matches('/').parse().ok()?;
            let answer = Request::new(address, "GET", "/readyz").try_send().ok()?;
            (answer.status == 200).then_some(Ok(address))
        });
        self.address = match ready {
            Some(Ok(address)) => address,
            Some(Err(status)) => panic!("the host ended with {status} instead of serving"),
            None => panic!("the host did not serve within {START:?}"),
        };
        let token = self.home().data().join("admin.token");
        self.token = fs::read_to_string(&token).unwrap_or_else(|error| panic!("{}: {error}", token.display()));
    }

    /// Its folders.
    pub fn home(&self) -> &Home {
        self.home.as_ref().expect("folders are taken only by what ends the host")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The admin token.
    pub fn token(&self) -> &str {
        self.token.trim()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// What it printed so far.
    pub fn printed(&self) -> String {
        self.out.text()
    }

    /// Fails if the process has ended.
    pub fn assert_alive(&mut self) {
        if let Some(status) = self.process.try_wait().unwrap() {
            panic!("the host ended with {status}");
        }
    }

    /// Ends the process as a power cut would, and gives the folders back.
    pub fn kill(mut self) -> Home {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.home.take().expect("a host has its folders until it ends")
    }

    /// Asks the process to end, waits for it, and gives the folders back with how it ended.
    pub fn stop(mut self) -> (Home, ExitStatus) {
        self.terminate();
        let status = until("the end of the host after SIGTERM", STOP, || self.process.try_wait().unwrap());
        (self.home.take().expect("a host has its folders until it ends"), status)
    }

    fn terminate(&self) {
        drop(Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status());
    }

    /// A request without credentials.
    pub fn request(&self, method: &str, path: &str) -> Request {
        Request::new(self.address, method, path)
    }

    /// A request to the API with the admin token; `path` follows `/api/v1`.
    pub fn api(&self, method: &str, path: &str) -> Request {
        let authorization = format!("Bearer {}", self.token());
        self.request(method, &format!("/api/v1{path}")).header("Authorization", &authorization)
    }

    /// Makes a session and returns its id; fails unless the answer is the 201 that the contract promises.
    pub fn open(&self, url: &str) -> String {
        let session = self.api("POST", "/sessions").json(&json!({ "url": url })).send().expect(201);
        let id = session["session_id"].as_str().unwrap_or_else(|| panic!("no session_id in {session}"));
        let playback = session["playback_url"].as_str().unwrap_or_else(|| panic!("no playback_url in {session}"));
        assert!(playback.contains(&format!("/stream/{id}")), "{session}");
        assert!(matches!(session["state"].as_str(), Some("opening" | "ready")), "{session}");
        id.to_owned()
    }

    /// A session as the API shows it.
    pub fn session(&self, id: &str) -> Value {
        self.api("GET", &format!("/sessions/{id}")).send().expect(200)
    }

    /// Waits until a session has a verdict, `ready` or `failed`, and returns it.
    pub fn verdict(&self, id: &str) -> Value {
        until(&format!("a verdict on session {id}"), OPEN, || {
            let session = self.session(id);
            (session["state"] != "opening").then_some(session)
        })
    }

    /// Opens an address that is expected to work.
    pub fn ready(&self, url: &str) -> (String, Value) {
        let id = self.open(url);
        let session = self.verdict(&id);
        assert_eq!(session["state"], "ready", "{url}: {session}");
        (id, session)
    }

    /// Opens an address that is expected to fail and returns the session's error.
    pub fn failed(&self, url: &str) -> Value {
        let session = self.verdict(&self.open(url));
        assert_eq!(session["state"], "failed", "{url}: {session}");
        session["error"].clone()
    }

    /// The address of a session's bytes.
    pub fn stream_url(&self, id: &str) -> String {
        format!("http://{}/stream/{id}", self.address)
    }

    /// A request for a session's bytes, which needs no credentials.
    pub fn stream(&self, id: &str) -> Request {
        self.request("GET", &format!("/stream/{id}"))
    }

    /// All bytes of a session.
    pub fn whole(&self, id: &str) -> Vec<u8> {
        let answer = self.stream(id).send();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.bytes()
    }

    /// Some bytes of a session.
    pub fn part(&self, id: &str, range: &std::ops::Range<u64>) -> Vec<u8> {
        let answer: Response = self.stream(id).range(range).send();
        assert_eq!(answer.status, 206, "{range:?}: {answer:?}");
        answer.bytes()
    }

    /// The plugins as the API lists them.
    pub fn plugins(&self) -> Vec<Value> {
        let listed = self.api("GET", "/plugins").send().expect(200);
        let list = listed.as_array().or_else(|| listed["plugins"].as_array());
        list.unwrap_or_else(|| panic!("not a list of plugins: {listed}")).clone()
    }

    /// One plugin as the list shows it.
    pub fn plugin(&self, id: &str) -> Option<Value> {
        self.plugins().into_iter().find(|plugin| plugin["id"] == id)
    }

    /// The generation of a plugin that is expected to be there.
    pub fn generation(&self, id: &str) -> u64 {
        let plugin = self.plugin(id).unwrap_or_else(|| panic!("no plugin {id}"));
        plugin["generation"].as_u64().unwrap_or_else(|| panic!("no generation in {plugin}"))
    }

    /// Waits until a plugin looks as it should.
    pub fn wait_for_plugin(&self, id: &str, what: &str, good: impl Fn(&Value) -> bool) -> Value {
        until(&format!("plugin {id} {what}"), SWAP, || self.plugin(id).filter(|plugin| good(plugin)))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|status| status.is_none()) {
            // Gently, so that what it measured about itself is written; a test that failed does not wait for that.
            if !thread::panicking() {
                self.terminate();
                within(STOP, || self.process.try_wait().ok().flatten());
            }
            drop(self.process.kill());
            drop(self.process.wait());
        }
        for reader in self.readers.drain(..) {
            drop(reader.join());
        }
        if thread::panicking() {
            show(&format!("--- the host printed\n{}--- the host logged\n{}", self.out.text(), self.log.text()));
        }
    }
}

#[allow(clippy::print_stderr, reason = "shown by the test harness when the test fails")]
fn show(text: &str) {
    eprintln!("{text}");
}
