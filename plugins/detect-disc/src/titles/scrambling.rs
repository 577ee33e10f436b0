//! Whether streams are encrypted, by samples of their own bytes.
//!
//! Owns: the marks that encryption leaves in the clear, where to look for them.
//! Leaves to others: what follows from it.

use super::Draft;
use super::budget::merged;
use super::clpi::{PACKET, UNIT};
use crate::tree::File;
use mediahost_plugin_sdk::detect::{Stop, Subject};

/// Places of a title that are looked at.
pub const MAX_SAMPLES: u64 = 8;
/// Bytes of a pack of a program stream on a disc: a sector.
pub const PACK: u64 = 2048;
/// Bytes of program stream that are looked at in each place: not every pack of an encrypted title is encrypted.
pub const SAMPLE_BYTES: u64 = 32 * PACK;

/// Whether the copy bits are set in one of the units at these places of clips. The first 16 bytes of a unit are never
/// encrypted, and those who decrypt discs clear the bits.
pub fn has_copy_bits(subject: &Subject, places: &[(&File, u64)]) -> Result<bool, Stop> {
    let ranges = places.iter().flat_map(|(file, offset)| file.ranges(offset / UNIT * UNIT, UNIT)).collect();
    subject.want(&merged(ranges))?;
    for (file, offset) in places {
        let unit = file.read(subject, offset / UNIT * UNIT, PACKET)?;
        // Four bytes of arrival time in front of the transport packet, whose first byte is known.
        if unit.get(4) == Some(&0x47) && unit[0] & 0xC0 != 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether one of the sampled packs of a title is scrambled.
pub fn has_scrambled_packs(subject: &Subject, title: &Draft) -> Result<bool, Stop> {
    let stream = File { path: String::new(), extents: title.extents.clone() };
    let size = stream.size();
    let place = |sample: u64| (u128::from(size) * u128::from(sample) / u128::from(MAX_SAMPLES)) as u64 / PACK * PACK;
    let ranges = (0..MAX_SAMPLES).flat_map(|sample| stream.ranges(place(sample), SAMPLE_BYTES)).collect();
    subject.want(&merged(ranges))?;
    for sample in 0..MAX_SAMPLES {
        let bytes = stream.read(subject, place(sample), SAMPLE_BYTES)?;
        if bytes.chunks_exact(PACK as usize).any(is_scrambled) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the first PES packet of a pack says that its payload is scrambled (ISO/IEC 13818-1 §2.4.3.7).
pub fn is_scrambled(pack: &[u8]) -> bool {
    let Some(head) = pack.get(..21) else { return false };
    let has_pes = head.starts_with(&[0, 0, 1, 0xBA]) && head[13] & 7 == 0 && head[14..17] == [0, 0, 1];
    // Private stream 1, sound and pictures have a header with flags; padding and navigation have none.
    has_pes && matches!(head[17], 0xBD | 0xC0..=0xEF | 0xFD) && head[20] & 0xC0 == 0x80 && head[20] & 0x30 != 0
}
