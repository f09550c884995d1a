//! Unknown and doubled fields: strict, warned of, ignored.

use super::props::{WIDGET_SCHEMA, config, deployment};

stories! {
    "fields/unknown-warned-of" => |s| {
        s.create("configmaps", "{metadata: {name: a, color: red}, data: {k: v}, dota: {}}").await?;
        s.create("configmaps?fieldValidation=Warn", "{metadata: {name: b}, dota: {}}").await?;
    }
    "fields/unknown-ignored" => |s| {
        s.create("configmaps?fieldValidation=Ignore", "{metadata: {name: a}, dota: {}}").await?;
    }
    "fields/unknown-refused" => |s| {
        s.create("configmaps?fieldValidation=Strict", "{metadata: {name: a, color: red}, dota: {}}").await?;
        s.get("configmaps/a").await?;
        s.create("apps/v1 deployments?fieldValidation=Strict", &deployment("web").replace("containerPort: 8000", "containerPort: 8000, bad: 1")).await?;
    }
    "fields/unknown-refused-in-patches" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.merge("apps/v1 deployments/web?fieldValidation=Strict", "{spec: {color: red}}").await?;
        s.strategic("apps/v1 deployments/web?fieldValidation=Strict", "{spec: {template: {spec: {containers: [{name: main, color: red}]}}}}").await?;
        s.json_patch("apps/v1 deployments/web?fieldValidation=Strict", "[{op: add, path: /spec/color, value: red}]").await?;
        s.merge("apps/v1 deployments/web", "{spec: {color: red}}").await?;
    }
    "fields/doubled" => |s| {
        let doubled = s.fill(r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"1","k":"2"}}"#);
        for mode in ["Strict", "Warn", "Ignore"] {
            s.ask("POST", &format!("configmaps?dryRun=All&fieldValidation={mode}")).header("content-type", "application/json").raw(doubled.clone()).send().await?;
        }
    }
    "fields/mode-unknown" => |s| {
        s.create("configmaps?fieldValidation=Loose", &config("a", "one")).await?;
    }
    "fields/wrong-case-is-unknown" => |s| {
        s.create("configmaps?fieldValidation=Strict", "{metadata: {name: a}, Data: {k: v}}").await?;
    }
    "fields/custom-resource" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.create("{g}/v1 widgets?fieldValidation=Strict", "{metadata: {name: a}, spec: {model: mo, color: red}}").await?;
        s.create("{g}/v1 widgets", "{metadata: {name: a}, spec: {model: mo, color: red, parts: [{name: x, shape: round}]}, extra: 1}").await?;
        s.create("{g}/v1 widgets?fieldValidation=Ignore", "{metadata: {name: b}, spec: {model: mo, color: red}}").await?;
        s.merge("{g}/v1 widgets/a?fieldValidation=Strict", "{spec: {color: red}}").await?;
    }
}
