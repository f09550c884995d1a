//! From objects and signals to the models that are decided on.

use super::ModelKey;
use crate::replica_sources::ReplicaSources;
use crate::survey::{PodFacts, Variant};
use capacity::{Demand, GatewayView, ModelView, Percentiles, ReplicaState, ReplicaView, Slo, VariantView};
use collect::{Endpoint, GatewayReading, ModelDemand, ModelSignals};
use std::collections::BTreeMap;
use std::time::Duration;
use units::{Instant, Signal, Source};

/// Arrivals that replicas told longer ago stand in for nobody's.
const ARRIVALS_FRESH: Duration = Duration::from_secs(5);

/// Every replica that can be asked for its metrics.
pub(super) fn endpoints(variants: &[Variant]) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for variant in variants {
        let Some((settings, _)) = variant.decidable() else {
            continue;
        };
        for pod in variant.pods.iter().filter(|pod| pod.state == ReplicaState::Ready) {
            let Some(ip) = &pod.ip else { continue };
            endpoints.push(Endpoint {
                pod: format!("{}/{}", variant.namespace, pod.name),
                address: ip.clone(),
                port: pod.port,
                model: Some(settings.model.clone()),
            });
        }
    }
    endpoints
}

/// Most replicas that are taken to be there though nobody sees them.
const MOST_UNSEEN: usize = 1000;

/// Groups variants by namespace and model, with all that is known of them.
///
/// `unseen` says why Pods cannot be seen, if they cannot. What was asked for
/// and is not among those last seen may well serve then: it counts as ready
/// and silent, so that nothing is taken away on half the facts.
pub(super) fn views(
    variants: &[Variant],
    reading: &GatewayReading,
    sources: &mut ReplicaSources,
    unseen: Option<&str>,
    now: Instant,
) -> BTreeMap<ModelKey, ModelView> {
    let mut demands: BTreeMap<ModelKey, (Signal<ModelDemand>, Vec<String>)> = BTreeMap::new();
    let mut views: BTreeMap<ModelKey, ModelView> = BTreeMap::new();
    for variant in variants {
        let Some((settings, target)) = variant.decidable() else {
            continue;
        };
        let key = (variant.namespace.clone(), settings.model.clone());
        let (demand, silent) = demands
            .entry(key.clone())
            .or_insert_with(|| reading.demand(&key.0, &key.1, now));
        let view = views.entry(key).or_insert_with(|| ModelView {
            model: settings.model.clone(),
            namespace: variant.namespace.clone(),
            slo: slo(variant),
            gateway: if reading.configured() {
                let told = sources.model(variant, &settings.model);
                GatewayView::Present {
                    demand: in_words_of_capacity(demand, told.and_then(|told| arrivals(told, now))),
                    silent: silent.clone(),
                }
            } else {
                GatewayView::Absent
            },
            variants: Vec::new(),
        });
        let mut replicas: Vec<ReplicaView> = variant
            .pods
            .iter()
            .map(|pod| replica(variant, &settings.model, pod, sources, now))
            .collect();
        if let Some(why) = unseen {
            let wanted = target.wanted as usize;
            for number in (replicas.len()..wanted).take(MOST_UNSEEN) {
                let name = format!("{}, replica {}", variant.name, number + 1);
                replicas.push(ReplicaView::unknown(name, ReplicaState::Ready, now, why));
            }
        }
        view.variants.push(VariantView {
            name: variant.name.clone(),
            accelerator: variant.accelerator.clone(),
            cost: settings.cost,
            min: settings.min,
            max: settings.max,
            wanted: target.wanted,
            slots: target.slots,
            replicas,
        });
    }
    views
}

/// What the configuration promises for the variant's model.
fn slo(variant: &Variant) -> Option<Slo> {
    let level = variant.config.as_ref()?.slo.as_ref()?;
    Some(Slo {
        ttft_ms: level.ttft_ms,
        itl_ms: level.tpot_ms,
        percentile: level.percentile,
    })
}

const fn percentiles((p50_ms, p99_ms): (f64, f64)) -> Percentiles {
    Percentiles { p50_ms, p99_ms }
}

/// What the replicas' own counters say arrives, if all of them tell it and lately.
fn arrivals(told: &ModelSignals, now: Instant) -> Option<f64> {
    let complete = told.silent.is_empty();
    let seen = told.arrival_rate.fresh(now, ARRIVALS_FRESH).filter(|_| complete)?;
    Some(seen.value)
}

/// `arrivals` stands in where gateways do not know how many requests arrive,
/// as those that have just started do not.
fn in_words_of_capacity(demand: &Signal<ModelDemand>, arrivals: Option<f64>) -> Signal<Demand> {
    match demand {
        Signal::Missing { since, why } => Signal::missing(*since, why.clone()),
        Signal::Observed(seen) => {
            let demand = &seen.value;
            let demand = Demand {
                arrived: demand.arrived,
                queued: demand.queued,
                oldest_wait: demand.oldest_wait,
                in_flight: demand.in_flight,
                arrival_rate: demand.arrival_rate.or(arrivals),
                completion_rate: demand.completion_rate,
                ttft: demand.ttft_ms.map(percentiles),
                itl: demand.itl_ms.map(percentiles),
            };
            Signal::observed(demand, seen.at, seen.source)
        }
    }
}

fn replica(variant: &Variant, model: &str, pod: &PodFacts, sources: &mut ReplicaSources, now: Instant) -> ReplicaView {
    let mut view = ReplicaView::unknown(
        pod.name.as_str(),
        pod.state.clone(),
        now,
        "not asked: the Pod is not ready",
    );
    if let Some(slots) = pod.slots {
        view.slots = Signal::observed(slots, now, Source::Replica);
    }
    if pod.state != ReplicaState::Ready {
        return view;
    }
    let Some(signals) = sources.take(variant, model, &pod.name) else {
        return not_asked(view, now);
    };
    view.kv = signals.kv;
    view.running = signals.running;
    view.waiting = signals.waiting;
    view.token_rate = signals.token_rate;
    view.kv_tokens = signals.kv_tokens;
    view.prompt_tokens = signals.prompt_tokens;
    view.generated_tokens = signals.answer_tokens;
    view.ttft_ms = signals.ttft_ms;
    view.itl_ms = signals.itl_ms;
    view.prefix_hit_share = signals.prefix_hit_share;
    view.in_flight = signals.in_flight;
    if pod.slots.is_none() && signals.slots.last().is_some() {
        view.slots = signals.slots;
    }
    view
}

/// No source asks a Pod that cannot be reached.
fn not_asked(view: ReplicaView, now: Instant) -> ReplicaView {
    let slots = view.slots;
    let unknown = ReplicaView::unknown(view.name, view.state, now, "not asked: the Pod has no address");
    ReplicaView { slots, ..unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_stand_in_for_a_gateway_that_does_not_know_the_arrivals_yet() {
        let now = Instant::from_secs(100);
        let seen = |at: u64| Signal::observed(4.0, Instant::from_secs(at), Source::Replica);
        let told = |at, silent: &[&str]| ModelSignals {
            arrival_rate: seen(at),
            silent: silent.iter().map(|pod| (*pod).to_owned()).collect(),
            ..ModelSignals::unknown(now, "not told")
        };
        assert_eq!(arrivals(&told(98, &[]), now), Some(4.0));
        assert_eq!(arrivals(&told(90, &[]), now), None, "too old");
        assert_eq!(arrivals(&told(98, &["n/a"]), now), None, "not all tell");
        for (known, expected) in [(None, Some(4.0)), (Some(9.0), Some(9.0))] {
            let demand = ModelDemand {
                arrival_rate: known,
                ..ModelDemand::default()
            };
            let demand = in_words_of_capacity(&Signal::observed(demand, now, Source::Gateway), Some(4.0));
            assert_eq!(demand.last().map(|seen| seen.value.arrival_rate), Some(expected));
        }
        let unknown = in_words_of_capacity(&Signal::missing(now, "refused"), Some(4.0));
        assert_eq!(
            unknown.last(),
            None,
            "a gateway that does not tell is not asked for less"
        );
    }
}
