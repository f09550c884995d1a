//! The manifests in `docs/scaling`: every block of YAML is one, or a part of a
//! configuration, and asks for what is served. The suites against the real
//! parts apply them.

use serde_json::{Value, json};
use std::path::Path;

/// A file of the repository.
fn file(path: &str) -> String {
    // Cargo runs tests in their package's folder.
    std::fs::read_to_string(Path::new("../../..").join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The manifests of a page, in its order.
fn manifests(page: &str) -> Vec<Value> {
    let text = file(&format!("docs/scaling/{page}"));
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

/// The names of a query's labels: those it selects by, and those it sums by.
fn labels_of(query: &str) -> Vec<&str> {
    let between = |from: &str, to: char| {
        let (_, rest) = query.split_once(from)?;
        rest.split(to).next()
    };
    let selected = between("{", '}').unwrap_or_default().split(',');
    let selected = selected.map(|matcher| matcher.split(['=', '!']).next().unwrap_or_default());
    let kept = between("by (", ')').unwrap_or_default().split(',');
    let names = selected.chain(kept).map(str::trim);
    names
        .filter(|name| !name.is_empty() && *name != "<<.LabelMatchers>>")
        .collect()
}

/// The labels that the reference says a metric has, as Prometheus stores them.
fn labels_in_the_reference(metric: &str) -> Vec<String> {
    let reference = file("docs/reference/metrics.md");
    let row = reference
        .lines()
        .find(|line| line.starts_with(&format!("| `{metric}` |")));
    let row = row.unwrap_or_else(|| panic!("docs/reference/metrics.md knows no {metric}"));
    let labels = row.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap_or_default();
    let stored = |label: &str| match label {
        // The target has a label of this name too: what a series says itself is renamed.
        "namespace" => "exported_namespace".to_owned(),
        other => other.to_owned(),
    };
    labels.split(',').map(|label| stored(label.trim())).collect()
}

#[test]
fn prometheus_is_asked_for_metrics_and_labels_that_there_are() {
    let page = file("docs/scaling/prometheus.md");
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for word in page.split(|c: char| !is_part(c)) {
        if word.starts_with("wva_") || word.starts_with("tidegate_") {
            labels_in_the_reference(word);
        }
    }

    let page = manifests("prometheus.md");
    assert_eq!(page.len(), 5);
    let metric = api::names::DESIRED_REPLICAS_METRIC;
    let known = labels_in_the_reference(metric);
    let knows = |query: &str| {
        let labels = labels_of(query);
        assert!(!labels.is_empty(), "{query}");
        for label in labels {
            assert!(known.iter().any(|known| known == label), "{query}: {label}");
        }
    };
    let rule = &page[2]["rules"]["external"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    assert!(text(&rule["seriesQuery"]).starts_with(&format!("{metric}{{")));
    knows(&text(&rule["seriesQuery"]));
    knows(&text(&rule["metricsQuery"]));
    assert_eq!(rule["name"], json!({"matches": format!("^{metric}$"), "as": metric}));
    assert_eq!(
        rule["resources"]["overrides"],
        json!({"exported_namespace": {"resource": "namespace"}})
    );

    // The HPA is that of the other page: the API serves the same.
    let hpa = of_kind(&page, "HorizontalPodAutoscaler")[0];
    assert_eq!(hpa, of_kind(&manifests("hpa.md"), "HorizontalPodAutoscaler")[0]);

    let object = of_kind(&page, "ScaledObject")[0];
    let spec = &object["spec"];
    let trigger = &spec["triggers"][0];
    assert_eq!(
        (&trigger["type"], &trigger["metricType"]),
        (&json!("prometheus"), &json!("AverageValue"))
    );
    let query = text(&trigger["metadata"]["query"]);
    knows(&query);
    let of = |label: &str, value: &Value| format!("{label}=\"{}\"", value.as_str().unwrap_or_default());
    assert!(query.contains(&format!("({metric}{{")), "{query}");
    assert!(
        query.contains(&of("variant_name", &spec["scaleTargetRef"]["name"])),
        "{query}"
    );
    assert!(
        query.contains(&of("exported_namespace", &object["metadata"]["namespace"])),
        "{query}"
    );
    // What is absent is not 0.
    assert_eq!(trigger["metadata"]["ignoreNullValues"], "false");
    assert_eq!(trigger["metadata"]["threshold"], "1");
    assert!(spec["fallback"]["replicas"].as_u64() > Some(0), "{spec}");
    passes_on(&spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]);
}

#[test]
fn prometheus_scrapes_the_port_that_the_manifests_open() {
    let deployed: Vec<Value> = serde_saphyr::from_multiple(&file("deploy/autoscaler/3-deployment.yaml")).unwrap();
    let services: Vec<Value> = serde_saphyr::from_multiple(&file("deploy/autoscaler/4-service.yaml")).unwrap();
    let template = &of_kind(&deployed, "Deployment")[0]["spec"]["template"];
    let ports = template["spec"]["containers"][0]["ports"].as_array().unwrap();
    let port = ports.iter().find(|port| port["name"] == "metrics").unwrap();

    let page = manifests("prometheus.md");
    let monitor = of_kind(&page, "ServiceMonitor")[0];
    let endpoint = &monitor["spec"]["endpoints"][0];
    let selected = &monitor["spec"]["selector"]["matchLabels"];
    let service = of_kind(&services, "Service")
        .into_iter()
        .find(|service| service["spec"]["ports"][0]["name"] == endpoint["port"])
        .unwrap();
    assert_eq!(monitor["metadata"]["namespace"], service["metadata"]["namespace"]);
    for (label, value) in selected.as_object().unwrap() {
        assert_eq!(&service["metadata"]["labels"][label], value);
    }
    assert_eq!(service["spec"]["ports"][0]["targetPort"], port["name"]);
    assert_eq!(service["spec"]["ports"][0]["port"], port["containerPort"]);
    // The port that the page names, and what the Pods say of themselves to those who go by that.
    let said = format!("port {}, called `metrics`, path `/metrics`", port["containerPort"]);
    assert!(file("docs/scaling/prometheus.md").contains(&said), "{said}");
    assert_eq!(
        template["metadata"]["annotations"]["prometheus.io/port"],
        port["containerPort"].to_string()
    );

    let job = &page[1]["scrape_configs"][0];
    assert_eq!(
        (&endpoint["path"], &job["metrics_path"]),
        (&json!("/metrics"), &json!("/metrics"))
    );
    assert_eq!(
        job["kubernetes_sd_configs"][0]["namespaces"]["names"][0],
        deployed[0]["metadata"]["namespace"]
    );
    let kept = &job["relabel_configs"][0];
    let name = template["metadata"]["labels"]["app.kubernetes.io/name"]
        .as_str()
        .unwrap();
    assert_eq!(kept["regex"], format!("{name};metrics"));
    // The label that gives the Pods of Prometheus' namespace way.
    let policy = of_kind(&services, "NetworkPolicy")[0];
    let allowed = &policy["spec"]["ingress"][0]["from"][0]["namespaceSelector"]["matchLabels"];
    assert_eq!(allowed, &json!({"metrics": "enabled"}));
}
