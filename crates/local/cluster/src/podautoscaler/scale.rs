//! Scale subresources of whatever kind.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference;
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, discovery};
use parking_lot::Mutex;

use crate::call::{Error, call};

/// A custom kind is looked up again after this: its definition may have changed.
const REMEMBER: Duration = Duration::from_secs(60);
/// Kinds remembered at the most.
const MOST_KINDS: usize = 256;

/// Which resource serves a kind, remembered.
#[derive(Default)]
pub(crate) struct Kinds {
    known: Mutex<BTreeMap<(String, String), (Instant, ApiResource)>>,
}

/// A target's scale.
pub(super) struct Scale {
    api: Api<DynamicObject>,
    name: String,
    /// `spec.replicas`.
    pub(super) replicas: u32,
    /// `status.replicas`.
    pub(super) status_replicas: u32,
    /// `status.selector`, as text.
    pub(super) selector: String,
}

/// What the API said, without what was asked of it.
pub(super) fn said(error: &Error) -> String {
    match error {
        Error::Api { source, .. } => match source.as_ref() {
            kube::Error::Api(status) => status.message.clone(),
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}

impl Kinds {
    /// The scale of a target.
    ///
    /// # Errors
    /// What the API said, as the real controller repeats it.
    pub(super) async fn scale(
        &self,
        client: &Client,
        namespace: &str,
        target: &CrossVersionObjectReference,
    ) -> Result<Scale, String> {
        let resource = self.resource(client, target).await?;
        let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource);
        let read = call(
            || format!("get the scale of {}", target.name),
            api.get_scale(&target.name),
        )
        .await;
        let scale = read.map_err(|error| said(&error))?;
        let count = |replicas: Option<i32>| u32::try_from(replicas.unwrap_or(0)).unwrap_or(0);
        let status = scale.status.unwrap_or_default();
        Ok(Scale {
            api,
            name: target.name.clone(),
            replicas: count(scale.spec.and_then(|spec| spec.replicas)),
            status_replicas: count(Some(status.replicas)),
            selector: status.selector.unwrap_or_default(),
        })
    }

    async fn resource(&self, client: &Client, target: &CrossVersionObjectReference) -> Result<ApiResource, String> {
        let version = target.api_version.as_deref().unwrap_or_default();
        match (version, target.kind.as_str()) {
            ("apps/v1", "Deployment") => return Ok(ApiResource::erase::<Deployment>(&())),
            ("apps/v1", "ReplicaSet") => return Ok(ApiResource::erase::<ReplicaSet>(&())),
            ("apps/v1", "StatefulSet") => return Ok(ApiResource::erase::<StatefulSet>(&())),
            _ => {}
        }
        let key = (version.to_owned(), target.kind.clone());
        if let Some((at, resource)) = self.known.lock().get(&key)
            && at.elapsed() < REMEMBER
        {
            return Ok(resource.clone());
        }
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let kind = GroupVersionKind::gvk(group, version, &target.kind);
        let look = discovery::pinned_kind(client, &kind);
        let (resource, _) = call(|| format!("look for the kind {}", target.kind), look)
            .await
            .map_err(|_| format!("no matches for kind \"{}\" in group \"{group}\"", target.kind))?;
        let mut known = self.known.lock();
        if known.len() >= MOST_KINDS {
            known.clear();
        }
        known.insert(key, (Instant::now(), resource.clone()));
        Ok(resource)
    }
}

impl Scale {
    /// Sets `spec.replicas`, whoever else set it meanwhile: Kubernetes tries
    /// again with the same number when the object changed under it.
    ///
    /// # Errors
    /// What the API said.
    pub(super) async fn set(&self, replicas: u32) -> Result<(), String> {
        let patch = serde_json::json!({"spec": {"replicas": replicas}});
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let written = self.api.patch_scale(&self.name, &params, &patch);
        let written = call(|| format!("set the scale of {}", self.name), written).await;
        written.map(drop).map_err(|error| said(&error))
    }
}
