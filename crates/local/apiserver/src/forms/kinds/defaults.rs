//! Defaults of every kind but the Pod.

use super::{each, fill, fill_text, make_at, object_at, pod_defaults};
use crate::forms::Gvk;
use serde_json::{Map, Value, json};

pub(super) fn apply(gvk: &Gvk, object: &mut Value) {
    match (gvk.group.as_str(), gvk.kind.as_str()) {
        ("", "Pod") => pod_defaults::pod(object),
        ("", "PodTemplate") => pod_defaults::template(object, &["template"]),
        ("", "ReplicationController") => replication_controller(object),
        ("", "Service") => service(object),
        ("", "Secret") => secret(object),
        ("", "Namespace") => namespace(object),
        ("", "Node") => node(object),
        ("", "Endpoints") => endpoints(object),
        ("", "PersistentVolumeClaim") => claim(object),
        ("", "PersistentVolume") => volume(object),
        ("", "LimitRange") => limit_range(object),
        ("apps", "Deployment") => deployment(object),
        ("apps", "ReplicaSet") => replica_set(object),
        ("apps", "StatefulSet") => stateful_set(object),
        ("apps", "DaemonSet") => daemon_set(object),
        ("batch", "Job") => {
            if let Some(spec) = make_at(object, &["spec"]) {
                job(spec);
            }
            pod_defaults::template(object, &["spec", "template"]);
        }
        ("batch", "CronJob") => cron_job(object),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler(gvk, object),
        ("discovery.k8s.io", "EndpointSlice") => endpoint_slice(object),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => binding(object),
        ("scheduling.k8s.io", "PriorityClass") => {
            if let Some(class) = object.as_object_mut() {
                fill_text(class, "preemptionPolicy", "PreemptLowerPriority");
            }
        }
        ("networking.k8s.io", "NetworkPolicy") => network_policy(object),
        ("storage.k8s.io", "StorageClass") => {
            if let Some(class) = object.as_object_mut() {
                fill_text(class, "reclaimPolicy", "Delete");
                fill_text(class, "volumeBindingMode", "Immediate");
            }
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        _ => {}
    }
}

/// Labels that a workload without any takes from its template.
fn labels_of_template(object: &mut Value) {
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    if labels.as_object().is_some_and(|l| !l.is_empty())
        && let Some(metadata) = make_at(object, &["metadata"])
    {
        fill(metadata, "labels", labels);
    }
}

fn replication_controller(object: &mut Value) {
    pod_defaults::template(object, &["spec", "template"]);
    labels_of_template(object);
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    if let Some(spec) = make_at(object, &["spec"]) {
        fill(spec, "replicas", 1);
        if labels.is_object() {
            fill(spec, "selector", labels);
        }
    }
}

fn deployment(object: &mut Value) {
    if let Some(spec) = make_at(object, &["spec"]) {
        fill(spec, "replicas", 1);
        fill(spec, "revisionHistoryLimit", 10);
        fill(spec, "progressDeadlineSeconds", 600);
    }
    if let Some(strategy) = make_at(object, &["spec", "strategy"]) {
        fill_text(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            fill(strategy, "rollingUpdate", json!({}));
            if let Some(rolling) = strategy.get_mut("rollingUpdate").and_then(Value::as_object_mut) {
                fill(rolling, "maxUnavailable", "25%");
                fill(rolling, "maxSurge", "25%");
            }
        }
    }
    pod_defaults::template(object, &["spec", "template"]);
}

fn replica_set(object: &mut Value) {
    if let Some(spec) = make_at(object, &["spec"]) {
        fill(spec, "replicas", 1);
    }
    pod_defaults::template(object, &["spec", "template"]);
}

fn stateful_set(object: &mut Value) {
    if let Some(spec) = make_at(object, &["spec"]) {
        fill(spec, "replicas", 1);
        fill(spec, "revisionHistoryLimit", 10);
        fill_text(spec, "podManagementPolicy", "OrderedReady");
        for template in each(spec, "volumeClaimTemplates") {
            template.insert("apiVersion".to_owned(), json!("v1"));
            template.insert("kind".to_owned(), json!("PersistentVolumeClaim"));
            let spec = template.entry("spec").or_insert_with(|| json!({}));
            if let Some(spec) = spec.as_object_mut() {
                fill_text(spec, "volumeMode", "Filesystem");
            }
            let status = template.entry("status").or_insert_with(|| json!({}));
            if let Some(status) = status.as_object_mut() {
                fill_text(status, "phase", "Pending");
            }
        }
    }
    if let Some(retention) = make_at(object, &["spec", "persistentVolumeClaimRetentionPolicy"]) {
        fill_text(retention, "whenDeleted", "Retain");
        fill_text(retention, "whenScaled", "Retain");
    }
    if let Some(strategy) = make_at(object, &["spec", "updateStrategy"]) {
        fill_text(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            fill(strategy, "rollingUpdate", json!({}));
            if let Some(rolling) = strategy.get_mut("rollingUpdate").and_then(Value::as_object_mut) {
                fill(rolling, "partition", 0);
            }
        }
    }
    pod_defaults::template(object, &["spec", "template"]);
}

fn daemon_set(object: &mut Value) {
    if let Some(spec) = make_at(object, &["spec"]) {
        fill(spec, "revisionHistoryLimit", 10);
    }
    if let Some(strategy) = make_at(object, &["spec", "updateStrategy"]) {
        fill_text(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            fill(strategy, "rollingUpdate", json!({}));
            if let Some(rolling) = strategy.get_mut("rollingUpdate").and_then(Value::as_object_mut) {
                fill(rolling, "maxUnavailable", 1);
                fill(rolling, "maxSurge", 0);
            }
        }
    }
    pod_defaults::template(object, &["spec", "template"]);
}

fn job(spec: &mut Map<String, Value>) {
    let neither =
        spec.get("completions").is_none_or(Value::is_null) && spec.get("parallelism").is_none_or(Value::is_null);
    if neither {
        fill(spec, "completions", 1);
    }
    fill(spec, "parallelism", 1);
    fill(
        spec,
        "backoffLimit",
        if spec.contains_key("backoffLimitPerIndex") {
            i32::MAX
        } else {
            6
        },
    );
    fill_text(spec, "completionMode", "NonIndexed");
    fill(spec, "suspend", false);
    let policy = if spec.get("podFailurePolicy").is_some_and(Value::is_object) {
        "Failed"
    } else {
        "TerminatingOrFailed"
    };
    fill_text(spec, "podReplacementPolicy", policy);
    fill(spec, "manualSelector", false);
}

fn cron_job(object: &mut Value) {
    if let Some(spec) = make_at(object, &["spec"]) {
        fill_text(spec, "concurrencyPolicy", "Allow");
        fill(spec, "suspend", false);
        fill(spec, "successfulJobsHistoryLimit", 3);
        fill(spec, "failedJobsHistoryLimit", 1);
    }
    pod_defaults::template(object, &["spec", "jobTemplate", "spec", "template"]);
}

fn service(object: &mut Value) {
    let Some(spec) = make_at(object, &["spec"]) else { return };
    fill_text(spec, "type", "ClusterIP");
    fill_text(spec, "sessionAffinity", "None");
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if spec["sessionAffinity"] == "ClientIP" {
        fill(
            spec,
            "sessionAffinityConfig",
            json!({"clientIP": {"timeoutSeconds": 10800}}),
        );
    }
    for port in each(spec, "ports") {
        fill_text(port, "protocol", "TCP");
        if port.get("targetPort").is_none_or(|t| t.is_null() || t == 0 || t == "")
            && let Some(number) = port.get("port").cloned()
        {
            port.insert("targetPort".to_owned(), number);
        }
    }
    if kind == "ExternalName" {
        return;
    }
    fill_text(spec, "internalTrafficPolicy", "Cluster");
    if kind == "NodePort" || kind == "LoadBalancer" {
        fill_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", true);
    }
    let headless = spec.get("clusterIP").and_then(Value::as_str) == Some("None");
    let unselected = spec
        .get("selector")
        .and_then(Value::as_object)
        .is_none_or(Map::is_empty);
    if headless && unselected {
        // Without a selector upstream cannot tell the families, so it claims both.
        fill(spec, "ipFamilies", json!(["IPv4", "IPv6"]));
        fill_text(spec, "ipFamilyPolicy", "RequireDualStack");
    }
    fill(spec, "ipFamilies", json!(["IPv4"]));
    fill_text(spec, "ipFamilyPolicy", "SingleStack");
    if let Some(address) = spec
        .get("clusterIP")
        .filter(|ip| ip.as_str().is_some_and(|ip| !ip.is_empty()))
        .cloned()
    {
        fill(spec, "clusterIPs", json!([address]));
    }
}

/// `stringData` is for writing only: it ends up in `data`.
fn secret(object: &mut Value) {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let Some(secret) = object.as_object_mut() else { return };
    fill_text(secret, "type", "Opaque");
    if let Some(Value::Object(texts)) = secret.remove("stringData") {
        let data = secret.entry("data").or_insert_with(|| json!({}));
        if let Some(data) = data.as_object_mut() {
            for (key, text) in texts {
                data.insert(key, json!(STANDARD.encode(text.as_str().unwrap_or_default())));
            }
        }
    }
}

fn namespace(object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    if let (true, Some(labels)) = (name.is_string(), make_at(object, &["metadata", "labels"])) {
        labels.insert("kubernetes.io/metadata.name".to_owned(), name);
    }
}

/// What a node has to give is all it has, unless it says otherwise.
fn node(object: &mut Value) {
    let capacity = object["status"]["capacity"].clone();
    if let (true, Some(status)) = (capacity.is_object(), make_at(object, &["status"])) {
        fill(status, "allocatable", capacity);
    }
}

fn endpoints(object: &mut Value) {
    let Some(object) = object.as_object_mut() else { return };
    for subset in each(object, "subsets") {
        for port in each(subset, "ports") {
            fill_text(port, "protocol", "TCP");
        }
    }
}

fn endpoint_slice(object: &mut Value) {
    let Some(object) = object.as_object_mut() else { return };
    for port in each(object, "ports") {
        fill(port, "name", "");
        fill_text(port, "protocol", "TCP");
    }
}

fn claim(object: &mut Value) {
    if let Some(spec) = make_at(object, &["spec"]) {
        fill_text(spec, "volumeMode", "Filesystem");
    }
    if let Some(status) = make_at(object, &["status"]) {
        fill_text(status, "phase", "Pending");
    }
}

fn volume(object: &mut Value) {
    if let Some(spec) = make_at(object, &["spec"]) {
        fill_text(spec, "persistentVolumeReclaimPolicy", "Retain");
        fill_text(spec, "volumeMode", "Filesystem");
        if let Some(path) = spec.get_mut("hostPath").and_then(Value::as_object_mut) {
            fill(path, "type", "");
        }
    }
    if let Some(status) = make_at(object, &["status"]) {
        fill_text(status, "phase", "Pending");
    }
}

fn limit_range(object: &mut Value) {
    let Some(spec) = object_at(object, &["spec"]) else {
        return;
    };
    for limit in each(spec, "limits") {
        if limit.get("type").and_then(Value::as_str) != Some("Container") {
            continue;
        }
        for (from, to) in [
            ("max", "default"),
            ("default", "defaultRequest"),
            ("min", "defaultRequest"),
        ] {
            let Some(source) = limit.get(from).and_then(Value::as_object).cloned() else {
                continue;
            };
            let target = limit.entry(to).or_insert_with(|| json!({}));
            if let Some(target) = target.as_object_mut() {
                for (name, amount) in source {
                    target.entry(name).or_insert(amount);
                }
            }
        }
    }
}

fn autoscaler(gvk: &Gvk, object: &mut Value) {
    let Some(spec) = make_at(object, &["spec"]) else { return };
    fill(spec, "minReplicas", 1);
    if gvk.version != "v2" {
        return;
    }
    if spec
        .get("metrics")
        .is_none_or(|m| m.as_array().is_none_or(Vec::is_empty))
    {
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}});
        spec.insert("metrics".to_owned(), json!([cpu]));
    }
    let Some(behavior) = spec.get_mut("behavior").and_then(Value::as_object_mut) else {
        return;
    };
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    for (direction, policies) in [
        ("scaleUp", json!([pods, percent.clone()])),
        ("scaleDown", json!([percent])),
    ] {
        fill(behavior, direction, json!({}));
        if let Some(rules) = behavior.get_mut(direction).and_then(Value::as_object_mut) {
            fill_text(rules, "selectPolicy", "Max");
            fill(rules, "policies", policies);
            if direction == "scaleUp" {
                fill(rules, "stabilizationWindowSeconds", 0);
            }
        }
    }
}

fn binding(object: &mut Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let Some(object) = object.as_object_mut() else { return };
    if let Some(role) = object.get_mut("roleRef").and_then(Value::as_object_mut) {
        fill_text(role, "apiGroup", GROUP);
    }
    for subject in each(object, "subjects") {
        if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
            fill_text(subject, "apiGroup", GROUP);
        }
    }
}

fn network_policy(object: &mut Value) {
    let Some(spec) = make_at(object, &["spec"]) else { return };
    let egress = spec
        .get("egress")
        .and_then(Value::as_array)
        .is_some_and(|e| !e.is_empty());
    fill(
        spec,
        "policyTypes",
        if egress {
            json!(["Ingress", "Egress"])
        } else {
            json!(["Ingress"])
        },
    );
    for direction in ["ingress", "egress"] {
        for rule in each(spec, direction) {
            for port in each(rule, "ports") {
                fill_text(port, "protocol", "TCP");
            }
        }
    }
}

fn definition(object: &mut Value) {
    let Some(spec) = make_at(object, &["spec"]) else { return };
    fill(spec, "conversion", json!({"strategy": "None"}));
    if let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) {
        let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        if !kind.is_empty() {
            fill_text(names, "singular", &kind.to_lowercase());
            fill_text(names, "listKind", &format!("{kind}List"));
        }
    }
}
