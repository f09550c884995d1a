//! Taints of nodes by their conditions, as the node lifecycle controller keeps them.
//!
//! An API server gives every new Node the taint `not-ready`; without somebody who
//! takes it away once the kubelet reports Ready, nothing would ever be placed.

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

/// Keeps taints for ever.
pub(crate) async fn run(shared: Shared, _recorder: Recorder) {
    shared.nodes.synced().await;
    let queue = Queue::<Key>::new();
    let changed = queue.clone();
    shared.nodes.listen("nodetaint", move |change| {
        for node in change.either() {
            changed.add(key_of(node.as_ref()));
        }
    });
    queue.run("nodetaint", 1, |key| sync(&shared, key)).await;
}

async fn sync(shared: &Shared, key: Key) -> Result<Option<Duration>, Error> {
    let Some(node) = shared.nodes.get(&key) else { return Ok(None) };
    let Some(taints) = wanted(&node) else { return Ok(None) };
    let name = node.name_any();
    let api: Api<Node> = Api::all(shared.client.clone());
    // With the version that was looked at: another writer's taint is not lost.
    let patch = json!({
        "metadata": { "resourceVersion": node.resource_version() },
        "spec": { "taints": taints },
    });
    let node = merge(&api, &name, &patch).await?;
    shared.nodes.put(node);
    Ok(None)
}

/// The taints the node should have, if they are not those it has.
fn wanted(node: &Node) -> Option<Vec<Taint>> {
    let spec = node.spec.as_ref();
    let ready = node.status.as_ref().and_then(|status| status.conditions.iter().flatten().find(|c| c.type_ == "Ready"));
    let by_condition = match ready.map(|ready| ready.status.as_str()) {
        Some("True") => None,
        Some("Unknown") => Some(UNREACHABLE),
        _ => Some(NOT_READY),
    };
    let cordoned = spec.and_then(|spec| spec.unschedulable).unwrap_or(false).then_some(UNSCHEDULABLE);
    let have = spec.and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let ours = |taint: &Taint| {
        taint.effect == "NoSchedule" && [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&taint.key.as_str())
    };
    let is_due = |taint: &Taint| Some(taint.key.as_str()) == by_condition || Some(taint.key.as_str()) == cordoned;
    let mut taints: Vec<Taint> = have.iter().filter(|taint| !ours(taint) || is_due(taint)).cloned().collect();
    for key in [by_condition, cordoned].into_iter().flatten() {
        if !taints.iter().any(|taint| taint.key == key && taint.effect == "NoSchedule") {
            taints.push(Taint { key: key.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() });
        }
    }
    (taints != have).then_some(taints)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(ready: &str, cordoned: bool, taints: &[&str]) -> Node {
        let taints: Vec<_> = taints.iter().map(|key| json!({"key": key, "effect": "NoSchedule"})).collect();
        serde_json::from_value(json!({
            "metadata": {"name": "n"},
            "spec": {"unschedulable": cordoned, "taints": taints},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    #[test]
    fn taints_follow_conditions_and_leave_those_of_others() {
        for (ready, cordoned, have, want) in [
            ("True", false, &[NOT_READY][..], Some(&[][..])),
            ("True", false, &["tidegate.dev/local"], None),
            ("True", false, &["tidegate.dev/local", NOT_READY], Some(&["tidegate.dev/local"])),
            ("False", false, &[], Some(&[NOT_READY])),
            ("Unknown", false, &[NOT_READY], Some(&[UNREACHABLE])),
            ("True", true, &[], Some(&[UNSCHEDULABLE])),
            ("True", false, &[UNSCHEDULABLE], Some(&[])),
            ("False", false, &[NOT_READY], None),
        ] {
            let taints = wanted(&node(ready, cordoned, have));
            let keys = taints.as_ref().map(|taints| taints.iter().map(|t| t.key.as_str()).collect::<Vec<_>>());
            assert_eq!(keys.as_deref(), want, "{ready} {cordoned} {have:?}");
        }
    }
}
