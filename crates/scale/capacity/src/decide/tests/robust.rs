//! A world that is not as it should be: promises nobody can keep, replicas
//! that are silent or lie, clocks apart, limits that change, two controllers.
//! In virtual time, with seeds in every message.

use super::*;
use crate::saturation::engine_args::EngineArgs;
use crate::view::Slo;
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

const SEEDS: u64 = 8;
/// Slots of one replica.
const SLOTS: f64 = 16.0;
/// Time until a new replica is ready.
const STARTUP: Duration = Duration::from_secs(20);
/// Tokens of a prompt and of an answer.
const LENGTHS: (f64, f64) = (400.0, 100.0);

mod knee;

fn random(seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

/// A fleet of one kind: requests spread evenly, a token takes a fixed time and
/// some more for each request beside, and beyond the knee much more.
struct Fleet {
    rng: TestRng,
    alone_ms: f64,
    each_ms: f64,
    /// Requests at once from which on each takes so many milliseconds besides.
    knee: (f64, f64),
    /// The share by which chance moves what is told.
    noise: f64,
    slo: Option<Slo>,
    bounds: (u32, u32),
    replicas: Vec<(String, Instant)>,
    made: u32,
    now: Instant,
    /// Requests per second.
    rate: f64,
}

impl Fleet {
    fn new(seed: u64, replicas: u32) -> Self {
        let mut fleet = Self {
            rng: random(seed),
            alone_ms: 18.0,
            each_ms: 1.5,
            knee: (SLOTS, 0.0),
            noise: 0.02,
            slo: None,
            bounds: (1, 20),
            replicas: Vec::new(),
            made: 0,
            now: Scene::START,
            rate: 10.0,
        };
        fleet.resize(replicas);
        fleet.now += STARTUP;
        fleet
    }

    fn resize(&mut self, replicas: u32) {
        while self.replicas.len() < replicas as usize {
            self.replicas.push((format!("v-{:05}", self.made), self.now));
            self.made += 1;
        }
        self.replicas.truncate(replicas as usize);
    }

    /// About `value`: 2 % more or less by chance, unless told otherwise.
    fn about(&mut self, value: f64) -> f64 {
        value * (1.0 - self.noise + 2.0 * self.noise * f64::from(self.rng.next_u32()) / f64::from(u32::MAX))
    }

    fn ready(&self) -> usize {
        let now = self.now;
        self.replicas
            .iter()
            .filter(|(_, since)| now.since(*since) >= STARTUP)
            .count()
    }

    /// Requests at once in each replica: as many as arrive while one is served.
    fn at_once(&self) -> f64 {
        let rate = self.rate / self.ready().max(1) as f64;
        let mut n: f64 = 1.0;
        for _ in 0..100 {
            n = (rate * LENGTHS.1 * self.itl(n) / 1e3).min(SLOTS);
        }
        n
    }

    fn itl(&self, at_once: f64) -> f64 {
        let (knee, bend_ms) = self.knee;
        self.alone_ms + self.each_ms * at_once + bend_ms * (at_once - knee).max(0.0)
    }

    fn view(&mut self) -> ModelView {
        let (now, at_once) = (self.now, self.at_once());
        let itl = self.itl(at_once);
        let each = self.about(at_once);
        let seen = |value| Signal::observed(value, now, Source::Replica);
        let mut replicas = Vec::new();
        for (name, since) in self.replicas.clone() {
            if now.since(since) < STARTUP {
                let state = ReplicaState::Pending { since };
                replicas.push(ReplicaView::unknown(name, state, now, "not ready"));
                continue;
            }
            let (itl, ttft) = (self.about(itl), self.about(2.0 * itl + 0.05 * LENGTHS.0));
            replicas.push(ReplicaView {
                kv: seen(each / SLOTS * 0.5),
                running: seen(each),
                waiting: seen(0.0),
                in_flight: seen(each),
                token_rate: seen(each / itl * 1e3),
                prompt_tokens: seen(LENGTHS.0),
                generated_tokens: seen(LENGTHS.1),
                ttft_ms: seen(ttft),
                itl_ms: seen(itl),
                ..ReplicaView::unknown(name, ReplicaState::Ready, now, "not told")
            });
        }
        let in_flight = each * self.ready() as f64;
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
            slo: self.slo,
            arrivals: Signal::missing(now, "not asked"),
            gateway: GatewayView::Present {
                by: Source::Gateway,
                demand: Signal::observed(demand, now, Source::Gateway),
                silent: Vec::new(),
            },
            variants: vec![VariantView {
                name: "v".to_owned(),
                accelerator: None,
                cost: 1.0,
                min: self.bounds.0,
                max: self.bounds.1,
                wanted: u32::try_from(self.replicas.len()).unwrap(),
                slots: Some(SLOTS),
                gpus: None,
                engine: None,
                profile: None,
                replicas,
            }],
        }
    }

    /// Lets `seconds` pass, carrying out what is decided; `spoil` may spoil
    /// what is seen. Returns what was asked for, each second.
    fn run(&mut self, memory: &mut Memory, seconds: u64, spoil: impl Fn(&mut ModelView, &mut TestRng)) -> Vec<u32> {
        let mut asked = Vec::new();
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            let mut view = self.view();
            spoil(&mut view, &mut self.rng);
            let to = decide(&view, &Policy::default(), memory, self.now).variants[0].to;
            assert!((self.bounds.0..=self.bounds.1).contains(&to));
            self.resize(to);
            asked.push(to);
        }
        asked
    }

    fn says(&mut self, memory: &mut Memory) -> String {
        let view = self.view();
        decide(&view, &Policy::default(), memory, self.now).sentence
    }
}

fn as_it_is(_: &mut ModelView, _: &mut TestRng) {}

/// How often the answer turns from up to down or back.
fn turns(asked: &[u32]) -> usize {
    let moves: Vec<bool> = asked.windows(2).filter(|w| w[0] != w[1]).map(|w| w[1] > w[0]).collect();
    moves.windows(2).filter(|w| w[0] != w[1]).count()
}

#[test]
fn an_slo_nobody_can_reach_costs_a_fifth_more_for_a_moment_and_no_more() {
    for seed in 0..SEEDS {
        // One request alone takes 80 ms a token, whatever is promised.
        let fleet = |itl_ms| {
            let mut fleet = Fleet::new(seed, 4);
            (fleet.alone_ms, fleet.each_ms) = (80.0, 1.0);
            fleet.rate = 3.0 + seed as f64;
            fleet.slo = Some(Slo {
                itl_ms,
                ..Slo::default()
            });
            fleet
        };
        let without = fleet(None).run(&mut Memory::default(), 3600, as_it_is);
        let (least, settled) = (*without.iter().max().unwrap(), *without.last().unwrap());
        let (mut fleet, mut memory) = (fleet(Some(50.0)), Memory::default());
        let asked = fleet.run(&mut memory, 2 * 3600, as_it_is);
        let most = *asked.iter().max().unwrap();
        let allowed = least + (f64::from(least) / 5.0).ceil() as u32;
        assert!(most <= allowed, "seed {seed}: up to {most}, {least} without");
        let last = *asked.last().unwrap();
        assert!(last.abs_diff(settled) <= 1, "seed {seed}: {last} instead of {settled}");
        let late: Vec<u32> = asked[3600..].to_vec();
        assert!(
            turns(&asked) <= 4 && late.iter().all(|to| *to == last),
            "seed {seed}: {} turns",
            turns(&asked)
        );
        let said = fleet.says(&mut memory);
        assert!(
            said.contains("SLO of 50 ms between tokens cannot be met: one request alone takes "),
            "seed {seed}: {said}"
        );
    }
}

#[test]
fn an_slo_that_can_be_reached_is_and_stays_so() {
    for seed in 0..SEEDS {
        // 18 ms and 1.5 ms for each at once: 30 ms are 8 at once, of 16 slots.
        let mut fleet = Fleet::new(seed, 2);
        fleet.rate = 10.0 + 2.0 * seed as f64;
        fleet.slo = Some(Slo {
            ttft_ms: None,
            itl_ms: Some(30.0),
            percentile: None,
        });
        let mut memory = Memory::default();
        let asked = fleet.run(&mut memory, 1800, as_it_is);
        let itl = fleet.itl(fleet.at_once());
        assert!(itl <= 31.0, "seed {seed}: {itl} ms with {} replicas", fleet.ready());
        let least = (fleet.rate * LENGTHS.1 * 0.030 / 8.0).ceil() as u32;
        let last = *asked.last().unwrap();
        assert!(last <= least * 2, "seed {seed}: {last} replicas where {least} would do");
        let late = &asked[600..];
        assert!(turns(late) <= 4, "seed {seed}: {} turns of {late:?}", turns(late));
    }
}

#[test]
fn a_template_that_tells_the_batch_is_as_good_as_slots_that_are_said() {
    let by_template = |view: &mut ModelView, _: &mut TestRng| {
        view.variants[0].slots = None;
        view.variants[0].engine = Some(EngineArgs {
            max_num_seqs: Some(SLOTS as u64),
            ..EngineArgs::default()
        });
    };
    for seed in 0..SEEDS {
        let fleet = || {
            let mut fleet = Fleet::new(seed, 2);
            fleet.rate = 12.0;
            fleet.slo = Some(Slo {
                itl_ms: Some(30.0),
                ..Slo::default()
            });
            fleet
        };
        let said = fleet().run(&mut Memory::default(), 900, as_it_is);
        let told = fleet().run(&mut Memory::default(), 900, by_template);
        assert_eq!(told, said, "seed {seed}");
    }
}

#[test]
fn half_the_replicas_silent_freeze_nothing_and_take_nothing() {
    let silent = |view: &mut ModelView, _: &mut TestRng| {
        for replica in view.variants[0].replicas.iter_mut().step_by(2) {
            *replica = ReplicaView::unknown(replica.name.as_str(), replica.state.clone(), Scene::START, "timed out");
        }
    };
    for seed in 0..SEEDS {
        let mut fleet = Fleet::new(seed, 6);
        let mut memory = Memory::default();
        let asked = fleet.run(&mut memory, 600, silent);
        assert!(asked.iter().all(|to| *to >= 6), "seed {seed}: {asked:?}");
        // More load is still seen by those that speak.
        fleet.rate = 60.0;
        let asked = fleet.run(&mut memory, 300, silent);
        assert!(*asked.last().unwrap() > 6, "seed {seed}: {asked:?}");
        // And when all speak again and the load is gone, so are they.
        fleet.rate = 4.0;
        let asked = fleet.run(&mut memory, 1800, as_it_is);
        assert!(*asked.last().unwrap() <= 3, "seed {seed}: {}", fleet.says(&mut memory));
    }
}

#[test]
fn clocks_apart_take_nothing_and_are_named() {
    let signals = |replica: &mut ReplicaView, shift: fn(&mut Instant)| {
        for signal in [
            &mut replica.kv,
            &mut replica.running,
            &mut replica.waiting,
            &mut replica.itl_ms,
        ] {
            if let Signal::Observed(seen) = signal {
                shift(&mut seen.at);
            }
        }
    };
    let ahead = |view: &mut ModelView, _: &mut TestRng| {
        for replica in &mut view.variants[0].replicas {
            signals(replica, |at| *at += Duration::from_secs(3600));
        }
    };
    let behind = |view: &mut ModelView, _: &mut TestRng| {
        for replica in &mut view.variants[0].replicas {
            signals(replica, |at| *at = *at - Duration::from_secs(3600));
        }
    };
    for seed in 0..SEEDS {
        let mut fleet = Fleet::new(seed, 6);
        fleet.rate = 4.0;
        let mut memory = Memory::default();
        let asked = fleet.run(&mut memory, 300, ahead);
        assert!(asked.iter().all(|to| *to == 6), "seed {seed}: {asked:?}");
        let mut view = fleet.view();
        ahead(&mut view, &mut fleet.rng);
        let said = decide(&view, &Policy::default(), &mut memory, fleet.now);
        assert!(
            said.variants[0].metrics.says.contains("are the clocks apart?"),
            "{said:?}"
        );
        let asked = fleet.run(&mut memory, 300, behind);
        assert!(asked.iter().all(|to| *to == 6), "seed {seed}: {asked:?}");
        let asked = fleet.run(&mut memory, 1800, as_it_is);
        assert!(*asked.last().unwrap() <= 3, "seed {seed}: {asked:?}");
    }
}

#[test]
fn signals_that_cannot_be_take_nothing() {
    const LIES: [f64; 6] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, -0.5, 1e300];
    let lying = |view: &mut ModelView, rng: &mut TestRng| {
        let mut lie = || LIES[rng.next_u32() as usize % LIES.len()];
        let replicas = &mut view.variants[0].replicas;
        let at = lie().to_bits() as usize % replicas.len();
        let replica = &mut replicas[at];
        let which = lie().to_bits() as usize;
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
        let count = signals.len();
        for (i, signal) in signals.into_iter().enumerate() {
            if i == which % count || lie() == -0.5 {
                *signal = Signal::observed(lie(), Scene::START + Duration::from_secs(1_000_000), Source::Replica);
            }
        }
        if let GatewayView::Present {
            demand: Signal::Observed(seen),
            ..
        } = &mut view.gateway
        {
            let demand = &mut seen.value;
            let lies = || crate::Percentiles {
                p50_ms: f64::NAN,
                p99_ms: -1.0,
            };
            (demand.arrival_rate, demand.completion_rate, demand.ttft, demand.itl) =
                (Some(lie()), Some(lie()), Some(lies()), Some(lies()));
        }
    };
    for seed in 0..SEEDS {
        let mut fleet = Fleet::new(seed, 5);
        fleet.rate = 3.0;
        fleet.slo = Some(Slo {
            ttft_ms: Some(f64::NAN),
            itl_ms: Some(40.0),
            percentile: None,
        });
        let mut memory = Memory::default();
        let asked = fleet.run(&mut memory, 600, lying);
        assert!(asked.iter().all(|to| *to >= 5), "seed {seed}: {asked:?}");
        let asked = fleet.run(&mut memory, 2400, as_it_is);
        assert!(*asked.last().unwrap() <= 4, "seed {seed}: {}", fleet.says(&mut memory));
    }
}

#[test]
fn limits_changed_under_way_hold_at_once_and_are_left_again() {
    for seed in 0..SEEDS {
        let mut fleet = Fleet::new(seed, 4);
        fleet.rate = 25.0;
        let mut memory = Memory::default();
        let free = *fleet.run(&mut memory, 1800, as_it_is).last().unwrap();
        fleet.bounds = (1, free - 1);
        assert!(
            fleet.run(&mut memory, 120, as_it_is).iter().all(|to| *to == free - 1),
            "seed {seed}"
        );
        fleet.bounds = (free + 3, 20);
        assert!(
            fleet.run(&mut memory, 120, as_it_is).iter().all(|to| *to == free + 3),
            "seed {seed}"
        );
        fleet.bounds = (1, 20);
        let asked = fleet.run(&mut memory, 3600, as_it_is);
        let last = *asked.last().unwrap();
        assert!(last.abs_diff(free) <= 1, "seed {seed}: {last} instead of {free}");
        assert!(turns(&asked) <= 4, "seed {seed}: {asked:?}");
    }
}

#[test]
fn a_target_made_anew_is_scaled_as_the_first_was() {
    for seed in 0..SEEDS {
        let mut fleet = Fleet::new(seed, 3);
        fleet.rate = 25.0;
        fleet.slo = Some(Slo {
            ttft_ms: None,
            itl_ms: Some(32.0),
            percentile: None,
        });
        let mut memory = Memory::default();
        let before = *fleet.run(&mut memory, 1800, as_it_is).last().unwrap();
        // Deleted, with nobody to decide on; then there again with one replica.
        let mut nobody = fleet.view();
        nobody.variants.clear();
        let _ = decide(&nobody, &Policy::default(), &mut memory, fleet.now);
        fleet.resize(0);
        fleet.now += Duration::from_secs(60);
        fleet.resize(1);
        let asked = fleet.run(&mut memory, 3600, as_it_is);
        let last = *asked.last().unwrap();
        // Between the limit and what lies well below it both may stay.
        assert!(
            last.abs_diff(before) * 4 <= before,
            "seed {seed}: {last} instead of {before}"
        );
        assert!(turns(&asked[1800..]) <= 2, "seed {seed}: {asked:?}");
    }
}

#[test]
fn two_controllers_agree_instead_of_fighting() {
    for seed in 0..SEEDS {
        let mut fleet = Fleet::new(seed, 2);
        fleet.slo = Some(Slo {
            ttft_ms: None,
            itl_ms: Some(32.0),
            percentile: None,
        });
        let mut memories = [Memory::default(), Memory::default()];
        let mut asked = Vec::new();
        for second in 0..3600_u64 {
            fleet.rate = if second < 1200 { 25.0 } else { 8.0 };
            fleet.now += Duration::from_millis(500);
            // They look in turn; the second was started later and sees what the first did.
            let which = usize::from(second % 2 == 1 && second > 300);
            let view = fleet.view();
            let to = decide(&view, &Policy::default(), &mut memories[which], fleet.now).variants[0].to;
            fleet.resize(to);
            asked.push(to);
            fleet.now += Duration::from_millis(500);
        }
        let most = asked.iter().max().unwrap();
        assert!(*most <= 14, "seed {seed}: up to {most}");
        assert!(turns(&asked) <= 6, "seed {seed}: {} turns", turns(&asked));
        assert!(
            asked.last().unwrap() < asked[1199..1200].first().unwrap(),
            "seed {seed}: {asked:?}"
        );
    }
}
