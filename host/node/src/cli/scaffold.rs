//! `mediahost plugin new`: a project that builds in an empty folder, from what the binary carries.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::json;

use super::Usage;
use super::args::{New, PluginKind, Shared};
use crate::embedded;

/// Where the SDK lies in a project.
const VENDORED: &str = "vendor/mediahost-plugin-sdk";

/// What the placeholders of a template stand for.
#[derive(Debug, PartialEq, Eq)]
struct Names {
    /// The plugin's id, which is also the package's name.
    id: String,
    /// The crate as Rust writes it, which is also the name of the file that is built.
    krate: String,
    scheme: String,
}

pub fn run(shared: &Shared, new: &New) -> anyhow::Result<()> {
    let names = names(&new.name, new.scheme.as_deref()).map_err(Usage)?;
    let folder = new.dir.clone().unwrap_or_else(|| PathBuf::from(&names.id));
    let files = project(new.kind, &names)?;
    refuse_unless_empty(&folder)?;
    for (path, bytes) in &files {
        let path = folder.join(path);
        let written = fs::create_dir_all(path.parent().unwrap_or(&folder)).and_then(|()| fs::write(&path, bytes));
        written.with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let built = format!("target/wasm32-wasip2/release/{}.wasm", names.krate);
    let paths: Vec<_> = files.iter().map(|(path, _)| path).collect();
    let json = json!({"id": names.id, "folder": folder, "files": paths, "builds": built});
    super::print(shared, &json, &next_steps(&folder, &names, &built));
    Ok(())
}

fn next_steps(folder: &Path, names: &Names, built: &str) -> String {
    format!(
        "Wrote the plugin {id} to {folder}. Next:\n\
         \n\
         \x20   cd {folder}\n\
         \x20   rustup target add wasm32-wasip2\n\
         \x20   cargo build --release --target wasm32-wasip2\n\
         \x20   mediahost plugin inspect {built}\n\
         \n\
         Copy the file into the plugins folder as {id}.wasm (`mediahost config` prints where that is); a running host\n\
         loads it within a second.",
        id = names.id,
        folder = folder.display(),
    )
}

/// Checks the name and makes the others from it.
fn names(id: &str, scheme: Option<&str>) -> Result<Names, String> {
    if !plugin::manifest::is_id(id) || !id.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err(format!(
            "{id:?} cannot be a plugin's id: use lower-case letters, digits and inner hyphens, a letter first"
        ));
    }
    let own = ["source-", "detect-"].iter().find_map(|prefix| id.strip_prefix(prefix)).unwrap_or(id);
    let scheme = scheme.unwrap_or(own);
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.bytes().all(good) || scheme.len() > 32 {
        return Err(format!("{scheme:?} cannot be a scheme: use a lower-case letter, then letters, digits, + - or ."));
    }
    Ok(Names { id: id.to_owned(), krate: id.replace('-', "_"), scheme: scheme.to_owned() })
}

/// All files of a project by their path in it.
fn project(kind: PluginKind, names: &Names) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let folder = match kind {
        PluginKind::MediaSource => "media-source/",
        PluginKind::ContainerDetector => "container-detector/",
    };
    // A template's manifest has another name, so that Cargo takes it for no package of this repository.
    let of_kind = |(path, bytes): &(&str, &[u8])| {
        let path = path.strip_prefix(folder)?;
        Some((path.strip_suffix(".tmpl").unwrap_or(path).to_owned(), filled(bytes, names)))
    };
    let mut files: Vec<_> = embedded::TEMPLATES.iter().filter_map(of_kind).collect();
    if files.is_empty() {
        bail!("this build of mediahost carries no template for {}", folder.trim_end_matches('/'));
    }
    files.extend(embedded::SDK.iter().map(|(path, bytes)| (format!("{VENDORED}/{path}"), bytes.to_vec())));
    Ok(files)
}

/// A template with its placeholders filled.
fn filled(template: &[u8], names: &Names) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(template) else { return template.to_vec() };
    let filled = text.replace("{{id}}", &names.id).replace("{{crate}}", &names.krate);
    filled.replace("{{scheme}}", &names.scheme).into_bytes()
}

fn refuse_unless_empty(folder: &Path) -> anyhow::Result<()> {
    let unreadable = || format!("{} cannot be looked into", folder.display());
    match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(unreadable),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Usage(format!("{} is not empty; name another folder with --dir", folder.display())).into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_id_or_are_refused() {
        let good =
            |id: &str, krate: &str, scheme: &str| Names { id: id.into(), krate: krate.into(), scheme: scheme.into() };
        assert_eq!(names("source-mysite", None), Ok(good("source-mysite", "source_mysite", "mysite")));
        assert_eq!(names("mysite", Some("my+site")), Ok(good("mysite", "mysite", "my+site")));
        for (id, scheme) in
            [("", None), ("../x", None), ("Big", None), ("1a", None), ("source-1", None), ("a", Some("A:"))]
        {
            assert!(names(id, scheme).is_err(), "{id:?} {scheme:?}");
        }
    }

    #[test]
    fn both_kinds_are_complete_and_leave_no_placeholder() {
        let names = names("source-mysite", None).unwrap();
        for kind in [PluginKind::MediaSource, PluginKind::ContainerDetector] {
            let files = project(kind, &names).unwrap();
            let has = |path: &str| files.iter().any(|(known, _)| known == path);
            assert!(has("Cargo.toml") && has("src/lib.rs"), "{kind:?}");
            assert!(has("vendor/mediahost-plugin-sdk/Cargo.toml") && has("vendor/mediahost-plugin-sdk/src/lib.rs"));
            assert!(has("vendor/mediahost-plugin-sdk/wit/host/types.wit"));
            for (path, bytes) in files.iter().filter(|(path, _)| !path.starts_with(VENDORED)) {
                assert!(!String::from_utf8_lossy(bytes).contains("{{"), "{path} has a placeholder left");
            }
        }
    }
}
