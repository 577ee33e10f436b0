//! VLC, steered through the remote control on its standard input.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use mediahost_e2e::until;
use tempfile::TempDir;

use super::{ANSWER, Running, Stage};

/// VLC refuses to be root; this is `nobody`, who has no files.
const NOBODY: u32 = 65534;
/// Lines that VLC may be ahead of the test.
const MAX_LINES: usize = 4096;
/// What VLC and its decoders say about damaged data and broken lines. It also complains of pictures that it gave up
/// itself because of a leap, which is nobody's fault.
const DAMAGE: [&str; 6] = ["corrupt", "Invalid data", "error while decoding", "concealing", "http", "access"];

/// The length of each film.
const FILM_S: u64 = 60;

#[test]
fn vlc_plays_an_mp4() {
    plays("film.mp4");
}

#[test]
fn vlc_plays_a_matroska_file() {
    plays("film.mkv");
}

fn plays(film: &'static str) {
    let stage = Stage::of(film);
    // Twice as fast, and far from the end when something is said: VLC does not wait for us.
    let mut vlc = Vlc::start(&stage.url(), 2);
    until("VLC to know the film", ANSWER, || (vlc.number("get_length") == FILM_S).then_some(()));
    for second in [0, 30, 8] {
        vlc.watch(second, 3);
    }
    vlc.decoded();
    vlc.say("stop");
    vlc.ended_well();
    stage.bill().check();

    // A second viewing, sixteen times as fast, to the end; VLC ends by itself.
    Vlc::start(&stage.url(), 16).ended_well();
    stage.bill().check_whole();
}

/// A running VLC without a screen.
struct Vlc {
    process: Running,
    lines: Receiver<String>,
    folder: TempDir,
}

impl Vlc {
    fn start(url: &str, rate: u32) -> Vlc {
        let folder = TempDir::with_prefix("e2e-vlc-").unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new("vlc");
        command
            .args(["-I", "oldrc", "--rc-fake-tty", "--no-dbus", "--no-color", "--vout=vdummy", "--aout=adummy"])
            .args(["--no-metadata-network-access", "--play-and-exit"])
            .arg(format!("--rate={rate}"))
            .arg(url)
            .env("HOME", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        if fs::metadata(folder.path()).unwrap().uid() == 0 {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut process = Running::start(command);
        let (send, lines) = sync_channel(MAX_LINES);
        let out = BufReader::new(process.0.stdout.take().expect("piped above"));
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Vlc { process, lines, folder }
    }

    /// Leaps to a place and plays on for so many seconds.
    fn watch(&mut self, from_s: u64, length_s: u64) {
        self.say(&format!("seek {from_s}"));
        // It plays on while we ask.
        let there = from_s..from_s + 20;
        until("VLC to leap", ANSWER, || there.contains(&self.number("get_time")).then_some(()));
        self.reached(from_s + length_s);
    }

    fn reached(&mut self, second: u64) {
        until("playback to go on", ANSWER, || (self.number("get_time") >= second).then_some(()));
    }

    /// The answer to a question, in seconds. VLC says nothing without being asked.
    fn number(&mut self, question: &str) -> u64 {
        self.say(question);
        self.hear(question, |line| line.trim().parse().ok())
    }

    /// Pictures and sounds were decoded, and nothing that was read was damaged.
    fn decoded(&mut self) {
        self.say("stats");
        let mut number = |name: &str| {
            let value = |line: &str| line.split_once(name)?.1.trim_matches([' ', ':']).parse::<u64>().ok();
            self.hear(name, value)
        };
        assert_eq!(number("demux corrupted"), 0);
        let pictures = number("video decoded");
        let sounds = number("audio decoded");
        assert!(pictures > 100 && sounds > 100, "{pictures} pictures and {sounds} sounds were decoded");
    }

    fn say(&mut self, command: &str) {
        writeln!(self.process.0.stdin.as_mut().expect("piped at the start"), "{command}").unwrap();
    }

    /// What the next line of this kind says.
    fn hear<T>(&mut self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        loop {
            let line = self.lines.recv_timeout(ANSWER);
            let line = line.unwrap_or_else(|error| panic!("{what}: {error}: {}", self.log()));
            if let Some(found) = wanted(&line) {
                return found;
            }
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn ended_well(mut self) {
        let status = self.process.end(ANSWER);
        let log = self.log();
        let damage = log.lines().find(|line| DAMAGE.iter().any(|word| line.contains(word)));
        assert!(status.success() && damage.is_none(), "{status}: {log}");
    }
}
