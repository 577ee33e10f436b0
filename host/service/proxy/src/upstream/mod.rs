//! Where the bytes of one object come from: a plan, and the connections that follow it.
//!
//! Owns: the plan and what was learned of each of its addresses.
//! Leaves to others: one request ([`ask`]), the first one ([`probe`]), new plans ([`renew`]), the comparison of bytes
//! ([`prove`]), and which bytes are fetched when (the object).
//!
//! Invariant: bytes come only from an address whose version is the pinned one, or that was shown to have the same bytes.

mod ask;
mod probe;
mod prove;
mod renew;

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cache::Validators;
use cache::upstream::Pinned;
use plugin::code;
use plugin::source::{MediaSource, Open, Origin, Plan};
use tokio::sync::Mutex as AsyncMutex;
use url::Url;

use crate::fault::Fault;
use crate::origins::{Origins, Pool, Slot};
use crate::pull::Pull;

pub use ask::{Answer, check};
pub use probe::Probe;
pub use probe::Verdict;
pub use prove::{SAMPLE, Sample};

/// Bytes that one call to a computing plugin is asked for.
const COMPUTED_SPAN: u64 = 4 << 20;
/// How long an address that failed is left alone while there are others; doubles with each failure in a row.
const REST: Duration = Duration::from_secs(2);
/// The longest of these.
const MAX_REST: Duration = Duration::from_secs(60);

/// A plan being followed. Shared by the spans of an object.
pub struct Upstream {
    client: fetch::Client,
    source: Arc<dyn MediaSource>,
    open: Open,
    /// The origin that the user named, which may be a private address.
    named: Option<fetch::Origin>,
    origins: Arc<Origins>,
    state: Mutex<State>,
    /// Each request that is under way holds it.
    requests: Arc<()>,
    /// Held while the plan is renewed, so that it is renewed once for all who wait.
    renewing: AsyncMutex<()>,
    /// Held while bytes are compared, for the same reason.
    proving: AsyncMutex<()>,
    /// An answer whose head was looked at and whose body is for the first span that asks for it.
    primed: Mutex<Option<Primed>>,
}

struct State {
    plan: Arc<Plan>,
    /// Rises with each renewal.
    epoch: u64,
    /// The moment of expiry that a renewal was asked for already: a plugin that knows no later one is not asked again.
    renewed_for_ms: Option<u64>,
    /// What was learned of the addresses, by segment and place in its list. Bounded by the plan.
    mirrors: HashMap<(usize, usize), Mirror>,
    asking: Asking,
    /// Gives everything or nothing: a request in the middle costs all that comes before.
    sequential: bool,
}

/// How ranges are asked for, as the first request found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// From and to.
    Bounded,
    /// From, to the end; the connection is dropped when enough has come.
    Open,
    /// Not at all.
    Plain,
}

/// One address of a segment.
#[derive(Clone, Debug, Default)]
struct Mirror {
    /// What it said of its version.
    pinned: Pinned,
    /// Where it led last; asked first until it fails.
    led: Option<Url>,
    trust: Trust,
    failures: u32,
    rest_until: Option<Instant>,
}

/// Whether an address gives the bytes of the pinned version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trust {
    /// Nobody knows.
    #[default]
    Unknown,
    /// It is where the version was pinned, or its bytes were compared.
    Proven,
    /// It has other bytes, and is not asked again.
    Other,
}

/// One way to bytes of a segment.
#[derive(Clone)]
pub struct Route {
    pub segment: usize,
    /// Place in the segment's list of addresses.
    mirror: usize,
    pub pool: Arc<Pool>,
    /// Whether its bytes have to be compared before they are used.
    pub unproven: bool,
}

impl Route {
    /// Whether it is the same address.
    pub fn is(&self, other: &Route) -> bool {
        (self.segment, self.mirror) == (other.segment, other.mirror)
    }
}

struct Primed {
    segment: usize,
    /// Offset within the whole.
    start: u64,
    end: u64,
    answer: Answer,
}

impl Upstream {
    pub fn new(
        client: fetch::Client,
        source: Arc<dyn MediaSource>,
        open: Open,
        named: Option<fetch::Origin>,
        plan: Plan,
        origins: Arc<Origins>,
    ) -> Upstream {
        let state = State {
            plan: Arc::new(plan),
            epoch: 0,
            renewed_for_ms: None,
            mirrors: HashMap::new(),
            asking: Asking::Bounded,
            sequential: false,
        };
        Upstream {
            client,
            source,
            open,
            named,
            origins,
            state: Mutex::new(state),
            requests: Arc::default(),
            renewing: AsyncMutex::default(),
            proving: AsyncMutex::default(),
            primed: Mutex::default(),
        }
    }

    /// The same plan with nothing known of its versions.
    pub fn again(other: &Upstream) -> Upstream {
        let plan = (*other.plan()).clone();
        let (source, open, named) = (other.source.clone(), other.open.clone(), other.named.clone());
        Upstream::new(other.client.clone(), source, open, named, plan, other.origins.clone())
    }

    pub fn plan(&self) -> Arc<Plan> {
        self.state().plan.clone()
    }

    pub fn epoch(&self) -> u64 {
        self.state().epoch
    }

    pub fn origins(&self) -> &Arc<Origins> {
        &self.origins
    }

    /// Pins what an object on the disk was made from, so that an answer of another version is refused.
    pub fn pin(&self, total: u64, validators: &Validators) {
        let plan = self.plan();
        if let ([_], Origin::Http { offset: 0, .. }) = (plan.segments(), &plan.segments()[0].origin) {
            let pinned = Pinned {
                total: Some(total),
                etag: validators.etag.clone(),
                last_modified: validators.last_modified.clone(),
                aliases: Vec::new(),
            };
            let mirror = Mirror { pinned, trust: Trust::Proven, ..Mirror::default() };
            self.state().mirrors.insert((0, 0), mirror);
        }
    }

    /// The ways to the byte at `offset` over HTTP, the best first; none when it comes from elsewhere.
    pub fn routes(&self, offset: u64) -> Vec<Route> {
        let plan = self.plan();
        let Some(segment) = plan.at(offset) else { return Vec::new() };
        let Origin::Http { urls, .. } = &plan.segments()[segment].origin else { return Vec::new() };
        let now = Instant::now();
        let mut found: Vec<_> = {
            let state = self.state();
            let known = |mirror: usize| state.mirrors.get(&(segment, mirror)).cloned().unwrap_or_default();
            let anchored = (0..urls.len()).any(|mirror| known(mirror).trust == Trust::Proven);
            (0..urls.len())
                .map(|mirror| (mirror, known(mirror)))
                .filter(|(_, known)| known.trust != Trust::Other)
                .map(|(mirror, known)| {
                    let resting = known.rest_until.filter(|until| *until > now);
                    let unproven = anchored && known.trust == Trust::Unknown;
                    ((resting, unproven, mirror), known.led.map(|led| led.to_string()))
                })
                .collect()
        };
        found.sort_by_key(|(order, _)| *order);
        let route = |((_, unproven, mirror), led): ((Option<Instant>, bool, usize), Option<String>)| {
            let url = Url::parse(led.as_deref().unwrap_or(&urls[mirror])).ok()?;
            let pool = self.origins.pool(&fetch::Origin::of(&url)?);
            Some(Route { segment, mirror, pool, unproven })
        };
        found.into_iter().filter_map(route).collect()
    }

    /// The best of [`Upstream::routes`].
    pub fn route(&self, offset: u64) -> Option<Route> {
        self.routes(offset).into_iter().next()
    }

    /// Bytes of the whole, which lie in one segment and do not come over HTTP.
    pub fn pull(&self, segment: usize, range: Range<u64>) -> Result<Pull, Fault> {
        let plan = self.plan();
        let within = range.start - plan.start(segment);
        let left = range.end - range.start;
        Ok(match &plan.segments()[segment].origin {
            Origin::Http { .. } => {
                return Err(Fault::new(code::BAD_ADDRESS, "none of the plan's addresses can be asked"));
            }
            Origin::File { root, path, offset } => {
                Pull::File { path: self.file(root, path)?, at: offset + within, left }
            }
            Origin::Inline(bytes) => {
                let from = usize::try_from(within).unwrap_or(usize::MAX).min(bytes.len());
                let to = usize::try_from(within + left).unwrap_or(usize::MAX).min(bytes.len());
                Pull::Bytes(bytes.slice(from..to))
            }
            Origin::Zeros => Pull::Zeros { left },
            Origin::Computed => {
                let left = left.min(COMPUTED_SPAN);
                let state = plan.about().state.clone();
                let stream = self.source.read(state, segment as u32, within, left);
                Pull::Computed { stream, left }
            }
            Origin::Parent { .. } => return Err(parents()),
        })
    }

    /// The file of this machine that the whole plan is: its path, where it begins in it, and how long it is.
    pub fn local_file(&self) -> Result<Option<(PathBuf, u64, Option<u64>)>, Fault> {
        let plan = self.plan();
        let [segment] = plan.segments() else { return Ok(None) };
        match &segment.origin {
            Origin::File { root, path, offset } => Ok(Some((self.file(root, path)?, *offset, segment.length))),
            _ => Ok(None),
        }
    }

    /// The bytes whose answer is under way already.
    pub fn primed(&self) -> Option<Range<u64>> {
        self.primed_now().as_ref().map(|primed| primed.start..primed.end)
    }

    /// The answer that is under way already and begins with `range`.
    pub fn take_primed(&self, range: &Range<u64>) -> Option<Pull> {
        let primed = self.primed_now().take_if(|primed| primed.start == range.start && primed.end > range.start)?;
        let plan = self.plan();
        let segment_end = plan.segments()[primed.segment].length.map(|length| plan.start(primed.segment) + length);
        let end = primed.end.min(range.end).min(segment_end.unwrap_or(u64::MAX));
        Some(primed.answer.pull(0, end - range.start))
    }

    fn prime(&self, primed: Primed) {
        *self.primed_now() = Some(primed);
    }

    fn primed_now(&self) -> MutexGuard<'_, Option<Primed>> {
        self.primed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request in the middle costs all that comes before.
    pub fn is_sequential(&self) -> bool {
        self.state().sequential
    }

    /// Takes over what another upstream has learned of the same origin.
    pub fn learn_from(&self, other: &Upstream) {
        let learned = {
            let other = other.state();
            (other.asking, other.sequential)
        };
        let mut state = self.state();
        (state.asking, state.sequential) = learned;
    }

    /// What an address said of its version was not to be believed.
    fn forget_version(&self, route: &Route) {
        if let Some(mirror) = self.state().mirrors.get_mut(&(route.segment, route.mirror)) {
            (mirror.pinned, mirror.trust) = (Pinned::default(), Trust::Unknown);
        }
    }

    /// An address gave what it should.
    fn praise(&self, route: &Route) {
        if let Some(mirror) = self.state().mirrors.get_mut(&(route.segment, route.mirror)) {
            (mirror.failures, mirror.rest_until) = (0, None);
        }
    }

    /// An address failed: others are asked first for a while.
    pub fn blame(&self, route: &Route) {
        let mut state = self.state();
        let mirror = state.mirrors.entry((route.segment, route.mirror)).or_default();
        mirror.failures = mirror.failures.saturating_add(1);
        let rest = REST.saturating_mul(2u32.saturating_pow(mirror.failures.min(8) - 1)).min(MAX_REST);
        mirror.rest_until = Instant::now().checked_add(rest);
    }

    /// A file below a root that was granted to the plugin. Links that lead out of the root are refused.
    fn file(&self, root: &str, path: &str) -> Result<PathBuf, Fault> {
        let refuse = |why: String| Fault { plugin: Some(self.source.id().into()), ..Fault::new(code::REFUSED, why) };
        let granted = self
            .source
            .root(root)
            .ok_or_else(|| refuse(format!("no folder {root:?} was granted to plugin {}", self.source.id())))?;
        let missing = |error: std::io::Error| Fault::new(code::NOT_FOUND, format!("the file cannot be read: {error}"));
        let granted = Path::new(&granted).canonicalize().map_err(missing)?;
        let found = granted.join(path.trim_start_matches('/')).canonicalize().map_err(missing)?;
        if found.starts_with(&granted) { Ok(found) } else { Err(refuse("the path leads out of its folder".into())) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parents() -> Fault {
    Fault::new(code::UNSUPPORTED, "the plan is made from other addresses, which this version does not follow")
}

/// Gives a slot back for a question that had no answer.
fn gave_up(slot: Slot, fault: &Fault) {
    slot.end(fault.ended());
}
