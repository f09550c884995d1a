//! The controllers together, on shared watches.

use std::fmt::Debug;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::call::Error;
use crate::informer::Informer;
use crate::recorder::{self, Recorder};
use crate::supervise::supervise;
use crate::{deployment, endpointslice, garbage, nodetaint, replicaset, scheduler};

/// What the controllers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) pods: Arc<Informer<Pod>>,
    pub(crate) nodes: Arc<Informer<Node>>,
    pub(crate) replica_sets: Arc<Informer<ReplicaSet>>,
    pub(crate) deployments: Arc<Informer<Deployment>>,
    pub(crate) services: Arc<Informer<Service>>,
}

/// Runs scheduler, Deployment and ReplicaSet controllers, garbage collector and
/// endpoint slices until `stop`. Each is supervised: one that fails starts again.
///
/// # Errors
/// When the API cannot be reached at all at the start.
pub async fn run_controllers(client: Client, stop: CancellationToken) -> Result<(), Error> {
    let version = crate::call::call(|| "ask the API for its version".to_owned(), client.apiserver_version());
    tokio::select! {
        version = version => { version?; }
        () = stop.cancelled() => return Ok(()),
    }
    let shared = Shared {
        client: client.clone(),
        pods: Informer::new(),
        nodes: Informer::new(),
        replica_sets: Informer::new(),
        deployments: Informer::new(),
        services: Informer::new(),
    };
    let mut parts: Vec<BoxFuture<'static, ()>> = vec![
        watch("watch pods", &client, &shared.pods, &stop),
        watch("watch nodes", &client, &shared.nodes, &stop),
        watch("watch replicasets", &client, &shared.replica_sets, &stop),
        watch("watch deployments", &client, &shared.deployments, &stop),
        watch("watch services", &client, &shared.services, &stop),
    ];
    type Part = fn(Shared, Recorder) -> BoxFuture<'static, ()>;
    let controllers: [(&'static str, Part); 5] = [
        ("default-scheduler", |s, r| scheduler::run(s, r).boxed()),
        ("deployment-controller", |s, r| deployment::run(s, r).boxed()),
        ("replicaset-controller", |s, r| replicaset::run(s, r).boxed()),
        ("node-taint-controller", |s, r| nodetaint::run(s, r).boxed()),
        ("endpoint-slice-controller", |s, r| endpointslice::run(s, r).boxed()),
    ];
    for (name, part) in controllers {
        let shared = shared.clone();
        parts.push(
            supervise(name, stop.clone(), move || {
                let (recorder, mailbox) = Recorder::new();
                let writer = recorder::write(shared.client.clone(), name, String::new(), mailbox);
                let part = part(shared.clone(), recorder);
                async move {
                    tokio::select! {
                        () = part => {}
                        () = writer => {}
                    }
                }
            })
            .boxed(),
        );
    }
    let gc = client.clone();
    parts.push(supervise("garbage-collector", stop.clone(), move || garbage::run(gc.clone())).boxed());
    let tasks: Vec<_> = parts
        .into_iter()
        .map(|part| tokio_util::task::AbortOnDropHandle::new(tokio::spawn(part)))
        .collect();
    futures::future::join_all(tasks).await;
    Ok(())
}

fn watch<K>(
    name: &'static str,
    client: &Client,
    informer: &Arc<Informer<K>>,
    stop: &CancellationToken,
) -> BoxFuture<'static, ()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (informer, client) = (informer.clone(), client.clone());
    supervise(name, stop.clone(), move || {
        informer
            .clone()
            .run(Api::<K>::all(client.clone()), watcher::Config::default())
    })
    .boxed()
}
