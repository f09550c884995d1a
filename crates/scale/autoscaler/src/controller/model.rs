//! From objects and signals to the models that are decided on.

use super::ModelKey;
use crate::replica_sources::{Heard, ReplicaSources};
use crate::survey::{PodFacts, Variant};
use capacity::{Demand, GatewayView, ModelView, Percentiles, ReplicaState, ReplicaView, Slo, VariantView};
use collect::{Endpoint, GatewayReading, ModelDemand, ModelSignals, TrackedModel, TrackedModels};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use units::{Instant, Signal, Source};

/// Every replica that can be asked for its metrics, by model. Of a model whose
/// replicas are those of `before` it is the same list.
pub(super) fn endpoints(variants: &[Variant], before: &TrackedModels) -> TrackedModels {
    let mut models: BTreeMap<TrackedModel, Vec<(&PodFacts, &str)>> = BTreeMap::new();
    for variant in variants {
        let Some((settings, _)) = variant.decidable() else {
            continue;
        };
        let ready = variant.pods.iter().filter(|pod| pod.state == ReplicaState::Ready);
        let mut reachable = ready
            .filter_map(|pod| Some((pod.as_ref(), pod.ip.as_deref()?)))
            .peekable();
        if reachable.peek().is_some() {
            let key = TrackedModel {
                namespace: variant.namespace.clone(),
                model: settings.model.clone(),
            };
            models.entry(key).or_default().extend(reachable);
        }
    }
    let list = |(key, pods): (TrackedModel, Vec<(&PodFacts, &str)>)| {
        let same = |(endpoint, (pod, ip)): (&Endpoint, &(&PodFacts, &str))| {
            endpoint.pod == pod.full_name
                && endpoint.address == *ip
                && endpoint.port == pod.metrics_port
                && endpoint.path == pod.metrics_path
                && endpoint.more_ports == pod.more_metrics_ports
        };
        let known = before.get(&key);
        let known = known.filter(|all| all.len() == pods.len() && all.iter().zip(&pods).all(same));
        let endpoint = |(pod, ip): &(&PodFacts, &str)| Endpoint {
            pod: pod.full_name.clone(),
            address: (*ip).to_owned(),
            port: pod.metrics_port,
            path: pod.metrics_path.clone(),
            more_ports: pod.more_metrics_ports.clone(),
            model: Some(key.model.clone()),
        };
        let all = known.cloned().unwrap_or_else(|| pods.iter().map(endpoint).collect());
        (key, all)
    };
    models.into_iter().map(list).collect()
}

/// Groups variants by namespace and model, with all that is known of them.
pub(super) fn views(
    variants: &[Variant],
    reading: &GatewayReading,
    sources: &mut ReplicaSources,
    now: Instant,
) -> BTreeMap<ModelKey, ModelView> {
    let mut demands: BTreeMap<ModelKey, (Signal<ModelDemand>, Vec<String>)> = BTreeMap::new();
    let mut views: BTreeMap<ModelKey, ModelView> = BTreeMap::new();
    let mut born: BTreeMap<ModelKey, BTreeMap<String, Instant>> = BTreeMap::new();
    for variant in variants {
        let Some((settings, target)) = variant.decidable() else {
            continue;
        };
        let key = (variant.namespace.clone(), settings.model.clone());
        let (demand, silent) = demands
            .entry(key.clone())
            .or_insert_with(|| reading.demand(&key.0, &key.1, now));
        let new = |since: &Instant| now.since(*since) < NEW;
        let since = |pod: &Arc<PodFacts>| Some((pod.name.to_string(), pod.ready_since.filter(new)?));
        let pods = variant.pods.iter().filter_map(since);
        born.entry(key.clone()).or_default().extend(pods);
        let mut heard = sources.heard_mut(variant, &settings.model);
        let view = views.entry(key).or_insert_with(|| ModelView {
            model: settings.model.clone(),
            namespace: variant.namespace.clone(),
            slo: slo(variant),
            arrivals: arrivals(heard.as_deref().map(Heard::model), now),
            gateway: match reading.source(&variant.namespace, &settings.model) {
                Some(by) => GatewayView::Present {
                    by,
                    demand: in_words_of_capacity(demand),
                    silent: silent.clone(),
                },
                None => GatewayView::Absent,
            },
            variants: Vec::new(),
        });
        let replicas = variant
            .pods
            .iter()
            .map(|pod| replica(pod, heard.as_deref_mut(), now))
            .collect();
        let profile = settings.profile_on(variant.accelerator.as_deref());
        view.variants.push(VariantView {
            name: variant.name.clone(),
            accelerator: variant.accelerator.clone(),
            cost: settings.cost,
            min: settings.min,
            max: settings.max,
            wanted: target.wanted,
            slots: target
                .slots
                .or_else(|| profile.map(|profile| f64::from(profile.max_batch))),
            gpus: target.gpus.and_then(|gpus| u32::try_from(gpus).ok()),
            engine: target.engine.clone(),
            profile,
            replicas,
        });
    }
    for (key, view) in &mut views {
        if let Some(born) = born.get(key) {
            expect_new(view, born, now);
        }
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

/// What replicas' counters say arrives, if all of them tell it.
fn arrivals(told: Option<&ModelSignals>, now: Instant) -> Signal<f64> {
    let Some(told) = told else {
        return Signal::missing(now, "no replica is asked");
    };
    match (told.arrival_rate.last(), &told.silent[..]) {
        (Some(_), [one, ..]) => {
            let silent = told.silent.len();
            Signal::missing(now, format!("not all count them: {silent} do not, {one} for one"))
        }
        _ => told.arrival_rate.clone(),
    }
}

fn in_words_of_capacity(demand: &Signal<ModelDemand>) -> Signal<Demand> {
    match demand {
        Signal::Missing { since, why } => Signal::missing(*since, why.clone()),
        Signal::Observed(seen) => {
            let demand = &seen.value;
            let demand = Demand {
                arrived: demand.arrived,
                queued: demand.queued,
                oldest_wait: demand.oldest_wait,
                in_flight: demand.in_flight,
                arrival_rate: demand.arrival_rate,
                completion_rate: demand.completion_rate,
                ttft: demand.ttft_ms.map(percentiles),
                itl: demand.itl_ms.map(percentiles),
            };
            Signal::observed(demand, seen.at, seen.source)
        }
    }
}

fn replica(pod: &PodFacts, heard: Option<&mut Heard>, now: Instant) -> ReplicaView {
    let mut view = ReplicaView::unknown(&*pod.name, pod.state.clone(), now, "not asked: the Pod is not ready");
    if let Some(slots) = pod.slots {
        view.slots = Signal::observed(slots, now, Source::Replica);
    }
    if pod.state != ReplicaState::Ready {
        return view;
    }
    let Some(signals) = heard.and_then(|heard| heard.take(&pod.full_name)) else {
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

/// A Pod that has been ready for less than this may not have been heard of yet.
const NEW: Duration = Duration::from_secs(60);

/// Counts new Pods that nobody has told of yet as coming, where others are
/// known: taken for silent ones, they would count as full as those are, and
/// each that comes would call for more. `born` tells since when which is ready.
fn expect_new(view: &mut ModelView, born: &BTreeMap<String, Instant>, now: Instant) {
    let ready = |replica: &ReplicaView| replica.state == ReplicaState::Ready;
    let mut all = view.variants.iter().flat_map(|variant| &variant.replicas);
    if !all.any(|replica| ready(replica) && !unheard(replica)) {
        return;
    }
    for replica in view.variants.iter_mut().flat_map(|variant| &mut variant.replicas) {
        let since = born.get(&replica.name).filter(|since| now.since(**since) < NEW);
        if let (true, Some(since)) = (ready(replica) && unheard(replica), since) {
            replica.state = ReplicaState::Pending { since: *since };
        }
    }
}

/// How many of a variant's Pods are ready and count as coming, being new.
pub(super) fn new_pods(variant: &Variant, view: &ModelView) -> usize {
    let seen = view.variants.iter().find(|seen| seen.name == variant.name);
    // One is made of the other, in its order.
    let pairs = seen.iter().flat_map(|seen| seen.replicas.iter().zip(&variant.pods));
    pairs
        .filter(|(replica, pod)| pod.state == ReplicaState::Ready && replica.state != ReplicaState::Ready)
        .count()
}

/// Whether nobody has told anything of it.
fn unheard(view: &ReplicaView) -> bool {
    let signals = [
        &view.kv,
        &view.running,
        &view.waiting,
        &view.token_rate,
        &view.in_flight,
    ];
    signals.iter().all(|signal| signal.last().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_secs(1000);

    #[test]
    fn arrivals_are_known_where_all_replicas_count_them() {
        let told = |silent: &[&str]| ModelSignals {
            arrival_rate: Signal::observed(4.0, NOW, Source::Replica),
            silent: silent.iter().map(|pod| (*pod).to_owned()).collect(),
            ..ModelSignals::unknown(NOW, "not told")
        };
        let seen = |told: Option<&ModelSignals>| arrivals(told, NOW).last().map(|seen| seen.value);
        assert_eq!(seen(Some(&told(&[]))), Some(4.0));
        assert_eq!(seen(None), None);
        let Signal::Missing { why, .. } = arrivals(Some(&told(&["n/a"])), NOW) else {
            panic!("n/a counts none")
        };
        assert!(why.contains("n/a"), "{why}");
    }

    /// A model with one ready replica for each of these: heard, and ready since when.
    fn after(replicas: &[(bool, Option<u64>)]) -> Vec<bool> {
        let mut view = ModelView {
            model: "m".to_owned(),
            namespace: "n".to_owned(),
            slo: None,
            gateway: GatewayView::Absent,
            arrivals: Signal::missing(NOW, "not asked"),
            variants: vec![VariantView {
                name: "v".to_owned(),
                accelerator: None,
                cost: 1.0,
                min: 1,
                max: 9,
                wanted: 3,
                slots: None,
                gpus: None,
                engine: None,
                profile: None,
                replicas: Vec::new(),
            }],
        };
        let mut born = BTreeMap::new();
        for (number, (heard, since)) in replicas.iter().enumerate() {
            let name = format!("v-{number}");
            let mut replica = ReplicaView::unknown(name.clone(), ReplicaState::Ready, NOW, "not asked yet");
            if *heard {
                replica.running = Signal::observed(9.0, NOW, Source::Replica);
            }
            view.variants[0].replicas.push(replica);
            born.extend(since.map(|since| (name, Instant::from_secs(since))));
        }
        expect_new(&mut view, &born, NOW);
        let all = &view.variants[0].replicas;
        all.iter().map(|replica| replica.state == ReplicaState::Ready).collect()
    }

    #[test]
    fn a_new_pod_nobody_has_told_of_is_still_coming() {
        assert_eq!(after(&[(true, Some(1)), (false, Some(990))]), [true, false]);
        assert_eq!(after(&[(true, Some(1)), (true, Some(990))]), [true, true], "heard");
        assert_eq!(after(&[(true, Some(1)), (false, Some(900))]), [true, true], "not new");
        assert_eq!(after(&[(true, Some(1)), (false, None)]), [true, true], "nobody says");
        assert_eq!(
            after(&[(false, Some(990)), (false, Some(995))]),
            [true, true],
            "none is known"
        );
    }
}
