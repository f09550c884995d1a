//! Rights that are given, and rights that are used.

use anyhow::{Result, ensure};
use serde_json::Value;
use std::collections::BTreeSet;

/// A right: API group, resource with its subresource, verb.
pub(super) type Right = (String, String, String);

/// Every right that the manifests give, but for ConfigMaps, Leases and others
/// by name, which count as the resource.
pub(super) fn given() -> Result<BTreeSet<Right>> {
    let text = include_str!("../../../../deploy/autoscaler/2-rbac.yaml");
    let objects: Vec<Value> = serde_saphyr::from_multiple(text)?;
    let mut rights = BTreeSet::new();
    for rule in objects.iter().filter_map(|object| object["rules"].as_array()).flatten() {
        let texts = |field: &str| {
            let all = rule[field].as_array().cloned().unwrap_or_default();
            all.into_iter().map(|text| text.as_str().unwrap_or_default().to_owned())
        };
        for group in texts("apiGroups") {
            for resource in texts("resources") {
                rights.extend(texts("verbs").map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
    }
    Ok(rights)
}

/// Every right that the service account used, by the audit log.
///
/// # Errors
/// The first request that was refused for want of one.
pub(super) fn used(audit: &str) -> Result<BTreeSet<Right>> {
    let mut rights = BTreeSet::new();
    for line in audit.lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            // The last line may be half written.
            continue;
        };
        if event["user"]["username"] != "system:serviceaccount:tidegate-system:tidegate-autoscaler" {
            continue;
        }
        ensure!(event["responseStatus"]["code"] != 403, "denied: {event}");
        let text = |field: &str| event["objectRef"][field].as_str().unwrap_or_default().to_owned();
        let resource = match text("subresource") {
            none if none.is_empty() => text("resource"),
            subresource => format!("{}/{subresource}", text("resource")),
        };
        let verb = event["verb"].as_str().unwrap_or_default().to_owned();
        rights.insert((text("apiGroup"), resource, verb));
    }
    Ok(rights)
}
