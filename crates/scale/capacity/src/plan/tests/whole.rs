//! Replicas are whole: what the cheapest slot costs is not what it costs to
//! hold a few.

use super::*;
use crate::plan::cover::{Offer, cover};
use proptest::prelude::*;

/// Four slots for 1, or a hundred for 20.
fn small(ready: u32) -> Variant {
    variant("small", 1.0, 4.0, ready, 0)
}

fn large(ready: u32) -> Variant {
    variant("large", 20.0, 100.0, ready, 0)
}

#[test]
fn a_few_slots_are_held_by_what_holds_them_for_less() {
    // Large and small ones; slots that are missing or (below 0) to spare.
    let cases: [(&str, u32, u32, f64, [u32; 2]); 12] = [
        ("three small ones, and no large one", 0, 0, 10.0, [0, 3]),
        ("as dear as the large one: the large one", 0, 0, 80.0, [1, 0]),
        ("a little less", 0, 0, 76.0, [0, 19]),
        ("a large one for most of it", 0, 0, 110.0, [1, 3]),
        ("beside what there is", 1, 0, 4.0, [1, 1]),
        ("small ones add up", 0, 15, 16.0, [0, 19]),
        ("until they cost what a large one does", 0, 15, 20.0, [1, 15]),
        ("then they may go", 1, 15, -60.0, [1, 0]),
        ("the large one goes where small ones will do", 1, 3, -100.0, [0, 3]),
        ("and where less than small ones would do", 1, 3, -105.0, [0, 2]),
        ("what is left without any load costs least", 1, 3, -112.0, [0, 1]),
        ("what is there is not replaced", 1, 0, -90.0, [1, 0]),
    ];
    for (what, large_ones, small_ones, slots, expected) in cases {
        let variants = [large(large_ones), small(small_ones)];
        assert_eq!(moved(&variants, slots.max(0.0), (-slots).max(0.0)), expected, "{what}");
    }
}

#[test]
fn a_load_that_grows_by_little_costs_no_more_than_large_ones_and_one_besides() {
    let (mut large_ones, mut small_ones) = (0, 0);
    for needs in 1..=500 {
        let there = f64::from(large_ones * 100 + small_ones * 4);
        let needs = f64::from(needs);
        if needs > there {
            let to = moved(&[large(large_ones), small(small_ones)], needs - there, 0.0);
            (large_ones, small_ones) = (to[0], to[1]);
        }
        let there = f64::from(large_ones * 100 + small_ones * 4);
        let to = moved(&[large(large_ones), small(small_ones)], 0.0, there - needs);
        (large_ones, small_ones) = (to[0], to[1]);
        let cost = large_ones * 20 + small_ones;
        let in_order = (needs / 100.0).ceil() as u32 * 20;
        assert!(
            cost <= in_order,
            "{needs}: {large_ones} large, {small_ones} small, not {in_order}"
        );
    }
}

#[test]
fn who_has_room_to_spare_is_not_said_to_be_full() {
    let scene = Scene::of([small(0).bounds(0, 2), variant("large", 3.0, 100.0, 0, 0)]);
    let mut memory = scene.memory.clone();
    let load = Load::survey(&scene.view, &scene.policy, &mut memory, scene.now);
    let mut targets = Targets::as_wanted(&load);
    let mut obstacles = Obstacles::default();
    targets.raise(104.0, &load, &mut obstacles);
    assert_eq!((targets.0, obstacles), (vec![1, 1], Obstacles::default()));
}

#[test]
fn a_thousand_variants_of_one_price_end() {
    let offers = vec![
        Offer {
            slots: 3.0,
            cost: 3.0,
            room: 10
        };
        1000
    ];
    assert_eq!(cover(&offers, 1000.0, 1001.0), None, "nothing is less");
    assert!(cover(&offers, 1000.0, 1003.0).is_some(), "334 of them");
}

/// A variant: cost, slots, replicas ready, and its bounds around them.
type Kind = (u8, u8, u32, u32, u32);

fn kinds() -> impl Strategy<Value = Vec<Kind>> {
    prop::collection::vec((0_u8..12, 1_u8..30, 0_u32..4, 0_u32..3, 0_u32..5), 1..4)
}

fn of(kinds: &[Kind]) -> Vec<Variant> {
    let of = |(i, (cost, slots, ready, min, more)): (usize, &Kind)| {
        let of = variant(&format!("v{i}"), f64::from(*cost), f64::from(*slots), *ready, 0);
        of.bounds((*min).min(*ready), ready + more)
    };
    kinds.iter().enumerate().map(of).collect()
}

/// Every number of replicas of each kind between two.
fn every(from: &[u32], to: &[u32]) -> Vec<Vec<u32>> {
    from.iter().zip(to).fold(vec![Vec::new()], |all, (from, to)| {
        let with = |n| all.iter().map(move |one| [&one[..], &[n]].concat());
        (*from..=*to).flat_map(with).collect()
    })
}

fn with_load<T>(variants: Vec<Variant>, of: impl FnOnce(&Load<'_>) -> T) -> T {
    let scene = Scene::of(variants);
    let mut memory = scene.memory.clone();
    of(&Load::survey(&scene.view, &scene.policy, &mut memory, scene.now))
}

fn cost(kinds: &[Kind], targets: &[u32]) -> f64 {
    kinds
        .iter()
        .zip(targets)
        .map(|(kind, n)| f64::from(kind.0) * f64::from(*n))
        .sum()
}

fn slots(kinds: &[Kind], targets: &[u32]) -> f64 {
    kinds
        .iter()
        .zip(targets)
        .map(|(kind, n)| f64::from(kind.1) * f64::from(*n))
        .sum()
}

proptest! {
    #[test]
    fn more_is_enough_within_bounds_and_never_dearer_than_in_order(kinds in kinds(), needs in 0_u32..200) {
        let needs = f64::from(needs);
        let (from, max, to, in_order, again) = with_load(of(&kinds), |load| {
            let from = Targets::as_wanted(load);
            let (mut to, mut in_order) = (from.clone(), from.clone());
            to.raise(needs, load, &mut Obstacles::default());
            in_order.raise_in_order(needs, load, &mut Obstacles::default());
            let mut again = to.clone();
            again.raise(needs, load, &mut Obstacles::default());
            let max: Vec<u32> = load.stands.iter().map(|stand| stand.variant.max).collect();
            (from.0, max, to.0, in_order.0, again.0)
        });
        prop_assert_eq!(&to, &again, "asked again");
        prop_assert!(to.iter().zip(&from).all(|(to, from)| to >= from) && to.iter().zip(&max).all(|(to, max)| to <= max));
        let possible = slots(&kinds, &max).min(needs);
        prop_assert!(slots(&kinds, &to) >= possible, "{:?}", to);
        prop_assert!(cost(&kinds, &to) <= cost(&kinds, &in_order), "{:?} {:?}", to, in_order);
        // From nothing it is the least there is.
        if from.iter().all(|n| *n == 0) && slots(&kinds, &max) >= needs {
            let all = every(&from, &max).into_iter().filter(|one| slots(&kinds, one) >= needs);
            let least = all.map(|one| cost(&kinds, &one)).fold(f64::INFINITY, f64::min);
            prop_assert_eq!(cost(&kinds, &to), least);
        }
    }

    #[test]
    fn less_is_the_least_cost_that_is_enough(kinds in kinds(), needs in 0_u32..100) {
        let needs = f64::from(needs);
        let (from, min, to, again) = with_load(of(&kinds), |load| {
            let from = Targets::as_wanted(load);
            let mut to = from.clone();
            to.lower(needs, load, &mut Obstacles::default());
            let mut again = to.clone();
            again.lower(needs, load, &mut Obstacles::default());
            let min: Vec<u32> = load.stands.iter().map(|stand| stand.variant.min).collect();
            (from.0, min, to.0, again.0)
        });
        prop_assert_eq!(&to, &again, "asked again");
        let enough = |one: &[u32]| slots(&kinds, one) >= needs && one.iter().sum::<u32>() > 0;
        if !enough(&from) {
            prop_assert_eq!(to, from);
            return Ok(());
        }
        prop_assert!(enough(&to) && to.iter().zip(&min).all(|(to, min)| to >= min), "{:?}", to);
        let all = every(&min, &from).into_iter().filter(|one| enough(one));
        let least = all.map(|one| cost(&kinds, &one)).fold(f64::INFINITY, f64::min);
        prop_assert_eq!(cost(&kinds, &to), least, "{:?}", to);
    }

    #[test]
    fn the_order_of_variants_says_nothing(kinds in kinds(), needs in 0_u32..200, by in 0_usize..4) {
        let moved = |variants: Vec<Variant>| with_load(variants, |load| {
            let from = Targets::as_wanted(load);
            let (mut up, mut down) = (from.clone(), from);
            up.raise(f64::from(needs), load, &mut Obstacles::default());
            down.lower(f64::from(needs), load, &mut Obstacles::default());
            (up, down)
        });
        let mut turned = of(&kinds);
        turned.rotate_left(by % kinds.len());
        prop_assert_eq!(moved(of(&kinds)), moved(turned));
    }
}
