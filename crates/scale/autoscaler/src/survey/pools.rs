//! Which pool a Pod is in, by its labels, and the port it is asked at.

use api::InferencePool;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Port of a model server whose Pod belongs to no pool and declares none.
pub(super) const DEFAULT_PORT: u16 = 8000;

/// A pool: the labels of its Pods, and their port.
#[derive(Debug)]
pub(super) struct PoolFacts {
    labels: BTreeMap<String, String>,
    port: Option<i32>,
}

/// The pools of a namespace by the first label they select, as `key=value`.
pub(super) type PoolsByLabel = HashMap<String, Vec<PoolFacts>>;

/// Pools by namespace, those that select something.
pub(super) struct Pools(HashMap<String, PoolsByLabel>);

impl Pools {
    pub(super) fn of(mut pools: Vec<Arc<InferencePool>>) -> Self {
        pools.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let mut all: HashMap<String, PoolsByLabel> = HashMap::new();
        for pool in &pools {
            let labels = &pool.spec.selector.match_labels;
            let Some((key, value)) = labels.first_key_value() else {
                continue;
            };
            let of_namespace = all.entry(pool.namespace().unwrap_or_default()).or_default();
            of_namespace
                .entry(format!("{key}={value}"))
                .or_default()
                .push(PoolFacts {
                    labels: labels.clone(),
                    port: pool.spec.target_ports.first().map(|port| port.number),
                });
        }
        Self(all)
    }

    pub(super) fn of_namespace(&self, namespace: &str) -> Option<&PoolsByLabel> {
        self.0.get(namespace)
    }
}

/// The port of the pool the Pod is in, else the first it declares.
pub(super) fn port(pod: &Pod, pools: Option<&PoolsByLabel>) -> u16 {
    let in_pool = |pool: &&PoolFacts| {
        pool.labels
            .iter()
            .all(|(key, value)| pod.labels().get(key) == Some(value))
    };
    let mut labels = pod.labels().iter();
    let of_pool = pools
        .and_then(|pools| labels.find_map(|(key, value)| pools.get(&format!("{key}={value}"))?.iter().find(in_pool)))
        .and_then(|pool| pool.port);
    let declared = || {
        let containers = &pod.spec.as_ref()?.containers;
        containers
            .iter()
            .find_map(|container| Some(container.ports.as_ref()?.first()?.container_port))
    };
    of_pool
        .or_else(declared)
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0)
        .unwrap_or(DEFAULT_PORT)
}
