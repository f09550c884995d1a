//! A day of traffic: how much work arrives in every second.
//!
//! A recorded trace is one customer's hour (or whatever it covers). The day is
//! many such customers, each replaying the trace from a place of its own, more
//! of them by day than by night; so the mean follows the diurnal curve and the
//! noise is that of the trace, thinned by as many customers as it takes to load
//! the fleet. Synthetic days have shapes a trace does not show.

use crate::random::Random;
use thiserror::Error;

/// Seconds of a day.
pub const SECONDS: usize = 86_400;

/// The share of its busiest time that a night has.
const NIGHT: f64 = 0.3;
/// The hour of the day with the most traffic.
const BUSIEST_HOUR: f64 = 14.0;

/// One request of a trace, in the units a day is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrival {
    /// Seconds since the trace began.
    pub at_s: f64,
    /// Replica-seconds it takes: its share of a replica that is as full as it may be.
    pub work: f64,
}

/// What arrives in each second of a day, in replicas: work per second that
/// keeps so many replicas busy.
#[derive(Clone, Debug, PartialEq)]
pub struct Day {
    /// Its name in tables.
    pub name: String,
    /// How it was made, for people.
    pub says: String,
    /// Replicas kept busy by what arrives in each second.
    pub work: Vec<f64>,
    /// Replica-seconds of one request, on average.
    pub work_per_request: f64,
}

/// Why a trace makes no day.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum DayError {
    /// Nothing to replay.
    #[error("the trace has no request that takes any work")]
    Empty,
    /// Customers without number.
    #[error(
        "the trace is too thin: {customers:.0} customers would be needed to load {replicas} replicas (at most {most}); \
         use a longer trace or fewer --peak-replicas"
    )]
    TooThin {
        /// Customers needed.
        customers: f64,
        /// Replicas to load.
        replicas: u32,
        /// Most customers that are simulated.
        most: usize,
    },
    /// A span that no recording has.
    #[error(
        "the trace spans {days:.0} days, more than {most}: is a time of it in another unit (Mooncake's are milliseconds) \
         or of another year?"
    )]
    TooLong {
        /// From its first request to its last.
        days: f64,
        /// What is read.
        most: usize,
    },
}

/// Days that a trace may span; the longest published one has 121.
const MOST_DAYS: usize = 200;
const MOST_CUSTOMERS: usize = 20_000;

/// A shape that no recorded trace need have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The same all day.
    Constant,
    /// A diurnal curve under noise of 15 % that lasts about a minute.
    Noisy,
    /// Every half hour another level, at once.
    Steps,
    /// Two peaks, and ten crowds that come within a minute and stay for ten.
    Crowds,
}

impl Shape {
    /// Every shape, in the order of tables.
    pub const ALL: [Self; 4] = [Self::Constant, Self::Noisy, Self::Steps, Self::Crowds];

    /// Its name in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Noisy => "noisy",
            Self::Steps => "steps",
            Self::Crowds => "crowds",
        }
    }
}

impl Day {
    /// The day of as many customers with this trace as make `peak` replicas
    /// necessary at the busiest time.
    ///
    /// # Errors
    /// A trace without work, one too thin to load so many replicas, or one that
    /// spans more time than any recording.
    pub fn of_trace(name: &str, trace: &[Arrival], peak: u32, seed: u64) -> Result<Self, DayError> {
        let total: f64 = trace.iter().map(|arrival| arrival.work).sum();
        let last = trace.iter().map(|arrival| arrival.at_s).fold(0.0, f64::max);
        if !(total.is_finite() && total > 0.0 && last.is_finite()) {
            return Err(DayError::Empty);
        }
        if last > (MOST_DAYS * SECONDS) as f64 {
            return Err(DayError::TooLong {
                days: last / SECONDS as f64,
                most: MOST_DAYS,
            });
        }
        let period = last as usize + 1;
        let mut second = vec![0.0; period];
        for arrival in trace {
            second[arrival.at_s.max(0.0) as usize] += arrival.work;
        }
        // At the busiest time all customers are there, and on average they keep
        // somewhat fewer replicas busy than the noise then needs.
        let wanted = f64::from(peak) * ON_AVERAGE / (total / period as f64);
        if wanted > MOST_CUSTOMERS as f64 {
            return Err(DayError::TooThin {
                customers: wanted,
                replicas: peak,
                most: MOST_CUSTOMERS,
            });
        }
        let customers = (wanted.round() as usize).max(1);
        let mut work = vec![0.0; SECONDS];
        let mut random = Random::new(seed);
        let active: Vec<usize> = (0..SECONDS)
            .map(|t| ((diurnal(t) * customers as f64).round() as usize).max(1))
            .collect();
        for customer in 0..customers {
            let mut start = 0;
            while start < SECONDS {
                // Each replay begins elsewhere, or the day would repeat itself.
                let offset = random.below(period);
                let end = (start + period).min(SECONDS);
                for t in start..end {
                    if customer < active[t] {
                        work[t] += second[(t - start + offset) % period];
                    }
                }
                start = end;
            }
        }
        let work_per_request = total / trace.len() as f64;
        let says = format!(
            "{customers} customers, each replaying {} requests of {period} s from places of its own; {:.0} % of them at night",
            trace.len(),
            NIGHT * 100.0
        );
        Ok(Self::scaled(name, says, work, work_per_request, peak))
    }

    /// A synthetic day in which every request takes `work_per_request`
    /// replica-seconds.
    #[must_use]
    pub fn synthetic(shape: Shape, work_per_request: f64, peak: u32, seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x005E_ED0F_DA15);
        let level: Vec<f64> = match shape {
            Shape::Constant => vec![1.0; SECONDS],
            Shape::Noisy => {
                let (sigma, tau) = (0.15_f64, 60.0_f64);
                let keep = (-1.0 / tau).exp();
                let fresh = sigma * (1.0 - keep * keep).sqrt();
                let mut noise = 0.0;
                (0..SECONDS)
                    .map(|t| {
                        noise = noise * keep + fresh * random.normal();
                        diurnal(t) * f64::exp(noise)
                    })
                    .collect()
            }
            Shape::Steps => {
                let mut level = 0.0;
                (0..SECONDS)
                    .map(|t| {
                        if t % 1800 == 0 {
                            level = NIGHT + (1.0 - NIGHT) * random.unit();
                        }
                        level
                    })
                    .collect()
            }
            Shape::Crowds => {
                let starts: Vec<usize> = (0..10).map(|_| random.below(SECONDS)).collect();
                (0..SECONDS)
                    .map(|t| {
                        let hours = t as f64 / 3600.0;
                        let humps = |at: f64| (-((hours - at) / 2.5).powi(2)).exp();
                        let crowd: f64 = starts
                            .iter()
                            .filter(|start| (**start..**start + 600).contains(&t))
                            .map(|start| 0.3 * ((t - start) as f64 / 60.0).min(1.0))
                            .sum();
                        0.25 + 0.6 * humps(10.0) + 0.75 * humps(19.0) + crowd
                    })
                    .collect()
            }
        };
        // Requests come by chance: their number in a second is near enough to
        // normal at the rates of a fleet.
        let per_second = f64::from(peak) * ON_AVERAGE / work_per_request;
        let work = level
            .iter()
            .map(|level| {
                let mean = level * per_second;
                (mean + mean.sqrt() * random.normal()).max(0.0) * work_per_request
            })
            .collect();
        let says = format!("synthetic, seed {seed}");
        Self::scaled(shape.as_str(), says, work, work_per_request, peak)
    }

    /// Scales the work so that `peak` replicas are needed at the busiest time.
    fn scaled(name: &str, says: String, mut work: Vec<f64>, work_per_request: f64, peak: u32) -> Self {
        let mut means: Vec<f64> = work
            .chunks(STEP)
            .map(|step| step.iter().sum::<f64>() / step.len() as f64)
            .collect();
        means.sort_by(f64::total_cmp);
        // Once in a thousand steps may be above: one spike does not size a fleet.
        let high = means[(means.len() - 1) * 999 / 1000];
        let factor = if high > 0.0 {
            f64::from(peak) * CEILING / high
        } else {
            1.0
        };
        for second in &mut work {
            *second *= factor;
        }
        Self {
            name: name.to_owned(),
            says,
            work,
            work_per_request,
        }
    }

    /// Replicas that each step of [`STEP`] seconds needs: at least one, as every
    /// policy keeps.
    #[must_use]
    pub fn need(&self) -> Vec<u32> {
        Self::need_of(&self.work)
    }

    /// The same of any stretch of work, second by second.
    pub(crate) fn need_of(work: &[f64]) -> Vec<u32> {
        work.chunks(STEP)
            .map(|step| {
                let mean = step.iter().sum::<f64>() / step.len() as f64;
                // The cast saturates; a need is small and not negative.
                (mean / CEILING - 1e-9).ceil().max(1.0) as u32
            })
            .collect()
    }
}

/// Seconds over which the need is averaged: what a request may wait is longer
/// than half of it.
pub const STEP: usize = 5;
/// The share of its capacity up to which a replica may be loaded over a step.
pub const CEILING: f64 = 0.95;
/// Mean work at the busiest time over the replicas then needed, before scaling.
const ON_AVERAGE: f64 = 0.85;

/// The share of customers that are there at second `t` of a day.
fn diurnal(t: usize) -> f64 {
    let hours = t as f64 / 3600.0 - BUSIEST_HOUR;
    let wave = 0.5 + 0.5 * (std::f64::consts::TAU * hours / 24.0).cos();
    NIGHT + (1.0 - NIGHT) * wave
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(at_s: f64, work: f64) -> Vec<Arrival> {
        vec![Arrival { at_s: 0.0, work }, Arrival { at_s, work }]
    }

    #[test]
    fn what_makes_no_day_says_why() {
        let cases = [
            (vec![], "no request that takes any work"),
            (trace(1.0, 0.0), "no request that takes any work"),
            (trace(1.0, f64::NAN), "no request that takes any work"),
            (trace(86_400.0, 1e-6), "customers would be needed to load 40 replicas"),
            (trace(1e15, 1.0), "Mooncake's are milliseconds"),
            (trace(f64::INFINITY, 1.0), "no request that takes any work"),
        ];
        for (trace, expected) in cases {
            let error = Day::of_trace("day", &trace, 40, 1).unwrap_err().to_string();
            assert!(error.contains(expected), "{trace:?}: {error}");
        }
    }

    #[test]
    fn a_trace_of_weeks_makes_a_day_too() {
        let hourly: Vec<Arrival> = (0..24 * 14)
            .map(|hour| Arrival {
                at_s: f64::from(hour) * 3_600.0,
                work: 3_600.0,
            })
            .collect();
        let day = Day::of_trace("weeks", &hourly, 4, 1).unwrap();
        assert_eq!(day.work.len(), SECONDS);
        assert_eq!(day.need().into_iter().max(), Some(4));
    }
}
