//! One model, two variants: a cheap slow one and a quick dear one. In virtual
//! time, by decision and grant, as a controller calls them.

use super::*;
use crate::grant::{Supply, Terms, Wish, grant};
use crate::optimize::gpus::{Fail, Quotas};
use crate::optimize::inventory::{Inventory, Stock};
use crate::view::Slo;
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

const SEEDS: u64 = 4;
const SLOTS: f64 = 16.0;
const STARTUP: Duration = Duration::from_secs(20);
const LENGTHS: (f64, f64) = (400.0, 100.0);

/// A variant: its name and GPU, cost, and what a token takes alone and more
/// for each request beside.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    cost: f64,
    alone_ms: f64,
    each_ms: f64,
}

const CHEAP: Kind = Kind {
    name: "l4",
    cost: 1.0,
    alone_ms: 20.0,
    each_ms: 1.0,
};
const SLOW: Kind = Kind {
    alone_ms: 80.0,
    ..CHEAP
};
const QUICK: Kind = Kind {
    name: "h100",
    cost: 4.0,
    alone_ms: 8.0,
    each_ms: 0.5,
};

struct Fleet {
    rng: TestRng,
    kinds: [Kind; 2],
    /// Since when each replica of each kind exists.
    replicas: [Vec<Instant>; 2],
    slo: Slo,
    rate: f64,
    now: Instant,
    memory: Memory,
    /// GPUs of the quick kind beyond those it holds; None: nobody counts them,
    /// and no node has any.
    free: Option<u64>,
    last: Option<Decision>,
}

impl Fleet {
    /// Two replicas of the first kind, none of the second.
    fn new(seed: u64, kinds: [Kind; 2], itl_ms: f64, free: Option<u64>) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self {
            rng: TestRng::from_seed(RngAlgorithm::ChaCha, &bytes),
            kinds,
            replicas: [vec![Scene::START; 2], Vec::new()],
            slo: Slo {
                itl_ms: Some(itl_ms),
                ..Slo::default()
            },
            rate: 5.0 + seed as f64,
            now: Scene::START + STARTUP,
            memory: Memory::default(),
            free,
            last: None,
        }
    }

    fn about(&mut self, value: f64) -> f64 {
        value * (0.98 + 0.04 * f64::from(self.rng.next_u32()) / f64::from(u32::MAX))
    }

    fn view(&mut self) -> ModelView {
        let now = self.now;
        let is_ready = |since: &Instant| now.since(*since) >= STARTUP;
        let kinds = if self.free.is_some() { 2 } else { 1 };
        let ready = self.replicas[..kinds]
            .iter()
            .flatten()
            .filter(|since| is_ready(since))
            .count();
        let rate = self.rate / ready.max(1) as f64;
        let mut in_flight = 0.0;
        let mut variants = Vec::new();
        for which in 0..2 {
            let kind = self.kinds[which];
            let mut n: f64 = 1.0;
            for _ in 0..100 {
                n = (rate * LENGTHS.1 * (kind.alone_ms + kind.each_ms * n.min(SLOTS)) / 1e3).min(4.0 * SLOTS);
            }
            let itl = kind.alone_ms + kind.each_ms * n.min(SLOTS);
            let mut replicas = Vec::new();
            for (at, since) in self.replicas[which].clone().into_iter().enumerate() {
                let name = format!("{}-{at:03}", kind.name);
                if which == 1 && self.free.is_none() {
                    let why = "0/2 nodes have a free GPU".to_owned();
                    let state = ReplicaState::Unschedulable { since, why };
                    replicas.push(ReplicaView::unknown(name, state, now, "not ready"));
                    continue;
                }
                if !is_ready(&since) {
                    let state = ReplicaState::Pending { since };
                    replicas.push(ReplicaView::unknown(name, state, now, "not ready"));
                    continue;
                }
                let (n, itl) = (self.about(n), self.about(itl));
                in_flight += n;
                let seen = |value| Signal::observed(value, now, Source::Replica);
                replicas.push(ReplicaView {
                    kv: seen((n / SLOTS * 0.5).min(1.0)),
                    running: seen(n.min(SLOTS)),
                    waiting: seen((n - SLOTS).max(0.0)),
                    in_flight: seen(n),
                    token_rate: seen(n.min(SLOTS) / itl * 1e3),
                    prompt_tokens: seen(LENGTHS.0),
                    generated_tokens: seen(LENGTHS.1),
                    ttft_ms: seen(2.0 * itl + 20.0),
                    itl_ms: seen(itl),
                    ..ReplicaView::unknown(name, ReplicaState::Ready, now, "not told")
                });
            }
            variants.push(VariantView {
                name: kind.name.to_owned(),
                accelerator: Some(kind.name.to_owned()),
                cost: kind.cost,
                min: 0,
                max: 20,
                wanted: u32::try_from(self.replicas[which].len()).unwrap(),
                slots: Some(SLOTS),
                gpus: None,
                engine: None,
                profile: None,
                replicas,
            });
        }
        let demand = Demand {
            arrived: (now.as_nanos() / 1_000_000_000) * self.rate as u64,
            in_flight: in_flight.round() as u64,
            arrival_rate: Some(self.rate),
            completion_rate: Some(self.rate),
            ..Demand::default()
        };
        ModelView {
            model: "m".to_owned(),
            namespace: "n".to_owned(),
            slo: Some(self.slo),
            arrivals: Signal::missing(now, "not asked"),
            gateway: GatewayView::Present {
                by: Source::Gateway,
                demand: Signal::observed(demand, now, Source::Gateway),
                silent: Vec::new(),
            },
            variants,
        }
    }

    /// Lets `seconds` pass, carrying out what is decided and granted; returns
    /// what was asked for each second, the first kind's first.
    fn run(&mut self, seconds: u64) -> Vec<[u32; 2]> {
        let mut asked = Vec::new();
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            let view = self.view();
            let mut decision = decide(&view, &Policy::default(), &mut self.memory, self.now);
            self.grant(&view, &mut decision);
            let to = |name| {
                decision
                    .variants
                    .iter()
                    .find(|variant| variant.name == name)
                    .unwrap()
                    .to
            };
            let targets = self.kinds.map(|kind| to(kind.name));
            for (replicas, to) in self.replicas.iter_mut().zip(targets) {
                replicas.resize(to as usize, self.now);
            }
            asked.push(targets);
            self.last = Some(decision);
        }
        asked
    }

    fn grant(&mut self, view: &ModelView, decision: &mut Decision) {
        let Some(free) = self.free else { return };
        let held = self.replicas[1].len() as u64;
        let stock = Stock::pool;
        let stocks = [
            ("l4".to_owned(), stock(1000, self.replicas[0].len() as u64)),
            ("h100".to_owned(), stock(held + free, held)),
        ];
        let terms = decision.variants.iter().map(|decided| {
            let of = view
                .variants
                .iter()
                .find(|variant| variant.name == decided.name)
                .unwrap();
            Terms {
                accelerator: of.accelerator.clone(),
                gpus_per_replica: 1,
                gpus_per_pod: 0,
                held: of.wanted,
                min: of.min,
                max: of.max,
                cost: of.cost,
                slots: of.slots,
            }
        });
        let terms = terms.collect();
        let mut wishes = [Wish {
            decision,
            terms,
            priority: 1,
            by_gpus: true,
        }];
        let supply = Supply {
            inventory: &Inventory::Known(stocks.into()),
            quotas: &Quotas::default(),
            fail: Fail::Closed,
            step_up: None,
        };
        grant(&mut wishes, &supply);
    }

    /// Slow replicas that the load fills: rate times the time an answer takes.
    fn least_slow(&self) -> u32 {
        (self.rate * LENGTHS.1 * 0.092 / SLOTS).ceil() as u32
    }

    fn said(&self) -> &Decision {
        self.last.as_ref().unwrap()
    }

    fn reason(&self, name: &str) -> Reason {
        self.said()
            .variants
            .iter()
            .find(|variant| variant.name == name)
            .unwrap()
            .reason
    }
}

fn changes(asked: &[[u32; 2]]) -> usize {
    asked.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

#[test]
fn what_both_can_keep_is_kept_by_the_cheap_one() {
    for seed in 0..SEEDS {
        let mut fleet = Fleet::new(seed, [CHEAP, QUICK], 50.0, Some(20));
        let asked = fleet.run(1800);
        assert!(
            asked.iter().all(|to| to[1] == 0),
            "seed {seed}: {:?}",
            fleet.said().sentence
        );
        assert_eq!(changes(&asked[1200..]), 0, "seed {seed}");
        fleet.rate *= 4.0;
        let asked = fleet.run(1800);
        let last = asked.last().unwrap();
        assert!(
            last[0] > 2 && asked.iter().all(|to| to[1] == 0),
            "seed {seed}: {last:?}"
        );
    }
}

#[test]
fn what_only_the_quick_one_can_keep_is_kept_by_it_and_stays_so() {
    for seed in 0..SEEDS {
        let mut fleet = Fleet::new(seed, [SLOW, QUICK], 50.0, Some(20));
        let asked = fleet.run(3600);
        let said = fleet.said().sentence.clone();
        let most = asked.iter().map(|to| to[0]).max().unwrap();
        assert!(most <= fleet.least_slow() * 2, "seed {seed}: up to {most} of the slow");
        let last = *asked.last().unwrap();
        assert!(
            last[0] == 0 && (1..=4).contains(&last[1]),
            "seed {seed}: {last:?}: {said}"
        );
        assert_eq!(changes(&asked[1800..]), 0, "seed {seed}: {said}");
        assert_eq!(fleet.reason("l4"), Reason::TooSlow, "seed {seed}: {said}");
        let words = "l4: SLO of 50 ms between tokens cannot be met: one request alone takes ";
        assert!(said.contains(words), "seed {seed}: {said}");
    }
}

#[test]
fn what_the_quick_one_has_no_gpu_for_the_slow_one_serves_and_it_is_told() {
    for seed in 0..SEEDS {
        let mut fleet = Fleet::new(seed, [SLOW, QUICK], 50.0, Some(0));
        let asked = fleet.run(3600);
        let said = fleet.said().sentence.clone();
        let [slow, quick] = *asked.last().unwrap();
        let least = fleet.least_slow();
        assert!(
            (least..=least * 2).contains(&slow) && quick == 0,
            "seed {seed}: {slow} {quick}: {said}"
        );
        assert_eq!(changes(&asked[1800..]), 0, "seed {seed}: {said}");
        assert_eq!(fleet.reason("h100"), Reason::LimitedByGpus, "seed {seed}: {said}");
        assert!(
            said.contains("limited: h100 wants") && said.contains("0 h100 free"),
            "seed {seed}: {said}"
        );
        // GPUs come free, and it is served as promised.
        fleet.free = Some(20);
        let last = *fleet.run(1200).last().unwrap();
        assert!(
            last[0] == 0 && last[1] > 0,
            "seed {seed}: {last:?}: {}",
            fleet.said().sentence
        );
    }
}

#[test]
fn a_quick_one_that_never_comes_up_is_not_tried_all_the_time() {
    for seed in 0..SEEDS {
        let mut fleet = Fleet::new(seed, [SLOW, QUICK], 50.0, None);
        let asked = fleet.run(2 * 3600);
        let said = fleet.said().sentence.clone();
        // Once it is known what is too slow, a try each half hour: up and down.
        let tries = asked
            .windows(2)
            .filter(|pair| pair[0][1] == 0 && pair[1][1] > 0)
            .count();
        assert!(tries <= 5, "seed {seed}: {tries} tries: {said}");
        let least = fleet.least_slow();
        assert!(asked[600..].iter().all(|to| to[0] >= least), "seed {seed}: {said}");
        let most = asked.iter().map(|to| to[0] + to[1]).max().unwrap();
        assert!(most <= least * 5, "seed {seed}: up to {most}");
    }
}
