//! Model servers: a queue, a batch of so many slots, and tokens that come the
//! slower the more requests share a step. Their pages are vLLM's.

use super::chance::Chance;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

/// Requests that run at once.
const SLOTS: usize = 16;
/// Tokens of a prompt and of an answer.
const PROMPT: f64 = 400.0;
const ANSWER: f64 = 100.0;
/// Tokens of the KV cache: blocks, tokens per block.
const BLOCKS: f64 = 600.0;
const BLOCK: f64 = 16.0;
/// Requests that wait at one server at most; more are lost.
const WAITING: usize = 200;

/// Seconds between two tokens, alone and for each request beside.
const ALONE: f64 = 0.020;
const BESIDE: f64 = 0.001;

/// Every server there is, by Pod, and the load they share.
#[derive(Debug)]
pub(crate) struct Engines {
    /// Requests per second.
    pub(crate) rate: f64,
    servers: BTreeMap<String, Engine>,
    chance: Chance,
    due: f64,
}

#[derive(Debug, Default)]
struct Engine {
    ready: bool,
    /// When each waiting request came.
    waiting: VecDeque<f64>,
    /// Tokens that each running request still owes.
    running: Vec<f64>,
    generated: f64,
    done: f64,
    ttft: (f64, f64),
    itl: (f64, f64),
}

impl Engines {
    pub(crate) fn new(rate: f64, seed: u64) -> Self {
        Self {
            rate,
            servers: BTreeMap::new(),
            chance: Chance::new(seed),
            due: 0.0,
        }
    }

    /// Starts a server that is ready.
    pub(crate) fn begin(&mut self, pod: &str) {
        self.servers.entry(pod.to_owned()).or_default().ready = true;
    }

    /// Ends a server; what it held is lost.
    pub(crate) fn end(&mut self, pod: &str) {
        self.servers.remove(pod);
    }

    /// Lets `seconds` pass until `now`.
    pub(crate) fn step(&mut self, seconds: f64, now: f64) {
        self.due += self.rate * seconds * (0.7 + 0.6 * self.chance.share());
        while self.due >= 1.0 {
            self.due -= 1.0;
            let least = self
                .servers
                .values_mut()
                .filter(|engine| engine.ready)
                .min_by_key(|engine| engine.running.len() + engine.waiting.len());
            if let Some(engine) = least.filter(|engine| engine.waiting.len() < WAITING) {
                engine.waiting.push_back(now);
            }
        }
        for engine in self.servers.values_mut() {
            engine.step(seconds, now);
        }
    }

    /// The metrics page of a server, if it is there.
    pub(crate) fn page(&self, pod: &str, model: &str) -> Option<String> {
        let engine = self.servers.get(pod).filter(|engine| engine.ready)?;
        Some(engine.page(model))
    }
}

impl Engine {
    fn step(&mut self, seconds: f64, now: f64) {
        while self.running.len() < SLOTS {
            let Some(came) = self.waiting.pop_front() else { break };
            self.ttft = (self.ttft.0 + now - came + 0.05 + 2.0 * ALONE, self.ttft.1 + 1.0);
            self.running.push(ANSWER);
        }
        let between = ALONE + BESIDE * self.running.len() as f64;
        let each = seconds / between;
        for owed in &mut self.running {
            let made = each.min(*owed);
            *owed -= made;
            self.generated += made;
            self.itl = (self.itl.0 + made * between, self.itl.1 + made);
        }
        let before = self.running.len();
        self.running.retain(|owed| *owed > 0.0);
        self.done += (before - self.running.len()) as f64;
    }

    fn page(&self, model: &str) -> String {
        let labels = format!("{{engine=\"0\",model_name=\"{model}\"}}");
        let held: f64 = self.running.iter().map(|owed| PROMPT + ANSWER - owed).sum();
        let started = self.ttft.1;
        let mut page = String::new();
        let gauges = [
            ("vllm:kv_cache_usage_perc", (held / (BLOCKS * BLOCK)).min(1.0)),
            ("vllm:num_requests_running", self.running.len() as f64),
            ("vllm:num_requests_waiting", self.waiting.len() as f64),
        ];
        let counters = [
            ("vllm:generation_tokens_total", self.generated.floor()),
            ("vllm:request_success_total", self.done),
            ("vllm:request_prompt_tokens_sum", PROMPT * started),
            ("vllm:request_prompt_tokens_count", started),
            ("vllm:request_generation_tokens_sum", ANSWER * self.done),
            ("vllm:request_generation_tokens_count", self.done),
            ("vllm:time_to_first_token_seconds_sum", self.ttft.0),
            ("vllm:time_to_first_token_seconds_count", self.ttft.1),
            ("vllm:inter_token_latency_seconds_sum", self.itl.0),
            ("vllm:inter_token_latency_seconds_count", self.itl.1.floor()),
        ];
        for (name, value) in gauges.into_iter().chain(counters) {
            // Writing to a String cannot fail.
            let _ = writeln!(page, "{name}{labels} {value}");
        }
        let _ = writeln!(
            page,
            "vllm:cache_config_info{{block_size=\"{BLOCK}\",num_gpu_blocks=\"{BLOCKS}\"}} 1"
        );
        page
    }
}
