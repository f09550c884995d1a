//! What the story puts into the cluster.

use serde_json::{Value, json};

pub(super) fn workload(kind: &str, name: &str) -> Value {
    let mut object = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": "shop"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}},
                "spec": {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"},
                    "containers": [{"name": "engine", "image": "engine"}]}}}});
    if kind == "StatefulSet" {
        object["spec"]["serviceName"] = name.into();
    }
    object
}

pub(super) fn variant(kind: &str, name: &str, min: u32) -> Value {
    json!({"apiVersion": "llmd.ai/v1alpha1", "kind": "VariantAutoscaling",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"modelID": name, "minReplicas": min, "maxReplicas": 8,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": kind, "name": name}}})
}

/// A pool of the Pods of `name`, and the Service of its endpoint picker, whose
/// metrics are at `port`.
pub(super) fn pool_with_picker(name: &str, port: u16) -> [Value; 2] {
    let picker = format!("{name}-epp");
    let pool = json!({"apiVersion": "inference.networking.k8s.io/v1", "kind": "InferencePool",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"selector": {"matchLabels": {"app": name}}, "targetPorts": [{"number": 8000}],
            "endpointPickerRef": {"name": picker, "port": {"number": 9002}}}});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": picker, "namespace": "shop"},
        "spec": {"selector": {"app": picker}, "ports": [
            {"name": "grpc-ext-proc", "port": 9002},
            {"name": "http-metrics", "port": 9090, "targetPort": port}]}});
    [pool, service]
}

/// KEDA's kind, as far as the autoscaler reads it.
pub(super) fn scaled_objects() -> Value {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "scaledobjects.keda.sh"},
        "spec": {"group": "keda.sh", "scope": "Namespaced",
            "names": {"kind": "ScaledObject", "plural": "scaledobjects", "singular": "scaledobject"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": any}}]}})
}
