//! Starting, queueing, leaving, sleeping and stopping.

use crate::client::{DEADLINE, get, metric, post, quick, serve, until_metric};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const RUNNING: &str = "vllm:num_requests_running{";
const WAITING: &str = "vllm:num_requests_waiting{";
const LONG: &str = r#"{"prompt":"x","max_tokens":10000,"ignore_eos":true,"stream":true}"#;
const SHORT: &str = r#"{"prompt":"y","max_tokens":2,"ignore_eos":true}"#;

#[tokio::test]
async fn a_starting_server_says_so_until_it_serves() {
    let server = quick("--startup 2s").await;
    let loading = get(server.address, "/health").await;
    assert_eq!(loading.status(), 503);
    assert_eq!(post(server.address, "/v1/completions", SHORT).await.status(), 503);
    assert_eq!(get(server.address, "/metrics").await.status(), 503);
    assert_eq!(get(server.address, "/version").await.json().await["version"], "0.32.0");
    let begun = Instant::now();
    while get(server.address, "/health").await.status() != 200 {
        assert!(begun.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(post(server.address, "/v1/completions", SHORT).await.status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_waits_its_turn() {
    let server = quick("--max-num-seqs 2 --step-alpha 20ms").await;
    let mut asking = Vec::new();
    for _ in 0..6 {
        let address = server.address;
        let body = r#"{"prompt":"x","max_tokens":40,"ignore_eos":true}"#;
        asking.push(tokio::spawn(async move {
            post(address, "/v1/completions", body).await.json().await
        }));
    }
    until_metric(server.address, WAITING, 4.0).await;
    assert_eq!(metric(server.address, RUNNING).await, 2.0);
    let load = get(server.address, "/load").await.json().await;
    assert_eq!(load["server_load"], 6);
    for one in asking {
        assert_eq!(one.await.unwrap()["usage"]["completion_tokens"], 40);
    }
    // One round of 40 steps of 20 ms passed before two began, two before the last.
    let queued = metric(server.address, "vllm:request_queue_time_seconds_sum").await;
    assert!(queued >= 2.0 * 0.8 + 2.0 * 1.6 - 0.1, "{queued}");
    assert_eq!(metric(server.address, WAITING).await, 0.0);
    server.stop().await;
}

#[tokio::test]
async fn speed_is_how_much_faster_time_goes() {
    // Ten thousand steps of 100 ms, a thousand times as fast: one second.
    let server = quick("--step-alpha 100ms --speed 1000").await;
    let begun = Instant::now();
    let body = r#"{"prompt":"x","max_tokens":10000,"ignore_eos":true}"#;
    assert_eq!(post(server.address, "/v1/completions", body).await.status(), 200);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(990), "{took:?}");
    let itl = metric(server.address, "vllm:inter_token_latency_seconds_sum").await;
    assert!(
        (0.99..took.as_secs_f64()).contains(&itl),
        "the clock of the metrics is the wall clock: {itl} of {took:?}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_seat() {
    let server = quick("--max-num-seqs 1").await;
    let mut streaming = post(server.address, "/v1/completions", LONG).await;
    streaming.piece().await;
    let address = server.address;
    let behind = tokio::spawn(async move { post(address, "/v1/completions", SHORT).await.json().await });
    until_metric(address, WAITING, 1.0).await;
    drop(streaming);
    assert_eq!(behind.await.unwrap()["usage"]["completion_tokens"], 2);
    let aborted = "vllm:request_success_total{engine=\"0\",finished_reason=\"abort\",model_name=\"m\"}";
    until_metric(address, aborted, 1.0).await;

    let ended = metric(address, "vllm:e2e_request_latency_seconds_count").await;
    assert_eq!(ended, 1.0, "only the answer that was finished has a latency");

    // One that waits for a whole answer, and leaves before it.
    let body = LONG.replace(",\"stream\":true", "");
    let waiting = tokio::spawn(async move { post(address, "/v1/completions", body).await.status() });
    until_metric(address, RUNNING, 1.0).await;
    waiting.abort();
    let _ = waiting.await;
    // The connection goes with the runtime's next look at it.
    until_metric(address, aborted, 2.0).await;
    assert_eq!(metric(address, "vllm:kv_cache_usage_perc").await, 0.0);
    server.stop().await;
}

#[tokio::test]
async fn a_sleeping_server_holds_requests_until_it_wakes() {
    let server = quick("").await;
    let address = server.address;
    let sleeping = async || {
        get(address, "/is_sleeping").await.json().await["is_sleeping"]
            .as_bool()
            .unwrap()
    };
    let mut streaming = post(address, "/v1/completions", LONG).await;
    streaming.piece().await;
    assert!(!sleeping().await);

    let slept = post(address, "/sleep?level=1", "").await.json().await;
    assert_eq!(slept, json!({"status": "sleeping", "level": 1}));
    assert!(sleeping().await);
    let state = "vllm:engine_sleep_state{engine=\"0\",model_name=\"m\",sleep_state=\"weights_offloaded\"}";
    assert_eq!(metric(address, state).await, 1.0);
    let events = streaming.events().await;
    let end: Value = serde_json::from_str(&events[events.len() - 2]).unwrap();
    assert_eq!(
        end["choices"][0]["finish_reason"], "abort",
        "sleep aborts what runs, as vLLM does"
    );
    assert_eq!(events.last().unwrap(), "[DONE]");

    let held = tokio::spawn(async move { post(address, "/v1/completions", SHORT).await.status() });
    until_metric(address, WAITING, 1.0).await;
    let partly = post(address, "/wake_up?tags=weights", "").await.json().await;
    assert_eq!(partly, json!({"status": "sleeping", "tags": ["weights"]}));
    assert!(sleeping().await && !held.is_finished());
    let awake = post(address, "/wake_up", "").await.json().await;
    assert_eq!(awake, json!({"status": "awake", "tags": null}));
    assert_eq!(held.await.unwrap(), 200);
    assert!(!sleeping().await);
    server.stop().await;
}

#[tokio::test]
async fn sleep_can_wait_for_what_runs_or_keep_it() {
    let server = quick("--step-alpha 5ms").await;
    let address = server.address;
    let ask = move || {
        let body = r#"{"prompt":"x","max_tokens":200,"ignore_eos":true}"#;
        tokio::spawn(async move { post(address, "/v1/completions", body).await.json().await })
    };
    let running = ask();
    until_metric(address, RUNNING, 1.0).await;
    assert_eq!(post(address, "/sleep?mode=wait&level=2", "").await.status(), 200);
    assert_eq!(
        metric(address, "vllm:generation_tokens_total").await,
        200.0,
        "it ended before the sleep"
    );
    assert_eq!(running.await.unwrap()["choices"][0]["finish_reason"], "length");
    post(address, "/wake_up", "").await;

    let running = ask();
    until_metric(address, RUNNING, 1.0).await;
    assert_eq!(post(address, "/sleep?mode=keep", "").await.status(), 200);
    assert_eq!(
        (metric(address, RUNNING).await, metric(address, WAITING).await),
        (0.0, 1.0)
    );
    post(address, "/wake_up", "").await;
    let kept = running.await.unwrap();
    assert_eq!(kept["usage"]["completion_tokens"], 200);
    server.stop().await;
}

#[tokio::test]
async fn a_stopping_server_finishes_what_it_began() {
    let server = quick("").await;
    let address = server.address;
    let body = r#"{"prompt":"x","max_tokens":150,"ignore_eos":true,"stream":true}"#;
    let mut streaming = post(address, "/v1/completions", body).await;
    streaming.piece().await;
    let stopping = tokio::spawn(server.stop());
    let events = streaming.events().await;
    assert_eq!(events.last().unwrap(), "[DONE]");
    assert!(events[events.len() - 2].contains("\"finish_reason\":\"length\""));
    stopping.await.unwrap();
    assert!(
        tokio::net::TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn a_stopping_server_does_not_wait_for_ever() {
    let server = quick("--shutdown-timeout 50ms").await;
    let mut streaming = post(server.address, "/v1/completions", LONG).await;
    streaming.piece().await;
    let stopping = tokio::spawn(server.stop());
    let events = streaming.events().await;
    assert!(
        events[events.len() - 2].contains("\"finish_reason\":\"abort\""),
        "{events:?}"
    );
    tokio::time::timeout(DEADLINE, stopping)
        .await
        .expect("stopped in time")
        .unwrap();
}

#[tokio::test]
async fn a_taken_port_names_the_flag() {
    let first = quick("").await;
    let port = first.address.port().to_string();
    let args = modelserver::Args::from_flags(["--port", &port]).unwrap();
    let error = modelserver::start(args, tokio_util::sync::CancellationToken::new())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("--port"), "{error}");
    first.stop().await;
}

#[tokio::test]
async fn step_times_are_those_of_the_hardware() {
    // An 8B model on an H100: 7.1 ms a token, and the front end's 8 ms before.
    let server = serve("--gpu-type H100 --model meta-llama/Llama-3.1-8B-Instruct").await;
    let body = r#"{"prompt":"the tide turns","max_tokens":50,"ignore_eos":true}"#;
    assert_eq!(post(server.address, "/v1/completions", body).await.status(), 200);
    let itl = metric(server.address, "vllm:inter_token_latency_seconds_sum").await / 49.0;
    assert!(itl > 0.0070, "{itl}");
    // A machine that stands still for a moment may spoil a few.
    let within = "vllm:inter_token_latency_seconds_bucket{engine=\"0\",le=\"0.01\"";
    let within = metric(server.address, within).await;
    assert!(within >= 45.0, "{within} of 49 gaps below 10 ms");
    let ttft = metric(server.address, "vllm:time_to_first_token_seconds_sum").await;
    assert!(ttft >= 0.0150, "{ttft}");
    server.stop().await;
}
