//! Packs and packets: where they begin, and what their headers say (ISO/IEC 13818-1 §2.5.3, 11172-1 §2.4.3).

use mediahost_plugin_sdk::detect::bytes::{Cursor, find};
use mediahost_plugin_sdk::detect::stamp;

/// The start code of a pack.
pub const PACK: [u8; 4] = [0, 0, 1, 0xBA];
/// Bytes of the longest pack header: 14 and 7 of stuffing.
const MAX_PACK: usize = 21;
/// Stuffing in front of the header of an MPEG-1 packet, at most.
const MAX_STUFFING: usize = 16;

/// The header of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pack {
    /// The system clock's base, 33 bits at 90 kHz.
    pub clock_90k: u64,
    /// Whether it is of MPEG-1.
    pub is_first_version: bool,
    /// Bytes of the header, its stuffing included.
    length: usize,
}

impl Pack {
    /// None when the bytes cannot be a pack header.
    pub fn parse(bytes: &[u8]) -> Option<Pack> {
        let b = bytes.get(..12).filter(|b| b[..4] == PACK)?;
        if b[4] >> 4 == 2 && b[4] & b[6] & b[8] & 1 == 1 {
            return Some(Pack { clock_90k: time_90k(&b[4..])?, is_first_version: true, length: 12 });
        }
        if b[4] >> 6 != 1 || b[4] & b[6] & b[8] & 4 == 0 || b[9] & 1 == 0 {
            return None;
        }
        let clock_90k = u64::from(b[4] >> 3 & 7) << 30
            | u64::from(b[4] & 3) << 28
            | u64::from(b[5]) << 20
            | u64::from(b[6] >> 3) << 15
            | u64::from(b[6] & 3) << 13
            | u64::from(b[7]) << 5
            | u64::from(b[8] >> 3);
        let length = 14 + usize::from(bytes.get(13)? & 7);
        Some(Pack { clock_90k, is_first_version: false, length })
    }

    /// Where the first pack begins, with something of a program stream behind it, if that is among the first `most`
    /// bytes. At the very start a pack alone is enough.
    pub fn find_first(head: &[u8], most: usize) -> Option<usize> {
        let mut from = 0;
        while let Some(at) = find(head, &PACK, from).filter(|at| *at <= most) {
            from = at + PACK.len();
            let Some(pack) = Pack::parse(&head[at..]) else { continue };
            let next = &head[(at + pack.length).min(head.len())..];
            let cut = next.len() < PACK.len() && head.len() < at + MAX_PACK + PACK.len();
            if (at == 0 && cut) || (next.starts_with(&PACK[..3]) && next.get(3).is_some_and(|code| *code >= 0xB9)) {
                return Some(at);
            }
        }
        None
    }
}

/// A time stamp; none if there are not five bytes.
fn time_90k(b: &[u8]) -> Option<u64> {
    b.first_chunk().copied().map(stamp::read)
}

/// What a program stream is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit<'a> {
    Pack(Pack),
    /// The content of a program stream map.
    Map(&'a [u8]),
    Packet(Packet<'a>),
}

/// A packet of an elementary stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The last byte of its start code.
    pub id: u8,
    /// The presentation time stamp, 33 bits at 90 kHz.
    pub time_90k: Option<u64>,
    /// What follows its header; nothing when it is scrambled.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads what follows the length. None when that cannot be the header of a packet.
    fn parse(id: u8, body: &'a [u8]) -> Option<Packet<'a>> {
        if body.first()? >> 6 == 2 {
            let payload = body.get(3 + usize::from(*body.get(2)?)..)?;
            let time_90k = body.get(3..8).filter(|_| body[1] & 0x80 != 0).and_then(time_90k);
            let scrambled = body[0] & 0x30 != 0;
            return Some(Packet { id, time_90k, payload: if scrambled { &[] } else { payload } });
        }
        // MPEG-1: stuffing, the size of a buffer, time stamps.
        let stuffing = body.iter().take(MAX_STUFFING).take_while(|byte| **byte == 0xFF).count();
        let mut rest = &body[stuffing..];
        if rest.first()? >> 6 == 1 {
            rest = rest.get(2..)?;
        }
        let first = *rest.first()?;
        let (header, has_time) = match first >> 4 {
            2 => (5, true),
            3 => (10, true),
            0 if first == 0x0F => (1, false),
            _ => return None,
        };
        let payload = rest.get(header..)?;
        Some(Packet { id, time_90k: if has_time { time_90k(rest) } else { None }, payload })
    }
}

/// The units within bytes, from the first pack on. Where they stop making sense the next pack is looked for.
pub fn units(bytes: &[u8]) -> impl Iterator<Item = Unit<'_>> {
    let mut at = find(bytes, &PACK, 0).unwrap_or(bytes.len());
    std::iter::from_fn(move || {
        loop {
            let (unit, next) = unit(bytes, at)?;
            at = next;
            if unit.is_some() {
                return unit;
            }
        }
    })
}

/// The unit at an offset, if it is of interest, and where the next one begins. None at the end.
fn unit(bytes: &[u8], at: usize) -> Option<(Option<Unit<'_>>, usize)> {
    let rest = bytes.get(at..).filter(|rest| rest.len() >= PACK.len())?;
    let resync = |from: usize| find(bytes, &PACK, from).unwrap_or(bytes.len());
    let code = rest[3];
    if !rest.starts_with(&PACK[..3]) || code < 0xB9 {
        return Some((None, resync(at + 1)));
    }
    match code {
        0xB9 => Some((None, at + PACK.len())),
        0xBA => match Pack::parse(rest) {
            Some(pack) => Some((Some(Unit::Pack(pack)), at + pack.length)),
            None => Some((None, resync(at + PACK.len()))),
        },
        _ => {
            let length = Cursor::new(&rest[4..]).be16()? as usize;
            let start = at + 6;
            let end = match length {
                // A length that was not known: up to the next pack.
                0 => resync(start),
                length => (start + length).min(bytes.len()),
            };
            let body = &bytes[start..end];
            let unit = match code {
                0xBC => Some(Unit::Map(body)),
                0xBD | 0xC0..=0xEF | 0xFD => Packet::parse(code, body).map(Unit::Packet),
                _ => None,
            };
            Some((unit, end))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: [u8; 14] = [0, 0, 1, 0xBA, 0x44, 0x00, 0x04, 0x00, 0x04, 0x01, 0x01, 0x89, 0xC3, 0xF8];
    const FIRST: [u8; 12] = [0, 0, 1, 0xBA, 0x21, 0x00, 0x01, 0x00, 0x03, 0x80, 0x1B, 0x83];

    #[test]
    fn pack_headers() {
        let second = Pack::parse(&SECOND).unwrap();
        assert_eq!((second.clock_90k, second.is_first_version, second.length), (0, false, 14));
        let first = Pack::parse(&FIRST).unwrap();
        assert_eq!((first.clock_90k, first.is_first_version, first.length), (1, true, 12));
        let mut late = SECOND;
        late[4..9].copy_from_slice(&[0x7F, 0xFF, 0xFF, 0xFF, 0xFC]);
        assert_eq!(Pack::parse(&late).unwrap().clock_90k, (1 << 33) - 1);
        for broken in [4, 6, 8] {
            let mut bytes = SECOND;
            bytes[broken] = 0;
            assert_eq!(Pack::parse(&bytes), None, "byte {broken}");
        }
        assert_eq!(Pack::parse(&SECOND[..13]), None);
    }

    #[test]
    fn packet_headers() {
        let time = [0x21, 0x00, 0x07, 0xD8, 0x61];
        for (body, expected) in [
            ([&[0x80, 0x80, 5][..], &time, b"x"].concat(), Some((Some(126_000), &b"x"[..]))),
            ([&[0x80, 0, 0][..], b"x"].concat(), Some((None, b"x"))),
            ([&[0xB0, 0x80, 5][..], &time, b"x"].concat(), Some((Some(126_000), b""))),
            ([&[0xFF, 0xFF, 0x60, 0x20][..], &time, b"x"].concat(), Some((Some(126_000), b"x"))),
            (vec![0x0F, b'x'], Some((None, b"x"))),
            (vec![0x80, 0x80, 5], None),
            (vec![0x10, 0x80, 5], None),
            (vec![], None),
        ] {
            let found = Packet::parse(0xE0, &body).map(|packet| (packet.time_90k, packet.payload));
            assert_eq!(found, expected, "{body:x?}");
        }
    }

    #[test]
    fn lost_bytes_cost_a_pack() {
        let packet = |id: u8| [0, 0, 1, id, 0, 4, 0x80, 0, 0, b'x'];
        let bytes = [b"junk", &SECOND[..], &packet(0xE0), &packet(0xBE), b"??", &SECOND, &packet(0xC0)].concat();
        let ids: Vec<u8> =
            units(&bytes).map(|unit| if let Unit::Packet(packet) = unit { packet.id } else { 0 }).collect();
        assert_eq!(ids, [0, 0xE0, 0, 0xC0]);
        assert_eq!(Pack::find_first(&bytes, 4), Some(4));
        assert_eq!(Pack::find_first(&bytes, 3), None);
        assert_eq!(Pack::find_first(&SECOND, 0), Some(0));
        assert_eq!(Pack::find_first(&[&SECOND[..], b"something else that is long"].concat(), 0), None);
    }
}
