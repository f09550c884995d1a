//! The manifests in `docs/scaling`: every block of YAML is one, and asks for
//! what is served. The suites against the real parts apply them.

use serde_json::{Value, json};
use std::path::Path;

/// The manifests of a page, in its order.
fn manifests(page: &str) -> Vec<Value> {
    // Cargo runs tests in their package's folder.
    let path = Path::new("../../../docs/scaling").join(page);
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = text.split("```yaml\n").skip(1);
    let manifests = blocks.map(|block| block.split("```").next().unwrap());
    manifests
        .map(|manifest| serde_saphyr::from_str(manifest).unwrap_or_else(|error| panic!("{page}: {error}\n{manifest}")))
        .collect()
}

fn of_kind<'a>(manifests: &'a [Value], kind: &str) -> Vec<&'a Value> {
    manifests.iter().filter(|manifest| manifest["kind"] == kind).collect()
}

/// What an HPA must not do to a decision.
fn passes_on(behavior: &Value) {
    for direction in ["scaleUp", "scaleDown"] {
        assert_eq!(behavior[direction]["stabilizationWindowSeconds"], 0, "{direction}");
        assert_eq!(behavior[direction]["tolerance"], "0", "{direction}");
    }
}

#[test]
fn the_hpa_asks_for_a_metric_that_is_served_and_takes_it_as_it_is() {
    let page = manifests("hpa.md");
    assert_eq!(page.len(), 3);
    let hpa = of_kind(&page, "HorizontalPodAutoscaler")[0];
    let external = &hpa["spec"]["metrics"][0]["external"];
    assert_eq!(external["metric"]["name"], api::names::DESIRED_REPLICAS_METRIC);
    assert_eq!(
        external["metric"]["selector"]["matchLabels"]["variant_name"],
        hpa["spec"]["scaleTargetRef"]["name"]
    );
    assert_eq!(
        external["target"],
        json!({ "type": "AverageValue", "averageValue": "1" })
    );
    passes_on(&hpa["spec"]["behavior"]);

    let (service, registered) = (of_kind(&page, "Service")[0], of_kind(&page, "APIService")[0]);
    let reached = &registered["spec"]["service"];
    for (reached, meta) in [("name", "name"), ("namespace", "namespace")] {
        assert_eq!(registered["spec"]["service"][reached], service["metadata"][meta]);
    }
    assert_eq!(reached["port"], service["spec"]["ports"][0]["port"]);
    assert_eq!(registered["spec"]["group"], "external.metrics.k8s.io");
    assert_eq!(registered["spec"]["version"], "v1beta1");
}

#[test]
fn scaled_objects_have_one_trigger_each_that_reaches_the_service_of_the_page() {
    let page = manifests("keda.md");
    let service = of_kind(&page, "Service")[0];
    let address = format!(
        "{}.{}.svc:{}",
        service["metadata"]["name"].as_str().unwrap(),
        service["metadata"]["namespace"].as_str().unwrap(),
        service["spec"]["ports"][0]["port"]
    );
    let objects = of_kind(&page, "ScaledObject");
    let types: Vec<&Value> = objects
        .iter()
        .map(|object| &object["spec"]["triggers"][0]["type"])
        .collect();
    assert_eq!(types, ["external-push", "external"]);
    for object in objects {
        let spec = &object["spec"];
        assert_eq!(spec["triggers"].as_array().map(Vec::len), Some(1));
        let metadata = &spec["triggers"][0]["metadata"];
        assert_eq!(metadata["scalerAddress"], address.as_str());
        assert_eq!(metadata["variantName"], spec["scaleTargetRef"]["name"]);
        // On an error KEDA goes to zero if this is 0.
        assert!(spec["fallback"]["replicas"].as_u64() > Some(0), "{spec}");
        passes_on(&spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]);
    }
}
