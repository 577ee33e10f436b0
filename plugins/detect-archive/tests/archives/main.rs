//! Archives of all kinds, written here or by the usual programs: the extents of a title give the bytes of its member.

mod broken;
mod host;
mod made;
mod rar;
mod tar;
mod write;
mod zip;
