//! One time line for everything a process observes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant as Monotonic;
use units::Instant;

/// A monotonic clock whose instants count from the unix epoch as it was read
/// at start, so that times written in objects can be placed on it.
///
/// It goes with tokio's time: where that is paused, for a world in virtual
/// time, so is everything that is read here.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Monotonic,
    started_unix: Duration,
    of_the_system: bool,
}

impl Clock {
    /// A clock that starts now, by the system's.
    #[must_use]
    pub fn start() -> Self {
        Self {
            started: Monotonic::now(),
            started_unix: system(),
            of_the_system: true,
        }
    }

    /// A clock that reads `unix` now, whatever the system's says.
    #[must_use]
    pub fn start_at(unix: Duration) -> Self {
        Self {
            started: Monotonic::now(),
            started_unix: unix,
            of_the_system: false,
        }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::ZERO + self.since_epoch()
    }

    /// The time to write into objects, since the unix epoch. Somebody may set
    /// the system's clock, which moves this and never [`Clock::now`].
    #[must_use]
    pub fn wall(&self) -> Duration {
        if self.of_the_system {
            system()
        } else {
            self.since_epoch()
        }
    }

    /// Where a moment of the wall clock, in unix milliseconds, lies.
    #[must_use]
    pub const fn at_unix_millis(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn since_epoch(&self) -> Duration {
        self.started_unix + self.started.elapsed()
    }
}

fn system() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_with_virtual_time() {
        let clock = Clock::start_at(Duration::from_secs(1_000));
        assert_eq!(clock.now(), Instant::from_secs(1_000));
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert_eq!(clock.now(), Instant::from_secs(4_600));
        assert_eq!(clock.wall(), Duration::from_secs(4_600));
    }

    #[test]
    fn by_the_system_both_times_agree() {
        let clock = Clock::start();
        let apart = (clock.now().since(Instant::ZERO)).abs_diff(clock.wall());
        assert!(apart < Duration::from_secs(5), "{apart:?}");
    }
}
