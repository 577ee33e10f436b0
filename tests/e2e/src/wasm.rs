//! The compiled plugins and guests, and other builds of them.

use std::fs;
use std::path::{Path, PathBuf};

/// The component of a first-party plugin.
pub fn plugin(id: &str) -> Vec<u8> {
    read(&crate::root().join(format!("target/plugins/{id}.wasm")), "make plugins")
}

/// The component of a guest: `guest-loop` and so on.
pub fn guest(id: &str) -> Vec<u8> {
    read(&crate::root().join(format!("target/guests/{id}.wasm")), "make guests")
}

/// The component of an example.
pub fn example(id: &str) -> Vec<u8> {
    read(&crate::root().join(format!("target/example-plugins/{id}.wasm")), "make guests")
}

/// The ids of all guests that there are.
pub fn guests() -> Vec<String> {
    let folders = fs::read_dir(crate::root().join("tests/guests")).unwrap().map(|entry| entry.unwrap());
    let mut ids: Vec<String> = folders
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| format!("guest-{}", entry.file_name().to_string_lossy()))
        .collect();
    ids.sort();
    ids
}

fn read(path: &PathBuf, recipe: &str) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}; `{recipe}` builds it", path.display()))
}

/// The same component with one more custom section, which changes its hash and nothing else.
pub fn another_build(component: &[u8], mark: &str) -> Vec<u8> {
    let name = b"build";
    let mut section = leb128(name.len());
    section.extend(name);
    section.extend(mark.bytes());
    [component, &[0], &leb128(section.len()), &section].concat()
}

fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// Puts a component into a plugins folder as a careful person would: under another name first, then in one step.
pub fn install(folder: &Path, id: &str, component: &[u8]) {
    let new = folder.join(format!(".{id}.new"));
    fs::write(&new, component).unwrap();
    fs::rename(new, folder.join(format!("{id}.wasm"))).unwrap();
}

/// Puts a component into a plugins folder as `cp` does, in two halves with the file open between them.
pub fn copy_slowly(folder: &Path, id: &str, component: &[u8]) {
    use std::io::Write;
    let mut file = fs::File::create(folder.join(format!("{id}.wasm"))).unwrap();
    let (first, second) = component.split_at(component.len() / 2);
    file.write_all(first).unwrap();
    file.flush().unwrap();
    file.write_all(second).unwrap();
}
