//! The highest that a load has been, of late.

use std::time::Duration;
use units::Instant;

/// How long one of the two spans is: a day, for a load has its highest hour once
/// a day.
const SPAN: Duration = Duration::from_secs(86_400);

/// The highest load of this span of a day and of the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Ceiling {
    since: Option<Instant>,
    now: f64,
    before: f64,
}

impl Ceiling {
    /// Takes in `load` and returns the highest of the last one to two days.
    pub(super) fn highest(&mut self, load: f64, now: Instant) -> f64 {
        let since = *self.since.get_or_insert(now);
        let past = now.since(since);
        if past >= SPAN {
            // A span that nobody looked at has no highest load.
            self.before = if past < SPAN * 2 { self.now } else { 0.0 };
            self.now = 0.0;
            self.since = Some(now);
        }
        self.now = self.now.max(load);
        self.now.max(self.before)
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
    fn what_is_no_number_changes_nothing() {
        let mut ceiling = Ceiling::default();
        ceiling.highest(7.0, Instant::ZERO);
        assert_eq!(ceiling.highest(f64::NAN, Instant::ZERO), 7.0);
    }
}
