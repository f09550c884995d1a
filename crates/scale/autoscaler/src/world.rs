//! What is watched: local copies of the objects a decision needs.

use crate::subject::Subject;
use crate::target::TargetKey;
use api::InferencePool;
use api::names::{METRICS_PATH_ANNOTATION, METRICS_PORT_ANNOTATION, SLOTS_ANNOTATION};
use futures::StreamExt;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Namespace, Node, Pod, PodSpec, PodStatus};
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, discovery};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

mod again;

use again::Again;

/// The local copies.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// What asks for replicas. Untyped, so that one object of a wrong form
    /// does not hide all others.
    pub(crate) subjects: Vec<(Subject, Store<DynamicObject>)>,
    pub(crate) deployments: Store<Deployment>,
    pub(crate) deployments_watch: Health,
    pub(crate) stateful_sets: Store<StatefulSet>,
    pub(crate) stateful_sets_watch: Health,
    pub(crate) pods: Store<Pod>,
    pub(crate) pods_watch: Health,
    /// Whether `pods` are those of all namespaces.
    pub(crate) all_pods: bool,
    pub(crate) pools: Store<InferencePool>,
    /// Those of endpoint pickers among them; none where nobody looks for them.
    pub(crate) services: Store<Service>,
    pub(crate) nodes: Store<Node>,
    pub(crate) nodes_watch: Health,
    pub(crate) namespaces: Store<Namespace>,
}

/// How a watch is doing; cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health(Arc<Mutex<Watched>>);

/// What a watch has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    /// Whether everything was listed once.
    pub(crate) listed: bool,
    /// Counts up with every change of the copy.
    pub(crate) changes: u64,
    /// Errors since it last worked.
    pub(crate) errors_in_a_row: u32,
    /// Counts up with every error.
    pub(crate) errors: u64,
    /// The last of them.
    pub(crate) error: String,
    /// Since when it cannot be begun, and when that was last tried.
    pub(crate) failing: Option<(Instant, Instant)>,
}

impl Health {
    pub(crate) fn look(&self) -> Watched {
        self.0.lock().clone()
    }

    pub(crate) fn note<K>(&self, event: &Result<watcher::Event<K>, watcher::Error>) {
        let mut watched = self.0.lock();
        match event {
            // What is listed counts only when all of it is.
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
            Ok(event) => {
                watched.listed |= matches!(event, watcher::Event::InitDone);
                watched.changes += 1;
                watched.errors_in_a_row = 0;
                watched.failing = None;
            }
            Err(error) => {
                watched.errors_in_a_row = watched.errors_in_a_row.saturating_add(1);
                watched.errors += 1;
                let now = Instant::now();
                // What breaks had worked until then.
                let worked = matches!(error, watcher::Error::WatchFailed(_) | watcher::Error::WatchError(_));
                let since = watched.failing.filter(|_| !worked).map_or(now, |(since, _)| since);
                watched.failing = Some((since, now));
                watched.error = error.to_string().chars().take(LONGEST_ERROR).collect();
            }
        }
    }
}

/// A watch that fails for this long makes what it told old.
const OLD: Duration = Duration::from_secs(20);
/// One that has not failed for this long works, though it may have nothing to tell.
const WORKS: Duration = Duration::from_secs(15);

impl Watched {
    /// For how long it has not told what `there` is, if that is too long, as a sentence.
    fn out_of_date(&self, there: &str, now: Instant) -> Option<String> {
        let (since, last) = self.failing?;
        let failed_for = now.duration_since(since);
        let fails = failed_for >= OLD && now.duration_since(last) < WORKS;
        fails.then(|| {
            let seconds = failed_for.as_secs();
            format!(
                "{there} cannot be watched for {seconds} s now, and may be others by now: {}",
                self.error
            )
        })
    }
}

/// Time for what decisions need to be listed.
const NEEDED_WITHIN: Duration = Duration::from_secs(10);
/// Time for what they are better with.
const WISHED_FOR_WITHIN: Duration = Duration::from_secs(1);

/// Longest error that is repeated, in characters.
const LONGEST_ERROR: usize = 240;

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
        finds_pickers: bool,
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
        let subjects = [
            Subject::VariantAutoscaling,
            Subject::HorizontalPodAutoscaler,
            Subject::ScaledObject,
        ];
        let subjects = subjects.map(|subject| {
            let store = keep_if_served(client, subject, untyped(subject), changed, stop);
            (subject, store)
        });
        let all = watcher::Config::default;
        let namespaces = match namespace {
            // Who looks after one namespace was told to: its annotations do not count.
            Some(_) => reflector::store::Writer::new(()).as_reader(),
            None => keep(Api::<Namespace>::all(client.clone()), all(), (), None, stop),
        };
        let (pods_watch, nodes_watch) = (Health::default(), Health::default());
        let (deployments_watch, stateful_sets_watch) = (Health::default(), Health::default());
        let nodes = Api::<Node>::all(client.clone());
        Self {
            subjects: subjects.to_vec(),
            deployments: keep_slim(scoped(client, namespace), &deployments_watch, slim, stop),
            deployments_watch,
            stateful_sets: keep_slim(scoped(client, namespace), &stateful_sets_watch, slim, stop),
            stateful_sets_watch,
            pods: keep_slim(scoped(client, namespace), &pods_watch, slim_pod, stop),
            pods_watch,
            all_pods: namespace.is_none(),
            pools: keep(scoped(client, namespace), all(), (), None, stop),
            services: if finds_pickers {
                keep_slim(scoped(client, namespace), &Health::default(), slim_service, stop)
            } else {
                reflector::store::Writer::new(()).as_reader()
            },
            nodes: keep_slim(nodes, &nodes_watch, slim, stop),
            nodes_watch,
            namespaces,
        }
    }

    /// Why what is known of Deployments is old, if it is.
    pub(crate) fn old_deployments(&self) -> Option<String> {
        self.deployments_watch.look().out_of_date("Deployments", Instant::now())
    }

    /// Why what is known of StatefulSets is old, if it is.
    pub(crate) fn old_stateful_sets(&self) -> Option<String> {
        let watched = self.stateful_sets_watch.look();
        watched.out_of_date("StatefulSets", Instant::now())
    }

    /// Why nothing can be said of a target of a watched kind: it, or the Pods
    /// it may have, were never listed.
    pub(crate) fn blind_to(&self, key: &TargetKey) -> Option<String> {
        let never = |plural: &str, health: &Health| {
            let watched = health.look();
            let why = if watched.error.is_empty() {
                "no answer yet"
            } else {
                &watched.error
            };
            (!watched.listed).then(|| {
                let named = key.for_people();
                format!("{plural} could not be listed, so that nothing is known of {named}: {why}")
            })
        };
        let of_kind = match key.watched() {
            Some("deployments") => never("Deployments", &self.deployments_watch),
            Some(_) => never("StatefulSets", &self.stateful_sets_watch),
            None => None,
        };
        of_kind.or_else(|| never("Pods", &self.pods_watch))
    }

    /// Why what is known of Pods is old, if it is.
    pub(crate) fn old_pods(&self) -> Option<String> {
        self.pods_watch.look().out_of_date("Pods", Instant::now())
    }

    /// Waits until the objects without which decisions would be wrong are
    /// there. Some may never come (no such kind, no right to read them): then
    /// what can be said is said without them, and why no more can.
    pub(crate) async fn ready(&self, client: &Client) {
        let needed = async {
            for (subject, store) in &self.subjects {
                if *subject == Subject::VariantAutoscaling && serves(client, *subject).await {
                    let _ = store.wait_until_ready().await;
                }
            }
            let _ = self.deployments.wait_until_ready().await;
            let _ = self.pods.wait_until_ready().await;
            if self.all_pods {
                let _ = self.namespaces.wait_until_ready().await;
            }
        };
        if tokio::time::timeout(NEEDED_WITHIN, needed).await.is_err() {
            tracing::warn!(
                "not everything could be listed; beginning without it (the conditions of variants say what)"
            );
        }
        let wished_for = async {
            let _ = self.stateful_sets.wait_until_ready().await;
            let _ = self.pools.wait_until_ready().await;
            let _ = self.nodes.wait_until_ready().await;
        };
        let _ = tokio::time::timeout(WISHED_FOR_WITHIN, wished_for).await;
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
    let watched = How {
        what,
        changed,
        health: Health::default(),
        slim,
    };
    tokio::spawn(follow(api, config, writer, watched, stop.clone()));
    store
}

/// Keeps a local copy of all objects, each as `slim` leaves it, and says how
/// the watch is doing.
pub(crate) fn keep_slim<K>(api: Api<K>, health: &Health, slim: fn(&mut K), stop: &CancellationToken) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let writer = reflector::store::Writer::new(());
    let store = writer.as_reader();
    let watched = How {
        what: K::plural(&()).into_owned(),
        changed: None,
        health: health.clone(),
        slim,
    };
    tokio::spawn(follow(api, watcher::Config::default(), writer, watched, stop.clone()));
    store
}

/// Nobody here reads managed fields, and they are half of many objects.
pub(crate) fn slim<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}

/// Leaves of a Pod what decisions need: there may be tens of thousands, and
/// most of each is volumes, environment and probes.
pub(crate) fn slim_pod(pod: &mut Pod) {
    slim(pod);
    if let Some(annotations) = &mut pod.metadata.annotations {
        let read = [SLOTS_ANNOTATION, METRICS_PORT_ANNOTATION, METRICS_PATH_ANNOTATION];
        annotations.retain(|key, _| read.contains(&key.as_str()));
    }
    let bare = |container: &Container| Container {
        ports: container.ports.clone(),
        resources: container.resources.clone(),
        ..Container::default()
    };
    if let Some(spec) = &mut pod.spec {
        *spec = PodSpec {
            affinity: spec.affinity.take(),
            containers: spec.containers.iter().map(bare).collect(),
            init_containers: spec.init_containers.as_ref().map(|all| all.iter().map(bare).collect()),
            node_name: spec.node_name.take(),
            node_selector: spec.node_selector.take(),
            ..PodSpec::default()
        };
    }
    if let Some(status) = &mut pod.status {
        let waits = |status: &ContainerStatus| ContainerStatus {
            state: status.state.clone(),
            restart_count: status.restart_count,
            last_state: status.last_state.as_ref().filter(|_| !status.ready).cloned(),
            ..ContainerStatus::default()
        };
        *status = PodStatus {
            conditions: status.conditions.take(),
            container_statuses: status
                .container_statuses
                .as_ref()
                .map(|all| all.iter().map(waits).collect()),
            phase: status.phase.take(),
            pod_ip: status.pod_ip.take(),
            ..PodStatus::default()
        };
    }
}

/// Leaves of a Service what finds the Pods of an endpoint picker.
fn slim_service(service: &mut Service) {
    slim(service);
    service.metadata.annotations = None;
    service.metadata.labels = None;
    service.status = None;
    if let Some(spec) = &mut service.spec {
        *spec = ServiceSpec {
            ports: spec.ports.take(),
            selector: spec.selector.take(),
            type_: spec.type_.take(),
            ..ServiceSpec::default()
        };
    }
}

/// How something is watched.
struct How<K> {
    what: String,
    changed: Option<Arc<Notify>>,
    health: Health,
    slim: fn(&mut K),
}

impl Subject {
    /// A kind that is not served is looked for again after this: ours is about
    /// to be installed, others mostly never are.
    const fn look_again(self) -> Duration {
        match self {
            Self::VariantAutoscaling => Duration::from_secs(2),
            Self::HorizontalPodAutoscaler | Self::ScaledObject => Duration::from_secs(30),
        }
    }
}

/// Whether the API has a kind. One that does not answer is taken to.
async fn serves(client: &Client, subject: Subject) -> bool {
    match discovery::pinned_kind(client, &subject.gvk()).await {
        Err(kube::Error::Api(status)) => status.code != 404,
        Err(kube::Error::Discovery(_)) => false,
        _ => true,
    }
}

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
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(subject.look_again()) => {}
            }
        }
        let watched = How {
            what,
            changed: Some(changed),
            health: Health::default(),
            slim,
        };
        follow(api, watcher::Config::default(), writer, watched, stop).await;
    });
    store
}

async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    writer: reflector::store::Writer<K>,
    how: How<K>,
    stop: CancellationToken,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Debug + Send + Sync + Unpin,
{
    let How {
        what,
        changed,
        health,
        slim,
    } = how;
    let events = watcher(api, config)
        .backoff(Again::default())
        .modify(slim)
        .reflect(writer);
    tokio::pin!(events);
    let mut broken = false;
    loop {
        let event = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            event = events.next() => event,
        };
        if let Some(event) = &event {
            health.note(event);
        }
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
