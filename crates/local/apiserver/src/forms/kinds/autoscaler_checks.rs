//! What a HorizontalPodAutoscaler must be.

use super::check::{Found, complain, list, named, one_of, text};
use super::pod_checks::{amount, is_standard};
use crate::forms::{schema::Cause, words};
use serde_json::{Value, json};

/// The types of a metric and the members that belong to them.
const METRICS: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

pub(super) fn autoscaler(spec: &Value, old: Option<&Value>, found: &mut Found) {
    bounds(spec, old, found);
    target(spec, old, found);
    let metrics = list(&spec["metrics"]);
    // What was let in before may stay.
    let lenient = old.is_some_and(|old| {
        list(&old["metrics"])
            .iter()
            .any(|metric| group(described(metric)).is_err())
    });
    for (position, each) in metrics.iter().enumerate() {
        metric(each, &format!("spec.metrics[{position}]"), lenient, found);
    }
    let whole = |metric: &Value| matches!(text(&metric["type"]), "Object" | "External");
    if spec["minReplicas"] == 0 && !metrics.iter().any(whole) {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        found.push(Cause::forbidden("spec.metrics", detail));
    }
    for direction in ["scaleUp", "scaleDown"] {
        rules(
            &spec["behavior"][direction],
            &format!("spec.behavior.{direction}"),
            found,
        );
    }
}

fn bounds(spec: &Value, old: Option<&Value>, found: &mut Found) {
    let (least, most) = (&spec["minReplicas"], &spec["maxReplicas"]);
    let bound = if old.is_some_and(|old| old["minReplicas"] == 0) {
        0
    } else {
        1
    };
    if least.as_i64().is_some_and(|n| n < bound) {
        let detail = format!("must be greater than or equal to {bound}");
        found.push(Cause::invalid("spec.minReplicas", least, &detail));
    }
    let number = most.as_i64().unwrap_or(0);
    if number == 0 {
        found.push(Cause::required("spec.maxReplicas", "must be set and greater than 0"));
    } else if number < 0 {
        let detail = "must be greater than or equal to 1";
        found.push(Cause::invalid("spec.maxReplicas", most, detail));
    }
    if least.as_i64().is_some_and(|n| number < n) {
        let detail = "must be greater than or equal to `minReplicas`";
        found.push(Cause::invalid("spec.maxReplicas", &json!(number), detail));
    }
}

fn target(spec: &Value, old: Option<&Value>, found: &mut Found) {
    const PLACE: &str = "spec.scaleTargetRef";
    let target = &spec["scaleTargetRef"];
    let same = |old: &Value| {
        ["apiVersion", "kind"]
            .iter()
            .all(|key| text(&old[*key]) == text(&target[*key]))
    };
    let kept = old.is_some_and(|old| same(&old["scaleTargetRef"]));
    let core = text(&target["kind"]) == "ReplicationController";
    reference(target, PLACE, core, kept, found);
}

/// The group that a reference's version names.
fn group(reference: &Value) -> Result<&str, String> {
    let version = text(&reference["apiVersion"]);
    let mut parts = version.split('/');
    match (parts.next(), parts.next(), parts.next()) {
        _ if version == "/" => Ok(""),
        (_, None, _) => Ok(""),
        (Some(group), Some(_), None) => Ok(group),
        _ => Err(format!("unexpected GroupVersion string: {version}")),
    }
}

fn described(metric: &Value) -> &Value {
    &metric["object"]["describedObject"]
}

/// A reference to an object; `core` allows the group without a name, `any` every version.
fn reference(reference: &Value, place: &str, core: bool, any: bool, found: &mut Found) {
    for key in ["kind", "name"] {
        named(&format!("{place}.{key}"), &reference[key], words::path_segment, found);
    }
    let wrong = match group(reference) {
        Err(wrong) => Some(wrong),
        Ok("") if !core => Some("apiVersion must specify API group".to_owned()),
        Ok(_) => None,
    };
    if let Some(wrong) = wrong.filter(|_| !any) {
        let version = json!(text(&reference["apiVersion"]));
        found.push(Cause::invalid(format!("{place}.apiVersion"), &version, &wrong));
    }
}

fn metric(metric: &Value, place: &str, lenient: bool, found: &mut Found) {
    let kind = text(&metric["type"]);
    let at = |key: &str| format!("{place}.{key}");
    if kind.is_empty() {
        found.push(Cause::required(at("type"), "must specify a metric source type"));
    }
    let own = METRICS.iter().find(|(name, _)| *name == kind).map(|(_, key)| *key);
    let unsupported = |found: &mut Found| {
        let names = METRICS.map(|(name, _)| name);
        found.push(Cause::not_supported(at("type"), &json!(kind), &names));
    };
    if own.is_none() {
        unsupported(found);
    }
    let order = ["object", "external", "pods", "resource", "containerResource"];
    let present: Vec<&str> = order.into_iter().filter(|key| !metric[*key].is_null()).collect();
    if let Some(first) = present.first() {
        source(first, &metric[*first], &at(first), lenient, found);
    }
    match own {
        // Upstream says it both times it looks.
        None => unsupported(found),
        Some(own) if metric[own].is_null() => {
            let detail = "must populate information for the given metric source";
            found.push(Cause::required(at(own), detail));
        }
        Some(_) => {}
    }
    if present.len() > 1 {
        for key in present.iter().filter(|key| Some(**key) != own) {
            found.push(Cause::forbidden(at(key), "must populate the given metric source only"));
        }
    }
}

fn source(key: &str, source: &Value, place: &str, lenient: bool, found: &mut Found) {
    let at = |key: &str| format!("{place}.{key}");
    let has = |key: &str| !source["target"][key].is_null();
    match key {
        "object" => reference(&source["describedObject"], &at("describedObject"), true, lenient, found),
        "resource" if text(&source["name"]).is_empty() => {
            found.push(Cause::required(at("name"), "must specify a resource name"));
        }
        "containerResource" => container_resource(source, place, found),
        _ => {}
    }
    if matches!(key, "object" | "external" | "pods") {
        let name = &source["metric"]["name"];
        if text(name).is_empty() {
            found.push(Cause::required(at("metric.name"), "must specify a metric name"));
        } else {
            complain(&at("metric.name"), name, words::path_segment(text(name)), found);
        }
    }
    wanted(&source["target"], &at("target"), found);
    let missing = match key {
        "object" if !has("value") && !has("averageValue") => {
            Some(("averageValue", "must set either a target value or averageValue"))
        }
        "external" if !has("value") && !has("averageValue") => {
            let detail = "must set either a target value for metric or a per-pod target";
            Some(("averageValue", detail))
        }
        "pods" if !has("averageValue") => Some(("averageValue", "must specify a positive target averageValue")),
        "resource" | "containerResource" if !has("averageUtilization") && !has("averageValue") => {
            let detail = "must set either a target raw value or a target utilization";
            Some(("averageUtilization", detail))
        }
        _ => None,
    };
    if let Some((member, detail)) = missing {
        found.push(Cause::required(at(&format!("target.{member}")), detail));
    }
    let both = match key {
        "external" if has("value") && has("averageValue") => {
            let detail = "may not set both a target value for metric and a per-pod target";
            Some(("value", detail))
        }
        "resource" | "containerResource" if has("averageUtilization") && has("averageValue") => {
            let detail = "may not set both a target raw value and a target utilization";
            Some(("averageValue", detail))
        }
        _ => None,
    };
    if let Some((member, detail)) = both {
        found.push(Cause::forbidden(at(&format!("target.{member}")), detail));
    }
}

fn container_resource(source: &Value, place: &str, found: &mut Found) {
    let at = |key: &str| format!("{place}.{key}");
    let (name, container) = (&source["name"], &source["container"]);
    let resource = text(name);
    let complaints = words::qualified_name(resource);
    if resource.is_empty() {
        found.push(Cause::required(at("name"), "must specify a resource name"));
    } else if !complaints.is_empty() {
        complain(&at("name"), name, complaints, found);
    } else if !resource.contains('/') && !is_standard(resource) {
        for detail in [
            "must be a standard resource type or fully qualified",
            "must be a standard resource for containers",
        ] {
            found.push(Cause::invalid(at("name"), name, detail));
        }
    }
    if text(container).is_empty() {
        found.push(Cause::required(at("container"), "must specify a container"));
    } else {
        complain(&at("container"), container, words::dns_label(text(container)), found);
    }
}

/// The target of a metric.
fn wanted(target: &Value, place: &str, found: &mut Found) {
    let at = |key: &str| format!("{place}.{key}");
    let kind = text(&target["type"]);
    if kind.is_empty() {
        found.push(Cause::required(at("type"), "must specify a metric target type"));
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let detail = "must be either Utilization, Value, or AverageValue";
        found.push(Cause::invalid(at("type"), &json!(kind), detail));
    }
    for key in ["value", "averageValue"] {
        if amount(&target[key]).is_some_and(|milli| milli <= 0) {
            found.push(Cause::invalid(at(key), &target[key], "must be positive"));
        }
    }
    let percent = &target["averageUtilization"];
    if percent.as_i64().is_some_and(|n| n < 1) {
        found.push(Cause::invalid(
            at("averageUtilization"),
            percent,
            "must be greater than 0",
        ));
    }
}

/// The rules of one direction.
fn rules(rules: &Value, place: &str, found: &mut Found) {
    const LONGEST_WINDOW: i64 = 3600;
    const LONGEST_PERIOD: i64 = 1800;
    if rules.is_null() {
        return;
    }
    let at = |key: &str| format!("{place}.{key}");
    let window = &rules["stabilizationWindowSeconds"];
    match window.as_i64() {
        Some(n) if n < 0 => {
            let detail = "must be greater than or equal to zero";
            found.push(Cause::invalid(at("stabilizationWindowSeconds"), window, detail));
        }
        Some(n) if n > LONGEST_WINDOW => {
            let detail = format!("must be less than or equal to {LONGEST_WINDOW}");
            found.push(Cause::invalid(at("stabilizationWindowSeconds"), window, &detail));
        }
        _ => {}
    }
    let selects = ["Disabled", "Max", "Min"];
    one_of(&at("selectPolicy"), &rules["selectPolicy"], &selects, found);
    let policies = list(&rules["policies"]);
    if policies.is_empty() {
        found.push(Cause::required(at("policies"), "must specify at least one Policy"));
    }
    for (position, policy) in policies.iter().enumerate() {
        let at = |key: &str| format!("{place}.policies[{position}].{key}");
        if !matches!(text(&policy["type"]), "Pods" | "Percent") {
            let kind = json!(text(&policy["type"]));
            found.push(Cause::not_supported(at("type"), &kind, &["Percent", "Pods"]));
        }
        for key in ["value", "periodSeconds"] {
            let number = policy[key].as_i64().unwrap_or(0);
            if number <= 0 {
                found.push(Cause::invalid(at(key), &json!(number), "must be greater than zero"));
            }
        }
        let period = policy["periodSeconds"].as_i64().unwrap_or(0);
        if period > LONGEST_PERIOD {
            let detail = format!("must be less than or equal to {LONGEST_PERIOD}");
            found.push(Cause::invalid(at("periodSeconds"), &json!(period), &detail));
        }
    }
    let tolerance = &rules["tolerance"];
    if amount(tolerance).is_some_and(|milli| milli < 0) {
        let detail = "must be greater than or equal to 0";
        found.push(Cause::invalid(at("tolerance"), tolerance, detail));
    }
}
