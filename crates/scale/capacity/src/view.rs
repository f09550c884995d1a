//! What a decision looks at: one model, its variants, their replicas, and the
//! gateway in front.

use crate::saturation::engine_args::EngineArgs;
use std::time::Duration;
use units::{Instant, Signal, Source};

/// One model in one namespace, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelView {
    /// Model name.
    pub model: String,
    /// Namespace of its variants.
    pub namespace: String,
    /// What is promised to those who ask it, if anything is.
    pub slo: Option<Slo>,
    /// What the gateways in front know.
    pub gateway: GatewayView,
    /// Requests per second that arrive, as all replicas together count them
    /// (what they finish, and by how much those inside grow in number); what
    /// gateways count goes before.
    pub arrivals: Signal<f64>,
    /// Every way to serve it that may be scaled now.
    pub variants: Vec<VariantView>,
}

/// What is promised for a model: latencies that shall not be exceeded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slo {
    /// Time to the first token, milliseconds.
    pub ttft_ms: Option<f64>,
    /// Time between tokens (ITL, also TPOT), milliseconds.
    pub itl_ms: Option<f64>,
    /// The share of the requests (of the tokens, for ITL) that shall stay
    /// within them: 0.99 is the 99th percentile. None: the mean shall.
    pub percentile: Option<f64>,
}

/// A latency as it was lately.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentiles {
    /// The median, milliseconds.
    pub p50_ms: f64,
    /// What 99 of 100 stay within, milliseconds.
    pub p99_ms: f64,
}

/// What the gateways in front of a model know.
#[derive(Clone, Debug, PartialEq)]
pub enum GatewayView {
    /// No gateway is configured: replicas are the only witnesses.
    Absent,
    /// Gateways are configured, or endpoint pickers.
    Present {
        /// Which of them.
        by: Source,
        /// The sum over those that answered.
        demand: Signal<Demand>,
        /// Those that did not answer, for people.
        silent: Vec<String>,
    },
}

/// What clients ask for now, as the gateways count it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Demand {
    /// Requests accepted since the gateway's start (counter; may restart).
    pub arrived: u64,
    /// Requests waiting in the gateway.
    pub queued: u64,
    /// How long the oldest of them has waited.
    pub oldest_wait: Option<Duration>,
    /// Requests at endpoints.
    pub in_flight: u64,
    /// Requests per second over the last seconds, once that is known.
    pub arrival_rate: Option<f64>,
    /// Answers per second over the last seconds, once that is known.
    pub completion_rate: Option<f64>,
    /// Time to the first token over the last seconds, wait at the gateway included.
    pub ttft: Option<Percentiles>,
    /// Time between tokens over the last seconds.
    pub itl: Option<Percentiles>,
}

/// One way to serve the model.
#[derive(Clone, Debug, PartialEq)]
pub struct VariantView {
    /// Its name, unique in the model.
    pub name: String,
    /// What it runs on, if that is known.
    pub accelerator: Option<String>,
    /// Cost of one replica per hour; finite, not negative.
    pub cost: f64,
    /// Least replicas.
    pub min: u32,
    /// Most replicas.
    pub max: u32,
    /// Replicas the target is asked for now (its `spec.replicas`).
    pub wanted: u32,
    /// Most requests one replica is given at once, as its template says.
    pub slots: Option<f64>,
    /// GPUs of one replica, as its template says.
    pub gpus: Option<u32>,
    /// What its template tells a vLLM server about memory and batches. It
    /// bounds what a replica holds, and says so of one nobody has heard of.
    pub engine: Option<EngineArgs>,
    /// How fast its user says it is; what is seen corrects that.
    pub profile: Option<Profile>,
    /// Replicas that exist and are not being deleted.
    pub replicas: Vec<ReplicaView>,
}

/// How fast a replica is by its user's measurement: `n` requests of `i` prompt
/// tokens at once take `decode[0] + decode[1] n` milliseconds between tokens,
/// and `prefill[0] + prefill[1] i n` for their prompts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// Most requests in a batch; at least 1.
    pub max_batch: u32,
    /// Milliseconds, and milliseconds per request; not negative, the first above 0.
    pub decode_ms: [f64; 2],
    /// Milliseconds, and milliseconds per token and request; not negative.
    pub prefill_ms: [f64; 2],
}

/// Where a replica is on its way to serving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// It serves.
    Ready,
    /// It exists and does not serve yet, or not any more.
    Pending {
        /// Since when.
        since: Instant,
    },
    /// It begins again and again, or cannot begin: waiting for it is no use.
    Failing {
        /// Since when it does not serve.
        since: Instant,
        /// What its node says.
        why: String,
    },
    /// No node takes it.
    Unschedulable {
        /// Since when.
        since: Instant,
        /// What the scheduler says.
        why: String,
    },
}

/// One replica and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaView {
    /// Its name (the Pod's).
    pub name: String,
    /// Where it is on its way.
    pub state: ReplicaState,
    /// Share of the KV cache in use, 0 to 1.
    pub kv: Signal<f64>,
    /// Requests in the running batch.
    pub running: Signal<f64>,
    /// Requests waiting inside the engine.
    pub waiting: Signal<f64>,
    /// Requests the gateway has sent and not yet got back.
    pub in_flight: Signal<f64>,
    /// Most requests it is given at once.
    pub slots: Signal<f64>,
    /// Generated tokens per second.
    pub token_rate: Signal<f64>,
    /// Tokens its KV cache holds.
    pub kv_tokens: Signal<f64>,
    /// Mean tokens of a prompt lately.
    pub prompt_tokens: Signal<f64>,
    /// Mean tokens of an answer lately.
    pub generated_tokens: Signal<f64>,
    /// Mean time to the first token lately, milliseconds.
    pub ttft_ms: Signal<f64>,
    /// Mean time between tokens lately, milliseconds.
    pub itl_ms: Signal<f64>,
    /// Share of the prompts' tokens found in the prefix cache, 0 to 1.
    pub prefix_hit_share: Signal<f64>,
}

impl ReplicaView {
    /// A replica of which nothing is known but that it exists.
    #[must_use]
    pub fn unknown(name: impl Into<String>, state: ReplicaState, now: Instant, why: &'static str) -> Self {
        let missing = || Signal::missing(now, why);
        Self {
            name: name.into(),
            state,
            kv: missing(),
            running: missing(),
            waiting: missing(),
            in_flight: missing(),
            slots: missing(),
            token_rate: missing(),
            kv_tokens: missing(),
            prompt_tokens: missing(),
            generated_tokens: missing(),
            ttft_ms: missing(),
            itl_ms: missing(),
            prefix_hit_share: missing(),
        }
    }

    /// Every signal with what it tells and its unit, in the order people read them.
    pub(crate) fn signals(&self) -> [(&'static str, &'static str, &Signal<f64>); 12] {
        [
            ("KV cache in use", "share", &self.kv),
            ("running", "requests", &self.running),
            ("waiting", "requests", &self.waiting),
            ("in flight", "requests", &self.in_flight),
            ("slots", "requests", &self.slots),
            ("generation", "tokens/s", &self.token_rate),
            ("KV cache", "tokens", &self.kv_tokens),
            ("prompts", "tokens", &self.prompt_tokens),
            ("answers", "tokens", &self.generated_tokens),
            ("time to first token", "ms", &self.ttft_ms),
            ("time between tokens", "ms", &self.itl_ms),
            ("prefix cache hits", "share", &self.prefix_hit_share),
        ]
    }
}
