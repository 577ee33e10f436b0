//! Films and songs, most of five minutes, in the awkward variants of their containers, made once, in a folder of their own beside
//! that of [`crate::media`].
//!
//! | file | what it is |
//! |---|---|
//! | `tail.mp4` `head.mp4` `tail.mov` | `moov` at the end, in front, at the end of QuickTime |
//! | `sidx.mp4` `mfra.mp4` `bare.mp4` | fragments with a `sidx` in front, with an `mfra` at the end, with neither |
//! | `co64.mp4` | `moov` at the end with offsets of 64 bits |
//! | `free.mp4` `apart.mp4` | 3 MiB of `free` in front of `moov`, and between `moov` and the media |
//! | `tail.mkv` `front.mkv` `none.mkv` | Cues at the end, in front, none and nothing that tells a length |
//! | `merged.mkv` `merged-none.mkv` | as mkvmerge writes it, and without Cues |
//! | `attached.mkv` | 2 MiB of an attachment in front of the clusters |
//! | `tail.webm` `none.webm` | VP8 and Vorbis, Cues at the end, none |
//! | `long.ts` `long.m2ts` `long.mpg` | transport stream, that of Blu-ray discs, program stream |
//! | `idx1.avi` `opendml.avi` | the old index, and a second `RIFF` with OpenDML's indexes |
//! | `told.flv` `keyframes.flv` `untold.flv` | duration in `onMetaData`, key frames too, nothing |
//! | `song.ogg` `song.opus` `long.ogv` | Vorbis, Opus, Theora in Ogg |
//! | `song.flac` `cover.flac` | without and with several MiB of cover in front of the sound |
//! | `song.mp3` `cover.mp3` `junk.mp3` | with a Xing tag, with as large a cover, with something else in front |
//! | `song.aac` `song.wav` `song.m4a` | ADTS, WAV, AAC in MP4 |
//! | `heavy.mp4` `heavy.mkv` `heavy.flv` | 4 s with key frames of most of a MiB; in the MP4 `moov` is in front |
//! | `bluray.iso` | a Blu-ray disc with `long.m2ts` as its only title |

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;

/// Part of the folder's name: raise it when the commands change, so that old files are not used.
const VERSION: u32 = 1;

/// How long most of them play.
pub const SECONDS: u32 = 300;
/// How long those with large pictures play.
pub const HEAVY_SECONDS: u32 = 4;
/// What stands in the way in front of `moov`, of the media, and of the clusters.
const FREE_BYTES: usize = 3 << 20;
const ATTACHED_BYTES: usize = 2 << 20;
/// What stands in front of the first frame of `junk.mp3`.
const JUNK_BYTES: usize = 6000;

/// The folder with all files; makes them the first time.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let done = crate::root().join(format!("target/e2e-media/variants-{VERSION}"));
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

/// The files are made in a folder of their own which then takes its name, so that half a set is never used.
fn make(done: &Path) {
    fs::create_dir_all(done.parent().unwrap()).unwrap();
    let new = tempfile::TempDir::with_prefix_in("new-", done.parent().unwrap()).unwrap();
    let folder = new.path();
    encode(folder);
    thread::scope(|scope| {
        scope.spawn(|| films(folder));
        scope.spawn(|| songs(folder));
        scope.spawn(|| {
            heavy(folder);
            ffmpeg(folder, "-i film.mkv -r 5 -c:v libvpx -deadline realtime -cpu-used 16 -b:v 60k -g 25 -c:a libvorbis -b:a 32k tail.webm");
            ffmpeg(folder, "-i tail.webm -c copy -seekable 0 none.webm");
            ffmpeg(folder, "-i film.mkv -r 5 -c:v libtheora -b:v 60k -g 25 -c:a libvorbis -b:a 32k long.ogv");
        });
    });
    for part in ["film.mkv", "noise.wav", "cover.png"] {
        fs::remove_file(folder.join(part)).unwrap();
    }
    // Where another process was quicker its set is as good.
    if fs::rename(folder, done).is_ok() {
        drop(new.keep());
    }
}

/// What all others are made from.
fn encode(folder: &Path) {
    ffmpeg(
        folder,
        &format!(
            "-f lavfi -i testsrc2=size=320x180:rate=10:duration={SECONDS} \
             -f lavfi -i sine=frequency=440:sample_rate=24000:duration={SECONDS} \
             -c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 50 -b:v 48k -c:a aac -b:a 24k film.mkv"
        ),
    );
    ffmpeg(
        folder,
        &format!("-f lavfi -i anoisesrc=duration={SECONDS}:color=pink:sample_rate=24000:seed=7 -ac 1 noise.wav"),
    );
    ffmpeg(
        folder,
        "-f lavfi -i testsrc2=size=1200x1000:rate=1:duration=1,noise=alls=100:all_seed=7 -frames:v 1 cover.png",
    );
}

fn films(folder: &Path) {
    let run = |arguments: &str| ffmpeg(folder, arguments);
    run("-i film.mkv -c copy tail.mp4");
    run("-i film.mkv -c copy tail.mov");
    run("-i film.mkv -c copy -movflags +faststart head.mp4");
    run("-i film.mkv -c copy -movflags +frag_keyframe+empty_moov+default_base_moof+global_sidx+skip_trailer sidx.mp4");
    run("-i film.mkv -c copy -movflags +frag_keyframe+empty_moov+default_base_moof mfra.mp4");
    run("-i film.mkv -c copy -movflags +frag_keyframe+empty_moov+default_base_moof+skip_trailer bare.mp4");
    rewrite_movies(folder);

    run("-i film.mkv -c copy tail.mkv");
    run("-i film.mkv -c copy -cues_to_front 1 front.mkv");
    run("-i film.mkv -c copy -seekable 0 none.mkv");
    fs::write(folder.join("notes.bin"), vec![7; ATTACHED_BYTES]).unwrap();
    run("-i film.mkv -c copy -attach notes.bin -metadata:s:t mimetype=application/octet-stream attached.mkv");
    fs::remove_file(folder.join("notes.bin")).unwrap();
    tool(folder, "mkvmerge -q -o merged.mkv film.mkv");
    tool(folder, "mkvmerge -q -o merged-none.mkv --cues 0:none --cues 1:none film.mkv");

    run("-i film.mkv -c copy long.ts");
    run("-i film.mkv -c:v copy -c:a ac3 -ar 48000 -b:a 64k -f mpegts -mpegts_m2ts_mode 1 long.m2ts");
    write_bluray(folder);
    run("-i film.mkv -r 25 -c:v mpeg2video -b:v 150k -g 25 -c:a mp2 -ar 24000 -b:a 32k -f vob long.mpg");
    run("-i film.mkv -c:v mpeg4 -b:v 60k -g 50 -c:a libmp3lame -b:a 32k idx1.avi");
    let opendml = opendml(&fs::read(folder.join("idx1.avi")).unwrap());
    fs::write(folder.join("opendml.avi"), opendml).unwrap();
    run("-i film.mkv -c copy told.flv");
    run("-i film.mkv -c copy -flvflags add_keyframe_index keyframes.flv");
    run("-i film.mkv -c copy -flvflags no_metadata untold.flv");
}

/// Pictures that one does not get with the first answer, whatever that is.
fn heavy(folder: &Path) {
    ffmpeg(
        folder,
        &format!(
            "-f lavfi -i testsrc2=size=960x540:rate=24:duration={HEAVY_SECONDS},noise=alls=80:all_seed=7 \
             -f lavfi -i sine=frequency=440:sample_rate=24000:duration={HEAVY_SECONDS} \
             -c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 48 -crf 12 -c:a aac -b:a 24k heavy.mkv"
        ),
    );
    ffmpeg(folder, "-i heavy.mkv -c copy -movflags +faststart heavy.mp4");
    ffmpeg(folder, "-i heavy.mkv -c copy heavy.flv");
}

fn songs(folder: &Path) {
    let run = |arguments: &str| ffmpeg(folder, arguments);
    run("-i noise.wav -ar 8000 song.wav");
    run("-i song.wav song.flac");
    run("-i song.wav -i cover.png -map 0 -map 1 -c:v copy -disposition:v attached_pic cover.flac");
    run("-i noise.wav -c:a libmp3lame -q:a 5 song.mp3");
    run("-i song.mp3 -i cover.png -map 0 -map 1 -c copy -id3v2_version 3 -disposition:v attached_pic cover.mp3");
    let junk = b"This is no sound. ".iter().copied().cycle().take(JUNK_BYTES);
    let song = fs::read(folder.join("song.mp3")).unwrap();
    let first = song.windows(2).position(|two| two[0] == 0xFF && two[1] >= 0xE2).unwrap();
    fs::write(folder.join("junk.mp3"), junk.chain(song[first..].iter().copied()).collect::<Vec<_>>()).unwrap();
    run("-i noise.wav -c:a libvorbis -b:a 48k song.ogg");
    run("-i noise.wav -c:a libopus -b:a 48k song.opus");
    run("-i noise.wav -c:a aac -b:a 64k song.aac");
    run("-i noise.wav -c:a aac -b:a 64k song.m4a");
}

fn ffmpeg(folder: &Path, arguments: &str) {
    tool(folder, &format!("ffmpeg -nostdin -hide_banner -loglevel error -y -fflags +bitexact {arguments}"));
}

fn tool(folder: &Path, line: &str) {
    let mut words = line.split_whitespace();
    let program = words.next().unwrap();
    let output = Command::new(program)
        .current_dir(folder)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; `make tools` installs it"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&said));
}

/// Variants that no tool at hand writes.
fn rewrite_movies(folder: &Path) {
    let wide = rewritten(&fs::read(folder.join("tail.mp4")).unwrap(), 0, true);
    fs::write(folder.join("co64.mp4"), wide).unwrap();

    let film = rewritten(&fs::read(folder.join("head.mp4")).unwrap(), FREE_BYTES as u32, false);
    let free = [&(FREE_BYTES as u32).to_be_bytes()[..], b"free", &vec![0; FREE_BYTES - 8]].concat();
    let moov = boxes(&film).find(|(_, kind, _)| kind == b"moov").map(|(at, _, bytes)| (at, at + bytes.len())).unwrap();
    for (name, at) in [("free.mp4", moov.0), ("apart.mp4", moov.1)] {
        fs::write(folder.join(name), [&film[..at], &free, &film[at..]].concat()).unwrap();
    }
}

/// Boxes in a row: where each begins, its kind, and all of its bytes (ISO/IEC 14496-12 §4.2, without the long form).
fn boxes(bytes: &[u8]) -> impl Iterator<Item = (usize, [u8; 4], &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let length = u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().unwrap()) as usize;
        let found = (at, bytes[at + 4..at + 8].try_into().unwrap(), &bytes[at..at + length]);
        at += length;
        Some(found)
    })
}

/// The same boxes with chunks so much further behind, in numbers of 32 or of 64 bits.
fn rewritten(bytes: &[u8], shift: u32, wide: bool) -> Vec<u8> {
    let framed =
        |kind: &[u8; 4], content: &[u8]| [&(content.len() as u32 + 8).to_be_bytes()[..], kind, content].concat();
    let one = |(_, kind, whole): (usize, [u8; 4], &[u8])| match &kind {
        b"moov" | b"trak" | b"mdia" | b"minf" | b"stbl" => framed(&kind, &rewritten(&whole[8..], shift, wide)),
        b"stco" => {
            let moved = whole[16..].chunks_exact(4).map(|at| u32::from_be_bytes(at.try_into().unwrap()) + shift);
            let rows: Vec<u8> = match wide {
                true => moved.flat_map(|at| u64::from(at).to_be_bytes()).collect(),
                false => moved.flat_map(u32::to_be_bytes).collect(),
            };
            framed(if wide { b"co64" } else { b"stco" }, &[&whole[8..16], &rows].concat())
        }
        _ => whole.to_vec(),
    };
    boxes(bytes).flat_map(one).collect()
}

/// A disc with one playlist of one clip, without a description of it.
fn write_bluray(folder: &Path) {
    let root = folder.join("disc/BDMV");
    for name in ["PLAYLIST", "STREAM"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::hard_link(folder.join("long.m2ts"), root.join("STREAM/00000.m2ts")).unwrap();
    fs::write(root.join("index.bdmv"), "INDX0200").unwrap();
    // Times count 45 000 to the second. No flags, the first clock; then what may not be done, and a table of no streams.
    let times = [45_000, 45_000 * (SECONDS + 1)].map(u32::to_be_bytes).concat();
    let item = [&b"00000M2TS\0\x01\0"[..], &times, &[0; 12], &[0; 16]].concat();
    let list = [&[0; 2][..], &[0, 1], &[0; 2], &(item.len() as u16).to_be_bytes(), &item].concat();
    let head = [&b"MPLS0200"[..], &40u32.to_be_bytes(), &[0; 28]].concat();
    let list = [&head[..], &(list.len() as u32).to_be_bytes(), &list].concat();
    fs::write(root.join("PLAYLIST/00000.mpls"), list).unwrap();
    tool(folder, "genisoimage -quiet -udf -allow-limited-size -V FILM -o bluray.iso disc");
    fs::remove_dir_all(folder.join("disc")).unwrap();
}

/// A chunk of an AVI's media with what the index says of it.
struct Chunk<'a> {
    id: [u8; 4],
    is_key: bool,
    bytes: &'a [u8],
}

/// The same film in two `RIFF` chunks, with the indexes of OpenDML (AVI file format extensions 1.02) and without the old one.
/// What they need in the header was kept free there by who wrote the file.
fn opendml(avi: &[u8]) -> Vec<u8> {
    let number = |at: usize| u32::from_le_bytes(avi[at..at + 4].try_into().unwrap()) as usize;
    let find = |what: &[u8], from: usize| from + avi[from..].windows(what.len()).position(|w| w == what).unwrap();
    let movi = find(b"movi", 0);
    let idx1 = movi - 4 + number(movi - 4) + 4;
    assert_eq!(&avi[idx1..idx1 + 4], b"idx1");
    let entries = avi[idx1 + 8..idx1 + 8 + number(idx1 + 4)].chunks_exact(16);
    let chunks: Vec<Chunk> = entries
        .map(|entry| {
            let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap()) as usize;
            let at = movi + word(8);
            let bytes = &avi[at..at + 8 + word(12).next_multiple_of(2)];
            Chunk { id: entry[..4].try_into().unwrap(), is_key: word(4) & 0x10 != 0, bytes }
        })
        .collect();

    let mut made = avi[..movi - 8].to_vec();
    let mut supers = [Vec::new(), Vec::new()];
    for (number, half) in chunks.chunks(chunks.len().div_ceil(2)).enumerate() {
        let riff = if number == 0 { 0 } else { made.len() };
        if number > 0 {
            made.extend(b"RIFF\0\0\0\0AVIX");
        }
        let list = made.len();
        made.extend(b"LIST\0\0\0\0movi");
        let places: Vec<usize> = half
            .iter()
            .map(|chunk| {
                made.extend(chunk.bytes);
                made.len() - chunk.bytes.len()
            })
            .collect();
        for (stream, entries) in supers.iter_mut().enumerate() {
            let at = made.len();
            write_index(&mut made, stream, half, &places, list);
            let count = u32::from_le_bytes(made[at + 12..at + 16].try_into().unwrap());
            entries.push((at as u64, (made.len() - at) as u32, count));
        }
        for start in [list, riff] {
            let length = (made.len() - start - 8) as u32;
            made[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
        }
    }
    let mut from = 0;
    for (stream, entries) in supers.iter().enumerate() {
        from = find(b"strf", from);
        from = find(b"JUNK", from);
        let rows = entries.iter().flat_map(|(at, length, count)| {
            [&at.to_le_bytes()[..], &length.to_le_bytes(), &count.to_le_bytes()].concat()
        });
        let head =
            [&[4, 0, 0, 0][..], &(entries.len() as u32).to_le_bytes(), &id_of(&chunks, stream), &[0; 12]].concat();
        let index: Vec<u8> = head.into_iter().chain(rows).collect();
        made[from..from + 4].copy_from_slice(b"indx");
        made[from + 8..from + 8 + index.len()].copy_from_slice(&index);
    }
    made
}

fn id_of(chunks: &[Chunk], stream: usize) -> [u8; 4] {
    let digits = format!("{stream:02}");
    chunks.iter().find(|chunk| chunk.id.starts_with(digits.as_bytes())).unwrap().id
}

/// The index of one stream in one list: offsets of what is in the chunks, from the list.
fn write_index(made: &mut Vec<u8>, stream: usize, chunks: &[Chunk], places: &[usize], base: usize) {
    let id = id_of(chunks, stream);
    let rows: Vec<u8> = chunks
        .iter()
        .zip(places)
        .filter(|(chunk, _)| chunk.id == id)
        .flat_map(|(chunk, at)| {
            let length = u32::from_le_bytes(chunk.bytes[4..8].try_into().unwrap());
            let size = length | if chunk.is_key { 0 } else { 1 << 31 };
            [((at + 8 - base) as u32).to_le_bytes(), size.to_le_bytes()].concat()
        })
        .collect();
    made.extend(format!("ix{stream:02}").as_bytes());
    made.extend((24 + rows.len() as u32).to_le_bytes());
    made.extend([2, 0, 0, 1]);
    made.extend((rows.len() as u32 / 8).to_le_bytes());
    made.extend(id);
    made.extend((base as u64).to_le_bytes());
    made.extend([0; 4]);
    made.extend(rows);
}
