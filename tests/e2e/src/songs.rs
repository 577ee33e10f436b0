//! One song in the containers and codecs that audio comes in, made by ffmpeg, once, in `target/e2e-media`.
//!
//! It grows louder from its beginning to its end, and higher, so that a place in it can be told from another; left and right
//! differ. Under it lies noise, which codecs cannot make small.
//!
//! | file | what it is |
//! |---|---|
//! | `song.mp3` | MP3, with LAME's tag, 192 kbit/s |
//! | `song.aac` | AAC in ADTS |
//! | `song.flac` `song.wav` | 16 bits without loss |
//! | `song.ogg` | Vorbis |
//! | `song.opus` | Opus in Ogg, 48 kHz |
//! | `song.m4a` | AAC in MP4, `moov` at the end |
//! | `song-fragmented.mp4` | the same in fragments of 2 s |
//! | `voice.opus` | one channel at 20 kbit/s, which Opus codes as speech |

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Part of the folder's name: raise it when the commands change, so that old files are not used.
const VERSION: u32 = 2;

/// How long the song is.
pub const SECONDS: u32 = 100;

/// Sound as `ffmpeg` decodes it: 16 bits, interleaved.
pub struct Decoded {
    /// Samples per second and channel.
    pub rate: u32,
    /// Channels.
    pub channels: usize,
    /// All samples of all channels.
    pub samples: Vec<i16>,
}

impl Decoded {
    /// Samples per channel.
    pub fn frames(&self) -> u64 {
        (self.samples.len() / self.channels) as u64
    }
}

/// The folder with all files; makes them the first time.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let done = crate::root().join(format!("target/e2e-media/songs-{VERSION}"));
        if !done.exists() {
            make(&done);
        }
        done
    })
}

/// The length of one file in bytes.
pub fn length(name: &str) -> u64 {
    fs::metadata(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}")).len()
}

/// One file, decoded in full.
pub fn decoded(name: &str) -> Decoded {
    let file = folder().join(name).display().to_string();
    let entries = ["-v", "error", "-select_streams", "a:0", "-show_entries", "stream=sample_rate,channels"];
    let probed = tool("ffprobe", &[&entries[..], &["-of", "csv=p=0", &file]].concat());
    let probed = String::from_utf8(probed).unwrap();
    let mut numbers = probed.trim().trim_end_matches(',').split(',').map(|number| number.parse::<u32>().unwrap());
    let (rate, channels) = (numbers.next().unwrap(), numbers.next().unwrap() as usize);
    let bytes = tool("ffmpeg", &["-nostdin", "-v", "error", "-i", &file, "-map", "0:a:0", "-f", "s16le", "-"]);
    let samples = bytes.as_chunks::<2>().0.iter().map(|sample| i16::from_le_bytes(*sample)).collect();
    Decoded { rate, channels, samples }
}

/// The files are made in a folder of their own which then takes its name, so that half a set is never used.
fn make(done: &Path) {
    fs::create_dir_all(done.parent().unwrap()).unwrap();
    let new = tempfile::TempDir::with_prefix_in("new-", done.parent().unwrap()).unwrap();
    let voice =
        |hertz: u32, rise: u32| format!("(0.1+0.5*t/{SECONDS})*sin(2*PI*({hertz}+{rise}*t)*t)+0.1*(random(0)-0.5)");
    let sound = format!("aevalsrc={}|{}:d={SECONDS}:s=44100", voice(220, 8), voice(330, 6));
    let run = |before: &[&str], arguments: &str| {
        let output = Command::new("ffmpeg")
            .current_dir(new.path())
            .args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y"])
            .args(before)
            .args(arguments.split_whitespace())
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("ffmpeg: {error}; `make tools` installs it"));
        assert!(output.status.success(), "ffmpeg {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["-f", "lavfi", "-i", &sound], "-c:a pcm_s16le song.wav");
    for arguments in [
        "-c:a flac song.flac",
        "-c:a libmp3lame -b:a 192k song.mp3",
        "-c:a aac -b:a 192k song.aac",
        "-c:a libvorbis -q:a 6 song.ogg",
        "-c:a libopus -b:a 192k song.opus",
        "-c:a libopus -b:a 20k -ac 1 -application voip voice.opus",
        "-c:a aac -b:a 192k song.m4a",
        "-c:a aac -b:a 192k -movflags +frag_keyframe+empty_moov+default_base_moof -frag_duration 2000000 song-fragmented.mp4",
    ] {
        run(&["-i", "song.wav"], arguments);
    }
    // Where another process was quicker its set is as good.
    if fs::rename(new.path(), done).is_ok() {
        drop(new.keep());
    }
}

fn tool(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; `make tools` installs it"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {} {errors}", output.status);
    output.stdout
}
