//! One time line for everything a process observes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use units::Instant;

/// A monotonic clock whose instants count from the unix epoch as it was read
/// at start, so that times written in objects can be placed on it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: std::time::Instant,
    started_unix: Duration,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        let started_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            started: std::time::Instant::now(),
            started_unix,
        }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::ZERO + self.started_unix + self.started.elapsed()
    }

    /// Where a moment of the wall clock, in unix milliseconds, lies.
    #[must_use]
    pub const fn at_unix_millis(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }
}
