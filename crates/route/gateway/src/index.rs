//! Which endpoints each pool has, from watch events: a plain value.

use crate::discovery::{StaticEndpoint, StaticPool};
use api::{InferencePool, names};
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// A watch event. Listing again replaces what was known, but only when the
/// list is complete, so that a broken list takes no endpoint away.
#[derive(Clone, Debug)]
pub enum Change {
    /// A pool was added or changed.
    PoolApplied(Box<InferencePool>),
    /// A pool was deleted.
    PoolDeleted(Box<InferencePool>),
    /// Pools are listed from the beginning.
    PoolListBegins,
    /// A pool of that list.
    PoolListed(Box<InferencePool>),
    /// The list of pools is complete.
    PoolListEnds,
    /// A Pod was added or changed.
    PodApplied(Box<Pod>),
    /// A Pod was deleted.
    PodDeleted(Box<Pod>),
    /// Pods are listed from the beginning.
    PodListBegins,
    /// A Pod of that list.
    PodListed(Box<Pod>),
    /// The list of Pods is complete.
    PodListEnds,
}

/// `(namespace, name)`.
type Key = (String, String);

#[derive(Clone, Debug, PartialEq, Eq)]
struct PoolEntry {
    models: Vec<String>,
    selector: BTreeMap<String, String>,
    ports: Vec<u16>,
}

/// A Pod that may take requests; others are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PodEntry {
    labels: BTreeMap<String, String>,
    ip: IpAddr,
    slots: Option<u32>,
}

/// Pools and ready Pods, as last seen.
#[derive(Clone, Debug, Default)]
pub struct Index {
    pools: BTreeMap<Key, PoolEntry>,
    pods: BTreeMap<Key, PodEntry>,
    listed_pools: BTreeMap<Key, PoolEntry>,
    listed_pods: BTreeMap<Key, PodEntry>,
}

impl Index {
    /// Takes in one event; true if [`Index::pools`] may have changed by it.
    pub fn apply(&mut self, change: Change) -> bool {
        match change {
            Change::PoolApplied(pool) => {
                let (key, entry) = pool_entry(&pool);
                self.pools.insert(key, entry.clone()) != Some(entry)
            }
            Change::PoolDeleted(pool) => self.pools.remove(&pool_entry(&pool).0).is_some(),
            Change::PoolListBegins => {
                self.listed_pools.clear();
                false
            }
            Change::PoolListed(pool) => {
                self.listed_pools.extend([pool_entry(&pool)]);
                false
            }
            Change::PoolListEnds => {
                let listed = std::mem::take(&mut self.listed_pools);
                std::mem::replace(&mut self.pools, listed) != self.pools
            }
            Change::PodApplied(pod) => {
                let key = pod_key(&pod);
                match pod_entry(&pod) {
                    Some(entry) => self.pods.insert(key, entry.clone()) != Some(entry),
                    None => self.pods.remove(&key).is_some(),
                }
            }
            Change::PodDeleted(pod) => self.pods.remove(&pod_key(&pod)).is_some(),
            Change::PodListBegins => {
                self.listed_pods.clear();
                false
            }
            Change::PodListed(pod) => {
                self.listed_pods
                    .extend(pod_entry(&pod).map(|entry| (pod_key(&pod), entry)));
                false
            }
            Change::PodListEnds => {
                let listed = std::mem::take(&mut self.listed_pods);
                std::mem::replace(&mut self.pods, listed) != self.pods
            }
        }
    }

    /// Every pool with its endpoints, in the order of names.
    #[must_use]
    pub fn pools(&self) -> Vec<StaticPool> {
        let endpoints = |namespace: &str, pool: &PoolEntry| {
            let mut found = Vec::new();
            for ((home, name), pod) in &self.pods {
                let selected = home == namespace
                    && !pool.selector.is_empty()
                    && pool
                        .selector
                        .iter()
                        .all(|(label, value)| pod.labels.get(label) == Some(value));
                if selected {
                    found.extend(pool.ports.iter().map(|&port| StaticEndpoint {
                        address: SocketAddr::new(pod.ip, port),
                        pod: name.clone(),
                        slots: pod.slots,
                    }));
                }
            }
            found
        };
        self.pools
            .iter()
            .map(|((namespace, name), pool)| StaticPool {
                name: format!("{namespace}/{name}"),
                models: pool.models.clone(),
                endpoints: endpoints(namespace, pool),
            })
            .collect()
    }
}

fn pool_entry(pool: &InferencePool) -> (Key, PoolEntry) {
    let name = pool.metadata.name.clone().unwrap_or_default();
    let named = pool
        .metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(names::MODELS_ANNOTATION));
    let mut models: Vec<String> = named
        .map(|list| {
            list.split(',')
                .map(str::trim)
                .filter(|model| !model.is_empty())
                .map(str::to_owned)
                .collect()
        })
        .unwrap_or_default();
    if models.is_empty() {
        models.push(name.clone());
    }
    let ports = pool
        .spec
        .target_ports
        .iter()
        .filter_map(|port| u16::try_from(port.number).ok())
        .collect();
    let entry = PoolEntry {
        models,
        selector: pool.spec.selector.match_labels.clone(),
        ports,
    };
    ((pool.metadata.namespace.clone().unwrap_or_default(), name), entry)
}

fn pod_key(pod: &Pod) -> Key {
    (
        pod.metadata.namespace.clone().unwrap_or_default(),
        pod.metadata.name.clone().unwrap_or_default(),
    )
}

/// `None` for a Pod that must not be sent requests: without address, not
/// ready, terminating or ended.
fn pod_entry(pod: &Pod) -> Option<PodEntry> {
    let status = pod.status.as_ref()?;
    let ready = status
        .conditions
        .iter()
        .flatten()
        .any(|found| found.type_ == "Ready" && found.status == "True");
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    if !ready || ended || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let slots = pod
        .metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(names::SLOTS_ANNOTATION));
    Some(PodEntry {
        labels: pod.metadata.labels.clone().unwrap_or_default(),
        ip: status.pod_ip.as_deref()?.parse().ok()?,
        slots: slots.and_then(|slots| slots_of(pod, slots)),
    })
}

fn slots_of(pod: &Pod, slots: &str) -> Option<u32> {
    let parsed = slots.trim().parse().ok().filter(|&slots| slots >= 1);
    if parsed.is_none() {
        let pod = pod.metadata.name.as_deref().unwrap_or_default();
        tracing::warn!(
            pod,
            slots,
            "annotation {} must be a number from 1 up; using the default",
            names::SLOTS_ANNOTATION
        );
    }
    parsed
}

#[cfg(test)]
mod tests;
