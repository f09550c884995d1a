//! The status of a Pod from the state of its containers. Pure.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{HostIP, Pod, PodCondition, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value};

use super::environment::Place;
use super::lifecycle::{self, Life};

/// The status to publish. `before` is the one published last: conditions that
/// did not change keep their time, and those of others are carried along.
pub(crate) fn of(
    pod: &Pod,
    lives: &[Life],
    place: &Place,
    before: &PodStatus,
    draining: bool,
    now: &Time,
) -> PodStatus {
    let statuses = |init: bool| -> Option<Vec<_>> {
        let list: Vec<_> = lives.iter().filter(|l| l.init == init).map(Life::status).collect();
        Some(list).filter(|l| !l.is_empty())
    };
    let phase = lifecycle::pod_phase(lives);
    let finished = matches!(phase, "Succeeded" | "Failed");
    let (containers, init_containers) = (statuses(false), statuses(true));
    let names = |wanted: &dyn Fn(&Life) -> bool| {
        lives
            .iter()
            .filter(|l| wanted(l))
            .map(|l| l.spec.name.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let unready = names(&|l: &Life| (!l.init || l.is_sidecar()) && !l.ready);
    let uninitialized = !lifecycle::is_initialized(lives);
    let initialized = if uninitialized {
        let todo = names(&|l: &Life| l.init && !l.status().ready);
        verdict(
            "Initialized",
            Err((
                "ContainersNotInitialized",
                format!("containers with incomplete status: [{todo}]"),
            )),
        )
    } else {
        verdict("Initialized", Ok(()))
    };
    let ready = if finished {
        let reason = if phase == "Succeeded" {
            "PodCompleted"
        } else {
            "PodFailed"
        };
        Err((reason, String::new()))
    } else if draining {
        Err(("KubeletStopping", "the process kubelet is stopping".to_owned()))
    } else if !unready.is_empty() {
        Err((
            "ContainersNotReady",
            format!("containers with unready status: [{unready}]"),
        ))
    } else if uninitialized {
        Err(("ContainersNotInitialized", String::new()))
    } else {
        Ok(())
    };
    let gates = pod
        .spec
        .as_ref()
        .and_then(|s| s.readiness_gates.as_ref())
        .into_iter()
        .flatten();
    let closed = gates
        .map(|g| &g.condition_type)
        .find(|gate| crate::pods::condition(pod, gate).is_none_or(|c| c.status != "True"));
    let pod_ready = match (&ready, closed) {
        (Ok(()), Some(gate)) => Err((
            "ReadinessGatesNotReady",
            format!("corresponding condition of pod readiness gate {gate:?} is not True"),
        )),
        _ => ready.clone(),
    };
    let mut conditions = vec![
        initialized,
        verdict("Ready", pod_ready),
        verdict("ContainersReady", ready),
        verdict("PodScheduled", Ok(())),
    ];
    let known = before.conditions.iter().flatten();
    for condition in &mut conditions {
        let same = known
            .clone()
            .find(|c| c.type_ == condition.type_ && c.status == condition.status);
        condition.last_transition_time = same
            .and_then(|c| c.last_transition_time.clone())
            .or_else(|| Some(now.clone()));
    }
    let foreign = pod
        .status
        .as_ref()
        .and_then(|s| s.conditions.as_ref())
        .into_iter()
        .flatten();
    let ours = conditions.len();
    conditions.extend(foreign.filter(|c| !is_ours(&c.type_)).cloned());
    debug_assert!(ours == 4);
    let ip = place.address.to_string();
    let local = Ipv4Addr::LOCALHOST.to_string();
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(conditions),
        container_statuses: containers,
        init_container_statuses: init_containers,
        host_ip: Some(local.clone()),
        host_ips: Some(vec![HostIP { ip: local }]),
        pod_ip: Some(ip.clone()),
        pod_ips: Some(vec![PodIP { ip }]),
        start_time: before.start_time.clone().or_else(|| Some(now.clone())),
        ..PodStatus::default()
    }
}

/// A Pod that this node cannot take: why.
pub(crate) fn refused(before: &PodStatus, reason: &str, message: &str, now: &Time) -> PodStatus {
    PodStatus {
        phase: Some("Failed".to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        start_time: before.start_time.clone().or_else(|| Some(now.clone())),
        ..PodStatus::default()
    }
}

fn is_ours(type_: &str) -> bool {
    matches!(type_, "Initialized" | "Ready" | "ContainersReady" | "PodScheduled")
}

fn verdict(type_: &str, verdict: Result<(), (&str, String)>) -> PodCondition {
    let (status, reason, message) = match verdict {
        Ok(()) => ("True", None, None),
        Err((reason, message)) => (
            "False",
            Some(reason.to_owned()),
            Some(message).filter(|m| !m.is_empty()),
        ),
    };
    PodCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason,
        message,
        ..PodCondition::default()
    }
}

/// The merge patch from one published status to the next; `None` when nothing changed.
pub(crate) fn patch(before: &PodStatus, after: &PodStatus) -> Option<Value> {
    let object = |status: &PodStatus| match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let (before, after) = (object(before), object(after));
    let mut changed = Map::new();
    for (key, value) in &after {
        if before.get(key) != Some(value) {
            changed.insert(key.clone(), value.clone());
        }
    }
    // What this kubelet never says (the quality-of-service class) is not its to take away.
    for key in ["reason", "message", "initContainerStatuses"] {
        if before.contains_key(key) && !after.contains_key(key) {
            changed.insert(key.to_owned(), Value::Null);
        }
    }
    Some(changed).filter(|c| !c.is_empty()).map(Value::Object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Container;
    use k8s_openapi::jiff::Timestamp;
    use std::time::Instant;

    fn time(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn condition<'a>(status: &'a PodStatus, type_: &str) -> &'a PodCondition {
        status
            .conditions
            .as_ref()
            .unwrap()
            .iter()
            .find(|c| c.type_ == type_)
            .unwrap()
    }

    #[test]
    fn readiness_moves_conditions_and_only_their_times() {
        let place = Place {
            node: "n".into(),
            address: Ipv4Addr::new(127, 77, 0, 1),
            gpus: vec![],
        };
        let mut lives = vec![Life::new(
            Container {
                name: "c".into(),
                ..Container::default()
            },
            false,
        )];
        let pod = Pod::default();
        let first = of(&pod, &lives, &place, &PodStatus::default(), false, &time(1));
        assert_eq!(first.phase.as_deref(), Some("Pending"));
        assert_eq!(condition(&first, "Ready").reason.as_deref(), Some("ContainersNotReady"));
        lives[0].on_started(9, time(2), Instant::now());
        let second = of(&pod, &lives, &place, &first, false, &time(3));
        assert_eq!(second.phase.as_deref(), Some("Running"));
        assert_eq!(condition(&second, "Ready").last_transition_time, Some(time(3)));
        assert_eq!(condition(&second, "Initialized").last_transition_time, Some(time(1)));
        let change = patch(&first, &second).unwrap();
        assert!(change.get("podIP").is_none() && change.get("phase").is_some());
        assert_eq!(
            patch(&second, &of(&pod, &lives, &place, &second, false, &time(9))),
            None
        );
        let third = of(&pod, &lives, &place, &second, true, &time(9));
        assert_eq!(condition(&third, "Ready").status, "False");
        assert_eq!(third.phase.as_deref(), Some("Running"));
    }

    #[test]
    fn a_readiness_gate_holds_back_the_pod_but_not_its_containers() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {}, "spec": {"containers": [], "readinessGates": [{"conditionType": "x/y"}]},
            "status": {"conditions": [{"type": "x/y", "status": "False"}]}
        }))
        .unwrap();
        let place = Place {
            node: "n".into(),
            address: Ipv4Addr::new(127, 77, 0, 1),
            gpus: vec![],
        };
        let mut lives = vec![Life::new(
            Container {
                name: "c".into(),
                ..Container::default()
            },
            false,
        )];
        lives[0].on_started(9, time(2), Instant::now());
        let status = of(&pod, &lives, &place, &PodStatus::default(), false, &time(3));
        assert_eq!(
            condition(&status, "Ready").reason.as_deref(),
            Some("ReadinessGatesNotReady")
        );
        assert_eq!(condition(&status, "ContainersReady").status, "True");
        assert_eq!(condition(&status, "x/y").status, "False");
    }
}
