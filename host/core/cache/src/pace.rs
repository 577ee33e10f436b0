//! Holds a transfer to a mean rate.
//!
//! Owns: how long to pause after bytes that have come already.
//! Leaves to others: the pausing, and which transfers share a rate.
//!
//! Invariant: whoever pauses as told has, at the end of each pause, moved at most the rate times the time and one burst.

use std::time::{Duration, Instant};

/// After a time of rest so much of the rate may be moved at once.
const BURST_TIME_MS: u64 = 250;
/// Or so many bytes, if that is more.
const BURST_BYTES: u64 = 64 << 10;
/// The longest pause. Debt that would take longer is forgiven, so that a mistake does not stop a transfer for ever.
const MAX_PAUSE: Duration = Duration::from_secs(24 * 3600);
/// Bytes are counted in these parts, so that nothing is lost to rounding however often the clock is looked at.
const PARTS: i128 = 1_000_000_000;

/// A bucket that fills with the rate, and may be in debt. Several transfers may share it: each takes what it moved and
/// pauses as long as it is told.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Bytes per second, at least 1.
    rate: Option<u64>,
    /// Billionths of a byte; below zero it is a debt.
    level: i128,
    at: Instant,
}

impl Pace {
    /// A full bucket. Without a rate there are no pauses; 0 is taken for 1 byte per second.
    pub fn new(bytes_per_second: Option<u64>, now: Instant) -> Self {
        let rate = bytes_per_second.map(|rate| rate.max(1));
        Self { rate, level: rate.map_or(0, burst), at: now }
    }

    /// Another rate from now on. Debts stay, counted in bytes, unless there is no rate any more.
    pub fn set_rate(&mut self, now: Instant, bytes_per_second: Option<u64>) {
        self.fill(now);
        let fresh = Self::new(bytes_per_second, self.at);
        let level = match (self.rate, fresh.rate) {
            (Some(_), Some(_)) => self.level.min(fresh.level),
            _ => fresh.level,
        };
        *self = Self { level, ..fresh };
    }

    /// Bytes per second.
    pub fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// So many bytes were moved; how long to pause before the next ones.
    pub fn take(&mut self, now: Instant, bytes: u64) -> Duration {
        self.fill(now);
        let Some(rate) = self.rate.map(i128::from) else { return Duration::ZERO };
        let deepest = rate * (MAX_PAUSE.as_nanos() as i128);
        self.level = (self.level - i128::from(bytes) * PARTS).max(-deepest);
        // One part is what a rate of 1 brings in a nanosecond.
        let pause_ns = (-self.level).max(0).div_euclid(rate) + i128::from((-self.level).max(0) % rate != 0);
        Duration::from_nanos(u64::try_from(pause_ns).unwrap_or(u64::MAX)).min(MAX_PAUSE)
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        self.at = self.at.max(now);
        if let Some(rate) = self.rate {
            let nanos = i128::try_from(passed.as_nanos()).unwrap_or(i128::MAX);
            self.level = self.level.saturating_add(i128::from(rate).saturating_mul(nanos)).min(burst(rate));
        }
    }
}

/// The parts in a full bucket.
fn burst(rate: u64) -> i128 {
    let by_time = i128::from(rate) * i128::from(BURST_TIME_MS) * PARTS / 1000;
    by_time.max(i128::from(BURST_BYTES) * PARTS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn without_a_rate_there_are_no_pauses() {
        let now = Instant::now();
        let mut pace = Pace::new(None, now);
        assert_eq!(pace.take(now, u64::MAX), Duration::ZERO);
        pace.set_rate(now, Some(1 << 20));
        assert_eq!(pace.take(now, 256 << 10), Duration::ZERO, "a quarter of a second's worth");
        assert_eq!(pace.take(now, 1 << 20), SECOND);
        pace.set_rate(now, Some(2 << 20));
        assert_eq!(pace.take(now, 0), SECOND / 2, "the debt is in bytes");
        pace.set_rate(now, None);
        assert_eq!(pace.take(now, 1 << 30), Duration::ZERO);
    }

    #[test]
    fn a_slow_rate_has_a_burst_of_64_kib() {
        let now = Instant::now();
        let mut pace = Pace::new(Some(1000), now);
        assert_eq!(pace.take(now, 64 << 10), Duration::ZERO);
        assert_eq!(pace.take(now, 500), SECOND / 2);
        assert_eq!(pace.take(now + SECOND / 2, 1), SECOND / 1000);
        // An hour of rest is worth no more than the burst.
        let later = now + SECOND * 3600;
        assert_eq!(pace.take(later, (64 << 10) + 1000), SECOND);
    }

    #[test]
    fn time_that_went_backwards_is_not_counted_twice() {
        let now = Instant::now();
        let mut pace = Pace::new(Some(1000), now);
        pace.take(now + SECOND, (64 << 10) + 5000);
        pace.take(now, 0);
        assert_eq!(pace.take(now + SECOND, 0), SECOND * 5);
    }

    #[test]
    fn a_debt_ends() {
        let now = Instant::now();
        let mut pace = Pace::new(Some(0), now);
        assert_eq!(pace.rate(), Some(1));
        for _ in 0..3 {
            assert_eq!(pace.take(now, u64::MAX), MAX_PAUSE);
        }
        assert_eq!(pace.take(now + MAX_PAUSE, 0), Duration::ZERO);
    }

    /// Rates from the slowest to the fastest there could be, each order of magnitude as often as the others.
    fn rate() -> impl Strategy<Value = u64> {
        (0u32..64, any::<u64>()).prop_map(|(shift, bits)| (bits >> shift).max(1))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

        /// Sizes are in thousandths of a second's worth, so that every rate is kept busy.
        #[test]
        fn the_mean_rate_holds_and_is_reached(
            rate in 1000u64..1 << 40, steps in prop::collection::vec((0u64..3000, 0u64..2000, any::<bool>()), 1..100),
        ) {
            let start = Instant::now();
            let (mut now, mut pace) = (start, Pace::new(Some(rate), start));
            let (mut moved, mut rested) = (0u128, false);
            let burst = u128::from(rate / 4).max(64 << 10);
            for (thousandths, rest_ms, rests) in steps {
                let bytes = rate / 1000 * thousandths;
                moved += u128::from(bytes);
                let pause = pace.take(now, bytes);
                now += pause;
                if rests {
                    now += Duration::from_millis(rest_ms);
                    rested = true;
                }
                let earned = u128::from(rate) * (now - start).as_nanos() / 1_000_000_000;
                prop_assert!(moved <= earned + burst + 1, "{moved} moved, {earned} earned");
                if !rested && !pause.is_zero() {
                    prop_assert!(moved + 1 + u128::from(rate) / 1_000_000_000 >= earned + burst, "paused too long");
                }
            }
        }

        #[test]
        fn looking_often_changes_nothing(rate in 1u64..100_000, looks in 1u32..500) {
            let start = Instant::now();
            let drained = || {
                let mut pace = Pace::new(Some(rate), start);
                pace.take(start, 1 << 20);
                pace
            };
            let (mut once, mut often) = (drained(), drained());
            let step = Duration::from_nanos(977);
            for look in 1..=looks {
                often.take(start + step * look, 0);
            }
            prop_assert_eq!(once.take(start + step * looks, 0), often.take(start + step * looks, 0));
        }

        #[test]
        fn any_numbers_and_clocks_do(
            first in prop::option::of(rate()),
            steps in prop::collection::vec((rate(), prop::option::of(prop::option::of(rate())), any::<u32>()), 0..60),
        ) {
            let start = Instant::now();
            let mut pace = Pace::new(first, start);
            for (bytes, change, at_ms) in steps {
                // In no order: a clock that goes backwards stands still.
                let now = start + Duration::from_millis(u64::from(at_ms));
                if let Some(rate) = change {
                    pace.set_rate(now, rate);
                }
                let pause = pace.take(now, bytes);
                prop_assert!(pause <= MAX_PAUSE);
                prop_assert!(pace.rate().is_some() || pause.is_zero());
            }
        }
    }
}
