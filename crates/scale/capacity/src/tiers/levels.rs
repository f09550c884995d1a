//! A clock for every number of replicas: when so many were last needed.

use std::time::Duration;
use units::Instant;

/// When each level (the first replica, the second, ..) was last needed; a higher
/// level never later than a lower one. One entry for each replica there is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Levels(Vec<Instant>);

impl Levels {
    /// Notes that `need` of `have` replicas are needed now, and returns how many
    /// were needed less than `keep` ago.
    pub(super) fn keep(&mut self, need: u32, have: u32, keep: Duration, now: Instant) -> u32 {
        let (need, have) = (need.min(have) as usize, have as usize);
        // One that nobody had a need for yet is as old as the highest that is known.
        let newest = self.0.last().copied().unwrap_or(now);
        self.0.resize(have, newest);
        self.0[..need].fill(now);
        let kept = self.0.iter().take_while(|needed| now.since(**needed) < keep).count();
        // No more than `have`, which is one.
        u32::try_from(kept.max(need)).unwrap_or(u32::MAX)
    }

    /// When the highest level will have been without need for `keep`.
    pub(super) fn until(&self, keep: Duration) -> Option<Instant> {
        self.0.last().map(|needed| *needed + keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Duration = Duration::from_secs(100);

    #[test]
    fn every_level_has_a_clock_of_its_own() {
        let mut levels = Levels::default();
        let mut keep = |need, have, at| levels.keep(need, have, KEEP, Instant::from_secs(at));
        assert_eq!(keep(5, 5, 1_000), 5);
        assert_eq!(keep(4, 5, 1_050), 5);
        assert_eq!(keep(2, 5, 1_099), 5);
        assert_eq!(keep(2, 5, 1_100), 4, "the fifth was last needed 100 s ago");
        assert_eq!(
            keep(3, 4, 1_120),
            4,
            "the third is needed again, the fourth was 70 s ago"
        );
        assert_eq!(keep(2, 4, 1_150), 3);
        assert_eq!(keep(2, 3, 1_219), 3);
        assert_eq!(keep(2, 3, 1_220), 2);
    }

    #[test]
    fn a_need_beyond_what_is_there_takes_no_memory() {
        let mut levels = Levels::default();
        assert_eq!(levels.keep(u32::MAX, 3, KEEP, Instant::ZERO), 3);
        assert_eq!(levels.0.len(), 3);
    }

    #[test]
    fn what_is_kept_for_ever_is_never_let_go() {
        let mut levels = Levels::default();
        levels.keep(3, 3, Duration::MAX, Instant::ZERO);
        assert_eq!(levels.keep(0, 3, Duration::MAX, Instant::from_secs(1 << 32)), 3);
    }
}
