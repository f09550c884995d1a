//! A HorizontalPodAutoscaler as the core knows it.

use std::time::Duration;

use ::hpa::{Behavior, Metric, Policy, PolicyKind, ResourceTarget, Rules, Select, Spec, Target};
use k8s_openapi::api::autoscaling::v2::{
    HPAScalingRules, HorizontalPodAutoscaler, MetricIdentifier, MetricSpec, MetricTarget,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::quantity;

/// The spec of an object that the API has filled in and accepted.
pub(super) fn of(autoscaler: &HorizontalPodAutoscaler) -> Spec {
    let spec = &autoscaler.spec;
    let metrics = spec.metrics.iter().flatten().map(metric).collect();
    Spec {
        namespace: autoscaler.metadata.namespace.clone().unwrap_or_default(),
        behavior: spec.behavior.as_ref().map(|behavior| Behavior {
            up: rules(behavior.scale_up.as_ref(), Rules::default_up()),
            down: rules(behavior.scale_down.as_ref(), Rules::default_down()),
        }),
        ..Spec::new(
            number(spec.min_replicas.unwrap_or(1)),
            number(spec.max_replicas),
            metrics,
        )
    }
}

fn number(value: i32) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

fn milli(quantity: Option<&Quantity>) -> Option<i64> {
    quantity.and_then(quantity::milli)
}

/// A tolerance is small, so its text counts to the last digit.
fn tolerance(quantity: &Quantity) -> Option<f64> {
    let plain = quantity.0.parse::<f64>().ok();
    plain.or_else(|| quantity::milli(quantity).map(|milli| milli as f64 / 1000.0))
}

fn rules(given: Option<&HPAScalingRules>, default: Rules) -> Rules {
    let Some(given) = given else { return default };
    let seconds = |value: i32| Duration::from_secs(u64::try_from(value).unwrap_or(0));
    let policies = given.policies.as_ref().map(|policies| {
        let policy = policies.iter().map(|policy| Policy {
            kind: if policy.type_ == "Pods" {
                PolicyKind::Pods
            } else {
                PolicyKind::Percent
            },
            value: number(policy.value),
            period: seconds(policy.period_seconds),
        });
        policy.collect()
    });
    Rules {
        window: given.stabilization_window_seconds.map(seconds).or(default.window),
        select: match given.select_policy.as_deref() {
            Some("Disabled") => Select::Disabled,
            Some("Min") => Select::Min,
            _ => default.select,
        },
        policies: policies.unwrap_or(default.policies),
        tolerance: given.tolerance.as_ref().and_then(tolerance).or(default.tolerance),
    }
}

fn resource_target(target: &MetricTarget) -> ResourceTarget {
    match milli(target.average_value.as_ref()) {
        Some(milli) => ResourceTarget::AverageValue(milli),
        None => ResourceTarget::Utilization(number(target.average_utilization.unwrap_or(0))),
    }
}

fn whole(target: &MetricTarget) -> Target {
    match milli(target.average_value.as_ref()) {
        Some(milli) => Target::AverageValue(milli),
        None => Target::Value(milli(target.value.as_ref()).unwrap_or(0)),
    }
}

fn metric(metric: &MetricSpec) -> Metric {
    if let Some(external) = &metric.external {
        let MetricIdentifier { name, selector } = external.metric.clone();
        return Metric::External {
            name,
            selector: printed(selector.as_ref()),
            target: whole(&external.target),
        };
    }
    if let Some(object) = &metric.object {
        let MetricIdentifier { name, selector } = object.metric.clone();
        let value = (object.target.type_ == "Value").then(|| milli(object.target.value.as_ref()));
        return Metric::Object {
            kind: object.described_object.kind.clone(),
            object: object.described_object.name.clone(),
            name,
            selector: printed(selector.as_ref()),
            target: value.flatten().map_or_else(|| whole(&object.target), Target::Value),
        };
    }
    if let Some(pods) = &metric.pods {
        let average = milli(pods.target.average_value.as_ref());
        return Metric::pods(pods.metric.name.clone(), average.unwrap_or(0));
    }
    if let Some(resource) = &metric.container_resource {
        return Metric::ContainerResource {
            name: resource.name.clone(),
            container: resource.container.clone(),
            target: resource_target(&resource.target),
        };
    }
    let resource = metric.resource.as_ref();
    Metric::Resource {
        name: resource.map(|resource| resource.name.clone()).unwrap_or_default(),
        target: resource.map_or(ResourceTarget::Utilization(0), |resource| {
            resource_target(&resource.target)
        }),
    }
}

/// A selector as the real controller's messages print it.
fn printed(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else {
        return "nil".to_owned();
    };
    let mut text = "&LabelSelector{MatchLabels:map[string]string{".to_owned();
    for (key, value) in selector.match_labels.iter().flatten() {
        text += &format!("{key}: {value},");
    }
    text += "},MatchExpressions:[]LabelSelectorRequirement{";
    for wanted in selector.match_expressions.iter().flatten() {
        let values = wanted.values.as_deref().unwrap_or_default().join(" ");
        let (key, operator) = (&wanted.key, &wanted.operator);
        text += &format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},");
    }
    text + "},}"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_as_the_core_knows_it() {
        let object = json!({
            "metadata": {"name": "a", "namespace": "shop"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "minReplicas": 2, "maxReplicas": 9,
                "metrics": [
                    {"type": "External", "external": {"metric": {"name": "waiting", "selector": {
                        "matchLabels": {"model": "m"},
                        "matchExpressions": [{"key": "pool", "operator": "In", "values": ["a", "b"]}]}},
                        "target": {"type": "AverageValue", "averageValue": "2500m"}}},
                    {"type": "Resource", "resource": {"name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": 70}}},
                    {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "s"},
                        "metric": {"name": "qps"}, "target": {"type": "Value", "value": "3"}}},
                    {"type": "Pods", "pods": {"metric": {"name": "qps"},
                        "target": {"type": "AverageValue", "averageValue": "1k"}}},
                    {"type": "ContainerResource", "containerResource": {"name": "memory", "container": "c",
                        "target": {"type": "AverageValue", "averageValue": "1Ki"}}},
                ],
                "behavior": {"scaleUp": {"stabilizationWindowSeconds": 30, "selectPolicy": "Min",
                    "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}], "tolerance": "25m"},
                    "scaleDown": {"selectPolicy": "Max"}},
            },
        });
        let spec = of(&serde_json::from_value(object).unwrap());
        assert_eq!(
            (spec.min_replicas, spec.max_replicas, spec.namespace.as_str()),
            (2, 9, "shop")
        );
        let selector = "&LabelSelector{MatchLabels:map[string]string{model: m,},MatchExpressions:\
                        []LabelSelectorRequirement{LabelSelectorRequirement{Key:pool,Operator:In,Values:[a b],},},}";
        assert_eq!(
            spec.metrics,
            [
                Metric::External {
                    name: "waiting".into(),
                    selector: selector.into(),
                    target: Target::AverageValue(2500)
                },
                Metric::cpu(70),
                Metric::Object {
                    kind: "Service".into(),
                    object: "s".into(),
                    name: "qps".into(),
                    selector: "nil".into(),
                    target: Target::Value(3000)
                },
                Metric::pods("qps", 1_000_000),
                Metric::ContainerResource {
                    name: "memory".into(),
                    container: "c".into(),
                    target: ResourceTarget::AverageValue(1_024_000)
                },
            ]
        );
        let behavior = spec.behavior.clone().unwrap();
        assert_eq!(behavior.up.window, Some(Duration::from_secs(30)));
        assert_eq!((behavior.up.select, behavior.up.policies.len()), (Select::Min, 1));
        assert_eq!(behavior.down, Rules::default_down());
        let tolerance = spec.tolerance();
        assert_eq!((tolerance.up, tolerance.down), (0.025, 0.1));
    }
}
