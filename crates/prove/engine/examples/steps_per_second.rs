//! How fast the engine simulates: steps and requests per second of CPU.
//!
//! `cargo run --release -p engine --example steps_per_second`

#![expect(clippy::print_stdout, reason = "the output is what this example is for")]

use engine::{Composite, Dtype, Engine, EngineConfig, Gpu, Model, RequestSpec, StepTime};
use std::time::Duration;
use units::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::named("H100").ok_or("no such GPU")?;
    let model = Model::named("Llama-3.1-8B").ok_or("no such model")?;
    println!("alive  requests  steps    tokens     virtual s  wall s  steps/s   requests/s  tokens/s");
    for alive in [1, 8, 64, 256] {
        let mut engine = Engine::new(EngineConfig {
            max_num_batched_tokens: 8192,
            max_num_seqs: 256,
            max_model_len: 8192,
            block_size: 16,
            num_gpu_blocks: 26_313,
            long_prefill_token_threshold: None,
            reserve_full_prompt: true,
            prefix_caching: true,
            max_num_queued_reqs: None,
            step_time: StepTime::Composite(Composite::new(gpu, model, Dtype::Bf16, 1)),
        })?;
        let total = 2_000 + 40 * alive;
        let begun = std::time::Instant::now();
        let (mut now, mut next, mut events) = (Instant::ZERO, 0_u64, Vec::new());
        loop {
            while next < total && engine.alive() < alive as usize {
                let prefix = (0..32).map(|block| next << 8 | block).collect();
                let (prompt_tokens, natural_tokens) = (512 + (next % 64) as u32, 96 + (next % 67) as u32);
                let spec = RequestSpec {
                    id: next,
                    prompt_tokens,
                    natural_tokens,
                    max_output_tokens: 512,
                    arrived: now,
                    prefix,
                };
                engine.add(spec, now)?;
                next += 1;
            }
            let Some(step) = engine.schedule(now) else { break };
            now += step.duration;
            engine.complete(step, now, &mut events);
            events.clear();
        }
        let wall = begun.elapsed().max(Duration::from_nanos(1)).as_secs_f64();
        let counters = engine.counters();
        println!(
            "{alive:<6} {total:<9} {:<8} {:<10} {:<10.1} {wall:<7.3} {:<9.0} {:<11.0} {:.0}",
            counters.steps,
            counters.generation_tokens,
            now.as_secs_f64(),
            counters.steps as f64 / wall,
            total as f64 / wall,
            counters.generation_tokens as f64 / wall,
        );
    }
    Ok(())
}
