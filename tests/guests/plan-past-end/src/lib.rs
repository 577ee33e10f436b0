//! Claims a tebibyte where the upstream has less: `guest-plan-past-end:http://…`.

use mediahost_plugin_sdk::{Error, Host, MediaSource, Open, Opened, Plan, Segment};

struct Guest;

impl MediaSource for Guest {
    async fn open(_: &Host, request: Open) -> Result<Opened, Error> {
        Ok(Plan::of(vec![Segment::http(request.after_scheme()).with_length(1 << 40)]).into())
    }
}

mediahost_plugin_sdk::media_source!(Guest, "plugin.json");
