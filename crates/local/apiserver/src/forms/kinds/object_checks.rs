//! What the kinds beside Pods and workloads must be.

use super::check::{Found, at_least, complain, immutable, labels, list, named, one_of, port, port_or_name, text};
use super::definition_checks;
use super::pod_checks::EFFECTS;
use crate::forms::{schema::Cause, words};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(super) fn object(kind: (&str, &str), new: &Value, old: Option<&Value>, found: &mut Found) {
    match kind {
        ("", "Service") => {
            service(&new["spec"], found);
            if let Some(old) = old {
                service_update(&new["spec"], &old["spec"], found);
            }
        }
        ("", "ConfigMap") => config_map(new, old, found),
        ("", "Secret") => secret(new, old, found),
        ("", "Node") => taints(&new["spec"]["taints"], found),
        ("coordination.k8s.io", "Lease") => {
            let length = &new["spec"]["leaseDurationSeconds"];
            if length.as_i64().is_some_and(|n| n <= 0) {
                found.push(Cause::invalid(
                    "spec.leaseDurationSeconds",
                    length,
                    "must be greater than 0",
                ));
            }
            at_least("spec.leaseTransitions", &new["spec"]["leaseTransitions"], 0, found);
        }
        ("discovery.k8s.io", "EndpointSlice") => {
            endpoint_slice(new, found);
            if let Some(old) = old {
                immutable("addressType", &new["addressType"], &old["addressType"], found);
            }
        }
        ("rbac.authorization.k8s.io", "Role") => rules(new, true, found),
        ("rbac.authorization.k8s.io", "ClusterRole") => rules(new, false, found),
        ("rbac.authorization.k8s.io", binding) => {
            role_binding(binding, new, found);
            if old.is_some_and(|old| old["roleRef"] != new["roleRef"]) {
                let role = &new["roleRef"];
                let shown = json!({"APIGroup": role["apiGroup"], "Kind": role["kind"], "Name": role["name"]});
                found.push(Cause::invalid("roleRef", &shown, "cannot change roleRef"));
            }
        }
        ("scheduling.k8s.io", "PriorityClass") => priority_class(new, old, found),
        ("events.k8s.io", "Event") => {
            // An Event in the new form names its moment; one converted from the old form has a first one.
            if new["eventTime"].is_null() && new["deprecatedFirstTimestamp"].is_null() {
                found.push(Cause::required("eventTime", ""));
            }
            if !matches!(text(&new["type"]), "Normal" | "Warning") {
                let detail = format!("has invalid value: {}", text(&new["type"]));
                found.push(Cause::invalid("type", &json!(text(&new["type"])), &detail));
            }
        }
        ("", "Event") => {
            let (involved, own) = (&new["involvedObject"]["namespace"], &new["metadata"]["namespace"]);
            // An Event about an object of the cluster stands in the default namespace.
            let expected = if text(involved).is_empty() {
                "default"
            } else {
                text(involved)
            };
            if text(own) != expected {
                let shown = json!(text(involved));
                found.push(Cause::invalid(
                    "involvedObject.namespace",
                    &shown,
                    "does not match event.namespace",
                ));
            }
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition_checks::object(new, old, found),
        _ => {}
    }
}

fn is_address(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

const NO_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

fn service(spec: &Value, found: &mut Found) {
    let kind = text(&spec["type"]);
    let ports = list(&spec["ports"]);
    if ports.is_empty() && text(&spec["clusterIP"]) != "None" && kind != "ExternalName" {
        found.push(Cause::required("spec.ports", ""));
    }
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (position, given) in ports.iter().enumerate() {
        let at = |key: &str| format!("spec.ports[{position}].{key}");
        match text(&given["name"]) {
            "" if ports.len() > 1 => found.push(Cause::required(at("name"), "")),
            "" => {}
            name => {
                complain(&at("name"), &given["name"], words::dns_label(name), found);
                if !names.insert(name) {
                    found.push(Cause::duplicate(at("name"), &given["name"]));
                }
            }
        }
        port(&at("port"), &given["port"], found);
        one_of(&at("protocol"), &given["protocol"], &PROTOCOLS, found);
        port_or_name(&at("targetPort"), &given["targetPort"], found);
        let node_port = given["nodePort"].as_i64().unwrap_or(0);
        if kind == "ClusterIP" && node_port != 0 {
            found.push(Cause::forbidden(
                at("nodePort"),
                "may not be used when `type` is 'ClusterIP'",
            ));
        }
        if !numbers.insert((given["port"].as_i64(), text(&given["protocol"]))) {
            // Upstream shows the port in its internal form.
            let shown = json!({"Name": "", "Protocol": given["protocol"], "AppProtocol": null, "Port": given["port"],
                "TargetPort": 0, "NodePort": 0});
            found.push(Cause::duplicate(format!("spec.ports[{position}]"), &shown));
        }
    }
    labels("spec.selector", &spec["selector"], found);
    one_of(
        "spec.sessionAffinity",
        &spec["sessionAffinity"],
        &["ClientIP", "None"],
        found,
    );
    one_of(
        "spec.type",
        &spec["type"],
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        found,
    );
    if kind == "ExternalName" {
        named(
            "spec.externalName",
            &spec["externalName"],
            |name| words::dns_subdomain(name.trim_end_matches('.')),
            found,
        );
    }
    for (position, address) in list(&spec["clusterIPs"]).iter().enumerate() {
        if text(address) != "None" && !is_address(text(address)) {
            found.push(Cause::invalid(
                format!("spec.clusterIPs[{position}]"),
                address,
                NO_ADDRESS,
            ));
        }
    }
}

fn service_update(new: &Value, old: &Value, found: &mut Found) {
    let address = |spec: &Value| text(&spec["clusterIP"]).to_owned();
    let fixed = text(&new["type"]) != "ExternalName" && text(&old["type"]) != "ExternalName";
    if fixed && !address(old).is_empty() && address(new) != address(old) {
        found.push(Cause::invalid(
            "spec.clusterIPs[0]",
            &new["clusterIPs"],
            "may not change once set",
        ));
    }
}

/// What may be in a ConfigMap or Secret in all.
const MOST_DATA: usize = 1 << 20;

fn data_keys(place: &str, data: &Value, found: &mut Found) -> usize {
    let mut size = 0;
    for (key, value) in data.as_object().into_iter().flatten() {
        complain(&format!("{place}[{key}]"), &json!(key), words::config_key(key), found);
        size += text(value).len();
    }
    size
}

/// Once `immutable`, the data and the mark stay.
fn frozen(places: &[&str], new: &Value, old: Option<&Value>, found: &mut Found) {
    const DETAIL: &str = "field is immutable when `immutable` is set";
    let Some(old) = old.filter(|old| old["immutable"] == true) else {
        return;
    };
    if new["immutable"] != true {
        found.push(Cause::forbidden("immutable", DETAIL));
    }
    for place in places {
        if new[*place] != old[*place] {
            found.push(Cause::forbidden(*place, DETAIL));
        }
    }
}

fn config_map(new: &Value, old: Option<&Value>, found: &mut Found) {
    frozen(&["data", "binaryData"], new, old, found);
    let size = data_keys("data", &new["data"], found);
    let binary = data_keys("binaryData", &new["binaryData"], found);
    for key in new["data"].as_object().into_iter().flatten().map(|(key, _)| key) {
        if !new["binaryData"][key].is_null() {
            found.push(Cause::invalid(
                format!("data[{key}]"),
                &json!(key),
                "duplicate of key present in binaryData",
            ));
        }
    }
    if size + binary / 4 * 3 > MOST_DATA {
        found.push(Cause::too_long("[]", MOST_DATA as u64));
    }
}

fn secret(new: &Value, old: Option<&Value>, found: &mut Found) {
    frozen(&["data"], new, old, found);
    if let Some(old) = old {
        immutable("type", &new["type"], &old["type"], found);
    }
    if data_keys("data", &new["data"], found) / 4 * 3 > MOST_DATA {
        found.push(Cause::too_long("data", MOST_DATA as u64));
    }
    let wanted: &[&str] = match text(&new["type"]) {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    for key in wanted.iter().filter(|key| new["data"][**key].is_null()) {
        found.push(Cause::required(format!("data[{key}]"), ""));
    }
}

fn taints(taints: &Value, found: &mut Found) {
    let mut seen = BTreeSet::new();
    for (position, taint) in list(taints).iter().enumerate() {
        let at = |key: &str| format!("metadata.taints[{position}].{key}");
        let key = text(&taint["key"]);
        complain(&at("key"), &json!(key), words::qualified_name(key), found);
        complain(
            &at("value"),
            &taint["value"],
            words::label_value(text(&taint["value"])),
            found,
        );
        match text(&taint["effect"]) {
            "" => found.push(Cause::required(at("effect"), "")),
            _ => one_of(&at("effect"), &taint["effect"], &EFFECTS, found),
        }
        if !seen.insert((key, text(&taint["effect"]))) {
            let shown =
                json!({"Key": key, "Value": text(&taint["value"]), "Effect": taint["effect"], "TimeAdded": null});
            let mut cause = Cause::duplicate(format!("metadata.taints[{position}]"), &shown);
            cause.message.push_str(": taints must be unique by key and effect pair");
            found.push(cause);
        }
    }
}

fn endpoint_slice(slice: &Value, found: &mut Found) {
    match text(&slice["addressType"]) {
        "" => return found.push(Cause::required("addressType", "")),
        "FQDN" | "IPv4" | "IPv6" => {}
        _ => return one_of("addressType", &slice["addressType"], &["FQDN", "IPv4", "IPv6"], found),
    }
    let mut names = BTreeSet::new();
    for (position, port) in list(&slice["ports"]).iter().enumerate() {
        let name = text(&port["name"]);
        if !names.insert(name) {
            found.push(Cause::duplicate(format!("ports[{position}].name"), &json!(name)));
        } else if !name.is_empty() {
            complain(
                &format!("ports[{position}].name"),
                &port["name"],
                words::dns_label(name),
                found,
            );
        }
        one_of(
            &format!("ports[{position}].protocol"),
            &port["protocol"],
            &PROTOCOLS,
            found,
        );
    }
    // Loopback addresses, which upstream refuses, are what the process kubelet gives Pods.
    for (position, endpoint) in list(&slice["endpoints"]).iter().enumerate() {
        let place = format!("endpoints[{position}].addresses");
        let addresses = list(&endpoint["addresses"]);
        if addresses.is_empty() {
            found.push(Cause::required(&place, "must contain at least 1 address"));
        }
        for (position, address) in addresses.iter().enumerate() {
            if slice["addressType"] != "FQDN" && !is_address(text(address)) {
                found.push(Cause::invalid(format!("{place}[{position}]"), address, NO_ADDRESS));
            }
        }
    }
}

fn rules(role: &Value, namespaced: bool, found: &mut Found) {
    for (position, rule) in list(&role["rules"]).iter().enumerate() {
        let at = |key: &str| format!("rules[{position}].{key}");
        let empty = |key: &str| list(&rule[key]).is_empty();
        if empty("verbs") {
            found.push(Cause::required(at("verbs"), "verbs must contain at least one value"));
        }
        if !empty("nonResourceURLs") {
            let urls = &rule["nonResourceURLs"];
            if namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                found.push(Cause::invalid(at("nonResourceURLs"), urls, detail));
            }
            if !empty("apiGroups") || !empty("resources") || !empty("resourceNames") {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                found.push(Cause::invalid(at("nonResourceURLs"), urls, detail));
            }
            continue;
        }
        if empty("apiGroups") {
            found.push(Cause::required(
                at("apiGroups"),
                "resource rules must supply at least one api group",
            ));
        }
        if empty("resources") {
            found.push(Cause::required(
                at("resources"),
                "resource rules must supply at least one resource",
            ));
        }
    }
}

fn role_binding(kind: &str, binding: &Value, found: &mut Found) {
    const GROUP: [&str; 1] = ["rbac.authorization.k8s.io"];
    let role = &binding["roleRef"];
    one_of("roleRef.apiGroup", &role["apiGroup"], &GROUP, found);
    let kinds: &[&str] = if kind == "RoleBinding" {
        &["Role", "ClusterRole"]
    } else {
        &["ClusterRole"]
    };
    one_of("roleRef.kind", &role["kind"], kinds, found);
    named("roleRef.name", &role["name"], words::path_segment, found);
    for (position, subject) in list(&binding["subjects"]).iter().enumerate() {
        let at = |key: &str| format!("subjects[{position}].{key}");
        let name = text(&subject["name"]);
        if name.is_empty() {
            found.push(Cause::required(at("name"), ""));
        }
        match text(&subject["kind"]) {
            "ServiceAccount" => {
                if !name.is_empty() {
                    complain(&at("name"), &subject["name"], words::dns_subdomain(name), found);
                }
                if kind == "ClusterRoleBinding" && text(&subject["namespace"]).is_empty() {
                    found.push(Cause::required(at("namespace"), ""));
                }
            }
            "User" | "Group" => one_of(&at("apiGroup"), &subject["apiGroup"], &GROUP, found),
            _ => {
                let kinds = ["ServiceAccount", "User", "Group"];
                found.push(Cause::not_supported(at("kind"), &subject["kind"], &kinds));
            }
        }
    }
}

fn priority_class(new: &Value, old: Option<&Value>, found: &mut Found) {
    const MOST: i64 = 1_000_000_000;
    let name = text(&new["metadata"]["name"]);
    let known = ["system-cluster-critical", "system-node-critical"].contains(&name);
    if name.starts_with("system-") && !known {
        let detail = format!(
            "priority class names with 'system-' prefix are reserved for system use only. error: {name} is not a known \
             system priority class"
        );
        found.push(Cause::forbidden("metadata.name", &detail));
    } else if !known && new["value"].as_i64().is_some_and(|n| n > MOST) {
        let detail = format!("maximum allowed value of a user defined priority is {MOST}");
        found.push(Cause::forbidden("value", &detail));
    }
    one_of(
        "preemptionPolicy",
        &new["preemptionPolicy"],
        &["PreemptLowerPriority", "Never"],
        found,
    );
    if old.is_some_and(|old| old["value"] != new["value"]) {
        found.push(Cause::forbidden("value", "may not be changed in an update."));
    }
}
