//! The command line: flags named as vLLM names them, where it has them.

use clap::FromArgMatches as _;
use std::time::Duration;
use wire::vllm::Version;

/// Serve a simulated model over vLLM's HTTP interface.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Model to simulate: a known name or a hub name that contains one
    /// [default: meta-llama/Llama-3.1-8B-Instruct].
    #[arg(long)]
    pub model: Option<String>,
    /// Name clients use, may be repeated; the first is the one in answers [default: the model].
    #[arg(long, num_args = 1..)]
    pub served_model_name: Vec<String>,
    /// Address to listen on [default: $HOST or 127.0.0.1].
    #[arg(long)]
    pub host: Option<String>,
    /// Port to listen on, 0 for any [default: $PORT or 8000].
    #[arg(long)]
    pub port: Option<u16>,

    /// GPU to simulate, such as H100, A100-80G, L40S, L4.
    #[arg(long, default_value = "H100")]
    pub gpu_type: String,
    /// Type of the weights: bf16 or fp8.
    #[arg(long, default_value = "bf16")]
    pub dtype: String,
    /// GPUs the model is split over.
    #[arg(long, default_value_t = 1)]
    pub tensor_parallel_size: u32,
    /// Share of GPU memory the server may use.
    #[arg(long, default_value_t = 0.9)]
    pub gpu_memory_utilization: f64,
    /// Requests computed at once at most [default: as vLLM for the GPU].
    #[arg(long)]
    pub max_num_seqs: Option<u32>,
    /// Tokens computed in one step at most [default: as vLLM for the GPU].
    #[arg(long)]
    pub max_num_batched_tokens: Option<u32>,
    /// Tokens of prompt and answer at most [default: what model and memory allow].
    #[arg(long)]
    pub max_model_len: Option<u32>,
    /// Tokens of one KV block.
    #[arg(long, default_value_t = 16)]
    pub block_size: u32,
    /// KV blocks, instead of what fits the GPU.
    #[arg(long)]
    pub num_gpu_blocks_override: Option<u32>,
    /// Tokens of one prompt computed in one step at most.
    #[arg(long)]
    pub long_prefill_token_threshold: Option<u32>,
    /// Do not find known prompt beginnings again.
    #[arg(long)]
    pub no_enable_prefix_caching: bool,
    /// Requests alive at once at most; more are answered 503.
    #[arg(long)]
    pub max_num_queued_reqs: Option<u32>,

    /// vLLM version whose metrics and behaviour to show: 0.10, 0.12, 0.32, 0.33.
    #[arg(long, default_value_t = Version::V0_32)]
    pub vllm_compat: Version,
    /// Seed of answers and their lengths.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Mean length of an answer that the request does not fix, tokens.
    #[arg(long, default_value_t = 128)]
    pub output_tokens_mean: u32,
    /// Standard deviation of that length, tokens.
    #[arg(long, default_value_t = 32)]
    pub output_tokens_stdev: u32,

    /// Time from start until the server is ready (everything says 503 before).
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub startup: Duration,
    /// Time the HTTP front end adds to each request.
    #[arg(long, default_value = "8ms", value_parser = duration)]
    pub api_overhead: Duration,
    /// Time it takes to fall asleep.
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub sleep_time: Duration,
    /// Time it takes to wake up.
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub wake_time: Duration,
    /// How many times faster than the hardware everything goes.
    #[arg(long, default_value_t = 1.0)]
    pub speed: f64,
    /// Time requests in flight get to end once the server is told to stop.
    #[arg(long, default_value = "25s", value_parser = duration)]
    pub shutdown_timeout: Duration,
    /// Bytes of a request body at most.
    #[arg(long, default_value_t = 32 << 20)]
    pub max_body_bytes: usize,

    #[command(flatten)]
    pub(crate) step: StepArgs,
}

/// Explicit step times.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Step time, instead of the GPU's and the model's")]
pub(crate) struct StepArgs {
    /// Linear model: constant of a decode step. Selects the linear model.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) step_alpha: Option<f64>,
    /// Linear model: time per decoding request.
    #[arg(long, value_name = "TIME", value_parser = seconds, requires = "step_alpha")]
    pub(crate) step_beta: Option<f64>,
    /// Linear model: constant of a prefill step.
    #[arg(long, value_name = "TIME", value_parser = seconds, requires = "step_alpha")]
    pub(crate) step_gamma: Option<f64>,
    /// Linear model: time per prefill token.
    #[arg(long, value_name = "TIME", value_parser = seconds, requires = "step_alpha")]
    pub(crate) step_delta: Option<f64>,
    /// Time to read all weights once.
    #[arg(long, value_name = "TIME", value_parser = seconds, conflicts_with = "step_alpha")]
    pub(crate) step_weights: Option<f64>,
    /// Arithmetic per token.
    #[arg(long, value_name = "TIME", value_parser = seconds, conflicts_with = "step_alpha")]
    pub(crate) step_token: Option<f64>,
    /// Time per KV token a decoding request reads.
    #[arg(long, value_name = "TIME", value_parser = seconds, conflicts_with = "step_alpha")]
    pub(crate) step_kv_token: Option<f64>,
    /// Time per pair of tokens in a prefill chunk.
    #[arg(long, value_name = "TIME", value_parser = seconds, conflicts_with = "step_alpha")]
    pub(crate) step_pair: Option<f64>,
    /// Overhead per step.
    #[arg(long, value_name = "TIME", value_parser = seconds, conflicts_with = "step_alpha")]
    pub(crate) step_overhead: Option<f64>,
    /// Overhead per request in a step.
    #[arg(long, value_name = "TIME", value_parser = seconds, conflicts_with = "step_alpha")]
    pub(crate) step_request: Option<f64>,
    /// All-reduce per token.
    #[arg(long, value_name = "TIME", value_parser = seconds, conflicts_with = "step_alpha")]
    pub(crate) step_all_reduce: Option<f64>,
}

/// A flag that cannot be served; says which and what to do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ArgsError {
    /// The value of a flag is not usable.
    #[error("{flag} {value}: {why}")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: String,
        /// What is wrong and what would be right.
        why: String,
    },
    /// The model does not fit the GPUs.
    #[error("--model, --gpu-type, --tensor-parallel-size: {0}")]
    Memory(#[from] engine::MemoryError),
    /// The engine refuses the limits.
    #[error("engine: {0}")]
    Engine(#[from] engine::ConfigError),
}

impl ArgsError {
    pub(crate) fn flag(flag: &'static str, value: &impl ToString, why: impl Into<String>) -> Self {
        Self::Flag {
            flag,
            value: value.to_string(),
            why: why.into(),
        }
    }
}

impl Args {
    /// The arguments that `flags` (without a program name) stand for; all
    /// defaults if there are none.
    ///
    /// # Errors
    /// A flag is unknown or its value cannot be read.
    pub fn from_flags<I>(flags: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator,
        I::Item: Into<std::ffi::OsString> + Clone,
    {
        let command = <Self as clap::Args>::augment_args(clap::Command::new("sim"))
            .no_binary_name(true)
            .args_override_self(true);
        Self::from_arg_matches(&command.try_get_matches_from(flags)?)
    }

    /// Fills `--host` and `--port` from the environment variables HOST and
    /// PORT, asked for through `variable`, where the flags are absent.
    ///
    /// # Errors
    /// PORT is not a port number.
    pub fn with_env(mut self, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ArgsError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        self.host = self.host.or_else(|| set("HOST"));
        if self.port.is_none()
            && let Some(text) = set("PORT")
        {
            let why = "the environment variable must be a port number, 0 to 65535";
            self.port = Some(text.parse().map_err(|_| ArgsError::flag("PORT", &text, why))?);
        }
        Ok(self)
    }
}

/// Seconds from `1.5ms`, `3us`, `2s`, `1m`, `1h`; a bare number is seconds.
fn seconds(text: &str) -> Result<f64, String> {
    // Divided, so that `20us` is exactly the number that 20e-6 is.
    let units = [
        ("ns", 1e9),
        ("us", 1e6),
        ("ms", 1e3),
        ("s", 1.0),
        ("m", 1.0 / 60.0),
        ("h", 1.0 / 3600.0),
    ];
    let (number, per_second) = units
        .iter()
        .find_map(|&(name, per_second)| Some((text.strip_suffix(name)?, per_second)))
        .unwrap_or((text, 1.0));
    match number.trim().parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value / per_second),
        _ => Err("write a time such as 250us, 1.5ms, 30s or 2m".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let longest = 7.0 * 24.0 * 3600.0;
    let seconds = seconds(text)?;
    if seconds > longest {
        return Err("longer than a week".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Args, clap::Error> {
        Args::from_flags(line.split_whitespace())
    }

    #[test]
    fn times_are_read_with_their_unit() {
        for (text, wanted) in [
            ("250us", 250e-6),
            ("1.5ms", 1.5e-3),
            ("2", 2.0),
            ("0.8ns", 0.8e-9),
            ("1m", 60.0),
        ] {
            let got = seconds(text).unwrap();
            assert!((got / wanted - 1.0).abs() < 1e-12, "{text}: {got}");
        }
        for text in ["", "ms", "-1s", "1 parsec", "infs", "NaN"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert!(duration("999999h").is_err());
    }

    #[test]
    fn flags_win_over_the_environment() {
        let environment = |name: &str| match name {
            "HOST" => Some("127.0.0.9".to_owned()),
            "PORT" => Some("8123".to_owned()),
            _ => None,
        };
        let args = read("").unwrap().with_env(environment).unwrap();
        assert_eq!((args.host.as_deref(), args.port), (Some("127.0.0.9"), Some(8123)));
        let args = read("--port 1").unwrap().with_env(environment).unwrap();
        assert_eq!(args.port, Some(1));
        let error = read("").unwrap().with_env(|_| Some("x".to_owned())).unwrap_err();
        assert!(error.to_string().contains("PORT x"), "{error}");
    }

    #[test]
    fn the_linear_model_and_the_parameters_exclude_each_other() {
        assert!(read("--step-alpha 7ms --step-weights 1ms").is_err());
        assert!(read("--step-beta 7ms").is_err());
        assert!(read("--vllm-compat 0.11").is_err());
        assert!(read("--unknown").is_err());
    }
}
