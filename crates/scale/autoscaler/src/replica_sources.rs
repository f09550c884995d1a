//! Where signals come from: the sources that are configured, as one, and what
//! they said for the present pass.

use crate::survey::{Variant, pickers};
use collect::Pickers;
use collect::{Availability, Clock, Composite, Found, GatewayReader, GatewayReading, GatewaySource, PickerSource};
use collect::{MetricsSource, ModelSignals, PrometheusConfig, Registry, ReplicaSignals, ScrapeConfig, Settings};
use collect::{SourceError, SourceHealth, TrackedModel, TrackedModels};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The sources, and what they said last.
#[derive(Debug)]
pub(crate) struct ReplicaSources {
    all: Composite,
    gateway: GatewayReader,
    pickers: PickerSource,
    /// Pools whose picker cannot be asked, and why: told once.
    unseen: BTreeSet<(String, String)>,
    tracked: TrackedModels,
    heard: BTreeMap<TrackedModel, Heard>,
}

/// What the sources said of one model.
#[derive(Debug)]
pub(crate) struct Heard {
    replicas: BTreeMap<String, ReplicaSignals>,
    /// Engine and names that were found, of replicas whose signals were taken.
    engines: BTreeMap<String, Arc<str>>,
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
    pub(crate) pickers: Pickers,
    /// Notified when a gateway tells of a moment worth a decision at once.
    pub(crate) urgent: &'a Arc<Notify>,
}

impl Heard {
    /// Takes what is known of a Pod (`namespace/name`): there are thousands,
    /// and it is needed once. `None` if no source asks for it, or it was taken
    /// before.
    pub(crate) fn take(&mut self, pod: &str) -> Option<ReplicaSignals> {
        let (pod, mut signals) = self.replicas.remove_entry(pod)?;
        self.engines.extend(signals.found.take().map(|found| (pod, found)));
        Some(signals)
    }

    /// The engine of a Pod (`namespace/name`) whose signals were taken, and the
    /// names it was found by.
    pub(crate) fn engine(&self, pod: &str) -> Option<&Arc<str>> {
        self.engines.get(pod)
    }

    /// What is known of the model as a whole.
    pub(crate) const fn model(&self) -> &ModelSignals {
        &self.model
    }

    /// What is wrong with the sources of replicas' signals, if all of them
    /// lack those of the model. Where Pods alone are asked, each tells for itself.
    pub(crate) const fn trouble(&self) -> Option<&Availability> {
        self.trouble.as_ref()
    }
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
            (Registry::PICKER, self.pickers.find || !self.pickers.all.is_empty()),
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
        // Who is not named is not asked.
        let named = |source: &str| names.iter().any(|name| name == source);
        let gateway = if named(Registry::GATEWAY) {
            wanted.gateway
        } else {
            GatewaySource::None
        };
        let pickers = if named(Registry::PICKER) {
            wanted.pickers
        } else {
            Pickers::default()
        };
        let pickers = PickerSource::start(pickers, clock, wanted.urgent, stop)?;
        let settings = Settings {
            clock,
            stop: stop.clone(),
            gateway: GatewayReader::start(gateway, clock, wanted.urgent, stop),
            picker: pickers.configured().then(|| pickers.reader().clone()),
            scrape: wanted.scrape,
            prometheus: wanted.prometheus,
        };
        Ok(Self {
            all: wanted.registry.start(&names, &settings)?,
            gateway: settings.gateway,
            pickers,
            unseen: BTreeSet::new(),
            tracked: TrackedModels::new(),
            heard: BTreeMap::new(),
        })
    }

    /// Sets whom to ask for; whoever is not named is forgotten.
    pub(crate) fn track(&mut self, models: TrackedModels) {
        self.tracked = models;
        self.all.track(&self.tracked);
    }

    /// Asks the endpoint pickers that were found, and no others any more.
    pub(crate) fn follow(&mut self, found: &pickers::Found) {
        self.pickers.follow(&found.pickers);
        let unseen = found.unseen();
        let unseen = unseen.map(|(namespace, why)| (namespace.to_owned(), why.to_owned()));
        let unseen: BTreeSet<(String, String)> = unseen.collect();
        for (namespace, why) in unseen.difference(&self.unseen) {
            tracing::warn!(namespace, "{why}");
        }
        self.unseen = unseen;
    }

    /// The endpoint pickers that somebody has named.
    pub(crate) const fn pickers(&self) -> &PickerSource {
        &self.pickers
    }

    /// Who is asked for now.
    pub(crate) const fn tracked(&self) -> &TrackedModels {
        &self.tracked
    }

    /// Waits for those sources that only answer when they are asked.
    pub(crate) async fn refresh(&self) {
        self.all.refresh().await;
    }

    /// Reads what the sources say now; all of this pass goes by that.
    pub(crate) fn read(&mut self) {
        let heard = |key: &TrackedModel| Heard {
            replicas: self.all.replica_metrics(key),
            engines: BTreeMap::new(),
            model: self.all.model_metrics(key),
            trouble: self.trouble_now(key),
        };
        self.heard = self.tracked.keys().map(|key| (key.clone(), heard(key))).collect();
    }

    /// The gateways and pickers, as last heard.
    pub(crate) fn gateways(&self) -> GatewayReading {
        self.gateway.reading().and(self.pickers.reader().reading())
    }

    /// What was said of a variant's model; `None` if no source asks for it.
    pub(crate) fn heard(&self, variant: &Variant, model: &str) -> Option<&Heard> {
        self.heard.get(&key_of(variant, model))
    }

    /// Up to what age recorded signals of a model count, if one records them.
    pub(crate) fn recorded_for(&self, namespace: &str, model: &str) -> Option<Duration> {
        let key = TrackedModel {
            namespace: namespace.to_owned(),
            model: model.to_owned(),
        };
        self.heard.get(&key)?.model().recorded_for
    }

    /// The same, to take from.
    pub(crate) fn heard_mut(&mut self, variant: &Variant, model: &str) -> Option<&mut Heard> {
        self.heard.get_mut(&key_of(variant, model))
    }

    fn trouble_now(&self, key: &TrackedModel) -> Option<Availability> {
        let tells_of_replicas = |name: &str| name != Registry::GATEWAY && name != Registry::PICKER;
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

#[cfg(test)]
mod tests {
    use super::*;
    use collect::{Endpoint, by_model};
    use std::sync::Arc;
    use units::{Instant, Signal, Source};
    use wire::signals::GatewaySignals;

    /// A source of somebody else's.
    #[derive(Debug)]
    struct Theirs(Found);

    impl MetricsSource for Theirs {
        fn track(&self, _: &TrackedModels) {}

        fn availability(&self, _: &TrackedModel) -> Availability {
            Availability::new(self.0, "theirs: so it is")
        }

        fn model_metrics(&self, _: &TrackedModel) -> ModelSignals {
            ModelSignals {
                arrival_rate: Signal::observed(7.0, Instant::from_secs(1), Source::Prometheus),
                ..ModelSignals::unknown(Instant::ZERO, "not told")
            }
        }

        fn replica_metrics(&self, _: &TrackedModel) -> BTreeMap<String, ReplicaSignals> {
            let signals = ReplicaSignals {
                kv: Signal::observed(0.5, Instant::from_secs(1), Source::Prometheus),
                ..ReplicaSignals::unknown(Instant::ZERO, "not told")
            };
            [("n/a".to_owned(), signals)].into()
        }

        fn health(&self) -> SourceHealth {
            SourceHealth::default()
        }
    }

    fn registry(found: Found) -> Registry {
        let mut registry = Registry::default();
        let make = move |_: &Settings| -> Result<Arc<dyn MetricsSource>, SourceError> { Ok(Arc::new(Theirs(found))) };
        registry.register("theirs", make).unwrap();
        registry
    }

    fn start(registry: &Registry, names: &[&str], gateway: GatewaySource) -> Result<ReplicaSources, SourceError> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let wanted = Wanted {
            registry,
            names: &names,
            scrape: Some(ScrapeConfig::default()),
            prometheus: None,
            gateway,
            pickers: Pickers::default(),
            urgent: &Arc::default(),
        };
        ReplicaSources::start(wanted, Clock::start(), &CancellationToken::new())
    }

    fn in_process() -> GatewaySource {
        GatewaySource::InProcess(Arc::new(GatewaySignals::default))
    }

    fn key() -> TrackedModel {
        TrackedModel {
            namespace: "n".to_owned(),
            model: "m".to_owned(),
        }
    }

    async fn heard(sources: &mut ReplicaSources) -> &Heard {
        sources.track(by_model([Endpoint {
            pod: "n/a".to_owned(),
            address: "127.0.0.1".to_owned(),
            port: 9,
            path: None,
            more_ports: std::sync::Arc::default(),
            model: Some("m".to_owned()),
        }]));
        sources.refresh().await;
        sources.read();
        &sources.heard[&key()]
    }

    #[tokio::test]
    async fn what_is_configured_is_asked_unless_somebody_names_others() {
        let registry = registry(Found::MetricsFound);
        let asked = |sources: &ReplicaSources| sources.health().into_keys().collect::<Vec<_>>();
        let usual = start(&registry, &[], in_process()).unwrap();
        assert_eq!(asked(&usual), ["gateway", "replica"]);
        assert!(usual.gateways().source("n", "m").is_some());
        let named = start(&registry, &["theirs", "replica"], in_process()).unwrap();
        assert_eq!(asked(&named), ["replica", "theirs"]);
        assert!(
            named.gateways().source("n", "m").is_none(),
            "who is not named is not asked"
        );
        let error = start(&registry, &["thiers"], in_process()).unwrap_err().to_string();
        assert!(
            error.contains("one of gateway, picker, prometheus, replica, theirs"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_source_of_somebody_else_tells_a_pass_as_ours_do() {
        let registry = registry(Found::MetricsFound);
        let mut sources = start(&registry, &["replica", "theirs"], GatewaySource::None).unwrap();
        let heard = heard(&mut sources).await;
        assert_eq!(heard.replicas["n/a"].kv.last().map(|seen| seen.value), Some(0.5));
        assert_eq!(heard.model.arrival_rate.last().map(|seen| seen.value), Some(7.0));
        assert_eq!(heard.trouble, None);
        sources.track(TrackedModels::new());
        sources.read();
        assert!(sources.heard.is_empty(), "who is gone is forgotten");
    }

    #[tokio::test]
    async fn trouble_is_what_all_that_tell_of_replicas_lack() {
        let lacks = registry(Found::PrometheusError);
        let mut both = start(&lacks, &["replica", "theirs", "gateway"], in_process()).unwrap();
        let trouble = heard(&mut both).await.trouble.clone().unwrap();
        assert_eq!(trouble.found, Found::PrometheusError);
        assert!(
            trouble.message.contains("replica: ") && trouble.message.contains("theirs: so it is"),
            "{trouble:?}"
        );
        assert!(!trouble.message.contains("gateway"), "{trouble:?}");
        let mut pods = start(&lacks, &["replica"], GatewaySource::None).unwrap();
        assert_eq!(heard(&mut pods).await.trouble, None, "each Pod tells for itself");
    }
}
