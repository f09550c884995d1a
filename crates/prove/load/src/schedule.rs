//! The plan: when each request is meant to be sent, and how long it is.
//!
//! Pure: the same shape gives the same plan, made before anything is sent.

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::time::Duration;

/// Gaps between the requests of an open loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Arrivals {
    /// Exponential gaps: what many independent users do.
    Poisson,
    /// Equal gaps.
    Constant,
}

/// How requests follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loop {
    /// Requests leave at planned times, whatever the server does.
    Open {
        /// Requests per second.
        rate: f64,
        /// Gaps between them.
        arrivals: Arrivals,
    },
    /// A fixed number in flight.
    Closed {
        /// Requests in flight.
        concurrency: u32,
    },
}

/// Everything that determines a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// How requests follow each other.
    pub pace: Loop,
    /// Stop after so many requests.
    pub requests: Option<u64>,
    /// Stop sending after so long.
    pub duration: Option<Duration>,
    /// Prompt length: mean and standard deviation, tokens.
    pub prompt: (u32, u32),
    /// Answer length: mean and standard deviation, tokens.
    pub output: (u32, u32),
    /// Seed of every random choice.
    pub seed: u64,
}

impl Shape {
    /// An open loop; the rest is left for the caller to fill.
    #[must_use]
    pub const fn open(rate: f64, arrivals: Arrivals) -> Self {
        Self::with(Loop::Open { rate, arrivals })
    }

    /// A closed loop; the rest is left for the caller to fill.
    #[must_use]
    pub const fn closed(concurrency: u32) -> Self {
        Self::with(Loop::Closed { concurrency })
    }

    const fn with(pace: Loop) -> Self {
        Self {
            pace,
            requests: None,
            duration: None,
            prompt: (1, 0),
            output: (1, 0),
            seed: 1,
        }
    }

    /// The plan, request by request. In a closed loop `at` is always zero: a
    /// request is due when a place in flight is free.
    #[must_use]
    pub fn plan(&self) -> Plan {
        Plan {
            shape: self.clone(),
            gaps: stream(self.seed, "gaps"),
            lengths: stream(self.seed, "lengths"),
            next: 0,
            at_seconds: 0.0,
        }
    }
}

/// One request of the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Its number, from 0.
    pub index: u64,
    /// When it is meant to be sent, from the start of the run.
    pub at: Duration,
    /// Prompt length, tokens.
    pub prompt_tokens: u32,
    /// Answer length, tokens.
    pub output_tokens: u32,
}

/// The requests of a plan, in order. Endless in a closed loop without a number of requests.
#[derive(Clone, Debug)]
pub struct Plan {
    shape: Shape,
    gaps: Pcg64Mcg,
    lengths: Pcg64Mcg,
    next: u64,
    at_seconds: f64,
}

impl Iterator for Plan {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        if self.shape.requests.is_some_and(|most| self.next >= most) {
            return None;
        }
        let at = match self.shape.pace {
            Loop::Closed { .. } => Duration::ZERO,
            Loop::Open { rate, arrivals } => {
                let at = match arrivals {
                    Arrivals::Constant => self.next as f64 / rate,
                    Arrivals::Poisson => {
                        self.at_seconds += -unit(&mut self.gaps).ln() / rate;
                        self.at_seconds
                    }
                };
                let at = Duration::try_from_secs_f64(at).ok()?;
                if self.shape.duration.is_some_and(|end| at >= end) {
                    return None;
                }
                at
            }
        };
        let planned = Planned {
            index: self.next,
            at,
            prompt_tokens: normal(&mut self.lengths, self.shape.prompt),
            output_tokens: normal(&mut self.lengths, self.shape.output),
        };
        self.next += 1;
        Some(planned)
    }
}

/// A random stream of its own for each use, so that a new use does not shift the others.
fn stream(seed: u64, name: &str) -> Pcg64Mcg {
    // FNV-1a, chosen for being the same everywhere and for ever.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64 ^ seed, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
    });
    Pcg64Mcg::seed_from_u64(hash)
}

/// Uniform in (0, 1].
fn unit(random: &mut Pcg64Mcg) -> f64 {
    ((random.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

/// A normal draw (Box and Muller), rounded, at least 1 and at most four times the mean.
fn normal(random: &mut Pcg64Mcg, (mean, spread): (u32, u32)) -> u32 {
    let z = (-2.0 * unit(random).ln()).sqrt() * (std::f64::consts::TAU * unit(random)).cos();
    let drawn = f64::from(mean) + z * f64::from(spread);
    drawn.round().clamp(1.0, f64::from(mean) * 4.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn open(rate: f64, arrivals: Arrivals, seconds: u64, seed: u64) -> Shape {
        Shape {
            duration: Some(Duration::from_secs(seconds)),
            prompt: (512, 128),
            output: (128, 32),
            seed,
            ..Shape::open(rate, arrivals)
        }
    }

    #[test]
    fn a_constant_rate_sends_at_equal_gaps() {
        let at: Vec<_> = open(4.0, Arrivals::Constant, 1, 1)
            .plan()
            .map(|p| p.at.as_millis())
            .collect();
        assert_eq!(at, [0, 250, 500, 750]);
    }

    #[test]
    fn lengths_have_the_mean_that_was_asked_for() {
        let shape = Shape {
            requests: Some(20_000),
            duration: None,
            ..open(1e6, Arrivals::Poisson, 1, 7)
        };
        let mean = shape.plan().map(|p| f64::from(p.prompt_tokens)).sum::<f64>() / 20_000.0;
        assert!((mean - 512.0).abs() < 4.0, "{mean}");
    }

    proptest! {
        #[test]
        fn the_same_seed_makes_the_same_plan(seed: u64, rate in 1.0..500.0_f64) {
            let shape = open(rate, Arrivals::Poisson, 2, seed);
            prop_assert!(shape.plan().eq(shape.plan()));
        }

        #[test]
        fn a_poisson_plan_has_the_rate_that_was_asked_for(seed: u64, rate in 50.0..500.0_f64) {
            let sent = open(rate, Arrivals::Poisson, 60, seed).plan().count() as f64;
            let expected = rate * 60.0;
            // Five standard deviations of a Poisson count.
            prop_assert!((sent - expected).abs() < 5.0 * expected.sqrt(), "{sent} of {expected}");
        }

        #[test]
        fn requests_are_in_order_and_within_the_time(seed: u64, rate in 1.0..200.0_f64) {
            let plan: Vec<_> = open(rate, Arrivals::Poisson, 5, seed).plan().collect();
            prop_assert!(plan.windows(2).all(|pair| pair[0].at <= pair[1].at));
            prop_assert!(plan.iter().all(|p| p.at < Duration::from_secs(5) && p.prompt_tokens >= 1 && p.output_tokens >= 1));
        }
    }
}
