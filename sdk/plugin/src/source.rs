//! Media sources: an address in, a plan of where its bytes are out.

use crate::{Error, Header, Host, Opened, RefreshReason};

/// A plugin that says where the bytes of an address are. The host fetches, caches and serves them.
///
/// Nothing is kept between calls: an instance serves one call. What must last goes into the plan's `state`, which the
/// host hands back, or into the host's key-value store.
#[expect(async_fn_in_trait, reason = "a component has one thread, so nobody asks whether the futures are Send")]
pub trait MediaSource {
    /// Finds out where the bytes of an address are. The address has one of the schemes of `plugin.json`.
    async fn open(host: &Host, request: Open) -> Result<Opened, Error>;

    /// Renews what `open` gave, after the addresses expired or were refused. `state` is that of the plan at hand.
    ///
    /// A source that cannot do better than the user fails with `auth-required`, and the host then asks the user. That
    /// is what happens unless this is written.
    async fn refresh(host: &Host, request: Open, state: Vec<u8>, reason: RefreshReason) -> Result<Opened, Error> {
        let _ = (host, request, state, reason);
        Err(Error::auth_required("this source cannot renew the link by itself"))
    }
}

/// An address to open.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    /// The address as the user gave it.
    pub uri: String,
    /// Header fields that the user wants sent. Put those into the plan that the upstream should see.
    pub headers: Vec<Header>,
    /// What for: `play`, or `check` when the host only tests whether the plugin works.
    pub purpose: String,
    /// Keys of a later contract; none are known in 0.1.
    pub extra: Vec<(String, String)>,
}

impl Open {
    /// An address to play, without header fields.
    pub fn new(uri: impl Into<String>) -> Self {
        Self { uri: uri.into(), headers: Vec::new(), purpose: "play".into(), extra: Vec::new() }
    }

    /// Adds a header field that the user wants sent.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push(Header::new(name, value));
        self
    }

    /// What follows the scheme and its colon: `film.mkv` of `shelf:film.mkv`.
    pub fn after_scheme(&self) -> &str {
        self.uri.split_once(':').map_or("", |(_, rest)| rest)
    }
}
