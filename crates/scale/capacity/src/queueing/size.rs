//! Sizing: the highest rate at which the targets hold.

use super::{Performance, QueueError, QueueModel, check};

/// Share of the highest rate a replica is given where only throughput is
/// asked for, so that its queue stays stable.
const STABLE_SHARE: f64 = 0.9;
/// Points at which a curve that starts above its target is looked at.
const GRID: u32 = 64;
/// Steps of a search; a third of them halve the range.
const STEPS: u32 = 120;
/// How close, as a share, a rate is to the last one that holds.
const PRECISION: f64 = 1e-9;
/// A value this share above the target is still on it: computed figures.
const TOLERANCE: f64 = 1e-12;

/// Which figure of a latency a target is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    /// Its mean.
    Mean,
    /// What this share of the requests (of the tokens, for ITL) stays within:
    /// 0.95 is the 95th percentile.
    Percentile(f64),
}

/// A latency not to be exceeded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Milliseconds.
    pub ms: f64,
    /// Of what.
    pub of: Statistic,
}

impl Target {
    /// A target for the mean.
    #[must_use]
    pub const fn mean(ms: f64) -> Self {
        Self {
            ms,
            of: Statistic::Mean,
        }
    }

    /// A target for a percentile, given as a share.
    #[must_use]
    pub const fn percentile(share: f64, ms: f64) -> Self {
        Self {
            ms,
            of: Statistic::Percentile(share),
        }
    }
}

/// What a replica must keep to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Targets {
    /// Time to the first token.
    pub ttft: Option<Target>,
    /// Time between tokens.
    pub itl: Option<Target>,
    /// Whether a throughput is asked for: the replica is then kept a tenth
    /// below its highest rate. How much is asked sizes the number of replicas,
    /// not the rate of one.
    pub throughput: bool,
}

/// What a sizing stopped at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Every target holds at the highest rate.
    Capacity,
    /// The time to the first token.
    Ttft,
    /// The time between tokens.
    Itl,
    /// The reserve kept for a throughput target.
    Throughput,
}

/// The answer of a sizing. Rates in requests per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizing {
    /// The highest rate at which every target holds.
    pub rate: f64,
    /// The highest rate for the time to the first token alone.
    pub rate_ttft: f64,
    /// The highest rate for the time between tokens alone.
    pub rate_itl: f64,
    /// The highest rate for a throughput target alone.
    pub rate_throughput: f64,
    /// What set the rate.
    pub binding: Binding,
    /// What the replica does at that rate.
    pub there: Performance,
}

impl Sizing {
    /// The answer in a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let why = match self.binding {
            Binding::Capacity => "the most its batch works off",
            Binding::Ttft => "more would break the target for the first token",
            Binding::Itl => "more would break the target between tokens",
            Binding::Throughput => "a tenth is kept free so that its queue stays short",
        };
        format!(
            "one replica stands {:.2} requests/s ({why}): TTFT {:.0} ms, ITL {:.1} ms, {:.0} % of the batch in use",
            self.rate,
            self.there.ttft_ms,
            self.there.itl_ms,
            self.there.rho * 100.0
        )
    }
}

impl QueueModel {
    /// The highest rate at which every target holds. A target that holds
    /// everywhere gives the top of the range; on a curve that falls, the top
    /// is the answer if the target holds there.
    ///
    /// # Errors
    /// A target that is no number above 0, and one that no rate meets.
    pub fn size(&self, targets: &Targets) -> Result<Sizing, QueueError> {
        let top = self.max_rate();
        let rate_ttft = self.highest("targets.ttft", targets.ttft, |rate, target| match target.of {
            Statistic::Mean => Ok(self.at(rate)?.ttft_ms / target.ms),
            Statistic::Percentile(share) => Ok(self.ttft_beyond(rate, target.ms)? / (1.0 - share)),
        })?;
        let rate_itl = self.highest("targets.itl", targets.itl, |rate, target| match target.of {
            Statistic::Mean => Ok(self.at(rate)?.itl_ms / target.ms),
            Statistic::Percentile(share) => Ok(self.itl_beyond(rate, target.ms)? / (1.0 - share)),
        })?;
        let rate_throughput = if targets.throughput { STABLE_SHARE * top } else { top };
        let (rate, binding) = [
            (top, Binding::Capacity),
            (rate_ttft, Binding::Ttft),
            (rate_itl, Binding::Itl),
            (rate_throughput, Binding::Throughput),
        ]
        .into_iter()
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap_or((top, Binding::Capacity));
        Ok(Sizing {
            rate,
            rate_ttft,
            rate_itl,
            rate_throughput,
            binding,
            there: self.at(rate)?,
        })
    }

    /// The highest rate at which `load`, the figure over its target, is at
    /// most 1.
    fn highest(
        &self,
        field: &'static str,
        target: Option<Target>,
        load: impl Fn(f64, Target) -> Result<f64, QueueError>,
    ) -> Result<f64, QueueError> {
        let (low, top) = (self.min_rate(), self.max_rate());
        let Some(target) = target else { return Ok(top) };
        check(
            field,
            target.ms,
            target.ms.is_normal() && target.ms > 0.0,
            "must be milliseconds above 0",
        )?;
        if let Statistic::Percentile(share) = target.of {
            check(
                field,
                share,
                share > 0.0 && share < 1.0,
                "must have a percentile above 0 and below 1",
            )?;
        }
        let over = |rate: f64| Ok(load(rate, target)? - (1.0 + TOLERANCE));
        let mut over_bad = over(top)?;
        if over_bad <= 0.0 {
            return Ok(top);
        }
        let (mut good, mut bad) = (low, top);
        let mut over_good = over(low)?;
        if over_good > 0.0 {
            // Not what a queue usually does; look at the curve as it is.
            let mut found = None;
            for step in (1..GRID).rev() {
                let rate = low + (top - low) * f64::from(step) / f64::from(GRID);
                let there = over(rate)?;
                if there <= 0.0 {
                    found = Some((rate, there));
                    break;
                }
                (bad, over_bad) = (rate, there);
            }
            let Some((rate, there)) = found else {
                let best_ms = match (field, target.of) {
                    ("targets.itl", Statistic::Mean) => self.at(low)?.itl_ms,
                    (_, Statistic::Mean) => self.at(low)?.ttft_ms,
                    ("targets.itl", Statistic::Percentile(share)) => self.itl_percentile(low, share)?,
                    (_, Statistic::Percentile(share)) => self.ttft_percentile(low, share)?,
                };
                return Err(QueueError::Unreachable {
                    field,
                    target_ms: target.ms,
                    best_ms,
                });
            };
            (good, over_good) = (rate, there);
        }
        // False position with the Illinois weights, which is quick on smooth
        // curves; every third step halves, which is certain on any.
        let mut last_held = None;
        for step in 0..STEPS {
            if bad - good <= PRECISION * bad {
                break;
            }
            let line = (good * over_bad - bad * over_good) / (over_bad - over_good);
            let middle = if step % 3 != 2 && line > good && line < bad {
                line
            } else {
                0.5 * (good + bad)
            };
            let there = over(middle)?;
            if there <= 0.0 {
                (good, over_good) = (middle, there);
            } else {
                (bad, over_bad) = (middle, there);
            }
            // An end that stays twice counts half, or it would stay for ever.
            let held = there <= 0.0;
            if last_held == Some(held) {
                if held {
                    over_bad *= 0.5;
                } else {
                    over_good *= 0.5;
                }
            }
            last_held = Some(held);
        }
        Ok(good)
    }
}
