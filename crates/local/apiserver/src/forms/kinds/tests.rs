use super::*;
use crate::forms::schema;
use proptest::prelude::*;
use serde_json::json;
use std::sync::LazyLock;

/// Recorded from kube-apiserver 1.36.3: group, version, kind, the object sent (with
/// dryRun) and the answer without what every creation adds to metadata.
fn recorded() -> Vec<(Gvk, Value, Value)> {
    let table: Vec<(String, String, String, Value, Value)> =
        serde_json::from_str(include_str!("recorded.json")).unwrap();
    table
        .into_iter()
        .map(|(group, version, kind, sent, answer)| (Gvk::new(group, version, kind), sent, answer))
        .collect()
}

fn create(gvk: &Gvk, sent: &Value) -> Value {
    let schema = schema::builtin(gvk).unwrap_or_else(|| panic!("no schema of {gvk:?}"));
    let mut object = sent.clone();
    admit(gvk, &mut object);
    schema.prune(&mut object);
    default(gvk, &mut object);
    object
}

#[test]
fn created_objects_are_what_upstream_makes_of_them() {
    let mut wrong = String::new();
    for (gvk, sent, mut answer) in recorded() {
        let mut ours = create(&gvk, &sent);
        if sent["metadata"]["namespace"].is_null() {
            answer["metadata"].as_object_mut().unwrap().remove("namespace");
        }
        // A moment of the recording.
        if gvk.kind == "PersistentVolume" {
            answer["status"]
                .as_object_mut()
                .unwrap()
                .remove("lastPhaseTransitionTime");
        }
        // Ours always has one.
        if gvk.kind == "Service" && sent["spec"]["clusterIP"].is_null() {
            ours["spec"].as_object_mut().unwrap().remove("clusterIP");
        }
        if ours != answer {
            wrong += &format!("{} {}\n  ours {ours}\n  real {answer}\n", gvk.kind, sent["spec"]);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn defaulting_and_pruning_again_change_nothing() {
    for (gvk, sent, _) in recorded() {
        let once = create(&gvk, &sent);
        let mut twice = once.clone();
        default(&gvk, &mut twice);
        schema::builtin(&gvk).unwrap().prune(&mut twice);
        assert_eq!(twice, once, "{}", gvk.kind);
    }
}

#[test]
fn a_job_selects_its_pods_by_its_uid() {
    let gvk = Gvk::new("batch", "v1", "Job");
    let spec = json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "x"}]}}});
    let job = create(&gvk, &json!({"metadata": {"name": "j", "uid": "u-1"}, "spec": spec}));
    assert_eq!(
        job["spec"]["selector"]["matchLabels"],
        json!({"batch.kubernetes.io/controller-uid": "u-1"})
    );
    assert_eq!(
        job["spec"]["template"]["metadata"]["labels"]["batch.kubernetes.io/job-name"],
        "j"
    );
    assert_eq!(job["spec"]["backoffLimit"], 6);
}

proptest! {
    /// Whatever stands in place of a recorded object's members, nothing panics.
    #[test]
    fn no_shape_of_an_object_panics(choice in 0..40usize, pick in any::<prop::sample::Index>(), other in prop_oneof![
        Just(json!(null)), Just(json!([])), Just(json!({})), Just(json!("x")), Just(json!(5)), Just(json!([1, null, {}])), Just(json!(true))]) {
        static RECORDED: LazyLock<Vec<(Gvk, Value, Value)>> = LazyLock::new(recorded);
        let recorded = &*RECORDED;
        let (gvk, mut object, _) = recorded[choice % recorded.len()].clone();
        let mut pointers = Vec::new();
        collect(&object, String::new(), &mut pointers);
        let place: &String = pick.get(&pointers);
        *object.pointer_mut(place).unwrap() = other;
        admit(&gvk, &mut object);
        default(&gvk, &mut object);
        validate(&gvk, &object, None);
        validate(&gvk, &object, Some(&recorded[choice % recorded.len()].2));
        let schema = schema::builtin(&gvk).unwrap();
        schema.decode_error(&object);
        schema.prune(&mut object);
    }
}

fn collect(value: &Value, at: String, pointers: &mut Vec<String>) {
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(k, v)| collect(v, format!("{at}/{}", k.replace('~', "~0").replace('/', "~1")), pointers)),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .for_each(|(i, v)| collect(v, format!("{at}/{i}"), pointers)),
        _ => {}
    }
    pointers.push(at);
}

/// Causes as reason, field and message.
type Causes = Vec<[String; 3]>;

/// What kube-apiserver 1.36.3 answered to objects it refused: group, version, kind,
/// the object, and its causes as reason, field and message.
fn refused() -> Vec<(Gvk, Value, Causes)> {
    let table: Vec<(String, String, String, Value, Causes)> =
        serde_json::from_str(include_str!("refused.json")).unwrap();
    table
        .into_iter()
        .map(|(group, version, kind, sent, causes)| (Gvk::new(group, version, kind), sent, causes))
        .collect()
}

/// Where upstream dumps a whole structure in its internal form, only the rest counts.
fn without_dump(message: &str) -> String {
    let (head, tail) = (
        message.find(" value: {").or(message.find(" value: [")),
        message.rfind("}: ").or(message.rfind("]: ")),
    );
    match (head, tail) {
        (Some(head), Some(tail)) => format!("{}{}", &message[..head], &message[tail + 1..]),
        (Some(head), None) => message[..head].to_owned(),
        _ => message.to_owned(),
    }
}

#[test]
fn objects_are_refused_in_upstreams_words() {
    let mut wrong = String::new();
    for (gvk, sent, mut real) in refused() {
        let mut object = sent.clone();
        if object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = json!("default");
        }
        let object = create(&gvk, &object);
        let mut ours: Vec<[String; 3]> = validate(&gvk, &object, None)
            .into_iter()
            .map(|c| [c.reason.to_owned(), c.field, c.message])
            .collect();
        for cause in ours.iter_mut().chain(&mut real) {
            cause[2] = without_dump(&cause[2]);
        }
        ours.sort();
        ours.dedup();
        real.sort();
        real.dedup();
        if ours != real {
            wrong += &format!("{} {sent}\n", gvk.kind);
            ours.iter()
                .filter(|c| !real.contains(c))
                .for_each(|c| wrong += &format!("  only ours {c:?}\n"));
            real.iter()
                .filter(|c| !ours.contains(c))
                .for_each(|c| wrong += &format!("  only real {c:?}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_may_not_change_is_refused() {
    let template =
        json!({"metadata": {"labels": {"a": "b", "c": "d"}}, "spec": {"containers": [{"name": "a", "image": "x"}]}});
    let workload = json!({"metadata": {"name": "w"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template, "serviceName": "s"}});
    let plain = json!({"metadata": {"name": "w", "namespace": "default"}});
    let with = |object: &Value, pointer: &str, value: Value| {
        let mut object = object.clone();
        let (at, key) = pointer.rsplit_once('/').unwrap();
        object.pointer_mut(at).unwrap()[key] = value;
        object
    };
    let other = json!({"matchLabels": {"c": "d"}});
    let shown = "Invalid value: {\"matchLabels\":{\"c\":\"d\"}}: field is immutable";
    let frozen = with(&with(&plain, "/data", json!({"a": "b"})), "/immutable", json!(true));
    let pod = with(
        &plain,
        "/spec",
        json!({"containers": [{"name": "a", "image": "x", "env": [{"name": "A", "value": "1"}]}]}),
    );
    let bound = with(&plain, "/roleRef", json!({"kind": "Role", "name": "x"}));
    for (group, kind, old, pointer, value, field, message) in [
        (
            "apps",
            "Deployment",
            &workload,
            "/spec/selector",
            other.clone(),
            "spec.selector",
            shown,
        ),
        (
            "apps",
            "ReplicaSet",
            &workload,
            "/spec/selector",
            other.clone(),
            "spec.selector",
            shown,
        ),
        (
            "apps",
            "DaemonSet",
            &workload,
            "/spec/selector",
            other,
            "spec.selector",
            shown,
        ),
        (
            "apps",
            "StatefulSet",
            &workload,
            "/spec/serviceName",
            json!("z"),
            "spec",
            "Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        ),
        (
            "",
            "ConfigMap",
            &frozen,
            "/data/a",
            json!("c"),
            "data",
            "Forbidden: field is immutable when `immutable` is set",
        ),
        (
            "",
            "ConfigMap",
            &frozen,
            "/immutable",
            json!(false),
            "immutable",
            "Forbidden: field is immutable when `immutable` is set",
        ),
        (
            "",
            "Secret",
            &plain,
            "/type",
            json!("x"),
            "type",
            "Invalid value: \"x\": field is immutable",
        ),
        (
            "",
            "Pod",
            &pod,
            "/spec/nodeName",
            json!("n"),
            "spec",
            "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ),
        (
            "",
            "Pod",
            &pod,
            "/spec/containers",
            json!([]),
            "spec.containers",
            "Forbidden: pod updates may not add or remove containers",
        ),
        (
            "rbac.authorization.k8s.io",
            "RoleBinding",
            &bound,
            "/roleRef/name",
            json!("y"),
            "roleRef",
            "Invalid value: {\"APIGroup\":\"rbac.authorization.k8s.io\",\"Kind\":\"Role\",\"Name\":\"y\"}: cannot change roleRef",
        ),
        (
            "scheduling.k8s.io",
            "PriorityClass",
            &plain,
            "/value",
            json!(6),
            "value",
            "Forbidden: may not be changed in an update.",
        ),
    ] {
        let gvk = Gvk::new(group, "v1", kind);
        let (mut old, mut new) = (old.clone(), with(old, pointer, value));
        default(&gvk, &mut old);
        default(&gvk, &mut new);
        assert_eq!(validate(&gvk, &old, Some(&old)), [], "{kind}");
        let causes = validate(&gvk, &new, Some(&old));
        assert_eq!(causes.len(), 1, "{kind}: {causes:?}");
        assert_eq!(
            (causes[0].field.as_str(), causes[0].message.as_str()),
            (field, message),
            "{kind}"
        );
    }
    let image = with(&pod, "/spec/containers/0/image", json!("y"));
    assert_eq!(validate(&Gvk::new("", "v1", "Pod"), &image, Some(&pod)), []);
}
