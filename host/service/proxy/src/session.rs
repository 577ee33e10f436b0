//! One session: what was asked for, how far it has come, and what it serves.
//!
//! Owns: the states of a session and who waits for which of them.
//! Leaves to others: its name ([`id`]), what people are told about it ([`view`]), opening ([`crate::open`]), what happens to
//! its file ([`crate::progress`]).

mod id;
mod view;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use cache::object::Input;
use futures_core::Stream;
use plugin::Header;
use plugin::detect::{IndexRange, Track};
use serde::Serialize;
use store::ObjectId;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

use crate::bus::{Bus, Event, MediaInfo, Phase};
use crate::fault::NO_TITLE;
use crate::film::{Film, Title};
use crate::live::Live;
use crate::meter::Meter;
use crate::presentation::Presentation;
use crate::presentation::seal::{Secret, new_secret};
use crate::progress::{self, Fragments};
use crate::{Config, Fault, NewSession, Patience, Place, Proxy, body, key, media_type};

pub use id::SessionId;
pub use view::{TitleView, View};

/// The code of a page that posed as media; it is not served.
pub(crate) const NOT_MEDIA: &str = "not-media";

/// The id by which the file as it is can be had where titles were found in it.
pub const WHOLE: &str = "whole";

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, web::utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = SessionState)]
pub enum State {
    /// The source or the upstream is being asked, or the container looked at.
    Opening,
    /// What a player needs first is there.
    Ready,
    /// New credentials or a new link are needed; playing goes on when they come.
    AuthRequired,
    /// It cannot be played; the error says why.
    Failed,
    /// It was ended.
    Closed,
}

/// What is known of the container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, serde::Deserialize)]
pub struct Facts {
    pub container: Option<String>,
    pub media_type: Option<String>,
    pub tracks: Vec<Track>,
    pub duration_ms: Option<u64>,
    pub bit_rate: Option<u64>,
    /// What a player needs first, in bytes of the file that was asked for.
    pub first: Vec<IndexRange>,
}

/// What a session serves.
#[derive(Clone, Default)]
pub(crate) enum Shape {
    /// Nobody knows yet.
    #[default]
    Unknown,
    /// The file as it is.
    Plain,
    /// A part of it, and others to choose from.
    Titles(Arc<Titles>),
    /// Pieces that a manifest names.
    Presentation(Arc<Presentation>),
}

/// What a request for the stream gets.
pub(crate) enum Served {
    Film(Film),
    Presentation(Arc<Presentation>),
}

/// What is in an image or an archive.
pub(crate) struct Titles {
    /// What kind of image: FFmpeg's word or the detector's own.
    pub image: String,
    /// The file that was asked for, then those beside it.
    pub files: Arc<[Arc<Live>]>,
    /// The places of those beside it, kept so that others find them there.
    pub _places: Vec<Arc<Place>>,
    /// At least one.
    pub list: Vec<Arc<Title>>,
    /// What to play when nobody chose.
    pub main: Option<usize>,
    /// What this session plays.
    pub chosen: usize,
}

impl Titles {
    fn film(&self, index: usize) -> Film {
        Film::title(self.files.clone(), self.list[index].clone())
    }

    /// A title by its id.
    pub fn find(&self, id: &str) -> Option<usize> {
        self.list.iter().position(|title| title.id == id)
    }
}

/// A session. Shared by its handlers and its opening.
pub struct Session {
    id: SessionId,
    created_ms: u64,
    expires_ms: u64,
    idle_ms: u64,
    /// What links into a presentation are sealed with.
    secret: Secret,
    /// Bytes per second that may be fetched for it.
    bandwidth: Option<u64>,
    patience: Patience,
    used_ms: AtomicU64,
    begun: Instant,
    inner: Mutex<Inner>,
    /// Bytes handed to clients.
    pub served: Mutex<Meter>,
    /// Of these, bytes that had been fetched before.
    pub hits: AtomicU64,
    readers: Mutex<BTreeMap<u64, Range<u64>>>,
    readers_begun: AtomicU64,
    progress: watch::Sender<u64>,
    bus: Bus,
    /// A [`Phase`]; read without a lock.
    phase: AtomicU8,
    /// The segments of a fragmented MP4 file; read without a lock.
    fragments: ArcSwapOption<Fragments>,
}

struct Inner {
    url: String,
    headers: Vec<Header>,
    file_key: Option<String>,
    title: Option<String>,
    start_ms: Option<u64>,
    shape: Shape,
    state: State,
    /// Whether an opening runs or has ended well.
    begun: bool,
    /// How many openings there were.
    number: u64,
    error: Option<Fault>,
    waiting_for: Option<String>,
    name: Option<String>,
    facts: Facts,
    /// Set once for each version of the file.
    info: Option<MediaInfo>,
    /// Whether all of it is fetched, though nobody reads it.
    fill: bool,
    /// What looks how far it has come.
    watch: Option<AbortHandle>,
    /// Whether a presentation still grows.
    is_live: Option<bool>,
    ready_ms: Option<u64>,
    live: Option<Arc<Live>>,
    /// Keeps the object's place, so that others find it.
    place: Option<Arc<Place>>,
    /// The object that was opened; a renewed address is one of the same bytes.
    object: Option<(ObjectId, String)>,
    /// The same of the files beside it, by their names.
    beside: BTreeMap<String, (ObjectId, String)>,
    opening: Option<JoinHandle<()>>,
}

/// What a session has been given at its birth, and when that was.
pub(crate) struct Restored {
    pub id: SessionId,
    pub secret: Secret,
    pub created_ms: u64,
    pub used_ms: u64,
}

impl Inner {
    fn titles(&self) -> Option<&Arc<Titles>> {
        match &self.shape {
            Shape::Titles(titles) => Some(titles),
            Shape::Unknown | Shape::Plain | Shape::Presentation(_) => None,
        }
    }

    fn presentation(&self) -> Option<&Arc<Presentation>> {
        match &self.shape {
            Shape::Presentation(presentation) => Some(presentation),
            Shape::Unknown | Shape::Plain | Shape::Titles(_) => None,
        }
    }

    fn chosen(&self) -> Option<&Arc<Title>> {
        let titles = self.titles()?;
        titles.list.get(titles.chosen)
    }

    fn length(&self) -> Option<u64> {
        match self.chosen() {
            Some(title) => Some(title.mapping.total()),
            None => self.live.as_ref()?.length(),
        }
    }

    fn film(&self, live: &Arc<Live>, title: Option<&str>) -> Result<Film, Fault> {
        let whole = || Film::whole(live.clone());
        match (self.titles(), title) {
            (_, Some(WHOLE)) | (None, None) => Ok(whole()),
            (Some(titles), None) => Ok(titles.film(titles.chosen)),
            (Some(titles), Some(id)) => titles.find(id).map(|index| titles.film(index)).ok_or_else(|| no_title(id)),
            (None, Some(id)) => Err(no_title(id)),
        }
    }
}

/// There is no such title; the session lists those that there are.
pub(crate) fn no_title(id: &str) -> Fault {
    let id: String = id.chars().take(80).collect();
    Fault::new(NO_TITLE, format!("there is no title {id:?}; the session's \"titles\" lists those that there are"))
}

impl Session {
    pub(crate) fn new(new: NewSession, now_ms: u64, config: &Config) -> Session {
        let kept = Restored { id: SessionId::random(), secret: new_secret(), created_ms: now_ms, used_ms: now_ms };
        Session::restored(kept, new, config)
    }

    pub(crate) fn restored(kept: Restored, new: NewSession, config: &Config) -> Session {
        let Restored { id, secret, created_ms, used_ms } = kept;
        let now = Instant::now();
        Session {
            id,
            secret,
            created_ms,
            expires_ms: created_ms + config.session_lifetime.as_millis() as u64,
            idle_ms: config.session_idle.as_millis() as u64,
            bandwidth: config.session_bandwidth,
            patience: config.patience,
            used_ms: AtomicU64::new(used_ms),
            begun: now,
            inner: Mutex::new(Inner {
                url: new.url,
                headers: new.headers,
                file_key: new.file_key,
                title: new.title,
                start_ms: new.start_ms,
                shape: Shape::Unknown,
                state: State::Opening,
                begun: false,
                number: 0,
                error: None,
                waiting_for: None,
                name: None,
                facts: Facts::default(),
                info: None,
                fill: new.fill,
                watch: None,
                is_live: None,
                ready_ms: None,
                live: None,
                place: None,
                object: None,
                beside: BTreeMap::new(),
                opening: None,
            }),
            served: Mutex::new(Meter::new(now)),
            hits: AtomicU64::new(0),
            readers: Mutex::default(),
            readers_begun: AtomicU64::new(0),
            progress: watch::Sender::new(0),
            bus: new.bus.unwrap_or_else(|| Bus::new(config.events)),
            phase: AtomicU8::new(Phase::Init as u8),
            fragments: ArcSwapOption::empty(),
        }
    }

    pub fn id(&self) -> SessionId {
        self.id
    }

    pub fn created_ms(&self) -> u64 {
        self.created_ms
    }

    pub fn used_ms(&self) -> u64 {
        self.used_ms.load(Ordering::Relaxed)
    }

    /// What it was made from, as renewed since.
    pub fn request(&self) -> NewSession {
        let inner = self.inner();
        NewSession {
            url: inner.url.clone(),
            headers: inner.headers.clone(),
            file_key: inner.file_key.clone(),
            title: inner.title.clone(),
            start_ms: inner.start_ms,
            fill: inner.fill,
            bus: Some(self.bus.clone()),
        }
    }

    pub fn state(&self) -> State {
        self.inner().state
    }

    pub fn error(&self) -> Option<Fault> {
        self.inner().error.clone()
    }

    pub fn facts(&self) -> Facts {
        self.inner().facts.clone()
    }

    /// Length in bytes of what is served, once it is known.
    pub fn length(&self) -> Option<u64> {
        self.inner().length()
    }

    /// The title that is played, by its id; none for a file without titles.
    pub fn title(&self) -> Option<String> {
        Some(self.inner().chosen()?.id.clone())
    }

    pub fn name(&self) -> Option<String> {
        self.inner().name.clone()
    }

    /// Its address as it may be shown: without credentials and query.
    pub fn shown_url(&self) -> String {
        key::shown(&self.inner().url)
    }

    /// How long ago it was made, in this process.
    pub fn age(&self) -> std::time::Duration {
        self.begun.elapsed()
    }

    pub(crate) fn secret(&self) -> Secret {
        self.secret
    }

    /// Bytes per second that may be fetched for it.
    pub(crate) fn bandwidth(&self) -> Option<u64> {
        self.bandwidth
    }

    pub(crate) fn presentation(&self) -> Option<Arc<Presentation>> {
        self.inner().presentation().cloned()
    }

    pub(crate) fn live(&self) -> Option<Arc<Live>> {
        self.inner().live.clone()
    }

    /// Where its events go.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// How far its file has come. Reads one number, and takes no lock.
    pub fn phase(&self) -> Phase {
        Phase::of(self.phase.load(Ordering::Relaxed))
    }

    /// What kind of media it is, once that is known.
    pub fn media_info(&self) -> Option<MediaInfo> {
        self.inner().info.clone()
    }

    /// The segments of a fragmented MP4 file, as far as they are known; none for other files. Takes no lock.
    pub fn fragments(&self) -> Option<Arc<Fragments>> {
        self.fragments.load_full()
    }

    pub(crate) fn set_fragments(&self, fragments: Fragments) {
        self.fragments.store(Some(Arc::new(fragments)));
    }

    /// Whether all of the file is fetched, though nobody reads it.
    pub(crate) fn is_filled(&self) -> bool {
        self.inner().fill
    }

    /// Whether that goes on.
    pub(crate) fn is_still_filled(&self) -> bool {
        self.is_filled() && self.phase() != Phase::Complete
    }

    /// Lets go of a file of which nothing has come and that nobody else has open; it is the answer.
    pub(crate) fn take_empty(&self) -> Option<(ObjectId, Arc<Live>)> {
        let mut inner = self.inner();
        let is_alone = inner.place.as_ref().is_some_and(|place| Arc::strong_count(place) == 1);
        let is_empty = inner.live.as_ref().is_some_and(|live| live.total() > 0 && live.numbers().present_bytes == 0);
        let id = inner.object.as_ref().map(|(id, _)| *id).filter(|_| is_alone && is_empty)?;
        inner.place = None;
        Some((id, inner.live.take()?))
    }

    pub(crate) fn may_be_fragmented(&self) -> bool {
        let inner = self.inner();
        let is_mp4 = inner.facts.container.as_deref().is_some_and(|name| name.contains("mp4") || name.contains("mov"));
        is_mp4 && matches!(inner.shape, Shape::Plain)
    }

    /// What it serves right now.
    pub(crate) fn film_now(&self) -> Option<Film> {
        let inner = self.inner();
        let live = inner.live.as_ref().filter(|live| !live.is_dead() && !matches!(inner.shape, Shape::Unknown))?;
        inner.film(live, None).ok()
    }

    /// Sees how far its film has come, and tells if that is another phase; the answer is the bytes that are here.
    pub(crate) fn look_at_phase(&self, film: &Film) -> u64 {
        let here = progress::present_bytes(film);
        // What failed is not complete, whatever of it is here.
        let is_whole = film.length() == Some(here) && self.state() != State::Failed;
        self.set_phase(if is_whole { Phase::Complete } else { Phase::Downloading });
        here
    }

    fn set_phase(&self, phase: Phase) {
        if self.phase.swap(phase as u8, Ordering::Relaxed) != phase as u8 {
            self.tell(Event::Phase(phase));
        }
    }

    /// What kind of media it is has been found out, from its bytes or else from what the upstream says. The first word
    /// counts: who has chosen a decoder by it is not told another one.
    pub(crate) fn set_media_info(&self, declared: Option<&str>) {
        let mut inner = self.inner();
        if inner.info.is_some() {
            return;
        }
        let facts = &inner.facts;
        let info = MediaInfo {
            container: facts.container.clone(),
            media_type: facts.media_type.clone(),
            codecs: facts.tracks.iter().map(|track| track.codec.clone()).filter(|codec| !codec.is_empty()).collect(),
            sniffed: facts.container.is_some(),
        };
        inner.info = Some(info.clone());
        drop(inner);
        let sniffed = info.media_type.clone().filter(|_| info.sniffed);
        self.tell(Event::MediaInfo(info));
        if let (Some(declared), Some(sniffed)) = (declared, sniffed)
            && media_type::differ(declared, &sniffed)
        {
            self.tell(Event::Mismatch { declared: declared.to_owned(), sniffed });
        }
    }

    pub(crate) fn touch(&self, now_ms: u64) {
        self.used_ms.store(now_ms, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self, now_ms: u64) -> bool {
        now_ms >= self.expires_ms || now_ms.saturating_sub(self.used_ms()) >= self.idle_ms
    }

    /// Starts the opening unless one runs or has ended well. The opening is told its number.
    pub(crate) fn begin(&self, spawn: impl FnOnce(u64) -> JoinHandle<()>) {
        let mut inner = self.inner();
        if !inner.begun && matches!(inner.state, State::Opening) {
            inner.begun = true;
            inner.number += 1;
            inner.opening = Some(spawn(inner.number));
        }
    }

    /// An opening has failed. If it was overtaken by a renewal meanwhile, nobody wants to know.
    pub(crate) fn opening_failed(&self, number: u64, fault: Fault) {
        let current = {
            let inner = self.inner();
            inner.begun && inner.number == number
        };
        if current {
            self.fail(fault);
        }
    }

    /// A reader of a file cannot go on without new credentials. While an opening runs, that one finds out by itself; what the
    /// session has replaced meanwhile does not count.
    pub(crate) fn ask_for_credentials(&self, live: &Arc<Live>, fault: &Fault) {
        if self.files().iter().any(|file| Arc::ptr_eq(file, live)) {
            self.wants_credentials(fault);
        }
    }

    /// The same for what is no file.
    pub(crate) fn wants_credentials(&self, fault: &Fault) {
        if self.state() == State::Ready {
            self.fail(fault.clone());
        }
    }

    /// New credentials: an opened session goes on with them, one that is not opened is opened again.
    pub(crate) fn renew(&self, url: Option<String>, headers: Option<Vec<Header>>) {
        let mut inner = self.inner();
        if let Some(url) = url {
            inner.url = url;
        }
        if let Some(headers) = headers {
            inner.headers = headers;
        }
        if inner.state == State::Closed {
            return;
        }
        if let Some(opening) = inner.opening.take() {
            opening.abort();
        }
        // The object stays open for its readers; the new opening finds it again and hands it the new upstream.
        inner.state = State::Opening;
        inner.begun = false;
        inner.error = None;
        drop(inner);
        self.progressed();
    }

    /// The object that this session opened before.
    pub(crate) fn object(&self) -> Option<(ObjectId, String)> {
        self.inner().object.clone()
    }

    /// The object of a file beside it.
    pub(crate) fn object_beside(&self, name: &str) -> Option<(ObjectId, String)> {
        self.inner().beside.get(name).cloned()
    }

    pub(crate) fn set_object_beside(&self, name: &str, id: ObjectId, key: &str) {
        self.inner().beside.insert(name.to_owned(), (id, key.to_owned()));
    }

    pub(crate) fn set_object(&self, id: ObjectId, key: String) {
        self.inner().object = Some((id, key));
    }

    /// Lets go of an object whose version is gone, so that the next opening finds the new one.
    pub(crate) fn let_go_of_the_dead(&self) {
        let mut inner = self.inner();
        let beside = match &inner.shape {
            Shape::Titles(titles) => titles.files.iter().any(|file| file.is_dead()),
            _ => false,
        };
        if (beside || inner.live.as_ref().is_some_and(|live| live.is_dead())) && inner.state != State::Closed {
            if let Some(opening) = inner.opening.take() {
                opening.abort();
            }
            if let Shape::Titles(titles) = std::mem::take(&mut inner.shape) {
                titles.files.iter().for_each(|file| file.leave(self.id));
            }
            (inner.live, inner.place, inner.begun, inner.state) = (None, None, false, State::Opening);
            (inner.facts, inner.info, inner.error) = (Facts::default(), None, None);
            self.fragments.store(None);
            self.phase.store(Phase::Init as u8, Ordering::Relaxed);
        }
    }

    pub(crate) fn set_waiting(&self, what: Option<&str>) {
        self.inner().waiting_for = what.map(str::to_owned);
    }

    pub(crate) fn set_live(
        &self,
        live: Arc<Live>,
        place: Arc<Place>,
        name: Option<String>,
        media_type: Option<String>,
    ) {
        let mut inner = self.inner();
        if inner.state == State::Closed {
            return;
        }
        let is_same = inner.live.as_ref().is_some_and(|before| Arc::ptr_eq(before, &live));
        if !is_same && let Shape::Titles(titles) = std::mem::take(&mut inner.shape) {
            titles.files.iter().for_each(|file| file.leave(self.id));
        }
        if !is_same && inner.live.is_some() {
            // Another version, of which nothing is known yet.
            (inner.facts, inner.info) = (Facts::default(), None);
            self.fragments.store(None);
            self.phase.store(Phase::Init as u8, Ordering::Relaxed);
        }
        live.set_bandwidth(self.id, self.bandwidth);
        if inner.fill {
            live.handle(Input::Fill);
        }
        inner.live = Some(live);
        inner.place = Some(place);
        inner.name = name.or(inner.name.take());
        inner.facts.media_type = media_type;
        drop(inner);
        self.progressed();
    }

    /// Looks how far it comes from now on.
    pub(crate) fn begin_watch(self: &Arc<Self>, proxy: &Arc<Proxy>) {
        let watch = progress::watch(proxy, self);
        if let Some(before) = self.inner().watch.replace(watch) {
            before.abort();
        }
    }

    /// Nothing better is known than that the file is served as it is.
    pub(crate) fn set_plain_for_now(&self) {
        let mut inner = self.inner();
        if matches!(inner.shape, Shape::Unknown) && inner.state != State::Closed {
            inner.shape = Shape::Plain;
        }
        drop(inner);
        self.progressed();
    }

    /// What is served is known.
    pub(crate) fn set_shape(&self, shape: Shape) {
        let mut inner = self.inner();
        if inner.state == State::Closed {
            return;
        }
        if let Shape::Titles(titles) = &shape {
            titles.files.iter().for_each(|file| file.set_bandwidth(self.id, self.bandwidth));
        }
        inner.shape = shape;
        drop(inner);
        self.progressed();
    }

    /// It is played from a manifest.
    pub(crate) fn set_presentation(&self, presentation: Arc<Presentation>, name: Option<String>) {
        let mut inner = self.inner();
        if inner.state == State::Closed {
            return;
        }
        if let Some(live) = inner.live.take() {
            live.leave(self.id);
        }
        (inner.place, inner.object) = (None, None);
        inner.name = name.or(inner.name.take());
        inner.shape = Shape::Presentation(presentation);
        drop(inner);
        self.set_phase(Phase::Downloading);
        self.progressed();
    }

    pub(crate) fn set_live_stream(&self, is_live: Option<bool>) {
        self.inner().is_live = is_live;
    }

    pub(crate) fn set_facts(&self, facts: Facts) {
        let mut inner = self.inner();
        let known = inner.facts.media_type.take();
        inner.facts = facts;
        if inner.facts.media_type.is_none() {
            inner.facts.media_type = known;
        }
    }

    pub(crate) fn set_ready(&self, now_ms: u64) {
        let mut inner = self.inner();
        if inner.state != State::Opening {
            return;
        }
        inner.state = State::Ready;
        inner.waiting_for = None;
        inner.ready_ms.get_or_insert(now_ms);
        drop(inner);
        self.tell(Event::Ready);
    }

    /// It cannot go on, for now or for good.
    pub(crate) fn fail(&self, fault: Fault) {
        let mut inner = self.inner();
        if inner.state == State::Closed {
            return;
        }
        tracing::info!(session = ?self.id, code = fault.code, "a session failed: {}", fault.message);
        inner.state = if fault.wants_auth() { State::AuthRequired } else { State::Failed };
        inner.error = Some(fault.clone());
        inner.waiting_for = None;
        drop(inner);
        if !fault.wants_auth() && self.phase() == Phase::Complete {
            self.set_phase(Phase::Downloading);
        }
        self.tell(if fault.wants_auth() { Event::AuthRequired(fault) } else { Event::Failed(fault) });
    }

    /// Ends it; the answer is the files that it had open.
    pub(crate) fn close(&self) -> Vec<Arc<Live>> {
        let files = self.end();
        self.tell(Event::Closed);
        files
    }

    /// Ends it without a word: the program ends, and the session may go on with the next run.
    pub(crate) fn end(&self) -> Vec<Arc<Live>> {
        let files = self.files();
        self.inner().state = State::Closed;
        self.suspend();
        files.iter().for_each(|live| live.wake());
        files
    }

    /// The file that was asked for and those beside it, or the pieces that are open.
    pub(crate) fn files(&self) -> Vec<Arc<Live>> {
        let inner = self.inner();
        let beside = inner.titles().map(|titles| titles.files.to_vec()).unwrap_or_default();
        let pieces = inner.presentation().map(|presentation| presentation.files()).unwrap_or_default();
        inner.live.iter().cloned().chain(beside).chain(pieces).collect()
    }

    /// Lets go of everything that runs.
    pub(crate) fn suspend(&self) {
        let mut inner = self.inner();
        if let Some(opening) = inner.opening.take() {
            opening.abort();
        }
        if let Some(watch) = inner.watch.take() {
            watch.abort();
        }
        if let Some(live) = inner.live.take() {
            live.leave(self.id);
        }
        if let Shape::Titles(titles) = std::mem::take(&mut inner.shape) {
            titles.files.iter().for_each(|file| file.leave(self.id));
        }
        inner.place = None;
        drop(inner);
        self.progressed();
    }

    /// Notes that a response reads these bytes, for as long as the guard lives. Only the file that was asked for has a
    /// picture to show them in.
    pub(crate) fn reading(self: &Arc<Self>, live: &Arc<Live>, range: Range<u64>) -> ReaderGuard {
        let number = self.readers_begun.fetch_add(1, Ordering::Relaxed);
        if self.live().is_some_and(|root| Arc::ptr_eq(&root, live)) {
            self.readers().insert(number, range);
        }
        ReaderGuard { session: self.clone(), number }
    }

    /// Where responses read right now: position and end.
    pub(crate) fn positions(&self) -> Vec<Range<u64>> {
        self.readers().values().cloned().collect()
    }

    pub(crate) fn waiting_for(&self) -> Option<String> {
        self.inner().waiting_for.clone()
    }

    /// Bits per second now, and bytes in all.
    pub(crate) fn served_now(&self, now: Instant) -> (u64, u64) {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        (served.bits_per_second(now), served.total())
    }

    pub(crate) fn count_served(&self, bytes: u64) {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).add(Instant::now(), bytes);
    }

    /// A response ended short. If new credentials would help, people are asked for them.
    pub(crate) fn reader_failed(&self, live: &Arc<Live>, fault: &Fault) {
        if fault.is_change() {
            // The next request opens what is there now, as a new version.
            self.let_go_of_the_dead();
        } else if fault.wants_auth() {
            self.ask_for_credentials(live, fault);
        } else if fault.code == "disk" {
            self.fail(fault.clone());
        }
    }

    fn readers(&self) -> MutexGuard<'_, BTreeMap<u64, Range<u64>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to serve, or a reason why not; for credentials not for ever. Without a title it is the
    /// one that was chosen.
    pub(crate) async fn served(&self, title: Option<&str>) -> Result<Served, Fault> {
        self.once(|inner| match (&inner.live, &inner.shape, inner.state) {
            (_, Shape::Presentation(presentation), _) => {
                Some(title.map_or(Ok(Served::Presentation(presentation.clone())), |id| Err(no_title(id))))
            }
            // What is cached is served even when the upstream wants something first.
            (Some(live), Shape::Plain | Shape::Titles(_), _) => Some(inner.film(live, title).map(Served::Film)),
            _ => None,
        })
        .await
    }

    /// The tag of what it serves, which another version does not have, and bytes of it as they come. What lies beyond the
    /// end is left out. A presentation is no one run of bytes,
    /// and refused.
    pub async fn read(
        self: &Arc<Self>,
        range: Range<u64>,
    ) -> Result<(String, impl Stream<Item = Result<Bytes, Fault>> + Send + use<>), Fault> {
        let film = match self.served(None).await? {
            Served::Film(film) => film,
            Served::Presentation(_) => {
                let message = "this is a presentation of many files; play its playback_url";
                return Err(Fault::new(plugin::code::UNSUPPORTED, message));
            }
        };
        let range = range.start.min(film.total())..range.end.min(film.total());
        let parts = if range.is_empty() { Vec::new() } else { vec![(Vec::new(), range)] };
        Ok((film.etag().to_owned(), body::stream(self.clone(), &film, parts, Vec::new())?))
    }

    /// Waits until it is ready, or tells why it is not.
    pub async fn ready(&self) -> Result<(), Fault> {
        self.once(|inner| match (inner.state, &inner.error) {
            (State::Ready, _) => Some(Ok(())),
            (State::AuthRequired, Some(fault)) => Some(Err(fault.clone())),
            _ => None,
        })
        .await
    }

    /// Waits until it is not credentials that are missing.
    pub async fn answered(&self) {
        let mut progress = self.progress.subscribe();
        loop {
            progress.borrow_and_update();
            if self.state() != State::AuthRequired || progress.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until no credentials are missing, but not for ever.
    pub(crate) async fn credentials(&self) -> Result<(), Fault> {
        self.once(|inner| (inner.state == State::Ready).then_some(Ok(()))).await
    }

    /// Waits for what `look` finds.
    async fn once<T>(&self, look: impl Fn(&Inner) -> Option<Result<T, Fault>>) -> Result<T, Fault> {
        let mut progress = self.progress.subscribe();
        let mut until: Option<tokio::time::Instant> = None;
        loop {
            progress.borrow_and_update();
            {
                let inner = self.inner();
                match (inner.state, &inner.error) {
                    (State::Closed, _) => return Err(Fault::new("session-closed", "the session was ended")),
                    (State::Failed, Some(fault)) if fault.code == NOT_MEDIA => return Err(fault.clone()),
                    _ => {}
                }
                if let Some(found) = look(&inner) {
                    return found;
                }
                match (inner.state, &inner.error) {
                    (State::Failed, Some(fault)) => return Err(fault.clone()),
                    (State::AuthRequired, Some(fault)) => {
                        let now = tokio::time::Instant::now();
                        if *until.get_or_insert(now + self.patience.credentials) <= now {
                            return Err(fault.clone());
                        }
                    }
                    _ => until = None,
                }
            }
            let changed = progress.changed();
            let changed = match until {
                None => changed.await,
                // When the time is over, the state is looked at once more.
                Some(until) => tokio::time::timeout_at(until, changed).await.unwrap_or(Ok(())),
            };
            if changed.is_err() {
                return Err(Fault::new("session-closed", "the session was ended"));
            }
        }
    }

    pub(crate) fn tell(&self, event: Event) {
        self.bus.tell(self.id, event);
        self.progressed();
    }

    fn progressed(&self) {
        self.progress.send_modify(|n| *n += 1);
    }

    /// Short and synchronous sections; nothing in them panics.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A response that reads. Ends the note when dropped.
pub(crate) struct ReaderGuard {
    session: Arc<Session>,
    number: u64,
}

impl ReaderGuard {
    pub fn moved(&self, position: u64) {
        if let Some(range) = self.session.readers().get_mut(&self.number) {
            range.start = position;
        }
    }
}

impl Drop for ReaderGuard {
    fn drop(&mut self) {
        self.session.readers().remove(&self.number);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut inner = self.inner();
        inner.opening.take().into_iter().for_each(|opening| opening.abort());
        inner.watch.take().into_iter().for_each(|watch| watch.abort());
    }
}
