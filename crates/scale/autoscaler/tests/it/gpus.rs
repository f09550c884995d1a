//! GPUs that are there limit what is decided, by priority and quota, and the
//! objects say so.

use crate::fleet::{self, Fleet};
use crate::quick;
use autoscaler::configuration::{Names, Scope};
use autoscaler::{Config, Fail, Limiter};
use serde_json::{Value, json};

#[expect(clippy::unwrap_used, reason = "the selector is written here and can be read")]
fn limited() -> Config {
    Config {
        configuration: Some(Scope {
            system_namespace: "default".to_owned(),
            names: Names::default(),
            scale_to_zero: None,
        }),
        limiter: Limiter {
            enabled: true,
            nodes: "pool!=other".parse().unwrap(),
            fail: Fail::Closed,
        },
        ..quick()
    }
}

/// A node with GPUs that takes Pods.
async fn node(fleet: &Fleet, name: &str, pool: &str, gpus: u32) {
    fleet
        .apply_anywhere(json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"nvidia.com/gpu.product": "NVIDIA-L4", "pool": pool}},
            "spec": {},
        }))
        .await;
    let status = json!({"status": {
        "allocatable": {"nvidia.com/gpu": gpus.to_string()},
        "capacity": {"nvidia.com/gpu": gpus.to_string()},
        "conditions": [{"type": "Ready", "status": "True", "reason": "x", "message": ""}],
    }});
    fleet.patch_node_status(name, status).await;
}

/// A Pod of somebody else, in another namespace.
fn foreign(name: &str, node: &str, gpus: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "kube-system"},
        "spec": {"nodeName": node, "containers": [{"name": "train", "image": "train",
            "resources": {"limits": {"nvidia.com/gpu": gpus.to_string()}}}]},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_free_gpus_go_to_the_higher_priority_and_the_other_is_told() {
    let fleet = Fleet::start().await;
    // Five that count, of which one is a foreign Pod's.
    node(&fleet, "gpu-a", "ours", 5).await;
    node(&fleet, "gpu-b", "other", 8).await;
    fleet.apply_anywhere(foreign("training", "gpu-a", 1)).await;
    fleet
        .config_map(
            "service-classes-config",
            json!({"premium": "name: premium\npriority: 1\ndata: [{model: premium}]\n",
                "free": "name: free\npriority: 10\ndata: [{model: free}]\n"}),
        )
        .await;
    for model in ["free", "premium"] {
        fleet.gpu_deployment(model, 0, 1).await;
        fleet
            .variant(model, model, json!({"minReplicas": 0, "maxReplicas": 8}))
            .await;
    }
    let scaler = fleet.autoscaler(limited()).await;
    let gauge = |state: &str| format!("tidegate_gpus{{accelerator=\"L4\",state=\"{state}\"}}");
    let says = |state: &str, value: u32| {
        let line = format!("{} {value}", gauge(state));
        scaler.handle.metrics_text().lines().any(|said| said.starts_with(&line))
    };
    fleet
        .until("the inventory", async || {
            says("total", 5) && says("used", 1) && says("free", 4)
        })
        .await;

    // Both want three and more than four are not there.
    for model in ["premium", "free"] {
        fleet.patch(model, json!({"spec": {"minReplicas": 3}})).await;
    }
    fleet
        .until("the premium model whole", async || fleet.replicas("premium").await == 3)
        .await;
    fleet
        .until("the other cut", async || {
            let va = fleet.get("free").await;
            fleet::condition(&va, "OptimizationReady")["reason"] == "LimitedByGpus"
        })
        .await;
    assert!(fleet.replicas("free").await <= 1);
    let events = async || {
        let events = fleet.events("free").await;
        let limited = events.into_iter().find(|(reason, _)| reason == "LimitedByGpus");
        limited.map(|(_, message)| message)
    };
    fleet.until("an event", async || events().await.is_some()).await;
    let message = events().await.unwrap();
    assert!(
        message.contains("limited: free wants") && message.contains("L4 free"),
        "{message}"
    );

    // The foreign Pod ends, and nothing has to be started anew.
    let before = fleet.replicas("free").await;
    fleet.delete_pod("kube-system", "training").await;
    fleet
        .until("one more", async || fleet.replicas("free").await == before + 1)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_binds_and_a_mistake_in_it_changes_nothing() {
    let fleet = Fleet::start().await;
    node(&fleet, "gpu-a", "ours", 8).await;
    fleet
        .config_map(
            "tidegate-quotas",
            json!({"quotas": "namespaces:\n  default: {L4: 2}\n"}),
        )
        .await;
    fleet.gpu_deployment("llama", 1, 1).await;
    fleet
        .variant("llama", "llama", json!({"minReplicas": 4, "maxReplicas": 8}))
        .await;
    let scaler = fleet.autoscaler(limited()).await;
    fleet
        .until("what the quota gives", async || {
            let va = fleet.get("llama").await;
            let ready = fleet::condition(&va, "OptimizationReady");
            ready["reason"] == "LimitedByQuota"
                && ready["message"]
                    .as_str()
                    .is_some_and(|message| message.contains("(quota default 2)"))
        })
        .await;
    assert_eq!(fleet.replicas("llama").await, 2);

    fleet
        .config_map(
            "tidegate-quotas",
            json!({"quotas": "namespaces:\n  default: {L4: many}\n"}),
        )
        .await;
    fleet
        .until("a refusal", async || {
            let maps = scaler.handle.configmaps();
            maps.iter().any(|map| {
                map.configmap == "default/tidegate-quotas"
                    && map
                        .error
                        .as_ref()
                        .is_some_and(|error| error.contains("field namespaces.default.L4: is \"many\""))
            })
        })
        .await;
    let passes = *scaler.handle.changed().borrow();
    fleet
        .until("some passes", async || *scaler.handle.changed().borrow() > passes + 5)
        .await;
    assert_eq!(fleet.replicas("llama").await, 2, "the last good stays in force");

    fleet
        .config_map(
            "tidegate-quotas",
            json!({"quotas": "namespaces:\n  default: {L4: -1}\n"}),
        )
        .await;
    fleet
        .until("the minimum", async || fleet.replicas("llama").await == 4)
        .await;
}
