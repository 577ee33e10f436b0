//! Fetches an address, `guest-fetch-probe:http://…`, and shows what came as the media: the body (its first 64 KiB, or
//! `empty`), or the code of the error.

use mediahost_plugin_sdk::{Error, Host, MediaSource, Open, Opened, Plan, Request, Segment};

struct Guest;

impl MediaSource for Guest {
    async fn open(host: &Host, request: Open) -> Result<Opened, Error> {
        let mut shown = match host.fetch(Request::get(request.after_scheme())).await {
            Ok(response) if response.body.is_empty() => b"empty".to_vec(),
            Ok(response) => response.body,
            Err(error) => error.code.into_bytes(),
        };
        shown.truncate(64 << 10);
        Ok(Plan::of(vec![Segment::inline(shown)]).into())
    }
}

mediahost_plugin_sdk::media_source!(Guest, "plugin.json");
