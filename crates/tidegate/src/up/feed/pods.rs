//! Pods as people think of them: starting since when, serving, draining, failed and why.

use crate::dashboard::ReplicaState;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client};
use tokio::sync::watch as changes;
use tokio_util::sync::CancellationToken;

/// Keeps the Pods of `namespace` at hand until `stop`, and counts `changed` up when one changes.
pub(super) fn watch(
    client: &Client,
    namespace: &str,
    changed: changes::Sender<u64>,
    stop: CancellationToken,
) -> reflector::Store<Pod> {
    let (store, writer) = reflector::store();
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let config = watcher::Config::default().labels(api::names::MODEL_LABEL);
    let events = reflector::reflector(writer, watcher(api, config).default_backoff());
    tokio::spawn(async move {
        let mut events = std::pin::pin!(events);
        while let Some(event) = tokio::select! { () = stop.cancelled() => None, event = events.next() => event } {
            match event {
                Ok(_) => changed.send_modify(|changes| *changes += 1),
                Err(error) => tracing::warn!(%error, "the Pods cannot be watched; trying again"),
            }
        }
    });
    store
}

/// What a Pod's server is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PodState {
    pub(super) state: ReplicaState,
    pub(super) reason: Option<String>,
    pub(super) started_unix_ms: Option<u64>,
    pub(super) ready_unix_ms: Option<u64>,
    pub(super) restarts: u32,
}

impl PodState {
    /// A Pod that the autoscaler has seen and the watch has not.
    pub(super) const fn unknown() -> Self {
        Self {
            state: ReplicaState::Pending,
            reason: None,
            started_unix_ms: None,
            ready_unix_ms: None,
            restarts: 0,
        }
    }

    /// Reads a Pod's status.
    pub(super) fn of(pod: &Pod) -> Self {
        let mut found = Self::unknown();
        let Some(status) = &pod.status else { return found };
        let condition = |kind: &str| status.conditions.iter().flatten().find(|c| c.type_ == kind);
        let servers = status.container_statuses.as_deref().unwrap_or_default();
        found.restarts = servers
            .iter()
            .map(|server| u32::try_from(server.restart_count).unwrap_or(0))
            .sum();
        found.started_unix_ms = servers.iter().filter_map(started).max();
        let ready = condition("Ready").filter(|ready| ready.status == "True");
        if pod.metadata.deletion_timestamp.is_some() {
            found.state = ReplicaState::Draining;
        } else if let Some(ready) = ready {
            found.state = ReplicaState::Serving;
            found.ready_unix_ms = ready.last_transition_time.as_ref().map(|time| unix_ms(time.0));
        } else if let Some(reason) = failure(status.phase.as_deref(), servers) {
            found.state = ReplicaState::Failed;
            found.reason = Some(reason);
        } else if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
            found.state = ReplicaState::Starting;
        } else {
            found.reason = condition("PodScheduled").and_then(|scheduled| scheduled.message.clone());
        }
        found
    }
}

fn started(server: &ContainerStatus) -> Option<u64> {
    let running = server.state.as_ref()?.running.as_ref()?;
    running.started_at.as_ref().map(|time| unix_ms(time.0))
}

fn unix_ms(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or(0)
}

/// Why nothing of the Pod runs or is about to, if so.
fn failure(phase: Option<&str>, servers: &[ContainerStatus]) -> Option<String> {
    let waiting = servers
        .iter()
        .filter_map(|server| server.state.as_ref()?.waiting.as_ref());
    let stuck = waiting.filter(|waiting| {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        reason.ends_with("BackOff") || reason.ends_with("Error")
    });
    let said = stuck
        .map(|waiting| {
            waiting
                .message
                .clone()
                .or_else(|| waiting.reason.clone())
                .unwrap_or_default()
        })
        .next();
    said.or_else(|| (phase == Some("Failed")).then(|| "the Pod failed".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: &Value, status: &Value) -> PodState {
        PodState::of(
            &serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec, "status": status})).unwrap(),
        )
    }

    #[test]
    fn a_pod_is_what_people_call_it() {
        let placed = json!({"containers": [], "nodeName": "n"});
        let waits = |reason: &str| {
            json!({"containerStatuses": [{"name": "s", "image": "", "imageID": "", "ready": false, "restartCount": 3,
                "state": {"waiting": {"reason": reason, "message": "command not found: vllm"}}}]})
        };
        let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        for (spec, status, state) in [
            (json!({"containers": []}), json!({}), ReplicaState::Pending),
            (placed.clone(), json!({}), ReplicaState::Starting),
            (placed.clone(), waits("ContainerCreating"), ReplicaState::Starting),
            (placed.clone(), waits("CrashLoopBackOff"), ReplicaState::Failed),
            (placed.clone(), waits("CreateContainerError"), ReplicaState::Failed),
            (placed.clone(), ready, ReplicaState::Serving),
        ] {
            assert_eq!(pod(&spec, &status).state, state, "{status}");
        }
        let failed = pod(&placed, &waits("CreateContainerError"));
        assert_eq!(
            (failed.reason.as_deref(), failed.restarts),
            (Some("command not found: vllm"), 3)
        );
    }
}
