//! What workloads, jobs, autoscalers and disruption budgets must be.

use super::check::{Found, at_least, complain, immutable, labels, list, one_of, text};
use super::{autoscaler_checks, pod_checks};
use crate::forms::{schema::Cause, selector::Labels, words};
use serde_json::{Value, json};

pub(super) fn object(kind: &str, new: &Value, old: Option<&Value>, found: &mut Found) {
    let spec = &new["spec"];
    match kind {
        "Deployment" => deployment(spec, found),
        "ReplicaSet" => {
            at_least("spec.replicas", &spec["replicas"], 0, found);
            at_least("spec.minReadySeconds", &spec["minReadySeconds"], 0, found);
            selector_and_template(spec, kind, found);
        }
        "StatefulSet" => stateful_set(spec, found),
        "DaemonSet" => {
            at_least("spec.minReadySeconds", &spec["minReadySeconds"], 0, found);
            at_least("spec.revisionHistoryLimit", &spec["revisionHistoryLimit"], 0, found);
            let strategy = &spec["updateStrategy"];
            if !matches!(text(&strategy["type"]), "" | "RollingUpdate" | "OnDelete") {
                found.push(Cause::not_supported(
                    "spec.updateStrategy",
                    strategy,
                    &["RollingUpdate", "OnDelete"],
                ));
            }
            selector_and_template(spec, kind, found);
        }
        "Job" => job(spec, "spec", found),
        "CronJob" => cron_job(spec, found),
        "HorizontalPodAutoscaler" => {
            autoscaler_checks::autoscaler(spec, old.map(|old| &old["spec"]), found);
            for key in ["currentReplicas", "desiredReplicas"] {
                at_least(&format!("status.{key}"), &new["status"][key], 0, found);
            }
        }
        "PodDisruptionBudget" => budget(spec, found),
        _ => {}
    }
    if let Some(old) = old {
        update(kind, spec, &old["spec"], found);
    }
}

fn update(kind: &str, new: &Value, old: &Value, found: &mut Found) {
    match kind {
        "Deployment" | "ReplicaSet" | "DaemonSet" => {
            immutable("spec.selector", &new["selector"], &old["selector"], found);
        }
        "StatefulSet" => {
            const MAY: [&str; 7] = [
                "replicas",
                "ordinals",
                "template",
                "updateStrategy",
                "revisionHistoryLimit",
                "persistentVolumeClaimRetentionPolicy",
                "minReadySeconds",
            ];
            let fixed = |spec: &Value| {
                let mut spec = spec.clone();
                if let Some(spec) = spec.as_object_mut() {
                    spec.retain(|key, _| !MAY.contains(&key.as_str()));
                }
                spec
            };
            if fixed(new) != fixed(old) {
                let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                              'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                              'minReadySeconds' are forbidden";
                found.push(Cause::forbidden("spec", detail));
            }
        }
        "Job" => {
            // Completions of an indexed Job may follow its parallelism.
            let elastic = new["completionMode"] == "Indexed" && new["completions"] == new["parallelism"];
            if !elastic {
                immutable("spec.completions", &new["completions"], &old["completions"], found);
            }
            immutable("spec.selector", &new["selector"], &old["selector"], found);
            if old["suspend"] != true {
                immutable("spec.template", &new["template"], &old["template"], found);
            }
            immutable(
                "spec.completionMode",
                &new["completionMode"],
                &old["completionMode"],
                found,
            );
        }
        _ => {}
    }
}

/// A label selector's own correctness.
pub(super) fn selector(selector: &Value, place: &str, found: &mut Found) -> bool {
    let before = found.len();
    labels(&format!("{place}.matchLabels"), &selector["matchLabels"], found);
    for (position, expression) in list(&selector["matchExpressions"]).iter().enumerate() {
        let at = |key: &str| format!("{place}.matchExpressions[{position}].{key}");
        let values = list(&expression["values"]);
        match text(&expression["operator"]) {
            "In" | "NotIn" if values.is_empty() => {
                found.push(Cause::required(
                    at("values"),
                    "must be specified when `operator` is 'In' or 'NotIn'",
                ));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                found.push(Cause::forbidden(at("values"), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => found.push(Cause::invalid(
                at("operator"),
                &expression["operator"],
                "not a valid selector operator",
            )),
        }
        complain(
            &at("key"),
            &expression["key"],
            words::qualified_name(text(&expression["key"])),
            found,
        );
    }
    found.len() == before
}

fn selector_and_template(spec: &Value, kind: &str, found: &mut Found) {
    let given = &spec["selector"];
    let template = &spec["template"];
    let has_parts = |key: &str| match &given[key] {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    };
    let empty = !has_parts("matchLabels") && !has_parts("matchExpressions");
    if given.is_null() {
        found.push(Cause::required("spec.selector", ""));
    } else {
        let fits = selector(given, "spec.selector", found);
        if empty {
            let detail = format!("empty selector is invalid for {}", kind.to_lowercase());
            found.push(Cause::invalid("spec.selector", given, &detail));
        }
        if !fits {
            found.push(Cause::invalid("spec.selector", given, "invalid label selector"));
            pod_checks::template(template, "spec.template", found);
            return;
        }
    }
    let owned = &template["metadata"]["labels"];
    let selects = !given.is_null() && (empty || Labels::from_object(given).matches_labels(owned));
    if !selects {
        found.push(Cause::invalid(
            "spec.template.metadata.labels",
            owned,
            "`selector` does not match template `labels`",
        ));
    }
    pod_checks::template(template, "spec.template", found);
    let policy = &template["spec"]["restartPolicy"];
    if matches!(text(policy), "OnFailure" | "Never") {
        found.push(Cause::not_supported(
            "spec.template.spec.restartPolicy",
            policy,
            &["Always"],
        ));
    }
}

/// A count or a percentage; returns whether it is zero.
fn count_or_percent(place: &str, value: &Value, most: Option<i64>, found: &mut Found) -> bool {
    match value {
        Value::String(written) => {
            let percent = written
                .strip_suffix('%')
                .filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
            let Some(number) = percent.and_then(|n| n.parse::<i64>().ok()) else {
                let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or \
                              '93%', regex used for validation is '[0-9]+%')";
                found.push(Cause::invalid(place, value, detail));
                return false;
            };
            if most.is_some_and(|most| number > most) {
                found.push(Cause::invalid(place, value, "must not be greater than 100%"));
            }
            number == 0
        }
        _ => {
            at_least(place, value, 0, found);
            value.as_i64() == Some(0)
        }
    }
}

fn deployment(spec: &Value, found: &mut Found) {
    for key in [
        "replicas",
        "minReadySeconds",
        "revisionHistoryLimit",
        "progressDeadlineSeconds",
    ] {
        at_least(&format!("spec.{key}"), &spec[key], 0, found);
    }
    let deadline = &spec["progressDeadlineSeconds"];
    if deadline
        .as_i64()
        .is_some_and(|n| n <= spec["minReadySeconds"].as_i64().unwrap_or(0))
    {
        found.push(Cause::invalid(
            "spec.progressDeadlineSeconds",
            deadline,
            "must be greater than minReadySeconds",
        ));
    }
    selector_and_template(spec, "Deployment", found);
    let strategy = &spec["strategy"];
    match text(&strategy["type"]) {
        "Recreate" => {
            if !strategy["rollingUpdate"].is_null() {
                let detail = "may not be specified when strategy `type` is 'Recreate'";
                found.push(Cause::forbidden("spec.strategy.rollingUpdate", detail));
            }
        }
        "RollingUpdate" => {
            const PLACE: &str = "spec.strategy.rollingUpdate";
            let rolling = &strategy["rollingUpdate"];
            let none_may_leave = count_or_percent(
                &format!("{PLACE}.maxUnavailable"),
                &rolling["maxUnavailable"],
                Some(100),
                found,
            );
            let none_may_come = count_or_percent(&format!("{PLACE}.maxSurge"), &rolling["maxSurge"], None, found);
            if none_may_leave && none_may_come {
                let detail = "may not be 0 when `maxSurge` is 0";
                found.push(Cause::invalid(
                    format!("{PLACE}.maxUnavailable"),
                    &rolling["maxUnavailable"],
                    detail,
                ));
            }
        }
        _ => {
            let supported = ["Recreate", "RollingUpdate"];
            found.push(Cause::not_supported("spec.strategy", strategy, &supported));
        }
    }
}

fn stateful_set(spec: &Value, found: &mut Found) {
    if !matches!(text(&spec["podManagementPolicy"]), "" | "OrderedReady" | "Parallel") {
        let detail = "must be 'OrderedReady' or 'Parallel'";
        found.push(Cause::invalid(
            "spec.podManagementPolicy",
            &spec["podManagementPolicy"],
            detail,
        ));
    }
    let strategy = &spec["updateStrategy"];
    if !matches!(text(&strategy["type"]), "" | "RollingUpdate" | "OnDelete") {
        found.push(Cause::invalid(
            "spec.updateStrategy",
            strategy,
            "must be 'RollingUpdate' or 'OnDelete'",
        ));
    }
    at_least("spec.replicas", &spec["replicas"], 0, found);
    at_least("spec.minReadySeconds", &spec["minReadySeconds"], 0, found);
    selector_and_template(spec, "StatefulSet", found);
}

fn job(spec: &Value, place: &str, found: &mut Found) {
    for key in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ] {
        at_least(&format!("{place}.{key}"), &spec[key], 0, found);
    }
    one_of(
        &format!("{place}.completionMode"),
        &spec["completionMode"],
        &["Indexed", "NonIndexed"],
        found,
    );
    pod_checks::template(&spec["template"], &format!("{place}.template"), found);
    let policy = text(&spec["template"]["spec"]["restartPolicy"]);
    if matches!(policy, "" | "Always") {
        let detail = "valid values: \"OnFailure\", \"Never\"";
        found.push(Cause::required(format!("{place}.template.spec.restartPolicy"), detail));
    }
}

fn cron_job(spec: &Value, found: &mut Found) {
    let schedule = text(&spec["schedule"]);
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if schedule.is_empty() {
        found.push(Cause::required("spec.schedule", ""));
    } else if !schedule.starts_with('@') && fields.len() != 5 {
        let detail = format!(
            "expected exactly 5 fields, found {}: [{}]",
            fields.len(),
            fields.join(" ")
        );
        found.push(Cause::invalid("spec.schedule", &spec["schedule"], &detail));
    }
    let policies = ["Allow", "Forbid", "Replace"];
    one_of("spec.concurrencyPolicy", &spec["concurrencyPolicy"], &policies, found);
    for key in [
        "startingDeadlineSeconds",
        "successfulJobsHistoryLimit",
        "failedJobsHistoryLimit",
    ] {
        at_least(&format!("spec.{key}"), &spec[key], 0, found);
    }
    job(&spec["jobTemplate"]["spec"], "spec.jobTemplate.spec", found);
}

fn budget(spec: &Value, found: &mut Found) {
    let (least, most) = (&spec["minAvailable"], &spec["maxUnavailable"]);
    if !least.is_null() && !most.is_null() {
        // Upstream shows the spec in its internal form.
        let detail = format!(
            "Invalid value: {{\"MinAvailable\":{least},\"Selector\":{},\"MaxUnavailable\":{most},\
             \"UnhealthyPodEvictionPolicy\":{}}}: minAvailable and maxUnavailable cannot be both set",
            spec["selector"], spec["unhealthyPodEvictionPolicy"]
        );
        found.push(Cause {
            reason: "FieldValueInvalid",
            message: detail,
            field: "spec".to_owned(),
        });
    }
    for (key, value) in [("minAvailable", least), ("maxUnavailable", most)] {
        if !value.is_null() {
            count_or_percent(&format!("spec.{key}"), value, Some(100), found);
        }
    }
    if spec["selector"].is_object() {
        selector(&spec["selector"], "spec.selector", found);
    }
}
