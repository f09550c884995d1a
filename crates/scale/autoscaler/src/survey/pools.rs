//! Which pool a Pod is in, by its labels, the port it serves at, and where its
//! metrics are.

use api::InferencePool;
use api::names::{METRICS_PATH_ANNOTATION, METRICS_PORT_ANNOTATION};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Port of a model server whose Pod belongs to no pool and declares none.
const DEFAULT_PORT: u16 = 8000;

/// A pool: the labels of its Pods, and their ports if it names any.
#[derive(Debug)]
pub(super) struct PoolFacts {
    pub(super) name: String,
    labels: BTreeMap<String, String>,
    ports: Option<Ports>,
}

/// The ports of a Pod that serve the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) first: u16,
    /// Where ranks of a data-parallel server have one each: the other ranks'.
    pub(super) more: Arc<[u16]>,
}

impl Ports {
    fn one(port: u16) -> Self {
        Self {
            first: port,
            more: Arc::default(),
        }
    }

    fn of(mut ports: impl Iterator<Item = u16>) -> Option<Self> {
        let first = ports.next()?;
        let more = ports.collect();
        Some(Self { first, more })
    }
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
                    name: pool.name_any(),
                    labels: labels.clone(),
                    ports: Ports::of(pool.spec.target_ports.iter().filter_map(|port| sound(port.number))),
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
pub(super) fn metrics_ports(pod: &Pod, serves_at: &Ports) -> Ports {
    let annotated = pod.annotations().get(METRICS_PORT_ANNOTATION);
    if let Some(port) = annotated.and_then(|port| sound(port.trim().parse().ok()?)) {
        return Ports::one(port);
    }
    if !serves_at.more.is_empty() {
        return serves_at.clone();
    }
    let named = || {
        let containers = pod.spec.as_ref()?.containers.iter();
        let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
        let metrics = ports.find(|port| port.name.as_deref() == Some("metrics"))?;
        sound(metrics.container_port)
    };
    Ports::one(named().unwrap_or(serves_at.first))
}

/// The path it is annotated with, unless that can be none, or is the usual one.
pub(super) fn metrics_path(pod: &Pod) -> Option<Arc<str>> {
    let path = pod.annotations().get(METRICS_PATH_ANNOTATION)?.trim();
    let sound = path.starts_with('/') && path.len() <= LONGEST_PATH && path.bytes().all(|byte| byte.is_ascii_graphic());
    (sound && path != "/metrics").then(|| path.into())
}

/// The pool that a Pod with these labels is in.
pub(super) fn of_labels<'p>(
    labels: &BTreeMap<String, String>,
    pools: Option<&'p PoolsByLabel>,
) -> Option<&'p PoolFacts> {
    let in_pool = |pool: &&PoolFacts| {
        let mut selected = pool.labels.iter();
        selected.all(|(key, value)| labels.get(key) == Some(value))
    };
    let pools = pools?;
    let mut labels = labels.iter();
    labels.find_map(|(key, value)| pools.get(&format!("{key}={value}"))?.iter().find(in_pool))
}

/// The ports of the pool the Pod is in, else the first it declares, else the usual.
pub(super) fn ports(pod: &Pod, pools: Option<&PoolsByLabel>) -> Ports {
    let of_pool = of_labels(pod.labels(), pools);
    if let Some(ports) = of_pool.and_then(|pool| pool.ports.clone()) {
        return ports;
    }
    let declared = || {
        let containers = &pod.spec.as_ref()?.containers;
        let first = containers
            .iter()
            .find_map(|container| container.ports.as_ref()?.first())?;
        sound(first.container_port)
    };
    Ports::one(declared().unwrap_or(DEFAULT_PORT))
}
