//! Watches how far a file has come, and tells.
//!
//! Owns: the phase, what of a file is ready, that a reader waits too long, the segments of a fragmented MP4 file.
//! Leaves to others: fetching ([`crate::live`]), where segments lie (`core/container`), who listens ([`crate::bus`]).
//!
//! Invariant: nothing here fetches: what is looked at is here already.

use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use container::fragments::{Index, Limits, Segment, Timescale, Verdict};
use tokio::task::AbortHandle;

use crate::bus::{Event, MAX_READY, Progress};
use crate::film::Film;
use crate::{Proxy, Session, State};

/// How often a file is looked at while it changes.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a reader waits before that is told.
const SLOW_AFTER: Duration = Duration::from_secs(2);
/// How often what failed is tried again that nobody reads.
const RETRY_EVERY: Duration = Duration::from_secs(5);
/// Bytes of an index that are read in one go, at most.
const INDEX_PIECE: u64 = 1 << 20;

/// The segments of a fragmented MP4 file, as far as they are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Fragments {
    pub timescale: Option<Timescale>,
    /// `ftyp` and `moov`, which come before any segment.
    pub init: Option<Range<u64>>,
    /// In the order of their bytes.
    pub segments: Arc<[Segment]>,
    /// Whether these are all.
    pub complete: bool,
}

/// Watches a session's file until the session lets go of it.
pub fn watch(proxy: &Arc<Proxy>, session: &Arc<Session>) -> AbortHandle {
    tokio::spawn(follow(Arc::downgrade(proxy), Arc::downgrade(session))).abort_handle()
}

async fn follow(proxy: Weak<Proxy>, session: Weak<Session>) {
    let mut seen = Seen::default();
    loop {
        let Some(mut changes) = session.upgrade().and_then(|session| Some(session.live()?.watch())) else { return };
        changes.borrow_and_update();
        {
            let Some(session) = session.upgrade().filter(|session| session.state() != State::Closed) else { return };
            if session.is_filled() && session.live().is_some_and(|live| live.is_dead()) {
                // The upstream has another version now; nobody reads, so nobody else opens that.
                if let Some(proxy) = proxy.upgrade() {
                    proxy.session(session.id());
                }
                return;
            }
            seen.look(&session).await;
        }
        // Bytes come in great numbers: what changes meanwhile is seen the next time. While somebody waits nothing changes,
        // and that is what is looked for.
        tokio::time::sleep(LOOK_EVERY).await;
        let changed = changes.changed();
        let is_awaited = seen.waits.is_some() || session.upgrade().is_some_and(|session| session.is_still_filled());
        match is_awaited {
            true => drop(tokio::time::timeout(LOOK_EVERY, changed).await),
            false if changed.await.is_err() => return,
            false => {}
        }
    }
}

/// What was seen the last time.
#[derive(Default)]
struct Seen {
    progress: Progress,
    /// Where a reader waits, and since when; and whether that was told.
    waits: Option<(u64, Instant, bool)>,
    index: Option<Index>,
    known: usize,
    complete: bool,
    /// Nothing more will be known of the segments.
    is_over: bool,
}

impl Seen {
    async fn look(&mut self, session: &Arc<Session>) {
        let Some(film) = session.film_now() else { return };
        let here = session.look_at_phase(&film);
        if session.bus().is_heard() {
            self.tell_progress(session, &film, here);
        }
        self.tell_slow(session, &film);
        if session.is_filled() && film.length() != Some(here) {
            mind_the_rest(session, &film);
        }
        if let Err(error) = self.index(session, &film).await {
            tracing::debug!(session = ?session.id(), %error, "the segments of a file cannot be told any further");
            self.is_over = true;
        }
        self.tell_segments(session);
    }

    fn tell_progress(&mut self, session: &Session, film: &Film, present_bytes: u64) {
        if (self.progress.present_bytes, self.progress.length) == (present_bytes, film.length()) {
            return;
        }
        let progress = of(film, present_bytes);
        if progress != self.progress {
            self.progress = progress.clone();
            session.tell(Event::Progress(progress));
        }
    }

    fn tell_slow(&mut self, session: &Session, film: &Film) {
        let now = Instant::now();
        let at = film.files().iter().find_map(|live| live.waiting_at());
        self.waits = match (at, self.waits) {
            (None, _) => None,
            (Some(at), Some((before, since, told))) if at == before => {
                let waited = now.duration_since(since);
                if !told && waited >= SLOW_AFTER {
                    let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
                    session.tell(Event::Slow { waited_ms, position: at });
                }
                Some((at, since, told || waited >= SLOW_AFTER))
            }
            (Some(at), _) => Some((at, now, false)),
        };
    }

    /// Reads on in the index as far as its bytes are here.
    async fn index(&mut self, session: &Session, film: &Film) -> Result<(), String> {
        if self.is_over || self.complete || !session.may_be_fragmented() {
            return Ok(());
        }
        let length = film.length();
        let index = self.index.get_or_insert_with(|| Index::new(Limits::default(), length));
        while let Some(wanted) = index.wants() {
            let piece = wanted.start..wanted.end.min(wanted.start + INDEX_PIECE).min(film.total());
            if piece.is_empty() || !is_here(film, piece.clone()) {
                break;
            }
            let bytes = film.read(piece.clone()).await.map_err(|fault| fault.message)?;
            index.handle(piece.start, &bytes).map_err(|error| error.to_string())?;
        }
        if index.verdict() == Some(Verdict::Classic) {
            self.is_over = true;
            return Ok(());
        }
        if let (Some(length), true) = (length, index.known_to() >= film.total()) {
            index.ended(length).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Tells what is known beyond the last time.
    fn tell_segments(&mut self, session: &Session) {
        let Some(index) = &self.index else { return };
        let (known, complete) = (index.segments().len(), index.complete());
        if (known, complete) != (self.known, self.complete) {
            (self.known, self.complete) = (known, complete);
            session.set_fragments(Fragments {
                timescale: index.timescale(),
                init: index.init(),
                segments: index.segments().into(),
                complete,
            });
            session.tell(Event::Segments { known, complete });
        }
    }
}

/// Nobody reads what is fetched though nobody reads it, so nobody else notices when it cannot be had.
fn mind_the_rest(session: &Session, film: &Film) {
    for live in film.files() {
        match live.missing_trouble(&(0..live.total())) {
            Some(fault) if fault.wants_auth() => session.wants_credentials(&fault),
            Some(fault) if fault.retryable => live.retry_now_and_then(RETRY_EVERY),
            Some(fault) if session.state() == State::Ready => session.fail(fault),
            _ => {}
        }
    }
}

/// Whether all of a range can be read without waiting.
pub fn is_here(film: &Film, range: Range<u64>) -> bool {
    film.parts(range).into_iter().all(|part| part.live.is_none_or(|live| live.is_present(part.range)))
}

/// What of a film is here.
pub fn of(film: &Film, present_bytes: u64) -> Progress {
    Progress { present_bytes, length: film.length(), ready: ready(film) }
}

/// Bytes of a film that are here.
pub fn present_bytes(film: &Film) -> u64 {
    if film.about().is_none() {
        return film.root().numbers().present_bytes;
    }
    let here = |part: crate::film::Part| match &part.live {
        None => part.length(),
        Some(live) => live.present(part.range).iter().map(|run| run.end - run.start).sum(),
    };
    film.parts(0..film.total()).into_iter().map(here).sum()
}

/// The ranges of a film that are here.
fn ready(film: &Film) -> Vec<Range<u64>> {
    let mut ready: Vec<Range<u64>> = Vec::new();
    let mut at = 0;
    for part in film.parts(0..film.total()) {
        let runs = match &part.live {
            None => vec![part.range.clone()],
            Some(live) => live.present(part.range.clone()),
        };
        for run in runs {
            let (start, end) = (at + run.start - part.range.start, at + run.end - part.range.start);
            if let Some(last) = ready.last_mut().filter(|last| last.end == start) {
                last.end = end;
            } else if ready.len() == MAX_READY {
                return ready;
            } else {
                ready.push(start..end);
            }
        }
        at += part.length();
    }
    ready
}
