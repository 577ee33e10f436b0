//! Takes memory until there is none.

use mediahost_plugin_sdk::{Error, Host, MediaSource, Open, Opened};

struct Guest;

impl MediaSource for Guest {
    async fn open(_: &Host, _: Open) -> Result<Opened, Error> {
        let mut hoard = Vec::new();
        loop {
            hoard.push(std::hint::black_box(vec![1u8; 1 << 20]));
        }
    }
}

mediahost_plugin_sdk::media_source!(Guest, "plugin.json");
