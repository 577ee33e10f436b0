//! Reads ranges of an open object: as frames of mapped memory for a response, or whole for the inside.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use cache::object::{Input, ReaderId};
use futures_util::Stream;
use tokio::sync::watch;

use crate::fault::Fault;
use crate::film::{Film, Part};
use crate::live::{Lease, Live};
use crate::persist::blocking;
use crate::session::ReaderGuard;
use crate::{Session, State};

/// Bytes of one frame, at most. Large frames cost fewer system calls and no memory: they are the page cache itself.
const FRAME: u64 = 1 << 20;
/// How near the end of a piece what follows it is asked for, and how much of that, in bytes.
const AHEAD: u64 = 8 << 20;
/// Pieces that follow, at most; the machine takes no more of them.
const MAX_AHEAD: usize = 64;
/// What was never written reads as this.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
/// How long a reader waits for a part that failed and is about to be tried again.
const RETRY_PATIENCE: Duration = Duration::from_secs(2);
/// How long an upstream that fails is left alone before it is asked for the same again. A span has tried several times by
/// itself when it fails.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A place in an object that moves on. Closes its reader when dropped.
pub struct Cursor {
    live: Arc<Live>,
    reader: ReaderId,
    changes: watch::Receiver<u64>,
    at: u64,
    end: u64,
    /// Who is told when it takes new credentials to go on.
    session: Option<Arc<Session>>,
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.live.handle(Input::Close { reader: self.reader });
    }
}

impl Cursor {
    /// `anew` says that somebody new wants it, so that what failed before is tried again.
    pub fn open(
        live: &Arc<Live>,
        range: Range<u64>,
        session: Option<Arc<Session>>,
        anew: bool,
    ) -> Result<Cursor, Fault> {
        let changes = live.watch();
        let reader = live
            .open_reader(range.clone(), anew)
            .ok_or_else(|| Fault::new(plugin::code::THROTTLED, "too many readers have this file open"))?;
        Ok(Cursor { live: live.clone(), reader, changes, at: range.start, end: range.end, session })
    }

    /// The next bytes, as soon as there are any; none at the end of the range.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let (mut patience, mut tried): (Option<Instant>, Option<Instant>) = (None, None);
        loop {
            self.changes.borrow_and_update();
            // The length may become known while this waits.
            if self.at >= self.end.min(self.live.total()) {
                return Ok(None);
            }
            if self.session.as_ref().is_some_and(|session| session.state() == State::Closed) {
                return Err(Fault::new("session-closed", "the session was ended"));
            }
            let (readable, hopeless) = self.live.readable(self.at);
            if readable > self.at && !self.live.is_dead() {
                let range = self.at..readable.min(self.end).min(self.at + FRAME);
                let good = self.live.verify(range.clone()).await;
                // Between the look and the lease it may have been evicted; then it is waited for again.
                if good > range.start
                    && let Some(lease) = self.live.lease(range.start..good)
                {
                    return self.frame(range.start..good, lease).await.map(Some);
                }
                continue;
            }
            let trouble = self.live.trouble(self.at);
            if !hopeless && (trouble.is_none() || patience.is_none()) {
                // It is on its way.
                patience = None;
                drop(self.changes.changed().await);
                continue;
            }
            // What failed before and is being tried again is waited for no longer than what is not.
            let retryable = trouble.as_ref().is_some_and(|trouble| trouble.retryable);
            let left = self.patience(trouble, &mut patience)?;
            let since = *tried.get_or_insert_with(Instant::now);
            let pause = RETRY_PAUSE.saturating_sub(since.elapsed());
            if hopeless && retryable && pause.is_zero() && left > RETRY_PAUSE {
                tried = Some(Instant::now());
                self.live.retry_now_and_then(RETRY_PAUSE);
                continue;
            }
            // Looks again when the time is over, and gives up then.
            let pause = if hopeless && retryable && left > RETRY_PAUSE { left.min(pause) } else { left };
            let _ = tokio::time::timeout(pause, self.changes.changed()).await;
        }
    }

    /// How much longer to wait though nothing will come by itself: for credentials, or for an upstream that may come back,
    /// and not for ever.
    fn patience(&self, trouble: Option<Fault>, since: &mut Option<Instant>) -> Result<Duration, Fault> {
        // Without a reason it is being tried again at this moment. Within an opening nobody waits: who opens a session would
        // rather know soon.
        let hopeful = |trouble: &Fault| self.session.is_some() && (trouble.wants_auth() || trouble.retryable);
        let wanted = trouble.as_ref().is_none_or(hopeful) && !self.live.is_dead();
        let patience = self.live.patience();
        let most = match &trouble {
            Some(trouble) if trouble.wants_auth() => patience.credentials,
            Some(_) => patience.outage,
            None if self.session.is_some() => RETRY_PATIENCE.max(patience.outage),
            None => RETRY_PATIENCE,
        };
        let fault = trouble.unwrap_or_else(|| Fault::new("unavailable", "the bytes cannot be fetched"));
        if !wanted {
            return Err(fault);
        }
        if let (true, Some(session)) = (fault.wants_auth(), &self.session) {
            session.ask_for_credentials(&self.live, &fault);
        }
        let waited = since.get_or_insert_with(Instant::now).elapsed();
        most.checked_sub(waited).filter(|left| !left.is_zero()).ok_or(fault)
    }

    async fn frame(&mut self, range: Range<u64>, lease: Lease) -> Result<Bytes, Fault> {
        let hold = self.live.hold();
        let bytes = match hold.local_file() {
            None => hold.bytes(range.clone())?,
            Some(_) => {
                let (live, wanted) = (self.live.clone(), range.clone());
                let read = blocking(move || live.hold().bytes(wanted)).await;
                // Of a file that was changed nothing more is served, to anybody.
                read.inspect_err(|fault| {
                    if fault.is_change() {
                        self.live.retire()
                    }
                })?
            }
        };
        let range = range.start..range.start + bytes.len() as u64;
        // A page that is not in memory would stop the thread that writes to the socket, and every connection with it.
        if !hold.is_resident(range.clone()) {
            let (live, range) = (self.live.clone(), range.clone());
            blocking(move || live.hold().populate(range)).await?;
        }
        self.at = range.end;
        self.live.handle(Input::Moved { reader: self.reader, position: self.at });
        Ok(Bytes::from_owner(Leased { bytes, _lease: lease }))
    }

    pub fn position(&self) -> (u64, u64) {
        (self.at, self.end)
    }
}

/// Bytes that stay where they are until the last of them was handed to the system.
struct Leased {
    bytes: Bytes,
    _lease: Lease,
}

impl AsRef<[u8]> for Leased {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// All bytes of a range, in memory of their own.
pub async fn read(live: &Arc<Live>, range: Range<u64>) -> Result<Bytes, Fault> {
    let mut cursor = Cursor::open(live, range.clone(), None, true)?;
    let mut whole = BytesMut::with_capacity((range.end - range.start) as usize);
    while let Some(frame) = cursor.next().await? {
        whole.extend_from_slice(&frame);
    }
    Ok(whole.freeze())
}

/// A response's body: the bytes before, the range, in turns, and the bytes after the last. Fails at once when there is no
/// room for another reader; a later error ends the body short, which is the only way left to say so.
pub fn stream(
    session: Arc<Session>,
    film: &Film,
    parts: Vec<(Vec<u8>, Range<u64>)>,
    closing: Vec<u8>,
) -> Result<impl Stream<Item = Result<Bytes, Fault>> + Send + use<>, Fault> {
    let mut pieces = Vec::new();
    for (before, range) in parts {
        pieces.extend(text(before));
        pieces.extend(film.parts(range).into_iter().map(Piece::Part));
    }
    pieces.extend(text(closing));
    let mut state = Serving { session, pieces: pieces.into_iter(), now: None, ahead: false, first: true };
    state.begin()?;
    Ok(futures_util::stream::try_unfold(state, |mut state| async move {
        match state.next().await {
            Ok(Some(bytes)) => Ok(Some((bytes, state))),
            Ok(None) => Ok(None),
            Err(fault) => {
                tracing::info!(session = ?state.session.id(), code = fault.code, "a response ended short: {}", fault.message);
                Err(fault)
            }
        }
    }))
}

enum Piece {
    /// What stands between the ranges.
    Text(Bytes),
    Part(Part),
}

fn text(text: Vec<u8>) -> Option<Piece> {
    (!text.is_empty()).then(|| Piece::Text(text.into()))
}

/// What goes out now.
enum Now {
    Text(Bytes),
    Zeros(u64),
    Bytes { live: Arc<Live>, cursor: Cursor, guard: ReaderGuard },
}

struct Serving {
    session: Arc<Session>,
    pieces: std::vec::IntoIter<Piece>,
    now: Option<Now>,
    /// Whether what comes after this piece was asked for.
    ahead: bool,
    /// Whether no piece has begun.
    first: bool,
}

impl Serving {
    /// Begins the next piece; false if there is none.
    fn begin(&mut self) -> Result<bool, Fault> {
        let Some(piece) = self.pieces.next() else { return Ok(false) };
        self.ahead = false;
        self.now = Some(match piece {
            Piece::Text(text) => Now::Text(text),
            Piece::Part(part) => match part.live {
                None => Now::Zeros(part.range.end - part.range.start),
                Some(live) => {
                    let guard = self.session.reading(&live, part.range.clone());
                    let anew = std::mem::take(&mut self.first);
                    let cursor = Cursor::open(&live, part.range, Some(self.session.clone()), anew)?;
                    Now::Bytes { live, cursor, guard }
                }
            },
        });
        Ok(true)
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            if self.now.is_none() && !self.begin()? {
                return Ok(None);
            }
            self.look_ahead();
            match &mut self.now {
                None => {}
                Some(Now::Text(text)) => {
                    let text = std::mem::take(text);
                    self.now = None;
                    return Ok(Some(text));
                }
                Some(Now::Zeros(0)) => self.now = None,
                Some(Now::Zeros(left)) => {
                    let count = (*left).min(ZEROS.len() as u64);
                    *left -= count;
                    self.session.count_served(count);
                    return Ok(Some(Bytes::from_static(&ZEROS[..count as usize])));
                }
                Some(Now::Bytes { live, cursor, guard }) => {
                    let from = cursor.position().0;
                    match cursor.next().await {
                        Ok(Some(frame)) => {
                            guard.moved(cursor.position().0);
                            count(&self.session, live, from..from + frame.len() as u64);
                            return Ok(Some(frame));
                        }
                        Ok(None) => self.now = None,
                        Err(fault) => {
                            self.session.reader_failed(live, &fault);
                            return Err(fault);
                        }
                    }
                }
            }
        }
    }

    /// A reader of one piece knows nothing of the next: near the end of a piece the beginning of what follows is asked for,
    /// so that pieces in different places of a file read like one.
    fn look_ahead(&mut self) {
        let Some(Now::Bytes { cursor, .. }) = &self.now else { return };
        let (at, end) = cursor.position();
        if self.ahead || end - at > AHEAD {
            return;
        }
        self.ahead = true;
        let mut left = AHEAD;
        for piece in self.pieces.as_slice().iter().take(MAX_AHEAD) {
            let Piece::Part(part) = piece else { continue };
            let length = part.length().min(left);
            if let Some(live) = &part.live {
                live.handle(Input::Warm { range: part.range.start..part.range.start + length });
            }
            left -= length;
            if left == 0 {
                return;
            }
        }
    }
}

fn count(session: &Session, live: &Live, range: Range<u64>) {
    let (length, hits) = (range.end - range.start, live.count_served(&range));
    session.count_served(length);
    session.hits.fetch_add(hits, Ordering::Relaxed);
    session.touch(crate::now_ms());
    metrics::counter!("mediahost_served_bytes_total").increment(length);
    metrics::counter!("mediahost_cache_hit_bytes_total").increment(hits);
}
