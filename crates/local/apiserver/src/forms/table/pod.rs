//! The cells of a Pod: what state its containers amount to.

use super::human::{moment, since};
use jiff::Timestamp;
use serde_json::{Value, json};

fn list(value: &Value) -> impl DoubleEndedIterator<Item = &Value> + ExactSizeIterator {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn or_none(value: &str) -> &str {
    if value.is_empty() { "<none>" } else { value }
}

fn has_condition(pod: &Value, kind: &str) -> bool {
    list(&pod["status"]["conditions"]).any(|c| c["type"] == kind && c["status"] == "True")
}

/// Restarts and when the last happened.
#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, container: &Value) {
        self.count += container["restartCount"].as_i64().unwrap_or(0);
        self.last = self
            .last
            .max(moment(&container["lastState"]["terminated"]["finishedAt"]));
    }
}

/// How a container ended: its reason, or signal, or exit code.
fn ending(terminated: &Value) -> String {
    match (text(&terminated["reason"]), terminated["signal"].as_i64().unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

/// What the init containers amount to: the state that holds the Pod up, if one
/// does, and counts of those that run beside the others.
struct Initialization {
    holding: Option<String>,
    restarts: Restarts,
    sidecar_restarts: Restarts,
    ready: usize,
}

fn initialization(pod: &Value) -> Initialization {
    let specs = &pod["spec"]["initContainers"];
    let is_sidecar = |name: &Value| list(specs).any(|c| c["name"] == *name && c["restartPolicy"] == "Always");
    let mut state = Initialization {
        holding: None,
        restarts: Restarts::default(),
        sidecar_restarts: Restarts::default(),
        ready: 0,
    };
    for (position, container) in list(&pod["status"]["initContainerStatuses"]).enumerate() {
        state.restarts.add(container);
        let sidecar = is_sidecar(&container["name"]);
        if sidecar {
            state.sidecar_restarts.add(container);
        }
        let terminated = &container["state"]["terminated"];
        let waiting = text(&container["state"]["waiting"]["reason"]);
        if terminated.is_object() && terminated["exitCode"].as_i64().unwrap_or(0) == 0 {
            continue;
        }
        if sidecar && container["started"] == true {
            state.ready += usize::from(container["ready"] == true);
            continue;
        }
        state.holding = Some(match () {
            () if terminated.is_object() => format!("Init:{}", ending(terminated)),
            () if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
            () => format!("Init:{position}/{}", list(specs).len()),
        });
        break;
    }
    state
}

/// What the containers amount to, as a reason in place of the phase.
fn containers(pod: &Value, mut reason: String, restarts: &mut Restarts, ready: &mut usize) -> String {
    let (mut running, mut failed) = (false, None);
    for container in list(&pod["status"]["containerStatuses"]).rev() {
        restarts.add(container);
        let state = &container["state"];
        let waiting = text(&state["waiting"]["reason"]);
        if !waiting.is_empty() {
            reason = waiting.to_owned();
        } else if state["terminated"].is_object() {
            reason = ending(&state["terminated"]);
            if state["terminated"]["exitCode"].as_i64().unwrap_or(0) != 0 {
                failed = Some(reason.clone());
            }
        } else if container["ready"] == true && state["running"].is_object() {
            running = true;
            *ready += 1;
        }
    }
    if reason != "Completed" {
        return reason;
    }
    match (running, failed) {
        (true, _) if has_condition(pod, "Ready") => "Running".to_owned(),
        (_, Some(failed)) => failed,
        (true, None) => "NotReady".to_owned(),
        (false, None) => reason,
    }
}

/// Name, ready, status, restarts, age, IP, node, nominated node, readiness gates.
pub(super) fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let (metadata, spec, status) = (&pod["metadata"], &pod["spec"], &pod["status"]);
    let phase = text(&status["phase"]);
    let mut reason = match text(&status["reason"]) {
        "" => phase.to_owned(),
        own => own.to_owned(),
    };
    if list(&status["conditions"]).any(|c| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated") {
        reason = "SchedulingGated".to_owned();
    }
    let sidecars = list(&spec["initContainers"])
        .filter(|c| c["restartPolicy"] == "Always")
        .count();
    let total = list(&spec["containers"]).len() + sidecars;

    let init = initialization(pod);
    let (mut restarts, mut ready) = (init.restarts, init.ready);
    if let Some(holding) = &init.holding {
        reason.clone_from(holding);
    }
    if init.holding.is_none() || has_condition(pod, "Initialized") {
        restarts = init.sidecar_restarts;
        reason = containers(pod, reason, &mut restarts, &mut ready);
    }
    if !metadata["deletionTimestamp"].is_null() {
        if status["reason"] == "NodeLost" {
            reason = "Unknown".to_owned();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            reason = "Terminating".to_owned();
        }
    }
    let restarts = match restarts.last {
        Some(last) if restarts.count != 0 => {
            format!(
                "{} ({} ago)",
                restarts.count,
                super::human_duration(super::human::between(last, now))
            )
        }
        _ => restarts.count.to_string(),
    };
    let gates = list(&spec["readinessGates"]);
    let gates = match gates.len() {
        0 => "<none>".to_owned(),
        all => format!(
            "{}/{all}",
            gates.filter(|g| has_condition(pod, text(&g["conditionType"]))).count()
        ),
    };
    vec![
        metadata["name"].clone(),
        json!(format!("{ready}/{total}")),
        json!(reason),
        json!(restarts),
        json!(since(&metadata["creationTimestamp"], now)),
        json!(or_none(text(&status["podIPs"][0]["ip"]))),
        json!(or_none(text(&spec["nodeName"]))),
        json!(or_none(text(&status["nominatedNodeName"]))),
        json!(gates),
    ]
}

/// Rows of finished Pods are marked, so that clients can leave them out.
pub(super) fn row_conditions(pod: &Value) -> Option<Value> {
    let (reason, message) = match text(&pod["status"]["phase"]) {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}
