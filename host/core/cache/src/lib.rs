//! Decides which bytes of an object we have, want, keep and may hand out.
//!
//! Owns: the answer to a range request, the acceptance of an upstream's answer, granules and their checksums, the
//! formats of the journal and of the meta record, files made of pieces of others, and the machine that decides what is
//! fetched next.
//! Leaves to others: files (`io/store`), connections (`io/fetch`), sessions and their clocks (`service/proxy`).
//!
//! Invariant: a byte is readable only if it was accepted from the one version of the object that is pinned, and no byte
//! is asked of the upstream while it is present or on its way.
//!
//! The machine ([`object::Object`]) has one law: after each input, poll its output until it says `Wait`.

pub mod date;
pub mod evict;
pub mod granule;
pub mod journal;
pub mod mapping;
pub mod meta;
pub mod object;
pub mod origin;
pub mod pace;
pub mod range;
mod runs;
pub mod upstream;

pub use granule::{Geometry, Granule};
pub use meta::{Meta, Validators};
