//! Embeds what the binary carries: the bundled plugins, the page, and what `mediahost plugin new` writes.
//!
//! The plugins are built before this crate, by `make plugins`; nothing is built here.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    let here = PathBuf::from(var("CARGO_MANIFEST_DIR"));
    let root = here.join("../..").canonicalize().expect("the crate lies two folders below the workspace");
    let plugins = root.join("target/plugins");
    watch(&plugins);
    let bundled: Vec<_> =
        files(&plugins).into_iter().filter(|path| path.extension().is_some_and(|e| e == "wasm")).collect();
    if bundled.is_empty() {
        println!("cargo::error=there are no plugins in {}: run `make plugins` first", plugins.display());
        return;
    }
    let mut code = String::new();
    list(&mut code, "PLUGINS", bundled.iter().map(|path| (stem(path), path.clone())));
    list(&mut code, "ASSETS", below(&here.join("assets"), ""));
    list(&mut code, "TEMPLATES", below(&root.join("sdk/template"), ""));
    let sdk = root.join("sdk/plugin");
    watch(&sdk.join("Cargo.toml"));
    let mut vendored = vec![("Cargo.toml".to_owned(), sdk.join("Cargo.toml"))];
    vendored.extend(below(&sdk.join("src"), "src/"));
    vendored.extend(below(&root.join("wit"), "wit/"));
    list(&mut code, "SDK", vendored);
    fs::write(Path::new(&var("OUT_DIR")).join("embedded.rs"), code).expect("cargo gives a folder to write to");
}

fn var(name: &str) -> String {
    std::env::var(name).expect("cargo sets its variables")
}

/// Everything below a folder, named by the path below it after `prefix`.
fn below(folder: &Path, prefix: &str) -> Vec<(String, PathBuf)> {
    watch(folder);
    let name = |path: &Path| {
        let relative = path.strip_prefix(folder).expect("the walk stays below the folder");
        format!("{prefix}{}", relative.to_string_lossy().replace('\\', "/"))
    };
    files(folder).into_iter().map(|path| (name(&path), path)).collect()
}

/// All files below a folder, in order; none if it is not there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("the folder can be listed").path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn list(code: &mut String, name: &str, files: impl IntoIterator<Item = (String, PathBuf)>) {
    let _ = writeln!(code, "pub static {name}: &[(&str, &[u8])] = &[");
    for (name, path) in files {
        let _ = writeln!(code, "    ({name:?}, include_bytes!({path:?})),");
    }
    code.push_str("];\n");
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Cargo looks at everything below a folder; a missing one makes it look again each time.
fn watch(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}
