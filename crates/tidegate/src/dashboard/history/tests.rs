use super::super::input::{Reading, Replica, ReplicaState, Variant};
use super::*;

const POOL: &str = "default/llama";
/// A plausible hour, so that differences never start at zero.
const T0: u64 = 1_700_000_000_000;

fn input(at: u64, arrived: u64) -> Input {
    let pool = PoolSignals {
        models: vec!["llama".to_owned()],
        arrived,
        ..PoolSignals::default()
    };
    with(GatewaySignals {
        started_unix_ms: 1,
        at_unix_ms: at,
        pools: BTreeMap::from([(POOL.to_owned(), pool)]),
        ..GatewaySignals::default()
    })
}

fn with(signals: GatewaySignals) -> Input {
    Input {
        version: String::new(),
        addresses: Vec::new(),
        gateway: Ok(Arc::new(signals)),
        slos: Vec::new(),
        variants: Vec::new(),
        decisions: Vec::new(),
    }
}

fn last(history: &History) -> &Point {
    history.points.back().unwrap()
}

#[test]
fn a_rate_is_the_difference_of_two_snapshots() {
    let mut history = History::default();
    for second in 0..=10 {
        history.observe(&input(T0 + second * 1_000, 500 + second * 30), T0 + second * 1_000);
    }
    assert_eq!(last(&history).pools[POOL].arrivals_per_s, Some(30.0));
}

#[test]
fn the_first_snapshot_has_no_rate() {
    let mut history = History::default();
    history.observe(&input(T0, 500), T0);
    assert_eq!(last(&history).pools[POOL].arrivals_per_s, None);
}

#[test]
fn a_restarted_gateway_has_no_rate_until_it_has_two_snapshots() {
    let mut history = History::default();
    history.observe(&input(T0, 500), T0);
    let mut restarted = input(T0 + 1_000, 3);
    restarted
        .gateway
        .as_mut()
        .map(|signals| Arc::make_mut(signals).started_unix_ms = 2)
        .unwrap();
    history.observe(&restarted, T0 + 1_000);
    assert_eq!(last(&history).pools[POOL].arrivals_per_s, None);
}

#[test]
fn a_silent_gateway_leaves_a_gap_and_never_a_zero() {
    for silent in [
        input(T0, 500),
        Input {
            gateway: Err("refused".to_owned()),
            ..input(T0, 0)
        },
    ] {
        let mut history = History::default();
        history.observe(&input(T0, 500), T0);
        history.observe(&silent, T0 + 9_000);
        assert!(last(&history).pools.is_empty());
    }
}

#[test]
fn quantiles_are_of_the_last_seconds_only() {
    let mut history = History::default();
    let mut signals = GatewaySignals {
        started_unix_ms: 1,
        ..GatewaySignals::default()
    };
    signals.pools.insert(POOL.to_owned(), PoolSignals::default());
    for second in 0..60 {
        let ms = if second < 30 { 5_000.0 } else { 50.0 };
        signals.at_unix_ms = T0 + second * 1_000;
        signals.pools.get_mut(POOL).unwrap().ttft_ms.record(ms);
        history.observe(&with(signals.clone()), signals.at_unix_ms);
    }
    let p99: Vec<f64> = history
        .points
        .iter()
        .filter_map(|point| point.pools[POOL].ttft_p99_ms)
        .collect();
    assert!(p99[20] >= 5_000.0);
    assert!(
        p99.last().unwrap() < &60.0,
        "an old wait must leave the window: {p99:?}"
    );
}

#[test]
fn five_minutes_are_kept_however_long_it_runs_and_however_often_it_looks() {
    let mut history = History::default();
    for tenth in 0..8_000 {
        history.observe(&input(T0 + tenth * 100, tenth), T0 + tenth * 100);
    }
    assert_eq!(history.points.len(), POINTS);
    assert!(history.marks.len() <= 30, "{} snapshots", history.marks.len());
    let (first, last) = (history.points.front().unwrap(), last(&history));
    assert!((298_000..=340_000).contains(&(last.t - first.t)));
}

#[test]
fn a_reader_gets_only_points_it_has_not_seen() {
    let mut history = History::default();
    for second in 0..5 {
        history.observe(&input(T0 + second * 1_000, 0), T0 + second * 1_000);
    }
    assert_eq!(
        history.points_after(3).map(|point| point.seq).collect::<Vec<_>>(),
        [4, 5]
    );
}

#[test]
fn the_time_a_start_takes_is_learned_from_earlier_ones() {
    let replica = |pod: &str, state, started| Replica {
        pod: pod.to_owned(),
        state,
        reason: None,
        started_unix_ms: Some(started),
        ready_unix_ms: None,
        running: Reading::Missing {
            since_unix_ms: None,
            why: String::new(),
        },
        waiting: Reading::Missing {
            since_unix_ms: None,
            why: String::new(),
        },
        kv: Reading::Missing {
            since_unix_ms: None,
            why: String::new(),
        },
        restarts: 0,
    };
    let fleet = |replicas| Variant {
        name: "l4".to_owned(),
        model: "llama".to_owned(),
        accelerator: "L4".to_owned(),
        cost_per_hour: None,
        min: 0,
        max: 4,
        current: None,
        ready: None,
        desired: None,
        reason: String::new(),
        sentence: String::new(),
        waits_for: Vec::new(),
        replicas,
    };
    let at = |now, replicas| Input {
        variants: vec![fleet(replicas)],
        ..input(now, 0)
    };
    let mut history = History::default();
    history.observe(&at(T0, vec![replica("old", ReplicaState::Serving, T0 - 99_000)]), T0);
    assert_eq!(
        history.starts.usual_ms("l4"),
        None,
        "nobody saw when the old one became ready"
    );
    for (i, took) in [9_000, 7_000, 30_000].into_iter().enumerate() {
        let (pod, began) = (format!("pod-{i}"), T0 + i as u64 * 60_000);
        history.observe(&at(began, vec![replica(&pod, ReplicaState::Starting, began)]), began);
        history.observe(
            &at(began + took, vec![replica(&pod, ReplicaState::Serving, began)]),
            began + took,
        );
    }
    assert_eq!(
        history.starts.usual_ms("l4"),
        Some(9_000),
        "one slow start does not move the median"
    );
}
