//! Saturation in tokens: what the replicas of a model hold and have waiting,
//! against what they can hold.
//!
//! A replica is bounded twice. Its memory holds k1 tokens: the KV cache times
//! the threshold. Its compute keeps up with a batch of k2 tokens, which may be
//! less; k2 shows only when requests wait although memory is left, and is then
//! remembered per model, accelerator, GPUs and length of answers. What the
//! engine's arguments say stands in until it has been seen.
//!
//! Required and spare capacity are in tokens: demand over the upper bound
//! against all that is there or coming, and what is ready against demand over
//! the lower bound. Without full coverage nothing is spare.

mod estimate;
mod memory;
#[cfg(test)]
mod tests;

pub use memory::TokenMemory;

use super::engine_args::EngineArgs;
use super::{EDGE, Mode, usable};
use crate::words;
use estimate::Estimator;
use std::time::Duration;
use units::Instant;

/// The numbers an analysis goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenPolicy {
    /// Share of the KV cache that may be filled, above 0, at most 1.
    pub kv_threshold: f64,
    /// With this many requests waiting an engine is at its limit.
    pub queue_threshold: f64,
    /// More is needed above this share of all that is there or coming.
    pub scale_up: f64,
    /// What is above demand over this share is spare; below `scale_up`.
    pub scale_down: f64,
    /// An engine with room in memory is at its limit only after this many
    /// observations alike. [`Mode::Guarded`] only.
    pub settle_observations: u32,
    /// And only after this long. [`Mode::Guarded`] only.
    pub settle_time: Duration,
}

impl Default for TokenPolicy {
    fn default() -> Self {
        Self {
            kv_threshold: 0.80,
            queue_threshold: 5.0,
            scale_up: 0.85,
            scale_down: 0.70,
            settle_observations: 3,
            settle_time: Duration::from_secs(20),
        }
    }
}

/// One model in one namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenView {
    /// Model name.
    pub model: String,
    /// Namespace of its variants.
    pub namespace: String,
    /// Its variants, in any order.
    pub variants: Vec<TokenVariant>,
    /// What waits in front of the replicas.
    pub queue: FrontQueue,
}

/// What waits in front of the replicas.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FrontQueue {
    /// There is no queue in front.
    Absent,
    /// There is one, and it does not answer.
    Silent,
    /// There is one, and it answers.
    Waiting {
        /// Requests in it.
        requests: f64,
        /// Their bytes.
        bytes: f64,
        /// Share of their prompts expected in the prefix cache.
        hit_rate: Option<f64>,
    },
}

/// A variant as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenVariant {
    /// Its name, unique in the model.
    pub name: String,
    /// What it runs on, if that is known.
    pub accelerator: Option<String>,
    /// GPUs of one replica, if that is known. Where it is not, what is seen of
    /// this variant says nothing of another.
    pub gpus: Option<u32>,
    /// Cost of one replica per hour, from its specification.
    pub cost: f64,
    /// Replicas that serve.
    pub ready: u32,
    /// Replicas on the way and expected to come.
    pub pending: u32,
    /// What its engine is told, if its template is known.
    pub engine: Option<EngineArgs>,
    /// What its ready replicas say.
    pub replicas: Vec<TokenReplica>,
}

/// What one ready replica says. None: not known, or too old to count.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenReplica {
    /// Its name.
    pub name: String,
    /// Tokens its KV cache holds.
    pub cache: Option<f64>,
    /// Of these, in use.
    pub in_use: Option<f64>,
    /// Requests waiting inside the engine.
    pub waiting: Option<f64>,
    /// Mean tokens of a prompt.
    pub input: Option<f64>,
    /// Mean tokens of an answer.
    pub output: Option<f64>,
}

/// Where a variant's capacity per replica comes from, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapacityFrom {
    /// Its replicas report it now.
    Reported,
    /// They reported it before.
    Remembered,
    /// It follows from the engine's arguments.
    Derived,
    /// Replicas of another variant with the same engine and hardware reported it.
    Similar,
    /// The tokens of one iteration stand in: rough.
    Budget,
    /// Nothing tells.
    Unknown,
}

/// A variant, and what one replica of it can hold.
#[derive(Clone, Debug, PartialEq)]
pub struct VariantCapacity {
    /// Its name.
    pub name: String,
    /// Tokens one replica can hold; 0 when unknown.
    pub per_replica: f64,
    /// Who says so.
    pub from: CapacityFrom,
    /// Replicas that report.
    pub reporting: u32,
    /// Tokens held and waiting, silent replicas counted as busy as the others.
    pub demand: f64,
    /// Cost of one replica per hour.
    pub cost: f64,
    /// Replicas that serve.
    pub ready: u32,
    /// Replicas on the way.
    pub pending: u32,
}

/// What is asked of a model and what there is, in tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenAnalysis {
    /// Variants by name.
    pub variants: Vec<VariantCapacity>,
    /// What is ready.
    pub supply: f64,
    /// What is ready or coming.
    pub anticipated: f64,
    /// What is asked for.
    pub demand: f64,
    /// Demand over supply; None without supply.
    pub utilisation: Option<f64>,
    /// Share of the ready replicas that report.
    pub coverage: f64,
    /// What is missing.
    pub required: f64,
    /// What could go.
    pub spare: f64,
    /// Whether anything is known on which to decide.
    pub known: bool,
    /// Why, in sentences.
    pub said: Vec<String>,
}

/// Judges a model, and remembers what its replicas showed.
#[must_use]
pub fn analyze(
    policy: &TokenPolicy,
    mode: Mode,
    view: &TokenView,
    memory: &mut TokenMemory,
    now: Instant,
) -> TokenAnalysis {
    memory.expire(now);
    let mut said = Vec::new();
    let lengths = Lengths::of(view);
    let mut estimator = Estimator {
        policy,
        mode,
        view,
        lengths,
        memory,
        now,
    };
    let mut sorted: Vec<&TokenVariant> = view.variants.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));

    let mut variants = Vec::with_capacity(sorted.len());
    let (mut at_limit, mut memory_only) = (0, Vec::new());
    for variant in &sorted {
        let measured: Vec<estimate::Measured> = variant
            .replicas
            .iter()
            .filter_map(|replica| estimator.measure(variant, replica))
            .collect();
        at_limit += measured.iter().filter(|replica| replica.at_limit).count();
        if mode == Mode::Guarded && measured.iter().any(|replica| replica.memory_only) {
            memory_only.push(variant.name.clone());
        }
        let capacities: Vec<f64> = measured.iter().map(|replica| replica.capacity).collect();
        let (per_replica, from) = if measured.is_empty() {
            (0.0, CapacityFrom::Unknown)
        } else {
            (median(&capacities), CapacityFrom::Reported)
        };
        variants.push(VariantCapacity {
            name: variant.name.clone(),
            per_replica,
            from,
            reporting: u32::try_from(measured.len()).unwrap_or(u32::MAX),
            demand: measured.iter().map(|replica| replica.demand).sum(),
            cost: variant.cost,
            ready: variant.ready,
            pending: variant.pending,
        });
    }
    // Only now does the memory hold what every variant of this pass showed.
    for (variant, out) in sorted.iter().zip(&mut variants) {
        if out.reporting == 0 {
            (out.per_replica, out.from) = estimator.unseen(variant);
        }
    }

    let reporting = |v: &VariantCapacity| v.reporting.min(v.ready);
    let ready: u32 = variants.iter().map(|v| v.ready).fold(0, u32::saturating_add);
    let heard: u32 = variants.iter().map(reporting).fold(0, u32::saturating_add);
    let coverage = if ready == 0 {
        1.0
    } else {
        f64::from(heard) / f64::from(ready)
    };
    if mode == Mode::Guarded && coverage < 1.0 {
        fill_silence(&mut variants);
        said.push(format!(
            "{heard} of {ready} ready replicas report: the silent ones count as busy as the others, and none is spare"
        ));
    }
    let total = |count: fn(&VariantCapacity) -> u32| -> f64 {
        variants.iter().map(|v| f64::from(count(v)) * v.per_replica).sum()
    };
    let supply = total(|v| v.ready);
    let anticipated = total(|v| v.ready.saturating_add(v.pending));
    let queued = queue_demand(view.queue, lengths);
    let demand = variants.iter().map(|v| v.demand).sum::<f64>() + queued.unwrap_or(0.0);
    let known = ready == 0 || heard > 0 || queued.is_some_and(|tokens| tokens > 0.0);

    let required = (demand / policy.scale_up - anticipated).max(0.0);
    let mut spare = (supply - demand / policy.scale_down).max(0.0);
    if mode == Mode::Guarded {
        let mut keep = |holds: bool, why: &str| {
            if holds && spare > 0.0 {
                spare = 0.0;
                said.push(why.to_owned());
            }
        };
        keep(coverage < 1.0 - EDGE || !known, "nothing goes below full coverage");
        keep(
            at_limit > 0,
            "nothing goes while a replica is at its limit, whatever the sum says",
        );
        keep(
            matches!(view.queue, FrontQueue::Silent),
            "nothing goes while the queue in front is silent",
        );
        keep(
            variants
                .iter()
                .any(|v| v.ready > 0 && !matches!(v.from, CapacityFrom::Reported | CapacityFrom::Remembered)),
            "nothing goes while nobody has seen what a replica holds",
        );
        let of = |from: &[CapacityFrom]| -> Vec<String> {
            let coming = variants.iter().filter(|v| v.ready.saturating_add(v.pending) > 0);
            coming
                .filter(|v| from.contains(&v.from))
                .map(|v| v.name.clone())
                .collect()
        };
        let mut tell = |names: Vec<String>, what: &str| {
            if !names.is_empty() {
                said.push(format!("{}: {what}", words::some_of(&names)));
            }
        };
        tell(
            memory_only,
            "only memory bounds it, as measured; no batch has been seen at its limit, and no engine argument \
             (--max-num-batched-tokens, --max-num-seqs) tells one",
        );
        tell(
            of(&[CapacityFrom::Derived, CapacityFrom::Similar, CapacityFrom::Budget]),
            "nothing was seen of it yet; what its engine's arguments say stands in",
        );
        tell(
            of(&[CapacityFrom::Unknown]),
            "nothing was seen of it yet, so its slots count as much as those of the others; its server should \
             publish its KV cache (vllm:cache_config_info with num_gpu_blocks and block_size)",
        );
    }
    let utilisation = (supply > 0.0).then(|| demand / supply);
    said.insert(
        0,
        match utilisation {
            Some(share) => format!(
                "{} of {} tokens asked for ({}); {} missing, {} spare",
                words::number(demand),
                words::number(supply),
                words::percent(share),
                words::number(required),
                words::number(spare)
            ),
            None => format!("{} tokens asked for, nothing ready", words::number(demand)),
        },
    );
    TokenAnalysis {
        variants,
        supply,
        anticipated,
        demand,
        utilisation,
        coverage,
        required,
        spare,
        known,
        said,
    }
}

/// Silent replicas are as busy as those of their variant that report, or, if
/// none does, as full as the model is on average.
fn fill_silence(variants: &mut [VariantCapacity]) {
    for variant in variants.iter_mut() {
        if variant.reporting > 0 && variant.reporting < variant.ready {
            variant.demand *= f64::from(variant.ready) / f64::from(variant.reporting);
        }
    }
    let (held, holds) = variants
        .iter()
        .filter(|v| v.reporting > 0)
        .fold((0.0, 0.0), |(held, holds), v| {
            (held + v.demand, holds + f64::from(v.ready) * v.per_replica)
        });
    if holds > 0.0 {
        for variant in variants.iter_mut().filter(|v| v.reporting == 0) {
            variant.demand = held / holds * f64::from(variant.ready) * variant.per_replica;
        }
    }
}

/// Mean lengths over the replicas that tell them.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    input: Option<f64>,
    output: Option<f64>,
}

impl Lengths {
    fn of(view: &TokenView) -> Self {
        let mean = |of: fn(&TokenReplica) -> Option<f64>| {
            let known: Vec<f64> = view
                .variants
                .iter()
                .flat_map(|variant| &variant.replicas)
                .filter_map(|replica| usable(of(replica)).filter(|tokens| *tokens > 0.0))
                .collect();
            (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
        };
        Self {
            input: mean(|replica| replica.input),
            output: mean(|replica| replica.output),
        }
    }
}

/// Tokens the queue in front stands for. A token is about four bytes.
fn queue_demand(queue: FrontQueue, lengths: Lengths) -> Option<f64> {
    const BYTES_PER_TOKEN: f64 = 4.0;
    let FrontQueue::Waiting {
        requests,
        bytes,
        hit_rate,
    } = queue
    else {
        return None;
    };
    let requests = usable(Some(requests))?;
    let bytes = usable(Some(bytes)).unwrap_or(0.0);
    let hit = usable(hit_rate).unwrap_or(0.0).min(1.0);
    let input = (bytes / BYTES_PER_TOKEN).max(requests * lengths.input.unwrap_or(0.0));
    Some(input * (1.0 - hit) + requests * lengths.output.unwrap_or(0.0))
}

/// The middle one, or the mean of the middle two; 0 of none.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    match n {
        0 => 0.0,
        _ if n % 2 == 1 => sorted[n / 2],
        _ => ((sorted[n / 2 - 1] + sorted[n / 2]) / 2.0).trunc(),
    }
}
