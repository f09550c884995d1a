//! What holds for every pass.

use super::*;
use crate::spec::{ResourceTarget, Select};
use crate::view::{Phase, Ready};
use proptest::prelude::*;

fn metric() -> impl Strategy<Value = Metric> {
    let value = prop_oneof![-5i64..20_000, Just(i64::MAX), Just(i64::MIN), Just(0)];
    (0usize..7, value, any::<u32>()).prop_map(|(kind, value, percent)| match kind {
        0 => Metric::cpu(percent),
        1 => Metric::pods("p", value),
        2 => Metric::external("e", Target::Value(value)),
        3 => Metric::external("e", Target::AverageValue(value)),
        4 => Metric::Resource {
            name: "memory".into(),
            target: ResourceTarget::AverageValue(value),
        },
        5 => Metric::ContainerResource {
            name: "cpu".into(),
            container: "c".into(),
            target: ResourceTarget::Utilization(percent % 200),
        },
        _ => Metric::Object {
            kind: "Service".into(),
            object: "o".into(),
            name: "m".into(),
            selector: "nil".into(),
            target: Target::AverageValue(value),
        },
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    let policy = (any::<bool>(), 0u32..2000, 0u64..1800).prop_map(|(pods, value, period)| {
        if pods {
            Policy::pods(value, period)
        } else {
            Policy::percent(value, period)
        }
    });
    let select = prop_oneof![Just(Select::Max), Just(Select::Min), Just(Select::Disabled)];
    let tolerance = prop_oneof![Just(None), Just(Some(f64::NAN)), (0.0..3.0f64).prop_map(Some)];
    let window = proptest::option::of((0u64..3600).prop_map(Duration::from_secs));
    (window, select, proptest::collection::vec(policy, 0..3), tolerance).prop_map(
        |(window, select, policies, tolerance)| Rules {
            window,
            select,
            policies,
            tolerance,
        },
    )
}

fn behavior() -> impl Strategy<Value = Option<Behavior>> {
    proptest::option::of((rules(), rules()).prop_map(|(up, down)| Behavior { up, down }))
}

fn pod() -> impl Strategy<Value = Pod> {
    let phase = prop_oneof![
        Just(Phase::Pending),
        Just(Phase::Running),
        Just(Phase::Succeeded),
        Just(Phase::Failed),
        Just(Phase::Unknown)
    ];
    let ready = prop_oneof![Just(Ready::True), Just(Ready::False), Just(Ready::Unknown)];
    let when = || (99_000u64..101_000).prop_map(Instant::from_secs);
    (
        phase,
        any::<bool>(),
        proptest::option::of((ready, when())),
        proptest::option::of(when()),
    )
        .prop_map(|(phase, deleted, ready, started)| Pod {
            phase,
            deleted,
            ready,
            started,
        })
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![0i64..50_000, Just(i64::MAX), Just(i64::MIN), -10i64..10]
}

#[derive(Clone, Debug)]
enum Read {
    Series(Vec<i64>),
    PerPod(Vec<Option<i64>>, Vec<i64>, Option<Vec<i64>>),
    Failed,
}

fn read() -> impl Strategy<Value = Read> {
    let some = || proptest::collection::vec(number(), 0..6);
    prop_oneof![
        some().prop_map(Read::Series),
        (
            proptest::collection::vec(proptest::option::of(number()), 0..6),
            some(),
            proptest::option::of(some())
        )
            .prop_map(|(samples, strays, requests)| Read::PerPod(samples, strays, requests)),
        Just(Read::Failed),
    ]
}

proptest! {
    #[test]
    fn whatever_is_read_the_bounds_hold_and_the_words_come(
        (min, extra) in (0u32..20, 0u32..40),
        metrics in proptest::collection::vec(metric(), 0..3),
        behavior in behavior(),
        gate in any::<bool>(),
        passes in proptest::collection::vec(
            (0u64..200, proptest::collection::vec(pod(), 0..6), proptest::collection::vec(read(), 0..3)), 1..12),
        start in prop_oneof![0u32..60, Just(u32::MAX)],
    ) {
        let mut spec = Spec::new(min, min + extra, metrics);
        spec.behavior = behavior;
        spec.settings.scale_to_zero = gate;
        let mut state = State::default();
        let mut replicas = start;
        let mut now = NOW;
        for (wait, pods, reads) in passes {
            now += Duration::from_secs(wait);
            let samples: Vec<Vec<Option<Sample>>> = reads.iter().map(|read| match read {
                Read::PerPod(samples, ..) => samples.iter().map(|milli| milli.map(|milli| Sample {
                    milli, at: now, window: Duration::from_secs(30),
                })).collect(),
                _ => Vec::new(),
            }).collect();
            let readings: Vec<Reading<'_>> = reads.iter().zip(&samples).map(|(read, samples)| match read {
                Read::Series(series) => Reading::Series(series),
                Read::PerPod(_, strays, requests) => Reading::PerPod {
                    samples, strays, requests: requests.as_deref().ok_or("missing request for cpu"),
                },
                Read::Failed => Reading::Failed("gone"),
            }).collect();
            let before = replicas.min(crate::MOST_REPLICAS);
            let outcome = step(&spec, &mut state, &View::settled(replicas, &pods, &readings), now);
            let in_bounds = (spec.min_replicas..=spec.max_replicas).contains(&outcome.desired);
            prop_assert!(in_bounds || (before == 0 && outcome.desired == 0), "{outcome:?}");
            prop_assert_eq!(outcome.rescale.is_some(), outcome.desired != before);
            prop_assert!(!outcome.conditions(&spec).is_empty());
            for event in &outcome.events {
                prop_assert!(!event.text(&spec).reason.is_empty());
            }
            if outcome.desired < before && before <= spec.max_replicas {
                prop_assert!(outcome.statuses.iter().all(Option::is_some), "down while a metric is missing");
            }
            replicas = outcome.desired;
        }
    }

    #[test]
    fn constant_usage_settles_and_stays(
        usage in 0i64..60_000, target in 1i64..5000, start in 1u32..50, behavior in proptest::bool::ANY,
    ) {
        let mut spec = Spec::new(1, 50, vec![per_replica(target)]);
        spec.behavior = behavior.then(Behavior::default);
        let mut state = State::default();
        let mut replicas = start;
        for turn in 0..60 {
            replicas = pass(&spec, &mut state, replicas, usage, NOW + Duration::from_secs(15 * turn)).desired;
        }
        for turn in 60..200 {
            let outcome = pass(&spec, &mut state, replicas, usage, NOW + Duration::from_secs(15 * turn));
            prop_assert_eq!(outcome.desired, replicas);
            prop_assert!(outcome.events.is_empty());
        }
        prop_assert!(state.recommendations.len() <= 23);
    }

    #[test]
    fn the_same_pass_twice_says_the_same(value in number(), current in 0u32..40) {
        let spec = Spec::new(1, 40, vec![per_replica(1000)]);
        let once = pass(&spec, &mut State::default(), current, value, NOW);
        prop_assert_eq!(once, pass(&spec, &mut State::default(), current, value, NOW));
    }
}
