//! Archives made by the usual programs, which `make tools` installs: our own writers could share a mistake with the
//! readers.

use std::path::PathBuf;
use std::process::Command;

use crate::host::{Folder, noise};

/// A folder with a film, a song and notes in it, removed with the value.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let place = Place(std::env::temp_dir().join(format!("mediahost-archive-{name}-{}", std::process::id())));
        std::fs::create_dir_all(place.0.join("in/Film")).unwrap();
        std::fs::write(place.0.join("in/notes.txt"), b"notes\n".repeat(50)).unwrap();
        std::fs::write(place.0.join("in/Film/film.mkv"), noise(1, 150_000)).unwrap();
        std::fs::write(place.0.join("in").join(long()), noise(2, 3_000)).unwrap();
        place
    }

    /// Runs a program in the folder.
    fn run(&self, program: &str, arguments: &[&str]) {
        let output = Command::new(program).args(arguments).current_dir(&self.0).output();
        let output = output.unwrap_or_else(|error| panic!("{program} is needed, run `make tools`: {error}"));
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn check(&self, archive: &str, format: &str, tops: &str) {
        let folder = Folder::default().with(archive, std::fs::read(self.0.join(archive)).unwrap());
        let seen = folder.seen(archive);
        let layout = seen.layout.as_ref().unwrap();
        assert_eq!((layout.format.as_str(), layout.titles.len()), (format, 2), "{archive}");
        for (id, bytes, main) in [
            (format!("{tops}Film/film.mkv"), noise(1, 150_000), true),
            (format!("{tops}{}", long()), noise(2, 3_000), false),
        ] {
            let title = layout.titles.iter().find(|title| title.id == id).unwrap_or_else(|| panic!("{archive}: {id}"));
            assert_eq!((title.main, folder.content(&seen, title) == bytes), (main, true), "{archive}: {id}");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Longer than the 100 bytes that a header of TAR has for it, and not in ASCII.
fn long() -> String {
    format!("{}-ü.flac", "song-".repeat(25))
}

#[test]
fn by_zip() {
    let place = Place::new("zip");
    // With `-fd` sizes follow the data, with `-fz` they have 64 bits.
    for (name, flags) in [("plain.zip", "-0r"), ("streamed.zip", "-0rfd"), ("wide.zip", "-0rfz")] {
        place.run("zip", &["-q", flags, name, "in"]);
        place.check(name, "zip", "in/");
    }
    place.run("zip", &["-q", "-r", "-9", "packed.zip", "in/notes.txt"]);
    let folder = Folder::default().with("packed.zip", std::fs::read(place.0.join("packed.zip")).unwrap());
    assert!(folder.layout("packed.zip").titles.is_empty());
}

#[test]
fn by_tar() {
    let place = Place::new("tar");
    for format in ["gnu", "oldgnu", "pax", "posix", "ustar"] {
        let name = format!("{format}.tar");
        let long = ["--exclude=song-*"].into_iter().filter(|_| format == "ustar");
        let mut arguments = vec!["-cf", &name, "--format", format];
        arguments.extend(long);
        arguments.push("in");
        place.run("tar", &arguments);
        match format {
            "ustar" => {
                let folder = Folder::default().with("a", std::fs::read(place.0.join(&name)).unwrap());
                folder.expect("a", "tar", "in/Film/film.mkv", &[("in/Film/film.mkv", noise(1, 150_000))]);
            }
            _ => place.check(&name, "tar", "in/"),
        }
    }
}

/// Sparse members in all the ways GNU's tar has to write them.
#[test]
fn sparse_by_tar() {
    let place = Place::new("sparse");
    let file = std::fs::File::create(place.0.join("holes.mkv")).unwrap();
    file.set_len(8 << 20).unwrap();
    for start in (0..40).map(|i| i * 200_000) {
        std::os::unix::fs::FileExt::write_at(&file, b"data", start).unwrap();
    }
    for (name, flags) in [
        ("old.tar", &["--format=gnu"][..]),
        ("0.0.tar", &["--format=pax", "--sparse-version=0.0"]),
        ("0.1.tar", &["--format=pax", "--sparse-version=0.1"]),
        ("1.0.tar", &["--format=pax", "--sparse-version=1.0"]),
    ] {
        let arguments = [&["-S", "-cf", name], flags, &["holes.mkv", "in/notes.txt"]].concat();
        place.run("tar", &arguments);
        let folder = Folder::default().with(name, std::fs::read(place.0.join(name)).unwrap());
        assert_eq!(folder.failure(name), "unsupported: holes.mkv is stored without its holes (sparse)");
    }
}

#[test]
fn by_python() {
    let place = Place::new("python");
    let script = "
import sys, tarfile, zipfile
song = sys.argv[1]
with zipfile.ZipFile('a.zip', 'w') as z:
    z.comment = b'PK\\x05\\x06 not the end'
    for name in ['Film/film.mkv', song]:
        with z.open(zipfile.ZipInfo(name), 'w', force_zip64=True) as f:
            f.write(open('in/' + name, 'rb').read())
with open('b.zip', 'wb') as out:
    out.write(b'MZ' * 9999)
    with zipfile.ZipFile(out, 'a') as z:
        for name in ['Film/film.mkv', song]:
            z.write('in/' + name, name)
for name, kind in [('p.tar', tarfile.PAX_FORMAT), ('g.tar', tarfile.GNU_FORMAT)]:
    with tarfile.open(name, 'w', format=kind) as t:
        for name in ['Film/film.mkv', song]:
            t.add('in/' + name, name)
";
    std::fs::write(place.0.join("make.py"), script).unwrap();
    place.run("python3", &["make.py", &long()]);
    for (name, format) in [("a.zip", "zip"), ("b.zip", "zip"), ("p.tar", "tar"), ("g.tar", "tar")] {
        place.check(name, format, "");
    }
}
