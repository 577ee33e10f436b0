//! Answers with a manifest of 64 MiB.

use mediahost_plugin_sdk::{Error, Host, Manifest, MediaSource, Open, Opened};

struct Guest;

impl MediaSource for Guest {
    async fn open(_: &Host, _: Open) -> Result<Opened, Error> {
        Ok(Manifest::hls("#".repeat(64 << 20), "http://localhost/").into())
    }
}

mediahost_plugin_sdk::media_source!(Guest, "plugin.json");
