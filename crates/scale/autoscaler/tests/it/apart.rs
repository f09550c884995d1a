//! One trouble is nobody else's: what does not answer, or is not there, stops
//! nothing that has nothing to do with it.

use crate::fleet::{Fleet, condition};
use crate::gate::Verdict;
use crate::quick;
use autoscaler::{Actuator, Config};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn direct() -> Config {
    Config {
        actuator: Actuator::Direct,
        ..quick()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_never_answers_keeps_no_other_waiting() {
    let fleet = Fleet::start().await;
    fleet.deployment("stuck", 1).await;
    fleet.deployment("llama", 1).await;
    fleet.variant("stuck", "qwen", json!({"minReplicas": 2})).await;
    fleet.variant("llama", "llama", json!({})).await;
    let gate = fleet.gate();
    gate.judge(|_, path| {
        if path.ends_with("/deployments/stuck/scale") {
            Verdict::Hangs
        } else {
            Verdict::Passes
        }
    });
    let _scaler = fleet.autoscaler_through(&gate, direct()).await;
    for replicas in 2..=6 {
        let asked = Instant::now();
        fleet.patch("llama", json!({"spec": {"minReplicas": replicas}})).await;
        fleet
            .until("the other's replicas", async || {
                fleet.replicas("llama").await == replicas
            })
            .await;
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(2), "{replicas} took {took:?}");
    }
    fleet
        .until("what became of the first", async || {
            condition(&fleet.get("stuck").await, "OptimizationReady")["message"]
                .as_str()
                .is_some_and(|says| says.contains("no answer within 3s"))
        })
        .await;
    gate.judge(|_, _| Verdict::Passes);
    fleet
        .until("the first's replicas", async || fleet.replicas("stuck").await == 2)
        .await;
    fleet
        .until("an Event of it", async || {
            let events = fleet.events("stuck").await;
            events.iter().any(|(reason, _)| reason == "ScaledUp")
        })
        .await;
}

fn worker(replicas: i64) -> Value {
    json!({"apiVersion": "example.org/v1", "kind": "Worker", "metadata": {"name": "llama"},
        "spec": {"replicas": replicas}, "status": {"replicas": replicas, "selector": "app=llama"}})
}

fn workers() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "workers.example.org"},
        "spec": {"group": "example.org", "scope": "Namespaced",
            "names": {"plural": "workers", "singular": "worker", "kind": "Worker", "listKind": "WorkerList"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                "subresources": {"scale": {"specReplicasPath": ".spec.replicas",
                    "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}}}]}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anything_with_a_scale_subresource_is_scaled_and_what_was_read_of_it_outlives_a_failure() {
    let fleet = Fleet::start().await;
    fleet.install_kind(workers()).await;
    fleet.until_applied(worker(1)).await;
    let target = json!({"scaleTargetRef": {"apiVersion": "example.org/v1", "kind": "Worker", "name": "llama"}});
    fleet.variant("llama", "llama", target).await;
    fleet.patch("llama", json!({"spec": {"minReplicas": 2}})).await;
    let gate = fleet.gate();
    let scaler = fleet.autoscaler_through(&gate, direct()).await;
    let replicas = async || fleet.object("example.org/v1", "Worker", "llama").await["spec"]["replicas"].as_i64();
    fleet.until("two workers", async || replicas().await == Some(2)).await;

    // What cannot be used leaves the last that could in force, target included.
    fleet
        .patch("llama", json!({"spec": {"minReplicas": 9, "maxReplicas": 2}}))
        .await;
    let says = async |kind: &str| {
        let found = condition(&fleet.get("llama").await, kind);
        let word = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        (word("status"), word("reason"))
    };
    let are = |status: &str, reason: &str| (status.to_owned(), reason.to_owned());
    fleet
        .until("a word on it", async || {
            says("OptimizationReady").await == are("False", "InvalidConfiguration")
        })
        .await;
    assert_eq!(says("TargetResolved").await, are("True", "TargetFound"));
    fleet
        .patch("llama", json!({"spec": {"minReplicas": 3, "maxReplicas": 10}}))
        .await;
    fleet.until("three workers", async || replicas().await == Some(3)).await;

    // It cannot be read for a while.
    gate.judge(|_, path| {
        if path.contains("/workers/") {
            Verdict::Refused(500)
        } else {
            Verdict::Passes
        }
    });
    let passes = *scaler.handle.changed().borrow();
    fleet
        .until("passes", async || *scaler.handle.changed().borrow() > passes + 60)
        .await;
    assert_eq!(says("TargetResolved").await, are("True", "TargetFound"));
    assert!(scaler.handle.metrics_text().contains("wva_desired_replicas{"));

    // It is gone.
    gate.judge(|_, _| Verdict::Passes);
    fleet.delete("example.org/v1", "Worker", "llama").await;
    fleet
        .until("a word on that", async || {
            says("TargetResolved").await == are("False", "TargetNotFound")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_managed_hpa_needs_no_kind_of_ours_and_the_kind_may_come_later() {
    let fleet = Fleet::without_kinds().await;
    fleet.deployment("llama", 1).await;
    fleet
        .apply(
            json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "llama", "labels": {"llm-d.ai/managed": "true"},
                "annotations": {"llm-d.ai/model": "llama"}},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"},
                "minReplicas": 3, "maxReplicas": 5}}),
        )
        .await;
    let scaler = fleet.autoscaler(quick()).await;
    let gauge = |name: &str, replicas: u32| {
        let page = scaler.handle.metrics_text();
        let name = format!("wva_desired_replicas{{variant_name=\"{name}\"");
        let replicas = format!(" {replicas}.0");
        page.lines()
            .any(|line| line.starts_with(&name) && line.ends_with(&replicas))
    };
    fleet.until("the gauge", async || gauge("llama", 3)).await;
    fleet.install_kinds().await;
    fleet.deployment("qwen", 1).await;
    fleet.variant("qwen", "qwen", json!({"minReplicas": 2})).await;
    fleet.until("the other gauge", async || gauge("qwen", 2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_listed_is_not_said_to_be_missing() {
    for (refused, served, kind) in [
        ("/statefulsets", "deployments", "StatefulSet"),
        ("/deployments", "", "Deployment"),
        ("/pods", "", "Deployment"),
    ] {
        let fleet = Fleet::start().await;
        fleet.deployment("llama", 1).await;
        fleet.deployment("other", 1).await;
        fleet
            .variant(
                "llama",
                "llama",
                json!({"scaleTargetRef": {"kind": kind, "name": "llama"}}),
            )
            .await;
        fleet.variant("other", "other", json!({"minReplicas": 2})).await;
        let gate = fleet.gate();
        gate.judge(move |_, path| {
            if path.ends_with(refused) {
                Verdict::Refused(403)
            } else {
                Verdict::Passes
            }
        });
        let _scaler = fleet.autoscaler_through(&gate, direct()).await;
        fleet
            .until("the condition", async || {
                let found = condition(&fleet.get("llama").await, "TargetResolved");
                (found["status"].as_str(), found["reason"].as_str()) == (Some("Unknown"), Some("CannotWatch"))
                    && found["message"]
                        .as_str()
                        .is_some_and(|says| says.contains("not through this gate"))
            })
            .await;
        if !served.is_empty() {
            fleet
                .until("the other's replicas", async || fleet.replicas("other").await == 2)
                .await;
        }
        gate.judge(|_, _| Verdict::Passes);
        fleet
            .until("what is there", async || {
                let found = condition(&fleet.get("llama").await, "TargetResolved");
                found["status"] == if kind == "StatefulSet" { "False" } else { "True" }
            })
            .await;
    }
}

/// Two controllers: one for everything, and one for the namespace that the
/// first is told to leave alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_excluded_namespace_is_left_to_its_own_controller() {
    let fleet = Fleet::start().await;
    fleet
        .patch_namespace(json!({"metadata": {"annotations": {"wva.llmd.ai/exclude": "true"}}}))
        .await;
    fleet.deployment("llama", 1).await;
    fleet.variant("llama", "llama", json!({"minReplicas": 2})).await;
    let everywhere = fleet.autoscaler_of_all(direct()).await;
    let shown = || everywhere.handle.variants();
    fleet
        .until("a word on it", async || {
            shown()
                .iter()
                .any(|view| view.reason == "SkippedProcessing" && view.sentence.contains("wva.llmd.ai/exclude"))
        })
        .await;
    let passes = *everywhere.handle.changed().borrow();
    fleet
        .until("passes", async || *everywhere.handle.changed().borrow() > passes + 20)
        .await;
    assert!(fleet.get("llama").await["status"].is_null());
    assert_eq!(fleet.events("llama").await, []);
    assert!(!everywhere.handle.metrics_text().contains("variant_name="));

    let own = fleet.autoscaler(direct()).await;
    fleet
        .until("the replicas its own decides", async || {
            fleet.replicas("llama").await == 2
        })
        .await;
    assert!(own.handle.metrics_text().contains("wva_desired_replicas{"));
    assert!(!everywhere.handle.metrics_text().contains("variant_name="));
}
