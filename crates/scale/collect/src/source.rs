//! What every source of signals can do.

use crate::{Availability, Endpoint, ModelSignals, ReplicaSignals, SourceHealth};
use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

/// A model in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrackedModel {
    /// Namespace of its variants.
    pub namespace: String,
    /// Name, as the engine's label has it.
    pub model: String,
}

/// The models that are asked for, each by the replicas it has now.
pub type TrackedModels = BTreeMap<TrackedModel, Arc<[Endpoint]>>;

/// Something on its way that brings nothing but itself up to date.
pub type Refresh<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A source of signals: says first whether it can be acted on, then what it
/// knows of a model as a whole, and of each of its replicas.
///
/// A source asks in the background and answers from what it has heard, so that
/// no duty waits for anybody; one that only answers when it is asked does its
/// asking in [`MetricsSource::refresh`]. What it does not know is missing with
/// a reason, never 0.
pub trait MetricsSource: fmt::Debug + Send + Sync {
    /// Sets who is asked for. Whatever is not named is forgotten.
    fn track(&self, models: &TrackedModels);

    /// Brings up to date what does not keep itself so; called once before
    /// signals are read for a decision, and bounded by the source's deadline.
    fn refresh(&self) -> Refresh<'_> {
        Box::pin(std::future::ready(()))
    }

    /// Whether a model's signals are there and can be acted on, with the
    /// remedy if not.
    fn availability(&self, model: &TrackedModel) -> Availability;

    /// What is known of a model as a whole.
    fn model_metrics(&self, model: &TrackedModel) -> ModelSignals;

    /// What is known of each replica of a model that is tracked, by its Pod
    /// (`namespace/name`).
    fn replica_metrics(&self, model: &TrackedModel) -> BTreeMap<String, ReplicaSignals>;

    /// How the source itself is doing.
    fn health(&self) -> SourceHealth;
}

/// Groups replicas by their model. One without a model is nobody's.
#[must_use]
pub fn by_model(endpoints: impl IntoIterator<Item = Endpoint>) -> TrackedModels {
    let mut models: BTreeMap<TrackedModel, Vec<Endpoint>> = BTreeMap::new();
    for endpoint in endpoints {
        let Some(model) = endpoint.model.clone() else { continue };
        let namespace = endpoint.pod.split_once('/').map_or("", |(namespace, _)| namespace);
        let key = TrackedModel {
            namespace: namespace.to_owned(),
            model,
        };
        models.entry(key).or_default().push(endpoint);
    }
    models.into_iter().map(|(key, all)| (key, all.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_grouped_by_namespace_and_model() {
        let endpoint = |pod: &str, model: Option<&str>| Endpoint {
            pod: pod.to_owned(),
            address: "10.0.0.1".to_owned(),
            port: 8000,
            path: None,
            more_ports: std::sync::Arc::default(),
            model: model.map(str::to_owned),
        };
        let models = by_model([
            endpoint("n/a", Some("m")),
            endpoint("o/a", Some("m")),
            endpoint("n/b", Some("m")),
            endpoint("n/c", None),
        ]);
        let seen: Vec<(&str, usize)> = models
            .iter()
            .map(|(key, all)| (key.namespace.as_str(), all.len()))
            .collect();
        assert_eq!(seen, [("n", 2), ("o", 1)]);
    }
}
