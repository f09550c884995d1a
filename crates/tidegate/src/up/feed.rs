//! What the terminal and the page are shown: the gateway's signals, the
//! autoscaler's views and the Pods, brought together.

mod pods;

use super::datadir::Endpoints;
use super::screen::Live;
use crate::dashboard::{self, Address, Decision, Input, Reading, Replica, ReplicaState, Slo, Variant};
use crate::fleet::Fleet;
use autoscaler::{DecisionRecord, Measured, VariantView};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use pods::PodState;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wire::signals::GatewaySignals;

/// Arrivals per second are told over this long.
const RATE_OVER: Duration = Duration::from_secs(3);

/// Everything that is shown, in one place.
pub(crate) struct Feed {
    gateway: gateway::Handle,
    scaler: autoscaler::Handle,
    pods: kube::runtime::reflector::Store<Pod>,
    slos: Vec<Slo>,
    addresses: Vec<Address>,
    changed: watch::Sender<u64>,
    /// Decisions that were converted already, by the number of their record.
    decisions: Mutex<VecDeque<(u64, Vec<Arc<Decision>>)>>,
}

impl Feed {
    /// Starts to watch the Pods of the fleet, until `stop`.
    pub(crate) fn start(
        client: &kube::Client,
        namespace: &str,
        gateway: gateway::Handle,
        scaler: autoscaler::Handle,
        fleet: &Fleet,
        endpoints: &Endpoints,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let changed = watch::Sender::new(0);
        let pods = pods::watch(client, namespace, changed.clone(), stop.clone());
        let feed = Arc::new(Self {
            pods,
            slos: slos(fleet),
            addresses: addresses(endpoints),
            changed: changed.clone(),
            decisions: Mutex::default(),
            gateway,
            scaler,
        });
        let mut passes = feed.scaler.changed();
        let scaler = feed.scaler.clone();
        tokio::spawn(async move {
            let mut last = None;
            while tokio::select! { () = stop.cancelled() => false, more = passes.changed() => more.is_ok() } {
                // A pass that decided nothing new is no reason to redraw.
                let newest = scaler.decisions().last().map(|record| record.number);
                if newest != last {
                    last = newest;
                    changed.send_modify(|changes| *changes += 1);
                }
            }
        });
        feed
    }

    /// The numbers of the live line; `meter` remembers arrivals between calls.
    pub(crate) fn live(&self, meter: &mut Meter) -> Live {
        let signals = self.gateway.signals();
        let views = self.scaler.variants();
        let pods: Vec<PodState> = self.pods.state().iter().map(|pod| PodState::of(pod)).collect();
        let count = |state| pods.iter().filter(|pod| pod.state == state).count();
        Live {
            ready_after: None,
            requests_per_second: meter.rate(&signals),
            queued: signals.pools.values().map(|pool| pool.queued).sum(),
            oldest_wait_ms: signals.pools.values().filter_map(|pool| pool.oldest_wait_ms).max(),
            ready: count(ReplicaState::Serving),
            starting: count(ReplicaState::Starting) + count(ReplicaState::Pending),
            cost_per_hour: views
                .iter()
                .map(|view| view.cost.unwrap_or(0.0) * f64::from(view.current.unwrap_or(0)))
                .fold(0.0, |sum, cost| sum + cost),
        }
    }

    /// The decisions of the autoscaler as the page has them, one per variant that changed.
    fn decisions(&self) -> Vec<Arc<Decision>> {
        let records = self.scaler.decisions();
        let mut known = self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = records.first().map_or(u64::MAX, |record| record.number);
        known.retain(|(number, _)| *number >= oldest);
        let newest = known.back().map(|(number, _)| *number);
        for record in records
            .iter()
            .filter(|record| newest.is_none_or(|newest| record.number > newest))
        {
            known.push_back((record.number, decisions_of(record)));
        }
        known
            .iter()
            .flat_map(|(_, decisions)| decisions.iter().cloned())
            .collect()
    }
}

impl dashboard::Feed for Feed {
    fn snapshot(&self) -> Input {
        let now = Timestamp::now().as_millisecond();
        let pods = self.pods.state();
        let views = self.scaler.variants();
        Input {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            addresses: self.addresses.clone(),
            gateway: Ok(Arc::new(self.gateway.signals())),
            slos: self.slos.clone(),
            variants: views.iter().map(|view| variant(view, &pods, now)).collect(),
            decisions: self.decisions(),
        }
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

fn variant(view: &VariantView, pods: &[Arc<Pod>], now_ms: i64) -> Variant {
    let replicas = view.replicas.iter().map(|record| {
        let pod = pods
            .iter()
            .find(|pod| pod.metadata.name.as_deref() == Some(&record.pod));
        let state = pod.map_or_else(PodState::unknown, |pod| PodState::of(pod));
        let missing = record.missing.as_deref().unwrap_or("not scraped yet");
        let reading = |measured: Option<Measured>| match measured {
            Some(seen) => Reading::Seen {
                value: seen.value,
                at_unix_ms: u64::try_from(now_ms).unwrap_or(0).saturating_sub(seen.age_ms),
            },
            None => Reading::Missing {
                since_unix_ms: state.started_unix_ms,
                why: missing.to_owned(),
            },
        };
        Replica {
            pod: record.pod.to_string(),
            running: reading(record.running),
            waiting: reading(record.waiting),
            kv: reading(record.kv_usage),
            state: state.state,
            reason: state.reason,
            started_unix_ms: state.started_unix_ms,
            ready_unix_ms: state.ready_unix_ms,
            restarts: state.restarts,
        }
    });
    Variant {
        name: view.name.clone(),
        model: view.model.clone(),
        accelerator: view
            .accelerator
            .clone()
            .unwrap_or_else(|| "unknown accelerator".to_owned()),
        cost_per_hour: view.cost,
        min: view.min.unwrap_or_default(),
        max: view.max.unwrap_or_default(),
        current: view.current,
        ready: view.current.map(|_| view.ready),
        desired: view.desired,
        reason: view.reason.clone(),
        sentence: view.sentence.clone(),
        waits_for: view
            .explanation
            .as_ref()
            .map_or_else(Vec::new, |explanation| nearest(&explanation.would_change)),
        replicas: replicas.collect(),
    }
}

/// The first thing that would add a replica, and the first that would take one.
fn nearest(changes: &[String]) -> Vec<String> {
    let (up, down): (Vec<&String>, Vec<&String>) = changes.iter().partition(|change| change.starts_with("up: "));
    let fewer = |change: &&&String| change.starts_with("down: ") || change.starts_with("to ");
    let first = up.first().into_iter().chain(down.iter().find(fewer));
    first.map(|change| (*change).clone()).collect()
}

fn decisions_of(record: &DecisionRecord) -> Vec<Arc<Decision>> {
    let explanation = serde_json::to_value(&record.explanation).unwrap_or_default();
    let otherwise = record.explanation.would_change.first().cloned();
    let changed = record.variants.iter().filter(|variant| variant.from != variant.to);
    changed
        .map(|variant| {
            Arc::new(Decision {
                at_unix_ms: u64::try_from(record.unix_ms).unwrap_or(0),
                model: record.model.clone(),
                variant: Some(variant.name.clone()),
                from: variant.from,
                to: variant.to,
                sentence: record.sentence.clone(),
                otherwise: otherwise.clone(),
                explanation: explanation.clone(),
            })
        })
        .collect()
}

fn slos(fleet: &Fleet) -> Vec<Slo> {
    let promise = |model: &crate::fleet::Model| Slo {
        model: model.served_names()[0].to_owned(),
        ttft_ms: model.slo.ttft.map(|ttft| ttft.0 as f64),
        itl_ms: model.slo.itl.map(|itl| itl.0 as f64),
    };
    fleet.models.iter().map(promise).collect()
}

fn addresses(endpoints: &Endpoints) -> Vec<Address> {
    let address = |name: &str, value: &str| Address {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let mut all = vec![address("gateway", &endpoints.gateway)];
    if let Some(admin) = &endpoints.gateway_admin {
        all.push(address("gateway metrics", &format!("{admin}/metrics")));
    }
    if let Some(admin) = &endpoints.autoscaler {
        all.push(address("autoscaler metrics", &format!("{admin}/metrics")));
    }
    all.push(address(
        "kubernetes",
        &format!("export KUBECONFIG={}", endpoints.kubeconfig.display()),
    ));
    all
}

/// Turns a counter that only grows into a rate over the last seconds.
#[derive(Debug, Default)]
pub(crate) struct Meter(VecDeque<(u64, u64)>);

impl Meter {
    /// Arrivals per second over the last [`RATE_OVER`].
    fn rate(&mut self, signals: &GatewaySignals) -> f64 {
        let arrived = signals.pools.values().map(|pool| pool.arrived).sum();
        self.0.push_back((signals.at_unix_ms, arrived));
        let horizon = signals
            .at_unix_ms
            .saturating_sub(u64::try_from(RATE_OVER.as_millis()).unwrap_or(u64::MAX));
        while self.0.len() > 2 && self.0[1].0 <= horizon {
            self.0.pop_front();
        }
        let Some((then, before)) = self.0.front().copied().filter(|(then, _)| *then < signals.at_unix_ms) else {
            return 0.0;
        };
        arrived.saturating_sub(before) as f64 * 1e3 / (signals.at_unix_ms - then) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::signals::PoolSignals;

    fn at(ms: u64, arrived: u64) -> GatewaySignals {
        let pool = PoolSignals {
            arrived,
            ..PoolSignals::default()
        };
        GatewaySignals {
            at_unix_ms: ms,
            pools: [("default/m".to_owned(), pool)].into(),
            ..GatewaySignals::default()
        }
    }

    #[test]
    fn what_a_variant_waits_for_is_one_thing_each_way() {
        let changes = [
            "an SLO counts again: later",
            "up: slots",
            "up: KV",
            "down: calm",
            "to the minimum: idle",
        ];
        assert_eq!(nearest(&changes.map(str::to_owned)), ["up: slots", "down: calm"]);
        assert_eq!(nearest(&["to the minimum: idle".to_owned()]), ["to the minimum: idle"]);
        assert!(nearest(&[]).is_empty());
    }

    #[test]
    fn the_rate_is_over_the_last_seconds_and_goes_to_zero_with_the_load() {
        let mut meter = Meter::default();
        assert_eq!(meter.rate(&at(1_000, 0)), 0.0);
        assert_eq!(meter.rate(&at(2_000, 40)), 40.0);
        for ms in (2_250..=6_000).step_by(250) {
            meter.rate(&at(ms, 40));
        }
        assert_eq!(meter.rate(&at(6_250, 40)), 0.0);
    }
}
