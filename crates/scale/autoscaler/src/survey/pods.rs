//! Pods: found by selector without looking at all of them, and each version
//! of one read once.

use super::pools::PoolsByLabel;
use super::{PodFacts, facts};
use api::InferencePool;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::core::{Expression, Selector, SelectorExt};
use std::collections::HashMap;
use std::sync::Arc;

/// Pods that are there to stay.
pub(super) fn staying(mut pods: Vec<Arc<Pod>>) -> Vec<Arc<Pod>> {
    pods.retain(|pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Succeeded" | "Failed"))
    });
    pods
}

/// What was read of Pods in the last pass: most are the same in the next.
#[derive(Debug, Default)]
pub(crate) struct PodsRead {
    /// Of the last pass, by the place of the copy in memory. The copy is kept,
    /// so that no other can come to that place.
    before: HashMap<usize, (Arc<Pod>, Arc<PodFacts>)>,
    /// Of this one.
    now: HashMap<usize, (Arc<Pod>, Arc<PodFacts>)>,
    /// The pools that ports were taken from.
    pools: Vec<Arc<InferencePool>>,
}

impl PodsRead {
    /// Begins a pass. By other pools than those of the last one every Pod is
    /// read anew.
    pub(super) fn begin(&mut self, pools: &[Arc<InferencePool>]) {
        let mut same = self.pools.iter().zip(pools);
        if self.pools.len() == pools.len() && same.all(|(before, now)| Arc::ptr_eq(before, now)) {
            self.before = std::mem::take(&mut self.now);
        } else {
            self.before.clear();
            self.now.clear();
            self.pools = pools.to_vec();
        }
    }

    /// What matters of a Pod, by the `pools` of its namespace.
    pub(super) fn facts(&mut self, pod: &Arc<Pod>, pools: Option<&PoolsByLabel>) -> Arc<PodFacts> {
        let key = Arc::as_ptr(pod).addr();
        let read = self.before.remove(&key);
        let (pod, facts) = read.unwrap_or_else(|| (pod.clone(), Arc::new(facts(pod, pools))));
        self.now.insert(key, (pod, facts.clone()));
        facts
    }
}

/// Pods by namespace and label, so that a selector looks at few of them.
pub(super) struct PodIndex<'a>(HashMap<&'a str, OfNamespace<'a>>);

#[derive(Default)]
struct OfNamespace<'a> {
    /// By those labels that somebody selects by.
    by_label: HashMap<String, HashMap<&'a str, Vec<&'a Arc<Pod>>>>,
    all: Vec<&'a Arc<Pod>>,
}

impl<'a> OfNamespace<'a> {
    fn index(&mut self, label: &str) {
        if self.by_label.contains_key(label) {
            return;
        }
        let mut by_value: HashMap<&str, Vec<&Arc<Pod>>> = HashMap::new();
        for pod in &self.all {
            if let Some(value) = pod.labels().get(label) {
                by_value.entry(value).or_default().push(pod);
            }
        }
        self.by_label.insert(label.to_owned(), by_value);
    }

    fn labelled(&self, label: &str, value: &str) -> &[&'a Arc<Pod>] {
        let found = self.by_label.get(label).and_then(|values| values.get(value));
        found.map_or(&[], Vec::as_slice)
    }
}

impl<'a> PodIndex<'a> {
    pub(super) fn of(pods: &'a [Arc<Pod>]) -> Self {
        let mut index: HashMap<&str, OfNamespace<'_>> = HashMap::new();
        for pod in pods {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            index.entry(namespace).or_default().all.push(pod);
        }
        Self(index)
    }

    /// The Pods of a namespace that a selector selects, in no order.
    pub(super) fn select<'s>(
        &'s mut self,
        namespace: &str,
        selector: &'s Selector,
    ) -> impl Iterator<Item = &'a Arc<Pod>> + 's {
        let candidates = self.0.get_mut(namespace).map_or(&[][..], |of_namespace| {
            let exact = selector.clone().into_iter().filter_map(|expression| match expression {
                Expression::Equal(key, value) => Some((key, value)),
                Expression::In(key, values) if values.len() == 1 => Some((key, values.into_iter().next()?)),
                _ => None,
            });
            let exact: Vec<(String, String)> = exact.collect();
            for (label, _) in &exact {
                of_namespace.index(label);
            }
            let of_namespace = &*of_namespace;
            let labelled = exact.iter().map(|(label, value)| of_namespace.labelled(label, value));
            let fewest = labelled.min_by_key(|pods| pods.len());
            fewest.unwrap_or(&of_namespace.all)
        });
        candidates.iter().copied().filter(|pod| selector.matches(pod.labels()))
    }
}
