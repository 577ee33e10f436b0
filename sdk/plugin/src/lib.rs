//! Write plugins for mediahost in Rust.
//!
//! A plugin is a type that implements one trait, one line that makes a component of it, and a `plugin.json` that says
//! what it is and what it wants to be allowed:
//!
//! | kind | trait | line |
//! |---|---|---|
//! | says where the bytes of an address are | [`MediaSource`] | [`media_source!`] |
//! | the same, and computes bytes itself | [`MediaSource`] and [`Computed`] | [`computed_source!`] |
//! | recognises what a file contains | [`detect::Detector`] | [`container_detector!`] |
//!
//! ```
//! use mediahost_plugin_sdk::{Error, Host, MediaSource, Open, Opened, Plan};
//!
//! /// Plays `shelf:film.mkv` from the shelf of a friend.
//! struct Shelf;
//!
//! impl MediaSource for Shelf {
//!     async fn open(host: &Host, request: Open) -> Result<Opened, Error> {
//!         let shelf = host.config("shelf").unwrap_or("https://example.org/shelf".into());
//!         let film = request.after_scheme();
//!         if film.is_empty() {
//!             return Err(Error::bad_address("write shelf: and the name of a film"));
//!         }
//!         Ok(Plan::http(format!("{shelf}/{film}")).with_name(film).into())
//!     }
//! }
//!
//! # #[cfg(any())] // A doc-test has no plugin.json.
//! mediahost_plugin_sdk::media_source!(Shelf, "plugin.json");
//!
//! // Natively the host is a script, so that a plugin is tested with plain `cargo test`.
//! use mediahost_plugin_sdk::testing::run;
//!
//! let host = Host::scripted().config("shelf", "https://films.example");
//! let opened = run(Shelf::open(&host, Open::new("shelf:film.mkv")));
//! assert_eq!(opened, Ok(Plan::http("https://films.example/film.mkv").with_name("film.mkv").into()));
//! ```
//!
//! Owns: the guest's side of the contract in `wit/`, and nothing of the host's.
//! Leaves to the host: moving media bytes, limits, permissions, storage.
//!
//! Build for `wasm32-wasip2`; what `cargo build` makes there is the component, ready for the plugins folder.

pub mod bindings;
mod computed;
pub mod detect;
mod error;
#[doc(hidden)]
pub mod glue;
mod host;
mod message;
mod plan;
mod source;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use bindings::media_source::mediahost::host::{
    fetch_types::{Request, Response},
    log::Level,
    types::{Error, Header},
};
pub use bindings::media_source::mediahost::media_source::types::{
    FileBytes, HttpBytes, Manifest, Opened, Origin, ParentBytes, Plan, RefreshReason, Segment, Validators,
};
pub use computed::{Computed, Output};
pub use error::code;
pub use host::Host;
pub use source::{MediaSource, Open};
