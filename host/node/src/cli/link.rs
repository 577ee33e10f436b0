//! `mediahost link`: another one-time link from the host that is running.

use anyhow::Context as _;

use super::args::Shared;
use super::client::Client;

pub async fn run(shared: &Shared) -> anyhow::Result<()> {
    let (config, ..) = super::configuration(shared)?;
    let client = Client::find(&config).await?.with_context(|| {
        format!(
            "no host is running with the data folder {}; start one with `mediahost serve`",
            config.data_dir.display()
        )
    })?;
    let link = client.post("/api/v1/auth/link", None).await?;
    let url = link["url"].as_str().context("the host answered without a link; is it of the same version?")?;
    super::print(shared, &link, url);
    Ok(())
}
