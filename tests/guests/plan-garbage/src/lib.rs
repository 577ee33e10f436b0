//! Gives plans that break the contract: `guest-plan-garbage:` and `empty`, `open-inside`, `other`, `zero`, `overflow`,
//! `inline-length`, `no-parent` or `not-http`.

use mediahost_plugin_sdk::{Error, Host, MediaSource, Open, Opened, Origin, Plan, Segment};

struct Guest;

impl MediaSource for Guest {
    async fn open(_: &Host, request: Open) -> Result<Opened, Error> {
        let http = || Segment::http("http://localhost/");
        let segments = match request.after_scheme() {
            "empty" => vec![],
            "open-inside" => vec![http(), http()],
            "other" => vec![Segment { origin: Origin::Other(("tape".into(), "reel 7".into())), length: Some(10) }],
            "zero" => vec![http().with_length(0)],
            "overflow" => vec![http().with_length(u64::MAX), http().with_length(u64::MAX)],
            "inline-length" => vec![Segment::inline("ten bytes?").with_length(1 << 20)],
            "no-parent" => vec![Segment::parent(7)],
            "not-http" => vec![Segment::http("file:///etc/passwd")],
            other => return Err(Error::bad_address(format!("there is no garbage called {other:?}"))),
        };
        Ok(Plan::of(segments).into())
    }
}

mediahost_plugin_sdk::media_source!(Guest, "plugin.json");
