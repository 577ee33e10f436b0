//! New plans for the same bytes: ahead of the expiry of a link, or after the upstream refused it.

use std::sync::Arc;

use plugin::source::{Opened, Plan, RefreshReason};

use super::Upstream;
use crate::fault::{CHANGED, Fault};

/// How long before the expiry of its addresses a plan is renewed.
const RENEW_AHEAD_MS: u64 = 30_000;

impl Upstream {
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
        for mirror in state.mirrors.values_mut() {
            (mirror.led, mirror.rest_until, mirror.failures) = (None, None, 0);
        }
        Ok(())
    }
}
