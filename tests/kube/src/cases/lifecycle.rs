//! From creation to the end: finalizers, grace, generations, dry runs, namespaces.

use super::props::{WIDGET_SCHEMA, bound_pod, config, deployment, pod};

stories! {
    "life/finalizer-holds-an-object-until-removed" => |s| {
        s.have("configmaps", "{metadata: {name: a, finalizers: [x.example/y]}}").await?;
        s.delete("configmaps/a").await?;
        s.get("configmaps/a").await?;
        s.delete("configmaps/a").await?;
        s.merge("configmaps/a", "{metadata: {labels: {still: here}}}").await?;
        s.json_patch("configmaps/a", "[{op: test, path: /metadata/finalizers/0, value: x.example/y}, {op: remove, path: /metadata/finalizers/0}]").await?;
        s.get("configmaps/a").await?;
    }
    "life/finalizer-cannot-be-added-to-what-is-ending" => |s| {
        s.have("configmaps", "{metadata: {name: a, finalizers: [x.example/y]}}").await?;
        s.delete("configmaps/a").await?;
        s.merge("configmaps/a", "{metadata: {finalizers: [x.example/y, x.example/z]}}").await?;
        s.merge("configmaps/a", "{metadata: {deletionTimestamp: null}}").await?;
        s.create("configmaps", "{metadata: {name: a}}").await?;
    }
    "life/finalizer-on-a-custom-resource" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.have("{g}/v1 widgets", "{metadata: {name: a, finalizers: [x.example/y]}, spec: {model: mo}}").await?;
        s.delete("{g}/v1 widgets/a").await?;
        s.get("{g}/v1 widgets/a").await?;
        s.merge("{g}/v1 widgets/a", "{metadata: {finalizers: []}}").await?;
        s.get("{g}/v1 widgets/a").await?;
    }
    "life/finalizer-names-are-checked" => |s| {
        s.create("configmaps", "{metadata: {name: a, finalizers: ['Not A Name']}}").await?;
        s.create("configmaps", "{metadata: {name: b, finalizers: [bare]}}").await?;
    }
    "life/foreground-and-orphan-leave-a-finalizer" => |s| {
        s.have("apps/v1 deployments", &deployment("f")).await?;
        s.have("apps/v1 deployments", &deployment("o")).await?;
        s.delete_with("apps/v1 deployments/f", "{propagationPolicy: Foreground}").await?;
        s.delete_with("apps/v1 deployments/o", "{propagationPolicy: Orphan}").await?;
    }
    "life/bound-pod-ends-with-grace" => |s| {
        s.have("pods", &bound_pod("p")).await?;
        s.delete("pods/p").await?;
        s.get("pods/p").await?;
        s.delete("pods/p").await?;
        s.delete("pods/p?gracePeriodSeconds=5").await?;
        s.delete("pods/p?gracePeriodSeconds=0").await?;
        s.get("pods/p").await?;
    }
    "life/bound-pod-with-grace-in-the-body" => |s| {
        s.have("pods", &bound_pod("p")).await?;
        s.delete_with("pods/p", "{gracePeriodSeconds: 7, propagationPolicy: Background}").await?;
        s.delete_with("pods/p", "{gracePeriodSeconds: 0}").await?;
        s.get("pods/p").await?;
    }
    "life/unbound-pod-ends-at-once" => |s| {
        s.have("pods", &pod("p")).await?;
        s.delete("pods/p").await?;
        s.get("pods/p").await?;
    }
    "life/finished-pod-ends-at-once" => |s| {
        s.have("pods", &bound_pod("p")).await?;
        s.set("pods/p/status", "{status: {phase: Succeeded}}").await?;
        s.delete("pods/p").await?;
        s.get("pods/p").await?;
    }
    "life/pods-deleted-as-a-collection" => |s| {
        s.have("pods", &bound_pod("p")).await?;
        s.have("pods", &pod("q")).await?;
        s.delete("pods").await?;
        s.get("pods").await?;
    }
    "life/generation-follows-the-spec" => |s| {
        s.create("apps/v1 deployments", &deployment("web")).await?;
        s.merge("apps/v1 deployments/web", "{metadata: {labels: {x: y}}}").await?;
        s.merge("apps/v1 deployments/web", "{spec: {replicas: 5}}").await?;
        s.merge("apps/v1 deployments/web", "{spec: {replicas: 5}}").await?;
        s.merge("apps/v1 deployments/web/status", "{status: {replicas: 5, observedGeneration: 2}}").await?;
    }
    "life/generation-moves-when-deletion-begins" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.have("{g}/v1 widgets", "{metadata: {name: a, finalizers: [x.example/y]}, spec: {model: mo}}").await?;
        s.merge("{g}/v1 widgets/a", "{metadata: {labels: {x: y}}}").await?;
        s.delete("{g}/v1 widgets/a").await?;
    }
    "life/dry-run-leaves-nothing" => |s| {
        s.create("configmaps?dryRun=All", &config("a", "one")).await?;
        s.get("configmaps/a").await?;
        s.have("configmaps", &config("b", "one")).await?;
        s.merge("configmaps/b?dryRun=All", "{data: {key: two}}").await?;
        s.delete("configmaps/b?dryRun=All").await?;
        s.get("configmaps/b").await?;
        s.create("configmaps?dryRun=Some", &config("c", "one")).await?;
        s.delete_with("configmaps/b", "{dryRun: [All]}").await?;
        s.get("configmaps").await?;
    }
    "life/names-generated" => |s| {
        s.create("configmaps", "{metadata: {generateName: c-}}").await?;
        s.create("configmaps", "{metadata: {generateName: c-, name: given}}").await?;
        s.create("configmaps", "{metadata: {}}").await?;
    }
    "life/namespace-in-its-last-days-takes-nothing-new" => |s| {
        s.have("/api/v1/namespaces", "{metadata: {name: '{ns}-end'}}").await?;
        s.have("/api/v1/namespaces/{ns}-end/configmaps", "{metadata: {name: held, finalizers: [x.example/y]}}").await?;
        s.delete("/api/v1/namespaces/{ns}-end").await?;
        s.create("/api/v1/namespaces/{ns}-end/configmaps", &config("late", "one")).await?;
        s.get("/api/v1/namespaces/{ns}-end/configmaps/held").await?;
        s.delete("/api/v1/namespaces/{ns}-end").await?;
    }
    "life/namespace-made" => |s| {
        s.create("/api/v1/namespaces", "{metadata: {name: '{ns}-new', labels: {x: y}}}").await?;
        s.create("/api/v1/namespaces", "{metadata: {name: '{ns}-new'}}").await?;
        s.merge("/api/v1/namespaces/{ns}-new", "{metadata: {labels: {z: w}}}").await?;
        s.get("/api/v1/namespaces/{ns}-new/status").await?;
    }
    "life/namespace-missing" => |s| {
        s.create("/api/v1/namespaces/no-such-place/configmaps", &config("a", "one")).await?;
        s.get("/api/v1/namespaces/no-such-place/configmaps").await?;
        s.get("/api/v1/namespaces/no-such-place/configmaps/a").await?;
    }
    "life/namespaces-that-must-stay" => |s| {
        s.delete("/api/v1/namespaces/default").await?;
        s.delete("/api/v1/namespaces/kube-system").await?;
        s.get("/api/v1/namespaces/default").await?;
    }
    "life/immutable-configmap" => |s| {
        s.have("configmaps", "{metadata: {name: a}, data: {k: v}, immutable: true}").await?;
        s.merge("configmaps/a", "{data: {k: w}}").await?;
        s.merge("configmaps/a", "{immutable: false}").await?;
        s.merge("configmaps/a", "{metadata: {labels: {x: y}}}").await?;
    }
}
