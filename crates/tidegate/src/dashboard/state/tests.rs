use super::*;
use std::collections::BTreeMap;
use wire::signals::PoolSignals;

const T0: u64 = 1_700_000_000_000;

fn replica(pod: &str, kv: Reading) -> Replica {
    let nothing = || Reading::Missing {
        since_unix_ms: None,
        why: "not scraped yet".to_owned(),
    };
    Replica {
        pod: pod.to_owned(),
        state: ReplicaState::Serving,
        reason: None,
        started_unix_ms: Some(T0 - 60_000),
        ready_unix_ms: Some(T0 - 51_000),
        running: nothing(),
        waiting: nothing(),
        kv,
        restarts: 0,
    }
}

fn input(replicas: Vec<Replica>) -> Input {
    let endpoint = EndpointSignals {
        pod: "default/l4-abcde".to_owned(),
        in_flight: 5,
        slots: 16,
        ..Default::default()
    };
    let pool = PoolSignals {
        models: vec!["llama".to_owned()],
        endpoints: BTreeMap::from([("127.0.1.1:8000".to_owned(), endpoint)]),
        ..PoolSignals::default()
    };
    let pools = BTreeMap::from([("default/llama".to_owned(), pool)]);
    Input {
        version: "0.1.0".to_owned(),
        addresses: Vec::new(),
        gateway: Ok(Arc::new(GatewaySignals {
            started_unix_ms: 1,
            at_unix_ms: T0,
            pools,
            ..GatewaySignals::default()
        })),
        slos: vec![Slo {
            model: "llama".to_owned(),
            ttft_ms: Some(500.0),
            itl_ms: None,
        }],
        variants: vec![Variant {
            name: "l4".to_owned(),
            model: "llama".to_owned(),
            accelerator: "2 x L4".to_owned(),
            cost_per_hour: Some(0.8),
            min: 1,
            max: 4,
            current: Some(1),
            ready: Some(1),
            desired: Some(1),
            reason: "CoversDemand".to_owned(),
            sentence: "It covers the demand.".to_owned(),
            waits_for: vec!["up: more than 8 slots expected".to_owned()],
            replicas,
        }],
        decisions: Vec::new(),
    }
}

fn shown(input: &Input, now: u64) -> State {
    let mut history = History::default();
    history.observe(input, now);
    state(&history, input, now)
}

#[test]
fn slots_come_from_the_gateways_own_ledger() {
    let told = Reading::Seen {
        value: 0.5,
        at_unix_ms: T0,
    };
    let state = shown(
        &input(vec![replica("l4-abcde", told.clone()), replica("l4-other", told)]),
        T0,
    );
    let slots: Vec<_> = state.variants[0]
        .replicas
        .iter()
        .map(|r| (r.in_flight, r.slots))
        .collect();
    assert_eq!(
        slots,
        [(Some(5), Some(16)), (None, None)],
        "a replica the gateway does not know has no zero"
    );
}

#[test]
fn missing_stale_and_absurd_numbers_have_no_value_but_a_reason() {
    for (case, reading) in [
        (
            "missing",
            Reading::Missing {
                since_unix_ms: Some(T0 - 9_000),
                why: "timed out".to_owned(),
            },
        ),
        (
            "stale",
            Reading::Seen {
                value: 0.5,
                at_unix_ms: T0 - 40_000,
            },
        ),
        (
            "absurd",
            Reading::Seen {
                value: f64::NAN,
                at_unix_ms: T0,
            },
        ),
    ] {
        let state = shown(&input(vec![replica("l4-abcde", reading)]), T0);
        let kv = &state.variants[0].replicas[0].kv;
        assert_eq!(kv.v, None, "{case}");
        assert!(kv.why.is_some() && kv.at.is_some(), "{case}");
    }
}

#[test]
fn a_silent_gateway_is_said_and_none_of_its_numbers_are_shown() {
    let state = shown(
        &input(vec![replica(
            "l4-abcde",
            Reading::Seen {
                value: 0.5,
                at_unix_ms: T0,
            },
        )]),
        T0 + 12_000,
    );
    assert_eq!(state.sentence(), "Unknown. The gateway has told nothing for 12 s.");
    assert_eq!(state.models[0].queued, None);
    assert_eq!(state.variants[0].replicas[0].slots, None);
    let unreached = Input {
        gateway: Err("the gateway refused the connection".to_owned()),
        ..input(Vec::new())
    };
    assert_eq!(
        shown(&unreached, T0).sentence(),
        "Unknown. The gateway refused the connection."
    );
}

#[test]
fn a_reader_is_sent_decisions_again_only_when_they_changed() {
    let mut input = input(Vec::new());
    let decision = |at_unix_ms, to| {
        Arc::new(Decision {
            at_unix_ms,
            model: "llama".to_owned(),
            variant: Some("l4".to_owned()),
            from: 1,
            to,
            sentence: "queue 22 waits 1.4 s".to_owned(),
            otherwise: None,
            explanation: serde_json::json!({"queue": 22}),
        })
    };
    input.decisions = vec![decision(T0 - 5_000, 3), decision(T0, 4)];
    let (message, read) = {
        let state = shown(&input, T0);
        let (message, read) = state.message(Read::default());
        (serde_json::to_value(&message).unwrap(), read)
    };
    assert_eq!(message["decisions"][0]["to"], 4, "newest first");
    assert_eq!(message["points"].as_array().unwrap().len(), 1);
    let again = shown(&input, T0);
    assert!(
        serde_json::to_value(again.message(read).0)
            .unwrap()
            .get("decisions")
            .is_none()
    );
    assert_eq!(again.message(read).0.points.len(), 0);
    input.decisions.push(decision(T0 + 1_000, 5));
    assert!(shown(&input, T0 + 1_000).message(read).0.decisions.is_some());
}

#[test]
fn decisions_shown_are_bounded() {
    let mut input = input(Vec::new());
    let one = |at| Decision {
        at_unix_ms: at,
        model: "llama".to_owned(),
        variant: None,
        from: 1,
        to: 2,
        sentence: String::new(),
        otherwise: None,
        explanation: serde_json::Value::Null,
    };
    input.decisions = (0..500).map(|i| Arc::new(one(T0 + i))).collect();
    let state = shown(&input, T0);
    assert_eq!((state.decisions.len(), state.decisions[0].at), (DECISIONS, T0 + 499));
}
