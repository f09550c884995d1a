//! What a Pod's spec must be.

use super::check::{Found, at_least, complain, labels, list, named, one_of, port, port_or_name, text};
use crate::forms::{quantity, schema::Cause, words};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A whole spec, of a Pod or of a template.
pub(super) fn spec(spec: &Value, place: &str, found: &mut Found) {
    let at = |key: &str| format!("{place}.{key}");
    let volumes = volumes(&spec["volumes"], &at("volumes"), found);
    let mut names = BTreeSet::new();
    if list(&spec["containers"]).is_empty() {
        found.push(Cause::required(at("containers"), ""));
    }
    for group in ["containers", "initContainers"] {
        for (position, container) in list(&spec[group]).iter().enumerate() {
            let place = at(&format!("{group}[{position}]"));
            self::container(container, &place, &volumes, found);
            let name = text(&container["name"]);
            if !name.is_empty() && !names.insert(name) {
                found.push(Cause::duplicate(format!("{place}.name"), &container["name"]));
            }
        }
    }
    host_ports(spec, place, found);
    one_of(
        &at("restartPolicy"),
        &spec["restartPolicy"],
        &["Always", "OnFailure", "Never"],
        found,
    );
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(&at("dnsPolicy"), &spec["dnsPolicy"], &policies, found);
    labels(&at("nodeSelector"), &spec["nodeSelector"], found);
    for (key, rule) in [
        ("nodeName", words::dns_subdomain as fn(&str) -> Vec<String>),
        ("serviceAccountName", words::dns_subdomain),
        ("hostname", words::dns_label),
        ("subdomain", words::dns_label),
    ] {
        if !text(&spec[key]).is_empty() {
            complain(&at(key), &spec[key], rule(text(&spec[key])), found);
        }
    }
    if spec["activeDeadlineSeconds"]
        .as_i64()
        .is_some_and(|n| !(1..=i64::from(i32::MAX)).contains(&n))
    {
        let detail = "must be between 1 and 2147483647, inclusive";
        found.push(Cause::invalid(
            at("activeDeadlineSeconds"),
            &spec["activeDeadlineSeconds"],
            detail,
        ));
    }
    for (position, toleration) in list(&spec["tolerations"]).iter().enumerate() {
        self::toleration(toleration, &at(&format!("tolerations[{position}]")), found);
    }
    for (position, spread) in list(&spec["topologySpreadConstraints"]).iter().enumerate() {
        let at = |key: &str| at(&format!("topologySpreadConstraints[{position}].{key}"));
        if spread["maxSkew"].as_i64().unwrap_or(0) <= 0 {
            found.push(Cause::invalid(
                at("maxSkew"),
                &spread["maxSkew"],
                "must be greater than zero",
            ));
        }
        if text(&spread["topologyKey"]).is_empty() {
            found.push(Cause::required(at("topologyKey"), "can not be empty"));
        }
        let actions = ["DoNotSchedule", "ScheduleAnyway"];
        one_of(&at("whenUnsatisfiable"), &spread["whenUnsatisfiable"], &actions, found);
    }
    let required = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    if required.is_object() && list(&required["nodeSelectorTerms"]).is_empty() {
        let place = at("affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
        found.push(Cause::required(place, "must have at least one node selector term"));
    }
}

/// A template: labels and spec.
pub(super) fn template(template: &Value, place: &str, found: &mut Found) {
    labels(&format!("{place}.labels"), &template["metadata"]["labels"], found);
    spec(&template["spec"], &format!("{place}.spec"), found);
}

/// Which parts of a running Pod may change.
pub(super) fn update(new: &Value, old: &Value, found: &mut Found) {
    for group in ["containers", "initContainers"] {
        if list(&new[group]).len() != list(&old[group]).len() {
            let detail = "pod updates may not add or remove containers";
            found.push(Cause::forbidden(format!("spec.{group}"), detail));
            return;
        }
    }
    let (mut new_rest, mut old_rest) = (new.clone(), old.clone());
    for rest in [&mut new_rest, &mut old_rest] {
        for group in ["containers", "initContainers"] {
            for container in rest.get_mut(group).and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(container) = container.as_object_mut() {
                    container.remove("image");
                }
            }
        }
        if let Some(rest) = rest.as_object_mut() {
            rest.remove("activeDeadlineSeconds");
            rest.remove("tolerations");
        }
    }
    for group in ["containers", "initContainers"] {
        for (position, container) in list(&new[group]).iter().enumerate() {
            if text(&container["image"]).is_empty() {
                found.push(Cause::required(format!("spec.{group}[{position}].image"), ""));
            }
        }
    }
    if new_rest != old_rest {
        let detail = "pod updates may not change fields other than `spec.containers[*].image`,\
                      `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
                      existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                      previously negative)";
        found.push(Cause::forbidden("spec", detail));
    }
}

/// Checks the volumes and returns their names.
fn volumes<'a>(volumes: &'a Value, place: &str, found: &mut Found) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (position, volume) in list(volumes).iter().enumerate() {
        let at = |key: &str| format!("{place}[{position}].{key}");
        named(&at("name"), &volume["name"], words::dns_label, found);
        let name = text(&volume["name"]);
        if !name.is_empty() && !names.insert(name) {
            found.push(Cause::duplicate(at("name"), &volume["name"]));
        }
        let sources = volume
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, value)| *key != "name" && !value.is_null());
        for (extra, (source, _)) in sources.enumerate() {
            if extra > 0 {
                found.push(Cause::forbidden(at(source), "may not specify more than 1 volume type"));
            }
        }
        for (source, key) in [
            ("secret", "secretName"),
            ("configMap", "name"),
            ("hostPath", "path"),
            ("persistentVolumeClaim", "claimName"),
        ] {
            if volume[source].is_object() && text(&volume[source][key]).is_empty() {
                found.push(Cause::required(at(&format!("{source}.{key}")), ""));
            }
        }
    }
    names
}

fn container(container: &Value, place: &str, volumes: &BTreeSet<&str>, found: &mut Found) {
    let at = |key: &str| format!("{place}.{key}");
    named(&at("name"), &container["name"], words::dns_label, found);
    let image = text(&container["image"]);
    if image.is_empty() {
        found.push(Cause::required(at("image"), ""));
    } else if image.trim() != image {
        found.push(Cause::invalid(
            at("image"),
            &container["image"],
            "must not have leading or trailing whitespace",
        ));
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    one_of(&at("imagePullPolicy"), &container["imagePullPolicy"], &policies, found);
    let policies = ["File", "FallbackToLogsOnError"];
    one_of(
        &at("terminationMessagePolicy"),
        &container["terminationMessagePolicy"],
        &policies,
        found,
    );
    ports(&container["ports"], &at("ports"), found);
    for (position, variable) in list(&container["env"]).iter().enumerate() {
        self::variable(variable, &at(&format!("env[{position}]")), found);
    }
    resources(&container["resources"], &at("resources"), found);
    let mut paths = BTreeSet::new();
    for (position, mount) in list(&container["volumeMounts"]).iter().enumerate() {
        let at = |key: &str| at(&format!("volumeMounts[{position}].{key}"));
        match text(&mount["name"]) {
            "" => found.push(Cause::required(at("name"), "")),
            name if !volumes.contains(name) => found.push(Cause {
                reason: "FieldValueNotFound",
                message: format!("Not found: {name:?}"),
                field: at("name"),
            }),
            _ => {}
        }
        match text(&mount["mountPath"]) {
            "" => found.push(Cause::required(at("mountPath"), "")),
            path if !paths.insert(path) => {
                found.push(Cause::invalid(at("mountPath"), &mount["mountPath"], "must be unique"));
            }
            _ => {}
        }
    }
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container[key].is_object() {
            probe(&container[key], &at(key), key != "readinessProbe", found);
        }
    }
    for hook in ["postStart", "preStop"] {
        if container["lifecycle"][hook].is_object() {
            handler(&container["lifecycle"][hook], &at(&format!("lifecycle.{hook}")), found);
        }
    }
    for key in ["runAsUser", "runAsGroup"] {
        let id = &container["securityContext"][key];
        if id.as_i64().is_some_and(|n| !(0..=i64::from(i32::MAX)).contains(&n)) {
            let detail = "must be between 0 and 2147483647, inclusive";
            found.push(Cause::invalid(at(&format!("securityContext.{key}")), id, detail));
        }
    }
}

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

fn ports(ports: &Value, place: &str, found: &mut Found) {
    let mut names = BTreeSet::new();
    for (position, given) in list(ports).iter().enumerate() {
        let at = |key: &str| format!("{place}[{position}].{key}");
        let name = text(&given["name"]);
        if !name.is_empty() {
            let complaints = words::port_name(name);
            let fits = complaints.is_empty();
            complain(&at("name"), &given["name"], complaints, found);
            if fits && !names.insert(name) {
                found.push(Cause::duplicate(at("name"), &given["name"]));
            }
        }
        match given["containerPort"].as_i64() {
            None | Some(0) => found.push(Cause::required(at("containerPort"), "")),
            Some(_) => port(&at("containerPort"), &given["containerPort"], found),
        }
        if given["hostPort"].as_i64().is_some_and(|n| n != 0) {
            port(&at("hostPort"), &given["hostPort"], found);
        }
        one_of(&at("protocol"), &given["protocol"], &PROTOCOLS, found);
    }
}

/// A port of the host can serve only once.
fn host_ports(spec: &Value, place: &str, found: &mut Found) {
    let mut taken = BTreeSet::new();
    for (container_at, container) in list(&spec["containers"]).iter().enumerate() {
        for (port_at, port) in list(&container["ports"]).iter().enumerate() {
            let Some(number) = port["hostPort"].as_i64().filter(|n| *n != 0) else {
                continue;
            };
            let id = format!("{}/{}/{number}", text(&port["protocol"]), text(&port["hostIP"]));
            if !taken.insert(id.clone()) {
                let place = format!("{place}.containers[{container_at}].ports[{port_at}].hostPort");
                found.push(Cause::duplicate(place, &json!(id)));
            }
        }
    }
}

/// Fields of a Pod that a variable can be taken from.
fn is_downward(path: &str) -> bool {
    const FIELDS: [&str; 10] = [
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
        "spec.host",
    ];
    FIELDS.contains(&path) || path.starts_with("metadata.labels['") || path.starts_with("metadata.annotations['")
}

fn variable(variable: &Value, place: &str, found: &mut Found) {
    named(&format!("{place}.name"), &variable["name"], words::env_name, found);
    let source = &variable["valueFrom"];
    if !source.is_object() {
        return;
    }
    let at = |key: &str| format!("{place}.valueFrom{key}");
    let sources = [
        "fieldRef",
        "resourceFieldRef",
        "configMapKeyRef",
        "secretKeyRef",
        "fileKeyRef",
    ];
    let given: Vec<&str> = sources.into_iter().filter(|s| source[*s].is_object()).collect();
    if given.is_empty() {
        let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or \
                      `fileKeyRef`";
        found.push(Cause::invalid(at(""), &json!(""), detail));
    } else if !text(&variable["value"]).is_empty() {
        found.push(Cause::invalid(
            at(""),
            &json!(""),
            "may not be specified when `value` is not empty",
        ));
    } else if given.len() > 1 {
        found.push(Cause::invalid(
            at(""),
            &json!(""),
            "may not have more than one field specified at a time",
        ));
    }
    let path = &source["fieldRef"]["fieldPath"];
    if source["fieldRef"].is_object() {
        match text(path) {
            "" => found.push(Cause::required(at(".fieldRef.fieldPath"), "")),
            unknown if !is_downward(unknown) => {
                let detail = format!("error converting fieldPath: field label not supported: {unknown}");
                found.push(Cause::invalid(at(".fieldRef.fieldPath"), path, &detail));
            }
            _ => {}
        }
    }
    for key in ["configMapKeyRef", "secretKeyRef"] {
        if source[key].is_object() {
            let name = source[key].get("name").cloned().unwrap_or(json!(""));
            complain(
                &at(&format!(".{key}.name")),
                &name,
                words::dns_subdomain(text(&name)),
                found,
            );
            named(
                &at(&format!(".{key}.key")),
                &source[key]["key"],
                words::config_key,
                found,
            );
        }
    }
}

/// Thousandths of an amount, if it is one.
pub(super) fn amount(value: &Value) -> Option<i128> {
    match value {
        Value::String(text) => quantity::parse(text),
        Value::Number(number) => quantity::parse(&number.to_string()),
        _ => None,
    }
}

pub(super) fn is_standard(resource: &str) -> bool {
    matches!(resource, "cpu" | "memory" | "ephemeral-storage") || resource.starts_with("hugepages-")
}

fn resources(resources: &Value, place: &str, found: &mut Found) {
    for group in ["limits", "requests"] {
        for (resource, value) in resources[group].as_object().into_iter().flatten() {
            let at = format!("{place}.{group}[{resource}]");
            let complaints = words::qualified_name(resource);
            let shown = json!(resource);
            if !complaints.is_empty() {
                complain(&at, &shown, complaints, found);
            } else if !resource.contains('/') && !is_standard(resource) {
                found.push(Cause::invalid(
                    &at,
                    &shown,
                    "must be a standard resource type or fully qualified",
                ));
            }
            if !resource.contains('/') && !is_standard(resource) {
                found.push(Cause::invalid(
                    &at,
                    &shown,
                    "must be a standard resource for containers",
                ));
            }
            let Some(thousandths) = amount(value) else { continue };
            if thousandths < 0 {
                found.push(Cause::invalid(&at, value, "must be greater than or equal to 0"));
            } else if resource.contains('/') && thousandths % 1000 != 0 {
                found.push(Cause::invalid(&at, value, "must be an integer"));
            }
        }
    }
    let at = format!("{place}.requests");
    for (resource, request) in resources["requests"].as_object().into_iter().flatten() {
        let limit = &resources["limits"][resource];
        match (amount(request), amount(limit)) {
            (Some(_), None) if resource.contains('/') => {
                let detail = "Limit must be set for non overcommitable resources";
                found.push(Cause::required(format!("{place}.limits"), detail));
            }
            (Some(asked), Some(most)) if resource.contains('/') && asked != most => {
                let detail = format!("must be equal to {resource} limit of {}", text(limit));
                found.push(Cause::invalid(&at, request, &detail));
            }
            (Some(asked), Some(most)) if asked > most => {
                let detail = format!("must be less than or equal to {resource} limit of {}", text(limit));
                found.push(Cause::invalid(&at, request, &detail));
            }
            _ => {}
        }
    }
}

fn handler(handler: &Value, place: &str, found: &mut Found) {
    let kinds = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
    let given: Vec<&str> = kinds.into_iter().filter(|k| handler[*k].is_object()).collect();
    if given.is_empty() {
        found.push(Cause::required(place, "must specify a handler type"));
    }
    for extra in given.iter().skip(1) {
        found.push(Cause::forbidden(
            format!("{place}.{extra}"),
            "may not specify more than 1 handler type",
        ));
    }
    if let Some(kind) = given.first() {
        match *kind {
            "httpGet" | "tcpSocket" => port_or_name(&format!("{place}.{kind}.port"), &handler[*kind]["port"], found),
            "grpc" => port(&format!("{place}.grpc.port"), &handler["grpc"]["port"], found),
            "exec" if list(&handler["exec"]["command"]).is_empty() => {
                found.push(Cause::required(format!("{place}.exec.command"), ""));
            }
            _ => {}
        }
    }
}

fn probe(probe: &Value, place: &str, once: bool, found: &mut Found) {
    handler(probe, place, found);
    for key in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        at_least(&format!("{place}.{key}"), &probe[key], 0, found);
    }
    let threshold = &probe["successThreshold"];
    if once && threshold.as_i64().is_some_and(|n| n > 1) {
        found.push(Cause::invalid(
            format!("{place}.successThreshold"),
            threshold,
            "must be 1",
        ));
    }
}

/// What a taint may do.
pub(super) const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

fn toleration(toleration: &Value, place: &str, found: &mut Found) {
    let at = |key: &str| format!("{place}.{key}");
    let (key, operator) = (text(&toleration["key"]), text(&toleration["operator"]));
    if !key.is_empty() {
        complain(&at("key"), &toleration["key"], words::qualified_name(key), found);
    }
    if key.is_empty() && operator != "Exists" {
        let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        found.push(Cause::invalid(at("operator"), &toleration["operator"], detail));
    }
    if !toleration["tolerationSeconds"].is_null() && text(&toleration["effect"]) != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        found.push(Cause::invalid(
            at("effect"),
            &json!(text(&toleration["effect"])),
            detail,
        ));
    }
    match operator {
        "Equal" | "" => {
            let value = &toleration["value"];
            complain(&at("operator"), value, words::label_value(text(value)), found);
        }
        "Exists" if !text(&toleration["value"]).is_empty() => {
            let detail = "value must be empty when `operator` is 'Exists'";
            found.push(Cause::invalid(at("operator"), &toleration["value"], detail));
        }
        "Exists" => {}
        _ => found.push(Cause::not_supported(
            at("operator"),
            &toleration["operator"],
            &["Equal", "Exists"],
        )),
    }
    if !text(&toleration["effect"]).is_empty() {
        one_of(&at("effect"), &toleration["effect"], &EFFECTS, found);
    }
}
