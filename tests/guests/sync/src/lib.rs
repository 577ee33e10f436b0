//! Speaks `computed-media-source-sync`, the world for languages without async functions and streams:
//! `guest-sync:1000000` has a million bytes, of which number `i` is `(i * 31 + 7) % 251`; `guest-sync:http://…` has the
//! bytes that are fetched from there; `guest-sync:stuck` has bytes and never gives any.

mediahost_plugin_sdk::manifest!("plugin.json");

/// Bytes of one answer: fewer than are asked for, so that the host has to come again.
const CHUNK: u64 = 100_000;

/// Number `i` of the bytes.
pub fn byte(i: u64) -> u8 {
    ((i % 251 * 31 + 7) % 251) as u8
}

#[cfg(target_arch = "wasm32")]
mod component {
    wit_bindgen::generate!({
        path: ["../../../wit/host", "../../../wit/media-source"],
        world: "mediahost:media-source/computed-media-source-sync",
        generate_all,
    });

    use exports::mediahost::media_source::{computed_sync, source_sync};
    use mediahost::host::fetch_sync;
    use mediahost::host::fetch_types::Request;
    use mediahost::host::types::{Error, Header};
    use mediahost::media_source::types::{OpenOptions, Opened, Origin, Plan, RefreshReason, Segment, Validators};

    struct Guest;

    impl source_sync::Guest for Guest {
        fn open(uri: String, _: Vec<Header>, _: OpenOptions) -> Result<Opened, Error> {
            let wanted = uri.trim_start_matches("guest-sync:");
            if wanted.starts_with("http") {
                let body = fetch_sync::send(&request(wanted))?.body;
                let length = Some(body.len() as u64);
                return Ok(Opened::Plan(plan(Segment { origin: Origin::Inline(body), length }, Vec::new())));
            }
            let length = Some(wanted.parse().unwrap_or(1000));
            Ok(Opened::Plan(plan(Segment { origin: Origin::Computed, length }, wanted.as_bytes().to_vec())))
        }

        fn refresh(
            _: String,
            _: Vec<Header>,
            _: OpenOptions,
            _: Vec<u8>,
            reason: RefreshReason,
        ) -> Result<Opened, Error> {
            let message = format!("asked because of {}", reason.code);
            Err(Error { code: "auth-required".into(), message, retry_after_ms: None })
        }
    }

    impl computed_sync::Guest for Guest {
        fn read_chunk(state: Vec<u8>, _: u32, offset: u64, length: u32) -> Result<Vec<u8>, Error> {
            if state == b"stuck" {
                return Ok(Vec::new());
            }
            Ok((offset..offset + u64::from(length).min(super::CHUNK)).map(super::byte).collect())
        }
    }

    fn request(url: &str) -> Request {
        Request {
            method: "GET".into(),
            url: url.into(),
            headers: Vec::new(),
            body: None,
            max_bytes: None,
            timeout_ms: None,
            max_redirects: 0,
            extra: Vec::new(),
        }
    }

    fn plan(segment: Segment, state: Vec<u8>) -> Plan {
        Plan {
            segments: vec![segment],
            parents: Vec::new(),
            key: None,
            name: None,
            media_type: None,
            validators: Validators { etag: None, last_modified: None, digests: Vec::new() },
            expires_at_ms: None,
            state,
            extra: Vec::new(),
        }
    }

    export!(Guest);
}

#[test]
fn the_first_bytes_are_as_promised() {
    assert_eq!((byte(0), byte(1), byte(250), CHUNK), (7, 38, 226, 100_000));
}
