//! Which Pods go first, and what a ReplicaSet's status says. Pure.

use std::cmp::Ordering;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use crate::pods;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// A ReplicaSet's Pods, counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// The counts as the status shows them; a zero is absent, as Kubernetes has it.
    pub status: ReplicaSetStatus,
    /// When the next ready Pod will have been ready for long enough.
    pub next_available: Option<Duration>,
}

/// Counts the Pods that a ReplicaSet owns.
pub fn count<'a>(set: &ReplicaSet, owned: impl Iterator<Item = &'a Pod>, now: Timestamp) -> Counts {
    let spec = set.spec.as_ref();
    let min_ready = spec.and_then(|s| s.min_ready_seconds).unwrap_or(0);
    let template = spec.and_then(|s| s.template.as_ref()?.metadata.as_ref()?.labels.as_ref());
    let (mut replicas, mut labeled, mut ready, mut available, mut going) = (0, 0, 0, 0, 0);
    let mut next_available: Option<Duration> = None;
    for pod in owned.filter(|pod| !pods::is_finished(pod)) {
        if pod.metadata.deletion_timestamp.is_some() {
            going += 1;
            continue;
        }
        replicas += 1;
        let labels = pod.metadata.labels.as_ref();
        let has = |(key, value): (&String, &String)| labels.is_some_and(|l| l.get(key) == Some(value));
        labeled += i32::from(template.into_iter().flatten().all(has));
        ready += i32::from(pods::is_ready(pod));
        match pods::is_available(pod, min_ready, now) {
            Ok(()) => available += 1,
            Err(Some(rest)) => next_available = Some(next_available.map_or(rest, |known| known.min(rest))),
            Err(None) => {}
        }
    }
    let some = |count: i32| Some(count).filter(|count| *count != 0);
    Counts {
        status: ReplicaSetStatus {
            replicas,
            fully_labeled_replicas: some(labeled),
            ready_replicas: some(ready),
            available_replicas: some(available),
            terminating_replicas: some(going),
            ..ReplicaSetStatus::default()
        },
        next_available,
    }
}

/// The `count` Pods to delete, in Kubernetes' order: those that were never
/// placed, then by phase, not ready, of lower deletion cost, on the node with
/// most of them, ready for the shortest time, most restarted, youngest.
#[must_use]
pub fn victims<'a>(active: &[&'a Pod], count: usize, now: Timestamp) -> Vec<&'a Pod> {
    if count == 0 {
        return Vec::new();
    }
    let node = |pod: &Pod| {
        pod.spec
            .as_ref()
            .and_then(|s| s.node_name.clone())
            .filter(|n| !n.is_empty())
    };
    let crowd = |pod: &Pod| active.iter().filter(|other| node(other) == node(pod)).count();
    let mut ranked: Vec<(&Pod, usize)> = active.iter().map(|pod| (*pod, crowd(pod))).collect();
    ranked.sort_by(|(a, crowd_a), (b, crowd_b)| {
        (node(a).is_some().cmp(&node(b).is_some()))
            .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
            .then_with(|| pods::is_ready(a).cmp(&pods::is_ready(b)))
            .then_with(|| cost(a).cmp(&cost(b)))
            .then_with(|| crowd_b.cmp(crowd_a))
            .then_with(|| by_age(age_ready(a, now), age_ready(b, now)))
            .then_with(|| pods::restarts(b).cmp(&pods::restarts(a)))
            .then_with(|| by_age(age(a, now), age(b, now)))
            .then_with(|| a.metadata.name.cmp(&b.metadata.name))
    });
    ranked.into_iter().take(count).map(|(pod, _)| pod).collect()
}

fn phase_rank(pod: &Pod) -> u8 {
    match pods::phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    }
}

fn cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    annotations
        .and_then(|a| a.get(DELETION_COST)?.parse().ok())
        .unwrap_or(0)
}

fn age_ready(pod: &Pod, now: Timestamp) -> Option<Duration> {
    let ready = pods::condition(pod, "Ready").filter(|c| c.status == "True")?;
    Some(crate::clock::since(ready.last_transition_time.as_ref()?, now))
}

fn age(pod: &Pod, now: Timestamp) -> Option<Duration> {
    Some(crate::clock::since(pod.metadata.creation_timestamp.as_ref()?, now))
}

/// Younger first, but only by order of magnitude: among Pods of nearly one age
/// the choice is not to follow the order in which they were made.
fn by_age(a: Option<Duration>, b: Option<Duration>) -> Ordering {
    let bucket = |age: Duration| age.as_secs().checked_ilog2().map_or(0, |log| log + 1);
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(a), Some(b)) => bucket(a).cmp(&bucket(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, ready_for: Option<i64>, more: &Value) -> Pod {
        let mut pod = json!({
            "metadata": {"name": name, "creationTimestamp": at(10_000), "annotations": {}, "labels": {"app": "x"}},
            "spec": {"containers": [], "nodeName": "n"},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": if ready_for.is_some() { "True" } else { "False" },
                 "lastTransitionTime": at(ready_for.unwrap_or(0))}]},
        });
        for (pointer, value) in more.as_object().unwrap() {
            match pod.pointer_mut(pointer) {
                Some(place) => *place = value.clone(),
                None => panic!("{pointer}"),
            }
        }
        serde_json::from_value(pod).unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    fn at(ago: i64) -> String {
        Timestamp::from_second(1_000_000 - ago).unwrap().to_string()
    }

    #[test]
    fn victims_go_in_kubernetes_order() {
        let pods = [
            pod("stays", Some(5_000), &json!({})),
            pod("younger", Some(5_000), &json!({"/metadata/creationTimestamp": at(20)})),
            pod(
                "restarted",
                Some(5_000),
                &json!({"/status": {"phase": "Running",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at(5_000)}],
                "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 3}]}}),
            ),
            pod("ready-lately", Some(10), &json!({})),
            pod(
                "cheap",
                Some(5_000),
                &json!({"/metadata/annotations": {DELETION_COST: "-5"}}),
            ),
            pod("not-ready", None, &json!({})),
            pod("pending", None, &json!({"/status/phase": "Pending"})),
            pod(
                "unplaced",
                None,
                &json!({"/spec": {"containers": []}, "/status/phase": "Pending"}),
            ),
        ];
        let order: Vec<&str> = victims(&pods.iter().collect::<Vec<_>>(), 8, now())
            .iter()
            .map(|p| p.metadata.name.as_deref().unwrap())
            .collect();
        let want = [
            "unplaced",
            "pending",
            "not-ready",
            "cheap",
            "ready-lately",
            "restarted",
            "younger",
            "stays",
        ];
        assert_eq!(order, want);
        assert_eq!(victims(&pods.iter().collect::<Vec<_>>(), 1, now()).len(), 1);
        assert!(victims(&pods.iter().collect::<Vec<_>>(), 0, now()).is_empty());
    }

    #[test]
    fn the_crowded_node_gives_first() {
        let on = |name: &str, node: &str| pod(name, Some(100), &json!({"/spec/nodeName": node}));
        let pods = [on("a", "n1"), on("b", "n2"), on("c", "n2")];
        assert_eq!(
            victims(&pods.iter().collect::<Vec<_>>(), 1, now())[0]
                .metadata
                .name
                .as_deref(),
            Some("b")
        );
    }

    #[test]
    fn a_ready_pod_is_available_after_its_time() {
        let set: ReplicaSet = serde_json::from_value(json!({"metadata": {}, "spec": {
            "minReadySeconds": 60, "selector": {}, "template": {"metadata": {"labels": {"app": "x"}}}}}))
        .unwrap();
        let mut going = pod("going", Some(100), &json!({}));
        going.metadata.deletion_timestamp = Some(crate::clock::truncate(now()));
        let pods = [
            pod("long", Some(100), &json!({})),
            pod("short", Some(20), &json!({"/metadata/labels": {}})),
            pod("not", None, &json!({})),
            pod("failed", None, &json!({"/status/phase": "Failed"})),
            going,
        ];
        let counts = count(&set, pods.iter(), now());
        let status = &counts.status;
        assert_eq!(
            (status.replicas, status.ready_replicas, status.available_replicas),
            (3, Some(2), Some(1))
        );
        assert_eq!(
            (status.fully_labeled_replicas, status.terminating_replicas),
            (Some(2), Some(1))
        );
        assert_eq!(counts.next_available, Some(Duration::from_secs(40)));
        assert_eq!(count(&set, [].iter(), now()).status.ready_replicas, None);
    }
}
