//! Whole passes, in the cases of the real controller and over time.

mod properties;

use super::*;
use crate::outcome::{Condition, EventText};
use crate::spec::{Behavior, Policy, Rules, Target};
use crate::view::{Pod, Sample, Selection};

const NOW: Instant = Instant::from_secs(100_000);

fn cool() -> Pod {
    Pod::serving(NOW - Duration::from_secs(3000), NOW - Duration::from_secs(2900))
}

fn per_replica(target: i64) -> Metric {
    Metric::external("waiting", Target::AverageValue(target))
}

/// One pass with one external metric.
fn pass(spec: &Spec, state: &mut State, replicas: u32, value: i64, now: Instant) -> Outcome {
    step(
        spec,
        state,
        &View::settled(replicas, &[], &[Reading::Series(&[value])]),
        now,
    )
}

fn reasons(outcome: &Outcome, spec: &Spec) -> Vec<(&'static str, bool, &'static str)> {
    let all = outcome.conditions(spec);
    all.iter().map(|c| (c.kind, c.status, c.reason)).collect()
}

fn texts(outcome: &Outcome, spec: &Spec) -> Vec<(bool, &'static str, String)> {
    let text = |event: &Event| {
        let EventText {
            warning,
            reason,
            message,
        } = event.text(spec);
        (warning, reason, message)
    };
    outcome.events.iter().map(text).collect()
}

#[test]
fn a_metric_above_its_target_scales_up() {
    let spec = Spec::new(1, 40, vec![per_replica(10_000)]);
    let mut state = State::default();
    let outcome = pass(&spec, &mut state, 2, 30_000, NOW);
    assert_eq!(outcome.desired, 3);
    assert_eq!(outcome.proposed, Some(3));
    assert_eq!(
        reasons(&outcome, &spec),
        [
            ("AbleToScale", true, "SucceededRescale"),
            ("ScalingActive", true, "ValidMetricFound"),
            ("ScalingLimited", false, "DesiredWithinRange"),
        ]
    );
    let message = "New size: 3; reason: external metric waiting(nil) above target";
    assert_eq!(texts(&outcome, &spec), [(false, "SuccessfulRescale", message.into())]);
    let found = "the HPA was able to successfully calculate a replica count from external metric waiting(nil)";
    assert_eq!(outcome.conditions(&spec)[1].message, found);
    assert_eq!(outcome.statuses, [Some(Current::AverageValue(15_000))]);
}

#[test]
fn the_first_step_doubles_or_adds_four() {
    let mut spec = Spec::new(2, 20, vec![per_replica(10_000)]);
    let outcome = pass(&spec, &mut State::default(), 2, 90_000, NOW);
    assert_eq!((outcome.desired, outcome.limited), (4, Some(Limited::ScaleUpLimit)));
    spec.behavior = Some(Behavior::default());
    let outcome = pass(&spec, &mut State::default(), 2, 90_000, NOW);
    assert_eq!((outcome.desired, outcome.limited), (6, Some(Limited::ScaleUpLimit)));
}

#[test]
fn bounds_hold_without_any_metric() {
    let spec = Spec::new(3, 5, vec![per_replica(1000)]);
    let cases = [
        (10, 5, "Current number of replicas above Spec.MaxReplicas"),
        (2, 3, "Current number of replicas below Spec.MinReplicas"),
    ];
    for (current, want, why) in cases {
        let mut state = State::default();
        assert!(!needs_metrics(&spec, &state, current));
        let outcome = step(&spec, &mut state, &View::settled(current, &[], &[]), NOW);
        assert_eq!(outcome.desired, want);
        assert_eq!(reasons(&outcome, &spec), [("AbleToScale", true, "SucceededRescale")]);
        assert_eq!(texts(&outcome, &spec)[0].2, format!("New size: {want}; reason: {why}"));
    }
}

#[test]
fn a_target_set_to_zero_is_left_alone() {
    let spec = Spec::new(3, 5, vec![per_replica(1000)]);
    let mut state = State::default();
    assert!(!needs_metrics(&spec, &state, 0));
    let outcome = pass(&spec, &mut state, 0, 9000, NOW);
    assert_eq!((outcome.desired, outcome.computed), (0, true));
    assert_eq!(
        reasons(&outcome, &spec),
        [
            ("AbleToScale", true, "SucceededGetScale"),
            ("ScalingActive", false, "ScalingDisabled"),
        ]
    );
}

#[test]
fn zero_is_ours_only_where_the_gate_is_on() {
    let mut spec = Spec::new(0, 10, vec![Metric::external("waiting", Target::Value(1000))]);
    spec.settings.scale_to_zero = true;
    spec.settings.downscale_stabilisation = Duration::ZERO;
    let mut state = State::default();
    let at = |seconds| NOW + Duration::from_secs(seconds);
    let pods = [cool()];
    let idle = [Reading::Series(&[0])];
    let first = step(&spec, &mut state, &View::settled(1, &pods, &idle), NOW);
    assert_eq!(first.desired, 1, "the first pass remembers what is there");
    let down = step(&spec, &mut state, &View::settled(1, &pods, &idle), at(15));
    assert_eq!((down.desired, down.scaled_to_zero), (0, Some(true)));
    assert!(reasons(&down, &spec).contains(&("ScaledToZero", true, "ScaledToZero")));
    assert_eq!(pass(&spec, &mut state, 0, 0, at(30)).desired, 0);
    let up = pass(&spec, &mut state, 0, 1500, at(45));
    assert_eq!((up.desired, up.scaled_to_zero), (2, Some(false)));
    // By hand: the condition does not hold.
    assert_eq!(
        pass(&spec, &mut state, 0, 1500, at(60)).active,
        Some(Active::ScalingDisabled)
    );
    // The minimum was raised while it was at zero.
    state.scaled_to_zero = true;
    spec.min_replicas = 3;
    assert_eq!(pass(&spec, &mut state, 0, 0, at(75)).desired, 3);
}

#[test]
fn nothing_goes_down_while_a_metric_fails() {
    let spec = Spec::new(
        1,
        10,
        vec![per_replica(1000), Metric::external("kv", Target::AverageValue(1000))],
    );
    let failed = Reading::Failed("no metrics returned from external metrics API");
    let run = |value: i64| {
        let readings = [failed, Reading::Series(&[value])];
        step(&spec, &mut State::default(), &View::settled(4, &[], &readings), NOW)
    };
    let up = run(6000_i64);
    assert_eq!(up.desired, 6);
    assert_eq!(up.active, Some(Active::ValidMetricFound { metric: 1 }));
    assert_eq!(up.statuses, [None, Some(Current::AverageValue(1500))]);
    let error = "unable to get external metric default/waiting/nil: no metrics returned from external metrics API";
    assert_eq!(texts(&up, &spec)[0], (true, "FailedGetExternalMetric", error.into()));

    let down = run(1000);
    assert_eq!((down.desired, down.computed), (4, false));
    assert_eq!(
        reasons(&down, &spec),
        [
            ("AbleToScale", true, "SucceededGetScale"),
            ("ScalingActive", false, "FailedGetExternalMetric"),
        ]
    );
    let whole = "invalid metrics (1 invalid out of 2), first error is: failed to get waiting external metric value: \
                 failed to get waiting external metric: ";
    assert_eq!(
        texts(&down, &spec)[1],
        (true, "FailedComputeMetricsReplicas", format!("{whole}{error}"))
    );
    let message = format!("the HPA was unable to compute the replica count: {error}");
    assert_eq!(down.conditions(&spec)[1].message, message);
}

#[test]
fn every_kind_of_failure_has_the_words_of_the_real_controller() {
    let object = |target| Metric::Object {
        kind: "Deployment".into(),
        object: "chat".into(),
        name: "qps".into(),
        selector: "nil".into(),
        target,
    };
    let container = Metric::ContainerResource {
        name: "cpu".into(),
        container: "engine".into(),
        target: crate::ResourceTarget::AverageValue(100),
    };
    let cases = [
        (
            Metric::cpu(80),
            "FailedGetResourceMetric",
            "failed to get cpu utilization: unable to get metrics for resource cpu: gone",
            "failed to get cpu resource metric value: ",
        ),
        (
            container,
            "FailedGetContainerResourceMetric",
            "failed to get cpu usage: unable to get metrics for resource cpu: gone",
            "failed to get engine container metric value: ",
        ),
        (
            Metric::pods("qps", 1),
            "FailedGetPodsMetric",
            "unable to get metric qps: gone",
            "failed to get pods metric value: ",
        ),
        (
            object(Target::Value(1)),
            "FailedGetObjectMetric",
            "unable to get metric qps: Deployment on default chat/gone",
            "failed to get object metric value: ",
        ),
        (
            object(Target::AverageValue(1)),
            "FailedGetObjectMetric",
            "unable to get metric qps: Deployment on default chat/gone",
            "failed to get object metric value: failed to get qps object metric: ",
        ),
        (
            Metric::external("qps", Target::Value(1)),
            "FailedGetExternalMetric",
            "unable to get external metric default/qps/nil: gone",
            "failed to get qps external metric value: failed to get external metric qps: ",
        ),
    ];
    for (metric, reason, error, wrap) in cases {
        let spec = Spec::new(1, 10, vec![metric]);
        let view = View::settled(2, &[], &[Reading::Failed("gone")]);
        let outcome = step(&spec, &mut State::default(), &view, NOW);
        let whole = format!("invalid metrics (1 invalid out of 1), first error is: {wrap}{error}");
        let want = [
            (true, reason, error.to_owned()),
            (true, "FailedComputeMetricsReplicas", whole),
        ];
        assert_eq!(texts(&outcome, &spec), want);
        assert_eq!(outcome.conditions(&spec)[1].reason, reason);
    }
}

#[test]
fn a_selector_that_cannot_be_used_stops_it() {
    let spec = Spec::new(1, 10, vec![per_replica(1000)]);
    let cases = [
        (
            Selection::Missing,
            "SelectorRequired",
            "InvalidSelector",
            "selector is required",
        ),
        (
            Selection::Unparsable("bad"),
            "InvalidSelector",
            "InvalidSelector",
            "couldn't convert selector into a corresponding internal selector object: bad",
        ),
        (
            Selection::Ambiguous("app=a are controlled by multiple HPAs: [default/a default/b]"),
            "AmbiguousSelector",
            "AmbiguousSelector",
            "pods by selector app=a are controlled by multiple HPAs: [default/a default/b]",
        ),
    ];
    for (selection, event, condition, message) in cases {
        let view = View {
            selection,
            ..View::settled(2, &[], &[Reading::Series(&[9000])])
        };
        let outcome = step(&spec, &mut State::default(), &view, NOW);
        assert_eq!(outcome.desired, 2);
        assert_eq!(reasons(&outcome, &spec)[1], ("ScalingActive", false, condition));
        let want = [
            (true, event, message.to_owned()),
            (true, "FailedComputeMetricsReplicas", message.to_owned()),
        ];
        assert_eq!(texts(&outcome, &spec), want);
    }
}

#[test]
fn the_way_down_waits_for_the_window() {
    let spec = Spec::new(1, 40, vec![per_replica(1000)]);
    let mut state = State::default();
    let at = |seconds| NOW + Duration::from_secs(seconds);
    let mut replicas = pass(&spec, &mut state, 5, 10_000, NOW).desired;
    assert_eq!(replicas, 10);
    for seconds in (15..=300).step_by(15) {
        let outcome = pass(&spec, &mut state, replicas, 2000, at(seconds));
        assert_eq!(outcome.desired, 10, "after {seconds} s");
        assert_eq!(outcome.able, Able::ScaleDownStabilized);
        replicas = outcome.desired;
    }
    let outcome = pass(&spec, &mut state, replicas, 2000, at(315));
    assert_eq!(outcome.desired, 2);
    assert_eq!(
        texts(&outcome, &spec)[0].2,
        "New size: 2; reason: All metrics below target"
    );
}

#[test]
fn rates_are_counted_over_their_period() {
    let mut spec = Spec::new(1, 100, vec![per_replica(1000)]);
    spec.behavior = Some(Behavior {
        up: Rules {
            policies: vec![Policy::pods(4, 60)],
            ..Rules::default_up()
        },
        down: Rules {
            window: Some(Duration::ZERO),
            policies: vec![Policy::pods(1, 60)],
            ..Rules::default_down()
        },
    });
    let mut state = State::default();
    let mut replicas = 10;
    let mut seen = Vec::new();
    for pass_number in 0..9 {
        let value = if pass_number < 5 { 90_000 } else { 1000 };
        let now = NOW + Duration::from_secs(15 * pass_number);
        replicas = pass(&spec, &mut state, replicas, value, now).desired;
        seen.push(replicas);
    }
    // A period starts from before what it added: that may go as well as the one.
    assert_eq!(seen, [14, 14, 14, 14, 18, 13, 13, 13, 13]);
}

#[test]
fn a_write_that_failed_is_not_counted() {
    let mut spec = Spec::new(1, 100, vec![per_replica(1000)]);
    spec.behavior = Some(Behavior {
        up: Rules {
            policies: vec![Policy::pods(4, 60)],
            ..Rules::default_up()
        },
        ..Behavior::default()
    });
    let mut state = State::default();
    let mut outcome = pass(&spec, &mut state, 10, 90_000, NOW);
    outcome.write_failed(&mut state, "conflict");
    assert_eq!((outcome.desired, outcome.computed), (10, false));
    assert_eq!(state.added.len(), 0);
    let Condition { reason, message, .. } = outcome.able.condition();
    assert_eq!(reason, "FailedUpdateScale");
    assert_eq!(
        message,
        "the HPA controller was unable to update the target scale: conflict"
    );
    let message = "New size: 14; reason: external metric waiting(nil) above target; error: conflict";
    assert_eq!(texts(&outcome, &spec), [(true, "FailedRescale", message.into())]);
    let later = NOW + Duration::from_secs(15);
    assert_eq!(pass(&spec, &mut state, 10, 90_000, later).desired, 14);
}

#[test]
fn passes_with_samples_of_pods() {
    let sample = |milli| {
        Some(Sample {
            milli,
            at: NOW,
            window: Duration::from_secs(60),
        })
    };
    let pods = [cool(); 3];
    let run = |levels: [i64; 3], min, max| {
        let samples = levels.map(sample);
        let readings = [Reading::PerPod {
            samples: &samples,
            strays: &[],
            requests: Ok(&[900, 1000, 1100]),
        }];
        let spec = Spec::new(min, max, vec![Metric::cpu(90)]);
        let mut state = State::default();
        // Long ago, so that no window holds.
        state.recommendations.seed(1, Instant::ZERO);
        let outcome = step(&spec, &mut state, &View::settled(3, &pods, &readings), NOW);
        (outcome.desired, outcome.limited)
    };
    assert_eq!(run([10, 95, 10], 2, 5), (2, Some(Limited::TooFewReplicas)));
    assert_eq!(run([0, 0, 0], 2, 5), (2, Some(Limited::TooFewReplicas)));
    assert_eq!(run([0, 0, 0], 0, 5), (0, Some(Limited::DesiredWithinRange)));
    assert_eq!(run([8000, 9500, 1000], 2, 5), (5, Some(Limited::TooManyReplicas)));
}

#[test]
fn many_metrics_the_largest_proposal_wins() {
    let metrics = vec![per_replica(1000), Metric::external("kv", Target::AverageValue(1000))];
    let spec = Spec::new(1, 40, metrics);
    let readings = [Reading::Series(&[3000]), Reading::Series(&[7000])];
    let outcome = step(&spec, &mut State::default(), &View::settled(5, &[], &readings), NOW);
    assert_eq!(outcome.desired, 7);
    assert_eq!(outcome.active, Some(Active::ValidMetricFound { metric: 1 }));
    // A metric without a reading failed.
    let outcome = step(
        &spec,
        &mut State::default(),
        &View::settled(5, &[], &readings[..1]),
        NOW,
    );
    assert_eq!((outcome.desired, outcome.computed), (5, false));
}
