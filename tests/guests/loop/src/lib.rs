//! Never comes back from `open`.

use mediahost_plugin_sdk::{Error, Host, MediaSource, Open, Opened};

struct Guest;

impl MediaSource for Guest {
    async fn open(_: &Host, _: Open) -> Result<Opened, Error> {
        loop {
            std::hint::black_box(());
        }
    }
}

mediahost_plugin_sdk::media_source!(Guest, "plugin.json");
