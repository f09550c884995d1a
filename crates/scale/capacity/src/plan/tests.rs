use super::*;

mod whole;

use crate::decide::tests::{Scene, Variant};
use std::time::Duration;

/// So many ready replicas that hold `slots` each, and `starting` more.
fn variant(name: &str, cost: f64, slots: f64, ready: u32, starting: u32) -> Variant {
    let of = Variant::new(name, cost).bounds(0, 1000).slots(slots);
    let of = (0..ready).fold(of, |of, _| of.ready(0.5, 0.0));
    (0..starting).fold(of, |of, _| of.starting(Duration::from_secs(1)))
}

/// Targets by variant name once `required` slots are added to what there is,
/// or `spare` ones taken away.
fn moved(variants: &[Variant], required: f64, spare: f64) -> Vec<u32> {
    let scene = Scene::of(variants.to_vec());
    let mut memory = scene.memory.clone();
    let load = Load::survey(&scene.view, &scene.policy, &mut memory, scene.now);
    let mut targets = Targets::as_wanted(&load);
    if required > 0.0 {
        targets.raise(load.live_capacity() + required, &load, &mut Obstacles::default());
    } else {
        targets.lower(load.ready_capacity() - spare, &load, &mut Obstacles::default());
    }
    targets.0
}

#[test]
fn capacity_goes_where_it_costs_least_and_away_where_it_costs_most() {
    let cheap = |ready, starting| variant("cheap", 5.0, 10_000.0, ready, starting);
    let dear = |ready| variant("dear", 15.0, 20_000.0, ready, 0);
    let middle = |ready| variant("middle", 10.0, 15_000.0, ready, 0);
    let alike = |ready| variant("a", 1.0, 10_000.0, ready, 0);
    type Case = (&'static str, f64, f64, Vec<Variant>, Vec<u32>);
    // The published examples, with slots for tokens.
    let cases: [Case; 6] = [
        ("whole replicas", 25_000.0, 0.0, vec![cheap(1, 0)], vec![4]),
        (
            "all on the cheapest",
            25_000.0,
            0.0,
            vec![dear(1), cheap(1, 0)],
            vec![4, 1],
        ),
        (
            "dear first, the cheapest stays",
            0.0,
            30_000.0,
            vec![dear(1), cheap(1, 0)],
            vec![1, 0],
        ),
        (
            "what is on its way counts",
            5_000.0,
            0.0,
            vec![cheap(1, 1), middle(1)],
            vec![3, 1],
        ),
        ("less than one is none", 0.0, 9_999.0, vec![alike(3)], vec![3]),
        ("just one", 0.0, 10_000.0, vec![alike(3)], vec![2]),
    ];
    for (what, required, spare, variants, expected) in cases {
        assert_eq!(moved(&variants, required, spare), expected, "{what}");
    }
}
