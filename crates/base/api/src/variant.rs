//! VariantAutoscaling `llmd.ai/v1alpha1`, in both shapes users have.
//!
//! The newer shape names its target (`scaleTargetRef`); the older one carries
//! an SLO class and a performance profile and scales the Deployment of its own
//! name. One schema admits both, so objects of either age apply unchanged.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One way to serve a model (an accelerator, a parallelism, an engine
/// configuration), whose replicas the autoscaler decides.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "llmd.ai",
    version = "v1alpha1",
    kind = "VariantAutoscaling",
    plural = "variantautoscalings",
    shortname = "va",
    namespaced,
    status = "VariantAutoscalingStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Target","type":"string","jsonPath":".spec.scaleTargetRef.name"}"#,
    printcolumn = r#"{"name":"Model","type":"string","jsonPath":".spec.modelID"}"#,
    printcolumn = r#"{"name":"Optimized","type":"string","jsonPath":".status.desiredOptimizedAlloc.numReplicas"}"#,
    printcolumn = r#"{"name":"MetricsReady","type":"string","jsonPath":".status.conditions[?(@.type=='MetricsAvailable')].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Replicas","type":"integer","priority":1,"jsonPath":".status.replicas"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type=='OptimizationReady')].reason"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct VariantAutoscalingSpec {
    /// What to scale. Absent (the older shape): the Deployment of this object's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_target_ref: Option<TargetRef>,
    /// The model, as the engine's `model_name` label has it.
    #[serde(rename = "modelID")]
    #[schemars(length(min = 1))]
    pub model_id: String,
    /// Cost of one replica per hour, in a unit of the user's choice.
    #[serde(default = "default_cost")]
    #[schemars(regex(pattern = r"^\d+(\.\d+)?$"))]
    pub variant_cost: String,
    /// Least replicas; 0 lets the variant go to zero.
    #[serde(default = "default_min")]
    #[schemars(range(min = 0))]
    pub min_replicas: i32,
    /// Most replicas.
    #[serde(default = "default_max")]
    #[schemars(range(min = 1))]
    pub max_replicas: i32,
    /// The older shape: where the SLO of this model stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo_class_ref: Option<SloClassRef>,
    /// The older shape: how fast the model is on each accelerator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_profile: Option<ModelProfile>,
}

fn default_cost() -> String {
    "10.0".to_owned()
}

const fn default_min() -> i32 {
    1
}

const fn default_max() -> i32 {
    10
}

/// A reference to an object with a scale subresource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct TargetRef {
    /// `apps/v1` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Kind, `Deployment` for most.
    #[schemars(length(min = 1))]
    pub kind: String,
    /// Name in the same namespace.
    #[schemars(length(min = 1))]
    pub name: String,
}

/// The older shape's pointer into the service-class ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SloClassRef {
    /// ConfigMap name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Key inside it.
    #[schemars(length(min = 1))]
    pub key: String,
}

/// The older shape's performance profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelProfile {
    /// One entry per accelerator the model was measured on.
    #[schemars(length(min = 1))]
    pub accelerators: Vec<AcceleratorProfile>,
}

/// How fast a model is on one accelerator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcceleratorProfile {
    /// Accelerator name.
    #[schemars(length(min = 1))]
    pub acc: String,
    /// Accelerators per replica.
    #[schemars(range(min = 1))]
    pub acc_count: i32,
    /// Most requests in a batch.
    #[schemars(range(min = 1))]
    pub max_batch_size: i32,
    /// Parameters of the linear step-time model.
    pub perf_parms: PerformanceParameters,
}

/// `ITL = alpha + beta * batch`, `prefill = gamma + delta * tokens * batch`, milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PerformanceParameters {
    /// `alpha` and `beta`, as decimal strings.
    pub decode_parms: BTreeMap<String, String>,
    /// `gamma` and `delta`, as decimal strings.
    pub prefill_parms: BTreeMap<String, String>,
}

/// What the autoscaler last found and decided.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VariantAutoscalingStatus {
    /// The older shape's record of what runs now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_alloc: Option<Allocation>,
    /// The decision. Absent until the first one: never decided is not zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_optimized_alloc: Option<DesiredAllocation>,
    /// Whether the decision was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actuation: Option<Actuation>,
    /// Replicas the target has now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Replicas that are ready now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// `TargetResolved`, `MetricsAvailable`, `OptimizationReady`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The older shape's allocation record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Allocation {
    /// Accelerator name.
    pub accelerator: String,
    /// Replicas.
    pub num_replicas: i32,
    /// Most requests in a batch.
    pub max_batch: i32,
    /// Cost per hour, a decimal string.
    pub variant_cost: String,
    /// Mean inter-token latency, milliseconds, a decimal string.
    pub itl_average: String,
    /// Mean time to first token, milliseconds, a decimal string.
    pub ttft_average: String,
    /// The load that was seen.
    pub load: CurrentLoad,
}

/// The older shape's load record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CurrentLoad {
    /// Requests per minute, a decimal string.
    pub arrival_rate: String,
    /// Mean prompt tokens, a decimal string.
    pub avg_input_tokens: String,
    /// Mean generated tokens, a decimal string.
    pub avg_output_tokens: String,
}

/// How many replicas, on what, decided when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DesiredAllocation {
    /// When this was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_time: Option<Time>,
    /// Accelerator name; absent when neither label nor node tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<String>,
    /// Replicas wanted.
    #[schemars(range(min = 0))]
    pub num_replicas: i32,
}

/// Whether a decision was carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Actuation {
    /// True when the target's replicas were set (or the gauge published).
    pub applied: bool,
}

/// Condition types and reasons, the predecessor's words first.
pub mod reasons {
    /// Condition type: the scale target exists.
    pub const TARGET_RESOLVED: &str = "TargetResolved";
    /// Condition type: signals are present and fresh.
    pub const METRICS_AVAILABLE: &str = "MetricsAvailable";
    /// Condition type: a decision was taken.
    pub const OPTIMIZATION_READY: &str = "OptimizationReady";
    /// The target exists.
    pub const TARGET_FOUND: &str = "TargetFound";
    /// The target does not exist.
    pub const TARGET_NOT_FOUND: &str = "TargetNotFound";
    /// Signals are present and fresh.
    pub const METRICS_FOUND: &str = "MetricsFound";
    /// No signal was found.
    pub const METRICS_MISSING: &str = "MetricsMissing";
    /// Signals are too old to act on.
    pub const METRICS_STALE: &str = "MetricsStale";
    /// The object's own configuration cannot be used.
    pub const INVALID_CONFIGURATION: &str = "InvalidConfiguration";
    /// The namespace is excluded or another instance owns the object.
    pub const SKIPPED_PROCESSING: &str = "SkippedProcessing";
    /// No decision could be taken for lack of signals.
    pub const METRICS_UNAVAILABLE: &str = "MetricsUnavailable";
}
