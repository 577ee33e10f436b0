//! One span: bytes from the upstream into the file, resumed where they broke off, until all have come or nothing helps.

use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use cache::granule::Hasher;
use cache::object::SpanId;
use cache::upstream::MAX_ALIASES;

use crate::fault::Fault;
use crate::keep::{Keeper, Reservation};
use crate::live::Live;
use crate::now_ms;
use crate::origins::Slot;
use crate::pull::Pull;
use crate::upstream::{Route, Sample, Upstream};

/// Attempts in a row that brought nothing before a span is given up.
const ATTEMPTS: u32 = 5;
/// Refusals in a row that may be meant for the number of connections. By then there are few.
const REFUSALS: u32 = 4;
/// The pause after the first of them; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest that an upstream's `Retry-After` is waited for here.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Bytes that are gathered, while they come without waiting, before they are written in one go.
const GATHER: usize = 512 << 10;
/// Room on the disk that is asked for in one go, bytes.
const ROOM: u64 = 2 << 20;
/// Bytes that an answer which begins too early has to repeat.
const OVERLAP: u64 = 16 << 10;

/// Fetches `range` and reports to the object, for as long as that exists. `begin` is the place for the first request.
pub async fn run(
    live: Weak<Live>,
    upstream: Arc<Upstream>,
    span: SpanId,
    range: Range<u64>,
    begin: Option<(Route, Slot)>,
) {
    let Some((geometry, keeper)) = live.upgrade().map(|live| (live.hold().geometry(), live.hold().keeper().clone()))
    else {
        return;
    };
    let _watch = Watch { live: live.clone(), upstream: upstream.clone(), span, range: range.clone() };
    let hasher = Hasher::new(geometry, range.start);
    let mut work = Work { live, upstream, span, at: range.start, end: range.end, hasher, keeper, room: None, begin };
    let result = work.fetch().await;
    let Some(live) = work.live.upgrade() else { return };
    let result = match result {
        Ok(End::Filled) => return live.finished(span),
        // Where the bytes ended is the length of what had none.
        Ok(End::OfFile) => live.settled(span, work.at, &work.hasher).await,
        Err(fault) => Err(fault),
    };
    if let Err(fault) = result {
        tracing::debug!(at = work.at, code = fault.code, "a span failed: {}", fault.message);
        live.failed(span, &work.upstream, work.at..work.end, fault);
    }
}

/// Reports a span that ends in a panic, so that nobody waits for it. A panic is a fault of ours; the session is told.
struct Watch {
    live: Weak<Live>,
    upstream: Arc<Upstream>,
    span: SpanId,
    range: Range<u64>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let (true, Some(live)) = (std::thread::panicking(), self.live.upgrade()) {
            let fault = Fault::new(plugin::code::INTERNAL, "a fault of the program ended the fetching of this part");
            live.failed(self.span, &self.upstream, self.range.clone(), fault);
        }
    }
}

/// A span being fetched.
struct Work {
    live: Weak<Live>,
    upstream: Arc<Upstream>,
    span: SpanId,
    at: u64,
    end: u64,
    hasher: Hasher,
    keeper: Arc<Keeper>,
    /// Room on the disk for what comes next.
    room: Option<Arc<Reservation>>,
    begin: Option<(Route, Slot)>,
}

/// How a span ended well.
enum End {
    /// Everything has come.
    Filled,
    /// The file ended, and nobody had said where.
    OfFile,
}

impl Work {
    /// Attempts, with pauses and renewals between them. An attempt that brought bytes starts the count anew.
    async fn fetch(&mut self) -> Result<End, Fault> {
        let (mut failures, mut refusals) = (0, 0);
        let mut renewed = None;
        while self.at < self.end {
            let (before, epoch) = (self.at, self.upstream.epoch());
            let fault = match self.attempt().await {
                Ok(None) => continue,
                Ok(Some(end)) => return Ok(end),
                Err(fault) => fault,
            };
            if self.at > before {
                (failures, refusals) = (0, 0);
            }
            refusals += u32::from(fault.retryable && fault.upstream_status == Some(403));
            let fault = if refusals >= REFUSALS { as_refused(fault) } else { fault };
            if let Some(reason) = fault.renew {
                // Renewed once already, and refused again: the user has to help.
                if renewed == Some(epoch) || renewed.is_some() && self.at == before {
                    return Err(fault);
                }
                let segment = self.upstream.plan().at(self.at).unwrap_or(0);
                self.upstream
                    .renew(epoch, reason, fault.upstream_status, segment)
                    .await
                    .map_err(|refused| worse(fault, refused))?;
                renewed = Some(epoch);
                continue;
            }
            failures += 1;
            if !fault.retryable || fault.asks_for_more_than(MAX_PAUSE) || failures >= ATTEMPTS {
                return Err(fault);
            }
            metrics::counter!("mediahost_upstream_retries_total").increment(1);
            tokio::time::sleep(pause(failures, &fault)).await;
        }
        Ok(End::Filled)
    }

    /// One connection's worth: from where the span stands to the end of the segment, or as far as it goes.
    async fn attempt(&mut self) -> Result<Option<End>, Fault> {
        let beyond = || Fault::new("plugin-fault", "the plan ends before the bytes that it promised");
        let segment = self.upstream.plan().at(self.at).ok_or_else(beyond)?;
        self.upstream.renew_before_expiry(now_ms(), segment).await;
        // A renewed plan has the same segments.
        let plan = self.upstream.plan();
        let segment_end = plan.segments()[segment].length.map_or(u64::MAX, |length| plan.start(segment) + length);
        let range = self.at..self.end.min(segment_end);
        let mut pull = match self.upstream.take_primed(&range) {
            Some(pull) => pull,
            None => self.connect(segment, range).await?,
        };
        while let Some(first) = pull.next().await? {
            let (pieces, broke) = gather(first, &mut pull);
            let length: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
            self.make_room(length).await;
            let Some(live) = self.live.upgrade() else { return Ok(None) };
            // The hasher travels to the thread that writes, and back. When writing fails the span is over.
            let hasher = std::mem::replace(&mut self.hasher, Hasher::new(live.hold().geometry(), self.at));
            self.hasher = live.arrived(self.span, self.at, pieces, hasher, &self.room).await?;
            self.at += length;
            let pause = live.pace(length);
            drop(live);
            if let Some(fault) = broke {
                return Err(fault);
            }
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        Ok(pull.has_ended().then_some(End::OfFile))
    }

    /// Sees to it that there is room on the disk for what has come, a good piece at a time. Without room it goes to memory.
    async fn make_room(&mut self, length: u64) {
        if self.room.as_ref().is_some_and(|room| room.left() >= length) {
            return;
        }
        self.room = None;
        let wanted = length.max(ROOM.min(self.end - self.at));
        let room = match self.keeper.reserve(wanted).await {
            None if length < wanted => self.keeper.reserve(length).await,
            room => room,
        };
        self.room = room.map(Arc::new);
    }

    /// An answer for the range, over the best way that gives one.
    async fn connect(&mut self, segment: usize, range: Range<u64>) -> Result<Pull, Fault> {
        let routes = self.upstream.routes(range.start);
        if routes.is_empty() {
            return self.upstream.pull(segment, range);
        }
        let mut worst: Option<Fault> = None;
        let mut begin = self.begin.take();
        for route in routes {
            let slot = match begin.take_if(|(begun, _)| Arc::ptr_eq(&begun.pool, &route.pool)) {
                Some((_, slot)) => slot,
                None => route.pool.turn(None).await,
            };
            match self.over(&route, range.clone(), slot).await {
                Ok(pull) => return Ok(pull),
                // The version is gone, or the user has to help: another address would say the same.
                Err(fault) if fault.is_change() => return Err(fault),
                Err(fault) => {
                    self.upstream.blame(&route);
                    if worst.as_ref().is_none_or(|worst| !worst.wants_auth() && !worst.retryable) {
                        worst = Some(fault);
                    }
                }
            }
        }
        Err(worst.unwrap_or_else(|| Fault::new(plugin::code::INTERNAL, "the segment has no address")))
    }

    /// An answer for the range over one way, whose bytes are compared first where that is needed.
    async fn over(&self, route: &Route, range: Range<u64>, slot: Slot) -> Result<Pull, Fault> {
        if route.unproven {
            drop(slot);
            self.upstream.prove_mirror(route, &self.samples(route.segment).await).await?;
            return self.ask(route, range, route.pool.turn(None).await).await;
        }
        let mut answer = self.ask(route, range.clone(), slot).await;
        for _ in 0..MAX_ALIASES {
            let Err(Fault { other_tag: Some(tag), .. }) = &answer else { return answer };
            // Edges of one origin may name the same bytes by different tags.
            self.upstream.prove_tag(route, tag, &self.samples(route.segment).await).await?;
            answer = self.ask(route, range.clone(), route.pool.turn(None).await).await;
        }
        answer
    }

    async fn samples(&self, segment: usize) -> Vec<Sample> {
        let plan = self.upstream.plan();
        let start = plan.start(segment);
        let end = plan.segments()[segment].length.map_or(u64::MAX, |length| start + length);
        match self.live.upgrade() {
            Some(live) => live.samples(start..end).await,
            None => Vec::new(),
        }
    }

    /// One request, and a second one beside it when the first is late and somebody waits.
    async fn ask(&self, route: &Route, range: Range<u64>, slot: Slot) -> Result<Pull, Fault> {
        let take = |route: &Route, answer, before| self.upstream.take(route, range.clone(), answer, before);
        let before = self.before().await;
        let mut first = std::pin::pin!(self.upstream.request(route, range.clone(), slot));
        let Some(late) = route.pool.hedge_after() else {
            return Ok(take(route, first.await?, before));
        };
        match tokio::time::timeout(late, first.as_mut()).await {
            Ok(answer) => return Ok(take(route, answer?, before)),
            Err(_) if self.live.upgrade().is_some_and(|live| live.is_awaited(self.span)) => {}
            Err(_) => return Ok(take(route, first.await?, before)),
        }
        let routes = self.upstream.routes(range.start);
        let other = routes.iter().find(|other| !other.is(route) && !other.unproven).unwrap_or(route);
        let Some(slot) = other.pool.hedge() else { return Ok(take(route, first.await?, before)) };
        let mut second = std::pin::pin!(self.upstream.request(other, range.clone(), slot));
        tokio::select! {
            answer = first.as_mut() => match answer {
                Ok(answer) => Ok(take(route, answer, before)),
                Err(_) => Ok(take(other, second.await?, before)),
            },
            answer = second.as_mut() => match answer {
                Ok(answer) => Ok(take(other, answer, before)),
                Err(_) => Ok(take(route, first.await?, before)),
            },
        }
    }

    /// The bytes just before those that come next, if they are here: a server that begins earlier has to repeat them.
    async fn before(&self) -> Bytes {
        let range = self.at.saturating_sub(OVERLAP)..self.at;
        match self.live.upgrade() {
            Some(live) if self.upstream.is_sequential() => live.copy(range).await.unwrap_or_default(),
            _ => Bytes::new(),
        }
    }
}

/// What to report when the renewal failed too: the plugin's word if it asks for credentials, else what the upstream said.
fn worse(upstream: Fault, plugin: Fault) -> Fault {
    if plugin.wants_auth() || upstream.wants_auth() { Fault { renew: None, ..plugin } } else { upstream }
}

/// What was taken for a refusal of one connection more is one of the credentials.
fn as_refused(fault: Fault) -> Fault {
    let message = "the server wants other credentials (status 403)";
    Fault {
        upstream_status: fault.upstream_status,
        renew: Some("denied"),
        ..Fault::new(plugin::code::AUTH_REQUIRED, message)
    }
}

/// How long to wait after so many failures in a row.
pub fn pause(failures: u32, fault: &Fault) -> Duration {
    let asked = fault.retry_after_ms.map(Duration::from_millis);
    let grown = PAUSE * 2u32.saturating_pow(failures.saturating_sub(1));
    // Spans of one object fail together; without some disorder they would come back together too.
    let mut byte = [0];
    let jitter = getrandom::fill(&mut byte).map_or(0, |()| u32::from(byte[0]));
    (asked.unwrap_or(grown) + PAUSE * jitter / 512).min(MAX_PAUSE)
}

/// What has come already, up to a bound; and the fault that ended it, to be told after these bytes are safe.
fn gather(first: Bytes, pull: &mut Pull) -> (Vec<Bytes>, Option<Fault>) {
    let mut length = first.len();
    let mut pieces = vec![first];
    while length < GATHER {
        match pull.next_at_once() {
            Some(Ok(piece)) => {
                length += piece.len();
                pieces.push(piece);
            }
            Some(Err(fault)) => return (pieces, Some(fault)),
            None => break,
        }
    }
    (pieces, None)
}
