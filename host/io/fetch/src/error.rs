//! Why a request gave no answer, or an answer no more bytes.

use std::error::Error as StdError;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use thiserror::Error;
use url::Url;

use crate::origin::host_of;
use crate::resolve::OnlyPrivate;

/// What went wrong. The sentences name the server and never a path or a query, which may carry secrets.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// The client could not be built; for the operator to mend.
    #[error("the settings for outgoing connections cannot be used: {reason}")]
    Setup { reason: String },
    /// The URL cannot be fetched at all.
    #[error("the address cannot be fetched: {reason}")]
    BadUrl { reason: &'static str },
    /// A header field of the request cannot be sent.
    #[error("the header field {name:?} cannot be sent: its name or value holds characters that are not allowed")]
    BadHeader { name: String },
    /// The range to ask for is empty.
    #[error("an empty range of bytes was asked for")]
    EmptyRange,
    /// The name did not resolve.
    #[error("the name of {host} could not be resolved; is it spelt right, and is there a network?")]
    Dns { host: String },
    /// The rule on private addresses.
    #[error(
        "{host} is at the private address {address}, which may not be reached from here; net.allow_private can permit it"
    )]
    Private { host: String, address: IpAddr },
    /// Nobody listens there.
    #[error("{host} refused the connection; nothing is listening there")]
    Refused { host: String },
    /// No connection for another reason.
    #[error("no connection to {host}: {reason}")]
    Connect { host: String, reason: String },
    /// Resolving, connecting and the handshake took too long.
    #[error("{host} could not be reached within {} ms", after.as_millis())]
    ConnectTimeout { host: String, after: Duration },
    /// The server fell silent.
    #[error("{host} sent nothing for {} ms", after.as_millis())]
    IdleTimeout { host: String, after: Duration },
    /// No secure connection. A wrong certificate is here.
    #[error("no secure connection to {host}: {reason}")]
    Tls { host: String, reason: String },
    /// The connection broke, before the answer or within it.
    #[error("{host} broke the connection")]
    Reset { host: String },
    /// The body ended before its announced length.
    #[error("{host} ended its answer before all of it had come")]
    Early { host: String },
    /// What came is not HTTP as we understand it.
    #[error("{host} gave an answer that is not proper HTTP: {reason}")]
    Protocol { host: String, reason: String },
    /// A redirect led back to where it had been.
    #[error("{host} redirects in a circle")]
    RedirectLoop { host: String },
    /// One redirect after the other.
    #[error("{host} redirects once more after {most} redirects")]
    TooManyRedirects { host: String, most: u8 },
    /// A redirect that is not followed.
    #[error("{host} redirects to an address that is not followed: {reason}")]
    BadRedirect { host: String, reason: &'static str },
}

impl Error {
    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Setup { .. } => "fetch-setup",
            Error::BadUrl { .. } => "bad-address",
            Error::BadHeader { .. } => "bad-header",
            Error::EmptyRange => "bad-range",
            Error::Dns { .. } => "dns-failed",
            Error::Private { .. } => "private-address",
            Error::Refused { .. } => "connection-refused",
            Error::Connect { .. } => "connection-failed",
            Error::ConnectTimeout { .. } => "connect-timeout",
            Error::IdleTimeout { .. } => "idle-timeout",
            Error::Tls { .. } => "tls-failed",
            Error::Reset { .. } => "connection-reset",
            Error::Early { .. } => "ended-early",
            Error::Protocol { .. } => "not-http",
            Error::RedirectLoop { .. } => "redirect-loop",
            Error::TooManyRedirects { .. } => "too-many-redirects",
            Error::BadRedirect { .. } => "bad-redirect",
        }
    }

    /// Whether the same request may succeed a little later.
    pub fn retryable(&self) -> bool {
        matches!(
            self,
            Error::Dns { .. }
                | Error::Refused { .. }
                | Error::Connect { .. }
                | Error::ConnectTimeout { .. }
                | Error::IdleTimeout { .. }
                | Error::Reset { .. }
                | Error::Early { .. }
        )
    }

    /// What a failed exchange with the server of `url` was.
    pub(crate) fn of(error: &reqwest::Error, url: &Url, connect_timeout: Duration) -> Error {
        let host = host_of(url);
        if error.is_builder() {
            return Error::BadUrl { reason: "it is not a URL that a request can be made of" };
        }
        let causes = || std::iter::successors(error.source(), |cause| beneath(*cause)).take(MAX_CAUSES);
        for cause in causes() {
            if let Some(only) = cause.downcast_ref::<OnlyPrivate>() {
                return Error::Private { host, address: only.address };
            }
            if let Some(error) = cause.downcast_ref::<crate::resolve::Unresolved>() {
                tracing::debug!(host, %error, "a name did not resolve");
                return Error::Dns { host };
            }
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return Error::Tls { host, reason: tls_words(tls) };
            }
        }
        let io = causes().filter_map(|cause| cause.downcast_ref::<io::Error>()).last().map(io::Error::kind);
        match io {
            _ if error.is_connect() && error.is_timeout() => Error::ConnectTimeout { host, after: connect_timeout },
            Some(io::ErrorKind::ConnectionRefused) => Error::Refused { host },
            Some(_) if error.is_connect() => Error::Connect { host, reason: words(causes().last()) },
            Some(io::ErrorKind::UnexpectedEof) => Error::Early { host },
            Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other) => {
                Error::Protocol { host, reason: words(causes().last()) }
            }
            Some(_) => Error::Reset { host },
            None if error.is_connect() => Error::Connect { host, reason: words(causes().last()) },
            // hyper has no public kind for these; its sentence for an unparsable head begins with this word.
            None => match words(causes().last()) {
                reason if reason.starts_with("invalid") || reason.contains("too large") => {
                    Error::Protocol { host, reason }
                }
                _ => Error::Reset { host },
            },
        }
    }
}

/// Causes of one error that are looked at; real chains have about five.
const MAX_CAUSES: usize = 16;

fn words(cause: Option<&(dyn StdError + 'static)>) -> String {
    cause.map_or_else(|| "no reason was given".to_owned(), ToString::to_string)
}

/// The cause of a cause. An I/O error that wraps another error skips it in its own `source`.
fn beneath<'a>(cause: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => cause.source(),
    }
}

fn tls_words(error: &rustls::Error) -> String {
    use rustls::CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            "its certificate has expired".into()
        }
        rustls::Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "its certificate is for another name".into()
        }
        rustls::Error::InvalidCertificate(Bad::UnknownIssuer) => {
            "its certificate is signed by nobody whom this machine trusts (net.ca_file can add a signer)".into()
        }
        rustls::Error::InvalidMessage(_) => "it does not speak TLS there".into(),
        other => other.to_string(),
    }
}
