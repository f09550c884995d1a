use super::*;
use crate::forms::{Gvk, schema};
use proptest::prelude::*;
use std::sync::LazyLock;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Group, resource and row.
type Rows = Vec<(String, String, Value)>;

/// Rows that kube-apiserver 1.36.3 answered, seconds after it was given the objects.
fn recorded() -> (Timestamp, Rows) {
    let mut file: Value = serde_json::from_str(include_str!("recorded.json")).unwrap();
    (
        at(file["now"].as_str().unwrap()),
        serde_json::from_value(file["rows"].take()).unwrap(),
    )
}

/// An age of a few seconds is the recording's haste.
fn is_moments(cell: &Value) -> bool {
    cell.as_str()
        .and_then(|c| c.strip_suffix('s'))
        .is_some_and(|n| n.parse::<u8>().is_ok())
}

#[test]
fn rows_are_those_of_the_real_server() {
    let (now, rows) = recorded();
    for (group, resource, row) in rows {
        let table = builtin(&group, &resource).render(&[&row["object"]], Include::Object, now, true);
        let ours = table["rows"][0]["cells"].as_array().unwrap();
        let real = row["cells"].as_array().unwrap();
        assert_eq!(
            ours.len(),
            table["columnDefinitions"].as_array().unwrap().len(),
            "{resource}"
        );
        assert_eq!(ours.len(), real.len(), "{resource}");
        for (ours, real) in ours.iter().zip(real) {
            assert!(
                ours == real || (is_moments(ours) && is_moments(real)),
                "{resource}: {ours} is not {real}"
            );
        }
        assert_eq!(table["rows"][0].get("conditions"), row.get("conditions"), "{resource}");
    }
}

#[test]
fn ages_are_written_as_upstream_writes_them() {
    for (seconds, text) in [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (134, "2m14s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (11_400, "3h10m"),
        (28_800, "8h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (183_600, "2d3h"),
        (691_200, "8d"),
        (63_072_000, "2y"),
        (63_158_400, "2y1d"),
        (252_288_000, "8y"),
    ] {
        assert_eq!(human_duration(seconds), text, "{seconds}");
    }
}

#[test]
fn a_pod_that_is_leaving_says_so() {
    let status = |pod: &Value| {
        builtin("", "pods").render(&[pod], Include::None, at("2026-01-01T00:00:00Z"), true)["rows"][0]["cells"][2]
            .clone()
    };
    let mut pod =
        json!({"metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running"}});
    assert_eq!(status(&pod), "Terminating");
    pod["status"]["reason"] = json!("NodeLost");
    assert_eq!(status(&pod), "Unknown");
    pod["status"] = json!({"phase": "Failed"});
    assert_eq!(status(&pod), "Failed");
}

#[test]
fn a_crd_has_its_own_columns() {
    let version = json!({"additionalPrinterColumns": [
        {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status", "priority": 1},
        {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": "How long."},
        {"name": "On", "type": "boolean", "jsonPath": ".spec.on"},
        {"name": "Cost", "type": "string", "jsonPath": ".spec.cost"}]});
    let full = json!({"metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"replicas": 3, "on": true, "cost": 1.5}, "status": {"conditions": [{"type": "X"}, {"type": "Ready", "status": "True"}]}});
    let empty = json!({"metadata": {"name": "b"}});
    let table = for_crd(&version).render(&[&full, &empty], Include::Metadata, at("2026-01-01T00:05:00Z"), true);
    assert_eq!(table["rows"][0]["cells"], json!(["a", 3, "True", "5m", true, "1.5"]));
    assert_eq!(table["rows"][1]["cells"], json!(["b", null, null, null, null, null]));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let columns = &table["columnDefinitions"];
    assert_eq!(columns[2]["priority"], 1);
    assert_eq!(
        columns[1]["description"],
        "Custom resource definition column (in JSONPath format): .spec.replicas"
    );
    assert_eq!(columns[3]["description"], "How long.");
    let plain = for_crd(&json!({})).render(&[&full], Include::None, at("2026-01-01T00:05:00Z"), true);
    assert_eq!(plain["rows"][0], json!({"cells": ["a", "5m"], "object": null}));
}

#[test]
fn later_rows_of_a_watch_carry_no_definitions() {
    let table = builtin("", "configmaps").render(&[], Include::Metadata, at("2026-01-01T00:00:00Z"), false);
    assert_eq!(table["columnDefinitions"], Value::Null);
    assert_eq!(table["rows"], json!([]));
}

#[test]
fn every_served_resource_has_a_table() {
    for group in schema::groups() {
        let name = group
            .path
            .strip_prefix("apis/")
            .and_then(|p| p.split('/').next())
            .unwrap_or_default();
        for resource in group
            .resources
            .iter()
            .filter(|r| !r.name.contains('/') && r.verbs.iter().any(|v| v == "list"))
        {
            let object = json!({"metadata": {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z"}});
            let table =
                builtin(name, &resource.name).render(&[&object], Include::None, at("2026-01-01T00:00:00Z"), true);
            let (rows, columns) = (&table["rows"][0]["cells"], &table["columnDefinitions"]);
            assert_eq!(
                rows.as_array().unwrap().len(),
                columns.as_array().unwrap().len(),
                "{}",
                resource.name
            );
            assert!(
                schema::builtin(&Gvk::new(name, "v1", &resource.kind)).is_some() || name == "autoscaling",
                "{}",
                resource.name
            );
        }
    }
}

#[test]
fn metadata_alone_has_no_annotation_that_stands_for_an_older_field() {
    let both = json!({"metadata": {"annotations": {"deprecated.daemonset.template.generation": "1", "mine": "x"}}});
    assert_eq!(partial(&both)["metadata"]["annotations"], json!({"mine": "x"}));
    let alone = json!({"metadata": {"name": "d", "annotations": {"deprecated.daemonset.template.generation": "1"}}});
    assert_eq!(partial(&alone)["metadata"], json!({"name": "d"}));
}

proptest! {
    #[test]
    fn no_shape_of_an_object_panics(choice in any::<prop::sample::Index>(), key in "metadata|spec|status|rules|subsets|ports",
        other in prop_oneof![Just(json!(null)), Just(json!([])), Just(json!("x")), Just(json!(5)), Just(json!([1, null, {}])), Just(json!({"a": []}))]) {
        static RECORDED: LazyLock<(Timestamp, Rows)> = LazyLock::new(recorded);
        let (now, rows) = &*RECORDED;
        let (group, resource, row) = choice.get(rows);
        let mut object = row["object"].clone();
        object[key] = other.clone();
        builtin(group, resource).render(&[&object, &other], Include::Metadata, *now, true);
    }
}
