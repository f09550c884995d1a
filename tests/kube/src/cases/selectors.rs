//! Label and field selectors.

use super::props::{bound_pod, config, pod};
use crate::story::Story;
use anyhow::Result;

/// Five ConfigMaps to choose from.
async fn shelf(s: &Story) -> Result<()> {
    for (name, labels) in [
        ("a", "{env: prod, tier: web, n: '1'}"),
        ("b", "{env: test, tier: web, n: '5'}"),
        ("c", "{env: prod}"),
        ("d", "{}"),
        ("e", "{env: ''}"),
    ] {
        s.have(
            "configmaps",
            &format!("{{metadata: {{name: {name}, labels: {labels}}}}}"),
        )
        .await?;
    }
    Ok(())
}

/// Records which names a selector chooses, or the refusal.
async fn choose(s: &Story, selector: &str) -> Result<()> {
    let reply = s.get(&format!("configmaps?labelSelector={selector}")).await?;
    if let Some(items) = reply.body["items"].as_array() {
        s.note(
            selector,
            items.iter().map(|item| item["metadata"]["name"].clone()).collect(),
        );
    }
    Ok(())
}

stories! {
    "selector/labels-equal-and-not" => |s| {
        shelf(&s).await?;
        for selector in ["env%3Dprod", "env%3D%3Dprod", "env!%3Dprod", "env%3D", "env%3Dprod,tier%3Dweb"] {
            choose(&s, selector).await?;
        }
    }
    "selector/labels-in-and-notin" => |s| {
        shelf(&s).await?;
        for selector in ["env%20in%20(prod,test)", "env%20notin%20(prod)", "env%20in%20()", "env%20in%20(,prod)", "env%20notin%20(prod,test),tier"] {
            choose(&s, selector).await?;
        }
    }
    "selector/labels-exist-or-not" => |s| {
        shelf(&s).await?;
        for selector in ["env", "!env", "tier,!n", "n%3E2", "n%3C2", "n%3Ex"] {
            choose(&s, selector).await?;
        }
    }
    "selector/labels-malformed" => |s| {
        for selector in ["env%3D%3D%3Dprod", "env%20in%20prod", "%3Da", "a%20b", "in%20(", "a%3Db,,c", "-a%3Db", "a%3D-b", "env%20within%20(a)"] {
            s.get(&format!("configmaps?labelSelector={selector}")).await?;
        }
    }
    "selector/fields-name-and-namespace" => |s| {
        shelf(&s).await?;
        s.get("configmaps?fieldSelector=metadata.name%3Dc").await?;
        s.get("configmaps?fieldSelector=metadata.name!%3Dc,metadata.name!%3Da").await?;
        s.get("configmaps?fieldSelector=metadata.namespace%3Dother").await?;
    }
    "selector/fields-unknown-or-malformed" => |s| {
        s.get("configmaps?fieldSelector=foo%3Dbar").await?;
        s.get("configmaps?fieldSelector=foo").await?;
        s.get("pods?fieldSelector=spec.image%3Dbar").await?;
        s.get("apps/v1 deployments?fieldSelector=spec.replicas%3D1").await?;
    }
    "selector/pods-by-node-and-phase" => |s| {
        s.have("pods", &pod("loose")).await?;
        s.have("pods", &bound_pod("bound")).await?;
        s.set("pods/bound/status", "{status: {phase: Running, podIP: 192.0.2.7, podIPs: [{ip: 192.0.2.7}]}}").await?;
        for selector in ["spec.nodeName%3Dfar-away", "spec.nodeName%3D", "spec.nodeName!%3Dfar-away", "status.phase%3DRunning", "status.phase!%3DRunning", "status.podIP%3D192.0.2.7", "spec.restartPolicy%3DAlways", "spec.schedulerName%3Ddefault-scheduler", "spec.serviceAccountName%3D", "spec.hostNetwork%3Dfalse", "status.nominatedNodeName%3D"] {
            let reply = s.look(&format!("pods?fieldSelector={selector}")).await?;
            s.note(selector, reply.body["items"].as_array().into_iter().flatten().map(|item| item["metadata"]["name"].clone()).collect());
        }
    }
    "selector/secrets-by-type-and-nodes-by-unschedulable" => |s| {
        s.have("secrets", "{metadata: {name: a}, type: example.org/mine}").await?;
        s.have("secrets", "{metadata: {name: b}}").await?;
        s.get("secrets?fieldSelector=type%3Dexample.org/mine").await?;
        s.have("/api/v1/nodes", "{metadata: {name: 'one-{ns}', labels: {story: '{ns}'}}, spec: {unschedulable: true}}").await?;
        s.have("/api/v1/nodes", "{metadata: {name: 'two-{ns}', labels: {story: '{ns}'}}}").await?;
        s.table("/api/v1/nodes?fieldSelector=spec.unschedulable%3Dtrue&labelSelector=story%3D{ns}").await?;
    }
    "selector/custom-resources" => |s| {
        s.widgets(super::props::WIDGET_SCHEMA).await?;
        s.have("{g}/v1 widgets", "{metadata: {name: a, labels: {x: y}}, spec: {model: mo}}").await?;
        s.have("{g}/v1 widgets", "{metadata: {name: b}, spec: {model: mo}}").await?;
        s.get("{g}/v1 widgets?labelSelector=x%3Dy").await?;
        s.get("{g}/v1 widgets?fieldSelector=metadata.name%3Db").await?;
        s.get("{g}/v1 widgets?fieldSelector=spec.model%3Dmo").await?;
    }
    "selector/both-at-once" => |s| {
        shelf(&s).await?;
        s.get("configmaps?labelSelector=env%3Dprod&fieldSelector=metadata.name%3Dc").await?;
        s.have("configmaps", &config("z", "one")).await?;
        s.delete("configmaps?fieldSelector=metadata.name%3Dz").await?;
        s.get("configmaps/z").await?;
    }
}
