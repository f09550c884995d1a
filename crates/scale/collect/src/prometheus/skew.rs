//! How far Prometheus' clock is from ours.
//!
//! An answer says what time it was there, to the second, at some moment between
//! question and answer (Cristian 1989): the difference lies in an interval as
//! wide as both together. What several answers allow is where their intervals
//! meet (Marzullo 1984), so that the estimate gets better and never jitters: it
//! moves only when it cannot be true any more, and then to the middle of what can.

use std::time::Duration;
use units::Instant;

/// The resolution of the header that tells the time.
const SECOND: i128 = 1_000_000_000;
/// Clocks drift apart by no more than this share (200 ppm).
const DRIFT: i128 = 5_000;

/// What is known of the difference of the clocks, in nanoseconds; above 0
/// theirs is ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Skew {
    known: Option<Interval>,
    estimate: i128,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Interval {
    from: i128,
    to: i128,
    at: Instant,
}

impl Skew {
    /// Takes in that it was `theirs` there, cut to the second, at some moment
    /// between `asked` and `answered`.
    pub(super) fn heard(&mut self, theirs: Instant, asked: Instant, answered: Instant) {
        let nanos = |at: Instant| i128::from(at.as_nanos());
        let heard = Interval {
            from: nanos(theirs) - nanos(answered),
            to: nanos(theirs) + SECOND - nanos(asked),
            at: answered,
        };
        let both = self.known.map(|known| {
            let drift = i128::try_from(answered.since(known.at).as_nanos()).unwrap_or(0) / DRIFT;
            Interval {
                from: (known.from - drift).max(heard.from),
                to: (known.to + drift).min(heard.to),
                at: answered,
            }
        });
        // Where they do not meet, somebody has set a clock.
        let known = both.filter(|both| both.from <= both.to).unwrap_or(heard);
        self.known = Some(known);
        if !(known.from..=known.to).contains(&self.estimate) {
            self.estimate = i128::midpoint(known.from, known.to);
        }
    }

    /// Where on our time line it was `theirs` there.
    pub(super) fn ours(self, theirs: Instant) -> Instant {
        let by = u64::try_from(self.estimate.unsigned_abs()).unwrap_or(u64::MAX);
        let by = Duration::from_nanos(by);
        if self.estimate >= 0 { theirs - by } else { theirs + by }
    }

    /// By how much theirs is ahead, milliseconds, once it was heard; below 0 it
    /// is behind.
    pub(super) fn ahead_ms(self) -> Option<i64> {
        self.known?;
        let millis = self.estimate / 1_000_000;
        Some(i64::try_from(millis).unwrap_or(if millis < 0 { i64::MIN } else { i64::MAX }))
    }

    /// Whether the estimate is the same, so that times on our line compare.
    pub(super) const fn agrees_with(self, other: Self) -> bool {
        self.estimate == other.estimate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The estimates after each of `answers` answers, milliseconds. Clocks are
    /// `apart`; answers take up to 200 ms and come every `every`.
    fn estimates(apart: i64, every: u64, answers: u64) -> Vec<i128> {
        let mut skew = Skew::default();
        let one = |i: u64| {
            let asked = 1_700_000_000_000 + i * every;
            let (there, took) = (asked + i * 37 % 150, 150 + i * 13 % 50);
            let theirs = there.saturating_add_signed(apart) / 1000 * 1000;
            skew.heard(
                Instant::from_millis(theirs),
                Instant::from_millis(asked),
                Instant::from_millis(asked + took),
            );
            skew.estimate / 1_000_000
        };
        (0..answers).map(one).collect()
    }

    #[test]
    fn clocks_that_agree_stay_agreed() {
        for every in [997, 1_000, 15_003] {
            for apart in [-100, 0, 300] {
                let all = estimates(apart, every, 500);
                let moves = all.windows(2).filter(|pair| pair[0] != pair[1]).count();
                assert!(moves <= 6, "{apart} ms, every {every} ms: {moves} moves");
                assert!(all.iter().all(|estimate| (estimate - i128::from(apart)).abs() <= 1_200));
            }
        }
        assert!(estimates(0, 997, 500).iter().all(|estimate| *estimate == 0));
    }

    #[test]
    fn a_difference_is_found_and_held_still_wherever_it_lies() {
        // Around 2 s too, where a rounded difference would cross any threshold.
        for apart in [30_000, -30_000, 1_990, 2_000, 2_010, -1_999, 600_000] {
            let all = estimates(apart, 5_011, 500);
            let last = all[all.len() - 1];
            assert!((last - i128::from(apart)).abs() <= 300, "{apart}: {last}");
            let moves = all.windows(2).filter(|pair| pair[0] != pair[1]).count();
            assert!(moves <= 8, "{apart}: {moves} moves");
            let late = all[100..].iter().max().zip(all[100..].iter().min());
            assert!(
                late.is_some_and(|(most, least)| most - least <= 100),
                "{apart}: it holds still"
            );
        }
    }

    #[test]
    fn a_clock_that_is_set_is_followed() {
        let mut skew = Skew::default();
        let at = Instant::from_secs;
        skew.heard(at(1_030), at(1_000), at(1_000));
        assert_eq!(skew.ahead_ms(), Some(30_500));
        skew.heard(at(1_010), at(1_010), at(1_010));
        assert_eq!(skew.ahead_ms(), Some(500));
        assert!(skew.ours(at(1_011)) >= at(1_010));
    }

    proptest! {
        #[test]
        fn whatever_a_server_says_is_taken(times in proptest::collection::vec(any::<(u64, u64, u64)>(), 1..40)) {
            let mut skew = Skew::default();
            for (theirs, asked, answered) in times {
                let at = Instant::from_nanos;
                skew.heard(at(theirs), at(asked.min(answered)), at(asked.max(answered)));
                let _ = skew.ours(at(theirs));
                prop_assert!(skew.ahead_ms().is_some() && skew.agrees_with(skew));
            }
        }
    }
}
