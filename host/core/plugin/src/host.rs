//! What a plugin may ask of the host, as traits that node joins.

use crate::grant::FetchRules;
use crate::{BoxFuture, Error, Header};

/// A request of a plugin (`mediahost:host/fetch-types`).
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub url: String,
    pub headers: Vec<Header>,
    pub body: Option<Vec<u8>>,
    /// Largest body to accept, already cut to what is granted.
    pub max_bytes: u64,
    /// How long the exchange may take, already cut to what is granted.
    pub timeout_ms: u64,
    pub max_redirects: u8,
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// The URL that answered, after redirects.
    pub url: String,
    pub headers: Vec<Header>,
    pub body: Vec<u8>,
}

/// Sends requests for plugins.
pub trait Fetcher: Send + Sync + 'static {
    /// Sends one request. The rules are checked on the first URL and at each redirect, and the address that the name
    /// resolves to is the address that is connected to.
    fn send(&self, request: Request, rules: FetchRules) -> BoxFuture<'static, Result<Response, Error>>;
}

/// Keeps small values for plugins. Methods block on the disk; adapters call them where blocking is allowed.
pub trait KeyValue: Send + Sync + 'static {
    /// The value under a key.
    fn get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, Error>;
    /// Puts a value under a key, unless all keys and values together would pass `quota` bytes.
    fn set(&self, plugin: &str, key: &str, value: &[u8], quota: u64) -> Result<(), Error>;
    /// Removes a key.
    fn delete(&self, plugin: &str, key: &str) -> Result<(), Error>;
    /// All keys that begin with `prefix`, sorted.
    fn keys(&self, plugin: &str, prefix: &str) -> Result<Vec<String>, Error>;
}
