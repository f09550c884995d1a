//! Prometheus as a source: every replica's pages as it has recorded them.
//!
//! One query per model asks for the raw samples of all its replicas within a
//! window, whatever their number. Raw samples carry the time of their scrape,
//! so the age of a signal is its true age (an instant query stamps everything
//! with the time of the question), and rates are computed here as they are from
//! our own scrapes. The samples of one replica at one time are put together
//! again as the page they came from ([`recorded`]) and read as a scrape is.
//!
//! Questions are asked in the background ([`fetch`]) and what came of them is
//! kept in a [`crate::cache`] for those who read; without background or cache a
//! pass asks itself, through [`MetricsSource::refresh`].

mod client;
mod config;
mod connect;
mod fetch;
mod query;
mod recorded;
mod remedy;
mod skew;
mod told;
mod tracked;

pub use config::{PrometheusConfig, PrometheusError, without_user};

use crate::cache::{Cache, Cached, MemoryCache, NoCache};
use crate::health::Counters;
use crate::source::{MetricsSource, Refresh, TrackedModel, TrackedModels};
use crate::{Availability, Clock, Found, ModelSignals, ReplicaSignals, SourceHealth};
use client::Client;
use parking_lot::Mutex;
use skew::Skew;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use told::Told;
use tracked::{Outcome, Tracked};
use units::Instant;

/// The Prometheus source. Cloning shares it.
#[derive(Clone, Debug)]
pub struct PrometheusSource {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: PrometheusConfig,
    clock: Clock,
    client: Client,
    cache: Box<dyn Cache<Arc<Told>>>,
    models: Mutex<BTreeMap<TrackedModel, Tracked>>,
    skew: Mutex<Skew>,
    /// Numbers what is tracked: an answer to an older question is no answer.
    generations: AtomicU64,
    changed: Notify,
    counters: Counters,
}

impl PrometheusSource {
    /// Starts asking, until `stop`.
    ///
    /// # Errors
    /// A configuration that cannot be used, with its key.
    pub fn start(config: PrometheusConfig, clock: Clock, stop: CancellationToken) -> Result<Self, PrometheusError> {
        config.validate()?;
        let client = Client::new(&config)?;
        let cache: Box<dyn Cache<Arc<Told>>> = if config.cache_enabled {
            Box::new(MemoryCache::new(config.cache_ttl, config.cache_entries))
        } else {
            Box::new(NoCache)
        };
        let shared = Arc::new(Shared {
            config,
            clock,
            client,
            cache,
            models: Mutex::default(),
            skew: Mutex::default(),
            generations: AtomicU64::new(0),
            changed: Notify::new(),
            counters: Counters::default(),
        });
        if shared.cache.keeps() {
            tokio::spawn(fetch::run(shared.clone(), stop));
        }
        Ok(Self { shared })
    }
}

impl MetricsSource for PrometheusSource {
    fn track(&self, models: &TrackedModels) {
        let now = self.shared.clock.now();
        let mut tracked = self.shared.models.lock();
        let gone: Vec<TrackedModel> = tracked
            .keys()
            .filter(|key| !models.contains_key(*key))
            .cloned()
            .collect();
        for key in &gone {
            tracked.remove(key);
        }
        let next_generation = || self.shared.generations.fetch_add(1, Relaxed) + 1;
        let mut changed = false;
        for (key, endpoints) in models {
            let known = tracked
                .entry(key.clone())
                .or_insert_with(|| Tracked::new(now, next_generation()));
            if known.endpoints != *endpoints {
                known.follow(endpoints.clone(), now, next_generation());
                changed = true;
            }
        }
        drop(tracked);
        self.shared.forget(&gone, models);
        if changed {
            self.shared.changed.notify_one();
        }
    }

    fn refresh(&self) -> Refresh<'_> {
        Box::pin(fetch::for_a_pass(&self.shared))
    }

    fn availability(&self, model: &TrackedModel) -> Availability {
        let now = self.shared.clock.now();
        match self.shared.told(model, now) {
            Ok(told) => self
                .shared
                .failure(model, now)
                .unwrap_or_else(|| told.judge(&self.shared.config, now)),
            Err(why) => why,
        }
    }

    fn model_metrics(&self, model: &TrackedModel) -> ModelSignals {
        let now = self.shared.clock.now();
        match self.shared.told(model, now) {
            Ok(told) => told.model(&self.shared.config, now),
            Err(why) => ModelSignals::unknown(now, why.message),
        }
    }

    fn replica_metrics(&self, model: &TrackedModel) -> BTreeMap<String, ReplicaSignals> {
        let now = self.shared.clock.now();
        let endpoints = match self.shared.models.lock().get(model) {
            Some(tracked) => tracked.endpoints.clone(),
            None => return BTreeMap::new(),
        };
        match self.shared.told(model, now) {
            Ok(told) => told.replicas(&endpoints, &self.shared.config, now),
            Err(why) => {
                let unknown = ReplicaSignals {
                    error: Some(why.message.clone()),
                    ..ReplicaSignals::unknown(now, why.message)
                };
                let named = endpoints.iter().map(|endpoint| endpoint.pod.clone());
                named.map(|pod| (pod, unknown.clone())).collect()
            }
        }
    }

    fn health(&self) -> SourceHealth {
        SourceHealth {
            cache: self.shared.cache.keeps().then(|| self.shared.cache.stats()),
            clock_ahead_ms: self.shared.skew.lock().ahead_ms(),
            ..self.shared.counters.read(self.shared.clock.now())
        }
    }
}

impl Shared {
    /// Under what a model's answer is kept.
    fn cache_key(model: &TrackedModel) -> String {
        format!("replica:{}/{}", model.namespace, model.model)
    }

    /// Takes what is `gone` out of the cache: a whole namespace at once where
    /// nothing of it is left.
    fn forget(&self, gone: &[TrackedModel], left: &TrackedModels) {
        let namespaces: BTreeSet<&str> = gone.iter().map(|key| key.namespace.as_str()).collect();
        for namespace in namespaces {
            if left.keys().any(|key| key.namespace == namespace) {
                for key in gone.iter().filter(|key| key.namespace == namespace) {
                    self.cache.invalidate(&Self::cache_key(key));
                }
            } else {
                self.cache.invalidate_prefix(&format!("replica:{namespace}/"));
            }
        }
    }

    /// What Prometheus said of a model, if that may be acted on; else why not.
    fn told(&self, model: &TrackedModel, now: Instant) -> Result<Arc<Told>, Availability> {
        let missing = |why: String| Availability::new(Found::MetricsMissing, why);
        let cached = self.cache.get(&Self::cache_key(model), now);
        if let Cached::Hit(told) = cached {
            return Ok(told);
        }
        let models = self.models.lock();
        let Some(tracked) = models.get(model) else {
            let (namespace, model) = (&model.namespace, &model.model);
            return Err(missing(format!(
                "Prometheus is not asked for model {model} in namespace {namespace}: no Pod of it is ready with an address"
            )));
        };
        if let Outcome::Failed(why) = &tracked.outcome {
            return Err(Availability::new(Found::PrometheusError, why.clone()));
        }
        if let Some(told) = &tracked.of_pass {
            return Ok(told.clone());
        }
        let Some(answered) = tracked.answered else {
            return Err(missing("Prometheus has not been asked yet".to_owned()));
        };
        if !self.cache.keeps() {
            return Err(missing("Prometheus has not been asked for this pass".to_owned()));
        }
        let (age, ttl) = (now.since(answered), self.config.cache_ttl);
        if age > ttl {
            return Err(Availability::new(
                Found::MetricsStale,
                format!(
                    "Prometheus' last answer is {} s old, and none is used for longer than {ttl:?}: raise \
                     PROMETHEUS_METRICS_CACHE_TTL if it may be older",
                    age.as_secs()
                ),
            ));
        }
        Err(missing(format!(
            "Prometheus' answer was driven out of the cache, which holds {} models: watch fewer namespaces with one autoscaler",
            self.config.cache_entries
        )))
    }

    /// What went wrong with the last question, while an earlier answer still counts.
    fn failure(&self, model: &TrackedModel, now: Instant) -> Option<Availability> {
        let models = self.models.lock();
        let tracked = models.get(model)?;
        let Outcome::Failed(why) = &tracked.outcome else {
            return None;
        };
        let age = tracked.answered.map(|answered| now.since(answered).as_secs());
        let since = age.map_or_else(String::new, |age| format!(" (its last answer is {age} s old)"));
        Some(Availability::new(Found::PrometheusError, format!("{why}{since}")))
    }
}

#[cfg(test)]
mod tests;
