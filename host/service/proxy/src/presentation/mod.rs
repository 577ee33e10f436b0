//! What is played from a manifest: an HLS or DASH presentation, whose pieces are files in the cache.
//!
//! Owns: where the manifest comes from, with which credentials its parts are asked for, links for players, and the
//! addresses that hold now.
//! Leaves to others: reading manifests (`core/container`), keeping them ([`playlist`]), pieces ([`piece`]), what is
//! answered to players ([`serve`]), what happens when a session is opened ([`begin`]).
//!
//! Invariant: an address is fetched for a player only if it stood in a manifest of this session, or lies below a directory
//! that did (templates of DASH name no single addresses); a private address only if it is of the origin that the user
//! named, whatever a manifest says.

pub mod begin;
mod codec;
pub mod piece;
pub mod playlist;
pub mod seal;
pub mod serve;
mod shelves;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use container::manifest::{self, Facts, Kind, Links, Reference, Role, Variables};
use plugin::Header;
use plugin::source::{MediaSource, Open, Opened, RefreshReason, SegmentedManifest};
use tokio::sync::Mutex as AsyncMutex;
use url::Url;

use crate::fault::Fault;
use crate::live::Live;
use crate::{Proxy, Session, key};

use piece::{Piece, Pieces};
use playlist::{Answer, Playlist, Playlists, bad};
use seal::{Seal, Secret, Target};

/// Addresses whose link has changed since, at most; those of live presentations pass.
const MAX_CURRENT: usize = 1 << 16;
/// Header fields that any server may see.
const HARMLESS: &[&str] = &["user-agent", "referer", "origin", "accept", "accept-language"];
/// The manifest is not asked again for new links sooner than after this.
const RENEW_PAUSE: Duration = Duration::from_secs(2);
/// Bytes of the name at the end of a link, at most.
const MAX_NAME: usize = 64;

/// Nobody has seen what says whether it is live.
const UNKNOWN: u8 = 0;
/// It does not change.
const FIXED: u8 = 1;
/// Some part of it is live.
const LIVE: u8 = 2;

/// A presentation that a session plays.
pub struct Presentation {
    kind: Kind,
    seal: Seal,
    /// The path that links begin with.
    prefix: String,
    state: Mutex<State>,
    playlists: Playlists,
    pieces: Pieces,
    /// Whether it is live: [`UNKNOWN`], [`FIXED`] or [`LIVE`].
    live: AtomicU8,
    /// Held while new links are asked for; when that was last done.
    renewing: AsyncMutex<Option<Instant>>,
}

struct State {
    root: Root,
    /// Rises with each new root: an answer to what was asked with the one before says nothing about this one.
    epoch: u64,
    /// What media playlists may import from the master.
    variables: Variables,
    /// What addresses of older manifests have been replaced by.
    current: HashMap<Url, Url>,
}

/// Where the manifest comes from.
#[derive(Clone)]
pub struct Root {
    /// Its address; of a manifest that a plugin made, what addresses in it are relative to.
    pub url: Url,
    pub access: Access,
    pub origin: Origin,
}

/// Who tells where the manifest is, or what it says.
#[derive(Clone)]
pub enum Origin {
    /// A source has a plan for it, which may be renewed.
    Planned { source: Arc<dyn MediaSource>, open: Open, state: Vec<u8> },
    /// A source made it.
    Made(Made),
}

impl Origin {
    /// What the source was asked.
    pub fn open(&self) -> &Open {
        match self {
            Origin::Planned { open, .. } => open,
            Origin::Made(made) => &made.open,
        }
    }
}

/// A manifest that a plugin made.
#[derive(Clone)]
pub struct Made {
    source: Arc<dyn MediaSource>,
    open: Open,
    manifest: Arc<SegmentedManifest>,
    /// Whether it was handed out; the next time the plugin is asked for a new one.
    taken: Arc<AtomicBool>,
}

/// With what addresses of a presentation are asked.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The origin that the user named, which may be a private address.
    pub named: Option<fetch::Origin>,
    /// The one that the header fields are for; none if they are for all.
    pub home: Option<fetch::Origin>,
    pub headers: Vec<Header>,
}

impl Access {
    /// The header fields for an address: to another origin than the one that they were given for go those alone that tell
    /// what asks. Which of the others are secrets nobody can know.
    pub fn headers_for(&self, url: &Url) -> Vec<Header> {
        let is_harmless = |header: &&Header| HARMLESS.contains(&header.name.to_ascii_lowercase().as_str());
        match self.home.as_ref().is_none_or(|home| home.covers(url)) {
            true => self.headers.clone(),
            false => self.headers.iter().filter(is_harmless).cloned().collect(),
        }
    }
}

impl Root {
    /// What a plugin made. Its header fields are for all that the manifest names: the plugin knows where that is.
    pub fn made(source: Arc<dyn MediaSource>, open: Open, manifest: SegmentedManifest) -> Result<Root, Fault> {
        let url = Url::parse(&manifest.base_url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or_else(|| {
            let message = format!("plugin {} made a manifest whose base is no http address", source.id());
            Fault { plugin: Some(source.id().into()), ..Fault::new("plugin-fault", message) }
        })?;
        let access = Access { named: key::named(&open.uri), home: None, headers: manifest.headers.clone() };
        let made = Made { source, open, manifest: Arc::new(manifest), taken: Arc::default() };
        Ok(Root { url, access, origin: Origin::Made(made) })
    }
}

impl Presentation {
    /// `prefix` is the path that links begin with.
    pub fn new(kind: Kind, secret: &Secret, prefix: String, root: Root) -> Presentation {
        let state = State { root, epoch: 0, variables: Variables::new(), current: HashMap::new() };
        Presentation {
            kind,
            seal: Seal::new(secret),
            prefix,
            state: Mutex::new(state),
            playlists: Playlists::default(),
            pieces: Pieces::default(),
            live: AtomicU8::new(UNKNOWN),
            renewing: AsyncMutex::default(),
        }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// A name for the end of its address, with an extension that players know.
    pub fn file_name(&self, name: Option<&str>) -> String {
        let extension = match self.kind {
            Kind::Hls => ".m3u8",
            Kind::Dash => ".mpd",
        };
        let name = name.filter(|name| !name.is_empty()).unwrap_or("index");
        match name.to_ascii_lowercase().ends_with(extension) {
            true => name.to_owned(),
            false => format!("{name}{extension}"),
        }
    }

    /// Whether addresses may come to stand for other pieces: it is live, or nobody knows yet that it is not.
    pub fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed) != FIXED
    }

    /// Goes on with another address or other credentials for the same presentation.
    pub fn set_root(&self, root: Root) {
        let mut state = self.state();
        state.root = root;
        state.epoch += 1;
        drop(state);
        self.playlists.clear();
    }

    /// Which root it is; see [`State::epoch`].
    pub fn epoch(&self) -> u64 {
        self.state().epoch
    }

    /// Whether what the root may do is worth asking somebody for, though this was refused: it is the root itself, it is a
    /// plain refusal of credentials, or nothing could be had so far. Some servers refuse what is not there with 403.
    pub fn is_refused(&self, url: Option<&Url>, fault: &Fault) -> bool {
        let is_root = url.is_none_or(|url| *url == self.state().root.url);
        is_root || fault.upstream_status != Some(403) || !self.pieces.any()
    }

    pub fn access(&self) -> Access {
        self.state().root.access.clone()
    }

    /// The address that the newest manifest has in place of this one.
    pub fn current(&self, url: &Url) -> Url {
        self.state().current.get(url).unwrap_or(url).clone()
    }

    /// Closes pieces that nobody has asked for lately.
    pub fn close_unused(&self) {
        self.pieces.close_unused();
    }

    /// Manifests that are here, the ones used last first.
    pub fn playlists(&self) -> Vec<Arc<Playlist>> {
        self.playlists.here()
    }

    pub async fn open_piece(
        self: &Arc<Self>,
        proxy: &Arc<Proxy>,
        session: &Session,
        url: &Url,
    ) -> Result<Arc<Live>, Fault> {
        self.pieces.open(proxy, session, self, url).await
    }

    /// A player reads a piece from this byte on: the next ones are fetched when it is here.
    pub fn look_ahead(self: &Arc<Self>, proxy: &Arc<Proxy>, session: &Arc<Session>, url: &Url, at: u64) {
        self.pieces.look_ahead(proxy, session, self, url, at);
    }

    /// Bytes that are here beyond where a player read last.
    pub fn ahead(&self) -> u64 {
        self.pieces.ahead(self)
    }

    /// A manifest whose links are addresses. Players of DASH resolve a `BaseURL` that is a path against the one above it, or
    /// not at all (FFmpeg takes it for a file), so they are given no paths.
    pub fn with_addresses(&self, manifest: &Bytes, begin: &str) -> Bytes {
        // What is ours was checked to be ASCII without anything that XML would escape.
        let text = String::from_utf8_lossy(manifest);
        text.replace(&format!("{}/", self.prefix), &format!("{begin}/")).into()
    }

    /// What a link leads to; none for one that this session did not make.
    pub fn opened(&self, link: &str) -> Option<Target> {
        self.seal.open(link)
    }

    /// The files of pieces that are open.
    pub fn files(&self) -> Vec<Arc<Live>> {
        self.pieces.files()
    }

    /// Bytes that came for pieces which are not open any more.
    pub fn gone_bytes(&self) -> u64 {
        self.pieces.gone_bytes()
    }

    /// Takes what the address of the manifest answered just now.
    pub async fn take_up(&self, answer: Answer) -> Result<Arc<Playlist>, Fault> {
        let url = self.state().root.url.clone();
        self.playlists.get(&url, self.epoch(), async { self.rewritten(&url, answer) }).await
    }

    /// The manifest that the session was made for, or what a player's directives for it (`_HLS_msn=…`) lead to.
    pub async fn root(&self, proxy: &Proxy, query: &str) -> Result<Arc<Playlist>, Fault> {
        let epoch = self.epoch();
        let first = self.root_once(proxy, query).await;
        let Err(fault) = &first else { return first };
        if fault.renew.is_none() || !self.renew_root(epoch, fault).await {
            return first;
        }
        self.root_once(proxy, query).await
    }

    async fn root_once(&self, proxy: &Proxy, query: &str) -> Result<Arc<Playlist>, Fault> {
        let root = self.state().root.clone();
        match &root.origin {
            Origin::Planned { .. } => self.playlist_at(proxy, &manifest::hls::directed(&root.url, query), false).await,
            Origin::Made(made) => {
                let epoch = self.epoch();
                self.playlists.get(&root.url, epoch, self.by_plugin(&root, made)).await
            }
        }
    }

    /// Asks the source for a new plan of the manifest's address; false if it has none.
    async fn renew_root(&self, epoch: u64, fault: &Fault) -> bool {
        let root = self.state().root.clone();
        let Origin::Planned { source, open, state } = &root.origin else { return false };
        if self.epoch() != epoch {
            return true;
        }
        let reason = RefreshReason { code: "denied", status: fault.upstream_status, segment: Some(0) };
        let Ok(Opened::Plan(plan)) = source.refresh(open.clone(), state.clone(), reason).await else { return false };
        let state = plan.about().state.clone();
        let origin = Origin::Planned { source: source.clone(), open: open.clone(), state };
        let Some(new) = begin::planned(origin, &plan) else { return false };
        let is_other = new.url != root.url || new.access.headers != root.access.headers;
        is_other && self.replace_root(epoch, new)
    }

    /// Sets a root unless it was set since; the answer is whether there is another one now.
    fn replace_root(&self, epoch: u64, new: Root) -> bool {
        let mut state = self.state();
        if state.epoch == epoch {
            (state.root, state.epoch) = (new, epoch + 1);
        }
        true
    }

    /// The manifest of an address, with a player's directives for it.
    pub async fn playlist(&self, proxy: &Proxy, url: &Url, query: &str) -> Result<Arc<Playlist>, Fault> {
        let directed = |now: &Url| manifest::hls::directed(now, query);
        let now = self.current(url);
        let first = self.playlist_at(proxy, &directed(&now), false).await;
        let Err(fault) = &first else { return first };
        // At the edge of a live presentation things come and go; that says nothing about the links.
        let may_help = fault.wants_auth() || (fault.renew.is_some() && !self.is_live());
        if !may_help || *url == self.state().root.url {
            return first;
        }
        let renewed = self.renewed(proxy, url, &now).await;
        if renewed == now { first } else { self.playlist_at(proxy, &directed(&renewed), false).await }
    }

    async fn playlist_at(&self, proxy: &Proxy, url: &Url, anew: bool) -> Result<Arc<Playlist>, Fault> {
        let access = self.access();
        let fetch = async {
            let headers = access.headers_for(url);
            let answer = playlist::fetch(&proxy.client, url, &headers, access.named.as_ref()).await?;
            self.rewritten(url, answer)
        };
        let epoch = self.epoch();
        match anew {
            true => self.playlists.renew(url, epoch, fetch).await,
            false => self.playlists.get(url, epoch, fetch).await,
        }
    }

    /// A manifest that a plugin made holds until it says otherwise; then the plugin is asked for it anew.
    async fn by_plugin(&self, root: &Root, made: &Made) -> Result<Playlist, Fault> {
        let manifest = match made.taken.swap(true, Ordering::Relaxed) {
            false => made.manifest.clone(),
            true => self.ask_plugin(made, None).await?,
        };
        self.rewritten(&root.url, Answer { text: manifest.text.clone(), base: root.url.clone() })
    }

    async fn ask_plugin(&self, made: &Made, reason: Option<RefreshReason>) -> Result<Arc<SegmentedManifest>, Fault> {
        let epoch = self.epoch();
        let opened = match reason {
            Some(reason) => made.source.refresh(made.open.clone(), made.manifest.state.clone(), reason).await?,
            None => made.source.open(made.open.clone()).await?,
        };
        let Opened::Manifest(manifest) = opened else {
            return Err(Fault::new(crate::fault::CHANGED, "the address is a file now, and was a manifest"));
        };
        let root = Root::made(made.source.clone(), made.open.clone(), manifest)?;
        let Origin::Made(new) = &root.origin else { return Ok(made.manifest.clone()) };
        new.taken.store(true, Ordering::Relaxed);
        let manifest = new.manifest.clone();
        self.replace_root(epoch, root);
        Ok(manifest)
    }

    fn rewritten(&self, address: &Url, answer: Answer) -> Result<Playlist, Fault> {
        let variables = self.state().variables.clone();
        let mut links = Linking { presentation: self, pieces: Vec::new() };
        let made = manifest::rewrite(self.kind, &answer.text, &answer.base, &variables, &mut links);
        let pieces = links.pieces;
        let made = made.map_err(|error| bad(&error))?;
        if let Facts::Master(master) = &made.facts {
            self.state().variables = master.variables.clone();
        }
        if let Some(is_live) = made.facts.is_live() {
            // What was seen to be live once is not trusted any more.
            self.live.fetch_max(if is_live { LIVE } else { FIXED }, Ordering::Relaxed);
        }
        Ok(Playlist {
            kind: self.kind,
            address: address.clone(),
            body: made.text.into(),
            facts: made.facts,
            pieces: pieces.into(),
            arrived: Instant::now(),
        })
    }

    /// The address in place of one that was refused, or is about to be: the manifests are asked for anew, and may have another
    /// one. The same if they do not, or cannot be had.
    pub async fn renewed(&self, proxy: &Proxy, url: &Url, refused: &Url) -> Url {
        let asked = Instant::now();
        let mut last = self.renewing.lock().await;
        let now = self.current(url);
        // Who waited for a renewal has what came of it.
        if now != *refused || last.is_some_and(|at| at >= asked) {
            return now;
        }
        if let Some(at) = *last {
            tokio::time::sleep(RENEW_PAUSE.saturating_sub(at.elapsed())).await;
        }
        if let Err(fault) = self.renew_manifests(proxy, &now).await {
            tracing::info!(code = fault.code, "the manifest could not be had anew: {}", fault.message);
        }
        *last = Some(Instant::now());
        self.current(url)
    }

    /// Asks for the manifests anew that lead to an address: the root, and those that name it.
    async fn renew_manifests(&self, proxy: &Proxy, url: &Url) -> Result<(), Fault> {
        let root = self.state().root.clone();
        let names = |playlist: &&Arc<Playlist>| playlist.pieces.iter().any(|piece| piece.url == *url);
        let here = self.playlists.here();
        let before = here.iter().find(|playlist| playlist.address == root.url).cloned();
        let naming: Vec<_> = here.iter().filter(names).filter(|one| one.address != root.url).cloned().collect();
        let after = match &root.origin {
            Origin::Planned { .. } => self.playlist_at(proxy, &root.url, true).await?,
            Origin::Made(made) => {
                let reason = RefreshReason { code: "denied", status: None, segment: None };
                let manifest = self.ask_plugin(made, Some(reason)).await?;
                let base = self.state().root.url.clone();
                let made = async { self.rewritten(&base, Answer { text: manifest.text.clone(), base: base.clone() }) };
                self.playlists.renew(&base, self.epoch(), made).await?
            }
        };
        if let Some(before) = before {
            self.replace(&before, &after);
        }
        for before in naming {
            let after = self.playlist_at(proxy, &self.current(&before.address), true).await?;
            self.replace(&before, &after);
        }
        Ok(())
    }

    /// Notes which addresses of a manifest have been replaced. Only what is the same but for its query, and comes as often in
    /// both, can be told.
    fn replace(&self, before: &Playlist, after: &Playlist) {
        let by_path = |playlist: &Playlist| {
            let mut found: HashMap<(Url, Role, Option<u64>), Vec<Url>> = HashMap::new();
            let mut number = playlist.first_number();
            for piece in playlist.pieces.iter() {
                // Of a playlist each segment has a number, however its window has moved on (RFC 8216 §4.3.3.2).
                let own = number.filter(|_| piece.is_segment());
                number = number.map(|number| number + u64::from(piece.is_segment()));
                let same = found.entry((without_query(&piece.url), piece.role, own)).or_default();
                if same.last() != Some(&piece.url) {
                    same.push(piece.url.clone());
                }
            }
            found
        };
        // Without numbers the order tells which is which, as long as it does not move.
        let is_ordered = !matches!(&after.facts, Facts::Dash(dash) if dash.is_dynamic);
        let new = by_path(after);
        let mut replaced: HashMap<Url, Url> = HashMap::new();
        for (path, old) in by_path(before) {
            let fits = |new: &&Vec<Url>| new.len() == old.len() && (is_ordered || new.len() == 1);
            if let Some(new) = new.get(&path).filter(fits) {
                let pairs = old.into_iter().zip(new.iter().cloned());
                replaced.extend(pairs.filter(|(old, new)| old != new));
            }
        }
        let mut state = self.state();
        // What was replaced before is replaced again.
        for now in state.current.values_mut() {
            if let Some(new) = replaced.get(now) {
                *now = new.clone();
            }
        }
        if state.current.len() + replaced.len() > MAX_CURRENT {
            state.current.clear();
        }
        state.current.extend(replaced.into_iter().take(MAX_CURRENT));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn without_query(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_query(None);
    url
}

/// Makes links, and notes what a manifest lists.
struct Linking<'a> {
    presentation: &'a Presentation,
    pieces: Vec<Piece>,
}

impl Links for Linking<'_> {
    fn link(&mut self, reference: &Reference) -> Result<String, String> {
        let url = &reference.url;
        self.pieces.push(Piece { url: url.clone(), bytes: reference.bytes, role: reference.role });
        let sealed = self.presentation.seal.seal(&Target::Address { role: reference.role, url: url.clone() });
        Ok(format!("{}/{sealed}/{}", self.presentation.prefix, name(url)))
    }

    fn prefix(&mut self, directory: &Url) -> Result<String, String> {
        let sealed = self.presentation.seal.seal(&Target::Below(directory.clone()));
        Ok(format!("{}/{sealed}/", self.presentation.prefix))
    }
}

/// What a link ends with: the name at the end of the address, for players that go by extensions.
fn name(url: &Url) -> String {
    let last = url.path().rsplit('/').next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-._~".contains(c) { c } else { '_' };
    let name: String = last.chars().map(plain).collect();
    match name.len() {
        0 => "media".to_owned(),
        length => name[length.saturating_sub(MAX_NAME)..].to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_where_they_belong() {
        let header = |name: &str| Header { name: name.into(), value: "x".into() };
        let home = fetch::Origin::of(&Url::parse("https://h/").unwrap());
        let headers = vec![header("authorization"), header("Referer"), header("x-signature")];
        let access = Access { named: None, home, headers };
        let names = |url: &str| -> Vec<String> {
            access.headers_for(&Url::parse(url).unwrap()).into_iter().map(|header| header.name).collect()
        };
        assert_eq!(names("https://h/a.ts"), ["authorization", "Referer", "x-signature"]);
        assert_eq!(names("https://cdn/a.ts"), ["Referer"]);
    }

    #[test]
    fn links_end_with_a_name() {
        for (url, expected) in
            [("https://h/a/b.ts?token=1", "b.ts"), ("https://h/", "media"), ("https://h/a%20(1)'.m4s", "a_20_1__.m4s")]
        {
            assert_eq!(name(&Url::parse(url).unwrap()), expected);
        }
        let long = Url::parse(&format!("https://h/{}.ts", "a".repeat(500))).unwrap();
        assert!(name(&long).len() == MAX_NAME && name(&long).ends_with("a.ts"));
    }
}
