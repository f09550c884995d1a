//! Where signals come from: the sources that are configured, as one, and what
//! they said for the present pass.

use crate::survey::Variant;
use collect::{Availability, Clock, Composite, Endpoint, Found, GatewayReader, GatewayReading, GatewaySource};
use collect::{MetricsSource, ModelSignals, PrometheusConfig, Registry, ReplicaSignals, ScrapeConfig, Settings};
use collect::{SourceError, SourceHealth, TrackedModel, TrackedModels, by_model};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The sources, and what they said last.
#[derive(Debug)]
pub(crate) struct ReplicaSources {
    all: Composite,
    gateway: GatewayReader,
    tracked: TrackedModels,
    heard: BTreeMap<TrackedModel, Heard>,
}

/// What the sources said of one model.
#[derive(Debug)]
struct Heard {
    replicas: BTreeMap<String, ReplicaSignals>,
    model: ModelSignals,
    trouble: Option<Availability>,
}

/// What sources are made from.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) registry: &'a Registry,
    /// Names in the registry; empty for those that are configured below.
    pub(crate) names: &'a [String],
    pub(crate) scrape: Option<ScrapeConfig>,
    pub(crate) prometheus: Option<PrometheusConfig>,
    pub(crate) gateway: GatewaySource,
    /// Notified when a gateway tells of a moment worth a decision at once.
    pub(crate) urgent: &'a Arc<Notify>,
}

impl Wanted<'_> {
    fn names(&self) -> Vec<String> {
        if !self.names.is_empty() {
            return self.names.to_vec();
        }
        let of_settings = [
            (Registry::REPLICA, self.scrape.is_some()),
            (Registry::PROMETHEUS, self.prometheus.is_some()),
            (Registry::GATEWAY, !matches!(self.gateway, GatewaySource::None)),
        ];
        let configured = of_settings.into_iter().filter(|(_, configured)| *configured);
        configured.map(|(name, _)| name.to_owned()).collect()
    }
}

impl ReplicaSources {
    /// Starts them.
    ///
    /// # Errors
    /// A source that is not known, or cannot be made as configured.
    pub(crate) fn start(wanted: Wanted<'_>, clock: Clock, stop: &CancellationToken) -> Result<Self, SourceError> {
        let names = wanted.names();
        let settings = Settings {
            clock,
            stop: stop.clone(),
            // Who is not named is not asked.
            gateway: GatewayReader::start(
                match names.iter().any(|name| name == Registry::GATEWAY) {
                    true => wanted.gateway,
                    false => GatewaySource::None,
                },
                clock,
                wanted.urgent,
                stop,
            ),
            scrape: wanted.scrape,
            prometheus: wanted.prometheus,
        };
        Ok(Self {
            all: wanted.registry.start(&names, &settings)?,
            gateway: settings.gateway,
            tracked: TrackedModels::new(),
            heard: BTreeMap::new(),
        })
    }

    /// Sets whom to ask for; whoever is not named is forgotten.
    pub(crate) fn track(&mut self, endpoints: Vec<Endpoint>) {
        self.tracked = by_model(endpoints);
        self.all.track(&self.tracked);
    }

    /// Waits for those sources that only answer when they are asked.
    pub(crate) async fn refresh(&self) {
        self.all.refresh().await;
    }

    /// Reads what the sources say now; all of this pass goes by that.
    pub(crate) fn read(&mut self) {
        let heard = |key: &TrackedModel| Heard {
            replicas: self.all.replica_metrics(key),
            model: self.all.model_metrics(key),
            trouble: self.trouble_now(key),
        };
        self.heard = self.tracked.keys().map(|key| (key.clone(), heard(key))).collect();
    }

    /// The gateways, as last heard.
    pub(crate) fn gateways(&self) -> GatewayReading {
        self.gateway.reading()
    }

    /// What is known of a Pod; `None` if no source asks for it.
    pub(crate) fn signals(&self, variant: &Variant, model: &str, pod: &str) -> Option<&ReplicaSignals> {
        let heard = self.heard.get(&key_of(variant, model))?;
        heard.replicas.get(&format!("{}/{pod}", variant.namespace))
    }

    /// What is known of a model as a whole; `None` if no source asks for it.
    pub(crate) fn model(&self, variant: &Variant, model: &str) -> Option<&ModelSignals> {
        Some(&self.heard.get(&key_of(variant, model))?.model)
    }

    /// What is wrong with the sources of replicas' signals, if all of them
    /// lack those of a model. Where Pods alone are asked, each tells for itself.
    pub(crate) fn trouble(&self, variant: &Variant, model: &str) -> Option<&Availability> {
        self.heard.get(&key_of(variant, model))?.trouble.as_ref()
    }

    fn trouble_now(&self, key: &TrackedModel) -> Option<Availability> {
        let tells_of_replicas = |name: &str| name != Registry::GATEWAY;
        if self
            .all
            .names()
            .all(|name| !tells_of_replicas(name) || name == Registry::REPLICA)
        {
            return None;
        }
        let availability = self.all.availability_of(key, tells_of_replicas);
        (availability.found != Found::MetricsFound).then_some(availability)
    }

    /// How each source is doing.
    pub(crate) fn health(&self) -> BTreeMap<String, SourceHealth> {
        self.all.health_by_source()
    }
}

fn key_of(variant: &Variant, model: &str) -> TrackedModel {
    TrackedModel {
        namespace: variant.namespace.clone(),
        model: model.to_owned(),
    }
}
