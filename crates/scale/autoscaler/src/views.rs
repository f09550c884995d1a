//! Variants as they are shown: what each has, wants, and why.

use crate::configuration::ServiceLevel;
use crate::record::ExplanationRecord;
use crate::survey::{PodFacts, Variant};
use capacity::{ModelView, ReplicaState, ReplicaView};
use collect::ModelSignals;
use serde::Serialize;
use std::borrow::Cow;
use std::sync::Arc;
use units::{Instant, Signal};

/// One variant, now.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VariantView {
    /// Kind of the object: `VariantAutoscaling`, or the managed
    /// `HorizontalPodAutoscaler` or `ScaledObject` that stands for one.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Model name.
    pub model: String,
    /// What it runs on, if that is known.
    pub accelerator: Option<String>,
    /// Which controller owns it, if a label says so.
    pub controller_instance: Option<String>,
    /// Kind of what is scaled; empty if the object does not say.
    pub target_kind: String,
    /// Name of what is scaled; empty if the object does not say.
    pub target_name: String,
    /// Cost of one replica per hour; null if the object cannot be read.
    pub cost: Option<f64>,
    /// Least replicas; null if the object cannot be read.
    pub min: Option<u32>,
    /// Most replicas; null if the object cannot be read.
    pub max: Option<u32>,
    /// Replicas the target has; null if there is no target.
    pub current: Option<u32>,
    /// Replicas that are ready.
    pub ready: u32,
    /// Replicas decided; null if nothing was.
    pub desired: Option<u32>,
    /// Why, in a word.
    pub reason: String,
    /// Why, in a sentence.
    pub sentence: String,
    /// Each of its Pods.
    pub replicas: Vec<ReplicaRecord>,
    /// What the sources say of its model as a whole; null while no Pod of it
    /// can be asked.
    pub model_signals: Option<ModelRecord>,
    /// What is promised for its model, if a service class says so.
    pub slo: Option<ServiceLevel>,
    /// What ConfigMaps say of its model, a line for each.
    pub configured: Arc<[String]>,
    /// Whether series tell of it: what is in a namespace of another controller,
    /// or claims what another object has, is only shown.
    #[serde(skip)]
    pub in_series: bool,
    /// Everything behind the last decision on its model, if there was one.
    pub explanation: Option<Arc<ExplanationRecord>>,
}

/// A model as a whole, all its variants together.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelRecord {
    /// Requests that arrive per second.
    pub arrivals_per_second: Option<Measured>,
    /// Tokens of a prompt, mean.
    pub prompt_tokens: Option<Measured>,
    /// Tokens of an answer, mean.
    pub answer_tokens: Option<Measured>,
    /// Time to first token, milliseconds, mean.
    pub ttft_ms: Option<Measured>,
    /// Time between tokens, milliseconds, mean.
    pub itl_ms: Option<Measured>,
    /// Who does not tell its part of the arrivals.
    pub silent: Vec<String>,
}

impl ModelRecord {
    pub(crate) fn of(signals: &ModelSignals, now: Instant) -> Self {
        Self {
            arrivals_per_second: Measured::of(&signals.arrival_rate, now),
            prompt_tokens: Measured::of(&signals.prompt_tokens, now),
            answer_tokens: Measured::of(&signals.answer_tokens, now),
            ttft_ms: Measured::of(&signals.ttft_ms, now),
            itl_ms: Measured::of(&signals.itl_ms, now),
            silent: signals.silent.clone(),
        }
    }
}

/// One replica, now.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaRecord {
    /// Pod name.
    pub pod: Arc<str>,
    /// `ready`, `starting` or `unschedulable`.
    pub state: &'static str,
    /// The Pod's phase, or what its container waits for.
    pub phase: Arc<str>,
    /// `ip:port`, once it has an address.
    pub address: Option<Arc<str>>,
    /// Engine and the names its metrics were found under, once they were.
    pub engine: Option<Arc<str>>,
    /// Share of the KV cache in use, 0 to 1.
    pub kv_usage: Option<Measured>,
    /// Requests in the running batch.
    pub running: Option<Measured>,
    /// Requests waiting inside the engine.
    pub waiting: Option<Measured>,
    /// Requests the gateway has sent and not got back.
    pub in_flight: Option<Measured>,
    /// Most requests it is given at once.
    pub slots: Option<Measured>,
    /// Generated tokens per second.
    pub tokens_per_second: Option<Measured>,
    /// Why signals are missing, if any is.
    pub missing: Option<Cow<'static, str>>,
}

/// A value, its age and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// The value.
    pub value: f64,
    /// How old it is, milliseconds.
    pub age_ms: u64,
    /// The source: `gateway`, `replica` or `prometheus`.
    pub source: &'static str,
}

impl Measured {
    fn of(signal: &Signal<f64>, now: Instant) -> Option<Self> {
        let seen = signal.last()?;
        Some(Self {
            value: seen.value,
            age_ms: u64::try_from(now.since(seen.at).as_millis()).unwrap_or(u64::MAX),
            source: seen.source.as_str(),
        })
    }
}

/// Shows the Pods of `variant` with the signals that its model's view has of them.
pub(crate) fn replicas(
    variant: &Variant,
    model: Option<&ModelView>,
    engine_of: impl Fn(&str) -> Option<Arc<str>>,
    now: Instant,
) -> Vec<ReplicaRecord> {
    let seen = model.and_then(|model| model.variants.iter().find(|seen| seen.name == variant.name));
    let show = |pod: &Arc<PodFacts>| {
        let signals = seen.and_then(|seen| seen.replicas.iter().find(|replica| *replica.name == *pod.name));
        replica(pod, signals, engine_of(&pod.full_name), now)
    };
    variant.pods.iter().map(show).collect()
}

fn replica(pod: &PodFacts, signals: Option<&ReplicaView>, engine: Option<Arc<str>>, now: Instant) -> ReplicaRecord {
    let measured = |get: fn(&ReplicaView) -> &Signal<f64>| signals.and_then(|seen| Measured::of(get(seen), now));
    let missing = signals.filter(|_| pod.state == ReplicaState::Ready).and_then(|seen| {
        [&seen.kv, &seen.running, &seen.waiting]
            .into_iter()
            .find_map(|signal| match signal {
                Signal::Missing { why, .. } => Some(why.clone()),
                Signal::Observed(_) => None,
            })
    });
    ReplicaRecord {
        pod: pod.name.clone(),
        state: match &pod.state {
            ReplicaState::Ready => "ready",
            ReplicaState::Pending { .. } => "starting",
            ReplicaState::Failing { .. } => "failing",
            ReplicaState::Unschedulable { .. } => "unschedulable",
        },
        phase: pod.phase.clone(),
        address: pod.address.clone(),
        engine,
        kv_usage: measured(|seen| &seen.kv),
        running: measured(|seen| &seen.running),
        waiting: measured(|seen| &seen.waiting),
        in_flight: measured(|seen| &seen.in_flight),
        slots: measured(|seen| &seen.slots),
        tokens_per_second: measured(|seen| &seen.token_rate),
        missing,
    }
}
