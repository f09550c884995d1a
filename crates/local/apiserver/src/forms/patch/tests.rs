use super::*;
use crate::forms::{Gvk, schema};
use proptest::prelude::*;
use serde_json::json;

fn patched(doc: &Value, ops: &Value) -> Result<Value, PatchErrorKind> {
    let mut doc = doc.clone();
    json(&mut doc, ops).map(|()| doc).map_err(|e| e.kind)
}

#[test]
fn json_patch_does_what_upstream_does() {
    use PatchErrorKind::{BadRequest, Invalid};
    let doc = json!({"data": {"a": "1"}, "list": ["x", "y"], "a/b": {"~": 1}});
    for (ops, expected) in [
        (
            json!([{"op": "add", "path": "/data/b", "value": "2"}]),
            Ok(json!({"a": "1", "b": "2"})),
        ),
        (
            json!([{"op": "replace", "path": "/data/b", "value": "2"}]),
            Ok(json!({"a": "1", "b": "2"})),
        ),
        (json!([{"op": "remove", "path": "/data/a"}]), Ok(json!({}))),
        (
            json!([{"op": "test", "path": "/data/none", "value": null}]),
            Ok(json!({"a": "1"})),
        ),
        (json!([{"op": "test", "path": "/data/none"}]), Ok(json!({"a": "1"}))),
        (
            json!([{"op": "add", "path": "/data/n"}]),
            Ok(json!({"a": "1", "n": null})),
        ),
        (
            json!([{"op": "copy", "from": "/data/none", "path": "/data/x"}]),
            Ok(json!({"a": "1", "x": null})),
        ),
        (
            json!([{"op": "move", "from": "/data/a", "path": "/data/x"}]),
            Ok(json!({"x": "1"})),
        ),
        (json!([{"op": "test", "path": "/none/q", "value": null}]), Err(Invalid)),
        (json!([{"op": "test", "path": "/data/a", "value": "2"}]), Err(Invalid)),
        (json!([{"op": "remove", "path": "/data/none"}]), Err(Invalid)),
        (
            json!([{"op": "move", "from": "/data/none", "path": "/data/x"}]),
            Err(Invalid),
        ),
        (json!([{"op": "add", "path": "/none/b", "value": 1}]), Err(Invalid)),
        (json!([{"op": "foo", "path": "/data/a"}]), Err(Invalid)),
        (json!([{"op": "remove"}]), Err(Invalid)),
        (json!([null]), Err(Invalid)),
        (json!({"op": "remove"}), Err(BadRequest)),
        (json!([1]), Err(BadRequest)),
        (json!([{"op": "add", "path": 5}]), Err(BadRequest)),
    ] {
        assert_eq!(patched(&doc, &ops).map(|d| d["data"].clone()), expected, "{ops}");
    }
    for (ops, expected) in [
        (
            json!([{"op": "add", "path": "/list/-", "value": "z"}]),
            Ok(json!(["x", "y", "z"])),
        ),
        (
            json!([{"op": "add", "path": "/list/0", "value": "z"}]),
            Ok(json!(["z", "x", "y"])),
        ),
        (
            json!([{"op": "add", "path": "/list/+0", "value": "z"}]),
            Ok(json!(["z", "x", "y"])),
        ),
        (
            json!([{"op": "add", "path": "/list/-1", "value": "z"}]),
            Ok(json!(["x", "y", "z"])),
        ),
        (json!([{"op": "remove", "path": "/list/-1"}]), Ok(json!(["x"]))),
        (
            json!([{"op": "replace", "path": "/list/1", "value": "z"}]),
            Ok(json!(["x", "z"])),
        ),
        (
            json!([{"op": "test", "path": "/list/0", "value": "x"}, {"op": "remove", "path": "/list/0"}]),
            Ok(json!(["y"])),
        ),
        (json!([{"op": "add", "path": "/list/3", "value": "z"}]), Err(Invalid)),
        (
            json!([{"op": "replace", "path": "/list/2", "value": "z"}]),
            Err(Invalid),
        ),
        (json!([{"op": "test", "path": "/list/2", "value": null}]), Err(Invalid)),
        (json!([{"op": "add", "path": "/list/x", "value": "z"}]), Err(Invalid)),
    ] {
        assert_eq!(patched(&doc, &ops).map(|d| d["list"].clone()), expected, "{ops}");
    }
    let escaped = patched(&doc, &json!([{"op": "replace", "path": "/a~1b/~0", "value": 2}])).unwrap();
    assert_eq!(escaped["a/b"]["~"], 2);
}

#[test]
fn a_failed_json_patch_changes_nothing_and_has_a_limit() {
    let mut doc = json!({"a": 1});
    let before = doc.clone();
    json(
        &mut doc,
        &json!([{"op": "remove", "path": "/a"}, {"op": "remove", "path": "/a"}]),
    )
    .unwrap_err();
    assert_eq!(doc, before);
    let many = Value::Array(vec![
        json!({"op": "test", "path": "/a", "value": 1});
        MAX_OPERATIONS + 1
    ]);
    let error = json(&mut doc, &many).unwrap_err();
    assert_eq!(error.kind, PatchErrorKind::TooLarge);
    assert_eq!(
        error.message,
        "The allowed maximum operations in a JSON patch is 10000, got 10001"
    );
}

#[test]
fn merge_patch_follows_the_examples_of_its_rfc() {
    for (doc, patch, expected) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (
            json!({"a": {"b": "c"}}),
            json!({"a": {"b": "d", "c": null}}),
            json!({"a": {"b": "d"}}),
        ),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ] {
        let mut merged = doc.clone();
        merge(&mut merged, &patch);
        assert_eq!(merged, expected, "{doc} + {patch}");
    }
}

fn deployment() -> schema::Schema {
    schema::builtin(&Gvk::new("apps", "v1", "Deployment")).unwrap()
}

/// A Deployment whose Pod template has this spec.
fn with_pod(spec: &Value) -> Value {
    json!({"spec": {"template": {"spec": spec}}})
}

#[test]
fn strategic_patches_merge_by_the_schema() {
    let c = |name: &str| json!({"name": name, "image": name});
    for (case, pod, patch, expected) in [
        (
            "an element merges by its key and stays in place",
            json!({"containers": [c("a"), c("b")]}),
            json!({"containers": [{"name": "b", "image": "new"}]}),
            json!({"containers": [c("a"), {"name": "b", "image": "new"}]}),
        ),
        (
            "a new element comes first, as upstream weaves it",
            json!({"containers": [c("a")]}),
            json!({"containers": [c("z")]}),
            json!({"containers": [c("z"), c("a")]}),
        ),
        (
            "an element is deleted by directive",
            json!({"containers": [c("a"), c("b")]}),
            json!({"containers": [{"name": "a", "$patch": "delete"}]}),
            json!({"containers": [c("b")]}),
        ),
        (
            "a list is replaced by directive",
            json!({"containers": [c("a"), c("b")]}),
            json!({"containers": [{"$patch": "replace"}, c("z")]}),
            json!({"containers": [c("z")]}),
        ),
        (
            "an atomic list is replaced",
            json!({"tolerations": [{"key": "a"}]}),
            json!({"tolerations": [{"key": "b"}]}),
            json!({"tolerations": [{"key": "b"}]}),
        ),
        (
            "a null deletes",
            json!({"nodeName": "n", "hostNetwork": true}),
            json!({"nodeName": null, "priority": null}),
            json!({"hostNetwork": true}),
        ),
        (
            "a map is replaced by directive",
            json!({"nodeSelector": {"a": "1", "b": "2"}}),
            json!({"nodeSelector": {"$patch": "replace", "c": "3"}}),
            json!({"nodeSelector": {"c": "3"}}),
        ),
        (
            "a map is emptied by directive",
            json!({"nodeSelector": {"a": "1"}}),
            json!({"nodeSelector": {"$patch": "delete"}}),
            json!({"nodeSelector": {}}),
        ),
        (
            "volumes keep only the source that is retained",
            json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
            json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}),
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
        ),
        (
            "element order is the directive's",
            json!({"containers": [c("a"), c("b"), c("c")]}),
            json!({"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}], "containers": [{"name": "a", "tty": true}]}),
            json!({"containers": [c("b"), c("c"), {"name": "a", "image": "a", "tty": true}]}),
        ),
        (
            "a list that is new loses directives and nulls",
            json!({}),
            json!({"containers": [{"name": "a", "image": null}, {"name": "b", "$patch": "delete"}]}),
            json!({"containers": [{"name": "a"}]}),
        ),
        (
            "env merges inside containers",
            json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]}]}),
            json!({"containers": [{"name": "a", "env": [{"name": "Y", "value": "3"}]}]}),
            json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "3"}]}]}),
        ),
    ] {
        let mut doc = with_pod(&pod);
        strategic(&mut doc, &with_pod(&patch), &deployment()).unwrap();
        assert_eq!(doc, with_pod(&expected), "{case}");
    }
}

#[test]
fn strategic_patches_merge_lists_of_scalars() {
    let mut doc = json!({"metadata": {"finalizers": ["a", "b", "c"]}});
    let schema = deployment();
    strategic(&mut doc, &json!({"metadata": {"finalizers": ["d", "b"]}}), &schema).unwrap();
    assert_eq!(doc["metadata"]["finalizers"], json!(["d", "a", "b", "c"]));
    strategic(
        &mut doc,
        &json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a", "d"]}}),
        &schema,
    )
    .unwrap();
    assert_eq!(doc["metadata"]["finalizers"], json!(["b", "c"]));
    let order = json!({"metadata": {"$setElementOrder/finalizers": ["e", "c", "b"], "finalizers": ["e"]}});
    strategic(&mut doc, &order, &schema).unwrap();
    assert_eq!(doc["metadata"]["finalizers"], json!(["e", "c", "b"]));
}

#[test]
fn a_malformed_strategic_patch_is_refused_and_changes_nothing() {
    use PatchErrorKind::{BadRequest, Internal};
    let original = with_pod(&json!({"containers": [{"name": "a"}]}));
    for (patch, kind) in [
        (json!([1]), BadRequest),
        (with_pod(&json!({"containers": [{"image": "no name"}]})), Internal),
        (with_pod(&json!({"$retainKeys": "x"})), BadRequest),
        (with_pod(&json!({"$setElementOrder/containers": 5})), BadRequest),
        (
            with_pod(&json!({"containers": [{"name": "a", "$patch": "nonsense"}]})),
            Internal,
        ),
        (json!({"spec": {"$patch": 7}}), Internal),
    ] {
        let mut doc = original.clone();
        assert_eq!(
            strategic(&mut doc, &patch, &deployment()).unwrap_err().kind,
            kind,
            "{patch}"
        );
        assert_eq!(doc, original);
    }
}

/// Any small JSON document.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..4i32).prop_map(Value::from),
        "[a-c]{1,2}".prop_map(Value::from)
    ];
    let key = prop_oneof![
        Just("metadata"),
        Just("spec"),
        Just("template"),
        Just("containers"),
        Just("name"),
        Just("env"),
        Just("finalizers"),
        Just("$patch"),
        Just("$retainKeys"),
        Just("$setElementOrder/containers"),
        Just("$deleteFromPrimitiveList/finalizers"),
        Just("op"),
        Just("path"),
        Just("value")
    ];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_patch_panics(mut doc in any_json(), patch in any_json()) {
        let _ = json(&mut doc.clone(), &patch);
        merge(&mut doc.clone(), &patch);
        let _ = strategic(&mut doc, &patch, &deployment());
    }

    #[test]
    fn no_operation_panics(mut doc in any_json(), path in "(/[a-c0-9~-]{0,3}){0,3}", from in "(/[a-c0-9]{0,2}){0,3}",
                           op in prop_oneof![Just("add"), Just("remove"), Just("replace"), Just("test"), Just("move"), Just("copy")]) {
        let _ = json(&mut doc, &json!([{"op": op, "path": path, "from": from, "value": 1}]));
    }

    #[test]
    fn a_strategic_patch_of_containers_applied_twice_is_applied_once(
        names in prop::collection::btree_set("[a-e]", 0..5), patch in prop::collection::btree_set("[a-e]", 0..4)) {
        let element = |name: &String| json!({"name": name, "image": "old"});
        let change = |name: &String| json!({"name": name, "image": "new"});
        let mut doc = with_pod(&json!({"containers": names.iter().map(element).collect::<Vec<_>>()}));
        let patch = with_pod(&json!({"containers": patch.iter().map(change).collect::<Vec<_>>()}));
        strategic(&mut doc, &patch, &deployment()).unwrap();
        let once = doc.clone();
        strategic(&mut doc, &patch, &deployment()).unwrap();
        prop_assert_eq!(doc, once);
    }
}
