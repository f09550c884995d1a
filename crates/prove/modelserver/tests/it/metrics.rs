//! The metrics page against one captured from vLLM 0.32.0.

use crate::client::{get, metric, post, quick, serve};
use std::collections::BTreeSet;

/// Families of the captured page that ours does not have, and why.
const MISSING: &[(&str, &str)] = &[
    ("python_", "tells of the Python interpreter, and there is none"),
    (
        "http_",
        "comes from a middleware of vLLM's web framework; the engine's own counters say the same and more",
    ),
];

#[derive(Debug)]
struct Family<'a> {
    name: &'a str,
    help: &'a str,
    kind: &'a str,
    /// Names and labels of its series, in their order, without the values.
    series: Vec<&'a str>,
}

fn families(page: &str) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            families.push(Family {
                name,
                help,
                kind: "",
                series: Vec::new(),
            });
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            let family = families.last_mut().unwrap();
            assert_eq!(name, family.name);
            family.kind = kind;
        } else {
            families
                .last_mut()
                .unwrap()
                .series
                .push(line.rsplit_once(' ').unwrap().0);
        }
    }
    families
}

fn label_names(series: &str) -> Vec<&str> {
    let labels = series
        .split_once('{')
        .map_or("", |(_, labels)| labels.trim_end_matches('}'));
    labels
        .split("\",")
        .filter_map(|label| label.split_once('='))
        .map(|(name, _)| name)
        .collect()
}

#[tokio::test]
async fn the_page_is_vllms_family_by_family() {
    let server = serve("--served-model-name tiny --max-model-len 2048").await;
    let page = get(server.address, "/metrics").await.text().await;
    let ours = families(&page);
    let captured = include_str!("../fixtures/vllm-0.32.0-metrics.txt");
    let theirs = families(captured);
    let is_missing = |name: &str| MISSING.iter().any(|(prefix, _)| name.starts_with(prefix));
    let expected: Vec<&Family<'_>> = theirs.iter().filter(|family| !is_missing(family.name)).collect();
    let names = |families: &[&Family<'_>]| families.iter().map(|family| family.name.to_owned()).collect::<Vec<_>>();
    assert_eq!(
        names(&ours.iter().collect::<Vec<_>>()),
        names(&expected),
        "the families and their order"
    );
    for (prefix, reason) in MISSING {
        assert!(
            theirs.iter().any(|family| family.name.starts_with(prefix)),
            "{prefix} ({reason}) is not missing"
        );
    }
    for (ours, theirs) in ours.iter().zip(expected) {
        assert_eq!((ours.kind, ours.help), (theirs.kind, theirs.help), "{}", theirs.name);
        if theirs.name == "vllm:cache_config_info" {
            assert_eq!(label_names(ours.series[0]), label_names(theirs.series[0]));
        } else {
            // Names, labels in their order, label values and bucket bounds.
            assert_eq!(ours.series, theirs.series, "{}", theirs.name);
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn older_versions_have_their_own_names() {
    for (version, has, lacks) in [
        (
            "0.10",
            &[
                "vllm:gpu_cache_usage_perc",
                "vllm:time_per_output_token_seconds_bucket",
                "vllm:inter_token_latency_seconds",
            ][..],
            &[
                "vllm:engine_sleep_state",
                "vllm:request_time_per_output_token_seconds",
                "reason=\"error\"",
            ][..],
        ),
        (
            "0.12",
            &[
                "vllm:engine_sleep_state",
                "vllm:request_time_per_output_token_seconds",
                "vllm:kv_cache_usage_perc",
            ],
            &[
                "vllm:gpu_cache_usage_perc",
                "vllm:time_per_output_token_seconds",
                "vllm:admission_rejections",
            ],
        ),
        (
            "0.33",
            &["vllm:admission_rejections_total", "finished_reason=\"repetition\""],
            &["vllm:gpu_"],
        ),
    ] {
        let server = quick(&format!("--vllm-compat {version}")).await;
        let page = get(server.address, "/metrics").await.text().await;
        let release = get(server.address, "/version").await.json().await;
        assert!(release["version"].as_str().unwrap().starts_with(version));
        has.iter()
            .for_each(|part| assert!(page.contains(part), "{version} lacks {part}"));
        lacks
            .iter()
            .for_each(|part| assert!(!page.contains(part), "{version} has {part}"));
        server.stop().await;
    }
}

#[tokio::test]
async fn everything_is_zero_before_the_first_request_and_moves_with_it() {
    let server = quick("").await;
    let page = get(server.address, "/metrics").await.text().await;
    let at_rest: BTreeSet<&str> = page
        .lines()
        .filter(|line| line.starts_with("vllm:") && !line.contains("_created{") && !line.ends_with(" 0.0"))
        .map(|line| line.split(['{', ' ']).next().unwrap())
        .collect();
    assert_eq!(
        at_rest,
        BTreeSet::from(["vllm:cache_config_info", "vllm:engine_sleep_state"])
    );

    let prompt = "the old ship waits near the gate ".repeat(5);
    for _ in 0..3 {
        let body = serde_json::json!({"prompt": prompt, "max_tokens": 10, "ignore_eos": true});
        assert_eq!(
            post(server.address, "/v1/completions", body.to_string()).await.status(),
            200
        );
    }
    for (series, value) in [
        ("vllm:prompt_tokens_total", 108.0),
        ("vllm:generation_tokens_total", 30.0),
        (
            "vllm:request_success_total{engine=\"0\",finished_reason=\"length\"",
            3.0,
        ),
        ("vllm:time_to_first_token_seconds_count", 3.0),
        ("vllm:inter_token_latency_seconds_count", 27.0),
        ("vllm:request_time_per_output_token_seconds_count", 3.0),
        ("vllm:e2e_request_latency_seconds_count", 3.0),
        ("vllm:request_queue_time_seconds_count", 3.0),
        ("vllm:request_prompt_tokens_sum", 108.0),
        ("vllm:request_generation_tokens_sum", 30.0),
        ("vllm:request_params_max_tokens_sum", 30.0),
        ("vllm:request_params_n_sum", 3.0),
        ("vllm:iteration_tokens_total_count", 30.0),
        ("vllm:iteration_tokens_total_sum", 138.0),
        ("vllm:prefix_cache_queries_total", 108.0),
        ("vllm:prefix_cache_hits_total", 64.0),
        (
            "vllm:prompt_tokens_by_source_total{engine=\"0\",model_name=\"m\",source=\"local_compute\"}",
            44.0,
        ),
        (
            "vllm:prompt_tokens_by_source_total{engine=\"0\",model_name=\"m\",source=\"local_cache_hit\"}",
            64.0,
        ),
        ("vllm:request_prefill_kv_computed_tokens_sum", 44.0),
    ] {
        assert_eq!(metric(server.address, series).await, value, "{series}");
    }
    server.stop().await;
}
