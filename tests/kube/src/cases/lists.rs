//! Lists in pages and at revisions.

use super::props::config;
use crate::story::{PARTIAL_LIST, Story};
use anyhow::Result;

async fn shelf(s: &Story, count: usize) -> Result<()> {
    for number in 1..=count {
        s.have("configmaps", &config(&format!("c{number}"), "one")).await?;
    }
    Ok(())
}

stories! {
    "list/pages-until-the-end" => |s| {
        shelf(&s, 5).await?;
        let mut reply = s.get("configmaps?limit=2").await?;
        for _ in 0..2 {
            let token = reply.text("/metadata/continue");
            reply = s.get(&format!("configmaps?limit=2&continue={token}")).await?;
        }
    }
    "list/exact-page" => |s| {
        shelf(&s, 2).await?;
        s.get("configmaps?limit=2").await?;
        s.get("configmaps?limit=0").await?;
        s.get("configmaps?limit=500").await?;
    }
    "list/pages-with-selector-count-nothing" => |s| {
        shelf(&s, 3).await?;
        s.get("configmaps?limit=1&labelSelector=tier%3Done").await?;
        s.get("configmaps?limit=1&fieldSelector=metadata.name!%3Dc1").await?;
    }
    "list/pages-show-one-moment" => |s| {
        shelf(&s, 3).await?;
        let first = s.get("configmaps?limit=1").await?;
        s.have("configmaps", &config("c2b", "one")).await?;
        s.ask("DELETE", "configmaps/c3").send().await?;
        let token = first.text("/metadata/continue");
        s.get(&format!("configmaps?limit=5&continue={token}")).await?;
    }
    "list/malformed-pages" => |s| {
        s.get("configmaps?limit=2&continue=nonsense").await?;
        s.get("configmaps?limit=2&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ").await?;
        s.get("configmaps?limit=many").await?;
        s.get("configmaps?limit=-1").await?;
    }
    "list/continue-with-a-revision-is-refused" => |s| {
        shelf(&s, 3).await?;
        let first = s.get("configmaps?limit=1").await?;
        let token = first.text("/metadata/continue");
        let version = first.version();
        s.get(&format!("configmaps?limit=1&continue={token}&resourceVersion={version}")).await?;
    }
    "list/at-revisions" => |s| {
        shelf(&s, 1).await?;
        let version = s.look("configmaps").await?.version();
        s.get("configmaps?resourceVersion=0").await?;
        s.get(&format!("configmaps?resourceVersion={version}&resourceVersionMatch=NotOlderThan")).await?;
        s.have("configmaps", &config("later", "one")).await?;
        s.get(&format!("configmaps?resourceVersion={version}&resourceVersionMatch=Exact")).await?;
        s.get("configmaps/c1?resourceVersion=0").await?;
    }
    "list/malformed-revisions" => |s| {
        s.get("configmaps?resourceVersion=newest").await?;
        s.get("configmaps?resourceVersionMatch=Exact").await?;
        s.get("configmaps?resourceVersion=0&resourceVersionMatch=Exact").await?;
        s.get("configmaps?resourceVersion=1&resourceVersionMatch=Nearly").await?;
        s.get("configmaps/c1?resourceVersion=newest").await?;
    }
    "list/of-the-future-times-out" => |s| {
        s.get("configmaps?resourceVersion=99999999").await?;
    }
    "list/metadata-alone" => |s| {
        shelf(&s, 2).await?;
        s.ask("GET", "configmaps").accept(PARTIAL_LIST).send().await?;
        s.ask("GET", "configmaps/c1").accept(crate::story::PARTIAL).send().await?;
        s.ask("GET", "apps/v1 deployments").accept(PARTIAL_LIST).send().await?;
    }
    "list/metadata-alone-of-custom-resources" => |s| {
        s.widgets(super::props::WIDGET_SCHEMA).await?;
        s.have("{g}/v1 widgets", "{metadata: {name: a, labels: {x: y}}, spec: {model: mo}}").await?;
        s.ask("GET", "{g}/v1 widgets").accept(PARTIAL_LIST).send().await?;
    }
    "list/custom-resources-in-pages" => |s| {
        s.widgets(super::props::WIDGET_SCHEMA).await?;
        for name in ["a", "b", "c"] {
            s.have("{g}/v1 widgets", &format!("{{metadata: {{name: {name}}}, spec: {{model: mo}}}}")).await?;
        }
        let first = s.get("{g}/v1 widgets?limit=2").await?;
        let token = first.text("/metadata/continue");
        s.get(&format!("{{g}}/v1 widgets?limit=2&continue={token}")).await?;
    }
}
