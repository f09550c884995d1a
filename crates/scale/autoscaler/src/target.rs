//! What is scaled: a Deployment, a StatefulSet, or anything else with a scale
//! subresource.

use crate::{accelerator, engine, inventory, selector};
use api::TargetRef;
use api::names::SLOTS_ANNOTATION;
use capacity::saturation::engine_args::EngineArgs;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::Api;
use kube::api::{DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::core::Selector;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// A target as it is now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    /// Which object it is: another of the same name is another target.
    pub(crate) uid: Option<String>,
    /// Replicas it is asked for.
    pub(crate) wanted: u32,
    /// Replicas it has.
    pub(crate) replicas: u32,
    pub(crate) selector: Selector,
    /// Changes with every change of the spec, where that is known.
    pub(crate) generation: Option<i64>,
    /// Most requests per replica, as its template says.
    pub(crate) slots: Option<f64>,
    /// Accelerator its template asks for.
    pub(crate) gpu: Option<String>,
    /// GPUs of one Pod of its template, if it has one.
    pub(crate) gpus: Option<u64>,
    /// What its template tells a vLLM server.
    pub(crate) engine: Option<EngineArgs>,
    /// Labels of its template, if it has one.
    pub(crate) labels: Option<Arc<BTreeMap<String, String>>>,
}

/// Why there is no target to decide for.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum NoTarget {
    /// It is not there, or is nothing that can be scaled.
    #[error("{0}")]
    NotFound(String),
    /// Whether it is there is not known.
    #[error("{0}")]
    NotSeen(String),
}

/// An object at one moment: uid and generation.
pub(crate) type Seen = (Option<String>, Option<i64>);

impl Target {
    pub(crate) fn seen(&self) -> Seen {
        (self.uid.clone(), self.generation)
    }
}

/// Namespace and reference: what a target is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TargetKey {
    pub(crate) namespace: String,
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
}

impl TargetKey {
    pub(crate) fn new(namespace: &str, target: &TargetRef) -> Self {
        let api_version = target.api_version.clone().filter(|version| !version.is_empty());
        Self {
            namespace: namespace.to_owned(),
            api_version: api_version.unwrap_or_else(|| "apps/v1".to_owned()),
            kind: target.kind.clone(),
            name: target.name.clone(),
        }
    }

    /// What the watched kinds of targets are called in paths; absent for a
    /// kind that is not watched.
    pub(crate) fn watched(&self) -> Option<&'static str> {
        match (self.api_version.as_str(), self.kind.as_str()) {
            ("apps/v1", "Deployment") => Some("deployments"),
            ("apps/v1", "StatefulSet") => Some("statefulsets"),
            _ => None,
        }
    }

    /// Whether a Pod that the target's selector takes is the target's own, by
    /// its owner: two targets may have overlapping selectors.
    pub(crate) fn owns(&self, target: &Target, pod: &Pod) -> bool {
        let owners = pod.metadata.owner_references.iter().flatten();
        let Some(owner) = owners.into_iter().find(|owner| owner.controller == Some(true)) else {
            return true;
        };
        match self.watched() {
            Some("deployments") => {
                // A Deployment's ReplicaSet has its name and a hash.
                let made_for = owner.name.rsplit_once('-').map(|(name, _)| name);
                owner.kind == "ReplicaSet" && made_for == Some(self.name.as_str())
            }
            Some(_) => {
                let same = target.uid.as_ref().is_none_or(|uid| *uid == owner.uid);
                owner.kind == self.kind && owner.name == self.name && same
            }
            None => true,
        }
    }

    /// `Deployment shop/llama`.
    pub(crate) fn for_people(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }

    pub(crate) fn kind_of(&self) -> GroupVersionKind {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", &self.api_version));
        GroupVersionKind::gvk(group, version, &self.kind)
    }
}

/// Reads a watched Deployment.
///
/// # Errors
/// A sentence, when its selector cannot be used.
pub(crate) fn of_deployment(deployment: &Deployment) -> Result<Target, String> {
    let spec = deployment.spec.as_ref();
    let has = deployment.status.as_ref().and_then(|status| status.replicas);
    of_workload(
        &deployment.metadata,
        spec.map(|spec| &spec.selector),
        spec.map(|spec| &spec.template),
        spec.and_then(|spec| spec.replicas),
        has,
    )
}

/// Reads a watched StatefulSet.
///
/// # Errors
/// A sentence, when its selector cannot be used.
pub(crate) fn of_stateful_set(set: &StatefulSet) -> Result<Target, String> {
    let spec = set.spec.as_ref();
    of_workload(
        &set.metadata,
        spec.map(|spec| &spec.selector),
        spec.map(|spec| &spec.template),
        spec.and_then(|spec| spec.replicas),
        set.status.as_ref().map(|status| status.replicas),
    )
}

fn of_workload(
    metadata: &ObjectMeta,
    selector: Option<&LabelSelector>,
    template: Option<&PodTemplateSpec>,
    wanted: Option<i32>,
    has: Option<i32>,
) -> Result<Target, String> {
    let selector = selector.cloned().unwrap_or_default();
    let selector = Selector::try_from(selector).map_err(|error| format!("its selector cannot be read: {error}"))?;
    if selector.selects_all() {
        return Err("its selector is empty and would match every Pod".to_owned());
    }
    let slots = template
        .and_then(|template| template.metadata.as_ref()?.annotations.as_ref()?.get(SLOTS_ANNOTATION))
        .and_then(|slots| slots.parse::<u32>().ok())
        .filter(|slots| *slots > 0);
    Ok(Target {
        uid: metadata.uid.clone(),
        wanted: count(wanted.unwrap_or(1)),
        replicas: count(has.unwrap_or(0)),
        selector,
        generation: metadata.generation,
        slots: slots.map(f64::from),
        gpu: template.and_then(|template| accelerator::of_pod(template.spec.as_ref()?)),
        gpus: template.and_then(|template| Some(inventory::gpus_of(template.spec.as_ref()?))),
        engine: template.and_then(|template| engine::of_pod(template.spec.as_ref()?)),
        labels: template.and_then(|template| Some(Arc::new(template.metadata.as_ref()?.labels.clone()?))),
    })
}

/// Reads a scale subresource.
///
/// # Errors
/// A sentence, when it names no selector that can be used.
pub(crate) fn of_scale(scale: &Scale) -> Result<Target, String> {
    let selector = scale
        .status
        .as_ref()
        .and_then(|status| status.selector.as_deref())
        .unwrap_or_default();
    let selector = selector::parse(selector)?;
    if selector.selects_all() {
        return Err("its scale subresource names no selector".to_owned());
    }
    Ok(Target {
        uid: scale.metadata.uid.clone(),
        wanted: wanted_of(scale),
        replicas: count(scale.status.as_ref().map_or(0, |status| status.replicas)),
        selector,
        generation: None,
        slots: None,
        gpu: None,
        gpus: None,
        engine: None,
        labels: None,
    })
}

fn wanted_of(scale: &Scale) -> u32 {
    // The API leaves a zero out.
    count(scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0))
}

fn count(replicas: i32) -> u32 {
    u32::try_from(replicas).unwrap_or(0)
}

/// Why replicas were not set.
#[derive(Debug, Error)]
pub(crate) enum ScaleError {
    #[error("{0}")]
    Kind(String),
    #[error("{0}")]
    Api(#[from] kube::Error),
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    #[error("it was changed by somebody else at the same time, three times in a row")]
    Contended,
    #[error("it was deleted and made anew since; the next decision is about the new one")]
    MadeAnew,
    #[error("this controller leads no more; the one that does decides anew")]
    Deposed,
}

/// What came of setting replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scaled {
    /// They are set.
    Done,
    /// Somebody set them to something else since the decision was taken.
    Overtaken(u32),
}

/// An answer that is later than this is none.
pub(crate) const DEADLINE: Duration = Duration::from_secs(3);

/// Sets replicas from `from` to `to`, and only if `from` is still what is asked
/// for, on the object that was decided on, and while this process `may`: it was
/// asked long ago, if the API is slow.
///
/// # Errors
/// The API's refusal, its silence, another object of that name, too many
/// writers at once, or the loss of leadership.
pub(crate) async fn set_replicas(
    api: &Api<DynamicObject>,
    name: &str,
    uid: Option<&str>,
    from: u32,
    to: u32,
    may: impl Fn() -> bool,
) -> Result<Scaled, ScaleError> {
    tokio::time::timeout(DEADLINE, set_unhurried(api, name, uid, from, to, may))
        .await
        .unwrap_or(Err(ScaleError::Deadline(DEADLINE)))
}

async fn set_unhurried(
    api: &Api<DynamicObject>,
    name: &str,
    uid: Option<&str>,
    from: u32,
    to: u32,
    may: impl Fn() -> bool,
) -> Result<Scaled, ScaleError> {
    for _ in 0..3 {
        let scale = api.get_scale(name).await?;
        if let (Some(now), Some(then)) = (scale.metadata.uid.as_deref(), uid)
            && now != then
        {
            return Err(ScaleError::MadeAnew);
        }
        let wanted = wanted_of(&scale);
        if wanted == to {
            return Ok(Scaled::Done);
        }
        if wanted != from {
            return Ok(Scaled::Overtaken(wanted));
        }
        if !may() {
            return Err(ScaleError::Deposed);
        }
        let patch = json!({
            "metadata": {"resourceVersion": scale.metadata.resource_version},
            "spec": {"replicas": to},
        });
        match api
            .patch_scale(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
        {
            Ok(_) => return Ok(Scaled::Done),
            // Mostly a status update that came between; read again and see.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ScaleError::Contended)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: &str, name: &str) -> TargetKey {
        let target = TargetRef {
            api_version: None,
            kind: kind.to_owned(),
            name: name.to_owned(),
        };
        TargetKey::new("n", &target)
    }

    #[test]
    fn a_pod_belongs_to_the_target_that_controls_it() {
        let set: StatefulSet = serde_json::from_value(json!({
            "metadata": {"name": "llama", "uid": "u1", "generation": 4},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "m"}}, "serviceName": "s",
                "template": {"metadata": {"annotations": {"tidegate.dev/slots": "8"}},
                    "spec": {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L40S-48GB"}, "containers": []}}},
            "status": {"replicas": 2},
        }))
        .unwrap();
        let target = of_stateful_set(&set).unwrap();
        assert_eq!((target.wanted, target.replicas, target.slots), (3, 2, Some(8.0)));
        assert_eq!(
            (target.gpu.as_deref(), target.seen()),
            (Some("L40S"), (Some("u1".to_owned()), Some(4)))
        );

        let pod = |kind: &str, name: &str, uid: &str| -> Pod {
            let owner = json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true}]);
            serde_json::from_value(json!({"metadata": {"name": "p", "ownerReferences": owner}})).unwrap()
        };
        let cases = [
            ("StatefulSet", pod("StatefulSet", "llama", "u1"), true),
            ("StatefulSet", pod("StatefulSet", "llama", "u0"), false),
            ("StatefulSet", pod("ReplicaSet", "llama-5f7", "u1"), false),
            ("Deployment", pod("ReplicaSet", "llama-5f7", "r"), true),
            ("Deployment", pod("ReplicaSet", "llama-h100-5f7", "r"), false),
            ("Deployment", pod("StatefulSet", "llama", "u1"), false),
            ("LeaderWorkerSet", pod("StatefulSet", "llama-0", "x"), true),
            ("Deployment", Pod::default(), true),
        ];
        for (kind, pod, ours) in cases {
            assert_eq!(key(kind, "llama").owns(&target, &pod), ours, "{kind}: {pod:?}");
        }
    }
}
