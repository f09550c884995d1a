//! Watches: where they begin, what they show, how they end.

use super::props::{WIDGET_SCHEMA, config, pod};
use crate::story::{PARTIAL, TABLE};

stories! {
    "watch/from-a-revision-shows-what-came-after" => |s| {
        s.have("configmaps", &config("before", "one")).await?;
        let version = s.look("configmaps").await?.version();
        let mut watch = s.watch(&format!("configmaps?resourceVersion={version}")).await?;
        s.have("configmaps", &config("a", "one")).await?;
        s.set("configmaps/a", "{data: {key: two}}").await?;
        s.delete("configmaps/a").await?;
        watch.take(3).await?;
    }
    "watch/resumed-from-the-last-event" => |s| {
        let version = s.look("configmaps").await?.version();
        let mut watch = s.watch(&format!("configmaps?resourceVersion={version}")).await?;
        s.have("configmaps", &config("a", "one")).await?;
        let events = watch.take(1).await?;
        drop(watch);
        s.have("configmaps", &config("b", "one")).await?;
        s.set("configmaps/a", "{data: {key: two}}").await?;
        let seen = events[0]["object"]["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        let mut again = s.watch(&format!("configmaps?resourceVersion={seen}")).await?;
        again.take(2).await?;
    }
    "watch/without-a-revision-begins-with-what-is" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.have("configmaps", &config("b", "one")).await?;
        let mut watch = s.watch("configmaps").await?;
        watch.take(2).await?;
        s.set("configmaps/a", "{data: {key: two}}").await?;
        watch.take(1).await?;
    }
    "watch/from-revision-zero" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.until("configmaps?resourceVersion=0", |reply| reply.body["items"].as_array().is_some_and(|all| all.len() == 1)).await?;
        let mut watch = s.watch("configmaps?resourceVersion=0").await?;
        watch.take(1).await?;
    }
    "watch/an-object-enters-and-leaves-a-selector" => |s| {
        let version = s.look("configmaps").await?.version();
        let mut watch = s.watch(&format!("configmaps?labelSelector=tier%3Done&resourceVersion={version}")).await?;
        s.have("configmaps", &config("a", "two")).await?;
        s.set("configmaps/a", "{metadata: {labels: {tier: one}}}").await?;
        s.set("configmaps/a", "{data: {key: changed}}").await?;
        s.set("configmaps/a", "{metadata: {labels: {tier: two}}}").await?;
        s.set("configmaps/a", "{metadata: {labels: {tier: one}}}").await?;
        s.delete("configmaps/a").await?;
        watch.take(5).await?;
    }
    "watch/of-one-object-by-name" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        let mut watch = s.watch("configmaps?fieldSelector=metadata.name%3Da").await?;
        s.have("configmaps", &config("b", "one")).await?;
        s.set("configmaps/a", "{data: {key: two}}").await?;
        watch.take(2).await?;
    }
    "watch/of-pods-of-a-node" => |s| {
        let version = s.look("pods").await?.version();
        let mut watch = s.watch(&format!("pods?fieldSelector=spec.nodeName%3Dfar-away&resourceVersion={version}")).await?;
        s.have("pods", &pod("p")).await?;
        s.create("pods/p/binding", "{metadata: {name: p}, target: {apiVersion: v1, kind: Node, name: far-away}}").await?;
        watch.take(1).await?;
    }
    "watch/initial-events-end-with-a-bookmark" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.have("configmaps", &config("b", "one")).await?;
        let mut watch = s.watch("configmaps?sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true").await?;
        watch.take(3).await?;
        s.set("configmaps/a", "{data: {key: two}}").await?;
        watch.take(1).await?;
    }
    "watch/initial-events-of-nothing" => |s| {
        let mut watch = s.watch("apps/v1 deployments?sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion=0&timeoutSeconds=20").await?;
        watch.take(1).await?;
    }
    "watch/initial-events-asked-wrongly" => |s| {
        s.get("configmaps?watch=true&sendInitialEvents=true").await?;
        s.get("configmaps?watch=true&sendInitialEvents=true&resourceVersionMatch=Exact").await?;
        s.get("configmaps?watch=true&resourceVersionMatch=NotOlderThan").await?;
        s.get("configmaps?sendInitialEvents=true").await?;
    }
    "watch/no-initial-events-wanted" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        let mut watch = s.watch("configmaps?sendInitialEvents=false&resourceVersionMatch=NotOlderThan").await?;
        s.have("configmaps", &config("b", "one")).await?;
        watch.take(1).await?;
    }
    "watch/ends-at-its-timeout" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        let mut watch = s.watch("configmaps?timeoutSeconds=2").await?;
        watch.rest().await?;
    }
    "watch/from-the-distant-past-is-gone" => |s| {
        s.get("configmaps?watch=true&resourceVersion=newest").await?;
        s.get("configmaps?watch=true&timeoutSeconds=soon").await?;
    }
    "watch/as-a-table" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        let mut watch = s.ask("GET", "configmaps?watch=true").accept(TABLE).watch().await?;
        watch.take(1).await?;
        s.set("configmaps/a", "{data: {more: two}}").await?;
        s.delete("configmaps/a").await?;
        watch.take(2).await?;
    }
    "watch/metadata-alone" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        let mut watch = s.ask("GET", "configmaps?watch=true").accept(PARTIAL).watch().await?;
        watch.take(1).await?;
        s.set("configmaps/a", "{metadata: {labels: {x: y}}}").await?;
        watch.take(1).await?;
    }
    "watch/custom-resources" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        let version = s.look("{g}/v1 widgets").await?.version();
        let mut watch = s.watch(&format!("{{g}}/v1 widgets?resourceVersion={version}")).await?;
        s.have("{g}/v1 widgets", "{metadata: {name: a}, spec: {model: mo}}").await?;
        s.set("{g}/v1 widgets/a/status", "{status: {phase: Up}}").await?;
        s.delete("{g}/v1 widgets/a").await?;
        watch.take(3).await?;
    }
    "watch/custom-resources-as-a-table" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.have("{g}/v1 widgets", "{metadata: {name: a}, spec: {model: mo}}").await?;
        let mut watch = s.ask("GET", "{g}/v1 widgets?watch=true").accept(TABLE).watch().await?;
        watch.take(1).await?;
        s.set("{g}/v1 widgets/a", "{spec: {replicas: 4}}").await?;
        watch.take(1).await?;
    }
    "watch/finalizers-show-as-changes-before-the-end" => |s| {
        let version = s.look("configmaps").await?.version();
        let mut watch = s.watch(&format!("configmaps?resourceVersion={version}")).await?;
        s.have("configmaps", "{metadata: {name: a, finalizers: [x.example/y]}}").await?;
        s.delete("configmaps/a").await?;
        s.set("configmaps/a", "{metadata: {finalizers: null}}").await?;
        watch.take(3).await?;
    }
    "watch/an-update-that-changes-nothing-is-no-event" => |s| {
        let made = s.have("configmaps", &config("a", "one")).await?;
        let mut watch = s.watch(&format!("configmaps?resourceVersion={}", made.version())).await?;
        s.set("configmaps/a", "{data: {key: one}}").await?;
        s.set("configmaps/a", "{data: {key: two}}").await?;
        watch.take(1).await?;
    }
    "watch/older-path-form" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        let mut watch = s.ask("GET", "/api/v1/watch/namespaces/{ns}/configmaps?timeoutSeconds=2").watch().await?;
        watch.rest().await?;
    }
}
