//! What a plugin *is* to the host: the port that services call and adapters implement.
//!
//! Owns: the kinds as traits, the plain types that cross them, the manifest, what may be granted, and the check of a
//! plan against the contract.
//! Leaves to others: loading, running and replacing plugins (`io/wasm`), fetching and serving what they name.
//!
//! Invariant: a [`source::Plan`] that exists has passed [`source::Plan::check`]; nobody behind the port checks it again.
//!
//! A service holds `Arc<dyn Plugins>` and asks it for every call anew, so that a plugin can be replaced between any two
//! calls without the service noticing.

pub mod detect;
mod failure;
pub mod grant;
pub mod host;
pub mod manifest;
pub mod source;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;
use serde::{Deserialize, Serialize};

pub use failure::{Error, Failure, Fault, code};
pub use manifest::{Kind, Manifest};

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// A stream that a trait object can return.
pub type BoxStream<'a, T> = Pin<Box<dyn Stream<Item = T> + Send + 'a>>;

/// One header field of an HTTP message.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The name; case does not matter.
    pub name: String,
    /// The value without surrounding white space.
    pub value: String,
}

impl std::fmt::Debug for Header {
    /// Shows the name alone: values of header fields are credentials as often as not.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: …", self.name)
    }
}

/// Keys and values of a record that is expected to grow.
pub type Extra = Vec<(String, String)>;

/// The plugins that serve right now.
pub trait Plugins: Send + Sync + 'static {
    /// Sources that read addresses of this scheme (lower case), the preferred one first.
    fn sources(&self, scheme: &str) -> Vec<Arc<dyn source::MediaSource>>;

    /// Detectors that may know a file which begins with `head` and has this name, the preferred one first. One that
    /// recognises its magic comes before one that only knows the name's extension.
    fn detectors(&self, head: &[u8], name: Option<&str>) -> Vec<Arc<dyn detect::ContainerDetector>>;

    /// Schemes that some source reads, for an error that says what would work.
    fn schemes(&self) -> Vec<String>;
}
