//! One replica as a queue: what latency it gives at a rate, and what rate it
//! stands for given latencies.
//!
//! The replica is a finite birth-death chain, M/M(n)/1/K: requests arrive at
//! random (Poisson), at most `max_batch` are served together, `max_queue` more
//! wait, the rest is lost, and the rate at which requests leave depends on how
//! many are in the batch ([`ServiceTime`]).
//!
//! Two ways to read a latency off the chain ([`Averaging`]):
//! - [`AsPublished`](Averaging::AsPublished) is the predecessor's mean-value
//!   reading, so that its figures can be compared with. Prefill is taken at
//!   the mean batch over all time, idle time included; at low load that mean
//!   is below one request, and TTFT comes out too low.
//! - [`Busy`](Averaging::Busy), the default, takes prefill at the mean batch
//!   while anything is served, E\[n | n >= 1\], so an idle replica costs what
//!   one request alone costs. ITL follows from the same mean service time.
//!
//! Everything else is the same in both: the chain, the throughput, the wait,
//! the loss (which the predecessor does not tell), the percentiles, and the
//! sizing. The predecessor's sizing guesses the direction of a curve from its
//! end points and fails for a generous target on a flat or falling curve; ours
//! answers the highest rate at which the target holds, whatever the shape.

mod chain;
mod latency;
mod size;
#[cfg(test)]
mod tests;

pub use latency::Performance;
pub use size::{Binding, Sizing, Statistic, Target, Targets};

use chain::{Chain, Departures};
use std::fmt;

/// Largest batch a model is solved for.
const MAX_BATCH: u32 = 65_536;
/// Longest queue a model is solved for.
const MAX_QUEUE: u32 = 1_048_576;
/// Share of the slowest and the fastest service rate kept clear of at the ends
/// of the range of rates.
const RANGE_MARGIN: f64 = 0.001;

/// Tokens of a typical request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Workload {
    /// Prompt tokens, at least 0.
    pub input_tokens: f64,
    /// Generated tokens, at least 1.
    pub output_tokens: f64,
}

/// How long an iteration takes, by what is in the batch. All in milliseconds,
/// none negative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ServiceTime {
    /// Three parameters: an iteration over n requests of I input and O output
    /// tokens takes `alpha + n (beta (I+O)/(O+1) + gamma (I + O/2))`; prefill
    /// adds `(beta + gamma) I`, a decode step `beta + gamma (I + O/2)`.
    Iteration {
        /// Fixed time of an iteration.
        alpha_ms: f64,
        /// Compute time of a token.
        beta_ms: f64,
        /// Memory time of a token in the KV cache.
        gamma_ms: f64,
    },
    /// The older four parameters: prefill takes `gamma + delta I n`, a decode
    /// step `alpha + beta n`.
    PrefillDecode {
        /// Fixed time of a decode step.
        alpha_ms: f64,
        /// Time a request in the batch adds to a decode step.
        beta_ms: f64,
        /// Fixed time of a prefill.
        gamma_ms: f64,
        /// Time an input token of a request in the batch adds to a prefill.
        delta_ms: f64,
    },
}

impl ServiceTime {
    /// Time until the prompt of one request in a batch of `n` is read, in
    /// milliseconds; 0 without a prompt.
    #[must_use]
    pub fn prefill_ms(&self, n: f64, load: Workload) -> f64 {
        if load.input_tokens <= 0.0 {
            return 0.0;
        }
        match *self {
            Self::Iteration { beta_ms, gamma_ms, .. } => {
                self.iteration_ms(n, load) + (beta_ms + gamma_ms) * load.input_tokens
            }
            Self::PrefillDecode { gamma_ms, delta_ms, .. } => gamma_ms + delta_ms * load.input_tokens * n,
        }
    }

    /// Time of one decode step in a batch of `n`, in milliseconds.
    #[must_use]
    pub fn decode_ms(&self, n: f64, load: Workload) -> f64 {
        match *self {
            Self::Iteration { beta_ms, gamma_ms, .. } => {
                self.iteration_ms(n, load) + beta_ms + gamma_ms * (load.input_tokens + load.output_tokens / 2.0)
            }
            Self::PrefillDecode { alpha_ms, beta_ms, .. } => alpha_ms + beta_ms * n,
        }
    }

    fn iteration_ms(&self, n: f64, load: Workload) -> f64 {
        let (i, o) = (load.input_tokens, load.output_tokens);
        match *self {
            Self::Iteration {
                alpha_ms,
                beta_ms,
                gamma_ms,
            } => alpha_ms + n * (beta_ms * (i + o) / (o + 1.0) + gamma_ms * (i + o / 2.0)),
            Self::PrefillDecode { .. } => 0.0,
        }
    }

    /// Decode steps after the prefill. The three-parameter model counts the
    /// first token as a step of its own, the older one as part of the prefill.
    pub(crate) fn steps(&self, load: Workload) -> f64 {
        match self {
            Self::Iteration { .. } => load.output_tokens,
            // A request without prompt and of one token is one step, not none.
            Self::PrefillDecode { .. } if load.input_tokens <= 0.0 && load.output_tokens <= 1.0 => 1.0,
            Self::PrefillDecode { .. } => load.output_tokens - 1.0,
        }
    }

    fn parameters(&self) -> [(&'static str, f64); 4] {
        match *self {
            Self::Iteration {
                alpha_ms,
                beta_ms,
                gamma_ms,
            } => [
                ("service.alphaMs", alpha_ms),
                ("service.betaMs", beta_ms),
                ("service.gammaMs", gamma_ms),
                ("service.gammaMs", gamma_ms),
            ],
            Self::PrefillDecode {
                alpha_ms,
                beta_ms,
                gamma_ms,
                delta_ms,
            } => [
                ("service.alphaMs", alpha_ms),
                ("service.betaMs", beta_ms),
                ("service.gammaMs", gamma_ms),
                ("service.deltaMs", delta_ms),
            ],
        }
    }
}

/// Which mean a latency is read at; see the module's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Averaging {
    /// Over the time in which anything is served.
    #[default]
    Busy,
    /// Over all time, as the predecessor does.
    AsPublished,
}

/// One replica, as the model sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Replica {
    /// Most requests served together.
    pub max_batch: u32,
    /// Most requests waiting beside them; the predecessor takes ten batches.
    pub max_queue: u32,
    /// How long things take.
    pub service: ServiceTime,
    /// What is asked for.
    pub load: Workload,
    /// How means are read.
    pub averaging: Averaging,
}

/// What is wrong with a model or a question to it.
#[derive(Clone, Debug, PartialEq)]
pub enum QueueError {
    /// A field cannot be used.
    Invalid {
        /// The field's path.
        field: &'static str,
        /// Its value.
        value: f64,
        /// What must hold.
        rule: &'static str,
    },
    /// No rate in the range meets the target.
    Unreachable {
        /// The target's field.
        field: &'static str,
        /// What it asks for, in milliseconds.
        target_ms: f64,
        /// The best there is, of the mean or the percentile, in milliseconds.
        best_ms: f64,
    },
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { field, value, rule } => write!(f, "{field} is {value}: it {rule}"),
            Self::Unreachable {
                field,
                target_ms,
                best_ms,
            } => write!(
                f,
                "{field} asks for {target_ms} ms, and one replica gives {best_ms:.1} ms even when nearly idle: \
                 raise the target or serve the model on a faster accelerator"
            ),
        }
    }
}

impl std::error::Error for QueueError {}

pub(crate) fn check(field: &'static str, value: f64, holds: bool, rule: &'static str) -> Result<(), QueueError> {
    if holds {
        Ok(())
    } else {
        Err(QueueError::Invalid { field, value, rule })
    }
}

/// A replica whose service rates are known for every batch.
#[derive(Clone, Debug)]
pub struct QueueModel {
    replica: Replica,
    departures: Departures,
}

impl QueueModel {
    /// Makes the model.
    ///
    /// # Errors
    /// A field out of its range, with its path.
    pub fn new(replica: Replica) -> Result<Self, QueueError> {
        let Replica {
            max_batch,
            max_queue,
            service,
            load,
            ..
        } = replica;
        check(
            "maxBatch",
            f64::from(max_batch),
            (1..=MAX_BATCH).contains(&max_batch),
            "must be 1 to 65536",
        )?;
        check(
            "maxQueue",
            f64::from(max_queue),
            max_queue <= MAX_QUEUE,
            "must be at most 1048576",
        )?;
        let (i, o) = (load.input_tokens, load.output_tokens);
        check(
            "load.inputTokens",
            i,
            i.is_finite() && i >= 0.0,
            "must be a number of at least 0",
        )?;
        check(
            "load.outputTokens",
            o,
            o.is_finite() && o >= 1.0,
            "must be a number of at least 1",
        )?;
        for (field, value) in service.parameters() {
            check(
                field,
                value,
                value.is_finite() && value >= 0.0,
                "must be milliseconds of at least 0",
            )?;
        }
        let rates: Vec<f64> = (1..=max_batch)
            .map(|n| {
                let n = f64::from(n);
                n / (service.prefill_ms(n, load) + service.steps(load) * service.decode_ms(n, load))
            })
            .collect();
        for &rate in &rates {
            check(
                "service",
                rate,
                rate.is_normal() && rate > 0.0,
                "gives a service rate that is no number: a request must take some time, and not for ever",
            )?;
        }
        Ok(Self {
            replica,
            departures: Departures::new(rates),
        })
    }

    /// What was modelled.
    #[must_use]
    pub const fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The lowest rate sizing looks at, in requests per second.
    #[must_use]
    pub fn min_rate(&self) -> f64 {
        RANGE_MARGIN * self.departures.single() * 1e3
    }

    /// The highest rate a replica stands, in requests per second: just below
    /// what a full batch works off.
    #[must_use]
    pub fn max_rate(&self) -> f64 {
        // Where the batch slows requests down more than it shares, the full
        // batch is slower than one request, and the range must not be empty.
        ((1.0 - RANGE_MARGIN) * self.departures.full() * 1e3).max(self.min_rate())
    }

    /// What happens at `rate` requests per second. Beyond
    /// [`max_rate`](Self::max_rate) the queue is full most of the time and the
    /// loss says by how much the rate is too high.
    ///
    /// # Errors
    /// A rate that is not a number above 0.
    pub fn at(&self, rate: f64) -> Result<Performance, QueueError> {
        Ok(Performance::read(self, &self.chain(rate)?))
    }

    /// The share of accepted requests that wait longer than `wait_ms`
    /// milliseconds for their place in the batch: the states an accepted
    /// arrival finds (PASTA), each with an Erlang tail. Exact for the chain.
    ///
    /// # Errors
    /// As [`at`](Self::at).
    pub fn wait_beyond(&self, rate: f64, wait_ms: f64) -> Result<f64, QueueError> {
        Ok(self.chain(rate)?.wait_beyond(wait_ms))
    }

    /// The share of accepted requests whose first token takes longer than
    /// `ttft_ms` milliseconds. The wait is exact for the chain; the prefill is
    /// taken as fixed by the batch the request joins.
    ///
    /// # Errors
    /// As [`at`](Self::at).
    pub fn ttft_beyond(&self, rate: f64, ttft_ms: f64) -> Result<f64, QueueError> {
        Ok(latency::ttft_beyond(self, &self.chain(rate)?, ttft_ms))
    }

    /// The share of tokens that come longer than `itl_ms` milliseconds after
    /// the one before, by the batch they are made in.
    ///
    /// # Errors
    /// As [`at`](Self::at).
    pub fn itl_beyond(&self, rate: f64, itl_ms: f64) -> Result<f64, QueueError> {
        Ok(latency::itl_beyond(self, &self.chain(rate)?, itl_ms))
    }

    /// The wait that `share` of the accepted requests (0.95: the 95th
    /// percentile) do not exceed, in milliseconds; see
    /// [`wait_beyond`](Self::wait_beyond).
    ///
    /// # Errors
    /// As [`at`](Self::at), and a share not between 0 and 1.
    pub fn wait_percentile(&self, rate: f64, share: f64) -> Result<f64, QueueError> {
        let chain = self.chain_for(rate, share)?;
        Ok(latency::percentile(share, |ms| chain.wait_beyond(ms)))
    }

    /// The time to the first token that `share` of the accepted requests do
    /// not exceed, in milliseconds; see [`ttft_beyond`](Self::ttft_beyond).
    ///
    /// # Errors
    /// As [`wait_percentile`](Self::wait_percentile).
    pub fn ttft_percentile(&self, rate: f64, share: f64) -> Result<f64, QueueError> {
        let chain = self.chain_for(rate, share)?;
        Ok(latency::percentile(share, |ms| latency::ttft_beyond(self, &chain, ms)))
    }

    /// The time between tokens that `share` of the tokens do not exceed, in
    /// milliseconds; see [`itl_beyond`](Self::itl_beyond).
    ///
    /// # Errors
    /// As [`wait_percentile`](Self::wait_percentile).
    pub fn itl_percentile(&self, rate: f64, share: f64) -> Result<f64, QueueError> {
        let chain = self.chain_for(rate, share)?;
        Ok(latency::percentile(share, |ms| latency::itl_beyond(self, &chain, ms)))
    }

    fn chain_for(&self, rate: f64, share: f64) -> Result<Chain, QueueError> {
        check(
            "percentile",
            share,
            share > 0.0 && share < 1.0,
            "must be above 0 and below 1",
        )?;
        self.chain(rate)
    }

    pub(crate) fn chain(&self, rate: f64) -> Result<Chain, QueueError> {
        check(
            "rate",
            rate,
            rate.is_normal() && rate > 0.0 && rate < 1e12,
            "must be requests per second above 0",
        )?;
        Ok(Chain::solve(&self.departures, self.replica.max_queue, rate / 1e3))
    }
}
