//! The first request of an object, and the question whether it is still the same.

use std::ops::Range;

use cache::Validators;
use cache::upstream::Asked;
use plugin::code;
use plugin::source::{Origin, Plan};

use super::ask::check;
use super::{Answer, Asking, Primed, Route, Upstream, parents};
use crate::fault::Fault;
use crate::persist::blocking;

/// What is known of the whole after its upstream was asked for the first time.
pub struct Probe {
    /// Length in bytes; none if the server does not say.
    pub total: Option<u64>,
    pub validators: Validators,
    pub media_type: Option<String>,
    pub name: Option<String>,
}

/// Whether what is cached is still what the upstream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its validators say so; `vouched` if there were any.
    Same {
        vouched: bool,
    },
    Changed,
}

impl Verdict {
    const SAME: Verdict = Verdict::Same { vouched: true };
}

impl Upstream {
    /// Asks for the first `length` bytes and learns what the whole is. The answer's body is kept for the first span.
    pub async fn probe(&self, length: u64) -> Result<Probe, Fault> {
        let plan = self.plan();
        let about = plan.about();
        let mut probe = Probe {
            total: plan.length(),
            validators: Validators {
                etag: about.validators.etag.clone(),
                last_modified: about.validators.last_modified.clone(),
                date: None,
            },
            media_type: about.media_type.clone(),
            name: about.name.clone(),
        };
        // The open last segment is the one that has to be asked; with all lengths known, the first one shows whether the
        // plan holds.
        let segment = if plan.length().is_none() { plan.segments().len() - 1 } else { 0 };
        let start = plan.start(segment);
        match &plan.segments()[segment].origin {
            Origin::Http { offset, .. } => {
                let most = plan.segments()[segment].length.map_or(u64::MAX, |length| start + length);
                let (route, answer) = self.first_answer(&plan, start..(start + length).min(most)).await?;
                let accepted = &answer.accepted;
                if plan.segments().len() == 1 {
                    probe.validators = accepted.validators.clone();
                    probe.media_type = probe.media_type.or(accepted.media_type.clone());
                    probe.name = probe.name.or_else(|| disposition(answer.response()));
                }
                let available = accepted.total.map(|resource| resource.saturating_sub(*offset));
                if let Some(available) = available {
                    self.check_length(&plan, segment, available)?;
                }
                if available.is_none() && (*offset > 0 || plan.segments().len() > 1) {
                    return Err(Fault::new("length-unknown", "the server does not say how long a part of the plan is"));
                }
                probe.total = probe.total.or(available.map(|available| start + available));
                if accepted.start == *offset && available != Some(0) {
                    let end = start.saturating_add(accepted.end.map_or(u64::MAX, |end| end - offset));
                    self.prime(Primed { segment: route.segment, start, end, answer });
                }
            }
            Origin::File { root, path, offset } => {
                let path = self.file(root, path)?;
                let length = blocking(move || std::fs::metadata(path).map(|metadata| metadata.len())).await;
                let length =
                    length.map_err(|error| Fault::new(code::NOT_FOUND, format!("the file cannot be read: {error}")))?;
                let available = length.saturating_sub(*offset);
                self.check_length(&plan, segment, available)?;
                probe.total = probe.total.or(Some(start + available));
            }
            Origin::Parent { .. } => return Err(parents()),
            Origin::Zeros | Origin::Inline(_) | Origin::Computed => {}
        }
        Ok(probe)
    }

    /// Asks one address after the other, each in the ways that servers know: with both ends of the range, with its
    /// beginning, and without a range.
    async fn first_answer(&self, plan: &Plan, range: Range<u64>) -> Result<(Route, Answer), Fault> {
        let mut worst: Option<Fault> = None;
        for route in self.routes(range.start) {
            match self.ask_somehow(plan, &route, range.clone()).await {
                Ok(answer) => return Ok((route, answer)),
                Err(fault) => {
                    self.blame(&route);
                    // What can be mended by new credentials says more than that a mirror is down.
                    if worst.as_ref().is_none_or(|worst| !worst.wants_auth()) {
                        worst = Some(fault);
                    }
                }
            }
        }
        Err(worst.unwrap_or_else(|| Fault::new(code::BAD_ADDRESS, "none of the plan's addresses can be asked")))
    }

    /// Asks in the ways that servers know, one after the other, and remembers the one that works.
    async fn ask_somehow(&self, plan: &Plan, route: &Route, range: Range<u64>) -> Result<Answer, Fault> {
        let mut told: Option<Fault> = None;
        let mut doubted = None;
        for asking in self.ways() {
            if told.as_ref().is_some_and(|fault| asking == Asking::Open && fault.wants_auth()) {
                // Whoever forbids ranges forbids them all.
                continue;
            }
            let slot = route.pool.question().await;
            match self.request_as(plan, route, range.clone(), slot, asking).await {
                // A part that is called the whole would be taken for a file that ends there.
                Ok(answer)
                    if asking != Asking::Plain
                        && answer.accepted.ignored_range
                        && answer.accepted.total == Some(range.end - range.start)
                        && doubted.is_none() =>
                {
                    self.forget_version(route);
                    doubted = Some(asking);
                }
                Ok(answer) => {
                    // A length that is not known makes all of it one answer, too.
                    let sequential = answer.accepted.ignored_range || answer.accepted.total.is_none();
                    let mut state = self.state();
                    (state.asking, state.sequential) = (asking, sequential);
                    return Ok(answer);
                }
                Err(fault) => {
                    let go_on = fault.may_be_the_range();
                    told.get_or_insert(fault);
                    if !go_on {
                        break;
                    }
                }
            }
        }
        Err(told.unwrap_or_else(|| Fault::new(code::INTERNAL, "nothing was asked")))
    }

    /// A plan that promises more than its upstream has is the plugin's mistake.
    fn check_length(&self, plan: &Plan, segment: usize, available: u64) -> Result<(), Fault> {
        let Some(length) = plan.segments()[segment].length.filter(|length| *length > available) else { return Ok(()) };
        let message = format!(
            "plugin {} says that segment {segment} has {length} bytes, and there are only {available}",
            self.source.id()
        );
        Err(Fault { plugin: Some(self.source.id().into()), ..Fault::new("plugin-fault", message) })
    }

    /// Asks whether the upstream still has the pinned version, with a request for `missing`, or for nothing when
    /// everything is there, or on its way.
    pub async fn revalidate(&self, missing: Option<Range<u64>>) -> Result<Verdict, Fault> {
        let plan = self.plan();
        let Origin::Http { offset: 0, .. } = &plan.segments()[0].origin else { return Ok(Verdict::SAME) };
        let Some(missing) = missing else { return self.unchanged(&plan).await };
        let mut worst = None;
        for route in self.routes(0).into_iter().filter(|route| !route.unproven) {
            match self.ask_somehow(&plan, &route, missing.clone()).await {
                Ok(answer) => {
                    let said = &answer.accepted.validators;
                    let vouched = said.etag.is_some() || said.last_modified.is_some();
                    if answer.accepted.start == missing.start {
                        let end = answer.accepted.end.unwrap_or(u64::MAX);
                        self.prime(Primed { segment: 0, start: missing.start, end, answer });
                    }
                    return Ok(Verdict::Same { vouched });
                }
                // Another edge of the same origin may have another tag for the same bytes; whoever has them compares.
                Err(fault) if fault.other_tag.is_some() => return Err(fault),
                Err(fault) if fault.is_change() => return Ok(Verdict::Changed),
                Err(fault) => worst = Some(fault),
            }
        }
        Err(worst.unwrap_or_else(|| Fault::new(code::BAD_ADDRESS, "none of the plan's addresses can be asked")))
    }

    /// A conditional request for one byte: the answer is 304, or one byte of the same version.
    async fn unchanged(&self, plan: &Plan) -> Result<Verdict, Fault> {
        let (Origin::Http { urls, headers, .. }, Some(route)) = (&plan.segments()[0].origin, self.route(0)) else {
            return Ok(Verdict::SAME);
        };
        let pinned = self.state().mirrors.get(&(0, route.mirror)).cloned().unwrap_or_default().pinned;
        let mut told: Option<Fault> = None;
        for asking in self.ways() {
            let mut get = self.get(&urls[route.mirror], headers)?;
            let (range, asked) = match asking {
                Asking::Bounded => (Some(fetch::Range::Bounded(0..1)), Some(0..1)),
                Asking::Open => (Some(fetch::Range::From(0)), Some(0..u64::MAX)),
                Asking::Plain => (None, None),
            };
            get.range = range;
            get.if_none_match = pinned.etag.clone();
            get.if_modified_since = pinned.last_modified.clone().filter(|_| pinned.etag.is_none());
            let slot = route.pool.question().await;
            let response = match self.client.get(get).await {
                Ok(response) => response,
                Err(error) => {
                    let fault = Fault::from(error);
                    super::gave_up(slot, &fault);
                    return Err(fault);
                }
            };
            if response.status == 304 {
                slot.end(cache::origin::Ended::Done);
                return Ok(Verdict::SAME);
            }
            match check(&response, &Asked { range: asked, expect_media: true }, Some(&pinned)) {
                Ok(accepted) => {
                    self.settle_on(asking, accepted.ignored_range || asking == Asking::Plain);
                    let said = &accepted.validators;
                    return Ok(Verdict::Same { vouched: said.etag.is_some() || said.last_modified.is_some() });
                }
                Err(rejection) => {
                    let fault = Fault::from(rejection);
                    super::gave_up(slot, &fault);
                    match fault.is_change() && fault.other_tag.is_none() {
                        true => return Ok(Verdict::Changed),
                        false if fault.may_be_the_range() => told.get_or_insert(fault),
                        false => return Err(told.unwrap_or(fault)),
                    };
                }
            }
        }
        Err(told.unwrap_or_else(|| Fault::new(code::INTERNAL, "nothing was asked")))
    }

    /// The ways to ask for a range, from the one that is known to work on.
    fn ways(&self) -> Vec<Asking> {
        let known = self.state().asking;
        let all = [Asking::Bounded, Asking::Open, Asking::Plain];
        all.into_iter().skip_while(|asking| *asking != known).collect()
    }

    fn settle_on(&self, asking: Asking, sequential: bool) {
        let mut state = self.state();
        (state.asking, state.sequential) = (asking, state.sequential || sequential);
    }
}

/// The file name of `Content-Disposition` (RFC 6266), in its plain form.
fn disposition(response: &fetch::Response) -> Option<String> {
    let value = response.header("content-disposition")?;
    let name = value.split(';').find_map(|part| part.trim().strip_prefix("filename="))?;
    let name = name.trim_matches('"').rsplit(['/', '\\']).next()?.trim();
    (!name.is_empty() && name.len() <= 255).then(|| name.to_owned())
}
