//! The origins that bytes come from, and whose turn it is there.
//!
//! Owns: one pool of connections per origin, shared by all objects that fetch from it: its model (`core/cache/origin`),
//! who would like a place and how urgently, and the bandwidth of everything together.
//! Leaves to others: what to fetch (`core/cache/object`), and the requests themselves.
//!
//! Invariant: requests in flight at an origin are never more than its window, but for questions that nobody may be kept
//! waiting for (see [`Pool::turn`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use cache::object::Urgency;
use cache::origin::{Admission, Ended, Limits, Origin as Model, RequestId};
use cache::pace::Pace;
use tokio::sync::Notify;

use crate::live::Live;

/// How long a question about an object (is it still the same?) waits for a place before it is asked anyway.
const QUESTION_PATIENCE: Duration = Duration::from_secs(2);
/// Origins that are remembered while nobody fetches from them, so that what was learned of them is not forgotten between two
/// films.
const MAX_IDLE: usize = 256;
/// How often it is looked whether somebody could begin though nothing was said of it.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// All pools.
pub struct Origins {
    limits: Limits,
    pools: Mutex<HashMap<fetch::Origin, Arc<Pool>>>,
    pace: Mutex<Pace>,
    next: AtomicU64,
}

/// One origin.
pub struct Pool {
    origin: fetch::Origin,
    state: Mutex<State>,
    /// Told when a place may have become free.
    freed: Arc<Notify>,
}

struct State {
    model: Model,
    /// Objects that would fetch if there were a place, and questions that wait.
    waiting: BTreeMap<u64, Waiting>,
    hedges: u64,
}

struct Waiting {
    urgency: Urgency,
    live: Weak<Live>,
}

/// A place at an origin. Given back when dropped.
pub struct Slot {
    pool: Arc<Pool>,
    id: RequestId,
    ended: bool,
    /// Shared by all requests of one upstream.
    requests: Option<Arc<()>>,
}

/// What people are told about an origin.
pub struct Standing {
    pub window: u32,
    pub in_flight: u32,
    pub hedges: u64,
    /// How much longer it asked to be left alone.
    pub quiet: Option<Duration>,
}

impl Origins {
    /// `connections` are allowed at one origin at most; `bytes_per_second` from all of them together.
    pub fn new(connections: usize, bytes_per_second: Option<u64>) -> Arc<Origins> {
        let connections_max = u32::try_from(connections).unwrap_or(u32::MAX).max(1);
        let limits = Limits { connections_max, connections_start: 4.min(connections_max), ..Limits::default() };
        let pace = Mutex::new(Pace::new(bytes_per_second, Instant::now()));
        Arc::new(Origins { limits, pools: Mutex::default(), pace, next: AtomicU64::new(0) })
    }

    /// The pool of an origin.
    pub fn pool(&self, origin: &fetch::Origin) -> Arc<Pool> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(origin) {
            return pool.clone();
        }
        if pools.len() >= MAX_IDLE {
            pools.retain(|_, pool| Arc::strong_count(pool) > 1);
        }
        let state = State { model: Model::new(self.limits.clone()), waiting: BTreeMap::new(), hedges: 0 };
        let pool = Arc::new(Pool { origin: origin.clone(), state: Mutex::new(state), freed: Arc::default() });
        pools.insert(origin.clone(), pool.clone());
        tokio::spawn(keep_waking(Arc::downgrade(&pool), pool.freed.clone()));
        pool
    }

    /// A number for an object, for [`Pool::take`].
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// How long to pause after these bytes, so that all origins together stay within the bandwidth.
    pub fn pace(&self, bytes: u64) -> Duration {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now(), bytes)
    }

    /// Changes the bandwidth of everything together.
    pub fn set_bandwidth(&self, bytes_per_second: Option<u64>) {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).set_rate(Instant::now(), bytes_per_second);
    }
}

impl Pool {
    pub fn origin(&self) -> &fetch::Origin {
        &self.origin
    }

    /// A place for what an object wishes, if it is its turn. If not, it is woken when it may be; `number` names the
    /// object among those that wait here.
    pub fn take(self: &Arc<Self>, number: u64, live: &Weak<Live>, urgency: Urgency) -> Option<Slot> {
        let now = Instant::now();
        let mut state = self.state();
        let more_urgent = state.waiting.iter().any(|(other, waiting)| *other != number && waiting.urgency < urgency);
        let admission = state.model.admits(now, urgent(urgency));
        if admission == Admission::Now && !(more_urgent && urgency > Urgency::Waiting) {
            state.waiting.remove(&number);
            return Some(self.begin(&mut state, now));
        }
        state.waiting.insert(number, Waiting { urgency, live: live.clone() });
        if matches!(admission, Admission::At(_)) {
            // Somebody has to see to it that the end of the silence is noticed.
            self.freed.notify_one();
        }
        None
    }

    /// An object wishes nothing here any more.
    pub fn leave(&self, number: u64) {
        if self.state().waiting.remove(&number).is_some() {
            self.freed.notify_one();
        }
    }

    /// A place for a request that somebody waits for, as soon as there is one. `patience` is for questions that are better
    /// asked beside the window than late; they wait out a silence that the origin asked for, but no longer than that patience.
    pub async fn turn(self: &Arc<Self>, patience: Option<Duration>) -> Slot {
        let begun = Instant::now();
        loop {
            let freed = self.freed.notified();
            let now = Instant::now();
            let wait = {
                let mut state = self.state();
                let late = patience.is_some_and(|patience| now.duration_since(begun) >= patience);
                match state.model.admits(now, true) {
                    Admission::Now => return self.begin(&mut state, now),
                    _ if late => return self.begin(&mut state, now),
                    Admission::At(at) => at.saturating_duration_since(now),
                    Admission::Full => Duration::from_millis(250),
                }
            };
            // Several may wait here and one is told, so each looks again after a while.
            let wait = wait.clamp(Duration::from_millis(5), Duration::from_millis(250));
            let _ = tokio::time::timeout(wait, freed).await;
        }
    }

    /// The same for a question.
    pub async fn question(self: &Arc<Self>) -> Slot {
        self.turn(Some(QUESTION_PATIENCE)).await
    }

    /// A place for a second request beside one that is late, if the budget for that allows it.
    pub fn hedge(self: &Arc<Self>) -> Option<Slot> {
        let now = Instant::now();
        let mut state = self.state();
        let free = matches!(state.model.admits(now, true), Admission::Now);
        if !free || !state.model.take_hedge(now) {
            return None;
        }
        state.hedges += 1;
        metrics::counter!("mediahost_upstream_hedges_total").increment(1);
        Some(self.begin(&mut state, now))
    }

    /// When an answer is late enough to ask a second time.
    pub fn hedge_after(&self) -> Option<Duration> {
        self.state().model.hedge_after()
    }

    /// How long one request should be, bytes.
    pub fn span_length(&self) -> u64 {
        self.state().model.span_length()
    }

    pub fn standing(&self) -> Standing {
        let state = self.state();
        let now = Instant::now();
        Standing {
            window: state.model.window(),
            in_flight: state.model.in_flight(),
            hedges: state.hedges,
            quiet: state.model.quiet_until(now).map(|until| until.saturating_duration_since(now)),
        }
    }

    fn begin(self: &Arc<Self>, state: &mut State, now: Instant) -> Slot {
        Slot { pool: self.clone(), id: state.model.begin(now), ended: false, requests: None }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// It is for a request of somebody who has no others but those that hold `requests`.
    pub fn belongs_to(&mut self, requests: &Arc<()>) {
        self.requests = Some(requests.clone());
    }

    /// Whether others of the same one are under way.
    pub fn has_company(&self) -> bool {
        // One is held by whom they belong to, and one by this.
        self.requests.as_ref().is_some_and(|requests| Arc::strong_count(requests) > 2)
    }

    /// The head of the answer has come.
    pub fn first_byte(&self) {
        self.pool.state().model.first_byte(Instant::now(), self.id);
    }

    /// Bytes of the body have come.
    pub fn received(&self, bytes: u64) {
        self.pool.state().model.received(Instant::now(), self.id, bytes);
    }

    /// The request is over.
    pub fn end(mut self, how: Ended) {
        self.give_back(how);
    }

    fn give_back(&mut self, how: Ended) {
        if !std::mem::replace(&mut self.ended, true) {
            self.pool.state().model.end(Instant::now(), self.id, how);
            self.pool.freed.notify_one();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.give_back(Ended::Cancelled);
    }
}

/// Whether a wish may have the place that is kept for those that cannot wait.
fn urgent(urgency: Urgency) -> bool {
    urgency <= Urgency::Warm
}

/// Wakes who waits, the most urgent first, whenever a place is free. In a task of its own, so that no lock of whoever gives a
/// place back is held meanwhile.
async fn keep_waking(pool: Weak<Pool>, freed: Arc<Notify>) {
    loop {
        let Some((sleepers, quiet)) = pool.upgrade().map(|pool| pool.wakeable()) else { return };
        for live in sleepers {
            live.handle(cache::object::Input::Tick);
        }
        let _ = tokio::time::timeout(quiet.unwrap_or(LOOK_AGAIN), freed.notified()).await;
    }
}

impl Pool {
    /// Who may begin now, the most urgent first; or how long nobody may.
    fn wakeable(&self) -> (Vec<Arc<Live>>, Option<Duration>) {
        let now = Instant::now();
        let mut state = self.state();
        state.waiting.retain(|_, waiting| waiting.live.strong_count() > 0);
        if state.waiting.is_empty() {
            return (Vec::new(), None);
        }
        if let Admission::At(at) = state.model.admits(now, true) {
            return (Vec::new(), Some(at.saturating_duration_since(now).max(Duration::from_millis(1))));
        }
        let free = state.model.window().saturating_sub(state.model.in_flight()) as usize;
        let admitted = |urgency| matches!(state.model.admits(now, urgent(urgency)), Admission::Now);
        let waiting = state.waiting.values().filter(|waiting| admitted(waiting.urgency));
        let mut waiting: Vec<_> = waiting.map(|waiting| (waiting.urgency, waiting.live.clone())).collect();
        waiting.sort_by_key(|(urgency, _)| *urgency);
        (waiting.into_iter().take(free).filter_map(|(_, live)| live.upgrade()).collect(), None)
    }
}
