//! Several sources as one: of each signal the freshest.

use crate::source::{MetricsSource, Refresh, TrackedModel, TrackedModels};
use crate::{Availability, Found, ModelSignals, ReplicaSignals, SourceHealth};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Several sources together. Every signal is the freshest that any of them
/// has, and says by its `source` where it came from.
#[derive(Clone, Debug, Default)]
pub struct Composite {
    sources: Vec<(String, Arc<dyn MetricsSource>)>,
}

impl Composite {
    /// All of `sources`, each with the name it is told by.
    #[must_use]
    pub const fn new(sources: Vec<(String, Arc<dyn MetricsSource>)>) -> Self {
        Self { sources }
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|(name, _)| name.as_str())
    }

    /// How each of them is doing, by name.
    #[must_use]
    pub fn health_by_source(&self) -> BTreeMap<String, SourceHealth> {
        let health = |(name, source): &(String, Arc<dyn MetricsSource>)| (name.clone(), source.health());
        self.sources.iter().map(health).collect()
    }

    /// The availability over those sources that `counts` holds for.
    #[must_use]
    pub fn availability_of(&self, model: &TrackedModel, counts: impl Fn(&str) -> bool) -> Availability {
        let heard: Vec<(&str, Availability)> = self
            .sources
            .iter()
            .filter(|(name, _)| counts(name))
            .map(|(name, source)| (name.as_str(), source.availability(model)))
            .collect();
        let Some(found) = heard
            .iter()
            .map(|(_, said)| said.found)
            .min_by_key(|found| rank(*found))
        else {
            return Availability::new(
                Found::MetricsMissing,
                "no source is asked for replicas: set PROMETHEUS_BASE_URL, or let the Pods be asked (--pod-scrape)",
            );
        };
        // Where somebody has the signals, what others lack is no news.
        let told = heard
            .iter()
            .filter(|(_, said)| found != Found::MetricsFound || said.found == found);
        let told: Vec<String> = told.map(|(name, said)| told_by(name, said)).collect();
        Availability::new(found, told.join("; "))
    }
}

/// A sentence that says who said it, once.
fn told_by(name: &str, said: &Availability) -> String {
    if said.message.to_lowercase().starts_with(name) {
        said.message.clone()
    } else {
        format!("{name}: {}", said.message)
    }
}

/// What counts for all of them: that one has the signals, else what is to be
/// repaired first.
const fn rank(found: Found) -> u8 {
    match found {
        Found::MetricsFound => 0,
        Found::PrometheusError => 1,
        Found::MetricsStale => 2,
        Found::MetricsMissing => 3,
    }
}

impl MetricsSource for Composite {
    fn track(&self, models: &TrackedModels) {
        for (_, source) in &self.sources {
            source.track(models);
        }
    }

    fn refresh(&self) -> Refresh<'_> {
        Box::pin(All(self.sources.iter().map(|(_, source)| source.refresh()).collect()))
    }

    fn availability(&self, model: &TrackedModel) -> Availability {
        self.availability_of(model, |_| true)
    }

    fn model_metrics(&self, model: &TrackedModel) -> ModelSignals {
        let all = self.sources.iter().map(|(_, source)| source.model_metrics(model));
        let freshest = all.reduce(|mut best, other| {
            best.take_fresher(other);
            best
        });
        freshest.unwrap_or_else(|| ModelSignals::unknown(units::Instant::ZERO, "no source is asked"))
    }

    fn replica_metrics(&self, model: &TrackedModel) -> BTreeMap<String, ReplicaSignals> {
        let mut freshest: BTreeMap<String, ReplicaSignals> = BTreeMap::new();
        for (_, source) in &self.sources {
            let heard = source.replica_metrics(model);
            if freshest.is_empty() {
                freshest = heard;
                continue;
            }
            for (pod, signals) in heard {
                match freshest.get_mut(&pod) {
                    Some(best) => best.take_fresher(signals),
                    None => drop(freshest.insert(pod, signals)),
                }
            }
        }
        freshest
    }

    fn health(&self) -> SourceHealth {
        let all = self.sources.iter().map(|(_, source)| source.health());
        all.reduce(SourceHealth::and).unwrap_or_default()
    }
}

/// Waits until all are done, each as it can.
struct All<'a>(Vec<Refresh<'a>>);

impl Future for All<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.retain_mut(|one| one.as_mut().poll(context).is_pending());
        if self.0.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests;
