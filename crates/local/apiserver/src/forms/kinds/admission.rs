//! What creation adds to an object.

use super::{fill, fill_text, make_at};
use crate::forms::{Gvk, quantity};
use serde_json::{Map, Value, json};

pub(super) fn apply(gvk: &Gvk, object: &mut Value) {
    match (gvk.group.as_str(), gvk.kind.as_str()) {
        ("", "Pod") => pod(object),
        ("", "Namespace") => namespace(object),
        ("", "Service") => service(object),
        ("", "Node") => node(object),
        ("", "PersistentVolumeClaim") => add_finalizer(object, "kubernetes.io/pvc-protection"),
        ("", "PersistentVolume") => add_finalizer(object, "kubernetes.io/pv-protection"),
        ("apps", "DaemonSet") => {
            if let Some(annotations) = make_at(object, &["metadata", "annotations"]) {
                fill(annotations, "deprecated.daemonset.template.generation", "1");
            }
        }
        ("apps", "StatefulSet") => {
            if let Some(status) = make_at(object, &["status"]) {
                fill(status, "replicas", 0);
                fill(status, "availableReplicas", 0);
            }
        }
        ("batch", "Job") => job(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        _ => {}
    }
}

fn pod(object: &mut Value) {
    let class = quality_of_service(&object["spec"]);
    if let Some(spec) = make_at(object, &["spec"]) {
        fill_text(spec, "serviceAccountName", "default");
        fill(spec, "priority", 0);
        fill_text(spec, "preemptionPolicy", "PreemptLowerPriority");
        tolerate_absent_nodes(spec);
    }
    if let Some(status) = make_at(object, &["status"]) {
        fill_text(status, "phase", "Pending");
        fill_text(status, "qosClass", class);
    }
}

/// A Pod stays five minutes on a node that went away, unless it says otherwise.
fn tolerate_absent_nodes(spec: &mut Map<String, Value>) {
    let tolerations = spec.entry("tolerations").or_insert(Value::Null);
    if tolerations.is_null() {
        *tolerations = json!([]);
    }
    let Some(list) = tolerations.as_array_mut() else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = list.iter().any(|t| {
            let covers = |field: &str, value: &str| t[field].as_str().is_none_or(|v| v.is_empty() || v == value);
            covers("key", key) && covers("effect", "NoExecute")
        });
        if !tolerated {
            list.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
        }
    }
}

/// Guaranteed when every container limits CPU and memory to what it requests,
/// BestEffort when none asks for any, else Burstable.
fn quality_of_service(spec: &Value) -> &'static str {
    let (mut asks, mut guaranteed) = (false, true);
    let containers = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|l| spec[l].as_array().into_iter().flatten());
    for container in containers {
        let amount = |list: &str, name: &str| {
            let value = &container["resources"][list][name];
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            quantity::parse(&text).filter(|n| *n != 0)
        };
        for name in ["cpu", "memory"] {
            let limit = amount("limits", name);
            let request = amount("requests", name).or(limit);
            asks |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (asks, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn namespace(object: &mut Value) {
    if let Some(spec) = make_at(object, &["spec"]) {
        let finalizers = spec.entry("finalizers").or_insert(Value::Null);
        if finalizers.is_null() {
            *finalizers = json!([]);
        }
        if let Some(list) = finalizers
            .as_array_mut()
            .filter(|list| !list.contains(&json!("kubernetes")))
        {
            list.push(json!("kubernetes"));
        }
    }
    if let Some(object) = object.as_object_mut() {
        object.insert("status".to_owned(), json!({"phase": "Active"}));
    }
}

/// Upstream taints new nodes so that nothing lands on them before they are ready.
fn node(object: &mut Value) {
    let Some(spec) = make_at(object, &["spec"]) else { return };
    let taints = spec.entry("taints").or_insert(Value::Null);
    if taints.is_null() {
        *taints = json!([]);
    }
    let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
    if let Some(list) = taints.as_array_mut()
        && !list
            .iter()
            .any(|t| t["key"] == taint["key"] && t["effect"] == taint["effect"])
    {
        list.push(taint);
    }
}

fn add_finalizer(object: &mut Value, finalizer: &str) {
    let Some(metadata) = make_at(object, &["metadata"]) else {
        return;
    };
    let finalizers = metadata.entry("finalizers").or_insert_with(|| json!([]));
    if let Some(list) = finalizers
        .as_array_mut()
        .filter(|list| !list.contains(&json!(finalizer)))
    {
        list.push(json!(finalizer));
    }
}

/// Gives a Service an address of the usual range, and node ports, chosen by its
/// name: nothing routes to them here, they only have to look and stay the same.
fn service(object: &mut Value) {
    let name = |object: &Value, key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    let seed = format!("{}/{}", name(object, "namespace"), name(object, "name"));
    let Some(spec) = make_at(object, &["spec"]) else { return };
    let kind = spec
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or("ClusterIP")
        .to_owned();
    if kind == "ExternalName" {
        return;
    }
    let hash = fnv(&seed);
    fill_text(
        spec,
        "clusterIP",
        &format!("10.96.{}.{}", (hash >> 8) & 0xff, hash & 0xff),
    );
    if kind == "NodePort" || kind == "LoadBalancer" {
        for port in super::each(spec, "ports") {
            let number = port.get("port").map(Value::to_string).unwrap_or_default();
            if port.get("nodePort").is_none_or(|n| n.is_null() || n == 0) {
                port.insert(
                    "nodePort".to_owned(),
                    json!(30000 + fnv(&format!("{seed}:{number}")) % 2768),
                );
            }
        }
    }
}

/// FNV-1a: the same on every machine and in every release.
fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// A Job selects its Pods by its own uid, unless it brings a selector.
fn job(object: &mut Value) {
    if object["spec"]["manualSelector"] == true {
        return;
    }
    let (name, uid) = (object["metadata"]["name"].clone(), object["metadata"]["uid"].clone());
    if let Some(labels) = make_at(object, &["spec", "template", "metadata", "labels"]) {
        for (key, value) in [("job-name", &name), ("batch.kubernetes.io/job-name", &name)] {
            fill(labels, key, value.clone());
        }
        for (key, value) in [("controller-uid", &uid), ("batch.kubernetes.io/controller-uid", &uid)] {
            if uid.is_string() {
                fill(labels, key, value.clone());
            }
        }
        labels.retain(|_, value| !value.is_null());
    }
    if let (true, Some(labels)) = (uid.is_string(), make_at(object, &["spec", "selector", "matchLabels"])) {
        fill(labels, "batch.kubernetes.io/controller-uid", uid);
    }
    // Upstream also labels the Job itself like its Pods when it has no labels.
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    if let (true, Some(metadata)) = (labels.is_object(), make_at(object, &["metadata"])) {
        fill(metadata, "labels", labels);
    }
}

fn definition(object: &mut Value) {
    let versions = object["spec"]["versions"].as_array().into_iter().flatten();
    // The first alone: more than one is refused later.
    let stored: Vec<Value> = versions
        .filter(|v| v["storage"] == true)
        .map(|v| v["name"].clone())
        .take(1)
        .collect();
    if let Some(object) = object.as_object_mut() {
        let names = json!({"kind": "", "plural": ""});
        object.insert(
            "status".to_owned(),
            json!({"acceptedNames": names, "conditions": null, "storedVersions": stored}),
        );
    }
}
