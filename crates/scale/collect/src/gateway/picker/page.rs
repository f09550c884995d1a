//! What a picker's metrics say of each model, by any of the names they have had.

use std::collections::BTreeMap;
use wire::prom::parse::{Page, Sample};
use wire::signals::Histogram;

/// One number by its names, those of newer versions first. A picker that
/// publishes an old name beside a new one counts once.
type Names = &'static [&'static str];

const QUEUED: Names = &[
    "llm_d_epp_flow_control_queue_size",
    "inference_extension_flow_control_queue_size",
];
/// A histogram: one observation for each request that left the queue, however.
const LEFT_QUEUE: Names = &[
    "llm_d_epp_flow_control_request_queue_duration_seconds",
    "inference_extension_flow_control_request_queue_duration_seconds",
];
const RUNNING: Names = &["llm_d_epp_request_running", "inference_objective_running_requests"];
/// A histogram: one observation for each request that was answered.
const ANSWERED: Names = &[
    "llm_d_epp_request_duration_seconds",
    "inference_objective_request_duration_seconds",
];
const PROMPTS: Names = &["llm_d_epp_request_input_tokens", "inference_objective_input_tokens"];
const ANSWERS: Names = &["llm_d_epp_request_output_tokens", "inference_objective_output_tokens"];
const TTFT: Names = &[
    "llm_d_epp_request_ttft_seconds",
    "inference_objective_request_ttft_seconds",
];
const ITL: Names = &["llm_d_epp_request_streaming_itl_seconds"];

/// One model, as the page has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct OfModel {
    /// Requests that its flow control holds now.
    pub(super) queued: u64,
    /// Requests that have left the queue since the picker began.
    pub(super) left_queue: u64,
    pub(super) running: u64,
    pub(super) answered: u64,
    pub(super) prompt_tokens: u64,
    pub(super) answer_tokens: u64,
    pub(super) ttft: Histogram,
    pub(super) itl: Histogram,
}

/// Reads a page: the models that flow control has seen.
///
/// # Errors
/// It is no page of metrics, or not of a picker that tells the model of what it
/// holds.
pub(super) fn read(body: &[u8]) -> Result<BTreeMap<String, OfModel>, String> {
    let page = wire::prom::parse::parse(body).map_err(|error| error.to_string())?;
    let mut models: BTreeMap<String, OfModel> = BTreeMap::new();
    let (mut nameless, mut held) = (false, false);
    for sample in named(&page, QUEUED, "") {
        held = true;
        match (model_of(sample), count(sample.value)) {
            (Some(model), Some(count)) => add(&mut models.entry(model.to_owned()).or_default().queued, count),
            (Some(model), None) => return Err(format!("the queue of {model} is {}, which none can be", sample.value)),
            (None, _) => nameless = true,
        }
    }
    for (model, sample) in of_models(&page, LEFT_QUEUE, "_count") {
        held = true;
        let model = models.entry(model.to_owned()).or_default();
        add(&mut model.left_queue, count(sample.value).unwrap_or(0));
    }
    if held && nameless && models.is_empty() {
        return Err("it does not tell for which model it holds requests: a newer version does".to_owned());
    }
    // Whom flow control has never seen is left out: its queue is not known.
    let mut sum = |names, suffix, of: fn(&mut OfModel) -> &mut u64| {
        for (model, sample) in of_models(&page, names, suffix) {
            if let (Some(model), Some(count)) = (models.get_mut(model), count(sample.value)) {
                add(of(model), count);
            }
        }
    };
    sum(RUNNING, "", |model| &mut model.running);
    sum(ANSWERED, "_count", |model| &mut model.answered);
    sum(PROMPTS, "_sum", |model| &mut model.prompt_tokens);
    sum(ANSWERS, "_sum", |model| &mut model.answer_tokens);
    for (names, of) in [
        (TTFT, (|model| &mut model.ttft) as fn(&mut OfModel) -> &mut Histogram),
        (ITL, |model| &mut model.itl),
    ] {
        for (model, latency) in latencies(&page, names) {
            if let Some(model) = models.get_mut(model) {
                *of(model) = latency;
            }
        }
    }
    Ok(models)
}

/// The samples of the first of `names` that stands on the page with `suffix`.
fn named<'p>(page: &'p Page<'p>, names: Names, suffix: &'static str) -> Vec<&'p Sample<'p>> {
    let is = |sample: &Sample<'_>, name: &str| sample.name.strip_suffix(suffix) == Some(name);
    let of_name = |name: &&str| -> Vec<&Sample<'_>> { page.samples.iter().filter(|sample| is(sample, name)).collect() };
    names
        .iter()
        .map(of_name)
        .find(|found| !found.is_empty())
        .unwrap_or_default()
}

fn of_models<'p>(
    page: &'p Page<'p>,
    names: Names,
    suffix: &'static str,
) -> impl Iterator<Item = (&'p str, &'p Sample<'p>)> {
    let samples = named(page, names, suffix);
    samples
        .into_iter()
        .filter_map(|sample| Some((model_of(sample)?, sample)))
}

/// The model that is asked for at replicas, else the one that clients name.
fn model_of<'s>(sample: &'s Sample<'_>) -> Option<&'s str> {
    let told = |label| sample.label(label).filter(|model| !model.is_empty());
    told("target_model_name").or_else(|| told("model_name"))
}

/// A number of things; what no number of things can be is none.
fn count(value: f64) -> Option<u64> {
    (value.is_finite() && value >= 0.0).then_some(value.round() as u64)
}

const fn add(sum: &mut u64, count: u64) {
    *sum = sum.saturating_add(count);
}

/// A histogram of seconds by model, in our buckets: each observation is put at
/// the upper bound of the bucket it was counted in.
fn latencies<'p>(page: &'p Page<'p>, names: Names) -> BTreeMap<&'p str, Histogram> {
    let mut cumulative: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for (model, sample) in of_models(page, names, "_bucket") {
        let Some(bound) = sample.label("le").and_then(|bound| bound.parse::<f64>().ok()) else {
            continue;
        };
        let bounds = cumulative.entry(model).or_default();
        let sound = if sample.value.is_finite() {
            sample.value.max(0.0)
        } else {
            0.0
        };
        match bounds.iter_mut().find(|(have, _)| *have == bound) {
            Some((_, count)) => *count += sound,
            None => bounds.push((bound, sound)),
        }
    }
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for (model, sample) in of_models(page, names, "_sum") {
        *sums.entry(model).or_default() += sample.value;
    }
    let ours = |(model, mut bounds): (&'p str, Vec<(f64, f64)>)| {
        bounds.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let mut histogram = Histogram {
            counts: vec![0; Histogram::BUCKETS + 1],
            sum_ms: sums.get(model).copied().filter(|sum| sum.is_finite()).unwrap_or(0.0) * 1e3,
        };
        let mut before = 0.0;
        for (bound, count) in bounds {
            let bucket = Histogram::bucket_of(bound * 1e3).min(Histogram::BUCKETS);
            histogram.counts[bucket] += (count - before).max(0.0).round() as u64;
            before = count.max(before);
        }
        (model, histogram)
    };
    cumulative.into_iter().map(ours).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(page: &str) -> OfModel {
        let mut models = read(page.as_bytes()).unwrap();
        assert_eq!(models.len(), 1, "{models:?}");
        models.pop_first().unwrap().1
    }

    #[test]
    fn what_is_held_counts_by_the_model_that_replicas_are_asked_for() {
        let page = r#"
# TYPE inference_extension_flow_control_queue_size gauge
inference_extension_flow_control_queue_size{fairness_id="a",inference_pool="p",model_name="chat",priority="0",target_model_name="llama"} 3
inference_extension_flow_control_queue_size{fairness_id="b",inference_pool="p",model_name="llama",priority="-1",target_model_name=""} 2
inference_extension_flow_control_queue_size{fairness_id="b",inference_pool="p",model_name="qwen",priority="0",target_model_name="qwen"} 0
"#;
        let models = read(page.as_bytes()).unwrap();
        let queued: Vec<(&str, u64)> = models.iter().map(|(name, of)| (name.as_str(), of.queued)).collect();
        assert_eq!(queued, [("llama", 5), ("qwen", 0)]);
    }

    #[test]
    fn an_old_name_beside_a_new_one_counts_once() {
        let of = one(r#"
llm_d_epp_flow_control_queue_size{model_name="m",target_model_name="m"} 3
inference_extension_flow_control_queue_size{model_name="m",target_model_name="m"} 3
llm_d_epp_request_running{model_name="m",target_model_name="m",priority="0"} 4
inference_objective_running_requests{model_name="m"} 4
"#);
        assert_eq!((of.queued, of.running), (3, 4));
    }

    #[test]
    fn the_names_of_each_version_are_known() {
        for (flow, request, running, input, output) in [
            (
                "llm_d_epp_flow_control",
                "llm_d_epp_request",
                "llm_d_epp_request_running",
                "llm_d_epp_request_input_tokens",
                "llm_d_epp_request_output_tokens",
            ),
            (
                "inference_extension_flow_control",
                "inference_objective_request",
                "inference_objective_running_requests",
                "inference_objective_input_tokens",
                "inference_objective_output_tokens",
            ),
        ] {
            let of = one(&format!(
                r#"
{flow}_queue_size{{model_name="m",priority="0"}} 1
{flow}_request_queue_duration_seconds_count{{model_name="m",outcome="Dispatched"}} 40
{flow}_request_queue_duration_seconds_count{{model_name="m",outcome="EvictedTTL"}} 2
{running}{{model_name="m"}} 4
{request}_duration_seconds_count{{model_name="m"}} 36
{input}_sum{{model_name="m"}} 3600
{output}_sum{{model_name="m"}} 7200
"#
            ));
            let counted = (of.queued, of.left_queue, of.running, of.answered);
            assert_eq!(counted, (1, 42, 4, 36), "{flow}");
            assert_eq!((of.prompt_tokens, of.answer_tokens), (3600, 7200), "{flow}");
        }
    }

    #[test]
    fn latencies_are_within_the_buckets_they_were_counted_in() {
        let of = one(r#"
llm_d_epp_flow_control_queue_size{model_name="m"} 0
llm_d_epp_request_ttft_seconds_bucket{model_name="m",streaming="true",le="0.1"} 50
llm_d_epp_request_ttft_seconds_bucket{model_name="m",streaming="true",le="0.5"} 80
llm_d_epp_request_ttft_seconds_bucket{model_name="m",streaming="true",le="+Inf"} 81
llm_d_epp_request_ttft_seconds_bucket{model_name="m",streaming="false",le="0.1"} 10
llm_d_epp_request_ttft_seconds_bucket{model_name="m",streaming="false",le="0.5"} 19
llm_d_epp_request_ttft_seconds_bucket{model_name="m",streaming="false",le="+Inf"} 19
llm_d_epp_request_ttft_seconds_sum{model_name="m",streaming="true"} 8
llm_d_epp_request_ttft_seconds_sum{model_name="m",streaming="false"} 2
"#);
        assert_eq!((of.ttft.count(), of.ttft.sum_ms), (100, 10_000.0));
        let median = of.ttft.quantile_ms(0.5).unwrap();
        assert!((100.0..=110.0).contains(&median), "{median}");
        let p99 = of.ttft.quantile_ms(0.99).unwrap();
        assert!((500.0..=550.0).contains(&p99), "{p99}");
        assert_eq!(of.itl.count(), 0);
    }

    #[test]
    fn a_picker_without_flow_control_tells_of_no_queue() {
        let page = r#"
llm_d_epp_request_total{model_name="m",target_model_name="m"} 7
llm_d_epp_request_running{model_name="m",target_model_name="m"} 4
"#;
        assert_eq!(read(page.as_bytes()), Ok(BTreeMap::new()), "not 0");
    }

    #[test]
    fn what_cannot_be_is_said() {
        for (page, says) in [
            (
                r#"llm_d_epp_flow_control_queue_size{priority="0"} 3"#,
                "does not tell for which model",
            ),
            (
                r#"llm_d_epp_flow_control_queue_size{model_name="m"} NaN"#,
                "the queue of m is NaN",
            ),
            (
                r#"llm_d_epp_flow_control_queue_size{model_name="m"} -1"#,
                "the queue of m is -1",
            ),
            ("<html>", "line 1"),
        ] {
            let error = read(page.as_bytes()).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
