//! Latencies that are flat up to some load and steep beyond: what a replica
//! takes by itself keeps none, and where load begins to tell nothing is let go
//! and asked back in turn.

use super::*;

const HOUR: u64 = 3_600;
/// What is promised between tokens.
const TARGET_MS: f64 = 40.0;

/// Requests at once from which on each takes so many milliseconds besides: near
/// what one alone is, and far from it.
const KNEES: [(f64, f64); 4] = [(1.5, 10.0), (2.5, 8.0), (2.5, 25.0), (5.0, 8.0)];

/// Twenty replicas, of which a token takes 30 ms up to the knee.
fn bent(seed: u64, knee: (f64, f64), rate: f64) -> Fleet {
    let mut fleet = Fleet::new(seed, 20);
    (fleet.alone_ms, fleet.each_ms, fleet.knee) = (30.0, 0.05, knee);
    fleet.noise = [0.02, 0.06][seed as usize % 2];
    fleet.bounds = (1, 60);
    fleet.rate = rate;
    fleet.slo = Some(Slo {
        itl_ms: Some(TARGET_MS),
        ..Slo::default()
    });
    fleet
}

/// Lives for `hours` with a load that swings by `swing` once in `period`
/// seconds: what was asked for each second, and for how many of them what is
/// promised was broken.
fn live(fleet: &mut Fleet, hours: u64, swing: f64, period: u64) -> (Vec<u32>, u64) {
    let (mean, mut memory) = (fleet.rate, Memory::default());
    let (mut asked, mut broken) = (Vec::new(), 0);
    for second in 0..hours * HOUR {
        let turn = second as f64 / period as f64 * std::f64::consts::TAU;
        fleet.rate = mean * (1.0 + swing * turn.sin());
        asked.extend(fleet.run(&mut memory, 1, as_it_is));
        broken += u64::from(fleet.itl(fleet.at_once()) > TARGET_MS);
    }
    (asked, broken)
}

#[test]
fn a_trickle_keeps_few_of_those_whose_latency_is_their_own() {
    for seed in 0..2 {
        let mut fleet = bent(seed, (SLOTS, 0.0), 1.0);
        let (asked, broken) = live(&mut fleet, 4, 0.0, HOUR);
        let last = *asked.last().unwrap();
        assert!(last <= 4, "seed {seed}: {last} replicas for three requests at once");
        assert_eq!((turns(&asked), broken), (0, 0), "seed {seed}");
    }
}

#[test]
fn what_is_let_go_below_a_knee_is_not_asked_back() {
    for knee in KNEES {
        for seed in 0..2 {
            let mut fleet = bent(seed, knee, 7.0);
            let (asked, broken) = live(&mut fleet, 4, 0.15, 1_200);
            let last = *asked.last().unwrap();
            assert!(last < 16, "knee {knee:?}, seed {seed}: {last} replicas");
            let turns = turns(&asked);
            assert!(
                turns <= 1 && broken <= 4 * HOUR / 1_000,
                "knee {knee:?}, seed {seed}: {turns} turns, {broken} s broken"
            );
        }
    }
}

#[test]
fn a_load_that_comes_and_goes_beyond_a_knee_is_followed_and_no_more() {
    const HOURS: u64 = 5;
    for knee in [(2.5, 8.0), (5.0, 8.0)] {
        for seed in 0..2 {
            let mut fleet = bent(seed, knee, 20.0);
            let (asked, _) = live(&mut fleet, HOURS, 0.9, HOUR);
            let turns = turns(&asked);
            // Up and down are two; there were up to seventeen an hour.
            assert!(turns <= 5 * HOURS as usize, "knee {knee:?}, seed {seed}: {turns} turns");
        }
    }
}

#[test]
fn a_promise_that_nobody_can_keep_neither_grows_nor_swings() {
    for seed in 0..2 {
        let mut fleet = bent(seed, (SLOTS, 0.0), 1.0);
        fleet.alone_ms = 50.0;
        let (asked, broken) = live(&mut fleet, 8, 0.15, 1_200);
        assert_eq!(broken, 8 * HOUR, "seed {seed}");
        assert!(
            asked.iter().all(|to| *to <= 20),
            "seed {seed}: {:?}",
            asked.iter().max()
        );
        let (turns, last) = (turns(&asked), *asked.last().unwrap());
        assert!(turns <= 2 && last <= 2, "seed {seed}: {turns} turns, {last} at the end");
    }
}
