use super::*;
use crate::forms::Gvk;
use serde_json::json;

fn deployment() -> Schema {
    builtin(&Gvk::new("apps", "v1", "Deployment")).unwrap()
}

#[test]
fn built_in_kinds_have_schemas() {
    for (group, version, kind) in [
        ("", "v1", "Pod"),
        ("", "v1", "Node"),
        ("batch", "v1", "CronJob"),
        ("discovery.k8s.io", "v1", "EndpointSlice"),
        ("policy", "v1", "PodDisruptionBudget"),
        ("scheduling.k8s.io", "v1", "PriorityClass"),
        ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
    ] {
        assert!(
            builtin(&Gvk::new(group, version, kind)).is_some(),
            "{group}/{version} {kind}"
        );
    }
    assert!(builtin(&Gvk::new("example.com", "v1", "Pod")).is_none());
    assert!(
        groups()
            .iter()
            .any(|g| g.path == "apis/apps/v1" && g.resources.iter().any(|r| r.name == "deployments/scale"))
    );
    for group in groups() {
        let name = group
            .path
            .split('/')
            .nth(1)
            .filter(|_| group.path.starts_with("apis/"))
            .unwrap_or_default();
        assert!(has_group(name), "{name}");
    }
}

#[test]
fn unknown_fields_of_a_built_in_kind_are_named_by_path() {
    let object = json!({"foo": 1, "metadata": {"labels": {"any": "x"}}, "spec": {"bar": 1, "template": {"spec": {
        "containers": [{"name": "a", "baz": {}}], "nodeSelector": {"k": "v"}}}}});
    let mut unknown = deployment().unknown_fields(&object);
    unknown.sort();
    assert_eq!(unknown, ["foo", "spec.bar", "spec.template.spec.containers[0].baz"]);
}

#[test]
fn a_built_in_object_gets_the_form_go_would_give_it() {
    let mut object = json!({"metadata": {"name": "d", "labels": {}, "creationTimestamp": null}, "spec": {"unknown": 1,
        "replicas": 0, "paused": false, "template": {"spec": {"containers": [{"name": "a", "args": [], "image": "",
        "env": [{"name": "E", "value": ""}]}], "nodeSelector": {"k": null}}}}});
    deployment().prune(&mut object);
    assert_eq!(
        object,
        json!({"metadata": {"name": "d"}, "spec": {"replicas": 0, "strategy": {}, "template": {
            "metadata": {}, "spec": {"containers": [{"name": "a", "env": [{"name": "E"}], "resources": {}}],
            "nodeSelector": {"k": ""}}}}, "status": {}})
    );
    let once = object.clone();
    deployment().prune(&mut object);
    assert_eq!(object, once);
}

#[test]
fn a_built_in_object_that_go_cannot_decode_is_told_why() {
    for (object, message) in [
        (
            json!({"spec": {"replicas": "x"}}),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"name": 5}]}}}}),
            "json: cannot unmarshal number into Go struct field Container.spec.template.spec.containers.name of type string",
        ),
        (
            json!({"spec": {"paused": "yes"}}),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.paused of type bool",
        ),
        (
            json!({"metadata": {"labels": {"a": 1}}}),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            json!({"spec": {"template": []}}),
            "json: cannot unmarshal array into Go struct field DeploymentSpec.spec.template of type v1.PodTemplateSpec",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "abc"}}}]}}}}),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ] {
        assert_eq!(deployment().decode_error(&object).as_deref(), Some(message), "{object}");
    }
    assert_eq!(
        deployment()
            .decode_error(&json!({"spec": {"replicas": 3, "strategy": {"rollingUpdate": {"maxSurge": "25%"}}}})),
        None
    );
}

fn car() -> Schema {
    let name = json!({"type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[a-z]+$"});
    let element =
        json!({"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}});
    let either = json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}]});
    let spec = json!({"type": "object", "required": ["name"], "properties": {
        "name": name, "n": {"type": "integer", "minimum": 1, "maximum": 10, "multipleOf": 2},
        "f": {"type": "number", "minimum": 0, "exclusiveMinimum": true}, "i32": {"type": "integer", "format": "int32"},
        "e": {"type": "string", "enum": ["b", "a"]}, "l": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string"}},
        "s": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "m": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": element},
        "o": {"type": "object", "minProperties": 1, "maxProperties": 2, "additionalProperties": {"type": "integer"}},
        "any": {"x-kubernetes-preserve-unknown-fields": true}, "ios": {"x-kubernetes-int-or-string": true},
        "emb": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
        "d": {"type": "object", "default": {}, "properties": {"x": {"type": "string", "default": "xx"}}},
        "t": {"type": "string", "format": "date-time"}, "nul": {"type": "string", "nullable": true}, "one": either}});
    let schema = json!({"type": "object", "required": ["spec"], "properties": {"spec": spec}});
    from_crd(&schema, &Gvk::new("x.io", "v1", "Car")).unwrap()
}

#[test]
fn a_custom_object_is_checked_in_upstreams_words() {
    for (spec, field, message) in [
        (
            json!({"name": "a"}),
            "spec.name",
            "Invalid value: \"a\": spec.name in body should be at least 2 chars long",
        ),
        (
            json!({"name": "abcdef"}),
            "spec.name",
            "Too long: may not be more than 5 bytes",
        ),
        (
            json!({"name": "AB"}),
            "spec.name",
            "Invalid value: \"AB\": spec.name in body should match '^[a-z]+$'",
        ),
        (json!({}), "spec.name", "Required value"),
        (
            json!("x"),
            "spec",
            "Invalid value: \"string\": spec in body must be of type object: \"string\"",
        ),
        (
            json!({"n": 0}),
            "spec.n",
            "Invalid value: 0: spec.n in body should be greater than or equal to 1",
        ),
        (
            json!({"n": 12}),
            "spec.n",
            "Invalid value: 12: spec.n in body should be less than or equal to 10",
        ),
        (
            json!({"n": 3}),
            "spec.n",
            "Invalid value: 3: spec.n in body should be a multiple of 2",
        ),
        (
            json!({"f": 0}),
            "spec.f",
            "Invalid value: 0: spec.f in body should be greater than 0",
        ),
        (
            json!({"i32": 3_000_000_000_u64}),
            "<nil>",
            "Invalid value: \"\": Checked value must be of type integer with format int32 in spec.i32",
        ),
        (
            json!({"e": "c"}),
            "spec.e",
            "Unsupported value: \"c\": supported values: \"b\", \"a\"",
        ),
        (
            json!({"l": []}),
            "spec.l",
            "Invalid value: 0: spec.l in body should have at least 1 items",
        ),
        (
            json!({"l": ["a", "b", "c"]}),
            "spec.l",
            "Too many: 3: must have at most 2 items",
        ),
        (
            json!({"l": [1]}),
            "spec.l[0]",
            "Invalid value: \"integer\": spec.l[0] in body must be of type string: \"integer\"",
        ),
        (json!({"s": ["a", "a"]}), "spec.s[1]", "Duplicate value: \"a\""),
        (
            json!({"m": [{"k": "a"}, {"k": "a"}]}),
            "spec.m[1]",
            "Duplicate value: {\"k\":\"a\"}",
        ),
        (json!({"m": [{"v": 1}]}), "spec.m[0].k", "Required value"),
        (
            json!({"o": {}}),
            "spec.o",
            "Invalid value: 0: spec.o in body should have at least 1 properties",
        ),
        (
            json!({"o": {"a": "x"}}),
            "spec.o.a",
            "Invalid value: \"string\": spec.o.a in body must be of type integer: \"string\"",
        ),
        (
            json!({"ios": true}),
            "spec.ios",
            "Invalid value: \"boolean\": spec.ios in body must be of type integer,string: \"boolean\"",
        ),
        (
            json!({"emb": {"a": 1, "kind": "x"}}),
            "spec.emb.apiVersion",
            "Required value",
        ),
        (
            json!({"t": "x"}),
            "spec.t",
            "Invalid value: \"x\": spec.t in body must be of type date-time: \"x\"",
        ),
        (
            json!({"one": {"a": "1", "b": "2"}}),
            "<nil>",
            "Invalid value: \"\": \"spec.one\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
        ),
    ] {
        let mut object = json!({"spec": spec});
        if object["spec"].is_object() && field != "spec.name" {
            object["spec"]["name"] = json!("abc");
        }
        let causes = car().validate(&object);
        assert_eq!(causes.len(), 1, "{object}: {causes:?}");
        assert_eq!(
            (causes[0].field.as_str(), causes[0].message.as_str()),
            (field, message),
            "{object}"
        );
    }
}

#[test]
fn whole_numbers_are_whole_however_they_are_written() {
    let told = |value: Value| -> Vec<String> {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
        let schema = from_crd(&schema, &Gvk::new("x.io", "v1", "Car")).unwrap();
        let causes = schema.validate(&json!({"n": value}));
        causes
            .into_iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect()
    };
    assert_eq!(told(json!(i64::MAX)), [""; 0]);
    assert_eq!(told(json!(2.0)), [""; 0]);
    let range = "<nil>: Invalid value: \"\": Checked value must be of type integer (default format) in n";
    assert_eq!(told(json!(u64::MAX)), [range]);
    assert_eq!(told(json!(1e20)), [range]);
    let mistyped = "n: Invalid value: \"number\": n in body must be of type integer: \"number\"";
    assert_eq!(told(json!(1.5)), [mistyped, range]);
}

#[test]
fn a_member_alone_is_told_of_from_its_own_root() {
    for (status, field, message) in [
        (
            json!({"phase": 5}),
            "status.phase",
            "Invalid value: \"integer\": phase in body must be of type string: \"integer\"",
        ),
        (json!({"list": ["a", "a"]}), "status.list[1]", "Duplicate value: \"a\""),
        (
            json!({"n": 1e20}),
            "status",
            "Invalid value: \"\": Checked value must be of type integer (default format) in n",
        ),
        (
            json!("x"),
            "status",
            "Invalid value: \"string\":  in body must be of type object: \"string\"",
        ),
    ] {
        let set = json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}});
        let schema = json!({"type": "object", "required": ["spec"], "properties": {"status": {"type": "object",
            "properties": {"phase": {"type": "string"}, "n": {"type": "integer"}, "list": set}}}});
        let schema = from_crd(&schema, &Gvk::new("x.io", "v1", "Car")).unwrap();
        let causes = schema.validate_member(&json!({"status": status}), "status");
        let [cause] = &causes[..] else {
            panic!("{status}: {causes:?}")
        };
        assert_eq!(
            (cause.field.as_str(), cause.message.as_str()),
            (field, message),
            "{status}"
        );
        assert!(schema.validate_member(&json!({}), "status").is_empty());
    }
}

#[test]
fn a_custom_object_is_pruned_and_filled() {
    let mut object = json!({"apiVersion": "x.io/v1", "kind": "Car", "metadata": {"name": "c", "foo": 1}, "extra": 1,
        "spec": {"name": "abc", "foo": 1, "any": {"q": 1}, "e": null, "nul": null, "emb": {"apiVersion": "v1", "kind": "P", "z": 1}}});
    let mut unknown = car().unknown_fields(&object);
    unknown.sort();
    assert_eq!(unknown, ["extra", "metadata.foo", "spec.foo"]);
    car().prune(&mut object);
    car().default(&mut object);
    assert_eq!(
        object,
        json!({"apiVersion": "x.io/v1", "kind": "Car", "metadata": {"name": "c"}, "spec": {"name": "abc",
            "any": {"q": 1}, "nul": null, "d": {"x": "xx"}, "emb": {"apiVersion": "v1", "kind": "P", "z": 1}}})
    );
    assert_eq!(car().validate(&object), []);
}

#[test]
fn a_schema_that_is_not_structural_is_refused_with_places() {
    for (schema, field, message) in [
        (
            json!({"properties": {}}),
            "type",
            "Required value: must not be empty at the root",
        ),
        (
            json!({"type": "string"}),
            "type",
            "Invalid value: \"string\": must be object at the root",
        ),
        (
            json!({"type": "object", "properties": {"spec": {}}}),
            "properties[spec].type",
            "Required value: must not be empty for specified object fields",
        ),
        (
            json!({"type": "object", "properties": {"spec": {"type": "array"}}}),
            "properties[spec].items",
            "Required value: must be specified",
        ),
        (
            json!({"type": "object", "properties": {"spec": {"type": "array", "items": {}}}}),
            "properties[spec].items.type",
            "Required value: must not be empty for specified array items",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "foo"}}}),
            "properties[a].type",
            "Unsupported value: \"foo\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "object", "properties": {}, "additionalProperties": {"type": "string"}}}}),
            "properties[a].additionalProperties",
            "Forbidden: additionalProperties and properties are mutual exclusive",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array", "uniqueItems": true, "items": {"type": "string"}}}}),
            "properties[a].uniqueItems",
            "Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "integer", "default": "x"}}}),
            "properties[a].default",
            "Invalid value: \"string\":  in body must be of type integer: \"string\"",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "object", "anyOf": [{"type": "object"}]}}}),
            "properties[a].anyOf[0].type",
            "Forbidden: must be empty to be structural",
        ),
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
            "properties[metadata]",
            "Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array", "x-kubernetes-list-type": "foo", "items": {"type": "object"}}}}),
            "properties[a].x-kubernetes-list-type",
            "Unsupported value: \"foo\": supported values: \"atomic\", \"set\", \"map\"",
        ),
    ] {
        let causes = from_crd(&schema, &Gvk::new("x.io", "v1", "Car")).unwrap_err();
        assert_eq!(causes.len(), 1, "{schema}: {causes:?}");
        assert_eq!(
            (causes[0].field.as_str(), causes[0].message.as_str()),
            (field, message),
            "{schema}"
        );
    }
}

#[test]
fn what_is_inside_is_told_before_the_type_of_the_root() {
    let causes = from_crd(&json!({"type": "array"}), &Gvk::new("x.io", "v1", "Car")).unwrap_err();
    let fields: Vec<_> = causes.iter().map(|cause| &*cause.field).collect();
    assert_eq!(fields, ["items", "type"]);
}

#[test]
fn the_crds_of_the_fleet_are_structural() {
    for crd in api::crds() {
        let crd = serde_json::to_value(crd).unwrap();
        for version in crd["spec"]["versions"].as_array().unwrap() {
            let gvk = Gvk::new(
                "g",
                version["name"].as_str().unwrap(),
                crd["spec"]["names"]["kind"].as_str().unwrap(),
            );
            if let Err(causes) = from_crd(&version["schema"]["openAPIV3Schema"], &gvk) {
                panic!("{gvk:?}: {causes:?}");
            }
        }
    }
}
