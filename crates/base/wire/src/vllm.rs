//! vLLM's metric families: names, labels and buckets, by version.
//!
//! Names changed between versions and old ones disappeared, so whoever reads a
//! vLLM page asks [`families`] of the version, or tries the names in turn.

use crate::prom::write::Kind;
use std::fmt;
use std::str::FromStr;

/// A version of vLLM whose metrics differ from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 0.10: the last with `gpu_cache_usage_perc` and `time_per_output_token_seconds`.
    V0_10,
    /// 0.12: sleep state and per-request time per output token came.
    V0_12,
    /// 0.32: prompt tokens by source, waiting by reason, admission rejections.
    V0_32,
    /// 0.33: the metrics of 0.32.
    V0_33,
}

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Self; 4] = [Self::V0_10, Self::V0_12, Self::V0_32, Self::V0_33];

    /// The two-part version, as on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_10 => "0.10",
            Self::V0_12 => "0.12",
            Self::V0_32 => "0.32",
            Self::V0_33 => "0.33",
        }
    }

    /// The release that was looked at, as `/version` tells it.
    #[must_use]
    pub const fn release(self) -> &'static str {
        match self {
            Self::V0_10 => "0.10.2",
            Self::V0_12 => "0.12.0",
            Self::V0_32 => "0.32.0",
            Self::V0_33 => "0.33.0",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A version this module does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("vLLM version {0:?} is not known; use 0.10, 0.12, 0.32 or 0.33")]
pub struct UnknownVersion(pub String);

impl FromStr for Version {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = |version: &Self| text == version.as_str() || text == version.release();
        Self::ALL
            .into_iter()
            .find(known)
            .ok_or_else(|| UnknownVersion(text.to_owned()))
    }
}

/// Where a family's buckets end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Buckets {
    /// Not a histogram.
    None,
    /// These bounds.
    Fixed(&'static [f64]),
    /// 1, 2, 5, 10, ... up to the longest context, see [`token_bounds`].
    Tokens,
}

/// One family of series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Family {
    /// The name in `# TYPE`, with `_total` where the series have it.
    pub name: &'static str,
    /// The sentence in `# HELP`.
    pub help: &'static str,
    /// The kind of numbers.
    pub kind: Kind,
    /// Whether the series have the label `engine` beside `model_name`.
    pub engine: bool,
    /// A further label and its values: one series for each, in this order.
    /// Those of `finished_reason` differ between versions and are not here,
    /// see [`finished_reasons`].
    pub by: Option<(&'static str, &'static [&'static str])>,
    /// Bucket bounds.
    pub buckets: Buckets,
    /// The first version that has it.
    pub since: Version,
    /// The last version that has it, unless it still exists.
    pub until: Option<Version>,
}

/// The families of `version`, in the order of a page.
pub fn families(version: Version) -> impl Iterator<Item = &'static Family> {
    table::FAMILIES
        .iter()
        .filter(move |family| family.since <= version && family.until.is_none_or(|until| version <= until))
}

/// The reasons a request can end for, in `version`.
#[must_use]
pub fn finished_reasons(version: Version) -> &'static [&'static str] {
    if version >= Version::V0_32 {
        &["stop", "length", "abort", "error", "repetition"]
    } else {
        &["stop", "length", "abort"]
    }
}

/// Bounds of a histogram of token counts: 1, 2, 5, 10, ... not above `max_model_len`.
#[must_use]
pub fn token_bounds(max_model_len: u32) -> Vec<f64> {
    let decades = (0..10).map(|exponent| 10_u64.pow(exponent));
    decades
        .flat_map(|decade| [decade, 2 * decade, 5 * decade])
        .take_while(|bound| *bound <= u64::from(max_model_len))
        .map(|bound| bound as f64)
        .collect()
}

/// Bounds of request latencies (end to end, queue, inference, prefill, decode), seconds.
pub const LATENCY_BOUNDS: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
];
/// Bounds of the time to first token, seconds.
pub const TTFT_BOUNDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
];
/// Bounds of gaps between tokens, seconds.
pub const ITL_BOUNDS: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
];
/// Bounds of tokens per step.
pub const ITERATION_BOUNDS: &[f64] = &[
    1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0,
];
/// Bounds of the request parameter `n`.
pub const N_BOUNDS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0];
/// Bounds of preemptions per request.
pub const PREEMPTION_BOUNDS: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0];

/// Gauge: requests being computed.
pub const NUM_REQUESTS_RUNNING: &str = "vllm:num_requests_running";
/// Gauge: requests waiting.
pub const NUM_REQUESTS_WAITING: &str = "vllm:num_requests_waiting";
/// Gauge by `reason`: requests waiting.
pub const NUM_REQUESTS_WAITING_BY_REASON: &str = "vllm:num_requests_waiting_by_reason";
/// Gauge by `sleep_state`: 1 on the state that holds.
pub const ENGINE_SLEEP_STATE: &str = "vllm:engine_sleep_state";
/// Gauge: share of KV blocks held, 0 to 1 (to 0.10).
pub const GPU_CACHE_USAGE_PERC: &str = "vllm:gpu_cache_usage_perc";
/// Gauge: share of KV blocks held, 0 to 1.
pub const KV_CACHE_USAGE_PERC: &str = "vllm:kv_cache_usage_perc";
/// Counter: tokens looked up in the prefix cache (to 0.10).
pub const GPU_PREFIX_CACHE_QUERIES: &str = "vllm:gpu_prefix_cache_queries_total";
/// Counter: tokens found in the prefix cache (to 0.10).
pub const GPU_PREFIX_CACHE_HITS: &str = "vllm:gpu_prefix_cache_hits_total";
/// Counter: tokens looked up in the prefix cache.
pub const PREFIX_CACHE_QUERIES: &str = "vllm:prefix_cache_queries_total";
/// Counter: tokens found in the prefix cache.
pub const PREFIX_CACHE_HITS: &str = "vllm:prefix_cache_hits_total";
/// Counter: preemptions.
pub const NUM_PREEMPTIONS: &str = "vllm:num_preemptions_total";
/// Counter: prompt tokens of requests that got a first token.
pub const PROMPT_TOKENS: &str = "vllm:prompt_tokens_total";
/// Counter by `source`: where prompt tokens came from.
pub const PROMPT_TOKENS_BY_SOURCE: &str = "vllm:prompt_tokens_by_source_total";
/// Counter: prompt tokens found in any cache.
pub const PROMPT_TOKENS_CACHED: &str = "vllm:prompt_tokens_cached_total";
/// Counter by `source`: prompt tokens by the cache that had them.
pub const PROMPT_TOKENS_CACHED_BY_SOURCE: &str = "vllm:prompt_tokens_cached_by_source_total";
/// Counter: tokens generated.
pub const GENERATION_TOKENS: &str = "vllm:generation_tokens_total";
/// Counter by `finished_reason`: requests that ended.
pub const REQUEST_SUCCESS: &str = "vllm:request_success_total";
/// Counter by `reason`: requests not admitted.
pub const ADMISSION_REJECTIONS: &str = "vllm:admission_rejections_total";
/// Histogram: prompt tokens per request.
pub const REQUEST_PROMPT_TOKENS: &str = "vllm:request_prompt_tokens";
/// Histogram: generated tokens per request.
pub const REQUEST_GENERATION_TOKENS: &str = "vllm:request_generation_tokens";
/// Histogram, despite its name: tokens per step.
pub const ITERATION_TOKENS: &str = "vllm:iteration_tokens_total";
/// Histogram: most tokens generated for one answer of a request.
pub const REQUEST_MAX_NUM_GENERATION_TOKENS: &str = "vllm:request_max_num_generation_tokens";
/// Histogram: the parameter `n`.
pub const REQUEST_PARAMS_N: &str = "vllm:request_params_n";
/// Histogram: the parameter `max_tokens`.
pub const REQUEST_PARAMS_MAX_TOKENS: &str = "vllm:request_params_max_tokens";
/// Histogram: from arrival to the first token, queueing included, seconds.
pub const TIME_TO_FIRST_TOKEN: &str = "vllm:time_to_first_token_seconds";
/// Histogram: gaps between tokens, seconds (to 0.10).
pub const TIME_PER_OUTPUT_TOKEN: &str = "vllm:time_per_output_token_seconds";
/// Histogram: gaps between tokens, seconds.
pub const INTER_TOKEN_LATENCY: &str = "vllm:inter_token_latency_seconds";
/// Histogram: mean gap between tokens, one value per request, seconds.
pub const REQUEST_TIME_PER_OUTPUT_TOKEN: &str = "vllm:request_time_per_output_token_seconds";
/// Histogram: from arrival to end, seconds.
pub const E2E_REQUEST_LATENCY: &str = "vllm:e2e_request_latency_seconds";
/// Histogram: from being queued to being scheduled, seconds.
pub const REQUEST_QUEUE_TIME: &str = "vllm:request_queue_time_seconds";
/// Histogram: from being scheduled to the last token, seconds.
pub const REQUEST_INFERENCE_TIME: &str = "vllm:request_inference_time_seconds";
/// Histogram: from being scheduled to the first token, seconds.
pub const REQUEST_PREFILL_TIME: &str = "vllm:request_prefill_time_seconds";
/// Histogram: from the first to the last token, seconds.
pub const REQUEST_DECODE_TIME: &str = "vllm:request_decode_time_seconds";
/// Histogram: preemptions per request.
pub const REQUEST_NUM_PREEMPTIONS: &str = "vllm:request_num_preemptions";
/// Histogram: prompt tokens computed, not found in a cache.
pub const REQUEST_PREFILL_KV_COMPUTED_TOKENS: &str = "vllm:request_prefill_kv_computed_tokens";
/// Gauge, always 1: the cache's configuration as labels.
pub const CACHE_CONFIG_INFO: &str = "vllm:cache_config_info";

mod table;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_in_both_lengths() {
        assert_eq!("0.10".parse(), Ok(Version::V0_10));
        assert_eq!("0.32.0".parse(), Ok(Version::V0_32));
        assert!("0.1".parse::<Version>().unwrap_err().to_string().contains("0.33"));
    }

    #[test]
    fn token_bounds_end_with_the_longest_context() {
        assert_eq!(token_bounds(1), [1.0]);
        assert_eq!(token_bounds(1024).last(), Some(&1000.0));
        assert_eq!(token_bounds(2048).last(), Some(&2000.0));
        assert_eq!(token_bounds(u32::MAX).last(), Some(&2e9));
    }

    #[test]
    fn renamed_families_do_not_overlap() {
        let names = |version| families(version).map(|family| family.name).collect::<Vec<_>>();
        assert!(names(Version::V0_10).contains(&GPU_CACHE_USAGE_PERC));
        assert!(names(Version::V0_10).contains(&TIME_PER_OUTPUT_TOKEN));
        assert!(!names(Version::V0_12).contains(&TIME_PER_OUTPUT_TOKEN));
        assert!(!names(Version::V0_10).contains(&ENGINE_SLEEP_STATE));
        assert!(names(Version::V0_12).contains(&REQUEST_TIME_PER_OUTPUT_TOKEN));
        assert_eq!(names(Version::V0_32), names(Version::V0_33));
        for version in Version::ALL {
            let mut sorted = names(version);
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), names(version).len(), "a name twice in {version}");
        }
    }
}
