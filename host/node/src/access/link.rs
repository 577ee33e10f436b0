//! Codes that can be exchanged for a cookie, once each.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::secret::same;

/// How long a link works.
pub const LIFETIME: Duration = Duration::from_secs(10 * 60);
/// Links that wait to be used, at most; the oldest one gives way.
const MAX_LINKS: usize = 32;

/// The links that wait to be used, the oldest first.
#[derive(Default)]
pub struct Links {
    waiting: VecDeque<(Instant, String)>,
}

impl Links {
    /// Adds a code.
    pub fn add(&mut self, now: Instant, code: String) {
        self.forget_expired(now);
        if self.waiting.len() == MAX_LINKS {
            self.waiting.pop_front();
        }
        self.waiting.push_back((now, code));
    }

    /// Takes a code out; whether it was there.
    pub fn take(&mut self, now: Instant, code: &str) -> bool {
        self.forget_expired(now);
        let found = self.waiting.iter().position(|(_, known)| same(known.as_bytes(), code.as_bytes()));
        found.and_then(|i| self.waiting.remove(i)).is_some()
    }

    fn forget_expired(&mut self, now: Instant) {
        while self.waiting.front().is_some_and(|(made, _)| now.duration_since(*made) >= LIFETIME) {
            self.waiting.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way() {
        let mut links = Links::default();
        let now = Instant::now();
        for i in 0..=MAX_LINKS {
            links.add(now, format!("code {i}"));
        }
        assert!(!links.take(now, "code 0"));
        assert!(links.take(now, "code 1"));
        assert!(links.take(now, &format!("code {MAX_LINKS}")));
    }
}
