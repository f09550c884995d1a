use super::*;
use crate::keda::{Activity, Fallback, FallbackBehavior, Health, Poll, composite, hpa_of, poll};
use crate::spec::{Metric, Target};
use std::time::Duration;
use units::Instant;

const NOW: Instant = Instant::from_secs(100_000);

fn triggers() -> Vec<Trigger> {
    vec![
        Trigger::new("s0-prometheus", 5.0).called("waiting"),
        Trigger::new("s1-prometheus", 5.0).called("running"),
    ]
}

fn modifiers(formula: &str, target: &str) -> Result<Modifiers, BadModifiers> {
    Modifiers::new(formula, target, &triggers())
}

fn object(formula: &str, target: &str) -> ScaledObject {
    ScaledObject {
        modifiers: Some(modifiers(formula, target).unwrap()),
        ..ScaledObject::new(triggers(), NOW)
    }
}

fn falling_back(formula: &str, target: &str, behavior: FallbackBehavior) -> ScaledObject {
    ScaledObject {
        fallback: Some(Fallback {
            failure_threshold: 0,
            replicas: 6,
            behavior,
        }),
        ..object(formula, target)
    }
}

const HAS_FOUR: Workload = Workload { replicas: 4, ready: 3 };

fn answer(value: Option<f64>) -> Answer {
    value.map_or_else(|| Answer::Failed("prometheus is away".to_owned()), Answer::Value)
}

/// What the HPA is told of these answers, asked for the first time.
fn told_to_hpa(object: &ScaledObject, waiting: Option<f64>, running: Option<f64>) -> Result<Reported, String> {
    let answers = [answer(waiting), answer(running)];
    composite(object, &mut State::default(), &answers, HAS_FOUR)
}

fn polled(object: &ScaledObject, replicas: u32, waiting: Option<f64>, running: Option<f64>) -> Poll {
    let answers = [answer(waiting), answer(running)];
    let workload = Workload {
        replicas,
        ready: replicas,
    };
    let now = NOW + Duration::from_secs(1000);
    poll(object, &mut State::default(), workload, &answers, now)
}

fn value(milli: i64) -> Result<Reported, String> {
    Ok(Reported { milli, fallback: false })
}

fn fell_back(milli: i64) -> Result<Reported, String> {
    Ok(Reported { milli, fallback: true })
}

#[test]
fn one_metric_takes_the_place_of_all() {
    let mut object = object("waiting + running", "2.5");
    assert_eq!(
        hpa_of(&object, "models").metrics,
        [Metric::external(COMPOSITE, Target::AverageValue(2500))]
    );
    assert_eq!(told_to_hpa(&object, Some(7.25), Some(0.5)), value(7750));
    if let Some(modifiers) = &mut object.modifiers {
        modifiers.per_replica = false;
    }
    assert_eq!(
        hpa_of(&object, "models").metrics,
        [Metric::external(COMPOSITE, Target::Value(2500))]
    );
}

#[test]
fn the_composed_value_activates_and_no_trigger_does() {
    let at = |target: &str, waiting: f64, running: f64| {
        let mut object = object("waiting - running", "5");
        object.modifiers = Some(
            modifiers("waiting - running", "5")
                .unwrap()
                .activated_above(target)
                .unwrap(),
        );
        polled(&object, 0, Some(waiting), Some(running)).replicas
    };
    assert_eq!(at("", 3.0, 1.0), Some(1));
    assert_eq!(at("", 3.0, 3.0), None, "each is above 0, and what they come to is not");
    assert_eq!(at("2", 3.0, 1.0), None, "strictly above");
    assert_eq!(at("2", 3.5, 1.0), Some(1));
    assert_eq!(at("-1", 0.0, 0.0), Some(1));
}

#[test]
fn a_failure_that_nothing_stands_in_for_is_no_activity() {
    let mut object = object("waiting + running", "5");
    assert_eq!(
        told_to_hpa(&object, Some(7.0), None),
        Err("prometheus is away".to_owned())
    );
    let decided = polled(&object, 4, Some(7.0), None);
    assert_eq!((decided.replicas, decided.ready), (None, Health::TriggerError));
    object.force_activation = true;
    assert_eq!(polled(&object, 0, Some(7.0), None).active, Activity::ScalerActive);
}

#[test]
fn the_fallback_stands_in_for_the_whole() {
    use FallbackBehavior::*;
    let falls = |behavior| told_to_hpa(&falling_back("waiting + running", "5", behavior), Some(7.0), None);
    assert_eq!(falls(Static), fell_back(30_000));
    assert_eq!(falls(CurrentReplicas), fell_back(20_000));
    assert_eq!(falls(CurrentReplicasIfHigher), fell_back(30_000));
    assert_eq!(falls(CurrentReplicasIfLower), fell_back(20_000));

    let mut object = falling_back("waiting + running", "5", Static);
    if let Some(modifiers) = &mut object.modifiers {
        modifiers.per_replica = false;
    }
    assert_eq!(told_to_hpa(&object, Some(7.0), None), fell_back(10_000), "3 are ready");
    let decided = polled(&object, 3, Some(7.0), None);
    assert!(decided.fallback && decided.active == Activity::ScalerActive);

    let split = falling_back("waiting + running", "2.5", Static);
    let failed = told_to_hpa(&split, Some(7.0), None);
    assert!(
        failed.is_err(),
        "KEDA has no fallback beside a target that is no whole number"
    );
}

#[test]
fn a_formula_may_say_itself_what_holds_without_a_number() {
    let object = falling_back("waiting ?? running", "5", FallbackBehavior::ScalingModifiers);
    for (waiting, running, milli) in [
        (Some(7.0), Some(2.0), 7000),
        (None, Some(2.0), 2000),
        // Nobody says a number: as the fallback has it.
        (None, None, 30_000),
    ] {
        assert_eq!(told_to_hpa(&object, waiting, running), value(milli));
    }
    let decided = polled(&object, 0, None, Some(2.0));
    assert_eq!(
        (decided.replicas, decided.ready, decided.fallback),
        (Some(1), Health::ScaledObjectReady, true)
    );
}

#[test]
fn a_formula_that_comes_to_no_number_rests_and_tells_the_hpa_nothing() {
    let formula = "waiting / running";
    assert!(told_to_hpa(&object(formula, "5"), Some(3.0), Some(0.0)).is_err());
    let without = falling_back("waiting + running", "5", FallbackBehavior::ScalingModifiers);
    assert!(told_to_hpa(&without, Some(3.0), None).is_err());
    // KEDA's trap: such a formula is no error of a trigger, so it goes to zero.
    let decided = polled(&without, 4, Some(3.0), None);
    assert_eq!((decided.replicas, decided.ready), (Some(0), Health::ScaledObjectReady));
}

#[test]
fn bad_modifiers_are_named_by_their_field() {
    for (bad, says) in [
        (modifiers("waiting + walking", "5"), "walking is the name of no trigger"),
        (
            modifiers("waiting", "0"),
            "scalingModifiers.target: \"0\" is no number above 0",
        ),
        (modifiers("waiting", "five"), "scalingModifiers.target: \"five\""),
        (modifiers("waiting", "NaN"), "scalingModifiers.target: \"NaN\""),
        (
            modifiers("waiting", "5").and_then(|good| good.activated_above("often")),
            "scalingModifiers.activationTarget: \"often\"",
        ),
        (
            Modifiers::new(
                "a",
                "5",
                &[Trigger::new("s0", 1.0).called("a"), Trigger::new("s1", 1.0).called("a")],
            ),
            "two are called a",
        ),
    ] {
        let error = bad.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
