//! A Deployment's status: counts, and the conditions Available and Progressing
//! in the words that kubectl reads. Pure.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::plan::Limits;
use crate::clock;

/// Reason of Progressing: all is as wanted.
pub(crate) const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const NO_DEADLINE: i32 = i32::MAX;

/// What has just been done, for the condition Progressing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Nothing new.
    None,
    /// The new ReplicaSet was made.
    Created,
    /// The new ReplicaSet was there already.
    Found,
}

/// Replicas that a ReplicaSet wants.
pub(crate) fn wanted(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

/// The new status, and when to look again because a deadline may have passed.
pub(crate) fn status(
    deployment: &Deployment,
    new: Option<&ReplicaSet>,
    old: &[&ReplicaSet],
    deed: Deed,
    now: &Time,
) -> (DeploymentStatus, Option<Duration>) {
    let before = deployment.status.clone().unwrap_or_default();
    let Some(spec) = deployment.spec.as_ref() else {
        return (before, None);
    };
    let limits = Limits::of(spec);
    let all = || old.iter().copied().chain(new);
    let sum = |count: fn(&ReplicaSet) -> i32| all().map(count).sum::<i32>();
    let available = sum(|set| set.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0));
    let some = |count: i32| Some(count).filter(|count| *count != 0);
    let mut after = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: some(sum(|set| set.status.as_ref().map_or(0, |s| s.replicas))),
        updated_replicas: some(new.and_then(|set| set.status.as_ref()).map_or(0, |s| s.replicas)),
        ready_replicas: some(sum(|set| {
            set.status.as_ref().and_then(|s| s.ready_replicas).unwrap_or(0)
        })),
        available_replicas: some(available),
        unavailable_replicas: some((sum(wanted) - available).max(0)),
        terminating_replicas: some(sum(|set| {
            set.status.as_ref().and_then(|s| s.terminating_replicas).unwrap_or(0)
        })),
        collision_count: before.collision_count,
        conditions: before.conditions.clone(),
    };
    let conditions = after.conditions.get_or_insert_default();
    if available >= limits.desired - limits.unavailable {
        set(
            conditions,
            "Available",
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
            now,
        );
    } else {
        let message = "Deployment does not have minimum availability.";
        set(
            conditions,
            "Available",
            "False",
            "MinimumReplicasUnavailable",
            message,
            now,
        );
    }
    let again = progress(deployment, &before, &mut after, new, limits.desired, deed, now);
    (after, again)
}

fn progress(
    deployment: &Deployment,
    before: &DeploymentStatus,
    after: &mut DeploymentStatus,
    new: Option<&ReplicaSet>,
    desired: i32,
    deed: Deed,
    now: &Time,
) -> Option<Duration> {
    let spec = deployment.spec.as_ref()?;
    let deadline = spec.progress_deadline_seconds.unwrap_or(600);
    let number = |count: Option<i32>| count.unwrap_or(0);
    let is_complete = number(after.updated_replicas) == desired
        && number(after.replicas) == desired
        && number(after.available_replicas) == desired;
    let old = |status: &DeploymentStatus| number(status.replicas) - number(status.updated_replicas);
    let moved = number(after.updated_replicas) > number(before.updated_replicas)
        || old(after) < old(before)
        || number(after.ready_replicas) > number(before.ready_replicas)
        || number(after.available_replicas) > number(before.available_replicas);
    let conditions = after.conditions.get_or_insert_default();
    if deadline == NO_DEADLINE {
        conditions.retain(|c| c.type_ != "Progressing");
        return None;
    }
    let known = conditions.iter().find(|c| c.type_ == "Progressing").cloned();
    let reason = known
        .as_ref()
        .and_then(|c| c.reason.as_deref())
        .unwrap_or_default()
        .to_owned();
    let name = match new {
        Some(set) => format!("ReplicaSet {:?}", set.metadata.name.as_deref().unwrap_or_default()),
        None => format!(
            "Deployment {:?}",
            deployment.metadata.name.as_deref().unwrap_or_default()
        ),
    };
    if spec.paused == Some(true) {
        if reason != "DeploymentPaused" && reason != TIMED_OUT {
            set(
                conditions,
                "Progressing",
                "Unknown",
                "DeploymentPaused",
                "Deployment is paused",
                now,
            );
        }
        return None;
    }
    if reason == "DeploymentPaused" {
        set(
            conditions,
            "Progressing",
            "Unknown",
            "DeploymentResumed",
            "Deployment is resumed",
            now,
        );
    }
    match (deed, new) {
        (Deed::Created, Some(set_)) => {
            let message = format!(
                "Created new replica set {:?}",
                set_.metadata.name.as_deref().unwrap_or_default()
            );
            set(conditions, "Progressing", "True", "NewReplicaSetCreated", &message, now);
        }
        (Deed::Found, Some(set_)) if known.is_none() => {
            let message = format!(
                "Found new replica set {:?}",
                set_.metadata.name.as_deref().unwrap_or_default()
            );
            set(conditions, "Progressing", "True", "FoundNewReplicaSet", &message, now);
        }
        _ => {}
    }
    // Once complete, a lost Pod does not make a roll of it.
    let was_complete = reason == NEW_AVAILABLE && number(after.replicas) == number(after.updated_replicas);
    if was_complete && deed != Deed::Created {
        return None;
    }
    if is_complete {
        let message = format!("{name} has successfully progressed.");
        set(conditions, "Progressing", "True", NEW_AVAILABLE, &message, now);
        return None;
    }
    if moved {
        let message = format!("{name} is progressing.");
        // Moving on counts against the deadline, so its time is new in any case.
        conditions.retain(|c| c.type_ != "Progressing");
        let transition = known
            .filter(|c| c.status == "True")
            .and_then(|c| c.last_transition_time);
        conditions.push(DeploymentCondition {
            type_: "Progressing".to_owned(),
            status: "True".to_owned(),
            reason: Some("ReplicaSetUpdated".to_owned()),
            message: Some(message),
            last_update_time: Some(now.clone()),
            last_transition_time: transition.or_else(|| Some(now.clone())),
        });
    }
    let current = conditions.iter().find(|c| c.type_ == "Progressing")?;
    if current.reason.as_deref() == Some(TIMED_OUT) {
        return None;
    }
    let deadline = Duration::from_secs(u64::try_from(deadline).unwrap_or(0));
    let been = current
        .last_update_time
        .as_ref()
        .map_or(Duration::ZERO, |t| clock::since(t, now.0));
    if been >= deadline {
        let message = format!("{name} has timed out progressing.");
        set(conditions, "Progressing", "False", TIMED_OUT, &message, now);
        return None;
    }
    Some(deadline - been + Duration::from_secs(1))
}

/// Sets a condition; one that says the same already keeps its times.
fn set(conditions: &mut Vec<DeploymentCondition>, type_: &str, status: &str, reason: &str, message: &str, now: &Time) {
    let known = conditions.iter().position(|c| c.type_ == type_);
    let known = known.map(|index| conditions.remove(index));
    let same = known.as_ref().is_some_and(|c| {
        c.status == status && c.reason.as_deref() == Some(reason) && c.message.as_deref() == Some(message)
    });
    if let (Some(known), true) = (&known, same) {
        conditions.push(known.clone());
        return;
    }
    let transition = known
        .filter(|c| c.status == status)
        .and_then(|c| c.last_transition_time);
    conditions.push(DeploymentCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(now.clone()),
        last_transition_time: transition.or_else(|| Some(now.clone())),
    });
}

/// Whether two statuses say the same, whatever the order of conditions.
pub(crate) fn same(a: &DeploymentStatus, b: &DeploymentStatus) -> bool {
    let sorted = |status: &DeploymentStatus| {
        let mut status = status.clone();
        let conditions = status.conditions.get_or_insert_default();
        conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        status
    };
    sorted(a) == sorted(b)
}

/// The merge patch that makes the status so; what is absent is taken away.
pub(crate) fn patch(status: &DeploymentStatus) -> Value {
    json!({
        "observedGeneration": status.observed_generation,
        "replicas": status.replicas,
        "updatedReplicas": status.updated_replicas,
        "readyReplicas": status.ready_replicas,
        "availableReplicas": status.available_replicas,
        "unavailableReplicas": status.unavailable_replicas,
        "terminatingReplicas": status.terminating_replicas,
        "collisionCount": status.collision_count,
        "conditions": status.conditions,
    })
}

#[cfg(test)]
#[path = "progress/tests.rs"]
mod tests;
