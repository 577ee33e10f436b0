//! Manifests of a presentation: fetched, rewritten, and handed out for as long as they hold.
//!
//! Owns: one fetch for all who ask at once, how long what came is handed out, the bound on what is kept.
//! Leaves to others: what a manifest means (`core/container`), what links look like ([`super::seal`]), when new
//! credentials are asked for ([`super::serve`]).

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use cache::upstream::Asked;
use container::manifest::{self, Facts, Freshness, Kind};
use plugin::Header;
use url::Url;

use super::piece::Piece;
use super::shelves::Shelves;
use crate::fault::Fault;
use crate::span;
use crate::upstream::check;

/// The code of a manifest that cannot be served.
pub const BAD_MANIFEST: &str = "bad-manifest";
/// Manifests that a session keeps, at most; the one that was not asked for the longest leaves first.
const MAX_KEPT: usize = 64;
/// Bytes of them, rewritten, at most.
const MAX_KEPT_BYTES: usize = 64 << 20;
/// Attempts at a manifest, while trying again may help.
const ATTEMPTS: u32 = 3;
/// The longest that a server may ask for between two of them.
const ATTEMPT_PATIENCE: Duration = Duration::from_secs(5);
/// How long a manifest may take, all attempts together. Longer than a blocking reload waits for a segment to come.
const PATIENCE: Duration = Duration::from_secs(20);
/// For how long a manifest that says that it does not change is handed out without a look at whether that is true.
const FIXED: Duration = Duration::from_secs(600);
/// For how long one is handed out that cannot be had anew because the upstream fails.
const STALE: Duration = Duration::from_secs(30);

/// A manifest as players get it.
pub struct Playlist {
    pub kind: Kind,
    /// Where it was asked for.
    pub address: Url,
    pub body: Bytes,
    pub facts: Facts,
    /// What it lists, in order.
    pub pieces: Arc<[Piece]>,
    /// When the answer had come.
    pub arrived: Instant,
}

impl Playlist {
    /// Bytes of memory that it takes, about.
    fn weight(&self) -> usize {
        let addresses: usize = self.pieces.iter().map(|piece| piece.url.as_str().len()).sum();
        self.body.len() + addresses + self.pieces.len() * (size_of::<Piece>() + size_of::<Duration>())
    }

    /// The number of the first segment that it lists.
    pub fn first_number(&self) -> Option<u64> {
        match &self.facts {
            Facts::Media(media) => Some(media.media_sequence),
            Facts::Master(_) | Facts::Dash(_) => None,
        }
    }

    fn holds_for(&self) -> Duration {
        match self.facts.freshness() {
            Freshness::Fixed => FIXED,
            Freshness::For(time) => time.min(FIXED),
        }
    }
}

/// What an address answered, before it is rewritten.
pub struct Answer {
    pub text: String,
    /// The address after redirects.
    pub base: Url,
}

/// Those that were asked for lately, by their addresses.
pub struct Playlists(Shelves<Arc<Playlist>>);

impl Default for Playlists {
    fn default() -> Self {
        Playlists(Shelves::new(MAX_KEPT, MAX_KEPT_BYTES, |_| false))
    }
}

impl Playlists {
    /// The manifest of an address: the one that is there if it still holds or came after this was asked, else the one that
    /// `fetch` brings, which is not begun before that is needed. A failure is shared by those who asked in the same epoch.
    pub async fn get(
        &self,
        address: &Url,
        epoch: u64,
        fetch: impl Future<Output = Result<Playlist, Fault>>,
    ) -> Result<Arc<Playlist>, Fault> {
        self.put(address, epoch, false, fetch).await
    }

    /// The one that `fetch` brings, in place of the one that is there.
    pub async fn renew(
        &self,
        address: &Url,
        epoch: u64,
        fetch: impl Future<Output = Result<Playlist, Fault>>,
    ) -> Result<Arc<Playlist>, Fault> {
        self.put(address, epoch, true, fetch).await
    }

    async fn put(
        &self,
        address: &Url,
        epoch: u64,
        anew: bool,
        fetch: impl Future<Output = Result<Playlist, Fault>>,
    ) -> Result<Arc<Playlist>, Fault> {
        let asked = Instant::now();
        let shelf = self.0.shelf(address);
        let mut here = shelf.lock().await;
        if let Some(fault) = here.failed_since(asked, epoch) {
            return Err(fault);
        }
        if let Some(playlist) = here.value.as_ref()
            && (playlist.arrived >= asked || (!anew && playlist.arrived.elapsed() < playlist.holds_for()))
        {
            return Ok(playlist.clone());
        }
        match fetch.await {
            Ok(playlist) => {
                let playlist = Arc::new(playlist);
                here.value = Some(playlist.clone());
                drop(here);
                self.0.weigh(&shelf, playlist.weight());
                Ok(playlist)
            }
            Err(fault) => {
                let bridges = |old: &&Arc<Playlist>| !anew && fault.retryable && old.arrived.elapsed() < STALE;
                if let Some(old) = here.value.as_ref().filter(bridges) {
                    tracing::info!(code = fault.code, "an older manifest is handed out: {}", fault.message);
                    return Ok(old.clone());
                }
                here.fail(&fault, epoch);
                Err(fault)
            }
        }
    }

    /// What is there right now, the ones used last first.
    pub fn here(&self) -> Vec<Arc<Playlist>> {
        self.0.here()
    }

    /// Forgets everything, so that it is asked for anew.
    pub fn clear(&self) {
        self.0.clear();
    }
}

/// Asks for the text of a manifest, again while that may help, and not for ever.
pub async fn fetch(
    client: &fetch::Client,
    url: &Url,
    headers: &[Header],
    named: Option<&fetch::Origin>,
) -> Result<Answer, Fault> {
    let asked = tokio::time::timeout(PATIENCE, fetch_somehow(client, url, headers, named)).await;
    asked.unwrap_or_else(|_| {
        let message = format!("the manifest did not come within {} s", PATIENCE.as_secs());
        Err(Fault { retryable: true, ..Fault::new(plugin::code::TIMEOUT, message) })
    })
}

async fn fetch_somehow(
    client: &fetch::Client,
    url: &Url,
    headers: &[Header],
    named: Option<&fetch::Origin>,
) -> Result<Answer, Fault> {
    let mut failures = 0;
    loop {
        let fault = match fetch_once(client, url, headers, named).await {
            Ok(answer) => return Ok(answer),
            Err(fault) => fault,
        };
        failures += 1;
        if !fault.retryable || fault.asks_for_more_than(ATTEMPT_PATIENCE) || failures >= ATTEMPTS {
            return Err(fault);
        }
        tokio::time::sleep(span::pause(failures, &fault)).await;
    }
}

async fn fetch_once(
    client: &fetch::Client,
    url: &Url,
    headers: &[Header],
    named: Option<&fetch::Origin>,
) -> Result<Answer, Fault> {
    let get = fetch::Get { headers: headers.to_vec(), named: named.cloned(), ..fetch::Get::new(url.clone()) };
    let mut response = client.get(get).await?;
    metrics::counter!("mediahost_upstream_requests_total").increment(1);
    let coding = response.header("content-encoding").unwrap_or("identity").trim().to_ascii_lowercase();
    let is_packed = response.status == 200 && matches!(coding.as_str(), "gzip" | "x-gzip");
    if !is_packed {
        check(&response, &Asked { range: None, expect_media: false }, None)?;
    }
    let mut bytes = BytesMut::new();
    while let Some(piece) = response.chunk().await? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > manifest::MAX_BYTES {
            return Err(bad(&manifest::Error::TooLong(bytes.len())));
        }
    }
    metrics::counter!("mediahost_upstream_bytes_total").increment(bytes.len() as u64);
    let bytes = if is_packed { unpacked(&bytes)? } else { bytes.freeze() };
    let text = manifest::text(&bytes).map_err(|error| bad(&error))?.to_owned();
    Ok(Answer { text, base: response.url })
}

/// What some servers keep packed, and send so although nobody asked for that (RFC 9110 §8.4.1.3).
fn unpacked(bytes: &[u8]) -> Result<Bytes, Fault> {
    let mut text = Vec::new();
    let most = manifest::MAX_BYTES as u64 + 1;
    let read = flate2::read::MultiGzDecoder::new(bytes).take(most).read_to_end(&mut text);
    read.map_err(|error| Fault::new(BAD_MANIFEST, format!("the manifest is not packed as its server says: {error}")))?;
    Ok(text.into())
}

/// What is wrong with a manifest, for people.
pub fn bad(error: &manifest::Error) -> Fault {
    Fault::new(BAD_MANIFEST, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn playlist(target: &str, ended: bool) -> Playlist {
        let end = if ended { "#EXT-X-ENDLIST\n" } else { "" };
        let text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:{target}\n#EXTINF:1,\na.ts\n{end}");
        struct Same;
        impl manifest::Links for Same {
            fn link(&mut self, reference: &manifest::Reference) -> Result<String, String> {
                Ok(reference.url.to_string())
            }
            fn prefix(&mut self, directory: &Url) -> Result<String, String> {
                Ok(directory.to_string())
            }
        }
        let base = Url::parse("http://h/x.m3u8").unwrap();
        let made = manifest::rewrite(Kind::Hls, &text, &base, &Default::default(), &mut Same).unwrap();
        Playlist {
            kind: Kind::Hls,
            address: base,
            body: made.text.into(),
            facts: made.facts,
            pieces: Arc::new([]),
            arrived: Instant::now(),
        }
    }

    fn address(number: usize) -> Url {
        Url::parse(&format!("http://h/{number}.m3u8")).unwrap()
    }

    fn busy() -> Fault {
        Fault { retryable: true, ..Fault::new("unavailable", "busy") }
    }

    #[tokio::test]
    async fn all_who_ask_at_once_get_one_fetch() {
        let playlists = Playlists::default();
        let address = address(0);
        let fetches = std::sync::atomic::AtomicU64::new(0);
        let ask = || {
            playlists.get(&address, 0, async {
                tokio::time::sleep(Duration::from_millis(5)).await;
                fetches.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                // It holds for no time at all.
                Ok(playlist("0", false))
            })
        };
        let all = futures_util::future::join_all((0..50).map(|_| ask())).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(fetches.load(std::sync::atomic::Ordering::Relaxed), 1);
        drop(ask().await);
        assert_eq!(fetches.load(std::sync::atomic::Ordering::Relaxed), 2, "who asks later gets a new one");
    }

    #[tokio::test]
    async fn a_live_one_is_kept_for_its_time_and_a_failing_upstream_is_bridged() {
        let playlists = Playlists::default();
        let get = async |made: Result<Playlist, Fault>| playlists.get(&address(1), 0, async { made }).await;
        let first = get(Ok(playlist("100", false))).await.unwrap();
        let second = get(Err(busy())).await.unwrap();
        assert!(Arc::ptr_eq(&first, &second), "it still holds");
        playlists.clear();
        assert!(get(Ok(playlist("0", false))).await.is_ok());
        assert!(get(Err(busy())).await.is_ok(), "the old one is handed out");
        let denied = Fault::new(plugin::code::AUTH_REQUIRED, "no");
        assert!(get(Err(denied)).await.is_err(), "a refusal is told");
    }

    #[tokio::test]
    async fn a_failure_is_told_to_all_who_waited_for_it() {
        let (playlists, address) = (Playlists::default(), address(2));
        let fetches = std::sync::atomic::AtomicU64::new(0);
        let ask = || {
            playlists.get(&address, 0, async {
                tokio::time::sleep(Duration::from_millis(5)).await;
                fetches.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Err(busy())
            })
        };
        let all = futures_util::future::join_all((0..12).map(|_| ask())).await;
        assert!(all.iter().all(Result::is_err));
        assert_eq!(fetches.load(std::sync::atomic::Ordering::Relaxed), 1);
    }

    #[test]
    fn what_is_packed_is_unpacked_within_bounds() {
        let pack = |bytes: &[u8]| {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut packed, bytes).unwrap();
            packed.finish().unwrap()
        };
        assert_eq!(unpacked(&pack(b"#EXTM3U")).unwrap(), &b"#EXTM3U"[..]);
        let bomb = unpacked(&pack(&vec![b' '; 64 << 20])).unwrap();
        assert_eq!(bomb.len(), manifest::MAX_BYTES + 1, "no more than it takes to see that it is too much");
        assert!(unpacked(b"#EXTM3U").is_err());
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let playlists = Playlists::default();
        for number in 0..3 * MAX_KEPT {
            playlists.get(&address(number), 0, async { Ok(playlist("9", true)) }).await.unwrap();
        }
        assert_eq!(playlists.here().len(), MAX_KEPT);
        let big = || Playlist { body: vec![b'#'; MAX_KEPT_BYTES / 2].into(), ..playlist("9", true) };
        for number in 0..5 {
            playlists.get(&address(1000 + number), 0, async { Ok(big()) }).await.unwrap();
        }
        let bytes: usize = playlists.here().iter().map(|playlist| playlist.body.len()).sum();
        assert!(bytes <= MAX_KEPT_BYTES, "{bytes}");
    }
}
