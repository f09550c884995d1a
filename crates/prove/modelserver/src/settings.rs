//! What the flags mean: checked, with every default filled in.

use crate::args::{Args, ArgsError, StepArgs};
use engine::{Composite, Dtype, EngineConfig, Gpu, KvMemory, Linear, Model, StepTime};
use std::time::Duration;
use wire::vllm::Version;

/// A server's settings.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The model as the operator named it.
    pub(crate) root: String,
    /// Names clients may use; at least one.
    pub(crate) names: Vec<String>,
    pub(crate) engine: EngineConfig,
    pub(crate) vocab: u32,
    pub(crate) gpu_memory_utilization: f64,
    pub(crate) num_gpu_blocks_override: Option<u32>,
    pub(crate) version: Version,
    pub(crate) seed: u64,
    pub(crate) output_mean: u32,
    pub(crate) output_stdev: u32,
    pub(crate) startup: Duration,
    pub(crate) api_overhead: Duration,
    pub(crate) sleep_time: Duration,
    pub(crate) wake_time: Duration,
    pub(crate) speed: f64,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) max_body_bytes: usize,
}

const DEFAULT_MODEL: &str = "meta-llama/Llama-3.1-8B-Instruct";
/// Used where the model is unknown and nothing depends on it.
const ANY_VOCAB: u32 = 128_256;

impl Settings {
    pub(crate) fn new(args: &Args) -> Result<Self, ArgsError> {
        let root = args.model.clone().unwrap_or_else(|| DEFAULT_MODEL.to_owned());
        let names = if args.served_model_name.is_empty() {
            vec![root.clone()]
        } else {
            args.served_model_name.clone()
        };
        if let Some(name) = names.iter().find(|name| name.is_empty()) {
            return Err(ArgsError::flag(
                "--served-model-name",
                name,
                "the name is empty; give one",
            ));
        }
        let gpu = Gpu::named(&args.gpu_type).ok_or_else(|| {
            ArgsError::flag(
                "--gpu-type",
                &args.gpu_type,
                format!("not known; use one of {}", Gpu::names()),
            )
        })?;
        let dtype = Dtype::named(&args.dtype)
            .ok_or_else(|| ArgsError::flag("--dtype", &args.dtype, "not known; use bf16 or fp8"))?;
        let model = Model::named(&root);
        check_share("--gpu-memory-utilization", args.gpu_memory_utilization)?;
        if !(args.speed.is_finite() && (0.001..=1e6).contains(&args.speed)) {
            return Err(ArgsError::flag(
                "--speed",
                &args.speed,
                "must be between 0.001 and 1000000",
            ));
        }
        if args.tensor_parallel_size == 0 || args.tensor_parallel_size > 64 {
            return Err(ArgsError::flag(
                "--tensor-parallel-size",
                &args.tensor_parallel_size,
                "must be between 1 and 64",
            ));
        }
        if args.output_tokens_mean == 0 {
            return Err(ArgsError::flag("--output-tokens-mean", &0, "must be at least 1"));
        }
        let engine = engine_config(args, gpu, model, dtype, &root)?;
        engine.check()?;
        let faster = |time: Duration| time.div_f64(args.speed);
        Ok(Self {
            host: args.host.clone().unwrap_or_else(|| "127.0.0.1".to_owned()),
            port: args.port.unwrap_or(8000),
            root,
            names,
            engine,
            vocab: model.map_or(ANY_VOCAB, |model| model.vocab),
            gpu_memory_utilization: args.gpu_memory_utilization,
            num_gpu_blocks_override: args.num_gpu_blocks_override,
            version: args.vllm_compat,
            seed: args.seed,
            output_mean: args.output_tokens_mean,
            output_stdev: args.output_tokens_stdev,
            startup: faster(args.startup),
            api_overhead: faster(args.api_overhead),
            sleep_time: faster(args.sleep_time),
            wake_time: faster(args.wake_time),
            speed: args.speed,
            shutdown_timeout: args.shutdown_timeout,
            max_body_bytes: args.max_body_bytes,
        })
    }
}

fn check_share(flag: &'static str, value: f64) -> Result<(), ArgsError> {
    if value > 0.0 && value <= 1.0 {
        Ok(())
    } else {
        Err(ArgsError::flag(flag, &value, "must be above 0 and at most 1"))
    }
}

fn engine_config(
    args: &Args,
    gpu: &Gpu,
    model: Option<&Model>,
    dtype: Dtype,
    root: &str,
) -> Result<EngineConfig, ArgsError> {
    let unknown = |needed: &str| {
        let why = format!(
            "not a known model ({}); give {needed} or use --served-model-name for the name",
            Model::names()
        );
        ArgsError::flag("--model", &root, why)
    };
    let step_time = match (args.step.linear(), model) {
        (Some(linear), _) => StepTime::Linear(linear),
        (None, Some(model)) => {
            StepTime::Composite(
                args.step
                    .composite(Composite::new(gpu, model, dtype, args.tensor_parallel_size)),
            )
        }
        (None, None) => return Err(unknown("--step-alpha")),
    };
    let num_gpu_blocks = match (args.num_gpu_blocks_override, model) {
        (Some(blocks), _) => blocks,
        (None, Some(model)) => KvMemory {
            gpu: *gpu,
            model: *model,
            dtype,
            tensor_parallel: args.tensor_parallel_size,
            utilization: args.gpu_memory_utilization,
            block_size: args.block_size,
        }
        .blocks()?,
        (None, None) => return Err(unknown("--num-gpu-blocks-override")),
    };
    let kv_tokens = u64::from(num_gpu_blocks.saturating_sub(1)) * u64::from(args.block_size);
    let kv_tokens = u32::try_from(kv_tokens).unwrap_or(u32::MAX);
    let longest = model.map_or(kv_tokens, |model| model.max_len.min(kv_tokens));
    // vLLM's own defaults for an API server, by the size of the GPU.
    let (tokens, seqs) = if gpu.memory_gib >= 160.0 {
        (16384, 1024)
    } else if gpu.memory_gib >= 70.0 && !gpu.name.starts_with("A100") {
        (8192, 1024)
    } else {
        (2048, 256)
    };
    Ok(EngineConfig {
        max_num_batched_tokens: args.max_num_batched_tokens.unwrap_or(tokens),
        max_num_seqs: args.max_num_seqs.unwrap_or(seqs),
        max_model_len: args.max_model_len.unwrap_or(longest),
        block_size: args.block_size,
        num_gpu_blocks,
        long_prefill_token_threshold: args.long_prefill_token_threshold,
        reserve_full_prompt: args.vllm_compat >= Version::V0_32,
        prefix_caching: !args.no_enable_prefix_caching,
        max_num_queued_reqs: args.max_num_queued_reqs,
        step_time,
    })
}

impl StepArgs {
    fn linear(&self) -> Option<Linear> {
        Some(Linear {
            alpha_s: self.step_alpha?,
            beta_s: self.step_beta.unwrap_or(0.0),
            gamma_s: self.step_gamma.unwrap_or(0.0),
            delta_s: self.step_delta.unwrap_or(0.0),
        })
    }

    fn composite(&self, preset: Composite) -> Composite {
        Composite {
            weights_s: self.step_weights.unwrap_or(preset.weights_s),
            token_s: self.step_token.unwrap_or(preset.token_s),
            kv_token_s: self.step_kv_token.unwrap_or(preset.kv_token_s),
            pair_s: self.step_pair.unwrap_or(preset.pair_s),
            step_s: self.step_overhead.unwrap_or(preset.step_s),
            request_s: self.step_request.unwrap_or(preset.request_s),
            all_reduce_token_s: self.step_all_reduce.unwrap_or(preset.all_reduce_token_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(line: &str) -> Result<Settings, ArgsError> {
        Settings::new(&Args::from_flags(line.split_whitespace()).unwrap())
    }

    #[test]
    fn defaults_are_those_of_vllm_for_the_gpu() {
        let h100 = settings("").unwrap();
        assert_eq!(
            (h100.engine.max_num_batched_tokens, h100.engine.max_num_seqs),
            (8192, 1024)
        );
        assert_eq!(
            (h100.engine.max_model_len, h100.engine.num_gpu_blocks),
            (131_072, 26_313)
        );
        assert_eq!(h100.names, ["meta-llama/Llama-3.1-8B-Instruct"]);
        let l4 = settings("--gpu-type L4 --model Qwen/Qwen2.5-7B-Instruct --dtype fp8").unwrap();
        assert_eq!((l4.engine.max_num_batched_tokens, l4.engine.max_num_seqs), (2048, 256));
    }

    #[test]
    fn the_longest_context_is_what_fits_memory() {
        let small = settings("--num-gpu-blocks-override 101").unwrap();
        assert_eq!(small.engine.max_model_len, 1600);
    }

    #[test]
    fn what_cannot_be_served_names_the_flag() {
        for (line, part) in [
            ("--gpu-type abacus", "--gpu-type abacus: not known; use one of B200"),
            ("--model toy", "--model toy: not a known model"),
            ("--model toy --step-alpha 7ms", "--num-gpu-blocks-override"),
            ("--dtype int3", "--dtype int3"),
            ("--speed 0", "--speed 0"),
            ("--model Llama-3.1-70B", "--tensor-parallel-size"),
            ("--max-model-len 999999999", "lower max_model_len"),
            ("--block-size 0", "block_size"),
            ("--gpu-memory-utilization 1.5", "--gpu-memory-utilization"),
            ("--tensor-parallel-size 0", "--tensor-parallel-size 0"),
        ] {
            let error = settings(line).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn every_step_parameter_can_be_set() {
        let linear = settings("--model toy --step-alpha 7ms --step-delta 20us --num-gpu-blocks-override 9").unwrap();
        let wanted = Linear {
            alpha_s: 0.007,
            beta_s: 0.0,
            gamma_s: 0.0,
            delta_s: 20e-6,
        };
        assert_eq!(linear.engine.step_time, StepTime::Linear(wanted));
        let flags = "--step-weights 1ms --step-token 2ms --step-kv-token 3ms --step-pair 4ms --step-overhead 5ms \
                     --step-request 6ms --step-all-reduce 7ms";
        let StepTime::Composite(set) = settings(flags).unwrap().engine.step_time else {
            panic!("not composite")
        };
        assert_eq!(
            (set.weights_s, set.token_s, set.kv_token_s, set.pair_s),
            (0.001, 0.002, 0.003, 0.004)
        );
        assert_eq!(
            (set.step_s, set.request_s, set.all_reduce_token_s),
            (0.005, 0.006, 0.007)
        );
    }
}
