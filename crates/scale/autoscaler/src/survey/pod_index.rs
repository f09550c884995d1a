//! Pods, found by selector without looking at all of them.

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

/// Pods by namespace and label, so that a selector looks at few of them.
pub(super) struct PodIndex<'a>(HashMap<&'a str, OfNamespace<'a>>);

#[derive(Default)]
struct OfNamespace<'a> {
    by_label: HashMap<&'a str, HashMap<&'a str, Vec<&'a Arc<Pod>>>>,
    all: Vec<&'a Arc<Pod>>,
}

impl<'a> PodIndex<'a> {
    pub(super) fn of(pods: &'a [Arc<Pod>]) -> Self {
        let mut index: HashMap<&str, OfNamespace<'_>> = HashMap::new();
        for pod in pods {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let of_namespace = index.entry(namespace).or_default();
            for (key, value) in pod.labels() {
                let of_key = of_namespace.by_label.entry(key).or_default();
                of_key.entry(value).or_default().push(pod);
            }
            of_namespace.all.push(pod);
        }
        Self(index)
    }

    /// The Pods of a namespace that a selector selects, in no order.
    pub(super) fn select<'s>(
        &'s self,
        namespace: &str,
        selector: &'s Selector,
    ) -> impl Iterator<Item = &'a Arc<Pod>> + 's {
        let candidates = self.0.get(namespace).map_or(&[][..], |of_namespace| {
            let fewest = selector
                .clone()
                .into_iter()
                .filter_map(|expression| match expression {
                    Expression::Equal(key, value) => Some((key, value)),
                    Expression::In(key, values) if values.len() == 1 => Some((key, values.into_iter().next()?)),
                    _ => None,
                })
                .map(|(key, value)| {
                    let of_key = of_namespace.by_label.get(key.as_str());
                    let labelled = of_key.and_then(|values| values.get(value.as_str()));
                    labelled.map_or(&[][..], Vec::as_slice)
                })
                .min_by_key(|pods| pods.len());
            fewest.unwrap_or(&of_namespace.all)
        });
        candidates.iter().copied().filter(|pod| selector.matches(pod.labels()))
    }
}
