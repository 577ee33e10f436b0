//! Waits for an upstream that does not answer: `guest-slow:http://…`.

use mediahost_plugin_sdk::{Error, Host, MediaSource, Open, Opened, Plan, Request};

struct Guest;

impl MediaSource for Guest {
    async fn open(host: &Host, request: Open) -> Result<Opened, Error> {
        host.fetch(Request::get(request.after_scheme())).await?;
        Ok(Plan::http(request.after_scheme()).into())
    }
}

mediahost_plugin_sdk::media_source!(Guest, "plugin.json");
