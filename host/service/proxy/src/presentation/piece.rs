//! Pieces of media that a presentation is made of: each is a file of its own in the cache.
//!
//! Owns: which of them are open, their links when those have changed, and which are fetched before a player asks.
//! Leaves to others: opening a file ([`crate::open`]), the order of pieces ([`super::playlist`]).

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache::object::Input;
use container::manifest::{ByteRange, Role};
use plugin::source::{MediaSource, Open, Opened, RefreshReason};
use plugin::{BoxFuture, BoxStream, Failure};
use tokio::task::JoinHandle;
use url::Url;

use super::Presentation;
use super::shelves::Shelves;
use crate::fault::Fault;
use crate::live::Live;
use crate::open::{self, Wanted};
use crate::{Place, Proxy, Session, SessionId};

/// Pieces of one session that are open, at most. The ones used last stay open, so that a player that comes back to one does
/// not cost a question to the upstream.
const MAX_OPEN: usize = 12;
/// How long a piece stays open that nobody asks for. An open file takes two descriptors.
const UNUSED: Duration = Duration::from_secs(60);
/// How long an open piece of a live presentation is taken for what it was: rings of segments reuse their names.
const LIVE_TRUST: Duration = Duration::from_secs(2);
/// Pieces that are fetched before a player asks for them.
const AHEAD: usize = 2;
/// How long that may take.
const AHEAD_PATIENCE: Duration = Duration::from_secs(60);

/// What a manifest names: a segment or anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub url: Url,
    /// Which bytes of it.
    pub bytes: Option<ByteRange>,
    pub role: Role,
}

impl Piece {
    /// Its bytes in a file of this length.
    pub fn within(&self, total: u64) -> Range<u64> {
        let Some(ByteRange { start, length }) = self.bytes else { return 0..total };
        let end = length.map_or(total, |length| start.saturating_add(length));
        start.min(total)..end.min(total)
    }

    pub fn is_segment(&self) -> bool {
        self.role == Role::Segment
    }

    fn holds(&self, url: &Url, at: u64) -> bool {
        self.url == *url && self.within(u64::MAX).contains(&at)
    }
}

/// The pieces that are open.
pub struct Pieces {
    open: Shelves<Arc<Held>>,
    /// Whether some piece could be opened so far.
    any: AtomicBool,
    /// Bytes that came for pieces which are not open any more.
    gone_bytes: Arc<AtomicU64>,
    /// What opens pieces anew with other credentials.
    renewing: Mutex<Option<JoinHandle<()>>>,
    /// What fetches ahead.
    ahead: Mutex<Option<JoinHandle<()>>>,
    /// Where a player read last: the piece, and the first byte of it.
    read: Mutex<Option<(Url, u64)>>,
}

/// A piece that is open for a session.
struct Held {
    session: SessionId,
    live: Arc<Live>,
    /// Others find it there.
    _place: Arc<Place>,
    /// When the upstream was last asked whether it is still so.
    checked: Instant,
    /// Whether the same file is held by another one of these now, so that it is not gone.
    goes_on: AtomicBool,
    gone_bytes: Arc<AtomicU64>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.goes_on.load(Ordering::Relaxed) {
            return;
        }
        self.live.leave(self.session);
        self.gone_bytes.fetch_add(self.live.numbers().upstream_bytes, Ordering::Relaxed);
    }
}

impl Default for Pieces {
    fn default() -> Self {
        Pieces {
            open: Shelves::new(MAX_OPEN, usize::MAX, |held: &Arc<Held>| held.live.is_read()),
            any: AtomicBool::new(false),
            gone_bytes: Arc::default(),
            renewing: Mutex::default(),
            ahead: Mutex::default(),
            read: Mutex::default(),
        }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        for tasks in [&mut self.ahead, &mut self.renewing] {
            let task = tasks.get_mut().unwrap_or_else(PoisonError::into_inner).take();
            task.into_iter().for_each(|task| task.abort());
        }
    }
}

impl Pieces {
    /// The file of a piece, opened if it is not.
    pub async fn open(
        &self,
        proxy: &Arc<Proxy>,
        session: &Session,
        presentation: &Arc<Presentation>,
        url: &Url,
    ) -> Result<Arc<Live>, Fault> {
        let (asked, epoch) = (Instant::now(), presentation.epoch());
        let shelf = self.open.shelf(url);
        let mut here = shelf.lock().await;
        if let Some(fault) = here.failed_since(asked, epoch) {
            return Err(fault);
        }
        let is_good = |held: &Arc<Held>| {
            let is_known = !presentation.is_live() || held.checked.elapsed() < LIVE_TRUST || held.checked >= asked;
            is_known && !held.live.is_dead()
        };
        if let Some(held) = here.value.as_ref().filter(|held| is_good(held)) {
            return Ok(held.live.clone());
        }
        match self.fetch(proxy, session, presentation, url).await {
            Ok(held) => {
                let live = held.live.clone();
                put(&mut here.value, held);
                live.set_bandwidth(session.id(), session.bandwidth());
                self.any.store(true, Ordering::Relaxed);
                Ok(live)
            }
            Err(fault) => {
                here.fail(&fault, epoch);
                Err(fault)
            }
        }
    }

    /// Whether some piece could be opened so far.
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Closes what nobody has asked for lately.
    pub fn close_unused(&self) {
        self.open.forget_unused(UNUSED);
    }

    async fn fetch(
        &self,
        proxy: &Arc<Proxy>,
        session: &Session,
        presentation: &Arc<Presentation>,
        url: &Url,
    ) -> Result<Held, Fault> {
        let now = presentation.current(url);
        let access = presentation.access();
        let request = Open { uri: now.to_string(), headers: access.headers_for(&now), purpose: "play" };
        let (source, opened) = open::ask(proxy, &request).await?;
        let Opened::Plan(plan) = opened else {
            let what = format!("the source {} says that a piece of a manifest is a manifest", source.id());
            return Err(Fault::new("plugin-fault", what));
        };
        let linked = Linked {
            inner: source,
            presentation: Arc::downgrade(presentation),
            proxy: Arc::downgrade(proxy),
            url: url.clone(),
            used: Arc::new(Mutex::new(now)),
        };
        let wanted =
            Wanted { source: Arc::new(linked), plan, open: request, file_key: None, named: access.named.clone() };
        let opened = open::file(proxy, wanted, None, |_, _| {}).await?;
        if let Some(fault) = opened.wants {
            return Err(fault);
        }
        opened.live.set_bandwidth(session.id(), session.bandwidth());
        let checked = Instant::now();
        let gone_bytes = self.gone_bytes.clone();
        Ok(Held {
            session: session.id(),
            live: opened.live,
            _place: opened.place,
            checked,
            goes_on: AtomicBool::new(false),
            gone_bytes,
        })
    }

    /// The files that are open.
    pub fn files(&self) -> Vec<Arc<Live>> {
        self.open.here().iter().map(|held| held.live.clone()).collect()
    }

    /// Bytes that came for pieces which are not open any more.
    pub fn gone_bytes(&self) -> u64 {
        self.gone_bytes.load(Ordering::Relaxed)
    }

    /// Opens those anew that could not go on, with the links and credentials that hold now, so that readers who wait go on.
    pub fn renew(&self, proxy: &Arc<Proxy>, session: &Arc<Session>, presentation: &Arc<Presentation>) {
        let troubled = |held: &Arc<Held>| held.live.missing_trouble(&(0..held.live.total())).is_some();
        let addresses = self.open.addresses();
        let troubled = addresses.into_iter().filter(|url| self.open.peek(url).is_some_and(|held| troubled(&held)));
        let troubled: Vec<Url> = troubled.collect();
        let (proxy, session, presentation) = (proxy.clone(), Arc::downgrade(session), Arc::downgrade(presentation));
        let task = tokio::spawn(async move {
            for url in troubled {
                let (Some(session), Some(presentation)) = (session.upgrade(), presentation.upgrade()) else { return };
                let pieces = &presentation.pieces;
                let shelf = pieces.open.shelf(&url);
                // Others that have it open go on with what this one is given.
                match pieces.fetch(&proxy, &session, &presentation, &url).await {
                    Ok(held) => {
                        let live = held.live.clone();
                        put(&mut shelf.lock().await.value, held);
                        live.set_bandwidth(session.id(), session.bandwidth());
                    }
                    Err(fault) => tracing::info!(code = fault.code, "a piece could not be renewed: {}", fault.message),
                }
            }
        });
        let before = self.renewing.lock().unwrap_or_else(PoisonError::into_inner).replace(task);
        before.into_iter().for_each(|task| task.abort());
    }

    /// Bytes that are here beyond where a player read last, in the pieces that are fetched ahead.
    pub fn ahead(&self, presentation: &Presentation) -> u64 {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some((url, at)) = read else { return 0 };
        let here = |piece: &Piece| {
            let held = self.open.peek(&piece.url)?;
            let range = piece.within(held.live.total());
            let from = if piece.url == url { at.max(range.start) } else { range.start };
            Some(held.live.ahead(from).min(range.end.saturating_sub(from)))
        };
        following(presentation, &url, at).iter().filter_map(here).sum()
    }

    /// A player reads a piece: once that is here, the next ones are fetched, as far as its playlist lists them.
    pub fn look_ahead(
        &self,
        proxy: &Arc<Proxy>,
        session: &Arc<Session>,
        presentation: &Arc<Presentation>,
        url: &Url,
        at: u64,
    ) {
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some((url.clone(), at));
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if ahead.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let next = following(presentation, url, at);
        if next.len() < 2 {
            return;
        }
        let (proxy, session) = (Arc::downgrade(proxy), Arc::downgrade(session));
        let presentation = Arc::downgrade(presentation);
        *ahead = Some(tokio::spawn(async move {
            let _ = tokio::time::timeout(AHEAD_PATIENCE, fetch_in_turn(proxy, session, presentation, next)).await;
        }));
    }
}

/// Puts a piece in the place of what was there before, which may be the same file.
fn put(place: &mut Option<Arc<Held>>, held: Held) {
    if let Some(before) = place.as_ref().filter(|before| Arc::ptr_eq(&before.live, &held.live)) {
        before.goes_on.store(true, Ordering::Relaxed);
    }
    *place = Some(Arc::new(held));
}

/// A piece and those after it.
fn following(presentation: &Presentation, url: &Url, at: u64) -> Vec<Piece> {
    let listed = |pieces: &Arc<[Piece]>| {
        let position = pieces.iter().position(|piece| piece.is_segment() && piece.holds(url, at))?;
        let following = pieces[position..].iter().filter(|piece| piece.is_segment());
        Some(following.take(1 + AHEAD).cloned().collect())
    };
    presentation.playlists().iter().find_map(|playlist| listed(&playlist.pieces)).unwrap_or_default()
}

/// The first of them is being read; each of the others is fetched when the one before has come.
async fn fetch_in_turn(
    proxy: Weak<Proxy>,
    session: Weak<Session>,
    presentation: Weak<Presentation>,
    pieces: Vec<Piece>,
) {
    for piece in pieces {
        let live = {
            let (Some(proxy), Some(session)) = (proxy.upgrade(), session.upgrade()) else { return };
            let Some(presentation) = presentation.upgrade() else { return };
            let Ok(live) = presentation.open_piece(&proxy, &session, &piece.url).await else { return };
            live
        };
        let range = piece.within(live.total());
        if live.is_open_ended() || range.is_empty() {
            return;
        }
        live.handle(Input::Warm { range: range.clone() });
        if open::arrived(&live, &range).await.is_err() {
            return;
        }
    }
}

/// The source of a piece. What it is renewed to, the manifest says, if that has a new link for it.
struct Linked {
    inner: Arc<dyn MediaSource>,
    presentation: Weak<Presentation>,
    proxy: Weak<Proxy>,
    /// As it stood in the link.
    url: Url,
    /// The address that was used last.
    used: Arc<Mutex<Url>>,
}

impl MediaSource for Linked {
    fn id(&self) -> &str {
        self.inner.id()
    }

    fn root(&self, name: &str) -> Option<String> {
        self.inner.root(name)
    }

    fn open(&self, request: Open) -> BoxFuture<'static, Result<Opened, Failure>> {
        self.inner.open(request)
    }

    fn refresh(
        &self,
        request: Open,
        state: Vec<u8>,
        reason: RefreshReason,
    ) -> BoxFuture<'static, Result<Opened, Failure>> {
        let (inner, url, used) = (self.inner.clone(), self.url.clone(), self.used.clone());
        let (presentation, proxy) = (self.presentation.clone(), self.proxy.clone());
        Box::pin(async move {
            let (Some(presentation), Some(proxy)) = (presentation.upgrade(), proxy.upgrade()) else {
                return inner.refresh(request, state, reason).await;
            };
            let before = used.lock().unwrap_or_else(PoisonError::into_inner).clone();
            // At the edge of a live presentation pieces come and go; that says nothing about the links.
            let is_gone = reason.code == "gone" && presentation.is_live();
            let now = if is_gone { before } else { presentation.renewed(&proxy, &url, &before).await };
            let headers = presentation.access().headers_for(&now);
            let request = Open { uri: now.to_string(), headers, purpose: request.purpose };
            let is_same = {
                let mut used = used.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::replace(&mut *used, now.clone()) == now
            };
            if is_same { inner.refresh(request, state, reason).await } else { inner.open(request).await }
        })
    }

    fn read(
        &self,
        state: Vec<u8>,
        segment: u32,
        offset: u64,
        length: u64,
    ) -> BoxStream<'static, Result<Bytes, Failure>> {
        self.inner.read(state, segment, offset, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_all_of_a_file_or_a_range_of_it() {
        let url = Url::parse("http://h/a.mp4").unwrap();
        let piece =
            |start, length| Piece { url: url.clone(), bytes: Some(ByteRange { start, length }), role: Role::Segment };
        let whole = Piece { url: url.clone(), bytes: None, role: Role::Segment };
        assert_eq!(whole.within(10), 0..10);
        assert_eq!(piece(2, Some(3)).within(10), 2..5);
        assert_eq!(piece(2, None).within(10), 2..10);
        assert_eq!(piece(20, Some(u64::MAX)).within(10), 10..10);
        assert!(piece(2, Some(3)).holds(&url, 4) && !piece(2, Some(3)).holds(&url, 5) && whole.holds(&url, 5));
    }
}
