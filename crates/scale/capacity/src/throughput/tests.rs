use super::*;
use proptest::prelude::*;

/// A replica on the line 20 k + 6 whose requests hold 600 tokens of 60 000.
fn on_the_line(share: f64) -> ThroughputReplica {
    let itl_ms = 20.0 * share + 6.0;
    ThroughputReplica {
        kv: Some(share),
        itl_ms: Some(itl_ms),
        tokens: Some(share * 100.0 / (itl_ms / 1e3)),
    }
}

fn view(replicas: Vec<ThroughputReplica>) -> ThroughputView {
    ThroughputView {
        namespace: "ns".to_owned(),
        model: "m".to_owned(),
        variants: vec![ThroughputVariant {
            name: "v".to_owned(),
            ready: u32::try_from(replicas.len()).unwrap(),
            pending: 0,
            cache: Some(60_000.0),
            replicas,
        }],
        arrivals: Some(10.0),
        waiting: Some(0.0),
        input: Some(500.0),
        output: Some(200.0),
        hit_rate: None,
        itl_target_ms: None,
    }
}

fn judge_at(view: &ThroughputView, memory: &mut ThroughputMemory, second: u64) -> Throughput {
    analyze(&ThroughputPolicy::default(), view, memory, Instant::from_secs(second))
}

/// Ten passes over shares from 0.2 to 0.65.
fn taught() -> ThroughputMemory {
    let mut memory = ThroughputMemory::default();
    for step in 0..10u32 {
        let seen = view(vec![on_the_line(0.2 + 0.05 * f64::from(step))]);
        let _ = judge_at(&seen, &mut memory, u64::from(step) * 15);
    }
    memory
}

fn close(ours: f64, expected: f64) {
    assert!(
        (ours - expected).abs() < 1e-6 * expected.abs().max(1.0),
        "{ours} is not {expected}"
    );
}

#[test]
fn a_line_is_fitted_and_gives_tokens_per_second_when_full() {
    let mut memory = taught();
    let seen = judge_at(&view(vec![on_the_line(0.4)]), &mut memory, 150);
    let variant = &seen.variants[0];
    assert_eq!(variant.from, FitFrom::Fit);
    // Full at 0.8: 80 requests, 22 ms apart.
    close(variant.requests.unwrap(), 80.0);
    close(variant.itl_ms.unwrap(), 22.0);
    close(variant.per_replica.unwrap(), 80.0 / 0.022);
    // 2000 tokens/s asked for of 3636.
    close(seen.demand, 2000.0);
    close(seen.spare, 80.0 / 0.022 - 2000.0 / 0.7);
    assert_eq!((seen.required, seen.known), (0.0, true));

    let mut busy = view(vec![on_the_line(0.4)]);
    (busy.arrivals, busy.waiting) = (Some(30.0), Some(44.0));
    let seen = judge_at(&busy, &mut memory, 165);
    close(seen.demand, 6000.0 + 44.0 / 0.044);
    close(seen.required, 7000.0 / 0.85 - 80.0 / 0.022);
    assert_eq!(seen.spare, 0.0);
}

#[test]
fn a_target_between_tokens_bounds_how_full_a_replica_may_be() {
    let mut memory = taught();
    let mut strict = view(vec![on_the_line(0.4)]);
    strict.itl_target_ms = Some(16.0);
    let seen = judge_at(&strict, &mut memory, 150);
    close(seen.variants[0].per_replica.unwrap(), 50.0 / 0.016);
    strict.itl_target_ms = Some(5.0);
    let seen = judge_at(&strict, &mut memory, 165);
    assert!(!seen.known && seen.said.contains("idle replica"), "{}", seen.said);
}

#[test]
fn prompts_in_the_prefix_cache_hold_no_new_tokens() {
    let mut cached = view(vec![on_the_line(0.4)]);
    cached.variants[0].replicas[0].tokens = None;
    cached.hit_rate = Some(0.8);
    let seen = judge_at(&cached, &mut taught(), 150);
    close(seen.variants[0].requests.unwrap(), 0.8 * 60_000.0 / 200.0);
}

#[test]
fn without_enough_samples_a_line_is_assumed_or_the_last_one_kept() {
    let mut memory = ThroughputMemory::default();
    let first = judge_at(&view(vec![on_the_line(0.5)]), &mut memory, 0);
    assert_eq!(first.variants[0].from, FitFrom::Assumed);
    close(first.variants[0].itl_ms.unwrap(), 22.0);
    // Twenty samples in one place are no line.
    for step in 1..20 {
        let seen = judge_at(&view(vec![on_the_line(0.5)]), &mut memory, step * 15);
        assert_eq!(seen.variants[0].from, FitFrom::Assumed);
    }
    // Nor do they push out those that are.
    let mut memory = taught();
    for step in 0..40 {
        let seen = judge_at(&view(vec![on_the_line(0.5)]), &mut memory, 150 + step);
        assert_eq!(seen.variants[0].from, FitFrom::Fit);
    }
    let late = judge_at(&view(vec![on_the_line(0.5)]), &mut memory, 3600);
    assert_eq!(
        late.variants[0].from,
        FitFrom::LastFit,
        "samples are over half an hour old"
    );
    // Longer answers make another line.
    let mut longer = view(vec![on_the_line(0.5)]);
    longer.output = Some(300.0);
    longer.variants[0].replicas[0].tokens = None;
    assert_eq!(judge_at(&longer, &mut memory, 3615).variants[0].from, FitFrom::Assumed);
    let idle = judge_at(&view(vec![on_the_line(0.0)]), &mut ThroughputMemory::default(), 0);
    assert_eq!((idle.variants[0].from, idle.known), (FitFrom::Nothing, false));
}

#[test]
fn a_fit_that_replicas_contradict_has_no_say_for_a_while() {
    let mut memory = taught();
    let mut wrong = view(vec![on_the_line(0.4)]);
    wrong.variants[0].replicas[0].tokens = wrong.variants[0].replicas[0].tokens.map(|tokens| tokens * 0.8);
    let seen = judge_at(&wrong, &mut memory, 150);
    assert!(!seen.known && !seen.variants[0].trusted, "{}", seen.said);
    let right = view(vec![on_the_line(0.4)]);
    let known: Vec<bool> = (1..=4)
        .map(|pass| judge_at(&right, &mut memory, 150 + 15 * pass).known)
        .collect();
    assert_eq!(known, [false, false, true, true]);
}

#[test]
fn what_is_not_known_has_no_say() {
    type Spoil = fn(&mut ThroughputView);
    let cases: [(&str, Spoil); 5] = [
        ("arrivals", |v| v.arrivals = None),
        ("lengths", |v| v.output = Some(f64::NAN)),
        ("KV cache", |v| v.variants[0].cache = None),
        ("nobody", |v| v.variants.clear()),
        ("w: no replica", |v| {
            v.variants.push(ThroughputVariant {
                name: "w".to_owned(),
                ready: 1,
                ..v.variants[0].clone()
            });
            v.variants[1].replicas.clear();
        }),
    ];
    for (what, spoil) in cases {
        let mut seen = view(vec![on_the_line(0.4)]);
        spoil(&mut seen);
        let got = judge_at(&seen, &mut taught(), 150);
        assert!(!got.known && got.required == 0.0 && got.spare == 0.0, "{what}");
        assert!(got.said.contains(what), "{what}: {}", got.said);
    }
    // A backlog nobody knows may be there: nothing goes.
    let mut blind = view(vec![on_the_line(0.4)]);
    blind.waiting = None;
    let got = judge_at(&blind, &mut taught(), 150);
    assert!(got.known && got.spare == 0.0);
    let mut memory = taught();
    memory.forget("ns", "m", "v");
    assert_eq!(
        judge_at(&view(vec![on_the_line(0.4)]), &mut memory, 150).variants[0].from,
        FitFrom::Assumed
    );
}

fn any_figure() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        4 => (0.0..1.0f64).prop_map(Some),
        3 => (0.0..5000.0f64).prop_map(Some),
        1 => Just(None),
        1 => any::<f64>().prop_map(Some),
    ]
}

proptest! {
    #[test]
    fn figures_stay_figures(
        passes in prop::collection::vec(
            (prop::collection::vec((any_figure(), any_figure(), any_figure()), 0..4), any_figure(), any_figure(), any_figure(), any_figure(), any_figure(), any_figure()),
            1..15,
        ),
    ) {
        let mut memory = ThroughputMemory::default();
        for (at, (replicas, arrivals, waiting, input, output, hit_rate, itl_target_ms)) in passes.into_iter().enumerate() {
            let replicas = replicas.into_iter().map(|(kv, itl_ms, tokens)| ThroughputReplica { kv, itl_ms, tokens }).collect();
            let seen = ThroughputView { arrivals, waiting, input, output, hit_rate, itl_target_ms, ..view(replicas) };
            let got = judge_at(&seen, &mut memory, at as u64 * 10);
            for figure in [got.supply, got.anticipated, got.demand, got.required, got.spare] {
                prop_assert!(!figure.is_nan() && figure >= 0.0, "{got:?}");
            }
            prop_assert!(got.required == 0.0 || got.spare == 0.0);
        }
    }
}
