//! Worked cases, and the hazards that must not come back.

use super::*;

const LONG: Duration = Duration::from_secs(40);

fn replicas(of: &[(f64, f64)]) -> Variant {
    of.iter().fold(Variant::new("v", 10.0), |variant, (kv, waiting)| {
        variant.ready(*kv, *waiting)
    })
}

/// The one variant's target after the window has passed.
fn settled(mut scene: Scene) -> u32 {
    scene.after(LONG).variants[0].to
}

#[test]
fn the_published_examples_scale_as_published() {
    let up = |from: usize, to: u32| to > u32::try_from(from).unwrap();
    type Case<'a> = (&'a str, &'a [(f64, f64)], fn(usize, u32) -> bool);
    let cases: [Case<'_>; 6] = [
        (".75/2, .76/2 has .045 spare", &[(0.75, 2.0), (0.76, 2.0)], up),
        (
            ".20/1, .30/1, .25/1 has too much",
            &[(0.2, 1.0), (0.3, 1.0), (0.25, 1.0)],
            |from, to| (to as usize) < from,
        ),
        ("all saturated", &[(0.85, 2.0), (0.5, 6.0), (0.9, 7.0)], up),
        (
            ".65/0, .72/0 has .115 spare",
            &[(0.65, 0.0), (0.72, 0.0)],
            |from, to| to as usize == from,
        ),
        (".65, .75 has exactly .10 spare", &[(0.65, 0.0), (0.75, 0.0)], up),
        ("a queue of 3 each", &[(0.1, 3.0), (0.1, 3.0)], up),
    ];
    for (name, of, holds) in cases {
        let to = settled(Scene::of([replicas(of)]));
        assert!(holds(of.len(), to), "{name}: {} -> {to}", of.len());
    }
}

#[test]
fn without_hysteresis_a_scale_down_may_go_to_the_very_edge() {
    // Two at .35 make one at .70, on the trigger: published as safe. With our
    // hysteresis it is not, for the one would be asked to become two again.
    let mut scene = Scene::of([replicas(&[(0.35, 1.0), (0.35, 1.0)])]);
    assert_eq!(settled(scene.clone()), 2);
    scene.policy.hysteresis = 0.0;
    assert_eq!(settled(scene), 1);
}

#[test]
fn two_healthy_replicas_hide_no_saturated_ones() {
    for saturated in [8, 9] {
        let mut of = vec![(0.95, 9.0); saturated];
        of.resize(10, (0.1, 0.0));
        let to = settled(Scene::of([replicas(&of)]));
        assert!(to > 10, "{saturated} of 10 saturated: {to}");
    }
    // One hot replica of ten is a matter of routing: not more, and never less.
    let mut of = vec![(0.1, 0.0); 9];
    of.push((0.95, 9.0));
    assert_eq!(settled(Scene::of([replicas(&of)])), 10);
}

#[test]
fn a_clamped_answer_does_not_freeze() {
    // Ten saturated at a maximum of ten; then the load goes away.
    let busy = replicas(&[(0.95, 9.0); 10]).bounds(1, 10);
    let mut scene = Scene::of([busy]);
    let decision = scene.after(LONG);
    assert_eq!(
        (decision.variants[0].to, decision.variants[0].reason),
        (10, Reason::AtMaximum)
    );
    assert!(decision.sentence.contains("maximum of 10"), "{}", decision.sentence);

    let calm = Scene::of([replicas(&[(0.01, 0.0); 10]).bounds(1, 10)]);
    scene.view = calm.view;
    scene.advance(Duration::ZERO);
    let start = scene.now;
    for replica in &mut scene.view.variants[0].replicas {
        for signal in [
            &mut replica.kv,
            &mut replica.running,
            &mut replica.waiting,
            &mut replica.token_rate,
        ] {
            *signal = Signal::observed(signal.last().unwrap().value, start, Source::Replica);
        }
    }
    assert_eq!(scene.after(LONG).variants[0].to, 1);
}

#[test]
fn a_silent_replica_forbids_less_and_allows_more() {
    let calm = Scene::of([replicas(&[(0.1, 0.0); 3]).silent()]);
    let mut scene = calm;
    let decision = scene.after(LONG);
    assert_eq!(
        (decision.variants[0].to, decision.variants[0].reason),
        (4, Reason::WaitingForCoverage)
    );
    assert_eq!(decision.variants[0].metrics.word, MetricsWord::Missing);
    assert!(
        decision.variants[0].metrics.says.contains("connection refused"),
        "{:?}",
        decision.variants[0].metrics
    );

    let busy = Scene::of([replicas(&[(0.95, 9.0); 3]).silent()]);
    assert!(settled(busy) > 4);
}

#[test]
fn a_stale_signal_is_told_apart_from_a_missing_one() {
    let mut scene = Scene::of([replicas(&[(0.1, 0.0); 3])]);
    let old = scene.now - Duration::from_secs(20);
    scene.view.variants[0].replicas[1].kv = Signal::observed(0.1, old, Source::Replica);
    let decision = scene.decide();
    assert_eq!(decision.variants[0].metrics.word, MetricsWord::Stale);
    assert!(
        decision.variants[0].metrics.says.contains("20 s ago"),
        "{:?}",
        decision.variants[0].metrics
    );
}

#[test]
fn nothing_known_is_nothing_decided() {
    let mut scene = Scene::of([replicas(&[]).silent().silent()]);
    let decision = scene.after(LONG);
    assert_eq!(
        (decision.variants[0].to, decision.variants[0].reason),
        (2, Reason::MetricsUnavailable)
    );
}

#[test]
fn the_cheapest_goes_up_first_and_the_dearest_down_first() {
    let pair = |kv: f64| {
        [
            Variant::new("llama-8b-h100", 20.0)
                .slots(10.0)
                .ready(kv, 0.0)
                .ready(kv, 0.0),
            Variant::new("llama-8b-l4", 5.0)
                .slots(10.0)
                .ready(kv, 0.0)
                .ready(kv, 0.0),
        ]
    };
    let mut busy = Scene::of(pair(0.75));
    let decision = busy.after(Duration::from_secs(5));
    assert_eq!(decision.variants.iter().map(|v| v.to).collect::<Vec<_>>(), [2, 3]);
    assert!(decision.sentence.ends_with("+1 l4 (cheapest)"), "{}", decision.sentence);

    let mut calm = Scene::of(pair(0.3));
    let decision = calm.after(LONG);
    assert_eq!(decision.variants.iter().map(|v| v.to).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(decision.variants[0].reason, Reason::DearerThanNeeded);
}

#[test]
fn cheap_is_by_what_a_replica_holds() {
    // Twice the price for four times the slots is cheaper.
    let mut scene = Scene::of([
        Variant::new("big", 2.0).slots(40.0).bounds(0, 4),
        Variant::new("small", 1.0).slots(10.0).serving(0.5, 10.0, 0.0),
    ])
    .queue(30, Duration::from_secs(1), 10);
    assert_eq!(scene.targets(), [1, 1]);
}

#[test]
fn the_queue_sizes_the_step_and_the_sentence_tells_it() {
    let mut scene = Scene::of([
        Variant::new("llama-8b-h100", 4.0).slots(16.0).bounds(0, 2),
        Variant::new("llama-8b-l4", 0.8)
            .slots(16.0)
            .bounds(1, 4)
            .serving(0.91, 16.0, 0.0),
    ])
    .queue(22, Duration::from_millis(1400), 16);
    let decision = scene.decide();
    assert_eq!(
        decision.sentence,
        "llama-8b 1 -> 3: queue 22 waits 1.4 s, KV 91 % on all replicas, 16 of 16 slots busy; +2 l4 (cheapest)"
    );
    let [h100, l4] = &decision.variants[..] else {
        panic!("{decision:?}")
    };
    assert_eq!((h100.to, h100.reason), (0, Reason::DearerThanNeeded));
    assert_eq!((l4.from, l4.to, l4.reason), (1, 3, Reason::QueueWaiting));
}

#[test]
fn what_is_on_its_way_counts_until_it_times_out() {
    let scene = |age: u64| {
        let variant = Variant::new("v", 1.0).slots(16.0).serving(0.5, 16.0, 0.0);
        let variant = (0..2).fold(variant, |variant, _| variant.starting(Duration::from_secs(age)));
        Scene::of([variant, Variant::new("w", 2.0).slots(16.0).bounds(0, 4)]).queue(20, Duration::from_secs(2), 16)
    };
    let decision = scene(10).decide();
    assert_eq!(decision.variants.iter().map(|v| v.to).collect::<Vec<_>>(), [3, 0]);
    assert_eq!(decision.variants[0].reason, Reason::Starting);
    assert_eq!(
        scene(500).decide().variants[1].to,
        0,
        "a large model is loaded for minutes"
    );
    let decision = scene(700).decide();
    assert_eq!(
        decision.variants.iter().map(|v| v.to).collect::<Vec<_>>(),
        [3, 2],
        "{}",
        decision.sentence
    );
    assert_eq!(decision.variants[0].reason, Reason::NotStarting);
}

#[test]
fn replicas_nobody_creates_do_not_count_for_ever() {
    let quick = Variant::new("v", 1.0).slots(16.0).serving(0.5, 16.0, 0.0).wanted(3);
    let mut scene = Scene::of([quick, Variant::new("w", 2.0).slots(16.0).bounds(0, 4)]);
    scene = scene.queue(20, Duration::from_secs(2), 16);
    assert_eq!(scene.targets(), [3, 0]);
    assert_eq!(scene.after(Duration::from_secs(125)).variants[1].to, 2);
}

#[test]
fn a_variant_no_node_takes_is_passed_over() {
    let mut scene = Scene::of([
        Variant::new("cheap", 1.0)
            .slots(8.0)
            .serving(0.4, 8.0, 0.0)
            .unschedulable(Duration::from_secs(10)),
        Variant::new("dear", 3.0).slots(8.0).bounds(0, 4),
    ])
    .queue(4, Duration::from_secs(1), 8);
    let decision = scene.decide();
    assert_eq!(decision.variants.iter().map(|v| v.to).collect::<Vec<_>>(), [2, 1]);
    assert!(
        decision
            .explanation
            .bounds
            .iter()
            .any(|b| b.contains("0/2 nodes have a free GPU")),
        "{decision:?}"
    );
}

#[test]
fn a_variant_that_crashes_at_every_start_is_not_waited_for() {
    let mut scene = Scene::of([
        Variant::new("cheap", 1.0).slots(8.0).failing(),
        Variant::new("dear", 3.0).slots(8.0).bounds(0, 4),
    ])
    .queue(4, Duration::from_secs(1), 0);
    let decision = scene.decide();
    assert_eq!(decision.variants.iter().map(|v| v.to).collect::<Vec<_>>(), [1, 1]);
    let says = decision.explanation.bounds.join("\n");
    assert!(says.contains("does not start: 3 restarts"), "{says}");
}

#[test]
fn one_replica_that_does_not_come_up_keeps_no_other_from_coming() {
    let of = |serving: usize, failing: usize| {
        let mut only = Variant::new("v", 1.0).slots(8.0);
        for _ in 0..serving {
            only = only.serving(0.4, 8.0, 0.0);
        }
        for _ in 0..failing {
            only = only.failing();
        }
        let mut scene = Scene::of([only]).queue(8, Duration::from_secs(2), 8 * serving as u64);
        scene.decide().variants[0].to
    };
    assert_eq!(of(3, 1), 5, "three serve, one crashes: another one");
    assert_eq!(of(1, 1), 2, "as many crash as serve: no more of them");
    // Where no node or quota is left, more are of no use.
    let full = Variant::new("v", 1.0)
        .slots(8.0)
        .serving(0.4, 8.0, 0.0)
        .serving(0.4, 8.0, 0.0)
        .unschedulable(Duration::from_secs(10));
    let mut scene = Scene::of([full]).queue(8, Duration::from_secs(2), 16);
    assert_eq!(scene.decide().variants[0].to, 3);
}

#[test]
fn replicas_that_never_came_are_taken_back_when_they_are_not_needed() {
    let cheap = Variant::new("cheap", 1.0)
        .slots(8.0)
        .idle()
        .unschedulable(Duration::from_secs(10));
    let mut scene = Scene::of([cheap]).queue(0, Duration::ZERO, 0);
    assert_eq!(scene.after(LONG).variants[0].to, 1);
}

#[test]
fn from_zero_one_replica_of_the_cheapest_at_once() {
    let variants = [
        Variant::new("dear", 4.0).bounds(0, 2).slots(64.0),
        Variant::new("cheap", 0.8).bounds(0, 4).slots(16.0),
    ];
    let mut scene = Scene::of(variants).queue(1, Duration::from_millis(3), 0);
    let decision = scene.decide();
    assert_eq!(
        decision
            .variants
            .iter()
            .map(|v| (v.name.as_str(), v.to))
            .collect::<Vec<_>>(),
        [("cheap", 1), ("dear", 0)]
    );
    assert_eq!(decision.variants[0].reason, Reason::ScaleFromZero);
    assert!(
        decision.sentence.starts_with("llama-8b 0 -> 1: a request is held"),
        "{}",
        decision.sentence
    );
}

#[test]
fn at_zero_nothing_is_started_without_a_request() {
    let variant = || Variant::new("v", 1.0).bounds(0, 4);
    let decision = Scene::of([variant()]).queue(0, Duration::ZERO, 0).decide();
    assert_eq!(
        (decision.variants[0].to, decision.variants[0].reason),
        (0, Reason::Idle)
    );
    // Without a gateway nobody would see one.
    let decision = Scene::of([variant()]).decide();
    assert_eq!(
        (decision.variants[0].to, decision.variants[0].reason),
        (0, Reason::MetricsUnavailable)
    );
}

#[test]
fn to_zero_after_the_retention_and_only_if_all_is_known_to_be_idle() {
    let idle = || Scene::of([Variant::new("v", 1.0).bounds(0, 4).slots(16.0).idle()]).queue(0, Duration::ZERO, 0);
    let mut scene = idle();
    assert_eq!(scene.after(Duration::from_secs(59)).variants[0].to, 1);
    let decision = scene.after(Duration::from_secs(2));
    assert_eq!(
        (decision.variants[0].to, decision.variants[0].reason),
        (0, Reason::Idle)
    );
    assert!(decision.sentence.contains("no request for 6"), "{}", decision.sentence);

    let with_minimum = Variant::new("v", 1.0).bounds(1, 4).slots(16.0).idle();
    let mut scene = Scene::of([with_minimum]).queue(0, Duration::ZERO, 0);
    assert_eq!(scene.after(Duration::from_secs(120)).variants[0].to, 1);

    // Something still generates, though no batch and no queue shows it.
    let mut scene = idle();
    scene.view.variants[0].replicas[0].token_rate = Signal::observed(5.0, scene.now, Source::Replica);
    assert_eq!(scene.after(Duration::from_secs(120)).variants[0].to, 1);

    // One of an engine that counts no tokens, between two looks.
    let mut scene = idle();
    scene.view.gateway = GatewayView::Absent;
    assert_eq!(scene.after(Duration::from_secs(120)).variants[0].to, 0);
    let mut scene = idle();
    scene.view.gateway = GatewayView::Absent;
    scene.view.arrivals = Signal::observed(0.05, scene.now, Source::Replica);
    for _ in 0..12 {
        scene.view.arrivals = Signal::observed(0.05, scene.now + Duration::from_secs(10), Source::Replica);
        assert_eq!(scene.after(Duration::from_secs(10)).variants[0].to, 1);
    }
    // Nor right after another replica has gone, when how many come is uncertain.
    let two = Variant::new("v", 1.0).bounds(0, 4).slots(16.0).idle().idle();
    let mut scene = Scene::of([two]);
    for second in 0..180 {
        if second == 5 {
            scene.view.variants[0].replicas.pop();
            scene.view.variants[0].wanted = 1;
        }
        scene.view.arrivals = Signal::observed(0.05, scene.now + Duration::from_secs(1), Source::Replica);
        let decision = scene.after(Duration::from_secs(1));
        assert!(decision.variants[0].to >= 1, "{second} s: {}", decision.sentence);
    }

    // A gateway that cannot be heard may hold a request.
    let mut scene = idle();
    if let GatewayView::Present { silent, .. } = &mut scene.view.gateway {
        silent.push("http://other:9000".to_owned());
    }
    assert_eq!(scene.after(Duration::from_secs(120)).variants[0].to, 1);
}

#[test]
fn a_request_that_came_and_went_between_two_looks_is_not_idleness() {
    let mut scene = Scene::of([Variant::new("v", 1.0).bounds(0, 4).slots(16.0).idle()]).queue(0, Duration::ZERO, 0);
    scene.after(Duration::from_secs(50));
    if let GatewayView::Present {
        demand: Signal::Observed(seen),
        ..
    } = &mut scene.view.gateway
    {
        seen.value.arrived += 1;
    }
    assert_eq!(scene.after(Duration::from_secs(55)).variants[0].to, 1);
    assert_eq!(scene.after(Duration::from_secs(10)).variants[0].to, 0);
}

#[test]
fn less_comes_only_after_the_window_and_when_the_mean_has_followed() {
    let of =
        |kv: f64, running: f64| (0..4).fold(Variant::new("v", 1.0).slots(16.0), |v, _| v.serving(kv, running, 0.0));
    let mut scene = Scene::of([of(0.5, 14.0)]);
    scene.after(Duration::from_secs(5));
    let now = scene.now;
    scene.view = Scene::of([of(0.05, 1.0)]).view;
    let lag = now.since(Scene::START);
    scene.now = Scene::START;
    scene.advance(lag);
    let decision = scene.after(Duration::from_secs(20));
    assert_eq!(
        (decision.variants[0].to, decision.variants[0].reason),
        (4, Reason::Stabilizing)
    );
    assert!(decision.sentence.contains("stays low for"), "{}", decision.sentence);
    assert_eq!(scene.after(Duration::from_secs(90)).variants[0].to, 1);
}

#[test]
fn a_queue_forbids_less() {
    let calm = || {
        (0..4).fold(Variant::new("v", 1.0).slots(16.0), |variant, _| {
            variant.serving(0.05, 1.0, 0.0)
        })
    };
    let mut scene = Scene::of([calm()]).queue(1, Duration::from_millis(10), 4);
    assert_eq!(scene.after(LONG).variants[0].to, 4);
}

#[test]
fn bounds_are_kept_whatever_is_known() {
    let cases = [
        (Variant::new("v", 1.0).silent().bounds(2, 4), 2, Reason::AtMinimum),
        (
            (0..6).fold(Variant::new("v", 1.0), |v, _| v.silent()).bounds(1, 4),
            4,
            Reason::AtMaximum,
        ),
        (Variant::new("v", 1.0).bounds(1, 4), 1, Reason::AtMinimum),
        (
            Variant::new("v", 1.0).ready(0.5, 0.0).bounds(0, 0),
            0,
            Reason::AtMaximum,
        ),
    ];
    for (variant, to, reason) in cases {
        let decision = Scene::of([variant.clone()]).decide();
        assert_eq!(
            (decision.variants[0].to, decision.variants[0].reason),
            (to, reason),
            "{variant:?}"
        );
        assert!(decision.sentence.contains("Replicas)"), "{}", decision.sentence);
    }
}

#[test]
fn a_backlog_is_sized_by_what_drains_it_and_not_by_its_length() {
    // 400 wait, an answer takes 2 s: 40 arrivals a second need 80 slots, the
    // backlog another 80 for ten seconds: 160 slots are 10 replicas.
    let demand = Demand {
        queued: 400,
        oldest_wait: Some(Duration::from_secs(8)),
        in_flight: 16,
        arrival_rate: Some(40.0),
        completion_rate: Some(8.0),
        ..Demand::default()
    };
    let variant = Variant::new("v", 1.0).slots(16.0).bounds(1, 50).serving(0.5, 16.0, 0.0);
    assert_eq!(Scene::of([variant]).gateway(demand).targets(), [10]);
}

#[test]
fn without_slots_a_waiting_queue_adds_one_at_a_time() {
    let variant = || Variant::new("v", 1.0).serving(0.3, 16.0, 0.0);
    assert_eq!(
        Scene::of([variant()])
            .queue(50, Duration::from_millis(100), 16)
            .targets(),
        [1]
    );
    assert_eq!(
        Scene::of([variant()]).queue(50, Duration::from_secs(2), 16).targets(),
        [2]
    );
    let coming = variant().starting(Duration::from_secs(1));
    assert_eq!(Scene::of([coming]).queue(50, Duration::from_secs(2), 16).targets(), [2]);
}

#[test]
fn a_variant_that_costs_nothing_is_the_cheapest_and_no_accident() {
    let mut scene = Scene::of([
        Variant::new("free", 0.0).slots(8.0).bounds(0, 2),
        Variant::new("paid", 1.0).slots(8.0).serving(0.9, 8.0, 0.0),
    ])
    .queue(10, Duration::from_secs(1), 8);
    assert_eq!(scene.targets(), [2, 1]);
}

#[test]
fn every_decision_says_what_it_saw_and_what_would_change_it() {
    let variant = Variant::new("v", 1.0)
        .slots(16.0)
        .serving(0.3, 6.0, 0.0)
        .serving(0.4, 7.0, 0.0);
    let mut scene = Scene::of([variant]).queue(0, Duration::ZERO, 13);
    let decision = scene.decide();
    let explanation = &decision.explanation;
    let inputs = crate::inputs(&scene.view, &scene.policy, scene.now);
    let kv = inputs.iter().find(|input| input.what == "KV cache in use").unwrap();
    assert_eq!(
        (kv.of, kv.value, kv.age_ms, kv.source),
        ("v-00", Some(0.3), Some(0), Some("replica"))
    );
    assert!(
        explanation
            .rules
            .iter()
            .any(|said| said.rule == "Slots" && said.says.contains("13 busy"))
    );
    assert!(
        explanation
            .would_change
            .iter()
            .any(|change| change.starts_with("up: more than 32 slots"))
    );
    assert_eq!(decision.sentence, "llama-8b stays at 2: 13 of 32 slots busy, KV 35 %");
}

#[test]
fn a_queue_that_nobody_tells_of_is_not_taken_for_empty() {
    let busy = |running: f64| Scene::of([Variant::new("v", 10.0).slots(4.0).serving(0.1, running, 0.0)]);
    let after = |mut scene: Scene| {
        let decision = scene.after(Duration::from_secs(2));
        (decision.variants[0].to, decision.sentence)
    };
    let (to, sentence) = after(busy(4.0));
    assert_eq!(to, 2, "{sentence}");
    assert!(sentence.contains("4 of 4 slots busy"), "{sentence}");
    assert_eq!(after(busy(3.0)).0, 1, "a slot is free: nobody waits");
    assert_eq!(
        after(busy(4.0).queue(0, Duration::ZERO, 4)).0,
        1,
        "the gateway knows that nobody waits"
    );
    // What is on its way is waited for, and what was added is kept while all are busy.
    let coming = Variant::new("v", 10.0).slots(4.0).serving(0.1, 4.0, 0.0);
    let coming = Scene::of([coming.starting(Duration::from_secs(1))]);
    assert_eq!(after(coming).0, 2);
}

#[test]
fn time_in_which_nothing_is_known_is_no_time_of_low_load() {
    // Five replicas nobody has heard of, for long enough; then they are idle.
    let silent = (0..5).fold(Variant::new("v", 10.0), |variant, _| {
        variant.starting(Duration::from_secs(1))
    });
    let mut scene = Scene::of([silent]);
    scene.after(LONG);
    let idle = (0..5).fold(Variant::new("v", 10.0), |variant, _| variant.idle());
    let now = scene.now;
    scene.view = Scene::of([idle]).view;
    scene.now = Scene::START;
    scene.advance(now.since(Scene::START));
    assert_eq!(scene.after(Duration::from_secs(10)).variants[0].to, 5);
    assert_eq!(scene.after(LONG).variants[0].to, 1);
}
