//! A VariantAutoscaling's spec, checked.

use api::{AcceleratorProfile, TargetRef, VariantAutoscalingSpec};
use capacity::Profile;
use kube::api::DynamicObject;
use std::collections::BTreeMap;

/// What a VariantAutoscaling asks for, in values that can be used.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) target: TargetRef,
    pub(crate) model: String,
    pub(crate) cost: f64,
    /// Whether the user said the cost; if not, a table of unit costs may.
    pub(crate) cost_is_given: bool,
    /// Accelerators of each kind one replica needs, where the object says so.
    pub(crate) accelerators: BTreeMap<String, u32>,
    /// How fast a replica is on each kind, where the object says so.
    pub(crate) profiles: BTreeMap<String, Profile>,
    pub(crate) min: u32,
    pub(crate) max: u32,
}

/// A profile in numbers.
///
/// # Errors
/// The first field that cannot be used, by its path.
fn checked(profile: &AcceleratorProfile, path: &str) -> Result<Profile, Invalid> {
    let number = |map: &str, key: &str, least: f64| {
        let parameters = &profile.perf_parms;
        let parameters = match map {
            "decodeParms" => &parameters.decode_parms,
            _ => &parameters.prefill_parms,
        };
        let path = format!("{path}.perfParms.{map}.{key}");
        let Some(text) = parameters.get(key) else {
            return Err(format!("{path} is not there: it must be a number of milliseconds"));
        };
        let value = text.trim().parse::<f64>().ok();
        value
            .filter(|value| (least..=1e9).contains(value))
            .ok_or_else(|| format!("{path} is {text:?}: it must be a number of milliseconds, at least {least}"))
    };
    let max_batch = u32::try_from(profile.max_batch_size).ok().filter(|batch| *batch > 0);
    Ok(Profile {
        max_batch: max_batch.ok_or_else(|| {
            let batch = profile.max_batch_size;
            format!("{path}.maxBatchSize is {batch}: it must be at least 1")
        })?,
        decode_ms: [
            number("decodeParms", "alpha", 1e-6)?,
            number("decodeParms", "beta", 0.0)?,
        ],
        prefill_ms: [
            number("prefillParms", "gamma", 0.0)?,
            number("prefillParms", "delta", 0.0)?,
        ],
    })
}

/// A field that cannot be used, and why, as one sentence.
pub(crate) type Invalid = String;

/// The largest number of replicas that makes sense to ask for; a mistyped
/// bound should not become a real order.
const MOST_REPLICAS: i32 = 100_000;
/// What the schema fills in where the user says no cost.
const DEFAULT_COST: &str = "10.0";

impl Settings {
    /// Reads the spec of a VariantAutoscaling of either shape.
    ///
    /// # Errors
    /// The first field that cannot be used.
    pub(crate) fn read(object: &DynamicObject) -> Result<Self, Invalid> {
        let spec = object.data.get("spec").cloned().unwrap_or_default();
        // The API server's schema refuses most of this; a CRD of another
        // version may not.
        let spec: VariantAutoscalingSpec =
            serde_json::from_value(spec).map_err(|error| format!("spec cannot be read: {error}"))?;
        let name = object.metadata.name.clone().unwrap_or_default();
        let target = spec.scale_target_ref.unwrap_or(TargetRef {
            api_version: Some("apps/v1".to_owned()),
            kind: "Deployment".to_owned(),
            name,
        });
        if target.kind.is_empty() || target.name.is_empty() {
            return Err("spec.scaleTargetRef needs kind and name".to_owned());
        }
        if spec.model_id.is_empty() {
            return Err("spec.modelID is empty: it must be the name the engine serves the model under".to_owned());
        }
        let cost = Some(spec.variant_cost.trim()).filter(|cost| *cost != DEFAULT_COST);
        let mut settings = Self::checked(
            target,
            spec.model_id,
            ("spec.variantCost", cost),
            ("spec.minReplicas", spec.min_replicas),
            ("spec.maxReplicas", spec.max_replicas),
        )?;
        let profiles = spec
            .model_profile
            .map(|profile| profile.accelerators)
            .unwrap_or_default();
        for (at, profile) in profiles.into_iter().enumerate() {
            let path = format!("spec.modelProfile.accelerators[{at}]");
            settings.profiles.insert(profile.acc.clone(), checked(&profile, &path)?);
            let count = u32::try_from(profile.acc_count).unwrap_or(1);
            settings.accelerators.insert(profile.acc, count);
        }
        Ok(settings)
    }

    /// How fast a replica is on an accelerator; where that is not known and
    /// only one is told of, on that one.
    pub(crate) fn profile_on(&self, accelerator: Option<&str>) -> Option<Profile> {
        match accelerator {
            Some(accelerator) => self.profiles.get(accelerator),
            None if self.profiles.len() == 1 => self.profiles.values().next(),
            None => None,
        }
        .copied()
    }

    /// Checks values that came with the names of their fields.
    ///
    /// # Errors
    /// The first field that cannot be used.
    pub(crate) fn checked(
        target: TargetRef,
        model: String,
        (cost_field, cost_text): (&str, Option<&str>),
        (min_field, min): (&str, i32),
        (max_field, max): (&str, i32),
    ) -> Result<Self, Invalid> {
        let given = cost_text.unwrap_or(DEFAULT_COST);
        let cost = given.trim().parse::<f64>().ok();
        let Some(cost) = cost.filter(|cost| cost.is_finite() && *cost >= 0.0) else {
            let given = given.chars().take(40).collect::<String>();
            return Err(format!("{cost_field} is `{given}`: it must be a number, 0 or more"));
        };
        let bound = |field: &str, value: i32| match u32::try_from(value) {
            Ok(replicas) if value <= MOST_REPLICAS => Ok(replicas),
            _ => Err(format!("{field} is {value}: it must be between 0 and {MOST_REPLICAS}")),
        };
        let (min, max) = (bound(min_field, min)?, bound(max_field, max)?);
        if min > max {
            return Err(format!(
                "{min_field} is {min} and {max_field} {max}: the minimum must not be above"
            ));
        }
        Ok(Self {
            target,
            model,
            cost,
            cost_is_given: cost_text.is_some(),
            accelerators: BTreeMap::new(),
            profiles: BTreeMap::new(),
            min,
            max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(spec: &serde_json::Value) -> Result<Settings, Invalid> {
        let object = json!({"apiVersion": "llmd.ai/v1alpha1", "kind": "VariantAutoscaling",
            "metadata": {"name": "llama-l4"}, "spec": spec});
        Settings::read(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn both_shapes_are_read() {
        let newer = read(
            &json!({"modelID": "m", "scaleTargetRef": {"kind": "StatefulSet", "name": "x"},
            "variantCost": "2.5", "minReplicas": 0, "maxReplicas": 4}),
        )
        .unwrap();
        assert_eq!(
            (newer.target.kind.as_str(), newer.cost, newer.min, newer.max),
            ("StatefulSet", 2.5, 0, 4)
        );
        let older = read(&json!({"modelID": "m", "sloClassRef": {"name": "c", "key": "k"}})).unwrap();
        assert_eq!(
            (older.target.kind.as_str(), older.target.name.as_str()),
            ("Deployment", "llama-l4")
        );
        assert_eq!((older.cost, older.min, older.max), (10.0, 1, 10));
    }

    #[test]
    fn what_cannot_be_used_names_its_field() {
        let cases = [
            (json!({}), "modelID"),
            (json!({"modelID": ""}), "spec.modelID"),
            (json!({"modelID": "m", "variantCost": "cheap"}), "spec.variantCost"),
            (json!({"modelID": "m", "variantCost": "-1"}), "spec.variantCost"),
            (json!({"modelID": "m", "variantCost": "inf"}), "spec.variantCost"),
            (json!({"modelID": "m", "minReplicas": -1}), "spec.minReplicas"),
            (json!({"modelID": "m", "maxReplicas": 2_000_000}), "spec.maxReplicas"),
            (
                json!({"modelID": "m", "minReplicas": 3, "maxReplicas": 2}),
                "spec.minReplicas",
            ),
            (
                json!({"modelID": "m", "scaleTargetRef": {"kind": "", "name": "x"}}),
                "spec.scaleTargetRef",
            ),
            (json!("text"), "spec"),
        ];
        for (spec, field) in cases {
            let error = read(&spec).unwrap_err();
            assert!(error.contains(field), "{field}: {error}");
        }
    }
}
