use super::*;
use crate::day::Shape;
use crate::run::{Outcome, run};
use crate::world::World;
use proptest::prelude::*;

/// Every schedule of at most `peak` replicas, by trying all of them.
fn brute_force(need: &[u32], step_s: f64, startup_s: f64) -> f64 {
    fn cheapest(need: &[u32], on: u32, peak: u32, step_s: f64, startup_s: f64) -> f64 {
        let Some((now, later)) = need.split_first() else {
            return 0.0;
        };
        (*now..=peak)
            .map(|next| {
                let started = f64::from(next.saturating_sub(on));
                started * startup_s + f64::from(next) * step_s + cheapest(later, next, peak, step_s, startup_s)
            })
            .fold(f64::INFINITY, f64::min)
    }
    let peak = need.iter().copied().max().unwrap_or(0);
    cheapest(need, need.first().copied().unwrap_or(0), peak, step_s, startup_s)
}

#[test]
fn worked_by_hand() {
    // (need, step, start-up, replica-seconds)
    let cases: [(&[u32], f64, f64, f64); 6] = [
        (&[], 5.0, 10.0, 0.0),
        (&[2, 2, 2], 5.0, 100.0, 30.0),
        (&[1, 2, 1], 5.0, 100.0, 15.0 + 5.0 + 100.0),
        (&[1, 0, 1], 5.0, 100.0, 15.0),
        (&[1, 0, 0, 0, 1], 5.0, 10.0, 10.0 + 10.0),
        (&[0, 3], 1.0, 4.0, 3.0 + 12.0),
    ];
    for (need, step, startup, expected) in cases {
        assert_eq!(covering(need, step, startup), expected, "{need:?}");
    }
}

fn day(work: Vec<f64>) -> Day {
    Day {
        name: "day".to_owned(),
        says: String::new(),
        work,
        work_per_request: 0.05,
    }
}

const fn world(startup_s: u64) -> World {
    World {
        startup_s,
        wake_s: 2,
        sleep_cost: 0.1,
    }
}

/// The schedule of `optimum`, played by the rules that hold for every policy.
fn played(day: &Day, startup_s: u64, may_wait_s: u64, most: u32, optimum: &Waiting) -> Outcome {
    let mut policy = Clairvoyant::new(optimum, most);
    run(day, world(startup_s), may_wait_s, most, &mut policy)
}

/// Asks for what it is told, second by second of the day, then for one; before
/// the day for `most`.
struct Told<'a> {
    asks: &'a [u32],
    day: usize,
    most: u32,
}

impl Policy for Told<'_> {
    fn replicas(&mut self, sight: &Sight<'_>) -> Ask {
        let second = (sight.second as usize).checked_sub(warm_up(self.day));
        Ask::awake(second.map_or(self.most, |second| self.asks.get(second).copied().unwrap_or(1)))
    }
}

/// Replicas that are asked for in a case small enough to try everything.
const FEW: u32 = 3;
/// Seconds without work at its end, in which all replicas can start before a day
/// begins anew.
const QUIET: usize = 12;

/// The least that any sequence of asks pays that keeps the limit, by trying all:
/// each second of `busy` and of the wait after it, times 1 to [`FEW`] replicas.
fn least_by_trying(busy: &[f64], startup_s: u64, may_wait_s: u64) -> f64 {
    let day = quiet_at_last(busy);
    let seconds = busy.len() + may_wait_s as usize;
    let mut least = f64::INFINITY;
    for number in 0..FEW.pow(seconds as u32) {
        let asks: Vec<u32> = (0..seconds as u32)
            .map(|second| 1 + number / FEW.pow(second) % FEW)
            .collect();
        let mut told = Told {
            asks: &asks,
            day: day.work.len(),
            most: FEW,
        };
        let outcome = run(&day, world(startup_s), may_wait_s, FEW, &mut told);
        if outcome.attainment == 1.0 {
            least = least.min(outcome.replica_seconds);
        }
    }
    least
}

fn quiet_at_last(busy: &[f64]) -> Day {
    let mut work = busy.to_vec();
    work.resize(busy.len() + QUIET, 0.0);
    day(work)
}

#[test]
fn worked_by_hand_where_work_may_wait() {
    // (work, may wait, start-up, replica-seconds, what is shown)
    let cases: [(&[f64], u64, u64, u64, &str); 6] = [
        (&[0.0; 5], 3, 10, 5, "one replica is kept though nothing comes"),
        (
            &[1.0, 4.0, 0.0, 0.0, 0.0],
            3,
            10,
            5,
            "one serves in four seconds what came in one",
        ),
        (
            &[1.0, 4.0, 0.0, 0.0, 0.0],
            0,
            10,
            5 + 3 * 2,
            "at once it takes four, there since the day before",
        ),
        (
            &[1.0, 1.0, 1.0, 2.0, 0.0],
            0,
            1,
            5 + 2,
            "a start before, and the second itself",
        ),
        (
            &[2.0, 0.0, 0.0, 2.0, 0.0],
            0,
            2,
            5 + 1 + 3,
            "started anew for the second spike",
        ),
        (&[2.0, 0.0, 2.0, 0.0, 0.0], 0, 9, 5 + 3, "stays on through the gap"),
    ];
    for (work, may_wait_s, startup_s, expected, shown) in cases {
        let grid = Grid::with_quanta(work, may_wait_s, startup_s, 4, 16);
        assert_eq!(grid.bound(), expected, "{shown}");
    }
}

#[test]
fn the_schedule_keeps_the_limit_by_the_rules_of_run_and_is_within_1_percent_of_the_least() {
    for (shape, startup_s, seed) in [(Shape::Noisy, 280, 2), (Shape::Crowds, 20, 2)] {
        let day = Day::synthetic(shape, 0.05, 20, seed);
        let optimum = Waiting::of(&day, startup_s, 3, 40);
        let outcome = played(&day, startup_s, 3, 40, &optimum);
        assert_eq!(outcome.attainment, 1.0, "{shape:?}, {startup_s} s");
        assert_eq!(outcome.replica_seconds, optimum.schedule_s, "{shape:?}, {startup_s} s");
        assert!(optimum.bound_s <= optimum.schedule_s, "{shape:?}, {startup_s} s");
        assert!(
            optimum.schedule_s <= optimum.bound_s * 1.01,
            "{shape:?}, {startup_s} s: {} {}",
            optimum.schedule_s,
            optimum.bound_s
        );
    }
}

#[test]
fn a_spike_that_most_replicas_do_not_serve_in_time_takes_more() {
    let day = quiet_at_last(&[1.0, 30.0]);
    let optimum = Waiting::of(&day, 5, 2, 4);
    assert!(
        optimum.schedule.iter().any(|asked| *asked > 4),
        "{:?}",
        optimum.schedule
    );
}

#[test]
fn a_fleet_too_large_to_try_is_known_before() {
    assert!(tractable(40, 80, 3) && tractable(100, 200, 3));
    assert!(!tractable(1_000, 2_000, 3) && !tractable(40, 80, 3_600) && !tractable(u32::MAX, u32::MAX, u64::MAX));
}

proptest! {
    #[test]
    fn where_work_may_wait_trying_everything_finds_nothing_cheaper(
        quarters in prop::collection::vec(0_u32..=12, 1..5),
        may_wait_s in 0_u64..=3,
        startup_s in 1_u64..7,
    ) {
        // Work in quarters lies on a grid of quarters: there the bound is the least itself.
        let busy: Vec<f64> = quarters.iter().map(|quarters| f64::from(*quarters) / 4.0).collect();
        let day = quiet_at_last(&busy);
        let least = least_by_trying(&busy, startup_s, may_wait_s);
        let grid = Grid::with_quanta(&day.work, may_wait_s, startup_s, FEW, 4);
        prop_assert_eq!(grid.bound() as f64, least);
        // To have a quantum to spare costs little of a day, but much of a few seconds.
        let optimum = Waiting::of(&day, startup_s, may_wait_s, FEW + 1);
        let outcome = played(&day, startup_s, may_wait_s, FEW + 1, &optimum);
        prop_assert_eq!(outcome.attainment, 1.0);
        prop_assert_eq!(outcome.replica_seconds, optimum.schedule_s);
        prop_assert!(optimum.bound_s <= least);
        prop_assert!(optimum.schedule_s >= least);
    }

    #[test]
    fn nobody_finds_a_cheaper_schedule(
        need in prop::collection::vec(0_u32..4, 1..8),
        startup_steps in 0_u32..6,
    ) {
        let startup = f64::from(startup_steps) * 5.0;
        prop_assert_eq!(covering(&need, 5.0, startup), brute_force(&need, 5.0, startup));
    }
}
