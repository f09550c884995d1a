//! Defaults of a Pod's spec, alone or in a template.

use super::{each, fill, fill_text, make_at};
use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

/// A whole Pod.
pub(super) fn pod(object: &mut Value) {
    let Some(spec) = make_at(object, &["spec"]) else { return };
    fill(spec, "enableServiceLinks", true);
    let host_network = spec.get("hostNetwork").and_then(Value::as_bool).unwrap_or(false);
    for list in ["containers", "initContainers"] {
        for container in each(spec, list) {
            request_what_is_limited(container);
            if host_network {
                for port in each(container, "ports") {
                    if let Some(number) = port.get("containerPort").cloned() {
                        fill(port, "hostPort", number);
                    }
                }
            }
        }
    }
    self::spec(spec);
}

/// A limit without a request is the request too.
fn request_what_is_limited(container: &mut Object) {
    let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else {
        return;
    };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else {
        return;
    };
    let requests = resources.entry("requests").or_insert_with(|| json!({}));
    if let Some(requests) = requests.as_object_mut() {
        for (name, limit) in limits {
            requests.entry(name).or_insert(limit);
        }
    }
}

/// The spec of a Pod or of a template.
pub(super) fn spec(spec: &mut Object) {
    fill_text(spec, "dnsPolicy", "ClusterFirst");
    fill_text(spec, "restartPolicy", "Always");
    fill_text(spec, "schedulerName", "default-scheduler");
    fill(spec, "securityContext", json!({}));
    fill(spec, "terminationGracePeriodSeconds", 30);
    if spec["terminationGracePeriodSeconds"]
        .as_i64()
        .is_some_and(|seconds| seconds < 0)
    {
        // Upstream takes a negative time for the shortest one.
        spec.insert("terminationGracePeriodSeconds".to_owned(), 1.into());
    }
    let account = spec
        .get("serviceAccountName")
        .filter(|v| v.as_str() != Some(""))
        .cloned();
    match account {
        Some(name) => {
            spec.insert("serviceAccount".to_owned(), name);
        }
        None => {
            if let Some(name) = spec.get("serviceAccount").cloned() {
                spec.insert("serviceAccountName".to_owned(), name);
            }
        }
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in each(spec, list) {
            self::container(container);
        }
    }
    for volume in each(spec, "volumes") {
        self::volume(volume);
    }
}

fn container(container: &mut Object) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    fill_text(
        container,
        "imagePullPolicy",
        if is_latest(image) { "Always" } else { "IfNotPresent" },
    );
    fill(container, "resources", json!({}));
    fill_text(container, "terminationMessagePath", "/dev/termination-log");
    fill_text(container, "terminationMessagePolicy", "File");
    for port in each(container, "ports") {
        fill_text(port, "protocol", "TCP");
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).and_then(Value::as_object_mut) {
            self::probe(probe);
        }
    }
    if let Some(lifecycle) = container.get_mut("lifecycle").and_then(Value::as_object_mut) {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = lifecycle.get_mut(hook).and_then(Value::as_object_mut) {
                http_get(hook);
            }
        }
    }
    for variable in each(container, "env") {
        if let Some(field) = variable
            .get_mut("valueFrom")
            .and_then(|v| v.get_mut("fieldRef"))
            .and_then(Value::as_object_mut)
        {
            fill_text(field, "apiVersion", "v1");
        }
    }
}

/// Whether an image has the tag `latest` or none; a digest pins it.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn probe(probe: &mut Object) {
    for (key, default) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        if probe.get(key).is_none_or(|v| v.as_i64() == Some(0)) {
            probe.insert(key.to_owned(), json!(default));
        }
    }
    http_get(probe);
    if let Some(grpc) = probe.get_mut("grpc").and_then(Value::as_object_mut) {
        fill(grpc, "service", "");
    }
}

fn http_get(handler: &mut Object) {
    if let Some(get) = handler.get_mut("httpGet").and_then(Value::as_object_mut) {
        fill_text(get, "path", "/");
        fill_text(get, "scheme", "HTTP");
    }
}

/// What a volume is when it does not say: an empty folder.
fn volume(volume: &mut Object) {
    if volume.keys().all(|key| key == "name") {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for (source, settings) in volume.iter_mut() {
        let Some(settings) = settings.as_object_mut() else {
            continue;
        };
        match source.as_str() {
            "secret" | "configMap" | "downwardAPI" | "projected" => fill(settings, "defaultMode", 420),
            "hostPath" => fill(settings, "type", ""),
            "iscsi" => fill_text(settings, "iscsiInterface", "default"),
            _ => {}
        }
        for item in each(settings, "items") {
            downward(item);
        }
        for source in each(settings, "sources") {
            if let Some(token) = source.get_mut("serviceAccountToken").and_then(Value::as_object_mut) {
                fill(token, "expirationSeconds", 3600);
            }
            if let Some(api) = source.get_mut("downwardAPI").and_then(Value::as_object_mut) {
                for item in each(api, "items") {
                    downward(item);
                }
            }
        }
    }
}

fn downward(item: &mut Object) {
    if let Some(field) = item.get_mut("fieldRef").and_then(Value::as_object_mut) {
        fill_text(field, "apiVersion", "v1");
    }
}

/// The template of a workload, below the given path.
pub(super) fn template(object: &mut Value, path: &[&str]) {
    let mut spec: Vec<&str> = path.to_vec();
    spec.push("spec");
    if let Some(spec) = make_at(object, &spec) {
        self::spec(spec);
    }
}
