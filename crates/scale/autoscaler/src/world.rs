//! What is watched: local copies of the objects a decision needs.

use crate::subject::Subject;
use api::InferencePool;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, discovery};
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
    /// What asks for replicas. Untyped, so that one object of a wrong form
    /// does not hide all others.
    pub(crate) subjects: Vec<(Subject, Store<DynamicObject>)>,
    pub(crate) deployments: Store<Deployment>,
    pub(crate) stateful_sets: Store<StatefulSet>,
    pub(crate) pods: Store<Pod>,
    pub(crate) pools: Store<InferencePool>,
    pub(crate) nodes: Store<Node>,
    pub(crate) namespaces: Store<Namespace>,
}

impl Subject {
    /// The resource, for untyped access.
    pub(crate) fn resource(self) -> ApiResource {
        let plural = match self {
            Self::VariantAutoscaling => "variantautoscalings",
            Self::HorizontalPodAutoscaler => "horizontalpodautoscalers",
            Self::ScaledObject => "scaledobjects",
        };
        ApiResource::from_gvk_with_plural(&self.gvk(), plural)
    }
}

impl World {
    /// Starts watching; `changed` is notified when an object that asks for
    /// replicas changes.
    pub(crate) fn watch(
        client: &Client,
        namespace: Option<&str>,
        changed: &Arc<Notify>,
        stop: &CancellationToken,
    ) -> Self {
        let untyped = |subject: Subject| -> Api<DynamicObject> {
            let resource = subject.resource();
            match namespace {
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
                None => Api::all_with(client.clone(), &resource),
            }
        };
        let va = Subject::VariantAutoscaling;
        let mut subjects = vec![(
            va,
            keep(
                untyped(va),
                watcher::Config::default(),
                va.resource(),
                Some(changed.clone()),
                stop,
            ),
        )];
        for subject in [Subject::HorizontalPodAutoscaler, Subject::ScaledObject] {
            subjects.push((
                subject,
                keep_if_served(client, subject, untyped(subject), changed, stop),
            ));
        }
        let all = watcher::Config::default;
        let namespaces = match namespace {
            // Who looks after one namespace was told to: its annotations do not count.
            Some(_) => reflector::store::Writer::new(()).as_reader(),
            None => keep(Api::<Namespace>::all(client.clone()), all(), (), None, stop),
        };
        Self {
            subjects,
            deployments: keep(scoped(client, namespace), all(), (), None, stop),
            stateful_sets: keep(scoped(client, namespace), all(), (), None, stop),
            pods: keep(scoped(client, namespace), all(), (), None, stop),
            pools: keep(scoped(client, namespace), all(), (), None, stop),
            nodes: keep(Api::<Node>::all(client.clone()), all(), (), None, stop),
            namespaces,
        }
    }

    /// Waits until the objects without which every decision would be wrong are
    /// there. The others may never come (no such kind, no right to read them),
    /// and decisions do without.
    pub(crate) async fn ready(&self) {
        let needed = async {
            if let Some((_, variants)) = self.subjects.first() {
                let _ = variants.wait_until_ready().await;
            }
            let _ = self.deployments.wait_until_ready().await;
            let _ = self.pods.wait_until_ready().await;
        };
        needed.await;
        let wished_for = async {
            let _ = self.stateful_sets.wait_until_ready().await;
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
pub(crate) fn keep<K>(
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
    tokio::spawn(follow(api, config, writer, what, changed, stop.clone()));
    store
}

/// A kind that is not served is looked for again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Keeps a local copy, once the API serves the kind: many clusters never do.
fn keep_if_served(
    client: &Client,
    subject: Subject,
    api: Api<DynamicObject>,
    changed: &Arc<Notify>,
    stop: &CancellationToken,
) -> Store<DynamicObject> {
    let resource = subject.resource();
    let what = resource.plural.clone();
    let writer = reflector::store::Writer::new(resource);
    let store = writer.as_reader();
    let (client, changed, stop) = (client.clone(), changed.clone(), stop.clone());
    tokio::spawn(async move {
        while discovery::pinned_kind(&client, &subject.gvk()).await.is_err() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
        follow(api, watcher::Config::default(), writer, what, Some(changed), stop).await;
    });
    store
}

async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    writer: reflector::store::Writer<K>,
    what: String,
    changed: Option<Arc<Notify>>,
    stop: CancellationToken,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Debug + Send + Sync + Unpin,
{
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
}
