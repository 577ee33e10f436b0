//! What is known of one origin (scheme, host and port), shared by all objects that are fetched from it.
//!
//! Owns: how many requests it bears at once, how long a request should be, when an answer is late enough to ask a second
//! time, and until when the origin asked to be left alone.
//! Leaves to others: which bytes are asked for, connections, the pause of one span after its own failure, and the clock.
//!
//! Invariant: between 1 and `connections_max` requests are allowed at once; while the origin asks for patience none is
//! admitted; second requests are never more than their share of all requests and a small allowance.
//!
//! A caller asks [`Origin::admits`], says [`Origin::begin`], reports what comes of the request, and says [`Origin::end`]
//! exactly once. Reports on requests that are not known are ignored. After any report it may pay to ask again.

mod hedge;
mod quiet;
mod speed;
#[cfg(test)]
mod tests;
mod window;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hedge::Hedge;
use quiet::Quiet;
use speed::{Sample, Speed};
use window::{Failed, Window};

pub use hedge::BURST as HEDGE_BURST;
pub use quiet::MAX_QUIET;

/// Requests of one origin that are followed at once. What begins beyond them is not counted, and reports on it are ignored.
pub const MAX_IN_FLIGHT: u32 = 64;

/// Bounds of one origin. All lengths are bytes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Requests at once while nothing is known.
    pub connections_start: u32,
    /// Requests at once at most, itself at most [`MAX_IN_FLIGHT`].
    pub connections_max: u32,
    /// Shortest request that is recommended.
    pub span_min: u64,
    /// Longest request that is recommended.
    pub span_max: u64,
    /// Second requests as a share of all requests, 0 to 1.
    pub hedge_share: f64,
    /// An answer that took less than this is never late.
    pub hedge_floor: Duration,
    /// The number of requests is halved at most once in this time.
    pub cooldown: Duration,
    /// How long a number of requests that failed is not tried again. Doubles with each trial that fails.
    pub probe_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_start: 2,
            connections_max: 8,
            span_min: 256 << 10,
            span_max: 16 << 20,
            hedge_share: 0.05,
            hedge_floor: Duration::from_millis(200),
            cooldown: Duration::from_secs(1),
            probe_after: Duration::from_secs(60),
        }
    }
}

/// One request; given out by [`Origin::begin`] and never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Whether a request may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Now,
    /// Not before this moment: the origin asked for patience.
    At(Instant),
    /// Not before something is reported on a request that runs.
    Full,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All that was asked for has come.
    Done,
    /// We stopped it.
    Cancelled,
    /// The connection broke, or nobody answered.
    Broken,
    /// 429 or 503.
    Busy {
        /// The time that the answer asked for.
        retry_after: Option<Duration>,
    },
    /// An answer that says nothing about load, such as 403 or 404.
    Refused,
}

/// The model. See the head of this module.
#[derive(Debug)]
pub struct Origin {
    limits: Limits,
    /// The latest moment that was told. Time that goes backwards stands still here.
    now: Option<Instant>,
    running: BTreeMap<RequestId, Request>,
    next: u64,
    window: Window,
    quiet: Quiet,
    speed: Speed,
    hedge: Hedge,
}

#[derive(Debug)]
struct Request {
    began: Instant,
    first_byte: Option<Instant>,
    sample: Sample,
    /// The most requests that ran at once while it did, itself included.
    peak: u32,
}

impl Origin {
    /// An origin of which nothing is known. Limits that contradict each other are brought in order.
    pub fn new(limits: Limits) -> Self {
        let limits = sane(limits);
        Self {
            now: None,
            running: BTreeMap::new(),
            next: 0,
            window: Window::new(&limits),
            quiet: Quiet::default(),
            speed: Speed::new(limits.span_min..=limits.span_max),
            hedge: Hedge::new(limits.hedge_share, limits.hedge_floor),
            limits,
        }
    }

    /// Whether one more request may begin now. `urgent`: somebody waits for it. The last free place is kept for those,
    /// unless it is the only one. After a refusal one request goes ahead, and the others wait until it is answered.
    pub fn admits(&self, now: Instant, urgent: bool) -> Admission {
        if let Some(until) = self.quiet_until(now) {
            return Admission::At(until);
        }
        let kept = u32::from(!urgent && self.window() > 1);
        match self.in_flight() + kept < self.window() && !self.is_tried() {
            true => Admission::Now,
            false => Admission::Full,
        }
    }

    /// A request begins. It need not have been admitted.
    pub fn begin(&mut self, now: Instant) -> RequestId {
        let now = self.pass(now);
        let id = RequestId(self.next);
        self.next += 1;
        self.hedge.begun();
        if self.in_flight() < MAX_IN_FLIGHT {
            let peak = self.in_flight() + 1;
            self.running.values_mut().for_each(|other| other.peak = other.peak.max(peak));
            self.running.insert(id, Request { began: now, first_byte: None, sample: Sample::from(now), peak });
        }
        id
    }

    /// The first byte of a body that is of use has come. The bodies of refusals are not reported.
    pub fn first_byte(&mut self, now: Instant, id: RequestId) {
        let now = self.pass(now);
        let Some(request) = self.running.get_mut(&id).filter(|request| request.first_byte.is_none()) else { return };
        request.first_byte = Some(now);
        request.sample = Sample::from(now);
        let after = now.saturating_duration_since(request.began);
        self.speed.answered(after);
        self.hedge.answered(after);
        self.quiet.answered(id);
        self.window.answered();
    }

    /// So many bytes of a body have come since the last report.
    pub fn received(&mut self, now: Instant, id: RequestId, bytes: u64) {
        self.first_byte(now, id);
        let now = self.pass(now);
        let Some(request) = self.running.get_mut(&id) else { return };
        self.window.received(bytes);
        if let Some((bytes, time)) = request.sample.add(now, bytes) {
            self.speed.measured(bytes, time);
        }
    }

    /// A request is over.
    pub fn end(&mut self, now: Instant, id: RequestId, how: Ended) {
        let now = self.pass(now);
        let Some(request) = self.running.remove(&id) else { return };
        if let (Ended::Done | Ended::Cancelled, Some((bytes, time))) = (how, request.sample.rest(now)) {
            self.speed.measured(bytes, time);
        }
        let failed = Failed { peak: request.peak, answered: request.first_byte.is_some() };
        match how {
            Ended::Done => {
                self.speed.completed();
                self.window.done(now, id, request.peak);
            }
            Ended::Cancelled if request.first_byte.is_none() => {
                self.hedge.unanswered(now.saturating_duration_since(request.began));
            }
            Ended::Cancelled | Ended::Refused => {}
            // Alone it says that the line or the origin is in trouble, which fewer requests would not help.
            Ended::Broken if self.running.is_empty() => self.window.failed_alone(),
            Ended::Broken => self.window.failed(now, id, failed, self.next),
            Ended::Busy { retry_after } => {
                self.quiet.refused(now, id, retry_after, self.next);
                self.window.failed(now, id, failed, self.next);
            }
        }
    }

    /// How many requests are allowed at once.
    pub fn window(&self) -> u32 {
        self.window.size()
    }

    /// How many requests run, at most [`MAX_IN_FLIGHT`].
    pub fn in_flight(&self) -> u32 {
        // Bounded by `begin`.
        self.running.len() as u32
    }

    /// Until when the origin asked to be left alone, if that is not over; at most [`MAX_QUIET`] after it asked.
    pub fn quiet_until(&self, now: Instant) -> Option<Instant> {
        self.quiet.until().filter(|until| *until > self.now.map_or(now, |latest| latest.max(now)))
    }

    /// How many bytes one request should ask for: enough that waiting for the answer is a tenth of the transfer or less,
    /// and few enough that it takes about 4 s at most. The second wins, and the limits win over both.
    pub fn span_length(&self) -> u64 {
        self.speed.span()
    }

    /// How long a request may be without its first byte before it is late: about the 97th percentile of the last 64.
    /// Not known before there are 8.
    pub fn hedge_after(&self) -> Option<Duration> {
        self.hedge.after()
    }

    /// Whether a second request may be sent to this origin for one that is late, here or at another origin; it is paid
    /// for from the budget then. Never when a request that somebody waits for would not be admitted.
    pub fn take_hedge(&mut self, now: Instant) -> bool {
        let now = self.pass(now);
        self.admits(now, true) == Admission::Now && self.hedge.take()
    }

    /// Bytes per second of one connection, smoothed.
    pub fn rate(&self) -> Option<u64> {
        self.speed.rate()
    }

    /// Time from the beginning of a request to its first byte, smoothed.
    pub fn latency(&self) -> Option<Duration> {
        self.speed.latency()
    }

    /// Notes that time went by, in which what runs now ran.
    fn pass(&mut self, now: Instant) -> Instant {
        let now = self.now.map_or(now, |latest| latest.max(now));
        self.now = Some(now);
        self.window.pass(now, self.in_flight());
        now
    }

    /// Whether a request is out that will tell whether the origin is still busy.
    fn is_tried(&self) -> bool {
        let Some(epoch) = self.quiet.trial() else { return false };
        self.running.range(epoch..).any(|(_, request)| request.first_byte.is_none())
    }

    /// Says which of the promises in the head of this module is broken, for tests.
    pub fn check(&self) -> Result<(), String> {
        self.window.check(&self.limits)?;
        self.speed.check()?;
        self.hedge.check()?;
        let longest = self.now.and_then(|now| now.checked_add(MAX_QUIET));
        if self.quiet.until().is_some_and(|until| longest.is_some_and(|longest| until > longest)) {
            return Err("quiet for longer than the bound".to_owned());
        }
        if self.running.len() > MAX_IN_FLIGHT as usize {
            return Err(format!("{} requests are followed", self.running.len()));
        }
        for (id, request) in &self.running {
            if id.0 >= self.next || request.peak < 1 || request.peak > MAX_IN_FLIGHT {
                return Err(format!("{id:?} cannot be: {request:?}"));
            }
        }
        Ok(())
    }
}

/// Limits that can be kept, whatever was configured.
fn sane(limits: Limits) -> Limits {
    let connections_max = limits.connections_max.clamp(1, MAX_IN_FLIGHT);
    let span_min = limits.span_min.max(1);
    Limits {
        connections_start: limits.connections_start.clamp(1, connections_max),
        connections_max,
        span_min,
        span_max: limits.span_max.max(span_min),
        ..limits
    }
}
