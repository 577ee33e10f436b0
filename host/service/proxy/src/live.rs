//! An object that is open: the machine that decides what to fetch, its file, its upstream, and everyone who waits.
//!
//! Locks: `machine` and `shared` are held for short, synchronous sections, never over an await; where both are, `machine`
//! was first.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache::Granule;
use cache::object::{Bucket, Input, Limits, Object, Output, ReaderId, SpanId};
use store::ObjectFile;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use crate::fault::Fault;
use crate::meter::Meter;
use crate::persist::blocking;
use crate::span;
use crate::upstream::Upstream;

/// Bytes that may wait to be made durable.
const GROUP_BYTES: u64 = 32 << 20;
/// Failures that are remembered. The machine remembers as many failed parts.
const MAX_TROUBLES: usize = 64;
/// How long bytes wait to be made durable.
const GROUP_WAIT: Duration = Duration::from_secs(1);

/// An object that is open. Ends its tasks when the last session lets go of it.
pub struct Live {
    file: Arc<ObjectFile>,
    etag: String,
    machine: Mutex<Object>,
    shared: Mutex<Shared>,
    /// Rises whenever something may have become readable, or hopeless.
    changes: watch::Sender<u64>,
    deadline: watch::Sender<Option<Instant>>,
    unsaved: Arc<Unsaved>,
    next_reader: AtomicU64,
    /// Set once the upstream has another version: nothing is fetched or served from here any more.
    dead: AtomicBool,
    upstream_bytes: AtomicU64,
}

struct Shared {
    upstream: Arc<Upstream>,
    spans: HashMap<SpanId, AbortHandle>,
    tasks: Vec<AbortHandle>,
    /// Complete, checksummed and not yet durable.
    pending: Vec<Granule>,
    pending_bytes: u64,
    /// From an earlier run, not yet compared with their checksums.
    unverified: HashMap<u64, Granule>,
    /// Fetched in this run and not yet handed to a client.
    fresh: HashSet<u64>,
    /// Why spans failed that were not tried again since, the newest last.
    troubles: VecDeque<(Range<u64>, Fault)>,
    download: Meter,
}

impl Live {
    /// Opens a file that holds `granules` already.
    pub fn new(
        file: Arc<ObjectFile>,
        granules: Vec<Granule>,
        upstream: Arc<Upstream>,
        limits: Limits,
        etag: String,
    ) -> Arc<Live> {
        let machine = Object::with_geometry(limits, file.geometry(), granules.iter().copied());
        let live = Arc::new(Live {
            etag,
            machine: Mutex::new(machine),
            shared: Mutex::new(Shared {
                upstream,
                spans: HashMap::new(),
                tasks: Vec::new(),
                pending: Vec::new(),
                pending_bytes: 0,
                unverified: granules.into_iter().map(|granule| (granule.index, granule)).collect(),
                fresh: HashSet::new(),
                troubles: VecDeque::new(),
                download: Meter::new(Instant::now()),
            }),
            changes: watch::Sender::new(0),
            deadline: watch::Sender::new(None),
            unsaved: Arc::default(),
            next_reader: AtomicU64::new(0),
            dead: AtomicBool::new(false),
            upstream_bytes: AtomicU64::new(0),
            file,
        });
        let clock = tokio::spawn(keep_time(Arc::downgrade(&live), live.deadline.subscribe()));
        let saver = tokio::spawn(keep_saving(Arc::downgrade(&live), live.unsaved.clone()));
        live.shared().tasks = vec![clock.abort_handle(), saver.abort_handle()];
        live
    }

    pub fn total(&self) -> u64 {
        self.file.geometry().total()
    }

    /// A strong entity tag: one per version of the bytes (RFC 9110 §8.8.3).
    pub fn etag(&self) -> &str {
        &self.etag
    }

    pub fn file(&self) -> &Arc<ObjectFile> {
        &self.file
    }

    pub fn upstream(&self) -> Arc<Upstream> {
        self.shared().upstream.clone()
    }

    /// Goes on with another plan for the same bytes.
    pub fn set_upstream(self: &Arc<Self>, upstream: Arc<Upstream>) {
        let mut shared = self.shared();
        shared.upstream = upstream;
        shared.troubles.clear();
        drop(shared);
        self.handle(Input::Retry);
    }

    /// Tells the machine what happened, and does what it says.
    pub fn handle(self: &Arc<Self>, input: Input) {
        if self.is_dead() {
            return;
        }
        // What the machine says is done in the order in which it says it: the lock is held meanwhile.
        let mut machine = self.machine();
        machine.handle_input(Instant::now(), input);
        let until = loop {
            match machine.poll_output() {
                Output::Fetch { span, range } => self.fetch(span, range),
                Output::Cancel { span } => {
                    if let Some(task) = self.shared().spans.remove(&span) {
                        task.abort();
                    }
                }
                Output::Wait { until } => break until,
            }
        };
        drop(machine);
        self.deadline.send_if_modified(|deadline| std::mem::replace(deadline, until) != until);
        self.changed();
    }

    fn fetch(self: &Arc<Self>, span: SpanId, range: Range<u64>) {
        // The lock is held until the handle is filed, so that a span that ends at once finds it.
        let mut shared = self.shared();
        let task = tokio::spawn(span::run(Arc::downgrade(self), shared.upstream.clone(), span, range));
        shared.spans.insert(span, task.abort_handle());
    }

    /// A piece of a span has come: writes it, and lets readers have it.
    pub async fn arrived(
        self: &Arc<Self>,
        span: SpanId,
        at: u64,
        pieces: Vec<Bytes>,
        hasher: cache::granule::Hasher,
    ) -> Result<cache::granule::Hasher, Fault> {
        let file = self.file.clone();
        let length: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let written = blocking(move || write(&file, at, &pieces, hasher)).await;
        let (hasher, granules) = written?;
        self.upstream_bytes.fetch_add(length, Ordering::Relaxed);
        metrics::counter!("mediahost_upstream_bytes_total").increment(length);
        {
            let mut shared = self.shared();
            shared.download.add(Instant::now(), length);
            for granule in &granules {
                shared.fresh.insert(granule.index);
                shared.unverified.remove(&granule.index);
                shared.pending_bytes += u64::from(granule.length);
            }
            shared.pending.extend_from_slice(&granules);
            if shared.pending_bytes >= GROUP_BYTES {
                self.unsaved.many.notify_one();
            }
        }
        if !granules.is_empty() {
            self.unsaved.some.notify_one();
            self.handle(Input::Stored { granules });
        }
        self.handle(Input::Arrived { span, end: at + length });
        Ok(hasher)
    }

    /// A span has ended well.
    pub fn finished(self: &Arc<Self>, span: SpanId) {
        self.shared().spans.remove(&span);
        self.handle(Input::Finished { span });
    }

    /// A span that followed `upstream` could not go on; `missing` is what it did not bring.
    pub fn failed(self: &Arc<Self>, span: SpanId, upstream: &Arc<Upstream>, missing: Range<u64>, fault: Fault) {
        let changed = fault.is_change();
        let mut shared = self.shared();
        shared.spans.remove(&span);
        if !Arc::ptr_eq(&shared.upstream, upstream) && !changed {
            // It was refused with credentials that have been replaced meanwhile: what is missing is asked for anew.
            drop(shared);
            return self.handle(Input::Finished { span });
        }
        if shared.troubles.len() >= MAX_TROUBLES {
            shared.troubles.pop_front();
        }
        // What had come of an incomplete granule is missing again too.
        let missing = self.file.geometry().floor(missing.start)..missing.end;
        shared.troubles.push_back((missing, fault));
        drop(shared);
        if changed {
            self.retire();
        } else {
            self.handle(Input::Failed { span, retry_at: None });
        }
    }

    /// The upstream has another version. What was read so far was of one version; nothing more is.
    pub fn retire(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.end_tasks();
        self.changed();
    }

    /// Makes everyone who waits look again.
    pub fn wake(&self) {
        self.changed();
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Why the byte at `offset` could not be fetched; of a retired object, why it was retired.
    pub fn trouble(&self, offset: u64) -> Option<Fault> {
        let shared = self.shared();
        let about = |(range, fault): &&(Range<u64>, Fault)| range.contains(&offset) || fault.is_change();
        shared.troubles.iter().rev().find(about).map(|(_, fault)| fault.clone())
    }

    /// A number for a new reader; none when there are too many.
    pub fn open_reader(self: &Arc<Self>, range: Range<u64>) -> Option<ReaderId> {
        if !self.machine().has_room() {
            return None;
        }
        let reader = ReaderId(self.next_reader.fetch_add(1, Ordering::Relaxed));
        // Someone new wants it: what failed before may work now.
        self.handle(Input::Retry);
        self.handle(Input::Open { reader, range });
        Some(reader)
    }

    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Where the run of readable bytes at `offset` ends, and whether waiting for more there is hopeless.
    pub fn readable(&self, offset: u64) -> (u64, bool) {
        let machine = self.machine();
        let end = machine.readable(offset);
        let hopeless = end == offset && machine.failed(offset).is_some_and(|failure| failure.retry_at.is_none());
        (end, hopeless || self.is_dead())
    }

    /// Whether some part of a range will not come by itself.
    pub fn hopeless(&self, range: &Range<u64>) -> bool {
        let machine = self.machine();
        let missing = machine.missing(range.clone());
        let given_up = |part: &Range<u64>| machine.failed(part.start).is_some_and(|failure| failure.retry_at.is_none());
        missing.iter().any(given_up) || self.is_dead()
    }

    /// Why some part of a range could not be fetched.
    pub fn missing_trouble(&self, range: &Range<u64>) -> Option<Fault> {
        let missing = self.machine().missing(range.clone());
        missing.iter().find_map(|part| self.trouble(part.start))
    }

    /// Compares granules of an earlier run with their checksums before their first use. Those that do not match are
    /// fetched again; the answer is where the good bytes from `range.start` on end.
    pub async fn verify(self: &Arc<Self>, range: Range<u64>) -> u64 {
        let geometry = self.file.geometry();
        let suspects: Vec<Granule> = {
            let shared = self.shared();
            if shared.unverified.is_empty() {
                return range.end;
            }
            (geometry.index_at(range.start)..=geometry.index_at(range.end - 1))
                .filter_map(|index| shared.unverified.get(&index).copied())
                .collect()
        };
        if suspects.is_empty() {
            return range.end;
        }
        let file = self.file.clone();
        let checked: Vec<(Granule, bool)> =
            blocking(move || suspects.into_iter().map(|granule| (granule, file.verify(&granule))).collect()).await;
        let mut good = range.end;
        for (granule, sound) in checked {
            if sound {
                self.shared().unverified.remove(&granule.index);
                continue;
            }
            good = good.min(geometry.range_of(granule.index).start.max(range.start));
            // Another reader may have come to the same end meanwhile, and the good bytes may be there already.
            if !self.shared().unverified.contains_key(&granule.index) {
                continue;
            }
            tracing::warn!(granule = granule.index, "a cached part is damaged and is fetched again");
            metrics::counter!("mediahost_cache_damaged_total").increment(1);
            // In this order nobody can find it both present and beyond suspicion.
            self.handle(Input::Lost { granule: granule.index });
            self.shared().unverified.remove(&granule.index);
            let file = self.file.clone();
            if let Err(error) = blocking(move || file.forget(granule.index)).await {
                tracing::warn!(%error, "the damaged part could not be marked as such");
            }
        }
        good
    }

    /// Counts bytes that go to a client; the answer is how many of them were there before anybody waited for them.
    pub fn count_served(&self, range: &Range<u64>) -> u64 {
        let geometry = self.file.geometry();
        let mut shared = self.shared();
        let length = range.end - range.start;
        if shared.fresh.is_empty() {
            return length;
        }
        let mut fetched = 0;
        for index in geometry.index_at(range.start)..=geometry.index_at(range.end - 1) {
            let granule = geometry.range_of(index);
            let part = granule.end.min(range.end) - granule.start.max(range.start);
            // Served to its end once, it counts as cached from then on.
            if shared.fresh.contains(&index) {
                fetched += part;
                if granule.end <= range.end {
                    shared.fresh.remove(&index);
                }
            }
        }
        length - fetched
    }

    /// Makes everything that is complete durable.
    pub async fn flush(&self) {
        let granules = {
            let mut shared = self.shared();
            shared.pending_bytes = 0;
            std::mem::take(&mut shared.pending)
        };
        if granules.is_empty() {
            return;
        }
        let file = self.file.clone();
        let committed = granules.clone();
        match blocking(move || file.commit(&committed)).await {
            Ok(()) => self.machine().handle_input(Instant::now(), Input::Durable { granules }),
            Err(error) => {
                tracing::warn!(%error, "fetched bytes could not be made durable; they are served until the end of this run")
            }
        }
    }

    pub fn picture(&self, buckets: usize) -> Vec<Bucket> {
        self.machine().picture(buckets)
    }

    /// Bytes there, spans under way, bits per second from the upstream, bytes from it.
    pub fn numbers(&self) -> Numbers {
        let (present_bytes, active_workers, complete) = {
            let machine = self.machine();
            (machine.present_bytes(), machine.in_flight().count(), machine.is_complete())
        };
        Numbers {
            present_bytes,
            active_workers,
            complete,
            download_bps: self.shared().download.bits_per_second(Instant::now()),
            upstream_bytes: self.upstream_bytes.load(Ordering::Relaxed),
        }
    }

    /// How many bytes lie ready from `offset` on.
    pub fn ahead(&self, offset: u64) -> u64 {
        self.machine().readable(offset) - offset
    }

    /// Whether all of a range is cached.
    pub fn is_present(&self, range: Range<u64>) -> bool {
        self.machine().is_present(range)
    }

    fn end_tasks(&self) {
        let mut shared = self.shared();
        shared.spans.drain().for_each(|(_, task)| task.abort());
    }

    fn changed(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    fn machine(&self) -> MutexGuard<'_, Object> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What there is to say about an open object.
pub struct Numbers {
    pub present_bytes: u64,
    pub active_workers: usize,
    pub complete: bool,
    pub download_bps: u64,
    pub upstream_bytes: u64,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.end_tasks();
        let shared = self.shared.get_mut().unwrap_or_else(PoisonError::into_inner);
        shared.tasks.drain(..).for_each(|task| task.abort());
        let (file, pending) = (self.file.clone(), std::mem::take(&mut shared.pending));
        let save = move || {
            let saved = if pending.is_empty() { Ok(()) } else { file.commit(&pending) };
            if let Err(error) = saved.and_then(|()| file.close()) {
                tracing::warn!(%error, "fetched bytes could not be made durable");
            }
        };
        // Outside of the runtime nobody is kept waiting.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(save)),
            Err(_) => save(),
        }
    }
}

fn write(
    file: &ObjectFile,
    at: u64,
    pieces: &[Bytes],
    mut hasher: cache::granule::Hasher,
) -> Result<(cache::granule::Hasher, Vec<Granule>), Fault> {
    let (mut at, mut granules) = (at, Vec::new());
    for piece in pieces {
        file.write_at(at, piece)?;
        let done = hasher.push(at, piece).map_err(|error| Fault::new(plugin::code::INTERNAL, error.to_string()))?;
        granules.extend(done);
        at += piece.len() as u64;
    }
    Ok((hasher, granules))
}

async fn keep_time(live: Weak<Live>, mut deadline: watch::Receiver<Option<Instant>>) {
    loop {
        let until = *deadline.borrow_and_update();
        let changed = match until {
            None => deadline.changed().await,
            Some(until) => match tokio::time::timeout_at(until.into(), deadline.changed()).await {
                Ok(changed) => changed,
                Err(_) => {
                    let Some(live) = live.upgrade() else { return };
                    live.handle(Input::Tick);
                    Ok(())
                }
            },
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Says when granules wait to be made durable, and when they are so many that waiting for more is wrong.
#[derive(Default)]
struct Unsaved {
    some: Notify,
    many: Notify,
}

async fn keep_saving(live: Weak<Live>, unsaved: Arc<Unsaved>) {
    loop {
        unsaved.some.notified().await;
        let _ = tokio::time::timeout(GROUP_WAIT, unsaved.many.notified()).await;
        let Some(live) = live.upgrade() else { return };
        live.flush().await;
    }
}
