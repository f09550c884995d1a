use super::*;
use crate::step_time::{Linear, StepTime};

/// 10 ms a step and 1 ms a prefill token.
fn config() -> EngineConfig {
    EngineConfig {
        max_num_batched_tokens: 8,
        max_num_seqs: 4,
        max_model_len: 24,
        block_size: 4,
        num_gpu_blocks: 7,
        long_prefill_token_threshold: None,
        reserve_full_prompt: false,
        prefix_caching: false,
        max_num_queued_reqs: None,
        step_time: StepTime::Linear(Linear {
            alpha_s: 0.01,
            beta_s: 0.0,
            gamma_s: 0.01,
            delta_s: 0.001,
        }),
    }
}

fn request(id: RequestId, prompt_tokens: u32, output: u32) -> RequestSpec {
    RequestSpec {
        id,
        prompt_tokens,
        natural_tokens: u32::MAX,
        max_output_tokens: output,
        arrived: Instant::ZERO,
        prefix: Vec::new(),
    }
}

/// Runs one step from `now` and gives its events and its end.
fn step(engine: &mut Engine, now: Instant) -> (Vec<Event>, Instant) {
    let step = engine.schedule(now).expect("something to do");
    let end = now + step.duration;
    let mut events = Vec::new();
    engine.complete(step, end, &mut events);
    (events, end)
}

const A: RequestId = 1;
const B: RequestId = 2;
const C: RequestId = 3;

#[test]
fn the_published_trace_is_followed_step_by_step() {
    type Row<'a> = (
        &'a [(RequestId, u32)],
        &'a [RequestId],
        &'a [RequestId],
        (u32, u32),
        u32,
    );
    let trace: &[Row] = &[
        (&[(A, 6), (B, 2)], &[], &[A], (2, 1), 3),
        (&[(A, 1), (B, 7)], &[], &[A, B], (2, 1), 5),
        (&[(A, 1), (B, 1), (C, 3)], &[], &[A, B, C], (3, 0), 6),
        (&[(A, 1), (B, 1)], &[C], &[A, B], (2, 1), 6),
        (&[(A, 1), (B, 1)], &[], &[A, B], (1, 1), 3),
        (&[(A, 1), (C, 4)], &[], &[A, C], (1, 0), 1),
        (&[(C, 1)], &[], &[C], (0, 0), 0),
    ];
    for reserve_full_prompt in [false, true] {
        let mut engine = Engine::new(EngineConfig {
            reserve_full_prompt,
            ..config()
        })
        .unwrap();
        for spec in [request(A, 6, 6), request(B, 9, 4), request(C, 3, 3)] {
            engine.add(spec, Instant::ZERO).unwrap();
        }
        let mut now = Instant::ZERO;
        for (i, &(tokens, preempted, emitted, (running, waiting), blocks)) in trace.iter().enumerate() {
            let step = engine.schedule(now).unwrap();
            assert_eq!(step.scheduled().collect::<Vec<_>>(), tokens, "tokens of step {}", i + 1);
            assert_eq!(step.preempted, preempted, "preempted in step {}", i + 1);
            now += step.duration;
            let mut events = Vec::new();
            engine.complete(step, now, &mut events);
            let spoke: Vec<_> = events
                .iter()
                .filter_map(|event| match event {
                    Event::Token { id, .. } => Some(*id),
                    _ => None,
                })
                .collect();
            assert_eq!(spoke, emitted, "emitted by step {}", i + 1);
            let gauges = engine.gauges();
            assert_eq!(
                (gauges.running, gauges.waiting),
                (running, waiting),
                "after step {}",
                i + 1
            );
            assert_eq!(gauges.kv_blocks_used, blocks, "blocks after step {}", i + 1);
        }
        assert!(engine.schedule(now).is_none());
        assert_eq!(engine.counters().preemptions, 1);
    }
}

#[test]
fn with_ample_blocks_the_trace_ends_a_step_earlier() {
    let mut engine = Engine::new(EngineConfig {
        num_gpu_blocks: 100,
        ..config()
    })
    .unwrap();
    for spec in [request(A, 6, 6), request(B, 9, 4), request(C, 3, 3)] {
        engine.add(spec, Instant::ZERO).unwrap();
    }
    let mut now = Instant::ZERO;
    while engine.alive() > 0 {
        now = step(&mut engine, now).1;
    }
    assert_eq!((engine.counters().steps, engine.counters().preemptions), (6, 0));
}

#[test]
fn three_requests_on_two_seats_leave_one_waiting() {
    let mut engine = Engine::new(EngineConfig {
        max_num_seqs: 2,
        max_num_batched_tokens: 64,
        num_gpu_blocks: 99,
        ..config()
    })
    .unwrap();
    (1..=3).for_each(|id| engine.add(request(id, 4, 9), Instant::ZERO).unwrap());
    let _ = step(&mut engine, Instant::ZERO);
    assert_eq!((engine.gauges().running, engine.gauges().waiting), (2, 1));
    assert!(engine.abort(1, Instant::ZERO).is_some());
    let _ = step(&mut engine, Instant::ZERO);
    assert_eq!(
        (engine.gauges().running, engine.gauges().waiting),
        (2, 0),
        "the seat is free at once"
    );
    assert!(engine.abort(1, Instant::ZERO).is_none());
}

#[test]
fn times_are_measured_as_defined() {
    let mut engine = Engine::new(EngineConfig {
        max_num_seqs: 1,
        num_gpu_blocks: 99,
        ..config()
    })
    .unwrap();
    engine.add(request(A, 8, 1), Instant::ZERO).unwrap();
    engine
        .add(
            RequestSpec {
                arrived: Instant::from_millis(1),
                ..request(B, 4, 3)
            },
            Instant::from_millis(3),
        )
        .unwrap();
    let (_, now) = step(&mut engine, Instant::from_millis(5));
    assert_eq!(now, Instant::from_millis(23));
    let (events, now) = step(&mut engine, now);
    assert_eq!(
        events,
        [Event::Token {
            id: B,
            index: 1,
            gap: Duration::from_millis(36)
        }]
    );
    let (_, now) = step(&mut engine, now);
    let (events, _) = step(&mut engine, now);
    let Event::Finished { id: B, summary } = events[1] else {
        panic!("{events:?}")
    };
    assert_eq!(
        summary,
        Summary {
            reason: FinishReason::Length,
            prompt_tokens: 4,
            cached_tokens: 0,
            output_tokens: 3,
            preemptions: 0,
            e2e: Duration::from_millis(56),
            queue: Some(Duration::from_millis(20)),
            prefill: Some(Duration::from_millis(14)),
            decode: Some(Duration::from_millis(20)),
            inference: Some(Duration::from_millis(34)),
        }
    );
}

#[test]
fn a_known_prompt_is_computed_only_from_where_it_differs() {
    let config = EngineConfig {
        prefix_caching: true,
        num_gpu_blocks: 99,
        max_num_batched_tokens: 64,
        ..config()
    };
    let mut engine = Engine::new(config).unwrap();
    let prefix = vec![11, 12, 13];
    engine
        .add(
            RequestSpec {
                prefix: prefix.clone(),
                ..request(A, 12, 1)
            },
            Instant::ZERO,
        )
        .unwrap();
    let (_, now) = step(&mut engine, Instant::ZERO);
    assert_eq!(
        engine.gauges().kv_blocks_used,
        0,
        "cached blocks nobody holds count as free"
    );
    engine
        .add(
            RequestSpec {
                prefix,
                ..request(B, 12, 1)
            },
            now,
        )
        .unwrap();
    let step = engine.schedule(now).unwrap();
    assert_eq!(step.work.tokens, 4, "a full hit still computes the last block");
    let mut events = Vec::new();
    engine.complete(step, now, &mut events);
    let counters = engine.counters();
    assert_eq!((counters.prefix_queries, counters.prefix_hits), (24, 8));
    assert_eq!((counters.prompt_tokens, counters.cached_prompt_tokens), (24, 8));
}

#[test]
fn a_long_prompt_is_cut_so_that_others_get_their_turn() {
    let config = EngineConfig {
        long_prefill_token_threshold: Some(3),
        num_gpu_blocks: 99,
        ..config()
    };
    let mut engine = Engine::new(config).unwrap();
    engine.add(request(A, 20, 1), Instant::ZERO).unwrap();
    engine.add(request(B, 2, 1), Instant::ZERO).unwrap();
    let step = engine.schedule(Instant::ZERO).unwrap();
    assert_eq!(step.scheduled().collect::<Vec<_>>(), [(A, 3), (B, 2)]);
}

#[test]
fn an_abort_in_the_middle_of_a_step_is_passed_over() {
    let mut engine = Engine::new(config()).unwrap();
    engine.add(request(A, 4, 3), Instant::ZERO).unwrap();
    let step = engine.schedule(Instant::ZERO).unwrap();
    assert!(engine.schedule(Instant::ZERO).is_none(), "one step at a time");
    engine.abort(A, Instant::ZERO).unwrap();
    // Its place is taken by another request before the step ends.
    engine.add(request(B, 4, 3), Instant::ZERO).unwrap();
    let mut events = Vec::new();
    engine.complete(step, Instant::from_millis(9), &mut events);
    assert_eq!(events, []);
    assert_eq!(engine.gauges().kv_blocks_used, 0);
}

#[test]
fn requests_that_can_never_be_served_are_refused() {
    let mut engine = Engine::new(EngineConfig {
        max_num_queued_reqs: Some(2),
        ..config()
    })
    .unwrap();
    let now = Instant::ZERO;
    assert_eq!(engine.add(request(A, 0, 1), now), Err(AddError::EmptyPrompt));
    assert_eq!(engine.add(request(A, 1, 0), now), Err(AddError::NoOutput));
    assert_eq!(
        engine.add(request(A, 24, 1), now),
        Err(AddError::TooLong {
            prompt_tokens: 24,
            max_model_len: 24
        })
    );
    engine.add(request(A, 1, 1), now).unwrap();
    assert_eq!(engine.add(request(A, 1, 1), now), Err(AddError::Duplicate { id: A }));
    engine.add(request(B, 1, 1), now).unwrap();
    assert_eq!(engine.add(request(C, 1, 1), now), Err(AddError::QueueFull { limit: 2 }));
}

#[test]
fn impossible_configurations_name_the_setting() {
    for (config, part) in [
        (
            EngineConfig {
                max_num_seqs: 0,
                ..config()
            },
            "max_num_seqs",
        ),
        (
            EngineConfig {
                block_size: 0,
                ..config()
            },
            "block_size",
        ),
        (
            EngineConfig {
                max_model_len: 25,
                ..config()
            },
            "at most 24",
        ),
        (
            EngineConfig {
                long_prefill_token_threshold: Some(0),
                ..config()
            },
            "long_prefill_token_threshold",
        ),
        (
            EngineConfig {
                step_time: StepTime::Linear(Linear {
                    alpha_s: -1.0,
                    beta_s: 0.0,
                    gamma_s: 0.0,
                    delta_s: 0.0,
                }),
                ..config()
            },
            "alpha",
        ),
    ] {
        let error = Engine::new(config).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_sleeping_engine_keeps_requests_and_computes_them_anew() {
    let mut engine = Engine::new(config()).unwrap();
    engine.add(request(A, 4, 3), Instant::ZERO).unwrap();
    engine.add(request(B, 2, 3), Instant::ZERO).unwrap();
    let (_, now) = step(&mut engine, Instant::ZERO);
    engine.sleep(SleepLevel::WeightsOffloaded);
    assert_eq!((engine.gauges().waiting, engine.gauges().kv_blocks_used), (2, 0));
    assert!(engine.schedule(now).is_none());
    assert!(
        !engine.wake(WakeTags {
            weights: true,
            kv_cache: false
        }),
        "the KV cache is still missing"
    );
    assert!(engine.schedule(now).is_none());
    assert!(engine.wake(WakeTags {
        weights: false,
        kv_cache: true
    }));
    let step = engine.schedule(now).unwrap();
    assert_eq!(
        step.scheduled().collect::<Vec<_>>(),
        [(A, 5), (B, 3)],
        "in their order, what was said included"
    );
}

#[test]
fn a_pause_keeps_the_kv_cache() {
    let mut engine = Engine::new(config()).unwrap();
    engine.add(request(A, 4, 3), Instant::ZERO).unwrap();
    let (_, now) = step(&mut engine, Instant::ZERO);
    engine.sleep(SleepLevel::Paused);
    assert!(engine.schedule(now).is_none());
    assert_eq!(engine.gauges().resident.asleep, Some(SleepLevel::Paused));
    assert!(engine.wake(WakeTags::ALL));
    assert_eq!(engine.schedule(now).unwrap().work.tokens, 1);
}

#[test]
fn a_draining_engine_finishes_what_began_and_begins_nothing() {
    let mut engine = Engine::new(EngineConfig {
        max_num_seqs: 1,
        ..config()
    })
    .unwrap();
    engine.add(request(A, 4, 2), Instant::ZERO).unwrap();
    engine.add(request(B, 4, 2), Instant::ZERO).unwrap();
    let (_, now) = step(&mut engine, Instant::ZERO);
    engine.admit_new(false);
    assert!(!engine.drained());
    let (_, now) = step(&mut engine, now);
    assert!(engine.drained() && engine.schedule(now).is_none());
    engine.admit_new(true);
    assert!(engine.schedule(now).is_some());
}
