//! What a plugin says about itself: the custom section `mediahost-manifest`.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The name of the custom section.
pub const SECTION: &str = "mediahost-manifest";
/// Bytes of a manifest, at most.
pub const MAX_BYTES: usize = 64 * 1024;

/// The kinds of plugin that this host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    MediaSource,
    ContainerDetector,
}

impl Kind {
    /// The kind's name, which is also its WIT package's.
    pub fn name(self) -> &'static str {
        match self {
            Kind::MediaSource => "media-source",
            Kind::ContainerDetector => "container-detector",
        }
    }

    /// The contract that this host speaks.
    pub fn contract(self) -> &'static str {
        match self {
            Kind::MediaSource => "mediahost:media-source@0.1.0",
            Kind::ContainerDetector => "mediahost:container-detector@0.1.0",
        }
    }
}

/// A capability that a plugin asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// `fetch`, `kv`, `secrets` or `files`.
    pub interface: String,
    /// For `fetch`: host names, `*.example.org`, or `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// For `fetch`: methods; empty means `GET` and `HEAD`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// A sentence for the person who decides.
    pub why: String,
}

/// Bytes by which a detector's files can be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Magic {
    /// Where they stand, in bytes from the start of the file.
    pub offset: u64,
    /// The bytes in hexadecimal; `..` stands for any byte.
    pub hex: String,
}

impl Magic {
    /// Whether a file that begins with `head` has these bytes.
    pub fn matches(&self, head: &[u8]) -> bool {
        let Ok(start) = usize::try_from(self.offset) else { return false };
        let Some(rest) = head.get(start..) else { return false };
        let hex = self.hex.as_bytes();
        rest.len() >= hex.len() / 2
            && hex.chunks(2).zip(rest).all(|(pair, byte)| {
                pair == b".."
                    || std::str::from_utf8(pair).ok().and_then(|p| u8::from_str_radix(p, 16).ok()) == Some(*byte)
            })
    }
}

/// Limits of one plugin, each enforced by the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Linear memory of one instance, in bytes.
    pub memory_bytes: u64,
    /// CPU time of one call, in milliseconds.
    pub cpu_ms: u64,
    /// Duration of one call with all its waiting, in milliseconds.
    pub wall_ms: u64,
    /// Size of one answer, in bytes.
    pub output_bytes: u64,
    /// Requests of one call.
    pub fetches: u32,
    /// Bytes of one answer to a request.
    pub fetch_bytes: u64,
    /// Bytes in the key-value store.
    pub kv_bytes: u64,
    /// Calls at once.
    pub instances: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            cpu_ms: 2_000,
            wall_ms: 20_000,
            output_bytes: 8 << 20,
            fetches: 32,
            fetch_bytes: 8 << 20,
            kv_bytes: 1 << 20,
            instances: 32,
        }
    }
}

/// The most that a manifest may ask for itself; an operator may give more.
const CEILING: Limits = Limits {
    memory_bytes: 256 << 20,
    cpu_ms: 10_000,
    wall_ms: 60_000,
    output_bytes: 64 << 20,
    fetches: 256,
    fetch_bytes: 32 << 20,
    kv_bytes: 16 << 20,
    instances: 128,
};

/// What a plugin says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Lower-case letters, digits and hyphens, at most 64.
    pub id: String,
    /// A semantic version.
    pub version: String,
    pub kind: Kind,
    /// The WIT package and version it was built for.
    pub contract: String,
    /// One sentence for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// For sources: the schemes of the addresses it reads, lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schemes: Vec<String>,
    /// Whether it exports `computed`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub computed: bool,
    /// Higher goes first among plugins that could serve; default 0.
    #[serde(default)]
    pub priority: i32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wants: Vec<Want>,
    #[serde(default)]
    pub limits: Limits,
    /// A JSON Schema for the operator's settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<serde_json::Value>,
    /// For detectors: any of these recognises a file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub magic: Vec<Magic>,
    /// For detectors: file name extensions without the dot, lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// For detectors: its layouts may have titles, so that what is served may be a part of the file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub titles: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// An SPDX expression.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub licence: String,
}

/// What is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ManifestError {
    #[error("the component has no manifest: add a custom section named {SECTION}")]
    Missing,
    #[error("the manifest is {0} bytes long, more than {MAX_BYTES}")]
    TooLong(usize),
    #[error("the manifest is not valid: {0}")]
    Json(String),
    #[error("the manifest's field {field:?} is not valid: {why}")]
    Field { field: &'static str, why: String },
    #[error("the plugin is built for {asked} and this host speaks {spoken}: {advice}")]
    Contract { asked: String, spoken: &'static str, advice: &'static str },
}

impl Manifest {
    /// Reads the text of the custom section.
    pub fn parse(json: &[u8]) -> Result<Manifest, ManifestError> {
        if json.len() > MAX_BYTES {
            return Err(ManifestError::TooLong(json.len()));
        }
        let manifest: Manifest =
            serde_json::from_slice(json).map_err(|error| ManifestError::Json(error.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let field = |field, why: String| Err(ManifestError::Field { field, why });
        if !is_id(&self.id) {
            return field("id", format!("{:?} is not 1 to 64 lower-case letters, digits and inner hyphens", self.id));
        }
        if self.version.is_empty() || self.version.len() > 64 {
            return field("version", "it must have 1 to 64 characters".into());
        }
        self.check_contract()?;
        match self.kind {
            Kind::MediaSource if self.schemes.is_empty() => {
                return field("schemes", "a media source names at least one scheme".into());
            }
            Kind::ContainerDetector if self.magic.is_empty() && self.extensions.is_empty() => {
                return field("magic", "a detector names magic bytes or extensions".into());
            }
            _ => {}
        }
        if let Some(bad) = self.schemes.iter().find(|scheme| !is_scheme(scheme)) {
            return field("schemes", format!("{bad:?} is not a scheme in lower case"));
        }
        for magic in &self.magic {
            let pairs = magic.hex.as_bytes().chunks(2);
            let good = |pair: &[u8]| pair == b".." || (pair.len() == 2 && pair.iter().all(u8::is_ascii_hexdigit));
            if magic.hex.is_empty() || magic.hex.len() > 512 || !pairs.into_iter().all(good) {
                return field("magic", format!("{:?} is not pairs of hexadecimal digits or ..", magic.hex));
            }
        }
        for want in &self.wants {
            if !matches!(want.interface.as_str(), "fetch" | "kv" | "secrets" | "files") {
                return field("wants", format!("there is no interface {:?} to ask for", want.interface));
            }
            if want.why.trim().is_empty() {
                return field("wants", format!("{:?} says no reason in \"why\"", want.interface));
            }
        }
        self.check_limits()
    }

    fn check_contract(&self) -> Result<(), ManifestError> {
        let spoken = self.kind.contract();
        if self.contract == spoken {
            return Ok(());
        }
        let version = |text: &str| -> Option<(u64, u64)> {
            let (major, rest) = text.rsplit_once('@')?.1.split_once('.')?;
            Some((major.parse().ok()?, rest.split('.').next()?.parse().ok()?))
        };
        let advice = match (version(&self.contract), version(spoken)) {
            (Some(asked), Some(own)) if asked > own => "upgrade mediahost",
            (Some(_), Some(_)) => "rebuild the plugin with the current SDK",
            _ => "the contract is written as package@version",
        };
        // Within 0.1 a patch may add interfaces and changes nothing that is there.
        if version(&self.contract) == version(spoken) && self.contract.split('@').next() == spoken.split('@').next() {
            return Ok(());
        }
        Err(ManifestError::Contract { asked: self.contract.clone(), spoken, advice })
    }

    fn check_limits(&self) -> Result<(), ManifestError> {
        let own = &self.limits;
        for (name, asked, most) in [
            ("memory_bytes", own.memory_bytes, CEILING.memory_bytes),
            ("cpu_ms", own.cpu_ms, CEILING.cpu_ms),
            ("wall_ms", own.wall_ms, CEILING.wall_ms),
            ("output_bytes", own.output_bytes, CEILING.output_bytes),
            ("fetches", own.fetches.into(), CEILING.fetches.into()),
            ("fetch_bytes", own.fetch_bytes, CEILING.fetch_bytes),
            ("kv_bytes", own.kv_bytes, CEILING.kv_bytes),
            ("instances", own.instances.into(), CEILING.instances.into()),
        ] {
            if asked > most {
                return Err(ManifestError::Field {
                    field: "limits",
                    why: format!("{name} is {asked}; a plugin may ask for at most {most}, an operator may grant more"),
                });
            }
        }
        Ok(())
    }
}

/// Whether a text is a plugin's id.
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// RFC 3986 §3.1, lower case.
fn is_scheme(text: &str) -> bool {
    text.len() <= 32
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: &str, expected: Result<(), &str>) {
        let mut json = serde_json::json!({
            "id": "detect-x", "version": "1.0.0", "kind": "container-detector",
            "contract": "mediahost:container-detector@0.1.0", "magic": [{"offset": 4, "hex": "66747970"}],
        });
        let change: serde_json::Value = serde_json::from_str(change).unwrap();
        json.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let found = Manifest::parse(json.to_string().as_bytes()).map(|_| ()).map_err(|error| error.to_string());
        match (&found, expected) {
            (Ok(()), Ok(())) => {}
            (Err(found), Err(expected)) if found.contains(expected) => {}
            _ => panic!("{change}: {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn good_and_bad_manifests() {
        check("{}", Ok(()));
        check(r#"{"a_later_field": 1}"#, Ok(()));
        check(r#"{"contract": "mediahost:container-detector@0.1.7"}"#, Ok(()));
        check(r#"{"contract": "mediahost:container-detector@0.2.0"}"#, Err("upgrade mediahost"));
        check(r#"{"contract": "mediahost:container-detector@0.0.9"}"#, Err("rebuild the plugin"));
        check(r#"{"contract": "mediahost:media-source@0.1.0"}"#, Err("speaks mediahost:container-detector"));
        check(r#"{"contract": "x"}"#, Err("package@version"));
        check(r#"{"id": "Detect"}"#, Err("\"id\""));
        check(r#"{"id": "../x"}"#, Err("\"id\""));
        check(r#"{"kind": "toaster"}"#, Err("toaster"));
        check(r#"{"magic": []}"#, Err("magic bytes or extensions"));
        check(r#"{"magic": [{"offset": 0, "hex": "6"}]}"#, Err("pairs of hexadecimal"));
        check(r#"{"wants": [{"interface": "sockets", "why": "w"}]}"#, Err("no interface \"sockets\""));
        check(r#"{"wants": [{"interface": "kv", "why": " "}]}"#, Err("no reason"));
        check(r#"{"limits": {"memory_bytes": 99999999999}}"#, Err("memory_bytes"));
        check(r#"{"limits": {"memroy": 1}}"#, Err("memroy"));
    }

    #[test]
    fn magic_may_have_gaps_and_lie_beyond_the_head() {
        let magic = |offset, hex: &str| Magic { offset, hex: hex.into() };
        assert!(magic(0, "52494646........57415645").matches(b"RIFF\0\0\0\0WAVEfmt "));
        assert!(!magic(0, "52494646........41564920").matches(b"RIFF\0\0\0\0WAVEfmt "));
        assert!(!magic(4, "66747970").matches(b"\0\0\0\x20fty"));
        assert!(!magic(u64::MAX, "00").matches(b"abc"));
    }
}
