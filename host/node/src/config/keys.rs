//! Every key there is. The sample file, `mediahost config`, the checks of types and ranges, and what may change while
//! the host runs all come from this one table.

/// One key.
pub struct Key {
    /// Its name with dots.
    pub name: &'static str,
    /// What may be written.
    pub kind: Kind,
    /// Its default as TOML; empty when there is none or it depends on other keys (then `about` says on which).
    pub default: &'static str,
    /// The unit of its value; empty when it has none.
    pub unit: &'static str,
    /// What it does, for the operator.
    pub about: &'static str,
    /// Whether it may change while the host runs.
    pub reload: Reload,
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// Relative to the folder of the file that names it, or to the current folder.
    Path,
    Bool,
    /// A whole number within these bounds.
    Integer {
        min: i64,
        max: i64,
    },
    /// Texts; in an environment variable they are separated by commas.
    List,
    OneOf(&'static [&'static str]),
}

/// Whether a key may change while the host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// A reload applies it.
    Live,
    /// A reload that changes it is refused, for this reason.
    Fixed(&'static str),
}

use Reload::{Fixed, Live};

const SOCKET: &str = "the listening socket is opened once, at start";
const ROOT: &str = "open files and running downloads live in this folder";
const CLIENT: &str = "the connections that are open were made with it";
const GUARD: &str = "it is built into the doors at start";
const SESSIONS: &str = "running sessions were made with it";

/// A day in seconds.
/// More than any disk has.
const MAX_BYTES: i64 = 1 << 50;
const DAY_S: i64 = 24 * 60 * 60;

/// All keys, in the order in which people read them.
pub const KEYS: &[Key] = &[
    Key {
        name: "data_dir",
        kind: Kind::Path,
        default: "",
        unit: "",
        about: "Where everything that must last is kept: the admin token, sessions, the cache. The default is \
                `mediahost` in the platform's data folder ($XDG_DATA_HOME or ~/.local/share).",
        reload: Fixed(ROOT),
    },
    Key {
        name: "plugins_dir",
        kind: Kind::Path,
        default: "",
        unit: "",
        about: "The folder that plugins are dropped into. The default is `plugins` in the data folder.",
        reload: Fixed("the folder is watched from the start"),
    },
    Key {
        name: "server.listen",
        kind: Kind::Text,
        default: "\"127.0.0.1:7979\"",
        unit: "address:port",
        about: "The address to listen on. Port 0 lets the system choose; the real address is in `listen` in the data \
                folder.",
        reload: Fixed(SOCKET),
    },
    Key {
        name: "server.public_url",
        kind: Kind::Text,
        default: "",
        unit: "URL",
        about: "How people reach this host from outside, for instance through a reverse proxy. Links are built from \
                it, and its name is accepted in `Host`. The default is the address listened on.",
        reload: Fixed(GUARD),
    },
    Key {
        name: "server.hosts",
        kind: Kind::List,
        default: "[]",
        unit: "host names",
        about: "Further names under which this host may be addressed; *.example.org stands for all below it. A request \
                for any other name is refused, which is what protects a browser's user from DNS rebinding.",
        reload: Live,
    },
    Key {
        name: "server.cors_origins",
        kind: Kind::List,
        default: "[]",
        unit: "origins, such as https://player.example",
        about: "Pages of other origins that may use the API and the streams.",
        reload: Live,
    },
    Key {
        name: "server.allow_insecure",
        kind: Kind::Bool,
        default: "false",
        unit: "",
        about: "Whether to listen beyond this machine without TLS. Anyone on the way can then read the admin token.",
        reload: Fixed(SOCKET),
    },
    Key {
        name: "server.max_connections",
        kind: Kind::Integer { min: 8, max: 100_000 },
        default: "1024",
        unit: "connections",
        about: "How many connections are served at once; further ones wait to be accepted.",
        reload: Fixed(SOCKET),
    },
    Key {
        name: "tls.cert",
        kind: Kind::Path,
        default: "",
        unit: "",
        about: "A PEM file with the certificate chain. With it and `tls.key` the port speaks HTTPS.",
        reload: Fixed(SOCKET),
    },
    Key {
        name: "tls.key",
        kind: Kind::Path,
        default: "",
        unit: "",
        about: "A PEM file with the private key of `tls.cert`.",
        reload: Fixed(SOCKET),
    },
    Key {
        name: "net.allow_private",
        kind: Kind::List,
        default: "[]",
        unit: "CIDR blocks, such as 192.168.1.0/24",
        about: "Private addresses that redirects, manifests and plugins may reach. An address that the administrator \
                names in a session needs no entry here.",
        reload: Fixed(CLIENT),
    },
    Key {
        name: "net.ca_file",
        kind: Kind::Path,
        default: "",
        unit: "",
        about: "A PEM file with certificates to trust beside the well-known ones.",
        reload: Fixed(CLIENT),
    },
    Key {
        name: "net.connect_timeout_ms",
        kind: Kind::Integer { min: 100, max: 600_000 },
        default: "10000",
        unit: "milliseconds",
        about: "How long a connection to an upstream may take to be made.",
        reload: Fixed(CLIENT),
    },
    Key {
        name: "net.read_timeout_ms",
        kind: Kind::Integer { min: 100, max: 600_000 },
        default: "30000",
        unit: "milliseconds",
        about: "How long an upstream may stay silent in the middle of an answer.",
        reload: Fixed(CLIENT),
    },
    Key {
        name: "cache.dir",
        kind: Kind::Path,
        default: "",
        unit: "",
        about: "Where fetched bytes are kept. The default is `cache` in the data folder.",
        reload: Fixed(ROOT),
    },
    Key {
        name: "cache.quota_bytes",
        kind: Kind::Integer { min: 0, max: MAX_BYTES },
        default: "0",
        unit: "bytes",
        about: "How much of the disk fetched bytes may take; 0 for all but cache.keep_free_bytes.",
        reload: Live,
    },
    Key {
        name: "cache.keep_free_bytes",
        kind: Kind::Integer { min: 0, max: MAX_BYTES },
        default: "1073741824",
        unit: "bytes",
        about: "How much of the disk stays free for others. What does not fit is played without being kept.",
        reload: Live,
    },
    Key {
        name: "proxy.max_connections_per_origin",
        kind: Kind::Integer { min: 1, max: 64 },
        default: "8",
        unit: "connections",
        about: "How many requests one server gets at once, at most. How many it bears is learned.",
        reload: Fixed(SESSIONS),
    },
    Key {
        name: "proxy.read_ahead_s",
        kind: Kind::Integer { min: 1, max: DAY_S },
        default: "120",
        unit: "seconds of the media",
        about: "How far ahead of a reader is fetched, once it is known how fast the media plays.",
        reload: Fixed(SESSIONS),
    },
    Key {
        name: "proxy.read_ahead_bytes",
        kind: Kind::Integer { min: 256 * 1024, max: 4 * 1024 * 1024 * 1024 },
        default: "268435456",
        unit: "bytes",
        about: "How far ahead of a reader is fetched at most.",
        reload: Fixed(SESSIONS),
    },
    Key {
        name: "proxy.fill",
        kind: Kind::Bool,
        default: "false",
        unit: "",
        about: "Whether the rest of a file is fetched too while somebody plays it.",
        reload: Fixed(SESSIONS),
    },
    Key {
        name: "proxy.bandwidth_bps",
        kind: Kind::Integer { min: 0, max: MAX_BYTES },
        default: "0",
        unit: "bits per second",
        about: "What all upstreams together may send; 0 for no limit.",
        reload: Live,
    },
    Key {
        name: "proxy.session_bandwidth_bps",
        kind: Kind::Integer { min: 0, max: MAX_BYTES },
        default: "0",
        unit: "bits per second",
        about: "What may be fetched for one session; 0 for no limit. Sessions of one file share what they have.",
        reload: Fixed(SESSIONS),
    },
    Key {
        name: "proxy.session_idle_s",
        kind: Kind::Integer { min: 10, max: 365 * DAY_S },
        default: "21600",
        unit: "seconds",
        about: "How long a session lives without being read.",
        reload: Fixed(SESSIONS),
    },
    Key {
        name: "proxy.session_lifetime_s",
        kind: Kind::Integer { min: 10, max: 365 * DAY_S },
        default: "86400",
        unit: "seconds",
        about: "How long a session lives at most.",
        reload: Fixed(SESSIONS),
    },
    Key {
        name: "proxy.events",
        kind: Kind::Integer { min: 1, max: 65_536 },
        default: "256",
        unit: "events",
        about: "How many events of a session are kept for whoever listens slowly; who falls further behind is told how \
                many were missed.",
        reload: Fixed(SESSIONS),
    },
    Key {
        name: "log.level",
        kind: Kind::Text,
        default: "\"info\"",
        unit: "error, warn, info, debug, trace, or directives such as info,mediahost_proxy=debug",
        about: "What is logged.",
        reload: Live,
    },
    Key {
        name: "log.format",
        kind: Kind::OneOf(&["text", "json"]),
        default: "\"text\"",
        unit: "text or json",
        about: "How a line of the log looks. The log goes to stderr.",
        reload: Fixed("what reads the log expects one format"),
    },
];

/// The key of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The known name that is closest to `name`, when one is close enough to be meant.
pub fn nearest(name: &str) -> Option<&'static str> {
    /// Below this similarity (0 to 1) a name is a guess and not a misspelling.
    const SIMILAR: f64 = 0.7;
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    KEYS.iter()
        .map(|key| {
            let whole = strsim::normalized_damerau_levenshtein(key.name, name);
            // The right word in the wrong section, such as `listen` for `server.listen`.
            let part = strsim::normalized_damerau_levenshtein(&last(key.name), &last(name)) * 0.95;
            (whole.max(part), key.name)
        })
        .filter(|(similar, _)| *similar >= SIMILAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
