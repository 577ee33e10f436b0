//! Which header fields go to the server.

use mediahost_plugin_sdk::{Error, Header, code};

use crate::address::Credentials;
use crate::encoding::to_base64;

/// The most fields that the contract lets into a segment, one of them ours.
const MAX_FIELDS: usize = 63;
/// The longest field, name and value, that the contract lets into a plan, in bytes.
const MAX_BYTES: usize = 16 * 1024;

/// Fields that describe the connection or the part that is asked for: the host writes them for each of its requests.
const HOSTS_OWN: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The user's fields, and credentials from the address unless the user gave an `Authorization`.
pub fn to_send(headers: &[Header], credentials: Option<&Credentials>) -> Result<Vec<Header>, Error> {
    if headers.len() > MAX_FIELDS {
        return Err(refused(format!("{} header fields are more than {MAX_FIELDS}", headers.len())));
    }
    let mut sent: Vec<Header> = headers.iter().map(checked).collect::<Result<_, _>>()?;
    if let Some(Credentials { user, password }) = credentials
        && !sent.iter().any(|header| header.is("authorization"))
    {
        // RFC 7617 §2
        let pair = to_base64(format!("{user}:{password}").as_bytes());
        sent.push(Header::new("Authorization", format!("Basic {pair}")));
    }
    Ok(sent)
}

fn checked(header: &Header) -> Result<Header, Error> {
    let name = &header.name;
    // RFC 9110 §5.6.2, token
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(refused(format!("{name:?} is not the name of a header field")));
    }
    let lower = name.to_ascii_lowercase();
    if HOSTS_OWN.contains(&lower.as_str()) || lower.starts_with("if-") {
        return Err(refused(format!("the header field {name} is the host's own and cannot be set")));
    }
    // RFC 9110 §5.5: CR, LF and NUL would end the field; other control characters have no business in it.
    if header.value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(refused(format!("the value of the header field {name} has a control character in it")));
    }
    if name.len() + header.value.len() > MAX_BYTES {
        return Err(refused(format!("the header field {name} is longer than {MAX_BYTES} bytes")));
    }
    Ok(Header::new(name, header.value.trim()))
}

fn refused(message: String) -> Error {
    Error::new(code::REFUSED, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fields: &[(&str, &str)], credentials: Option<(&str, &str)>, expected: Result<&str, &str>) {
        let headers: Vec<_> = fields.iter().map(|(name, value)| Header::new(*name, *value)).collect();
        let credentials =
            credentials.map(|(user, password)| Credentials { user: user.into(), password: password.into() });
        let found = to_send(&headers, credentials.as_ref());
        let lines = found.as_ref().map(|sent| {
            sent.iter().map(|header| format!("{}: {}", header.name, header.value)).collect::<Vec<_>>().join("|")
        });
        match (&lines, expected) {
            (Ok(lines), Ok(expected)) => assert_eq!(lines, expected),
            (Err(error), Err(part)) if error.code == "refused" && error.message.contains(part) => {}
            _ => panic!("{fields:?}: {lines:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn passes_on_refuses_and_adds_credentials() {
        check(&[], None, Ok(""));
        check(&[("Referer", " https://h/ "), ("Cookie", "a=b")], None, Ok("Referer: https://h/|Cookie: a=b"));
        check(&[], Some(("Aladdin", "open sesame")), Ok("Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        check(&[("authorization", "Bearer x")], Some(("u", "p")), Ok("authorization: Bearer x"));
        check(&[("X-Name", "ü\tä")], None, Ok("X-Name: ü\tä"));
        for name in ["Host", "RANGE", "connection", "Content-Length", "Transfer-Encoding", "If-Range", "if-none-match"]
        {
            check(&[(name, "x")], None, Err("the host's own"));
        }
        check(&[("X", "a\r\nHost: evil")], None, Err("control character"));
        check(&[("X", "a\nb")], None, Err("control character"));
        check(&[("X", "a\0b")], None, Err("control character"));
        check(&[("X\r\nHost", "evil")], None, Err("not the name"));
        check(&[("X Y", "a")], None, Err("not the name"));
        check(&[("", "a")], None, Err("not the name"));
        check(&[("X:", "a")], None, Err("not the name"));
        check(&[("X", &"a".repeat(20_000))], None, Err("longer than"));
        check(&[("X", "a"); 64], None, Err("more than 63"));
    }
}
