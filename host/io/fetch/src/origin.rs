//! Scheme, host and port: what decides whether two URLs are the same party.

use std::fmt;

use url::Url;

/// The origin of an `http` or `https` URL (RFC 6454 §4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of a URL; none for one that is not `http` or `https`.
    pub fn of(url: &Url) -> Option<Origin> {
        if !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        Some(Origin {
            scheme: url.scheme().to_owned(),
            host: url.host_str()?.trim_end_matches('.').to_owned(),
            port: url.port_or_known_default()?,
        })
    }

    /// Whether who named this origin has thereby also named `url`: it is the same origin, or the same host with `http`
    /// on port 80 raised to `https` on port 443.
    pub fn covers(&self, url: &Url) -> bool {
        let Some(other) = Origin::of(url) else { return false };
        let raised = self.scheme == "http" && self.port == 80 && other.scheme == "https" && other.port == 443;
        *self == other || (raised && self.host == other.host)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

/// Host and, where it is not the scheme's own, port: how an error names a server without telling secrets.
pub(crate) fn host_of(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => "an address without a host".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(named: &str, url: &str, covered: bool) {
        let named = Origin::of(&Url::parse(named).unwrap()).unwrap();
        assert_eq!(named.covers(&Url::parse(url).unwrap()), covered, "{named} {url}");
    }

    #[test]
    fn covers_itself_and_its_secure_twin() {
        check("http://nas/a", "http://NAS:80/b?c", true);
        check("http://nas/a", "http://nas./b", true);
        check("http://nas/a", "https://nas/b", true);
        check("http://nas:8080/a", "https://nas:8443/b", false);
        check("http://nas:8080/a", "https://nas/b", false);
        check("https://nas/a", "http://nas/b", false);
        check("http://nas/a", "http://nas:81/b", false);
        check("http://nas/a", "http://nas.example/b", false);
        check("http://nas/a", "ftp://nas/b", false);
    }
}
