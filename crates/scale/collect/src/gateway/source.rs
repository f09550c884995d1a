//! The gateways, or the pickers, as a source of signals.

use super::{GatewayReader, ModelDemand};
use crate::source::{MetricsSource, Refresh, TrackedModel, TrackedModels};
use crate::{Availability, Endpoint, Found, ModelSignals, ReplicaSignals, SourceHealth};
use std::collections::BTreeMap;
use std::time::Duration;
use units::{Instant, Signal};

/// A gateway that was silent for longer is not to be acted on.
const STALE: Duration = Duration::from_secs(5);

impl GatewayReader {
    /// What it is called in messages.
    const fn name(&self) -> &'static str {
        self.kind.source().as_str()
    }

    fn demand(&self, model: &TrackedModel, now: Instant) -> (Signal<ModelDemand>, Vec<String>) {
        self.reading().demand(&model.namespace, &model.model, now)
    }
}

impl MetricsSource for GatewayReader {
    fn track(&self, models: &TrackedModels) {
        self.tracked.lock().clone_from(models);
    }

    fn refresh(&self) -> Refresh<'_> {
        self.ask();
        Box::pin(std::future::ready(()))
    }

    fn availability(&self, model: &TrackedModel) -> Availability {
        let now = self.clock.now();
        let (demand, silent) = self.demand(model, now);
        match demand {
            Signal::Missing { why, .. } => Availability::new(Found::MetricsMissing, format!("{}: {why}", self.name())),
            Signal::Observed(seen) if now.since(seen.at) > STALE => {
                let age = now.since(seen.at).as_secs();
                let message = format!(
                    "{}: last heard of {age} s ago; is it running and reachable?",
                    self.name()
                );
                Availability::new(Found::MetricsStale, message)
            }
            Signal::Observed(_) if silent.is_empty() => Availability::new(
                Found::MetricsFound,
                format!("{}: all that are configured tell", self.name()),
            ),
            Signal::Observed(_) => {
                let message = format!("{}: no answer from {}, the others tell", self.name(), silent.join(", "));
                Availability::new(Found::MetricsFound, message)
            }
        }
    }

    /// Arrivals and lengths are the gateways' own; latencies are the means
    /// that clients see, the wait at the gateway included.
    fn model_metrics(&self, model: &TrackedModel) -> ModelSignals {
        let now = self.clock.now();
        let (demand, silent) = self.demand(model, now);
        let seen = match demand {
            Signal::Missing { why, .. } => {
                let unknown = ModelSignals::unknown(now, format!("{}: {why}", self.name()));
                return ModelSignals { silent, ..unknown };
            }
            Signal::Observed(seen) => seen,
        };
        let signal = |value: Option<f64>| match value {
            Some(value) => Signal::observed(value, seen.at, seen.source),
            None => Signal::missing(now, format!("{}: no request was seen lately", self.name())),
        };
        ModelSignals {
            arrival_rate: signal(seen.value.arrival_rate),
            prompt_tokens: signal(seen.value.mean_tokens.map(|(prompt, _)| prompt)),
            answer_tokens: signal(seen.value.mean_tokens.map(|(_, answer)| answer)),
            ttft_ms: signal(seen.value.mean_ttft_ms),
            itl_ms: signal(seen.value.mean_itl_ms),
            silent,
            recorded_for: None,
        }
    }

    /// What the ledger has of each: requests in flight, and slots.
    fn replica_metrics(&self, model: &TrackedModel) -> BTreeMap<String, ReplicaSignals> {
        let now = self.clock.now();
        let endpoints = self.tracked.lock().get(model).cloned();
        let (demand, _) = self.demand(model, now);
        let replica = |endpoint: &Endpoint| {
            let mut signals = ReplicaSignals::unknown(now, format!("a {} does not tell it", self.name()));
            let why = match demand.last() {
                None => "no gateway tells",
                Some(seen) => match seen.value.ledger_of(endpoint) {
                    None => "the gateway does not know this Pod yet",
                    Some(ledger) => {
                        let told = |value: u64| Signal::observed(value as f64, seen.at, seen.source);
                        signals.in_flight = told(ledger.in_flight);
                        if ledger.slots > 0 {
                            signals.slots = told(ledger.slots);
                        }
                        return (endpoint.pod.clone(), signals);
                    }
                },
            };
            signals.in_flight = Signal::missing(now, why);
            (endpoint.pod.clone(), signals)
        };
        endpoints.iter().flat_map(|all| all.iter()).map(replica).collect()
    }

    fn health(&self) -> SourceHealth {
        self.counters.read(self.clock.now())
    }
}
