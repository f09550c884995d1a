//! What a sleeper costs, and how many may sleep.

use super::times::{LONGEST_START, LONGEST_WAKE};
use crate::PolicyError;
use std::time::Duration;

/// The sleeping tier in numbers. Growth, hysteresis and ages are those of
/// [`Policy`](crate::Policy).
#[derive(Clone, Debug, PartialEq)]
pub struct TierPolicy {
    /// What a sleeping replica costs beside one that serves, 0 to 1: its share
    /// of host memory, and of the GPU memory that it does not give back.
    pub sleep_cost: f64,
    /// Most replicas that may sleep: as many as the nodes have host memory for.
    /// 0: none.
    pub most_asleep: u32,
    /// What it costs to be one replica short for a second, as a multiple of what
    /// one that serves costs in that second.
    pub shortage: f64,
    /// Time until a sleeper serves, until one was seen waking.
    pub assumed_wake: Duration,
    /// Time until a replica that is off serves, until one was seen starting.
    pub assumed_start: Duration,
}

impl TierPolicy {
    /// Sleepers at `sleep_cost`, at most `most_asleep` of them. A shortage is
    /// priced as the forecast prices it; a wake-up is assumed to take the 3 s
    /// in which PCIe 4 carries the weights of a model of 32 billion parameters,
    /// a start the 100 s of a tuned one.
    #[must_use]
    pub const fn new(sleep_cost: f64, most_asleep: u32) -> Self {
        Self {
            sleep_cost,
            most_asleep,
            shortage: crate::forecast::SHORTAGE,
            assumed_wake: Duration::from_secs(3),
            assumed_start: Duration::from_secs(100),
        }
    }

    /// Checks that the numbers can be true.
    ///
    /// # Errors
    /// The first field that breaks a rule, with the rule.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let rules = [
            (
                "sleepCost",
                self.sleep_cost,
                (0.0..=1.0).contains(&self.sleep_cost),
                "must be at least 0 and at most 1",
            ),
            (
                "shortage",
                self.shortage,
                (0.0..=1_000.0).contains(&self.shortage),
                "must be at least 0 and at most 1000",
            ),
            (
                "assumedWake",
                self.assumed_wake.as_secs_f64(),
                !self.assumed_wake.is_zero() && self.assumed_wake <= LONGEST_WAKE,
                "must be above 0 s and at most 600 s",
            ),
            (
                "assumedStart",
                self.assumed_start.as_secs_f64(),
                !self.assumed_start.is_zero() && self.assumed_start <= LONGEST_START,
                "must be above 0 s and at most 7200 s",
            ),
        ];
        match rules.into_iter().find(|(_, _, holds, _)| !holds) {
            Some((key, value, _, rule)) => Err(PolicyError { key, value, rule }),
            None => Ok(()),
        }
    }

    /// The cost of a sleeper; one that nobody can know is taken to be no bargain.
    pub(super) fn cost(&self) -> f64 {
        if (0.0..=1.0).contains(&self.sleep_cost) {
            self.sleep_cost
        } else {
            1.0
        }
    }

    /// The price of a shortage; one that makes no sense is none.
    pub(super) fn shortage(&self) -> f64 {
        if (0.0..=1_000.0).contains(&self.shortage) {
            self.shortage
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_cannot_be_true_name_the_key() {
        type Spoil = fn(&mut TierPolicy);
        let cases: [(&str, Spoil); 8] = [
            ("sleepCost", |p| p.sleep_cost = f64::NAN),
            ("sleepCost", |p| p.sleep_cost = 1.1),
            ("sleepCost", |p| p.sleep_cost = -0.1),
            ("shortage", |p| p.shortage = f64::INFINITY),
            ("assumedWake", |p| p.assumed_wake = Duration::ZERO),
            ("assumedStart", |p| p.assumed_start = Duration::ZERO),
            ("assumedWake", |p| p.assumed_wake = Duration::from_secs(601)),
            ("assumedStart", |p| p.assumed_start = Duration::MAX),
        ];
        assert_eq!(TierPolicy::new(0.1, 8).validate(), Ok(()));
        for (key, spoil) in cases {
            let mut tiers = TierPolicy::new(0.1, 8);
            spoil(&mut tiers);
            assert_eq!(tiers.validate().unwrap_err().key, key);
        }
    }
}
