//! What a CustomResourceDefinition must be, its schemas apart (see
//! [`from_crd`](crate::forms::schema::from_crd)).

use super::check::{Found, complain, immutable, list, named, one_of, text};
use crate::forms::{schema::Cause, words};
use serde_json::{Value, json};

/// The annotation by which groups of the Kubernetes project are approved.
const APPROVAL: &str = "api-approved.kubernetes.io";

pub(super) fn object(new: &Value, old: Option<&Value>, found: &mut Found) {
    let spec = &new["spec"];
    let expected = format!("{}.{}", text(&spec["names"]["plural"]), text(&spec["group"]));
    // What exists already keeps its group and plural: that is told below.
    if old.is_none() && text(&new["metadata"]["name"]) != expected {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        found.push(Cause::invalid("metadata.name", &new["metadata"]["name"], detail));
    }
    let group = text(&spec["group"]);
    if group.is_empty() {
        found.push(Cause::required("spec.group", ""));
    } else {
        complain("spec.group", &spec["group"], words::dns_subdomain(group), found);
        if !group.contains('.') {
            found.push(Cause::invalid(
                "spec.group",
                &spec["group"],
                "should be a domain with at least one dot",
            ));
        }
    }
    match text(&spec["scope"]) {
        "" => found.push(Cause::required("spec.scope", "")),
        _ => one_of("spec.scope", &spec["scope"], &["Cluster", "Namespaced"], found),
    }
    let versions = list(&spec["versions"]);
    if versions.iter().filter(|v| v["storage"] == true).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        found.push(Cause::invalid("spec.versions", &spec["versions"], detail));
    }
    for (position, version) in versions.iter().enumerate() {
        let place = format!("spec.versions[{position}]");
        // Upstream keeps what a single version says beside the versions, and names it there.
        let shared = if versions.len() == 1 {
            "spec".to_owned()
        } else {
            place.clone()
        };
        presentation(version, &shared, found);
        complain(
            &format!("{place}.name"),
            &version["name"],
            words::dns_1035_label(text(&version["name"])),
            found,
        );
        if !version["schema"]["openAPIV3Schema"].is_object() {
            found.push(Cause::required(format!("{place}.schema.openAPIV3Schema"), ""));
        }
    }
    let protected = [".k8s.io", ".kubernetes.io"]
        .iter()
        .any(|s| format!(".{group}").ends_with(s));
    if protected && text(&new["metadata"]["annotations"][APPROVAL]).is_empty() {
        let detail = format!(
            "protected groups must have approval annotation \"{APPROVAL}\", see \
             https://github.com/kubernetes/enhancements/pull/1111"
        );
        found.push(Cause::required(format!("metadata.annotations[{APPROVAL}]"), &detail));
    }
    names(&spec["names"], found);
    if old.is_none_or(|old| old["spec"] != *spec) {
        stored_versions(new, found);
    }
    if let Some(old) = old {
        for (place, pointer) in [
            ("spec.group", "/spec/group"),
            ("spec.names.plural", "/spec/names/plural"),
            ("spec.names.kind", "/spec/names/kind"),
            ("spec.scope", "/spec/scope"),
        ] {
            let value = |object: &Value| object.pointer(pointer).cloned().unwrap_or(Value::Null);
            immutable(place, &value(new), &value(old), found);
        }
    }
}

/// Objects may be stored in every version that ever was the storage version: each
/// must still be there. The first storage version is one of them from now on.
fn stored_versions(definition: &Value, found: &mut Found) {
    let place = "status.storedVersions";
    let versions = list(&definition["spec"]["versions"]);
    let storage: Vec<&str> = versions
        .iter()
        .filter(|version| version["storage"] == true)
        .map(|version| text(&version["name"]))
        .collect();
    let mut stored: Vec<&str> = list(&definition["status"]["storedVersions"]).iter().map(text).collect();
    if let Some(first) = storage.first().filter(|name| !stored.contains(name)) {
        stored.push(first);
    }
    if stored.is_empty() {
        found.push(Cause::invalid(
            place,
            &Value::Null,
            "must have at least one stored version",
        ));
        return;
    }
    for name in storage.iter().filter(|name| !stored.contains(name)) {
        let detail = format!("must have the storage version {name}");
        found.push(Cause::invalid(place, &json!(stored), &detail));
    }
    for (position, name) in stored.iter().enumerate() {
        if !versions.iter().any(|version| text(&version["name"]) == *name) {
            let place = format!("{place}[{position}]");
            found.push(Cause::invalid(place, &json!(name), "must appear in spec.versions"));
        }
    }
}

fn names(names: &Value, found: &mut Found) {
    for key in ["plural", "singular"] {
        named(&format!("spec.names.{key}"), &names[key], words::dns_1035_label, found);
    }
    for key in ["kind", "listKind"] {
        let mixed: fn(&str) -> Vec<String> = |name| {
            let wrong = words::dns_1035_label(&name.to_lowercase());
            wrong
                .into_iter()
                .map(|w| format!("may have mixed case, but should otherwise match: {w}"))
                .collect()
        };
        named(&format!("spec.names.{key}"), &names[key], mixed, found);
    }
    for (position, short) in list(&names["shortNames"]).iter().enumerate() {
        let place = format!("spec.names.shortNames[{position}]");
        complain(&place, short, words::dns_1035_label(text(short)), found);
    }
}

/// Printer columns and the scale subresource of a version.
fn presentation(version: &Value, place: &str, found: &mut Found) {
    let path = |place: String, value: &Value, found: &mut Found| match text(value) {
        "" => found.push(Cause::required(place, "")),
        path if !path.starts_with('.') => {
            found.push(Cause::invalid(
                place,
                value,
                "must be a simple json path starting with .",
            ));
        }
        _ => {}
    };
    let scale = &version["subresources"]["scale"];
    if scale.is_object() {
        for key in ["specReplicasPath", "statusReplicasPath"] {
            path(format!("{place}.subresources.scale.{key}"), &scale[key], found);
        }
    }
    for (position, column) in list(&version["additionalPrinterColumns"]).iter().enumerate() {
        let at = |key: &str| format!("{place}.additionalPrinterColumns[{position}].{key}");
        if text(&column["name"]).is_empty() {
            found.push(Cause::required(at("name"), ""));
        }
        match text(&column["type"]) {
            "boolean" | "date" | "integer" | "number" | "string" => {}
            "" => found.push(Cause::required(
                at("type"),
                "must be one of boolean,date,integer,number,string",
            )),
            _ => {
                let detail = "must be one of boolean,date,integer,number,string";
                found.push(Cause::invalid(at("type"), &column["type"], detail));
            }
        }
        path(at("JSONPath"), &column["jsonPath"], found);
    }
}
