//! Discovery, of the kinds that both servers serve.

use crate::story::Story;
use anyhow::Result;
use serde_json::Value;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// Kinds that Tidegate's own fleet lives by, per group version.
const SERVED: &[(&str, &[&str])] = &[
    (
        "v1",
        &[
            "bindings",
            "configmaps",
            "endpoints",
            "events",
            "namespaces",
            "nodes",
            "pods",
            "secrets",
            "serviceaccounts",
            "services",
        ],
    ),
    (
        "apps/v1",
        &[
            "controllerrevisions",
            "daemonsets",
            "deployments",
            "replicasets",
            "statefulsets",
        ],
    ),
    ("autoscaling/v2", &["horizontalpodautoscalers"]),
    ("batch/v1", &["cronjobs", "jobs"]),
    ("coordination.k8s.io/v1", &["leases"]),
    ("discovery.k8s.io/v1", &["endpointslices"]),
    ("events.k8s.io/v1", &["events"]),
    ("policy/v1", &["poddisruptionbudgets"]),
    (
        "rbac.authorization.k8s.io/v1",
        &["clusterrolebindings", "clusterroles", "rolebindings", "roles"],
    ),
    ("apiextensions.k8s.io/v1", &["customresourcedefinitions"]),
];

fn path(version: &str) -> String {
    let root = if version.contains('/') { "apis" } else { "api" };
    format!("/{root}/{version}")
}

/// The entries of a legacy resource list that concern a resource: itself and
/// the subresources of the contract.
fn entries(list: &Value, resource: &str) -> Value {
    let wanted = ["", "/status", "/scale", "/eviction", "/binding", "/log"];
    let mut found: Vec<Value> = Vec::new();
    for item in list["resources"].as_array().into_iter().flatten() {
        let name = item["name"].as_str().unwrap_or_default();
        if wanted.iter().any(|suffix| name == format!("{resource}{suffix}")) {
            let mut item = item.clone();
            // How objects are laid out in storage is nobody's contract.
            item.as_object_mut().map(|map| map.remove("storageVersionHash"));
            found.push(item);
        }
    }
    found.sort_by_key(|item| item["name"].to_string());
    found.into()
}

async fn aggregated(s: &Story, root: &str, group: &str) -> Result<Vec<Value>> {
    let reply = s.ask("GET", root).accept(AGGREGATED).quiet().await?;
    let groups = reply.body["items"].as_array().cloned().unwrap_or_default();
    Ok(groups
        .into_iter()
        .filter(|item| item["metadata"]["name"].as_str().unwrap_or_default() == group)
        .flat_map(|item| item["versions"].as_array().cloned().unwrap_or_default())
        .collect())
}

stories! {
    "discovery/legacy-lists-name-what-is-served" => |s| {
        for (version, resources) in SERVED {
            let list = s.look(&path(version)).await?;
            for resource in *resources {
                s.note(format!("{version} {resource}"), entries(&list.body, resource));
            }
            s.note(format!("{version} itself"), serde_json::json!([list.body["kind"], list.body["groupVersion"]]));
        }
    }
    "discovery/aggregated-lists-name-what-is-served" => |s| {
        for (version, resources) in SERVED {
            let (group, name) = version.split_once('/').unwrap_or(("", version));
            let root = if group.is_empty() { "/api" } else { "/apis" };
            let versions = aggregated(&s, root, group).await?;
            let served = versions.iter().find(|item| item["version"] == name).cloned().unwrap_or_default();
            for resource in *resources {
                let mut entry = served["resources"].as_array().into_iter().flatten().find(|item| item["resource"] == *resource).cloned().unwrap_or_default();
                if let Some(subs) = entry.get_mut("subresources").and_then(Value::as_array_mut) {
                    let wanted = ["status", "scale", "eviction", "binding", "log"];
                    subs.retain(|sub| wanted.iter().any(|name| sub["subresource"] == *name));
                    subs.sort_by_key(|sub| sub["subresource"].to_string());
                }
                // The real server names subresources that are not of the contract.
                if entry["subresources"].as_array().is_some_and(Vec::is_empty) {
                    entry.as_object_mut().map(|map| map.remove("subresources"));
                }
                s.note(format!("{version} {resource}"), entry);
            }
        }
    }
    "discovery/aggregated-answer-names-its-type" => |s| {
        for root in ["/api", "/apis"] {
            let reply = s.ask("GET", root).accept(AGGREGATED).headers(&["content-type", "vary"]).await?;
            s.note(root, serde_json::json!([reply.body["kind"], reply.body["apiVersion"], reply.body["metadata"]]));
        }
    }
    "discovery/etag-answers-not-modified" => |s| {
        let tag = s.ask("GET", "/api").accept(AGGREGATED).etag().await?;
        s.note("an ETag is quoted", (tag.starts_with('"') && tag.ends_with('"') && tag.len() > 60).into());
        s.ask("GET", "/api").accept(AGGREGATED).header("if-none-match", &tag).send().await?;
        s.ask("GET", "/api").accept(AGGREGATED).header("if-none-match", "\"other\"").headers(&["content-type"]).await?;
    }
    "discovery/roots-in-the-older-form" => |s| {
        let core = s.look("/api").await?;
        s.note("core", serde_json::json!([core.body["kind"], core.body["versions"]]));
        let groups = s.look("/apis").await?;
        s.note("kind", groups.body["kind"].clone());
        for (version, _) in SERVED.iter().filter(|(version, _)| version.contains('/')) {
            let (group, name) = version.split_once('/').unwrap_or_default();
            let entry = groups.body["groups"].as_array().into_iter().flatten().find(|item| item["name"] == group).cloned().unwrap_or_default();
            let served = entry["versions"].as_array().into_iter().flatten().any(|item| item["version"] == name);
            s.note(*version, serde_json::json!({ "served": served, "entry": entry["name"] }));
        }
    }
    "discovery/one-group" => |s| {
        s.get("/apis/apps").await?;
        s.get("/apis/apps/").await?;
        s.get("/apis/no.such.group").await?;
        s.get("/apis/apps/v9").await?;
    }
    "discovery/custom-resources-appear" => |s| {
        s.widgets(super::props::WIDGET_SCHEMA).await?;
        s.until("/apis/{g}/v1", |reply| reply.body["resources"].as_array().is_some_and(|all| all.len() == 3)).await?;
        let list = s.look("/apis/{g}/v1").await?;
        s.note("widgets", entries(&list.body, "widgets"));
        s.until("/apis/{g}", |reply| reply.status == 200).await?;
        s.get("/apis/{g}").await?;
        let group = s.fill("{g}");
        let versions = aggregated(&s, "/apis", &group).await?;
        s.note("aggregated", versions.into());
    }
    "discovery/version" => |s| {
        let reply = s.look("/version").await?;
        let keys: Vec<Value> = ["major", "minor", "gitVersion", "platform", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler"].iter().map(|key| reply.body[key].is_string().into()).collect();
        s.note("shape", keys.into());
        s.note("major and minor", serde_json::json!([reply.body["major"], reply.body["minor"]]));
    }
    "discovery/openapi-index" => |s| {
        let reply = s.look("/openapi/v3").await?;
        for version in ["api/v1", "apis/apps/v1", "apis/batch/v1", "apis/coordination.k8s.io/v1"] {
            let address = reply.body["paths"][version]["serverRelativeURL"].as_str().unwrap_or_default().to_owned();
            let (path, query) = address.split_once('?').unwrap_or((&address, ""));
            s.note(version, serde_json::json!([path, query.starts_with("hash=")]));
        }
        s.ask("GET", "/openapi/v3/apis/no.such/v1").send().await?;
    }
    "discovery/openapi-says-what-kubectl-asks" => |s| {
        for (version, path, kind) in [
            ("apis/apps/v1", "/apis/apps/v1/namespaces/{namespace}/deployments/{name}", "io.k8s.api.apps.v1.Deployment"),
            ("api/v1", "/api/v1/namespaces/{namespace}/configmaps/{name}", "io.k8s.api.core.v1.ConfigMap"),
        ] {
            let document = s.look(&format!("/openapi/v3/{version}")).await?;
            let patch = &document.body["paths"][path]["patch"];
            s.note(format!("{kind} patch"), serde_json::json!([
                patch["x-kubernetes-action"], patch["x-kubernetes-group-version-kind"],
                patch["parameters"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "fieldValidation")),
            ]));
            s.note(format!("{kind} schema"), document.body["components"]["schemas"][kind]["x-kubernetes-group-version-kind"].clone());
        }
        let apps = s.look("/openapi/v3/apis/apps/v1").await?;
        let template = &apps.body["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        s.note("merge key", serde_json::json!([template["x-kubernetes-patch-merge-key"], template["x-kubernetes-patch-strategy"]]));
    }
    "discovery/openapi-of-custom-resources" => |s| {
        s.widgets(super::props::WIDGET_SCHEMA).await?;
        s.until("/openapi/v3/apis/{g}/v1", |reply| reply.status == 200).await?;
        let document = s.look("/openapi/v3/apis/{g}/v1").await?;
        let schemas = document.body["components"]["schemas"].as_object().cloned().unwrap_or_default();
        let widget = schemas.iter().find(|(name, _)| name.ends_with(".v1.Widget")).map(|(_, schema)| schema.clone()).unwrap_or_default();
        s.note("spec", widget["properties"]["spec"].clone());
        s.note("kind", widget["x-kubernetes-group-version-kind"].clone());
    }
}
