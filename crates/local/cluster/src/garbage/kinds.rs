//! The kinds that the garbage collector watches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ApiResource, DynamicObject};
use kube::core::{GroupVersionKind, PartialObjectMeta};
use kube::discovery::{Scope, oneshot};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use tokio_util::task::AbortOnDropHandle;

use super::Collector;
use super::graph::KindId;
use crate::call::Error;

/// An object of which only the metadata is read.
pub(crate) type Meta = PartialObjectMeta<DynamicObject>;

/// A kind and where its objects are.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) resource: ApiResource,
    pub(crate) namespaced: bool,
}

/// Kinds by number; a number is never given twice.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    all: BTreeMap<KindId, Kind>,
    next: KindId,
}

/// The built-in kinds that own others or are owned: group, version, kind, plural, in a namespace.
const BUILT_IN: [(&str, &str, &str, &str, bool); 18] = [
    ("", "v1", "Pod", "pods", true),
    ("", "v1", "Service", "services", true),
    ("", "v1", "ConfigMap", "configmaps", true),
    ("", "v1", "Secret", "secrets", true),
    ("", "v1", "ServiceAccount", "serviceaccounts", true),
    ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", true),
    ("", "v1", "Node", "nodes", false),
    ("apps", "v1", "Deployment", "deployments", true),
    ("apps", "v1", "ReplicaSet", "replicasets", true),
    ("apps", "v1", "StatefulSet", "statefulsets", true),
    ("apps", "v1", "DaemonSet", "daemonsets", true),
    ("apps", "v1", "ControllerRevision", "controllerrevisions", true),
    ("batch", "v1", "Job", "jobs", true),
    ("batch", "v1", "CronJob", "cronjobs", true),
    (
        "autoscaling",
        "v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        true,
    ),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", true),
    ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", true),
    ("coordination.k8s.io", "v1", "Lease", "leases", true),
];

impl Kinds {
    fn add(&mut self, kind: Kind) -> KindId {
        let id = self.next;
        self.next += 1;
        self.all.insert(id, kind);
        id
    }

    /// Adds the built-in kinds and returns their numbers.
    pub(crate) fn add_built_in(&mut self) -> Vec<KindId> {
        let kinds = BUILT_IN.map(|(group, version, kind, plural, namespaced)| {
            let gvk = GroupVersionKind::gvk(group, version, kind);
            Kind {
                resource: ApiResource::from_gvk_with_plural(&gvk, plural),
                namespaced,
            }
        });
        kinds.into_iter().map(|kind| self.add(kind)).collect()
    }

    /// The kind of that number.
    pub(crate) fn get(&self, id: KindId) -> Option<Kind> {
        self.all.get(&id).cloned()
    }

    /// The kind an owner reference names; its version may be another that is served.
    pub(crate) fn find(&self, api_version: &str, kind: &str) -> Option<Kind> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        self.all
            .values()
            .find(|k| k.resource.kind == kind && k.resource.group == group)
            .cloned()
    }
}

/// The kind of an owner that is not among those watched; `None` when the API does not serve it.
pub(crate) async fn discover(client: &Client, owner: &OwnerReference) -> Result<Option<Kind>, Error> {
    let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
    let gvk = GroupVersionKind::gvk(group, version, &owner.kind);
    match oneshot::pinned_kind(client, &gvk).await {
        Ok((resource, capabilities)) => Ok(Some(Kind {
            resource,
            namespaced: capabilities.scope == Scope::Namespaced,
        })),
        Err(kube::Error::Discovery(_)) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(source) => Err(Error::Api {
            what: format!("discover {}", owner.kind),
            source: Box::new(source),
        }),
    }
}

/// Watches definitions of custom resources, and the objects of each while it stands.
pub(crate) async fn watch_custom(collector: Arc<Collector>) {
    let api = Api::<CustomResourceDefinition>::all(collector.client.clone());
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
    let mut watched: BTreeMap<String, (KindId, AbortOnDropHandle<()>)> = BTreeMap::new();
    let mut failures = 0u32;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(definition) | Event::InitApply(definition)) => {
                failures = 0;
                let name = definition.name_any();
                if let (Some(kind), false) = (kind_of(&definition), watched.contains_key(&name)) {
                    let id = collector.kinds.lock().add(kind);
                    watched.insert(name, (id, collector.watch(id)));
                }
            }
            Ok(Event::Delete(definition)) => {
                if let Some((id, _)) = watched.remove(&definition.name_any()) {
                    let known = collector.graph.lock().of_kind(id);
                    known.iter().for_each(|uid| collector.gone(uid));
                    collector.kinds.lock().all.remove(&id);
                }
            }
            Ok(Event::Init | Event::InitDone) => failures = 0,
            Err(error) => {
                failures += 1;
                let pause = Duration::from_millis(50 << failures.min(10));
                tracing::debug!(%error, ?pause, "the watch of custom resources failed; trying again");
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// The kind that an established definition stands for.
fn kind_of(definition: &CustomResourceDefinition) -> Option<Kind> {
    let conditions = definition.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|c| c.type_ == "Established" && c.status == "True")?;
    let spec = &definition.spec;
    let version = spec
        .versions
        .iter()
        .find(|v| v.served && v.storage)
        .or_else(|| spec.versions.iter().find(|v| v.served))?;
    let gvk = GroupVersionKind::gvk(&spec.group, &version.name, &spec.names.kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, &spec.names.plural);
    Some(Kind {
        resource,
        namespaced: spec.scope == "Namespaced",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_found_by_group_and_kind() {
        let mut kinds = Kinds::default();
        assert_eq!(kinds.add_built_in().len(), BUILT_IN.len());
        assert_eq!(
            kinds.find("apps/v1", "ReplicaSet").unwrap().resource.plural,
            "replicasets"
        );
        assert!(!kinds.find("v1", "Node").unwrap().namespaced);
        assert!(kinds.find("v1", "ReplicaSet").is_none());
    }

    #[test]
    fn a_definition_counts_once_it_is_established() {
        let mut definition = api::crds().remove(0);
        assert!(kind_of(&definition).is_none());
        definition.status = serde_json::from_value(serde_json::json!({
            "conditions": [{"type": "Established", "status": "True"}],
        }))
        .unwrap();
        assert!(kind_of(&definition).unwrap().namespaced);
    }
}
