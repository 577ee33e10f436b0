//! What operating systems do each in its own way: files that only their owner can read, reads and writes at an offset, what
//! a file takes on the disk, holes, which pages of a mapping are in memory.
//!
//! Owns: the calls that are not in the standard library, or not there for every system.
//! Leaves to others: what they are for ([`crate::disk`], [`crate::mapping`]).
//!
//! Invariant: both modules below have the same functions. One that a system cannot do says so by its result
//! (`Unsupported`, `false`), and its caller has another way.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::*;
#[cfg(windows)]
pub(crate) use windows::*;
