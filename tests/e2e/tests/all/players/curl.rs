//! curl: ranges as careful programs ask for them, and a download that breaks off and goes on.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};

use mediahost_e2e::media;

use super::{ANSWER, Running, Stage};

#[test]
fn curl_gets_ranges_and_goes_on_with_a_download() {
    let stage = Stage::of("film.mkv");
    let film = media::bytes(stage.film);
    let (size, url) = (film.len(), stage.url());
    let folder = tempfile::TempDir::with_prefix("e2e-curl-").unwrap();
    let file = folder.path().join("film.mkv");
    let curl = |arguments: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-sS", "--fail", "--noproxy", "*"]).args(arguments).arg(&url).stdin(Stdio::null());
        command
    };

    // What AVPlayer asks first, a bounded range, the tail, the head, and two bytes at the border of two granules.
    let middle = size / 2;
    for range in [0..2, middle..middle + 3_000_000, size - 500..size, 0..1_000_000, 262_143..262_145] {
        let got = curl(&["-r", &format!("{}-{}", range.start, range.end - 1)]).output().unwrap();
        let complaint = String::from_utf8_lossy(&got.stderr);
        assert!(got.status.success() && got.stdout == film[range.clone()], "{range:?}: {} {complaint}", got.status);
    }
    stage.bill().check();

    // Open-ended, and given up: what a player does that looks for the index.
    let mut command = curl(&["-r", "20000000-"]);
    command.stdout(Stdio::piped());
    let mut player = Running::start(command);
    let mut bytes = vec![0; 300_000];
    player.0.stdout.take().expect("piped above").read_exact(&mut bytes).unwrap();
    assert!(bytes == film[20_000_000..20_300_000]);
    drop(player);
    stage.bill().check();

    let file_name = file.to_str().expect("a name of ours");
    let first = curl(&["-r", "0-4999999", "-o", file_name]).status().unwrap();
    assert!(first.success() && fs::metadata(&file).unwrap().len() == 5_000_000);
    let mut rest = Running::start(curl(&["-C", "-", "-o", file_name]));
    assert!(rest.end(ANSWER).success());
    assert!(fs::read(&file).unwrap() == film, "the download is another film");
    stage.bill().check_whole();
}
