//! Compiled components on the disk, so that each is compiled once per engine.
//!
//! A file holds what the engine made, followed by the SHA-256 of it: a torn or damaged file is compiled again and never
//! reaches the engine, which trusts what it loads.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use crate::Error;

/// Artifacts kept; beyond that the oldest go.
const KEEP: usize = 128;
const SUM: usize = 32;

pub struct Artifacts {
    dir: PathBuf,
    engine: wasmtime::Engine,
    /// Version, configuration, target and CPU features of the engine.
    flavour: u64,
}

impl Artifacts {
    pub fn open(dir: &Path, engine: &wasmtime::Engine) -> Result<Artifacts, Error> {
        fs::create_dir_all(dir).map_err(|error| Error::disk("cannot create the folder", dir, error))?;
        let artifacts = Artifacts { dir: dir.to_owned(), engine: engine.clone(), flavour: flavour(engine) };
        artifacts.forget_oldest();
        Ok(artifacts)
    }

    /// The component of these bytes, compiled now or earlier. Blocks for as long as compiling takes.
    pub fn component(&self, sha256: &str, wasm: &[u8]) -> Result<Component, Error> {
        let path = self.dir.join(format!("{sha256}-{:016x}.cwasm", self.flavour));
        if let Some(component) = self.load(&path) {
            return Ok(component);
        }
        let compiled = self
            .engine
            .precompile_component(wasm)
            .map_err(|error| Error::Link(format!("the component cannot be compiled: {error:#}")))?;
        // Without a place to keep it (a full or read-only disk) the plugin still runs.
        if let Err(error) = write(&path, &compiled) {
            tracing::warn!(path = %path.display(), %error, "a compiled plugin could not be kept; it will be compiled again");
        }
        self.deserialize(&compiled).map_err(|error| Error::Link(format!("the component cannot be loaded: {error:#}")))
    }

    fn load(&self, path: &Path) -> Option<Component> {
        let bytes = fs::read(path).ok()?;
        let (compiled, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM)?)?;
        let component = if Sha256::digest(compiled).as_slice() == sum {
            self.deserialize(compiled).map_err(|error| format!("{error:#}"))
        } else {
            Err("its checksum does not match".to_owned())
        };
        component
            .inspect_err(|why| {
                tracing::warn!(path = %path.display(), %why, "a compiled plugin is damaged and will be compiled again");
                let _ = fs::remove_file(path);
            })
            .ok()
    }

    fn deserialize(&self, compiled: &[u8]) -> wasmtime::Result<Component> {
        // SAFETY: the bytes come from `precompile_component` of this program: just now, or out of a folder that only
        // this program writes, with the checksum it wrote.
        #[allow(unsafe_code, reason = "loading compiled code is a matter of trust; see above")]
        unsafe {
            Component::deserialize(&self.engine, compiled)
        }
    }

    fn forget_oldest(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let mut files: Vec<_> = entries
            .flatten()
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort();
        let surplus = files.len().saturating_sub(KEEP);
        for (_, path) in &files[..surplus] {
            let _ = fs::remove_file(path);
        }
    }
}

/// What an engine can load, as one number: what was compiled by an engine of another one is of no use to it.
pub fn flavour(engine: &wasmtime::Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    engine.is_pulley().hash(&mut hasher);
    hasher.finish()
}

fn write(path: &Path, compiled: &[u8]) -> std::io::Result<()> {
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let mut file = fs::File::create(&part)?;
    file.write_all(compiled)?;
    file.write_all(&Sha256::digest(compiled))?;
    file.sync_all()?;
    fs::rename(&part, path)
}
