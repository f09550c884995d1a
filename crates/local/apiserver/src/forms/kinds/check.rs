//! What every object must be, and which checks a kind has.

use super::{object_checks, pod_checks, workload_checks};
use crate::forms::{Gvk, schema::Cause, words};
use serde_json::{Value, json};

/// What the checks have found so far.
pub(super) type Found = Vec<Cause>;

pub(super) fn object(gvk: &Gvk, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut found = Vec::new();
    metadata(gvk, &new["metadata"], &mut found);
    let kind = (gvk.group.as_str(), gvk.kind.as_str());
    match kind {
        ("", "Pod") => match old {
            None => pod_checks::spec(&new["spec"], "spec", &mut found),
            Some(old) => pod_checks::update(&new["spec"], &old["spec"], &mut found),
        },
        ("apps" | "batch" | "autoscaling" | "policy", _) => workload_checks::object(&gvk.kind, new, old, &mut found),
        _ => object_checks::object(kind, new, old, &mut found),
    }
    found
}

/// A text member, empty when missing.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A list member, empty when missing.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Adds a cause for every complaint about a value.
pub(super) fn complain(place: &str, value: &Value, complaints: impl IntoIterator<Item = String>, found: &mut Found) {
    found.extend(
        complaints
            .into_iter()
            .map(|complaint| Cause::invalid(place, value, &complaint)),
    );
}

/// A text that must be there and pass a check.
pub(super) fn named(place: &str, value: &Value, check: fn(&str) -> Vec<String>, found: &mut Found) {
    match text(value) {
        "" => found.push(Cause::required(place, "")),
        name => complain(place, value, check(name), found),
    }
}

/// A text that, when it is there, must be one of a set.
pub(super) fn one_of(place: &str, value: &Value, supported: &[&str], found: &mut Found) {
    if !value.is_null() && !supported.contains(&text(value)) {
        found.push(Cause::not_supported(place, value, supported));
    }
}

/// A number that, when it is there, may not be below a bound.
pub(super) fn at_least(place: &str, value: &Value, bound: i64, found: &mut Found) {
    if value.as_i64().is_some_and(|n| n < bound) {
        found.push(Cause::invalid(
            place,
            value,
            &format!("must be greater than or equal to {bound}"),
        ));
    }
}

/// A port's number.
pub(super) fn port(place: &str, value: &Value, found: &mut Found) {
    if !value.as_i64().is_some_and(|n| (1..=65535).contains(&n)) {
        found.push(Cause::invalid(place, value, "must be between 1 and 65535, inclusive"));
    }
}

/// A port's number or name.
pub(super) fn port_or_name(place: &str, value: &Value, found: &mut Found) {
    match value.as_str() {
        Some(name) => complain(place, value, words::port_name(name), found),
        None => port(place, value, found),
    }
}

/// A member that may not change.
pub(super) fn immutable(place: &str, new: &Value, old: &Value, found: &mut Found) {
    if new != old {
        found.push(Cause::invalid(place, new, "field is immutable"));
    }
}

/// The check of a kind's name.
fn name_rule(gvk: &Gvk) -> fn(&str) -> Vec<String> {
    match (gvk.group.as_str(), gvk.kind.as_str()) {
        ("", "Namespace" | "Service") => words::dns_label,
        ("rbac.authorization.k8s.io", _) => words::path_segment,
        _ => words::dns_subdomain,
    }
}

fn metadata(gvk: &Gvk, metadata: &Value, found: &mut Found) {
    let rule = name_rule(gvk);
    let generate = &metadata["generateName"];
    if !text(generate).is_empty() {
        // The last character is followed by a random one, so a trailing dash is fine.
        let prefix = text(generate)
            .strip_suffix('-')
            .map_or(text(generate).to_owned(), |p| format!("{p}a"));
        complain("metadata.generateName", generate, rule(&prefix), found);
    }
    match text(&metadata["name"]) {
        "" => found.push(Cause::required("metadata.name", "name or generateName is required")),
        name => {
            let complaints = rule(name)
                .into_iter()
                .map(|c| match c.starts_with("must be no more than") {
                    true => c.replace("bytes", "characters"),
                    false => c,
                });
            complain("metadata.name", &metadata["name"], complaints, found);
        }
    }
    labels("metadata.labels", &metadata["labels"], found);
    annotations("metadata.annotations", &metadata["annotations"], found);
    for (position, finalizer) in list(&metadata["finalizers"]).iter().enumerate() {
        let place = format!("metadata.finalizers[{position}]");
        let complaints = words::qualified_name(text(finalizer));
        let standard = ["orphan", "foregroundDeletion", "kubernetes"].contains(&text(finalizer));
        complain("metadata.finalizers", finalizer, complaints, found);
        if !text(finalizer).contains('/') && !standard {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            found.push(Cause::invalid(place, finalizer, detail));
        }
    }
    owners(&metadata["ownerReferences"], found);
}

/// Keys and values of labels.
pub(super) fn labels(place: &str, labels: &Value, found: &mut Found) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        complain(place, &json!(key), words::qualified_name(key), found);
        complain(place, value, words::label_value(text(value)), found);
    }
}

fn annotations(place: &str, annotations: &Value, found: &mut Found) {
    const MOST: usize = 256 << 10;
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        complain(place, &json!(key), words::qualified_name(&key.to_lowercase()), found);
        size += key.len() + text(value).len();
    }
    if size > MOST {
        found.push(Cause::too_long(place, MOST as u64));
    }
}

fn owners(owners: &Value, found: &mut Found) {
    const PLACE: &str = "metadata.ownerReferences";
    let mut controllers = Vec::new();
    for owner in list(owners) {
        let version = text(&owner["apiVersion"]);
        if version.rsplit('/').next().is_none_or(str::is_empty) {
            found.push(Cause::invalid(
                format!("{PLACE}.apiVersion"),
                &json!(version),
                "version must not be empty",
            ));
        }
        for key in ["kind", "name", "uid"] {
            if text(&owner[key]).is_empty() {
                found.push(Cause::invalid(
                    format!("{PLACE}.{key}"),
                    &json!(""),
                    "must not be empty",
                ));
            }
        }
        if owner["controller"] == true {
            controllers.push(format!("{}/{}", text(&owner["kind"]), text(&owner["name"])));
        }
    }
    if let [first, second, ..] = &controllers[..] {
        let detail = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {second}"
        );
        found.push(Cause::invalid(PLACE, owners, &detail));
    }
}
