mod faults;
mod settings;
mod tls;
mod world;

use super::*;
use crate::eventually::eventually;
use crate::{Endpoint, by_model};
use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use units::{Signal, Source};

/// A server that answers each question with what `answer` makes of it (decoded
/// form body): status and JSON. `None` never answers.
async fn prometheus(answer: impl Fn(&str) -> Option<(u16, String)> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let _ = serve(stream, answer.as_ref()).await;
            });
        }
    });
    address
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &(dyn Fn(&str) -> Option<(u16, String)> + Send + Sync),
) -> std::io::Result<()> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            if body.len() >= length.unwrap_or(0) {
                let question = form_urlencoded::parse(body.as_bytes()).find(|(key, _)| key == "query");
                let question = question.map(|(_, value)| value.into_owned()).unwrap_or_default();
                let question = format!("{head}\n{question}");
                let Some((status, json)) = answer(&question) else {
                    std::future::pending::<()>().await;
                    return Ok(());
                };
                let reply = format!(
                    "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{json}",
                    json.len()
                );
                stream.write_all(reply.as_bytes()).await?;
                return stream.shutdown().await;
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            n => read.extend_from_slice(&buffer[..n]),
        }
    }
}

fn now_s() -> f64 {
    Clock::start().now().as_secs_f64()
}

/// Three samples of one series, five seconds apart, the last taken at `last` (seconds).
fn series(name: &str, labels: &str, last: f64, values: [f64; 3]) -> String {
    let samples: Vec<String> = (0..3)
        .map(|i| format!("[{:.3},\"{}\"]", last - 5.0 * f64::from(2 - i), values[i as usize]))
        .collect();
    format!(
        "{{\"metric\":{{\"__name__\":\"{name}\",\"model_name\":\"m\"{labels}}},\"values\":[{}]}}",
        samples.join(",")
    )
}

fn matrix(series: &[String]) -> String {
    format!(
        "{{\"status\":\"success\",\"data\":{{\"resultType\":\"matrix\",\"result\":[{}]}}}}",
        series.join(",")
    )
}

/// A replica that works: 3 running, none waiting, 100 tokens a second.
fn replica(labels: &str, age: f64) -> Vec<String> {
    scraped(labels, age, [0.1, 0.2, 0.5], [1000.0, 1500.0, 2000.0])
}

/// A replica with that use of its cache and those tokens, last scraped `age`
/// seconds ago: all series of a scrape have the same time.
fn scraped(labels: &str, age: f64, kv: [f64; 3], tokens: [f64; 3]) -> Vec<String> {
    let last = now_s() - age;
    vec![
        series("vllm:num_requests_running", labels, last, [3.0; 3]),
        series("vllm:num_requests_waiting", labels, last, [0.0; 3]),
        series("vllm:kv_cache_usage_perc", labels, last, kv),
        series("vllm:generation_tokens_total", labels, last, tokens),
    ]
}

fn key() -> TrackedModel {
    TrackedModel {
        namespace: "n".to_owned(),
        model: "m".to_owned(),
    }
}

fn endpoints(pods: &[&str]) -> Vec<Endpoint> {
    let endpoint = |(i, pod): (usize, &&str)| Endpoint {
        pod: format!("n/{pod}"),
        address: format!("10.0.0.{}", i + 1),
        port: 8000,
        path: None,
        more_ports: std::sync::Arc::default(),
        model: Some("m".to_owned()),
    };
    pods.iter().enumerate().map(endpoint).collect()
}

fn source(address: SocketAddr, stop: &CancellationToken, pods: &[&str]) -> PrometheusSource {
    let config = PrometheusConfig {
        deadline: Duration::from_millis(500),
        max_body: 100_000,
        bearer_token: Some("s3cret".to_owned()),
        ..PrometheusConfig::new(format!("http://{address}/base/"))
    };
    let source = PrometheusSource::start(config, Clock::start(), stop.clone()).unwrap();
    source.track(&by_model(endpoints(pods)));
    source
}

fn signals_of(source: &PrometheusSource, pod: &str) -> Option<ReplicaSignals> {
    source.replica_metrics(&key()).remove(pod)
}

/// What the source says of the model once it has been asked.
async fn asked(source: &PrometheusSource) -> Availability {
    until(source, |said| !said.message.contains("not been asked")).await
}

/// What the source says of the model once it is as wanted.
async fn until(source: &PrometheusSource, wanted: impl Fn(&Availability) -> bool) -> Availability {
    eventually(|| Some(source.availability(&key())).filter(|said| wanted(said))).await
}

#[tokio::test]
async fn every_replica_of_a_model_is_read_with_its_true_age_by_one_question() {
    let questions = Arc::new(AtomicUsize::new(0));
    let counted = questions.clone();
    let address = prometheus(move |question| {
        assert!(question.contains("authorization: Bearer s3cret"), "{question}");
        assert!(question.starts_with("POST /base/api/v1/query"), "{question}");
        if question.contains("__name__=~") {
            counted.fetch_add(1, Relaxed);
            let all: Vec<String> = ["a", "b", "c"]
                .iter()
                .flat_map(|pod| replica(&format!(",\"pod\":\"{pod}\""), 4.0))
                .collect();
            Some((200, matrix(&all)))
        } else {
            Some((200, matrix(&[])))
        }
    })
    .await;
    let stop = CancellationToken::new();
    let source = source(address, &stop, &["a", "b", "c"]);
    let said = asked(&source).await;
    assert_eq!(
        (said.found, said.message.as_str()),
        (Found::MetricsFound, "Prometheus has samples of all 3 replicas")
    );
    assert_eq!(questions.load(Relaxed), 1);
    let signals = signals_of(&source, "n/b").unwrap();
    assert_eq!(signals.kv.last().unwrap().value, 0.5);
    assert_eq!(signals.kv.last().unwrap().source, Source::Prometheus);
    let rate = signals.token_rate.last().unwrap().value;
    assert!((rate - 100.0).abs() < 0.5, "{rate}");
    let age = Clock::start().now().since(signals.kv.last().unwrap().at);
    assert!((3.5..9.0).contains(&age.as_secs_f64()), "{age:?}");
    assert_eq!(signals_of(&source, "n/stranger"), None);
    source.track(&TrackedModels::new());
    assert_eq!(signals_of(&source, "n/b"), None);
    let said = source.availability(&key());
    assert_eq!(said.found, Found::MetricsMissing);
    assert!(said.message.contains("is not asked for model m"), "{said:?}");
    stop.cancel();
}

#[tokio::test]
async fn what_is_wrong_with_prometheus_is_told_apart_with_the_remedy() {
    type Does = Option<(u16, String)>;
    let cases: [(&str, Does, Found, &str); 8] = [
        ("slow", None, Found::PrometheusError, "no answer from"),
        ("refuses", Some((401, "no".into())), Found::PrometheusError, "401"),
        (
            "bad query",
            Some((400, "{\"status\":\"error\",\"error\":\"parse error\"}".into())),
            Found::PrometheusError,
            "parse error",
        ),
        (
            "another program",
            Some((200, "<html>".into())),
            Found::PrometheusError,
            "does not answer as Prometheus does",
        ),
        (
            "a number",
            Some((
                200,
                "{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[1,\"2\"]}}".into(),
            )),
            Found::PrometheusError,
            "scalar, not samples",
        ),
        (
            "huge",
            Some((200, "x".repeat(200_000))),
            Found::PrometheusError,
            "more than 100000 bytes",
        ),
        (
            "empty",
            Some((200, matrix(&[]))),
            Found::MetricsMissing,
            "ServiceMonitor",
        ),
        (
            "elsewhere",
            Some((200, matrix(&replica(",\"pod\":\"x\",\"namespace\":\"other\"", 1.0)))),
            Found::MetricsMissing,
            "namespace \"other\"",
        ),
    ];
    for (name, does, found, says) in cases {
        let address = prometheus(move |_| does.clone()).await;
        let stop = CancellationToken::new();
        let source = source(address, &stop, &["a"]);
        let said = asked(&source).await;
        assert_eq!(said.found, found, "{name}: {said:?}");
        assert!(said.message.contains(says), "{name}: {said:?}");
        assert!(!said.message.contains("s3cret"), "{name}");
        assert_eq!(
            signals_of(&source, "n/a").unwrap().kv.last(),
            None,
            "{name}: missing is not 0"
        );
        stop.cancel();
    }
}

#[tokio::test]
async fn old_samples_are_stale_and_then_missing() {
    for (age, found, says) in [
        (5.0, Found::MetricsFound, "all 1 replicas"),
        (45.0, Found::MetricsStale, "45 s old"),
        (400.0, Found::MetricsMissing, "no sample for"),
    ] {
        let address = prometheus(move |_| Some((200, matrix(&replica(",\"pod\":\"a\"", age))))).await;
        let stop = CancellationToken::new();
        let source = source(address, &stop, &["a"]);
        let said = asked(&source).await;
        assert_eq!(said.found, found, "{age}: {said:?}");
        // A second may have passed since the samples were made.
        assert!(said.message.contains(says) || age > 40.0, "{age}: {said:?}");
        stop.cancel();
    }
}

#[tokio::test]
async fn what_is_no_number_is_missing_and_a_reset_counts_from_zero() {
    let address = prometheus(|_| {
        let pod = ",\"pod\":\"a\"";
        let all = scraped(pod, 1.0, [0.1, 0.2, f64::NAN], [5000.0, 5500.0, 500.0]);
        Some((200, matrix(&all)))
    })
    .await;
    let stop = CancellationToken::new();
    let source = source(address, &stop, &["a"]);
    asked(&source).await;
    let signals = signals_of(&source, "n/a").unwrap();
    let Signal::Missing { why, .. } = &signals.kv else {
        panic!("{:?}", signals.kv)
    };
    assert!(why.contains("NaN"), "{why}");
    let rate = signals.token_rate.last().unwrap().value;
    assert!((rate - 100.0).abs() < 0.5, "{rate}");
    stop.cancel();
}

#[tokio::test]
async fn one_model_without_an_answer_keeps_no_other_waiting_and_it_recovers() {
    let broken = Arc::new(AtomicUsize::new(0));
    let failing = broken.clone();
    let address = prometheus(move |question| {
        if question.contains("model_name=\"m\"") && failing.fetch_add(1, Relaxed) < 2 {
            return Some((500, "{}".to_owned()));
        }
        Some((200, matrix(&replica(",\"pod\":\"a\"", 1.0))))
    })
    .await;
    let stop = CancellationToken::new();
    let source = source(address, &stop, &["a"]);
    assert_eq!(asked(&source).await.found, Found::PrometheusError);
    until(&source, |said| said.found == Found::MetricsFound).await;
    assert!(signals_of(&source, "n/a").unwrap().error.is_none());
    assert!(source.health().failed >= 2 && source.health().asked >= 3);
    stop.cancel();
}
