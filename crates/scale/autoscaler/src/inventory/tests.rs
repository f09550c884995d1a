use super::*;
use serde_json::{Value, json};

fn node(name: &str, labels: &Value, gpus: &Value, ready: &str, cordoned: bool) -> Arc<Node> {
    let node = json!({
        "metadata": {"name": name, "labels": labels}, "spec": {"unschedulable": cordoned},
        "status": {"allocatable": gpus, "conditions": [{"type": "Ready", "status": ready}]},
    });
    Arc::new(serde_json::from_value(node).unwrap())
}

fn pod(node: Option<&str>, phase: &str, containers: &[u64], init: &[u64]) -> Arc<Pod> {
    let of =
        |gpus: &u64| json!({"name": "c", "resources": {"limits": {"nvidia.com/gpu": gpus.to_string(), "cpu": "2"}}});
    let pod = json!({
        "metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": node, "containers": containers.iter().map(of).collect::<Vec<_>>(),
            "initContainers": init.iter().map(of).collect::<Vec<_>>()},
        "status": {"phase": phase},
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn l4() -> Value {
    json!({"nvidia.com/gpu.product": "NVIDIA-L4", "zone": "a"})
}

#[test]
fn what_pods_hold_is_not_free_whoever_made_them() {
    let eight = json!({"nvidia.com/gpu": "8", "cpu": "64"});
    let nodes = [
        node("one", &l4(), &eight, "True", false),
        node(
            "two",
            &json!({"nvidia.com/gpu.product": "L4", "zone": "b"}),
            &eight,
            "True",
            false,
        ),
        node("cordoned", &l4(), &eight, "True", true),
        node("lost", &l4(), &eight, "Unknown", false),
        node("bare", &json!({}), &json!({"intel.com/gpu": "1"}), "True", false),
        node(
            "amd",
            &json!({"amd.com/gpu.product-name": "AMD-MI300X-192G"}),
            &json!({"amd.com/gpu": "4"}),
            "True",
            false,
        ),
        node("cpu", &json!({}), &json!({"cpu": "64"}), "True", false),
    ];
    let pods = [
        pod(Some("one"), "Running", &[2, 1], &[]),
        pod(Some("one"), "Pending", &[1], &[4, 2]),
        pod(Some("one"), "Succeeded", &[8], &[]),
        pod(None, "Pending", &[8], &[]),
        pod(Some("two"), "Running", &[20], &[]),
        pod(Some("cordoned"), "Running", &[3], &[]),
        pod(Some("gone"), "Running", &[3], &[]),
    ];
    let stock = |nodes: &[(u64, u64)]| {
        let mut stock = Stock::default();
        nodes.iter().for_each(|(limit, used)| stock.add_node(*limit, *used));
        stock
    };
    let all = stocks(&nodes, &pods, &NodeSelector::default());
    let expected = [
        ("L4", stock(&[(8, 7), (8, 8)])),
        ("MI300X", stock(&[(4, 0)])),
        (UNNAMED, stock(&[(1, 0)])),
    ];
    assert_eq!(all, expected.map(|(name, stock)| (name.to_owned(), stock)).into());
    let zone = stocks(&nodes, &pods, &"zone=a".parse().unwrap());
    assert_eq!(zone, [("L4".to_owned(), stock(&[(8, 7)]))].into());
    assert!("zone in (a".parse::<NodeSelector>().is_err());
}

#[test]
fn pods_of_others_that_wait_for_a_node_take_what_they_fit_on() {
    let eight = json!({"nvidia.com/gpu": "8"});
    let nodes = [
        node("one", &l4(), &eight, "True", false),
        node("two", &l4(), &eight, "True", false),
    ];
    let waits = |name: &str, gpus: u64, selector: Value| {
        let mut pod = Pod::clone(&pod(None, "Pending", &[gpus], &[]));
        pod.metadata.deletion_timestamp = None;
        pod.metadata.name = Some(name.to_owned());
        pod.spec.as_mut().unwrap().node_selector = serde_json::from_value(selector).unwrap();
        only_gpus(&mut pod);
        Arc::new(pod)
    };
    let l4 = || json!({"nvidia.com/gpu.product": "NVIDIA-L4"});
    let h100 = json!({"nvidia.com/gpu.product": "NVIDIA-H100-SXM5-80GB"});
    // Those that wait; GPUs still free, and how many replicas of eight fit.
    let cases = [
        (vec![waits("a", 2, l4())], 14, 1),
        (vec![waits("a", 2, json!({})), waits("b", 2, l4())], 12, 1),
        (vec![waits("ours", 8, l4())], 16, 2),
        (vec![waits("elsewhere", 8, h100)], 16, 2),
        (vec![waits("too-large", 9, l4()), waits("b", 8, l4())], 8, 1),
        (vec![pod(None, "Pending", &[8], &[])], 16, 2),
    ];
    for (pods, free, fit) in cases {
        let counted = stocks(&nodes, &pods, &NodeSelector::default());
        let left = waiting::take(counted, &waiting::waiting(&pods), |_, name| name == "ours");
        let left = &left["L4"];
        assert_eq!((left.free(), left.pieces.fits(8)), (free, fit), "{pods:?}");
        assert_eq!(left.waiting, 16 - free);
    }
}

#[test]
fn little_of_a_pod_is_kept_and_it_holds_the_same() {
    let mut kept = Pod::clone(&pod(Some("one"), "Running", &[2, 1], &[4]));
    kept.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
    only_gpus(&mut kept);
    assert_eq!((held_by(&kept), kept.labels().len()), (4, 0));
}

#[test]
fn an_accelerator_is_found_by_any_of_its_names() {
    let stocks = |names: &[&str]| {
        Inventory::Known(
            names
                .iter()
                .map(|name| ((*name).to_owned(), Stock::default()))
                .collect(),
        )
    };
    let two = stocks(&["L4", "Gaudi-2"]);
    for (given, known) in [
        (Some("L4"), Some("L4")),
        (Some("NVIDIA-L4"), Some("L4")),
        (Some("l4"), Some("L4")),
        (Some("Gaudi-2"), Some("Gaudi-2")),
        (Some("Intel-Gaudi-2-96GB"), Some("Gaudi-2")),
        (Some("H100"), Some("H100")),
        (None, None),
    ] {
        assert_eq!(known_as(&two, given).as_deref(), known, "{given:?}");
    }
    assert_eq!(known_as(&stocks(&["L4"]), None).as_deref(), Some("L4"));
    let unknown = Inventory::Unknown { why: String::new() };
    assert_eq!(
        known_as(&unknown, Some("NVIDIA-A100-PCIE-80GB")).as_deref(),
        Some("A100")
    );
}

#[test]
fn who_may_not_look_or_cannot_any_more_does_not_know() {
    let listed = || Watched {
        listed: true,
        ..Watched::default()
    };
    let failing = |listed, in_a_row, errors| Watched {
        listed,
        errors_in_a_row: in_a_row,
        errors,
        error: "nodes is forbidden".to_owned(),
        ..Watched::default()
    };
    let mut doubts = Doubts::default();
    let at = Instant::from_secs;
    let mut says = |nodes: Watched, second| doubts.of(&[nodes, listed()], at(second));
    let not_yet = Some(("nodes have not been listed yet".to_owned(), true));
    assert_eq!(says(Watched::default(), 1), not_yet);
    let forbidden = Some(("nodes cannot be watched: nodes is forbidden".to_owned(), false));
    assert_eq!(says(failing(false, 1, 1), 2), forbidden);
    assert_eq!(says(listed(), 3), None);
    assert_eq!(says(failing(true, 2, 2), 4), None, "a watch ends now and then");
    assert_eq!(says(failing(true, 3, 3), 5), forbidden);
    assert_eq!(says(failing(true, 3, 3), 65), forbidden);
    assert_eq!(
        says(failing(true, 3, 3), 66),
        None,
        "it works again, and nothing has changed since"
    );
}
