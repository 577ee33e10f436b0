//! `mediahost:container-detector` behind the port.

use std::sync::Arc;

use plugin::detect::{Answer, ContainerDetector, Look};
use plugin::{BoxFuture, Failure};

use crate::generation::Entry;
use crate::slot::Slot;
use crate::{call, convert};

/// A detector by its id: each call leases the generation that serves at that moment.
pub struct Detector(pub Arc<Slot>);

impl ContainerDetector for Detector {
    fn id(&self) -> &str {
        &self.0.id
    }

    fn finds_titles(&self) -> bool {
        self.0.current().is_some_and(|generation| generation.manifest.titles)
    }

    fn detect(&self, look: Look) -> BoxFuture<'static, Result<Answer, Failure>> {
        let slot = self.0.clone();
        Box::pin(async move { slot.counted("detect", detect(&slot, look)).await })
    }
}

async fn detect(slot: &Slot, look: Look) -> Result<Answer, Failure> {
    let generation = slot.lease()?;
    let Entry::Detector(pre) = &generation.entry else { return Err(slot.gone("it is not a detector any more")) };
    let answer = call::run(&generation, async |mut store| {
        let called = async {
            let guest = pre.instantiate_async(&mut store).await?;
            let (files, windows, options) = convert::look_to_guest(look);
            let detector = guest.mediahost_container_detector_detector();
            detector.call_detect(&mut store, &files, &windows, &options).await
        };
        let called = called.await;
        (store, called)
    })
    .await?;
    let answer = answer.map_err(|error| generation.answer(convert::error(error)))?;
    convert::answer(answer).map_err(|fault| generation.fault(fault))
}
