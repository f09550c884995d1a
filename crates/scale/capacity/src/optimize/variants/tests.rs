use super::*;
use proptest::prelude::*;

fn offer(name: &str, cost: f64, per_replica: f64, current: u32) -> Offer {
    Offer {
        name: name.to_owned(),
        cost,
        per_replica,
        current,
        min: 0,
        max: 1000,
        step_up: None,
        step_down: None,
    }
}

fn replicas(fit: &Fit) -> Vec<u32> {
    fit.choices.iter().map(|choice| choice.replicas).collect()
}

#[test]
fn capacity_goes_where_it_costs_least_and_away_where_it_costs_most() {
    let cheap = |n| offer("cheap", 5.0, 10_000.0, n);
    let dear = |n| offer("dear", 15.0, 20_000.0, n);
    let middle = |n| offer("middle", 10.0, 15_000.0, n);
    type Case = (&'static str, f64, f64, Vec<Offer>, Vec<u32>);
    let cases: [Case; 15] = [
        ("ceil", 25_000.0, 0.0, vec![cheap(1)], vec![4]),
        (
            "all on the cheapest",
            25_000.0,
            0.0,
            vec![dear(1), cheap(1)],
            vec![1, 4],
        ),
        (
            "dear first, the cheapest stays",
            0.0,
            30_000.0,
            vec![dear(1), cheap(1)],
            vec![0, 1],
        ),
        (
            "what is pending counts",
            5000.0,
            0.0,
            vec![cheap(2), middle(1)],
            vec![3, 1],
        ),
        (
            "less than one is none",
            0.0,
            9999.0,
            vec![offer("a", 1.0, 10_000.0, 3)],
            vec![3],
        ),
        ("just one", 0.0, 10_000.0, vec![offer("a", 1.0, 10_000.0, 3)], vec![2]),
        ("more before less", 1.0, 90_000.0, vec![cheap(3)], vec![4]),
        ("nothing asked", 0.0, 0.0, vec![cheap(3), dear(0)], vec![3, 0]),
        (
            "unknown capacity is passed over",
            1.0,
            0.0,
            vec![offer("a", 1.0, 0.0, 1), dear(1)],
            vec![1, 2],
        ),
        (
            "but asked where nothing is known",
            1.0,
            0.0,
            vec![offer("a", 1.0, 0.0, 0)],
            vec![1],
        ),
        (
            "of equals the first name gets, the last gives",
            10_000.0,
            0.0,
            vec![offer("b", 5.0, 10_000.0, 1), offer("a", 5.0, 10_000.0, 1)],
            vec![1, 2],
        ),
        (
            "and the last gives",
            0.0,
            10_000.0,
            vec![offer("b", 5.0, 10_000.0, 1), offer("a", 5.0, 10_000.0, 1)],
            vec![0, 1],
        ),
        (
            "a maximum sends the rest elsewhere",
            25_000.0,
            0.0,
            vec![Offer { max: 2, ..cheap(1) }, dear(1)],
            vec![2, 2],
        ),
        (
            "a large one per capacity cheaper is not bought for a small rest",
            5000.0,
            0.0,
            vec![offer("big", 100.0, 100_000.0, 1), offer("small", 10.0, 8000.0, 0)],
            vec![1, 1],
        ),
        (
            "the last one stays whatever it costs",
            0.0,
            90_000.0,
            vec![dear(2), cheap(0)],
            vec![1, 0],
        ),
    ];
    for (what, required, spare, offers, expected) in cases {
        assert_eq!(replicas(&fit(&offers, required, spare)), expected, "{what}");
    }
}

#[test]
fn bounds_and_steps_hold() {
    let held = |min, max| Offer {
        min,
        max,
        step_up: Some(2),
        step_down: Some(1),
        ..offer("a", 1.0, 10.0, 4)
    };
    let up = fit(&[held(0, 100)], 1000.0, 0.0);
    assert_eq!((replicas(&up), up.uncovered), (vec![6], 980.0));
    assert_eq!(replicas(&fit(&[held(0, 5)], 1000.0, 0.0)), vec![5]);
    assert_eq!(replicas(&fit(&[held(0, 100)], 0.0, 1000.0)), vec![3]);
    assert_eq!(replicas(&fit(&[held(4, 100)], 0.0, 1000.0)), vec![4]);
    let raised = fit(&[held(6, 100)], 0.0, 0.0);
    assert_eq!(
        (replicas(&raised), raised.choices[0].why.as_str()),
        (vec![6], "6 is its minimum")
    );
    assert_eq!(replicas(&fit(&[held(0, 3)], 0.0, 0.0)), vec![3]);
    assert_eq!(replicas(&fit(&[held(0, 9)], f64::NAN, f64::INFINITY)), vec![4]);
    // A minimum that brings what is missing needs nothing on top.
    let two = [held(6, 100), offer("b", 0.5, 10.0, 0)];
    assert_eq!(replicas(&fit(&two, 20.0, 0.0)), vec![6, 0]);
}

fn any_offer(name: &'static str) -> impl Strategy<Value = Offer> {
    (0.1..20.0f64, 1u32..30, 0u32..4, 0u32..3, 0u32..5).prop_map(move |(cost, holds, current, min, more)| Offer {
        min,
        max: min + more,
        ..offer(name, (cost * 10.0).round() / 10.0, f64::from(holds), current)
    })
}

proptest! {
    /// Against every combination: never short where something else is not, and
    /// never dearer than the first variant per capacity alone, rounded up.
    #[test]
    fn what_is_missing_is_covered_at_nearly_the_least_cost(
        a in any_offer("a"), b in any_offer("b"), c in any_offer("c"), required in 0.0..120.0f64,
    ) {
        let offers = [a, b, c];
        let base: Vec<Choice> = offers.iter().map(within_bounds).collect();
        let got = fit(&offers, required, 0.0);
        let held: f64 = offers.iter().zip(&base)
            .map(|(o, ch)| o.per_replica * (f64::from(ch.replicas) - f64::from(o.current))).sum();
        let missing = required - held;
        let cost = |counts: [u32; 3]| offers.iter().zip(counts).map(|(o, n)| o.cost * f64::from(n)).sum::<f64>();
        let holds = |counts: [u32; 3]| offers.iter().zip(counts).map(|(o, n)| o.per_replica * f64::from(n)).sum::<f64>();
        let rooms: Vec<u32> = offers.iter().zip(&base).map(|(o, ch)| o.max.max(o.min) - ch.replicas).collect();
        let added = [0, 1, 2].map(|i| got.choices[i].replicas - base[i].replicas);
        let (mut best, mut most) = (f64::INFINITY, 0.0f64);
        for x in 0..=rooms[0] { for y in 0..=rooms[1] { for z in 0..=rooms[2] {
            most = most.max(holds([x, y, z]));
            if holds([x, y, z]) >= missing - 1e-6 { best = best.min(cost([x, y, z])); }
        }}}
        if best.is_finite() {
            prop_assert!(got.uncovered <= 1e-6, "{got:?}");
            prop_assert!(cost(added) >= best - 1e-6 || missing <= 0.0);
            // The bound: one replica of the dearest above the optimum.
            let dearest = offers.iter().map(|o| o.cost).fold(0.0, f64::max);
            prop_assert!(cost(added) <= best + dearest + 1e-6, "{} > {best}", cost(added));
        } else {
            prop_assert!((got.uncovered - (missing - most)).abs() < 1e-6);
        }
        // Fed back, with what is asked for now covered, nothing moves.
        let mut again = offers.clone();
        for (offer, choice) in again.iter_mut().zip(&got.choices) { offer.current = choice.replicas; }
        prop_assert_eq!(replicas(&fit(&again, 0.0, 0.0)), replicas(&got));
    }

    #[test]
    fn what_is_spare_and_no_more_goes(
        a in any_offer("a"), b in any_offer("b"), c in any_offer("c"), spare in 0.0..120.0f64,
    ) {
        let offers = [a, b, c];
        let base: Vec<Choice> = offers.iter().map(within_bounds).collect();
        let got = fit(&offers, 0.0, spare);
        let gone: f64 = offers.iter().zip(&got.choices)
            .map(|(o, ch)| o.per_replica * (f64::from(o.current) - f64::from(ch.replicas))).sum();
        prop_assert!(gone <= spare + got.uncovered + 1e-6, "a maximum may take more than is spare, and says so");
        for (offer, choice) in offers.iter().zip(&got.choices) {
            prop_assert!((offer.min..=offer.max).contains(&choice.replicas));
        }
        let any = |choices: &[Choice]| choices.iter().any(|ch| ch.replicas > 0);
        prop_assert!(any(&got.choices) || !any(&base), "one stays");
    }
}
