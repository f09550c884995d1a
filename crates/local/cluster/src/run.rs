//! The controllers together, on shared watches.

use std::fmt::Debug;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::call::Error;
use crate::informer::Informer;
use crate::podautoscaler::{self, PodAutoscalerOptions};
use crate::recorder::{self, Recorder};
use crate::supervise::supervise;
use crate::{deployment, endpointslice, garbage, nodes, replicaset, scheduler};

/// What the controllers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) pods: Arc<Informer<Pod>>,
    pub(crate) nodes: Arc<Informer<Node>>,
    pub(crate) replica_sets: Arc<Informer<ReplicaSet>>,
    pub(crate) deployments: Arc<Informer<Deployment>>,
    pub(crate) services: Arc<Informer<Service>>,
    pub(crate) autoscalers: Arc<Informer<HorizontalPodAutoscaler>>,
}

/// [`run_controllers_with`] the HPA controller's defaults.
///
/// # Errors
/// When the API cannot be reached at all at the start.
pub async fn run_controllers(client: Client, stop: CancellationToken) -> Result<(), Error> {
    run_controllers_with(client, PodAutoscalerOptions::default(), stop).await
}

/// Runs scheduler, Deployment, ReplicaSet and HPA controllers, garbage collector,
/// endpoint slices and node taints until `stop`. Each is supervised: one that fails starts again.
///
/// # Errors
/// When the API cannot be reached at all at the start.
pub async fn run_controllers_with(
    client: Client,
    autoscaling: PodAutoscalerOptions,
    stop: CancellationToken,
) -> Result<(), Error> {
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
        autoscalers: Informer::new(),
    };
    let mut parts: Vec<BoxFuture<'static, ()>> = vec![
        watch("watch pods", &client, &shared.pods, &stop),
        watch("watch nodes", &client, &shared.nodes, &stop),
        watch("watch replicasets", &client, &shared.replica_sets, &stop),
        watch("watch deployments", &client, &shared.deployments, &stop),
        watch("watch services", &client, &shared.services, &stop),
        watch("watch autoscalers", &client, &shared.autoscalers, &stop),
    ];
    type Part = Box<dyn Fn(Shared, Recorder) -> BoxFuture<'static, ()> + Send + Sync>;
    let controllers: [(&'static str, Part); 6] = [
        ("node-controller", Box::new(|s, r| nodes::run(s, r).boxed())),
        ("default-scheduler", Box::new(|s, r| scheduler::run(s, r).boxed())),
        ("deployment-controller", Box::new(|s, r| deployment::run(s, r).boxed())),
        ("replicaset-controller", Box::new(|s, r| replicaset::run(s, r).boxed())),
        (
            "endpoint-slice-controller",
            Box::new(|s, r| endpointslice::run(s, r).boxed()),
        ),
        (
            "horizontal-pod-autoscaler",
            Box::new(move |s, r| podautoscaler::run(s, r, autoscaling.clone()).boxed()),
        ),
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
