//! A plugin that uses all that a host offers, run against a script.

use mediahost_plugin_sdk::testing::{read, run};
use mediahost_plugin_sdk::{
    Computed, Error, Host, Level, MediaSource, Open, Opened, Output, Plan, RefreshReason, Request, Response, Segment,
    code,
};

/// `countdown:<from>` has the bytes from there to zero.
struct Countdown;

impl MediaSource for Countdown {
    async fn open(host: &Host, request: Open) -> Result<Opened, Error> {
        let page = Request::get("https://example.org/limit")
            .with_header("authorization", host.secret("key")?.unwrap_or_default());
        let limit = host.fetch(page).await?.success("the limit")?.text();
        let from: u8 = request.after_scheme().parse().map_err(|_| Error::bad_address("write a number"))?;
        host.kv_set("last", &[from])?;
        host.log(Level::Warn, "counting down", &[("from", &from.to_string()), ("limit", &limit)]);
        let plan = Plan::of(vec![Segment::computed(u64::from(from) + 1)]).with_state([from]);
        Ok(plan.with_expiry_ms(host.now_ms() + 1000).into())
    }
}

impl Computed for Countdown {
    async fn read(_: &Host, state: Vec<u8>, _: u32, offset: u64, length: u64, out: &mut Output) -> Result<(), Error> {
        for i in offset..offset + length {
            let Some(byte) = u64::from(state[0]).checked_sub(i) else {
                return Err(Error::damaged("below zero"));
            };
            out.write(vec![byte as u8]).await?;
        }
        Ok(())
    }
}

mediahost_plugin_sdk::computed_source!(Countdown, "tests/plugin.json");

#[test]
fn the_script_answers_and_remembers() {
    let host = Host::scripted().answer("https://example.org/limit", Response::ok("99")).secret("key", "k").at(5000);
    let opened = run(Countdown::open(&host, Open::new("countdown:7")));
    let expected = Plan::of(vec![Segment::computed(8)]).with_state([7]).with_expiry_ms(6000);
    assert_eq!(opened, Ok(expected.into()));
    assert_eq!(host.messages(), ["warn counting down from=7 limit=99"]);
    assert_eq!(host.kv_get("last"), Ok(Some(vec![7])));
    assert_eq!(host.requests()[0].headers[0].value, "k");
}

#[test]
fn computed_bytes_are_collected_up_to_the_error() {
    let host = Host::scripted();
    assert_eq!(read::<Countdown>(&host, vec![7], 0, 2, 3), (vec![5, 4, 3], Ok(())));
    let (bytes, ended) = read::<Countdown>(&host, vec![1], 0, 0, 9);
    assert_eq!((bytes, ended.unwrap_err().code.as_str()), (vec![1, 0], code::DAMAGED));
}

#[test]
fn a_source_that_cannot_refresh_asks_the_user() {
    let reason = RefreshReason::new("denied").with_status(403);
    let error = run(Countdown::refresh(&Host::scripted(), Open::new("countdown:7"), vec![], reason)).unwrap_err();
    assert_eq!(error.code, code::AUTH_REQUIRED);
}

#[test]
fn a_status_becomes_a_code() {
    for (status, expected) in [
        (200, None),
        (304, None),
        (401, Some(code::AUTH_REQUIRED)),
        (403, Some(code::FORBIDDEN)),
        (404, Some(code::NOT_FOUND)),
        (410, Some(code::NOT_FOUND)),
        (418, Some(code::INTERNAL)),
        (429, Some(code::THROTTLED)),
        (503, Some(code::UNAVAILABLE)),
    ] {
        let found = Response::new(status, "").success("the page").err().map(|error| error.code);
        assert_eq!(found.as_deref(), expected, "{status}");
    }
}
