//! The HPA controller over the embedded API.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use cluster::podautoscaler::{PodAutoscalerOptions, Series};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::world::{World, deployment, until};

/// Below zero the metric is not there.
const AWAY: i64 = -1;

fn autoscaler(name: &str, target: &str, metric: &Value) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "minReplicas": 1, "maxReplicas": 8, "metrics": [metric],
        },
    })
}

/// One waiting request for each replica.
fn waiting() -> Value {
    json!({"type": "External", "external": {
        "metric": {"name": "waiting", "selector": {"matchLabels": {"model": "m"}}},
        "target": {"type": "AverageValue", "averageValue": "1"}}})
}

fn cpu() -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}})
}

impl World {
    async fn replicas(&self) -> i32 {
        let web = self.api::<Deployment>().get("web").await.unwrap();
        web.spec.unwrap().replicas.unwrap()
    }

    async fn scaled_to(&self, replicas: i32) {
        let what = format!("the Deployment is scaled to {replicas}");
        until(&what, async || (self.replicas().await == replicas).then_some(())).await;
    }

    /// Waits for a condition with this reason, and returns its status and message.
    async fn says(&self, name: &str, kind: &str, reason: &str) -> (String, String) {
        until(&format!("{kind} of {name} is {reason}"), async || {
            let autoscaler = self.api::<HorizontalPodAutoscaler>().get(name).await.unwrap();
            let conditions = autoscaler.status?.conditions?;
            let found = conditions.into_iter().find(|c| c.type_ == kind)?;
            let said = (found.status, found.message.unwrap_or_default());
            (found.reason.as_deref() == Some(reason)).then_some(said)
        })
        .await
    }

    async fn told(&self, name: &str, reason: &str, message: &str) {
        until(&format!("an Event {reason} about {name}: {message}"), async || {
            let events = self.api::<Event>().list(&ListParams::default()).await.unwrap();
            let told = events.iter().any(|event| {
                event.involved_object.name.as_deref() == Some(name)
                    && event.reason.as_deref() == Some(reason)
                    && event.message.as_deref() == Some(message)
                    && event.reporting_component.as_deref() == Some("horizontal-pod-autoscaler")
            });
            told.then_some(())
        })
        .await;
    }
}

pub(crate) async fn an_autoscaler_follows_its_metric() {
    let value = Arc::new(AtomicI64::new(AWAY));
    let shown = value.clone();
    let world = World::with(PodAutoscalerOptions {
        sync_period: Duration::from_millis(100),
        external_metrics: Some(Arc::new(move |namespace, metric, _| {
            assert_eq!((namespace, metric), ("default", "waiting"));
            let series = |model: &str, milli: i64| -> Series {
                (BTreeMap::from([("model".to_owned(), model.to_owned())]), milli)
            };
            match shown.load(Ordering::SeqCst) {
                AWAY => Vec::new(),
                // The selector leaves out what another model has.
                milli => vec![series("m", milli), series("other", 1_000_000)],
            }
        })),
    })
    .await;
    world.make::<Deployment>(deployment(2, &["unused"])).await;
    world
        .make::<HorizontalPodAutoscaler>(autoscaler("h", "web", &waiting()))
        .await;

    let (status, message) = world.says("h", "ScalingActive", "FailedGetExternalMetric").await;
    let selector =
        "&LabelSelector{MatchLabels:map[string]string{model: m,},MatchExpressions:[]LabelSelectorRequirement{},}";
    let failed = format!(
        "unable to get external metric default/waiting/{selector}: no metrics returned from external metrics API"
    );
    assert_eq!(status, "False");
    assert_eq!(
        message,
        format!("the HPA was unable to compute the replica count: {failed}")
    );
    world.told("h", "FailedGetExternalMetric", &failed).await;
    assert_eq!(world.replicas().await, 2, "what is not known is not 0");

    value.store(7000, Ordering::SeqCst);
    world.scaled_to(7).await;
    let above = format!("external metric waiting({selector}) above target");
    world
        .told("h", "SuccessfulRescale", &format!("New size: 4; reason: {above}"))
        .await;
    world
        .told("h", "SuccessfulRescale", &format!("New size: 7; reason: {above}"))
        .await;
    let status = until("the status is settled", async || {
        let status = world.api::<HorizontalPodAutoscaler>().get("h").await.unwrap().status?;
        (status.current_replicas == Some(7) && status.desired_replicas == 7).then_some(status)
    })
    .await;
    assert!(status.last_scale_time.is_some());
    let metrics = status.current_metrics.unwrap();
    let current = &metrics[0].external.as_ref().unwrap().current;
    assert_eq!(current.average_value.as_ref().unwrap().0, "1");

    value.store(1000, Ordering::SeqCst);
    world.says("h", "AbleToScale", "ScaleDownStabilized").await;
    assert_eq!(world.replicas().await, 7);
    let patch = json!({"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}});
    world
        .api::<HorizontalPodAutoscaler>()
        .patch("h", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    world.scaled_to(1).await;
    world
        .told(
            "h",
            "SuccessfulRescale",
            "New size: 1; reason: All metrics below target",
        )
        .await;

    // By hand to nothing: left alone, until by hand it is something again.
    world.patch_deployment(json!({"spec": {"replicas": 0}})).await;
    let (status, _) = world.says("h", "ScalingActive", "ScalingDisabled").await;
    assert_eq!((status.as_str(), world.replicas().await), ("False", 0));
    world.patch_deployment(json!({"spec": {"replicas": 20}})).await;
    world
        .told(
            "h",
            "SuccessfulRescale",
            "New size: 8; reason: Current number of replicas above Spec.MaxReplicas",
        )
        .await;
    world.scaled_to(1).await;
    world.end().await;
}

pub(crate) async fn an_autoscaler_says_what_it_cannot_know() {
    let world = World::with(PodAutoscalerOptions {
        sync_period: Duration::from_millis(100),
        external_metrics: None,
    })
    .await;
    world.make::<Deployment>(deployment(2, &["unused"])).await;
    let make = async |name: &str, target: &str, metric: &Value| {
        world
            .make::<HorizontalPodAutoscaler>(autoscaler(name, target, metric))
            .await;
    };

    make("cpu", "web", &cpu()).await;
    let (status, message) = world.says("cpu", "ScalingActive", "FailedGetResourceMetric").await;
    let why = "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from \
               resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)";
    assert_eq!(status, "False");
    assert_eq!(
        message,
        format!("the HPA was unable to compute the replica count: {why}")
    );
    let whole =
        format!("invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: {why}");
    world.told("cpu", "FailedComputeMetricsReplicas", &whole).await;

    // A second one of the same target: neither knows whose the Pods are.
    until("the Deployment has its Pods", async || {
        (world.pods().await.len() == 2).then_some(())
    })
    .await;
    make("h", "web", &waiting()).await;
    for name in ["cpu", "h"] {
        let (_, message) = world.says(name, "ScalingActive", "AmbiguousSelector").await;
        let want = "pods by selector app=web are controlled by multiple HPAs: [default/cpu default/h]";
        assert_eq!(message, want);
    }
    let autoscalers = world.api::<HorizontalPodAutoscaler>();
    autoscalers.delete("cpu", &DeleteParams::default()).await.unwrap();
    let (_, message) = world.says("h", "ScalingActive", "FailedGetExternalMetric").await;
    let end = "unable to fetch metrics from external metrics API: the server could not find the requested resource \
               (get waiting.external.metrics.k8s.io)";
    assert!(message.ends_with(end), "{message}");

    make("lost", "none", &waiting()).await;
    let (status, message) = world.says("lost", "AbleToScale", "FailedGetScale").await;
    assert_eq!(status, "False");
    let want = "the HPA controller was unable to get the target's current scale: deployments.apps \"none\" not found";
    assert_eq!(message, want);
    let mut strange = autoscaler("strange", "a", &waiting());
    strange["spec"]["scaleTargetRef"] = json!({"apiVersion": "shop/v1", "kind": "Stall", "name": "a"});
    world.make::<HorizontalPodAutoscaler>(strange).await;
    let (_, message) = world.says("strange", "AbleToScale", "FailedGetScale").await;
    assert!(
        message.ends_with("no matches for kind \"Stall\" in group \"shop\""),
        "{message}"
    );
    assert_eq!(world.replicas().await, 2);
    world.end().await;
}
