//! What asks for replicas: a VariantAutoscaling, or an HPA or ScaledObject
//! that is managed without one.

use crate::settings::{Invalid, Settings};
use api::TargetRef;
use api::names::{COST_ANNOTATION, MANAGED_KEY, MANAGED_MODEL_KEY, MODELS_ANNOTATION};
use kube::ResourceExt;
use kube::api::{DynamicObject, GroupVersionKind};
use serde_json::Value;

/// The kind of an object that asks for replicas. Where two name one target or
/// go by one name, the first in this order counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    VariantAutoscaling,
    HorizontalPodAutoscaler,
    ScaledObject,
}

impl Subject {
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::VariantAutoscaling => "VariantAutoscaling",
            Self::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
            Self::ScaledObject => "ScaledObject",
        }
    }

    pub(crate) const fn api_version(self) -> &'static str {
        match self {
            Self::VariantAutoscaling => "llmd.ai/v1alpha1",
            Self::HorizontalPodAutoscaler => "autoscaling/v2",
            Self::ScaledObject => "keda.sh/v1alpha1",
        }
    }

    pub(crate) fn gvk(self) -> GroupVersionKind {
        let (group, version) = self.api_version().split_once('/').unwrap_or(("", self.api_version()));
        GroupVersionKind::gvk(group, version, self.kind())
    }

    /// Whether `object` is one that this autoscaler decides for.
    pub(crate) fn is_ours(self, object: &DynamicObject) -> bool {
        if self == Self::VariantAutoscaling {
            return true;
        }
        let said =
            |map: &std::collections::BTreeMap<String, String>| map.get(MANAGED_KEY).map(String::as_str) == Some("true");
        // KEDA makes an HPA for each ScaledObject and copies its labels to it.
        let made_by_keda = object
            .owner_references()
            .iter()
            .any(|owner| owner.kind == "ScaledObject");
        (said(object.labels()) || said(object.annotations())) && !made_by_keda
    }

    /// Reads what the object asks for.
    ///
    /// # Errors
    /// The first field that cannot be used.
    pub(crate) fn read(self, object: &DynamicObject) -> Result<Settings, Invalid> {
        match self {
            Self::VariantAutoscaling => Settings::read(object),
            Self::HorizontalPodAutoscaler => managed(object, "minReplicas", 1, "maxReplicas", None),
            // While nothing is to be done KEDA keeps `idleReplicaCount` in place of the least.
            Self::ScaledObject if !object.data["spec"]["idleReplicaCount"].is_null() => {
                managed(object, "idleReplicaCount", 0, "maxReplicaCount", Some(100))
            }
            Self::ScaledObject => managed(object, "minReplicaCount", 0, "maxReplicaCount", Some(100)),
        }
    }
}

/// Reads an HPA or ScaledObject: bounds and target are its own fields, model
/// and cost annotations.
fn managed(
    object: &DynamicObject,
    min_field: &str,
    min_default: i32,
    max_field: &str,
    max_default: Option<i32>,
) -> Result<Settings, Invalid> {
    let spec = object.data.get("spec").cloned().unwrap_or_default();
    let target = &spec["scaleTargetRef"];
    let text = |field: &str| {
        target[field]
            .as_str()
            .map(str::to_owned)
            .filter(|text| !text.is_empty())
    };
    let Some(name) = text("name") else {
        return Err("spec.scaleTargetRef.name is missing: it must name what is to be scaled".to_owned());
    };
    let target = TargetRef {
        api_version: text("apiVersion"),
        kind: text("kind").unwrap_or_else(|| "Deployment".to_owned()),
        name,
    };
    let count = |field: &str, default: Option<i32>| match &spec[field] {
        Value::Null => default.ok_or_else(|| format!("spec.{field} is missing: it must be a number of replicas")),
        value => value
            .as_i64()
            .and_then(|count| i32::try_from(count).ok())
            .ok_or_else(|| format!("spec.{field} is {value}: it must be a number of replicas")),
    };
    let (min, max) = (count(min_field, Some(min_default))?, count(max_field, max_default)?);
    let cost = object.annotations().get(COST_ANNOTATION);
    Settings::checked(
        target,
        model(object)?,
        (
            &format!("metadata.annotations[{COST_ANNOTATION}]"),
            cost.map(String::as_str),
        ),
        (&format!("spec.{min_field}"), min),
        (&format!("spec.{max_field}"), max),
    )
}

fn model(object: &DynamicObject) -> Result<String, Invalid> {
    let said = |key: &str| {
        let named = object.annotations().get(key).or_else(|| object.labels().get(key))?;
        Some(named.trim().to_owned()).filter(|model| !model.is_empty())
    };
    if let Some(model) = said(MANAGED_MODEL_KEY) {
        return Ok(model);
    }
    match said(MODELS_ANNOTATION) {
        Some(models) if models.contains(',') => Err(format!(
            "metadata.annotations[{MODELS_ANNOTATION}] names several models: a variant serves one; name it by {MANAGED_MODEL_KEY}"
        )),
        Some(model) => Ok(model),
        None => Err(format!(
            "metadata.annotations[{MANAGED_MODEL_KEY}] is missing: it must be the name the engine serves the model under"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(metadata: &Value, spec: &Value) -> DynamicObject {
        serde_json::from_value(json!({"apiVersion": "x/v1", "kind": "X", "metadata": metadata, "spec": spec})).unwrap()
    }

    #[test]
    fn an_hpa_is_ours_by_label_or_annotation_and_kedas_own_is_not() {
        let ours = |metadata: Value| Subject::HorizontalPodAutoscaler.is_ours(&object(&metadata, &json!({})));
        assert!(ours(json!({"labels": {"llm-d.ai/managed": "true"}})));
        assert!(ours(json!({"annotations": {"llm-d.ai/managed": "true"}})));
        assert!(!ours(json!({"labels": {"llm-d.ai/managed": "yes"}})));
        assert!(!ours(json!({})));
        let owner = json!([{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "x", "uid": "1"}]);
        assert!(!ours(
            json!({"labels": {"llm-d.ai/managed": "true"}, "ownerReferences": owner})
        ));
    }

    #[test]
    fn bounds_target_model_and_cost_are_read() {
        let metadata = json!({"annotations": {"llm-d.ai/model": "llama", "tidegate.dev/cost": "2.5"}});
        let hpa = object(
            &metadata,
            &json!({"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "x"}, "maxReplicas": 6}),
        );
        let read = Subject::HorizontalPodAutoscaler.read(&hpa).unwrap();
        assert_eq!(
            (read.model.as_str(), read.target.kind.as_str()),
            ("llama", "StatefulSet")
        );
        assert_eq!((read.cost, read.cost_is_given, read.min, read.max), (2.5, true, 1, 6));

        let scaled = object(
            &json!({"annotations": {"tidegate.dev/models": "llama"}}),
            &json!({"scaleTargetRef": {"name": "x"}}),
        );
        let read = Subject::ScaledObject.read(&scaled).unwrap();
        assert_eq!((read.target.kind.as_str(), read.min, read.max), ("Deployment", 0, 100));
        assert!(!read.cost_is_given);

        // It rests at zero, and works with two at least, which is KEDA's to see to.
        let resting = object(
            &json!({"annotations": {"tidegate.dev/models": "llama"}}),
            &json!({"scaleTargetRef": {"name": "x"}, "minReplicaCount": 2, "idleReplicaCount": 0}),
        );
        assert_eq!(Subject::ScaledObject.read(&resting).unwrap().min, 0);
    }

    #[test]
    fn what_cannot_be_used_names_its_field() {
        let llama = json!({"annotations": {"llm-d.ai/model": "llama"}});
        let target = json!({"name": "x"});
        let cases = [
            (llama.clone(), json!({"maxReplicas": 3}), "spec.scaleTargetRef.name"),
            (llama.clone(), json!({"scaleTargetRef": target}), "spec.maxReplicas"),
            (
                llama,
                json!({"scaleTargetRef": target, "maxReplicas": 3, "minReplicas": 4}),
                "spec.minReplicas",
            ),
            (
                json!({}),
                json!({"scaleTargetRef": target, "maxReplicas": 3}),
                "llm-d.ai/model",
            ),
            (
                json!({"annotations": {"tidegate.dev/models": "a,b"}}),
                json!({"scaleTargetRef": target, "maxReplicas": 3}),
                "several models",
            ),
            (
                json!({"annotations": {"llm-d.ai/model": "a", "tidegate.dev/cost": "much"}}),
                json!({"scaleTargetRef": target, "maxReplicas": 3}),
                "tidegate.dev/cost",
            ),
        ];
        for (metadata, spec, field) in cases {
            let error = Subject::HorizontalPodAutoscaler
                .read(&object(&metadata, &spec))
                .unwrap_err();
            assert!(error.contains(field), "{field}: {error}");
        }
    }
}
