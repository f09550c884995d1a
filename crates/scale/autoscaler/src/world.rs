//! What is watched: local copies of the objects a decision needs.

use api::InferencePool;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The local copies.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// Untyped, so that one object of a wrong form does not hide all others.
    pub(crate) variants: Store<DynamicObject>,
    pub(crate) deployments: Store<Deployment>,
    pub(crate) pods: Store<Pod>,
    pub(crate) pools: Store<InferencePool>,
    pub(crate) nodes: Store<Node>,
    pub(crate) namespaces: Store<Namespace>,
}

/// The resource of VariantAutoscalings, for untyped access.
pub(crate) fn variant_resource() -> ApiResource {
    let gvk = GroupVersionKind::gvk("llmd.ai", "v1alpha1", "VariantAutoscaling");
    ApiResource::from_gvk_with_plural(&gvk, "variantautoscalings")
}

impl World {
    /// Starts watching; `changed` is notified when a VariantAutoscaling is.
    pub(crate) fn watch(
        client: &Client,
        namespace: Option<&str>,
        changed: Arc<Notify>,
        stop: &CancellationToken,
    ) -> Self {
        let resource = variant_resource();
        let variants: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let all = watcher::Config::default;
        let only_ours = match namespace {
            Some(namespace) => all().fields(&format!("metadata.name={namespace}")),
            None => all(),
        };
        Self {
            variants: keep(variants, all(), resource, Some(changed), stop),
            deployments: keep(scoped(client, namespace), all(), (), None, stop),
            pods: keep(scoped(client, namespace), all(), (), None, stop),
            pools: keep(scoped(client, namespace), all(), (), None, stop),
            nodes: keep(Api::<Node>::all(client.clone()), all(), (), None, stop),
            namespaces: keep(Api::<Namespace>::all(client.clone()), only_ours, (), None, stop),
        }
    }

    /// Waits until the objects without which every decision would be wrong are
    /// there. Pools, nodes and namespaces may never come (no such kind, no
    /// right to read them), and decisions do without.
    pub(crate) async fn ready(&self) {
        let needed = async {
            let _ = self.variants.wait_until_ready().await;
            let _ = self.deployments.wait_until_ready().await;
            let _ = self.pods.wait_until_ready().await;
        };
        needed.await;
        let wished_for = async {
            let _ = self.pools.wait_until_ready().await;
            let _ = self.nodes.wait_until_ready().await;
            let _ = self.namespaces.wait_until_ready().await;
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), wished_for).await;
    }
}

fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Keeps a local copy of everything `api` lists, for as long as it lives.
fn keep<K>(
    api: Api<K>,
    config: watcher::Config,
    kind: K::DynamicType,
    changed: Option<Arc<Notify>>,
    stop: &CancellationToken,
) -> Store<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Debug + Send + Sync + Unpin,
{
    let what = K::plural(&kind).into_owned();
    let writer = reflector::store::Writer::new(kind);
    let store = writer.as_reader();
    let stop = stop.clone();
    tokio::spawn(async move {
        let events = watcher(api, config)
            .default_backoff()
            .modify(|object| {
                // Nobody here reads them, and they are half of many objects.
                object.meta_mut().managed_fields = None;
            })
            .reflect(writer);
        tokio::pin!(events);
        let mut broken = false;
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = events.next() => event,
            };
            match event {
                Some(Ok(_)) => {
                    broken = false;
                    if let Some(changed) = &changed {
                        changed.notify_one();
                    }
                }
                Some(Err(error)) if !broken => {
                    broken = true;
                    tracing::warn!(what, %error, "cannot watch; trying again");
                }
                Some(Err(error)) => tracing::debug!(what, %error, "still cannot watch"),
                None => return,
            }
        }
    });
    store
}
