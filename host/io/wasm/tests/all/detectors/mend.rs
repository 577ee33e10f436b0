//! Sets checksums right after a file was broken, so that what is behind them is reached.
//!
//! Owns: where checksums stand.
//! Leaves to others: breaking files, and which of them are mended.

use super::archives::{crc32, tar_seal};
use super::seeds::{crc_mpeg, seal};

/// Walks a file as a reader would, as far as it makes sense.
pub fn mend(detector: &str, bytes: &mut [u8]) {
    match detector {
        "detect-disc" => udf(bytes),
        "detect-mpegts" => ts(bytes),
        "detect-archive" if bytes.starts_with(b"Rar!\x1A\x07\0") => rar(bytes, 7),
        "detect-archive" if bytes.starts_with(b"Rar!\x1A\x07\x01\0") => rar(bytes, 8),
        "detect-archive" => bytes.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar").for_each(tar_seal),
        _ => {}
    }
}

/// Descriptors begin with blocks; only identifiers of files follow each other.
fn udf(bytes: &mut [u8]) {
    const IDENTIFIER: u16 = 257;
    for block in bytes.chunks_exact_mut(2048) {
        let id = u16::from_le_bytes([block[0], block[1]]);
        if matches!(id, 1..=9 | 256 | 258..=266) {
            seal(block);
        }
        let mut at = 0;
        while block.get(at..at + 38).is_some_and(|head| head[..2] == IDENTIFIER.to_le_bytes()) {
            let length =
                38 + usize::from(block[at + 19]) + usize::from(u16::from_le_bytes([block[at + 36], block[at + 37]]));
            seal(&mut block[at..]);
            at += length.next_multiple_of(4);
        }
    }
}

/// The tables of programmes, where they are in one packet.
fn ts(bytes: &mut [u8]) {
    let strides = [(188, 0), (192, 4), (204, 0)];
    let known = strides.into_iter().find(|(stride, lead)| bytes.get(stride + lead) == Some(&0x47));
    let Some((stride, lead)) = known else { return };
    for packet in bytes.chunks_exact_mut(stride) {
        let packet = &mut packet[lead..lead + 188];
        let pid = u16::from_be_bytes([packet[1] & 0x1F, packet[2]]);
        let start = if packet[3] & 0x20 == 0 { 5 } else { 6 + usize::from(packet[4]) };
        let Some([_, high, low]) = packet.get(start..).and_then(|section| section.first_chunk()) else { continue };
        let end = start + 3 + (usize::from(high & 15) << 8 | usize::from(*low));
        if !matches!(pid, 0 | 0x1000) || end < start + 12 || end > packet.len() {
            continue;
        }
        let crc = crc_mpeg(&packet[start..end - 4]);
        packet[end - 4..end].copy_from_slice(&crc);
    }
}

/// The headers of a RAR archive from an offset on: of version 4 where that is 7, else of version 5 with lengths of a byte.
fn rar(bytes: &mut [u8], mut at: usize) {
    let is_old = at == 7;
    while let Some(header) = bytes.get(at..).filter(|header| header.len() > 14) {
        let (length, data) = if is_old {
            let length = usize::from(u16::from_le_bytes([header[5], header[6]])).max(7);
            let data = u32::from_le_bytes([header[7], header[8], header[9], header[10]]) as usize;
            (length, if header[4] & 0x80 != 0 { data } else { 0 })
        } else {
            (5 + usize::from(header[4]), if header[6] & 2 != 0 { usize::from(header[7] & 0x7F) } else { 0 })
        };
        let Some(header) = bytes.get_mut(at..at.saturating_add(length)) else { return };
        if is_old {
            let sum = crc32(&header[2..]) as u16;
            header[..2].copy_from_slice(&sum.to_le_bytes());
        } else {
            let sum = crc32(&header[4..]);
            header[..4].copy_from_slice(&sum.to_le_bytes());
        }
        at = at.saturating_add(length).saturating_add(data);
    }
}
