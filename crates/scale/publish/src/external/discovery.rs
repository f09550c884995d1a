//! What the aggregation layer and clients ask to learn what is served.

use super::{GROUP, VERSION};
use crate::series::NAMES;
use serde_json::{Value, json};

/// The answer at a path without a trailing slash, if it is one of discovery.
pub(super) fn answer(path: &str) -> Option<Value> {
    let group_version = format!("{GROUP}/{VERSION}");
    let this = json!({ "groupVersion": group_version, "version": VERSION });
    let group = json!({ "name": GROUP, "versions": [this], "preferredVersion": this });
    Some(match path.strip_prefix("/apis") {
        // A client that would rather have the aggregated form takes this one
        // and asks for the resources by itself.
        Some("") => json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [group] }),
        Some(rest) if rest.strip_prefix('/') == Some(GROUP) => {
            let mut group = group;
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            group
        }
        Some(rest) if rest.strip_prefix('/') == Some(group_version.as_str()) => {
            let resources: Vec<Value> = NAMES
                .iter()
                .map(|name| {
                    json!({
                        "name": name,
                        "singularName": "",
                        "namespaced": true,
                        "kind": "ExternalMetricValueList",
                        "verbs": ["get"],
                    })
                })
                .collect();
            json!({
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": group_version,
                "resources": resources,
            })
        }
        _ => match path {
            "" => json!({ "paths": [
                "/apis", format!("/apis/{GROUP}"), format!("/apis/{group_version}"),
                "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz",
            ]}),
            // There are no objects to be described, only numbers.
            "/openapi/v2" => json!({
                "swagger": "2.0",
                "info": { "title": GROUP, "version": VERSION },
                "paths": {},
                "definitions": {},
            }),
            "/openapi/v3" => json!({ "paths": {} }),
            _ => return None,
        },
    })
}
