use super::*;
use crate::by_model;
use crate::eventually::eventually;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use units::Signal;

const PAGE: &str = "vllm:num_requests_running{model_name=\"m\"} 3\nvllm:num_requests_waiting{model_name=\"m\"} 1\n\
                    vllm:kv_cache_usage_perc{model_name=\"m\"} 0.5\nvllm:generation_tokens_total{model_name=\"m\"} 7\n";

/// What a fake replica does with a connection.
#[derive(Clone, Copy)]
enum Does {
    Answer(&'static str, usize),
    Hang,
}

async fn replica(does: Does) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut hung = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            match does {
                Does::Hang => hung.push(stream),
                Does::Answer(page, times) => {
                    let body = page.repeat(times);
                    let mut head = [0; 2048];
                    let _ = stream.read(&mut head).await;
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                        body.len()
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.write_all(body.as_bytes()).await;
                }
            }
        }
    });
    address
}

fn endpoint(pod: &str, address: SocketAddr) -> Endpoint {
    Endpoint {
        pod: pod.to_owned(),
        address: address.ip().to_string(),
        port: address.port(),
        path: None,
        more_ports: std::sync::Arc::default(),
        model: Some("m".to_owned()),
    }
}

fn scraper(stop: &CancellationToken) -> PodScraper {
    let config = ScrapeConfig {
        deadline: Duration::from_millis(300),
        max_body: 1000,
        busy_interval: Duration::from_millis(20),
        idle_interval: Duration::from_millis(20),
        ..ScrapeConfig::default()
    };
    PodScraper::start(config, Clock::start(), stop.clone())
}

fn key() -> TrackedModel {
    TrackedModel {
        namespace: "n".to_owned(),
        model: "m".to_owned(),
    }
}

fn signals_of(scraper: &PodScraper, pod: &str) -> Option<ReplicaSignals> {
    scraper.replica_metrics(&key()).remove(pod)
}

/// The signals of a Pod, once they are as wanted.
async fn until(scraper: &PodScraper, pod: &str, holds: impl Fn(&ReplicaSignals) -> bool) -> ReplicaSignals {
    eventually(|| signals_of(scraper, pod).filter(&holds)).await
}

#[tokio::test]
async fn a_replica_is_read_again_and_again() {
    let stop = CancellationToken::new();
    let scraper = scraper(&stop);
    scraper.track(&by_model([endpoint("n/a", replica(Does::Answer(PAGE, 1)).await)]));
    let signals = until(&scraper, "n/a", |signals| signals.token_rate.last().is_some()).await;
    let values = [&signals.kv, &signals.running, &signals.waiting].map(|signal| signal.last().unwrap().value);
    assert_eq!(values, [0.5, 3.0, 1.0]);
    assert_eq!(signals.token_rate.last().unwrap().value, 0.0);
    assert_eq!(signals.found.as_deref(), Some("vLLM (vllm:kv_cache_usage_perc)"));
    assert!(scraper.health().asked >= 2 && scraper.health().failed == 0);
    scraper.track(&TrackedModels::new());
    assert_eq!(signals_of(&scraper, "n/a"), None);
    stop.cancel();
}

#[tokio::test]
async fn a_replica_is_asked_at_the_path_it_names() {
    // As trtllm-serve: JSON at the usual path.
    let answer = |request: http::Request<bytes::Bytes>| -> crate::Answering {
        let page = match request.uri().path() {
            "/prometheus/metrics" => PAGE,
            _ => "[{\"numActiveRequests\": 3}]",
        };
        Box::pin(std::future::ready(Ok(http::Response::new(page.into()))))
    };
    let config = ScrapeConfig {
        transport: Transport::InProcess(Arc::new(answer)),
        ..ScrapeConfig::default()
    };
    let stop = CancellationToken::new();
    let scraper = PodScraper::start(config, Clock::start(), stop.clone());
    let address = SocketAddr::from(([127, 0, 0, 1], 8000));
    let named = Endpoint {
        path: Some("/prometheus/metrics".into()),
        ..endpoint("n/a", address)
    };
    scraper.track(&by_model([named, endpoint("n/b", address)]));
    let signals = until(&scraper, "n/a", |signals| signals.running.last().is_some()).await;
    assert_eq!(signals.running.last().unwrap().value, 3.0);
    let lost = until(&scraper, "n/b", |signals| signals.error.is_some())
        .await
        .error
        .unwrap();
    assert!(
        lost.contains("/metrics is no metrics page") && lost.contains("prometheus.io/path"),
        "{lost}"
    );
    stop.cancel();
}

#[tokio::test]
async fn the_ranks_of_a_replica_add_up_and_none_of_them_may_be_silent() {
    let silent = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let falls_silent = silent.clone();
    let answer = move |request: http::Request<bytes::Bytes>| -> crate::Answering {
        let second = request.uri().port_u16() == Some(8001);
        let gone = second && falls_silent.load(std::sync::atomic::Ordering::Relaxed);
        Box::pin(std::future::ready(match gone {
            true => Err("connection refused".to_owned()),
            false => Ok(http::Response::new(PAGE.into())),
        }))
    };
    let config = ScrapeConfig {
        transport: Transport::InProcess(Arc::new(answer)),
        busy_interval: Duration::from_millis(20),
        ..ScrapeConfig::default()
    };
    let stop = CancellationToken::new();
    let scraper = PodScraper::start(config, Clock::start(), stop.clone());
    let ranks = Endpoint {
        more_ports: [8001].into(),
        ..endpoint("n/a", SocketAddr::from(([127, 0, 0, 1], 8000)))
    };
    scraper.track(&by_model([ranks]));
    let signals = until(&scraper, "n/a", |signals| signals.running.last().is_some()).await;
    let values = [&signals.kv, &signals.running, &signals.waiting].map(|signal| signal.last().unwrap().value);
    assert_eq!(values, [0.5, 6.0, 2.0], "the fuller cache, and all requests");
    silent.store(true, std::sync::atomic::Ordering::Relaxed);
    let lost = until(&scraper, "n/a", |signals| signals.error.is_some())
        .await
        .error
        .unwrap();
    assert!(lost.contains(":8001"), "{lost}");
    stop.cancel();
}

#[tokio::test]
async fn a_model_is_told_by_its_replicas_and_those_that_are_silent_are_named() {
    let stop = CancellationToken::new();
    let scraper = scraper(&stop);
    assert_eq!(scraper.availability(&key()).found, Found::MetricsMissing);
    let done = "vllm:request_success_total{model_name=\"m\"} 5\n";
    let page: &'static str = Box::leak(format!("{PAGE}{done}").into_boxed_str());
    scraper.track(&by_model([
        endpoint("n/good", replica(Does::Answer(page, 1)).await),
        endpoint("n/hangs", replica(Does::Hang).await),
    ]));
    until(&scraper, "n/good", |signals| signals.arrival_rate.last().is_some()).await;
    until(&scraper, "n/hangs", |signals| signals.error.is_some()).await;
    let said = scraper.availability(&key());
    assert_eq!(
        (said.found, said.message.as_str()),
        (Found::MetricsFound, "replica: 1 Pods tell and none of n/hangs")
    );
    let model = scraper.model_metrics(&key());
    assert_eq!(model.arrival_rate.last().map(|seen| seen.value), Some(0.0));
    assert_eq!(model.silent, ["n/hangs"]);

    scraper.track(&by_model([endpoint("n/hangs", replica(Does::Hang).await)]));
    until(&scraper, "n/hangs", |signals| signals.error.is_some()).await;
    let said = scraper.availability(&key());
    assert_eq!(said.found, Found::MetricsMissing, "{said:?}");
    assert!(said.message.contains("n/hangs: no answer from"), "{said:?}");
    assert!(said.message.contains("NetworkPolicy"), "{said:?}");
    assert_eq!(scraper.model_metrics(&key()).arrival_rate.last(), None);
    stop.cancel();
}

#[tokio::test]
async fn what_goes_wrong_is_missing_with_the_reason_and_hinders_nobody_else() {
    let stop = CancellationToken::new();
    let scraper = scraper(&stop);
    let refused = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    scraper.track(&by_model([
        endpoint("n/good", replica(Does::Answer(PAGE, 1)).await),
        endpoint("n/hangs", replica(Does::Hang).await),
        endpoint("n/huge", replica(Does::Answer(PAGE, 20)).await),
        endpoint("n/html", replica(Does::Answer("<html>", 1)).await),
        endpoint("n/other", replica(Does::Answer("python_info 1\n", 1)).await),
        endpoint("n/refuses", refused),
    ]));
    for (pod, why) in [
        ("n/hangs", "no answer from"),
        ("n/huge", "sent more than 1000 bytes"),
        ("n/html", "is no metrics page: line 1, column 1"),
        ("n/other", "no engine metrics"),
        ("n/refuses", "refused"),
    ] {
        let signals = until(&scraper, pod, |signals| signals.error.is_some()).await;
        let Signal::Missing { why: told, .. } = &signals.kv else {
            panic!("{pod}: {signals:?}")
        };
        assert!(told.contains(why), "{pod}: {told}");
    }
    until(&scraper, "n/good", |signals| signals.kv.last().is_some()).await;
    assert!(scraper.health().failed >= 5);
    stop.cancel();
}

#[tokio::test]
async fn a_replica_at_a_new_address_starts_anew() {
    let stop = CancellationToken::new();
    let scraper = scraper(&stop);
    scraper.track(&by_model([endpoint("n/a", replica(Does::Answer(PAGE, 1)).await)]));
    until(&scraper, "n/a", |signals| signals.kv.last().is_some()).await;
    scraper.track(&by_model([endpoint("n/a", replica(Does::Hang).await)]));
    assert_eq!(signals_of(&scraper, "n/a").unwrap().kv.last(), None);
    stop.cancel();
}
