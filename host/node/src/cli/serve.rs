//! `mediahost serve`: the host in the foreground, until a signal ends it.

use serde_json::json;

use super::args::Shared;
use super::signals;
use crate::config::Config;
use crate::{Host, Settings, logging};

pub async fn run(shared: &Shared) -> anyhow::Result<()> {
    let mut settings = Settings::load(shared.inputs())?;
    settings.log = Some(logging::start(&settings.config.log));
    let config = settings.config.clone();
    let host = Host::start(settings).await?;
    announce(shared, &host, &config)?;
    let reloads = host.reloads();
    let asked = tokio::spawn(async move {
        let mut hangups = signals::Hangups::new();
        while hangups.next().await {
            let reloads = reloads.clone();
            // The outcome is in the log; there is nobody else to tell.
            let _ = tokio::task::spawn_blocking(move || reloads.reload()).await;
        }
    });
    let mut ends = signals::Ends::new()?;
    let again = ends.clone();
    tokio::select! {
        () = host.run_until(async move { ends.next().await }) => {}
        () = again.second() => tracing::warn!("a second signal ended the host before everything was finished"),
    }
    asked.abort();
    Ok(())
}

fn announce(shared: &Shared, host: &Host, config: &Config) -> anyhow::Result<()> {
    let link = host.sign_in_link()?;
    let json = json!({
        "ready": true,
        "address": host.address(),
        "origin": host.origin(),
        "sign_in_link": link,
        "data_dir": config.data_dir,
        "plugins_dir": config.plugins_dir,
    });
    super::print(shared, &json, &format!("mediahost is ready: {link}"));
    Ok(())
}
