use super::*;
use proptest::prelude::*;

const WINDOW: Duration = Duration::from_secs(60);

fn now() -> Instant {
    Instant::from_secs(1000)
}

/// An analyzer that wants so many replicas instead of `current`.
fn wants(analyzer: &str, current: u32, replicas: f64, score: f64) -> Opinion {
    let more = (replicas - f64::from(current)) * 10.0;
    Opinion {
        analyzer: analyzer.to_owned(),
        score,
        floor: analyzer == "saturation",
        at: now(),
        says: Says::Capacity {
            required: more.max(0.0),
            spare: (-more).max(0.0),
            per_replica: 10.0,
        },
    }
}

fn unknown(opinion: Opinion) -> Opinion {
    Opinion {
        says: Says::Unknown {
            why: "no fit yet".to_owned(),
        },
        ..opinion
    }
}

#[test]
fn votes_are_added_up() {
    use Direction::{Down, Hold, Unknown, Up};
    let cases: [(&str, u32, Vec<Opinion>, u32, Direction); 13] = [
        (
            "10 with 1 and 5 with 2 are 8.33",
            4,
            vec![wants("a", 4, 10.0, 1.0), wants("b", 4, 5.0, 2.0)],
            9,
            Up,
        ),
        (
            "equal scores do not pull",
            4,
            vec![wants("a", 4, 10.0, 1.0), wants("b", 4, 5.0, 1.0)],
            10,
            Up,
        ),
        (
            "nor do lower ones",
            4,
            vec![wants("a", 4, 10.0, 2.0), wants("b", 4, 5.0, 1.0)],
            10,
            Up,
        ),
        (
            "any may ask, at least one comes",
            8,
            vec![wants("a", 8, 10.0, 1.0), wants("b", 8, 2.0, 9.0)],
            9,
            Up,
        ),
        (
            "the floor is not pulled",
            4,
            vec![wants("saturation", 4, 10.0, 1.0), wants("b", 4, 5.0, 2.0)],
            10,
            Up,
        ),
        ("one alone", 4, vec![wants("a", 4, 4.2, 1.0)], 5, Up),
        (
            "all agree on less, the least of it",
            9,
            vec![wants("a", 9, 5.0, 1.0), wants("b", 9, 7.0, 9.0)],
            7,
            Down,
        ),
        (
            "one does not agree",
            9,
            vec![wants("a", 9, 5.0, 9.0), wants("b", 9, 9.0, 1.0)],
            9,
            Hold,
        ),
        ("half a replica does not go", 9, vec![wants("a", 9, 8.5, 1.0)], 9, Hold),
        (
            "who does not know has no vote",
            9,
            vec![wants("a", 9, 5.0, 1.0), unknown(wants("b", 9, 9.0, 9.0))],
            5,
            Down,
        ),
        (
            "but without the floor nothing goes",
            9,
            vec![wants("a", 9, 5.0, 1.0), unknown(wants("saturation", 9, 9.0, 9.0))],
            9,
            Hold,
        ),
        ("nobody knows", 3, vec![unknown(wants("a", 3, 5.0, 1.0))], 3, Unknown),
        (
            "a score of nothing still counts a little",
            4,
            vec![wants("a", 4, 6.0, 0.0)],
            6,
            Up,
        ),
    ];
    for (what, current, opinions, replicas, direction) in cases {
        let got = tally(current, &opinions, WINDOW, now());
        assert_eq!(
            (got.replicas, got.direction),
            (replicas, direction),
            "{what}: {}",
            got.said
        );
    }
}

#[test]
fn old_data_have_no_vote() {
    let mut old = wants("a", 4, 10.0, 1.0);
    old.at = Instant::from_secs(900);
    let got = tally(4, &[old.clone(), wants("b", 4, 4.0, 1.0)], WINDOW, now());
    assert_eq!((got.replicas, got.direction), (4, Direction::Hold));
    assert_eq!(got.votes[0].said, "a has no vote: its data are 100 s old");
    assert_eq!(tally(4, &[old], WINDOW, now()).direction, Direction::Unknown);
}

/// From what replicas say to who gets which GPU.
#[test]
fn analyzers_vote_the_optimizer_spreads_and_the_limiter_grants() {
    use crate::optimize::inventory::{Inventory, Stock};
    use crate::optimize::{gpus, variants};
    use crate::saturation::{Mode, percent, tokens};

    // Two replicas of 80 000 tokens each, with 150 000 in use.
    let replica = |name: &str| tokens::TokenReplica {
        name: name.to_owned(),
        cache: Some(100_000.0),
        in_use: Some(75_000.0),
        waiting: Some(0.0),
        input: Some(500.0),
        output: Some(100.0),
    };
    let view = tokens::TokenView {
        model: "m".to_owned(),
        namespace: "ns".to_owned(),
        variants: vec![tokens::TokenVariant {
            name: "v".to_owned(),
            accelerator: Some("G".to_owned()),
            gpus: 2,
            cost: 10.0,
            ready: 2,
            pending: 0,
            engine: None,
            replicas: vec![replica("v-0"), replica("v-1")],
        }],
        queue: tokens::FrontQueue::Absent,
    };
    let mut memory = tokens::TokenMemory::default();
    let by_tokens = tokens::analyze(
        &tokens::TokenPolicy::default(),
        Mode::Guarded,
        &view,
        &mut memory,
        now(),
    );
    let shares: Vec<percent::Replica> = (0..2)
        .map(|_| percent::Replica {
            variant: "v".to_owned(),
            kv: Some(0.75),
            waiting: Some(0.0),
        })
        .collect();
    let by_percent = percent::analyze(&percent::Thresholds::default(), Mode::Guarded, &shares, 2);

    let opinion = |analyzer: &str, says| Opinion {
        says,
        ..wants(analyzer, 2, 2.0, 1.0)
    };
    let got = tally(
        2,
        &[
            opinion("saturation", Says::from(&by_percent)),
            opinion("tokens", Says::from(&by_tokens)),
        ],
        WINDOW,
        now(),
    );
    assert_eq!((got.replicas, got.direction), (3, Direction::Up), "{:?}", got.votes);

    let per_replica = by_tokens.variants[0].per_replica;
    let offer = variants::Offer {
        name: "v".to_owned(),
        cost: 10.0,
        per_replica,
        current: 2,
        min: 1,
        max: 10,
        step_up: None,
        step_down: None,
    };
    let fit = variants::fit(&[offer], f64::from(got.replicas - 2) * per_replica, 0.0);
    let claim = gpus::Claim {
        namespace: "ns".to_owned(),
        variant: "v".to_owned(),
        accelerator: Some("G".to_owned()),
        gpus_per_replica: 2,
        current: 2,
        target: fit.choices[0].replicas,
        min: 1,
        priority: 1,
        weight: 1.0,
        spare: 0.0,
        cost: 10.0,
    };
    let inventory = Inventory::Known([("G".to_owned(), Stock { limit: 8, used: 6 })].into());
    let grant = gpus::limit(
        &[claim],
        &inventory,
        &gpus::Quotas::default(),
        gpus::Fail::Closed,
        Mode::Guarded,
    );
    assert_eq!((grant[0].replicas, grant[0].why.as_str()), (3, "2 GPUs for 1 more"));
}

#[test]
fn an_analyzer_that_knows_nothing_says_so() {
    use crate::saturation::{Mode, percent, tokens};
    use crate::throughput;

    let nothing = percent::analyze(&percent::Thresholds::default(), Mode::Guarded, &[], 2);
    assert!(matches!(Says::from(&nothing), Says::Unknown { why } if why.contains("nothing is known")));
    let view = tokens::TokenView {
        model: "m".to_owned(),
        namespace: "ns".to_owned(),
        variants: Vec::new(),
        queue: tokens::FrontQueue::Absent,
    };
    let empty = tokens::analyze(
        &tokens::TokenPolicy::default(),
        Mode::Guarded,
        &view,
        &mut tokens::TokenMemory::default(),
        now(),
    );
    assert!(matches!(Says::from(&empty), Says::Unknown { .. }));
    let view = throughput::ThroughputView {
        namespace: "ns".to_owned(),
        model: "m".to_owned(),
        variants: Vec::new(),
        arrivals: None,
        waiting: None,
        input: None,
        output: None,
        hit_rate: None,
        itl_target_ms: None,
    };
    let empty = throughput::analyze(
        &throughput::ThroughputPolicy::default(),
        &view,
        &mut throughput::ThroughputMemory::default(),
        now(),
    );
    assert!(matches!(Says::from(&empty), Says::Unknown { why } if why.contains("not known")));
}

proptest! {
    #[test]
    fn up_if_any_down_if_all_and_never_below_the_floor(
        current in 0u32..50,
        votes in prop::collection::vec((0.0..80.0f64, prop_oneof![4 => 0.0..10.0f64, 1 => any::<f64>()], any::<bool>()), 0..6),
        odd in prop::option::of((any::<f64>(), any::<f64>(), any::<f64>())),
    ) {
        let mut opinions: Vec<Opinion> = votes.iter().enumerate().map(|(at, &(replicas, score, known))| {
            let name = if at == 0 { "saturation" } else { "other" };
            let opinion = wants(name, current, replicas, score);
            if known { opinion } else { unknown(opinion) }
        }).collect();
        if let Some((required, spare, per_replica)) = odd {
            opinions.push(Opinion { says: Says::Capacity { required, spare, per_replica }, ..wants("odd", current, 1.0, 1.0) });
        }
        let got = tally(current, &opinions, WINDOW, now());
        let cast: Vec<f64> = got.votes.iter().filter_map(|vote| vote.replicas).collect();
        let any_up = cast.iter().any(|vote| *vote > f64::from(current) + 1e-9);
        prop_assert_eq!(got.direction == Direction::Up, any_up, "{:?}", got);
        prop_assert_eq!(got.replicas > current, any_up);
        if got.replicas < current {
            prop_assert!(cast.iter().all(|vote| *vote <= f64::from(got.replicas) + 1e-6), "{got:?}");
        }
        if let Some(floor) = got.votes.first().filter(|vote| vote.analyzer == "saturation").and_then(|vote| vote.replicas) {
            prop_assert!(f64::from(got.replicas) >= floor - 1e-6, "{got:?}");
        }
    }
}
