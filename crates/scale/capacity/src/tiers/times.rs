//! How long replicas take to wake and to start: what was seen, else what is
//! assumed, and always which of the two.

use super::TierPolicy;
use crate::words;
use std::collections::VecDeque;
use std::time::Duration;

/// Observations that are remembered of each.
const WINDOW: usize = 32;
/// The share of the observations that must not have taken longer.
const SHARE: f64 = 0.9;
/// What took longer than this was no wake-up; something was in its way.
pub(super) const LONGEST_WAKE: Duration = Duration::from_secs(10 * 60);
/// The same of a start.
pub(super) const LONGEST_START: Duration = Duration::from_secs(2 * 3_600);

/// A time, and where it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// Nine in ten of the last `of` took no longer.
    Measured {
        /// That time.
        quantile: Duration,
        /// How many are remembered.
        of: usize,
    },
    /// None was seen yet.
    Assumed(Duration),
}

impl Time {
    /// The time to reckon with.
    #[must_use]
    pub const fn value(self) -> Duration {
        match self {
            Self::Measured { quantile, .. } => quantile,
            Self::Assumed(assumed) => assumed,
        }
    }

    /// `2.0 s (nine in ten of the last 12)`, or that it is assumed.
    pub(super) fn says(self) -> String {
        match self {
            Self::Measured { quantile, of: 1 } => format!("{} (the one that was seen)", words::time(quantile)),
            Self::Measured { quantile, of } => format!("{} (nine in ten of the last {of})", words::time(quantile)),
            Self::Assumed(assumed) => format!("{} (assumed: none was seen yet)", words::time(assumed)),
        }
    }
}

/// The last wake-ups and starts of one model's replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    wakes: VecDeque<Duration>,
    starts: VecDeque<Duration>,
}

impl Times {
    /// A sleeper that was told to wake served after `took`. What cannot be the
    /// time of a wake-up (none at all, or more than ten minutes) is ignored.
    pub fn woke(&mut self, took: Duration) {
        note(&mut self.wakes, took, LONGEST_WAKE);
    }

    /// A replica served, or could have, `took` after it was asked for. None at
    /// all or more than two hours is ignored.
    pub fn started(&mut self, took: Duration) {
        note(&mut self.starts, took, LONGEST_START);
    }

    /// How long a wake takes.
    #[must_use]
    pub fn wake(&self, tiers: &TierPolicy) -> Time {
        known(&self.wakes, tiers.assumed_wake.min(LONGEST_WAKE))
    }

    /// How long a start takes.
    #[must_use]
    pub fn start(&self, tiers: &TierPolicy) -> Time {
        known(&self.starts, tiers.assumed_start.min(LONGEST_START))
    }
}

fn note(window: &mut VecDeque<Duration>, took: Duration, longest: Duration) {
    if took.is_zero() || took > longest {
        return;
    }
    if window.len() == WINDOW {
        window.pop_front();
    }
    window.push_back(took);
}

/// The quantile by nearest rank.
fn known(window: &VecDeque<Duration>, assumed: Duration) -> Time {
    if window.is_empty() {
        return Time::Assumed(assumed);
    }
    let mut sorted: Vec<Duration> = window.iter().copied().collect();
    sorted.sort_unstable();
    // At least 1 and at most all of a short window.
    let rank = (SHARE * sorted.len() as f64).ceil() as usize;
    Time::Measured {
        quantile: sorted[rank.clamp(1, sorted.len()) - 1],
        of: sorted.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIERS: TierPolicy = TierPolicy::new(0.1, 8);

    fn seconds(time: Time) -> u64 {
        time.value().as_secs()
    }

    #[test]
    fn what_was_never_seen_is_assumed_and_says_so() {
        let times = Times::default();
        assert_eq!(times.wake(&TIERS), Time::Assumed(TIERS.assumed_wake));
        assert_eq!(times.start(&TIERS), Time::Assumed(TIERS.assumed_start));
        assert!(times.start(&TIERS).says().contains("assumed"));
    }

    #[test]
    fn one_that_was_seen_counts_more_than_any_assumption() {
        let mut times = Times::default();
        times.woke(Duration::from_secs(7));
        assert_eq!(seconds(times.wake(&TIERS)), 7);
        assert!(times.start(&TIERS).says().contains("assumed"));
    }

    #[test]
    fn one_slow_wake_in_ten_changes_nothing_and_two_do() {
        let mut times = Times::default();
        for _ in 0..18 {
            times.woke(Duration::from_secs(2));
        }
        times.woke(Duration::from_secs(30));
        assert_eq!(seconds(times.wake(&TIERS)), 2);
        times.woke(Duration::from_secs(30));
        times.woke(Duration::from_secs(30));
        assert_eq!(seconds(times.wake(&TIERS)), 30);
        assert_eq!(times.wake(&TIERS).says(), "30 s (nine in ten of the last 21)");
    }

    #[test]
    fn what_cannot_be_is_ignored_and_the_window_is_bounded() {
        let mut times = Times::default();
        for absurd in [Duration::ZERO, Duration::MAX, Duration::from_secs(601)] {
            times.woke(absurd);
        }
        times.started(Duration::from_secs(7_201));
        assert_eq!(times, Times::default());
        for second in 1..=1_000 {
            times.started(Duration::from_secs(second));
        }
        assert_eq!(times.starts.len(), WINDOW);
        // The last 32 took 969 to 1000 s; 29 of them are nine in ten.
        assert_eq!(seconds(times.start(&TIERS)), 997);
    }
}
