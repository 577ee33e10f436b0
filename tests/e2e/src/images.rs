//! Disc images and archives around the films, made by the tools that people use, once, in the folder of [`crate::media`].
//!
//! | file | what it is |
//! |---|---|
//! | `dvd.iso` | DVD-Video with a menu, a film of 20 s and an extra of 4 s in a title set of its own |
//! | `dvd-film.vob` `dvd-extra.vob` | the VOBs of the two title sets without menus |
//! | `data.iso` | UDF and ISO 9660 with `film.mp4` in a folder, and a text |
//! | `aacs.iso` | what of a Blu-ray disc shows that it is encrypted |
//! | `stored.zip` `film.tar` | `film.mkv` in a folder, stored, and a text |
//! | `disc.zip` | `data.iso`, stored |
//! | `deflated.zip` | `song.wav`, compressed |
//! | `set.part1.rar` … | `film.mpg`, stored in a set of volumes; made here, since nothing free writes RAR |

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// What describes the DVD to dvdauthor.
const DVD: &str = r#"<dvdauthor>
  <vmgm/>
  <titleset>
    <menus><pgc><vob file="menu.mpg"/></pgc></menus>
    <titles><video format="pal"/><pgc><vob file="dvd-film.mpg"/></pgc></titles>
  </titleset>
  <titleset>
    <titles><video format="pal"/><pgc><vob file="dvd-extra.mpg"/></pgc></titles>
  </titleset>
</dvdauthor>
"#;
/// What stands beside the films.
const TEXT: &str = "Nothing to play.\n";
/// What of the film is in one volume of a set.
const VOLUME_BYTES: usize = 1_500_000;

/// Makes all of them in this folder, which has the films.
pub(crate) fn make(folder: &Path, ffmpeg: impl Fn(&str)) {
    let tool = |line: &str| tool(folder, line);
    let parts = ["menu", "dvd-film", "dvd-extra"];
    for (part, seconds) in parts.iter().zip([1, 20, 4]) {
        ffmpeg(&format!(
            "-f lavfi -i testsrc2=size=720x576:rate=25:duration={seconds} \
             -f lavfi -i sine=frequency=440:sample_rate=48000:duration={seconds} \
             -target pal-dvd -aspect 16:9 {part}.mpg"
        ));
    }
    fs::write(folder.join("dvd.xml"), DVD).unwrap();
    tool("dvdauthor -o dvd -x dvd.xml");
    tool("genisoimage -quiet -dvd-video -V FILM -o dvd.iso dvd");
    fs::rename(folder.join("dvd/VIDEO_TS/VTS_01_1.VOB"), folder.join("dvd-film.vob")).unwrap();
    fs::rename(folder.join("dvd/VIDEO_TS/VTS_02_1.VOB"), folder.join("dvd-extra.vob")).unwrap();
    assert!(folder.join("dvd/VIDEO_TS/VTS_01_0.VOB").exists(), "dvdauthor made no menu");

    let text = |path: &str| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, TEXT).unwrap();
    };
    text("data/read-me.txt");
    text("data/films/notes.txt");
    fs::hard_link(folder.join("film.mp4"), folder.join("data/films/film.mp4")).unwrap();
    tool("genisoimage -quiet -udf -J -r -V DATA -o data.iso data");

    text("bluray/AACS/Unit_Key_RO.inf");
    text("bluray/BDMV/index.bdmv");
    text("bluray/BDMV/STREAM/00000.m2ts");
    tool("genisoimage -quiet -udf -J -r -V LOCKED -o aacs.iso bluray");

    text("box/read-me.txt");
    fs::hard_link(folder.join("film.mkv"), folder.join("box/film.mkv")).unwrap();
    tool("zip -q -0 -r stored.zip box");
    tool("tar -cf film.tar box");
    tool("zip -q -0 disc.zip data.iso");
    tool("zip -q -9 deflated.zip song.wav");

    write_volumes(folder, "film.mpg");

    for part in parts {
        fs::remove_file(folder.join(part).with_extension("mpg")).unwrap();
    }
    for made in ["dvd", "data", "bluray", "box"] {
        fs::remove_dir_all(folder.join(made)).unwrap();
    }
}

fn tool(folder: &Path, line: &str) {
    let mut words = line.split_whitespace();
    let program = words.next().unwrap();
    let output = Command::new(program)
        .current_dir(folder)
        .args(words)
        .env("VIDEO_FORMAT", "PAL")
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; `make tools` installs it"));
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A set of volumes as RAR 4 writes it, with names that count.
fn write_volumes(folder: &Path, name: &str) {
    let film = fs::read(folder.join(name)).unwrap();
    let last = film.chunks(VOLUME_BYTES).len() - 1;
    for (number, part) in film.chunks(VOLUME_BYTES).enumerate() {
        let (is_first, is_last) = (number == 0, number == last);
        let sum = if is_last { crc32(&film) } else { crc32(part) };
        // A volume of a set, names that count, the first.
        let volume = 0x0011 | if is_first { 0x0100 } else { 0 };
        // With data; from the volume before, into the next.
        let flags = 0x8000 | u16::from(!is_first) | u16::from(!is_last) << 1;
        let [packed, size] = [part.len(), film.len()].map(|length| u32::try_from(length).unwrap().to_le_bytes());
        let mut about = [packed, size].concat();
        about.push(3);
        about.extend(sum.to_le_bytes());
        // Without a time, stored by a program that unpacks version 2.0.
        about.extend([0, 0, 0, 0, 20, 0x30]);
        about.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        about.extend(0o100_644_u32.to_le_bytes());
        about.extend(name.as_bytes());
        let more = 0x4000 | u16::from(!is_last);
        let bytes = [
            b"Rar!\x1A\x07\0",
            &header(0x73, volume, &[0; 6])[..],
            &header(0x74, flags, &about),
            part,
            &header(0x7B, more, &[]),
        ];
        fs::write(folder.join(format!("set.part{}.rar", number + 1)), bytes.concat()).unwrap();
    }
}

fn header(kind: u8, flags: u16, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(7 + rest.len()).unwrap();
    let body = [&[kind], &flags.to_le_bytes()[..], &length.to_le_bytes(), rest].concat();
    let sum = crc32(&body).to_le_bytes();
    [&sum[..2], &body].concat()
}

fn crc32(bytes: &[u8]) -> u32 {
    let bit = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ 0xEDB8_8320 } else { sum >> 1 };
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| bit(sum)))
}
