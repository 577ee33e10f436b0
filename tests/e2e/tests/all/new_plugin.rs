//! `mediahost plugin new` in an empty folder outside of the repository: it builds, and the host loads it.
//!
//! The project is made from what the binary carries. Only building it somewhere else shows that nothing is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mediahost_e2e::{Home, Host, Nginx, host, media, wasm};
use tempfile::TempDir;

#[test]
fn a_source() {
    let origin = Nginx::serve(media::folder());
    // The template's setting, which an operator would write; the server is on this machine here.
    let sidecar = format!("[config]\nserver = \"http://{}\"\n", origin.address());
    check("source-tape", &["--scheme", "tape"], &sidecar, |host| {
        let (id, session) = host.ready("tape:song.mp3");
        assert!(host.whole(&id) == media::bytes("song.mp3"), "{session}");
        let error = host.failed("tape:/");
        assert_eq!(error["plugin"], "source-tape", "{error}");
    });
}

#[test]
fn a_detector() {
    check("detect-tape", &["--kind", "container-detector"], "", |_| {});
}

fn check(id: &str, arguments: &[&str], sidecar: &str, works: impl Fn(&Host)) {
    let empty = TempDir::with_prefix("e2e-new-").unwrap();
    let output = host::run(empty.path(), &[&["plugin", "new", id], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let project = empty.path().join(id);
    assert!(project.join("Cargo.toml").exists(), "{}", String::from_utf8_lossy(&output.stdout));

    // A folder that is not empty is left as it is.
    let again = host::run(empty.path(), &[&["plugin", "new", id], arguments].concat());
    assert_eq!(again.status.code(), Some(2), "{}", String::from_utf8_lossy(&again.stderr));

    cargo(&project, &["test"]);
    cargo(&project, &["build", "--release", "--target", "wasm32-wasip2"]);
    let built = built(&project, id);
    let inspected = host::run(empty.path(), &["plugin", "inspect", "--json", &built.display().to_string()]);
    assert!(inspected.status.success(), "{}", String::from_utf8_lossy(&inspected.stderr));

    let host = Home::new().config("[net]\nallow_private = [\"127.0.0.0/8\"]\n").start();
    fs::write(host.home().plugins().join(format!("{id}.toml")), sidecar).unwrap();
    wasm::install(&host.home().plugins(), id, &fs::read(&built).unwrap());
    host.wait_for_plugin(id, "serves", |plugin| plugin["state"] == "serving" && plugin["error"].is_null());
    works(&host);
}

fn built(project: &Path, id: &str) -> PathBuf {
    project.join(format!("target/wasm32-wasip2/release/{}.wasm", id.replace('-', "_")))
}

/// One build for both projects, since they have the same libraries; offline where the registry's copies suffice.
fn cargo(project: &Path, arguments: &[&str]) {
    let run = |more: &[&str]| {
        let mut command = Command::new("cargo");
        for (name, _) in std::env::vars_os() {
            // What `cargo test` tells this process about itself is not about that project.
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("CARGO_") && name != "CARGO_HOME" || name.starts_with("RUSTC") || name == "RUSTFLAGS" {
                command.env_remove(name);
            }
        }
        command.args(arguments).args(more).current_dir(project).output().unwrap()
    };
    let offline = run(&["--offline"]);
    if offline.status.success() {
        return;
    }
    let online = run(&[]);
    assert!(
        online.status.success(),
        "cargo {arguments:?}: {}\noffline: {}",
        String::from_utf8_lossy(&online.stderr),
        String::from_utf8_lossy(&offline.stderr)
    );
}
