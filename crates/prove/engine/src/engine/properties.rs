//! What holds for any load on any engine.

use super::*;
use crate::step_time::{Linear, StepTime};
use proptest::prelude::*;

/// The smaller constant of the step time below.
const SHORTEST_STEP: Duration = Duration::from_millis(4);

#[derive(Clone, Debug)]
struct Planned {
    at_ms: u64,
    prompt: u32,
    natural: u32,
    limit: u32,
    family: u8,
    /// Give up this long after arrival.
    patience_ms: Option<u64>,
}

fn engine_config() -> impl Strategy<Value = EngineConfig> {
    (
        1_u32..64,
        1_u32..12,
        1_u32..9,
        0_u32..30,
        any::<bool>(),
        any::<bool>(),
        prop::option::of(1_u32..16),
    )
        .prop_map(
            |(budget, seqs, block_size, spare_blocks, reserve_full_prompt, prefix_caching, threshold)| EngineConfig {
                max_num_batched_tokens: budget,
                max_num_seqs: seqs,
                max_model_len: 60,
                block_size,
                num_gpu_blocks: 60_u32.div_ceil(block_size) + 1 + spare_blocks,
                long_prefill_token_threshold: threshold,
                reserve_full_prompt,
                prefix_caching,
                max_num_queued_reqs: None,
                step_time: StepTime::Linear(Linear {
                    alpha_s: 0.005,
                    beta_s: 0.0001,
                    gamma_s: 0.004,
                    delta_s: 0.0005,
                }),
            },
        )
}

fn planned() -> impl Strategy<Value = Planned> {
    (
        0_u64..300,
        1_u32..60,
        1_u32..40,
        1_u32..40,
        0_u8..3,
        prop::option::weighted(0.2, 0_u64..200),
    )
        .prop_map(|(at_ms, prompt, natural, limit, family, patience_ms)| Planned {
            at_ms,
            prompt,
            natural,
            limit,
            family,
            patience_ms,
        })
}

/// Everything that happened, for comparison.
#[derive(Debug, Default, PartialEq)]
struct Story {
    events: Vec<(Instant, Event)>,
    aborted: Vec<(RequestId, Summary)>,
}

/// Plays `load` in virtual time, checking every step.
fn play(config: EngineConfig, load: &[Planned]) -> Result<(Story, Counters), TestCaseError> {
    let mut engine = Engine::new(config).expect("valid");
    let mut arrivals: Vec<(u64, usize)> = load.iter().enumerate().map(|(i, plan)| (plan.at_ms, i)).collect();
    arrivals.sort_unstable();
    let mut arrivals: VecDeque<_> = arrivals.into();
    let mut story = Story::default();
    let mut now = Instant::ZERO;
    let mut events = Vec::new();
    for _ in 0..200_000 {
        while let Some(&(at_ms, i)) = arrivals
            .front()
            .filter(|(at_ms, _)| Instant::from_millis(*at_ms) <= now)
        {
            arrivals.pop_front();
            let plan = &load[i];
            let prefix = (0..plan.prompt / config.block_size).map(|b| u64::from(plan.family) << 32 | u64::from(b));
            let spec = RequestSpec {
                id: i as u64,
                prompt_tokens: plan.prompt,
                natural_tokens: plan.natural,
                max_output_tokens: plan.limit,
                arrived: Instant::from_millis(at_ms),
                prefix: prefix.collect(),
            };
            engine.add(spec, now).expect("servable");
        }
        for (i, plan) in load.iter().enumerate() {
            let gives_up = plan
                .patience_ms
                .is_some_and(|ms| Instant::from_millis(plan.at_ms + ms) <= now);
            if gives_up && let Some(summary) = engine.abort(i as u64, now) {
                story.aborted.push((i as u64, summary));
            }
        }
        match engine.schedule(now) {
            Some(step) => {
                prop_assert!(step.work.tokens <= config.max_num_batched_tokens);
                prop_assert!(step.work.tokens > 0 && step.duration > Duration::ZERO);
                prop_assert!(engine.gauges().running <= config.max_num_seqs);
                prop_assert!(engine.gauges().kv_blocks_used <= config.usable_blocks());
                now += step.duration;
                engine.complete(step, now, &mut events);
                story.events.extend(events.drain(..).map(|event| (now, event)));
            }
            None => {
                prop_assert_eq!(engine.alive(), 0, "nothing runs although requests are alive");
                match arrivals.front() {
                    Some(&(at_ms, _)) => now = Instant::from_millis(at_ms),
                    None => {
                        prop_assert_eq!(engine.gauges().kv_blocks_used, 0);
                        return Ok((story, engine.counters()));
                    }
                }
            }
        }
    }
    Err(TestCaseError::fail("the load never ended"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn every_request_ends_and_every_token_is_accounted_for(
        config in engine_config(),
        load in prop::collection::vec(planned(), 1..40),
    ) {
        let (story, counters) = play(config, &load)?;
        let mut ended = BTreeMap::new();
        for (id, summary) in story.aborted.iter().map(|(id, s)| (*id, *s)) {
            prop_assert!(ended.insert(id, summary).is_none());
        }
        let mut told: BTreeMap<RequestId, u32> = BTreeMap::new();
        let mut preempted = 0;
        for (now, event) in &story.events {
            match *event {
                Event::Preempted { .. } => preempted += 1,
                Event::Token { id, index, gap } => {
                    let count = told.entry(id).or_default();
                    *count += 1;
                    prop_assert_eq!(*count, index, "tokens come once and in order");
                    if index == 1 {
                        let plan = &load[id as usize];
                        prop_assert_eq!(gap, now.since(Instant::from_millis(plan.at_ms)));
                        // No step is shorter than its constant, and a prompt
                        // that is not cached takes as many as it has chunks.
                        let widest = config.max_num_batched_tokens.min(config.long_prefill_token_threshold.unwrap_or(60));
                        let chunks = if config.prefix_caching { 1 } else { plan.prompt.div_ceil(widest) };
                        prop_assert!(gap >= SHORTEST_STEP * chunks, "{:?} for {} chunks", gap, chunks);
                    }
                }
                Event::Finished { id, summary } => {
                    prop_assert!(ended.insert(id, summary).is_none());
                    let plan = &load[id as usize];
                    let room = config.max_model_len - plan.prompt;
                    let wanted = plan.natural.min(plan.limit).min(room);
                    prop_assert_eq!(summary.output_tokens, wanted);
                    let stops = plan.natural <= plan.limit.min(room);
                    prop_assert_eq!(summary.reason, if stops { FinishReason::Stop } else { FinishReason::Length });
                    prop_assert_eq!(summary.inference, Some(summary.prefill.unwrap() + summary.decode.unwrap()));
                }
            }
        }
        prop_assert_eq!(ended.len(), load.len());
        prop_assert_eq!(counters.added, load.len() as u64);
        prop_assert_eq!(counters.preemptions, preempted);
        prop_assert_eq!(ended.values().map(|s| u64::from(s.preemptions)).sum::<u64>(), preempted);
        prop_assert_eq!(counters.generation_tokens, ended.values().map(|s| u64::from(s.output_tokens)).sum::<u64>());
        let begun = ended.values().filter(|s| s.output_tokens > 0);
        prop_assert_eq!(counters.prompt_tokens, begun.map(|s| u64::from(s.prompt_tokens)).sum::<u64>());
        prop_assert_eq!(
            counters.finished_stop + counters.finished_length + counters.finished_abort,
            load.len() as u64
        );
        prop_assert!(counters.prefix_hits <= counters.prefix_queries);
        prop_assert!(config.prefix_caching || counters.prefix_hits == 0);
    }

    #[test]
    fn the_same_load_tells_the_same_story(
        config in engine_config(),
        load in prop::collection::vec(planned(), 1..20),
    ) {
        prop_assert_eq!(play(config, &load)?, play(config, &load)?);
    }
}
