//! The node controller: taints follow what a Node says of itself.
//!
//! The API taints a new Node as not ready, as Kubernetes does; without a
//! controller that takes the taint off, no Pod would ever be placed.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Taint};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::call::{Error, merge};
use crate::informer::{Key, key_of};
use crate::queue::Queue;
use crate::recorder::Recorder;
use crate::run::Shared;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Keeps the taints of Nodes for ever.
pub(crate) async fn run(shared: Shared, _recorder: Recorder) {
    shared.nodes.synced().await;
    let queue = Queue::<Key>::new();
    let own = queue.clone();
    shared.nodes.listen("nodes", move |change| {
        if let Some(node) = &change.new {
            own.add(key_of(node.as_ref()));
        }
    });
    queue.run("nodes", 1, |key| sync(&shared, key)).await;
}

async fn sync(shared: &Shared, key: Key) -> Result<Option<Duration>, Error> {
    let Some(node) = shared.nodes.get(&key) else {
        return Ok(None);
    };
    let Some(taints) = taints(&node) else { return Ok(None) };
    let api = Api::<Node>::all(shared.client.clone());
    let patch = json!({
        "metadata": {"uid": node.uid(), "resourceVersion": node.resource_version()},
        "spec": {"taints": Some(taints).filter(|t| !t.is_empty())},
    });
    match merge(&api, &key.1, &patch).await {
        Ok(node) => {
            shared.nodes.put(node);
            Ok(None)
        }
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The taints that the Node should have, `None` when it has them. Those that
/// people or others set are kept in their order.
fn taints(node: &Node) -> Option<Vec<Taint>> {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|c| c.type_ == "Ready")
        .map(|c| c.status.as_str());
    let spec = node.spec.clone().unwrap_or_default();
    let wanted = [
        (NOT_READY, ready.is_none_or(|status| status == "False")),
        (UNREACHABLE, ready == Some("Unknown")),
        (UNSCHEDULABLE, spec.unschedulable == Some(true)),
    ];
    let before = spec.taints.unwrap_or_default();
    let ours = |taint: &Taint, key: &str| taint.key == key && taint.effect == "NoSchedule";
    let mut after = before.clone();
    for (key, is_wanted) in wanted {
        let is_there = after.iter().any(|taint| ours(taint, key));
        if is_wanted && !is_there {
            after.push(Taint {
                key: key.to_owned(),
                effect: "NoSchedule".to_owned(),
                ..Taint::default()
            });
        } else if !is_wanted && is_there {
            after.retain(|taint| !ours(taint, key));
        }
    }
    (after != before).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn keys(spec: &Value, ready: Option<&str>) -> Option<Vec<String>> {
        let conditions: Vec<Value> = ready
            .iter()
            .map(|status| json!({"type": "Ready", "status": status}))
            .collect();
        let node = json!({"metadata": {"name": "n"}, "spec": spec, "status": {"conditions": conditions}});
        let taints = taints(&serde_json::from_value(node).unwrap())?;
        Some(taints.into_iter().map(|t| t.key).collect())
    }

    #[test]
    fn taints_follow_readiness_and_cordons() {
        let tainted = |key: &str| json!({"taints": [{"key": "mine", "effect": "NoSchedule"}, {"key": key, "effect": "NoSchedule"}]});
        for (spec, ready, want) in [
            (json!({}), Some("True"), None),
            (json!({}), None, Some(vec![NOT_READY])),
            (tainted(NOT_READY), Some("True"), Some(vec!["mine"])),
            (tainted(NOT_READY), Some("False"), None),
            (tainted(NOT_READY), Some("Unknown"), Some(vec!["mine", UNREACHABLE])),
            (json!({"unschedulable": true}), Some("True"), Some(vec![UNSCHEDULABLE])),
            (tainted(UNSCHEDULABLE), Some("True"), Some(vec!["mine"])),
        ] {
            let want = want.map(|keys| keys.into_iter().map(str::to_owned).collect());
            assert_eq!(keys(&spec, ready), want, "{spec} {ready:?}");
        }
    }
}
