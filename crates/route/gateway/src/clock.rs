//! The one place that reads the clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use units::Instant;

/// A monotonic time line that starts with the gateway.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: std::time::Instant,
    /// Unix milliseconds at the origin.
    pub(crate) started_unix_ms: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            origin: std::time::Instant::now(),
            started_unix_ms: u64::try_from(unix.as_millis()).unwrap_or(0),
        }
    }

    /// Now, later than [`Instant::ZERO`].
    pub(crate) fn now(&self) -> Instant {
        Instant::from_millis(1) + self.origin.elapsed()
    }

    pub(crate) fn unix_ms(&self) -> u64 {
        self.started_unix_ms + u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(0)
    }

    /// `instant` for a timer of the runtime.
    pub(crate) fn timer(&self, instant: Instant) -> tokio::time::Instant {
        let after = instant
            .since(Instant::from_millis(1))
            .min(Duration::from_secs(86_400 * 365));
        tokio::time::Instant::from_std(self.origin + after)
    }
}

/// Milliseconds with a fraction.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
