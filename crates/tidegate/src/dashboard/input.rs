//! What the page is fed with: plain values, made by the wiring from the
//! gateway's signals and the autoscaler's views.

use serde::Serialize;
use std::sync::Arc;
use tokio::sync::watch;
use wire::signals::GatewaySignals;

/// Where the page gets its input.
pub(crate) trait Feed: Send + Sync + 'static {
    /// Everything as it is now. Asked once per second and on every change,
    /// also while nobody watches, so it should copy pointers, not histories.
    fn snapshot(&self) -> Input;

    /// A number that changes when a replica or a decision does. The page then
    /// shows it at once instead of at the next second.
    fn changed(&self) -> watch::Receiver<u64>;
}

/// Everything the page shows, at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    /// Version of this binary.
    pub(crate) version: String,
    /// Addresses and commands for the foot of the page, in order.
    pub(crate) addresses: Vec<Address>,
    /// The gateway's signals, or why there are none.
    pub(crate) gateway: Result<Arc<GatewaySignals>, String>,
    /// What was promised, by model.
    pub(crate) slos: Vec<Slo>,
    /// Variants, in the order the page shows them.
    pub(crate) variants: Vec<Variant>,
    /// Decisions that changed something, in any order; the page keeps the newest.
    pub(crate) decisions: Vec<Arc<Decision>>,
}

/// One line of the foot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Address {
    /// What is there: `gateway`, `metrics`, `kubernetes`.
    pub(crate) name: String,
    /// An `http://` address becomes a link, anything else is shown as text.
    pub(crate) value: String,
}

/// The promise made for one model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slo {
    /// Model name, one of the pool's.
    pub(crate) model: String,
    /// Time to first token, milliseconds.
    pub(crate) ttft_ms: Option<f64>,
    /// Gap between tokens, milliseconds.
    pub(crate) itl_ms: Option<f64>,
}

/// One way to serve a model, and what was decided for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Variant {
    /// Name, unique on the page.
    pub(crate) name: String,
    /// The model it serves.
    pub(crate) model: String,
    /// Accelerators of one replica, as people write them: `2 x L4`.
    pub(crate) accelerator: String,
    /// Cost of one replica per hour; `None` when it cannot be told.
    pub(crate) cost_per_hour: Option<f64>,
    /// Least replicas.
    pub(crate) min: u32,
    /// Most replicas.
    pub(crate) max: u32,
    /// Replicas the target has now; `None` when it could not be read.
    pub(crate) current: Option<u32>,
    /// Replicas that are ready now; `None` when it could not be read.
    pub(crate) ready: Option<u32>,
    /// Replicas decided; `None` before the first decision.
    pub(crate) desired: Option<u32>,
    /// The reason as one word, as conditions have it.
    pub(crate) reason: String,
    /// The reason as a sentence.
    pub(crate) sentence: String,
    /// What it waits for: what would change the answer, each as `up: ...`,
    /// `down: ...` or `to the minimum: ...`.
    pub(crate) waits_for: Vec<String>,
    /// Its replicas.
    pub(crate) replicas: Vec<Replica>,
}

/// One replica: a Pod and the model server in it. Slots and requests in flight
/// are not here: the gateway's signals tell them by Pod name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Replica {
    /// Pod name.
    pub(crate) pod: String,
    /// What its server is now.
    pub(crate) state: ReplicaState,
    /// Why it is so, where that needs saying: the scheduler's or the kubelet's words.
    pub(crate) reason: Option<String>,
    /// When its server was started last, unix milliseconds.
    pub(crate) started_unix_ms: Option<u64>,
    /// When it became ready after that, unix milliseconds, if it did and it is known.
    pub(crate) ready_unix_ms: Option<u64>,
    /// Requests the server computes now.
    pub(crate) running: Reading,
    /// Requests that wait inside the server.
    pub(crate) waiting: Reading,
    /// Share of the KV cache in use, 0 to 1.
    pub(crate) kv: Reading,
    /// Restarts of the server in this Pod.
    pub(crate) restarts: u32,
}

/// What a replica's server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ReplicaState {
    /// Not placed on a node yet.
    Pending,
    /// Placed, its server is loading.
    Starting,
    /// Ready for requests.
    Serving,
    /// Told to end; finishes what it has.
    Draining,
    /// Alive with its weights put away.
    #[allow(
        dead_code,
        reason = "the page can show it; nothing puts a server to sleep before dual pods"
    )]
    Asleep,
    /// Not running and not about to without help.
    Failed,
}

/// A number some replica told, or did not.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reading {
    /// Told, at this time.
    Seen {
        /// The value, in the unit of the field.
        value: f64,
        /// When it was true, unix milliseconds.
        at_unix_ms: u64,
    },
    /// Not told.
    Missing {
        /// The first moment it was looked for and not found, unix milliseconds.
        since_unix_ms: Option<u64>,
        /// What was looked for and what came back.
        why: String,
    },
}

/// One decision of the autoscaler that changed a number of replicas.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decision {
    /// When it was taken, unix milliseconds.
    pub(crate) at_unix_ms: u64,
    /// The model it was taken for.
    pub(crate) model: String,
    /// The variant that changed, if it was a single one.
    pub(crate) variant: Option<String>,
    /// Replicas before.
    pub(crate) from: u32,
    /// Replicas after.
    pub(crate) to: u32,
    /// Because of what, as a sentence.
    pub(crate) sentence: String,
    /// What would have changed it, as a sentence.
    pub(crate) otherwise: Option<String>,
    /// The whole explanation; the page shows any JSON as a tree.
    pub(crate) explanation: serde_json::Value,
}
