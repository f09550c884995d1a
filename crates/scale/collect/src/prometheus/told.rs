//! What one answer told of a model, as it is kept for those who read.

use super::PrometheusConfig;
use crate::model::ModelSignals;
use crate::{Availability, Endpoint, Found, ReplicaSignals};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use units::Instant;

/// One answer, made into signals.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) availability: Availability,
    /// The newest sample, on our clock.
    pub(super) newest: Option<Instant>,
    /// Up to what age samples are fresh.
    pub(super) fresh: Duration,
    /// By Pod, each with the endpoint it was told of.
    pub(super) replicas: BTreeMap<String, (Endpoint, ReplicaSignals)>,
    pub(super) model: ModelSignals,
}

impl Told {
    /// Whether it can be acted on at `now`.
    pub(super) fn judge(&self, config: &PrometheusConfig, now: Instant) -> Availability {
        let Some(newest) = self.newest.filter(|_| self.availability.found == Found::MetricsFound) else {
            return self.availability.clone();
        };
        let age = now.since(newest);
        let seconds = age.as_secs();
        match age {
            age if age <= self.fresh => self.availability.clone(),
            age if age <= config.unavailable => Availability::new(
                Found::MetricsStale,
                format!(
                    "Prometheus' newest sample is {seconds} s old, and {:?} is fresh: are the Pods still scraped (targets up, \
                     ServiceMonitor in place)? If they are scraped more rarely, raise PROMETHEUS_METRICS_CACHE_FRESH_THRESHOLD",
                    self.fresh
                ),
            ),
            _ => Availability::new(
                Found::MetricsMissing,
                format!("Prometheus has had no sample for {seconds} s: the targets are gone or no longer scraped"),
            ),
        }
    }

    /// What is known of each of `endpoints`.
    pub(super) fn replicas(
        &self,
        endpoints: &[Endpoint],
        config: &PrometheusConfig,
        now: Instant,
    ) -> BTreeMap<String, ReplicaSignals> {
        let why: Cow<'static, str> = if self.availability.found == Found::MetricsFound {
            "Prometheus has no samples of this Pod: is it scraped?".into()
        } else {
            self.availability.message.clone().into()
        };
        let unknown = || ReplicaSignals::unknown(now, why.clone());
        let too_old = too_old(config);
        // A Pod of the same name at another address is another Pod.
        let of = |endpoint: &Endpoint| match self.replicas.get(&endpoint.pod) {
            Some((told_of, signals)) if told_of == endpoint => {
                let mut signals = signals.clone();
                signals.drop_older(config.stale, now, &too_old);
                signals
            }
            _ => unknown(),
        };
        endpoints
            .iter()
            .map(|endpoint| (endpoint.pod.clone(), of(endpoint)))
            .collect()
    }

    /// What is known of the model as a whole.
    pub(super) fn model(&self, config: &PrometheusConfig, now: Instant) -> ModelSignals {
        let mut model = self.model.clone();
        model.drop_older(config.stale, now, &too_old(config));
        model
    }
}

fn too_old(config: &PrometheusConfig) -> String {
    format!(
        "Prometheus' newest sample is older than {:?} (PROMETHEUS_METRICS_CACHE_STALE_THRESHOLD)",
        config.stale
    )
}

/// Where nothing is told of anybody: `availability` says why.
pub(super) fn nothing(availability: Availability, now: Instant) -> Arc<Told> {
    let model = ModelSignals::unknown(now, availability.message.clone());
    Arc::new(Told {
        availability,
        newest: None,
        fresh: Duration::ZERO,
        replicas: BTreeMap::new(),
        model,
    })
}
