//! Films and songs made by ffmpeg, once, in `target/e2e-media`.
//!
//! | file | what it is |
//! |---|---|
//! | `film.mp4` | 1080p H.264 and AAC, 60 s, `moov` at the end |
//! | `film-fast.mp4` | the same frames, `moov` in front |
//! | `film.mkv` | the same frames in Matroska, `Cues` at the end |
//! | `film.ts` | the same frames in an MPEG transport stream |
//! | `film.avi` | 20 s of MPEG-4 part 2 and MP3 in AVI |
//! | `film.flv` | 20 s of the same frames as `film.mp4` in Flash Video |
//! | `film.mpg` | 20 s of MPEG-2 and MP2 in an MPEG program stream |
//! | `song.flac` `song.mp3` `song.ogg` `song.wav` | sound |
//! | `empty.mp4` | no bytes |
//! | `page.html` | what a site shows instead of a film; also as `page.mp4` |
//!
//! Disc images and archives lie there too: [`crate::images`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Part of the folder's name: raise it when the commands change, so that old files are not used.
const VERSION: u32 = 2;

/// What a player sees of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// ffprobe's `streams` and the duration, without what names the file.
    pub streams: String,
    /// What ffmpeg says about each decoded packet: number, time and checksum of the frames.
    pub frames: String,
}

/// The folder with all files; makes them the first time.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let done = crate::root().join(format!("target/e2e-media/{VERSION}"));
        if !done.exists() {
            make(&done);
        }
        done
    })
}

/// The path of one file.
pub fn path(name: &str) -> PathBuf {
    folder().join(name)
}

/// The bytes of one file.
pub fn bytes(name: &str) -> Vec<u8> {
    fs::read(path(name)).unwrap()
}

/// The files are made in a folder of their own which then takes its name, so that half a set is never used.
fn make(done: &Path) {
    fs::create_dir_all(done.parent().unwrap()).unwrap();
    let new = tempfile::TempDir::with_prefix_in("new-", done.parent().unwrap()).unwrap();
    let run = |arguments: &str| ffmpeg(new.path(), arguments);
    run(
        "-f lavfi -i testsrc2=size=1920x1080:rate=24:duration=60 -f lavfi -i sine=frequency=440:sample_rate=48000:duration=60 \
         -c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 48 -b:v 3200k -maxrate 3600k -bufsize 3600k \
         -c:a aac -b:a 128k film.mp4",
    );
    run("-i film.mp4 -c copy -movflags +faststart film-fast.mp4");
    run("-i film.mp4 -c copy film.mkv");
    run("-i film.mp4 -c copy -t 30 film.ts");
    run("-i film.mp4 -c copy -t 20 film.flv");
    run("-i film.mp4 -t 20 -vf scale=640:360 -c:v mpeg4 -b:v 1M -c:a libmp3lame -b:a 128k film.avi");
    run("-i film.mp4 -t 20 -vf scale=640:360,fps=25 -c:v mpeg2video -b:v 2M -c:a mp2 -b:a 192k -f vob film.mpg");
    run("-f lavfi -i anoisesrc=duration=40:color=pink:sample_rate=44100:seed=7 -ac 2 song.flac");
    run("-i song.flac -t 15 -c:a libmp3lame -b:a 128k song.mp3");
    run("-i song.flac -t 15 -c:a libvorbis song.ogg");
    run("-i song.flac -t 5 song.wav");
    fs::write(new.path().join("empty.mp4"), "").unwrap();
    let page = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please sign in.</body></html>\n";
    fs::write(new.path().join("page.html"), page).unwrap();
    fs::write(new.path().join("page.mp4"), page).unwrap();
    crate::images::make(new.path(), run);
    // Where another process was quicker its set is as good.
    if fs::rename(new.path(), done).is_ok() {
        drop(new.keep());
    }
}

fn ffmpeg(folder: &Path, arguments: &str) {
    let output = Command::new("ffmpeg")
        .current_dir(folder)
        .args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y", "-fflags", "+bitexact"])
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("ffmpeg: {error}; `make tools` installs it"));
    assert!(output.status.success(), "ffmpeg {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What ffprobe and ffmpeg see at a path or an address. Every frame is decoded.
pub fn probe(input: &str) -> Probe {
    let streams = tool(
        "ffprobe",
        &[
            "-v",
            "error",
            "-show_entries",
            "format=format_name,duration,nb_streams:stream=index,codec_type,codec_name,width,height,sample_rate,channels,duration",
            "-of",
            "compact",
            input,
        ],
    );
    let frames = tool("ffmpeg", &["-nostdin", "-v", "error", "-i", input, "-map", "0", "-f", "framecrc", "-"]);
    Probe { streams, frames }
}

/// The frames of a few seconds of a path or an address, after a leap; as [`Probe::frames`].
pub fn clip(input: &str, from_s: u32, length_s: u32) -> String {
    let [from, length] = [from_s, length_s].map(|seconds| seconds.to_string());
    let arguments =
        ["-nostdin", "-v", "error", "-ss", &from, "-i", input, "-t", &length, "-map", "0", "-f", "framecrc", "-"];
    tool("ffmpeg", &arguments)
}

/// The same of one of our files; each is decoded once per run.
pub fn local_probe(name: &str) -> Probe {
    static KNOWN: OnceLock<std::sync::Mutex<Vec<(String, Probe)>>> = OnceLock::new();
    let mut known = KNOWN.get_or_init(Default::default).lock().unwrap();
    if let Some((_, probe)) = known.iter().find(|(known, _)| known == name) {
        return probe.clone();
    }
    let found = probe(&path(name).display().to_string());
    known.push((name.to_owned(), found.clone()));
    found
}

/// Where in one of our files the picture lies with which playing from this second begins.
pub fn position(name: &str, second: u32) -> u64 {
    let interval = format!("{second}%+#1");
    let file = path(name).display().to_string();
    let arguments = [
        "-v",
        "error",
        "-select_streams",
        "v",
        "-read_intervals",
        &interval,
        "-show_entries",
        "packet=pos",
        "-of",
        "csv=p=0",
        &file,
    ];
    let found = tool("ffprobe", &arguments);
    let found = found.lines().next().map(|line| line.trim_end_matches(','));
    found.and_then(|position| position.parse().ok()).unwrap_or_else(|| panic!("{name} has nothing at {second} s"))
}

fn tool(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; `make tools` installs it"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{program} {arguments:?}: {} {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
