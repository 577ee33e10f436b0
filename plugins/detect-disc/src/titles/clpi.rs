//! Clips of Blu-ray discs (`BDMV/CLIPINF/*.clpi`): where in a clip a time is.
//!
//! Owns: the sequences of a clip's clock, the entry points, the packets of a part of a clip.
//! Leaves to others: which part is played ([`super::mpls`]).
//!
//! ```text
//! "HDMV" version | u32 sequences | u32 programs | u32 CPI | u32 marks | u32 extensions
//! sequences: u32 length | u8 | u8 count | (u32 packet | u8 clocks | u8 first clock
//!            | (u16 PID | u32 packet | u32 start | u32 end)…)…
//! CPI:       u32 length | u16 type | map: u8 | u8 streams | (u16 PID | 14 bits | u16 coarse | 18 bits fine
//!            | u32 offset in the map)…
//! stream:    u32 offset of the fine entries | coarse: 18 bits first fine, 14 bits time, u32 packet
//!            | fine: 4 bits flags, 11 bits time, 17 bits packet
//! ```

use mediahost_plugin_sdk::detect::bytes::{Bits, Cursor, be_at};

/// Bytes of a packet: a transport packet and its arrival time.
pub const PACKET: u64 = 192;
/// Packets come in units of 32, which is what a disc encrypts and what players read.
pub const UNIT: u64 = 6144;
/// Where the CPI's offsets count from: behind its length and type.
const CPI_HEAD: usize = 6;

/// What is known of a clip.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClipInfo {
    /// The clocks by their identifiers, and the packets at which they begin.
    pub clocks: Vec<(u32, u64)>,
    /// Where playing can begin, in the order of the clip.
    pub points: Vec<Point>,
}

/// A picture that stands for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Its time in ticks of 45 kHz, rounded down to 256 of them.
    pub time: u64,
    /// The packet at which it begins.
    pub packet: u64,
}

impl ClipInfo {
    /// Reads a clip's description; none if it is not one. Entry points that contradict each other are left out.
    pub fn parse(bytes: &[u8]) -> Option<ClipInfo> {
        if !matches!(bytes.get(..8)?, b"HDMV0100" | b"HDMV0200" | b"HDMV0300") {
            return None;
        }
        let part = |at: usize| bytes.get(be_at(bytes, at, 4)? as usize..);
        let clocks = part(8).and_then(clocks).unwrap_or_default();
        let points = part(16).and_then(points).unwrap_or_default();
        Some(ClipInfo { clocks, points })
    }

    /// Where in a clip of `size` bytes a part lies that is played from `start` to `end`: the first byte and the first
    /// byte behind it, both borders of units except at the end of the clip.
    pub fn bytes(&self, clock: u8, start: u32, end: u32, size: u64) -> (u64, u64) {
        let which = self.clocks.iter().position(|(id, _)| *id == u32::from(clock));
        let first = which.map_or(0, |which| self.clocks[which].1);
        let behind = which.and_then(|which| self.clocks.get(which + 1)).map_or(u64::MAX, |(_, packet)| *packet);
        let within = |packet: u64| self.points.partition_point(|point| point.packet < packet);
        let points = &self.points[within(first)..within(behind).max(within(first))];
        // What begins in front of the second point begins with the clock, whose first packets hold tables.
        let from =
            points.partition_point(|point| point.time <= u64::from(start)).checked_sub(1).filter(|from| *from > 0);
        let from = from.map_or(first, |from| points[from].packet);
        let to = points.partition_point(|point| point.time <= u64::from(end));
        let to = points.get(to).map_or(behind, |point| point.packet);
        // Down to units on both ends, as players do: a unit more would end with the beginning of another picture.
        let unit = |packet: u64| packet.saturating_mul(PACKET) / UNIT * UNIT;
        let to = if to == u64::MAX { size } else { unit(to).max(unit(from) + UNIT).min(size) };
        let from = unit(from);
        // What the description says does not fit the clip: all of it is better than nothing.
        if from < to { (from, to) } else { (0, size) }
    }
}

fn clocks(bytes: &[u8]) -> Option<Vec<(u32, u64)>> {
    let mut cursor = Cursor::new(bytes);
    cursor.skip(5)?;
    let mut clocks = Vec::new();
    for _ in 0..cursor.u8()? {
        cursor.skip(4)?;
        let (count, first) = (u32::from(cursor.u8()?), u32::from(cursor.u8()?));
        for index in 0..count {
            cursor.skip(2)?;
            clocks.push((first + index, u64::from(cursor.be32()?)));
            cursor.skip(8)?;
        }
    }
    Some(clocks)
}

/// The entry points of the first stream, which is the picture.
fn points(cpi: &[u8]) -> Option<Vec<Point>> {
    if be_at(cpi, 0, 4)? == 0 || be_at(cpi, CPI_HEAD + 1, 1)? == 0 {
        return None;
    }
    let map = cpi.get(CPI_HEAD..)?;
    let mut entry = Bits::new(map.get(2..)?);
    entry.skip(16 + 14)?;
    let (coarse_count, fine_count, offset) =
        (entry.get(16)? as usize, entry.get(18)? as usize, entry.get(32)? as usize);
    let stream = map.get(offset..)?;
    let fine = stream.get(be_at(stream, 0, 4)? as usize..)?.chunks_exact(4).take(fine_count);
    let mut coarse = stream.get(4..)?.chunks_exact(8).take(coarse_count).filter_map(|entry| {
        let (head, packet) = (be_at(entry, 0, 4)?, be_at(entry, 4, 4)?);
        Some((head >> 14, (head & 0x3FFE) << 18, packet & !0x1_FFFF))
    });
    let (mut current, mut next) = (coarse.next()?, coarse.next());
    let mut points = Vec::new();
    for (index, entry) in fine.enumerate() {
        while let Some(following) = next.filter(|(first, _, _)| *first <= index as u64) {
            (current, next) = (following, coarse.next());
        }
        let entry = be_at(entry, 0, 4)?;
        let time = current.1 + ((entry >> 17 & 0x7FF) << 8);
        points.push(Point { time, packet: current.2 + (entry & 0x1_FFFF) });
    }
    // A table out of order would send a player anywhere.
    points.is_sorted_by_key(|point| point.packet).then_some(points)
}
