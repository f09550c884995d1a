//! What a pass writes into `status`.

use ::hpa::{Condition, Current, Outcome, Spec};
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, MetricSpec};
use serde_json::{Map, Value, json};

use crate::clock;

/// The merge patch of `status` after a pass, `None` when nothing changes.
pub(super) fn of_outcome(autoscaler: &HorizontalPodAutoscaler, spec: &Spec, outcome: &Outcome) -> Option<Value> {
    let old = autoscaler.status.clone().unwrap_or_default();
    let specs = autoscaler.spec.metrics.as_deref().unwrap_or_default();
    let metrics = specs.iter().zip(&outcome.statuses);
    let metrics: Vec<Value> = metrics.map(|(spec, current)| metric(spec, *current)).collect();
    let mut patch = json!({
        // The API leaves a zero out.
        "currentReplicas": if outcome.current == 0 { Value::Null } else { json!(outcome.current) },
        "desiredReplicas": if outcome.computed { json!(outcome.desired) } else { json!(old.desired_replicas) },
        "currentMetrics": if metrics.is_empty() { Value::Null } else { Value::Array(metrics) },
        "conditions": conditions(autoscaler, &outcome.conditions(spec)),
    });
    if outcome.rescale.is_some() {
        patch["lastScaleTime"] = json!(clock::now());
    }
    changed(autoscaler, patch)
}

/// The same when no pass was possible: the rest stays as it was.
pub(super) fn of_conditions(autoscaler: &HorizontalPodAutoscaler, new: &[Condition]) -> Option<Value> {
    changed(autoscaler, json!({"conditions": conditions(autoscaler, new)}))
}

/// The patch, unless every member of it stands already so.
fn changed(autoscaler: &HorizontalPodAutoscaler, patch: Value) -> Option<Value> {
    let old = serde_json::to_value(&autoscaler.status).unwrap_or_default();
    let same = |(key, value): (&String, &Value)| old[key] == *value;
    let is_same = patch.as_object().is_some_and(|patch| patch.iter().all(same));
    (!is_same).then_some(patch)
}

/// All conditions: the old in their places, changed where `new` says so, then the rest of `new`.
fn conditions(autoscaler: &HorizontalPodAutoscaler, new: &[Condition]) -> Vec<HorizontalPodAutoscalerCondition> {
    let old = autoscaler.status.as_ref().and_then(|status| status.conditions.clone());
    let mut all = old.unwrap_or_default();
    for condition in new {
        let status = if condition.status { "True" } else { "False" };
        let place = match all.iter().position(|old| old.type_ == condition.kind) {
            Some(place) => place,
            None => {
                all.push(HorizontalPodAutoscalerCondition {
                    type_: condition.kind.to_owned(),
                    ..HorizontalPodAutoscalerCondition::default()
                });
                all.len() - 1
            }
        };
        let held = &mut all[place];
        if held.status != status {
            held.last_transition_time = Some(clock::now());
        }
        held.status = status.to_owned();
        held.reason = Some(condition.reason.to_owned());
        held.message = Some(condition.message.to_string());
    }
    all
}

/// One entry of `currentMetrics`; empty for a metric that failed, as Kubernetes leaves it.
fn metric(spec: &MetricSpec, current: Option<Current>) -> Value {
    let Some(current) = current else {
        return json!({"type": ""});
    };
    let memory = |name: &str| name == "memory";
    let (key, mut entry, in_bytes) = if let Some(external) = &spec.external {
        ("external", json!({"metric": external.metric}), false)
    } else if let Some(object) = &spec.object {
        let entry = json!({"metric": object.metric, "describedObject": object.described_object});
        ("object", entry, false)
    } else if let Some(pods) = &spec.pods {
        ("pods", json!({"metric": pods.metric}), false)
    } else if let Some(resource) = &spec.container_resource {
        let entry = json!({"name": resource.name, "container": resource.container});
        ("containerResource", entry, memory(&resource.name))
    } else {
        let name = spec.resource.as_ref().map(|resource| resource.name.clone());
        let name = name.unwrap_or_default();
        ("resource", json!({"name": name}), memory(&name))
    };
    let shown = |milli: i64| Value::from(quantity(milli, in_bytes));
    entry["current"] = match current {
        Current::Value(milli) => json!({"value": shown(milli)}),
        Current::AverageValue(milli) => json!({"averageValue": shown(milli)}),
        Current::Utilization { percent, average_milli } => {
            json!({"averageUtilization": percent, "averageValue": shown(average_milli)})
        }
    };
    let mut whole = Map::new();
    whole.insert("type".to_owned(), json!(spec.type_));
    whole.insert(key.to_owned(), entry);
    Value::Object(whole)
}

/// Thousandths as Kubernetes writes them: `1500m`, `2`, `3k`, and bytes as `4Mi`.
fn quantity(milli: i64, in_bytes: bool) -> String {
    const DECIMAL: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if milli % 1000 != 0 {
        return format!("{milli}m");
    }
    let (step, suffixes) = if in_bytes { (1024, BINARY) } else { (1000, DECIMAL) };
    let mut number = milli / 1000;
    let mut place = 0;
    while number != 0 && number % step == 0 && place + 1 < suffixes.len() {
        number /= step;
        place += 1;
    }
    format!("{number}{}", suffixes[place])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::hpa::{Metric, Reading, State, Target, View, step};
    use units::Instant;

    fn autoscaler() -> HorizontalPodAutoscaler {
        let object = json!({
            "metadata": {"name": "a", "namespace": "default"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 9,
                "metrics": [
                    {"type": "External", "external": {"metric": {"name": "waiting"},
                        "target": {"type": "AverageValue", "averageValue": "1"}}},
                    {"type": "External", "external": {"metric": {"name": "gone"},
                        "target": {"type": "AverageValue", "averageValue": "1"}}},
                ],
            },
            "status": {"desiredReplicas": 7},
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn quantities_as_kubernetes_writes_them() {
        for (milli, in_bytes, want) in [
            (1500, false, "1500m"),
            (2000, false, "2"),
            (3_000_000, false, "3k"),
            (1_024_000, true, "1Ki"),
            (1_000_000, true, "1000"),
            (0, false, "0"),
            (-1, false, "-1m"),
        ] {
            assert_eq!(quantity(milli, in_bytes), want);
        }
    }

    #[test]
    fn a_pass_writes_what_it_knows_and_leaves_the_rest() {
        let mut object = autoscaler();
        let metric = |name: &str| Metric::external(name, Target::AverageValue(1000));
        let spec = Spec::new(1, 9, vec![metric("waiting"), metric("gone")]);
        let pass = |value: i64| {
            let readings = [Reading::Series(&[value]), Reading::Failed("gone")];
            step(
                &spec,
                &mut State::default(),
                &View::settled(3, &[], &readings),
                Instant::ZERO,
            )
        };
        let up = of_outcome(&object, &spec, &pass(6500)).unwrap();
        assert_eq!(up["desiredReplicas"], 6);
        assert_eq!(up["currentReplicas"], 3);
        assert!(up["lastScaleTime"].is_string());
        assert_eq!(up["currentMetrics"][0]["external"]["current"]["averageValue"], "2167m");
        assert_eq!(up["currentMetrics"][1], json!({"type": ""}));

        let stuck = of_outcome(&object, &spec, &pass(1000)).unwrap();
        assert_eq!(stuck["desiredReplicas"], 7, "a pass without a number keeps the old one");
        assert!(stuck.get("lastScaleTime").is_none());
        object.status = serde_json::from_value(stuck).unwrap();
        assert_eq!(
            of_outcome(&object, &spec, &pass(1000)),
            None,
            "nothing new, nothing written"
        );
        let before = object.status.clone().unwrap().conditions.unwrap();
        let after = conditions(&object, &pass(6500).conditions(&spec));
        assert_eq!(after[0].last_transition_time, before[0].last_transition_time);
        let kinds: Vec<&str> = after.iter().map(|c| c.type_.as_str()).collect();
        assert_eq!(kinds, ["AbleToScale", "ScalingActive", "ScalingLimited"]);
    }
}
