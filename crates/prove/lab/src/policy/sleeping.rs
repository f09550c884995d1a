//! Ours with a sleeping tier: what serves is decided by the same function as
//! without one, looking as far ahead as a wake-up takes; [`capacity::tiers`] says
//! who sleeps.

use super::{START, Tidegate};
use crate::run::{Ask, Policy, Sight};
use capacity::tiers::{Tier, TierMemory, TierPolicy, TierReplica, TierView, look_ahead, settle};
use std::time::Duration;
use units::{Signal, Source};

/// [`capacity::decide`] and [`capacity::tiers::settle`], asked every second.
#[derive(Debug)]
pub struct Sleeping {
    inner: Tidegate,
    tiers: TierPolicy,
    memory: TierMemory,
    view: TierView,
    asked: Option<u32>,
}

impl Sleeping {
    /// The product's defaults with sleepers at `sleep_cost`; how long replicas
    /// take to start and to wake is found out.
    #[must_use]
    pub fn new(may_wait_s: u64, most: u32, sleep_cost: f64) -> Self {
        Self {
            inner: Tidegate::new(may_wait_s, most),
            tiers: TierPolicy::new(sleep_cost, most),
            memory: TierMemory::default(),
            view: TierView {
                model: "m".to_owned(),
                wanted: 0,
                load: Signal::missing(START, "nothing was served yet"),
                replicas: Vec::new(),
                min: 1,
                max: most,
            },
            asked: None,
        }
    }

    /// Brings the view's replicas in line with the fleet's.
    fn see_replicas(&mut self, sight: &Sight<'_>) {
        let at = |second: u64| START + Duration::from_secs(second);
        let each = |(count, since): &(u32, u64), tier: fn(units::Instant) -> Tier| {
            std::iter::repeat_n(tier(at(*since)), *count as usize)
        };
        let serving = std::iter::repeat_n(Tier::Serving, sight.ready as usize);
        let starting = sight
            .starting
            .iter()
            .flat_map(|some| each(some, |since| Tier::Starting { since }));
        let waking = sight
            .waking
            .iter()
            .flat_map(|some| each(some, |since| Tier::Waking { since }));
        let asleep = sight
            .asleep
            .iter()
            .flat_map(|some| each(some, |since| Tier::Asleep { since }));
        let replicas = &mut self.view.replicas;
        let mut there = 0;
        for tier in serving.chain(starting).chain(waking).chain(asleep) {
            match replicas.get_mut(there) {
                Some(replica) => replica.tier = tier,
                None => replicas.push(TierReplica {
                    name: format!("v-{there:03}"),
                    tier,
                }),
            }
            there += 1;
        }
        replicas.truncate(there);
    }
}

impl Policy for Sleeping {
    fn replicas(&mut self, sight: &Sight<'_>) -> Ask {
        let now = START + Duration::from_secs(sight.second);
        let times = &mut self.memory.times;
        if let Some(seconds) = sight.started_s {
            times.started(Duration::from_secs(seconds));
        }
        if let Some(seconds) = sight.woke_s {
            times.woke(Duration::from_secs(seconds));
        }
        let ahead = look_ahead(&self.tiers, self.inner.policy(), times);
        let by_waking = ahead == times.wake(&self.tiers).value();
        self.inner.assume_startup(ahead);
        // Who starts while others can wake is late: no measure of how soon one serves.
        let coming = if by_waking { sight.waking } else { sight.starting };
        let asked = self.asked.unwrap_or_else(|| sight.asked_for());
        self.view.wanted = self.inner.decide(sight, asked, coming);
        // In the first second nothing can have been served.
        if sight.second > 0 {
            self.view.load = Signal::observed(self.inner.offered(sight), now, Source::Gateway);
        }
        self.see_replicas(sight);
        let decided = settle(&self.view, &self.tiers, self.inner.policy(), &mut self.memory, now);
        self.asked = Some(decided.serving);
        Ask {
            serving: decided.serving,
            asleep: decided.asleep,
        }
    }
}
