//! InferencePool v1, as gateway-api-inference-extension publishes it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A set of Pods that serve the same models and share accelerator and LoRA set.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "inference.networking.k8s.io",
    version = "v1",
    kind = "InferencePool",
    namespaced,
    status = "InferencePoolStatus",
    shortname = "infpool",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct InferencePoolSpec {
    /// Which Pods of the same namespace belong to the pool.
    pub selector: PoolSelector,
    /// Ports of each Pod; every (Pod, port) is an endpoint of its own.
    #[schemars(length(min = 1, max = 8))]
    pub target_ports: Vec<TargetPort>,
    /// Protocol from gateway to endpoint: `http` or `kubernetes.io/h2c`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
    /// The picker extension; absent lets the implementation pick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_picker_ref: Option<EndpointPickerRef>,
}

/// An equality selector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolSelector {
    /// Labels a Pod must carry, all of them.
    pub match_labels: BTreeMap<String, String>,
}

/// A port of a pool's Pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TargetPort {
    /// 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    pub number: i32,
}

/// Where an endpoint picker listens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointPickerRef {
    /// API group, empty for core.
    #[serde(default)]
    pub group: Option<String>,
    /// Kind, `Service` when absent.
    #[serde(default)]
    pub kind: Option<String>,
    /// Name in the pool's namespace.
    pub name: String,
    /// Port of the picker's ext-proc service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PickerPort>,
    /// What a gateway does while the picker cannot be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_mode: Option<FailureMode>,
}

/// A port number object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PickerPort {
    /// 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    pub number: i32,
}

/// What happens to requests while a picker cannot be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailureMode {
    /// Requests go to any endpoint.
    FailOpen,
    /// Requests are refused.
    #[default]
    FailClose,
}

/// Written by gateways, one entry per parent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InferencePoolStatus {
    /// Gateways that use the pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<ParentStatus>,
}

/// What one gateway says about the pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentStatus {
    /// The gateway.
    pub parent_ref: ParentReference,
    /// Who wrote this entry, `domain/path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller_name: Option<String>,
    /// `Accepted`, `ResolvedRefs`, `Exported`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A reference to a gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ParentReference {
    /// API group, `gateway.networking.k8s.io` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Kind, `Gateway` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its name.
    pub name: String,
    /// Its namespace, the pool's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}
