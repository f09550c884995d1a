//! Ours: the very function that decides in the product, on a view made of the
//! simulated fleet.

use super::{KV_WHEN_FULL, Mean, SLOTS, START};
use crate::run::{Ask, Policy, Sight};
use crate::world::OnTheWay;
use capacity::{Demand, GatewayView, Memory, ModelView, ReplicaState, ReplicaView, VariantView};
use std::time::Duration;
use units::{Instant, Signal, Source};

/// Seconds over which the gateway measures rates.
const RATE_WINDOW: usize = 5;

/// [`capacity::decide`], asked every second.
#[derive(Debug)]
pub struct Tidegate {
    policy: capacity::Policy,
    memory: Memory,
    view: ModelView,
    arrived: f64,
    arriving: Mean,
    leaving: Mean,
}

impl Tidegate {
    /// The product's defaults, with `--queue-wait` at the `may_wait_s` that the
    /// day allows, and at most `most` replicas.
    #[must_use]
    pub fn new(may_wait_s: u64, most: u32) -> Self {
        let policy = capacity::Policy {
            queue_wait: Duration::from_secs(may_wait_s),
            ..capacity::Policy::default()
        };
        let variant = VariantView {
            name: "v".to_owned(),
            accelerator: None,
            cost: 1.0,
            min: 1,
            max: most,
            wanted: 0,
            slots: Some(SLOTS),
            gpus: None,
            engine: None,
            profile: None,
            replicas: Vec::new(),
        };
        Self {
            policy,
            memory: Memory::default(),
            view: ModelView {
                model: "m".to_owned(),
                namespace: "lab".to_owned(),
                slo: None,
                gateway: GatewayView::Absent,
                arrivals: Signal::missing(Instant::ZERO, "the gateway counts them"),
                variants: vec![variant],
            },
            arrived: 0.0,
            arriving: Mean::over(RATE_WINDOW),
            leaving: Mean::over(RATE_WINDOW),
        }
    }

    fn demand(&mut self, sight: &Sight<'_>) -> Demand {
        let request = sight.work_per_request;
        self.arriving.push(sight.arrived / request);
        self.leaving.push(sight.served / request);
        self.arrived += sight.arrived / request;
        Demand {
            // The casts saturate; counts are small and not negative.
            arrived: self.arrived as u64,
            queued: sight.requests_waiting().ceil() as u64,
            oldest_wait: (sight.waiting > 0.0).then(|| Duration::from_secs(sight.oldest_wait_s)),
            in_flight: (sight.served * SLOTS).round() as u64,
            arrival_rate: Some(self.arriving.get()),
            completion_rate: Some(self.leaving.get()),
            ..Demand::default()
        }
    }

    /// Brings the view's replicas in line with the fleet's: `wanted` were asked
    /// for, and those that are not ready are `coming`.
    fn see_replicas(&mut self, sight: &Sight<'_>, wanted: u32, coming: &OnTheWay, now: Instant) {
        let variant = &mut self.view.variants[0];
        variant.wanted = wanted;
        let ready = sight.ready as usize;
        let starting = coming.iter();
        let starting = starting.flat_map(|(count, since)| (0..*count).map(|_| START + Duration::from_secs(*since)));
        let states: Vec<ReplicaState> = (0..ready)
            .map(|_| ReplicaState::Ready)
            .chain(starting.map(|since| ReplicaState::Pending { since }))
            .collect();
        variant.replicas.truncate(states.len());
        while variant.replicas.len() < states.len() {
            let name = format!("v-{:03}", variant.replicas.len());
            let unknown = ReplicaView::unknown(name, ReplicaState::Ready, now, "not asked yet");
            variant.replicas.push(unknown);
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

impl Tidegate {
    /// Looks so far ahead until a replica was seen coming.
    pub(super) const fn assume_startup(&mut self, startup: Duration) {
        self.policy.assumed_startup = startup;
    }

    /// The policy that decides.
    pub(super) const fn policy(&self) -> &capacity::Policy {
        &self.policy
    }

    /// Replicas that should serve, where `wanted` were asked for and those that
    /// are not ready are `coming`.
    pub(super) fn decide(&mut self, sight: &Sight<'_>, wanted: u32, coming: &OnTheWay) -> u32 {
        let now = START + Duration::from_secs(sight.second);
        let demand = self.demand(sight);
        self.view.gateway = GatewayView::Present {
            by: Source::Gateway,
            demand: Signal::observed(demand, now, Source::Gateway),
            silent: Vec::new(),
        };
        self.see_replicas(sight, wanted, coming, now);
        let decision = capacity::decide(&self.view, &self.policy, &mut self.memory, now);
        decision.variants.first().map_or(wanted, |variant| variant.to)
    }

    /// What arrives, in replicas that it keeps busy.
    pub(super) fn offered(&self, sight: &Sight<'_>) -> f64 {
        if sight.waiting <= 0.0 {
            return sight.served;
        }
        // While requests wait, what is busy says how much there is room for.
        let arriving = self.arriving.get() * sight.work_per_request;
        arriving.clamp(sight.served, sight.served + sight.requests_waiting() / SLOTS)
    }
}

impl Policy for Tidegate {
    fn replicas(&mut self, sight: &Sight<'_>) -> Ask {
        Ask::awake(self.decide(sight, sight.asked_for(), sight.starting))
    }
}
