//! ffmpeg and ffprobe: every frame is the one that the file has, from wherever it is read.

use mediahost_e2e::media;

use super::Stage;

#[test]
fn ffmpeg_reads_an_mp4() {
    reads("film.mp4");
}

#[test]
fn ffmpeg_reads_a_matroska_file() {
    reads("film.mkv");
}

fn reads(film: &'static str) {
    let stage = Stage::of(film);
    let local = media::path(film).display().to_string();
    // The beginning, the middle, back again: a run each, as a program that cuts clips would do it.
    for second in [0, 30, 8] {
        let clip = |input: &str| media::clip(input, second, 3);
        assert!(clip(&stage.url()) == clip(&local), "{film}: other frames from {second} s on");
    }
    stage.bill().check();

    assert!(media::probe(&stage.url()) == media::local_probe(film), "{film}: another film");
    stage.bill().check_whole();
}
