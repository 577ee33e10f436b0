//! From an address to an open object: plugin, plan, upstream, cache, warm-up. What is in it, [`crate::titles`] finds out.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use cache::object::{Input, Limits};
use cache::{Granule, Meta};
use container::manifest::Kind;
use plugin::Failure;
use plugin::code;
use plugin::detect::IndexRange;
use plugin::source::{self, MediaSource, Open, Plan};
use store::{ObjectId, Stored};

use crate::fault::Fault;
use crate::film::Film;
use crate::hold::Hold;
use crate::live::Live;
use crate::local::LocalFile;
use crate::persist::blocking;
use crate::presentation::Root;
use crate::presentation::begin::{self, Beginning, begin};
use crate::upstream::{Probe, Upstream, Verdict};
use crate::{Place, Proxy, Session, key, now_ms, span, titles};

/// Bytes of the first request: enough for a player to begin with and for a detector to look at.
const FIRST: u64 = 256 << 10;
/// How long the warm-up may keep a session from being ready.
pub const WARM_PATIENCE: Duration = Duration::from_secs(60);
/// Sessions are scoped to who asks; so far that is the operator alone.
const SCOPE: &str = "operator";

/// Opens a session, or tells it why that failed.
pub async fn open(proxy: Arc<Proxy>, session: Arc<Session>, number: u64) {
    let _watch = Watch { session: session.clone(), number };
    match attempt(&proxy, &session).await {
        Ok(()) => session.set_ready(now_ms()),
        Err(fault) => {
            if !fault.retryable && !fault.wants_auth() {
                leave_nothing(&proxy, &session).await;
            }
            session.opening_failed(number, fault);
        }
    }
}

/// What failed for good before any of it was kept is removed at once, so that nothing on the disk stands for it.
async fn leave_nothing(proxy: &Proxy, session: &Session) {
    let Some((id, live)) = session.take_empty() else { return };
    live.retire();
    drop(live);
    let store = proxy.store.clone();
    if let Err(error) = blocking(move || store.remove(&id)).await {
        tracing::warn!(%error, "what failed could not be removed from the cache");
    }
}

/// Ends an opening that ends in a panic, so that nobody waits for it. A panic is a fault of ours; the session is told.
struct Watch {
    session: Arc<Session>,
    number: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let fault = Fault::new(code::INTERNAL, "a fault of the program ended the opening");
            self.session.opening_failed(self.number, fault);
        }
    }
}

async fn attempt(proxy: &Arc<Proxy>, session: &Arc<Session>) -> Result<(), Fault> {
    let request = session.request();
    session.set_waiting(Some("the source plugin"));
    let known = session.object();
    let asked = |id, key: &str| {
        session.set_object(id, key.to_owned());
        session.set_waiting(Some("the upstream"));
    };
    let open = Open { uri: request.url.clone(), headers: request.headers.clone(), purpose: "play" };
    let (source, found) = ask(proxy, &open).await?;
    let plan = match found {
        source::Opened::Plan(plan) => plan,
        source::Opened::Manifest(made) => {
            let kind = Kind::named(&made.kind).ok_or_else(|| {
                let message = format!("plugin {} made a manifest of the unknown kind {:?}", source.id(), made.kind);
                Fault { plugin: Some(source.id().into()), ..Fault::new("plugin-fault", message) }
            })?;
            let name = made.name.clone();
            let root = Root::made(source, open, made)?;
            return begin(proxy, session, &request, Beginning { kind, root, answer: None, name }).await;
        }
    };
    let root = begin::root(&source, &plan, &request);
    let name = plan.about().name.clone();
    session.set_waiting(Some("the upstream"));
    if request.title.is_none()
        && let Some(likely) = begin::likely(&source, &plan, &request)
        && let Some((kind, answer)) = begin::ask(proxy, &likely).await?
    {
        return begin(proxy, session, &request, Beginning { kind, root: likely, answer: Some(answer), name }).await;
    }
    let wanted = Wanted { source, plan, named: key::named(&request.url), open, file_key: request.file_key.clone() };
    let Opened { place, live, wants, name } = file(proxy, wanted, known, asked).await?;
    session.set_live(live.clone(), place, name.clone(), live.hold().meta().content_type);
    session.begin_watch(proxy);
    if let Some(fault) = wants {
        // What is cached is served meanwhile, unless it takes a look to know what of it.
        if titles::is_plain(proxy, &request, &live.hold().meta(), name.as_deref()) {
            session.set_plain_for_now();
        }
        return Err(fault);
    }
    if live.total() == 0 {
        session.set_plain_for_now();
        return Err(Fault::new("empty-file", "the file at this address is empty: it has 0 bytes"));
    }
    // The file as it is was asked for where a title was.
    if let (Some(root), None) = (root, &request.title)
        && let Some(kind) = begin::sniff(&live).await?
    {
        // A manifest is asked for anew each time, and what was kept of it is of no use.
        return begin(proxy, session, &request, Beginning { kind, root, answer: None, name }).await;
    }
    session.set_waiting(Some("the container's index"));
    let declared = live.hold().meta().content_type;
    let (film, first) = titles::look(proxy, session, &request, live, name.as_deref()).await?;
    session.set_media_info(declared.as_deref());
    session.look_at_phase(&film);
    let mut first = first;
    if film.about().is_none() && film.length().is_some() {
        // It is under way since the file was opened, and a player begins with it.
        first.push(IndexRange { offset: 0, length: FIRST.min(film.total()), what: "head".into() });
    }
    warm(&film, &first).await
}

/// A file that is open.
pub struct Opened {
    pub place: Arc<Place>,
    pub live: Arc<Live>,
    /// What the upstream wants before it gives more of it.
    pub wants: Option<Fault>,
    pub name: Option<String>,
}

/// A file that is to be opened.
pub struct Wanted {
    pub source: Arc<dyn MediaSource>,
    pub plan: Plan,
    /// What the plan is the answer to.
    pub open: Open,
    /// The caller's stable name for the bytes.
    pub file_key: Option<String>,
    /// The origin that the user named, which may be a private address.
    pub named: Option<fetch::Origin>,
}

/// Opens a file: one that is known already as this object, or as whatever the source says it is. Tells `asked` when it is
/// known which that is.
pub async fn file(
    proxy: &Arc<Proxy>,
    Wanted { source, plan, open, file_key, named: origin }: Wanted,
    known: Option<(ObjectId, String)>,
    asked: impl FnOnce(ObjectId, &str),
) -> Result<Opened, Fault> {
    let about = plan.about();
    let named_now = || key::object(SCOPE, source.id(), &open.uri, about.key.as_deref(), file_key.as_deref());
    // A renewed address is one of the same bytes; whether that is so, the validators tell.
    let (id, key) = known.unwrap_or_else(named_now);
    asked(id, &key);
    let named = about.name.clone();
    let upstream = Arc::new(Upstream::new(proxy.client.clone(), source, open, origin, plan, proxy.origins.clone()));

    let place = proxy.place(id);
    let Found { live, wants } = {
        let mut open = place.live.lock().await;
        let found = match open.as_ref().filter(|live| !live.is_dead()) {
            _ if upstream.local_file()?.is_some() => local(proxy, id, key, open.as_ref(), upstream).await?.into(),
            Some(live) => join(proxy, id, key, live.clone(), upstream).await?,
            None => open_object(proxy, id, key, upstream).await?,
        };
        *open = Some(found.live.clone());
        found
    };
    let name = named.or(live.hold().meta().name);
    Ok(Opened { place, live, wants, name })
}

/// Asks the sources of the scheme in turn. The next one is asked only when one broke a rule: an answer is an answer.
pub async fn ask(proxy: &Proxy, open: &Open) -> Result<(Arc<dyn MediaSource>, source::Opened), Fault> {
    let scheme = key::scheme(&open.uri).map_err(|refusal| Fault::new(code::BAD_ADDRESS, refusal.to_string()))?;
    let mut last =
        Fault::new(code::UNSUPPORTED, format!("no plugin reads addresses of the scheme {scheme:?} any more"));
    for source in proxy.plugins.sources(&scheme) {
        match source.open(open.clone()).await {
            Ok(opened) => return Ok((source, opened)),
            Err(failure @ Failure::Answer { .. }) => return Err(failure.into()),
            Err(failure) => last = failure.into(),
        }
    }
    Err(last)
}

/// An open object, and what the upstream wants before it gives more of it.
struct Found {
    live: Arc<Live>,
    wants: Option<Fault>,
}

impl From<Arc<Live>> for Found {
    fn from(live: Arc<Live>) -> Found {
        Found { live, wants: None }
    }
}

/// Goes on with an object that others have open, if this upstream has the same version of it.
async fn join(
    proxy: &Arc<Proxy>,
    id: ObjectId,
    key: String,
    live: Arc<Live>,
    upstream: Arc<Upstream>,
) -> Result<Found, Fault> {
    let meta = live.hold().meta();
    upstream.learn_from(&live.upstream());
    match still_good(&upstream, &meta, None).await {
        _ if live.is_open_ended() => live.set_upstream(upstream),
        Err(fault) if fault.other_tag.is_some() => {
            return match another_edge(&upstream, &live, fault).await? {
                true => {
                    live.set_upstream(upstream);
                    Ok(live.into())
                }
                false => {
                    live.retire();
                    Ok(create(proxy, id, key, Arc::new(Upstream::again(&upstream))).await?.into())
                }
            };
        }
        // Nothing but the length says that it is the same, so bytes are compared. That they cannot be says nothing.
        Ok(Verdict::Same { vouched: false }) if matches!(is_same(&upstream, &live).await, Ok(false)) => {
            live.retire();
            return Ok(create(proxy, id, key, Arc::new(Upstream::again(&upstream))).await?.into());
        }
        Ok(Verdict::Same { .. }) => live.set_upstream(upstream),
        Ok(Verdict::Changed) => {
            live.retire();
            return Ok(create(proxy, id, key, Arc::new(Upstream::again(&upstream))).await?.into());
        }
        // The others go on with the upstream that they have.
        Err(fault) if fault.retryable => {}
        Err(fault) => return Err(fault),
    }
    Ok(live.into())
}

/// A file of this machine: it is complete from the first moment, and nothing of it is copied.
async fn local(
    proxy: &Arc<Proxy>,
    id: ObjectId,
    key: String,
    before: Option<&Arc<Live>>,
    upstream: Arc<Upstream>,
) -> Result<Arc<Live>, Fault> {
    let Some((path, offset, length)) = upstream.local_file()? else {
        return Err(Fault::new(code::INTERNAL, "the plan is no file any more"));
    };
    if let Some(before) = before.filter(|live| !live.is_dead()) {
        let held = before.clone();
        let wanted = path.clone();
        let is_same = move || {
            held.hold().local_file().is_some_and(|file| file.is_part(&wanted, offset, length) && file.is_current())
        };
        if blocking(is_same).await {
            return Ok(before.clone());
        }
        before.retire();
    }
    let file = blocking(move || LocalFile::open(path, offset, length)).await?;
    let mut meta = Meta::new(key, file.total(), now_ms());
    // The tag of its bytes is made from these.
    (meta.created_ms, meta.generation) = (file.version().modified_ms, file.version().bytes);
    (meta.content_type, meta.name) = (upstream.plan().about().media_type.clone(), upstream.plan().about().name.clone());
    let geometry = meta.geometry().map_err(|error| Fault::new(code::TOO_LARGE, error.to_string()))?;
    let granule = |index| {
        let range = geometry.range_of(index);
        Granule { index, length: (range.end - range.start) as u32, crc: 0 }
    };
    let granules = (0..geometry.count()).map(granule).collect();
    let hold = Hold::local(file, meta, geometry, proxy.keeper.clone());
    Ok(live(proxy, id, hold, granules, upstream))
}

/// What is on the disk of this object, if the upstream still has the same; else a new, empty one.
async fn open_object(proxy: &Arc<Proxy>, id: ObjectId, key: String, upstream: Arc<Upstream>) -> Result<Found, Fault> {
    let store = proxy.store.clone();
    let stored = blocking(move || store.load(&id)).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "a cached object cannot be read and is fetched anew");
        None
    });
    let Some(stored) = stored else { return Ok(create(proxy, id, key, upstream).await?.into()) };
    let missing = first_missing(&stored);
    let (empty, complete) = (stored.granules.is_empty(), missing.is_none());
    let kept = || {
        let hold = Hold::new(stored.file.clone(), proxy.keeper.clone());
        live(proxy, id, hold, stored.granules.clone(), upstream.clone())
    };
    let fresh = || async {
        // The version that was pinned is not the one to ask for.
        tracing::info!("the upstream has another version now; the cached one is dropped");
        Ok(create(proxy, id, key.clone(), Arc::new(Upstream::again(&upstream))).await?.into())
    };
    match still_good(&upstream, &stored.meta, missing).await {
        Ok(Verdict::Same { vouched: true }) => Ok(kept().into()),
        // Nothing but the length says that it is the same, so bytes are compared.
        Ok(Verdict::Same { vouched: false }) => {
            let live = kept();
            match is_same(&upstream, &live).await {
                Ok(false) => {
                    live.retire();
                    fresh().await
                }
                _ => Ok(live.into()),
            }
        }
        Ok(Verdict::Changed) => fresh().await,
        Err(fault) if fault.other_tag.is_some() => {
            let live = kept();
            match another_edge(&upstream, &live, fault).await? {
                true => Ok(live.into()),
                false => {
                    live.retire();
                    fresh().await
                }
            }
        }
        // What is here can be played while the upstream is away, wants credentials, or has lost it.
        Err(fault) if !empty && (fault.retryable || fault.wants_auth() || complete) => {
            tracing::warn!(
                code = fault.code,
                "what is cached is served, since the upstream gives nothing: {}",
                fault.message
            );
            Ok(Found { live: kept(), wants: fault.wants_auth().then_some(fault) })
        }
        Err(fault) => Err(fault),
    }
}

/// Whether an upstream that names the file by another tag has the same bytes as those that we have.
async fn another_edge(upstream: &Upstream, live: &Arc<Live>, fault: Fault) -> Result<bool, Fault> {
    let (Some(tag), Some(route)) = (&fault.other_tag, upstream.route(0)) else { return Err(fault) };
    match upstream.prove_tag(&route, tag, &live.samples(0..u64::MAX).await).await {
        Ok(()) => Ok(true),
        Err(fault) if fault.is_change() || fault.code == "unproven" => Ok(false),
        Err(fault) => Err(fault),
    }
}

/// Whether an upstream that says nothing of versions has the same bytes as those that we have.
async fn is_same(upstream: &Upstream, live: &Arc<Live>) -> Result<bool, Fault> {
    let Some(route) = upstream.route(0) else { return Ok(true) };
    let samples = live.samples(0..u64::MAX).await;
    if samples.is_empty() {
        return Ok(true);
    }
    upstream.prove_same(&route, &samples).await
}

/// The length that is assumed of what has none. A sparse file of it takes nothing.
const PROVISIONAL: u64 = 64 << 30;

async fn create(proxy: &Arc<Proxy>, id: ObjectId, key: String, upstream: Arc<Upstream>) -> Result<Arc<Live>, Fault> {
    let probe = first_answer(&upstream).await?;
    let mut meta = Meta::new(key, probe.total.unwrap_or(PROVISIONAL), now_ms());
    meta.open_ended = probe.total.is_none();
    meta.validators = probe.validators;
    meta.content_type = probe.media_type;
    meta.name = probe.name;
    let (store, wanted) = (proxy.store.clone(), meta.clone());
    let made = blocking(move || store.create(&id, wanted)).await;
    let hold = match made {
        Ok(file) => {
            proxy.keeper.made();
            Hold::new(file, proxy.keeper.clone())
        }
        Err(error) => {
            tracing::warn!(%error, "a file cannot be kept, and is played from memory");
            metrics::counter!("mediahost_cache_refused_total").increment(1);
            let geometry = meta.geometry().map_err(|error| Fault::new(code::TOO_LARGE, error.to_string()))?;
            // A number of its own, since the tag of its bytes is made from it.
            meta.generation = now_ms();
            Hold::in_memory(meta, geometry, proxy.keeper.clone())
        }
    };
    Ok(live(proxy, id, hold, Vec::new(), upstream))
}

/// Attempts at the first request. Who waits for a film to begin would rather know soon.
const FIRST_ATTEMPTS: u32 = 3;
/// The longest that a server may ask for before the first answer; whoever wants more is told of as busy.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);

/// The first request: tried again while the server says that it is busy, and once more after a renewal when the address
/// or the credentials are stale. Nobody answering at all is told at once.
async fn first_answer(upstream: &Upstream) -> Result<Probe, Fault> {
    let (mut failures, mut renewed) = (0, false);
    loop {
        let epoch = upstream.epoch();
        let fault = match upstream.probe(FIRST).await {
            Ok(probe) => return Ok(probe),
            Err(fault) => fault,
        };
        if let (Some(reason), false) = (fault.renew, renewed) {
            renewed = true;
            match upstream.renew(epoch, reason, fault.upstream_status, 0).await {
                Ok(()) => continue,
                // The plugin's word tells more only when it asks for credentials because of what the upstream said.
                Err(refused) if fault.wants_auth() => {
                    return Err(Fault { upstream_status: fault.upstream_status, ..refused });
                }
                Err(_) => return Err(fault),
            }
        }
        failures += 1;
        let answered =
            fault.upstream_status.is_some() || matches!(fault.code.as_str(), "connection-reset" | "ended-early");
        if !answered || !fault.retryable || fault.asks_for_more_than(FIRST_PATIENCE) || failures >= FIRST_ATTEMPTS {
            return Err(Fault { renew: None, ..fault });
        }
        tokio::time::sleep(span::pause(failures, &fault)).await;
    }
}

async fn still_good(upstream: &Upstream, meta: &Meta, missing: Option<Range<u64>>) -> Result<Verdict, Fault> {
    let planned = upstream.plan();
    if planned.length().is_some_and(|length| length != meta.total) {
        return Ok(Verdict::Changed);
    }
    let etags = (planned.about().validators.etag.as_ref(), meta.validators.etag.as_ref());
    if let (Some(planned), Some(known)) = etags
        && planned != known
    {
        return Ok(Verdict::Changed);
    }
    upstream.pin(meta.total, &meta.validators);
    upstream.revalidate(missing).await
}

/// The beginning of what is not there, as the first span will ask for it.
fn first_missing(stored: &Stored) -> Option<Range<u64>> {
    let geometry = stored.file.geometry();
    let mut have: Vec<u64> = stored.granules.iter().map(|granule| granule.index).collect();
    have.sort_unstable();
    have.dedup();
    let missing = have.iter().zip(0..).take_while(|(index, expected)| **index == *expected).count() as u64;
    (missing < geometry.count()).then(|| {
        let start = geometry.range_of(missing).start;
        start..(start + FIRST).min(geometry.total())
    })
}

fn live(proxy: &Proxy, id: ObjectId, hold: Hold, granules: Vec<Granule>, upstream: Arc<Upstream>) -> Arc<Live> {
    let config = &proxy.config;
    let mut limits = Limits {
        max_spans: config.max_spans,
        span_max: config.span_max,
        ahead_max: config.read_ahead_bytes,
        ahead_time: config.read_ahead,
        fill: config.fill,
        ..Limits::default()
    };
    let meta = hold.meta();
    if upstream.is_sequential() {
        // One connection that gives everything in order: whoever is ahead of it waits for it.
        let all = meta.total.max(1);
        limits = Limits {
            max_spans: 1,
            span_min: all,
            span_max: all,
            ahead_min: all,
            ahead_max: all,
            skip: u64::MAX,
            ..limits
        };
    }
    // Generations begin anew when all of an object was evicted; the time when it was made tells them apart then.
    let etag = format!("\"{id}-{:x}-{}\"", meta.created_ms, meta.generation);
    let under_way = upstream.primed();
    let live = Live::new(hold, granules, upstream, limits, etag, config.patience);
    if live.hold().local_file().is_none() {
        proxy.keeper.opened(id, &live);
    }
    if let Some(range) = under_way {
        // Wanted as one span, so that all of the answer is used.
        live.handle(Input::Warm { range });
    }
    live
}

/// Fetches what a player needs first, all at once, and waits for it, but not for ever: a slow upstream plays slowly.
async fn warm(film: &Film, first: &[IndexRange]) -> Result<(), Fault> {
    let mut parts: Vec<(Arc<Live>, Range<u64>)> = Vec::new();
    let ranges = first
        .iter()
        .map(|range| range.offset.min(film.total())..range.offset.saturating_add(range.length).min(film.total()))
        .filter(|range| !range.is_empty());
    for part in ranges.flat_map(|range| film.parts(range)) {
        let Some(live) = part.live else { continue };
        // Pieces that lie side by side, or in one granule, are one to the cache.
        let near = u64::from(live.hold().geometry().granule());
        match parts.last_mut() {
            Some((last, range))
                if Arc::ptr_eq(last, &live)
                    && range.start <= part.range.start
                    && part.range.start <= range.end.saturating_add(near) =>
            {
                range.end = range.end.max(part.range.end);
            }
            _ => parts.push((live, part.range)),
        }
    }
    // What is scattered further is fetched when it is read.
    parts.truncate(Limits::default().max_warm);
    for (live, range) in &parts {
        live.handle(Input::Warm { range: range.clone() });
    }
    let all = async {
        for (live, range) in &parts {
            arrived(live, range).await?;
        }
        Ok(())
    };
    tokio::time::timeout(WARM_PATIENCE, all).await.unwrap_or(Ok(()))
}

/// Waits until a range is there, or will not come.
pub async fn arrived(live: &Arc<Live>, range: &Range<u64>) -> Result<(), Fault> {
    let mut changes = live.watch();
    loop {
        changes.borrow_and_update();
        if live.is_present(range.clone()) {
            return Ok(());
        }
        if live.hopeless(range) {
            let fault = live.missing_trouble(range);
            return Err(fault.unwrap_or_else(|| Fault::new(code::UNAVAILABLE, "the index cannot be fetched")));
        }
        if changes.changed().await.is_err() {
            return Ok(());
        }
    }
}
