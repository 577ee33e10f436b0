//! HLS and DASH presentations made by ffmpeg, once, in `target/e2e-manifests`.
//!
//! | manifest | what it is |
//! |---|---|
//! | `ts/index.m3u8` | 20 s in segments of 4 s, MPEG transport streams |
//! | `fmp4/index.m3u8` | the same in fragmented MP4, with an init segment |
//! | `single/index.m3u8` | the same as byte ranges of one file |
//! | `aes/index.m3u8` | the same, encrypted with AES-128, the key beside it |
//! | `master/film.m3u8` | two variants and a group of sound |
//! | `dash/film.mpd` | DASH with templates |
//! | `ondemand/film.mpd` | DASH with one file per representation and their indexes |

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::media;

/// Part of the folder's name: raise it when the commands change, so that old files are not used.
const VERSION: u32 = 2;
/// The key of `aes/`.
const KEY: &[u8; 16] = b"a key of 16 byte";

/// The folder with all of them; makes them the first time.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let done = crate::root().join(format!("target/e2e-manifests/{VERSION}"));
        if !done.exists() {
            make(&done);
        }
        done
    })
}

fn make(done: &Path) {
    fs::create_dir_all(done.parent().unwrap()).unwrap();
    let new = tempfile::TempDir::with_prefix_in("new-", done.parent().unwrap()).unwrap();
    let film = media::path("film.mp4").display().to_string();
    let run = |folder: &str, arguments: &str| {
        let folder = new.path().join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("key"), KEY).unwrap();
        fs::write(folder.join("key.info"), "key\nkey\n").unwrap();
        ffmpeg(&folder, &arguments.replace("FILM", &film));
        fs::remove_file(folder.join("key.info")).unwrap();
    };
    let hls = "-f hls -hls_time 4 -hls_playlist_type vod";
    run("ts", &format!("-i FILM -t 20 -c copy {hls} index.m3u8"));
    run("fmp4", &format!("-i FILM -t 20 -c copy {hls} -hls_segment_type fmp4 index.m3u8"));
    run("single", &format!("-i FILM -t 20 -c copy {hls} -hls_flags single_file index.m3u8"));
    run("aes", &format!("-i FILM -t 20 -c copy {hls} -hls_key_info_file key.info index.m3u8"));
    let small = "-map 0:v -map 0:v -map 0:a -c:a copy -c:v:0 copy -c:v:1 libx264 -filter:v:1 scale=640:360 -preset ultrafast -g 48";
    let map =
        "-var_stream_map v:0,agroup:sound,name:high~v:1,agroup:sound,name:low~a:0,agroup:sound,name:sound,default:yes";
    run("master", &format!("-i FILM -t 12 {small} {hls} {map} -master_pl_name film.m3u8 %v.m3u8"));
    run("dash", "-i FILM -t 20 -map 0 -c copy -f dash -seg_duration 4 film.mpd");
    for (stream, name) in [("v", "video"), ("a", "audio")] {
        let arguments = format!("-i FILM -t 20 -map 0:{stream} -c copy -movflags +dash+global_sidx {name}.mp4");
        run("ondemand", &arguments);
    }
    fs::write(new.path().join("ondemand/film.mpd"), on_demand(&new.path().join("ondemand"))).unwrap();
    // Where another process was quicker its set is as good.
    if fs::rename(new.path(), done).is_ok() {
        drop(new.keep());
    }
}

/// The manifest of the on-demand profile (ISO/IEC 23009-1 §8.3), which ffmpeg reads and does not write.
fn on_demand(folder: &Path) -> String {
    let set = |name: &str, about: &str| {
        let (moov, index) = head(&fs::read(folder.join(format!("{name}.mp4"))).unwrap());
        format!(
            "<AdaptationSet mimeType=\"{name}/mp4\"><Representation id=\"{name}\" {about}><BaseURL>{name}.mp4</BaseURL>\
             <SegmentBase indexRange=\"{moov}-{}\"><Initialization range=\"0-{}\"/></SegmentBase></Representation></AdaptationSet>",
            index - 1,
            moov - 1
        )
    };
    let video = set("video", "bandwidth=\"3300000\" width=\"1920\" height=\"1080\" codecs=\"avc1.42c028\"");
    let audio = set("audio", "bandwidth=\"128000\" audioSamplingRate=\"48000\" codecs=\"mp4a.40.2\"");
    format!(
        "<?xml version=\"1.0\"?>\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" minBufferTime=\"PT4S\" \
         mediaPresentationDuration=\"PT20S\" profiles=\"urn:mpeg:dash:profile:isoff-on-demand:2011\"><Period>{video}{audio}</Period></MPD>\n"
    )
}

/// Where the `moov` ends, and the `sidx` that follows it.
fn head(file: &[u8]) -> (usize, usize) {
    let mut at = 0;
    loop {
        let size = u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        if &file[at + 4..at + 8] == b"sidx" {
            return (at, at + size);
        }
        at += size;
    }
}

/// Runs ffmpeg in a folder; `~` stands for a space within an argument.
fn ffmpeg(folder: &Path, arguments: &str) {
    let output = Command::new("ffmpeg")
        .current_dir(folder)
        .args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y", "-fflags", "+bitexact"])
        .args(arguments.split_whitespace().map(|argument| argument.replace('~', " ")))
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("ffmpeg: {error}; `make tools` installs it"));
    assert!(output.status.success(), "ffmpeg {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
