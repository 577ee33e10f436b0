//! Where the bytes of one object come from: a plan, the connections that follow it, and its renewal.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache::Validators;
use cache::upstream::{Accepted, Asked, Head, Pinned, accept};
use plugin::source::{MediaSource, Open, Opened, Origin, Plan, RefreshReason};
use plugin::{Header, code};
use tokio::sync::Mutex as AsyncMutex;
use url::Url;

use crate::fault::{CHANGED, Fault};
use crate::persist::blocking;
use crate::pull::Pull;

/// How long before the expiry of its addresses a plan is renewed.
const RENEW_AHEAD_MS: u64 = 30_000;
/// Bytes that one call to a computing plugin is asked for.
const COMPUTED_SPAN: u64 = 4 << 20;
/// A plan being followed. Shared by the spans of an object.
pub struct Upstream {
    client: fetch::Client,
    source: Arc<dyn MediaSource>,
    open: Open,
    /// The origin that the user named, which may be a private address.
    named: Option<fetch::Origin>,
    state: Mutex<State>,
    /// Held while the plan is renewed, so that it is renewed once for all who wait.
    renewing: AsyncMutex<()>,
    /// An answer whose head was looked at and whose body is for the first span that asks for it.
    primed: Mutex<Option<Primed>>,
}

struct State {
    plan: Arc<Plan>,
    /// Rises with each renewal.
    epoch: u64,
    /// The moment of expiry that a renewal was asked for already: a plugin that knows no later one is not asked again.
    renewed_for_ms: Option<u64>,
    /// What each HTTP segment's resource said of its version, by segment.
    pinned: HashMap<usize, Pinned>,
    /// Where a segment's address led last; asked first until it fails.
    finals: HashMap<usize, Url>,
}

struct Primed {
    segment: usize,
    /// Offset within the whole.
    start: u64,
    end: u64,
    response: fetch::Response,
}

/// What is known of the whole after its upstream was asked for the first time.
pub struct Probe {
    pub total: u64,
    pub validators: Validators,
    pub media_type: Option<String>,
    pub name: Option<String>,
    /// The server gives everything or nothing.
    pub ignores_ranges: bool,
}

/// Whether what is cached is still what the upstream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Same { ignores_ranges: bool },
    Changed,
}

impl Verdict {
    const SAME: Verdict = Verdict::Same { ignores_ranges: false };
}

impl Upstream {
    pub fn new(client: fetch::Client, source: Arc<dyn MediaSource>, open: Open, plan: Plan) -> Upstream {
        let named = crate::key::named(&open.uri);
        let state = State {
            plan: Arc::new(plan),
            epoch: 0,
            renewed_for_ms: None,
            pinned: HashMap::new(),
            finals: HashMap::new(),
        };
        Upstream {
            client,
            source,
            open,
            named,
            state: Mutex::new(state),
            renewing: AsyncMutex::default(),
            primed: Mutex::default(),
        }
    }

    /// The same plan with nothing known of its versions.
    pub fn again(other: &Upstream) -> Upstream {
        let plan = (*other.plan()).clone();
        Upstream::new(other.client.clone(), other.source.clone(), other.open.clone(), plan)
    }

    pub fn plan(&self) -> Arc<Plan> {
        self.state().plan.clone()
    }

    pub fn epoch(&self) -> u64 {
        self.state().epoch
    }

    /// Asks for the first `length` bytes and learns what the whole is. The answer's body is kept for the first span.
    pub async fn probe(&self, length: u64) -> Result<Probe, Fault> {
        let plan = self.plan();
        let about = plan.about();
        let name = about.name.clone();
        let mut probe = Probe {
            total: 0,
            validators: Validators {
                etag: about.validators.etag.clone(),
                last_modified: about.validators.last_modified.clone(),
                date: None,
            },
            media_type: about.media_type.clone(),
            name,
            ignores_ranges: false,
        };
        let last = plan.segments().len() - 1;
        // The open last segment is the one that has to be asked; with all lengths known, the first one shows whether the
        // plan holds.
        let segment = if plan.length().is_none() { last } else { 0 };
        let mut end = plan.length();
        match &plan.segments()[segment].origin {
            Origin::Http { offset, .. } => {
                let start = plan.start(segment);
                let most = plan.segments()[segment].length.map_or(u64::MAX, |length| start + length);
                let (response, accepted) = self.request(&plan, segment, start..(start + length).min(most)).await?;
                let resource = accepted
                    .total
                    .ok_or_else(|| Fault::new("length-unknown", "the server does not say how long the file is"))?;
                if plan.segments().len() == 1 {
                    probe.validators = accepted.validators.clone();
                    probe.media_type = probe.media_type.or(accepted.media_type.clone());
                    probe.name = probe.name.or_else(|| disposition(&response));
                }
                let available = resource.saturating_sub(*offset);
                self.check_length(&plan, segment, available)?;
                end = end.or(Some(start + available));
                probe.ignores_ranges = accepted.ignored_range;
                if accepted.start == *offset && available > 0 {
                    let body_end = accepted.end.map_or(u64::MAX, |end| end - offset);
                    let primed = Primed { segment, start, end: start.saturating_add(body_end), response };
                    *self.primed.lock().unwrap_or_else(PoisonError::into_inner) = Some(primed);
                }
            }
            Origin::File { root, path, offset } => {
                let path = self.file(root, path)?;
                let length = blocking(move || std::fs::metadata(path).map(|metadata| metadata.len())).await;
                let length =
                    length.map_err(|error| Fault::new(code::NOT_FOUND, format!("the file cannot be read: {error}")))?;
                let available = length.saturating_sub(*offset);
                self.check_length(&plan, segment, available)?;
                end = end.or(Some(plan.start(segment) + available));
            }
            Origin::Parent { .. } => return Err(parents()),
            Origin::Zeros | Origin::Inline(_) | Origin::Computed => {}
        }
        probe.total = end.unwrap_or_default();
        Ok(probe)
    }

    /// A plan that promises more than its upstream has is the plugin's mistake.
    fn check_length(&self, plan: &Plan, segment: usize, available: u64) -> Result<(), Fault> {
        let Some(length) = plan.segments()[segment].length.filter(|length| *length > available) else { return Ok(()) };
        let message = format!(
            "plugin {} says that segment {segment} has {length} bytes, and there are only {available}",
            self.source.id()
        );
        Err(Fault { plugin: Some(self.source.id().to_owned()), ..Fault::new("plugin-fault", message) })
    }

    /// Pins what an object on the disk was made from, so that an answer of another version is refused.
    pub fn pin(&self, total: u64, validators: &Validators) {
        let plan = self.plan();
        if let ([_], Origin::Http { offset: 0, .. }) = (plan.segments(), &plan.segments()[0].origin) {
            let pinned = Pinned {
                total: Some(total),
                etag: validators.etag.clone(),
                last_modified: validators.last_modified.clone(),
            };
            self.state().pinned.insert(0, pinned);
        }
    }

    /// Asks whether the upstream still has the pinned version, with a request for `missing`, or for nothing when
    /// everything is there, or on its way.
    pub async fn revalidate(&self, missing: Option<Range<u64>>) -> Result<Verdict, Fault> {
        let plan = self.plan();
        let Origin::Http { offset: 0, .. } = &plan.segments()[0].origin else { return Ok(Verdict::SAME) };
        let Some(missing) = missing else { return self.unchanged(&plan).await };
        match self.request(&plan, 0, missing.clone()).await {
            Ok((response, accepted)) => {
                if accepted.start == missing.start {
                    let end = accepted.end.unwrap_or(u64::MAX);
                    let primed = Primed { segment: 0, start: missing.start, end, response };
                    *self.primed.lock().unwrap_or_else(PoisonError::into_inner) = Some(primed);
                }
                Ok(Verdict::Same { ignores_ranges: accepted.ignored_range })
            }
            Err(fault) if fault.is_change() => Ok(Verdict::Changed),
            Err(fault) => Err(fault),
        }
    }

    /// A conditional request for one byte: the answer is 304, or one byte of the same version.
    async fn unchanged(&self, plan: &Plan) -> Result<Verdict, Fault> {
        let Origin::Http { urls, headers, .. } = &plan.segments()[0].origin else { return Ok(Verdict::SAME) };
        let pinned = self.state().pinned.get(&0).cloned().unwrap_or_default();
        let mut get = self.get(&urls[0], headers)?;
        get.range = Some(fetch::Range::Bounded(0..1));
        get.if_none_match = pinned.etag.clone();
        get.if_modified_since = pinned.last_modified.clone().filter(|_| pinned.etag.is_none());
        let response = self.client.get(get).await?;
        if response.status == 304 {
            return Ok(Verdict::SAME);
        }
        match accept(&head(&response), &Asked { range: Some(0..1), expect_media: true }, Some(&pinned)) {
            Ok(accepted) => Ok(Verdict::Same { ignores_ranges: accepted.ignored_range }),
            Err(rejection) => {
                let fault = Fault::from(rejection);
                if fault.is_change() { Ok(Verdict::Changed) } else { Err(fault) }
            }
        }
    }

    /// Bytes of the whole, which lie in one segment. The last piece may end beyond `range` for origins that know no
    /// ranges; [`Pull::next`] cuts it.
    pub async fn pull(&self, segment: usize, range: Range<u64>) -> Result<Pull, Fault> {
        let plan = self.plan();
        let within = range.start - plan.start(segment);
        let left = range.end - range.start;
        Ok(match &plan.segments()[segment].origin {
            Origin::Http { offset, .. } => {
                if let Some(primed) = self.take_primed(segment, &range) {
                    return Ok(Pull::Http {
                        response: Box::new(primed.response),
                        skip: 0,
                        left: left.min(primed.end - range.start),
                    });
                }
                let (response, accepted) = self.request(&plan, segment, range.clone()).await?;
                let skip = (offset + within).saturating_sub(accepted.start);
                Pull::Http { response: Box::new(response), skip, left }
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

    /// The bytes whose answer is under way already.
    pub fn primed(&self) -> Option<Range<u64>> {
        let primed = self.primed.lock().unwrap_or_else(PoisonError::into_inner);
        primed.as_ref().map(|primed| primed.start..primed.end)
    }

    fn take_primed(&self, segment: usize, range: &Range<u64>) -> Option<Primed> {
        let mut primed = self.primed.lock().unwrap_or_else(PoisonError::into_inner);
        primed.take_if(|primed| primed.segment == segment && primed.start == range.start && primed.end > range.start)
    }

    /// One ranged request for bytes of an HTTP segment. `range` is in offsets of the whole.
    async fn request(
        &self,
        plan: &Plan,
        segment: usize,
        range: Range<u64>,
    ) -> Result<(fetch::Response, Accepted), Fault> {
        let Origin::Http { urls, headers, offset } = &plan.segments()[segment].origin else {
            return Err(Fault::new(code::INTERNAL, "a segment that is not HTTP was asked for over HTTP"));
        };
        let start = plan.start(segment);
        let asked = offset + (range.start - start)..offset + (range.end - start);
        let (pinned, led) = {
            let state = self.state();
            (state.pinned.get(&segment).cloned(), state.finals.get(&segment).cloned())
        };
        // A remembered target saves the redirect. When it fails, the address itself is asked again.
        let candidates = led.as_ref().map(Url::as_str).into_iter().chain(urls.iter().map(String::as_str));
        let mut first_fault = None;
        for url in candidates {
            match self.ask(url, headers, &asked, pinned.as_ref()).await {
                Ok((response, accepted)) => {
                    let mut state = self.state();
                    match response.redirected || led.as_ref().is_some_and(|led| led.as_str() == url) {
                        true => state.finals.insert(segment, response.url.clone()),
                        false => state.finals.remove(&segment),
                    };
                    let known = state.pinned.entry(segment).or_default();
                    known.total = known.total.or(accepted.total);
                    known.etag = known.etag.take().or_else(|| accepted.validators.etag.clone());
                    known.last_modified =
                        known.last_modified.take().or_else(|| accepted.validators.last_modified.clone());
                    return Ok((response, accepted));
                }
                Err(fault) if fault.is_change() => return Err(fault),
                Err(fault) => {
                    self.state().finals.remove(&segment);
                    first_fault = Some(fault);
                }
            }
        }
        Err(first_fault.unwrap_or_else(|| Fault::new(code::INTERNAL, "the segment has no address")))
    }

    async fn ask(
        &self,
        url: &str,
        headers: &[Header],
        asked: &Range<u64>,
        pinned: Option<&Pinned>,
    ) -> Result<(fetch::Response, Accepted), Fault> {
        let mut get = self.get(url, headers)?;
        get.range = Some(fetch::Range::Bounded(asked.clone()));
        get.if_range = pinned.and_then(|pinned| pinned.etag.clone()).filter(|tag| !tag.starts_with("W/"));
        let response = self.client.get(get).await?;
        let asked = Asked { range: Some(asked.clone()), expect_media: true };
        let accepted = accept(&head(&response), &asked, pinned)?;
        metrics::counter!("mediahost_upstream_requests_total").increment(1);
        Ok((response, accepted))
    }

    fn get(&self, url: &str, headers: &[Header]) -> Result<fetch::Get, Fault> {
        let url = Url::parse(url).map_err(|error| {
            let message = format!("plugin {} names an address that is none: {error}", self.source.id());
            Fault { plugin: Some(self.source.id().to_owned()), ..Fault::new(code::BAD_ADDRESS, message) }
        })?;
        Ok(fetch::Get { headers: headers.to_vec(), named: self.named.clone(), ..fetch::Get::new(url) })
    }

    /// A file below a root that was granted to the plugin. Links that lead out of the root are refused.
    fn file(&self, root: &str, path: &str) -> Result<PathBuf, Fault> {
        let refuse =
            |why: String| Fault { plugin: Some(self.source.id().to_owned()), ..Fault::new(code::REFUSED, why) };
        let granted = self
            .source
            .root(root)
            .ok_or_else(|| refuse(format!("no folder {root:?} was granted to plugin {}", self.source.id())))?;
        let missing = |error: std::io::Error| Fault::new(code::NOT_FOUND, format!("the file cannot be read: {error}"));
        let granted = Path::new(&granted).canonicalize().map_err(missing)?;
        let found = granted.join(path.trim_start_matches('/')).canonicalize().map_err(missing)?;
        if found.starts_with(&granted) { Ok(found) } else { Err(refuse("the path leads out of its folder".into())) }
    }

    /// Renews a plan whose addresses are about to stop working; who comes while that is under way waits for it. When the
    /// plugin cannot, the addresses are used for as long as the server takes them.
    pub async fn renew_before_expiry(&self, now_ms: u64, segment: usize) {
        let soon = |moment: u64| moment.saturating_sub(now_ms) < RENEW_AHEAD_MS;
        let expires = self.plan().about().expires_at_ms.filter(|moment| soon(*moment));
        if expires.is_none() {
            return;
        }
        let _one = self.renewing.lock().await;
        {
            let mut state = self.state();
            if state.plan.about().expires_at_ms != expires || state.renewed_for_ms == expires {
                return;
            }
            state.renewed_for_ms = expires;
        }
        if let Err(fault) = self.replace_plan("expires", None, segment).await {
            tracing::debug!(code = fault.code, "a link could not be renewed ahead of its expiry: {}", fault.message);
        }
    }

    /// Renews the plan, unless someone did since `epoch`. One renewal at a time; who waits for it gets its result.
    pub async fn renew(
        &self,
        epoch: u64,
        reason: &'static str,
        status: Option<u16>,
        segment: usize,
    ) -> Result<(), Fault> {
        let _one = self.renewing.lock().await;
        if self.epoch() != epoch {
            return Ok(());
        }
        self.replace_plan(reason, status, segment).await
    }

    /// Asks the plugin for a new plan of the same bytes. The caller holds `renewing`.
    async fn replace_plan(&self, reason: &'static str, status: Option<u16>, segment: usize) -> Result<(), Fault> {
        let old = self.plan();
        let reason = RefreshReason { code: reason, status, segment: Some(segment as u32) };
        let opened = self.source.refresh(self.open.clone(), old.about().state.clone(), reason).await?;
        let Opened::Plan(plan) = opened else {
            return Err(Fault::new(CHANGED, "the address is a manifest now"));
        };
        let shape = |plan: &Plan| plan.segments().iter().map(|segment| segment.length).collect::<Vec<_>>();
        if shape(&plan) != shape(&old) {
            return Err(Fault::new(CHANGED, "the renewed plan has other lengths"));
        }
        let mut state = self.state();
        state.plan = Arc::new(plan);
        state.epoch += 1;
        state.finals.clear();
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parents() -> Fault {
    Fault::new(code::UNSUPPORTED, "the plan is made from other addresses, which this version does not follow")
}

fn head(response: &fetch::Response) -> Head<'_> {
    Head {
        status: response.status,
        content_range: response.header("content-range"),
        content_length: response.header("content-length").and_then(|value| value.trim().parse().ok()),
        content_encoding: response.header("content-encoding"),
        content_type: response.header("content-type"),
        etag: response.header("etag"),
        last_modified: response.header("last-modified"),
        date: response.header("date"),
        retry_after: response.header("retry-after"),
    }
}

/// The file name of `Content-Disposition` (RFC 6266), in its plain form.
fn disposition(response: &fetch::Response) -> Option<String> {
    let value = response.header("content-disposition")?;
    let name = value.split(';').find_map(|part| part.trim().strip_prefix("filename="))?;
    let name = name.trim_matches('"').rsplit(['/', '\\']).next()?.trim();
    (!name.is_empty() && name.len() <= 255).then(|| name.to_owned())
}
