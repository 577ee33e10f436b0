//! The plugins folder made into serving generations, and kept so while files come, change and go.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use plugin::detect::ContainerDetector;
use plugin::grant::Sidecar;
use plugin::source::MediaSource;
use plugin::{Kind, Plugins};
use tokio::sync::{Mutex, broadcast};

use crate::artifact::Artifacts;
use crate::detector::Detector;
use crate::engine::Engine;
use crate::folder::{self, Settling};
use crate::generation::{Generation, Services};
use crate::inspect::{MAX_BYTES, too_long};
use crate::slot::{Bundled, Event, Origin, Slot, Status};
use crate::source::Source;
use crate::{Error, inspect};

/// Events that a slow listener may fall behind before it loses the oldest.
const EVENTS: usize = 64;

/// Where plugins come from and where compiled ones are kept.
pub struct Config {
    /// The folder that is looked at for `*.wasm` and `*.toml`. It may be missing.
    pub plugins_dir: PathBuf,
    /// The folder for compiled components.
    pub cache_dir: PathBuf,
    /// Plugins that are part of the program; a file of the same id overrides one.
    pub bundled: Vec<Bundled>,
    /// How often the folder is looked at.
    pub poll: Duration,
}

/// All plugins of one host.
pub struct Host {
    shared: Arc<Shared>,
    watcher: tokio::task::JoinHandle<()>,
}

struct Shared {
    config: Config,
    engine: Arc<Engine>,
    artifacts: Artifacts,
    services: Services,
    slots: RwLock<BTreeMap<String, Arc<Slot>>>,
    /// One change at a time.
    changes: Mutex<Changes>,
    events: broadcast::Sender<Event>,
}

/// What is known of the folder between two looks.
#[derive(Default)]
struct Changes {
    settling: Settling,
    /// The folder could not be listed the last time.
    unreadable: bool,
    /// Which file name provides an id.
    providers: BTreeMap<String, String>,
}

impl Host {
    /// Loads everything that is there and goes on looking. A plugin that cannot be loaded is listed with its error and
    /// stops nothing else.
    pub async fn start(config: Config, services: Services) -> Result<Arc<Host>, Error> {
        let engine = Arc::new(Engine::new()?);
        let artifacts = Artifacts::open(&config.cache_dir, &engine.inner)?;
        let poll = config.poll;
        let shared = Arc::new(Shared {
            config,
            engine,
            artifacts,
            services,
            slots: RwLock::default(),
            changes: Mutex::default(),
            events: broadcast::channel(EVENTS).0,
        });
        shared.start().await;
        let watcher = tokio::spawn(watch(shared.clone(), poll));
        Ok(Arc::new(Host { shared, watcher }))
    }

    /// Every plugin, serving or not, sorted by id.
    pub fn list(&self) -> Vec<Status> {
        self.shared.slots().values().map(|slot| slot.status()).collect()
    }

    /// One plugin.
    pub fn status(&self, id: &str) -> Option<Status> {
        self.shared.slot(id).map(|slot| slot.status())
    }

    /// What changes from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// Reads a plugin's files again and makes a new generation, changed or not.
    pub async fn reload(&self, id: &str) -> Result<Status, Error> {
        self.shared.deal_with(id).await
    }

    /// Switches a plugin on or off; the choice is a file in the plugins folder and so outlives the host. An uploaded
    /// version that waits is put in place by switching on.
    pub async fn set_enabled(&self, id: &str, enabled: bool) -> Result<Status, Error> {
        self.shared.slot(id).ok_or_else(|| Error::Unknown(id.to_owned()))?;
        let dir = &self.shared.config.plugins_dir;
        let (marker, waiting) = (folder::disabled(dir, id), folder::waiting(dir, id));
        // In place of the file that provides this id now, whatever its name.
        let name = self.shared.provider(id).await;
        let done = if enabled {
            if waiting.exists() { fs::rename(&waiting, folder::component(dir, &name)) } else { Ok(()) }
                .and_then(|()| absent(fs::remove_file(&marker)))
        } else {
            fs::create_dir_all(dir).and_then(|()| fs::write(&marker, b""))
        };
        done.map_err(|error| Error::disk("cannot write in", dir, error))?;
        self.shared.deal_with(id).await
    }

    /// Puts an uploaded component into the folder, where it waits to be enabled.
    pub async fn install(&self, wasm: &[u8]) -> Result<Status, Error> {
        let inspection = inspect(wasm)?;
        let id = inspection.manifest.id.clone();
        let dir = &self.shared.config.plugins_dir;
        let part = dir.join(format!(".{id}.{}.part", inspection.sha256.get(..8).unwrap_or_default()));
        fs::create_dir_all(dir)
            .and_then(|()| fs::write(&part, wasm))
            .and_then(|()| fs::File::open(&part)?.sync_all())
            .and_then(|()| fs::rename(&part, folder::waiting(dir, &id)))
            .map_err(|error| Error::disk("cannot write in", dir, error))?;
        self.shared.deal_with(&id).await
    }

    /// Removes a plugin's file. One that overrides a bundled plugin gives way to it again.
    pub async fn remove(&self, id: &str) -> Result<Option<Status>, Error> {
        self.shared.slot(id).ok_or_else(|| Error::Unknown(id.to_owned()))?;
        let dir = &self.shared.config.plugins_dir;
        let name = self.shared.provider(id).await;
        let files = [folder::component(dir, &name), folder::waiting(dir, id)];
        if !files.iter().any(|file| file.exists()) && self.shared.bundled(id).is_some() {
            return Err(Error::Bundled(id.to_owned()));
        }
        for file in files {
            absent(fs::remove_file(&file)).map_err(|error| Error::disk("cannot remove", &file, error))?;
        }
        self.shared.deal_with(&name).await.map(Some).or_else(|error| match error {
            Error::Unknown(_) => Ok(None),
            other => Err(other),
        })
    }

    /// Stops looking at the folder. Running calls are not waited for.
    pub fn shutdown(&self) {
        self.watcher.abort();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Plugins for Host {
    fn sources(&self, scheme: &str) -> Vec<Arc<dyn MediaSource>> {
        let mut found = self.shared.serving(Kind::MediaSource, |generation| {
            generation.manifest.schemes.iter().any(|own| own == scheme).then_some(0)
        });
        found.sort_by_key(|(priority, ..)| *priority);
        found.into_iter().map(|(_, slot)| Arc::new(Source(slot)) as Arc<dyn MediaSource>).collect()
    }

    fn detectors(&self, head: &[u8], name: Option<&str>) -> Vec<Arc<dyn ContainerDetector>> {
        let extension =
            name.and_then(|name| name.rsplit_once('.')).map(|(_, extension)| extension.to_ascii_lowercase());
        let mut found = self.shared.serving(Kind::ContainerDetector, |generation| {
            let manifest = &generation.manifest;
            if manifest.magic.iter().any(|magic| magic.matches(head)) {
                return Some(0);
            }
            let known = extension.as_ref().is_some_and(|extension| manifest.extensions.contains(extension));
            known.then_some(1)
        });
        found.sort_by_key(|(order, ..)| *order);
        found.into_iter().map(|(_, slot)| Arc::new(Detector(slot)) as Arc<dyn ContainerDetector>).collect()
    }

    fn schemes(&self) -> Vec<String> {
        let mut schemes: Vec<String> = self
            .shared
            .slots()
            .values()
            .filter_map(|slot| slot.current())
            .flat_map(|generation| generation.manifest.schemes.clone())
            .collect();
        schemes.sort();
        schemes.dedup();
        schemes
    }
}

async fn watch(shared: Arc<Shared>, poll: Duration) {
    let mut ticks = tokio::time::interval(poll);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // A file that makes us panic must not end the watch over all others. The look is awaited, so none is abandoned.
        let looking = shared.clone();
        let look = tokio::spawn(async move {
            let mut changes = looking.changes.lock().await;
            looking.look(&mut changes, false).await;
        });
        if let Err(error) = look.await
            && error.is_panic()
        {
            tracing::error!("a look at the plugins folder failed; this is a fault of the program, please report it");
        }
    }
}

impl Shared {
    async fn start(&self) {
        let mut changes = self.changes.lock().await;
        self.look(&mut changes, true).await;
        for bundled in &self.config.bundled {
            if self.slot(bundled.id).is_none() {
                self.apply(&mut changes, bundled.id).await;
            }
        }
    }

    async fn look(&self, changes: &mut Changes, at_once: bool) {
        let listing = match folder::list(&self.config.plugins_dir) {
            Ok(listing) => listing,
            Err(error) => {
                if !std::mem::replace(&mut changes.unreadable, true) {
                    tracing::warn!(dir = %self.config.plugins_dir.display(), %error, "the plugins folder cannot be read");
                }
                return;
            }
        };
        changes.unreadable = false;
        for name in changes.settling.look(Instant::now(), &listing, at_once) {
            self.apply(changes, &name).await;
        }
    }

    /// The name of the file that provides an id, or would.
    async fn provider(&self, id: &str) -> String {
        self.changes.lock().await.providers.get(id).cloned().unwrap_or_else(|| id.to_owned())
    }

    /// Deals with one name now, and answers with the plugin of that id.
    async fn deal_with(&self, id: &str) -> Result<Status, Error> {
        let mut changes = self.changes.lock().await;
        let name = changes.providers.get(id).cloned().unwrap_or_else(|| id.to_owned());
        self.apply(&mut changes, &name).await;
        self.slot(id).map(|slot| slot.status()).ok_or_else(|| Error::Unknown(id.to_owned()))
    }

    /// Makes what serves under a name what its files say.
    async fn apply(&self, changes: &mut Changes, name: &str) {
        let (bytes, origin) = match self.component(name) {
            Ok(Some(bytes)) => (bytes, Origin::Folder),
            Ok(None) => match self.bundled(name) {
                Some(bundled) => (bundled.bytes.to_vec(), Origin::Bundled),
                None => return self.vanished(changes, name).await,
            },
            Err(why) => return self.refuse(changes, name, &why).await,
        };
        if origin == Origin::Bundled {
            changes.providers.retain(|_, provider| provider != name);
        }
        if let Err(why) = self.replace(changes, name, bytes, origin).await {
            self.refuse(changes, name, &why).await;
        }
    }

    /// The bytes of a component file; none when there is no such file.
    fn component(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = folder::component(&self.config.plugins_dir, name);
        let read = fs::metadata(&path).and_then(|metadata| match metadata.len() {
            length if length > MAX_BYTES as u64 => Ok(Err(too_long(length))),
            _ => fs::read(&path).map(Ok),
        });
        match read {
            Ok(bytes) => bytes.map(Some),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(Error::disk("cannot read", &path, error)),
        }
    }

    /// A file cannot serve. What served before goes on; where nothing does, the bundled plugin of that id takes over.
    async fn refuse(&self, changes: &mut Changes, name: &str, why: &Error) {
        let provided = changes.providers.iter().find(|(_, provider)| *provider == name).map(|(id, _)| id.clone());
        let id = provided.unwrap_or_else(|| name.to_owned());
        let serves = self.slot(&id).is_some_and(|slot| slot.current().is_some());
        if let (false, Some(bundled)) = (serves, self.bundled(&id)) {
            let bytes = bundled.bytes.to_vec();
            if let Err(why) = self.replace(changes, &id, bytes, Origin::Bundled).await {
                tracing::error!(plugin = id, %why, "a plugin of the program itself cannot serve");
            }
        }
        self.complain(&id, why);
    }

    async fn replace(&self, changes: &mut Changes, name: &str, bytes: Vec<u8>, origin: Origin) -> Result<(), Error> {
        let dir = &self.config.plugins_dir;
        let inspection = inspect(&bytes)?;
        let id = inspection.manifest.id.clone();
        let other = changes.providers.get(&id).filter(|other| *other != name && folder::component(dir, other).exists());
        let other = other.filter(|_| origin == Origin::Folder);
        if let Some(other) = other {
            let (file, other) = (format!("{name}.wasm"), format!("{other}.wasm"));
            return Err(Error::Twice { file, id, other });
        }
        if origin == Origin::Folder {
            self.provides(changes, name, &id).await;
        }
        let slot = self.slot_or_new(&id, origin);
        slot.wait(waiting_version(dir, &id));
        let sidecar = read_sidecar(&folder::sidecar(dir, &id))?;
        let switched_off = sidecar.as_ref().and_then(|sidecar| sidecar.enabled) == Some(false);
        if switched_off || folder::disabled(dir, &id).exists() {
            slot.clear(true);
            slot.complain(None);
            self.changed(&slot);
            return Ok(());
        }
        let component = tokio::task::block_in_place(|| self.artifacts.component(&inspection.sha256, &bytes))?;
        let number = slot.next_number();
        let generation =
            Generation::new(number, inspection, &component, sidecar.as_ref(), &self.engine, &self.services)?;
        slot.publish(Arc::new(generation), origin);
        tracing::info!(plugin = id, generation = number, file = name, "a plugin serves");
        self.changed(&slot);
        Ok(())
    }

    /// Notes that a file provides an id. What it provided before, or was listed as before it had an id, is no more.
    async fn provides(&self, changes: &mut Changes, name: &str, id: &str) {
        let before = changes.providers.iter().find(|(old, provider)| *provider == name && *old != id);
        if let Some(old) = before.map(|(old, _)| old.clone()) {
            changes.providers.remove(&old);
            match self.bundled(&old) {
                Some(_) => Box::pin(self.apply(changes, &old)).await,
                None => self.forget(&old),
            }
        }
        if name != id && self.bundled(name).is_none() && self.slot(name).is_some_and(|slot| slot.current().is_none()) {
            self.forget(name);
        }
        changes.providers.insert(id.to_owned(), name.to_owned());
    }

    fn forget(&self, id: &str) {
        if self.slots_mut().remove(id).is_some() {
            tracing::info!(plugin = id, "a plugin was removed");
            // Nobody listening is fine.
            let _ = self.events.send(Event::Removed { id: id.to_owned() });
        }
    }

    /// The component file of this name is gone and no bundled plugin has the name.
    async fn vanished(&self, changes: &mut Changes, name: &str) {
        let ids: Vec<String> =
            changes.providers.iter().filter(|(_, provider)| *provider == name).map(|(id, _)| id.clone()).collect();
        for id in &ids {
            changes.providers.remove(id);
        }
        let dir = &self.config.plugins_dir;
        let waiting = waiting_version(dir, name);
        if ids.is_empty() && waiting.is_some() {
            let slot = self.slot_or_new(name, Origin::Folder);
            slot.wait(waiting);
            return self.changed(&slot);
        }
        let mut gone = ids.clone();
        if ids.is_empty() && self.slot(name).is_some_and(|slot| slot.current().is_none()) {
            gone.push(name.to_owned());
        }
        for id in gone {
            if self.bundled(&id).is_some() && id != name {
                Box::pin(self.apply(changes, &id)).await;
            } else {
                self.forget(&id);
            }
        }
        // A second file of the same id may have been refused as long as this one was there.
        if let Ok(listing) = folder::list(dir) {
            for other in listing.keys().filter(|other| !changes.providers.values().any(|provider| provider == *other)) {
                changes.settling.again(other);
            }
        }
    }

    fn complain(&self, id: &str, why: &Error) {
        tracing::warn!(plugin = id, %why, "a plugin file was refused");
        let slot = self.slot_or_new(id, Origin::Folder);
        slot.complain(Some(why.to_string()));
        self.changed(&slot);
    }

    fn changed(&self, slot: &Slot) {
        // Nobody listening is fine.
        let _ = self.events.send(Event::Changed(slot.status()));
    }

    /// Plugins of a kind that serve and that `order` wants, by priority.
    fn serving(&self, kind: Kind, order: impl Fn(&Generation) -> Option<u32>) -> Vec<(u32, Arc<Slot>)> {
        let mut found: Vec<_> = self
            .slots()
            .values()
            .filter_map(|slot| {
                let generation = slot.current().filter(|generation| generation.manifest.kind == kind)?;
                Some((-generation.manifest.priority, order(&generation)?, slot.clone()))
            })
            .collect();
        found.sort_by_key(|(priority, ..)| *priority);
        found.into_iter().map(|(_, order, slot)| (order, slot)).collect()
    }

    fn bundled(&self, id: &str) -> Option<&Bundled> {
        self.config.bundled.iter().find(|bundled| bundled.id == id)
    }

    fn slot(&self, id: &str) -> Option<Arc<Slot>> {
        self.slots().get(id).cloned()
    }

    fn slot_or_new(&self, id: &str, origin: Origin) -> Arc<Slot> {
        self.slots_mut().entry(id.to_owned()).or_insert_with(|| Arc::new(Slot::new(id, origin))).clone()
    }

    fn slots(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<Slot>>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn slots_mut(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Arc<Slot>>> {
        self.slots.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether there is no such file, for which the folder being something else is one reason.
fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// A file that was not there is as good as removed.
fn absent(removed: std::io::Result<()>) -> std::io::Result<()> {
    removed.or_else(|error| if is_absent(&error) { Ok(()) } else { Err(error) })
}

fn waiting_version(dir: &Path, id: &str) -> Option<String> {
    let bytes = fs::read(folder::waiting(dir, id)).ok()?;
    inspect(&bytes).ok().map(|inspection| inspection.manifest.version)
}

fn read_sidecar(path: &Path) -> Result<Option<Sidecar>, Error> {
    let refuse = |why: String| Error::Sidecar { file: path.display().to_string(), why };
    match fs::read_to_string(path) {
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(refuse(error.to_string())),
        Ok(text) => {
            let sidecar: Sidecar = toml::from_str(&text).map_err(|error| refuse(error.message().to_owned()))?;
            sidecar.limits.check().map_err(|why| refuse(format!("limits.{why}")))?;
            Ok(Some(sidecar))
        }
    }
}
