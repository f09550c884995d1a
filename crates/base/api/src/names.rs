//! Well-known names: labels, annotations, headers, metrics. One name for one
//! thing, spelled once.

/// VariantAutoscaling label: the accelerator type of the variant.
pub const ACCELERATOR_LABEL: &str = "inference.optimization/acceleratorName";
/// VariantAutoscaling label: which controller instance owns it.
pub const CONTROLLER_INSTANCE_LABEL: &str = "wva.llmd.ai/controller-instance";
/// Namespace annotation: `"true"` keeps the autoscaler out.
pub const EXCLUDE_ANNOTATION: &str = "wva.llmd.ai/exclude";
/// Namespace label: `"true"` lets the namespace's own ConfigMaps count, VariantAutoscalings or not.
pub const CONFIG_ENABLED_LABEL: &str = "wva.llmd.ai/config-enabled";

/// Label or annotation of a HorizontalPodAutoscaler or ScaledObject: `"true"` makes it a
/// variant of its own, without a VariantAutoscaling.
pub const MANAGED_KEY: &str = "llm-d.ai/managed";
/// Annotation (or label) of a managed object: the model it scales. Without it `tidegate.dev/models` counts.
pub const MANAGED_MODEL_KEY: &str = "llm-d.ai/model";
/// Annotation of a managed object: cost of one replica per hour, in a unit of the user's choice.
pub const COST_ANNOTATION: &str = "tidegate.dev/cost";

/// InferencePool annotation: model names served by the pool, separated by
/// commas. Without it the pool's own name is the model name.
pub const MODELS_ANNOTATION: &str = "tidegate.dev/models";
/// InferencePool annotation: the time to first token promised, milliseconds.
pub const SLO_TTFT_ANNOTATION: &str = "tidegate.dev/slo-ttft-ms";
/// InferencePool annotation: the inter-token latency promised, milliseconds.
pub const SLO_ITL_ANNOTATION: &str = "tidegate.dev/slo-itl-ms";
/// Pod annotation: most requests the gateway sends to this Pod at once.
pub const SLOTS_ANNOTATION: &str = "tidegate.dev/slots";
/// Annotation of a Pod: the port its metrics are at, as Prometheus is usually told.
pub const METRICS_PORT_ANNOTATION: &str = "prometheus.io/port";
/// Annotation of a Pod: the path of its metrics, as Prometheus is usually told.
pub const METRICS_PATH_ANNOTATION: &str = "prometheus.io/path";
/// Label on objects that `tidegate up` made from a fleet file: the file's model name.
pub const MODEL_LABEL: &str = "tidegate.dev/model";
/// Label on objects that `tidegate up` made from a fleet file: the variant's name.
pub const VARIANT_LABEL: &str = "tidegate.dev/variant";
/// Node label: the GPU product, as NVIDIA's feature discovery writes it.
pub const GPU_PRODUCT_LABEL: &str = "nvidia.com/gpu.product";
/// Node label: the GPU product, as AMD's labeller writes it.
pub const AMD_GPU_PRODUCT_LABEL: &str = "amd.com/gpu.product-name";
/// Node labels: the GPU product of other vendors, written as NVIDIA's is.
pub const GPU_PRODUCT_LABELS_OF_OTHERS: [&str; 2] = ["amd.com/gpu.product", "intel.com/gpu.product"];
/// Node label: the accelerator, as Google's clusters write it.
pub const GKE_ACCELERATOR_LABEL: &str = "cloud.google.com/gke-accelerator";
/// Extended resource: whole GPUs.
pub const GPU_RESOURCE: &str = "nvidia.com/gpu";
/// Node label and taint key of nodes whose Pods run as local processes.
pub const LOCAL_NODE_LABEL: &str = "tidegate.dev/local";
/// Pod annotation set by the process kubelet: where the Pod's log is, for people.
pub const LOG_PATH_ANNOTATION: &str = "tidegate.dev/log-path";

/// Response header: `ip:port` that answered.
pub const ENDPOINT_HEADER: &str = "x-tidegate-endpoint";
/// Response header: the Pod that answered.
pub const POD_HEADER: &str = "x-tidegate-pod";
/// Response header: milliseconds the request waited in the queue.
pub const QUEUE_MS_HEADER: &str = "x-tidegate-queue-ms";
/// Response header on refusals: why (the picker's published words).
pub const DROPPED_REASON_HEADER: &str = "x-llm-d-request-dropped-reason";
/// Request and response header: the request's id.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

/// Gauge read by HPA and KEDA: replicas wanted for a variant.
pub const DESIRED_REPLICAS_METRIC: &str = "wva_desired_replicas";
/// Gauge: replicas a variant has.
pub const CURRENT_REPLICAS_METRIC: &str = "wva_current_replicas";
/// Gauge: wanted over current replicas.
pub const DESIRED_RATIO_METRIC: &str = "wva_desired_ratio";
/// Counter: scaling decisions that changed a variant.
pub const SCALING_TOTAL_METRIC: &str = "wva_replica_scaling_total";
