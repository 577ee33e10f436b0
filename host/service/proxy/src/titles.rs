//! What is in a file: the container, or the titles of a disc image or an archive, and what is in the one that is played.
//!
//! Owns: the order of looks: the file, then the title in it, then what is in that; the choice of a title; what of all this is
//! kept in the object's record.
//! Leaves to others: looking itself ([`crate::detect`]), opening files ([`crate::open`]).

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use cache::Meta;
use cache::mapping::{Mapping, Piece};
use cache::object::Input;
use futures_util::StreamExt;
use plugin::code;
use plugin::detect::{self as contract, Extent, ExtentOrigin, IndexRange, Layout};
use plugin::source::{self, Open, Origin};
use serde::{Deserialize, Serialize};

use crate::detect::{Alone, Beside, Candidates, Sibling, detect, document};
use crate::fault::Fault;
use crate::film::{Film, Title};
use crate::live::Live;
use crate::open::{Opened, Wanted, ask, file};
use crate::persist::blocking;
use crate::session::{Facts, NOT_MEDIA, Shape, Titles, WHOLE, no_title};
use crate::{NewSession, Place, Proxy, Session, key};

/// Bytes that are warmed where nobody knows the container.
const UNKNOWN_HEAD: u64 = 2 << 20;
/// An image in an archive in an image: looks into titles, at most.
const MAX_DEPTH: usize = 3;
/// Titles of one session, at most.
const MAX_TITLES: usize = 4096;
/// Extents that are kept in a record; who has more is looked at again.
const MAX_KEPT_EXTENTS: usize = 16_384;
/// Files that are opened at once because a detector asked for them.
const SIBLINGS_AT_ONCE: usize = 8;

/// What is kept of a look at the file that was asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    facts: Facts,
    /// As the detector gave them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    titles: Vec<contract::Title>,
    /// The files that extents count from 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    siblings: Vec<KeptSibling>,
}

/// Whether the file is served as it is, as far as that can be told without a look at it.
pub fn is_plain(proxy: &Proxy, request: &NewSession, meta: &Meta, name: Option<&str>) -> bool {
    match (request.title.as_deref(), &meta.layout) {
        (Some(title), _) => title == WHOLE,
        (None, Some(known)) => known.get("titles").and_then(serde_json::Value::as_array).is_none_or(Vec::is_empty),
        (None, None) => !name_tells_of_titles(proxy, name),
    }
}

fn name_tells_of_titles(proxy: &Proxy, name: Option<&str>) -> bool {
    let named = name.map(|name| proxy.plugins.detectors(&[], Some(name))).unwrap_or_default();
    named.iter().any(|detector| detector.finds_titles())
}

/// A file beside the one that was asked for, as it was when the detector saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KeptSibling {
    name: String,
    /// None if there was no such file.
    etag: Option<String>,
}

impl KeptSibling {
    fn of(sibling: &Sibling) -> KeptSibling {
        let etag = sibling.file.as_ref().map(|file| file.etag().to_owned());
        KeptSibling { name: sibling.name.clone(), etag }
    }
}

/// Finds out what an open file holds, tells the session, and gives back what is played and what of it a player needs first.
pub async fn look(
    proxy: &Arc<Proxy>,
    session: &Arc<Session>,
    request: &NewSession,
    live: Arc<Live>,
    name: Option<&str>,
) -> Result<(Film, Vec<IndexRange>), Fault> {
    let root = Film::whole(live.clone());
    let beside = Siblings { proxy, session, request, opened: Mutex::default() };
    let plainly = || session.set_shape(Shape::Plain);
    let wants_whole = request.title.as_deref() == Some(WHOLE);
    let kept = match look_at_root(proxy, &root, &beside, name, request, plainly).await {
        // Whoever wants the file as it is does not care whether what is in it can be played.
        Err(fault) if wants_whole && matches!(fault.code.as_str(), code::UNSUPPORTED | code::ENCRYPTED) => {
            let first = unknown_first(live.total(), live.length());
            Kept { facts: Facts { first, ..Facts::default() }, ..Kept::default() }
        }
        kept => kept?,
    };
    let rate = |film: &Film, facts: &Facts| {
        let bytes_per_second = facts.bit_rate.map(|bits| bits / 8);
        film.files().iter().for_each(|file| file.handle(Input::Rate { bytes_per_second }));
    };
    let found = match wants_whole || kept.titles.is_empty() {
        true => None,
        false => titles(&kept, live.clone(), &beside).await?,
    };
    let Some(mut titles) = found else {
        if let Some(id) = request.title.as_deref().filter(|id| *id != WHOLE) {
            return Err(no_title(id));
        }
        session.set_shape(Shape::Plain);
        rate(&root, &kept.facts);
        let first = kept.facts.first.clone();
        session.set_facts(kept.facts);
        return Ok((root, first));
    };

    // The detector of the image knows languages that the stream in it does not tell; the stream knows the rest.
    let mut facts = Facts::default();
    let mut first = Vec::new();
    for depth in 0..MAX_DEPTH {
        choose(&mut titles, request.title.as_deref(), depth + 1 == MAX_DEPTH)?;
        let film = Film::title(titles.files.clone(), titles.list[titles.chosen].clone());
        let inner = look_within(proxy, &film, request.start_ms).await?;
        if let Some(layout) = inner.as_ref().filter(|layout| !layout.titles.is_empty())
            && nest(&mut titles, &layout.titles, film.total())
        {
            titles.image = format!("{}/{}", titles.image, layout.format);
            continue;
        }
        let title = &titles.list[titles.chosen];
        (facts, first) = described(inner, title, film.total());
        break;
    }
    choose(&mut titles, request.title.as_deref(), true)?;
    if titles.main == Some(titles.chosen) && !kept.facts.tracks.is_empty() {
        facts.tracks = kept.facts.tracks.clone();
    }
    let film = Film::title(titles.files.clone(), titles.list[titles.chosen].clone());
    rate(&film, &facts);
    facts.first = first.iter().flat_map(|range| in_root(&film, range)).collect();
    protect(&live, &facts.first).await;
    session.set_facts(facts);
    session.set_shape(Shape::Titles(Arc::new(titles)));
    Ok((film, first))
}

/// What the file that was asked for holds: from the last time, or from the detectors. Tells `plainly` as soon as it is
/// certain that the file is served as it is.
async fn look_at_root(
    proxy: &Proxy,
    root: &Film,
    beside: &Siblings<'_>,
    name: Option<&str>,
    request: &NewSession,
    plainly: impl Fn(),
) -> Result<Kept, Fault> {
    let live = root.root();
    let meta = live.hold().meta();
    let known: Option<Kept> = meta.layout.clone().and_then(|known| serde_json::from_value(known).ok());
    if let Some(known) = known.filter(|known| request.start_ms.is_none() || !known.titles.is_empty()) {
        if known.titles.is_empty() {
            plainly();
            return Ok(known);
        }
        let names: Vec<String> = known.siblings.iter().map(|sibling| sibling.name.clone()).collect();
        let now: Vec<KeptSibling> =
            beside.take(&names).await?.iter().map(|(sibling, _)| KeptSibling::of(sibling)).collect();
        if now == known.siblings {
            return Ok(known);
        }
    }
    // By its name it may be known at once that nobody will find titles in it.
    let named = name.map(|name| proxy.plugins.detectors(&[], Some(name))).unwrap_or_default();
    if !named.is_empty() && named.iter().all(|detector| !detector.finds_titles()) {
        plainly();
    }
    let candidates = Candidates::of(&*proxy.plugins, root, name).await?;
    if !candidates.may_hold_titles() {
        plainly();
    }
    let media_type = meta.content_type.as_deref();
    let Some(found) = detect(candidates, root, beside, name, media_type, request.start_ms).await? else {
        let served =
            live.upstream().plan().segments().iter().any(|segment| matches!(segment.origin, Origin::Http { .. }));
        if let (true, Some(kind)) = (served, document(root).await?) {
            return Err(Fault::new(
                NOT_MEDIA,
                format!("the server sent {kind} instead of media, under the name of media"),
            ));
        }
        let first = unknown_first(root.total(), root.length());
        return Ok(Kept {
            facts: Facts { media_type: meta.content_type, first, ..Facts::default() },
            ..Kept::default()
        });
    };
    let siblings = found.siblings.iter().map(KeptSibling::of).collect();
    let titles = found.layout.titles.clone();
    let kept = Kept { facts: facts(found.layout, meta.content_type, live.length()), titles, siblings };
    let extents: usize = kept.titles.iter().map(|title| title.extents.len()).sum();
    if request.start_ms.is_none() && extents <= MAX_KEPT_EXTENTS {
        remember(live, &kept).await;
    }
    Ok(kept)
}

fn facts(layout: Layout, media_type: Option<String>, length: Option<u64>) -> Facts {
    Facts {
        bit_rate: layout.bit_rate.or_else(|| {
            let ms = layout.duration_ms.filter(|ms| *ms > 0)?;
            u64::try_from(u128::from(length?) * 8000 / u128::from(ms)).ok()
        }),
        container: Some(layout.format),
        media_type: layout.media_type.or(media_type),
        tracks: layout.tracks,
        duration_ms: layout.duration_ms,
        first: layout.first,
    }
}

/// What is warmed where nobody knows the container: where the end is nobody knows, there is none to warm.
fn unknown_first(total: u64, length: Option<u64>) -> Vec<IndexRange> {
    let head = UNKNOWN_HEAD.min(total);
    let end = length.unwrap_or(head);
    let tail = end.saturating_sub(UNKNOWN_HEAD).max(head);
    let range = |offset, end: u64, what: &str| IndexRange { offset, length: end - offset, what: what.into() };
    let first = [range(0, head, "head"), range(tail, end, "tail")];
    first.into_iter().filter(|range| range.length > 0).collect()
}

/// The titles of an image, with the files that they are made of. None when not one of them can be played: then the file is
/// served as it is.
async fn titles(kept: &Kept, live: Arc<Live>, beside: &Siblings<'_>) -> Result<Option<Titles>, Fault> {
    let mut sizes = vec![live.length()];
    let mut files = vec![live.clone()];
    let mut places = Vec::new();
    let names: Vec<String> = kept.siblings.iter().map(|sibling| sibling.name.clone()).collect();
    for (sibling, place) in beside.take(&names).await? {
        // Where there is none the numbers count on: as a file without bytes it is in no title.
        sizes.push(sibling.file.as_ref().map_or(Some(0), |file| file.length()));
        files.push(sibling.file.unwrap_or_else(|| live.clone()));
        places.extend(place);
    }
    let mut titles = Titles {
        image: kept.facts.container.clone().unwrap_or_default(),
        files: files.into(),
        _places: places,
        list: Vec::new(),
        main: None,
        chosen: 0,
    };
    for title in kept.titles.iter().take(MAX_TITLES) {
        match Mapping::new(title.extents.iter().map(piece), &sizes) {
            Ok(mapping) => {
                if title.main && titles.main.is_none() {
                    titles.main = Some(titles.list.len());
                }
                titles.list.push(Arc::new(made(title, title.id.clone(), mapping)));
            }
            Err(error) => tracing::warn!(title = %title.id, %error, "a title cannot be played"),
        }
    }
    Ok(Some(titles).filter(|titles| !titles.list.is_empty()))
}

fn piece(extent: &Extent) -> Piece {
    let from = match extent.origin {
        ExtentOrigin::File { file, offset } => Some((file, offset)),
        ExtentOrigin::Zeros => None,
    };
    Piece { from, length: extent.length }
}

fn made(title: &contract::Title, id: String, mapping: Mapping) -> Title {
    Title {
        id,
        name: title.name.clone(),
        media_type: title.media_type.clone(),
        duration_ms: title.duration_ms,
        mapping,
    }
}

/// Chooses what was asked for, or what holds it; without a wish the main title. `last` says that nothing is looked into any
/// more.
fn choose(titles: &mut Titles, wanted: Option<&str>, last: bool) -> Result<(), Fault> {
    let main = titles.main.unwrap_or(0);
    let Some(wanted) = wanted else {
        titles.chosen = main;
        return Ok(());
    };
    // Of an image within this one, the title's id begins with the image's.
    let holds = |title: &Arc<Title>| wanted.strip_prefix(&title.id).is_some_and(|rest| rest.starts_with('/'));
    let found = titles.find(wanted).or_else(|| titles.list.iter().position(holds).filter(|_| !last));
    titles.chosen = found.ok_or_else(|| no_title(wanted))?;
    Ok(())
}

/// Puts the titles within the chosen one in its place. False if not one of them can be played.
fn nest(titles: &mut Titles, inner: &[contract::Title], total: u64) -> bool {
    let outer = titles.list[titles.chosen].clone();
    let mut list = Vec::new();
    let mut main = None;
    for title in inner.iter().take(MAX_TITLES - titles.list.len().min(MAX_TITLES)) {
        let mapping = Mapping::new(title.extents.iter().map(piece), &[Some(total)]);
        match mapping.and_then(|mapping| mapping.within(&outer.mapping)) {
            Ok(mapping) => {
                if title.main && main.is_none() {
                    main = Some(list.len());
                }
                list.push(Arc::new(made(title, format!("{}/{}", outer.id, title.id), mapping)));
            }
            Err(error) => tracing::warn!(title = %title.id, %error, "a title cannot be played"),
        }
    }
    if list.is_empty() {
        return false;
    }
    let was_main = titles.main == Some(titles.chosen);
    let (at, count) = (titles.chosen, list.len());
    titles.list.splice(at..=at, list);
    titles.main = match titles.main {
        _ if was_main => Some(at + main.unwrap_or(0)),
        Some(index) if index > at => Some(index + count - 1),
        other => other,
    };
    true
}

/// What a title holds. What stands beside an image is not beside what is in it.
async fn look_within(proxy: &Proxy, film: &Film, start_ms: Option<u64>) -> Result<Option<Layout>, Fault> {
    let Some(title) = film.about().cloned() else { return Ok(None) };
    let name = title.name.as_deref().unwrap_or(&title.id);
    let candidates = Candidates::of(&*proxy.plugins, film, Some(name)).await?;
    let found = detect(candidates, film, &Alone, Some(name), title.media_type.as_deref(), start_ms).await?;
    Ok(found.map(|found| found.layout))
}

/// The facts of a title, and what of it a player needs first.
fn described(inner: Option<Layout>, title: &Title, total: u64) -> (Facts, Vec<IndexRange>) {
    let mut facts = match inner {
        Some(layout) => facts(layout, None, Some(total)),
        None => Facts { first: unknown_first(total, Some(total)), ..Facts::default() },
    };
    // Timestamps within a title may jump, and its list of cells does not.
    facts.duration_ms = title.duration_ms.or(facts.duration_ms);
    if let Some(ms @ 1..) = title.duration_ms {
        facts.bit_rate = u64::try_from(u128::from(total) * 8000 / u128::from(ms)).ok();
    }
    facts.media_type = facts.media_type.or_else(|| title.media_type.clone());
    let first = std::mem::take(&mut facts.first);
    (facts, first)
}

/// A range of a title in bytes of the file that was asked for.
fn in_root(film: &Film, range: &IndexRange) -> Vec<IndexRange> {
    let end = range.offset.saturating_add(range.length);
    let ranges = film.in_root(range.offset..end);
    ranges
        .map(|own| IndexRange { offset: own.start, length: own.end - own.start, what: range.what.clone() })
        .take(contract::MAX_FIRST)
        .collect()
}

/// Keeps what was found for the next time, and what of it a player needs first from being evicted.
async fn remember(live: &Arc<Live>, kept: &Kept) {
    let known = serde_json::to_value(kept).ok();
    let protected = granules(live, &kept.facts.first);
    update(live, move |meta| (meta.layout, meta.protected) = (known, protected)).await;
}

/// The same for a title alone.
async fn protect(live: &Arc<Live>, first: &[IndexRange]) {
    let mut protected = granules(live, first);
    if protected.iter().all(|range| live.hold().meta().protected.contains(range)) {
        return;
    }
    let most = contract::MAX_FIRST;
    update(live, move |meta| {
        protected.append(&mut meta.protected);
        protected.sort_unstable();
        protected.dedup();
        protected.truncate(most);
        meta.protected = protected;
    })
    .await;
}

fn granules(live: &Live, first: &[IndexRange]) -> Vec<(u64, u64)> {
    let geometry = live.hold().geometry();
    let granules = |range: &IndexRange| {
        let Range { start, end } = range.offset..range.offset.saturating_add(range.length).min(geometry.total());
        (start < end).then(|| (geometry.index_at(start), geometry.index_at(end - 1) + 1))
    };
    first.iter().filter_map(granules).collect()
}

async fn update(live: &Arc<Live>, note: impl FnOnce(&mut Meta) + Send + 'static) {
    let held = live.clone();
    if let Err(error) = blocking(move || held.hold().update_meta(note)).await {
        tracing::warn!(%error, "what is known of a file could not be kept");
    }
}

/// Files beside the one that was asked for: the same address with another name at its end.
struct Siblings<'a> {
    proxy: &'a Arc<Proxy>,
    session: &'a Session,
    request: &'a NewSession,
    /// Those that were opened, so that they are opened once.
    opened: Mutex<Vec<(String, Option<Opened>)>>,
}

impl Siblings<'_> {
    async fn open_one(&self, name: &str) -> Result<Option<Opened>, Fault> {
        let Some(url) = key::beside(&self.request.url, name) else { return Ok(None) };
        let file_key = self.request.file_key.as_ref().map(|own| format!("{own}/{name}"));
        let open = Open { uri: url, headers: self.request.headers.clone(), purpose: "play" };
        let (source, found) = ask(self.proxy, &open).await?;
        let source::Opened::Plan(plan) = found else { return Ok(None) };
        let named = key::named(&self.request.url);
        let wanted = Wanted { source, plan, open, file_key, named };
        // A renewed address is one of the same bytes, of these files too.
        let known = self.session.object_beside(name);
        let asked = |id, key: &str| self.session.set_object_beside(name, id, key);
        match file(self.proxy, wanted, known, asked).await {
            Ok(Opened { wants: Some(fault), .. }) => Err(fault),
            Ok(opened) => Ok(Some(opened)),
            Err(fault) if matches!(fault.code.as_str(), code::NOT_FOUND | "gone") => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    async fn open_all(&self, names: Vec<String>) -> Result<(), Fault> {
        let opening = names.into_iter().map(async |name| {
            let opened = self.open_one(&name).await?;
            Ok::<_, Fault>((name, opened))
        });
        let mut opening = futures_util::stream::iter(opening).buffered(SIBLINGS_AT_ONCE);
        while let Some(opened) = opening.next().await {
            self.opened().push(opened?);
        }
        Ok(())
    }

    /// The files of these names, opened now if they were not before, with what keeps their places.
    async fn take(&self, names: &[String]) -> Result<Vec<(Sibling, Option<Arc<Place>>)>, Fault> {
        let missing = {
            let opened = self.opened();
            let is_open = |name: &&String| opened.iter().any(|(known, _)| known == *name);
            names.iter().filter(|name| !is_open(name)).cloned().collect::<Vec<_>>()
        };
        self.open_all(missing).await?;
        let opened = self.opened();
        let find = |name: &String| {
            let found = opened.iter().find(|(known, _)| known == name).and_then(|(_, opened)| opened.as_ref());
            let file = found.map(|opened| opened.live.clone());
            (Sibling { name: name.clone(), file }, found.map(|opened| opened.place.clone()))
        };
        Ok(names.iter().map(find).collect())
    }

    fn opened(&self) -> std::sync::MutexGuard<'_, Vec<(String, Option<Opened>)>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Beside for Siblings<'_> {
    async fn open(&self, names: Vec<String>) -> Result<Vec<Sibling>, Fault> {
        let taken = self.take(&names).await?;
        Ok(taken.into_iter().map(|(sibling, _)| sibling).collect())
    }
}
