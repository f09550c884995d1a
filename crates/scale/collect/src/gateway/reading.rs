//! What all gateways and pickers together say of a model.

use super::Kind;
use super::past::Instance;
use crate::Endpoint;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use units::{Instant, Signal, Source};
use wire::signals::{Histogram, PoolSignals};

/// What all gateways together say of one model, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelDemand {
    /// Requests accepted since start (counter).
    pub arrived: u64,
    /// Requests waiting now.
    pub queued: u64,
    /// How long the oldest of them has waited.
    pub oldest_wait: Option<Duration>,
    /// Requests at endpoints now.
    pub in_flight: u64,
    /// Requests per second, over the last 5 s.
    pub arrival_rate: Option<f64>,
    /// Requests per second that left an endpoint, over the last 5 s.
    pub completion_rate: Option<f64>,
    /// Generated tokens per second, over the last 5 s.
    pub token_rate: Option<f64>,
    /// Time to first token, median and 99th percentile of the last 15 s, milliseconds.
    pub ttft_ms: Option<(f64, f64)>,
    /// Inter-token latency, the same.
    pub itl_ms: Option<(f64, f64)>,
    /// Means of both over the same time, milliseconds.
    pub mean_ttft_ms: Option<f64>,
    /// See [`Self::mean_ttft_ms`].
    pub mean_itl_ms: Option<f64>,
    /// Tokens of a prompt and of an answer, mean of the requests that were
    /// completed within the last 5 s.
    pub mean_tokens: Option<(f64, f64)>,
    /// By endpoint `ip:port`.
    pub endpoints: BTreeMap<String, EndpointLedger>,
}

/// One endpoint in the gateways' ledgers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointLedger {
    /// The Pod behind it.
    pub pod: String,
    /// Requests sent and not ended.
    pub in_flight: u64,
    /// Most requests sent at once.
    pub slots: u64,
}

/// All gateways and pickers, read at one moment.
#[derive(Debug)]
pub struct GatewayReading {
    pub(super) parts: Vec<(Kind, Arc<Mutex<Vec<Instance>>>)>,
}

impl GatewayReading {
    /// This, and what others say.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.parts.extend(others.parts);
        self
    }

    /// Who tells of `model` in `namespace`: a gateway, or pickers alone.
    #[must_use]
    pub fn source(&self, namespace: &str, model: &str) -> Option<Source> {
        let tells = |instances: &Mutex<Vec<Instance>>| {
            let instances = instances.lock();
            instances.iter().any(|one| one.is_to_tell(namespace, model))
        };
        let telling = self.parts.iter().filter(|(_, instances)| tells(instances));
        telling.map(|(kind, _)| kind.source()).min()
    }

    /// What all together say of `model` in `namespace`, with the names of those
    /// that say nothing. As old as the oldest of the answers.
    #[must_use]
    pub fn demand(&self, namespace: &str, model: &str, now: Instant) -> (Signal<ModelDemand>, Vec<String>) {
        let mut demand = ModelDemand::default();
        let mut latencies = (Histogram::default(), Histogram::default());
        let (mut completed, mut prompts) = (None, None);
        let (mut at, mut found, mut silent, mut why) = (now, None, Vec::new(), None);
        let locked: Vec<_> = self
            .parts
            .iter()
            .map(|(kind, instances)| (*kind, instances.lock()))
            .collect();
        let all = locked
            .iter()
            .flat_map(|(kind, instances)| instances.iter().map(move |instance| (*kind, instance)));
        for (kind, instance) in all.filter(|(_, instance)| instance.is_to_tell(namespace, model)) {
            let failed = instance.error.as_ref().map(|(_, error)| error);
            let Some((seen_at, signals)) = &instance.latest else {
                silent.push(instance.name.clone());
                why = why.or_else(|| failed.cloned());
                continue;
            };
            if let Some(error) = failed {
                silent.push(instance.name.clone());
                why = why.or_else(|| Some(error.clone()));
            }
            for (name, pool) in signals.pools_of(namespace, model) {
                found = found.max(Some(kind.source()));
                at = at.min(*seen_at);
                demand.add(pool);
                if let Some(past) = instance.pools.get(name) {
                    let add = |sum: &mut Option<f64>, rate: Option<f64>| {
                        if let Some(rate) = rate {
                            *sum = Some(sum.unwrap_or(0.0) + rate);
                        }
                    };
                    add(&mut demand.arrival_rate, past.arrived.per_second());
                    add(&mut demand.completion_rate, past.left.per_second());
                    add(&mut demand.token_rate, past.tokens.per_second());
                    add(&mut completed, past.completed.per_second());
                    add(&mut prompts, past.prompts.per_second());
                    let (ttft, itl) = past.recent(pool);
                    merge(&mut latencies.0, &ttft);
                    merge(&mut latencies.1, &itl);
                }
            }
        }
        let Some(source) = found else {
            let mut pickers = locked.iter().filter(|(kind, _)| *kind == Kind::Picker);
            let of_namespace = pickers.find_map(|(_, instances)| {
                let mut here = instances.iter().filter(|instance| instance.is_of(namespace));
                here.find_map(|instance| instance.error.as_ref().map(|(_, error)| error.clone()))
            });
            let why = why.or(of_namespace).unwrap_or_else(|| {
                if self.parts.iter().all(|(kind, _)| *kind == Kind::Picker) && silent.is_empty() {
                    format!(
                        "no picker has counted a request for model {model} in namespace {namespace} yet; is its flow \
                         control on?"
                    )
                } else if silent.is_empty() {
                    format!("no pool serves model {model} in namespace {namespace}; does an InferencePool name it?")
                } else {
                    "not heard of yet".to_owned()
                }
            });
            return (Signal::missing(now, why), silent);
        };
        let quantiles = |latency: &Histogram| Some((latency.quantile_ms(0.5)?, latency.quantile_ms(0.99)?));
        demand.ttft_ms = quantiles(&latencies.0);
        demand.itl_ms = quantiles(&latencies.1);
        let mean = |latency: &Histogram| Some(latency.sum_ms / latency.count() as f64).filter(|mean| mean.is_finite());
        demand.mean_ttft_ms = mean(&latencies.0);
        demand.mean_itl_ms = mean(&latencies.1);
        demand.mean_tokens = match (completed, prompts, demand.token_rate) {
            (Some(completed), Some(prompts), Some(tokens)) if completed > 0.0 => {
                Some((prompts / completed, tokens / completed))
            }
            _ => None,
        };
        (Signal::observed(demand, at, source), silent)
    }
}

impl ModelDemand {
    /// What the ledger has of a Pod, by its address, else by its name: of all its
    /// ports together, as ranks have one each.
    pub(super) fn ledger_of(&self, endpoint: &Endpoint) -> Option<EndpointLedger> {
        let host = match endpoint.address.contains(':') {
            true => format!("[{}]:", endpoint.address),
            false => format!("{}:", endpoint.address),
        };
        let sum = |all: &mut dyn Iterator<Item = &EndpointLedger>| {
            all.cloned().reduce(|sum, next| EndpointLedger {
                pod: sum.pod,
                in_flight: sum.in_flight.saturating_add(next.in_flight),
                slots: sum.slots.saturating_add(next.slots),
            })
        };
        let at_host = self.endpoints.range(host.clone()..);
        let at_host = at_host.take_while(|(address, _)| address.starts_with(&host));
        let name = endpoint.pod.rsplit('/').next().unwrap_or(&endpoint.pod);
        sum(&mut at_host.map(|(_, ledger)| ledger)).or_else(|| {
            let all = self.endpoints.values();
            sum(&mut all.filter(|ledger| ledger.pod == endpoint.pod || ledger.pod == name))
        })
    }

    fn add(&mut self, pool: &PoolSignals) {
        self.arrived = self.arrived.saturating_add(pool.arrived);
        self.queued = self.queued.saturating_add(pool.queued);
        self.in_flight = self.in_flight.saturating_add(pool.in_flight);
        let waited = pool
            .oldest_wait_ms
            .filter(|_| pool.queued > 0)
            .map(Duration::from_millis);
        self.oldest_wait = self.oldest_wait.max(waited);
        for (address, endpoint) in &pool.endpoints {
            let ledger = self.endpoints.entry(address.clone()).or_default();
            ledger.pod.clone_from(&endpoint.pod);
            ledger.in_flight = ledger.in_flight.saturating_add(endpoint.in_flight);
            // Each gateway has slots of its own at the same replica; the
            // replica has as many as the most generous one sends.
            ledger.slots = ledger.slots.max(endpoint.slots);
        }
    }
}

fn merge(into: &mut Histogram, from: &Histogram) {
    if into.counts.len() < from.counts.len() {
        into.counts.resize(from.counts.len(), 0);
    }
    for (sum, count) in into.counts.iter_mut().zip(&from.counts) {
        *sum += count;
    }
    into.sum_ms += from.sum_ms;
}
