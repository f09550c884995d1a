//! Saturation in percent as the predecessor judges it: the share of the KV
//! cache in use and the requests waiting inside the engine, per replica.
//!
//! Repeated to the last formula, faults included, so that it can be held beside
//! ours in the lab; nothing is scaled by it. The decision judges the same two
//! figures by rules of its own: all replicas and not only the healthy, silence
//! no health, nothing frozen.

use super::usable;
use std::collections::BTreeMap;

/// When a replica and when a model is full.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// A replica is saturated at this share of its KV cache, above 0, at most 1.
    pub kv: f64,
    /// A replica is saturated with this many requests waiting, above 0.
    pub waiting: f64,
    /// More is needed when on average no more than this share is spare.
    pub kv_spare: f64,
    /// More is needed when on average less than this many requests are spare.
    pub waiting_spare: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            kv: 0.80,
            waiting: 5.0,
            kv_spare: 0.10,
            waiting_spare: 3.0,
        }
    }
}

/// What one ready replica says. None: not known, or too old to count.
#[derive(Clone, Debug, PartialEq)]
pub struct Replica {
    /// The variant it belongs to.
    pub variant: String,
    /// Share of the KV cache in use, 0 to 1.
    pub kv: Option<f64>,
    /// Requests waiting inside the engine.
    pub waiting: Option<f64>,
}

/// A variant as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Its name, unique in the model.
    pub name: String,
    /// Cost of one replica per hour, from its specification.
    pub cost: f64,
    /// Replicas the target is asked for now.
    pub current: u32,
    /// Of these, on the way and expected to come.
    pub pending: u32,
    /// What was decided last, if anything was.
    pub desired: Option<u32>,
}

/// How full the model is.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// Replicas at or above a threshold.
    pub saturated: usize,
    /// Mean share of the KV cache that is spare below the threshold, over the
    /// replicas below both; 0 when there is none.
    pub spare_kv: f64,
    /// Mean requests that are spare below the threshold, over the same.
    pub spare_waiting: f64,
    /// Whether more is needed.
    pub up: bool,
    /// Whether one replica less would still do.
    pub down_safe: bool,
    /// Why, in a few words.
    pub said: &'static str,
}

/// What one variant should have.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The variant.
    pub variant: String,
    /// Replicas it should have.
    pub replicas: u32,
    /// Why, in a few words.
    pub why: &'static str,
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (n, sum) = values.fold((0_u32, 0.0), |(n, sum), value| (n + 1, sum + value));
    if n > 0 { sum / f64::from(n) } else { 0.0 }
}

/// Judges the replicas that reported.
#[must_use]
pub fn analyze(at: &Thresholds, replicas: &[Replica]) -> Analysis {
    // What is missing is 0 there.
    let figures: Vec<(f64, f64)> = replicas
        .iter()
        .map(|replica| {
            (
                usable(replica.kv).unwrap_or(0.0),
                usable(replica.waiting).unwrap_or(0.0),
            )
        })
        .collect();
    let healthy: Vec<(f64, f64)> = figures
        .iter()
        .copied()
        .filter(|(kv, waiting)| *kv < at.kv && *waiting < at.waiting)
        .collect();
    let n = healthy.len() as f64;
    let spare_kv = mean(healthy.iter().map(|(kv, _)| at.kv - kv));
    let spare_waiting = mean(healthy.iter().map(|(_, waiting)| at.waiting - waiting));
    let (short_kv, short_waiting) = (spare_kv < at.kv_spare, spare_waiting < at.waiting_spare);
    let after = |threshold: f64, spare: f64| threshold - (threshold - spare) * n / (n - 1.0);
    let down_safe = healthy.len() >= 2
        && after(at.kv, spare_kv) >= at.kv_spare
        && after(at.waiting, spare_waiting) >= at.waiting_spare;
    Analysis {
        saturated: figures.len() - healthy.len(),
        spare_kv,
        spare_waiting,
        up: !replicas.is_empty() && (short_kv || short_waiting),
        down_safe,
        said: match (short_kv, short_waiting) {
            (true, true) => "KV and queue spare low",
            (true, false) => "KV spare low",
            (false, true) => "queue spare low",
            (false, false) => "enough",
        },
    }
}

/// What each variant that reported should have, in the order given.
#[must_use]
pub fn targets(analysis: &Analysis, variants: &[Variant], replicas: &[Replica]) -> Vec<Target> {
    let mut reporting: BTreeMap<&str, u32> = BTreeMap::new();
    for replica in replicas {
        *reporting.entry(replica.variant.as_str()).or_default() += 1;
    }
    let target = |variant: &Variant, replicas: u32, why: &'static str| Target {
        variant: variant.name.clone(),
        replicas,
        why,
    };
    if reporting.is_empty() {
        return variants.iter().map(|v| target(v, v.current, "no analysis")).collect();
    }
    let analyzed: Vec<&Variant> = variants
        .iter()
        .filter(|v| reporting.contains_key(v.name.as_str()))
        .collect();
    let wish = |v: &Variant| v.desired.filter(|desired| *desired != 0 && *desired != v.current);
    let moving = analyzed
        .iter()
        .any(|v| wish(v).is_some() || reporting.get(v.name.as_str()) != Some(&v.current));
    if moving {
        return analyzed
            .iter()
            .map(|v| target(v, wish(v).unwrap_or(v.current), "frozen in transition"))
            .collect();
    }
    let mut targets: Vec<Target> = analyzed.iter().map(|v| target(v, v.current, "no change")).collect();
    let rank = |a: &usize, b: &usize| {
        let (a, b) = (analyzed[*a], analyzed[*b]);
        a.cost.total_cmp(&b.cost).then_with(|| a.name.cmp(&b.name))
    };
    if analysis.up {
        let cheapest = (0..analyzed.len()).filter(|&at| analyzed[at].pending == 0).min_by(rank);
        if let Some(at) = cheapest {
            targets[at].replicas += 1;
            targets[at].why = "one more on the cheapest";
        }
    } else if analysis.down_safe {
        let dearest = (0..analyzed.len()).filter(|&at| targets[at].replicas > 1).max_by(rank);
        if let Some(at) = dearest {
            targets[at].replicas -= 1;
            targets[at].why = "one less on the dearest";
        }
    }
    targets
}

#[cfg(test)]
mod tests;
