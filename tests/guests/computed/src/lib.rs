//! Computes as it should: `guest-computed:1000000` has a million bytes, of which number `i` is `(i * 31 + 7) % 251`.

use mediahost_plugin_sdk::{Computed, Error, Host, MediaSource, Open, Opened, Output, Plan, Segment};

/// Bytes written at once.
const PIECE: u64 = 64 << 10;

struct Guest;

impl MediaSource for Guest {
    async fn open(_: &Host, request: Open) -> Result<Opened, Error> {
        match request.after_scheme().parse() {
            Ok(length) => Ok(Plan::of(vec![Segment::computed(length)]).into()),
            Err(_) => Err(Error::bad_address("write guest-computed: and a number of bytes")),
        }
    }
}

impl Computed for Guest {
    async fn read(_: &Host, _: Vec<u8>, _: u32, offset: u64, length: u64, out: &mut Output) -> Result<(), Error> {
        for start in (offset..offset + length).step_by(PIECE as usize) {
            let end = (start + PIECE).min(offset + length);
            out.write((start..end).map(byte).collect()).await?;
        }
        Ok(())
    }
}

fn byte(i: u64) -> u8 {
    ((i % 251 * 31 + 7) % 251) as u8
}

mediahost_plugin_sdk::computed_source!(Guest, "plugin.json");

#[test]
fn a_span_has_the_bytes_of_its_place() {
    let (bytes, ended) = mediahost_plugin_sdk::testing::read::<Guest>(&Host::scripted(), vec![], 0, 100_000, 70_000);
    assert_eq!((bytes.len(), ended), (70_000, Ok(())));
    assert!(bytes.iter().zip(100_000u64..).all(|(found, i)| u64::from(*found) == (i * 31 + 7) % 251));
}
