//! vLLM's metrics page.

use crate::driver::Snapshot;
use crate::process;
use crate::settings::Settings;
use engine::{Iteration, SleepLevel, Summary};
use std::time::Duration;
use wire::prom::write::{Kind, Writer};
use wire::vllm::{self, Buckets, Family, Version};

/// Counts per bucket, and the sum.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    name: &'static str,
    bounds: Vec<f64>,
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    fn record(&mut self, value: f64) {
        self.counts[self.bounds.partition_point(|bound| *bound < value)] += 1;
        self.sum += value;
    }
}

macro_rules! histograms {
    ($($field:ident = $name:ident),* $(,)?) => {
        /// What the engine's thread observes.
        #[derive(Clone, Debug)]
        pub(crate) struct Metrics {
            $($field: Histogram,)*
            /// Requests not admitted because too many were alive.
            pub(crate) rejected: u64,
        }

        impl Metrics {
            pub(crate) fn new(max_model_len: u32) -> Self {
                Self { $($field: empty(vllm::$name, max_model_len),)* rejected: 0 }
            }

            fn all(&self) -> impl Iterator<Item = &Histogram> {
                [$(&self.$field),*].into_iter()
            }
        }
    };
}

histograms! {
    prompt_tokens = REQUEST_PROMPT_TOKENS,
    generation_tokens = REQUEST_GENERATION_TOKENS,
    iteration_tokens = ITERATION_TOKENS,
    max_generation_tokens = REQUEST_MAX_NUM_GENERATION_TOKENS,
    params_n = REQUEST_PARAMS_N,
    params_max_tokens = REQUEST_PARAMS_MAX_TOKENS,
    ttft = TIME_TO_FIRST_TOKEN,
    itl = INTER_TOKEN_LATENCY,
    request_tpot = REQUEST_TIME_PER_OUTPUT_TOKEN,
    e2e = E2E_REQUEST_LATENCY,
    queue = REQUEST_QUEUE_TIME,
    inference = REQUEST_INFERENCE_TIME,
    prefill = REQUEST_PREFILL_TIME,
    decode = REQUEST_DECODE_TIME,
    preemptions = REQUEST_NUM_PREEMPTIONS,
    prefill_computed = REQUEST_PREFILL_KV_COMPUTED_TOKENS,
}

fn empty(name: &'static str, max_model_len: u32) -> Histogram {
    let family = Version::ALL
        .into_iter()
        .flat_map(vllm::families)
        .find(|family| family.name == name);
    let bounds = match family.map(|family| family.buckets) {
        Some(Buckets::Fixed(bounds)) => bounds.to_vec(),
        Some(Buckets::Tokens) => vllm::token_bounds(max_model_len),
        Some(Buckets::None) | None => Vec::new(),
    };
    Histogram {
        name,
        counts: vec![0; bounds.len() + 1],
        bounds,
        sum: 0.0,
    }
}

impl Metrics {
    pub(crate) fn iteration(&mut self, iteration: Iteration) {
        self.iteration_tokens
            .record(f64::from(iteration.prompt_tokens) + f64::from(iteration.generation_tokens));
    }

    pub(crate) fn token(&mut self, index: u32, gap: Duration) {
        let histogram = if index == 1 { &mut self.ttft } else { &mut self.itl };
        histogram.record(gap.as_secs_f64());
    }

    /// A request ended; `group` tells how many answers its prompt had and the
    /// tokens of the longest, if this was the last of them.
    pub(crate) fn finished(&mut self, life: &Summary, asked_max_tokens: Option<u32>, group: Option<(u32, u32)>) {
        self.prompt_tokens.record(f64::from(life.prompt_tokens));
        self.generation_tokens.record(f64::from(life.output_tokens));
        if let Some(max_tokens) = asked_max_tokens {
            self.params_max_tokens.record(f64::from(max_tokens));
        }
        if let Some((n, longest)) = group {
            self.params_n.record(f64::from(n));
            self.max_generation_tokens.record(f64::from(longest));
        }
        self.e2e.record(life.e2e.as_secs_f64());
        for (histogram, time) in [
            (&mut self.queue, life.queue),
            (&mut self.prefill, life.prefill),
            (&mut self.decode, life.decode),
            (&mut self.inference, life.inference),
        ] {
            if let Some(time) = time {
                histogram.record(time.as_secs_f64());
            }
        }
        if let Some(decode) = life.decode
            && life.output_tokens > 1
        {
            self.request_tpot
                .record(decode.as_secs_f64() / f64::from(life.output_tokens - 1));
        }
        self.preemptions.record(f64::from(life.preemptions));
        if life.prefill.is_some() {
            self.prefill_computed
                .record(f64::from(life.prompt_tokens.saturating_sub(life.cached_tokens)));
        }
    }
}

/// The page that vLLM of `settings.version` would show. `created` is the
/// server's start, unix seconds.
pub(crate) fn page(settings: &Settings, snapshot: &Snapshot, created: f64) -> String {
    let mut page = Writer::with_capacity(48 * 1024);
    process::write(&mut page, created);
    for family in vllm::families(settings.version) {
        page.family(family.name, family.kind, family.help);
        if family.name == vllm::CACHE_CONFIG_INFO {
            cache_config(&mut page, settings);
            continue;
        }
        let values = match family.by {
            Some(("finished_reason", _)) => vllm::finished_reasons(settings.version),
            Some((_, values)) => values,
            None => &[""],
        };
        let histogram = snapshot.metrics.all().find(|histogram| {
            // The old name of the same observations.
            let name = if family.name == vllm::TIME_PER_OUTPUT_TOKEN {
                vllm::INTER_TOKEN_LATENCY
            } else {
                family.name
            };
            histogram.name == name
        });
        for value in values {
            let labels = labels(family, settings, value);
            match histogram {
                Some(h) if family.kind == Kind::Histogram => {
                    page.histogram(family.name, &labels, &h.bounds, &h.counts, h.sum);
                }
                _ => page.sample(family.name, &labels, number(family.name, value, snapshot)),
            }
        }
        if family.kind != Kind::Gauge {
            // The Python client tells beside each counter when it began.
            let stem = match family.kind {
                Kind::Counter => family.name.trim_end_matches("_total"),
                _ => family.name,
            };
            let name = format!("{stem}_created");
            page.family(&name, Kind::Gauge, family.help);
            for value in values {
                page.sample(&name, &labels(family, settings, value), created);
            }
        }
    }
    page.finish()
}

fn labels<'a>(family: &Family, settings: &'a Settings, value: &'a str) -> Vec<(&'static str, &'a str)> {
    let mut labels = vec![("model_name", settings.names[0].as_str())];
    if family.engine {
        labels.push(("engine", "0"));
    }
    if let Some((label, _)) = family.by {
        labels.push((label, value));
    }
    labels.sort_unstable();
    labels
}

/// The value of a counter or gauge. What this server never does is truly 0.
fn number(name: &str, label: &str, snapshot: &Snapshot) -> f64 {
    let (counters, gauges) = (&snapshot.counters, &snapshot.gauges);
    let whole = match (name, label) {
        (vllm::NUM_REQUESTS_RUNNING, _) => u64::from(gauges.running),
        (vllm::NUM_REQUESTS_WAITING, _) | (vllm::NUM_REQUESTS_WAITING_BY_REASON, "capacity") => {
            u64::from(gauges.waiting)
        }
        (vllm::ENGINE_SLEEP_STATE, state) => u64::from(state == sleep_state(gauges.resident.asleep)),
        (vllm::GPU_CACHE_USAGE_PERC | vllm::KV_CACHE_USAGE_PERC, _) => return gauges.kv_usage,
        (vllm::GPU_PREFIX_CACHE_QUERIES | vllm::PREFIX_CACHE_QUERIES, _) => counters.prefix_queries,
        (vllm::GPU_PREFIX_CACHE_HITS | vllm::PREFIX_CACHE_HITS, _)
        | (vllm::PROMPT_TOKENS_CACHED_BY_SOURCE, "device") => counters.prefix_hits,
        (vllm::NUM_PREEMPTIONS, _) => counters.preemptions,
        (vllm::PROMPT_TOKENS, _) => counters.prompt_tokens,
        (vllm::PROMPT_TOKENS_BY_SOURCE, "local_compute") => counters.prompt_tokens - counters.cached_prompt_tokens,
        (vllm::PROMPT_TOKENS_BY_SOURCE, "local_cache_hit") | (vllm::PROMPT_TOKENS_CACHED, _) => {
            counters.cached_prompt_tokens
        }
        (vllm::GENERATION_TOKENS, _) => counters.generation_tokens,
        (vllm::REQUEST_SUCCESS, "stop") => counters.finished_stop,
        (vllm::REQUEST_SUCCESS, "length") => counters.finished_length,
        (vllm::REQUEST_SUCCESS, "abort") => counters.finished_abort,
        (vllm::ADMISSION_REJECTIONS, "max_num_queued_reqs") => snapshot.metrics.rejected,
        _ => 0,
    };
    whole as f64
}

const fn sleep_state(asleep: Option<SleepLevel>) -> &'static str {
    match asleep {
        // A pause keeps all memory; vLLM does not count it as sleep here.
        None | Some(SleepLevel::Paused) => "awake",
        Some(SleepLevel::WeightsOffloaded) => "weights_offloaded",
        Some(SleepLevel::DiscardAll) => "discard_all",
    }
}

/// Every field of the cache's configuration as a label. Fields that mean
/// nothing here have the value they have in a plain vLLM.
fn cache_config(page: &mut Writer, settings: &Settings) {
    let engine = &settings.engine;
    let block_size = engine.block_size.to_string();
    let utilization = settings.gpu_memory_utilization.to_string();
    let blocks = engine.num_gpu_blocks.to_string();
    let tokens = engine.kv_tokens().to_string();
    let concurrency = format!(
        "{:?}",
        engine.kv_tokens() as f64 / f64::from(engine.max_model_len.max(1))
    );
    let blocks_override = settings
        .num_gpu_blocks_override
        .map_or_else(|| "None".to_owned(), |blocks| blocks.to_string());
    let caching = if engine.prefix_caching { "True" } else { "False" };
    let mut labels = vec![
        ("block_size", block_size.as_str()),
        ("cache_dtype", "auto"),
        ("enable_prefix_caching", caching),
        ("engine", "0"),
        ("gpu_memory_utilization", utilization.as_str()),
        ("is_attention_free", "False"),
        ("num_cpu_blocks", "None"),
        ("num_gpu_blocks", blocks.as_str()),
        ("num_gpu_blocks_override", blocks_override.as_str()),
        ("prefix_caching_hash_algo", "sha256"),
        ("sliding_window", "None"),
    ];
    if settings.version >= Version::V0_32 {
        labels.extend([
            ("_block_size_resolved", "True"),
            ("cache_hit_alignment_tokens", "None"),
            ("effective_attention_block_size", block_size.as_str()),
            ("enable_mamba_shared_prefix_checkpoint", "False"),
            ("hash_block_size", "None"),
            ("kv_cache_dtype_skip_layers", "[]"),
            ("kv_cache_layout", "None"),
            ("kv_cache_max_concurrency", concurrency.as_str()),
            ("kv_cache_memory_bytes", "None"),
            ("kv_cache_size_tokens", tokens.as_str()),
            ("kv_offloading_backend", "native"),
            ("kv_offloading_size", "None"),
            ("kv_sharing_fast_prefill", "False"),
            ("mamba_block_size", "None"),
            ("mamba_cache_dtype", "auto"),
            ("mamba_cache_mode", "none"),
            ("mamba_page_size_padded", "None"),
            ("mamba_ssm_cache_dtype", "auto"),
            ("prefix_cache_retention_interval", "0"),
            ("prefix_match_unit", "None"),
            ("replayssm_buffer_len", "16"),
            ("skip_page_size_padded", "None"),
            ("swa_bounded_replay", "True"),
            ("use_kda_recoverssm", "False"),
            ("use_replayssm", "False"),
            ("user_specified_block_size", "False"),
        ]);
    }
    labels.sort_unstable();
    page.sample(vllm::CACHE_CONFIG_INFO, &labels, 1.0);
}
