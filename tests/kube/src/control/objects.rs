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

/// KEDA's kind, as far as the autoscaler reads it.
pub(super) fn scaled_objects() -> Value {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "scaledobjects.keda.sh"},
        "spec": {"group": "keda.sh", "scope": "Namespaced",
            "names": {"kind": "ScaledObject", "plural": "scaledobjects", "singular": "scaledobject"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": any}}]}})
}
