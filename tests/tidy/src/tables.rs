//! The tables. A change here is a change of design: change `ARCHITECTURE.md` with it.

/// What the crate of a folder may name among the crates of this repository. The first row that fits a folder counts; a
/// folder that fits none is refused. `*` stands for one part of a path, or for the rest of it where it comes last; a
/// `!` takes back what stands before it.
pub const EDGES: &[(&str, &[&str])] = &[
    ("host/core/media", &[]),
    ("host/core/*", &["host/core/media"]),
    ("host/io/*", &["host/core/*"]),
    ("host/service/*", &["host/core/*", "host/io/*", "!host/io/wasm"]),
    ("host/node", &["host/core/*", "host/io/*", "host/service/*"]),
    ("plugins/detect-*", &["sdk/plugin", "host/core/media", "host/core/container"]),
    ("plugins/*", &["sdk/plugin"]),
    ("sdk/plugin", &[]),
    ("sdk/rpc", &["host/core/rpc", "host/io/quic"]),
    ("sdk/client", &[]),
    ("tests/guests/*", &["sdk/plugin"]),
    ("tests/*", &["*"]),
    ("examples/*", &["*"]),
];

/// Libraries that cost minutes, and the one crate under `host/` that may name each. `wasmtime` stands for `wasmtime-wasi`
/// and its other parts too.
pub const HEAVY: &[(&str, &str)] = &[
    ("wasmtime", "host/io/wasm"),
    ("axum", "host/io/web"),
    ("tonic", "host/io/web"),
    ("reqwest", "host/io/fetch"),
    ("quinn", "host/io/quic"),
    ("sqlx", "host/io/db"),
    ("memmap2", "host/io/store"),
];

/// What a crate under `host/core` may not depend on, tests included: whatever brings a clock, a socket, a file, a thread, a
/// runtime or chance.
pub const NOT_IN_A_CORE: &[&str] = &[
    "async-std",
    "chrono",
    "crossbeam-channel",
    "futures-executor",
    "getrandom",
    "hyper",
    "libc",
    "mio",
    "rayon",
    "rustix",
    "smol",
    "socket2",
    "time",
    "tokio",
    "tokio-util",
];

/// What the source of a core may not say outside its tests, and why.
pub const CORE_WORDS: &[(&str, &str)] = &[
    ("Instant::now", "a clock: take the time as an argument"),
    ("SystemTime::now", "a clock: take the time as an argument"),
    (".elapsed(", "a clock: take the time as an argument"),
    ("std::fs", "a file"),
    ("fs::File", "a file"),
    ("OpenOptions", "a file"),
    ("TcpStream", "a socket"),
    ("TcpListener", "a socket"),
    ("UdpSocket", "a socket"),
    ("UnixStream", "a socket"),
    ("ToSocketAddrs", "the resolver"),
    ("std::thread", "a thread"),
    ("thread::spawn", "a thread"),
    ("thread::sleep", "a thread"),
    ("std::process", "a process"),
    ("std::env", "the environment"),
    ("env::var", "the environment"),
    ("tokio", "a runtime"),
    ("rand::rng", "chance: take a seed"),
    ("thread_rng", "chance: take a seed"),
    ("RandomState", "chance: take a seed"),
    ("wasmtime", "a plugin engine"),
];

/// Queues without a bound, which nothing under `host/` or `sdk/` may make outside its tests.
pub const UNBOUNDED: &[&str] =
    &["unbounded_channel", "mpsc::unbounded", "channel::unbounded", "flume::unbounded", "std::sync::mpsc::channel"];

/// Crates that expand generated bindings, which are unsafe code that we did not write, or are copied out of the workspace.
pub const WITHOUT_LINTS: &[&str] = &["plugins/*", "sdk/plugin", "tests/guests/*", "examples/*"];

/// How a folder's package is called; `{}` is the folder's own name. The first row that fits counts.
pub const NAMES: &[(&str, &str)] = &[
    ("host/node", "mediahost"),
    ("host/*", "mediahost-{}"),
    ("plugins/*", "{}"),
    ("sdk/plugin", "mediahost-plugin-sdk"),
    ("sdk/*", "mediahost-{}"),
    ("tests/guests/*", "guest-{}"),
    ("tests/*", "mediahost-{}"),
];

/// Folders whose source files begin with `//!`: what the file is for.
pub const WITH_HEADS: &[&str] = &["host/*"];

/// What a text in a public repository does not say. Written in halves, so that this file may stand in the repository.
pub const NOT_IN_PUBLIC: &[(&str, &str)] = &[
    (concat!("/ho", "me/"), "the path of somebody's machine"),
    (concat!("/Us", "ers/"), "the path of somebody's machine"),
    (concat!("/ro", "ot/"), "the path of somebody's machine"),
    (concat!("/wo", "rk/"), "the path of somebody's machine"),
    (concat!("C:\\Us", "ers"), "the path of somebody's machine"),
    (concat!("TO", "DO"), "work that is not done: do it, or leave it out and say so in README.md"),
    (concat!("FIX", "ME"), "work that is not done: do it, or leave it out and say so in README.md"),
    (concat!("XX", "X"), "work that is not done: do it, or leave it out and say so in README.md"),
    (concat!("BEGIN PRIVATE ", "KEY"), "a private key"),
    (concat!("BEGIN RSA PRIVATE ", "KEY"), "a private key"),
];

/// Made-up people, whose folders may stand in tests and examples.
pub const MADE_UP: &[&str] = &["ann", "me", "somebody", "user", "you"];

/// Whether a path fits a pattern of these tables.
pub fn fits(path: &str, pattern: &str) -> bool {
    let mut parts = path.split('/');
    let mut wanted = pattern.split('/').peekable();
    while let Some(want) = wanted.next() {
        let Some(part) = parts.next() else { return false };
        let good = match want.split_once('*') {
            Some((before, after)) => part.starts_with(before) && part.ends_with(after),
            None => part == want,
        };
        if !good {
            return false;
        }
        if want == "*" && wanted.peek().is_none() {
            return true;
        }
    }
    parts.next().is_none()
}

/// Whether a path fits a list in which `!` takes back.
pub fn allowed(path: &str, patterns: &[&str]) -> bool {
    patterns.iter().fold(false, |so_far, pattern| match pattern.strip_prefix('!') {
        Some(refused) => so_far && !fits(path, refused),
        None => so_far || fits(path, pattern),
    })
}
