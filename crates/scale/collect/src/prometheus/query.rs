//! PromQL: what is asked, and what to say when nothing comes back.

use crate::families;
use crate::source::TrackedModel;
use crate::{Endpoint, scrape};
use std::fmt::Write;
use std::time::Duration;

/// Most Pods that are named in one question.
const MOST_NAMED: usize = 500;

/// By what replicas are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Matchers {
    model: Option<String>,
    place: Option<String>,
}

/// How to look for a model, the usual way first: by its own labels and the
/// namespace; without the namespace, which a relabelling may have renamed; by
/// the Pods, for engines whose model label is not the name that is served.
pub(super) fn matchers(key: &TrackedModel, endpoints: &[Endpoint]) -> Vec<Matchers> {
    let model = Some(format!("model_name={}", quoted(&key.model)));
    let namespace = Some(format!("namespace={}", quoted(&key.namespace)));
    let pods: Vec<String> = endpoints
        .iter()
        .take(MOST_NAMED)
        .map(|endpoint| literal(endpoint.pod.rsplit('/').next().unwrap_or(&endpoint.pod)))
        .collect();
    let matchers = |model, place| Matchers { model, place };
    let mut all = vec![matchers(model.clone(), namespace), matchers(model, None)];
    if !pods.is_empty() {
        all.push(matchers(None, Some(format!("pod=~{}", quoted(&pods.join("|"))))));
    }
    all
}

/// All raw samples of the last `window`.
pub(super) fn samples(matchers: &Matchers, window: Duration) -> String {
    let names: Vec<String> = families::names()
        .iter()
        .filter(|name| !name.ends_with("_info"))
        .map(|name| literal(name))
        .collect();
    let name = format!("__name__=~{}", quoted(&names.join("|")));
    let parts: Vec<String> = [Some(name), matchers.model.clone(), matchers.place.clone()]
        .into_iter()
        .flatten()
        .collect();
    format!("{{{}}}[{}s]", parts.join(","), window.as_secs().max(1))
}

/// The size of KV caches. Real vLLM puts no model on this series, so only
/// where the replicas are is asked for; the Pod joins it.
pub(super) fn cache_config(matchers: &Matchers) -> String {
    let place = matchers
        .place
        .as_ref()
        .map_or_else(String::new, |place| format!(",{place}"));
    format!("{{__name__=\"vllm:cache_config_info\"{place}}}")
}

/// What to say when no series is any replica's.
pub(super) fn nothing_found(key: &TrackedModel, elsewhere: &[String]) -> String {
    let mut message = format!(
        "Prometheus has no samples of model {} in namespace {}: is there a ServiceMonitor or PodMonitor, does its \
         selector match, do the Pods serve {}, and does Prometheus scrape that namespace?",
        key.model,
        key.namespace,
        scrape::ScrapeConfig::default().path
    );
    if !elsewhere.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(
            message,
            " There are such series of {}, which are none of its Pods: keep the labels pod or instance when relabelling",
            elsewhere.join(", ")
        );
    }
    message
}

/// A PromQL string.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}

/// A regular expression that matches just `text`.
fn literal(text: &str) -> String {
    let mut expression = String::with_capacity(text.len());
    for character in text.chars() {
        if r"\.+*?()|[]{}^$".contains(character) {
            expression.push('\\');
        }
        expression.push(character);
    }
    expression
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_so_that_nothing_else_is_asked_for() {
        let key = TrackedModel {
            namespace: "team\"a".to_owned(),
            model: "org/m.1\\x".to_owned(),
        };
        let endpoint = Endpoint {
            pod: "team/m.1-abc".to_owned(),
            address: "10.0.0.1".to_owned(),
            port: 8000,
            path: None,
            more_ports: std::sync::Arc::default(),
            model: None,
        };
        let questions: Vec<String> = matchers(&key, &[endpoint])
            .iter()
            .map(|matchers| samples(matchers, Duration::from_secs(60)))
            .collect();
        assert!(
            questions[0].ends_with(r#",model_name="org/m.1\\x",namespace="team\"a"}[60s]"#),
            "{}",
            questions[0]
        );
        assert!(
            questions[1].ends_with(r#",model_name="org/m.1\\x"}[60s]"#),
            "{}",
            questions[1]
        );
        assert!(questions[2].ends_with(r#",pod=~"m\\.1-abc"}[60s]"#), "{}", questions[2]);
        for part in [
            "vllm:kv_cache_usage_perc",
            "sglang:token_usage",
            "time_to_first_token_seconds_sum",
        ] {
            assert!(questions[0].contains(part), "{part}");
        }
    }

    #[test]
    fn the_size_of_caches_is_asked_for_without_the_model() {
        let key = TrackedModel {
            namespace: "n".to_owned(),
            model: "m".to_owned(),
        };
        let questions: Vec<String> = matchers(&key, &[]).iter().map(cache_config).collect();
        assert_eq!(
            questions,
            [
                "{__name__=\"vllm:cache_config_info\",namespace=\"n\"}",
                "{__name__=\"vllm:cache_config_info\"}"
            ]
        );
    }
}
