//! Lifecycle rules by example.

use super::*;
use crate::registry::Registry;

const NOW: &str = "2026-01-01T00:00:00Z";

fn resource(group: &str, plural: &str) -> std::sync::Arc<Resource> {
    Registry::builtin().find(group, "v1", plural).unwrap().clone()
}

fn pod(node: &str) -> Value {
    json!({
        "metadata": {"name": "p", "namespace": "default", "uid": "u", "generation": 1},
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": 20},
    })
}

fn delete(group: &str, plural: &str, old: &Value, deletion: &Deletion) -> Deleted {
    deleted(&resource(group, plural), old, deletion, NOW)
}

#[test]
fn a_bound_pod_gets_its_grace_and_an_unbound_one_goes_at_once() {
    let Deleted::Held(held) = delete("", "pods", &pod("node"), &Deletion::default()) else {
        panic!("must stay")
    };
    assert_eq!(meta(&held, "deletionTimestamp"), "2026-01-01T00:00:20Z");
    assert_eq!((grace(&held), generation(&held)), (Some(20), 2));
    assert!(matches!(
        delete("", "pods", &pod(""), &Deletion::default()),
        Deleted::Gone(_)
    ));

    let shorter = Deletion {
        grace: Some(5),
        ..Deletion::default()
    };
    let Deleted::Held(sooner) = delete("", "pods", &held, &shorter) else {
        panic!("must stay")
    };
    assert_eq!(meta(&sooner, "deletionTimestamp"), "2026-01-01T00:00:05Z");
    let longer = Deletion {
        grace: Some(60),
        ..Deletion::default()
    };
    assert_eq!(delete("", "pods", &sooner, &longer), Deleted::Held(sooner.clone()));
    let now = Deletion {
        grace: Some(0),
        ..Deletion::default()
    };
    assert!(matches!(delete("", "pods", &sooner, &now), Deleted::Gone(_)));
}

#[test]
fn finalizers_hold_and_propagation_adds_them() {
    let plain = json!({"metadata": {"name": "c"}});
    assert!(matches!(
        delete("", "configmaps", &plain, &Deletion::default()),
        Deleted::Gone(_)
    ));
    for (propagation, finalizer) in [
        (Propagation::Foreground, "foregroundDeletion"),
        (Propagation::Orphan, "orphan"),
    ] {
        let Deleted::Held(held) = delete(
            "",
            "configmaps",
            &plain,
            &Deletion {
                grace: None,
                propagation,
            },
        ) else {
            panic!("must stay")
        };
        assert_eq!(finalizers(&held), [finalizer]);
        assert!(!released(&held));
        let background = Deletion {
            grace: None,
            propagation: Propagation::Background,
        };
        assert!(matches!(delete("", "configmaps", &held, &background), Deleted::Gone(_)));
    }
}

#[test]
fn a_namespace_is_terminating_until_it_is_finalized() {
    let namespace =
        json!({"metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
    let Deleted::Held(held) = delete("", "namespaces", &namespace, &Deletion::default()) else {
        panic!("must stay")
    };
    assert_eq!(held["status"]["phase"], "Terminating");
    assert_eq!(grace(&held), None);
}

#[test]
fn generation_counts_specifications_and_status_writes_keep_to_the_status() {
    let deployment = resource("apps", "deployments");
    let old = json!({
        "metadata": {"name": "d", "namespace": "default", "uid": "u", "generation": 3, "resourceVersion": "9"},
        "spec": {"paused": false, "replicas": 1}, "status": {"replicas": 1},
    });
    let mut sent = old.clone();
    sent["spec"]["replicas"] = 5.into();
    sent["status"]["replicas"] = 5.into();
    let main = main_part(&deployment, &old, sent.clone()).unwrap();
    assert_eq!(
        (&main["spec"]["replicas"], &main["status"]["replicas"]),
        (&json!(5), &json!(1))
    );
    assert!(specification_changed(&deployment, &old, &main));
    let status = status_part(&deployment, &old, sent).unwrap();
    assert_eq!(
        (&status["spec"]["replicas"], &status["status"]["replicas"]),
        (&json!(1), &json!(5))
    );
    assert!(!specification_changed(&deployment, &old, &status));
}

#[test]
fn identity_is_kept_or_the_write_refused() {
    let configmap = resource("", "configmaps");
    let old = json!({"metadata": {"name": "c", "namespace": "default", "uid": "u", "creationTimestamp": NOW}});
    let new = updated(&configmap, &old, json!({"metadata": {"name": "c"}}), Part::Main).unwrap();
    assert_eq!(new, old);
    let failure = updated(
        &configmap,
        &old,
        json!({"metadata": {"name": "c", "uid": "x"}}),
        Part::Main,
    )
    .unwrap_err();
    assert_eq!(failure.code, 422);
}

#[test]
fn no_finalizer_is_added_to_what_is_being_deleted() {
    let configmap = resource("", "configmaps");
    let old = json!({"metadata": {"name": "c", "deletionTimestamp": NOW, "finalizers": ["a/b"]}});
    let sent = json!({"metadata": {"name": "c", "finalizers": ["a/b", "c/d"]}});
    let failure = updated(&configmap, &old, sent, Part::Main).unwrap_err();
    assert!(
        failure.message.contains("no new finalizers can be added"),
        "{}",
        failure.message
    );
}

#[test]
fn a_pod_s_addresses_follow_its_address() {
    let mut pod = json!({"status": {"podIP": "127.0.0.5"}});
    same_addresses(&mut pod);
    assert_eq!(pod["status"]["podIPs"], json!([{"ip": "127.0.0.5"}]));
    pod["status"]["podIP"] = "127.0.0.6".into();
    same_addresses(&mut pod);
    assert_eq!(pod["status"]["podIPs"], json!([{"ip": "127.0.0.6"}]));
}

#[test]
fn a_null_in_a_map_of_texts_is_an_empty_text_and_elsewhere_nothing() {
    let configmap = resource("", "configmaps");
    let old = json!({"metadata": {"name": "c"}, "data": {"a": "1"}});
    let sent =
        json!({"metadata": {"name": "c", "labels": {"l": null}}, "data": {"a": "1", "b": null}, "immutable": null});
    let new = updated(&configmap, &old, sent, Part::Main).unwrap();
    assert_eq!(new["data"], json!({"a": "1", "b": ""}));
    assert_eq!(new["metadata"]["labels"], json!({"l": ""}));
    assert!(new.get("immutable").is_none());
}
