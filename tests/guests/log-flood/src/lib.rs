//! Writes more messages, and longer ones, than anybody wants to read, and then answers as it should.

use mediahost_plugin_sdk::{Error, Host, Level, MediaSource, Open, Opened, Plan, Segment};

struct Guest;

impl MediaSource for Guest {
    async fn open(host: &Host, _: Open) -> Result<Opened, Error> {
        let long = "flood ".repeat(10_000);
        for i in 0..2_000 {
            host.log(Level::Error, &long, &[("i", &i.to_string()), ("long", &long)]);
        }
        Ok(Plan::of(vec![Segment::inline("dry again")]).into())
    }
}

mediahost_plugin_sdk::media_source!(Guest, "plugin.json");
