//! Configuration, leadership and what is managed without a VariantAutoscaling.

use crate::fleet::{self, Fleet};
use crate::quick;
use autoscaler::configuration::{Names, Scope};
use autoscaler::{Actuator, Config, Election, Terms};
use serde_json::json;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn configured() -> Config {
    Config {
        configuration: Some(Scope {
            system_namespace: "default".to_owned(),
            names: Names::default(),
            scale_to_zero: None,
        }),
        ..quick()
    }
}

fn elected(identity: &str) -> Config {
    Config {
        election: Some(Election {
            namespace: "default".to_owned(),
            name: "election".to_owned(),
            identity: identity.to_owned(),
            terms: Terms {
                lease: Duration::from_secs(600),
                renew: Duration::from_secs(300),
                retry: Duration::from_millis(50),
            },
        }),
        ..quick()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_override_acts_on_its_model_and_a_mistake_changes_nothing() {
    let fleet = Fleet::start().await;
    let thresholds = "wva-saturation-scaling-config";
    let shy = json!({
        "default": "kvCacheThreshold: 0.99\nkvSpareTrigger: 0.01\n",
        "eager": "model_id: eager\nkvCacheThreshold: 0.3\n",
    });
    fleet.config_map(thresholds, shy.clone()).await;
    let mut pods = Vec::new();
    for model in ["eager", "patient"] {
        fleet.deployment(model, 1).await;
        fleet.variant(model, model, json!({})).await;
        let pod = fleet.pod(model, &format!("{model}-a")).await;
        pod.tell_of(model, 0.5, 4, 0);
        pods.push(pod);
    }
    let scaler = fleet.autoscaler(configured()).await;
    fleet
        .until("more replicas by the override", async || {
            fleet.replicas("eager").await > 1
        })
        .await;
    assert_eq!(fleet.replicas("patient").await, 1, "the same load, another policy");

    // A mistake: told everywhere, and the last good stays in force.
    fleet
        .config_map(
            thresholds,
            json!({"default": "kvCacheThreshold: 0.1\nkvSpareTriger: 0.01\n"}),
        )
        .await;
    fleet
        .until("a refusal", async || {
            let va = fleet.get("patient").await;
            let ready = fleet::condition(&va, "OptimizationReady");
            ready["reason"] == "InvalidConfiguration"
                && ready["message"].as_str().is_some_and(|message| {
                    message.contains("key \"default\", field kvSpareTriger: is not known")
                        && message.contains("last good content stays in force")
                })
        })
        .await;
    let told = async || {
        let events = fleet.events("patient").await;
        events.iter().any(|(reason, _)| reason == "InvalidConfiguration")
    };
    fleet.until("an event", told).await;
    let valid = |value: &str| {
        let line = format!("tidegate_config_valid{{configmap=\"default/{thresholds}\"}} {value}");
        scaler.handle.metrics_text().contains(&line)
    };
    fleet.until("the gauge that says so", async || valid("0")).await;
    assert_eq!(fleet.replicas("patient").await, 1);

    fleet
        .config_map(thresholds, json!({"default": "kvCacheThreshold: 0.3\n", "eager": null}))
        .await;
    fleet
        .until("the new thresholds", async || fleet.replicas("patient").await > 1)
        .await;
    // Replicas are set before a pass reports.
    fleet.until("the gauge that says so", async || valid("1")).await;
    let view = scaler
        .handle
        .variants()
        .into_iter()
        .find(|view| view.name == "patient")
        .unwrap();
    assert!(
        view.configured[0].contains("kvCacheThreshold 0.3"),
        "{:?}",
        view.configured
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_costs_and_service_levels_come_from_their_maps() {
    let fleet = Fleet::start().await;
    fleet
        .config_map(
            "wva-model-scale-to-zero-config",
            json!({"llama": "model_id: llama\nenable_scale_to_zero: true\nretention_period: 300ms\n",
                "qwen": "model_id: qwen\nenable_scale_to_zero: false\nretention_period: 300ms\n"}),
        )
        .await;
    fleet
        .config_map(
            "accelerator-unit-costs",
            json!({"L4": "{\"device\": \"NVIDIA-L4\", \"cost\": \"23.00\"}"}),
        )
        .await;
    let class = "name: Premium\npriority: 1\ndata:\n- model: llama\n  slo-tpot: 24\n  slo-ttft: 500\n";
    fleet
        .config_map("service-classes-config", json!({"premium": class}))
        .await;
    let mut pods = Vec::new();
    for (model, min) in [("llama", 1), ("qwen", 0)] {
        fleet.deployment(model, 2).await;
        fleet.variant(model, model, json!({"minReplicas": min})).await;
        for pod in ["a", "b"] {
            let pod = fleet.pod(model, &format!("{model}-{pod}")).await;
            pod.tell_of(model, 0.0, 0, 0);
            pods.push(pod);
        }
    }
    let scaler = fleet.autoscaler(configured()).await;
    fleet
        .until("zero for the one that may", async || {
            fleet.replicas("llama").await == 0 && fleet.replicas("qwen").await == 1
        })
        .await;
    let views = scaler.handle.variants();
    let llama = views.iter().find(|view| view.name == "llama").unwrap();
    assert_eq!((llama.cost, llama.min), (Some(23.0), Some(0)));
    let slo = llama.slo.as_ref().unwrap();
    assert_eq!(
        (slo.class.as_str(), slo.ttft_ms, slo.tpot_ms),
        ("Premium", Some(500.0), Some(24.0))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_one_acts_and_the_other_takes_over_when_it_resigns() {
    let fleet = Fleet::start().await;
    fleet.deployment("llama", 1).await;
    fleet.variant("llama", "llama", json!({"minReplicas": 2})).await;
    let stop = CancellationToken::new();
    let first = fleet.autoscaler_until(elected("first"), stop.clone()).await;
    fleet.until("a leader", async || first.handle.leads()).await;
    let second = fleet.autoscaler(elected("second")).await;
    fleet
        .until("two replicas", async || fleet.replicas("llama").await == 2)
        .await;
    fleet
        .until("a second that sees the first", async || {
            second.handle.leader() == "first" && !second.handle.variants().is_empty()
        })
        .await;
    assert!(!second.handle.leads() && second.handle.metrics_text().contains("tidegate_leader 0"));
    assert!(
        !second.handle.metrics_text().contains("variant_name="),
        "only the leader speaks"
    );
    assert!(first.handle.metrics_text().contains("wva_desired_replicas{"));

    // The lease is for ten minutes: only a resignation lets the second lead in time.
    stop.cancel();
    first.join().await;
    fleet.until("the second to lead", async || second.handle.leads()).await;
    fleet.patch("llama", json!({"spec": {"minReplicas": 3}})).await;
    fleet
        .until("three replicas", async || fleet.replicas("llama").await == 3)
        .await;
    let lease = fleet.object("coordination.k8s.io/v1", "Lease", "election").await;
    assert_eq!(lease["spec"]["holderIdentity"], "second");
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_managed_hpa_is_a_variant_of_its_own_unless_a_variantautoscaling_has_its_target() {
    let fleet = Fleet::start().await;
    let hpa = |name: &str, target: &str| {
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name, "labels": {"llm-d.ai/managed": "true"},
                "annotations": {"llm-d.ai/model": "llama", "tidegate.dev/cost": "2.5"}},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
                "minReplicas": 3, "maxReplicas": 5}})
    };
    fleet.deployment("alone", 1).await;
    fleet.deployment("shared", 1).await;
    fleet.apply(hpa("alone", "alone")).await;
    fleet.apply(hpa("shared-hpa", "shared")).await;
    fleet.variant("shared", "llama", json!({})).await;
    let scaler = fleet.autoscaler(quick()).await;
    let view = |name: &str| scaler.handle.variants().into_iter().find(|view| view.name == name);
    fleet
        .until("the gauge", async || {
            view("alone").is_some_and(|view| view.desired == Some(3) && view.kind == "HorizontalPodAutoscaler")
        })
        .await;
    assert_eq!(view("alone").unwrap().cost, Some(2.5));
    let series = "wva_desired_replicas{variant_name=\"alone\",namespace=\"default\",accelerator_type=\"L4\"} 3";
    assert!(
        scaler.handle.metrics_text().contains(series),
        "{}",
        scaler.handle.metrics_text()
    );
    assert_eq!(fleet.replicas("alone").await, 1, "the HPA scales, not we");
    fleet
        .until("an event on the HPA", async || {
            fleet
                .events("alone")
                .await
                .iter()
                .any(|(reason, _)| reason == "WantsMore")
        })
        .await;

    let loser = view("shared-hpa").unwrap();
    assert_eq!((loser.reason.as_str(), loser.desired), ("InvalidConfiguration", None));
    assert!(
        loser.sentence.contains("VariantAutoscaling default/shared already"),
        "{}",
        loser.sentence
    );
    fleet.deployment("off", 0).await;
    fleet.apply(hpa("off", "off")).await;
    fleet
        .until("a wish for one that is switched off", async || {
            view("off").is_some_and(|view| view.desired == Some(3))
        })
        .await;
    let passes = *scaler.handle.changed().borrow();
    fleet
        .until("a few passes", async || *scaler.handle.changed().borrow() > passes + 3)
        .await;
    assert_eq!(
        fleet.replicas("off").await,
        0,
        "zero under an HPA of at least 3 is the user's word"
    );
    fleet.delete("autoscaling/v2", "HorizontalPodAutoscaler", "alone").await;
    fleet.until("no series", async || view("alone").is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_name_one_target_the_older_acts() {
    let fleet = Fleet::start().await;
    fleet.deployment("llama", 1).await;
    let va = |name: &str, min: u32| {
        json!({"apiVersion": "llmd.ai/v1alpha1", "kind": "VariantAutoscaling", "metadata": {"name": name},
            "spec": {"modelID": "llama", "minReplicas": min, "scaleTargetRef": {"kind": "Deployment", "name": "llama"}}})
    };
    fleet.apply(va("z-older", 2)).await;
    // Ages have whole seconds.
    let older = fleet.get("z-older").await["metadata"]["creationTimestamp"].clone();
    fleet
        .until("a younger one", async || {
            fleet.apply(va("a-younger", 4)).await;
            let younger = fleet.get("a-younger").await["metadata"]["creationTimestamp"].clone();
            let later = younger != older;
            if !later {
                fleet.remove_variant("a-younger").await;
            }
            later
        })
        .await;
    let _scaler = fleet.autoscaler(quick()).await;
    fleet
        .until("the older one's minimum", async || fleet.replicas("llama").await == 2)
        .await;
    fleet
        .until("a refusal that names the other", async || {
            let va = fleet.get("a-younger").await;
            let ready = fleet::condition(&va, "OptimizationReady");
            ready["reason"] == "InvalidConfiguration"
                && ready["message"]
                    .as_str()
                    .is_some_and(|message| message.contains("VariantAutoscaling default/z-older"))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stateful_set_is_scaled_and_made_anew_starts_anew() {
    let fleet = Fleet::start().await;
    let set = |replicas: u32| {
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "llama"},
            "spec": {"replicas": replicas, "serviceName": "llama", "selector": {"matchLabels": {"app": "llama"}},
                "template": {"metadata": {"labels": {"app": "llama"}},
                    "spec": {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L40S-48GB"},
                        "containers": [{"name": "engine", "image": "engine"}]}}}})
    };
    let wanted = async || fleet.object("apps/v1", "StatefulSet", "llama").await["spec"]["replicas"].clone();
    fleet.apply(set(1)).await;
    fleet
        .variant(
            "llama",
            "llama",
            json!({"minReplicas": 2, "scaleTargetRef": {"kind": "StatefulSet", "name": "llama"}}),
        )
        .await;
    let pod = fleet.pod("llama", "llama-0").await;
    pod.tell(0.1, 1, 0);
    let scaler = fleet.autoscaler(quick()).await;
    fleet.until("the minimum", async || wanted().await == 2).await;
    let view = || scaler.handle.variants().into_iter().next();
    fleet
        .until("a ready replica on an accelerator", async || {
            view().is_some_and(|view| view.ready == 1 && view.accelerator.as_deref() == Some("L40S"))
        })
        .await;

    fleet.delete("apps/v1", "StatefulSet", "llama").await;
    fleet
        .until("no target", async || {
            fleet::condition(&fleet.get("llama").await, "TargetResolved")["reason"] == "TargetNotFound"
        })
        .await;
    fleet.apply(set(1)).await;
    fleet.until("the minimum again", async || wanted().await == 2).await;
}

/// The older shape says how fast a replica is, and a template what vLLM is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_objects_say_of_a_replica_is_read() {
    let fleet = Fleet::start().await;
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "llama"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "llama"}},
            "template": {"metadata": {"labels": {"app": "llama"}},
                "spec": {"containers": [{"name": "vllm", "image": "vllm/vllm-openai", "args": ["--block-size", "huge"]}]}}}});
    fleet.apply(deployment).await;
    let profile = |alpha: &str| {
        json!({"modelProfile": {"accelerators": [{"acc": "L4", "accCount": 1, "maxBatchSize": 8, "perfParms": {
            "decodeParms": {"alpha": alpha, "beta": "0.4"}, "prefillParms": {"gamma": "5.2", "delta": "0.1"}}}]}})
    };
    fleet.variant("llama", "llama", profile("20.5")).await;
    let pod = fleet.pod("llama", "llama-a").await;
    pod.tell(0.1, 4, 0);
    let scaler = fleet.autoscaler(quick()).await;
    let rule = |name: &str| {
        let view = scaler.handle.variants().into_iter().next()?;
        let rules = view.explanation?.rules.clone();
        rules.into_iter().find(|rule| rule.rule == name).map(|rule| rule.says)
    };
    fleet
        .until("the batch as slots", async || {
            rule("Slots").is_some_and(|says| says.contains("of 8 that serve"))
        })
        .await;
    fleet
        .until("what cannot be read of its command", async || {
            let ready = fleet::condition(&fleet.get("llama").await, "OptimizationReady");
            let said = "llama: --block-size huge cannot be read; the default is assumed";
            ready["message"].as_str().is_some_and(|message| message.contains(said))
        })
        .await;

    fleet.patch("llama", json!({"spec": profile("fast")})).await;
    fleet
        .until("a refusal", async || {
            let ready = fleet::condition(&fleet.get("llama").await, "OptimizationReady");
            let path = "spec.modelProfile.accelerators[0].perfParms.decodeParms.alpha is \"fast\"";
            ready["reason"] == "InvalidConfiguration"
                && ready["message"].as_str().is_some_and(|message| message.contains(path))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_looks_after_its_own() {
    let fleet = Fleet::start().await;
    for name in ["ours", "theirs"] {
        fleet.deployment(name, 1).await;
        fleet.variant(name, name, json!({"minReplicas": 2})).await;
    }
    fleet
        .patch(
            "ours",
            json!({"metadata": {"labels": {"wva.llmd.ai/controller-instance": "blue"}}}),
        )
        .await;
    // One of ours on a target that another shard has: not ours to take.
    fleet
        .variant(
            "theirs-too",
            "theirs",
            json!({"minReplicas": 4, "scaleTargetRef": {"kind": "Deployment", "name": "theirs"}}),
        )
        .await;
    fleet
        .patch(
            "theirs-too",
            json!({"metadata": {"labels": {"wva.llmd.ai/controller-instance": "blue"}}}),
        )
        .await;
    let config = Config {
        instance: Some("blue".to_owned()),
        actuator: Actuator::Direct,
        ..quick()
    };
    let scaler = fleet.autoscaler(config).await;
    fleet
        .until("the minimum", async || fleet.replicas("ours").await == 2)
        .await;
    let names = || -> Vec<String> { scaler.handle.variants().into_iter().map(|view| view.name).collect() };
    fleet
        .until("a report", async || names() == ["ours", "theirs-too"])
        .await;
    fleet
        .until("a refusal", async || {
            let va = fleet.get("theirs-too").await;
            fleet::condition(&va, "OptimizationReady")["reason"] == "InvalidConfiguration"
        })
        .await;
    assert!(scaler.handle.metrics_text().contains("controller_instance=\"blue\""));
    assert_eq!(fleet.replicas("theirs").await, 1);
}
