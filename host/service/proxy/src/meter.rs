//! How fast bytes pass, over the last seconds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Length of one step.
const STEP: Duration = Duration::from_millis(250);
/// Steps that count.
const STEPS: usize = 8;

/// Bytes counted in short steps; time is handed in.
pub struct Meter {
    begun: Instant,
    /// Step number and bytes, newest last; at most [`STEPS`] + 1.
    steps: VecDeque<(u64, u64)>,
    total: u64,
}

impl Meter {
    pub fn new(now: Instant) -> Meter {
        Meter { begun: now, steps: VecDeque::new(), total: 0 }
    }

    pub fn add(&mut self, now: Instant, bytes: u64) {
        let step = self.step(now);
        self.total += bytes;
        match self.steps.back_mut() {
            Some((last, sum)) if *last == step => *sum += bytes,
            _ => self.steps.push_back((step, bytes)),
        }
        self.forget(step);
    }

    /// Bits per second over the last two seconds, or since the beginning if that is shorter.
    pub fn bits_per_second(&mut self, now: Instant) -> u64 {
        let step = self.step(now);
        self.forget(step);
        let bytes: u64 = self.steps.iter().map(|(_, bytes)| bytes).sum();
        let span = now.duration_since(self.begun).clamp(STEP, STEP * STEPS as u32);
        (bytes as f64 * 8.0 / span.as_secs_f64()) as u64
    }

    /// Bytes since the beginning.
    pub fn total(&self) -> u64 {
        self.total
    }

    fn step(&self, now: Instant) -> u64 {
        (now.duration_since(self.begun).as_millis() / STEP.as_millis()) as u64
    }

    fn forget(&mut self, step: u64) {
        while self.steps.front().is_some_and(|(old, _)| old + (STEPS as u64) < step) {
            self.steps.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_and_falls_with_what_passes() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut meter = Meter::new(start);
        assert_eq!(meter.bits_per_second(at(0)), 0);
        for ms in (0..4000).step_by(100) {
            meter.add(at(ms), 1000);
        }
        let rate = meter.bits_per_second(at(4000));
        assert!((72_000..=96_000).contains(&rate), "{rate}");
        assert_eq!(meter.bits_per_second(at(10_000)), 0);
        assert_eq!(meter.total(), 40_000);
    }
}
