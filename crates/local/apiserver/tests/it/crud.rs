//! Creating, reading, changing and deleting.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::{JSON, api, client, config_map, create, from_json, start, wire};

#[tokio::test]
async fn an_object_is_made_read_changed_and_deleted() {
    let running = start().await;
    let maps = api::<ConfigMap>(&running);
    let made = create(&maps, config_map("c")).await;
    assert!(made.metadata.uid.is_some() && made.metadata.creation_timestamp.is_some());
    assert_eq!(made.metadata.namespace.as_deref(), Some("default"));

    let again = maps
        .create(&PostParams::default(), &made_without_version(&made))
        .await
        .unwrap_err();
    assert_eq!(
        status(&again),
        (409, "AlreadyExists", "configmaps \"c\" already exists")
    );

    let mut changed = maps.get("c").await.unwrap();
    changed.data.get_or_insert_default().insert("b".into(), "2".into());
    let changed = maps.replace("c", &PostParams::default(), &changed).await.unwrap();
    assert_ne!(changed.metadata.resource_version, made.metadata.resource_version);
    let same = maps.replace("c", &PostParams::default(), &changed).await.unwrap();
    assert_eq!(
        same.metadata.resource_version, changed.metadata.resource_version,
        "a change of nothing is none"
    );

    let stale = maps.replace("c", &PostParams::default(), &made).await.unwrap_err();
    let text = "Operation cannot be fulfilled on configmaps \"c\": the object has been modified; \
                please apply your changes to the latest version and try again";
    assert_eq!(status(&stale), (409, "Conflict", text));

    let gone = maps.delete("c", &DeleteParams::default()).await.unwrap();
    assert!(gone.right().is_some_and(|status| status.is_success()));
    assert_eq!(
        status(&maps.get("c").await.unwrap_err()),
        (404, "NotFound", "configmaps \"c\" not found")
    );
}

fn made_without_version(made: &ConfigMap) -> ConfigMap {
    let mut map = made.clone();
    map.metadata.resource_version = None;
    map
}

fn status(error: &kube::Error) -> (u16, &str, &str) {
    match error {
        kube::Error::Api(status) => (status.code, &status.reason, &status.message),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn generated_names_differ_and_a_dry_run_stores_nothing() {
    let running = start().await;
    let maps = api::<ConfigMap>(&running);
    let value = json!({"metadata": {"generateName": "g-"}});
    let (a, b) = (create(&maps, value.clone()).await, create(&maps, value).await);
    assert_ne!(a.metadata.name, b.metadata.name);
    assert_eq!(a.metadata.name.unwrap().len(), "g-".len() + 5);

    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    maps.create(&dry, &from_json(config_map("dry"))).await.unwrap();
    assert!(maps.get_opt("dry").await.unwrap().is_none());
}

#[tokio::test]
async fn every_patch_type_but_server_side_apply_is_served() {
    let running = start().await;
    let deployments = api::<Deployment>(&running);
    let container = json!({"name": "main", "image": "a"});
    let made = create(
        &deployments,
        json!({"metadata": {"name": "d"}, "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}},
        }}),
    )
    .await;
    assert_eq!(made.metadata.generation, Some(1));
    let params = PatchParams::default();
    let merge = json!({"metadata": {"labels": {"x": "y"}}});
    let patched = deployments.patch("d", &params, &Patch::Merge(merge)).await.unwrap();
    assert_eq!(
        (
            patched.metadata.generation,
            patched.metadata.labels.unwrap()["x"].as_str()
        ),
        (Some(1), "y")
    );

    let strategic = json!({"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "b"}]}}}});
    let patched = deployments
        .patch("d", &params, &Patch::Strategic(strategic))
        .await
        .unwrap();
    assert_eq!(patched.metadata.generation, Some(2));
    assert_eq!(
        patched.spec.unwrap().template.spec.unwrap().containers.len(),
        2,
        "containers are merged by name"
    );

    let operations = from_json(json!([{"op": "replace", "path": "/spec/replicas", "value": 4}]));
    let patched = deployments
        .patch("d", &params, &Patch::Json::<Deployment>(operations))
        .await
        .unwrap();
    assert_eq!(patched.spec.unwrap().replicas, Some(4));

    let wrong = from_json(json!([{"op": "test", "path": "/spec/replicas", "value": 5}]));
    let error = deployments
        .patch("d", &params, &Patch::Json::<Deployment>(wrong))
        .await
        .unwrap_err();
    assert_eq!(
        status(&error),
        (
            422,
            "Invalid",
            "the server rejected our request due to an error in our request"
        )
    );

    let apply = Patch::Apply(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}}));
    let error = deployments
        .patch("d", &PatchParams::apply("me"), &apply)
        .await
        .unwrap_err();
    let (code, reason, message) = status(&error);
    assert_eq!((code, reason), (415, "UnsupportedMediaType"));
    assert!(
        message.contains("server-side apply") && message.contains("merge-patch"),
        "{message}"
    );
}

#[tokio::test]
async fn patches_of_many_writers_are_all_kept() {
    let running = start().await;
    let maps = api::<ConfigMap>(&running);
    create(&maps, config_map("c")).await;
    let writers = (0..20).map(|n| {
        let maps = maps.clone();
        tokio::spawn(async move {
            let patch = json!({"data": {format!("k{n}"): "v"}});
            loop {
                match maps.patch("c", &PatchParams::default(), &Patch::Merge(&patch)).await {
                    Ok(_) => return,
                    Err(error) => assert_eq!(status(&error).0, 409),
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(maps.get("c").await.unwrap().data.unwrap().len(), 21);
}

#[tokio::test]
async fn one_of_two_candidates_gets_the_lease() {
    let running = start().await;
    let leases = api::<Lease>(&running);
    let lease = create(
        &leases,
        json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "nobody"}}),
    )
    .await;
    let take = |who: &str| {
        let (leases, mut lease) = (leases.clone(), lease.clone());
        lease.spec.get_or_insert_default().holder_identity = Some(who.to_owned());
        async move { leases.replace("l", &PostParams::default(), &lease).await }
    };
    let (a, b) = tokio::join!(take("a"), take("b"));
    assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1);
}

#[tokio::test]
async fn status_and_scale_are_apart_from_the_specification() {
    let running = start().await;
    let deployments = api::<Deployment>(&running);
    create(
        &deployments,
        json!({"metadata": {"name": "d"}, "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "main", "image": "a"}]}},
        }, "status": {"replicas": 9}}),
    )
    .await;
    let params = PatchParams::default();
    let both = json!({"spec": {"replicas": 7}, "status": {"replicas": 2}});
    let after = deployments
        .patch_status("d", &params, &Patch::Merge(both.clone()))
        .await
        .unwrap();
    assert_eq!(after.status.unwrap().replicas, Some(2));
    assert_ne!(after.spec.unwrap().replicas, Some(7));
    let scale: Scale = deployments
        .patch_scale("d", &params, &Patch::Merge(json!({"spec": {"replicas": 3}})))
        .await
        .unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(3));
    assert_eq!(scale.status.unwrap().selector.as_deref(), Some("a=b"));
    assert_eq!(deployments.get("d").await.unwrap().spec.unwrap().replicas, Some(3));
}

#[tokio::test]
async fn lists_are_chosen_by_labels_and_fields_and_come_in_stable_pages() {
    let running = start().await;
    let maps = api::<ConfigMap>(&running);
    for n in 0..5 {
        let value = json!({"metadata": {"name": format!("c{n}"), "labels": {"odd": (n % 2 == 1).to_string()}}});
        create(&maps, value).await;
    }
    let names = |list: kube::core::ObjectList<ConfigMap>| {
        list.items
            .into_iter()
            .filter_map(|map| map.metadata.name)
            .collect::<Vec<_>>()
    };
    let odd = maps.list(&ListParams::default().labels("odd=true")).await.unwrap();
    assert_eq!(names(odd), ["c1", "c3"]);
    let one = maps
        .list(&ListParams::default().fields("metadata.name=c2"))
        .await
        .unwrap();
    assert_eq!(names(one), ["c2"]);

    let first = maps.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!((first.metadata.remaining_item_count, first.items.len()), (Some(3), 2));
    // What happens between two pages is not in the second.
    maps.delete("c3", &DeleteParams::default()).await.unwrap();
    create(&maps, config_map("c9")).await;
    let token = first.metadata.continue_.clone().unwrap();
    let second = maps
        .list(&ListParams::default().limit(10).continue_token(&token))
        .await
        .unwrap();
    assert_eq!(second.metadata.resource_version, first.metadata.resource_version);
    assert_eq!(names(second), ["c2", "c3", "c4"]);

    let error = maps.list(&ListParams::default().fields("foo=bar")).await.unwrap_err();
    assert_eq!(status(&error).0, 400);
}

#[tokio::test]
async fn an_event_is_seen_through_both_groups() {
    let running = start().await;
    let groups: Api<k8s_openapi::api::events::v1::Event> = api(&running);
    create(
        &groups,
        json!({
            "metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z", "action": "Run", "reason": "Ran",
            "reportingController": "tests", "reportingInstance": "one", "type": "Normal", "note": "it ran",
            "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
        }),
    )
    .await;
    let core = api::<Event>(&running).get("e").await.unwrap();
    assert_eq!(
        (core.message.as_deref(), core.involved_object.name.as_deref()),
        (Some("it ran"), Some("p"))
    );
    let chosen = api::<Event>(&running)
        .list(&ListParams::default().fields("involvedObject.name=p"))
        .await
        .unwrap();
    assert_eq!(chosen.items.len(), 1);
    let again = json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:01:00.000000Z"}});
    groups
        .patch("e", &PatchParams::default(), &Patch::Merge(again))
        .await
        .unwrap();
    let series = api::<Event>(&running).get("e").await.unwrap().series;
    assert_eq!(series.and_then(|series| series.count), Some(2));
    let other = json!({"note": "it ran twice"});
    let refused = groups.patch("e", &PatchParams::default(), &Patch::Merge(other)).await;
    assert_eq!(status(&refused.unwrap_err()).0, 422);
    assert_eq!(groups.get("e").await.unwrap().note.as_deref(), Some("it ran"));
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let running = start().await;
    let pods = api::<Pod>(&running);
    create(
        &pods,
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}),
    )
    .await;
    let path = "/api/v1/namespaces/default/pods/p/binding";
    let binding = br#"{"metadata":{"name":"p"},"target":{"kind":"Node","name":"n"}}"#;
    assert_eq!(wire(&running, "POST", path, JSON, binding).await.code, 201);
    assert_eq!(
        pods.get("p").await.unwrap().spec.unwrap().node_name.as_deref(),
        Some("n")
    );
    let again = wire(&running, "POST", path, JSON, binding).await;
    assert_eq!(again.code, 409);
    let message = "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n\"";
    assert_eq!(again.json()["message"], message);
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let running = start().await;
    let maps = api::<ConfigMap>(&running);
    for name in ["a", "b", "c"] {
        create(
            &maps,
            json!({"metadata": {"name": name, "labels": {"keep": (name == "b").to_string()}}}),
        )
        .await;
    }
    let deleted = maps
        .delete_collection(&DeleteParams::default(), &ListParams::default().labels("keep=false"))
        .await;
    assert_eq!(deleted.unwrap().left().unwrap().items.len(), 2);
    assert_eq!(maps.list(&ListParams::default()).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn nothing_is_made_in_a_namespace_that_does_not_exist() {
    let running = start().await;
    let maps: Api<ConfigMap> = Api::namespaced(client(&running), "nowhere");
    let error = maps
        .create(&PostParams::default(), &from_json(config_map("c")))
        .await
        .unwrap_err();
    assert_eq!(status(&error), (404, "NotFound", "namespaces \"nowhere\" not found"));
    let namespaces: Api<Namespace> = Api::all(client(&running));
    let list = namespaces.list(&ListParams::default()).await.unwrap();
    let names: Vec<_> = list
        .items
        .iter()
        .filter_map(|namespace| namespace.metadata.name.as_deref())
        .collect();
    assert_eq!(names, ["default", "kube-node-lease", "kube-public", "kube-system"]);
}

#[tokio::test]
async fn discovery_lists_what_is_served_both_ways() {
    let running = start().await;
    let aggregated = kube::Discovery::new(client(&running)).run_aggregated().await.unwrap();
    let legacy = kube::Discovery::new(client(&running)).run().await.unwrap();
    for discovery in [aggregated, legacy] {
        let names: Vec<&str> = discovery.groups().map(kube::discovery::ApiGroup::name).collect();
        assert!(
            names.contains(&"") && names.contains(&"apps") && names.contains(&"coordination.k8s.io"),
            "{names:?}"
        );
        let gvk = kube::core::GroupVersionKind::gvk("apps", "v1", "Deployment");
        let (resource, capabilities) = discovery.resolve_gvk(&gvk).unwrap();
        assert_eq!(resource.plural, "deployments");
        assert!(capabilities.supports_operation(kube::discovery::verbs::WATCH));
    }
    let value: Value = client(&running)
        .request(http::Request::get("/version").body(Vec::new()).unwrap())
        .await
        .unwrap();
    assert_eq!(value["gitVersion"], "v1.36.3+tidegate");
}
