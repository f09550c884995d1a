//! Scenes for decisions, told in the words of the domain.

use super::*;

/// A model whose view is built up step by step; all signals are fresh unless
/// said otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) view: ModelView,
    pub(crate) policy: Policy,
    pub(crate) memory: Memory,
    pub(crate) now: Instant,
}

/// A variant under construction.
#[derive(Clone, Debug)]
pub(crate) struct Variant(VariantView, Instant);

impl Variant {
    pub(crate) fn new(name: &str, cost: f64) -> Self {
        let view = VariantView {
            name: name.to_owned(),
            accelerator: None,
            cost,
            min: 1,
            max: 20,
            wanted: 0,
            slots: None,
            gpus: None,
            engine: None,
            profile: None,
            replicas: Vec::new(),
        };
        Self(view, Scene::START)
    }

    pub(crate) fn bounds(mut self, min: u32, max: u32) -> Self {
        (self.0.min, self.0.max) = (min, max);
        self
    }

    pub(crate) fn slots(mut self, slots: f64) -> Self {
        self.0.slots = Some(slots);
        self
    }

    /// Asks for more replicas than were added so far.
    pub(crate) fn wanted(mut self, wanted: u32) -> Self {
        self.0.wanted = wanted;
        self
    }

    fn add(mut self, replica: ReplicaView) -> Self {
        self.0.replicas.push(replica);
        self.0.wanted += 1;
        self
    }

    fn next_name(&self) -> String {
        format!("{}-{:02}", self.0.name, self.0.replicas.len())
    }

    /// A ready replica by KV share and waiting requests.
    pub(crate) fn ready(self, kv: f64, waiting: f64) -> Self {
        self.serving(kv, 1.0, waiting)
    }

    /// A ready replica by KV share, running and waiting requests.
    pub(crate) fn serving(self, kv: f64, running: f64, waiting: f64) -> Self {
        let seen = |value| Signal::observed(value, self.1, Source::Replica);
        let replica = ReplicaView {
            kv: seen(kv),
            running: seen(running),
            waiting: seen(waiting),
            token_rate: seen(running * 20.0),
            ..ReplicaView::unknown(self.next_name(), ReplicaState::Ready, self.1, "not told")
        };
        self.add(replica)
    }

    /// A ready replica that tells nothing.
    pub(crate) fn silent(self) -> Self {
        let replica = ReplicaView::unknown(self.next_name(), ReplicaState::Ready, self.1, "connection refused");
        self.add(replica)
    }

    pub(crate) fn idle(self) -> Self {
        self.serving(0.0, 0.0, 0.0)
    }

    /// A replica that has been starting for `age`.
    pub(crate) fn starting(self, age: Duration) -> Self {
        let state = ReplicaState::Pending { since: self.1 - age };
        let replica = ReplicaView::unknown(self.next_name(), state, self.1, "not ready");
        self.add(replica)
    }

    /// A replica that crashes at every start.
    pub(crate) fn failing(self) -> Self {
        let state = ReplicaState::Failing {
            since: self.1,
            why: "3 restarts, the last after Error with exit code 1".to_owned(),
        };
        let replica = ReplicaView::unknown(self.next_name(), state, self.1, "not ready");
        self.add(replica)
    }

    /// A replica no node takes since `age`.
    pub(crate) fn unschedulable(self, age: Duration) -> Self {
        let state = ReplicaState::Unschedulable {
            since: self.1 - age,
            why: "0/2 nodes have a free GPU".to_owned(),
        };
        let replica = ReplicaView::unknown(self.next_name(), state, self.1, "not ready");
        self.add(replica)
    }
}

impl Scene {
    pub(crate) const START: Instant = Instant::from_secs(1_000_000);

    pub(crate) fn of(variants: impl IntoIterator<Item = Variant>) -> Self {
        Self {
            view: ModelView {
                model: "llama-8b".to_owned(),
                namespace: "default".to_owned(),
                slo: None,
                gateway: GatewayView::Absent,
                arrivals: Signal::missing(Self::START, "not asked"),
                variants: variants.into_iter().map(|variant| variant.0).collect(),
            },
            policy: Policy::default(),
            memory: Memory::default(),
            now: Self::START,
        }
    }

    pub(crate) fn gateway(mut self, demand: Demand) -> Self {
        let demand = Signal::observed(demand, self.now, Source::Gateway);
        self.view.gateway = GatewayView::Present {
            by: Source::Gateway,
            demand,
            silent: Vec::new(),
        };
        self
    }

    /// A gateway with `queued` requests, the oldest waiting `wait`, and `in_flight`.
    pub(crate) fn queue(self, queued: u64, wait: Duration, in_flight: u64) -> Self {
        let oldest_wait = (queued > 0).then_some(wait);
        self.gateway(Demand {
            queued,
            oldest_wait,
            in_flight,
            ..Demand::default()
        })
    }

    pub(crate) fn decide(&mut self) -> Decision {
        decide(&self.view, &self.policy, &mut self.memory, self.now)
    }

    /// Replicas decided, by variant name.
    pub(crate) fn targets(&mut self) -> Vec<u32> {
        self.decide().variants.iter().map(|variant| variant.to).collect()
    }

    /// Lets `time` pass with everything as it is, deciding every half second
    /// and carrying nothing out; returns the last decision.
    pub(crate) fn after(&mut self, time: Duration) -> Decision {
        let step = Duration::from_millis(500);
        let mut passed = Duration::ZERO;
        let mut last = self.decide();
        while passed < time {
            passed += step;
            self.advance(step);
            last = self.decide();
        }
        last
    }

    /// Moves time on; what was fresh stays so.
    pub(crate) fn advance(&mut self, step: Duration) {
        self.now += step;
        let renew = |signal: &mut Signal<f64>| {
            if let Signal::Observed(seen) = signal {
                seen.at += step;
            }
        };
        for replica in self.view.variants.iter_mut().flat_map(|variant| &mut variant.replicas) {
            let signals = [
                &mut replica.kv,
                &mut replica.running,
                &mut replica.waiting,
                &mut replica.in_flight,
                &mut replica.slots,
                &mut replica.token_rate,
                &mut replica.kv_tokens,
                &mut replica.prompt_tokens,
                &mut replica.generated_tokens,
                &mut replica.ttft_ms,
                &mut replica.itl_ms,
                &mut replica.prefix_hit_share,
            ];
            signals.into_iter().for_each(renew);
        }
        if let GatewayView::Present {
            demand: Signal::Observed(seen),
            ..
        } = &mut self.view.gateway
        {
            seen.at += step;
        }
    }
}
