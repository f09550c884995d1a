//! Saturation by tokens where something is not told: measured figures count,
//! what stands in for them is said, and nothing is done on it alone.

use super::*;
use crate::{Analyzer, Verdict};

/// Ready replicas of 100 000 tokens, so full, and two of another variant that
/// start and have told nothing.
fn scene(share: f64, second: &str) -> Scene {
    let first = (0..2).fold(Variant::new("b", 4.0).slots(16.0), |v, _| v.serving(share, 12.0, 0.0));
    let second = Variant::new(second, 1.0).slots(16.0).bounds(0, 20);
    let mut scene = Scene::of([
        first,
        second.starting(Duration::from_secs(1)).starting(Duration::from_secs(1)),
    ]);
    scene.policy.analyzer = Analyzer::Tokens;
    let now = scene.now;
    for replica in &mut scene.view.variants[0].replicas {
        replica.kv_tokens = Signal::observed(1e5, now, Source::Replica);
    }
    scene
}

fn tokens(decision: &Decision) -> &crate::RuleSaid {
    decision
        .explanation
        .rules
        .iter()
        .find(|said| said.rule == "Tokens")
        .unwrap()
}

#[test]
fn replicas_that_start_unseen_count_by_their_slots_and_end_the_asking() {
    // 3.2 replicas' worth of tokens are asked for; two serve and two come.
    let mut scene = scene(1.1, "a");
    let decision = scene.decide();
    assert!(!decision.changes(), "{}", decision.sentence);
    let says = &tokens(&decision).says;
    assert!(
        says.contains("a: nothing was seen of it yet, so its slots count as much"),
        "{says}"
    );
    assert!(says.contains("vllm:cache_config_info"), "{says}");
    // Much more is asked for once, and not again and again while they start.
    for replica in &mut scene.view.variants[0].replicas {
        replica.waiting = Signal::observed(60.0, scene.now, Source::Replica);
        replica.prompt_tokens = Signal::observed(2000.0, scene.now, Source::Replica);
        replica.generated_tokens = Signal::observed(100.0, scene.now, Source::Replica);
    }
    let mut wanted = Vec::new();
    for _ in 0..20 {
        let to = scene.after(Duration::from_secs(1)).variants[0].to;
        scene.view.variants[1].wanted = to;
        wanted.push(to);
    }
    // Requests that wait need some more in slots, once that has lasted.
    let (first, last) = (wanted[0], wanted[wanted.len() - 1]);
    assert!(
        first > 2 && last <= first + 2 && wanted[10..].iter().all(|to| *to == last),
        "{wanted:?}"
    );
}

#[test]
fn what_no_server_tells_is_named_with_its_remedy() {
    let mut scene = scene(0.5, "a");
    let decision = scene.decide();
    let says = &tokens(&decision).says;
    assert!(says.contains("b: only memory bounds it, as measured"), "{says}");
    assert!(says.contains("--max-num-batched-tokens"), "{says}");
    for replica in &mut scene.view.variants[0].replicas {
        replica.kv_tokens = Signal::missing(scene.now, "not told");
    }
    let decision = scene.decide();
    let said = tokens(&decision);
    assert_eq!(said.verdict, Verdict::Unknown);
    assert!(said.says.contains("its server should publish that"), "{}", said.says);
}

#[test]
fn a_limit_seen_on_one_variant_is_not_taken_for_another_with_other_gpus() {
    use crate::saturation::Mode;
    use crate::saturation::tokens::{
        FrontQueue, TokenMemory, TokenPolicy, TokenReplica, TokenVariant, TokenView, analyze,
    };
    let variant = |name: &str, in_use, waiting| TokenVariant {
        name: name.to_owned(),
        accelerator: Some("H100".to_owned()),
        gpus: None,
        cost: 1.0,
        ready: 1,
        pending: 0,
        engine: None,
        replicas: vec![TokenReplica {
            name: format!("{name}-0"),
            cache: Some(1e5),
            in_use: Some(in_use),
            waiting: Some(waiting),
            input: Some(500.0),
            output: Some(100.0),
        }],
    };
    let view = TokenView {
        model: "m".to_owned(),
        namespace: "n".to_owned(),
        // The first is held by its batch, with half of its memory free.
        variants: vec![variant("one-gpu", 40_000.0, 9.0), variant("four-gpus", 10_000.0, 0.0)],
        queue: FrontQueue::Absent,
    };
    let mut memory = TokenMemory::default();
    let mut last = None;
    for second in 0..60 {
        let now = Instant::from_secs(second);
        last = Some(analyze(&TokenPolicy::default(), Mode::Guarded, &view, &mut memory, now));
    }
    let holds: Vec<f64> = last
        .unwrap()
        .variants
        .iter()
        .map(|variant| variant.per_replica)
        .collect();
    assert_eq!(holds, [80_000.0, 40_000.0], "four GPUs, one GPU");
}
