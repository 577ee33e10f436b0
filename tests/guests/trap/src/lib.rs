//! Panics in `open`.

use mediahost_plugin_sdk::{Error, Host, MediaSource, Open, Opened};

struct Guest;

impl MediaSource for Guest {
    async fn open(_: &Host, request: Open) -> Result<Opened, Error> {
        panic!("this guest panics, asked for {}", request.uri)
    }
}

mediahost_plugin_sdk::media_source!(Guest, "plugin.json");
