//! What a file says about itself before any of it runs.

use std::fmt::Write;

use plugin::Manifest;
use plugin::manifest::{ManifestError, SECTION};
use serde::Serialize;
use sha2::{Digest, Sha256};
use wasmparser::{Encoding, Parser, Payload};

use crate::Error;

/// Bytes of a component file, at most.
pub const MAX_BYTES: usize = 64 << 20;

/// What a component file says about itself.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    pub manifest: Manifest,
    /// Of the file, lower-case hexadecimal.
    pub sha256: String,
    /// Length of the file.
    pub bytes: usize,
    /// Interfaces that the component imports.
    pub imports: Vec<String>,
    /// Interfaces that it exports.
    pub exports: Vec<String>,
}

/// Reads a component's manifest, imports and exports. Nothing is compiled or run.
pub fn inspect(wasm: &[u8]) -> Result<Inspection, Error> {
    if wasm.len() > MAX_BYTES {
        return Err(too_long(wasm.len() as u64));
    }
    let mut found = Found::default();
    found
        .read(wasm)
        .map_err(|error| Error::NotAPlugin(format!("not a WebAssembly component: {}", first_line(&error))))?;
    if !found.component {
        return Err(Error::NotAPlugin(
            "a core WebAssembly module, not a component; build it for the target wasm32-wasip2".into(),
        ));
    }
    let manifest = Manifest::parse(found.manifest.as_deref().ok_or(ManifestError::Missing)?)?;
    let package = manifest.contract.split('@').next().unwrap_or_default();
    if !found.exports.iter().any(|export| export.starts_with(package)) {
        return Err(Error::NotAPlugin(format!("the manifest says {package} and the component exports none of it")));
    }
    Ok(Inspection {
        manifest,
        sha256: hex(&Sha256::digest(wasm)),
        bytes: wasm.len(),
        imports: found.imports,
        exports: found.exports,
    })
}

/// A file that is longer than any component may be.
pub fn too_long(length: u64) -> Error {
    Error::NotAPlugin(format!("the file has {length} bytes, more than {MAX_BYTES}"))
}

/// The parser goes on for several lines about what it would have liked.
fn first_line(error: &wasmparser::BinaryReaderError) -> String {
    let message = error.message();
    let line = message.lines().next().unwrap_or_default().trim_end_matches([':', ' ']);
    format!("{line} (at byte {})", error.offset())
}

/// Bytes as lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[derive(Default)]
struct Found {
    component: bool,
    manifest: Option<Vec<u8>>,
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Found {
    /// The parser walks nested modules and components too; imports and exports count at depth 0 only, and the manifest
    /// is found wherever the linker put it.
    fn read(&mut self, wasm: &[u8]) -> Result<(), wasmparser::BinaryReaderError> {
        let mut depth = 0u32;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::Version { encoding, .. } if depth == 0 => self.component = encoding == Encoding::Component,
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::CustomSection(section) if section.name() == SECTION && self.manifest.is_none() => {
                    self.manifest = Some(section.data().to_vec());
                }
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        self.imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        self.exports.push(export?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}
