use super::*;
use crate::day::Shape;
use crate::optimum::Optimum;

const RULES: Rules = Rules {
    peak: 20,
    may_wait_s: 3,
    wake_s: 2,
    sleep_cost: 0.1,
    waiting_optimum: false,
};

/// Cost over the optimum, at most, and attainment, at least.
#[derive(Clone, Copy, Debug)]
struct Held {
    ratio: f64,
    attainment: f64,
}

/// The goal where a replica starts in 5 s.
const GOAL_5_S: Held = held(1.10, 0.999);
/// Short of the goal of 1.15 at 99.5 % by a little: room for noise is paid for.
const NOISE_100_S: Held = held(1.20, 0.99);
/// Short of the goal: what jumps without notice is late until a replica starts, and
/// room is kept for the next jump.
const STEPS_100_S: Held = held(1.45, 0.98);
const CROWDS_100_S: Held = held(1.40, 0.98);

const fn held(ratio: f64, attainment: f64) -> Held {
    Held { ratio, attainment }
}

fn cell(day: &Day, startup_s: u64, contender: Contender, rules: &Rules) -> Cell {
    super::cell(day, startup_s, contender, rules, &Optimum::covering(day, startup_s))
}

fn ours(shape: Shape, startup_s: u64, seed: u64) -> Cell {
    let day = Day::synthetic(shape, 0.05, RULES.peak, seed);
    cell(&day, startup_s, Contender::Tidegate, &RULES)
}

#[test]
fn the_same_seed_gives_the_same_table() {
    for contender in Contender::ALL {
        let day = || Day::synthetic(Shape::Crowds, 0.05, RULES.peak, 7);
        assert_eq!(cell(&day(), 20, contender, &RULES), cell(&day(), 20, contender, &RULES));
    }
}

#[test]
fn nobody_pays_less_than_the_work_that_was_served() {
    let day = Day::synthetic(Shape::Steps, 0.05, RULES.peak, 3);
    for contender in Contender::ALL {
        let cell = cell(&day, 100, contender, &RULES);
        assert!(cell.gpu_hours >= cell.work_gpu_hours * 0.9, "{cell:?}");
        assert!((0.0..=1.0).contains(&cell.attainment), "{cell:?}");
    }
}

#[test]
fn at_constant_load_nothing_moves_once_the_load_is_known() {
    for (seed, startup_s) in [(1, 5), (2, 20), (3, 100), (4, 280)] {
        let cell = ours(Shape::Constant, startup_s, seed);
        assert_eq!(cell.actions, 0, "seed {seed}: {cell:?}");
        assert_eq!(cell.attainment, 1.0, "seed {seed}: {cell:?}");
    }
}

/// Ours on two days of a shape, where replicas start quickly and slowly.
fn holds(shape: Shape, quick: Held, slow: Held) {
    for seed in [1, 2] {
        for (startup_s, held) in [(5, quick), (100, slow)] {
            let cell = ours(shape, startup_s, seed);
            assert!(
                cell.cost_ratio <= held.ratio && cell.attainment >= held.attainment,
                "seed {seed}, {held:?}: {cell:?}"
            );
        }
    }
}

#[test]
fn the_goals_hold_on_days_of_noise_nearly() {
    holds(Shape::Noisy, GOAL_5_S, NOISE_100_S);
}

#[test]
fn the_goals_hold_on_steps_where_replicas_start_quickly() {
    holds(Shape::Steps, GOAL_5_S, STEPS_100_S);
}

#[test]
fn the_goals_hold_on_crowds_where_replicas_start_quickly() {
    holds(Shape::Crowds, GOAL_5_S, CROWDS_100_S);
}

/// Whoever may let work wait as ours does, and knows the day, pays less still.
#[test]
fn beside_an_optimum_that_lets_work_wait_noise_costs_a_fifth_to_a_third_more() {
    let rules = Rules {
        waiting_optimum: true,
        ..RULES
    };
    let day = Day::synthetic(Shape::Noisy, 0.05, RULES.peak, 1);
    for (startup_s, at_most) in [(5, 1.20), (100, 1.37)] {
        let all = cells(&day, startup_s, &rules);
        let ours = all.iter().find(|cell| cell.policy == "tidegate").unwrap();
        let beside = ours.waiting.unwrap();
        assert!(beside.cost_ratio <= at_most, "{ours:?}");
        assert!(beside.cost_ratio >= ours.cost_ratio, "{ours:?}");
        assert!(beside.optimum_gpu_hours <= ours.optimum_gpu_hours, "{ours:?}");
    }
}

#[test]
fn where_nobody_sleeps_the_price_of_sleep_and_its_wake_up_time_change_nothing() {
    let day = Day::synthetic(Shape::Crowds, 0.05, RULES.peak, 5);
    let other = Rules {
        wake_s: 30,
        sleep_cost: 0.9,
        ..RULES
    };
    for contender in Contender::ALL {
        if contender != Contender::TidegateSleeping {
            let dearer = cell(&day, 20, contender, &other);
            assert_eq!(dearer, cell(&day, 20, contender, &RULES));
            assert_eq!((dearer.asleep_hours, dearer.most_asleep), (0.0, 0));
        }
    }
}

#[test]
fn with_sleepers_sudden_days_are_served_in_time_though_starts_are_slow_and_at_less_cost() {
    for (shape, startup_s, seed) in [(Shape::Steps, 280, 1), (Shape::Crowds, 100, 2)] {
        let day = Day::synthetic(shape, 0.05, RULES.peak, seed);
        let awake = cell(&day, startup_s, Contender::Tidegate, &RULES);
        let sleeping = cell(&day, startup_s, Contender::TidegateSleeping, &RULES);
        assert!(sleeping.attainment >= 0.998, "{sleeping:?}");
        assert!(sleeping.attainment > awake.attainment, "{sleeping:?} {awake:?}");
        assert!(sleeping.gpu_hours < awake.gpu_hours * 0.95, "{sleeping:?} {awake:?}");
    }
}

#[test]
fn a_sleeper_as_dear_as_one_that_serves_never_sleeps() {
    let day = Day::synthetic(Shape::Noisy, 0.05, RULES.peak, 6);
    let dear = Rules {
        sleep_cost: 1.0,
        ..RULES
    };
    let sleeping = cell(&day, 20, Contender::TidegateSleeping, &dear);
    let awake = cell(&day, 20, Contender::Tidegate, &dear);
    assert_eq!((sleeping.asleep_hours, sleeping.most_asleep), (0.0, 0));
    assert!(
        (sleeping.gpu_hours / awake.gpu_hours - 1.0).abs() < 0.01,
        "{sleeping:?} {awake:?}"
    );
    assert!(
        (sleeping.attainment - awake.attainment).abs() < 0.002,
        "{sleeping:?} {awake:?}"
    );
}

#[test]
fn at_constant_load_sleepers_at_most_go() {
    for (seed, startup_s) in [(1, 20), (2, 280)] {
        let day = Day::synthetic(Shape::Constant, 0.05, RULES.peak, seed);
        let cell = cell(&day, startup_s, Contender::TidegateSleeping, &RULES);
        // What was started on an assumption is let go, one after another.
        assert!(cell.actions <= 12, "seed {seed}: {cell:?}");
        assert_eq!(cell.attainment, 1.0, "seed {seed}: {cell:?}");
        assert!(
            cell.gpu_hours < ours(Shape::Constant, startup_s, seed).gpu_hours * 1.01,
            "{cell:?}"
        );
    }
}
