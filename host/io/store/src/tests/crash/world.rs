//! A store on a disk that loses power, the objects in it, and random things done to them.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use cache::Meta;

use super::model::{Ended, Object, Version};
use crate::sim::{Plan, Random, SimDisk};
use crate::{Error, ObjectFile, ObjectId, Store};

const ROOT: &str = "/cache";
const OBJECTS: usize = 2;
/// Granule and length. Smaller than a sector and larger, with a short last granule and without, one and many.
const SHAPES: [(u32, u64); 5] =
    [(64, 64 * 40 + 10), (1024, 1024 * 5 + 300), (2048, 2048 * 4), (256, 256 * 7 + 1), (512, 90)];

/// Where a run of granules begins and how many they are, in numbers that are brought into the object when it is known.
pub(super) type Run = (u64, u64);

/// Something that is done to one of the objects.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) at: usize,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Create {
        open_ended: bool,
        /// Which of the shapes.
        shape: u64,
    },
    Write {
        run: Run,
        /// Only the first half of each.
        partly: bool,
        /// Also those that are there already.
        again: bool,
    },
    Commit {
        run: Run,
    },
    Evict {
        runs: Vec<Run>,
    },
    Forget {
        /// Which of those that are there.
        index: u64,
    },
    Settle,
    Update,
    /// Closes and opens again.
    Close {
        in_peace: bool,
    },
    EvictClosed {
        runs: Vec<Run>,
    },
    Remove,
    /// The process ends and another one begins; the system stays.
    Restart,
    Probe,
}

impl Step {
    /// One of all, more often those that write.
    pub(super) fn random(random: &mut Random) -> Self {
        let at = random.below(OBJECTS as u64).min(random.below(OBJECTS as u64)) as usize;
        let run = |random: &mut Random| (random.below(50), 1 + random.below(50));
        let all = (0, u64::MAX);
        let runs = |random: &mut Random| (0..=random.below(3)).map(|_| run(random)).collect();
        let what = match random.below(100) {
            0..6 => What::Create { open_ended: random.below(2) == 0, shape: random.below(5).min(random.below(5)) },
            6..34 => What::Write { run: run(random), partly: random.below(8) == 0, again: random.below(8) == 0 },
            34..54 => What::Commit { run: if random.below(2) == 0 { all } else { run(random) } },
            54..66 => What::Evict { runs: runs(random) },
            66..71 => What::Forget { index: random.below(50) },
            71..80 => What::Settle,
            80..84 => What::Update,
            84..90 => What::Close { in_peace: random.below(2) == 0 },
            90..93 => What::EvictClosed { runs: runs(random) },
            93..95 => What::Remove,
            95..98 => What::Restart,
            _ => What::Probe,
        };
        Self { at, what }
    }
}

impl What {
    fn needs_open(&self) -> bool {
        use What::{Close, Commit, Evict, Forget, Settle, Update, Write};
        matches!(self, Write { .. } | Commit { .. } | Evict { .. } | Forget { .. } | Settle | Update | Close { .. })
    }
}

/// What was seen, so that a test can say that it saw all there is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Granules that were compared with the truth.
    pub(super) granules: u64,
    /// Objects that were found and not found after a crash.
    pub(super) found: u64,
    pub(super) absent: u64,
    /// Objects that were found after they had been settled, or while they were.
    pub(super) settled: u64,
    /// Granules whose eviction was under way.
    pub(super) half_evicted: u64,
    /// Granules that were named and not there, as is allowed on a full disk.
    pub(super) doubtful: u64,
    /// Journals that were started anew because they were long.
    pub(super) compacted: u64,
    /// Calls that returned an error.
    pub(super) errors: u64,
}

/// An object that is open.
struct Live {
    file: Arc<ObjectFile>,
    name: String,
    /// Granules whose bytes are in the file.
    written: BTreeSet<u64>,
}

pub(super) struct World {
    pub(super) disk: SimDisk,
    store: Option<Store>,
    objects: Vec<Object>,
    live: Vec<Option<Live>>,
    plan: Plan,
    /// Counts versions and times.
    counter: u64,
    pub(super) seen: Seen,
}

fn id(at: usize) -> ObjectId {
    static IDS: LazyLock<[ObjectId; OBJECTS]> = LazyLock::new(|| ["first", "second"].map(ObjectId::from_key));
    IDS[at]
}

fn indexes(runs: &[Range<u64>]) -> BTreeSet<u64> {
    runs.iter().cloned().flatten().collect()
}

impl World {
    /// An empty disk with an empty store.
    pub(super) fn new(plan: Plan) -> Result<Self, String> {
        let disk = SimDisk::new(plan);
        let objects = vec![Object { may_be_absent: true, ..Object::default() }; OBJECTS];
        Self::open(disk, objects, plan, 0, Seen::default())
    }

    /// The power is back. The model remembers; nothing else does.
    pub(super) fn reborn(&self, seed: u64, plan: Plan) -> Result<Self, String> {
        let disk = self.disk.reboot(seed, plan);
        Self::open(disk, self.objects.clone(), plan, self.counter, self.seen)
    }

    fn open(disk: SimDisk, objects: Vec<Object>, plan: Plan, counter: u64, seen: Seen) -> Result<Self, String> {
        let live = (0..OBJECTS).map(|_| None).collect();
        let mut world = Self { disk, store: None, objects, live, plan, counter, seen };
        world.start()?;
        for at in 0..OBJECTS {
            world.find(at, true)?;
        }
        Ok(world)
    }

    /// Opens the store as a new process does.
    fn start(&mut self) -> Result<(), String> {
        self.store = None;
        let opened = Store::open_on(Path::new(ROOT), Arc::new(self.disk.clone()));
        self.store = self.allow(opened, "open the store")?;
        Ok(())
    }

    /// An error is right if something was to go wrong.
    fn allow<T>(&mut self, result: Result<T, Error>, what: &str) -> Result<Option<T>, String> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                let Plan { fail_at, read_only_from, capacity, .. } = self.plan;
                let planned = fail_at.is_some() || read_only_from.is_some() || capacity.is_some();
                self.seen.errors += 1;
                if planned || self.disk.is_off() { Ok(None) } else { Err(format!("cannot {what}: {error}")) }
            }
        }
    }

    /// Does something. Whatever needs an open object gets one.
    pub(super) fn step(&mut self, step: &Step) -> Result<(), String> {
        if self.store.is_none() {
            return Ok(());
        }
        let at = step.at;
        if self.live[at].is_none() && step.what.needs_open() {
            self.find(at, false)?;
            if self.live[at].is_none() {
                self.create(at, self.counter.is_multiple_of(2), self.counter)?;
            }
        }
        match &step.what {
            What::Create { open_ended, shape } => self.create(at, *open_ended, *shape),
            What::Write { run, partly, again } => self.write(at, *run, *partly, *again),
            What::Commit { run } => self.commit(at, *run),
            What::Evict { runs } => self.evict(at, runs),
            What::Forget { index } => self.forget(at, *index),
            What::Settle => self.settle(at),
            What::Update => self.update(at),
            What::Close { in_peace } => self.close(at, *in_peace).and_then(|()| self.find(at, false)),
            What::EvictClosed { runs } => self.evict_closed(at, runs),
            What::Remove => self.remove(at),
            What::Restart => self.restart(),
            What::Probe => self.probe(),
        }?;
        if self.disk.is_off() { Ok(()) } else { self.compare() }
    }

    /// Compares what open objects say with what they may say.
    fn compare(&self) -> Result<(), String> {
        for (live, object) in self.live.iter().zip(&self.objects) {
            let Some(live) = live else { continue };
            let Some(version) = object.versions.get(&live.name) else { continue };
            let named: BTreeSet<u64> = live.file.granules().iter().map(|granule| granule.index).collect();
            version.check(&named).map_err(|error| format!("open: {error}"))?;
            if let Some(index) = version.sure.iter().find(|index| !named.contains(index)) {
                return Err(format!("open: granule {index} was committed and is not known"));
            }
        }
        Ok(())
    }

    /// Loads an object and looks at all of it. After a crash the model then knows which of the possible things
    /// happened.
    fn find(&mut self, at: usize, after_crash: bool) -> Result<(), String> {
        let Some(store) = &self.store else { return Ok(()) };
        self.live[at] = None;
        let (contents, loaded) = (store.contents(&id(at)), store.load(&id(at)));
        let Some(contents) = self.allow(contents, "look into an object")? else { return Ok(()) };
        let Some(loaded) = self.allow(loaded, "load an object")? else { return Ok(()) };
        let Some(stored) = loaded else {
            self.seen.absent += u64::from(after_crash);
            let object = &mut self.objects[at];
            if contents.is_some() || !object.allows_nothing() {
                return Err("an object is lost".to_owned());
            }
            if after_crash {
                *object = Object { may_be_absent: true, ..Object::default() };
            }
            return Ok(());
        };
        let name = stored.meta.name.clone().unwrap_or_default();
        let Some(version) = self.objects[at].versions.get_mut(&name) else {
            return Err(format!("version {name} came from nowhere"));
        };
        let contents = contents.ok_or("an object has no contents")?;
        let mut named = indexes(&contents.present);
        if named != stored.granules.iter().map(|granule| granule.index).collect() {
            return Err("contents and granules differ".to_owned());
        }
        let meta = &stored.meta;
        if version.ended == Ended::No || meta.open_ended || meta.total != version.total() {
            return Err(format!("version {name} has {} bytes, not {}", meta.total, version.total()));
        }
        if !version.accessed.contains(&meta.accessed_ms) {
            return Err(format!("last used at {}, not at {:?}", meta.accessed_ms, version.accessed));
        }
        version.check(&named)?;
        for granule in &stored.granules {
            let sound = stored.file.verify(granule);
            self.seen.granules += 1;
            if !sound && version.doubtful.contains(&granule.index) {
                self.seen.doubtful += 1;
                named.remove(&granule.index);
                continue;
            }
            let bytes = stored.file.bytes(version.range(granule.index)).map_err(|error| error.to_string())?;
            if !sound || bytes != version.bytes(granule.index) {
                return Err(format!("granule {} is wrong, its checksum fits: {sound}", granule.index));
            }
        }
        // What is doubtful and turned out to be there is there to stay, like everything that is found after a crash.
        if after_crash {
            self.seen.found += 1;
            self.seen.settled += u64::from(version.ended == Ended::Perhaps);
            self.seen.half_evicted += version.maybe.iter().filter(|index| !named.contains(index)).count() as u64;
            version.doubtful = indexes(&contents.present).difference(&named).copied().collect();
            version.sure = named;
            version.maybe.clear();
            version.accessed = [meta.accessed_ms].into();
            version.ended = Ended::Yes;
            self.objects[at].only(&name);
        }
        if let Some(version) = self.objects[at].versions.get_mut(&name) {
            version.is_removed = false;
        }
        self.live[at] = Some(Live { file: stored.file, name, written: BTreeSet::new() });
        Ok(())
    }

    fn create(&mut self, at: usize, open_ended: bool, shape: u64) -> Result<(), String> {
        let Some(store) = &self.store else { return Ok(()) };
        self.counter += 1;
        let name = format!("v{}", self.counter);
        let (granule_size, total) = SHAPES[shape as usize % SHAPES.len()];
        let ended = if open_ended { Ended::No } else { Ended::Yes };
        let provisional = if open_ended { total + 1 + self.counter * 977 % 20_000 } else { total };
        let meta = Meta { granule_size, open_ended, name: Some(name.clone()), ..Meta::new("film", provisional, 0) };
        let version = Version::new(granule_size, total, ended, self.counter);
        self.objects[at].versions.insert(name.clone(), version);
        let created = store.create(&id(at), meta);
        if let Some(file) = self.allow(created, "create an object")? {
            self.objects[at].only(&name);
            self.live[at] = Some(Live { file, name, written: BTreeSet::new() });
        }
        Ok(())
    }

    /// What is done to an open object.
    fn with<T>(
        &mut self,
        at: usize,
        act: impl FnOnce(&mut Live, &mut Version) -> Option<Result<T, Error>>,
    ) -> Option<Result<T, Error>> {
        let live = self.live[at].as_mut()?;
        let version = self.objects[at].versions.get_mut(&live.name)?;
        act(live, version)
    }

    fn write(&mut self, at: usize, run: Run, partly: bool, again: bool) -> Result<(), String> {
        let wrote = self.with(at, |live, version| {
            for index in version.run(run) {
                if version.sure.contains(&index) && !again {
                    continue;
                }
                let bytes = version.bytes(index);
                let length = if partly { bytes.len() / 2 } else { bytes.len() };
                if let Err(error) = live.file.write_at(version.range(index).start, &bytes[..length]) {
                    return Some(Err(error));
                }
                if !partly {
                    live.written.insert(index);
                }
            }
            Some(Ok(()))
        });
        wrote.map_or(Ok(()), |wrote| self.allow(wrote, "write").map(drop))
    }

    fn commit(&mut self, at: usize, run: Run) -> Result<(), String> {
        let before = self.journal_length(at);
        let mut chosen = Vec::new();
        let committed = self.with(at, |live, version| {
            chosen = version.run(run).filter(|index| live.written.contains(index)).collect();
            version.begin(chosen.iter().copied().filter(|index| !version.sure.contains(index)).collect::<Vec<_>>());
            let granules: Vec<_> = chosen.iter().map(|index| version.granule(*index)).collect();
            Some(live.file.commit(&granules))
        });
        let Some(committed) = committed else { return Ok(()) };
        if self.allow(committed, "commit")?.is_none() || chosen.is_empty() {
            return Ok(());
        }
        self.with::<()>(at, |live, version| {
            version.added(&chosen);
            // The journal could be written, so it does not name any more what is gone.
            version.doubtful.retain(|index| live.file.granule(*index).is_some());
            None
        });
        // What is durable is so under the one name that it has.
        if let Some(live) = &self.live[at] {
            self.objects[at].only(&live.name);
        }
        self.seen.compacted +=
            u64::from(before.is_some_and(|before| before > 1000 && self.journal_length(at) < Some(before)));
        Ok(())
    }

    /// The journal of an open object, bytes.
    fn journal_length(&self, at: usize) -> Option<u64> {
        use crate::Disk;
        let (live, name) = (self.live[at].as_ref()?, id(at).to_string());
        let path = Path::new(ROOT).join(&name[..2]).join(&name).join(crate::journal::name(live.file.generation()));
        self.disk.size(&path).ok().map(|size| size.length)
    }

    fn evict(&mut self, at: usize, runs: &[Run]) -> Result<(), String> {
        let (refused, mut ranges) = (self.disk.refused(), Vec::new());
        let evicted = self.with(at, |live, version| {
            ranges = runs.iter().map(|run| version.run(*run)).collect();
            let chosen = indexes(&ranges);
            version.begin(chosen.iter().copied().filter(|index| version.sure.contains(index)).collect::<Vec<_>>());
            live.written.retain(|index| !chosen.contains(index));
            Some(live.file.evict(&ranges))
        });
        let Some(evicted) = evicted else { return Ok(()) };
        let name = self.live[at].as_ref().map(|live| live.name.clone()).unwrap_or_default();
        let evicted = self.allow(evicted, "evict")?;
        self.evicted(at, &name, &ranges, evicted, refused)
    }

    /// Looks at the answer to an eviction.
    fn evicted(
        &mut self,
        at: usize,
        name: &str,
        runs: &[Range<u64>],
        given_back: Option<u64>,
        refused: u64,
    ) -> Result<(), String> {
        let (chosen, is_off) = (indexes(runs), self.disk.is_off());
        let Some(version) = self.objects[at].versions.get_mut(name) else { return Ok(()) };
        if self.disk.refused() > refused {
            // Also while the power goes: the space may have been given back and the journal not been told.
            version.doubtful.extend(chosen.iter().copied().filter(|index| version.maybe.contains(index)));
        }
        let Some(given_back) = given_back else { return Ok(()) };
        version.gone(chosen.iter().copied());
        let expected: u64 = chosen.iter().map(|index| version.bytes(*index).len() as u64).sum();
        let expected = if self.plan.no_holes { 0 } else { expected };
        // Before an object is settled, its last granule is as long as the others.
        if given_back != expected && !is_off && version.ended == Ended::Yes {
            return Err(format!("{given_back} bytes given back, not {expected}"));
        }
        Ok(())
    }

    fn evict_closed(&mut self, at: usize, runs: &[Run]) -> Result<(), String> {
        self.find(at, false)?;
        let Some(Live { name, .. }) = self.live[at].take() else { return Ok(()) };
        let (Some(store), refused) = (&self.store, self.disk.refused()) else { return Ok(()) };
        let Some(version) = self.objects[at].versions.get_mut(&name) else { return Ok(()) };
        let runs: Vec<_> = runs.iter().map(|run| version.run(*run)).collect();
        let chosen: Vec<u64> = indexes(&runs).into_iter().filter(|index| version.sure.contains(index)).collect();
        version.begin(chosen);
        let evicted = store.evict(&id(at), &runs);
        let evicted = self.allow(evicted, "evict")?;
        self.evicted(at, &name, &runs, evicted, refused)
    }

    fn forget(&mut self, at: usize, index: u64) -> Result<(), String> {
        let mut chosen = 0;
        let forgotten = self.with(at, |live, version| {
            let there: Vec<u64> = version.sure.iter().copied().collect();
            chosen = *there.get(index as usize % there.len().max(1))?;
            version.begin([chosen]);
            live.written.remove(&chosen);
            Some(live.file.forget(chosen))
        });
        let Some(forgotten) = forgotten else { return Ok(()) };
        if self.allow(forgotten, "forget a granule")?.is_some() {
            self.with::<()>(at, |_, version| {
                version.gone([chosen]);
                None
            });
        }
        Ok(())
    }

    fn settle(&mut self, at: usize) -> Result<(), String> {
        let settled = self.with(at, |live, version| {
            if version.ended == Ended::Yes {
                return None;
            }
            version.ended = Ended::Perhaps;
            Some(live.file.settle(version.total()))
        });
        let Some(settled) = settled else { return Ok(()) };
        if self.allow(settled, "settle an object")?.is_some()
            && let Some(live) = &self.live[at]
            && let Some(version) = self.objects[at].versions.get_mut(&live.name)
        {
            version.ended = Ended::Yes;
            self.objects[at].only(&live.name);
        }
        Ok(())
    }

    fn update(&mut self, at: usize) -> Result<(), String> {
        self.counter += 1;
        let now = self.counter;
        let updated = self.with(at, |live, version| {
            version.accessed.insert(now);
            Some(live.file.update_meta(|meta| {
                meta.accessed_ms = now;
                meta.unread = vec![(now % 3, 5)];
            }))
        });
        let Some(updated) = updated else { return Ok(()) };
        if self.allow(updated, "update a record")?.is_some()
            && let Some(live) = &self.live[at]
            && let Some(version) = self.objects[at].versions.get_mut(&live.name)
        {
            version.accessed = [now].into();
            self.objects[at].only(&live.name);
        }
        Ok(())
    }

    fn close(&mut self, at: usize, in_peace: bool) -> Result<(), String> {
        if let Some(live) = self.live[at].take()
            && in_peace
        {
            let closed = live.file.close();
            self.allow(closed, "close an object")?;
        }
        Ok(())
    }

    fn remove(&mut self, at: usize) -> Result<(), String> {
        let Some(store) = &self.store else { return Ok(()) };
        let object = &mut self.objects[at];
        object.may_be_absent = true;
        object.versions.values_mut().for_each(|version| version.is_removed = true);
        let removed = store.remove(&id(at));
        self.live[at] = None;
        if self.allow(removed, "remove an object")?.is_none() {
            return Ok(());
        }
        match self.store.as_ref().map(|store| store.load(&id(at))) {
            Some(Ok(Some(_))) => Err("an object was removed and is still there".to_owned()),
            _ => Ok(()),
        }
    }

    fn restart(&mut self) -> Result<(), String> {
        self.live.iter_mut().for_each(|live| *live = None);
        self.start()?;
        if self.store.is_none() {
            return Ok(());
        }
        (0..OBJECTS).try_for_each(|at| self.find(at, false))
    }

    fn probe(&mut self) -> Result<(), String> {
        let Some(store) = &self.store else { return Ok(()) };
        let (probed, used) = (store.probe(), store.usage());
        self.allow(used, "ask for the usage")?;
        self.allow(probed, "probe").map(drop)
    }
}
