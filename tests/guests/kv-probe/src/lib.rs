//! Uses the key-value store, `guest-kv-probe:` and `set/<key>/<value>`, `get/<key>`, `del/<key>` or `keys/<prefix>`, and
//! shows what came as the media: the value, the keys in lines, `ok`, `none`, or the code of the error.

use mediahost_plugin_sdk::{Error, Host, MediaSource, Open, Opened, Plan, Segment};

struct Guest;

impl MediaSource for Guest {
    async fn open(host: &Host, request: Open) -> Result<Opened, Error> {
        let mut words = request.after_scheme().splitn(3, '/');
        let [verb, key, value] = std::array::from_fn(|_| words.next().unwrap_or_default());
        let done = match verb {
            "set" => host.kv_set(key, value.as_bytes()).map(|()| b"ok".to_vec()),
            "get" => host.kv_get(key).map(|found| found.unwrap_or(b"none".to_vec())),
            "del" => host.kv_delete(key).map(|()| b"ok".to_vec()),
            "keys" => {
                host.kv_keys(key).map(|keys| if keys.is_empty() { "none".into() } else { keys.join("\n").into() })
            }
            _ => return Err(Error::bad_address("write guest-kv-probe: and set, get, del or keys")),
        };
        Ok(Plan::of(vec![Segment::inline(done.unwrap_or_else(|error| error.code.into_bytes()))]).into())
    }
}

mediahost_plugin_sdk::media_source!(Guest, "plugin.json");
