//! Scaling policies that are compared. Each sees the fleet once a second, as
//! its original would through its own signals and delays, and nothing of the
//! future.

mod hpa_policy;
mod keda;
mod predecessor;
mod sleeping;
mod tidegate;

pub use hpa_policy::{Hpa, Signal};
pub use keda::{Keda, Pace};
pub use predecessor::Predecessor;
pub use sleeping::Sleeping;
pub use tidegate::Tidegate;

use std::collections::VecDeque;
use units::Instant;

/// The time line's origin, so that ages of the first seconds are not negative.
const START: Instant = Instant::from_secs(1_000_000);

/// Requests one replica serves at once.
const SLOTS: f64 = 32.0;

/// Share of the KV cache that a fully loaded replica uses: somewhat less than
/// where a replica counts as saturated, so that slots are what is scarce.
const KV_WHEN_FULL: f64 = 0.75;

/// The mean of the last so many seconds.
#[derive(Clone, Debug)]
struct Mean {
    seconds: usize,
    values: VecDeque<f64>,
}

impl Mean {
    fn over(seconds: usize) -> Self {
        Self {
            seconds,
            values: VecDeque::with_capacity(seconds + 1),
        }
    }

    fn push(&mut self, value: f64) {
        self.values.push_back(value);
        if self.values.len() > self.seconds {
            self.values.pop_front();
        }
    }

    fn get(&self) -> f64 {
        let sum: f64 = self.values.iter().sum();
        sum / self.values.len().max(1) as f64
    }

    fn max(&self) -> f64 {
        self.values.iter().copied().fold(0.0, f64::max)
    }
}
