//! Fetches bytes from the HTTP servers that plans name, and pages for plugins.
//!
//! Owns: connections and their reuse, TLS and its roots, redirects, the timeouts of one request, and the rule that
//! private addresses are not for everyone to reach.
//! Leaves to others: what to ask for, whether an answer fits (`service/proxy`), retries, caching.
//!
//! Invariant: a connection to a private address exists only for an origin that the user named himself, for an address
//! that `allow_private` covers, or for a plugin whose grant says so. It is checked on the address that is connected
//! to, so a name that resolves differently the second time gains nothing.
//!
//! ```no_run
//! # async fn example(url: url::Url) -> Result<(), mediahost_fetch::Error> {
//! use mediahost_fetch::{Client, Config, Get, Origin, Range};
//! let client = Client::new(Config::default())?;
//! let named = Origin::of(&url);
//! let mut response = client.get(Get { range: Some(Range::Bounded(0..65_536)), named, ..Get::new(url) }).await?;
//! while let Some(bytes) = response.chunk().await? { /* hand them on */ }
//! # Ok(()) }
//! ```

mod address;
mod client;
mod error;
mod origin;
pub mod plugin_fetcher;
mod redirect;
mod resolve;
mod tls;

pub use address::{Cidr, CidrError, is_private};
pub use client::{Client, Config, Get, Range, Response};
pub use error::Error;
pub use origin::Origin;
pub use plugin_fetcher::PluginFetcher;
pub use redirect::{leaves, without_credentials};
pub use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

#[cfg(test)]
mod tests;
