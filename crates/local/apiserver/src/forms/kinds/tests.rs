use super::*;
use crate::forms::schema;
use proptest::prelude::*;
use serde_json::json;

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
    schema.prune(&mut object);
    admit(gvk, &mut object);
    default(gvk, &mut object);
    schema.prune(&mut object);
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
        let recorded = recorded();
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

/// What kube-apiserver 1.36.3 answered to objects it refused: group, version, kind,
/// the object, and its causes as reason, field and message.
fn refused() -> Vec<(Gvk, Value, Vec<[String; 3]>)> {
    let table: Vec<(String, String, String, Value, Vec<[String; 3]>)> =
        serde_json::from_str(include_str!("refused.json")).unwrap();
    table
        .into_iter()
        .map(|(group, version, kind, sent, causes)| (Gvk::new(group, version, kind), sent, causes))
        .collect()
}

#[test]
fn objects_are_refused_in_upstreams_words() {
    let mut wrong = String::new();
    for (gvk, sent, real) in refused() {
        let mut object = sent.clone();
        if object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = json!("default");
        }
        let object = create(&gvk, &object);
        let mut ours: Vec<[String; 3]> = validate(&gvk, &object, None)
            .into_iter()
            .map(|c| [c.reason.to_owned(), c.field, c.message])
            .collect();
        let mut real = real;
        ours.sort();
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
