//! What a vLLM server was told about memory and batches, read from the
//! container that starts it, and the capacity that follows before the first
//! replica has reported.

mod shell;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

/// A container of a pod template.
#[derive(Clone, Copy, Debug)]
pub struct Container<'a> {
    /// Its name.
    pub name: &'a str,
    /// `command`, the words that replace the image's entry point.
    pub command: &'a [String],
    /// `args`.
    pub args: &'a [String],
    /// Environment variables with a literal value.
    pub env: &'a [(String, String)],
}

/// The arguments that bound what one replica holds. Defaults are vLLM's.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineArgs {
    /// Share of the GPU's memory the server may take.
    pub gpu_memory_utilization: f64,
    /// Tokens in a block of the KV cache.
    pub block_size: u64,
    /// Element type of the KV cache.
    pub kv_cache_dtype: String,
    /// GPUs one layer is spread over.
    pub tensor_parallel: u64,
    /// GPUs the layers are spread over.
    pub pipeline_parallel: u64,
    /// Engines in one replica, each with its own cache.
    pub data_parallel: u64,
    /// Blocks of the KV cache, where they are set by hand.
    pub num_gpu_blocks_override: Option<u64>,
    /// Most tokens computed in one iteration, where set.
    pub max_num_batched_tokens: Option<u64>,
    /// Most requests in one batch, where set.
    pub max_num_seqs: Option<u64>,
    /// Longest request in tokens, where set.
    pub max_model_len: Option<u64>,
    /// Whether a prompt may be read in pieces.
    pub chunked_prefill: bool,
    /// Whether the V1 engine runs (`VLLM_USE_V1` is not 0).
    pub v1: bool,
    /// Arguments that are there and could not be read, for people.
    pub unread: Vec<String>,
}

impl Default for EngineArgs {
    fn default() -> Self {
        Self {
            gpu_memory_utilization: 0.9,
            block_size: 16,
            kv_cache_dtype: "auto".to_owned(),
            tensor_parallel: 1,
            pipeline_parallel: 1,
            data_parallel: 1,
            num_gpu_blocks_override: None,
            max_num_batched_tokens: None,
            max_num_seqs: None,
            max_model_len: None,
            chunked_prefill: true,
            v1: true,
            unread: Vec::new(),
        }
    }
}

/// Most sentences kept about arguments that could not be read.
const MAX_UNREAD: usize = 16;

impl EngineArgs {
    /// Reads the arguments of the container called `main`, or of the first
    /// one: the flags of a sidecar mean something else. Without that container
    /// everything is as vLLM's defaults.
    #[must_use]
    pub fn of(containers: &[Container<'_>], main: Option<&str>) -> Self {
        let container = match main {
            Some(name) => containers.iter().find(|container| container.name == name),
            None => containers.first(),
        };
        let mut args = Self::default();
        let Some(container) = container else {
            if let Some(name) = main {
                args.unread.push(format!("there is no container {name}"));
            }
            return args;
        };
        let env: BTreeMap<&str, &str> = container.env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        args.v1 = env.get("VLLM_USE_V1").is_none_or(|value| value.trim() != "0");
        args.chunked_prefill = args.v1;
        let words = shell::words(container.command, container.args, &env);
        args.read(&words);
        args
    }

    /// Tokens one iteration computes at most: as set, else what the engine
    /// takes by default.
    #[must_use]
    pub fn effective_batched_tokens(&self) -> u64 {
        const V1: u64 = 8192;
        const V0: u64 = 2048;
        match self.max_num_batched_tokens {
            Some(tokens) => tokens,
            None if self.v1 => V1,
            None if self.chunked_prefill => V0,
            None => self.max_model_len.unwrap_or(V0).max(V0),
        }
    }

    /// Most requests in one batch: as set, else what the engine takes by default.
    #[must_use]
    pub fn max_batch(&self) -> u64 {
        const DEFAULT: u64 = 256;
        self.max_num_seqs.unwrap_or(DEFAULT)
    }

    /// Most requests that all engines of a replica compute at once, where that is
    /// set. The default is another one for each version and GPU.
    #[must_use]
    pub fn slots(&self) -> Option<f64> {
        Some(self.max_num_seqs? as f64 * self.data_parallel as f64)
    }

    /// Tokens the KV cache holds, where the blocks are set by hand.
    #[must_use]
    pub fn cache_tokens(&self) -> Option<f64> {
        self.num_gpu_blocks_override
            .map(|blocks| blocks as f64 * self.block_size as f64)
    }

    /// Tokens the running batch holds when it is as large as the arguments
    /// allow, for requests of `input` and `output` tokens: with a budget of B
    /// tokens per iteration and S places, N = min(B O/(I+O), S) requests, each
    /// half done on average, hold N (I + O/2). None when the answer length is
    /// not known.
    #[must_use]
    pub fn derived_capacity(&self, input: f64, output: f64) -> Option<f64> {
        let budget = self.effective_batched_tokens() as f64;
        let usable = input.is_finite() && output.is_finite() && input >= 0.0 && output > 0.0 && budget > 0.0;
        usable
            .then(|| {
                let requests = (budget * output / (input + output)).min(self.max_batch() as f64);
                (requests * (input + output / 2.0)).trunc()
            })
            .filter(|tokens| *tokens > 0.0)
    }

    /// Whether a replica with `other` holds as much as one with these.
    #[must_use]
    pub fn compatible(&self, other: &Self) -> bool {
        self.gpu_memory_utilization
            .total_cmp(&other.gpu_memory_utilization)
            .is_eq()
            && self.block_size == other.block_size
            && self.kv_cache_dtype == other.kv_cache_dtype
            && self.tensor_parallel == other.tensor_parallel
            && self.pipeline_parallel == other.pipeline_parallel
            && self.data_parallel == other.data_parallel
            && self.num_gpu_blocks_override == other.num_gpu_blocks_override
            && self.effective_batched_tokens() == other.effective_batched_tokens()
    }

    fn read(&mut self, words: &[String]) {
        let mut rest = words.iter().map(String::as_str).peekable();
        while let Some(word) = rest.next() {
            let Some((name, inline)) = flag(word) else { continue };
            match name.as_str() {
                "enable-chunked-prefill" | "no-enable-chunked-prefill" => {
                    let said = inline.or_else(|| rest.next_if(|next| truth(next).is_some()));
                    let yes = said.is_none_or(|said| truth(said).unwrap_or(true));
                    self.chunked_prefill = yes != name.starts_with("no-");
                }
                _ if KNOWN.contains(&name.as_str()) => {
                    match inline.or_else(|| rest.next_if(|next| flag(next).is_none())) {
                        Some(value) if self.take(&name, value) => {}
                        Some(value) => {
                            self.complain(format!("--{name} {value} cannot be read; the default is assumed"));
                        }
                        None => self.complain(format!("--{name} has no value; the default is assumed")),
                    }
                }
                _ => {}
            }
        }
    }

    fn complain(&mut self, what: String) {
        if self.unread.len() < MAX_UNREAD {
            self.unread.push(what);
        }
    }

    /// Whether `value` could be taken for `name`, one of [`KNOWN`].
    fn take(&mut self, name: &str, value: &str) -> bool {
        let positive = |slot: &mut u64| match whole(value).filter(|n| *n > 0) {
            Some(n) => {
                *slot = n;
                true
            }
            None => false,
        };
        let optional = |slot: &mut Option<u64>| match whole(value).filter(|n| *n > 0) {
            Some(n) => {
                *slot = Some(n);
                true
            }
            None => false,
        };
        match name {
            "gpu-memory-utilization" => match value.parse::<f64>() {
                Ok(share) if share > 0.0 && share <= 1.0 => {
                    self.gpu_memory_utilization = share;
                    true
                }
                _ => false,
            },
            "kv-cache-dtype" => {
                value.clone_into(&mut self.kv_cache_dtype);
                !value.is_empty()
            }
            "block-size" => positive(&mut self.block_size),
            "tensor-parallel-size" | "tp" => positive(&mut self.tensor_parallel),
            "pipeline-parallel-size" | "pp" => positive(&mut self.pipeline_parallel),
            "data-parallel-size" | "dp" => positive(&mut self.data_parallel),
            "max-num-seqs" => optional(&mut self.max_num_seqs),
            "num-gpu-blocks-override" => optional(&mut self.num_gpu_blocks_override),
            "max-num-batched-tokens" => optional(&mut self.max_num_batched_tokens),
            "max-model-len" => optional(&mut self.max_model_len),
            _ => false,
        }
    }
}

/// Arguments with a value that are read.
const KNOWN: [&str; 13] = [
    "gpu-memory-utilization",
    "kv-cache-dtype",
    "block-size",
    "tensor-parallel-size",
    "tp",
    "pipeline-parallel-size",
    "pp",
    "data-parallel-size",
    "dp",
    "max-num-seqs",
    "num-gpu-blocks-override",
    "max-num-batched-tokens",
    "max-model-len",
];

/// The name, with hyphens, and the value after `=`. `-tp` is a flag too.
fn flag(word: &str) -> Option<(String, Option<&str>)> {
    let bare = word.strip_prefix("--").or_else(|| {
        word.strip_prefix('-')
            .filter(|short| short.starts_with(|c: char| c.is_ascii_alphabetic()))
    })?;
    let (name, value) = match bare.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (bare, None),
    };
    (!name.is_empty()).then(|| (name.replace('_', "-"), value))
}

fn truth(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Some(true),
        "false" | "0" | "no" => Some(false),
        _ => None,
    }
}

/// `4096`, and as vLLM writes it for people: `4k` is 4000, `4K` is 4096.
fn whole(word: &str) -> Option<u64> {
    if let Ok(n) = word.parse::<u64>() {
        return Some(n);
    }
    let (digits, factor) = [
        ('k', 1e3),
        ('m', 1e6),
        ('g', 1e9),
        ('K', 1024.0),
        ('M', 1024.0 * 1024.0),
        ('G', 1024.0 * 1024.0 * 1024.0),
    ]
    .into_iter()
    .find_map(|(unit, factor)| word.strip_suffix(unit).map(|digits| (digits, factor)))?;
    let plain = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    let value = digits.parse::<f64>().ok().filter(|_| plain)? * factor;
    (value < 1e15).then_some(value as u64)
}
