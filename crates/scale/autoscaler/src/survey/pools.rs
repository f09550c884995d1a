//! Which pool a Pod is in, by its labels, the port it serves at, and where its
//! metrics are.

use api::InferencePool;
use api::names::{METRICS_PATH_ANNOTATION, METRICS_PORT_ANNOTATION};
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

/// Longest path that is taken from an annotation, bytes.
const LONGEST_PATH: usize = 256;

/// Where a Pod's metrics are: what it is annotated with, else a port that it
/// calls `metrics`, else where it serves.
pub(super) fn metrics_port(pod: &Pod, serves_at: u16) -> u16 {
    let annotated = pod.annotations().get(METRICS_PORT_ANNOTATION);
    let annotated = annotated.and_then(|port| port.trim().parse().ok());
    let named = || {
        let containers = pod.spec.as_ref()?.containers.iter();
        let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
        let metrics = ports.find(|port| port.name.as_deref() == Some("metrics"))?;
        u16::try_from(metrics.container_port).ok()
    };
    let port = annotated.filter(|port| *port > 0).or_else(named);
    port.filter(|port| *port > 0).unwrap_or(serves_at)
}

/// The path it is annotated with, unless that can be none, or is the usual one.
pub(super) fn metrics_path(pod: &Pod) -> Option<Arc<str>> {
    let path = pod.annotations().get(METRICS_PATH_ANNOTATION)?.trim();
    let sound = path.starts_with('/') && path.len() <= LONGEST_PATH && path.bytes().all(|byte| byte.is_ascii_graphic());
    (sound && path != "/metrics").then(|| path.into())
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
