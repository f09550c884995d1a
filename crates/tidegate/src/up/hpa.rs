//! `tidegate up --actuator hpa`: a HorizontalPodAutoscaler for each variant, as
//! `docs/scaling/hpa.md` shows it, and the metrics it scales by.

use crate::fleet::Fleet;
use autoscaler::Handle;
use cluster::podautoscaler::ExternalMetrics;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long a decision holds that no pass confirms.
pub(super) const HOLDS_FOR: Duration = Duration::from_secs(60);

/// An HPA for each variant of the fleet. One at zero is not its business:
/// without a feature gate it keeps at least one.
pub(super) fn objects(fleet: &Fleet, namespace: &str) -> Vec<Value> {
    let variants = fleet.models.iter().flat_map(|model| &model.variants);
    variants
        .map(|variant| {
            let replicas = &variant.replicas;
            object(
                &variant.name.value,
                namespace,
                replicas.min().max(1),
                replicas.max().max(1),
            )
        })
        .collect()
}

fn object(name: &str, namespace: &str, min: u32, max: u32) -> Value {
    json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": min,
            "maxReplicas": max,
            "metrics": [{
                "type": "External",
                "external": {
                    "metric": {
                        "name": api::names::DESIRED_REPLICAS_METRIC,
                        "selector": {"matchLabels": {"variant_name": name}},
                    },
                    "target": {"type": "AverageValue", "averageValue": "1"},
                },
            }],
            // What is decided has been damped already.
            "behavior": {
                "scaleUp": {
                    "stabilizationWindowSeconds": 0,
                    "tolerance": "0",
                    "policies": [{"type": "Pods", "value": max, "periodSeconds": 15}],
                },
                "scaleDown": {
                    "stabilizationWindowSeconds": 0,
                    "tolerance": "0",
                    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
                },
            },
        },
    })
}

/// External metrics for the HPA controller of this process, from `handle`.
pub(super) fn metrics(handle: &Handle) -> ExternalMetrics {
    let series = publish::InProcess::new(Arc::new(handle.clone()), HOLDS_FOR);
    Arc::new(move |namespace, metric, _| series.series(namespace, metric))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_is_the_one_of_the_page() {
        let page = include_str!("../../../../docs/scaling/hpa.md");
        let mut blocks = page
            .split("```yaml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next());
        let shown = blocks.find(|block| block.contains("HorizontalPodAutoscaler")).unwrap();
        let shown: Value = serde_saphyr::from_str(shown).unwrap();
        assert_eq!(object("llama-l4", "default", 1, 40), shown);
    }

    #[test]
    fn every_variant_has_one_within_its_bounds_and_never_below_one() {
        let fleet = crate::fleet::parse("default", crate::fleet::DEFAULT).unwrap();
        let objects = objects(&fleet, "shop");
        let bounds: Vec<_> = objects
            .iter()
            .map(|object| {
                assert_eq!(object["metadata"]["namespace"], "shop");
                (
                    object["metadata"]["name"].as_str().unwrap(),
                    object["spec"]["minReplicas"].as_u64().unwrap(),
                    object["spec"]["maxReplicas"].as_u64().unwrap(),
                )
            })
            .collect();
        assert_eq!(bounds, [("llama-8b-l4", 1, 4), ("llama-8b-h100", 1, 2)]);
    }
}
