//! The published cases of the real rate limits.

use super::*;
use crate::spec::Policy;

const NOW: Instant = Instant::from_secs(100_000);

fn ago(seconds: f64) -> Instant {
    NOW - Duration::from_secs_f64(seconds)
}

/// Changes spread evenly over the last 120 s.
fn spread(replicas: &[u32]) -> Changes {
    let segment = 120.0 / replicas.len() as f64;
    let at = |i: usize| ago(120.0 - segment * (i + 1) as f64 + segment / 2.0);
    let entries = replicas.iter().enumerate().map(|(i, replicas)| (*replicas, at(i)));
    Changes::of(&entries.collect::<Vec<_>>())
}

fn rules(pods: (u32, u64), percent: (u32, u64)) -> Rules {
    let mut policies = Vec::new();
    if pods.0 != 0 {
        policies.push(Policy::pods(pods.0, pods.1));
    }
    if percent.0 != 0 {
        policies.push(Policy::percent(percent.0, percent.1));
    }
    Rules {
        policies,
        ..Rules::default_up()
    }
}

#[test]
fn without_behavior_twice_or_four() {
    use Limited::*;
    let cases = [
        (5, 7, 3, 8, 7, DesiredWithinRange),
        (3, 1, 2, 8, 2, TooFewReplicas),
        (1, 0, 0, 10, 0, DesiredWithinRange),
        (20, 1000, 1, 10, 10, TooManyReplicas),
        (3, 1000, 1, 2000, 6, ScaleUpLimit),
        (2, 9, 2, 20, 4, ScaleUpLimit),
        (1, 9, 1, 20, 4, ScaleUpLimit),
        (8, 40, 1, 40, 16, ScaleUpLimit),
    ];
    for (current, desired, min, max, want, limited) in cases {
        assert_eq!(
            older(current, desired, min, max),
            (want, limited),
            "{current} -> {desired}"
        );
    }
}

const NONE: (u32, u64) = (0, 0);

/// Pods a period and percent a period (the default rules if not said), added,
/// removed; current, desired, min, max; what comes, and why.
const UP: &str = "
within range                |         |         |          |   | 5   7    3   8    | 7   DesiredWithinRange
max of all                  |         |         |          |   | 100 1000 100 150  | 150 TooManyReplicas
max below what is there     |         |         |          |   | 20  1000 1   10   | 10  TooManyReplicas
1 % of 3                    |         | 1/60    |          |   | 3   1000 1   2000 | 4   ScaleUpLimit
default rules               |         |         |          |   | 10  50   1   1000 | 20  ScaleUpLimit
default rules, few          |         |         |          |   | 2   9    1   20   | 6   ScaleUpLimit
Pods larger                 | 100/60  | 100/60  |          |   | 10  500  1   1000 | 110 ScaleUpLimit
percent larger              | 2/60    | 100/60  |          |   | 10  500  1   1000 | 20  ScaleUpLimit
Pods enough                 | 100/60  |         |          |   | 10  50   1   1000 | 50  DesiredWithinRange
more than enough            | 10000/60 |        |          |   | 10  50   1   1000 | 50  DesiredWithinRange
Pods                        | 30/60   |         |          |   | 10  50   1   1000 | 40  ScaleUpLimit
percent                     |         | 200/60  |          |   | 10  50   1   1000 | 30  ScaleUpLimit
700 %                       |         | 700/60  |          |   | 3   600  1   100  | 24  ScaleUpLimit
700 % and max               |         | 700/60  |          |   | 3   600  1   20   | 20  TooManyReplicas
large Pods after changes    | 300/60  |         | 1 5 9    |   | 100 500  1   200  | 200 TooManyReplicas
large percent after changes |         | 10000/60 | 1 5 9   |   | 100 500  1   200  | 200 TooManyReplicas
all used up                 | 5/120   |         | 1 5 9    |   | 100 500  1   1000 | 100 ScaleUpLimit
Pods after changes          | 150/120 |         | 1 5 9    |   | 100 500  1   1000 | 235 ScaleUpLimit
percent after changes       |         | 200/120 | 1 5 9    |   | 100 500  1   1000 | 255 ScaleUpLimit
percent after both          |         | 300/300 | 4        | 2 | 6   24   1   1000 | 16  ScaleUpLimit
part of the changes         | 1000/60 |         | 8 12 9 11 |  | 100 200  1   1000 | 200 DesiredWithinRange
two periods                 | 1000/120 | 100/60 | 8 12 9 11 |  | 100 200  1   1000 | 200 DesiredWithinRange
two periods, one short      | 1000/30 | 100/60  | 8 12 9 11 |  | 100 200  1   1000 | 200 DesiredWithinRange
";

const DOWN: &str = "
min                         |         |         |   |          | 3    1 2 8    | 2   TooFewReplicas
to zero                     |         |         |   |          | 1    0 0 10   | 0   DesiredWithinRange
20 Pods                     | 20/60   |         |   |          | 1000 3 3 2000 | 980 ScaleDownLimit
Pods larger                 | 20/60   | 1/60    |   |          | 100  2 1 1000 | 80  ScaleDownLimit
both small                  | 2/60    | 1/60    |   |          | 100  2 1 1000 | 98  ScaleDownLimit
Pods past min               | 100/60  |         |   |          | 10   0 1 1000 | 1   TooFewReplicas
percent past min            |         | 100/60  |   |          | 10   2 5 1000 | 5   TooFewReplicas
5 Pods                      | 5/60    |         |   |          | 10   2 1 1000 | 5   ScaleDownLimit
half                        |         | 50/60   |   |          | 10   5 1 1000 | 5   DesiredWithinRange
default rules after changes |         |         |   | 1 5 9    | 10   5 1 1000 | 5   DesiredWithinRange
large Pods after changes    | 115/120 |         |   | 1 5 9    | 100  0 1 1000 | 1   TooFewReplicas
larger Pods after changes   | 130/120 |         |   | 1 5 9    | 100  0 5 1000 | 5   TooFewReplicas
all percent after changes   |         | 100/120 |   | 1 5 9    | 100  2 5 1000 | 5   TooFewReplicas
all used up                 | 5/120   |         |   | 1 5 9    | 100  2 1 1000 | 100 ScaleDownLimit
percent after changes       |         | 50/120  |   | 2 4 6    | 100  0 1 1000 | 56  ScaleDownLimit
percent after both          |         | 50/180  | 2 | 4        | 10   1 1 1000 | 6   ScaleDownLimit
percent used up             |         | 10/120  |   | 10 10 10 | 100  0 1 1000 | 100 ScaleDownLimit
more than all               |         | 1000/120 |  | 10 10 10 | 10   5 1 1000 | 5   DesiredWithinRange
part of the changes         | 1000/60 |         |   | 8 12 9 11 | 100 5 1 1000 | 5   DesiredWithinRange
two periods                 | 1000/120 | 100/60 |   | 8 12 9 11 | 100 5 1 1000 | 5   DesiredWithinRange
";

/// Runs a table; `set` puts the rules into their direction.
fn run(table: &str, set: impl Fn(&mut Behavior, Rules)) {
    let rate = |text: &str| match text.split_once('/') {
        Some((value, period)) => (value.parse().unwrap(), period.parse().unwrap()),
        None => NONE,
    };
    let list = |text: &str| -> Vec<u32> { text.split_whitespace().map(|n| n.parse().unwrap()).collect() };
    for line in table.lines().filter(|line| !line.trim().is_empty()) {
        let column: Vec<&str> = line.split('|').map(str::trim).collect();
        let mut behavior = Behavior::default();
        let (pods, percent) = (rate(column[1]), rate(column[2]));
        if (pods, percent) != (NONE, NONE) {
            set(&mut behavior, rules(pods, percent));
        }
        let made = (&spread(&list(column[3])), &spread(&list(column[4])));
        let at = list(column[5]);
        let (want, why) = by_policies(&behavior, made, at[0], at[1], (at[2], at[3]), NOW);
        let (replicas, reason) = column[6].split_once(' ').unwrap();
        assert_eq!(
            (want.to_string().as_str(), format!("{why:?}").as_str()),
            (replicas, reason.trim()),
            "{}",
            column[0]
        );
    }
}

#[test]
fn on_the_way_up() {
    run(UP, |behavior, rules| behavior.up = rules);
}

#[test]
fn on_the_way_down() {
    run(DOWN, |behavior, rules| behavior.down = rules);
}

#[test]
fn the_least_change_and_none() {
    let both = |select| Rules {
        select,
        ..rules((2, 60), (50, 60))
    };
    let none = Changes::default();
    let up = |select| allowed(Direction::Up, &both(select), &none, &none, 1, NOW);
    let down = |select| allowed(Direction::Down, &both(select), &none, &none, 5, NOW);
    assert_eq!((up(Select::Min), up(Select::Max), up(Select::Disabled)), (2, 3, 1));
    assert_eq!(
        (down(Select::Min), down(Select::Max), down(Select::Disabled)),
        (3, 2, 5)
    );
}

#[test]
fn changes_that_no_policy_sees_give_their_place() {
    type Case<'a> = (&'a [(u32, u64)], Rules, i64, &'a [(u32, bool)]);
    let one = rules((10, 60), (100, 60));
    let cases: [Case<'_>; 6] = [
        (&[], one.clone(), 0, &[(5, false)]),
        (&[(7, 61)], one.clone(), 0, &[(5, false)]),
        (&[(7, 58)], one, 7, &[(7, false), (5, false)]),
        (&[(7, 61), (6, 59)], rules((10, 60), NONE), 6, &[(5, false), (6, false)]),
        (
            &[(8, 29), (6, 59), (7, 61), (9, 61)],
            rules((10, 60), (100, 30)),
            14,
            &[(8, false), (6, false), (7, true), (5, false)],
        ),
        (
            &[(7, 58), (6, 59)],
            rules((10, 120), (100, 30)),
            13,
            &[(7, false), (6, false), (5, false)],
        ),
    ];
    for (made, rules, within, want) in cases {
        let entries: Vec<_> = made.iter().map(|(n, s)| (*n, ago(*s as f64))).collect();
        let mut changes = Changes::of(&entries);
        assert_eq!(changes.within(Duration::from_secs(60), NOW), within, "{made:?}");
        changes.remember(5, &rules, NOW);
        assert_eq!(changes.listed(), want, "{made:?}");
    }
}

#[test]
fn memory_is_bounded_however_often_it_changes() {
    let mut changes = Changes::default();
    assert!(changes.is_empty());
    for i in 0..5000 {
        changes.remember(1, &rules((1, 1800), NONE), NOW + Duration::from_millis(i));
    }
    assert_eq!(changes.len(), MOST_ENTRIES);
}
