//! One request for bytes of an HTTP segment, and the check of its answer before a byte of it is used.

use std::ops::Range;

use bytes::Bytes;
use cache::range::is_strong;
use cache::upstream::{Accepted, Asked, Head, Pinned, Rejection, accept};
use plugin::source::{Origin, Plan};
use plugin::{Header, code};
use url::Url;

use super::{Asking, Mirror, Route, Trust, Upstream};
use crate::fault::Fault;
use crate::origins::Slot;
use crate::pull::{Known, Pull};

/// Bytes before those that were asked for that are read and thrown away when a server that knows ranges ignores one.
const MAX_SKIP: u64 = 1 << 20;

/// An answer whose head was accepted. Its body is still to come.
pub struct Answer {
    response: Box<fetch::Response>,
    pub accepted: Accepted,
    slot: Slot,
    /// The body ends where the server ends it.
    open_ended: bool,
}

impl Answer {
    pub fn response(&self) -> &fetch::Response {
        &self.response
    }

    /// The body without its first `skip` bytes, `left` bytes of it at most.
    pub fn pull(self, skip: u64, left: u64) -> Pull {
        Pull::Http {
            response: self.response,
            slot: Some(self.slot),
            skip,
            left,
            open_ended: self.open_ended,
            known: Known::default(),
        }
    }
}

impl Upstream {
    /// One request over one of the ways. `range` is in offsets of the whole and lies in the route's segment.
    pub async fn request(&self, route: &Route, range: Range<u64>, slot: Slot) -> Result<Answer, Fault> {
        let (plan, asking) = {
            let state = self.state();
            (state.plan.clone(), state.asking)
        };
        self.request_as(&plan, route, range, slot, asking).await
    }

    pub(super) async fn request_as(
        &self,
        plan: &Plan,
        route: &Route,
        range: Range<u64>,
        mut slot: Slot,
        asking: Asking,
    ) -> Result<Answer, Fault> {
        slot.belongs_to(&self.requests);
        let Some(Origin::Http { urls, headers, offset }) =
            plan.segments().get(route.segment).map(|found| &found.origin)
        else {
            return Err(Fault::new(code::INTERNAL, "a segment that is not HTTP was asked for over HTTP"));
        };
        let Some(url) = urls.get(route.mirror) else {
            return Err(Fault {
                retryable: true,
                ..Fault::new(code::UNAVAILABLE, "the address is gone from the plan")
            });
        };
        let start = plan.start(route.segment);
        let asked = offset + (range.start - start)..offset.saturating_add(range.end - start);
        let key = (route.segment, route.mirror);
        let Mirror { pinned, led, trust, .. } = self.state().mirrors.get(&key).cloned().unwrap_or_default();
        let pinned = Some(pinned).filter(|pinned| *pinned != Pinned::default());
        // A remembered target saves the redirect. When it fails, the address itself is asked again.
        let candidates = led.as_ref().map(Url::as_str).into_iter().chain([url.as_str()]);
        let mut first_fault: Option<Fault> = None;
        let named = Url::parse(url).ok();
        for url in candidates {
            // What was meant for the address is not told to where it led.
            let elsewhere =
                named.as_ref().zip(Url::parse(url).ok()).is_some_and(|(named, there)| fetch::leaves(named, &there));
            let headers = if elsewhere { fetch::without_credentials(headers) } else { headers.clone() };
            match self.ask(url, &headers, &asked, pinned.as_ref(), asking).await {
                Ok((response, accepted)) => {
                    slot.first_byte();
                    if accepted.ignored_range && asked.start > MAX_SKIP && !self.is_sequential() {
                        slot.end(cache::origin::Ended::Done);
                        let fault = Fault::new("range-ignored", "the server sent everything instead of a part");
                        return Err(Fault { retryable: true, ..fault });
                    }
                    let mut state = self.state();
                    let known = state.mirrors.entry(key).or_default();
                    let led_here = response.redirected || led.as_ref().is_some_and(|led| led.as_str() == url);
                    known.led = led_here.then(|| response.url.clone());
                    if trust == Trust::Unknown && !route.unproven {
                        known.trust = Trust::Proven;
                    }
                    let (pinned, said) = (&mut known.pinned, &accepted.validators);
                    pinned.total = pinned.total.or(accepted.total);
                    pinned.etag = pinned.etag.take().or_else(|| said.etag.clone());
                    pinned.last_modified = pinned.last_modified.take().or_else(|| said.last_modified.clone());
                    drop(state);
                    self.praise(route);
                    let open_ended = accepted.total.is_none();
                    return Ok(Answer { response: Box::new(response), accepted, slot, open_ended });
                }
                Err(fault) if fault.is_change() => {
                    super::gave_up(slot, &fault);
                    return Err(fault);
                }
                Err(fault) => {
                    if let Some(known) = self.state().mirrors.get_mut(&key) {
                        known.led = None;
                    }
                    first_fault = Some(fault);
                }
            }
        }
        let fault = first_fault.unwrap_or_else(|| Fault::new(code::INTERNAL, "the segment has no address"));
        // A server that bears fewer connections than there are may say so with any refusal. To the only request for a file it
        // means what it says.
        let is_crowded = fault.upstream_status == Some(403) && trust == Trust::Proven && slot.has_company();
        let fault = match is_crowded {
            true => Fault {
                retryable: true,
                upstream_status: Some(403),
                ..Fault::new(code::THROTTLED, "the server refuses a further connection (status 403)")
            },
            false => fault,
        };
        super::gave_up(slot, &fault);
        Err(fault)
    }

    async fn ask(
        &self,
        url: &str,
        headers: &[Header],
        asked: &Range<u64>,
        pinned: Option<&Pinned>,
        asking: Asking,
    ) -> Result<(fetch::Response, Accepted), Fault> {
        let mut get = self.get(url, headers)?;
        let (range, expected) = match asking {
            Asking::Bounded if asked.end < u64::MAX => {
                (Some(fetch::Range::Bounded(asked.clone())), Some(asked.clone()))
            }
            Asking::Bounded | Asking::Open => (Some(fetch::Range::From(asked.start)), Some(asked.start..u64::MAX)),
            Asking::Plain => (None, None),
        };
        get.range = range;
        let strong = |tag: &String| is_strong(tag);
        // Where several tags name the same bytes, the condition on one of them would fail at every other edge; the tag of
        // the answer is looked at instead.
        get.if_range =
            pinned.filter(|known| known.aliases.is_empty()).and_then(|known| known.etag.clone()).filter(strong);
        let response = self.client.get(get).await?;
        let ignored = asking == Asking::Plain;
        let accepted = check(&response, &Asked { range: expected, expect_media: true }, pinned)?;
        metrics::counter!("mediahost_upstream_requests_total").increment(1);
        Ok((response, Accepted { ignored_range: accepted.ignored_range || ignored, ..accepted }))
    }

    pub(super) fn get(&self, url: &str, headers: &[Header]) -> Result<fetch::Get, Fault> {
        let url = Url::parse(url).map_err(|error| {
            let message = format!("plugin {} names an address that is none: {error}", self.source.id());
            Fault { plugin: Some(self.source.id().into()), ..Fault::new(code::BAD_ADDRESS, message) }
        })?;
        Ok(fetch::Get { headers: headers.to_vec(), named: self.named.clone(), ..fetch::Get::new(url) })
    }

    /// The answer's bytes from `range.start` on, as one span takes them. `before` are the bytes just before them, which an
    /// answer that begins earlier has to repeat.
    pub fn take(&self, route: &Route, range: Range<u64>, answer: Answer, before: Bytes) -> Pull {
        let plan = self.plan();
        let offset = match plan.segments().get(route.segment).map(|segment| &segment.origin) {
            Some(Origin::Http { offset, .. }) => *offset,
            _ => 0,
        };
        let from = offset + (range.start - plan.start(route.segment));
        let skip = from.saturating_sub(answer.accepted.start);
        let said = &answer.accepted.validators;
        let vouched = said.etag.as_deref().is_some_and(is_strong);
        let mut pull = answer.pull(skip, range.end - range.start);
        if let (Pull::Http { known, .. }, false) = (&mut pull, vouched) {
            let bytes = before.slice(before.len().saturating_sub(usize::try_from(skip).unwrap_or(usize::MAX))..);
            *known = Known { after: skip - bytes.len() as u64, bytes };
        }
        pull
    }
}

/// The codings that an answer's body has, of the content and of the transfer; none of them is undone for us but `chunked`.
fn codings(response: &fetch::Response) -> String {
    let all = |name: &str| response.headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?").to_owned());
    let each = all("content-encoding").chain(all("transfer-encoding")).collect::<Vec<_>>().join(",");
    let plain = |coding: &&str| {
        !coding.is_empty() && !["identity", "chunked"].iter().any(|plain| coding.eq_ignore_ascii_case(plain))
    };
    each.split(',').map(str::trim).filter(plain).collect::<Vec<_>>().join(", ")
}

/// Checks an answer against the question and what is known.
pub fn check(response: &fetch::Response, asked: &Asked, pinned: Option<&Pinned>) -> Result<Accepted, Rejection> {
    let codings = codings(response);
    let head = Head {
        status: response.status,
        content_range: response.header("content-range"),
        content_length: response.header("content-length").and_then(|value| value.trim().parse().ok()),
        content_encoding: Some(codings.as_str()).filter(|codings| !codings.is_empty()),
        content_type: response.header("content-type"),
        etag: response.header("etag"),
        last_modified: response.header("last-modified"),
        date: response.header("date"),
        retry_after: response.header("retry-after"),
    };
    accept(&head, asked, pinned)
}
