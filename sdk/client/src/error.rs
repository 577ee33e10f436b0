//! What can go wrong between a program and its host. Each sentence says what was done, where, and what to do next.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::info::Failure;

/// Why something did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The host's address, or one that is made of it, is none.
    #[error("{given:?} is not the address of a host: {why}; give it like http://127.0.0.1:7979")]
    Address {
        /// What was given.
        given: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file of the host's data folder cannot be used.
    #[error("{}: {source}; is this the host's data folder, does the host run, and may you read it?", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The HTTP client or the thread of the blocking side cannot be made.
    #[error("the client cannot start: {0}")]
    Start(String),
    /// There was no answer, or it broke off.
    #[error("{what}: {why}; does the host run there, and is it reachable?")]
    Unreachable {
        /// The request, without secrets.
        what: String,
        /// What the connection says.
        why: String,
    },
    /// The host answered that it will not do this.
    #[error("{what}: {problem}")]
    Refused {
        /// The request, without secrets.
        what: String,
        /// What the host says.
        problem: Problem,
    },
    /// The session cannot be played.
    #[error("session {session} failed: {failure}")]
    Failed {
        /// The beginning of its id.
        session: String,
        /// What the host says.
        failure: Failure,
    },
    /// The session waits for new credentials or a new link: [`crate::Session::update_auth`].
    #[error("session {session} needs new credentials or a new link: {failure}; give them with `update_auth`")]
    AuthRequired {
        /// The beginning of its id.
        session: String,
        /// What the host says.
        failure: Failure,
    },
    /// The session was ended.
    #[error("session {session} was closed; open another one")]
    Closed {
        /// The beginning of its id.
        session: String,
    },
    /// The host has another version of the file than the one that this stream reads.
    #[error("the file changed while it was read (at byte {at}: {was}, now {now}); open another stream to read it anew")]
    Changed {
        /// The offset at which reading went on.
        at: u64,
        /// The entity tag, or the length, of before.
        was: String,
        /// The same now.
        now: String,
    },
    /// Reading was tried again and again, and no byte came.
    #[error("no byte came from offset {at} in {tries} tries; the last one: {last}")]
    GaveUp {
        /// The offset of the byte that did not come.
        at: u64,
        /// How often it was tried.
        tries: u32,
        /// How the last try ended.
        #[source]
        last: Box<Error>,
    },
    /// A seek from the end, and the host does not know where that is yet.
    #[error(
        "the length of the file is not known yet, so there is no seeking from its end; read on, or try again later"
    )]
    LengthUnknown,
    /// A seek to a place before the first byte, or beyond what a number can say.
    #[error("a seek to a place that no file has ({0}); the position is as it was")]
    BadSeek(String),
    /// An answer that no mediahost gives.
    #[error("{what}: {why}; is this a mediahost, and nothing in between that changes its answers?")]
    Protocol {
        /// The request, without secrets.
        what: String,
        /// What is wrong with the answer.
        why: String,
    },
}

impl Error {
    /// The error of this crate within one that reading gave.
    pub fn of(error: &io::Error) -> Option<&Error> {
        error.get_ref()?.downcast_ref()
    }

    /// The host's stable word for what is wrong, where it gave one: `session-unknown`, `not-found`, `auth-required`, …
    pub fn code(&self) -> Option<&str> {
        match self {
            Error::Refused { problem, .. } => problem.code.as_deref(),
            Error::Failed { failure, .. } | Error::AuthRequired { failure, .. } => Some(&failure.code),
            Error::GaveUp { last, .. } => last.code(),
            _ => None,
        }
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Error::Address { .. } | Error::BadSeek(_) => io::ErrorKind::InvalidInput,
            Error::File { source, .. } => source.kind(),
            Error::Unreachable { .. } => io::ErrorKind::ConnectionAborted,
            Error::Refused { problem, .. } => match problem.status {
                401 | 403 => io::ErrorKind::PermissionDenied,
                404 | 410 => io::ErrorKind::NotFound,
                _ => io::ErrorKind::Other,
            },
            Error::AuthRequired { .. } => io::ErrorKind::PermissionDenied,
            Error::GaveUp { last, .. } => last.kind(),
            Error::LengthUnknown => io::ErrorKind::Unsupported,
            Error::Protocol { .. } => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        }
    }

    /// How long the host asks to wait before the next try.
    pub(crate) fn asked_wait(&self) -> Option<Duration> {
        match self {
            Error::Refused { problem, .. } => problem.retry_after_ms.map(Duration::from_millis),
            _ => None,
        }
    }

    /// Whether the same request may go better a little later.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Error::Unreachable { .. } => true,
            Error::Refused { problem, .. } => problem.may_pass(),
            _ => false,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::new(error.kind(), error)
    }
}

/// A host's answer that is an error (RFC 9457).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Problem {
    /// The status of the answer.
    pub status: u16,
    /// A stable word; none if it does not come from a mediahost.
    pub code: Option<String>,
    /// A sentence about this very case.
    pub detail: String,
    /// How long the host asks to wait, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

/// The longest sentence that is kept of an answer.
const MOST_DETAIL: usize = 500;

impl Problem {
    /// What the body of an answer says, whatever it is.
    pub(crate) fn read(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Problem {
        let mut problem: Problem = serde_json::from_slice(body).unwrap_or_default();
        problem.status = status;
        if problem.detail.is_empty() {
            problem.detail = String::from_utf8_lossy(body).trim().to_owned();
        }
        problem.detail = problem.detail.chars().take(MOST_DETAIL).collect();
        // The field of the head counts in seconds; the body's may be finer.
        let asked = retry_after.map(|asked| u64::try_from(asked.as_millis()).unwrap_or(u64::MAX));
        problem.retry_after_ms = problem.retry_after_ms.or(asked);
        problem
    }

    /// Whether the same request may go better a little later.
    fn may_pass(&self) -> bool {
        match self.status {
            429 | 503 | 504 => true,
            // Something between us and the host, or an upstream that may come back.
            502 => self.code.as_deref().is_none_or(|code| code == "unavailable"),
            _ => false,
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Problem { status, code, detail, retry_after_ms } = self;
        write!(f, "the host answers {status}")?;
        if let Some(code) = code {
            write!(f, " ({code})")?;
        }
        if !detail.is_empty() {
            write!(f, ": {detail}")?;
        }
        match (status, retry_after_ms) {
            (_, Some(ms)) => write!(f, "; it asks to wait {:.1} s", *ms as f64 / 1000.0),
            (401 | 403, None) => write!(f, "; is the token the one in the host's `admin.token`?"),
            _ => Ok(()),
        }
    }
}
