//! One span: bytes from the upstream into the file, resumed where they broke off, until all have come or nothing helps.

use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use cache::granule::Hasher;
use cache::object::SpanId;

use crate::fault::Fault;
use crate::live::Live;
use crate::now_ms;
use crate::pull::Pull;
use crate::upstream::Upstream;

/// Attempts in a row that brought nothing before a span is given up.
const ATTEMPTS: u32 = 5;
/// The pause after the first of them; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest that an upstream's `Retry-After` is waited for here.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Bytes that are gathered, while they come without waiting, before they are written in one go.
const GATHER: usize = 512 << 10;

/// Fetches `range` and reports to the object, for as long as that exists.
pub async fn run(live: Weak<Live>, upstream: Arc<Upstream>, span: SpanId, range: Range<u64>) {
    let Some(geometry) = live.upgrade().map(|live| live.file().geometry()) else { return };
    let _watch = Watch { live: live.clone(), upstream: upstream.clone(), span, range: range.clone() };
    let mut progress = Progress { at: range.start, end: range.end, hasher: Hasher::new(geometry, range.start) };
    let result = fetch(&live, &upstream, span, &mut progress).await;
    let Some(live) = live.upgrade() else { return };
    match result {
        Ok(()) => live.finished(span),
        Err(fault) => {
            tracing::debug!(at = progress.at, code = fault.code, "a span failed: {}", fault.message);
            live.failed(span, &upstream, progress.at..progress.end, fault);
        }
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

struct Progress {
    at: u64,
    end: u64,
    hasher: Hasher,
}

/// Attempts, with pauses and renewals between them. An attempt that brought bytes starts the count anew.
async fn fetch(
    live: &Weak<Live>,
    upstream: &Arc<Upstream>,
    span: SpanId,
    progress: &mut Progress,
) -> Result<(), Fault> {
    let mut failures = 0;
    let mut renewed = None;
    while progress.at < progress.end {
        let (before, epoch) = (progress.at, upstream.epoch());
        let Err(fault) = attempt(live, upstream, span, progress).await else { continue };
        if progress.at > before {
            failures = 0;
        }
        if let Some(reason) = fault.renew {
            // Renewed once already, and refused again: the user has to help.
            if renewed == Some(epoch) || renewed.is_some() && progress.at == before {
                return Err(fault);
            }
            let segment = upstream.plan().at(progress.at).unwrap_or(0);
            upstream
                .renew(epoch, reason, fault.upstream_status, segment)
                .await
                .map_err(|refused| worse(fault, refused))?;
            renewed = Some(epoch);
            continue;
        }
        failures += 1;
        if !fault.retryable || failures >= ATTEMPTS {
            return Err(fault);
        }
        metrics::counter!("mediahost_upstream_retries_total").increment(1);
        tokio::time::sleep(pause(failures, &fault)).await;
    }
    Ok(())
}

/// What to report when the renewal failed too: the plugin's word if it asks for credentials, else what the upstream said.
fn worse(upstream: Fault, plugin: Fault) -> Fault {
    if plugin.wants_auth() || upstream.wants_auth() { Fault { renew: None, ..plugin } } else { upstream }
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

/// One connection's worth: from where the span stands to the end of the segment, or as far as it goes.
async fn attempt(live: &Weak<Live>, upstream: &Upstream, span: SpanId, progress: &mut Progress) -> Result<(), Fault> {
    let beyond = || Fault::new("plugin-fault", "the plan ends before the bytes that it promised");
    let segment = upstream.plan().at(progress.at).ok_or_else(beyond)?;
    upstream.renew_before_expiry(now_ms(), segment).await;
    // A renewed plan has the same segments.
    let plan = upstream.plan();
    let segment_end = plan.segments()[segment].length.map_or(u64::MAX, |length| plan.start(segment) + length);
    let mut pull = upstream.pull(segment, progress.at..progress.end.min(segment_end)).await?;
    while let Some(first) = pull.next().await? {
        let (pieces, broke) = gather(first, &mut pull);
        let length: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let Some(live) = live.upgrade() else { return Ok(()) };
        // The hasher travels to the thread that writes, and back. When writing fails the span is over.
        let hasher = std::mem::replace(&mut progress.hasher, Hasher::new(live.file().geometry(), progress.at));
        progress.hasher = live.arrived(span, progress.at, pieces, hasher).await?;
        progress.at += length;
        if let Some(fault) = broke {
            return Err(fault);
        }
    }
    Ok(())
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
