//! What a decision looks at: one model, its variants, their replicas, and the
//! gateway in front.

use std::time::Duration;
use units::{Instant, Signal};

/// One model in one namespace, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelView {
    /// Model name.
    pub model: String,
    /// Namespace of its variants.
    pub namespace: String,
    /// What the gateways in front know.
    pub gateway: GatewayView,
    /// Every way to serve it that may be scaled now.
    pub variants: Vec<VariantView>,
}

/// What the gateways in front of a model know.
#[derive(Clone, Debug, PartialEq)]
pub enum GatewayView {
    /// No gateway is configured: replicas are the only witnesses.
    Absent,
    /// Gateways are configured.
    Present {
        /// The sum over those that answered.
        demand: Signal<Demand>,
        /// Those that did not answer, for people.
        silent: Vec<String>,
    },
}

/// What clients ask for now, as the gateways count it.
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// Replicas that exist and are not being deleted.
    pub replicas: Vec<ReplicaView>,
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
}

impl ReplicaView {
    /// A replica of which nothing is known but that it exists.
    #[must_use]
    pub fn unknown(name: impl Into<String>, state: ReplicaState, now: Instant, why: &str) -> Self {
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
        }
    }
}
