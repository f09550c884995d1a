//! Sources by name, and how each is made.

use crate::{
    Clock, Composite, GatewayReader, MetricsSource, PickerError, PodScraper, PrometheusConfig, PrometheusError,
};
use crate::{PrometheusSource, ScrapeConfig};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

/// What sources are made from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The time they go by.
    pub clock: Clock,
    /// Ends them.
    pub stop: CancellationToken,
    /// How Pods are asked, if they are.
    pub scrape: Option<ScrapeConfig>,
    /// The Prometheus to ask, if one is.
    pub prometheus: Option<PrometheusConfig>,
    /// Who reads the gateways; a decision needs more of them than a source
    /// tells, so the reader is made before.
    pub gateway: GatewayReader,
    /// Who reads the endpoint pickers, if they are asked.
    pub picker: Option<GatewayReader>,
}

/// Makes a source, or says what it lacks.
pub type Make = dyn Fn(&Settings) -> Result<Arc<dyn MetricsSource>, SourceError> + Send + Sync;

/// Why sources cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SourceError {
    /// A name that nobody has registered.
    #[error("source of signals {name:?} is not known: it must be one of {}", known.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// Those that exist.
        known: Vec<String>,
    },
    /// A name that is there already.
    #[error("source of signals {0:?} is there already: give the other one another name, or take it out")]
    Twice(String),
    /// A source without its settings.
    #[error("source of signals {name:?} is not configured: {remedy}")]
    NotConfigured {
        /// Its name.
        name: String,
        /// What to set.
        remedy: String,
    },
    /// Prometheus cannot be asked as configured.
    #[error(transparent)]
    Prometheus(#[from] PrometheusError),
    /// An endpoint picker cannot be asked as configured.
    #[error(transparent)]
    Picker(#[from] PickerError),
}

impl SourceError {
    fn not_configured(name: &str, remedy: &str) -> Self {
        Self::NotConfigured {
            name: name.to_owned(),
            remedy: remedy.to_owned(),
        }
    }
}

/// Sources by name. Those of this crate are there from the start:
/// `replica`, `prometheus`, `gateway` and `picker`.
///
/// A source from elsewhere joins them under a name of its own:
///
/// ```
/// use collect::{Availability, Found, MetricsSource, ModelSignals, Registry, ReplicaSignals, SourceError};
/// use collect::{SourceHealth, TrackedModel, TrackedModels};
/// use std::collections::BTreeMap;
/// use std::sync::Arc;
/// use units::Instant;
///
/// #[derive(Debug)]
/// struct Datacentre;
///
/// impl MetricsSource for Datacentre {
///     fn track(&self, _: &TrackedModels) {}
///     fn availability(&self, _: &TrackedModel) -> Availability {
///         Availability::new(Found::MetricsMissing, "datacentre: not asked yet")
///     }
///     fn model_metrics(&self, _: &TrackedModel) -> ModelSignals {
///         ModelSignals::unknown(Instant::ZERO, "not asked yet")
///     }
///     fn replica_metrics(&self, _: &TrackedModel) -> BTreeMap<String, ReplicaSignals> {
///         BTreeMap::new()
///     }
///     fn health(&self) -> SourceHealth {
///         SourceHealth::default()
///     }
/// }
///
/// let mut registry = Registry::default();
/// registry.register("datacentre", |_| Ok(Arc::new(Datacentre)))?;
/// assert_eq!(registry.names().collect::<Vec<_>>(), ["datacentre", "gateway", "picker", "prometheus", "replica"]);
/// # Ok::<(), SourceError>(())
/// ```
#[derive(Clone)]
pub struct Registry(BTreeMap<String, Arc<Make>>);

impl Registry {
    /// The name of [`PodScraper`].
    pub const REPLICA: &'static str = "replica";
    /// The name of [`PrometheusSource`].
    pub const PROMETHEUS: &'static str = "prometheus";
    /// The name of [`GatewayReader`] where it asks gateways.
    pub const GATEWAY: &'static str = "gateway";
    /// The name of [`GatewayReader`] where it asks endpoint pickers.
    pub const PICKER: &'static str = "picker";

    /// Adds a source.
    ///
    /// # Errors
    /// The name is taken.
    pub fn register(
        &mut self,
        name: &str,
        make: impl Fn(&Settings) -> Result<Arc<dyn MetricsSource>, SourceError> + Send + Sync + 'static,
    ) -> Result<(), SourceError> {
        if self.0.contains_key(name) {
            return Err(SourceError::Twice(name.to_owned()));
        }
        self.0.insert(name.to_owned(), Arc::new(make));
        Ok(())
    }

    /// Every name that is known.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Starts the sources called `names`, as one.
    ///
    /// # Errors
    /// A name that is not known or stands twice, a source that cannot be made.
    /// Nothing is started unless every name is good.
    pub fn start(&self, names: &[String], settings: &Settings) -> Result<Composite, SourceError> {
        let mut makers: Vec<(&String, &Arc<Make>)> = Vec::new();
        for name in names {
            let Some(make) = self.0.get(name) else {
                return Err(SourceError::Unknown {
                    name: name.clone(),
                    known: self.0.keys().cloned().collect(),
                });
            };
            if makers.iter().any(|(before, _)| *before == name) {
                return Err(SourceError::Twice(name.clone()));
            }
            makers.push((name, make));
        }
        let made = makers
            .into_iter()
            .map(|(name, make)| Ok((name.clone(), make(settings)?)));
        Ok(Composite::new(made.collect::<Result<_, SourceError>>()?))
    }
}

impl Default for Registry {
    fn default() -> Self {
        let replica = |settings: &Settings| -> Result<Arc<dyn MetricsSource>, SourceError> {
            let config = settings.scrape.clone();
            let config = config.ok_or_else(|| SourceError::not_configured(Self::REPLICA, "set --pod-scrape true"))?;
            Ok(Arc::new(PodScraper::start(
                config,
                settings.clock,
                settings.stop.clone(),
            )))
        };
        let prometheus = |settings: &Settings| -> Result<Arc<dyn MetricsSource>, SourceError> {
            let config = settings.prometheus.clone();
            let config =
                config.ok_or_else(|| SourceError::not_configured(Self::PROMETHEUS, "set PROMETHEUS_BASE_URL"))?;
            let source = PrometheusSource::start(config, settings.clock, settings.stop.clone())?;
            Ok(Arc::new(source))
        };
        let gateway = |settings: &Settings| -> Result<Arc<dyn MetricsSource>, SourceError> {
            if !settings.gateway.configured() {
                return Err(SourceError::not_configured(Self::GATEWAY, "set --gateway"));
            }
            Ok(Arc::new(settings.gateway.clone()))
        };
        let picker = |settings: &Settings| -> Result<Arc<dyn MetricsSource>, SourceError> {
            let reader = settings.picker.clone();
            let reader = reader.ok_or_else(|| SourceError::not_configured(Self::PICKER, "set --picker"))?;
            Ok(Arc::new(reader))
        };
        let makers: [(&str, Arc<Make>); 4] = [
            (Self::REPLICA, Arc::new(replica)),
            (Self::PROMETHEUS, Arc::new(prometheus)),
            (Self::GATEWAY, Arc::new(gateway)),
            (Self::PICKER, Arc::new(picker)),
        ];
        Self(makers.into_iter().map(|(name, make)| (name.to_owned(), make)).collect())
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GatewaySource;

    fn settings() -> Settings {
        let (clock, stop) = (Clock::start(), CancellationToken::new());
        Settings {
            clock,
            gateway: GatewayReader::start(GatewaySource::None, clock, &Arc::default(), &stop),
            picker: None,
            stop,
            scrape: None,
            prometheus: None,
        }
    }

    fn refused(registry: &Registry, names: &[&str], settings: &Settings) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        registry.start(&names, settings).unwrap_err().to_string()
    }

    #[tokio::test]
    async fn sources_are_made_by_name() {
        let settings = Settings {
            scrape: Some(ScrapeConfig::default()),
            prometheus: Some(PrometheusConfig::new("https://prometheus:9090")),
            ..settings()
        };
        let gateway = GatewaySource::InProcess(Arc::new(Default::default));
        let settings = Settings {
            gateway: GatewayReader::start(gateway, settings.clock, &Arc::default(), &settings.stop),
            ..settings
        };
        let names = ["prometheus", "replica", "gateway"].map(str::to_owned);
        let all = Registry::default().start(&names, &settings).unwrap();
        assert_eq!(all.names().collect::<Vec<_>>(), names);
        assert_eq!(all.health().asked, 0);
        settings.stop.cancel();
    }

    #[tokio::test]
    async fn what_cannot_be_made_is_named_with_the_remedy() {
        let registry = Registry::default();
        let settings = settings();
        for (names, says) in [
            (
                &["epp"][..],
                "\"epp\" is not known: it must be one of gateway, picker, prometheus, replica",
            ),
            (&["replica"], "\"replica\" is not configured: set --pod-scrape true"),
            (
                &["prometheus"],
                "\"prometheus\" is not configured: set PROMETHEUS_BASE_URL",
            ),
            (&["gateway"], "\"gateway\" is not configured: set --gateway"),
            (&["picker"], "\"picker\" is not configured: set --picker"),
        ] {
            let error = refused(&registry, names, &settings);
            assert!(error.contains(says), "{error}");
        }
        let scraped = Settings {
            scrape: Some(ScrapeConfig::default()),
            ..settings
        };
        let error = refused(&registry, &["replica", "replica"], &scraped);
        assert!(error.contains("there already"), "{error}");
        let bad = Settings {
            prometheus: Some(PrometheusConfig::new("http://prometheus:9090")),
            ..scraped
        };
        let error = refused(&registry, &["prometheus"], &bad);
        assert!(error.starts_with("PROMETHEUS_BASE_URL is http"), "{error}");
    }

    #[test]
    fn a_name_is_registered_once() {
        let mut registry = Registry::default();
        let make = |_: &Settings| -> Result<Arc<dyn MetricsSource>, SourceError> { Ok(Arc::new(Composite::default())) };
        registry.register("mine", make).unwrap();
        for taken in ["mine", "prometheus"] {
            assert_eq!(
                registry.register(taken, make),
                Err(SourceError::Twice(taken.to_owned()))
            );
        }
        assert!(format!("{registry:?}").contains("mine"));
    }
}
