//! Says where the bytes of a `{{scheme}}:` address are. The host fetches, caches and serves them.

use mediahost_plugin_sdk::{Error, Host, MediaSource, Open, Opened, Plan};

/// Where the files are when the operator's settings do not say.
const SERVER: &str = "https://example.org/files";

struct Source;

impl MediaSource for Source {
    /// `{{scheme}}:films/one.mkv` is a file on the server of the settings.
    async fn open(host: &Host, request: Open) -> Result<Opened, Error> {
        let path = request.after_scheme().trim_start_matches('/');
        if path.is_empty() {
            return Err(Error::bad_address(
                "write {{scheme}}: and the path of a file, as in {{scheme}}:films/one.mkv",
            ));
        }
        let server = host.config("server").unwrap_or_else(|| SERVER.into());
        let name = path.rsplit('/').next().unwrap_or(path);
        Ok(Plan::http(format!("{server}/{path}"))
            .with_headers(request.headers.clone())
            .with_name(name)
            .into())
    }
}

mediahost_plugin_sdk::media_source!(Source, "plugin.json");

#[cfg(test)]
mod tests {
    use mediahost_plugin_sdk::testing::run;

    use super::*;

    #[test]
    fn a_path_becomes_a_file_on_the_server() {
        let host = Host::scripted().config("server", "https://nas.example");
        let opened = run(Source::open(&host, Open::new("{{scheme}}:films/one.mkv")));
        assert_eq!(
            opened,
            Ok(Plan::http("https://nas.example/films/one.mkv")
                .with_name("one.mkv")
                .into())
        );
    }

    #[test]
    fn an_address_without_a_path_is_refused() {
        let error = run(Source::open(&Host::scripted(), Open::new("{{scheme}}:"))).unwrap_err();
        assert_eq!(error.code, "bad-address");
    }
}
