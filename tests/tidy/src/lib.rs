//! What the folders of this repository promise, checked on its manifests and sources.
//!
//! Owns: the tables of what may know what, and one rule per promise.
//! Leaves to others: everything a compiler, rustfmt or clippy can check.
//!
//! Invariant: a rule is a function from a [`Tree`] to complaints and reads nothing else, so each is shown to fail on a
//! made-up tree before it is trusted on ours. A complaint names the file and what in it is wrong.

mod manifest;
mod rules;
mod rust;
mod tables;
mod tree;

#[cfg(test)]
mod tests;

pub use rules::{RULES, Rule};
pub use tree::Tree;
