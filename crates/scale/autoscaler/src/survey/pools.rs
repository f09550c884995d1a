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

/// A pool: the labels of its Pods, and their ports: several where ranks of a
/// data-parallel server have one each.
#[derive(Debug)]
pub(super) struct PoolFacts {
    labels: BTreeMap<String, String>,
    ports: Vec<u16>,
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
                    ports: pool
                        .spec
                        .target_ports
                        .iter()
                        .filter_map(|port| sound(port.number))
                        .collect(),
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

fn sound(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port > 0)
}

/// Where a Pod's metrics are: at the port it is annotated with, else where its
/// ranks serve, if there are several, else at a port that it calls `metrics`,
/// else where it serves.
pub(super) fn metrics_ports(pod: &Pod, serves_at: &[u16]) -> (u16, Arc<[u16]>) {
    let annotated = pod.annotations().get(METRICS_PORT_ANNOTATION);
    let annotated = annotated.and_then(|port| sound(port.trim().parse().ok()?));
    let named = || {
        let containers = pod.spec.as_ref()?.containers.iter();
        let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
        let metrics = ports.find(|port| port.name.as_deref() == Some("metrics"))?;
        sound(metrics.container_port)
    };
    match (annotated, serves_at) {
        (Some(port), _) => (port, Arc::default()),
        (None, [first, ranks @ ..]) if !ranks.is_empty() => (*first, ranks.into()),
        (None, _) => {
            let serves_at = serves_at.first().copied().unwrap_or(DEFAULT_PORT);
            (named().unwrap_or(serves_at), Arc::default())
        }
    }
}

/// The path it is annotated with, unless that can be none, or is the usual one.
pub(super) fn metrics_path(pod: &Pod) -> Option<Arc<str>> {
    let path = pod.annotations().get(METRICS_PATH_ANNOTATION)?.trim();
    let sound = path.starts_with('/') && path.len() <= LONGEST_PATH && path.bytes().all(|byte| byte.is_ascii_graphic());
    (sound && path != "/metrics").then(|| path.into())
}

/// The ports of the pool the Pod is in, else the first it declares.
pub(super) fn ports(pod: &Pod, pools: Option<&PoolsByLabel>) -> Vec<u16> {
    let in_pool = |pool: &&PoolFacts| {
        pool.labels
            .iter()
            .all(|(key, value)| pod.labels().get(key) == Some(value))
    };
    let mut labels = pod.labels().iter();
    let of_pool = pools
        .and_then(|pools| labels.find_map(|(key, value)| pools.get(&format!("{key}={value}"))?.iter().find(in_pool)));
    if let Some(pool) = of_pool.filter(|pool| !pool.ports.is_empty()) {
        return pool.ports.clone();
    }
    let declared = || {
        let containers = &pod.spec.as_ref()?.containers;
        let first = containers
            .iter()
            .find_map(|container| container.ports.as_ref()?.first())?;
        sound(first.container_port)
    };
    vec![declared().unwrap_or(DEFAULT_PORT)]
}
