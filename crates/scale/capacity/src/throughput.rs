//! Throughput at the target: how many tokens per second a replica makes when it
//! is as full as it may be, against how many are asked for.
//!
//! The time between tokens grows with the share k of the KV cache in use,
//! nearly in a straight line: `ITL(k) = A k + B`. The line is fitted (least
//! squares) to what the replicas of a variant show. At the share where the
//! replica counts as full, `N = k KVmax / KVreq` requests run, each holding
//! `KVreq = I (1 - hit) + O/2` tokens on average, and make `N / ITL(k)` tokens
//! per second. Unlike a stock of tokens this sees a load that fills the
//! compute before the memory.
//!
//! The line is distrusted when replicas make other than it says, and has no
//! say until they agree again for a while.

mod line;
#[cfg(test)]
mod tests;

pub use line::{FitFrom, ThroughputMemory};

use crate::saturation::usable;
use crate::words;
use line::{Line, Sample};
use std::time::Duration;
use units::Instant;

/// The numbers the analysis goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThroughputPolicy {
    /// Samples a line is fitted to at most.
    pub window: usize,
    /// And at least.
    pub min_samples: usize,
    /// Between the lowest and highest share of them.
    pub min_spread: f64,
    /// Shares outside of these are not sampled: idle and full are not a line.
    pub shares: (f64, f64),
    /// Samples older than this are dropped.
    pub max_age: Duration,
    /// A change of the requests' length by more than this share starts anew.
    pub shape_change: f64,
    /// The share at which a replica counts as full.
    pub full_share: f64,
    /// B as long as nothing better is known, in milliseconds.
    pub assumed_base_ms: f64,
    /// What replicas make may differ from the line by this share.
    pub tolerance: f64,
    /// After so many passes within it the line is trusted again.
    pub good_passes: u32,
    /// More is needed above this share of all that is there or coming.
    pub scale_up: f64,
    /// What is above demand over this share is spare.
    pub scale_down: f64,
}

impl Default for ThroughputPolicy {
    fn default() -> Self {
        Self {
            window: 20,
            min_samples: 10,
            min_spread: 0.30,
            shares: (0.15, 0.85),
            max_age: Duration::from_secs(30 * 60),
            shape_change: 0.20,
            full_share: 0.80,
            assumed_base_ms: 6.0,
            tolerance: 0.15,
            good_passes: 3,
            scale_up: 0.85,
            scale_down: 0.70,
        }
    }
}

/// A variant as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct ThroughputVariant {
    /// Its name, unique in the model.
    pub name: String,
    /// Replicas that serve.
    pub ready: u32,
    /// Replicas on the way and expected to come.
    pub pending: u32,
    /// Tokens the KV cache of one replica holds.
    pub cache: Option<f64>,
    /// What its ready replicas say.
    pub replicas: Vec<ThroughputReplica>,
}

/// What one ready replica says. None: not known, or too old to count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThroughputReplica {
    /// Share of its KV cache in use, 0 to 1.
    pub kv: Option<f64>,
    /// Mean time between tokens, in milliseconds.
    pub itl_ms: Option<f64>,
    /// Tokens it generates per second.
    pub tokens: Option<f64>,
}

/// One model in one namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct ThroughputView {
    /// Namespace and model, as the memory tells models apart.
    pub namespace: String,
    /// Model name.
    pub model: String,
    /// Its variants, in any order.
    pub variants: Vec<ThroughputVariant>,
    /// Requests that arrive per second.
    pub arrivals: Option<f64>,
    /// Requests waiting, in front and in the engines.
    pub waiting: Option<f64>,
    /// Mean tokens of a prompt.
    pub input: Option<f64>,
    /// Mean tokens of an answer.
    pub output: Option<f64>,
    /// Share of the prompts found in the prefix cache.
    pub hit_rate: Option<f64>,
    /// Time between tokens not to be exceeded, in milliseconds.
    pub itl_target_ms: Option<f64>,
}

/// What one replica of a variant makes when full.
#[derive(Clone, Debug, PartialEq)]
pub struct VariantThroughput {
    /// The variant.
    pub name: String,
    /// Tokens per second; None when not known or not trusted.
    pub per_replica: Option<f64>,
    /// Where the line comes from.
    pub from: FitFrom,
    /// The time between tokens there, in milliseconds.
    pub itl_ms: Option<f64>,
    /// Requests that run there.
    pub requests: Option<f64>,
    /// Whether what the replicas make agrees with the line.
    pub trusted: bool,
    /// In a sentence.
    pub said: String,
}

/// What is asked of a model and what there is, in tokens per second.
#[derive(Clone, Debug, PartialEq)]
pub struct Throughput {
    /// Variants by name.
    pub variants: Vec<VariantThroughput>,
    /// Replicas there and coming.
    pub replicas: u32,
    /// What is ready.
    pub supply: f64,
    /// What is ready or coming.
    pub anticipated: f64,
    /// What is asked for.
    pub demand: f64,
    /// What is missing.
    pub required: f64,
    /// What could go.
    pub spare: f64,
    /// Whether enough is known to have a say.
    pub known: bool,
    /// Why, in a sentence.
    pub said: String,
}

/// Judges a model, and remembers what its replicas showed.
#[must_use]
pub fn analyze(
    policy: &ThroughputPolicy,
    view: &ThroughputView,
    memory: &mut ThroughputMemory,
    now: Instant,
) -> Throughput {
    let positive = |value: Option<f64>| usable(value).filter(|value| *value > 0.0);
    let lengths = usable(view.input).zip(positive(view.output));
    let held =
        lengths.map(|(input, output)| input * (1.0 - usable(view.hit_rate).unwrap_or(0.0).min(1.0)) + output / 2.0);
    let mut order: Vec<&ThroughputVariant> = view.variants.iter().collect();
    order.sort_by(|a, b| a.name.cmp(&b.name));
    let variants: Vec<VariantThroughput> = order
        .iter()
        .map(|variant| judge(policy, view, variant, lengths, held, memory, now))
        .collect();

    let sum = |count: fn(&ThroughputVariant) -> u32| -> f64 {
        order
            .iter()
            .zip(&variants)
            .map(|(variant, seen)| f64::from(count(variant)) * seen.per_replica.unwrap_or(0.0))
            .sum()
    };
    let supply = sum(|variant| variant.ready);
    let anticipated = sum(|variant| variant.ready.saturating_add(variant.pending));
    // Somebody who waits should have tokens within two steps of a full batch.
    let slowest = variants
        .iter()
        .filter_map(|variant| variant.itl_ms)
        .max_by(f64::total_cmp);
    let backlog = match (usable(view.waiting), slowest) {
        (Some(waiting), Some(itl)) => waiting / (2.0 * itl / 1e3),
        _ => 0.0,
    };
    let arriving = usable(view.arrivals)
        .zip(lengths)
        .map(|(rate, (_, output))| rate * output);
    let demand = arriving.unwrap_or(0.0) + backlog;
    let silent = order
        .iter()
        .zip(&variants)
        .find(|(variant, seen)| variant.ready.saturating_add(variant.pending) > 0 && seen.per_replica.is_none());
    let missing = if arriving.is_none() {
        Some("the arrivals or the lengths of requests are not known".to_owned())
    } else if let Some((_, seen)) = silent {
        Some(seen.said.clone())
    } else if variants.iter().all(|seen| seen.per_replica.is_none()) {
        Some("nobody knows what a replica makes".to_owned())
    } else {
        None
    };
    let known = missing.is_none();
    // A backlog that is not known may be there.
    let spare = if known && usable(view.waiting).is_some() {
        (supply - demand / policy.scale_down).max(0.0)
    } else {
        0.0
    };
    let required = if known {
        (demand / policy.scale_up - anticipated).max(0.0)
    } else {
        0.0
    };
    let said = match missing {
        Some(why) => format!("no say: {why}"),
        None => format!(
            "{} tokens/s asked for of {}; {} missing, {} spare",
            words::number(demand),
            words::number(supply),
            words::number(required),
            words::number(spare)
        ),
    };
    Throughput {
        replicas: order
            .iter()
            .map(|variant| variant.ready.saturating_add(variant.pending))
            .fold(0, u32::saturating_add),
        variants,
        supply,
        anticipated,
        demand,
        required,
        spare,
        known,
        said,
    }
}

fn judge(
    policy: &ThroughputPolicy,
    view: &ThroughputView,
    variant: &ThroughputVariant,
    lengths: Option<(f64, f64)>,
    held: Option<f64>,
    memory: &mut ThroughputMemory,
    now: Instant,
) -> VariantThroughput {
    let key = (view.namespace.clone(), view.model.clone(), variant.name.clone());
    let learnt = memory.of(key, now);
    if let Some(shape) = lengths {
        learnt.reshape(shape, policy.shape_change);
    }
    learnt.expire(policy.max_age, now);
    for replica in &variant.replicas {
        if let (Some(share), Some(itl_ms)) = (usable(replica.kv), usable(replica.itl_ms)) {
            learnt.sample(Sample { share, itl_ms, at: now }, policy);
        }
    }
    let (line, from) = learnt.line(policy, &variant.replicas);
    let nothing = |said: String, trusted| VariantThroughput {
        name: variant.name.clone(),
        per_replica: None,
        from,
        itl_ms: None,
        requests: None,
        trusted,
        said,
    };
    let (Some(line), Some(held), Some(cache)) = (line, held, usable(variant.cache).filter(|cache| *cache > 0.0)) else {
        let what = if line.is_none() {
            "no replica has shown a time between tokens under load"
        } else if held.is_none() {
            "the lengths of requests are not known"
        } else {
            "the size of the KV cache is not known"
        };
        return nothing(format!("{}: {what}", variant.name), true);
    };
    let slots = cache / held;
    // What the line says these replicas make now, and what they do make.
    let (mut says, mut makes) = (0.0, 0.0);
    for replica in &variant.replicas {
        if let (Some(share), Some(tokens)) = (usable(replica.kv), usable(replica.tokens))
            && (policy.shares.0..=policy.shares.1).contains(&share)
        {
            says += share * slots / (line.at(share) / 1e3);
            makes += tokens;
        }
    }
    let off = (says > 0.0).then(|| (makes / says - 1.0).abs());
    let trusted = learnt.trust(off, policy);
    if !trusted {
        return nothing(
            format!(
                "{}: replicas make {} tokens/s where the fit says {}",
                variant.name,
                words::number(makes),
                words::number(says)
            ),
            false,
        );
    }
    let full = policy.full_share;
    let share = match view.itl_target_ms.filter(|target| target.is_finite() && *target > 0.0) {
        Some(target) if line.at(full) > target => line.share_at(target),
        _ => Some(full),
    };
    let Some(share) = share else {
        let target = view.itl_target_ms.unwrap_or_default();
        return nothing(
            format!(
                "{}: even an idle replica takes more than {target} ms between tokens",
                variant.name
            ),
            true,
        );
    };
    let (requests, itl_ms) = (share * slots, line.at(share));
    let per_replica = requests / (itl_ms / 1e3);
    VariantThroughput {
        name: variant.name.clone(),
        per_replica: Some(per_replica),
        from,
        itl_ms: Some(itl_ms),
        requests: Some(requests),
        trusted,
        said: format!(
            "{}: {} requests at {} of the KV cache make {} tokens/s, {itl_ms:.1} ms apart",
            variant.name,
            words::number(requests),
            words::percent(share),
            words::number(per_replica)
        ),
    }
}

impl Line {
    /// The share at which the line reaches a time, if it does above idle.
    fn share_at(&self, itl_ms: f64) -> Option<f64> {
        let share = (itl_ms - self.base_ms) / self.slope_ms;
        (share.is_finite() && share > 0.0).then_some(share)
    }
}
