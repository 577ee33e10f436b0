//! The address as RFC 3986 has it, with the repairs that pasted addresses need.
//!
//! Characters that a URL cannot hold (spaces, non-ASCII, a lone `%`) are percent-encoded. What could be read in two ways
//! by two parsers (backslashes, odd numeric hosts, control characters) is refused and not repaired.

use std::net::{Ipv4Addr, Ipv6Addr};

use mediahost_plugin_sdk::Error;

use crate::encoding::{decode, encode};

/// The longest address that the contract lets into a plan, in bytes.
const MAX_BYTES: usize = 16 * 1024;
/// The longest host name, RFC 1035 §2.3.4.
const MAX_HOST: usize = 253;

/// An address of a resource on a server.
#[derive(Debug, PartialEq)]
pub struct Address {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// A name in lower case, or a literal address, with brackets when it is IPv6.
    pub host: String,
    /// None for the scheme's own.
    pub port: Option<u16>,
    /// Begins with `/`; dot segments are resolved.
    pub path: String,
    pub query: Option<String>,
    /// Taken out of the address.
    pub credentials: Option<Credentials>,
}

/// A user name and a password, percent-decoded.
#[derive(Debug, PartialEq)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

impl Address {
    /// Reads an address. The fragment is dropped: it is for the one who shows the page (§3.5).
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.chars().any(char::is_control) {
            return Err(Error::bad_address("the address has a line break or another control character in it"));
        }
        let (scheme, rest) = split_scheme(text)?;
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(authority_end);
        // Browsers end the authority there, and others do not.
        if authority.contains('\\') {
            return Err(Error::bad_address("the address has a backslash before its path"));
        }
        let (path, query) = match tail.split_once('?') {
            Some((path, query)) => (path, Some(encode(query, b"/?"))),
            None => (tail, None),
        };
        let (userinfo, server) = match authority.rsplit_once('@') {
            Some((userinfo, server)) => (userinfo, server),
            None => ("", authority),
        };
        let (host, port) = split_port(server)?;
        let address = Self {
            scheme,
            host: check_host(host)?,
            port: check_port(port, scheme)?,
            path: without_dot_segments(&encode(path, b"/")),
            query,
            credentials: Credentials::parse(userinfo)?,
        };
        let length = address.url().len();
        if length > MAX_BYTES {
            return Err(Error::bad_address(format!("the address is {length} bytes long, more than {MAX_BYTES}")));
        }
        Ok(address)
    }

    /// The URL to ask for, without credentials.
    pub fn url(&self) -> String {
        self.url_with_query(self.query.as_deref())
    }

    /// The same URL with another query.
    pub fn url_with_query(&self, query: Option<&str>) -> String {
        let Self { scheme, host, path, .. } = self;
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("{scheme}://{host}{port}{path}{query}")
    }
}

fn split_scheme(text: &str) -> Result<(&'static str, &str), Error> {
    let (scheme, rest) = text.split_once(':').ok_or_else(|| {
        Error::bad_address("this is not an address: it must begin with http:// or https:// and the name of a server")
    })?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => "http",
        "https" => "https",
        _ => return Err(Error::bad_address(format!("the address begins with {scheme:?}, not with http or https"))),
    };
    match rest.strip_prefix("//") {
        Some(rest) => Ok((scheme, rest)),
        None => Err(Error::bad_address(format!("after {scheme}: the address must go on with // and a server"))),
    }
}

fn split_port(server: &str) -> Result<(&str, &str), Error> {
    if server.starts_with('[') {
        let end =
            server.find(']').ok_or_else(|| Error::bad_address("the bracket of the IPv6 address is not closed"))?;
        let (host, rest) = server.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, port)),
            None if rest.is_empty() => Ok((host, "")),
            None => Err(Error::bad_address(format!("{rest:?} follows the bracket of the IPv6 address"))),
        };
    }
    match server.matches(':').count() {
        0 => Ok((server, "")),
        1 => Ok(server.split_once(':').unwrap_or((server, ""))),
        _ => Err(Error::bad_address("an IPv6 address must stand in brackets, as in http://[fd00::1]/")),
    }
}

/// §3.2.3: an empty port is the scheme's own.
fn check_port(port: &str, scheme: &str) -> Result<Option<u16>, Error> {
    if port.is_empty() {
        return Ok(None);
    }
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    match port.parse() {
        Ok(number) if digits && number > 0 => {
            Ok(Some(number).filter(|number| (scheme, *number) != ("http", 80) && (scheme, *number) != ("https", 443)))
        }
        _ => Err(Error::bad_address(format!("{port:?} is not a port, a number from 1 to 65535"))),
    }
}

/// Names may have letters of any script; the host's client makes punycode of them.
fn check_host(host: &str) -> Result<String, Error> {
    if host.is_empty() {
        return Err(Error::bad_address("the address names no server"));
    }
    if let Some(literal) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return match literal.parse::<Ipv6Addr>() {
            Ok(literal) => Ok(format!("[{literal}]")),
            Err(_) => Err(Error::bad_address(format!("{literal:?} is not an IPv6 address"))),
        };
    }
    if host.len() > MAX_HOST {
        return Err(Error::bad_address(format!("the server's name is longer than {MAX_HOST} bytes")));
    }
    if let Some(odd) = host.chars().find(|c| !(c.is_alphanumeric() || "-._".contains(*c))) {
        return Err(Error::bad_address(format!("the server's name {host:?} has the character {odd:?} in it")));
    }
    let labels = host.strip_suffix('.').unwrap_or(host);
    if labels.split('.').any(str::is_empty) {
        return Err(Error::bad_address(format!("the server's name {host:?} has an empty part")));
    }
    let last = labels.rsplit('.').next().unwrap_or(labels).to_ascii_lowercase();
    let numeric = last.bytes().all(|b| b.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    // Clients read 0x7f.1 or 2130706433 as an address too, and not all as the same one.
    if numeric && labels.parse::<Ipv4Addr>().is_err() {
        return Err(Error::bad_address(format!("{host:?} is not an IPv4 address: write it as four decimal numbers")));
    }
    Ok(if numeric { labels.to_owned() } else { host.to_lowercase() })
}

impl Credentials {
    /// §3.2.1, in the form that RFC 7617 §2 can carry.
    fn parse(userinfo: &str) -> Result<Option<Self>, Error> {
        if userinfo.is_empty() {
            return Ok(None);
        }
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        let credentials = Self { user: decode(user), password: decode(password) };
        if credentials.user.contains(':') {
            return Err(Error::bad_address("the user name in the address has a colon in it, which HTTP cannot send"));
        }
        if credentials.user.chars().chain(credentials.password.chars()).any(char::is_control) {
            return Err(Error::bad_address("the user name or password in the address has a control character in it"));
        }
        Ok(Some(credentials))
    }
}

/// §5.2.4. `%2e` is a dot here too, since clients take it for one. An empty path becomes `/`.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment.to_ascii_lowercase().replace("%2e", ".").as_str() {
            "." => {}
            ".." => drop(kept.pop()),
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let found = Address::parse(text).map(|address| address.url());
        match (&found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
            (Err(error), Err(part)) if error.code == "bad-address" && error.message.contains(part) => {}
            _ => panic!("{text:?}: {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn reads_and_repairs() {
        check("http://h/f.mkv", Ok("http://h/f.mkv"));
        check("  https://h/f.mkv \n", Ok("https://h/f.mkv"));
        check("HTTP://Example.ORG", Ok("http://example.org/"));
        check("http://example.org.", Ok("http://example.org./"));
        check("https://h?x=1", Ok("https://h/?x=1"));
        check("https://h/?", Ok("https://h/?"));
        check("https://h/f?a=b?c/d", Ok("https://h/f?a=b?c/d"));
        check("https://h/f#t=10", Ok("https://h/f"));
        check("https://h/f?x=1#a?b#c", Ok("https://h/f?x=1"));
        check("https://h#f", Ok("https://h/"));
        check("http://h:8080/f", Ok("http://h:8080/f"));
        check("http://h:80/f", Ok("http://h/f"));
        check("https://h:443/f", Ok("https://h/f"));
        check("http://h:443/f", Ok("http://h:443/f"));
        check("http://h:/f", Ok("http://h/f"));
        check("http://192.168.1.20/f", Ok("http://192.168.1.20/f"));
        check("http://[::1]:9/f", Ok("http://[::1]:9/f"));
        check("http://[FD00:0:0::1]/f", Ok("http://[fd00::1]/f"));
        check("http://my_nas.local/f", Ok("http://my_nas.local/f"));
        check("http://bücher.example/f", Ok("http://bücher.example/f"));
        check("http://h/a b.mkv", Ok("http://h/a%20b.mkv"));
        check("http://h/电影.mkv", Ok("http://h/%E7%94%B5%E5%BD%B1.mkv"));
        check("http://h/100%.mkv", Ok("http://h/100%25.mkv"));
        check("http://h/100%2", Ok("http://h/100%252"));
        check("http://h/a%20b", Ok("http://h/a%20b"));
        check("http://h/a<b>\"c\"{d}|e^f`g", Ok("http://h/a%3Cb%3E%22c%22%7Bd%7D%7Ce%5Ef%60g"));
        check("http://h/a\\b", Ok("http://h/a%5Cb"));
        check("http://h/f?q=a b&n=ü", Ok("http://h/f?q=a%20b&n=%C3%BC"));
        check("http://h/(a)[1]'!*;:@&=+$,~", Ok("http://h/(a)%5B1%5D'!*;:@&=+$,~"));
        check("http://h/a/./b/../c", Ok("http://h/a/c"));
        check("http://h/a/..", Ok("http://h/"));
        check("http://h/a/b/.", Ok("http://h/a/b/"));
        check("http://h/../../f", Ok("http://h/f"));
        check("http://h/a/%2E%2e/f", Ok("http://h/f"));
        check("http://h/a//b", Ok("http://h/a//b"));
        check("http://h/...", Ok("http://h/..."));
        check("http://u:p@h/f", Ok("http://h/f"));
        check("http://h/a@b:c", Ok("http://h/a@b:c"));
        check("http://h?u@v", Ok("http://h/?u@v"));
    }

    #[test]
    fn refuses_with_a_reason() {
        check("", Err("not an address"));
        check("film.mkv", Err("not an address"));
        check("ftp://h/f", Err("\"ftp\""));
        check("http:/h/f", Err("go on with //"));
        check("http:h", Err("go on with //"));
        check("http://", Err("names no server"));
        check("http:///f", Err("names no server"));
        check("http://:80/f", Err("names no server"));
        check("http://u:p@/f", Err("names no server"));
        check("http://h:0/f", Err("not a port"));
        check("http://h:65536/f", Err("not a port"));
        check("http://h:+80/f", Err("not a port"));
        check("http://h:a/f", Err("not a port"));
        check("http://::1/f", Err("in brackets"));
        check("http://[::1/f", Err("not closed"));
        check("http://[::1]x/f", Err("follows the bracket"));
        check("http://[fe80::1%25eth0]/f", Err("not an IPv6 address"));
        check("http://[h]/f", Err("not an IPv6 address"));
        check("http://a b/f", Err("' '"));
        check("http://good\\@evil/f", Err("backslash"));
        check("http://evil\\.good/f", Err("backslash"));
        check("http://h%2eevil/f", Err("'%'"));
        check("http://a..b/f", Err("empty part"));
        check("http://2130706433/f", Err("four decimal"));
        check("http://0x7f000001/f", Err("four decimal"));
        check("http://127.1/f", Err("four decimal"));
        check("http://1.2.3.256/f", Err("four decimal"));
        check("http://h/a\r\nHost: evil", Err("control character"));
        check("http://h/a\tb", Err("control character"));
        check("http://a%3ab:c@h/f", Err("colon"));
        check("http://a:b%0d%0a@h/f", Err("control character"));
        check(&format!("http://{}/f", "h".repeat(254)), Err("longer than 253"));
        check(&format!("http://h/{}", "a".repeat(17_000)), Err("17009 bytes"));
    }

    #[test]
    fn takes_credentials_out() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let found = Address::parse(text).unwrap().credentials;
            let found = found.as_ref().map(|found| (found.user.as_str(), found.password.as_str()));
            assert_eq!(found, expected, "{text}");
        };
        check("http://h/f", None);
        check("http://@h/f", None);
        check("http://u@h/f", Some(("u", "")));
        check("http://u:@h/f", Some(("u", "")));
        check("http://u:p:q@h/f", Some(("u", "p:q")));
        check("http://u:p@ss@h/f", Some(("u", "p@ss")));
        check("http://%C3%BCser:p%40ss%25@h/f", Some(("üser", "p@ss%")));
        check("http://:p@h/f", Some(("", "p")));
    }
}
