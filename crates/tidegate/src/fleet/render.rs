//! A fleet as plain Kubernetes objects, the same for `tidegate up` and for any cluster.

use super::{Fleet, Model, Variant};
use api::names;
use serde_json::{Value, json};

/// Model servers that take `--host`, so that a fleet file need not say it.
const HOST_FLAG_SERVERS: [&str; 3] = ["vllm", "llama-server", "sglang"];

/// Whether `program` is a known model server that listens where `--host` says.
pub(super) fn takes_host_flag(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    HOST_FLAG_SERVERS.contains(&name)
}

/// Every object of the fleet but its nodes, in the order to apply them.
pub(crate) fn objects(fleet: &Fleet, namespace: &str) -> Vec<Value> {
    let mut objects = Vec::new();
    for model in &fleet.models {
        objects.push(pool(model, namespace));
        for variant in &model.variants {
            objects.push(deployment(model, variant, namespace));
            objects.push(autoscaling(model, variant, namespace));
        }
    }
    objects
}

/// The objects as one YAML stream.
pub(crate) fn to_yaml(objects: &[Value]) -> anyhow::Result<String> {
    let mut text = String::new();
    for object in objects {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(object)?);
    }
    Ok(text)
}

fn pool(model: &Model, namespace: &str) -> Value {
    let mut annotations = serde_json::Map::new();
    annotations.insert(
        names::MODELS_ANNOTATION.to_owned(),
        json!(model.served_names().join(",")),
    );
    if let Some(ttft) = model.slo.ttft {
        annotations.insert(names::SLO_TTFT_ANNOTATION.to_owned(), json!(ttft.0.to_string()));
    }
    if let Some(itl) = model.slo.itl {
        annotations.insert(names::SLO_ITL_ANNOTATION.to_owned(), json!(itl.0.to_string()));
    }
    json!({
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": {
            "name": model.name.value,
            "namespace": namespace,
            "labels": { names::MODEL_LABEL: model.name.value },
            "annotations": annotations,
        },
        "spec": {
            "selector": { "matchLabels": { names::MODEL_LABEL: model.name.value } },
            "targetPorts": [{ "number": model.port() }],
        },
    })
}

fn deployment(model: &Model, variant: &Variant, namespace: &str) -> Value {
    let labels = json!({ names::MODEL_LABEL: model.name.value, names::VARIANT_LABEL: variant.name.value });
    let mut command = variant.command.value.clone();
    if command.first().is_some_and(|program| takes_host_flag(program)) && !command.iter().any(|word| word == "--host") {
        command.extend(["--host".to_owned(), "$(HOST)".to_owned()]);
    }
    let env: Vec<Value> = variant
        .env
        .iter()
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect();
    let health = variant
        .health
        .as_ref()
        .map_or("/health", |health| health.value.as_str());
    let probe = json!({ "path": health, "port": "http" });
    let mut container = json!({
        "name": "server",
        "image": "tidegate.dev/local-process:v1",
        "command": command,
        "ports": [{ "name": "http", "containerPort": model.port() }],
        "resources": { "limits": { names::GPU_RESOURCE: variant.gpus().to_string() } },
        "startupProbe": { "httpGet": probe, "periodSeconds": 1, "failureThreshold": 1800 },
        "readinessProbe": { "httpGet": probe, "periodSeconds": 2, "failureThreshold": 2 },
    });
    if !env.is_empty() {
        container["env"] = Value::Array(env);
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": variant.name.value, "namespace": namespace, "labels": labels },
        "spec": {
            "replicas": variant.replicas.min(),
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": { names::SLOTS_ANNOTATION: variant.slots().to_string() },
                },
                "spec": {
                    "nodeSelector": { names::GPU_PRODUCT_LABEL: variant.gpu.value },
                    "tolerations": [{ "key": names::LOCAL_NODE_LABEL, "operator": "Exists", "effect": "NoSchedule" }],
                    "terminationGracePeriodSeconds": variant.grace.map_or(30, |grace| grace.0.div_ceil(1000)),
                    "containers": [container],
                },
            },
        },
    })
}

fn autoscaling(model: &Model, variant: &Variant, namespace: &str) -> Value {
    json!({
        "apiVersion": "llmd.ai/v1alpha1",
        "kind": "VariantAutoscaling",
        "metadata": {
            "name": variant.name.value,
            "namespace": namespace,
            "labels": {
                names::MODEL_LABEL: model.name.value,
                names::VARIANT_LABEL: variant.name.value,
                names::ACCELERATOR_LABEL: variant.gpu.value,
            },
        },
        "spec": {
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": variant.name.value },
            "modelID": model.served_names()[0],
            "variantCost": format!("{}", variant.cost.value),
            "minReplicas": variant.replicas.min(),
            "maxReplicas": variant.replicas.max(),
        },
    })
}
