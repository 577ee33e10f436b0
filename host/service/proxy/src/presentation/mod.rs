//! What is played from a manifest: an HLS or DASH presentation, whose pieces are files in the cache.
//!
//! Owns: where the manifest comes from, with which credentials its parts are asked for, links for players, and the
//! addresses that hold now.
//! Leaves to others: reading manifests (`core/container`), keeping them ([`playlist`]), pieces ([`piece`]), what is
//! answered to players ([`serve`]), what happens when a session is opened ([`begin`]).
//!
//! Invariant: an address is fetched for a player only if it stood in a manifest of this session; a private address only if
//! it is of the origin that the user named, whatever a manifest says.

pub mod begin;
mod codec;
pub mod piece;
pub mod playlist;
pub mod seal;
pub mod serve;
mod shelves;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
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
/// The manifest is not asked again for new links sooner than after this.
const RENEW_PAUSE: Duration = Duration::from_secs(2);
/// Bytes of the name at the end of a link, at most.
const MAX_NAME: usize = 64;

/// A presentation that a session plays.
pub struct Presentation {
    kind: Kind,
    seal: Seal,
    /// The path that links begin with.
    prefix: String,
    state: Mutex<State>,
    playlists: Playlists,
    pieces: Pieces,
    /// Whether some part of it was seen to be live.
    live: AtomicBool,
    /// Held while new links are asked for; when that was last done.
    renewing: AsyncMutex<Option<Instant>>,
}

struct State {
    root: Root,
    /// What media playlists may import from the master.
    variables: Variables,
    /// Addresses as the newest manifest has them, by the same without their query.
    current: HashMap<Url, Url>,
}

/// Where the manifest comes from.
#[derive(Clone)]
pub struct Root {
    /// Its address; of a manifest that a plugin made, what addresses in it are relative to.
    pub url: Url,
    pub access: Access,
    /// Who made it, if it did not come from the address.
    pub made: Option<Made>,
}

/// A manifest that a plugin made.
#[derive(Clone)]
pub struct Made {
    pub source: Arc<dyn MediaSource>,
    pub open: Open,
    pub manifest: Arc<SegmentedManifest>,
    /// Whether it was handed out; the next time the plugin is asked for a new one.
    pub taken: Arc<AtomicBool>,
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
    /// The header fields for an address: credentials go to the origin that they were given for.
    pub fn headers_for(&self, url: &Url) -> Vec<Header> {
        match self.home.as_ref().is_none_or(|home| home.covers(url)) {
            true => self.headers.clone(),
            false => fetch::without_credentials(&self.headers),
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
        Ok(Root { url, access, made: Some(made) })
    }
}

impl Presentation {
    /// `prefix` is the path that links begin with.
    pub fn new(kind: Kind, secret: &Secret, prefix: String, root: Root) -> Presentation {
        let state = State { root, variables: Variables::new(), current: HashMap::new() };
        Presentation {
            kind,
            seal: Seal::new(secret),
            prefix,
            state: Mutex::new(state),
            playlists: Playlists::default(),
            pieces: Pieces::default(),
            live: AtomicBool::new(false),
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

    /// Whether some part of it was seen to be live: addresses may then come to stand for other pieces.
    pub fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }

    /// Goes on with another address or other credentials for the same presentation.
    pub fn set_root(&self, root: Root) {
        self.state().root = root;
        self.playlists.clear();
    }

    pub fn access(&self) -> Access {
        self.state().root.access.clone()
    }

    /// The address that the newest manifest has in place of this one.
    pub fn current(&self, url: &Url) -> Url {
        self.state().current.get(&without_query(url)).unwrap_or(url).clone()
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

    /// The address to ask when a player gives directives for the manifest itself (`_HLS_msn`, …).
    pub fn directed_root(&self, query: &str) -> Option<Url> {
        let root = self.state().root.clone();
        let directed = manifest::hls::directed(&root.url, query);
        (root.made.is_none() && directed != root.url).then_some(directed)
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
        self.playlists.get(&url, async { self.rewritten(&url, answer) }).await
    }

    /// The manifest that the session was made for.
    pub async fn root(&self, proxy: &Proxy) -> Result<Arc<Playlist>, Fault> {
        let root = self.state().root.clone();
        match &root.made {
            None => self.playlist(proxy, &root.url).await,
            Some(made) => self.playlists.get(&root.url, self.by_plugin(&root, made)).await,
        }
    }

    /// The manifest of an address.
    pub async fn playlist(&self, proxy: &Proxy, url: &Url) -> Result<Arc<Playlist>, Fault> {
        let now = self.current(url);
        match self.playlist_at(proxy, url, &now).await {
            Err(fault) if fault.renew.is_some() && *url != self.state().root.url => {
                let renewed = self.renewed(proxy, url, &now).await;
                if renewed == now { Err(fault) } else { self.playlist_at(proxy, url, &renewed).await }
            }
            answer => answer,
        }
    }

    async fn playlist_at(&self, proxy: &Proxy, url: &Url, now: &Url) -> Result<Arc<Playlist>, Fault> {
        let access = self.access();
        let fetch = async {
            let headers = access.headers_for(now);
            let answer = playlist::fetch(&proxy.client, now, &headers, access.named.as_ref()).await?;
            self.rewritten(url, answer)
        };
        self.playlists.get(url, fetch).await
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
        let opened = match reason {
            Some(reason) => made.source.refresh(made.open.clone(), made.manifest.state.clone(), reason).await?,
            None => made.source.open(made.open.clone()).await?,
        };
        let Opened::Manifest(manifest) = opened else {
            return Err(Fault::new(crate::fault::CHANGED, "the address is a file now, and was a manifest"));
        };
        let root = Root::made(made.source.clone(), made.open.clone(), manifest)?;
        let new = root.made.as_ref().unwrap_or(made);
        new.taken.store(true, Ordering::Relaxed);
        let manifest = new.manifest.clone();
        self.state().root = root;
        Ok(manifest)
    }

    fn rewritten(&self, address: &Url, answer: Answer) -> Result<Playlist, Fault> {
        let variables = self.state().variables.clone();
        let mut links = Linking { presentation: self, pieces: Vec::new(), seen: Vec::new() };
        let made = manifest::rewrite(self.kind, &answer.text, &answer.base, &variables, &mut links);
        let Linking { pieces, seen, .. } = links;
        let made = made.map_err(|error| bad(&error))?;
        let mut state = self.state();
        if let Facts::Master(master) = &made.facts {
            state.variables = master.variables.clone();
        }
        for url in seen.into_iter().filter(|url| url.query().is_some()) {
            if state.current.len() >= MAX_CURRENT {
                state.current.clear();
            }
            state.current.insert(without_query(&url), url);
        }
        drop(state);
        if made.facts.is_live() == Some(true) {
            self.live.store(true, Ordering::Relaxed);
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
        let mut last = self.renewing.lock().await;
        let now = self.current(url);
        if now != *refused || last.is_some_and(|at| at.elapsed() < RENEW_PAUSE) {
            return now;
        }
        *last = Some(Instant::now());
        let listing = |playlist: &&Arc<Playlist>| {
            let same = |piece: &Piece| without_query(&piece.url) == without_query(url);
            playlist.pieces.iter().any(same)
        };
        let listing: Vec<Url> =
            self.playlists.here().iter().filter(listing).map(|playlist| playlist.address.clone()).collect();
        let root = self.state().root.clone();
        self.playlists.clear();
        let fresh = match &root.made {
            None => self.playlist_at(proxy, &root.url, &root.url).await.map(drop),
            Some(made) => {
                let reason = RefreshReason { code: "denied", status: None, segment: None };
                match self.ask_plugin(made, Some(reason)).await {
                    Ok(manifest) => {
                        let answer = Answer { text: manifest.text.clone(), base: self.state().root.url.clone() };
                        self.rewritten(&root.url, answer).map(drop)
                    }
                    Err(fault) => Err(fault),
                }
            }
        };
        if let Err(fault) = fresh {
            tracing::info!(code = fault.code, "the manifest could not be had anew: {}", fault.message);
            return now;
        }
        for address in listing.iter().filter(|address| **address != root.url) {
            if let Err(fault) = self.playlist_at(proxy, address, &self.current(address)).await {
                tracing::info!(code = fault.code, "a manifest could not be had anew: {}", fault.message);
            }
        }
        self.current(url)
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
    seen: Vec<Url>,
}

impl Links for Linking<'_> {
    fn link(&mut self, reference: &Reference) -> Result<String, String> {
        let url = &reference.url;
        if matches!(reference.role, Role::Segment | Role::Init) {
            let is_init = reference.role == Role::Init;
            self.pieces.push(Piece { url: url.clone(), bytes: reference.bytes, is_init });
        }
        self.seen.push(url.clone());
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
        let access = Access { named: None, home, headers: vec![header("authorization"), header("referer")] };
        let names = |url: &str| -> Vec<String> {
            access.headers_for(&Url::parse(url).unwrap()).into_iter().map(|header| header.name).collect()
        };
        assert_eq!(names("https://h/a.ts"), ["authorization", "referer"]);
        assert_eq!(names("https://cdn/a.ts"), ["referer"]);
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
