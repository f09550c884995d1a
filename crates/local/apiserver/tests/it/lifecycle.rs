//! Deletion that takes its time: finalizers, Pods, namespaces.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, PropagationPolicy};
use serde_json::json;

use crate::support::{JSON, api, client, config_map, create, eventually, from_json, start, wire};

#[tokio::test]
async fn a_finalizer_holds_an_object_until_it_is_removed() {
    let running = start().await;
    let maps = api::<ConfigMap>(&running);
    create(
        &maps,
        json!({"metadata": {"name": "c", "finalizers": ["tests.dev/hold"]}}),
    )
    .await;
    let held = maps
        .delete("c", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .expect("the object, not a status");
    assert!(held.metadata.deletion_timestamp.is_some());
    let added = json!({"metadata": {"finalizers": ["tests.dev/hold", "tests.dev/more"]}});
    let error = maps
        .patch("c", &PatchParams::default(), &Patch::Merge(added))
        .await
        .unwrap_err();
    assert!(matches!(error, kube::Error::Api(status) if status.code == 422));
    let none = json!({"metadata": {"finalizers": null}});
    maps.patch("c", &PatchParams::default(), &Patch::Merge(none))
        .await
        .unwrap();
    assert!(maps.get_opt("c").await.unwrap().is_none());
}

#[tokio::test]
async fn foreground_and_orphan_are_left_to_the_garbage_collector() {
    let running = start().await;
    let maps = api::<ConfigMap>(&running);
    for (name, policy, finalizer) in [
        ("f", PropagationPolicy::Foreground, "foregroundDeletion"),
        ("o", PropagationPolicy::Orphan, "orphan"),
    ] {
        create(&maps, config_map(name)).await;
        let params = DeleteParams {
            propagation_policy: Some(policy),
            ..DeleteParams::default()
        };
        let held = maps.delete(name, &params).await.unwrap().left().unwrap();
        assert_eq!(held.finalizers(), [finalizer]);
    }
}

#[tokio::test]
async fn a_precondition_protects_another_object_of_the_same_name() {
    let running = start().await;
    let maps = api::<ConfigMap>(&running);
    create(&maps, config_map("c")).await;
    let preconditions = Some(kube::api::Preconditions {
        uid: Some("other".into()),
        resource_version: None,
    });
    let params = DeleteParams {
        preconditions,
        ..DeleteParams::default()
    };
    let error = maps.delete("c", &params).await.unwrap_err();
    assert!(
        matches!(error, kube::Error::Api(status) if status.code == 409 && status.message.contains("the UID in the precondition (other)"))
    );
}

#[tokio::test]
async fn a_running_pod_goes_when_its_kubelet_says_so() {
    let running = start().await;
    let pods = api::<Pod>(&running);
    let spec =
        json!({"nodeName": "n", "terminationGracePeriodSeconds": 7, "containers": [{"name": "c", "image": "i"}]});
    create(&pods, json!({"metadata": {"name": "p"}, "spec": spec})).await;
    let held = pods
        .delete("p", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert_eq!(held.metadata.deletion_grace_period_seconds, Some(7));
    assert!(pods.get_opt("p").await.unwrap().is_some());
    let now = DeleteParams {
        grace_period_seconds: Some(0),
        ..DeleteParams::default()
    };
    pods.delete("p", &now).await.unwrap();
    assert!(pods.get_opt("p").await.unwrap().is_none());
}

#[tokio::test]
async fn an_eviction_deletes() {
    let running = start().await;
    let pods = api::<Pod>(&running);
    create(
        &pods,
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}),
    )
    .await;
    let eviction = br#"{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"p"}}"#;
    let answer = wire(
        &running,
        "POST",
        "/api/v1/namespaces/default/pods/p/eviction",
        JSON,
        eviction,
    )
    .await;
    assert_eq!(answer.code, 201, "{}", answer.text());
    assert!(pods.get_opt("p").await.unwrap().is_none());
}

#[tokio::test]
async fn a_namespace_takes_its_content_along() {
    let running = start().await;
    let namespaces: Api<Namespace> = Api::all(client(&running));
    create(&namespaces, json!({"metadata": {"name": "n"}})).await;
    let maps: Api<ConfigMap> = Api::namespaced(client(&running), "n");
    create(&maps, config_map("free")).await;
    create(
        &maps,
        json!({"metadata": {"name": "held", "finalizers": ["tests.dev/hold"]}}),
    )
    .await;
    namespaces.delete("n", &DeleteParams::default()).await.unwrap();

    let refused = maps
        .create(&PostParams::default(), &from_json(config_map("late")))
        .await
        .unwrap_err();
    let kube::Error::Api(status) = refused else {
        panic!("{refused}")
    };
    assert_eq!((status.code, &*status.reason), (403, "Forbidden"));
    assert_eq!(status.details.unwrap().causes[0].reason, "NamespaceTerminating");

    eventually("the free one is deleted", || async {
        maps.get_opt("free").await.unwrap().is_none()
    })
    .await;
    let phase = namespaces.get("n").await.unwrap().status.unwrap().phase;
    assert_eq!(phase.as_deref(), Some("Terminating"));
    let none = json!({"metadata": {"finalizers": null}});
    maps.patch("held", &PatchParams::default(), &Patch::Merge(none))
        .await
        .unwrap();
    eventually("the namespace is gone", || async {
        namespaces.get_opt("n").await.unwrap().is_none()
    })
    .await;
}
