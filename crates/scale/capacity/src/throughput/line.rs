//! The line through what replicas have shown, and how far it is trusted.

use super::{ThroughputPolicy, ThroughputReplica};
use crate::saturation::usable;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use units::Instant;

/// Most variants remembered.
const MAX_VARIANTS: usize = 20_000;

/// Samples closer together than this are one: the newer.
const SAME_PLACE: f64 = 0.01;

/// Where a line comes from, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FitFrom {
    /// Fitted to samples of now.
    Fit,
    /// Fitted before; there are not enough samples now.
    LastFit,
    /// Through an assumed time of an idle replica and what is seen now.
    Assumed,
    /// There is none.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) share: f64,
    pub(super) itl_ms: f64,
    pub(super) at: Instant,
}

/// Time between tokens by the share of the KV cache in use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) slope_ms: f64,
    pub(super) base_ms: f64,
}

impl Line {
    pub(super) fn at(&self, share: f64) -> f64 {
        self.slope_ms * share + self.base_ms
    }
}

/// What is known of one variant.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Learnt {
    samples: VecDeque<Sample>,
    last: Option<Line>,
    shape: Option<(f64, f64)>,
    distrusted: bool,
    good: u32,
    used: Instant,
}

/// What earlier passes showed of all models. It never grows beyond a bound:
/// what was not asked about for longest goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ThroughputMemory {
    variants: BTreeMap<(String, String, String), Learnt>,
}

impl ThroughputMemory {
    /// Drops what is known of a variant that is gone.
    pub fn forget(&mut self, namespace: &str, model: &str, variant: &str) {
        self.variants
            .retain(|(n, m, v), _| (n.as_str(), m.as_str(), v.as_str()) != (namespace, model, variant));
    }

    pub(super) fn of(&mut self, key: (String, String, String), now: Instant) -> &mut Learnt {
        if self.variants.len() >= MAX_VARIANTS
            && !self.variants.contains_key(&key)
            && let Some(oldest) = self
                .variants
                .iter()
                .min_by_key(|(_, learnt)| learnt.used)
                .map(|(key, _)| key.clone())
        {
            self.variants.remove(&oldest);
        }
        let learnt = self.variants.entry(key).or_insert_with(|| Learnt {
            samples: VecDeque::new(),
            last: None,
            shape: None,
            distrusted: false,
            good: 0,
            used: now,
        });
        learnt.used = now;
        learnt
    }
}

impl Learnt {
    /// Requests of another length make another line.
    pub(super) fn reshape(&mut self, shape: (f64, f64), change: f64) {
        let moved = |was: f64, is: f64| (is - was).abs() > change * was.max(1.0);
        match self.shape {
            Some(was) if !moved(was.0, shape.0) && !moved(was.1, shape.1) => {}
            _ => {
                self.samples.clear();
                self.last = None;
                self.shape = Some(shape);
            }
        }
    }

    pub(super) fn expire(&mut self, max_age: Duration, now: Instant) {
        self.samples.retain(|sample| now.since(sample.at) <= max_age);
    }

    pub(super) fn sample(&mut self, sample: Sample, policy: &ThroughputPolicy) {
        let (low, high) = policy.shares;
        if sample.itl_ms > 0.0 && (low..=high).contains(&sample.share) {
            // Passes may come quickly: a window full of one place is no line.
            self.samples
                .retain(|other| (other.share - sample.share).abs() >= SAME_PLACE);
            self.samples.push_back(sample);
            while self.samples.len() > policy.window {
                self.samples.pop_front();
            }
        }
    }

    /// The best line there is.
    pub(super) fn line(
        &mut self,
        policy: &ThroughputPolicy,
        replicas: &[ThroughputReplica],
    ) -> (Option<Line>, FitFrom) {
        if let Some(line) = fit(&self.samples, policy) {
            self.last = Some(line);
            return (Some(line), FitFrom::Fit);
        }
        if let Some(line) = self.last {
            return (Some(line), FitFrom::LastFit);
        }
        // A line through an assumed idle time and the mean of what is seen.
        let (mut shares, mut times, mut n) = (0.0, 0.0, 0.0);
        for replica in replicas {
            if let (Some(share), Some(itl)) = (usable(replica.kv), usable(replica.itl_ms))
                && share >= policy.shares.0
                && itl > 0.0
            {
                shares += share;
                times += itl;
                n += 1.0;
            }
        }
        if n == 0.0 {
            return (None, FitFrom::Nothing);
        }
        let itl_ms = times / n;
        let base_ms = policy.assumed_base_ms.min(itl_ms);
        let line = Line {
            slope_ms: (itl_ms - base_ms) / (shares / n),
            base_ms,
        };
        (Some(line), FitFrom::Assumed)
    }

    /// Takes note of how far what replicas make is from the line, if that is
    /// known; whether the line is trusted.
    pub(super) fn trust(&mut self, off: Option<f64>, policy: &ThroughputPolicy) -> bool {
        match off {
            Some(off) if off > policy.tolerance => {
                self.distrusted = true;
                self.good = 0;
            }
            Some(_) if self.distrusted => {
                self.good += 1;
                self.distrusted = self.good < policy.good_passes;
            }
            _ => {}
        }
        !self.distrusted
    }
}

/// Least squares; None when the samples are too few, too close together, or
/// make a line that falls or starts below zero.
fn fit(samples: &VecDeque<Sample>, policy: &ThroughputPolicy) -> Option<Line> {
    let n = samples.len();
    if n < policy.min_samples.max(2) {
        return None;
    }
    let shares = || samples.iter().map(|sample| sample.share);
    let (low, high) = (shares().fold(f64::INFINITY, f64::min), shares().fold(0.0, f64::max));
    if high - low < policy.min_spread {
        return None;
    }
    let count = n as f64;
    let mean_share = shares().sum::<f64>() / count;
    let mean_itl = samples.iter().map(|sample| sample.itl_ms).sum::<f64>() / count;
    let (mut across, mut along) = (0.0, 0.0);
    for sample in samples {
        across += (sample.share - mean_share) * (sample.itl_ms - mean_itl);
        along += (sample.share - mean_share).powi(2);
    }
    let slope_ms = across / along;
    let base_ms = mean_itl - slope_ms * mean_share;
    (slope_ms.is_finite() && slope_ms >= 0.0 && base_ms > 0.0).then_some(Line { slope_ms, base_ms })
}
