//! Objects that many stories presuppose, as YAML.

use crate::story::Story;
use anyhow::Result;

/// A Pod with one container.
pub(super) fn pod(name: &str) -> String {
    format!(
        "{{metadata: {{name: {name}, labels: {{app: {name}}}}}, spec: {{containers: [{{name: main, image: 'registry.example/app:1'}}]}}}}"
    )
}

/// A Pod bound to a node.
pub(super) fn bound_pod(name: &str) -> String {
    format!(
        "{{metadata: {{name: {name}}}, spec: {{nodeName: far-away, containers: [{{name: main, image: 'registry.example/app:1'}}]}}}}"
    )
}

/// A Deployment of two replicas.
pub(super) fn deployment(name: &str) -> String {
    format!(
        "{{metadata: {{name: {name}, labels: {{app: {name}}}}}, spec: {{replicas: 2, selector: {{matchLabels: {{app: {name}}}}}, \
         template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{containers: [{{name: main, image: 'registry.example/app:1', \
         ports: [{{containerPort: 8000}}]}}]}}}}}}}}"
    )
}

/// The same Deployment as a manifest for kubectl.
pub(super) fn deployment_manifest(name: &str, image: &str, replicas: u32) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\n  labels: {{app: {name}}}\nspec:\n  replicas: {replicas}\n  \
         selector:\n    matchLabels: {{app: {name}}}\n  template:\n    metadata:\n      labels: {{app: {name}}}\n    spec:\n      \
         containers:\n      - name: main\n        image: {image}\n        ports:\n        - containerPort: 8000\n"
    )
}

/// A ConfigMap with one key and a label.
pub(super) fn config(name: &str, value: &str) -> String {
    format!("{{metadata: {{name: {name}, labels: {{tier: {value}}}}}, data: {{key: {value}}}}}")
}

/// The schema most custom-resource stories use.
pub(super) const WIDGET_SCHEMA: &str = "{type: object, required: [spec], properties: {\
    spec: {type: object, required: [model], properties: {\
        model: {type: string, minLength: 2, pattern: '^[a-z0-9-]+$'}, \
        replicas: {type: integer, minimum: 0, maximum: 9, default: 1}, \
        tier: {type: string, enum: [cheap, dear], default: cheap}, \
        port: {x-kubernetes-int-or-string: true}, \
        tags: {type: array, maxItems: 3, items: {type: string}}, \
        parts: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [name], \
            items: {type: object, required: [name], properties: {name: {type: string}, size: {type: integer, default: 4}}}}, \
        free: {type: object, x-kubernetes-preserve-unknown-fields: true}, \
        limits: {type: object, additionalProperties: {type: string}}, \
        note: {type: string, nullable: true}}}, \
    status: {type: object, properties: {phase: {type: string}, replicas: {type: integer}, selector: {type: string}, \
        conditions: {type: array, items: {type: object, properties: {type: {type: string}, status: {type: string}}}}}}}}";

/// The definition of `widgets` in the story's own group.
pub(super) fn widget_definition(schema: &str) -> String {
    format!(
        "{{metadata: {{name: 'widgets.{{g}}'}}, spec: {{group: '{{g}}', scope: Namespaced, \
         names: {{plural: widgets, singular: widget, kind: Widget, listKind: WidgetList, shortNames: [wi], categories: [toys]}}, \
         versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {schema}}}, \
         subresources: {{status: {{}}, scale: {{specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}}}}, \
         additionalPrinterColumns: [{{name: Model, type: string, jsonPath: .spec.model}}, \
         {{name: Replicas, type: integer, jsonPath: .spec.replicas, description: how many}}, \
         {{name: Ready, type: string, jsonPath: \".status.conditions[?(@.type=='Ready')].status\"}}, \
         {{name: Tier, type: string, priority: 1, jsonPath: .spec.tier}}, \
         {{name: Age, type: date, jsonPath: .metadata.creationTimestamp}}]}}]}}}}"
    )
}

impl Story {
    /// Defines `widgets` with a schema and waits until they are served.
    pub(super) async fn widgets(&self, schema: &str) -> Result<()> {
        self.have(DEFINITIONS, &widget_definition(schema)).await?;
        self.widgets_served().await
    }

    /// Waits until `widgets` are served.
    pub(super) async fn widgets_served(&self) -> Result<()> {
        self.until(WIDGET_DEFINITION, |reply| {
            reply.body["status"]["conditions"].as_array().is_some_and(|all| {
                all.iter()
                    .any(|one| one["type"] == "Established" && one["status"] == "True")
            })
        })
        .await?;
        self.until("{g}/v1 widgets", |reply| reply.status == 200).await?;
        Ok(())
    }
}

/// Where definitions are.
pub(super) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// The definition that [`Story::widgets`] makes.
pub(super) const WIDGET_DEFINITION: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{g}";
