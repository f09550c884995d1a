//! The cells of workloads and of what steers them.

use super::super::human::{between, duration, moment, since};
use super::{Cells, age, containers, labels, list, name, number, plain, selector, selector_or_none, text};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(in crate::forms::table) fn pod_template(template: &Value, _now: Timestamp) -> Cells {
    let [names, images] = containers(&template["template"]["spec"]);
    vec![
        name(template),
        names,
        images,
        json!(labels(&template["template"]["metadata"]["labels"])),
    ]
}

pub(in crate::forms::table) fn replica_set(set: &Value, now: Timestamp) -> Cells {
    let (spec, status) = (&set["spec"], &set["status"]);
    let [names, images] = containers(&spec["template"]["spec"]);
    // A ReplicationController's selector is a bare map of labels.
    let is_selector = spec["selector"]["matchLabels"].is_object() || spec["selector"]["matchExpressions"].is_array();
    let selector = if is_selector {
        selector_or_none(&spec["selector"])
    } else {
        json!(labels(&spec["selector"]))
    };
    vec![
        name(set),
        json!(number(&spec["replicas"])),
        json!(number(&status["replicas"])),
        json!(number(&status["readyReplicas"])),
        age(set, now),
        names,
        images,
        selector,
    ]
}

pub(in crate::forms::table) fn deployment(deployment: &Value, now: Timestamp) -> Cells {
    let (spec, status) = (&deployment["spec"], &deployment["status"]);
    let [names, images] = containers(&spec["template"]["spec"]);
    vec![
        name(deployment),
        json!(format!(
            "{}/{}",
            number(&status["readyReplicas"]),
            number(&spec["replicas"])
        )),
        json!(number(&status["updatedReplicas"])),
        json!(number(&status["availableReplicas"])),
        age(deployment, now),
        names,
        images,
        json!(selector(&spec["selector"])),
    ]
}

pub(in crate::forms::table) fn stateful_set(set: &Value, now: Timestamp) -> Cells {
    let [names, images] = containers(&set["spec"]["template"]["spec"]);
    let ready = format!(
        "{}/{}",
        number(&set["status"]["readyReplicas"]),
        number(&set["spec"]["replicas"])
    );
    vec![name(set), json!(ready), age(set, now), names, images]
}

pub(in crate::forms::table) fn daemon_set(set: &Value, now: Timestamp) -> Cells {
    let (spec, status) = (&set["spec"], &set["status"]);
    let [names, images] = containers(&spec["template"]["spec"]);
    let mut cells = vec![name(set)];
    for key in [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    ] {
        cells.push(json!(number(&status[key])));
    }
    cells.extend([
        json!(labels(&spec["template"]["spec"]["nodeSelector"])),
        age(set, now),
        names,
        images,
        selector_or_none(&spec["selector"]),
    ]);
    cells
}

/// The owner as `kind.group/name`.
fn controller(object: &Value) -> String {
    let owner = list(&object["metadata"]["ownerReferences"])
        .iter()
        .find(|o| o["controller"] == true);
    let Some(owner) = owner else { return "<none>".to_owned() };
    let kind = text(&owner["kind"]).to_lowercase();
    match text(&owner["apiVersion"]).split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", text(&owner["name"])),
        None => format!("{kind}/{}", text(&owner["name"])),
    }
}

pub(in crate::forms::table) fn revision(revision: &Value, now: Timestamp) -> Cells {
    vec![
        name(revision),
        json!(controller(revision)),
        json!(number(&revision["revision"])),
        age(revision, now),
    ]
}

pub(in crate::forms::table) fn job(job: &Value, now: Timestamp) -> Cells {
    let (spec, status) = (&job["spec"], &job["status"]);
    let has = |kind: &str| {
        list(&status["conditions"])
            .iter()
            .any(|c| c["type"] == kind && c["status"] == "True")
    };
    let deleted = !job["metadata"]["deletionTimestamp"].is_null();
    let state = match () {
        () if has("Complete") => "Complete",
        () if has("Failed") => "Failed",
        () if deleted => "Terminating",
        () if has("Suspended") => "Suspended",
        () if has("FailureTarget") => "FailureTarget",
        () if has("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    };
    let succeeded = number(&status["succeeded"]);
    let completions = match (spec["completions"].as_i64(), number(&spec["parallelism"])) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallel) if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let took = moment(&status["startTime"]).map_or_else(String::new, |start| {
        duration(between(start, moment(&status["completionTime"]).unwrap_or(now)))
    });
    let [names, images] = containers(&spec["template"]["spec"]);
    vec![
        name(job),
        json!(state),
        json!(completions),
        json!(took),
        age(job, now),
        names,
        images,
        selector_or_none(&spec["selector"]),
    ]
}

fn title(flag: bool) -> &'static str {
    if flag { "True" } else { "False" }
}

pub(in crate::forms::table) fn cron_job(job: &Value, now: Timestamp) -> Cells {
    let (spec, status) = (&job["spec"], &job["status"]);
    let last = &status["lastScheduleTime"];
    let [names, images] = containers(&spec["jobTemplate"]["spec"]["template"]["spec"]);
    vec![
        name(job),
        json!(text(&spec["schedule"])),
        json!(spec["timeZone"].as_str().unwrap_or("<none>")),
        json!(spec["suspend"].as_bool().map_or("<unset>", title)),
        json!(list(&status["active"]).len()),
        json!(if last.is_null() {
            "<none>".to_owned()
        } else {
            since(last, now)
        }),
        age(job, now),
        names,
        images,
        selector_or_none(&spec["jobTemplate"]["spec"]["selector"]),
    ]
}

pub(in crate::forms::table) fn lease(lease: &Value, now: Timestamp) -> Cells {
    vec![
        name(lease),
        json!(text(&lease["spec"]["holderIdentity"])),
        age(lease, now),
    ]
}

/// One metric of an autoscaler as `current/target`.
fn metric(spec: &Value, status: &Value) -> String {
    let shown = |value: &Value| {
        if value.is_null() {
            "<unknown>".to_owned()
        } else {
            plain(value)
        }
    };
    let value = |value: &Value| if value.is_null() { "0".to_owned() } else { plain(value) };
    let (source, named) = match text(&spec["type"]) {
        "External" => ("external", false),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        _ => return "<unknown type>".to_owned(),
    };
    let (target, current) = (&spec[source]["target"], &status[source]["current"]);
    if named {
        let resource = text(&spec[source]["name"]);
        if !target["averageValue"].is_null() {
            return format!(
                "{resource}: {}/{}",
                shown(&current["averageValue"]),
                value(&target["averageValue"])
            );
        }
        let percent = |value: &Value, none: &str| value.as_i64().map_or(none.to_owned(), |n| format!("{n}%"));
        let (now, goal) = (&current["averageUtilization"], &target["averageUtilization"]);
        return format!("{resource}: {}/{}", percent(now, "<unknown>"), percent(goal, "<auto>"));
    }
    if source == "pods" {
        return format!("{}/{}", shown(&current["averageValue"]), value(&target["averageValue"]));
    }
    if !target["averageValue"].is_null() {
        return format!(
            "{}/{} (avg)",
            shown(&current["averageValue"]),
            value(&target["averageValue"])
        );
    }
    format!("{}/{}", shown(&current["value"]), value(&target["value"]))
}

pub(in crate::forms::table) fn autoscaler(autoscaler: &Value, now: Timestamp) -> Cells {
    let (spec, status) = (&autoscaler["spec"], &autoscaler["status"]);
    let mut metrics: Vec<String> = list(&spec["metrics"])
        .iter()
        .enumerate()
        .map(|(position, spec)| metric(spec, &status["currentMetrics"][position]))
        .collect();
    if let Some(goal) = spec["targetCPUUtilizationPercentage"].as_i64() {
        let current = status["currentCPUUtilizationPercentage"].as_i64();
        metrics.push(format!(
            "cpu: {}/{goal}%",
            current.map_or("<unknown>".to_owned(), |n| format!("{n}%"))
        ));
    }
    let targets = match metrics.len() {
        0 => "<none>".to_owned(),
        all if all > 2 => format!("{} + {} more...", metrics[..2].join(", "), all - 2),
        _ => metrics.join(", "),
    };
    let scaled = &spec["scaleTargetRef"];
    vec![
        name(autoscaler),
        json!(format!("{}/{}", text(&scaled["kind"]), text(&scaled["name"]))),
        json!(targets),
        json!(
            spec["minReplicas"]
                .as_i64()
                .map_or("<unset>".to_owned(), |n| n.to_string())
        ),
        json!(number(&spec["maxReplicas"])),
        json!(number(&status["currentReplicas"])),
        age(autoscaler, now),
    ]
}

pub(in crate::forms::table) fn disruption_budget(budget: &Value, now: Timestamp) -> Cells {
    let bound = |key: &str| match &budget["spec"][key] {
        Value::Null => json!("N/A"),
        value => json!(plain(value)),
    };
    vec![
        name(budget),
        bound("minAvailable"),
        bound("maxUnavailable"),
        json!(number(&budget["status"]["disruptionsAllowed"])),
        age(budget, now),
    ]
}

pub(in crate::forms::table) fn priority_class(class: &Value, now: Timestamp) -> Cells {
    vec![
        name(class),
        json!(number(&class["value"])),
        json!(class["globalDefault"] == true),
        age(class, now),
        json!(text(&class["preemptionPolicy"])),
    ]
}
