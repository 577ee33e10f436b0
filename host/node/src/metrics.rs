//! Numbers for the operator, in the text format of Prometheus.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// How often histograms are folded up, so that they do not grow between two readings.
pub const UPKEEP: Duration = Duration::from_secs(5);

/// Upper bounds of the buckets of `*_seconds`, in seconds.
const SECONDS: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The recorder of this process; two engines in one process share it.
static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Reads the recorder.
#[derive(Clone)]
pub struct Metrics(Option<PrometheusHandle>);

/// The metrics of this process. When the program that embeds the engine has a recorder of its own, ours stays empty.
pub fn start() -> Metrics {
    Metrics(HANDLE.get_or_init(install).clone())
}

fn install() -> Option<PrometheusHandle> {
    use metrics_exporter_prometheus::Matcher;
    let builder = PrometheusBuilder::new();
    let builder = builder.set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS).ok()?;
    builder.install_recorder().ok()
}

impl Metrics {
    /// Everything measured so far.
    pub fn render(&self) -> String {
        self.0.as_ref().map(PrometheusHandle::render).unwrap_or_default()
    }

    /// Folds histograms up. To be called every [`UPKEEP`].
    pub fn upkeep(&self) {
        if let Some(handle) = &self.0 {
            handle.run_upkeep();
        }
    }
}
