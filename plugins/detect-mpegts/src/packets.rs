//! Packets: where they begin, and what their headers say (ISO/IEC 13818-1 §2.4.3).

/// The first byte of each packet.
const SYNC: u8 = 0x47;
/// Bytes of a packet, without what a format puts around it.
pub const PACKET: usize = 188;
/// Packets in a row that must begin right.
const SYNCS: usize = 5;
/// Distances between packets, and where in that distance the packet begins.
const STRIDES: [(usize, usize); 3] = [(188, 0), (192, 4), (204, 0)];

/// Where the packets of a file begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    pub stride: usize,
    /// Offset of the first sync byte.
    pub first: usize,
}

impl Grid {
    /// Finds the packets in the head of a file, behind a partial one if need be. A short file must be all packets.
    pub fn find(head: &[u8]) -> Option<Grid> {
        let fits = |stride: usize, first: usize| {
            let packets = head.len().saturating_sub(first).div_ceil(stride).min(SYNCS);
            packets >= 2 && (0..packets).all(|index| head.get(first + index * stride) == Some(&SYNC))
        };
        let in_place = STRIDES.iter().find(|(stride, lead)| fits(*stride, *lead));
        if let Some((stride, lead)) = in_place {
            return Some(Grid { stride: *stride, first: *lead });
        }
        let enough = head.len() >= 204 * (SYNCS + 1);
        (1..204).filter(|_| enough).find_map(|first| {
            let (stride, _) = STRIDES.iter().find(|(stride, _)| first < *stride && fits(*stride, first))?;
            Some(Grid { stride: *stride, first })
        })
    }

    /// The packets within bytes that begin at an offset of the file. Where the grid was left (bytes were lost) the next
    /// run of packets is looked for.
    pub fn packets<'a>(&self, bytes: &'a [u8], offset: u64) -> impl Iterator<Item = Packet<'a>> + use<'a> {
        let stride = self.stride;
        let first = self.first as u64;
        let mut at = match offset.checked_sub(first) {
            Some(past) => (stride - (past % stride as u64) as usize) % stride,
            None => (first - offset) as usize,
        };
        std::iter::from_fn(move || {
            while bytes.len() >= at.saturating_add(PACKET) {
                if bytes[at] == SYNC {
                    let packet = &bytes[at..at + PACKET];
                    at += stride;
                    return Some(Packet { bytes: packet });
                }
                at = resync(bytes, at, stride)?;
            }
            None
        })
    }
}

/// The next place from which two packets begin right.
fn resync(bytes: &[u8], from: usize, stride: usize) -> Option<usize> {
    (from..bytes.len().saturating_sub(stride)).find(|at| bytes[*at] == SYNC && bytes[at + stride] == SYNC)
}

/// A packet of 188 bytes.
#[derive(Clone, Copy)]
pub struct Packet<'a> {
    bytes: &'a [u8],
}

impl<'a> Packet<'a> {
    pub fn pid(&self) -> u16 {
        u16::from_be_bytes([self.bytes[1] & 0x1F, self.bytes[2]])
    }

    /// Whether a section or a packet of an elementary stream begins here.
    pub fn starts_unit(&self) -> bool {
        self.bytes[1] & 0x40 != 0
    }

    /// Whether it is damaged or scrambled: its payload says nothing.
    pub fn is_opaque(&self) -> bool {
        self.bytes[1] & 0x80 != 0 || self.bytes[3] & 0xC0 != 0
    }

    pub fn counter(&self) -> u8 {
        self.bytes[3] & 15
    }

    /// What follows the header and the adaptation field.
    pub fn payload(&self) -> &'a [u8] {
        match self.bytes[3] >> 4 & 3 {
            1 => &self.bytes[4..],
            3 => self.bytes.get(5 + usize::from(self.bytes[4])..).unwrap_or_default(),
            _ => &[],
        }
    }

    /// The programme clock's base, 33 bits at 90 kHz (§2.4.3.5).
    pub fn clock_90k(&self) -> Option<u64> {
        if self.bytes[3] & 0x20 == 0 || self.bytes[4] < 7 || self.bytes[5] & 0x10 == 0 {
            return None;
        }
        let base = u64::from(u32::from_be_bytes(self.bytes[6..10].try_into().ok()?));
        Some(base << 1 | u64::from(self.bytes[10] >> 7))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(stride: usize, lead: usize, packets: usize) -> Vec<u8> {
        let mut bytes = vec![0; lead];
        for index in 0..packets {
            let mut packet = vec![0; stride];
            packet[..4].copy_from_slice(&[SYNC, 0, index as u8, 0x10]);
            bytes.extend(packet);
        }
        bytes
    }

    #[test]
    fn grids() {
        for (stride, lead, expected) in [
            (188, 0, Some((188, 0))),
            (192, 4, Some((192, 4))),
            (204, 0, Some((204, 0))),
            (188, 100, Some((188, 100))),
            (192, 77, Some((192, 77))),
            (204, 203, Some((204, 203))),
            (200, 0, None),
        ] {
            let grid = Grid::find(&stream(stride, lead, 8));
            assert_eq!(grid.map(|grid| (grid.stride, grid.first)), expected, "{stride} {lead}");
        }
        assert_eq!(Grid::find(b"GG"), None);
        assert_eq!(Grid::find(&[]), None);
    }

    #[test]
    fn packets_of_a_tail_begin_on_the_grid() {
        let bytes = stream(192, 77, 8);
        let grid = Grid::find(&bytes).unwrap();
        for (offset, expected) in [(0, 0), (77, 0), (78, 1), (77 + 192, 1), (77 + 193, 2), (500, 3)] {
            let first = grid.packets(&bytes[offset..], offset as u64).next().unwrap();
            assert_eq!(first.pid(), expected, "from {offset}");
        }
    }

    #[test]
    fn lost_bytes_cost_a_packet() {
        let mut bytes = stream(188, 0, 8);
        bytes.drain(300..320);
        let pids: Vec<u16> = Grid::find(&stream(188, 0, 8)).unwrap().packets(&bytes, 0).map(|p| p.pid()).collect();
        assert_eq!(pids, [0, 1, 3, 4, 5, 6, 7]);
    }
}
