//! Errors of the contract: a code to decide on and a sentence for people.

use crate::{Error, Response};

/// Codes that the contract names (`mediahost:host/types`, record `error`).
pub mod code {
    /// The address is not one this plugin can read. Trying again does not help.
    pub const BAD_ADDRESS: &str = "bad-address";
    /// Nothing is there, or not any more.
    pub const NOT_FOUND: &str = "not-found";
    /// Credentials are missing, wrong or expired; new ones may help.
    pub const AUTH_REQUIRED: &str = "auth-required";
    /// The credentials are good and do not suffice.
    pub const FORBIDDEN: &str = "forbidden";
    /// The other side asks for patience.
    pub const THROTTLED: &str = "throttled";
    /// The other side cannot be reached or is failing; trying again may help.
    pub const UNAVAILABLE: &str = "unavailable";
    /// Understood, and not something this plugin does.
    pub const UNSUPPORTED: &str = "unsupported";
    /// The data contradicts itself.
    pub const DAMAGED: &str = "damaged";
    /// A capability was not granted, or the host's rules forbid this use of it.
    pub const REFUSED: &str = "refused";
    /// A limit on size was reached.
    pub const TOO_LARGE: &str = "too-large";
    /// A limit on time was reached.
    pub const TIMEOUT: &str = "timeout";
    /// A limit on number or volume was reached.
    pub const QUOTA: &str = "quota";
    /// A fault of the plugin.
    pub const INTERNAL: &str = "internal";
}

impl Error {
    /// An error with one of the codes of [`code`]. The message is a sentence for people and holds no secrets.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retry_after_ms: None }
    }

    /// [`code::BAD_ADDRESS`]: say what an address has to look like.
    pub fn bad_address(message: impl Into<String>) -> Self {
        Self::new(code::BAD_ADDRESS, message)
    }

    /// [`code::NOT_FOUND`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(code::NOT_FOUND, message)
    }

    /// [`code::AUTH_REQUIRED`]: the host asks the user for new credentials or a new address.
    pub fn auth_required(message: impl Into<String>) -> Self {
        Self::new(code::AUTH_REQUIRED, message)
    }

    /// [`code::UNAVAILABLE`]: the host may try again.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(code::UNAVAILABLE, message)
    }

    /// [`code::UNSUPPORTED`].
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(code::UNSUPPORTED, message)
    }

    /// [`code::DAMAGED`].
    pub fn damaged(message: impl Into<String>) -> Self {
        Self::new(code::DAMAGED, message)
    }

    /// Says how long to wait before trying again.
    pub fn with_retry_after_ms(mut self, wait_ms: u32) -> Self {
        self.retry_after_ms = Some(wait_ms);
        self
    }

    /// The error that a status of 400 and above stands for. `what` names, in the message, what was asked for.
    pub(crate) fn of_status(what: &str, response: &Response) -> Self {
        let status = response.status;
        let code = match status {
            401 | 407 => code::AUTH_REQUIRED,
            403 => code::FORBIDDEN,
            404 | 410 => code::NOT_FOUND,
            429 => code::THROTTLED,
            408 | 500.. => code::UNAVAILABLE,
            _ => code::INTERNAL,
        };
        let wait_s: Option<u32> = response.header("retry-after").and_then(|value| value.trim().parse().ok());
        let retry_after_ms = wait_s.map(|seconds| seconds.saturating_mul(1000));
        Self { code: code.into(), message: format!("{what} answered with status {status}"), retry_after_ms }
    }
}
