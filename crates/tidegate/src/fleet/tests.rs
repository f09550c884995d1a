use super::*;

const GOOD: &str = "\
nodes:
- {name: gpu-a, gpus: {type: L4, count: 4}}
models:
- name: qwen
  serves: [Qwen/Qwen3-0.6B]
  slo: {ttft: 500ms, itl: 50ms}
  variants:
  - {name: qwen-vllm, gpu: L4, cost: 0.80, replicas: {min: 0, max: 2}, command: [vllm, serve, Qwen/Qwen3-0.6B, --port, \"$(PORT)\"]}
";

fn refused(change: (&str, &str)) -> String {
    let text = GOOD.replace(change.0, change.1);
    assert_ne!(text, GOOD, "the change must apply");
    parse("fleet.yaml", &text).expect_err("must be refused").to_string()
}

#[test]
fn the_default_fleet_is_a_good_example() {
    let fleet = parse("default", DEFAULT).unwrap();
    assert_eq!(fleet.models[0].variants.len(), 2);
}

#[test]
fn a_mistake_is_shown_in_place_with_a_remedy() {
    let shown = refused(("min: 0, max: 2", "min: 3, max: 2"));
    let lines: Vec<_> = shown.lines().collect();
    assert!(lines[0].starts_with("fleet.yaml:8:"), "{shown}");
    assert!(lines[0].ends_with("replicas.max is 2 but replicas.min is 3"), "{shown}");
    assert_eq!(
        lines[1].find("2}"),
        lines[2].find('^'),
        "the caret stands under the value:\n{shown}"
    );
    assert_eq!(lines[3], "help: min must not be above max");
}

#[test]
fn what_cannot_work_is_refused_before_anything_starts() {
    for (change, word) in [
        (("name: gpu-a", "name: GPU_A"), "cannot name a Kubernetes object"),
        (("gpu: L4, cost", "gpu: H900, cost"), "no node has GPUs of that type"),
        (("cost: 0.80", "gpus: 5, cost: 0.80"), "no L4 node has more than 4"),
        (("cost: 0.80", "cost: -1"), "cost is -1"),
        (("cost: 0.80", "cost: cheap"), "not a number"),
        (("min: 0,", "min: -1,"), "not a whole number from 0 to 4294967295"),
        (
            ("  slo:", "  port: 99999\n  slo:"),
            "not a whole number from 0 to 65535",
        ),
        (
            ("[vllm, serve, Qwen/Qwen3-0.6B, --port, \"$(PORT)\"]", "vllm"),
            "a list is wanted here",
        ),
        (("cost: 0.80", "cost: 0.80, env: {A: null}"), "a value is missing here"),
        (
            ("slo: {ttft: 500ms, itl: 50ms}", "slo: 500ms"),
            "keys with values are wanted here",
        ),
        (("min: 0, max: 2", "min: 0, max: 0"), "may never run"),
        (("cost: 0.80", "cost: 0.80, slots: 0"), "slots is 0"),
        (("cost: 0.80", "cost: 0.80, health: health"), "a path such as /health"),
        (("cost: 0.80", "cost: 0.80, colour: red"), "colour"),
        (
            ("[vllm, serve, Qwen/Qwen3-0.6B, --port, \"$(PORT)\"]", "[]"),
            "command is empty",
        ),
        (("[vllm, serve,", "[my-server, serve,"), "which address to listen on"),
        (("ttft: 500ms", "ttft: soon"), "not a duration"),
        (("serves: [Qwen/Qwen3-0.6B]", "serves: [a, a]"), "served twice"),
    ] {
        let shown = refused(change);
        assert!(shown.contains(word), "{change:?}: {shown}");
        assert!(shown.starts_with("fleet.yaml:"), "{shown}");
    }
}

#[test]
fn nothing_that_is_not_a_fleet_makes_it_panic() {
    for text in [
        "",
        "a",
        "[",
        "nodes: []\nmodels: []",
        "models: 3",
        "\u{feff}",
        "nodes: &a [*a]",
        "- - - -",
    ] {
        let shown = parse("fleet.yaml", text).expect_err(text).to_string();
        assert!(shown.starts_with("fleet.yaml:"), "{shown}");
    }
}

#[test]
fn a_known_model_server_listens_on_its_pods_address_without_being_told() {
    let fleet = parse("fleet.yaml", GOOD).unwrap();
    let objects = objects(&fleet, "default");
    let command = &objects[1]["spec"]["template"]["spec"]["containers"][0]["command"];
    assert_eq!(command[5], "--host");
    assert_eq!(command[6], "$(HOST)");
}

#[test]
fn a_fleet_becomes_a_pool_and_a_deployment_with_an_autoscaling_per_variant() {
    let fleet = parse("default", DEFAULT).unwrap();
    let objects = objects(&fleet, "default");
    let kinds: Vec<_> = objects.iter().map(|o| o["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "InferencePool",
            "Deployment",
            "VariantAutoscaling",
            "Deployment",
            "VariantAutoscaling"
        ]
    );
    for object in &objects {
        match object["kind"].as_str().unwrap() {
            "InferencePool" => drop(serde_json::from_value::<api::InferencePool>(object.clone()).unwrap()),
            "VariantAutoscaling" => drop(serde_json::from_value::<api::VariantAutoscaling>(object.clone()).unwrap()),
            _ => drop(serde_json::from_value::<k8s_openapi::api::apps::v1::Deployment>(object.clone()).unwrap()),
        }
    }
    assert!(to_yaml(&objects).unwrap().starts_with("---\n"));
}
