//! What engines call their numbers, version by version.

use wire::prom::parse::{Page, Sample};

/// A series by its name, and by one label where one name holds several things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series {
    /// Its name, suffix included.
    pub name: &'static str,
    /// A label it must carry.
    pub label: Option<(&'static str, &'static str)>,
}

const fn series(name: &'static str) -> Series {
    Series { name, label: None }
}

const fn labelled(name: &'static str, label: &'static str, value: &'static str) -> Series {
    Series {
        name,
        label: Some((label, value)),
    }
}

/// A set of names under which an engine publishes its load. Of each list the
/// first that is there counts: newer versions' names come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// Engine and versions, for people.
    pub engine: &'static str,
    /// The label that holds the model, if the engine tells the name it serves.
    pub model_label: Option<&'static str>,
    /// A label by which series are those of the engine itself: of what its
    /// `running` carries. Others on the page are of what stands before and
    /// behind it, and would count each request again.
    pub own_label: Option<&'static str>,
    /// Share of the KV cache in use.
    pub kv: &'static [Series],
    /// Requests in the running batch.
    pub running: Series,
    /// Requests waiting.
    pub waiting: Series,
    /// Counter of generated tokens.
    pub generated: &'static [Series],
    /// Counter of requests that ended.
    pub done: &'static [Series],
    /// Histograms, by the part of their names before `_sum` and `_count`:
    /// tokens of prompts.
    pub prompt_tokens: &'static [&'static str],
    /// Tokens of answers.
    pub answer_tokens: &'static [&'static str],
    /// Time to first token, seconds.
    pub ttft: &'static [&'static str],
    /// Time between tokens, seconds.
    pub itl: &'static [&'static str],
    /// Counters of prompt tokens that were found in the cache.
    pub prefix_hits: &'static [Series],
    /// Counters of prompt tokens that were looked for.
    pub prefix_queries: &'static [Series],
    /// Where the size of the KV cache stands.
    pub capacity: KvCapacity,
}

/// Where an engine says how many tokens its KV cache holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvCapacity {
    /// In labels of an info series: blocks, tokens per block.
    Labels(&'static str, &'static str, &'static str),
    /// In two gauges: blocks, tokens per block.
    Blocks(Series, Series),
    /// In a gauge of tokens.
    Tokens(Series),
}

/// Every engine that is known, in the order they are looked for.
pub const KNOWN: [Names; 4] = [
    Names {
        engine: "vLLM",
        model_label: Some("model_name"),
        own_label: None,
        kv: &[series("vllm:kv_cache_usage_perc"), series("vllm:gpu_cache_usage_perc")],
        running: series("vllm:num_requests_running"),
        waiting: series("vllm:num_requests_waiting"),
        generated: &[series("vllm:generation_tokens_total")],
        done: &[series("vllm:request_success_total")],
        prompt_tokens: &["vllm:request_prompt_tokens"],
        answer_tokens: &["vllm:request_generation_tokens"],
        ttft: &["vllm:time_to_first_token_seconds"],
        itl: &["vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"],
        prefix_hits: &[
            series("vllm:prefix_cache_hits_total"),
            series("vllm:gpu_prefix_cache_hits_total"),
        ],
        prefix_queries: &[
            series("vllm:prefix_cache_queries_total"),
            series("vllm:gpu_prefix_cache_queries_total"),
        ],
        capacity: KvCapacity::Labels("vllm:cache_config_info", "num_gpu_blocks", "block_size"),
    },
    Names {
        engine: "SGLang",
        model_label: Some("model_name"),
        own_label: None,
        kv: &[series("sglang:token_usage")],
        running: series("sglang:num_running_reqs"),
        waiting: series("sglang:num_queue_reqs"),
        generated: &[series("sglang:generation_tokens_total")],
        done: &[series("sglang:num_requests_total")],
        prompt_tokens: &["sglang:prompt_tokens_histogram"],
        answer_tokens: &["sglang:generation_tokens_histogram"],
        ttft: &["sglang:time_to_first_token_seconds"],
        itl: &[
            "sglang:inter_token_latency_seconds",
            "sglang:time_per_output_token_seconds",
        ],
        prefix_hits: &[series("sglang:cached_tokens_total")],
        prefix_queries: &[series("sglang:prompt_tokens_total")],
        capacity: KvCapacity::Tokens(series("sglang:max_total_num_tokens")),
    },
    Names {
        engine: "TensorRT-LLM (trtllm-serve)",
        model_label: Some("model_name"),
        own_label: None,
        kv: &[series("trtllm_kv_cache_utilization")],
        running: series("trtllm_num_requests_running"),
        waiting: series("trtllm_num_requests_waiting"),
        generated: &[],
        done: &[
            series("trtllm_request_success_total"),
            series("trtllm_num_requests_completed_total"),
        ],
        prompt_tokens: &[],
        answer_tokens: &[],
        ttft: &["trtllm_time_to_first_token_seconds"],
        itl: &["trtllm_time_per_output_token_seconds"],
        prefix_hits: &[],
        prefix_queries: &[],
        capacity: KvCapacity::Blocks(
            series("trtllm_kv_cache_max_blocks"),
            series("trtllm_kv_cache_tokens_per_block"),
        ),
    },
    Names {
        // Its `model` is the name in Triton's repository, not one that is served.
        engine: "TensorRT-LLM (Triton)",
        model_label: None,
        // An ensemble has a model each for tokenizing, computing and detokenizing.
        own_label: Some("model"),
        kv: &[labelled(
            "nv_trt_llm_kv_cache_block_metrics",
            "kv_cache_block_type",
            "fraction",
        )],
        running: labelled("nv_trt_llm_request_metrics", "request_type", "scheduled"),
        waiting: labelled("nv_trt_llm_request_metrics", "request_type", "waiting"),
        generated: &[],
        done: &[series("nv_inference_request_success")],
        prompt_tokens: &[],
        answer_tokens: &[],
        ttft: &[],
        itl: &[],
        prefix_hits: &[],
        prefix_queries: &[],
        capacity: KvCapacity::Blocks(
            labelled("nv_trt_llm_kv_cache_block_metrics", "kv_cache_block_type", "max"),
            labelled("nv_trt_llm_kv_cache_block_metrics", "kv_cache_block_type", "tokens_per"),
        ),
    },
];

/// Every series name that is read, each once.
#[must_use]
pub fn names() -> Vec<String> {
    let mut names = Vec::new();
    for known in &KNOWN {
        let lists = [
            known.kv,
            known.generated,
            known.done,
            known.prefix_hits,
            known.prefix_queries,
        ];
        let single = [known.running, known.waiting];
        names.extend(
            lists
                .iter()
                .flat_map(|list| list.iter())
                .chain(&single)
                .map(|series| series.name.to_owned()),
        );
        let histograms = [known.prompt_tokens, known.answer_tokens, known.ttft, known.itl];
        for histogram in histograms.iter().flat_map(|list| list.iter()) {
            names.push(format!("{histogram}_sum"));
            names.push(format!("{histogram}_count"));
        }
        match known.capacity {
            KvCapacity::Labels(name, ..) => names.push(name.to_owned()),
            KvCapacity::Blocks(blocks, size) => names.extend([blocks.name.to_owned(), size.name.to_owned()]),
            KvCapacity::Tokens(tokens) => names.push(tokens.name.to_owned()),
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// A number from a page, or a sentence on why there is none.
pub type Found = Result<f64, String>;

/// A histogram's sum and count since start, all engines of a replica together.
#[derive(Clone, Debug, PartialEq)]
pub struct Observations {
    /// Sum of what was observed.
    pub sum: Found,
    /// How often.
    pub count: Found,
}

/// What a page says of its replica.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaPage {
    /// Engine, and the name its KV cache share was found under.
    pub found: String,
    /// Share of the KV cache in use, 0 to 1; of the fullest engine, if one
    /// replica runs several.
    pub kv: Found,
    /// Requests in the running batch, of all engines together.
    pub running: Found,
    /// Requests waiting, of all engines together.
    pub waiting: Found,
    /// Generated tokens since start, of all engines together.
    pub generated: Found,
    /// Requests that ended since start.
    pub done: Found,
    /// Tokens of prompts.
    pub prompt_tokens: Observations,
    /// Tokens of answers.
    pub answer_tokens: Observations,
    /// Time to first token, seconds.
    pub ttft_s: Observations,
    /// Time between tokens, seconds.
    pub itl_s: Observations,
    /// Prompt tokens found in the cache since start, and those looked for.
    pub prefix: Observations,
    /// Tokens the KV cache holds, of all engines together.
    pub kv_tokens: Found,
}

/// Reads a replica's load off its page. Samples of other models do not count,
/// unless `model` is `None`.
///
/// # Errors
/// A sentence for people when the page is of no engine that is known.
pub fn read(page: &Page<'_>, model: Option<&str>) -> Result<ReplicaPage, String> {
    let known = KNOWN
        .iter()
        .find(|names| page.has_family(names.running.name) || page.has_family(names.waiting.name));
    let Some(names) = known else {
        let looked_for = KNOWN.map(|names| names.running.name).join(" or ");
        return Err(format!(
            "the page has no engine metrics ({looked_for}); is this the port of a model server?"
        ));
    };
    let reader = Reader { page, names, model };
    let kv_name = names.kv.iter().find(|series| page.has_family(series.name));
    let kv = match kv_name {
        Some(series) => reader
            .values(*series)
            .map(|values| values.into_iter().fold(0.0, f64::max))
            .and_then(|share| {
                if share <= 1.0 {
                    Ok(share)
                } else {
                    Err(format!("{} is {share}, above 1", series.name))
                }
            }),
        None => Err(format!("the page has none of {}", list(names.kv))),
    };
    Ok(ReplicaPage {
        found: match kv_name {
            Some(kv) => format!("{} ({})", names.engine, kv.name),
            None => names.engine.to_owned(),
        },
        kv,
        running: reader.sum(names.running),
        waiting: reader.sum(names.waiting),
        generated: reader.first(names.generated, "generated tokens"),
        done: reader.first(names.done, "requests that ended"),
        prompt_tokens: reader.histogram(names.prompt_tokens, "tokens of prompts"),
        answer_tokens: reader.histogram(names.answer_tokens, "tokens of answers"),
        ttft_s: reader.histogram(names.ttft, "time to first token"),
        itl_s: reader.histogram(names.itl, "time between tokens"),
        prefix: Observations {
            sum: reader.first(names.prefix_hits, "cached prompt tokens"),
            count: reader.first(names.prefix_queries, "prompt tokens looked for"),
        },
        kv_tokens: reader.kv_tokens(),
    })
}

fn list(of: &[Series]) -> String {
    of.iter().map(|series| series.name).collect::<Vec<_>>().join(", ")
}

struct Reader<'p, 't> {
    page: &'p Page<'t>,
    names: &'static Names,
    model: Option<&'p str>,
}

impl Reader<'_, '_> {
    fn sum(&self, series: Series) -> Found {
        self.values(series).map(|values| values.iter().sum())
    }

    /// The first of `of` that stands on the page.
    fn first(&self, of: &[Series], what: &str) -> Found {
        match of.iter().find(|series| self.page.has_family(series.name)) {
            Some(series) => self.sum(*series),
            None if of.is_empty() => Err(format!("{} does not tell {what}", self.names.engine)),
            None => Err(format!("the page has none of {}", list(of))),
        }
    }

    fn histogram(&self, of: &[&str], what: &str) -> Observations {
        for name in of {
            let part = |suffix: &str| {
                let name = format!("{name}_{suffix}");
                let there = self.page.samples.iter().any(|sample| sample.name == name);
                there.then(|| self.sum_of(&name))
            };
            if let (Some(sum), Some(count)) = (part("sum"), part("count")) {
                return Observations { sum, count };
            }
        }
        let why = if of.is_empty() {
            format!("{} does not tell {what}", self.names.engine)
        } else {
            format!("the page has none of {}", of.join(", "))
        };
        Observations {
            sum: Err(why.clone()),
            count: Err(why),
        }
    }

    fn kv_tokens(&self) -> Found {
        let product = |blocks: f64, size: f64| {
            let tokens = blocks * size;
            if tokens.is_finite() && tokens > 0.0 {
                Ok(tokens)
            } else {
                Err(format!("the KV cache has {blocks} blocks of {size} tokens"))
            }
        };
        match self.names.capacity {
            KvCapacity::Labels(name, blocks, size) => {
                let mut total = None;
                // The info series has no model: a page is one server's.
                for sample in self.page.select(name, &[]) {
                    let number = |label: &str| sample.label(label).and_then(|text| text.parse::<f64>().ok());
                    let (Some(blocks), Some(size)) = (number(blocks), number(size)) else {
                        return Err(format!("{name} does not tell {blocks} and {size}"));
                    };
                    total = Some(total.unwrap_or(0.0) + product(blocks, size)?);
                }
                total.ok_or_else(|| format!("the page has no {name}"))
            }
            KvCapacity::Blocks(blocks, size) => {
                let size = self.values(size)?.into_iter().fold(0.0, f64::max);
                product(self.sum(blocks)?, size)
            }
            KvCapacity::Tokens(series) => product(self.sum(series)?, 1.0),
        }
    }

    fn values(&self, series: Series) -> Result<Vec<f64>, String> {
        self.values_of(series.name, series.label.as_slice())
    }

    fn sum_of(&self, name: &str) -> Found {
        self.values_of(name, &[]).map(|values| values.iter().sum())
    }

    /// The values of `name` for the model, all of them sound.
    fn values_of(&self, name: &str, label: &[(&str, &str)]) -> Result<Vec<f64>, String> {
        let mut values = Vec::new();
        let mut others: Vec<&str> = Vec::new();
        for sample in self.page.select(name, label).filter(|sample| self.is_own(sample)) {
            match (self.model, self.names.model_label.and_then(|label| sample.label(label))) {
                (Some(wanted), Some(have)) if wanted != have => {
                    if !others.contains(&have) && others.len() < 4 {
                        others.push(have);
                    }
                }
                _ if sample.value.is_finite() && sample.value >= 0.0 => values.push(sample.value),
                _ => return Err(format!("{name} is {}", sample.value)),
            }
        }
        match (values.is_empty(), self.model) {
            (false, _) => Ok(values),
            (true, Some(model)) if !others.is_empty() => Err(format!(
                "{name} is there for model {} only, not {model}: modelID must be the name the engine serves it under",
                others.join(", ")
            )),
            (true, _) => Err(format!("the page has no {name}")),
        }
    }

    /// Whether the sample is of the engine itself.
    fn is_own(&self, sample: &Sample<'_>) -> bool {
        let Some(label) = self.names.own_label else { return true };
        let Some(whose) = sample.label(label) else { return true };
        let mut engines = self.page.select(self.names.running.name, &[]);
        engines.any(|engine| engine.label(label) == Some(whose))
    }
}

#[cfg(test)]
mod tests;
