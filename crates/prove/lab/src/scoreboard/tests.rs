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
