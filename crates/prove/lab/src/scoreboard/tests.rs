use super::*;
use crate::day::Shape;

const RULES: Rules = Rules {
    peak: 20,
    may_wait_s: 3,
    wake_s: 2,
    sleep_cost: 0.1,
};

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

#[test]
fn the_goals_hold_on_days_of_noise_whatever_the_seed() {
    for seed in 1..=3 {
        let quick = ours(Shape::Noisy, 5, seed);
        assert!(
            quick.cost_ratio <= 1.10 && quick.attainment >= 0.999,
            "seed {seed}: {quick:?}"
        );
        let slow = ours(Shape::Noisy, 100, seed);
        assert!(
            slow.cost_ratio <= 1.20 && slow.attainment >= 0.99,
            "seed {seed}: {slow:?}"
        );
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
            let cell = super::cell(&day, 20, contender, &other);
            assert_eq!(cell, super::cell(&day, 20, contender, &RULES));
            assert_eq!((cell.asleep_hours, cell.most_asleep), (0.0, 0));
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
        assert_eq!(sleeping.optimum_gpu_hours, awake.optimum_gpu_hours);
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
