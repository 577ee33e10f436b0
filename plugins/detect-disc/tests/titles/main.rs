//! Titles of discs, from files that the tests write byte by byte.

mod bluray;
mod disc;
mod dvd;
mod hostile;
mod others;
mod players;
mod rules;
mod write;
