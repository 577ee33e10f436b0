//! One version of one plugin, ready to be called: artifact, pre-linked component, limits, grants and settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use plugin::grant::{Grants, Sidecar, grant};
use plugin::host::{Fetcher, KeyValue};
use plugin::manifest::Limits;
use plugin::{Failure, Fault, Kind, Manifest};
use tokio::sync::Semaphore;
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};

use crate::bindings::{computed, computed_sync, container_detector, media_source, media_source_sync};
use crate::call::CallState;
use crate::engine::Engine;
use crate::{Error, Inspection};

/// What the host lends to plugins.
#[derive(Clone)]
pub struct Services {
    /// Sends their requests.
    pub fetcher: Arc<dyn Fetcher>,
    /// Keeps their values.
    pub kv: Arc<dyn KeyValue>,
}

/// A plugin that can be called. Immutable; a change of anything in it makes another one.
pub struct Generation {
    pub number: u64,
    pub manifest: Manifest,
    pub sha256: String,
    pub limits: Limits,
    pub grants: Grants,
    pub config: serde_json::Map<String, serde_json::Value>,
    pub secrets: BTreeMap<String, String>,
    pub services: Services,
    pub engine: Arc<Engine>,
    /// One permit per call that may run at once.
    pub places: Semaphore,
    pub entry: Entry,
}

/// How a generation is called. The two async kinds come as worlds with and without async functions; callers of this
/// crate see one.
pub enum Entry {
    Source { source: SourceEntry, computed: Option<ComputedEntry> },
    Detector(container_detector::ContainerDetectorPre<CallState>),
}

pub enum SourceEntry {
    Async(media_source::MediaSourcePre<CallState>),
    Sync(media_source_sync::MediaSourceSyncPre<CallState>),
}

pub enum ComputedEntry {
    Async(computed::ComputedPre<CallState>),
    Sync(computed_sync::ComputedSyncPre<CallState>),
}

impl Generation {
    /// Links a compiled component. Fails when it imports what this host does not offer to its kind, or lacks an export.
    pub fn new(
        number: u64,
        inspection: Inspection,
        component: &Component,
        sidecar: Option<&Sidecar>,
        engine: &Arc<Engine>,
        services: &Services,
    ) -> Result<Generation, Error> {
        let manifest = inspection.manifest;
        let linker = linker(engine, manifest.kind).map_err(|error| Error::Link(format!("{error:#}")))?;
        let pre = linker
            .instantiate_pre(component)
            .map_err(|error| Error::Link(format!("the component wants what this host does not offer: {error:#}")))?;
        let entry = entry(&manifest, &inspection.exports, pre)
            .map_err(|error| Error::Link(format!("the component does not keep to {}: {error:#}", manifest.contract)))?;
        let limits = sidecar.map_or_else(|| manifest.limits.clone(), |sidecar| sidecar.limits.over(&manifest.limits));
        let (config, secrets) = match sidecar {
            Some(sidecar) => (sidecar.config.clone(), sidecar.secrets.clone()),
            None => Default::default(),
        };
        Ok(Generation {
            number,
            grants: grant(&manifest, sidecar),
            sha256: inspection.sha256,
            config: with_defaults(config, manifest.config_schema.as_ref()),
            secrets,
            services: services.clone(),
            engine: engine.clone(),
            places: Semaphore::new(limits.instances as usize),
            limits,
            entry,
            manifest,
        })
    }

    /// A fault of this generation.
    pub fn fault(&self, fault: Fault) -> Failure {
        Failure::Fault { plugin: self.manifest.id.clone(), generation: self.number, fault }
    }

    /// An answer of this generation.
    pub fn answer(&self, error: plugin::Error) -> Failure {
        Failure::Answer { plugin: self.manifest.id.clone(), error }
    }
}

/// Settings that the operator left out get the `default` of their property in the schema.
fn with_defaults(
    mut config: serde_json::Map<String, serde_json::Value>,
    schema: Option<&serde_json::Value>,
) -> serde_json::Map<String, serde_json::Value> {
    let properties = schema.and_then(|schema| schema.get("properties")).and_then(|properties| properties.as_object());
    for (key, property) in properties.into_iter().flatten() {
        if let Some(default) = property.get("default") {
            config.entry(key.clone()).or_insert_with(|| default.clone());
        }
    }
    config
}

/// What a plugin of this kind finds when it imports. A detector finds nothing of ours.
fn linker(engine: &Engine, kind: Kind) -> wasmtime::Result<Linker<CallState>> {
    use crate::bindings::media_source::mediahost::host;
    let mut linker = Linker::new(&engine.inner);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    if kind == Kind::MediaSource {
        type D = HasSelf<CallState>;
        host::types::add_to_linker::<_, D>(&mut linker, |state| state)?;
        host::fetch_types::add_to_linker::<_, D>(&mut linker, |state| state)?;
        host::log::add_to_linker::<_, D>(&mut linker, |state| state)?;
        host::config::add_to_linker::<_, D>(&mut linker, |state| state)?;
        host::secrets::add_to_linker::<_, D>(&mut linker, |state| state)?;
        host::kv::add_to_linker::<_, D>(&mut linker, |state| state)?;
        host::clock::add_to_linker::<_, D>(&mut linker, |state| state)?;
        host::fetch::add_to_linker::<_, D>(&mut linker, |state| state)?;
        media_source_sync::mediahost::host::fetch_sync::add_to_linker::<_, D>(&mut linker, |state| state)?;
    }
    Ok(linker)
}

fn entry(manifest: &Manifest, exports: &[String], pre: InstancePre<CallState>) -> wasmtime::Result<Entry> {
    let exports = |interface: &str| exports.iter().any(|export| export.split('@').next() == Some(interface));
    Ok(match manifest.kind {
        Kind::ContainerDetector => Entry::Detector(container_detector::ContainerDetectorPre::new(pre)?),
        Kind::MediaSource => {
            let computed = if exports("mediahost:media-source/computed") {
                Some(ComputedEntry::Async(computed::ComputedPre::new(pre.clone())?))
            } else if exports("mediahost:media-source/computed-sync") {
                Some(ComputedEntry::Sync(computed_sync::ComputedSyncPre::new(pre.clone())?))
            } else {
                None
            };
            let source = if exports("mediahost:media-source/source-sync") {
                SourceEntry::Sync(media_source_sync::MediaSourceSyncPre::new(pre)?)
            } else {
                SourceEntry::Async(media_source::MediaSourcePre::new(pre)?)
            };
            Entry::Source { source, computed }
        }
    })
}

/// The generation that serves, if any; replaced as a whole.
#[derive(Default)]
pub struct Current(arc_swap::ArcSwapOption<Generation>);

impl Current {
    pub fn get(&self) -> Option<Arc<Generation>> {
        self.0.load_full()
    }

    pub fn set(&self, generation: Option<Arc<Generation>>) -> Option<Arc<Generation>> {
        self.0.swap(generation)
    }
}
