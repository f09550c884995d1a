//! KEDA's rules, one by one and over a day in small.

use super::*;
use crate::view::{Reading, View};
use crate::{MOST_REPLICAS, step};
use proptest::prelude::*;

const NOW: Instant = Instant::from_secs(100_000);

fn at(seconds: u64) -> Instant {
    NOW + Duration::from_secs(seconds)
}

fn object() -> ScaledObject {
    ScaledObject::new(vec![Trigger::new("s0-prometheus", 5.0)], NOW)
}

fn workload(replicas: u32) -> Workload {
    Workload {
        replicas,
        ready: replicas,
    }
}

fn failed() -> Answer {
    Answer::Failed("prometheus is away".into())
}

#[test]
fn null_is_zero_by_default_and_a_failure_when_asked() {
    let cases: [(&[f64], Option<f64>, Option<f64>); 7] = [
        (&[], Some(0.0), None),
        (&[f64::NAN], Some(0.0), None),
        (&[f64::INFINITY], Some(0.0), None),
        (&[f64::NEG_INFINITY], Some(0.0), None),
        (&[3.5], Some(3.5), Some(3.5)),
        (&[-1.0], Some(-1.0), Some(-1.0)),
        (&[1.0, 2.0], None, None),
    ];
    for (series, by_default, strict) in cases {
        let value = |ignore| match prometheus(series, ignore) {
            Answer::Value(value) => Some(value),
            Answer::Failed(_) => None,
        };
        assert_eq!(value(true), by_default, "{series:?}");
        assert_eq!(value(false), strict, "{series:?}");
    }
}

#[test]
fn numbers_are_carried_in_thousandths() {
    let cases = [
        (0.0, 0),
        (1.0, 1000),
        (0.0004, 0),
        (0.0006, 1),
        (-3.0, 0),
        (f64::NAN, 0),
        (f64::INFINITY, 0),
        (1e300, i64::MAX),
        // Exact ties go to the even neighbour, others to the nearer.
        (0.0625, 62),
        (0.1875, 188),
        (1.0005, 1000),
    ];
    for (value, want) in cases {
        assert_eq!(milli(value), want, "{value}");
    }
}

#[test]
fn activation_is_strict_and_brings_the_least() {
    let mut object = object();
    object.triggers[0].activation_threshold = 2.0;
    let poll_at = |object: &ScaledObject, value| {
        let mut state = State::default();
        poll(object, &mut state, workload(0), &[Answer::Value(value)], at(60))
    };
    assert_eq!(poll_at(&object, 2.0).replicas, None);
    assert_eq!(poll_at(&object, 2.1).replicas, Some(1));
    object.min_replicas = 3;
    assert_eq!(poll_at(&object, 2.1).replicas, Some(3));
    assert_eq!(
        poll_at(&object, 0.0).replicas,
        Some(3),
        "the minimum holds without activity"
    );
    object.idle_replicas = Some(0);
    assert_eq!(poll_at(&object, 0.0).replicas, None, "idle is below the minimum");
    assert_eq!(poll_at(&object, 9.0).replicas, Some(3));
    object.force_activation = true;
    assert_eq!(poll_at(&object, 0.0).replicas, Some(3));
    object.pause.scale_out = true;
    assert_eq!(poll_at(&object, 9.0).replicas, None);
    object.pause.all = true;
    assert_eq!(poll_at(&object, 9.0).active, Activity::Paused);
    assert_eq!(poll_at(&object, 9.0).replicas, None, "where it is");
    object.pause.at = Some(7);
    let paused = poll_at(&object, 9.0);
    assert_eq!((paused.active, paused.replicas), (Activity::Paused, Some(7)));
    object.pause.at = Some(0);
    assert_eq!(poll_at(&object, 9.0).replicas, None, "there already");
}

#[test]
fn rest_comes_after_the_cooldown() {
    let object = object();
    let mut state = State::default();
    let quiet = [Answer::Value(0.0)];
    let active = poll(&object, &mut state, workload(4), &[Answer::Value(1.0)], at(0));
    assert_eq!((active.replicas, active.active), (None, Activity::ScalerActive));
    for seconds in [30, 300] {
        let cooling = poll(&object, &mut state, workload(1), &quiet, at(seconds));
        assert_eq!((cooling.replicas, cooling.active), (None, Activity::ScalerCooldown));
    }
    let rested = poll(&object, &mut state, workload(1), &quiet, at(301));
    assert_eq!((rested.replicas, rested.active), (Some(0), Activity::ScalerNotActive));
    assert_eq!(poll(&object, &mut state, workload(0), &quiet, at(330)).replicas, None);
}

#[test]
fn without_activity_ever_the_initial_cooldown_counts() {
    let mut object = object();
    let quiet = [Answer::Value(0.0)];
    let replicas =
        |object: &ScaledObject, seconds| poll(object, &mut State::default(), workload(1), &quiet, at(seconds)).replicas;
    assert_eq!(replicas(&object, 1), Some(0), "at once by default");
    object.initial_cooldown = Duration::from_secs(120);
    assert_eq!(replicas(&object, 120), None);
    assert_eq!(replicas(&object, 121), Some(0));
    object.pause.scale_in = true;
    assert_eq!(replicas(&object, 121), None);
}

#[test]
fn with_a_minimum_nothing_rests_unless_idle_is_named() {
    let mut object = object();
    object.min_replicas = 2;
    let quiet = [Answer::Value(0.0)];
    let replicas =
        |object: &ScaledObject, current| poll(object, &mut State::default(), workload(current), &quiet, at(1)).replicas;
    assert_eq!(replicas(&object, 5), None, "the HPA does it");
    object.idle_replicas = Some(1);
    assert_eq!(replicas(&object, 5), Some(1));
    assert_eq!(replicas(&object, 1), None);
}

#[test]
fn failures_change_nothing_until_the_fallback() {
    let mut object = object();
    let poll_failed = |object: &ScaledObject, state: &mut State| poll(object, state, workload(3), &[failed()], at(900));
    let mut state = State::default();
    let got = poll_failed(&object, &mut state);
    assert_eq!((got.replicas, got.ready), (None, Health::TriggerError));
    // One trigger active, another failing.
    object.triggers.push(Trigger::new("s1-prometheus", 1.0));
    let got = poll(
        &object,
        &mut State::default(),
        workload(3),
        &[Answer::Value(1.0), failed()],
        at(900),
    );
    assert_eq!((got.replicas, got.ready), (None, Health::PartialTriggerError));
    object.triggers.pop();

    object.fallback = Some(Fallback {
        failure_threshold: 2,
        replicas: 6,
        behavior: FallbackBehavior::Static,
    });
    let mut state = State::default();
    for _ in 0..2 {
        let got = poll_failed(&object, &mut state);
        assert_eq!(
            (got.replicas, got.active, got.fallback),
            (None, Activity::ScalerNotActive, false)
        );
    }
    let got = poll_failed(&object, &mut state);
    assert_eq!((got.active, got.fallback), (Activity::ScalerActive, true));
    assert_eq!(state.failures(0), 3);
    poll(&object, &mut state, workload(3), &[Answer::Value(1.0)], at(960));
    assert_eq!(state.failures(0), 0);
    // A fallback of 0 replicas rests.
    object.fallback = object.fallback.map(|fallback| Fallback {
        replicas: 0,
        ..fallback
    });
    assert_eq!(poll_failed(&object, &mut State::default()).replicas, Some(0));
}

#[test]
fn what_the_fallback_reports() {
    use FallbackBehavior::*;
    let mut object = object();
    object.triggers[0].threshold = 2.5;
    let mut report = |behavior, per_replica, current, ready| {
        object.fallback = Some(Fallback {
            failure_threshold: 0,
            replicas: 6,
            behavior,
        });
        object.triggers[0].per_replica = per_replica;
        let workload = Workload {
            replicas: current,
            ready,
        };
        metric(&object, &mut State::default(), 0, &failed(), workload).map(|r| r.milli)
    };
    assert_eq!(report(Static, true, 3, 3), Ok(15_000));
    assert_eq!(report(CurrentReplicas, true, 3, 3), Ok(7500));
    assert_eq!(report(CurrentReplicasIfHigher, true, 3, 3), Ok(15_000));
    assert_eq!(report(CurrentReplicasIfHigher, true, 9, 9), Ok(22_500));
    assert_eq!(report(CurrentReplicasIfLower, true, 3, 3), Ok(7500));
    assert_eq!(report(Static, false, 3, 3), Ok(5000));
    assert!(report(Static, false, 3, 0).is_err());
}

#[test]
fn the_generated_hpa() {
    let mut object = object();
    object.triggers.push(Trigger {
        per_replica: false,
        ..Trigger::new("s1-prometheus", 0.25)
    });
    let spec = hpa_of(&object, "models");
    assert_eq!((spec.min_replicas, spec.max_replicas), (1, 100));
    assert_eq!(spec.behavior, None);
    assert_eq!(
        spec.metrics,
        [
            Metric::external("s0-prometheus", Target::AverageValue(5000)),
            Metric::external("s1-prometheus", Target::Value(250)),
        ]
    );
    object.pause.scale_in = true;
    let paused = hpa_of(&object, "models").behavior.unwrap();
    assert_eq!((paused.down.select, paused.up.select), (Select::Disabled, Select::Max));
    object.pause.scale_out = true;
    assert_eq!(hpa_of(&object, "models").behavior.unwrap().up.select, Select::Disabled);
}

/// Both loops, as a cluster would run them: the poll every 30 s, the HPA every
/// 15 s. Returns the replicas every 15 s.
fn run(object: &ScaledObject, values: impl Fn(u64) -> Answer, seconds: u64) -> Vec<u32> {
    let spec = hpa_of(object, "default");
    let (mut keda, mut hpa) = (State::default(), step::State::default());
    let mut replicas = 0;
    let mut seen = Vec::new();
    for second in (0..seconds).step_by(15) {
        if second % 30 == 0 {
            let decided = poll(object, &mut keda, workload(replicas), &[values(second)], at(second));
            replicas = decided.replicas.unwrap_or(replicas);
        }
        let reported = metric(object, &mut keda, 0, &values(second), workload(replicas));
        let series = reported.as_ref().map(|reported| [reported.milli]);
        let reading = match &series {
            Ok(series) => Reading::Series(series),
            Err(why) => Reading::Failed(why),
        };
        let view = View::settled(replicas, &[], std::slice::from_ref(&reading));
        replicas = crate::step(&spec, &mut hpa, &view, at(second)).desired;
        seen.push(replicas);
    }
    seen
}

#[test]
fn both_loops_together() {
    let mut object = object();
    object.cooldown = Duration::from_secs(60);
    // 20 waiting for two minutes, then nobody.
    let seen = run(
        &object,
        |second| Answer::Value(if second < 120 { 20.0 } else { 0.0 }),
        600,
    );
    assert_eq!(&seen[..8], [4; 8], "from nothing to the first step of 4 in one turn");
    let rest = seen.iter().position(|replicas| *replicas == 0);
    assert_eq!(
        rest,
        Some(12),
        "rest comes a cooldown after the last active poll, whatever the HPA has"
    );
    assert!(seen[12..].iter().all(|replicas| *replicas == 0));
}

proptest! {
    #[test]
    fn the_bounds_hold_whatever_is_answered(
        answers in proptest::collection::vec(prop_oneof![
            any::<f64>().prop_map(Answer::Value), Just(Answer::Failed("gone".into()))], 0..40),
        min in 0u32..5, idle in proptest::option::of(0u32..3), fallback in proptest::bool::ANY,
    ) {
        let mut object = object();
        object.min_replicas = min;
        object.max_replicas = 10;
        object.idle_replicas = idle;
        object.fallback = fallback.then_some(Fallback {
            failure_threshold: 1, replicas: 4, behavior: FallbackBehavior::CurrentReplicasIfHigher,
        });
        let seconds = 15 * answers.len() as u64;
        let answer = |second: u64| answers[(second / 15) as usize].clone();
        let seen = run(&object, answer, seconds);
        prop_assert!(seen.iter().all(|replicas| *replicas <= 10));
    }

    #[test]
    fn thousandths_are_those_of_three_decimals(value in 0.0..1e9f64) {
        let printed: f64 = format!("{value:.3}").replace('.', "").parse().unwrap();
        prop_assert_eq!(milli(value) as f64, printed);
        prop_assert!(milli(value) >= 0);
        prop_assert!(u64::from(MOST_REPLICAS) < u64::MAX);
    }
}
