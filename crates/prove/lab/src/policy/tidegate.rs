//! Ours: the very function that decides in the product, on a view made of the
//! simulated fleet.

use crate::run::{Policy, Sight};
use capacity::{Demand, GatewayView, Memory, ModelView, ReplicaState, ReplicaView, VariantView};
use std::collections::VecDeque;
use std::time::Duration;
use units::{Instant, Signal, Source};

/// Requests one replica serves at once.
const SLOTS: f64 = 32.0;
/// Seconds over which the gateway measures rates.
const RATE_WINDOW: usize = 5;
/// Share of the KV cache that a fully loaded replica uses: it is not what is scarce here.
const KV_WHEN_FULL: f64 = 0.5;
/// The time line's origin, so that ages of the first seconds are not negative.
const START: Instant = Instant::from_secs(1_000_000);

/// [`capacity::decide`], asked every second.
#[derive(Debug)]
pub struct Tidegate {
    policy: capacity::Policy,
    memory: Memory,
    view: ModelView,
    work_per_request: f64,
    arrived: f64,
    rates: VecDeque<(f64, f64)>,
}

impl Tidegate {
    /// The product's defaults, with waits of up to `may_wait_s` as the limit
    /// that the operator set, and at most `most` replicas.
    #[must_use]
    pub fn new(work_per_request: f64, may_wait_s: u64, most: u32) -> Self {
        let policy = capacity::Policy {
            queue_wait: Duration::from_secs(may_wait_s),
            pending_timeout: Duration::from_secs(3_600),
            ..capacity::Policy::default()
        };
        let view = ModelView {
            model: "m".to_owned(),
            namespace: "lab".to_owned(),
            gateway: GatewayView::Absent,
            variants: vec![VariantView {
                name: "v".to_owned(),
                accelerator: None,
                cost: 1.0,
                min: 1,
                max: most,
                wanted: 0,
                slots: Some(SLOTS),
                replicas: Vec::new(),
            }],
        };
        Self {
            policy,
            memory: Memory::default(),
            view,
            work_per_request,
            arrived: 0.0,
            rates: VecDeque::new(),
        }
    }

    fn demand(&mut self, sight: &Sight<'_>) -> Demand {
        self.rates.push_back((sight.arrived, sight.served));
        if self.rates.len() > RATE_WINDOW {
            self.rates.pop_front();
        }
        self.arrived += sight.arrived / self.work_per_request;
        let seconds = self.rates.len() as f64;
        let rate =
            |of: fn(&(f64, f64)) -> f64| self.rates.iter().map(of).sum::<f64>() / seconds / self.work_per_request;
        Demand {
            // The casts saturate; counts are small and not negative.
            arrived: self.arrived as u64,
            queued: (sight.waiting / self.work_per_request).ceil() as u64,
            oldest_wait: (sight.waiting > 0.0).then(|| Duration::from_secs(sight.oldest_wait_s)),
            in_flight: (sight.served * SLOTS).round() as u64,
            arrival_rate: Some(rate(|(arrived, _)| *arrived)),
            completion_rate: Some(rate(|(_, served)| *served)),
        }
    }

    /// Brings the view's replicas in line with the fleet's.
    fn replicas(&mut self, sight: &Sight<'_>, now: Instant) {
        let variant = &mut self.view.variants[0];
        variant.wanted = sight.asked_for();
        let ready = sight.ready as usize;
        let starting = sight
            .starting
            .iter()
            .flat_map(|(count, since)| (0..*count).map(|_| START + Duration::from_secs(*since)));
        let states: Vec<ReplicaState> = (0..ready)
            .map(|_| ReplicaState::Ready)
            .chain(starting.map(|since| ReplicaState::Pending { since }))
            .collect();
        variant.replicas.truncate(states.len());
        while variant.replicas.len() < states.len() {
            let name = format!("v-{:03}", variant.replicas.len());
            variant
                .replicas
                .push(ReplicaView::unknown(name, ReplicaState::Ready, now, "not asked yet"));
        }
        let busy = if ready > 0 { sight.served / ready as f64 } else { 0.0 };
        let seen = |value| Signal::observed(value, now, Source::Replica);
        for (replica, state) in variant.replicas.iter_mut().zip(states) {
            if state == ReplicaState::Ready {
                replica.kv = seen(busy.min(1.0) * KV_WHEN_FULL);
                replica.running = seen(busy * SLOTS);
                replica.waiting = seen(0.0);
                replica.in_flight = seen(busy * SLOTS);
                replica.token_rate = seen(busy * SLOTS);
            }
            replica.state = state;
        }
    }
}

impl Policy for Tidegate {
    fn replicas(&mut self, sight: &Sight<'_>) -> u32 {
        let now = START + Duration::from_secs(sight.second);
        let demand = self.demand(sight);
        self.view.gateway = GatewayView::Present {
            demand: Signal::observed(demand, now, Source::Gateway),
            silent: Vec::new(),
        };
        self.replicas(sight, now);
        let decision = capacity::decide(&self.view, &self.policy, &mut self.memory, now);
        decision
            .variants
            .first()
            .map_or_else(|| sight.asked_for(), |variant| variant.to)
    }
}
