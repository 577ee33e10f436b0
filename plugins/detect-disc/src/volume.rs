//! The file system of a disc image (ECMA-119, ECMA-167, OSTA UDF 1.02 to 2.60).
//!
//! Owns: which file systems an image has, and which of them is believed.
//! Leaves to others: ISO 9660 ([`iso9660`]), UDF ([`udf`]), asking for bytes ([`image`]), what the files mean.
//!
//! Invariant: an image that is cut short or damaged in places gives the files that can be found; only one in which
//! nothing can be found is an error. Extents are what the image claims, even beyond its end.

mod image;
mod iso9660;
mod udf;
mod walk;

use image::{Image, ceil_to};
use mediahost_plugin_sdk::detect::{Stop, Subject};

use crate::tree::Tree;

/// Where the volume recognition area begins, in bytes.
const RECOGNITION: u64 = 32_768;
/// Descriptors of the recognition area that are looked at, at most.
const MAX_RECOGNITION: u64 = 64;
/// How far apart they are; 4096 where a sector of the medium is as long.
const RECOGNITION_STEPS: [u64; 2] = [2048, 4096];
/// Where the first anchor of UDF is, in blocks, and how many blocks from there are fetched with it: usually the whole
/// volume descriptor sequence.
const ANCHOR: u64 = 256;
const ANCHOR_BLOCKS: u64 = 65;
/// What is fetched of the end of the image, where further anchors are.
const TAIL_BYTES: u64 = 64 * 1024;

/// Reads the file system of a disc image. `None` means that there is none.
///
/// UDF wins where both are: on a bridge disc ISO 9660 may not tell the whole length of long files.
pub fn read(subject: &Subject) -> Result<Option<Tree>, Stop> {
    let mut image = Image::new(subject);
    let Some(marks) = recognise(&mut image)? else { return Ok(None) };
    let udf = if marks.udf { Some(udf::read(&mut image)) } else { None };
    let tree = match udf {
        Some(Ok(tree)) if !tree.files.is_empty() || !marks.iso9660 => tree,
        // Asking has to go on; everything else is a reason to try the other file system.
        Some(Err(stop @ Stop::Need(_))) => return Err(stop),
        Some(Err(stop)) if !marks.iso9660 => return Err(stop),
        Some(Ok(tree)) => or_else_keep(iso9660::read(&mut image), Ok(tree))?,
        Some(Err(stop)) => or_else_keep(iso9660::read(&mut image), Err(stop))?,
        None => iso9660::read(&mut image)?,
    };
    Ok(Some(with_cut(tree, subject)))
}

/// What ISO 9660 says, unless it is as unusable as UDF was.
fn or_else_keep(iso9660: Result<Tree, Stop>, udf: Result<Tree, Stop>) -> Result<Tree, Stop> {
    match iso9660 {
        Err(Stop::Failed(_)) => udf,
        other => other,
    }
}

/// Marks a tree of which the image does not have everything.
fn with_cut(mut tree: Tree, subject: &Subject) -> Tree {
    if let Some(size) = subject.size() {
        let beyond = |offset: u64, length: u64| offset.saturating_add(length) > size;
        let mut extents = tree.files.iter().flat_map(|file| &file.extents);
        tree.is_cut |= extents.any(|extent| extent.offset.is_some_and(|offset| beyond(offset, extent.length)));
    }
    tree
}

/// The file systems that announce themselves.
struct Marks {
    iso9660: bool,
    udf: bool,
}

/// Walks through the volume recognition area (ECMA-167 2/8.3) and fetches all that comes next, in one round.
fn recognise(image: &mut Image) -> Result<Option<Marks>, Stop> {
    image.load(&[(RECOGNITION, RECOGNITION_STEPS[0])])?;
    if identifier(image, RECOGNITION).is_none() {
        return Ok(None);
    }
    let block = udf::BLOCK_SIZES[0];
    let mut ranges =
        vec![(RECOGNITION, MAX_RECOGNITION * RECOGNITION_STEPS[0]), (ANCHOR * block, ANCHOR_BLOCKS * block)];
    if let Some(size) = image.size() {
        let tail = ceil_to(size.saturating_sub(TAIL_BYTES), block);
        ranges.push((tail, size.saturating_sub(tail)));
    }
    image.load(&ranges)?;
    let mut marks = Marks { iso9660: false, udf: false };
    for step in RECOGNITION_STEPS {
        for number in 0..MAX_RECOGNITION * RECOGNITION_STEPS[0] / step {
            let Some(identifier) = identifier(image, RECOGNITION + number * step) else { break };
            marks.iso9660 |= identifier == *b"CD001";
            marks.udf |= [*b"NSR02", *b"NSR03"].contains(&identifier);
        }
    }
    Ok((marks.iso9660 || marks.udf).then_some(marks))
}

/// The standard identifier of a descriptor of the recognition area.
fn identifier(image: &Image, offset: u64) -> Option<[u8; 5]> {
    let bytes = image.bytes(offset, 6)?;
    let identifier: [u8; 5] = bytes.get(1..6)?.try_into().ok()?;
    let known = [b"CD001", b"BEA01", b"NSR02", b"NSR03", b"TEA01", b"BOOT2", b"CDW02"];
    known.contains(&&identifier).then_some(identifier)
}
