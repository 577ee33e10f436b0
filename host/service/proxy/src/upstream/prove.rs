//! Whether an address has the bytes that we have: for mirrors, for edges that name the same bytes by different tags, and
//! for origins that say nothing of versions.

use bytes::{Bytes, BytesMut};
use cache::upstream::{Asked, MAX_ALIASES, Pinned};
use plugin::source::Origin;

use super::ask::check;
use super::{Route, Trust, Upstream};
use crate::fault::{CHANGED, Fault};

/// Bytes of one sample.
pub const SAMPLE: u64 = 32 << 10;
/// How often an edge with a certain tag is asked for: which one answers is not ours to choose.
const TRIES: usize = 6;

/// Bytes that we have: where in the whole, and which.
pub type Sample = (u64, Bytes);

impl Upstream {
    /// Compares samples with what an address gives. When they are the same it is used from then on like the first one;
    /// when they are not it is never asked again.
    pub async fn prove_mirror(&self, route: &Route, samples: &[Sample]) -> Result<(), Fault> {
        let _one = self.proving.lock().await;
        let trust = |state: &super::State| state.mirrors.get(&(route.segment, route.mirror)).map(|mirror| mirror.trust);
        match trust(&self.state()) {
            Some(Trust::Proven) => return Ok(()),
            Some(Trust::Other) => return Err(differs()),
            _ => {}
        }
        let same = self.compare(route, samples, None).await?;
        let mut state = self.state();
        let mirror = state.mirrors.entry((route.segment, route.mirror)).or_default();
        mirror.trust = if same { Trust::Proven } else { Trust::Other };
        drop(state);
        match same {
            true => Ok(()),
            false => {
                tracing::warn!(origin = %route.pool.origin(), "a mirror has other bytes and is not used");
                Err(differs())
            }
        }
    }

    /// Compares samples with what answers under another entity-tag. The same bytes: the tag is an alias from then on.
    pub async fn prove_tag(&self, route: &Route, tag: &str, samples: &[Sample]) -> Result<(), Fault> {
        let _one = self.proving.lock().await;
        let known = |state: &super::State| {
            let mirror = state.mirrors.get(&(route.segment, route.mirror))?;
            mirror.pinned.aliases.iter().any(|alias| alias == tag).then_some(())
        };
        if known(&self.state()).is_some() {
            return Ok(());
        }
        if !self.compare(route, samples, Some(tag)).await? {
            return Err(Fault::new(CHANGED, "the file was changed on the server"));
        }
        let mut state = self.state();
        let aliases = &mut state.mirrors.entry((route.segment, route.mirror)).or_default().pinned.aliases;
        if aliases.len() >= MAX_ALIASES {
            aliases.remove(0);
        }
        aliases.push(tag.to_owned());
        Ok(())
    }

    /// Whether the address of a route still gives these bytes, whatever it says of its version.
    pub async fn prove_same(&self, route: &Route, samples: &[Sample]) -> Result<bool, Fault> {
        self.compare(route, samples, None).await
    }

    async fn compare(&self, route: &Route, samples: &[Sample], tag: Option<&str>) -> Result<bool, Fault> {
        if samples.is_empty() {
            let fault = Fault::new("unproven", "there are no bytes yet to compare an address with");
            return Err(Fault { retryable: true, ..fault });
        }
        for sample in samples {
            if !self.compare_one(route, sample, tag).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn compare_one(&self, route: &Route, (at, expected): &Sample, tag: Option<&str>) -> Result<bool, Fault> {
        let plan = self.plan();
        let Some(Origin::Http { urls, headers, offset }) =
            plan.segments().get(route.segment).map(|found| &found.origin)
        else {
            return Ok(false);
        };
        let start = offset + (at - plan.start(route.segment));
        let range = start..start + expected.len() as u64;
        let pinned = self.state().mirrors.get(&(route.segment, route.mirror)).cloned().unwrap_or_default().pinned;
        // Everything but the tags has to fit, and those are what is in question.
        let pinned = Pinned { total: pinned.total, ..Pinned::default() };
        for _ in 0..TRIES {
            let slot = route.pool.question().await;
            let mut get = self.get(&urls[route.mirror], headers)?;
            get.range = Some(fetch::Range::Bounded(range.clone()));
            let mut response = match self.client.get(get).await {
                Ok(response) => response,
                Err(error) => {
                    let fault = Fault::from(error);
                    super::gave_up(slot, &fault);
                    return Err(fault);
                }
            };
            let asked = Asked { range: Some(range.clone()), expect_media: true };
            let accepted = match check(&response, &asked, Some(&pinned)) {
                Ok(accepted) => accepted,
                Err(rejection) => {
                    let fault = Fault::from(rejection);
                    super::gave_up(slot, &fault);
                    return if fault.is_change() { Ok(false) } else { Err(fault) };
                }
            };
            if tag.is_some_and(|tag| accepted.validators.etag.as_deref() != Some(tag)) {
                continue;
            }
            let Some(mut skip) = start.checked_sub(accepted.start).and_then(|skip| usize::try_from(skip).ok()) else {
                return Ok(false);
            };
            let mut got = BytesMut::with_capacity(expected.len());
            while got.len() < expected.len() {
                let Some(piece) = response.chunk().await? else { return Ok(false) };
                let cut = skip.min(piece.len());
                skip -= cut;
                got.extend_from_slice(&piece[cut..]);
            }
            got.truncate(expected.len());
            slot.end(cache::origin::Ended::Done);
            return Ok(got == *expected);
        }
        let fault = Fault::new("edges-differ", "the server names its file by ever other tags");
        Err(Fault { retryable: true, ..fault })
    }
}

fn differs() -> Fault {
    Fault::new("mirror-differs", "a mirror has other bytes than the first address")
}
