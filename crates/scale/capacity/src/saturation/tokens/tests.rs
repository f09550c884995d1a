use super::*;
use proptest::prelude::*;

const MODES: [Mode; 2] = [Mode::AsPublished, Mode::Guarded];

fn replica(name: &str, in_use: f64, cache: f64, waiting: f64) -> TokenReplica {
    TokenReplica {
        name: name.to_owned(),
        cache: Some(cache),
        in_use: Some(in_use),
        waiting: Some(waiting),
        input: None,
        output: Some(50.0),
    }
}

fn variant(name: &str, replicas: Vec<TokenReplica>) -> TokenVariant {
    TokenVariant {
        name: name.to_owned(),
        accelerator: Some("A100".to_owned()),
        gpus: Some(1),
        cost: 5.0,
        ready: u32::try_from(replicas.len()).unwrap(),
        pending: 0,
        engine: None,
        replicas,
    }
}

fn view(variants: Vec<TokenVariant>) -> TokenView {
    TokenView {
        model: "m".to_owned(),
        namespace: "ns".to_owned(),
        variants,
        queue: FrontQueue::Absent,
    }
}

fn judge(mode: Mode, view: &TokenView, memory: &mut TokenMemory, second: u64) -> TokenAnalysis {
    analyze(&TokenPolicy::default(), mode, view, memory, Instant::from_secs(second))
}

fn once(mode: Mode, view: &TokenView) -> TokenAnalysis {
    judge(mode, view, &mut TokenMemory::default(), 0)
}

fn with_input(mut replica: TokenReplica, input: f64) -> TokenReplica {
    replica.input = Some(input);
    replica
}

#[test]
fn the_cache_bounds_what_a_replica_holds() {
    for mode in MODES {
        let seen = once(
            mode,
            &view(vec![variant("v", vec![replica("r", 5000.0, 16_000.0, 0.0)])]),
        );
        assert_eq!(
            (seen.variants[0].per_replica, seen.demand),
            (12_800.0, 5000.0),
            "{mode:?}"
        );
    }
}

#[test]
fn the_median_of_the_replicas_speaks_for_the_variant() {
    for (values, expected) in [
        (&[][..], 0.0),
        (&[42.0], 42.0),
        (&[1.0, 3.0, 5.0], 3.0),
        (&[1.0, 3.0, 5.0, 7.0], 4.0),
        (&[5.0, 1.0, 3.0], 3.0),
    ] {
        assert_eq!(median(values), expected);
    }
}

#[test]
fn several_variants_add_up() {
    let h = vec![
        with_input(replica("h0", 60_000.0, 100_000.0, 2.0), 1000.0),
        with_input(replica("h1", 70_000.0, 100_000.0, 0.0), 1000.0),
    ];
    let a = vec![with_input(replica("a0", 30_000.0, 50_000.0, 1.0), 1000.0)];
    for mode in MODES {
        let seen = once(mode, &view(vec![variant("h", h.clone()), variant("a", a.clone())]));
        assert_eq!(
            (seen.supply, seen.demand, seen.required, seen.spare),
            (200_000.0, 163_000.0, 0.0, 0.0),
            "{mode:?}"
        );
        assert!((seen.utilisation.unwrap() - 0.815).abs() < 1e-12);
    }
}

#[test]
fn what_waits_in_front_counts() {
    let mut seen = view(vec![variant(
        "v",
        vec![with_input(replica("r", 5000.0, 16_000.0, 0.0), 100.0)],
    )]);
    seen.queue = FrontQueue::Waiting {
        requests: 10.0,
        bytes: 4000.0,
        hit_rate: Some(0.5),
    };
    for mode in MODES {
        assert_eq!(once(mode, &seen).demand, 6000.0);
    }
    seen.queue = FrontQueue::Silent;
    assert!(once(Mode::AsPublished, &seen).spare > 0.0);
    assert_eq!(once(Mode::Guarded, &seen).spare, 0.0);
}

#[test]
fn a_limit_once_seen_is_remembered_and_ours_must_have_lasted() {
    let full = view(vec![variant("v", vec![replica("r", 8000.0, 16_000.0, 6.0)])]);
    let calm = view(vec![variant("v", vec![replica("r", 5000.0, 16_000.0, 1.0)])]);
    let mut theirs = TokenMemory::default();
    assert_eq!(
        judge(Mode::AsPublished, &full, &mut theirs, 0).variants[0].per_replica,
        8000.0
    );
    assert_eq!(
        judge(Mode::AsPublished, &calm, &mut theirs, 30).variants[0].per_replica,
        8000.0
    );

    // Ours: once seen is a burst, three times alike over 20 s is a limit.
    let mut ours = TokenMemory::default();
    for (second, expected) in [(0, 12_800.0), (10, 12_800.0), (20, 8000.0)] {
        let seen = judge(Mode::Guarded, &full, &mut ours, second);
        assert_eq!(seen.variants[0].per_replica, expected, "after {second} s");
    }
    assert_eq!(
        judge(Mode::Guarded, &calm, &mut ours, 50).variants[0].per_replica,
        8000.0
    );
    // Answers of another length make another batch, and so do two GPUs.
    let mut long = calm.clone();
    long.variants[0].replicas[0].output = Some(600.0);
    assert_eq!(
        judge(Mode::Guarded, &long, &mut ours, 60).variants[0].per_replica,
        12_800.0
    );
    let mut two = calm;
    two.variants[0].gpus = Some(2);
    assert_eq!(
        judge(Mode::Guarded, &two, &mut ours, 70).variants[0].per_replica,
        12_800.0
    );
    assert_eq!(
        judge(Mode::AsPublished, &two, &mut theirs, 70).variants[0].per_replica,
        8000.0
    );
}

#[test]
fn a_limit_is_none_when_more_is_held_and_nothing_waits() {
    let batch = |input: f64, in_use: f64, waiting: f64| {
        let replica = with_input(replica("r", in_use, 100_000.0, waiting), input);
        view(vec![variant("v", vec![replica])])
    };
    // Eight slots full of short prompts; and an engine that hung at 3000 tokens.
    for (learnt, input) in [(2_600.0, 3_000.0), (3_000.0, 300.0)] {
        let mut memory = TokenMemory::default();
        let mut seen = judge(Mode::Guarded, &batch(300.0, learnt, 6.0), &mut memory, 0);
        for second in 1..=30 {
            seen = judge(Mode::Guarded, &batch(300.0, learnt, 6.0), &mut memory, second);
        }
        assert_eq!(seen.variants[0].per_replica, learnt, "it lasted");
        let seen = judge(Mode::Guarded, &batch(input, 12_100.0, 0.0), &mut memory, 60);
        assert_eq!(seen.variants[0].per_replica, 80_000.0, "its memory bounds it: {seen:?}");
        assert_eq!(seen.required, 0.0, "{seen:?}");
    }
}

#[test]
fn a_burst_on_a_cold_replica_is_no_limit() {
    let burst = |in_use, waiting| {
        view(vec![variant(
            "v",
            vec![with_input(replica("r", in_use, 100_000.0, waiting), 1000.0)],
        )])
    };
    let mut theirs = TokenMemory::default();
    let first = judge(Mode::AsPublished, &burst(3000.0, 6.0), &mut theirs, 0);
    assert_eq!((first.variants[0].per_replica, first.utilisation), (3000.0, Some(3.0)));
    let then = judge(Mode::AsPublished, &burst(30_000.0, 0.0), &mut theirs, 30);
    assert!((then.required - 32_294.1).abs() < 0.1, "1 -> 12: {}", then.required);

    let mut ours = TokenMemory::default();
    let first = judge(Mode::Guarded, &burst(3000.0, 6.0), &mut ours, 0);
    assert_eq!((first.variants[0].per_replica, first.required), (80_000.0, 0.0));
    assert_eq!(judge(Mode::Guarded, &burst(30_000.0, 0.0), &mut ours, 30).required, 0.0);
}

#[test]
fn a_partial_scrape_takes_nothing_away() {
    let mut one_of_four = view(vec![variant("v", vec![replica("r", 60_000.0, 100_000.0, 0.0)])]);
    one_of_four.variants[0].ready = 4;
    let theirs = once(Mode::AsPublished, &one_of_four);
    assert_eq!(theirs.supply, 320_000.0);
    assert!((theirs.spare - 234_285.714_3).abs() < 1e-3);
    let ours = once(Mode::Guarded, &one_of_four);
    assert_eq!(
        (ours.supply, ours.demand, ours.spare, ours.coverage),
        (320_000.0, 240_000.0, 0.0, 0.25)
    );
    assert!(ours.said[1].contains("1 of 4"), "{:?}", ours.said);
    // A variant that is silent altogether is as full as the model is.
    let mut silent = variant("w", vec![]);
    (silent.ready, silent.engine) = (1, Some(EngineArgs::default()));
    let both = view(vec![variant("v", vec![replica("r", 60_000.0, 100_000.0, 0.0)]), silent]);
    let seen = once(Mode::Guarded, &both);
    assert_eq!(seen.variants[1].demand, 0.75 * seen.variants[1].per_replica);
    let nobody = view(vec![TokenVariant {
        ready: 2,
        ..variant("v", vec![])
    }]);
    let seen = once(Mode::Guarded, &nobody);
    assert!(!seen.known && seen.spare == 0.0);
}

#[test]
fn what_a_variant_would_hold_is_known_before_its_first_replica_reports() {
    let engine = EngineArgs {
        max_num_batched_tokens: Some(4096),
        ..EngineArgs::default()
    };
    let asleep = |engine: &EngineArgs| TokenVariant {
        engine: Some(engine.clone()),
        ..variant("z", vec![])
    };
    let other = |engine: Option<EngineArgs>, cache| TokenVariant {
        engine,
        ..variant(
            "a",
            vec![TokenReplica {
                output: Some(100.0),
                ..with_input(replica("r", 1000.0, cache, 0.0), 500.0)
            }],
        )
    };
    for mode in MODES {
        // Reported once: remembered.
        let mut memory = TokenMemory::default();
        let _ = judge(
            mode,
            &view(vec![variant("z", vec![replica("r", 1.0, 15_000.0, 0.0)])]),
            &mut memory,
            0,
        );
        let seen = judge(mode, &view(vec![asleep(&engine)]), &mut memory, 60);
        assert_eq!(
            (seen.variants[0].per_replica, seen.variants[0].from),
            (12_000.0, CapacityFrom::Remembered)
        );
        // Derived from the arguments, with the lengths of the model.
        let seen = once(mode, &view(vec![other(None, 1e6), asleep(&engine)]));
        assert_eq!(
            (seen.variants[1].per_replica, seen.variants[1].from),
            (140_800.0, CapacityFrom::Derived)
        );
        // Bounded by its own blocks: 30 000 tokens times 0.8.
        let small = EngineArgs {
            num_gpu_blocks_override: Some(1875),
            ..engine.clone()
        };
        let seen = once(mode, &view(vec![other(None, 1e6), asleep(&small)]));
        assert_eq!(seen.variants[1].per_replica, 24_000.0);
        // And by what a like one really showed.
        let seen = once(
            mode,
            &view(vec![other(Some(engine.clone()), 50_000.0), asleep(&engine)]),
        );
        assert_eq!(seen.variants[1].per_replica, 40_000.0);
        // No lengths known: the budget of an iteration.
        let seen = once(mode, &view(vec![asleep(&engine)]));
        assert_eq!(
            (seen.variants[0].per_replica, seen.variants[0].from),
            (4096.0, CapacityFrom::Budget)
        );
    }
    // A variant that is gone leaves nothing behind.
    let mut memory = TokenMemory::default();
    let _ = judge(
        Mode::Guarded,
        &view(vec![variant("z", vec![replica("r", 1.0, 15_000.0, 0.0)])]),
        &mut memory,
        0,
    );
    memory.forget("ns", "m", "z");
    let gone = judge(Mode::Guarded, &view(vec![variant("z", vec![])]), &mut memory, 1);
    assert_eq!(gone.variants[0].from, CapacityFrom::Unknown);
}

#[test]
fn a_cost_is_the_specification_s_even_where_nothing_reports() {
    for mode in MODES {
        let seen = once(mode, &view(vec![variant("v", vec![])]));
        assert_eq!(seen.variants[0].cost, 5.0);
    }
}

#[test]
fn a_full_replica_keeps_all_whatever_the_sum_says() {
    let mut replicas = vec![replica("hot", 90_000.0, 100_000.0, 9.0)];
    replicas.extend((0..9).map(|i| replica(&format!("r{i}"), 1000.0, 100_000.0, 0.0)));
    let seen = view(vec![variant("v", replicas)]);
    assert!(once(Mode::AsPublished, &seen).spare > 0.0);
    let ours = once(Mode::Guarded, &seen);
    assert_eq!(ours.spare, 0.0);
    assert!(ours.said.iter().any(|s| s.contains("at its limit")), "{:?}", ours.said);
}

fn any_number() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        6 => (0.0..200_000.0f64).prop_map(Some),
        1 => Just(None), 1 => Just(Some(0.0)), 1 => Just(Some(f64::NAN)),
        1 => Just(Some(f64::INFINITY)), 1 => Just(Some(-5.0)),
    ]
}

proptest! {
    #[test]
    fn figures_stay_figures(
        seen in prop::collection::vec((any_number(), any_number(), any_number(), any_number(), any_number()), 0..6),
        extra in 0u32..3, pending in 0u32..3, requests in any_number(), bytes in any_number(), steps in 1u64..5,
    ) {
        let replicas: Vec<TokenReplica> = seen.iter().enumerate().map(|(i, &(cache, in_use, waiting, input, output))| {
            TokenReplica { name: i.to_string(), cache, in_use, waiting, input, output }
        }).collect();
        let mut one = view(vec![variant("v", replicas), TokenVariant { engine: Some(EngineArgs::default()), ..variant("w", vec![]) }]);
        one.variants[0].ready += extra;
        one.variants[0].pending = pending;
        one.queue = FrontQueue::Waiting { requests: requests.unwrap_or(0.0), bytes: bytes.unwrap_or(0.0), hit_rate: bytes };
        for mode in MODES {
            let mut memory = TokenMemory::default();
            for step in 0..steps {
                let got = judge(mode, &one, &mut memory, step * 10);
                for figure in [got.supply, got.anticipated, got.demand, got.required, got.spare, got.coverage] {
                    prop_assert!(figure.is_finite() && figure >= 0.0, "{got:?}");
                }
                if mode == Mode::Guarded {
                    prop_assert!(got.spare == 0.0 || (got.coverage == 1.0 && got.required == 0.0));
                }
            }
        }
    }
}
