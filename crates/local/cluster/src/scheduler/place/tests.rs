use super::*;
use serde_json::{Value, json};

fn node(name: &str, gpus: u32, more: &Value) -> Node {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "nvidia.com/gpu.product": "L4"}},
        "spec": {},
        "status": {
            "allocatable": {"cpu": "4", "memory": "16Gi", "pods": "3", "nvidia.com/gpu": gpus.to_string()},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    merge(&mut node, more);
    serde_json::from_value(node).unwrap()
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn pod(gpus: u32, spec: &Value) -> Pod {
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [
        {"name": "c", "resources": {"limits": {"nvidia.com/gpu": gpus.to_string()}, "requests": {"cpu": "1"}}}
    ]}});
    merge(&mut pod["spec"], spec);
    serde_json::from_value(pod).unwrap()
}

fn decide(pod: &Pod, nodes: &[Node], pods: &[Pod]) -> Result<String, String> {
    place(pod, &NodesView::new(nodes.iter(), pods.iter()))
        .map(|c| c.node)
        .map_err(|w| w.to_string())
}

#[test]
fn gpu_pods_fill_a_node_before_they_open_the_next() {
    let nodes = [node("a", 4, &json!({})), node("b", 4, &json!({}))];
    let bound = |name: &str, gpus| pod(gpus, &json!({"nodeName": name}));
    assert_eq!(decide(&pod(1, &json!({})), &nodes, &[]), Ok("a".into()));
    assert_eq!(decide(&pod(1, &json!({})), &nodes, &[bound("b", 1)]), Ok("b".into()));
    assert_eq!(decide(&pod(4, &json!({})), &nodes, &[bound("b", 1)]), Ok("a".into()));
    assert_eq!(
        decide(&pod(0, &json!({})), &nodes, &[bound("a", 1)]),
        Ok("b".into()),
        "others spread"
    );
    let mut finished = bound("a", 4);
    finished.status = serde_json::from_value(json!({"phase": "Failed"})).unwrap();
    assert_eq!(decide(&pod(4, &json!({})), &nodes[..1], &[finished]), Ok("a".into()));
}

#[test]
fn every_rule_has_its_words() {
    let taint = |effect: &str| json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": effect}]}});
    let affinity = |expression: Value| {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}}})
    };
    let selector = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
    let table = [
        (json!({}), 1, json!({}), Ok("n")),
        (
            json!({}),
            9,
            json!({}),
            Err("0/1 nodes are available: 1 Insufficient nvidia.com/gpu."),
        ),
        (
            json!({"spec": {"unschedulable": true}}),
            0,
            json!({}),
            Err("0/1 nodes are available: 1 node(s) were unschedulable."),
        ),
        (
            json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}),
            0,
            json!({}),
            Err("0/1 nodes are available: 1 node(s) were not ready."),
        ),
        (
            taint("NoSchedule"),
            0,
            json!({}),
            Err("0/1 nodes are available: 1 node(s) had untolerated taint {k: v}."),
        ),
        (taint("PreferNoSchedule"), 0, json!({}), Ok("n")),
        (
            taint("NoExecute"),
            0,
            json!({"tolerations": [{"key": "k", "value": "v"}]}),
            Ok("n"),
        ),
        (
            taint("NoSchedule"),
            0,
            json!({"tolerations": [{"operator": "Exists"}]}),
            Ok("n"),
        ),
        (
            taint("NoSchedule"),
            0,
            json!({"tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute"}]}),
            Err("0/1 nodes are available: 1 node(s) had untolerated taint {k: v}."),
        ),
        (
            json!({}),
            0,
            json!({"nodeSelector": {"nvidia.com/gpu.product": "H100"}}),
            Err(selector),
        ),
        (
            json!({}),
            0,
            json!({"nodeSelector": {"nvidia.com/gpu.product": "L4"}}),
            Ok("n"),
        ),
        (
            json!({}),
            0,
            affinity(json!({"key": "nvidia.com/gpu.product", "operator": "In", "values": ["H100", "L4"]})),
            Ok("n"),
        ),
        (
            json!({}),
            0,
            affinity(json!({"key": "nvidia.com/gpu.product", "operator": "NotIn", "values": ["L4"]})),
            Err(selector),
        ),
        (
            json!({}),
            0,
            affinity(json!({"key": "zone", "operator": "Exists"})),
            Err(selector),
        ),
        (
            json!({"status": {"allocatable": {"cpu": "500m"}}}),
            0,
            json!({}),
            Err("0/1 nodes are available: 1 Insufficient cpu."),
        ),
        (
            json!({"status": {"allocatable": {"pods": "0"}}}),
            0,
            json!({}),
            Err("0/1 nodes are available: 1 Too many pods."),
        ),
    ];
    for (more, gpus, spec, want) in table {
        let got = decide(&pod(gpus, &spec), &[node("n", 2, &more)], &[]);
        assert_eq!(got, want.map(str::to_owned).map_err(str::to_owned), "{more} {spec}");
    }
}

#[test]
fn reasons_of_all_nodes_are_counted() {
    let nodes = [
        node("a", 0, &json!({})),
        node(
            "b",
            4,
            &json!({"metadata": {"labels": {"nvidia.com/gpu.product": "H100"}}}),
        ),
    ];
    let wanting = pod(1, &json!({"nodeSelector": {"nvidia.com/gpu.product": "L4"}}));
    let want =
        "0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) didn't match Pod's node affinity/selector.";
    assert_eq!(decide(&wanting, &nodes, &[]), Err(want.into()));
    assert_eq!(
        decide(&wanting, &[], &[]),
        Err("no nodes available to schedule pods".into())
    );
}
