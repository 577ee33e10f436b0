//! What the binary carries. The lists are made by the build script: name and bytes.

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The file of this name in a list.
pub fn find(list: &[(&'static str, &'static [u8])], name: &str) -> Option<&'static [u8]> {
    list.iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes)
}
