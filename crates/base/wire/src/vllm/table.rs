//! The table behind [`families`].

use super::*;

const fn family(name: &'static str, kind: Kind, help: &'static str) -> Family {
    Family {
        name,
        help,
        kind,
        engine: true,
        by: None,
        buckets: Buckets::None,
        since: Version::V0_10,
        until: None,
    }
}

const fn histogram(name: &'static str, buckets: Buckets, help: &'static str) -> Family {
    Family {
        buckets,
        ..family(name, Kind::Histogram, help)
    }
}

impl Family {
    const fn by(mut self, label: &'static str, values: &'static [&'static str]) -> Self {
        self.by = Some((label, values));
        self
    }

    const fn since(mut self, version: Version) -> Self {
        self.since = version;
        self
    }

    const fn until(mut self, version: Version) -> Self {
        self.until = Some(version);
        self
    }

    const fn without_engine(mut self) -> Self {
        self.engine = false;
        self
    }
}

/// In the order of a page. The values of `finished_reason` depend on the
/// version, see [`finished_reasons`].
pub(super) const FAMILIES: &[Family] = &[
    family("vllm:estimated_flops_per_gpu_total", Kind::Counter, "Estimated number of floating point operations per GPU (for Model Flops Utilization calculations).").since(Version::V0_32),
    family("vllm:estimated_read_bytes_per_gpu_total", Kind::Counter, "Estimated number of bytes read from memory per GPU (for Model Flops Utilization calculations).").since(Version::V0_32),
    family("vllm:estimated_write_bytes_per_gpu_total", Kind::Counter, "Estimated number of bytes written to memory per GPU (for Model Flops Utilization calculations).").since(Version::V0_32),
    family(NUM_REQUESTS_RUNNING, Kind::Gauge, "Number of requests in model execution batches."),
    family(NUM_REQUESTS_WAITING, Kind::Gauge, "Number of requests waiting to be processed."),
    family(NUM_REQUESTS_WAITING_BY_REASON, Kind::Gauge, "Number of waiting requests by reason. Reason labels: 'capacity' = waiting for scheduling capacity; 'deferred' = deferred by transient constraints (LoRA budget, KV transfer, blocked status). Sum of all reasons equals vllm:num_requests_waiting.").by("reason", &["capacity", "deferred"]).since(Version::V0_32),
    family(ENGINE_SLEEP_STATE, Kind::Gauge, "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake; weights_offloaded = 1 means sleep level 1; discard_all = 1 means sleep level 2.").by("sleep_state", &["awake", "weights_offloaded", "discard_all"]).since(Version::V0_12),
    family(GPU_CACHE_USAGE_PERC, Kind::Gauge, "GPU KV-cache usage; use vllm:kv_cache_usage_perc. 1 means 100 percent usage.").until(Version::V0_10),
    family(KV_CACHE_USAGE_PERC, Kind::Gauge, "KV-cache usage. 1 means 100 percent usage."),
    family(GPU_PREFIX_CACHE_QUERIES, Kind::Counter, "GPU prefix cache queries in tokens; use vllm:prefix_cache_queries.").until(Version::V0_10),
    family(GPU_PREFIX_CACHE_HITS, Kind::Counter, "GPU prefix cache hits in tokens; use vllm:prefix_cache_hits.").until(Version::V0_10),
    family(PREFIX_CACHE_QUERIES, Kind::Counter, "Prefix cache queries, in terms of number of queried tokens."),
    family(PREFIX_CACHE_HITS, Kind::Counter, "Prefix cache hits, in terms of number of cached tokens."),
    family("vllm:external_prefix_cache_queries_total", Kind::Counter, "External prefix cache queries from KV connector cross-instance cache sharing, in terms of number of queried tokens.").since(Version::V0_12),
    family("vllm:external_prefix_cache_hits_total", Kind::Counter, "External prefix cache hits from KV connector cross-instance cache sharing, in terms of number of cached tokens.").since(Version::V0_12),
    family("vllm:mm_cache_queries_total", Kind::Counter, "Multi-modal cache queries, in terms of number of queried items.").since(Version::V0_12),
    family("vllm:mm_cache_hits_total", Kind::Counter, "Multi-modal cache hits, in terms of number of cached items.").since(Version::V0_12),
    family(NUM_PREEMPTIONS, Kind::Counter, "Cumulative number of preemption from the engine."),
    family(PROMPT_TOKENS, Kind::Counter, "Number of prefill tokens processed."),
    family(PROMPT_TOKENS_BY_SOURCE, Kind::Counter, "Number of prompt tokens by source.").by("source", &["local_compute", "local_cache_hit", "external_kv_transfer"]).since(Version::V0_32),
    family(PROMPT_TOKENS_CACHED, Kind::Counter, "Number of cached prompt tokens (local + external).").since(Version::V0_32),
    family(PROMPT_TOKENS_CACHED_BY_SOURCE, Kind::Counter, "Prefix-cache hit tokens by the cache tier that supplied them: device (local HBM), host (offloaded to DRAM), disk, p2p (transferred from another vLLM instance) or external_unspecified. Counted at admission; sums to vllm:prefix_cache_hits + vllm:external_prefix_cache_hits.").by("source", &["device", "host", "p2p", "disk", "external_unspecified"]).since(Version::V0_32),
    family(GENERATION_TOKENS, Kind::Counter, "Number of generation tokens processed."),
    family(REQUEST_SUCCESS, Kind::Counter, "Count of successfully processed requests.").by("finished_reason", &[]),
    family(ADMISSION_REJECTIONS, Kind::Counter, "Number of admission attempts rejected by a queue limit, by reason.").by("reason", &["max_num_queued_reqs", "max_num_queued_tokens"]).since(Version::V0_32).without_engine(),
    histogram(REQUEST_PROMPT_TOKENS, Buckets::Tokens, "Number of prefill tokens processed."),
    histogram(REQUEST_GENERATION_TOKENS, Buckets::Tokens, "Number of generation tokens processed."),
    histogram(ITERATION_TOKENS, Buckets::Fixed(ITERATION_BOUNDS), "Histogram of number of tokens per engine_step."),
    histogram(REQUEST_MAX_NUM_GENERATION_TOKENS, Buckets::Tokens, "Histogram of maximum number of requested generation tokens."),
    histogram(REQUEST_PARAMS_N, Buckets::Fixed(N_BOUNDS), "Histogram of the n request parameter."),
    histogram(REQUEST_PARAMS_MAX_TOKENS, Buckets::Tokens, "Histogram of the max_tokens request parameter."),
    histogram(TIME_TO_FIRST_TOKEN, Buckets::Fixed(TTFT_BOUNDS), "Histogram of time to first token in seconds."),
    histogram(TIME_PER_OUTPUT_TOKEN, Buckets::Fixed(ITL_BOUNDS), "Histogram of time per output token in seconds; use vllm:inter_token_latency_seconds.").until(Version::V0_10),
    histogram(INTER_TOKEN_LATENCY, Buckets::Fixed(ITL_BOUNDS), "Histogram of inter-token latency in seconds."),
    histogram(REQUEST_TIME_PER_OUTPUT_TOKEN, Buckets::Fixed(ITL_BOUNDS), "Histogram of time_per_output_token_seconds per request.").since(Version::V0_12),
    histogram(E2E_REQUEST_LATENCY, Buckets::Fixed(LATENCY_BOUNDS), "Histogram of e2e request latency in seconds."),
    histogram(REQUEST_QUEUE_TIME, Buckets::Fixed(LATENCY_BOUNDS), "Histogram of time spent in WAITING phase for request."),
    histogram(REQUEST_INFERENCE_TIME, Buckets::Fixed(LATENCY_BOUNDS), "Histogram of time spent in RUNNING phase for request."),
    histogram(REQUEST_PREFILL_TIME, Buckets::Fixed(LATENCY_BOUNDS), "Histogram of time spent in PREFILL phase for request."),
    histogram(REQUEST_DECODE_TIME, Buckets::Fixed(LATENCY_BOUNDS), "Histogram of time spent in DECODE phase for request."),
    histogram(REQUEST_NUM_PREEMPTIONS, Buckets::Fixed(PREEMPTION_BOUNDS), "Histogram of the number of times a request was preempted.").since(Version::V0_32),
    histogram(REQUEST_PREFILL_KV_COMPUTED_TOKENS, Buckets::Tokens, "Histogram of new KV tokens computed during prefill (excluding cached tokens).").since(Version::V0_32),
    family(CACHE_CONFIG_INFO, Kind::Gauge, "Information of the LLMEngine CacheConfig"),
];
