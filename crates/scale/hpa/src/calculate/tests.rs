//! The published cases of the real replica calculator, and a few of its corners.

use super::*;
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

/// The Pods of a case, a letter for each.
fn fleet(letters: &str) -> Vec<Pod> {
    let pod = |letter| match letter {
        'c' => cool(),
        'h' => hot(),
        'u' => unready(),
        'p' => Pod::pending(),
        'f' => failed(),
        'd' => going(),
        other => panic!("no Pod is called {other}"),
    };
    letters.chars().map(pod).collect()
}

/// The lines of a table; its columns are between bars.
fn table(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| line.split('|').map(str::trim).collect())
}

fn numbers(text: &str) -> Vec<i64> {
    let number = |word: &str| match word {
        "most" => i64::MAX,
        _ => word.parse().unwrap(),
    };
    text.split_whitespace().map(number).collect()
}

fn tolerances(text: &str) -> Tolerance {
    match text.split_once(' ') {
        Some((down, up)) => tolerance(down.parse().unwrap(), up.parse().unwrap()),
        None => TENTH,
    }
}

/// Replicas, Pods, samples, requests, target in percent, tolerance down and up
/// (a tenth if not said); replicas, percent, average.
const CPU: &str = "
up                          | 3 | ccc     | 300 500 700         | 1000 1000 1000           | 30  |         | 5 50 500
up, one unready             | 3 | ucc     | 300 500 700         | 1000 1000 1000           | 30  |         | 4 60 600
up, one just started        | 3 | hcc     | 300 500 700         | 1000 1000 1000           | 30  |         | 4 60 600
up, unready ones hold       | 3 | cuu     | 400 500 700         | 1000 1000 1000           | 30  |         | 3 40 400
up, started ones hold       | 3 | chh     | 400 500 700         | 1000 1000 1000           | 30  |         | 3 40 400
up, failed ones ignored     | 2 | ccff    | 500 700             | 1000 1000 1000 1000      | 30  |         | 4 60 600
up, going ones ignored      | 2 | ccdd    | 500 700             | 1000 1000 1000 1000      | 30  |         | 4 60 600
down                        | 5 | ccccc   | 100 300 500 250 250 | 1000 1000 1000 1000 1000 | 50  |         | 3 28 280
down, unready left out      | 5 | cccuu   | 100 300 500 250 250 | 1000 1000 1000 1000 1000 | 50  |         | 2 30 300
down, started left out      | 5 | ccchh   | 100 300 500 250 250 | 1000 1000 1000 1000 1000 | 50  |         | 2 30 300
down, unscheduled left out  | 5 | cpppp   | 100                 | 1000 1000 1000 1000 1000 | 50  |         | 1 10 100
down, failed ignored        | 5 | cccccff | 100 300 500 250 250 | 1000 1000 1000 1000 1000 1000 1000 | 50 | | 3 28 280
down, going ignored         | 5 | cccccdd | 100 300 500 250 250 | 1000 1000 1000 1000 1000 1000 1000 | 50 | | 3 28 280
near                        | 3 | ccc     | 1010 1030 1020      | 900 1000 1100            | 100 |         | 3 102 1020
no tolerance                | 3 | ccc     | 909 1010 1111       | 900 1000 1100            | 100 | 0 0     | 4 101 1010
wide tolerance up           | 3 | ccc     | 1890 1910 1900      | 900 1000 1100            | 100 | 0.1 2   | 3 190 1900
narrow tolerance up         | 3 | ccc     | 1100 1080 1090      | 900 1000 1100            | 100 | 2 0.08  | 4 109 1090
within 36 % down            | 3 | ccc     | 660 640 650         | 900 1000 1100            | 100 | .36 0.1 | 3 65 650
outside 34 % down           | 3 | ccc     | 660 640 650         | 900 1000 1100            | 100 | .34 0.1 | 2 65 650
strays count for nothing    | 4 | cccc    | 4000 9500 3000 7000 3200 2000 | 1000 1000 1000 1000 | 100 |    | 24 587 5875
missing, down               | 4 | cccc    | 400 95              | 1000 1000 1000 1000      | 100 |         | 3 24 247
missing, at the target      | 2 | cc      | 1000                | 1000 1000                | 100 |         | 2 100 1000
missing, above              | 2 | cc      | 1900                | 1000 1000                | 100 |         | 2 190 1900
missing, below              | 2 | cc      | 600                 | 1000 1000                | 100 |         | 2 60 600
missing and unready         | 3 | ucc     | 100 450             | 1000 1000 1000           | 50  |         | 3 45 450
missing and started         | 3 | hcc     | 100 450             | 1000 1000 1000           | 50  |         | 3 45 450
missing and unready, up     | 3 | ucc     | 100 2000            | 1000 1000 1000           | 50  |         | 4 200 2000
missing and started, up     | 3 | hcc     | 100 2000            | 1000 1000 1000           | 50  |         | 4 200 2000
missing and unready, down   | 4 | uccc    | 100 100 100         | 1000 1000 1000 1000      | 50  |         | 3 10 100
missing, target over 100 %  | 4 | uccc    | 200 100 100         | 1000 1000 2000 2000      | 300 |         | 2 6 100
a surge during an update    | 2 | ccc     | 100 100             | 1000 1000 1000           | 50  |         | 2 10 100
76 of 70                    | 2 | cc      | 760 760             | 1000 1000                | 70  |         | 2 76 760
78 of 70                    | 2 | cc      | 780 780             | 1000 1000                | 70  |         | 3 78 780
95 of 70                    | 2 | cc      | 950 950             | 1000 1000                | 70  |         | 3 95 950
300 of 70                   | 2 | cc      | 3000 3000           | 1000 1000                | 70  |         | 9 300 3000
";

#[test]
fn cpu_in_percent_of_the_request() {
    for row in table(CPU) {
        let got = cpu_case(
            row[1].parse().unwrap(),
            &fleet(row[2]),
            &numbers(row[3]),
            &numbers(row[4]),
            row[5].parse().unwrap(),
            tolerances(row[6]),
        );
        let want = numbers(row[7]);
        let want = Proposal {
            replicas: want[0] as u32,
            current: Current::Utilization {
                percent: want[1] as i32,
                average_milli: want[2],
            },
        };
        assert_eq!(got, Ok(want), "{}", row[0]);
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

/// Replicas, Pods, samples, target, tolerance; replicas, average.
const PODS: &str = "
up                        | 3 | ccc   | 20000 10000 30000             | 15000 |          | 4 20000
readiness does not matter | 3 | cch   | 50000 10000 30000             | 15000 |          | 6 30000
nor being unready         | 3 | ucu   | 50000 15000 30000             | 15000 |          | 7 31666
down                      | 5 | ccccc | 12000 12000 12000 12000 12000 | 20000 |          | 3 12000
near                      | 3 | ccc   | 20000 21000 21000             | 20000 |          | 3 20666
narrow tolerance          | 3 | ccc   | 20000 21000 21000             | 20000 | 0.1 0.01 | 4 20666
missing, at the target    | 5 | ccccc | 20000 19000 21000             | 20000 |          | 5 20000
a surge during an update  | 2 | ccc   | 10000 10000                   | 17000 |          | 2 10000
strays enter the average  | 1 | c     | 10000 30000                   | 10000 |          | 2 20000
";

#[test]
fn a_metric_of_the_pods() {
    for row in table(PODS) {
        let got = pods_case(
            row[1].parse().unwrap(),
            &fleet(row[2]),
            &numbers(row[3]),
            row[4].parse().unwrap(),
            tolerances(row[5]),
        );
        let want = numbers(row[6]);
        let want = Proposal {
            replicas: want[0] as u32,
            current: Current::AverageValue(want[1]),
        };
        assert_eq!(got, Ok(want), "{}", row[0]);
    }
}

/// Replicas, Pods, series, target, tolerance; replicas, value.
const WHOLE: &str = "
up                         | 3 | ccc   | 20000    | 15000 |          | 4 20000
only ready Pods count      | 3 | ucu   | 50000    | 10000 |          | 5 50000
up from one                | 1 | c     | 8600     | 4400  |          | 2 8600
series are summed          | 1 | c     | 8000 600 | 4400  |          | 2 8600
unready ones can take away | 3 | ucu   | 8600     | 4400  |          | 2 8600
down                       | 5 | ccccc | 8600     | 14334 |          | 3 8600
down, object               | 5 | ccccc | 12000    | 20000 |          | 3 12000
near                       | 3 | ccc   | 8600     | 8888  |          | 3 8600
narrow tolerance           | 3 | ccc   | 8900     | 8800  | 0.1 0.01 | 4 8900
from zero                  | 0 |       | 2500     | 1000  |          | 3 2500
from zero without need     | 0 |       | 0        | 1000  |          | 0 0
overflow                   | 3 | ccc   | most     | 1     |          | 2147483647 most
the sum overflows          | 1 | c     | most 1   | 1     |          | 2147483647 most
";

/// Replicas, series, target, tolerance; replicas, average.
const SHARED: &str = "
up                                 | 3 | 8600  | 2150 |          | 4 2867
down                               | 5 | 8600  | 2867 |          | 3 1720
down, object                       | 5 | 6000  | 2000 |          | 3 1200
near                               | 3 | 8600  | 2900 |          | 3 2867
near on 4                          | 4 | 20166 | 5000 |          | 4 5042
narrow tolerance                   | 3 | 8600  | 2800 | 0.1 0.01 | 4 2867
narrow tolerance on 4              | 4 | 20208 | 5000 | 0.1 0.01 | 5 5052
overflow                           | 1 | most  | 1    |          | 2147483647 most
a huge target                      | 1 | most  | most |          | 1 most
below 0 is taken for an overflow   | 1 | -1    | 1000 |          | 2147483647 most
nothing there yet                  | 0 | 2500  | 1000 |          | 3 2500
";

#[test]
fn a_metric_of_the_whole() {
    for row in table(WHOLE) {
        let got = whole_case(
            row[1].parse().unwrap(),
            &fleet(row[2]),
            &numbers(row[3]),
            Target::Value(numbers(row[4])[0]),
            tolerances(row[5]),
        );
        let want = numbers(row[6]);
        let want = Proposal {
            replicas: want[0] as u32,
            current: Current::Value(want[1]),
        };
        assert_eq!(got, Ok(want), "{}", row[0]);
    }
    for row in table(SHARED) {
        let got = whole_case(
            row[1].parse().unwrap(),
            &[],
            &numbers(row[2]),
            Target::AverageValue(numbers(row[3])[0]),
            tolerances(row[4]),
        );
        let want = numbers(row[5]);
        let want = Proposal {
            replicas: want[0] as u32,
            current: Current::AverageValue(want[1]),
        };
        assert_eq!(got, Ok(want), "per replica: {}", row[0]);
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
