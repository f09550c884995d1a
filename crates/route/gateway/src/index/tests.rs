use super::*;
use serde_json::{Value, json};

fn pool(name: &str, models: Option<&str>) -> Box<InferencePool> {
    let mut object = json!({
        "apiVersion": "inference.networking.k8s.io/v1", "kind": "InferencePool",
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {"selector": {"matchLabels": {"app": name}}, "targetPorts": [{"number": 8000}]},
    });
    if let Some(models) = models {
        object["metadata"]["annotations"] = json!({ "tidegate.dev/models": models });
    }
    Box::new(serde_json::from_value(object).unwrap())
}

fn pod(name: &str, app: &str, change: impl FnOnce(&mut Value)) -> Box<Pod> {
    let mut object = json!({
        "metadata": {"name": name, "namespace": "ns", "labels": {"app": app}},
        "status": {"phase": "Running", "podIP": "127.1.0.7", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    change(&mut object);
    Box::new(serde_json::from_value(object).unwrap())
}

fn with_pool() -> Index {
    let mut index = Index::default();
    assert!(index.apply(Change::PoolApplied(pool("qwen", None))));
    index
}

fn pods(index: &Index) -> Vec<String> {
    index
        .pools()
        .iter()
        .flat_map(|pool| pool.endpoints.iter().map(|endpoint| endpoint.pod.clone()))
        .collect()
}

#[test]
fn a_pool_without_annotation_serves_its_own_name() {
    let mut index = with_pool();
    index.apply(Change::PoolApplied(pool("other", Some(" a, b ,,"))));
    let models: Vec<_> = index.pools().into_iter().map(|pool| (pool.name, pool.models)).collect();
    assert_eq!(
        models,
        [
            ("ns/other".to_owned(), vec!["a".to_owned(), "b".to_owned()]),
            ("ns/qwen".to_owned(), vec!["qwen".to_owned()])
        ]
    );
}

#[test]
fn only_selected_ready_living_pods_take_requests() {
    let cases: [(&str, Box<Pod>, bool); 8] = [
        ("ready", pod("p", "qwen", |_| {}), true),
        ("another pool's", pod("p", "llama", |_| {}), false),
        (
            "another namespace's",
            pod("p", "qwen", |pod| pod["metadata"]["namespace"] = json!("else")),
            false,
        ),
        (
            "not ready",
            pod("p", "qwen", |pod| {
                pod["status"]["conditions"][0]["status"] = json!("False");
            }),
            false,
        ),
        (
            "without address",
            pod("p", "qwen", |pod| pod["status"]["podIP"] = Value::Null),
            false,
        ),
        (
            "with a broken address",
            pod("p", "qwen", |pod| pod["status"]["podIP"] = json!("127.0.0")),
            false,
        ),
        (
            "ended",
            pod("p", "qwen", |pod| pod["status"]["phase"] = json!("Failed")),
            false,
        ),
        (
            "terminating",
            pod("p", "qwen", |pod| {
                pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }),
            false,
        ),
    ];
    for (what, pod, takes) in cases {
        let mut index = with_pool();
        index.apply(Change::PodApplied(pod));
        assert_eq!(pods(&index).len(), usize::from(takes), "{what}");
    }
}

#[test]
fn a_ready_pod_leaves_when_it_terminates_or_goes() {
    let mut index = with_pool();
    assert!(index.apply(Change::PodApplied(pod("p", "qwen", |_| {}))));
    assert!(
        !index.apply(Change::PodApplied(pod("p", "qwen", |_| {}))),
        "nothing changed"
    );
    let terminating = pod("p", "qwen", |pod| {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    });
    assert!(index.apply(Change::PodApplied(terminating)));
    assert!(pods(&index).is_empty());
    assert!(index.apply(Change::PodApplied(pod("p", "qwen", |_| {}))));
    assert!(index.apply(Change::PodDeleted(pod("p", "qwen", |_| {}))));
    assert!(pods(&index).is_empty());
}

#[test]
fn slots_come_from_the_annotation_when_it_is_a_number() {
    for (written, slots) in [("7", Some(7)), (" 12 ", Some(12)), ("0", None), ("many", None)] {
        let mut index = with_pool();
        let annotated = pod("p", "qwen", |pod| {
            pod["metadata"]["annotations"] = json!({"tidegate.dev/slots": written});
        });
        index.apply(Change::PodApplied(annotated));
        assert_eq!(index.pools()[0].endpoints[0].slots, slots, "{written}");
    }
}

#[test]
fn a_new_list_replaces_only_when_it_is_complete() {
    let mut index = with_pool();
    index.apply(Change::PodApplied(pod("old", "qwen", |_| {})));
    assert!(!index.apply(Change::PodListBegins));
    assert!(!index.apply(Change::PodListed(pod("new", "qwen", |_| {}))));
    assert_eq!(pods(&index), ["old"]);
    assert!(index.apply(Change::PodListEnds));
    assert_eq!(pods(&index), ["new"]);
}
