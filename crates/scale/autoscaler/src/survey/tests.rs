use super::pods::{PodIndex, staying};
use super::pools::Ports;
use super::progress::instant_of;
use super::*;
use api::InferencePool;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

fn pod(status: &Value, annotations: &Value) -> Arc<Pod> {
    let pod = json!({
        "metadata": {"name": "p", "namespace": "n", "labels": {"app": "m"}, "annotations": annotations,
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 9000}]}]},
        "status": status,
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn second(text: &str) -> Instant {
    instant_of(&Time(text.parse().unwrap()))
}

#[test]
fn a_pod_is_ready_starting_or_taken_by_no_node() {
    let created = second("2026-01-01T00:00:00Z");
    let later = "2026-01-01T00:01:00Z";
    let condition = |kind: &str, status: &str| {
        json!({"conditions": [{"type": kind, "status": status, "lastTransitionTime": later,
            "reason": "Unschedulable", "message": "0/2 nodes"}]})
    };
    let cases = [
        (json!({}), ReplicaState::Pending { since: created }),
        (condition("Ready", "True"), ReplicaState::Ready),
        (
            condition("Ready", "False"),
            ReplicaState::Pending { since: second(later) },
        ),
        (
            condition("PodScheduled", "False"),
            ReplicaState::Unschedulable {
                since: second(later),
                why: "0/2 nodes".to_owned(),
            },
        ),
        (
            condition("PodScheduled", "True"),
            ReplicaState::Pending { since: created },
        ),
    ];
    for (status, expected) in cases {
        assert_eq!(state(&pod(&status, &json!({}))), expected, "{status}");
    }
}

#[test]
fn a_pod_that_crashes_again_and_again_is_not_waited_for() {
    let created = second("2026-01-01T00:00:00Z");
    let container = |restarts: u32, finished: &str, state: Value| {
        let last = json!({"terminated": {"reason": "OOMKilled", "exitCode": 137,
            "startedAt": "2026-01-01T00:00:00Z", "finishedAt": finished}});
        json!({"containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false,
            "restartCount": restarts, "state": state, "lastState": last}]})
    };
    let (soon, late) = ("2026-01-01T00:01:00Z", "2026-01-01T00:11:00Z");
    let (runs, waits) = (
        json!({"running": {}}),
        json!({"waiting": {"reason": "CrashLoopBackOff"}}),
    );
    let again = "3 restarts, the last after OOMKilled with exit code 137";
    for (status, why) in [
        (container(2, soon, waits.clone()), None),
        (container(3, soon, waits), Some(again)),
        (container(3, soon, runs.clone()), Some(again)),
        // It had served for a while, and the kubelet forgives what was before.
        (container(3, late, runs), None),
        (
            container(0, soon, json!({"waiting": {"reason": "ImagePullBackOff"}})),
            Some("ImagePullBackOff"),
        ),
        (
            container(0, soon, json!({"waiting": {"reason": "ContainerCreating"}})),
            None,
        ),
    ] {
        let expected = match why {
            Some(why) => ReplicaState::Failing {
                since: created,
                why: why.to_owned(),
            },
            None => ReplicaState::Pending { since: created },
        };
        let mut pod = Arc::unwrap_or_clone(pod(&status, &json!({})));
        crate::world::slim_pod(&mut pod);
        assert_eq!(state(&pod), expected, "{status}");
    }
}

#[test]
fn the_ports_are_the_pools_else_the_containers() {
    let pool = |labels: Value| -> Arc<InferencePool> {
        let pool = json!({"apiVersion": "inference.networking.k8s.io/v1", "kind": "InferencePool",
            "metadata": {"name": "x", "namespace": "n"},
            "spec": {"selector": {"matchLabels": labels}, "targetPorts": [{"number": 8123}, {"number": 8124}]}});
        Arc::new(serde_json::from_value(pool).unwrap())
    };
    let pod = pod(&json!({}), &json!({}));
    for (selects, first, more) in [
        (json!({"app": "m"}), 8123, &[8124][..]),
        (json!({"app": "other"}), 9000, &[]),
        // An empty selector selects nothing.
        (json!({}), 9000, &[]),
    ] {
        let pools = Pools::of(vec![pool(selects.clone())]);
        let found = ports(&pod, pools.of_namespace("n"));
        assert_eq!((found.first, &*found.more), (first, more), "{selects}");
    }
    assert_eq!(ports(&Pod::default(), None).first, 8000, "the usual one");
}

#[test]
fn metrics_are_where_the_pod_says() {
    let with = |ports: Value, annotations: Value| -> (u16, Option<String>, Option<String>) {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "annotations": annotations},
            "spec": {"containers": [{"name": "c", "ports": ports}]},
            "status": {"podIP": "10.0.0.1"},
        }))
        .unwrap();
        let facts = facts(&Arc::new(pod), None);
        let path = facts.metrics_path.as_deref().map(str::to_owned);
        (facts.metrics_port, path, facts.address.as_deref().map(str::to_owned))
    };
    let triton = json!([{"containerPort": 8000, "name": "http"}, {"containerPort": 8002, "name": "metrics"}]);
    let serves = Some("10.0.0.1:8000".to_owned());
    assert_eq!(with(triton.clone(), json!({})), (8002, None, serves.clone()));
    let annotated = json!({"prometheus.io/port": "9090", "prometheus.io/path": "/prometheus/metrics"});
    let elsewhere = (9090, Some("/prometheus/metrics".to_owned()), serves.clone());
    assert_eq!(with(triton, annotated), elsewhere);
    let plain = json!([{"containerPort": 8000, "name": "http"}]);
    for (port, path) in [("0", "metrics"), ("http", "/a b"), ("70000", "/metrics"), ("", "")] {
        let annotated = json!({"prometheus.io/port": port, "prometheus.io/path": path});
        assert_eq!(
            with(plain.clone(), annotated),
            (8000, None, serves.clone()),
            "{port} {path}"
        );
    }
}

#[test]
fn each_rank_has_metrics_of_its_own_unless_the_pod_says_where_they_are() {
    let pod = |annotations: Value| -> Pod {
        let ports = json!([{"containerPort": 8000, "name": "metrics"}]);
        let pod = json!({"metadata": {"name": "p", "annotations": annotations},
            "spec": {"containers": [{"name": "c", "ports": ports}]}});
        serde_json::from_value(pod).unwrap()
    };
    let (plain, annotated) = (pod(json!({})), pod(json!({"prometheus.io/port": "9090"})));
    for (pod, serves_at, expected) in [
        (&plain, (8001, &[8002, 8003][..]), (8001, &[8002, 8003][..])),
        (&plain, (8001, &[]), (8000, &[])),
        (&annotated, (8001, &[8002]), (9090, &[])),
    ] {
        let (first, more) = serves_at;
        let serves_at = Ports {
            first,
            more: more.into(),
        };
        let found = metrics_ports(pod, &serves_at);
        assert_eq!((found.first, &*found.more), expected, "{serves_at:?}");
    }
}

#[test]
fn slots_come_from_the_annotation_if_they_are_a_number() {
    for (annotation, slots) in [("16", Some(16.0)), ("0", None), ("many", None)] {
        let pod = pod(&json!({}), &json!({SLOTS_ANNOTATION: annotation}));
        assert_eq!(facts(&pod, None).slots, slots, "{annotation}");
    }
}

#[test]
fn pods_are_found_by_selector_in_their_namespace_only() {
    let named = |name: &str, namespace: &str, app: &str, phase: &str| {
        let pod = json!({"metadata": {"name": name, "namespace": namespace, "labels": {"app": app, "tier": "gpu"}},
            "status": {"phase": phase}});
        Arc::new(serde_json::from_value::<Pod>(pod).unwrap())
    };
    let pods = staying(vec![
        named("b", "n", "m", "Running"),
        named("a", "n", "m", "Pending"),
        named("done", "n", "m", "Succeeded"),
        named("c", "n", "x", "Running"),
        named("d", "elsewhere", "m", "Running"),
    ]);
    let mut index = PodIndex::of(&pods);
    for (selector, expected) in [
        ("app=m", "ab"),
        ("app in (m)", "ab"),
        ("app in (m,x)", "abc"),
        ("tier=gpu,app!=m", "c"),
        ("app=none", ""),
    ] {
        let selector = crate::selector::parse(selector).unwrap();
        let mut found: Vec<String> = index.select("n", &selector).map(|pod| pod.name_any()).collect();
        found.sort();
        assert_eq!(found.concat(), expected, "{selector}");
    }
}

#[test]
fn a_pod_is_read_again_when_it_changed_or_the_pools_did() {
    let plain = || pod(&json!({"phase": "Running"}), &json!({}));
    let pool: Arc<InferencePool> = Arc::new(
        serde_json::from_value(
            json!({"apiVersion": "inference.networking.k8s.io/v1", "kind": "InferencePool",
            "metadata": {"name": "x", "namespace": "n"},
            "spec": {"selector": {"matchLabels": {"app": "m"}}, "targetPorts": [{"number": 8123}]}}),
        )
        .unwrap(),
    );
    let (first, changed) = (plain(), plain());
    let mut read = PodsRead::default();
    let mut pass = |pod: &Arc<Pod>, pools: &[Arc<InferencePool>]| {
        read.begin(pools);
        read.facts(pod, Pools::of(pools.to_vec()).of_namespace("n"))
    };
    let facts = pass(&first, &[]);
    assert!(Arc::ptr_eq(&facts, &pass(&first, &[])), "nothing changed");
    assert!(!Arc::ptr_eq(&facts, &pass(&changed, &[])), "another version");
    assert_eq!(facts.metrics_port, 9000);
    assert_eq!(pass(&first, &[pool]).metrics_port, 8123);
}
