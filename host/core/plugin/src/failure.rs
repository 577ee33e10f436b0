//! What can go wrong in a call to a plugin, and whose fault it was.

use thiserror::Error;

/// Codes that the contract names (`mediahost:host/types`, record `error`).
pub mod code {
    /// The address is not one this plugin can read.
    pub const BAD_ADDRESS: &str = "bad-address";
    /// Nothing is there, or not any more.
    pub const NOT_FOUND: &str = "not-found";
    /// Credentials are missing, wrong or expired.
    pub const AUTH_REQUIRED: &str = "auth-required";
    /// The credentials are good and do not suffice.
    pub const FORBIDDEN: &str = "forbidden";
    /// The other side asks for patience.
    pub const THROTTLED: &str = "throttled";
    /// The other side cannot be reached or is failing.
    pub const UNAVAILABLE: &str = "unavailable";
    /// Understood, and not something that is done.
    pub const UNSUPPORTED: &str = "unsupported";
    /// It is encrypted, and the keys are nobody's business here.
    pub const ENCRYPTED: &str = "encrypted";
    /// The data contradicts itself.
    pub const DAMAGED: &str = "damaged";
    /// A capability was not granted, or the rules forbid this use of it.
    pub const REFUSED: &str = "refused";
    /// A limit on size was reached.
    pub const TOO_LARGE: &str = "too-large";
    /// A limit on time was reached.
    pub const TIMEOUT: &str = "timeout";
    /// A limit on number or volume was reached.
    pub const QUOTA: &str = "quota";
    /// A fault of the one who answers.
    pub const INTERNAL: &str = "internal";
}

/// An answer of the contract that is not success, in either direction.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Error {
    /// One of [`code`], or one of a later contract.
    pub code: String,
    /// A sentence for people, without secrets.
    pub message: String,
    /// How long to wait before trying again.
    pub retry_after_ms: Option<u32>,
}

impl Error {
    /// An error that does not say when to try again.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), retry_after_ms: None }
    }
}

/// How a plugin broke the rules. It lost its instance; the host and other calls went on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// It trapped: a panic, a bad memory access, an unreachable instruction.
    #[error("stopped with a fault of its own: {0}")]
    Trap(String),
    /// It computed for too long.
    #[error("used up its {limit_ms} ms of CPU time")]
    Cpu {
        /// The limit.
        limit_ms: u64,
    },
    /// The call as a whole took too long.
    #[error("did not answer within {limit_ms} ms")]
    Wall {
        /// The limit.
        limit_ms: u64,
    },
    /// It wanted more memory than it may have.
    #[error("wanted more than its {limit_bytes} bytes of memory")]
    Memory {
        /// The limit.
        limit_bytes: u64,
    },
    /// Its answer was larger than an answer may be.
    #[error("gave an answer beyond the limit: {0}")]
    Output(String),
    /// Its answer contradicts the contract.
    #[error("gave an answer that breaks the contract: {0}")]
    Contract(String),
    /// It could not be instantiated.
    #[error("could not be started: {0}")]
    Start(String),
    /// All instances that it may have at once are busy.
    #[error("is busy with {limit} calls, as many as it may serve at once")]
    Busy {
        /// The limit.
        limit: u32,
    },
}

/// Why a call to a plugin gave no result.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// The plugin answered with an error, as it may.
    #[error("{error} (plugin {plugin})")]
    Answer {
        /// The plugin's id.
        plugin: String,
        /// What it said.
        error: Error,
    },
    /// The plugin broke the rules.
    #[error("plugin {plugin} (generation {generation}) {fault}")]
    Fault {
        /// The plugin's id.
        plugin: String,
        /// Which of its generations.
        generation: u64,
        /// How.
        fault: Fault,
    },
    /// The plugin is gone or switched off.
    #[error("plugin {plugin} is not serving: {reason}")]
    Gone {
        /// The plugin's id.
        plugin: String,
        /// Why.
        reason: String,
    },
}

impl Failure {
    /// A stable word for programs: the code of an answer, `plugin-fault` or `plugin-gone`.
    pub fn code(&self) -> &str {
        match self {
            Failure::Answer { error, .. } => &error.code,
            Failure::Fault { .. } => "plugin-fault",
            Failure::Gone { .. } => "plugin-gone",
        }
    }

    /// The plugin that was called.
    pub fn plugin(&self) -> &str {
        match self {
            Failure::Answer { plugin, .. } | Failure::Fault { plugin, .. } | Failure::Gone { plugin, .. } => plugin,
        }
    }
}
