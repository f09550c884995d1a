//! The cells of every built-in resource but Pods.

pub(super) mod workloads;

use super::human::{between, duration, moment, since};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;

type Cells = Vec<Value>;

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// Text or number as text.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn or<'a>(value: &'a str, otherwise: &'a str) -> &'a str {
    if value.is_empty() { otherwise } else { value }
}

fn age(object: &Value, now: Timestamp) -> Value {
    json!(since(&object["metadata"]["creationTimestamp"], now))
}

fn name(object: &Value) -> Value {
    object["metadata"]["name"].clone()
}

fn count(value: &Value) -> usize {
    value.as_object().map_or(0, serde_json::Map::len)
}

/// Labels as `a=b,c=d`.
fn labels(value: &Value) -> String {
    let pairs: Vec<String> = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", text(v)))
        .collect();
    or(&pairs.join(","), "<none>").to_owned()
}

/// A label selector object as its text form; empty when it selects all or nothing.
fn selector(value: &Value) -> String {
    let mut parts: Vec<(String, String)> = Vec::new();
    for (key, wanted) in value["matchLabels"].as_object().into_iter().flatten() {
        parts.push((key.clone(), format!("{key}={}", text(wanted))));
    }
    for expression in list(&value["matchExpressions"]) {
        let key = text(&expression["key"]);
        let mut values: Vec<&str> = list(&expression["values"]).iter().map(text).collect();
        values.sort_unstable();
        let values = values.join(",");
        let part = match text(&expression["operator"]) {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        parts.push((key.to_owned(), part));
    }
    parts.sort();
    parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join(",")
}

fn selector_or_none(value: &Value) -> Value {
    json!(or(&selector(value), "<none>"))
}

/// Names and images of the containers of a Pod's spec.
fn containers(spec: &Value) -> [Value; 2] {
    ["name", "image"].map(|key| {
        let parts: Vec<&str> = list(&spec["containers"]).iter().map(|c| text(&c[key])).collect();
        json!(parts.join(","))
    })
}

/// At most `max` parts, and how many more there are.
fn few(parts: &[String], max: usize, empty: &str) -> String {
    let shown = parts[..parts.len().min(max)].join(",");
    match parts.len() {
        0 => empty.to_owned(),
        all if all > max => format!("{shown} + {} more...", all - max),
        _ => shown,
    }
}

pub(super) fn default(object: &Value, _now: Timestamp) -> Cells {
    vec![name(object), object["metadata"]["creationTimestamp"].clone()]
}

pub(super) fn node(node: &Value, now: Timestamp) -> Cells {
    let (spec, status) = (&node["spec"], &node["status"]);
    let ready = list(&status["conditions"]).iter().rev().find(|c| c["type"] == "Ready");
    let mut state = match ready {
        Some(condition) if condition["status"] == "True" => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if spec["unschedulable"] == true {
        state.push_str(",SchedulingDisabled");
    }
    let mut roles = BTreeSet::new();
    for (key, value) in node["metadata"]["labels"].as_object().into_iter().flatten() {
        match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => {
                roles.insert(role.to_owned());
            }
            None if key == "kubernetes.io/role" && !text(value).is_empty() => {
                roles.insert(text(value).to_owned());
            }
            _ => {}
        }
    }
    let roles = roles.into_iter().collect::<Vec<_>>().join(",");
    let address = |kind: &str| {
        let found = list(&status["addresses"]).iter().find(|a| a["type"] == kind);
        json!(found.map_or("<none>", |a| text(&a["address"])))
    };
    let info = &status["nodeInfo"];
    let mut kernel = or(text(&info["kernelVersion"]), "<unknown>").to_owned();
    let architecture = text(&info["architecture"]);
    if !architecture.is_empty() {
        kernel = format!("{kernel} ({architecture})");
    }
    vec![
        name(node),
        json!(state),
        json!(or(&roles, "<none>")),
        age(node, now),
        json!(text(&info["kubeletVersion"])),
        address("InternalIP"),
        address("ExternalIP"),
        json!(or(text(&info["osImage"]), "<unknown>")),
        json!(kernel),
        json!(or(text(&info["containerRuntimeVersion"]), "<unknown>")),
    ]
}

/// Addresses of a load balancer, sorted.
fn load_balancer(status: &Value) -> String {
    let addresses: BTreeSet<&str> = list(&status["loadBalancer"]["ingress"])
        .iter()
        .map(|i| or(text(&i["ip"]), text(&i["hostname"])))
        .filter(|address| !address.is_empty())
        .collect();
    addresses.into_iter().collect::<Vec<_>>().join(",")
}

pub(super) fn service(service: &Value, now: Timestamp) -> Cells {
    let spec = &service["spec"];
    let external = list(&spec["externalIPs"])
        .iter()
        .map(text)
        .collect::<Vec<_>>()
        .join(",");
    let external = match text(&spec["type"]) {
        "ClusterIP" | "NodePort" => or(&external, "<none>").to_owned(),
        "LoadBalancer" => {
            let both = [load_balancer(&service["status"]), external];
            let both: Vec<String> = both.into_iter().filter(|part| !part.is_empty()).collect();
            or(&both.join(","), "<pending>").to_owned()
        }
        "ExternalName" => text(&spec["externalName"]).to_owned(),
        _ => "<unknown>".to_owned(),
    };
    let ports: Vec<String> = list(&spec["ports"])
        .iter()
        .map(|port| match number(&port["nodePort"]) {
            0 => format!("{}/{}", number(&port["port"]), text(&port["protocol"])),
            node => format!("{}:{node}/{}", number(&port["port"]), text(&port["protocol"])),
        })
        .collect();
    vec![
        name(service),
        spec["type"].clone(),
        json!(or(text(&spec["clusterIPs"][0]), "<none>")),
        json!(external),
        json!(or(&ports.join(","), "<none>")),
        age(service, now),
        json!(labels(&spec["selector"])),
    ]
}

pub(super) fn endpoints(endpoints: &Value, now: Timestamp) -> Cells {
    let mut parts = Vec::new();
    for subset in list(&endpoints["subsets"]) {
        let addresses = || list(&subset["addresses"]).iter().map(|a| text(&a["ip"]));
        if list(&subset["ports"]).is_empty() {
            parts.extend(addresses().map(str::to_owned));
        }
        for port in list(&subset["ports"]) {
            parts.extend(addresses().map(|ip| match ip.contains(':') {
                true => format!("[{ip}]:{}", number(&port["port"])),
                false => format!("{ip}:{}", number(&port["port"])),
            }));
        }
    }
    let none = if list(&endpoints["subsets"]).is_empty() {
        "<none>"
    } else {
        ""
    };
    vec![name(endpoints), json!(few(&parts, 3, none)), age(endpoints, now)]
}

pub(super) fn endpoint_slice(slice: &Value, now: Timestamp) -> Cells {
    let ports: Vec<String> = list(&slice["ports"])
        .iter()
        .map(|port| match (port["port"].as_i64(), port["name"].as_str()) {
            (Some(number), _) => number.to_string(),
            (None, Some(name)) => name.to_owned(),
            (None, None) => "*".to_owned(),
        })
        .collect();
    let addresses: Vec<String> = list(&slice["endpoints"])
        .iter()
        .flat_map(|e| list(&e["addresses"]))
        .map(|a| text(a).to_owned())
        .collect();
    vec![
        name(slice),
        slice["addressType"].clone(),
        json!(few(&ports, 3, "<unset>")),
        json!(few(&addresses, 3, "<unset>")),
        age(slice, now),
    ]
}

pub(super) fn config_map(map: &Value, now: Timestamp) -> Cells {
    vec![
        name(map),
        json!(count(&map["data"]) + count(&map["binaryData"])),
        age(map, now),
    ]
}

pub(super) fn secret(secret: &Value, now: Timestamp) -> Cells {
    vec![
        name(secret),
        secret["type"].clone(),
        json!(count(&secret["data"])),
        age(secret, now),
    ]
}

pub(super) fn service_account(account: &Value, now: Timestamp) -> Cells {
    vec![name(account), age(account, now)]
}

pub(super) fn namespace(namespace: &Value, now: Timestamp) -> Cells {
    vec![
        name(namespace),
        json!(text(&namespace["status"]["phase"])),
        age(namespace, now),
    ]
}

/// An Event in either of its two forms.
pub(super) fn event(event: &Value, now: Timestamp) -> Cells {
    let either = |core: &str, new: &str| {
        if event[core].is_null() {
            &event[new]
        } else {
            &event[core]
        }
    };
    let seen = |value: &Value| moment(value).map(|then| duration(between(then, now)));
    let unknown = || "<unknown>".to_owned();
    let first = seen(either("firstTimestamp", "deprecatedFirstTimestamp")).or_else(|| seen(&event["eventTime"]));
    let first = first.unwrap_or_else(unknown);
    let last = match &event["series"] {
        Value::Object(series) => series.get("lastObservedTime").and_then(seen).unwrap_or_else(unknown),
        _ => seen(either("lastTimestamp", "deprecatedLastTimestamp")).unwrap_or_else(|| first.clone()),
    };
    let times = match &event["series"] {
        Value::Object(series) => series.get("count").map_or(0, number),
        _ => number(either("count", "deprecatedCount")).max(1),
    };
    let object = either("involvedObject", "regarding");
    let kind = text(&object["kind"]).to_lowercase();
    let target = match text(&object["name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let source = either("source", "deprecatedSource");
    let component = or(
        text(&source["component"]),
        text(either("reportingComponent", "reportingController")),
    )
    .to_owned();
    let source = match or(text(&source["host"]), text(&event["reportingInstance"])) {
        "" => component,
        instance => format!("{component}, {instance}"),
    };
    vec![
        json!(last),
        json!(text(&event["type"])),
        json!(text(&event["reason"])),
        json!(target),
        json!(text(&object["fieldPath"])),
        json!(source),
        json!(text(either("message", "note")).trim()),
        json!(first),
        json!(times),
        name(event),
    ]
}

fn modes(value: &Value) -> String {
    let known = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let has = |mode: &str| list(value).iter().any(|v| v == mode);
    known
        .iter()
        .filter(|(mode, _)| has(mode))
        .map(|(_, short)| *short)
        .collect::<Vec<_>>()
        .join(",")
}

fn phase(object: &Value) -> Value {
    let leaving = !object["metadata"]["deletionTimestamp"].is_null();
    json!(if leaving {
        "Terminating"
    } else {
        text(&object["status"]["phase"])
    })
}

pub(super) fn volume(volume: &Value, now: Timestamp) -> Cells {
    let spec = &volume["spec"];
    let claim = &spec["claimRef"];
    let claim = if claim.is_object() {
        format!("{}/{}", text(&claim["namespace"]), text(&claim["name"]))
    } else {
        String::new()
    };
    vec![
        name(volume),
        json!(or(text(&spec["capacity"]["storage"]), "0")),
        json!(modes(&spec["accessModes"])),
        json!(text(&spec["persistentVolumeReclaimPolicy"])),
        phase(volume),
        json!(claim),
        json!(text(&spec["storageClassName"])),
        json!(spec["volumeAttributesClassName"].as_str().unwrap_or("<unset>")),
        json!(text(&volume["status"]["reason"])),
        age(volume, now),
        json!(spec["volumeMode"].as_str().unwrap_or("<unset>")),
    ]
}

pub(super) fn claim(claim: &Value, now: Timestamp) -> Cells {
    let (spec, status) = (&claim["spec"], &claim["status"]);
    let bound = text(&spec["volumeName"]);
    let (capacity, modes) = match bound {
        "" => (String::new(), String::new()),
        _ => (
            or(text(&status["capacity"]["storage"]), "0").to_owned(),
            modes(&status["accessModes"]),
        ),
    };
    vec![
        name(claim),
        phase(claim),
        json!(bound),
        json!(capacity),
        json!(modes),
        json!(text(&spec["storageClassName"])),
        json!(spec["volumeAttributesClassName"].as_str().unwrap_or("<unset>")),
        age(claim, now),
        json!(spec["volumeMode"].as_str().unwrap_or("<unset>")),
    ]
}

pub(super) fn quota(quota: &Value, now: Timestamp) -> Cells {
    let status = &quota["status"];
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (resource, hard) in status["hard"].as_object().into_iter().flatten() {
        let column = if resource.starts_with("limits.") {
            &mut limits
        } else {
            &mut requests
        };
        column.push(format!(
            "{resource}: {}/{}",
            or(text(&status["used"][resource]), "0"),
            text(hard)
        ));
    }
    vec![
        name(quota),
        json!(requests.join(", ")),
        json!(limits.join(", ")),
        age(quota, now),
    ]
}

pub(super) fn role_binding(binding: &Value, now: Timestamp) -> Cells {
    let role = format!(
        "{}/{}",
        text(&binding["roleRef"]["kind"]),
        text(&binding["roleRef"]["name"])
    );
    let of_kind = |kind: &str| {
        let subjects = list(&binding["subjects"]).iter().filter(|s| s["kind"] == kind);
        let names: Vec<String> = subjects
            .map(|s| match kind {
                "ServiceAccount" => format!("{}/{}", text(&s["namespace"]), text(&s["name"])),
                _ => text(&s["name"]).to_owned(),
            })
            .collect();
        json!(names.join(", "))
    };
    vec![
        name(binding),
        json!(role),
        age(binding, now),
        of_kind("User"),
        of_kind("Group"),
        of_kind("ServiceAccount"),
    ]
}

pub(super) fn ingress(ingress: &Value, now: Timestamp) -> Cells {
    let spec = &ingress["spec"];
    let rules = list(&spec["rules"]);
    let hosts: Vec<&str> = rules
        .iter()
        .map(|r| text(&r["host"]))
        .filter(|h| !h.is_empty())
        .collect();
    let hosts = match hosts.len() {
        0 => "*".to_owned(),
        all if all > 3 => format!("{} + {} more...", hosts[..3].join(","), rules.len() - 3),
        _ => hosts.join(","),
    };
    vec![
        name(ingress),
        json!(spec["ingressClassName"].as_str().unwrap_or("<none>")),
        json!(hosts),
        json!(load_balancer(&ingress["status"])),
        json!(if list(&spec["tls"]).is_empty() { "80" } else { "80, 443" }),
        age(ingress, now),
    ]
}

pub(super) fn network_policy(policy: &Value, now: Timestamp) -> Cells {
    vec![
        name(policy),
        selector_or_none(&policy["spec"]["podSelector"]),
        age(policy, now),
    ]
}

/// The name, marked when an annotation makes the object the default of its kind.
fn name_or_default(object: &Value, annotation: &str) -> Value {
    let is_default = object["metadata"]["annotations"][annotation] == "true";
    json!(format!(
        "{}{}",
        text(&object["metadata"]["name"]),
        if is_default { " (default)" } else { "" }
    ))
}

pub(super) fn ingress_class(class: &Value, now: Timestamp) -> Cells {
    let parameters = &class["spec"]["parameters"];
    let parameters = match (parameters.is_object(), parameters["apiGroup"].as_str()) {
        (false, _) => "<none>".to_owned(),
        (true, Some(group)) => format!("{}.{group}/{}", text(&parameters["kind"]), text(&parameters["name"])),
        (true, None) => format!("{}/{}", text(&parameters["kind"]), text(&parameters["name"])),
    };
    vec![
        name_or_default(class, "ingressclass.kubernetes.io/is-default-class"),
        json!(text(&class["spec"]["controller"])),
        json!(parameters),
        age(class, now),
    ]
}

pub(super) fn storage_class(class: &Value, now: Timestamp) -> Cells {
    vec![
        name_or_default(class, "storageclass.kubernetes.io/is-default-class"),
        json!(text(&class["provisioner"])),
        json!(or(text(&class["reclaimPolicy"]), "Delete")),
        json!(or(text(&class["volumeBindingMode"]), "Immediate")),
        json!(class["allowVolumeExpansion"] == true),
        age(class, now),
    ]
}

pub(super) fn webhooks(configuration: &Value, now: Timestamp) -> Cells {
    vec![
        name(configuration),
        json!(list(&configuration["webhooks"]).len()),
        age(configuration, now),
    ]
}

pub(super) fn runtime_class(class: &Value, now: Timestamp) -> Cells {
    vec![name(class), json!(text(&class["handler"])), age(class, now)]
}
