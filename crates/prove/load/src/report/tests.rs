use super::*;
use proptest::prelude::*;

const OBJECTIVES: Objectives = Objectives {
    ttft: Duration::from_millis(500),
    itl: Duration::from_millis(50),
};

fn done(index: u64, ttft_ms: f64) -> Record {
    let done = Done {
        ttft_ms: Some(ttft_ms),
        e2e_ms: ttft_ms + 1_000.0,
        tpot_ms: Some(20.0),
        longest_gap_ms: Some(30.0),
        mean_gap_ms: Some(20.0),
        output_tokens: 50,
        prompt_tokens: Some(100),
    };
    Record {
        index,
        planned_ms: index as f64 * 100.0,
        lag_ms: Some(0.2),
        outcome: Outcome::Done(done),
    }
}

fn ended(index: u64, outcome: Outcome) -> Record {
    Record {
        index,
        planned_ms: 0.0,
        lag_ms: Some(0.1),
        outcome,
    }
}

#[test]
fn a_stall_counts_against_everyone_who_should_have_been_sent_in_it() {
    // 10/s, 0.1 s each, one stall of 10 s: the 100 requests meant for the stall wait from 10 s down to 0.
    let mut tally = Tally::new(OBJECTIVES);
    (0..900).for_each(|i| tally.end(&done(i, 100.0)));
    (0..100).for_each(|i| tally.end(&done(900 + i, 10_000.0 - 100.0 * i as f64)));
    let summary = tally.summary(Duration::from_secs(100));
    assert!((summary.ttft_ms.p99 - 9_000.0).abs() < 150.0, "{:?}", summary.ttft_ms);
    assert!((summary.ttft_ms.p95 - 5_000.0).abs() < 150.0, "{:?}", summary.ttft_ms);
}

#[test]
fn failures_count_against_the_objective() {
    let mut tally = Tally::new(OBJECTIVES);
    (0..3).for_each(|i| tally.end(&done(i, 100.0)));
    tally.end(&ended(
        3,
        Outcome::Failed {
            kind: "http_503".to_owned(),
            detail: "busy".to_owned(),
        },
    ));
    let summary = tally.summary(Duration::from_secs(1));
    assert_eq!(summary.ttft_met, Some(0.75));
    assert_eq!(summary.attainment, Some(0.75));
    assert!(summary.table().contains("failed 1 x http_503: busy"));
}

#[test]
fn nothing_done_has_no_share_and_no_percentile() {
    let summary = Tally::new(OBJECTIVES).summary(Duration::from_secs(1));
    assert_eq!(summary.attainment, None);
    assert!(summary.table().lines().nth(1).is_some_and(|ttft| ttft.contains('-')));
}

#[test]
fn a_late_client_is_not_trusted() {
    let mut tally = Tally::new(OBJECTIVES);
    tally.end(&Record {
        lag_ms: Some(80.0),
        ..done(0, 10.0)
    });
    let summary = tally.summary(Duration::from_secs(1));
    assert!(!summary.trusted);
    assert!(summary.table().contains("trust: NO"));
}

#[test]
fn the_worst_minute_is_the_one_with_the_smallest_share_met() {
    let mut tally = Tally::new(OBJECTIVES);
    for i in 0..1_800 {
        let ttft = if (600..700).contains(&i) { 2_000.0 } else { 50.0 };
        tally.end(&done(i, ttft));
    }
    assert_eq!(
        tally.summary(Duration::from_secs(180)).worst_minute,
        Some(WorstMinute {
            minute: 1,
            sent: 600,
            met: 500
        })
    );
}

proptest! {
    #[test]
    fn every_planned_request_ends_in_exactly_one_way(kinds in proptest::collection::vec(0..5_u8, 0..200)) {
        let mut tally = Tally::new(OBJECTIVES);
        for (i, kind) in kinds.iter().enumerate() {
            let i = i as u64;
            tally.end(&match kind {
                0 => done(i, 5.0),
                1 => ended(i, Outcome::TimedOut),
                2 => ended(i, Outcome::Cancelled),
                3 => ended(i, Outcome::Unsent),
                _ => ended(i, Outcome::Failed { kind: format!("kind_{i}"), detail: String::new() }),
            });
        }
        let summary = tally.summary(Duration::from_secs(1));
        prop_assert!(summary.counts.balanced());
        prop_assert_eq!(summary.counts.planned, kinds.len() as u64);
        prop_assert!(summary.failures.len() <= MOST_CLASSES + 1);
    }
}
