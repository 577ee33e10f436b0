//! Each rule on made-up trees: one that it refuses, with the words of its complaint, and one that it lets pass.

use crate::rust;
use crate::tables::{allowed, fits};
use crate::{RULES, Tree};

const ROOT: &str = r#"
[workspace.dependencies]
cache = { package = "mediahost-cache", path = "host/core/cache" }
media = { package = "mediahost-media", path = "host/core/media" }
web = { package = "mediahost-web", path = "host/io/web" }
wasm = { package = "mediahost-wasm", path = "host/io/wasm" }
proxy = { package = "mediahost-proxy", path = "host/service/proxy" }
mediahost-plugin-sdk = { path = "sdk/plugin" }
axum = "0.8"
engine = { package = "wasmtime", version = "1" }
"#;

/// Runs one rule on a root manifest and one further file. `expected` is part of its only complaint, or nothing.
fn check(promise: &str, path: &str, text: &str, expected: Option<&str>) {
    check_tree(promise, &[(path, text)], expected);
}

fn check_tree(promise: &str, files: &[(&str, &str)], expected: Option<&str>) {
    let (_, rule) = RULES.iter().find(|(name, _)| *name == promise).expect(promise);
    let found = rule(&Tree::of(&[&[("Cargo.toml", ROOT)], files].concat()));
    match expected {
        Some(words) => {
            assert!(
                found.iter().any(|complaint| complaint.contains(words) && complaint.contains(files[0].0)),
                "{promise}: {files:?} gave {found:?}, expected {words:?}"
            );
        }
        None => assert!(found.is_empty(), "{promise}: {files:?} gave {found:?}"),
    }
}

fn depends(on: &str) -> String {
    format!("[package]\nname = \"x\"\n[dependencies]\n{on}\n")
}

#[test]
fn edges() {
    let edge = |folder: &str, on: &str, expected| {
        check("edges stand in the table", &format!("{folder}/Cargo.toml"), &depends(on), expected);
    };
    edge("host/core/container", "media.workspace = true", None);
    edge("host/core/cache", "cache.workspace = true", Some("host/core/cache -> host/core/cache"));
    edge("host/core/plugin", "web = { workspace = true }", Some("host/core/plugin -> host/io/web"));
    edge("host/io/web", "cache.workspace = true", None);
    edge("host/io/store", "web.workspace = true", Some("host/io/store -> host/io/web"));
    edge("host/io/store", "web = { path = \"../web\" }", Some("host/io/store -> host/io/web"));
    edge("host/service/ingest", "web.workspace = true", None);
    edge("host/service/ingest", "proxy.workspace = true", Some("host/service/ingest -> host/service/proxy"));
    edge("host/service/ingest", "wasm.workspace = true", Some("host/service/ingest -> host/io/wasm"));
    edge("host/node", "proxy.workspace = true\nwasm.workspace = true", None);
    edge("plugins/source-http", "mediahost-plugin-sdk.workspace = true", None);
    edge("plugins/source-http", "media.workspace = true", Some("plugins/source-http -> host/core/media"));
    edge("plugins/detect-mp4", "media.workspace = true", None);
    edge("plugins/detect-mp4", "cache.workspace = true", Some("plugins/detect-mp4 -> host/core/cache"));
    edge("sdk/plugin", "media = { path = \"../../host/core/media\" }", Some("sdk/plugin -> host/core/media"));
    edge("tests/guests/loop", "media.workspace = true", Some("tests/guests/loop -> host/core/media"));
    edge("tests/sim", "proxy.workspace = true", None);
    edge("tools/gen", "", Some("no row in the table"));
    edge("host/extra/thing", "", Some("no row in the table"));
}

#[test]
fn edges_of_tests_builds_and_platforms_count() {
    for section in ["dev-dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"] {
        let text = format!("[package]\nname = \"x\"\n[{section}]\nproxy.workspace = true\n");
        check("edges stand in the table", "host/io/web/Cargo.toml", &text, Some("host/io/web -> host/service/proxy"));
    }
}

#[test]
fn manifests() {
    check("manifests can be read", "host/io/web/Cargo.toml", "[package", Some("is not TOML"));
    check("manifests can be read", "host/io/web/Cargo.toml", &depends("nobody.workspace = true"), Some("nobody"));
    check("manifests can be read", "host/io/web/Cargo.toml", &depends("axum.workspace = true"), None);
}

#[test]
fn heavy_libraries() {
    let rule = "a heavy library has one owner";
    let axum = depends("axum.workspace = true");
    check(rule, "host/io/web/Cargo.toml", &axum, None);
    check(rule, "tests/e2e/Cargo.toml", &axum, None);
    check(rule, "host/service/proxy/Cargo.toml", &axum, Some("belongs to host/io/web"));
    check(rule, "host/node/Cargo.toml", &depends("engine.workspace = true"), Some("names wasmtime"));
    check(rule, "host/node/Cargo.toml", &depends("wasmtime-wasi = \"1\""), Some("belongs to host/io/wasm"));
    check(rule, "host/node/Cargo.toml", &depends("axumatic = \"1\""), None);
    check_tree(
        rule,
        &[("host/node/Cargo.toml", axum.as_str()), ("host/io/web/Cargo.toml", axum.as_str())],
        Some("axum is named by host/io/web and host/node"),
    );
}

#[test]
fn what_cores_depend_on() {
    let rule = "cores depend on nothing that acts";
    check(rule, "host/core/cache/Cargo.toml", &depends("bitvec = \"1\""), None);
    check(rule, "host/core/cache/Cargo.toml", &depends("tokio = \"1\""), Some("may not name tokio"));
    check(rule, "host/core/cache/Cargo.toml", &depends("engine.workspace = true"), Some("may not name wasmtime"));
    check(rule, "host/io/store/Cargo.toml", &depends("tokio = \"1\""), None);
}

#[test]
fn what_cores_say() {
    let says =
        |text: &str, expected| check("cores reach for nothing outside", "host/core/cache/src/a.rs", text, expected);
    says("fn f(now: Instant) {}", None);
    says("fn f() {\n    Instant::now();\n}", Some("a.rs:2: Instant::now is a clock"));
    says("use std::net::IpAddr;", None);
    says("use std::net::{IpAddr, TcpStream};", Some("TcpStream is a socket"));
    says("let a = std::fs::read(p);", Some("std::fs is a file"));
    says("use std::{fs, io};\nlet f = fs::File::open(p);", Some("a.rs:2: fs::File"));
    says("std::thread::spawn(f);", Some("a thread"));
    says("tokio::spawn(f);", Some("a runtime"));
    says("let tokio_like = 1;", None);
    says("// tokio would do this\nlet a = \"tokio\"; let b = r#\"tokio \" \"#; /* tokio */", None);
    says("let quote = '\"'; tokio::spawn(f); let other = '\"';", Some("a runtime"));
    says("fn f<'a>(a: &'a str) { tokio::spawn(a) }", Some("a runtime"));
    says("#[cfg(test)]\nmod tests {\n    fn f() { Instant::now(); }\n}\n", None);
    says("#[cfg(test)]\nmod tests;\nfn f() { Instant::now(); }\n", Some("a.rs:3"));
    check("cores reach for nothing outside", "host/core/cache/src/plan/tests.rs", "Instant::now()", None);
    check("cores reach for nothing outside", "host/core/cache/tests/all.rs", "Instant::now()", None);
    check("cores reach for nothing outside", "host/io/net/src/a.rs", "Instant::now()", None);
}

#[test]
fn queues() {
    let says = |text: &str, expected| check("queues have a bound", "host/io/web/src/a.rs", text, expected);
    says("let (a, b) = mpsc::channel(EVENTS);", None);
    says("let (a, b) = mpsc::channel::<Vec<u8>>(EVENTS);", None);
    says("let (a, b) = oneshot::channel();", None);
    says("let (a, b) = mpsc::channel();", Some("a.rs:1"));
    says("let (a, b) = mpsc::channel::<u8>();", Some("a.rs:1"));
    says("let (a, b) = mpsc::unbounded_channel();", Some("without a bound"));
    says("let (a, b) = futures::channel::mpsc::unbounded();", Some("without a bound"));
    says("use std::sync::mpsc::channel;", Some("without a bound"));
    says("#[cfg(test)]\nmod tests {\n    fn f() { mpsc::unbounded_channel(); }\n}\n", None);
}

#[test]
fn lints() {
    let rule = "members take the workspace's lints";
    check(rule, "host/io/web/Cargo.toml", &depends(""), Some("has no `[lints]"));
    check(rule, "host/io/web/Cargo.toml", "[package]\nname = \"x\"\n[lints]\nworkspace = true\n", None);
    check(rule, "plugins/source-http/Cargo.toml", &depends(""), None);
    check(rule, "tests/guests/loop/Cargo.toml", &depends(""), None);
    check(rule, "tests/e2e/Cargo.toml", &depends(""), Some("has no `[lints]"));
}

#[test]
fn names() {
    let named = |folder: &str, name: &str, expected| {
        let text = format!("[package]\nname = \"{name}\"\n");
        check("packages are called after their folders", &format!("{folder}/Cargo.toml"), &text, expected);
    };
    named("host/io/web", "mediahost-web", None);
    named("host/io/web", "web", Some("is called web, not mediahost-web"));
    named("host/node", "mediahost", None);
    named("host/node", "mediahost-node", Some("not mediahost"));
    named("plugins/detect-mp4", "detect-mp4", None);
    named("plugins/detect-mp4", "mp4", Some("not detect-mp4"));
    named("tests/guests/loop", "guest-loop", None);
    named("sdk/plugin", "mediahost-plugin-sdk", None);
    named("examples/anything", "anything-else", None);
}

#[test]
fn heads() {
    let rule = "files say what they are for";
    check(rule, "host/io/web/src/a.rs", "//! Answers.\n", None);
    check(rule, "host/io/web/src/a.rs", "\n//! Answers.\n", None);
    check(rule, "host/io/web/src/a.rs", "use std::io;\n", Some("does not begin"));
    check(rule, "host/io/web/src/a.rs", "", Some("does not begin"));
    check(rule, "host/io/web/src/a/tests.rs", "use super::*;\n", None);
    check(rule, "plugins/detect-mp4/src/a.rs", "use std::io;\n", None);
}

#[test]
fn texts() {
    let says = |text: &str, expected| check("texts are fit for the public", "docs/a.md", text, expected);
    says("a path such as `~/films`", None);
    says(concat!("see /ho", "me/somebody/films"), None);
    says(concat!("see /ho", "me/meier/films"), Some("a.md:1"));
    says(concat!("\n// TO", "DO: later"), Some("a.md:2"));
    says(concat!("AUTO", "DOC"), None);
    says(concat!("-----BEGIN PRIVATE ", "KEY-----"), Some("a private key"));
}

#[test]
fn patterns() {
    assert!(fits("host/io/web", "host/*"));
    assert!(fits("host/io/web", "host/io/*"));
    assert!(!fits("host/io/web", "host/io"));
    assert!(!fits("host", "host/*"));
    assert!(!fits("plugins/source-http", "plugins/detect-*"));
    assert!(!fits("plugins/detect-mp4/src", "plugins/detect-*"));
    assert!(allowed("host/io/web", &["host/io/*", "!host/io/wasm"]));
    assert!(!allowed("host/io/wasm", &["host/io/*", "!host/io/wasm"]));
}

#[test]
fn blanking_keeps_lines_and_what_is_not_ascii() {
    let code = rust::code(
        "let a = \"é\\\"\"; // ü\nlet ä = 'ö'; let c = b'\\''; let d = '\\u{1F600}';\nlet e = br##\"\"#\"##;",
    );
    assert_eq!(code.lines().count(), 3);
    assert!(code.contains("let ä =") && !code.contains('ö') && !code.contains('ü') && code.ends_with(';'), "{code}");
}
