//! What operators get wrong before the host runs: it ends at once, with a code and a sentence that names the thing.
//!
//! Exit codes and the last line on stderr exist only in the real program.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use mediahost_e2e::{Home, host};

/// Starts with these arguments; it must end with the code and say all the words.
fn check(folder: &Path, arguments: &[&str], code: i32, words: &[&str]) {
    let output = host::run(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?}: no {word:?} in {said}");
    }
    assert!(!said.contains("panicked"), "{arguments:?}: {said}");
}

/// `serve` for these folders with some arguments replaced.
fn check_serve(home: &Home, replaced: &[(&str, &str)], code: i32, words: &[&str]) {
    let mut arguments = home.arguments();
    for (flag, value) in replaced {
        let at = arguments.iter().position(|argument| argument == flag).unwrap();
        arguments[at + 1] = (*value).to_owned();
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    check(home.folder(), &arguments, code, words);
}

#[test]
fn a_key_that_is_misspelt() {
    let home = Home::new();
    fs::write(home.folder().join("mediahost.toml"), "[server]\nlisen = \"127.0.0.1:0\"\n").unwrap();
    check_serve(&home, &[], 2, &["server.lisen", "mediahost.toml", "server.listen"]);
}

#[test]
fn a_file_that_is_not_toml() {
    let home = Home::new();
    fs::write(home.folder().join("mediahost.toml"), "[server\n").unwrap();
    check_serve(&home, &[], 2, &["mediahost.toml"]);
    check(home.folder(), &["config", "--config", "nowhere.toml"], 2, &["nowhere.toml"]);
}

#[test]
fn words_that_are_no_command() {
    let home = Home::new();
    check(home.folder(), &["serv"], 2, &["serve"]);
    check(home.folder(), &["serve", "--lisen", "x"], 2, &["--listen"]);
    check_serve(&home, &[("--listen", "here")], 2, &["here"]);
    check_serve(&home, &[("--listen", "0.0.0.0:0")], 2, &["server.allow_insecure"]);
}

#[test]
fn a_port_that_is_taken() {
    let home = Home::new();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    check_serve(&home, &[("--listen", &address)], 1, &[&address]);
}

#[test]
fn a_plugins_folder_that_is_missing_is_made() {
    let home = Home::new();
    fs::remove_dir(home.plugins()).unwrap();
    let host = home.start();
    assert!(host.home().plugins().is_dir());
    assert!(!host.plugins().is_empty(), "the bundled plugins are there");
}

/// Below a file nobody can make a folder, root neither.
fn impossible(home: &Home) -> String {
    let file = home.folder().join("file");
    fs::write(&file, "").unwrap();
    file.join("folder").display().to_string()
}

#[test]
fn a_data_folder_that_cannot_be_made() {
    let home = Home::new();
    let folder = impossible(&home);
    check_serve(&home, &[("--data-dir", &folder)], 1, &[&folder, "--data-dir"]);
}

/// Films can be watched without it, so the host says what is wrong and serves with what it brought along.
#[test]
fn a_plugins_folder_that_cannot_be_made() {
    let home = Home::new();
    fs::remove_dir(home.plugins()).unwrap();
    fs::write(home.plugins(), "a file where the folder should be").unwrap();
    let shown = home.plugins().display().to_string();
    let host = home.start();
    assert!(host.log().contains(&shown), "the log does not name {shown}");
    assert!(host.plugins().iter().any(|plugin| plugin["id"] == "source-http" && plugin["state"] == "serving"));
}

#[test]
fn a_data_folder_that_another_host_holds() {
    let running = Home::new().start();
    let other = Home::new();
    let data = running.home().data().display().to_string();
    check_serve(&other, &[("--data-dir", &data)], 1, &["another mediahost", &data]);
}
