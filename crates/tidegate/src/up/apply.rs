//! Brings the CRDs and the fleet's objects into the API, and keeps what users changed.
//!
//! Each object of a fleet carries a digest of the text it was made from. While
//! the file says the same, an object that is there is left alone, whatever
//! became of it; when the file changes, the object is brought up to it, but for
//! the replicas, which belong to the autoscaler.

use anyhow::{Context, bail};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// Annotation: digest of the fleet file's version of the object.
const DIGEST_ANNOTATION: &str = "tidegate.dev/fleet-digest";
/// Label of every object that comes from a fleet file.
const FLEET_LABEL: &str = "tidegate.dev/fleet";
/// How long a fresh CRD may take to be served.
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(30);

/// What applying a fleet did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// Objects made.
    pub(crate) created: usize,
    /// Objects brought up to a changed file.
    pub(crate) updated: usize,
    /// Objects removed because the file no longer has them.
    pub(crate) removed: usize,
    /// Objects that users changed since, and that were left as they are.
    pub(crate) changed_by_users: usize,
}

/// Installs or updates the CRDs and waits until they are served.
pub(crate) async fn install_crds(client: &Client) -> anyhow::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in api::crds() {
        let name = crd.name_any();
        match api
            .get_opt(&name)
            .await
            .with_context(|| format!("cannot read the CRD {name}"))?
        {
            None => drop(
                api.create(&PostParams::default(), &crd)
                    .await
                    .with_context(|| format!("cannot install the CRD {name}"))?,
            ),
            Some(live) if live.spec.versions != crd.spec.versions => {
                let patch = json!({ "spec": crd.spec, "metadata": { "annotations": crd.metadata.annotations } });
                api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
                    .await
                    .with_context(|| format!("cannot update the CRD {name}"))?;
            }
            Some(_) => {}
        }
    }
    for crd in api::crds() {
        let name = crd.name_any();
        let deadline = tokio::time::Instant::now() + ESTABLISHED_WITHIN;
        while !api.get(&name).await.is_ok_and(|crd| established(&crd)) {
            if tokio::time::Instant::now() > deadline {
                bail!(
                    "the CRD {name} was installed but is not served after {} s",
                    ESTABLISHED_WITHIN.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    Ok(())
}

fn established(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Established" && c.status == "True"))
}

/// Applies the objects of a fleet.
pub(crate) async fn fleet(client: &Client, namespace: &str, objects: &[Value]) -> anyhow::Result<Applied> {
    let mut applied = Applied::default();
    let mut wanted = BTreeSet::new();
    for object in objects {
        let mut object = object.clone();
        let digest = digest(&object);
        object["metadata"]["annotations"][DIGEST_ANNOTATION] = json!(digest);
        object["metadata"]["labels"][FLEET_LABEL] = json!("true");
        let (api, name) = api_of(client, namespace, &object)?;
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        wanted.insert((kind.clone(), name.clone()));
        let context = || format!("cannot apply {kind} {name}");
        match api.get_opt(&name).await.with_context(context)? {
            None => {
                let typed: DynamicObject = serde_json::from_value(object.clone())?;
                api.create(&PostParams::default(), &typed).await.with_context(context)?;
                applied.created += 1;
            }
            Some(live) if live.annotations().get(DIGEST_ANNOTATION) != Some(&digest) => {
                if let Some(spec) = object["spec"]
                    .as_object_mut()
                    .filter(|_| object_is(&live, "Deployment"))
                {
                    spec.remove("replicas");
                }
                api.patch(&name, &PatchParams::default(), &Patch::Merge(&object))
                    .await
                    .with_context(context)?;
                applied.updated += 1;
            }
            Some(live) => {
                let live = serde_json::to_value(&live)?;
                applied.changed_by_users += usize::from(!is_contained(&without_replicas(object), &live));
            }
        }
    }
    applied.removed = remove_others(client, namespace, &wanted).await?;
    Ok(applied)
}

fn object_is(object: &DynamicObject, kind: &str) -> bool {
    object.types.as_ref().is_some_and(|types| types.kind == kind)
}

fn without_replicas(mut object: Value) -> Value {
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.remove("replicas");
    }
    object
}

/// Removes objects of an earlier fleet file that the present one does not have.
async fn remove_others(client: &Client, namespace: &str, wanted: &BTreeSet<(String, String)>) -> anyhow::Result<usize> {
    let mut removed = 0;
    for (group, version, kind, plural) in [
        ("llmd.ai", "v1alpha1", "VariantAutoscaling", "variantautoscalings"),
        (
            "autoscaling",
            "v2",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
        ),
        ("apps", "v1", "Deployment", "deployments"),
        ("inference.networking.k8s.io", "v1", "InferencePool", "inferencepools"),
    ] {
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let ours = ListParams::default().labels(&format!("{FLEET_LABEL}=true"));
        for object in api.list(&ours).await.with_context(|| format!("cannot list {plural}"))? {
            let name = object.name_any();
            if !wanted.contains(&(kind.to_owned(), name.clone())) {
                api.delete(&name, &DeleteParams::background())
                    .await
                    .with_context(|| format!("cannot remove {kind} {name}"))?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

fn api_of(client: &Client, namespace: &str, object: &Value) -> anyhow::Result<(Api<DynamicObject>, String)> {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let plural = match kind {
        "InferencePool" => "inferencepools",
        "VariantAutoscaling" => "variantautoscalings",
        "Deployment" => "deployments",
        "HorizontalPodAutoscaler" => "horizontalpodautoscalers",
        _ => bail!("a fleet has no {kind}"),
    };
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    Ok((
        Api::namespaced_with(client.clone(), namespace, &resource),
        name.to_owned(),
    ))
}

/// FNV-1a of the object's JSON, whose keys are sorted: the same text for ever.
fn digest(object: &Value) -> String {
    let hash = object
        .to_string()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
    format!("{hash:016x}")
}

/// Whether everything that `wanted` says also holds in `live`, which may say more.
fn is_contained(wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => wanted
            .iter()
            .all(|(key, value)| live.get(key).is_some_and(|live| is_contained(value, live))),
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() == live.len() && wanted.iter().zip(live).all(|(wanted, live)| is_contained(wanted, live))
        }
        (Value::Number(wanted), Value::Number(live)) => wanted.as_f64() == live.as_f64(),
        _ => wanted == live,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_filled_in_by_the_api_are_no_change_by_users() {
        let wanted = json!({"spec": {"template": {"containers": [{"name": "a"}]}, "n": 1}});
        let live =
            json!({"spec": {"template": {"containers": [{"name": "a", "image": "x"}]}, "n": 1, "paused": false}});
        assert!(is_contained(&wanted, &live));
    }

    #[test]
    fn an_edited_field_is_a_change_by_users() {
        let wanted = json!({"spec": {"maxReplicas": 4}});
        assert!(!is_contained(&wanted, &json!({"spec": {"maxReplicas": 7}})));
        assert!(!is_contained(&wanted, &json!({"spec": {}})));
    }

    #[test]
    fn the_digest_of_the_same_object_is_the_same() {
        assert_eq!(digest(&json!({"a": 1, "b": 2})), digest(&json!({"b": 2, "a": 1})));
        assert_ne!(digest(&json!({"a": 1})), digest(&json!({"a": 2})));
    }
}
