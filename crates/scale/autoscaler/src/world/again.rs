//! When to watch again after a watch broke.

use kube::runtime::utils::Backoff;
use std::time::Duration;
use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(500);
/// Decisions rest on what is watched, and a dozen watches are no burden to a
/// server that comes back.
const LONGEST: Duration = Duration::from_secs(5);
/// After this long without an error the next one is the first.
const QUIET: Duration = Duration::from_secs(15);

/// Pauses that double while errors go on. A watch that works and has nothing
/// to tell is no error, though it tells nothing: so time counts, too.
#[derive(Debug, Default)]
pub(super) struct Again {
    failures: u32,
    last: Option<Instant>,
}

impl Iterator for Again {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        if self.last.is_none_or(|last| now.duration_since(last) >= QUIET) {
            self.failures = 0;
        }
        self.last = Some(now);
        let pause = FIRST.saturating_mul(1 << self.failures.min(8)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        Some(pause)
    }
}

impl Backoff for Again {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_while_it_fails_and_start_anew_afterwards() {
        let mut again = Again::default();
        let millis = |pause: Option<Duration>| pause.unwrap_or_default().as_millis();
        let grown: Vec<u128> = (0..6).map(|_| millis(again.next())).collect();
        assert_eq!(grown, [500, 1000, 2000, 4000, 5000, 5000]);
        tokio::time::sleep(QUIET).await;
        assert_eq!(millis(again.next()), 500, "it worked meanwhile");
        again.reset();
        assert_eq!(millis(again.next()), 500, "something was told");
    }
}
