//! How often and how long a request is tried again.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// Tries in a row without a byte. With the waits between them they span about half a minute.
const TRIES: u32 = 10;
/// Before the second try: what a host needs to accept connections again after a hiccup.
const FIRST: Duration = Duration::from_millis(100);
/// Waits grow no further than this.
const MOST: Duration = Duration::from_secs(5);
/// The longest wait that a host may ask for (`Retry-After`); beyond it a person should know.
const MOST_ASKED: Duration = Duration::from_secs(60);

/// How often and how long a request is tried again when its connection breaks or the host asks for patience. Every byte that
/// comes sets the count back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Tries in a row without a byte, the first one included.
    pub tries: u32,
    /// The wait before the second try; it doubles from try to try.
    pub first: Duration,
    /// Waits grow no further than this.
    pub most: Duration,
    /// The longest wait that a host may ask for; when it asks for more, its answer is the error.
    pub most_asked: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { tries: TRIES, first: FIRST, most: MOST, most_asked: MOST_ASKED }
    }
}

impl Patience {
    /// How long to wait after so many tries, or none if it is time to give up.
    pub(crate) fn wait(&self, tried: u32, asked: Option<Duration>) -> Option<Duration> {
        if tried >= self.tries || asked.is_some_and(|asked| asked > self.most_asked) {
            return None;
        }
        let grown = self.first.saturating_mul(1 << tried.saturating_sub(1).min(16)).min(self.most);
        // Half of it is chance, so that readers which broke together do not come back together.
        let wait = grown.mul_f64(0.5 + 0.5 * chance());
        Some(asked.map_or(wait, |asked| asked + wait))
    }
}

/// Between 0 and 1.
fn chance() -> f64 {
    // Each state has keys of its own.
    (RandomState::new().build_hasher().finish() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_end() {
        let patience = Patience::default();
        let waits: Vec<_> = (1..TRIES).map(|tried| patience.wait(tried, None).unwrap()).collect();
        assert!(waits.iter().all(|wait| (FIRST / 2..=MOST).contains(wait)), "{waits:?}");
        assert!(waits[8] > waits[0] * 8, "{waits:?}");
        assert_eq!(patience.wait(TRIES, None), None);
        assert_eq!(patience.wait(u32::MAX, None), None);
    }

    #[test]
    fn what_is_asked_for_is_kept_up_to_a_bound() {
        let patience = Patience::default();
        assert!(patience.wait(1, Some(Duration::from_secs(7))).unwrap() >= Duration::from_secs(7));
        assert_eq!(patience.wait(1, Some(MOST_ASKED + Duration::from_secs(1))), None);
    }
}
