//! What several parts ask of a Pod.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;

use crate::clock;

/// `status.phase`, `Pending` when not yet said.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|s| s.phase.as_deref())
        .unwrap_or("Pending")
}

/// Whether the Pod ran to its end: `Succeeded` or `Failed`.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Neither finished nor going.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// The condition of that type.
pub(crate) fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status
        .as_ref()?
        .conditions
        .as_ref()?
        .iter()
        .find(|c| c.type_ == type_)
}

/// Whether the condition `Ready` is True.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|c| c.status == "True")
}

/// `Ok` when ready for `min_ready` seconds; `Err(Some(rest))` when that lies ahead; `Err(None)` when not ready.
pub(crate) fn is_available(pod: &Pod, min_ready: i32, now: Timestamp) -> Result<(), Option<Duration>> {
    let Some(ready) = condition(pod, "Ready").filter(|c| c.status == "True") else {
        return Err(None);
    };
    if min_ready <= 0 {
        return Ok(());
    }
    let wanted = Duration::from_secs(u64::try_from(min_ready).unwrap_or(0));
    let been = ready
        .last_transition_time
        .as_ref()
        .map_or(Duration::ZERO, |t| clock::since(t, now));
    if been >= wanted {
        Ok(())
    } else {
        Err(Some(wanted - been))
    }
}

/// Restarts of all containers together.
pub(crate) fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
    statuses
        .into_iter()
        .flatten()
        .map(|c| c.restart_count)
        .fold(0, i32::saturating_add)
}

/// The owner that controls the object.
pub(crate) fn controller<K: Resource>(object: &K) -> Option<&OwnerReference> {
    object
        .meta()
        .owner_references
        .as_ref()?
        .iter()
        .find(|owner| owner.controller == Some(true))
}
