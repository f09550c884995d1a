//! What a gateway knows and publishes: true arrivals, queue, work in flight.
//!
//! Served as JSON at `GET /signals` on the gateway's admin address, and handed
//! over directly where gateway and autoscaler share a process. Counters only
//! grow while a gateway lives; [`GatewaySignals::started_unix_ms`] tells a
//! restart.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One gateway's view of all its pools, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GatewaySignals {
    /// When this gateway process began, unix milliseconds. Changes on restart.
    pub started_unix_ms: u64,
    /// When these numbers were true, unix milliseconds.
    pub at_unix_ms: u64,
    /// Counts the moments that are worth a decision at once: a request is held
    /// for a pool without endpoint, or twice as many wait as when it was last
    /// told. Absent from a gateway that does not count them. A reader that
    /// names the last it knows, `GET /signals?after=N&within_ms=M`, is answered
    /// when there is another, or after M milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moments: Option<u64>,
    /// How long such an answer was held back, milliseconds.
    #[serde(default)]
    pub waited_ms: u64,
    /// By pool, `namespace/name`.
    pub pools: BTreeMap<String, PoolSignals>,
}

impl GatewaySignals {
    /// The pools of `namespace` that serve `model`, with their names.
    pub fn pools_of<'a>(
        &'a self,
        namespace: &str,
        model: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a PoolSignals)> + use<'a> {
        let prefix = format!("{namespace}/");
        let pools = self.pools.range(prefix.clone()..);
        pools
            .take_while(move |(name, _)| name.starts_with(&prefix))
            .filter(move |(_, pool)| pool.models.iter().any(|have| have == model))
    }
}

/// One pool, as its gateway sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PoolSignals {
    /// Model names clients may use for this pool.
    pub models: Vec<String>,
    /// Requests accepted for this pool since start (counter).
    pub arrived: u64,
    /// Requests that ended with a complete answer since start (counter).
    pub completed: u64,
    /// Requests that ended otherwise since start, by outcome:
    /// `queue_full`, `deadline`, `cancelled`, `upstream_error` (counters).
    pub failed: BTreeMap<String, u64>,
    /// Prompt tokens of completed requests, from response usage (counter).
    pub prompt_tokens: u64,
    /// Generated tokens (streamed chunks or response usage) since start (counter).
    pub output_tokens: u64,
    /// Requests waiting now.
    pub queued: u64,
    /// How long the oldest of them has waited, milliseconds; absent when none waits.
    pub oldest_wait_ms: Option<u64>,
    /// Requests at endpoints now.
    pub in_flight: u64,
    /// By endpoint address `ip:port`.
    pub endpoints: BTreeMap<String, EndpointSignals>,
    /// Time to first token, milliseconds, from arrival at the gateway (so it includes the queue).
    pub ttft_ms: Histogram,
    /// Gaps between streamed chunks of one answer, milliseconds.
    pub itl_ms: Histogram,
    /// Time spent queued, milliseconds.
    pub queue_ms: Histogram,
}

/// One endpoint, as the gateway's own ledger has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndpointSignals {
    /// The Pod behind it.
    pub pod: String,
    /// Requests sent and not yet ended.
    pub in_flight: u64,
    /// Most requests the gateway sends at once.
    pub slots: u64,
    /// Requests sent since start (counter).
    pub sent: u64,
    /// Attempts that failed before the first byte since start (counter).
    pub failed: u64,
}

/// A cumulative histogram: counts per bucket since the gateway's start.
///
/// Bounds are the same for every histogram of ours ([`Histogram::bound_ms`]),
/// 24 per decade or finer where people have SLOs, so that a percentile of the
/// difference of two snapshots is within about 10 %.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Observations in each bucket; the last one is everything above the last
    /// bound. Empty means nothing was observed yet.
    pub counts: Vec<u64>,
    /// Sum of all observations, milliseconds.
    pub sum_ms: f64,
}

impl Histogram {
    /// Bucket bounds are `1.1^i * 0.1 ms` for `i` in `0..BUCKETS`: 0.1 ms to about 20 minutes.
    pub const BUCKETS: usize = 172;

    /// The upper bound of bucket `i`, milliseconds.
    #[must_use]
    pub fn bound_ms(i: usize) -> f64 {
        0.1 * 1.1_f64.powi(i32::try_from(i).unwrap_or(i32::MAX))
    }

    /// The bucket that `ms` falls into.
    #[must_use]
    pub fn bucket_of(ms: f64) -> usize {
        if ms <= 0.1 || ms.is_nan() {
            return 0;
        }
        let exact = (ms / 0.1).ln() / 1.1_f64.ln();
        (exact.ceil() as usize).min(Self::BUCKETS)
    }

    /// Counts one observation of `ms` milliseconds.
    pub fn record(&mut self, ms: f64) {
        if self.counts.is_empty() {
            self.counts = vec![0; Self::BUCKETS + 1];
        }
        let ms = if ms.is_finite() { ms.max(0.0) } else { 0.0 };
        self.counts[Self::bucket_of(ms)] += 1;
        self.sum_ms += ms;
    }

    /// How many observations there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What was observed after `earlier` was taken (a restart in between,
    /// seen as a shrinking count, gives all of `self`).
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        if earlier.counts.is_empty()
            || self.counts.len() != earlier.counts.len()
            || self.counts.iter().zip(&earlier.counts).any(|(now, then)| now < then)
        {
            return self.clone();
        }
        Self {
            counts: self
                .counts
                .iter()
                .zip(&earlier.counts)
                .map(|(now, then)| now - then)
                .collect(),
            sum_ms: (self.sum_ms - earlier.sum_ms).max(0.0),
        }
    }

    /// The smallest bucket bound at or below which a share `q` (0 to 1) of the
    /// observations lies, milliseconds; `None` when there is none.
    #[must_use]
    pub fn quantile_ms(&self, q: f64) -> Option<f64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let wanted = ((q.clamp(0.0, 1.0) * total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (i, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Some(Self::bound_ms(i.min(Self::BUCKETS - 1)));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_within_a_bucket_of_the_truth() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|ms| histogram.record(f64::from(ms)));
        let p99 = histogram.quantile_ms(0.99).unwrap();
        assert!((990.0..=990.0 * 1.1).contains(&p99), "{p99}");
    }

    #[test]
    fn nothing_observed_has_no_quantile() {
        assert_eq!(Histogram::default().quantile_ms(0.5), None);
    }

    #[test]
    fn a_difference_holds_only_what_came_between() {
        let mut histogram = Histogram::default();
        histogram.record(10.0);
        let earlier = histogram.clone();
        histogram.record(500.0);
        let between = histogram.since(&earlier);
        assert_eq!(between.count(), 1);
        assert!(between.quantile_ms(0.5).unwrap() >= 500.0);
    }

    #[test]
    fn absurd_values_land_in_the_last_bucket() {
        let mut histogram = Histogram::default();
        histogram.record(1e12);
        histogram.record(f64::NAN);
        assert_eq!(histogram.count(), 2);
    }
}
