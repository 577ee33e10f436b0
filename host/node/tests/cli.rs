//! The program as people run it: what it prints where, and with which code it exits.
//!
//! A smaller test would not do: exit codes, streams and signals belong to the process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use serde_json::Value;

/// How long anything here may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// A folder of its own for a test, gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("mediahost-cli-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mediahost"));
        command.args(args).current_dir(&self.0).env_clear().env("HOME", &self.0);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command and holds it to its exit code and to a part of what it writes to either stream.
    fn check(&self, args: &[&str], code: i32, part: &str) -> String {
        let output = self.run(args);
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        let good = output.status.code() == Some(code) && (out.contains(part) || err.contains(part));
        assert!(good, "{args:?}: expected {code} and {part:?}, found {:?}\n{out}\n{err}", output.status);
        out
    }

    fn data(&self) -> PathBuf {
        self.0.join(".local/share/mediahost")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A host in a process of its own.
struct Serving {
    pid: u32,
    ready: Value,
    /// Gives how it ended, once.
    ended: Receiver<ExitStatus>,
    over: bool,
    /// Held open: a host whose output nobody takes must not be what is tested.
    _out: BufReader<ChildStdout>,
}

impl Serving {
    fn start(folder: &Folder, args: &[&str]) -> Serving {
        let mut command = folder.command(&["serve", "--json"]);
        let mut child = command.args(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let (pid, (tell, ended)) = (child.id(), sync_channel(1));
        std::thread::spawn(move || tell.send(child.wait().unwrap()));
        let ready = serde_json::from_str(&line).unwrap_or_default();
        Serving { pid, ready, ended, over: false, _out: out }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.pid.to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn code(&mut self) -> Option<i32> {
        let status = self.ended.recv_timeout(DEADLINE).expect("the host ends in time");
        self.over = true;
        status.code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if !self.over {
            self.signal("-KILL");
        }
    }
}

#[test]
fn mistakes_are_named_and_have_their_codes() {
    let folder = Folder::new("mistakes");
    folder.check(&[], 2, "Usage:");
    folder.check(&["dance"], 2, "dance");
    folder.check(&["--version"], 0, env!("CARGO_PKG_VERSION"));
    folder.check(&["serve", "--help"], 0, "SIGHUP");
    folder.check(&["link"], 1, "no host is running");
    folder.check(&["plugin", "inspect", "nothing.wasm"], 1, "nothing.wasm cannot be read");
    std::fs::write(folder.0.join("text.wasm"), "text").unwrap();
    folder.check(&["plugin", "inspect", "text.wasm"], 1, "text.wasm is not a plugin");
    folder.check(&["--json", "plugin", "inspect", "text.wasm"], 1, "{\"error\":");
    folder.check(&["play", "http://127.0.0.1/x", "-H", "no colon"], 2, "write it like 'Name: value'");
    folder.check(&["config", "--config", "nothing.toml"], 2, "nothing.toml cannot be read");
    folder.check(&["serve", "--listen", "0.0.0.0:0"], 2, "server.allow_insecure");
    std::fs::write(folder.0.join("mediahost.toml"), "[server]\nlisen = ''").unwrap();
    folder.check(&["serve"], 2, "there is no key server.lisen");
    folder.check(&["config"], 2, "did you mean server.listen?");
}

#[test]
fn the_configuration_is_printed_with_its_origins() {
    let folder = Folder::new("config");
    std::fs::write(folder.0.join("mediahost.toml"), "log.format = 'json'").unwrap();
    folder.check(&["config"], 0, "listen = \"127.0.0.1:7979\"  # default");
    folder.check(&["config", "--listen", "127.0.0.1:1"], 0, "# in the flag --listen");
    folder.check(&["config", "--sample"], 0, "[server]");
    let json: Value = serde_json::from_str(&folder.check(&["--json", "config"], 0, "")).unwrap();
    assert_eq!(json["log.format"]["value"], "json");
    assert_eq!(json["data_dir"]["value"], folder.data().to_str().unwrap());
}

#[test]
fn a_new_plugin_is_a_whole_project() {
    let folder = Folder::new("new");
    folder.check(&["plugin", "new", "source-mysite"], 0, "cargo build --release --target wasm32-wasip2");
    let project = folder.0.join("source-mysite");
    for path in ["Cargo.toml", "src/lib.rs", "vendor/mediahost-plugin-sdk/wit/media-source/source.wit"] {
        assert!(project.join(path).is_file(), "{path}");
    }
    folder.check(&["plugin", "new", "source-mysite"], 2, "source-mysite is not empty");
    folder.check(&["plugin", "new", "My Site"], 2, "cannot be a plugin's id");
    folder.check(
        &["plugin", "new", "x", "--dir", "y", "--kind", "container-detector", "--json"],
        0,
        "\"folder\":\"y\"",
    );
}

#[test]
fn commands_find_the_host_that_runs_and_signals_reach_it() {
    let folder = Folder::new("serve");
    let mut host = Serving::start(&folder, &["--listen", "127.0.0.1:0"]);
    let origin = host.ready["origin"].as_str().expect("a ready line").to_owned();
    assert!(host.ready["sign_in_link"].as_str().unwrap().starts_with(&format!("{origin}/sign-in?code=")));
    let link = folder.check(&["link"], 0, &format!("{origin}/sign-in?code="));
    assert_ne!(link.trim(), host.ready["sign_in_link"]);
    folder.check(&["plugin", "list"], 0, "source-http");
    let address = host.ready["address"].as_str().unwrap();
    folder.check(&["serve", "--listen", "127.0.0.1:0"], 1, "another mediahost is running");
    folder.check(&["serve", "--listen", address, "--data-dir", "other"], 1, "is taken by another program");
    host.signal("-HUP");
    folder.check(&["link"], 0, &origin);
    host.signal("-TERM");
    assert_eq!(host.code(), Some(0));
    assert!(!folder.data().join("listen").exists());
    folder.check(&["link"], 1, "no host is running");
    folder.check(&["plugin", "list"], 0, "not-running");
    is_private(&folder.data().join("admin.token"));
}

#[test]
fn play_ends_when_the_player_does_or_when_nothing_can_be_played() {
    let folder = Folder::new("play");
    let origin = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let film = format!("http://{}/film.mp3", origin.local_addr().unwrap());
    std::thread::spawn(move || origin.incoming().flatten().for_each(|stream| answer(&stream)));
    let played = folder.check(&["play", &film, "--open", "true"], 0, "/stream/");
    assert!(played.starts_with("http://127.0.0.1:"), "{played}");
    folder.check(&["play", &film, "--open", "false"], 1, "the player ended with");
    folder.check(&["play", "nothing"], 1, "bad-address");
    folder.check(&["play", "nosuch://x/y"], 1, "unknown-scheme");
    assert!(!folder.data().join("listen").exists());
}

/// Answers one request with a whole small file.
fn answer(mut stream: &std::net::TcpStream) {
    let mut request = BufReader::new(stream);
    let mut line = String::new();
    while request.read_line(&mut line).is_ok_and(|read| read > 2) {
        line.clear();
    }
    let body = [0u8; 4096];
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 4096\r\nETag: \"1\"\r\nConnection: close\r\n\r\n";
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}

#[test]
fn a_data_folder_that_cannot_be_used_is_named() {
    let folder = Folder::new("unwritable");
    std::fs::write(folder.0.join("file"), "").unwrap();
    folder.check(&["serve", "--data-dir", "file"], 1, "name another with --data-dir");
}

fn is_private(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o077, 0);
    }
    let _ = path;
}
