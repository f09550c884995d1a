//! The published cases of the real replica calculator, and a few of its corners.

use super::*;
use crate::MOST_REPLICAS;
use crate::spec::Spec;
use crate::view::Selection;
use std::time::Duration;

/// The real calculator's tests run with two minutes and ten seconds.
fn settings() -> Settings {
    Settings {
        cpu_initialisation: Duration::from_secs(120),
        initial_readiness_delay: Duration::from_secs(10),
        ..Settings::default()
    }
}

const NOW: Instant = Instant::from_secs(100_000);

fn ago(seconds: u64) -> Instant {
    NOW - Duration::from_secs(seconds)
}

/// Long past its start, ready since.
fn cool() -> Pod {
    Pod::serving(ago(600), ago(590))
}

/// Ready, but started so lately that its CPU is still that of the start.
fn hot() -> Pod {
    Pod::serving(ago(5), ago(4))
}

/// Running and never ready.
fn unready() -> Pod {
    Pod::starting(ago(600))
}

fn failed() -> Pod {
    Pod {
        phase: Phase::Failed,
        ..unready()
    }
}

fn going() -> Pod {
    Pod {
        deleted: true,
        ..unready()
    }
}

const TENTH: Tolerance = Tolerance { down: 0.1, up: 0.1 };

/// Samples for the first Pods; the rest have none, those beyond are strays.
fn spread(pods: &[Pod], levels: &[i64]) -> (Vec<Option<Sample>>, Vec<i64>) {
    let sample = |milli: i64| Sample {
        milli,
        at: NOW,
        window: Duration::from_secs(60),
    };
    let samples = (0..pods.len()).map(|i| levels.get(i).copied().map(sample)).collect();
    (samples, levels.get(pods.len()..).unwrap_or_default().to_vec())
}

fn cpu_case(
    current: u32,
    pods: &[Pod],
    levels: &[i64],
    requests: &[i64],
    target: u32,
    tolerance: Tolerance,
) -> Result<Proposal, Failure> {
    let (samples, strays) = spread(pods, levels);
    let readings = [Reading::PerPod {
        samples: &samples,
        strays: &strays,
        requests: Ok(requests),
    }];
    let view = View::settled(current, pods, &readings);
    calculate(&Metric::cpu(target), &readings[0], &view, tolerance, &settings(), NOW)
}

fn pods_case(
    current: u32,
    pods: &[Pod],
    levels: &[i64],
    target: i64,
    tolerance: Tolerance,
) -> Result<Proposal, Failure> {
    let (samples, strays) = spread(pods, levels);
    let readings = [Reading::PerPod {
        samples: &samples,
        strays: &strays,
        requests: Ok(&[]),
    }];
    let view = View::settled(current, pods, &readings);
    calculate(
        &Metric::pods("qps", target),
        &readings[0],
        &view,
        tolerance,
        &settings(),
        NOW,
    )
}

fn whole_case(
    current: u32,
    pods: &[Pod],
    series: &[i64],
    target: Target,
    tolerance: Tolerance,
) -> Result<Proposal, Failure> {
    let readings = [Reading::Series(series)];
    let view = View::settled(current, pods, &readings);
    let metric = Metric::external("qps", target);
    calculate(&metric, &readings[0], &view, tolerance, &settings(), NOW)
}

fn tolerance(down: f64, up: f64) -> Tolerance {
    Tolerance { down, up }
}

#[test]
fn cpu_in_percent_of_the_request() {
    let (c, h, u) = (cool(), hot(), unready());
    let jagged = [900, 1000, 1100];
    let wide = tolerance(0.1, 2.0);
    type Case<'a> = (
        &'a str,
        u32,
        &'a [Pod],
        &'a [i64],
        &'a [i64],
        u32,
        Tolerance,
        u32,
        i32,
        i64,
    );
    let pending = [c, Pod::pending(), Pod::pending(), Pod::pending(), Pod::pending()];
    let cases: &[Case<'_>] = &[
        ("up", 3, &[c; 3], &[300, 500, 700], &[1000; 3], 30, TENTH, 5, 50, 500),
        (
            "up, one unready",
            3,
            &[u, c, c],
            &[300, 500, 700],
            &[1000; 3],
            30,
            TENTH,
            4,
            60,
            600,
        ),
        (
            "up, one just started",
            3,
            &[h, c, c],
            &[300, 500, 700],
            &[1000; 3],
            30,
            TENTH,
            4,
            60,
            600,
        ),
        (
            "up, unready ones hold",
            3,
            &[c, u, u],
            &[400, 500, 700],
            &[1000; 3],
            30,
            TENTH,
            3,
            40,
            400,
        ),
        (
            "up, started ones hold",
            3,
            &[c, h, h],
            &[400, 500, 700],
            &[1000; 3],
            30,
            TENTH,
            3,
            40,
            400,
        ),
        (
            "up, failed ones ignored",
            2,
            &[c, c, failed(), failed()],
            &[500, 700],
            &[1000; 4],
            30,
            TENTH,
            4,
            60,
            600,
        ),
        (
            "up, going ones ignored",
            2,
            &[c, c, going(), going()],
            &[500, 700],
            &[1000; 4],
            30,
            TENTH,
            4,
            60,
            600,
        ),
        (
            "down",
            5,
            &[c; 5],
            &[100, 300, 500, 250, 250],
            &[1000; 5],
            50,
            TENTH,
            3,
            28,
            280,
        ),
        (
            "down, unready left out",
            5,
            &[c, c, c, u, u],
            &[100, 300, 500, 250, 250],
            &[1000; 5],
            50,
            TENTH,
            2,
            30,
            300,
        ),
        (
            "down, started left out",
            5,
            &[c, c, c, h, h],
            &[100, 300, 500, 250, 250],
            &[1000; 5],
            50,
            TENTH,
            2,
            30,
            300,
        ),
        (
            "down, unscheduled left out",
            5,
            &pending,
            &[100],
            &[1000; 5],
            50,
            TENTH,
            1,
            10,
            100,
        ),
        (
            "down, failed ignored",
            5,
            &[c, c, c, c, c, failed(), failed()],
            &[100, 300, 500, 250, 250],
            &[1000; 7],
            50,
            TENTH,
            3,
            28,
            280,
        ),
        (
            "near",
            3,
            &[c; 3],
            &[1010, 1030, 1020],
            &jagged,
            100,
            TENTH,
            3,
            102,
            1020,
        ),
        (
            "no tolerance",
            3,
            &[c; 3],
            &[909, 1010, 1111],
            &jagged,
            100,
            tolerance(0.0, 0.0),
            4,
            101,
            1010,
        ),
        (
            "wide tolerance up",
            3,
            &[c; 3],
            &[1890, 1910, 1900],
            &jagged,
            100,
            wide,
            3,
            190,
            1900,
        ),
        (
            "narrow tolerance up",
            3,
            &[c; 3],
            &[1100, 1080, 1090],
            &jagged,
            100,
            tolerance(2.0, 0.08),
            4,
            109,
            1090,
        ),
        (
            "within 36 % down",
            3,
            &[c; 3],
            &[660, 640, 650],
            &jagged,
            100,
            tolerance(0.36, 0.1),
            3,
            65,
            650,
        ),
        (
            "outside 34 % down",
            3,
            &[c; 3],
            &[660, 640, 650],
            &jagged,
            100,
            tolerance(0.34, 0.1),
            2,
            65,
            650,
        ),
        (
            "strays count for nothing",
            4,
            &[c; 4],
            &[4000, 9500, 3000, 7000, 3200, 2000],
            &[1000; 4],
            100,
            TENTH,
            24,
            587,
            5875,
        ),
        (
            "missing, down",
            4,
            &[c; 4],
            &[400, 95],
            &[1000; 4],
            100,
            TENTH,
            3,
            24,
            247,
        ),
        (
            "missing, at the target",
            2,
            &[c; 2],
            &[1000],
            &[1000; 2],
            100,
            TENTH,
            2,
            100,
            1000,
        ),
        (
            "missing, above",
            2,
            &[c; 2],
            &[1900],
            &[1000; 2],
            100,
            TENTH,
            2,
            190,
            1900,
        ),
        ("missing, below", 2, &[c; 2], &[600], &[1000; 2], 100, TENTH, 2, 60, 600),
        (
            "missing and unready",
            3,
            &[u, c, c],
            &[100, 450],
            &[1000; 3],
            50,
            TENTH,
            3,
            45,
            450,
        ),
        (
            "missing and started",
            3,
            &[h, c, c],
            &[100, 450],
            &[1000; 3],
            50,
            TENTH,
            3,
            45,
            450,
        ),
        (
            "missing and unready, up",
            3,
            &[u, c, c],
            &[100, 2000],
            &[1000; 3],
            50,
            TENTH,
            4,
            200,
            2000,
        ),
        (
            "missing and unready, down",
            4,
            &[u, c, c, c],
            &[100, 100, 100],
            &[1000; 4],
            50,
            TENTH,
            3,
            10,
            100,
        ),
        (
            "missing, target over 100 %",
            4,
            &[u, c, c, c],
            &[200, 100, 100],
            &[1000, 1000, 2000, 2000],
            300,
            TENTH,
            2,
            6,
            100,
        ),
        (
            "a surge during an update",
            2,
            &[c; 3],
            &[100, 100],
            &[1000; 3],
            50,
            TENTH,
            2,
            10,
            100,
        ),
        // The seed-like ladder: 2 Pods, target 70 %.
        ("76 of 70", 2, &[c; 2], &[760, 760], &[1000; 2], 70, TENTH, 2, 76, 760),
        ("78 of 70", 2, &[c; 2], &[780, 780], &[1000; 2], 70, TENTH, 3, 78, 780),
        ("95 of 70", 2, &[c; 2], &[950, 950], &[1000; 2], 70, TENTH, 3, 95, 950),
        (
            "300 of 70",
            2,
            &[c; 2],
            &[3000, 3000],
            &[1000; 2],
            70,
            TENTH,
            9,
            300,
            3000,
        ),
    ];
    for (name, current, pods, levels, requests, target, tolerance, replicas, percent, average_milli) in cases {
        let got = cpu_case(*current, pods, levels, requests, *target, *tolerance);
        let want = Proposal {
            replicas: *replicas,
            current: Current::Utilization {
                percent: *percent,
                average_milli: *average_milli,
            },
        };
        assert_eq!(got, Ok(want), "{name}");
    }
}

#[test]
fn the_smallest_step_past_the_tolerance() {
    // Ten Pods use half of what they request; the target is chosen just past and
    // just within a tenth.
    let requests = [400, 200, 310, 290, 302, 298, 301, 299, 300, 300];
    let at = |target| {
        cpu_case(10, &[cool(); 10], &[150; 10], &requests, target, TENTH)
            .unwrap()
            .replicas
    };
    assert_eq!(at(56), 9);
    assert_eq!(at(55), 10);
}

#[test]
fn failures_are_never_a_number() {
    let c = cool();
    let case = |pods: &[Pod], levels: &[i64], requests: &[i64]| cpu_case(1, pods, levels, requests, 100, TENTH);
    let none = Failure::Unavailable("no metrics returned from resource metrics API".into());
    assert_eq!(case(&[c; 4], &[], &[1000; 4]), Err(none));
    assert_eq!(case(&[unready()], &[100], &[1000]), Err(Failure::NoSamples));
    assert_eq!(case(&[c], &[100], &[0]), Err(Failure::NoMatch));
    assert_eq!(case(&[], &[100], &[]), Err(Failure::NoPods));
    assert!(matches!(
        case(&[c; 2], &[100, 100], &[1000]),
        Err(Failure::MissingRequest(_))
    ));

    let strays = [Reading::PerPod {
        samples: &[None],
        strays: &[100],
        requests: Ok(&[1000]),
    }];
    let pods = [c];
    let view = View::settled(1, &pods, &strays);
    let got = calculate(&Metric::cpu(100), &strays[0], &view, TENTH, &settings(), NOW);
    assert_eq!(got, Err(Failure::NoMatch), "samples of an older Pod alone");

    let none = Failure::Unavailable("no metrics returned from external metrics API".into());
    assert_eq!(whole_case(1, &[c], &[], Target::Value(1), TENTH), Err(none));
    assert_eq!(
        whole_case(1, &[], &[9000], Target::Value(1), TENTH),
        Err(Failure::NoPods)
    );
    let wrong = calculate(&Metric::cpu(1), &Reading::Series(&[1]), &view, TENTH, &settings(), NOW);
    assert!(matches!(wrong, Err(Failure::Unavailable(_))));
}

#[test]
fn a_metric_of_the_pods() {
    let (c, h, u) = (cool(), hot(), unready());
    let up = tolerance(0.1, 0.01);
    type Case<'a> = (&'a str, u32, &'a [Pod], &'a [i64], i64, Tolerance, u32, i64);
    let cases: &[Case<'_>] = &[
        ("up", 3, &[c; 3], &[20_000, 10_000, 30_000], 15_000, TENTH, 4, 20_000),
        (
            "readiness does not matter",
            3,
            &[c, c, h],
            &[50_000, 10_000, 30_000],
            15_000,
            TENTH,
            6,
            30_000,
        ),
        (
            "nor being unready",
            3,
            &[u, c, u],
            &[50_000, 15_000, 30_000],
            15_000,
            TENTH,
            7,
            31_666,
        ),
        ("down", 5, &[c; 5], &[12_000; 5], 20_000, TENTH, 3, 12_000),
        ("near", 3, &[c; 3], &[20_000, 21_000, 21_000], 20_000, TENTH, 3, 20_666),
        (
            "narrow tolerance",
            3,
            &[c; 3],
            &[20_000, 21_000, 21_000],
            20_000,
            up,
            4,
            20_666,
        ),
        (
            "missing, at the target",
            5,
            &[c; 5],
            &[20_000, 19_000, 21_000],
            20_000,
            TENTH,
            5,
            20_000,
        ),
        (
            "a surge during an update",
            2,
            &[c; 3],
            &[10_000, 10_000],
            17_000,
            TENTH,
            2,
            10_000,
        ),
        (
            "strays enter the average",
            1,
            &[c],
            &[10_000, 30_000],
            10_000,
            TENTH,
            2,
            20_000,
        ),
    ];
    for (name, current, pods, levels, target, tolerance, replicas, usage) in cases {
        let got = pods_case(*current, pods, levels, *target, *tolerance);
        let want = Proposal {
            replicas: *replicas,
            current: Current::AverageValue(*usage),
        };
        assert_eq!(got, Ok(want), "{name}");
    }
}

#[test]
fn a_metric_of_the_whole() {
    let (c, u) = (cool(), unready());
    let up = tolerance(0.1, 0.01);
    let one = [u, c, u];
    type Case<'a> = (&'a str, u32, &'a [Pod], &'a [i64], Target, Tolerance, u32, Current);
    let cases: &[Case<'_>] = &[
        (
            "up",
            3,
            &[c; 3],
            &[20_000],
            Target::Value(15_000),
            TENTH,
            4,
            Current::Value(20_000),
        ),
        (
            "only ready Pods count",
            3,
            &one,
            &[50_000],
            Target::Value(10_000),
            TENTH,
            5,
            Current::Value(50_000),
        ),
        (
            "up from one",
            1,
            &[c],
            &[8600],
            Target::Value(4400),
            TENTH,
            2,
            Current::Value(8600),
        ),
        (
            "series are summed",
            1,
            &[c],
            &[8000, 600],
            Target::Value(4400),
            TENTH,
            2,
            Current::Value(8600),
        ),
        (
            "unready ones can take away",
            3,
            &one,
            &[8600],
            Target::Value(4400),
            TENTH,
            2,
            Current::Value(8600),
        ),
        (
            "down",
            5,
            &[c; 5],
            &[8600],
            Target::Value(14_334),
            TENTH,
            3,
            Current::Value(8600),
        ),
        (
            "near",
            3,
            &[c; 3],
            &[8600],
            Target::Value(8888),
            TENTH,
            3,
            Current::Value(8600),
        ),
        (
            "narrow tolerance",
            3,
            &[c; 3],
            &[8900],
            Target::Value(8800),
            up,
            4,
            Current::Value(8900),
        ),
        (
            "from zero",
            0,
            &[],
            &[2500],
            Target::Value(1000),
            TENTH,
            3,
            Current::Value(2500),
        ),
        (
            "from zero without need",
            0,
            &[],
            &[0],
            Target::Value(1000),
            TENTH,
            0,
            Current::Value(0),
        ),
        (
            "overflow",
            3,
            &[c; 3],
            &[i64::MAX],
            Target::Value(1),
            TENTH,
            MOST_REPLICAS,
            Current::Value(i64::MAX),
        ),
        (
            "sum overflows",
            1,
            &[c],
            &[i64::MAX, 1],
            Target::Value(1),
            TENTH,
            MOST_REPLICAS,
            Current::Value(i64::MAX),
        ),
        (
            "per replica, up",
            3,
            &[],
            &[8600],
            Target::AverageValue(2150),
            TENTH,
            4,
            Current::AverageValue(2867),
        ),
        (
            "per replica, down",
            5,
            &[],
            &[8600],
            Target::AverageValue(2867),
            TENTH,
            3,
            Current::AverageValue(1720),
        ),
        (
            "per replica, near",
            3,
            &[],
            &[8600],
            Target::AverageValue(2900),
            TENTH,
            3,
            Current::AverageValue(2867),
        ),
        (
            "per replica, object near",
            4,
            &[],
            &[20_166],
            Target::AverageValue(5000),
            TENTH,
            4,
            Current::AverageValue(5042),
        ),
        (
            "per replica, narrow",
            3,
            &[],
            &[8600],
            Target::AverageValue(2800),
            up,
            4,
            Current::AverageValue(2867),
        ),
        (
            "per replica, narrow on 4",
            4,
            &[],
            &[20_208],
            Target::AverageValue(5000),
            up,
            5,
            Current::AverageValue(5052),
        ),
        (
            "per replica, overflow",
            1,
            &[],
            &[i64::MAX],
            Target::AverageValue(1),
            TENTH,
            MOST_REPLICAS,
            Current::AverageValue(i64::MAX),
        ),
        (
            "per replica, huge target",
            1,
            &[],
            &[i64::MAX],
            Target::AverageValue(i64::MAX),
            TENTH,
            1,
            Current::AverageValue(i64::MAX),
        ),
        (
            "per replica, below 0 is taken for an overflow",
            1,
            &[],
            &[-1],
            Target::AverageValue(1000),
            TENTH,
            MOST_REPLICAS,
            Current::AverageValue(i64::MAX),
        ),
        (
            "per replica, nothing there yet",
            0,
            &[],
            &[2500],
            Target::AverageValue(1000),
            TENTH,
            3,
            Current::AverageValue(2500),
        ),
    ];
    for (name, current, pods, series, target, tolerance, replicas, usage) in cases {
        let got = whole_case(*current, pods, series, *target, *tolerance);
        let want = Proposal {
            replicas: *replicas,
            current: *usage,
        };
        assert_eq!(got, Ok(want), "{name}");
    }
}

#[test]
fn which_pods_are_counted() {
    let at = |started: u64, ready: Option<(Ready, u64)>| Pod {
        phase: Phase::Succeeded,
        deleted: false,
        ready: ready.map(|(status, seconds)| (status, ago(seconds))),
        started: Some(ago(started)),
    };
    let sample = |age: u64, window: u64| {
        Some(Sample {
            milli: 1,
            at: ago(age),
            window: Duration::from_secs(window),
        })
    };
    let old = Some(Sample {
        milli: 1,
        at: Instant::ZERO,
        window: Duration::ZERO,
    });
    let memory = at(0, None);
    assert!(
        class(&memory, old, None, NOW) == Class::Counted,
        "memory asks for no readiness"
    );
    let cases = [
        ("without a Ready condition", at(0, None), old, Class::Unready),
        (
            "fresh during initialisation",
            at(60, Some((Ready::True, 30))),
            sample(0, 30),
            Class::Counted,
        ),
        (
            "stale during initialisation",
            at(60, Some((Ready::True, 30))),
            sample(0, 60),
            Class::Unready,
        ),
        (
            "never ready, 6 s after its start",
            at(600, Some((Ready::False, 594))),
            old,
            Class::Unready,
        ),
        (
            "stale after initialisation",
            at(180, Some((Ready::True, 180))),
            sample(120, 60),
            Class::Counted,
        ),
        (
            "was ready once",
            at(600, Some((Ready::False, 540))),
            old,
            Class::Counted,
        ),
        (
            "at the edge of the delay",
            at(600, Some((Ready::False, 590))),
            old,
            Class::Counted,
        ),
        (
            "unknown is not unready",
            at(600, Some((Ready::Unknown, 595))),
            old,
            Class::Counted,
        ),
        ("missing", at(180, None), None, Class::Missing),
        ("pending", Pod::pending(), None, Class::Unready),
        (
            "deleted",
            Pod {
                deleted: true,
                ..Pod::pending()
            },
            old,
            Class::Ignored,
        ),
        (
            "failed",
            Pod {
                phase: Phase::Failed,
                ..at(0, None)
            },
            old,
            Class::Ignored,
        ),
    ];
    for (name, pod, sample, want) in cases {
        assert!(class(&pod, sample, Some(settings()), NOW) == want, "{name}");
    }
}

#[test]
fn a_raw_target_of_a_resource_looks_at_no_request() {
    let metric = Metric::ContainerResource {
        name: "cpu".into(),
        container: "engine".into(),
        target: ResourceTarget::AverageValue(500),
    };
    let pods = [cool(), cool()];
    let (samples, _) = spread(&pods, &[1000, 1000]);
    let readings = [Reading::PerPod {
        samples: &samples,
        strays: &[],
        requests: Err("missing request for cpu"),
    }];
    let view = View {
        selection: Selection::Good,
        ..View::settled(2, &pods, &readings)
    };
    let tolerance = Spec::new(1, 9, Vec::new()).tolerance();
    let got = calculate(&metric, &readings[0], &view, tolerance, &settings(), NOW);
    assert_eq!(got.map(|p| p.replicas), Ok(4));
}
