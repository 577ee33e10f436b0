//! Why a session does not deliver, as people and programs are told.

use std::time::Duration;

use cache::origin::Ended;
use cache::upstream::{Kind, Rejection};
use plugin::{Failure, code};
use serde::{Deserialize, Serialize};

/// What is wrong with a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// A stable word.
    pub code: String,
    /// A sentence. It names no credentials.
    pub message: String,
    /// The plugin that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<Box<str>>,
    /// How long to wait before trying again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Whether trying the same again may help.
    #[serde(skip)]
    pub retryable: bool,
    /// Why the plan should be renewed, when that may help.
    #[serde(skip)]
    pub renew: Option<&'static str>,
    /// The status that the upstream gave.
    #[serde(skip)]
    pub upstream_status: Option<u16>,
    /// The entity-tag that differs, when nothing else does.
    #[serde(skip)]
    pub other_tag: Option<Box<str>>,
}

/// There is no title of this id.
pub const NO_TITLE: &str = "no-such-title";
/// The upstream's bytes are not those of the pinned version any more.
pub const CHANGED: &str = "upstream-changed";

impl Fault {
    pub fn new(code: &str, message: impl Into<String>) -> Fault {
        Fault {
            code: code.into(),
            message: message.into(),
            plugin: None,
            retry_after_ms: None,
            retryable: false,
            renew: None,
            upstream_status: None,
            other_tag: None,
        }
    }

    /// Whether the way in which a range was asked for may be what the server does not like.
    pub fn may_be_the_range(&self) -> bool {
        self.upstream_status == Some(403)
            || matches!(self.code.as_str(), "upstream-wrong" | "upstream-status" | "length-unknown")
    }

    /// Whether the upstream asks to wait longer than anybody here would.
    pub fn asks_for_more_than(&self, patience: Duration) -> bool {
        self.retry_after_ms.is_some_and(|asked| Duration::from_millis(asked) > patience)
    }

    /// What the failure says about the load that the origin bears.
    pub fn ended(&self) -> Ended {
        match (self.code.as_str(), self.upstream_status) {
            (code::THROTTLED, _) | (_, Some(503)) => {
                Ended::Busy { retry_after: self.retry_after_ms.map(Duration::from_millis) }
            }
            _ if self.retryable => Ended::Broken,
            _ => Ended::Refused,
        }
    }

    /// Whether the version that was pinned is gone.
    pub fn is_change(&self) -> bool {
        self.code == CHANGED
    }

    /// Whether new credentials or a new link may help.
    pub fn wants_auth(&self) -> bool {
        self.code == code::AUTH_REQUIRED
    }

    /// The status with which `/stream` tells a player.
    pub fn status(&self) -> u16 {
        match self.code.as_str() {
            code::NOT_FOUND | "gone" | NO_TITLE => 404,
            code::THROTTLED => 503,
            "connect-timeout" | "idle-timeout" | code::TIMEOUT => 504,
            "disk" | code::INTERNAL => 500,
            code::UNSUPPORTED | code::ENCRYPTED => 501,
            _ => 502,
        }
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Fault {
        let retry_after_ms = match &failure {
            Failure::Answer { error, .. } => error.retry_after_ms.map(u64::from),
            _ => None,
        };
        Fault {
            plugin: Some(failure.plugin().into()),
            retryable: match &failure {
                Failure::Answer { error, .. } => matches!(error.code.as_str(), code::UNAVAILABLE | code::THROTTLED),
                // Too slow or too busy may pass; a broken rule is broken again.
                Failure::Fault { fault, .. } => {
                    matches!(fault, plugin::Fault::Busy { .. } | plugin::Fault::Wall { .. })
                }
                Failure::Gone { .. } => true,
            },
            retry_after_ms,
            ..Fault::new(failure.code(), failure.to_string())
        }
    }
}

impl From<fetch::Error> for Fault {
    fn from(error: fetch::Error) -> Fault {
        Fault { retryable: error.retryable(), ..Fault::new(error.code(), error.to_string()) }
    }
}

impl From<Rejection> for Fault {
    fn from(rejection: Rejection) -> Fault {
        let (code, status) = match &rejection {
            _ if rejection.kind() == Kind::Auth => (code::AUTH_REQUIRED, None),
            _ if rejection.kind() == Kind::Changed => (CHANGED, None),
            Rejection::NotFound => (code::NOT_FOUND, Some(404)),
            Rejection::Gone => ("gone", Some(410)),
            Rejection::Throttled { status, .. } => (code::THROTTLED, Some(*status)),
            Rejection::ServerError { status, .. } => (code::UNAVAILABLE, Some(*status)),
            Rejection::Status { status } => ("upstream-status", Some(*status)),
            Rejection::NotMedia { .. } => ("not-media", None),
            Rejection::UnknownTotal => ("length-unknown", None),
            Rejection::TooLarge { .. } => (code::TOO_LARGE, None),
            _ => ("upstream-wrong", None),
        };
        let status = match &rejection {
            Rejection::Unauthorized { status } => Some(*status),
            _ => status,
        };
        Fault {
            retry_after_ms: rejection.retry_after().map(|after| after.as_millis() as u64),
            retryable: rejection.kind() == Kind::Retry,
            renew: match rejection.kind() {
                Kind::Auth => Some("denied"),
                Kind::Fatal if rejection.may_refresh() => Some("gone"),
                _ => None,
            },
            upstream_status: status,
            other_tag: match &rejection {
                Rejection::EtagChanged { got, .. } => Some(got.as_str().into()),
                _ => None,
            },
            ..Fault::new(code, rejection.to_string())
        }
    }
}

impl From<store::Error> for Fault {
    fn from(error: store::Error) -> Fault {
        Fault::new("disk", error.to_string())
    }
}
