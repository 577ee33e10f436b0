//! How much of the disk the cache may take, and what goes when it is too much.
//!
//! Owns: the quota, the space that stays free for others, the reservation of room before bytes are asked for, the carrying out
//! of evictions, and the bound on what lies in memory instead.
//! Leaves to others: the choice of what goes (`core/cache/evict`), and whether it may go right now (each open object).
//!
//! Invariant: bytes are written to the disk only under a [`Reservation`], so that several films together stay within the quota.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use cache::evict::{Candidate, Victim, choose};
use store::{ObjectId, Store};
use tokio::sync::{Mutex as AsyncMutex, Notify};

use crate::live::Live;
use crate::persist::blocking;

/// Bytes that may lie in memory for all objects together while the disk takes nothing.
const MEMORY_OF_ALL: u64 = 256 << 20;
/// How long what the file system said of its free space is believed.
const BELIEVED: Duration = Duration::from_secs(1);
/// How long after a vain attempt to make room the next one is made.
const VAIN_PAUSE: Duration = Duration::from_secs(2);
/// Attempts to make room before it is called vain.
const ATTEMPTS: usize = 4;
/// What is evicted beyond what is needed, so that not every span has to: a share of the quota, and at most so much.
const SLACK_SHARE: u64 = 64;
const MAX_SLACK: u64 = 256 << 20;
/// Bytes at the head of every object that are kept like its index.
const HEAD: u64 = 1 << 20;
/// What an object takes beside its bytes, about: its record, its journal and their folder, in blocks.
const OBJECT_BYTES: u64 = 12 << 10;
/// Bytes of a block, in which a file takes its room on the disk.
const BLOCK: u64 = 4096;
/// How often what the cache takes is counted anew.
const RECOUNT: Duration = Duration::from_secs(60);

/// Bounds of what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes that the cache may take on the disk; `None` for as many as there are.
    pub quota: Option<u64>,
    /// Bytes of the file system that stay free.
    pub keep_free: u64,
}

/// Keeps the cache within its bounds.
pub struct Keeper {
    store: Arc<Store>,
    state: Mutex<State>,
    /// Held by whoever makes room.
    making_room: AsyncMutex<()>,
    /// The bounds have changed.
    changed: Arc<Notify>,
    memory: AtomicU64,
}

struct State {
    bounds: Bounds,
    /// What the cache takes, in bytes of real blocks where it was counted, and of what was written since.
    used: u64,
    counted: Option<Instant>,
    /// Promised and not yet written.
    reserved: u64,
    free: Option<(Instant, u64)>,
    vain: Option<Instant>,
    open: HashMap<ObjectId, Weak<Live>>,
}

/// Room on the disk that was promised for bytes on their way. What is not used is given back when it is dropped.
pub struct Reservation {
    keeper: Arc<Keeper>,
    left: AtomicU64,
}

/// What people are told of the disk.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    pub used: u64,
    pub quota: Option<u64>,
    pub free: Option<u64>,
    pub keep_free: u64,
    pub memory: u64,
}

impl Keeper {
    pub fn new(store: Arc<Store>, bounds: Bounds) -> Arc<Keeper> {
        let state = State { bounds, used: 0, counted: None, reserved: 0, free: None, vain: None, open: HashMap::new() };
        Arc::new(Keeper {
            store,
            state: Mutex::new(state),
            making_room: AsyncMutex::default(),
            changed: Arc::default(),
            memory: AtomicU64::new(0),
        })
    }

    pub fn set_bounds(&self, bounds: Bounds) {
        let mut state = self.state();
        (state.bounds, state.vain) = (bounds, None);
        drop(state);
        self.changed.notify_one();
    }

    /// An object was made.
    pub fn made(&self) {
        let mut state = self.state();
        state.used = state.used.saturating_add(OBJECT_BYTES);
    }

    /// An object was opened; it is asked itself what of it may go.
    pub fn opened(&self, id: ObjectId, live: &Arc<Live>) {
        let mut state = self.state();
        state.open.retain(|_, live| live.strong_count() > 0);
        state.open.insert(id, Arc::downgrade(live));
    }

    /// An object that somebody still has open.
    pub fn open_now(&self, id: ObjectId) -> Option<Arc<Live>> {
        self.state().open.get(&id)?.upgrade().filter(|live| !live.is_dead())
    }

    /// Room for so many bytes; others are evicted for it if that is allowed. None if there is no room: then the bytes go by
    /// without being kept.
    pub async fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        if let Some(room) = self.try_reserve(bytes) {
            return Some(room);
        }
        let _one = self.making_room.lock().await;
        if let Some(room) = self.try_reserve(bytes) {
            return Some(room);
        }
        if self.state().vain.is_some_and(|at| at.elapsed() < VAIN_PAUSE) {
            return None;
        }
        for _ in 0..ATTEMPTS {
            let gave = self.make_room(bytes).await;
            // Others may have taken the room meanwhile, for this does not keep them from it.
            if let Some(room) = self.try_reserve(bytes) {
                return Some(room);
            }
            if !gave {
                break;
            }
        }
        self.state().vain = Some(Instant::now());
        None
    }

    fn try_reserve(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        let mut state = self.state();
        state.counted?;
        let now = Instant::now();
        let free = match state.free {
            Some((at, free)) if now.duration_since(at) < BELIEVED => free,
            _ => {
                // One system call, which does not wait for the disk.
                let free = self.store.free().unwrap_or(0);
                state.free = Some((now, free));
                free
            }
        };
        let wanted = state.reserved.saturating_add(bytes);
        let within = state.bounds.quota.is_none_or(|quota| state.used.saturating_add(wanted) <= quota);
        if !within || free < state.bounds.keep_free.saturating_add(wanted) {
            return None;
        }
        state.reserved += bytes;
        Some(Reservation { keeper: self.clone(), left: AtomicU64::new(bytes) })
    }

    /// Evicts what the policy names so that `bytes` more fit, as far as that may go; whether anything went. The caller holds
    /// `making_room`.
    async fn make_room(&self, bytes: u64) -> bool {
        self.count().await;
        let need = {
            let state = self.state();
            let wanted = state.reserved.saturating_add(bytes);
            let over = state.bounds.quota.map_or(0, |quota| state.used.saturating_add(wanted).saturating_sub(quota));
            let short =
                state.free.map_or(0, |(_, free)| state.bounds.keep_free.saturating_add(wanted).saturating_sub(free));
            let need = over.max(short);
            let slack = (state.bounds.quota.unwrap_or(u64::MAX) / SLACK_SHARE).min(MAX_SLACK);
            if need == 0 { 0 } else { need.saturating_add(slack) }
        };
        if need == 0 {
            return true;
        }
        let open: BTreeMap<ObjectId, Arc<Live>> =
            self.state().open.iter().filter_map(|(id, live)| Some((*id, live.upgrade()?))).collect();
        let in_use: Vec<Candidate<ObjectId>> = open.iter().map(|(id, live)| candidate_of(*id, live)).collect();
        let store = self.store.clone();
        let victims = blocking(move || {
            let mut candidates = in_use;
            candidates.extend(closed(&store, &candidates, need));
            choose(&candidates, need)
        })
        .await;
        let any = !victims.is_empty();
        for victim in victims {
            metrics::counter!("mediahost_cache_evicted_granules_total")
                .increment(victim.granules.iter().map(|run| run.end - run.start).sum());
            match open.get(&victim.id) {
                Some(live) => live.evict(&victim.granules).await,
                None => self.evict_closed(victim).await,
            }
        }
        self.count().await;
        any
    }

    async fn stay_within(&self) {
        let _one = self.making_room.lock().await;
        self.make_room(0).await;
    }

    async fn evict_closed(&self, victim: Victim<ObjectId>) {
        let store = self.store.clone();
        let evicted = blocking(move || match victim.whole {
            true => store.remove(&victim.id),
            false => store.evict(&victim.id, &victim.granules).map(drop),
        });
        if let Err(error) = evicted.await {
            tracing::warn!(%error, "a cached object could not be made smaller");
        }
    }

    /// Counts what is really taken on the disk.
    pub async fn count(&self) {
        let store = self.store.clone();
        let (used, free) = blocking(move || (store.usage(), store.free())).await;
        let now = Instant::now();
        let mut state = self.state();
        match used {
            Ok(used) => state.used = used,
            Err(error) => tracing::warn!(%error, "the size of the cache cannot be told"),
        }
        (state.counted, state.free) = (Some(now), free.ok().map(|free| (now, free)));
        drop(state);
        let standing = self.standing();
        metrics::gauge!("mediahost_cache_bytes").set(standing.used as f64);
    }

    /// Counts from time to time, and when the bounds have changed, and evicts what is too much; for as long as the keeper
    /// lives.
    pub async fn keep_within(keeper: Weak<Keeper>) {
        let mut pause = VAIN_PAUSE / 2;
        loop {
            let Some(keeper) = keeper.upgrade() else { return };
            keeper.stay_within().await;
            // What is in use now may go soon, and a look at everything is not free.
            pause = if keeper.state().is_over() { pause.saturating_mul(2).min(RECOUNT) } else { RECOUNT };
            let changed = keeper.changed.clone();
            drop(keeper);
            if tokio::time::timeout(pause, changed.notified()).await.is_ok() || pause == RECOUNT {
                pause = VAIN_PAUSE / 2;
            }
        }
    }

    /// What is believed of the disk may be wrong.
    pub fn look_again(&self) {
        self.state().free = None;
    }

    pub fn gave_back(&self, bytes: u64) {
        let mut state = self.state();
        state.used = state.used.saturating_sub(bytes);
        state.free = None;
    }

    /// Whether so many more bytes may lie in memory.
    pub fn take_memory(&self, bytes: u64) -> bool {
        let within = |held: u64| Some(held + bytes).filter(|held| *held <= MEMORY_OF_ALL);
        self.memory.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
    }

    pub fn forget_memory(&self, bytes: u64) {
        self.memory.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub fn standing(&self) -> Standing {
        let state = self.state();
        Standing {
            used: state.used,
            quota: state.bounds.quota,
            free: state.free.map(|(_, free)| free),
            keep_free: state.bounds.keep_free,
            memory: self.memory.load(Ordering::Relaxed),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_over(&self) -> bool {
        self.bounds.quota.is_some_and(|quota| self.used > quota)
    }
}

impl Reservation {
    /// How many bytes of it are not written yet.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// So many of the promised bytes are on the disk now, at this offset.
    pub fn wrote(&self, at: u64, bytes: u64) {
        let left = self.left.load(Ordering::Relaxed);
        let used = left.min(bytes);
        self.left.fetch_sub(used, Ordering::Relaxed);
        let mut state = self.keeper.state();
        state.reserved = state.reserved.saturating_sub(used);
        // Blocks that were begun, so that what is written piece by piece counts once.
        let blocks = (at.saturating_add(bytes).div_ceil(BLOCK) - at.div_ceil(BLOCK)).saturating_mul(BLOCK);
        state.used = state.used.saturating_add(blocks);
        if let Some((_, free)) = &mut state.free {
            *free = free.saturating_sub(blocks);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.keeper.state();
        state.reserved = state.reserved.saturating_sub(self.left.load(Ordering::Relaxed));
    }
}

fn candidate_of(id: ObjectId, live: &Live) -> Candidate<ObjectId> {
    let standing = live.standing();
    let meta = live.hold().meta();
    Candidate {
        id,
        accessed_ms: crate::now_ms(),
        granule: meta.granule_size,
        index: index_of(&meta),
        present: standing.present,
        unread: standing.unread,
        held: standing.held,
        in_use: true,
        // What cannot be fetched again a second time in the middle is not taken out of it.
        pinned: live.is_settling(),
    }
}

/// Objects that nobody has open, the oldest first, and as many of them as could be needed.
fn closed(store: &Store, open: &[Candidate<ObjectId>], need: u64) -> Vec<Candidate<ObjectId>> {
    let mut listed = store.list().unwrap_or_else(|error| {
        tracing::warn!(%error, "the cache cannot be listed");
        Vec::new()
    });
    listed.retain(|object| !object.in_use && !open.iter().any(|candidate| candidate.id == object.id));
    listed.sort_by_key(|object| (object.meta.accessed_ms, object.id));
    let (mut enough, mut found) = (0u64, Vec::new());
    for object in listed {
        // Twice what is needed: indices go last, so the next object may have to give first.
        if enough >= need.saturating_mul(2) {
            break;
        }
        let Ok(Some(contents)) = store.contents(&object.id) else { continue };
        enough = enough.saturating_add(contents.allocated);
        if contents.present.is_empty() {
            // Nothing of it is left but its name, which takes room too.
            if let Err(error) = store.remove(&object.id) {
                tracing::warn!(%error, "an object that holds nothing cannot be removed");
            }
            continue;
        }
        let granule = contents.meta.granule_size;
        let unread = contents.meta.unread.iter().map(|(start, end)| *start..*end).collect();
        found.push(Candidate {
            id: object.id,
            accessed_ms: contents.meta.accessed_ms,
            granule,
            index: index_of(&contents.meta),
            present: contents.present,
            unread,
            held: Vec::new(),
            in_use: false,
            pinned: false,
        });
    }
    found
}

/// The granules of an object that a player needs first.
fn index_of(meta: &cache::Meta) -> Vec<Range<u64>> {
    let head = 0..HEAD.div_ceil(u64::from(meta.granule_size.max(1)));
    std::iter::once(head).chain(meta.protected.iter().map(|(start, end)| *start..*end)).collect()
}
