//! Optimistic concurrency and preconditions.

use super::props::{WIDGET_SCHEMA, config};

stories! {
    "conflict/replace-with-a-stale-revision" => |s| {
        let first = s.create("configmaps", &config("a", "one")).await?;
        s.set("configmaps/a", "{data: {key: two}}").await?;
        s.put("configmaps/a", &first.body).await?;
    }
    "conflict/replace-with-the-current-revision" => |s| {
        let mut read = s.create("configmaps", &config("a", "one")).await?;
        read.body["data"]["key"] = "two".into();
        s.put("configmaps/a", &read.body).await?;
    }
    "conflict/replace-with-another-uid" => |s| {
        let mut read = s.create("configmaps", &config("a", "one")).await?;
        read.body["metadata"]["uid"] = "33333333-3333-3333-3333-333333333333".into();
        s.put("configmaps/a", &read.body).await?;
    }
    "conflict/replace-with-a-malformed-revision" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.replace("configmaps/a", "{metadata: {name: a, resourceVersion: newest}}").await?;
    }
    "conflict/patch-that-names-a-stale-revision" => |s| {
        let first = s.create("configmaps", &config("a", "one")).await?;
        let version = first.version();
        s.set("configmaps/a", "{data: {key: two}}").await?;
        s.merge("configmaps/a", &format!("{{metadata: {{resourceVersion: '{version}'}}, data: {{key: three}}}}")).await?;
        s.strategic("configmaps/a", &format!("{{metadata: {{resourceVersion: '{version}'}}, data: {{key: three}}}}")).await?;
        s.json_patch("configmaps/a", &format!("[{{op: replace, path: /metadata/resourceVersion, value: '{version}'}}, {{op: replace, path: /data/key, value: x}}]")).await?;
    }
    "conflict/delete-with-another-uid" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.delete_with("configmaps/a", "{preconditions: {uid: 44444444-4444-4444-4444-444444444444}}").await?;
    }
    "conflict/delete-with-a-stale-revision" => |s| {
        let first = s.create("configmaps", &config("a", "one")).await?;
        s.set("configmaps/a", "{data: {key: two}}").await?;
        s.delete_with("configmaps/a", &format!("{{preconditions: {{resourceVersion: '{}'}}}}", first.version())).await?;
    }
    "conflict/delete-with-true-preconditions" => |s| {
        let first = s.create("configmaps", &config("a", "one")).await?;
        s.delete_with("configmaps/a", &format!("{{preconditions: {{resourceVersion: '{}', uid: {}}}}}", first.version(), first.uid())).await?;
    }
    "conflict/custom-resource-replaced-without-revision" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.have("{g}/v1 widgets", "{metadata: {name: a}, spec: {model: mo}}").await?;
        s.replace("{g}/v1 widgets/a", "{metadata: {name: a}, spec: {model: other}}").await?;
    }
    "conflict/custom-resource-replaced-with-a-stale-revision" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        let first = s.have("{g}/v1 widgets", "{metadata: {name: a}, spec: {model: mo}}").await?;
        s.set("{g}/v1 widgets/a", "{spec: {model: two}}").await?;
        s.put("{g}/v1 widgets/a", &first.body).await?;
        s.merge("{g}/v1 widgets/a", &format!("{{metadata: {{resourceVersion: '{}'}}, spec: {{model: x9}}}}", first.version())).await?;
    }
    "conflict/lease-taken-by-two" => |s| {
        let lease = s.create("coordination.k8s.io/v1 leases", "{metadata: {name: l}, spec: {holderIdentity: '', leaseDurationSeconds: 15}}").await?;
        let (mut one, mut two) = (lease.body.clone(), lease.body.clone());
        one["spec"]["holderIdentity"] = "one".into();
        two["spec"]["holderIdentity"] = "two".into();
        s.put("coordination.k8s.io/v1 leases/l", &one).await?;
        s.put("coordination.k8s.io/v1 leases/l", &two).await?;
        s.get("coordination.k8s.io/v1 leases/l").await?;
    }
    "conflict/status-of-a-stale-revision" => |s| {
        let first = s.have("apps/v1 deployments", &super::props::deployment("web")).await?;
        s.set("apps/v1 deployments/web", "{spec: {replicas: 4}}").await?;
        s.put("apps/v1 deployments/web/status", &first.body).await?;
    }
}
