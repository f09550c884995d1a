use super::*;

/// One replica that serves 0.80 $/h worth of a model with a promise of 500 ms.
fn calm() -> Facts {
    Facts {
        model: "llama".to_owned(),
        in_flight: 4,
        ttft_p99_ms: Some(61.0),
        itl_p99_ms: Some(21.0),
        ttft_slo_ms: Some(500.0),
        itl_slo_ms: Some(50.0),
        span_ms: Some(10_000),
        arrived: 40,
        ended: 40,
        ever_arrived: true,
        quiet_ms: Some(0),
        fleet: one(),
        ..Facts::default()
    }
}

fn one() -> Fleet {
    Fleet {
        variants: 1,
        serving: 1,
        max: 4,
        desired: Some(1),
        cost_per_hour: Some(0.8),
        ..Fleet::default()
    }
}

fn none() -> Fleet {
    Fleet {
        serving: 0,
        desired: Some(0),
        cost_per_hour: Some(0.0),
        ..one()
    }
}

fn quiet() -> Facts {
    Facts {
        in_flight: 0,
        arrived: 0,
        ended: 0,
        ttft_p99_ms: None,
        itl_p99_ms: None,
        ..calm()
    }
}

fn waiting(queued: u64, oldest_wait_ms: u64, fleet: Fleet) -> Facts {
    Facts {
        queued,
        oldest_wait_ms: Some(oldest_wait_ms),
        fleet,
        ..calm()
    }
}

fn said(facts: Facts) -> String {
    let all = facts.fleet.clone();
    let headline = headline(&[facts], &all);
    format!("{}. {}", headline.word, headline.text)
}

#[test]
fn the_sentence_says_what_is_known_and_no_more() {
    let starting = |n, first_in_ms| Fleet {
        starting: n,
        desired: Some(1 + n),
        first_in_ms,
        ..one()
    };
    for (case, facts, sentence) in [
        (
            "the promise is kept",
            calm(),
            "Holding. TTFT p99 61 ms of 500 ms; 1 replica, 0.80 $/h.",
        ),
        (
            "a cost that is not known is not said",
            Facts {
                fleet: Fleet {
                    cost_per_hour: None,
                    ..one()
                },
                ..calm()
            },
            "Holding. TTFT p99 61 ms of 500 ms; 1 replica.",
        ),
        (
            "without a promise nothing is held",
            Facts {
                ttft_slo_ms: None,
                itl_slo_ms: None,
                ..calm()
            },
            "Serving. TTFT p99 61 ms, no SLO set; 1 replica, 0.80 $/h.",
        ),
        (
            "without a measurement nothing is held",
            Facts {
                ttft_p99_ms: None,
                itl_p99_ms: None,
                ..calm()
            },
            "Serving. 4 requests in flight, no first token in the last 10 s; 1 replica, 0.80 $/h.",
        ),
        (
            "the queue waits and help is under way",
            waiting(22, 1_400, starting(2, Some(6_000))),
            "Behind. 22 requests wait 1.4 s; 2 replicas are starting, first in 6 s.",
        ),
        (
            "a start nobody has timed has no countdown",
            waiting(22, 1_400, starting(1, None)),
            "Behind. 22 requests wait 1.4 s; 1 replica is starting.",
        ),
        (
            "a start that takes longer than usual says so",
            waiting(22, 1_400, starting(1, Some(-4_000))),
            "Behind. 22 requests wait 1.4 s; 1 replica is starting, 4.0 s later than usual.",
        ),
        (
            "nothing more is allowed",
            waiting(
                9,
                900,
                Fleet {
                    serving: 4,
                    desired: Some(4),
                    ..one()
                },
            ),
            "Behind. 9 requests wait 900 ms; 4 replicas serve, the most allowed.",
        ),
        (
            "no node has room",
            waiting(
                9,
                900,
                Fleet {
                    pending: 1,
                    pending_because: Some("no free L4.".to_owned()),
                    ..one()
                },
            ),
            "Behind. 9 requests wait 900 ms; 1 replica waits for a place (no free L4).",
        ),
        (
            "a wait within the promise is not behind",
            waiting(9, 300, one()),
            "Holding. TTFT p99 61 ms of 500 ms; 1 replica, 0.80 $/h.",
        ),
        (
            "the gap between tokens is promised too",
            Facts {
                itl_p99_ms: Some(72.0),
                ..calm()
            },
            "Behind. ITL p99 72 ms of 50 ms; 1 replica serves.",
        ),
        (
            "requests are turned away",
            Facts {
                turned_away: 3,
                ..calm()
            },
            "Behind. 3 requests turned away in the last 10 s; 1 replica serves.",
        ),
        (
            "the backlog of a step is being worked off",
            Facts {
                queue_growth: Some(-12),
                ..waiting(30, 2_000, one())
            },
            "Behind. 30 requests wait 2.0 s; the queue shrinks; 1 replica serves.",
        ),
        (
            "nobody asks",
            Facts {
                quiet_ms: Some(240_000),
                ..quiet()
            },
            "Idle. No request for 4 min; 1 replica, 0.80 $/h.",
        ),
        (
            "nobody ever asked",
            Facts {
                quiet_ms: None,
                ever_arrived: false,
                ..quiet()
            },
            "Idle. No request yet; 1 replica, 0.80 $/h.",
        ),
        (
            "the page began after the last request",
            Facts {
                quiet_ms: None,
                ..quiet()
            },
            "Idle. Nothing waits and nothing runs; 1 replica, 0.80 $/h.",
        ),
        (
            "zero replicas",
            Facts {
                fleet: none(),
                ..quiet()
            },
            "Asleep. No replica runs; the next request wakes one.",
        ),
        (
            "the last replica is on its way out",
            Facts {
                fleet: Fleet { draining: 1, ..none() },
                ..quiet()
            },
            "Asleep. 1 draining, none is wanted; the next request wakes one.",
        ),
        (
            "a request wakes the model",
            waiting(
                1,
                800,
                Fleet {
                    starting: 1,
                    desired: Some(1),
                    first_in_ms: Some(5_200),
                    ..none()
                },
            ),
            "Starting. 1 request waits 800 ms; 1 replica is starting, ready in 5 s.",
        ),
        (
            "a request waits and nothing is decided yet",
            waiting(1, 1_200, none()),
            "Behind. 1 request waits 1.2 s; no replica is wanted yet.",
        ),
        (
            "no replica is left",
            waiting(
                12,
                3_000,
                Fleet {
                    failed: 2,
                    failure: Some("CrashLoopBackOff".to_owned()),
                    ..none()
                },
            ),
            "Broken. No replica serves, 2 replicas failed (CrashLoopBackOff); 12 requests wait 3.0 s.",
        ),
        (
            "a model server drops requests",
            Facts { broken: 4, ..calm() },
            "Broken. 4 of 40 requests failed at a model server in the last 10 s; 1 replica serves.",
        ),
        (
            "one replica of two failed, the promise is kept",
            Facts {
                fleet: Fleet { failed: 1, ..one() },
                ..calm()
            },
            "Holding. TTFT p99 61 ms of 500 ms; 1 replica, 0.80 $/h; 1 failed.",
        ),
    ] {
        assert_eq!(said(facts), sentence, "{case}");
    }
}

#[test]
fn the_fleet_is_as_well_as_its_worst_model() {
    let behind = Facts {
        model: "qwen".to_owned(),
        ..waiting(22, 1_400, one())
    };
    let all = Fleet { serving: 2, ..one() };
    let headline = headline(&[calm(), behind], &all);
    assert_eq!(headline.level, Level::Behind);
    assert_eq!(headline.text, "qwen: 22 requests wait 1.4 s; 1 replica serves.");
}

#[test]
fn among_models_that_hold_the_closest_to_its_promise_speaks() {
    let close = Facts {
        model: "qwen".to_owned(),
        ttft_p99_ms: Some(480.0),
        ..calm()
    };
    let headline = headline(
        &[close, calm()],
        &Fleet {
            serving: 2,
            cost_per_hour: Some(1.6),
            ..one()
        },
    );
    assert_eq!(headline.text, "qwen: TTFT p99 480 ms of 500 ms; 2 replicas, 1.60 $/h.");
}

#[test]
fn without_any_pool_nothing_is_claimed() {
    assert_eq!(headline(&[], &Fleet::default()).level, Level::Empty);
    assert_eq!(headline(&[], &one()).level, Level::Unknown);
}
