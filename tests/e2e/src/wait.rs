//! Waiting for what another process does, with a deadline.

use std::time::{Duration, Instant};

/// Between two looks at something that cannot call us.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until there is something, and says what was waited for when it never came.
pub fn until<T>(what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
    within(limit, look).unwrap_or_else(|| panic!("{what}: not within {limit:?}"))
}

/// Looks until there is something or the time is up.
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        let found = look();
        if found.is_some() || Instant::now() >= end {
            return found;
        }
        #[allow(clippy::disallowed_methods, reason = "another process changes a file or a state; nobody signals us")]
        std::thread::sleep(LOOK_EVERY);
    }
}
