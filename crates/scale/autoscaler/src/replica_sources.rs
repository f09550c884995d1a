//! Where the signals of replicas come from: the Pods themselves, Prometheus, or
//! both, and then of each signal the freshest.

use crate::survey::Variant;
use collect::{Availability, Clock, Endpoint, Found, PodScraper, PrometheusConfig, PrometheusError, PrometheusSource};
use collect::{ReplicaSignals, ScrapeConfig, SourceHealth, TrackedModel};
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;

/// The sources that are configured.
#[derive(Debug)]
pub(crate) struct ReplicaSources {
    pods: Option<PodScraper>,
    prometheus: Option<PrometheusSource>,
}

impl ReplicaSources {
    pub(crate) fn start(
        scrape: Option<ScrapeConfig>,
        prometheus: Option<PrometheusConfig>,
        clock: Clock,
        stop: &CancellationToken,
    ) -> Result<Self, PrometheusError> {
        let prometheus = prometheus.map(|config| PrometheusSource::start(config, clock, stop.clone()));
        Ok(Self {
            pods: scrape.map(|config| PodScraper::start(config, clock, stop.clone())),
            prometheus: prometheus.transpose()?,
        })
    }

    /// Sets whom to ask for; whoever is not named is forgotten.
    pub(crate) fn set_endpoints(&self, endpoints: Vec<Endpoint>) {
        if let Some(prometheus) = &self.prometheus {
            prometheus.set_endpoints(namespace_of, &endpoints);
        }
        if let Some(pods) = &self.pods {
            pods.set_endpoints(endpoints);
        }
    }

    /// What is known of a Pod; `None` if no source asks for it.
    pub(crate) fn signals(&self, variant: &Variant, model: &str, pod: &str) -> Option<ReplicaSignals> {
        let pod = format!("{}/{pod}", variant.namespace);
        let theirs = self
            .prometheus
            .as_ref()
            .and_then(|source| source.signals(&tracked(variant, model), &pod));
        let own = self.pods.as_ref().and_then(|source| source.signals(&pod));
        match (own, theirs) {
            (Some(mut own), Some(theirs)) => {
                own.take_fresher(theirs);
                Some(own)
            }
            (own, theirs) => own.or(theirs),
        }
    }

    /// What is wrong with Prometheus, where it is the only witness.
    pub(crate) fn trouble(&self, variant: &Variant, model: &str) -> Option<Availability> {
        let prometheus = self.prometheus.as_ref().filter(|_| self.pods.is_none())?;
        let availability = prometheus.availability(&tracked(variant, model))?;
        (availability.found != Found::MetricsFound).then_some(availability)
    }

    /// How each source is doing.
    pub(crate) fn health(&self) -> BTreeMap<&'static str, SourceHealth> {
        let pods = self.pods.as_ref().map(|source| ("replica", source.health()));
        let prometheus = self.prometheus.as_ref().map(|source| ("prometheus", source.health()));
        pods.into_iter().chain(prometheus).collect()
    }
}

fn tracked(variant: &Variant, model: &str) -> TrackedModel {
    TrackedModel {
        namespace: variant.namespace.clone(),
        model: model.to_owned(),
    }
}

fn namespace_of(endpoint: &Endpoint) -> String {
    let (namespace, _) = endpoint.pod.split_once('/').unwrap_or(("", &endpoint.pod));
    namespace.to_owned()
}
