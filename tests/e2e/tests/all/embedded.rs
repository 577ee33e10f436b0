//! The example of a program with the engine inside: it plays, with an address and without one.
//!
//! What it links was tested by itself; whoever copies the example wants to know that the whole program works.

use std::process::{Command, Stdio};
use std::time::Duration;

use mediahost_e2e::relay::Line;
use mediahost_e2e::{Nginx, Relay, host, media};
use tempfile::TempDir;

fn player(folder: &TempDir) -> Command {
    let program = host::program().with_file_name("embedded-player");
    assert!(program.exists(), "{} is missing: `make build` builds it", program.display());
    let mut command = Command::new(program);
    // Where it keeps what it fetches.
    command.env("TMPDIR", folder.path()).stdin(Stdio::null());
    command
}

#[test]
fn a_program_with_the_engine_inside_reads_and_plays() {
    let folder = TempDir::new().unwrap();
    let origin = Nginx::serve(media::folder());
    let relay = Relay::start(origin.address(), Line::of(100, Duration::from_millis(20)));
    let read = player(&folder).arg(relay.url("song.flac")).arg("-").output().unwrap();
    let told = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success() && told.starts_with("flac, "), "{told}");
    assert!(read.stdout == media::bytes("song.flac"), "other bytes");

    // A player is given an address of this machine, and finds what was fetched before in the cache.
    let before = relay.count().down;
    let arguments = ["ffprobe", "-v", "error", "-count_packets", "-show_entries", "stream=nb_read_packets", "-i"];
    let played = player(&folder).arg(relay.url("song.flac")).args(arguments).output().unwrap();
    assert!(played.status.success(), "{}", String::from_utf8_lossy(&played.stderr));
    assert!(relay.count().down - before < 64 << 10, "it was fetched a second time");

    let nothing = player(&folder).arg(relay.url("absent.mp4")).arg("-").output().unwrap();
    let told = String::from_utf8_lossy(&nothing.stderr);
    assert!(!nothing.status.success() && told.contains("404") && nothing.stdout.is_empty(), "{told}");
}
