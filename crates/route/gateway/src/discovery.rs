//! Where pools and endpoints come from.

use crate::fleet::Shared;
use crate::index::{Change, Index};
use api::InferencePool;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// A pool and the endpoints that take requests now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticPool {
    /// `namespace/name`.
    pub name: String,
    /// Model names clients may use.
    pub models: Vec<String>,
    /// Its ready endpoints.
    pub endpoints: Vec<StaticEndpoint>,
}

/// A server that takes requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticEndpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its Pod's name, for people.
    pub pod: String,
    /// Most requests it is sent at once; `None` takes [`Limits::default_slots`](crate::Limits::default_slots).
    pub slots: Option<u32>,
}

/// How the gateway learns of pools.
#[derive(Clone)]
pub enum Discovery {
    /// InferencePools and their Pods, watched at a Kubernetes API.
    Kube {
        /// The API's client.
        client: Client,
        /// One namespace only; `None` watches all.
        namespace: Option<String>,
    },
    /// Named once.
    Static(Vec<StaticPool>),
    /// Named by somebody in this process, anew whenever they change.
    Watched(watch::Receiver<Vec<StaticPool>>),
}

impl std::fmt::Debug for Discovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kube { namespace, .. } => f
                .debug_struct("Kube")
                .field("namespace", namespace)
                .finish_non_exhaustive(),
            Self::Static(pools) => f.debug_tuple("Static").field(pools).finish(),
            Self::Watched(pools) => f.debug_tuple("Watched").field(&*pools.borrow()).finish(),
        }
    }
}

/// Keeps the fleet up to date, for ever; tells `known` once it is known what exists.
pub(crate) async fn run(discovery: Discovery, shared: Arc<Shared>, known: oneshot::Sender<()>) {
    match discovery {
        Discovery::Static(pools) => {
            shared.set_pools(pools);
            // Nobody waits any more when the gateway is already stopping.
            let _ = known.send(());
            std::future::pending::<()>().await;
        }
        Discovery::Watched(mut pools) => {
            shared.set_pools(pools.borrow_and_update().clone());
            let _ = known.send(());
            while pools.changed().await.is_ok() {
                let current = pools.borrow_and_update().clone();
                shared.set_pools(current);
            }
            std::future::pending::<()>().await;
        }
        Discovery::Kube { client, namespace } => watch_kube(client, namespace.as_deref(), &shared, known).await,
    }
}

/// Pauses between attempts to watch: 100 ms, doubling to 3 s. An API that is
/// back must be noticed soon, and two watches are no burden to one that is not.
#[derive(Debug, Default)]
struct Again {
    failures: u32,
}

impl Iterator for Again {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = Duration::from_millis(100 << self.failures.min(5)).min(Duration::from_secs(3));
        self.failures += 1;
        Some(pause)
    }
}

impl Backoff for Again {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

async fn watch_kube(client: Client, namespace: Option<&str>, shared: &Shared, known: oneshot::Sender<()>) {
    let pools: Api<InferencePool> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let pods: Api<Pod> = match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let mut pools = std::pin::pin!(watcher(pools, watcher::Config::default()).backoff(Again::default()));
    let mut pods = std::pin::pin!(watcher(pods, watcher::Config::default()).backoff(Again::default()));
    let mut index = Index::default();
    let mut known = Some(known);
    let (mut pools_listed, mut pods_listed) = (false, false);
    loop {
        let change = tokio::select! {
            Some(event) = pools.next() => pool_change(event),
            Some(event) = pods.next() => pod_change(event),
            else => return,
        };
        let Some(change) = change else { continue };
        pools_listed |= matches!(change, Change::PoolListEnds);
        pods_listed |= matches!(change, Change::PodListEnds);
        if index.apply(change) {
            shared.set_pools(index.pools());
        }
        if pools_listed
            && pods_listed
            && let Some(known) = known.take()
        {
            let _ = known.send(());
        }
    }
}

fn pool_change(event: Result<watcher::Event<InferencePool>, watcher::Error>) -> Option<Change> {
    Some(match event {
        Ok(watcher::Event::Apply(pool)) => Change::PoolApplied(Box::new(pool)),
        Ok(watcher::Event::InitApply(pool)) => Change::PoolListed(Box::new(pool)),
        Ok(watcher::Event::Delete(pool)) => Change::PoolDeleted(Box::new(pool)),
        Ok(watcher::Event::Init) => Change::PoolListBegins,
        Ok(watcher::Event::InitDone) => Change::PoolListEnds,
        Err(error) => {
            tracing::warn!(%error, "watching InferencePools failed, trying again; known pools stay in use");
            return None;
        }
    })
}

fn pod_change(event: Result<watcher::Event<Pod>, watcher::Error>) -> Option<Change> {
    Some(match event {
        Ok(watcher::Event::Apply(pod)) => Change::PodApplied(Box::new(pod)),
        Ok(watcher::Event::InitApply(pod)) => Change::PodListed(Box::new(pod)),
        Ok(watcher::Event::Delete(pod)) => Change::PodDeleted(Box::new(pod)),
        Ok(watcher::Event::Init) => Change::PodListBegins,
        Ok(watcher::Event::InitDone) => Change::PodListEnds,
        Err(error) => {
            tracing::warn!(%error, "watching Pods failed, trying again; known endpoints stay in use");
            return None;
        }
    })
}
