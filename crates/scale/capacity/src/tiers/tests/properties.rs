//! What holds whatever is fed.

use super::*;
use proptest::prelude::*;

fn tier() -> impl Strategy<Value = Tier> {
    let since = (0_u64..5_000).prop_map(at);
    prop_oneof![
        Just(Tier::Serving),
        since.clone().prop_map(|since| Tier::Starting { since }),
        since.clone().prop_map(|since| Tier::Waking { since }),
        since.prop_map(|since| Tier::Asleep { since }),
    ]
}

fn odd_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        0.0..50.0_f64,
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(-1.0),
        Just(0.0),
        Just(1.0),
    ]
}

prop_compose! {
    fn view()(
        tiers in prop::collection::vec(tier(), 0..30),
        wanted in prop_oneof![0_u32..40, Just(u32::MAX)],
        load in odd_number(),
        age in 0_u64..8,
        min in 0_u32..5,
        max in prop_oneof![0_u32..40, Just(u32::MAX)],
    ) -> TierView {
        let replica = |(i, tier)| TierReplica { name: format!("r{i:02}"), tier };
        TierView {
            model: "m".to_owned(),
            wanted,
            load: Signal::observed(load, at(6_000 - age), Source::Gateway),
            replicas: tiers.into_iter().enumerate().map(replica).collect(),
            min,
            max,
        }
    }
}

prop_compose! {
    fn tier_policy()(
        sleep_cost in prop_oneof![odd_number(), 0.0..=1.0_f64],
        most_asleep in prop_oneof![0_u32..20, Just(u32::MAX)],
        shortage in odd_number(),
        assumed_wake in prop_oneof![(0_u64..200_000).prop_map(Duration::from_millis), Just(Duration::MAX)],
        assumed_start in prop_oneof![(0_u64..600_000).prop_map(Duration::from_millis), Just(Duration::MAX)],
    ) -> TierPolicy {
        TierPolicy {
            sleep_cost,
            most_asleep,
            shortage,
            assumed_wake,
            assumed_start,
        }
    }
}

/// A memory that has seen a load of a few replicas for some minutes.
fn seen(loads: &[f64], tiers: &TierPolicy) -> TierMemory {
    let mut memory = TierMemory::default();
    let mut scene = Scene::of(2);
    for (second, load) in loads.iter().enumerate() {
        scene.pass(2, *load, tiers, &mut memory, 5_000 + second as u64);
    }
    memory
}

proptest! {
    #[test]
    fn bounds_hold_and_moves_lead_to_what_was_decided(
        view in view(),
        tiers in tier_policy(),
        loads in prop::collection::vec(odd_number(), 0..60),
    ) {
        let mut memory = seen(&loads, &tiers);
        let policy = Policy::default();
        let now = at(6_000);
        let decision = settle(&view, &tiers, &policy, &mut memory, now);
        prop_assert_eq!(
            u64::from(decision.serving) + u64::from(decision.asleep) + u64::from(decision.off),
            u64::from(view.max)
        );
        prop_assert!(decision.serving >= view.min.min(view.max));
        prop_assert!(decision.asleep <= tiers.most_asleep);
        prop_assert!(!decision.sentence.is_empty() && !decision.grounds.is_empty());

        let waking = Have::of(&view.replicas).waking;
        let started: u32 = decision.moves.iter().map(|step| if let Move::Start(count) = step { *count } else { 0 }).sum();
        if started > 1_000 {
            // More than the scene cares to make.
            return Ok(());
        }
        let mut scene = Scene { view, made: 100 };
        scene.carry_out(&decision.moves, now);
        let have = Have::of(&scene.view.replicas);
        let warm = decision.serving + decision.asleep;
        prop_assert_eq!(have.all(), warm.max(have.all().min(waking)));
        prop_assert!(have.awake() <= decision.serving.max(waking));
        prop_assert!(have.awake() + have.starting >= decision.serving);
        if waking <= decision.serving {
            prop_assert!(have.asleep <= decision.asleep);
            let again = settle(&scene.view, &tiers, &policy, &mut memory, now);
            prop_assert_eq!((again.serving, again.asleep), (decision.serving, decision.asleep));
            prop_assert_eq!(again.moves, vec![]);
        }
    }

    #[test]
    fn a_higher_demand_never_makes_fewer_serve(
        view in view(),
        tiers in tier_policy(),
        loads in prop::collection::vec(0.0..50.0_f64, 0..60),
        more in 0_u32..20,
    ) {
        let memory = seen(&loads, &tiers);
        let mut higher = view.clone();
        higher.wanted = higher.wanted.saturating_add(more);
        let serving = |view| settle(view, &tiers, &Policy::default(), &mut memory.clone(), at(6_000)).serving;
        prop_assert!(serving(&higher) >= serving(&view));
    }

    #[test]
    fn the_order_of_replicas_changes_nothing(view in view(), tiers in tier_policy()) {
        let mut reversed = view.clone();
        reversed.replicas.reverse();
        let decide = |view| settle(view, &tiers, &Policy::default(), &mut TierMemory::default(), at(6_000));
        prop_assert_eq!(decide(&view), decide(&reversed));
    }

    #[test]
    fn a_dearer_sleeper_never_means_a_longer_keep_or_more_of_them(
        cheap in 0.0..=1.0_f64,
        dearer in 0.0..=1.0_f64,
        wake_s in 1_u64..300,
        start_s in 1_u64..600,
    ) {
        let (cheap, dearer) = (cheap.min(dearer), cheap.max(dearer));
        let of = |cost| {
            let tiers = TierPolicy::new(cost, 10);
            worth(&tiers, &Policy::default(), Duration::from_secs(wake_s), Duration::from_secs(start_s))
        };
        if let Some(dear) = of(dearer) {
            let cheap = of(cheap).expect("what pays at a price pays at a lower one");
            prop_assert!(cheap.keep >= dear.keep);
            prop_assert!(cheap.outlook.cover >= dear.outlook.cover);
            prop_assert!(cheap.outlook.most >= dear.outlook.most);
        }
    }
}
