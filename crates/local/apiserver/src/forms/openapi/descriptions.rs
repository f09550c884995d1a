//! What `kubectl explain` says of kinds and of the fields that every object has, in
//! our own words. Other fields have a name and a type only.

use serde_json::Value;

const KINDS: [(&str, &str); 28] = [
    ("Pod", "Containers that run together on one node."),
    (
        "Deployment",
        "Keeps a number of equal Pods running and rolls out changes of their template.",
    ),
    (
        "ReplicaSet",
        "Keeps a number of equal Pods running; usually owned by a Deployment.",
    ),
    (
        "StatefulSet",
        "Keeps Pods with stable names and storage running, one after the other.",
    ),
    ("DaemonSet", "Runs one Pod on every node that fits."),
    ("Job", "Runs Pods until enough of them have succeeded."),
    ("CronJob", "Creates Jobs on a schedule."),
    ("Service", "A stable name and address for a set of Pods."),
    ("Endpoints", "The addresses behind a Service, in the old form."),
    ("EndpointSlice", "Some of the addresses behind a Service."),
    ("ConfigMap", "Configuration as pairs of keys and values."),
    ("Secret", "Configuration that is to be kept secret, in base64."),
    ("ServiceAccount", "An identity for the processes in Pods."),
    ("Namespace", "A scope for the names of other objects."),
    ("Node", "A machine that runs Pods."),
    ("Event", "A report of something that happened to an object."),
    ("Lease", "Who holds a role, and until when."),
    ("HorizontalPodAutoscaler", "Scales a workload by metrics."),
    ("PodDisruptionBudget", "How many Pods of a set may be evicted at once."),
    ("PriorityClass", "A name for a priority of Pods."),
    ("Role", "Rights within one namespace."),
    ("ClusterRole", "Rights in the whole cluster."),
    (
        "RoleBinding",
        "Gives a role's rights within one namespace to users, groups or service accounts.",
    ),
    (
        "ClusterRoleBinding",
        "Gives a role's rights in the whole cluster to users, groups or service accounts.",
    ),
    ("PersistentVolume", "A piece of storage."),
    ("PersistentVolumeClaim", "A wish for storage."),
    ("ControllerRevision", "A past state of a workload, for rollback."),
    (
        "CustomResourceDefinition",
        "A kind of objects that a user adds to the API.",
    ),
];

const COMMON: [(&str, &str); 3] = [
    ("apiVersion", "Group and version of the object's schema."),
    ("kind", "What the object is."),
    ("metadata", "Name, labels and the like."),
];

const USUAL: [(&str, &str); 2] = [("spec", "What is wanted."), ("status", "What was observed.")];

/// Describes a kind's definition.
pub(super) fn add(definition: &mut Value) {
    let kind = definition["x-kubernetes-group-version-kind"][0]["kind"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    if kind.is_empty() {
        return;
    }
    if let Some((_, text)) = KINDS.iter().find(|(name, _)| *name == kind) {
        definition["description"] = Value::from(*text);
    }
    add_common(definition);
    describe(definition, &USUAL);
}

/// Describes the fields that every object has. What a custom kind says beside them is
/// for its author to explain.
pub(super) fn add_common(definition: &mut Value) {
    describe(definition, &COMMON);
}

fn describe(definition: &mut Value, fields: &[(&str, &str)]) {
    for (name, text) in fields {
        if let Some(Value::Object(field)) = definition.get_mut("properties").and_then(|p| p.get_mut(name)) {
            field.entry("description").or_insert_with(|| Value::from(*text));
        }
    }
}
