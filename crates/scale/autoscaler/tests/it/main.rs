//! The autoscaler over a real API: the embedded one, fake Pods, fake metrics.

mod apart;
mod control;
mod fleet;
mod gate;
mod gpus;
mod robust;

use autoscaler::{Actuator, Config, GatewaySource, Policy, ScrapeConfig};
use fleet::Fleet;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::Notify;
use wire::signals::{GatewaySignals, PoolSignals};

/// Decisions within tenths of a second, so that a test need not wait.
pub(crate) fn quick() -> Config {
    Config {
        interval: Duration::from_millis(50),
        policy: Policy {
            up_after: Duration::from_millis(200),
            down_after: Duration::from_millis(900),
            zero_after: Duration::from_millis(900),
            ..Policy::default()
        },
        scrape: Some(ScrapeConfig {
            busy_interval: Duration::from_millis(50),
            idle_interval: Duration::from_millis(50),
            ..ScrapeConfig::default()
        }),
        ..Config::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saturation_raises_replicas_and_the_object_says_why() {
    let fleet = Fleet::start().await;
    fleet.deployment("llama-l4", 1).await;
    fleet
        .variant("llama-l4", "llama", json!({"maxReplicas": 4, "variantCost": "0.8"}))
        .await;
    let pod = fleet.pod("llama-l4", "llama-l4-a").await;
    pod.tell(0.95, 12, 9);
    let scaler = fleet.autoscaler(quick()).await;

    fleet
        .until("more replicas", async || fleet.replicas("llama-l4").await > 1)
        .await;
    fleet
        .until("a status that says so", async || {
            let va = fleet.get("llama-l4").await;
            va["status"]["desiredOptimizedAlloc"]["numReplicas"].as_i64() > Some(1)
        })
        .await;
    let va = fleet.get("llama-l4").await;
    for (kind, reason) in [("TargetResolved", "TargetFound"), ("MetricsAvailable", "MetricsFound")] {
        let condition = fleet::condition(&va, kind);
        assert_eq!(
            (condition["status"].as_str(), condition["reason"].as_str()),
            (Some("True"), Some(reason)),
            "{va}"
        );
    }
    assert_eq!(fleet::condition(&va, "OptimizationReady")["status"], "True", "{va}");
    assert_eq!(va["status"]["desiredOptimizedAlloc"]["accelerator"], "L4");
    assert_eq!(va["status"]["actuation"]["applied"], true);
    assert_eq!(va["status"]["readyReplicas"], 1);

    let scaled_up = async || {
        fleet
            .events("llama-l4")
            .await
            .into_iter()
            .find(|(reason, _)| reason == "ScaledUp")
    };
    fleet.until("an event", async || scaled_up().await.is_some()).await;
    let (_, message) = scaled_up().await.unwrap();
    assert!(
        message.starts_with("llama 1 -> ") && message.contains("KV 95 % on all replicas"),
        "{message}"
    );

    let decisions = scaler.handle.decisions();
    let decision = decisions.iter().find(|decision| decision.sentence == message).unwrap();
    assert!(decision.changed && decision.variants[0].from == 1, "{decision:?}");
    assert!(
        decision
            .explanation
            .inputs
            .list()
            .iter()
            .any(|input| input.what == "KV cache in use" && input.fresh)
    );
    let page = scaler.handle.metrics_text();
    let series = "wva_desired_replicas{variant_name=\"llama-l4\",namespace=\"default\",accelerator_type=\"L4\"}";
    assert!(page.contains(series), "{page}");
    assert!(page.contains("tidegate_source_up{source=\"replica\"} 1"), "{page}");
    assert_eq!(scaler.handle.sources()["replica"].up, Some(true));
    let variants = scaler.handle.variants();
    let told = variants[0].model_signals.as_ref().unwrap();
    assert_eq!(
        told.silent,
        ["default/llama-l4-a"],
        "its page has no counter of requests"
    );
    assert_eq!(told.arrivals_per_second, None, "which is not 0");
    let kv = variants[0].replicas[0].kv_usage.unwrap();
    assert_eq!((kv.value, kv.source), (0.95, "replica"));

    fleet.remove_variant("llama-l4").await;
    fleet
        .until("no series", async || {
            !scaler.handle.metrics_text().contains("variant_name=")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_the_pods_silent_is_no_reason_to_scale_down() {
    let fleet = Fleet::start().await;
    fleet.deployment("llama-l4", 4).await;
    fleet.variant("llama-l4", "llama", json!({})).await;
    let mut pods = Vec::new();
    for name in ["a", "b", "c", "d"] {
        let pod = fleet.pod("llama-l4", &format!("llama-l4-{name}")).await;
        pod.tell(0.02, 1, 0);
        pods.push(pod);
    }
    pods[1].fall_silent();
    pods[3].fall_silent();
    let scaler = fleet.autoscaler(quick()).await;

    fleet
        .until("a condition that says so", async || {
            let va = fleet.get("llama-l4").await;
            let metrics = fleet::condition(&va, "MetricsAvailable");
            metrics["reason"] == "MetricsMissing"
                && metrics["message"]
                    .as_str()
                    .is_some_and(|m| m.contains("llama-l4-b") && m.contains("llama-l4-d"))
                && fleet::condition(&va, "OptimizationReady")["reason"] == "WaitingForCoverage"
        })
        .await;
    // Long past the window in which a scale-down would have come.
    let passes = *scaler.handle.changed().borrow();
    fleet
        .until("many passes", async || *scaler.handle.changed().borrow() > passes + 40)
        .await;
    assert_eq!(fleet.replicas("llama-l4").await, 4);

    for pod in &pods {
        pod.tell(0.02, 1, 0);
    }
    fleet
        .until("one replica, once all speak", async || {
            fleet.replicas("llama-l4").await == 1
        })
        .await;
    let scaled_down = async || {
        fleet
            .events("llama-l4")
            .await
            .iter()
            .any(|(reason, _)| reason == "ScaledDown")
    };
    fleet.until("an event", scaled_down).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_request_wakes_the_cheapest_variant_at_once() {
    let fleet = Fleet::start().await;
    for (name, cost) in [("llama-h100", "4.0"), ("llama-l4", "0.8")] {
        fleet.deployment(name, 0).await;
        fleet
            .variant(name, "llama", json!({"minReplicas": 0, "variantCost": cost}))
            .await;
    }
    let queued = Arc::new(AtomicU64::new(0));
    let counter = queued.clone();
    let ask = move || {
        let queued = counter.load(SeqCst);
        let pool = PoolSignals {
            models: vec!["llama".to_owned()],
            arrived: queued,
            queued,
            oldest_wait_ms: (queued > 0).then_some(5),
            ..PoolSignals::default()
        };
        GatewaySignals {
            pools: [("default/llama".to_owned(), pool)].into(),
            ..GatewaySignals::default()
        }
    };
    let wake = Arc::new(Notify::new());
    // Only the wake-up can make it decide in time.
    let config = Config {
        interval: Duration::from_secs(600),
        gateway: GatewaySource::InProcess(Arc::new(ask)),
        wake: Some(wake.clone()),
        ..quick()
    };
    let scaler = fleet.autoscaler(config).await;
    fleet
        .until("both seen", async || scaler.handle.variants().len() == 2)
        .await;
    assert_eq!(fleet.replicas("llama-l4").await, 0);

    queued.store(1, SeqCst);
    wake.notify_one();
    fleet
        .until("one replica", async || fleet.replicas("llama-l4").await == 1)
        .await;
    assert_eq!(fleet.replicas("llama-h100").await, 0);
    let woken = async || {
        fleet
            .events("llama-l4")
            .await
            .iter()
            .any(|(reason, _)| reason == "ScaledFromZero")
    };
    fleet.until("an event", woken).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_used_is_said_and_the_last_good_stays_in_force() {
    let fleet = Fleet::start().await;
    fleet.deployment("llama-l4", 1).await;
    fleet
        .variant("llama-l4", "llama", json!({"minReplicas": 2, "maxReplicas": 3}))
        .await;
    fleet.variant("lost", "llama", json!({})).await;
    let _scaler = fleet.autoscaler(quick()).await;
    fleet
        .until("the minimum", async || fleet.replicas("llama-l4").await == 2)
        .await;
    let reason = async |name: &str, kind: &str| {
        let va = fleet.get(name).await;
        fleet::condition(&va, kind)["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    fleet
        .until("no target", async || {
            reason("lost", "TargetResolved").await == "TargetNotFound"
        })
        .await;

    fleet.patch("llama-l4", json!({"spec": {"minReplicas": 9}})).await;
    fleet
        .until("a refusal", async || {
            reason("llama-l4", "OptimizationReady").await == "InvalidConfiguration"
        })
        .await;
    let va = fleet.get("llama-l4").await;
    let message = fleet::condition(&va, "OptimizationReady")["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        message.contains("spec.minReplicas is 9") && message.contains("stays in force"),
        "{message}"
    );
    assert_eq!(fleet.replicas("llama-l4").await, 2);

    fleet.patch("llama-l4", json!({"spec": {"minReplicas": 3}})).await;
    fleet
        .until("the new minimum", async || fleet.replicas("llama-l4").await == 3)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_gauge_nothing_is_touched() {
    let fleet = Fleet::start().await;
    fleet.deployment("llama-l4", 1).await;
    fleet.variant("llama-l4", "llama", json!({"minReplicas": 3})).await;
    let config = Config {
        actuator: Actuator::Gauge,
        metrics_listen: Some(([127, 0, 0, 1], 0).into()),
        ..quick()
    };
    let scaler = fleet.autoscaler(config).await;
    let address = scaler.metrics_address.unwrap();
    fleet
        .until("the gauge", async || {
            let page = fleet::fetch(address, "/metrics").await;
            page.lines()
                .any(|line| line.starts_with("wva_desired_replicas{") && line.ends_with(" 3.0"))
        })
        .await;
    assert_eq!(fleet.replicas("llama-l4").await, 1);
}

/// Beside another autoscaler: what it would do is told, and nothing is touched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_explains_and_touches_nothing() {
    let fleet = Fleet::start().await;
    fleet.deployment("llama-l4", 1).await;
    fleet.variant("llama-l4", "llama", json!({"minReplicas": 3})).await;
    let config = Config {
        actuator: Actuator::Observe,
        metrics_listen: Some(([127, 0, 0, 1], 0).into()),
        ..quick()
    };
    let scaler = fleet.autoscaler(config).await;
    let address = scaler.metrics_address.unwrap();
    fleet
        .until("what it would decide", async || {
            let views = scaler.handle.variants();
            views
                .iter()
                .any(|view| view.desired == Some(3) && view.explanation.is_some())
        })
        .await;
    let page = fleet::fetch(address, "/metrics").await;
    assert!(!page.contains("wva_desired_replicas{"), "{page}");
    assert!(fleet::fetch(address, "/leader").await.contains("\"observes\":true"));
    assert!(!scaler.handle.leads());
    assert_eq!(fleet.replicas("llama-l4").await, 1);
    assert!(fleet.get("llama-l4").await["status"].is_null());
    assert!(scaler.handle.decisions().is_empty());
}
