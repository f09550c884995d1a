//! What engines call their numbers, version by version.

use wire::prom::parse::Page;

/// A set of names under which an engine publishes its load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// Engine and versions, for people.
    pub engine: &'static str,
    /// Names of the KV cache share, the preferred one first.
    pub kv: &'static [&'static str],
    /// Requests in the running batch.
    pub running: &'static str,
    /// Requests waiting.
    pub waiting: &'static str,
    /// Counter of generated tokens.
    pub generated: &'static str,
}

/// Every engine that is known, in the order they are looked for.
pub const KNOWN: [Names; 2] = [
    Names {
        engine: "vLLM",
        kv: &["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"],
        running: "vllm:num_requests_running",
        waiting: "vllm:num_requests_waiting",
        generated: "vllm:generation_tokens_total",
    },
    Names {
        engine: "SGLang",
        kv: &["sglang:token_usage"],
        running: "sglang:num_running_reqs",
        waiting: "sglang:num_queue_reqs",
        generated: "sglang:generation_tokens_total",
    },
];

/// A number from a page, or a sentence on why there is none.
pub type Found = Result<f64, String>;

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
}

/// Reads a replica's load off its page. Samples of other models do not count,
/// unless `model` is `None`.
///
/// # Errors
/// A sentence for people when the page is of no engine that is known.
pub fn read(page: &Page<'_>, model: Option<&str>) -> Result<ReplicaPage, String> {
    let known = KNOWN
        .iter()
        .find(|names| page.has_family(names.running) || page.has_family(names.waiting));
    let Some(names) = known else {
        let looked_for = KNOWN.map(|names| names.running).join(" or ");
        return Err(format!(
            "the page has no engine metrics ({looked_for}); is this the port of a model server?"
        ));
    };
    let kv_name = names.kv.iter().find(|name| page.has_family(name));
    let sum = |name: &str| values(page, name, model).map(|values| values.iter().sum::<f64>());
    let kv = match kv_name {
        Some(name) => values(page, name, model)
            .map(|values| values.into_iter().fold(0.0, f64::max))
            .and_then(|share| {
                if share <= 1.0 {
                    Ok(share)
                } else {
                    Err(format!("{name} is {share}, above 1"))
                }
            }),
        None => Err(format!("the page has none of {}", names.kv.join(", "))),
    };
    Ok(ReplicaPage {
        found: match kv_name {
            Some(kv) => format!("{} ({kv})", names.engine),
            None => names.engine.to_owned(),
        },
        kv,
        running: sum(names.running),
        waiting: sum(names.waiting),
        generated: sum(names.generated),
    })
}

/// The values of `name` for `model`, all of them sound.
fn values(page: &Page<'_>, name: &str, model: Option<&str>) -> Result<Vec<f64>, String> {
    let mut values = Vec::new();
    let mut others: Vec<&str> = Vec::new();
    for sample in page.select(name, &[]) {
        match (model, sample.label("model_name")) {
            (Some(wanted), Some(have)) if wanted != have => {
                if !others.contains(&have) && others.len() < 4 {
                    others.push(have);
                }
            }
            _ if sample.value.is_finite() && sample.value >= 0.0 => values.push(sample.value),
            _ => return Err(format!("{name} is {}", sample.value)),
        }
    }
    match (values.is_empty(), model) {
        (false, _) => Ok(values),
        (true, Some(model)) if !others.is_empty() => Err(format!(
            "{name} is there for model {} only, not {model}: modelID must be the name the engine serves it under",
            others.join(", ")
        )),
        (true, _) => Err(format!("the page has no {name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::prom::parse::parse;

    fn read_text(text: &str, model: Option<&str>) -> Result<ReplicaPage, String> {
        read(&parse(text.as_bytes()).unwrap(), model)
    }

    const NEWER: &str = "vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 3.0\n\
                         vllm:num_requests_waiting{engine=\"0\",model_name=\"m\"} 1.0\n\
                         vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"m\"} 0.5\n\
                         vllm:generation_tokens_total{engine=\"0\",model_name=\"m\"} 56.0\n";

    #[test]
    fn every_engine_version_is_read_under_its_names() {
        let older = NEWER.replace("vllm:kv_cache", "vllm:gpu_cache");
        let both = format!("vllm:gpu_cache_usage_perc{{model_name=\"m\"}} 0.9\n{NEWER}");
        let sglang = "sglang:token_usage{model_name=\"m\"} 0.5\nsglang:num_running_reqs{model_name=\"m\"} 3\n\
                      sglang:num_queue_reqs{model_name=\"m\"} 1\nsglang:generation_tokens_total{model_name=\"m\"} 56\n";
        let cases = [
            (NEWER, "vLLM (vllm:kv_cache_usage_perc)"),
            (&older, "vLLM (vllm:gpu_cache_usage_perc)"),
            (&both, "vLLM (vllm:kv_cache_usage_perc)"),
            (sglang, "SGLang (sglang:token_usage)"),
        ];
        for (text, found) in cases {
            let page = read_text(text, Some("m")).unwrap();
            assert_eq!(page.found, found);
            let numbers = (page.kv, page.running, page.waiting, page.generated);
            assert_eq!(numbers, (Ok(0.5), Ok(3.0), Ok(1.0), Ok(56.0)), "{found}");
        }
    }

    #[test]
    fn what_is_missing_is_an_error_and_not_zero() {
        let page = read_text("vllm:num_requests_running{model_name=\"m\"} 3\n", Some("m")).unwrap();
        assert_eq!(page.running, Ok(3.0));
        assert!(page.kv.unwrap_err().contains("none of vllm:kv_cache_usage_perc"));
        assert!(page.waiting.unwrap_err().contains("no vllm:num_requests_waiting"));
        assert!(
            read_text("python_info 1\n", Some("m"))
                .unwrap_err()
                .contains("no engine metrics")
        );
    }

    #[test]
    fn absurd_values_are_errors_and_not_numbers() {
        for absurd in ["NaN", "+Inf", "-1"] {
            let page = read_text(&NEWER.replace("0.5", absurd), Some("m")).unwrap();
            assert!(page.kv.is_err(), "{absurd}");
        }
        assert!(
            read_text(&NEWER.replace("0.5", "50"), Some("m"))
                .unwrap()
                .kv
                .unwrap_err()
                .contains("above 1")
        );
    }

    #[test]
    fn another_models_samples_do_not_count_and_the_error_names_them() {
        let page = read_text(NEWER, Some("other")).unwrap();
        assert!(page.running.unwrap_err().contains("for model m only, not other"));
        assert_eq!(read_text(NEWER, None).unwrap().running, Ok(3.0));
    }

    #[test]
    fn several_engines_of_a_replica_count_together() {
        let second = NEWER.replace("engine=\"0\"", "engine=\"1\"").replace("0.5", "0.75");
        let page = read_text(&format!("{NEWER}{second}"), Some("m")).unwrap();
        assert_eq!((page.kv, page.running, page.waiting), (Ok(0.75), Ok(6.0), Ok(2.0)));
    }
}
