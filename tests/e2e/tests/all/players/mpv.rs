//! mpv, steered through its JSON socket.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mediahost_e2e::until;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{ANSWER, Running, Stage};

/// As little ahead as mpv allows, so that every leap reaches the host.
const LITTLE_CACHE: [&str; 3] =
    ["--demuxer-max-bytes=1MiB", "--demuxer-max-back-bytes=0", "--demuxer-readahead-secs=1"];

/// A film with its index at the end, with mpv's own large cache.
#[test]
fn mpv_plays_an_mp4() {
    plays("film.mp4", &[]);
}

#[test]
fn mpv_plays_a_matroska_file_with_little_cache() {
    plays("film.mkv", &LITTLE_CACHE);
}

fn plays(film: &'static str, arguments: &[&str]) {
    let stage = Stage::of(film);
    let mut mpv = Mpv::start(&stage.url(), &[&["--pause", "--keep-open=yes"], arguments].concat());
    for second in [0.0, 30.0, 8.0] {
        mpv.watch(second, 3.0);
    }
    mpv.send(&json!(["quit"]));
    mpv.ended_well();
    stage.bill().check();

    // A second viewing, to the end; mpv ends by itself.
    Mpv::start(&stage.url(), arguments).ended_well();
    stage.bill().check_whole();
}

/// A running mpv without a screen and without a clock: it plays as fast as it decodes.
struct Mpv {
    process: Running,
    line: BufReader<UnixStream>,
    folder: TempDir,
}

impl Mpv {
    fn start(url: &str, arguments: &[&str]) -> Mpv {
        let folder = TempDir::with_prefix("e2e-mpv-").unwrap();
        let (socket, log) = (folder.path().join("socket"), File::create(folder.path().join("log")).unwrap());
        let mut command = Command::new("mpv");
        command
            .args(["--no-config", "--idle=once", "--vo=null", "--ao=null", "--ao-null-untimed", "--untimed"])
            // Its own silent output is not used to being paused, and it warns of a machine that is slow for a moment.
            .arg("--msg-level=all=warn,ao/null=no,cplayer=error")
            .arg(format!("--input-ipc-server={}", socket.display()))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let process = Running::start(command);
        let line = until("mpv's socket", ANSWER, || UnixStream::connect(&socket).ok());
        let mut mpv = Mpv { process, line: BufReader::new(line), folder };
        mpv.say(&json!(["loadfile", url]));
        mpv.hear("the first picture", |event| event["event"] == "playback-restart");
        mpv
    }

    /// Leaps to a place, sees the picture there, and plays on for so many seconds.
    fn watch(&mut self, from_s: f64, length_s: f64) {
        self.say(&json!(["seek", from_s, "absolute", "exact"]));
        self.hear("the picture after a leap", |event| event["event"] == "playback-restart");
        let at = self.time_s();
        assert!((at - from_s).abs() < 0.2, "mpv is at {at} s after a leap to {from_s} s");
        self.say(&json!(["set_property", "pause", false]));
        until("playback to go on", ANSWER, || (self.time_s() >= from_s + length_s).then_some(()));
        self.say(&json!(["set_property", "pause", true]));
    }

    fn time_s(&mut self) -> f64 {
        self.say(&json!(["get_property", "time-pos"]))["data"].as_f64().unwrap_or(-1.0)
    }

    /// Sends a command and returns its answer.
    fn say(&mut self, command: &Value) -> Value {
        self.send(command);
        let answer = self.hear("an answer", |message| message["request_id"] == 1 && message.get("error").is_some());
        assert_eq!(answer["error"], "success", "{command}: {}", self.log());
        answer
    }

    fn send(&mut self, command: &Value) {
        writeln!(self.line.get_mut(), "{}", json!({"command": command, "request_id": 1})).unwrap();
    }

    /// The next message of this kind.
    fn hear(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + ANSWER;
        loop {
            let left = end.checked_duration_since(Instant::now()).unwrap_or_else(|| panic!("{what}: {}", self.log()));
            self.line.get_ref().set_read_timeout(Some(left.max(Duration::from_millis(1)))).unwrap();
            let mut text = String::new();
            self.line.read_line(&mut text).unwrap_or_else(|error| panic!("{what}: {error}: {}", self.log()));
            let message: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{what}: {}", self.log()));
            if wanted(&message) {
                return message;
            }
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// It ends with success and has had nothing to complain about: no damaged frame, no broken connection.
    fn ended_well(mut self) {
        let status = self.process.end(ANSWER);
        assert!(status.success() && self.log().is_empty(), "{status}: {}", self.log());
    }
}
