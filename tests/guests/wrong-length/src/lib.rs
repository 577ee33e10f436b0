//! Computes half of the bytes that it is asked for, `guest-wrong-length:short`, or 64 KiB too many,
//! `guest-wrong-length:long`.

use mediahost_plugin_sdk::{Computed, Error, Host, MediaSource, Open, Opened, Output, Plan, Segment};

struct Guest;

impl MediaSource for Guest {
    async fn open(_: &Host, request: Open) -> Result<Opened, Error> {
        Ok(Plan::of(vec![Segment::computed(1 << 20)]).with_state(request.after_scheme()).into())
    }
}

impl Computed for Guest {
    async fn read(_: &Host, state: Vec<u8>, _: u32, _: u64, length: u64, out: &mut Output) -> Result<(), Error> {
        let length = usize::try_from(length).map_err(|_| Error::unsupported("a span is at most 16 MiB"))?;
        out.write(vec![b'x'; if state == b"short" { length / 2 } else { length + (64 << 10) }]).await
    }
}

mediahost_plugin_sdk::computed_source!(Guest, "plugin.json");
