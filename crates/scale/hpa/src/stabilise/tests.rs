//! The published cases of the real windows.

use super::*;

const NOW: Instant = Instant::from_secs(100_000);

fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

fn log(entries: &[(u32, u64)]) -> Recommendations {
    let entry = |(replicas, ago): &(u32, u64)| (*replicas, NOW - minutes(*ago));
    Recommendations::of(&entries.iter().map(entry).collect::<Vec<_>>())
}

#[test]
fn without_behavior_the_highest_of_the_window() {
    type Case<'a> = (&'a str, &'a [(u32, u64)], u32, u32, usize);
    let cases: [Case<'_>; 5] = [
        ("nothing remembered", &[], 5, 5, 1),
        ("held", &[(4, 2), (5, 1)], 3, 5, 3),
        ("not held", &[(1, 2), (2, 1)], 3, 3, 3),
        ("too old to hold", &[(10, 10), (9, 9)], 3, 3, 2),
        ("some too old", &[(10, 10), (4, 1), (5, 2), (9, 9)], 3, 5, 4),
    ];
    for (name, entries, proposed, want, len) in cases {
        let mut log = log(entries);
        assert_eq!(log.highest(proposed, minutes(5), NOW), want, "{name}");
        assert_eq!(log.len(), len, "{name}");
    }
}

#[test]
fn with_behavior_between_the_lowest_and_the_highest() {
    // current, proposed, up and down window in minutes, wanted, remembered
    type Case<'a> = (&'a str, &'a [(u32, u64)], u32, u32, u64, u64, u32, &'a [u32]);
    let cases: [Case<'_>; 11] = [
        ("nothing remembered", &[], 100, 5, 0, 0, 5, &[5]),
        ("down held", &[(4, 2), (5, 1)], 100, 3, 0, 3, 5, &[4, 5, 3]),
        ("up held", &[(4, 2), (5, 1)], 1, 7, 5, 0, 4, &[4, 5, 7]),
        (
            "down not held by the up window",
            &[(1, 2), (2, 1)],
            100,
            3,
            5,
            0,
            3,
            &[1, 2, 3],
        ),
        (
            "up not held by the down window",
            &[(4, 2), (5, 1)],
            1,
            3,
            0,
            5,
            3,
            &[4, 5, 3],
        ),
        (
            "a place is reused on the way down",
            &[(10, 10), (9, 9)],
            100,
            3,
            0,
            0,
            3,
            &[10, 3],
        ),
        (
            "a place is reused on the way up",
            &[(10, 10), (9, 9)],
            1,
            100,
            0,
            0,
            100,
            &[10, 100],
        ),
        (
            "the last old place is reused",
            &[(10, 10), (4, 1), (5, 2), (9, 9)],
            100,
            3,
            0,
            3,
            5,
            &[10, 4, 5, 3],
        ),
        (
            "old for both windows",
            &[(10, 100), (6, 1), (5, 2), (9, 3)],
            1,
            100,
            5,
            0,
            5,
            &[100, 6, 5, 9],
        ),
        (
            "no way up when the wish goes down",
            &[(2, 100), (3, 3)],
            2,
            1,
            5,
            5,
            2,
            &[1, 3],
        ),
        (
            "no way down when the wish goes up",
            &[(2, 100), (1, 3)],
            2,
            3,
            5,
            5,
            2,
            &[3, 1],
        ),
    ];
    for (name, entries, current, proposed, up, down, want, remembered) in cases {
        let mut log = log(entries);
        let got = log.between(current, proposed, minutes(up), minutes(down), NOW);
        assert_eq!(got, want, "{name}");
        assert_eq!(log.replicas(), remembered, "{name}");
    }
}

#[test]
fn the_first_pass_remembers_what_is_there() {
    let mut log = Recommendations::default();
    assert!(log.is_empty());
    log.seed(7, NOW);
    log.seed(9, NOW);
    assert_eq!(log.highest(3, minutes(5), NOW), 7);
}

#[test]
fn memory_is_bounded_however_often_it_is_asked() {
    let mut log = Recommendations::default();
    for i in 0..10_000 {
        log.highest(1, minutes(60), NOW + Duration::from_millis(i));
    }
    assert_eq!(log.len(), MOST_ENTRIES);
}
