//! Chance with a seed that the failure shows.

use std::ops::Range;

/// A stream of numbers (SplitMix64). The seed is printed when a test fails while it lives; `E2E_SEED` sets it.
pub struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// Numbers from the seed in the environment, else from the clock.
    pub fn new() -> Random {
        let given = std::env::var("E2E_SEED").ok().and_then(|text| text.parse().ok());
        let now = || std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64);
        let seed = given.unwrap_or_else(now);
        Random { seed, state: seed }
    }

    /// The next number, below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end.max(1)
    }

    /// A range inside `0..size` of at most `longest` bytes, often a short one and often at the end.
    pub fn range(&mut self, size: u64, longest: u64) -> Range<u64> {
        let length = match self.below(3) {
            0 => 1 + self.below(64),
            1 => 1 + self.below(longest.min(64 << 10)),
            _ => 1 + self.below(longest),
        }
        .min(size);
        let start = if self.below(5) == 0 { size - length } else { self.below(size - length + 1) };
        start..start + length
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprint_seed(self.seed);
        }
    }
}

#[allow(clippy::print_stderr, reason = "the seed is what a person needs to see the failure again")]
fn eprint_seed(seed: u64) {
    eprintln!("run again with E2E_SEED={seed}");
}

/// How often a random step is repeated: as the test says, or as `E2E_ROUNDS` says.
pub fn rounds(usual: u32) -> u32 {
    std::env::var("E2E_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}
