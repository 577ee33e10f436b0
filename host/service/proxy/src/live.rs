//! An object that is open: the machine that decides what to fetch, its bytes, its upstream, and everyone who waits.
//!
//! Locks: `machine` and `shared` are held for short, synchronous sections, never over an await; where both are, `machine`
//! was first. `saving` is held by whoever changes what the journal says, and may be held over an await.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use cache::Granule;
use cache::granule::Hasher;
use cache::object::{Bucket, Input, LeaseId, Limits, Object, Output, ReaderId, SpanId, Standing};
use cache::pace::Pace;
use tokio::sync::{Mutex as AsyncMutex, Notify, watch};
use tokio::task::AbortHandle;

use crate::fault::Fault;
use crate::hold::{Hold, MEMORY, MEMORY_AHEAD};
use crate::keep::Reservation;
use crate::meter::Meter;
use crate::origins::{self, Pool, Slot};
use crate::persist::blocking;
use crate::span;
use crate::upstream::{Route, SAMPLE, Sample, Upstream};
use crate::{Patience, SessionId};

/// Bytes that may wait to be made durable.
const GROUP_BYTES: u64 = 32 << 20;
/// Failures that are remembered. The machine remembers as many failed parts.
const MAX_TROUBLES: usize = 64;
/// How long bytes wait to be made durable.
const GROUP_WAIT: Duration = Duration::from_secs(1);

/// An object that is open. Ends its tasks when the last session lets go of it.
pub struct Live {
    me: Weak<Live>,
    /// Names it where objects wait for a place at an origin.
    number: u64,
    hold: Hold,
    etag: String,
    machine: Mutex<Object>,
    shared: Mutex<Shared>,
    /// Held by whoever writes to the journal, so that nothing is called durable that is just being evicted.
    saving: AsyncMutex<()>,
    /// Rises whenever something may have become readable, or hopeless.
    changes: watch::Sender<u64>,
    deadline: watch::Sender<Option<Instant>>,
    unsaved: Arc<Unsaved>,
    next_reader: AtomicU64,
    /// Set once the upstream has another version: nothing is fetched or served from here any more.
    dead: AtomicBool,
    patience: Patience,
    /// The length is provisional: the upstream did not say it.
    open_ended: AtomicBool,
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
    /// Where it waits for a place.
    waits_at: Option<Arc<Pool>>,
    /// When what failed was last tried again because somebody waits for it.
    retried: Option<Instant>,
    /// How long spans are at the moment.
    span_length: u64,
    /// Bytes go to memory, so that less is fetched ahead.
    straitened: bool,
    pace: Pace,
    /// Bytes per second that each session may fetch.
    bandwidths: HashMap<SessionId, Option<u64>>,
}

/// The permission to begin what the machine wishes.
struct Turn {
    route: Option<Route>,
    /// None when the answer is under way already, or when no connection is needed.
    slot: Option<Slot>,
}

impl Live {
    /// Opens an object that holds `granules` already.
    pub fn new(
        hold: Hold,
        granules: Vec<Granule>,
        upstream: Arc<Upstream>,
        limits: Limits,
        etag: String,
        patience: Patience,
    ) -> Arc<Live> {
        let mut machine = Object::with_geometry(limits, hold.geometry(), granules.iter().copied());
        machine.hold_back(true);
        let meta = hold.meta();
        machine.mark_unread(meta.unread.iter().map(|(start, end)| *start..*end));
        let (open_ended, is_local) = (meta.open_ended, hold.local_file().is_some());
        let live = Arc::new_cyclic(|me| Live {
            me: me.clone(),
            number: upstream.origins().number(),
            hold,
            etag,
            machine: Mutex::new(machine),
            shared: Mutex::new(Shared {
                upstream,
                spans: HashMap::new(),
                tasks: Vec::new(),
                pending: Vec::new(),
                pending_bytes: 0,
                // A file of this machine has no checksums of ours.
                unverified: granules
                    .into_iter()
                    .filter(|_| !is_local)
                    .map(|granule| (granule.index, granule))
                    .collect(),
                fresh: HashSet::new(),
                troubles: VecDeque::new(),
                download: Meter::new(Instant::now()),
                waits_at: None,
                retried: None,
                span_length: 0,
                straitened: false,
                pace: Pace::new(None, Instant::now()),
                bandwidths: HashMap::new(),
            }),
            saving: AsyncMutex::default(),
            changes: watch::Sender::new(0),
            deadline: watch::Sender::new(None),
            unsaved: Arc::default(),
            next_reader: AtomicU64::new(0),
            dead: AtomicBool::new(false),
            patience,
            open_ended: AtomicBool::new(open_ended),
            upstream_bytes: AtomicU64::new(0),
        });
        let clock = tokio::spawn(keep_time(Arc::downgrade(&live), live.deadline.subscribe()));
        let saver = tokio::spawn(keep_saving(Arc::downgrade(&live), live.unsaved.clone()));
        live.shared().tasks = vec![clock.abort_handle(), saver.abort_handle()];
        live
    }

    /// Length in bytes; provisional while [`Live::is_open_ended`].
    pub fn total(&self) -> u64 {
        self.hold.geometry().total()
    }

    /// Whether nobody knows the length yet.
    pub fn is_open_ended(&self) -> bool {
        self.open_ended.load(Ordering::Relaxed)
    }

    /// The length in bytes, once it is known.
    pub fn length(&self) -> Option<u64> {
        if self.is_open_ended() { None } else { Some(self.total()) }
    }

    /// Whether what was taken out of the middle could not be fetched again by itself.
    pub fn is_settling(&self) -> bool {
        self.is_open_ended() || self.upstream().is_sequential()
    }

    /// A strong entity tag: one per version of the bytes (RFC 9110 §8.8.3).
    pub fn etag(&self) -> &str {
        &self.etag
    }

    pub fn hold(&self) -> &Hold {
        &self.hold
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

    /// Has what failed tried again, unless somebody else has had that done within the last so long.
    pub fn retry_now_and_then(self: &Arc<Self>, pause: Duration) {
        let now = Instant::now();
        {
            let mut shared = self.shared();
            if shared.retried.is_some_and(|at| now.duration_since(at) < pause) {
                return;
            }
            shared.retried = Some(now);
        }
        self.handle(Input::Retry);
    }

    /// What a session may fetch, in bytes per second; as many as it likes if none of its kind has a limit. All sessions of an
    /// object share what they may together.
    pub fn set_bandwidth(&self, session: SessionId, bytes_per_second: Option<u64>) {
        let mut shared = self.shared();
        shared.bandwidths.insert(session, bytes_per_second);
        shared.allot();
    }

    /// A session is gone.
    pub fn leave(&self, session: SessionId) {
        let mut shared = self.shared();
        shared.bandwidths.remove(&session);
        shared.allot();
    }

    /// How long to pause after these bytes, so that no bandwidth is exceeded.
    pub fn pace(&self, bytes: u64) -> Duration {
        let mut shared = self.shared();
        let own = shared.pace.take(Instant::now(), bytes);
        own.max(shared.upstream.origins().pace(bytes))
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
            // Cancels come first: each of them makes room.
            while let Output::Cancel { span } = machine.poll_output() {
                if let Some(task) = self.shared().spans.remove(&span) {
                    task.abort();
                }
            }
            let Some(turn) = self.turn(&mut machine) else { break machine.next_deadline() };
            machine.hold_back(false);
            let output = machine.poll_output();
            machine.hold_back(true);
            match output {
                Output::Fetch { span, range } => self.fetch(span, range, turn),
                Output::Cancel { .. } | Output::Wait { .. } => break machine.next_deadline(),
            }
        };
        drop(machine);
        // The clock is woken only for what is due earlier than it knows: the rest it finds when its time has come.
        self.deadline.send_if_modified(|deadline| {
            let earlier = until.is_some_and(|until| deadline.is_none_or(|known| until < known));
            if earlier {
                *deadline = until;
            }
            earlier
        });
        self.changed();
    }

    /// Whether what the machine wishes may begin now. If there is no place for it, it waits for one.
    fn turn(&self, machine: &mut Object) -> Option<Turn> {
        let mut shared = self.shared();
        let Some(mut wish) = machine.wish() else {
            shared.wait_at(None, self.number);
            return None;
        };
        let Some(route) = shared.upstream.route(wish.range.start) else {
            shared.wait_at(None, self.number);
            return Some(Turn { route: None, slot: None });
        };
        let length = route.pool.span_length();
        if std::mem::replace(&mut shared.span_length, length) != length {
            machine.handle_input(Instant::now(), Input::SpanLength { bytes: length });
            wish = machine.wish()?;
        }
        if shared.upstream.primed().is_some_and(|primed| primed.start == wish.range.start) {
            return Some(Turn { route: Some(route), slot: None });
        }
        let slot = route.pool.take(self.number, &self.me, wish.urgency);
        shared.wait_at(slot.is_none().then(|| route.pool.clone()), self.number);
        slot.map(|slot| Turn { route: Some(route), slot: Some(slot) })
    }

    fn fetch(self: &Arc<Self>, span: SpanId, range: Range<u64>, turn: Turn) {
        // The lock is held until the handle is filed, so that a span that ends at once finds it.
        let mut shared = self.shared();
        let begin = turn.route.zip(turn.slot);
        let task = tokio::spawn(span::run(Arc::downgrade(self), shared.upstream.clone(), span, range, begin));
        shared.spans.insert(span, task.abort_handle());
    }

    /// Whether a reader waits for bytes of a span.
    pub fn is_awaited(&self, span: SpanId) -> bool {
        self.machine().is_awaited(span)
    }

    /// A piece of a span has come: writes it, and lets readers have it.
    pub async fn arrived(
        self: &Arc<Self>,
        span: SpanId,
        at: u64,
        pieces: Vec<Bytes>,
        hasher: Hasher,
        room: &Option<Arc<Reservation>>,
    ) -> Result<Hasher, Fault> {
        let length: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let (live, room) = (self.clone(), room.clone());
        let written = blocking(move || live.hold.write(at, &pieces, hasher, room.as_deref())).await?;
        self.upstream_bytes.fetch_add(length, Ordering::Relaxed);
        metrics::counter!("mediahost_upstream_bytes_total").increment(length);
        {
            let mut shared = self.shared();
            shared.download.add(Instant::now(), length);
            for granule in &written.granules {
                shared.fresh.insert(granule.index);
                shared.unverified.remove(&granule.index);
            }
            shared.pending_bytes += written.on_disk.iter().map(|granule| u64::from(granule.length)).sum::<u64>();
            shared.pending.extend_from_slice(&written.on_disk);
            if shared.pending_bytes >= GROUP_BYTES {
                self.unsaved.many.notify_one();
            }
        }
        if !written.on_disk.is_empty() {
            self.unsaved.some.notify_one();
        }
        if !written.granules.is_empty() {
            self.handle(Input::Stored { granules: written.granules });
        }
        self.handle(Input::Arrived { span, end: at + length });
        self.keep_memory_small().await;
        Ok(written.hasher)
    }

    /// Fetches less ahead while bytes go to memory, and lets go of those that nobody is near to.
    async fn keep_memory_small(self: &Arc<Self>) {
        let held = self.hold.in_memory_bytes();
        let straitened = held > 0;
        if std::mem::replace(&mut self.shared().straitened, straitened) != straitened {
            self.handle(Input::AheadAtMost { bytes: straitened.then_some(MEMORY_AHEAD) });
        }
        if held > MEMORY / 2 {
            self.evict(&self.hold.granules_in_memory()).await;
        }
    }

    /// The end of what had no length has come.
    pub async fn settled(self: &Arc<Self>, span: SpanId, total: u64, hasher: &Hasher) -> Result<(), Fault> {
        // What is complete is made durable under the old cut.
        self.flush().await;
        let _saving = self.saving.lock().await;
        let live = self.clone();
        blocking(move || live.hold.settle(total)).await?;
        let last = hasher.settle();
        let last: Vec<Granule> = last.into_iter().collect();
        self.handle(Input::Settled { total });
        if !last.is_empty() {
            let on_disk = self.hold.on_disk(&last);
            self.shared().pending.extend(on_disk);
            self.unsaved.some.notify_one();
            self.handle(Input::Stored { granules: last });
        }
        self.open_ended.store(false, Ordering::Relaxed);
        self.finished(span);
        Ok(())
    }

    /// What is there and what of it may go.
    pub fn standing(&self) -> Standing {
        self.machine().standing()
    }

    /// Gives up granules, but for those that somebody is being handed, is near to, or that are on their way.
    pub async fn evict(self: &Arc<Self>, granules: &[Range<u64>]) {
        let _saving = self.saving.lock().await;
        let taken = self.machine().evict(granules);
        if taken.is_empty() {
            return;
        }
        {
            let gone = |index: u64| taken.iter().any(|run| run.contains(&index));
            let mut shared = self.shared();
            shared.pending.retain(|granule| !gone(granule.index));
            shared.unverified.retain(|index, _| !gone(*index));
            shared.fresh.retain(|index| !gone(*index));
        }
        let (live, leaving) = (self.clone(), taken.clone());
        blocking(move || live.hold.evict(&leaving)).await;
        self.handle(Input::Evicted { granules: taken });
    }

    /// Keeps a range from being evicted for as long as the lease lives; none if it was evicted already.
    pub fn lease(self: &Arc<Self>, range: Range<u64>) -> Option<Lease> {
        let id = self.machine().hold(range)?;
        Some(Lease { live: self.clone(), id })
    }

    /// Bytes that are here, to compare an address with: from the head, the middle and the end of what is there of a range.
    pub async fn samples(self: &Arc<Self>, within: Range<u64>) -> Vec<Sample> {
        let geometry = self.hold.geometry();
        let present: Vec<Range<u64>> = self.standing().present;
        let whole = |run: &Range<u64>| {
            let start = run.start.max(within.start.div_ceil(u64::from(geometry.granule())));
            let end =
                run.end.min(if within.end >= geometry.total() { u64::MAX } else { geometry.index_at(within.end) });
            start..end
        };
        let runs: Vec<Range<u64>> = present.iter().map(whole).filter(|run| run.start < run.end).collect();
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return Vec::new() };
        let middle = &runs[runs.len() / 2];
        let mut indices = vec![first.start, middle.start + (middle.end - middle.start) / 2, last.end - 1];
        indices.dedup();
        let mut samples = Vec::new();
        for index in indices {
            let range = geometry.range_of(index);
            let range = range.start..range.end.min(range.start + SAMPLE);
            samples.extend(self.copy(range.clone()).await.map(|bytes| (range.start, bytes)));
        }
        samples
    }

    /// A copy of bytes that are here and intact; none if they are not.
    pub async fn copy(self: &Arc<Self>, range: Range<u64>) -> Option<Bytes> {
        if range.is_empty() || self.readable(range.start).0 < range.end || self.verify(range.clone()).await < range.end
        {
            return None;
        }
        let lease = self.lease(range.clone())?;
        let live = self.clone();
        let copied = blocking(move || {
            let mut copy = BytesMut::new();
            while copy.len() < (range.end - range.start) as usize {
                let at = range.start + copy.len() as u64;
                copy.extend_from_slice(&live.hold.bytes(at..range.end).ok()?);
            }
            Some(copy.freeze())
        });
        let copied = copied.await;
        drop(lease);
        copied
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
        let missing = self.hold.geometry().floor(missing.start)..missing.end;
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

    /// How long its readers wait.
    pub fn patience(&self) -> Patience {
        self.patience
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

    /// A number for a new reader; none when there are too many. If it is somebody new who wants it, what failed before may
    /// work now.
    pub fn open_reader(self: &Arc<Self>, range: Range<u64>, anew: bool) -> Option<ReaderId> {
        if !self.machine().has_room() {
            return None;
        }
        let reader = ReaderId(self.next_reader.fetch_add(1, Ordering::Relaxed));
        if anew {
            self.handle(Input::Retry);
        }
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
        let geometry = self.hold.geometry();
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
        // What is from an earlier run is in a file.
        let Some(file) = self.hold.file().cloned() else { return range.end };
        let verified = file.clone();
        let checked: Vec<(Granule, bool)> =
            blocking(move || suspects.into_iter().map(|granule| (granule, verified.verify(&granule))).collect()).await;
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
            let file = file.clone();
            if let Err(error) = blocking(move || file.forget(granule.index)).await {
                tracing::warn!(%error, "the damaged part could not be marked as such");
            }
        }
        good
    }

    /// Counts bytes that go to a client; the answer is how many of them were there before anybody waited for them.
    pub fn count_served(&self, range: &Range<u64>) -> u64 {
        let geometry = self.hold.geometry();
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
        let _saving = self.saving.lock().await;
        let granules = {
            let mut shared = self.shared();
            shared.pending_bytes = 0;
            std::mem::take(&mut shared.pending)
        };
        let Some(file) = self.hold.file().filter(|_| !granules.is_empty()).cloned() else { return };
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

    /// What is being waited for while somebody waits for bytes: in words for people.
    pub fn waits_for(&self) -> Option<String> {
        let upstream = self.upstream();
        let at = self.machine().waiting_at()?;
        if let Some(fault) = self.trouble(at) {
            return Some(format!("the upstream: {}", fault.message));
        }
        let standing = upstream.route(at)?.pool.standing();
        Some(match standing.quiet {
            Some(left) => format!("the upstream, which asked to be left alone for {} s more", left.as_secs() + 1),
            None if standing.in_flight >= standing.window => "a free connection to the upstream".to_owned(),
            None => "bytes from the upstream".to_owned(),
        })
    }

    /// The first byte that a reader waits for.
    pub fn waiting_at(&self) -> Option<u64> {
        self.machine().waiting_at()
    }

    /// Whether somebody reads it.
    pub fn is_read(&self) -> bool {
        self.machine().has_readers()
    }

    /// What of a range is here, in order.
    pub fn present(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let missing = self.machine().missing(range.clone());
        let mut at = range.start;
        let mut present = Vec::new();
        for hole in missing {
            present.push(at..hole.start);
            at = hole.end;
        }
        present.push(at..range.end.min(self.total()));
        present.retain(|run| !run.is_empty());
        present
    }

    /// Bytes there, spans under way, bits per second from the upstream, bytes from it.
    pub fn numbers(&self) -> Numbers {
        let (present_bytes, active_workers, complete) = {
            let machine = self.machine();
            (machine.present_bytes(), machine.in_flight().count(), machine.is_complete())
        };
        let origin = self.upstream().route(0).map(|route| (route.pool.origin().to_string(), route.pool.standing()));
        Numbers {
            origin,
            memory_bytes: self.hold.in_memory_bytes(),
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
    /// Where the bytes come from, and how it stands there.
    pub origin: Option<(String, origins::Standing)>,
    /// Bytes that are in memory because the disk does not take them.
    pub memory_bytes: u64,
    pub present_bytes: u64,
    pub active_workers: usize,
    pub complete: bool,
    pub download_bps: u64,
    pub upstream_bytes: u64,
}

/// Keeps bytes from being evicted while they are handed to a client.
pub struct Lease {
    live: Arc<Live>,
    id: LeaseId,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.live.machine().release(self.id);
    }
}

impl Shared {
    /// Waits for a place at one origin, or at none.
    fn wait_at(&mut self, pool: Option<Arc<Pool>>, number: u64) {
        let same = |before: &Arc<Pool>| pool.as_ref().is_some_and(|now| Arc::ptr_eq(before, now));
        if let Some(before) = self.waits_at.take_if(|before| !same(before)) {
            before.leave(number);
        }
        self.waits_at = pool;
    }

    /// Shares of all sessions together; no limit if one of them has none.
    fn allot(&mut self) {
        let all = self.bandwidths.values().copied().try_fold(0u64, |sum, one| Some(sum.saturating_add(one?)));
        self.pace.set_rate(Instant::now(), all.filter(|_| !self.bandwidths.is_empty()));
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.end_tasks();
        let standing = self.machine.get_mut().unwrap_or_else(PoisonError::into_inner).standing();
        let shared = self.shared.get_mut().unwrap_or_else(PoisonError::into_inner);
        shared.tasks.drain(..).for_each(|task| task.abort());
        shared.wait_at(None, self.number);
        let pending = std::mem::take(&mut shared.pending);
        let Some(file) = self.hold.file().cloned() else { return };
        let save = move || {
            let saved = if pending.is_empty() { Ok(()) } else { file.commit(&pending) };
            let unread: Vec<(u64, u64)> = standing.unread.into_iter().map(|run| (run.start, run.end)).collect();
            let note = |meta: &mut cache::Meta| (meta.unread, meta.accessed_ms) = (unread, crate::now_ms());
            if let Err(error) = saved.and_then(|()| file.update_meta(note)).and_then(|()| file.close()) {
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

async fn keep_time(live: Weak<Live>, mut deadline: watch::Receiver<Option<Instant>>) {
    loop {
        let until = *deadline.borrow_and_update();
        let changed = match until {
            None => deadline.changed().await,
            Some(until) => match tokio::time::timeout_at(until.into(), deadline.changed()).await {
                Ok(changed) => changed,
                Err(_) => {
                    let Some(live) = live.upgrade() else { return };
                    live.deadline.send_replace(None);
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
