//! Numbers and a picture of one session.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use plugin::detect::IndexRange;
use serde::Serialize;
use web::utoipa::{self, ToSchema};

use crate::Session;
use crate::live::Numbers;
use crate::presentation::Presentation;

/// Columns of the picture of a file.
const BUCKETS: usize = 512;

/// Numbers of one session, now.
#[derive(Serialize, ToSchema)]
pub struct Stats {
    state: crate::State,
    /// What is being waited for, while opening or while a reader waits.
    waiting_for: Option<String>,
    /// Bits per second from the upstream.
    download_bps: u64,
    /// Bits per second to clients.
    serve_bps: u64,
    /// Bytes ready beyond the position of the reader that is farthest along.
    buffered_bytes_ahead: u64,
    /// Connections to the upstream that bring bytes.
    active_workers: usize,
    /// Share of the served bytes that had been fetched before, 0 to 1.
    cache_hit_rate: f64,
    length: Option<u64>,
    /// Bytes of the file that are in the cache.
    cached_bytes: u64,
    /// Bytes from the upstream since the file was opened.
    upstream_bytes: u64,
    /// Bytes to clients since the session began.
    served_bytes: u64,
    /// Whether all of the file is in the cache.
    complete: bool,
    /// Bytes that are played from memory because the disk does not take them.
    memory_bytes: u64,
    /// Where the bytes come from.
    upstream: Option<Upstream>,
    /// The disk, as all sessions share it.
    disk: Disk,
    picture: Picture,
}

/// An origin, as all sessions see it together.
#[derive(Serialize, ToSchema)]
pub struct Upstream {
    /// Scheme, host and port.
    origin: String,
    /// Requests that run.
    in_flight: u32,
    /// Requests at once that it bears, as far as was learned.
    window: u32,
    /// Requests that were made a second time because the first one was late.
    hedges: u64,
    /// How much longer it asked to be left alone.
    quiet_ms: Option<u64>,
}

/// What the cache takes and may take.
#[derive(Serialize, ToSchema)]
pub struct Disk {
    used_bytes: u64,
    /// None when only the disk is the limit.
    quota_bytes: Option<u64>,
    free_bytes: Option<u64>,
    /// What stays free for others.
    keep_free_bytes: u64,
}

impl From<crate::Disk> for Disk {
    fn from(standing: crate::Disk) -> Disk {
        Disk {
            used_bytes: standing.used,
            quota_bytes: standing.quota,
            free_bytes: standing.free,
            keep_free_bytes: standing.keep_free,
        }
    }
}

/// The file from its first byte to its last, in columns of equal width.
#[derive(Serialize, ToSchema)]
pub struct Picture {
    buckets: Vec<Column>,
    /// What a player needs first.
    #[schema(value_type = Vec<Object>)]
    first: Vec<IndexRange>,
    readers: Vec<Position>,
}

/// One column.
#[derive(Serialize, ToSchema)]
pub struct Column {
    /// How much of it is cached, 0 to 1.
    present: f32,
    /// Whether some of it is being fetched.
    in_flight: bool,
}

/// Where a response reads.
#[derive(Serialize, ToSchema)]
pub struct Position {
    position: u64,
    end: u64,
}

/// How bytes flow through a session, now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Bits per second from the upstream.
    pub download_bps: u64,
    /// Bits per second to clients.
    pub serve_bps: u64,
    /// Bytes ready beyond the position of the reader that is farthest along.
    pub buffered_bytes_ahead: u64,
    /// Connections to the upstream that bring bytes.
    pub active_workers: usize,
    /// Bytes to clients since the session began.
    pub served_bytes: u64,
    /// Of these, bytes that had been fetched before.
    pub hit_bytes: u64,
}

impl Rates {
    /// Share of the served bytes that had been fetched before, 0 to 1.
    pub fn cache_hit_rate(&self) -> f64 {
        if self.served_bytes == 0 { 0.0 } else { self.hit_bytes as f64 / self.served_bytes as f64 }
    }

    /// Of two sessions together.
    pub fn and(self, other: Rates) -> Rates {
        Rates {
            download_bps: self.download_bps + other.download_bps,
            serve_bps: self.serve_bps + other.serve_bps,
            buffered_bytes_ahead: self.buffered_bytes_ahead + other.buffered_bytes_ahead,
            active_workers: self.active_workers + other.active_workers,
            served_bytes: self.served_bytes + other.served_bytes,
            hit_bytes: self.hit_bytes + other.hit_bytes,
        }
    }
}

/// How bytes flow through a session.
pub fn rates(session: &Session) -> Rates {
    let numbers = numbers(session);
    let (serve_bps, served_bytes) = session.served_now(Instant::now());
    let farthest = session.positions().iter().map(|range| range.start).max();
    Rates {
        download_bps: numbers.as_ref().map_or(0, |numbers| numbers.download_bps),
        serve_bps,
        buffered_bytes_ahead: match session.presentation() {
            Some(presentation) => presentation.ahead(),
            None => session.live().zip(farthest).map_or(0, |(live, at)| live.ahead(at)),
        },
        active_workers: numbers.as_ref().map_or(0, |numbers| numbers.active_workers),
        served_bytes,
        hit_bytes: session.hits.load(Ordering::Relaxed),
    }
}

/// How bytes flow through several sessions together. What is fetched for some of them at once counts once.
pub fn rates_of(sessions: &[Arc<Session>]) -> Rates {
    let all = sessions.iter().map(|session| rates(session)).fold(Rates::default(), Rates::and);
    let mut files: Vec<_> = sessions.iter().flat_map(|session| session.files()).collect();
    files.sort_by_key(|live| Arc::as_ptr(live).addr());
    files.dedup_by_key(|live| Arc::as_ptr(live).addr());
    let fetched = files.iter().map(|live| live.numbers());
    let (download_bps, active_workers) =
        fetched.fold((0, 0), |sum, one| (sum.0 + one.download_bps, sum.1 + one.active_workers));
    Rates { download_bps, active_workers, ..all }
}

/// Of a presentation all pieces count that are open.
fn numbers(session: &Session) -> Option<Numbers> {
    match session.presentation() {
        None => session.live().map(|live| live.numbers()),
        Some(presentation) => summed(&presentation),
    }
}

/// The numbers of all pieces that are open, and the bytes of those that were.
fn summed(presentation: &Presentation) -> Option<Numbers> {
    let none = Numbers {
        origin: None,
        memory_bytes: 0,
        present_bytes: 0,
        active_workers: 0,
        complete: false,
        download_bps: 0,
        upstream_bytes: presentation.gone_bytes(),
    };
    let pieces = presentation.files().into_iter().map(|live| live.numbers());
    Some(pieces.fold(none, |sum, one| Numbers {
        origin: sum.origin.or(one.origin),
        memory_bytes: sum.memory_bytes + one.memory_bytes,
        present_bytes: sum.present_bytes + one.present_bytes,
        active_workers: sum.active_workers + one.active_workers,
        complete: false,
        download_bps: sum.download_bps + one.download_bps,
        upstream_bytes: sum.upstream_bytes + one.upstream_bytes,
    }))
}

/// How things stand with a session.
pub fn of(session: &Session, disk: crate::Disk) -> Stats {
    let live = session.live();
    let (numbers, rates) = (numbers(session), rates(session));
    let positions = session.positions();
    let picture = live.as_ref().map(|live| live.picture(BUCKETS)).unwrap_or_default();
    Stats {
        state: session.state(),
        waiting_for: session.waiting_for().or_else(|| live.as_ref()?.waits_for()),
        download_bps: rates.download_bps,
        serve_bps: rates.serve_bps,
        buffered_bytes_ahead: rates.buffered_bytes_ahead,
        active_workers: rates.active_workers,
        cache_hit_rate: rates.cache_hit_rate(),
        length: live.as_ref().and_then(|live| live.length()),
        cached_bytes: numbers.as_ref().map_or(0, |numbers| numbers.present_bytes),
        upstream_bytes: numbers.as_ref().map_or(0, |numbers| numbers.upstream_bytes),
        served_bytes: rates.served_bytes,
        complete: numbers.as_ref().is_some_and(|numbers| numbers.complete),
        memory_bytes: numbers.as_ref().map_or(0, |numbers| numbers.memory_bytes),
        upstream: numbers.and_then(|numbers| numbers.origin).map(|(origin, standing)| Upstream {
            origin,
            in_flight: standing.in_flight,
            window: standing.window,
            hedges: standing.hedges,
            quiet_ms: standing.quiet.map(|left| left.as_millis() as u64),
        }),
        disk: disk.into(),
        picture: Picture {
            buckets: picture
                .into_iter()
                .map(|bucket| Column { present: bucket.present, in_flight: bucket.in_flight })
                .collect(),
            first: session.facts().first,
            readers: positions.into_iter().map(|range| Position { position: range.start, end: range.end }).collect(),
        },
    }
}
