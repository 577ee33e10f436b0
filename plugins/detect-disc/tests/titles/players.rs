//! Other programs' opinions of the same discs; `make tools` installs them.

use crate::disc::{Disc, extents, ids};
use crate::write::{self, AC3, DTS_HD, H264, PGS, Playlist, part, playlist};
use mediahost_plugin_sdk::detect::Layout;
use mediahost_plugin_sdk::detect::testing::{Media, Source, look, probe};
use std::path::Path;
use std::process::{Command, Output};

/// What a program says.
fn ask(program: &str, arguments: &[&str], folder: &Path) -> Output {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    output.unwrap_or_else(|error| panic!("{program} is needed, run `make tools`: {error}"))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A folder of the test's own.
fn folder(media: &Media) -> std::path::PathBuf {
    media.write("here", b"").parent().unwrap().to_path_buf()
}

/// The bytes of a title.
fn bytes(disc: &Disc, layout: &Layout, id: &str) -> Vec<u8> {
    let image = disc.image();
    extents(layout, id).into_iter().flat_map(|(offset, length)| image.read(offset, length)).collect()
}

#[test]
fn libbluray_reads_the_same_bytes() {
    let mut disc = Disc::default();
    // The first part begins with its clip: that is where libbluray begins, whatever the playlist says. Pictures begin
    // with units: it cuts between packets, we cut between units.
    let film = playlist(&[part("00001", 0, 50), part("00002", 20, 60), part("00001", 70, 200)]);
    disc.put("BDMV/PLAYLIST/00001.mpls", film.bytes());
    for (clip, gap) in [("00001", 96), ("00002", 32)] {
        let points: Vec<(u32, u32)> = (0..100).map(|s| (s * 45_000, s * gap)).collect();
        disc.put(&format!("BDMV/CLIPINF/{clip}.clpi"), write::clip(100 * gap, &[0], &points));
        disc.put(&format!("BDMV/STREAM/{clip}.m2ts"), write::stream(100 * gap as usize / 32));
    }
    let layout = disc.layout();
    let ours = bytes(&disc, &layout, "00001.mpls");
    assert_eq!(ours.len() % write::UNIT, 0);
    let media = Media::new("titles-splice");
    let folder = folder(&media);
    disc.write_to(&folder.join("disc"));
    image_of_genisoimage(&disc, &layout, &folder, &["-udf", "-allow-lowercase", "-l"]);
    let said = ask("bd_splice", &["-t", "1", "disc", "film.m2ts"], &folder);
    let theirs = std::fs::read(folder.join("film.m2ts")).unwrap();
    assert!(theirs == ours, "{} bytes, we have {}: {}", theirs.len(), ours.len(), text(&said));
}

#[test]
fn dvds_of_dvdauthor() {
    let media = Media::new("titles-dvd");
    let folder = folder(&media);
    for (name, seconds) in [("a.mpg", 3), ("b.mpg", 6)] {
        let picture = format!("-f lavfi -i testsrc2=s=720x576:r=25:d={seconds}");
        media.make(name, &format!("{picture} -f lavfi -i sine=r=48000:d={seconds} -target pal-dvd -b:v 1M"));
    }
    let one = r#"<video format="pal"/><audio format="ac3" lang="en"/><pgc><vob file="a.mpg" chapters="0,1"/></pgc>"#;
    let two = r#"<pgc><vob file="b.mpg" chapters="0,2,4"/><vob file="a.mpg"/></pgc>"#;
    let three = r#"<titleset><titles><pgc><vob file="a.mpg"/></pgc></titles></titleset>"#;
    let menu = r#"<vmgm><menus><video format="pal"/></menus></vmgm>"#;
    let titles = format!("<titleset><titles>{one}{two}</titles></titleset>{three}");
    media.write("disc.xml", format!("<dvdauthor>{menu}{titles}</dvdauthor>").as_bytes());
    let said = ask("dvdauthor", &["-o", "disc", "-x", "disc.xml"], &folder);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));

    let mut disc = Disc::default();
    let files = std::fs::read_dir(folder.join("disc/VIDEO_TS")).unwrap().map(|entry| entry.unwrap().path());
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        disc.put(&format!("VIDEO_TS/{name}"), std::fs::read(&path).unwrap());
    }
    let layout = disc.layout();
    assert_eq!(ids(&layout), "VTS_01-1 *VTS_01-2 VTS_02-1");
    let seconds: Vec<u64> = layout.titles.iter().map(|title| title.duration_ms.unwrap().div_ceil(1000)).collect();
    assert_eq!(seconds, [3, 9, 3]);
    assert_eq!(layout.tracks.iter().map(|track| track.codec.as_str()).collect::<Vec<_>>(), ["mpeg2video", "ac3"]);
    // The title is a stream that a player understands, its tracks being those of the tables.
    let film = media.write("film.vob", &bytes(&disc, &layout, "VTS_01-2"));
    let probed = probe(&film);
    assert_eq!(probed.format.get("format_name").map(String::as_str), Some("mpeg"));
    for track in &layout.tracks {
        let id = format!("0x{:x}", track.id);
        let stream =
            probed.streams.iter().find(|stream| stream.get("id") == Some(&id)).unwrap_or_else(|| panic!("{id}"));
        assert_eq!(stream.get("codec_name"), Some(&track.codec));
        assert_eq!(stream.get("width").cloned(), track.width.map(|width| width.to_string()));
        assert_eq!(stream.get("channels").cloned(), track.channels.map(|channels| channels.to_string()));
    }
    cells_of_lsdvd(&disc, &layout, &folder);
    image_of_genisoimage(&disc, &layout, &folder, &["-dvd-video"]);
}

/// The same titles in an image with a file system around them.
fn image_of_genisoimage(disc: &Disc, layout: &Layout, folder: &Path, how: &[&str]) {
    let arguments = [&["-quiet", "-V", "FILM", "-o", "disc.iso"][..], how, &["disc"]].concat();
    let said = ask("genisoimage", &arguments, folder);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let image = std::fs::read(folder.join("disc.iso")).unwrap();
    let seen = look::<detect_disc::Disc>(&image).unwrap();
    assert!(seen.rounds <= 16, "{} rounds", seen.rounds);
    let found = seen.layout.unwrap();
    crate::disc::check(&found, image.len() as u64);
    assert_eq!((ids(&found), found.duration_ms), (ids(layout), layout.duration_ms));
    for title in &found.titles {
        let places = extents(&found, &title.id).into_iter();
        let theirs: Vec<u8> = places.flat_map(|(offset, length)| Source::read(&image, offset, length)).collect();
        assert!(theirs == bytes(disc, layout, &title.id), "{}", title.id);
    }
}

/// The cells that lsdvd, which asks libdvdread, finds in the film: they are its bytes.
fn cells_of_lsdvd(disc: &Disc, layout: &Layout, folder: &Path) {
    let said = ask("lsdvd", &["-c", "-t", "2", "-x", "-Oy", "disc"], folder);
    let said = text(&said);
    let value = |line: &str, key: &str| {
        let rest = line.trim().strip_prefix(&format!("'{key}' : "))?;
        rest.trim_end_matches(',').parse::<u64>().ok()
    };
    let firsts = said.lines().filter_map(|line| value(line, "first_sector"));
    let lasts = said.lines().filter_map(|line| value(line, "last_sector"));
    let vob = disc.tree.find("VIDEO_TS/VTS_01_1.VOB").unwrap().extents[0].offset.unwrap();
    let mut cells: Vec<(u64, u64)> = Vec::new();
    for (first, last) in firsts.zip(lasts) {
        let (offset, length) = (vob + first * 2048, (last + 1 - first) * 2048);
        match cells.last_mut().filter(|before| before.0 + before.1 == offset) {
            Some(before) => before.1 += length,
            None => cells.push((offset, length)),
        }
    }
    assert!(!cells.is_empty(), "{said}");
    assert_eq!(extents(layout, "VTS_01-2"), cells, "{said}");
}

#[test]
fn libbluray_finds_the_same_film() {
    let mut disc = Disc::default();
    let film = Playlist {
        chapters: 12,
        streams: vec![H264, AC3, DTS_HD, PGS],
        ..playlist(&[part("00001", 10, 2800), part("00002", 0, 2800)])
    };
    let angle = write::Item { angles: vec!["00001"], ..part("00003", 0, 140) };
    for (name, list) in [
        ("00001", playlist(&[part("00003", 0, 150)])),
        ("00002", playlist(&[angle])),
        ("00004", Playlist { chapters: 1, ..playlist(&[part("00003", 0, 9000)]) }),
        ("00100", playlist(&vec![part("00003", 0, 3000); 30])),
        ("00800", film.clone()),
        ("00801", film),
        ("00900", playlist(&[part("00002", 0, 2600)])),
    ] {
        disc.put(&format!("BDMV/PLAYLIST/{name}.mpls"), list.bytes());
    }
    let points: Vec<(u32, u32)> = (0..2800).map(|s| (s * 45_000, s * 64)).collect();
    for clip in ["00001", "00002", "00003"] {
        disc.put(&format!("BDMV/CLIPINF/{clip}.clpi"), write::clip(2800 * 64, &[0], &points));
        disc.claim(&format!("BDMV/STREAM/{clip}.m2ts"), 2800 * 64 * 192);
    }
    let layout = disc.layout();
    assert_eq!(layout.titles.iter().find(|title| title.main).unwrap().id, "00800.mpls", "{}", ids(&layout));

    let media = Media::new("titles-bluray");
    let folder = folder(&media);
    disc.tree.files.retain(|file| !file.path.ends_with(".m2ts"));
    disc.write_to(&folder);
    std::fs::create_dir_all(folder.join("BDMV/STREAM")).unwrap();
    let said = ask("bd_list_titles", &["-l", "."], &folder);
    let said = text(&said);
    // index: 1 duration: 01:33:20 chapters:  12 angles:  1 clips:   2 (playlist: 00800.mpls) V:1 A:2  PG:1 …
    let words = |line: &str| line.replace(':', " ").split_whitespace().map(str::to_string).collect::<Vec<_>>();
    let lines: Vec<Vec<String>> = said.lines().filter(|line| line.starts_with("index:")).map(words).collect();
    let after = |line: &[String], word: &str| {
        let at = line.iter().position(|other| other == word).unwrap_or_else(|| panic!("{word} in {line:?}"));
        line[at + 1].clone()
    };
    let number = |line: &[String], word: &str| after(line, word).trim_end_matches(')').parse::<u64>().unwrap();
    assert!(lines.len() >= 5, "{said}");
    // Which of two equal ones comes first is a matter of the folder's order there.
    let main = said.lines().find_map(|line| line.strip_prefix("Main title: ")).unwrap().trim();
    let main = lines.iter().find(|line| after(line, "index") == main).unwrap();
    assert!(after(main, "(playlist").starts_with("0080"), "{said}");
    for line in &lines {
        let id = after(line, "(playlist").trim_end_matches(')').to_string();
        // Those it leaves out are not asked for; those it has, we have.
        let title = layout.titles.iter().find(|title| title.id == id).unwrap_or_else(|| panic!("{id}: {said}"));
        let at = line.iter().position(|word| word == "duration").unwrap();
        let two = |index: usize| line[at + index].parse::<u64>().unwrap();
        let seconds = (two(1) * 60 + two(2)) * 60 + two(3);
        assert!(title.duration_ms.unwrap().abs_diff(seconds * 1000) < 1000, "{id}: {said}");
        let angles = layout.titles.iter().filter(|title| title.id.starts_with(&format!("{id}#"))).count() as u64 + 1;
        assert_eq!(number(line, "angles"), angles, "{id}: {said}");
        if ["00800.mpls", "00801.mpls"].contains(&id.as_str()) {
            assert_eq!([number(line, "V"), number(line, "A"), number(line, "PG")], [1, 2, 1], "{said}");
        }
    }
}
