//! Time stamps of MPEG streams (ISO/IEC 13818-1 §2.4.3.6): 33 bits that count 90 kHz and start again every 26 hours.
//!
//! Owns: reading them, and their order across an overflow.
//! Leaves to others: where they stand.

/// Where they start again.
pub const WRAP: u64 = 1 << 33;
/// Ticks in a millisecond.
pub const TICKS_PER_MS: u64 = 90;

/// One of five bytes: a marker stands after each part.
pub fn read(b: [u8; 5]) -> u64 {
    u64::from(b[0] >> 1 & 7) << 30
        | u64::from(b[1]) << 22
        | u64::from(b[2] >> 1) << 15
        | u64::from(b[3]) << 7
        | u64::from(b[4] >> 1)
}

/// Ticks from one to a later one, over an overflow if need be.
pub fn since(first: u64, last: u64) -> u64 {
    last.wrapping_sub(first) % WRAP
}

/// The earlier of two that are less than half of [`WRAP`] apart.
pub fn earlier(a: u64, b: u64) -> u64 {
    if is_in_order(a, b) { a } else { b }
}

/// The later of two that are less than half of [`WRAP`] apart.
pub fn later(a: u64, b: u64) -> u64 {
    if is_in_order(a, b) { b } else { a }
}

fn is_in_order(a: u64, b: u64) -> bool {
    since(a, b) < WRAP / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_overflow() {
        let end = WRAP - 5;
        for (a, b, first) in [(10, 20, 10), (20, 10, 10), (end, 3, end), (3, end, end)] {
            assert_eq!((earlier(a, b), later(a, b)), (first, a + b - first), "{a} {b}");
        }
        assert_eq!((since(end, 3), since(10, 20)), (8, 10));
    }

    #[test]
    fn they_are_spread_over_five_bytes() {
        assert_eq!(read([0x21, 0x00, 0x07, 0xD8, 0x61]), 126_000);
    }
}
