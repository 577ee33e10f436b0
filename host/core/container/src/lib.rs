//! Reads and writes the containers that media comes in.
//!
//! Owns: segmented manifests, HLS and DASH ([`manifest`]); where the segments of a fragmented MP4 file lie
//! ([`fragments`]).
//! Leaves to others: fetching what a manifest names and caching it (`service/proxy`), what a link of ours looks like
//! (whoever implements [`manifest::Links`]), what else is in files that are one run of bytes (`plugins/detect-*`).
//!
//! Invariant: every function is one of its arguments alone; no input panics, and each costs time and memory within
//! named bounds.

pub mod fragments;
pub mod manifest;
