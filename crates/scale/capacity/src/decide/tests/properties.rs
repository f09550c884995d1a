//! What holds for every view.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Spec {
    cost: u8,
    min: u32,
    extra: u32,
    slots: Option<u8>,
    replicas: Vec<(u8, u8, u8, u8)>,
    wanted_more: u32,
}

fn spec() -> impl Strategy<Value = Spec> {
    let replica = (0_u8..8, 0_u8..=100, 0_u8..30, 0_u8..10);
    (
        0_u8..30,
        0_u32..3,
        0_u32..8,
        prop::option::of(1_u8..40),
        prop::collection::vec(replica, 0..6),
        0_u32..3,
    )
        .prop_map(|(cost, min, extra, slots, replicas, wanted_more)| Spec {
            cost,
            min,
            extra,
            slots,
            replicas,
            wanted_more,
        })
}

fn variant(i: usize, spec: &Spec, load: f64) -> Variant {
    let mut variant = Variant::new(&format!("v{i}"), f64::from(spec.cost)).bounds(spec.min, spec.min + spec.extra);
    if let Some(slots) = spec.slots {
        variant = variant.slots(f64::from(slots));
    }
    for (state, kv, running, waiting) in &spec.replicas {
        variant = match state {
            0 => variant.silent(),
            1 => variant.starting(Duration::from_secs(u64::from(*running) * 10)),
            2 => variant.unschedulable(Duration::from_secs(u64::from(*running))),
            _ => {
                let kv = (f64::from(*kv) / 100.0 * load).min(1.0);
                variant.serving(
                    kv,
                    (f64::from(*running) * load).floor(),
                    (f64::from(*waiting) * load).floor(),
                )
            }
        };
    }
    let asked = u32::try_from(spec.replicas.len()).unwrap() + spec.wanted_more;
    variant.wanted(asked)
}

type Gateway = Option<(u64, u64, u64, Option<u8>, Option<u8>)>;

fn scene(specs: &[Spec], gateway: Gateway, load: f64) -> Scene {
    let scene = Scene::of(specs.iter().enumerate().map(|(i, spec)| variant(i, spec, load)));
    match gateway {
        None => scene,
        Some((queued, wait, in_flight, arrivals, answers)) => {
            let queued = (queued as f64 * load) as u64;
            scene.gateway(Demand {
                arrived: 7,
                queued,
                oldest_wait: (queued > 0).then_some(Duration::from_millis(wait)),
                in_flight: (in_flight as f64 * load) as u64,
                arrival_rate: arrivals.map(f64::from),
                completion_rate: answers.map(f64::from),
                ..Demand::default()
            })
        }
    }
}

fn gateway() -> impl Strategy<Value = Gateway> {
    prop::option::of((
        0_u64..60,
        0_u64..5000,
        0_u64..80,
        prop::option::of(0_u8..60),
        prop::option::of(0_u8..60),
    ))
}

/// Carries a decision out: what is asked for changes, nothing else yet.
fn carry_out(scene: &mut Scene, decision: &Decision) {
    for decided in &decision.variants {
        let variant = scene
            .view
            .variants
            .iter_mut()
            .find(|variant| variant.name == decided.name)
            .unwrap();
        variant.wanted = decided.to;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_answer_is_within_bounds_and_explained(
        specs in prop::collection::vec(spec(), 0..4), gateway in gateway(), wait in 0_u64..100,
    ) {
        let mut scene = scene(&specs, gateway, 1.0);
        let decision = scene.after(Duration::from_secs(wait));
        for decided in &decision.variants {
            let variant = scene.view.variants.iter().find(|variant| variant.name == decided.name).unwrap();
            prop_assert!((variant.min..=variant.max).contains(&decided.to), "{decided:?}");
            prop_assert!(!decided.sentence.is_empty() && !decided.sentence.contains(": ;") && !decided.metrics.says.is_empty());
        }
        prop_assert_eq!(decision.variants.len(), specs.len());
    }

    #[test]
    fn a_decision_carried_out_asks_for_nothing_further(
        specs in prop::collection::vec(spec(), 1..4), gateway in gateway(), wait in 0_u64..100,
    ) {
        let mut scene = scene(&specs, gateway, 1.0);
        let first = scene.after(Duration::from_secs(wait));
        prop_assert_eq!(&first, &scene.decide(), "asked twice at one moment");
        carry_out(&mut scene, &first);
        // From zero it is one replica first and the rest by demand.
        prop_assume!(first.variants.iter().all(|variant| variant.reason != Reason::ScaleFromZero));
        let again = scene.decide();
        prop_assert!(!again.changes(), "{} THEN {}", first.sentence, again.sentence);
    }

    #[test]
    fn the_order_of_anything_changes_nothing(
        specs in prop::collection::vec(spec(), 1..4), gateway in gateway(), wait in 0_u64..60,
    ) {
        let mut scene = scene(&specs, gateway, 1.0);
        let mut turned = scene.clone();
        turned.view.variants.reverse();
        for variant in &mut turned.view.variants {
            variant.replicas.reverse();
        }
        let time = Duration::from_secs(wait);
        let (one, other) = (scene.after(time), turned.after(time));
        prop_assert_eq!(one.variants, other.variants);
        prop_assert_eq!(one.explanation.rules, other.explanation.rules);
    }

    #[test]
    fn more_load_never_means_less_capacity(
        specs in prop::collection::vec(spec(), 1..4), gateway in gateway(), more in 1.0_f64..4.0,
    ) {
        let slots = |spec: &Spec| f64::from(spec.slots.unwrap_or(1));
        let known = specs.iter().all(|spec| spec.slots.is_some()) || specs.iter().all(|spec| spec.slots.is_none());
        prop_assume!(known);
        // Where nothing but the number of waiting requests differs rates say the same.
        let gateway = gateway.map(|(queued, wait, in_flight, _, _)| (queued, wait, in_flight, None, None));
        let capacity = |load: f64| {
            let decision = scene(&specs, gateway, load).decide();
            decision.variants.iter().zip(&specs).map(|(v, spec)| f64::from(v.to) * slots(spec)).sum::<f64>()
        };
        prop_assert!(capacity(more) >= capacity(1.0) - 1e-9);
    }

    #[test]
    fn nothing_is_taken_away_while_a_replica_is_silent(
        mut specs in prop::collection::vec(spec(), 1..4), gateway in gateway(),
    ) {
        specs[0].replicas.push((0, 0, 0, 0));
        let mut scene = scene(&specs, gateway, 1.0);
        let decision = scene.after(Duration::from_secs(100));
        for decided in &decision.variants {
            let variant = scene.view.variants.iter().find(|variant| variant.name == decided.name).unwrap();
            prop_assert!(decided.to >= decided.from.min(variant.max), "{}", decision.sentence);
        }
    }
}
