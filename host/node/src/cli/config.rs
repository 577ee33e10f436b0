//! `mediahost config`: what is in force, or a sample of everything there is.

use serde_json::json;

use super::args::{ConfigArgs, Shared};
use crate::config::print as text;

pub fn run(shared: &Shared, what: &ConfigArgs) -> anyhow::Result<()> {
    if what.sample {
        let sample = text::sample();
        super::print(shared, &json!({"sample": sample}), &sample);
        return Ok(());
    }
    let (config, raw, _) = super::configuration(shared)?;
    super::print(shared, &text::resolved_json(&config, &raw), &text::resolved(&config, &raw));
    Ok(())
}
