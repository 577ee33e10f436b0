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
use crate::live::{Lease, Live};
use crate::persist::blocking;
use crate::{Session, State};

/// Bytes of one frame, at most. Large frames cost fewer system calls and no memory: they are the page cache itself.
const FRAME: u64 = 1 << 20;
/// How long a reader waits for someone to supply credentials before its response ends short.
const AUTH_PATIENCE: Duration = Duration::from_secs(120);

/// How long a reader waits for a part that failed and is about to be tried again.
const RETRY_PATIENCE: Duration = Duration::from_secs(2);

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
    pub fn open(live: &Arc<Live>, range: Range<u64>, session: Option<Arc<Session>>) -> Result<Cursor, Fault> {
        let changes = live.watch();
        let reader = live
            .open_reader(range.clone())
            .ok_or_else(|| Fault::new(plugin::code::THROTTLED, "too many readers have this file open"))?;
        Ok(Cursor { live: live.clone(), reader, changes, at: range.start, end: range.end, session })
    }

    /// The next bytes, as soon as there are any; none at the end of the range.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let mut patience: Option<Instant> = None;
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
            let wait = if hopeless { self.patience(&mut patience)? } else { None };
            let changed = self.changes.changed();
            match wait {
                None => drop(changed.await),
                // Looks again when the time is over, and gives up then.
                Some(left) => drop(tokio::time::timeout(left, changed).await),
            }
        }
    }

    /// How much longer to wait though nothing will come by itself: only for credentials, and not for ever.
    fn patience(&self, since: &mut Option<Instant>) -> Result<Option<Duration>, Fault> {
        let trouble = self.live.trouble(self.at);
        // Without a reason it is being tried again at this moment.
        let wanted = trouble.as_ref().is_none_or(Fault::wants_auth) && !self.live.is_dead();
        let most = if trouble.is_some() { AUTH_PATIENCE } else { RETRY_PATIENCE };
        let fault = trouble.unwrap_or_else(|| Fault::new("unavailable", "the bytes cannot be fetched"));
        if !wanted {
            return Err(fault);
        }
        if let (true, Some(session)) = (fault.wants_auth(), &self.session) {
            session.ask_for_credentials(&fault);
        }
        let waited = since.get_or_insert_with(Instant::now).elapsed();
        most.checked_sub(waited).filter(|left| !left.is_zero()).map(Some).ok_or(fault)
    }

    async fn frame(&mut self, range: Range<u64>, lease: Lease) -> Result<Bytes, Fault> {
        let hold = self.live.hold();
        let bytes = hold.bytes(range.clone())?;
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
    let mut cursor = Cursor::open(live, range.clone(), None)?;
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
    live: Arc<Live>,
    parts: Vec<(Vec<u8>, Range<u64>)>,
    closing: Vec<u8>,
) -> Result<impl Stream<Item = Result<Bytes, Fault>> + Send + 'static, Fault> {
    let mut state =
        Serving { session, live, parts: parts.into_iter(), before: None, cursor: None, closing: Some(closing) };
    state.begin_part()?;
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

struct Serving {
    session: Arc<Session>,
    live: Arc<Live>,
    parts: std::vec::IntoIter<(Vec<u8>, Range<u64>)>,
    /// Goes out before the bytes of the part that has begun.
    before: Option<Vec<u8>>,
    cursor: Option<(Cursor, crate::session::ReaderGuard)>,
    closing: Option<Vec<u8>>,
}

impl Serving {
    fn begin_part(&mut self) -> Result<bool, Fault> {
        let Some((before, range)) = self.parts.next() else { return Ok(false) };
        let guard = self.session.reading(range.clone());
        self.cursor = Some((Cursor::open(&self.live, range, Some(self.session.clone()))?, guard));
        self.before = Some(before).filter(|before| !before.is_empty());
        Ok(true)
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            if let Some(before) = self.before.take() {
                return Ok(Some(before.into()));
            }
            if let Some((cursor, guard)) = &mut self.cursor {
                let from = cursor.position().0;
                match cursor.next().await {
                    Ok(Some(frame)) => {
                        guard.moved(cursor.position().0);
                        self.count(from..from + frame.len() as u64);
                        return Ok(Some(frame));
                    }
                    Ok(None) => self.cursor = None,
                    Err(fault) => {
                        self.session.reader_failed(&fault);
                        return Err(fault);
                    }
                }
            } else if !self.begin_part()? {
                return Ok(self.closing.take().filter(|closing| !closing.is_empty()).map(Bytes::from));
            }
        }
    }

    fn count(&self, range: Range<u64>) {
        let (length, hits) = (range.end - range.start, self.live.count_served(&range));
        self.session.count_served(length);
        self.session.hits.fetch_add(hits, Ordering::Relaxed);
        self.session.touch(crate::now_ms());
        metrics::counter!("mediahost_served_bytes_total").increment(length);
        metrics::counter!("mediahost_cache_hit_bytes_total").increment(hits);
    }
}
