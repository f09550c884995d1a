//! The highest that a load has been, of late.

use std::time::Duration;
use units::Instant;

/// How long one of the two spans is: a day, for a load has its highest hour once
/// a day.
const SPAN: Duration = Duration::from_secs(86_400);
/// Seconds over which the load is smoothed: one second is no height.
const SMOOTH_S: f64 = 20.0;

/// The highest load of this span of a day and of the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Ceiling {
    since: Option<Instant>,
    /// The load, smoothed, and when that was.
    mean: f64,
    at: Instant,
    this: f64,
    before: f64,
}

impl Ceiling {
    /// Takes in `load`, a number, and returns the highest of the last one to two
    /// days.
    pub(super) fn highest(&mut self, load: f64, now: Instant) -> f64 {
        let since = *self.since.get_or_insert_with(|| {
            (self.mean, self.at) = (load, now);
            now
        });
        let past = now.since(since);
        if past >= SPAN {
            // A span that nobody looked at has no highest load.
            self.before = if past < SPAN * 2 { self.this } else { 0.0 };
            self.this = 0.0;
            self.since = Some(now);
        }
        self.mean += (load - self.mean) * (now.since(self.at).as_secs_f64() / SMOOTH_S).min(1.0);
        self.at = now;
        self.this = self.this.max(self.mean);
        self.this.max(self.before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_is_remembered_for_a_day_at_least_and_two_at_most() {
        let mut ceiling = Ceiling::default();
        let mut highest = |load, hour: u64| ceiling.highest(load, Instant::from_secs(1_000 + hour * 3_600));
        assert_eq!(highest(10.0, 0), 10.0);
        assert_eq!(highest(40.0, 12), 40.0);
        assert_eq!(highest(10.0, 24), 40.0);
        assert_eq!(highest(12.0, 36), 40.0);
        assert_eq!(highest(11.0, 48), 12.0, "two spans ago is forgotten");
        assert_eq!(highest(5.0, 100), 5.0, "and so is what was before a long silence");
    }

    #[test]
    fn a_second_is_no_height() {
        let mut ceiling = Ceiling::default();
        let mut highest = |load, second| ceiling.highest(load, Instant::from_secs(second));
        highest(10.0, 100);
        assert_eq!(highest(50.0, 101), 12.0);
        assert!(
            (102..200)
                .map(|second| highest(50.0, second))
                .any(|highest| highest > 49.0)
        );
    }
}
