//! The log: on stderr, as text or JSON, with a level that can change while the host runs.

use std::io::IsTerminal as _;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use crate::config::resolve::{Log, LogFormat};

/// Changes what is logged.
#[derive(Clone)]
pub struct Handle(reload::Handle<EnvFilter, Registry>);

/// Starts the log of this process. Only the first start in a process counts; later ones give a handle without effect.
pub fn start(log: &Log) -> Handle {
    let (filter, handle) = reload::Layer::new(filter(&log.level));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
    };
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    Handle(handle)
}

impl Handle {
    /// Logs at this level from now on.
    pub fn set(&self, level: &str) {
        if self.0.reload(filter(level)).is_err() {
            tracing::debug!("this log was never started, so its level stays");
        }
    }
}

/// The configuration checked the level; one that slips through logs as by default.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::builder().parse(level).unwrap_or_else(|_| EnvFilter::new("info"))
}
